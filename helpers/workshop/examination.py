"""Eigene Bilder befragen: alles, was der Kurs fragen kann, an einem Netz und einem Ordner voller Bilder.

Trefferquote und Verwechslungen, Rohbild, Grad-CAM und LRP je Klasse, die Verdachtssuche, der Vertrauensbericht. Ein
Netz nach demselben Rezept ohne Zeichen, wie die Kontrolle des Kurses, gibt es hier nicht; was an seine Stelle tritt,
steht im Bericht.
"""

import numpy as np

from helpers import own_model, plots, scorecard, suspicion, trust
from helpers.basics import CourseError, display_path, german, german_interval, one_line, record
from helpers.gradcam import grad_cam
from helpers.lrp_layers import objection
from helpers.metrics import bootstrap_interval, relevance_mass
from helpers.model import enlarge_mask, predict_logits, preprocess
from helpers.pictures import MAX_EDGE, MIN_EDGE, Pictures, read_pictures
from helpers.places import LOOSE
from helpers.rows import joined
from helpers.scorecard import CHANCE
from helpers.suspicion import MIN_IMAGES, NOTHING, Suspect
from helpers.training import Evaluation, example_rows
from helpers.workshop.report import OwnReport, build_report

COLUMNS = 10  # so viele Klassen passen nebeneinander in ein Bild
TABLE = 20  # so viele Klassen passen in die Tabelle der Verwechslungen
MEASURED = 24  # Bilder für Löschkurve und Plausibilität
ASKED = 80  # Bilder für die Fragen nach der gefundenen Stelle
INSTEAD = {
    "ort": "Masse auf der Stelle, geteilt durch die derselben Stelle, wenn sie mit den Nachbarpixeln gefüllt ist"
}
NO_CONTROL = (
    "Eine Kontrolle, also dasselbe Rezept auf Bildern ohne die Stelle, gibt es für eigene Bilder nicht: Die Frage nach "
    "dem Ort vergleicht mit denselben Bildern, in denen die Stelle gefüllt ist."
)


def examine_own_model(
    folder, path, preprocessing: str, size=None, crop: bool = False, skip_broken: bool = False, seed: int = 0
) -> float:
    """Prüft ein fertiges Netz auf eigenen Bildern (``cnn --bilder … --modell …``); ergibt die Trefferquote im Test.

    Args:
        folder, crop, skip_broken: wie in ``read_pictures``.
        path, preprocessing: wie in ``own_model.load``.
        size: Kantenlänge, wenn das Netz keine feste verlangt.

    Raises:
        CourseError: wie diese beiden, und wenn Klassen und Ausgänge nicht zusammenpassen.
    """
    model = own_model.load(path, preprocessing, size=size or 128)
    edge = int(np.clip(max(model.input_shape[1:3]), MIN_EDGE, MAX_EDGE))
    pictures = read_pictures(folder, edge, crop, skip_broken, seed)
    own_model.check_outputs(model, len(pictures.class_names))
    logits = predict_logits(model, pictures.images["test"])
    evaluation = Evaluation.of(logits, pictures.labels["test"])
    print(f"Trefferquote im Test: {german(evaluation.accuracy, 4)} ({german(len(evaluation.labels))} Bilder)")
    examine_pictures(model, pictures, evaluation, f"Modell {display_path(path)}", seed)
    return evaluation.accuracy


