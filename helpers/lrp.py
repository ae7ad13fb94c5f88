"""Layer-wise Relevance Propagation: die Regeln zum Nachlesen und der eine Rechenweg, mit dem der ganze Kurs rechnet.

Eine Regel verteilt die Relevanz über einer Schicht auf die Eingänge darunter. Sie sieht die Schicht als zwei Funktionen:
``layer.forward(a, w)`` (a·w ohne Schwellenwert) und ``layer.backward(r, w)`` (derselbe Weg zurück, r·wᵀ). Ob dort eine
dichte Schicht oder eine Faltung steht, ist für die Regel gleich. ``relevance`` rechnet das Netz vorwärts und wendet von
oben nach unten auf jede Schicht ihre Regel an, übersetzt von TensorFlow: einmal je Bauart und Regel. Gewichte und Zahlen
wie ε sind Eingaben der Rechnung; neue Gewichte und andere Zahlen gelten sofort.

Dieselben Karten wie iNNvestigate (``helpers.lrp_library``) auf 1e-4 der größten Relevanz: tests/test_lrp.py.

Bach et al. (2015), PLoS ONE 10(7) e0130140; Montavon et al. (2019), Layer-Wise Relevance Propagation: An Overview.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, german, progress, quiet_stderr
from helpers.model import checked_classes, checked_inputs, keras

with quiet_stderr():
    import tensorflow as tf

# --- Regeln ---------------------------------------------------------------------------------------------------------
# Jede Formel bekommt die Schicht und
#   a     Aktivierungen darunter, (n, d) oder (n, h, b, d)
#   w, b  Gewichte (d, k) oder (kh, kb, d, k) und Schwellenwerte (k,)
#   r     Relevanz darüber, (n, k) oder (n, h', b', k)
# dazu ihre Zahlen, und ergibt die Relevanz darunter, in der Form von a.


@dataclass(frozen=True)
class Rule:
    """Eine Formel mit ihren Zahlen; ``fixed`` sind Angaben, die die Rechnung selbst ändern."""

    formula: Callable
    numbers: tuple = ()
    fixed: tuple = ()


def _ratio(r, z):
    """r / z; wo z null ist, gibt es nichts zu verteilen."""
    return tf.math.divide_no_nan(r, z)


def _positive(x):
    return tf.nn.relu(x)


def _negative(x):
    return -tf.nn.relu(-x)


def zero(layer, a, w, b, r):
    """LRP-0 (in iNNvestigate ``lrp.z``): R_j = a_j Σ_k w_jk R_k / z_k mit z_k = Σ_j a_j w_jk + b_k.

    Bach et al. (2015), Gleichung 56.
    """
    return a * layer.backward(_ratio(r, layer.forward(a, w) + b), w)


def epsilon(eps: float = 1e-7) -> Rule:
    """LRP-ε: R_j = a_j Σ_k w_jk R_k / (z_k + ε·sign z_k), sign 0 = 1. Was so verloren geht, behält das Neuron.

    Bach et al. (2015), Gleichung 58.
    """
    return Rule(_epsilon, (eps,))


def _epsilon(layer, a, w, b, r, eps):
    z = layer.forward(a, w) + b
    return a * layer.backward(_ratio(r, z + eps * tf.where(z >= 0, 1.0, -1.0)), w)


def gamma(g: float = 0.25) -> Rule:
    """LRP-γ: wie LRP-0 mit Gewichten w + γ·w⁺ und Schwellenwerten b + γ·b⁺; für Eingänge a ≥ 0.

    Montavon et al. (2019), Abschnitt 10.2.3.
    """
    return Rule(_gamma, (g,))


def _gamma(layer, a, w, b, r, g):
    return zero(layer, a, w + g * _positive(w), b + g * _positive(b), r)


def alpha_beta(alpha: float, beta: float, bias: str = "ohne") -> Rule:
    """LRP-αβ: R_j = Σ_k (α (a_j w_jk)⁺ / z_k⁺ − β (a_j w_jk)⁻ / z_k⁻) R_k; Zustimmung mit α, Widerspruch mit β.

    Worin sich Bibliotheken unterscheiden, ist der Schwellenwert im Nenner jeder Hälfte:

    - ``"ohne"``: gar nicht, wie ``lrp.alpha_2_beta_1_IB`` in iNNvestigate. So rechnet der Kurs bei α2β1.
    - ``"getrennt"``: b⁺ zur Zustimmung, b⁻ zum Widerspruch (so Bach et al. 2015, Gleichung 60, und zennit).
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
    return Rule(_alpha_beta, (alpha, beta), (bias, beta != 0))


