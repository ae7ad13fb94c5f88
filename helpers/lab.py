"""Das Wasserzeichen-Labor: Wann findet die Erklärung ein Zeichen nicht mehr?

Für jedes Zeichen lernt ein Zwilling, nach demselben Rezept wie die Kontrolle, etwa eine Minute lang. Einige sind schon
untersucht (``input/labor.json``, gemacht mit ``python -m helpers labor``).
"""

import contextlib
import io
from dataclasses import replace

import numpy as np

from helpers import clusters, lrp, metrics, trust
from helpers.basics import INPUT, CourseError, as_dict, display_path, german, german_interval, try_read_json
from helpers.data import Dataset, Watermark, poison
from helpers.model import enlarge_mask, predict_logits, preprocess
from helpers.scorecard import METHOD_RULE
from helpers.settings import Profile
from helpers.training import train

STORED_LAB = INPUT / "labor.json"
COLUMNS = {
    "mit": "erkannt mit Zeichen",
    "ohne": "ohne Zeichen",
    "andere": "andere zusätzlich",
    "ort": "Masse / Kontrolle",
    "gruppen": "Reinheit der Gruppen",
    "gefunden": "gefunden",
}
FOUND = {"ort": "am Ort", "gruppen": "in Gruppen"}


def quiet_twin(dataset: Dataset, watermark: Watermark, profile: Profile, seed: int = 0):
    """Ein Zwilling mit diesem Zeichen, ohne Ausgaben trainiert: das Keras-Modell."""
    data = poison(dataset, watermark, seed)
    profile = replace(profile, augment=False)
    with contextlib.redirect_stdout(io.StringIO()):  # ein Dutzend Epochenzeilen je Zeichen läse niemand
        return train(data.train_images, data.train_labels, profile, seed, profile.twin_epochs).model


def examine_mark(model, control, dataset: Dataset, watermark: Watermark, seed: int = 0) -> dict:
    """Was das Netz mit dem Zeichen macht und was die Erklärung davon findet, an unmarkierten Testbildern geprüft.

    Args:
        model: das Netz, das untersucht wird.
        control: dasselbe Rezept ohne Zeichen; was seine Relevanz auf der Stelle zeigt, ist der Maßstab.

    Returns:
        ``mit``, ``ohne``: Anteil der Testbilder der Klasse, die mit und ohne Zeichen erkannt werden; ``andere``: Anteil
        der anderen Klassen, die das Zeichen zu dieser macht; ``ort``, ``gruppen``: [Wert, tief, hoch] wie im
        Vertrauensbericht; ``gefunden``: „am Ort“ (wer die Stelle kennt, sieht es), „in Gruppen“ (ohne sie zu kennen),
        beides oder „nein“.
    """
    label, size = watermark.label, model.inputs[0].shape[1]
    members = dataset.test_images[dataset.test_labels == label][:100]
    others = dataset.test_images[dataset.test_labels != label][:100]
    marked, mask = preprocess(watermark.stamp(members[:40]), size), enlarge_mask(watermark.mask, size)
    mass, usual = (
        metrics.relevance_mass(lrp.relevance(net, marked, label, METHOD_RULE), mask) for net in (model, control)
    )
    mixed, truth = clusters.mixed_images(members[:80], watermark)
    maps = lrp.relevance(model, preprocess(mixed, size), label, METHOD_RULE)
    grouped = clusters.purity(clusters.group_maps(maps, seed).groups, truth)
    findings = {"ort": metrics.relative_interval(mass, usual, seed), "gruppen": trust.purity(grouped, seed)}
    betrayed = [name for name, finding in findings.items() if trust.answer(name, finding) == "nein"]

    with_mark, without, others_with, others_without = (
        (predict_logits(model, images).argmax(axis=1) == label).mean()
        for images in (watermark.stamp(members), members, watermark.stamp(others), others)
    )
    row = {"mit": with_mark, "ohne": without, "andere": others_with - others_without, **findings}
    row = {name: np.round(value, 4).tolist() for name, value in row.items()}
    return row | {"gefunden": " und ".join(FOUND[name] for name in betrayed) or "nein"}


def load_stored_lab(path=STORED_LAB) -> dict:
    """Name des Zeichens → Zeile wie aus ``examine_mark``; CourseError, wenn die Datei fehlt oder beschädigt ist."""
    rows = as_dict(try_read_json(path, {}).get("tafel"))
    if not rows or not all(COLUMNS.keys() <= as_dict(row).keys() for row in rows.values()):
        raise CourseError(f"{display_path(path)} fehlt oder ist beschädigt: „python -m helpers labor“ macht es neu.")
    return rows


def table(rows: dict):
    """Das Labor zum Lesen, als pandas.DataFrame: eine Zeile je Zeichen, Befunde als „Wert [tief; hoch]“."""
    import pandas as pd

    def text(value) -> str:
        if isinstance(value, list):
            return german_interval(value)
        return value if isinstance(value, str) else german(value, 2)

    return pd.DataFrame({name: {COLUMNS[key]: text(row[key]) for key in COLUMNS} for name, row in rows.items()}).T


def uses_mark(row: dict) -> bool:
    """Verlässt sich das Netz auf das Zeichen? Ja, wenn die Klasse ohne Zeichen um mehr als 0,3 schlechter ist."""
    return row["mit"] - row["ohne"] > 0.3
