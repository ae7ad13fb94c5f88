"""Grad-CAM und LRP: gegen eigene Rechnungen, in Stapeln jeder Größe, ohne Spuren im Speicher oder in TensorFlow."""

import gc
import subprocess
import sys

import numpy as np
import psutil
import pytest
import tensorflow as tf

from helpers import gradcam, lrp_library
from helpers.basics import ROOT, CourseError
from helpers.gradcam import grad_cam
from helpers.lrp import LRP_RULES
from helpers.lrp_library import LRP
from helpers.model import keras, predict_logits, preprocess


def megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


# --- Grad-CAM -------------------------------------------------------------------------------------------------------


def enlarge(values, size):
    """Bilinear, Ecke auf Ecke, mit np.interp statt scipy."""
    places = np.linspace(0, len(values) - 1, size)
    columns = np.stack([np.interp(places, np.arange(len(values)), column) for column in values.T], axis=1)
    return np.stack([np.interp(places, np.arange(values.shape[1]), row) for row in columns])


def own_grad_cam(model, inputs, classes, layer, normalize=True):
    both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    maps = []
    for image, label in zip(inputs, classes, strict=True):
        with tf.GradientTape() as tape:
            features, logits = both(image[None])
            score = logits[0, label]
        weights = tape.gradient(score, features).numpy()[0].mean(axis=(0, 1))
        coarse = np.maximum((features.numpy()[0] * weights).sum(axis=-1), 0)
        large = enlarge(coarse, inputs.shape[1])
        if normalize:
            large = (large - large.min()) / (np.ptp(large) + 1e-7)
        maps.append(large)
    return np.stack(maps)


@pytest.fixture(scope="module")
def inputs(dataset):
    return preprocess(dataset.test_images[:6])


@pytest.mark.parametrize("layer", ["block5_conv3", "block4_conv2", "block1_conv1"])
def test_grad_cam_wie_die_eigene_rechnung(vgg16, inputs, layer):
    classes = np.array([0, 1, 2, 7, 8, 9])
    found = grad_cam(vgg16, inputs, classes, layer)
    assert found.shape == (6, 64, 64) and found.dtype == np.float32
    expected = own_grad_cam(vgg16, inputs, classes, layer)
    # Bis block1 führt der Weg durch vier Max-Poolings: Bei fast gleichen Werten entscheidet dort die letzte Stelle,
    # wohin die Ableitung fließt, und die hängt vom Prozessor ab (ohne AVX-512 gemessen: 4e-4).
    np.testing.assert_allclose(found, expected, atol=2e-3 if layer == "block1_conv1" else 1e-5)
    assert (expected.max(axis=(1, 2)) > 0.99).sum() >= 3, "leere Karten vergleichen wäre zu leicht"
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("layer", ["block5_conv3", "block3_conv1"])
@pytest.mark.parametrize("normalize", [True, False])
def test_grad_cam_wie_tf_keras_vis(vgg16, inputs, layer, normalize, record_property):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    classes = [3, 1, 4, 1, 5, 9]
    library = Gradcam(vgg16, clone=False)
    expected = library(CategoricalScore(classes), inputs, penultimate_layer=layer, normalize_cam=normalize)
    found = grad_cam(vgg16, inputs, classes, layer, normalize=normalize)
    difference = np.abs(found - expected).max() / max(1, expected.max())
    kind = "gestreckt" if normalize else "roh"
    record_property("Abweichung", f"Grad-CAM, {layer}, {kind}, von tf-keras-vis: {difference:.1e}")
    assert difference < 1e-5 and expected.max() > 0


def test_grad_cam_sieht_neue_gewichte(small_vgg16, dataset):
    """Die übersetzte Funktion bleibt erhalten, die Gewichte darin sind die von jetzt."""
    model = keras.models.clone_model(small_vgg16)
    one = preprocess(dataset.test_images[:2], 32)
    before = grad_cam(model, one, 0, normalize=False)
    model.set_weights(small_vgg16.get_weights())
    after = grad_cam(model, one, 0, normalize=False)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, grad_cam(small_vgg16, one, 0, normalize=False), rtol=1e-4, atol=1e-4)


