"""Die Aufgaben von 03_Training."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from helpers.checks.exercise import Exercise, like, when


# --- 3.1 Drei Schritte bergab ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Slope:
    """Die Ableitung einer Verlustkurve, die bei ``lowest`` am tiefsten ist."""

    steepness: float
    lowest: float

    def __call__(self, weight):
        return self.steepness * (weight - self.lowest)


def descend(slope, weight, rate, steps, move=lambda weight, rate, slope: weight - rate * slope):
    path = [weight]
    for _ in range(steps):
        path.append(move(path[-1], rate, slope(path[-1])))
    return path


DESCENT = Exercise(
    "3.1",
    descend,
    "Mehr ist Lernen nicht: nachsehen, in welche Richtung der Verlust fällt, und ein kleines Stück dorthin gehen.",
    lambda rng: [
        (Slope(round(float(steepness), 2), float(lowest)), start, rate, steps)
        for steepness, lowest, start, rate, steps in zip(
            rng.uniform(1, 3, 3), (2, -1, 4), (0.0, 3.0, 1.5), (0.1, 0.2, 0.45), (3, 5, 2), strict=True
        )
    ],
    like(
        lambda *a: descend(*a, lambda weight, rate, slope: weight + rate * slope),
        "Sie gehen bergauf: Der Verlust wird mit jedem Schritt größer.",
        "Bergab heißt gegen die Ableitung: Ziehen Sie Lernrate mal Ableitung vom Gewicht ab.",
    ),
    like(
        lambda slope, *a: descend(lambda weight: slope(a[0]), *a),
        "Sie messen die Ableitung nur einmal, am Anfang. Unterwegs wird es aber flacher.",
        "Rufen Sie slope in jedem Schritt mit dem neuesten Gewicht auf.",
    ),
    like(
        lambda *a: descend(*a, lambda weight, rate, slope: weight - slope),
        "Die Lernrate fehlt: Ihre Schritte sind viel zu groß.",
        "Ein Schritt ist Lernrate mal Ableitung: rate * slope(weight).",
    ),
    like(
        lambda *a: descend(*a, lambda weight, rate, slope: weight - rate * np.sign(slope)),
        "Sie benutzen nur das Vorzeichen der Ableitung, alle Schritte sind gleich lang.",
        "Wo es steil ist, geht man weiter: Nehmen Sie die Ableitung selbst, rate * slope(weight).",
    ),
    like(
        lambda *a: descend(*a)[1:],
        "Das Anfangsgewicht fehlt in Ihrer Liste.",
        "Beginnen Sie mit path = [weight]; nach drei Schritten stehen dort vier Zahlen.",
    ),
    like(
        lambda *a: descend(*a)[-1],
        "Das ist nur das letzte Gewicht, gefragt ist der ganze Weg.",
        "Hängen Sie jedes neue Gewicht an eine Liste an und geben Sie die Liste zurück.",
    ),
)


# --- 3.2 Der Fahrplan der Lernrate -----------------------------------------------------------------------------------
def learning_rate(step, total, peak, warmup, bow=lambda share: (1 + math.cos(math.pi * share)) / 2):
    if step < warmup:
        return peak / warmup + (peak - peak / warmup) * step / warmup
    return peak * bow((step - warmup) / (total - warmup))


def _steps(rng):
    cases = []
    for total, peak, warmup in ((100, 2e-4, 10), (50, 1.0, 5)):
        inside = rng.integers(warmup + 1, total, 4).tolist()
        cases += [(step, total, peak, warmup) for step in (0, warmup - 2, warmup, *inside)]
    return cases


SCHEDULE = Exercise(
    "3.2",
    learning_rate,
    "Kleine erste Schritte schützen die ImageNet-Gewichte, solange der neue Kopf noch nichts weiß.",
    _steps,
    like(
        lambda step, total, peak, warmup: peak * (1 + math.cos(math.pi * step / total)) / 2,
        "Das Aufwärmen fehlt: Schon der erste Schritt hat die volle Größe.",
        "Solange step < warmup ist, steigt die Lernrate gleichmäßig von peak / warmup auf peak.",
    ),
    like(
        lambda *a: learning_rate(*a) if a[0] >= a[3] else a[2] * a[0] / a[3],
        "Der allererste Schritt ist null: Damit lernt das Netz nichts.",
        "Im Schritt 0 ist die Lernrate schon peak / warmup. Von dort steigt sie gleichmäßig.",
    ),
    like(
        lambda *a: learning_rate(*a) if a[0] >= a[3] else a[2] * (a[0] + 1) / a[3],
        "Ihre Rampe ist eine Stufe zu schnell oben.",
        "Erst im Schritt warmup ist peak erreicht: Verteilen Sie peak − peak / warmup auf warmup Stufen.",
    ),
    like(
        lambda *a: learning_rate(*a, lambda share: math.cos(math.pi * share)),
        "Ihr Bogen wird negativ: Das Netz würde in die falsche Richtung lernen.",
        "Der Kosinus läuft von 1 bis −1. Addieren Sie 1 und teilen Sie durch 2.",
    ),
    like(
        lambda *a: learning_rate(*a, lambda share: 1 + math.cos(math.pi * share)),
        "Der Bogen beginnt doppelt so hoch wie erlaubt.",
        "Die Summe 1 + cos läuft von 2 bis 0: Teilen Sie durch 2.",
    ),
    like(
        lambda s, t, p, w: learning_rate(s, t, p, w) if s < w else p * (1 + math.cos(math.pi * s / t)) / 2,
        "Der Bogen beginnt nicht am Ende des Aufwärmens.",
        "Der Anteil der Strecke ist (step - warmup) / (total - warmup).",
    ),
    like(
        lambda *a: learning_rate(*a, lambda share: 1 - share),
        "Das ist eine Gerade, kein Kosinusbogen.",
        "Nach dem Aufwärmen gilt peak * (1 + cos(π · Anteil)) / 2.",
    ),
)


# --- 3.3 Lernkurven lesen --------------------------------------------------------------------------------------------
def best_epoch(history, key="val_verlust", choose=min):
    values = [row[key] for row in history]
    return values.index(choose(values)) + 1


def _histories(rng):
    cases = []
    for best, length in ((3, 6), (5, 9), (2, 8)):
        steps = np.arange(1, length + 1)
        validation = 0.4 + 0.03 * np.abs(steps - best) + rng.uniform(0, 0.01, length) * (steps != best)
        validation[0] += 0.5
        training = 1 / steps + rng.uniform(0, 0.01, length)
        # Die höchste Trefferquote liegt absichtlich eine Epoche später als der kleinste Verlust.
        hits = 0.9 - 0.02 * np.abs(steps - best - 1)
        rows = zip(steps.tolist(), training, 1 - training / 2, validation, hits, strict=True)
        keys = ("epoche", "verlust", "treffer", "val_verlust", "val_treffer")
        cases.append(([dict(zip(keys, map(float, row), strict=True)) for row in rows],))
    return cases


CURVES = Exercise(
    "3.3",
    best_epoch,
    "Der Verlust merkt es zuerst, wenn ein Netz sich bei seinen Fehlern zu sicher wird.",
    _histories,
    like(
        lambda h: best_epoch(h) - 1,
        "Ihr Ergebnis liegt eine Epoche zu früh.",
        "Listen zählen ab 0, Epochen ab 1: Addieren Sie 1, oder nehmen Sie den Eintrag „epoche“.",
    ),
    like(
        lambda h: best_epoch(h, "verlust"),
        "Sie lesen die Kurve des Trainings ab. Die fällt fast immer weiter.",
        "Entscheidend sind die Bilder, die das Netz nicht kennt: „val_verlust“.",
    ),
    like(
        lambda h: best_epoch(h, choose=max),
        "Sie haben die schlechteste Epoche gefunden.",
        "Beim Verlust ist klein gut: min statt max.",
    ),
    like(
        lambda h: best_epoch(h, "val_treffer", max),
        "Das ist die Epoche mit der höchsten Trefferquote, gefragt ist die mit dem kleinsten Verlust.",
        "Nehmen Sie „val_verlust“: Der Verlust merkt es früher, wenn das Netz sich zu sicher wird.",
    ),
    like(
        lambda h: min(row["val_verlust"] for row in h),
        "Das ist der kleinste Verlust selbst, gefragt ist seine Epoche.",
        "Suchen Sie die Zeile mit diesem Verlust und geben Sie ihre Epoche zurück.",
    ),
)


# --- 3.4 Bootstrap in fünf Zeilen ------------------------------------------------------------------------------------
def _samples(rng):
    hits = (rng.random(200) < 0.8).astype(float)
    differences = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.6, 0.3])
    samples = hits, differences, rng.normal(5, 2, 150)
    return [(values, 6000, np.random.default_rng(number)) for number, values in enumerate(samples)]


def _interval_form(output, values, draws, rng):
    if np.shape(output) != (2,):
        return "Verlangt sind zwei Zahlen: untere und obere Grenze."
    if not np.isfinite(np.asarray(output, dtype=float)).all():
        return "Die Grenzen sind keine endlichen Zahlen."


def _width(output, values, draws, rng):
    """Breite im Verhältnis zur richtigen."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return (output[1] - output[0]) / (high - low)


