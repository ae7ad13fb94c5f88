"""Was man nach einem Lauf ansieht: ``bericht.html`` und die ausgeführten Notebooks als HTML.

Beides sind einzelne Dateien, die auch ohne Netz vollständig sind: Bilder stecken darin, Formeln sind MathML, und eine
Content-Security-Policy verbietet dem Browser jede Anfrage nach außen.
"""

import base64
import datetime
import json
import math
import mimetypes
import re
import struct
from html import escape
from pathlib import Path
from urllib.parse import quote

from helpers.basics import (
    CLASS_NAMES,
    COURSE_NOTEBOOKS,
    ROOT,
    WIDGET_VIEW,
    as_dict,
    atomic_file,
    german,
    is_number,
    output_dir,
    try_read_json,
)
from helpers.metrics import wilson_interval

# Bilder des Berichts in ihrer Reihenfolge: Name, Überschrift, Notebook, das es macht.
PICTURES = (
    ("ergebnis", "Rohbild, Grad-CAM und LRP für jede Klasse", "05_LRP"),
    ("lernkurven", "Lernkurven", "03_Training"),
    ("konfusion", "Konfusionsmatrix", "03_Training"),
    ("fehler", "Die deutlichsten Fehler", "03_Training"),
    ("gradcam", "Grad-CAM", "04_GradCAM"),
    ("zwilling", "Der vergiftete Zwilling", "04_GradCAM"),
    ("zwilling_lrp", "Der Zwilling mit LRP", "05_LRP"),
    ("wertungstafel", "Wertungstafel", "05_LRP"),
    ("klassen", "Die Daten", "01_Daten"),
)
FULL_WIDTH = ("ergebnis", "wertungstafel")
FIRST = ("ergebnis", "lernkurven", "klassen")  # vor der Konfusionsmatrix
# Kennzahlen, die der Bericht an eigener Stelle zeigt.
SHOWN = {"profil", "test_accuracy", "n_train", "n_test", "confusion", "history", "minuten", "max_rss_mb", "rss_mb"}
SHOWN |= {"versionen", "profil_je_notebook", "vertrauen"}


# --- bericht.html ----------------------------------------------------------------------------------------------------


def build_report(out_dir=None) -> Path:
    """Baut ``bericht.html`` aus ``kennzahlen.json`` und ``bilder/``; was fehlt, nennt ein Satz.

    Args:
        out_dir: der Ausgabeordner; ohne Angabe der des Kurses.

    Returns:
        Pfad der geschriebenen Datei.
    """
    import jinja2

    folder = Path(out_dir or output_dir())
    figures = try_read_json(folder / "kennzahlen.json", {})
    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters["german"] = german_value
    confusion = confusion_table(figures.get("confusion"))
    pictures = collect_pictures(folder)
    if confusion:  # die Tabelle sagt dasselbe wie das Bild, und man kann sie sich vorlesen lassen
        pictures = [picture for picture in pictures if picture["name"] != "konfusion"]
    trust = trust_section(figures.get("vertrauen"))
    if trust:
        pictures = [picture for picture in pictures if picture["name"] != "vertrauen"]
    html = environment.from_string(template).render(
        created=datetime.datetime.now().strftime("%d.%m.%Y, %H:%M Uhr"),
        headlines=headlines(figures),
        first=[picture for picture in pictures if picture["src"] and picture["name"] in FIRST],
        pictures=[picture for picture in pictures if picture["src"] and picture["name"] not in FIRST],
        missing=[picture for picture in pictures if not picture["src"]],
        confusion=confusion,
        confusion_link=cell_link(folder, "03_Training", "konfusion"),
        class_names=CLASS_NAMES,
        runs=runs(folder, figures),
        trust=trust,
        versions=sorted(as_dict(figures.get("versionen")).items(), key=lambda item: item[0].lower()),
        # Auch die Herkunft nennt Versionen; sie haben schon ihre eigene Tabelle.
        others=[leaf for leaf in leaves(figures) if leaf[0][0] not in SHOWN and "versionen" not in leaf[0]],
    )
    target = folder / "bericht.html"
    with atomic_file(target) as temporary:
        temporary.write_text(html.strip() + "\n", encoding="utf-8")
    return target


