"""Die Dateien, in denen man Fashion-MNIST bekommt: CSV-Tabellen, wie Menschen sie haben, und idx-Dateien."""

import gzip
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.basics import CLASS_NAMES, CourseError, display_path, one_line, reason

PARTS = ("train", "test")
CSV_NAMES = tuple(f"fashion-mnist_{part}.csv" for part in PARTS)
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGE_SHAPE = (28, 28)
COLUMNS = list(range(1 + 28 * 28))  # die Klasse, dann Pixel für Pixel das Bild
HIGHEST = np.array([9] + [255] * 28 * 28)
MAX_BYTES = 500_000_000  # das Vierfache der größten Tabelle von Fashion-MNIST
LABEL_NAMES = {"label", "labels", "class", "klasse", "etikett", "target", "y"}


# Wie die Dateien bei den Leuten auch heißen: train.csv, „fashion-mnist_test (1).CSV“, train-images.idx3-ubyte.
AGAIN, PACKED = r"( ?\(\d+\)| - kopie| - copy)?", r"(\.gz|\.zip)?"
PATTERNS = {
    **{
        name: rf"(fashion[-_ ]?mnist[-_ ])?{part}{AGAIN}(\.csv|\.tsv|\.txt)+{PACKED}"
        for name, part in zip(CSV_NAMES, PARTS, strict=True)
    },
    **{name: name.replace("-idx", "[-.]idx") + AGAIN + PACKED for name in IDX_NAMES},
}
# Was sonst nach Bilddaten aussieht; das erste gehört dem Kurs.
OTHER_DATA = re.compile(
    r"(?!begriffe\.csv|zennit_referenz).*(ubyte.*|\.(csv|tsv|xlsx?|ods|parquet|feather|np[yz]|pkl|pickle|mat|arff|zip|rar|7z"
    r"|tar|tgz|gz|bz2|xz|zst))"
)


def broken(path: Path, fault: str, remedy: str = "Laden Sie die Datei noch einmal") -> CourseError:
    """Der Fehlersatz zu einer Datei oder einem Ordner; ``fault`` sagt, was damit ist."""
    return CourseError(f"{display_path(path)}{fault}: {remedy}.")


def read_bytes(path) -> bytes:
    """Inhalt der Datei, entpackt, wenn sie gzip oder ein ZIP-Archiv mit einer einzigen Datei ist.

    Raises:
        CourseError: Datei fehlt, ist leer, zu groß, nicht lesbar oder beschädigt.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if content.startswith(b"\x1f\x8b"):
            content = gzip.open(io.BytesIO(content)).read(MAX_BYTES + 1)
        elif content.startswith(b"PK\3\4"):
            archive = zipfile.ZipFile(io.BytesIO(content))
            (member,) = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
            content = archive.open(member).read(MAX_BYTES + 1)
        if 0 < len(content) <= MAX_BYTES:
            return content
        why = "größer als 500 MB" if content else "leer"
    except OSError as error:
        why = reason(error) if error.errno else "als gzip beschädigt oder abgeschnitten"
    except (EOFError, zlib.error):
        why = "als gzip beschädigt oder abgeschnitten"
    except (ValueError, zipfile.BadZipFile, RuntimeError):  # mehrere Dateien, beschädigt, verschlüsselt
        why = "als ZIP-Archiv nicht zu entpacken"
    remedy = "Laden Sie die Datei noch einmal oder nennen Sie mit --eingabe ihren Ordner"
    raise broken(path, f" lässt sich nicht lesen ({why})", remedy)


def places(folder: Path, depth: int = 2) -> Iterator:
    """``folder`` (ein Ordner oder ein ZIP-Archiv), dann die Ordner und Archive darin, ``depth`` Stufen tief."""
    if folder.suffix.lower() == ".zip" and isinstance(folder, Path) and zipfile.is_zipfile(folder):
        folder = zipfile.Path(folder)
    if folder.is_dir():
        yield folder
        for path in _inside(folder) if depth else ():
            yield from places(path, depth - 1)


def _inside(folder) -> list:
    """Was in einem Ordner oder Archiv liegt, nach Namen; leer, wenn es sich nicht lesen lässt."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError:
        return []


def called(name: str, folder) -> list:
    """Die Dateien in ``folder``, die ``name`` heißen oder fast so, die genaueste zuerst."""
    found = [path for path in _inside(folder) if re.fullmatch(PATTERNS[name], path.name.lower()) and path.is_file()]
    return sorted(found, key=lambda path: (path.name != name, path.name != f"{name}.gz", len(path.name)))