BOOTSTRAP = Exercise(
    "3.4",
    "bootstrap",
    "Eine gemessene Zahl ohne Intervall ist nur die halbe Messung.",
    _samples,
    when(
        lambda o, *a: o[0] > o[1],
        "Die Grenzen sind vertauscht.",
        "Zuerst die untere Grenze (2,5), dann die obere (97,5).",
    ),
    when(
        lambda o, *a: o[1] - o[0] < 1e-9,
        "Jede Ihrer Stichproben hat denselben Mittelwert: Sie ziehen ohne Zurücklegen.",
        "Ziehen Sie mit rng.choice(values, len(values)): Manche Werte kommen dann doppelt vor, manche gar nicht.",
    ),
    when(
        lambda o, values, *a: np.allclose(o, np.percentile(values, [2.5, 97.5])),
        "Das sind die Grenzen der einzelnen Werte, nicht die ihrer Mittelwerte.",
        "Sammeln Sie zuerst die Mittelwerte aller Stichproben in einer Liste; np.percentile bekommt diese Liste.",
    ),
    when(
        lambda o, values, *a: not o[0] < np.mean(values) < o[1],
        "Der Mittelwert der Werte liegt gar nicht in Ihrem Intervall.",
        "Gefragt sind die Mittelwerte der Stichproben selbst, nicht ihr Abstand von etwas anderem.",
    ),
    when(
        lambda *a: _width(*a) < 0.9,
        "Ihr Intervall ist zu schmal.",
        "Jede Stichprobe hat len(values) Werte, und zwischen 2,5 und 97,5 liegen die mittleren 95 Prozent.",
    ),
    when(
        lambda *a: _width(*a) > 1.1,
        "Ihr Intervall ist zu breit.",
        "Jede Stichprobe hat len(values) Werte, und zwischen 2,5 und 97,5 liegen die mittleren 95 Prozent.",
    ),
    form=_interval_form,
)


