"""Abgaben finden und lesen. Was darin steht, ist fremd: Übernommen werden nur Art, Quelltext und id jeder Zelle."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, SOLUTIONS, START_PAGE, CourseError, display_path, one_line
from helpers.workshop.notebooks import derived, read_notebook

MAX_BYTES = 20_000_000
MAX_CELLS = 500
ANSWER, CHECK = "-loesung", "-pruefung"


class Refused(ValueError):
    """Warum eine Datei nicht als Abgabe gilt: ein deutscher Halbsatz."""


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
        files = sorted(given.rglob("*.ipynb")) if given.is_dir() else [given]
        for path in files:
            inner = path.relative_to(given) if given.is_dir() else Path(path.name)
            if any(part.startswith(".") for part in inner.parts) or inner.stem == START_PAGE:
                continue
            name, number = one_line(inner.with_suffix("").as_posix()), 2
            while name in found and found[name].resolve() != path.resolve():
                name, number = f"{one_line(inner.with_suffix('').as_posix())} ({number})", number + 1
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
    found = {}
    for name in COURSE_NOTEBOOKS:
        path = SOLUTIONS / f"{name}.ipynb"
        found[name] = Reference(derived(read_notebook(path), NOTEBOOKS / path.name), read_notebook(path))
    return found


def read(name: str, path: Path, known: dict[str, Reference]) -> HandIn:
    """Liest eine Abgabe; was nicht stimmt, steht in ``notes``. Wirft nie."""
    hand_in = HandIn(name, path)
    try:
        if path.is_symlink() or not path.is_file():
            raise Refused("keine gewöhnliche Datei")
        if path.stat().st_size > MAX_BYTES:
            raise Refused(f"größer als {MAX_BYTES // 1_000_000} MB")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if not isinstance(cells, list) or len(cells) > MAX_CELLS:
            raise Refused(f"keine Liste von höchstens {MAX_CELLS} Zellen")
        hand_in.cells = [cell for cell in map(plain_cell, cells) if cell]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error) if isinstance(error, Refused) else "beschädigt"
        hand_in.notes.append(f"Kein lesbares Notebook ({reason}).")
        return hand_in
    recognise(hand_in, known)
    return hand_in


def plain_cell(cell) -> tuple[str, str, str] | None:
    """Art, Quelltext und Kennung einer Zelle: die Angabe für nbgrader, sonst die id."""
    if not isinstance(cell, dict) or str(cell.get("cell_type")) not in ("code", "markdown", "raw"):
        return None
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return None
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    key = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    key = key if isinstance(key, str) else cell.get("id")
    # Ein halbes UTF-16-Zeichen ließe sich nicht einmal speichern.
    source = source.encode("utf-8", "replace").decode("utf-8")
    return cell["cell_type"], source, key if isinstance(key, str) else ""


def recognise(hand_in: HandIn, known: dict[str, Reference]) -> None:
    """Findet heraus, zu welchem Kurs-Notebook die Abgabe gehört, wie auch immer die Datei heißt."""
    keys = {key for _, _, key in hand_in.cells}
    hits = {name: len(keys & {cell.id for cell in ref.solution.cells}) for name, ref in known.items()}
    best = max(hits, key=hits.get)
    if not hits[best]:
        hand_in.notes.append("Gehört zu keinem Notebook des Kurses.")
        return
    hand_in.course = best
    ids = {cell.id for cell in known[best].solution.cells}
    hand_in.cells = [(kind, source, key if key in ids else "") for kind, source, key in hand_in.cells]
    answers = [key for _, _, key in hand_in.cells if key.endswith(ANSWER)]
    numbers = known[best].exercises.items()
    missing = [number for number, base in numbers if base + ANSWER not in answers]
    double = [number for number, base in numbers if answers.count(base + ANSWER) > 1]
    if missing:
        hand_in.notes.append(f"Es fehlt die Zelle zu Aufgabe {', '.join(missing)}.")
    if double:
        hand_in.notes.append(f"Mehrere Zellen zu Aufgabe {', '.join(double)}: Es zählt die letzte.")