def _alpha_beta(layer, a, w, b, r, alpha, beta, bias, opposing):
    for_pos, for_neg = {
        "ohne": (0.0, 0.0),
        "getrennt": (_positive(b), _negative(b)),
        "beide": (b, b),
    }[bias]
    # Beide Hälften nebeneinander: eine Faltung hin und eine zurück. Minus mal minus ist auch Zustimmung; nach einem
    # ReLU gibt es kein Minus, und die zweite Reihe entfällt.
    pos, neg = _positive(w), _negative(w)
    weights = _beside(pos, neg) if opposing else pos
    if layer.signed:
        a = _beside(_positive(a), _negative(a))
        weights = tf.concat([weights, _beside(neg, pos) if opposing else neg], axis=-2)
    if opposing:
        agree, oppose = tf.split(layer.forward(a, weights), 2, axis=-1)
        shares = _beside(alpha * _ratio(r, agree + for_pos), -beta * _ratio(r, oppose + for_neg))
    else:
        shares = alpha * _ratio(r, layer.forward(a, weights) + for_pos)
    below = a * layer.backward(shares, weights)
    return tf.add_n(tf.split(below, 2, axis=-1)) if layer.signed else below


def _beside(first, second):
    return tf.concat([first, second], axis=-1)


def flat(layer, a, w, b, r):
    """Flache Regel: LRP-0, als wären alle Eingänge und Gewichte 1. Jeder Eingang bekommt gleich viel.

    Lapuschkin et al. (2017), Understanding and Comparing Deep Neural Networks for Age and Gender Classification.
    """
    return zero(layer, tf.ones_like(a), tf.ones_like(w), 0.0, r)


def w_square(layer, a, w, b, r):
    """w²-Regel: R_j = Σ_k w_jk² / (Σ_j w_jk²) R_k. Die Eingänge selbst zählen nicht.

    Montavon et al. (2017), Explaining NonLinear Classification Decisions with Deep Taylor Decomposition.
    """
    return zero(layer, tf.ones_like(a), w**2, 0.0, r)


def z_b(low: float, high: float) -> Rule:
    """z^B-Regel für die unterste Schicht, wenn jeder Eingang zwischen ``low`` und ``high`` liegt.

    R_j = Σ_k (a_j w_jk − l w_jk⁺ − h w_jk⁻) / Σ_j (a_j w_jk − l w_jk⁺ − h w_jk⁻) R_k. Montavon et al. (2017).
    """
    return Rule(_z_b, (low, high))


def _z_b(layer, a, w, b, r, low, high):
    parts = [(a, w), (-low * tf.ones_like(a), _positive(w)), (-high * tf.ones_like(a), _negative(w))]
    ratio = _ratio(r, tf.add_n([layer.forward(*part) for part in parts]))
    return tf.add_n([x * layer.backward(ratio, v) for x, v in parts])


# Name in iNNvestigate → Name, wie er in Bildern steht. α2β1 nur ohne Bias (IB): Mit Bias rechnet iNNvestigate falsch,
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


PARAMETERS = {"lrp.epsilon": "ε", "lrp.sequential_preset_a": "ε", "lrp.sequential_preset_a_flat": "ε"}
PARAMETERS["lrp.alpha_beta"] = "α"


def _deep_taylor_top(layer, a, w, b, r):
    """Deep Taylor beginnt mit dem positiven Teil des Logits; Schichten ohne ReLU bekommen die w²-Regel."""
    return w_square(layer, a, w, b, _positive(r))


