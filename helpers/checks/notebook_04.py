"""Die Aufgaben von 04_GradCAM."""

import numpy as np
from scipy.special import softmax

from helpers.basics import CourseError
from helpers.checks.exercise import Exercise, like, when
from helpers.secret import suspected


# --- 4.1 Grad-CAM selbst schreiben -----------------------------------------------------------------------------------
def cam(maps, slopes):
    weights = slopes.mean(axis=(1, 2), keepdims=True)
    return np.maximum((weights * maps).sum(axis=-1), 0)


GRAD_CAM = Exercise(
    "4.1",
    cam,
    "Wenige Zeilen, und Sie wissen genau, was eine Heatmap zeigt und was nicht.",
    lambda rng: [
        (np.maximum(rng.normal(size=shape), 0), rng.normal(size=shape) + rng.normal(size=(shape[0], 1, 1, shape[3])))
        for shape in ((3, 4, 4, 6), (2, 5, 3, 8))
    ],
    like(
        lambda m, g: (g.mean(axis=(1, 2), keepdims=True) * m).sum(axis=-1),
        "Das ReLU am Ende fehlt: Auch was gegen die Klasse spricht, ist noch dabei.",
        "Setzen Sie negative Werte auf null: np.maximum(…, 0).",
    ),
    like(
        lambda m, g: np.maximum((g.mean(axis=-1, keepdims=True) * m).sum(axis=-1), 0),
        "Falsche Achse: Sie mitteln die Ableitungen über die Karten.",
        "Das Gewicht einer Karte ist das Mittel ihrer Ableitungen: slopes.mean(axis=(1, 2), keepdims=True).",
    ),
    like(
        lambda m, g: np.maximum((g * m).sum(axis=-1), 0),
        "Der zweite Schritt fehlt: Sie benutzen an jeder Stelle eine andere Ableitung.",
        "Mitteln Sie die Ableitungen erst über alle Stellen. Jede Karte bekommt ein einziges Gewicht.",
    ),
    like(
        lambda m, g: (np.maximum(g.mean(axis=(1, 2), keepdims=True), 0) * m).sum(axis=-1),
        "Sie schneiden die Gewichte ab statt der Summe.",
        "Das ReLU kommt ganz am Ende, nachdem alle gewichteten Karten addiert sind.",
    ),
    like(
        lambda m, g: np.maximum(m.sum(axis=-1), 0),
        "Die Gewichte fehlen: Alle Karten zählen gleich.",
        "Multiplizieren Sie jede Karte mit dem Mittelwert ihrer Ableitungen.",
    ),
    like(
        lambda m, g: np.maximum((g.sum(axis=(1, 2), keepdims=True) * m).sum(axis=-1), 0),
        "Sie summieren die Ableitungen, gefragt ist ihr Mittelwert.",
        "Nehmen Sie slopes.mean statt slopes.sum.",
    ),
    like(
        lambda m, g: np.maximum((g.mean(axis=(1, 2), keepdims=True) * m).mean(axis=-1), 0),
        "Sie bilden den Mittelwert über die gewichteten Karten, gefragt ist ihre Summe.",
        "Nehmen Sie am Ende .sum(axis=-1).",
    ),
    like(
        lambda m, g: np.maximum(g.mean(axis=(1, 2), keepdims=True) * m, 0),
        "Die Karten sind gewichtet, aber noch nicht addiert.",
        "Summieren Sie über die Karten: .sum(axis=-1).",
    ),
)


# --- 4.2 HiResCAM ----------------------------------------------------------------------------------------------------
def hires_cam(maps, slopes):
    return np.maximum((slopes * maps).sum(axis=-1), 0)