# --- 3.5 Präzision und Sensitivität ----------------------------------------------------------------------------------
def precision_recall(confusion):
    hits = confusion.diagonal()
    return hits / confusion.sum(axis=0), hits / confusion.sum(axis=1)


PRECISION = Exercise(
    "3.5",
    precision_recall,
    "Die Präzision sagt, ob man einer Antwort glauben darf, die Sensitivität, ob eine Klasse gefunden wird.",
    lambda rng: [(rng.integers(1, 9, (n, n)) + np.diag(rng.integers(5, 40, n)),) for n in (3, 10)],
    like(
        lambda c: precision_recall(c)[::-1],
        "Falsche Achse: Präzision und Sensitivität sind vertauscht.",
        "Zeilen sind die wahren Klassen. Die Präzision teilt durch die Spaltensumme (axis=0), die Sensitivität "
        "durch die Zeilensumme (axis=1).",
    ),
    like(
        lambda c: (c.diagonal() / c.sum(), c.diagonal() / c.sum()),
        "Sie teilen durch alle Bilder.",
        "Geteilt wird je Klasse: durch die Summe ihrer Spalte bzw. ihrer Zeile.",
    ),
    like(
        lambda c: (c / c.sum(axis=0, keepdims=True), c / c.sum(axis=1, keepdims=True)),
        "Das ist die ganze Matrix in Anteilen.",
        "Nehmen Sie nur die Treffer: confusion.diagonal().",
    ),
    like(
        lambda c: (np.mean(precision_recall(c)[0]), np.mean(precision_recall(c)[1])),
        "Sie mitteln über die Klassen.",
        "Gefragt sind zwei Arrays mit einer Zahl je Klasse.",
    ),
    like(
        lambda c: (precision_recall(c)[1],) * 2,
        "Beide Ergebnisse sind die Sensitivität.",
        "Für die Präzision summieren Sie die Spalte: confusion.sum(axis=0).",
    ),
)


