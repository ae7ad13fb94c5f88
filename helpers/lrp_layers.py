"""Ein Keras-Modell, wie LRP es braucht: eine Kette von Schichten, jede mit einem Weg hin und einem zurück."""

from dataclasses import dataclass

import numpy as np

from helpers.basics import CourseError, quiet_stderr
from helpers.model import keras

with quiet_stderr():
    import tensorflow as tf


# Bis zu so vielen Feldern rechnet eine Faltung als Matrixprodukt.
SMALL = 64


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

    @property
    def small(self) -> bool:
        """Faltung auf wenigen Feldern: Ein Matrixprodukt der Ausschnitte spart das Umsortieren der Gewichte."""
        return self.kind == "conv" and self.strides == (1, 1) and self.above[0] * self.above[1] <= SMALL

    def forward(self, a, w):
        """Die Schicht ohne Schwellenwert und ReLU: Werte (n, …, d) und Gewichte (…, d, k) → (n, …, k)."""
        if self.kind == "dense":
            return a @ w
        if not self.small:
            return tf.nn.conv2d(a, w, self.strides, self.padding)
        ones = (1, 1, 1, 1)
        pieces = tf.image.extract_patches(a, (1, *self.window, 1), ones, ones, self.padding)
        w = tf.reshape(w, (-1, w.shape[-1]))
        return tf.reshape(tf.reshape(pieces, (-1, w.shape[0])) @ w, (-1, *self.above[:2], w.shape[1]))

    def backward(self, r, w):
        """Derselbe Weg zurück: (n, …, k) → (n, …, d)."""
        if self.kind == "dense":
            return tf.matmul(r, w, transpose_b=True)
        if not self.small:
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
        return tf.reshape(pool(a, self.window, self.strides or self.window, self.padding), (-1, *self.above))

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
                f"Die Schicht „{layer.name}“ hat die Aktivierung {value}: LRP braucht ReLU und am Ende Logits, also "
                "kein Softmax."
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
