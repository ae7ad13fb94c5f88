"""Die Blindprobe: Wie oft findet die Verdachtssuche ein geheimes Zeichen, und wie oft beschuldigt sie Unschuldige?

Zwei von drei Netzen lernen mit zufälligen Zeichen (``Watermark.drawn``), das dritte ohne, jedes auf anderen Bildern.
Gesucht wird blind. Zum Vergleich kommen die Stellen auch aus anderen Karten, mit denselben Eingriffen: Grad-CAM,
Kanten, Zufall bei den Netzen, die ein Zeichen nutzen, und bei jedem fünften sauberen; bei vieren, weil es Minuten
dauert, aus dem Verdecken an jeder Stelle des Bildes.
"""

import contextlib
import io
import time

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from helpers import data, metrics, trust
from helpers.basics import CLASS_NAMES, output_dir, progress, try_read_json, write_json
from helpers.gradcam import grad_cam
from helpers.inner.provenance import provenance
from helpers.model import keras, preprocess
from helpers.places import FIXED, LOOSE, STEP
from helpers.settings import get_profile
from helpers.suspicion import EFFECT, MEASURED, PATHS, SHORTCUT, TRIED, Questions, relevance_between, search_by
from helpers.training import train

USED = 0.2  # so viel Wahrscheinlichkeit kostet es das Netz ohne Zeichen, dann nutzt es das Zeichen
IMAGES = 2000
FIRST = 135  # an den Netzen davor sind Einstellungen gewählt
SEARCH, GRID = "Suche", "Verdecken"
COVERED_NETS = (139, 180, 189, 190)  # bei ihnen wird verdeckt: Sie nutzen ein Zeichen, und es dauert Minuten je Netz
BOX = 4  # Kante des Quadrats, das beim Verdecken gefüllt wird
COVERED = 16  # so viele Bilder je Klasse beim Verdecken
LOOKED = 64  # so viele Bilder je Klasse für eine mittlere Karte von Grad-CAM und Kanten


def marks_of(number: int) -> list[data.Watermark]:
    """Die Zeichen des Netzes ``number``: jedes dritte hat keines, jedes sechste zwei in verschiedenen Klassen."""
    rng = np.random.default_rng((17, number))
    count = 0 if number % 3 == 2 else 2 if number % 6 == 0 else 1
    return [data.Watermark.drawn(rng, int(label)) for label in rng.permutation(10)[:count]]


def trained(number: int) -> tuple:
    """(Modell, ``Questions`` an es, Testbilder, Klassen, Zeichen mit dem Verlust ohne sie)."""
    clean = data.subset(data.load_source("beispiel"), IMAGES, IMAGES, number)
    marked, drawn = clean, marks_of(number)
    for mark in drawn:
        marked = data.poison(marked, mark, number)
    with contextlib.redirect_stdout(io.StringIO()):
        model = train(marked.train_images, marked.train_labels, get_profile("schnell"), number).model
    net, marks = Questions(model), []
    for mark in drawn:
        rows = (clean.test_labels == mark.label) & (clean.test_images != marked.test_images).any(axis=(1, 2))
        with_mark, without = (net.answer(part.test_images[rows])[:, mark.label] for part in (marked, clean))
        marks.append({**vars(mark), "verlust": float((with_mark - without).mean())})
    return model, net, marked.test_images, marked.test_labels.astype(int), marks


# --- Woher die Stellen kommen ----------------------------------------------------------------------------------------


def cam_between(model):
    """Statt ``relevance_between``: die mittlere Grad-CAM-Karte der eigenen Bilder minus die der anderen, (1, h, b)."""
    size = model.inputs[0].shape[1]

    def pointer(net, images, others, label, seed):
        own, strange = (
            grad_cam(model, preprocess(part[:LOOKED], size), label).mean(axis=0) for part in (images, others)
        )
        small = keras.ops.image.resize((own - strange)[..., None], images.shape[1:], data_format="channels_last")
        return keras.ops.convert_to_numpy(small)[None, ..., 0].astype(float)

    return pointer


def edges_between(net, images, others, label, seed) -> np.ndarray:
    """Mittlere Kanten der eigenen Bilder minus die der anderen: weiß nichts vom Netz."""
    own, strange = (metrics.sobel_maps(part[:LOOKED]).mean(axis=0) for part in (images, others))
    return (own - strange)[None]


def chance(net, images, others, label, seed) -> np.ndarray:
    """Eine geglättete Zufallskarte um null: weiß nichts vom Netz und nichts von den Bildern."""
    return uniform_filter(metrics.random_maps(1, images.shape[1], seed)[0] - 0.5, 3)[None]


