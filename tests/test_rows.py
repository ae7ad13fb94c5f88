"""Felder auf der Platte sehen aus wie ein Feld, und viele brauchen nicht mehr Speicher.

Beschädigtes: test_training (Merkmale), test_pictures (eigene Bilder). Abbruch beim Schreiben: test_basics.
"""

import tracemalloc

import numpy as np
import pytest
from two_layers import two_layer_net

from helpers import model
from helpers.inner.rows import joined, open_rows, write_rows
from helpers.learner import extract_features

SHAPE = (3, 4)
VALUES = np.random.default_rng(0).normal(size=(10, *SHAPE)).astype(np.float32)


@pytest.fixture
def stored(tmp_path):
    write_rows(tmp_path / "a.npz", 10, SHAPE, np.float32, [VALUES[:4], VALUES[4:]])
    return open_rows(tmp_path / "a.npz", SHAPE, np.float32)[0]


@pytest.mark.parametrize(
    "rows", [-1, np.int64(3), slice(2, 7), slice(-2, None), [5, 1, 5], [], np.arange(10) % 2 == 0, [[1, 2]]], ids=str
)
def test_gefragt_wird_wie_ein_feld(stored, rows):
    np.testing.assert_array_equal(stored[rows], VALUES[rows])
    assert stored[rows].shape == VALUES[rows].shape and stored[rows].dtype == np.float32
    assert stored.shape == VALUES.shape and len(stored) == 10


def test_auswahl_und_mehrere_dateien(stored, tmp_path):
    write_rows(tmp_path / "b.npz", 2, SHAPE, np.float32, [VALUES[:2] * 2])
    other, _ = open_rows(tmp_path / "b.npz", SHAPE, np.float32)
    together = joined([stored.take([3, 3, 0]), other, stored])
    expected = np.concatenate([VALUES[[3, 3, 0]], VALUES[:2] * 2, VALUES])
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(list(together), expected)
    np.testing.assert_array_equal(together.take([4, 0])[[1, 0]], expected[[0, 4]])


def test_merkmale_vieler_bilder_brauchen_nicht_mehr_speicher(ausgabe):
    """Zehnmal so viele Bilder, derselbe Speicher bis auf ihre Prüfsummen."""
    stem, peaks = model.split_model(two_layer_net(), "block1_pool")[0], []
    images = np.random.default_rng(0).integers(0, 256, (6000, 32, 32), np.uint8)
    for count in (64, 600, 6000):
        tracemalloc.start()
        features = extract_features(stem, images[:count])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert features.shape[0] == 6000
    assert peaks[2] - peaks[1] < 0.5 * features[:].nbytes, peaks
