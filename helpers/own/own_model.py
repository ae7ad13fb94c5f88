"""Ein eigenes Modell: eine ``.keras``-Datei lesen, ohne Code auszuführen, und so umbauen, dass man es befragen kann.

Wer sein Netz anderswo trainiert hat, hat selten eine flache Kette mit Logits am Ende. ``flat`` macht daraus eine, die
dasselbe rechnet: Modelle im Modell werden ausgepackt, was nur beim Lernen wirkt, fällt weg, BatchNorm steckt danach in
der Faltung davor, Softmax oder Sigmoid am Ende ist abgenommen. Was vorne nur die Pixel umrechnet (Rescaling,
Normalization, ``preprocess_input``), gehört danach zur Vorverarbeitung ``model.prepare``, die ``preprocess`` kennt.
"""

import functools
import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np

from helpers.basics import CourseError, display_path, one_line
from helpers.model import IMAGENET_MEAN_BGR, built_model, checked_weights, keras, squashing_end

layers, ops = keras.layers, keras.ops
# Vorverarbeitung: Name → was mit Farben (n, h, b, c), Rot-Grün-Blau, 0–255, geschieht.
PREPROCESSING = {
    "vgg16": lambda images: images[..., ::-1] - ops.convert_to_tensor(IMAGENET_MEAN_BGR, "float32"),
    "0-1": lambda images: images / 255,
    "-1-1": lambda images: images / 127.5 - 1,
    "keine": lambda images: images,
}
# Was nur beim Lernen wirkt.
IDLE = (
    *("Dropout SpatialDropout2D GaussianDropout GaussianNoise AlphaDropout ActivityRegularization Identity".split()),
    *("RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast RandomBrightness RandomCrop".split()),
)
PIXELS = (
    "Rescaling Normalization Resizing BatchNormalization Add Subtract Multiply Divide TrueDivide GetItem Stack".split()
)
# Nur diese Klassen darf eine Datei nennen: Sie rechnen, und keine führt mitgebrachten Code aus.
LAYERS = (
    *("InputLayer Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose Dense Flatten Reshape Permute".split()),
    *("MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D ZeroPadding2D Cropping2D".split()),
    *("UpSampling2D BatchNormalization LayerNormalization GroupNormalization UnitNormalization Softmax".split()),
    *("Activation ReLU LeakyReLU PReLU ELU Add Subtract Multiply Average Maximum Concatenate".split()),
    *("Rescaling Normalization Resizing CenterCrop MultiHeadAttention".split()),
    *IDLE,
)
OPERATIONS = (
    *("Add Subtract Multiply Divide TrueDivide GetItem Stack Concatenate Reshape Transpose Mean Max Clip Cast".split()),
    *("Relu Relu6 LeakyRelu Silu Gelu HardSigmoid HardSilu Sigmoid Softmax LogSoftmax Minimum Maximum".split()),
)
MODULES = {
    "keras": ("Functional", "Sequential", "DTypePolicy"),
    "keras.layers": LAYERS,
    "keras.src.models.functional": ("Functional",),
    "keras.src.models.sequential": ("Sequential",),
    "keras.src.ops": OPERATIONS,
    "keras.dtype_policies": ("DTypePolicy",),
    None: ("__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__"),
}
# Hiervon jede Klasse von Keras; die letzten drei kommen vor, wenn ein Modell im Modell schon kompiliert war.
HARMLESS = tuple(f"keras.{name}" for name in "initializers regularizers constraints optimizers losses metrics".split())
MAX_BYTES = 4 * 2**30
TWO_LOGITS = "zwei_logits"  # heißt die Schicht, die aus einem Ausgang zwei macht


# --- Lesen -----------------------------------------------------------------------------------------------------------


