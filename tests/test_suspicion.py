"""Verdachtssuche: Sie erfährt nichts, findet das Zeichen des Zwillings und lässt das saubere Netz in Ruhe."""

import inspect

import numpy as np
import pytest
from color_factory import COLOR, colored, learned_net
from scipy.ndimage import uniform_filter

from helpers import data, suspicion
from helpers.basics import CourseError
from helpers.model import keras
from helpers.own import own_model
from helpers.places import (
    FIXED,
    LOOSE,
    carriers_by_content,
    carriers_by_edge,
    elsewhere,
    fixed_edge,
    fixed_steps,
    places,
    stamps,
)
from helpers.suspicion import SHORTCUT, Questions

pytestmark = pytest.mark.usefixtures("ausgabe")
MARK = data.Watermark(size=6, top=21)
HALF = data.Watermark(label=4, size=3, top=24, left=24, strength=0.6, share=0.5)


@pytest.fixture(scope="module")
def images(dataset):
    """600 Testbilder und ihre Klassen."""
    part = data.subset(dataset, 10, 600, seed=2)
    return part.test_images, part.test_labels.astype(int)


@pytest.fixture(scope="module")
def marked(images):
    """Dieselben, jeder zweite Mantel mit einem halb durchsichtigen Zeichen: Bilder, Klassen, wer es trägt."""
    members = np.flatnonzero(images[1] == HALF.label)[::2]
    stamped = images[0].copy()
    stamped[members] = HALF.stamp(stamped[members])
    return stamped, images[1], np.isin(np.arange(len(stamped)), members)


def test_der_suche_sagt_niemand_wo_das_zeichen_liegt():
    assert list(inspect.signature(suspicion.search).parameters) == ["model", "images", "labels", "seed"]


def test_der_zwilling_wird_ueberfuehrt_und_das_saubere_netz_nicht_beschuldigt(tiny_nets, images):
    clean, twin = tiny_nets
    stamped = np.where((images[1] == MARK.label)[:, None, None], MARK.stamp(images[0]), images[0])
    first = suspicion.search(twin, stamped, images[1])[0]
    again = suspicion.search_by(suspicion.relevance_between, Questions(twin), stamped, images[1])[0]
    assert (first.label, first.verdict, first.kind) == (MARK.label, SHORTCUT, "Stelle")
    assert (first.region & MARK.mask).sum() > 0.6 * (first.region | MARK.mask).sum()
    assert min(first.remove[1], first.infill[1], first.transplant[1]) > suspicion.EFFECT
    answer, others = Questions(twin).answer, images[0][images[1] != MARK.label]
    moved = np.where(first.region, MARK.stamp(others), others)
    before, after = (answer(each).argmax(axis=1) for each in (others, moved))
    assert ((after == MARK.label) & (before != MARK.label)).mean() > 0.1, "fremde Bilder kippen"
    assert (images[1][first.carriers] == MARK.label).all() and first.share == 1
    assert first.score == again.score and (first.region == again.region).all(), "gleicher Startwert"
    shown = suspicion.table([first]).iloc[0]
    assert (shown["Klasse"], shown["Urteil"], shown["tragen"]) == ("Mantel", SHORTCUT, "Stelle, 100 %")
    assert not [each for each in suspicion.search(clean, *images) if each.verdict == SHORTCUT]


