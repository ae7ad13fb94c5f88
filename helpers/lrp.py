"""Layer-wise Relevance Propagation: die Regeln zum Nachlesen und der eine Rechenweg, mit dem der ganze Kurs rechnet.

Eine Regel verteilt die Relevanz über einer Schicht auf die Eingänge darunter. Die Schicht gibt ihr zwei Funktionen:
``layer.forward(a, w)`` (a·w ohne Bias) und ``layer.backward(r, w)`` (derselbe Weg zurück, r·wᵀ). Ob dort eine
dichte Schicht oder eine Faltung steht, ist für die Regel gleich. ``relevance`` rechnet das Netz vorwärts und wendet von
oben nach unten auf jede Schicht ihre Regel an. TensorFlow kompiliert das einmal je Bauart und Regel. Gewichte und
Zahlen wie ε sind Eingaben der Rechnung: Neue gelten sofort.

Dieselben Karten wie iNNvestigate (``helpers.lrp_library``) auf 1e-4 der größten Relevanz: tests/test_lrp.py.

Bach et al. (2015), PLoS ONE 10(7) e0130140; Montavon et al. (2019), Layer-Wise Relevance Propagation: An Overview.
"""

from functools import lru_cache, partial

import numpy as np

from helpers.basics import CourseError, german, progress, quiet_stderr
from helpers.inner.lrp_layers import Layer, read_layers
from helpers.model import checked_classes, checked_inputs

with quiet_stderr():
    import tensorflow as tf

# --- Regeln ---------------------------------------------------------------------------------------------------------
# Jede Formel bekommt die Schicht und
#   a     Aktivierungen darunter, (n, d) oder (n, h, b, d)
#   w, b  Gewichte (d, k) oder (kh, kb, d, k) und Bias (k,)
#   r     Relevanz darüber, (n, k) oder (n, h', b', k)
# dazu ihre Zahlen, und ergibt die Relevanz darunter, in der Form von a. Eine Regel ist eine Formel, in der die Zahlen
# schon stehen (functools.partial). Wo ein Nenner null ist, gibt es nichts zu verteilen.


def _distribute(layer, r, b, *parts):
    """R_j = x_j Σ_k v_jk R_k / (Σ_j x_j v_jk + b_k); gibt es mehrere Paare (x, v), zählen alle zusammen."""
    s = tf.math.divide_no_nan(r, tf.add_n([layer.forward(x, v) for x, v in parts]) + b)
    return tf.add_n([x * layer.backward(s, v) for x, v in parts])


def zero(layer, a, w, b, r):
    """LRP-0 (in iNNvestigate ``lrp.z``): R_j = a_j Σ_k w_jk R_k / z_k mit z_k = Σ_j a_j w_jk + b_k.

    Bach et al. (2015), Gleichung 56.
    """
    return _distribute(layer, r, b, (a, w))


def epsilon(eps: float = 1e-7) -> partial:
    """LRP-ε: R_j = a_j Σ_k w_jk R_k / (z_k + ε·sign z_k), sign 0 = 1. Was so verloren geht, behält das Neuron.

    Bach et al. (2015), Gleichung 58.

    Raises:
        CourseError: wenn ``eps`` keine Zahl ab 0 ist.
    """
    if not 0 <= eps < float("inf"):
        raise CourseError(f"ε von LRP-ε muss eine Zahl ab 0 sein, nicht {german(eps, 1)}.")
    return partial(_epsilon, eps=eps)


def _epsilon(layer, a, w, b, r, eps):
    z = layer.forward(a, w) + b
    return a * layer.backward(tf.math.divide_no_nan(r, z + eps * tf.where(z >= 0, 1.0, -1.0)), w)


def gamma(g: float = 0.25) -> partial:
    """LRP-γ: wie LRP-0 mit Gewichten w + γ·w⁺ und Bias b + γ·b⁺; für Eingänge a ≥ 0.

    Montavon et al. (2019), Abschnitt 10.2.3.
    """
    return partial(_gamma, g=g)


def _gamma(layer, a, w, b, r, g):
    return _distribute(layer, r, b + g * tf.nn.relu(b), (a, w + g * tf.nn.relu(w)))


# Bias bei αβ → Anteile von (b⁺, b⁻) im Nenner der Zustimmung; beim Widerspruch umgekehrt.
BIAS = {"ohne": (0, 0), "getrennt": (1, 0), "beide": (1, 1)}