def examine_pictures(model, pictures: Pictures, evaluation: Evaluation, title: str = "VGG16", seed: int = 0):
    """Fragt ein Netz nach allem und schreibt ``bericht.html``, ``bilder/`` und die Kennzahlen.

    Args:
        model: Keras-Modell mit Logits, so viele wie Klassen.
        pictures: die Bilder; gefragt wird an denen zum Testen.
        evaluation: seine Antworten auf ``pictures.images["test"]``.
        title: wie das Netz im Bericht heißt.

    Returns:
        Pfad des Berichts.
    """
    names = tuple(one_line(name) for name in pictures.class_names)
    images, notes = pictures.images["test"], [NO_CONTROL]
    if sentence := objection(model):
        notes.append(f"{sentence} An seine Stelle tritt überall Grad-CAM.")
    _draw_classes(model, images, evaluation, names)
    _draw_mistakes(model, images, evaluation, names)
    suspects, found, place = None, None, None
    try:
        images_asked, labels_asked = _enough(pictures, notes)
        suspects = suspicion.search(model, images_asked, labels_asked, seed)
        found = next((each for each in suspects if each.edge >= LOOSE and each.verdict != NOTHING), None)
        print(suspicion.table(suspects, names).to_string(index=False))
    except CourseError as error:
        notes.append(f"Nicht gesucht: {error}")
    if found is not None:
        carrying = images_asked[found.carriers[:ASKED]]
        place = trust.ask_place(model, carrying, found, seed)
        _draw_place(model, carrying[:COLUMNS], found, names)
    measured, steady = _asked_of_maps(model, images, evaluation, notes, seed)
    findings = trust.examine(evaluation, measured, steady, suspects, place, None, seed)
    figures = trust.report_figures({title: findings}, found, names, INSTEAD)
    notes += _mass_on_masks(model, pictures, evaluation, seed)
    confusion = evaluation.confusion
    if len(names) > TABLE:
        notes.append(_most_confused(confusion, names))
    record(
        vertrauen=figures | {"hinweise": notes, "klassen": list(names)},
        n_test=len(evaluation.labels),
        test_accuracy=round(evaluation.accuracy, 4),
        confusion=confusion.tolist(),
    )
    own = OwnReport(f"{title} auf: {pictures.source}", names, tuple(notes), len(names) <= TABLE)
    path = build_report(own=own)
    print(f"Urteil: {figures['modelle'][title]['urteil']}. {figures['modelle'][title]['grund']}")
    print(f"Bericht: {display_path(path)}")
    return path


def _enough(pictures: Pictures, notes: list) -> tuple:
    """Bilder und Klassen für die Suche: die zum Testen; reichen die nicht für jede Klasse, alle."""
    labels = pictures.labels["test"]
    scarce = np.bincount(labels, minlength=len(pictures.class_names)).min() < 2 * MIN_IMAGES
    if not scarce or len(pictures.labels) == 1:
        return pictures.images["test"], labels
    notes.append(
        f"Zum Testen gibt es nicht von jeder Klasse {2 * MIN_IMAGES} Bilder: Gesucht wurde deshalb in allen Bildern, "
        "auch in denen zum Lernen."
    )
    parts = list(pictures.labels)
    return joined([pictures.images[part] for part in parts]), np.concatenate([pictures.labels[part] for part in parts])


def _asked_of_maps(model, images, evaluation: Evaluation, notes: list, seed: int) -> tuple:
    """Was ``trust.examine`` über die Erklärung wissen muss; None, wo es zu wenige Bilder gibt."""
    name, _ = scorecard.method_of(model)
    right = int((evaluation.predictions == evaluation.labels).sum())
    if right < 2 or np.bincount(evaluation.predictions).max() < 2:
        notes.append("Das Netz erkennt zu wenige Bilder, um seine Erklärungen zu prüfen.")
        return None, None
    case = scorecard.gather(model, evaluation, images, (), None, min(MEASURED, right), seed)
    methods = scorecard.methods(seed, [name])
    measured = scorecard.measure(case, {each: methods[each] for each in (name, CHANCE)}, seed=seed)
    return measured, trust.ask_stability(model, evaluation, images, seed)


def _most_confused(confusion, names) -> str:
    """Bei vielen Klassen statt einer Tabelle: die fünf häufigsten Verwechslungen."""
    wrong = confusion * (1 - np.eye(len(names), dtype=int))
    pairs = [np.unravel_index(cell, wrong.shape) for cell in np.argsort(-wrong, axis=None, kind="stable")[:5]]
    said = [f"{names[true]} für {names[answer]} ({german(wrong[true, answer])}-mal)" for true, answer in pairs]
    return f"Am häufigsten verwechselt: {', '.join(said)}."


