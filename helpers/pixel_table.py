"""Bilder aus CSV-Tabellen lesen, wie Menschen sie haben: aus Kaggle, aus pandas, aus einer Tabellenkalkulation.

Gemeint ist immer ``label,pixel1,…,pixel784``. Gelesen werden auch: BOM, CRLF, Semikolon oder Tabulator, Zahlen in
Anführungszeichen, ganze Kommazahlen (12.0, mit Semikolon auch 12,0), eine Spalte mit Zeilennummern, eine Kopfzeile in
anderer Reihenfolge oder keine, die Klasse in der letzten Spalte.
"""

import csv
import io
import re
import warnings
from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, german, one_line

SIDE = 28
PIXELS = SIDE * SIDE
COLUMNS = 1 + PIXELS
LABEL_NAMES = {"label", "labels", "class", "klasse", "etikett", "target", "y"}
INDEX_NAMES = {"", "index", "id", "nr", "nummer", "zeile", "row", "unnamed: 0"}
PIXEL_NAME = re.compile(r"(?:pixel|px|p|x|feature|f|column|col|v)?[ _]?(\d{1,4})")
GRID_NAME = re.compile(r"(\d{1,2})x(\d{1,2})")
WHOLE = re.compile(r"\s*[+-]?[0-9]+([.,]0*)?\s*")
UTF16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST_LINE = 40_000  # Byte; die längste sinnvolle Kopfzeile ist kürzer


@dataclass(frozen=True)
class Layout:
    """Was in welcher Spalte steht (ab 0 gezählt).

    Attributes:
        width: Spalten je Zeile.
        label: Spalte der Klasse.
        pixels: die 784 Spalten der Pixel, in der Reihenfolge des Bildes.
        header: Gibt es eine Kopfzeile?
    """

    width: int
    label: int
    pixels: tuple[int, ...]
    header: bool

    def name(self, column: int) -> str:
        """Wie Fehlermeldungen die Spalte nennen."""
        if column == self.label:
            return "Klasse"
        return f"Pixel {self.pixels.index(column) + 1}" if column in self.pixels else "Zeilennummer"


