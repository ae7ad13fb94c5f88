"""Die Wertungstafel: Erklärungsverfahren × Maße, mit Intervallen, daneben Verfahren, die vom Netz nichts wissen.

Jedes Verfahren rechnet in Häppchen, die gleich gemessen werden. Liegen bleiben nur die Karten des gelernten Modells,
bis die Vernunftprüfung sie vergleicht: bei 2.000 Bildern 32 MB. LRP-Graphen gehören zu einem Modell und einer Regel;
es ist immer nur einer offen.
"""

import contextlib
import time
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np

from helpers import metrics
from helpers.basics import CLASS_NAMES, INPUT, CourseError, german, progress, try_read_json, write_json
from helpers.data import Watermark, checksum, load_source, stratified_sample
from helpers.gradcam import grad_cam, grad_cam_plus_plus, input_times_gradient
from helpers.lrp import LRP_RULES
from helpers.lrp_library import LRP
from helpers.model import enlarge_mask, keras, predict_logits, preprocess, weights_checksum
from helpers.provenance import provenance
from helpers.settings import get_profile
from helpers.training import (
    POISONED,
    ensure_data,
    ensure_poisoned,
    ensure_run,
    probabilities,
    randomize_down_to,
)

STORED_CARD = INPUT / "wertungstafel.json"
PACKAGES = ("tensorflow", "keras", "innvestigate", "tf-keras-vis", "numpy")


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


@dataclass(frozen=True)
class Settings:
    """Wie gründlich gemessen wird.

    Attributes:
        images: Bilder für Treue und Vernunft, nach Klassen geschichtet, alle vom Netz richtig erkannt.
        marked: Bilder mit Zeichen für den Ort.
        steps: Schritte der Lösch- und Einfügekurven.
        stage: Schicht, von der an für die Vernunftprüfung alles neu gewürfelt wird.
        chunk: Bilder je Häppchen.
        seed: Startwert.
    """

    images: int = 40
    marked: int = 40
    steps: int = 6
    stage: str = "block5_conv1"
    chunk: int = 40
    seed: int = 0


# --- Verfahren ------------------------------------------------------------------------------------------------------


def _lrp(rule: str):
    """Fabrik: Modell → Kontext, der eine Funktion (Bilder, Klassen) → Karten liefert; der Graph schließt am Ende."""

    @contextlib.contextmanager
    def explainer(model):
        with LRP(model, rule) as lrp:
            yield lrp.relevance

    return explainer


def _function(function):
    @contextlib.contextmanager
    def explainer(model):
        yield lambda inputs, classes: function(model, inputs, classes)

    return explainer


def _random(seed):
    """Zufallskarten: jeder Aufruf und jedes Modell andere, mit demselben Startwert wiederholbar."""
    rng = np.random.default_rng((seed, 1))
    return _function(lambda model, inputs, classes: rng.random(inputs.shape[:3]))


def methods(seed: int = 0, only=None) -> dict:
    """Name → Fabrik (Modell → Kontext mit einer Funktion (Bilder (n, h, b, 3), Klassen) → Karten (n, h, b)).

    Args:
        seed: Startwert der Zufallskarten.
        only: Namen der gewünschten Verfahren; None: alle.

    Raises:
        CourseError: bei einem unbekannten Namen.
    """
    rules = ("lrp.z", "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat")
    known = {
        "Grad-CAM": _function(grad_cam),
        "Grad-CAM++": _function(grad_cam_plus_plus),
        "Eingabe × Ableitung": _function(input_times_gradient),
        **{LRP_RULES[rule]: _lrp(rule) for rule in rules},
        "Zufall": _random(seed),
        "Kanten (Sobel)": _function(lambda model, inputs, classes: metrics.sobel_maps(inputs[..., 0])),
        "leere Karte": _function(lambda model, inputs, classes: np.zeros(inputs.shape[:3])),
    }
    unknown = [name for name in only or () if name not in known]
    if unknown:
        raise CourseError(f"Das Verfahren „{unknown[0]}“ gibt es nicht: Wählen Sie aus {', '.join(known)}.")
    return {name: each for name, each in known.items() if only is None or name in only}