@pytest.mark.langsam
def test_viele_bilder_brauchen_nicht_mehr_speicher(small_vgg16, dataset):
    """Nach dem Warmlaufen wächst der Speicher nur um das Ergebnis selbst."""
    inputs = preprocess(dataset.test_images[:2000], 32)
    with LRP(small_vgg16, "lrp.epsilon") as lrp:
        for run in (lambda x: grad_cam(small_vgg16, x, 3), lambda x: lrp.relevance(x, 3)):
            run(inputs[:128])
            before = megabytes()
            result = run(inputs)
            assert megabytes() - before < result.nbytes / 2**20 + 60


def test_grad_cam_ohne_strecken(vgg16, inputs):
    found = grad_cam(vgg16, inputs, 3, normalize=False)
    expected = own_grad_cam(vgg16, inputs, [3] * 6, "block5_conv3", normalize=False)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    assert found.min() >= 0 and not 0.99 < found.max() < 1.01


def test_grad_cam_in_stapeln(vgg16, inputs):
    classes = [4, 4, 1, 0, 9, 2]
    whole = grad_cam(vgg16, inputs, classes)
    for size in (1, 4):
        np.testing.assert_allclose(grad_cam(vgg16, inputs, classes, batch_size=size), whole, atol=1e-4)


def test_grad_cam_fuer_jede_klasse(small_vgg16, dataset):
    one = preprocess(dataset.test_images[:1], 32)
    maps = grad_cam(small_vgg16, np.repeat(one, 10, axis=0), np.arange(10), normalize=False)
    assert len({single.tobytes() for single in maps if single.any()}) >= 3, "andere Klasse, andere Karte"
    np.testing.assert_allclose(grad_cam(small_vgg16, one, 6, normalize=False)[0], maps[6], atol=1e-4 * maps.max())


def test_grad_cam_ohne_bilder(small_vgg16):
    assert grad_cam(small_vgg16, np.empty((0, 32, 32, 3), np.float32), 3).shape == (0, 32, 32)
    assert grad_cam(small_vgg16, np.empty((0, 32, 32, 3), np.float32), []).shape == (0, 32, 32)


def test_grad_cam_auf_sequential():
    """Ein frisches Sequential hat noch kein ``output``; auch Lernende bauen Modelle so."""
    model = with_layers(keras.layers.Conv2D(4, 3, name="falten"), keras.layers.Flatten(), keras.layers.Dense(10))
    assert grad_cam(model, np.ones((2, 12, 12, 1), np.float32), 0, "falten").shape == (2, 12, 12)


def test_grad_cam_laesst_das_modell_wie_es_ist(small_vgg16, dataset):
    before = predict_logits(small_vgg16, dataset.test_images[:3])
    grad_cam(small_vgg16, preprocess(dataset.test_images[:3], 32), 0)
    np.testing.assert_array_equal(predict_logits(small_vgg16, dataset.test_images[:3]), before)


@pytest.mark.parametrize("layer", ["block6_conv1", "block5_pool", "logits", ""])
def test_grad_cam_unbekannte_schicht(small_vgg16, layer):
    with pytest.raises(CourseError, match=f"„{layer}“ gibt es nicht: .*block5_conv3"):
        grad_cam(small_vgg16, np.zeros((1, 32, 32, 3), np.float32), 0, layer)


@pytest.mark.parametrize(
    ("classes", "message"),
    [(10, "0 bis 9"), (-1, "0 bis 9"), ([0, 10], "0 bis 9"), ([1, 2, 3], "2 Bildern .* 3"), ([], "2 Bildern .* 0")],
)
def test_grad_cam_unpassende_klassen(small_vgg16, classes, message):
    with pytest.raises(CourseError, match=message):
        grad_cam(small_vgg16, np.zeros((2, 32, 32, 3), np.float32), classes)


# --- LRP auf VGG16 --------------------------------------------------------------------------------------------------


def same_maps(found, expected) -> None:
    """Gleich bis auf Rundung: fast überall auf 1e-3 der größten Relevanz, an Knicken des Netzes wenig mehr."""
    difference = np.abs(found - expected)
    scale = np.abs(expected).max()
    assert np.quantile(difference, 0.98) <= 1e-3 * scale and difference.max() <= 0.05 * scale