def alpha_beta(alpha: float, beta: float, bias: str = "ohne") -> partial:
    """LRP-αβ: R_j = Σ_k (α (a_j w_jk)⁺ / z_k⁺ − β (a_j w_jk)⁻ / z_k⁻) R_k; Zustimmung mit α, Widerspruch mit β.

    Worin sich Bibliotheken unterscheiden, ist der Bias im Nenner jeder Hälfte:

    - ``"ohne"``: gar nicht, wie ``lrp.alpha_2_beta_1_IB`` in iNNvestigate. So rechnet der Kurs bei α2β1.
    - ``"getrennt"``: b⁺ zur Zustimmung, b⁻ zum Widerspruch (so Bach et al. 2015, Gleichung 60, und zennit).
    - ``"beide"``: b⁺ *und* b⁻ in jede Hälfte. Das rechnet iNNvestigate 2.1.2 in ``lrp.alpha_2_beta_1`` und
      ``lrp.alpha_1_beta_0``. Der Nenner des Widerspruchs z⁻ + b kann null werden: Dann explodiert der Anteil.
      Bei α1β0 gibt es keinen Widerspruch, und z⁺ + b liegt selten bei null: Dort schadet es kaum.

    Args:
        alpha, beta: mit alpha − beta = 1, damit die Relevanz erhalten bleibt, und beta ≥ 0.
        bias: "ohne", "getrennt" oder "beide".

    Raises:
        CourseError: bei anderen Angaben.
    """
    if not (abs(alpha - beta - 1) < 1e-9 and beta >= 0):
        raise CourseError(
            f"Bei LRP-αβ muss α − β = 1 und β ≥ 0 sein, nicht α = {german(alpha, 1)} und β = {german(beta, 1)}."
        )
    if bias not in BIAS:
        raise CourseError(f"„{bias}“ gibt es nicht: Der Bias zählt „ohne“, „getrennt“ oder „beide“.")
    same, other = BIAS[bias]
    return partial(_alpha_beta, alpha=alpha, beta=beta, same=same, other=other)


def _alpha_beta(layer, a, w, b, r, alpha, beta, same, other):
    def half(f, g):
        """Zustimmung mit f = (·)⁺ und g = (·)⁻, Widerspruch umgekehrt. Nach einem ReLU gibt es a⁻ nicht."""
        parts = [(tf.nn.relu(a), f(w)), (_negative(a), g(w))] if layer.signed else [(a, f(w))]
        return _distribute(layer, r, same * f(b) + other * g(b), *parts)

    opposing = tf.cond(tf.equal(beta, 0), lambda: tf.zeros_like(a), lambda: beta * half(_negative, tf.nn.relu))
    return alpha * half(tf.nn.relu, _negative) - opposing


def _negative(x):
    return tf.minimum(x, 0.0)


def deep_taylor(layer, a, w, b, r):
    """Deep Taylor: α1β0 ohne Bias; oben zählt nur der positive Teil des Logits. Montavon et al. (2017)."""
    return _alpha_beta(layer, a, w, b, tf.nn.relu(r), 1.0, 0.0, 0.0, 0.0)


def flat(layer, a, w, b, r):
    """Flache Regel: LRP-0, als wären alle Eingänge und Gewichte 1. Jeder Eingang bekommt gleich viel.

    Lapuschkin et al. (2017), Understanding and Comparing Deep Neural Networks for Age and Gender Classification.
    """
    return _distribute(layer, r, 0.0, (tf.ones_like(a), tf.ones_like(w)))


def w_square(layer, a, w, b, r):
    """w²-Regel: R_j = Σ_k w_jk² / (Σ_j w_jk²) R_k. Die Eingänge selbst zählen nicht.

    Montavon et al. (2017), Explaining NonLinear Classification Decisions with Deep Taylor Decomposition.
    """
    return _distribute(layer, r, 0.0, (tf.ones_like(a), w**2))


def z_b(low: float, high: float) -> partial:
    """z^B-Regel für die unterste Schicht, wenn jeder Eingang zwischen ``low`` und ``high`` liegt.

    R_j = Σ_k (a_j w_jk − l w_jk⁺ − h w_jk⁻) / Σ_j (a_j w_jk − l w_jk⁺ − h w_jk⁻) R_k. Montavon et al. (2017).
    """
    return partial(_z_b, low=low, high=high)


def _z_b(layer, a, w, b, r, low, high):
    ones = tf.ones_like(a)
    return _distribute(layer, r, 0.0, (a, w), (-low * ones, tf.nn.relu(w)), (-high * ones, _negative(w)))


def bounded_pixels(rule: partial, low: float = -124, high: float = 152) -> dict:
    """``rule`` in allen Schichten, z^B in der untersten: Für VGG16 liegen Pixel zwischen −124 und 152."""
    return {"dense": rule, "conv": rule, "lowest": z_b(low, high)}


def preset_a(eps: float = 0.1, **lowest) -> dict:
    """Preset A: ε für dichte Schichten, α1β0 für Faltungen; „Preset A flat“ mit ``lowest=flat`` für die unterste."""
    return {"dense": epsilon(eps), "conv": alpha_beta(1, 0, "beide"), **lowest}


# Name in iNNvestigate → (Name, wie er in Bildern steht, Regel). α2β1 nur ohne Bias (IB): Mit Bias rechnet iNNvestigate
# falsch, weil es Bias⁺ und Bias⁻ jeder Hälfte zuschlägt; aus demselben Grund preset_a und nicht preset_b.
NAMED = {
    "lrp.z": ("LRP-0", zero),
    "lrp.epsilon": ("LRP-ε", epsilon()),
    "lrp.alpha_1_beta_0": ("LRP-α1β0", alpha_beta(1, 0, "beide")),
    "lrp.alpha_2_beta_1_IB": ("LRP-α2β1 (ohne Bias)", alpha_beta(2, 1)),
    "lrp.flat": ("LRP-flat", flat),
    "lrp.w_square": ("LRP-w²", w_square),
    "lrp.sequential_preset_a": ("LRP-Preset A", preset_a()),
    "lrp.sequential_preset_a_flat": ("LRP-Preset A flat", preset_a(lowest=flat)),
    "deep_taylor": ("Deep Taylor", deep_taylor),
}
LRP_RULES = {name: label for name, (label, _) in NAMED.items()}

