"""Erklärungen messen: Treue (Löschkurve), Ort (Masse in einer Maske, Zeigespiel), Ähnlichkeit; dazu Intervalle.

Karten haben die Form (n, h, b). Die Funktionen rechnen nur mit NumPy; das Modell kommt als Funktion ``predict`` herein,
die zu Eingaben (n, h, b, 3) Logits oder Wahrscheinlichkeiten (n, 10) liefert. Wo ein Maß auch in Quantus steht, kommt
dasselbe heraus (tests/test_quantus.py), bis auf die genannten Grenzfälle.
"""

import numpy as np

from helpers.basics import CourseError


def _flat(maps, mask=None) -> tuple[np.ndarray, np.ndarray]:
    """Geprüft und flach: Karten (n, h·b) in float64 und Maske (h·b,)."""
    maps = np.asarray(maps, dtype=np.float64)
    mask = np.ones(maps.shape[1:], bool) if mask is None else np.asarray(mask, bool)
    if maps.ndim != 3 or mask.shape != maps.shape[1:] or not np.isfinite(maps).all() or not mask.any():
        raise CourseError(
            f"Karten {maps.shape} mit Maske {mask.shape} lassen sich nicht messen: Karten brauchen die Form (n, h, b) "
            "und endliche Werte, Masken deren Größe (enlarge_mask) und mindestens ein markiertes Pixel."
        )
    return maps.reshape(len(maps), -1), mask.ravel()


def relevance_mass(maps, mask) -> np.ndarray:
    """Anteil der positiven Relevanz innerhalb der Maske (Relevance Mass Accuracy).

    Args:
        maps: (n, h, b); negative Werte zählen nicht (in Quantus schon).
        mask: bool, (h, b).

    Returns:
        (n,), Werte 0–1; eine Karte ohne positive Relevanz ergibt 0, eine gleichmäßige den Flächenanteil der Maske.

    Quelle: Arras, Osman, Samek (2022), CLEVR-XAI, Information Fusion 81.
    """
    maps, mask = _flat(maps, mask)
    positive = np.maximum(maps, 0)
    inside, total = positive[:, mask].sum(axis=1), positive.sum(axis=1)
    return np.divide(inside, total, out=np.zeros_like(inside), where=total > 0)


def pointing_game(maps, mask) -> np.ndarray:
    """Zeigespiel: Liegt das wichtigste Pixel in der Maske? bool, (n,); ohne positive Relevanz: nein.

    Von mehreren höchsten Pixeln zählt das erste (in Quantus irgendeines). Quelle: Zhang et al. (2018), Top-down Neural
    Attention by Excitation Backprop, arXiv 1608.00507; dort gilt auch ein Rand von 15 Pixeln um das Ziel als Treffer.
    """
    maps, mask = _flat(maps, mask)
    return mask[maps.argmax(axis=1)] & (maps.max(axis=1) > 0)


def perturbation_curve(
    predict, inputs, maps, classes, steps=10, insertion=False, seed: int = 0, fill=0.0
) -> np.ndarray:
    """Löschkurve (oder Einfügekurve): Wie ändert sich die Antwort, wenn die wichtigsten Pixel verschwinden?

    Was „gelöscht“ heißt, sagt ``fill``, und davon hängt das Ergebnis ab: 0 ist in vorverarbeiteten Bildern der
    Mittelwert von ImageNet, also Grau. Auf schwarzem Grund fügt Löschen damit etwas hinzu.

    Args:
        predict: Funktion (n, h, b, k) → (n, 10).
        inputs: vorverarbeitete Bilder, (n, h, b, k).
        maps: Karten, (n, h, b).
        classes: beobachtete Klasse je Bild, (n,).
        steps: Zahl der Schritte; die Kurve hat ``steps + 1`` Punkte von 0 bis 100 % der Pixel.
        insertion: statt zu löschen vom leeren Bild aus einfügen.
        seed: Startwert für die Reihenfolge gleich wichtiger Pixel: So ist eine leere Karte genauso gut wie der Zufall,
            wo im Bild das Motiv auch liegt.
        fill: was an der Stelle gelöschter Pixel steht: eine Zahl oder Bilder, die sich zu ``inputs`` fügen.

    Returns:
        (n, steps + 1): Ausgabe der beobachteten Klasse.

    Pixel Flipping in Quantus ist dieselbe Kurve ohne ihren ersten Punkt, bei mehreren Kanälen Kanal für Kanal. Quellen:
    Samek et al. (2017), Evaluating the Visualization of What a Deep Neural Network Has Learned; Petsiuk et al. (2018),
    RISE, arXiv 1806.07421; zur Füllung: Zheng et al. (2024), F-Fidelity, arXiv 2410.02970.
    """
    flat, _ = _flat(maps)
    count, pixels = flat.shape
    order = np.lexsort((np.random.default_rng(seed).random(flat.shape), -flat), axis=1)
    rank = order.argsort(axis=1).reshape(np.shape(maps))[..., None]  # 0: das wichtigste Pixel
    inputs = np.asarray(inputs, dtype=np.float32)
    curve = []
    for step in range(steps + 1):
        shown = (rank < round(step * pixels / steps)) == insertion
        curve.append(predict(np.where(shown, inputs, np.asarray(fill, np.float32)))[np.arange(count), classes])
    return np.stack(curve, axis=1)


