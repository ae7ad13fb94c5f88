"""Abgaben für die Durchsicht: richtige, falsche, kaputte, feindliche."""

import copy
import json
from pathlib import Path

from exercise_states import in_state, solution_cells
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.workshop.notebooks import as_text

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
    return inserted(answer(notebook, 1, WRONG), OVERRIDE)


def vandal(targets):
    """Löst alles und will ``targets`` zerstören."""
    return inserted(solved(), VANDAL.format(targets=[str(target) for target in targets]))


# Was es sonst noch gibt, leer, abgeschnitten, tief verschachtelt, steht in bad_inputs.
BROKEN = {
    "keine_zellen": "{}",
    "falsche_zellen": json.dumps({"cells": "viele"}),
    "fremd": json.dumps({"cells": [{"cell_type": "code", "source": "1 + 1", "id": "x"}]}),
    "seltsam": json.dumps({"cells": [None, 3, {"cell_type": []}, {"cell_type": "code", "source": {"a": 1}}]}),
}
