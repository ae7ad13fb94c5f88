"""Was in JupyterLab zu sehen ist, in einem echten Browser geprüft: Chromium ohne Fenster, gesteuert von Playwright."""

import os
import re
import shutil

import handin_factory as factory
import pytest
from conftest import ONE_THREAD
from exercise_states import SMALL, with_parameters
from lab_server import running_lab
from nbformat.v4 import new_code_cell, new_notebook
from report_factory import whole_run

from helpers.basics import COURSE_NOTEBOOKS, KERNEL_NAME, KERNEL_TITLE, NOTEBOOKS, ROOT, START_PAGE, read_json
from helpers.checks.exercise import Verdict
from helpers.workshop.notebooks import code_cells, read_notebook, write_notebook
from helpers.workshop.report import PICTURES, build_report
from helpers.workshop.review.handins import read, references
from helpers.workshop.review.page import write
from helpers.workshop.review.run import Result

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MISSING = "Chromium fehlt (sudo apt install chromium): Was in JupyterLab zu sehen ist, bleibt ungeprüft."
# 03 lernt die Modelle, die 04 und 05 erklären; 01 kommt zuletzt, weil es mehr Bilder wählt, als die anderen brauchen.
ORDER = ("02_VGG16", "03_Training", "04_GradCAM", "05_LRP", "01_Daten")
ERRORS = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]'
KERNEL = {"kernelspec": {"name": KERNEL_NAME, "display_name": KERNEL_TITLE}}
WITH_EXPLORER = ("04_GradCAM", "05_LRP")
# Ein Explorer mit einem kleinen, untrainierten Netz: Es geht um die Bedienung, nicht um die Antwort.
SMALL_EXPLORER = """
from helpers.data import Watermark, load_source, subset
from helpers.explorer import explore_lrp
from helpers.model import keras
from helpers.model import predict_logits
from helpers.training import Evaluation
inputs = keras.Input((32, 32, 3))
x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
data = subset(load_source("beispiel"), 100, 100)
result = Evaluation.of(predict_logits(model, data.test_images), data.test_labels)
explore_lrp({"Netz": model}, {"Netz": result}, data.test_images, Watermark())
""".strip()
# Eine Zelle, die zählt, während sie rechnet.
SLOW_CELLS = [
    "from helpers.start import start\nstart('01_Daten')",
    "import time\nfrom helpers.basics import progress\nprint('vorher')\n"
    "for _ in progress(range(8), text='Suche', unit='Stellen'):\n    time.sleep(0.8)\nprint('nachher')",
]


@pytest.fixture(scope="module")
def chromium():
    """Ein Chromium für alle Tests dieser Datei; fehlt es, wird übersprungen – in der CI ist das ein Fehler."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, request):
    """Eine leere Seite; schlägt der Test fehl, liegt ihr Bild danach in ``ausgabe/browser/``."""
    # Der Bericht verbietet jedes Skript, auch das von axe: In Tests mit „accessible“ gilt das Verbot nicht.
    options = {"bypass_csp": "accessible" in request.node.name, "color_scheme": getattr(request, "param", "light")}
    context = chromium.new_context(viewport={"width": 1280, "height": 1600}, locale="de-DE", **options)
    page, failed = context.new_page(), request.session.testsfailed
    page.set_default_timeout(60_000)
    yield page
    if request.session.testsfailed > failed:
        name = re.sub(r"[^\w-]+", "-", request.node.name).strip("-")
        page.screenshot(path=ROOT / "ausgabe" / "browser" / f"{name}.png", full_page=True)
    context.close()


# --- JupyterLab ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """JupyterLab über Kopien der Notebooks, mit wenigen kleinen Bildern."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "kurs" / "notebooks"
    for name in (START_PAGE, *COURSE_NOTEBOOKS):
        notebook = with_parameters(read_notebook(NOTEBOOKS / f"{name}.ipynb"), SMALL.get(name, {}))
        write_notebook(notebooks / f"{name}.ipynb", notebook)
    for small, sources in {"klein": [SMALL_EXPLORER], "lang": SLOW_CELLS}.items():
        cells = [new_code_cell(source) for source in sources]
        write_notebook(notebooks / f"{small}.ipynb", new_notebook(cells=cells, metadata=KERNEL))
    with running_lab(folder, f"--ServerApp.root_dir={notebooks}", **ONE_THREAD) as started:
        yield started()


