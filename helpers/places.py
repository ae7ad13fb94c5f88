"""Stellen im Bild: Flecken hoher Relevanz, wer sie trägt, und ob sie fest liegen wie ein Stempel oder wie Stoff jedes
Mal anders. Hier kommt kein Netz vor, nur Bilder und eine Karte; gefragt wird das Netz in ``suspicion``.
"""

import numpy as np

LARGEST = 0.25  # eine Stelle ist höchstens ein Viertel des Bildes
# Gewählt an 36 Netzen mit und ohne zufällige Zeichen (64 × 64, Profil „schnell“): Der Rand benutzter Zeichen lag dort
# über 0,97, der großer Stellen aus Stoff (über 25 Pixel) fast immer unter 0,65.
FIXED, LOOSE = 0.9, 0.6  # fixed_edge: ab hier gestempelt, bis hier Gegenstand


def places(relevance, count: int = 8) -> list[np.ndarray]:
    """Flecken hoher Relevanz (h, b), scharf und geglättet, bei fallenden Schwellen: höchstens ``count`` Masken.

    Geordnet nach Summe durch Wurzel der Fläche; Flecken, die sich zu mehr als 60 % decken, zählen einmal.
    """
    from scipy.ndimage import binary_dilation, label, uniform_filter

    touching = np.ones((3, 3), bool)
    found, kept = [], []
    for values in (relevance, uniform_filter(relevance, 3)):
        for threshold in (0.6, 0.4, 0.25, 0.15):
            high = values > threshold * values.max()
            numbered, number = label(binary_dilation(high, touching))  # auch Punkte mit Lücken sind ein Fleck
            found += [high & (numbered == each) for each in range(1, number + 1)]
    found = [region for region in found if 0 < region.mean() <= LARGEST]
    for region in sorted(found, key=lambda region: -relevance[region].sum() / np.sqrt(region.sum())):
        if all((region & other).sum() <= 0.6 * (region | other).sum() for other in kept):
            kept.append(region)
    return kept[:count]


def groups(images, members, others, region, relevance) -> list[np.ndarray]:
    """Wer die Stelle tragen könnte: alle, oder eine von zwei Gruppen, wenn ihr Inhalt in zwei zerfällt.

    Der Inhalt ist das Mittel der Pixel, mit der Relevanz gewichtet, in Richtung des Unterschieds zu ``others``. Geteilt
    wird, wo die Streuung zwischen beiden Gruppen am größten ist (Otsu 1979), wenn sie 80 % der ganzen ausmacht; bei
    einer Normalverteilung wären es 64 %.

    Args:
        images: uint8, (N, h, b); members, others: Nummern der Bilder dieser und der anderen Klassen in der Suchhälfte.

    Returns:
        Eine oder zwei Masken, bool, (N,): Trägt das Bild die Stelle? Für alle gegebenen Bilder.
    """
    weights = np.where(region, np.maximum(relevance, 0), 0)
    weights *= np.sign(images[members].mean(axis=0) - images[others].mean(axis=0)) / max(weights.sum(), 1e-12)
    content = np.tensordot(images.astype(float), weights)
    values = np.sort(content[members])
    below = np.arange(1, len(values))
    low, high = values.cumsum()[:-1] / below, values[::-1].cumsum()[-2::-1] / below[::-1]
    between = below * below[::-1] / len(values) ** 2 * (high - low) ** 2
    cut = between.argmax()
    if between[cut] < 0.8 * values.var() or values.std() < 1:  # unter einer Graustufe: alle gleich
        return [np.ones(len(images), bool)]
    upper = content > (values[cut] + values[cut + 1]) / 2
    return [upper, ~upper]