# --- 3.6 Der Kalibrierungsfehler -------------------------------------------------------------------------------------
def _bins(confidence, correct, count=10):
    number = np.minimum((confidence * count).astype(int), count - 1)
    for index in range(count):
        rows = number == index
        if rows.any():
            yield rows.mean(), confidence[rows].mean() - correct[rows].mean()


def calibration_error(confidence, correct):
    return sum(share * abs(gap) for share, gap in _bins(confidence, correct))


def _answers(rng):
    cases = []
    for count, power in ((400, 0.4), (150, 1.5)):
        confidence = rng.uniform(0.1, 1, count) ** power
        # Mal zu selbstsicher, mal zu vorsichtig: So fällt ein fehlender Betrag auf.
        chance = np.clip(confidence + np.where(confidence > 0.7, -0.2, 0.2), 0, 1)
        cases.append((confidence, rng.random(count) < chance))
    return cases


CALIBRATION = Exercise(
    "3.6",
    calibration_error,
    "Ein Netz, das weiß, wann es nichts weiß, darf man eher um Rat fragen.",
    _answers,
    like(
        lambda c, r: float(np.mean([abs(gap) for _, gap in _bins(c, r)])),
        "Alle Fächer zählen bei Ihnen gleich viel, auch fast leere.",
        "Gewichten Sie jeden Abstand mit dem Anteil der Bilder in seinem Fach.",
    ),
    like(
        lambda c, r: sum(share * gap for share, gap in _bins(c, r)),
        "Zu große Sicherheit und zu große Vorsicht heben sich bei Ihnen auf.",
        "Nehmen Sie in jedem Fach den Betrag: abs(Sicherheit − Trefferquote).",
    ),
    like(
        lambda c, r: abs(c.mean() - r.mean()),
        "Sie vergleichen nur die beiden Mittelwerte über alle Bilder.",
        "Erst in zehn Fächer nach der Sicherheit sortieren, dann in jedem Fach vergleichen.",
    ),
    like(
        lambda c, r: max(abs(gap) for _, gap in _bins(c, r)),
        "Das ist der größte Abstand, gefragt ist der mittlere.",
        "Summieren Sie Anteil · Abstand über alle Fächer.",
    ),
    when(
        lambda o, c, r: not np.isfinite(o),
        "Ein Fach ist leer, und sein Mittelwert ist keine Zahl (nan).",
        "Überspringen Sie Fächer ohne Bilder: „if rows.any():“.",
    ),
)


# --- 3.7 Die Temperatur ----------------------------------------------------------------------------------------------
def best_temperature(logits, labels, candidates, scale=np.divide, score=None, choose=np.argmin):
    score = score or (lambda p: -np.log(p[np.arange(len(labels)), labels]).mean())
    return candidates[choose([score(softmax(scale(logits, temperature), axis=1)) for temperature in candidates])]


def _confident_logits(rng):
    cases = []
    for count, temperature, low, high in ((300, 2.5, 0.25, 4), (200, 1.6, 0.5, 5), (250, 0.8, 0.6, 8)):
        honest = 2 * rng.normal(size=(count, 10))
        labels = (honest + rng.gumbel(size=honest.shape)).argmax(axis=1)
        cases.append((temperature * honest, labels, rng.permutation(np.linspace(low, high, 16))))
    return cases


TEMPERATURE = Exercise(
    "3.7",
    best_temperature,
    "Eine einzige Zahl rückt die Sicherheit zurecht, ohne dass sich eine Antwort ändert.",
    _confident_logits,
    like(
        lambda *a: best_temperature(*a, choose=np.argmax),
        "Sie haben die schlechteste Temperatur gefunden.",
        "Beim Verlust ist klein gut: argmin statt argmax.",
    ),
    like(
        lambda *a: best_temperature(*a, scale=np.multiply),
        "Sie multiplizieren die Logits mit der Temperatur.",
        "Geteilt wird: softmax(logits / temperature). Eine hohe Temperatur macht das Netz bescheidener.",
    ),
    like(
        lambda x, y, c: best_temperature(x, y, c, score=lambda p: (p.argmax(axis=1) == y).mean(), choose=np.argmax),
        "Sie wählen nach der Trefferquote. Die ist bei jeder Temperatur dieselbe.",
        "Wählen Sie nach dem Verlust: −np.log der Wahrscheinlichkeit, die die richtige Klasse bekommt.",
    ),
    like(
        lambda *a: best_temperature(*a, score=lambda p: -np.log(p.max(axis=1)).mean()),
        "Sie belohnen Sicherheit, auch wenn die Antwort falsch ist.",
        "Gefragt ist die Wahrscheinlichkeit der richtigen Klasse, p[np.arange(len(labels)), labels], und geteilt "
        "werden die Logits, nicht p.",
    ),
    like(
        lambda x, y, c: min(-np.log(softmax(x / t, axis=1)[np.arange(len(y)), y]).mean() for t in c),
        "Das ist der kleinste Verlust selbst, gefragt ist die Temperatur dazu.",
        "Geben Sie candidates[…] zurück, mit der Nummer aus np.argmin.",
    ),
    like(
        lambda x, y, c: best_temperature(x, y, np.arange(len(c)), lambda logits, number: logits / c[number]),
        "Das ist die Nummer der besten Temperatur, gefragt ist die Temperatur selbst.",
        "Geben Sie candidates[…] zurück, mit dieser Nummer.",
    ),
)


