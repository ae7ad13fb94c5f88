"""Die Wertungstafel: Erklärungsverfahren × Maße, mit Intervallen, daneben Verfahren, die vom Netz nichts wissen.

Ein Verfahren ist eine Funktion (Modell, Bilder (n, h, b, 3), Klassen) → Karten (n, h, b). Jedes wird an jedem Netz
einmal gemessen (``measure``); die Tafel und der Vertrauensbericht lesen dieselben Werte.
"""

import functools
import time
from dataclasses import dataclass

import numpy as np

from helpers import lrp, metrics
from helpers.basics import CLASS_NAMES, INPUT, CourseError, german, progress, try_read_json
from helpers.data import Watermark, stratified_sample
from helpers.gradcam import grad_cam, grad_cam_plus_plus, input_times_gradient
from helpers.model import enlarge_mask, keras, preprocess, softmax, weights_checksum
from helpers.training import Evaluation, randomize_down_to

STORED_CARD = INPUT / "wertungstafel.json"
STEPS = 6  # Schritte der Lösch- und Einfügekurven
STAGE = "block5_conv1"  # von hier bis zum Ausgang würfelt die Vernunftprüfung alles neu
CHUNK = 64  # Bilder je Häppchen: Der Speicher wächst nicht mit der Zahl der Bilder
# Das Verfahren des Vertrauensberichts, denn es besteht auf der Tafel Treue und Vernunft, und seine zwei Maßstäbe.
METHOD, CHANCE, EDGES = "LRP-ε", "Zufall", "Kanten (Sobel)"
RULES = ("lrp.z", "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat")


@dataclass(frozen=True)
class Measure:
    """Ein Maß der Tafel.

    Attributes:
        title: Spaltenkopf.
        better: +1, wenn groß gut ist, −1, wenn klein gut ist, 0 für die Kontrolle.
        digits: Nachkommastellen.
        misleads: ein Satz, wie das Maß täuschen kann.
    """

    title: str
    better: int
    digits: int
    misleads: str


MEASURES = {
    "loeschen": Measure(
        "Treue:\nLöschen",
        -1,
        2,
        "Verstreute Löcher machen das Bild fremd: Das Netz irrt dann aus diesem Grund, nicht weil Wichtiges fehlt.",
    ),
    "einfuegen": Measure(
        "Treue:\nEinfügen",
        1,
        2,
        "Große zusammenhängende Flecken sehen früh wieder aus wie ein Bild: Das bevorzugt grobe, verwischte Karten.",
    ),
    "masse": Measure(
        "Masse auf\ndem Zeichen",
        1,
        3,
        "Zählt nur das Zeichen: Auch der Zwilling darf gute Gründe im Stoff haben, und die gelten hier als Fehler.",
    ),
    "masse_kontrolle": Measure(
        "Masse, sauberes\nModell",
        0,
        3,
        "Die Kontrolle ist nicht null: Das Zeichen hat harte Kanten, und die ziehen auch ohne Betrug Relevanz an.",
    ),
    "zeigen": Measure(
        "Zeigespiel",
        1,
        2,
        "Ein einziger Pixel entscheidet: Eine Karte kann fast überall falsch sein und trotzdem gewinnen.",
    ),
    "vernunft": Measure(
        "Vernunft",
        -1,
        2,
        "Auch Rauschen ändert sich immer: Die leere Karte und der Zufall bestehen, ohne etwas zu erklären.",
    ),
    "ms": Measure(
        "ms je Bild",
        -1,
        1,
        "Hängt vom Rechner und von der Stapelgröße ab und sagt nichts darüber, ob die Karte stimmt.",
    ),
}


# --- Verfahren ------------------------------------------------------------------------------------------------------


def methods(seed: int = 0, only=None) -> dict:
    """Name → Verfahren: Funktion (Modell, Bilder (n, h, b, 3), Klassen (n,)) → Karten (n, h, b).

    Args:
        seed: Startwert der Zufallskarten; jeder Aufruf zieht andere.
        only: Namen der gewünschten Verfahren; ``METHOD``, ``CHANCE`` und ``EDGES`` sind immer dabei. None: alle.

    Raises:
        CourseError: bei einem unbekannten Namen.
    """
    rng = np.random.default_rng((seed, 1))
    known = {
        "Grad-CAM": grad_cam,
        "Grad-CAM++": grad_cam_plus_plus,
        "Eingabe × Ableitung": input_times_gradient,
        **{lrp.LRP_RULES[rule]: functools.partial(lrp.relevance, rule=rule) for rule in RULES},
        CHANCE: lambda model, inputs, classes: rng.random(inputs.shape[:3]),
        EDGES: lambda model, inputs, classes: metrics.sobel_maps(inputs[..., 0]),
        "leere Karte": lambda model, inputs, classes: np.zeros(inputs.shape[:3]),
    }
    unknown = [name for name in only or () if name not in known]
    if unknown:
        raise CourseError(f"Das Verfahren „{unknown[0]}“ gibt es nicht: Wählen Sie aus {', '.join(known)}.")
    wanted = known if only is None else {METHOD, CHANCE, EDGES, *only}
    return {name: each for name, each in known.items() if name in wanted}