HIRES_CAM = Exercise(
    "4.2",
    hires_cam,
    "Eine geänderte Zeile, und jede Stelle wird mit ihrer eigenen Ableitung gewichtet statt mit dem Mittelwert aller.",
    GRAD_CAM.cases,
    like(
        cam,
        "Das ist noch Grad-CAM: Sie mitteln die Ableitungen über die Stellen.",
        "Lassen Sie das Mitteln weg: Jede Stelle der Karte wird mit der Ableitung an dieser Stelle multipliziert.",
    ),
    like(
        lambda m, g: (g * m).sum(axis=-1),
        "Das ReLU am Ende fehlt: Auch was gegen die Klasse spricht, ist noch dabei.",
        "Schneiden Sie zum Schluss ab, wie bei Grad-CAM: np.maximum(…, 0).",
    ),
    like(
        lambda m, g: np.maximum(g * m, 0).sum(axis=-1),
        "Sie schneiden ab, bevor Sie addieren: Was gegen die Klasse spricht, zählt dann nicht mehr.",
        "Erst über die Karten addieren, dann das ReLU.",
    ),
    like(
        lambda m, g: np.maximum(g * m, 0),
        "Die Karten sind gewichtet, aber noch nicht addiert.",
        "Summieren Sie über die Karten: .sum(axis=-1).",
    ),
    like(
        lambda m, g: np.maximum((g * m).mean(axis=-1), 0),
        "Sie bilden den Mittelwert über die Karten, gefragt ist ihre Summe.",
        "Nehmen Sie .sum(axis=-1).",
    ),
)


# --- 4.3 Der Kontrast zweier Logits ----------------------------------------------------------------------------------
def contrast_cam(maps, wanted, other):
    return cam(maps, wanted - other)


def _maps_and_two_slopes(rng):
    cases = []
    for shape in ((3, 4, 4, 6), (2, 5, 3, 8)):
        slopes = rng.normal(size=(2, *shape)) + rng.normal(size=(2, shape[0], 1, 1, shape[3]))
        cases.append((np.maximum(rng.normal(size=shape), 0), *slopes))
    return cases


CONTRAST = Exercise(
    "4.3",
    contrast_cam,
    "„Warum Hemd?“ und „Warum Hemd statt T-Shirt?“ sind zwei Fragen. Was beiden Klassen gemeinsam ist, fällt heraus.",
    _maps_and_two_slopes,
    like(
        lambda m, w, o: cam(m, w) - cam(m, o),
        "Sie ziehen zwei fertige Heatmaps voneinander ab. Beide sind schon abgeschnitten.",
        "Ziehen Sie die Ableitungen voneinander ab, bevor Grad-CAM beginnt.",
    ),
    like(
        lambda m, w, o: np.maximum(cam(m, w) - cam(m, o), 0),
        "Sie ziehen zwei fertige Heatmaps voneinander ab und schneiden noch einmal ab.",
        "Ziehen Sie die Ableitungen voneinander ab, bevor Grad-CAM beginnt.",
    ),
    like(
        lambda m, w, o: cam(m, o - w),
        "Die Richtung ist vertauscht: Das spricht für die andere Klasse.",
        "Gefragt ist, was den ersten Logit größer macht als den zweiten: wanted − other.",
    ),
    like(
        lambda m, w, o: cam(m, w),
        "Die zweite Klasse kommt nicht vor: Das ist das gewöhnliche Grad-CAM.",
        "Der Unterschied zweier Logits hat als Ableitung den Unterschied ihrer Ableitungen.",
    ),
    like(
        lambda m, w, o: cam(m, w + o),
        "Sie addieren die Ableitungen: So zählt, was für beide Klassen spricht.",
        "Gefragt ist der Unterschied: wanted − other.",
    ),
    like(
        lambda m, w, o: hires_cam(m, w - o),
        "Der Unterschied stimmt, aber das Mitteln über die Stellen fehlt: Das ist HiResCAM.",
        "Mitteln Sie den Unterschied über die Stellen wie in Aufgabe 4.1.",
    ),
    like(
        lambda m, w, o: ((w - o).mean(axis=(1, 2), keepdims=True) * m).sum(axis=-1),
        "Das ReLU am Ende fehlt: Auch was gegen die Klasse spricht, ist noch dabei.",
        "Setzen Sie negative Werte auf null: np.maximum(…, 0).",
    ),
)


