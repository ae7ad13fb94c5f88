"""Der Lauf ohne Oberfläche: kleine Notebooks, echter Kernel."""

import functools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import nbformat
import psutil
import pytest
from notebook_factory import write_small_notebook

from helpers.basics import ROOT, CourseError, read_json, write_json
from helpers.workshop import course
from helpers.workshop.course import parse_value, run_course
from helpers.workshop.notebooks import read_notebook

PARAMETERS = 'profil = "schnell"\nepochen: int = 6'
WRITE = """import json, os, pathlib, time
ballast = b"1" * 400_000_000
time.sleep(1)
values = {"profil": profil, "epochen": epochen, "ordner": os.getcwd()}
_ = (pathlib.Path(os.environ["KURS_AUSGABE"]) / "werte.json").write_text(json.dumps(values))"""
DRAW = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


@pytest.fixture
def make_notebook(tmp_path):
    """Schreibt ein kleines Notebook nach ``tmp_path/notebooks``."""
    return functools.partial(write_small_notebook, tmp_path / "notebooks")


@pytest.fixture
def two_notebooks(make_notebook, tmp_path):
    """01 schreibt seine Parameter auf, 05 zeichnet und hat eine Formel."""
    make_notebook("01_Daten", PARAMETERS, WRITE)
    make_notebook("05_LRP", "# Formel\n\n$R_j = \\sum_k z_{jk}$", "print('fertig')", DRAW)
    return tmp_path / "notebooks"


def run(folder, *names, **options):
    return run_course(only=list(names) or ["01_Daten", "05_LRP"], notebooks_dir=folder, **options)


