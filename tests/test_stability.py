"""Stabilität: Was sich ändert, ist klein, und wer nicht auf Zufälliges hört, besteht."""

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from helpers.inner.stability import answers_kept, changes, maps_kept


@pytest.fixture(scope="module")
def coats(dataset):
    return dataset.test_images[dataset.test_labels == 4][:40]


def test_jede_aenderung_ist_klein_und_aendert_doch_jedes_bild(coats):
    for name, change in changes(len(coats), seed=1).items():
        changed = change.images(coats)
        assert changed.dtype == np.uint8 and changed.shape == coats.shape
        assert (changed != coats).any(axis=(1, 2)).all(), name
        similar = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(changed, coats, strict=True)]
        assert np.median(similar) > 0.8, name
        assert (changed == changes(len(coats), seed=1)[name].images(coats)).all(), "gleicher Startwert"


def test_verschoben_wird_um_genau_ein_pixel_auch_in_der_groesseren_karte():
    spot = np.zeros((5, 28, 28))
    spot[:, 14, 14] = 200
    big = np.zeros((5, 56, 56))
    big[:, 28, 28] = 200
    change = changes(5)["verschoben"]
    for small, large in zip(change.maps(spot), change.maps(big), strict=True):
        way = np.subtract(center_of_mass(small), 14)
        assert np.hypot(*way) == pytest.approx(1, abs=0.3)
        np.testing.assert_allclose(np.subtract(center_of_mass(large), 28), 2 * way, atol=0.5)


def test_wer_nur_die_helligkeit_zaehlt_antwortet_gleich_und_wer_ein_pixel_liest_nicht(coats):
    def steady(images):
        return (images.mean(axis=(1, 2)) > 20).astype(int)

    def jumpy(images):
        return images[:, 14, 14] % 2

    assert all(kept.mean() > 0.95 for kept in answers_kept(steady, coats).values())
    assert all(kept.mean() < 0.95 for kept in answers_kept(jumpy, coats).values())


def test_eine_karte_die_mitgeht_besteht_und_eine_zufaellige_nicht(coats):
    followed = maps_kept(lambda images: images.astype(float), coats)
    for name in ("verschoben", "gedreht", "heller oder dunkler"):
        assert followed[name].mean() > followed["anderes Bild"].mean() + 0.1, name
    rng = np.random.default_rng(0)
    lost = maps_kept(lambda images: rng.random(images.shape), coats)
    assert all(abs(each.mean()) < 0.1 for each in lost.values())
