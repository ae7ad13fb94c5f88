"""Die gespeicherten Tabellen von 05_LRP machen: die große Wertungstafel und das Labor (``input/*.json``).

Beide lernen nichts Neues, wenn es die Modelle schon gibt, und legen Startwert, Herkunft und Prüfsummen dazu.
"""

import time
from dataclasses import replace
from importlib import metadata

from helpers import lab, scorecard
from helpers.basics import progress, write_json
from helpers.data import checksum, load_source, stratified_sample
from helpers.model import predict_logits, weights_checksum
from helpers.provenance import provenance
from helpers.settings import get_profile
from helpers.training import CLEAN, COURSE, POISONED, Evaluation, ensure_data, ensure_poisoned, ensure_run

PACKAGES = ("tensorflow", "keras", "innvestigate", "tf-keras-vis", "numpy")
# Jedes ändert am Zeichen des Kurses eines: Größe, Stärke, Ort, Anteil.
MARKS = {
    "ein Pixel": {"size": 1, "top": 25, "left": 2},
    "30 % stark": {"strength": 0.3},
    "mitten im Bild": {"top": 12, "left": 12},
    "jedes zweite Bild": {"share": 0.5},
}


def make_scorecard(name: str, count: int, where, path, seed: int = 0) -> dict:
    """Misst alle Verfahren und legt die Tafel ab (``python -m helpers wertung``).

    Args:
        name: „kurs“ (das Kursmodell) oder „sauber“ (das eigene Training).
        count: Bilder je Maß; die mitgelieferte Tafel hat 200.
        where: Quelle der Testbilder.
        path: Ziel.
        seed: Startwert.
    """
    model, twin, control, watermark, _ = course_models(name, seed)
    source = load_source(where)
    images, labels = source.test_images, source.test_labels
    rows = stratified_sample(labels, min(len(labels), max(10, 2 * count)), seed)
    evaluation = Evaluation.of(predict_logits(model, images[rows]), labels[rows])
    case = scorecard.gather(model, evaluation, images[rows], images[labels == watermark.label], watermark, count, seed)
    begin = time.perf_counter()
    explainers = scorecard.methods(seed)
    examined = scorecard.measure(case, explainers, seed=seed)
    place = [scorecard.measure(case._replace(model=net), explainers, faithful=(), seed=seed) for net in (twin, control)]
    card = {
        "modell": name,
        "daten": source.source,
        "einstellungen": {
            "images": len(case.images),
            "marked": len(case.marked),
            "steps": scorecard.STEPS,
            "stage": scorecard.STAGE,
            "seed": seed,
            "wasserzeichen": vars(watermark),
        },
        "minuten": round((time.perf_counter() - begin) / 60, 2),
        "versionen": {package: metadata.version(package) for package in PACKAGES},
        "tafel": scorecard.summarize(examined, *place, seed),
    }
    return _store(path, card, {"geprüft": model, "zwilling": twin, "kontrolle": control}, source, seed)


def make_lab(path, seed: int = 0) -> dict:
    """Lässt für jedes Zeichen in ``MARKS`` einen Zwilling lernen und legt das Labor ab (``… labor``).

    Dazu die zwei fertigen Netze: der Zwilling des Kurses und als Kontrolle das Netz, das ohne Zeichen gelernt hat.
    """
    _, twin, control, watermark, dataset = course_models(seed=seed)
    nets = {"Zwilling": twin, "Kontrolle": control}
    rows = {name: lab.examine_mark(net, control, dataset, watermark, seed) for name, net in nets.items()}
    marks = {name: replace(watermark, **changes) for name, changes in MARKS.items()}
    for name, mark in progress(marks.items(), total=len(marks), text="Labor", unit="Zwillinge"):
        net = lab.quiet_twin(dataset, mark, get_profile("schnell"), seed)
        rows[name] = lab.examine_mark(net, control, dataset, mark, seed)
    stored = {"zeichen": {name: vars(mark) for name, mark in marks.items()}, "tafel": rows}
    return _store(path, stored, {"zwilling": twin, "kontrolle": control}, dataset, seed)


def _store(path, table: dict, nets: dict, dataset, seed: int) -> dict:
    """Legt eine Tabelle mit den Prüfsummen der Modelle und ihrer Herkunft ab."""
    checksums = {name: weights_checksum(net) for name, net in nets.items()}
    table |= {"modelle": checksums, "herkunft": provenance(seed, "schnell", checksum(dataset))}
    write_json(path, table)
    return table


def course_models(name: str = COURSE, seed: int = 0):
    """(geprüftes Netz, Zwilling, Kontrolle, Zeichen, Bilder), Profil „schnell“; was fehlt, wird gemacht."""
    profile = get_profile("schnell")
    dataset = ensure_data(profile, seed=seed)
    poisoned, watermark = ensure_poisoned(dataset, seed)
    wanted = (name, dataset), (POISONED, poisoned), (CLEAN, dataset)
    nets = [ensure_run(name, profile, data, seed).model for name, data in wanted]
    return *nets, watermark, dataset


def net_and_tests(name: str, seed: int = 0):
    """(Netz, Testbilder, Klassen) des Kurses mit dem Profil „schnell“; beim Zwilling tragen die Bilder das Zeichen."""
    profile = get_profile("schnell")
    dataset = ensure_data(profile, seed=seed)
    if name == POISONED:
        dataset, _ = ensure_poisoned(dataset, seed)
    return ensure_run(name, profile, dataset, seed).model, *dataset.parts[1]
