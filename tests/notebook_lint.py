"""Was in einer Lösung Lernende stören oder Vergleiche unsicher machen würde: ein Satz je Fund."""

import base64
import io
import re
import statistics

import numpy as np
from PIL import Image

from helpers.workshop.notebooks import as_text, cell_label, clean, code_cells, read_notebook, stderr_outputs
from helpers.workshop.report import mathml

MAX_CELL_LINES = 25
MAX_MEDIAN_LINES = 8
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~<&;-])/(?:[\w.+-]+/)+[\w.+-]+|\b[A-Za-z]:\\\w")
FORMULA = re.compile(r"(?<![\\$])\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?!\$)(?P<inline>.+?)(?<![\\$])\$", re.DOTALL)
DRAWS = re.compile(r"^ *(plt\.show\(\)|explore_\w+\()", re.MULTILINE)


def problems(path) -> list[str]:
    """Alle Funde in einer Lösung."""
    notebook = read_notebook(path)
    return [sentence for check in CHECKS for sentence in check(path, notebook, code_cells(notebook))]


def length(path, notebook, cells):
    """Zu lange Zellen und ein zu hoher Median (Leerzeilen zählen nicht)."""
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    for number, (cell, lines) in enumerate(zip(cells, lengths, strict=True), start=1):
        if lines > MAX_CELL_LINES:
            yield f"{cell_label(number, cell.source)} hat {lines} Zeilen, höchstens {MAX_CELL_LINES} sind erlaubt."
    if statistics.median(lengths) > MAX_MEDIAN_LINES:
        yield f"Die Code-Zellen haben im Median {statistics.median(lengths)} Zeilen, höchstens {MAX_MEDIAN_LINES}."


def frame(path, notebook, cells):
    """Startzelle und ``parameters``-Zelle."""
    if not any("parameters" in cell.metadata.get("tags", []) for cell in cells):
        yield "Keine Code-Zelle trägt das Etikett „parameters“."
    if f'start("{path.stem}")' not in cells[0].source:
        yield f'Die erste Code-Zelle ist nicht die Startzelle mit start("{path.stem}").'


def outputs(path, notebook, cells):
    """Warnungen und Pfade dieses Rechners in den gespeicherten Ausgaben; Fehler und Objektadressen findet nbval."""
    if left := sum(cell.execution_count is None for cell in cells):
        yield f"{left} von {len(cells)} Code-Zellen sind nicht ausgeführt."
    yield from stderr_outputs(notebook)
    for number, cell in enumerate(cells, start=1):
        label = cell_label(number, cell.source)
        for output in cell.outputs:
            data = output.get("data", {})
            for text in (output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))):
                if found := ABSOLUTE_PATH.search(text):
                    yield f"{label} gibt einen Pfad dieses Rechners aus ({found[0]})."


def pictures(path, notebook, cells):
    """Jede Zelle, die zeichnet, hat ihr Bild gespeichert, und es ist nicht leer; nbval vergleicht Bilder nicht."""
    for number, cell in enumerate(cells, start=1):
        stored = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
        if DRAWS.search(cell.source) and not stored:
            yield f"{cell_label(number, cell.source)} hat kein Bild."
        for png in stored:
            with Image.open(io.BytesIO(base64.b64decode(png))) as image:
                if np.asarray(image.convert("L")).std() < 1:
                    yield f"{cell_label(number, cell.source)} hat ein leeres Bild."


def formulas(path, notebook, cells):
    """Formeln, die es in den HTML-Seiten ohne Netz nicht als MathML gäbe."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```|`[^`\n]*`", "", cell.source, flags=re.DOTALL)
            for match in FORMULA.finditer(text):
                tex = match["block"] or match["inline"]
                if not mathml(tex).startswith("<math"):
                    yield f"Die Formel {tex.strip()} in Zelle „{cell.id}“ lässt sich nicht als MathML darstellen."


def tidiness(path, notebook, cells):
    """Metadaten, die ``clean`` entfernt hätte, etwa Zeitstempel."""
    if as_text(clean(notebook)) != path.read_text(encoding="utf-8"):
        yield "Die Datei enthält flüchtige Metadaten."


CHECKS = (length, frame, outputs, pictures, formulas, tidiness)
