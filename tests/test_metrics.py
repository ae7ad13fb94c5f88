"""Maße für Erklärungen: jedes gegen eine Rechnung von Hand, dazu Grenzfälle, die man leicht falsch macht."""

import numpy as np
import pytest

from helpers import metrics
from helpers.basics import CourseError

RNG = np.random.default_rng(11)
MAPS = RNG.normal(size=(6, 9, 9))
MASK = np.zeros((9, 9), bool)
MASK[6:9, 0:2] = True
CORNER = np.zeros((9, 9), bool)
CORNER[0:3, 0:3] = True


PLACES = [metrics.relevance_mass, metrics.relevance_rank, metrics.pointing_game]

# --- Ort ------------------------------------------------------------------------------------------------------------


def test_ort_wie_von_hand():
    for row, single in enumerate(MAPS):
        best = sorted(np.ndindex(9, 9), key=lambda place, single=single: -single[place])
        mass = sum(max(single[place], 0) for place in best if MASK[place]) / sum(max(single[p], 0) for p in best)
        expected = [mass, sum(MASK[place] for place in best[:6]) / 6, MASK[best[0]]]
        assert [measure(MAPS, MASK)[row] for measure in PLACES] == pytest.approx(expected) and 0 < mass < 1
    hits = metrics.pointing_game(RNG.normal(size=(99, 9, 9)), MASK)
    assert hits.dtype == bool and 0 < hits.sum() < 99


@pytest.mark.parametrize("mask", [MASK, CORNER], ids=["unten links", "oben links"])
@pytest.mark.parametrize("measure", PLACES)
def test_vollkommene_und_leere_karte(measure, mask):
    """Eine leere Karte darf nirgends gewinnen, auch nicht, wenn die Maske dort liegt, wo die Suche beginnt."""
    perfect = mask.astype(float)[None]
    assert measure(perfect, mask)[0] == 1
    assert measure((~mask).astype(float)[None], mask)[0] == 0
    assert measure(np.zeros((1, 9, 9)), mask)[0] == 0
    assert measure(-perfect, mask)[0] == 0, "was dagegen spricht, zählt nicht als Treffer"
    np.testing.assert_allclose(measure(MAPS * 1e-6, mask), measure(MAPS, mask), atol=1e-12)


def test_gleichmaessige_karte_bekommt_die_flaeche():
    assert metrics.relevance_mass(np.ones((1, 9, 9)), MASK)[0] == pytest.approx(MASK.mean())
    random = metrics.random_maps(3000, 9, seed=1)
    assert metrics.relevance_mass(random, MASK).mean() == pytest.approx(MASK.mean(), abs=0.005)
    assert metrics.relevance_rank(random, MASK).mean() == pytest.approx(MASK.mean(), abs=0.02)
    assert metrics.pointing_game(random, MASK).mean() == pytest.approx(MASK.mean(), abs=0.02)


@pytest.mark.parametrize("measure", PLACES)
@pytest.mark.parametrize(
    ("maps", "mask", "message"),
    [
        (MAPS[0], MASK, r"Form \(n, h, b\)"),
        (MAPS, np.ones((28, 28), bool), "enlarge_mask"),
        (MAPS, np.zeros((9, 9), bool), "leer"),
        (np.where(MAPS > 2, np.nan, MAPS), MASK, "fehlende Werte"),
    ],
)
def test_unbrauchbare_karten_und_masken(measure, maps, mask, message):
    with pytest.raises(CourseError, match=message):
        measure(maps, mask)


# --- Treue ----------------------------------------------------------------------------------------------------------

WEIGHTS = RNG.normal(size=(6 * 6 * 3, 10))
INPUTS = RNG.normal(size=(4, 6, 6, 3)).astype(np.float32)
CLASSES = np.array([3, 0, 9, 3])


def predict(inputs):
    return np.asarray(inputs).reshape(len(inputs), -1) @ WEIGHTS


def test_loeschkurve_wie_von_hand():
    maps = RNG.normal(size=(4, 6, 6))
    found = metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, steps=5)
    assert found.shape == (4, 6)
    for row in range(4):
        order = sorted(np.ndindex(6, 6), key=lambda place, row=row: -maps[row][place])
        for step in range(6):
            picture = INPUTS[row].copy()
            for place in order[: round(step * 36 / 5)]:
                picture[place] = 0
            assert found[row, step] == pytest.approx(predict(picture[None])[0, CLASSES[row]], rel=1e-4, abs=1e-4)


def test_einfuegen_ist_loeschen_rueckwaerts():
    kept = INPUTS.copy()
    maps = RNG.normal(size=(4, 6, 6))
    deletion = metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, 6)
    insertion = metrics.perturbation_curve(predict, INPUTS, -maps, CLASSES, 6, insertion=True)
    np.testing.assert_allclose(insertion[:, ::-1], deletion, rtol=1e-4, atol=1e-4)
    assert np.ptp(deletion, axis=1).min() > 0.1
    np.testing.assert_array_equal(INPUTS, kept, "die Bilder bleiben, wie sie sind")


def test_flaeche_unter_der_kurve():
    np.testing.assert_allclose(metrics.area_under_curve([[1, 1, 1], [0, 0.5, 1], [1, 0, 0]]), [1, 0.5, 0.25])
    curve = RNG.random((3, 8))
    expected = [sum((row[i] + row[i + 1]) / 2 / 7 for i in range(7)) for row in curve]
    np.testing.assert_allclose(metrics.area_under_curve(curve), expected)


