"""Abgaben für die Durchsicht: richtige, falsche, kaputte, feindliche."""

import copy
import json
from pathlib import Path

from exercise_states import in_state, solution_cells
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.basics import NOTEBOOKS
from helpers.workshop.notebooks import as_text, read_notebook

COURSE = "01_Daten"
WRONG = 'def pixel_position(name):\n    return divmod(int(name.removeprefix("pixel")), 28)'
# Die Antwort benutzt eine Variable aus einer Zelle des Kurses.
USES_COURSE_VARIABLES = """
def pixel_position(name):
    assert len(source.train_labels) > len(CLASS_NAMES)
    return divmod(int(name.removeprefix('pixel')) - 1, 28)
"""
# Am Anfang: überschreibt, was urteilt.
OVERRIDE = """
from helpers import checks
from helpers.checks import engine, handover
checks.check = lambda *args, **options: print('✔ alles richtig')
engine.judge = handover.judge = engine.review = lambda *args: engine.Verdict('gelöst')
engine.Verdict.accepted = True
"""
# Setzt die Lösung des Kurses ein, lässt die Prüfung sie statt der Antwort rufen, sucht nach ihrem Quelltext.
STEAL = """
import inspect, pathlib
from helpers import checks
from helpers.checks import engine, notebook_01
for number in "12345":
    exercise = checks.exercises()["1." + number]
    solve = exercise.solve or getattr(notebook_01, exercise.name, None)
    if solve: globals()[exercise.name] = solve
    engine.run_cases = lambda answer, cases, value: [engine.Outcome(solve(*args)) for args in cases]
found = [str(path) for path in pathlib.Path("/").rglob("notebook_01.py") if "argmin" in path.read_text()]
assert not found and "argmin" not in inspect.getsource(notebook_01), found
"""
# Am Ende: ersetzt die Ergebnisse durch ein erfundenes Urteil, einen Verweis, eine Röhre, endlose Klammern.
FORGE = """
import os, pathlib
folder = pathlib.Path(os.environ['KURS_DURCHSICHT'])
for path in folder.glob('1.*.json'): path.unlink()
(folder / '1.1.json').write_text('"gelöst"')
os.symlink('/dev/zero', folder / '1.2.json')
os.mkfifo(folder / '1.3.json')
(folder / '1.4.json').write_text('[' * 100_000)
os._exit(0)
"""
# Versucht, fremde Dateien zu überschreiben und zu löschen.
VANDAL = """
import os, pathlib, shutil
for name in {targets}:
    path = pathlib.Path(name)
    for attack in (lambda: path.write_text('überschrieben'), path.unlink, lambda: shutil.rmtree(path)):
        try: attack()
        except Exception: pass
if [name for name in os.environ if 'SECRET' in name]: os._exit(1)
"""


def solved(course: str = COURSE, only=None):
    """Das gelöste Notebook; mit ``only`` sind nur diese Aufgaben gelöst."""
    cells = list(solution_cells(course))
    return in_state(course, cells if only is None else [cells[number - 1] for number in only])


def answer(notebook, number: int, source: str):
    """Ersetzt die Antwort auf Aufgabe ``number``."""
    cell = next(cell for cell in notebook.cells if cell.id.endswith(f"aufgabe-{number}-loesung"))
    cell.source = source
    return notebook


def save(notebook, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(notebook), encoding="utf-8")
    return path


def place(notebook, number: int, kind: str = "loesung") -> int:
    """An welcher Stelle die Zelle dieser Aufgabe steht."""
    return next(i for i, cell in enumerate(notebook.cells) if cell.id.endswith(f"aufgabe-{number}-{kind}"))


def moved(notebook, number: int, below: str):
    """Die Antwort steht in einer neuen Zelle unter dem Rumpf („loesung“) oder unter der Prüfung („pruefung“)."""
    answer, stubs = notebook.cells[place(notebook, number)], read_notebook(NOTEBOOKS / f"{COURSE}.ipynb").cells
    notebook.cells.insert(place(notebook, number, below) + 1, new_code_cell(answer.source))
    answer.source = next(cell.source for cell in stubs if cell.id == answer.id)
    return notebook


