"""Der Vertrauensbericht: elf Fragen an ein Netz, jede mit Intervall, und ein Urteil nach einer Regel, die dasteht.

Niemand sagt dem Bericht, wo ein Zeichen sitzt: Nach einer Stelle sucht ``suspicion``, und gefragt wird nach dem, was
dabei herauskam.

Ein Befund ist [Wert, tief, hoch] mit dem 95-%-Intervall. Jede Antwort ist „ja“, „nein“ oder „offen“: „offen“, wenn das
Intervall die Schwelle enthält. So entscheidet nicht der Zufall der Stichprobe. Die Schwellen sind gesetzt, nicht
gemessen: Sie stehen in ``QUESTIONS`` und im Bericht.
"""

from collections import namedtuple

import numpy as np

from helpers import clusters, metrics, trial
from helpers.basics import CLASS_NAMES, german
from helpers.inner import stability
from helpers.model import enlarge_mask, preprocess
from helpers.places import LOOSE, infilled
from helpers.scorecard import CHANCE, METHOD, method_of
from helpers.suspicion import EFFECT, NOTHING, SHORTCUT, Questions, Suspect
from helpers.training import Evaluation

TRUST, DISTRUST, UNDECIDED = "kein Einwand gefunden", "nicht vertrauen", "nicht entscheidbar"
RULE_TEXT = (
    "Zuerst das Werkzeug: Besteht die Erklärung ihre drei Prüfungen (Treue, Plausibilität, Mitgehen) nicht sicher, "
    "zählen Ort und Gruppen nicht; die drei selbst zählen nie gegen das Netz. "
    "„Nicht vertrauen“ heißt: Mindestens eine Frage, die zählt, ist sicher mit Nein beantwortet. "
    "„Kein Einwand gefunden“ heißt: Alle Fragen sind sicher mit Ja beantwortet. "
    "In allen anderen Fällen lautet das Urteil „nicht entscheidbar“. "
    "Sicher ist eine Antwort, wenn das ganze 95-%-Intervall auf einer Seite der Schwelle liegt."
)
TOOL = ("treue", "plausibilitaet", "mitgehen")  # Fragen an das Werkzeug, die Erklärung; alle anderen gelten dem Netz
NEEDS_TOOL = ("ort", "gruppen")  # diese zählen nur, wenn das Werkzeug etwas taugt
# Frage („ja“ ist immer die gute Antwort), was gemessen wird, Schwelle; +1, wenn „ja“ darüber liegt, −1, wenn darunter.
# Gründe der Schwellen: 0,5 bei der schwächsten Klasse ist ein Münzwurf. Bei kleinen Änderungen dürfen so viele
# Antworten kippen, wie bei der Leistung falsch sein dürfen. Beim Ort gilt das Doppelte der Kontrolle noch als
# Schwankung: Auch zwei saubere Trainings zeigen dort Verschiedenes. Die übrigen sind gesetzt.
Question = namedtuple("Question", "text measured threshold better")
QUESTIONS = {
    "leistung": Question("Erkennt das Netz genug?", "Trefferquote in seinem Test", 0.8, 1),
    "schwaechste": Question("Erkennt es auch seine schwächste Klasse?", "kleinste Sensitivität einer Klasse", 0.5, 1),
    "kalibrierung": Question("Passt seine Sicherheit zur Trefferquote?", "Kalibrierungsfehler", 0.1, -1),
    "stabil": Question(
        "Bleibt die Antwort bei kleinen Änderungen?", "kleinster Anteil gleicher Antworten bei vier Änderungen", 0.8, 1
    ),
    "treue": Question(
        "Nennt die Erklärung wichtige Pixel?", "Fläche der Löschkurve, geteilt durch die des Zufalls", 1.0, -1
    ),
    "plausibilitaet": Question(
        "Hängt die Erklärung am Netz?", "Ähnlichkeit nach Zufallsgewichten (Rangkorrelation)", 0.7, -1
    ),
    "mitgehen": Question(
        "Geht die Erklärung mit dem Bild mit?", "Rangkorrelation, abzüglich der mit einem anderen Bild", 0.0, 1
    ),
    "suche": Question(
        "Findet die Suche nichts Aufgestempeltes?", "Wahrscheinlichkeit, die an der stärksten Stelle hängt", EFFECT, -1
    ),
    "ort": Question(
        "Bleibt die Relevanz von der Stelle weg?", "Masse auf der Stelle, geteilt durch die der Kontrolle", 2.0, -1
    ),
    "gruppen": Question(
        "Entscheidet es innerhalb der Klasse einheitlich?", "Reinheit zweier Gruppen (mit und ohne Stelle)", 0.8, -1
    ),
    "eingriff": Question("Bleibt die Antwort ohne die Stelle?", "Anteil gleicher Antworten", 0.7, 1),
}


