"""Notebooks in verschiedenen Lösungsständen: ungelöst, eine Aufgabe gelöst, alles gelöst."""

import re
from pathlib import Path

from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from helpers.basics import COURSE_NOTEBOOKS, KERNEL_NAME, NOTEBOOKS, SOLUTIONS
from helpers.workshop.course import parameters_per_notebook
from helpers.workshop.notebooks import derived, kernel_environment, read_notebook
from helpers.workshop.review import run

# Klein genug für einen Test: wie in der Durchsicht, und weniger Epochen.
SMALL = parameters_per_notebook(
    run.SMALL | {"epochen": 2}, {name: read_notebook(NOTEBOOKS / f"{name}.ipynb") for name in COURSE_NOTEBOOKS}
)
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


def with_parameters(notebook, values: dict):
    """Hängt Werte an die ``parameters``-Zelle an; ergibt dasselbe Notebook."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{key} = {value!r}" for key, value in values.items())
    return notebook


def run_states(name: str, folder: Path):
    """Führt alle Stände eines Notebooks nacheinander aus, jeden von oben nach unten und ohne die Namen des vorigen.

    Sie teilen sich einen Kernel: TensorFlow lädt nur einmal, und einmal gebaute Rechengraphen bleiben.

    Yields:
        je Stand (Stand, Aufgabe → Zeichen (✔ ✘ ○)).
    """
    kernel = KernelManager(kernel_name=KERNEL_NAME)
    kernel.start_kernel(cwd=str(folder), env=kernel_environment())
    try:
        for state, solved in states(name).items():
            notebook = with_parameters(in_state(name, solved), SMALL[name])
            notebook.cells.insert(0, new_code_cell("%reset -f"))
            NotebookClient(notebook, km=kernel, timeout=300, iopub_timeout=60).execute()
            texts = [o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stdout"]
            yield state, {match[1]: text[0] for text in texts if (match := VERDICT.match(text))}
    finally:
        kernel.shutdown_kernel(now=True)
