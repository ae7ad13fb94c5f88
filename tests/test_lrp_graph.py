"""Der vereinfachte Graph: dieselbe Relevanz wie der ganze, mit weniger Faltungen."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from helpers import lrp_graph, lrp_library
from helpers.lrp import LRP_RULES
from helpers.lrp_library import LRP
from helpers.model import keras, preprocess


def untouched(self, outputs):
    """Anstelle von ``Simplifier.run``: Nichts wird gestrichen."""
    return self._graph


@pytest.fixture(autouse=True)
def no_kept_graphs():
    """Jeder Test baut seine Graphen selbst."""
    lrp_library._template.cache_clear()
    yield
    lrp_library._template.cache_clear()


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
    lrp_library._template.cache_clear()
    monkeypatch.setattr(lrp_graph.Simplifier, "run", untouched)
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
    lrp_library._template.cache_clear()
    monkeypatch.setattr(lrp_graph.Simplifier, "run", untouched)
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
        definition = lrp_graph.simplified(graph, ["y"])
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
    np.testing.assert_allclose(before, after, rtol=1e-6)
    assert "Less" not in kinds


def test_null_als_ausgabe():
    before, after, _ = simplify(lambda x: part(tf.nn.relu(x), tf.less))
    np.testing.assert_array_equal(before, after)
    assert not before.any()


# --- Ein Graph für alle Modelle einer Bauart --------------------------------------------------------------------------


def test_ein_graph_fuer_alle_gewichte(beginning, dataset):
    """Andere Gewichte im selben Graphen: dieselbe Relevanz wie ein frisch gebauter."""
    other = keras.models.clone_model(beginning)
    other.set_weights([value[::-1] * 0.9 for value in beginning.get_weights()])
    inputs = preprocess(dataset.test_images[:4], 32)
    found = {}
    for model in (beginning, other):
        with LRP(model, "lrp.alpha_2_beta_1_IB") as lrp:
            found[model] = lrp.relevance(inputs, 5)
    assert lrp_library._template.cache_info()[:2] == (1, 1), "einmal gebaut, einmal wiederverwendet"
    assert np.corrcoef(found[beginning].ravel(), found[other].ravel())[0, 1] < 0.9
    lrp_library._template.cache_clear()
    with LRP(other, "lrp.alpha_2_beta_1_IB") as lrp:
        np.testing.assert_array_equal(lrp.relevance(inputs, 5), found[other])


def test_andere_bauart_regel_oder_angabe_heisst_neuer_graph():
    def net(units, activation="relu"):
        layers = [keras.layers.Flatten(name="f"), keras.layers.Dense(units, activation, name="a")]
        return keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(10, name="b")])

    calls = [(net(3), "lrp.z", {}), (net(4), "lrp.z", {}), (net(3, "linear"), "lrp.z", {}), (net(3), "lrp.flat", {})]
    calls += [(net(3), "lrp.epsilon", {}), (net(3), "lrp.epsilon", {"epsilon": 0.5})]
    for model, rule, options in calls:
        LRP(model, rule, **options).close()
    assert lrp_library._template.cache_info()[:2] == (0, len(calls))


def test_fremde_variablen_und_falsche_formen_fallen_auf():
    with tf.Graph().as_default() as built:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), name="x")
        first, second = (tf.Variable(tf.ones(4), name=name) for name in ("erste", "zweite"))
        tf.identity(x * first * second, name="y")
        with pytest.raises(ValueError, match="auch von zweite ab"):
            lrp_graph.simplified(built, ["y"], ["erste"])
        definition = lrp_graph.simplified(built, ["y"], ["erste", "zweite"])
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        given = {"x:0": np.ones((1, 4)), "erste:0": np.arange(4), "zweite:0": np.full(4, 2)}
        np.testing.assert_array_equal(session.run("y:0", given), [[0, 2, 4, 6]])
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            session.run("y:0", given | {"erste:0": np.ones(3)})
