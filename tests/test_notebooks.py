"""Ableiten, Auffrischen und Stil der Notebooks: keine Lösung verrät sich, keine Fassung läuft der anderen davon."""

import ast
import base64
import functools
import io
import json
import os
import re
import statistics
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
from helpers.workshop.notebooks import as_text, choose, code_cells, derive, execute_solutions, few_colors, read_notebook
from helpers.workshop.report import mathml

START = 'from helpers.start import start\nstart("01_Daten")'
ANSWER = "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
TEST = 'check("1.1")\n### BEGIN HIDDEN TESTS\ncheck("1.1", strict=True)\n### END HIDDEN TESTS'


@pytest.fixture
def solution(tmp_path):
    """Schreibt eine Lösung nach ``tmp_path/solutions``."""
    return functools.partial(write_small_notebook, tmp_path / "solutions")


@pytest.fixture
def folders(tmp_path, solution):
    """Eine Lösung mit Ausgaben und einer Aufgabe (Zellen 4 und 5); ihr Ordner und der der Lernenden."""
    path = solution("01_Daten", "# Größe", START, 'profil = "schnell"', "1 + 1", ANSWER, TEST)
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells[1:], start=1):
        cell.execution_count = number
    notebook.cells[3].outputs = [new_output("execute_result", {"text/plain": "2"}, execution_count=3)]
    for cell, grade in ((notebook.cells[4], False), (notebook.cells[5], True)):
        flags = {"grade": grade, "solution": not grade, "locked": grade, **({"points": 2} if grade else {})}
        cell.metadata["nbgrader"] = {
            "schema_version": 3,
            "grade_id": f"01-aufgabe-1-{'pruefung' if grade else 'loesung'}",
            "task": False,
            **flags,
        }
    path.write_text(as_text(notebook), encoding="utf-8")
    return {"solutions_dir": tmp_path / "solutions", "notebooks_dir": tmp_path / "notebooks"}


def edit(folder, change):
    """Ändert das JSON von ``01_Daten`` von Hand."""
    path = folder / "01_Daten.ipynb"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


# --- derive ----------------------------------------------------------------------------------------------------------


def test_learners_get_stubs_without_outputs_and_hidden_tests(folders):
    assert len(derive(**folders)) == 1
    text = (folders["notebooks_dir"] / "01_Daten.ipynb").read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert [cell["id"] for cell in cells] == [f"zelle-{n}" for n in range(6)]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells[1:])
    assert cells[2]["metadata"] == {"tags": ["parameters"]} and "Größe" in text and text.endswith("}\n")
    *_, answer, test = nbformat.reads(text, as_version=4).cells
    assert answer.source == f"def f():\n    {notebooks.CODE_STUB.replace(chr(10), chr(10) + '    ')}"
    assert test.source == 'check("1.1")' and test.metadata["editable"] is False and not test.metadata["deletable"]


def test_derive_twice_gives_the_same_bytes_even_after_another_run(folders):
    derive(**folders)
    path = folders["notebooks_dir"] / "01_Daten.ipynb"
    first = path.read_bytes()
    notebook = nbformat.read(folders["solutions_dir"] / "01_Daten.ipynb", as_version=4)
    notebook.metadata.update(papermill={"duration": 1.0}, widgets={"x": 1}, language_info={"version": "3.13.9"})
    notebook.cells[1].metadata.update(execution={"iopub.status.busy": "jetzt"}, papermill={"duration": 2})
    notebook.cells[1].update(execution_count=7, outputs=[new_output("stream", text="x")])
    (folders["solutions_dir"] / "01_Daten.ipynb").write_text(as_text(notebook), encoding="utf-8")
    assert derive(check=True, **folders) == derive(**folders) == []
    path.unlink()
    derive(**folders)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["cells"][4].update(source=ANSWER.splitlines(True)),
        lambda data: data["cells"][5]["metadata"]["nbgrader"].update(points=5),
        lambda data: data["metadata"]["kernelspec"].update(name="python3"),
        lambda data: data.clear(),
    ],
)
def test_a_notebook_changed_by_hand_is_noticed(folders, change):
    derive(**folders)
    edit(folders["notebooks_dir"], change)
    (sentence,) = derive(check=True, **folders)
    assert "01_Daten.ipynb fehlt oder passt nicht zu" in sentence


def test_missing_and_extra_files_are_named_and_nothing_is_written(folders):
    write_small_notebook(folders["notebooks_dir"], "Unbenannt", "1")
    write_small_notebook(folders["notebooks_dir"], ".01_Daten-x1", "1")  # Rest eines abgebrochenen Schreibens
    missing, extra = derive(check=True, **folders)
    assert "01_Daten.ipynb fehlt" in missing and "Unbenannt.ipynb hat keine Lösung" in extra
    assert not (folders["notebooks_dir"] / "01_Daten.ipynb").exists()
    with pytest.raises(CourseError, match="kein Notebook"):
        derive(solutions_dir=folders["notebooks_dir"] / "leer", notebooks_dir=folders["notebooks_dir"])


@pytest.mark.parametrize("change", [lambda cell: cell.update(id="zelle-1"), lambda cell: cell.pop("id")])
def test_cells_without_or_with_double_ids_stop_the_derivation(folders, change):
    edit(folders["solutions_dir"], lambda data: change(data["cells"][2]))
    with pytest.raises(CourseError, match=r"01_Daten.ipynb: Die [23]. Zelle hat keine eigene id"):
        derive(**folders)


