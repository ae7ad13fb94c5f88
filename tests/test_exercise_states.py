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
def test_every_notebook_runs_in_every_state(tmp_path, monkeypatch):
    from helpers.data import generate

    (tmp_path / "helpers").symlink_to(ROOT / "helpers")
    monkeypatch.setenv("KURS_AUSGABE", str(tmp_path / "ausgabe-03"))
    generate("beispiel", n_train=300, n_test=300)
    spawn = multiprocessing.get_context("spawn")
    # Wo es Namensräume gibt, ohne Netz: Nach dem Einrichten braucht es kein Notebook.
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=cut_off) as pool:
        first = pool.submit(run_states, "03_Training", ["ungelöst"], tmp_path)
        data = pool.submit(run_states, "01_Daten", list(states("01_Daten")), tmp_path)
        results = first.result()
        shutil.copytree(tmp_path / "ausgabe-03", tmp_path / "ausgabe")  # Bilder und Modelle für 04 und 05
        tasks = [("03_Training", [s for s in states("03_Training") if s != "ungelöst"])]
        tasks += [(name, [s]) for name in ("05_LRP", "02_VGG16", "04_GradCAM") for s in states(name)]
        running = [pool.submit(run_states, name, wanted, tmp_path) for name, wanted in tasks]
        results += [row for future in (data, *running) for row in future.result()]
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
