"""Der Vertrauensbericht: sieben Fragen an ein Netz, jede mit Intervall, und ein Urteil nach einer Regel, die dasteht.

Jede Antwort ist „ja“, „nein“ oder „offen“: „offen“, wenn das 95-%-Intervall die Schwelle enthält. So entscheidet nicht
der Zufall der Stichprobe. Die Schwellen sind gesetzt, nicht gemessen: Sie stehen in ``QUESTIONS`` und im Bericht.
"""

from dataclasses import asdict, dataclass

import numpy as np

from helpers import clusters, metrics
from helpers.basics import CLASS_NAMES, german
from helpers.data import Watermark
from helpers.lrp_library import LRP
from helpers.metrics import wilson_interval
from helpers.model import enlarge_mask, keras, predict_logits, preprocess
from helpers.scorecard import Settings
from helpers.training import Evaluation, probabilities, randomize_down_to

TRUST, DISTRUST, UNDECIDED = "vertrauen", "nicht vertrauen", "nicht entscheidbar"
# Mit dieser Regel werden Ort, Treue und Vernunft gemessen: Sie besteht auf der Wertungstafel beide Prüfungen.
RULE = "lrp.epsilon"
# Mit dieser Regel werden die Gruppen gebildet: Ihre Karten sind ruhig genug zum Vergleichen.
GROUPING_RULE = "lrp.alpha_1_beta_0"
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


def calibration_finding(evaluation: Evaluation, draws: int = 200, seed: int = 0) -> Finding:
    """Kalibrierungsfehler mit Bootstrap-Intervall über die Testbilder."""
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(draws):
        rows = rng.integers(len(evaluation.labels), size=len(evaluation.labels))
        drawn = Evaluation(evaluation.probabilities[rows], evaluation.labels[rows], evaluation.predictions[rows])
        errors.append(drawn.calibration_error)
    return Finding(evaluation.calibration_error, *map(float, np.quantile(errors, [0.025, 0.975])))


def _share(hits) -> Finding:
    hits = np.asarray(hits, dtype=float)
    return Finding(float(hits.mean()), *wilson_interval(float(hits.mean()), len(hits)))


def faithfulness_and_sanity(model: keras.Model, images, classes, settings: Settings) -> dict[str, Finding]:
    """Treue und Vernunft von ``RULE`` für dieses Netz, an richtig erkannten Bildern (uint8, (n, 28, 28))."""
    x = preprocess(images, model.inputs[0].shape[1])
    with LRP(model, RULE) as lrp:
        maps = lrp.relevance(x, classes)
    with LRP(randomize_down_to(model, settings.stage, settings.seed), RULE) as lrp:
        similarity = np.abs(metrics.rank_correlation(maps, lrp.relevance(x, classes)))
    areas = [
        metrics.area_under_curve(
            metrics.perturbation_curve(probabilities(model), x, each, classes, settings.steps, seed=settings.seed)
        )
        for each in (maps, metrics.random_maps(len(x), x.shape[1], settings.seed))
    ]
    return {
        "treue": Finding(*metrics.relative_interval(*areas, seed=settings.seed)),
        "vernunft": Finding(float(similarity.mean()), *metrics.bootstrap_interval(similarity, seed=settings.seed)),
    }


def place_and_groups(model: keras.Model, members, watermark: Watermark, settings: Settings) -> dict[str, Finding]:
    """Ort und Gruppen: Sieht das Netz auf das Zeichen, und zerfallen die Karten der Klasse in zwei Gruppen?

    Args:
        members: ungezeichnete Testbilder der vergifteten Klasse (uint8, (m, 28, 28)).
    """
    size, label = model.inputs[0].shape[1], watermark.label
    mask = enlarge_mask(watermark.mask, size)
    marked = preprocess(watermark.stamp(members[: settings.marked]), size)
    with LRP(model, RULE) as lrp:
        mass = metrics.relevance_mass(lrp.relevance(marked, label), mask)
    edges = metrics.relevance_mass(metrics.sobel_maps(marked[..., 0]), mask)
    mixed, truth = mixed_images(members[: max(2 * settings.marked, 16)], watermark)
    with LRP(model, GROUPING_RULE) as lrp:
        grouping = clusters.group_maps(lrp.relevance(preprocess(mixed, size), label), seed=settings.seed)
    return {
        "ort": Finding(*metrics.relative_interval(mass, edges, seed=settings.seed)),
        "gruppen": _share(clusters.separation(grouping.groups, truth)),
    }


def mixed_images(members, watermark: Watermark) -> tuple[np.ndarray, np.ndarray]:
    """Jedes zweite Bild bekommt das Zeichen: (Bilder (n, 28, 28), trägt es das Zeichen? bool (n,))."""
    truth = np.arange(len(members)) % 2 == 0
    return np.where(truth[:, None, None], watermark.stamp(members), members), truth


def examine(
    model: keras.Model, evaluation: Evaluation, images, dataset, watermark: Watermark, settings: Settings
) -> dict[str, Finding]:
    """Beantwortet alle sieben Fragen für ein Netz.

    Args:
        model: das Netz.
        evaluation: sein Ergebnis auf ``images``.
        images: die Testbilder dieses Netzes (uint8, (n, 28, 28)), beim Zwilling die gezeichneten.
        dataset: Datensatz mit ungezeichneten Testbildern, für Eingriff, Ort und Gruppen.
        watermark: das Zeichen, nach dem gesucht wird.
        settings: Zahl der Bilder, Schritte, Startwert.
    """
    right = np.flatnonzero(evaluation.predictions == evaluation.labels)
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(right)[: settings.images])
    members = dataset.test_images[dataset.test_labels == watermark.label][:100]
    without, with_mark = (predict_logits(model, each).argmax(axis=1) for each in (members, watermark.stamp(members)))
    return {
        "leistung": _share(evaluation.predictions == evaluation.labels),
        "kalibrierung": calibration_finding(evaluation, seed=settings.seed),
        **faithfulness_and_sanity(model, images[chosen], evaluation.labels[chosen], settings),
        **place_and_groups(model, members, watermark, settings),
        "eingriff": _share(without == with_mark),
    }


# --- Berichten ------------------------------------------------------------------------------------------------------


def record_of(findings: dict[str, Finding]) -> dict:
    """Was in ``kennzahlen.json`` unter ``vertrauen`` je Modell steht: Urteil, Grund, jede Prüfung mit allen Zahlen."""
    verdict = judge(findings)
    checks = {}
    for name, question in QUESTIONS.items():
        numbers = {key: round(float(value), 4) for key, value in asdict(findings[name]).items()}
        checks[name] = {
            "frage": question.text,
            "gemessen": question.measured,
            "wert": numbers["value"],
            "tief": numbers["low"],
            "hoch": numbers["high"],
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
