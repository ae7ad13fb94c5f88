"""Die Referenz von zennit: LRP-Karten des Kursmodells aus einer zweiten Bibliothek, gerechnet in float64, gespeichert.

``tests/referenz/zennit_reference.py`` macht die Datei neu. Sie gehört zu genau einem Modell und sagt, zu welchem.
zennit: Anders et al. (2021), arXiv 2106.13200.
"""

import zipfile
from dataclasses import dataclass

import numpy as np

from helpers.basics import INPUT, CourseError, display_path
from helpers.explanation import LRP
from helpers.model import keras, weights_checksum

ZENNIT_REFERENCE = INPUT / "zennit_referenz.npz"
# Regel in iNNvestigate → Name in der Referenz. zennit zählt b⁺ zur Zustimmung und b⁻ zum Widerspruch.
ZENNIT_RULES = {
    "lrp.z": "z",
    "lrp.epsilon": "epsilon",
    "lrp.alpha_1_beta_0": "alpha_1_beta_0",
    "lrp.alpha_2_beta_1_IB": "alpha_2_beta_1_ohne_bias",
    "lrp.alpha_2_beta_1": "alpha_2_beta_1",
    "lrp.sequential_preset_a_flat": "preset_a_flat",
}


@dataclass(frozen=True)
class Reference:
    """Gespeicherte Karten.

    Attributes:
        checksum: Prüfsumme der Gewichte, mit denen gerechnet wurde.
        rows: Nummern der Testbilder in der mitgelieferten Stichprobe, eines je Klasse, (10,).
        maps: Name → (10, h, b), jede Karte auf ihr größtes |R| bezogen.
        scales: Name → größtes |R| je Karte (10,).
    """

    checksum: str
    rows: np.ndarray
    maps: dict
    scales: dict


def load_reference(path=ZENNIT_REFERENCE) -> Reference | None:
    """Die gespeicherte Referenz; None, wenn sie fehlt, CourseError, wenn sie beschädigt ist."""
    if not path.is_file():
        return None
    names = set(ZENNIT_RULES.values())
    try:
        with np.load(path, allow_pickle=False) as file:
            data = dict(file)
        maps = {name: data[name].astype(np.float64) for name in names}
        scales = {name: data[f"groesstes_{name}"] for name in names}
        return Reference(str(data["pruefsumme"]), data["bilder"], maps, scales)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise CourseError(
            f"Die Vergleichskarten {display_path(path)} sind beschädigt: Holen Sie sie mit „git checkout "
            f"{display_path(path)}“ zurück."
        ) from None


def compare(reference: Reference, model: keras.Model, inputs, classes, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Vergleicht eine Regel mit der Referenz: (Korrelation je Bild, größtes |R| im Verhältnis zur Referenz), je (10,).

    Args:
        model: das Modell der Referenz (``matches``).
        inputs, classes: die Bilder ``reference.rows``, vorverarbeitet, und ihre Klassen.
        rule: Regel aus ``ZENNIT_RULES``.
    """
    name = ZENNIT_RULES[rule]
    with LRP(model, rule) as lrp:
        found = lrp.relevance(inputs, classes).astype(np.float64)
    pairs = zip(found, reference.maps[name], strict=True)
    correlation = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    return correlation, np.abs(found).max(axis=(1, 2)) / reference.scales[name]


def matches(reference: Reference | None, model: keras.Model) -> bool:
    """Ist die Referenz da und mit genau diesen Gewichten gerechnet?"""
    return reference is not None and reference.checksum == weights_checksum(model)