def read_folder(folder) -> tuple[list[np.ndarray], str] | None:
    """Liest die CSV- oder sonst die idx-Dateien eines Ordners oder Archivs, auch mit ``.gz`` am Ende.

    Returns:
        Trainingsbilder (uint8, (n, 28, 28)), ihre Klassen (uint8, (n,)), Testbilder und ihre Klassen, dazu „CSV“ oder
        „idx“; None, wenn keine dieser Dateien da ist.

    Raises:
        CourseError: wenn nicht alle da sind oder eine fehlerhaft ist.
    """
    for kind, names in (("CSV", CSV_NAMES), ("idx", IDX_NAMES)):
        paths = [next(iter(called(name, folder)), None) for name in names]
        if not any(paths):
            continue
        if None in paths:
            raise broken(folder, f": Es fehlt {names[paths.index(None)]}", f"Es braucht alle: {', '.join(names)}")
        if kind == "CSV":
            parts = [*read_csv(paths[0]), *read_csv(paths[1])]
        else:
            parts = [read_idx(path) for path in paths]
        counts = [len(part) for part in parts]
        if counts[::2] != counts[1::2]:
            raise broken(folder, f": {counts[::2]} Bilder (Training, Test) passen nicht zu {counts[1::2]} Klassen")
        if len(np.intersect1d(*parts[1::2])) < 2:
            fault = ": Training und Test haben nicht zwei Klassen gemeinsam"
            raise broken(folder, fault, "Ein Netz kann nur unterscheiden, wovon es beides gibt; ergänzen Sie Bilder")
        name_empty_classes(*parts[1::2])
        return parts, kind
    return None


def name_empty_classes(train_labels, test_labels) -> None:
    """Sagt, von welchen Klassen es im Training oder im Test kein Bild gibt; gerechnet wird mit den übrigen."""
    missing = {}
    for part, labels in (("Im Training", train_labels), ("im Test", test_labels)):
        empty = ", ".join(name for label, name in enumerate(CLASS_NAMES) if label not in labels)
        missing.setdefault(empty, []).append(part)
    for empty, parts in missing.items():
        if empty:
            where = " und ".join(parts)
            print(f"{where[0].upper()}{where[1:]} gibt es kein Bild dieser Klassen: {empty}.")


