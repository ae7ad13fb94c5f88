"""Ein Keras-Modell, wie LRP es braucht: eine Kette von Schichten, jede mit einem Weg hin und einem zurück."""

from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, quiet_stderr
from helpers.model import built_model, keras

with quiet_stderr():
    import tensorflow as tf


@dataclass(frozen=True)
class Layer:
    """Eine Schicht ohne ihre Gewichte: was die Rechnung festlegt.

    Attributes:
        kind: "dense", "conv", "max", "mean" (mitteln), "pad" (Rand aus Nullen), "relu" oder "reshape".
        below, above: Form der Werte darunter und darüber, ohne die Bilder.
        window, strides, padding: Fenster, Schrittweite und Rand („SAME“ oder „VALID“) von Faltung und Pooling; bei
            "pad" ist ``window`` die Breite des Rands.
        relu: folgt ein ReLU?
        signed: können Werte darunter negativ sein?
    """

    kind: str
    below: tuple
    above: tuple
    window: tuple = ()
    strides: tuple = ()
    padding: str = "VALID"
    relu: bool = False
    signed: bool = True

    def forward(self, a, w):
        """Die Schicht ohne Bias und ReLU: Werte (n, …, d) und Gewichte (…, d, k) → (n, …, k)."""
        return a @ w if self.kind == "dense" else tf.nn.conv2d(a, w, self.strides, self.padding)

    def backward(self, r, w):
        """Derselbe Weg zurück: (n, …, k) → (n, …, d)."""
        if self.kind == "dense":
            return tf.matmul(r, w, transpose_b=True)
        shape = (tf.shape(r)[0], *self.below)
        return tf.nn.conv2d_transpose(r, w, shape, self.strides, self.padding)

    def output(self, a, w=None, b=None):
        """Die ganze Schicht vorwärts; Pooling, Rand und Umformen haben keine Gewichte."""
        if w is not None:
            z = self.forward(a, w) + b
            return tf.nn.relu(z) if self.relu else z
        if self.kind == "relu":
            return tf.nn.relu(a)
        if self.kind == "pad":
            a = tf.pad(a, ((0, 0), *self.window, (0, 0)))
        if self.kind in ("max", "mean"):
            pool = tf.nn.max_pool2d if self.kind == "max" else tf.nn.avg_pool2d
            a = pool(a, self.window, self.strides, self.padding)
        return tf.reshape(a, (-1, *self.above))

    def unweighted_backward(self, a, r):
        """Umformen zurück; beim Max-Pooling geht alles an den Sieger des Fensters, beim Mitteln gilt LRP-0."""
        if self.kind == "relu":
            return r
        with tf.GradientTape() as tape:
            tape.watch(a)
            y = self.output(a)
        if self.kind == "mean":
            return a * tape.gradient(y, a, tf.math.divide_no_nan(r, y))
        return tape.gradient(y, a, r)


KINDS = {"Conv2D": "conv", "Dense": "dense", "MaxPooling2D": "max", "Flatten": "reshape"}
# Diese kommen in eigenen Modellen vor.
KINDS |= {"AveragePooling2D": "mean", "GlobalAveragePooling2D": "mean", "GlobalMaxPooling2D": "max"}
KINDS |= {"ZeroPadding2D": "pad", "ReLU": "relu", "Activation": "relu", "Reshape": "reshape"}


def chain(model: keras.Model) -> list[tuple]:
    """Der Weg von der Eingabe zur Ausgabe: [(Keras-Schicht, Form darunter, Form darüber), …] ohne Eingabe und Dropout.

    Raises:
        CourseError: wenn es nicht genau einen Weg gibt oder darauf eine Schicht, die hier niemand berechnet.
    """
    model = built_model(model, "LRP")
    if None in model.inputs[0].shape[1:]:
        raise CourseError("LRP braucht ein Modell mit fester Bildgröße: Nennen Sie sie in keras.Input.")
    tensor, found = model.outputs[0], []
    while tensor is not model.inputs[0]:
        layer, number, _ = tensor._keras_history
        before = layer._inbound_nodes[number].input_tensors
        if len(before) != 1 or any(layer is other for other, _, _ in found):
            raise CourseError(f"LRP geht nur durch eine Kette: In „{layer.name}“ treffen sich Wege oder Durchgänge.")
        if not isinstance(layer, keras.layers.Dropout):
            _check(layer)
            found.insert(0, (layer, tuple(before[0].shape[1:]), tuple(tensor.shape[1:])))
        tensor = before[0]
    return found


def objection(model: keras.Model) -> str:
    """Der Satz, warum LRP dieses Modell nicht zerlegt; leer, wenn es geht."""
    try:
        chain(model)
    except CourseError as error:
        return str(error)
    return ""


def _check(layer) -> None:
    """Weist ab, was hier niemand berechnet: Falsch zu rechnen, ohne es zu sagen, wäre schlimmer als gar nicht."""
    kind, name = type(layer).__name__, f"die Schicht „{layer.name}“"
    if isinstance(layer, keras.Model):
        raise CourseError(
            f"LRP braucht ein flaches Modell, {name} ist selbst eines: own_model.flat(model) packt es aus."
        )
    if kind not in KINDS:
        raise CourseError(f"LRP ist in diesem Kurs nicht für Schichten der Art {kind} gemacht ({name}).")
    allowed = {"data_format": "channels_last", "dilation_rate": (1, 1), "groups": 1}
    allowed |= {"max_value": None, "negative_slope": 0, "threshold": 0}
    if odd := [key for key, value in allowed.items() if getattr(layer, key, value) != value]:
        raise CourseError(f"LRP rechnet nur mit {odd[0]} = {allowed[odd[0]]}, {name} hat {getattr(layer, odd[0])}.")
    activation = getattr(layer, "activation", keras.activations.linear)
    if activation not in (keras.activations.relu, *([] if kind == "Activation" else [keras.activations.linear])):
        found = getattr(activation, "__name__", activation)
        raise CourseError(f"LRP braucht ReLU und am Ende Logits, also kein Softmax, aber {name} hat {found}.")


def read_layers(model: keras.Model) -> tuple[tuple[Layer, ...], list]:
    """Die Schichten eines Modells und je Schicht (Gewichte, Bias) als Tensoren oder ().

    Raises:
        CourseError: wie ``chain``.
    """
    layers, pairs, signed = [], [], True
    for layer, below, above in chain(model):
        kind, options, pair = KINDS[type(layer).__name__], {"signed": signed}, ()
        if kind in ("conv", "dense"):
            options["relu"] = layer.activation is keras.activations.relu
            signed = not options["relu"]
            pair = (layer.kernel, layer.bias if layer.use_bias else np.zeros(layer.kernel.shape[-1], np.float32))
        if kind == "relu":
            signed = False
        elif kind == "pad":
            options["window"] = tuple(map(tuple, layer.padding))
        elif kind in ("max", "mean") and "Global" in type(layer).__name__:
            options |= {"window": below[:2], "strides": below[:2]}
        elif kind in ("conv", "max", "mean"):
            options["window"] = tuple(layer.kernel_size if kind == "conv" else layer.pool_size)
            options |= {"strides": tuple(layer.strides), "padding": layer.padding.upper()}
        layers.append(Layer(kind, below, above, **options))
        pairs.append(tuple(map(tf.convert_to_tensor, pair)))
    return tuple(layers), pairs
