"""Aus einer Abgabe ein ausführbares Notebook machen und urteilen, mit nbgraders Schritten und Notenbuch."""

import copy
import json
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

from helpers.basics import quiet_stderr
from helpers.checks import exercises
from helpers.checks.exercise import Verdict
from helpers.checks.handover import judge_handed_over
from helpers.workshop.notebooks import KERNELSPEC, nbgrader_steps
from helpers.workshop.review.handins import ANSWER, CHECK, HandIn, Reference

ASSIGNMENT = "kurs"
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

        Was fehlt, kommt zurück, und nbgrader setzt gesperrte Zellen, also die Prüfungen, auf ihren Stand im Kurs.
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
        missing = [key for key in ours if key.endswith((ANSWER, CHECK)) and key not in last]
        cells += [copy.deepcopy(ours[key]) for key in missing]
        notebook = new_notebook(cells=cells, metadata={"kernelspec": dict(KERNELSPEC)})
        return self._run(SANITIZE_STEPS, notebook, hand_in.course)

    def enter(self, hand_in: HandIn, verdicts: dict[str, Verdict]) -> dict[str, float]:
        """Trägt die Urteile ein: Eine abgelehnte Antwort steht als Fehler unter ihrer Prüfzelle. Nummer → Punkte."""
        from nbformat.v4 import new_output
        from nbgrader.api import Gradebook

        student = re.sub(r"[^\w.()-]+", "_", hand_in.name)
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


def runnable(notebook, reference: Reference, parameters: dict | None = None):
    """Das Notebook, das wirklich läuft.

    Vorn stehen die unveränderten ersten Zellen des Kurses (Start, Importe, Parameter). Jede Prüfzelle steht hinter
    ihrer Antwort, in welcher Reihenfolge auch immer abgegeben wurde. Unveränderte Kurszellen fehlen, denn die Aufgaben
    brauchen sie nicht: So wird nicht für jede Abgabe neu trainiert.

    Args:
        parameters: alle Zellen laufen, mit diesen Werten (für Antworten, die Variablen des Kurses benutzen).
    """
    from nbformat.v4 import new_code_cell, new_notebook

    learner = [cell for cell in reference.learner.cells if cell.cell_type == "code"]
    count = 1 + next(i for i, cell in enumerate(learner) if "parameters" in cell.metadata.get("tags", []))
    opening = learner[:count]
    skipped = {cell.source.strip() for cell in (opening if parameters else learner) if not grade_id(cell)}
    checks = {grade_id(cell): cell for cell in notebook.cells if grade_id(cell).endswith(CHECK)}
    cells = [new_code_cell(cell.source, metadata={"tags": [OPENING]}) for cell in opening]
    if parameters:
        cells.append(new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items())))
    for cell in notebook.cells:
        if cell.cell_type != "code" or grade_id(cell).endswith(CHECK) or cell.source.strip() in skipped:
            continue
        cells.append(cell)
        if (check := checks.get(grade_id(cell).removesuffix(ANSWER) + CHECK)) is not None:
            cells.append(check)
    return new_notebook(cells=cells, metadata={"kernelspec": dict(KERNELSPEC)})


def verdict(number: str, cases: list, text: str | None) -> Verdict:
    """Urteil über die Ausgaben aus dem abgeschotteten Prozess, als JSON; None heißt: Er legte keine ab."""
    if text is None:
        return Verdict("falsch", ("Die Prüfung wurde nicht erreicht oder umgangen.",))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    return judge_handed_over(exercises()[number], cases, data)