def load(path, preprocessing: str = "vgg16", size: int | None = None) -> keras.Model:
    """Liest ein Keras-Modell, das anderswo gelernt hat, und macht es flach.

    Args:
        path: die ``.keras``-Datei.
        preprocessing, size: wie in ``flat``.

    Returns:
        Modell wie aus ``flat``.

    Raises:
        CourseError: wenn die Datei fehlt, beschädigt ist, Code enthält oder nennt, Zahlen nicht endlich sind, und wie
            ``flat``.
    """
    path = Path(path)
    shown = display_path(path)
    if path.exists() and (path.suffix != ".keras" or path.is_dir()):
        raise CourseError(
            f"{shown} ist keine .keras-Datei, und andere Formate können Code enthalten: Speichern Sie Ihr Modell dort, "
            "wo es gelernt hat, mit model.save('netz.keras')."
        )
    if not path.is_file():
        raise CourseError(f"Das Modell {shown} gibt es nicht: Nennen Sie den Pfad einer .keras-Datei.")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise CourseError(f"Das Modell {shown} braucht ausgepackt mehr als 4 GB: Nehmen Sie ein kleineres.")
            plan = json.loads(archive.read("config.json"))
            plan.pop("compile_config", None)  # womit es gelernt hat, wird nicht gelesen
            _check_classes(plan, shown)
            _check_file(archive.read("model.weights.h5"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
            checked_weights(model.get_weights(), [weight.shape for weight in model.weights])
    except CourseError:
        raise
    except Exception as error:  # zipfile, json, h5py und Keras haben keine gemeinsame Fehlerklasse
        why = "enthält Gewichte, die keine endlichen Zahlen sind" if "endlich" in str(error) else "ist beschädigt"
        raise CourseError(
            f"Das Modell {shown} {why} oder mit einer anderen Keras-Version gemacht: Speichern Sie es mit Keras 3 noch "
            "einmal, model.save('netz.keras')."
        ) from error
    return flat(model, preprocessing, size)


def _check_classes(value, shown: str) -> None:
    """Weist einen Bauplan ab, der etwas anderes nennt als bekannte Schichten: Lambda, eigene Klassen, Funktionen."""
    if isinstance(value, dict):
        if "class_name" in value:
            module, name = value.get("module"), str(value["class_name"])
            known = MODULES.get("keras.src.ops" if str(module).startswith("keras.src.ops.") else module, ())
            if module in HARMLESS:
                known = [key for key, each in vars(getattr(keras, module[6:])).items() if isinstance(each, type)]
            if name not in known:
                raise CourseError(
                    f"Das Modell {shown} enthält „{one_line(name[:40])}“: Der Kurs liest nur Schichten von Keras, die "
                    "keinen mitgebrachten Code ausführen, also kein Lambda und keine eigenen Klassen; ersetzen Sie sie."
                )
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_classes(each, shown)


def _check_file(content: bytes) -> None:
    """ValueError, wenn die Gewichte (HDF5) auf andere Dateien verweisen."""
    import h5py

    def check(group):
        checked_weights((), [], group)
        for each in group.values():
            if isinstance(each, h5py.Group):
                check(each)
            else:
                checked_weights([each], [each.shape])

    with h5py.File(io.BytesIO(content)) as file:
        check(file)


# --- Umbauen ---------------------------------------------------------------------------------------------------------


def flat(model, preprocessing: str = "vgg16", size: int | None = None) -> keras.Model:
    """Dasselbe Netz als flaches funktionales Modell mit Logits am Ausgang; das gegebene bleibt, wie es ist.

    Args:
        model: ein gebautes Keras-Modell mit einer Eingabe (Bilder mit einem oder drei Kanälen) und einem Ausgang.
        preprocessing: was mit den Bildern geschah, ehe das Netz sie sah: „vgg16“ (Blau-Grün-Rot, Mittelwerte
            abgezogen), „0-1“, „-1-1“ oder „keine“ (0–255, auch wenn das Netz selbst umrechnet).
        size: Kantenlänge der Bilder, wenn das Netz keine feste verlangt.

    Returns:
        Modell mit der Vorverarbeitung als ``prepare`` (Bilder (n, h, b) oder (n, h, b, 3), 0–255 → Eingabe; ihre
        ``size`` ist die Bildgröße (h, b), die das gegebene Modell verlangt). Ein
        einzelner Sigmoid-Ausgang z wird zu den Logits −z/2 und z/2. ``lrp_layers.objection`` sagt, ob LRP es zerlegt.

    Raises:
        CourseError: bei unbekannter Vorverarbeitung oder anderen Ein- oder Ausgängen.
    """
    from helpers.inner.lrp_layers import objection  # braucht TensorFlow; mit PyTorch und JAX lernt man ohne

    if preprocessing not in PREPROCESSING:
        known = ", ".join(PREPROCESSING)
        raise CourseError(
            f"Die Vorverarbeitung „{one_line(str(preprocessing)[:40])}“ gibt es nicht: Wählen Sie {known}."
        )
    plain = _unpacked(model, size)
    outputs = plain.outputs[0].shape[1:]
    if len(outputs) != 1:
        raise CourseError(
            f"Das Modell „{model.name}“ ergibt {outputs} statt einer Zahl je Klasse: Es klassifiziert nicht."
        )
    before, rest = _cut(plain)
    net = _rebuilt(rest, functools.partial(_fused, {}, False))
    if objection(net) and any(isinstance(layer, layers.BatchNormalization) for layer in net.layers):
        spread = _rebuilt(rest, functools.partial(_fused, {}, True))
        net = net if objection(spread) else spread
    net.prepare = _preparation(preprocessing, plain.inputs[0].shape[1:], before)
    return net


def check_outputs(model: keras.Model, classes: int) -> None:
    """CourseError, wenn das Modell nicht genau so viele Klassen unterscheidet."""
    count = model.outputs[0].shape[-1]
    if count != classes:
        raise CourseError(
            f"Das Modell „{model.name}“ unterscheidet {count} Klassen, die Bilder haben {classes}: Nehmen Sie die "
            "Klassen, auf denen es gelernt hat."
        )


def _through(model, tensor, step):
    """Rechnet den Graphen nach, auch durch Modelle im Modell: ``step(Schicht, Tensoren …)`` ergibt den nächsten."""

    def stepped(operation):
        if isinstance(operation, keras.Model):
            return lambda inner, *_, **__: _through(operation, inner, step)
        return functools.partial(step, operation)

    graph = getattr(model, "_functional", None) or model
    found = graph._run_through_graph([tensor], operation_fn=stepped)
    return keras.tree.flatten(found)[0]


def _rebuilt(model, step, shape=None) -> keras.Model:
    inputs = keras.Input(shape or model.inputs[0].shape[1:], name="bild")
    return keras.Model(inputs, _through(model, inputs, step), name=model.name)


def _copied(names: dict, operation, *args, **kwargs):
    """Eine Kopie der Schicht mit ihren Gewichten, angewandt; dieselbe Schicht ein zweites Mal ist dieselbe Kopie."""
    if id(operation) not in names:
        taken = {copy.name for copy in names.values()}
        unique = next(name for name in _numbered(operation.name) if name not in taken)
        names[id(operation)] = type(operation).from_config({**operation.get_config(), "name": unique})
    copy = names[id(operation)]
    found = copy(*args, **kwargs)
    if isinstance(operation, keras.Layer):
        copy.set_weights(operation.get_weights())
    return found


def _numbered(name: str):
    yield name
    yield from (f"{name}_{number}" for number in range(1, 10_000))


def _unpacked(model, size: int | None) -> keras.Model:
    """Alle Schichten in einem Modell, mit fester Bildgröße, ohne was nur beim Lernen wirkt, Logits am Ende."""
    names = {}

    def step(operation, *args, **kwargs):
        kind = type(operation).__name__
        if kind in IDLE:
            return args[0]
        if isinstance(operation, layers.Normalization):  # eine Kopie hätte vergessen, was sie gemessen hat
            return _as_rescaling(operation)(args[0])
        kwargs.pop("training", None)
        return _copied(names, operation, *args, **kwargs)

    model = built_model(model, "Der Kurs")
    shape = tuple(each or size for each in model.inputs[0].shape[1:])
    if len(shape) != 3 or shape[-1] not in (1, 3) or None in shape:
        remedy = "Nennen Sie size" if len(shape) == 3 and shape[-1] in (1, 3) else "Nehmen Sie ein Netz für Bilder"
        raise CourseError(
            f"Das Modell „{model.name}“ erwartet {model.inputs[0].shape[1:]} statt Bilder fester Größe mit einem oder "
            f"drei Kanälen: {remedy}."
        )
    plain = _rebuilt(model, step, shape)
    end = plain.outputs[0]
    last = end._keras_history.operation
    activation = getattr(getattr(last, "activation", None), "__name__", "linear")
    if squashing_end(plain) and not getattr(last, "weights", None):
        end = last._inbound_nodes[-1].input_tensors[0]
    elif activation in ("softmax", "sigmoid", "log_softmax", "linear"):
        last.activation = keras.activations.linear
    else:
        raise CourseError(f"Das Modell „{model.name}“ endet mit {activation}: Gebraucht werden Logits oder Softmax.")
    if end.shape[1:] == (1,):
        half = layers.Dense(2, use_bias=False, name=TWO_LOGITS)
        end = half(end)
        half.set_weights([np.array([[-0.5, 0.5]], np.float32)])
    return keras.Model(plain.inputs, end, name=model.name)


def _as_rescaling(norm: keras.layers.Normalization) -> keras.layers.Rescaling:
    """Normalization als Faktor und Summand je Kanal."""
    mean, variance = (np.asarray(each, float) for each in (norm.mean, norm.variance))
    if norm.invert or mean.size != mean.shape[-1]:
        raise CourseError(f"„{norm.name}“ normiert nicht Kanal für Kanal: Nehmen Sie Normalization(axis=-1).")
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon()).ravel()
    return layers.Rescaling(scale.tolist(), (-mean.ravel() * scale).tolist())


def _cut(model) -> tuple[keras.Model | None, keras.Model]:
    """(Vorderteil, der nur Pixel umrechnet, oder None; der Rest)."""
    pixels, used = {id(model.inputs[0]): model.inputs[0]}, {}
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    for node in nodes:
        if node.is_input:
            continue
        ready = all(id(tensor) in pixels for tensor in node.input_tensors)
        if ready and type(node.operation).__name__ in PIXELS:
            pixels |= {id(tensor): tensor for tensor in node.output_tensors}
        else:
            used |= {id(tensor): tensor for tensor in node.input_tensors if id(tensor) in pixels}
    if len(used) != 1 or next(iter(used.values())) is model.inputs[0]:
        return None, model
    (end,) = used.values()
    return keras.Model(model.inputs, end), keras.Model(end, model.outputs, name=model.name)


def _preparation(preprocessing: str, shape: tuple, before: keras.Model | None):
    """Funktion (Bilder, Tensor) → Eingabe des Netzes, Tensor."""

    def prepare(images):
        images = ops.cast(images, "float32")
        if len(images.shape) == 3:
            images = images[..., None]
        if images.shape[-1] == 3 and shape[-1] == 1:
            images = ops.sum(images * ops.convert_to_tensor((0.299, 0.587, 0.114), "float32"), axis=-1, keepdims=True)
        if tuple(images.shape[1:3]) != shape[:2]:
            images = ops.image.resize(images, shape[:2], interpolation="bilinear", data_format="channels_last")
        images = ops.repeat(images, 3, axis=-1) if images.shape[-1] < shape[-1] else images
        images = PREPROCESSING[preprocessing](images)
        return before(images, training=False) if before else images

    prepare.size = shape[:2]
    if preprocessing == "vgg16" and shape[-1] == 1:
        raise CourseError(
            "Die Vorverarbeitung „vgg16“ braucht drei Kanäle, das Netz hat einen: Wählen Sie eine andere."
        )
    return prepare


# --- Verschmelzen ----------------------------------------------------------------------------------------------------

LINEAR = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def _fused(names: dict, spread: bool, operation, *args, **kwargs):
    """Wendet eine Schicht an, wo es geht, verschmolzen mit der davor; ``spread``: BatchNorm sonst als 1 × 1-Faltung."""
    tensor = args[0]
    node = getattr(tensor, "_keras_history", None)
    before = node.operation if node else None
    source = before._inbound_nodes[node.node_index].input_tensors if before else ()
    alone = before is not None and len(before._inbound_nodes) == 1  # eine Schicht an zwei Orten bleibt eine Schicht
    follows = alone and isinstance(before, LINEAR) and before.activation is keras.activations.linear
    if isinstance(operation, layers.BatchNormalization):
        scale, offset = _affine(operation)
        if follows and getattr(before, "data_format", "") != "channels_first":
            kernel, bias = _kernel_and_bias(before)
            return _applied(before, source[0], kernel * scale.reshape(_last(kernel, before)), bias * scale + offset)
        if spread and len(tensor.shape) == 4:
            same = layers.Conv2D(len(scale), 1, name=operation.name)
            return _applied(same, tensor, np.diag(scale)[None, None], offset)
    if follows and operation.name == TWO_LOGITS and isinstance(before, layers.Dense):
        kernel, bias = (each @ np.asarray(operation.kernel, float) for each in _kernel_and_bias(before))
        return _applied(operation, source[0], kernel, bias)
    if follows and _is_relu(operation):
        return _applied(before, source[0], *_kernel_and_bias(before), activation="relu")
    if isinstance(before, layers.BatchNormalization) and _mixes(operation):
        scale, offset = _affine(before)
        kernel, bias = _kernel_and_bias(operation)
        bias = bias + (kernel * offset[:, None]).reshape(-1, len(bias)).sum(axis=0)
        return _applied(operation, source[0], kernel * scale[:, None], bias)
    return _copied(names, operation, *args, **kwargs)


def _affine(norm) -> tuple[np.ndarray, np.ndarray]:
    """BatchNorm als Faktor und Summand je Kanal (k,)."""
    mean, variance = (np.asarray(each, float) for each in (norm.moving_mean, norm.moving_variance))
    scale = (np.asarray(norm.gamma, float) if norm.scale else 1) / np.sqrt(variance + norm.epsilon)
    return scale, (np.asarray(norm.beta, float) if norm.center else 0) - mean * scale


def _mixes(layer) -> bool:
    """Kommt jeder Kanal überall gleich oft vor? Ein Rand aus Nullen bekäme den Summanden nicht."""
    if isinstance(layer, layers.DepthwiseConv2D) or getattr(layer, "groups", 1) != 1:
        return False
    return isinstance(layer, layers.Dense) or isinstance(layer, layers.Conv2D) and layer.padding == "valid"


def _is_relu(operation) -> bool:
    if isinstance(operation, layers.ReLU):
        return operation.max_value is None and not operation.negative_slope and not operation.threshold
    relu = getattr(operation, "activation", None) is keras.activations.relu
    return isinstance(operation, layers.Activation) and relu or type(operation).__name__ == "Relu"


def _kernel_and_bias(layer) -> tuple[np.ndarray, np.ndarray]:
    kernel, *bias = (np.asarray(each, float) for each in layer.get_weights())
    outputs = kernel.shape[-1] * (kernel.shape[-2] if isinstance(layer, layers.DepthwiseConv2D) else 1)
    return kernel, bias[0] if bias else np.zeros(outputs)


def _last(kernel, layer) -> tuple:
    """Die Form, in der ein Faktor je Ausgang zum Kern passt."""
    return kernel.shape[-2:] if isinstance(layer, layers.DepthwiseConv2D) else (kernel.shape[-1],)


def _applied(layer, tensor, kernel, bias, **changes):
    """Eine Schicht wie ``layer`` mit diesen Zahlen, angewandt."""
    copy = type(layer).from_config({**layer.get_config(), "use_bias": True, **changes})
    found = copy(tensor)
    copy.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return found
