"""Erklärungen messen: Treue (Löschkurve), Ort (Masse in einer Maske, Zeigespiel), Ähnlichkeit; dazu Intervalle.

Karten haben die Form (n, h, b). Die Funktionen rechnen nur mit NumPy; das Modell kommt als Funktion ``predict`` herein,
die zu Eingaben (n, h, b, 3) Logits oder Wahrscheinlichkeiten (n, 10) liefert.
"""

import numpy as np

from helpers.basics import CourseError


def _checked_maps(maps) -> np.ndarray:
    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim != 3:
        raise CourseError(f"Karten müssen die Form (n, h, b) haben, nicht {maps.shape}.")
    if not np.isfinite(maps).all():
        raise CourseError("Eine Karte enthält unendliche oder fehlende Werte: Prüfen Sie die Erklärung.")
    return maps


def _checked_mask(maps, mask) -> np.ndarray:
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != maps.shape[1:]:
        raise CourseError(
            f"Maske {mask.shape} und Karten {maps.shape[1:]} haben verschiedene Größen: Vergrößern Sie die Maske mit "
            "enlarge_mask."
        )
    if not mask.any():
        raise CourseError("Die Maske ist leer: Ohne markierte Pixel gibt es keinen Ort zu treffen.")
    return mask


def _by_relevance(maps: np.ndarray, seed: int) -> np.ndarray:
    """Pixelnummern jeder Karte, die wichtigsten zuerst; gleich wichtige in zufälliger Reihenfolge: (n, h·b).

    Ohne den Zufall stünden Gleichstände von oben nach unten: Eine Karte mit vielen Nullen löschte dann zuerst den
    oberen Bildrand, und ihre Kurve hinge davon ab, wo im Bild das Motiv liegt.
    """
    flat = maps.reshape(len(maps), -1)
    lots = np.random.default_rng(seed).random(flat.shape)
    return np.lexsort((lots, -flat), axis=1)


def relevance_mass(maps, mask) -> np.ndarray:
    """Anteil der positiven Relevanz innerhalb der Maske (Relevance Mass Accuracy).

    Args:
        maps: (n, h, b); negative Werte zählen nicht.
        mask: bool, (h, b).

    Returns:
        (n,), Werte 0–1; eine Karte ohne positive Relevanz ergibt 0. Zum Vergleich: Eine gleichmäßige Karte bekommt
        den Flächenanteil der Maske.

    Quantus teilt durch die Summe *aller* Werte: Bei Karten ohne negative Werte ist das dasselbe, sonst kann dort auch
    etwas unter 0 oder über 1 herauskommen; eine leere Karte ergibt dort NaN.

    Quelle: Arras, Osman, Samek (2022), CLEVR-XAI, Information Fusion 81.
    """
    positive = np.maximum(_checked_maps(maps), 0)
    inside = positive[:, _checked_mask(positive, mask)].sum(axis=1)
    total = positive.sum(axis=(1, 2))
    return np.divide(inside, total, out=np.zeros_like(inside), where=total > 0)


def relevance_rank(maps, mask, seed: int = 0) -> np.ndarray:
    """Anteil der K wichtigsten Pixel, die in der Maske liegen (Relevance Rank Accuracy), K = Fläche der Maske.

    Returns:
        (n,), Werte 0–1; der Zufall erreicht im Mittel den Flächenanteil der Maske. Nur positive Relevanz zählt: Eine
        leere Karte ergibt 0, wo immer die Maske liegt. Gleich wichtige Pixel werden zufällig gereiht. Quantus zählt
        auch Pixel ohne positive Relevanz und überlässt Gleichstände der Sortierung.

    Quelle: Arras, Osman, Samek (2022), CLEVR-XAI, Information Fusion 81.
    """
    maps = _checked_maps(maps)
    mask = _checked_mask(maps, mask).ravel()
    flat = maps.reshape(len(maps), -1)
    top = _by_relevance(maps, seed)[:, : mask.sum()]
    return (mask[top] & (np.take_along_axis(flat, top, axis=1) > 0)).mean(axis=1)


