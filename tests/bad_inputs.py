"""Die Tabelle der fehlerhaften Eingaben: was kaputt ist, wer es liest, was im Satz stehen muss.

Jeder Fall steht in einem Ordner mit guten Eingaben und einer fertigen Ausgabe; ``spoil`` macht etwas davon kaputt.
``{d}`` in den Angaben steht für diesen Ordner.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import handin_factory
import numpy as np
from PIL import Image, PngImagePlugin

from helpers import course_model, data, lrp_library, model
from helpers.basics import COURSE_MODEL_CARD

TRAIN, TEST = data.CSV_NAMES
IDX = [f"{name}.gz" for name in data.IDX_MD5]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = IDX
LIMIT = 20_000_000  # statt data.MAX_BYTES, damit die Bomben hier schnell entpackt sind


@dataclass(frozen=True)
class Case:
    """Ein Fall.

    Attributes:
        spoil: bekommt den Ordner und macht eine Eingabe kaputt.
        call: die Angaben der Kommandozeile oder, wo kein Befehl die Datei liest, eine Funktion (Ordner → Fehler).
        says: was im Satz stehen muss.
        patch: (Funktion, Vorgabewerte): die Dateien in input/ ersetzt der Test durch eigene.
    """

    spoil: Callable | None
    call: tuple | Callable
    says: tuple
    patch: Callable | None = None


def nothing(folder: Path) -> None:
    """Hier ist nur der Aufruf falsch."""


# --- Bausteine ------------------------------------------------------------------------------------------------------


def garbage() -> dict:
    """Womit sich jede Textdatei kaputt machen lässt: Name → Inhalt."""
    return {
        "leer": b"",
        "nur Leerraum": b" \n\n",
        "Nullbytes": b"\0" * 5000,
        "Zufall": np.random.default_rng(0).bytes(5000),
        "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        "HTML einer Anmeldeseite": b"<!DOCTYPE html><html><body>Bitte anmelden</body></html>",
        "Verweis von git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
        "pickle": pickle.dumps({"n": 1}),
    }


def broken_json() -> dict:
    """Beschädigte JSON-Objekte: Name → Inhalt; None heißt ein Ordner dieses Namens."""
    return {
        **garbage(),
        "abgeschnitten": b'{"n_train": 2000, "pro',
        "Liste": b"[1, 2]",
        "Zahl": b"3",
        "null": b"null",
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "Latin-1": '{"größe": 1}'.encode("latin-1"),
        "zwei Objekte": b"{}\n{}",
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


def pipe(name: str):
    """Eine benannte Röhre, aus der nie etwas kommt: Wer sie liest, hängt."""

    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def loop(name: str):
    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / name)

    return spoil


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


def cell(line: int, column: int, text: str):
    """Zeile 1 ist die Kopfzeile, Spalte 0 die Klasse."""

    def how(content):
        lines = content.decode().split("\n")
        cells = lines[line - 1].split(",")
        cells[column] = text
        lines[line - 1] = ",".join(cells)
        return "\n".join(lines).encode()

    return change(f"csv/{TRAIN}", how)


def lines(how: Callable[[list], list]):
    return change(f"csv/{TRAIN}", lambda content: "\n".join(how(content.decode().split("\n"))).encode())


def gz(how: Callable[[bytes], bytes], name: str = TRAIN):
    """Packt die CSV-Datei und beschädigt das Ergebnis."""

    def spoil(folder):
        raw = (folder / "csv" / name).read_bytes()
        (folder / "csv" / name).unlink()
        (folder / "csv" / f"{name}.gz").write_bytes(how(gzip.compress(raw, 1)))

    return spoil


def bomb() -> bytes:
    """Ein halbes Megabyte, das sich auf mehr als die erlaubten Byte entpackt."""
    packer = zlib.compressobj(9, wbits=31)
    block = b"\0" * 10_000_000
    return b"".join(packer.compress(block) for _ in range(LIMIT // len(block) + 1)) + packer.flush()


def swap_columns(first: int, second: str):
    def how(rows):
        cells = rows[0].split(",")
        cells[first] = second
        return [",".join(cells), *rows[1:]]

    return lines(how)


def constant(rows: list) -> list:
    """Ohne Kopfzeile, vorn und hinten dieselben kleinen Zahlen: Wo steht die Klasse?"""
    return [f"3,{row.split(',', 1)[1].rsplit(',', 1)[0]},{number % 7}" for number, row in enumerate(rows[1:]) if row]


CSV = {
    **{f"Inhalt {name}": (put(f"csv/{TRAIN}", content), (TRAIN,)) for name, content in garbage().items()},
    "Ordner statt Datei": (put(f"csv/{TRAIN}", None), (TRAIN, "fehlt")),
    "fehlt": (remove(f"csv/{TEST}"), (TEST, "beide")),
    "UTF-16": (change(f"csv/{TRAIN}", lambda c: c.decode().encode("utf-16")), (TRAIN, "UTF-16", "CSV UTF-8")),
    "UTF-16 BE": (
        change(f"csv/{TRAIN}", lambda c: b"\xfe\xff" + c.decode().encode("utf-16-be")),
        (TRAIN, "UTF-16"),
    ),
    "ein Nullbyte": (cell(6, 100, "\0"), ("Zeile 6", "Nullbytes")),
    "nur Kopfzeile": (lines(lambda rows: rows[:1]), ("keine Bildzeilen",)),
    "zwei Kopfzeilen": (lines(lambda rows: [rows[0], *rows]), ("Zeile 2", "label")),
    "Kopfzeile mittendrin": (lines(lambda rows: [*rows[:9], rows[0], *rows[9:]]), ("Zeile 10", "label")),
    "Zeile zu kurz": (lines(lambda r: [*r[:8], r[8].rsplit(",", 1)[0], *r[9:]]), ("Zeile 9", "784 Spalten")),
    "Zeile zu lang": (lines(lambda r: [*r[:8], r[8] + ",0", *r[9:]]), ("Zeile 9", "786 Spalten")),
    "Zeile abgebrochen": (change(f"csv/{TRAIN}", lambda c: c[:-900]), ("Zeile", "Spalten statt 785")),
    "eine Spalte": (lines(lambda rows: [row.split(",")[0] for row in rows]), ("Zeile 1", "1 Spalten")),
    "ohne Klasse": (lines(lambda rows: [row.split(",", 1)[-1] for row in rows]), ("Zeile 1", "784 Spalten")),
    "doppelte Breite": (
        lines(lambda rows: [f"{row},{row}" for row in rows if row]),
        ("Zeile 1", "2 Spalten"),
    ),
    "Klasse zweimal": (lines(lambda r: [f"{x},{x.split(',')[0]}" for x in r if x]), ("Zeile 1", "in 2 Spalten")),
    "unbekannte Spalte": (
        lines(lambda r: [f"{x},{'Preis' if n == 0 else 7}" for n, x in enumerate(r) if x]),
        ("Zeile 1", "Preis", "unbekannt"),
    ),
    "Kopf mit doppeltem Pixel": (swap_columns(5, "pixel4"), ("Zeile 1", "Kopfzeile", "Pixel")),
    "Kopf mit fremdem Pixel": (swap_columns(5, "pixel9999"), ("Zeile 1", "Kopfzeile", "Pixel 5")),
    "Kopf ohne Klasse": (swap_columns(0, "pixel785"), ("Zeile 1", "label")),
    "Klasse nicht zu erkennen": (lines(constant), ("Zeile 1", "Kopfzeile", "vorn oder hinten")),
    "Klasse 10": (cell(7, 0, "10"), ("Zeile 7", "Klasse", "10", "0 bis 9")),
    "Klasse -1": (cell(7, 0, "-1"), ("Zeile 7", "Klasse", "-1", "0 bis 9")),
    "Klasse 65537": (cell(7, 0, "65537"), ("Zeile 7", "Klasse", "65537")),
    "Klasse 1e30": (cell(7, 0, "1" + "0" * 30), ("Zeile 7", "Klasse")),
    "Klasse halb": (cell(7, 0, "2.5"), ("Zeile 7", "Klasse", "2.5", "keine ganze Zahl")),
    "Klasse als Wort": (cell(7, 0, "Hose"), ("Zeile 7", "Klasse", "Hose")),
    "Klasse fehlt": (cell(7, 0, ""), ("Zeile 7", "Klasse", "keine ganze Zahl")),
    "Klasse HTML": (cell(7, 0, "<b>1</b>"), ("Zeile 7", "<b>1</b>")),
    "Klasse Formel": (cell(7, 0, "=1+1"), ("Zeile 7", "=1+1")),
    "Pixel 256": (cell(5, 300, "256"), ("Zeile 5", "Pixel 300", "256", "0 bis 255")),
    "Pixel -1": (cell(5, 784, "-1"), ("Zeile 5", "Pixel 784", "-1")),
    "Pixel 65540": (cell(2, 1, "65540"), ("Zeile 2", "Pixel 1", "65540")),
    "Pixel 0.5": (cell(5, 300, "0.5"), ("Zeile 5", "Pixel 300", "0.5")),
    "Pixel mit Komma": (cell(5, 300, '"0,5"'), ("Zeile 5", "Pixel 300", "0,5")),
    "Pixel nan": (cell(5, 300, "nan"), ("Zeile 5", "Pixel 300", "nan")),
    "Pixel NA": (cell(5, 300, "NA"), ("Zeile 5", "Pixel 300", "NA")),
    "Pixel inf": (cell(5, 300, "inf"), ("Zeile 5", "Pixel 300", "inf")),
    "Pixel hexadezimal": (cell(5, 300, "0x10"), ("Zeile 5", "Pixel 300", "0x10")),
    "Pixel mit Unterstrich": (cell(5, 300, "1_0"), ("Zeile 5", "Pixel 300", "1_0")),
    "Pixel als Wort": (cell(5, 300, "hell"), ("Zeile 5", "Pixel 300", "hell")),
    "Pixel arabisch": (cell(5, 300, "٣"), ("Zeile 5", "Pixel 300")),
    "Pixel minus aus Word": (cell(5, 300, "−3"), ("Zeile 5", "Pixel 300")),
    "Pixel mit Steuerzeichen": (cell(5, 300, "\x1b[31m"), ("Zeile 5", "Pixel 300")),
    "offenes Anführungszeichen": (cell(5, 300, '"12'), ("Zeile 5",)),
    "riesiges Feld": (cell(5, 300, "9" * 200_000), ("Zeile 5",)),
    "Semikolons, eine Zeile mit Komma": (
        lines(lambda r: [x if n == 4 else x.replace(",", ";") for n, x in enumerate(r)]),
        ("Zeile 5", "1 Spalten"),
    ),
    "Röhre": (pipe(f"csv/{TRAIN}"), (TRAIN, "fehlt")),
    "Verweis auf sich selbst": (loop(f"csv/{TRAIN}"), (TRAIN,)),
    "gz abgeschnitten": (gz(lambda raw: raw[: len(raw) // 2]), (f"{TRAIN}.gz", "abgeschnitten")),
    "gz ohne Ende": (gz(lambda raw: raw[:-4]), (f"{TRAIN}.gz", "abgeschnitten")),
    "gz gekippt": (gz(lambda raw: raw[:300] + bytes([raw[300] ^ 255]) + raw[301:]), (f"{TRAIN}.gz", "beschädigt")),
    "gz falsche Prüfsumme": (gz(lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:]), (f"{TRAIN}.gz", "beschädigt")),
    "gz ist keines": (gz(lambda raw: b"kein gzip" * 9), (f"{TRAIN}.gz", "beschädigt")),
    "gz ist zip": (gz(lambda raw: zipped({TRAIN: "x"})), (f"{TRAIN}.gz", "beschädigt")),
    "gz doppelt gepackt": (gz(gzip.compress), (f"{TRAIN}.gz", "Zeile")),
    "gz leer": (gz(lambda raw: b""), (f"{TRAIN}.gz", "leer")),
    "gz ohne Inhalt": (gz(lambda raw: gzip.compress(b"")), (f"{TRAIN}.gz", "leer")),
    "gz mit Anhang": (gz(lambda raw: raw + b"Anhang"), (f"{TRAIN}.gz", "beschädigt")),
    "gz-Bombe": (gz(lambda raw: bomb()), (f"{TRAIN}.gz", "entpackt", "20 MB")),
    "gz der Testbilder": (gz(lambda raw: raw[:50], TEST), (f"{TEST}.gz", "abgeschnitten")),
}

# --- idx ------------------------------------------------------------------------------------------------------------

IDX_CALL = ("daten", "--eingabe", "{d}/idx", "--ziel", "{d}/ausgabe/daten")


def idx(name: str, how: Callable[[bytes], bytes]):
    return change(f"idx/{name}", lambda content: gzip.compress(how(gzip.decompress(content)), 1))


def magic(number: int):
    return lambda raw: struct.pack(">I", number) + raw[4:]


def size(position: int, number: int):
    """Schreibt in den Kopf an Stelle ``position`` (0: Anzahl) eine andere Größe."""
    return lambda raw: raw[: 4 + 4 * position] + struct.pack(">I", number) + raw[8 + 4 * position :]


IDX_CASES = {
    **{f"Inhalt {name}": (put(f"idx/{TRAIN_IMAGES}", content), (TRAIN_IMAGES,)) for name, content in garbage().items()},
    **{
        f"entpackt {name}": (put(f"idx/{TEST_LABELS}", gzip.compress(content)), (TEST_LABELS,))
        for name, content in garbage().items()
    },
    "fehlt": (remove(f"idx/{TEST_LABELS}"), ("t10k-labels", "alle vier")),
    "Kennung vier Achsen": (idx(TRAIN_IMAGES, magic(0x804)), (TRAIN_IMAGES, "2052", "2051")),
    "Kennung Kommazahlen": (idx(TRAIN_IMAGES, magic(0xD03)), (TRAIN_IMAGES, "3331", "2051")),
    "Kennung verkehrt herum": (idx(TRAIN_IMAGES, lambda raw: raw[3::-1] + raw[4:]), (TRAIN_IMAGES, "2051")),
    "Kennung 0": (idx(TEST_LABELS, magic(0)), (TEST_LABELS, "2049")),
    "Bilder statt Klassen": (
        lambda f: (f / "idx" / TRAIN_LABELS).write_bytes((f / "idx" / TRAIN_IMAGES).read_bytes()),
        (TRAIN_LABELS, "2051", "2049"),
    ),
    "Klassen statt Bilder": (
        lambda f: (f / "idx" / TRAIN_IMAGES).write_bytes((f / "idx" / TRAIN_LABELS).read_bytes()),
        (TRAIN_IMAGES, "2049", "2051"),
    ),
    "Test und Training vertauscht": (
        lambda f: (f / "idx" / TRAIN_LABELS).write_bytes((f / "idx" / TEST_LABELS).read_bytes()),
        ("40", "30"),
    ),
    "nur Kennung": (idx(TRAIN_IMAGES, lambda raw: raw[:4]), (TRAIN_IMAGES,)),
    "halber Kopf": (idx(TRAIN_IMAGES, lambda raw: raw[:10]), (TRAIN_IMAGES,)),
    "ein Byte fehlt": (idx(TRAIN_IMAGES, lambda raw: raw[:-1]), (TRAIN_IMAGES, "40 Einträge")),
    "ein Byte zu viel": (idx(TRAIN_IMAGES, lambda raw: raw + b"\0"), (TRAIN_IMAGES, "40 Einträge")),
    "null Einträge": (idx(TRAIN_IMAGES, size(0, 0)), (TRAIN_IMAGES, "keinen einzigen")),
    "vier Milliarden Einträge": (idx(TRAIN_IMAGES, size(0, 2**32 - 1)), (TRAIN_IMAGES, "4.294.967.295")),
    "vier Milliarden Klassen": (idx(TRAIN_LABELS, size(0, 2**32 - 1)), (TRAIN_LABELS, "4.294.967.295")),
    "Bilder 32 x 32": (idx(TRAIN_IMAGES, lambda raw: size(2, 32)(size(1, 32)(raw))), (TRAIN_IMAGES, "32 × 32")),
    "Bilder 14 x 56": (idx(TRAIN_IMAGES, lambda raw: size(2, 56)(size(1, 14)(raw))), (TRAIN_IMAGES, "14 × 56")),
    "Bilder 0 x 0": (idx(TRAIN_IMAGES, lambda raw: size(2, 0)(size(1, 0)(raw))), (TRAIN_IMAGES, "0 × 0")),
    "Klasse 10": (idx(TEST_LABELS, lambda raw: raw[:12] + b"\x0a" + raw[13:]), (TEST_LABELS, "Eintrag 5", "10")),
    "Klasse 255": (idx(TRAIN_LABELS, lambda raw: raw[:8] + b"\xff" + raw[9:]), (TRAIN_LABELS, "Eintrag 1", "255")),
    "eine Klasse fehlt": (
        idx(TRAIN_LABELS, lambda raw: raw[:4] + struct.pack(">I", 39) + raw[8:-1]),
        ("40 Bilder", "39 Klassen"),
    ),
    "gz abgeschnitten": (change(f"idx/{TEST_IMAGES}", lambda raw: raw[:-100]), (TEST_IMAGES, "abgeschnitten")),
    "gz gekippt": (
        change(f"idx/{TEST_IMAGES}", lambda raw: raw[:900] + bytes([raw[900] ^ 255]) + raw[901:]),
        (TEST_IMAGES, "beschädigt"),
    ),
    "gz-Bombe": (put(f"idx/{TRAIN_IMAGES}", bomb()), (TRAIN_IMAGES, "entpackt", "20 MB")),
    "Röhre": (pipe(f"idx/{TRAIN_LABELS}"), ("train-labels", "alle vier")),
}

# --- PNG-Ordner -----------------------------------------------------------------------------------------------------

# „wertung“ liest die Bilder der früheren Läufe, ehe sie rechnet.
TREE_CALL = ("wertung", "--modell", "sauber", "--ziel", "{d}/ausgabe/tafel.json")
TREE = "ausgabe/daten"


def picture(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def pixel_bomb() -> bytes:
    """Ein winziges PNG, das 60.000 × 60.000 Pixel verspricht."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("a", "b" * 30_000_000, zip=True)
    return picture(Image.new("L", (28, 28)), pnginfo=notes)


