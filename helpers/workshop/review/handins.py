"""Abgaben finden und lesen. Was darin steht, ist fremd: Übernommen werden nur Art, Quelltext und id jeder Zelle."""

import itertools
import json
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from helpers.basics import (
    COURSE_NOTEBOOKS,
    NOTEBOOKS,
    SOLUTIONS,
    START_PAGE,
    CourseError,
    display_path,
    one_line,
    reason,
)
from helpers.checks import exercises
from helpers.workshop.notebooks import ANSWER, CHECK, derived, read_notebook

MAX_BYTES = 200_000_000  # mit Bildern; behalten wird davon nur der Quelltext
MAX_VALUES = 5_000_000  # mehr Einträge im JSON nähmen uns den Arbeitsspeicher
MAX_SOURCE = 2_000_000
MAX_CELLS = 5_000
MAX_MEMBERS, MAX_UNPACKED = 5_000, 1_000_000_000
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")
# Was eine Zelle erzeugt, auch wenn sie sich nicht übersetzen lässt.
DEFINITION = re.compile(r"^(?:async\s+)?(?:def\s+(\w+)|(\w+)\s*(?::[^=\n]+)?=(?!=))", re.MULTILINE)


@dataclass
class HandIn:
    """Eine abgegebene Datei.

    Attributes:
        name: eindeutiger Name, der Pfad ab dem angegebenen Ordner, ohne Endung.
        course: Name des Kurs-Notebooks, z. B. „01_Daten“; None, wenn es keines ist.
        cells: (Art, Quelltext, id im Kurs oder "") in der Reihenfolge der Abgabe.
        notes: Bemerkungen für die Lehrenden.
        person: wessen Abgabe es ist: der Name, in dem „*“ für das Notebook steht.
    """

    name: str
    path: Path
    course: str | None = None
    cells: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    person: str = ""


def find(paths, unpacked: Path) -> list[tuple[str, Path, str]]:
    """Alles unter ``paths`` (Dateien, Ordner, ZIP-Archive) als (eindeutiger Name, Pfad, Grund einer Ablehnung oder "").

    Nichts geht verloren: Auch ein leerer Ordner, ein Bild und ein beschädigtes Archiv sind Einträge. Verborgenes und
    die Startseite zählen nicht.

    Args:
        unpacked: Ordner auf Zeit für den Inhalt der Archive.

    Raises:
        CourseError: wenn ein Pfad fehlt.
    """
    found = {}
    for given in map(Path, paths):
        if not given.exists():
            raise CourseError(f"{display_path(given)} gibt es nicht: Nennen Sie Dateien oder Ordner mit Abgaben.")
        inside = entries(given.resolve(), "", unpacked) if given.is_dir() else entries(given, given.name, unpacked)
        for stem, path, refusal in inside:
            name = stem = re.sub(r"\.ipynb$", "", one_line(stem), flags=re.IGNORECASE) or given.resolve().name
            numbers = itertools.count(2)
            while name in found and found[name][0].resolve() != path.resolve():
                name = f"{stem} ({next(numbers)})"
            found[name] = path, refusal
    return [(name, *entry) for name, entry in found.items()]


def entries(path: Path, name: str, unpacked: Path, depth: int = 0):
    """Die Einträge unter ``path`` als (Name, Pfad, Grund einer Ablehnung), auch die in Archiven."""
    folder = path.is_dir() and not path.is_symlink()
    try:
        if path.suffix.casefold() == ".zip" and path.is_file() and not path.is_symlink():
            folder, path = True, unpack(path, unpacked / str(len(list(unpacked.glob("*")))), depth)
        children = sorted(path.iterdir()) if folder else []
    except CourseError as error:
        yield name, path, str(error)
        return
    except OSError as error:
        yield name, path, f"Nicht lesbar ({reason(error)})."
        return
    shown = [each for each in children if not each.name.startswith(".") and each.name not in JUNK]
    shown = [each for each in shown if each.stem != START_PAGE]
    for child in shown:
        yield from entries(child, f"{name}/{child.name}".lstrip("/"), unpacked, depth + (path.parent == unpacked))
    if not shown:
        yield name, path, "Der Ordner enthält keine Abgabe." if folder else ""