def answer(name: str, finding) -> str:
    """„ja“, „nein“ oder „offen“: die Antwort auf die Frage ``name`` nach einem Befund; „nicht gefragt“ ohne einen."""
    if finding is None:
        return "nicht gefragt"
    question = QUESTIONS[name]
    ends = [question.better * (end - question.threshold) for end in finding[1:]]
    if np.isfinite(ends).all() and min(ends) * max(ends) > 0:
        return "ja" if min(ends) > 0 else "nein"
    return "offen"


def judge(findings: dict) -> tuple[str, str, dict]:
    """(Urteil, Grund, Frage → Antwort) nach ``RULE_TEXT``; ``findings``: Frage → Befund."""
    answers = {name: answer(name, findings.get(name)) for name in QUESTIONS}
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
    if missing := listed("nicht gefragt"):
        return UNDECIDED, f"Nicht gefragt werden konnte: {missing}", answers
    return TRUST, "Wir haben gesucht und nichts gefunden. Ein Beweis ist das nicht.", answers


def share(hits, tried: int = 1) -> list[float]:
    """Anteil der Treffer (n,) als Befund, mit Wilson-Intervall, korrigiert für ``tried`` Möglichkeiten."""
    return [float(np.mean(hits)), *metrics.wilson_interval(np.mean(hits), len(hits), 1 - 0.05 / tried)]


def worst_share(hits) -> list[float]:
    """Der kleinste von mehreren Anteilen (je ein bool-Array) als Befund; dass er ausgesucht ist, zählt mit."""
    return share(min(hits, key=np.mean), len(hits))


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


def strongest(suspects: list[Suspect]) -> list[float]:
    """Befund der Suche: was die stärkste Stelle mit festem Rand beim Füllen und beim Verpflanzen mindestens ausmacht.

    Ohne Verdacht lauter Nullen; bei „unklar“ reicht das Intervall bis null, dann ist die Antwort „offen“.
    """
    accused = [each for each in suspects if each.edge >= LOOSE and each.verdict != NOTHING]
    if not accused:
        return [0.0, 0.0, 0.0]
    first = accused[0]
    lost = max(first.remove, first.infill, key=lambda interval: interval[1])
    value, low, high = (min(pair) for pair in zip(lost, first.transplant, strict=True))
    return [value, low, high] if first.verdict == SHORTCUT else [value, min(low, 0.0), max(high, 2 * EFFECT)]


def ask_place(model, images, suspect: Suspect, seed: int = 0) -> dict[str, np.ndarray]:
    """Was das Netz an einer gefundenen Stelle tut: Frage → ein Wert je Bild, (n,).

    ``ort``: Anteil der positiven Relevanz auf der Stelle. ``gruppen``: Bei jedem zweiten Bild wird die Stelle mit den
    nächsten Pixeln gefüllt; passt die Gruppe, in die die Erklärung fällt, dazu? ``eingriff``: Ist die Antwort mit und
    ohne die Stelle dieselbe? ``ort_gemischt``: wie „ort“, aber jedes zweite Bild ist gefüllt.

    Args:
        images: Bilder der verdächtigen Klasse, die die Stelle tragen, uint8, (n, h, b) oder (n, h, b, 3).
    """
    _, explain = method_of(model)
    mixed, carries = clusters.mixed_images(images, suspect.region)
    maps, mask = explain(model, preprocess(images, model), suspect.label), enlarge_mask(suspect.region, model)
    mixed_maps = maps.copy()  # wo nichts gefüllt ist, sind die Bilder dieselben
    mixed_maps[~carries] = explain(model, preprocess(mixed[~carries], model), suspect.label)
    answer = Questions(model).answer
    before, after = (answer(each).argmax(axis=1) for each in (images, infilled(images, suspect.region)))
    return {
        "ort": metrics.relevance_mass(maps, mask),
        "ort_gemischt": metrics.relevance_mass(mixed_maps, mask),
        "gruppen": clusters.purity(clusters.group_maps(mixed_maps, seed).groups, carries),
        "eingriff": before == after,
    }


def ask_stability(model, evaluation: Evaluation, images, seed: int = 0) -> dict[str, dict]:
    """``antworten`` und ``karten`` wie aus ``stability``: auf 100 Testbildern und auf 12 der häufigsten Antwort."""
    _, explain_class = method_of(model)
    label = int(np.bincount(evaluation.predictions).argmax())
    mine, net = images[np.flatnonzero(evaluation.predictions == label)[:12]], Questions(model)

    def answers(pictures):
        return net.answer(pictures).argmax(axis=1)

    def explain(pictures):
        return explain_class(model, preprocess(pictures, model), label)

    return {
        "antworten": stability.answers_kept(answers, images[:100], seed),
        "karten": stability.maps_kept(explain, mine, seed),
    }


# Wo die Suche keine Stelle fand, ist das die beste Antwort.
NOTHING_TO_ASK = {"ort": [0.0, 0.0, 0.0], "gruppen": [0.5, 0.5, 0.5], "eingriff": [1.0, 1.0, 1.0]}