def _named_rules(name: str, parameter, layers: list) -> list:
    """Die Regeln der Schichten mit Gewichten, von unten nach oben, zu einem Namen aus ``LRP_RULES``.

    Dazu ``lrp.alpha_beta`` (α ist der Parameter) und ``lrp.alpha_1_beta_0_IB``.
    """
    if parameter is not None:
        sign, lowest = PARAMETERS.get(name), 1 if name == "lrp.alpha_beta" else 0
        if sign is None:
            raise CourseError(f"Die Regel {name} hat keinen Parameter: Lassen Sie ihn weg.")
        if not lowest <= parameter < float("inf"):
            raise CourseError(f"{sign} muss mindestens {lowest} sein, nicht {german(parameter, 1)}.")
    if name.startswith("lrp.sequential_preset_a"):
        dense, conv = epsilon(0.1 if parameter is None else parameter), alpha_beta(1, 0, "beide")
        rules = [dense if layer.kind == "dense" else conv for layer in layers]
        return [flat, *rules[1:]] if name.endswith("flat") else rules
    if name == "deep_taylor":
        return [alpha_beta(1, 0) if layer.relu else _deep_taylor_top for layer in layers]
    alpha = 2.0 if parameter is None else float(parameter)
    everywhere = {
        "lrp.z": zero,
        "lrp.epsilon": epsilon(1e-7 if parameter is None else parameter),
        "lrp.alpha_beta": Rule(_alpha_beta, (alpha, alpha - 1), ("ohne", True)),
        "lrp.alpha_1_beta_0": alpha_beta(1, 0, "beide"),
        "lrp.alpha_1_beta_0_IB": alpha_beta(1, 0),
        "lrp.alpha_2_beta_1_IB": alpha_beta(2, 1),
        "lrp.flat": flat,
        "lrp.w_square": w_square,
    }
    if name not in everywhere:
        raise CourseError(f"Die LRP-Regel „{name}“ gibt es nicht: Wählen Sie eine aus {', '.join(LRP_RULES)}.")
    return [everywhere[name]] * len(layers)


