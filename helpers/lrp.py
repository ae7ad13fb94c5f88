"""LRP zum Nachlesen: LRP-0, ε, αβ und flat für dichte Schichten und Faltungen, nur mit NumPy.

Jede Regel ist *eine* Funktion für dichte Schichten. Eine Faltung ist nichts anderes: eine dichte Schicht, die auf jeden
Ausschnitt des Bilds angewandt wird. ``lrp`` schneidet das Bild deshalb in Ausschnitte, ruft die Regel und legt die
Relevanz der Ausschnitte wieder an ihren Platz.

Zum Verstehen, nicht zum Rechnen im Großen: Für viele Bilder gibt es ``helpers.lrp_library.LRP``. Beide stimmen auf
1e-4 der größten Relevanz überein (tests/test_own_lrp.py).

Bach et al. (2015), PLoS ONE 10(7) e0130140; Montavon et al. (2019), Layer-Wise Relevance Propagation: An Overview; die
flache Regel: Lapuschkin et al. (2017), Understanding and Comparing Deep Neural Networks for Age and Gender
Classification.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError

# Regel von iNNvestigate → Name, wie er in Bildern steht. α2β1 nur ohne Bias (IB): Mit Bias rechnet iNNvestigate falsch,
# weil es Bias⁺ und Bias⁻ jeder Hälfte zuschlägt; aus demselben Grund preset_a und nicht preset_b.
LRP_RULES = {
    "lrp.z": "LRP-z",
    "lrp.epsilon": "LRP-ε",
    "lrp.alpha_1_beta_0": "LRP-α1β0",
    "lrp.alpha_2_beta_1_IB": "LRP-α2β1 (ohne Bias)",
    "lrp.flat": "LRP-flat",
    "lrp.w_square": "LRP-w²",
    "lrp.sequential_preset_a": "LRP-Preset A",
    "lrp.sequential_preset_a_flat": "LRP-Preset A flat",
    "deep_taylor": "Deep Taylor",
}

# --- Regeln ---------------------------------------------------------------------------------------------------------
# Jede Regel bekommt
#   a       Aktivierungen darunter, (m, d)
#   w, b    Gewichte (d, k) und Schwellenwerte (k,)
#   r       Relevanz darüber, (m, k)
#   inside  1, wo a ein echter Eingang ist, 0 im Rand, den eine Faltung um das Bild legt, (m, d)
# und ergibt die Relevanz darunter, (m, d).
Rule = Callable[..., np.ndarray]


def _ratio(r, z):
    """r / z; wo z null ist, gibt es nichts zu verteilen."""
    return np.divide(r, z, out=np.zeros_like(r), where=z != 0)


def zero(a, w, b, r, inside=None):
    """LRP-0 (in iNNvestigate ``lrp.z``): im Verhältnis der Beiträge a·w zum ganzen Nenner samt Schwellenwert."""
    return a * (_ratio(r, a @ w + b) @ w.T)


def epsilon(eps: float = 1e-7) -> Rule:
    """LRP-ε: wie LRP-0, der Nenner rückt um ``eps`` von null weg. Was so verloren geht, behält das Neuron."""

    def rule(a, w, b, r, inside=None):
        z = a @ w + b
        return a * ((r / (z + eps * np.where(z >= 0, 1, -1))) @ w.T)

    return rule


def alpha_beta(alpha: float, beta: float, bias: str = "ohne") -> Rule:
    """LRP-αβ: Zustimmung (a·w > 0) wird mit ``alpha`` verteilt, Widerspruch (a·w < 0) mit ``beta`` abgezogen.

    Worin sich Bibliotheken unterscheiden, ist der Schwellenwert im Nenner jeder Hälfte:

    - ``"ohne"``: gar nicht, wie ``lrp.alpha_2_beta_1_IB`` in iNNvestigate. So rechnet der Kurs bei α2β1.
    - ``"getrennt"``: b⁺ zur Zustimmung, b⁻ zum Widerspruch (so Bach et al. 2015 und zennit).
    - ``"beide"``: b⁺ *und* b⁻ in jede Hälfte. Das rechnet iNNvestigate 2.1.2 in ``lrp.alpha_2_beta_1`` und
      ``lrp.alpha_1_beta_0``. Der Nenner des Widerspruchs z⁻ + b kann null werden: Dann explodiert der Anteil.
      Bei α1β0 gibt es keinen Widerspruch, und z⁺ + b liegt selten bei null: Dort schadet es kaum.

    Args:
        alpha, beta: mit alpha − beta = 1, damit die Relevanz erhalten bleibt.
        bias: "ohne", "getrennt" oder "beide".

    Raises:
        CourseError: wenn alpha − beta nicht 1 ist oder ``bias`` unbekannt.
    """
    if abs(alpha - beta - 1) > 1e-9:
        raise CourseError(f"Bei LRP-αβ muss α − β = 1 sein, nicht {alpha - beta:g}: Sonst geht Relevanz verloren.")
    if bias not in ("ohne", "getrennt", "beide"):
        raise CourseError(f"„{bias}“ gibt es nicht: Schwellenwerte zählen „ohne“, „getrennt“ oder „beide“.")

    def rule(a, w, b, r, inside=None):
        shares = {"ohne": (0, 0), "getrennt": (np.maximum(b, 0), np.minimum(b, 0)), "beide": (b, b)}[bias]
        a_pos, a_neg, w_pos, w_neg = np.maximum(a, 0), np.minimum(a, 0), np.maximum(w, 0), np.minimum(w, 0)

        def half(w_for_pos, w_for_neg, share):
            ratio = _ratio(r, a_pos @ w_for_pos + a_neg @ w_for_neg + share)
            return a_pos * (ratio @ w_for_pos.T) + a_neg * (ratio @ w_for_neg.T)

        agreeing = half(w_pos, w_neg, shares[0])
        return alpha * agreeing - beta * half(w_neg, w_pos, shares[1]) if beta else alpha * agreeing

    return rule


def flat(a, w, b, r, inside=None):
    """Flache Regel: LRP-0, als wären alle Eingänge und Gewichte 1. Jeder Eingang bekommt gleich viel."""
    ones = np.ones_like(a) if inside is None else inside
    return zero(ones, np.ones_like(w), 0, r)


# --- Schichten ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """Eine Schicht zum Nachrechnen.

    Attributes:
        kind: "dense", "conv", "pool" oder "flatten".
        weights, bias: Gewichte (d, k) einer dichten Schicht oder (kh, kb, c, k) einer Faltung; Schwellenwerte (k,).
        window, stride: Fenster und Schrittweite (Zeilen, Spalten) von Faltung und Max-Pooling.
        same: legt die Faltung einen Rand aus Nullen um das Bild?
        relu: folgt ein ReLU?
    """

    kind: str
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    same: bool = False
    relu: bool = False


def read_layers(model) -> list[Layer]:
    """Die Schichten eines flachen Keras-Modells aus Conv2D, MaxPooling2D, Flatten und Dense, Gewichte in float64.

    Raises:
        CourseError: bei einer anderen Schicht oder einer anderen Aktivierung als ReLU.
    """
    layers = []
    for layer in model.layers:
        kind, config = type(layer).__name__, layer.get_config()
        if kind in ("InputLayer", "Dropout"):
            continue
        if kind not in ("Conv2D", "MaxPooling2D", "Flatten", "Dense"):
            raise CourseError(f"Das LRP zum Nachlesen kennt keine Schicht der Art {kind} („{layer.name}“).")
        if config.get("activation", "linear") not in ("relu", "linear"):
            raise CourseError(
                f"Die Schicht „{layer.name}“ hat die Aktivierung {config['activation']}: LRP braucht ReLU und am Ende "
                "Logits."
            )
        values = [np.asarray(value, dtype=np.float64) for value in layer.get_weights()]
        if kind in ("Conv2D", "Dense") and len(values) == 1:
            values.append(np.zeros(values[0].shape[-1]))
        weights, bias = values or (None, None)
        relu = config.get("activation") == "relu"
        if kind == "Dense":
            layers.append(Layer("dense", weights, bias, relu=relu))
        elif kind == "Conv2D":
            same, stride = config["padding"] == "same", tuple(config["strides"])
            layers.append(Layer("conv", weights, bias, weights.shape[:2], stride, same, relu))
        elif kind == "MaxPooling2D":
            layers.append(Layer("pool", window=tuple(config["pool_size"]), stride=tuple(config["strides"])))
        else:
            layers.append(Layer("flatten"))
    return layers


def _padding(layer: Layer, shape) -> list[tuple[int, int]]:
    """Nullen vor und hinter Zeilen und Spalten, wie TensorFlow sie bei „same“ ergänzt."""
    if not layer.same:
        return [(0, 0), (0, 0)]
    missing = [
        max((-(-length // step) - 1) * step + window - length, 0)
        for length, step, window in zip(shape, layer.stride, layer.window, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in missing]


def _cut(layer: Layer, a) -> np.ndarray:
    """Schneidet (n, h, b, c) in Ausschnitte (n, h', b', kh, kb, c)."""
    a = np.pad(a, [(0, 0), *_padding(layer, a.shape[1:3]), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(a, layer.window, axis=(1, 2))
    return windows[:, :: layer.stride[0], :: layer.stride[1]].transpose(0, 1, 2, 4, 5, 3)


def _paste(layer: Layer, pieces, shape) -> np.ndarray:
    """Umkehrung von ``_cut``: legt Ausschnitte zurück nach (n, h, b, c); wo sie überlappen, addieren sie sich."""
    padding = _padding(layer, shape[1:3])
    (top, bottom), (left, right) = padding
    whole = np.zeros((shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3]))
    rows, columns = (count * step for count, step in zip(pieces.shape[1:3], layer.stride, strict=True))
    for y in range(layer.window[0]):
        for x in range(layer.window[1]):
            whole[:, y : y + rows : layer.stride[0], x : x + columns : layer.stride[1]] += pieces[:, :, :, y, x]
    return whole[:, top : top + shape[1], left : left + shape[2]]


def _forward(layer: Layer, a) -> np.ndarray:
    if layer.kind == "flatten":
        return a.reshape(len(a), -1)
    if layer.kind == "pool":
        return _cut(layer, a).max(axis=(3, 4))
    if layer.kind == "conv":
        z = np.tensordot(_cut(layer, a), layer.weights, axes=3) + layer.bias
    else:
        z = a @ layer.weights + layer.bias
    return np.maximum(z, 0) if layer.relu else z


def _backward(layer: Layer, a, r, rule: Rule) -> np.ndarray:
    """Relevanz unter der Schicht aus der Relevanz ``r`` darüber; ``a``: Aktivierungen darunter."""
    if layer.kind == "flatten":
        return r.reshape(a.shape)
    if layer.kind == "dense":
        return rule(a, layer.weights, layer.bias, r)
    pieces = _cut(layer, a)
    if layer.kind == "pool":  # alles geht an den Sieger des Fensters
        flat_pieces = pieces.reshape(*pieces.shape[:3], -1, a.shape[3])
        winner = np.arange(flat_pieces.shape[3])[:, None] == flat_pieces.argmax(axis=3)[:, :, :, None]
        return _paste(layer, (winner * r[:, :, :, None]).reshape(pieces.shape), a.shape)
    inputs, outputs = np.prod(layer.weights.shape[:3]), layer.weights.shape[3]
    inside = _cut(layer, np.ones((1, *a.shape[1:]))).reshape(-1, inputs)
    below = rule(
        pieces.reshape(-1, inputs),
        layer.weights.reshape(inputs, outputs),
        layer.bias,
        r.reshape(-1, outputs),
        np.tile(inside, (len(a), 1)),
    )
    return _paste(layer, below.reshape(pieces.shape), a.shape)


# --- Das Verfahren --------------------------------------------------------------------------------------------------


def lrp(model, inputs, classes, rules: Rule | list[Rule] = zero) -> np.ndarray:
    """Relevanz jedes Eingangs für die gefragte Klasse, Schicht für Schicht von Hand zurückgerechnet.

    Args:
        model: flaches Keras-Modell mit Logits als Ausgang (``read_layers`` sagt, aus welchen Schichten).
        inputs: (n, h, b, c) oder (n, d).
        classes: gefragte Klasse je Eingabe (n,) oder eine Zahl für alle.
        rules: eine Regel für alle Schichten mit Gewichten oder eine je Schicht, von unten nach oben.

    Returns:
        float64, in der Form der Eingaben.

    Raises:
        CourseError: bei einer unbekannten Schicht oder wenn die Zahl der Regeln nicht zu den Schichten passt.
    """
    layers = read_layers(model)
    weighted = sum(layer.weights is not None for layer in layers)
    per_layer = list(rules) if isinstance(rules, list | tuple) else [rules] * weighted
    if len(per_layer) != weighted:
        raise CourseError(f"Das Netz hat {weighted} Schichten mit Gewichten, es kamen aber {len(per_layer)} Regeln.")
    activations = [np.asarray(inputs, dtype=np.float64)]
    for layer in layers:
        activations.append(_forward(layer, activations[-1]))
    logits = activations[-1]
    relevance = logits * np.eye(logits.shape[1])[np.broadcast_to(classes, len(logits))]
    for layer, a in zip(reversed(layers), reversed(activations[:-1]), strict=True):
        rule = per_layer.pop() if layer.weights is not None else zero
        relevance = _backward(layer, a, relevance, rule)
    return relevance


def relevance(model, inputs, classes, rule="lrp.epsilon", parameter=None, sum_channels=True, batch_size: int = 16):
    """Relevanz jedes Eingabepixels (vorläufig: rechnet noch mit ``live_lrp`` und der Bibliothek)."""
    from helpers.live_lrp import live_lrp
    from helpers.lrp_library import LRP

    if parameter is not None:
        names = {
            "lrp.epsilon": "LRP-ε",
            "lrp.alpha_beta": "LRP-αβ",
            "lrp.sequential_preset_a_flat": "LRP-Preset A flat",
        }
        return live_lrp(model, inputs, classes, names[rule], parameter)
    with LRP(model, rule) as library:
        return library.relevance(inputs, classes, batch_size, sum_channels)
