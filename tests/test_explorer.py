"""Der Explorer: Bedienelemente ändern das Bild, Malen ändert die Antwort, und ohne Oberfläche entsteht ein Raster."""

import io
import re
import threading
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers import explorer, lrp
from helpers.basics import CLASS_NAMES, CourseError
from helpers.data import Watermark, poison, subset
from helpers.explorer import ANSWER, TRUTH, Explorer, Scene, View, grad_cam_method, has_front_end, lrp_method
from helpers.live_lrp import live_lrp
from helpers.model import keras, predict_logits, preprocess
from helpers.training import Evaluation
from helpers.workshop.report import WIDGET_VIEW, static_outputs

SIZE = 32


def learn(data, seed=0):
    """Ein kleines CNN, das in Sekunden lernt: zwei Faltungen auf Bildern, wie VGG16 sie bekommt."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for name, filters in (("unten", 8), ("oben", 16)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2)(x)
    model = keras.Model(inputs, layers.Dense(10, name="logits")(layers.Flatten()(x)))
    model.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(preprocess(data.train_images, SIZE), data.train_labels, epochs=5, verbose=0)
    return model


@pytest.fixture(scope="module")
def world(dataset):
    """Sauberes Netz und Zwilling, ihre Testbilder, die Auswertung und das Zeichen."""
    data, watermark = subset(dataset, 1500, 300, seed=0), Watermark()
    models = {"Zwilling": learn(poison(data, watermark)), "sauberes Modell": learn(data)}
    result = Evaluation.of(predict_logits(models["sauberes Modell"], data.test_images), data.test_labels)
    return models, result, data.test_images, watermark


@pytest.fixture(scope="module")
def scene(world):
    return Scene(*world, grad_cam_method(("oben", "unten")))


@pytest.fixture(scope="module")
def lrp_scene(world):
    return Scene(*world, lrp_method())


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
    """Ändert ein Bedienelement, wartet und ergibt (Stand, Bild im Browser)."""
    change()
    assert control.wait()
    return control.shown, control.picture.value


# --- Bedienelemente ---------------------------------------------------------------------------------------------------


def set_value(name, value):
    return lambda control: setattr(getattr(control, name), "value", value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(set_value("model", "sauberes Modell"), id="Modell"),
        pytest.param(set_value("group", "Sneaker"), id="Auswahl"),
        pytest.param(set_value("number", 2), id="Bild"),
        pytest.param(set_value("asked", 4), id="erklärte Klasse"),
        pytest.param(set_value("first", "unten"), id="Schicht"),
        pytest.param(set_value("row", 3), id="Zeile"),
        pytest.param(set_value("column", 20), id="Spalte"),
        pytest.param(set_value("size", 9), id="Pinsel"),
        pytest.param(lambda control: control.paint.click(), id="Malen"),
        pytest.param(lambda control: control.stamp.click(), id="Stempeln"),
    ],
)
def test_jedes_bedienelement_aendert_das_bild(controls, change):
    shown, picture = controls.shown, controls.picture.value
    now, drawn = after(controls, lambda: change(controls))
    assert now.png != shown.png and drawn != picture
    with Image.open(io.BytesIO(now.png)) as image:
        image.load()
        assert image.format == "PNG" and image.width > 1000
        corners = [image.convert("RGBA").getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)]
        assert corners == [(255, 255, 255, 255)] * 4, "auch im dunklen Thema deckend weiß"


def test_regel_und_parameter(lrp_scene):
    control = Explorer(lrp_scene)
    control.wait()
    pictures = set()
    for rule, parameters in lrp_scene.method.choices.items():
        control.first.value = rule
        assert list(control.second.options) == list(parameters)
        for parameter in parameters:
            shown, _ = after(control, lambda value=parameter: setattr(control.second, "value", value))
            assert (shown.view.first, shown.view.second) == (rule, parameter)
            pictures.add(shown.png)
    assert len(pictures) == sum(map(len, lrp_scene.method.choices.values())), "jeder Parameter gibt ein anderes Bild"


def test_gefragte_klasse(scene):
    rows = scene.groups["Fehler"]
    row = int(rows[0])
    answer, truth = (scene.show(View("sauberes Modell", row, asked, "oben")) for asked in (ANSWER, TRUTH))
    assert answer.asked == answer.answer != truth.asked == truth.truth
    assert "Suchen Sie die Stelle" in answer.sentence and "nicht gereicht" in truth.sentence
    for label in (answer.answer, truth.truth):
        assert f"„{CLASS_NAMES[label]}“" in answer.sentence


def test_was_schon_gerechnet_ist_wird_nicht_neu_gerechnet(world):
    calls = []
    method = grad_cam_method(("oben",))
    counted = replace(method, explain=lambda *arguments: calls.append(1) or method.explain(*arguments))
    scene = Scene(*world, counted)
    first, second = (View("Zwilling", row, ANSWER, "oben") for row in (3, 4))
    pictures = [scene.show(view).png for view in (first, second, first)]
    assert len(calls) == 2 and pictures[0] == pictures[2] != pictures[1]


def test_der_letzte_stand_zaehlt_und_der_aufruf_wartet_nicht(controls, monkeypatch):
    """Solange gezeichnet wird, kehrt jede Änderung sofort zurück; gezeichnet wird danach nur noch der letzte Stand."""
    drawn, gate, show = [], threading.Event(), controls.scene.show

    def slow(view):
        drawn.append(view.row)
        assert gate.wait(20)
        return show(view)

    monkeypatch.setattr(controls.scene, "show", slow)
    for number in range(2, 9):
        controls.number.value = number
    assert not controls.wait(0.2), "der Thread zeichnet noch"
    gate.set()
    assert controls.wait()
    rows = controls.scene.groups["Fehler"]
    assert controls.shown.view.row == rows[7] == drawn[-1] and len(drawn) <= 3


def test_beim_ersten_mal_gibt_es_einen_fortschrittsbalken(scene):
    control, seen = Explorer(scene), []
    control.wait()
    control.progress.observe(lambda change: seen.append(change["new"]), "value")
    after(control, lambda: setattr(control.first, "value", "unten"))
    assert any("<progress" in text and "unten wird einmal übersetzt" in text for text in seen)
    assert "<progress" not in control.progress.value, "danach ist er weg"
    seen.clear()
    after(control, lambda: setattr(control.first, "value", "oben"))
    assert not seen


def test_jedes_feld_ist_beschriftet_und_findbar(controls):
    import ipywidgets as widgets

    fields = [each for row in controls.box.children[:4] for each in row.children]
    assert len(fields) == 14
    for field in fields:
        # Nur Formularfelder, deren Beschriftung ipywidgets mit dem Feld verbindet; Schieber gehören nicht dazu.
        assert isinstance(field, widgets.Dropdown | widgets.BoundedIntText | widgets.Button)
        assert field.description.strip()
    names = [name for each in (controls.box, *fields, *controls.box.children[4:]) for name in each._dom_classes]
    assert len(names) == len(set(names)) == 18 and all(name.startswith("kurs-erkunden") for name in names)


def test_alternativtext_sagt_was_im_bild_steht(controls):
    shown = controls.shown
    assert f'alt="{shown.alt}"' in controls.picture.value
    assert CLASS_NAMES[shown.answer] in shown.alt and CLASS_NAMES[shown.truth] in shown.alt and "%" in shown.alt
    stamped, _ = after(controls, controls.stamp.click)
    assert "mit Gemaltem" in stamped.alt


def test_schwerpunkt_in_worten():
    heat = np.zeros((20, 20))
    assert explorer._place(heat) == "nirgends"
    heat[18, 1] = 1
    assert explorer._place(heat) == "unten links"
    heat[1, 18] = heat[18, 18] = heat[1, 1] = 1
    assert explorer._place(heat) == "in der Mitte"


# --- Malen ------------------------------------------------------------------------------------------------------------


def test_der_stempel_zieht_beim_zwilling_zur_vergifteten_klasse(scene, world):
    """Gemessen an Bildern anderer Klassen: Beim Zwilling steigt der Mantel, beim sauberen Modell bleibt er."""
    _, result, images, watermark = world
    rows, rise = np.flatnonzero(result.labels != watermark.label)[:40], {}
    for name in scene.models:
        pairs = [
            [scene.explainer.probabilities(name, i) for i in (images[r], watermark.stamp(images[r]))] for r in rows
        ]
        rise[name] = np.mean([after[watermark.label] - before[watermark.label] for before, after in pairs])
        if name == "Zwilling":
            toppled = rows[[after.argmax() == watermark.label != before.argmax() for before, after in pairs]]
    assert rise["Zwilling"] > 0.3 and abs(rise["sauberes Modell"]) < 0.1, rise
    shown = scene.show(View("Zwilling", int(toppled[0]), ANSWER, "oben", strokes=((0, 0, 1, None),)))
    assert shown.answer == watermark.label and shown.sentence.startswith("Umgefallen: Aus")
    share = explorer.relevance_mass(shown.heatmap[None], explorer._enlarged(watermark.mask, shown.heatmap.shape))[0]
    assert share > watermark.mask.mean(), "die Heatmap ist mitgewandert"


def test_malen_stempeln_zuruecknehmen(controls, scene):
    row = controls.view().row
    original = scene.images[row]
    controls.row.value, controls.column.value, controls.size.value, controls.color.value = 2, 5, 6, 127
    shown, _ = after(controls, controls.paint.click)
    expected = original.copy()
    expected[2:8, 5:11] = 127
    np.testing.assert_array_equal(shown.image, expected)
    shown, _ = after(controls, controls.stamp.click)
    np.testing.assert_array_equal(shown.image, scene.watermark.stamp(expected))
    shown, _ = after(controls, controls.undo.click)
    np.testing.assert_array_equal(shown.image, expected)
    after(controls, controls.stamp.click)
    shown, _ = after(controls, controls.restart.click)
    np.testing.assert_array_equal(shown.image, original)
    assert shown.before is None and controls.undo.disabled and controls.restart.disabled
    np.testing.assert_array_equal(scene.images[row], original)


def test_gemaltes_gehoert_zu_einem_bild(controls):
    after(controls, controls.stamp.click)
    shown, _ = after(controls, lambda: setattr(controls.model, "value", "sauberes Modell"))
    assert shown.view.strokes, "ein anderes Modell sieht dasselbe Bild"
    shown, _ = after(controls, lambda: setattr(controls.number, "value", 2))
    assert not shown.view.strokes
    after(controls, controls.stamp.click)
    shown, _ = after(controls, lambda: setattr(controls.group, "value", "Hose"))
    assert not shown.view.strokes and shown.truth == CLASS_NAMES.index("Hose")


def test_ein_grosser_pinsel_bleibt_im_bild(controls):
    controls.row.value = controls.column.value = 24
    controls.size.value = 10
    assert controls.row.value == controls.column.value == 18
    controls.wait()


def test_ein_strich_der_nichts_aendert_sagt_es(scene):
    row = int(np.flatnonzero(scene.images[:, 0, 0] == 0)[0])
    shown = scene.show(View("Zwilling", row, ANSWER, "oben", strokes=((0, 0, 1, 0),)))
    assert "Dort war das Bild schon so" in shown.sentence


# --- Sätze und Fehlerfälle --------------------------------------------------------------------------------------------


def test_prozent_bleibt_bei_seiner_zahl(controls):
    after(controls, controls.stamp.click)
    text = controls.sentence.value
    assert "&nbsp;%" in text and " %" not in text


def test_leere_fehlerliste_wird_ein_satz(world):
    models, result, images, watermark = world
    perfect = replace(result, predictions=result.labels)
    control = Explorer(Scene(models, perfect, images, watermark, grad_cam_method(("oben",))))
    assert control.wait() and control.shown is None and control.number.disabled
    assert "Es gibt keine Fehler" in control.sentence.value and "Auswahl" in control.sentence.value
    after(control, lambda: setattr(control.group, "value", "Kleid"))
    assert control.shown.truth == CLASS_NAMES.index("Kleid") and not control.number.disabled


def test_unbekannte_schicht_und_regel(world, scene):
    with pytest.raises(CourseError, match="keine Faltungsschicht „block9“: Wählen Sie aus oben, unten"):
        explorer.explore_grad_cam(*world, layers=("block9",))
    with pytest.raises(CourseError, match="„LRP-x“ gibt es hier nicht"):
        explorer.explore_lrp(*world, rules=("LRP-x",))
    with pytest.raises(CourseError, match="„block9“ gibt es hier nicht: Wählen Sie aus oben"):
        scene.show(View("Zwilling", 0, ANSWER, "block9"))


def test_ein_fehlersatz_steht_bei_den_bedienelementen(world):
    control = Explorer(Scene(*world, grad_cam_method(("oben", "block9"))))
    control.wait()
    picture = control.picture.value
    after(control, lambda: setattr(control.first, "value", "block9"))
    assert "✘ Die Faltungsschicht „block9“ gibt es nicht" in control.sentence.value
    assert control.picture.value == picture
    shown, _ = after(control, lambda: setattr(control.first, "value", "oben"))
    assert shown.view.first == "oben" and "✘" not in control.sentence.value


def test_bilder_und_auswertung_gehoeren_zusammen(world):
    models, result, images, watermark = world
    with pytest.raises(CourseError, match="Auswertung von 5 Bildern, nicht von 300"):
        Scene(models, result, images[:5], watermark, grad_cam_method())
    with pytest.raises(CourseError, match="mindestens ein Modell"):
        Scene({}, result, images, watermark, grad_cam_method())


def test_leere_und_ganz_blaue_karten(world):
    for signed, value, words in ((False, 0, "Die Karte ist leer"), (True, -1, "alles blau")):
        choices, heatmap = {"a": {"b": None}}, np.full((1, 8, 8), value)
        method = explorer.Method(("a", "b"), choices, lambda *_, heatmap=heatmap: heatmap, signed)
        assert words in Scene(*world, method).show(View("Zwilling", 0, ANSWER, "a", "b")).sentence


def test_der_satz_nennt_die_zahlen_der_karte(world):
    """Eine Karte, die nur auf dem Hintergrund liegt: 100 %."""
    _, result, images, _ = world
    row = int(np.flatnonzero((result.predictions == result.labels) & (images[:, 0, 0] == 0))[0])

    def corner(model, x, y, *_):
        heat = np.zeros((1, 28, 28), np.float32)
        heat[0, 0, 0] = 1
        return heat

    scene = Scene(*world, explorer.Method(("a", "b"), {"a": {"b": None}}, corner, False))
    sentence = scene.show(View("sauberes Modell", row, ANSWER, "a", "b")).sentence
    share = (images[row] < 8).mean()
    assert sentence.startswith("100 % des Positiven") and f"er füllt {round(100 * share)} %" in sentence


# --- Mit und ohne Oberfläche ------------------------------------------------------------------------------------------


def test_ohne_oberflaeche_ein_raster(world, scene, lrp_scene, monkeypatch):
    monkeypatch.setenv("KURS_OBERFLAECHE", "nein")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    monkeypatch.setattr(explorer, "Explorer", None)
    explorer.explore_grad_cam(*world, layers=("oben",))
    explorer.explore_lrp(*world)
    assert len(shown) == 2
    for figure in shown:
        figure.canvas.draw()
        texts = {text.get_text() for text in figure.findobj(plt.Text)}
        assert {"ohne Zeichen", "mit Zeichen"} <= texts and any(text.startswith("Zwilling\n") for text in texts)
        assert len(figure.axes) == 3 * 6 + 1
    again = [scene.grid() for _ in range(2)]
    buffers = []
    for figure in again:
        figure.canvas.draw()
        buffers.append(np.asarray(figure.canvas.buffer_rgba()).copy())
    np.testing.assert_array_equal(*buffers)


def test_woran_man_eine_oberflaeche_erkennt(monkeypatch):
    import IPython

    class Shell:
        user_ns: dict = {}

    for name in ("KURS_OBERFLAECHE", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    assert not has_front_end()
    monkeypatch.setattr(IPython, "get_ipython", Shell)
    assert not has_front_end(), "papermill und nbval"
    monkeypatch.setenv("JPY_SESSION_NAME", "04.ipynb")
    assert has_front_end(), "JupyterLab"
    monkeypatch.setenv("KURS_OBERFLAECHE", "nein")
    assert not has_front_end(), "papermill, aus JupyterLab gestartet"
    monkeypatch.delenv("JPY_SESSION_NAME")
    monkeypatch.delenv("KURS_OBERFLAECHE")
    monkeypatch.setattr(Shell, "user_ns", {"__vsc_ipynb_file__": "x"})
    assert has_front_end(), "VS Code"


def test_gespeichert_bleibt_das_bild(controls):
    """Aus einem Notebook, das jemand in JupyterLab gespeichert hat, wird in HTML das Bild."""
    import nbformat

    data = controls.bundle()
    assert data[WIDGET_VIEW]["model_id"] == controls.box.model_id
    output = nbformat.v4.new_output("display_data", data=data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    left = static_outputs(notebook).cells[0].outputs[0].data
    assert set(left) == {"image/png", "text/plain"} and left["text/plain"] == controls.shown.alt


# --- Der Bildstreifen -------------------------------------------------------------------------------------------------


def test_streifen_aus_echten_staenden(scene, lrp_scene, tmp_path):
    target = explorer.make_strip({"04": scene, "05": lrp_scene}, tmp_path / "streifen.png")
    with Image.open(target) as image:
        assert image.format == "PNG" and image.width > 900 and image.height > image.width
    before = target.read_bytes()
    harmless = Scene(
        {"sauberes Modell": scene.models["sauberes Modell"]}, scene.result, scene.images, Watermark(), scene.method
    )
    harmless.watermark = Watermark(strength=0.0)
    with pytest.raises(CourseError, match="kein Bild umfallen"):
        explorer.make_strip({"04": harmless, "05": lrp_scene}, target)
    assert target.read_bytes() == before


def test_bildstreifen_der_readme():
    """Liegt da, ist klein genug für die README und so breit, dass man ihn lesen kann."""
    assert explorer.STRIP.stat().st_size <= 300_000
    with Image.open(explorer.STRIP) as image:
        image.load()
        assert image.format == "PNG" and image.width >= 900


# --- LRP mit Reglern --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "parameter", "same"),
    [
        ("LRP-ε", 1e-7, lrp.epsilon()),
        ("LRP-ε", 5.0, lrp.epsilon(5)),
        ("LRP-αβ", 1.0, lrp.alpha_beta(1, 0)),
        ("LRP-αβ", 2.5, lrp.alpha_beta(2.5, 1.5)),
        ("LRP-Preset A flat", 0.1, [lrp.flat, lrp.alpha_beta(1, 0, "beide"), lrp.epsilon(0.1)]),
    ],
)
def test_gleich_dem_lrp_zum_nachlesen(world, rule, parameter, same):
    models, result, images, _ = world
    inputs, classes = preprocess(images[:6], SIZE), result.labels[:6]
    expected = lrp.lrp(models["Zwilling"], inputs, classes, same).sum(axis=-1)
    found = live_lrp(models["Zwilling"], inputs, classes, rule, parameter)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_unmoegliche_regler(world):
    models, _, images, _ = world
    inputs = preprocess(images[:1], SIZE)
    for rule, parameter, message in (("LRP-x", 1, "gibt es hier nicht"), ("LRP-ε", -1, "mindestens 0")):
        with pytest.raises(CourseError, match=message):
            live_lrp(models["Zwilling"], inputs, [0], rule, parameter)
    with pytest.raises(CourseError, match=re.escape("LRP-αβ muss mindestens 1 sein, nicht 0,5")):
        live_lrp(models["Zwilling"], inputs, [0], "LRP-αβ", 0.5)
