"""Stellen im Bild: Flecken hoher Relevanz, wer sie trägt, und ob sie fest liegen wie ein Stempel oder wie Stoff jedes
Mal anders. Hier kommt kein Netz vor, nur Bilder und eine Karte; gefragt wird das Netz in ``suspicion``.

Bilder sind grau (n, h, b) oder farbig (n, h, b, 3). Alle Maße gelten für ein Raster von etwa 28 × 28 Feldern: In einem
größeren Bild steht ein Feld aus ``cell`` × ``cell`` Pixeln, wo sonst ein Pixel steht. Masken haben immer Bildgröße.
"""

import numpy as np

LARGEST = 0.25  # eine Stelle ist höchstens ein Viertel des Bildes
# Gewählt an 55 Netzen mit und ohne zufällige Zeichen (64 × 64, Profil „schnell“), keines davon in der Tafel der
# Blindprobe: Der Rand benutzter Zeichen lag dort meist über 0,75, der großer Stellen aus Stoff (über 25 Pixel) fast
# immer unter 0,65. Darüber lagen auch kleine Stellen aus Stoff; verpflanzt bewirkten sie nichts.
FIXED, LOOSE = 0.7, 0.6  # fixed_edge: ab hier gestempelt, bis hier Gegenstand
STEP = 32  # so viele Graustufen eines Sprungs zählen dafür, wer die Stelle trägt
ISLANDS = (0.9, 0.6, 0.3)  # so fest ist ein Rand, der in ``stamps`` eine Insel begrenzt


def cell(shape) -> int:
    """Kante eines Felds in Pixeln: 1 bei Bildern (h, b, …) bis 41 Pixel, 2 bei 64, 8 bei 224."""
    return max(1, round(max(shape[:2]) / 28))


