"""Grad-CAM gegen tf-keras-vis, in Stapeln jeder Größe; Grad-CAM++ und Eingabe × Ableitung."""

import gc
import weakref

import numpy as np
import pytest

from helpers import gradcam
from helpers.basics import CourseError
from helpers.gradcam import grad_cam
from helpers.lrp import relevance
from helpers.model import keras, preprocess


@pytest.fixture(scope="module")
def inputs(dataset):
    """Sechs echte Bilder, 32 × 32."""
    return preprocess(dataset.test_images[:6], 32)


@pytest.mark.parametrize(("layer", "normalize"), [("block5_conv3", True), ("block3_conv1", False)])
def test_grad_cam_wie_tf_keras_vis(vgg16, dataset, layer, normalize, record_property):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    inputs, classes = preprocess(dataset.test_images[:6]), [3, 1, 4, 1, 5, 9]
    library = Gradcam(vgg16, clone=False)
    expected = library(CategoricalScore(classes), inputs, penultimate_layer=layer, normalize_cam=normalize)
    found = grad_cam(vgg16, inputs, classes, layer, normalize=normalize)
    difference = np.abs(found - expected).max() / max(1, expected.max())
    kind = "gestreckt" if normalize else "roh"
    record_property("Abweichung", f"Grad-CAM, {layer}, {kind}, von tf-keras-vis: {difference:.1e}")
    assert difference < 1e-5 and (expected.max(axis=(1, 2)) > 0).sum() >= 3, "leere Karten vergleichen wäre zu leicht"
    assert found.shape == (6, 64, 64) and found.dtype == np.float32 and found.min() >= 0


def test_grad_cam_in_stapeln_und_fuer_jede_klasse(small_vgg16, inputs):
    one = np.repeat(inputs[:1], 10, axis=0)
    maps = grad_cam(small_vgg16, one, np.arange(10), normalize=False)
    assert len({single.tobytes() for single in maps if single.any()}) >= 3, "andere Klasse, andere Karte"
    for size in (1, 4):
        found = grad_cam(small_vgg16, one, np.arange(10), batch_size=size, normalize=False)
        np.testing.assert_allclose(found, maps, atol=1e-4 * maps.max())
    np.testing.assert_allclose(grad_cam(small_vgg16, one[:1], 6, normalize=False)[0], maps[6], atol=1e-4 * maps.max())
    for classes in (3, []):
        assert grad_cam(small_vgg16, inputs[:0], classes).shape == (0, 32, 32)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("0 bis 9", {"classes": [0, -1]}),
        ("2 Bildern .* 3", {"classes": [1, 2, 3]}),
        ("erwartet vorverarbeitete Bilder", {"inputs": np.zeros((2, 28, 28))}),
        ("NaN", {"inputs": np.full((2, 32, 32, 3), np.nan)}),
        ("„block5_pool“ gibt es nicht: .*block5_conv3", {"layer": "block5_pool"}),
    ],
)
def test_ein_satz_statt_einer_spur(small_vgg16, message, call):
    for method in (grad_cam, gradcam.grad_cam_plus_plus, *([] if "layer" in call else [gradcam.input_times_gradient])):
        with pytest.raises(CourseError, match=message):
            method(small_vgg16, **{"inputs": np.zeros((2, 32, 32, 3)), "classes": 0} | call)


def test_ein_frisches_sequential_geht_und_ist_danach_wieder_weg():
    """Lernende bauen Modelle so; es hat noch kein ``output``. Wer es behielte, hielte bei jedem VGG16 60 MB fest."""
    layers = keras.layers
    stack = [layers.Conv2D(4, 3, name="falten"), layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *stack])
    images = np.ones((2, 8, 8, 1), np.float32)
    assert grad_cam(model, images, 0, "falten").shape == (2, 8, 8)
    gradcam.input_times_gradient(model, images, 0)
    relevance(model, images, 0)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_eingabe_mal_ableitung_ist_lrp_null(small_vgg16, inputs):
    classes = np.array([3, 8])
    found = gradcam.input_times_gradient(small_vgg16, inputs[:2], classes)
    expected = relevance(small_vgg16, inputs[:2], classes, "lrp.z")
    one = gradcam.input_times_gradient(small_vgg16, inputs[:2], classes, batch_size=1)
    # Bei Gleichstand im Max-Pooling (einfarbiger Hintergrund) entscheidet die letzte Stelle: Einzelne Pixel weichen ab.
    # Auch die Größe des Stapels ändert letzte Stellen (auf Prozessoren ohne AVX-512 bei jedem zehnten Pixel).
    for other, share in ((expected, 0.95), (one, 0.8)):
        assert np.quantile(np.abs(found - other), share) < 1e-4 * np.abs(expected).max()
        assert np.corrcoef(found.ravel(), other.ravel())[0, 1] > 0.99


def test_grad_cam_plus_plus(small_vgg16, inputs):
    classes = [3, 1, 4, 1, 5]
    found = gradcam.grad_cam_plus_plus(small_vgg16, inputs[:5], classes)
    assert found.shape == (5, 32, 32) and found.min() >= 0 and found.max() <= 1
    parts = gradcam.grad_cam_plus_plus(small_vgg16, inputs[:5], classes, batch_size=2)
    np.testing.assert_allclose(parts, found, atol=1e-4)
    assert not np.allclose(found, grad_cam(small_vgg16, inputs[:5], classes), atol=0.01)
