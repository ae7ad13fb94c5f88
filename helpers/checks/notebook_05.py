"""Die Aufgaben von 05_LRP."""

import numpy as np

from helpers.checks.exercise import Exercise, like, when

# --- 5.1 Relevanz von Hand -------------------------------------------------------------------------------------------
# x = (2, 1); versteckt: ReLU(2·1 + 1·1) = 3, ReLU(2·(−2) + 1·2) = 0; Ausgang: 3·2 + 0·5 = 6.
HIDDEN, INPUT = [6.0, 0.0], [4.0, 2.0]


def by_hand():
    return {"versteckt": HIDDEN, "Eingang": INPUT}


def _differs(key, values):
    return lambda output: np.allclose(np.asarray(output[key], dtype=float), values)


BY_HAND = Exercise(
    "5.1",
    by_hand,
    "Ein Netz auf dem Bierdeckel genügt, um zu verstehen, was LRP in VGG16 millionenfach tut.",
    lambda rng: [()],
    when(
        lambda o: not isinstance(o, dict) or set(o) != {"versteckt", "Eingang"},
        "Verlangt sind die Einträge „versteckt“ und „Eingang“, beide mit zwei Zahlen.",
        'So sieht die Antwort aus: by_hand = {"versteckt": [a, b], "Eingang": [c, d]}.',
    ),
    when(
        _differs("versteckt", [1.0, 0.0]),
        "Das sind Anteile, noch keine Relevanz.",
        "Multiplizieren Sie jeden Anteil mit dem Wert, der verteilt wird. Ganz oben ist das der Ausgang.",
    ),
    when(
        lambda o: np.asarray(o["versteckt"], dtype=float)[1] != 0,
        "Das zweite versteckte Neuron ist stumm: Haben Sie das ReLU vergessen?",
        "Aus ReLU(2·(−2) + 1·2) wird null. Wer nichts beiträgt, bekommt auch keine Relevanz.",
    ),
    when(
        _differs("versteckt", [3.0, 0.0]),
        "Das sind die Werte der versteckten Neuronen, nicht ihre Relevanz.",
        "Ihr Beitrag zum Ausgang ist Wert mal Gewicht: 3 · 2.",
    ),
    when(
        lambda o: (
            np.allclose(np.asarray(o["Eingang"], dtype=float), INPUT[::-1])
            or np.allclose(np.asarray(o["versteckt"], dtype=float), HIDDEN[::-1])
        ),
        "Zwei Zahlen sind vertauscht.",
        "Der erste Eintrag gehört zum ersten Neuron, der zweite zum zweiten.",
    ),
    when(
        lambda o: not np.isclose(sum(o["versteckt"]), 6),
        "Der Ausgang stimmt nicht, also auch nicht, was verteilt wird.",
        "Rechnen Sie zuerst vorwärts: versteckt (3, 0), Ausgang 3·2 + 0·5 = 6.",
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
    "Dieser eine Schritt, Schicht für Schicht wiederholt, ist LRP-ε für jedes Netz aus dichten Schichten mit ReLU.",
    _layers,
    like(
        lambda *a: lrp_layer(*a, times_a=False),
        "Der Faktor a fehlt: Auch ein Eingang mit dem Wert null bekommt bei Ihnen Relevanz.",
        "Der Beitrag ist a · w. Multiplizieren Sie das Ergebnis am Ende mit a.",
    ),
    like(
        lambda *a: lrp_layer(*a, sign=False),
        "Das ε hat immer dasselbe Vorzeichen. Ein negativer Nenner rückt dadurch näher an null.",
        "ε bekommt das Vorzeichen von z: z + epsilon * np.where(z >= 0, 1, -1).",
    ),
    like(
        lambda a, w, b, r, e: lrp_layer(a, w, b, r, 0),
        "Das ε fehlt im Nenner: Das ist LRP-0.",
        "Addieren Sie ε im Nenner, mit dem Vorzeichen von z.",
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
        "Erst relevance / z, dann mit weights.T zurück und mit a multiplizieren.",
    ),
)


# --- 5.3 Den Fehler der Bibliothek finden ----------------------------------------------------------------------------
def suspects(found, reference, least):
    return _suspicious(found, reference, lambda closeness: closeness.min() < least)


def _closeness(maps, expected):
    pairs = zip(maps, expected, strict=True)
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])


