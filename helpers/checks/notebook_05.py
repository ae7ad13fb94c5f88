"""Die Aufgaben von 05_LRP."""

import numpy as np

from helpers.checks.exercise import Exercise, like, when

# --- 5.1 Relevanz von Hand -------------------------------------------------------------------------------------------
# x = (2, 1); verdeckt: ReLU(2·1 + 1·1) = 3, ReLU(2·(−2) + 1·2) = 0; Ausgang: 3·2 + 0·5 = 6.
HIDDEN, INPUT = [6.0, 0.0], [4.0, 2.0]


def by_hand():
    return {"verdeckt": HIDDEN, "Eingang": INPUT}


def _differs(key, values):
    return lambda output: np.allclose(np.asarray(output[key], dtype=float), values)


BY_HAND = Exercise(
    "5.1",
    by_hand,
    "Ein Netz auf dem Bierdeckel genügt, um zu verstehen, was LRP in VGG16 millionenfach tut.",
    lambda rng: [()],
    when(
        lambda o: not isinstance(o, dict) or set(o) != {"verdeckt", "Eingang"},
        "Verlangt sind die Einträge „verdeckt“ und „Eingang“, beide mit zwei Zahlen.",
        'So sieht die Antwort aus: by_hand = {"verdeckt": [a, b], "Eingang": [c, d]}.',
    ),
    when(
        _differs("verdeckt", [1.0, 0.0]),
        "Das sind Anteile, noch keine Relevanz.",
        "Nehmen Sie jeden Anteil mit dem Wert mal, der verteilt wird. Ganz oben ist das der Ausgang.",
    ),
    when(
        lambda o: np.asarray(o["verdeckt"], dtype=float)[1] != 0,
        "Das zweite verdeckte Neuron ist stumm: Haben Sie das ReLU vergessen?",
        "Aus ReLU(2·(−2) + 1·2) wird null. Wer nichts beiträgt, bekommt auch keine Relevanz.",
    ),
    when(
        _differs("verdeckt", [3.0, 0.0]),
        "Das sind die Werte der verdeckten Neuronen, nicht ihre Relevanz.",
        "Ihr Beitrag zum Ausgang ist Wert mal Gewicht: 3 · 2.",
    ),
    when(
        lambda o: (
            np.allclose(np.asarray(o["Eingang"], dtype=float), INPUT[::-1])
            or np.allclose(np.asarray(o["verdeckt"], dtype=float), HIDDEN[::-1])
        ),
        "Zwei Zahlen sind vertauscht.",
        "Der erste Eintrag gehört zum ersten Neuron, der zweite zum zweiten.",
    ),
    when(
        lambda o: not np.isclose(sum(o["verdeckt"]), 6),
        "Der Ausgang stimmt nicht, also auch nicht, was verteilt wird.",
        "Rechnen Sie zuerst vorwärts: verdeckt (3, 0), Ausgang 3·2 + 0·5 = 6.",
    ),
    when(
        lambda o: not np.isclose(sum(o["Eingang"]), 6),
        "Die Relevanz ist nicht erhalten: Beide Eingänge zusammen ergeben nicht den Ausgang.",
        "Jede Schicht verteilt denselben Kuchen. Die Summe muss überall 6 sein.",
    ),
    when(
        lambda o: True,
        "Die Summe stimmt, die Verteilung noch nicht.",
        "Verteilt wird im Verhältnis der Beiträge Wert · Gewicht: im ersten Neuron 2·1 zu 1·1.",
    ),
    is_value=True,
)


# --- 5.2 LRP-ε für eine Schicht --------------------------------------------------------------------------------------
def lrp_layer(a, weights, bias, relevance, epsilon, sign=True, times_a=True):
    z = a @ weights + bias
    z = z + epsilon * (np.where(z >= 0, 1, -1) if sign else 1)
    passed = (relevance / z) @ weights.T
    return a * passed if times_a else passed


