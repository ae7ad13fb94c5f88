"""Abgaben finden und lesen. Was darin steht, ist fremd: Übernommen werden nur Art, Quelltext und id jeder Zelle."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, SOLUTIONS, START_PAGE, CourseError, display_path, one_line
from helpers.workshop.notebooks import derived, read_notebook

MAX_BYTES = 20_000_000
MAX_CELLS = 500
ANSWER, CHECK = "-loesung", "-pruefung"


@dataclass
class HandIn:
    """Eine abgegebene Datei.

    Attributes:
        name: eindeutiger Name, der Pfad ab dem angegebenen Ordner, ohne Endung.
        course: Name des Kurs-Notebooks, z. B. „01_Daten“; None, wenn es keines ist.
        cells: (Art, Quelltext, id im Kurs oder "") in der Reihenfolge der Abgabe.
        notes: Bemerkungen für die Lehrenden.
    """

    name: str
    path: Path
    course: str | None = None
    cells: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(paths) -> list[tuple[str, Path]]:
    """Alle Notebooks unter ``paths`` (Dateien oder Ordner) als (eindeutiger Name, Pfad).

    Raises:
        CourseError: wenn ein Pfad fehlt oder nirgends ein Notebook liegt.
    """
    found = {}
    for given in map(Path, paths):
        if not given.exists():
            raise CourseError(f"{display_path(given)} gibt es nicht: Nennen Sie Dateien oder Ordner mit Abgaben.")
        for path in sorted(given.rglob("*.ipynb")) if given.is_dir() else [given]:
            inner = path.relative_to(given if given.is_dir() else given.parent)
            if any(part.startswith(".") for part in inner.parts) or inner.stem == START_PAGE:
                continue
            name = stem = one_line(inner.with_suffix("").as_posix())
            numbers = itertools.count(2)
            while name in found and found[name].resolve() != path.resolve():
                name = f"{stem} ({next(numbers)})"
            found[name] = path
    if not found:
        raise CourseError("Dort liegt kein Notebook: Nennen Sie Dateien mit der Endung .ipynb oder deren Ordner.")
    return list(found.items())


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

    def source(self, cell_id: str) -> str:
        return next(cell.source for cell in self.solution.cells if cell.id == cell_id)

    def points(self, number: str) -> int:
        wanted = f"{self.exercises[number]}{CHECK}"
        return next(c.metadata["nbgrader"]["points"] for c in self.solution.cells if c.id == wanted)


def references() -> dict[str, Reference]:
    """Name → Kurs-Notebook."""
    paths = [SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS]
    return {p.stem: Reference(derived(read_notebook(p), NOTEBOOKS / p.name), read_notebook(p)) for p in paths}


def read(name: str, path: Path, known: dict[str, Reference]) -> HandIn:
    """Liest eine Abgabe; was nicht stimmt, steht in ``notes``. Wirft nie."""
    hand_in = HandIn(name, path)
    try:
        hand_in.cells = [cell for cell in map(plain_cell, raw_cells(path)) if cell]
        recognise(hand_in, known)
    except CourseError as error:
        hand_in.notes.append(f"Kein lesbares Notebook ({error}).")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        hand_in.notes.append("Kein lesbares Notebook (beschädigt).")
    return hand_in


def raw_cells(path: Path) -> list:
    """Die Zellen der Datei, wie sie dort stehen; wirft CourseError mit dem Grund, wenn sie nicht als Abgabe gilt."""
    if path.is_symlink() or not path.is_file():
        raise CourseError("keine gewöhnliche Datei")
    if path.stat().st_size > MAX_BYTES:
        raise CourseError(f"größer als {MAX_BYTES // 1_000_000} MB")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    if not isinstance(cells, list) or len(cells) > MAX_CELLS:
        raise CourseError(f"keine Liste von höchstens {MAX_CELLS} Zellen")
    return cells


def plain_cell(cell) -> tuple[str, str, str] | None:
    """Art, Quelltext und Kennung einer Zelle (die Angabe für nbgrader, sonst die id); None, wenn es keine ist."""
    match cell:
        case {"cell_type": "code" | "markdown" | "raw" as kind, "source": str() | list() as source}:
            # Ein halbes UTF-16-Zeichen ließe sich nicht einmal speichern.
            source = "".join(line for line in source if isinstance(line, str)).encode("utf-8", "replace").decode()
        case _:
            return None
    match cell:
        case {"metadata": {"nbgrader": {"grade_id": str() as key}}} | {"id": str() as key}:
            return kind, source, key
    return kind, source, ""


def recognise(hand_in: HandIn, known: dict[str, Reference]) -> None:
    """Findet heraus, zu welchem Kurs-Notebook die Abgabe gehört, wie auch immer die Datei heißt."""
    ids = {name: {cell.id for cell in reference.solution.cells} for name, reference in known.items()}
    given = [key for _, _, key in hand_in.cells]
    best = max(ids, key=lambda name: len(ids[name].intersection(given)))
    if not ids[best].intersection(given):
        hand_in.notes.append("Gehört zu keinem Notebook des Kurses.")
        return
    hand_in.course = best
    hand_in.cells = [(kind, source, key if key in ids[best] else "") for kind, source, key in hand_in.cells]
    answers = {number: given.count(base + ANSWER) for number, base in known[best].exercises.items()}
    if missing := [number for number, count in answers.items() if count == 0]:
        hand_in.notes.append(f"Es fehlt die Zelle zu Aufgabe {', '.join(missing)}.")
    if double := [number for number, count in answers.items() if count > 1]:
        hand_in.notes.append(f"Mehrere Zellen zu Aufgabe {', '.join(double)}: Es zählt die letzte.")