def unpack(archive: Path, folder: Path, depth: int) -> Path:
    """Packt ein ZIP nach ``folder`` aus; wirft CourseError mit dem Grund, wenn das nicht geht."""
    if depth > 1:
        raise CourseError("Archiv im Archiv im Archiv: Packen Sie es selbst aus.")
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as content:
            members = content.infolist()
            if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED:
                raise CourseError("Das Archiv ist zu groß: Packen Sie es selbst aus.")
            for number, member in enumerate(members):
                if (folder / member.filename).is_file():
                    member.filename += f" ({number})"
                content.extract(member, folder)  # zipfile lässt „..“ und Wurzeln in Pfaden weg
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError):
        raise CourseError("Das Archiv lässt sich nicht auspacken (beschädigt oder mit Kennwort).") from None
    return folder


@dataclass(frozen=True)
class Reference:
    """Ein Kurs-Notebook: die Fassung der Lernenden und die Lösung."""

    learner: object
    solution: object

    @property
    def exercises(self) -> dict[str, str]:
        """Nummer der Aufgabe → Anfang der Zellen-ids, z. B. „1.2“ → „01-aufgabe-2“."""
        ids = [cell.id.removesuffix(ANSWER) for cell in self.solution.cells if cell.id.endswith(ANSWER)]
        return {f"{int(base[:2])}.{base.rsplit('-', 1)[1]}": base for base in ids}

    def source(self, cell_id: str, learner: bool = False) -> str:
        cells = (self.learner if learner else self.solution).cells
        return next((cell.source for cell in cells if cell.id == cell_id), "")

    def points(self, number: str) -> int:
        wanted = f"{self.exercises[number]}{CHECK}"
        return next(c.metadata["nbgrader"]["points"] for c in self.solution.cells if c.id == wanted)


def references() -> dict[str, Reference]:
    """Name → Kurs-Notebook; seine Aufgabenzellen heißen wie bei nbgrader, gleich welche id JupyterLab ihnen gab."""
    known = {}
    for path in (SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS):
        known[path.stem] = Reference(derived(read_notebook(path), NOTEBOOKS / path.name), read_notebook(path))
        for cell in [*known[path.stem].learner.cells, *known[path.stem].solution.cells]:
            cell.id = cell.metadata.get("nbgrader", {}).get("grade_id", cell.id)
    return known


def read(name: str, path: Path, known: dict[str, Reference], refusal: str = "") -> HandIn:
    """Liest eine Abgabe; was nicht stimmt, steht in ``notes``. Wirft nie."""
    hand_in = HandIn(name, path, person=name)
    try:
        if refusal:
            raise CourseError(refusal)
        cells = [cell for cell in map(plain_cell, raw_cells(path)) if cell and cell[1].strip()]
        if len(cells) > MAX_CELLS or sum(len(source) for _, source, _ in cells) > MAX_SOURCE:
            raise CourseError(f"Mehr als {MAX_CELLS} Zellen oder {MAX_SOURCE // 1_000_000} MB Quelltext.")
        recognise(hand_in, cells, known)
    except CourseError as error:
        hand_in.notes.append(str(error))
    except json.JSONDecodeError as error:
        hand_in.notes.append(f"Kein lesbares Notebook (beschädigt oder etwas anderes, ab Zeile {error.lineno}).")
    except OSError as error:
        hand_in.notes.append(f"Nicht lesbar ({reason(error)}).")
    except (ValueError, KeyError, TypeError, RecursionError):
        hand_in.notes.append("Kein lesbares Notebook (beschädigt).")
    return hand_in


def raw_cells(path: Path) -> list:
    """Die Zellen der Datei, wie sie dort stehen, gleich in welcher Kodierung; CourseError mit dem Grund, wenn nicht."""
    if path.is_symlink() or not path.is_file():
        raise CourseError("Kein Notebook, sondern keine gewöhnliche Datei.")
    if path.stat().st_size > MAX_BYTES:
        raise CourseError(f"Größer als {MAX_BYTES // 1_000_000} MB: Lassen Sie ohne Ausgaben abgeben.")
    raw = path.read_bytes()
    if not raw.strip():
        raise CourseError("Die Datei ist leer.")
    if raw.count(b",") > MAX_VALUES:
        raise CourseError(f"Mehr als {MAX_VALUES} Einträge: Lassen Sie ohne Ausgaben abgeben.")
    try:
        data = json.loads(raw)  # erkennt UTF-8, UTF-16 und UTF-32, mit und ohne Kennzeichen
    except UnicodeDecodeError:
        data = json.loads(raw.decode("cp1252", errors="replace"))
    sheets = data["worksheets"] if "worksheets" in data else [data]  # vor nbformat 4 lagen die Zellen in Blättern
    return [cell for sheet in sheets for cell in sheet["cells"]]


