"""nbval streng gegen die gespeicherten Ausgaben aller Lösungen; eine eigene Datei hat einen Prozess für sich."""

import os
import subprocess
import sys

import pytest
from conftest import ONE_THREAD

from helpers.basics import COURSE_NOTEBOOKS, ROOT, SOLUTIONS


@pytest.mark.langsam
@pytest.mark.timeout(1800)
def test_solutions_reproduce_their_stored_outputs(tmp_path):
    """Dass gespeicherte Bilder da und nicht leer sind, prüft notebook_lint: nbval vergleicht nur ihre Textfassung."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=1800", "-q", "-p", "no:cacheprovider"]
    command += ["--timeout=0", *(str(SOLUTIONS / f"{name}.ipynb") for name in COURSE_NOTEBOOKS)]
    # Der Kernel soll Bilder zeigen wie in JupyterLab und wie dort alle Kerne nehmen.
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", *ONE_THREAD)}
    environment["KURS_AUSGABE"] = str(tmp_path / "ausgabe")
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
