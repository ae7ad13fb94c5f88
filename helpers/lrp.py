"""Layer-wise Relevance Propagation: die Regeln zum Nachlesen und der eine Rechenweg, mit dem der ganze Kurs rechnet.

Eine Regel verteilt die Relevanz über einer Schicht auf die Eingänge darunter. Die Schicht gibt ihr zwei Funktionen:
``layer.forward(a, w)`` (a·w ohne Schwellenwert) und ``layer.backward(r, w)`` (derselbe Weg zurück, r·wᵀ). Ob dort eine
dichte Schicht oder eine Faltung steht, ist für die Regel gleich. ``relevance`` rechnet das Netz vorwärts und wendet von
oben nach unten auf jede Schicht ihre Regel an. TensorFlow übersetzt das einmal je Bauart und Regel. Gewichte und Zahlen
wie ε sind Eingaben der Rechnung: Neue gelten sofort.

Dieselben Karten wie iNNvestigate (``helpers.lrp_library``) auf 1e-4 der größten Relevanz: tests/test_lrp.py.

Bach et al. (2015), PLoS ONE 10(7) e0130140; Montavon et al. (2019), Layer-Wise Relevance Propagation: An Overview.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, german, progress, quiet_stderr
from helpers.lrp_layers import Layer, ratio, read_layers
from helpers.model import checked_classes, checked_inputs

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


def _positive(x):
    return tf.nn.relu(x)


def _negative(x):
    return tf.minimum(x, 0.0)


def zero(layer, a, w, b, r):
    """LRP-0 (in iNNvestigate ``lrp.z``): R_j = a_j Σ_k w_jk R_k / z_k mit z_k = Σ_j a_j w_jk + b_k.

    Bach et al. (2015), Gleichung 56.
    """
    return a * layer.backward(ratio(r, layer.forward(a, w) + b), w)


def epsilon(eps: float = 1e-7) -> Rule:
    """LRP-ε: R_j = a_j Σ_k w_jk R_k / (z_k + ε·sign z_k), sign 0 = 1. Was so verloren geht, behält das Neuron.

    Bach et al. (2015), Gleichung 58.
    """
    return Rule(_epsilon, (eps,))


def _epsilon(layer, a, w, b, r, eps):
    z = layer.forward(a, w) + b
    return a * layer.backward(ratio(r, z + eps * tf.where(z >= 0, 1.0, -1.0)), w)


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
    none = tf.zeros_like(b)
    shares = {"ohne": (none, none), "getrennt": (_positive(b), _negative(b)), "beide": (b, b)}[bias]

    def half(w_for_pos, w_for_neg, share):
        # Minus mal minus ist auch Zustimmung; nach einem ReLU gibt es kein Minus.
        parts = [(_positive(a), w_for_pos), (_negative(a), w_for_neg)] if layer.signed else [(a, w_for_pos)]
        s = ratio(r, tf.add_n([layer.forward(*part) for part in parts]) + share)
        return tf.add_n([x * layer.backward(s, v) for x, v in parts])

    agreeing = alpha * half(_positive(w), _negative(w), shares[0])
    return agreeing - beta * half(_negative(w), _positive(w), shares[1]) if opposing else agreeing


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
    share = ratio(r, tf.add_n([layer.forward(*part) for part in parts]))
    return tf.add_n([x * layer.backward(share, v) for x, v in parts])


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
# Name → (Zeichen, kleinster Wert) des Reglers; „lrp.alpha_beta“ gibt es nur mit ihm, β ist α − 1.
PARAMETERS = {
    "lrp.epsilon": ("ε", 0),
    "lrp.sequential_preset_a": ("ε", 0),
    "lrp.sequential_preset_a_flat": ("ε", 0),
    "lrp.alpha_beta": ("α", 1),
}


def _deep_taylor(layer, a, w, b, r):
    """Deep Taylor: α1β0 ohne Schwellenwerte; oben zählt nur der positive Teil des Logits. Montavon et al. (2017)."""
    return _alpha_beta(layer, a, w, b, _positive(r), 1.0, 0.0, "ohne", opposing=False)


def _check_parameter(name: str, parameter) -> None:
    if parameter is None and name != "lrp.alpha_beta":
        return
    if name not in PARAMETERS:
        raise CourseError(f"Die Regel {name} hat keinen Parameter: Lassen Sie ihn weg.")
    sign, lowest = PARAMETERS[name]
    if parameter is None or not lowest <= parameter < float("inf"):
        found = "nichts" if parameter is None else german(parameter, 1)
        raise CourseError(f"Der Parameter {sign} von {name} muss eine Zahl ab {lowest} sein, nicht {found}.")


def _named_rules(name: str, parameter, layers: list) -> list:
    """Die Regeln der Schichten mit Gewichten, von unten nach oben, zu einem Namen.

    Außer ``LRP_RULES`` gibt es „lrp.alpha_beta“ und „lrp.alpha_1_beta_0_IB“.
    """
    _check_parameter(name, parameter)
    if name.startswith("lrp.sequential_preset_a"):
        dense, conv = epsilon(0.1 if parameter is None else parameter), alpha_beta(1, 0, "beide")
        rules = [dense if layer.kind == "dense" else conv for layer in layers]
        return [flat, *rules[1:]] if name.endswith("flat") else rules
    alpha = 1.0 if parameter is None else float(parameter)
    everywhere = {
        "lrp.z": zero,
        "lrp.epsilon": epsilon(1e-7 if parameter is None else parameter),
        "lrp.alpha_beta": Rule(_alpha_beta, (alpha, alpha - 1), ("ohne", True)),
        "lrp.alpha_1_beta_0": alpha_beta(1, 0, "beide"),
        "lrp.alpha_1_beta_0_IB": alpha_beta(1, 0),
        "lrp.alpha_2_beta_1_IB": alpha_beta(2, 1),
        "lrp.flat": flat,
        "lrp.w_square": w_square,
        "deep_taylor": _deep_taylor,
    }
    if name not in everywhere:
        raise CourseError(f"Die LRP-Regel „{name}“ gibt es nicht: Wählen Sie eine aus {', '.join(LRP_RULES)}.")
    return [everywhere[name]] * len(layers)


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
        CourseError: bei unbekannter Regel, unmöglichem Parameter, unpassenden Bildern oder Klassen oder einer Schicht,
            die hier niemand berechnet.
    """
    layers, pairs = read_layers(model, few=min(len(inputs), batch_size) <= 4)
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
