"""Ein Ausgabeordner wie nach einem ganzen Kurslauf, gemacht aus den gespeicherten Ausgaben von ``solutions/``."""

import ast
import base64
import re
from pathlib import Path

import numpy as np

from helpers import trust
from helpers.basics import COURSE_NOTEBOOKS, SOLUTIONS, write_json
from helpers.data import Watermark
from helpers.suspicion import SHORTCUT, Suspect
from helpers.trust import QUESTIONS
from helpers.workshop.notebooks import code_cells, read_notebook, write_notebook
from helpers.workshop.report import PICTURES, write_page


def finding(name: str, answer: str) -> list[float]:
    """Ein Befund, der zu ``name`` die Antwort ``answer`` gibt."""
    question = QUESTIONS[name]
    middle = question.threshold + {"ja": 0.05, "nein": -0.05, "offen": 0}[answer] * question.better
    return [middle, middle - 0.02, middle + 0.02]


def figures() -> dict:
    """Kennzahlen in der Form und dem Umfang eines echten Laufs."""
    good = {name: finding(name, "ja") for name in QUESTIONS}
    bad = {name: finding(name, "ja" if name in trust.TOOL else "nein") for name in QUESTIONS}  # der längste Grund
    effect = [0.7, 0.6, 0.8]
    found = Suspect(4, Watermark().mask, "Stelle", 1.0, np.arange(3), effect, effect, effect, 6.0, SHORTCUT)
    versions = {name: "2.21.0" for name in ("python", "tensorflow", "keras", "numpy", "pandas", "jupyterlab", "nbval")}
    return {
        "profil": "schnell",
        "n_train": 2000,
        "n_test": 2000,
        "test_accuracy": 0.8735,
        "confusion": [[180 if i == j else (20 if j == (i + 1) % 10 else 0) for j in range(10)] for i in range(10)],
        "minuten": {name: 2.4 for name in COURSE_NOTEBOOKS},
        "rss_mb": {name: 3100 for name in COURSE_NOTEBOOKS},
        "max_rss_mb": 3100,
        "profil_je_notebook": {name: "schnell" for name in COURSE_NOTEBOOKS},
        "versionen": versions,
        "vertrauen": trust.report_figures({"Kontrolle": good, "Zwilling": bad, "Kursmodell": good}, found),
        "umschlag": {"Sie in 04": 2, "Sie in 05": 2, "Kurs in 04": 2, "Suche": 3},
        "wertungstafel": {f"Verfahren {n}": {f"Maß {k}": 0.123 for k in range(6)} for n in range(11)},
    }


def caption_of(source: str, name: str) -> str:
    """Der Satz, den die Zelle zum Bild ``name`` speichert; was erst ein Lauf weiß, ist „0,123“ oder ein langer Satz."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        if any(isinstance(value, ast.Constant) and value.value == name for value in call.args):
            text = call.args[3]
            if isinstance(text, ast.Name):
                return "So lang ist die Unterschrift eines Bilds, wenn sie eine Beobachtung mit drei Zahlen nennt. " * 2
            parts = getattr(text, "values", [text])
            return "".join(getattr(part, "value", "") if isinstance(part, ast.Constant) else "0,123" for part in parts)
    raise AssertionError(f"kein save(…, {name!r}, …)")


def whole_run(folder: Path) -> Path:
    """Schreibt Kennzahlen, Bilder und die ausgeführten Notebooks mit ihren HTML-Seiten nach ``folder``."""
    write_json(folder / "kennzahlen.json", figures())
    (folder / "bilder").mkdir(parents=True, exist_ok=True)
    notebooks = {name: read_notebook(SOLUTIONS / f"{name}.ipynb") for name in COURSE_NOTEBOOKS}
    for name, notebook in notebooks.items():
        write_notebook(folder / "notebooks" / f"{name}.ipynb", notebook)
        write_page(notebook, folder / "notebooks" / f"{name}.html")
    for name, title, notebook in (*PICTURES, ("gruppen", "Gruppen", "05_LRP")):
        saved = re.compile(rf"\bsave\(.{{0,200}}?[\"']{name}[\"']", re.DOTALL)
        (cell,) = [cell for cell in code_cells(notebooks[notebook]) if saved.search(cell.source)]
        images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
        (folder / "bilder" / f"{name}.png").write_bytes(base64.b64decode(images[-1]))
        caption = {"titel": title, "text": caption_of(cell.source, name), "zelle": notebook}
        write_json(folder / "bilder" / f"{name}.json", caption)
    return folder