def first_png(folder: Path) -> Path:
    return min((folder / TREE / "TRAIN").rglob("*.png"))


def png(content):
    """Ersetzt das erste Trainingsbild durch ``content`` (Byte oder Funktion der alten Byte)."""

    def spoil(folder):
        path = first_png(folder)
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return spoil


def move(target: str):
    return lambda folder: first_png(folder).rename(folder / TREE / target)


def pngs() -> dict:
    gray = Image.new("L", (28, 28), 7)
    return {
        **{f"Inhalt {name}": content for name, content in garbage().items()},
        "farbig": picture(Image.new("RGB", (28, 28))),
        "durchsichtig": picture(Image.new("LA", (28, 28))),
        "mit Palette": picture(Image.new("P", (28, 28))),
        "schwarzweiß": picture(Image.new("1", (28, 28))),
        "16 Bit": picture(Image.new("I;16", (28, 28))),
        "zu klein": picture(Image.new("L", (27, 28))),
        "zu groß": picture(Image.new("L", (28, 29))),
        "ein Pixel": picture(Image.new("L", (1, 1))),
        "JPEG": picture(gray, "JPEG"),
        "BMP": picture(gray, "BMP"),
        "GIF": picture(gray, "GIF"),
        "TIFF": picture(gray, "TIFF"),
        "PPM": picture(gray, "PPM"),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\nshowpage\n",
        "Pixelbombe": pixel_bomb(),
        "Textbombe": text_bomb(),
        "sechs Megabyte": b"\x89PNG\r\n\x1a\n" + b"\0" * 6_000_000,
        "abgeschnitten": lambda raw: raw[:-20],
        "nur Kopf": lambda raw: raw[:40],
        "gekipptes Bit": lambda raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:],
        "ohne Bilddaten": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0))
        + chunk(b"IEND", b""),
    }


