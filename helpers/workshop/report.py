"""Was man nach einem Lauf ansieht: ``bericht.html`` und die ausgeführten Notebooks als HTML.

Beides sind einzelne Dateien, die auch ohne Netz vollständig sind: Bilder stecken darin, Formeln sind MathML, und eine
Content-Security-Policy verbietet dem Browser jede Anfrage nach außen.
"""

import base64
import contextlib
import datetime
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from helpers.basics import (
    CLASS_NAMES,
    COURSE_NOTEBOOKS,
    atomic_file,
    german,
    is_number,
    output_dir,
    try_read_json,
    yes_no,
)
from helpers.metrics import wilson_interval

# Bilder des Berichts in ihrer Reihenfolge: Name, Überschrift, Notebook, das es macht.
PICTURES = (
    ("ergebnis", "Rohbild, Grad-CAM und LRP für jede Klasse", "05_LRP"),
    ("lernkurven", "Lernkurven", "03_Training"),
    ("konfusion", "Konfusionsmatrix", "03_Training"),
    ("fehler", "Die deutlichsten Fehler", "03_Training"),
    ("gradcam", "Grad-CAM", "04_GradCAM"),
    ("zwilling", "Der Zwilling und seine Kontrolle", "04_GradCAM"),
    ("zwilling_lrp", "Der Zwilling mit LRP", "05_LRP"),
    ("wertungstafel", "Wertungstafel", "05_LRP"),
    ("klassen", "Die Daten", "01_Daten"),
)
FULL_WIDTH = ("ergebnis", "wertungstafel", "stelle")
FIRST = ("ergebnis", "lernkurven", "klassen", "stelle")  # vor der Konfusionsmatrix
# Kennzahlen, die der Bericht an eigener Stelle zeigt.
SHOWN = {"profil", "test_accuracy", "n_train", "n_test", "confusion", "history", "minuten", "max_rss_mb", "rss_mb"}
SHOWN |= {"versionen", "profil_je_notebook", "vertrauen", "klassen"}
# Bei eigenen Bildern.
OWN_PICTURES = (
    ("ergebnis", "Rohbild, Grad-CAM und LRP", "cnn"),
    ("stelle", "Die gefundene Stelle", "cnn"),
    ("fehler", "Die deutlichsten Fehler", "cnn"),
)
TABLE = 20  # so viele Klassen passen in die Tabelle der Verwechslungen


# --- bericht.html ----------------------------------------------------------------------------------------------------


def build_report(out_dir=None, own: str = "") -> Path:
    """Baut ``bericht.html`` aus ``kennzahlen.json`` und ``bilder/``; was fehlt, nennt ein Satz.

    Args:
        out_dir: der Ausgabeordner; ohne Angabe der des Kurses.
        own: welches Netz auf welchen eigenen Bildern: Dann fehlt, was nur zum Kurs gehört.

    Returns:
        Pfad der geschriebenen Datei.
    """
    folder = Path(out_dir or output_dir())
    figures = try_read_json(folder / "kennzahlen.json", {})
    # Die Tabelle sagt dasselbe wie das Bild, und man kann sie sich vorlesen lassen.
    replaced = [name for name, key in (("konfusion", "confusion"), ("vertrauen", "vertrauen")) if figures.get(key)]
    pictures = collect_pictures(folder, OWN_PICTURES if own else PICTURES)
    pictures = [picture for picture in pictures if picture["name"] not in replaced]
    class_names = figures.get("klassen", CLASS_NAMES)
    html = render(
        "report.html.j2",
        created=datetime.datetime.now().strftime("%d.%m.%Y, %H:%M Uhr"),
        headlines=headlines(figures, own),
        first=[picture for picture in pictures if picture["src"] and picture["name"] in FIRST],
        pictures=[picture for picture in pictures if picture["src"] and picture["name"] not in FIRST],
        missing=[picture for picture in pictures if not picture["src"]],
        confusion=figures.get("confusion") if len(class_names) <= TABLE else None,
        confusion_link=cell_link(folder, "03_Training", "konfusion"),
        own=own,
        class_names=class_names,
        pages={name: page_address(folder, name) for name in COURSE_NOTEBOOKS},
        minutes=figures.get("minuten", {}),
        memory=figures.get("rss_mb", {}),
        profiles=figures.get("profil_je_notebook", {}),
        trust=figures.get("vertrauen"),
        trust_link=cell_link(folder, "05_LRP", "vertrauen"),
        versions=sorted(figures.get("versionen", {}).items(), key=lambda item: item[0].lower()),
        # Auch die Herkunft nennt Versionen; sie haben schon ihre eigene Tabelle.
        others=[leaf for leaf in leaves(figures) if leaf[0][0] not in SHOWN and "versionen" not in leaf[0]],
    )
    target = folder / "bericht.html"
    with atomic_file(target) as temporary:
        temporary.write_text(html.strip() + "\n", encoding="utf-8")
    return target


def render(template: str, **values) -> str:
    """Eine Seite aus einer Vorlage, die hier oder in ``review/`` liegt; Text wird darin maskiert."""
    import jinja2

    folder = Path(__file__).parent
    shape = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader([folder, folder / "review"]), **shape)
    environment.filters |= {"german": german_value, "digits": lambda value, digits: german(float(value), digits)}
    return environment.get_template(template).render(values)


