"""Maße und Gruppen: gegen eine Rechnung von Hand, dazu Grenzfälle, die man leicht falsch macht."""

import numpy as np
import pytest

from helpers import clusters, metrics
from helpers.basics import CourseError
from helpers.data import Watermark
from helpers.places import infilled

RNG = np.random.default_rng(11)
MAPS = RNG.normal(size=(6, 9, 9))
MASK = np.zeros((9, 9), bool)
MASK[6:9, 0:2] = True
PLACES = [metrics.relevance_mass, metrics.pointing_game]


def test_ort_wie_von_hand():
    for row, single in enumerate(MAPS):
        mass = sum(max(single[place], 0) for place in np.ndindex(9, 9) if MASK[place])
        best = max(np.ndindex(9, 9), key=lambda place, single=single: single[place])
        expected = [mass / single[single > 0].sum(), MASK[best]]
        assert [measure(MAPS, MASK)[row] for measure in PLACES] == pytest.approx(expected)
    random = metrics.random_maps(3000, 9, seed=1)
    for measure in PLACES:
        assert measure(random, MASK).mean() == pytest.approx(MASK.mean(), abs=0.02), "der Zufall bekommt die Fläche"


@pytest.mark.parametrize("mask", [MASK, MASK[::-1]], ids=["unten links", "oben links"])
@pytest.mark.parametrize("measure", PLACES)
def test_vollkommene_und_leere_karte(measure, mask):
    """Eine leere Karte darf nirgends gewinnen, auch nicht, wenn die Maske dort liegt, wo die Suche beginnt."""
    perfect = mask.astype(float)[None]
    found = [measure(maps, mask)[0] for maps in (perfect, 1 - perfect, 0 * perfect, -perfect)]
    assert found == [1, 0, 0, 0], "was dagegen spricht, zählt nicht als Treffer"
    np.testing.assert_allclose(measure(MAPS * 1e-6, mask), measure(MAPS, mask), atol=1e-12)


@pytest.mark.parametrize(
    ("maps", "mask"),
    [
        (MAPS[0], MASK),
        (MAPS, np.ones((28, 28), bool)),
        (MAPS, np.zeros((9, 9), bool)),
        (np.where(MAPS > 2, np.nan, MAPS), MASK),
    ],
    ids=["eine Karte", "kleine Maske", "leere Maske", "fehlende Werte"],
)
def test_unbrauchbare_karten_und_masken(maps, mask):
    for measure in PLACES:
        with pytest.raises(CourseError, match="lassen sich nicht messen.*enlarge_mask"):
            measure(maps, mask)


WEIGHTS = RNG.normal(size=(6 * 6 * 3, 10))
INPUTS = RNG.normal(size=(4, 6, 6, 3)).astype(np.float32)
CLASSES = np.array([3, 0, 9, 3])


def predict(inputs):
    return np.asarray(inputs).reshape(len(inputs), -1) @ WEIGHTS


def test_loeschkurve_wie_von_hand_und_einfuegen_ist_loeschen_rueckwaerts():
    kept, maps = INPUTS.copy(), RNG.normal(size=(4, 6, 6))
    found = metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, steps=5)
    for row in range(4):
        order = sorted(np.ndindex(6, 6), key=lambda place, row=row: -maps[row][place])
        expected = []
        for step in range(6):
            picture = INPUTS[row].copy()
            for place in order[: round(step * 36 / 5)]:
                picture[place] = 0
            expected.append(predict(picture[None])[0, CLASSES[row]])
        np.testing.assert_allclose(found[row], expected, atol=1e-4)
    even = metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, 6)
    inserted = metrics.perturbation_curve(predict, INPUTS, -maps, CLASSES, 6, insertion=True)
    np.testing.assert_allclose(inserted[:, ::-1], even, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(INPUTS, kept, "die Bilder bleiben, wie sie sind")
    np.testing.assert_allclose(metrics.area_under_curve([[1, 1, 1], [0, 0.5, 1], [1, 0, 0]]), [1, 0.5, 0.25])


def test_die_fuellung_steht_an_der_stelle_geloeschter_pixel():
    """Schwarz und verwischt sind nicht Grau: Am Ende steht überall die Füllung, und sie geht nur in gelöschte Pixel."""
    maps, other = RNG.normal(size=(4, 6, 6)), RNG.normal(size=INPUTS.shape).astype(np.float32)
    for fill in (other, other[:1], 0.5):
        curve = metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, steps=4, fill=fill)
        whole, filled = (predict(x)[range(4), CLASSES] for x in (INPUTS, np.broadcast_to(fill, INPUTS.shape)))
        np.testing.assert_allclose(curve[:, [0, -1]], np.stack([whole, filled], axis=1), rtol=1e-4, atol=1e-4)
    same = metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, steps=4, fill=INPUTS)
    np.testing.assert_allclose(same, np.repeat(same[:, :1], 5, axis=1))


