"""Verdacht: die Stelle finden, an der eine Klasse hängt, ohne dass jemand sagt, wo, und prüfen, ob es der Stoff ist.

Eine Erklärung ist ein Verdacht, ein Eingriff ist der Beweis (Adebayo et al. 2022, arXiv 2212.04629: Unbekannte
Abkürzungen verraten Erklärungen allein meist nicht). Die Testbilder werden deshalb in zwei Hälften geteilt: Auf der
ersten suchen Relevanz und Probeeingriffe Stellen aus, auf der zweiten wird gemessen.

1. ``relevance_between``: Welche Pixel machen aus Bildern anderer Klassen eines dieser Klasse? Gefragt werden alle
   Bilder zusammen und Gruppen mit ähnlichen Karten (SpRAy, ``clusters.spray``).
2. ``places``: zusammenhängende Flecken dieser Karten; ``stamps``: Liegt ihr Rand in jedem Bild auf demselben Pixel, wie
   bei einem Stempel? Ein Gegenstand liegt jedes Mal anders. ``carriers_by_…``: Trägt sie nur ein Teil der Bilder?
3. ``search``: Stelle füllen, Stelle verpflanzen, beides gegen gleich große Stellen, auf die keine Relevanz zeigt.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from helpers import clusters
from helpers.basics import CLASS_NAMES, CourseError, german, german_interval, progress, quiet_stderr
from helpers.inner.remembered import remembered
from helpers.learner import asking_copy
from helpers.metrics import bootstrap_interval
from helpers.model import checked_classes, checked_model, enlarge
from helpers.places import (
    FIXED,
    LOOSE,
    box,
    carriers_by_content,
    carriers_by_edge,
    elsewhere,
    fixed_edge,
    fixed_steps,
    infilled,
    over_colors,
    places,
    stamps,
)

with quiet_stderr():
    import tensorflow as tf

SHORTCUT, UNCLEAR, NOTHING = "Abkürzung", "unklar", "kein Befund"
PLACE, GROUP = "Stelle", "Gruppe"
MIN_IMAGES = 8  # so viele Bilder einer Klasse braucht jede Hälfte
PATHS = 256  # Bildpaare je Klasse für die Relevanz
EFFECT = 0.01  # so viel Wahrscheinlichkeit muss die Stelle sicher kosten und, verpflanzt, sicher bringen
# Höchstens so viele eigene und fremde Bilder: beim Aussuchen, beim Messen, und beim Messen ohne festen Rand.
TRIED, MEASURED, SHOWN = (48, 64), (100, 160), (16, 16)
MOST_LOOSE = 3  # so viele Stellen ohne festen Rand: Sie ergeben immer „kein Befund“
BATCH = 64
SOURCES = ("suspicion.py", "places.py", "clusters.py")  # ändert sich eine davon, wird neu gesucht
MOST, MOST_BYTES = 400, 2**28  # so viele Farbbilder einer Klasse genügen, und so viel Speicher für alle zusammen


@dataclass(frozen=True)
class Suspect:
    """Ein Verdacht und was die Eingriffe sagen; Intervalle sind [Wert, tief, hoch], korrigiert für alle Stellen mit
    festem Rand.

    Attributes:
        label: die Klasse.
        region: bool, (h, b): die Stelle.
        kind: „Stelle“ (alle Bilder der Klasse tragen sie) oder „Gruppe“ (nur ein Teil).
        share: Anteil der Bilder der Klasse, die sie tragen (0–1).
        carriers: Nummern dieser Bilder unter den gegebenen, (m,).
        remove: so viel Wahrscheinlichkeit verliert die Klasse, wenn die Stelle zeigt, was Bilder anderer Klassen dort
            zeigen, mehr als bei gleich großen Stellen anderswo; infill: dasselbe, gefüllt mit den nächsten Pixeln.
        transplant: so viel gewinnt sie, wenn die Stelle in Bilder anderer Klassen kommt, mehr als andere Stellen.
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
    edge: float
    verdict: str

    @property
    def score(self) -> float:
        """Was die Eingriffe mindestens ausmachen: Danach ist die Liste geordnet."""
        return min(max(self.remove[1], self.infill[1]), self.transplant[1])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Oberste und unterste Zeile, linke und rechte Spalte der Stelle."""
        return box(self.region)


class Questions:
    """Antworten und Ableitungen eines Netzes, kompiliert und in der Rechengenauigkeit, in der die Maschine schnell ist.

    Kompiliert wird je Modell einmal; die Gewichte sind die, die es beim letzten ``Questions(model)`` hatte.

    Attributes:
        answer: Bilder (uint8, (n, h, b) oder (n, h, b, 3)) → Wahrscheinlichkeiten (n, k).
        slope: Bilder (float32) und eine Klasse → Ableitung ihrer Log-Chance nach jedem Pixel, in der Form der Bilder.
    """

    def __init__(self, model):
        net = asking_copy(checked_model(model, "Die Verdachtssuche"))
        if not hasattr(net, "steps"):
            net.steps = self._compiled(net)
        self._answer, self._slope = net.steps

    @staticmethod
    def _compiled(net) -> tuple:
        def logits(images):
            return tf.cast(net(enlarge(images, net), training=False), tf.float32)

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

        return answer, slope

    @staticmethod
    def _batchwise(step, images, *given):
        parts = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate([step(tf.constant(part), *given).numpy() for part in parts])

    def answer(self, images) -> np.ndarray:
        return self._batchwise(self._answer, images)

    def slope(self, images, label: int) -> np.ndarray:
        return self._batchwise(self._slope, images.astype(np.float32), tf.constant(label))


def relevance_between(net: Questions, images, others, label: int, seed: int = 0, count: int = PATHS) -> np.ndarray:
    """Relevanz jedes Pixels auf dem Weg von Bildern anderer Klassen zu einem dieser Klasse, für jedes Bild.

    Eingabe × Ableitung (= LRP-0) fragt, was ein Pixel gegenüber Grau ausmacht. Hier ist der Vergleich ein anderes Bild:
    Unterschied der Pixel mal Ableitung der Log-Chance, an einem zufälligen Punkt zwischen beiden. Jedes Bild kommt
    gleich oft dran. Im Mittel über alle bleibt stehen, was alle anders macht als die anderen, Rauschen mittelt sich
    weg; was nur einen Teil der Bilder anders macht, zeigen Gruppen (``clusters.spray``).

    Args:
        images, others: uint8, (n, h, b) und (m, h, b) oder beide farbig, (…, 3), n, m ≥ 1.
        label: die Klasse von ``images``.
        count: höchstens so viele Bildpaare, außer es sind mehr Bilder.

    Returns:
        float32, (n, h, b), über die Farben summiert.

    Erion et al. (2021), Expected Gradients, arXiv 1906.10670; Sundararajan et al. (2017), arXiv 1703.01365.
    """
    rng = np.random.default_rng(seed)
    x = np.repeat(images, max(1, count // len(images)), axis=0).astype(np.float32)
    o = others[rng.integers(len(others), size=len(x))].astype(np.float32)
    between = o + rng.random((len(x), *[1] * (x.ndim - 1)), dtype=np.float32) * (x - o)
    relevance = net.slope(between, label) * (x - o)
    relevance = relevance if relevance.ndim == 3 else relevance.sum(axis=-1)
    return relevance.reshape(len(images), -1, *relevance.shape[1:]).mean(axis=1)


def search(model, images, labels, seed: int = 0) -> list[Suspect]:
    """Sucht in jeder Klasse die Stellen, an denen sie hängt, und prüft sie durch Eingriffe.

    Args:
        model: Keras-Modell mit Logits als Ausgang, dessen Eingabe ``preprocess(images, model)`` macht.
        images: rohe Testbilder, uint8, (n, h, b) oder (n, h, b, 3), auch ``Rows``: Von Farbbildern werden höchstens
            ``MOST`` je Klasse gezogen und gelesen.
        labels: ihre Klassen, (n,). Eine Klasse mit weniger als 16 Bildern wird ausgelassen.
        seed: Startwert für Teilung und Auswahl der Bilder.

    Returns:
        Verdächtige, die dringendsten zuerst: je Klasse höchstens eine Stelle mit festem Rand, und von denen ohne die
        drei, auf die am meisten Relevanz zeigt. *Abkürzung*: Füllen (auf eine der beiden Arten) und Verpflanzen machen
        sicher mehr als ``EFFECT`` aus, und der Rand liegt fest. *unklar*: Nur manches davon ist sicher, oder die Bilder
        sagen nicht, ob es der Gegenstand ist. *kein Befund*: Die Stelle macht wenig aus, oder ihr Rand liegt in jedem
        Bild anders, wie bei einem Gegenstand.

    Raises:
        CourseError: wenn keine Klasse genug Bilder hat.
    """
    outputs = checked_model(model, "Die Verdachtssuche").outputs[0].shape[-1]
    labels = checked_classes(labels, len(images), outputs)

    def found() -> list[dict]:
        return [vars(each) for each in search_by(relevance_between, Questions(model), images, labels, seed)]

    given = [np.asarray(labels).tolist(), int(seed)]
    return [Suspect(**each) for each in remembered("verdacht", model, images, given, found, SOURCES)]


def search_by(pointer, net: Questions, images, labels, seed: int = 0) -> list[Suspect]:
    """Wie ``search``, aber die Stellen kommen aus anderen Karten: ``pointer`` steht für ``relevance_between``."""
    rng, labels = np.random.default_rng(seed), np.asarray(labels).astype(int)
    if len(images.shape) == 4:
        drawn = _few(images, labels, rng)
        suspects = _searched(pointer, net, np.asarray(images[drawn]), labels[drawn], rng)
        return [replace(suspect, carriers=drawn[suspect.carriers]) for suspect in suspects]
    return _searched(pointer, net, np.asarray(images), labels, rng)


def _few(images, labels, rng) -> np.ndarray:
    """Nummern von höchstens so vielen Bildern, wie die Suche braucht und der Speicher fasst, aus jeder Klasse."""
    classes = np.unique(labels)
    fitting = MOST_BYTES // (np.prod(images.shape[1:]) * len(classes))
    most = max(4 * MIN_IMAGES, min(MOST, int(fitting)))
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == each))[:most] for each in classes]))


def _searched(pointer, net, images, labels, rng) -> list[Suspect]:
    """Die Suche selbst, auf Bildern im Arbeitsspeicher."""
    classes = [each for each in np.unique(labels) if (labels == each).sum() >= 2 * MIN_IMAGES]
    if len(classes) < 2:
        raise CourseError(
            f"{german(len(images))} Bilder sind für die Suche zu wenige: Sie braucht von mindestens zwei Klassen je "
            f"{2 * MIN_IMAGES} Testbilder."
        )
    search, chosen = _Search(net, images, labels, rng), []
    for each in progress(classes, text="Verdacht", unit="Klassen"):
        chosen += search.candidates(pointer, int(each))
    fixed = [each for each in chosen if each.edge >= LOOSE]  # nur diese können etwas anderes als kein Befund werden
    rest = [each for each in chosen if each.edge < LOOSE]
    loose = sorted(rest, key=lambda each: -each.relevance[each.region].sum())[:MOST_LOOSE]
    measured = progress(fixed + loose, text="Eingriffe", unit="Stellen")
    suspects = [search.measured(each, max(1, len(fixed))) for each in measured]
    order = (SHORTCUT, UNCLEAR, NOTHING)
    return sorted(suspects, key=lambda suspect: (order.index(suspect.verdict), -suspect.score))


def _pointed(maps, shown) -> list[tuple]:
    """(Stelle, Relevanz) für alles, worauf die Karten (n, h, b) der Bilder ``shown`` zeigen: zusammen und je Gruppe.

    Eine Gruppe ist, was ``clusters.spray`` findet; an ihr zählt, was sie von den übrigen unterscheidet.
    """
    relevance = maps.mean(axis=0)
    found = [(place, relevance) for place in places(relevance)]
    for group in clusters.spray(maps) if len(maps) >= 2 * clusters.NEIGHBORS else ():
        if 2 * MIN_IMAGES <= group.sum() < len(maps):
            apart = maps[group].mean(axis=0) - maps[~group].mean(axis=0)
            steps = fixed_steps(shown[group])
            found += [(stamp, apart) for place in places(apart) for stamp in stamps(place, steps)]
    return found


class Candidate(NamedTuple):
    """Eine Stelle, die noch nicht gemessen ist.

    Attributes:
        label: die Klasse.
        region: bool, (h, b): die Stelle.
        carried: bool, (N,): welche Bilder sie tragen.
        relevance: (h, b): die Karte, die auf sie zeigt.
        edge: wie fest ihr Rand liegt, siehe ``fixed_edge``.
    """

    label: int
    region: np.ndarray
    carried: np.ndarray
    relevance: np.ndarray
    edge: float


class _Search:
    """Ein Netz und seine Bilder, geteilt in zwei Hälften: Auf der ersten wird ausgesucht, auf der zweiten gemessen.

    Args:
        net: ``Questions`` an das Netz.
        images: uint8, (N, h, b) oder (N, h, b, 3), im Arbeitsspeicher.
        labels: ihre Klassen, (N,).
        rng: der Zufall für alles, was hier gezogen wird.
    """

    def __init__(self, net, images, labels, rng):
        self.net, self.images, self.labels, self.rng = net, images, labels, rng
        self.first = np.zeros(len(images), bool)
        for each in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == each))
            self.first[members[: len(members) // 2]] = True

    def drawn(self, own, strangers, most: tuple[int, int]) -> list[np.ndarray]:
        """Höchstens so viele Bilder beider Seiten und zu jedem eines der anderen: die ``rows`` für ``after``."""
        sides = zip((own, strangers), most, strict=True)
        own, strangers = (self.rng.permutation(rows)[:count] for rows, count in sides)
        return [own, strangers, self.rng.choice(strangers, len(own)), self.rng.choice(own, len(strangers))]

    def after(self, label: int, region, rows):
        """Wie wahrscheinlich die Klasse nach einem Eingriff ist, je Bild.

        Args:
            rows: Nummern der eigenen (n,) und der fremden Bilder (m,), dann zu jedem eines der anderen, aus dem
                gefüllt (n,) und verpflanzt (m,) wird.

        Returns:
            Nach dem Füllen (n,), nach dem Füllen mit den nächsten Pixeln (n,) und nach dem Verpflanzen (m,).
        """
        own, strangers, donors, sources = (self.images[each] for each in rows)
        place = over_colors(region, self.images)
        changed = (np.where(place, donors, own), infilled(own, region), np.where(place, sources, strangers))
        now = self.net.answer(np.concatenate(changed))[:, label]
        return np.split(now, [len(own), 2 * len(own)])

    def candidates(self, pointer, label: int) -> list[Candidate]:
        """Von den Stellen einer Klasse die mit festem Rand, die auf der Suchhälfte am meisten ausmacht, und die, auf
        die die meiste Relevanz zeigt, ohne festen Rand."""
        images, mine, first = self.images, self.labels == label, self.first
        members, others = np.flatnonzero(mine & first), np.flatnonzero(~mine & first)
        shown = images[self.rng.permutation(members)[:PATHS]]
        maps = pointer(self.net, shown, images[others], label, int(self.rng.integers(2**31)))
        whole, asked, fixed, loose = fixed_steps(images[members]), {}, {}, []
        for place, relevance in _pointed(maps, shown):
            if place.tobytes() not in asked:
                split = carriers_by_content(images, members, others, place, relevance)
                asked[place.tobytes()] = place, relevance, split
            for stamp in stamps(place, whole):
                if stamp.tobytes() not in asked:
                    asked[stamp.tobytes()] = stamp, relevance, carriers_by_edge(images, members, stamp)
        for part, relevance, split in asked.values():
            for carried in split:
                own = members[carried[members]]
                if len(own) < MIN_IMAGES or carried[mine & ~first].sum() < MIN_IMAGES:
                    continue
                steps = fixed_steps(images[own]) if len(split) > 1 else whole
                for region in (part, *stamps(part, steps)):
                    found = Candidate(label, region, carried, relevance, fixed_edge(region, steps))
                    if found.edge < LOOSE:
                        loose.append(found)
                    else:
                        fixed[region.tobytes() + carried.tobytes()] = found

        def urgency(found: Candidate) -> tuple[bool, float, int]:
            rows = self.drawn(members[found.carried[members]], others, TRIED)
            before = self.net.answer(images[np.concatenate(rows[:2])])[:, label]
            mine, strange = (each.mean() for each in np.split(before, [len(rows[0])]))
            filled, near, moved = (each.mean() for each in self.after(label, found.region, rows))
            # Eine größere Stelle bewirkt leicht etwas mehr: Bei gleicher Wirkung zählt die kleinere.
            effect = round(float(min(mine - min(filled, near), moved - strange)), 2)
            return found.edge >= FIXED, effect, -int(found.region.sum())

        strongest = sorted(fixed.values(), key=urgency)[-1:]
        return strongest + loose[:1]

    def measured(self, candidate: Candidate, tried: int) -> Suspect:
        """Misst eine Stelle auf der zweiten Hälfte, gepaart mit gleich großen Stellen anderswo."""
        label, region, carried, relevance, edge = candidate
        mine = self.labels == label
        most = MEASURED if edge >= LOOSE else SHOWN
        own, others = (np.flatnonzero(rows & ~self.first) for rows in (mine & carried, ~mine))
        rows = self.drawn(own, others, most)
        filled, near, moved = self.after(label, region, rows)
        # Die Kontrolle unterscheidet sich nur im Ort: dieselben Bilder, gefüllt und verpflanzt aus denselben.
        elsewhere_too = [self.after(label, other, rows) for other in elsewhere(region, relevance, 2, self.rng)]
        filled_there, near_there, moved_there = (np.mean(each, axis=0) for each in zip(*elsewhere_too, strict=True))
        intervals = []
        for difference in (filled_there - filled, near_there - near, moved - moved_there):
            bounds = bootstrap_interval(difference, draws=2000, level=1 - 0.05 / tried)
            intervals.append([float(difference.mean()), *bounds])
        # Auf hellem Stoff zeigen Bilder anderer Klassen an der Stelle oft dasselbe: Eine Art zu füllen genügt.
        lost, gained = max(intervals[0][1], intervals[1][1]) > EFFECT, intervals[2][1] > EFFECT
        verdict = NOTHING
        if edge >= LOOSE and (lost or gained):
            verdict = SHORTCUT if edge >= FIXED and lost and gained else UNCLEAR
        share, carriers = float(carried[mine].mean()), np.flatnonzero(mine & carried)
        kind = PLACE if share > 0.95 else GROUP
        return Suspect(label, region, kind, share, carriers, *intervals, edge, verdict)


def table(suspects: list[Suspect], names=CLASS_NAMES):
    """Die Verdächtigen zum Lesen, als pandas.DataFrame: eine Zeile je Stelle, Wirkungen als „Wert [tief; hoch]“.

    ``names``: die Namen der Klassen.
    """
    import pandas as pd

    rows = []
    for suspect in suspects:
        top, bottom, left, right = suspect.box
        where = {"Zeilen": f"{top}–{bottom}", "Spalten": f"{left}–{right}", "Pixel": int(suspect.region.sum())}
        carried = f"{suspect.kind}, {german(100 * suspect.share, 0)} %"
        effects = {"Füllen kostet": suspect.remove, "Verpflanzen bringt": suspect.transplant}
        effects = {name: german_interval(interval) for name, interval in effects.items()}
        judged = {"Rand": german(suspect.edge, 2), "Urteil": suspect.verdict}
        rows.append({"Klasse": names[suspect.label], **where, "tragen": carried, **effects, **judged})
    return pd.DataFrame(rows)