def open_notebook(page, lab, name: str) -> None:
    """Beendet alle früheren Kernel (jeder hält TensorFlow im Speicher), öffnet ein Notebook, wartet auf den Kernel.

    Vor „Leerlauf“ ginge eine Eingabe verloren.
    """
    for session in lab.get("/api/sessions"):
        page.request.delete(f"{lab.base}/api/sessions/{session['id']}", headers={"Authorization": f"token {lab.token}"})
    page.goto(f"{lab.base}/lab/tree/{name}.ipynb?reset&token={lab.token}")
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.wait_for()
    page.locator("#jp-main-statusbar", has_text=f"{KERNEL_TITLE} | Leerlauf").wait_for()


def cell(page, name: str, cell_id: str):
    position = [cell.id for cell in read_notebook(NOTEBOOKS / f"{name}.ipynb").cells].index(cell_id)
    return page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{position}"]')


def run_cells(page, name: str, *cell_ids: str):
    """Klickt in jede Zelle, führt sie mit Umschalt + Eingabetaste aus und wartet auf ihr Ende; ergibt die letzte."""
    for cell_id in cell_ids:
        target = cell(page, name, cell_id)
        target.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        target.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
    return target


def menu(page, title: str, entry: str) -> None:
    page.locator(".lm-MenuBar-item", has_text=title).click()
    page.locator(".lm-Menu-item", has_text=entry).click()


@pytest.mark.alles
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ORDER)
def test_restart_and_run_all_ends_without_error(page, lab, name):
    """Menü Kernel → „Kernel neu starten und alle Zellen ausführen…“; danach ist jede Zelle gelaufen, keine rot."""
    open_notebook(page, lab, name)
    menu(page, "Kernel", "Kernel neu starten und alle Zellen ausführen…")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    cells = code_cells(read_notebook(NOTEBOOKS / f"{name}.ipynb"))
    page.wait_for_function(
        """([errors, count]) => {
            const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
            return document.querySelector(errors) || prompts.filter(e => /\\d/.test(e.textContent)).length === count;
        }""",
        arg=[ERRORS, len(cells)],
        polling=500,
        timeout=480_000,  # nur gegen Hänger; ein langsamer Rechner neben anderen Tests braucht die Hälfte
    )
    # text_content, nicht inner_text: Was gerade nicht im Bild ist, zeichnet Chromium nicht.
    assert page.locator(ERRORS).all_text_contents() == []
    outputs = page.locator(".jp-OutputArea-output").all_text_contents()
    assert outputs[0].strip() == f"✔ {name}: Kernel und Pakete stimmen."
    assert not [text for text in outputs if "Die Zelle rechnet" in text]
    marks = [text for text in outputs if text.startswith("○ Aufgabe")]
    checks = [cell for cell in cells if cell.id.endswith("-pruefung")]
    assert len(marks) == len(checks), "eine ungelöste Aufgabe ist „noch nicht bearbeitet“"
    pictures = page.locator(".jp-OutputArea-output img").evaluate_all("all => all.map(each => each.naturalWidth)")
    assert len(pictures) >= 3 and min(pictures) > 0
    if name in WITH_EXPLORER:
        move_explorer(page, "auswahl", "Sneaker", "Sneaker")


def move_explorer(page, control: str, value: str, named: str) -> None:
    """Ein Bedienelement ändern: Bild, Beschreibung und Satz darunter werden andere; ein Klick auf „Stempeln“ auch."""
    box = page.locator(".kurs-erkunden")
    box.scroll_into_view_if_needed()
    picture, sentence = box.locator("img.kurs-erkunden-png"), box.locator("[role=status]")

    def changed(act) -> str:
        before = picture.get_attribute("src")
        act()
        page.wait_for_function("before => document.querySelector('img.kurs-erkunden-png').src !== before", arg=before)
        return picture.get_attribute("alt")

    picture.wait_for()
    first = picture.get_attribute("alt")
    second = changed(lambda: box.locator(f".kurs-erkunden-{control} select").select_option(label=value))
    assert named in second and second != first and sentence.inner_text().strip()
    stamped = changed(lambda: box.locator(".kurs-erkunden-stempeln").click())
    assert stamped != second and picture.evaluate("image => image.naturalWidth") > 300