def area_under_curve(curve) -> np.ndarray:
    """Fläche unter Kurven (n, s) nach der Trapezregel, die x-Achse läuft von 0 bis 1: (n,)."""
    return np.trapezoid(np.asarray(curve, dtype=float), dx=1 / (np.shape(curve)[-1] - 1), axis=-1)


def rank_correlation(first, second) -> np.ndarray:
    """Rangkorrelation nach Spearman zwischen je zwei Karten (n, h, b): (n,), Werte −1 bis 1; leere Karten ergeben 0.

    Quelle für den Vergleich von Erklärungen: Adebayo et al. (2018), Sanity Checks for Saliency Maps, arXiv 1810.03292.
    """
    from scipy.stats import spearmanr

    pairs = zip(_flat(first)[0], _flat(second)[0], strict=True)
    return np.array([0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else spearmanr(a, b)[0] for a, b in pairs])


def sobel_maps(images) -> np.ndarray:
    """Kantenstärke (n, h, b) nach Sobel: eine „Erklärung“, die das Modell gar nicht kennt."""
    from scipy.ndimage import sobel

    # Bild für Bild: Auf dem ganzen Stapel glättet scipy auch quer über benachbarte Bilder.
    return np.array([np.hypot(sobel(image, 0), sobel(image, 1)) for image in np.asarray(images, dtype=np.float64)])


def random_maps(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Zufallskarten (count, size, size), Werte 0–1."""
    return np.random.default_rng(seed).random((count, size, size))


# --- Intervalle -----------------------------------------------------------------------------------------------------


def bootstrap_interval(*samples, statistic=np.mean, draws=1000, seed: int = 0, level=0.95) -> tuple[float, float]:
    """95-%-Intervall (``level``; unten, oben) einer Statistik, durch Ziehen mit Zurücklegen (Efron 1979).

    Args:
        samples: gleich lange Stichproben (n,) mit n ≥ 2; gezogen werden Bilder, also alle gemeinsam.
        statistic: Funktion (eine Stichprobe je Angabe in ``samples``, ``axis``) → Zahl.
    """
    from scipy.stats import bootstrap

    options = {"paired": True, "vectorized": True, "n_resamples": draws, "method": "percentile", "rng": seed}
    options["confidence_level"] = level
    return tuple(map(float, bootstrap(samples, statistic, **options).confidence_interval))


def relative_interval(values, reference, seed: int = 0) -> list[float]:
    """[Verhältnis der Mittelwerte, untere, obere Grenze (95 %)] zweier Stichproben derselben Bilder (n,)."""

    def ratio(above, below, axis=-1):
        return np.mean(above, axis=axis) / np.mean(below, axis=axis)

    with np.errstate(divide="ignore", invalid="ignore"):  # geteilt durch nichts: Das Verhältnis ist nicht endlich
        return [float(ratio(values, reference)), *bootstrap_interval(values, reference, statistic=ratio, seed=seed)]


def wilson_interval(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson-Intervall (``level`` = 0,95: 95 %) eines Anteils ``share`` (0–1) aus ``n`` Versuchen (Wilson 1927)."""
    from scipy.stats import binomtest

    return tuple(map(float, binomtest(round(share * n), n).proportion_ci(level, method="wilson")))


def class_means(maps, labels, count: int = 10) -> np.ndarray:
    """Mittlere Karte jeder Klasse: aus (n, h, b) und Klassen (n,) werden (k, h, b); ohne Bilder lauter Nullen."""
    members = [np.asarray(maps)[np.asarray(labels) == label] for label in range(count)]
    return np.stack([each.sum(axis=0) / max(1, len(each)) for each in members])
