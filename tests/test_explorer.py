"""Der Explorer: Bedienelemente ändern das Bild, Malen ändert die Antwort, und ohne Oberfläche entsteht ein Raster."""

import io
import threading
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from test_plots import check_figure

from helpers import explorer
from helpers.basics import CLASS_NAMES, WIDGET_VIEW, CourseError
from helpers.data import Watermark, poison, subset
from helpers.explorer import Explorer, has_front_end
from helpers.metrics import relevance_mass
from helpers.model import enlarge_mask, keras, predict_logits, preprocess
from helpers.scene import ANSWER, TRUTH, Method, Scene, View, draw, grad_cam_method, lrp_method, place
from helpers.training import Evaluation
from helpers.workshop.notebooks import clean
from helpers.workshop.strip import STRIP, make_strip

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
    """Sauberes Netz und Zwilling, ihre Auswertungen, die Testbilder und das Zeichen."""
    data, watermark = subset(dataset, 1500, 300, seed=0), Watermark()
    models = {"Zwilling": learn(poison(data, watermark)), "sauberes Modell": learn(data)}
    results = {
        name: Evaluation.of(predict_logits(model, data.test_images), data.test_labels) for name, model in models.items()
    }
    return models, results, data.test_images, watermark


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


def test_jedes_bedienelement_aendert_das_bild(controls):
    values = {"group": "Sneaker", "number": 2, "asked": 4, "first": "unten", "row": 3, "column": 20, "size": 9}
    changes = [
        lambda name=name, value=value: setattr(getattr(controls, name), "value", value)
        for name, value in values.items()
    ]
    changes += [controls.paint.click, controls.stamp.click, lambda: setattr(controls.model, "value", "sauberes Modell")]
    seen = {controls.picture.value}
    for number, change in enumerate(changes, start=2):
        shown, drawn = after(controls, change)
        seen.add(drawn)
        assert len(seen) == number, f"die {number - 1}. Änderung zeigt kein neues Bild"
    with Image.open(io.BytesIO(shown.png)) as image:
        image.load()
        assert image.format == "PNG" and image.width > 1000
        corners = [image.convert("RGBA").getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)]
        assert corners == [(255, 255, 255, 255)] * 4, "auch im dunklen Thema deckend weiß"


def test_regel_und_parameter(lrp_scene):
    control, maps = Explorer(lrp_scene), set()
    for rule, parameters in lrp_scene.method.choices.items():
        shown, before = after(control, lambda rule=rule: setattr(control.first, "value", rule))
        assert list(control.second.options) == list(parameters)
        maps |= {lrp_scene.show(View("Zwilling", 0, rule, parameter)).heatmap.tobytes() for parameter in parameters}
    assert len(maps) == sum(map(len, lrp_scene.method.choices.values())), "jeder Parameter gibt eine andere Karte"
    last = control.second.options[-1]
    shown, picture = after(control, lambda: setattr(control.second, "value", last))
    assert (shown.view.first, shown.view.second) == (rule, last) and picture != before


def test_gefragte_klasse(scene):
    row = int(scene.groups["Fehler: sauberes Modell"][0])
    answer, truth = (scene.show(View("sauberes Modell", row, "oben", asked=asked)) for asked in (ANSWER, TRUTH))
    assert answer.asked == answer.answer != truth.asked == truth.truth
    assert "Suchen Sie die Stelle" in answer.sentence and "nicht gereicht" in truth.sentence
    for label in (answer.answer, truth.truth):
        assert f"„{CLASS_NAMES[label]}“" in answer.sentence


def test_fehler_sind_die_des_gezeigten_modells(world, controls):
    """Je Modell eine eigene Liste; zu Beginn die des gezeigten. Beim Wechsel bleibt das Bild."""
    models, results, images, _ = world
    assert controls.model.value == "Zwilling" and controls.group.value == "Fehler: Zwilling"
    assert controls.shown.answer != controls.shown.truth
    for name, model in models.items():
        rows = controls.scene.groups[f"Fehler: {name}"]
        found = Evaluation.of(predict_logits(model, images[rows]), results[name].labels[rows])
        assert len(rows) and (found.predictions != found.labels).all()
        assert f"Fehler: {name} ({len(rows)})" in dict(controls.group.options)
    row = controls.shown.view.row
    shown, _ = after(controls, lambda: setattr(controls.model, "value", "sauberes Modell"))
    assert shown.view.row == row


