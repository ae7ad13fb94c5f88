"""Der Bildstreifen der README, aus dem echten Explorer gemacht (``python -m helpers streifen``)."""

import io
import textwrap

import matplotlib.pyplot as plt
import numpy as np

from helpers.basics import SOLUTIONS, CourseError, atomic_file
from helpers.explorer import LAYERS, STAMP, Scene, Shown
from helpers.inner.panels import bare
from helpers.training import evaluate
from helpers.workshop.tables import course_models

STRIP = SOLUTIONS / "explorer.png"


def course_scenes() -> tuple[Scene, Scene]:
    """Die Szenen von 04_GradCAM und 05_LRP mit Kursmodell und Zwilling; fehlt der Zwilling, wird er trainiert."""
    model, twin, _, watermark, dataset = course_models()
    models, images = {"Zwilling": twin, "Kursmodell": model}, dataset.test_images
    results = {name: evaluate(each, images, dataset.test_labels) for name, each in models.items()}
    return Scene(models, results, images, watermark, LAYERS), Scene(models, results, images, watermark)


def make_strip(first: Scene, last: Scene, target=STRIP):
    """Erst ein Bild mit Grad-CAM, dann gestempelt, dann dasselbe mit LRP.

    Gezeigt wird der deutlichste Fehler, den das Zeichen beim Zwilling umfallen lässt.

    Args:
        first, last: dieselben Modelle und Bilder, mit Grad-CAM und mit LRP; das erste Modell ist der Zwilling.

    Raises:
        CourseError: wenn keines der Bilder umfällt.
    """
    name, label = next(iter(first.models)), first.watermark.label
    rows = np.concatenate(list(first.groups.values()))
    images = first.images[rows]
    before, after = (first.answers(name, each)[1].argmax(axis=1) for each in (images, first.watermark.stamp(images)))
    toppled = rows[(before != label) & (after == label)]
    if not len(toppled):
        raise CourseError(
            "Das Zeichen lässt beim Zwilling kein Bild umfallen, der Streifen hätte nichts zu zeigen: "
            "Trainieren Sie ihn in 03_Training neu."
        )
    layer, rule = list(first.choices)[0], list(last.choices)[-2]
    stages = (first, layer, []), (first, layer, [STAMP]), (last, rule, [STAMP])
    figure, axes = plt.subplots(3, 1, figsize=(9, 13))
    for ax, (scene, choice, strokes) in zip(axes, stages, strict=True):
        shown = Shown(scene, name, toppled[0], choice, strokes=strokes)
        ax.imshow(plt.imread(io.BytesIO(shown.png)), interpolation="antialiased")
        ax.set_title(textwrap.fill(shown.sentence, 105), fontsize=10, loc="left")
        bare(ax)
    figure.suptitle("Der Explorer: stempeln und zusehen")
    with atomic_file(target) as temporary:
        figure.savefig(temporary, format="png", dpi=105, pil_kwargs={"optimize": True})
    plt.close(figure)
    return target