# --- Ähnlichkeit ----------------------------------------------------------------------------------------------------


def test_rangkorrelation():
    np.testing.assert_allclose(metrics.rank_correlation(MAPS, -MAPS), -1)
    np.testing.assert_allclose(metrics.rank_correlation(MAPS, np.exp(3 * MAPS)), 1)
    other = np.round(MAPS + RNG.normal(size=MAPS.shape), 1)

    def ranks(values):  # gleiche Werte bekommen den mittleren Rang
        return [(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values]

    for found, a, b in zip(metrics.rank_correlation(MAPS, other), MAPS, other, strict=True):
        assert found == pytest.approx(np.corrcoef(ranks(a.ravel()), ranks(b.ravel()))[0, 1]) and 0.3 < found < 0.95
    assert metrics.rank_correlation(np.zeros((6, 9, 9)), MAPS).tolist() == [0] * 6, "eine leere Karte ähnelt nichts"
    assert metrics.rank_correlation(MAPS, np.ones((6, 9, 9))).tolist() == [0] * 6


def test_kanten_und_zufallskarten():
    images = RNG.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    part = images[0, 2:5, 3:6].astype(float)
    expected = np.hypot((part * kernel).sum(), (part * kernel.T).sum())
    edges = metrics.sobel_maps(images)
    assert edges.shape == (2, 8, 8) and edges[0, 3, 4] == pytest.approx(expected)
    np.testing.assert_array_equal(edges[1:], metrics.sobel_maps(images[1:]), "Nachbarn im Stapel mischen sich nicht")
    maps = metrics.random_maps(5, 12, seed=3)
    assert maps.shape == (5, 12, 12) and maps.min() >= 0 and maps.max() < 1
    np.testing.assert_array_equal(maps, metrics.random_maps(5, 12, seed=3))


def test_intervalle():
    values = RNG.normal(3, 2, size=400)
    low, high = metrics.bootstrap_interval(values)
    # Für den Mittelwert ist das Intervall bekannt: ± 1,96 Standardfehler.
    assert low < values.mean() < high and high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert metrics.bootstrap_interval(values) == (low, high), "derselbe Startwert, dasselbe Intervall"
    assert metrics.bootstrap_interval([2.0, 2.0]) == (2, 2)
    # Gezogen werden Bilder: Ein festes Verhältnis je Bild hat kein Rauschen, ein zufälliges schon.
    assert metrics.relative_interval(values * 0.5, values) == pytest.approx([0.5, 0.5, 0.5])
    ratio, low, high = metrics.relative_interval(values, RNG.permutation(values))
    assert low < ratio < high and ratio == pytest.approx(1)
    assert not np.isfinite(metrics.relative_interval(values, 0 * values)).any(), "geteilt durch nichts"
    low, high = metrics.wilson_interval(0.5, 100)  # Tabellenwert
    assert (low, high) == pytest.approx((0.404, 0.596), abs=1e-3)


def test_bootstrap_trifft_so_oft_wie_versprochen():
    samples = [np.random.default_rng(seed).normal(size=40) for seed in range(200)]
    hits = sum(low < 0 < high for low, high in map(metrics.bootstrap_interval, samples))
    assert 180 <= hits <= 198, "95 % von 200, mit Spielraum"


# --- Gleichstände ---------------------------------------------------------------------------------------------------


def test_gleich_wichtige_pixel_werden_nicht_von_oben_geloescht():
    """Eine leere Karte ist der Zufall: Im Mittel fällt ihre Kurve so wie eine Gerade, wo das Motiv auch liegt."""
    for rows in (slice(0, 3), slice(3, 6)):
        weights = np.zeros((6, 6, 3, 10))
        weights[rows] = 1
        images = np.ones((200, 6, 6, 3), np.float32)
        answer = lambda x, w=weights: x.reshape(len(x), -1) @ w.reshape(-1, 10)  # noqa: E731
        classes = np.zeros(200, int)
        curve = metrics.perturbation_curve(answer, images, np.zeros((200, 6, 6)), classes, steps=6)
        np.testing.assert_allclose(curve.mean(axis=0) / 54, np.linspace(1, 0, 7), atol=0.05)


def test_gleichstaende_haengen_nur_vom_startwert_ab():
    maps = np.zeros((4, 6, 6))
    maps[:, 2, 3] = 1
    first, again, other = (metrics.perturbation_curve(predict, INPUTS, maps, CLASSES, 6, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    untied = RNG.normal(size=(4, 6, 6))
    first, other = (metrics.perturbation_curve(predict, INPUTS, untied, CLASSES, 6, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(first, other)


def test_kaskade_vergleicht_jede_stufe_mit_dem_gelernten_modell():
    models = {None: MAPS, "oben": MAPS, "unten": -MAPS}
    found = metrics.cascading_randomization(lambda model: model, models.get, ["oben", "unten"])
    assert found.shape == (2, 6)
    np.testing.assert_allclose(found, [[1] * 6, [-1] * 6])
    given = metrics.cascading_randomization(lambda model: model, models.get, ["oben"], original=-MAPS)
    np.testing.assert_allclose(given, -1)