# --- Das Verfahren --------------------------------------------------------------------------------------------------


def relevance(model, inputs, classes, rule="lrp.epsilon", sum_channels=True, batch_size: int = 16) -> np.ndarray:
    """Relevanz jedes Eingangs für die gefragte Klasse.

    Args:
        model: Keras-Modell mit Logits als Ausgang, eine Kette aus Conv2D, Dense, MaxPooling2D und Flatten.
        inputs: vorverarbeitete Bilder, float32, (n, h, b, c), oder Merkmale (n, d).
        classes: gefragte Klasse je Bild (n,) oder eine Zahl für alle.
        rule: ein Name aus ``LRP_RULES``, eine Regel für alle Schichten mit Gewichten oder, wie ``preset_a``, Regeln für
            dichte Schichten, Faltungen und die unterste: {"dense": …, "conv": …, "lowest": …}, „lowest“ nach Wunsch.
        sum_channels: über die letzte Achse, die Farbkanäle, summieren.
        batch_size: Bilder je Rechenschritt.

    Returns:
        float32, (n, h, b) oder ohne Summe (n, h, b, c); positiv spricht für, negativ gegen die Klasse.

    Raises:
        CourseError: bei unbekannter Regel, unpassenden Bildern oder Klassen oder einer Schicht, die hier niemand
            berechnet.
    """
    layers, pairs = read_layers(model)
    rules = _rules_of(rule, [layer.kind for layer, pair in zip(layers, pairs, strict=True) if pair])
    inputs = checked_inputs(inputs, layers[0].below, "LRP")
    classes = checked_classes(classes, len(inputs), layers[-1].above[-1]).astype(np.int32)
    step = _compiled(layers, tuple((each.func, *each.keywords) for each in rules), sum_channels)
    numbers = np.array([number for each in rules for number in each.keywords.values()], np.float32)
    maps = np.empty(inputs.shape[:-1] if sum_channels else inputs.shape, np.float32)
    for start in progress(range(0, len(inputs), batch_size), text="LRP", unit="Stapel"):
        part = slice(start, start + batch_size)
        maps[part] = step(inputs[part], classes[part], pairs, numbers)
    return maps


def _rules_of(rule, kinds: list[str]) -> list[partial]:
    """Die Regeln der Schichten mit Gewichten, von unten nach oben."""
    if isinstance(rule, str):
        if rule not in NAMED:
            raise CourseError(f"Die LRP-Regel „{rule}“ gibt es nicht: Wählen Sie eine aus {', '.join(NAMED)}.")
        rule = NAMED[rule][1]
    rule = rule if isinstance(rule, dict) else dict.fromkeys(("dense", "conv"), rule)
    rules = [rule.get("lowest", rule[kinds[0]]), *(rule[kind] for kind in kinds[1:])]
    return [each if isinstance(each, partial) else partial(each) for each in rules]


@lru_cache(maxsize=32)
def _compiled(layers: tuple[Layer, ...], formulas: tuple, sum_channels: bool):
    """Kompilierte Funktion (Bilder, Klassen, Gewichte, Zahlen) → Relevanz, für jedes Netz dieser Bauart.

    Die Formeln rechnen z = a·w + b noch einmal; TensorFlow erkennt gleiche Rechnungen und führt sie einmal aus.
    """
    images, classes = tf.TensorSpec((None, *layers[0].below)), tf.TensorSpec((None,), tf.int32)
    shapes = [(*layer.window, layer.below[-1], layer.above[-1]) for layer in layers]
    weights = [
        (tf.TensorSpec(shape), tf.TensorSpec(shape[-1:])) if layer.kind in ("conv", "dense") else ()
        for layer, shape in zip(layers, shapes, strict=True)
    ]

    @tf.function(input_signature=[images, classes, weights, tf.TensorSpec([sum(map(len, formulas)) - len(formulas)])])
    def step(images, classes, pairs, numbers):
        values = [images]
        for layer, pair in zip(layers, pairs, strict=True):
            values.append(layer.output(values[-1], *pair))
        logits = values.pop()
        r = logits * tf.one_hot(classes, logits.shape[-1])
        numbers, remaining = tf.unstack(numbers), list(formulas)
        for layer, pair in zip(reversed(layers), reversed(pairs), strict=True):
            a = values.pop()
            if pair:
                formula, *names = remaining.pop()
                r = formula(layer, a, *pair, r, **{name: numbers.pop() for name in reversed(names)})
            else:
                r = layer.unweighted_backward(a, r)
        return tf.reduce_sum(r, axis=-1) if sum_channels else r

    return step