def _layers(rng):
    cases = []
    for n, wide, narrow, epsilon in ((3, 6, 4, 0.25), (2, 5, 7, 0.1)):
        a = np.maximum(rng.normal(size=(n, wide)), 0)
        a[:, 0] += 0.5
        weights = rng.normal(size=(wide, narrow)) + 0.2
        cases.append((a, weights, rng.normal(size=narrow), rng.normal(size=(n, narrow)), epsilon))
    return cases


def _shares_per_input(a, w, b, r, e):
    """Die Beiträge über die falsche Achse geteilt: Jeder Eingang verteilt sich auf alle Ausgänge."""
    total = a * w.sum(axis=1)
    return a * (r @ w.T) / (total + e * np.where(total >= 0, 1, -1))


LAYER = Exercise(
    "5.2",
    lrp_layer,
    "Diese eine Zeile, Schicht für Schicht wiederholt, ist LRP-ε für jedes Netz aus dichten Schichten.",
    _layers,
    like(
        lambda *a: lrp_layer(*a, times_a=False),
        "Die Aktivierung fehlt: Auch ein Eingang mit dem Wert null bekommt bei Ihnen Relevanz.",
        "Der Beitrag ist a · w. Nehmen Sie das Ergebnis am Ende mit a mal.",
    ),
    like(
        lambda *a: lrp_layer(*a, sign=False),
        "Das ε hat immer dasselbe Vorzeichen. Ein negativer Nenner rückt dadurch näher an null.",
        "ε bekommt das Vorzeichen von z: z + epsilon * np.where(z >= 0, 1, -1).",
    ),
    like(
        lambda a, w, b, r, e: lrp_layer(a, w, b, r, 0),
        "Das ε fehlt im Nenner: Das ist LRP-0.",
        "Legen Sie ε in den Nenner, mit dessen Vorzeichen.",
    ),
    like(
        lambda a, w, b, r, e: lrp_layer(a, w, 0, r, e),
        "Im Nenner fehlt der Bias.",
        "z ist, was die Schicht wirklich ausrechnet: a @ weights + bias.",
    ),
    like(
        _shares_per_input,
        "Falsche Achse: Jeder Ausgang muss seine Relevanz auf alle Eingänge verteilen, nicht umgekehrt.",
        "Geteilt wird durch die Summe über die Eingänge, also durch z = a @ weights + bias.",
    ),
    like(
        lambda a, w, b, r, e: a * (r @ w.T),
        "Die Relevanz ist nicht erhalten: Sie teilen nicht durch z.",
        "Erst relevance / z, dann mit weights.T zurück und mit a malnehmen.",
    ),
)


# --- 5.3 Wo geht Relevanz verloren? ----------------------------------------------------------------------------------
def not_conserving(logits, maps, tolerance):
    return _suspicious(logits, maps, lambda r: (np.abs(r.sum(axis=1) - logits) > tolerance * np.abs(logits)).any())


def _suspicious(logits, maps, test):
    return [name for name, r in maps.items() if test(r.reshape(len(logits), -1))]


def _rules(rng):
    cases = []
    for count in (6, 4):
        logits = rng.uniform(5, 20, count)
        logits[-1] *= -1
        share = rng.dirichlet(np.ones(16), count).reshape(count, 4, 4)
        signed = rng.normal(size=(count, 4, 4)) * 8
        signed -= signed.mean(axis=(1, 2), keepdims=True)
        exact = share * logits[:, None, None] + signed
        swap, leak = exact.copy(), exact.copy()
        swap[:2] += np.reshape([0.2, -0.2], (2, 1, 1))  # stimmt nur in der Summe über alle Bilder
        leak[2, 0, 0] -= 0.5 * logits[2]
        maps = {"genau": exact, "tausch": swap, "knapp": exact * 1.02, "leck": leak, "doppelt": 2 * exact}
        cases.append((logits, {name: maps[name] for name in rng.permutation(list(maps)).tolist()}, 0.05))
    return cases


