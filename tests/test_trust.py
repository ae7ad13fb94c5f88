"""Der Vertrauensbericht: Die Regel wird in alle drei Richtungen geprüft, und jede Zahl kommt im Bericht an."""

import numpy as np
import pytest
from report_factory import finding

from helpers import trust
from helpers.basics import SOLUTIONS, record
from helpers.data import Watermark
from helpers.model import softmax
from helpers.scorecard import METHOD_RULE, methods
from helpers.training import Evaluation
from helpers.trust import DISTRUST, NEEDS_TOOL, QUESTIONS, TOOL, TRUST, UNDECIDED, answer, judge
from helpers.workshop.notebooks import read_notebook
from helpers.workshop.report import build_report


def findings(**answers):
    return {name: finding(name, answers.get(name, "ja")) for name in QUESTIONS}


def test_das_urteil():
    judgement, reason, answers = judge(findings())
    assert judgement == TRUST and set(answers.values()) == {"ja"} and "Beweis" in reason
    assert judge(findings(kalibrierung="offen", eingriff="nein"))[0] == DISTRUST, "ein Nein wiegt mehr als ein Offen"


@pytest.mark.parametrize("name", QUESTIONS)
def test_ein_sicheres_nein_genuegt_und_eine_offene_frage_laesst_das_urteil_offen(name):
    assert judge(findings(**{name: "offen"}))[0] == UNDECIDED
    judgement, reason, _ = judge(findings(**{name: "nein"}))
    assert judgement == (UNDECIDED if name in TOOL else DISTRUST) and (name in TOOL or QUESTIONS[name].text in reason)


@pytest.mark.parametrize("said", ["nein", "offen"])
@pytest.mark.parametrize("tool", TOOL)
def test_ein_untaugliches_werkzeug_klagt_niemanden_an(tool, said):
    assert judge(findings(**{tool: said}, **dict.fromkeys(NEEDS_TOOL, "nein")))[0] == UNDECIDED
    assert judge(findings(**{tool: said}, eingriff="nein"))[0] == DISTRUST


@pytest.mark.parametrize("name", QUESTIONS)
def test_antworten_an_der_schwelle(name):
    assert [answer(name, finding(name, said)) for said in ("ja", "nein", "offen")] == ["ja", "nein", "offen"]
    edge, infinite = QUESTIONS[name].threshold, float("inf")
    for low, high in ((edge, edge), (float("nan"), edge), (-infinite, infinite), (infinite, infinite)):
        assert answer(name, [edge, low, high]) == "offen"


def test_kalibrierung_mit_intervall():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(800, 10)) * 3
    labels = np.array([rng.choice(10, p=row) for row in softmax(logits)])
    good, bad = (trust.calibration(Evaluation.of(scale * logits, labels)) for scale in (1, 20))
    assert good[1] <= good[0] + 0.02 and good[2] < 0.1 < bad[1]
    assert [answer("kalibrierung", each) for each in (good, bad)] == ["ja", "nein"]


def test_was_das_werkzeug_sagt_kommt_aus_der_geprueften_regel():
    """Ort und Gruppen zählen nur, wenn die Regel ihre Prüfung besteht; also müssen sie aus derselben Regel kommen."""
    cells = {cell.id: cell.source for cell in read_notebook(SOLUTIONS / "05_LRP.ipynb").cells}
    assert methods()[trust.METHOD].keywords["rule"] is METHOD_RULE
    assert "tool = scorecard.METHOD_RULE" in cells["05-nullpunkt"]
    assert "lrp.relevance(net, mixed_inputs, label, tool)" in cells["05-gruppen-rechnen"]
    assert "fits[name]" in cells["05-befunde"], "und ihre Gruppen gehen in den Bericht"


def test_reinheit_bleibt_im_bereich_des_moeglichen():
    """Raten liegt nie unter 0,5, auch nicht am unteren Ende des Intervalls; eine saubere Trennung ist sicher."""
    guessed, split = np.arange(80) % 2 == 0, np.ones(80)
    value, low, high = trust.purity(guessed.astype(float))
    assert value == 0.5 <= low < high < 0.8 and trust.purity(split) == [1, 1, 1]
    assert [answer("gruppen", trust.purity(each)) for each in (guessed.astype(float), split)] == ["ja", "nein"]


@pytest.fixture
def examined():
    """Alle sieben Fragen; jede Messreihe hat ihren eigenen Mittelwert."""
    rng = np.random.default_rng(0)

    def around(mean, count=40):
        values = rng.normal(size=count)
        return mean + 0.01 * (values - values.mean())

    measured = {
        trust.METHOD: {"loeschen": around(0.3), "plausibilitaet": around(0.2), "masse": around(0.24)},
        trust.CHANCE: {"loeschen": around(0.6), "masse": around(9)},
    }
    control = {trust.METHOD: {"masse": around(0.1)}, trust.CHANCE: {"masse": around(9)}}
    labels = np.arange(200) % 10
    probabilities = np.eye(10)[np.where(np.arange(200) < 190, labels, (labels + 1) % 10)]
    evaluation = Evaluation(probabilities, labels, probabilities.argmax(axis=1))
    return trust.examine(evaluation, measured, control, np.arange(80) % 5 > 0, np.arange(100) < 10)


def test_jede_frage_liest_ihre_messung(examined):
    assert [round(examined[name][0], 6) for name in QUESTIONS] == [0.95, 0.05, 0.5, 0.2, 2.4, 0.8, 0.1]
    assert all(low < value < high for value, low, high in examined.values())
    assert list(judge(examined)[2].values()) == ["ja", "ja", "ja", "ja", "nein", "offen", "nein"]


def test_jede_zahl_steht_in_den_kennzahlen_und_im_bericht(examined, ausgabe):
    figures = trust.report_figures({"Kursmodell": examined, "Zwilling": findings(ort="nein")}, Watermark())
    record(vertrauen=figures)
    text = build_report().read_text(encoding="utf-8")
    assert text.count('<h2 id="vertrauen">') == 1 and "Mantel" in text and trust.RULE_TEXT.split(":")[0] in text
    for model in figures["modelle"].values():
        assert model["urteil"] in text and set(model["pruefungen"]) == set(QUESTIONS)
        for check in model["pruefungen"].values():
            assert check["frage"] in text and check["gemessen"] in text
            assert f"{check['wert']:.3f}".replace(".", ",") in text or check["wert"] >= 10
