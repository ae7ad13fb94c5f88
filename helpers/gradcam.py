"""Grad-CAM, geprüft gegen tf-keras-vis, stapelweise und für jede Klasse; daneben Grad-CAM++ und Eingabe × Ableitung.

Selvaraju et al. (2017), Grad-CAM, arXiv 1610.02391.
"""

import weakref

import numpy as np

from helpers.basics import CourseError, progress, quiet_stderr
from helpers.model import checked_classes, checked_inputs, checked_model, keras

with quiet_stderr():
    import tensorflow as tf


def grad_cam(model, inputs, classes, layer: str | None = None, batch_size: int = 64, normalize: bool = True):
    """Grad-CAM, in einem kompilierten Schritt: einmal vorwärts, rückwärts nur bis zur gefragten Schicht.

    Ergibt dasselbe wie tf-keras-vis (Abweichung unter 1e-5), braucht aber einen Bruchteil der Zeit und bei beliebig
    vielen Bildern nicht mehr Speicher für die Rechnung.

    Args:
        model: Keras-3-Modell mit Logits als Ausgang.
        inputs: vorverarbeitete Bilder, float32, (n, h, b, 3).
        classes: gefragte Klasse je Bild (n,) oder eine Zahl für alle.
        layer: Faltungsschicht, deren Merkmalskarten gewichtet werden; ohne Angabe die letzte (``map_layers``).
        batch_size: Bilder je Rechenschritt.
        normalize: jede Karte auf 0 bis 1 strecken.

    Returns:
        float32, (n, h, b), Werte ≥ 0; mit ``normalize`` höchstens 1.

    Raises:
        CourseError: bei unbekannter Schicht, Bildern falscher Form, unpassenden Klassen oder einem Modell, mit dem es
            nicht geht (``model.checked_model``).
    """
    model, layer = _checked_layer(model, layer)
    maps = _batchwise("Grad-CAM", model, inputs, classes, batch_size, _step(model, layer))
    if normalize and len(maps):
        low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
        maps = (maps - low) / (high - low + keras.config.epsilon())
    return maps


def grad_cam_plus_plus(model, inputs, classes, layer: str | None = None, batch_size: int = 64):
    """Grad-CAM++ mit tf-keras-vis, stapelweise: gewichtet jede *Stelle* einer Merkmalskarte, nicht nur jede Karte.

    Args, Returns, Raises: wie ``grad_cam`` mit ``normalize=True``.

    Chattopadhay et al. (2018), Grad-CAM++, arXiv 1710.11063.
    """
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.utils.scores import CategoricalScore

    model, layer = _checked_layer(model, layer)
    if model.get_layer(layer).output is not _output(model, layer):
        weights, model = model.get_weights(), keras.models.clone_model(model._functional)
        model.set_weights(weights)
    explainer = GradcamPlusPlus(model, clone=False)

    def step(images, labels):
        return explainer(CategoricalScore(labels.tolist()), images, penultimate_layer=layer)

    return _batchwise("Grad-CAM++", model, inputs, classes, batch_size, step)


def input_times_gradient(model, inputs, classes, batch_size: int = 64):
    """Eingabe mal Ableitung: Jedes Pixel mal der Steigung des Logits an dieser Stelle, über die Kanäle summiert.

    In einem Netz aus ReLU-Schichten und Max-Pooling kommt genau LRP-0 heraus (Ancona et al. 2018, arXiv 1711.06104).
    In vorverarbeiteten Bildern ist 0 der Mittelwert von ImageNet.

    Args, Raises: wie ``grad_cam``.

    Returns:
        float32, (n, h, b); positiv spricht für, negativ gegen die Klasse.
    """
    model = checked_model(model, "Eingabe × Ableitung")
    return _batchwise("Eingabe × Ableitung", model, inputs, classes, batch_size, _step(model))


# Was zu einer Faltung gehört, hat Karten; was nur verkleinert oder auffüllt, hat keine neuen.
_NAMES = "Conv2D DepthwiseConv2D SeparableConv2D BatchNormalization Activation ReLU LeakyReLU Add Concatenate"
WITH_MAPS = tuple(getattr(keras.layers, name) for name in _NAMES.split())


def map_layers(model: keras.Model) -> list[str]:
    """Die Schichten mit Merkmalskarten, von unten nach oben: Faltungen und was gleich auf sie folgt (ReLU, Summe).

    Die letzte ist in VGG16 „block5_conv3“, in ResNet50 „conv5_block3_out“.
    """
    found = [each for each in model.layers if isinstance(each, WITH_MAPS) and len(each.output.shape) == 4]
    if not found:
        inner = [each.name for each in model.layers if isinstance(each, keras.Model)]
        remedy = f": Es steckt in „{inner[0]}“, own_model.flat(model) holt es heraus" if inner else ""
        raise CourseError(f"Das Modell „{model.name}“ hat keine Faltungsschicht{remedy}.")
    return [each.name for each in found]


def _output(model, layer: str):
    """Was die Schicht in diesem Modell ausgibt; ein spät gebautes Sequential benutzte sie schon vorher."""
    nodes = sum((getattr(model, "_functional", None) or model)._nodes_by_depth.values(), [])
    return next(node.output_tensors[0] for node in nodes if node.operation.name == layer)


def _checked_layer(model, layer: str | None) -> tuple:
    model = checked_model(model, "Grad-CAM")
    names = map_layers(model)
    if layer is not None and layer not in names:
        raise CourseError(f"Die Faltungsschicht „{layer}“ gibt es nicht: Wählen Sie eine aus {', '.join(names)}.")
    return model, layer or names[-1]


def _batchwise(method: str, model, inputs, classes, batch_size: int, step) -> np.ndarray:
    """Karten (n, h, b) aus ``step(Bilder, Klassen)``, Stapel für Stapel; ``method`` nennen die Sätze."""
    inputs = checked_inputs(inputs, tuple(model.inputs[0].shape[1:]), method)
    classes = checked_classes(classes, len(inputs), model.outputs[0].shape[-1]).astype(np.int32)
    maps = np.empty(inputs.shape[:3], dtype=np.float32)
    for start in progress(range(0, len(inputs), batch_size), text=method, unit="Stapel"):
        part = slice(start, start + batch_size)
        maps[part] = step(inputs[part], classes[part])
    return maps


# Kompiliert bleibt ein Schritt, solange es sein Modell gibt: Ein Notebook macht Dutzende, jedes mit 60 MB Gewichten.
_steps = weakref.WeakKeyDictionary()


def _step(model, layer: str | None = None):
    """Kompilierte Funktion (Bilder, Klassen) → Karten in Bildgröße: Grad-CAM; ohne Schicht Eingabe × Ableitung."""
    known = _steps.setdefault(model, {})
    if layer in known:
        return known[layer]
    # Ein eigenes Modell hält die Schichten fest, aber nicht das gegebene Modell.
    inner = keras.Model(model.inputs, [_output(model, layer) if layer else model.inputs[0], model.outputs[0]])
    shape = tuple(model.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec((None, *shape)), tf.TensorSpec((None,), tf.int32)])
    def step(images, classes):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            features, logits = inner(images, training=False)
            score = tf.gather(logits, classes, batch_dims=1)
        slope = tape.gradient(score, features)
        if layer is None:
            return tf.reduce_sum(features * slope, axis=-1)
        weights = tf.reduce_mean(slope, axis=(1, 2), keepdims=True)
        coarse = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
        return tf.raw_ops.ResizeBilinear(images=coarse, size=shape[:2], align_corners=True)[..., 0]

    return known.setdefault(layer, step)