CONSERVATION = Exercise(
    "5.3",
    not_conserving,
    "So findet man den Fehler in einer Bibliothek, ohne ihren Code zu lesen.",
    _rules,
    like(
        lambda y, m, t: [n for n in m if n not in not_conserving(y, m, t)],
        "Sie nennen die unauffälligen Regeln.",
        "Gesucht sind die Regeln, deren Summe vom Logit abweicht: > statt <=.",
    ),
    like(
        lambda y, m, t: _suspicious(y, m, lambda r: abs(r.sum() - y.sum()) > t * abs(y.sum())),
        "Sie summieren über alle Bilder zugleich: Fehler heben sich dabei auf.",
        "Bilden Sie eine Summe je Bild: relevance.reshape(n, -1).sum(axis=1).",
    ),
    like(
        lambda y, m, t: _suspicious(y, m, lambda r: (r.sum(axis=1) - y > t * np.abs(y)).any()),
        "Der Betrag fehlt: Verlorene Relevanz bemerken Sie nicht immer.",
        "Vergleichen Sie np.abs(summe − logit).",
    ),
    like(
        lambda y, m, t: _suspicious(y, m, lambda r: (np.abs(r.sum(axis=1) - y) > t).any()),
        "Die Grenze ist ein Anteil, Sie vergleichen aber den Abstand selbst.",
        "Erlaubt ist tolerance · |Logit|.",
    ),
    like(
        lambda y, m, t: _suspicious(y, m, lambda r: (np.abs(np.abs(r).sum(axis=1) - np.abs(y)) > t * np.abs(y)).any()),
        "Sie summieren die Beträge der Relevanz.",
        "Negative Relevanz gehört dazu: Erst summieren, dann mit dem Logit vergleichen.",
    ),
    like(
        lambda y, m, t: _suspicious(y, m, lambda r: (np.abs(r.sum(axis=1) - y) > t * np.abs(y)).all()),
        "Sie melden eine Regel erst, wenn alle Bilder abweichen.",
        "Ein einziges Bild genügt für den Verdacht: any statt all.",
    ),
)


# --- 5.4 Treue in einer Zahl -----------------------------------------------------------------------------------------
def faithfulness(curves, random_curves):
    return _area(curves) / _area(random_curves)


def _area(values):
    return np.trapezoid(values.mean(axis=0), dx=1 / (values.shape[1] - 1))


def _curves(rng):
    cases = []
    for count, points in ((8, 11), (5, 6)):
        x = np.linspace(0, 1, points)
        fast = np.exp(-5 * x) * rng.uniform(0.7, 1, (count, 1))
        slow = (1 - 0.7 * x) * rng.uniform(0.7, 1, (count, 1))
        cases.append((fast + 0.05 * rng.random((count, points)), slow))
    return cases


FAITHFULNESS = Exercise(
    "5.4",
    faithfulness,
    "Unter 1 heißt: besser als Zufall. Ohne den Zufall daneben sagt die Fläche wenig.",
    _curves,
    like(
        lambda c, r: 1 / faithfulness(c, r),
        "Der Bruch steht auf dem Kopf.",
        "Geteilt wird durch die Fläche des Zufalls. Kleine Werte sind dann gut.",
    ),
    like(
        lambda c, r: _area(c),
        "Das ist die Fläche selbst, noch nicht verglichen mit dem Zufall.",
        "Teilen Sie durch die Fläche der Zufallskurven.",
    ),
    like(
        lambda c, r: _area(c) - _area(r),
        "Sie bilden die Differenz, gefragt ist das Verhältnis.",
        "Teilen Sie die erste Fläche durch die zweite.",
    ),
    like(
        lambda c, r: c.mean() / r.mean(),
        "Sie mitteln die Punkte. Dabei zählen Anfang und Ende doppelt.",
        "Nehmen Sie die Trapezregel: np.trapezoid.",
    ),
    like(
        lambda c, r: np.trapezoid(c, axis=1) / np.trapezoid(r, axis=1),
        "Das ist ein Wert je Bild, gefragt ist einer für alle.",
        "Mitteln Sie zuerst die Kurven über die Bilder: curves.mean(axis=0).",
    ),
    like(
        lambda c, r: (np.trapezoid(c, axis=1) / np.trapezoid(r, axis=1)).mean(),
        "Sie mitteln die Verhältnisse der einzelnen Bilder. Ein Bild mit kleiner Fläche zählt dann zu viel.",
        "Erst beide Kurven über die Bilder mitteln, dann die Flächen teilen.",
    ),
    like(
        lambda c, r: np.trapezoid(c, axis=0).mean() / np.trapezoid(r, axis=0).mean(),
        "Falsche Achse: Sie bilden die Fläche über die Bilder statt über die Schritte.",
        "Die Schritte liegen auf der letzten Achse. Mitteln Sie über Achse 0, die Fläche folgt danach.",
    ),
    like(
        lambda c, r: c[:, -1].mean() / r[:, -1].mean(),
        "Sie vergleichen nur das Ende der Kurven.",
        "Entscheidend ist, wie schnell die Kurve fällt: die ganze Fläche.",
    ),
)


