"""Der Bildstreifen der README, aus dem echten Explorer gemacht (``python -m helpers streifen``)."""

import io
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from helpers.basics import SOLUTIONS, CourseError, atomic_file
from helpers.panels import bare
from helpers.scene import Scene, View, grad_cam_method, lrp_method
from helpers.training import evaluate
from helpers.workshop.tables import course_models

STRIP = SOLUTIONS / "explorer.png"


def course_scenes() -> tuple[Scene, Scene]:
    """Die Szenen von 04_GradCAM und 05_LRP mit Kursmodell und Zwilling; fehlt der Zwilling, wird er trainiert."""
    model, twin, watermark, dataset = course_models()
    models, images = {"Zwilling": twin, "sauberes Modell": model}, dataset.test_images
    results = {name: evaluate(each, images, dataset.test_labels) for name, each in models.items()}
    given = (models, results, images, watermark)
    return Scene(*given, grad_cam_method()), Scene(*given, lrp_method())


def make_strip(first: Scene, last: Scene, target=STRIP):
    """Erst ein Bild mit Grad-CAM, dann gestempelt, dann dasselbe mit LRP.

    Gezeigt wird der deutlichste Fehler, den das Zeichen beim Zwilling umfallen lässt.

    Args:
        first, last: dieselben Modelle und Bilder, mit Grad-CAM und mit LRP; das erste Modell ist der Zwilling.

    Raises:
        CourseError: wenn keines der Bilder umfällt.
    """
    name, label = next(iter(first.models)), first.watermark.label
    rows = np.concatenate([rows for rows in first.groups.values() if len(rows)])
    images = first.images[rows]
    before, after = (first.answers(name, each)[1].argmax(axis=1) for each in (images, first.watermark.stamp(images)))
    toppled = rows[(before != label) & (after == label)]
    if not len(toppled):
        raise CourseError(
            "Das Zeichen lässt beim Zwilling kein Bild umfallen, der Streifen hätte nichts zu zeigen: "
            "Trainieren Sie ihn in 03_Training neu."
        )
    row, stamp = int(toppled[0]), ((0, 0, 1, None),)
    layer, rule = next(iter(first.method.choices)), list(last.method.choices)[-1]
    shown = [
        first.show(View(name, row, layer)),
        first.show(View(name, row, layer, strokes=stamp)),
        last.show(View(name, row, rule, next(iter(last.method.choices[rule])), strokes=stamp)),
    ]
    buffer = io.BytesIO()
    figure = _stacked([Image.open(io.BytesIO(each.png)) for each in shown], [each.sentence for each in shown])
    figure.savefig(buffer, format="png", dpi=105)
    plt.close(figure)
    with atomic_file(target) as temporary, Image.open(buffer) as picture:
        picture.convert("RGB").save(temporary, "PNG", optimize=True)
    return target


def _stacked(pictures, captions):
    """Fertige Bilder untereinander, über jedem ein Satz."""
    height = sum(9 * picture.height / picture.width + 0.55 for picture in pictures)
    figure, axes = plt.subplots(len(pictures), 1, figsize=(9, height), layout="constrained")
    for ax, picture, caption in zip(axes, pictures, captions, strict=True):
        ax.imshow(picture, interpolation="antialiased")
        ax.set_title(textwrap.fill(caption, 105), fontsize=10, loc="left")
        bare(ax)
    figure.suptitle("Der Explorer: stempeln und zusehen")
    return figure
