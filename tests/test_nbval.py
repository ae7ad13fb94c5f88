"""nbval streng gegen die gespeicherten Ausgaben aller Lösungen; eine eigene Datei hat einen Prozess für sich."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ONE_THREAD
from nbclient import NotebookClient
from nbformat.v4 import new_output
from notebook_factory import png, write_small_notebook

from helpers.basics import COURSE_NOTEBOOKS, KERNEL_NAME, ROOT, SOLUTIONS
from helpers.workshop.notebooks import clean, read_notebook, write_notebook


def nbval(paths, output: Path) -> subprocess.CompletedProcess:
    """Startet nbval streng (``--nbval``) in einem eigenen Prozess, mit eigenem Ausgabeordner."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=1800", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "nbval_pictures"]
    # Der Kernel soll Bilder zeigen wie in JupyterLab und wie dort alle Kerne nehmen.
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", *ONE_THREAD)}
    environment["KURS_AUSGABE"] = str(output)
    paths_of_modules = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths_of_modules)
    command += ["--timeout=0", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.langsam
@pytest.mark.timeout(1800)
def test_solutions_reproduce_their_stored_outputs(tmp_path):
    """Auch die Bilder, grob (nbval_pictures); dass sie nicht leer sind, prüft test_notebooks täglich."""
    result = nbval([SOLUTIONS / f"{name}.ipynb" for name in COURSE_NOTEBOOKS], tmp_path / "ausgabe")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


DRAW = "import matplotlib.pyplot as plt\nplt.figure(figsize=(3, 2))\n"
CURVE, BARS = f"{DRAW}plt.plot([1, 4, 2, 8])\nplt.show()", f"{DRAW}plt.bar([1, 2, 3], [3, 1, 2])\nplt.show()"
PHOTO = f"{DRAW}plt.imshow([[0, 1], [1, 0]])\nplt.show()"


def test_nbval_turns_red_for_another_output_an_error_and_a_picture_missing_exchanged_or_blank(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # sonst zeigte der Kernel keine
    path = write_small_notebook(tmp_path, "rot", CURVE, BARS, PHOTO, CURVE, BARS, "print('x')", "pass", "print('x')")
    notebook = read_notebook(path)
    NotebookClient(notebook, kernel_name=KERNEL_NAME).execute()
    write_notebook(path, clean(notebook))
    assert nbval([path], tmp_path / "ausgabe").returncode == 0, "unverändert"
    same, exchanged, other, deleted, blank, text, nothing, error = notebook.cells
    data = [cell.outputs[0]["data"] for cell in (exchanged, other, deleted, blank)]
    data[0]["image/png"], data[1]["image/png"] = data[1]["image/png"], data[0]["image/png"]
    del data[2]["image/png"]
    data[3]["image/png"] = base64.b64encode(png(255, 255, (300, 200))).decode()
    text.outputs[0].text = "y\n"
    nothing.outputs = [new_output("display_data", {"image/png": "", "text/plain": "Bild"})]
    error.source = "1 / 0"
    write_notebook(path, notebook)
    result = nbval([path], tmp_path / "ausgabe")
    assert "7 failed, 1 passed" in result.stdout, result.stdout[-3000:]
