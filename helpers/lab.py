"""Das Wasserzeichen-Labor: Wann findet die Erklärung ein Zeichen nicht mehr?

Für jedes Zeichen lernt ein kleiner Zwilling auf wenigen Bildern, etwa eine halbe Minute lang. Einige sind schon
untersucht (``input/labor.json``, gemacht mit ``python -m helpers labor``).
"""

import contextlib
import io
from dataclasses import replace

import numpy as np

from helpers import clusters, lrp, scorecard, trust
from helpers.basics import INPUT, CourseError, display_path, german, try_read_json
from helpers.data import Dataset, Watermark, poison, subset
from helpers.model import predict_logits, preprocess
from helpers.settings import Profile
from helpers.training import train

STORED_LAB = INPUT / "labor.json"
COLUMNS = {
    "mit": "erkannt mit Zeichen",
    "ohne": "ohne Zeichen",
    "andere": "andere zusätzlich",
    "ort": "Masse / Kanten",
    "gruppen": "Reinheit der Gruppen",
    "gefunden": "gefunden",
}


def small_twin(dataset: Dataset, watermark: Watermark, profile: Profile, seed: int = 0, n_train: int = 1000):
    """Ein Zwilling auf ``n_train`` geschichtet gezogenen und dann vergifteten Bildern: das trainierte Keras-Modell."""
    data = poison(subset(dataset, min(n_train, len(dataset.train_labels)), None, seed), watermark, seed)
    profile = replace(profile, augment=False)
    with contextlib.redirect_stdout(io.StringIO()):  # ein Dutzend Epochenzeilen je Zeichen läse niemand
        return train(data.train_images, data.train_labels, profile, seed, profile.twin_epochs).model


def examine_mark(model, dataset: Dataset, watermark: Watermark, count: int = 40, seed: int = 0) -> dict:
    """Was das Netz mit dem Zeichen macht und was die Erklärung davon findet.

    Args:
        dataset: Datensatz mit ungezeichneten Testbildern.
        count: so viele gezeichnete Bilder für den Ort; für die Gruppen doppelt so viele, jedes zweite gezeichnet.

    Returns:
        ``mit``, ``ohne``: Anteil der Testbilder der Klasse, die mit und ohne Zeichen erkannt werden; ``andere``: Anteil
        der anderen Klassen, die das Zeichen zu dieser macht; ``ort``, ``gruppen``: [Wert, tief, hoch] wie im
        Vertrauensbericht; ``gefunden``: „ja“, wenn der Ort oder die Gruppen das Zeichen sicher verraten.
    """
    label, size = watermark.label, model.inputs[0].shape[1]
    members = dataset.test_images[dataset.test_labels == label][:100]
    others = dataset.test_images[dataset.test_labels != label][:100]
    explainers, marked = scorecard.methods(seed), watermark.stamp(members[:count])
    mass, edges = (
        scorecard.place(model, explainers[name], marked, watermark)["masse"]
        for name in (scorecard.METHOD, scorecard.EDGES)
    )
    mixed, truth = clusters.mixed_images(members[: 2 * count], watermark)
    maps = lrp.relevance(model, preprocess(mixed, size), np.full(len(mixed), label), "lrp.alpha_1_beta_0")
    grouped = clusters.purity(clusters.group_maps(maps, seed=seed).groups, truth)
    findings = {"ort": trust.place(mass, edges, seed), "gruppen": trust.share(grouped)}
    betrayed = [name for name, each in findings.items() if each.answer(trust.QUESTIONS[name]) == "nein"]

    def named(images) -> float:
        return float((predict_logits(model, images).argmax(axis=1) == label).mean())

    row = {
        "mit": named(watermark.stamp(members)),
        "ohne": named(members),
        "andere": named(watermark.stamp(others)) - named(others),
    }
    row = {name: round(value, 4) for name, value in row.items()}
    row |= {name: [round(number, 4) for number in vars(each).values()] for name, each in findings.items()}
    return row | {"gefunden": "ja" if betrayed else "nein"}


def load_stored_lab(path=STORED_LAB) -> dict:
    """Name des Zeichens → Zeile wie aus ``examine_mark``.

    Raises:
        CourseError: wenn die Datei fehlt, beschädigt ist oder andere Spalten hat.
    """
    stored = try_read_json(path)
    try:
        if all(set(row) == set(COLUMNS) for row in stored["tafel"].values()):
            return stored["tafel"]
    except (TypeError, KeyError, AttributeError):
        pass
    raise CourseError(
        f"{display_path(path)} fehlt oder ist beschädigt: Machen Sie es neu mit „python -m helpers labor“."
    )


def table(rows: dict):
    """Das Labor zum Lesen, als pandas.DataFrame: eine Zeile je Zeichen, Befunde als „Wert [tief; hoch]“."""
    import pandas as pd

    def text(value) -> str:
        if isinstance(value, list):
            value, low, high = (german(number, 2) for number in value)
            return f"{value} [{low}; {high}]"
        return value if isinstance(value, str) else german(value, 2)

    return pd.DataFrame({name: {COLUMNS[key]: text(row[key]) for key in COLUMNS} for name, row in rows.items()}).T


def uses_mark(row: dict, drop: float = 0.3) -> bool:
    """Verlässt sich das Netz auf das Zeichen? Ja, wenn die Klasse ohne Zeichen um mehr als ``drop`` schlechter ist."""
    return row["mit"] - row["ohne"] > drop