def plain_cell(cell) -> tuple[str, str, str] | None:
    """Art, Quelltext und Kennung einer Zelle (die Angabe für nbgrader, sonst die id); None, wenn es keine ist."""
    match cell:
        case {"cell_type": "heading", "source": str() | list() as source, "level": int() as level}:  # nbformat 3
            kind, source = "markdown", ["#" * min(level, 6) + " ", *source]
        case {"cell_type": "code" | "markdown" | "raw" as kind, "source": str() | list() as source}:
            pass
        case {"cell_type": "code" as kind, "input": str() | list() as source}:  # nbformat 3
            pass
        case _:
            return None
    # Ein halbes UTF-16-Zeichen ließe sich nicht einmal speichern.
    text = "".join(line for line in source if isinstance(line, str)).encode("utf-8", "replace").decode()
    text = text if kind == "code" else text[:10_000]  # darin könnten Bilder stecken
    match cell:
        case {"metadata": {"nbgrader": {"grade_id": str() as key}}} | {"id": str() as key}:
            return kind, text, key
    return kind, text, ""


def defined(source: str) -> list[str]:
    """Namen, die eine Zelle ganz außen erzeugt."""
    return [function or variable for function, variable in DEFINITION.findall(source)]


def keys_of(cells, reference: Reference) -> list[str]:
    """Zu jeder Zelle ihre id im Kurs oder "": nach der Kennung, sonst nach Quelltext, Name der Antwort, Überschrift."""
    ours = {cell.id: cell.source.strip() for cell in reference.learner.cells}
    by_source = {source: key for key, source in ours.items()}
    names = {exercises()[number].name: base for number, base in reference.exercises.items()}
    keys = []
    for _, source, key in cells:
        if key.endswith(CHECK) and names.keys() & set(defined(source)):
            key = ""  # die Antwort steht in der Prüfzelle
        keys.append(key if key in ours else "")
    given = set(keys)
    for position, (kind, source, _) in enumerate(cells):
        answers = [names[name] + ANSWER for name in defined(source) if kind == "code" and name in names]
        found = re.search(r"^#+.*Aufgabe (\d+\.\d+)" if kind != "code" else r"^check\(\s*[\"'](\d+\.\d+)", source, re.M)
        base = reference.exercises.get(found[1]) if found else None
        other = base and (base + CHECK if kind == "code" else base)
        key = by_source.get(source.strip()) or (answers or [other])[0]
        if not keys[position] and key in ours and key not in given:
            keys[position] = key
    return keys


def recognise(hand_in: HandIn, cells: list, known: dict[str, Reference]) -> None:
    """Findet heraus, zu welchem Kurs-Notebook die Abgabe gehört, wie auch immer die Datei heißt."""
    found = {name: keys_of(cells, reference) for name, reference in known.items()}
    hits = {name: len(set(keys) - {""}) for name, keys in found.items()}
    best = max(hits, key=hits.get)
    if not hits[best]:
        raise CourseError("Gehört zu keinem Notebook des Kurses.")
    hand_in.course, keys = best, found[best]
    hand_in.cells = [(kind, source, key) for (kind, source, _), key in zip(cells, keys, strict=True)]
    pattern = rf"{best[:2]}[ _-]?{best[3:]}"
    hand_in.person = re.sub(pattern, "*", hand_in.name, flags=re.IGNORECASE)
    written = {name for kind, source, _ in cells if kind == "code" for name in defined(source)}
    counts = {number: keys.count(base + ANSWER) for number, base in known[best].exercises.items()}
    if missing := [n for n, count in counts.items() if count == 0 and exercises()[n].name not in written]:
        hand_in.notes.append(f"Es fehlt die Zelle zu Aufgabe {', '.join(missing)}.")
    if double := [number for number, count in counts.items() if count > 1]:
        hand_in.notes.append(f"Mehrere Zellen zu Aufgabe {', '.join(double)}: Alle liefen, gezeigt ist die letzte.")
    others = [name for name, keys in found.items() if name != best and any(key.endswith(ANSWER) for key in keys)]
    if others:
        hand_in.notes.append(f"Enthält auch Aufgaben aus {', '.join(others)}: Gewertet ist nur {best}.")
    if any(re.search(r"helpers(\.| import )checks(?! import check$)", source, re.M) for _, source, _ in cells):
        hand_in.notes.append("Eine Zelle benutzt helpers.checks: In der Durchsicht gibt es dort keine Lösungen.")