def _mass_on_masks(model, pictures: Pictures, evaluation: Evaluation, seed: int) -> list[str]:
    """Ein Satz: Wie viel Relevanz liegt auf dem Gegenstand? Ohne Masken keiner."""
    rows = [row for row, path in enumerate(pictures.masks.get("test", ())) if path is not None][:64]
    if len(rows) < 2:
        return []
    name, explain = scorecard.method_of(model)
    maps = explain(model, preprocess(pictures.load("test", rows), model), evaluation.labels[rows])
    masks = [enlarge_mask(mask, model) for mask in pictures.load_masks("test", rows)]
    pairs = [(relevance[None], mask) for relevance, mask in zip(maps, masks, strict=True) if mask.any()]
    if len(pairs) < 2:
        return []
    mass, area = np.concatenate([relevance_mass(*pair) for pair in pairs]), np.mean([mask.mean() for _, mask in pairs])
    shown = german_interval([mass.mean(), *bootstrap_interval(mass, seed=seed)])
    return [
        f"Masken ({german(len(mass))} Bilder): Von der Relevanz ({name}) liegen {shown} auf dem Gegenstand, der "
        f"{german(100 * area, 0)} % der Fläche einnimmt."
    ]


# --- Bilder ----------------------------------------------------------------------------------------------------------


def _maps(model, images, classes) -> tuple[np.ndarray, dict]:
    """Grad-CAM und, wo es geht, Relevanz mit dem Verfahren des Berichts."""
    inputs, (name, explain) = preprocess(images, model), scorecard.method_of(model)
    cams = grad_cam(model, inputs, classes)
    return cams, {} if objection(model) else {name: explain(model, inputs, classes)}


def _draw_classes(model, images, evaluation: Evaluation, names) -> None:
    """Je Klasse ein Bild; gibt es viele, die Klassen mit der kleinsten Trefferquote."""
    rows = example_rows(evaluation)
    hits = [(evaluation.predictions == evaluation.labels)[evaluation.labels == evaluation.labels[row]] for row in rows]
    weakest = np.argsort([each.mean() for each in hits], kind="stable")[:COLUMNS]
    rows = rows[np.sort(weakest)]
    classes = evaluation.labels[rows]
    cams, relevances = _maps(model, images[rows], classes)
    captions = [plots.wrapped(names[label]) for label in classes]
    figure = plots.result_page(images[rows], cams, relevances, classes, captions=captions)
    which = "Je ein Testbild jeder Klasse." if len(names) <= COLUMNS else "Die Klassen mit der kleinsten Trefferquote."
    plots.save(figure, "eigene_klassen", "Rohbild, Grad-CAM und LRP", which, "cnn")


def _draw_mistakes(model, images, evaluation: Evaluation, names) -> None:
    """Die sichersten Fehler; gibt es keine, ein Bild weniger."""
    rows = evaluation.worst_mistakes(6)
    if not len(rows):
        return
    inputs = preprocess(images[rows], model)
    maps = [grad_cam(model, inputs, labels[rows]) for labels in (evaluation.predictions, evaluation.labels)]
    shown = [plots.wrapped(name) for name in names]
    figure = plots.mistakes(images[rows], *maps, evaluation, rows, shown)
    plots.save(figure, "eigene_fehler", "Die deutlichsten Fehler", "Grad-CAM für Antwort und Wahrheit.", "cnn")


def _draw_place(model, carrying, found: Suspect, names) -> None:
    """Bilder, die die gefundene Stelle tragen, mit ihrem Rahmen, und ihre Karten."""
    classes = np.full(len(carrying), found.label)
    cams, relevances = _maps(model, carrying, classes)
    top, bottom, left, right = found.box

    def framed(ax, image):
        plots.draw_image(ax, image)
        plots.draw_frame(ax, top, left, bottom - top + 1, right - left + 1, color=plots.GREEN)

    rows = [plots.row("gefundene Stelle", framed, carrying), plots.row("Grad-CAM", plots.draw_cam, carrying, cams)]
    rows += [plots.row(name, plots.draw_relevance, maps, mask=found.region) for name, maps in relevances.items()]
    text = f"Klasse „{names[found.label]}“, Urteil der Suche: {found.verdict}. Der Rahmen ist die gefundene Stelle."
    plots.save(plots.panel(rows, "Woran hängt die Klasse?"), "eigene_stelle", "Die gefundene Stelle", text, "cnn")
