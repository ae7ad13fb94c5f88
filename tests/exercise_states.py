"""Notebooks in verschiedenen Lösungsständen: ungelöst, eine Aufgabe gelöst, alles gelöst."""

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, SOLUTIONS
from helpers.workshop.course import parameters_per_notebook
from helpers.workshop.notebooks import derived, read_notebook
from helpers.workshop.review import run

# Klein genug für einen Test: wie in der Durchsicht, und weniger Epochen.
SMALL = parameters_per_notebook(
    run.SMALL | {"epochen": 2}, {name: read_notebook(NOTEBOOKS / f"{name}.ipynb") for name in COURSE_NOTEBOOKS}
)


def solution_cells(name: str) -> dict[str, str]:
    """Zellen-id → Quelltext aller Lösungszellen eines Notebooks."""
    return {c.id: c.source for c in read_notebook(SOLUTIONS / f"{name}.ipynb").cells if c.id.endswith("-loesung")}


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