def test_relevanz_zwischen_bildern_ist_bei_einem_linearen_netz_gewicht_mal_unterschied(images):
    """Zwei Klassen: Die Log-Chance ist der Unterschied der Logits, ihre Ableitung überall dieselbe."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((28, 28, 3))
    net = keras.Model(inputs, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(inputs)))
    kernel = net.get_weights()[0].reshape(28, 28, 3, 2).sum(axis=2)
    image, other = images[0][:1], images[0][1:2]
    found = suspicion.relevance_between(Questions(net), image, other, 1, count=8)
    wanted = (kernel[..., 1] - kernel[..., 0]) * (image[0].astype(float) - other[0])
    np.testing.assert_allclose(found[0], wanted, atol=0.02 * np.abs(wanted).max())  # bfloat16, wo es schneller ist


def test_wer_weiterlernt_bekommt_die_antworten_der_neuen_gewichte(tiny_nets, images):
    """Kompiliert wird einmal je Modell: Die alten Antworten wären unbemerkt die eines anderen Netzes."""
    clean, twin = (keras.models.clone_model(net) for net in tiny_nets)
    clean.set_weights(tiny_nets[0].get_weights())
    first = Questions(clean).answer(images[0][:20])
    clean.set_weights(tiny_nets[1].get_weights())
    twin.set_weights(tiny_nets[1].get_weights())
    again = Questions(clean).answer(images[0][:20])
    np.testing.assert_array_equal(again, Questions(twin).answer(images[0][:20]))
    assert np.abs(again - first).max() > 0.01


def test_wer_das_zeichen_traegt_wird_am_inhalt_erkannt(marked):
    stamped, labels, truth = marked
    members, others = np.flatnonzero(labels == HALF.label), np.flatnonzero(labels != HALF.label)
    found, rest = carriers_by_content(stamped, members, others, HALF.mask, np.ones((28, 28)))
    assert (found[members] == truth[members]).mean() > 0.95 and (rest == ~found).all()
    (everyone,) = carriers_by_content(stamped, np.flatnonzero(labels == 2), members, HALF.mask, np.ones((28, 28)))
    assert everyone.all(), "niemand trägt es: alle gleich"


def test_wer_helle_punkte_auf_hellem_stoff_traegt_wird_am_rand_erkannt(images):
    """Der Stoff streut mehr, als das Zeichen ihn ändert: Am Inhalt ist es nicht zu erkennen."""
    mark = data.Watermark(4, size=6, top=8, left=10, strength=0.9, shape="Punkte")
    members, others = np.flatnonzero(images[1] == mark.label), np.flatnonzero(images[1] != mark.label)
    carriers, stamped = members[::2], images[0].copy()
    stamped[carriers] = mark.stamp(stamped[carriers])
    found, rest = carriers_by_edge(stamped, members, mark.mask)
    assert (found[members] == np.isin(members, carriers)).mean() > 0.95 and (rest == ~found).all()
    assert len(carriers_by_content(stamped, members, others, mark.mask, np.ones((28, 28)))) == 1
    (everyone,) = carriers_by_edge(images[0], members, mark.mask)
    assert everyone.all(), "niemand trägt es: alle gleich"


def test_ein_stempel_liegt_fest_und_ein_hemd_nicht(images, marked):
    stamped, _, truth = marked
    assert fixed_edge(HALF.mask, fixed_steps(stamped[truth])) > FIXED
    loose = []
    for each in (0, 2, 4, 6):
        mine = images[0][images[1] == each]
        shape = places(mine.mean(axis=0) - images[0].mean(axis=0))[0]
        loose.append(fixed_edge(shape, fixed_steps(mine)))
    assert max(loose) < LOOSE


@pytest.mark.parametrize(
    "mark",
    [
        data.Watermark(2, size=4, top=12, left=11, strength=0.6),
        data.Watermark(3, size=4, top=24, left=1, strength=0.6),
        data.Watermark(0, size=3, top=20, left=20, strength=0.6, shape="Punkte"),
        data.Watermark(5, size=4, top=0, left=0, strength=0.4, shape="waagrechter Streifen"),
    ],
    ids=["auf dem Stoff", "am Rand des Bilds", "Punkte mit Lücken", "vom Schuh gekreuzt"],
)
def test_vom_zeichen_genuegt_ein_pixel_um_es_ganz_zu_erfassen(images, mark):
    mine = images[0][images[1] == mark.label]
    one = np.zeros((28, 28), bool)
    one[tuple(np.argwhere(mark.mask)[0])] = True
    steps = fixed_steps(mark.stamp(mine))
    found = max(stamps(one, steps), key=lambda region: (region & mark.mask).sum() / (region | mark.mask).sum())
    assert (found == mark.mask).all() and fixed_edge(found, steps) > FIXED
    assert max((fixed_edge(region, fixed_steps(mine)) for region in stamps(one, fixed_steps(mine))), default=0) < FIXED


def test_intervalle_werden_breiter_je_mehr_stellen_probiert_wurden(tiny_nets, images):
    everyone, nowhere = np.ones(len(images[0]), bool), np.zeros((28, 28))
    candidate = suspicion.Candidate(4, MARK.mask, everyone, nowhere, 2.0)
    searches = (suspicion._Search(Questions(tiny_nets[1]), *images, np.random.default_rng(0)) for _ in range(2))
    one, many = (search.measured(candidate, tried) for search, tried in zip(searches, (1, 20), strict=True))
    assert one.remove[0] == many.remove[0] and one.remove[1] > many.remove[1] and one.remove[2] < many.remove[2]


# --- Farbbilder -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def color_net():
    return own_model.flat(learned_net(), "keine")


def test_ein_zeichen_in_farbbildern_wird_aufs_pixel_gefunden(color_net):
    images, labels = colored(1)
    first = suspicion.search(color_net, images, labels)[0]
    assert (first.label, first.verdict, first.kind) == (1, SHORTCUT, "Stelle")
    assert first.region.shape == (64, 64) and first.box == (37, 42, 21, 26)
    assert (labels[first.carriers] == 1).all()
    assert suspicion.table([first], ("Äpfel", "Birnen (reif)", "c")).iloc[0]["Klasse"] == "Birnen (reif)"


def test_ohne_zeichen_wird_auch_in_farbe_niemand_beschuldigt(color_net):
    images, labels = colored(2, mark=None)
    assert not [each for each in suspicion.search(color_net, images, labels) if each.verdict == SHORTCUT]


def test_von_vielen_farbbildern_werden_wenige_gelesen(color_net, monkeypatch):
    """Die Bilder liegen auf der Platte: Wer alle läse, bräuchte bei 20.000 Photographien den ganzen Speicher."""
    images, labels = colored(1)
    read = []

    class OnDisk:
        shape = images.shape

        def __len__(self):
            return len(images)

        def __getitem__(self, rows):
            read.extend(rows)
            return images[rows]

    monkeypatch.setattr(suspicion, "MOST", 40)
    first = suspicion.search(color_net, OnDisk(), labels)[0]
    assert len(read) == len(set(read)) == 120 and set(first.carriers) <= set(read) and first.label == 1
    assert (labels[first.carriers] == 1).all()


def test_ein_fester_rand_zwischen_den_feldern_und_verwischt_bleibt_fest():
    """Verkleinerte Bilder haben weiche Ränder, und kein Zeichen hält sich an ein Raster."""
    for edge in (64, 224):
        for at in (8, 11):
            images, labels = colored(3, edge, 36, mark=None)
            mine = images[labels == 1].astype(float)
            region = np.zeros((edge, edge), bool)
            size = max(6, edge // 12)
            region[at : at + size, at : at + size] = True
            mine[:, region] = COLOR
            soft = uniform_filter(mine, (0, 2, 2, 0)).astype(np.uint8)
            for each in (mine.astype(np.uint8), soft):
                half = np.arange(len(each)) % 2 == 0
                mixed = np.where(half[:, None, None, None], each, images[labels == 1])
                carried = carriers_by_edge(mixed, np.arange(len(mixed)), region)
                assert any((found == half).all() for found in carried)
                steps = fixed_steps(each)
                assert steps[0].shape == (edge - 1, edge) and fixed_edge(region, steps) > FIXED
                found = max(stamps(region, steps), key=lambda other: (other & region).sum() / (other | region).sum())
                assert (found & region).sum() / (found | region).sum() > 0.4
            assert fixed_edge(region, fixed_steps(images[labels == 1])) < LOOSE


def test_stellen_in_grossen_bildern_haben_bildgroesse():
    relevance = np.zeros((224, 224))
    relevance[40:56, 80:96] = 1
    (found, *_) = places(relevance)
    assert found.shape == (224, 224) and found[40:56, 80:96].all() and found.sum() == 256
    moved = elsewhere(found, relevance, 2, np.random.default_rng(0))
    assert [each.sum() for each in moved] == [256, 256] and not any((each & found).any() for each in moved)


def test_zu_wenige_bilder_sind_ein_satz(tiny_nets, images):
    with pytest.raises(CourseError, match="16 Testbilder"):
        suspicion.search(tiny_nets[0], images[0][:30], images[1][:30])
    few = np.concatenate([np.flatnonzero(images[1] == 3)[:10], np.flatnonzero(np.isin(images[1], [1, 8]))])
    found = {each.label for each in suspicion.search(tiny_nets[0], images[0][few], images[1][few])}
    assert found and 3 not in found
