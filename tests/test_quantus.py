"""Die Maße des Kurses gegen Quantus, auf denselben Bildern, Karten und Gewichten. Quantus läuft in .venv/vergleich."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from benchmark import environment

from helpers import metrics, training
from helpers.gradcam import input_times_gradient
from helpers.model import keras, softmax

pytestmark = pytest.mark.alles  # braucht .venv/vergleich mit PyTorch
PROGRAM = Path(__file__).resolve().parent / "referenz" / "quantus_peer.py"
STEP = 28  # Pixel je Schritt: 28 Schritte für 28 × 28 Pixel


@pytest.fixture(scope="module")
def model(dataset):
    """Ein kleines CNN mit einem Kanal, auf echten Bildern angelernt."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="unten"),
            layers.MaxPooling2D(2),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="mitte"),
            layers.Flatten(),
            layers.Dense(10, name="oben"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(dataset.train_images[:1000, ..., None] / 255, dataset.train_labels[:1000], epochs=3, verbose=0)
    return model


@pytest.fixture(scope="module")
def case(model, dataset):
    """Eingaben, Klassen, nichtnegative Karten ohne Gleichstände und die Maske des Wasserzeichens."""
    from helpers.data import Watermark

    inputs = dataset.test_images[:12, ..., None].astype(np.float32) / 255
    classes = dataset.test_labels[:12].astype(int)
    maps = np.abs(input_times_gradient(model, inputs, classes))
    maps += np.random.default_rng(0).random(maps.shape) * 1e-3
    mask = Watermark(size=12, top=6, left=8).mask
    return inputs, classes, maps, mask


@pytest.fixture(scope="module")
def quantus(model, case, tmp_path_factory):
    """Die Ergebnisse von Quantus."""
    inputs, classes, maps, mask = case
    folder = tmp_path_factory.mktemp("quantus")
    weights = {f"w{index}": value for index, value in enumerate(model.get_weights())}
    np.savez(
        folder / "ein.npz",
        images=inputs.transpose(0, 3, 1, 2),
        classes=classes,
        maps=maps,
        mask=mask,
        step=STEP,
        **weights,
    )
    command = [environment.ensure(), PROGRAM, folder / "ein.npz", folder / "aus.npz"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "aus.npz") as file:
        return dict(file)


def test_pixel_flipping(model, case, quantus, record_property):
    inputs, classes, maps, _ = case
    predict = lambda x: softmax(model.predict(x, verbose=0))  # noqa: E731
    curve = metrics.perturbation_curve(predict, inputs, maps, classes, steps=784 // STEP)
    record_property("Abweichung", f"Löschkurve von Quantus: {np.abs(curve[:, 1:] - quantus['flipping']).max():.1e}")
    np.testing.assert_allclose(curve[:, 1:], quantus["flipping"], atol=1e-3)
    assert np.ptp(curve, axis=1).min() > 0.05, "flache Kurven wären zu leicht"
    reverse = metrics.perturbation_curve(predict, inputs, -maps, classes, steps=784 // STEP)
    assert np.abs(reverse[:, 1:] - quantus["flipping"]).max() > 0.1


def test_einfuegen_ist_pixel_flipping_rueckwaerts(model, case, quantus, record_property):
    """Die Einfügekurve hat in Quantus keinen eigenen Namen: Es ist die Löschkurve der umgekehrten Karte von hinten."""
    inputs, classes, maps, _ = case
    predict = lambda x: softmax(model.predict(x, verbose=0))  # noqa: E731
    inserted = metrics.perturbation_curve(predict, inputs, -maps, classes, steps=784 // STEP, insertion=True)
    found = inserted[:, ::-1][:, 1:]
    record_property("Abweichung", f"Einfügekurve von Quantus: {np.abs(found - quantus['flipping']).max():.1e}")
    np.testing.assert_allclose(found, quantus["flipping"], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "measure"),
    [("mass", metrics.relevance_mass), ("rank", metrics.relevance_rank), ("pointing", metrics.pointing_game)],
)
def test_ort(case, quantus, name, measure, record_property):
    _, _, maps, mask = case
    found, expected = measure(maps, mask).astype(float), quantus[name].astype(float)
    record_property("Abweichung", f"{measure.__name__} von Quantus: {np.abs(found - expected).max():.1e}")
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.std() > 0.01 and np.abs(measure(maps, ~mask) - found).max() > 0.1


def test_kaskade_von_oben_nach_unten(model, case, quantus, record_property):
    """Gleiche Karten aus gleich gewürfelten Gewichten ergeben gleiche Ähnlichkeiten."""
    inputs, classes, _, _ = case
    learned = model.get_weights()
    layers = ["oben", "mitte", "unten"]

    def randomize(layer):
        """Das Modell mit den Gewichten, die Quantus in dieser Stufe hatte, zurück in die Ordnung von Keras."""
        if layer is None:
            return model
        number = layers.index(layer)
        k1, b1, k2, b2, dense, b3 = (quantus[f"stage{number}_{index}"] for index in range(6))
        dense = dense.reshape(10, 6, 14, 14).transpose(2, 3, 1, 0).reshape(-1, 10)
        copy = keras.models.clone_model(model)
        copy.set_weights([k1.transpose(2, 3, 1, 0), b1, k2.transpose(2, 3, 1, 0), b2, dense, b3])
        return copy

    found = metrics.cascading_randomization(lambda each: input_times_gradient(each, inputs, classes), randomize, layers)
    record_property("Abweichung", f"Kaskade von Quantus: {np.abs(found - quantus['mprt']).max():.1e}")
    np.testing.assert_allclose(found, quantus["mprt"], atol=1e-3)
    assert np.abs(found).max() < 0.999 and found.std() > 0.01
    # Auf jeder Stufe ist genau das neu, was auch der Kurs neu würfelt.
    for layer in layers:
        ours, theirs = (each.get_weights() for each in (training.randomize_down_to(model, layer), randomize(layer)))
        changed = [
            [not np.allclose(a, b, atol=1e-6) for a, b in zip(each, learned, strict=True)] for each in (ours, theirs)
        ]
        assert changed[0] == changed[1] and any(changed[0]), layer