@pytest.mark.parametrize("method", [grad_cam_method(("oben",)), lrp_method()], ids=["Grad-CAM", "LRP"])
def test_nach_weiterem_training_sind_antwort_und_karte_neu(world, method):
    """Wer ``fit`` oder ``set_weights`` ruft, sieht das Netz von jetzt, nicht das vom ersten Blick."""
    models, results, images, watermark = world
    model = keras.models.clone_model(models["Zwilling"])
    model.set_weights(models["Zwilling"].get_weights())
    scene = Scene({"Zwilling": model}, results, images, watermark, method)
    first, second = (next(iter(each)) for each in (method.choices, next(iter(method.choices.values()))))
    view = View("Zwilling", int(scene.groups["Mantel"][0]), first, second, asked=TRUTH)
    before = scene.show(view)
    model.set_weights(models["sauberes Modell"].get_weights())
    now = scene.show(view)
    expected = Scene({"Zwilling": models["sauberes Modell"]}, results, images, watermark, method).show(view)
    np.testing.assert_allclose(now.probabilities, expected.probabilities, atol=1e-5)
    np.testing.assert_allclose(now.heatmap, expected.heatmap, atol=1e-3 * np.abs(expected.heatmap).max())
    assert np.abs(now.heatmap - before.heatmap).max() > 0.1 * np.abs(before.heatmap).max()
    assert now.png != before.png


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
    rows = controls.scene.groups["Fehler: Zwilling"]
    assert controls.shown.view.row == rows[7] == drawn[-1] and len(drawn) <= 3


def test_beim_ersten_mal_gibt_es_einen_fortschrittsbalken(scene):
    control, seen = Explorer(scene), []
    control.wait()
    control.progress.observe(lambda change: seen.append(change["new"]), "value")
    after(control, lambda: setattr(control.first, "value", "unten"))
    assert any("<progress" in text and "unten wird einmal übersetzt" in text for text in seen)
    assert not control.progress.value, "danach ist er weg"
    seen.clear()
    after(control, lambda: setattr(control.first, "value", "oben"))
    assert not seen


def test_ein_unerwarteter_fehler_bleibt_nicht_stumm(controls, monkeypatch, caplog):
    monkeypatch.setattr(controls.scene, "show", lambda view: 1 / 0)
    after(controls, controls.stamp.click)
    controls._thread.submit(int).result()  # der Fehler wird nach dem Ende der Rechnung gemeldet
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    shown, _ = after(controls, controls.undo.click)
    assert shown.view.strokes == (), "danach geht es weiter"


@pytest.mark.parametrize("signed", [False, True])
def test_bild_ist_lesbar(scene, lrp_scene, signed):
    chosen, first = (lrp_scene, "LRP-Preset A flat") if signed else (scene, "oben")
    second = list(chosen.method.choices[first])[-1]
    strokes = ((0, 0, 1, None),)
    check_figure(draw(chosen.show(View("sauberes Modell", 0, first, second, 4, strokes, (24, 24, 4)))))
    check_figure(chosen.grid())


def test_jedes_feld_ist_beschriftet_und_findbar(controls):
    import ipywidgets as widgets

    fields = [each for row in controls.box.children[:4] for each in row.children]
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
    assert "&nbsp;%" in controls.sentence.value and " %" not in controls.sentence.value, "% bleibt bei seiner Zahl"


def test_schwerpunkt_in_worten():
    heat = np.zeros((20, 20))
    words = [place(heat)]
    for rows, columns in (([18], [1]), ([1, 18, 1], [18, 18, 1])):
        heat[rows, columns] = 1
        words.append(place(heat))
    assert words == ["nirgends", "unten links", "in der Mitte"]


# --- Malen ------------------------------------------------------------------------------------------------------------


def test_der_stempel_zieht_beim_zwilling_zur_vergifteten_klasse(scene):
    """Gemessen an Bildern anderer Klassen: Beim Zwilling steigt der Mantel, beim sauberen Modell bleibt er."""
    watermark = scene.watermark
    rows, rise = np.flatnonzero(scene.labels != watermark.label)[:40], {}
    for name in ("sauberes Modell", "Zwilling"):
        plain, marked = (
            scene.answers(name, each)[1] for each in (scene.images[rows], watermark.stamp(scene.images[rows]))
        )
        rise[name] = (marked - plain)[:, watermark.label].mean()
    assert rise["Zwilling"] > 0.3 and abs(rise["sauberes Modell"]) < 0.1, rise
    toppled = rows[(plain.argmax(1) != watermark.label) & (marked.argmax(1) == watermark.label)]
    shown = scene.show(View("Zwilling", int(toppled[0]), "oben", strokes=((0, 0, 1, None),)))
    assert shown.answer == watermark.label and shown.sentence.startswith("Umgefallen: Aus")
    share = relevance_mass(shown.heatmap[None], enlarge_mask(watermark.mask, SIZE))[0]
    assert share > watermark.mask.mean(), "die Heatmap ist mitgewandert"