def test_an_exercise_is_solved_by_typing_and_the_start_page_counts_it(page, lab):
    """Erst um ein Pixel daneben: ✘ mit Hinweis, beim zweiten Mal deutlicher; dann ✔, und die Startseite zählt mit."""
    name, both = "01_Daten", ("01-aufgabe-1-loesung", "01-aufgabe-1-pruefung")
    open_notebook(page, lab, name)
    run_cells(page, name, "01-start")
    answer = cell(page, name, both[0]).locator(".cm-content")
    answer.click()
    for key in ("Control+End", *["Backspace"] * len("...")):
        page.keyboard.press(key)
    page.keyboard.type('number = int(name.removeprefix("pixel"))\nreturn number // 28, number % 28')
    verdict = run_cells(page, name, *both)
    shown = verdict.locator(".jp-OutputArea-output").inner_text()
    assert shown.strip() == "✘ Aufgabe 1.1: Alle Stellen sind um ein Pixel verschoben."
    run_cells(page, name, both[1]).get_by_text("Ziehen Sie vor dem Teilen 1 ab.").wait_for()
    answer.click()
    for key in ("Control+End", "ArrowUp", "End"):
        page.keyboard.press(key)
    page.keyboard.type(" - 1")
    run_cells(page, name, *both)
    verdict.get_by_text("✔ Aufgabe 1.1: Wer weiß, welche Spalte welches Pixel ist").wait_for()
    assert read_json(lab.output / "fortschritt.json")["1.1"] == {"gelöst": True, "fehlversuche": 0}

    open_notebook(page, lab, START_PAGE)
    page.get_by_text(re.compile(r"^1 von \d+ Aufgaben gelöst\.")).wait_for()
    page.get_by_text("✔ Alles da").wait_for()
    page.locator(".jp-RenderedMarkdown td a", has_text="02_VGG16").click()
    page.locator(".lm-TabBar-tab.lm-mod-current", has_text="02_VGG16.ipynb").wait_for()
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-KernelName", has_text=KERNEL_TITLE).wait_for()
    # Der Weg aus einem falschen Kernel, wie ihn die erste Zelle dann nennt (test_start)
    menu(page, "Kernel", "Kernel wechseln…")
    page.locator(".jp-Dialog select").select_option(label=KERNEL_TITLE)
    page.locator(".jp-Dialog .jp-mod-accept").click()


def test_a_long_cell_shows_how_far_it_is_and_leaves_no_trace(page, lab):
    """Die Zeile steht unter der Zelle, geht weiter und ist am Ende weg, samt ihrem Platz."""
    open_notebook(page, lab, "lang")
    page.locator(".cm-content").first.click()
    for _ in SLOW_CELLS:
        page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-Cell").nth(1).locator(".jp-OutputArea-output")
    for count in (3, 6):
        page.get_by_text(re.compile(rf"^Die Zelle rechnet seit \d+ s\. Suche .*\| {count} von 8 Stellen")).wait_for()
    page.locator(".jp-Cell").nth(1).locator(".jp-InputPrompt", has_text="[2]").wait_for()
    assert output.all_text_contents() == ["vorher\n", "", "nachher\n"]
    assert output.nth(1).evaluate("line => line.getBoundingClientRect().height") == 0


