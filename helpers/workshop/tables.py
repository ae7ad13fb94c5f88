"""Die gespeicherten Tabellen von 05_LRP machen: die große Wertungstafel und die Startwerte (``input/*.json``)."""

import contextlib
import io
import time

from helpers import scorecard
from helpers.basics import progress, write_json
from helpers.data import checksum, load_source, poison, stratified_sample, subset
from helpers.inner.provenance import provenance
from helpers.model import keras, predict_logits, weights_checksum
from helpers.repair import repair
from helpers.secret import score, secret_mark
from helpers.settings import get_profile
from helpers.suspicion import SHORTCUT, search
from helpers.training import CLEAN, COURSE, POISONED, Evaluation, ensure_data, ensure_poisoned, ensure_run, train


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
    nets = {"geprüft": model, "zwilling": twin, "kontrolle": control}
    card = {
        "modell": name,
        "daten": source.source,
        "einstellungen": {
            "images": len(case.images),
            "marked": len(case.marked),
            "steps": scorecard.STEPS,
            "stage": scorecard.stage_of(model),
            "seed": seed,
            "wasserzeichen": vars(watermark),
        },
        "minuten": round((time.perf_counter() - begin) / 60, 2),
        "tafel": scorecard.summarize(examined, *place, seed),
        "modelle": {name: weights_checksum(net) for name, net in nets.items()},
        "herkunft": provenance(seed, "schnell", checksum(source)),
    }
    write_json(path, card)
    return card


def make_repeats(path, seeds) -> dict:
    """Der Weg von 03 bis zur Reparatur, für jeden Startwert neu, mit seinem eigenen Zeichen (``… startwerte``)."""
    rows = []
    for seed in progress(list(seeds), text="Startwerte", unit="Wege"):
        with contextlib.redirect_stdout(io.StringIO()):  # Dutzende Epochenzeilen läse niemand
            rows.append(_repeat(seed))
        keras.backend.clear_session()
    table = {"wege": rows, "herkunft": provenance(profile="schnell")}
    write_json(path, table)
    return table


def _repeat(seed: int) -> dict:
    """Kontrolle und Zwilling trainieren, beide durchsuchen, den Zwilling reparieren: eine Zeile."""
    profile, mark = get_profile("schnell"), secret_mark(seed)
    clean = subset(load_source("beispiel"), profile.n_train, profile.n_test, seed)
    marked = poison(clean, mark, seed)
    control, twin = (train(part.train_images, part.train_labels, profile, seed).model for part in (clean, marked))
    accused = [
        [each for each in search(net, part.test_images, part.test_labels, seed) if each.verdict == SHORTCUT]
        for net, part in ((control, clean), (twin, marked))
    ]
    hit = [score(each.label, each.region, mark) for each in accused[1]]
    train_images, train_labels = marked.parts[0]
    mended = repair(twin, train_images, train_labels, accused[1], profile, seed).model if accused[1] else twin
    own, nets = clean.test_images[clean.test_labels == mark.label], {}
    for name, net in {"Kontrolle": control, "Zwilling": twin, "repariert": mended}.items():
        answers, kept = (predict_logits(net, images).argmax(axis=1) for images in (clean.test_images, own))
        nets[name] = {
            "trefferquote": float((answers == clean.test_labels).mean()),
            "ohne_zeichen": float((kept == mark.label).mean()),
        }
    return {
        "seed": seed,
        "zeichen": vars(mark),
        "punkte": max((each["Punkte"] for each in hit), default=0),
        "beschuldigt": {"Kontrolle": len(accused[0]), "Zwilling": len(accused[1])},
        "netze": nets,
    }


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
