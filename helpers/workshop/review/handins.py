"""Abgaben finden und lesen. Was darin steht, ist fremd: Übernommen werden nur Art, Quelltext und id jeder Zelle."""

import itertools
import json
import re
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, SOLUTIONS, START_PAGE, CourseError, display_path, one_line
from helpers.checks import exercises
from helpers.checks.exercise import Verdict
from helpers.workshop.notebooks import ANSWER, CHECK, derived, read_notebook

MAX_BYTES = 200_000_000  # mit Bildern; behalten wird nur der Quelltext
MAX_VALUES = 5_000_000  # mehr Einträge im JSON nähmen uns den Arbeitsspeicher
MAX_CELLS, MAX_SOURCE = 5_000, 2_000_000
MAX_MEMBERS, MAX_UNPACKED = 5_000, 1_000_000_000
JUNK = (f"{START_PAGE}.ipynb", "__MACOSX", "Thumbs.db", "desktop.ini")
# Namen, die eine Zelle ganz außen anlegt, auch wenn sie sich nicht übersetzen lässt.
DEFINITION = re.compile(r"^(?:async\s+)?(?:def\s+(?=\w+\s*\()|(?=\w+\s*(?::[^=\n]+)?=(?!=)))(\w+)", re.MULTILINE)
TASK = re.compile(r"^(?:#+.*Aufgabe |check\(\s*[\"'])(\d\.\d+)", re.MULTILINE)
PERSON = re.compile("|".join(f"{name[:2]}[ _-]?{name[3:]}" for name in COURSE_NOTEBOOKS), re.IGNORECASE)
DAMAGED = "Kein lesbares Notebook (beschädigt oder etwas anderes)."
PACKED = "Das Archiv lässt sich nicht auspacken (beschädigt, mit Kennwort oder zu groß)."


@dataclass
class HandIn:
    """Eine abgegebene Datei und was die Durchsicht dazu sagt.

    Attributes:
        name: eindeutiger Name, der Pfad ab dem angegebenen Ordner, ohne „.ipynb“.
        course: Name des Kurs-Notebooks, z. B. „01_Daten“; None, wenn es keines ist.
        cells: (Art, Quelltext, id im Kurs oder "") in der Reihenfolge der Abgabe.
        notes: Bemerkungen für die Lehrenden.
        verdicts: Nummer der Aufgabe → Urteil; leer, wenn die Abgabe nicht lesbar ist.
        points: Nummer → Punkte aus nbgraders Notenbuch; None heißt nicht gewertet.
        executed: die Zellen, die liefen: (id der Zelle oder "", Quelltext, Ausgaben).
        page: Name der Seite mit der ausgeführten Abgabe.
    """

    name: str
    path: Path
    course: str | None = None
    cells: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    points: dict[str, float] | None = None
    executed: list = field(default_factory=list)
    page: str = ""

    @property
    def person(self) -> str:
        """Der Name mit „*“ für das Notebook: So gehören die Notebooks einer Person zusammen."""
        return PERSON.sub("*", self.name)


def find(paths, unpacked: Path) -> list[tuple[str, Path, str]]:
    """Alles unter ``paths`` (Dateien, Ordner, ZIP-Archive) als (eindeutiger Name, Pfad, Grund einer Ablehnung oder "").

    Auch ein leerer Ordner, ein Bild und ein beschädigtes Archiv sind Einträge; Verborgenes und die Startseite nicht.

    Args:
        unpacked: Ordner auf Zeit für den Inhalt der Archive.

    Raises:
        CourseError: wenn ein Pfad fehlt.
    """
    found = {}
    for given in map(Path, paths):
        if not given.exists():
            raise CourseError(f"{display_path(given)} gibt es nicht: Nennen Sie Dateien oder Ordner mit Abgaben.")
        for parts, path, refusal in entries(given, () if given.is_dir() else (given.name,), unpacked):
            name = stem = re.sub(r"\.ipynb$", "", one_line("/".join(parts) or given.name), flags=re.IGNORECASE)
            numbers = itertools.count(2)
            while name in found and found[name][0].resolve() != path.resolve():
                name = f"{stem} ({next(numbers)})"
            found[name] = path, refusal
    return [(name, *entry) for name, entry in found.items()]


