"""Kommandozeile: deutsche Hilfe, deutsche Fehler, Exit-Codes und der ganze Weg von den Daten zum Bild."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from helpers import data, training
from helpers.__main__ import build_parser, main
from helpers.basics import CLASS_NAMES, ROOT, CourseError, read_json

pytestmark = pytest.mark.usefixtures("ausgabe")
COMMANDS = ["daten", "cnn", "auswerten", "kurs", "doctor", "ableiten", "stichprobe", "kursmodell", "benchmark"]
COMMANDS += ["durchsicht", "wertung", "labor", "streifen"]
ENGLISH = re.compile(
    r"\b(usage|optional|options|positional|arguments?|show this|help message|exit|required|invalid|expected|error"
    r"|unrecognized|choose|default|the|and|file|following)\b"
)


def run(*arguments):
    """Die Kommandozeile als eigener Prozess."""
    command = [sys.executable, "-m", "helpers", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


# --- Hilfe ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)], ids=lambda a: " ".join(a) or "alle")
@pytest.mark.parametrize("option", ["--hilfe", "-h", "--help"])
def test_hilfe_ist_deutsch(arguments, option, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, option])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("Aufruf: python -m helpers") and "--hilfe" in out
    words = out.replace("--help", "").replace("-h, ", "")
    assert not ENGLISH.search(words), f"englisch: {ENGLISH.search(words).group()} in {out}"
    if not arguments:
        assert all(command in out for command in COMMANDS)


def test_jede_angabe_ist_erklaert():
    parser = build_parser()
    (commands,) = [action for action in parser._actions if action.choices and "daten" in action.choices]
    assert set(commands.choices) == set(COMMANDS)
    for name, command in commands.choices.items():
        for action in command._actions:
            assert action.help, f"{name} {action.option_strings} ohne Erklärung"


# --- Fehler ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["es fehlt", "BEFEHL"]),
        (["dtaen"], ["dtaen", "nicht möglich", "daten"]),
        (["daten", "--gibtsnicht"], ["unbekannte Angabe", "--gibtsnicht"]),
        (["daten", "--n-trai", "5"], ["unbekannte Angabe", "--n-trai"]),
        (["daten", "extra"], ["unbekannte Angabe", "extra"]),
        (["daten", "--n-train", "x"], ["--n-train", "keine ganze Zahl", "x"]),
        (["daten", "--n-train", "2.5"], ["--n-train", "keine ganze Zahl", "2.5"]),
        (["daten", "--ziel"], ["--ziel", "fehlt ein Wert"]),
        (["kurs", "-p", "NAME"], ["-p", "Name und Wert"]),
        (["kurs", "--nur"], ["--nur", "fehlt mindestens ein Wert"]),
        (["cnn", "--profil", "mittel", "--eingabe", "beispiel"], ["„mittel“", "probe, schnell oder voll"]),
        (["cnn", "--epochen", "0", "--eingabe", "beispiel"], ["mindestens 1"]),
        (["cnn", "--bildgroesse", "16", "--eingabe", "beispiel"], ["32", "16"]),
        (["cnn", "--gewichte", "imagenet", "--eingabe", "beispiel"], ["--gewichte", "imagenet", "beiliegend", "keras"]),
        (["cnn", "--seed", "-1", "--eingabe", "beispiel"], ["--seed", "-1"]),
    ],
)
def test_falsche_angaben_enden_mit_zwei(arguments, fragments, capsys, ausgabe):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    sentence = printed.err.strip()
    assert sentence.startswith("✘ ") and "\n" not in sentence and printed.out == ""
    assert not ENGLISH.search(sentence), sentence
    for fragment in fragments:
        assert fragment in sentence
    assert not ausgabe.exists(), "vor einer falschen Angabe wird nichts geschrieben"


def test_als_prozess_kommen_satz_und_code_an():
    done = run("daten", "--gibtsnicht")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("✘ ")
    assert "Traceback" not in done.stderr


def test_umlaute_auch_ohne_utf8_umgebung():
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, "-m", "helpers", "daten", "--gibtsnicht"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment)
    assert done.returncode == 2 and b"Traceback" not in done.stderr


def test_kursfehler_und_strg_c(monkeypatch, capsys):
    def broken(*_, **__):
        raise CourseError("Das fehlt: Holen Sie es.")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "generate", broken)
    assert main(["daten"]) == 2
    assert capsys.readouterr().err == "✘ Das fehlt: Holen Sie es.\n"
    monkeypatch.setattr(data, "generate", interrupted)
    assert main(["daten"]) == 130
    err = capsys.readouterr().err
    assert "Strg+C" in err and "Traceback" not in err


@pytest.mark.langsam
def test_strg_c_waehrend_des_trainings(tmp_path):
    """Ein echtes Signal mitten in der Rechnung: Exit-Code 130, ein Satz, kein halbes Modell."""
    environment = {**os.environ, "KURS_AUSGABE": str(tmp_path / "a")}
    command = [sys.executable, "-m", "helpers", "cnn", "--eingabe", "beispiel", "--n-train", "400", "--n-test", "10"]
    with open(tmp_path / "err", "w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        # Diese Zeile kommt unmittelbar vor dem Training.
        assert process.stdout.readline().startswith("Daten:")
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        process.communicate(timeout=60)
        assert time.monotonic() - sent < 2
        errors.seek(0)
        err = errors.read()
    assert process.returncode == 130, err
    assert "Abgebrochen mit Strg+C" in err and "Traceback" not in err, err
    assert not list((tmp_path / "a").rglob("modell.keras"))


def test_strg_c_mitten_in_einer_rechnung_ohne_python():
    """Eine Zerlegung, die viele Sekunden lang nicht zu Python zurückkehrt, hält niemanden auf."""
    code = (
        "import numpy as np\n"
        "from helpers.__main__ import leave_soon_after_interrupt\n"
        "leave_soon_after_interrupt()\n"
        "matrix = np.random.default_rng(0).random((6000, 6000))\n"
        "print('bereit', flush=True)\n"
        "np.linalg.svd(matrix)\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "bereit\n"
    time.sleep(1)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 2
    assert process.returncode == 130 and err == "\nAbgebrochen mit Strg+C.\n"


def test_unbekannter_fehler_wird_nicht_verschluckt(monkeypatch):
    """Ein Programmierfehler soll als solcher zu sehen sein und nicht als Bedienfehler enden."""

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(data, "generate", broken)
    with pytest.raises(ZeroDivisionError):
        main(["daten"])


# --- Daten ----------------------------------------------------------------------------------------------------------


def test_daten_schreibt_und_sagt_woher(ausgabe, capsys):
    assert main(["daten", "--eingabe", "beispiel", "--n-train", "1200", "--n-test", "50", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "Quelle: mitgelieferte Stichprobe" in out and "1.200 Bilder" in out and "50" in out
    assert len(list((ausgabe / "daten" / "TRAIN").rglob("*.png"))) == 1200
    assert len(list((ausgabe / "daten" / "TEST").rglob("*.png"))) == 50


def test_daten_ohne_angaben_nimmt_alles(tmp_path, dataset, monkeypatch, capsys):
    monkeypatch.setattr(data, "INPUT", tmp_path)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path)
    assert main(["daten", "--ziel", str(tmp_path / "ziel")]) == 0
    assert "10.000 Bilder" in capsys.readouterr().out
    found = data.read_tree(tmp_path / "ziel")
    np.testing.assert_array_equal(found.train_images, dataset.train_images)
    np.testing.assert_array_equal(found.test_images, dataset.test_images)
    np.testing.assert_array_equal(found.train_labels, dataset.train_labels)
    np.testing.assert_array_equal(found.test_labels, dataset.test_labels)


# --- Der ganze Weg --------------------------------------------------------------------------------------------------


@pytest.mark.langsam
def test_cnn_von_den_daten_bis_zum_bild(ausgabe, capsys):
    arguments = ["cnn", "--eingabe", "beispiel", "--n-train", "200", "--n-test", "100", "--epochen", "1"]
    assert main([*arguments, "--bildgroesse", "32", "--seed", "1"]) == 0
    out = capsys.readouterr().out
    accuracy = float(re.search(r"Trefferquote im Test: (\d,\d{4}) \(100 Bilder\)", out).group(1).replace(",", "."))
    assert accuracy > 0.15, "auch eine Epoche ist besser als Raten"
    assert "mitgelieferte Stichprobe" in out and "200 Bilder zum Training" in out and "Epoche 1 von 1" in out
    table = out.splitlines()[out.splitlines().index(next(x for x in out.splitlines() if "Konfusionsm" in x)) :][2:12]
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
        picture.load()
        assert picture.width > 1000
        assert np.asarray(picture.convert("RGB")).std() > 20, "kein leeres Bild"
    assert json.loads((ausgabe / "bilder" / "ergebnis.json").read_text())["titel"]
    assert len(list((ausgabe / "daten").rglob("*.png"))) == 300

    # Das gespeicherte Modell ist das gemessene: Dieselben Bilder ergeben dieselbe Konfusionsmatrix.
    tree = data.read_tree(ausgabe / "daten")
    run = training.ensure_run("sauber", training.get_profile("schnell"), tree)
    result = training.evaluate(run, tree.test_images, tree.test_labels)
    assert result.confusion.tolist() == matrix.tolist()
    assert run.settings["image_size"] == 32 and run.settings["seed"] == 1
