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

from helpers.inner.files import CSV_NAMES, IDX_NAMES

TRAIN, TEST = CSV_NAMES
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (f"{name}.gz" for name in IDX_NAMES)


class Case(NamedTuple):
    """Ein Fall: macht eine Eingabe in dem Ordner kaputt, der Aufruf, was im Satz stehen muss, Ursache und Befehl."""

    spoil: Callable
    call: tuple
    says: tuple
    kind: str


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


def instead(name: str, make: Callable):
    """Legt anstelle der Datei oder des Ordners ``name`` etwas anderes hin, mit ``make(Pfad)``."""

    def spoil(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        make(path)

    return spoil


def put(name: str, content):
    """Ersetzt die Datei ``name``; None macht einen Ordner daraus."""
    return instead(name, lambda path: path.mkdir() if content is None else path.write_bytes(content))


def change(name: str, how: Callable[[bytes], bytes]):
    """Ändert den Inhalt der Datei ``name``, ``*`` steht für die erste, die passt."""

    def spoil(folder):
        path = min(folder.glob(name))
        path.write_bytes(how(path.read_bytes()))

    return spoil


def remove(name: str):
    return instead(name, lambda path: None)


def pipe(name: str):
    """Eine benannte Röhre, aus der nie etwas kommt: Wer sie liest, hängt."""
    return instead(name, os.mkfifo)


def zipped(members: dict) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def edit_json(name: str, **values):
    """Setzt Einträge eines JSON-Objekts; der Wert ``...`` löscht den Eintrag."""

    def how(content):
        changed = {**json.loads(content), **values}
        return json.dumps({key: value for key, value in changed.items() if value is not ...}).encode()

    return change(name, how)


CSV_CALL = ("daten", "--eingabe", "{d}/csv", "--ziel", "{d}/ausgabe/daten")


def rows(how: Callable[[str], str], first: int = 1, last: int | None = None):
    """Ändert die Zeilen ``first`` bis ``last``; Zeile 1 ist die Kopfzeile."""

    def edit(content):
        lines = enumerate(content.decode().split(), 1)
        return "\n".join(how(text) if first <= number <= (last or number) else text for number, text in lines).encode()

    return change(f"csv/{TRAIN}", edit)


def cell(line: int, column: int, text: str):
    """Spalte 0 ist die Klasse."""
    return rows(lambda row: ",".join([*(c := row.split(","))[:column], text, *c[column + 1 :]]), line, line)


def label_last(content: bytes) -> bytes:
    rows = [row.split(b",") for row in content.split()[1:]]
    return b"\n".join(b",".join([*row[1:], row[0]]) for row in rows)


WRONG_CLASSES = ["10", "-1", "2.5", "Hose", ""]
WRONG_PIXELS = ["256", "-1", "0.5", "nan", "inf", "1" + "0" * 30, "0x10", "1_0", "٣", "\x1b[31m", "", '"0,5"', "\0"]
CSV = {
    **{f"Inhalt {name}": (put(f"csv/{TRAIN}", content), (TRAIN,)) for name, content in garbage().items()},
    **{f"Klasse {text}": (cell(7, 0, text), ("Zeile 7: Klasse", text, "0 bis 9")) for text in WRONG_CLASSES},
    **{f"Pixel {text}": (cell(5, 300, text), ("Zeile 5: Pixel 300", "0 bis 255")) for text in WRONG_PIXELS},
    "Zeile nach leeren": (rows(lambda x: f"\n{x[:-4]}", 3), ("Zeile 4: Pixel 78",)),
    "Zeile zu kurz": (rows(lambda x: x.rsplit(",", 1)[0], 9, 9), ("Zeile 9: Pixel 784", "fehlt")),
    "Zeile zu lang": (rows(lambda x: x + ",0", 9, 9), ("Zeile 9", "zu viele Spalten")),
    "Zeilen alle zu lang": (rows(lambda x: f"{x},0", 2), ("Zeile 1", "Klasse steht nicht vorn")),
    "fehlt": (remove(f"csv/{TEST}.gz"), (TEST, "alle")),
    "Röhre": (pipe(f"csv/{TRAIN}"), (TRAIN, "fehlt")),
    "UTF-16": (change(f"csv/{TRAIN}", lambda c: c.decode().encode("utf-16")), (TRAIN, "CSV UTF-8")),
    "leer bis auf die Kopfzeile": (change(f"csv/{TRAIN}", lambda c: c.split(b"\n")[0]), ("keine Bildzeilen",)),
    "Kopf mit zu vielen Pixeln": (rows(lambda x: x + ",0"), ("Zeile 1", "genau einmal")),
    "Kopf ohne Klasse": (rows(lambda x: x.split(",", 1)[-1]), ("Zeile 1", "label")),
    "Kopf fehlt, Klasse hinten": (change(f"csv/{TRAIN}", label_last), ("Zeile 1", "Klasse steht nicht vorn")),
    "Zeichen offene Anführung": (cell(5, 300, '"12'), ("Zeile 5", "Anführungszeichen")),
    "Zeichen zu viele in einem Feld": (cell(5, 300, "9" * 200_000), ("Zeile 5",)),
}

IDX_CALL = ("daten", "--eingabe", "{d}/idx", "--ziel", "{d}/ausgabe/daten")


def idx(name: str, how: Callable[[bytes], bytes]):
    return change(f"idx/{name}", lambda content: gzip.compress(how(gzip.decompress(content)), 1))


def head(*numbers: int):
    """Ersetzt die ersten Zahlen des Kopfs: Kennung, Anzahl, Höhe, Breite."""
    return lambda raw: struct.pack(f">{len(numbers)}I", *numbers) + raw[4 * len(numbers) :]


BROKEN_IDX = {
    "Kennung vier Achsen": (TRAIN_IMAGES, head(0x804)),
    "Länge halber Kopf": (TRAIN_IMAGES, lambda raw: raw[:10]),
    "Länge ein Byte fehlt": (TRAIN_IMAGES, lambda raw: raw[:-1]),
    "Länge vier Milliarden": (TRAIN_IMAGES, head(0x803, 2**32 - 1)),
    "Bilder 32 x 32": (TRAIN_IMAGES, head(0x803, 40, 32, 32)),
    "Klasse 10": (TEST_LABELS, lambda raw: raw[:12] + b"\x0a" + raw[13:]),
}
BROKEN_GZ = {
    "Bombe gz": lambda raw: gzip.compress(bytes(10_000_000), 1) * 51,
    "gz abgeschnitten": lambda raw: raw[:-100],
    "gz gekippt": lambda raw: raw[:300] + bytes([raw[300] ^ 255]) + raw[301:],
}
IDX_CASES = {
    **{f"Inhalt {name}": (put(f"idx/{TRAIN_IMAGES}", content), (TRAIN_IMAGES,)) for name, content in garbage().items()},
    **{name: (idx(file, how), (file, "unversehrte")) for name, (file, how) in BROKEN_IDX.items()},
    **{
        name: (change(f"idx/{TEST_IMAGES}", how), (TEST_IMAGES, "500 MB" if "Bombe" in name else "gzip"))
        for name, how in BROKEN_GZ.items()
    },
    "fehlt": (remove(f"idx/{TEST_LABELS}"), ("t10k-labels", "alle")),
    "Röhre": (pipe(f"idx/{TRAIN_LABELS}"), ("train-labels", "alle")),
    "Anzahl Klassen zu klein": (idx(TRAIN_LABELS, lambda r: head(0x801, 39)(r)[:-1]), ("[40, 30]", "[39, 30]")),
}

# „wertung“ liest die Bilder der früheren Läufe, ehe sie rechnet.
TREE_CALL = ("wertung", "--modell", "sauber", "--ziel", "{d}/ausgabe/tafel.json")
TREE = "ausgabe/daten"


def picture(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


FIRST = f"{TREE}/TRAIN/0/*.png"
PNGS = {
    **{f"Inhalt {name}": lambda raw, content=content: content for name, content in garbage().items()},
    **{f"Farben {mode}": lambda raw, mode=mode: picture(Image.new(mode, (28, 28))) for mode in ("RGB", "P", "I;16")},
    "Größe": lambda raw: picture(Image.new("L", (27, 28))),
    "Format": lambda raw: picture(Image.new("L", (28, 28)), "JPEG"),
    "beschädigt: abgeschnitten": lambda raw: raw[:-20],
    "beschädigt: gekipptes Bit": lambda raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:],
}
NOTE = f"{TREE}/herkunft.json"
TREES = {
    **{name: (change(FIRST, how), ("TRAIN/0/", ".png", "daten")) for name, how in PNGS.items()},
    "Anzahl eins fehlt": (lambda folder: min(folder.glob(FIRST)).unlink(), ("TRAIN", "39 statt 40")),
    "Anzahl eins zu viel": (put(f"{TREE}/TRAIN/3/99999.png", b""), ("41 statt 40",)),
    "Anzahl TEST fehlt": (remove(f"{TREE}/TEST"), ("TEST", "0 statt 30")),
    "Maske kaputt": (put(f"{TREE}/maske.png", b"x"), ("maske.png",)),
}

COUNTS = [{"n_train": "40"}, {"n_train": 0}, {"n_test": -30}, {"n_train": 40.5}, {"n_train": 41}, {"quelle": ...}]
FIGURES = "ausgabe/kennzahlen.json"
COURSE = ("kurs", "--nur", "01")
WEIGHTS_CALL = ("cnn", "--eingabe", "{d}/csv")
STATES = {
    **{f"Herkunft {n}": (put(NOTE, c), TREE_CALL, ("herkunft.json", "daten")) for n, c in broken_json().items()},
    **{f"Angaben {values}": (edit_json(NOTE, **values), TREE_CALL, ("daten",)) for values in COUNTS},
    **{
        f"Kennzahlen vor {call[0]} {name}": (put(FIGURES, content), call, ("kennzahlen.json", "löschen Sie sie"))
        for call in (COURSE, WEIGHTS_CALL)
        for name, content in broken_json().items()
    },
    "Röhre als Kennzahlen": (pipe(FIGURES), COURSE, ("kennzahlen.json",)),
    "Verweis im Kreis": (instead(FIGURES, lambda path: path.symlink_to(path)), COURSE, ("kennzahlen.json",)),
}


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
    "zip ohne Gewichte": zipped({"config.json": "{}"}),
    "zip mit Pfaden nach außen": zipped({"../../draussen": "x", "/tmp/kurs-draussen": "x"}),
    "Bombe": keras_file(b"\0" * 300_000_000),
    "Gewichte sind pickle": keras_file(pickle.dumps([1])),
    "Form zu wenige Schichten": layers(),
    "Zahlen nicht endlich": layers(**{"vars/1": np.full(64, np.nan, "f4")}),
    "Zahlen sind Text": layers(**{"vars/1": "x"}),
    "Verweis nach außen": layers(**{"vars/0": h5py.ExternalLink("/etc/passwd", "/a")}),
}
SIZES = ("64", 0, -64, 31, 10**9, 64.0, None, True, [64], {}, ...)
MODELS = {
    **{name: put(f"{RUN}/modell.keras", content) for name, content in KERAS_FILES.items()},
    "Verlauf fehlt": remove(f"{RUN}/verlauf.csv"),
    "Verlauf leer": put(f"{RUN}/verlauf.csv", b""),
    "Spalte des Verlaufs fehlt": put(f"{RUN}/verlauf.csv", b"epoche,treffer,val_treffer\n1,0.5,0.5\n"),
    **{f"Einstellungen {name}": put(f"{RUN}/einstellungen.json", c) for name, c in broken_json().items()},
    **{f"Bildgröße {size}": edit_json(f"{RUN}/einstellungen.json", image_size=size) for size in SIZES},
}


