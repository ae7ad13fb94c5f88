"""Die Wertungstafel: Erklärungsverfahren × Maße, mit Intervallen, daneben Verfahren, die vom Netz nichts wissen.

Der Weg: Verfahren wählen (``methods``), Bilder ziehen (``gather``), jedes Verfahren an jedem Netz einmal messen
(``measure``). Die Tafel (``summarize``) und der Vertrauensbericht (``helpers.trust``) lesen dieselben Werte.
"""

import functools
import time
from collections import namedtuple

import numpy as np

from helpers import lrp, metrics
from helpers.basics import INPUT, CourseError, as_dict, german, progress, try_read_json
from helpers.data import stratified_sample
from helpers.gradcam import grad_cam, grad_cam_plus_plus, input_times_gradient
from helpers.inner.lrp_layers import objection
from helpers.model import enlarge_mask, keras, preprocess, weights_checksum
from helpers.training import Evaluation, probabilities, random_weights

STORED_CARD = INPUT / "wertungstafel.json"
STEPS = 6  # Schritte der Lösch- und Einfügekurven
CHUNK = 64  # Bilder je Häppchen: Der Speicher wächst nicht mit der Zahl der Bilder
# Das Verfahren des Vertrauensberichts, denn es besteht auf der Tafel Treue und Plausibilitätsprüfung, und zwei, die vom
# Netz nichts wissen.
METHOD, CHANCE, EDGES = "LRP-ε + z^B", "Zufall", "Kantenfilter (Sobel)"
METHOD_RULE = lrp.bounded_pixels(lrp.epsilon())  # auch die Gruppen des Berichts rechnen damit
RULES = ("lrp.z", "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat")
# title: Spaltenkopf; better: +1, wenn groß gut ist, −1, wenn klein, 0 für die Kontrolle; digits: Nachkommastellen;
# misleads: wie das Maß täuschen kann.
Measure = namedtuple("Measure", "title better digits misleads")
_HEADS = {
    "loeschen": ("Treue:\nLöschen", -1, 2),
    "einfuegen": ("Treue:\nEinfügen", 1, 2),
    "masse": ("Masse auf\ndem Zeichen", 1, 3),
    "masse_kontrolle": ("Masse,\nKontrolle", 0, 3),
    "zeigen": ("Zeigespiel", 1, 2),
    "plausibilitaet": ("Ähnlichkeit\nnach Zufalls-\ngewichten", -1, 2),
    "ms": ("ms je Bild", -1, 1),
}
_MISLEADS = """\
„Gelöscht“ heißt hier Grau. Andere Füllungen ergeben andere Sieger, und verstreute Löcher machen jedes Bild fremd.
Große zusammenhängende Flecken sehen früh wieder aus wie ein Bild: Das bevorzugt grobe, verwischte Karten.
Zählt nur das Zeichen: Auch der Zwilling darf gute Gründe im Stoff haben, und die gelten hier als Fehler.
Dasselbe Rezept ohne Zeichen: Was schon hier auf der Stelle liegt, ist kein Beweis. Ein einzelnes Training schwankt.
Ein einziges Pixel entscheidet: Eine Karte kann fast überall falsch sein und trotzdem gewinnen.
Auch Rauschen ändert sich immer. Und die vielen leeren Pixel verdecken, ob die wenigen starken wandern.
Hängt vom Rechner und von der Stapelgröße ab und sagt nichts darüber, ob die Karte stimmt.
""".splitlines()
MEASURES = {name: Measure(*head, trap) for (name, head), trap in zip(_HEADS.items(), _MISLEADS, strict=True)}


def method_of(model) -> tuple:
    """Womit der Vertrauensbericht ein Netz befragt, Name und Funktion: ``METHOD``, oder Grad-CAM, wo LRP nicht geht."""
    return ("Grad-CAM", grad_cam) if objection(model) else (METHOD, method_maps)


def method_maps(model, inputs, classes) -> np.ndarray:
    """Karten (n, h, b) mit ``METHOD``; die Grenzen der Regel z^B sind die der Vorverarbeitung dieses Modells."""
    rule = METHOD_RULE
    if hasattr(model, "prepare"):
        ends = preprocess(np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)]), model)
        rule = lrp.bounded_pixels(lrp.epsilon(), float(ends.min()), float(ends.max()))
    return lrp.relevance(model, inputs, classes, rule)


def stage_of(model) -> str:
    """Von dieser Schicht bis zum Ausgang würfelt die Plausibilitätsprüfung alles neu: die letzten vier mit Gewichten.

    In VGG16 ist das „block5_conv1“.
    """
    return [layer.name for layer in model.layers if getattr(layer, "kernel", None) is not None][-4:][0]