def test_success_writes_notebooks_pages_figures_and_report(two_notebooks, tmp_path, monkeypatch, capsys):
    """Auch aus einer Shell mit „agg“ und mit relativem Ausgabeordner; Parameter bekommt, wer sie nennt."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("KURS_AUSGABE", "anderswo")
    report = run(two_notebooks, parameters={"profil": "voll", "epochen": 2})
    output = tmp_path / "anderswo"
    assert report == output / "bericht.html" and report.is_file() and os.environ["KURS_AUSGABE"] == "anderswo"
    assert read_json(output / "werte.json") == {"profil": "voll", "epochen": 2, "ordner": str(two_notebooks)}
    assert "# Parameter dieses Laufs" in (output / "notebooks" / "01_Daten.ipynb").read_text()
    assert "injected-parameters" not in (output / "notebooks" / "05_LRP.ipynb").read_text()
    _, text, drawing = nbformat.read(output / "notebooks" / "05_LRP.ipynb", as_version=4).cells
    assert text.outputs[0].text == "fertig\n" and "image/png" in drawing.outputs[0].data
    figures = read_json(output / "kennzahlen.json")
    assert figures["profil"] == "voll" and figures["profil_je_notebook"] == {"01_Daten": "voll"}
    assert set(figures["minuten"]) == {"01_Daten", "05_LRP"} and all(0 < m < 2 for m in figures["minuten"].values())
    memory = figures["rss_mb"]
    assert 100 < memory["01_Daten"] - memory["05_LRP"] < 600, "auch der Speicher des Kernels zählt"
    assert figures["max_rss_mb"] == memory["01_Daten"] < 20_000
    assert set(figures["versionen"]) >= {"python", "tensorflow", "innvestigate"}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] 01_Daten beginnt …" and re.match(r"\[1/2\] 01_Daten ist fertig nach \d,\d Min", lines[1])
    assert lines[-2].startswith("Laufzeit: ") and lines[-1] == f"Bericht: {report}"


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


def test_a_cell_error_stops_the_run_and_keeps_the_notebook(make_notebook, ausgabe):
    make_notebook("03_Training", "a = 1", "# ## Jetzt", "#Kommentar\nb = {}\nb['c']", "print('nie')")
    folder = make_notebook("05_LRP", "print('nie')").parent
    kept = ausgabe / "notebooks" / "03_Training.ipynb"
    with pytest.raises(CourseError) as caught:
        run(folder, "03", "05")
    assert str(caught.value) == (
        f"03_Training bricht in Zelle 2 („b = {{}}“) ab: KeyError: 'c'. Das ausgeführte Notebook: {kept}"
    )
    outputs = [cell.get("outputs") for cell in read_notebook(kept).cells]
    assert [output.output_type for output in outputs[2]] == ["error"] and outputs[3] == []
    assert "KeyError" in kept.with_suffix(".html").read_text()
    assert not (ausgabe / "bericht.html").exists() and not (ausgabe / "kennzahlen.json").exists()
    assert not (ausgabe / "notebooks" / "05_LRP.ipynb").exists()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["from helpers.basics import CourseError", "raise CourseError('Das Modell fehlt: Führen Sie 03 aus.')"],
            r"in Zelle 2 .* ab: Das Modell fehlt: Führen Sie 03 aus\. Das ausgeführte",
        ),
        (["import os", "os._exit(1)"], r"Zelle 2 \(„os\._exit\(1\)“\) ab: Der Kernel ist gestorben"),
        (['profil = "schnell"', "import time\ntime.sleep(99)"], r"Zelle \d .* Sie läuft länger als 0\.05 Minuten"),
        (["raise SystemExit", "print('nie')"], r"bricht in Zelle 1 .* ab: SystemExit"),
    ],
)
def test_no_other_end_counts_as_success(make_notebook, ausgabe, monkeypatch, cells, said):
    monkeypatch.setitem(course.TIMEOUT_S, "schnell", 3)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(CourseError, match=f"02_VGG16 .*{said}"):
        run(make_notebook("02_VGG16", *cells).parent, "02")
    assert (ausgabe / "notebooks" / "02_VGG16.ipynb").is_file()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_missing_kernel(make_notebook, ausgabe, monkeypatch):
    monkeypatch.setattr("helpers.workshop.notebooks.KERNEL_NAME", "gibt-es-nicht")
    with pytest.raises(CourseError, match="bash install.bash"):
        run(make_notebook("01_Daten", "1").parent, "01")
    assert not list((ausgabe / "notebooks").iterdir())


@pytest.mark.parametrize(
    ("names", "parameters", "said"),
    [
        (["06_Quark"], {}, "gibt es nicht. Wählen Sie aus: 01_Daten, 02_VGG16, 03_Training, 04_GradCAM, 05_LRP"),
        (["0"], {}, "passt auf 01_Daten und 02_VGG16"),
        (["04"], {}, r"04_GradCAM\.ipynb.*python -m helpers ableiten"),
        ([], {"epochs": 3}, "„epochs“ kennt keines dieser Notebooks: Wählen Sie aus epochen, profil"),
    ],
)
def test_a_wrong_choice_stops_before_anything_runs(two_notebooks, ausgabe, names, parameters, said):
    with pytest.raises(CourseError, match=said):
        run(two_notebooks, *names, parameters=parameters)
    assert not ausgabe.exists()


def test_text_becomes_a_list_where_the_notebook_has_one(make_notebook):
    notebook = read_notebook(make_notebook("05_LRP", 'profil = "schnell"\nregeln = ["a"]\nbilder = 20'))
    values = course.parameters_per_notebook({"regeln": "lrp.z, lrp.flat", "bilder": 3}, {"05": notebook})
    assert values == {"05": {"regeln": ["lrp.z", "lrp.flat"], "bilder": 3}}


def test_values_on_the_command_line_become_numbers_truth_values_or_text():
    parsed = [parse_value(text) for text in ("3", "-2", "0.5", "1e-4", "true", "False", "None", "block5_conv3", "")]
    assert parsed == [3, -2, 0.5, 1e-4, True, False, None, "block5_conv3", ""]
    assert [type(value) for value in parsed[:4]] == [int, int, float, float]


def test_interrupt_leaves_in_two_seconds_and_the_bar_names_the_cell(make_notebook, ausgabe, tmp_path):
    """Ein Lauf am Terminal, dessen Zelle nicht endet: Der Balken sagt, wo er steht; Strg+C beendet auch den Kernel."""
    earlier, sign = ausgabe / "notebooks" / "01_Daten.ipynb", tmp_path / "laeuft"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("früher")
    endless = f"import time\nopen({str(sign)!r}, 'w').close()\nwhile True:\n    time.sleep(0.1)"
    folder = str(make_notebook("01_Daten", endless).parent)
    code = f"from helpers.workshop.course import run_course; run_course(only=['01'], notebooks_dir={folder!r})"
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=terminal, stderr=subprocess.PIPE)
    os.close(terminal)
    limit = time.monotonic() + 60
    while not sign.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(1.5)  # die Uhr läuft, auch wenn keine Zelle fertig wird
    kernels, started = psutil.Process(process.pid).children(), time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 130 and time.monotonic() - started < 4
    assert errors == f"✘ Abgebrochen. Was fertig ist, liegt in {earlier.parent}.\n"
    assert kernels and not any(kernel.is_running() for kernel in kernels)
    assert [path.name for path in earlier.parent.iterdir()] == [earlier.name] and earlier.read_text() == "früher"
    shown = ""
    while select.select([master], [], [], 0)[0]:
        try:
            shown += os.read(master, 100_000).decode(errors="replace")
        except OSError:  # unter Linux das Ende, sobald niemand mehr schreibt
            break
    assert "[1/1] 01_Daten, Zelle 1" in shown and "von 1 Zellen" in shown and "00:01" in shown
