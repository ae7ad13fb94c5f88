"""Der Vertrauensbericht: sieben Fragen an ein Netz, jede mit Intervall, und ein Urteil nach einer Regel, die dasteht.

Jede Antwort ist „ja“, „nein“ oder „offen“: „offen“, wenn das 95-%-Intervall die Schwelle enthält. So entscheidet nicht
der Zufall der Stichprobe. Die Schwellen sind gesetzt, nicht gemessen: Sie stehen in ``QUESTIONS`` und im Bericht.
"""

from dataclasses import dataclass

import numpy as np

from helpers import metrics
from helpers.basics import CLASS_NAMES, german
from helpers.data import Watermark
from helpers.scorecard import CHANCE, EDGES, METHOD
from helpers.training import Evaluation

TRUST, DISTRUST, UNDECIDED = "vertrauen", "nicht vertrauen", "nicht entscheidbar"
RULE_TEXT = (
    "Zuerst das Werkzeug: Besteht die Erklärung Treue und Vernunft nicht sicher, zählen Ort und Gruppen nicht. "
    "„Nicht vertrauen“ heißt: Mindestens eine Frage, die zählt, ist sicher mit Nein beantwortet. "
    "„Vertrauen“ heißt: Alle sieben Fragen sind sicher mit Ja beantwortet. "
    "In allen anderen Fällen lautet das Urteil „nicht entscheidbar“. "
    "Sicher ist eine Antwort, wenn das ganze 95-%-Intervall auf einer Seite der Schwelle liegt."
)


@dataclass(frozen=True)
class Question:
    """Eine Frage des Berichts.

    Attributes:
        text: die Frage; „ja“ ist immer die gute Antwort.
        measured: was gemessen wird.
        threshold: Schwelle.
        better: +1, wenn „ja“ über der Schwelle liegt, −1, wenn darunter.
        tool: Gehört die Frage zum Werkzeug (der Erklärung) statt zum Netz?
        needs_tool: Gilt die Antwort nur mit einer Erklärung, die etwas taugt?
    """

    text: str
    measured: str
    threshold: float
    better: int
    tool: bool = False
    needs_tool: bool = False


QUESTIONS = {
    "leistung": Question("Erkennt das Netz genug?", "Trefferquote in seinem Test", 0.8, 1),
    "kalibrierung": Question("Weiß es, wie sicher es ist?", "Kalibrierungsfehler", 0.1, -1),
    "treue": Question(
        "Nennt die Erklärung wichtige Pixel?", "Fläche der Löschkurve, geteilt durch Zufall", 1.0, -1, tool=True
    ),
    "vernunft": Question(
        "Hängt die Erklärung am Netz?", "Ähnlichkeit nach dem Auswürfeln (Rangkorrelation)", 0.7, -1, tool=True
    ),
    "ort": Question(
        "Bleibt die Relevanz vom Zeichen weg?",
        "Masse auf dem Zeichen, geteilt durch die eines Kantenfilters",
        1.0,
        -1,
        needs_tool=True,
    ),
    "gruppen": Question(
        "Sind die Erklärungen einer Klasse aus einem Guss?",
        "Reinheit zweier Gruppen (mit und ohne Zeichen)",
        0.8,
        -1,
        needs_tool=True,
    ),
    "eingriff": Question("Bleibt die Antwort ohne das Zeichen?", "Anteil gleicher Antworten", 0.7, 1),
}


@dataclass(frozen=True)
class Finding:
    """Messwert zu einer Frage, mit 95-%-Intervall."""

    value: float
    low: float
    high: float

    def answer(self, question: Question) -> str:
        """„ja“, „nein“ oder „offen“."""
        ends = sorted(question.better * (end - question.threshold) for end in (self.low, self.high))
        if not np.isfinite(ends).all():
            return "offen"
        return "ja" if ends[0] > 0 else "nein" if ends[1] < 0 else "offen"


@dataclass(frozen=True)
class Verdict:
    """Urteil und Begründung; ``answers``: Frage → „ja“, „nein“ oder „offen“."""

    judgement: str
    reason: str
    answers: dict


