"""Erklärungen: Grad-CAM (geprüft gegen tf-keras-vis) und LRP mit iNNvestigate, stapelweise und für jede Klasse.

Grad-CAM: Selvaraju et al. (2017), arXiv 1610.02391. LRP: Bach et al. (2015), PLoS ONE 10(7) e0130140; Regeln im
Überblick bei Montavon et al. (2019), Layer-Wise Relevance Propagation: An Overview. iNNvestigate: Alber et al. (2019),
JMLR 20(93).
"""

import contextlib
import functools
import importlib
import sys

import numpy as np

from helpers.basics import CourseError, german, progress, quiet_stderr
from helpers.model import LAST_CONV, keras

with quiet_stderr():
    import tensorflow as tf

    from helpers.lrp_graph import simplified

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


def _checked_classes(classes, count: int, outputs: int) -> np.ndarray:
    """Gefragte Klassen als int-Feld der Form (count,); eine einzelne Zahl gilt für alle Bilder."""
    classes = np.full(count, classes) if np.ndim(classes) == 0 else np.asarray(classes)
    if classes.shape != (count,):
        raise CourseError(
            f"Zu {german(count)} Bildern gehören {german(count)} Klassen, es kamen aber {german(classes.size)}: Geben "
            "Sie eine Klasse je Bild an oder eine einzige für alle."
        )
    if count and not (0 <= classes.min() and classes.max() < outputs):
        raise CourseError(f"Gefragt wurde nach einer Klasse, die es nicht gibt: Erlaubt sind 0 bis {outputs - 1}.")
    return classes.astype(int)


def _checked_inputs(inputs, shape: tuple, method: str) -> np.ndarray:
    """Eingaben als float32 (n, *shape); rohe Bilder oder ein einzelnes Bild werden mit einem Satz abgewiesen."""
    inputs = np.asarray(inputs, dtype=np.float32)
    if inputs.shape[1:] != shape:
        raise CourseError(
            f"{method} erwartet vorverarbeitete Bilder der Form (n, {', '.join(map(str, shape))}), bekam aber "
            f"{inputs.shape}: Rufen Sie zuerst preprocess auf."
        )
    return inputs


def grad_cam(
    model: keras.Model, inputs, classes, layer: str = LAST_CONV, batch_size: int = 64, normalize: bool = True
) -> np.ndarray:
    """Grad-CAM, in einem übersetzten Schritt: einmal vorwärts, rückwärts nur bis zur gefragten Schicht.

    Ergibt dasselbe wie tf-keras-vis (Abweichung unter 1e-5, auch das Vergrößern von Ecke zu Ecke), braucht aber einen
    Bruchteil der Zeit und bei beliebig vielen Bildern nicht mehr Speicher für die Rechnung.

    Args:
        model: Keras-3-Modell mit Logits als Ausgang.
        inputs: vorverarbeitete Bilder, float32, (n, h, b, 3).
        classes: gefragte Klasse je Bild (n,) oder eine Zahl für alle.
        layer: Faltungsschicht, deren Merkmalskarten gewichtet werden.
        batch_size: Bilder je Rechenschritt.
        normalize: jede Karte auf 0 bis 1 strecken.

    Returns:
        float32, (n, h, b), Werte ≥ 0; mit ``normalize`` höchstens 1.

    Raises:
        CourseError: bei unbekannter Schicht, Bildern falscher Form oder unpassenden Klassen.
    """
    names = [each.name for each in model.layers if isinstance(each, keras.layers.Conv2D)]
    if layer not in names:
        raise CourseError(f"Die Faltungsschicht „{layer}“ gibt es nicht: Wählen Sie eine aus {', '.join(names)}.")
    inputs = _checked_inputs(inputs, tuple(model.inputs[0].shape[1:]), "Grad-CAM")
    classes = _checked_classes(classes, len(inputs), model.outputs[0].shape[-1])
    step = _grad_cam_step(model, layer)
    maps = np.empty(inputs.shape[:3], dtype=np.float32)
    for start in progress(range(0, len(inputs), batch_size), text="Grad-CAM", unit="Stapel"):
        part = slice(start, start + batch_size)
        maps[part] = step(inputs[part], classes[part].astype(np.int32))
    if normalize and len(maps):
        low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
        maps = (maps - low) / (high - low + keras.config.epsilon())
    return maps


