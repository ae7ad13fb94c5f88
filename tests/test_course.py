"""Der Lauf ohne Oberfläche: kleine Notebooks, echter Kernel."""

import functools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tomllib

import nbformat
import psutil
import pytest
from notebook_factory import write_small_notebook

from helpers.basics import ROOT, CourseError, read_json, write_json
from helpers.workshop import course
from helpers.workshop.course import MemoryWatch, package_versions, parse_value, run_course
from helpers.workshop.doctor import MAIN_PACKAGES
from helpers.workshop.notebooks import read_notebook

START = "import json, os, pathlib, sys\nfolder = pathlib.Path(os.environ['KURS_AUSGABE'])"
PARAMETERS = 'profil = "schnell"\nepochen: int = 6'


@pytest.fixture
def make_notebook(tmp_path):
    """Schreibt ein kleines Notebook nach ``tmp_path/notebooks``."""
    return functools.partial(write_small_notebook, tmp_path / "notebooks")


@pytest.fixture
def two_notebooks(make_notebook, ausgabe, tmp_path):
    """01 gelingt und schreibt seine Parameter auf, 05 gelingt mit einem Bild und einer Formel."""
    make_notebook(
        "01_Daten",
        START,
        PARAMETERS,
        "ergebnis = {'profil': profil, 'epochen': epochen, 'ordner': os.getcwd()}",
        "_ = (folder / 'werte.json').write_text(json.dumps(ergebnis))",
    )
    make_notebook("05_LRP", "# Formel\n\n$R_j = \\sum_k z_{jk}$", "print('fertig')", "'<b>' + 'x' * 3")
    return tmp_path / "notebooks"


def run(folder, *names, **options):
    return run_course(only=list(names) or ["01_Daten", "05_LRP"], notebooks_dir=folder, **options)


