"""Der Explorer: Bedienelemente ändern das Bild, Malen ändert die Antwort, und ohne Oberfläche entsteht ein Raster."""

import io
import threading
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from test_plots import check_figure

from helpers import explorer
from helpers.basics import CLASS_NAMES, WIDGET_VIEW, CourseError
from helpers.data import Watermark
from helpers.explorer import STAMP, TRUTH, Explorer, Scene, Shown, has_front_end, place
from helpers.metrics import relevance_mass
from helpers.model import enlarge_mask, keras, predict_logits
from helpers.training import Evaluation
from helpers.workshop.notebooks import clean
from helpers.workshop.strip import STRIP, make_strip

LAYER, OTHER = "block5_conv1", "block5_conv3"


@pytest.fixture(scope="module")
def world(tiny_nets, small):
    """Sauberes Netz und Zwilling, ihre Auswertungen, die Testbilder und das Zeichen."""
    models, labels = {"Zwilling": tiny_nets[1], "sauberes Modell": tiny_nets[0]}, small.test_labels
    results = {name: Evaluation.of(predict_logits(model, small.test_images), labels) for name, model in models.items()}
    return models, results, small.test_images, Watermark(size=6, top=21)


@pytest.fixture(scope="module")
def scene(world):
    return Scene(*world, (LAYER, OTHER))


@pytest.fixture(scope="module")
def lrp_scene(world):
    return Scene(*world)


@pytest.fixture
def controls(scene):
    control = Explorer(scene)
    assert control.wait()
    return control


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def after(control, change):
    """Ändert ein Bedienelement, wartet und ergibt den neuen Stand."""
    change()
    assert control.wait()
    return control.shown


def test_jedes_bedienelement_aendert_das_bild(controls):
    values = {"group": "Sneaker", "number": 2, "asked": 4, "choice": OTHER, "row": 3, "column": 20, "size": 9}
    changes = [
        lambda name=name, value=value: setattr(getattr(controls, name), "value", value)
        for name, value in values.items()
    ]
    changes += [controls.paint.click, controls.stamp.click, lambda: setattr(controls.model, "value", "sauberes Modell")]
    seen = {controls.picture.value}
    for number, change in enumerate(changes, start=2):
        shown = after(controls, change)
        seen.add(controls.picture.value)
        assert len(seen) == number, f"die {number - 1}. Änderung zeigt kein neues Bild"
    with Image.open(io.BytesIO(shown.png)) as image:
        corners = [image.convert("RGBA").getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)]
        assert image.width > 1000
        assert corners == [(255, 255, 255, 255)] * 4, "auch im dunklen Thema deckend weiß"


def test_fehler_sind_die_des_gezeigten_modells_und_wonach_gefragt_ist(scene, controls):
    """Je Modell eine eigene Liste; zu Beginn die des gezeigten. Beim Wechsel bleibt das Bild."""
    first = controls.shown
    assert first.model == "Zwilling" and first.asked == first.answer != first.truth
    for name in scene.models:
        rows = scene.groups[f"Fehler: {name}"]
        assert (scene.answers(name, scene.images[rows])[1].argmax(axis=1) != scene.labels[rows]).all()
    truth = after(controls, lambda: setattr(controls.asked, "value", TRUTH))
    assert truth.asked == truth.truth
    assert "Suchen Sie die Stelle" in first.sentence and "nicht gereicht" in truth.sentence
    for label in (first.answer, first.truth):
        assert f"„{CLASS_NAMES[label]}“" in first.sentence
    assert after(controls, lambda: setattr(controls.model, "value", "sauberes Modell")).row == first.row


