"""Die Dateien, in denen Fashion-MNIST liegt: CSV-Tabellen, wie Menschen sie haben, idx-Dateien und PNG-Bilder."""

import csv
import functools
import gzip
import io
import math
import re
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from helpers.basics import CourseError, display_path, german, is_whole, one_line, progress, reason

CSV_NAMES = ("fashion-mnist_train.csv", "fashion-mnist_test.csv")
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGE_SHAPE = (28, 28)
# So groß darf eine Datei sein, auch entpackt: Die größte echte (CSV, 60.000 Bilder) hat 133 MB, mit Kommazahlen 300.
MAX_BYTES = 500_000_000
PIXELS = 28 * 28
COLUMNS = 1 + PIXELS
COUNTING = [str(number) for number in range(COLUMNS)]  # so überschreibt pandas Spalten ohne Namen
LABEL_NAMES = {"label", "labels", "class", "klasse", "etikett", "target", "y"}
INDEX_NAMES = {"", "index", "id", "nr", "nummer", "zeile", "row", "unnamed: 0"}
PIXEL_NAME = re.compile(r"(?:pixel|px|p|x|feature|f|column|col|v)?[ _]?(\d{1,4})")
NUMBER = re.compile(r"\s*[+-]?[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]+)?\s*")
HIGHEST = np.array([9] + [255] * PIXELS)  # was in Klasse und Pixeln einer Zeile höchstens steht
LOAD_AGAIN = "Laden Sie die Datei noch einmal"
PROVENANCE = "herkunft.json"
OWN_FILES = re.compile(r"(TRAIN|TEST)(/[0-9](/[0-9]{5}\.png)?)?|maske\.png|herkunft\.json")
REWRITE_DATA = "Schreiben Sie den Ordner mit 01_Daten oder „python -m helpers daten“ neu"