NOTE = f"{TREE}/{data.PROVENANCE}"
TREES = {
    **{f"Bild {name}": (png(content), ("TRAIN/0/", ".png", "daten")) for name, content in pngs().items()},
    "Bild fehlt": (lambda f: first_png(f).unlink(), ("TRAIN", "39 statt 40")),
    "Bild zu viel": (
        lambda f: shutil.copy(first_png(f), f / TREE / "TRAIN" / "3" / "99999.png"),
        ("TRAIN", "41 statt 40"),
    ),
    "Bild außerhalb der Klassen": (move("TRAIN/bild.png"), ("TRAIN", "39 statt 40")),
    "Bild ist Ordner": (lambda f: (p := first_png(f), p.unlink(), p.mkdir()), ("TRAIN/0/", ".png")),
    "TEST fehlt": (lambda f: shutil.rmtree(f / TREE / "TEST"), ("TEST", "0 statt 30")),
    "TEST ist Datei": (lambda f: (shutil.rmtree(f / TREE / "TEST"), put(f"{TREE}/TEST", b"x")(f)), ("TEST",)),
    "Maske kaputt": (put(f"{TREE}/maske.png", b"x"), ("maske.png",)),
    "Maske zu groß": (put(f"{TREE}/maske.png", picture(Image.new("L", (64, 64)))), ("maske.png", "28 × 28")),
}