# --- Messen ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Ein Netz und woran seine Erklärungen gemessen werden.

    Attributes:
        model: das Netz.
        images, classes: Testbilder, die es richtig erkennt (uint8, (n, 28, 28)), und ihre Klassen (n,).
        marked: Bilder der vergifteten Klasse, alle mit Zeichen (uint8, (m, 28, 28)).
        watermark: das Zeichen.
    """

    model: keras.Model
    images: np.ndarray
    classes: np.ndarray
    marked: np.ndarray
    watermark: Watermark


def gather(model, evaluation: Evaluation, images, members, watermark: Watermark, count: int, seed: int = 0) -> Case:
    """Zieht die Bilder der Messung, nach Klassen geschichtet.

    Args:
        evaluation: Antworten des Netzes auf ``images`` (uint8, (N, 28, 28)).
        members: ungezeichnete Testbilder der vergifteten Klasse (uint8, (M, 28, 28)).
        count: so viele richtig erkannte und höchstens so viele gezeichnete Bilder, mindestens 2.

    Raises:
        CourseError: wenn es nicht genug richtig erkannte Bilder oder Bilder der vergifteten Klasse gibt.
    """
    right = np.flatnonzero(evaluation.predictions == evaluation.labels)
    if not 2 <= count <= len(right):
        raise CourseError(
            f"Von {german(len(images))} Testbildern hat das Netz {german(len(right))} richtig erkannt: Daraus lassen "
            f"sich nicht {german(count)} messen. Nehmen Sie 2 bis {german(len(right))} oder trainieren Sie länger."
        )
    if len(members) < 2:
        raise CourseError("Unter den Testbildern ist die vergiftete Klasse zu selten: Nehmen Sie mehr Testbilder.")
    labels = evaluation.labels[right]
    if count >= len(CLASS_NAMES) <= len(np.unique(labels)):
        chosen = right[stratified_sample(labels, count, seed)]
    else:  # zu wenige Bilder für jede Klasse
        chosen = np.sort(np.random.default_rng(seed).permutation(right)[:count])
    marked = watermark.stamp(members[:count])
    return Case(model, images[chosen], evaluation.labels[chosen], marked, watermark)


def measure(case: Case, explainers: dict, faithful=None, seed: int = 0) -> dict:
    """Misst Verfahren an einem Netz.

    Args:
        case: aus ``gather``.
        explainers: aus ``methods``.
        faithful: nur bei diesen Verfahren auch Treue und Vernunft; None: bei allen.

    Returns:
        Verfahren → Maß → Werte je Bild: ``loeschen``, ``einfuegen`` (Flächen unter den Kurven) und ``vernunft`` (n,),
        ``masse`` und ``zeigen`` (m,), ``ms`` (1,).
    """
    shuffled = randomize_down_to(case.model, STAGE, seed).get_weights()
    found = {}
    for name, explain in progress(explainers.items(), total=len(explainers), text="Wertungstafel", unit="Verfahren"):
        found[name] = place(case.model, explain, case.marked, case.watermark)
        if faithful is None or name in faithful:
            found[name] |= faithfulness(case, explain, shuffled, seed)
    return found


def place(model: keras.Model, explain, marked, watermark: Watermark) -> dict:
    """Ort: Masse auf dem Zeichen und Zeigespiel, je (m,), für die vergiftete Klasse."""
    size = model.inputs[0].shape[1]
    mask = enlarge_mask(watermark.mask, size)

    def one(images):
        maps = explain(model, preprocess(images, size), np.full(len(images), watermark.label))
        return {"masse": metrics.relevance_mass(maps, mask), "zeigen": metrics.pointing_game(maps, mask).astype(float)}

    return _in_chunks(one, marked)


def faithfulness(case: Case, explain, shuffled, seed: int = 0) -> dict:
    """Treue und Vernunft je Bild (n,), dazu die Rechenzeit.

    Args:
        shuffled: Gewichte des Netzes, oben neu gewürfelt. Das Netz trägt sie, solange die zweite Karte entsteht: Ein
            zweites Netz samt seinen übersetzten Rechnungen kostete Hunderte MB.
    """
    model, learned = case.model, case.model.get_weights()
    size, seconds = model.inputs[0].shape[1], 0.0
    predict = lambda inputs: softmax(model.predict_on_batch(inputs))  # noqa: E731 (höchstens CHUNK Bilder)
    # Der erste Aufruf übersetzt; er soll nicht als Rechenzeit zählen.
    explain(model, preprocess(case.images[:2], size), case.classes[:2])

    def one(images, classes):
        nonlocal seconds
        inputs, begin = preprocess(images, size), time.perf_counter()
        maps = explain(model, inputs, classes)
        seconds += time.perf_counter() - begin
        areas = [
            metrics.area_under_curve(
                metrics.perturbation_curve(predict, inputs, maps, classes, STEPS, insertion=insertion, seed=seed)
            )
            for insertion in (False, True)
        ]
        try:
            model.set_weights(shuffled)
            similarity = np.abs(metrics.rank_correlation(maps, explain(model, inputs, classes)))
        finally:
            model.set_weights(learned)
        return {"loeschen": areas[0], "einfuegen": areas[1], "vernunft": similarity}

    found = _in_chunks(one, case.images, case.classes)
    return found | {"ms": np.array([1000 * seconds / len(case.images)])}


def _in_chunks(function, *arrays) -> dict:
    """Ruft ``function`` für je ``CHUNK`` Zeilen und hängt die Werte je Bild aneinander."""
    starts = range(0, len(arrays[0]), CHUNK)
    parts = [function(*(array[start : start + CHUNK] for array in arrays)) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# --- Die Tafel ------------------------------------------------------------------------------------------------------


def summarize(clean: dict, twin: dict, seed: int = 0) -> dict:
    """Die Tafel: Verfahren → Maß → [Wert, untere, obere Grenze (95 %, Bootstrap über Bilder)].

    Args:
        clean, twin: aus ``measure``, für das sauber trainierte Netz und den Zwilling. Vom Zwilling zählt der Ort, vom
            sauberen Netz alles; seine Masse ist die Kontrolle. Löschen und Einfügen stehen im Verhältnis zum Zufall.
    """
    card = {}
    for method, measured in clean.items():
        values = measured | {"masse_kontrolle": measured["masse"]}
        values |= {name: twin[method][name] for name in ("masse", "zeigen")}
        row = {}
        for name in MEASURES:
            if name in ("loeschen", "einfuegen"):
                row[name] = metrics.relative_interval(values[name], clean[CHANCE][name], seed=seed)
            elif name == "ms":
                row[name] = [float(values[name][0])] * 3
            else:
                row[name] = [float(values[name].mean()), *metrics.bootstrap_interval(values[name], seed=seed)]
        card[method] = {name: [round(number, 4) for number in numbers] for name, numbers in row.items()}
    return card


def winners(card: dict) -> dict[str, list[str]]:
    """Je Maß mit einem „besser“ alle Verfahren, deren Intervall das des besten berührt; ``card``: aus ``summarize``."""
    found = {}
    for name, measure_ in MEASURES.items():
        if name == "ms" or not measure_.better:
            continue
        ends = {method: sorted(measure_.better * number for number in row[name][1:]) for method, row in card.items()}
        bar = max(low for low, _ in ends.values())
        found[name] = [method for method, (_, high) in ends.items() if high >= bar]
    return found


def load_stored_card(path=STORED_CARD) -> dict | None:
    """Die gespeicherte Tafel (``python -m helpers wertung``); None, wenn sie fehlt oder nicht zu den Maßen passt.

    Returns:
        ``tafel`` wie aus ``summarize``, dazu ``einstellungen`` und ``modelle`` (Prüfsummen der Gewichte).
    """
    card = try_read_json(path)
    try:
        whole = all(set(row) == set(MEASURES) for row in card["tafel"].values()) and "sauber" in card["modelle"]
    except (TypeError, KeyError, AttributeError):
        return None
    return card if whole else None


def belongs_to(card: dict, model: keras.Model) -> bool:
    """Ist die gespeicherte Tafel mit diesem sauberen Modell gemessen?"""
    return card["modelle"]["sauber"] == weights_checksum(model)
