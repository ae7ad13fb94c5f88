"""Jedes Notebook läuft in jedem Stand durch: alles ungelöst, jede Aufgabe allein gelöst, alles gelöst."""

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor

import pytest
from exercise_states import in_state, run_states, solution_cells, states
from no_network import cut_off, reaches_out

from helpers.basics import COURSE_NOTEBOOKS, ROOT


def expected(name, state):
    """Aufgabe → Zeichen: ✔ gelöst, ○ noch nicht bearbeitet."""
    solved = states(name)[state]
    return {f"{int(id[:2])}.{id.split('-')[2]}": "✔" if id in solved else "○" for id in solution_cells(name)}


@pytest.mark.langsam
def test_every_notebook_runs_in_every_state(tmp_path):
    (tmp_path / "helpers").symlink_to(ROOT / "helpers")
    (tmp_path / "notebooks").mkdir()
    outputs = {name: tmp_path / f"ausgabe-{name[:2]}" for name in COURSE_NOTEBOOKS}
    spawn = multiprocessing.get_context("spawn")
    # Wo es Namensräume gibt, ohne Netz: Nach dem Einrichten braucht es kein Notebook.
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=cut_off) as pool:

        def start(name):
            return pool.submit(run_states, name, tmp_path / "notebooks", outputs[name])

        running = [start(name) for name in ("03_Training", "01_Daten")]
        results = running.pop(0).result()
        for name in ("05_LRP", "04_GradCAM", "02_VGG16"):
            shutil.copytree(outputs["03_Training"], outputs[name])  # Bilder und Modelle
            running.append(start(name))
        results += [row for future in running for row in future.result()]
        connected = pool.submit(reaches_out).result()
    print("mit Netz: Hier lässt sich kein Namensraum anlegen" if connected else "ohne Netz")
    assert len(results) == sum(len(states(name)) for name in COURSE_NOTEBOOKS)
    for name, state, marks, seconds in sorted(results):
        print(f"{name} {state}: {seconds:.0f} s")
        assert marks == expected(name, state), (name, state)


def test_a_state_contains_exactly_the_solutions_asked_for():
    cells = solution_cells("02_VGG16")
    first, *others = cells
    notebook = {cell.id: cell.source for cell in in_state("02_VGG16", [first]).cells}
    assert notebook[first] == cells[first] and all("..." in notebook[other] for other in others)
    assert list(states("02_VGG16")) == ["ungelöst", *[id.removesuffix("-loesung") for id in cells], "gelöst"]
