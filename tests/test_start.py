"""Die erste Zelle jedes Notebooks: richtiger Kernel, stilles TensorFlow, genau eine Zeile."""

import subprocess
import sys

import pytest

from helpers import start as start_module
from helpers.basics import ROOT, CourseError
from helpers.start import STAMP, check_interpreter, start
from helpers.workshop.doctor import Check

WRONG = [Check(name, False, "fehlt, gebraucht 1.0", "bash install.bash") for name in "abcde"]


def run_python(code, *flags):
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("notebook", ["00_Start", "01_Daten", "03_Training"])
def test_prints_exactly_one_line(notebook):
    """TensorFlow wird still geladen (00 und 01 brauchen es nicht); danach geht stderr wieder."""
    code = f"import os, sys; from helpers.start import start; start({notebook!r}); print('tensorflow' in sys.modules)"
    result = run_python(code + "; os.write(2, b'eins '); print('zwei', file=sys.stderr)")
    assert result.stderr == "eins zwei\n"
    assert result.stdout == f"✔ {notebook}: Kernel und Pakete stimmen.\n{notebook == '03_Training'}\n"


def test_wrong_kernel_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(start_module, "check_packages", lambda: WRONG)
    with pytest.raises(CourseError) as caught:
        check_interpreter(tmp_path / "anaconda3")
    text = str(caught.value)
    assert "falschen Kernel" in text
    assert "aus „anaconda3“" in text
    assert str(tmp_path) not in text
    assert "a fehlt, gebraucht 1.0; b fehlt, gebraucht 1.0; c fehlt, gebraucht 1.0; und 2 weitere" in text
    assert "Kernel → Kernel wechseln… (englisch Change Kernel…) → Traue keinem CNN" in text
    assert "„bash install.bash“" in text


def test_outdated_course_environment_is_not_called_a_wrong_kernel(tmp_path, monkeypatch):
    (tmp_path / STAMP).write_text("requirements 0\n", encoding="utf-8")
    monkeypatch.setattr(start_module, "check_packages", lambda: WRONG[:1])
    with pytest.raises(CourseError, match=r"nicht auf dem neuesten Stand \(a fehlt, gebraucht 1.0\)"):
        check_interpreter(tmp_path)


def test_other_interpreter_with_all_packages_is_fine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start_module, "check_packages", lambda: [Check("a", True, "1.0")])
    check_interpreter(tmp_path)
    start("01_Daten")
    assert capsys.readouterr().out == "✔ 01_Daten: Kernel und Pakete stimmen.\n"


def test_kernel_without_packages_gets_a_sentence():
    code = "import sys; sys.prefix = 'anaconda3'; from helpers.start import start; start('04_GradCAM')"
    result = run_python(code, "-S")
    assert "CourseError: Dieses Notebook läuft im falschen Kernel" in result.stderr
    assert result.stdout == ""


def test_notebook_shows_the_sentence_instead_of_a_traceback():
    assert CourseError("Satz.")._render_traceback_() == ["✘ Satz."]
