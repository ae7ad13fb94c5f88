"""Jedes Notebook läuft in jedem Stand durch: alles ungelöst, jede Aufgabe allein gelöst, alles gelöst.

Täglich beweist es der Syntaxbaum: Keine Zelle außer einer Antwort und ihrer Prüfung liest einen Namen, den eine Antwort
bestimmt, es sei denn, der Kurs hat ihn selbst. Mit --alles laufen die Stände wirklich.
"""

import ast
import builtins

import pytest
from exercise_states import in_state, run_states, solution_cells, states
from nbformat.v4 import new_code_cell

from helpers.basics import COURSE_NOTEBOOKS


def names(source: str, context) -> set[str]:
    """Namen, die ``source`` liest (``ast.Load``) oder bestimmt (``ast.Store``), auch durch def, class und import."""
    nodes = list(ast.walk(ast.parse(source)))
    found = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
    if context is ast.Store:
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        aliases = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
        found |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
    return found


def dependent_cells(cells) -> list[tuple[str, str]]:
    """(id der Zelle, Name) überall, wo eine Kurszelle braucht, was nur eine Antwort bestimmt.

    Nach oben geschlossen: Bestimmt der Kurs den Namen vor der lesenden Zelle selbst, dann kommt er von dort.
    """
    cells = [cell for cell in cells if cell.cell_type == "code"]
    answered = set().union(*(names(cell.source, ast.Store) for cell in cells if cell.id.endswith("-loesung")))
    known, found = set(dir(builtins)), []
    for cell in cells:
        if cell.id.endswith(("-loesung", "-pruefung")):
            continue
        known |= names(cell.source, ast.Store)
        found += [(cell.id, name) for name in sorted((names(cell.source, ast.Load) & answered) - known)]
    return found


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_no_course_cell_needs_an_answer(name):
    assert dependent_cells(in_state(name, list(solution_cells(name))).cells) == []


def test_a_course_cell_that_needs_an_answer_is_found():
    """Gegenprobe: eine Zelle, die die Antwort aufruft, und eine, die eine Hilfsgröße aus ihr liest."""
    for source, name in (("print(pixel_position('pixel1'))", "pixel_position"), ("def f():\n    return stub", "stub")):
        spoilt = in_state("01_Daten", list(solution_cells("01_Daten")))
        answer = next(cell for cell in spoilt.cells if cell.id.endswith("-loesung"))
        answer.source += "\nstub = 1"
        spoilt.cells.append(new_code_cell(source, id="neu"))
        assert dependent_cells(spoilt.cells) == [("neu", name)]


def expected(name, state):
    """Aufgabe → Zeichen: ✔ gelöst, ○ noch nicht bearbeitet."""
    solved = states(name)[state]
    return {f"{int(id[:2])}.{id.split('-')[2]}": "✔" if id in solved else "○" for id in solution_cells(name)}


@pytest.mark.alles
@pytest.mark.langsam
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_every_notebook_runs_in_every_state(name, tmp_path, ausgabe):
    found = dict(run_states(name, tmp_path))
    assert list(found) == list(states(name))
    for state, marks in found.items():
        assert marks == expected(name, state), state
