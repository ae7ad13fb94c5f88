"""Der Vertrauensbericht: sieben Fragen an ein Netz, jede mit Intervall, und ein Urteil nach einer Regel, die dasteht.

Ein Befund ist [Wert, tief, hoch] mit dem 95-%-Intervall. Jede Antwort ist „ja“, „nein“ oder „offen“: „offen“, wenn das
Intervall die Schwelle enthält. So entscheidet nicht der Zufall der Stichprobe. Die Schwellen sind gesetzt, nicht
gemessen: Sie stehen in ``QUESTIONS`` und im Bericht.
"""

from collections import namedtuple

import numpy as np

from helpers import metrics
from helpers.basics import CLASS_NAMES, german
from helpers.data import Watermark
from helpers.scorecard import CHANCE, METHOD
from helpers.training import Evaluation

TRUST, DISTRUST, UNDECIDED = "kein Einwand gefunden", "nicht vertrauen", "nicht entscheidbar"
RULE_TEXT = (
    "Zuerst das Werkzeug: Besteht die Erklärung Treue und Plausibilitätsprüfung nicht sicher, zählen Ort und Gruppen "
    "nicht. "
    "„Nicht vertrauen“ heißt: Mindestens eine Frage, die zählt, ist sicher mit Nein beantwortet. "
    "„Kein Einwand gefunden“ heißt: Alle sieben Fragen sind sicher mit Ja beantwortet. "
    "In allen anderen Fällen lautet das Urteil „nicht entscheidbar“. "
    "Sicher ist eine Antwort, wenn das ganze 95-%-Intervall auf einer Seite der Schwelle liegt."
)
TOOL = ("treue", "plausibilitaet")  # Fragen an das Werkzeug, die Erklärung; alle anderen gelten dem Netz
NEEDS_TOOL = ("ort", "gruppen")  # diese zählen nur, wenn das Werkzeug etwas taugt
# Frage („ja“ ist immer die gute Antwort), was gemessen wird, Schwelle; +1, wenn „ja“ darüber liegt, −1, wenn darunter.
# Beim Ort gilt das Doppelte der Kontrolle noch als Schwankung: Auch zwei saubere Trainings zeigen dort Verschiedenes.
Question = namedtuple("Question", "text measured threshold better")
QUESTIONS = {
    "leistung": Question("Erkennt das Netz genug?", "Trefferquote in seinem Test", 0.8, 1),
    "kalibrierung": Question("Passt seine Sicherheit zur Trefferquote?", "Kalibrierungsfehler", 0.1, -1),
    "treue": Question("Nennt die Erklärung wichtige Pixel?", "Fläche der Löschkurve, geteilt durch Zufall", 1.0, -1),
    "plausibilitaet": Question(
        "Hängt die Erklärung am Netz?", "Ähnlichkeit nach Zufallsgewichten (Rangkorrelation)", 0.7, -1
    ),
    "ort": Question(
        "Bleibt die Relevanz vom Zeichen weg?", "Masse auf dem Zeichen, geteilt durch die der Kontrolle", 2.0, -1
    ),
    "gruppen": Question(
        "Entscheidet es innerhalb der Klasse einheitlich?", "Reinheit zweier Gruppen (mit und ohne Zeichen)", 0.8, -1
    ),
    "eingriff": Question("Bleibt die Antwort ohne das Zeichen?", "Anteil gleicher Antworten", 0.7, 1),
}


def answer(name: str, finding) -> str:
    """„ja“, „nein“ oder „offen“: die Antwort auf die Frage ``name`` nach einem Befund."""
    question = QUESTIONS[name]
    ends = [question.better * (end - question.threshold) for end in finding[1:]]
    if np.isfinite(ends).all() and min(ends) * max(ends) > 0:
        return "ja" if min(ends) > 0 else "nein"
    return "offen"


def judge(findings: dict) -> tuple[str, str, dict]:
    """(Urteil, Grund, Frage → Antwort) nach ``RULE_TEXT``; ``findings``: Frage → Befund."""
    answers = {name: answer(name, findings[name]) for name in QUESTIONS}
    tool_works = all(answers[name] == "ja" for name in TOOL)
    counted = [name for name in QUESTIONS if name not in TOOL and (tool_works or name not in NEEDS_TOOL)]

    def listed(said) -> str:
        return ", ".join(f"„{QUESTIONS[name].text}“" for name in counted if answers[name] == said)

    if objections := listed("nein"):
        return DISTRUST, f"Sicher mit Nein beantwortet: {objections}", answers
    if not tool_works:
        reason = "Die Erklärung besteht ihre eigene Prüfung nicht sicher: Über die Gründe des Netzes wissen wir nichts."
        return UNDECIDED, reason, answers
    if unsure := listed("offen"):
        return UNDECIDED, f"Das Intervall enthält die Schwelle: {unsure}", answers
    return TRUST, "Wir haben gesucht und nichts gefunden. Ein Beweis ist das nicht.", answers


