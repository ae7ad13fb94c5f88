"""Was in einem Ordner voller Bilder liegt: zu jedem Bild seine Klasse, aus Ordnern oder aus einer Tabelle."""

import csv
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from helpers.basics import display_path, german, one_line, reason
from helpers.inner.files import LABEL_NAMES, broken
from helpers.own.picture_files import is_picture

IGNORED = re.compile(r"\..*|thumbs\.db|desktop\.ini|__macosx", re.IGNORECASE)
PARTS = {
    "train": {"train", "training", "trainingsdaten", "trainingsbilder", "lernen"},
    "val": {"val", "valid", "validation", "validierung"},
    "test": {"test", "testing", "testdaten", "testbilder", "testen"},
}
PART_OF = {name: part for part, names in PARTS.items() for name in names}
MASKS = {"masken", "masks"}
GROUPS = {"gruppe", "group", "gruppen", "groups"}
WHERE = "Nennen Sie den Ordner, in dem für jede Klasse ein Ordner mit Bildern liegt"


class Item(NamedTuple):
    """Ein Bild: Datei, Name der Klasse, Teil („train“, „val“, „test“ oder leer) und Gruppe (oder leer)."""

    path: Path
    name: str
    part: str = ""
    group: str = ""


def natural(name: str) -> list:
    """Sortierschlüssel, nach dem „Klasse 2“ vor „Klasse 10“ und „Äpfel“ vor „Birnen“ kommt."""
    plain = "".join(char for char in unicodedata.normalize("NFD", name.casefold()) if not unicodedata.combining(char))
    parts = re.split(r"([0-9]+)", plain)
    return [[(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts], name]


def composed(name: str) -> str:
    """``name`` in einer Zeile, Umlaute als ein Zeichen: macOS schreibt in Dateinamen zwei."""
    return one_line(unicodedata.normalize("NFC", name)).strip()


def read_folder(folder: Path) -> tuple[list[Item], dict[Path, Path], set[Path]]:
    """Die Bilder mit ihren Klassen, zu jedem Bild seine Maske, wo es eine gibt, und was übergangen wurde.

    Raises:
        CourseError: wenn der Ordner nicht lesbar ist oder ein Bild keine Klasse hat.
    """
    ignored = set()
    files, folders = _listed(folder, ignored)
    mask_folders = [each for each in folders if each.name.lower() in MASKS]
    folders = [each for each in folders if each not in mask_folders]
    parts = [each for each in folders if each.name.lower() in PART_OF]
    if "train" not in map(_part_of, parts):
        parts = []
    loose = [path for path in files if is_picture(path)]
    tables = [path for path in files if path.suffix.lower() == ".csv" and path.is_file()]
    filled = [each for each in folders if not parts and _pictures(each, ignored)]
    if tables and not parts and (loose or len(filled) == 1):
        if len(tables) > 1:
            names = " und ".join(one_line(path.name) for path in tables[:2])
            raise broken(folder, f" enthält mehrere Tabellen ({names})", "Lassen Sie nur eine darin")
        pictures = loose + [path for each in filled for path in _pictures(each, ignored)]
        items = read_table(tables[0], folder, pictures)
        ignored |= set(files) - {*loose, *tables}
    else:
        classes = [(each, "") for each in folders]
        ignored |= set(files) - set(loose)
        if parts:
            ignored |= set(folders) - set(parts)
            classes = []
            for each in parts:
                inside, below = _listed(each, ignored)
                found = [path for path in inside if is_picture(path)]
                loose, ignored = loose + found, ignored | (set(inside) - set(found))
                classes += [(path, _part_of(each)) for path in below]
        if loose:
            fault = " liegt in keinem Ordner einer Klasse und steht in keiner Tabelle"
            raise broken(loose[0], fault, "Legen Sie das Bild in den Ordner seiner Klasse")
        items = []
        for each, part in classes:
            paths = _pictures(each, ignored)
            if not paths:
                raise broken(each, " enthält kein Bild", "Legen Sie Bilder hinein oder löschen Sie den Ordner")
            items += [Item(path, composed(each.name), part) for path in paths]
    return items, _masks(folder, mask_folders, items), ignored


def _part_of(folder: Path) -> str:
    return PART_OF[folder.name.lower()]


def _listed(folder: Path, ignored: set) -> tuple[list[Path], list[Path]]:
    """Dateien und Ordner in ``folder``, natürlich geordnet; was nie zählt, kommt zu ``ignored``."""
    try:
        paths = sorted((folder / name for name in os.listdir(folder)), key=lambda path: natural(path.name))
    except OSError as error:
        raise broken(folder, f" ist kein lesbarer Ordner ({reason(error)})", WHERE) from None
    ignored |= {path for path in paths if IGNORED.fullmatch(path.name)}
    paths = [path for path in paths if path not in ignored]
    folders = [path for path in paths if path.is_dir()]
    return [path for path in paths if path not in folders], folders


def _pictures(folder: Path, ignored: set, depth: int = 0) -> list[Path]:
    """Alle Bilder in und unter ``folder``; nicht beliebig tief, denn Verweise können im Kreis gehen."""
    files, folders = _listed(folder, ignored)
    found = [path for path in files if is_picture(path)]
    ignored |= set(files) - set(found)
    for each in folders if depth < 8 else ():
        found += _pictures(each, ignored, depth + 1)
    return found


def _masks(folder: Path, mask_folders: list[Path], items: list[Item]) -> dict[Path, Path]:
    """Bild → Maske gleichen Namens, mit dem Weg vom Ordner her oder, wo der Name genügt, ohne."""
    known, names = {}, Counter(item.path.stem for item in items)
    for top in mask_folders:
        for path in _pictures(top, set()):
            known[path.relative_to(top).with_suffix("").as_posix()] = path
    found = {}
    for item in items:
        way = item.path.relative_to(folder).with_suffix("").as_posix()
        path = known.get(way) or names[item.path.stem] == 1 and known.get(item.path.stem)
        found |= {item.path: path} if path else {}
    if len(found) < len(known):
        unused = next(path for path in known.values() if path not in found.values())
        raise broken(unused, " gehört zu keinem Bild", "Nennen Sie die Maske wie ihr Bild oder löschen Sie sie")
    return found


# --- Tabelle ---------------------------------------------------------------------------------------------------------


def read_table(table: Path, folder: Path, pictures: list[Path]) -> list[Item]:
    """Die Klassen aus einer CSV-Tabelle (Komma, Semikolon oder Tabulator; UTF-8 oder Windows-1252).

    Eine Spalte nennt das Bild, mit oder ohne Endung. Die Klasse steht in einer Spalte als Name oder Zahl („label“,
    „klasse“ …) oder als eine 1 unter ihrem Namen (one-hot). In der Spalte „gruppe“ steht, was zusammengehört.

    Raises:
        CourseError: mit Zeile und Abhilfe, wenn Tabelle und Bilder nicht zueinander passen.
    """
    try:
        content = table.read_bytes()
    except OSError as error:
        raise broken(table, f" lässt sich nicht lesen ({reason(error)})", "Prüfen Sie die Rechte der Datei") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    head = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(), delimiter=max(";\t,", key=head.count))
    try:
        lines = [(reader.line_num, [composed(cell) for cell in cells]) for cells in reader if any(cells)]
    except csv.Error:
        raise broken(table, f", Zeile {reader.line_num} ist nicht lesbar", "Prüfen Sie diese Zeile") from None
    width = max((len(cells) for _, cells in lines), default=0)
    lines = [(number, cells + [""] * (width - len(cells))) for number, cells in lines]

    known = {}
    for path in pictures:
        way = Path(composed(path.relative_to(folder).as_posix()))
        for name in {way.as_posix(), way.with_suffix("").as_posix(), way.name, way.stem}:
            known.setdefault(name, []).append(path)

    def named(cell: str) -> list[Path]:
        return known.get(cell.replace("\\", "/").removeprefix("./"), [])

    hits = [len({cells[column] for _, cells in lines if named(cells[column])}) for column in range(width)]
    if not any(hits):
        example = f"etwa „{one_line(pictures[0].name)}“"
        raise broken(table, " nennt kein einziges der Bilder", f"Schreiben Sie ihre Namen in eine Spalte, {example}")
    where = hits.index(max(hits))
    header = None if named(lines[0][1][where]) else lines.pop(0)[1]
    class_of = _class_reader(table, header, lines, where)
    group = next((column for column, name in enumerate(header or []) if name.lower() in GROUPS), None)
    items, seen = [], {}
    for number, cells in lines:
        paths = named(cells[where])
        place, shown = f", Zeile {number}: ", cells[where][:60]
        if not paths:
            fault, remedy = f"Zu „{shown}“ gibt es kein Bild", "Legen Sie es dazu oder streichen Sie die Zeile"
            raise broken(table, place + fault, remedy)
        if len(paths) > 1:
            two = " und ".join(one_line(path.relative_to(folder).as_posix()) for path in paths[:2])
            fault, remedy = f"„{shown}“ kann {two} sein", "Schreiben Sie die Endung oder den Ordner dazu"
            raise broken(table, place + fault, remedy)
        if seen.setdefault(paths[0], number) != number:
            fault = f"„{shown}“ steht schon in Zeile {seen[paths[0]]}"
            raise broken(table, place + fault, "Streichen Sie eine der beiden Zeilen")
        name = class_of(number, cells)
        items.append(Item(paths[0], name, "", cells[group] if group is not None else ""))
    if missing := [path for path in pictures if path not in seen]:
        more = f" und {german(len(missing) - 1)} weitere" if len(missing) > 1 else ""
        fault = f" steht nicht in {display_path(table)}{more}"
        raise broken(missing[0], fault, "Ergänzen Sie die Zeile mit der Klasse oder nehmen Sie das Bild heraus")
    return items