def occlusion(net, images, others, label, seed) -> np.ndarray:
    """Ein Quadrat an jeder Stelle mit Bildern anderer Klassen füllen: mittlerer Verlust, verteilt auf seine Pixel."""
    rng = np.random.default_rng(seed)
    own, donors = (part[rng.permutation(len(part))[:COVERED]] for part in (images, others))
    donors = donors[rng.integers(len(donors), size=len(own))]
    before = net.answer(own)[:, label].mean()
    height, width = images.shape[1:]
    lost, times = np.zeros((height, width)), np.zeros((height, width))
    for top in range(height - BOX + 1):
        filled = np.repeat(own[None], width - BOX + 1, axis=0)
        for left, part in enumerate(filled):
            part[:, top : top + BOX, left : left + BOX] = donors[:, top : top + BOX, left : left + BOX]
        now = net.answer(filled.reshape(-1, height, width))[:, label].reshape(len(filled), -1).mean(axis=1)
        for left, value in enumerate(now):
            lost[top : top + BOX, left : left + BOX] += before - value
            times[top : top + BOX, left : left + BOX] += 1
    return (lost / times)[None]


# --- Ein Netz, alle Netze --------------------------------------------------------------------------------------------


def watermark(row: dict) -> data.Watermark:
    """Das Zeichen einer Zeile, ohne den Verlust."""
    return data.Watermark(**{name: value for name, value in row.items() if name != "verlust"})


def accusation(suspect, marks: list[dict]) -> dict:
    """Ein Verdächtiger als Zeile der Tafel: Klasse, Urteil, Zahlen, und wie weit er vom Zeichen seiner Klasse liegt.

    ``überdeckt``: gemeinsame Pixel, geteilt durch die der kleineren Fläche; ``abstand``: der Mittelpunkte in Pixeln.
    """
    row = {"klasse": int(suspect.label), "urteil": suspect.verdict, "pixel": int(suspect.region.sum())}
    row |= {"rand": suspect.edge, "anteil": suspect.share, "füllen": suspect.remove, "nachbarn": suspect.infill}
    row |= {"verpflanzen": suspect.transplant}
    for mark in marks:
        if mark["label"] == suspect.label:
            mask = watermark(mark).mask
            common = (mask & suspect.region).sum() / min(mask.sum(), suspect.region.sum())
            centers = [np.argwhere(each).mean(axis=0) for each in (mask, suspect.region)]
            row |= {"überdeckt": float(common), "abstand": float(np.hypot(*(centers[0] - centers[1])))}
    return row


def examine(number: int) -> dict:
    """Trainiert ein Netz, sucht blind mit jedem Verfahren und ergibt eine Zeile der Tafel."""
    model, net, images, labels, marks = trained(number)
    net.answer(images[:256])  # Übersetzen zählt bei keinem Verfahren
    pointers, used = {SEARCH: relevance_between}, any(mark["verlust"] >= USED for mark in marks)
    if used or number % 15 == 5:
        pointers |= {"Grad-CAM": cam_between(model), "Kanten": edges_between, "Zufall": chance}
    if number in COVERED_NETS:
        pointers[GRID] = occlusion
    row = {"netz": number, "zeichen": marks, "einstellungen": settings(), "verfahren": {}}
    for name, pointer in pointers.items():
        begin = time.perf_counter()
        suspects = search_by(pointer, net, images, labels, number)
        seconds = time.perf_counter() - begin
        found = [accusation(each, marks) for each in suspects if each.edge >= LOOSE]
        row["verfahren"][name] = {"sekunden": seconds, "verdacht": found}
    return row


GROUPS = {
    "alle": lambda marks: marks["size"] > 0,
    "Größe ab 2 und Stärke ab 0,6": lambda marks: (marks["size"] >= 2) & (marks["strength"] >= 0.6),
    **{kind: lambda marks, shapes=shapes: marks["shape"].isin(shapes) for kind, shapes in data.SHAPES.items()},
    "Größe 1": lambda marks: marks["size"] == 1,
    "Größe 2–3": lambda marks: marks["size"].between(2, 3),
    "Größe 4–6": lambda marks: marks["size"] >= 4,
    "Stärke unter 0,6": lambda marks: marks["strength"] < 0.6,
    "Stärke ab 0,6": lambda marks: marks["strength"] >= 0.6,
    "Anteil unter 0,6": lambda marks: marks["share"] < 0.6,
    "Anteil ab 0,6": lambda marks: marks["share"] >= 0.6,
}


def share(hits) -> list[float]:
    """Anteil der Treffer (0–1) als [Wert, tief, hoch, Zahl der Fälle], Intervall nach Wilson; leer ohne Fälle."""
    hits = np.asarray(hits, bool)
    return [*trust.share(hits), len(hits)] if len(hits) else []


