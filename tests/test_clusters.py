"""SpRAy: verkleinern, ordnen, Reinheit; das Zeichen wird gefunden, und wo keines ist, nichts."""

import numpy as np
import pytest

from helpers import clusters
from helpers.basics import CourseError
from helpers.data import Watermark

RNG = np.random.default_rng(3)


def fake_maps(count=40, marked=True):
    """Relevanz wie beim Zwilling: überall Stoff, auf jedem zweiten Bild zusätzlich ein heller Fleck unten links."""
    maps = np.abs(RNG.normal(size=(count, 64, 64))) * np.exp(-((np.arange(64) - 32) ** 2) / 400)
    truth = np.arange(count) % 2 == 0
    if marked:
        maps[truth, 52:62, 2:12] += 4
    return maps, truth


def test_verkleinern_wie_von_hand():
    maps = RNG.normal(size=(2, 32, 32))
    found = clusters.coarse_maps(maps)
    for single, coarse in zip(np.abs(maps), found, strict=True):
        for row, column in np.ndindex(16, 16):
            block = single[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum()
            assert coarse[row, column] == pytest.approx(block / single.sum())
    np.testing.assert_allclose(clusters.coarse_maps(-maps), found)
    assert (clusters.coarse_maps(np.zeros((1, 32, 32))) == 0).all()
    with pytest.raises(CourseError, match="durch 16 teilbar"):
        clusters.coarse_maps(np.ones((1, 28, 28)))


def test_jedes_zweite_bild_bekommt_das_zeichen(dataset):
    mixed, truth = clusters.mixed_images(dataset.test_images[:6], Watermark())
    assert truth.tolist() == [True, False] * 3
    assert (mixed[truth][:, 23:27, 1:5] == 255).all()
    np.testing.assert_array_equal(mixed[~truth], dataset.test_images[1:6:2])


def test_das_zeichen_wird_ohne_hinweis_gefunden():
    maps, truth = fake_maps()
    grouping = clusters.group_maps(maps)
    assert clusters.purity(grouping.groups, truth).all()
    np.testing.assert_array_equal(grouping.groups == 1, truth)
    assert 12 <= grouping.spot[0] <= 15 and grouping.spot[1] <= 3
    mask = np.zeros((64, 64), bool)
    mask[53:62, 2:11] = True
    assert clusters.finds_mark(grouping, mask, truth)
    assert not clusters.finds_mark(grouping, mask[::-1], truth) and not clusters.finds_mark(grouping, mask, ~truth)


def test_ohne_zeichen_findet_dieselbe_pruefung_nichts():
    maps, truth = fake_maps(marked=False)
    grouping = clusters.group_maps(maps)
    assert clusters.purity(grouping.groups, truth).mean() < 0.8


def test_das_vorzeichen_des_logits_macht_keine_gruppen():
    """Sind die Karten ungezeichneter Bilder überall negativ (negativer Logit), darf das allein nichts trennen."""
    maps, truth = fake_maps(marked=False)
    flipped = np.where(truth[:, None, None], maps, -maps)
    np.testing.assert_array_equal(clusters.group_maps(flipped).groups, clusters.group_maps(maps).groups)
    assert clusters.purity(clusters.group_maps(flipped).groups, truth).mean() < 0.8


def test_reinheit_von_hand():
    truth = np.array([True, True, True, False, False, False])
    assert clusters.purity([1, 1, 1, 0, 0, 0], truth).all() and clusters.purity([0, 0, 0, 1, 1, 1], truth).all()
    assert clusters.purity([0, 0, 1, 1, 1, 1], truth).tolist() == [1, 1, 0, 1, 1, 1]
    assert clusters.purity([0] * 6, truth).mean() == 0.5


def test_gleicher_startwert_gleiche_gruppen_und_saetze():
    maps, _ = fake_maps()
    np.testing.assert_array_equal(clusters.group_maps(maps).groups, clusters.group_maps(maps).groups)
    with pytest.raises(CourseError, match="mindestens 16 Karten"):
        clusters.group_maps(maps[:10])
