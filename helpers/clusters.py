"""Mehr als ein Bild: Relevanzkarten vieler Bilder in Gruppen ordnen (SpRAy).

Eine einzelne Karte kann täuschen. Zerfallen die Karten *einer* Klasse von selbst in Gruppen, dann entscheidet das Netz
dort auf verschiedene Arten, und eine davon kann Betrug sein. Niemand muss vorher wissen, wonach er sucht.

Lapuschkin et al. (2019), Unmasking Clever Hans predictors and assessing what machines really learn, Nature
Communications 10, 1096.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, german

GRID = 16
# So viele nächste Nachbarn hat jede Karte im Graphen.
NEIGHBORS = 8


def mixed_images(members, watermark) -> tuple[np.ndarray, np.ndarray]:
    """Jedes zweite Bild (uint8, (n, 28, 28)) bekommt das Zeichen: (Bilder, trägt es das Zeichen? bool (n,))."""
    truth = np.arange(len(members)) % 2 == 0
    return np.where(truth[:, None, None], watermark.stamp(members), members), truth


@dataclass(frozen=True)
class Grouping:
    """Zwei Gruppen von Karten.

    Attributes:
        groups: Gruppe je Bild (n,), 0 oder 1; Gruppe 1 hat ihre Relevanz enger beieinander.
        means: mittlere Karte je Gruppe (2, g, g), jede Karte zuvor auf Summe 1 gebracht.
        spot: (Zeile, Spalte) im Raster g × g, an der Gruppe 1 am meisten mehr Relevanz hat als Gruppe 0.
    """

    groups: np.ndarray
    means: np.ndarray
    spot: tuple[int, int]


def coarse_maps(maps) -> np.ndarray:
    """Verkleinert Karten (n, h, b) auf (n, g, g) mit g = ``GRID``: Betrag der Relevanz je Feld, Summe je Karte 1.

    Der Betrag zählt, damit nicht das Vorzeichen des Logits die Gruppen macht: Ist er negativ, ist bei α1β0 die ganze
    Karte negativ, und positive Relevanz gäbe es nirgends.

    Raises:
        CourseError: wenn sich die Kartengröße nicht durch ``GRID`` teilen lässt.
    """
    amounts = np.abs(np.asarray(maps, dtype=np.float64))
    count, height, width = amounts.shape
    if height % GRID or width % GRID:
        raise CourseError(
            f"Karten von {height} × {width} Pixeln lassen sich nicht in {GRID} × {GRID} Felder teilen: Wählen Sie eine "
            f"Bildgröße, die durch {GRID} teilbar ist."
        )
    blocks = amounts.reshape(count, GRID, height // GRID, GRID, width // GRID).sum(axis=(2, 4))
    total = blocks.sum(axis=(1, 2), keepdims=True)
    return np.divide(blocks, total, out=np.zeros_like(blocks), where=total > 0)


def group_maps(maps, seed: int = 0) -> Grouping:
    """Ordnet die Karten *einer* Klasse mit spektralem Clustern in zwei Gruppen.

    Karten werden verkleinert und auf Summe 1 gebracht; ähnlich heißt: unter den nächsten Nachbarn.

    Args:
        maps: (n, h, b), mindestens doppelt so viele wie ``NEIGHBORS``.
        seed: Startwert.

    Raises:
        CourseError: bei zu wenigen Karten oder einer Größe, die sich nicht teilen lässt.
    """
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import kneighbors_graph

    coarse = coarse_maps(maps)
    if len(coarse) < 2 * NEIGHBORS:
        raise CourseError(f"Zum Ordnen braucht es mindestens {german(2 * NEIGHBORS)} Karten, nicht {len(coarse)}.")
    # Die Wurzel dämpft einzelne Spitzen: Der Abstand ist der von Hellinger zwischen zwei Verteilungen.
    points = np.sqrt(coarse).reshape(len(coarse), -1)
    graph = kneighbors_graph(points, NEIGHBORS, include_self=True)
    affinity = 0.5 * (graph + graph.T)
    with warnings.catch_warnings():
        # Zerfällt der Graph ganz, warnt scikit-learn. Hier ist das kein Mangel, sondern der deutlichste Befund.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        clustering = SpectralClustering(2, affinity="precomputed", assign_labels="kmeans", random_state=seed)
        groups = clustering.fit_predict(affinity.toarray())
    means = np.stack([coarse[groups == group].mean(axis=0) for group in (0, 1)])
    if means[0].max() > means[1].max():
        groups, means = 1 - groups, means[::-1]
    spot = np.unravel_index((means[1] - means[0]).argmax(), means[0].shape)
    return Grouping(groups, means, (int(spot[0]), int(spot[1])))


def purity(groups, truth) -> np.ndarray:
    """1, wo die Gruppe des Bilds zu seinem Zeichen passt, sonst 0: (n,); die Gruppen dürfen vertauscht sein.

    Der Mittelwert ist die Reinheit: bei zwei zufälligen Gruppen etwas über 0,5, nie kleiner.

    Args:
        groups: Gruppe je Bild (n,), 0 oder 1.
        truth: Trägt das Bild das Zeichen? bool (n,).
    """
    hits = (np.asarray(groups) == np.asarray(truth, dtype=int)).astype(float)
    return hits if hits.mean() >= 0.5 else 1 - hits


def finds_mark(grouping: Grouping, mask, truth) -> bool:
    """Sitzt der Unterschied der Gruppen auf der Maske (h, b), und ist Gruppe 1 meist gezeichnet?"""
    cells = coarse_maps(np.asarray(mask, dtype=float)[None])[0] > 0
    return bool(cells[grouping.spot] and np.asarray(truth, dtype=bool)[grouping.groups == 1].mean() > 0.5)