# Der Explorer wechselt zwischen zwei Modellen mit je vier Schichten.
@functools.lru_cache(maxsize=8)
def _grad_cam_step(model: keras.Model, layer: str):
    """Übersetzte Funktion (Bilder, Klassen) → Karten in Bildgröße; die letzten acht bleiben übersetzt."""
    inner = keras.Model(model.inputs, [model.get_layer(layer).output, model.outputs[0]])
    image_shape = tuple(model.inputs[0].shape[1:])
    rows, columns = (
        _corner_to_corner(small, large) for small, large in zip(inner.outputs[0].shape[1:3], image_shape, strict=False)
    )

    @tf.function(input_signature=[tf.TensorSpec((None, *image_shape)), tf.TensorSpec((None,), tf.int32)])
    def step(images, classes):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            features, logits = inner(images, training=False)
            score = tf.gather(logits, classes, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        coarse = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
        return tf.einsum("yi,nij,xj->nyx", rows, coarse, columns)

    return step


def grad_cam_plus_plus(model: keras.Model, inputs, classes, layer: str = LAST_CONV, batch_size: int = 64) -> np.ndarray:
    """Grad-CAM++ mit tf-keras-vis, stapelweise: gewichtet jede *Stelle* einer Merkmalskarte, nicht nur jede Karte.

    Args, Returns: wie ``grad_cam`` mit ``normalize=True``.

    Quelle: Chattopadhay et al. (2018), Grad-CAM++, arXiv 1710.11063.
    """
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.utils.scores import CategoricalScore

    inputs = _checked_inputs(inputs, tuple(model.inputs[0].shape[1:]), "Grad-CAM++")
    classes = _checked_classes(classes, len(inputs), model.outputs[0].shape[-1])
    explainer = GradcamPlusPlus(model, clone=False)
    maps = np.empty(inputs.shape[:3], dtype=np.float32)
    for start in progress(range(0, len(inputs), batch_size), text="Grad-CAM++", unit="Stapel"):
        part = slice(start, start + batch_size)
        score = CategoricalScore(classes[part].tolist())
        maps[part] = explainer(score, inputs[part], penultimate_layer=layer)
    return maps


def input_times_gradient(model: keras.Model, inputs, classes, batch_size: int = 64) -> np.ndarray:
    """Eingabe mal Ableitung: Jeder Pixel mal der Steigung des Logits an dieser Stelle, über die Kanäle summiert.

    In einem Netz aus ReLU-Schichten und Max-Pooling kommt genau LRP-0 heraus (Ancona et al. 2018, arXiv 1711.06104).
    In vorverarbeiteten Bildern ist 0 der Mittelwert von ImageNet.

    Args:
        model: Keras-3-Modell mit Logits als Ausgang.
        inputs: vorverarbeitete Bilder, float32, (n, h, b, c).
        classes: gefragte Klasse je Bild (n,) oder eine Zahl für alle.
        batch_size: Bilder je Rechenschritt.

    Returns:
        float32, (n, h, b); positiv spricht für, negativ gegen die Klasse.
    """
    inputs = _checked_inputs(inputs, tuple(model.inputs[0].shape[1:]), "Eingabe mal Ableitung")
    classes = _checked_classes(classes, len(inputs), model.outputs[0].shape[-1])
    step = _gradient_step(model)
    maps = np.empty(inputs.shape[:3], dtype=np.float32)
    for start in progress(range(0, len(inputs), batch_size), text="Eingabe × Ableitung", unit="Stapel"):
        part = slice(start, start + batch_size)
        maps[part] = step(inputs[part], classes[part].astype(np.int32))
    return maps


@functools.lru_cache(maxsize=4)
def _gradient_step(model: keras.Model):
    """Übersetzte Funktion (Bilder, Klassen) → Eingabe mal Ableitung, (n, h, b)."""
    shape = tuple(model.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec((None, *shape)), tf.TensorSpec((None,), tf.int32)])
    def step(images, classes):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            score = tf.gather(model(images, training=False), classes, batch_dims=1)
        return tf.reduce_sum(images * tape.gradient(score, images), axis=-1)

    return step


