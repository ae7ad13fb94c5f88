"""Jedes Notebook läuft in jedem Stand durch: alles ungelöst, jede Aufgabe allein gelöst, alles gelöst.

Täglich beweist es der Syntaxbaum: Keine Zelle außer einer Antwort und ihrer Prüfung liest einen Namen, den eine Antwort
bestimmt, es sei denn, der Kurs hat ihn selbst. Mit --alles laufen die Stände wirklich.
"""

import ast
import builtins
import os

import pytest
from exercise_states import SMALL, in_state, solution_cells, with_parameters
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from helpers.basics import COURSE_NOTEBOOKS, KERNEL_NAME


def names(source: str, context) -> set[str]:
    """Namen, die ``source`` liest (``ast.Load``) oder bestimmt (``ast.Store``), auch durch def, class und import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, context):
            found.add(node.id)
        elif context is ast.Store and isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif context is ast.Store and isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
    return found


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_no_course_cell_needs_an_answer(name):
    """Nach oben geschlossen: Bestimmt der Kurs den Namen vor der lesenden Zelle selbst, dann kommt er von dort."""
    cells = [cell for cell in in_state(name, list(solution_cells(name))).cells if cell.cell_type == "code"]
    answered = set().union(*(names(cell.source, ast.Store) for cell in cells if cell.id.endswith("-loesung")))
    assert len(answered) >= 5
    known = set(dir(builtins))
    for cell in cells:
        if not cell.id.endswith(("-loesung", "-pruefung")):
            known |= names(cell.source, ast.Store)
            assert (names(cell.source, ast.Load) & answered) - known == set(), cell.id


@pytest.mark.alles
@pytest.mark.langsam
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_every_notebook_runs_in_every_state(name, tmp_path, ausgabe):
    """Alle Stände in einem Kernel, jeder ohne die Namen des vorigen: So lädt TensorFlow nur einmal."""
    numbers = {cell: f"{int(cell[:2])}.{cell.split('-')[2]}" for cell in solution_cells(name)}
    kernel = KernelManager(kernel_name=KERNEL_NAME)
    kernel.start_kernel(cwd=str(tmp_path), env={**os.environ, "KURS_OBERFLAECHE": "nein"})
    try:
        for solved in ([], *([cell] for cell in numbers), list(numbers)):
            notebook = with_parameters(in_state(name, solved), SMALL[name])
            notebook.cells.insert(0, new_code_cell("%reset -f"))
            NotebookClient(notebook, km=kernel, timeout=300, iopub_timeout=60).execute()
            texts = [o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stdout"]
            said = [text[:13] for text in texts if text[2:9] == "Aufgabe"]
            assert said == [f"{'✔' if cell in solved else '○'} Aufgabe {number}" for cell, number in numbers.items()]
    finally:
        kernel.shutdown_kernel(now=True)
