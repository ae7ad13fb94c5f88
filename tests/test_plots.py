"""Bilder: jede Funktion ergibt eine Figur mit Titel, deutschen Zahlen und lesbaren, nicht abgeschnittenen Texten."""

import inspect
import itertools
import re
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from helpers import panels, plots
from helpers.basics import CLASS_NAMES, read_json
from helpers.data import Watermark
from helpers.scorecard import MEASURES
from helpers.trust import QUESTIONS

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (10, 28, 28)).astype(np.uint8)
CAMS = RNG.random((10, 64, 64))
RELEVANCE = RNG.normal(size=(10, 64, 64))
CONFUSION = (RNG.random((10, 10)) * 60).astype(int) + np.diag([850] * 10)
HISTORY = [
    dict(zip(("epoche", "verlust", "treffer", "val_verlust", "val_treffer"), [n, *RNG.random(4)], strict=True))
    for n in range(1, 7)
]
CONFIDENCE = RNG.random(400)
KERNELS = {"Kante": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]), "Mittel": np.full((3, 3), 1 / 9)}
EVALUATION = SimpleNamespace(predictions=np.arange(10)[::-1], labels=np.arange(10))
CLASSES = np.arange(10)

METHODS = ("Grad-CAM", "LRP-α2β1 (ohne Bias)", "Zufall")
CHECK = {"wert": 0.9, "tief": 0.8, "hoch": 1.0}
TRUSTED = {
    "urteil": "nicht entscheidbar",
    "pruefungen": {
        name: {"frage": question.text, "antwort": answer, **CHECK}
        for (name, question), answer in zip(QUESTIONS.items(), ("ja", "nein", "offen") * 3, strict=False)
    },
}

CARD = {name: {key: (0.523, 0.4, 0.6) for key in MEASURES} | {"ms": (12, 12, 12)} for name in METHODS}
FILTERED = {name: RNG.normal(size=(26, 26)) for name in KERNELS}
FIELDS = {"block1_conv1": 3, "block3_conv3": 40, "block5_conv3": 196}
RELIABLE = {"sauber": (CONFIDENCE, CONFIDENCE > 0.5), "Zwilling": (CONFIDENCE, CONFIDENCE > 0.2)}

