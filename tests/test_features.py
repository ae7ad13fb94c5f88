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
    first = extract_features(stem, images, batch_size=32)
    assert counted == [32, 32, 6]
    second = extract_features(stem, images, batch_size=32)
    assert counted == [32, 32, 6], "beim zweiten Mal wird nichts gerechnet"
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected_features(stem, images), atol=1e-4)
    assert first.dtype == np.float32 and first.std() > 0


def test_gerechnet_wird_jedes_neue_bild_einmal(dataset, counted):
    stem = small_stem()
    extract_features(stem, dataset.train_images[:50])
    images = dataset.train_images[[*range(60), 55, 3, 55]][::-1].copy()
    images[32] = 255 - images[32]
    found = extract_features(stem, images)
    assert sum(counted) == 50 + 11, "zehn neue, ein verändertes; doppelte und bekannte nicht"
    np.testing.assert_allclose(found, expected_features(stem, images), atol=1e-4)


def test_andere_gewichte_andere_merkmale(dataset, counted):
    images = dataset.train_images[:10]
    extract_features(small_stem(), images)
    stem = small_stem(seed=1)
    found = extract_features(stem, images)
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


@pytest.mark.parametrize(
    ("suffix", "break_it"),
    [
        ("npy", lambda path: path.write_bytes(path.read_bytes()[:-50])),
        ("npy", lambda path: path.write_bytes(b"")),
        ("npy", lambda path: path.write_bytes(b"x" * 500)),
        ("json", lambda path: path.unlink()),
    ],
)
def test_beschaedigter_speicher_wird_uebergangen(dataset, ausgabe, counted, suffix, break_it):
    stem, images = small_stem(), dataset.train_images[:10]
    expected = extract_features(stem, images)
    (path,) = ausgabe.rglob(f"merkmale/*/*.{suffix}")
    break_it(path)
    np.testing.assert_allclose(extract_features(stem, images), expected, atol=1e-5)
    assert sum(counted) == 20
