"""Bilder, Klassen und Modelle, wie sie Leuten wirklich unterkommen: richtig gerechnet oder ein deutscher Satz."""

import numpy as np
import pytest

from helpers import lrp, suspicion
from helpers.basics import CourseError
from helpers.gradcam import grad_cam, grad_cam_plus_plus, input_times_gradient, map_layers
from helpers.model import IMAGENET_MEAN_BGR, checked_classes, keras, predict_logits, preprocess
from helpers.own import own_model
from helpers.training import Evaluation

layers = keras.layers
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8)


def tail(end=None, name="logits"):
    return [layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(10, activation=end, name=name)]


def sequential(*more, end=None, built=True):
    return keras.Sequential([*([keras.Input((32, 32, 3))] if built else []), *tail(end), *more])


def nested(end=None):
    image = keras.Input((32, 32, 3))
    inner = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3, activation="relu")], name="innen")
    return keras.Model(image, layers.Dense(10, activation=end)(layers.Flatten()(inner(image))))


# --- Bilder -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (np.zeros((28, 28, 3), np.uint8), r"image\[None\]"),
        (np.zeros((2, 28, 28, 1), np.uint8), r"images\[\.\.\., 0\]"),
        (np.zeros((2, 64, 64, 4), np.uint8), r"images\[\.\.\., :3\]"),
        (np.zeros((2, 3, 64, 64), np.uint8), "letzten Achse"),
        (np.zeros((28, 28), np.uint8), r"images\[:1\]"),
        (np.full((1, 28, 28), 65535, np.uint16), "durch 257"),
        (np.full((1, 28, 28), 0.5), r"images \* 255"),
        (np.full((1, 28, 28), -3.0), "rohen Bilder"),
        (np.full((1, 28, 28), np.nan), "rohen Bilder"),
        (np.full((1, 28, 28), "x"), "als Zahlen"),
    ],
)
def test_was_kein_stapel_roher_bilder_ist_wird_nicht_still_genommen(images, remedy):
    with pytest.raises(CourseError, match=remedy):
        preprocess(images)


def test_farbbilder_werden_farbig_vorverarbeitet():
    """Rot-Grün-Blau, wie Pillow liest; ein graues Farbbild ergibt dasselbe wie das Graustufenbild."""
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[..., 0] = 200
    np.testing.assert_allclose(preprocess(images, 32)[0, 5, 5], np.array([0, 0, 200]) - IMAGENET_MEAN_BGR, atol=1e-3)
    np.testing.assert_array_equal(preprocess(np.repeat(IMAGES[..., None], 3, axis=-1), 64), preprocess(IMAGES, 64))
    dark = np.zeros((1, 28, 28))
    assert preprocess(dark).shape == (1, 64, 64, 3) and preprocess(dark[:0]).shape == (0, 64, 64, 3)


# --- Klassen ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("Mantel", "„Mantel“ ist die 4"),
        (["Hose", "Hemd"], "„Hose“ ist die 1"),
        ("Katze", "„Katze“ ist keine.*names.index"),
        ([1.5, 2], r"\[1.5, 2.0\]"),
    ],
)
def test_eine_klasse_als_name_oder_bruch_ist_ein_satz(classes, message):
    model = sequential()
    for ask in (grad_cam, lrp.relevance):
        with pytest.raises(CourseError, match=message):
            ask(model, INPUTS, classes)
    with pytest.raises(CourseError, match=message):
        Evaluation.of(np.zeros((2, 10)), np.broadcast_to(np.asarray(classes), 2))
    assert checked_classes([3.0, 4.0], 2, 10).tolist() == [3, 4]


# --- Modelle ----------------------------------------------------------------------------------------------------------


def two_inputs():
    a, b = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    return keras.Model([a, b], layers.Dense(10)(layers.Flatten()(layers.Add()([a, b]))))


def two_outputs():
    x = layers.Flatten()(image := keras.Input((32, 32, 3)))
    return keras.Model(image, [layers.Dense(10)(x), layers.Dense(2)(x)])


