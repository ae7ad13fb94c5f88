"""Notebooks in verschiedenen Lösungsständen: ungelöst, eine Aufgabe gelöst, alles gelöst."""

import os
import re
import time
from pathlib import Path

from helpers.basics import NOTEBOOKS, SOLUTIONS
from helpers.notebooks import derived, execute, read_notebook, write_notebook

# Klein genug für einen Test: kleine Bilder, eigene Modelle, eine LRP-Regel.
PROBE = {"profil": "probe", "epochen": 2}
SMALL = {
    "01_Daten": {"profil": "probe"},
    "02_VGG16": {"profil": "probe"},
    "03_Training": PROBE,
    "04_GradCAM": PROBE | {"bilder": 2},
    "05_LRP": PROBE | {"bilder": 2, "regeln": ["lrp.epsilon"], "verfahren": ["Grad-CAM", "Zufall", "leere Karte"]},
}
VERDICT = re.compile(r"[✔✘○] Aufgabe (\d\.\d)")


def solution_cells(name: str) -> dict[str, str]:
    """Zellen-id → Quelltext aller Lösungszellen eines Notebooks."""
    return {c.id: c.source for c in read_notebook(SOLUTIONS / f"{name}.ipynb").cells if c.id.endswith("-loesung")}


def states(name: str) -> dict[str, list[str]]:
    """Stand → ids der gelösten Zellen."""
    cells = list(solution_cells(name))
    return {"ungelöst": [], **{cell.removesuffix("-loesung"): [cell] for cell in cells}, "gelöst": cells}


def in_state(name: str, solved: list[str]):
    """Das Notebook der Lernenden mit den Lösungen ``solved``."""
    source, sources = NOTEBOOKS / f"{name}.ipynb", solution_cells(name)
    notebook = derived(read_notebook(source), source)
    for cell in notebook.cells:
        if cell.id in solved:
            cell.source = sources[cell.id]
    return notebook


def run_state(name: str, state: str, folder: Path) -> tuple[str, str, dict, float]:
    """Führt einen Stand aus; ergibt Notebook, Stand, Aufgabe → Zeichen (✔ ✘ ○) und Sekunden."""
    started = time.monotonic()
    source = folder / "staende" / f"{name}-{state}.ipynb"
    write_notebook(source, in_state(name, states(name)[state]))
    # 01 und 03 schreiben Bilder und Modelle: Sie bekommen einen eigenen Ausgabeordner.
    output = folder / (f"ausgabe-{name[:2]}" if name in ("01_Daten", "03_Training") else "ausgabe")
    # Ein Kern je Lauf: Es laufen zwei zugleich.
    os.environ.update(KURS_AUSGABE=str(output), TF_NUM_INTRAOP_THREADS="1", OMP_NUM_THREADS="1")
    done = execute(source, source.with_suffix(".done.ipynb"), SMALL[name], timeout_s=300)
    texts = [o.text for cell in done.cells for o in cell.get("outputs", []) if o.get("name") == "stdout"]
    marks = {match[1]: text[0] for text in texts if (match := VERDICT.match(text))}
    return name, state, marks, time.monotonic() - started


def run_states(name: str, wanted: list[str], folder: Path) -> list:
    """Mehrere Stände eines Notebooks nacheinander."""
    return [run_state(name, state, folder) for state in wanted]