def test_the_explorer_answers_and_shows_its_labels_whole(page, lab):
    """Regel, Parameter und Stempel ändern Bild und Satz; kein Eintrag einer Auswahl ist abgeschnitten."""
    open_notebook(page, lab, "klein")
    page.locator(".cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.locator("img.kurs-erkunden-png").wait_for(timeout=90_000)
    move_explorer(page, "regel", "LRP-αβ, α = 2, β = 1", "LRP-αβ")
    too_narrow = page.evaluate(
        """() => {
            const pen = document.createElement("canvas").getContext("2d");
            return [...document.querySelectorAll(".kurs-erkunden select")].flatMap(select => {
                pen.font = getComputedStyle(select).font;
                return [...select.options].map(option => option.text)
                    .filter(text => pen.measureText(text).width + 20 > select.clientWidth);  // 20: der Pfeil
            });
        }"""
    )
    assert too_narrow == []


# --- Der Bericht -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """``bericht.html`` mit allem, was ein ganzer Lauf hineinschreibt."""
    return build_report(whole_run(tmp_path_factory.mktemp("bericht")))


def violations(page, path) -> str:
    """Was axe an einer Seite auszusetzen hat, lesbar; leer heißt nichts."""
    from axe_playwright_python.sync_playwright import Axe

    page.goto(path.as_uri())
    return Axe().run(page).generate_snapshot()


@pytest.mark.parametrize("page", ["light", pytest.param("dark", marks=pytest.mark.alles)], indirect=True)
def test_report_is_accessible(page, report):
    assert violations(page, report) == ""


@pytest.mark.alles
@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_notebook_pages_are_accessible(page, report, name):
    """Auch die Seiten, auf die der Bericht verweist: lesbare Farben, Bilder mit Beschreibung, Tabellen mit Köpfen."""
    assert violations(page, report.parent / "notebooks" / f"{name}.html") == ""


@pytest.mark.alles
def test_review_pages_are_accessible(page, tmp_path):
    """Die Übersicht der Durchsicht und die Seite einer Abgabe, mit richtiger, falscher und fehlender Antwort."""
    known = references()
    found = read("anna/01", factory.save(factory.solved(), tmp_path / "a.ipynb"), known)
    result = Result(found, {"1.1": Verdict("falsch", ("Verschoben.",)), "1.2": Verdict("gelöst")}, {"1.2": 2.0})
    result.executed = [
        ("", "print('x' * 500)", [{"text": "x" * 500, "error": False}, {"text": "NameError: x", "error": True}])
    ]
    write([result], known, tmp_path / "aus" / "durchsicht", [])
    overview = tmp_path / "aus" / "durchsicht" / "durchsicht.html"
    assert violations(page, overview) == violations(page, tmp_path / "aus" / result.page) == ""


def test_report_is_valid_html(report):
    """html5lib meldet jeden Verstoß gegen die Grammatik von HTML5; eine falsch geschachtelte Tabelle fiele auf."""
    import html5lib

    parser = html5lib.HTMLParser()
    parser.parse(report.read_text(encoding="utf-8"))
    assert parser.errors == []


def test_report_prints_to_two_clean_pages(page, report, tmp_path):
    """Zwei A4-Seiten, beide gefüllt; die zweite beginnt mit einer Überschrift und endet mit dem Vertrauensbericht."""
    from pypdf import PdfReader

    page.goto(report.as_uri())
    page.pdf(path=tmp_path / "bericht.pdf", prefer_css_page_size=True, print_background=True)
    pages = PdfReader(tmp_path / "bericht.pdf").pages
    assert [[round(float(edge) / 72 * 25.4) for edge in each.mediabox[2:]] for each in pages] == [[210, 297]] * 2
    first, second = (each.extract_text() for each in pages)
    assert first.startswith("Traue keinem CNN – Bericht") and "Konfusionsmatrix" in first
    assert second.startswith("Die deutlichsten Fehler") and second.rstrip().endswith("zufrieden?")


def test_every_picture_of_the_report_links_to_its_cell(page, report):
    """Kein Bild ohne Verweis, und im Notebook daneben gibt es die Zelle, die genau dieses Bild speichert."""
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    figures = page.locator("figure")
    assert figures.count() == page.locator("img").count() == len(PICTURES)
    links = [link.get_attribute("href") for link in page.get_by_text(re.compile("Zur Zelle in")).all()]
    assert len(links) == figures.count() + 2  # Konfusionsmatrix und Vertrauensbericht sind Tabellen
    for link in links:
        file, _, anchor = link.partition("#")
        assert f'id="{anchor}"' in (report.parent / file).read_text(encoding="utf-8"), link
    page.get_by_text("Zur Zelle in 05_LRP").first.click()
    page.wait_for_url("**/05_LRP.html#cell-id=*")
    assert "ergebnis" in page.locator(f"[id='{page.url.partition('#')[2]}']").inner_text()