# --- 5.5 Ihr Urteil --------------------------------------------------------------------------------------------------
TRUST, DISTRUST = "kein Einwand gefunden", "nicht vertrauen"


def verdict(accuracy, mass, mass_edges, kept):
    return _judgement(accuracy > 0.5, mass < 1.7 * mass_edges, kept > 0.7)


def _networks(rng):
    cases = [(0.87, 0.05, 0.04, 0.95), (0.90, 0.20, 0.04, 0.10), (0.10, 0.04, 0.04, 0.95)]
    cases += [(0.90, 0.20, 0.04, 0.95), (0.90, 0.05, 0.04, 0.30), (0.85, 0.062, 0.04, 0.8)]
    return cases + [tuple(map(float, row)) for row in rng.uniform(0, (1, 0.1, 0.06, 1), (20, 4))]


def _judgement(*answers, join=all):
    return TRUST if join(answers) else DISTRUST


VERDICT = Exercise(
    "5.5",
    verdict,
    "Ihr Urteil steht jetzt auf drei Zahlen, und jeder kann es nachrechnen.",
    _networks,
    like(
        lambda a, m, e, k: _judgement(a > 0.5, m < 1.7 * e, k > 0.7, join=any),
        "Bei Ihnen genügt ein einziges Ja.",
        "Wer eine Frage mit Nein beantwortet, vertraut nicht: Verbinden Sie die drei Fragen mit „and“.",
    ),
    like(
        lambda a, m, e, k: DISTRUST if verdict(a, m, e, k) == TRUST else TRUST,
        "Die beiden Urteile sind vertauscht.",
        "Dreimal Ja heißt „kein Einwand gefunden“.",
    ),
    like(
        lambda a, m, e, k: _judgement(a > 0.5, m > 1.7 * e, k > 0.7),
        "Die Frage nach dem Grund ist umgedreht: Viel Relevanz auf dem Fremdkörper spricht gegen das Netz.",
        "Verlangt ist mass < 1.7 * mass_edges.",
    ),
    like(
        lambda a, m, e, k: _judgement(a > 0.5, k > 0.7),
        "Die Frage nach dem Grund fehlt.",
        "Vergleichen Sie mass mit dem, was der Kantenfilter dort sieht: mass < 1.7 * mass_edges.",
    ),
    like(
        lambda a, m, e, k: _judgement(a > 0.5, m < 1.7 * e),
        "Die Frage nach dem Eingriff fehlt.",
        "Die Antwort muss dieselbe bleiben, wenn man den Verdächtigen entfernt: kept > 0.7.",
    ),
    like(
        lambda a, m, e, k: _judgement(a > 0.5),
        "Sie urteilen nur nach der Trefferquote. Genau darauf fällt man beim Zwilling herein.",
        "Prüfen Sie auch Grund und Eingriff.",
    ),
    like(
        lambda a, m, e, k: _judgement(a > 0.5, m < e, k > 0.7),
        "Die Grenze beim Grund ist zu streng: Schon Kanten ziehen Relevanz an.",
        "Erlaubt ist das 1,7-Fache dessen, was der Kantenfilter sieht.",
    ),
    like(
        lambda a, m, e, k: bool(verdict(a, m, e, k) == TRUST),
        "Verlangt ist ein Text, kein Wahrheitswert.",
        "Geben Sie „kein Einwand gefunden“ oder „nicht vertrauen“ zurück.",
    ),
)