def entries(path: Path, parts: tuple, unpacked: Path, depth: int = 0):
    """Was unter ``path`` liegt, auch in Archiven, als (Teile des Namens, Pfad, Grund einer Ablehnung)."""
    if parts and path.is_symlink() or not (path.is_dir() or path.suffix.casefold() == ".zip"):
        return (yield parts, path, "")
    folder = path
    try:
        if not path.is_dir():
            folder, depth = Path(tempfile.mkdtemp(dir=unpacked)), depth + 1
            unpack(path, folder if depth < 3 else None)
        children = sorted(each for each in folder.iterdir() if each.name[0] != "." and each.name not in JUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError):
        return (yield parts, path, "Der Ordner ist nicht lesbar." if path.is_dir() else PACKED)
    if not children:
        yield parts, path, "Der Ordner enthält keine Abgabe."
    for child in children:
        yield from entries(child, (*parts, child.name), unpacked, depth)


def unpack(archive: Path, folder: Path | None) -> None:
    """Packt ein ZIP aus; wirft alles Mögliche, wenn das nicht geht, auch wenn es zu tief in anderen steckt (None)."""
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        if folder is None or len(members) > MAX_MEMBERS or sum(each.file_size for each in members) > MAX_UNPACKED:
            raise ValueError
        for number, member in enumerate(members):
            if (folder / member.filename).is_file():
                member.filename += f" ({number})"
            content.extract(member, folder)  # zipfile lässt „..“ und die Wurzel in Pfaden weg


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
        cells = self.learner.cells if learner else self.solution.cells
        return next((cell.source for cell in cells if cell.id == cell_id), "")

    def points(self, number: str) -> int:
        wanted = f"{self.exercises[number]}{CHECK}"
        return next(c.metadata["nbgrader"]["points"] for c in self.solution.cells if c.id == wanted)


def references() -> dict[str, Reference]:
    """Name → Kurs-Notebook; seine Aufgabenzellen heißen wie bei nbgrader, gleich welche id JupyterLab ihnen gab."""
    paths = [SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS]
    known = {p.stem: Reference(derived(read_notebook(p), NOTEBOOKS / p.name), read_notebook(p)) for p in paths}
    for reference in known.values():
        for cell in [*reference.learner.cells, *reference.solution.cells]:
            cell.id = cell.metadata.get("nbgrader", {}).get("grade_id", cell.id)
    return known


def read(name: str, path: Path, known: dict[str, Reference], refusal: str = "") -> HandIn:
    """Liest eine Abgabe, falls sie nicht schon abgelehnt ist; was nicht stimmt, steht in ``notes``. Wirft nie."""
    hand_in = HandIn(name, path, notes=[refusal] if refusal else [])
    try:
        if not refusal:
            recognise(hand_in, [cell for cell in map(plain_cell, raw_cells(path)) if cell and cell[1].strip()], known)
    except CourseError as error:
        hand_in.notes.append(str(error))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hand_in.notes.append(DAMAGED)
    return hand_in


def raw_cells(path: Path) -> list:
    """Die Zellen der Datei, wie sie dort stehen; wirft CourseError mit dem Grund, wenn sie nicht als Abgabe gilt."""
    if path.is_symlink() or not path.is_file():
        raise CourseError("Kein Notebook: keine gewöhnliche Datei.")
    if not path.stat().st_size:
        raise CourseError("Die Datei ist leer.")
    raw = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    if not raw or raw.count(b",") > MAX_VALUES:
        raise CourseError(f"Größer als {MAX_BYTES // 1_000_000} MB: Lassen Sie ohne Ausgaben abgeben.")
    try:
        data = json.loads(raw)  # erkennt UTF-8, UTF-16 und UTF-32, mit und ohne Kennzeichen
    except UnicodeDecodeError:
        data = json.loads(raw.decode("cp1252", errors="replace"))
    return data["cells"]


