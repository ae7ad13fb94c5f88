"""Das LRP des Kurses: gleich iNNvestigate und zennit, erhalten, live in Gewichten und Zahlen; und die Bibliothek."""

import functools
import gc
import sys

import numpy as np
import psutil
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from referenz.zennit_reference import reference_images

from helpers import lrp
from helpers.basics import CourseError
from helpers.course_model import load_course_model
from helpers.lrp import LRP_RULES, alpha_beta, epsilon, flat, relevance, w_square, zero
from helpers.lrp_library import LRP, ZENNIT_REFERENCE, ZENNIT_RULES, compare, load_reference, matches
from helpers.model import build_vgg16, keras

layers = keras.layers


def net(*stack, shape=(12, 12, 2), seed=0, bias=True):
    """Ein Netz aus den Schichten ``stack``; Schwellenwerte, die etwas ausmachen, oder keine."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(shape), *stack])
    rng = np.random.default_rng(seed)
    model.set_weights([v if v.ndim > 1 else bias * rng.normal(0, 0.2, v.shape) for v in model.get_weights()])
    return model


def small_cnn(seed=0, bias=True, padding="same", strides=1, size=12):
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
        bias=bias,
    )


shared_cnn = functools.cache(small_cnn)  # für Tests, die das Netz nur lesen


@pytest.fixture
def cnn():
    return shared_cnn()


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


@pytest.mark.parametrize("rule", [*LRP_RULES, "lrp.alpha_1_beta_0_IB"])
def test_jede_regel_wie_innvestigate(cnn, pictures, rule, record_property):
    classes = np.arange(10)
    expected = by_library(cnn, pictures, classes, rule)
    found = relevance(cnn, pictures, classes, rule, sum_channels=False)
    assert found.shape == pictures.shape and found.dtype == np.float32
    record_property("Abweichung", f"{rule} von iNNvestigate: {deviation(found, expected):.1e} von max|R|")
    assert deviation(found, expected) < 1e-4
    other = "lrp.flat" if rule != "lrp.flat" else "lrp.z"
    assert deviation(relevance(cnn, pictures, classes, other, sum_channels=False), expected) > 0.05, "Gegenprobe"


def twice():
    """Eine Faltung, die hintereinander zweimal benutzt wird: Ihre Reihenfolge steht nur im Graphen des Modells."""
    keras.utils.set_random_seed(5)
    shared, image = layers.Conv2D(2, 3, padding="same", activation="relu"), keras.Input((12, 12, 2))
    x = layers.Flatten()(shared(layers.MaxPooling2D(2)(shared(image))))
    return keras.Model(image, layers.Dense(10)(x))


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
    "mittelndes Pooling": lambda: net(
        layers.Conv2D(4, 3, activation="relu"), layers.AveragePooling2D((2, 1)), layers.Flatten(), layers.Dense(10)
    ),
    "Mittel über alles": lambda: net(
        layers.Conv2D(9, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(10)
    ),
    "dicht je Ort": lambda: net(layers.Dense(4, "relu"), layers.Flatten(), layers.Dense(10)),
    "dieselbe Schicht zweimal": twice,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rule", ["lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.flat"])
def test_jede_angabe_einer_schicht_wie_innvestigate(name, rule):
    """Sechs Bilder und zwei: Wenige Bilder rechnen ihre kleinen Faltungen als Matrixprodukt."""
    model, classes = NETS[name](), np.arange(6)
    inputs = np.random.default_rng(5).normal(size=(6, *model.input_shape[1:])).astype(np.float32)
    expected = by_library(model, inputs, classes, rule)
    for size in (6, 2):
        found = relevance(model, inputs, classes, rule, sum_channels=False, batch_size=size)
        assert deviation(found, expected) < 1e-4


def test_der_fehler_der_bibliothek_laesst_sich_nachrechnen(cnn, pictures):
    """Mit b⁺ und b⁻ in beiden Hälften kommt dasselbe heraus wie bei lrp.alpha_2_beta_1, sonst nicht."""
    expected = by_library(cnn, pictures, 3, "lrp.alpha_2_beta_1")
    for bias in ("beide", "ohne", "getrennt"):
        found = relevance(cnn, pictures, 3, alpha_beta(2, 1, bias), sum_channels=False)
        assert (deviation(found, expected) < 1e-3) == (bias == "beide")


@pytest.fixture(scope="module")
def reference():
    return load_reference()


@pytest.fixture(scope="module")
def course_model():
    return load_course_model().model


def test_die_referenz_gehoert_zu_diesen_gewichten(course_model, reference, tmp_path):
    """Ein neues Kursmodell braucht eine neue Referenz."""
    assert ZENNIT_REFERENCE.stat().st_size < 1_000_000
    assert matches(reference, course_model), "Referenz veraltet: python tests/referenz/zennit_reference.py"
    assert reference.rows.tolist() == reference_images(course_model)[2].tolist()
    assert not matches(reference, build_vgg16(seed=3))
    assert load_reference(tmp_path / "fehlt.npz") is None and not matches(None, course_model)


DAILY = ("lrp.epsilon", "lrp.alpha_2_beta_1_IB")


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=() if rule in DAILY else pytest.mark.alles)
        for rule in ZENNIT_RULES
        if rule != "lrp.alpha_2_beta_1"
    ],
)
def test_gleich_zennit_bild_fuer_bild(course_model, reference, rule, record_property):
    """VGG16, float64, gespeichert."""
    images, classes, _ = reference_images(course_model)
    correlation, sizes = compare(reference, course_model, images, classes, rule)
    record_property("Abweichung", f"{rule} von zennit: Korrelation je Bild mindestens {correlation.min():.6f}")
    assert correlation.min() >= 0.999, correlation
    np.testing.assert_allclose(sizes, 1, atol=0.1)


# --- Was jede Regel verspricht ----------------------------------------------------------------------------------------


class Dense:
    """Eine dichte Schicht für die Regeln allein."""

    signed = True
    forward = staticmethod(lambda a, w: a @ w)
    backward = staticmethod(lambda r, w: tf.matmul(r, w, transpose_b=True))


def apply(rule, a, w, b, r):
    rule = rule if isinstance(rule, lrp.Rule) else lrp.Rule(rule)
    given = (tf.constant(each, tf.float32) for each in (a, w, b, r))
    return rule.formula(Dense, *given, *rule.numbers, *rule.fixed).numpy()


def test_regeln_von_hand():
    a, w, none = [[1.0, 2.0]], [[1.0, -1.0], [0.5, 1.0]], [0.0, 0.0]
    np.testing.assert_allclose(apply(zero, a, w, none, [[4, 1]]), [[1, 4]], rtol=1e-6)
    np.testing.assert_allclose(apply(epsilon(1.0), a, w, none, [[6, 2]]), [[1, 4]], rtol=1e-6)
    np.testing.assert_allclose(apply(flat, a, w, none, [[3, 1]]), [[2, 2]], rtol=1e-6)
    np.testing.assert_allclose(apply(w_square, a, w, none, [[5, 2]]), [[5, 2]], rtol=1e-6)
    np.testing.assert_allclose(apply(alpha_beta(2, 1), a, w, none, [[0, 1]]), [[-1, 2]], rtol=1e-6)
    np.testing.assert_allclose(apply(lrp.gamma(1.0), a, w, none, [[0, 3]]), [[-1, 4]], rtol=1e-6)
    # z^B mit Werten in [0, 2]: Beiträge a·w − 0·w⁺ − 2·w⁻ = 1·(−1) + 2·1 = 1 und 2·1 = 2.
    np.testing.assert_allclose(apply(lrp.z_b(0.0, 2.0), a, w, none, [[0, 3]]), [[1, 2]], rtol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    rule=st.sampled_from(["lrp.z", "lrp.epsilon", "lrp.flat", "lrp.w_square"]),
    padding=st.sampled_from(["same", "valid"]),
)
def test_ohne_schwellenwerte_bleibt_die_relevanz_erhalten(seed, rule, padding):
    """Die Summe der Relevanz aller Eingänge ist der Logit der gefragten Klasse."""
    model, rng = shared_cnn(seed % 3, False, padding), np.random.default_rng(seed)
    inputs, classes = rng.normal(size=(3, 12, 12, 2)), rng.integers(0, 10, 3)
    logits = model.predict_on_batch(inputs)[np.arange(3), classes]
    total = relevance(model, inputs, classes, rule).sum(axis=(1, 2))
    np.testing.assert_allclose(total, logits, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10_000), alpha=st.floats(1, 3))
def test_alpha_beta_erhaelt_je_schicht(seed, alpha):
    """Hat jedes Neuron Zustimmung und Widerspruch, bleibt auch bei αβ die Summe, für jedes Neuron und jedes α."""
    rng = np.random.default_rng(seed)
    a, w, r = rng.normal(size=(4, 30)), rng.normal(size=(30, 6)), rng.normal(size=(4, 6))
    below = apply(alpha_beta(alpha, alpha - 1), a, w, rng.normal(size=6), r)
    np.testing.assert_allclose(below.sum(axis=1), r.sum(axis=1), atol=1e-4)


def test_schwellenwerte_behalten_relevanz(cnn, pictures):
    logits = cnn.predict_on_batch(pictures)[:, 3]
    assert np.abs(relevance(cnn, pictures, 3, "lrp.z").sum(axis=(1, 2)) - logits).max() > 0.05


@pytest.mark.parametrize("rule", ["lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat"])
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


@pytest.mark.parametrize("rule", ["lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat"])
def test_neue_gewichte_neue_karten(pictures, rule):
    """Dasselbe Modell nach ``set_weights`` und nach Training: die Karten eines frischen, ohne neu zu übersetzen."""
    model = small_cnn(1)
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


@pytest.mark.parametrize(("rule", "values"), [("lrp.epsilon", (1.0, 0.01)), ("lrp.alpha_beta", (1.0, 2.0, 3.5))])
def test_ein_regler_uebersetzt_nichts(cnn, pictures, rule, values):
    name, expected = rule, epsilon if rule == "lrp.epsilon" else lambda alpha: alpha_beta(alpha, alpha - 1)
    relevance(cnn, pictures, 3, name, parameter=values[0])
    compiled = lrp._compiled.cache_info().misses
    maps = [relevance(cnn, pictures, 3, name, parameter=value) for value in values]
    assert lrp._compiled.cache_info().misses == compiled
    for value, found in zip(values, maps, strict=True):
        assert deviation(found, relevance(cnn, pictures, 3, expected(value))) < 1e-5
    assert deviation(maps[0], maps[1]) > 0.1
    if rule == "lrp.epsilon":
        assert deviation(maps[0], by_library(cnn, pictures, 3, rule, epsilon=1.0).sum(axis=-1)) < 1e-4


def test_eine_regel_je_schicht(cnn, pictures):
    preset = [flat, alpha_beta(1, 0, "beide"), epsilon(0.1), epsilon(0.1)]
    expected = relevance(cnn, pictures, 3, "lrp.sequential_preset_a_flat")
    np.testing.assert_allclose(relevance(cnn, pictures, 3, preset), expected, atol=1e-6)


# --- Was hier niemand berechnet ---------------------------------------------------------------------------------------


def with_layers(*stack):
    return keras.Sequential([keras.Input((12, 12, 2)), *stack, layers.Flatten(), layers.Dense(10)])


def branched():
    image = keras.Input((12, 12, 2))
    x = layers.Conv2D(2, 3, padding="same", activation="relu")(image)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(layers.Add(name="summe")([x, image]))))


IMPOSSIBLE = {
    "„falten“ hat dilation_rate": lambda: with_layers(layers.Conv2D(4, 3, dilation_rate=2, name="falten")),
    "„falten“ hat groups": lambda: with_layers(layers.Conv2D(4, 3, groups=2, name="falten")),
    "„pool“ hat data_format": lambda: with_layers(layers.MaxPooling2D(2, data_format="channels_first", name="pool")),
    "„dicht“ hat die Aktivierung sigmoid": lambda: with_layers(layers.Dense(3, "sigmoid", name="dicht")),
    "softmax.*kein Softmax": lambda: net(layers.Flatten(), layers.Dense(10, "softmax")),
    "Art Softmax": lambda: net(layers.Flatten(), layers.Dense(10), layers.Softmax()),
    "Art BatchNormalization.*„normal“": lambda: with_layers(layers.BatchNormalization(name="normal")),
    "Art GlobalMaxPooling2D": lambda: net(layers.GlobalMaxPooling2D(), layers.Dense(10)),
    "„innen“": lambda: with_layers(keras.Sequential([layers.Conv2D(2, 3)], name="innen")),
    "„summe“ treffen sich": branched,
    "feste Bildgröße": lambda: net(layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), shape=(None, None, 2)),
    "genau einer Eingabe": lambda: keras.Model([image := keras.Input((2,)), keras.Input((2,))], layers.Dense(2)(image)),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
@pytest.mark.parametrize("engine", ["eigenes", "iNNvestigate"])
def test_ein_satz_nennt_die_schicht(message, engine):
    """Falsch zu rechnen, ohne es zu sagen, wäre schlimmer als gar nicht (dilation_rate = 2 war um 116 % daneben)."""
    model = IMPOSSIBLE[message]()
    with pytest.raises(CourseError, match=message):
        LRP(model) if engine == "iNNvestigate" else relevance(model, np.zeros((1, 12, 12, 2)), 0)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("„lrp.omega“.*lrp.epsilon", {"rule": "lrp.omega"}),
        ("lrp.flat hat keinen Parameter", {"rule": "lrp.flat", "parameter": 1}),
        ("ε von lrp.epsilon muss eine Zahl ab 0 sein, nicht −1", {"parameter": -1}),
        ("α von lrp.alpha_beta muss eine Zahl ab 1 sein, nicht 0,5", {"rule": "lrp.alpha_beta", "parameter": 0.5}),
        ("α von lrp.alpha_beta muss eine Zahl ab 1 sein, nicht nichts", {"rule": "lrp.alpha_beta"}),
        ("ε .* nicht nan", {"parameter": float("nan")}),
        ("4 Schichten mit Gewichten, es kamen aber 2 Regeln", {"rule": [zero, flat]}),
        ("0 bis 9", {"classes": 10}),
        ("0 bis 9", {"classes": [0, -1]}),
        ("2 Bildern .* 1", {"classes": [1]}),
        (r"\(n, 12, 12, 2\).*preprocess", {"inputs": np.zeros((12, 12, 2))}),
        (r"\(n, 12, 12, 2\).*preprocess", {"inputs": np.zeros((2, 28, 28, 2))}),
        ("NaN", {"inputs": np.full((2, 12, 12, 2), np.nan)}),
        ("unendlich", {"inputs": np.full((2, 12, 12, 2), np.inf)}),
    ],
)
def test_ein_satz_statt_einer_spur(cnn, message, call):
    with pytest.raises(CourseError, match=message):
        relevance(cnn, **{"inputs": np.zeros((2, 12, 12, 2)), "classes": 0} | call)


def test_unmoegliches_alpha_beta():
    with pytest.raises(CourseError, match="α − β = 1"):
        alpha_beta(2, 2)
    with pytest.raises(CourseError, match="„ohne“, „getrennt“ oder „beide“"):
        alpha_beta(2, 1, "egal")


def test_regeln_heissen_in_bildern_lesbar():
    """Notebooks und Wertungstafel nennen die Regeln bei diesen Namen."""
    assert len(set(LRP_RULES.values())) == len(LRP_RULES) == 9
    assert all("lrp." not in name for name in LRP_RULES.values())


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
        assert first.logits(pictures[:0]).shape == (0, 10) and first.relevance(pictures[:0], 3).shape == (0, 12, 12)
    for rule, model in (("lrp.omega", cnn), ("lrp.epsilon", net(layers.Softmax()))):
        with pytest.raises(CourseError):
            LRP(model, rule)
    assert untouched()


@pytest.mark.parametrize("call", ["relevance", "logits"])
def test_nach_close_ein_satz(cnn, pictures, call):
    library = LRP(cnn, "lrp.z")
    library.close()
    library.close()
    with pytest.raises(CourseError, match="schon geschlossen: Legen Sie"):
        getattr(library, call)(pictures, *([0] if call == "relevance" else []))


@pytest.mark.parametrize(
    ("inputs", "message"), [(np.zeros((2, 9, 9, 2)), "preprocess"), (np.full((2, 12, 12, 2), np.nan), "NaN")]
)
def test_die_bibliothek_prueft_ihre_bilder(cnn, inputs, message):
    with LRP(cnn) as library, pytest.raises(CourseError, match=message):
        library.relevance(inputs, 0)


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
