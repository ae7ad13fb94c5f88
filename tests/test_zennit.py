"""LRP des Kurses gegen zennit (float64, gespeicherte Referenz): jede Regel besteht, α2β1 mit Schwellenwerten nicht."""

import numpy as np
import pytest
from referenz.zennit_reference import reference_images

from helpers.course_model import load_course_model
from helpers.lrp_library import ZENNIT_REFERENCE, ZENNIT_RULES, compare, load_reference, matches
from helpers.model import build_vgg16


@pytest.fixture(scope="module")
def reference():
    return load_reference()


@pytest.fixture(scope="module")
def model():
    return load_course_model().model


def test_die_referenz_gehoert_zu_diesen_gewichten(model, reference):
    """Ein neues Kursmodell braucht eine neue Referenz."""
    assert matches(reference, model), "Referenz veraltet: python tests/referenz/zennit_reference.py"
    assert reference.rows.tolist() == reference_images(model)[2].tolist()
    assert ZENNIT_REFERENCE.stat().st_size < 1_000_000


def test_andere_gewichte_fallen_auf(reference, tmp_path):
    assert not matches(reference, build_vgg16(seed=3))
    assert load_reference(tmp_path / "fehlt.npz") is None and not matches(None, build_vgg16(seed=3))


@pytest.mark.langsam
@pytest.mark.parametrize("rule", [rule for rule in ZENNIT_RULES if rule != "lrp.alpha_2_beta_1"])
def test_gleich_zennit_bild_fuer_bild(model, reference, rule, record_property):
    images, classes, _ = reference_images(model)
    correlation, sizes = compare(reference, model, images, classes, rule)
    record_property("Abweichung", f"{rule} von zennit: Korrelation je Bild mindestens {correlation.min():.6f}")
    assert correlation.min() >= 0.999, correlation
    np.testing.assert_allclose(sizes, 1, atol=0.1)


@pytest.mark.langsam
def test_die_regel_die_nicht_stimmt(model, reference):
    """α2β1 mit Schwellenwerten fällt auf jedem Bild durch, gleich wie zennit mit ihnen umgeht, und ist viel zu groß."""
    images, classes, _ = reference_images(model)
    correlation, sizes = compare(reference, model, images, classes, "lrp.alpha_2_beta_1")
    assert correlation.max() < 0.999 and np.median(correlation) < 0.9, correlation
    assert sizes.max() > 2, sizes
    for one, other in zip(reference.maps["alpha_2_beta_1"], reference.maps["alpha_2_beta_1_ohne_bias"], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99, "für zennit macht der Umgang mit b kaum etwas aus"