@pytest.mark.parametrize("rule", LRP_RULES)
def test_jede_regel_auf_vgg16(rule, small_vgg16, dataset):
    """Zwilling mit gleichen Logits, Stapel jeder Größe, jede Klasse."""
    images = dataset.test_images[:5]
    # Rauschen, damit im Hintergrund kein Max-Pooling-Fenster vier gleiche Werte hat: Da entschiede die Rundung, die von
    # Stapel und Prozessor abhängt.
    inputs = preprocess(images, 32) + np.random.default_rng(0).uniform(-8, 8, (5, 32, 32, 3)).astype(np.float32)
    classes = np.array([9, 2, 2, 0, 5])
    with LRP(small_vgg16, rule) as lrp:
        np.testing.assert_allclose(lrp.logits(inputs), small_vgg16.predict_on_batch(inputs), atol=1e-3)
        relevance = lrp.relevance(inputs, classes)
        assert relevance.shape == (5, 32, 32) and np.isfinite(relevance).all()
        scale = np.abs(relevance).max()
        assert scale > 0
        for size in (2, 3):
            same_maps(lrp.relevance(inputs, classes, size), relevance)
        same_maps(lrp.relevance(inputs[1:2], 2)[0], relevance[1])
        other = lrp.relevance(inputs, (classes + 1) % 10)
        assert np.abs(other - relevance).max() > 0.01 * scale, "andere Klasse, andere Relevanz"
        channels = lrp.relevance(inputs, classes, sum_channels=False)
        assert channels.shape == (5, 32, 32, 3)
        np.testing.assert_allclose(channels.sum(axis=-1), relevance, atol=1e-4 * scale)
        assert lrp.relevance(inputs[:0], 3).shape == (0, 32, 32)


def test_alle_verlangten_regeln_gibt_es():
    assert set(LRP_RULES) == {
        "lrp.z",
        "lrp.epsilon",
        "lrp.alpha_1_beta_0",
        "lrp.alpha_2_beta_1_IB",
        "lrp.flat",
        "lrp.w_square",
        "lrp.sequential_preset_a",
        "lrp.sequential_preset_a_flat",
        "deep_taylor",
    }


