"""SpRAy: verkleinern, ordnen, Reinheit; das Zeichen wird gefunden, und wo keines ist, nichts."""

import numpy as np
import pytest

from helpers import clusters
from helpers.basics import CourseError
from helpers.data import Watermark

RNG = np.random.default_rng(3)


def fake_maps(marked=True):
    """Relevanz wie beim Zwilling: überall Stoff, auf jedem zweiten Bild zusätzlich ein heller Fleck unten links."""
    maps = np.abs(RNG.normal(size=(40, 64, 64))) * np.exp(-((np.arange(64) - 32) ** 2) / 400)
    truth = np.arange(40) % 2 == 0
    if marked:
        maps[truth, 52:62, 2:12] += 4
    return maps, truth


@pytest.mark.parametrize("size", [32, 100])
def test_verkleinern_wie_von_hand(size):
    maps = RNG.normal(size=(2, size, size))
    found, edges = clusters.coarse_maps(maps), np.arange(17) * size // 16
    for row, column in np.ndindex(16, 16):
        block = np.abs(maps)[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]].sum(axis=(1, 2))
        np.testing.assert_allclose(found[:, row, column], block / np.abs(maps).sum(axis=(1, 2)))
    assert (clusters.coarse_maps(np.zeros((1, size, size))) == 0).all()


def test_das_zeichen_wird_ohne_hinweis_gefunden(dataset):
    mixed, drawn = clusters.mixed_images(dataset.test_images[:40], Watermark())
    maps, truth = fake_maps()
    np.testing.assert_array_equal(drawn, truth)
    assert (mixed[truth][:, 23:27, 1:5] == 255).all()
    np.testing.assert_array_equal(mixed[~truth], dataset.test_images[1:40:2])
    grouping = clusters.group_maps(maps)
    np.testing.assert_array_equal(grouping.groups == 1, truth)
    np.testing.assert_array_equal(grouping.groups, clusters.group_maps(maps).groups, "gleicher Startwert")
    assert 12 <= grouping.spot[0] <= 15 and grouping.spot[1] <= 3
    mask = np.zeros((64, 64), bool)
    mask[53:62, 2:11] = True
    assert clusters.finds_mark(grouping, mask, truth)
    assert not clusters.finds_mark(grouping, mask[::-1], truth) and not clusters.finds_mark(grouping, mask, ~truth)
    with pytest.raises(CourseError, match="mindestens 16"):
        clusters.group_maps(maps[:10])


def test_ohne_zeichen_findet_dieselbe_pruefung_nichts():
    """Sind die Karten ungezeichneter Bilder überall negativ (negativer Logit), darf auch das allein nichts trennen."""
    maps, truth = fake_maps(marked=False)
    groups = clusters.group_maps(maps).groups
    assert clusters.purity(groups, truth).mean() < 0.8
    flipped = np.where(truth[:, None, None], maps, -maps)
    np.testing.assert_array_equal(clusters.group_maps(flipped).groups, groups)


def test_reinheit_von_hand():
    truth = np.array([True, True, True, False, False, False])
    assert clusters.purity([1, 1, 1, 0, 0, 0], truth).all() and clusters.purity([0, 0, 0, 1, 1, 1], truth).all()
    assert clusters.purity([0, 0, 1, 1, 1, 1], truth).tolist() == [1, 1, 0, 1, 1, 1]
    assert clusters.purity([0] * 6, truth).mean() == 0.5