def test_nach_weiterem_training_sind_antwort_und_karte_neu(world):
    """Wer ``fit`` oder ``set_weights`` ruft, sieht das Netz von jetzt, nicht das vom ersten Blick."""
    models, results, images, watermark = world
    model = keras.models.clone_model(models["Zwilling"])
    model.set_weights(models["Zwilling"].get_weights())
    scene = Scene({"Zwilling": model}, results, images, watermark)
    view = "Zwilling", int(scene.groups["Mantel"][0]), next(iter(scene.choices)), TRUTH
    before = Shown(scene, *view)
    model.set_weights(models["sauberes Modell"].get_weights())
    now = Shown(scene, *view)
    expected = Shown(Scene({"Zwilling": models["sauberes Modell"]}, results, images, watermark), *view)
    np.testing.assert_allclose(now.now, expected.now, atol=1e-5)
    np.testing.assert_allclose(now.heatmap, expected.heatmap, atol=1e-3 * np.abs(expected.heatmap).max())
    assert np.abs(now.heatmap - before.heatmap).max() > 0.1 * np.abs(before.heatmap).max()


def test_der_letzte_stand_zaehlt_und_der_aufruf_wartet_nicht(controls, monkeypatch):
    """Solange gezeichnet wird, kehrt jede Änderung sofort zurück; gezeichnet wird danach nur noch der letzte Stand."""
    drawn, gate = [], threading.Event()

    def slow(scene, model, row, *rest):
        drawn.append(row)
        assert gate.wait(20)
        return Shown(scene, model, row, *rest)

    monkeypatch.setattr(explorer, "Shown", slow)
    for number in range(2, 9):
        controls.number.value = number
    assert not controls.wait(0.2), "der Thread zeichnet noch"
    assert "<progress" in controls.progress.value
    gate.set()
    assert controls.wait()
    rows = controls.scene.groups["Fehler: Zwilling"]
    assert controls.shown.row == rows[7] == drawn[-1] and len(drawn) <= 3 and not controls.progress.value


def test_ein_unerwarteter_fehler_bleibt_nicht_stumm(controls, monkeypatch, caplog):
    monkeypatch.setattr(explorer, "Shown", lambda *_: 1 / 0)
    after(controls, controls.stamp.click)
    controls._thread.submit(int).result()  # der Fehler wird nach dem Ende der Rechnung gemeldet
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert after(controls, controls.undo.click).strokes == [], "danach geht es weiter"


@pytest.mark.parametrize("name", ["scene", "lrp_scene"])
def test_bild_ist_lesbar(request, name):
    chosen = request.getfixturevalue(name)
    figure = Shown(chosen, "sauberes Modell", 0, list(chosen.choices)[-1], 4, [STAMP], (24, 24, 4)).figure()
    FigureCanvasAgg(figure)
    check_figure(figure)
    check_figure(chosen.grid())


def test_jedes_feld_ist_beschriftet_und_findbar(controls):
    fields = [each for row in controls.box.children[:4] for each in row.children]
    names = [name for field in fields for name in field._dom_classes]
    assert all(field.description.strip() for field in fields)
    assert len(names) == len(set(names)) == len(fields) and all(name.startswith("kurs-erkunden-") for name in names)


def test_alternativtext_sagt_was_im_bild_steht(controls):
    shown = controls.shown
    assert f'alt="{shown.alt}"' in controls.picture.value
    assert CLASS_NAMES[shown.answer] in shown.alt and CLASS_NAMES[shown.truth] in shown.alt and "%" in shown.alt
    assert "mit Gemaltem" in after(controls, controls.stamp.click).alt
    assert "\u00a0%" in controls.sentence.value and " %" not in controls.sentence.value, "% bleibt bei seiner Zahl"
    heat, words = np.zeros((20, 20)), []
    for rows, columns in (([18], [1]), ([1, 18, 1], [18, 18, 1])):
        heat[rows, columns] = 1
        words.append(place(heat))
    assert words == ["unten links", "in der Mitte"]