# --- LRP auf kleinen Netzen -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cnn():
    """Ein kleines Netz ohne Biases: Dort geht nirgends Relevanz verloren."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(6, 3, activation="relu", use_bias=False, name="falten")(x)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(20, activation="relu", use_bias=False)(x)
    return keras.Model(image, keras.layers.Dense(10, use_bias=False)(x))


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(2).normal(size=(30, 12, 12, 1)).astype(np.float32)


@pytest.mark.parametrize("rule", ["lrp.z", "lrp.epsilon"])
def test_relevanz_bleibt_erhalten(rule, cnn, pictures):
    classes = np.arange(30) % 10
    logits = cnn.predict_on_batch(pictures)[np.arange(30), classes]
    with LRP(cnn, rule) as lrp:
        sums = lrp.relevance(pictures, classes).sum(axis=(1, 2))
    clear = np.abs(logits) > 0.05
    assert clear.sum() > 15
    np.testing.assert_allclose(sums[clear], logits[clear], rtol=0.01)


def dense_net(bias):
    keras.utils.set_random_seed(4)
    x = image = keras.Input((4, 4, 2))
    x = keras.layers.Flatten()(x)
    for units in (16, 12):
        x = keras.layers.Dense(units, activation="relu", bias_initializer="normal" if bias else "zeros")(x)
    return keras.Model(image, keras.layers.Dense(10, bias_initializer="normal" if bias else "zeros")(x))


def own_lrp_epsilon(model, inputs, classes, epsilon):
    """LRP-ε für dichte Schichten, Bach et al. (2015), Gleichung 58, in NumPy mit doppelter Genauigkeit."""
    weights = [value.astype(np.float64) for value in model.get_weights()]
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    activations, sums = [inputs.reshape(len(inputs), -1).astype(np.float64)], []
    for kernel, bias in layers:
        sums.append(activations[-1] @ kernel + bias)
        activations.append(np.maximum(sums[-1], 0))
    relevance = np.where(np.arange(10) == np.asarray(classes)[:, None], sums[-1], 0)
    for (kernel, _), below, total in zip(layers[::-1], activations[-2::-1], sums[::-1], strict=True):
        stabilized = total + np.where(total >= 0, epsilon, -epsilon)
        relevance = below * ((relevance / stabilized) @ kernel.T)
    return relevance.reshape(inputs.shape)


@pytest.mark.parametrize(("bias", "options"), [(False, {}), (True, {}), (True, {"epsilon": 0.25})])
def test_lrp_epsilon_wie_von_hand(bias, options):
    model = dense_net(bias)
    inputs = np.random.default_rng(7).normal(size=(9, 4, 4, 2)).astype(np.float32)
    classes = np.array([0, 1, 2, 3, 4, 5, 6, 7, 9])
    with LRP(model, "lrp.epsilon", **options) as lrp:
        found = lrp.relevance(inputs, classes, sum_channels=False)
    expected = own_lrp_epsilon(model, inputs, classes, options.get("epsilon", 1e-7))
    largest = np.abs(expected).max()
    assert largest > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * largest)


def test_epsilon_macht_einen_unterschied(cnn, pictures):
    with LRP(cnn, "lrp.epsilon", epsilon=1.0) as strong, LRP(cnn, "lrp.epsilon") as weak:
        a, b = strong.relevance(pictures, 0), weak.relevance(pictures, 0)
    assert np.abs(a).sum() < 0.9 * np.abs(b).sum()


def test_mehrere_analyzer_zugleich(cnn, pictures):
    with LRP(cnn, "lrp.z") as first:
        alone = first.relevance(pictures, 3)
        with LRP(cnn, "lrp.flat") as second:
            np.testing.assert_array_equal(first.relevance(pictures, 3), alone)
            assert np.abs(second.relevance(pictures, 3) - alone).max() > 1e-3
        np.testing.assert_array_equal(first.relevance(pictures, 3), alone)


def test_neue_gewichte_heisst_neuer_analyzer(cnn, pictures):
    copy = keras.models.clone_model(cnn)
    copy.set_weights([2 * value for value in cnn.get_weights()])
    with LRP(cnn) as lrp, LRP(copy) as doubled:
        np.testing.assert_allclose(doubled.logits(pictures), 8 * lrp.logits(pictures), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(lrp.logits(pictures), cnn.predict_on_batch(pictures), atol=1e-4)


# --- Fehler ---------------------------------------------------------------------------------------------------------


def with_layers(*layers):
    return keras.Sequential([keras.Input((12, 12, 1)), *layers])


def test_unbekannte_regel(cnn):
    with pytest.raises(CourseError, match="„lrp.omega“.*lrp.epsilon"):
        LRP(cnn, "lrp.omega")


def test_softmax_wird_abgelehnt():
    model = with_layers(keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax", name="ausgabe"))
    with pytest.raises(CourseError, match="„ausgabe“.*softmax.*kein Softmax"):
        LRP(model)
    model = with_layers(keras.layers.Flatten(), keras.layers.Dense(10), keras.layers.Softmax())
    with pytest.raises(CourseError, match="Softmax"):
        LRP(model)


def test_verschachteltes_modell_wird_abgelehnt(cnn):
    inner = keras.Model(cnn.input, cnn.get_layer("falten").output, name="innen")
    model = with_layers(inner, keras.layers.Flatten(), keras.layers.Dense(10))
    with pytest.raises(CourseError, match="„innen“"):
        LRP(model)


@pytest.mark.parametrize("shape", [(12, 12, 1), (2, 12, 12), (2, 28, 28, 1), (2, 12, 12, 3)])
def test_falsche_bildform(cnn, shape):
    with LRP(cnn) as lrp, pytest.raises(CourseError, match=r"\(n, 12, 12, 1\).*preprocess"):
        lrp.relevance(np.zeros(shape), 0)


@pytest.mark.parametrize(("classes", "message"), [(10, "0 bis 9"), ([0, -1], "0 bis 9"), ([1], "2 Bildern .* 1")])
def test_unpassende_klassen(cnn, classes, message):
    with LRP(cnn) as lrp, pytest.raises(CourseError, match=message):
        lrp.relevance(np.zeros((2, 12, 12, 1)), classes)


# --- Keine Spuren ---------------------------------------------------------------------------------------------------


def assert_tensorflow_untouched():
    assert tf.executing_eagerly()
    assert tf.keras.__version__.startswith("3.")
    assert issubclass(keras.Model, tf.keras.Model) and tf.keras.Model is not None
    assert not [name for name, module in sys.modules.items() if name.startswith("tensorflow.keras") and legacy(module)]
    assert tf.compat.v1.get_default_graph() is not None and not tf.compat.v1.get_default_graph().get_operations()
    assert float(tf.reduce_sum(tf.ones((2, 2)))) == 4


def legacy(module):
    return getattr(module, "__name__", "").startswith("tf_keras")


def test_tensorflow_bleibt_wie_es_war(cnn, pictures):
    with LRP(cnn) as lrp:
        assert_tensorflow_untouched()
        lrp.relevance(pictures, 1)
        assert_tensorflow_untouched()
    assert_tensorflow_untouched()


@pytest.mark.parametrize("rule", ["lrp.omega", "lrp.epsilon"])
def test_tensorflow_bleibt_auch_nach_fehlern_wie_es_war(cnn, rule):
    model = cnn if rule == "lrp.omega" else with_layers(keras.layers.Softmax())
    with pytest.raises(CourseError):
        LRP(model, rule)
    assert_tensorflow_untouched()


def test_grad_cam_und_training_gehen_nach_lrp_noch(cnn, pictures):
    before = grad_cam(cnn, pictures[:3], 1, "falten")
    with LRP(cnn) as lrp:
        lrp.relevance(pictures[:3], 1)
        np.testing.assert_allclose(grad_cam(cnn, pictures[:3], 1, "falten"), before, atol=1e-6)
    copy = keras.models.clone_model(cnn)
    copy.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = copy.fit(pictures, np.arange(30) % 10, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_viele_aufrufe_brauchen_nicht_mehr_speicher(small_vgg16, dataset):
    inputs = preprocess(dataset.test_images[:8], 32)
    with LRP(small_vgg16, "lrp.flat") as lrp:
        for _ in range(3):
            lrp.relevance(inputs, 2)
        before = megabytes()
        for call in range(60):
            lrp.relevance(inputs[: 1 + call % 8], call % 10)
        assert megabytes() - before < 100


CLOSING = """
import psutil, numpy as np
from helpers.lrp_library import LRP
from helpers.model import keras