# --- Gespeicherter Stand --------------------------------------------------------------------------------------------

STATES = {
    **{f"Herkunft {n}": (put(NOTE, c), TREE_CALL, ("herkunft.json", "daten")) for n, c in broken_json().items()},
    **{
        f"Herkunft mit {name}": (edit_json(NOTE, **values), TREE_CALL, ("daten",))
        for name, values in {
            "Anzahl als Text": {"n_train": "40"},
            "Anzahl null": {"n_train": 0},
            "Anzahl negativ": {"n_test": -30},
            "Anzahl halb": {"n_train": 40.5},
            "falscher Anzahl": {"n_train": 41},
            "Quelle als Zahl": {"quelle": 3},
            "ohne Anzahl": {"n_train": ...},
            "ohne Quelle": {"quelle": ...},
        }.items()
    },
    **{
        f"Kennzahlen {name}": (put("ausgabe/kennzahlen.json", content), ("kurs", "--nur", "01"), ("kennzahlen.json",))
        for name, content in broken_json().items()
    },
    **{
        f"Kennzahlen vor cnn {name}": (
            put("ausgabe/kennzahlen.json", broken_json()[name]),
            ("cnn", "--eingabe", "{d}/csv"),
            ("kennzahlen.json", "löschen Sie sie"),
        )
        for name in ("leer", "abgeschnitten", "Liste")
    },
    "Kennzahlen Röhre": (pipe("ausgabe/kennzahlen.json"), ("kurs", "--nur", "01"), ("kennzahlen.json",)),
    "Kennzahlen Verweis im Kreis": (loop("ausgabe/kennzahlen.json"), ("kurs", "--nur", "01"), ("kennzahlen.json",)),
    "Kennzahlen Verweis ins Leere": (
        lambda f: (remove("ausgabe/kennzahlen.json")(f), (f / "ausgabe/kennzahlen.json").symlink_to(f / "weg")),
        ("kurs", "--nur", "01"),
        ("kennzahlen.json",),
    ),
}

