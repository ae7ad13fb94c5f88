"""Bilder: jede Funktion ergibt eine Figur mit Titel, deutschen Zahlen und lesbaren, nicht abgeschnittenen Texten."""

import inspect
import itertools
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from helpers import plots
from helpers.basics import CLASS_NAMES, read_json
from helpers.data import Watermark

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (10, 28, 28)).astype(np.uint8)
CAMS = RNG.random((10, 64, 64))
RELEVANCE = RNG.normal(size=(10, 64, 64))
CONFUSION = (RNG.random((10, 10)) * 60).astype(int) + np.diag([850] * 10)
HISTORY = [
    {"epoche": n, "verlust": 1 / n, "treffer": 1 - 0.4 / n, "val_verlust": 1.1 / n, "val_treffer": 1 - 0.5 / n}
    for n in range(1, 7)
]
CONFIDENCE = RNG.random(400)
KERNELS = {"Kante": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]), "Mittel": np.full((3, 3), 1 / 9)}
EVALUATION = SimpleNamespace(predictions=np.arange(10)[::-1], labels=np.arange(10))
CLASSES = np.arange(10)

# Jede öffentliche Funktion, die eine Figur ergibt, mit mindestens einem typischen Aufruf.
CALLS = {
    "image_grid": [
        lambda: plots.image_grid(PICTURES, CLASS_NAMES, title="Zehn Klassen"),
        lambda: plots.image_grid(PICTURES[:7], [f"{n}\nzwei Zeilen" for n in CLASS_NAMES[:7]], 4, "Sieben"),
        lambda: plots.image_grid(PICTURES[:3], title="Drei ohne Überschrift"),
    ],
    "class_balance": [
        lambda: plots.class_balance({"TRAIN": np.full(10, 12_000), "TEST": np.arange(10) * 1000}),
        lambda: plots.class_balance({"TRAIN": np.arange(10) * 700}),
    ],
    "histogram": [
        lambda: plots.histogram({"a": RNG.normal(size=900) * 2000, "b": PICTURES}, "Grauwert", "Pixel", "Verteilung"),
        lambda: plots.histogram({"a": RNG.random(900)}, "Anteil", "Bilder", "Verteilung", digits=1),
    ],
    "bars": [
        lambda: plots.bars({"Grad-CAM": 0.123, "LRP-ε": 0.5, "Zufall": 0.03}, "Anteil", "Masse in der Maske"),
        lambda: plots.bars({name: 0.9 for name in CLASS_NAMES}, "Trefferquote", "Je Klasse", limit=1),
    ],
    "lines": [
        lambda: plots.lines({"a": [0.1, 0.5, 0.3], "b": [1, 0.5, 0.2]}, "Schritt", "Logit", "Zwei Linien"),
        lambda: plots.lines({"a": RNG.random(30)}, "x", "y", "Eine", x=np.linspace(0, 1, 30), ylim=(0, 1)),
    ],
    "growth": [
        lambda: plots.growth((1, 16, 64), {"Grad-CAM": [0.1, 0.5, 2]}, (32, 64), {"Grad-CAM": [4, 12]}),
        lambda: plots.growth((16, 64), {"a": [0.1, 9], "b": [2, 3]}, (32, 224), {"a": [1, 2], "b": [40, 400]}),
    ],
    "learning_curves": [
        lambda: plots.learning_curves({"sauber": HISTORY}),
        lambda: plots.learning_curves({"sauber": HISTORY, "vergiftet": HISTORY[:4]}),
    ],
    "confusion_matrix": [lambda: plots.confusion_matrix(CONFUSION)],
    "reliability": [
        lambda: plots.reliability(
            {"sauber": (CONFIDENCE, CONFIDENCE > 0.5), "Zwilling": (CONFIDENCE, CONFIDENCE > 0.2)}
        )
    ],
    "result_page": [
        lambda: plots.result_page(PICTURES, CAMS, {"LRP-ε": RELEVANCE, "LRP-α1β0": RELEVANCE}, CLASSES),
        lambda: plots.result_page(PICTURES, None, {"LRP-Preset A": RELEVANCE}, CLASSES, "Ohne Grad-CAM"),
        lambda: plots.result_page(PICTURES, CAMS, {}, CLASSES, "Ohne LRP"),
    ],
    "table_picture": [
        lambda: plots.table_picture(
            ["Grad-CAM", "LRP-α2β1 (ohne Bias)", "Zufall"],
            ["Treue", "Masse in der Maske", "Sekunden"],
            [[0.5, 0.123, 1.5], [0.7, np.nan, 12], [0.1, 0.034, 0]],
            "Wertung",
            better=[1, 1, -1],
        )
    ],
    "pixel_numbers": [lambda: plots.pixel_numbers(PICTURES[0], 10, 12)],
    "tiles": [
        lambda: plots.tiles(RNG.random((64, 3, 3, 3)), title="64 Filter"),
        lambda: plots.tiles(PICTURES, 5, title="Zehn", label="Grauwert"),
    ],
    "filter_results": [
        lambda: plots.filter_results(PICTURES[0], KERNELS, {name: RNG.normal(size=(26, 26)) for name in KERNELS})
    ],
    "receptive_fields": [
        lambda: plots.receptive_fields(CAMS[0] * 255, {"block1_conv1": 3, "block3_conv3": 40, "block5_conv3": 196})
    ],
    "heatmap_steps": [lambda: plots.heatmap_steps(PICTURES[:6], RNG.random((6, 4, 4)), CAMS[:6])],
    "mistakes": [lambda: plots.mistakes(PICTURES[:6], CAMS[:6], CAMS[:6], EVALUATION, range(6))],
    "mean_cams": [lambda: plots.mean_cams({"sauber": CAMS, "vergiftet": CAMS})],
    "similarity_steps": [
        lambda: plots.similarity_steps({"Grad-CAM": [1, 0.5, 0.2], "Kanten": [1, 1, 1]}, ["nichts", "logits", "block5"])
    ],
    "conservation": [lambda: plots.conservation(RNG.normal(size=30) * 9, RNG.normal(size=30) * 9)],
    "twin_page": [
        lambda: plots.twin_page(PICTURES[:5], {"sauber": RELEVANCE[:5], "vergiftet": RELEVANCE[:5]}, Watermark().mask)
    ],
}
CASES = [pytest.param(name, call, id=f"{name}-{n}") for name, calls in CALLS.items() for n, call in enumerate(calls)]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def figure(request):
    figure = request.param()
    figure.canvas.draw()
    return figure


