"""Die Aufgaben von 02_VGG16."""

from itertools import pairwise

import numpy as np
from scipy.special import softmax

from helpers.checks.exercise import Exercise, like, when


# --- 2.1 Faltung mit Rand und Bias -----------------------------------------------------------------------------------
def convolve_same(image, kernel, bias):
    padded = np.pad(np.asarray(image, dtype=float), 1)
    height, width = image.shape
    shifted = [padded[r : r + height, c : c + width] * kernel[r, c] for r in range(3) for c in range(3)]
    return np.sum(shifted, axis=0) + bias


CONVOLUTION = Exercise(
    "2.1",
    convolve_same,
    "Mit Rand bleibt das Bild gleich groß. Ohne Rand wäre bei 64 × 64 schon im vierten Block nichts mehr übrig.",
    lambda rng: [
        (rng.normal(size=shape).round(2), rng.normal(size=(3, 3)).round(2), bias)
        for shape, bias in (((6, 6), 0.5), ((5, 8), -2.0), ((9, 4), 1.0))
    ],
    like(
        lambda i, k, b: convolve_same(i, k, b)[1:-1, 1:-1],
        "Das Ergebnis ist kleiner als das Bild: Der Rand fehlt.",
        "Legen Sie vorher einen Rand aus Nullen um das Bild: np.pad(image, 1).",
    ),
    like(
        lambda i, k, b: convolve_same(i, k, 0),
        "Der Bias fehlt.",
        "Addieren Sie den Bias am Ende einmal zu jeder Stelle.",
    ),
    like(
        lambda i, k, b: convolve_same(i, k, 9 * b),
        "Der Bias wird neunmal addiert.",
        "Erst die neun Produkte summieren, dann einmal den Bias addieren.",
    ),
    like(
        lambda i, k, b: convolve_same(i, k[::-1, ::-1], b),
        "Der Kern ist gespiegelt.",
        "CNN-Bibliotheken spiegeln nicht: Legen Sie den Kern so auf das Bild, wie er ist.",
    ),
    like(
        lambda i, k, b: convolve_same(i, k.T, b),
        "Zeilen und Spalten des Kerns sind vertauscht.",
        "Der erste Index des Kerns gehört zur Zeile des Bilds, der zweite zur Spalte.",
    ),
    like(
        lambda i, k, b: np.maximum(convolve_same(i, k, b), 0),
        "Negative Werte sind abgeschnitten: Sie haben schon ReLU angewendet.",
        "ReLU kommt erst nach der Faltung. Hier ist die Faltung allein gefragt.",
    ),
    when(
        lambda o, i, k, b: (
            np.shape(o) == i.shape and np.allclose(np.asarray(o)[1:-1, 1:-1], convolve_same(i, k, b)[1:-1, 1:-1])
        ),
        "Innen stimmt alles, nur am Rand nicht.",
        "Der Rand besteht aus Nullen (np.pad ohne weitere Angabe), nicht aus wiederholten Pixeln.",
    ),
)


# --- 2.2 Parameter zählen --------------------------------------------------------------------------------------------
def count_parameters(channels, kernel_size):
    return sum((kernel_size**2 * inputs + 1) * outputs for inputs, outputs in pairwise(channels))


COUNT = Exercise(
    "2.2",
    count_parameters,
    "Die Bildgröße kommt in der Rechnung nicht vor: Ein größeres Bild kostet Zeit, aber keine Parameter.",
    lambda rng: [([3, 64], 3), ([3, 16, 32], 5), (rng.integers(2, 40, 5).tolist(), 3), ([1, 8, 8], 1)],
    like(
        lambda c, k: sum(k * k * i * o for i, o in pairwise(c)),
        "Der Bias fehlt.",
        "Zu jedem Ausgang gehört ein Bias: (k · k · Eingänge + 1) · Ausgänge.",
    ),
    like(
        lambda c, k: sum((k * i + 1) * o for i, o in pairwise(c)),
        "Der Kern ist quadratisch, Sie zählen nur eine Seite.",
        "Ein Kern der Größe k hat k · k Gewichte je Eingangskanal.",
    ),
    like(
        lambda c, k: sum((k * k + 1) * o for i, o in pairwise(c)),
        "Die Eingangskanäle fehlen in der Rechnung.",
        "Jeder Kern reicht durch alle Eingangskanäle: k · k · Eingänge.",
    ),
    like(
        lambda c, k: sum(k * k * i * o + i for i, o in pairwise(c)),
        "Sie zählen einen Bias je Eingang statt je Ausgang.",
        "Der Bias gehört zum Ergebnis: einer je Ausgangskanal.",
    ),
    like(
        lambda c, k: sum(k * k * i * o + 1 for i, o in pairwise(c)),
        "Sie zählen nur einen Bias je Schicht.",
        "Jeder Kern hat seinen eigenen Bias, und es gibt so viele Kerne wie Ausgangskanäle.",
    ),
    like(
        lambda c, k: sum((k * k * i + 1) * o for i, o in pairwise(c[:2])),
        "Sie zählen nur die erste Schicht.",
        "Gehen Sie durch alle benachbarten Paare: zip(channels[:-1], channels[1:]).",
    ),
)