def megabytes():
    return psutil.Process().memory_info().rss / 2**20

def open_one():
    lrp = LRP(model)
    lrp.relevance(np.zeros((1, 12, 12, 1)), 0)
    return lrp

layers = [keras.layers.Flatten(), *(keras.layers.Dense(units) for units in (30_000, 300, 10))]
model = keras.Sequential([keras.Input((12, 12, 1)), *layers])
before = megabytes()
lrp = open_one()
level = megabytes()
lrp.close()
for _ in range(4):
    with open_one() as lrp:
        pass
print(model.count_params() * 4 / 2**20, level - before, megabytes() - level)
"""


def test_close_gibt_den_speicher_frei():
    """In einem eigenen Prozess: Hier im Testlauf liegt schon freier Speicher bereit, den man nicht wachsen sieht."""
    done = subprocess.run([sys.executable, "-c", CLOSING], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    weights, opened, grown = map(float, done.stdout.split())
    assert weights > 50
    assert opened > weights / 2, "Gegenprobe: Offen belegt ein Analyzer sichtbar Speicher"
    assert grown < weights, "vier geschlossene Analyzer dürfen nichts behalten"


@pytest.mark.parametrize("call", ["relevance", "logits"])
def test_nach_close_ein_satz(cnn, pictures, call):
    lrp = LRP(cnn, "lrp.z")
    lrp.close()
    with pytest.raises(CourseError, match="schon geschlossen: Legen Sie"):
        getattr(lrp, call)(pictures, *([0] if call == "relevance" else []))


def test_grad_cam_weist_rohe_bilder_ab(small_vgg16, dataset):
    with pytest.raises(CourseError, match="Grad-CAM erwartet vorverarbeitete Bilder"):
        grad_cam(small_vgg16, dataset.test_images[:2], [0, 1])


def test_keine_bilder_keine_logits(small_vgg16, cnn, pictures):
    assert predict_logits(small_vgg16, np.empty((0, 28, 28), np.uint8)).shape == (0, 10)
    with LRP(cnn, "lrp.z") as lrp:
        assert lrp.logits(pictures[:0]).shape == (0, 10)


def test_regeln_heissen_in_bildern_lesbar():
    assert len(set(LRP_RULES.values())) == len(LRP_RULES)
    assert all("lrp." not in name for name in LRP_RULES.values())
    assert lrp_library.LRP_RULES["lrp.alpha_2_beta_1_IB"] != lrp_library.LRP_RULES["lrp.alpha_1_beta_0"]


def test_im_hintergrund_entscheidet_die_rundung_sonst_nirgends(small_vgg16, dataset):
    """Ein Bild allein und im Stapel: Die Summe ist gleich, auf der Kleidung ist es fast jedes Pixel (siehe 05)."""
    images = dataset.test_images[:8]
    inputs, classes = preprocess(images, 32), dataset.test_labels[:8].astype(int)
    with LRP(small_vgg16, "lrp.epsilon") as lrp:
        whole = lrp.relevance(inputs, classes)
        alone = np.concatenate([lrp.relevance(inputs[i : i + 1], classes[i : i + 1]) for i in range(8)])
    scale = np.abs(whole).max(axis=(1, 2))
    np.testing.assert_allclose(alone.sum(axis=(1, 2)) / scale, whole.sum(axis=(1, 2)) / scale, atol=1e-3)
    garment = preprocess(images, 32)[..., 0] > preprocess(np.zeros_like(images[:1]), 32)[..., 0] + 25
    assert 0.2 < garment.mean() < 0.8
    assert np.quantile((np.abs(alone - whole) / scale[:, None, None])[garment], 0.98) < 1e-3


# --- Grad-CAM++ und Eingabe mal Ableitung -----------------------------------------------------------------------------


def test_eingabe_mal_ableitung_ist_lrp_null(small_vgg16, dataset):
    from helpers.lrp import lrp, zero

    inputs, classes = preprocess(dataset.test_images[:2], 32), np.array([3, 8])
    found = gradcam.input_times_gradient(small_vgg16, inputs, classes)
    expected = lrp(small_vgg16, inputs, classes, zero).sum(axis=-1)
    # Bei Gleichstand im Max-Pooling (einfarbiger Hintergrund) entscheidet die letzte Stelle: Einzelne Pixel weichen ab.
    assert np.quantile(np.abs(found - expected), 0.95) < 1e-4 * np.abs(expected).max()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    one = gradcam.input_times_gradient(small_vgg16, inputs, classes, batch_size=1)
    # Auch die Größe des Stapels ändert letzte Stellen (auf Prozessoren ohne AVX-512 bei jedem zehnten Pixel).
    assert np.quantile(np.abs(one - found), 0.8) < 1e-4 * np.abs(found).max()
    assert np.corrcoef(one.ravel(), found.ravel())[0, 1] > 0.99


def test_grad_cam_plus_plus(small_vgg16, dataset):
    inputs, classes = preprocess(dataset.test_images[:5], 32), [3, 1, 4, 1, 5]
    found = gradcam.grad_cam_plus_plus(small_vgg16, inputs, classes)
    assert found.shape == (5, 32, 32) and found.min() >= 0 and found.max() <= 1
    np.testing.assert_allclose(gradcam.grad_cam_plus_plus(small_vgg16, inputs, classes, batch_size=2), found, atol=1e-4)
    assert not np.allclose(found, grad_cam(small_vgg16, inputs, classes), atol=0.01)
    with pytest.raises(CourseError, match="Klasse"):
        gradcam.grad_cam_plus_plus(small_vgg16, inputs, 10)
