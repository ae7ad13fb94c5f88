"""Abgaben für die Durchsicht: richtige, falsche, kaputte, feindliche."""

import copy
import json
from pathlib import Path

from exercise_states import in_state, solution_cells
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.workshop.notebooks import as_text

COURSE = "01_Daten"
WRONG = 'def pixel_position(name):\n    return divmod(int(name.removeprefix("pixel")), 28)'


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
        cell.metadata = type(cell.metadata)()
    return notebook


def stripped(number: int):
    """Die Zellen einer Aufgabe sind gelöscht."""
    notebook = solved()
    notebook.cells = [cell for cell in notebook.cells if f"aufgabe-{number}-" not in cell.id]
    return notebook


def doubled():
    """Zuerst eine falsche, dann noch einmal die richtige Antwort, beide mit derselben Kennung."""
    notebook = solved()
    place = next(i for i, cell in enumerate(notebook.cells) if cell.id.endswith("aufgabe-1-loesung"))
    twin = copy.deepcopy(notebook.cells[place])
    twin.source, twin.id = WRONG, "kopie"
    notebook.cells.insert(place, twin)
    return notebook


def cheating_checks():
    """Die Prüfungen sind überschrieben, die Punkte in den Metadaten erhöht."""
    notebook = solved(only=[])
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata["nbgrader"]["points"] = 99
            cell.source = "print('✔ alles richtig')"
    patch = (
        "from helpers import checks\n"
        "from helpers.checks import engine, handover\n"
        "def check(*args, **options): print('✔ alles richtig')\n"
        "checks.check = check\n"
        "engine.judge = handover.judge = engine.review = lambda *args: engine.Verdict('gelöst')\n"
        "engine.Verdict.accepted = True"
    )
    return inserted(answer(notebook, 1, WRONG), patch)


def forging():
    """Legt selbst Ergebnisse ab: einen Verweis, eine Gerätedatei, ein erfundenes Urteil."""
    source = (
        "import os, pathlib\n"
        "folder = pathlib.Path(os.environ['KURS_DURCHSICHT'])\n"
        "(folder / '1.1.json').write_text('\"gelöst\"')\n"
        "os.symlink('/dev/zero', folder / '1.2.json')\n"
        "os.mkfifo(folder / '1.3.json')\n"
        "(folder / '1.4.json').write_text('[' * 100_000)\n"
        "os._exit(0)"
    )
    return inserted(solved(only=[]), source)


def vandal(targets):
    """Versucht, fremde Dateien zu überschreiben und zu löschen."""
    source = (
        "import os, pathlib, shutil\n"
        f"for name in {[str(target) for target in targets]!r}:\n"
        "    path = pathlib.Path(name)\n"
        "    for attack in (lambda: path.write_text('überschrieben'), path.unlink, lambda: shutil.rmtree(path)):\n"
        "        try: attack()\n"
        "        except Exception: pass\n"
        "print('sieht', sorted(name for name in os.environ if 'SECRET' in name))"
    )
    return inserted(solved(), source)


def uses_course_variables():
    """Die Antwort benutzt eine Variable aus einer Zelle des Kurses."""
    source = (
        "def pixel_position(name):\n"
        "    assert len(source.train_labels) > len(CLASS_NAMES)\n"
        "    return divmod(int(name.removeprefix('pixel')) - 1, 28)"
    )
    return answer(solved(), 1, source)


BROKEN = {
    "leer": "",
    "kein_json": "{",
    "keine_zellen": "{}",
    "falsche_zellen": json.dumps({"cells": "viele"}),
    "tief": "[" * 200_000,
    "fremd": json.dumps({"cells": [{"cell_type": "code", "source": "1 + 1", "id": "x"}]}),
    "seltsam": json.dumps({"cells": [None, 3, {"cell_type": []}, {"cell_type": "code", "source": {"a": 1}}]}),
}