def _suspicious(found, reference, test, worst=np.argmin):
    each = {name: _closeness(maps, reference[name]) for name, maps in found.items()}
    return [(name, int(worst(closeness))) for name, closeness in each.items() if test(closeness)]


def _whole(found, reference, least):
    """Alle Bilder einer Regel in einem Zug verglichen."""
    together = {name: np.corrcoef(maps.ravel(), reference[name].ravel())[0, 1] for name, maps in found.items()}
    return [pair for pair in _suspicious(found, reference, lambda _: True) if together[pair[0]] < least]


def _rules(rng):
    cases = []
    for count, least in ((6, 0.99), (5, 0.95)):
        exact = {
            name: rng.normal(size=(count, 6, 6)) for name in ("genau", "knapp", "einmal", "leise", "laut", "immer")
        }
        found = {name: 3 * maps for name, maps in exact.items()}  # die Korrelation fragt nicht nach der Größe
        found["knapp"] = exact["knapp"] + 0.02 * rng.normal(size=(count, 6, 6))
        # Ein Bild weicht ab, und im Mittel über alle Bilder fällt es nicht auf.
        once, share = int(rng.integers(1, count)), 1.2 * np.sqrt(1 - least)
        found["einmal"][once] += 3 * share * np.sqrt(2) * rng.permutation(exact["einmal"][once].ravel()).reshape(6, 6)
        # Ein blasses Bild ist ganz falsch: In einem Zug verglichen geht es unter.
        quiet = int(rng.integers(1, count))
        exact["leise"][quiet] *= 0.01
        found["leise"][quiet] = -0.01 * rng.random((6, 6))
        exact["laut"][0] *= 10
        found["laut"] = np.concatenate([10 * rng.normal(size=(1, 6, 6)), exact["laut"][1:]])
        found["immer"] = rng.normal(size=(count, 6, 6))
        names = rng.permutation(list(found)).tolist()
        cases.append(({name: found[name] for name in names}, dict(sorted(exact.items())), least))
    return cases


def _by_place(found, reference, least):
    """Regeln nach ihrer Stelle im Wörterbuch zugeordnet statt nach ihrem Namen."""
    return suspects(found, dict(zip(found, reference.values(), strict=True)), least)


SUSPECTS = Exercise(
    "5.3",
    suspects,
    "Eine zweite Rechnung, Regel für Regel und Bild für Bild verglichen: So verrät sich ein Fehler in fremdem Code.",
    _rules,
    like(
        lambda f, r, t: [(n, int(np.argmin(_closeness(m, r[n])))) for n, m in f.items() if not suspects({n: m}, r, t)],
        "Sie nennen die unauffälligen Regeln.",
        "Verdächtig ist, was schlechter übereinstimmt: kleiner als least.",
    ),
    like(
        lambda f, r, t: _suspicious(f, r, lambda closeness: closeness.min() < t, np.argmax),
        "Die Regeln stimmen, aber Sie nennen das Bild, das am besten passt.",
        "Das schlechteste Bild hat die kleinste Korrelation: np.argmin.",
    ),
    like(
        _whole,
        "Sie vergleichen alle Bilder in einem Zug: Ein blasses, ganz falsches Bild geht dabei unter.",
        "Bilden Sie eine Korrelation je Bild: zip(found[name], reference[name]).",
    ),
    like(
        lambda f, r, t: _suspicious(f, r, lambda closeness: closeness.mean() < t),
        "Sie mitteln die Korrelationen: Ein einzelnes falsches Bild kann sich darin verstecken.",
        "Ein Bild genügt für den Verdacht: Vergleichen Sie die kleinste Korrelation mit least.",
    ),
    like(
        lambda f, r, t: _suspicious(f, r, lambda closeness: closeness.max() < t),
        "Sie melden eine Regel erst, wenn alle Bilder abweichen.",
        "Ein Bild genügt für den Verdacht: min statt max.",
    ),
    like(
        _by_place,
        "Die beiden Wörterbücher sind verschieden geordnet: Sie vergleichen, was nicht zueinandergehört.",
        "Holen Sie zu jedem Namen die passenden Karten: reference[name].",
    ),
    like(
        lambda f, r, t: [name for name, _ in suspects(f, r, t)],
        "Es fehlt, welches Bild am schlechtesten passt.",
        "Hängen Sie Paare an: (name, Nummer des Bilds).",
    ),
    like(
        lambda f, r, t: [(n, int(i)) for n, m in f.items() for i in np.flatnonzero(_closeness(m, r[n]) < t)],
        "Sie nennen jedes auffällige Bild, verlangt ist je Regel nur das schlechteste.",
        "Bilden Sie je Regel ein Paar, mit dem Bild der kleinsten Korrelation: np.argmin.",
    ),
)