def methods(seed: int = 0, only=None) -> dict:
    """Name → Verfahren: Funktion (Modell, Bilder (n, h, b, 3), Klassen (n,)) → Karten (n, h, b).

    Args:
        seed: Startwert der Zufallskarten; jeder Aufruf zieht andere.
        only: Namen der gewünschten Verfahren, None für alle; ``METHOD``, ``CHANCE`` und ``EDGES`` sind immer dabei. Ein
            unbekannter Name ist ein CourseError.
    """
    rng = np.random.default_rng((seed, 1))
    known = {
        "Grad-CAM": grad_cam,
        "Grad-CAM++": grad_cam_plus_plus,
        "Eingabe × Ableitung": input_times_gradient,
        **{lrp.LRP_RULES[rule]: functools.partial(lrp.relevance, rule=rule) for rule in RULES},
        METHOD: method_maps,
        CHANCE: lambda model, inputs, classes: rng.random(inputs.shape[:3]),
        EDGES: lambda model, inputs, classes: metrics.sobel_maps(inputs[..., 0]),
        "leere Karte": lambda model, inputs, classes: np.zeros(inputs.shape[:3]),
    }
    wanted = set(known if only is None else (METHOD, CHANCE, EDGES, *only))
    if unknown := sorted(wanted - known.keys()):
        raise CourseError(f"Das Verfahren „{unknown[0]}“ gibt es nicht: Wählen Sie aus {', '.join(known)}.")
    return {name: each for name, each in known.items() if name in wanted}


# Ein Netz und woran seine Erklärungen gemessen werden, siehe gather.
Case = namedtuple("Case", "model images classes marked mark")


def gather(model, evaluation: Evaluation, images, members, mark, count: int, seed: int = 0) -> Case:
    """Zieht die Bilder der Messung, nach Klassen geschichtet, wenn es mindestens zehn sind.

    Args:
        evaluation: Antworten des Netzes auf ``images`` (uint8, (N, 28, 28) oder farbig).
        members: Testbilder der verdächtigen Klasse (uint8, (M, 28, 28)).
        mark: was auf sie gestempelt wird, ein ``Watermark`` oder ein ``Imprint``; None, wenn nach keinem Ort gefragt
            wird (``members`` zählt dann nicht).
        count: so viele richtig erkannte und höchstens so viele markierte Bilder, mindestens 2.

    Returns:
        ``model``, ``mark`` wie gegeben; ``images``, ``classes``: Testbilder, die das Netz richtig erkennt (uint8,
        (n, 28, 28)), und ihre Klassen (n,); ``marked``: markierte Bilder der Klasse (uint8, (m, 28, 28)).

    Raises:
        CourseError: wenn es nicht genug richtig erkannte Bilder oder Bilder der verdächtigen Klasse gibt.
    """
    right = np.flatnonzero(evaluation.predictions == evaluation.labels)
    if not 2 <= count <= len(right) or mark and len(members) < 2:
        raise CourseError(
            f"Von {german(len(images))} Testbildern sind {german(len(right))} richtig erkannt, {german(len(members))} "
            f"gehören zur verdächtigen Klasse: {german(count)} lassen sich so nicht messen. Nehmen Sie mindestens "
            "zwei, mehr Testbilder, oder trainieren Sie länger."
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(right)[:count])
    if count >= max(10, len(np.unique(evaluation.labels[right]))):  # genug für jede Klasse
        chosen = right[stratified_sample(evaluation.labels[right], count, seed)]
    marked = mark.stamp(members[:count]) if mark else None
    return Case(model, images[chosen], evaluation.labels[chosen], marked, mark)


