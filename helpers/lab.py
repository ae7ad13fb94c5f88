"""Das Wasserzeichen-Labor: Wann findet die Erklärung ein Zeichen nicht mehr?

Für jedes Zeichen lernt ein kleiner Zwilling auf wenigen Bildern. Der feste Stamm rechnet dank des Zwischenspeichers nur
die gezeichneten Bilder neu; deshalb dauert ein Zeichen auf zwei Kernen weniger als eine halbe Minute statt mehrerer.
"""

import contextlib
import io
from dataclasses import replace

import numpy as np

from helpers import trust
from helpers.basics import german, progress
from helpers.data import Dataset, Watermark, poison, subset
from helpers.model import predict_logits
from helpers.scorecard import Settings
from helpers.settings import Profile
from helpers.training import train


def small_twin(dataset: Dataset, watermark: Watermark, profile: Profile, n_train: int = 1000, seed: int = 0):
    """Ein Zwilling auf ``n_train`` geschichtet gezogenen und dann vergifteten Bildern: das trainierte Keras-Modell."""
    data = poison(subset(dataset, min(n_train, len(dataset.train_labels)), None, seed), watermark, seed)
    profile = replace(profile, augment=False)
    with contextlib.redirect_stdout(io.StringIO()):  # ein Dutzend Epochenzeilen je Zeichen läse niemand
        return train(data.train_images, data.train_labels, profile, seed, profile.twin_epochs).model


def examine_mark(model, dataset: Dataset, watermark: Watermark, settings: Settings) -> dict:
    """Was das Netz mit dem Zeichen macht und was die Erklärung davon findet.

    Returns:
        ``mit``, ``ohne``: Anteil der Testbilder der Klasse, die mit und ohne Zeichen erkannt werden; ``andere``: Anteil
        der anderen Klassen, die das Zeichen zu dieser macht; ``ort``, ``gruppen``: ``trust.Finding``; ``gefunden``:
        „ja“, wenn der Ort oder die Gruppen das Zeichen sicher verraten.
    """
    label = watermark.label
    members = dataset.test_images[dataset.test_labels == label][:100]
    others = dataset.test_images[dataset.test_labels != label][:100]
    answer = lambda images: predict_logits(model, images).argmax(axis=1) == label  # noqa: E731
    findings = trust.place_and_groups(model, members, watermark, settings)
    betrayed = [name for name, each in findings.items() if each.answer(trust.QUESTIONS[name]) == "nein"]
    return {
        "mit": float(answer(watermark.stamp(members)).mean()),
        "ohne": float(answer(members).mean()),
        "andere": float(answer(watermark.stamp(others)).mean() - answer(others).mean()),
        **findings,
        "gefunden": "ja" if betrayed else "nein",
    }


def sweep(dataset: Dataset, marks: dict, profile: Profile, settings: Settings, n_train=1000, known=None) -> dict:
    """Trainiert für jedes Zeichen einen kleinen Zwilling und untersucht ihn.

    Args:
        dataset: ungezeichnete Bilder.
        marks: Name → Zeichen.
        profile: Einstellungen des Trainings; gelernt wird so lange wie beim Zwilling.
        settings: Zahl der Bilder, Startwert.
        n_train: Trainingsbilder je Zwilling.
        known: Name → (fertiges Modell, Zeichen, nach dem gesucht wird): der große Zwilling, und als Kontrolle ein
            Netz, das nie ein Zeichen gesehen hat.

    Returns:
        Name → Ergebnis von ``examine_mark``, erst die fertigen, dann die neuen.
    """
    found = {name: examine_mark(model, dataset, mark, settings) for name, (model, mark) in (known or {}).items()}
    for name, mark in progress(marks.items(), total=len(marks), text="Labor", unit="Zwillinge"):
        found[name] = examine_mark(small_twin(dataset, mark, profile, n_train, settings.seed), dataset, mark, settings)
    return found


def table(results: dict):
    """Das Labor zum Lesen, als pandas.DataFrame: eine Zeile je Zeichen."""
    import pandas as pd

    rows = {}
    for name, result in results.items():
        place, groups = result["ort"], result["gruppen"]
        rows[name] = {
            "erkannt mit Zeichen": german(result["mit"], 2),
            "ohne Zeichen": german(result["ohne"], 2),
            "andere zusätzlich": german(result["andere"], 2),
            "Masse / Kanten": f"{german(place.value, 2)} [{german(place.low, 2)}; {german(place.high, 2)}]",
            "Reinheit der Gruppen": f"{german(groups.value, 2)} [{german(groups.low, 2)}; {german(groups.high, 2)}]",
            "gefunden": result["gefunden"],
        }
    return pd.DataFrame(rows).T


def figures(results: dict) -> dict:
    """Das Labor als Zahlen für ``kennzahlen.json``: Zeichen → Größe → Wert; Befunde als [Wert, tief, hoch]."""
    rounded = {}
    for name, result in results.items():
        rounded[name] = {key: round(result[key], 4) for key in ("mit", "ohne", "andere")}
        for key in ("ort", "gruppen"):
            each = result[key]
            rounded[name][key] = [round(number, 4) for number in (each.value, each.low, each.high)]
        rounded[name]["gefunden"] = result["gefunden"]
    return rounded


def uses_mark(result: dict, drop: float = 0.3) -> bool:
    """Verlässt sich das Netz auf das Zeichen? Ja, wenn die Klasse ohne Zeichen um mehr als ``drop`` schlechter ist."""
    return bool(np.subtract(result["mit"], result["ohne"]) > drop)