# --- Gewichte und gespeicherte Modelle ------------------------------------------------------------------------------


def h5(datasets: dict) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return stream.getvalue()


def layers(**changes) -> dict:
    """Die Gewichte, wie Keras sie in modell.keras ablegt, aber winzig; nur die erste Faltung hat die richtige Form."""
    values = {"layers/conv2d/vars/0": np.zeros((3, 3, 3, 64), "f4"), "layers/conv2d/vars/1": np.zeros(64, "f4")}
    return {**values, **changes}


def linked(kind: str) -> bytes:
    """Eine HDF5-Datei, deren erste Gewichte woanders liegen."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/conv2d/vars/1"] = np.zeros(64, "f4")
        if kind == "extern":
            file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/passwd", "/a")
        elif kind == "weich":
            file["layers/conv2d/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/1")
        else:
            file.create_dataset(
                "layers/conv2d/vars/0", (3, 3, 3, 64), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            )
    return stream.getvalue()


def keras_file(weights: bytes, config: dict | None = None) -> bytes:
    return zipped({"config.json": json.dumps(config or {}), "metadata.json": "{}", "model.weights.h5": weights})


RUN = "ausgabe/modelle/sauber"
MODEL_CALL = ("kursmodell", "--eingabe", "{d}/idx")
LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "4wEAAAAA"}}

WEIGHTS_CALL = ("cnn", "--eingabe", "{d}/csv")


def own_weights(folder: Path) -> list:
    path = folder / "vgg16.h5"
    return [(model.check_weights, (path,)), (model, "VGG16_WEIGHTS", path)]


def own_course_model(folder: Path) -> list:
    return [(course_model.load_course_model, (folder / "kursmodell.h5", folder / "kursmodell.json"))]


def course_card(content=b"x", **changes):
    """Legt ein Kursmodell mit passender Prüfsumme ab."""

    def spoil(folder):
        (folder / "kursmodell.h5").write_bytes(content)
        card = json.loads(COURSE_MODEL_CARD.read_text(encoding="utf-8"))
        card |= {"sha256": hashlib.sha256(content).hexdigest(), **changes}
        if "einstellungen" not in changes:
            card["einstellungen"]["image_size"] = 32
        card = {key: value for key, value in card.items() if value is not ...}
        (folder / "kursmodell.json").write_text(json.dumps(card), encoding="utf-8")

    return spoil


COURSE_CALL = ("auswerten", "--eingabe", "{d}/idx")
WEIGHTS = {
    **{
        f"VGG16 {name}": (put("vgg16.h5", content), WEIGHTS_CALL, ("vgg16.h5", "Holen Sie"), own_weights)
        for name, content in garbage().items()
    },
    "VGG16 fehlt": (nothing, WEIGHTS_CALL, ("vgg16.h5", "fehlen"), own_weights),
    "VGG16 ist Ordner": (put("vgg16.h5", None), WEIGHTS_CALL, ("vgg16.h5",), own_weights),
    "VGG16 anderes h5": (put("vgg16.h5", h5(layers())), WEIGHTS_CALL, ("vgg16.h5", "Prüfsumme"), own_weights),
    "VGG16 gekippt": (
        lambda f: (f / "vgg16.h5").write_bytes(model.VGG16_WEIGHTS.read_bytes()[:-1] + b"\xa5"),
        WEIGHTS_CALL,
        ("vgg16.h5", "Prüfsumme"),
        own_weights,
    ),
    **{
        f"Steckbrief {name}": (
            lambda f, content=content: (course_card()(f), put("kursmodell.json", content)(f)),
            COURSE_CALL,
            ("kursmodell.json",),
            own_course_model,
        )
        for name, content in broken_json().items()
    },
    **{
        f"Kursmodell: {name}": (spoil, COURSE_CALL, ("kursmodell",), own_course_model)
        for name, spoil in {
            "fehlt": nothing,
            "ohne Steckbrief": put("kursmodell.h5", b"x"),
            "falsche Prüfsumme": course_card(sha256="0" * 64),
            "Prüfsumme fehlt": course_card(sha256=...),
            "Prüfsumme ist Zahl": course_card(sha256=3),
            "ohne Einstellungen": course_card(einstellungen=...),
            "Einstellungen als Liste": course_card(einstellungen=[]),
            "Bildgröße fehlt": course_card(einstellungen={}),
            "Bildgröße Text": course_card(einstellungen={"image_size": "64"}),
            "Bildgröße 1": course_card(einstellungen={"image_size": 1}),
            "Bildgröße riesig": course_card(einstellungen={"image_size": 10**9}),
            "Bildgröße ja": course_card(einstellungen={"image_size": True}),
            "Verlauf als Text": course_card(verlauf="gut"),
            "kein h5": course_card(b"kein h5"),
            "leeres h5": course_card(h5({})),
            "zu wenig Gewichte": course_card(h5({"00": np.zeros((3, 3, 3, 64), "u2")})),
            "falsche Form": course_card(h5({f"{n:02d}": np.zeros(3, "u2") for n in range(28)})),
            "Text statt Zahlen": course_card(h5({f"{n:02d}": "x" for n in range(28)})),
            "Gruppen statt Zahlen": course_card(h5({f"{n:02d}/a": 1 for n in range(28)})),
        }.items()
    },
}

MODELS = {
    **{f"Inhalt {name}": put(f"{RUN}/modell.keras", content) for name, content in garbage().items()},
    "leeres zip": put(f"{RUN}/modell.keras", zipped({})),
    "zip ohne Gewichte": put(f"{RUN}/modell.keras", zipped({"config.json": "{}"})),
    "zip abgeschnitten": put(f"{RUN}/modell.keras", keras_file(h5(layers()))[:-30]),
    "Gewichte sind Text": put(f"{RUN}/modell.keras", keras_file(b"viele")),
    "Gewichte sind pickle": put(f"{RUN}/modell.keras", keras_file(pickle.dumps([1]))),
    "Lambda-Schicht": put(f"{RUN}/modell.keras", keras_file(h5({}), LAMBDA)),
    "Gewichte fehlen": put(f"{RUN}/modell.keras", keras_file(h5(layers()))),
    "erste Schicht anders": put(
        f"{RUN}/modell.keras", keras_file(h5(layers(**{"layers/conv2d/vars/0": np.zeros((5, 5, 1, 8), "f4")})))
    ),
    "eine Variable zu viel": put(
        f"{RUN}/modell.keras", keras_file(h5(layers(**{"layers/conv2d/vars/2": np.zeros(1, "f4")})))
    ),
    "nicht endlich": put(
        f"{RUN}/modell.keras", keras_file(h5(layers(**{"layers/conv2d/vars/1": np.full(64, np.nan, "f4")})))
    ),
    "Text als Gewichte": put(f"{RUN}/modell.keras", keras_file(h5(layers(**{"layers/conv2d/vars/1": "x"})))),
    "Gruppe als Gewichte": put(f"{RUN}/modell.keras", keras_file(h5({"layers/conv2d/vars/0/a": 1, "layers/x": 1}))),
    "Verweis auf fremde Datei": put(f"{RUN}/modell.keras", keras_file(linked("extern"))),
    "weicher Verweis": put(f"{RUN}/modell.keras", keras_file(linked("weich"))),
    "Zahlen in fremder Datei": put(f"{RUN}/modell.keras", keras_file(linked("daten"))),
    "zip-Bombe": put(f"{RUN}/modell.keras", keras_file(b"\0" * 300_000_000)),
    "Pfade nach außen": put(f"{RUN}/modell.keras", zipped({"../../draussen": "x", "/tmp/kurs-draussen": "x"})),
    "Verlauf fehlt": remove(f"{RUN}/verlauf.csv"),
    "Verlauf leer": put(f"{RUN}/verlauf.csv", b""),
    "Verlauf ohne Zeilen": put(f"{RUN}/verlauf.csv", b"epoche,treffer,val_treffer\n"),
    "Verlauf andere Spalten": put(f"{RUN}/verlauf.csv", b"a,b\n1,2\n"),
    "Verlauf binär": put(f"{RUN}/verlauf.csv", np.random.default_rng(1).bytes(999)),
    "Verlauf Ordner": put(f"{RUN}/verlauf.csv", None),
    **{f"Einstellungen {name}": put(f"{RUN}/einstellungen.json", c) for name, c in broken_json().items()},
    **{
        f"Bildgröße {value}": edit_json(f"{RUN}/einstellungen.json", image_size=value)
        for value in ("64", 0, -64, 31, 10**9, 64.0, None, True, [64], {})
    },
    "Bildgröße fehlt": edit_json(f"{RUN}/einstellungen.json", image_size=...),
}

REFERENCES = {
    **garbage(),
    "leeres zip": zipped({}),
    "npz mit Objekten": None,  # entsteht im Test: ein Feld, das nur pickle lesen könnte
    "npz ohne Felder": zipped({"bilder.npy": "x"}),
}


def object_npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, pruefsumme=np.array([{"a": 1}], dtype=object), bilder=np.arange(10))
    return stream.getvalue()


# --- Kommandozeilen -------------------------------------------------------------------------------------------------

DATA = ("daten", "--eingabe", "{d}/csv", "--ziel", "{d}/neu")
LINES = {
    (): ("BEFEHL",),
    ("",): ("nicht möglich",),
    ("dtaen",): ("dtaen", "daten"),
    ("Daten",): ("Daten", "daten"),
    ("daten", "cnn"): ("cnn", "unbekannte Angabe"),
    ("daten", "--gibtsnicht"): ("--gibtsnicht",),
    ("daten", "--eing", "x"): ("--eing",),
    ("daten", "-x"): ("-x",),
    ("daten", "--profil", "voll"): ("--profil", "unbekannte Angabe"),
    ("daten", "--eingabe"): ("--eingabe", "fehlt ein Wert"),
    ("daten", "--eingabe", ""): ("--eingabe", "leer"),
    ("daten", "--eingabe", " "): ("--eingabe", "leer"),
    ("daten", "--eingabe", "{d}/gibtsnicht"): ("gibtsnicht", "--eingabe"),
    ("daten", "--eingabe", "{d}/csv/" + TRAIN): ("--eingabe",),
    ("daten", "--eingabe", "{d}/ausgabe"): (TRAIN, "--eingabe"),
    ("daten", "--eingabe", "{d}/csv", "--voll"): ("--voll", "--eingabe", "widersprechen"),
    ("daten", "--eingabe", "a\nb"): ("--eingabe",),
    ("daten", "--eingabe", "x" * 5000): ("zu lang",),
    ("daten", "--eingabe", "\udcff"): ("--eingabe",),
    (*DATA[:3], "--ziel", ""): ("--ziel", "leer"),
    (*DATA[:3], "--ziel", "{d}/csv"): ("csv", "--ziel"),
    (*DATA[:3], "--ziel", "{d}/csv/" + TRAIN): (TRAIN, "--ziel"),
    (*DATA[:3], "--ziel", "{d}/csv/" + TRAIN + "/x"): (TRAIN,),
    (*DATA[:3], "--ziel", "/proc/kurs"): ("/proc",),
    (*DATA[:3], "--ziel", "{d}/" + "x" * 300): ("zu lang",),
    (*DATA, "--n-train", "5"): ("5", "zehn"),
    (*DATA, "--n-train", "0"): ("0", "zehn"),
    (*DATA, "--n-train", "-3"): ("3", "zehn"),
    (*DATA, "--n-train", "41"): ("41", "40"),
    (*DATA, "--n-test", "31"): ("31", "30"),
    (*DATA, "--n-train", "1e2"): ("--n-train", "keine ganze Zahl", "1e2"),
    (*DATA, "--n-train", "2.5"): ("--n-train", "2.5"),
    (*DATA, "--n-train", "1_0"): ("--n-train", "1_0"),
    (*DATA, "--n-train", "٢٠"): ("--n-train", "keine ganze Zahl"),
    (*DATA, "--n-train", "9" * 5000): ("--n-train", "keine ganze Zahl"),
    (*DATA, "--n-train", ""): ("--n-train", "keine ganze Zahl"),
    (*DATA, "--n-train"): ("--n-train", "fehlt ein Wert"),
    (*DATA, "--seed", "-1"): ("--seed", "-1"),
    (*DATA, "--seed", "4294967296"): ("--seed", "4294967296"),
    (*DATA, "--seed", "null"): ("--seed", "null"),
    ("cnn", "--profil", "mittel"): ("„mittel“", "schnell oder voll"),
    ("cnn", "--profil", ""): ("schnell oder voll",),
    ("cnn", "--gewichte", "imagenet"): ("--gewichte", "imagenet", "beiliegend"),
    ("cnn", "--epochen", "0"): ("mindestens 1",),
    ("cnn", "--epochen", "-1"): ("mindestens 1",),
    ("cnn", "--epochen", "99999"): ("99999", "1000"),
    ("cnn", "--epochen", "zwei"): ("--epochen", "zwei"),
    ("cnn", "--bildgroesse", "31"): ("31", "32"),
    ("cnn", "--bildgroesse", "100000"): ("100000", "512"),
    ("cnn", "--geraete", "0"): ("mindestens 1",),
    ("cnn", "--geraete", "99"): ("99", "Geräte"),
    ("cnn", "--eingabe", "{d}/csv", "--n-train", "12", "--n-test", "20"): ("12", "20"),
    ("cnn", "--eingabe", "{d}/csv"): ("Stichprobe", "2.000", "40"),
    ("cnn", "--eingabe", "{d}/gibtsnicht"): ("gibtsnicht",),
    ("cnn", "--ziel", "x"): ("--ziel", "unbekannte Angabe"),
    ("auswerten", "--eingabe", "{d}/gibtsnicht"): ("gibtsnicht",),
    ("auswerten", "--n-test", "9"): ("--n-test",),
    ("kurs", "--nur"): ("--nur", "fehlt mindestens ein Wert"),
    ("kurs", "--nur", "06"): ("06", "gibt es nicht", "01_Daten"),
    ("kurs", "--nur", ""): ("gibt es nicht",),
    ("kurs", "--nur", "0"): ("passt auf", "05_LRP"),
    ("kurs", "--nur", "../../etc/passwd"): ("gibt es nicht",),
    ("kurs", "--profil", "mittel"): ("profil", "mittel", "schnell, voll"),
    ("kurs", "--profil", "voll", "-p", "profil", "schnell"): ("profil", "zweimal"),
    ("kurs", "-p", "seed", "1", "-p", "seed", "2"): ("seed", "zweimal"),
    ("kurs", "-p", "seed"): ("-p", "Name und Wert"),
    ("kurs", "-p"): ("-p", "Name und Wert"),
    ("doctor", "--nur", "x"): ("--nur",),
    ("ableiten", "--nur", "01"): ("--nur", "--ausfuehren"),
    ("ableiten", "--pruefen", "--ausfuehren"): ("--pruefen", "--ausfuehren"),
    ("ableiten", "--ausfuehren", "--nur", "07"): ("07", "gibt es nicht"),
    ("stichprobe", "--eingabe", "{d}/gibtsnicht"): ("fehlt", "--eingabe"),
    ("stichprobe", "--eingabe", "{d}/idx"): ("MD5", "idx"),
    ("kursmodell", "--eingabe", "{d}/gibtsnicht"): ("gibtsnicht",),
    ("wertung", "--bilder", "1"): ("--bilder", "2 bis"),
    ("wertung", "--bilder", "viele"): ("--bilder", "viele"),
    ("wertung", "--modell", "fremd"): ("--modell", "fremd", "kurs"),
    ("wertung", "--ziel", "{d}/ausgabe"): ("ausgabe", "--ziel"),
    ("wertung", "--seed", "1.5"): ("--seed", "1.5"),
    ("benchmark", "--teile", "tanz"): ("--teile", "tanz", "gradcam"),
    ("benchmark", "--groessen", "16"): ("--groessen", "32 bis 512"),
    ("benchmark", "--wiederholungen", "0"): ("--wiederholungen", "1 bis"),
    ("durchsicht",): ("ABGABEN",),
    ("durchsicht", ""): ("leer",),
    ("durchsicht", "{d}/gibtsnicht"): ("gibtsnicht", "gibt es nicht"),
    ("durchsicht", "{d}/csv"): ("kein Notebook",),
    ("durchsicht", "{d}/csv", "--gleichzeitig", "0"): ("--gleichzeitig", "1 bis"),
    ("durchsicht", "{d}/csv", "--sekunden", "-5"): ("--sekunden",),
    ("durchsicht", "{d}/csv", "--sekunden", "ewig"): ("--sekunden", "ewig"),
    ("durchsicht", "{d}/csv", "--speicher", "1"): ("--speicher", "500"),
}

# --- Parameter der Notebooks ----------------------------------------------------------------------------------------

BIG = str(10**400)
PARAMETERS = {
    "profil": ["mittel", "", "3", "None", "true"],
    "quelle": ["", "gibtsnicht", "3", "None", "01_Daten.ipynb", "/gibt/es/nicht"],
    "seed": ["-1", "4294967296", "1.5", "zwei", "None", "true", "nan", BIG, "٣", "1_0"],
    "epochen": ["0", "-1", "1001", "2.5", "true", "zwei", "inf"],
    "bilder": ["0", "1", "-5", "10001", "2.5", "viele", "None", "false"],
    "welches_modell": ["fremd", "", "None", "KURS", "../sauber"],
    "regeln": ["lrp.fremd", "", "3", "lrp.z,,lrp.flat", "None"],
    "verfahren": ["Orakel", "", "Zufall,Orakel", "7"],
    "wz_klasse": ["10", "-1", "Hose", "2.0"],
    "wz_groesse": ["0", "29", "-4", "4.5", "gross"],
    "wz_oben": ["28", "-1", "25", "x"],
    "wz_links": ["28", "-1", "26", "None"],
    "wz_staerke": ["1.1", "-0.1", "nan", "stark", "true"],
    "wz_anteil": ["2", "-1", "inf", "alle"],
    "gibtsnicht": ["1"],
    "0,5": ["0,5"],
}

# --- Abgaben --------------------------------------------------------------------------------------------------------

HANDINS = {
    **{name: text.encode() for name, text in handin_factory.BROKEN.items()},
    **broken_json(),
    "BOM und leer": b"\xef\xbb\xbf{}",
    "Zellen als Wörterbuch": b'{"cells": {}}',
    "zu viele Zellen": json.dumps({"cells": [{"cell_type": "code", "source": "", "id": "a"}] * 501}).encode(),
    "zu groß": b" " * 20_000_001,
    "halbes Zeichen": b'{"cells": [{"cell_type": "code", "source": "\\ud800", "id": "\\udfff"}]}',
    "riesige Zahl": b'{"cells": [' + b"9" * 5000 + b"]}",
    "Notebook in Fassung 3": b'{"worksheets": [{"cells": []}], "nbformat": 3}',
    "keine Kennungen": b'{"cells": [{"cell_type": "code", "source": "1"}]}',
}


def cases() -> dict[str, Case]:
    """Alle Fälle: Name → Fall."""
    found = {f"CSV: {name}": Case(spoil, CSV_CALL, says) for name, (spoil, says) in CSV.items()}
    found |= {f"idx: {name}": Case(spoil, IDX_CALL, says) for name, (spoil, says) in IDX_CASES.items()}
    found |= {f"PNG: {name}": Case(spoil, TREE_CALL, says) for name, (spoil, says) in TREES.items()}
    found |= {f"Stand: {name}": Case(*each) for name, each in STATES.items()}
    found |= {f"Gewichte: {name}": Case(*each) for name, each in WEIGHTS.items()}
    found |= {f"Modell: {name}": Case(spoil, MODEL_CALL, ("sauber",)) for name, spoil in MODELS.items()}
    for name, content in REFERENCES.items():
        spoil = put("referenz.npz", object_npz() if content is None else content)
        call = lambda folder: lrp_library.load_reference(folder / "referenz.npz")  # noqa: E731
        found[f"Vergleichskarten: {name}"] = Case(spoil, call, ("referenz.npz", "Holen Sie"))
    found |= {f"Zeile: {' '.join(call)[:60]}": Case(nothing, call, says) for call, says in LINES.items()}
    for name, values in PARAMETERS.items():
        for value in values:
            says = ("kein",) if name == "gibtsnicht" else ("0.5",) if "," in name else ()
            found[f"Parameter: {name}={value[:20]}"] = Case(nothing, ("kurs", "-p", name, value), says)
    for name, content in HANDINS.items():
        call = ("durchsicht", "{d}/abgaben")
        found[f"Abgabe: {name}"] = Case(put("abgaben/anna.ipynb", content), call, ("anna.ipynb", "noch einmal"))
    return found
