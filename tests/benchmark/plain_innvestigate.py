"""Messprozess mit iNNvestigate, wie es seine README zeigt: tf_keras-Modell, Graph-Modus, ``analyze`` auf dem Stapel."""

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.compat.v1.disable_eager_execution()
import innvestigate  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))
from protocol import serve, timed  # noqa: E402

_cache = {}


def lrp(inputs: str, weights: str, batch: int, rule: str, output: str) -> dict:
    """LRP für die gefragten Klassen; der Analyzer bleibt bis zur nächsten anderen Regel."""
    with np.load(inputs, allow_pickle=False) as file:
        images, classes = file["images"][:batch], file["classes"][:batch]
    if _cache.get("key") != (weights, rule):
        tf.keras.backend.clear_session()
        base = tf.keras.applications.VGG16(include_top=False, weights=None, input_shape=images.shape[1:])
        logits = tf.keras.layers.Dense(10)(tf.keras.layers.Flatten()(base.output))
        model = tf.keras.Model(base.input, logits)
        with np.load(weights, allow_pickle=False) as file:
            model.set_weights([file[f"w{index}"] for index in range(28)])
        analyzer = innvestigate.create_analyzer(rule, model, neuron_selection_mode="index")
        _cache.update(key=(weights, rule), analyzer=analyzer)
    selection = [int(label) for label in classes]
    seconds, relevance = timed(lambda: _cache["analyzer"].analyze(images, selection))
    np.save(output, relevance.sum(axis=-1))
    return {"seconds": seconds}


if __name__ == "__main__":
    serve({"lrp": lrp})
