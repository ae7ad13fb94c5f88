"""Ableiten, Auffrischen und Stilprüfung der Notebooks."""

import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_output
from notebook_factory import write_small_notebook
from PIL import Image

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, ROOT, SOLUTIONS, CourseError
from helpers.workshop import notebooks
from helpers.workshop.notebooks import (
    as_text,
    choose,
    clean,
    declared_parameters,
    derive,
    execute_solutions,
    few_colors,
    problems,
)

START = 'from helpers.start import start\nstart("01_Daten")'


@pytest.fixture
def solution(tmp_path):
    """Schreibt eine Lösung nach ``tmp_path/solutions``."""
    return functools.partial(write_small_notebook, tmp_path / "solutions")


@pytest.fixture
def folders(tmp_path, solution):
    """Zwei Lösungen mit Ausgaben; ``derive`` und ``problems`` bekommen ihre Ordner."""
    for name in ("01_Daten", "02_VGG16"):
        path = solution(name, "# Größe", START.replace("01_Daten", name), 'profil = "schnell"', "1 + 1")
        with_outputs(path, 3, new_output("execute_result", {"text/plain": "2"}, execution_count=3))
    return {"solutions_dir": tmp_path / "solutions", "notebooks_dir": tmp_path / "notebooks"}


def with_outputs(path, index, *outputs):
    """Speichert Ausgaben in einer Zelle; alle Code-Zellen bekommen ihre Nummer."""
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate([cell for cell in notebook.cells if cell.cell_type == "code"], start=1):
        cell.execution_count = number
    notebook.cells[index].outputs = list(outputs)
    path.write_text(as_text(notebook), encoding="utf-8")
    return path


