"""LRP mit iNNvestigate, der Bibliothek des Kurses, als zweite Meinung; dazu gespeicherte Karten einer dritten, zennit.

iNNvestigate: Alber et al. (2019), JMLR 20(93). zennit: Anders et al. (2021), arXiv 2106.13200.
"""

import functools
import gc
import importlib
import sys
import zipfile
from dataclasses import dataclass

import numpy as np

from helpers.basics import INPUT, CourseError, display_path, quiet_stderr
from helpers.inner.lrp_layers import chain
from helpers.lrp import LRP_RULES
from helpers.model import checked_classes, checked_inputs, keras, weights_checksum

with quiet_stderr():
    import tensorflow as tf


@functools.cache
def _innvestigate():
    """iNNvestigate und tf_keras. iNNvestigate braucht Keras 2 (tf_keras), tf-keras-vis im selben Kernel Keras 3.

    Nur beim Import findet ``tensorflow.keras`` deshalb tf_keras.
    """
    import tf_keras

    names = ["", ".backend", ".layers", ".models", ".utils"]
    legacy = {f"tensorflow.keras{name}": importlib.import_module(f"tf_keras{name}") for name in names}
    modules, keras_3 = {name: sys.modules[name] for name in legacy if name in sys.modules}, tf.keras
    try:
        sys.modules.update(legacy)
        tf.keras = tf_keras
        with quiet_stderr():
            import innvestigate
    finally:
        tf.keras = keras_3
        for name in legacy:
            del sys.modules[name]
        sys.modules.update(modules)
    # Ohne das rechnet tf_keras beim Bau jede Zahl im Graphen einzeln aus, bei α2β1 fünf Sekunden lang; die Karten sind
    # auf das Bit dieselben.
    tf_keras.src.engine.base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True
    return innvestigate, tf_keras


def _legacy_copy(model: keras.Model, tf_keras):
    """Dasselbe Netz in tf_keras, dessen Gewichte Nullen sind."""
    keep = "name units filters kernel_size strides padding pool_size use_bias activation target_shape".split()
    x = inputs = tf_keras.Input(tuple(model.inputs[0].shape[1:]))
    for layer, _, _ in chain(model):
        config = layer.get_config()
        options = {key: config[key] for key in keep if key in config}
        options |= {"kernel_initializer": "zeros"} if "use_bias" in config else {}
        x = getattr(tf_keras.layers, type(layer).__name__)(**options)(x)
    return tf_keras.Model(inputs, x)