def judge(findings: dict[str, Finding]) -> Verdict:
    """Das Urteil nach ``RULE_TEXT``.

    Args:
        findings: Messwert je Frage; eine fehlende Frage gilt als offen.
    """
    answers = {
        name: findings[name].answer(question) if name in findings else "offen" for name, question in QUESTIONS.items()
    }
    tool_works = all(answers[name] == "ja" for name, question in QUESTIONS.items() if question.tool)
    counted = [
        name for name, question in QUESTIONS.items() if not question.tool and (tool_works or not question.needs_tool)
    ]
    objections = [name for name in counted if answers[name] == "nein"]
    if objections:
        texts = ", ".join(f"„{QUESTIONS[name].text}“" for name in objections)
        return Verdict(DISTRUST, f"Sicher mit Nein beantwortet: {texts}", answers)
    if not tool_works:
        reason = "Die Erklärung besteht Treue oder Vernunft nicht sicher: Über die Gründe des Netzes wissen wir nichts."
        return Verdict(UNDECIDED, reason, answers)
    unsure = [name for name in counted if answers[name] == "offen"]
    if unsure:
        texts = ", ".join(f"„{QUESTIONS[name].text}“" for name in unsure)
        return Verdict(UNDECIDED, f"Das Intervall enthält die Schwelle: {texts}", answers)
    return Verdict(TRUST, "Wir haben gesucht und nichts gefunden. Ein Beweis ist das nicht.", answers)


# --- Messen ---------------------------------------------------------------------------------------------------------


def share(hits) -> Finding:
    """Anteil der Treffer (n,) mit Wilson-Intervall."""
    value = float(np.mean(hits))
    return Finding(value, *metrics.wilson_interval(value, len(hits)))


def calibration(evaluation: Evaluation, draws: int = 200, seed: int = 0) -> Finding:
    """Kalibrierungsfehler mit Bootstrap-Intervall über die Testbilder."""

    def error(rows):
        columns = (evaluation.probabilities, evaluation.labels, evaluation.predictions)
        return Evaluation(*(column[rows] for column in columns)).calibration_error

    rows = np.arange(len(evaluation.labels))
    return Finding(error(rows), *metrics.interval(error, rows, draws=draws, seed=seed, vectorized=False))


def examine(evaluation: Evaluation, measured: dict, grouped, kept, seed: int = 0) -> dict[str, Finding]:
    """Beantwortet alle sieben Fragen für ein Netz.

    Args:
        evaluation: sein Ergebnis auf seinen Testbildern, beim Zwilling den gezeichneten.
        measured: aus ``scorecard.measure``: Verfahren → Maß → Werte je Bild, mindestens für ``METHOD``, ``CHANCE``
            (Treue) und ``EDGES`` (Ort).
        grouped: aus ``clusters.purity``: Passt die Gruppe des Bilds zu seinem Zeichen? (n,)
        kept: Ist die Antwort mit und ohne Zeichen dieselbe? bool (n,)
        seed: Startwert der Intervalle.
    """
    mine, chance, edges = measured[METHOD], measured[CHANCE], measured[EDGES]
    similarity = mine["vernunft"]
    return {
        "leistung": share(evaluation.predictions == evaluation.labels),
        "kalibrierung": calibration(evaluation, seed=seed),
        "treue": Finding(*metrics.relative_interval(mine["loeschen"], chance["loeschen"], seed=seed)),
        "vernunft": Finding(float(similarity.mean()), *metrics.bootstrap_interval(similarity, seed=seed)),
        "ort": place(mine["masse"], edges["masse"], seed),
        "gruppen": share(grouped),
        "eingriff": share(kept),
    }


def place(mass, edges, seed: int = 0) -> Finding:
    """Masse auf dem Zeichen (m,) im Verhältnis zu der eines Kantenfilters auf denselben Bildern."""
    return Finding(*metrics.relative_interval(mass, edges, seed=seed))


# --- Berichten ------------------------------------------------------------------------------------------------------


def record_of(findings: dict[str, Finding]) -> dict:
    """Was in ``kennzahlen.json`` unter ``vertrauen`` je Modell steht: Urteil, Grund, jede Prüfung mit allen Zahlen."""
    verdict, checks = judge(findings), {}
    for name, question in QUESTIONS.items():
        found = findings[name]
        checks[name] = {
            "frage": question.text,
            "gemessen": question.measured,
            "wert": round(float(found.value), 4),
            "tief": round(float(found.low), 4),
            "hoch": round(float(found.high), 4),
            "schwelle": question.threshold,
            "ja_wenn": "größer" if question.better > 0 else "kleiner",
            "antwort": verdict.answers[name],
        }
    return {"urteil": verdict.judgement, "grund": verdict.reason, "pruefungen": checks}


def report_figures(models: dict[str, dict[str, Finding]], watermark: Watermark) -> dict:
    """Alles für den Bericht: die Regel, der Verdacht und je Modell das Urteil mit seinen Zahlen."""
    suspicion = (
        f"Zeichen auf „{CLASS_NAMES[watermark.label]}“: {watermark.size} × {watermark.size} Pixel ab Zeile "
        f"{watermark.top}, Spalte {watermark.left}, Deckkraft {german(100 * float(watermark.strength), 0)} %"
    )
    return {
        "regel": RULE_TEXT,
        "verdacht": suspicion,
        "modelle": {name: record_of(findings) for name, findings in models.items()},
    }