def examine(
    evaluation: Evaluation, measured, steady, suspects: list | None, place=None, control=None, seed: int = 0
) -> dict[str, list[float]]:
    """Misst, was die elf Fragen verlangen, für ein Netz: Frage → Befund.

    Args:
        evaluation: sein Ergebnis auf seinen Testbildern, beim Zwilling den markierten.
        measured: aus ``scorecard.measure``: Verfahren → Maß → Werte je Bild, mindestens für ``CHANCE`` und das aus
            ``scorecard.method_of``; None, wenn es dafür zu wenige Bilder gibt.
        steady: aus ``ask_stability``; None wie eben.
        suspects: aus ``suspicion.search``, was die Suche bei diesem Netz ergeben hat; None: Es wurde nicht gesucht.
        place, control: aus ``ask_place``, für dieses Netz und für die Kontrolle, das Netz nach demselben Rezept ohne
            Zeichen. Wo keine Suche eine Stelle fand (None), gibt es nach ihr nichts zu fragen: bestmögliche Werte.
            Gibt es keine Kontrolle, vergleicht „ort“ mit denselben Bildern, in denen die Stelle gefüllt ist.
        seed: Startwert der Intervalle.
    """
    findings = {
        "leistung": share(evaluation.predictions == evaluation.labels),
        "schwaechste": worst_share(
            [evaluation.predictions[evaluation.labels == label] == label for label in np.unique(evaluation.labels)]
        ),
        "kalibrierung": calibration(evaluation, seed),
    }
    if steady:
        maps = dict(steady["karten"])
        usual = maps.pop("anderes Bild")
        least = min((each - usual for each in maps.values()), key=np.mean)
        level = 1 - 0.05 / len(maps)
        findings["stabil"] = worst_share(list(steady["antworten"].values()))
        findings["mitgehen"] = [float(least.mean()), *metrics.bootstrap_interval(least, seed=seed, level=level)]
    if measured:
        mine = measured[METHOD if METHOD in measured else "Grad-CAM"]
        similarity = mine["plausibilitaet"]
        findings["treue"] = metrics.relative_interval(mine["loeschen"], measured[CHANCE]["loeschen"], seed)
        findings["plausibilitaet"] = [float(similarity.mean()), *metrics.bootstrap_interval(similarity, seed=seed)]
    if suspects is not None:
        findings["suche"] = strongest(suspects)
    if place:
        pair = (place["ort"], control["ort"]) if control else (place["ort"][1::2], place["ort_gemischt"][1::2])
        findings["ort"] = metrics.relative_interval(*pair, seed)
        findings |= {"gruppen": purity(place["gruppen"], seed), "eingriff": share(place["eingriff"])}
    elif suspects is not None:
        findings |= NOTHING_TO_ASK
    return {name: findings[name] for name in QUESTIONS if name in findings}


def report_figures(models: dict[str, dict], suspect: Suspect | None, names=CLASS_NAMES, measured=()) -> dict:
    """Was in ``kennzahlen.json`` unter ``vertrauen`` steht: Regel, Verdacht und je Modell Urteil, Grund und Zahlen.

    Args:
        models: Modellname → Frage → Befund; eine fehlende Frage wurde nicht gestellt.
        suspect: die Stelle, nach der gefragt wurde, None ohne eine.
        names: die Namen der Klassen.
        measured: Frage → was statt des Üblichen gemessen wurde.
    """
    if not any("suche" in findings for findings in models.values()):
        suspicion = "Nach einer Stelle, an der eine Klasse hängt, wurde nicht gesucht."
    elif suspect is not None:
        top, bottom, left, right = suspect.box
        suspicion = (
            f"Die Suche fand in der Klasse „{names[suspect.label]}“ eine Stelle, ohne dass ihr jemand sagte, wo: "
            f"Zeilen {top} bis {bottom}, Spalten {left} bis {right}, {int(suspect.region.sum())} Pixel, auf "
            f"{german(100 * suspect.share, 0)} % der Bilder der Klasse. Nach ihr fragen Ort, Gruppen und Eingriff."
        )
    else:
        where = "in keinem Netz eine" if len(models) > 1 else "in diesem Netz keine"
        suspicion = f"Die Suche fand {where} Stelle, die wie aufgestempelt liegt. {trial.missed(trial.stored_trial())}"
    keys = ("frage", "gemessen", "schwelle", "ja_wenn", "wert", "tief", "hoch", "antwort")
    figures = {"regel": RULE_TEXT, "verdacht": suspicion, "modelle": {}}
    for model, findings in models.items():
        judgement, reason, answers = judge(findings)
        checks = {}
        for name, (text, usual, threshold, better) in QUESTIONS.items():
            numbers = [round(float(number), 4) for number in findings[name]] if name in findings else [None] * 3
            shown = dict(measured).get(name, usual)
            values = (text, shown, threshold, "größer" if better > 0 else "kleiner", *numbers, answers[name])
            checks[name] = dict(zip(keys, values, strict=True))
        figures["modelle"][model] = {"urteil": judgement, "grund": reason, "pruefungen": checks}
    return figures