def share(hits) -> list[float]:
    """Anteil der Treffer (n,) als Befund, mit Wilson-Intervall."""
    return [float(np.mean(hits)), *metrics.wilson_interval(np.mean(hits), len(hits))]


def purity(hits, seed: int = 0) -> list[float]:
    """Reinheit (aus ``clusters.purity``, (n,)) als Befund; in jeder Ziehung dürfen die Gruppen wieder vertauscht sein.

    Ein Intervall nach Wilson gälte nicht: Welche Gruppe „mit Zeichen“ heißt, ist nach dem Zählen gewählt.
    """

    def better_labeling(hits, axis):
        return np.maximum(np.mean(hits, axis=axis), 1 - np.mean(hits, axis=axis))

    return [float(np.mean(hits)), *metrics.bootstrap_interval(hits, statistic=better_labeling, seed=seed)]


def calibration(evaluation: Evaluation, seed: int = 0) -> list[float]:
    """Kalibrierungsfehler als Befund, mit Bootstrap-Intervall über die Testbilder."""

    def error(rows) -> float:
        return Evaluation(*(column[rows] for column in vars(evaluation).values())).calibration_error

    rows = np.arange(len(evaluation.labels))
    drawn = lambda rows, axis: np.apply_along_axis(error, axis, rows)  # noqa: E731
    return [error(rows), *metrics.bootstrap_interval(rows, statistic=drawn, draws=200, seed=seed)]


def examine(evaluation: Evaluation, measured: dict, control, grouped, kept, seed: int = 0) -> dict[str, list[float]]:
    """Misst, was die sieben Fragen verlangen, für ein Netz: Frage → Befund.

    Args:
        evaluation: sein Ergebnis auf seinen Testbildern, beim Zwilling den markierten.
        measured: aus ``scorecard.measure``: Verfahren → Maß → Werte je Bild, mindestens für ``METHOD`` und ``CHANCE``.
        control: dasselbe für die Kontrolle, das Netz nach demselben Rezept ohne Zeichen; von ihr zählt die Masse.
        grouped: aus ``clusters.purity``: Passt die Gruppe des Bilds zu seinem Zeichen? (n,)
        kept: Ist die Antwort mit und ohne Zeichen dieselbe? bool (n,)
        seed: Startwert der Intervalle.
    """
    mine, similarity = measured[METHOD], measured[METHOD]["plausibilitaet"]
    return {
        "leistung": share(evaluation.predictions == evaluation.labels),
        "kalibrierung": calibration(evaluation, seed),
        "treue": metrics.relative_interval(mine["loeschen"], measured[CHANCE]["loeschen"], seed),
        "plausibilitaet": [float(similarity.mean()), *metrics.bootstrap_interval(similarity, seed=seed)],
        "ort": metrics.relative_interval(mine["masse"], control[METHOD]["masse"], seed),
        "gruppen": purity(grouped, seed),
        "eingriff": share(kept),
    }


def report_figures(models: dict[str, dict], watermark: Watermark) -> dict:
    """Was in ``kennzahlen.json`` unter ``vertrauen`` steht: Regel, Verdacht und je Modell Urteil, Grund und Zahlen.

    ``models``: Modellname → Frage → Befund; ``watermark``: das Zeichen, auf das der Verdacht fällt.
    """
    suspicion = (
        f"Zeichen auf „{CLASS_NAMES[watermark.label]}“: {watermark.size} × {watermark.size} Pixel ab Zeile "
        f"{watermark.top}, Spalte {watermark.left}, Deckkraft {german(100 * float(watermark.strength), 0)} %"
    )
    keys = ("frage", "gemessen", "schwelle", "ja_wenn", "wert", "tief", "hoch", "antwort")
    figures = {"regel": RULE_TEXT, "verdacht": suspicion, "modelle": {}}
    for model, findings in models.items():
        judgement, reason, answers = judge(findings)
        checks = {}
        for name, (text, measured, threshold, better) in QUESTIONS.items():
            numbers = [round(float(number), 4) for number in findings[name]]
            values = (text, measured, threshold, "größer" if better > 0 else "kleiner", *numbers, answers[name])
            checks[name] = dict(zip(keys, values, strict=True))
        figures["modelle"][model] = {"urteil": judgement, "grund": reason, "pruefungen": checks}
    return figures
