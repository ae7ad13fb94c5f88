"""Wertungstafel: jedes Verfahren einmal gemessen, mit Intervallen."""

import numpy as np
import pytest

from helpers import lrp, metrics, scorecard
from helpers.__main__ import main
from helpers.basics import CourseError
from helpers.data import Watermark
from helpers.model import Run, enlarge_mask, predict_logits, preprocess, weights_checksum
from helpers.scorecard import CHANCE, EDGES, MEASURES, METHOD, measure, methods, summarize
from helpers.settings import Profile
from helpers.training import Evaluation, probabilities, randomize_down_to
from helpers.workshop import tables

MARK = Watermark(size=6, top=21)
QUICK = ["Grad-CAM", METHOD, CHANCE, EDGES, "leere Karte"]
PROFILE = Profile("schnell", n_train=300, n_test=200, image_size=32, augment=True, epochs=2)


@pytest.fixture
def trained(monkeypatch, ausgabe, tiny_nets):
    """Alle Modelle sind schon da: zwei kleine Netze."""
    monkeypatch.setattr(tables, "ensure_run", lambda name, *_: Run(tiny_nets[name == "vergiftet"], [], {}))


@pytest.fixture(scope="module")
def case(tiny_nets, small):
    """Zwölf Bilder, die das saubere Netz richtig erkennt, und zwölf mit Zeichen."""
    evaluation = Evaluation.of(predict_logits(tiny_nets[0], small.test_images), small.test_labels)
    members = small.test_images[small.test_labels == MARK.label]
    return scorecard.gather(tiny_nets[0], evaluation, small.test_images, members, MARK, 12)


@pytest.fixture(scope="module")
def measured(case, tiny_nets):
    """Werte je Bild: geprüftes Netz, Zwilling und Kontrolle (hier dasselbe Netz wie das geprüfte)."""
    explainers = methods(only=QUICK)
    control = measure(case, explainers, faithful=())
    return measure(case, explainers), measure(case._replace(model=tiny_nets[1]), explainers, faithful=[CHANCE]), control


def test_gezogen_wird_geschichtet_und_nur_richtiges(case, small):
    assert Evaluation.of(predict_logits(case.model, case.images), case.classes).accuracy == 1
    assert (case.marked[:, 21:27, 1:7] == 255).all() and len(case.marked) == len(case.images) == 12
    answers = Evaluation.of(predict_logits(case.model, small.test_images), small.test_labels)
    draw = lambda members, count: scorecard.gather(case.model, answers, small.test_images, members, MARK, count)  # noqa: E731
    assert len(np.unique(draw(small.test_images, 60).classes)) == 10, "jede Klasse ist dabei"
    assert len(draw(small.test_images, 3).images) == 3
    for members, count in ((9, 1), (9, 201), (1, 12)):
        with pytest.raises(CourseError, match="Von 200 Testbildern sind .* richtig erkannt"):
            draw(small.test_images[:members], count)


def test_jede_zahl_ist_die_des_masses(case, measured):
    """LRP-ε + z^B, Bild für Bild mit den Maßen nachgerechnet."""
    model, (clean, twin, _) = case.model, (each[METHOD] for each in measured)
    rule = lrp.bounded_pixels(lrp.epsilon())
    x, mask = preprocess(case.images, 32), enlarge_mask(MARK.mask, 32)
    maps = lrp.relevance(model, x, case.classes, rule)
    predict = probabilities(model)
    for name in ("loeschen", "einfuegen"):
        curve = metrics.perturbation_curve(predict, x, maps, case.classes, scorecard.STEPS, name == "einfuegen")
        np.testing.assert_allclose(clean[name], metrics.area_under_curve(curve), atol=1e-4)
    shuffled = lrp.relevance(randomize_down_to(model, scorecard.stage_of(model), 0), x, case.classes, rule)
    np.testing.assert_allclose(clean["plausibilitaet"], abs(metrics.rank_correlation(maps, shuffled)), atol=1e-3)
    place = lrp.relevance(model, preprocess(case.marked, 32), np.full(12, MARK.label), rule)
    np.testing.assert_allclose(clean["masse"], metrics.relevance_mass(place, mask), atol=1e-4)
    np.testing.assert_array_equal(clean["zeigen"], metrics.pointing_game(place, mask))
    assert twin["masse"].mean() > 2 * clean["masse"].mean(), "der Zwilling sieht auf das Zeichen"
    assert set(twin) == {"masse", "zeigen"} and "plausibilitaet" in measured[1][CHANCE], "mehr war nicht gefragt"