def test_der_stempel_zieht_beim_zwilling_zur_vergifteten_klasse(lrp_scene):
    """Gemessen an Bildern anderer Klassen: Beim Zwilling kippen viele zum Mantel, beim sauberen Modell kaum eines."""
    scene, mark = lrp_scene, lrp_scene.watermark
    rows, fell = np.flatnonzero(scene.labels != mark.label)[:40], {}
    for name in ("sauberes Modell", "Zwilling"):
        before, after = (
            scene.answers(name, each)[1].argmax(1) for each in (scene.images[rows], mark.stamp(scene.images[rows]))
        )
        fell[name] = (before != mark.label) & (after == mark.label)
    assert fell["Zwilling"].mean() > 0.3 and fell["sauberes Modell"].mean() < 0.1, fell
    view = "Zwilling", rows[fell["Zwilling"]][0], next(iter(scene.choices)), mark.label
    shown, before = Shown(scene, *view, strokes=[STAMP]), Shown(scene, *view)
    assert shown.answer == mark.label and shown.sentence.startswith("Umgefallen: Aus")
    share = relevance_mass(np.array([shown.heatmap, before.heatmap]), enlarge_mask(mark.mask, 32))
    assert share[0] > 2 * share[1], "die Heatmap ist mitgewandert"


def test_malen_stempeln_zuruecknehmen(controls, scene):
    row = controls.shown.row
    original = scene.images[row].copy()
    controls.row.value, controls.column.value, controls.size.value, controls.color.value = 2, 25, 6, 127
    painted = original.copy()
    painted[2:8, 25:] = 127  # was über den Rand ragt, fällt weg
    stamped = scene.watermark.stamp(painted)
    steps = (
        (controls.paint, painted),
        (controls.stamp, stamped),
        (controls.undo, painted),
        (controls.restart, original),
        (controls.undo, original),
    )
    for button, expected in steps:
        np.testing.assert_array_equal(after(controls, button.click).image, expected)
    np.testing.assert_array_equal(scene.images[row], original)


def test_gemaltes_gehoert_zu_einem_bild(controls):
    after(controls, controls.stamp.click)
    shown = after(controls, lambda: setattr(controls.model, "value", "sauberes Modell"))
    assert shown.strokes, "ein anderes Modell sieht dasselbe Bild"
    for name, value in (("number", 2), ("group", "Hose")):
        after(controls, controls.stamp.click)
        shown = after(controls, lambda name=name, value=value: setattr(getattr(controls, name), "value", value))
        assert not shown.strokes
    assert shown.truth == CLASS_NAMES.index("Hose")


def test_bilder_ohne_auswertung_werden_ein_satz(world):
    models, results, images, watermark = world
    for given in ((models, results, images[:5]), (models, {"Zwilling": results["Zwilling"]}, images)):
        with pytest.raises(CourseError, match="fehlt die Auswertung dieser (5|200) Bilder: Geben Sie"):
            Scene(*given, watermark)


def test_die_bedienelemente_stehen_da_ehe_das_erste_bild_gerechnet_ist(world, monkeypatch):
    """Wer den Explorer aufruft, sieht ihn sofort; gespeichert wird danach auch das Bild."""
    gate, seen = threading.Event(), []

    def show(data, **_):
        seen.append(set(data))
        gate.set()
        return SimpleNamespace(update=show)

    monkeypatch.setattr(explorer, "Shown", lambda *state: gate.wait(20) and Shown(*state))
    monkeypatch.setattr("IPython.display.display", show)
    monkeypatch.setattr(explorer, "LAYERS", (LAYER,))
    monkeypatch.setenv("KURS_OBERFLAECHE", "ja")
    explorer.explore_grad_cam(*world)
    assert seen == [{WIDGET_VIEW, "text/plain"}, {WIDGET_VIEW, "text/plain", "image/png"}]


def test_ein_fehlersatz_steht_bei_den_bedienelementen(world):
    control = Explorer(Scene(*world, (LAYER, "block9")))
    control.wait()
    picture = control.picture.value
    after(control, lambda: setattr(control.choice, "value", "block9"))
    assert "✘ Die Faltungsschicht „block9“ gibt es nicht" in control.sentence.value
    assert control.picture.value == picture
    shown = after(control, lambda: setattr(control.choice, "value", LAYER))
    assert shown.choice == LAYER and "✘" not in control.sentence.value


