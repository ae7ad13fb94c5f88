"""Das LRP zum Nachlesen: gleich iNNvestigate auf 1e-4 der größten Relevanz, und ohne Schwellenwerte erhalten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import lrp as own
from helpers.basics import CourseError
from helpers.lrp import alpha_beta, epsilon, flat, lrp, zero
from helpers.lrp_library import LRP
from helpers.model import keras


def small_cnn(seed=0, bias=True, padding="same", strides=1, size=12, channels=2):
    """Zwei Faltungen, Max-Pooling, zwei dichte Schichten; Schwellenwerte, die etwas ausmachen."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((size, size, channels)),
            layers.Conv2D(6, 3, strides=strides, padding=padding, activation="relu", use_bias=bias),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, padding=padding, activation="relu", use_bias=bias),
            layers.Flatten(),
            layers.Dense(12, "relu", use_bias=bias),
            layers.Dense(10, use_bias=bias),
        ]
    )
    rng = np.random.default_rng(seed)
    model.set_weights([v if v.ndim > 1 else rng.normal(0, 0.2, v.shape) for v in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def trained(dataset):
    """Ein kleines CNN, das auf echten Bildern gelernt hat, und zwölf Testbilder mit ihren Klassen."""
    model = small_cnn(size=28, channels=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(dataset.train_images[:1500, ..., None] / 255, dataset.train_labels[:1500], epochs=3, verbose=0)
    return model, dataset.test_images[:12, ..., None] / 255, dataset.test_labels[:12].astype(int)


RULES = {
    "lrp.z": zero,
    "lrp.epsilon": epsilon(),
    "lrp.alpha_2_beta_1_IB": alpha_beta(2, 1),
    "lrp.alpha_1_beta_0_IB": alpha_beta(1, 0),
    "lrp.alpha_1_beta_0": alpha_beta(1, 0, "beide"),
    "lrp.flat": flat,
    "lrp.sequential_preset_a_flat": [flat, alpha_beta(1, 0, "beide"), epsilon(0.1), epsilon(0.1)],
}


def largest_difference(model, inputs, classes, name, rules, **options):
    with LRP(model, name, **options) as library:
        expected = library.relevance(inputs, classes, sum_channels=False)
    return np.abs(lrp(model, inputs, classes, rules) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", RULES)
def test_gleich_innvestigate_auf_einem_trainierten_netz(trained, name, record_property):
    options = {"epsilon": 0.1} if "preset" in name else {}
    difference = largest_difference(*trained, name, RULES[name], **options)
    record_property("Abweichung", f"{name} von iNNvestigate: {difference:.1e} von max|R|")
    assert difference < 1e-4


@pytest.mark.parametrize("name", ["lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.flat"])
@pytest.mark.parametrize(("padding", "strides"), [("valid", 1), ("same", 2), ("valid", 2)])
def test_raender_schrittweiten_und_negative_eingaben(name, padding, strides):
    model = small_cnn(3, padding=padding, strides=strides, size=13)
    inputs = np.random.default_rng(5).normal(size=(4, 13, 13, 2)).astype(np.float32)
    assert largest_difference(model, inputs, [1, 2, 3, 4], name, RULES[name]) < 1e-4


def test_der_fehler_der_bibliothek_laesst_sich_nachrechnen(trained):
    """Mit b⁺ und b⁻ in beiden Hälften kommt dasselbe heraus wie bei lrp.alpha_2_beta_1, ohne nicht."""
    assert largest_difference(*trained, "lrp.alpha_2_beta_1", alpha_beta(2, 1, "beide")) < 1e-3
    assert largest_difference(*trained, "lrp.alpha_2_beta_1", alpha_beta(2, 1)) > 0.1
    assert largest_difference(*trained, "lrp.alpha_2_beta_1", alpha_beta(2, 1, "getrennt")) > 0.1


def test_ein_falsches_vorzeichen_faellt_auf(trained):
    assert largest_difference(*trained, "lrp.alpha_2_beta_1_IB", alpha_beta(1, 0)) > 0.1
    assert largest_difference(*trained, "lrp.epsilon", flat) > 0.1


def test_lrp_null_von_hand():
    a, w = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [0.5, 1.0]])
    hidden = np.maximum(a @ w, 0)
    below = zero(a, w, 0, hidden * [[2.0, 1.0]])
    np.testing.assert_allclose(below, [[1, 4]])
    np.testing.assert_allclose(flat(a, w, 0, np.array([[3.0, 1.0]])), [[2, 2]])
    np.testing.assert_allclose(alpha_beta(2, 1)(a, w, 0, np.array([[0.0, 1.0]])), [[-1, 2]])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rule=st.sampled_from([zero, epsilon(1e-9), flat]),
    padding=st.sampled_from(["same", "valid"]),
)
def test_ohne_schwellenwerte_bleibt_die_relevanz_erhalten(seed, rule, padding):
    """Die Summe der Relevanz aller Eingänge ist der Logit der gefragten Klasse."""
    model = small_cnn(seed % 7, bias=False, padding=padding)
    rng = np.random.default_rng(seed)
    inputs, classes = rng.normal(size=(3, 12, 12, 2)), rng.integers(0, 10, 3)
    logits = model.predict(inputs, verbose=0)[np.arange(3), classes]
    total = lrp(model, inputs, classes, rule).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(total, logits, rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(1, 3))
def test_alpha_beta_erhaelt_je_schicht(seed, alpha):
    """Hat jedes Neuron Zustimmung und Widerspruch, bleibt auch bei αβ die Summe, für jedes Neuron und jedes α."""
    rng = np.random.default_rng(seed)
    a, w, r = rng.normal(size=(4, 30)), rng.normal(size=(30, 6)), rng.normal(size=(4, 6))
    below = alpha_beta(alpha, alpha - 1)(a, w, rng.normal(size=6), r)
    np.testing.assert_allclose(below.sum(axis=1), r.sum(axis=1), atol=1e-9)


def test_schwellenwerte_behalten_relevanz(trained):
    model, inputs, classes = trained
    logits = model.predict(inputs, verbose=0)[np.arange(12), classes]
    total = lrp(model, inputs, classes, zero).sum(axis=(1, 2, 3))
    assert np.abs(total - logits).max() > 0.05


def test_saetze_statt_spuren(trained):
    model, inputs, _ = trained
    with pytest.raises(CourseError, match="α − β = 1"):
        alpha_beta(2, 2)
    with pytest.raises(CourseError, match="„ohne“, „getrennt“ oder „beide“"):
        alpha_beta(2, 1, "egal")
    with pytest.raises(CourseError, match="4 Schichten mit Gewichten, es kamen aber 2 Regeln"):
        lrp(model, inputs, 0, [zero, flat])
    sigmoid = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "sigmoid", name="ende")])
    with pytest.raises(CourseError, match="„ende“ hat die Aktivierung sigmoid"):
        own.read_layers(sigmoid)
    other = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(name="normal")])
    with pytest.raises(CourseError, match="BatchNormalization"):
        own.read_layers(other)
