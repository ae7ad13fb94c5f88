"""Ableiten, Auffrischen und Stil der Notebooks: keine Lösung verrät sich, keine Fassung läuft der anderen davon."""

import ast
import base64
import functools
import io
import json
import os
import re
import shutil
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

COURSE = "01_Daten"


def real_cells(name, folder):
    return {cell.id: cell for cell in nbformat.read(folder / f"{name}.ipynb", as_version=4).cells}


@pytest.fixture
def folders(tmp_path):
    """Eine Kopie der Lösung von 01: ihr Ordner und der, in den sie abgeleitet wird."""
    (tmp_path / "solutions").mkdir()
    shutil.copy(SOLUTIONS / f"{COURSE}.ipynb", tmp_path / "solutions")
    return {"solutions_dir": tmp_path / "solutions", "notebooks_dir": tmp_path / "notebooks"}


def edit(folder, change):
    """Ändert das JSON von 01 von Hand; ``change`` bekommt alles, die Antwort und die Prüfung der ersten Aufgabe."""
    path = folder / f"{COURSE}.ipynb"
    data = json.loads(path.read_text(encoding="utf-8"))
    answer, check = (next(c for c in data["cells"] if c["id"].endswith(f"-1-{end}")) for end in ("loesung", "pruefung"))
    change(data, answer, check)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def without(cell, mark: str) -> None:
    cell["source"] = [line for line in cell["source"] if mark not in line]


# --- derive ----------------------------------------------------------------------------------------------------------


def test_derive_twice_gives_the_same_bytes_even_after_another_run(folders):
    derive(**folders)
    path = folders["notebooks_dir"] / f"{COURSE}.ipynb"
    first = path.read_bytes()
    notebook = nbformat.read(folders["solutions_dir"] / path.name, as_version=4)
    notebook.metadata.update(papermill={"duration": 1.0}, widgets={"x": 1}, language_info={"version": "3.13.9"})
    code = code_cells(notebook)[0]
    code.metadata.update(execution={"iopub.status.busy": "jetzt"}, papermill={"duration": 2})
    code.update(execution_count=7, outputs=[new_output("stream", text="x")])
    (folders["solutions_dir"] / path.name).write_text(as_text(notebook), encoding="utf-8")
    edit(folders["notebooks_dir"], lambda data, answer, check: answer.update(source=["return 1"]))
    derive(**folders)
    assert path.read_bytes() == first == (NOTEBOOKS / path.name).read_bytes()


def test_a_folder_without_solutions_is_told(tmp_path):
    with pytest.raises(CourseError, match="kein Notebook"):
        derive(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data, answer, check: answer.update(id=check["id"]), "Zelle hat keine eigene id"),
        (lambda data, answer, check: answer.pop("id"), "Zelle hat keine eigene id"),
        (lambda data, answer, check: without(answer, "END SOLUTION"), "nbgrader lehnt das Notebook ab"),
        (lambda data, answer, check: without(check, "END HIDDEN TESTS"), "nbgrader lehnt das Notebook ab"),
        (lambda data, answer, check: answer["metadata"].pop("nbgrader"), "nbgrader lehnt das Notebook ab"),
        (lambda data, answer, check: check["metadata"]["nbgrader"].pop("points"), "nbgrader lehnt das Notebook ab"),
    ],
)
def test_wrong_ids_marks_and_metadata_stop_the_derivation_and_leak_nothing(folders, change, said, capsys):
    edit(folders["solutions_dir"], change)
    with pytest.raises(CourseError, match=f"01_Daten.ipynb: .*{said}"):
        derive(**folders)
    assert not folders["notebooks_dir"].exists() and capsys.readouterr().err == ""


# --- Die Notebooks des Kurses ----------------------------------------------------------------------------------------


def test_real_notebooks_match_the_solutions(tmp_path):
    derive(notebooks_dir=tmp_path)
    folders = tmp_path, NOTEBOOKS
    fresh, kept = ({path.name: path.read_text("utf-8") for path in each.glob("[!.]*.ipynb")} for each in folders)
    assert fresh == kept, "Führen Sie „python -m helpers ableiten“ aus."


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
    cells = real_cells(name, NOTEBOOKS).values()
    assert not [cell.id for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    shown = "\n".join(cell.source for cell in cells)
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
        assert learner[after[1]].metadata["editable"] is learner[after[1]].metadata["deletable"] is False
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


@pytest.fixture
def solution(tmp_path):
    """Schreibt eine Lösung nach ``tmp_path/solutions``."""
    return functools.partial(write_small_notebook, tmp_path / "solutions")


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
        image.convert("RGB").crop((0, 0, 900, 600)).save(plain, "PNG")
    small = few_colors(plain.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), int) for each in (plain.getvalue(), small))
    assert len(small) < 0.7 * plain.tell() and np.abs(before - after).mean() < 1 and np.abs(before - after).max() < 30
    assert len(few_colors(small)) <= len(small)