# --- 5.4 Sicher ja, sicher nein, offen -------------------------------------------------------------------------------
def answer(low, high, threshold):
    return _answer(low > threshold, high < threshold)


def _answer(yes, no):
    return "ja" if yes else "nein" if no else "offen"


def _intervals(rng):
    cases = [(0.6, 0.8, 0.5), (0.2, 0.4, 0.5), (0.3, 0.7, 0.5), (0.5, 0.7, 0.5), (0.3, 0.5, 0.5), (-0.4, -0.2, -0.3)]
    cases += [(0.1, 0.7, 0.5), (0.45, 0.95, 0.5)]  # die Mitte liegt jenseits der Schwelle, das Intervall nicht ganz
    drawn = np.sort(rng.uniform(-1, 1, (20, 2)), axis=1)
    return cases + [(*map(float, pair), float(rng.uniform(-1, 1))) for pair in drawn]


ANSWER = Exercise(
    "5.4",
    answer,
    "„Offen“ heißt: Die Messung reicht nicht. So entscheidet nicht der Zufall der Stichprobe.",
    _intervals,
    like(
        lambda low, high, t: _answer(low > t, low <= t),
        "Bei Ihnen heißt alles „nein“, was nicht sicher „ja“ ist.",
        "Enthält das Intervall die Schwelle, ist die Antwort „offen“.",
    ),
    like(
        lambda low, high, t: _answer(high > t, high <= t),
        "Bei Ihnen genügt für „ja“ das obere Ende.",
        "Sicher ist „ja“ nur, wenn auch das untere Ende über der Schwelle liegt.",
    ),
    like(
        lambda low, high, t: _answer(low + high > 2 * t, low + high < 2 * t),
        "Sie entscheiden nach der Mitte des Intervalls: Dann hätte man es nicht ausrechnen müssen.",
        "Verglichen werden die Enden: low > threshold, high < threshold.",
    ),
    like(
        lambda low, high, t: _answer(high < t, low > t),
        "„ja“ und „nein“ sind vertauscht.",
        "Liegt das ganze Intervall über der Schwelle, ist die Antwort „ja“.",
    ),
    like(
        lambda low, high, t: _answer(low >= t, high <= t),
        "Ein Intervall, das die Schwelle gerade berührt, ist noch nicht auf einer Seite.",
        "Nehmen Sie > und < statt >= und <=.",
    ),
    like(
        lambda low, high, t: bool(low > t),
        "Verlangt ist ein Text, kein Wahrheitswert.",
        "Geben Sie „ja“, „nein“ oder „offen“ zurück.",
    ),
)


# --- 5.5 Ihr Urteil --------------------------------------------------------------------------------------------------
TRUST, DISTRUST, UNDECIDED = "kein Einwand gefunden", "nicht vertrauen", "nicht entscheidbar"
TOOL, NEEDS_TOOL = ("treue", "plausibilitaet", "mitgehen"), ("ort", "gruppen")
NAMES = ("leistung", "schwaechste", "kalibrierung", "stabil", *TOOL, "suche", *NEEDS_TOOL, "eingriff")


def judge(answers):
    works = all(answers[name] == "ja" for name in TOOL)
    counted = [answers[name] for name in NAMES if name not in TOOL and (works or name not in NEEDS_TOOL)]
    return _verdict("nein" in counted, works and set(counted) == {"ja"})


def _verdict(objection, clear):
    return DISTRUST if objection else TRUST if clear else UNDECIDED


def _said(answers, *left_out):
    return [said for name, said in answers.items() if name not in left_out]


def _void(answers):
    """Was nicht zählt, weil die Erklärung nichts taugt."""
    return () if all(answers[name] == "ja" for name in TOOL) else NEEDS_TOOL