def collect_pictures(folder: Path) -> list[dict]:
    """Die bekannten Bilder (auch die fehlenden, dann ``src=None``), danach alle weiteren aus ``bilder/``."""
    # Verborgene Dateien sind Reste eines abgebrochenen Schreibens.
    paths = [path for path in sorted((folder / "bilder").glob("*.png")) if not path.name.startswith(".")]
    files = {path.stem: path for path in paths if png_size(path)}
    known = {name for name, _, _ in PICTURES}
    entries = list(PICTURES) + [(name, name, None) for name in files if name not in known]
    collected = []
    for name, title, notebook in entries:
        entry = {"name": name, "title": title, "notebook": notebook, "src": None}
        if name in files:
            caption = try_read_json(files[name].with_suffix(".json"), {})
            width, height = png_size(files[name])
            entry |= {
                "title": caption.get("titel") or title,
                "text": caption.get("text") or "",
                "link": cell_link(folder, str(caption.get("zelle") or notebook or ""), name),
                "src": data_url(files[name]),
                "width": width,
                "height": height,
                "wide": name in FULL_WIDTH or width > 3 * height,
            }
        collected.append(entry)
    return collected


def png_size(path: Path) -> tuple[int, int] | None:
    """Breite und Höhe eines PNG in Pixeln, aus seinem Kopf gelesen; None, wenn die Datei kein PNG ist."""
    head = path.read_bytes()[:24]
    return struct.unpack(">II", head[16:]) if len(head) == 24 and head.startswith(b"\x89PNG") else None


def cell_link(folder: Path, notebook: str, picture: str) -> dict | None:
    """Verweis auf die Zelle im ausgeführten Notebook, die das Bild speichert; None ohne ausgeführtes Notebook."""
    name = notebook.split("#")[0]
    if not name or not (folder / "notebooks" / f"{name}.html").is_file():
        return None
    href = f"notebooks/{quote(name)}.html"
    executed = try_read_json(folder / "notebooks" / f"{name}.ipynb", {})
    for cell in executed.get("cells", []):
        source = "".join(cell.get("source", []))
        if cell.get("cell_type") == "code" and re.search(
            rf"\bsave\(.{{0,200}}?[\"']{re.escape(picture)}[\"']", source, re.S
        ):
            href += f"#cell-id={quote(cell.get('id', ''))}"
            break
    return {"href": href, "text": name}


def data_url(path: Path) -> str:
    """Eine Bilddatei als ``data:``-Adresse."""
    kind = mimetypes.guess_type(path.name)[0]
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def headlines(figures: dict) -> list[dict]:
    """Die Zahlen ganz oben: was, Wert, Erläuterung. Ohne Messung steht dort, welches Notebook fehlt."""
    accuracy, n_test, n_train = (figures.get(name) for name in ("test_accuracy", "n_test", "n_train"))
    profile = as_dict(figures.get("profil_je_notebook")).get("03_Training") or figures.get("profil")
    minutes = {name: value for name, value in as_dict(figures.get("minuten")).items() if is_number(value)}
    memory = figures.get("max_rss_mb")
    numbers = []
    if is_number(accuracy):
        note = f"auf {german(n_test)} Testbildern" if is_number(n_test) else ""
        if is_number(n_test) and n_test > 0 and 0 <= accuracy <= 1:
            low, high = wilson_interval(accuracy, n_test)
            note += f"; 95-%-Intervall {german(low)} bis {german(high)}"
        numbers.append({"name": "Trefferquote im Test", "value": german(float(accuracy)), "note": note})
    else:
        numbers.append(
            {"name": "Trefferquote im Test", "value": "–", "note": "fehlt noch: Führen Sie 03_Training aus."}
        )
    if is_number(n_train):
        numbers.append({"name": "Trainingsbilder", "value": german(n_train), "note": ""})
    if minutes:
        count = len(minutes)
        note = f"für {count} Notebooks" if count != 1 else "für ein Notebook"
        numbers.append({"name": "Laufzeit", "value": f"{german(float(sum(minutes.values())), 1)} min", "note": note})
    if profile:
        numbers.append({"name": "Profil", "value": str(profile), "note": ""})
    if is_number(memory):
        numbers.append({"name": "Arbeitsspeicher", "value": f"{german(memory / 1000, 1)} GB", "note": "in der Spitze"})
    return numbers