# Jede öffentliche Funktion, die eine Figur ergibt, mit mindestens einem typischen Aufruf.
CALLS = [
    (plots.image_grid, PICTURES[:7], [f"{n}\nzwei Zeilen" for n in CLASS_NAMES[:7]], 4, "Sieben"),
    (plots.class_balance, {"TRAIN": np.full(10, 12_000), "TEST": np.arange(10) * 1000}),
    (plots.histogram, {"a": RNG.normal(size=900) * 2000, "b": PICTURES}, "Grauwert", "Pixel", "Verteilung"),
    (plots.bars, {"Grad-CAM": 0.123, "LRP-ε": 0.5, "Zufall": 0.03}, "Anteil", "Masse in der Maske"),
    (plots.bars, {name: 0.9 for name in CLASS_NAMES}, "Trefferquote", "Je Klasse", 2, 1),
    (plots.lines, {"a": [0.1, 0.5, 0.3], "b": [1, 0.5, 0.2]}, "Schritt", "Logit", "Zwei Linien", [0, 5, 10]),
    (plots.lines, {"a": RNG.random(30)}, "x", "y", "Eine", np.linspace(0, 1, 30), (0, 1)),
    (plots.learning_curves, {"sauber": HISTORY, "kurz": HISTORY[:1]}),
    (plots.confusion_matrix, CONFUSION),
    (plots.reliability, RELIABLE),
    (plots.result_page, PICTURES, CAMS, {"LRP-ε": RELEVANCE, "LRP-α1β0": RELEVANCE}, CLASSES),
    (plots.result_page, PICTURES[:2], None, {"Zwilling": RELEVANCE}, [4, 4], "Zwei", None, Watermark().mask),
    (plots.scorecard, CARD, MEASURES),
    (plots.scorecard, {"a": {"masse": (1, 0.5, 1.2)}, "b": {"masse": (0.2, 0.1, 0.3)}}, MEASURES, "Kurz"),
    (plots.groups, PICTURES, RNG.random((2, 16, 16)), [0, 1] * 5, (15, 1)),
    (plots.groups, PICTURES, RNG.random((2, 8, 8)), [0] * 9 + [1], (0, 7), "Eine Gruppe mit einem Bild"),
    (plots.trust_answers, {"sauberes Modell": TRUSTED, "Zwilling": TRUSTED}),
    (plots.pixel_numbers, PICTURES[0], 10, 12),
    (plots.tiles, RNG.random((64, 3, 3, 3)), 16, "64 Filter"),
    (plots.tiles, PICTURES, 5, "Zehn", "Grauwert"),
    (plots.filter_results, PICTURES[0], KERNELS, FILTERED, "Kerne"),
    (plots.receptive_fields, CAMS[0] * 255, FIELDS),
    (plots.heatmap_steps, PICTURES[:6], RNG.random((6, 4, 4)), CAMS[:6]),
    (plots.mistakes, PICTURES[:6], CAMS[:6], CAMS[:6], EVALUATION, range(6)),
    (plots.mean_cams, {"sauber": CAMS, "vergiftet": CAMS}),
    (plots.similarity_steps, {"Grad-CAM": [1, 0.5, 0.2], "Kanten": [1, 1, 1]}, ["nichts", "logits", "block5"]),
    (plots.conservation, RNG.normal(size=30) * 9, RNG.normal(size=30) * 9),
    (plots.panel, [("eine Zeile", [lambda ax: panels.draw_relevance(ax, RELEVANCE[0])])], "Ein Feld"),
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def visible_texts(figure):
    """Alle gezeichneten Texte mit ihrem Rechteck in Pixeln."""
    renderer = figure.canvas.get_renderer()
    hidden = hidden_tick_labels(figure)
    return [
        (text, text.get_window_extent(renderer))
        for text in figure.findobj(plt.Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def axes_of(figure):
    return [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]


def tick_texts(axis):
    hidden = hidden_tick_labels(axis.figure)
    return [label.get_text() for label in axis.get_ticklabels() if label.get_visible() and label not in hidden]


def hidden_tick_labels(figure):
    """Achsenmarken außerhalb des gezeigten Bereichs legt matplotlib an, ohne sie zu zeichnen."""
    hidden = set()
    for axis in axes_of(figure):
        low, high = sorted(axis.get_view_interval())
        margin = (high - low) * 1e-6
        for tick in axis.majorTicks + axis.minorTicks:
            if not axis.get_visible() or not low - margin <= tick.get_loc() <= high + margin:
                hidden |= {tick.label1, tick.label2}
    return hidden


# --- Gilt für jede Figur ----------------------------------------------------------------------------------------------


def test_jede_oeffentliche_funktion_kommt_hier_vor():
    """Wer eine Funktion dazuschreibt, trägt sie oben mit einem Aufruf ein."""
    parts = {"save", "german_tick", "ink", "bare", "color_scale", "row"}
    public = {
        name
        for module in (plots, panels)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith(("_", "draw_"))
    }
    assert public - parts == {function.__name__ for function, *_ in CALLS}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0].__name__)
def test_figur(call):
    function, *arguments = call
    figure = function(*arguments)
    assert isinstance(figure, plt.Figure)
    check_figure(figure)


def check_figure(figure):
    """Was für jedes Bild des Kurses gilt, auch für das des Explorers."""
    figure.canvas.draw()
    titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    assert any(title.strip() for title in titles), "ohne Titel"
    # Deckend hell: Im dunklen Thema von JupyterLab stünde sonst schwarze Schrift auf Dunkelgrau.
    for color in [figure.get_facecolor(), *(ax.get_facecolor() for ax in figure.axes)]:
        assert color[3] == 1 and min(color[:3]) > 0.9
    assert_german_numbers(figure)
    assert_texts_inside(figure)
    assert_texts_apart(figure)
    assert_axes_named(figure)
    assert_readable(figure)


def assert_german_numbers(figure):
    for text, _ in visible_texts(figure):
        if re.fullmatch(r"[-−+±]?\d[\d.,]*", number := text.get_text().strip()):
            assert re.fullmatch(r"[−+±]?(\d{1,3}(\.\d{3})*|\d+)(,\d+)?", number), f"keine deutsche Zahl: {number}"


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


def assert_axes_named(figure):
    for axis in axes_of(figure):
        numbers = [text for text in tick_texts(axis) if re.fullmatch(r"[−\d.,]+", text)]
        assert len(numbers) == len(set(numbers)), f"doppelte Marken, zu grob gerundet: {numbers}"
        assert not (axis.axes.axison and numbers) or axis.get_label_text(), f"Achse ohne Namen, Marken {numbers}"


def linear_rgb(colors):
    """sRGB (…, 3 oder 4), 0–1, ohne Gammakurve (…, 3)."""
    colors = np.asarray(colors, dtype=float)[..., :3]
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def luminance(colors):
    """Relative Leuchtdichte (WCAG 2.2)."""
    return linear_rgb(colors) @ (0.2126, 0.7152, 0.0722)


def assert_readable(figure):
    """Jeder Text hebt sich mit mindestens 4,5 : 1 von dem ab, was unter ihm gezeichnet ist."""
    texts = visible_texts(figure)
    for text, _ in texts:
        text.set_alpha(0)
    figure.canvas.draw()
    ground = luminance(np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3] / 255)
    for text, box in texts:
        below = ground[max(0, int(box.y0)) : int(box.y1) + 1, max(0, int(box.x0)) : int(box.x1) + 1]
        own = luminance(to_rgb(text.get_color()))
        contrast = (np.maximum(below, own) + 0.05) / (np.minimum(below, own) + 0.05)
        worst = np.quantile(contrast, 0.1)  # eine Gitterlinie darf durch den Text gehen
        assert worst >= 4.5, f"{text.get_text()!r} hebt sich nur {worst:.1f} : 1 ab"


