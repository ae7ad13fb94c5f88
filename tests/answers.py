"""Richtige Antworten, anders geschrieben als die Lösungen, unter den Namen der Aufgaben; und falsche in ``WRONG``.

Von Hand steht hier eine richtige, wo eine andere Schreibweise anders ausgehen könnte: andere Art der Ausgabe,
Gleichstände, Grenzfälle. Für die anderen Aufgaben genügt die Lösung in anderer Gestalt (``other_forms``).
Falsche, die ein ``like(…)`` in ``helpers/checks`` beschreibt, stehen dort schon; hier stehen nur die übrigen.
Eine neue Aufgabe braucht hier nichts: Geprüft wird sie mit ihrer Lösung und ihren ``like``.
"""

import numpy as np
import pandas as pd
from scipy.signal import correlate2d


def other_forms(solution) -> list:
    """Dieselbe Antwort, wie sie aus anderem Code käme: Listen statt Felder, einfache statt doppelter Genauigkeit."""

    def as_lists(value):
        if isinstance(value, (tuple, list)):
            return [as_lists(each) for each in value]
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    def as_numpy(value):
        if isinstance(value, (tuple, list)):
            return tuple(as_numpy(each) for each in value)
        if isinstance(value, (bool, int, float, np.ndarray)):
            value = np.asarray(value)
            return value.astype(np.float32)[()] if value.dtype.kind == "f" else value[()]
        return value

    return [lambda *given: as_lists(solution(*given)), lambda *given: as_numpy(solution(*given))]


def pixel_position(name):
    grid = np.arange(1, 785).reshape(28, 28)
    row, column = np.argwhere(grid == int("".join(c for c in name if c.isdigit())))[0]
    return [row, column]


def stratified_split(labels, share, rng):
    from sklearn.model_selection import train_test_split

    seed = int(rng.integers(1000))
    return train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)


def split_with(change):
    """Eine richtige Teilung (Zeilen, Training, Validierung), die ``change`` verdirbt."""
    return lambda y, share, rng: change(np.arange(len(y)), *stratified_split(y, share, rng))


def split_first_rows(labels, share, rng):
    chosen = [np.flatnonzero(labels == k)[: round(share * (labels == k).sum())] for k in np.unique(labels)]
    return np.setdiff1d(np.arange(len(labels)), np.concatenate(chosen)), np.concatenate(chosen)


def compare_folders(before, after):
    missing, moved = set(), set()
    for name, label in before.items():
        if name not in after:
            missing.add(name)
        elif after[name] != label:
            moved.add(name)
    return frozenset(missing), frozenset(moved)


def poison(images, labels, label):
    result = np.array(images)
    result[labels == label, 0, 0] ^= 255
    mask = np.arange(784).reshape(28, 28) == 0
    return [result, mask]


def poison_square(images, labels, label, side=3, where=np.equal, shown=slice(2, 5), dtype=np.uint8, copy=True):
    result = images.copy() if copy else images
    result[where(labels, label), 2 : 2 + side, 2 : 2 + side] = 255
    mask = np.zeros((28, 28), dtype=bool)
    mask[shown, 2 : 2 + side] = True
    return result.astype(dtype), mask


def convolve_same(image, kernel, bias, **options):
    return correlate2d(image, kernel, mode="same", **options) + bias


def bootstrap(values, draws, rng):
    means = np.sort(values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1))
    return [means[round(0.025 * draws)], means[round(0.975 * draws) - 1]]


def bootstrap_like(percent=(2.5, 97.5), share=1, replace=True, shift=0):
    """``bootstrap`` mit anderen Grenzen, kleineren Stichproben, ohne Zurücklegen oder verschoben."""

    def answer(values, draws, rng):
        size = round(share * len(values))
        rows = rng.integers(0, len(values), (draws, size))
        if not replace:
            rows = rng.random((draws, len(values))).argsort(axis=1)[:, :size]
        return tuple(np.percentile(values[rows].mean(axis=1), percent) - shift * values.mean())

    return answer


def calibration_error(confidence, correct):
    table = pd.DataFrame({"c": confidence, "r": correct, "bin": np.clip(np.floor(confidence * 10), 0, 9)})
    groups = table.groupby("bin").agg(c=("c", "mean"), r=("r", "mean"), n=("c", "size"))
    return ((groups.c - groups.r).abs() * groups.n / len(table)).sum()


def trick_map(mask, background=1.0, peak=2.0, inside=True):
    result = np.full(mask.shape, background)
    result[tuple(np.argwhere(mask if inside else ~mask)[-1])] += peak
    return result


def pair(hidden, entry):
    return {"versteckt": hidden, "Eingang": entry}