# --- 4.4 Wie viel liegt auf der Stelle? ------------------------------------------------------------------------------
def mass_on(cams, mask):
    positive = np.maximum(cams, 0)
    return positive[:, mask].sum(axis=1) / positive.sum(axis=(1, 2))


def _cams_and_masks(rng):
    mask = np.zeros((8, 8), dtype=bool)
    mask[5:7, 1:4] = True
    cams = rng.normal(0.3, 1, (6, 8, 8))
    return [(cams, mask), (np.abs(cams[:3]) * 5, mask.T)]


MASS = Exercise(
    "4.4",
    mass_on,
    "Mit dieser Zahl wird aus „da leuchtet etwas“ eine Messung, die sich vergleichen lässt.",
    _cams_and_masks,
    like(
        lambda c, m: c[:, m].sum(axis=1) / c.sum(axis=(1, 2)),
        "Negative Werte zählen bei Ihnen mit und können sich mit positiven aufheben.",
        "Schneiden Sie zuerst ab: positive = np.maximum(cams, 0).",
    ),
    like(
        lambda c, m: np.abs(c)[:, m].sum(axis=1) / np.abs(c).sum(axis=(1, 2)),
        "Bei Ihnen zählt auch, was gegen die Klasse spricht.",
        "Nehmen Sie nur die positiven Werte: np.maximum statt np.abs.",
    ),
    like(
        lambda c, m: np.maximum(c, 0)[:, m].mean(axis=1),
        "Das ist die mittlere Stärke in der Maske, kein Anteil.",
        "Teilen Sie die Summe in der Maske durch die Summe im ganzen Bild.",
    ),
    like(
        lambda c, m: mass_on(c, m) / m.mean(),
        "Sie vergleichen zwei Mittelwerte, gefragt ist der Anteil an der Summe.",
        "Nehmen Sie beide Male .sum statt .mean.",
    ),
    like(
        lambda c, m: 1 - mass_on(c, m),
        "Sie messen, was neben der Stelle liegt.",
        "mask ist dort True, wo die Stelle ist: cams[:, mask], nicht cams[:, ~mask].",
    ),
    like(
        lambda c, m: np.maximum(c, 0)[:, m].sum() / np.maximum(c, 0).sum(),
        "Falsche Achse: Das ist eine einzige Zahl für alle Bilder.",
        "Gefragt ist ein Anteil je Bild: in der Maske .sum(axis=1), im ganzen Bild .sum(axis=(1, 2)).",
    ),
)


# --- 4.5 Wer fällt um? -----------------------------------------------------------------------------------------------
def flips_per_class(before, after, labels, target):
    able = before != target
    return _share((after == target)[able], labels[able])


def _share(rows, labels):
    return np.array([rows[labels == c].mean() for c in range(10)])


def _two_answers(rng):
    cases = []
    for target, count in ((4, 600), (0, 400)):
        labels = rng.permutation(np.arange(count) % 10)
        before = np.where(rng.random(count) < 0.8, labels, rng.integers(0, 10, count))
        before[(labels == target) & (rng.random(count) < 0.4)] = (target + 1) % 10
        chance = rng.uniform(0.1, 0.8, 10)[labels]
        after = np.where(rng.random(count) < chance, target, rng.integers(0, 10, count))
        cases.append((before, after, labels, target))
    return cases


