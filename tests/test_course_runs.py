"""Der ganze Kurs in einem Lauf, ohne Bildschirm und ohne Netz."""

import os
import re
import subprocess
import sys
from pathlib import Path

import handin_factory as factory
import nbformat
import no_network
import numpy as np
import pytest
from conftest import of_classes, write_csv

from helpers import data
from helpers.basics import CLASS_NAMES, COURSE_NOTEBOOKS, read_json

PICTURES = ("klassen", "lernkurven", "konfusion", "fehler", "gradcam", "zwilling", "ergebnis", "wertungstafel")


@pytest.fixture
def offline(tmp_path):
    """Startet ``python -m …`` ohne Netz in einem fremden Ordner; das Ergebnis kennt Rückgabewert und Ausgaben."""
    environment = {**os.environ, "KURS_AUSGABE": str(tmp_path / "ausgabe"), "KERAS_HOME": str(tmp_path / "keras")}

    def run(*command):
        program = [sys.executable, no_network.__file__, *map(str, command)]
        return subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def skip_if_online(offline) -> None:
    folder = str(Path(no_network.__file__).parent)
    done = offline("-c", f"import sys; sys.path.insert(0, {folder!r}); import no_network as n; print(n.reaches_out())")
    if done.stdout.strip() == "True":
        pytest.skip("Hier lässt sich kein Netz-Namensraum anlegen: Der Lauf ist gelungen, aber mit Netz.")


def assert_refuses_politely(offline, *command):
    """Ohne Netz ist ein Befehl, der eines braucht, ein Satz; wo sich keins trennen lässt, wird nicht gefragt."""
    skip_if_online(offline)
    done = offline("-m", "helpers", *command)
    assert done.returncode == 2 and done.stderr.startswith("✘ ") and "mit dem Browser" in done.stderr, done.stderr


@pytest.mark.langsam
@pytest.mark.timeout(900)
def test_the_course_runs_headless_and_without_network(offline, tmp_path):
    """Der Befehl, mit dem Lehrende einen neuen Rechner ausprobieren."""
    done, output = offline("-m", "helpers", "kurs", "--profil", "probe", "-p", "bilder", "4"), tmp_path / "ausgabe"
    assert done.returncode == 0 and done.stderr == "", done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.rstrip().splitlines()[-1] == f"Bericht: {output / 'bericht.html'}"
    figures = read_json(output / "kennzahlen.json")
    assert set(figures["minuten"]) == set(COURSE_NOTEBOOKS)
    assert figures["profil"] == "probe" and (figures["n_train"], figures["n_test"]) == (300, 200)
    assert 0.5 < figures["test_accuracy"] < 1 and figures["max_rss_mb"] > 100
    for name in COURSE_NOTEBOOKS:
        assert (output / "notebooks" / f"{name}.html").stat().st_size > 100_000
        stored = nbformat.read(output / "notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [each for cell in stored.cells for each in cell.get("outputs", [])]
        assert not [each for each in outputs if each.output_type == "error" or each.get("name") == "stderr"]
    report = (output / "bericht.html").read_text(encoding="utf-8")
    assert "Was noch fehlt" not in report and "Vertrauensbericht" in report
    for name in PICTURES:
        assert (output / "bilder" / f"{name}.png").stat().st_size > 5_000
        assert name == "konfusion" or f'id="bild-{name}"' in report
    skip_if_online(offline)


def test_short_commands_run_from_any_folder_without_network(offline):
    data = offline("-m", "helpers", "daten", "--eingabe", "beispiel", "--n-train", "60", "--n-test", "20")
    assert (data.returncode, data.stderr) == (0, "") and "Geschrieben: 60 Bilder" in data.stdout
    doctor = offline("-m", "helpers", "doctor")
    assert doctor.returncode == 0 and doctor.stdout.endswith("\n✔ Alles da.\n")
    assert_refuses_politely(offline, "daten", "--voll")


def assert_copes_without(classes, path) -> None:
    """Kein Abbruch, kein „nan“, kein englischer Satz, und die leeren Klassen sind einmal genannt."""
    outputs = [each for cell in nbformat.read(path, 4).cells for each in cell.get("outputs", [])]
    assert not [each for each in outputs if each.output_type == "error" or each.get("name") == "stderr"]
    text = "\n".join(each.get("text") or each.get("data", {}).get("text/plain", "") for each in outputs)
    assert not re.search(r"\b[Nn]a[Nn]\b|Warning|Error", text)
    empty = ", ".join(name for label, name in enumerate(CLASS_NAMES) if label not in classes)
    assert text.count(f"gibt es kein Bild dieser Klassen: {empty}.") == 1


@pytest.mark.alles
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("classes", "count"),
    [([1, 5, 7], 400), ([0, 1, 2, 3, 5, 6, 7, 8, 9], 260)],
    ids=["drei Klassen", "ohne Mantel, 260 Bilder"],
)
def test_own_csv_files_without_some_classes_run_through_everything(classes, count, offline, tmp_path, dataset):
    folder, output = tmp_path / "eigene", tmp_path / "ausgabe"
    write_csv(folder, data.subset(of_classes(dataset, classes), count, count))
    for command in (
        ["kurs", "--profil", "probe", "-p", "quelle", folder, "-p", "bilder", "4"],
        ["verdacht", "--modell", "sauber"],
        ["auswerten", "--eingabe", folder],
        ["cnn", "--profil", "probe", "--eingabe", folder, "--n-train", "240", "--n-test", "150"],
    ):
        done = offline("-m", "helpers", *command)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:] + done.stderr[-3000:]
        assert not re.search(r"\bnan\b", done.stdout, re.IGNORECASE), command
        if command[0] == "kurs":
            mark = read_json(output / "daten_vergiftet" / "herkunft.json")["wasserzeichen"]
            figures, report = read_json(output / "kennzahlen.json"), (output / "bericht.html").read_text("utf-8")
            for name in ("01_Daten", "03_Training", "04_GradCAM", "05_LRP"):
                assert_copes_without(classes, output / "notebooks" / f"{name}.ipynb")
    assert mark["label"] in classes and np.isfinite(np.concatenate(figures["confusion"])).all()
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", report), re.IGNORECASE)


@pytest.mark.alles
@pytest.mark.timeout(900)
def test_the_long_commands_run_without_network(offline, tmp_path):
    """04 allein, ohne Bilder und Modelle aus 03; Training und Durchsicht."""
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    small = ["--eingabe", "beispiel", "--n-train", "60", "--n-test", "20", "--epochen", "1", "--bildgroesse", "32"]
    for command in (
        ["kurs", "--profil", "probe", "--nur", "04_GradCAM", "-p", "bilder", "4"],
        ["cnn", *small],
        ["durchsicht", str(tmp_path / "abgaben")],
    ):
        done = offline("-m", "helpers", *command)
        assert (done.returncode, done.stderr) == (0, ""), command
    page = tmp_path / "ausgabe" / "notebooks" / "04_GradCAM.html"
    assert "trainiere jetzt" in page.read_text(encoding="utf-8")
    assert "10" in (tmp_path / "ausgabe" / "durchsicht.csv").read_text("utf-8-sig")
    assert_refuses_politely(offline, "cnn", "--gewichte", "keras", "--n-train", "60", "--epochen", "1")