def test_malen_stempeln_zuruecknehmen(controls, scene):
    row = controls.view().row
    original = scene.images[row].copy()
    controls.row.value, controls.column.value, controls.size.value, controls.color.value = 2, 5, 6, 127
    painted = original.copy()
    painted[2:8, 5:11] = 127
    stamped = scene.watermark.stamp(painted)
    steps = (
        (controls.paint, painted),
        (controls.stamp, stamped),
        (controls.undo, painted),
        (controls.restart, original),
    )
    for button, expected in steps:
        shown, _ = after(controls, button.click)
        np.testing.assert_array_equal(shown.image, expected)
    assert shown.before is None and controls.undo.disabled and controls.restart.disabled
    np.testing.assert_array_equal(scene.images[row], original)


def test_gemaltes_gehoert_zu_einem_bild(controls):
    after(controls, controls.stamp.click)
    shown, _ = after(controls, lambda: setattr(controls.model, "value", "sauberes Modell"))
    assert shown.view.strokes, "ein anderes Modell sieht dasselbe Bild"
    for name, value in (("number", 2), ("group", "Hose")):
        after(controls, controls.stamp.click)
        shown, _ = after(controls, lambda name=name, value=value: setattr(getattr(controls, name), "value", value))
        assert not shown.view.strokes
    assert shown.truth == CLASS_NAMES.index("Hose")


def test_ein_grosser_pinsel_bleibt_im_bild(controls):
    controls.row.value = controls.column.value = 24
    controls.size.value = 10
    assert controls.row.value == controls.column.value == 18


def test_ein_strich_der_nichts_aendert_sagt_es(scene):
    row = int(np.flatnonzero(scene.images[:, 0, 0] == 0)[0])
    shown = scene.show(View("Zwilling", row, "oben", strokes=((0, 0, 1, 0),)))
    assert "Dort war das Bild schon so" in shown.sentence


# --- Sätze und Fehlerfälle --------------------------------------------------------------------------------------------


def test_leere_fehlerliste_wird_ein_satz(world):
    models, results, images, watermark = world
    perfect = {name: replace(result, predictions=result.labels) for name, result in results.items()}
    control = Explorer(Scene(models, perfect, images, watermark, grad_cam_method(("oben",))))
    assert control.wait() and control.shown is None and control.number.disabled
    assert "Davon gibt es hier keine" in control.sentence.value and "Auswahl" in control.sentence.value
    after(control, lambda: setattr(control.group, "value", "Kleid"))
    assert control.shown.truth == CLASS_NAMES.index("Kleid") and not control.number.disabled


def test_was_nicht_zusammenpasst_wird_ein_satz(world, scene):
    models, results, images, watermark = world
    with pytest.raises(CourseError, match="keine Faltungsschicht „block9“: Wählen Sie aus oben, unten"):
        explorer.explore_grad_cam(*world, layers=("block9",))
    with pytest.raises(CourseError, match="„block9“ gibt es hier nicht: Wählen Sie aus oben"):
        scene.show(View("Zwilling", 0, "block9"))
    with pytest.raises(CourseError, match="Auswertung von 5 Bildern, nicht von 300"):
        Scene(models, results, images[:5], watermark, grad_cam_method())
    with pytest.raises(CourseError, match="mindestens ein Modell"):
        Scene({}, results, images, watermark, grad_cam_method())
    with pytest.raises(CourseError, match="Zum Modell „Zwilling“ fehlt die Auswertung"):
        Scene(models, {"sauberes Modell": results["sauberes Modell"]}, images, watermark, grad_cam_method())


def test_ein_fehlersatz_steht_bei_den_bedienelementen(world):
    control = Explorer(Scene(*world, grad_cam_method(("oben", "block9"))))
    control.wait()
    picture = control.picture.value
    after(control, lambda: setattr(control.first, "value", "block9"))
    assert "✘ Die Faltungsschicht „block9“ gibt es nicht" in control.sentence.value
    assert control.picture.value == picture
    shown, _ = after(control, lambda: setattr(control.first, "value", "oben"))
    assert shown.view.first == "oben" and "✘" not in control.sentence.value