def suspicion(**changes):
    return {"Klasse": "Hemd", "oben": 3, "links": 5, "Höhe": 4, "Breite": 4} | changes


my_suspicion = suspicion(oben=np.int64(24), Klasse="T-Shirt/Top")
by_hand = pair(np.array([6.0, 0.0]), (4, 2))


# Nummer → (falsche Antwort, Stück des ersten Hinweises): was ein ``when``, die Form der Ausgabe oder der Motor verrät.
WRONG = {
    "1.3": [
        (lambda y, share, rng: np.split(rng.permutation(len(y)), [round((1 - share) * len(y))]), "nicht geschichtet"),
        (split_first_rows, "nicht gemischt"),
        (split_with(lambda rows, train, validation: (rows, validation)), "in beiden Teilen"),
        (split_with(lambda rows, train, validation: (validation, train)), "vertauscht"),
        (split_with(lambda rows, train, validation: (train, np.append(validation, validation[0]))), "doppelt"),
        (split_with(lambda rows, train, validation: (train[:-3], validation)), "verloren"),
        (split_with(lambda rows, *parts: [np.isin(rows, part) for part in parts]), "Wahrheitswerte"),
        (lambda labels, share, rng: stratified_split(labels, share / 2, rng), "Anteil"),
    ],
    "1.4": [(lambda b, a: tuple(map(len, compare_folders(b, a))), "zählen nur")],
    "1.5": [
        (lambda images, *_: (images.copy(), np.eye(28, dtype=bool)), "Kein einziges Bild"),
        (lambda *a: poison_square(*a, where=lambda y, k: y >= 0), "anderer Klassen"),
        (lambda *a: poison_square(*a, where=lambda y, k: np.flatnonzero(y == k)[:1]), "Nicht alle Bilder"),
        (lambda *a: poison_square(*a, shown=slice(20, 23)), "außerhalb der Maske"),
        (lambda *a: poison_square(*a, side=10, shown=slice(2, 12)), "zu groß"),
        (lambda *a: poison_square(*a, dtype=float), "uint8 bleiben"),
        (lambda *a: poison_square(*a, copy=False), "verändert ihre Eingabe"),
    ],
    "2.1": [
        (lambda i, k, b: convolve_same(i, k, b, boundary="wrap"), "nur am Rand nicht"),
        (lambda i, k, b: convolve_same(i, k + b, 0), "falsche Werte"),
    ],
    "2.5": [(lambda *_: np.ones(10), "nicht richtig in eine Reihe")],
    "3.3": [(lambda h: min(h, key=lambda row: row["val_verlust"]), "Verlangt ist eine ganze Zahl")],
    "3.4": [
        (bootstrap_like((97.5, 2.5)), "vertauscht"),
        (bootstrap_like(replace=False), "ohne Zurücklegen"),
        (lambda values, *_: np.percentile(values, [2.5, 97.5]), "einzelnen Werte"),
        (bootstrap_like(shift=1), "gar nicht in Ihrem Intervall"),
        (bootstrap_like((5, 95)), "zu schmal"),
        (bootstrap_like((16, 84)), "zu schmal"),
        (bootstrap_like((0, 100)), "zu breit"),
        (bootstrap_like(share=0.25), "zu breit"),
        (lambda values, *_: values.mean(), "zwei Zahlen"),
    ],
    "3.5": [(lambda c: np.diag(c) / c.sum(axis=0), "Verlangt sind 2 Ergebnisse")],
    "3.6": [(lambda *_: np.nan, "Fach ist leer")],
    "4.7": [
        (lambda m: m.astype(float), "kein Trick"),
        (lambda m: np.ones(m.shape), "überall gleich"),
        (lambda m: np.zeros(m.shape), "Karte ist leer"),
        (lambda m: trick_map(m, inside=False), "verloren"),
        (lambda m: trick_map(m, background=-1.0), "negative Werte"),
        (lambda m: np.argwhere(m)[0], "Form"),
    ],
    "4.8": [
        ({"Klasse": "Mantel", "oben": 2, "links": 3, "Höhe": 4}, "alle fünf"),
        ("Mantel, unten links", "alle fünf"),
        (suspicion(Klasse="Mäntel"), "gibt es nicht"),
        (suspicion(oben="3"), "ganze Zahlen"),
        (suspicion(links=2.5), "ganze Zahlen"),
        (suspicion(oben=25), "nicht ganz im Bild"),
        (suspicion(links=-1), "nicht ganz im Bild"),
        (suspicion(oben=0, links=0, Höhe=28, Breite=28), "verdächtigt alles"),
    ],
    "5.1": [
        (pair([1, 0], [2 / 3, 1 / 3]), "Anteile"),
        (pair([6, -10], [14, -18]), "ReLU vergessen"),
        (pair([3, 0], [2, 1]), "nicht ihre Relevanz"),
        (pair([6, 0], [2, 4]), "vertauscht"),
        (pair([5, 0], [3, 2]), "Ausgang stimmt nicht"),
        (pair([6, 0], [4, 1]), "nicht erhalten"),
        (pair([6, 0], [3, 3]), "Verteilung noch nicht"),
        ([6, 0, 4, 2], "„versteckt“ und „Eingang“"),
    ],
}

