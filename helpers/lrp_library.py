"""LRP mit iNNvestigate, der Bibliothek des Kurses, als zweite Meinung; dazu gespeicherte Karten einer dritten, zennit.

iNNvestigate: Alber et al. (2019), JMLR 20(93). zennit: Anders et al. (2021), arXiv 2106.13200.
"""

import contextlib
import functools
import importlib
import sys
import zipfile
from dataclasses import dataclass

import numpy as np

from helpers.basics import INPUT, CourseError, display_path, progress, quiet_stderr
from helpers.lrp import LRP_RULES
from helpers.model import checked_classes, checked_inputs, keras, weights_checksum

with quiet_stderr():
    import tensorflow as tf

    from helpers.lrp_graph import simplified


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
        inputs = checked_inputs(inputs, self._shape, "LRP")
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
        inputs = checked_inputs(inputs, self._shape, "LRP")
        classes = checked_classes(classes, len(inputs), self._outputs)
        shape = self._shape[:-1] if sum_channels else self._shape
        maps = np.empty((len(inputs), *shape), dtype=np.float32)
        for start in progress(range(0, len(inputs), batch_size), text=LRP_RULES.get(self.rule, "LRP"), unit="Stapel"):
            part = slice(start, start + batch_size)
            selection = np.stack([np.arange(len(inputs[part])), classes[part]], axis=1)
            feed = {self._names["images"]: inputs[part], self._names["selection"]: selection, **self._weights}
            relevance = self._session.run(self._names["relevance"], feed)
            maps[part] = relevance.sum(axis=-1) if sum_channels else relevance
        return maps


ZENNIT_REFERENCE = INPUT / "zennit_referenz.npz"
# Regel in iNNvestigate → Name in der Referenz. zennit zählt b⁺ zur Zustimmung und b⁻ zum Widerspruch.
ZENNIT_RULES = {
    "lrp.z": "z",
    "lrp.epsilon": "epsilon",
    "lrp.alpha_1_beta_0": "alpha_1_beta_0",
    "lrp.alpha_2_beta_1_IB": "alpha_2_beta_1_ohne_bias",
    "lrp.alpha_2_beta_1": "alpha_2_beta_1",
    "lrp.sequential_preset_a_flat": "preset_a_flat",
}


@dataclass(frozen=True)
class Reference:
    """Gespeicherte Karten.

    Attributes:
        checksum: Prüfsumme der Gewichte, mit denen gerechnet wurde.
        rows: Nummern der Testbilder in der mitgelieferten Stichprobe, eines je Klasse, (10,).
        maps: Name → (10, h, b), jede Karte auf ihr größtes |R| bezogen.
        scales: Name → größtes |R| je Karte (10,).
    """

    checksum: str
    rows: np.ndarray
    maps: dict
    scales: dict


def load_reference(path=ZENNIT_REFERENCE) -> Reference | None:
    """Die gespeicherte Referenz; None, wenn sie fehlt, CourseError, wenn sie beschädigt ist."""
    if not path.is_file():
        return None
    names = set(ZENNIT_RULES.values())
    try:
        with np.load(path, allow_pickle=False) as file:
            data = dict(file)
        maps = {name: data[name].astype(np.float64) for name in names}
        scales = {name: data[f"groesstes_{name}"] for name in names}
        return Reference(str(data["pruefsumme"]), data["bilder"], maps, scales)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise CourseError(
            f"Die Vergleichskarten {display_path(path)} sind beschädigt: Holen Sie sie mit „git checkout "
            f"{display_path(path)}“ zurück."
        ) from None


def compare(reference: Reference, model: keras.Model, inputs, classes, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Vergleicht eine Regel mit der Referenz: (Korrelation je Bild, größtes |R| im Verhältnis zur Referenz), je (10,).

    Args:
        model: das Modell der Referenz (``matches``).
        inputs, classes: die Bilder ``reference.rows``, vorverarbeitet, und ihre Klassen.
        rule: Regel aus ``ZENNIT_RULES``.
    """
    name = ZENNIT_RULES[rule]
    with LRP(model, rule) as lrp:
        found = lrp.relevance(inputs, classes).astype(np.float64)
    pairs = zip(found, reference.maps[name], strict=True)
    correlation = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    return correlation, np.abs(found).max(axis=(1, 2)) / reference.scales[name]


def matches(reference: Reference | None, model: keras.Model) -> bool:
    """Ist die Referenz da und mit genau diesen Gewichten gerechnet?"""
    return reference is not None and reference.checksum == weights_checksum(model)
