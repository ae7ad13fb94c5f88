"""LRP mit iNNvestigate, der Bibliothek des Kurses, als zweite Meinung; dazu gespeicherte Karten einer dritten, zennit.

iNNvestigate: Alber et al. (2019), JMLR 20(93). zennit: Anders et al. (2021), arXiv 2106.13200.
"""

import contextlib
import importlib
import sys
import zipfile
from dataclasses import dataclass

import numpy as np

from helpers.basics import INPUT, CourseError, display_path, progress, quiet_stderr
from helpers.lrp import LRP_RULES, relevance
from helpers.lrp_layers import chain, check_layer
from helpers.model import checked_classes, checked_inputs, keras, weights_checksum

with quiet_stderr():
    import tensorflow as tf


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


def _legacy_twin(model: keras.Model, tf_keras):
    """Dasselbe Netz in tf_keras, dessen Gewichte Nullen sind."""
    made, keep = {}, "units filters kernel_size strides padding pool_size use_bias activation keepdims".split()
    x = inputs = tf_keras.Input(tuple(model.inputs[0].shape[1:]))
    for layer, below, _ in chain(model):
        if isinstance(layer, keras.layers.Dropout):
            continue
        check_layer(layer, below)
        if layer not in made:
            config = layer.get_config()
            options = {key: config[key] for key in keep if key in config}
            options |= {"kernel_initializer": "zeros"} if "use_bias" in config else {}
            made[layer] = getattr(tf_keras.layers, type(layer).__name__)(name=layer.name, **options)
        x = made[layer](x)
    return tf_keras.Model(inputs, x)


class LRP:
    """Layer-wise Relevance Propagation mit iNNvestigate für ein Modell und eine Regel.

    Der Analyzer lebt in einem eigenen Graphen mit eigener Session: So bleibt TensorFlow sonst unverändert. Ihn zu bauen
    dauert Sekunden; es gelten die Gewichte, die das Modell dabei hat.

    Args:
        model: Keras-3-Modell mit Logits als Ausgang, eine Kette aus Conv2D, Dense, Pooling und Flatten.
        rule: Name des Analyzers in iNNvestigate, zum Beispiel einer aus ``LRP_RULES``.
        options: weitere Angaben an den Analyzer, zum Beispiel ``epsilon=0.1``.

    Raises:
        CourseError: bei unbekannter Regel oder einem Modell, das sich nicht zerlegen lässt.
    """

    def __init__(self, model: keras.Model, rule: str = "lrp.epsilon", **options):
        self.rule = rule
        innvestigate, tf_keras = _import_innvestigate()
        if rule not in innvestigate.analyzer.analyzers:
            raise CourseError(f"Die LRP-Regel „{rule}“ gibt es nicht: Wählen Sie eine aus {', '.join(LRP_RULES)}.")
        with tf.Graph().as_default() as graph:
            self._twin = _legacy_twin(model, tf_keras)
            self._analyzer = innvestigate.create_analyzer(rule, self._twin, neuron_selection_mode="index", **options)
            self._analyzer.create_analyzer_model()
            given = [variable.initial_value for variable in self._twin.weights]
            initialized = [variable.initializer for variable in self._twin.weights]
        graph.finalize()
        self._session = tf.compat.v1.Session(graph=graph)
        self._session.run(initialized, dict(zip(given, model.get_weights(), strict=True)))

    def close(self) -> None:
        """Gibt Graph und Gewichte frei."""
        if self._session is not None:
            import tf_keras

            self._session.close()
            # Auch tf_keras merkt sich eine Session, und die hält den ganzen Graphen fest: 200 bis 400 MB je Regel.
            tf_keras.backend.clear_session()
        self._session = self._twin = self._analyzer = None

    def _checked(self, inputs) -> np.ndarray:
        if self._session is None:
            raise CourseError("Dieses LRP-Objekt ist schon geschlossen: Legen Sie mit LRP(model, rule) ein neues an.")
        return checked_inputs(inputs, tuple(self._twin.input.shape[1:]), "LRP")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def logits(self, inputs, batch_size: int = 16) -> np.ndarray:
        """Logits (n, 10) des tf_keras-Zwillings, zum Vergleich mit dem Keras-3-Modell."""
        inputs = self._checked(inputs)
        logits = np.empty((len(inputs), self._twin.output.shape[-1]), np.float32)
        for start in range(0, len(inputs), batch_size):
            part = slice(start, start + batch_size)
            logits[part] = self._session.run(self._twin.output, {self._twin.input: inputs[part]})
        return logits

    def relevance(self, inputs, classes, batch_size: int = 4, sum_channels: bool = True) -> np.ndarray:
        """Relevanz jedes Eingabepixels für die gefragte Klasse; Angaben und Ergebnis wie ``helpers.lrp.relevance``."""
        inputs = self._checked(inputs)
        classes = checked_classes(classes, len(inputs), self._twin.output.shape[-1])
        images, selection = self._analyzer._analyzer_model.inputs
        maps = np.empty(inputs.shape[:-1] if sum_channels else inputs.shape, np.float32)
        for start in progress(range(0, len(inputs), batch_size), text=LRP_RULES.get(self.rule, "LRP"), unit="Stapel"):
            part = slice(start, start + batch_size)
            chosen = np.stack([np.arange(len(inputs[part])), classes[part]], axis=1)
            feed = {images: inputs[part], selection: chosen}
            relevance = self._session.run(self._analyzer._analyzer_model.outputs[0], feed)
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
    if rule == "lrp.alpha_2_beta_1":  # rechnet nur die Bibliothek so
        with LRP(model, rule) as library:
            found = library.relevance(inputs, classes)
    else:
        found = relevance(model, inputs, classes, rule)
    found = found.astype(np.float64)
    pairs = zip(found, reference.maps[name], strict=True)
    correlation = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    return correlation, np.abs(found).max(axis=(1, 2)) / reference.scales[name]


def matches(reference: Reference | None, model: keras.Model) -> bool:
    """Ist die Referenz da und mit genau diesen Gewichten gerechnet?"""
    return reference is not None and reference.checksum == weights_checksum(model)