def test_success_writes_notebooks_pages_figures_and_report(two_notebooks, ausgabe, capsys):
    report = run(two_notebooks)
    assert report == ausgabe / "bericht.html" and report.is_file()
    written = sorted(path.name for path in (ausgabe / "notebooks").iterdir())
    assert written == ["01_Daten.html", "01_Daten.ipynb", "05_LRP.html", "05_LRP.ipynb"]
    executed = nbformat.read(ausgabe / "notebooks" / "05_LRP.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "fertig\n"
    figures = read_json(ausgabe / "kennzahlen.json")
    assert figures["profil"] == "schnell" and set(figures["minuten"]) == {"01_Daten", "05_LRP"}
    assert all(0 < minutes < 2 for minutes in figures["minuten"].values())
    assert 50 < figures["max_rss_mb"] < 20_000 and figures["max_rss_mb"] == max(figures["rss_mb"].values())
    assert set(figures["versionen"]) >= {"python", "tensorflow", "keras", "tf-keras", "innvestigate", "numpy"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] 01_Daten beginnt …" and re.match(r"\[1/2\] 01_Daten ist fertig nach \d,\d Min", lines[1])
    assert lines[-2].startswith("Laufzeit: ") and lines[-1] == f"Bericht: {report}"


def test_parameters_reach_only_notebooks_that_declare_them(two_notebooks, ausgabe):
    run(two_notebooks, profile="voll", parameters={"epochen": 2})
    values = json.loads((ausgabe / "werte.json").read_text())
    assert values == {"profil": "voll", "epochen": 2, "ordner": str(two_notebooks)}
    assert "injected-parameters" not in (ausgabe / "notebooks" / "05_LRP.ipynb").read_text()
    assert "# Parameter dieses Laufs" in (ausgabe / "notebooks" / "01_Daten.ipynb").read_text()
    assert read_json(ausgabe / "kennzahlen.json")["profil_je_notebook"] == {"01_Daten": "voll"}


def test_partial_run_keeps_earlier_figures(two_notebooks, ausgabe, capsys):
    write_json(
        ausgabe / "kennzahlen.json",
        {"test_accuracy": 0.8735, "n_test": 2000, "minuten": {"03_Training": 2.5}, "rss_mb": {"03_Training": 99000}},
    )
    run(two_notebooks, "05")
    figures = read_json(ausgabe / "kennzahlen.json")
    assert figures["test_accuracy"] == 0.8735 and set(figures["minuten"]) == {"03_Training", "05_LRP"}
    assert figures["max_rss_mb"] == 99000
    assert "Trefferquote im Test: 0,874 auf 2.000 Testbildern" in capsys.readouterr().out


def test_relative_output_folder_means_the_same_in_the_kernel(two_notebooks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURS_AUSGABE", "anderswo")
    run(two_notebooks, "01")
    assert (tmp_path / "anderswo" / "werte.json").is_file() and os.environ["KURS_AUSGABE"] == "anderswo"


def test_pictures_appear_even_with_an_agg_shell(make_notebook, ausgabe, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = make_notebook("01_Daten", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    run(path.parent, "01")
    executed = nbformat.read(ausgabe / "notebooks" / "01_Daten.ipynb", as_version=4)
    assert ["image/png" in output.get("data", {}) for output in executed.cells[0].outputs] == [True]


def test_failure_names_notebook_cell_and_error_and_keeps_the_notebook(two_notebooks, make_notebook, ausgabe):
    run(two_notebooks, "05")
    make_notebook("03_Training", "a = 1", "# ## Jetzt", "#Kommentar\nb = {}\nb['c']", "print('nie')")
    with pytest.raises(CourseError) as caught:
        run(two_notebooks, "03", "05")
    kept = ausgabe / "notebooks" / "03_Training.ipynb"
    assert str(caught.value) == (
        f"03_Training bricht in Zelle 2 („b = {{}}“) ab: KeyError: 'c'. Das ausgeführte Notebook: {kept}"
    )
    cells = nbformat.read(kept, as_version=4).cells
    assert any("error" in [output.output_type for output in cell.get("outputs", [])] for cell in cells)
    assert "An Exception was encountered" not in kept.read_text() and "abgebrochen" in kept.read_text()
    assert "KeyError" in kept.with_suffix(".html").read_text()
    assert (ausgabe / "notebooks" / "05_LRP.html").is_file() and (ausgabe / "bericht.html").is_file()
    assert "03_Training" not in read_json(ausgabe / "kennzahlen.json")["minuten"]


def test_course_error_in_a_cell_is_passed_on_as_its_sentence(make_notebook, ausgabe):
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom helpers.basics import CourseError"
    path = make_notebook("04_GradCAM", code, "raise CourseError('Das Modell fehlt: Führen Sie 03_Training aus.')")
    with pytest.raises(CourseError, match=r"ab: Das Modell fehlt: Führen Sie 03_Training aus\. Das ausgeführte"):
        run(path.parent, "gradcam")


def test_dead_kernel(make_notebook, ausgabe):
    path = make_notebook("02_VGG16", "import os", "os._exit(1)")
    with pytest.raises(CourseError, match=r"02_VGG16 bricht in Zelle 2 \(„os\._exit\(1\)“\) ab: Der Kernel ist gest"):
        run(path.parent, "02")
    assert (ausgabe / "notebooks" / "02_VGG16.ipynb").is_file()


def test_endless_cell(make_notebook, ausgabe, monkeypatch):
    monkeypatch.setitem(course.TIMEOUT_S, "schnell", 3)
    path = make_notebook("02_VGG16", 'profil = "schnell"', "import time\nwhile True:\n    time.sleep(1)")
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(CourseError, match=r"Zelle 3 \(„import time“\) ab: Sie läuft länger als 0\.05 Minuten"):
        run(path.parent, "02", profile="schnell")
    assert set(psutil.Process().children(recursive=True)) <= before


def test_quiet_exit_is_not_a_success(make_notebook, ausgabe):
    path = make_notebook("01_Daten", "raise SystemExit", "print('nie')")
    with pytest.raises(CourseError, match=r"01_Daten endet in Zelle 1 .* vorzeitig: "):
        run(path.parent, "01")


def test_missing_kernel(make_notebook, ausgabe, monkeypatch):
    monkeypatch.setattr("helpers.workshop.notebooks.KERNEL_NAME", "gibt-es-nicht")
    path = make_notebook("01_Daten", "1")
    with pytest.raises(CourseError, match="bash install.bash"):
        run(path.parent, "01")
    assert not list((ausgabe / "notebooks").iterdir())


@pytest.mark.parametrize(
    ("only", "said"),
    [(["06_Quark"], "gibt es nicht"), (["0"], "passt auf 01_Daten und 02_VGG16"), ([""], "gibt es nicht")],
)
def test_unknown_notebook_lists_the_names(two_notebooks, ausgabe, only, said):
    with pytest.raises(CourseError, match=said) as caught:
        run(two_notebooks, *only)
    assert "01_Daten, 02_VGG16, 03_Training, 04_GradCAM, 05_LRP" in str(caught.value)
    assert not ausgabe.exists()


def test_missing_notebook_file(two_notebooks):
    with pytest.raises(CourseError, match=r"04_GradCAM\.ipynb.*python -m helpers ableiten"):
        run(two_notebooks, "04")


def test_unknown_and_mistyped_parameters_stop_before_anything_runs(two_notebooks, ausgabe):
    with pytest.raises(CourseError, match="„epochs“ kennt keines dieser Notebooks: Wählen Sie aus epochen, profil"):
        run(two_notebooks, parameters={"epochs": 3})
    with pytest.raises(CourseError, match="„epochen“ braucht eine Zahl"):
        run(two_notebooks, parameters={"epochen": "drei"})
    assert not ausgabe.exists()


def test_text_becomes_a_list_where_the_notebook_has_one(make_notebook):
    notebook = read_notebook(make_notebook("05_LRP", 'profil = "schnell"\nregeln = ["a"]\nbilder = 20'))
    values = course.parameters_per_notebook({"regeln": "lrp.z, lrp.flat", "bilder": 3}, {"05": notebook})
    assert values == {"05": {"regeln": ["lrp.z", "lrp.flat"], "bilder": 3}}


def test_parse_value():
    parsed = [parse_value(text) for text in ("3", "-2", "0.5", "1e-4", "true", "False", "None", "block5_conv3", "")]
    assert parsed == [3, -2, 0.5, 1e-4, True, False, None, "block5_conv3", ""]
    assert [type(value) for value in parsed[:4]] == [int, int, float, float]
    with pytest.raises(CourseError, match=r"0\.5"):
        parse_value("0,5")


def test_memory_of_child_processes_counts():
    with MemoryWatch() as watch:
        before = watch.peak_mb
        code = "x = b'1' * 300_000_000; import time; time.sleep(1)"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 290 < watch.peak_mb - before < 600


def test_versions_name_every_package_and_each_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert set(MAIN_PACKAGES) <= {re.split(r"[<>=\[; ]", line)[0] for line in declared} | {"numpy"}
    assert set(package_versions()) == {"python", *MAIN_PACKAGES}


def start_endless(make_notebook, tmp_path, **options):
    """Startet einen Lauf, dessen Zelle nicht endet, in einem eigenen Prozess und wartet auf den Kernel."""
    sign = tmp_path / "laeuft"
    endless = "while True:\n    time.sleep(0.1)"
    path = make_notebook("01_Daten", f"import pathlib, time\npathlib.Path({str(sign)!r}).touch()\n{endless}")
    call = f"run_course(only=['01'], notebooks_dir={str(path.parent)!r})"
    code = f"from helpers.workshop.course import run_course; {call}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **options)
    limit = time.monotonic() + 60
    while not sign.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(1.5)  # der Balken zeigt jede Sekunde, wo er steht
    return process, psutil.Process(process.pid).children()


def test_interrupt_leaves_in_two_seconds_with_one_line(make_notebook, ausgabe, tmp_path):
    earlier = ausgabe / "notebooks" / "01_Daten.ipynb"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("früher")
    process, kernels = start_endless(make_notebook, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - started < 4
    assert errors == f"✘ Abgebrochen. Was fertig ist, liegt in {earlier.parent}.\n"
    assert kernels and not any(kernel.is_running() for kernel in kernels)
    assert [path.name for path in earlier.parent.iterdir()] == [earlier.name] and earlier.read_text() == "früher"


def test_bar_on_a_terminal_names_notebook_and_cell(make_notebook, ausgabe, tmp_path):
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    process, _ = start_endless(make_notebook, tmp_path, stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    shown = ""
    while select.select([master], [], [], 0)[0]:
        try:
            shown += os.read(master, 100_000).decode(errors="replace")
        except OSError:  # unter Linux das Ende, sobald niemand mehr schreibt
            break
    assert "[1/1] 01_Daten, Zelle 1" in shown and "von 1 Zellen" in shown and "beginnt" not in shown