def parse(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Liest eine Tabelle.

    Args:
        content: die Datei, entpackt.
        name: wie Fehlermeldungen die Datei nennen.

    Returns:
        Bilder (uint8, (n, 28, 28)) und Klassen (uint8, (n,)).

    Raises:
        CourseError: mit Datei, Zeile und Abhilfe, sobald etwas nicht stimmt.
    """
    if content.startswith(UTF16):
        raise CourseError(f"{name} ist in UTF-16 geschrieben: Speichern Sie die Tabelle als „CSV UTF-8“.")
    if (place := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, place) + 1
        raise CourseError(f"{name}, Zeile {line}: Dort stehen Nullbytes statt Text: Laden Sie die Datei noch einmal.")
    first = _first_line(content)
    separator = ";" if ";" in first else "\t" if "\t" in first else ","
    try:
        cells = next(csv.reader([first], delimiter=separator), [])
    except csv.Error:
        raise CourseError(f"{name}, Zeile 1: Das ist keine CSV-Tabelle: Laden Sie die Datei noch einmal.") from None
    cells = [cell.strip() for cell in cells]
    header = _is_header(cells)
    layout = _layout_of_header(cells, name) if header else None
    values = _values(content, separator, header)
    if values is not None:
        layout = _layout_of_values(values, layout, name)
    if values is None or layout is None or not _fits(values, layout):
        raise _problem(name, content, separator, header, layout)
    pixels = values[:, list(layout.pixels)].astype(np.uint8)
    return pixels.reshape(-1, SIDE, SIDE), values[:, layout.label].astype(np.uint8)


def _first_line(content: bytes) -> str:
    """Die erste nicht leere Zeile, ohne BOM."""
    return content[:LONGEST_LINE].decode("utf-8-sig", errors="replace").lstrip("\r\n ").split("\n")[0].split("\r")[0]


def _is_header(cells: list[str]) -> bool:
    """Eine Kopfzeile nennt die Klasse, enthält keine einzige Zahl oder zählt nur die Spalten."""
    if not any(cells):
        return False
    counting = [str(number) for number in range(len(cells))]
    numbers = any(re.fullmatch(r"-?\d+([.,]\d*)?", cell) for cell in cells)
    return bool(LABEL_NAMES & {cell.lower() for cell in cells}) or not numbers or (len(cells) > 9 and cells == counting)


def _layout_of_header(cells: list[str], name: str) -> Layout | None:
    """Die Spalten nach ihren Namen; None, wenn die Namen nichts sagen und die Plätze entscheiden müssen."""
    lower = [cell.lower() for cell in cells]
    labels = [column for column, cell in enumerate(lower) if cell in LABEL_NAMES]
    if len(labels) > 1:
        raise CourseError(
            f"{name}, Zeile 1: Die Klasse steht in {len(labels)} Spalten: Löschen Sie alle außer der richtigen."
        )
    numbers = {}
    for column, cell in enumerate(lower):
        grid = GRID_NAME.fullmatch(cell)
        plain = PIXEL_NAME.fullmatch(cell)
        if grid:
            numbers[column] = SIDE * (int(grid[1]) - 1) + int(grid[2]) - 1
        elif plain:
            numbers[column] = int(plain[1])
    others = [column for column in range(len(cells)) if column not in numbers and column not in labels]
    if len(others) == 2 or labels:  # ohne Namen für die Klasse ist die eine übrige Spalte die Klasse
        others = [column for column in others if lower[column] not in INDEX_NAMES]
    if len(numbers) < PIXELS // 2 or (not labels and not others and all(cell.isdigit() for cell in cells)):
        _check_width(len(cells), name, spare=1)
        return None
    if not labels and len(others) == 1:
        labels, others = others, []
    if others or not labels or len(numbers) != PIXELS:
        _check_width(len(cells), name, spare=1 if others else 0)
        if others:
            found = one_line(cells[others[0]][:20])
            problem = f"Die Spalte „{found}“ ist unbekannt: Löschen Sie sie"
        elif not labels:
            problem = "Es fehlt die Spalte „label“: Ergänzen Sie sie"
        else:
            problem = f"Die Kopfzeile nennt {len(numbers)} statt {PIXELS} Pixel: Prüfen Sie sie"
        raise CourseError(f"{name}, Zeile 1: {problem} oder laden Sie die Datei noch einmal.")
    order = sorted(numbers, key=numbers.get)
    found = [numbers[column] for column in order]
    start = found[0]
    if start not in (0, 1) or found != list(range(start, start + PIXELS)):
        wrong = next(number for number, each in enumerate(found) if each != start + number) if start in (0, 1) else 0
        raise CourseError(
            f"{name}, Zeile 1: In der Kopfzeile fehlt Pixel {wrong + 1} oder eine Spalte heißt wie eine andere: Laden "
            "Sie die Datei noch einmal."
        )
    return Layout(len(cells), labels[0], tuple(order), header=True)


def _check_width(width: int, name: str, spare: int, line: int = 1) -> None:
    if not COLUMNS <= width <= COLUMNS + spare:
        raise CourseError(_wrong_width(name, line, width))


def _wrong_width(name: str, line: int, width: int) -> str:
    return (
        f"{name}, Zeile {line}: {german(width)} Spalten statt {COLUMNS} (label und {PIXELS} Pixel): Bitte prüfen Sie "
        "diese Zeile."
    )


def _values(content: bytes, separator: str, header: bool) -> np.ndarray | None:
    """Alle Zellen als Zahlen (n, Spalten), int16 oder float64; None, wenn das nicht geht."""
    import pandas as pd

    options = {"sep": separator, "header": None, "encoding": "utf-8-sig", "index_col": False, "na_filter": False}
    options |= {"skiprows": _lines_before_values(content) if header else 0}
    # int16 ist schnell und lehnt alles ab, was keine ganze Zahl ist; Kommazahlen brauchen den zweiten Weg.
    ways = [{"dtype": np.int16}, {"dtype": np.float64}]
    ways += [{"dtype": np.float64, "decimal": ","}] if separator == ";" else []
    for way in ways:
        try:
            with warnings.catch_warnings():
                # Sind alle Zeilen länger als die Kopfzeile, ließe pandas den Rest mit einer bloßen Warnung fallen.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                warnings.simplefilter("error", RuntimeWarning)  # numpy macht aus „inf“ still irgendeine ganze Zahl
                return pd.read_csv(io.BytesIO(content), **options, **way).to_numpy()
        except (pd.errors.ParserError, pd.errors.EmptyDataError):
            return None
        except Exception:
            continue
    return None


def _lines_before_values(content: bytes) -> int:
    """So viele Zeilen stehen bis zur Kopfzeile, sie eingeschlossen."""
    start = content[:LONGEST_LINE].decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return len(start) - len(start.lstrip("\n ")) + 1 if start[:1] == "\n" else 1


def _layout_of_values(values: np.ndarray, layout: Layout | None, name: str) -> Layout | None:
    """Wo die Klasse steht, wenn es die Kopfzeile nicht sagt; None bei falscher Breite.

    Raises:
        CourseError: wenn die erste wie die letzte Spalte die Klasse sein könnte.
    """
    width = values.shape[1]
    counted = width and len(values) > 1 and bool((np.diff(values[:, 0].astype(float)) == 1).all())
    if layout is not None:
        if width == layout.width:
            return layout
        if width != layout.width + 1 or not counted:  # R schreibt Zeilennummern ohne Überschrift
            return None
        return Layout(width, layout.label + 1, tuple(column + 1 for column in layout.pixels), header=True)
    if width == COLUMNS + 1 and not counted or width not in (COLUMNS, COLUMNS + 1) or not len(values):
        return None
    start = width - COLUMNS
    last = _label_is_last(values[:, start], values[:, -1], name)
    label = width - 1 if last else start
    pixels = tuple(column for column in range(start, width) if column != label)
    return Layout(width, label, pixels, header=False)


def _label_is_last(first: np.ndarray, last: np.ndarray, name: str) -> bool:
    """Ohne Überschrift: Klassen wechseln, Eckpixel sind fast immer schwarz und selten durchweg kleiner als 10."""
    may_be_last = not (((last < 0) | (last > 9) | (last % 1 != 0)).any() or (last == 0).mean() > 0.5)
    sure_first = (first == 0).mean() <= 0.5
    if ((first < 0) | (first > 9)).any():
        # Ein einzelner Ausreißer ist eher eine falsche Klasse als ein Pixel.
        return may_be_last and ((first < 0) | (first > 9)).mean() > 0.1
    if not may_be_last or (sure_first and len(np.unique(first)) >= len(np.unique(last))):
        return False
    if not sure_first and len(np.unique(last)) > len(np.unique(first)):
        return True
    raise CourseError(
        f"{name}, Zeile 1: Ohne Kopfzeile ist nicht zu erkennen, ob die Klasse vorn oder hinten steht: Schreiben Sie "
        "„label,pixel1,…,pixel784“ in die erste Zeile."
    )


def _fits(values: np.ndarray, layout: Layout) -> bool:
    if not len(values):
        return False
    used = [(values[:, [layout.label]], 9), (values[:, list(layout.pixels)], 255)]
    return all(
        part.min() >= 0 and part.max() <= highest and (part.dtype.kind == "i" or not (part % 1).any())
        for part, highest in used
    )


def _problem(name: str, content: bytes, separator: str, header: bool, layout: Layout | None) -> CourseError:
    """Sucht die erste falsche Zeile; erst hier, damit richtige Dateien schnell bleiben."""
    layout = layout or Layout(COLUMNS, 0, tuple(range(1, COLUMNS)), header)
    text = io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=None)
    rows = csv.reader(text, delimiter=separator)
    found, seen_header = 0, not header
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error:
            return CourseError(f"{name}, Zeile {line}: Das ist keine CSV-Tabelle: Laden Sie die Datei noch einmal.")
        if not row or row == [""]:
            continue
        if not seen_header:
            seen_header = True
            continue
        if len(row) != layout.width:
            return CourseError(_wrong_width(name, line, len(row)))
        for column, cell in enumerate(row):
            what = layout.name(column)
            if what == "Zeilennummer":
                continue
            highest = 9 if what == "Klasse" else 255
            if not WHOLE.fullmatch(cell) or ("," in cell and separator == ","):
                return CourseError(
                    f"{name}, Zeile {line}: {what} ist „{one_line(cell[:20])}“ und keine ganze Zahl: "
                    f"Erlaubt sind 0 bis {highest}."
                )
            value = int(float(cell.replace(",", ".")))
            if not 0 <= value <= highest:
                return CourseError(
                    f"{name}, Zeile {line}: {what} hat den Wert {str(value)[:20]}: Erlaubt sind 0 bis {highest}."
                )
        found += 1
    if not found:
        return CourseError(f"{name} enthält keine Bildzeilen: Laden Sie die Datei noch einmal.")
    return CourseError(f"{name} lässt sich nicht als CSV-Tabelle lesen: Laden Sie die Datei noch einmal.")
