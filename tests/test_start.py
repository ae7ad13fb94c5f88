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


def test_01_prints_exactly_one_line_and_does_not_wait_for_tensorflow():
    """Dass auch TensorFlow still lädt, zeigt der Lauf des Kurses (test_course_runs): kein Notebook mit stderr."""
    code = "import sys; from helpers.start import start; start('01_Daten'); assert 'tensorflow' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("✔ 01_Daten: Kernel und Pakete stimmen.\n", "")


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


def test_every_declared_package_is_checked_but_pip():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {*course_packages(), "pip"} == {Requirement(text).name for text in declared}


@pytest.fixture
def executed(tmp_path):
    """Führt Zellen im Kernel des Kurses aus, in einem Ordner auf Zeit; Fehler bleiben in ihren Ausgaben."""

    def execute(*cells, client=NotebookClient):
        notebook = nbformat.read(write_small_notebook(tmp_path, "klein", *cells), as_version=4)
        options = {"kernel_name": KERNEL_NAME, "allow_errors": True, "timeout": 60}
        client(notebook, resources={"metadata": {"path": str(tmp_path)}}, **options).execute()
        return notebook.cells

    return execute


def test_a_cell_that_prints_without_end_is_stopped_and_the_next_one_prints_again(executed):
    start = "from helpers.start import start\nstart('01_Daten')"
    endless = [
        "while True:\n    print('x' * 79)",
        "import sys\nwhile True:\n    sys.stderr.write('x' * 79)",
        "print('ä' * 400_000)",
    ]
    swallows = "for number in range(10**7):\n    try:\n        print(number)\n    except Exception:\n        break"
    _, _, *cells, swallowed, long, after = executed(
        start, start, *endless, swallows, "print('x' * 200_000)", "print(1)"
    )
    for cell in (*cells, swallowed):
        assert sum(len(each.get("text", "")) for each in cell.outputs) <= MAX_PRINTED
    for cell in cells:
        assert "300.000 Zeichen gedruckt, wohl ohne Ende" in cell.outputs[-1]["evalue"]
    assert {each.output_type for each in (*swallowed.outputs, *long.outputs)} == {"stream"}
    assert after.outputs[0].text.strip() == "1"


def test_nach_einem_neustart_geht_auch_eine_pruefzelle_allein(executed, ausgabe, monkeypatch):
    """Der Kernel kennt ``helpers`` in jedem Ordner, auch wenn die erste Zelle des Notebooks nicht lief."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    checks = [f'from helpers.checks import check\n\ncheck("{number}")' for number in ("1.1", "3.4", "5.2")]
    said = [cell.outputs[0].text for cell in executed(*checks)]
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


def test_eine_lange_zelle_sagt_wie_weit_sie_ist_und_danach_nichts_mehr(executed, monkeypatch):
    """In JupyterLab, auch nach einem Fehler; wo niemand zusieht (papermill, nbval), fiele die Zeile nbval auf."""
    seen = {}

    class Watching(NotebookClient):
        def process_message(self, message, cell, index):
            if "display_data" in message["msg_type"]:
                seen.setdefault(index, []).append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    monkeypatch.setenv("KURS_OBERFLAECHE", "ja")
    cells = executed(
        "from helpers.start import show_progress\nshow_progress(0.2, 0.1)",
        COUNTING,
        "for _ in progress([1], text='innen'):\n    time.sleep(1)",
        COUNTING + "1 / 0",
        "print('kurz')",
        "get_ipython().run_cell('time.sleep(0.5)');",  # wie %run: eine Zelle in der Zelle
        client=Watching,
    )
    assert list(seen) == [1, 2, 3, 5]
    for index, word in {1: "| 2 von 4 Stellen", 2: "Die Zelle rechnet seit 1 s.", 3: "| 3 von 4 Stellen"}.items():
        *shown, last = seen[index]
        assert any(word in each for each in shown) and last == ""
        assert not any("innen" in each for each in shown), "gezählt wird außen und mehr als ein Schritt"
    texts = [each.get("text") or each.get("data", {}).get("text/plain", "") for each in cells[1].outputs]
    assert "".join(texts) == "vorher\nnachher\n"