def measure(case: Case, explainers: dict, faithful=None, seed: int = 0) -> dict:
    """Misst Verfahren an einem Netz.

    Args:
        case: aus ``gather``.
        explainers: aus ``methods``.
        faithful: nur bei diesen Verfahren auch Treue und Plausibilität; None: bei allen.

    Returns:
        Verfahren → Maß → Werte je Bild: ``loeschen``, ``einfuegen`` (Flächen unter den Kurven), ``plausibilitaet``
        und ``ms`` (n,), ``masse`` und ``zeigen`` (m,); die beiden nur, wenn ``case`` ein Zeichen hat.
    """
    model, mark = case.model, case.mark
    shuffled = random_weights(model, stage_of(model), seed)
    learned = [(layer, layer.get_weights()) for layer, _ in shuffled]
    ask, answers, found = probabilities(model), {}, {}

    def put(weights) -> None:
        for layer, values in weights:
            layer.set_weights(values)

    def predict(inputs):
        # Nach dem ganzen und dem leeren Bild fragt jede Kurve: Das Netz rechnet sie nur einmal.
        key = hash(inputs.tobytes())
        if key not in answers:
            answers[key] = ask(inputs)
        return answers[key]

    def place(explain, images) -> dict:
        maps, mask = explain(model, preprocess(images, model), mark.label), enlarge_mask(mark.mask, model)
        return {"masse": metrics.relevance_mass(maps, mask), "zeigen": metrics.pointing_game(maps, mask).astype(float)}

    def faithfulness(explain, images, classes) -> dict:
        inputs, begin = preprocess(images, model), time.perf_counter()
        maps = explain(model, inputs, classes)
        row = {"ms": np.full(len(images), 1000 * (time.perf_counter() - begin) / len(images))}
        for name in ("loeschen", "einfuegen"):
            curve = metrics.perturbation_curve(predict, inputs, maps, classes, STEPS, name == "einfuegen", seed)
            row[name] = metrics.area_under_curve(curve)
        try:  # Ein zweites Netz samt seinen kompilierten Rechnungen kostete Hunderte MB.
            put(shuffled)
            return row | {"plausibilitaet": np.abs(metrics.rank_correlation(maps, explain(model, inputs, classes)))}
        finally:
            put(learned)

    for name, explain in progress(explainers.items(), total=len(explainers), text="Wertungstafel", unit="Verfahren"):
        found[name] = _in_chunks(place, explain, case.marked) if mark else {}
        if faithful is None or name in faithful:
            explain(model, preprocess(case.images[:2], model), case.classes[:2])  # kompiliert, ehe die Uhr läuft
            found[name] |= _in_chunks(faithfulness, explain, case.images, case.classes)
    return found


def _in_chunks(function, explain, *arrays) -> dict:
    """Ruft ``function`` für je ``CHUNK`` Bilder und hängt die Werte je Bild aneinander."""
    starts = range(0, len(arrays[0]), CHUNK)
    parts = [function(explain, *(array[start : start + CHUNK] for array in arrays)) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def summarize(examined: dict, twin: dict, control: dict, seed: int = 0) -> dict:
    """Die Tafel: Verfahren → Maß → [Wert, untere, obere Grenze (95 %, Bootstrap über Bilder)].

    Args:
        examined, twin, control: aus ``measure``, für das geprüfte Netz, den Zwilling und die Kontrolle (dasselbe Rezept
            ohne Zeichen). Von Zwilling und Kontrolle zählt der Ort, vom geprüften Netz alles andere. Löschen und
            Einfügen stehen im Verhältnis zum Zufall.
    """
    card = {}
    for method, measured in examined.items():
        values = measured | {"masse_kontrolle": control[method]["masse"]}
        values |= {name: twin[method][name] for name in ("masse", "zeigen")}
        row = {name: [values[name].mean(), *metrics.bootstrap_interval(values[name], seed=seed)] for name in MEASURES}
        for name in ("loeschen", "einfuegen"):
            row[name] = metrics.relative_interval(values[name], examined[CHANCE][name], seed)
        card[method] = {name: np.round(numbers, 4).tolist() for name, numbers in row.items()}
    return card


def winners(card: dict) -> dict[str, list[str]]:
    """Je Maß mit einem „besser“ alle Verfahren, deren Intervall das des besten berührt; ``card``: aus ``summarize``."""
    found = {}
    for name, (_, better, _, _) in MEASURES.items():
        if name != "ms" and better:
            ends = {method: sorted(better * number for number in row[name][1:]) for method, row in card.items()}
            bar = max(low for low, _ in ends.values())
            found[name] = [method for method, (_, high) in ends.items() if high >= bar]
    return found


def ranks(card: dict) -> dict[str, list[int]]:
    """Je Verfahren seine Plätze (ab 1) in den Maßen, die ``winners`` kennt; ``card``: aus ``summarize``."""
    found = {method: [] for method in card}
    for name in winners(card):
        ordered = sorted(card, key=lambda method: -MEASURES[name].better * card[method][name][0])
        for place, method in enumerate(ordered, start=1):
            found[method].append(place)
    return found


def load_stored_card(path=STORED_CARD) -> dict | None:
    """Inhalt von ``wertung``: ``tafel`` (aus ``summarize``), ``einstellungen``, ``modelle``; None, wenn etwas fehlt."""
    card = try_read_json(path, {})
    rows = as_dict(card.get("tafel")).values()
    heads = [("modelle", "geprüft"), ("einstellungen", "images")]
    whole = rows and all(name in as_dict(card.get(head)) for head, name in heads)
    return card if whole and all(MEASURES.keys() <= as_dict(row).keys() for row in rows) else None


def belongs_to(card: dict, model: keras.Model) -> bool:
    """Ist die gespeicherte Tafel an diesem Modell gemessen?"""
    return card["modelle"]["geprüft"] == weights_checksum(model)