def pointing_game(maps, mask) -> np.ndarray:
    """Zeigespiel: Liegt der wichtigste Pixel in der Maske? bool, (n,); ohne positive Relevanz zeigt er nirgendhin.

    Quelle: Zhang et al. (2018), Top-down Neural Attention by Excitation Backprop, arXiv 1608.00507. Dort gilt ein Rand
    von 15 Pixeln um das Ziel als Treffer; hier nicht, weil die Bilder klein sind. Teilen sich mehrere Pixel den
    höchsten Wert, zählt der erste; Quantus zählt einen Treffer, wenn irgendeiner davon in der Maske liegt.
    """
    maps = _checked_maps(maps)
    mask = _checked_mask(maps, mask).ravel()
    flat = maps.reshape(len(maps), -1)
    return mask[flat.argmax(axis=1)] & (flat.max(axis=1) > 0)


def perturbation_curve(
    predict, inputs, maps, classes, steps: int = 10, insertion: bool = False, seed: int = 0
) -> np.ndarray:
    """Löschkurve (oder Einfügekurve): Wie ändert sich die Antwort, wenn die wichtigsten Pixel verschwinden?

    Gelöschte Pixel bekommen in allen Kanälen den Wert 0. In vorverarbeiteten Bildern ist das der Mittelwert von
    ImageNet, also ein neutrales Grau.

    Args:
        predict: Funktion (n, h, b, k) → (n, 10).
        inputs: vorverarbeitete Bilder, (n, h, b, k).
        maps: Karten, (n, h, b).
        classes: beobachtete Klasse je Bild, (n,).
        steps: Zahl der Schritte; die Kurve hat ``steps + 1`` Punkte von 0 bis 100 % der Pixel.
        insertion: statt zu löschen vom leeren Bild aus einfügen.
        seed: Startwert für die Reihenfolge gleich wichtiger Pixel: So ist eine leere Karte genau so gut wie der Zufall.

    Returns:
        (n, steps + 1): Ausgabe der beobachteten Klasse.

    Pixel Flipping in Quantus ist dieselbe Kurve ohne ihren ersten Punkt (das unversehrte Bild). Bei mehreren Kanälen
    löscht Quantus jeden Kanal eines Pixels einzeln, hier verschwindet der ganze Pixel.

    Quellen: Samek et al. (2017), Evaluating the Visualization of What a Deep Neural Network Has Learned; Petsiuk et al.
    (2018), RISE, arXiv 1806.07421.
    """
    maps = _checked_maps(maps)
    count, pixels = len(maps), maps[0].size if len(maps) else 0
    order = _by_relevance(maps, seed)
    rows = np.arange(count)[:, None]
    full = np.asarray(inputs, dtype=np.float32).reshape(count, pixels, -1)
    empty = np.zeros_like(full)
    start, goal = (empty, full) if insertion else (full, empty)
    curve = np.empty((count, steps + 1))
    for step in range(steps + 1):
        chosen = order[:, : round(step * pixels / steps)]
        state = start.copy()
        state[rows, chosen] = goal[rows, chosen]
        curve[:, step] = predict(state.reshape(np.shape(inputs)))[np.arange(count), classes]
    return curve


def area_under_curve(curve) -> np.ndarray:
    """Fläche unter Kurven (n, s) nach der Trapezregel, die x-Achse läuft von 0 bis 1: (n,)."""
    return np.trapezoid(np.asarray(curve, dtype=float), dx=1 / (np.shape(curve)[-1] - 1), axis=-1)


def rank_correlation(first, second) -> np.ndarray:
    """Rangkorrelation nach Spearman zwischen je zwei Karten (n, h, b): (n,), Werte −1 bis 1.

    Quelle für den Vergleich von Erklärungen: Adebayo et al. (2018), Sanity Checks for Saliency Maps, arXiv 1810.03292.
    """
    from scipy.stats import spearmanr

    pairs = zip(_checked_maps(first), _checked_maps(second), strict=True)
    return np.array([0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else spearmanr(a, b, axis=None)[0] for a, b in pairs])