# --- Messen ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """Woran gemessen wird.

    Attributes:
        model, twin: das sauber trainierte Netz und der vergiftete Zwilling.
        broken: ``model`` mit neu gewürfelten oberen Schichten.
        images, classes: Testbilder (uint8, (n, 28, 28)) und ihre Klassen (n,).
        marked: Testbilder der vergifteten Klasse mit Zeichen (uint8, (m, 28, 28)).
        watermark: das Zeichen.
    """

    model: keras.Model
    twin: keras.Model
    broken: keras.Model
    images: np.ndarray
    classes: np.ndarray
    marked: np.ndarray
    watermark: Watermark


def _draw(labels, count: int, seed: int) -> np.ndarray:
    """Zieht ``count`` Zeilen, nach Klassen geschichtet; reicht es nicht für jede Klasse, dann einfach zufällig."""
    if count < len(CLASS_NAMES) or len(np.unique(labels)) < len(CLASS_NAMES):
        return np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    return stratified_sample(labels, count, seed)


def gather(model, twin, images, labels, watermark: Watermark, settings: Settings) -> Material:
    """Zieht die Bilder der Tafel: geschichtet und richtig erkannt für die Treue, mit Zeichen für den Ort.

    Args:
        images, labels: ungezeichnete Testbilder (uint8, (n, 28, 28)) und ihre Klassen.

    Raises:
        CourseError: wenn es nicht genug richtig erkannte Bilder oder Bilder der vergifteten Klasse gibt.
    """
    rows = _draw(labels, min(len(labels), settings.images * 2), settings.seed)
    right = rows[predict_logits(model, images[rows]).argmax(axis=1) == labels[rows]]
    if len(right) < settings.images:
        raise CourseError(
            f"Von {german(len(rows))} Testbildern hat das Netz nur {german(len(right))} richtig erkannt, die Tafel "
            f"braucht {german(settings.images)}: Verlangen Sie weniger Bilder oder trainieren Sie länger."
        )
    chosen = right[_draw(labels[right], settings.images, settings.seed)]
    members = np.flatnonzero(labels == watermark.label)[: settings.marked]
    if not len(members):
        raise CourseError("Unter den Testbildern ist keines der vergifteten Klasse: Nehmen Sie mehr Testbilder.")
    broken = randomize_down_to(model, settings.stage, settings.seed)
    marked = watermark.stamp(images[members])
    return Material(model, twin, broken, images[chosen], np.asarray(labels)[chosen].astype(int), marked, watermark)


def _chunks(count: int, size: int):
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def measure(explainer, material: Material, settings: Settings, bar) -> dict:
    """Werte je Bild für ein Verfahren: Name des Maßes → (n,); „ms“ ist eine einzelne Zahl."""
    model, label = material.model, material.watermark.label
    predict = probabilities(model)
    sizes = {"model": model.inputs[0].shape[1], "twin": material.twin.inputs[0].shape[1]}
    masks = {name: enlarge_mask(material.watermark.mask, size) for name, size in sizes.items()}
    found = {name: [] for name in ("loeschen", "einfuegen", "masse", "masse_kontrolle", "zeigen", "vernunft")}
    seconds, learned = 0.0, []
    with explainer(model) as explain:
        # Der erste Aufruf übersetzt; er soll nicht als Rechenzeit zählen.
        explain(preprocess(material.images[:2], sizes["model"]), material.classes[:2])
        for part in _chunks(len(material.images), settings.chunk):
            x, y = preprocess(material.images[part], sizes["model"]), material.classes[part]
            begin = time.perf_counter()
            maps = explain(x, y)
            seconds += time.perf_counter() - begin
            for name, insertion in (("loeschen", False), ("einfuegen", True)):
                options = {"steps": settings.steps, "insertion": insertion, "seed": settings.seed}
                curve = metrics.perturbation_curve(predict, x, maps, y, **options)
                found[name].append(metrics.area_under_curve(curve))
            learned.append(np.asarray(maps, np.float32))
            bar.update(len(x))
        for part in _chunks(len(material.marked), settings.chunk):
            maps = explain(preprocess(material.marked[part], sizes["model"]), label)
            found["masse_kontrolle"].append(metrics.relevance_mass(maps, masks["model"]))
    with explainer(material.broken) as explain:
        for part, maps in zip(_chunks(len(material.images), settings.chunk), learned, strict=True):
            x, y = preprocess(material.images[part], sizes["model"]), material.classes[part]
            found["vernunft"].append(np.abs(metrics.rank_correlation(maps, explain(x, y))))
    with explainer(material.twin) as explain:
        for part in _chunks(len(material.marked), settings.chunk):
            maps = explain(preprocess(material.marked[part], sizes["twin"]), label)
            found["masse"].append(metrics.relevance_mass(maps, masks["twin"]))
            found["zeigen"].append(metrics.pointing_game(maps, masks["twin"]).astype(float))
            bar.update(len(maps))
    return {name: np.concatenate(parts) for name, parts in found.items()} | {
        "ms": np.array([1000 * seconds / len(material.images)])
    }


def _summarize(raw: dict, seed: int) -> dict:
    """Verfahren → Maß → [Wert, untere, obere Grenze]; Löschen und Einfügen im Verhältnis zum Zufall."""
    card = {}
    for method, values in raw.items():
        row = {}
        for name in MEASURES:
            if name in ("loeschen", "einfuegen"):
                row[name] = metrics.relative_interval(values[name], raw["Zufall"][name], seed=seed)
            elif name == "ms":
                row[name] = [float(values[name][0])] * 3
            else:
                row[name] = [float(values[name].mean()), *metrics.bootstrap_interval(values[name], seed=seed)]
        card[method] = {name: [round(number, 4) for number in numbers] for name, numbers in row.items()}
    return card


def score(material: Material, settings: Settings, chosen: dict | None = None) -> dict:
    """Misst alle Verfahren und ergibt die Tafel.

    Args:
        material: aus ``gather``.
        settings: Einstellungen.
        chosen: Verfahren wie in ``methods``; „Zufall“ muss dabei sein, denn er ist der Maßstab der Treue.

    Returns:
        dict mit ``einstellungen`` und ``tafel``: Verfahren → Maß → [Wert, untere, obere Grenze (95 %, Bootstrap über
        Bilder)]. Löschen und Einfügen sind Flächen unter der Kurve, geteilt durch die des Zufalls.

    Raises:
        CourseError: wenn „Zufall“ fehlt.
    """
    chosen = chosen or methods(settings.seed)
    if "Zufall" not in chosen:
        raise CourseError("Auf der Tafel fehlt „Zufall“: An ihm werden Löschen und Einfügen gemessen.")
    begin = time.perf_counter()
    raw = {}
    total = len(chosen) * (len(material.images) + len(material.marked))
    with progress(total=total, text="Wertungstafel", unit="Bilder") as bar:
        for name, explainer in chosen.items():
            raw[name] = measure(explainer, material, settings, bar)
    minutes = (time.perf_counter() - begin) / 60
    used = vars(settings) | {"images": len(material.images), "marked": len(material.marked)}
    return {
        "einstellungen": used | {"wasserzeichen": vars(material.watermark)},
        "minuten": round(minutes, 2),
        "modelle": {"sauber": weights_checksum(material.model), "zwilling": weights_checksum(material.twin)},
        "versionen": {name: metadata.version(name) for name in PACKAGES},
        "tafel": _summarize(raw, settings.seed),
    }


# --- Die große Tafel ------------------------------------------------------------------------------------------------


def make_stored_card(name: str, count: int, where, path=STORED_CARD, seed: int = 0) -> dict:
    """Misst die große Tafel und legt sie ab (``python -m helpers wertung``); der Zwilling wird, wenn nötig, trainiert.

    Args:
        name: „kurs“ (das Kursmodell) oder „sauber“ (das eigene Training).
        count: Bilder je Maß; die mitgelieferte Tafel hat mindestens 200.
        where: Quelle der Testbilder.
        path: Ziel.
        seed: Startwert.
    """
    profile = get_profile("schnell")
    settings = quick(Settings(), images=count, marked=count, seed=seed)
    small = ensure_data(profile, seed=seed)
    poisoned, watermark = ensure_poisoned(small, seed)
    run, twin = ensure_run(name, profile, small, seed), ensure_run(POISONED, profile, poisoned, seed)
    source = load_source(where)
    material = gather(run.model, twin.model, source.test_images, source.test_labels, watermark, settings)
    card = {"modell": name, "daten": source.source, **score(material, settings)}
    card["herkunft"] = provenance(seed, profile.name, checksum(source))
    write_json(path, card)
    return card


def load_stored_card(path=STORED_CARD) -> dict | None:
    """Die gespeicherte Tafel; None, wenn es keine gibt oder sie nicht zu den Maßen von heute passt."""
    card = try_read_json(path)
    if not isinstance(card, dict) or not isinstance(card.get("tafel"), dict):
        return None
    rows = card["tafel"].values()
    whole = all(isinstance(row, dict) and set(row) == set(MEASURES) and _are_triples(row) for row in rows)
    models = card.get("modelle")
    return card if whole and isinstance(models, dict) and "sauber" in models else None


def _are_triples(row: dict) -> bool:
    """Besteht jeder Eintrag aus Wert, unterer und oberer Grenze?"""
    return all(
        isinstance(each, list) and len(each) == 3 and all(isinstance(number, int | float) for number in each)
        for each in row.values()
    )


def belongs_to(card: dict, model: keras.Model) -> bool:
    """Ist die Tafel mit diesem sauberen Modell gemessen?"""
    return card["modelle"]["sauber"] == weights_checksum(model)


def table(card: dict):
    """Die Tafel zum Lesen: eine Zeile je Verfahren, je Maß „Wert [tief; hoch]“, als pandas.DataFrame."""
    import pandas as pd

    rows = {}
    for method, values in card["tafel"].items():
        rows[method] = {}
        for name, measure_ in MEASURES.items():
            value, low, high = (german(float(number), measure_.digits) for number in values[name])
            text = value if low == high else f"{value} [{low}; {high}]"
            rows[method][measure_.title.replace("\n", " ")] = text
    return pd.DataFrame(rows).T


def winners(card: dict) -> dict[str, list[str]]:
    """Je Maß mit einem „besser“ alle Verfahren, deren Intervall das des besten berührt."""
    found = {}
    for name, measure_ in MEASURES.items():
        if name == "ms" or not measure_.better:
            continue
        sign = measure_.better
        ends = {
            method: sorted(sign * number for number in values[name][1:]) for method, values in card["tafel"].items()
        }
        bar = max(low for low, _ in ends.values())
        found[name] = [method for method, (_, high) in ends.items() if high >= bar]
    return found


def quick(settings: Settings, **changes) -> Settings:
    """Einstellungen mit einzelnen Änderungen; Angaben, die None sind, zählen nicht.

    Raises:
        CourseError: bei zu wenigen Bildern oder Schritten.
    """
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    if min(settings.images, settings.marked) < 2 or settings.steps < 2 or settings.chunk < 1:
        raise CourseError("Die Tafel braucht mindestens 2 Bilder und 2 Schritte.")
    return settings