@pytest.mark.parametrize("color", ["#767676", "#D55E00", "#4292c6", "#6baed6", (0.0, 0.0, 1.0), "white", "black"])
def test_schwarz_oder_weiss_ist_immer_lesbar(color):
    """Weiß auf Mittelblau hatte 2,3 : 1."""
    ground, own = luminance(to_rgb(color)), luminance(to_rgb(panels.ink(color)))
    assert (max(ground, own) + 0.05) / (min(ground, own) + 0.05) >= 4.5


# --- Einzelnes ------------------------------------------------------------------------------------------------------


def test_speichern_schreibt_bild_und_text(ausgabe):
    figure = plots.lines({"a": [1, 2]}, "x", "y", "Linie", [1, 2])
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


def test_konfusionsmatrix_zeigt_anteile_der_zeile():
    confusion = np.zeros((10, 10), int)
    confusion[2, 3], confusion[2, 2] = 25, 75
    ax = plots.confusion_matrix(confusion).axes[0]
    texts = {tuple(text.get_position()[::-1]): text.get_text() for text in ax.texts if text.get_text()}
    assert texts == {(2, 3): "25", (2, 2): "75"}
    np.testing.assert_allclose(ax.images[0].get_array()[2, 2:4], [0.75, 0.25])


def test_wertungstafel_faerbt_nach_der_richtung_des_masses():
    """Das Beste ist dunkel, ob groß oder klein gut ist; eine Kontrolle bleibt hell."""
    up, down, neutral = (next(k for k, m in MEASURES.items() if m.better == sign) for sign in (1, -1, 0))
    card = {
        "a": {up: (0.9, 0, 1), down: (0.1, 0, 1), neutral: (5, 0, 1)},
        "b": {up: (0.2, 0, 1), down: (0.8, 0, 1), neutral: (6, 0, 1)},
    }
    shade = plots.scorecard(card, MEASURES).axes[0].images[0].get_array()
    columns = {name: shade[:, n] for n, name in enumerate(name for name in MEASURES if name in card["a"])}
    assert columns[up][0] > columns[up][1] and columns[down][0] > columns[down][1] and not columns[neutral].any()


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
    picture = panels.draw_relevance(ax, relevance)
    low, high = picture.get_clim()
    assert low == -high
    color = {name: picture.cmap(picture.norm(value))[:3] for name, value in (("+", 1), ("0", 0), ("-", -1))}
    assert color["+"][0] > color["+"][2] and color["-"][2] > color["-"][0], "rot dafür, blau dagegen"
    assert min(color["0"]) > 0.9, "null ist weiß"
    drawn = picture.get_array()
    assert drawn[3, 4] == -drawn[5, 6] > 0
    panels.draw_relevance(ax, np.zeros((20, 20)))


