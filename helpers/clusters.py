"""Mehr als ein Bild: Relevanzkarten vieler Bilder in Gruppen ordnen (SpRAy).

Eine einzelne Karte kann täuschen. Zerfallen die Karten *einer* Klasse von selbst in Gruppen, dann entscheidet das Netz
dort auf verschiedene Arten, und eine davon kann eine Abkürzung sein. Wie viele Gruppen es sind, liest ``group_count``
am Abstand der Eigenwerte ab (*eigengap*), ``spray`` bildet so viele, ``group_maps`` zwei.

Lapuschkin et al. (2019), Unmasking Clever Hans predictors and assessing what machines really learn, Nature
Communications 10, 1096.
"""

import warnings
from collections import namedtuple

import numpy as np

from helpers.basics import CourseError
from helpers.places import infilled

GRID = 16
NEIGHBORS = 8  # so viele nächste Nachbarn hat jede Karte im Graphen
Grouping = namedtuple("Grouping", "groups means spot")  # siehe group_maps


def mixed_images(carrying, region) -> tuple[np.ndarray, np.ndarray]:
    """Bei jedem zweiten Bild (uint8, (n, h, b) oder farbig) wird die Stelle (h, b), bool, mit den nächsten gefüllt.

    Returns:
        Die Bilder, und ob eines die Stelle noch trägt, bool (n,).
    """
    carries = np.arange(len(carrying)) % 2 == 0
    chosen = carries.reshape(-1, *[1] * (np.ndim(carrying) - 1))
    return np.where(chosen, carrying, infilled(carrying, region)), carries


def coarse_maps(maps) -> np.ndarray:
    """Verkleinert Karten (n, h, b) auf (n, g, g) mit g = ``GRID``: Betrag der Relevanz je Feld, Summe je Karte 1.

    Der Betrag zählt, damit nicht das Vorzeichen des Logits die Gruppen macht: Ist er negativ, ist bei α1β0 die ganze
    Karte negativ, und positive Relevanz gäbe es nirgends.
    """
    blocks = np.abs(np.asarray(maps, dtype=np.float64))
    for axis in (1, 2):
        blocks = np.add.reduceat(blocks, np.arange(GRID) * blocks.shape[axis] // GRID, axis=axis)
    total = blocks.sum(axis=(1, 2), keepdims=True)
    return np.divide(blocks, total, out=np.zeros_like(blocks), where=total > 0)


def _neighbors(maps):
    """(verkleinerte Karten (n, g, g), wer wem ähnlich ist (n, n)); CourseError bei zu wenigen Karten."""
    from sklearn.neighbors import kneighbors_graph

    coarse = coarse_maps(maps)
    if len(coarse) < 2 * NEIGHBORS:
        raise CourseError(f"{len(coarse)} Karten lassen sich nicht ordnen: Nehmen Sie mindestens {2 * NEIGHBORS}.")
    # Die Wurzel dämpft einzelne Spitzen: Der Abstand ist der von Hellinger zwischen zwei Verteilungen.
    graph = kneighbors_graph(np.sqrt(coarse).reshape(len(coarse), -1), NEIGHBORS, include_self=True).toarray()
    return coarse, (graph + graph.T) / 2


def group_count(maps, most: int = 5) -> int:
    """In wie viele Gruppen die Karten *einer* Klasse (n, h, b) zerfallen, 1 bis ``most``.

    So viele Eigenwerte des normierten Graphen liegen vor dem größten Abstand zum nächsten. Von Luxburg (2007), A
    Tutorial on Spectral Clustering, arXiv 0711.0189, Abschnitt 8.3.

    Raises:
        CourseError: bei weniger als doppelt so vielen Karten wie ``NEIGHBORS``.
    """
    return _eigengap(_neighbors(maps)[1], most)


def _eigengap(graph, most: int = 5) -> int:
    """So viele Eigenwerte vor dem größten Abstand zum nächsten."""
    from scipy.sparse.csgraph import laplacian

    values = np.linalg.eigvalsh(laplacian(graph, normed=True))
    return int(np.diff(values[: most + 1]).argmax()) + 1


def _clustered(graph, count: int, seed: int) -> np.ndarray:
    """Nummer der Gruppe je Karte, (n,): spektrales Clustern, ähnlich sind Nachbarn."""
    from sklearn.cluster import SpectralClustering

    with warnings.catch_warnings():
        # Zerfällt der Graph ganz, warnt scikit-learn. Hier ist das kein Mangel, sondern der deutlichste Befund.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        return SpectralClustering(count, affinity="precomputed", random_state=seed).fit_predict(graph)


def spray(maps, seed: int = 0) -> list[np.ndarray]:
    """Die Gruppen, in die die Karten *einer* Klasse (n, h, b) zerfallen, so viele wie ``group_count``: bool (n,).

    Raises:
        CourseError: wie ``group_count``.
    """
    _, graph = _neighbors(maps)
    found = _clustered(graph, _eigengap(graph), seed)
    return [found == each for each in np.unique(found)]


def group_maps(maps, seed: int = 0) -> Grouping:
    """Ordnet die Karten *einer* Klasse (n, h, b) in zwei Gruppen.

    Returns:
        ``groups``: Gruppe je Bild (n,), 0 oder 1; Gruppe 1 hat ihre Relevanz enger beieinander. ``means``: mittlere
        Karte je Gruppe (2, g, g), jede Karte zuvor auf Summe 1 gebracht. ``spot``: (Zeile, Spalte) im Raster g × g, an
        der Gruppe 1 am meisten mehr Relevanz hat als Gruppe 0.

    Raises:
        CourseError: bei weniger als doppelt so vielen Karten wie ``NEIGHBORS``.
    """
    coarse, graph = _neighbors(maps)
    groups = _clustered(graph, 2, seed)
    means = np.stack([coarse[groups == group].mean(axis=0) for group in (0, 1)])
    if means[0].max() > means[1].max():
        groups, means = 1 - groups, means[::-1]
    return Grouping(groups, means, divmod(int((means[1] - means[0]).argmax()), GRID))


def purity(groups, truth) -> np.ndarray:
    """1, wo die Gruppe des Bilds dazu passt, ob es die Stelle trägt, sonst 0: (n,); die Gruppen dürfen vertauscht sein.

    Der Mittelwert ist die Reinheit: bei zwei zufälligen Gruppen etwas über 0,5, nie kleiner. ``truth``: Trägt das Bild
    die Stelle? bool (n,). Ihr Intervall hat ``trust.purity``.
    """
    hits = (np.asarray(groups) == truth).astype(float)
    return hits if hits.mean() >= 0.5 else 1 - hits


def finds_mark(grouping: Grouping, mask, truth) -> bool:
    """Sitzt der Unterschied der Gruppen auf der Maske (h, b), und ist Gruppe 1 meist markiert (bool, (n,))?"""
    on_mask = coarse_maps(mask[None])[0][grouping.spot] > 0
    return bool(on_mask and truth[grouping.groups == 1].mean() > 0.5)