def summary(rows: list[dict]) -> dict:
    """Was die Tafel sagt, je Verfahren, Anteile wie aus ``share``.

    ``gefunden``: Zeichen, die das Netz nutzt (``USED``) und die als Abkürzung genannt sind, am richtigen Ort (mehr als
    die Hälfte der kleineren Fläche); ``gezeigt``: dasselbe mit jedem Urteil. ``beschuldigt``: Klassen und Netze ohne
    Zeichen, die eine Abkürzung haben sollen. ``abstand``: Median über die gefundenen, in Pixeln. ``gefunden je Minute``
    zählt nur Netze, die ein Zeichen nutzen, ``Suche je Minute`` die Suche auf denselben Netzen.
    """
    marks, classes = [], []
    for row in rows:
        for name, result in row["verfahren"].items():
            accused = {each["klasse"] for each in result["verdacht"] if each["urteil"] == SHORTCUT}
            if not row["zeichen"]:
                classes += [(name, row["netz"], label in accused) for label in range(len(CLASS_NAMES))]
            for mark in row["zeichen"]:
                right = [each for each in result["verdacht"] if each["klasse"] == mark["label"]]
                right = [each for each in right if each["überdeckt"] > 0.5]
                best = next((each for each in right if each["urteil"] == SHORTCUT), {})
                found = {"gezeigt": bool(right), "gefunden": bool(best), "abstand": best.get("abstand")}
                found["pixel"] = int(watermark(mark).mask.sum())
                marks.append({"verfahren": name, "netz": row["netz"], **mark, **found})
    known = "verfahren netz size strength share shape verlust gezeigt gefunden abstand pixel"
    marks = pd.DataFrame(marks, columns=known.split())
    classes = pd.DataFrame(classes, columns=["verfahren", "netz", "beschuldigt"])
    seconds = {(name, row["netz"]): each["sekunden"] for row in rows for name, each in row["verfahren"].items()}

    def per_minute(name, nets) -> float | None:
        found = marks[(marks["verfahren"] == name) & (marks["verlust"] >= USED) & marks["netz"].isin(nets)]["gefunden"]
        return 60 * float(found.sum()) / sum(seconds[name, net] for net in nets) if len(nets) else None

    result = {}
    for name in dict.fromkeys(name for row in rows for name in row["verfahren"]):
        used = marks[(marks["verfahren"] == name) & (marks["verlust"] >= USED)]
        clean = classes[classes["verfahren"] == name]
        nets = used["netz"].unique()
        result[name] = {
            "gefunden": {group: share(used[fits(used)]["gefunden"]) for group, fits in GROUPS.items()},
            "gezeigt": share(used["gezeigt"]),
            "übersehene Pixel": sorted(used.loc[~used["gefunden"].astype(bool), "pixel"].tolist()),
            "beschuldigte Klassen": share(clean["beschuldigt"]),
            "beschuldigte Netze": share(clean.groupby("netz")["beschuldigt"].any()),
            "abstand": used["abstand"].median() if used["gefunden"].any() else None,
            "sekunden je Netz": float(np.mean([value for (ran, _), value in seconds.items() if ran == name])),
            "gefunden je Minute": per_minute(name, nets),
            "Suche je Minute": per_minute(SEARCH, nets),
        }
    return result


def settings() -> dict:
    """Womit gesucht wurde: Eine Zeile mit anderen Einstellungen wird neu gemacht."""
    counts = {"paare": PATHS, "probiert": list(TRIED), "gemessen": list(MEASURED), "bilder": IMAGES}
    return {"rand": FIXED, "lose": LOOSE, "sprung": STEP, "wirkung": EFFECT, **counts}


def run(numbers, path) -> dict:
    """Untersucht die Netze ``numbers``, jedes einmal, und legt die Tafel ab.

    Ein abgebrochener Lauf macht beim nächsten Netz weiter, auch an einem anderen Abend: Was in der Tafel steht oder in
    ``ausgabe/blindprobe`` und mit denselben Einstellungen gesucht ist, gilt.
    """
    folder = output_dir() / "blindprobe"
    known = try_read_json(path, {}).get("netze", []) + [try_read_json(each, {}) for each in folder.glob("[0-9]*.json")]
    rows = {row["netz"]: row for row in known if row.get("einstellungen") == settings()}
    for number in progress(list(numbers), text="Blindprobe", unit="Netze"):
        if number not in rows:
            rows[number] = examine(number)
            write_json(folder / f"{number:03}.json", rows[number])
            keras.backend.clear_session()
    rows = [rows[number] for number in sorted(rows)]
    table = {"netze": rows, "ergebnis": summary(rows), "herkunft": provenance(profile="schnell")}
    write_json(path, table)
    return table