def test_haeppchen_aendern_nichts(case, measured, monkeypatch):
    monkeypatch.setattr(scorecard, "CHUNK", 5)
    parts = measure(case, methods(only=[]))[METHOD]
    for name in set(parts) - {"ms"}:
        np.testing.assert_allclose(parts[name], measured[0][METHOD][name], atol=2e-3)


def test_das_netz_behaelt_seine_gewichte_auch_wenn_die_messung_abbricht(case):
    before = weights_checksum(case.model)

    def breaks(model, inputs, classes):
        if weights_checksum(model) != before:
            raise KeyboardInterrupt
        return np.zeros(inputs.shape[:3])

    with pytest.raises(KeyboardInterrupt):
        measure(case, {METHOD: breaks})
    assert weights_checksum(case.model) == before


def test_was_vom_netz_nichts_weiss(measured):
    card = summarize(*measured)
    assert list(card) == QUICK
    for row in card.values():
        assert list(row) == list(MEASURES)
        assert all(low - 1e-3 <= value <= high + 1e-3 for value, low, high in row.values())
    assert card[CHANCE]["loeschen"] == card[CHANCE]["einfuegen"] == [1, 1, 1]
    assert card[EDGES]["plausibilitaet"] == [1, 1, 1], "ein Kantenfilter ändert sich nie"
    assert card[EDGES]["masse"] == card[EDGES]["masse_kontrolle"]
    assert card[METHOD]["masse_kontrolle"][0] == round(measured[2][METHOD]["masse"].mean(), 4), "von der Kontrolle"
    for name in ("masse", "masse_kontrolle", "zeigen", "plausibilitaet"):
        assert card["leere Karte"][name] == [0, 0, 0]


def test_sieger_von_hand():
    card = {n: {m: [v, v - 0.05, v + 0.05] for m in MEASURES} for n, v in {"a": 0.5, "b": 0.8, "c": 0.2}.items()}
    card["a"]["masse"] = [0.5, 0.2, 0.76]
    winners = scorecard.winners(card)
    assert (winners["masse"], winners["zeigen"], winners["loeschen"]) == (["a", "b"], ["b"], ["c"])
    assert "masse_kontrolle" not in winners and "ms" not in winners
    assert scorecard.ranks(card) == {"a": [2, 2, 2, 2, 2], "b": [3, 1, 1, 1, 3], "c": [1, 3, 3, 3, 1]}


def test_auswahl_der_verfahren():
    assert list(methods(only=["leere Karte", "Grad-CAM"])) == QUICK, "was der Bericht braucht, ist immer dabei"
    with pytest.raises(CourseError, match="„Rate“ gibt es nicht: Wählen Sie aus Grad-CAM"):
        methods(only=["Rate"])


def test_die_grosse_tafel_liegt_bei(tmp_path):
    card = scorecard.load_stored_card()
    assert card["einstellungen"]["images"] >= 200 and list(card["tafel"]) == list(methods()) and len(methods()) == 12
    assert all(set(row) == set(MEASURES) for row in card["tafel"].values()), "gemessen mit den Maßen von heute"
    assert scorecard.load_stored_card(tmp_path / "fehlt.json") is None


def test_befehl_wertung(trained, monkeypatch, tiny_nets, tmp_path, capsys):
    monkeypatch.setattr(scorecard, "methods", lambda seed: methods(seed, QUICK))
    target = tmp_path / "tafel.json"
    assert main(["wertung", "--bilder", "10", "--modell", "sauber", "--ziel", str(target)]) == 0
    assert "10 Bilder" in capsys.readouterr().out
    card = scorecard.load_stored_card(target)
    assert card["modell"] == "sauber" and card["einstellungen"]["seed"] == card["herkunft"]["seed"] == 0
    assert list(card["tafel"]) == QUICK and card["modelle"]["zwilling"] == weights_checksum(tiny_nets[1])
    assert [scorecard.belongs_to(card, net) for net in tiny_nets] == [True, False]
    assert main(["wertung", "--ziel", str(tmp_path)]) == 2
    assert "ist ein Ordner" in capsys.readouterr().err