def fixed_steps(images) -> tuple[np.ndarray, np.ndarray]:
    """Wie fest die Sprünge zwischen Nachbarpixeln liegen: nach unten (h − 1, b) und nach rechts (h, b − 1), ≥ 0.

    Der mittlere Sprung, vermindert um den größeren der beiden Nachbarsprünge gleicher Richtung, geteilt durch seine
    Streuung von Bild zu Bild plus 8 Graustufen: Ein Saum, der einmal hier und einmal ein Pixel weiter liegt, ergibt
    zwei halbe Sprünge nebeneinander und bleibt klein. ``images``: uint8, (n, h, b).
    """
    fixed = []
    for axis in (0, 1):
        steps = np.diff(images.astype(np.int16), axis=axis + 1)
        mean = steps.mean(axis=0)
        around = np.pad(mean, [(1, 1) if each == axis else (0, 0) for each in (0, 1)])
        before, after = (np.delete(around, rows, axis=axis) * np.sign(mean) for rows in ([-2, -1], [0, 1]))
        alone = np.abs(mean) - np.maximum(0, np.maximum(before, after))
        fixed.append(np.maximum(0, alone) / (steps.std(axis=0) + 8))
    return tuple(fixed)


def fixed_edge(region, steps) -> float:
    """Wie fest der Rand der Stelle liegt: der Median von ``fixed_steps`` über ihren Rand; 0 ohne Rand im Bild.

    Ein Stempel liegt immer auf denselben Pixeln (um 1 und mehr), der Saum eines Hemds jedes Mal anders (unter 0,6).
    """
    crossed = np.concatenate([values[np.diff(region, axis=axis)] for axis, values in enumerate(steps)])
    return float(np.median(crossed)) if len(crossed) else 0.0


def stamps(region, steps) -> list[np.ndarray]:
    """Was an der Stelle wie aufgestempelt aussieht: Inseln, die sie berührt und die ringsum ein fester Rand begrenzt.

    Eine Insel ist von außen nicht erreichbar, ohne einen Sprung zu überschreiten, der fester als eine Schwelle liegt.
    Auch Inseln mit einer Lücke von zwei Pixeln gehören zusammen (Punkte). Wo ein Kleidungsstück den Rand kreuzt, ist er
    lückenhaft: Deshalb drei Schwellen, am Ende zählt ``fixed_edge``.
    """
    from scipy.ndimage import binary_dilation, label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    touching, number, found = np.ones((3, 3), bool), np.arange(region.size).reshape(region.shape), []
    for cut in (FIXED, 2 / 3 * FIXED, FIXED / 3):
        down, right = (values < cut for values in steps)
        first = np.concatenate([number[:-1][down], number[:, :-1][right]])
        second = np.concatenate([number[1:][down], number[:, 1:][right]])
        joined = coo_array((np.ones(len(first)), (first, second)), (region.size, region.size))
        _, parts = connected_components(joined, directed=False)
        islands = (np.bincount(parts)[parts] <= LARGEST * region.size).reshape(region.shape)
        near, _ = label(binary_dilation(islands, touching), touching)
        found.append(islands & np.isin(near, near[region & islands]))
    return [mask for mask in found if 0 < mask.mean() <= LARGEST]


def infilled(images, region) -> np.ndarray:
    """Kopie von ``images``, an der Stelle mit dem nächsten Pixel außerhalb."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(region, return_distances=False, return_indices=True)
    return images[:, rows, columns]


def elsewhere(region, relevance, count: int, rng) -> list[np.ndarray]:
    """Gleich große Stellen, auf die keine Relevanz zeigt: die Stelle verschoben (über den Rand hinweg auf die andere
    Seite), möglichst ohne Überdeckung, zufällig aus dem unteren Viertel der Relevanz."""
    height, width = region.shape
    shifts = [(down, right) for down in range(0, height, 2) for right in range(0, width, 2) if down or right]
    moved = [np.roll(region, shift, axis=(0, 1)) for shift in shifts]
    overlap = np.array([(each & region).sum() for each in moved])
    free = np.flatnonzero(overlap == overlap.min())
    pointed = np.array([relevance[moved[each]].sum() for each in free])
    quiet = free[np.argsort(pointed)[: max(count, len(free) // 4)]]
    return [moved[each] for each in rng.permutation(quiet)[:count]]
