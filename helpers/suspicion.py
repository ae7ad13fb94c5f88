"""Verdacht: die Stelle finden, an der eine Klasse hängt, ohne dass jemand sagt, wo, und prüfen, ob es der Stoff ist.

Eine Erklärung ist ein Verdacht, ein Eingriff ist der Beweis (Adebayo et al. 2022, arXiv 2212.04629: Unbekannte
Abkürzungen verraten Erklärungen allein meist nicht). Die Testbilder werden deshalb in zwei Hälften geteilt: Auf der
ersten suchen Relevanz und Probeeingriffe Stellen aus, auf der zweiten wird gemessen.

1. ``relevance_between``: Welche Pixel machen aus Bildern anderer Klassen eines dieser Klasse?
2. ``places``: zusammenhängende Flecken dieser Karten, auch gefüllt bis zum nächsten festen Rand
   (``enclosed``); ``carriers``: Trägt die Stelle nur ein Teil der Bilder?
3. ``search``: Stelle füllen, Stelle verpflanzen, beides gegen gleich große Stellen, auf die keine Relevanz zeigt; und
   ``fixed_edge``: Liegt ihr Rand in jedem Bild auf demselben Pixel, wie bei einem Stempel? Kleidung liegt jedes Mal
   anders.
"""

from dataclasses import dataclass

import numpy as np

from helpers.basics import CLASS_NAMES, CourseError, german, german_interval, progress, quiet_stderr
from helpers.learner import quick_copy
from helpers.metrics import bootstrap_interval
from helpers.model import enlarge

with quiet_stderr():
    import tensorflow as tf

SHORTCUT, UNCLEAR, NOTHING = "Abkürzung", "unklar", "kein Befund"
PLACE, GROUP = "Stelle", "Gruppe"
MIN_IMAGES = 8  # so viele Bilder einer Klasse braucht jede Hälfte
LARGEST = 0.25  # eine Stelle ist höchstens ein Viertel des Bildes
PATHS = 256  # Bildpaare je Klasse für die Relevanz
# Vorläufig gewählt, an einem Dutzend Netzen mit zufälligen Zeichen (64 × 64, Profil „schnell“): Der Rand gefundener
# Stempel lag dort über 1, der von Stoff, der etwas ausmachte, meist unter 0,5.
FIXED, LOOSE = 0.8, 0.6  # fixed_edge: ab hier gestempelt, bis hier Gegenstand
EFFECT = 0.02  # so viel Wahrscheinlichkeit muss die Stelle sicher kosten und, verpflanzt, sicher bringen
BATCH = 64