def test_gleich_wichtige_pixel_werden_nicht_von_oben_geloescht():
    """Eine leere Karte ist der Zufall: Im Mittel fällt ihre Kurve so wie eine Gerade, wo das Motiv auch liegt."""
    images, classes = np.ones((200, 6, 6, 1), np.float32), np.zeros(200, int)
    for rows in (slice(0, 3), slice(3, 6)):
        answer = lambda x, rows=rows: x[:, rows].mean(axis=(1, 2))  # noqa: E731
        first, again, other = (
            metrics.perturbation_curve(answer, images, np.zeros((200, 6, 6)), classes, steps=6, seed=seed)
            for seed in (0, 0, 1)
        )
        np.testing.assert_allclose(first.mean(axis=0), np.linspace(1, 0, 7), atol=0.05)
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.1, "die Reihenfolge hängt nur vom Startwert ab"


def test_rangkorrelation_wie_von_hand():
    ranks = MAPS.reshape(6, -1).argsort(axis=1).argsort(axis=1)
    expected = [np.corrcoef(one, two)[0, 1] for one, two in zip(ranks, ranks[::-1], strict=True)]
    np.testing.assert_allclose(metrics.rank_correlation(MAPS, MAPS[::-1]), expected)
    np.testing.assert_allclose(metrics.rank_correlation(MAPS, -MAPS), -1)
    np.testing.assert_allclose(metrics.rank_correlation(MAPS, np.exp(3 * MAPS)), 1)
    assert metrics.rank_correlation(np.zeros((6, 9, 9)), MAPS).tolist() == [0] * 6, "eine leere Karte ähnelt nichts"


def test_kanten_mischen_benachbarte_bilder_nicht():
    images = RNG.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    kernel, part = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]), images[0, 2:5, 3:6].astype(float)
    edges = metrics.sobel_maps(images)
    assert edges[0, 3, 4] == pytest.approx(np.hypot((part * kernel).sum(), (part * kernel.T).sum()))
    np.testing.assert_array_equal(edges[1:], metrics.sobel_maps(images[1:]))


def test_intervalle():
    values = RNG.normal(3, 2, size=400)
    low, high = metrics.bootstrap_interval(values)
    # Für den Mittelwert ist das Intervall bekannt: ± 1,96 Standardfehler.
    assert low < values.mean() < high and high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert metrics.bootstrap_interval(values) == (low, high), "derselbe Startwert, dasselbe Intervall"
    # Gezogen werden Bilder: Ein festes Verhältnis je Bild hat kein Rauschen, ein zufälliges schon.
    assert metrics.relative_interval(values * 0.5, values) == pytest.approx([0.5, 0.5, 0.5])
    ratio, low, high = metrics.relative_interval(values, RNG.permutation(values))
    assert low < ratio < high and ratio == pytest.approx(1)
    assert not np.isfinite(metrics.relative_interval(values, 0 * values)).any(), "geteilt durch nichts"
    assert metrics.wilson_interval(0.5, 100) == pytest.approx((0.404, 0.596), abs=1e-3), "Tabellenwert"


def fake_maps(marked=True):
    """Relevanz wie beim Zwilling: überall Stoff, auf jedem zweiten Bild zusätzlich ein heller Fleck unten links."""
    maps = np.abs(RNG.normal(size=(40, 64, 64))) * np.exp(-((np.arange(64) - 32) ** 2) / 400)
    truth = np.arange(40) % 2 == 0
    if marked:
        maps[truth, 52:62, 2:12] += 4
    return maps, truth


def test_das_zeichen_wird_ohne_hinweis_gefunden(dataset):
    mark = Watermark()
    mixed, drawn = clusters.mixed_images(mark.stamp(dataset.test_images[:40]), mark.mask)
    maps, truth = fake_maps()
    np.testing.assert_array_equal(drawn, truth)
    assert (mixed[truth][:, 23:27, 1:5] == 255).all()
    np.testing.assert_array_equal(mixed[~truth], infilled(dataset.test_images[1:40:2], mark.mask))
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


def test_wie_viele_gruppen_es_sind_sagen_die_karten_selbst():
    """Wer eine einheitliche Klasse ansieht, bekommt keine zwei Gruppen eingeredet."""
    maps, _ = fake_maps()
    rng = np.random.default_rng(0)
    one = rng.random((40, 64, 64)) + 5 * np.eye(64)
    three = np.concatenate([np.roll(one[:14], shift, axis=2) for shift in (0, 20, 40)])
    assert [clusters.group_count(each) for each in (one, maps, three)] == [1, 2, 3]
    with pytest.raises(CourseError, match="mindestens 16"):
        clusters.group_count(maps[:10])


def test_eine_klasse_ohne_bilder_hat_eine_leere_karte_und_keine_warnung():
    maps, labels = np.arange(24.0).reshape(4, 2, 3), np.array([2, 0, 2, 0])
    means = metrics.class_means(maps, labels, 4)
    np.testing.assert_array_equal(means[[0, 2]], [maps[[1, 3]].mean(axis=0), maps[[0, 2]].mean(axis=0)])
    assert not means[[1, 3]].any()