def edit(path, change):
    """Ändert das JSON eines Notebooks von Hand."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


# --- derive ----------------------------------------------------------------------------------------------------------


def test_derive_removes_outputs_and_keeps_ids_and_tags(folders):
    assert len(derive(**folders)) == 2
    text = (folders["notebooks_dir"] / "01_Daten.ipynb").read_text(encoding="utf-8")
    learner = json.loads(text)
    assert [cell["id"] for cell in learner["cells"]] == ["zelle-0", "zelle-1", "zelle-2", "zelle-3"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in learner["cells"][1:])
    assert learner["cells"][2]["metadata"] == {"tags": ["parameters"]}
    assert learner["metadata"]["kernelspec"]["name"] == "traue-keinem-cnn"
    assert "Größe" in text and text.endswith("}\n") and '\n "cells": [' in text


def test_derive_twice_gives_the_same_bytes_even_after_another_run(folders):
    derive(**folders)
    first = {path.name: path.read_bytes() for path in folders["notebooks_dir"].iterdir()}
    notebook = nbformat.read(folders["solutions_dir"] / "01_Daten.ipynb", as_version=4)
    notebook.metadata.update(papermill={"duration": 1.0}, widgets={"x": 1}, language_info={"version": "3.13.9"})
    notebook.cells[1].metadata.update(execution={"iopub.status.busy": "jetzt"}, papermill={"duration": 2})
    notebook.cells[1].update(execution_count=7, outputs=[new_output("stream", text="x")])
    (folders["solutions_dir"] / "01_Daten.ipynb").write_text(as_text(notebook), encoding="utf-8")
    assert derive(**folders) == []
    for path in folders["notebooks_dir"].iterdir():
        path.unlink()
    derive(**folders)
    assert {path.name: path.read_bytes() for path in folders["notebooks_dir"].iterdir()} == first


def test_check_is_silent_when_all_fits_and_writes_nothing(folders):
    assert len(derive(check=True, **folders)) == 2 and not folders["notebooks_dir"].exists()
    derive(**folders)
    assert derive(check=True, **folders) == []


def change_source(data):
    data["cells"][3]["source"] = ["1 + 2"]


def add_output(data):
    data["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x"]}]


def remove_tag(data):
    data["cells"][2]["metadata"] = {}


def drop_last(data):
    data["cells"].pop()


def other_kernel(data):
    data["metadata"]["kernelspec"]["name"] = "python3"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (change_source, "ab Zelle „zelle-3“"),
        (add_output, "ab Zelle „zelle-1“"),
        (remove_tag, "ab Zelle „zelle-2“"),
        (drop_last, "ab Zelle „zelle-3“"),
        (other_kernel, "in den Metadaten oder der Formatierung"),
    ],
)
def test_drift_names_file_and_cell(folders, change, place):
    derive(**folders)
    edit(folders["notebooks_dir"] / "02_VGG16.ipynb", change)
    (sentence,) = derive(check=True, **folders)
    assert "02_VGG16.ipynb weicht" in sentence and place in sentence


def test_missing_broken_and_extra_files_are_drift(folders):
    derive(**folders)
    (folders["notebooks_dir"] / "01_Daten.ipynb").unlink()
    (folders["notebooks_dir"] / "02_VGG16.ipynb").write_text("{", encoding="utf-8")
    write_small_notebook(folders["notebooks_dir"], "Unbenannt", "1")
    missing, broken, extra = derive(check=True, **folders)
    assert "01_Daten.ipynb fehlt" in missing and "kein lesbares Notebook" in broken
    assert "Unbenannt.ipynb hat keine Lösung" in extra
    derive(**folders)
    assert len(derive(check=True, **folders)) == 1 and (folders["notebooks_dir"] / "Unbenannt.ipynb").exists()


def test_leftovers_of_an_interrupted_write_do_not_count(folders):
    derive(**folders)
    for folder in folders.values():
        write_small_notebook(folder, ".01_Daten-x1", "1")
    assert derive(check=True, **folders) == []


def test_cells_without_or_with_double_ids_stop_the_derivation(folders):
    path = folders["solutions_dir"] / "01_Daten.ipynb"
    edit(path, lambda data: data["cells"][2].update(id="zelle-1"))
    with pytest.raises(CourseError, match="01_Daten.ipynb: Die Zellen-id „zelle-1“ kommt zweimal vor"):
        derive(**folders)
    edit(path, lambda data: data["cells"][2].pop("id"))
    with pytest.raises(CourseError, match="Die 3. Zelle hat keine id"):
        derive(**folders)


def test_empty_solutions_folder(tmp_path):
    with pytest.raises(CourseError, match="kein Notebook"):
        derive(solutions_dir=tmp_path, notebooks_dir=tmp_path)


# --- Aufgaben und nbgrader -------------------------------------------------------------------------------------------

MARKED = "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
TESTED = 'check("1.1")\n### BEGIN HIDDEN TESTS\ncheck("1.1", strict=True)\n### END HIDDEN TESTS'


def nbgrader_cell(cell, **flags):
    cell.metadata["nbgrader"] = {"schema_version": 3, "grade_id": cell.id, "task": False, **flags}


@pytest.fixture
def exercise(solution):
    """Eine Lösung mit einer Aufgabe; ``change`` verändert das Notebook, bevor es geschrieben wird."""

    def write(change=lambda notebook: None):
        path = solution("01_Daten", START, 'profil = "schnell"', MARKED, TESTED)
        notebook = nbformat.read(path, as_version=4)
        nbgrader_cell(notebook.cells[2], grade=False, solution=True, locked=False)
        nbgrader_cell(notebook.cells[3], grade=True, solution=False, locked=True, points=2)
        change(notebook)
        path.write_text(as_text(notebook), encoding="utf-8")
        return {"solutions_dir": path.parent, "notebooks_dir": path.parent.parent / "notebooks"}

    return write


def test_solutions_become_stubs_and_hidden_tests_disappear(exercise):
    folders = exercise()
    derive(**folders)
    *_, answer, test = nbformat.read(folders["notebooks_dir"] / "01_Daten.ipynb", as_version=4).cells
    assert answer.source == f"def f():\n    {notebooks.CODE_STUB.replace(chr(10), chr(10) + '    ')}"
    assert test.source == 'check("1.1")' and (answer.id, test.id) == ("zelle-2", "zelle-3")
    assert test.metadata["editable"] is False and answer.metadata.get("editable") is None
    assert not answer.metadata["deletable"] and not test.metadata["deletable"]


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.cells[2].update(source=MARKED.replace("### END SOLUTION", "")),
        lambda n: n.cells[3].update(source=TESTED.replace("### END HIDDEN TESTS", "")),
        lambda n: n.cells[2].metadata.pop("nbgrader"),
        lambda n: n.cells[3].metadata.pop("nbgrader"),
        lambda n: n.cells[3].metadata["nbgrader"].update(grade_id="zelle-2"),
        lambda n: n.cells[3].metadata["nbgrader"].pop("points"),
        lambda n: n.cells[3].metadata["nbgrader"].pop("grade_id"),
    ],
)
def test_wrong_marks_and_metadata_stop_the_derivation(exercise, change, capsys):
    folders = exercise(change)
    with pytest.raises(CourseError, match="01_Daten.ipynb: nbgrader lehnt das Notebook ab"):
        derive(**folders)
    assert not folders["notebooks_dir"].exists() and capsys.readouterr().err == ""


def test_other_points_are_drift(exercise):
    derive(**exercise())
    folders = exercise(lambda n: n.cells[3].metadata["nbgrader"].update(points=5))
    (sentence,) = derive(check=True, **folders)
    assert "ab Zelle „zelle-3“" in sentence


def real_cells(name, folder=SOLUTIONS):
    return {cell.id: cell for cell in nbformat.read(folder / f"{name}.ipynb", as_version=4).cells}


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_every_exercise_has_text_stub_and_check(name):
    source, learner = real_cells(name), real_cells(name, NOTEBOOKS)
    texts = [cell for cell in source.values() if "aufgabe" in cell.metadata.get("tags", [])]
    assert [cell.id for cell in texts] == [f"{name[:2]}-aufgabe-{n}" for n in range(1, len(texts) + 1)]
    ids = list(source)
    for number, text in enumerate(texts, start=1):
        title = rf"### ✏️ Aufgabe {int(name[:2])}\.{number}: .+ \((5|10|15|20) Minuten\)\n"
        assert re.match(title, text.source) and "**Das sollte herauskommen:**" in text.source
        after = ids[ids.index(text.id) + 1 :][:2]
        assert after == [f"{text.id}-loesung", f"{text.id}-pruefung"]
        stub = learner[after[0]].source
        assert 2 <= len(stub.splitlines()) <= 6 and stub.rstrip().endswith("...")
        assert learner[after[1]].source.endswith(f'check("{int(name[:2])}.{number}")')
        assert source[after[1]].metadata["nbgrader"]["points"] >= 1
    assert sum("**Vorhersage zuerst.**" in cell.source for cell in source.values()) >= 2


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_learners_see_no_solution(name):
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    # check("1.1", strict=True) steht in den verborgenen Prüfzellen; zip(…, strict=True) darf jeder sehen.
    assert not re.findall(r"BEGIN SOLUTION|HIDDEN TESTS|check\([^)]*strict=True", text)


@pytest.mark.langsam
def test_nbgrader_itself_derives_the_same(tmp_path):
    """``nbgrader generate_assignment solutions``, so wie es in der README steht."""
    program = Path(sys.executable).parent
    environment = {**os.environ, "KURS_AUSGABE": str(tmp_path), "PATH": f"{program}{os.pathsep}{os.environ['PATH']}"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ *nbgrader (generate_assignment solutions.*)$", readme, re.MULTILINE)
    command = [str(program / "nbgrader"), *line.split()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in COURSE_NOTEBOOKS:
        ours, theirs = real_cells(name, NOTEBOOKS), real_cells(name, tmp_path / "nbgrader" / "release" / "solutions")
        assert list(ours) == list(theirs)
        for key, cell in ours.items():
            assert cell.source == theirs[key].source
            assert cell.metadata.get("nbgrader") == theirs[key].metadata.get("nbgrader")


# --- execute_solutions -----------------------------------------------------------------------------------------------


def test_execute_solutions_refreshes_outputs_and_leaves_nothing_volatile(solution, ausgabe):
    path = solution("01_Daten", 'profil = "schnell"', "print('a')\nprint('b', flush=True)\nprint(profil)", "6 * 7")
    solution("02_VGG16", "1 / 0")
    assert len(execute_solutions(["01"], path.parent)) == 1
    text = path.read_text(encoding="utf-8")
    assert not [word for word in ("papermill", "injected", "version", "iopub") if word in text]
    cells = json.loads(text)["cells"]
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3]
    assert cells[1]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["a\n", "b\n", "schnell\n"]}]
    assert cells[2]["outputs"][0]["data"] == {"text/plain": ["42"]}
    assert not list((ausgabe / "loesungen").iterdir())
    execute_solutions(["01"], path.parent)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import warnings\nwarnings.warn('alt')", r"Zelle 1 \(„import warnings“\) schreibt auf stderr: .*UserWarning"),
        ("1 / 0", r"bricht in Zelle 1 \(„1 / 0“\) ab: ZeroDivisionError"),
    ],
)
def test_a_warning_or_error_leaves_the_solution_as_it_was(solution, ausgabe, source, said):
    path = solution("01_Daten", source)
    before = path.read_bytes()
    with pytest.raises(CourseError, match=said):
        execute_solutions(["01"], path.parent)
    assert path.read_bytes() == before and (ausgabe / "loesungen" / "01_Daten.ipynb").is_file()


# --- problems --------------------------------------------------------------------------------------------------------


def test_a_good_solution_has_no_problems(folders):
    assert problems(folders["solutions_dir"] / "01_Daten.ipynb") == []


def stream(text, name="stdout"):
    return new_output("stream", text=text, name=name)


def html(text):
    return new_output("display_data", {"text/html": text, "text/plain": "…"})


ERROR = new_output("error", ename="ValueError", evalue="so nicht", traceback=[])


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (ERROR, "Zelle 3 („1 + 1“) enthält einen gespeicherten Fehler: ValueError: so nicht."),
        (stream("Achtung\n", "stderr"), "schreibt auf stderr: Achtung."),
        (stream("<A object at 0x7f5c5245b6a0>"), "gibt eine Objektadresse aus (0x7f5c5245b6a0)"),
        (stream("Datei: /home/anna/kurs/bild.png"), "gibt einen Pfad dieses Rechners aus (/home/anna/kurs/bild.png)"),
        (stream("C:\\Users\\anna"), "gibt einen Pfad dieses Rechners aus (C:\\U)"),
        (html("<td>/tmp/x/y.csv</td>"), "gibt einen Pfad dieses Rechners aus (/tmp/x/y.csv)"),
    ],
)
def test_outputs_that_should_not_be_stored(folders, output, said):
    path = with_outputs(folders["solutions_dir"] / "01_Daten.ipynb", 3, output)
    (found,) = problems(path)
    assert said in found and "01_Daten.ipynb: " in found


@pytest.mark.parametrize(
    "text",
    [
        "T-Shirt/Top",
        "ausgabe/daten/TRAIN/3",
        "https://arxiv.org/abs/1409.1556",
        "../input/bild.png",
        "3/4 und 0x1F",
        "</td>",
    ],
)
def test_outputs_that_may_be_stored(folders, text):
    assert problems(with_outputs(folders["solutions_dir"] / "01_Daten.ipynb", 3, stream(text))) == []


def test_long_cells_and_high_median(solution):
    long, allowed = "\n".join(["a = 1", ""] * 26), "\n".join(["b = 1"] * 25)
    path = with_outputs(solution("01_Daten", START, 'profil = "schnell"', long, allowed), 0)
    too_long, median = problems(path)
    assert "Zelle 3 („a = 1“) hat 26 Zeilen" in too_long and "im Median 13,5 Zeilen" in median


def test_missing_start_cell_parameters_and_execution(solution):
    no_parameters, wrong_name, not_run = problems(solution("02_VGG16", START))
    assert "„parameters“" in no_parameters and 'start("02_VGG16")' in wrong_name
    assert "1 von 1 Code-Zellen sind nicht ausgeführt" in not_run


def test_leftovers_of_papermill_and_missing_ids(folders):
    path = folders["solutions_dir"] / "01_Daten.ipynb"
    edit(path, lambda data: data["cells"][3]["metadata"].update(tags=["injected-parameters"]))
    assert any("papermill" in found for found in problems(path))
    edit(path, lambda data: data["metadata"]["language_info"].update(version="3.11.7"))
    assert any("flüchtige Metadaten" in found for found in problems(path))
    edit(path, lambda data: data["cells"][0].pop("id"))
    assert "Die 1. Zelle hat keine id" in problems(path)[0]


def test_formulas_that_would_stay_latex(solution):
    good = "# Regel\n\n$$R_j = \\sum_k \\frac{a_j w_{jk}}{z_k}R_k$$ kostet 5 \\$, `$HOME`, $\\mathrm{ReLU}(x)$"
    bad = "# Regel\n\n$\\quark{x}$ und $$\\frac{1}{$$"
    path = with_outputs(solution("01_Daten", START, 'profil = "schnell"', good, bad), 0)
    assert [found.split("Formel ")[1].split(" in ")[0] for found in problems(path)] == ["\\quark{x}", "\\frac{1}{"]


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_real_solutions_have_no_problems(name):
    assert problems(SOLUTIONS / f"{name}.ipynb") == []


def test_real_notebooks_match_the_solutions():
    assert derive(check=True) == []


# --- kleine Teile ----------------------------------------------------------------------------------------------------


def test_declared_parameters(solution):
    path = solution("01_Daten", 'profil = "schnell"\nepochen: int = 6\nrate = 1e-4\nn = len("ab")\nleer = None')
    found = declared_parameters(notebooks.read_notebook(path))
    assert found == {"profil": "schnell", "epochen": 6, "rate": 1e-4, "n": None, "leer": None}


def test_streams_merge_only_with_their_neighbours():
    outputs = [stream("a"), stream("b"), stream("c", "stderr"), html("<b>"), stream("d")]
    merged = notebooks.merge_streams(outputs)
    assert [output.get("text") for output in merged] == ["ab", "c", None, "d"]


def test_clean_drops_the_view_of_widgets_without_state(solution):
    notebook = nbformat.read(solution("01_Daten", "x"), as_version=4)
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Knopf"}
    notebook.cells[0].outputs = [new_output("display_data", data)]
    assert clean(notebook).cells[0].outputs[0].data == {"text/plain": "Knopf"}


def test_choose_follows_the_course_and_removes_duplicates(tmp_path):
    for name in ("02_VGG16", "03_Training", "05_LRP"):
        write_small_notebook(tmp_path, name, "1")
    chosen = choose(["lrp", "notebooks/02_VGG16.ipynb", "train", "05"], tmp_path)
    assert [path.stem for path in chosen] == ["02_VGG16", "03_Training", "05_LRP"]


def test_bilder_der_loesungen_sind_klein_und_fast_gleich():
    """Aus einem echten Bild des Kurses: weniger Bytes, kaum andere Farben; ein kleines bleibt, wie es ist."""
    path = SOLUTIONS / "ergebnis.png"
    with Image.open(path) as image:
        original = image.convert("RGB")
    plain = io.BytesIO()
    original.save(plain, "PNG")
    small = few_colors(plain.getvalue())
    with Image.open(io.BytesIO(small)) as image:
        difference = np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(original, int))
    assert len(small) < 0.7 * plain.tell() and difference.mean() < 1 and difference.max() < 30
    assert len(few_colors(small)) <= len(small)
