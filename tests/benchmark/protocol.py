"""Ein Messprozess je Bibliothek: Der Leiter schickt Aufgaben als JSON-Zeilen, der Prozess antwortet mit Sekunden.

So rechnen die Bibliotheken abwechselnd auf derselben Maschine, und keine lädt die Pakete der anderen.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


class Worker:
    """Ein Messprozess.

    Args:
        python: Python der Umgebung.
        script: Programm, das ``serve`` aufruft.
        environment: zusätzliche Umgebungsvariablen.
    """

    def __init__(self, python, script: Path, **environment):
        self._process = subprocess.Popen(
            [str(python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            cwd=Path(__file__).resolve().parent.parent.parent,
        )

    def ask(self, task: str, **options) -> dict:
        """Schickt eine Aufgabe und wartet auf ihr Ergebnis."""
        self._process.stdin.write(json.dumps({"task": task, **options}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("ERGEBNIS "):
                return json.loads(line.removeprefix("ERGEBNIS "))
        raise RuntimeError(f"Der Messprozess endete bei {task} {options}.")

    def close(self) -> None:
        """Beendet den Prozess und gibt seinen Speicher frei."""
        self._process.stdin.close()
        self._process.wait(timeout=60)


def serve(tasks: dict) -> None:
    """Beantwortet Aufgaben, bis die Eingabe endet; ``tasks``: Name → Funktion mit Optionen, ergibt ein dict."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = tasks[request.pop("task")](**request)
        print("ERGEBNIS " + json.dumps(answer), flush=True)


def timed(function) -> tuple[float, object]:
    """Sekunden eines Aufrufs und sein Ergebnis."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result
