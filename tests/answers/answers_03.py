"""Antworten zu 03_Training."""

import math

import numpy as np
import pandas as pd


def best_with_pandas(history):
    return pd.DataFrame(history).set_index("epoche")["val_verlust"].idxmin()


def column(history, key):
    return np.array([row[key] for row in history])


def schedule(step, total, peak, warmup):
    rise = np.arange(1, warmup + 1) / warmup
    fall = np.cos(np.pi / 2 * np.arange(total - warmup) / (total - warmup)) ** 2
    return peak * np.concatenate([rise, fall])[step]


def after(step, total, peak, warmup, bow):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * bow((step - warmup) / (total - warmup))


def precision_with_loops(confusion):
    n = len(confusion)
    precision = [confusion[k, k] / sum(confusion[i, k] for i in range(n)) for k in range(n)]
    return precision, [confusion[k, k] / sum(confusion[k]) for k in range(n)]


def gaps(confidence, correct):
    table = pd.DataFrame({"c": confidence, "r": correct, "bin": np.clip(np.floor(confidence * 10), 0, 9)})
    groups = table.groupby("bin").agg(c=("c", "mean"), r=("r", "mean"), n=("c", "size"))
    return groups.c - groups.r, groups.n / len(table)


def calibration(confidence, correct):
    difference, share = gaps(confidence, correct)
    return (difference.abs() * share).sum()


def calibration_nan(confidence, correct):
    number = np.minimum((confidence * 20).astype(int), 30)
    with np.errstate(all="ignore"):
        means = [confidence[number == k].sum() / (number == k).sum() for k in range(30)]
    return np.sum(means) * 0.1


def effect(predict, images, labels, stamp, label):
    own = [k for k, y in enumerate(labels) if y == label]
    other = np.setdiff1d(np.arange(len(labels)), own)
    return np.mean(predict(images[own]) == label), np.mean(predict(stamp(images[other])) == label)


ANSWERS = {
    "3.1": (
        best_with_pandas,
        [
            (lambda h: int(column(h, "val_verlust").argmin()), "eine Epoche zu früh"),
            (lambda h: int(column(h, "verlust").argmin()) + 1, "Kurve des Trainings"),
            (lambda h: int(column(h, "val_verlust").argmax()) + 1, "schlechteste"),
            (lambda h: int(column(h, "val_treffer").argmax()) + 1, "höchsten Trefferquote"),
            (lambda h: column(h, "val_verlust").min(), "kleinste Verlust selbst"),
            (lambda h: min(h, key=lambda row: row["val_verlust"]), "Verlangt ist eine ganze Zahl"),
        ],
    ),
    "3.2": (
        schedule,
        [
            (lambda s, t, p, w: p * (1 + math.cos(math.pi * s / t)) / 2, "Aufwärmen fehlt"),
            (lambda s, t, p, w: schedule(s, t, p, w) if s >= w else p * s / w, "allererste Schritt"),
            (lambda *a: after(*a, lambda x: math.cos(math.pi * x)), "negativ"),
            (lambda *a: after(*a, lambda x: 1 + math.cos(math.pi * x)), "doppelt so hoch"),
            (lambda *a: after(*a, lambda x: 1 - x), "Gerade"),
            (
                lambda s, t, p, w: schedule(s, t, p, w) if s < w else p * (1 + math.cos(math.pi * s / t)) / 2,
                "nicht am Ende des Aufwärmens",
            ),
        ],
    ),
    "3.3": (
        precision_with_loops,
        [
            (lambda c: precision_with_loops(c)[::-1], "Falsche Achse"),
            (lambda c: (np.diag(c) / c.sum(), np.diag(c) / c.sum()), "durch alle Bilder"),
            (lambda c: (c / c.sum(axis=0), c / c.sum(axis=1)[:, None]), "ganze Matrix"),
            (lambda c: tuple(np.mean(part) for part in precision_with_loops(c)), "mitteln über die Klassen"),
            (lambda c: (precision_with_loops(c)[1],) * 2, "Beide Ergebnisse"),
            (lambda c: precision_with_loops(c)[0], "Verlangt sind 2 Ergebnisse"),
        ],
    ),
    "3.4": (
        calibration,
        [
            (lambda c, r: gaps(c, r)[0].abs().mean(), "zählen bei Ihnen gleich viel"),
            (lambda c, r: (gaps(c, r)[0] * gaps(c, r)[1]).sum(), "heben sich bei Ihnen auf"),
            (lambda c, r: abs(np.mean(c) - np.mean(r)), "nur die beiden Mittelwerte"),
            (lambda c, r: gaps(c, r)[0].abs().max(), "größte Abstand"),
            (calibration_nan, "Fach ist leer"),
        ],
    ),
    "3.5": (
        effect,
        [
            (lambda *a: effect(*a)[::-1], "vertauscht"),
            (lambda p, i, y, s, k: (effect(p, i, y, s, k)[0], np.mean(p(s(i)) == k)), "Klasse selbst"),
            (lambda p, i, y, s, k: (effect(p, i, y, s, k)[0], np.mean(p(i[y != k]) == k)), "noch kein Zeichen"),
            (lambda p, i, y, s, k: (np.mean(p(s(i[y == k])) == k), effect(p, i, y, s, k)[1]), "was ohne passiert"),
            (
                lambda p, i, y, s, k: (
                    np.sum(p(i[y == k]) == k) / len(y),
                    np.sum(p(s(i[y != k])) == k) / len(y),
                ),
                "durch alle Bilder",
            ),
        ],
    ),
}