def _class_reader(table: Path, header: list[str] | None, lines: list, where: int):
    """Funktion (Zeilennummer, Zellen) → Name der Klasse."""
    width = len(lines[0][1]) if lines else len(header or [])
    titles = header or [""] * width
    others = [column for column in range(width) if column != where and titles[column].lower() not in GROUPS]
    labeled = [column for column in others if titles[column].lower() in LABEL_NAMES]
    if len(labeled) == 1 or len(others) == 1:
        column = (labeled or others)[0]

        def by_name(number, cells):
            if not cells[column]:
                raise broken(
                    table, f", Zeile {number}: Die Klasse fehlt", "Ergänzen Sie sie oder streichen Sie die Zeile"
                )
            return cells[column]

        return by_name
    marks = {"0": 0, "0.0": 0, "0,0": 0, "": 0, "1": 1, "1.0": 1, "1,0": 1}
    if len(others) < 2 or any(cells[column] not in marks for _, cells in lines for column in others):
        shown = ", ".join(titles) if header else "ohne Kopfzeile"
        remedy = "Schreiben Sie „label“ über die Spalte mit der Klasse"
        raise broken(table, f" sagt nicht, in welcher Spalte die Klasse steht ({shown[:80]})", remedy)

    def by_mark(number, cells):
        marked = [column for column in others if marks[cells[column]]]
        if len(marked) != 1:
            fault = f", Zeile {number}: Unter den Klassen steht {len(marked)}-mal eine 1"
            raise broken(table, fault, "Schreiben Sie unter genau eine Klasse eine 1")
        return titles[marked[0]] or f"Spalte {marked[0] + 1}"

    return by_mark
