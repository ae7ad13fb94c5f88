"""Die erste Zelle jedes Notebooks: richtiger Kernel, stilles TensorFlow, genau eine Zeile."""

import subprocess
import sys
import tomllib

import nbformat
import pytest
from nbclient import NotebookClient
from notebook_factory import write_small_notebook
from packaging.requirements import Requirement

from helpers import start as start_module
from helpers.basics import KERNEL_NAME, ROOT, CourseError
from helpers.start import MAX_PRINTED, STAMP, Check, check_interpreter, course_packages

WRONG = [Check(name, False, "fehlt, gebraucht 1.0", "bash install.bash") for name in "abcde"]


def run_python(code, *flags):
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("notebook", ["01_Daten", "03_Training"])
def test_prints_exactly_one_line(notebook):
    """TensorFlow wird still geladen (01 braucht es nicht); danach geht stderr wieder."""
    code = f"import os, sys; from helpers.start import start; start({notebook!r}); print('tensorflow' in sys.modules)"
    result = run_python(code + "; os.write(2, b'eins '); print('zwei', file=sys.stderr)")
    assert result.stderr == "eins zwei\n"
    assert result.stdout == f"✔ {notebook}: Kernel und Pakete stimmen.\n{notebook == '03_Training'}\n"


def test_wrong_kernel_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(start_module, "check_packages", lambda: WRONG)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "anaconda3"))
    with pytest.raises(CourseError, match="falschen Kernel.*„bash install.bash“") as caught:
        check_interpreter()
    text = str(caught.value)
    assert "aus „anaconda3“" in text and str(tmp_path) not in text
    assert "c fehlt, gebraucht 1.0; und 2 weitere" in text
    assert "Kernel → Kernel wechseln… (englisch Change Kernel…) → Traue keinem CNN" in text
    assert caught.value._render_traceback_() == [f"✘ {text}"], "im Notebook der Satz statt des Tracebacks"


def test_outdated_course_environment_is_not_called_a_wrong_kernel(tmp_path, monkeypatch):
    (tmp_path / STAMP).write_text("gpu 0\n", encoding="utf-8")
    monkeypatch.setattr(start_module, "check_packages", lambda: WRONG[:1])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(CourseError, match=r"nicht auf dem neuesten Stand \(a fehlt, gebraucht 1.0\)"):
        check_interpreter()


def test_other_interpreter_with_all_packages_is_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    check_interpreter()


def test_kernel_without_packages_gets_a_sentence():
    result = run_python("from helpers.start import start; start('04_GradCAM')", "-S")
    assert "CourseError: Dieses Notebook läuft im falschen Kernel" in result.stderr or "neuesten Stand" in result.stderr
    assert result.stdout == ""


def test_every_declared_package_is_checked_but_pip():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {*course_packages(), "pip"} == {Requirement(text).name for text in declared}


@pytest.mark.parametrize(
    ("source", "ends"),
    [
        ("while True:\n    print('x' * 79)", "300.000 Zeichen gedruckt, wohl ohne Ende"),
        ("import sys\nwhile True:\n    sys.stderr.write('x' * 79)", "300.000 Zeichen gedruckt, wohl ohne Ende"),
        ("print('ä' * 400_000)", "300.000 Zeichen gedruckt, wohl ohne Ende"),
        ("for number in range(10**7):\n    try:\n        print(number)\n    except Exception:\n        break", ""),
        ("print('x' * 200_000)", ""),
    ],
)
def test_a_cell_that_prints_without_end_is_stopped_and_the_next_one_prints_again(source, ends, tmp_path):
    cells = ["from helpers.start import start\nstart('01_Daten')", "start('01_Daten')", source, "print('weiter')"]
    path = write_small_notebook(tmp_path, "druck", *cells)
    client = NotebookClient(nbformat.read(path, as_version=4), kernel_name=KERNEL_NAME, allow_errors=True, timeout=60)
    client.execute()
    *_, printed, after = client.nb.cells
    assert sum(len(each.get("text", "")) for each in printed.outputs) <= MAX_PRINTED
    errors = [each["evalue"] for each in printed.outputs if each.output_type == "error"]
    assert [ends in error for error in errors] == [True] * bool(ends)
    assert "weiter\n" in [each.get("text") for each in after.outputs]


def test_nach_einem_neustart_geht_auch_eine_pruefzelle_allein(tmp_path, ausgabe, monkeypatch):
    """Der Kernel kennt ``helpers`` in jedem Ordner, auch wenn die erste Zelle des Notebooks nicht lief."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    cells = [f'from helpers.checks import check\n\ncheck("{number}")' for number in ("1.1", "3.4", "5.2")]
    notebook = nbformat.read(write_small_notebook(tmp_path, "mitte", *cells), as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_name=KERNEL_NAME, timeout=60, resources=place).execute()
    said = [cell.outputs[0].text for cell in notebook.cells]
    assert [text[:13] for text in said] == ["○ Aufgabe 1.1", "○ Aufgabe 3.4", "○ Aufgabe 5.2"]


COUNTING = """
import time
from helpers.basics import progress
print("vorher")
for _ in progress(range(4), text="Suche", unit="Stellen"):
    for _ in progress(range(2), text="innen"):
        time.sleep(0.2)
print("nachher")
"""


@pytest.mark.parametrize("front_end", ["ja", "nein"])
def test_eine_lange_zelle_sagt_wie_weit_sie_ist_und_danach_nichts_mehr(front_end, tmp_path, monkeypatch):
    """In JupyterLab, auch nach einem Fehler; wo niemand zusieht (papermill, nbval), gibt es die Zeile gar nicht."""
    seen = {}

    class Watching(NotebookClient):
        def process_message(self, message, cell, index):
            if "display_data" in message["msg_type"]:
                seen.setdefault(index, []).append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    monkeypatch.setenv("KURS_OBERFLAECHE", front_end)
    begin = "from helpers.start import show_progress\nshow_progress(0.2, 0.1)"
    cells = [
        begin,
        COUNTING,
        "for _ in progress([1], text='innen'):\n    time.sleep(1)",
        COUNTING + "1 / 0",
        "print('kurz')",
    ]
    cells += ["get_ipython().run_cell('time.sleep(0.5)');"]  # wie %run: eine Zelle in der Zelle
    path = write_small_notebook(tmp_path, "lang", *cells)
    client = Watching(nbformat.read(path, as_version=4), kernel_name=KERNEL_NAME, allow_errors=True, timeout=60)
    client.execute()
    if front_end == "ja":
        assert list(seen) == [1, 2, 3, 5]
        for index, word in {1: "| 2 von 4 Stellen", 2: "Die Zelle rechnet seit 1 s.", 3: "| 3 von 4 Stellen"}.items():
            *shown, last = seen[index]
            assert any(word in each for each in shown) and last == ""
            assert not any("innen" in each for each in shown), (
                "gezählt wird, was außen läuft und mehr als einen Schritt hat"
            )
    else:
        assert seen == {}
    left = [
        "".join(each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs)
        for cell in client.nb.cells
    ]
    assert left == ["", "vorher\nnachher\n", "", "vorher\nnachher\n", "kurz\n", ""]