def collect_pictures(folder: Path, pictures=PICTURES) -> list[dict]:
    """Die bekannten Bilder (auch die fehlenden, dann ``src=None``), danach alle weiteren aus ``bilder/``."""
    from PIL import Image

    files = {path.stem: path for path in sorted((folder / "bilder").glob("[!.]*.png"))}
    known = {name for name, _, _ in pictures}
    collected = []
    for name, title, notebook in [*pictures, *((name, name, "") for name in files if name not in known)]:
        entry = {"name": name, "title": title, "notebook": notebook, "src": None}
        with contextlib.suppress(KeyError, OSError):  # fehlt oder ist kein Bild
            with Image.open(files[name]) as image:
                width, height = image.size
            caption = try_read_json(files[name].with_suffix(".json"), {})
            entry |= {
                "title": caption.get("titel") or title,
                "text": caption.get("text") or "",
                "link": cell_link(folder, str(caption.get("zelle") or notebook), name),
                "src": "data:image/png;base64," + base64.b64encode(files[name].read_bytes()).decode("ascii"),
                "width": width,
                "height": height,
                "wide": name in FULL_WIDTH or width > 3 * height,
            }
        collected.append(entry)
    return collected


def cell_link(folder: Path, notebook: str, picture: str) -> dict | None:
    """Verweis auf die Zelle im ausgeführten Notebook, die das Bild speichert; None ohne ausgeführtes Notebook."""
    name = notebook.split("#")[0]
    href = page_address(folder, name)
    if not href:
        return None
    saves = re.compile(rf"\bsave\(.{{0,200}}?[\"']{re.escape(picture)}[\"']", re.DOTALL)
    for cell in try_read_json(folder / "notebooks" / f"{name}.ipynb", {}).get("cells", []):
        if cell.get("cell_type") == "code" and saves.search("".join(cell.get("source", []))):
            href += f"#cell-id={quote(cell.get('id', ''))}"
            break
    return {"href": href, "text": name}


def headlines(figures: dict, own: str = "") -> list[dict]:
    """Die Zahlen ganz oben: was, Wert, Erläuterung. Ohne Messung steht dort, welches Notebook fehlt."""
    accuracy, n_test, minutes = (figures.get(name) for name in ("test_accuracy", "n_test", "minuten"))
    value, note = "–", "fehlt noch: Führen Sie 03_Training aus."
    if is_number(accuracy) and n_test:
        low, high = wilson_interval(accuracy, n_test)
        value = german(float(accuracy))
        net = "" if own else "Ihr Netz aus 03_Training "
        note = f"{net}auf {german(n_test)} Testbildern; 95-%-Intervall {german(low)} bis {german(high)}"
    numbers = [("Trefferquote im Test", value, note)]
    if n_train := figures.get("n_train"):
        numbers.append(("Trainingsbilder", german(n_train), ""))
    if minutes:
        numbers.append(("Laufzeit", f"{german(float(sum(minutes.values())), 1)} min", f"Notebooks: {len(minutes)}"))
    if profile := figures.get("profil_je_notebook", {}).get("03_Training") or figures.get("profil"):
        numbers.append(("Profil", profile, ""))
    if memory := figures.get("max_rss_mb"):
        numbers.append(("Arbeitsspeicher", f"{german(memory / 1000, 1)} GB", "in der Spitze"))
    return [dict(zip(("name", "value", "note"), number, strict=True)) for number in numbers]


def most_confused(confusion, names, count: int) -> list[tuple]:
    """Die ``count`` häufigsten Verwechslungen aus der Konfusionsmatrix (k, k): (wahre Klasse, Antwort, wie oft)."""
    wrong = confusion * ~np.eye(len(names), dtype=bool)
    cells = [np.unravel_index(cell, wrong.shape) for cell in np.argsort(-wrong, axis=None, kind="stable")[:count]]
    return [(names[truth], names[answer], wrong[truth, answer]) for truth, answer in cells]


def page_address(folder: Path, name: str) -> str | None:
    """Die Adresse der HTML-Seite eines ausgeführten Notebooks, vom Bericht aus; None, wenn es sie nicht gibt."""
    return f"notebooks/{quote(name)}.html" if (folder / "notebooks" / f"{name}.html").is_file() else None


def german_value(value) -> str:
    """Zahlen im deutschen Format (ab 10 mit einer Nachkommastelle), alles andere als Text."""
    if isinstance(value, bool):
        return yes_no(value)
    return german(value, 3 if abs(value) < 10 else 1) if is_number(value) else str(value)


def leaves(value, path: tuple = ()) -> list[tuple]:
    """(Namen von außen nach innen, Wert) für alles in verschachtelten dicts, was in eine Tabellenzelle passt."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, str(name)))]
    return [(path, value)] if isinstance(value, str | int | float | bool) else []


# --- Notebooks als HTML ----------------------------------------------------------------------------------------------

NO_ALT = "No description has been provided for this image"


def write_page(notebook, path) -> None:
    """Schreibt ein ausgeführtes, bereinigtes Notebook als eigenständige HTML-Seite; ihr Titel ist der Dateiname."""
    import bs4

    html, _ = page_exporter().from_notebook_node(notebook, resources={"metadata": {"name": Path(path).stem}})
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
    """nbconverts HTML-Exporter ohne Skripte aus dem Netz und mit MathML statt MathJax."""
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

    class Exporter(HTMLExporter):
        """HTML-Exporter mit dem Markdown-Umsetzer des Kurses."""

        @jinja2.pass_context
        def markdown2html(self, context, source):
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(escape=False, attachments=attachments, anchor_link_text=self.anchor_link_text)
            return MarkdownWithMath(renderer=renderer).render(source)

    template = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    return Exporter(raw_template=template, language_code="de")


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