class LRP:
    """Layer-wise Relevance Propagation mit iNNvestigate für ein Modell und eine Regel.

    Der Analyzer lebt in einem eigenen Graphen mit eigener Session: So bleibt TensorFlow sonst unverändert. Ihn zu bauen
    dauert Sekunden; es gelten die Gewichte, die das Modell dabei hat.

    Args:
        model: Keras-3-Modell mit Logits als Ausgang, eine Kette aus Conv2D, Dense, MaxPooling2D und Flatten.
        rule: Name des Analyzers in iNNvestigate, zum Beispiel einer aus ``LRP_RULES``.
        options: weitere Angaben an den Analyzer, zum Beispiel ``epsilon=0.1``.

    Raises:
        CourseError: bei unbekannter Regel oder einem Modell, das sich nicht zerlegen lässt.
    """

    def __init__(self, model: keras.Model, rule: str = "lrp.epsilon", **options):
        innvestigate, tf_keras = _innvestigate()
        if rule not in innvestigate.analyzer.analyzers:
            raise CourseError(f"Die LRP-Regel „{rule}“ gibt es nicht: Wählen Sie eine aus {', '.join(LRP_RULES)}.")
        with tf.Graph().as_default() as graph:
            self._copy = _legacy_copy(model, tf_keras)
            self._analyzer = innvestigate.create_analyzer(rule, self._copy, neuron_selection_mode="index", **options)
            self._analyzer.create_analyzer_model()
            given = [variable.initial_value for variable in self._copy.weights]
            initialized = [variable.initializer for variable in self._copy.weights]
        graph.finalize()
        self._session = tf.compat.v1.Session(graph=graph)
        self._session.run(initialized, dict(zip(given, model.get_weights(), strict=True)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Gibt Graph und Gewichte frei."""
        self._session.close()
        # Auch tf_keras merkt sich eine Session, und die hält den ganzen Graphen fest: 200 bis 400 MB je Regel.
        _innvestigate()[1].backend.clear_session()
        self._session = self._copy = self._analyzer = None
        gc.collect()  # iNNvestigate hält seine Graphen in Kreisen fest: Sie blieben sonst bis irgendwann liegen

    def _checked(self, inputs) -> np.ndarray:
        if self._session is None:
            raise CourseError("Dieses LRP-Objekt ist schon geschlossen: Legen Sie mit LRP(model, rule) ein neues an.")
        return checked_inputs(inputs, tuple(self._copy.input.shape[1:]), "LRP")

    def logits(self, inputs) -> np.ndarray:
        """Logits (n, 10) der Kopie in tf_keras, zum Vergleich mit dem Keras-3-Modell."""
        inputs = self._checked(inputs)
        return self._session.run(self._copy.output, {self._copy.input: inputs})

    def relevance(self, inputs, classes, batch_size: int = 4, sum_channels: bool = True) -> np.ndarray:
        """Relevanz jedes Eingabepixels für die gefragte Klasse; Angaben und Ergebnis wie ``helpers.lrp.relevance``."""
        inputs = self._checked(inputs)
        classes = checked_classes(classes, len(inputs), self._copy.output.shape[-1])
        images, selection = self._analyzer._analyzer_model.inputs
        maps = np.empty_like(inputs)
        for start in range(0, len(inputs), batch_size):
            part = slice(start, start + batch_size)
            chosen = np.stack([np.arange(len(inputs[part])), classes[part]], axis=1)
            feed = {images: inputs[part], selection: chosen}
            maps[part] = self._session.run(self._analyzer._analyzer_model.outputs[0], feed)
        return maps.sum(axis=-1) if sum_channels else maps


ZENNIT_REFERENCE = INPUT / "zennit_referenz.npz"


@dataclass(frozen=True)
class Reference:
    """Gespeicherte Karten.

    Attributes:
        checksum: Prüfsumme der Gewichte, mit denen gerechnet wurde.
        rows: Nummern der Testbilder in der mitgelieferten Stichprobe, eines je Klasse, (10,).
        maps: Regel → (10, h, b), je Bild auf 1e-3 ihres größten |R| genau.
    """

    checksum: str
    rows: np.ndarray
    maps: dict


def load_reference(path=ZENNIT_REFERENCE) -> Reference:
    """Die gespeicherte Referenz.

    Raises:
        CourseError: wenn sie fehlt oder beschädigt ist.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data = dict(file)
        maps = {str(name): data[name] * data[f"groesstes {name}"][:, None, None] for name in data["regeln"]}
        return Reference(str(data["pruefsumme"]), data["bilder"], maps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile):
        raise CourseError(
            f"Die Vergleichskarten {display_path(path)} fehlen oder sind beschädigt: Holen Sie sie mit „git checkout "
            f"{display_path(path)}“ zurück."
        ) from None


def compare(reference: Reference, maps, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Vergleicht Karten mit der Referenz: (Korrelation je Bild, größtes |R| im Verhältnis zur Referenz), je (10,).

    Args:
        maps: Relevanz (10, h, b) des Modells der Referenz (``matches``) für die Bilder ``reference.rows``.
        name: Name in ``reference.maps``.
    """
    expected = reference.maps[name]
    correlation = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps, expected, strict=True)])
    return correlation, np.abs(maps).max(axis=(1, 2)) / np.abs(expected).max(axis=(1, 2))


def matches(reference: Reference, model: keras.Model) -> bool:
    """Ist die Referenz mit genau diesen Gewichten gerechnet?"""
    return reference.checksum == weights_checksum(model)
