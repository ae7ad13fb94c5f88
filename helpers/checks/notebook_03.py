"""Die Aufgaben von 03_Training."""

import math

import numpy as np

from helpers.checks.exercise import Exercise, like, when


# --- 3.1 Lernkurven lesen --------------------------------------------------------------------------------------------
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
    "3.1",
    best_epoch,
    "Hier hätte das Training enden können; danach lernt das Netz nur noch seine Trainingsbilder auswendig.",
    _histories,
    like(
        lambda h: best_epoch(h) - 1,
        "Sie sind um eine Epoche zu früh.",
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
        "Nehmen Sie „val_verlust“: Der Verlust merkt früher, wenn das Netz sich zu sicher wird.",
    ),
    like(
        lambda h: min(row["val_verlust"] for row in h),
        "Das ist der kleinste Verlust selbst, gefragt ist seine Epoche.",
        "Suchen Sie die Zeile mit diesem Verlust und geben Sie ihre Epoche zurück.",
    ),
)


# --- 3.2 Der Fahrplan der Schrittweite -------------------------------------------------------------------------------
def step_size(step, total, peak, warmup, bow=lambda share: (1 + math.cos(math.pi * share)) / 2):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * bow((step - warmup) / (total - warmup))


def _steps(rng):
    cases = []
    for total, peak, warmup in ((100, 2e-4, 10), (50, 1.0, 5)):
        inside = rng.integers(warmup + 1, total, 4).tolist()
        cases += [(step, total, peak, warmup) for step in (0, warmup - 2, warmup, *inside)]
    return cases


SCHEDULE = Exercise(
    "3.2",
    step_size,
    "Kleine erste Schritte schützen die ImageNet-Gewichte, solange der neue Kopf noch rät.",
    _steps,
    like(
        lambda step, total, peak, warmup: peak * (1 + math.cos(math.pi * step / total)) / 2,
        "Das Aufwärmen fehlt: Schon der erste Schritt ist voll.",
        "Solange step < warmup ist, gilt peak * (step + 1) / warmup.",
    ),
    like(
        lambda *a: step_size(*a) if a[0] >= a[3] else a[2] * a[0] / a[3],
        "Der allererste Schritt ist null: Damit lernt das Netz nichts.",
        "Der Schritt mit der Nummer 0 bekommt schon einen Anteil: (step + 1) / warmup.",
    ),
    like(
        lambda *a: step_size(*a, lambda share: math.cos(math.pi * share)),
        "Ihr Bogen wird negativ: Das Netz würde in die falsche Richtung lernen.",
        "Der Kosinus läuft von 1 bis −1. Addieren Sie 1 und teilen Sie durch 2.",
    ),
    like(
        lambda *a: step_size(*a, lambda share: 1 + math.cos(math.pi * share)),
        "Der Bogen beginnt doppelt so hoch wie erlaubt.",
        "(1 + cos) läuft von 2 bis 0: Teilen Sie durch 2.",
    ),
    like(
        lambda s, t, p, w: step_size(s, t, p, w) if s < w else p * (1 + math.cos(math.pi * s / t)) / 2,
        "Der Bogen beginnt nicht am Ende des Aufwärmens.",
        "Der Anteil der Strecke ist (step - warmup) / (total - warmup).",
    ),
    like(
        lambda *a: step_size(*a, lambda share: 1 - share),
        "Das ist eine Gerade, kein Kosinusbogen.",
        "Nach dem Aufwärmen gilt peak * (1 + cos(π · Anteil)) / 2.",
    ),
)


# --- 3.3 Genauigkeit und Trefferrate ---------------------------------------------------------------------------------
def precision_recall(confusion):
    hits = confusion.diagonal()
    return hits / confusion.sum(axis=0), hits / confusion.sum(axis=1)


PRECISION = Exercise(
    "3.3",
    precision_recall,
    "Die Genauigkeit sagt, ob man einer Antwort glauben darf, die Trefferrate, ob eine Klasse gefunden wird.",
    lambda rng: [(rng.integers(1, 9, (n, n)) + np.diag(rng.integers(5, 40, n)),) for n in (3, 10)],
    like(
        lambda c: precision_recall(c)[::-1],
        "Falsche Achse: Genauigkeit und Trefferrate sind vertauscht.",
        "Zeilen sind die wahren Klassen. Die Genauigkeit teilt durch die Spaltensumme (axis=0), die Trefferrate "
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
        "Gefragt ist eine Zahl je Klasse, also zwei Felder der Länge 10.",
    ),
    like(
        lambda c: (precision_recall(c)[1],) * 2,
        "Beide Ergebnisse sind die Trefferrate.",
        "Für die Genauigkeit summieren Sie die Spalte: confusion.sum(axis=0).",
    ),
)


# --- 3.4 Der Kalibrierungsfehler -------------------------------------------------------------------------------------
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
    "3.4",
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
        "Zu sicher und zu vorsichtig heben sich bei Ihnen auf.",
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


# --- 3.5 Den Verdacht prüfen -----------------------------------------------------------------------------------------
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
    "3.5",
    effect_of_mark,
    "Ein Eingriff beweist, was eine Trefferquote nur vermuten lässt: Das Zeichen selbst zieht die Antwort an.",
    _suspects,
    like(
        lambda p, i, y, s, k: effect_of_mark(p, i, y, s, k)[::-1],
        "Die beiden Zahlen sind vertauscht.",
        "Zuerst der Anteil der erkannten Klasse ohne Zeichen, dann der Anteil der anderen mit Zeichen.",
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
        "Die Bilder der Klasse tragen bei Ihnen das Zeichen. Gefragt ist, was ohne passiert.",
        "Für die erste Zahl nehmen Sie die Bilder, wie sie sind: predict(images[labels == label]).",
    ),
    like(
        lambda p, i, y, s, k: (((p(i) == k) & (y == k)).mean(), ((p(s(i)) == k) & (y != k)).mean()),
        "Sie teilen durch alle Bilder.",
        "Wählen Sie die Gruppe zuerst aus und mitteln Sie nur über sie.",
    ),
)