@dataclass(frozen=True)
class Suspect:
    """Ein Verdacht und was die Eingriffe sagen; Intervalle sind [Wert, tief, hoch], korrigiert für alle Stellen.

    Attributes:
        label: die Klasse.
        region: bool, (h, b): die Stelle.
        kind: „Stelle“ (alle Bilder der Klasse tragen sie) oder „Gruppe“ (nur ein Teil).
        share: Anteil der Bilder der Klasse, die sie tragen (0–1).
        carriers: Nummern dieser Bilder unter den gegebenen, (m,).
        remove: so viel Wahrscheinlichkeit verliert die Klasse, wenn die Stelle zeigt, was Bilder anderer Klassen dort
            zeigen, mehr als bei gleich großen Stellen anderswo; infill: dasselbe, gefüllt mit den nächsten Pixeln.
        transplant: so viel gewinnt sie, wenn die Stelle in Bilder anderer Klassen kommt, mehr als andere Stellen;
            flips: Anteil dieser Bilder, die zu ihr kippen.
        edge: wie fest ihr Rand liegt, siehe ``fixed_edge``.
        verdict: „Abkürzung“, „unklar“ oder „kein Befund“.
    """

    label: int
    region: np.ndarray
    kind: str
    share: float
    carriers: np.ndarray
    remove: list
    infill: list
    transplant: list
    flips: float
    edge: float
    verdict: str

    @property
    def score(self) -> float:
        """Was die Eingriffe mindestens ausmachen: Danach ist die Liste geordnet."""
        return min(self.remove[1], self.transplant[1])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Oberste und unterste Zeile, linke und rechte Spalte der Stelle."""
        rows, columns = np.flatnonzero(self.region.any(axis=1)), np.flatnonzero(self.region.any(axis=0))
        return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


class Questions:
    """Antworten und Ableitungen eines Netzes, kompiliert und in der Rechengenauigkeit, in der die Maschine schnell ist.

    Attributes:
        answer: Bilder (uint8, (n, h, b)) → Wahrscheinlichkeiten (n, k).
        slope: Bilder (float32, (n, h, b)) und eine Klasse → Ableitung ihrer Log-Chance nach jedem Pixel, (n, h, b).
    """

    def __init__(self, model):
        net, size = quick_copy(model), model.inputs[0].shape[1]

        def logits(images):
            return tf.cast(net(enlarge(images, size), training=False), tf.float32)

        @tf.function(reduce_retracing=True)
        def answer(images):
            return tf.nn.softmax(logits(images))

        @tf.function(reduce_retracing=True)
        def slope(images, label):
            with tf.GradientTape() as tape:
                tape.watch(images)
                z = logits(images)
                mine = tf.one_hot(label, z.shape[-1], on_value=True, off_value=False)
                odds = z[:, label] - tf.reduce_logsumexp(tf.where(mine, -np.inf, z), axis=-1)
            return tape.gradient(odds, images)

        self._answer, self._slope = answer, slope

    @staticmethod
    def _batchwise(step, images, *given):
        parts = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate([step(tf.constant(part), *given).numpy() for part in parts])

    def answer(self, images) -> np.ndarray:
        return self._batchwise(self._answer, images)

    def slope(self, images, label: int) -> np.ndarray:
        return self._batchwise(self._slope, images.astype(np.float32), tf.constant(label))


def relevance_between(net: Questions, images, others, label: int, seed: int = 0, count: int = PATHS) -> np.ndarray:
    """Mittlere Relevanz jedes Pixels auf dem Weg von Bildern anderer Klassen zu Bildern dieser Klasse.

    Eingabe × Ableitung (= LRP-0) fragt, was ein Pixel gegenüber Grau ausmacht. Hier ist der Vergleich ein anderes Bild:
    Unterschied der Pixel mal Ableitung der Log-Chance, an einem zufälligen Punkt zwischen beiden, gemittelt über Paare.
    Was alle Bilder anders macht als die anderen, bleibt stehen, Rauschen mittelt sich weg.

    Args:
        images, others: uint8, (n, h, b) und (m, h, b), n, m ≥ 1.
        label: die Klasse von ``images``.

    Returns:
        float64, (h, b).

    Erion et al. (2021), Expected Gradients, arXiv 1906.10670; Sundararajan et al. (2017), arXiv 1703.01365.
    """
    rng = np.random.default_rng(seed)
    x, o = (part[rng.integers(len(part), size=count)].astype(np.float32) for part in (images, others))
    between = o + rng.random((count, 1, 1), dtype=np.float32) * (x - o)
    return (net.slope(between, label) * (x - o)).mean(axis=0, dtype=float)


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


def carriers(images, members, others, region, relevance):
    """Welche Bilder die Stelle tragen: alle, oder die obere Gruppe, wenn ihr Inhalt in zwei Gruppen zerfällt.

    Der Inhalt ist das Mittel der Pixel, mit der Relevanz gewichtet, in Richtung des Unterschieds zu ``others``. Geteilt
    wird, wo die Streuung zwischen beiden Gruppen am größten ist (Otsu 1979), wenn sie 80 % der ganzen ausmacht; bei
    einer Normalverteilung wären es 64 %.

    Args:
        images: uint8, (N, h, b); members, others: Nummern der Bilder dieser und der anderen Klassen in der Suchhälfte.

    Returns:
        bool, (N,): Trägt das Bild die Stelle? Für alle gegebenen Bilder.
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
        return np.ones(len(images), bool)
    return content > (values[cut] + values[cut + 1]) / 2


def fixed_steps(images) -> tuple[np.ndarray, np.ndarray]:
    """Wie fest die Sprünge zwischen Nachbarpixeln liegen: nach unten (h − 1, b) und nach rechts (h, b − 1), ≥ 0.

    Der mittlere Sprung, geteilt durch seine Streuung von Bild zu Bild plus 8 Graustufen. ``images``: uint8, (n, h, b).
    """
    steps = (np.diff(images.astype(np.int16), axis=axis) for axis in (1, 2))
    return tuple(np.abs(each.mean(axis=0)) / (each.std(axis=0) + 8) for each in steps)


def fixed_edge(region, steps) -> float:
    """Wie fest der Rand der Stelle liegt: der Median von ``fixed_steps`` über ihren Rand; 0 ohne Rand im Bild.

    Ein Stempel liegt immer auf denselben Pixeln (über 1), der Saum eines Hemds jedes Mal anders (unter 0,6).
    """
    crossed = np.concatenate([values[np.diff(region, axis=axis)] for axis, values in enumerate(steps)])
    return float(np.median(crossed)) if len(crossed) else 0.0