# --- Schichten ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """Eine Schicht ohne ihre Gewichte: was die Rechnung festlegt.

    Attributes:
        kind: "dense", "conv", "max", "average" oder "reshape".
        below, above: Form der Werte darunter und darüber, ohne die Bilder.
        window, strides, padding: Fenster, Schrittweite und Rand („SAME“ oder „VALID“) von Faltung und Pooling.
        relu: folgt ein ReLU?
        signed: können Werte darunter negativ sein?
        pair: die wievielten Gewichte; eine Schicht, die zweimal vorkommt, hat zweimal dieselben.
    """

    kind: str
    below: tuple
    above: tuple
    window: tuple = ()
    strides: tuple = ()
    padding: str = "VALID"
    relu: bool = False
    signed: bool = True
    pair: int | None = None

    def forward(self, a, w):
        """Die Schicht ohne Schwellenwert und ReLU: Werte (n, …, d) und Gewichte (…, d, k) → (n, …, k)."""
        return a @ w if self.kind == "dense" else tf.nn.conv2d(a, w, self.strides, self.padding)

    def backward(self, r, w):
        """Derselbe Weg zurück: (n, …, k) → (n, …, d)."""
        if self.kind == "dense":
            return tf.matmul(r, w, transpose_b=True)
        shape = (tf.shape(r)[0], *self.below[:2], w.shape[2])
        return tf.nn.conv2d_transpose(r, w, shape, self.strides, self.padding)

    def unweighted(self, a):
        """Pooling oder Umformen."""
        if self.kind == "reshape":
            return tf.reshape(a, (-1, *self.above))
        pool = tf.nn.max_pool2d if self.kind == "max" else tf.nn.avg_pool2d
        return tf.reshape(pool(a, self.window, self.strides or self.window, self.padding), (-1, *self.above))

    def unweighted_backward(self, a, r):
        """Beim Max-Pooling geht alles an den Sieger des Fensters, beim mittelnden gilt LRP-0."""
        with tf.GradientTape() as tape:
            tape.watch(a)
            y = self.unweighted(a)
        if self.kind == "average":
            return a * tape.gradient(y, a, _ratio(r, y))
        return tape.gradient(y, a, r)


def chain(model: keras.Model) -> list[tuple]:
    """Der Weg von der Eingabe zur Ausgabe: [(Keras-Schicht, Form darunter, Form darüber), …] ohne die Eingabe.

    Raises:
        CourseError: wenn es nicht genau einen Weg gibt.
    """
    if len(getattr(model, "inputs", None) or ()) != 1 or len(getattr(model, "outputs", None) or ()) != 1:
        raise CourseError("LRP braucht ein Modell mit genau einer Eingabe und einer Ausgabe.")
    tensor, found = model.outputs[0], []
    while tensor is not model.inputs[0]:
        layer, number, _ = tensor._keras_history
        before = layer._inbound_nodes[number].input_tensors
        if len(before) != 1:
            raise CourseError(
                f"In der Schicht „{layer.name}“ treffen sich mehrere Wege: LRP geht hier nur durch Ketten."
            )
        found.insert(0, (layer, tuple(before[0].shape[1:]), tuple(tensor.shape[1:])))
        tensor = before[0]
    return found


KINDS = {
    "Conv2D": "conv",
    "Dense": "dense",
    "MaxPooling2D": "max",
    "AveragePooling2D": "average",
    "GlobalAveragePooling2D": "average",
    "Flatten": "reshape",
}
# Angaben, bei denen nur diese Werte berechnet werden.
ONLY = {
    "activation": ("relu", "linear"),
    "data_format": ("channels_last",),
    "dilation_rate": ((1, 1),),
    "groups": (1,),
}


def checked_config(layer, shape: tuple) -> dict:
    """Die Angaben einer Keras-Schicht.

    Raises:
        CourseError: bei einer Schicht, Form oder Angabe, die hier niemand berechnet.
    """
    kind, config = type(layer).__name__, layer.get_config()
    if kind not in KINDS:
        raise CourseError(f"LRP ist in diesem Kurs nicht für Schichten der Art {kind} („{layer.name}“) gemacht.")
    if None in shape:
        raise CourseError(f"Die Schicht „{layer.name}“ kennt ihre Größe nicht: LRP braucht eine feste Bildgröße.")
    for key, allowed in ONLY.items():
        value = config.get(key, allowed[0])
        value = tuple(value) if isinstance(value, list) else value
        if value not in allowed and key == "activation":
            raise CourseError(
                f"Die Schicht „{layer.name}“ hat die Aktivierung {value}: LRP braucht ReLU und am Ende Logits, also kein "
                "Softmax."
            )
        if value not in allowed:
            raise CourseError(f"Die Schicht „{layer.name}“ hat {key} = {value}: LRP rechnet nur mit {allowed[0]}.")
    return config


def read_layers(model: keras.Model) -> tuple[tuple[Layer, ...], list]:
    """Die Schichten eines Modells und ihre Gewichte: [(Gewichte, Schwellenwerte), …] als Tensoren.

    Raises:
        CourseError: bei Schichten, Aktivierungen oder Angaben, die hier niemand berechnet.
    """
    layers, weighted, signed = [], [], True
    for layer, below, above in chain(model):
        if isinstance(layer, keras.layers.Dropout):
            continue
        config = checked_config(layer, below)
        kind, options = KINDS[type(layer).__name__], {"signed": signed}
        if kind in ("conv", "dense"):
            weighted += [layer] if layer not in weighted else []
            options |= {"relu": config["activation"] == "relu", "pair": weighted.index(layer)}
            signed = not options["relu"]
        if "strides" in config:
            options |= {"strides": tuple(config["strides"]), "padding": config["padding"].upper()}
        if kind in ("conv", "max", "average"):
            options["window"] = tuple(config.get("kernel_size") or config.get("pool_size") or below[:2])
        layers.append(Layer(kind, below, above, **options))
    biases = [layer.bias if layer.use_bias else np.zeros(layer.kernel.shape[-1], np.float32) for layer in weighted]
    pairs = [
        (tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(b)) for layer, b in zip(weighted, biases, strict=True)
    ]
    return tuple(layers), pairs


# --- Das Verfahren --------------------------------------------------------------------------------------------------


def relevance(model, inputs, classes, rule="lrp.epsilon", parameter=None, sum_channels=True, batch_size: int = 16):
    """Relevanz jedes Eingangs für die gefragte Klasse.

    Args:
        model: Keras-Modell mit Logits als Ausgang, eine Kette aus Conv2D, Dense, Pooling und Flatten.
        inputs: vorverarbeitete Bilder, float32, (n, h, b, c), oder Merkmale (n, d).
        classes: gefragte Klasse je Bild (n,) oder eine Zahl für alle.
        rule: ein Name aus ``LRP_RULES``, „lrp.alpha_beta“, eine Regel für alle Schichten mit Gewichten oder eine Liste
            von Regeln, eine je Schicht, von unten nach oben.
        parameter: ε oder, bei „lrp.alpha_beta“, α; ohne gilt der Wert von iNNvestigate.
        sum_channels: über die letzte Achse, die Farbkanäle, summieren.
        batch_size: Bilder je Rechenschritt.

    Returns:
        float32, (n, h, b) oder ohne Summe (n, h, b, c); positiv spricht für, negativ gegen die Klasse.

    Raises:
        CourseError: bei unbekannter Regel, unmöglichem Parameter, unpassenden Bildern oder Klassen oder einem Modell, das
            hier niemand berechnet.
    """
    layers, pairs = read_layers(model)
    weighted = [layer for layer in layers if layer.pair is not None]
    if isinstance(rule, str):
        rules = _named_rules(rule, parameter, weighted)
    else:
        rules = list(rule) if isinstance(rule, list | tuple) else [rule] * len(weighted)
    if len(rules) != len(weighted):
        raise CourseError(f"Das Netz hat {len(weighted)} Schichten mit Gewichten, es kamen aber {len(rules)} Regeln.")
    rules = [each if isinstance(each, Rule) else Rule(each) for each in rules]
    inputs = checked_inputs(inputs, layers[0].below, "LRP")
    classes = checked_classes(classes, len(inputs), layers[-1].above[-1]).astype(np.int32)
    step = _compiled(layers, tuple((each.formula, len(each.numbers), each.fixed) for each in rules), sum_channels)
    numbers = np.array([number for each in rules for number in each.numbers], np.float32)
    maps = np.empty(inputs.shape[:-1] if sum_channels else inputs.shape, np.float32)
    text = LRP_RULES.get(rule, "LRP") if isinstance(rule, str) else "LRP"
    for start in progress(range(0, len(inputs), batch_size), text=text, unit="Stapel"):
        part = slice(start, start + batch_size)
        maps[part] = step(inputs[part], classes[part], pairs, numbers)
    return maps


@functools.lru_cache(maxsize=32)
def _compiled(layers: tuple[Layer, ...], formulas: tuple, sum_channels: bool):
    """Übersetzte Funktion (Bilder, Klassen, Gewichte, Zahlen) → Relevanz, für jedes Netz dieser Bauart.

    Die Formeln rechnen z = a·w + b noch einmal; TensorFlow erkennt gleiche Rechnungen und führt sie einmal aus.
    """
    borders = np.cumsum([0, *(count for _, count, _ in formulas)])

    shapes = {
        layer.pair: (*layer.window, layer.below[-1], layer.above[-1]) for layer in layers if layer.pair is not None
    }
    weights = [(tf.TensorSpec(shape), tf.TensorSpec(shape[-1:])) for _, shape in sorted(shapes.items())]
    images, classes = tf.TensorSpec((None, *layers[0].below)), tf.TensorSpec((None,), tf.int32)

    @tf.function(input_signature=[images, classes, weights, tf.TensorSpec(borders[-1:])])
    def step(images, classes, pairs, numbers):
        values = [images]
        for layer in layers:
            if layer.pair is None:
                values.append(layer.unweighted(values[-1]))
                continue
            z = layer.forward(values[-1], pairs[layer.pair][0]) + pairs[layer.pair][1]
            values.append(tf.nn.relu(z) if layer.relu else z)
        logits = values.pop()
        r = logits * tf.one_hot(classes, logits.shape[-1])
        numbers, remaining = tf.unstack(numbers), list(enumerate(formulas))
        for layer in reversed(layers):
            a = values.pop()
            if layer.pair is None:
                r = layer.unweighted_backward(a, r)
                continue
            number, (formula, count, fixed) = remaining.pop()
            own = numbers[borders[number] : borders[number] + count]
            r = formula(layer, a, *pairs[layer.pair], r, *own, *fixed)
        return tf.reduce_sum(r, axis=-1) if sum_channels else r

    return step
