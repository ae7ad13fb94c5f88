"""Die Aufgaben von 01_Daten."""

import numpy as np

from helpers.checks.exercise import Exercise, like, when


# --- 1.1 Eine Zeile wird ein Bild ------------------------------------------------------------------------------------
def pixel_position(name):
    return divmod(int(name.removeprefix("pixel")) - 1, 28)


POSITION = Exercise(
    "1.1",
    pixel_position,
    "Wer weiß, welche Spalte welches Pixel ist, findet auch eine verrutschte Spalte.",
    lambda rng: [(f"pixel{number}",) for number in [*rng.integers(30, 755, 6).tolist(), 28, 784]],
    like(
        lambda name: divmod(int(name[5:]), 28),
        "Alle Stellen sind um ein Pixel verschoben.",
        "Die Spaltennamen zählen ab 1, Python zählt ab 0: Ziehen Sie vor dem Teilen 1 ab.",
    ),
    like(
        lambda name: pixel_position(name)[::-1],
        "Zeile und Spalte sind vertauscht.",
        "Die ganzzahlige Teilung durch 28 (//) ergibt die Zeile, der Rest (%) die Spalte.",
    ),
    like(
        lambda name: tuple(value + 1 for value in pixel_position(name)),
        "Sie zählen Zeilen und Spalten ab 1.",
        "Die Stelle oben links ist (0, 0), denn so greift NumPy auf das Bild zu.",
    ),
    like(
        lambda name: divmod(int(name[5:]) - 1, 27),
        "Die Breite des Bilds stimmt nicht.",
        "Jede Zeile hat 28 Pixel: Auch wenn die letzte Spalte die Nummer 27 trägt, wird durch 28 geteilt.",
    ),
    like(
        lambda name: int(name[5:]) - 1,
        "Das ist die laufende Nummer, noch nicht die Stelle im Bild.",
        "Teilen Sie die Nummer durch 28: Das Ergebnis ist die Zeile, der Rest die Spalte.",
    ),
)


# --- 1.2 Der Schablonen-Klassifikator --------------------------------------------------------------------------------
def nearest_template(images, templates):
    return _distances(images, templates).argmin(axis=1)


def _distances(images, templates, size=np.abs, kind=float):
    return size(images[:, None].astype(kind) - templates[None]).mean(axis=(2, 3))


def _pictures_and_templates(rng):
    cases = []
    for count in (12, 7):
        templates = rng.integers(0, 256, (10, 28, 28)).astype(np.uint8) * (rng.random((10, 28, 28)) < 0.7)
        images = rng.integers(0, 256, (count, 28, 28))
        mixed = 0.75 * templates[rng.integers(0, 10, count)] + 0.25 * images
        cases.append((mixed.astype(np.uint8), templates.astype(float)))
    # Ganzzahlige Schablonen, etwas heller als die Bilder: Mit uint8 läuft jede Differenz über.
    templates = rng.integers(10, 256, (10, 28, 28)).astype(np.uint8)
    return [*cases, (templates[rng.permutation(10)] - rng.integers(1, 9, (10, 28, 28)).astype(np.uint8), templates)]


TEMPLATES = Exercise(
    "1.2",
    nearest_template,
    "Diese Trefferquote ist eine Messlatte: Was ein Netz mehr kann, muss es erst zeigen.",
    _pictures_and_templates,
    like(
        lambda i, t: _distances(i, t).argmax(axis=1),
        "Sie wählen die unähnlichste Schablone.",
        "Ein kleiner Abstand heißt ähnlich: Nehmen Sie argmin statt argmax.",
    ),
    like(
        lambda i, t: _distances(i, t, size=np.positive).argmin(axis=1),
        "Positive und negative Unterschiede heben sich bei Ihnen auf.",
        "Bilden Sie vor dem Mitteln den Betrag: np.abs(…).",
    ),
    like(
        lambda i, t: _distances(i, t, size=np.positive, kind=np.uint8).argmin(axis=1),
        "Es fehlt zweierlei: Kommazahlen und der Betrag.",
        "Schreiben Sie images.astype(float) vor dem Abziehen und np.abs(…) vor dem Mitteln.",
    ),
    like(
        lambda i, t: _distances(i, t).argmin(axis=0),
        "Falsche Achse: Sie suchen zu jeder Schablone das beste Bild.",
        "Gefragt ist zu jedem Bild die beste Schablone: argmin über die Achse der Schablonen.",
    ),
    like(
        lambda i, t: _distances(i, t, kind=np.uint8).argmin(axis=1),
        "Die Grauwerte laufen über: Mit uint8 ist 3 − 5 = 254.",
        "Wandeln Sie die Bilder vor dem Abziehen um: images.astype(float). In der Prüfung sind auch Schablonen uint8.",
    ),
    like(
        _distances,
        "Das sind die Abstände, noch nicht die Klassen.",
        "Hängen Sie „.argmin(axis=1)“ an: die Nummer der nächsten Schablone.",
    ),
)


