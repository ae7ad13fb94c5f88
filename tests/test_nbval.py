"""nbval streng gegen die gespeicherten Ausgaben aller Lösungen; eine eigene Datei hat einen Prozess für sich."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ONE_THREAD
from nbformat.v4 import new_output
from notebook_factory import write_small_notebook

from helpers.basics import COURSE_NOTEBOOKS, ROOT, SOLUTIONS
from helpers.workshop.notebooks import read_notebook, write_notebook


def nbval(paths, output: Path) -> subprocess.CompletedProcess:
    """Startet nbval streng (``--nbval``) in einem eigenen Prozess, mit eigenem Ausgabeordner."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=1800", "-q", "-p", "no:cacheprovider"]
    # Der Kernel soll Bilder zeigen wie in JupyterLab und wie dort alle Kerne nehmen.
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", *ONE_THREAD)}
    environment["KURS_AUSGABE"] = str(output)
    command += ["--timeout=0", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.langsam
@pytest.mark.timeout(1800)
def test_solutions_reproduce_their_stored_outputs(tmp_path):
    """Dass gespeicherte Bilder da und nicht leer sind, prüft test_notebooks: nbval vergleicht nur ihre Textfassung."""
    result = nbval([SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS], tmp_path / "ausgabe")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_nbval_turns_red_for_another_output_a_missing_picture_and_an_error(tmp_path):
    path = write_small_notebook(tmp_path, "rot", "print('x')", "pass", "1 / 0", "print('x')")
    notebook = read_notebook(path)
    picture = new_output("display_data", {"image/png": "", "text/plain": "Bild"})
    stored = ([new_output("stream", text="y\n")], [picture], [], [new_output("stream", text="x\n")])
    for number, (cell, outputs) in enumerate(zip(notebook.cells, stored, strict=True), start=1):
        cell.update(outputs=outputs, execution_count=number)
    write_notebook(path, notebook)
    result = nbval([path], tmp_path / "ausgabe")
    assert result.returncode == 1 and "3 failed, 1 passed" in result.stdout, result.stdout[-3000:]
