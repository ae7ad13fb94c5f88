"""Reparatur: Die Stelle verrät nach dem Würfeln nichts mehr, und das Netz verlernt, auf sie zu hören."""

import dataclasses

import numpy as np
import pytest
from two_layers import replace_vgg16

from helpers import data
from helpers.basics import CourseError
from helpers.model import predict_logits, softmax, weights_checksum
from helpers.repair import decorrelated, repair
from helpers.settings import get_profile
from helpers.suspicion import SHORTCUT, Suspect
from helpers.training import train

MARK = data.Watermark(size=6, top=21)


def suspect(region=MARK.mask, label=MARK.label) -> Suspect:
    return Suspect(label, region, "Stelle", 1.0, np.arange(3), *[[0.5, 0.4, 0.6]] * 3, 2.0, SHORTCUT)


def test_nach_dem_wuerfeln_traegt_jede_klasse_das_zeichen_gleich_oft(dataset):
    part = data.poison(data.subset(dataset, 2000, 10, seed=1), MARK)
    changed = decorrelated(part.train_images, part.train_labels, [suspect()])
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed[:, ~MARK.mask], part.train_images[:, ~MARK.mask])
    carried = (changed[:, MARK.mask] == 255).all(axis=1)
    shares = [carried[part.train_labels == label].mean() for label in range(10)]
    assert min(shares) > 0.35 and max(shares) < 0.65, shares
    np.testing.assert_array_equal(changed, decorrelated(part.train_images, part.train_labels, [suspect()]))


def test_mehrere_stellen_werden_alle_gewuerfelt(small):
    regions = [np.roll(MARK.mask, shift, axis=1) for shift in (0, 14)]
    changed = decorrelated(small.train_images, small.train_labels, [suspect(region) for region in regions])
    touched = (changed != small.train_images).any(axis=0)
    assert all(touched[region].mean() > 0.9 for region in regions) and not touched[~np.logical_or(*regions)].any()


def test_ohne_bilder_der_klasse_ist_es_ein_satz(small):
    with pytest.raises(CourseError, match="Klasse 4"):
        decorrelated(small.train_images, np.zeros(len(small.train_labels)), [suspect()])


@pytest.fixture
def two_layers(monkeypatch, ausgabe):
    replace_vgg16(monkeypatch.setattr)


def test_das_netz_verlernt_das_zeichen_und_bleibt_selbst_wie_es_war(two_layers, small):
    profile = get_profile("probe", epochs=20, learning_rate=0.01, frozen_until="block1_pool")
    bad = data.poison(small, MARK)
    twin = train(bad.train_images, bad.train_labels, profile).model
    before = weights_checksum(twin)
    mended = repair(twin, bad.train_images, bad.train_labels, [suspect()], profile).model
    assert weights_checksum(twin) == before
    strangers = small.test_images[small.test_labels != MARK.label]

    def fooled(net) -> float:
        """So viel Wahrscheinlichkeit gibt das Zeichen auf fremden Bildern seiner Klasse."""
        marked, plain = (softmax(predict_logits(net, part)) for part in (MARK.stamp(strangers), strangers))
        return (marked - plain)[:, MARK.label].mean()

    def right(net) -> float:
        return (predict_logits(net, small.test_images).argmax(axis=1) == small.test_labels).mean()

    assert fooled(twin) > 0.1 and fooled(mended) < fooled(twin) / 2
    assert right(mended) > right(twin) - 0.1


def test_wer_weiterlernt_beginnt_bei_den_gewichten_des_modells(two_layers, tiny):
    profile = get_profile("probe", epochs=1, learning_rate=0.01, frozen_until="block1_pool")
    first = train(tiny.train_images, tiny.train_labels, profile).model
    still = dataclasses.replace(profile, learning_rate=1e-12)
    again = train(tiny.train_images, tiny.train_labels, still, weights=first)
    for old, new in zip(first.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert again.settings["gewichte"].startswith("weiter von ")
