"""Bilder: jede Funktion ergibt eine Figur mit Titel, deutschen Zahlen und lesbaren, nicht abgeschnittenen Texten."""

import itertools
import re
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from helpers import plots
from helpers.basics import CLASS_NAMES, read_json
from helpers.data import Watermark
from helpers.inner import panels
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
CHECK = {"wert": 0.9, "tief": 0.8, "hoch": 1.0}
TRUSTED = {
    "urteil": "nicht entscheidbar",
    "pruefungen": {
        name: {"frage": question.text, "antwort": answer, **CHECK}
        for (name, question), answer in zip(QUESTIONS.items(), ("ja", "nein", "offen") * 3, strict=False)
    },
}
CARD = {name: {key: (0.523, 0.4, 0.6) for key in MEASURES} | {"ms": (12, 12, 12)} for name in ("LRP-α2β1", "Zufall")}
FILTERED = {name: RNG.normal(size=(26, 26)) for name in KERNELS}
FIELDS = {"block1_conv1": 3, "block3_conv3": 40, "block5_conv3": 196}
RELIABLE = {"sauber": (CONFIDENCE, CONFIDENCE > 0.5), "Zwilling": (CONFIDENCE, CONFIDENCE > 0.2)}

# Jede öffentliche Funktion, die eine Figur ergibt, mit mindestens einem typischen Aufruf.
CALLS = [
    (plots.image_grid, PICTURES[:7], [f"{n}\nzwei Zeilen" for n in CLASS_NAMES[:7]], 4, "Sieben"),
    (plots.image_grid, PICTURES[:0], [], 8, "Zweifelhafte Bilder"),
    (plots.class_balance, {"TRAIN": np.full(10, 12_000), "TEST": np.arange(10) * 1000}),
    (plots.histogram, {"a": RNG.normal(size=900) * 2000, "b": PICTURES}, "Grauwert", "Pixel", "Verteilung"),
    (plots.bars, {"Grad-CAM": 0.123, "LRP-ε": 0.5, "Zufall": 0.03}, "Anteil", "Masse in der Maske"),
    (plots.bars, {name: 0.9 for name in CLASS_NAMES}, "Trefferquote", "Je Klasse", 2, 1),
    (plots.lines, {"a": [0.1, 0.5, 0.3], "b": [1, 0.5, 0.2]}, "Schritt", "Logit", "Zwei Linien", [0, 5, 10]),
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
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def drawn_texts(figure):
    """Alle gezeichneten Texte mit ihrem Rechteck in Pixeln, und je Achse ihre Marken."""
    renderer, hidden, ticks = figure.canvas.get_renderer(), set(), {}
    for axis in [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]:
        # Marken außerhalb des gezeigten Bereichs legt matplotlib an, ohne sie zu zeichnen.
        low, high = sorted(axis.get_view_interval())
        margin = (high - low) * 1e-6
        for tick in axis.majorTicks + axis.minorTicks:
            if not axis.get_visible() or not low - margin <= tick.get_loc() <= high + margin:
                hidden |= {tick.label1, tick.label2}
        ticks[axis] = [each.get_text() for each in axis.get_ticklabels() if each.get_visible() and each not in hidden]
    texts = [text for text in figure.findobj(plt.Text) if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent(renderer)) for text in texts if text not in hidden], ticks


def luminance(colors):
    """Relative Leuchtdichte (WCAG 2.2) von sRGB (…, 3), 0–1."""
    colors = np.asarray(colors)
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0].__name__)
def test_figur(call):
    function, *arguments = call
    check_figure(function(*arguments))


