"""Der vereinfachte Graph: dieselbe Relevanz wie der ganze, mit weniger Faltungen."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from helpers import explanation, lrp_graph
from helpers.explanation import LRP, LRP_RULES
from helpers.model import keras, preprocess


def untouched(session, outputs):
    """Nur Konstanten statt Variablen, nichts gestrichen."""
    graph = session.graph.as_graph_def()
    return tf.compat.v1.graph_util.convert_variables_to_constants(session, graph, outputs)


def operations(lrp) -> collections.Counter:
    return collections.Counter(operation.type for operation in lrp._session.graph.get_operations())


@pytest.fixture(scope="module")
def beginning(small_vgg16):
    """Die ersten fünf Faltungen von VGG16 mit ImageNet-Gewichten und ein zufälliger Kopf: schneller aufgebaut."""
    keras.utils.set_random_seed(0)
    x = keras.layers.Flatten()(small_vgg16.get_layer("block3_conv1").output)
    return keras.Model(small_vgg16.input, keras.layers.Dense(10, name="logits")(x))


@pytest.mark.parametrize("rule", [*LRP_RULES, "lrp.alpha_2_beta_1", "lrp.sequential_preset_b", "ganzes Netz"])
def test_gleiche_relevanz_wie_ohne_vereinfachung(beginning, small_vgg16, dataset, monkeypatch, rule):
    """Auch bei den Regeln, die der Kurs nicht benutzt; eine davon am ganzen VGG16."""
    model = beginning
    if rule == "ganzes Netz":
        model, rule = small_vgg16, "lrp.alpha_2_beta_1_IB"
    inputs, classes = preprocess(dataset.test_images[:4], 32), [9, 2, 1, 1]
    with LRP(model, rule) as fast:
        found, fast_operations = fast.relevance(inputs, classes), operations(fast)
    monkeypatch.setattr(explanation, "simplified", untouched)
    with LRP(model, rule) as plain:
        expected, plain_operations = plain.relevance(inputs, classes), operations(plain)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    work = ("Conv2D", "Conv2DBackpropInput")
    before, after = (sum(counts[name] for name in work) for counts in (plain_operations, fast_operations))
    assert after <= before
    if "alpha" in rule or "preset" in rule:
        assert after < 0.8 * before, "die negativen Teile nach einem ReLU sind gestrichen"


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("rule", ["lrp.alpha_2_beta_1_IB", "lrp.alpha_1_beta_0"])
def test_negative_zwischenwerte_bleiben(monkeypatch, activation, rule):
    """Ohne ReLU sind Eingaben der nächsten Schicht auch negativ: Dort darf nichts verschwinden."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation=activation, bias_initializer="random_normal"),
            layers.MaxPooling2D(),
            layers.Conv2D(3, 2, activation=activation, bias_initializer="random_normal"),
            layers.Flatten(),
            layers.Dense(10, bias_initializer="random_normal"),
        ]
    )
    inputs = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    with LRP(model, rule) as fast:
        found = fast.relevance(inputs, 4)
    monkeypatch.setattr(explanation, "simplified", untouched)
    with LRP(model, rule) as plain:
        expected = plain.relevance(inputs, 4)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


def simplify(build):
    """Vereinfacht den Graphen, den ``build(x)`` baut; ergibt Wert vorher, Wert nachher und die Operationen danach."""
    values = np.linspace(-2, 2, 8).reshape(2, 4).astype(np.float32)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), name="x")
        output = tf.identity(build(x), name="y")
        before = session.run(output, {x: values})
        definition = lrp_graph.simplified(session, ["y"])
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        return before, session.run("y:0", {"x:0": values}), {node.op for node in definition.node}


def part(x, comparison):
    return x * tf.cast(comparison(x, 0.0), tf.float32)


def test_negativer_teil_nach_relu_verschwindet():
    weights = tf.ones((4, 3)).numpy()
    before, after, kinds = simplify(
        lambda x: tf.matmul(part(tf.nn.relu(x), tf.less), weights) + tf.matmul(part(tf.nn.relu(x), tf.greater), weights)
    )
    np.testing.assert_array_equal(before, after)
    assert "Less" not in kinds and "Greater" not in kinds and before.any()


def test_negativer_teil_der_eingabe_bleibt():
    before, after, kinds = simplify(lambda x: part(x, tf.less) + part(x, tf.greater))
    np.testing.assert_array_equal(before, after)
    assert {"Less", "Greater"} <= kinds


def test_vergleich_mit_anderer_grenze_bleibt():
    before, after, kinds = simplify(lambda x: tf.nn.relu(x) * tf.cast(tf.less(tf.nn.relu(x), 1.0), tf.float32) + x)
    np.testing.assert_array_equal(before, after)
    assert "Less" in kinds


def test_schwellenwert_einer_verschwundenen_schicht_bleibt():
    bias = np.array([1.0, -2.0, 3.0], np.float32)
    weights = np.ones((4, 3), np.float32)
    before, after, kinds = simplify(
        lambda x: tf.matmul(x, weights) + tf.nn.bias_add(tf.matmul(part(tf.nn.relu(x), tf.less), weights), bias)
    )
    np.testing.assert_array_equal(before, after)
    assert "Less" not in kinds


def test_null_als_ausgabe():
    before, after, _ = simplify(lambda x: part(tf.nn.relu(x), tf.less))
    np.testing.assert_array_equal(before, after)
    assert not before.any()