def read_bytes(path: Path) -> bytes:
    """Inhalt der Datei, bei ``.gz`` entpackt.

    Raises:
        CourseError: Datei fehlt, ist leer, zu groß (auch entpackt), nicht lesbar oder als gzip beschädigt.
    """
    path = Path(path)
    name = f"Die Datei {display_path(path)}"
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise CourseError(f"{name} fehlt: Legen Sie sie dorthin oder nennen Sie mit --eingabe ihren Ordner.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise CourseError(f"{name} ist als gzip beschädigt oder abgeschnitten: {LOAD_AGAIN}.") from None
    except OSError as error:
        raise CourseError(f"{name} lässt sich nicht lesen ({reason(error)}): Prüfen Sie ihre Rechte.") from None
    if len(content) > MAX_BYTES:
        limit = german(MAX_BYTES // 1_000_000)
        raise CourseError(f"{name} hat, auch entpackt, mehr als {limit} MB und ist kein Fashion-MNIST: {LOAD_AGAIN}.")
    if not content:
        raise CourseError(f"{name} ist leer: {LOAD_AGAIN}.")
    return content


def find(folder: Path, name: str) -> Path | None:
    """Die Datei ``name`` oder ``name.gz`` in ``folder``; None, wenn es keine von beiden gibt."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


# --- idx ------------------------------------------------------------------------------------------------------------


def read_idx_folder(folder: Path) -> list[np.ndarray]:
    """Liest die vier idx-Dateien: Trainingsbilder, ihre Klassen, Testbilder, ihre Klassen.

    Raises:
        CourseError: wenn eine fehlt oder fehlerhaft ist.
    """
    parts = []
    for name in IDX_NAMES:
        if (path := find(folder, name)) is None:
            raise CourseError(f"In {display_path(folder)} fehlt {name}.gz: Es braucht alle vier idx-Dateien.")
        parts.append(read_idx(path, 3 if "images" in name else 1))
    for images, labels in (parts[:2], parts[2:]):
        if len(images) != len(labels):
            raise CourseError(
                f"In {display_path(folder)} passen {german(len(images))} Bilder nicht zu {german(len(labels))} "
                "Klassen: Laden Sie die vier idx-Dateien noch einmal."
            )
    return parts


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Liest eine idx-Datei (auch ``.gz``) mit uint8-Werten.

    Args:
        path: die Datei.
        dimensions: 3 für Bilder der Form (n, 28, 28), 1 für Klassen der Form (n,).

    Raises:
        CourseError: bei falscher Kennung (magic number), falscher Länge oder Klassen außerhalb von 0–9.
    """
    content, name = read_bytes(path), display_path(path)
    expected, header = 0x0800 + dimensions, 4 + 4 * dimensions
    magic = int.from_bytes(content[:4], "big")
    if len(content) < header or magic != expected:
        raise CourseError(
            f"{name} ist keine idx-Datei mit {'Bildern' if dimensions == 3 else 'Klassen'}: Die Kennung am Anfang ist "
            f"{magic} statt {expected}: {LOAD_AGAIN}."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if dimensions == 3 and shape[1:] != IMAGE_SHAPE:
        raise CourseError(f"{name} enthält Bilder von {shape[1]} × {shape[2]} statt 28 × 28 Pixeln: {LOAD_AGAIN}.")
    size = shape[0] * (PIXELS if dimensions == 3 else 1)
    if not size or len(content) - header != size:
        raise CourseError(
            f"{name} kündigt {german(shape[0])} Einträge an und hat {german(len(content) - header)} Bytes Daten: "
            f"{LOAD_AGAIN}."
        )
    values = np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
    if dimensions == 1 and values.max() > 9:
        entry = int(np.argmax(values > 9))
        raise CourseError(
            f"{name}, Eintrag {entry + 1}: Die Klasse {values[entry]} liegt nicht zwischen 0 und 9: {LOAD_AGAIN}."
        )
    return values


# --- CSV ------------------------------------------------------------------------------------------------------------


def read_csv_folder(folder: Path) -> list[np.ndarray]:
    """Liest die beiden CSV-Dateien: Trainingsbilder, ihre Klassen, Testbilder, ihre Klassen.

    Raises:
        CourseError: wenn eine fehlt oder fehlerhaft ist.
    """
    paths = [find(folder, name) for name in CSV_NAMES]
    if None in paths:
        raise CourseError(
            f"In {display_path(folder)} fehlt {CSV_NAMES[paths.index(None)]} (auch als .gz): Es braucht beide Dateien, "
            f"{CSV_NAMES[0]} und {CSV_NAMES[1]}."
        )
    return [*read_csv(paths[0]), *read_csv(paths[1])]


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Liest eine Tabelle im Kaggle-Format ``label,pixel1,…,pixel784`` (auch ``.csv.gz``).

    Gelesen werden auch: BOM, CRLF, Semikolon oder Tabulator, Zahlen in Anführungszeichen, ganze Kommazahlen (12.0, mit
    Semikolon auch 12,0), eine Spalte mit Zeilennummern, eine Kopfzeile in anderer Reihenfolge oder keine; ohne
    Kopfzeile steht die Klasse vor den Pixeln.

    Returns:
        Bilder (uint8, (n, 28, 28)) und Klassen (uint8, (n,)).

    Raises:
        CourseError: mit Datei, Zeile und Abhilfe, sobald etwas nicht stimmt.
    """
    content, name = read_bytes(path), display_path(path)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CourseError(f"{name} ist in UTF-16 geschrieben: Speichern Sie die Tabelle als „CSV UTF-8“.")
    if (place := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, place) + 1
        raise CourseError(f"{name}, Zeile {line}: Dort stehen Nullbytes statt Text: {LOAD_AGAIN}.")
    first = content[:40_000].decode("utf-8-sig", errors="replace").lstrip("\r\n ").split("\n")[0].split("\r")[0]
    separator = ";" if ";" in first else "\t" if "\t" in first else ","
    cells = [cell.strip().strip('"').lower() for cell in first.split(separator)]
    header = _is_header(cells)
    columns = _columns(cells, name) if header else list(range(COLUMNS))
    records = _records(content, separator, name)
    if header:
        next(records, None)
    table = _table(records, separator, columns, name)
    labels = table[:, 0]
    # Die Ecken der Bilder sind schwarz: So viele Nullen hat nur eine Spalte mit Pixeln.
    if not header and len(labels) > 1 and (labels == 0).mean() > 0.5:
        raise CourseError(
            f"{name}, Zeile 1: Ohne Kopfzeile muss die Klasse in der ersten Spalte stehen: Schreiben Sie die Namen der "
            "Spalten („label“, „pixel1“ bis „pixel784“) in die erste Zeile."
        )
    return table[:, 1:].reshape(-1, *IMAGE_SHAPE), labels


def _is_header(cells: list[str]) -> bool:
    """Eine Kopfzeile nennt die Klasse, enthält keine einzige Zahl oder zählt nur die Spalten."""
    return bool(LABEL_NAMES & set(cells)) or cells == COUNTING or any(cells) and not any(map(NUMBER.fullmatch, cells))


def _columns(cells: list[str], name: str) -> list[int]:
    """Wo laut Kopfzeile die Klasse und dann Pixel für Pixel das Bild steht: 785 Spaltennummern."""
    if not COLUMNS <= len(cells) <= COLUMNS + 1:
        raise CourseError(_wrong_width(name, 1, len(cells)))
    if cells == COUNTING:
        return list(range(COLUMNS))
    labels = [column for column, cell in enumerate(cells) if cell in LABEL_NAMES]
    numbers = {column: int(found[1]) for column, cell in enumerate(cells) if (found := PIXEL_NAME.fullmatch(cell))}
    others = {cell for cell in cells if not PIXEL_NAME.fullmatch(cell)} - LABEL_NAMES - INDEX_NAMES
    order = sorted(numbers, key=numbers.get)
    found = [numbers[column] for column in order]
    if others:
        problem = f"Die Spalte „{one_line(min(others)[:20])}“ ist weder „label“ noch ein Pixel"
    elif len(labels) != 1:
        problem = f"Die Klasse („label“) steht in {len(labels)} Spalten statt in einer"
    elif found not in (list(range(PIXELS)), list(range(1, PIXELS + 1))):
        problem = f"Die Kopfzeile nennt nicht jedes Pixel von 1 bis {PIXELS} genau einmal"
    else:
        return labels + order
    raise CourseError(
        f"{name}, Zeile 1: {problem}: Berichtigen Sie die Kopfzeile oder laden Sie die Datei noch einmal."
    )


def _records(content: bytes, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Jede Zeile der Tabelle, in der etwas steht: ihre Nummer in der Datei und ihre Zellen."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors="replace")
    reader = csv.reader(text, delimiter=separator)
    line = 1
    try:
        for row in reader:
            if any(row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error:
        raise CourseError(f"{name}, Zeile {line}: Das ist keine CSV-Tabelle: {LOAD_AGAIN}.") from None


def _table(records: Iterator, separator: str, columns: list[int], name: str) -> np.ndarray:
    """Klasse und Pixel als uint8, (n, 785); vor den Spalten der Kopfzeile darf eine mit Zeilennummern stehen."""
    table, width, number = [], max(columns) + 1, None
    for line, row in records:
        if not table:
            first, numbered = (line, len(row)), len(row) == width + 1
        before, number = number, _number(row[0], separator)
        if len(row) != width + numbered:
            raise CourseError(_wrong_width(name, line, len(row)))
        if numbered and table and number != before + 1:  # keine Zeilennummern: Dann ist die Zeile zu lang
            raise CourseError(_wrong_width(name, *first))
        cells = row[numbered:]
        table.append(_values([cells[column] for column in columns], separator, f"{name}, Zeile {line}"))
    if not table:
        raise CourseError(f"{name} enthält keine Bildzeilen: {LOAD_AGAIN}.")
    return np.stack(table)


def _values(cells: list[str], separator: str, where: str) -> np.ndarray:
    """Klasse und Pixel einer Zeile: uint8, (785,)."""
    values = np.array([_number(cell, separator) for cell in cells])
    right = (values >= 0) & (values <= HIGHEST)
    if not right.all():
        place = int(np.argmin(right))
        what, cell, highest = f"Pixel {place}" if place else "Klasse", cells[place], HIGHEST[place]
        if np.isnan(values[place]):
            fault = f"ist „{one_line(cell[:20])}“ und keine ganze Zahl"
        else:
            fault = f"hat den Wert {cell.strip()[:20]}"
        raise CourseError(f"{where}: {what} {fault}: Erlaubt sind 0 bis {highest}.")
    return values.astype(np.uint8)


@functools.lru_cache(maxsize=10_000)  # es sind fast immer dieselben 256
def _number(cell: str, separator: str) -> float:
    """Der Wert einer Zelle; NaN, wo keine ganze Zahl steht."""
    if NUMBER.fullmatch(cell) and not ("," in cell and separator == ","):
        value = float(cell.replace(",", "."))
        if value.is_integer():
            return value
    return math.nan


def _wrong_width(name: str, line: int, width: int) -> str:
    return (
        f"{name}, Zeile {line}: {german(width)} Spalten statt {COLUMNS} (label und {PIXELS} Pixel): Bitte prüfen Sie "
        "diese Zeile."
    )


# --- PNG ------------------------------------------------------------------------------------------------------------


def refuse_foreign(target: Path) -> None:
    """Bricht ab, wenn in ``target`` etwas liegt, was nicht der Kurs geschrieben hat: Es ginge beim Ersetzen verloren.

    Raises:
        CourseError: wenn dort etwas anderes liegt.
    """
    if target.exists() and not target.is_dir():
        raise CourseError(f"{display_path(target)} ist eine Datei: Nennen Sie mit --ziel einen Ordner.")
    names = [path.relative_to(target).as_posix() for path in target.rglob("*")]
    foreign = [name for name in names if PROVENANCE not in names or not OWN_FILES.fullmatch(name)]
    if foreign:
        raise CourseError(
            f"Der Ordner {display_path(target)} enthält schon andere Dateien ({one_line(foreign[0])}): Nennen Sie mit "
            "--ziel einen neuen Ordner; es wurde nichts verändert."
        )


def write_images(folder: Path, images, labels) -> None:
    """Schreibt jedes Bild nach ``folder/<Klasse>/<Nummer im Datensatz>.png``."""
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    paths = [folder / str(label) / f"{number:05d}.png" for number, label in enumerate(labels)]
    with ThreadPoolExecutor() as pool:
        list(progress(pool.map(save_png, paths, images), len(images), f"PNG-Dateien {folder.name}", "Bilder"))


def save_png(path: Path, image: np.ndarray) -> None:
    """Schreibt ein Graustufenbild (uint8, (28, 28))."""
    from PIL import Image

    # Schwache Kompression: dreimal so schnell, und die kleinen Dateien belegen ohnehin einen ganzen Block.
    Image.fromarray(image).save(path, compress_level=1)


def read_images(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Liest, was ``write_images`` geschrieben hat: Bilder (uint8, (n, 28, 28)) und Klassen (uint8, (n,)).

    Raises:
        CourseError: wenn es nicht ``count`` Bilder sind oder eines nicht lesbar ist.
    """
    files = sorted(folder.glob("[0-9]/*.png"), key=lambda path: path.stem)
    if len(files) != count or not files:
        wanted = german(count) if is_whole(count) else one_line(str(count)[:20])
        raise CourseError(
            f"In {display_path(folder)} liegen {german(len(files))} statt {wanted} Bilder: {REWRITE_DATA}."
        )
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(load_png, files))
    return np.stack(images), np.array([int(path.parent.name) for path in files], dtype=np.uint8)


def load_png(path: Path) -> np.ndarray:
    """Liest ein Graustufenbild (uint8, (28, 28)).

    Raises:
        CourseError: wenn es das nicht ist oder eine Prüfsumme darin nicht stimmt.
    """
    from PIL import Image

    try:
        content = io.BytesIO(path.read_bytes())
        # verify vergleicht die Prüfsummen; ohne sie gäbe ein gekipptes Bit still andere Pixel.
        with Image.open(content, formats=["PNG"]) as image:
            fits = image.size == IMAGE_SHAPE and image.mode == "L"
            image.verify()
        if fits:
            with Image.open(content, formats=["PNG"]) as image:
                return np.array(image)
    except Exception:  # Pillow wirft bei kaputten Dateien auch IndexError, SyntaxError und anderes
        fits = True
    fault = "lässt sich nicht lesen" if fits else "ist kein Graustufenbild mit 28 × 28 Pixeln"
    raise CourseError(f"Das Bild {display_path(path)} {fault}: {REWRITE_DATA}.")