def visible_texts(figure):
    """Alle gezeichneten Texte mit ihrem Rechteck in Pixeln."""
    renderer = figure.canvas.get_renderer()
    hidden = hidden_tick_labels(figure)
    return [
        (text, text.get_window_extent(renderer))
        for text in figure.findobj(plt.Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def hidden_tick_labels(figure):
    """Achsenmarken außerhalb des gezeigten Bereichs legt matplotlib an, ohne sie zu zeichnen."""
    hidden = set()
    for axis in [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        margin = (high - low) * 1e-6
        for tick in axis.majorTicks + axis.minorTicks:
            if not axis.get_visible() or not low - margin <= tick.get_loc() <= high + margin:
                hidden |= {tick.label1, tick.label2}
    return hidden


def number_texts(figure):
    pattern = re.compile(r"[-−+±]?\d[\d.,]*")
    return [text.get_text() for text, _ in visible_texts(figure) if pattern.fullmatch(text.get_text().strip())]


# --- Gilt für jede Figur ----------------------------------------------------------------------------------------------


def test_jede_oeffentliche_funktion_kommt_hier_vor():
    """Wer eine Funktion dazuschreibt, trägt sie oben mit einem Aufruf ein."""
    parts = {"german_axis", "save", "confusion_text", "draw_image", "draw_cam", "draw_relevance", "with_mask"}
    public = {
        name
        for name, function in inspect.getmembers(plots, inspect.isfunction)
        if function.__module__ == plots.__name__ and not name.startswith("_")
    }
    assert public - parts == set(CALLS)


@pytest.mark.parametrize(("name", "call"), CASES)
def test_figur(name, call):
    figure = call()
    assert isinstance(figure, plt.Figure)
    figure.canvas.draw()
    titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    assert any(title.strip() for title in titles), "ohne Titel"
    assert_german_numbers(figure)
    assert_texts_inside(figure)
    assert_texts_apart(figure)


def assert_german_numbers(figure):
    for text in number_texts(figure):
        assert re.fullmatch(r"[-−+±]?(\d{1,3}(\.\d{3})*|\d+)(,\d+)?", text.strip()), f"keine deutsche Zahl: {text}"
        assert "-" not in text, f"Bindestrich statt Minus: {text}"


def assert_texts_inside(figure):
    """Gespeichert und in Notebooks gezeigt wird der Rahmen um alles Gezeichnete; hier muss auch die Figur reichen."""
    for text, box in visible_texts(figure):
        inside = box.x0 >= -2 and box.y0 >= -2 and box.x1 <= figure.bbox.x1 + 2 and box.y1 <= figure.bbox.y1 + 2
        assert inside, f"abgeschnitten: {text.get_text()!r} {box} in {figure.bbox}"


def assert_texts_apart(figure):
    """Überschriften und Achsenmarken überdecken einander nicht."""
    boxes = [(text.get_text(), box) for text, box in visible_texts(figure) if not text.get_rotation()]
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (width > 2 and height > 3), f"{first!r} überdeckt {second!r} um {width:.0f} × {height:.0f} Pixel"


@pytest.mark.parametrize(
    ("break_it", "check"),
    [
        (lambda ax: ax.set_xticks([0.5], ["0.5"]), assert_german_numbers),
        (lambda ax: ax.set_xticks([0.5], ["-1,5"]), assert_german_numbers),
        (lambda ax: ax.text(1.4, 0.5, "weit draußen", transform=ax.transAxes), assert_texts_inside),
        (lambda ax: [ax.text(0.5, 0.5, "einer"), ax.text(0.5, 0.5, "zwei")], assert_texts_apart),
    ],
)
def test_die_pruefungen_schlagen_an(break_it, check):
    figure, ax = plt.subplots()
    plots.german_axis(ax.xaxis)
    plots.german_axis(ax.yaxis)
    ax.set_title("gut")
    figure.canvas.draw()
    check(figure)
    break_it(ax)
    figure.canvas.draw()
    with pytest.raises(AssertionError):
        check(figure)


# --- Einzelnes ------------------------------------------------------------------------------------------------------


def test_speichern_schreibt_bild_und_text(ausgabe):
    figure = plots.lines({"a": [1, 2]}, "x", "y", "Linie")
    path = plots.save(figure, "lernkurven", "Überschrift", "Ein Satz.", "03_Training")
    assert path == ausgabe / "bilder" / "lernkurven.png"
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG" and min(picture.size) > 300
    note = read_json(path.with_suffix(".json"))
    assert note == {"titel": "Überschrift", "text": "Ein Satz.", "zelle": "03_Training"}
    assert plt.fignum_exists(figure.number), "das Notebook will die Figur danach noch zeigen"
    plots.save(figure, "lernkurven", "neu", "Ein Satz.", "03_Training")
    assert read_json(path.with_suffix(".json"))["titel"] == "neu" and len(list(path.parent.iterdir())) == 2


def test_konfusion_als_text():
    text = plots.confusion_text(CONFUSION)
    lines = text.splitlines()
    assert len(lines) == 12
    for label, line in enumerate(lines[2:]):
        assert CLASS_NAMES[label] in line
        assert [int(number) for number in line.split()[-10:]] == CONFUSION[label].tolist()
    assert len({len(line) for line in lines[1:]}) == 1, "die Spalten stehen untereinander"


def test_konfusionsmatrix_zeigt_anteile_der_zeile():
    confusion = np.zeros((10, 10), int)
    confusion[2, 3], confusion[2, 2] = 25, 75
    figure = plots.confusion_matrix(confusion)
    ax = figure.axes[0]
    texts = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}
    assert texts == {(2, 3): "25", (2, 2): "75"}
    np.testing.assert_allclose(ax.images[0].get_array()[2, 2:4], [0.75, 0.25])


def test_ergebnisseite_nennt_zeilen_und_klassen():
    figure = plots.result_page(PICTURES[:4], CAMS[:4], {"LRP-ε": RELEVANCE[:4]}, [9, 1, 4, 2])
    texts = {text.get_text() for text, _ in visible_texts(figure)}
    assert {"Rohbild", "Grad-CAM", "LRP-ε", "Stiefelette", "Hose", "Mantel", "Pullover"} <= texts
    assert any("rot dafür, blau dagegen" in text for text in texts), "die Farbskala steht im Bild"
    captioned = plots.result_page(PICTURES[:4], CAMS[:4], {}, [0] * 4, captions=["als Hose erkannt", "b", "c", "d"])
    assert "als Hose erkannt" in {text.get_text() for text, _ in visible_texts(captioned)}


def test_relevanz_ist_um_null_zentriert():
    _, ax = plt.subplots()
    relevance = np.zeros((20, 20))
    relevance[3, 4], relevance[5, 6] = 2.0, -2.0
    picture = plots.draw_relevance(ax, relevance)
    low, high = picture.get_clim()
    assert low == -high
    color = {name: picture.cmap(picture.norm(value))[:3] for name, value in (("+", 1), ("0", 0), ("-", -1))}
    assert color["+"][0] > color["+"][2] and color["-"][2] > color["-"][0], "rot dafür, blau dagegen"
    assert min(color["0"]) > 0.9, "null ist weiß"
    drawn = picture.get_array()
    assert drawn[3, 4] == -drawn[5, 6] > 0
    plots.draw_relevance(ax, np.zeros((20, 20)))


def test_grad_cam_liegt_ueber_dem_rohbild():
    _, ax = plt.subplots()
    plots.draw_cam(ax, PICTURES[0], CAMS[0], "Titel")
    below, above = ax.images
    np.testing.assert_array_equal(below.get_array(), PICTURES[0])
    assert below.get_extent() == above.get_extent(), "28 × 28 und 64 × 64 liegen deckungsgleich"
    assert 0 < above.get_alpha() < 1 and above.get_clim() == (0, 1) and below.get_clim() == (0, 255)


def test_maskenrahmen_liegt_um_die_maske():
    _, ax = plt.subplots()
    ax.imshow(np.zeros((56, 56)))
    plots.with_mask(ax, Watermark(size=4, top=20, left=2).mask, 56)
    frame = ax.patches[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (3.5, 39.5, 8, 8)


def test_tabelle_zeigt_zahlen_und_luecken():
    figure = plots.table_picture(["a", "b"], ["x", "y"], [[0.5, np.nan], [0.25, 3]], "T", better=[1, -1])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0,50", "–", "0,25", "3,00"]
    assert {"a", "b", "x", "y"} <= {text.get_text() for text, _ in visible_texts(figure)}


def test_farben_sind_auch_fuer_farbenblinde_verschieden():
    """Helligkeit allein trennt die ersten drei Linienfarben nicht, aber keine zwei sind gleich."""
    colors = plots.STYLE["axes.prop_cycle"].by_key()["color"]
    assert len(set(colors)) == len(colors) >= 6
    for a, b in itertools.combinations(colors, 2):
        assert np.abs(np.subtract(to_rgb(a), to_rgb(b))).sum() > 0.3


def test_eine_gleichmaessige_spalte_stoert_die_tabelle_nicht():
    plots.table_picture(["a", "b"], ["x"], [[1], [1]], "gleich").canvas.draw()