def plain_cell(cell) -> tuple[str, str, str] | None:
    """Art, Quelltext und Kennung einer Zelle (die Angabe für nbgrader, sonst die id); None, wenn es keine ist."""
    match cell:
        case {"cell_type": "code" | "markdown" | "raw" as kind, "source": str() | list() as source}:
            pass
        case _:
            return None
    # Ein halbes UTF-16-Zeichen ließe sich nicht einmal speichern; in Texten könnten Bilder stecken.
    source = "".join(line for line in source if isinstance(line, str)).encode("utf-8", "replace").decode()
    source = source if kind == "code" else source[:10_000]
    match cell:
        case {"metadata": {"nbgrader": {"grade_id": str() as key}}} | {"id": str() as key}:
            return kind, source, key
    return kind, source, ""


def keys_of(cells, reference: Reference) -> list[str]:
    """Die id im Kurs oder "" zu jeder Zelle: nach Kennung, sonst nach Quelltext, Namen der Antwort, Nummer."""
    ours = {cell.id: cell.source.strip() for cell in reference.learner.cells}
    by_source = {source: key for key, source in ours.items()}
    names = {exercises()[number].name: base for number, base in reference.exercises.items()}
    keys, guesses = [], []
    for kind, source, key in cells:
        task = TASK.search(source)
        base = reference.exercises.get(task[1]) if task else None
        answers = [names[name] + ANSWER for name in DEFINITION.findall(source) if name in names]
        guess = (answers or [base and base + CHECK])[0] if kind == "code" else base
        guesses.append(by_source.get(source.strip(), guess))
        # Steht eine Antwort in der Prüfzelle, ist es keine Prüfzelle mehr.
        keys.append("" if key not in ours or answers and key.endswith(CHECK) else key)
    given = {*keys, None}
    return [key or ("" if guess in given else guess) for key, guess in zip(keys, guesses, strict=True)]


def recognise(hand_in: HandIn, cells: list, known: dict[str, Reference]) -> None:
    """Findet heraus, zu welchem Kurs-Notebook die Abgabe gehört, wie auch immer die Datei heißt."""
    code = [source for kind, source, _ in cells if kind == "code"]
    if len(cells) > MAX_CELLS or sum(map(len, code)) > MAX_SOURCE:
        raise CourseError(f"Mehr als {MAX_CELLS} Zellen oder {MAX_SOURCE // 1_000_000} MB Quelltext.")
    found = {name: keys_of(cells, reference) for name, reference in known.items()}
    best = max(found, key=lambda name: len(set(found[name])))
    if not any(found[best]):
        raise CourseError("Gehört zu keinem Notebook des Kurses.")
    hand_in.course, keys = best, found[best]
    hand_in.cells = [(kind, source, key) for (kind, source, _), key in zip(cells, keys, strict=True)]
    answers = {number: keys.count(base + ANSWER) for number, base in known[best].exercises.items()}
    written = {name for source in code for name in DEFINITION.findall(source)}
    if missing := [number for number in answers if not answers[number] and exercises()[number].name not in written]:
        hand_in.notes.append(f"Es fehlt die Zelle zu Aufgabe {', '.join(missing)}.")
    if double := [number for number, count in answers.items() if count > 1]:
        hand_in.notes.append(f"Mehrere Zellen zu Aufgabe {', '.join(double)}: Alle liefen, gezeigt ist die letzte.")
    if re.search(r"helpers(\.| import )checks(?! import (?:check|use)$)", "\n".join(code), re.MULTILINE):
        hand_in.notes.append("Eine Zelle benutzt helpers.checks: In der Durchsicht gibt es dort keine Lösungen.")