def confusion_table(matrix) -> list[list[dict]] | None:
    """Zeilen der Konfusionsmatrix (wahr × vorhergesagt) mit Anzahl und Farbstufe 0–9; None, wenn es keine ist."""
    size = len(CLASS_NAMES)
    rows = [row for row in matrix if isinstance(row, list)] if isinstance(matrix, list) else []
    if [len(row) for row in rows] != [size] * size or not all(is_number(n) for row in rows for n in row):
        return None
    table = []
    for i, row in enumerate(matrix):
        total = sum(row) or 1
        table.append(
            [{"count": n, "shade": min(9, math.ceil(9 * n / total)), "right": i == j} for j, n in enumerate(row)]
        )
    return table


def trust_section(record) -> dict | None:
    """Der Vertrauensbericht zum Einsetzen: Regel, Verdacht, Modelle und je Frage eine Zeile; None, wenn er fehlt."""
    record = as_dict(record)
    models = {name: as_dict(model) for name, model in as_dict(record.get("modelle")).items()}
    checks = {name: as_dict(model.get("pruefungen")) for name, model in models.items()}
    if not models or not all(checks.values()):
        return None
    first = next(iter(checks.values()))
    if any(set(each) != set(first) for each in checks.values()):
        return None
    no_answer = dict.fromkeys(("antwort", "wert", "tief", "hoch"), "–")
    rows = [
        {
            "question": as_dict(check).get("frage", name),
            "measured": as_dict(check).get("gemessen", ""),
            "limit": f"{as_dict(check).get('ja_wenn', '')} als {german_value(as_dict(check).get('schwelle', '–'))}",
            "cells": [no_answer | as_dict(each[name]) for each in checks.values()],
        }
        for name, check in first.items()
    ]
    return {
        "rule": record.get("regel", ""),
        "suspicion": record.get("verdacht", ""),
        "models": [
            {"name": name, "judgement": model.get("urteil", "–"), "reason": model.get("grund", "")}
            for name, model in models.items()
        ],
        "rows": rows,
    }


def runs(folder: Path, figures: dict) -> list[dict]:
    """Eine Zeile je Notebook: Minuten, Arbeitsspeicher, Profil und der Verweis auf das ausgeführte Notebook."""
    minutes, memory, profiles = (as_dict(figures.get(n)) for n in ("minuten", "rss_mb", "profil_je_notebook"))
    rows = []
    for name in (*COURSE_NOTEBOOKS, *sorted(set(minutes) - set(COURSE_NOTEBOOKS))):
        page = folder / "notebooks" / f"{name}.html"
        rows.append(
            {
                "name": name,
                "minutes": german(float(minutes[name]), 1) if is_number(minutes.get(name)) else "–",
                "memory": german(memory[name] / 1000, 1) if is_number(memory.get(name)) else "–",
                "profile": profiles.get(name, "–"),
                "href": f"notebooks/{quote(name)}.html" if page.is_file() else None,
            }
        )
    return rows


def german_value(value) -> str:
    """Zahlen im deutschen Format (ab 10 mit einer Nachkommastelle), alles andere als Text."""
    if isinstance(value, bool):
        return "ja" if value else "nein"
    return german(value, 3 if abs(value) < 10 else 1) if is_number(value) else str(value)


def leaves(value, path: tuple = ()) -> list[tuple]:
    """(Namen von außen nach innen, Wert) für alles in verschachtelten dicts, was in eine Tabellenzelle passt."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, str(name)))]
    return [(path, value)] if isinstance(value, str | int | float | bool) else []


# --- Notebooks als HTML ----------------------------------------------------------------------------------------------

PAGE_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block extra_css -%}
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'">
<style>
main { max-width: 62rem; margin: 0 auto; }
/* nbconverts Farben heben sich zu wenig vom Hintergrund ab (WCAG verlangt 4,5 : 1). */
body { --jp-mirror-editor-keyword-color: #007000; --jp-mirror-editor-number-color: #007000;
  --jp-mirror-editor-operator-color: #8a10d8; --jp-mirror-editor-comment-color: #2f6868; }
.jp-InputPrompt, .jp-OutputPrompt { color: #5c5c5c !important; opacity: 1 !important; }
math { font-size: 1.1em; }
math[display="block"] { margin: 0.8em 0; }
mtd[columnalign="left"] { text-align: left; }
mtd[columnalign="right"] { text-align: right; }
</style>
{%- endblock -%}
"""
NO_ALT = "No description has been provided for this image"


