"""Der Vertrauensbericht: Die Regel wird in alle drei Richtungen geprüft, und jede Zahl kommt im Bericht an."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from helpers import trust
from helpers.basics import record, write_json
from helpers.data import Watermark
from helpers.model import softmax
from helpers.training import Evaluation
from helpers.trust import DISTRUST, QUESTIONS, TRUST, UNDECIDED, Finding, judge
from helpers.workshop.report import build_report


def finding(name, answer):
    """Ein Messwert, der zu ``name`` die Antwort ``answer`` gibt."""
    question = QUESTIONS[name]
    middle = question.threshold + {"ja": 0.05, "nein": -0.05, "offen": 0}[answer] * question.better
    return Finding(middle, middle - 0.02, middle + 0.02)


def findings(**answers):
    return {name: finding(name, answers.get(name, "ja")) for name in QUESTIONS}


def test_lauter_sichere_ja_heissen_vertrauen():
    verdict = judge(findings())
    assert verdict.judgement == TRUST and set(verdict.answers.values()) == {"ja"} and "Beweis" in verdict.reason


@pytest.mark.parametrize("name", [name for name, question in QUESTIONS.items() if not question.tool])
def test_ein_sicheres_nein_genuegt(name):
    verdict = judge(findings(**{name: "nein"}))
    assert verdict.judgement == DISTRUST and QUESTIONS[name].text in verdict.reason


@pytest.mark.parametrize("name", QUESTIONS)
def test_eine_offene_frage_laesst_das_urteil_offen(name):
    assert judge(findings(**{name: "offen"})).judgement == UNDECIDED
    without = findings()
    del without[name]
    assert judge(without).judgement == UNDECIDED, "was nicht gemessen ist, ist offen"


@pytest.mark.parametrize("tool", ["treue", "vernunft"])
def test_ein_untaugliches_werkzeug_klagt_niemanden_an(tool):
    for answer in ("nein", "offen"):
        assert judge(findings(**{tool: answer})).judgement == UNDECIDED
        assert judge(findings(**{tool: answer, "ort": "nein", "gruppen": "nein"})).judgement == UNDECIDED
        assert judge(findings(**{tool: answer, "eingriff": "nein"})).judgement == DISTRUST


def test_ein_nein_wiegt_mehr_als_eine_offene_frage():
    assert judge(findings(kalibrierung="offen", eingriff="nein")).judgement == DISTRUST


@pytest.mark.parametrize("name", QUESTIONS)
def test_antworten_an_der_schwelle(name):
    question = QUESTIONS[name]
    for answer in ("ja", "nein", "offen"):
        assert finding(name, answer).answer(question) == answer
    edge = question.threshold
    assert Finding(edge, edge, edge).answer(question) == "offen"
    assert Finding(edge, float("nan"), edge).answer(question) == "offen"
    assert Finding(0.5, -np.inf, np.inf).answer(question) == "offen"


def test_die_regel_steht_da():
    for word in ("Nicht vertrauen", "Vertrauen", UNDECIDED, "Treue und Vernunft", "95-%-Intervall", "sieben"):
        assert word in trust.RULE_TEXT
    assert len(QUESTIONS) == 7


def test_kalibrierung_mit_intervall():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(800, 10)) * 3
    probabilities = softmax(logits)
    labels = np.array([rng.choice(10, p=row) for row in probabilities])
    good = trust.calibration(Evaluation(probabilities, labels, logits.argmax(axis=1)))
    assert good.low <= good.value + 0.02 and good.high < 0.1 and good.answer(QUESTIONS["kalibrierung"]) == "ja"
    sure = softmax(logits * 20)
    bad = trust.calibration(Evaluation(sure, labels, logits.argmax(axis=1)))
    assert bad.low > 0.1 and bad.answer(QUESTIONS["kalibrierung"]) == "nein"


@pytest.fixture
def examined():
    """Alle sieben Fragen; jede Messreihe hat ihren eigenen Mittelwert."""
    rng = np.random.default_rng(0)

    def around(mean, count=40):
        values = rng.normal(size=count)
        return mean + 0.01 * (values - values.mean())

    measured = {
        trust.METHOD: {"loeschen": around(0.3), "vernunft": around(0.2), "masse": around(0.12)},
        trust.CHANCE: {"loeschen": around(0.6), "masse": around(9)},
        trust.EDGES: {"loeschen": around(9), "masse": around(0.1)},
    }
    labels = np.arange(200) % 10
    probabilities = np.eye(10)[np.where(np.arange(200) < 190, labels, (labels + 1) % 10)]
    evaluation = Evaluation(probabilities, labels, probabilities.argmax(axis=1))
    return trust.examine(evaluation, measured, np.arange(80) % 5 > 0, np.arange(100) < 10)


def test_jede_frage_liest_ihre_messung(examined):
    values = [round(examined[name].value, 6) for name in QUESTIONS]
    assert values == [0.95, 0.05, 0.5, 0.2, 1.2, 0.8, 0.1] and len(examined) == 7
    assert all(each.low < each.value < each.high for each in examined.values())
    assert list(judge(examined).answers.values()) == ["ja", "ja", "ja", "ja", "nein", "offen", "nein"]


def test_jede_zahl_steht_in_den_kennzahlen_und_im_bericht(examined, ausgabe):
    figures = trust.report_figures({"sauberes Modell": examined, "Zwilling": findings(ort="nein")}, Watermark())
    record(vertrauen=figures)
    text = build_report().read_text(encoding="utf-8")
    assert text.count('<h2 id="vertrauen">') == 1 and "Mantel" in text and trust.RULE_TEXT.split(":")[0] in text
    for model in figures["modelle"].values():
        assert model["urteil"] in text and set(model["pruefungen"]) == set(QUESTIONS)
        for check in model["pruefungen"].values():
            assert check["frage"] in text and check["gemessen"] in text
            assert f"{check['wert']:.3f}".replace(".", ",") in text or check["wert"] >= 10


@pytest.mark.skipif(shutil.which("chromium") is None, reason="braucht chromium zum Drucken")
def test_der_vertrauensbericht_passt_auf_ein_blatt(tmp_path):
    """Ohne Bilder passt der Vertrauensbericht noch auf dieselbe A4-Seite wie der Kopf."""
    worst = findings(ort="nein", gruppen="nein", eingriff="nein", leistung="nein", kalibrierung="nein")
    pages = []
    for number, figures in enumerate(
        ({}, trust.report_figures({"sauberes Modell": worst, "Zwilling": worst}, Watermark()))
    ):
        folder = tmp_path / str(number)
        write_json(folder / "kennzahlen.json", {"versionen": {"python": "3.12"}, "vertrauen": figures})
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--print-to-pdf={folder / 'seite.pdf'}"]
        subprocess.run([*command, str(build_report(folder))], check=True, capture_output=True, timeout=120)
        pages.append(len(re.findall(rb"/Type\s*/Page\b", (folder / "seite.pdf").read_bytes())))
    assert pages == [1, 1]


def test_ohne_vertrauensbericht_sagt_der_bericht_was_fehlt(tmp_path):
    write_json(tmp_path / "kennzahlen.json", {"vertrauen": {}})
    text = build_report(tmp_path).read_text(encoding="utf-8")
    assert "Der Vertrauensbericht fehlt noch: Führen Sie 05_LRP aus." in text and 'id="vertrauen"' not in text
