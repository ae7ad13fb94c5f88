"""Eigene Bilder befragen: Verdachtssuche, Vertrauensbericht und ``bericht.html`` für ein Netz und irgendwelche Klassen.

Ein Netz nach demselben Rezept ohne Zeichen, wie die Kontrolle des Kurses, gibt es hier nicht; was an seine Stelle
tritt, steht im Bericht.
"""

import numpy as np

from helpers import plots, scorecard, suspicion, trust
from helpers.basics import CourseError, display_path, german, one_line, output_dir, record
from helpers.gradcam import grad_cam
from helpers.inner.lrp_layers import objection
from helpers.inner.rows import joined
from helpers.model import preprocess
from helpers.own.pictures import Pictures
from helpers.places import LOOSE
from helpers.scorecard import CHANCE
from helpers.suspicion import MIN_IMAGES, NOTHING, Suspect
from helpers.training import Evaluation
from helpers.workshop.report import TABLE, build_report, most_confused

COLUMNS = 10  # so viele Bilder passen nebeneinander
MEASURED = 24  # Bilder für Löschkurve und Plausibilität
ASKED = 80  # Bilder für die Fragen nach der gefundenen Stelle
INSTEAD = {"ort": "Masse auf der Stelle, geteilt durch die auf der gefüllten Stelle"}
NO_CONTROL = (
    "Eine Kontrolle, also dasselbe Rezept auf Bildern ohne die Stelle, gibt es für eigene Bilder nicht: Die Frage nach "
    "dem Ort vergleicht mit denselben Bildern, in denen die Stelle gefüllt ist."
)


def ask_everything(model, pictures: Pictures, evaluation: Evaluation, title: str, seed: int = 0, notes=()) -> None:
    """Sucht Stellen, stellt die elf Fragen und schreibt ``bericht.html``, Bilder und die Kennzahl ``vertrauen``.

    Args:
        model: Keras-Modell mit Logits, so viele wie Klassen.
        pictures: die Bilder; gefragt wird an denen zum Testen.
        evaluation: seine Antworten auf ``pictures.images["test"]``.
        title: wie das Netz im Bericht heißt.
        notes: Sätze, die auch im Bericht stehen sollen.
    """
    names = tuple(one_line(name) for name in pictures.class_names)
    images, notes = pictures.images["test"], [*notes, NO_CONTROL]
    if sentence := objection(model):
        notes.append(f"{sentence} An die Stelle von LRP tritt überall Grad-CAM.")
        print(notes[-1])
    for stale in (
        output_dir() / "bilder" / f"{name}{end}" for name in ("stelle", "fehler") for end in (".png", ".json")
    ):
        stale.unlink(missing_ok=True)
    _draw_mistakes(model, images, evaluation, names)
    suspects, found, place = None, None, None
    try:
        images_asked, labels_asked = _enough(pictures, notes)
        suspects = suspicion.search(model, images_asked, labels_asked, seed)
        found = next((each for each in suspects if each.edge >= LOOSE and each.verdict != NOTHING), None)
        print(suspicion.table(suspects, names).to_string(index=False))
    except CourseError as error:
        notes.append(f"Nach Stellen wurde nicht gesucht: {error}")
        print(notes[-1])
    if found is not None:
        carrying = images_asked[found.carriers[:ASKED]]
        place = trust.ask_place(model, carrying, found, seed)
        _draw_place(model, carrying[:COLUMNS], found, names)
    measured, steady = _asked_of_maps(model, images, evaluation, notes, seed)
    findings = trust.examine(evaluation, measured, steady, suspects, place, None, seed)
    figures = trust.report_figures({title: findings}, found, names, INSTEAD)
    if len(names) > TABLE:
        pairs = most_confused(evaluation.confusion, names, 5)
        said = [f"{truth} für {answer} ({german(times)}-mal)" for truth, answer, times in pairs]
        notes.append(f"Am häufigsten verwechselt: {', '.join(said)}.")
    record(vertrauen=figures | {"hinweise": notes})
    report = build_report(own=f"{title} und die {pictures.source}")
    verdict = figures["modelle"][title]
    print(f"Urteil: {verdict['urteil']}. {verdict['grund']}")
    print(f"Bericht: {display_path(report)}")


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


# --- Bilder ----------------------------------------------------------------------------------------------------------


def _maps(model, images, classes) -> tuple[np.ndarray, dict]:
    """Grad-CAM und, wo es geht, Relevanz mit dem Verfahren des Berichts."""
    inputs, (name, explain) = preprocess(images, model), scorecard.method_of(model)
    cams = grad_cam(model, inputs, classes)
    return cams, {} if objection(model) else {name: explain(model, inputs, classes)}


def _draw_mistakes(model, images, evaluation: Evaluation, names) -> None:
    """Die sichersten Fehler; gibt es keine, ein Bild weniger."""
    rows = evaluation.worst_mistakes(6)
    if not len(rows):
        return
    inputs = preprocess(images[rows], model)
    maps = [grad_cam(model, inputs, labels[rows]) for labels in (evaluation.predictions, evaluation.labels)]
    shown = [plots.wrapped(name) for name in names]
    figure = plots.mistakes(images[rows], *maps, evaluation, rows, shown)
    plots.save(figure, "fehler", "Die deutlichsten Fehler", "Grad-CAM für Antwort und Wahrheit.", "cnn")


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
    plots.save(plots.panel(rows, "Woran hängt die Klasse?"), "stelle", "Die gefundene Stelle", text, "cnn")
