"""Der ganze Kurs: nbval vergleicht die Lösungen streng mit ihren Ausgaben, papermill führt ``notebooks/`` aus."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers.basics import COURSE_NOTEBOOKS, ROOT, SOLUTIONS, read_json


def nbval(paths, output: Path) -> subprocess.CompletedProcess:
    """Startet nbval streng (``--nbval``) in einem eigenen Prozess, mit eigenem Ausgabeordner."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=1800", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "KURS_AUSGABE": str(output)}
    environment.pop("MPLBACKEND", None)  # der Kernel soll Bilder zeigen wie in JupyterLab
    return subprocess.run(
        [*command, *map(str, paths)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.langsam
def test_solutions_reproduce_their_stored_outputs(tmp_path):
    result = nbval([SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS], tmp_path / "ausgabe")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_nbval_turns_red_when_a_stored_output_differs(tmp_path):
    """Nur die Anfangszellen von 01: Eine veränderte Ausgabe muss auffallen, die echte nicht."""
    notebook = nbformat.read(SOLUTIONS / "01_Daten.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = code[:1]
    assert "Kernel und Pakete stimmen" in code[0].outputs[0].text
    folder = tmp_path / "solutions"
    folder.mkdir()
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    path = folder / "probe.ipynb"
    nbformat.write(notebook, path)
    assert nbval([path], tmp_path / "ausgabe").returncode == 0
    code[0].outputs[0].text = "✔ 01_Daten: Alles anders.\n"
    nbformat.write(notebook, path)
    assert nbval([path], tmp_path / "ausgabe").returncode == 1


@pytest.mark.langsam
def test_learners_notebooks_run_headless(tmp_path):
    """Der Befehl, mit dem Lehrende einen neuen Rechner ausprobieren; danach 04 allein, ohne Bilder und Modelle."""
    environment = {**os.environ, "KURS_AUSGABE": str(tmp_path)}
    command = [sys.executable, "-m", "helpers", "kurs", "--profil", "probe", "-p", "bilder", "4"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert result.stdout.rstrip().splitlines()[-1] == f"Bericht: {tmp_path / 'bericht.html'}"
    figures = read_json(tmp_path / "kennzahlen.json")
    assert set(figures["minuten"]) == set(COURSE_NOTEBOOKS)
    assert figures["profil"] == "probe" and (figures["n_train"], figures["n_test"]) == (300, 200)
    assert 0.5 < figures["test_accuracy"] < 1 and figures["max_rss_mb"] > 100
    assert {"tensorflow", "keras", "innvestigate", "tf-keras-vis"} <= set(figures["versionen"])
    for name in COURSE_NOTEBOOKS:
        assert (tmp_path / "notebooks" / f"{name}.html").stat().st_size > 100_000
        stored = json.loads((tmp_path / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        outputs = [output for cell in stored["cells"] for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"]
        assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
    for picture in ("klassen", "lernkurven", "konfusion", "fehler", "gradcam", "zwilling", "ergebnis", "wertungstafel"):
        assert (tmp_path / "bilder" / f"{picture}.png").stat().st_size > 5_000
    alone = tmp_path / "allein"
    environment["KURS_AUSGABE"] = str(alone)
    result = subprocess.run(
        [sys.executable, "-m", "helpers", "kurs", "--profil", "probe", "--nur", "04_GradCAM", "-p", "bilder", "4"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "trainiere jetzt" in (alone / "notebooks" / "04_GradCAM.html").read_text(encoding="utf-8")