FLIPS = Exercise(
    "4.5",
    flips_per_class,
    "Die zehn Zahlen zeigen, bei welchen Klassen die Stelle schwerer wiegt als der Stoff.",
    _two_answers,
    like(
        lambda b, a, y, t: _share(a == t, y),
        "Bilder, die schon vorher diese Antwort hatten, zählen bei Ihnen als umgefallen.",
        "Umgefallen ist nur, was vorher eine andere Antwort hatte: before != target.",
    ),
    like(
        lambda b, a, y, t: _share((b != t) & (a == t), y),
        "Der Nenner stimmt nicht: Sie teilen durch alle Bilder der Klasse.",
        "Teilen Sie durch die Zahl der Bilder, die umfallen konnten: die mit before != target.",
    ),
    like(
        lambda b, a, y, t: _share(a != b, y),
        "Sie zählen jede Änderung der Antwort.",
        "Gesucht sind die Bilder, deren Antwort zu „target“ wird: after == target.",
    ),
    like(
        lambda b, a, y, t: np.array([((b != t) & (a == t))[y == c].sum() for c in range(10)]),
        "Das sind Anzahlen, gefragt sind Anteile.",
        "Teilen Sie durch die Zahl der Bilder, oder nehmen Sie mean statt sum.",
    ),
    like(
        lambda b, a, y, t: ((b != t) & (a == t)).mean(),
        "Das ist der Anteil über alle Klassen.",
        "Gefragt sind zehn Zahlen in einem Array, eine für jede wahre Klasse.",
    ),
)


# --- 4.6 Die Löschkurve ----------------------------------------------------------------------------------------------
def pattern_model(weights):
    """Ein winziges Netz mit Softmax: (n, h, b) → Wahrscheinlichkeiten (n, Klassen)."""

    def predict(images):
        return softmax(np.tensordot(np.asarray(images, dtype=float), weights, axes=([1, 2], [1, 2])), axis=1)

    return predict


def deletion_curve(predict, image, heatmap, label, steps, fill, pick=lambda q, c: q[c], cumulative=True):
    order = np.argsort(-heatmap.ravel())
    parts = [order[: round(step * order.size / steps)] for step in range(steps + 1)]
    curve = []
    for part in parts if cumulative else [order[:0], *np.array_split(order, steps)]:
        flipped = image.copy()
        flipped.ravel()[part] = fill
        curve.append(pick(predict(flipped[None])[0], label))
    return np.array(curve)


def _pictures_and_heatmaps(rng):
    cases = []
    for shape, steps, fill in (((6, 6), 6, 0.0), ((8, 5), 10, 0.4)):
        weights, image = rng.normal(size=(4, *shape)) / 3, rng.random(shape) + 0.5
        heatmap = image * weights[2] + 0.1 * rng.normal(size=shape)
        cases.append((pattern_model(weights), image, heatmap, 2, steps, fill))
    return cases


DELETION = Exercise(
    "4.6",
    deletion_curve,
    "Die Kurve allein sagt wenig. Dazu gehören die einer zufälligen Karte und die Angabe, was „gelöscht“ heißt.",
    _pictures_and_heatmaps,
    like(
        lambda p, i, h, *rest: deletion_curve(p, i, -h, *rest),
        "Sie löschen die unwichtigsten Pixel zuerst.",
        "np.argsort sortiert aufsteigend: Nehmen Sie np.argsort(-heatmap.ravel()).",
    ),
    like(
        lambda *a: deletion_curve(*a, cumulative=False),
        "In jedem Schritt fehlt nur ein Stück, die früher gelöschten Pixel sind wieder da.",
        "Löschen Sie in jedem Schritt alle bis dahin wichtigsten Pixel: order[: round(step * pixels / steps)].",
    ),
    like(
        lambda p, i, h, c, s, f: deletion_curve(p, i, h, c, s, 0.0),
        "Sie setzen die Pixel immer auf null, verlangt ist der Wert fill.",
        "Ersetzen Sie die Pixel durch fill: flat[…] = fill.",
    ),
    like(
        lambda *a: deletion_curve(*a)[1:],
        "Der Anfang fehlt: Die Kurve beginnt beim unveränderten Bild.",
        "Zählen Sie von 0 bis steps, das sind steps + 1 Punkte.",
    ),
    like(
        lambda *a: deletion_curve(*a)[:-1],
        "Das Ende fehlt: Im letzten Schritt sind alle Pixel gelöscht.",
        "Zählen Sie von 0 bis steps, das sind steps + 1 Punkte: range(steps + 1).",
    ),
    like(
        lambda *a: deletion_curve(*a, lambda q, c: q.max()),
        "Sie verfolgen die jeweils höchste Wahrscheinlichkeit, nicht die der gefragten Klasse.",
        "Bleiben Sie bei einer Klasse: predict(…)[0, label].",
    ),
    like(
        lambda *a: deletion_curve(*a)[::-1],
        "Die Kurve läuft rückwärts: Sie beginnt beim leeren Bild.",
        "Beginnen Sie mit dem ganzen Bild und löschen Sie dann.",
    ),
)