# Nummer → je Hinweis ein Stück seines Satzes, in der Reihenfolge der Hinweise: So fällt auf, wenn zwei vertauscht sind.
SAID = {
    "1.1": "um ein Pixel verschoben | vertauscht | ab 1 | Breite | laufende Nummer",
    "1.2": "unähnlichste | heben sich | zweierlei | Falsche Achse | laufen über | noch nicht die Klassen",
    "1.3": "in beiden Teilen | doppelt | verloren | vertauscht | Anteil | nicht geschichtet | nicht gemischt",
    "1.4": "vertauscht | falschen Richtung | auch als verschoben | im falschen Unterordner nicht | zählen nur",
    "1.5": "Kein einziges Bild | anderer Klassen | Nicht alle Bilder | außerhalb der Maske | zu groß",
    "2.1": "kleiner als das Bild | Bias fehlt | neunmal | gespiegelt | vertauscht | ReLU | nur am Rand nicht",
    "2.2": "Bias fehlt | nur eine Seite | Eingangskanäle fehlen | je Eingang | je Schicht | nur die erste Schicht",
    "2.3": "Abstand fehlt | zu früh | bei jeder Schicht | um eins zu klein | überlappen",
    "2.4": "Rot, Grün, Blau (RGB) | BGR und RGB | falschen Mittelwert | zusätzlich durch 255 | "
    "statt die Mittelwerte | noch nicht abgezogen | auf dem Kopf | laufen über",
    "2.5": "fehlt ReLU | Softmax | bei null abgeschnitten | Bias fehlt | nicht richtig in eine Reihe",
    "3.1": "bergauf | nur einmal | Lernrate fehlt | nur das Vorzeichen | Anfangsgewicht fehlt | nur das letzte",
    "3.2": "Aufwärmen fehlt | allererste Schritt | eine Stufe | negativ | doppelt so hoch | "
    "nicht am Ende des Aufwärmens | Gerade",
    "3.3": "eine Epoche zu früh | Kurve des Trainings | schlechteste | höchsten Trefferquote | kleinste Verlust selbst",
    "3.4": "vertauscht | ohne Zurücklegen | einzelnen Werte | gar nicht in Ihrem Intervall | zu schmal | zu breit",
    "3.5": "Falsche Achse | durch alle Bilder | ganze Matrix | mitteln über die Klassen | Beide Ergebnisse",
    "3.6": "zählen bei Ihnen gleich viel | heben sich bei Ihnen auf | nur die beiden Mittelwerte | "
    "größte Abstand | Fach ist leer",
    "3.7": "schlechteste | multiplizieren | nach der Trefferquote | belohnen Sicherheit | kleinste Verlust selbst | "
    "Nummer der besten",
    "3.8": "vertauscht | Klasse selbst | noch kein Zeichen | was ohne Zeichen passiert | durch alle Bilder | Anzahlen",
    "4.1": "ReLU am Ende fehlt | Falsche Achse | zweite Schritt fehlt | Gewichte ab statt der Summe | "
    "Gewichte fehlen | gefragt ist ihr Mittelwert | gewichteten Karten | noch nicht addiert",
    "4.2": "noch Grad-CAM | ReLU am Ende fehlt | bevor Sie addieren | noch nicht addiert | Mittelwert über die Karten",
    "4.3": "voneinander ab. Beide | noch einmal ab | Richtung ist vertauscht | gewöhnliche Grad-CAM | "
    "addieren die Ableitungen | Das ist HiResCAM | ReLU am Ende fehlt",
    "4.4": "Negative Werte zählen | was gegen die Klasse spricht | kein Anteil | zwei Mittelwerte | neben der Stelle | "
    "Falsche Achse",
    "4.5": "schon vorher | Nenner | jede Änderung | Anzahlen | über alle Klassen",
    "4.6": "unwichtigsten | wieder da | immer auf null | Anfang fehlt | Ende fehlt | höchste Wahrscheinlichkeit | "
    "rückwärts",
    "4.7": "negative Werte | Karte ist leer | überall gleich | verloren | kein Trick",
    "5.1": "„versteckt“ und „Eingang“ | Anteile | ReLU vergessen | nicht ihre Relevanz | "
    "vertauscht | Ausgang stimmt nicht | nicht erhalten | Verteilung noch nicht",
    "5.2": "Faktor a fehlt | dasselbe Vorzeichen | ε fehlt | fehlt der Bias | Falsche Achse | nicht erhalten",
    "5.3": "unauffälligen | am besten passt | in einem Zug | mitteln die Korrelationen | alle Bilder abweichen | "
    "verschieden geordnet | am schlechtesten passt | jedes auffällige Bild",
    "5.4": "nicht sicher „ja“ | obere Ende | Mitte des Intervalls | vertauscht | gerade berührt | kein Wahrheitswert",
    "5.5": "zu Treue, Plausibilität | zur Erklärung selbst | klagt bei Ihnen | endet alles | zählen bei Ihnen nie | "
    "„offen“ wie „nein“ | „offen“ wie „ja“ | vertauscht | kein Wahrheitswert | mehr, als die elf",
}