def _corner_to_corner(small: int, large: int) -> np.ndarray:
    """Matrix (large, small), die linear vergrößert: erste auf erste Stelle, letzte auf letzte."""
    places = np.linspace(0, small - 1, large)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(small))).astype(np.float32)


# --- LRP ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _legacy_keras():
    """Lässt ``import tensorflow.keras…`` für die Dauer des Blocks tf_keras finden.

    iNNvestigate braucht Keras 2 (das Paket tf_keras), tf-keras-vis im selben Kernel Keras 3.
    """
    import tf_keras

    names = ["", ".backend", ".layers", ".models", ".utils"]
    saved = {f"tensorflow.keras{name}": sys.modules.get(f"tensorflow.keras{name}") for name in names}
    current = tf.keras
    try:
        for name in names:
            sys.modules[f"tensorflow.keras{name}"] = importlib.import_module(f"tf_keras{name}")
        tf.keras = tf_keras
        yield tf_keras
    finally:
        tf.keras = current
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _import_innvestigate():
    with _legacy_keras() as tf_keras, quiet_stderr():
        import innvestigate

    return innvestigate, tf_keras


def _architecture(model: keras.Model) -> tuple:
    """Was iNNvestigate vom Netz wissen muss, ohne Gewichte: je Schicht (Art, Name, Angaben); vergleichbar und hashbar.

    Raises:
        CourseError: bei Schichten, die iNNvestigate im Kurs nicht braucht.
    """
    keep = {
        "Conv2D": ("filters", "kernel_size", "strides", "padding", "use_bias"),
        "Dense": ("units", "use_bias"),
        "MaxPooling2D": ("pool_size", "strides", "padding"),
        "AveragePooling2D": ("pool_size", "strides", "padding"),
        "GlobalAveragePooling2D": (),
        "Flatten": (),
    }
    found = []
    for layer in model.layers:
        kind, config = type(layer).__name__, layer.get_config()
        if kind in ("InputLayer", "Dropout"):
            continue
        if kind not in keep:
            raise CourseError(f"LRP ist in diesem Kurs nicht für Schichten der Art {kind} („{layer.name}“) gemacht.")
        options = {key: config[key] for key in keep[kind]}
        if "activation" in config:
            if config["activation"] not in ("relu", "linear"):
                raise CourseError(
                    f"Die Schicht „{layer.name}“ hat die Aktivierung {config['activation']}: LRP braucht ReLU und am "
                    "Ende Logits, also kein Softmax."
                )
            options["activation"] = config["activation"]
        found.append((kind, layer.name, tuple((key, _hashable(value)) for key, value in options.items())))
    return tuple(found)


def _hashable(value):
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _legacy_twin(shape: tuple, architecture: tuple, tf_keras):
    """Dasselbe Netz in tf_keras, mit Gewichten aus Nullen."""
    x = inputs = tf_keras.Input(shape)
    for kind, name, options in architecture:
        options = dict(options)
        if kind in ("Conv2D", "Dense"):
            options["kernel_initializer"] = "zeros"
        x = getattr(tf_keras.layers, kind)(name=name, **options)(x)
    return tf_keras.Model(inputs, x)


@functools.lru_cache(maxsize=32)
def _template(shape: tuple, architecture: tuple, rule: str, options: tuple):
    """Eine Regel für jedes Netz dieser Bauart: (Session, Tensoren der Gewichte, Namen der anderen Tensoren).

    Den Graphen zu bauen, kostet oft mehr als alles Rechnen danach. Die Gewichte sind Eingaben wie die Bilder, also
    reicht ein Graph für sauberes Modell, Zwilling und Zufallsgewichte.
    """
    innvestigate, tf_keras = _import_innvestigate()
    if rule not in innvestigate.analyzer.analyzers:
        raise CourseError(f"Die LRP-Regel „{rule}“ gibt es nicht: Wählen Sie eine aus {', '.join(LRP_RULES)}.")
    with tf.Graph().as_default() as built:
        twin = _legacy_twin(shape, architecture, tf_keras)
        analyzer = innvestigate.create_analyzer(rule, twin, neuron_selection_mode="index", **dict(options))
        analyzer.create_analyzer_model()
        inputs, outputs = analyzer._analyzer_model.inputs, analyzer._analyzer_model.outputs
        tensors = {"images": inputs[0], "selection": inputs[1], "relevance": outputs[0]}
        tensors |= {"twin_input": twin.input, "twin_logits": twin.output}
        names = {key: tensor.name for key, tensor in tensors.items()}
        weights = [variable.op.name for variable in twin.weights]
        # Die Logits brauchen jedes Gewicht: Keines fällt beim Vereinfachen weg.
        fast = simplified(built, [names["relevance"].split(":")[0], names["twin_logits"].split(":")[0]], weights)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(fast, name="")
    graph.finalize()
    return tf.compat.v1.Session(graph=graph), [f"{name}:0" for name in weights], names