def test_grad_cam_liegt_ueber_dem_rohbild():
    _, ax = plt.subplots()
    panels.draw_cam(ax, PICTURES[0], CAMS[0], "Titel")
    below, above = ax.images
    np.testing.assert_array_equal(below.get_array(), PICTURES[0])
    assert below.get_extent() == above.get_extent(), "28 × 28 und 64 × 64 liegen deckungsgleich"
    assert 0 < above.get_alpha() < 1 and above.get_clim() == (0, 1) and below.get_clim() == (0, 255)


def test_maskenrahmen_liegt_um_die_maske():
    _, ax = plt.subplots()
    panels.draw_relevance(ax, np.zeros((56, 56)), mask=Watermark(size=4, top=20, left=2).mask)
    frame = ax.patches[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (3.5, 39.5, 8, 8)


# Machado, Oliveira, Fernandes (2009), A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE
# TVCG 15(6): volle Ausprägung, auf lineares RGB anzuwenden.
SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def seen(colors, sight):
    """sRGB (n, 3 oder 4), 0–1, so gesehen, als CIELAB (n, 3): Helligkeit L* 0–100, a*, b*."""
    linear = np.clip(linear_rgb(colors) @ np.transpose(SIGHT[sight]), 0, 1)
    x, y, z = (linear @ XYZ.T / XYZ.sum(axis=1)).T
    f = [np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=-1)


def smallest_distance(colors, sight):
    """Kleinster Abstand (ΔE 1976) zweier Farben; ab etwa 10 sieht man ihn auf einen Blick."""
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen(colors, sight), 2))


def lightness_is_monotone(name, sight):
    steps = np.diff(seen(matplotlib.colormaps[name](np.linspace(0, 1, 64)), sight)[:, 0])
    return bool((steps > 0).all() or (steps < 0).all())


@pytest.mark.parametrize("sight", SIGHT)
def test_farben_sind_auch_fuer_farbenblinde_verschieden(sight):
    assert all(lightness_is_monotone(name, sight) for name in (panels.CAM_COLORS, "Blues", "gray"))
    relevance = matplotlib.colormaps[panels.RELEVANCE_COLORS]
    for strength in (0.12, 0.25, 0.37, 0.5):
        assert smallest_distance(relevance([0.5 - strength, 0.5 + strength]), sight) > 20, "dafür sieht aus wie dagegen"
    assert smallest_distance([to_rgb(color) for color in panels.COLORS], sight) > 15
    answers = [to_rgb(plots.ANSWER_COLORS[answer]) for answer in ("ja", "nein", "offen")]
    assert smallest_distance(answers, sight) > 30
