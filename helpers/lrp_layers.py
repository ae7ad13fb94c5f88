"""Ein Keras-Modell, wie LRP es braucht: eine Kette von Schichten, jede mit einem Weg hin und einem zurück."""

from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, quiet_stderr
from helpers.model import keras

with quiet_stderr():
    import tensorflow as tf


def ratio(r, z):
    """r / z; wo z null ist, gibt es nichts zu verteilen."""
    return tf.math.divide_no_nan(r, z)


@dataclass(frozen=True)
class Layer:
    """Eine Schicht ohne ihre Gewichte: was die Rechnung festlegt.

    Attributes:
        kind: "dense", "conv", "max", "average" oder "reshape".
        below, above: Form der Werte darunter und darüber, ohne die Bilder.
        window, strides, padding: Fenster, Schrittweite und Rand („SAME“ oder „VALID“) von Faltung und Pooling.
        relu: folgt ein ReLU?
        signed: können Werte darunter negativ sein?
        as_product: Faltung als Matrixprodukt ihrer Ausschnitte. Bei wenigen Bildern spart das Zeit: Die Gewichte
            umzusortieren, dauert dort länger, als zu rechnen.
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
    as_product: bool = False
    pair: int | None = None

    def forward(self, a, w):
        """Die Schicht ohne Schwellenwert und ReLU: Werte (n, …, d) und Gewichte (…, d, k) → (n, …, k)."""
        if self.kind == "dense":
            return a @ w
        if not self.as_product:
            return tf.nn.conv2d(a, w, self.strides, self.padding)
        ones = (1, 1, 1, 1)
        pieces = tf.image.extract_patches(a, (1, *self.window, 1), ones, ones, self.padding)
        w = tf.reshape(w, (-1, w.shape[-1]))
        return tf.reshape(tf.reshape(pieces, (-1, w.shape[0])) @ w, (-1, *self.above[:2], w.shape[1]))

    def backward(self, r, w):
        """Derselbe Weg zurück: (n, …, k) → (n, …, d)."""
        if self.kind == "dense":
            return tf.matmul(r, w, transpose_b=True)
        if not self.as_product:
            shape = (tf.shape(r)[0], *self.below[:2], w.shape[2])
            return tf.nn.conv2d_transpose(r, w, shape, self.strides, self.padding)
        (kh, kb, d, k), (h, b) = w.shape, self.above[:2]
        pieces = tf.matmul(tf.reshape(r, (-1, k)), tf.reshape(w, (-1, k)), transpose_b=True)
        # Jeder Ausschnitt zurück an seinen Platz; wo sie überlappen, addieren sie sich.
        pieces = tf.split(tf.reshape(pieces, (-1, h, b, kh * kb * d)), kh * kb, axis=-1)
        places = [((0, 0), (y, kh - 1 - y), (x, kb - 1 - x), (0, 0)) for y in range(kh) for x in range(kb)]
        whole = tf.add_n([tf.pad(piece, place) for piece, place in zip(pieces, places, strict=True)])
        top, left = ((kh - 1) // 2, (kb - 1) // 2) if self.padding == "SAME" else (0, 0)
        return whole[:, top : top + self.below[0], left : left + self.below[1]]

    def unweighted(self, a):
        """Pooling oder Umformen."""
        if self.kind == "reshape":
            return tf.reshape(a, (-1, *self.above))
        pool = tf.nn.max_pool2d if self.kind == "max" else tf.nn.avg_pool2d
        return tf.reshape(pool(a, self.window, self.strides, self.padding), (-1, *self.above))

    def unweighted_backward(self, a, r):
        """Beim Max-Pooling geht alles an den Sieger des Fensters, beim mittelnden gilt LRP-0."""
        with tf.GradientTape() as tape:
            tape.watch(a)
            y = self.unweighted(a)
        if self.kind == "average":
            return a * tape.gradient(y, a, ratio(r, y))
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
            raise CourseError(f"In der Schicht „{layer.name}“ treffen sich Wege: LRP geht hier nur durch Ketten.")
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
# Angaben, bei denen nur dieser Wert berechnet wird.
ONLY = {"data_format": "channels_last", "dilation_rate": (1, 1), "groups": 1}


def check_layer(layer, shape: tuple) -> None:
    """Prüft eine Keras-Schicht über Werten der Form ``shape``.

    Raises:
        CourseError: bei einer Schicht, Form, Aktivierung oder Angabe, die hier niemand berechnet.
    """
    kind, activation = type(layer).__name__, getattr(layer, "activation", keras.activations.relu)
    if kind not in KINDS:
        raise CourseError(f"LRP ist in diesem Kurs nicht für Schichten der Art {kind} („{layer.name}“) gemacht.")
    if None in shape:
        raise CourseError(f"Die Schicht „{layer.name}“ kennt ihre Größe nicht: LRP braucht eine feste Bildgröße.")
    if activation not in (keras.activations.relu, keras.activations.linear):
        raise CourseError(
            f"Die Schicht „{layer.name}“ hat die Aktivierung {getattr(activation, '__name__', activation)}: LRP "
            "braucht ReLU und am Ende Logits, also kein Softmax."
        )
    for key, allowed in ONLY.items():
        if (value := getattr(layer, key, allowed)) != allowed:
            raise CourseError(f"Die Schicht „{layer.name}“ hat {key} = {value}: LRP rechnet nur mit {allowed}.")


def read_layers(model: keras.Model, few: bool = False) -> tuple[tuple[Layer, ...], list]:
    """Die Schichten eines Modells und ihre Gewichte: [(Gewichte, Schwellenwerte), …] als Tensoren.

    Args:
        few: für wenige Bilder auf einmal: Faltungen mit höchstens 64 Feldern rechnen als Matrixprodukt.

    Raises:
        CourseError: bei Schichten, Aktivierungen oder Angaben, die hier niemand berechnet.
    """
    layers, weighted, signed = [], [], True
    for layer, below, above in chain(model):
        if isinstance(layer, keras.layers.Dropout):
            continue
        check_layer(layer, below)
        kind, options = KINDS[type(layer).__name__], {"signed": signed}
        if kind in ("conv", "dense"):
            weighted += [layer] if layer not in weighted else []
            options |= {"relu": layer.activation is keras.activations.relu, "pair": weighted.index(layer)}
            signed = not options["relu"]
        if kind in ("conv", "max", "average"):
            whole = below[:2]  # GlobalAveragePooling2D
            options["window"] = tuple(getattr(layer, "kernel_size" if kind == "conv" else "pool_size", whole))
            options["strides"] = tuple(getattr(layer, "strides", whole))
            options["padding"] = getattr(layer, "padding", "valid").upper()
            options["as_product"] = few and kind == "conv" and layer.strides == (1, 1) and above[0] * above[1] <= 64
        layers.append(Layer(kind, below, above, **options))
    biases = [layer.bias if layer.use_bias else np.zeros(layer.kernel.shape[-1], np.float32) for layer in weighted]
    kernels = [layer.kernel for layer in weighted]
    return tuple(layers), [tuple(map(tf.convert_to_tensor, pair)) for pair in zip(kernels, biases, strict=True)]
