"""Felder auf der Platte: sie sehen aus wie ein Feld, und was beschädigt ist, wird nicht gelesen."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from two_layers import two_layer_net

from helpers import model
from helpers.inner.rows import joined, open_rows, write_rows
from helpers.learner import extract_features

SHAPE = (3, 4)
VALUES = np.random.default_rng(0).normal(size=(10, *SHAPE)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.npz"
    write_rows(path, 10, SHAPE, np.float32, [VALUES[:4], VALUES[4:]], namen=lambda: np.array(list("abcdefghij")))
    return path


@pytest.mark.parametrize(
    "rows",
    [0, -1, np.int64(3), slice(None), slice(2, 7), slice(-2, None), [5, 1, 5], [], np.arange(10) % 2 == 0, [[1, 2]]],
    ids=str,
)
def test_gefragt_wird_wie_ein_feld(path, rows):
    found, others = open_rows(path, SHAPE, np.float32)
    np.testing.assert_array_equal(found[rows], VALUES[rows])
    assert found[rows].shape == VALUES[rows].shape and found[rows].dtype == np.float32
    assert found.shape == VALUES.shape and len(found) == 10 and others["namen"].tolist() == list("abcdefghij")


def test_auswahl_und_mehrere_dateien(path, tmp_path):
    found, _ = open_rows(path, SHAPE, np.float32)
    write_rows(tmp_path / "b.npz", 2, SHAPE, np.float32, [VALUES[:2] * 2])
    other, _ = open_rows(tmp_path / "b.npz", SHAPE, np.float32)
    together = joined([found.take([3, 3, 0]), other, found])
    expected = np.concatenate([VALUES[[3, 3, 0]], VALUES[:2] * 2, VALUES])
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(together.take([4, 0])[[1, 0]], expected[[0, 4]])
    np.testing.assert_array_equal(list(together), expected)
    with pytest.raises(IndexError):
        together[99]


def test_was_geloescht_wird_bleibt_fuer_den_der_es_offen_hat(path):
    found, _ = open_rows(path, SHAPE, np.float32)
    path.unlink()
    np.testing.assert_array_equal(found, VALUES)


def test_numpy_liest_dieselbe_datei(path):
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["zeilen"], VALUES)


@pytest.mark.parametrize(
    "fault", ["abgeschnitten", "leer", "andere Form", "andere Zahl", "gepackt", "Objekte", "fehlt"]
)
def test_beschaedigtes_wird_nicht_gelesen(path, fault):
    content = path.read_bytes()
    if fault in ("abgeschnitten", "leer"):
        path.write_bytes(content[: len(content) // 2 if fault == "abgeschnitten" else 0])
    elif fault == "fehlt":
        path.unlink()
    elif fault == "gepackt":
        np.savez_compressed(path, zeilen=VALUES)
    elif fault == "Objekte":
        np.savez(path, zeilen=VALUES, namen=np.array([print], object))
    shape = (4, 3) if fault == "andere Form" else SHAPE
    dtype = np.float64 if fault == "andere Zahl" else np.float32
    with pytest.raises((ValueError, KeyError, OSError, zipfile.BadZipFile)):
        open_rows(path, shape, dtype)


def test_ein_abbruch_beim_schreiben_hinterlaesst_nichts(tmp_path):
    def batches():
        yield VALUES[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(tmp_path / "a.npz", 10, SHAPE, np.float32, batches())
    assert list(tmp_path.iterdir()) == []


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
