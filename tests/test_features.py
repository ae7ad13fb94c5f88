"""Merkmale des festen Stamms: jedes Bild einmal rechnen, Unterbrechungen und beschädigte Dateien überstehen."""

import numpy as np
import pytest

from helpers import features
from helpers.features import extract_features
from helpers.model import keras

pytestmark = pytest.mark.usefixtures("ausgabe")


def small_stem(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="falten")(inputs)
    return keras.Model(inputs, x)


@pytest.fixture
def counted(monkeypatch):
    """Zählt die Bilder, die wirklich durch den Stamm laufen."""
    seen, original = [], features.preprocess

    def counting(images, size):
        seen.append(len(images))
        return original(images, size)

    monkeypatch.setattr(features, "preprocess", counting)
    return seen


def expected_features(stem, images):
    return stem.predict_on_batch(features.preprocess(images, 32))


def test_merkmale_beim_zweiten_mal_aus_dem_speicher(dataset, counted):
    stem, images = small_stem(), dataset.train_images[:70]
    first = extract_features(stem, images, "a", batch_size=32)
    assert counted == [32, 32, 6]
    second = extract_features(stem, images, "a", batch_size=32)
    assert counted == [32, 32, 6], "beim zweiten Mal wird nichts gerechnet"
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected_features(stem, images), atol=1e-4)
    assert first.dtype == np.float32 and first.std() > 0


def test_merkmale_nur_fuer_neue_bilder(dataset, counted):
    stem = small_stem()
    extract_features(stem, dataset.train_images[:50])
    images = dataset.train_images[:60][::-1].copy()
    images[30] = 255 - images[30]
    found = extract_features(stem, images)
    assert sum(counted) == 50 + 11
    np.testing.assert_allclose(found, expected_features(stem, images), atol=1e-4)


def test_merkmale_mit_doppelten_bildern(dataset, counted):
    images = dataset.train_images[[0, 1, 0, 2, 1, 0]]
    stem = small_stem()
    found = extract_features(stem, images)
    assert sum(counted) == 3
    np.testing.assert_allclose(found, expected_features(stem, images), atol=1e-4)


@pytest.mark.parametrize("second", [{"weights_key": "b"}, {"weights_key": "a", "seed": 1}], ids=["Name", "Zahlen"])
def test_andere_gewichte_andere_merkmale(dataset, counted, second):
    images = dataset.train_images[:10]
    extract_features(small_stem(), images, "a")
    stem = small_stem(second.get("seed", 0))
    found = extract_features(stem, images, second["weights_key"])
    assert sum(counted) == 20, "andere Gewichte heißt: neu rechnen"
    np.testing.assert_allclose(found, expected_features(stem, images), atol=1e-4)


def test_unterbrochene_rechnung_hinterlaesst_nichts(dataset, ausgabe, monkeypatch):
    stem, images = small_stem(), dataset.train_images[:70]
    original, calls = features.preprocess, []

    def interrupted(images, size):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(images, size)

    monkeypatch.setattr(features, "preprocess", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_features(stem, images, batch_size=32)
    assert not [path for path in ausgabe.rglob("*") if path.is_file()]
    np.testing.assert_allclose(
        extract_features(stem, images, batch_size=32), expected_features(stem, images), atol=1e-4
    )


@pytest.mark.parametrize("break_it", [lambda raw: raw[:-50], lambda raw: b"", lambda raw: b"x" * len(raw)])
def test_beschaedigter_speicher_wird_uebergangen(dataset, ausgabe, counted, break_it):
    stem, images = small_stem(), dataset.train_images[:10]
    expected = extract_features(stem, images)
    (path,) = ausgabe.rglob("*.npy")
    path.write_bytes(break_it(path.read_bytes()))
    np.testing.assert_allclose(extract_features(stem, images), expected, atol=1e-5)
    assert sum(counted) == 20


def test_speicher_ohne_namensliste_wird_uebergangen(dataset, ausgabe, counted):
    stem, images = small_stem(), dataset.train_images[:10]
    expected = extract_features(stem, images)
    (path,) = ausgabe.rglob("merkmale/*/*.json")
    path.unlink()
    np.testing.assert_allclose(extract_features(stem, images), expected, atol=1e-5)
    assert sum(counted) == 20
