"""Die Maße des Kurses gegen Quantus, auf denselben Bildern, Karten und Gewichten. Quantus läuft in .venv/vergleich."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from benchmark import environment

from helpers import metrics
from helpers.data import Watermark
from helpers.model import softmax

pytestmark = pytest.mark.alles  # braucht .venv/vergleich mit PyTorch
PROGRAM = Path(__file__).resolve().parent / "referenz" / "quantus_peer.py"
STEP = 28  # Pixel je Schritt: 28 Schritte für 28 × 28 Pixel
RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=shape).astype(np.float32) / 3 for shape in ((784, 16), (16, 10))]
MASK = Watermark(size=12, top=6, left=8).mask


def predict(inputs):
    """Zwei dichte Schichten, dazwischen ein ReLU: (n, 28, 28, 1) → Wahrscheinlichkeiten (n, 10)."""
    return softmax(np.maximum(inputs.reshape(len(inputs), -1) @ WEIGHTS[0], 0) @ WEIGHTS[1])


@pytest.fixture(scope="module")
def case(dataset):
    """Echte Bilder, ihre Klassen und nichtnegative Karten ohne Gleichstände."""
    inputs = dataset.test_images[:12, ..., None].astype(np.float32) / 255
    return inputs, dataset.test_labels[:12].astype(int), inputs[..., 0] + RNG.random((12, 28, 28))


@pytest.fixture(scope="module")
def quantus(case, tmp_path_factory):
    """Die Ergebnisse von Quantus."""
    inputs, classes, maps = case
    folder = tmp_path_factory.mktemp("quantus")
    given = {"images": inputs.transpose(0, 3, 1, 2), "classes": classes, "maps": maps, "mask": MASK, "step": STEP}
    np.savez(folder / "ein.npz", **given, w0=WEIGHTS[0], w1=WEIGHTS[1])
    command = [environment.ensure(), PROGRAM, folder / "ein.npz", folder / "aus.npz"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "aus.npz") as file:
        return dict(file)


def agree(name, found, expected, record_property):
    record_property("Abweichung", f"{name} von Quantus: {np.abs(found - expected).max():.1e}")
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.std(found) > 0.01, "lauter gleiche Werte wären zu leicht"


def test_pixel_flipping(case, quantus, record_property):
    """Die Einfügekurve hat in Quantus keinen eigenen Namen: Es ist die Löschkurve der umgekehrten Karte von hinten."""
    inputs, classes, maps = case
    deleted = metrics.perturbation_curve(predict, inputs, maps, classes, 784 // STEP)
    inserted = metrics.perturbation_curve(predict, inputs, -maps, classes, 784 // STEP, insertion=True)[:, ::-1]
    agree("Löschkurve", deleted[:, 1:], quantus["flipping"], record_property)
    agree("Einfügekurve", inserted[:, 1:], quantus["flipping"], record_property)
    assert np.ptp(deleted, axis=1).min() > 0.05, "flache Kurven wären zu leicht"


@pytest.mark.parametrize(("name", "measure"), [("mass", metrics.relevance_mass), ("pointing", metrics.pointing_game)])
def test_ort(case, quantus, name, measure, record_property):
    agree(name, measure(case[2], MASK).astype(float), quantus[name].astype(float), record_property)


def test_vernunft(quantus, record_property):
    """Quantus würfelt von oben nach unten; zu seinen Karten ergibt die Rangkorrelation seine Werte."""
    found = np.array([metrics.rank_correlation(quantus["original"], maps) for maps in quantus["stages"]])
    agree("Vernunft", found, quantus["mprt"], record_property)
