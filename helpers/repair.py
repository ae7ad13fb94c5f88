"""Reparatur: einem Netz eine Abkürzung abgewöhnen, die die Verdachtssuche gefunden hat.

Eine Abkürzung lebt davon, dass die Stelle die Klasse verrät. ``decorrelated`` würfelt den Inhalt der Stelle neu aus,
über alle Klassen: Danach verrät er nichts mehr, und ein paar Epochen weiter lernt das Netz, ohne ihn auszukommen. Dazu
braucht niemand das wahre Zeichen, der Verdacht genügt.

Finden, eingreifen, weiterlernen, noch einmal prüfen: so auch Pahde et al. (2023), Reveal to Revise, arXiv 2303.12641.
"""

import numpy as np

from helpers.basics import INPUT, CourseError, display_path, german, try_read_json, yes_no
from helpers.model import Run
from helpers.settings import Profile
from helpers.suspicion import Suspect
from helpers.training import train

EPOCHS = 3
STORED_REPEATS = INPUT / "startwerte.json"


def decorrelated(images, labels, suspects: list[Suspect], seed: int = 0) -> np.ndarray:
    """Kopie der Bilder (uint8, (n, h, b)), an jeder verdächtigen Stelle mit dem Inhalt eines zufälligen anderen.

    Die Hälfte bekommt ihn von einem Bild der verdächtigen Klasse, die andere von einem der übrigen, gleich welche
    Klasse (``labels``, (n,)) das Bild selbst hat.

    Raises:
        CourseError: wenn von einer verdächtigen Klasse oder von allen übrigen kein Bild da ist.
    """
    rng, labels, changed = np.random.default_rng(seed), np.asarray(labels), np.array(images)
    for suspect in suspects:
        mine = labels == suspect.label
        if mine.all() or not mine.any():
            raise CourseError(
                f"Zur Reparatur gehören Bilder der Klasse {suspect.label} und anderer Klassen: Nehmen Sie die Bilder, "
                "mit denen das Netz gelernt hat."
            )
        sides = [rng.choice(np.flatnonzero(side), len(images)) for side in (mine, ~mine)]
        donors = np.where(rng.permutation(len(images)) % 2, *sides)
        changed = np.where(suspect.region, np.asarray(images)[donors], changed)
    return changed


def repair(model, images, labels, suspects: list[Suspect], profile: Profile, seed: int = 0, epochs=EPOCHS) -> Run:
    """Lernt mit ``decorrelated`` weiter, von den Gewichten des Modells aus; das Modell selbst bleibt, wie es ist.

    Args:
        model: das Netz mit der Abkürzung.
        images, labels: womit es gelernt hat, uint8, (n, 28, 28) und (n,).
        suspects: was die Suche gefunden hat, etwa alle mit dem Urteil „Abkürzung“.
        profile: Einstellungen des Trainings.
    """
    changed = decorrelated(images, labels, suspects, seed)
    return train(changed, labels, profile, seed, epochs, weights=model)


def repeats(path=STORED_REPEATS):
    """Wie oft es gut ging, als pandas.DataFrame: je Startwert Zeichen, Fund der Suche und die drei Netze.

    Raises:
        CourseError: wenn die Datei fehlt oder beschädigt ist.
    """
    import pandas as pd

    rows = []
    try:
        for row in try_read_json(path, {})["wege"]:
            nets, accused = row["netze"], row["beschuldigt"]
            shown = {"Startwert": row["seed"], "Suche, Zwilling": f"{row['punkte']} von 3 Punkten"}
            shown["Suche, Kontrolle"] = "beschuldigt" if accused["Kontrolle"] else "nichts"
            for key, title in (("ohne_zeichen", "ohne Zeichen"), ("trefferquote", "Trefferquote")):
                shown |= {f"{title}, {name}": german(each[key], 2) for name, each in nets.items()}
            kept = {name: each["ohne_zeichen"] for name, each in nets.items()}
            shown["Reparatur genügt (neun Zehntel)"] = yes_no(kept["repariert"] >= 0.9 * kept["Kontrolle"])
            rows.append(shown)
    except (KeyError, TypeError):
        raise CourseError(
            f"{display_path(path)} fehlt oder ist beschädigt: „python -m helpers startwerte“ macht es neu."
        ) from None
    return pd.DataFrame(rows).set_index("Startwert")
