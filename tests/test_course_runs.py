"""Der ganze Kurs: ohne Bildschirm und ohne Netz in einem Lauf, und nbval streng gegen die gespeicherten Ausgaben."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import handin_factory as factory
import nbformat
import pytest
from no_network import cut_off, in_new_process, reaches_out

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, ROOT, SOLUTIONS, read_json

NO_CUT = "Hier lässt sich kein Netz-Namensraum anlegen: Der Lauf ist gelungen, aber mit Netz."
PICTURES = ("klassen", "lernkurven", "konfusion", "fehler", "gradcam", "zwilling", "ergebnis", "wertungstafel")


def run_offline(commands: list[list[str]], folder: Path) -> tuple[list, bool]:
    """Befehle ohne Netz, in einem eigenen Prozess: je Befehl (Rückgabewert, stdout, stderr); gab es noch ein Netz?"""
    cut_off()
    os.environ.update(KURS_AUSGABE=str(folder / "ausgabe"), KERAS_HOME=str(folder / "keras"))
    from helpers.__main__ import main

    results = []
    for command in commands:
        out, errors = io.StringIO(), io.StringIO()
        if command[0] == "papermill":
            program = str(Path(sys.executable).with_name("papermill"))
            done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
            results.append((done.returncode, done.stdout, done.stderr))
            continue
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(command)
        results.append((code, out.getvalue(), errors.getvalue()))
    return results, reaches_out()


@pytest.mark.langsam
@pytest.mark.timeout(900)
def test_the_course_runs_headless_and_without_network(tmp_path):
    """Der Befehl, mit dem Lehrende einen neuen Rechner ausprobieren, und papermill von Hand aus fremdem Ordner."""
    commands = [
        ["kurs", "--profil", "probe", "-p", "bilder", "4"],
        ["papermill", str(NOTEBOOKS / "01_Daten.ipynb"), "aus.ipynb"],
        ["daten", "--eingabe", "beispiel", "--n-train", "60", "--n-test", "20"],
        ["doctor"],
        ["daten", "--voll"],
    ]
    (course, papermill, data, doctor, full), connected = in_new_process(run_offline, commands, tmp_path)
    output = tmp_path / "ausgabe"
    assert course[0] == 0 and course[2] == "", course
    assert course[1].rstrip().splitlines()[-1] == f"Bericht: {output / 'bericht.html'}"
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

    assert papermill[0] == 0, papermill[2][-2000:]
    assert "Kernel und Pakete stimmen" in (tmp_path / "aus.ipynb").read_text(encoding="utf-8")
    assert data[::2] == (0, "") and "Geschrieben: 60 Bilder" in data[1] and "✔ Alles da" in doctor[1]
    if connected:
        pytest.skip(NO_CUT)
    assert full[0] == 2 and full[2].startswith("✘ ") and "mit dem Browser" in full[2]


@pytest.mark.alles
@pytest.mark.timeout(900)
def test_the_long_commands_run_without_network(tmp_path):
    """Training, Durchsicht und 04 allein, ohne Bilder und Modelle aus 03."""
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    small = ["--eingabe", "beispiel", "--n-train", "60", "--n-test", "20", "--epochen", "1", "--bildgroesse", "32"]
    commands = [
        ["kurs", "--profil", "probe", "--nur", "04_GradCAM", "-p", "bilder", "4"],
        ["cnn", *small],
        ["durchsicht", str(tmp_path / "abgaben")],
        ["cnn", "--gewichte", "keras", "--n-train", "60", "--epochen", "1"],
    ]
    (*good, keras), connected = in_new_process(run_offline, commands, tmp_path)
    assert [(code, errors) for code, _, errors in good] == [(0, "")] * len(good)
    page = tmp_path / "ausgabe" / "notebooks" / "04_GradCAM.html"
    assert "trainiere jetzt" in page.read_text(encoding="utf-8")
    assert "10" in (tmp_path / "ausgabe" / "durchsicht.csv").read_text("utf-8-sig")
    if connected:
        pytest.skip(NO_CUT)
    assert keras[0] == 2 and "mit dem Browser" in keras[2]


def look_twice():
    before = reaches_out()
    return before, cut_off(), reaches_out()


def test_the_cut_is_real():
    """Gegenprobe: Vor dem Schnitt gibt es, wo der Rechner überhaupt ein Netz hat, einen Weg; danach keinen."""
    before, cut, after = in_new_process(look_twice)
    assert before == reaches_out() and (not after or not cut)


# --- nbval -----------------------------------------------------------------------------------------------------------


def nbval(paths, output: Path) -> subprocess.CompletedProcess:
    """Startet nbval streng (``--nbval``) in einem eigenen Prozess, mit eigenem Ausgabeordner."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=1800", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "KURS_AUSGABE": str(output)}
    environment.pop("MPLBACKEND", None)  # der Kernel soll Bilder zeigen wie in JupyterLab
    return subprocess.run(
        [*command, "--timeout=0", *map(str, paths)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.langsam
@pytest.mark.timeout(1800)
def test_solutions_reproduce_their_stored_outputs(tmp_path):
    """Dass gespeicherte Bilder da und nicht leer sind, prüft notebook_lint: nbval vergleicht nur ihre Textfassung."""
    result = nbval([SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS], tmp_path / "ausgabe")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        ("print('x')", [{"output_type": "stream", "name": "stdout", "text": ["y\n"]}]),
        ("1 / 0", []),
        (
            "pass",
            [{"output_type": "display_data", "data": {"image/png": "", "text/plain": "<Figure>"}, "metadata": {}}],
        ),
    ],
    ids=["andere Ausgabe", "Fehler", "kein Bild mehr"],
)
def test_nbval_turns_red(tmp_path, source, outputs):
    data = json.loads((SOLUTIONS / "01_Daten.ipynb").read_text(encoding="utf-8"))
    first = next(cell for cell in data["cells"] if cell["cell_type"] == "code")
    assert re.search("Kernel und Pakete stimmen", "".join(first["outputs"][0]["text"]))
    bad = {**first, "id": "rot", "source": [source], "outputs": outputs}
    (tmp_path / "rot.ipynb").write_text(json.dumps({**data, "cells": [first, bad]}), encoding="utf-8")
    result = nbval([tmp_path / "rot.ipynb"], tmp_path / "ausgabe")
    assert result.returncode == 1 and "1 failed, 1 passed" in result.stdout, result.stdout[-3000:]
