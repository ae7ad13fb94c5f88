"""Aus einer Abgabe ein ausführbares Notebook machen und urteilen, mit nbgraders Schritten und Notenbuch."""

import copy
import difflib
import itertools
import json
import os
import re
import shutil
import symtable
import sys
import warnings
from pathlib import Path

from helpers.basics import quiet_stderr
from helpers.checks import exercises
from helpers.checks.exercise import Verdict
from helpers.checks.handover import REVIEW_FOLDER, judge_handed_over
from helpers.workshop.notebooks import ANSWER, CHECK, CODE_STUB, KERNELSPEC, nbgrader_steps
from helpers.workshop.review.handins import DEFINITION, HandIn, Reference

ASSIGNMENT = "kurs"
UNDEFINED = re.compile(r"NameError: name \W+(\w+)\W+ is not defined")
NEAR = 0.7  # so ähnlich ist ein vertippter Name
AGAIN = "-ende"  # so enden die Prüfungen, die am Schluss noch einmal laufen, und der Ordner für ihre Ergebnisse
OPENING = "anfang"  # so sind die ersten Zellen gezeichnet: Bibliotheken laden darf länger dauern
# nbgraders Reihenfolge beim Ausgeben; SaveCells merkt sich im Notenbuch, wie die gesperrten Zellen aussehen.
RELEASE_STEPS = ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums", "SaveCells")
SANITIZE_STEPS = ("ClearOutput", "DeduplicateIds", "OverwriteKernelspec", "OverwriteCells", "CheckCellMetadata")


class GradeBook:
    """nbgraders Notenbuch mit allen Aufgaben des Kurses."""

    def __init__(self, path: Path, known: dict[str, Reference]):
        with quiet_stderr():
            from nbgrader.api import Gradebook
            from sqlalchemy.exc import SAWarning

        # nbgrader legt Zeilen in einer Reihenfolge an, vor der SQLAlchemy warnt; die Punkte stimmen.
        warnings.filterwarnings("ignore", category=SAWarning)
        if not shutil.which("alembic"):  # nbgrader ruft es beim Anlegen auf; es liegt neben unserem Python
            os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self.url, self.known = f"sqlite:///{path}", known
        with Gradebook(self.url) as book:
            book.update_or_create_assignment(ASSIGNMENT)
        for name, reference in known.items():
            self._run(RELEASE_STEPS, copy.deepcopy(reference.solution), name)

    def _run(self, steps, notebook, course: str, student: str = ""):
        names = {"notebook": course, "assignment": ASSIGNMENT, "student": student, "db_url": self.url}
        kernel = {"kernelspec": dict(KERNELSPEC)}
        return nbgrader_steps(steps, notebook, nbgrader=names, unique_key=course, metadata=kernel)

    def sanitize(self, hand_in: HandIn):
        """Ein neues Notebook aus Art, Quelltext und id jeder Zelle; alles andere kommt aus dem Kurs.

        Was fehlt, kommt zurück, ganz vorn, wo es keine eigene Antwort überschreibt, und nbgrader setzt gesperrte
        Zellen, also die Prüfungen, auf ihren Stand im Kurs.
        """
        from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

        make = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
        # nbgrader kennt die gesperrten Zellen aus der Ausgabe, mit Prüfsumme.
        ours = {cell.id: cell for cell in self.known[hand_in.course].learner.cells}
        last = {key: position for position, (_, _, key) in enumerate(hand_in.cells) if key}
        cells = [make[kind](source) for kind, source, _ in hand_in.cells]
        for key, position in last.items():
            cells[position].id = key
            if "nbgrader" in ours[key].metadata:
                cells[position].metadata["nbgrader"] = dict(ours[key].metadata["nbgrader"])
        missing = [
            copy.deepcopy(cell) for key, cell in ours.items() if key.endswith((ANSWER, CHECK)) and key not in last
        ]
        notebook = new_notebook(cells=missing + cells, metadata={"kernelspec": dict(KERNELSPEC)})
        return self._run(SANITIZE_STEPS, notebook, hand_in.course)

    def enter(self, hand_in: HandIn, verdicts: dict[str, Verdict]) -> dict[str, float]:
        """Trägt die Urteile ein: Eine abgelehnte Antwort steht als Fehler unter ihrer Prüfzelle. Nummer → Punkte."""
        from nbformat.v4 import new_output
        from nbgrader.api import Gradebook

        # Zwei Namen, zwei Personen: Jedes Zeichen, das nbgrader nicht mag, behält seine Nummer.
        student = re.sub(r"[^\w.()-]", lambda sign: f"%{ord(sign[0]):02X}", hand_in.name)
        with Gradebook(self.url) as book:
            book.update_or_create_student(student)
            book.update_or_create_submission(ASSIGNMENT, student)
        notebook = self.sanitize(hand_in)
        bases = self.known[hand_in.course].exercises
        cells = {grade_id(cell): cell for cell in notebook.cells}
        for number, each in verdicts.items():
            if not each.accepted:
                error = new_output("error", ename="AssertionError", evalue=each.hint, traceback=[])
                cells[bases[number] + CHECK].outputs = [error]
        self._run(("SaveAutoGrades",), notebook, hand_in.course, student)
        with Gradebook(self.url) as book:
            return {
                number: book.find_grade(base + CHECK, hand_in.course, ASSIGNMENT, student).score
                for number, base in bases.items()
            }


