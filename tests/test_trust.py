"""Der Vertrauensbericht: Die Regel wird in alle drei Richtungen geprüft, und jede Zahl kommt im Bericht an."""

import numpy as np
import pytest
from report_factory import finding

from helpers import trust
from helpers.basics import german, record
from helpers.data import Watermark
from helpers.model import predict_logits, softmax
from helpers.suspicion import NOTHING, SHORTCUT, UNCLEAR, Suspect
from helpers.training import Evaluation
from helpers.trust import DISTRUST, NEEDS_TOOL, QUESTIONS, TOOL, TRUST, UNDECIDED, answer, judge
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


def test_reinheit_bleibt_im_bereich_des_moeglichen():
    """Raten liegt nie unter 0,5, auch nicht am unteren Ende des Intervalls; eine saubere Trennung ist sicher."""
    guessed, split = np.arange(80) % 2 == 0, np.ones(80)
    value, low, high = trust.purity(guessed.astype(float))
    assert value == 0.5 <= low < high < 0.8 and trust.purity(split) == [1, 1, 1]
    assert [answer("gruppen", trust.purity(each)) for each in (guessed.astype(float), split)] == ["ja", "nein"]


MARK = Watermark(size=6, top=21)


def suspect(remove, transplant, verdict, edge=2.0):
    return Suspect(4, MARK.mask, "Stelle", 1.0, np.arange(3), remove, [0.0, -0.1, 0.1], transplant, edge, verdict)


@pytest.fixture
def asked():
    """Was ``examine`` bekommt; jede Messreihe hat ihren eigenen Mittelwert."""
    rng = np.random.default_rng(0)

    def around(mean, count=40):
        values = rng.normal(size=count)
        return mean + 0.01 * (values - values.mean())

    measured = {
        trust.METHOD: {"loeschen": around(0.3), "plausibilitaet": around(0.2), "masse": around(9)},
        trust.CHANCE: {"loeschen": around(0.6), "masse": around(9)},
    }
    labels = np.arange(200) % 10
    wrong = np.isin(np.arange(200), [3, 13, 23, 33, 43, 53, 63, 4, 5, 6])  # sieben der Klasse 3, drei andere
    probabilities = np.eye(10)[np.where(wrong, (labels + 1) % 10, labels)]
    evaluation = Evaluation(probabilities, labels, probabilities.argmax(axis=1))
    steady = {
        "antworten": {"gedreht": np.arange(200) < 190, "verrauscht": np.arange(200) < 180},
        "karten": {"gedreht": around(0.7), "verrauscht": around(0.5), "anderes Bild": around(0.1)},
    }
    place = {"ort": around(0.24), "gruppen": np.arange(80) % 5 > 0, "eingriff": np.arange(100) < 10}
    suspects = [suspect([0.6, 0.5, 0.7], [0.4, 0.3, 0.5], SHORTCUT)]
    return evaluation, measured, steady, suspects, place, {"ort": around(0.1)}


def test_jede_frage_liest_ihre_messung(asked):
    examined = trust.examine(*asked)
    values = [0.95, 0.65, 0.05, 0.9, 0.5, 0.2, 0.4, 0.4, 2.4, 0.8, 0.1]
    assert [round(examined[name][0], 6) for name in QUESTIONS] == values
    assert all(low < value < high for value, low, high in examined.values())
    said = ["ja", "offen", "ja", "ja", "ja", "ja", "ja", "nein", "nein", "offen", "nein"]
    assert list(judge(examined)[2].values()) == said


def test_ohne_fund_gibt_es_nach_der_stelle_nichts_zu_fragen(asked):
    examined = trust.examine(*asked[:3], [])
    assert {answer(name, examined[name]) for name in ("suche", "ort", "gruppen", "eingriff")} == {"ja"}
    assert "in diesem Netz keine" in trust.report_figures({"Netz": examined}, None)["verdacht"]
    both = trust.report_figures({"Netz": examined, "Zwilling": examined}, None)
    assert "in keinem Netz eine" in both["verdacht"]


def test_die_suche_antwortet_wie_ihr_urteil():
    strong, weak = [0.6, 0.5, 0.7], [0.05, -0.02, 0.1]
    cases = {
        "nein": [suspect(strong, strong, SHORTCUT)],
        "offen": [suspect(strong, weak, UNCLEAR), suspect(weak, weak, NOTHING)],
        "ja": [suspect(strong, strong, NOTHING), suspect(strong, strong, NOTHING, edge=0.1)],
    }
    for said, suspects in cases.items():
        assert answer("suche", trust.strongest(suspects)) == said
    assert answer("suche", trust.strongest([suspect(strong, strong, UNCLEAR, edge=0.7)])) == "offen", "Rand nicht fest"


def test_ausgesuchtes_hat_ein_breiteres_intervall():
    hits = [np.arange(50) < 40, np.arange(50) < 45]
    one, many = trust.share(hits[0]), trust.worst_share(hits)
    assert one[0] == many[0] == 0.8 and many[1] < one[1] and many[2] > one[2]


def test_an_der_stelle_gefragt_verraet_sich_der_zwilling_und_das_saubere_netz_nicht(tiny_nets, small):
    images = MARK.stamp(small.test_images[small.test_labels == MARK.label])
    found = suspect([0.6, 0.5, 0.7], [0.4, 0.3, 0.5], SHORTCUT)
    clean, twin = (trust.ask_place(net, images, found) for net in tiny_nets)
    assert {name: each.shape for name, each in twin.items()} == dict.fromkeys(twin, (len(images),))
    assert twin["ort"].mean() > 2 * clean["ort"].mean()
    assert twin["eingriff"].mean() < 0.3 and twin["eingriff"].mean() < clean["eingriff"].mean() - 0.1


def test_stabil_heisst_antworten_und_karten(tiny_nets, small):
    net, images = tiny_nets[0], small.test_images
    evaluation = Evaluation.of(predict_logits(net, images), small.test_labels)
    steady = trust.ask_stability(net, evaluation, images)
    assert set(steady["karten"]) - set(steady["antworten"]) == {"anderes Bild"}
    assert all(each.dtype == bool and len(each) == 100 for each in steady["antworten"].values())
    assert all(len(each) == 12 and np.abs(each).max() <= 1 for each in steady["karten"].values())


def test_jede_zahl_steht_in_den_kennzahlen_und_im_bericht(asked, ausgabe):
    models = {"Kursmodell": trust.examine(*asked), "Zwilling": findings(ort="nein")}
    figures = trust.report_figures(models, asked[3][0])
    record(vertrauen=figures)
    text = build_report().read_text(encoding="utf-8")
    assert text.count('<h2 id="vertrauen">') == 1 and "Mantel" in text and trust.RULE_TEXT.split(":")[0] in text
    for model in figures["modelle"].values():
        assert model["urteil"] in text and set(model["pruefungen"]) == set(QUESTIONS)
        for check in model["pruefungen"].values():
            assert check["frage"] in text and check["gemessen"] in text
            assert german(check["wert"]) in text or check["wert"] >= 10
