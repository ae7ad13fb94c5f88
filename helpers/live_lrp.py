"""LRP mit Reglern für den Explorer: ε und α sind Eingaben der Rechnung und keine festen Zahlen in ihr.

``helpers.lrp_library.LRP`` baut für jeden Wert von ε einen neuen Analyzer; das dauert Sekunden und kostet Hunderte MB.
Hier wird jede Regel einmal übersetzt und antwortet danach für jeden Wert sofort. Es sind dieselben Formeln wie im LRP
zum Nachlesen (``helpers.lrp``), in TensorFlow; tests/test_explorer.py vergleicht beide.

Regeln: Bach et al. (2015), PLoS ONE 10(7) e0130140; Montavon et al. (2019), Layer-Wise Relevance Propagation: An
Overview.
"""

import functools

import numpy as np

from helpers.basics import CourseError, german, quiet_stderr
from helpers.lrp import Layer, read_layers
from helpers.model import keras

with quiet_stderr():
    import tensorflow as tf

LIVE_RULES = ("LRP-ε", "LRP-αβ", "LRP-Preset A flat")


def live_lrp(model: keras.Model, inputs, classes, rule: str = "LRP-ε", parameter: float = 1e-7) -> np.ndarray:
    """Relevanz jedes Eingabepixels, über die Farbkanäle summiert.

    Args:
        model: flaches Keras-Modell mit Logits als Ausgang, aus Conv2D, MaxPooling2D, Flatten und Dense.
        inputs: vorverarbeitete Bilder, float32, (n, h, b, c).
        classes: gefragte Klasse je Bild (n,).
        rule: eine aus ``LIVE_RULES``: ε in allen Schichten; αβ ohne Schwellenwerte in allen Schichten; ε für die
            dichten Schichten, α1β0 für die Faltungen und flat für die unterste.
        parameter: ε ≥ 0 oder, bei LRP-αβ, α ≥ 1 (β ist α − 1).

    Returns:
        float32, (n, h, b); positiv spricht für, negativ gegen die Klasse.

    Raises:
        CourseError: bei einer unbekannten Regel, einem unmöglichen Wert oder einer Schicht anderer Art.
    """
    if rule not in LIVE_RULES:
        raise CourseError(f"Die LRP-Regel „{rule}“ gibt es hier nicht: Wählen Sie eine aus {', '.join(LIVE_RULES)}.")
    if parameter < (lowest := 1 if rule == "LRP-αβ" else 0):
        raise CourseError(f"Der Parameter von {rule} muss mindestens {lowest} sein, nicht {german(parameter, 1)}.")
    step = _step(model, rule)
    relevance = step(np.asarray(inputs, np.float32), np.asarray(classes, np.int32), np.float32(parameter))
    return relevance.numpy()


@functools.lru_cache(maxsize=8)
def _step(model: keras.Model, rule: str):
    """Übersetzte Funktion (Bilder, Klassen, Parameter) → Relevanz; die Gewichte sind die von jetzt."""
    layers = read_layers(model)
    weights = [
        None if layer.weights is None else [tf.constant(v, tf.float32) for v in (layer.weights, layer.bias)]
        for layer in layers
    ]
    lowest = next(number for number, layer in enumerate(layers) if layer.weights is not None)
    shape = tuple(model.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec((None, *shape)), tf.TensorSpec((None,), tf.int32), tf.TensorSpec(())])
    def step(images, classes, parameter):
        activations = [images]
        for layer, pair in zip(layers, weights, strict=True):
            activations.append(_forward(layer, pair, activations[-1]))
        logits = activations[-1]
        relevance = logits * tf.one_hot(classes, logits.shape[-1])
        for number in reversed(range(len(layers))):
            layer, pair = layers[number], weights[number]
            below, above = activations[number : number + 2]
            if layer.kind == "flatten":
                relevance = tf.reshape(relevance, tf.shape(below))
            elif layer.kind == "pool":
                relevance = tf.raw_ops.MaxPoolGrad(
                    orig_input=below, orig_output=above, grad=relevance, **_pooling(layer)
                )
            elif rule == "LRP-ε" or (rule == "LRP-Preset A flat" and layer.kind == "dense"):
                relevance = _epsilon(layer, *pair, below, relevance, parameter)
            elif rule == "LRP-αβ":
                relevance = _alpha_beta(layer, pair[0], below, relevance, parameter)
            elif number == lowest:
                ones = tf.ones_like(below)
                relevance = _share(layer, [(ones, tf.ones_like(pair[0]))], 0.0, relevance)
            else:  # α1β0 mit dem ganzen Schwellenwert im Nenner, wie in der Bibliothek
                relevance = _share(layer, _agreeing(below, pair[0]), pair[1], relevance)
        return tf.reduce_sum(relevance, axis=-1)

    return step


# --- Eine Schicht vorwärts und rückwärts ------------------------------------------------------------------------------


def _linear(layer: Layer, a, w):
    """Die Schicht ohne Schwellenwert und ohne ReLU."""
    if layer.kind == "dense":
        return a @ w
    return tf.nn.conv2d(a, w, layer.stride, "SAME" if layer.same else "VALID")


def _transposed(layer: Layer, r, w, shape):
    """Der Rückweg durch dieselben Gewichte."""
    if layer.kind == "dense":
        return tf.matmul(r, w, transpose_b=True)
    return tf.nn.conv2d_transpose(r, w, shape, layer.stride, "SAME" if layer.same else "VALID")


def _pooling(layer: Layer) -> dict:
    return {"ksize": (1, *layer.window, 1), "strides": (1, *layer.stride, 1), "padding": "VALID"}


def _forward(layer: Layer, pair, a):
    if layer.kind == "flatten":
        return tf.reshape(a, (tf.shape(a)[0], int(np.prod(a.shape[1:]))))
    if layer.kind == "pool":
        return tf.raw_ops.MaxPool(input=a, **_pooling(layer))
    z = _linear(layer, a, pair[0]) + pair[1]
    return tf.nn.relu(z) if layer.relu else z


def _epsilon(layer: Layer, w, b, a, r, epsilon):
    z = _linear(layer, a, w) + b
    z += epsilon * tf.where(z >= 0, 1.0, -1.0)
    return a * _transposed(layer, tf.math.divide_no_nan(r, z), w, tf.shape(a))


def _agreeing(a, w) -> list:
    """Zustimmung: Beiträge a·w > 0, als Paare (Aktivierung, Gewicht)."""
    return [(tf.nn.relu(a), tf.nn.relu(w)), (-tf.nn.relu(-a), -tf.nn.relu(-w))]


def _opposing(a, w) -> list:
    """Widerspruch: Beiträge a·w < 0."""
    return [(tf.nn.relu(a), -tf.nn.relu(-w)), (-tf.nn.relu(-a), tf.nn.relu(w))]


def _share(layer: Layer, parts: list, bias, r):
    """Verteilt ``r`` im Verhältnis der Beiträge aller Paare; wo der Nenner null ist, gibt es nichts zu verteilen."""
    ratio = tf.math.divide_no_nan(r, tf.add_n([_linear(layer, a, w) for a, w in parts]) + bias)
    return tf.add_n([a * _transposed(layer, ratio, w, tf.shape(a)) for a, w in parts])


def _alpha_beta(layer: Layer, w, a, r, alpha):
    agreeing = _share(layer, _agreeing(a, w), 0.0, r)
    return alpha * agreeing - (alpha - 1) * _share(layer, _opposing(a, w), 0.0, r)
