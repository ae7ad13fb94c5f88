"""Kleine Notebooks für Tests, die mit dem echten Kernel laufen."""

import io
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

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


def png(low: int = 0, high: int = 255, size=(60, 40)) -> bytes:
    """Ein echtes PNG, links ``low`` und rechts ``high`` hell."""
    image = Image.new("L", size, low)
    image.paste(high, (size[0] // 2, 0, *size))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