def cascading_randomization(explain, randomize, layers, original=None) -> np.ndarray:
    """Vernunftprüfung: Wie ähnlich bleibt die Erklärung, wenn von oben her immer mehr Schichten neu gewürfelt sind?

    Args:
        explain: Funktion Modell → Karten (n, h, b).
        randomize: Funktion Schichtname → Modell, dessen Gewichte vom Ausgang bis zu dieser Schicht neu sind, zum
            Beispiel aus ``training.randomize_down_to``; mit None das gelernte Modell.
        layers: Schichtnamen von oben nach unten.
        original: Karten des gelernten Modells, wenn sie schon da sind.

    Returns:
        (len(layers), n): Rangkorrelation mit der Karte des gelernten Modells, −1 bis 1; nahe 0 ist gut.

    Wie MPRT mit ``layer_order="top_down"`` in Quantus. Quantus würfelt mit der Startverteilung der Schicht und
    vergleicht mit Vorzeichen; der Kurs würfelt mit der Streuung der gelernten Gewichte und nimmt für die Wertungstafel
    den Betrag, denn eine umgekehrte Karte ist dem Original auch ähnlich.

    Quelle: Adebayo et al. (2018), Sanity Checks for Saliency Maps, arXiv 1810.03292.
    """
    original = explain(randomize(None)) if original is None else original
    return np.array([rank_correlation(original, explain(randomize(layer))) for layer in layers])


def sobel_maps(images) -> np.ndarray:
    """Kantenstärke (n, h, b) nach Sobel: eine „Erklärung“, die das Modell gar nicht kennt."""
    from scipy.ndimage import sobel

    images = np.asarray(images, dtype=np.float64)
    # Bild für Bild: Auf dem ganzen Stapel glättet scipy auch quer über benachbarte Bilder.
    return np.array([np.hypot(sobel(image, 0), sobel(image, 1)) for image in images]).reshape(images.shape)


def random_maps(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Zufallskarten (count, size, size), Werte 0–1."""
    return np.random.default_rng(seed).random((count, size, size))


# --- Intervalle -----------------------------------------------------------------------------------------------------


def interval(statistic, *samples, draws: int = 1000, seed: int = 0, vectorized: bool = True) -> tuple[float, float]:
    """95-%-Intervall einer Statistik durch Ziehen mit Zurücklegen (Efron 1979).

    Args:
        statistic: Funktion (eine Stichprobe je Angabe in ``samples``, ``axis``) → Zahl; ohne ``vectorized`` ohne axis.
        samples: gleich lange Stichproben (n,) mit n ≥ 2; gezogen werden Bilder, also alle gemeinsam.

    Returns:
        (untere, obere Grenze); nicht endlich, wo die Statistik es nicht ist.
    """
    from scipy.stats import bootstrap

    options = {"paired": True, "vectorized": vectorized, "n_resamples": draws, "method": "percentile", "rng": seed}
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = bootstrap(samples, statistic, **options).confidence_interval
    return float(low), float(high)


def bootstrap_interval(values, seed: int = 0) -> tuple[float, float]:
    """95-%-Intervall des Mittelwerts von ``values`` (n,)."""
    return interval(np.mean, np.asarray(values, dtype=float), seed=seed)


def relative_interval(values, reference, seed: int = 0) -> list[float]:
    """[Verhältnis der Mittelwerte, untere, obere Grenze (95 %)] zweier Stichproben derselben Bilder (n,)."""

    def ratio(above, below, axis=-1):
        with np.errstate(divide="ignore", invalid="ignore"):
            return above.mean(axis=axis) / below.mean(axis=axis)

    values, reference = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    return [float(ratio(values, reference)), *interval(ratio, values, reference, seed=seed)]


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson-Intervall (95 %) eines Anteils ``share`` (0–1) aus ``n`` Versuchen (Wilson 1927)."""
    from scipy.stats import binomtest

    low, high = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(low), float(high)