class LRP:
    """Layer-wise Relevance Propagation mit iNNvestigate für ein Modell und eine Regel.

    Der Analyzer entsteht für jede Bauart und Regel einmal, wird von doppelter Arbeit befreit (``helpers.lrp_graph``)
    und lebt in einem eigenen Graphen mit eigener Session: So bleibt TensorFlow sonst unverändert, und beliebig viele
    Aufrufe brauchen nicht mehr Speicher. Es gelten die Gewichte, die das Modell beim Anlegen hat.

    Args:
        model: flaches Keras-3-Modell mit Logits als Ausgang.
        rule: Name des Analyzers in iNNvestigate, zum Beispiel einer aus ``LRP_RULES``.
        options: weitere Angaben an den Analyzer, zum Beispiel ``epsilon=0.1``.

    Raises:
        CourseError: bei unbekannter Regel oder einem Modell, das sich nicht zerlegen lässt.
    """

    def __init__(self, model: keras.Model, rule: str = "lrp.epsilon", **options):
        self.rule = rule
        self._outputs = model.outputs[0].shape[-1]
        self._shape = tuple(model.inputs[0].shape[1:])
        options = tuple((key, _hashable(value)) for key, value in options.items())
        self._session, names, self._names = _template(self._shape, _architecture(model), rule, options)
        self._weights = dict(zip(names, model.get_weights(), strict=True))

    def close(self) -> None:
        """Gibt die Gewichte frei."""
        self._session = self._weights = None

    def _check_open(self) -> None:
        if self._session is None:
            raise CourseError("Dieses LRP-Objekt ist schon geschlossen: Legen Sie mit LRP(model, rule) ein neues an.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def logits(self, inputs, batch_size: int = 64) -> np.ndarray:
        """Logits (n, 10) des tf_keras-Zwillings, zum Vergleich mit dem Keras-3-Modell."""
        self._check_open()
        inputs = _checked_inputs(inputs, self._shape, "LRP")
        parts = [inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size)]
        logits, images = self._names["twin_logits"], self._names["twin_input"]
        outputs = [self._session.run(logits, {images: part, **self._weights}) for part in parts]
        return np.concatenate([np.empty((0, self._outputs), np.float32), *outputs])

    def relevance(self, inputs, classes, batch_size: int = 16, sum_channels: bool = True) -> np.ndarray:
        """Relevanz jedes Eingabepixels für die gefragte Klasse.

        Args:
            inputs: vorverarbeitete Bilder, float32, (n, h, b, 3).
            classes: gefragte Klasse je Bild (n,) oder eine Zahl für alle.
            batch_size: Bilder je Rechenschritt.
            sum_channels: über die Farbkanäle summieren.

        Returns:
            float32, (n, h, b) oder ohne Summe (n, h, b, 3); positiv spricht für, negativ gegen die Klasse.

        Raises:
            CourseError: bei Bildern falscher Form oder unpassenden Klassen.
        """
        self._check_open()
        inputs = _checked_inputs(inputs, self._shape, "LRP")
        classes = _checked_classes(classes, len(inputs), self._outputs)
        shape = self._shape[:-1] if sum_channels else self._shape
        maps = np.empty((len(inputs), *shape), dtype=np.float32)
        for start in progress(range(0, len(inputs), batch_size), text=LRP_RULES.get(self.rule, "LRP"), unit="Stapel"):
            part = slice(start, start + batch_size)
            selection = np.stack([np.arange(len(inputs[part])), classes[part]], axis=1)
            feed = {self._names["images"]: inputs[part], self._names["selection"]: selection, **self._weights}
            relevance = self._session.run(self._names["relevance"], feed)
            maps[part] = relevance.sum(axis=-1) if sum_channels else relevance
        return maps