def _answer_sheets(rng):
    good = dict.fromkeys(NAMES, "ja")
    sheets = [good] + [good | {name: said} for name in NAMES for said in ("nein", "offen")]
    sheets += [good | {tool: "nein", name: "nein"} for tool in TOOL for name in NEEDS_TOOL]
    sheets += [good | {"treue": "offen", "eingriff": "nein"}, good | {"ort": "nein", "leistung": "offen"}]
    sheets += [
        dict(zip(NAMES, rng.choice(["ja", "nein", "offen"], len(NAMES)).tolist(), strict=True)) for _ in range(30)
    ]
    return [({name: sheet[name] for name in rng.permutation(NAMES).tolist()},) for sheet in sheets]


def _judged(change):
    """Das Urteil über Antworten, die ``change`` vorher verändert."""
    return lambda answers: judge({name: change(said) for name, said in answers.items()})


JUDGE = Exercise(
    "5.5",
    judge,
    "Das Urteil des Kurses ist jetzt Ihr eigener Code, und jeder kann nachlesen, wie es zustande kommt.",
    _answer_sheets,
    like(
        lambda a: _verdict("nein" in _said(a), set(_said(a)) == {"ja"}),
        "Bei Ihnen zählt ein Nein zu Treue, Plausibilität oder Mitgehen gegen das Netz. Es ist ein Nein zur Erklärung.",
        "Über das Netz sagen nur die anderen acht Fragen etwas.",
    ),
    like(
        lambda a: _verdict("nein" in _said(a, *_void(a)), set(_said(a)) == {"ja"}),
        "Ort und Gruppen lassen Sie zu Recht weg, aber das Nein zur Erklärung selbst zählt bei Ihnen gegen das Netz.",
        "Treue, Plausibilität und Mitgehen zählen in Punkt 2 nie: Über das Netz sagen sie nichts.",
    ),
    like(
        lambda a: _verdict("nein" in _said(a, *TOOL), set(_said(a)) == {"ja"}),
        "Eine Erklärung, die ihre eigene Prüfung nicht besteht, klagt bei Ihnen trotzdem an.",
        "Ohne dreimal „ja“ bei Treue, Plausibilität und Mitgehen zählen „ort“ und „gruppen“ nicht.",
    ),
    like(
        lambda a: judge(a) if all(a[name] == "ja" for name in TOOL) else UNDECIDED,
        "Bei Ihnen endet alles, wenn die Erklärung nichts taugt. Sechs Fragen brauchen sie aber nicht.",
        "Ein Nein zu Leistung, Suche, Eingriff oder einer der drei anderen heißt auch dann „nicht vertrauen“.",
    ),
    like(
        lambda a: _verdict("nein" in _said(a, *TOOL, *NEEDS_TOOL), set(_said(a, *TOOL, *NEEDS_TOOL)) == {"ja"}),
        "Ort und Gruppen zählen bei Ihnen nie.",
        "Besteht die Erklärung ihre Prüfung, dann zählen auch „ort“ und „gruppen“.",
    ),
    like(
        _judged(lambda said: "nein" if said == "offen" else said),
        "Sie behandeln „offen“ wie „nein“.",
        "Was offen ist, klagt nicht an: Dann lautet das Urteil „nicht entscheidbar“.",
    ),
    like(
        _judged(lambda said: "ja" if said == "offen" else said),
        "Sie behandeln „offen“ wie „ja“.",
        "„kein Einwand gefunden“ heißt: Alle elf Fragen sind mit „ja“ beantwortet.",
    ),
    like(
        lambda a: {TRUST: DISTRUST, DISTRUST: TRUST}.get(judge(a), UNDECIDED),
        "Die beiden Urteile sind vertauscht.",
        "Elfmal „ja“ heißt „kein Einwand gefunden“.",
    ),
    like(
        lambda a: judge(a) == TRUST,
        "Verlangt ist ein Text, kein Wahrheitswert.",
        "Geben Sie eines der drei Urteile zurück.",
    ),
    like(
        lambda a: "vertrauen" if judge(a) == TRUST else judge(a),
        "„vertrauen“ verspricht mehr, als die elf Fragen halten.",
        "Das Urteil heißt „kein Einwand gefunden“.",
    ),
)