def as_in_lab():
    """Was alles in JupyterLab ein ✔ ergibt, wenn man die Zellen in passender Reihenfolge ausführt."""
    notebook = moved(moved(solved(), 1, "loesung"), 5, "pruefung")
    answer(notebook, 2, "def nearest_template(images, templates):\n    return _helper(images, templates)")
    helper = solution_cells(COURSE)["01-aufgabe-2-loesung"].replace("nearest_template", "_helper")
    notebook.cells.insert(place(notebook, 2, "pruefung") + 1, new_code_cell(f"%%time\n{helper}"))
    third = notebook.cells[place(notebook, 3)]
    third.source = f'%pip install numpy\n!echo hallo\nnote = """\n!kein Befehl\n"""\n{third.source}\nexit()'
    fourth = notebook.cells[place(notebook, 4)]
    notebook.cells[place(notebook, 4, "pruefung")].source = f'{fourth.source}\n\ncheck("1.4")'
    fourth.source = "..."
    return notebook


def attempts():
    """Anführungszeichen aus Word, ein vertippter Name, keine Funktion, ein Doppelpunkt zu wenig, gar nichts."""
    notebook = answer(
        solved(only=[]), 1, "def pixel_position(name):\n    return divmod(int(name.removeprefix(“pixel”)) - 1, 28)"
    )
    answer(notebook, 2, "def nearest_templates(images, templates):\n    return images")
    answer(notebook, 3, "training, validation = [], []")
    return answer(notebook, 4, "def compare_folders(before, after)\n    return set(), set()")


def inserted(notebook, source: str, place: int = 3):
    """Eine zusätzliche Zelle."""
    notebook.cells.insert(place, new_code_cell(source))
    return notebook


def reordered():
    """Prüfzellen und Antworten vor allen anderen Zellen, Importe ganz hinten, ein eigener Text dazwischen."""
    notebook = solved()
    own = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    notebook.cells = [*reversed(own), new_markdown_cell("Meine Notiz"), *(c for c in notebook.cells if c not in own)]
    return notebook


def without_metadata():
    """Ein anderes Programm hat alle Metadaten entfernt."""
    notebook = solved()
    for cell in notebook.cells:
        cell.metadata.clear()
    return notebook


def stripped(number: int):
    """Die Zellen einer Aufgabe sind gelöscht."""
    notebook = solved()
    notebook.cells = [cell for cell in notebook.cells if f"aufgabe-{number}-" not in cell.id]
    return notebook


def doubled():
    """Zuerst eine falsche, dann noch einmal die richtige Antwort, beide mit derselben Kennung."""
    notebook = solved()
    twin = copy.deepcopy(next(cell for cell in notebook.cells if cell.id.endswith("aufgabe-1-loesung")))
    twin.source, twin.id = WRONG, "kopie"
    notebook.cells.insert(0, twin)
    return notebook


def cheating():
    """Nichts gelöst, aber die Prüfungen überschrieben, die Punkte in den Metadaten erhöht und Ergebnisse erfunden."""
    notebook = solved(only=[])
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata["nbgrader"]["points"] = 99
            cell.source = "print('✔ alles richtig')"
    notebook.cells.append(new_code_cell(FORGE))
    return inserted(inserted(answer(notebook, 1, WRONG), OVERRIDE), STEAL)


# Was es sonst noch gibt, leer, abgeschnitten, tief verschachtelt, steht in bad_inputs.
BROKEN = {
    "keine_zellen": "{}",
    "falsche_zellen": json.dumps({"cells": "viele"}),
    "fremd": json.dumps({"cells": [{"cell_type": "code", "source": "1 + 1", "id": "x"}]}),
    "seltsam": json.dumps({"cells": [None, 3, {"cell_type": []}, {"cell_type": "code", "source": {"a": 1}}]}),
}