def fixed(heatmap, signed=False):
    """Ein Verfahren, das immer dieselbe Karte ergibt."""
    return Method(("a", "b"), {"a": {"b": None}}, lambda *_: heatmap[None], signed)


def test_leere_und_ganz_blaue_karten(world):
    for signed, value, words in ((False, 0, "Die Karte ist leer"), (True, -1, "alles blau")):
        method = fixed(np.full((8, 8), value), signed)
        assert words in Scene(*world, method).show(View("Zwilling", 0, "a", "b")).sentence


def test_der_satz_nennt_die_zahlen_der_karte(world, scene):
    """Eine Karte, die nur auf dem Hintergrund liegt: 100 %."""
    right = world[1]["sauberes Modell"].predictions == scene.labels
    row = int(np.flatnonzero(right & (scene.images[:, 0, 0] == 0))[0])
    heatmap = np.zeros((28, 28))
    heatmap[0, 0] = 1
    sentence = Scene(*world, fixed(heatmap)).show(View("sauberes Modell", row, "a", "b")).sentence
    share = (scene.images[row] < 8).mean()
    assert sentence.startswith("100 % des Positiven") and f"er füllt {round(100 * share)} %" in sentence


# --- Mit und ohne Oberfläche ------------------------------------------------------------------------------------------


def test_ohne_oberflaeche_ein_raster(world, monkeypatch):
    monkeypatch.setenv("KURS_OBERFLAECHE", "nein")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    monkeypatch.setattr(explorer, "Explorer", None)
    explorer.explore_grad_cam(*world, layers=("oben",))
    explorer.explore_lrp(*world)
    assert len(shown) == 2
    for figure in shown:
        texts = {text.get_text() for text in figure.findobj(plt.Text)}
        assert {"ohne Zeichen", "mit Zeichen"} <= texts and any(text.startswith("Zwilling\n") for text in texts)
        assert len(figure.axes) == 3 * 6 + 1


@pytest.mark.parametrize(
    ("who", "environment", "names", "expected"),
    [
        ("papermill und nbval", {}, {}, False),
        ("JupyterLab", {"JPY_SESSION_NAME": "04.ipynb"}, {}, True),
        ("papermill, aus JupyterLab gestartet", {"JPY_SESSION_NAME": "x", "KURS_OBERFLAECHE": "nein"}, {}, False),
        ("VS Code", {}, {"__vsc_ipynb_file__": "x"}, True),
        ("Python ohne IPython", {"JPY_SESSION_NAME": "x"}, None, False),
    ],
)
def test_woran_man_eine_oberflaeche_erkennt(monkeypatch, who, environment, names, expected):
    import IPython

    for name in ("KURS_OBERFLAECHE", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(IPython, "get_ipython", lambda: names if names is None else SimpleNamespace(user_ns=names))
    assert has_front_end() is expected, who


def test_gespeichert_bleibt_das_bild(controls):
    """In einem Notebook aus ``solutions/`` und in HTML steht das Bild statt des Bedienelements."""
    import nbformat

    data = controls.bundle()
    assert data[WIDGET_VIEW]["model_id"] == controls.box.model_id
    output = nbformat.v4.new_output("display_data", data=data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    left = clean(notebook).cells[0].outputs[0].data
    assert set(left) == {"image/png", "text/plain"} and left["text/plain"] == controls.shown.alt


# --- Der Bildstreifen -------------------------------------------------------------------------------------------------


def test_streifen_aus_echten_staenden(scene, lrp_scene, world, tmp_path):
    target = make_strip(scene, lrp_scene, tmp_path / "streifen.png")
    with Image.open(target) as image:
        assert image.format == "PNG" and image.width > 900 and image.height > image.width
    before = target.read_bytes()
    harmless = Scene(*world[:3], Watermark(strength=0.0), scene.method)
    with pytest.raises(CourseError, match="kein Bild umfallen"):
        make_strip(harmless, lrp_scene, target)
    assert target.read_bytes() == before


def test_bildstreifen_der_readme():
    """Liegt da, ist klein genug für die README und so breit, dass man ihn lesen kann."""
    assert STRIP.stat().st_size <= 300_000
    with Image.open(STRIP) as image:
        image.load()
        assert image.format == "PNG" and image.width >= 900
