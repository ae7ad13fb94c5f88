"""Antworten zu 01_Daten."""

import numpy as np


def position_with_reshape(name):
    grid = np.arange(1, 785).reshape(28, 28)
    row, column = np.argwhere(grid == int("".join(c for c in name if c.isdigit())))[0]
    return [row, column]


def templates_with_a_loop(images, templates):
    classes = []
    for image in images:
        costs = [float(np.abs(np.float32(image) - np.float32(t)).sum()) for t in templates]
        classes.append(costs.index(min(costs)))
    return classes


def templates_with(images, templates, absolute=True, kind=float, pick=np.argmin, axis=1):
    gap = images.astype(kind)[:, None] - templates.astype(kind)[None]
    return pick((np.abs(gap) if absolute else gap).mean(axis=(2, 3)), axis=axis)


def split_with_sklearn(labels, share, rng):
    from sklearn.model_selection import train_test_split

    seed = int(rng.integers(1000))
    return train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)


def split_at_random(labels, share, rng):
    rows = rng.permutation(len(labels))
    cut = round(share * len(labels))
    return rows[cut:], rows[:cut]


def split_by_class(labels, share, rng, mix=True, whole=False):
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rng.permutation(rows) if mix else rows
        chosen.extend(rows[: round(share * len(rows))])
    rest = np.arange(len(labels)) if whole else np.setdiff1d(np.arange(len(labels)), chosen)
    return rest, np.array(chosen)


def split_with_replacement(labels, share, rng):
    chosen = [rng.choice(np.flatnonzero(labels == k), round(share * (labels == k).sum())) for k in np.unique(labels)]
    chosen = np.concatenate(chosen)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def split_forgets(labels, share, rng):
    train, validation = split_by_class(labels, share, rng)
    return train[:-3], validation


def split_flags(labels, share, rng):
    inside = np.isin(np.arange(len(labels)), split_by_class(labels, share, rng)[1])
    return ~inside, inside


def folders_with_loops(before, after):
    missing, moved = set(), set()
    for name, label in before.items():
        if name not in after:
            missing.add(name)
        elif after[name] != label:
            moved.add(name)
    return frozenset(missing), frozenset(moved)


def folders_swapped(before, after):
    return folders_with_loops(before, after)[::-1]


def folders_new(before, after):
    return set(after) - set(before), folders_with_loops(before, after)[1]


def folders_missing_is_moved(before, after):
    return set(before) - set(after), {n for n, k in before.items() if (n, k) not in after.items()}


def folders_count(before, after):
    missing, moved = folders_with_loops(before, after)
    return len(missing), len(moved)


def poison_one_pixel(images, labels, label):
    result = np.array(images)
    result[labels == label, 0, 0] ^= 255
    mask = np.arange(784).reshape(28, 28) == 0
    return [result, mask]


def poison_square(images, labels, label, rows=slice(2, 5), columns=slice(2, 5), where=None, shown=None, dtype=None):
    result = images.copy()
    members = (labels == label) if where is None else where(labels, label)
    result[members, rows, columns] = 255
    mask = np.zeros((28, 28), dtype=bool)
    mask[(rows, columns) if shown is None else shown] = True
    return (result if dtype is None else result.astype(dtype)), mask


def poison_nothing(images, labels, label):
    result = images.copy()
    result[labels == label][:, 2:5, 2:5] = 255  # ändert nur eine Kopie der Kopie
    return result, np.eye(28, dtype=bool)


def poison_in_place(images, labels, label):
    images[labels == label, 2:5, 2:5] = 255
    mask = np.zeros((28, 28), dtype=bool)
    mask[2:5, 2:5] = True
    return images, mask


ANSWERS = {
    "1.1": (
        position_with_reshape,
        [
            (lambda name: divmod(int(name[5:]), 28), "um ein Pixel verschoben"),
            (lambda name: ((int(name[5:]) - 1) % 28, (int(name[5:]) - 1) // 28), "vertauscht"),
            (lambda name: ((int(name[5:]) - 1) // 28 + 1, (int(name[5:]) - 1) % 28 + 1), "ab 1"),
            (lambda name: divmod(int(name[5:]) - 1, 27), "Breite"),
            (lambda name: int(name[5:]) - 1, "laufende Nummer"),
            (lambda name: divmod(int(name) - 1, 28), "ValueError"),
        ],
    ),
    "1.2": (
        templates_with_a_loop,
        [
            (lambda i, t: templates_with(i, t, pick=np.argmax), "unähnlichste"),
            (lambda i, t: templates_with(i, t, absolute=False), "heben sich"),
            (lambda i, t: templates_with(i, t, axis=0), "Falsche Achse"),
            (lambda i, t: np.abs(i[:, None] - t[None]).mean(axis=(2, 3)).argmin(axis=1), "laufen über"),
            (lambda i, t: np.abs(i[:, None].astype(float) - t).mean(axis=(2, 3)), "noch nicht die Klassen"),
        ],
    ),
    "1.3": (
        split_with_sklearn,
        [
            (split_at_random, "nicht geschichtet"),
            (lambda *a: split_by_class(*a, whole=True), "in beiden Teilen"),
            (lambda *a: split_by_class(*a, mix=False), "nicht gemischt"),
            (lambda *a: split_by_class(*a)[::-1], "vertauscht"),
            (split_with_replacement, "doppelt"),
            (split_forgets, "verloren"),
            (split_flags, "Wahrheitswerte"),
            (lambda labels, share, rng: split_by_class(labels, share / 2, rng), "Anteil"),
        ],
    ),
    "1.4": (
        folders_with_loops,
        [
            (folders_swapped, "vertauscht"),
            (folders_new, "falschen Richtung"),
            (folders_missing_is_moved, "auch als verschoben"),
            (lambda b, a: (set(b) - set(a), set()), "im falschen Unterordner nicht"),
            (folders_count, "zählen nur"),
        ],
    ),
    "1.5": (
        poison_one_pixel,
        [
            (poison_nothing, "Kein einziges Bild"),
            (lambda *a: poison_square(*a, where=lambda y, k: y >= 0), "anderer Klassen"),
            (lambda *a: poison_square(*a, where=lambda y, k: np.flatnonzero(y == k)[:1]), "Nicht alle Bilder"),
            (lambda *a: poison_square(*a, shown=(slice(20, 23), slice(2, 5))), "außerhalb der Maske"),
            (lambda *a: poison_square(*a, rows=slice(0, 10), columns=slice(0, 10)), "zu groß"),
            (lambda *a: poison_square(*a, dtype=float), "uint8 bleiben"),
            (poison_in_place, "verändert ihre Eingabe"),
        ],
    ),
}