# Dasselbe für den Rat, der auf den Satz folgt.
ADVISED = {
    "1.1": "Spaltennamen | ganzzahlige | Stelle | geteilt | Ergebnis",
    "1.2": "kleiner | Bilden | Schreiben | jedem | Wandeln | argmin(axis=1)",
    "1.3": "np.setdiff1d(all_rows | Zurücklegen | enthalten | Zuerst | round(share | Schleife | rng.permutation(rows)",
    "1.4": "Unterordner | fehlt | Verschoben | before[name] | Mengen",
    "1.5": "images.copy() | result[rows | sichtbar | derselben | Höchstens",
    "2.1": "np.pad(image | Addieren | summieren | CNN-Bibliotheken | gehört | Faltung | wiederholten",
    "2.2": "Ausgänge | Eingangskanal | Eingangskanäle | Ausgangskanal | Ausgangskanäle | zip(channels[:-1]",
    "2.3": "Führen | multiplizieren | Zeichnen | Anfang | vergrößert",
    "2.4": "erwartet | BGR-Mittelwerte | 103,939 | abziehen | ungeteilt | ImageNet-Mittelwert | letzten | "
    "image.astype(float)",
    "2.5": "np.maximum(… | unverändert | gehört | Multiplikation | features.reshape(len(features)",
    "3.1": "Bergab | neuesten | Ableitung: rate | weiter | Schritten | zurück",
    "3.2": "Solange | schon | Verteilen | Addieren | Teilen | Strecke | Aufwärmen",
    "3.3": "Addieren | Entscheidend | klein | früher | Suchen",
    "3.4": "Zuerst | rng.choice(values | np.percentile | Abstand | mittleren | mittleren",
    "3.5": "Spaltensumme | Geteilt | confusion.diagonal() | Arrays | confusion.sum(axis=0)",
    "3.6": "Gewichten | abs(Sicherheit | vergleichen | Summieren | Überspringen",
    "3.7": "argmax | softmax(logits | −np.log | p[np.arange(len(labels)) | np.argmin | dieser",
    "3.8": "Zeichen | images[labels != | predict(stamp(others)) | predict(images[labels | mitteln | mean()",
    "4.1": "np.maximum(… | keepdims=True) | einziges | gewichteten | Multiplizieren | slopes.sum | "
    "Ende .sum(axis=-1) | Summieren",
    "4.2": "multipliziert | np.maximum(… | addieren | Summieren | Sie .sum(axis=-1)",
    "4.3": "voneinander | voneinander | zweiten | zweier | der Unterschied | Mitteln | np.maximum(…",
    "4.4": "np.maximum(cams | positiven | Teilen | beide | Stelle | sum(axis=1)",
    "4.5": "Umgefallen | umfallen | Gesucht | nehmen | Zahlen",
    "4.6": "np.argsort(-heatmap.ravel()) | wichtigsten | Ersetzen | 1 Punkte. | range(steps | predict(…)[0 | löschen",
    "4.7": "np.ones(mask.shape) | np.ones(mask.shape) | innerhalb | np.argwhere(mask)[0] | Höchstens",
    "5.1": '{"versteckt" | Multiplizieren | ReLU(2·(−2) | Beitrag | Eintrag | vorwärts | denselben | Verhältnis',
    "5.2": "Multiplizieren | np.where(z | Addieren | ausrechnet | Eingänge | multiplizieren",
    "5.3": "übereinstimmt | schlechteste | zip(found[name] | Vergleichen | Verdacht: min | passenden | Nummer | "
    "kleinsten",
    "5.4": "Enthält | Sicher | Verglichen | Liegt | Nehmen Sie | zurück",
    "5.5": "etwas | nichts | dreimal | vertrauen | Erklärung | entscheidbar | beantwortet | Elfmal | Urteile | "
    "Urteil heißt",
}
