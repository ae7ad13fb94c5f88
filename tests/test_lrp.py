"""Das LRP des Kurses: gleich iNNvestigate und zennit, erhalten, live in Gewichten und Zahlen; und die Bibliothek."""

import gc
import sys

import numpy as np
import psutil
import pytest
import tensorflow as tf
from referenz.zennit_reference import reference_images

from helpers import lrp
from helpers.basics import CourseError
from helpers.course_model import load_course_model
from helpers.lrp import LRP_RULES, alpha_beta, epsilon, flat, gamma, relevance, w_square, z_b, zero
from helpers.lrp_library import LRP, compare, load_reference, matches
from helpers.model import keras

layers = keras.layers


def net(*stack, shape=(12, 12, 2), seed=0):
    """Ein Netz aus den Schichten ``stack`` mit Schwellenwerten, die etwas ausmachen."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(shape), *stack])
    rng = np.random.default_rng(seed)
    model.set_weights([v if v.ndim > 1 else rng.normal(0, 0.2, v.shape) for v in model.get_weights()])
    return model


def small_cnn(seed=0, padding="same", strides=1, size=12):
    """Zwei Faltungen, Max-Pooling, zwei dichte Schichten."""
    return net(
        layers.Conv2D(6, 3, strides=strides, padding=padding, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(5, 3, padding=padding, activation="relu"),
        layers.Flatten(),
        layers.Dense(12, "relu"),
        layers.Dense(10),
        shape=(size, size, 2),
        seed=seed,
    )


@pytest.fixture(scope="module")
def cnn():
    """Nur lesen, nicht trainieren."""
    return small_cnn()


@pytest.fixture(scope="module")
def pictures():
    """Zehn Eingaben mit beiden Vorzeichen; nach jeder Klasse wird einmal gefragt."""
    return np.random.default_rng(2).normal(size=(10, 12, 12, 2)).astype(np.float32)


def by_library(model, inputs, classes, rule, **options):
    with LRP(model, rule, **options) as library:
        return library.relevance(inputs, classes, sum_channels=False)


def deviation(found, expected) -> float:
    """Größte Abweichung im Verhältnis zur größten Relevanz."""
    assert np.abs(expected).max() > 0, "leere Karten vergleichen wäre zu leicht"
    return np.abs(found - expected).max() / np.abs(expected).max()


# --- Gleich den Bibliotheken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", LRP_RULES)
def test_jede_regel_wie_innvestigate(cnn, pictures, rule, record_property):
    classes = np.arange(10)
    expected = by_library(cnn, pictures, classes, rule)
    found = relevance(cnn, pictures, classes, rule, sum_channels=False)
    assert found.shape == pictures.shape and found.dtype == np.float32
    record_property("Abweichung", f"{rule} von iNNvestigate: {deviation(found, expected):.1e} von max|R|")
    assert deviation(found, expected) < 1e-4
    other = "lrp.flat" if rule != "lrp.flat" else "lrp.z"
    assert deviation(relevance(cnn, pictures, classes, other, sum_channels=False), expected) > 0.05, "Gegenprobe"


NETS = {
    "ohne Rand, Schritt 2": lambda: small_cnn(3, padding="valid", strides=2, size=13),
    "mit Rand, Schritt 2": lambda: small_cnn(4, strides=2, size=13),
    "gerades Fenster mit Rand": lambda: net(
        layers.Conv2D(4, (2, 4), padding="same", activation="relu"), layers.Flatten(), layers.Dense(10), shape=(6, 6, 2)
    ),
    "ohne Schwellenwerte": lambda: net(layers.Conv2D(4, 3, use_bias=False), layers.Flatten(), layers.Dense(10)),
    "zwischendrin linear": lambda: net(layers.Conv2D(4, 3), layers.Conv2D(4, 2), layers.Flatten(), layers.Dense(10)),
    "Pooling mit Rand": lambda: net(
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(3, 2, "same"), layers.Flatten(), layers.Dense(10)
    ),
    "Mittel über alles": lambda: net(
        layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(10)
    ),
    "Rand, Mittel und Umformen": lambda: net(
        layers.ZeroPadding2D(((1, 0), (2, 1))),
        layers.Conv2D(4, 3),
        layers.AveragePooling2D(2),
        layers.Reshape((-1,)),
        layers.Dense(10),
    ),
    "größter über alles": lambda: net(layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(10)),
    "dicht je Ort": lambda: net(layers.Dense(4, "relu"), layers.Flatten(), layers.Dense(10)),
}


RULES = ("lrp.alpha_2_beta_1_IB", "lrp.flat", "lrp.epsilon")
# Täglich an jedem Netz eine Regel, mit --alles jede.
PAIRS = [
    pytest.param(name, rule, marks=[] if row % 3 == column else pytest.mark.alles)
    for row, name in enumerate(NETS)
    for column, rule in enumerate(RULES)
]


@pytest.mark.parametrize(("name", "rule"), PAIRS)
def test_jede_angabe_einer_schicht_wie_innvestigate(name, rule):
    model, classes = NETS[name](), np.arange(6)
    inputs = np.random.default_rng(5).normal(size=(6, *model.input_shape[1:])).astype(np.float32)
    expected = by_library(model, inputs, classes, rule)
    assert deviation(relevance(model, inputs, classes, rule, sum_channels=False), expected) < 1e-4


def test_ein_relu_hinter_dem_pooling_ist_eines_davor(pictures):
    """Dieselbe Rechnung, anders aufgeschrieben: dieselben Karten."""
    head = (layers.Flatten(), layers.Dense(10))
    after = net(layers.Conv2D(4, 3), layers.MaxPooling2D(2), layers.ReLU(), *head)
    before = net(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(10))
    before.set_weights(after.get_weights())
    for rule in ("lrp.epsilon", "lrp.alpha_2_beta_1_IB"):
        found, expected = (relevance(model, pictures, 3, rule) for model in (after, before))
        assert deviation(found, expected) < 1e-4


@pytest.fixture(scope="module")
def course_model():
    return load_course_model().model


def test_die_referenz_gehoert_zu_diesen_gewichten(course_model, cnn):
    """Ein neues Kursmodell braucht eine neue Referenz."""
    reference = load_reference()
    assert matches(reference, course_model), "Referenz veraltet: python tests/referenz/zennit_reference.py"
    assert reference.rows.tolist() == reference_images(course_model)[2].tolist()
    assert not matches(reference, cnn)


BY_ZENNIT = {
    "lrp.epsilon": None,
    "lrp.alpha_2_beta_1_IB": None,
    "lrp.z": None,
    "lrp.alpha_1_beta_0": None,
    "lrp.sequential_preset_a_flat": None,
    "lrp.alpha_2_beta_1": alpha_beta(2, 1, "getrennt"),
    "gamma und z_b": {"dense": epsilon(), "conv": gamma(), "lowest": z_b(-124, 152)},
}


@pytest.mark.parametrize(
    "name", [*list(BY_ZENNIT)[:2], *(pytest.param(name, marks=pytest.mark.alles) for name in list(BY_ZENNIT)[2:])]
)
def test_gleich_zennit_bild_fuer_bild(course_model, name, record_property):
    """VGG16, float64, gespeichert."""
    images, classes, _ = reference_images(course_model)
    correlation, sizes = compare(
        load_reference(), relevance(course_model, images, classes, BY_ZENNIT[name] or name), name
    )
    record_property("Abweichung", f"{name} von zennit: Korrelation je Bild mindestens {correlation.min():.6f}")
    assert correlation.min() >= 0.999, correlation
    np.testing.assert_allclose(sizes, 1, atol=0.1)


# --- Was jede Regel verspricht ----------------------------------------------------------------------------------------


class Dense:
    """Eine dichte Schicht für die Regeln allein."""

    signed = True
    forward = staticmethod(lambda a, w: a @ w)
    backward = staticmethod(lambda r, w: tf.matmul(r, w, transpose_b=True))


def apply(rule, a, w, b, r):
    return rule(Dense, *(tf.constant(each, tf.float32) for each in (a, w, b, r))).numpy()


def test_regeln_von_hand():
    a, w, none = [[1.0, 2.0]], [[1.0, -1.0], [0.5, 1.0]], [0.0, 0.0]
    np.testing.assert_allclose(apply(zero, a, w, none, [[4, 1]]), [[1, 4]], rtol=1e-6)
    np.testing.assert_allclose(apply(epsilon(1.0), a, w, none, [[6, 2]]), [[1, 4]], rtol=1e-6)
    np.testing.assert_allclose(apply(flat, a, w, none, [[3, 1]]), [[2, 2]], rtol=1e-6)
    np.testing.assert_allclose(apply(w_square, a, w, none, [[5, 2]]), [[5, 2]], rtol=1e-6)
    np.testing.assert_allclose(apply(alpha_beta(2, 1), a, w, none, [[0, 1]]), [[-1, 2]], rtol=1e-6)
    np.testing.assert_allclose(apply(gamma(1.0), a, w, none, [[0, 3]]), [[-1, 4]], rtol=1e-6)
    # z^B mit Werten in [0, 2]: Beiträge a·w − 0·w⁺ − 2·w⁻ = 1·(−1) + 2·1 = 1 und 2·1 = 2.
    np.testing.assert_allclose(apply(z_b(0.0, 2.0), a, w, none, [[0, 3]]), [[1, 2]], rtol=1e-6)


@pytest.mark.parametrize("rule", ["lrp.epsilon", "lrp.sequential_preset_a_flat"])
def test_stapel_klassen_und_summe(cnn, pictures, rule):
    """Stapel jeder Größe, eine Klasse oder viele, mit und ohne Summe: dieselben Zahlen; ohne Bilder keine."""
    whole = relevance(cnn, pictures, np.arange(10), rule)
    scale = np.abs(whole).max()
    for size in (1, 3):
        found = relevance(cnn, pictures, np.arange(10), rule, batch_size=size)
        np.testing.assert_allclose(found, whole, atol=1e-4 * scale)
    channels = relevance(cnn, pictures, np.arange(10), rule, sum_channels=False)
    np.testing.assert_allclose(channels.sum(axis=-1), whole, atol=1e-5 * scale)
    np.testing.assert_allclose(relevance(cnn, pictures[4:5], 4, rule)[0], whole[4], atol=1e-4 * scale)
    assert np.abs(relevance(cnn, pictures[4:5], 5, rule)[0] - whole[4]).max() > 0.01 * scale
    assert relevance(cnn, pictures[:0], 3, rule).shape == (0, 12, 12)


# --- Gewichte und Zahlen sind Eingaben --------------------------------------------------------------------------------


def test_neue_gewichte_neue_karten(pictures):
    """Dasselbe Modell nach ``set_weights`` und nach Training: die Karten eines frischen, ohne neu zu übersetzen."""
    model, rule = small_cnn(1), "lrp.alpha_2_beta_1_IB"
    first = relevance(model, pictures, 3, rule)
    compiled = lrp._compiled.cache_info().misses
    model.set_weights(small_cnn(2).get_weights())
    replaced = relevance(model, pictures, 3, rule)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pictures, np.arange(10), epochs=2, verbose=0)
    trained = relevance(model, pictures, 3, rule)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    assert deviation(first, replaced) > 0.1 and deviation(trained, replaced) > 0.01
    np.testing.assert_array_equal(relevance(copy, pictures, 3, rule), trained)
    assert deviation(trained, by_library(copy, pictures, 3, rule).sum(axis=-1)) < 1e-4
    assert lrp._compiled.cache_info().misses == compiled, "einmal übersetzt für alle"


def test_ein_regler_uebersetzt_nichts(cnn, pictures):
    found = relevance(cnn, pictures, 3, epsilon(1.0))
    compiled = lrp._compiled.cache_info().misses
    assert deviation(relevance(cnn, pictures, 3, epsilon(0.01)), found) > 0.1
    assert lrp._compiled.cache_info().misses == compiled
    assert deviation(found, by_library(cnn, pictures, 3, "lrp.epsilon", epsilon=1.0).sum(axis=-1)) < 1e-4


# --- Was hier niemand berechnet ---------------------------------------------------------------------------------------


def with_layers(*stack):
    return keras.Sequential([keras.Input((12, 12, 2)), *stack, layers.Flatten(), layers.Dense(10)])


def branched():
    image = keras.Input((12, 12, 2))
    x = layers.Conv2D(2, 3, padding="same", activation="relu")(image)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(layers.Add(name="summe")([x, image]))))


IMPOSSIBLE = {
    "dilation_rate.*„falten“": lambda: with_layers(layers.Conv2D(4, 3, dilation_rate=2, name="falten")),
    "groups.*„falten“": lambda: with_layers(layers.Conv2D(4, 3, groups=2, name="falten")),
    "data_format.*„pool“": lambda: with_layers(layers.MaxPooling2D(2, data_format="channels_first", name="pool")),
    "„dicht“ hat sigmoid": lambda: with_layers(layers.Dense(3, "sigmoid", name="dicht")),
    "Art BatchNormalization.*„normal“": lambda: with_layers(layers.BatchNormalization(name="normal")),
    "„summe“ treffen sich": branched,
    "max_value.*„kappen“": lambda: with_layers(layers.ReLU(6.0, name="kappen")),
    "feste[rn]? Bildgröße": lambda: keras.Sequential(
        [keras.Input((None, None, 2)), layers.Conv2D(10, 3), layers.Flatten()]
    ),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_ein_satz_nennt_die_schicht(message):
    """Falsch zu rechnen, ohne es zu sagen, wäre schlimmer als gar nicht (dilation_rate = 2 war um 116 % daneben)."""
    model = IMPOSSIBLE[message]()
    with pytest.raises(CourseError, match=message):
        relevance(model, np.zeros((1, 12, 12, 2)), 0)
    with pytest.raises(CourseError, match=message):
        LRP(model)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("„lrp.omega“.*lrp.epsilon", lambda model, two: relevance(model, two, 0, "lrp.omega")),
        ("0 bis 9", lambda model, two: relevance(model, two, [0, -1])),
        (r"\(n, 12, 12, 2\).*preprocess", lambda model, two: relevance(model, two[0], 0)),
        ("eine Zahl ab 0 sein, nicht −1", lambda *_: epsilon(-1)),
        ("α − β = 1", lambda *_: alpha_beta(2, 2)),
        ("„ohne“, „getrennt“ oder „beide“", lambda *_: alpha_beta(2, 1, "egal")),
    ],
)
def test_ein_satz_statt_einer_spur(cnn, message, call):
    with pytest.raises(CourseError, match=message):
        call(cnn, np.zeros((2, 12, 12, 2)))


# --- iNNvestigate im selben Kernel ------------------------------------------------------------------------------------


def untouched() -> bool:
    """TensorFlow, wie es war: eager, Keras 3, leerer Standardgraph."""
    legacy = [name for name, module in sys.modules.items() if getattr(module, "__name__", "").startswith("tf_keras")]
    return (
        tf.executing_eagerly()
        and tf.keras.__version__.startswith("3.")
        and not [name for name in legacy if name.startswith("tensorflow.keras")]
        and not tf.compat.v1.get_default_graph().get_operations()
    )


def test_tensorflow_bleibt_wie_es_war(cnn, pictures):
    """Auch nach Fehlern; mehrere Analyzer stören sich nicht."""
    with LRP(cnn, "lrp.z") as first:
        assert untouched()
        alone = first.relevance(pictures, 3)
        with LRP(cnn, "lrp.flat") as second:
            assert deviation(second.relevance(pictures, 3), alone) > 0.1
        np.testing.assert_array_equal(first.relevance(pictures, 3), alone)
        np.testing.assert_allclose(first.logits(pictures), cnn.predict_on_batch(pictures), atol=1e-4)
        for inputs, message in ((np.zeros((2, 9, 9, 2)), "preprocess"), (pictures * np.nan, "NaN")):
            with pytest.raises(CourseError, match=message):
                first.relevance(inputs, 0)
    with pytest.raises(CourseError, match="schon geschlossen: Legen Sie"):
        first.relevance(pictures, 0)
    for rule, model in (("lrp.omega", cnn), ("lrp.epsilon", net(layers.Softmax()))):
        with pytest.raises(CourseError):
            LRP(model, rule)
    assert untouched()


@pytest.mark.alles
def test_close_gibt_den_speicher_frei():
    model = net(layers.Flatten(), *(layers.Dense(units) for units in (30_000, 300, 10)))

    def bytes_after(times):
        for _ in range(times):
            with LRP(model) as library:
                library.relevance(np.zeros((1, 12, 12, 2)), 0)
        gc.collect()
        return psutil.Process().memory_info().rss

    before = bytes_after(2)
    assert bytes_after(6) - before < model.count_params() * 4