def box(region) -> tuple[int, int, int, int]:
    """Oberste und unterste Zeile, linke und rechte Spalte einer Maske (h, b)."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def over_colors(region, images) -> np.ndarray:
    """Eine Maske (h, b) so, dass sie sich zu Bildern fügt: Sie gilt für alle Farben."""
    return region if images.ndim == 3 else region[..., None]


def places(relevance, count: int = 8) -> list[np.ndarray]:
    """Flecken hoher Relevanz (h, b), scharf und geglättet, bei fallenden Schwellen: höchstens ``count`` Masken.

    Geordnet nach Summe durch Wurzel der Fläche; Flecken, die sich zu mehr als 60 % decken, zählen einmal.
    """
    from scipy.ndimage import binary_dilation, label, uniform_filter

    touching, shape, size = np.ones((3, 3), bool), relevance.shape, cell(relevance.shape)
    found, kept = [], []
    for axis in (0, 1) if size > 1 else ():
        relevance = np.add.reduceat(relevance, np.arange(0, shape[axis], size), axis=axis)
    for values in (relevance, uniform_filter(relevance, 3)):
        for threshold in (0.6, 0.4, 0.25, 0.15):
            high = values > threshold * values.max()
            numbered, number = label(binary_dilation(high, touching))  # auch Punkte mit Lücken sind ein Fleck
            found += [high & (numbered == each) for each in range(1, number + 1)]
    found = [region for region in found if 0 < region.mean() <= LARGEST]
    for region in sorted(found, key=lambda region: -relevance[region].sum() / np.sqrt(region.sum())):
        if all((region & other).sum() <= 0.6 * (region | other).sum() for other in kept):
            kept.append(region)
    rows, columns = (np.arange(edge) // size for edge in shape)
    return [region[np.ix_(rows, columns)] for region in kept[:count]]


def carriers_by_content(images, members, others, region, relevance) -> list[np.ndarray]:
    """Wer die Stelle tragen könnte: alle, oder eine von zwei Gruppen, wenn ihr Inhalt in zwei zerfällt.

    Der Inhalt ist das Mittel der Pixel, mit der Relevanz gewichtet, in Richtung des Unterschieds zu ``others``.

    Args:
        images: uint8, (N, h, b) oder (N, h, b, 3).
        members, others: Nummern der Bilder dieser und der anderen Klassen in der Suchhälfte.

    Returns:
        Eine oder zwei Masken, bool, (N,): Trägt das Bild die Stelle? Für alle gegebenen Bilder.
    """
    weights = np.where(region, np.maximum(relevance, 0), 0)
    direction = np.sign(images[members].mean(axis=0) - images[others].mean(axis=0))
    if images.ndim == 4:  # der Mittelwert der Farben, damit es Graustufen bleiben
        direction = direction / 3
    weights = over_colors(weights, images) * (direction / max(weights.sum(), 1e-12))
    step = max(1, 2**24 // images[0].size)  # so viele auf einmal, wie in 128 MB passen
    parts = (images[start : start + step].astype(float) for start in range(0, len(images), step))
    content = np.concatenate([np.tensordot(part, weights, weights.ndim) for part in parts])
    return _halves(content, members, 1 if images.ndim == 3 else 8)  # Photographien rauschen und sind verkleinert


def carriers_by_edge(images, members, region) -> list[np.ndarray]:
    """Wie ``carriers_by_content``, nach dem Rand der Stelle: dem mittleren Sprung von außen nach innen.

    Ein helles Zeichen auf hellem Stoff ändert die Stelle weniger, als es der Stoff von Bild zu Bild tut; an ihrem Rand
    ist ohne Zeichen meist kein Sprung. Jeder zählt in der Richtung, die er im Mittel hat, und höchstens ``STEP``: Sonst
    entschiede, wie dunkel der Stoff ist.
    """
    size, found = cell(region.shape), []
    for axis, last in enumerate(np.array(region.shape) - 1):
        crossed = np.argwhere(np.diff(region, axis=axis)).T
        steps = np.zeros((len(images), crossed.shape[1], *images.shape[3:]), np.float32)
        for each in range(size):  # ein Feld weit nach beiden Seiten
            before, after = crossed.copy(), crossed.copy()
            before[axis] = np.maximum(crossed[axis] - each, 0)
            after[axis] = np.minimum(crossed[axis] + 1 + each, last)
            steps += (images[:, *after].astype(np.float32) - images[:, *before]) / size
        found.append(steps.reshape(len(images), -1))
    steps = np.concatenate(found, axis=1)
    content = np.clip(steps * np.sign(steps[members].mean(axis=0)), -STEP, STEP).mean(axis=1)
    return _halves(content, members, 8)


def _halves(content, members, least: float) -> list[np.ndarray]:
    """Eine oder zwei Masken, bool, (N,): alle, oder die Gruppen, in die ``content`` (N,) bei ``members`` zerfällt.

    Geteilt wird, wo die Streuung zwischen beiden am größten ist (Otsu 1979), wenn sie 80 % der ganzen ausmacht; bei
    einer Normalverteilung wären es 64 %. ``least``: So viel muss ``content`` mindestens streuen.
    """
    values = np.sort(content[members])
    below = np.arange(1, len(values))
    low, high = values.cumsum()[:-1] / below, values[::-1].cumsum()[-2::-1] / below[::-1]
    between = below * below[::-1] / len(values) ** 2 * (high - low) ** 2
    cut = between.argmax()
    if between[cut] < 0.8 * values.var() or values.std() < least:
        return [np.ones(len(content), bool)]
    upper = content > (values[cut] + values[cut + 1]) / 2
    return [upper, ~upper]


def fixed_steps(images) -> tuple[np.ndarray, np.ndarray]:
    """Wie fest die Sprünge zwischen Nachbarfeldern liegen: nach unten (h − 1, b) und nach rechts (h, b − 1), ≥ 0.

    Der mittlere Sprung, vermindert um den größeren der beiden Nachbarsprünge gleicher Richtung, geteilt durch seine
    Streuung von Bild zu Bild plus 8 Graustufen: Ein Saum, der einmal hier und einmal ein Feld weiter liegt, ergibt
    zwei halbe Sprünge nebeneinander und bleibt klein. ``images``: uint8, (n, h, b) oder (n, h, b, 3); von den Farben
    zählt an jedem Ort die mit dem festesten Sprung.
    """
    if images.ndim == 4:
        colors = [fixed_steps(images[..., color]) for color in range(images.shape[-1])]
        return tuple(np.max(each, axis=0) for each in zip(*colors, strict=True))
    size, fixed = cell(images.shape[1:]), []
    for axis in (1, 2):
        # Summen von Anfang an: Zwei Felder, die an einer Grenze aneinanderstoßen, unterscheiden sich um sums[2] −
        # 2·sums[1] + sums[0], und das an jeder Pixelgrenze, nicht nur an denen eines Rasters.
        around = [(size, size - 1) if each == axis else (0, 0) for each in (0, 1, 2)]
        sums = np.pad(images, around, mode="edge").astype(np.int32).cumsum(axis=axis, dtype=np.int32)
        length = images.shape[axis] - 1
        low, middle, high = (sums.take(range(k * size, k * size + length), axis=axis) for k in (0, 1, 2))
        steps = high - 2 * middle + low
        mean = steps.mean(axis=0) / size
        around = np.pad(mean, [(size, size) if each == axis else (0, 0) for each in (1, 2)])
        before, after = (around.take(range(k, k + length), axis=axis - 1) for k in (0, 2 * size))
        alone = np.abs(mean) - np.maximum(0, np.maximum(before * np.sign(mean), after * np.sign(mean)))
        fixed.append(np.maximum(0, alone) / (steps.std(axis=0) / size + 8))
    return tuple(fixed)


def fixed_edge(region, steps) -> float:
    """Wie fest der Rand der Stelle liegt: der Median von ``fixed_steps`` über ihren Rand; 0 ohne Rand im Bild.

    In großen Bildern zählt der festeste Sprung in der Nähe, ein halbes Feld weit. Ein Stempel liegt immer auf denselben
    Pixeln (um 1 und mehr), der Saum eines Hemds jedes Mal anders (unter 0,6).
    """
    from scipy.ndimage import maximum_filter1d

    near = 2 * (cell(region.shape) // 2) + 1
    steps = [maximum_filter1d(values, near, axis=axis) for axis, values in enumerate(steps)]
    crossed = np.concatenate([values[np.diff(region, axis=axis)] for axis, values in enumerate(steps)])
    return float(np.median(crossed)) if len(crossed) else 0.0


def stamps(region, steps) -> list[np.ndarray]:
    """Was an der Stelle wie aufgestempelt aussieht: Inseln, die sie berührt und die ringsum ein fester Rand begrenzt.

    Eine Insel ist von außen nicht erreichbar, ohne einen Sprung zu überschreiten, der fester als eine Schwelle liegt.
    Auch Inseln mit einer Lücke von zwei Feldern gehören zusammen (Punkte). Wo ein Gegenstand den Rand kreuzt, ist er
    lückenhaft: Deshalb drei Schwellen, am Ende zählt ``fixed_edge``.
    """
    from scipy.ndimage import binary_dilation, label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    touching, number, found = np.ones((3, 3), bool), np.arange(region.size).reshape(region.shape), []
    for cut in ISLANDS:
        down, right = (values < cut for values in steps)
        first = np.concatenate([number[:-1][down], number[:, :-1][right]])
        second = np.concatenate([number[1:][down], number[:, 1:][right]])
        joined = coo_array((np.ones(len(first)), (first, second)), (region.size, region.size))
        _, parts = connected_components(joined, directed=False)
        islands = (np.bincount(parts)[parts] <= LARGEST * region.size).reshape(region.shape)
        near, _ = label(binary_dilation(islands, touching, iterations=cell(region.shape)), touching)
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
    (height, width), step = region.shape, 2 * cell(region.shape)
    shifts = [(down, right) for down in range(0, height, step) for right in range(0, width, step) if down or right]
    moved = [np.roll(region, shift, axis=(0, 1)) for shift in shifts]
    overlap = np.array([(each & region).sum() for each in moved])
    free = np.flatnonzero(overlap == overlap.min())
    pointed = np.array([relevance[moved[each]].sum() for each in free])
    quiet = free[np.argsort(pointed)[: max(count, len(free) // 4)]]
    return [moved[each] for each in rng.permutation(quiet)[:count]]