def unread(folder, place=None) -> list[str]:
    """Je ein Satz zu dem, was in ``folder`` nach Bilddaten aussieht und nicht gelesen wird, wenn ``place`` es wird."""
    sentences = []
    taken = {name: next(iter(called(name, place)), None) for name in PATTERNS if place is not None}
    for path in _inside(folder):
        name = next((name for name, pattern in PATTERNS.items() if re.fullmatch(pattern, path.name.lower())), None)
        first = taken.get(name)
        opened = str(place).startswith(str(path))
        if opened or path == first or not (name or OTHER_DATA.fullmatch(path.name.lower())) or not path.is_file():
            continue
        if first is not None:
            why = f"{display_path(first)} vorgeht: Legen Sie nur eine von beiden hin"
        elif path.suffix.lower() in (".csv", ".tsv"):
            why = f"der Name nicht passt: Benennen Sie sie in {CSV_NAMES[0]} oder {CSV_NAMES[1]} um"
        elif path.suffix.lower() in (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst"):
            why = "der Kurs darin nichts findet, was er liest: Entpacken Sie es und legen Sie den Inhalt hierher"
        else:
            why = f"der Kurs dieses Format nicht liest: Speichern Sie als „CSV UTF-8“ mit dem Namen {CSV_NAMES[0]}"
        sentences.append(f"{display_path(path)} liegt da, wird aber nicht gelesen, weil {why}.")
    return sentences


def read_idx(path: Path) -> np.ndarray:
    """Liest eine idx-Datei (auch ``.gz``): Bilder (uint8, (n, 28, 28)), wenn sie „images“ heißt, sonst Klassen ((n,)).

    Raises:
        CourseError: bei falscher Kennung (magic number), falscher Länge oder Klassen außerhalb von 0–9.
    """
    content, size = read_bytes(path), IMAGE_SHAPE if "images" in path.name.lower() else ()
    header = 8 + 4 * len(size)
    magic, count, *found = struct.unpack(f">{header // 4}I", content[:header].ljust(header, b"\0"))
    values = np.frombuffer(content[header:], dtype=np.uint8)
    right = (magic, *found) == (0x0801 + len(size), *size) and len(values) == count * math.prod(size) > 0
    if not right or not size and values.max() > 9:
        what = "Bildern (28 × 28)" if size else "Klassen (0 bis 9)"
        raise broken(path, f" ist keine unversehrte idx-Datei mit {what}")
    return values.reshape(count, *size)


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Liest eine Tabelle im Kaggle-Format ``label,pixel1,…,pixel784`` (auch ``.csv.gz``).

    Gelesen werden auch: BOM, CRLF, Semikolon, Tabulator oder senkrechter Strich, Zahlen in Anführungszeichen, ganze
    Kommazahlen (12.0, mit Semikolon auch 12,0), Titelzeilen und Excels „sep=;“ darüber, Spalten mit Nummern, Namen oder
    Daten daneben, leere Spalten und Zeilen am Ende, eine Kopfzeile in anderer Reihenfolge oder keine; ohne Kopfzeile
    steht die Klasse vor den Pixeln.

    Returns:
        Bilder (uint8, (n, 28, 28)) und Klassen (uint8, (n,)).

    Raises:
        CourseError: mit Datei, Zeile und Abhilfe, sobald etwas nicht stimmt.
    """
    # Was am Ende einer Zeile leer ist, gehört zu keiner Spalte; die Zeilen bleiben, damit ihre Nummern stimmen.
    content = b"\n".join(line.rstrip(b",;\t| ") for line in read_bytes(path).splitlines())
    head = content[:60_000].decode("utf-8-sig", errors="replace")
    begin, separator, cells = _first_row(head.split("\n"))
    columns, named = _columns(cells, path, begin + 1)
    chunks = pd.read_csv(
        io.BytesIO(content),
        sep=separator,
        decimal="," if separator != "," and "," in head else ".",
        header=None,
        names=range(len(cells)),  # was davor steht, nimmt pandas als Zeilennamen
        skiprows=begin + named,
        skip_blank_lines=False,  # sonst stimmten die Zeilennummern nicht
        skipinitialspace=True,
        na_values=[""],
        keep_default_na=False,
        encoding="utf-8-sig",
        encoding_errors="replace",
        low_memory=False,
        chunksize=4096,  # nicht alle Bilder zugleich als Kommazahlen im Speicher
    )
    tables, line = [], begin + named + 1
    try:
        for chunk in chunks:
            tables.append(_values(chunk[columns], path, line))
            line += len(chunk)
            named = named and isinstance(chunk.index, pd.RangeIndex)
    except pd.errors.ParserError as error:
        kind, place = re.search(r"(line|row) (\d+)", f"{error}, line 1").groups()
        line = int(place) + (kind == "row")  # pandas zählt „row“ ab 0
        fault = f", Zeile {line}: Dort sind zu viele Spalten oder ein offenes Anführungszeichen"
        raise broken(path, fault, "Prüfen Sie diese Zeile") from None
    if not sum(map(len, tables)):
        raise broken(path, " enthält keine Bildzeilen")
    table = np.concatenate(tables)
    # Die Ecken der Bilder sind schwarz: So viele Nullen hat nur eine Spalte mit Pixeln.
    if not named and len(table) > 1 and (table[:, 0] == 0).mean() > 0.5:
        fault = f", Zeile {begin + 1}: Die Klasse steht nicht vorn"
        raise broken(path, fault, "Schreiben Sie die Namen der Spalten darüber")
    return table[:, 1:].reshape(-1, *IMAGE_SHAPE), table[:, 0]


def _first_row(lines: list[str]) -> tuple[int, str, list[str]]:
    """Wo die Tabelle unter ihren Titelzeilen beginnt: wie viele Zeilen davor, Trennzeichen, Zellen dieser Zeile."""
    for number, text in enumerate(lines):
        for separator in ";\t|,":  # Kommas zuletzt: Sie können in jeder Zelle stehen (12,0)
            cells = [cell.strip(' "').lower() for cell in text.split(separator)]
            if sum(map(bool, cells)) > len(COLUMNS) // 2:
                return number, separator, cells
    number = next((number for number, text in enumerate(lines) if text.strip()), 0)
    return number, ",", lines[number].split(",")


def _columns(cells: list[str], path: Path, line: int) -> tuple[list[int], bool]:
    """Wo die Klasse und dann Pixel für Pixel das Bild steht (785 Spaltennummern), und ob das eine Kopfzeile sagt."""
    numbers = [column for column, cell in enumerate(cells) if re.fullmatch(r"[\d.,e+-]*\d[.,]?", cell)]
    last = numbers[-len(COLUMNS) :]
    counted = [cells[column] for column in last] == [str(column) for column in COLUMNS]
    if len(last) == len(COLUMNS):  # keine Namen, oder pandas hat die Spalten nur gezählt
        return last, counted
    labels = [column for column, cell in enumerate(cells) if cell in LABEL_NAMES]
    names = [re.fullmatch(r"[a-z]*[ _]?(\d{1,4})", cell) for cell in cells]
    pixels = sorted((int(name[1]), column) for column, name in enumerate(names) if name)
    if len(labels) != 1 or [number for number, _ in pixels] not in (COLUMNS[1:], COLUMNS[:-1]):
        fault = f", Zeile {line}: Die Kopfzeile nennt nicht „label“ und jedes Pixel von 1 bis 784 genau einmal"
        raise broken(path, fault, "Berichtigen Sie sie und speichern Sie die Tabelle als „CSV UTF-8“")
    return labels + [column for _, column in pixels], True


def _values(cells: pd.DataFrame, path: Path, first: int) -> np.ndarray:
    """Klasse und Pixel der Zeilen ab Nummer ``first``, leere ausgelassen: uint8, (n, 785)."""
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    filled = cells.notna().to_numpy().any(axis=1)
    wrong = np.argwhere(filled[:, None] & ~((values >= 0) & (values <= HIGHEST) & (values == np.floor(values))))
    if len(wrong):
        row, place = wrong[0]
        what, cell = f"Pixel {place}" if place else "Klasse", cells.iat[row, place]
        shown = "leer oder fehlt" if pd.isna(cell) else f"„{one_line(str(cell)[:20])}“"
        fault = f", Zeile {first + row}: {what} ist {shown}"
        raise broken(path, fault, f"Schreiben Sie dorthin eine ganze Zahl von 0 bis {HIGHEST[place]}")
    return values[filled].astype(np.uint8)
