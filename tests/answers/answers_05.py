"""Antworten zu 05_LRP."""

import numpy as np

GOOD, BAD = "kein Einwand gefunden", "nicht vertrauen"


def layer_with_loops(a, weights, bias, relevance, epsilon):
    result = np.zeros(a.shape)
    for n in range(len(a)):
        for k in range(weights.shape[1]):
            z = sum(a[n, j] * weights[j, k] for j in range(a.shape[1])) + bias[k]
            z += epsilon if z >= 0 else -epsilon
            result[n] += a[n] * weights[:, k] / z * relevance[n, k]
    return result


def layer(a, w, b, r, e, sign=True, bias=1, factor=True):
    z = a @ w + bias * b
    z = z + e * (np.sign(z) if sign else 1)
    return (a if factor else 1) * ((r / z) @ w.T)


def layer_wrong_axis(a, w, b, r, e):
    parts = np.einsum("nj,jk->njk", a, w)
    total = parts.sum(axis=2, keepdims=True)
    return (parts / (total + e * np.where(total >= 0, 1, -1)) * r[:, None]).sum(axis=2)


def sums(relevance):
    return np.array([picture.sum() for picture in relevance])


def rules(logits, maps, unusual):
    return [name for name in maps if unusual(sums(maps[name]), logits)]


def conserving(logits, maps, t):
    return [name for name in maps if np.all(np.abs(sums(maps[name]) / logits - 1) <= t)]


def not_conserving(logits, maps, t):
    return [name for name in maps if np.any(np.abs(sums(maps[name]) / logits - 1) > t)]


def area(curves):
    return np.trapezoid(curves, axis=1)


def faithfulness(curves, random_curves):
    def total(c):
        return ((c[:, 1:] + c[:, :-1]) / 2).sum(axis=1).mean()

    return total(curves) / total(random_curves)


def verdict(accuracy, mass, mass_edges, kept):
    if accuracy <= 0.5:
        return BAD
    if mass >= 1.7 * mass_edges:
        return BAD
    return GOOD if kept > 0.7 else BAD


def pair(hidden, entry):
    return {"verdeckt": hidden, "Eingang": entry}


ANSWERS = {
    "5.1": (
        pair(np.array([6.0, 0.0]), (4, 2)),
        [
            (pair([1, 0], [2 / 3, 1 / 3]), "Anteile"),
            (pair([6, -10], [14, -18]), "ReLU vergessen"),
            (pair([3, 0], [2, 1]), "nicht ihre Relevanz"),
            (pair([6, 0], [2, 4]), "vertauscht"),
            (pair([5, 0], [3, 2]), "Ausgang stimmt nicht"),
            (pair([6, 0], [4, 1]), "nicht erhalten"),
            (pair([6, 0], [3, 3]), "Verteilung noch nicht"),
            ([6, 0, 4, 2], "„verdeckt“ und „Eingang“"),
        ],
    ),
    "5.2": (
        layer_with_loops,
        [
            (lambda *a: layer(*a, factor=False), "Aktivierung fehlt"),
            (lambda *a: layer(*a, sign=False), "dasselbe Vorzeichen"),
            (lambda a, w, b, r, e: layer(a, w, b, r, 0), "ε fehlt"),
            (lambda *a: layer(*a, bias=0), "fehlt der Bias"),
            (layer_wrong_axis, "Falsche Achse"),
            (lambda a, w, b, r, e: a * (r @ w.T), "nicht erhalten"),
        ],
    ),
    "5.3": (
        not_conserving,
        [
            (conserving, "unauffälligen"),
            (lambda y, m, t: rules(y, m, lambda s, y: abs(s.sum() - y.sum()) > t * abs(y.sum())), "zugleich"),
            (lambda y, m, t: rules(y, m, lambda s, y: np.any(s - y > t * abs(y))), "Betrag fehlt"),
            (lambda y, m, t: rules(y, m, lambda s, y: np.any(abs(s - y) > t)), "Grenze ist ein Anteil"),
            (lambda y, m, t: not_conserving(abs(y), {n: abs(r) for n, r in m.items()}, t), "Beträge der Relevanz"),
            (lambda y, m, t: rules(y, m, lambda s, y: np.all(abs(s - y) > t * abs(y))), "alle Bilder abweichen"),
        ],
    ),
    "5.4": (
        faithfulness,
        [
            (lambda c, r: faithfulness(r, c), "auf dem Kopf"),
            (lambda c, r: area(c).mean() / (c.shape[1] - 1), "Fläche selbst"),
            (lambda c, r: (area(c).mean() - area(r).mean()) / (c.shape[1] - 1), "Differenz"),
            (lambda c, r: np.mean(c) / np.mean(r), "mitteln die Punkte"),
            (lambda c, r: area(c) / area(r), "ein Wert je Bild"),
            (lambda c, r: np.mean(area(c) / area(r)), "Verhältnisse der einzelnen"),
            (lambda c, r: c[:, -1].sum() / r[:, -1].sum(), "nur das Ende"),
        ],
    ),
    "5.5": (
        verdict,
        [
            (lambda a, m, e, k: GOOD if a > 0.5 or m < 1.7 * e or k > 0.7 else BAD, "ein einziges Ja"),
            (lambda a, m, e, k: BAD if verdict(a, m, e, k) == GOOD else GOOD, "vertauscht"),
            (lambda a, m, e, k: GOOD if a > 0.5 and m > 1.7 * e and k > 0.7 else BAD, "umgedreht"),
            (lambda a, m, e, k: GOOD if a > 0.5 and k > 0.7 else BAD, "Frage nach dem Grund fehlt"),
            (lambda a, m, e, k: GOOD if a > 0.5 and m < 1.7 * e else BAD, "Frage nach dem Eingriff fehlt"),
            (lambda a, m, e, k: GOOD if a > 0.5 else BAD, "nur nach der Trefferquote"),
            (lambda a, m, e, k: GOOD if a > 0.5 and m < e and k > 0.7 else BAD, "zu streng"),
            (lambda a, m, e, k: a > 0.5 and m < 1.7 * e and k > 0.7, "kein Wahrheitswert"),
        ],
    ),
}
