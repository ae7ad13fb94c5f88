"""Ein JupyterLab für Tests: gestartet wie von ``bash install.bash lab``, mit eigenem HOME, Ausgabeordner und Token."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from helpers.basics import ROOT


class Lab:
    """Ein laufendes JupyterLab: ``url`` (mit Token), ``base``, ``token``, ``port``, ``output`` (Ausgabeordner)."""

    def __init__(self, process, folder: Path):
        self.process, self.folder, self.output = process, folder, folder / "ausgabe"
        self.url = self.wait_for_url()
        self.base, self.token = re.match(r"(http://[^/]+)/.*token=(\w+)", self.url).groups()
        self.port = int(self.base.rpartition(":")[2])

    def wait_for_url(self, seconds: float = 90) -> str:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self.process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", self.log()):
                return found[0]
            time.sleep(0.2)
        raise AssertionError(f"JupyterLab startet nicht:\n{self.log()[-3000:]}")

    def log(self) -> str:
        return (self.folder / "lab.log").read_text(encoding="utf-8")

    def get(self, path: str, token: str | None = None):
        """Die JSON-Antwort auf eine Anfrage."""
        headers = {"Authorization": f"token {self.token if token is None else token}"}
        request = urllib.request.Request(f"{self.base}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def running_lab(folder: Path, *arguments: str, **environment: str):
    """Startet JupyterLab in ``folder`` (``home/``, ``ausgabe/``, ``lab.log``) und beendet es danach."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG_"))}
    own = {"HOME": str(folder / "home"), "KURS_AUSGABE": str(folder / "ausgabe"), **environment}
    command = [sys.executable, "-m", "helpers.workshop.jupyter", "--no-browser", "--allow-root", *arguments]
    with open(folder / "lab.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**clean, **own}, stdout=log, stderr=log)
    try:
        yield lambda: Lab(process, folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