def grade_id(cell) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def runnable(notebook, reference: Reference, parameters: dict | None = None, without=()):
    """Das Notebook, das wirklich läuft.

    Vorn stehen die unveränderten ersten Zellen des Kurses (Start, Importe, Parameter), dann die Abgabe in ihrer
    Reihenfolge, am Ende noch einmal alle Prüfungen: So zählt eine Antwort auch in einer anderen Zelle, über oder unter
    ihrer Prüfung. Unveränderte Kurszellen fehlen, denn die Aufgaben brauchen sie nicht: So wird nicht für jede Abgabe
    neu trainiert.

    Args:
        parameters: alle Zellen laufen, mit diesen Werten (für Antworten, die Variablen des Kurses benutzen).
        without: ids der Zellen, an denen ein Lauf schon gescheitert ist.
    """
    from nbformat.v4 import new_code_cell, new_notebook

    opening, rest = course_cells(reference)
    skipped = {cell.source.strip() for cell in (opening if parameters else opening + rest)}
    # Ein „exit()“ beendete den Kernel erst nach der Zelle, und die nächste stünde als Schuldige da.
    sources = ["get_ipython().ask_exit = lambda: None", *(cell.source for cell in opening)]
    cells = [new_code_cell(source, metadata={"tags": [OPENING]}) for source in sources]
    if parameters:
        cells.append(new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items())))
    own = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.id not in without]
    cells += [cell for cell in own if grade_id(cell) or cell.source.strip() not in skipped]
    cells.append(new_code_cell(f"import os; os.environ[{REVIEW_FOLDER!r}] += {AGAIN!r}"))
    checks = [cell for cell in own if grade_id(cell).endswith(CHECK)]
    cells += [new_code_cell(cell.source, id=cell.id + AGAIN) for cell in checks]
    return new_notebook(cells=cells, metadata={"kernelspec": dict(KERNELSPEC)})


def course_cells(reference: Reference) -> tuple[list, list]:
    """Die Code-Zellen des Kurses ohne die der Aufgaben: die ersten bis zu den Parametern, und die anderen."""
    learner = [cell for cell in reference.learner.cells if cell.cell_type == "code" and not grade_id(cell)]
    count = 1 + next(i for i, cell in enumerate(learner) if "parameters" in cell.metadata.get("tags", []))
    return learner[:count], learner[count:]


def needs_course(reference: Reference, hints: list[str], executed: list) -> bool:
    """Fehlte einer Antwort, auch auf Umwegen, ein Name, den eine übersprungene Zelle des Kurses anlegt?"""
    missing = set(re.findall(UNDEFINED, " ".join(hints)))
    for _, source, outputs in reversed(executed):
        if missing.intersection(DEFINITION.findall(source)):
            missing.update(re.findall(UNDEFINED, str(outputs)))
    source = "\n".join(cell.source for cell in course_cells(reference)[1])
    names = symtable.symtable(source, "kurs", "exec").get_symbols()
    return any(name.get_name() in missing for name in names if name.is_assigned() or name.is_imported())


def verdict(number: str, cases: list, texts: list[str | None]) -> Verdict:
    """Das beste Urteil über Ausgaben aus dem abgeschotteten Prozess, als JSON; None heißt: Er legte keine ab."""
    verdicts = []
    for text in texts:
        if text is not None:
            try:
                data = json.loads(text)
            except (ValueError, RecursionError):
                data = None
            verdicts.append(judge_handed_over(exercises()[number], cases, data))
    never = Verdict("falsch", ("Die Prüfung lief nicht bis zum Ende.",))
    return max(reversed(verdicts), key=lambda each: ("offen", "falsch", "gelöst").index(each.status), default=never)


def attempted(number: str, reference: Reference, executed: list) -> Verdict:
    """Das Urteil, wo es keine Antwort gibt: noch nicht bearbeitet, oder warum daraus keine wurde."""
    name, key = exercises()[number].name, reference.exercises[number] + ANSWER
    stubs = {"", *map(bare, (reference.source(key, learner=True), CODE_STUB))}
    tries = [
        (DEFINITION.findall(source), [output["text"] for output in outputs if output.get("raised")])
        for its_key, source, outputs in executed
        if its_key in ("", key)
        and bare(source) not in stubs
        and (its_key or difflib.get_close_matches(name, DEFINITION.findall(source), 1, NEAR))
    ]
    made, errors = (list(itertools.chain(*parts)) for parts in zip(*tries, strict=True)) if tries else ([], [])
    if errors:
        error = re.sub(r"\(\S+\.py, line (\d+)\)", r"(Zeile \1)", errors[-1])
        return Verdict("falsch", (f"Die Zelle mit der Antwort bricht ab: {error}",))
    if name in made or not tries:
        return Verdict("offen")
    near = difflib.get_close_matches(name, made, 1, NEAR)
    sentence = f"Die Antwort heißt „{near[0]}“, verlangt" if near else "Die Zelle ist bearbeitet, gesucht"
    return Verdict("falsch", (f"{sentence} ist „{name}“.",))


def bare(source: str) -> str:
    """Ohne Kommentare und Leerraum."""
    return re.sub(r"#.*|\s", "", source)
