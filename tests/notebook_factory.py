"""Kleine Notebooks für Tests, die mit dem echten Kernel laufen."""

from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.workshop.notebooks import as_text, clean


def write_small_notebook(folder, name: str, *sources: str) -> Path:
    """Schreibt ``folder/name.ipynb``: eine Zelle je Quelltext, ``# `` am Anfang heißt Markdown.

    Eine Zelle, die mit ``profil =`` beginnt, wird die ``parameters``-Zelle.
    """
    cells = []
    for number, source in enumerate(sources):
        cell = (new_markdown_cell if source.startswith("# ") else new_code_cell)(source, id=f"zelle-{number}")
        if source.startswith("profil ="):
            cell.metadata["tags"] = ["parameters"]
        cells.append(cell)
    path = Path(folder) / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(clean(new_notebook(cells=cells))), encoding="utf-8")
    return path