def enclosed(region, steps) -> np.ndarray:
    """Die Stelle, gefüllt bis zum nächsten festen Rand: was von ihr aus erreichbar ist, ohne einen zu überschreiten."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = np.arange(region.size).reshape(region.shape)
    down, right = (values < FIXED for values in steps)
    first = np.concatenate([number[:-1][down], number[:, :-1][right]])
    second = np.concatenate([number[1:][down], number[:, 1:][right]])
    joined = coo_array((np.ones(len(first)), (first, second)), (region.size, region.size))
    _, parts = connected_components(joined, directed=False)
    parts = parts.reshape(region.shape)
    whole = np.isin(parts, [part for part in np.unique(parts[region]) if (parts == part).mean() <= LARGEST])
    return whole if 0 < whole.mean() <= LARGEST else region


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


def _effects(net, label: int, region, own, strangers, donors, sources):
    """Wahrscheinlichkeit der Klasse nach Füllen (n,), Füllen mit Nachbarpixeln (n,) und Verpflanzen (m,).

    Gefüllt wird ``own`` aus ``donors`` (n, h, b), verpflanzt aus ``sources`` in ``strangers`` (m, h, b). Als Viertes:
    Welche davon hält das Netz jetzt für die Klasse? bool (m,).
    """
    changed = (np.where(region, donors, own), infilled(own, region), np.where(region, sources, strangers))
    answers = net.answer(np.concatenate(changed))
    filled, near, moved = np.split(answers[:, label], [len(own), 2 * len(own)])
    return filled, near, moved, answers[2 * len(own) :].argmax(axis=1) == label


def _drawn(rng, images, own, strangers, most: tuple[int, int]) -> list[np.ndarray]:
    """Höchstens so viele Bilder beider Seiten und zu jedem eines der anderen: die vier, die ``_effects`` braucht."""
    own, strangers = (rng.permutation(rows)[:count] for rows, count in zip((own, strangers), most, strict=True))
    return [images[rows] for rows in (own, strangers, rng.choice(strangers, len(own)), rng.choice(own, len(strangers)))]


def search(model, images, labels, seed: int = 0) -> list[Suspect]:
    """Sucht in jeder Klasse die Stellen, an denen sie hängt, und prüft sie durch Eingriffe.

    Args:
        model: Keras-Modell mit Logits als Ausgang, dessen Eingabe ``enlarge`` macht.
        images: Testbilder, uint8, (n, h, b), so wie das Netz sie bekommt.
        labels: ihre Klassen, (n,). Eine Klasse mit weniger als 16 Bildern wird ausgelassen.
        seed: Startwert für Teilung und Auswahl der Bilder.

    Returns:
        Verdächtige, die dringendsten zuerst, höchstens zwei je Klasse. *Abkürzung*: Füllen (auf beide
        Arten) und Verpflanzen machen sicher mehr als ``EFFECT`` aus, und der Rand liegt fest. *unklar*: Eines davon ist
        nicht sicher, oder die Bilder sagen nicht, ob es der Gegenstand ist. *kein Befund*: Die Stelle macht
        wenig aus, oder ihr Rand liegt in jedem Bild anders, wie bei einem Gegenstand.

    Raises:
        CourseError: wenn keine Klasse genug Bilder hat.
    """
    rng, net = np.random.default_rng(seed), Questions(model)
    images, labels = np.asarray(images), np.asarray(labels).astype(int)
    half = np.zeros(len(images), bool)  # True: Suchhälfte
    for each in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == each))
        half[members[: len(members) // 2]] = True
    classes = [each for each in np.unique(labels) if (labels == each).sum() >= 2 * MIN_IMAGES]
    if len(classes) < 2:
        raise CourseError(
            f"{german(len(images))} Bilder sind für die Suche zu wenige: Sie braucht von mindestens zwei Klassen je "
            f"{2 * MIN_IMAGES} Testbilder."
        )
    chosen = []
    for each in progress(classes, text="Verdacht", unit="Klassen"):
        chosen += _candidates(net, images, labels, half, int(each), rng)
    measured = progress(chosen, text="Eingriffe", unit="Stellen")
    suspects = [_measured(net, images, labels, half, *each, len(chosen), rng) for each in measured]
    order = (SHORTCUT, UNCLEAR, NOTHING)
    return sorted(suspects, key=lambda suspect: (order.index(suspect.verdict), -suspect.score))


def _candidates(net, images, labels, half, label: int, rng) -> list[tuple]:
    """Die Stellen einer Klasse, die auf der Suchhälfte am meisten ausmachen: eine mit festem Rand, eine ohne."""
    members, others = np.flatnonzero((labels == label) & half), np.flatnonzero((labels != label) & half)
    relevance = relevance_between(net, images[members], images[others], label, int(rng.integers(2**31)))
    found = []
    for place in places(relevance):
        carried = carriers(images, members, others, place, relevance)
        own = members[carried[members]]
        if len(own) < MIN_IMAGES or carried[(labels == label) & ~half].sum() < MIN_IMAGES:
            continue
        steps = fixed_steps(images[own])
        whole = enclosed(place, steps)
        regions = (place, whole)[: 1 + (whole != place).any()]
        found += [(region, carried, own, fixed_edge(region, steps)) for region in regions]
    if not found:
        return []
    tried = []
    for region, _, own, _ in found:
        drawn = _drawn(rng, images, own, others, (12, 16))
        filled, _, moved, _ = _effects(net, label, region, *drawn)
        loss, gain = (net.answer(part)[:, label].mean() for part in drawn[:2])
        tried.append(min(loss - filled.mean(), moved.mean() - gain))
    effect, edge = np.array(tried), np.array([each[3] for each in found])
    picked = []
    for fits in (edge >= LOOSE, edge < LOOSE):
        if (rows := np.flatnonzero(fits)).size:
            # Die kleinste, die fast so viel ausmacht wie die beste: Mehr als nötig soll keine Stelle umfassen.
            enough = rows[effect[rows] >= effect[rows].max() - 0.2 * abs(effect[rows].max())]
            best = min(enough, key=lambda row: found[row][0].sum())
            picked.append((label, *found[best][:2], relevance, float(edge[best])))
    return picked


def _measured(net, images, labels, half, label, region, carried, relevance, edge, tried: int, rng) -> Suspect:
    """Misst eine Stelle auf der zweiten Hälfte, gepaart mit gleich großen Stellen anderswo."""
    mine = (labels == label) & carried
    drawn = _drawn(rng, images, np.flatnonzero(mine & ~half), np.flatnonzero((labels != label) & ~half), (40, 60))
    filled, near, moved, flipped = _effects(net, label, region, *drawn)
    # Die Kontrolle unterscheidet sich nur im Ort: dieselben Bilder, gefüllt und verpflanzt aus denselben.
    controls = [_effects(net, label, other, *drawn)[:3] for other in elsewhere(region, relevance, 2, rng)]
    filled_else, near_else, moved_else = (np.mean(parts, axis=0) for parts in zip(*controls, strict=True))

    def interval(differences):
        level = 1 - 0.05 / tried
        return [float(differences.mean()), *bootstrap_interval(differences, draws=2000, level=level)]

    remove, infill, transplant = (
        interval(each) for each in (filled_else - filled, near_else - near, moved - moved_else)
    )
    verdict = NOTHING
    if edge >= LOOSE and min(remove[2], transplant[2]) > EFFECT:
        sure = edge >= FIXED and min(remove[1], infill[1], transplant[1]) > EFFECT
        verdict = SHORTCUT if sure else UNCLEAR
    share = float(carried[labels == label].mean())
    flips = float((flipped & (net.answer(drawn[1]).argmax(axis=1) != label)).mean())
    kind = PLACE if share > 0.95 else GROUP
    return Suspect(label, region, kind, share, np.flatnonzero(mine), remove, infill, transplant, flips, edge, verdict)


def table(suspects: list[Suspect]):
    """Die Verdächtigen zum Lesen, als pandas.DataFrame: eine Zeile je Stelle, Wirkungen als „Wert [tief; hoch]“."""
    import pandas as pd

    rows = []
    for suspect in suspects:
        top, bottom, left, right = suspect.box
        where = {"Zeilen": f"{top}–{bottom}", "Spalten": f"{left}–{right}", "Pixel": int(suspect.region.sum())}
        carried = f"{suspect.kind}, {german(100 * suspect.share, 0)} %"
        effects = {"Füllen kostet": suspect.remove, "Verpflanzen bringt": suspect.transplant}
        effects = {name: german_interval(interval) for name, interval in effects.items()}
        judged = {"Rand": german(suspect.edge, 2), "Urteil": suspect.verdict}
        rows.append({"Klasse": CLASS_NAMES[suspect.label], **where, "tragen": carried, **effects, **judged})
    return pd.DataFrame(rows)
