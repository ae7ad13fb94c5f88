"""Kommandozeile: deutsche Hilfe, deutsche Fehler, Exit-Codes und der ganze Weg von den Daten zum Bild."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from two_layers import replace_vgg16

from helpers import data, training
from helpers.__main__ import build_parser, main
from helpers.basics import CLASS_NAMES, ROOT, CourseError, read_json
from helpers.model import load_run

pytestmark = pytest.mark.usefixtures("ausgabe")
ENGLISH = re.compile(r"\b(usage|options|positional|arguments?|show this|help message|exit|default|the|and|file)\b")


# --- Hilfe ----------------------------------------------------------------------------------------------------------


def parsers() -> dict:
    """Befehl → sein Parser."""
    (commands,) = [action for action in build_parser()._actions if action.choices and "daten" in action.choices]
    return commands.choices


@pytest.mark.parametrize("command", [None, *parsers()])
def test_hilfe_ist_deutsch_und_erklaert_jede_angabe(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--hilfe"] if command else ["-h"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and out.startswith("Aufruf: python -m helpers " + (command or "BEFEHL"))
    assert not ENGLISH.search(out.replace("--help", ""))
    assert all(action.help for action in parsers()[command]._actions) if command else "Befehle für Lernende:" in out


def test_die_readme_nennt_jeden_befehl():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(parsers()) <= set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE))


# --- Fehler (alle Kommandozeilen mit falschen Angaben stehen in bad_inputs) ------------------------------------------


POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("settings", "encoding", "refusal"),
    [
        (POSIX, "ascii", '[X] Das Notebook "99" gibt es nicht. Waehlen Sie aus'),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1", '[X] Das Notebook "99" gibt es nicht. Wählen Sie aus'),
        ({"PYTHONIOENCODING": "cp1252"}, "cp1252", "[X] Das Notebook „99“ gibt es nicht. Wählen Sie aus"),
        ({"PYTHONIOENCODING": "utf-8"}, "utf-8", "✘ Das Notebook „99“ gibt es nicht. Wählen Sie aus"),
    ],
)
def test_was_gedruckt_wird_ist_in_jeder_kodierung_lesbar(settings, encoding, refusal):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | settings
    for arguments, said in ((["--hilfe"], "Befehle"), (["kurs", "--nur", "99"], refusal)):
        command = [sys.executable, "-m", "helpers", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment)
        text = (done.stdout + done.stderr).decode(encoding)
        assert said in text and "Traceback (most" not in text


def test_ein_kursfehler_ist_ein_satz_und_ein_programmierfehler_keiner(monkeypatch, capsys):
    def raising(error):
        def generate(*_):
            raise error

        monkeypatch.setattr(data, "generate", generate)

    raising(CourseError("Das fehlt: Holen Sie es."))
    assert main(["daten"]) == 2
    assert capsys.readouterr().err == "✘ Das fehlt: Holen Sie es.\n"
    assert main(["daten", "--debug"]) == 2 and "Traceback" in capsys.readouterr().err
    raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["daten"])


def test_strg_c_mitten_in_einer_rechnung_ohne_python():
    """Ein Befehl, der viele Sekunden lang nicht zu Python zurückkehrt, hält niemanden auf."""
    code = (
        "import runpy, sys\n"
        "import numpy as np\n"
        "from helpers import data\n"
        "matrix = np.random.default_rng(0).random((6000, 6000))\n"
        "data.generate = lambda *_: (print('bereit', flush=True), np.linalg.svd(matrix))\n"
        "sys.argv = ['helpers', 'daten']\n"
        "runpy.run_module('helpers', run_name='__main__')\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, **pipes)
    assert process.stdout.readline() == "bereit\n"
    time.sleep(1)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 2
    assert process.returncode == 130 and err == "\nAbgebrochen mit Strg+C.\n"


# --- Der ganze Weg --------------------------------------------------------------------------------------------------


def test_cnn_von_den_daten_bis_zum_bild(ausgabe, capsys, monkeypatch):
    """Mit einem kleinen Netz; mit VGG16 rechnet der Lauf des Kurses (test_course_runs)."""
    replace_vgg16(monkeypatch.setattr)
    arguments = ["cnn", "--eingabe", "beispiel", "--n-train", "200", "--n-test", "100", "--epochen", "1"]
    assert main([*arguments, "--bildgroesse", "32", "--seed", "1"]) == 0
    out = capsys.readouterr().out
    accuracy = float(re.search(r"Trefferquote im Test: (\d,\d{4}) \(100 Bilder\)", out).group(1).replace(",", "."))
    assert accuracy > 0.15, "auch eine Epoche ist besser als Raten"
    assert "mitgelieferte Stichprobe" in out and "200 Bilder zum Training" in out and "Epoche 1 von 1" in out
    table = out.partition("Konfusionsmatrix")[2].splitlines()[2:12]
    matrix = np.array([[int(number) for number in line.split()[-10:]] for line in table])
    assert matrix.sum() == 100 and matrix.trace() == round(accuracy * 100)
    assert all(name in line for name, line in zip(CLASS_NAMES, table, strict=True))
    worst = [float(x.replace(",", ".")) for x in re.findall(r"gehalten \(Wahrscheinlichkeit (\d,\d\d)\)", out)]
    assert len(worst) == 5 and worst == sorted(worst, reverse=True)

    figures = read_json(ausgabe / "kennzahlen.json")
    assert (figures["profil"], figures["n_train"], figures["n_test"]) == ("schnell", 200, 100)
    assert figures["test_accuracy"] == pytest.approx(accuracy, abs=0.001)
    assert figures["confusion"] == matrix.tolist() and len(figures["history"]) == 1
    with Image.open(ausgabe / "bilder" / "ergebnis.png") as picture:
        assert picture.width > 1000 and np.asarray(picture.convert("RGB")).std() > 20, "kein leeres Bild"
    assert len(list((ausgabe / "daten").rglob("*.png"))) == 300

    # Das gespeicherte Modell ist das gemessene: Dieselben Bilder ergeben dieselbe Konfusionsmatrix.
    tree = data.read_tree(ausgabe / "daten")
    run = load_run("sauber")
    result = training.evaluate(run, tree.test_images, tree.test_labels)
    assert result.confusion.tolist() == matrix.tolist()
    assert run.settings["image_size"] == 32 and run.settings["seed"] == 1