@pytest.mark.parametrize(
    "change",
    [
        lambda cells: cells[4].update(source=ANSWER.replace("### END SOLUTION", "")),
        lambda cells: cells[5].update(source=TEST.replace("### END HIDDEN TESTS", "")),
        lambda cells: cells[4]["metadata"].pop("nbgrader"),
        lambda cells: cells[5]["metadata"]["nbgrader"].pop("points"),
    ],
)
def test_wrong_marks_and_metadata_leak_nothing(folders, change, capsys):
    edit(folders["solutions_dir"], lambda data: change(data["cells"]))
    with pytest.raises(CourseError, match="01_Daten.ipynb: nbgrader lehnt das Notebook ab"):
        derive(**folders)
    assert not folders["notebooks_dir"].exists() and capsys.readouterr().err == ""


# --- Die Notebooks des Kurses ----------------------------------------------------------------------------------------


def real_cells(name, folder):
    return {cell.id: cell for cell in nbformat.read(folder / f"{name}.ipynb", as_version=4).cells}


def test_real_notebooks_match_the_solutions():
    assert derive(check=True) == []


ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~<&;-])/(?:[\w.+-]+/)+[\w.+-]+|\b[A-Za-z]:\\\w")
FORMULA = re.compile(r"(?<![\\$])\$\$(.+?)\$\$|(?<![\\$])\$(?!\$)(.+?)(?<![\\$])\$", re.DOTALL)
DRAWS = re.compile(r"^ *(plt\.show\(\)|explore_\w+\()", re.MULTILINE)


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_solutions_store_nothing_that_disturbs_learners(name):
    """Kurze Zellen, alle ausgeführt, ohne Warnung; Bilder sind da und nicht leer (nbval vergleicht sie nicht)."""
    path = SOLUTIONS / f"{name}.ipynb"
    notebook = read_notebook(path)
    cells = code_cells(notebook)
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    assert max(lengths) <= 25 and statistics.median(lengths) <= 8
    assert f'start("{name}")' in cells[0].source and any("parameters" in c.metadata.get("tags", []) for c in cells)
    assert all(cell.execution_count for cell in cells) and notebooks.stderr_outputs(notebook) == []
    for cell in cells:
        data = [output.get("data", {}) for output in cell.outputs]
        texts = [output.get("text", "") for output in cell.outputs]
        texts += [text for each in data for kind, text in each.items() if kind.startswith("text/")]
        assert not [text for text in texts if ABSOLUTE_PATH.search(text)], "ein Pfad dieses Rechners"
        pictures = [base64.b64decode(each["image/png"]) for each in data if "image/png" in each]
        assert pictures or not DRAWS.search(cell.source), cell.source
        assert all(np.asarray(Image.open(io.BytesIO(each)).convert("L")).std() > 1 for each in pictures), cell.source
    assert as_text(notebooks.clean(notebook)) == path.read_text(encoding="utf-8"), "flüchtige Metadaten"


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_every_formula_can_be_shown_without_network(name):
    texts = [cell.source for cell in read_notebook(SOLUTIONS / f"{name}.ipynb").cells if cell.cell_type == "markdown"]
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", "\n\n".join(texts), flags=re.DOTALL)
    formulas = [block or inline for block, inline in FORMULA.findall(prose)]
    assert [tex for tex in formulas if not mathml(tex).startswith("<math")] == []


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_learners_see_neither_solution_nor_hint(name):
    """Weder eine längere Zeile aus einer Lösung noch einen längeren Satz aus den Prüfungen."""
    shown = "\n".join(cell.source for cell in real_cells(name, NOTEBOOKS).values())
    sources = "\n".join(cell.source for cell in real_cells(name, SOLUTIONS).values())
    block = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
    lines = {line.strip() for inside in block.findall(sources) for line in inside.splitlines()}
    secret = {line for line in lines if len(line) > 12 and line not in block.sub("", sources)}
    tree = ast.parse((ROOT / "helpers" / "checks" / f"notebook_{name[:2]}.py").read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    secret |= {text for text in texts if len(text) > 40}
    assert len(secret) > 20 and [text for text in secret if text in shown] == []
    assert not re.search(r"BEGIN SOLUTION|HIDDEN TESTS|check\([^)]*strict=True", shown)


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_every_exercise_has_text_stub_and_check(name):
    source, learner = real_cells(name, SOLUTIONS), real_cells(name, NOTEBOOKS)
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


@pytest.mark.alles
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
        for cell, other in zip(ours.values(), theirs.values(), strict=True):
            assert cell.source == other.source and cell.metadata.get("nbgrader") == other.metadata.get("nbgrader")


# --- execute_solutions und kleine Teile ------------------------------------------------------------------------------


def test_execute_solutions_refreshes_outputs_and_leaves_nothing_volatile(solution, ausgabe):
    path = solution("01_Daten", 'profil = "schnell"', "print('a')\nprint('b', flush=True)\nprint(profil)", "6 * 7")
    solution("02_VGG16", "1 / 0")
    execute_solutions(["01"], path.parent)
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


def test_choose_follows_the_course_and_removes_duplicates(tmp_path):
    for name in ("02_VGG16", "03_Training", "05_LRP"):
        write_small_notebook(tmp_path, name, "1")
    chosen = choose(["lrp", "notebooks/02_VGG16.ipynb", "train", "05"], tmp_path)
    assert [path.stem for path in chosen] == ["02_VGG16", "03_Training", "05_LRP"]


def test_pictures_of_solutions_are_small_and_look_the_same():
    plain = io.BytesIO()
    with Image.open(SOLUTIONS / "ergebnis.png") as image:
        image.convert("RGB").save(plain, "PNG")
    small = few_colors(plain.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), int) for each in (plain.getvalue(), small))
    assert len(small) < 0.7 * plain.tell() and np.abs(before - after).mean() < 1 and np.abs(before - after).max() < 30
    assert len(few_colors(small)) <= len(small)