# --- 4.7 Ein Maß austricksen -----------------------------------------------------------------------------------------
def _places(rng):
    masks = []
    for row, column in rng.integers(0, 10, (3, 2)):
        mask = np.zeros((14, 14), dtype=bool)
        mask[row : row + 2, column : column + 2] = True
        masks.append((mask,))
    return masks


def _trick_form(output, mask):
    output = np.asarray(output)
    if output.shape != mask.shape:
        return f"Die Karte hat die Form {output.shape}, verlangt ist {mask.shape}."
    if output.dtype.kind not in "biuf" or not np.isfinite(output).all():
        return "Die Karte soll aus gewöhnlichen Zahlen bestehen."


TRICK = Exercise(
    "4.7",
    "trick_map",
    "Ihre Karte gewinnt das Zeigespiel und sagt doch fast nichts: Ein Maß allein beweist nichts.",
    _places,
    when(
        lambda o, m: np.asarray(o).min() < 0,
        "Die Karte enthält negative Werte. Eine Grad-CAM-Karte hat keine.",
        "Beginnen Sie mit einer Karte aus Einsen: np.ones(mask.shape).",
    ),
    when(
        lambda o, m: np.asarray(o).max() <= 0,
        "Die Karte ist leer: Wo nichts leuchtet, gibt es kein wichtigstes Pixel.",
        "Beginnen Sie mit einer Karte aus Einsen: np.ones(mask.shape).",
    ),
    when(
        lambda o, m: np.asarray(o).min() == np.asarray(o).max(),
        "Die Karte ist überall gleich, sie zeigt auf kein bestimmtes Pixel.",
        "Machen Sie genau ein Pixel innerhalb der Maske etwas heller.",
    ),
    when(
        lambda o, m: not m.ravel()[np.asarray(o).argmax()],
        "Das Zeigespiel ist verloren: Das hellste Pixel liegt neben der Maske.",
        "np.argwhere(mask)[0] ist eine Stelle in der Maske: Machen Sie genau sie am hellsten.",
    ),
    when(
        lambda o, m: mass_on(np.asarray(o)[None], m)[0] > 0.05,
        "Das Zeigespiel ist gewonnen, aber Ihre Karte liegt wirklich auf der Stelle: Das ist kein Trick.",
        "Höchstens 5 % der Summe aller Werte dürfen in der Maske liegen. Verteilen Sie den Rest auf das ganze Bild.",
    ),
    form=_trick_form,
)


# --- 4.8 Schriftlich -------------------------------------------------------------------------------------------------
def _not_noted(output) -> str | None:
    if isinstance(output, dict):  # was aus NumPy kommt, zählt wie eine gewöhnliche Zahl
        output = {key: value.item() if isinstance(value, np.ndarray) else value for key, value in output.items()}
    try:
        suspected(output)
    except CourseError as error:
        return str(error)


SUSPICION = Exercise(
    "4.8",
    "my_suspicion",
    "Ihr Verdacht steht fest, bevor Sie die Wahrheit kennen. Nur so misst der Umschlag, was Sie aus den Karten lasen.",
    lambda rng: [()],
    form=_not_noted,
    is_value=True,
)