DATA = ("daten", "--eingabe", "{d}/csv", "--ziel", "{d}/neu")
LINES = {
    (): ("BEFEHL",),
    ("",): ("nicht möglich",),
    ("dtaen",): ("dtaen", "daten"),
    ("daten", "--gibtsnicht"): ("--gibtsnicht",),
    ("daten", "--eingabe"): ("--eingabe", "fehlt ein Wert"),
    ("daten", "--eingabe", ""): ("--eingabe", "leer"),
    ("daten", "--eingabe", "{d}/csv/" + TRAIN): ("--eingabe",),
    ("daten", "--eingabe", "{d}/csv", "--voll"): ("--voll", "--eingabe", "widersprechen"),
    (*DATA[:3], "--ziel", "{d}/csv"): ("csv", "--ziel"),
    (*DATA[:3], "--ziel", "/proc/kurs"): ("/proc",),
    (*DATA[:3], "--ziel", "{d}/" + "x" * 300): ("zu lang",),
    (*DATA, "--n-train", "5"): ("5", "10 Klassen"),
    (*DATA, "--n-train", "٢٠"): ("--n-train", "keine ganze Zahl"),
    (*DATA, "--seed", "-1"): ("--seed", "-1"),
    ("cnn", "--gewichte", "imagenet"): ("--gewichte", "imagenet", "beiliegend"),
    ("cnn", "--epochen", "99999"): ("99999", "1000"),
    ("cnn", "--geraete", "99"): ("99", "Geräte"),
    ("cnn", "--eingabe", "{d}/csv"): ("Stichprobe", "2.000", "40"),
    ("kurs", "--nur"): ("--nur", "fehlt mindestens ein Wert"),
    ("kurs", "--nur", "06"): ("06", "gibt es nicht", "01_Daten"),
    ("kurs", "--profil", "mittel"): ("„mittel“", "schnell oder voll"),
    ("kurs", "--profil", "voll", "-p", "profil", "schnell"): ("profil", "zweimal"),
    ("kurs", "-p", "seed"): ("-p", "Name und Wert"),
    ("ableiten", "--nur", "01"): ("--nur", "--ausfuehren"),
    ("wertung", "--bilder", "1"): ("--bilder", "2 bis"),
    ("wertung", "--ziel", "{d}/ausgabe"): ("ausgabe", "--ziel"),
    ("benchmark", "--teile", "tanz"): ("--teile", "tanz", "gradcam"),
    ("durchsicht",): ("ABGABEN",),
    ("auswerten", "--n-test", "9"): ("--n-test",),
    ("wertung", "--modell", "fremd"): ("--modell", "fremd", "kurs"),
    ("durchsicht", "{d}/gibtsnicht"): ("gibtsnicht", "gibt es nicht"),
}

PARAMETERS = {
    "profil": ["mittel", "", "3"],
    "quelle": ["", "gibtsnicht", "3", "01_Daten.ipynb"],
    "seed": ["-1", "4294967296", "1.5", "zwei", "None", "true", "nan", "1" + "0" * 400, "1_0"],
    "epochen": ["0", "1001", "2.5", "true", "zwei", "inf"],
    "bilder": ["1", "10001", "2.5", "None"],
    "welches_modell": ["fremd", "", "None"],
    "regeln": ["lrp.fremd", "", "3", "lrp.z,,lrp.flat"],
    "verfahren": ["Orakel", "", "Zufall,Orakel"],
    "umschlag": ["3", "None", "x" * 101],
    "gibtsnicht": ["1"],
    "0,5": ["0,5"],
}

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
        assert f"{group}: {name}" not in found, f"zwei Fälle heißen {name}: Einer liefe nie"
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
        name, kind = " ".join(call)[:60] or repr(call), " ".join([*call[:1], *options[-1:]])
        add("Zeile", name, kind, lambda folder: None, call, says)
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
