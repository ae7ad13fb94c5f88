"""Die Tabelle der fehlerhaften Eingaben: was kaputt ist, wer es liest, was im Satz stehen muss.

Jeder Fall steht in einem Ordner mit guten Eingaben und einer fertigen Ausgabe (``{d}``) und macht etwas davon kaputt.
Das erste Wort eines Namens ist die Ursache: Je Ursache und Befehl läuft täglich der erste Fall, mit ``--alles`` alle.
"""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import h5py
import handin_factory
import numpy as np
from PIL import Image

from helpers.files import CSV_NAMES, IDX_NAMES

TRAIN, TEST = CSV_NAMES
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (f"{name}.gz" for name in IDX_NAMES)


class Case(NamedTuple):
    """Ein Fall: macht eine Eingabe in dem Ordner kaputt, der Aufruf, was im Satz stehen muss, Ursache und Befehl."""

    spoil: Callable
    call: tuple
    says: tuple
    kind: str


# --- Bausteine ------------------------------------------------------------------------------------------------------


def garbage() -> dict:
    """Womit sich jede Textdatei kaputt machen lässt: Name → Inhalt."""
    return {
        "leer": b"",
        "Nullbytes": b"\0" * 5000,
        "Zufall": np.random.default_rng(0).bytes(5000),
        "HTML einer Anmeldeseite": b"<!DOCTYPE html><html><body>Bitte anmelden</body></html>",
        "Verweis von git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    }


def broken_json() -> dict:
    """Beschädigte JSON-Objekte: Name → Inhalt; None heißt ein Ordner dieses Namens."""
    return {
        **garbage(),
        "abgeschnitten": b'{"n_train": 2000, "pro',
        "Liste": b"[1, 2]",
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "tief verschachtelt": b'{"a":' * 100_000,
        "Ordner": None,
    }


def put(name: str, content):
    """Ersetzt die Datei ``name``; None macht einen Ordner daraus."""

    def spoil(folder):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if content is None else path.write_bytes(content)

    return spoil


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def change(name: str, how: Callable[[bytes], bytes]):
    """Ändert den Inhalt einer Datei."""
    return lambda folder: (folder / name).write_bytes(how((folder / name).read_bytes()))


def instead(name: str, make: Callable):
    """Legt anstelle der Datei etwas anderes hin, mit ``make(Pfad)``."""
    return lambda folder: ((folder / name).unlink(missing_ok=True), make(folder / name))


def pipe(name: str):
    """Eine benannte Röhre, aus der nie etwas kommt: Wer sie liest, hängt."""
    return instead(name, os.mkfifo)


def loop(name: str):
    return instead(name, lambda path: path.symlink_to(path))


def zipped(members: dict) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def edit_json(name: str, **values):
    """Setzt Einträge eines JSON-Objekts; der Wert ``...`` löscht den Eintrag."""

    def spoil(folder):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        content = {key: value for key, value in {**content, **values}.items() if value is not ...}
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return spoil


# --- CSV ------------------------------------------------------------------------------------------------------------

CSV_CALL = ("daten", "--eingabe", "{d}/csv", "--ziel", "{d}/ausgabe/daten")


def lines(how: Callable[[list], list]):
    return change(f"csv/{TRAIN}", lambda content: "\n".join(how(content.decode().rstrip().split("\n"))).encode())


def line(number: int, how: Callable[[str], str]):
    """Zeile 1 ist die Kopfzeile."""
    return lines(lambda rows: [*rows[: number - 1], how(rows[number - 1]), *rows[number:]])


def cell(number: int, column: int, text: str):
    """Spalte 0 ist die Klasse."""
    return line(number, lambda row: ",".join([*(c := row.split(","))[:column], text, *c[column + 1 :]]))


def every(how: Callable[[str], str], start: int = 1):
    """Ändert jede Zeile ab Nummer ``start``."""
    return lines(lambda rows: [*rows[: start - 1], *map(how, rows[start - 1 :])])


def gz(how: Callable[[bytes], bytes]):
    """Packt die CSV-Datei und beschädigt das Ergebnis."""

    def spoil(folder):
        path = folder / "csv" / TRAIN
        path.with_name(f"{TRAIN}.gz").write_bytes(how(gzip.compress(path.read_bytes(), 1)))
        path.unlink()

    return spoil


WRONG_CLASSES = ["10", "-1", "2.5", "Hose", "=1+1", ""]
WRONG_PIXELS = ["256", "-1", "0.5", "nan", "inf", "1" + "0" * 30, "0x10", "1_0", "٣", "\x1b[31m", "", '"0,5"', "\0"]
CSV = {
    **{f"Inhalt {name}": (put(f"csv/{TRAIN}", content), (TRAIN,)) for name, content in garbage().items()},
    **{f"Klasse {text}": (cell(7, 0, text), ("Zeile 7: Klasse", text, "0 bis 9")) for text in WRONG_CLASSES},
    **{f"Pixel {text}": (cell(5, 300, text), ("Zeile 5: Pixel 300", "0 bis 255")) for text in WRONG_PIXELS},
    "Zeile nach leeren": (every(lambda x: f"\n{x[:-4]}", 3), ("Zeile 4: Pixel 78",)),
    "Ordner statt Datei": (put(f"csv/{TRAIN}", None), (TRAIN, "fehlt")),
    "fehlt": (remove(f"csv/{TEST}"), (TEST, "alle")),
    "Röhre": (pipe(f"csv/{TRAIN}"), (TRAIN, "fehlt")),
    "Verweis auf sich selbst": (loop(f"csv/{TRAIN}"), (TRAIN,)),
    "UTF-16": (change(f"csv/{TRAIN}", lambda c: c.decode().encode("utf-16")), (TRAIN, "CSV UTF-8")),
    "leer bis auf die Kopfzeile": (lines(lambda rows: rows[:1]), ("keine Bildzeilen",)),
    "Zeile zu kurz": (line(9, lambda x: x.rsplit(",", 1)[0]), ("Zeile 9: Pixel 784", "fehlt")),
    "Zeile zu lang": (line(9, lambda x: x + ",0"), ("Zeile 9", "zu viele Spalten")),
    "Zeilen alle zu lang": (every(lambda x: f"{x},0", 2), ("Zeile 1", "Klasse steht nicht vorn")),
    "Kopf mit zu vielen Pixeln": (every(lambda x: x + ",0"), ("Zeile 1", "genau einmal")),
    "Kopf mit zwei Klassen": (every(lambda x: f"{x},{x.split(',')[0]}"), ("Zeile 1", "genau einmal")),
    "Kopf ohne Klasse": (every(lambda x: x.split(",", 1)[-1]), ("Zeile 1", "label")),
    "Kopf mit fremder Spalte": (line(1, lambda x: x.replace("label", "Preis")), ("Zeile 1", "label")),
    "Kopf mit doppeltem Pixel": (line(1, lambda x: x.replace("pixel5,", "pixel4,")), ("Zeile 1", "genau einmal")),
    "Klasse hinten ohne Kopf": (
        lines(lambda rows: [",".join([*row.split(",")[1:], row.split(",")[0]]) for row in rows[1:]]),
        ("Zeile 1", "Klasse steht nicht vorn"),
    ),
    "Zeichen offene Anführung": (cell(5, 300, '"12'), ("Zeile 5", "Anführungszeichen")),
    "Zeichen zu viele in einem Feld": (cell(5, 300, "9" * 200_000), ("Zeile 5",)),
    "gz abgeschnitten": (gz(lambda raw: raw[: len(raw) // 2]), (f"{TRAIN}.gz", "abgeschnitten")),
    "gz gekippt": (gz(lambda raw: raw[:300] + bytes([raw[300] ^ 255]) + raw[301:]), (f"{TRAIN}.gz", "beschädigt")),
    "gz ist keines": (gz(lambda raw: b"kein gzip" * 9), (f"{TRAIN}.gz", "beschädigt")),
    "gz ohne Inhalt": (gz(lambda raw: gzip.compress(b"")), (f"{TRAIN}.gz", "leer")),
}

# --- idx ------------------------------------------------------------------------------------------------------------

IDX_CALL = ("daten", "--eingabe", "{d}/idx", "--ziel", "{d}/ausgabe/daten")


def idx(name: str, how: Callable[[bytes], bytes]):
    return change(f"idx/{name}", lambda content: gzip.compress(how(gzip.decompress(content)), 1))


def head(*numbers: int):
    """Ersetzt die ersten Zahlen des Kopfs: Kennung, Anzahl, Höhe, Breite."""
    return lambda raw: struct.pack(f">{len(numbers)}I", *numbers) + raw[4 * len(numbers) :]


def broken_idx(name: str, how: Callable[[bytes], bytes]):
    return idx(name, how), (name, "unversehrte")


IDX_CASES = {
    **{f"Inhalt {name}": (put(f"idx/{TRAIN_IMAGES}", content), (TRAIN_IMAGES,)) for name, content in garbage().items()},
    "fehlt": (remove(f"idx/{TEST_LABELS}"), ("t10k-labels", "alle")),
    "Röhre": (pipe(f"idx/{TRAIN_LABELS}"), ("train-labels", "alle")),
    "Kennung vier Achsen": broken_idx(TRAIN_IMAGES, head(0x804)),
    "Kennung Bilder statt Klassen": broken_idx(TRAIN_LABELS, head(0x803)),
    "Anzahl Klassen zu klein": (idx(TRAIN_LABELS, lambda r: head(0x801, 39)(r)[:-1]), ("[40, 30]", "[39, 30]")),
    "Länge halber Kopf": broken_idx(TRAIN_IMAGES, lambda raw: raw[:10]),
    "Länge ein Byte fehlt": broken_idx(TRAIN_IMAGES, lambda raw: raw[:-1]),
    "Länge null": broken_idx(TRAIN_IMAGES, lambda raw: head(0x803, 0)(raw)[:16]),
    "Länge vier Milliarden": broken_idx(TRAIN_IMAGES, head(0x803, 2**32 - 1)),
    "Bilder 32 x 32": broken_idx(TRAIN_IMAGES, head(0x803, 40, 32, 32)),
    "Klasse 10": broken_idx(TEST_LABELS, lambda raw: raw[:12] + b"\x0a" + raw[13:]),
    "gz abgeschnitten": (change(f"idx/{TEST_IMAGES}", lambda raw: raw[:-100]), (TEST_IMAGES, "abgeschnitten")),
}

# --- PNG-Ordner -----------------------------------------------------------------------------------------------------

# „wertung“ liest die Bilder der früheren Läufe, ehe sie rechnet.
TREE_CALL = ("wertung", "--modell", "sauber", "--ziel", "{d}/ausgabe/tafel.json")
TREE = "ausgabe/daten"


def picture(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def first_png(folder):
    return min((folder / TREE / "TRAIN").rglob("*.png"))


def png(content):
    """Ersetzt das erste Trainingsbild durch ``content`` (Byte oder Funktion der alten Byte)."""

    def spoil(folder):
        path = first_png(folder)
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return spoil


PNGS = {
    **{f"Inhalt {name}": content for name, content in garbage().items()},
    **{f"Farben {mode}": picture(Image.new(mode, (28, 28))) for mode in ("RGB", "P", "I;16")},
    **{f"Größe {size}": picture(Image.new("L", size)) for size in ((27, 28), (1, 1))},
    **{f"Format {kind}": picture(Image.new("L", (28, 28)), kind) for kind in ("JPEG", "GIF")},
    "beschädigt: abgeschnitten": lambda raw: raw[:-20],
    "beschädigt: gekipptes Bit": lambda raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:],
}
NOTE = f"{TREE}/herkunft.json"
TREES = {
    **{name: (png(content), ("TRAIN/0/", ".png", "daten")) for name, content in PNGS.items()},
    "Bild ist Ordner": (lambda f: (p := first_png(f), p.unlink(), p.mkdir()), ("TRAIN/0/", ".png")),
    "Anzahl eins fehlt": (lambda f: first_png(f).unlink(), ("TRAIN", "39 statt 40")),
    "Anzahl eins zu viel": (lambda f: shutil.copy(first_png(f), f / TREE / "TRAIN/3/99999.png"), ("41 statt 40",)),
    "Anzahl TEST fehlt": (lambda f: shutil.rmtree(f / TREE / "TEST"), ("TEST", "0 statt 30")),
    "Maske kaputt": (put(f"{TREE}/maske.png", b"x"), ("maske.png",)),
}

# --- Gespeicherter Stand --------------------------------------------------------------------------------------------

COUNTS = [{"n_train": "40"}, {"n_train": 0}, {"n_test": -30}, {"n_train": 40.5}, {"n_train": 41}, {"n_train": ...}]
FIGURES = "ausgabe/kennzahlen.json"
COURSE = ("kurs", "--nur", "01")
WEIGHTS_CALL = ("cnn", "--eingabe", "{d}/csv")
STATES = {
    **{f"Herkunft {n}": (put(NOTE, c), TREE_CALL, ("herkunft.json", "daten")) for n, c in broken_json().items()},
    **{f"Angaben {values}": (edit_json(NOTE, **values), TREE_CALL, ("daten",)) for values in COUNTS},
    "Angaben ohne Quelle": (edit_json(NOTE, quelle=...), TREE_CALL, ("daten",)),
    **{
        f"Kennzahlen vor {call[0]} {name}": (put(FIGURES, content), call, ("kennzahlen.json", "löschen Sie sie"))
        for call in (COURSE, WEIGHTS_CALL)
        for name, content in broken_json().items()
    },
    "Röhre als Kennzahlen": (pipe(FIGURES), COURSE, ("kennzahlen.json",)),
    "Verweis im Kreis": (loop(FIGURES), COURSE, ("kennzahlen.json",)),
}

# --- Gewichte und gespeicherte Modelle ------------------------------------------------------------------------------


def h5(datasets: dict) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return stream.getvalue()


def keras_file(weights: bytes) -> bytes:
    return zipped({"config.json": "{}", "metadata.json": "{}", "model.weights.h5": weights})


def layers(**changes) -> bytes:
    """Eine Keras-Datei, winzig: nur die erste Faltung hat die richtige Form."""
    values = {"vars/0": np.zeros((3, 3, 3, 64), "f4"), "vars/1": np.zeros(64, "f4"), **changes}
    return keras_file(h5({f"layers/conv2d/{name}": each for name, each in values.items()}))


RUN = "ausgabe/modelle/sauber"
MODEL_CALL = ("kursmodell", "--eingabe", "{d}/idx")


KERAS_FILES = {
    **{f"Inhalt {name}": content for name, content in garbage().items()},
    "zip leer": zipped({}),
    "zip ohne Gewichte": zipped({"config.json": "{}"}),
    "zip mit Pfaden nach außen": zipped({"../../draussen": "x", "/tmp/kurs-draussen": "x"}),
    "Bombe": keras_file(b"\0" * 300_000_000),
    "Gewichte sind pickle": keras_file(pickle.dumps([1])),
    "Form zu wenige Schichten": layers(),
    "Form erste Schicht anders": layers(**{"vars/0": np.zeros((5, 5, 1, 8), "f4")}),
    "Zahlen nicht endlich": layers(**{"vars/1": np.full(64, np.nan, "f4")}),
    "Zahlen sind Text": layers(**{"vars/1": "x"}),
    "Verweis nach außen": layers(**{"vars/0": h5py.ExternalLink("/etc/passwd", "/a")}),
}
SIZES = ("64", 0, -64, 31, 10**9, 64.0, None, True, [64], {}, ...)
MODELS = {
    **{name: put(f"{RUN}/modell.keras", content) for name, content in KERAS_FILES.items()},
    "Verlauf fehlt": remove(f"{RUN}/verlauf.csv"),
    "Verlauf leer": put(f"{RUN}/verlauf.csv", b""),
    "Verlauf Ordner": put(f"{RUN}/verlauf.csv", None),
    **{f"Einstellungen {name}": put(f"{RUN}/einstellungen.json", c) for name, c in broken_json().items()},
    **{f"Bildgröße {size}": edit_json(f"{RUN}/einstellungen.json", image_size=size) for size in SIZES},
}


# --- Kommandozeilen -------------------------------------------------------------------------------------------------

DATA = ("daten", "--eingabe", "{d}/csv", "--ziel", "{d}/neu")
LINES = {
    (): ("BEFEHL",),
    ("",): ("nicht möglich",),
    ("dtaen",): ("dtaen", "daten"),
    ("daten", "--gibtsnicht"): ("--gibtsnicht",),
    ("daten", "--eingabe"): ("--eingabe", "fehlt ein Wert"),
    ("daten", "--eingabe", ""): ("--eingabe", "leer"),
    ("daten", "--eingabe", "{d}/gibtsnicht"): ("gibtsnicht", "--eingabe"),
    ("daten", "--eingabe", "{d}/csv/" + TRAIN): ("--eingabe",),
    ("daten", "--eingabe", "{d}/csv", "--voll"): ("--voll", "--eingabe", "widersprechen"),
    (*DATA[:3], "--ziel", "{d}/csv"): ("csv", "--ziel"),
    (*DATA[:3], "--ziel", "{d}/csv/" + TRAIN): (TRAIN, "--ziel"),
    (*DATA[:3], "--ziel", "/proc/kurs"): ("/proc",),
    (*DATA[:3], "--ziel", "{d}/" + "x" * 300): ("zu lang",),
    (*DATA, "--n-train", "5"): ("5", "zehn"),
    (*DATA, "--n-train", "41"): ("41", "40"),
    (*DATA, "--n-train", "٢٠"): ("--n-train", "keine ganze Zahl"),
    (*DATA, "--seed", "-1"): ("--seed", "-1"),
    ("cnn", "--gewichte", "imagenet"): ("--gewichte", "imagenet", "beiliegend"),
    ("cnn", "--epochen", "99999"): ("99999", "1000"),
    ("cnn", "--bildgroesse", "31"): ("31", "32"),
    ("cnn", "--geraete", "99"): ("99", "Geräte"),
    ("cnn", "--eingabe", "{d}/csv", "--n-train", "12", "--n-test", "20"): ("12", "20"),
    ("cnn", "--eingabe", "{d}/csv"): ("Stichprobe", "2.000", "40"),
    ("kurs", "--nur"): ("--nur", "fehlt mindestens ein Wert"),
    ("kurs", "--nur", "06"): ("06", "gibt es nicht", "01_Daten"),
    ("kurs", "--profil", "mittel"): ("„mittel“", "schnell oder voll"),
    ("kurs", "--profil", "voll", "-p", "profil", "schnell"): ("profil", "zweimal"),
    ("kurs", "-p", "seed"): ("-p", "Name und Wert"),
    ("ableiten", "--nur", "01"): ("--nur", "--ausfuehren"),
    ("ableiten", "--pruefen", "--ausfuehren"): ("--pruefen", "--ausfuehren"),
    ("stichprobe", "--eingabe", "{d}/gibtsnicht"): ("gibt es nicht", "--eingabe"),
    ("stichprobe", "--eingabe", "{d}/idx"): ("MD5", "idx"),
    ("wertung", "--bilder", "1"): ("--bilder", "2 bis"),
    ("wertung", "--ziel", "{d}/ausgabe"): ("ausgabe", "--ziel"),
    ("benchmark", "--teile", "tanz"): ("--teile", "tanz", "gradcam"),
    ("durchsicht",): ("ABGABEN",),
    ("durchsicht", "{d}/gibtsnicht"): ("gibtsnicht", "gibt es nicht"),
    ("durchsicht", "{d}/csv"): ("kein Notebook",),
}

# --- Parameter der Notebooks ----------------------------------------------------------------------------------------

PARAMETERS = {
    "profil": ["mittel", "", "3"],
    "quelle": ["", "gibtsnicht", "3", "01_Daten.ipynb"],
    "seed": ["-1", "4294967296", "1.5", "zwei", "None", "true", "nan", "1" + "0" * 400, "1_0"],
    "epochen": ["0", "1001", "2.5", "true", "zwei", "inf"],
    "bilder": ["1", "10001", "2.5", "None"],
    "welches_modell": ["fremd", "", "None"],
    "regeln": ["lrp.fremd", "", "3", "lrp.z,,lrp.flat"],
    "verfahren": ["Orakel", "", "Zufall,Orakel"],
    "wz_klasse": ["10", "Hose", "2.0"],
    "wz_groesse": ["0", "29"],
    "wz_oben": ["-1", "25"],
    "wz_links": ["26", "None"],
    "wz_staerke": ["1.1", "nan", "true"],
    "wz_anteil": ["2", "alle"],
    "gibtsnicht": ["1"],
    "0,5": ["0,5"],
}

# --- Abgaben --------------------------------------------------------------------------------------------------------

HANDINS = {
    **{name: text.encode() for name, text in handin_factory.BROKEN.items()},
    **broken_json(),
    "zu viele Zellen": json.dumps({"cells": [{"cell_type": "code", "source": "", "id": "a"}] * 501}).encode(),
    "zu groß": b" " * 20_000_001,
    "halbes Zeichen": b'{"cells": [{"cell_type": "code", "source": "\\ud800", "id": "\\udfff"}]}',
    "keine Kennungen": b'{"cells": [{"cell_type": "code", "source": "1"}]}',
}


def cases() -> dict[str, Case]:
    """Alle Fälle: Name → Fall."""
    found = {}

    def add(group, name, kind, *parts):
        found[f"{group}: {name}"] = Case(*parts, f"{group} {kind}")

    for group, table, call in (("CSV", CSV, CSV_CALL), ("idx", IDX_CASES, IDX_CALL), ("PNG", TREES, TREE_CALL)):
        for name, (spoil, says) in table.items():
            add(group, name, name.split()[0], spoil, call, says)
    for name, (spoil, call, says) in STATES.items():
        add("Stand", name, f"{name.split()[0]} {call[0]}", spoil, call, says)
    for name, spoil in MODELS.items():
        add("Modell", name, name.split()[0], spoil, MODEL_CALL, ("sauber",))
    for call, says in LINES.items():
        options = [each for each in call if each.startswith("-")]
        add("Zeile", " ".join(call)[:60], " ".join([*call[:1], *options[-1:]]), lambda folder: None, call, says)
    for name, values in PARAMETERS.items():
        says = ("kein",) if name == "gibtsnicht" else ("0.5",) if "," in name else ()
        for value in values:
            add("Parameter", f"{name}={value[:20]}", name, lambda folder: None, ("kurs", "-p", name, value), says)
    for name, content in HANDINS.items():
        call, says = ("durchsicht", "{d}/abgaben"), ("anna.ipynb", "noch einmal")
        add("Abgabe", name, name.split()[0], put("abgaben/anna.ipynb", content), call, says)
    return found


def daily(table: dict[str, Case]) -> set[str]:
    """Von jeder Art der erste Fall."""
    return set({case.kind: name for name, case in reversed(table.items())}.values())
