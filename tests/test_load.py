"""Last: viele zugleich und sehr viele nacheinander. Kein Fehler, dieselben Ergebnisse, der Speicher bleibt flach.

Die großen Zahlen misst ``tests/benchmark/last.py`` (30 Prozesse), hier läuft die kleine.
"""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from helpers.gradcam import grad_cam
from helpers.lrp import relevance
from helpers.model import preprocess

REQUESTS = 30


def megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def test_thirty_requests_at_once_give_what_each_gives_alone(tiny_nets, dataset):
    inputs = preprocess(dataset.test_images[: 4 * REQUESTS], 32)
    classes = dataset.test_labels[: 4 * REQUESTS].astype(int)

    def explain(number):
        part = slice(4 * number, 4 * number + 4)
        cams = grad_cam(tiny_nets[0], inputs[part], classes[part])
        return cams, relevance(tiny_nets[0], inputs[part], classes[part])

    alone = [explain(number) for number in range(REQUESTS)]
    with ThreadPoolExecutor(REQUESTS) as pool:
        together = list(pool.map(explain, range(REQUESTS)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], other[0], atol=1e-5)
        np.testing.assert_allclose(one[1], other[1], atol=1e-5 * np.abs(one[1]).max())


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.alles)])
def test_many_images_need_no_more_memory_than_their_maps(tiny_nets, dataset, count):
    """Testbilder durch Grad-CAM und LRP, in Häppchen von 500: Nach den ersten beiden wächst nichts mehr."""
    levels = []
    for start in range(0, count, 500):
        inputs = preprocess(dataset.test_images[start : start + 500], 32)
        classes = dataset.test_labels[start : start + 500].astype(int)
        cams, maps = grad_cam(tiny_nets[0], inputs, classes), relevance(tiny_nets[0], inputs, classes)
        assert np.isfinite(cams).all() and np.isfinite(maps).all()
        levels.append(megabytes())
    print(f"{count} Bilder: {levels[1]:.0f} MB nach 1.000, {levels[-1]:.0f} MB am Ende")
    assert max(levels[2:]) - levels[1] < 60