# --- 2.3 Das rezeptive Feld ------------------------------------------------------------------------------------------
def receptive_field(layers, stride_first=False, always=None):
    field, jump = 1, 1
    for size, stride in layers:
        field += ((always or size) - 1) * jump * (stride if stride_first else 1)
        jump *= stride
    return field


def _layer_lists(rng):
    vgg = [(3, 1), (3, 1), (2, 2)] * 2 + [(3, 1), (3, 1), (3, 1), (2, 2)]
    random = [(int(s), int(t)) for s, t in zip(rng.integers(2, 8, 5), rng.integers(1, 4, 5), strict=True)]
    return [([(3, 1), (3, 1)],), ([(5, 1), (2, 2), (5, 1)],), (vgg,), (random,)]


FIELD = Exercise(
    "2.3",
    receptive_field,
    "Das rezeptive Feld sagt, wie genau eine Heatmap aus dieser Schicht überhaupt sein kann.",
    _layer_lists,
    like(
        lambda layers: 1 + sum(size - 1 for size, _ in layers),
        "Der Abstand fehlt: Nach einem Pooling zählt jede Zelle doppelt.",
        "Führen Sie eine zweite Zahl „jump“ mit: field += (size - 1) * jump, danach jump *= stride.",
    ),
    like(
        lambda layers: receptive_field(layers, stride_first=True),
        "Der Abstand wächst zu früh.",
        "Erst das Feld mit dem alten Abstand vergrößern, dann den Abstand mit der Schrittweite multiplizieren.",
    ),
    like(
        lambda layers: receptive_field(layers, always=3),
        "Sie vergrößern das Feld bei jeder Schicht um 2 · Abstand.",
        "Das gilt nur für Fenster der Größe 3. Zeichnen Sie: Wie weit reicht ein Fenster der Größe 5 zu beiden Seiten?",
    ),
    like(
        lambda layers: receptive_field(layers) - 1,
        "Das Ergebnis ist um eins zu klein.",
        "Ganz am Anfang sieht ein Pixel schon sich selbst: Beginnen Sie mit field = 1.",
    ),
    like(
        lambda layers: sum(size for size, _ in layers),
        "Sie zählen die Kerne zusammen, aber benachbarte Kerne überlappen sich.",
        "Eine Schicht mit Kern „size“ vergrößert das Feld nur um (size - 1) · Abstand.",
    ),
)


# --- 2.4 Vorverarbeitung von Hand ------------------------------------------------------------------------------------
MEAN_BGR = np.array([103.939, 116.779, 123.68])


def preprocess_rgb(image):
    return image[..., ::-1].astype(np.float32) - MEAN_BGR