# --- 1.3 Geschichtet teilen ------------------------------------------------------------------------------------------
def _label_lists(rng):
    balanced = np.repeat(np.arange(10), 40)
    uneven = np.repeat(np.arange(4), [200, 100, 60, 40])
    return [
        (rng.permutation(balanced), 0.1, np.random.default_rng(1)),
        (np.sort(balanced), 0.2, np.random.default_rng(2)),
        (rng.permutation(uneven), 0.1, np.random.default_rng(3)),
    ]


def _split_form(output, labels, share, rng):
    if not isinstance(output, list | tuple) or len(output) != 2:
        return "Verlangt sind zwei Ergebnisse: Zeilen für das Training, Zeilen für die Validierung."
    parts = [np.asarray(part) for part in output]
    if any(part.dtype == bool for part in parts):
        return "Verlangt sind Zeilennummern, keine Wahrheitswerte: np.flatnonzero macht aus ihnen Zeilennummern."
    if any(part.ndim != 1 or part.dtype.kind not in "iu" for part in parts):
        return "Verlangt sind zwei eindimensionale Arrays mit ganzen Zahlen."
    rows = np.concatenate(parts)
    if rows.size and (rows.min() < 0 or rows.max() >= len(labels)):
        return "Es kommen Zeilennummern vor, die es nicht gibt."


def _unequal(output, labels, share, rng):
    drawn = np.bincount(labels[np.asarray(output[1])], minlength=labels.max() + 1)
    return bool((np.abs(drawn - share * np.bincount(labels)) > 1).any())


def _first_rows(output, labels, share, rng):
    """Immer dieselben Zeilen, nämlich die ersten oder letzten jeder Klasse: nicht gemischt."""
    taken = np.isin(np.arange(len(labels)), np.asarray(output[1]))
    return all(np.count_nonzero(np.diff(taken[labels == label])) <= 1 for label in np.unique(labels))


SPLIT = Exercise(
    "1.3",
    "stratified_split",
    "Jede Klasse behält ihren Anteil, und kein Bild liegt in zwei Teilen: So misst die Validierung ehrlich.",
    _label_lists,
    when(
        lambda output, *args: len(np.intersect1d(*map(np.asarray, output))) > 0,
        "Einige Bilder liegen in beiden Teilen.",
        "Ins Training gehören genau die Zeilen, die in der Validierung fehlen: np.setdiff1d(all_rows, validation).",
    ),
    when(
        lambda output, *args: any(len(np.unique(rows)) < len(rows) for rows in output),
        "Einige Bilder kommen in einem Teil doppelt vor.",
        "Ziehen Sie ohne Zurücklegen: rng.permutation mischt, ohne etwas zu wiederholen.",
    ),
    when(
        lambda output, labels, *args: len(np.union1d(*map(np.asarray, output))) < len(labels),
        "Einige Bilder sind verloren gegangen.",
        "Training und Validierung zusammen müssen alle Zeilen enthalten.",
    ),
    when(
        lambda output, labels, *args: len(output[0]) < len(output[1]),
        "Training und Validierung sind vertauscht.",
        "Zuerst kommt das Training, dann die Validierung mit dem Anteil „share“.",
    ),
    when(
        lambda output, labels, share, rng: abs(len(output[1]) - share * len(labels)) > len(np.unique(labels)),
        "Der Anteil der Validierung stimmt nicht.",
        "Aus jeder Klasse gehören round(share * Anzahl) Zeilen in die Validierung.",
    ),
    when(
        _unequal,
        "Die Teilung ist nicht geschichtet: Manche Klasse ist zu oft, manche zu selten dabei.",
        "Gehen Sie in einer Schleife durch die Klassen und teilen Sie jede für sich.",
    ),
    when(
        _first_rows,
        "Die Teilung ist geschichtet, aber nicht gemischt: Aus jeder Klasse kommen die ersten oder letzten Zeilen.",
        "Mischen Sie die Zeilen jeder Klasse, bevor Sie abschneiden: rng.permutation(rows).",
    ),
    form=_split_form,
)


# --- 1.4 Das verlorene Bild ------------------------------------------------------------------------------------------
def compare_folders(before, after):
    missing = {name for name in before if name not in after}
    moved = {name for name in before if name in after and after[name] != before[name]}
    return missing, moved