def write_page(notebook, path, source_dir) -> None:
    """Schreibt ein ausgeführtes Notebook als eigenständige HTML-Seite.

    Args:
        path: Ziel; der Dateiname ohne Endung wird zum Titel.
        source_dir: Ordner, auf den sich Bildadressen im Text beziehen.
    """
    import bs4

    exporter = page_exporter()
    resources = {"metadata": {"name": Path(path).stem, "path": str(source_dir)}}
    html, _ = exporter.from_notebook_node(static_outputs(notebook), resources=resources)
    page = bs4.BeautifulSoup(html, "html.parser")
    for image in page.find_all("img", alt=NO_ALT):
        heading = image.find_previous(["h1", "h2", "h3", "h4"])
        image["alt"] = f"Abbildung zu „{heading.get_text().removesuffix('¶')}“" if heading else "Abbildung"
    for cell in page.select("thead th"):
        if not cell.get_text(strip=True):  # die leere Ecke einer pandas-Tabelle ist keine Überschrift
            cell.name = "td"
    with atomic_file(path) as temporary:
        temporary.write_text(str(page), encoding="utf-8")


def page_exporter():
    """nbconverts HTML-Exporter ohne Skripte aus dem Netz, mit eingebetteten Bildern und MathML statt MathJax."""
    import jinja2
    from nbconvert.exporters import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        """Markdown nach HTML."""

        def block_math(self, body):
            return mathml(body, display=True)

        def inline_math(self, body):
            return mathml(body)

        def latex_environment(self, name, body):
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)

        def _src_to_base64(self, src):
            # nbconvert bettet nur ein, was neben dem Notebook liegt; der Kurs hat Bilder auch in input/.
            image = (Path(self.path) / src).resolve()
            inside = any(image.is_relative_to(Path(base).resolve()) for base in (self.path, ROOT))
            return data_url(image) if inside and image.is_file() else None

        def _html_embed_images(self, html):
            # nbconvert schickte jedes HTML-Bruchstück durch einen Parser, der <details> vor seinem Inhalt schlösse.
            def embed(match):
                return match[1] + (self._src_to_base64(match[2]) or match[2])

            return re.sub(r"""(<img\b[^>]*?\bsrc=["'])([^"']+)""", embed, html)

    class Exporter(HTMLExporter):
        """HTML-Exporter mit dem Markdown-Umsetzer des Kurses."""

        @jinja2.pass_context
        def markdown2html(self, context, source):
            renderer = Renderer(
                escape=False,
                attachments=context.get("cell", {}).get("attachments", {}),
                embed_images=True,
                path=context.get("resources", {}).get("metadata", {}).get("path", ""),
                anchor_link_text=self.anchor_link_text,
            )
            return MarkdownWithMath(renderer=renderer).render(source)

    return Exporter(raw_template=PAGE_TEMPLATE, language_code="de", embed_images=True)


def mathml(tex: str, display: bool = False) -> str:
    """Eine LaTeX-Formel als MathML; was sich nicht umsetzen lässt, bleibt als LaTeX-Text lesbar."""
    text = re.sub(r"(\d)\{,\}(\d)", r"\1\\text{,}\2", tex.strip())  # Dezimalkomma ohne Lücke
    text = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{align*}", text)
    try:
        from latex2mathml.converter import convert

        formula = convert(text, display="block" if display else "inline")
    except Exception:  # der Umsetzer kennt ein Dutzend Fehlerklassen ohne gemeinsame Basis
        formula = "\\"
    if "\\" not in formula:  # ein unbekannter Befehl bliebe mit seinem Backslash stehen
        return formula
    return f"<code>{escape(tex.strip())}</code>"


def static_outputs(notebook):
    """Eine Kopie von ``notebook``: Formeln als MathML, Bedienelemente als ihr Bild oder, ohne Bild, als Hinweis."""
    import nbformat

    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in copy.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if WIDGET_VIEW in data and "image/png" in data:
                del data[WIDGET_VIEW]
            elif WIDGET_VIEW in data:
                output["data"] = {"text/plain": "Dieses Bedienelement gibt es nur in JupyterLab."}
            elif "text/latex" in data and "text/html" not in data:
                data["text/html"] = mathml(data["text/latex"].strip().strip("$"), display=True)
    return copy
