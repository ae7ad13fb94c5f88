"""Aus einer Abgabe ein ausführbares Notebook machen und urteilen, mit nbgraders Schritten und Notenbuch."""

import ast
import copy
import difflib
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
from helpers.checks.handover import REVIEW_FOLDER, judge_handed_over
from helpers.workshop.notebooks import ANSWER, CHECK, KERNELSPEC, nbgrader_steps
from helpers.workshop.review.handins import HandIn, Reference, defined

ASSIGNMENT = "kurs"
ORDER = ("offen", "falsch", "gelöst")
AGAIN = "-ende"  # so enden die ids der Prüfungen, die am Schluss noch einmal laufen
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
        student = re.sub(r"[^\w.()-]", lambda sign: f"%{ord(sign[0]):02X}", hand_in.person)
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

    Vorn stehen die unveränderten ersten Zellen des Kurses (Start, Importe, Parameter), dann läuft alles in der
    Reihenfolge der Abgabe, zum Schluss noch einmal jede Prüfung: Ob die Antwort über oder unter ihr steht und ob eine
    spätere Zelle den Namen überschreibt, ist damit gleich. Unveränderte Kurszellen fehlen, denn die Aufgaben brauchen
    sie nicht: So wird nicht für jede Abgabe neu trainiert.

    Args:
        parameters: alle Zellen laufen, mit diesen Werten (für Antworten, die Variablen des Kurses benutzen).
        without: ids der Zellen, an denen ein Lauf schon gescheitert ist.
    """
    from nbformat.v4 import new_code_cell, new_notebook

    opening, rest = split_course(reference)
    skipped = {cell.source.strip() for cell in (opening if parameters else opening + rest)}
    cells = [new_code_cell(cell.source, metadata={"tags": [OPENING]}) for cell in opening]
    if parameters:
        cells.append(new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items())))
    own = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.id not in without]
    cells += [cell for cell in own if grade_id(cell) or cell.source.strip() not in skipped]
    # Was diese Prüfungen ablegen, liegt für sich: Es gilt die bessere von beiden.
    cells.append(new_code_cell(f"import os; os.environ[{REVIEW_FOLDER!r}] += '/{AGAIN}'"))
    checks = [cell for cell in own if grade_id(cell).endswith(CHECK)]
    cells += [new_code_cell(cell.source, id=grade_id(cell) + AGAIN) for cell in checks]
    return new_notebook(cells=cells, metadata={"kernelspec": dict(KERNELSPEC)})


def split_course(reference: Reference) -> tuple[list, list]:
    """Die Code-Zellen des Kurses: die ersten bis zu den Parametern, und alle weiteren, die keine Aufgabe sind."""
    learner = [cell for cell in reference.learner.cells if cell.cell_type == "code"]
    count = 1 + next(i for i, cell in enumerate(learner) if "parameters" in cell.metadata.get("tags", []))
    return learner[:count], [cell for cell in learner[count:] if not grade_id(cell)]


def needs_course(reference: Reference, texts) -> bool:
    """Fehlte laut ``texts`` (Hinweise, Ausgaben) ein Name, den eine übersprungene Zelle des Kurses anlegt?"""
    missing = {name for text in texts for name in re.findall(r"NameError: name '(\w+)'", text)}
    tree = ast.parse("\n".join(cell.source for cell in split_course(reference)[1])) if missing else ast.Module([], [])
    made = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    made |= {(node.asname or node.name) for node in ast.walk(tree) if isinstance(node, ast.alias)}
    return bool(missing & made)


def verdict(number: str, cases: list, texts: list[str | None]) -> Verdict:
    """Das beste Urteil über die Ausgaben aus dem abgeschotteten Prozess, als JSON; None heißt: Er legte keine ab."""
    verdicts = [Verdict("falsch", ("Die Prüfung lief nicht bis zum Ende.",))]
    for text in filter(None, texts):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        verdicts.append(judge_handed_over(exercises()[number], cases, data))
    # Gleich gut: Dann gilt die letzte Prüfung.
    return max(enumerate(verdicts[1:] or verdicts), key=lambda pair: (ORDER.index(pair[1].status), pair[0]))[1]


def attempted(number: str, reference: Reference, executed: list) -> Verdict:
    """Das Urteil, wenn es die Antwort nicht gibt: noch nicht bearbeitet, oder warum keine daraus wurde."""
    name, key = exercises()[number].name, reference.exercises[number] + ANSWER
    taken = {each.name for each in exercises().values()} - {name}
    made = []
    for its_key, source, outputs in executed:
        changed = its_key == key and source.strip() != reference.source(key, learner=True).strip()
        if its_key and not changed:
            continue
        names = [each for each in defined(source) if each not in taken]
        made += [(near, outputs) for near in difflib.get_close_matches(name, names, 1, 0.7)]
        made += [("", outputs)] if changed and name not in names else []
    for _, outputs in sorted(made, key=lambda pair: pair[0] != name):
        if errors := [output["text"] for output in outputs if output.get("raised")]:
            text = re.sub(r"\(\S+\.py, line (\d+)\)", r"(Zeile \1)", errors[0])
            return Verdict("falsch", (f"Die Zelle mit der Antwort bricht ab: {text}",))
    for near, _ in made:
        if near not in ("", name):
            return Verdict("falsch", (f"Die Antwort heißt „{near}“, verlangt ist „{name}“.",))
    if made and name not in [near for near, _ in made]:
        return Verdict("falsch", (f"Die Zelle ist bearbeitet, „{name}“ entsteht darin aber nicht.",))
    return Verdict("offen")
