"""Antworten zu 04_GradCAM."""

import numpy as np


def cam(maps, gradients, relu=True, average=(1, 2), cut=lambda w: w):
    weights = cut(gradients.mean(axis=average, keepdims=True))
    total = (maps * weights).sum(axis=3)
    return np.where(total > 0, total, 0) if relu else total


def cam_with_einsum(maps, gradients):
    alpha = np.einsum("nhwk->nk", gradients) / (gradients.shape[1] * gradients.shape[2])
    return np.clip(np.einsum("nhwk,nk->nhw", maps, alpha), 0, None)


def mass(cams, mask, prepare=lambda c: np.clip(c, 0, None)):
    return [float(prepare(c)[mask].sum() / prepare(c).sum()) for c in cams]


def flips(before, after, labels, target):
    result = np.zeros(10)
    for c in range(10):
        answers = [(b, a) for b, a, y in zip(before, after, labels, strict=True) if y == c and b != target]
        result[c] = sum(a == target for _, a in answers) / len(answers)
    return result


def per_class(rows, labels, count=np.mean):
    return np.array([count(rows[labels == c]) for c in range(10)])


def curve(predict, image, heatmap, label, steps, sign=-1, keep=True):
    rank = np.argsort(np.argsort(sign * heatmap, axis=None)).reshape(image.shape)
    values, last = [], 0
    for step in range(steps + 1):
        amount = round(step * image.size / steps)
        hidden = (rank < amount) if keep else (rank < amount) & (rank >= last)
        values.append(predict(np.where(hidden, 0, image)[None])[0][label])
        last = amount
    return values


def curve_of_winner(predict, image, heatmap, label, steps):
    return curve(lambda x: np.repeat(predict(x).max(axis=1, keepdims=True), 4, axis=1), image, heatmap, label, steps)


def curve_destroys_the_image(predict, image, heatmap, label, steps):
    order = np.argsort(-heatmap.ravel())
    values = []
    for step in range(steps + 1):
        image.ravel()[order[: round(step * order.size / steps)]] = 0
        values.append(predict(image[None])[0, label])
    return values


def trick(mask, background=1.0, peak=2.0, inside=True):
    result = np.full(mask.shape, background)
    result[tuple(np.argwhere(mask if inside else ~mask)[-1])] += peak
    return result


ANSWERS = {
    "4.1": (
        cam_with_einsum,
        [
            (lambda m, g: cam(m, g, relu=False), "ReLU am Ende fehlt"),
            (lambda m, g: cam(m, g, average=-1), "Falsche Achse"),
            (lambda m, g: np.maximum(np.sum(m * g, axis=-1), 0), "zweite Schritt fehlt"),
            (lambda m, g: cam(m, g, relu=False, cut=lambda w: np.maximum(w, 0)), "Gewichte ab statt der Summe"),
            (lambda m, g: np.sum(m, axis=-1), "Gewichte fehlen"),
            (lambda m, g: cam_with_einsum(m, g) * g[0, :, :, 0].size, "gefragt ist ihr Mittelwert"),
            (lambda m, g: np.maximum(m * g.mean(axis=(1, 2))[:, None, None], 0), "noch nicht addiert"),
        ],
    ),
    "4.2": (
        mass,
        [
            (lambda c, m: mass(c, m, lambda x: x), "Negative Werte zählen"),
            (lambda c, m: mass(c, m, np.abs), "was gegen die Klasse spricht"),
            (lambda c, m: [np.clip(x, 0, None)[m].mean() for x in c], "kein Anteil"),
            (lambda c, m: mass(c, ~m), "neben dem Zeichen"),
            (lambda c, m: np.clip(c, 0, None)[:, m].sum() / np.clip(c, 0, None).sum(), "Falsche Achse"),
        ],
    ),
    "4.3": (
        flips,
        [
            (lambda b, a, y, t: per_class(a == t, y), "schon vorher"),
            (lambda b, a, y, t: per_class((b != t) * (a == t), y), "Nenner"),
            (lambda b, a, y, t: per_class(b != a, y), "jede Änderung"),
            (lambda b, a, y, t: per_class((b != t) & (a == t), y, np.sum), "Anzahlen"),
            (lambda b, a, y, t: np.mean((b != t) & (a == t)), "über alle Klassen"),
        ],
    ),
    "4.4": (
        curve,
        [
            (lambda *a: curve(*a, sign=1), "unwichtigsten"),
            (lambda *a: curve(*a, keep=False), "wieder da"),
            (lambda *a: curve(*a)[1:], "Anfang fehlt"),
            (lambda *a: curve(*a)[:-1], "Ende fehlt"),
            (curve_of_winner, "höchste Wahrscheinlichkeit"),
            (lambda *a: curve(*a)[::-1], "rückwärts"),
            (curve_destroys_the_image, "verändert ihre Eingabe"),
        ],
    ),
    "4.5": (
        trick,
        [
            (lambda m: m.astype(float), "kein Trick"),
            (lambda m: np.ones(m.shape), "überall gleich"),
            (lambda m: np.zeros(m.shape), "Karte ist leer"),
            (lambda m: trick(m, inside=False), "verloren"),
            (lambda m: trick(m, background=-1.0), "negative Werte"),
            (lambda m: np.argwhere(m)[0], "Form"),
        ],
    ),
}