def _folders(rng):
    cases = []
    for lost, wrong, extra in ((1, 1, 0), (2, 3, 1), (0, 2, 0)):
        names = [f"{number:05}.png" for number in rng.permutation(1000)[:40]]
        before = {name: int(label) for name, label in zip(names, rng.integers(0, 10, 40), strict=True)}
        after = {name: before[name] for name in rng.permutation(names).tolist()}
        for name in names[:lost]:
            del after[name]
        for name in names[lost : lost + wrong]:
            after[name] = (after[name] + 1 + int(rng.integers(0, 8))) % 10
        cases.append((before, after | {f"neu{n}.png": 0 for n in range(extra)}))
    return cases


FOLDERS = Exercise(
    "1.4",
    compare_folders,
    "Eine Hin- und Rückprobe findet Verluste, bevor ein Netz sie lernt.",
    _folders,
    like(
        lambda b, a: compare_folders(b, a)[::-1],
        "Die beiden Ergebnisse sind vertauscht.",
        "Zuerst die fehlenden Bilder, dann die im falschen Unterordner.",
    ),
    like(
        lambda b, a: ({n for n in a if n not in b}, compare_folders(b, a)[1]),
        "Sie suchen in der falschen Richtung: Gefunden werden Bilder, die neu dazugekommen sind.",
        "Es fehlt, was in „before“ steht und nicht in „after“.",
    ),
    like(
        lambda b, a: (compare_folders(b, a)[0], {n for n in b if a.get(n) != b[n]}),
        "Fehlende Bilder zählen bei Ihnen auch als verschoben.",
        "Verschoben ist nur, was in beiden Ordnern liegt: Prüfen Sie zuerst „name in after“.",
    ),
    like(
        lambda b, a: (compare_folders(b, a)[0], set()),
        "Die fehlenden Bilder finden Sie, die im falschen Unterordner nicht.",
        "Vergleichen Sie für jedes gemeinsame Bild before[name] mit after[name].",
    ),
    when(
        lambda output, b, a: all(isinstance(part, int) for part in output),
        "Sie zählen nur. Gesucht sind die Namen der Bilder.",
        "Geben Sie zwei Mengen zurück, z. B. {name for name in before if …}.",
    ),
)


# --- 1.5 Ihr eigenes Gift --------------------------------------------------------------------------------------------
def _poison_form(output, images, labels, label):
    if not isinstance(output, list | tuple) or len(output) != 2:
        return "Verlangt sind zwei Ergebnisse: die vergifteten Bilder und die Maske."
    result, mask = map(np.asarray, output)
    if result.shape != images.shape:
        return f"Die Bilder haben die Form {result.shape}, verlangt ist {images.shape}."
    if result.dtype != images.dtype:
        return f"Die Bilder haben jetzt den Datentyp {result.dtype}; sie sollen uint8 bleiben (0 bis 255)."
    if mask.shape != (28, 28) or mask.dtype != bool:
        return "Die Maske soll die Form (28, 28) haben und aus Wahrheitswerten (bool) bestehen."


def _changed(output, images):
    return np.asarray(output[0]) != images


POISON = Exercise(
    "1.5",
    "poison",
    "Sie kennen die Wahrheit über Ihr Gift. Ob ein Netz darauf hereinfällt, messen Sie in 03.",
    lambda rng: [
        (rng.integers(0, 200, (30, 28, 28)).astype(np.uint8), np.arange(30) % 10, int(label))
        for label in rng.permutation(10)[:2]
    ],
    when(
        lambda o, i, labels, label: not _changed(o, i).any(),
        "Kein einziges Bild hat sich verändert. Vielleicht ändern Sie die Originale statt der Kopie, oder beide?",
        "Beginnen Sie mit „result = images.copy()“ und schreiben Sie das Zeichen in result.",
    ),
    when(
        lambda o, i, labels, label: _changed(o, i)[labels != label].any(),
        "Auch Bilder anderer Klassen tragen das Zeichen.",
        "Wählen Sie nur die Bilder der Klasse: rows = labels == label, dann result[rows, …] = 255.",
    ),
    when(
        lambda o, i, labels, label: not _changed(o, i)[labels == label].any(axis=(1, 2)).all(),
        "Nicht alle Bilder der Klasse tragen das Zeichen.",
        "Das Zeichen muss auf jedem Bild der Klasse sichtbar sein, nicht nur auf dem ersten.",
    ),
    when(
        lambda o, i, labels, label: _changed(o, i)[:, ~np.asarray(o[1])].any(),
        "Es haben sich Pixel außerhalb der Maske verändert.",
        "Maske und Zeichen müssen an derselben Stelle liegen: erst Zeilen, dann Spalten.",
    ),
    when(
        lambda o, i, labels, label: np.asarray(o[1]).mean() > 0.05,
        "Die Maske ist zu groß: Ein Mensch sähe das Zeichen sofort.",
        "Höchstens 39 der 784 Pixel (5 %) sind erlaubt, etwa ein Quadrat mit 4 × 4.",
    ),
    form=_poison_form,
)
