"""Der Bericht und die HTML-Seiten: vollständig ohne Netz, ehrlich über Lücken; im Browser prüft sie test_browser."""

import base64
import re

import bs4
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_factory import png
from report_factory import figures

from helpers.basics import write_json
from helpers.workshop.report import build_report, mathml, write_page


def outside(text) -> list[str]:
    """Alles, was der Browser beim Öffnen aus dem Netz holen würde (Verweise zum Anklicken zählen nicht)."""
    return re.findall(r"""(?:src|srcset|poster)="(?!data:)[^"]*|<link|<script|@import|url\((?!["']?data:)[^)]*""", text)


def shown(text) -> str:
    """Was man liest."""
    return " ".join(bs4.BeautifulSoup(text, "html.parser").get_text().split())


@pytest.fixture
def full(tmp_path):
    """Ein Ausgabeordner mit Kennzahlen, Bildern und einem ausgeführten Notebook."""
    own = {"n_test": 10_000, "gradcam": {"masse": 0.2104, "kurve": {"Kanten": 49.04}, "liste": [1, 2]}}
    write_json(tmp_path / "kennzahlen.json", {**figures(), **own})
    for name in ("wertungstafel", "lernkurven", "ergebnis", "konfusion", "vertrauen", "eigenes"):
        caption = {"titel": f"Titel {name}", "text": f"Text {name}.", "zelle": "05_LRP"}
        write_json(tmp_path / "bilder" / f"{name}.json", caption)
        (tmp_path / "bilder" / f"{name}.png").write_bytes(png())
    drawing = new_code_cell('plots.save(plots.page(x),\n  "ergebnis", "T")', id="bild-1")
    (tmp_path / "notebooks").mkdir()
    cells = [new_code_cell("fehler = 1", id="davor"), drawing]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "05_LRP.ipynb")
    (tmp_path / "notebooks" / "05_LRP.html").write_text("x")
    return tmp_path


def test_report_shows_the_figures_in_german(full):
    text = shown(build_report(full).read_text(encoding="utf-8"))
    for expected in ("0,874", "03_Training auf 10.000", "0,867 bis 0,880", "2.000", "12,0 min", "schnell", "3,1 GB"):
        assert expected in text
    assert "gradcam › kurve › Kanten49,0" in text and "gradcam › masse0,210" in text
    assert "tensorflow2.21.0" in text and "liste" not in text
    order = [text.index(f"Titel {name}") for name in ("ergebnis", "lernkurven", "wertungstafel", "eigenes")]
    assert order == sorted(order) and order[1] < text.index("Konfusionsmatrix") < order[2]


def test_what_is_a_table_is_not_a_picture_too_and_pictures_link_to_their_cell(full):
    text = build_report(full).read_text(encoding="utf-8")
    assert "Titel konfusion" not in text and text.count(' right">180</td>') == 10 and text.count(">20</td>") == 10
    assert "Titel vertrauen" not in text and text.count('<h2 id="vertrauen">') == 1
    links = re.findall(r'<a href="([^"]+)"', text)
    assert "notebooks/05_LRP.html#cell-id=bild-1" in links and "notebooks/05_LRP.html" in links
    assert not [link for link in links if "03_Training" in link]  # davon gibt es keine Seite
    write_json(full / "kennzahlen.json", {})
    text = build_report(full).read_text(encoding="utf-8")
    assert "Titel konfusion" in text and "Titel vertrauen" in text
    assert "Die Zahlen der Konfusionsmatrix fehlen noch" in text


def test_report_with_nothing_there_says_what_is_missing(tmp_path):
    (tmp_path / "kennzahlen.json").write_text("kaputt")
    text = shown(build_report(tmp_path).read_text(encoding="utf-8"))
    assert "Trefferquote im Test – fehlt noch: Führen Sie 03_Training aus." in text
    assert "„Lernkurven“ fehlt noch: Führen Sie 03_Training aus." in text
    assert "„Rohbild, Grad-CAM und LRP für jede Klasse“ fehlt noch: Führen Sie 05_LRP aus." in text
    assert "Der Vertrauensbericht fehlt noch: Führen Sie 05_LRP aus." in text
    assert "Führen Sie „python -m helpers kurs“ aus." in text


def test_broken_and_half_written_pictures_are_left_out(full):
    (full / "bilder" / ".ergebnis-x1.png").write_bytes(png())
    (full / "bilder" / "lernkurven.png").write_bytes(b"kein Bild")
    text = build_report(full).read_text(encoding="utf-8")
    assert "Titel lernkurven" not in text and "„Lernkurven“ fehlt noch" in text and "ergebnis-x1" not in text


# --- Notebooks als HTML ----------------------------------------------------------------------------------------------


@pytest.fixture
def page_of(tmp_path):
    """Schreibt Zellen als HTML-Seite und gibt deren Text zurück."""

    def make(*cells):
        write_page(new_notebook(cells=list(cells)), tmp_path / "03_Training.html")
        return (tmp_path / "03_Training.html").read_text(encoding="utf-8")

    return make


def test_page_is_german_keeps_links_and_turns_formulas_into_mathml(page_of):
    blocks = "$$R_j = \\sum_k z_{jk}$$\n\nund\n\n\\begin{align*}a &= b\\end{align*}"
    link = "[Simonyan](https://arxiv.org/abs/1409.1556)"
    text = page_of(new_markdown_cell(f"# Größe\n\nDie Regel $R_j$ nach {link} lautet\n\n{blocks}"))
    assert outside(text) == [] and '<html lang="de">' in text and "Größe" in text
    assert 'href="https://arxiv.org/abs/1409.1556"' in text and "<title>03_Training</title>" in text
    body = text.split("<body")[1]
    assert body.count("<math") == 3 and body.count('display="block"') == 2 and "$" not in body


def test_a_picture_drawn_by_a_cell_is_described_by_its_heading(page_of):
    data = {"image/png": base64.b64encode(png()).decode(), "text/plain": "<Figure>"}
    drawn = new_code_cell("x", execution_count=1, outputs=[new_output("display_data", data)])
    text = page_of(new_markdown_cell("## Lernkurven"), drawn)
    (image,) = bs4.BeautifulSoup(text, "html.parser").find_all("img")
    assert image["alt"] == "Abbildung zu „Lernkurven“" and outside(text) == []


def test_formulas_that_cannot_be_converted_stay_readable():
    assert mathml("0{,}87").count("<mo>") == 0
    assert "<mtable" in mathml("\\begin{aligned}a &= b\\\\c &= d\\end{aligned}")
    assert mathml("x < \\quark") == "<code>x &lt; \\quark</code>"
    assert mathml("\\frac{1}{", display=True) == "<code>\\frac{1}{</code>"