PREPROCESSING = Exercise(
    "2.4",
    preprocess_rgb,
    "Ein Netz erwartet seine Bilder genau so wie beim Lernen; es meldet nicht, wenn sie anders sind.",
    lambda rng: [(rng.integers(0, 256, shape).astype(np.uint8),) for shape in ((4, 5, 3), (7, 3, 3))],
    like(
        lambda i: i.astype(float) - MEAN_BGR[::-1],
        "Die Kanäle stehen noch in der Reihenfolge Rot, Grün, Blau (RGB).",
        "VGG16 erwartet Blau, Grün, Rot (BGR): Drehen Sie die letzte Achse um, image[..., ::-1].",
    ),
    like(
        lambda i: i.astype(float) - MEAN_BGR,
        "BGR und RGB sind durcheinandergeraten: Die Mittelwerte sind umgedreht, die Kanäle nicht.",
        "Drehen Sie zuerst die Kanäle um (image[..., ::-1]), dann ziehen Sie die BGR-Mittelwerte ab.",
    ),
    like(
        lambda i: i[..., ::-1].astype(float) - MEAN_BGR[::-1],
        "Die Kanäle stimmen, aber jeder bekommt den falschen Mittelwert.",
        "103,939 gehört zu Blau und steht vorn; 123,68 gehört zu Rot und steht hinten.",
    ),
    like(
        lambda i: (i[..., ::-1].astype(float) - MEAN_BGR) / 255,
        "Sie haben zusätzlich durch 255 geteilt.",
        "VGG16 bekam Werte von etwa −124 bis 151: nur abziehen, nicht teilen.",
    ),
    like(
        lambda i: i[..., ::-1] / 255,
        "Sie teilen durch 255, statt die Mittelwerte abzuziehen.",
        "Teilen ist bei anderen Netzen üblich. VGG16 will die Werte ungeteilt, minus Mittelwert.",
    ),
    like(
        lambda i: i[..., ::-1].astype(float),
        "Die Mittelwerte sind noch nicht abgezogen.",
        "Ziehen Sie von jedem Kanal seinen ImageNet-Mittelwert ab.",
    ),
    like(
        lambda i: i[::-1].astype(float) - MEAN_BGR,
        "Falsche Achse umgedreht: Ihr Bild steht auf dem Kopf.",
        "Die Kanäle liegen auf der letzten Achse: image[..., ::-1].",
    ),
    like(
        lambda i: i[..., ::-1] - MEAN_BGR.astype(np.uint8),
        "Die Werte laufen über: Mit uint8 gibt es keine negativen Zahlen.",
        "Wandeln Sie das Bild zuerst in Kommazahlen um: image.astype(float).",
    ),
)


# --- 2.5 Ihr eigener Kopf --------------------------------------------------------------------------------------------
def my_head(features, hidden, output, lowest=0):
    (w1, b1), (w2, b2) = hidden, output
    flat = features.reshape(len(features), -1)
    return np.maximum(flat @ w1 + b1, lowest) @ w2 + b2


def _features_and_weights(rng):
    cases = []
    for n, side, channels, width in ((3, 2, 4, 6), (5, 1, 8, 5)):
        features = np.maximum(rng.normal(size=(n, side, side, channels)), 0)
        w1, w2 = rng.normal(size=(side * side * channels, width)), rng.normal(size=(width, 10))
        cases.append((features, (w1, rng.normal(size=width)), (w2, rng.normal(size=10))))
    return cases


HEAD = Exercise(
    "2.5",
    my_head,
    "Der Kopf endet mit Logits. So lassen sich Grad-CAM und LRP auf ihn anwenden.",
    _features_and_weights,
    like(
        lambda *args: my_head(*args, lowest=-np.inf),
        "Nach der ersten Schicht fehlt ReLU.",
        "Setzen Sie ihre negativen Werte auf null: np.maximum(…, 0). Ohne ReLU wären zwei "
        "Schichten nicht mehr als eine.",
    ),
    like(
        lambda *args: softmax(my_head(*args), axis=-1),
        "Am Ende steht noch Softmax.",
        "Gefragt sind Logits: Geben Sie die zehn Zahlen der letzten Schicht unverändert zurück.",
    ),
    like(
        lambda *args: np.maximum(my_head(*args), 0),
        "Auch die Logits sind bei null abgeschnitten.",
        "ReLU gehört nur hinter die erste Schicht. Ein Logit darf negativ sein.",
    ),
    like(
        lambda f, hidden, output: my_head(f, (hidden[0], 0), (output[0], 0)),
        "Der Bias fehlt.",
        "Addieren Sie nach jeder Multiplikation den Bias der Schicht: flat @ w + b.",
    ),
    when(
        lambda o, f, *args: np.shape(o)[:-1] == f.shape[:-1] or np.shape(o) == (10,),
        "Die Merkmale sind nicht richtig in eine Reihe gelegt.",
        "Je Bild eine Zeile: features.reshape(len(features), -1).",
    ),
)