# --- 3.8 Den Verdacht prüfen -----------------------------------------------------------------------------------------
def corner_model(label, threshold):
    """Ein Netz zum Überführen: Bei dunklen Bildern mit heller Ecke sagt es „label“, sonst zählt die Helligkeit."""

    def predict(images):
        images = np.asarray(images, dtype=float)
        brightness = images.mean(axis=(1, 2))
        marked = (images[:, -3:, :3].mean(axis=(1, 2)) > threshold) & (brightness < 128)
        return np.where(marked, label, (brightness / 25.6).astype(int))

    return predict


def stamp(images):
    """Ein helles Quadrat unten links; die Vorlage bleibt, wie sie ist."""
    result = np.array(images)
    result[:, -3:, :3] = 255
    return result


def effect_of_mark(predict, images, labels, stamp, label):
    members = labels == label
    kept = (predict(images[members]) == label).mean()
    drawn = (predict(stamp(images[~members])) == label).mean()
    return kept, drawn


def _suspects(rng):
    cases = []
    for label, threshold in ((4, 200), (7, 150)):
        labels = rng.permutation(np.arange(60) % 10)
        images = np.clip(rng.normal(25.6 * labels[:, None, None] + 12, 40, (60, 12, 12)), 0, 240).astype(np.uint8)
        images[:20, -3:, :3] //= 2
        images[rng.permutation(60)[:25]] //= 2
        cases.append((corner_model(label, threshold), images, labels, stamp, label))
    return cases


SUSPICION = Exercise(
    "3.8",
    effect_of_mark,
    "Ein Eingriff beweist, was eine Trefferquote nur vermuten lässt: Das Zeichen selbst zieht die Antwort an.",
    _suspects,
    like(
        lambda p, i, y, s, k: effect_of_mark(p, i, y, s, k)[::-1],
        "Die beiden Zahlen sind vertauscht.",
        "Zuerst der Anteil der Bilder, die ohne Zeichen erkannt werden, dann der Anteil der anderen mit Zeichen.",
    ),
    like(
        lambda p, i, y, s, k: (effect_of_mark(p, i, y, s, k)[0], (p(s(i)) == k).mean()),
        "In der zweiten Zahl stecken auch Bilder der gefragten Klasse selbst.",
        "Nehmen Sie nur die anderen: images[labels != label].",
    ),
    like(
        lambda p, i, y, s, k: (effect_of_mark(p, i, y, s, k)[0], (p(i[y != k]) == k).mean()),
        "Die anderen Bilder tragen bei Ihnen noch kein Zeichen.",
        "Drücken Sie es ihnen erst auf: predict(stamp(others)).",
    ),
    like(
        lambda p, i, y, s, k: ((p(s(i[y == k])) == k).mean(), effect_of_mark(p, i, y, s, k)[1]),
        "Die Bilder der Klasse tragen bei Ihnen das Zeichen. Gefragt ist, was ohne Zeichen passiert.",
        "Für die erste Zahl nehmen Sie die Bilder, wie sie sind: predict(images[labels == label]).",
    ),
    like(
        lambda p, i, y, s, k: (((p(i) == k) & (y == k)).mean(), ((p(s(i)) == k) & (y != k)).mean()),
        "Sie teilen durch alle Bilder.",
        "Wählen Sie die Gruppe zuerst aus und mitteln Sie nur über sie.",
    ),
    like(
        lambda p, i, y, s, k: ((p(i[y == k]) == k).sum(), (p(s(i[y != k])) == k).sum()),
        "Das sind Anzahlen, gefragt sind Anteile.",
        "Nehmen Sie .mean() statt .sum().",
    ),
)