def check_figure(figure):
    """Was für jedes Bild des Kurses gilt, auch für das des Explorers."""
    figure.canvas.draw()
    assert figure.get_suptitle() or any(ax.get_title().strip() for ax in figure.axes), "ohne Titel"
    # Deckend hell: Im dunklen Thema von JupyterLab stünde sonst schwarze Schrift auf Dunkelgrau.
    for color in [figure.get_facecolor(), *(ax.get_facecolor() for ax in figure.axes)]:
        assert color[3] == 1 and min(color[:3]) > 0.9
    texts, ticks = drawn_texts(figure)
    for text, box in texts:
        inside = box.x0 >= -2 and box.y0 >= -2 and box.x1 <= figure.bbox.x1 + 2 and box.y1 <= figure.bbox.y1 + 2
        assert inside, f"abgeschnitten: {text.get_text()!r} {box} in {figure.bbox}"
        if re.fullmatch(r"[-−+±]?\d[\d.,]*", number := text.get_text().strip()):
            assert re.fullmatch(r"[−+±]?(\d{1,3}(\.\d{3})*|\d+)(,\d+)?", number), f"keine deutsche Zahl: {number}"
    level = [(text.get_text(), box) for text, box in texts if not text.get_rotation()]
    for (first, a), (second, b) in itertools.combinations(level, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (width > 2 and height > 3), f"{first!r} überdeckt {second!r} um {width:.0f} × {height:.0f} Pixel"
    for axis, marks in ticks.items():
        numbers = [text for text in marks if re.fullmatch(r"[−\d.,]+", text)]
        assert len(numbers) == len(set(numbers)), f"doppelte Marken, zu grob gerundet: {numbers}"
        assert not (axis.axes.axison and numbers) or axis.get_label_text(), f"Achse ohne Namen, Marken {numbers}"
    assert_readable(figure, texts)


def assert_readable(figure, texts):
    """Jeder Text hebt sich mit mindestens 4,5 : 1 von dem ab, was unter ihm gezeichnet ist."""
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


def test_auch_ein_balken_unter_null_ist_zu_sehen():
    """In 04 gewinnt manche Klasse durch den Eingriff ein wenig: Auch das ist ein Ergebnis."""
    figure = plots.bars({"Hose": 0.4, "Hemd": -0.02}, "Verlust", "Je Klasse")
    assert figure.axes[0].get_ylim()[0] < -0.02
    check_figure(figure)


def test_die_zahlen_in_der_konfusionsmatrix_sind_die_der_matrix():
    ax = plots.confusion_matrix(CONFUSION).axes[0]
    drawn = {text.get_position(): text.get_text() for text in ax.texts}
    for (truth, answer), count in np.ndenumerate(CONFUSION):
        percent = 100 * count / CONFUSION[truth].sum()
        assert drawn[answer, truth] == (f"{percent:.0f}" if percent >= 0.5 else "")
        assert ax.images[0].get_array()[truth, answer] == pytest.approx(percent / 100)
    assert ax.get_ylabel() == "wahre Klasse" and [each.get_text() for each in ax.get_yticklabels()] == list(CLASS_NAMES)


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
    texts = {text.get_text() for text in figure.findobj(plt.Text)}
    assert {"Rohbild", "Grad-CAM", "LRP-ε", "Stiefelette", "Hose", "Mantel", "Pullover"} <= texts
    assert any("rot dafür, blau dagegen" in text for text in texts), "die Farbskala steht im Bild"


def test_relevanz_ist_um_null_zentriert_und_der_rahmen_liegt_um_die_maske():
    _, ax = plt.subplots()
    relevance = np.zeros((56, 56))
    relevance[3, 4], relevance[5, 6] = 2.0, -2.0
    picture = panels.draw_relevance(ax, relevance, mask=Watermark(size=4, top=20, left=2).mask)
    assert picture.get_array()[3, 4] == -picture.get_array()[5, 6] > 0
    positive, zero, negative = (picture.cmap(picture.norm(value))[:3] for value in (1, 0, -1))
    assert positive[0] > positive[2] and negative[2] > negative[0] and min(zero) > 0.9, "rot dafür, blau dagegen"
    frame = ax.patches[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (3.5, 39.5, 8, 8)
    dots = np.zeros((28, 28), bool)
    dots[20, 2] = dots[24, 7] = True
    panels.draw_relevance(ax, relevance, mask=dots)
    assert ax.patches[1].get_bbox().bounds == (3.5, 39.5, 12, 10), "um alle Punkte, auch mit Lücken"


def test_grad_cam_liegt_ueber_dem_rohbild():
    _, ax = plt.subplots()
    panels.draw_cam(ax, PICTURES[0], CAMS[0], "Titel")
    below, above = ax.images
    assert below.get_extent() == above.get_extent(), "28 × 28 und 64 × 64 liegen deckungsgleich"
    assert 0 < above.get_alpha() < 1 and above.get_clim() == (0, 1) and below.get_clim() == (0, 255)


# Machado, Oliveira, Fernandes (2009), A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE
# TVCG 15(6): volle Ausprägung, auf lineares RGB anzuwenden.
SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def smallest_distance(colors, sight):
    """Kleinster Abstand zweier Farben (sRGB, 0–1), so gesehen."""
    seen = np.clip(np.power([to_rgb(color) for color in colors], 2.2) @ np.transpose(SIGHT[sight]), 0, 1) ** (1 / 2.2)
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_farben_sind_auch_fuer_farbenblinde_verschieden(sight):
    relevance = matplotlib.colormaps[panels.RELEVANCE_COLORS]
    for strength in (0.25, 0.37, 0.5):
        assert smallest_distance(relevance([0.5 - strength, 0.5 + strength]), sight) > 0.2, "dafür wie dagegen"
    assert smallest_distance(panels.COLORS, sight) > 0.1
    assert smallest_distance([plots.ANSWER_COLORS[answer] for answer in ("ja", "nein", "offen")], sight) > 0.25
    assert smallest_distance([(0.8, 0.2, 0.2), (0.45, 0.45, 0.1)], "deutan") < 0.15, "Rot und Grün fielen zusammen"
