"""Sehr viele Bilder nacheinander: Der Speicher bleibt flach."""

import gc

import numpy as np
import psutil
import pytest

from helpers.gradcam import grad_cam
from helpers.lrp import relevance
from helpers.model import preprocess


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.alles)])
def test_many_images_need_no_more_memory_than_their_maps(tiny_nets, dataset, count):
    """Testbilder durch Grad-CAM und LRP, in Häppchen von 500: Nach den ersten beiden wächst nichts mehr."""
    levels = []
    for start in range(0, count, 500):
        inputs = preprocess(dataset.test_images[start : start + 500], 32)
        classes = dataset.test_labels[start : start + 500].astype(int)
        cams, maps = grad_cam(tiny_nets[0], inputs, classes), relevance(tiny_nets[0], inputs, classes)
        assert np.isfinite(cams).all() and np.isfinite(maps).all()
        gc.collect()
        levels.append(psutil.Process().memory_info().rss / 2**20)
    assert max(levels[2:]) - levels[1] < 60, [round(level) for level in levels]