def any_size():
    return keras.Sequential([keras.Input((None, None, 3)), tail()[0], layers.GlobalMaxPooling2D(), layers.Dense(10)])


ASK = {
    "Grad-CAM": lambda model: grad_cam(model, INPUTS, 0),
    "Eingabe × Ableitung": lambda model: input_times_gradient(model, INPUTS, 0),
    "Grad-CAM++": lambda model: grad_cam_plus_plus(model, INPUTS, 0),
    "LRP": lambda model: lrp.relevance(model, INPUTS, 0),
    "Vorhersage": lambda model: predict_logits(model, IMAGES),
    "Suche": lambda model: suspicion.search(model, np.zeros((64, 28, 28), np.uint8), np.arange(64) % 2),
}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sequential(end="softmax"), "Logits"),
        (lambda: sequential(layers.Softmax()), "Logits|Art Softmax"),
        (lambda: sequential(end="sigmoid"), "Logits"),
        (lambda: nested("softmax"), "Logits|flaches Modell"),
        (lambda: sequential(built=False), "noch nicht gebaut"),
        (any_size, "fester Bildgröße"),
        (two_inputs, "genau einer Eingabe"),
        (two_outputs, "genau einer Eingabe"),
        (lambda: "kein Modell", "Keras-Modell, bekam aber str"),
    ],
)
def test_ein_modell_mit_dem_es_nicht_geht_ist_ein_satz(build, message):
    model = build()
    for ask in ASK.values():
        with pytest.raises(CourseError, match=message):
            ask(model)


def test_ein_modell_im_modell_laesst_sich_auspacken():
    model = nested()
    for ask in ("Grad-CAM", "LRP"):
        with pytest.raises(CourseError, match=r"„innen“.*own_model\.flat\(model\)"):
            ASK[ask](model)
    net = own_model.flat(model)
    np.testing.assert_allclose(net.predict(INPUTS, verbose=0), model.predict(INPUTS, verbose=0), atol=1e-5)
    assert ASK["Grad-CAM"](net).shape == ASK["LRP"](net).shape == (2, 32, 32)
    np.testing.assert_allclose(predict_logits(net, IMAGES), predict_logits(model, IMAGES), atol=1e-3)


def test_ein_sequential_frisch_spaet_gebaut_und_aus_der_datei(tmp_path):
    """Alle drei haben dieselben Gewichte: dieselben Logits und Karten."""
    fresh, late = sequential(), sequential(built=False)
    late(INPUTS)
    late.set_weights(fresh.get_weights())
    fresh.save(tmp_path / "netz.keras")
    late.save(tmp_path / "spaet.keras")
    loaded = [keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("netz", "spaet")]
    for ask in ("Vorhersage", "Grad-CAM", "Grad-CAM++", "LRP", "Eingabe × Ableitung"):
        expected = ASK[ask](fresh)
        for model in (late, *loaded):
            np.testing.assert_allclose(ASK[ask](model), expected, atol=1e-5)


def test_neue_gewichte_neue_karten_in_jedem_verfahren():
    model, other = sequential(), sequential()
    other.set_weights([RNG.normal(size=value.shape) for value in other.get_weights()])
    for ask in ("Vorhersage", "Grad-CAM", "LRP", "Eingabe × Ableitung"):
        old = model.get_weights()
        before = ASK[ask](model)
        model.set_weights(other.get_weights())
        after = ASK[ask](model)
        np.testing.assert_allclose(after, ASK[ask](other), atol=1e-4 * np.abs(after).max())
        assert not np.allclose(before, after)
        model.set_weights(old)


def test_die_letzte_schicht_mit_karten():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", name="falten")(image)
    x = layers.ReLU(name="ende")(layers.Add()([x, layers.Conv2D(4, 1)(image)]))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert map_layers(model)[-1] == "ende" and grad_cam(model, INPUTS[:, :16, :16], 1).shape == (2, 16, 16)
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(CourseError, match="keine Faltungsschicht"):
        grad_cam(model, np.zeros((1, 4, 4, 3)), 0)