@pytest.mark.parametrize(
    ("signed", "heatmap", "strokes", "words"),
    [
        (False, np.zeros((28, 28)), [], "Die Karte ist leer"),
        (True, -np.ones((28, 28)), [], "alles blau"),
        (False, np.ones((28, 28)), [(0, 0, 1, 0)], "Dort war das Bild schon so"),
        (False, np.eye(28)[:1].repeat(28, axis=0), [], "100\u00a0% der positiven Werte"),
    ],
)
def test_der_satz_passt_zur_karte(world, signed, heatmap, strokes, words):
    """Die letzte Karte liegt nur auf der ersten Spalte, und die ist Hintergrund."""
    scene = Scene(*world, None if signed else (LAYER,))
    scene.choices = {"fest": lambda *_: heatmap[None]}
    right = world[1]["sauberes Modell"].predictions == scene.labels
    row = np.flatnonzero(right & (scene.images[:, :, 0] == 0).all(axis=1))[0]
    assert words in Shown(scene, "sauberes Modell", row, "fest", strokes=strokes).sentence


def test_ohne_oberflaeche_ein_raster(world, monkeypatch):
    monkeypatch.setenv("KURS_OBERFLAECHE", "nein")
    monkeypatch.setattr(explorer, "LAYERS", (LAYER,))
    for explore in (explorer.explore_grad_cam, explorer.explore_lrp):
        explore(*world)
        texts = {text.get_text() for text in plt.gcf().findobj(plt.Text)}
        assert {"ohne Zeichen", "mit Zeichen"} <= texts and any(text.startswith("Zwilling\n") for text in texts)
        assert len(plt.gcf().axes) == 3 * 6 + 1


@pytest.mark.parametrize(
    ("environment", "names", "expected"),
    [
        pytest.param({}, {}, False, id="papermill und nbval"),
        pytest.param({"JPY_SESSION_NAME": "04.ipynb"}, {}, True, id="JupyterLab"),
        pytest.param({"JPY_SESSION_NAME": "x", "KURS_OBERFLAECHE": "nein"}, {}, False, id="papermill aus JupyterLab"),
        pytest.param({}, {"__vsc_ipynb_file__": "x"}, True, id="VS Code"),
    ],
)
def test_woran_man_eine_oberflaeche_erkennt(monkeypatch, environment, names, expected):
    for name in ("KURS_OBERFLAECHE", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns=names))
    assert has_front_end() is expected


def test_gespeichert_bleibt_das_bild(controls):
    """In einem Notebook aus ``solutions/`` und in HTML steht das Bild statt des Bedienelements."""
    data = controls.bundle()
    assert data[WIDGET_VIEW]["model_id"] == controls.box.model_id
    cell = new_code_cell("x", outputs=[new_output("display_data", data=data)])
    left = clean(new_notebook(cells=[cell])).cells[0].outputs[0].data
    assert set(left) == {"image/png", "text/plain"} and left["text/plain"] == controls.shown.alt


def test_bildstreifen_aus_echten_staenden_und_klein_genug_fuer_die_readme(scene, lrp_scene, world, tmp_path):
    # Der ausgelieferte Streifen hält 300 kB ein. Der aus kleinen Netzen (gemessen 298 kB) bekommt Luft: Seine Karten
    # sind unruhiger und auf jedem Prozessor ein wenig anders.
    for target, limit in ((make_strip(scene, lrp_scene, tmp_path / "streifen.png"), 330_000), (STRIP, 300_000)):
        assert target.stat().st_size <= limit
        with Image.open(target) as image:
            assert image.format == "PNG" and image.width >= 900 and image.height > image.width
    with pytest.raises(CourseError, match="kein Bild umfallen"):
        make_strip(Scene(*world[:3], Watermark(strength=0.0), (LAYER,)), lrp_scene, tmp_path / "leer.png")
    assert not (tmp_path / "leer.png").exists()
