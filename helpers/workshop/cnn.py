"""Die Befehle ``cnn`` und ``auswerten``: der Weg des Originals ohne Notebooks, und die Prüfung des Kursmodells."""

import contextlib
import os

import numpy as np

from helpers.basics import CLASS_NAMES, CourseError, display_path, german, output_dir, read_figures, record
from helpers.course_model import load_course_model
from helpers.data import Dataset, load_source, subset, validation_split, write_tree
from helpers.download import fetch, keras_home
from helpers.model import Run, check_weights, keras, predict_logits, preprocess, save_run
from helpers.settings import get_profile
from helpers.training import CLEAN, Evaluation, example_rows, train

# Woher --gewichte keras sie nimmt, in dieser Reihenfolge; beide haben dieselbe Datei. Keras findet sie dann vor.
KERAS_WEIGHTS = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_WEIGHTS_MD5 = "6d6bbae143d832006294945121d1f1fc"
KERAS_SOURCES = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/",
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.1/",
)


def parallel(devices: int):
    """Datenparalleles Lernen: Jedes Gerät rechnet einen Teil jedes Stapels.

    Rufen Sie die Funktion auf, bevor das Backend zum ersten Mal rechnet: Danach steht die Zahl der Geräte fest. Ohne
    genügend GPUs teilt sich die CPU in so viele gedachte Geräte: langsamer, aber mit demselben Ergebnis. Mit JAX dürfen
    die Geräte auf mehrere Rechner verteilt sein; Adressen liest Keras aus ``KERAS_DISTRIBUTION_JOB_ADDRESSES``.

    Returns:
        Kontext (``with``), in dem Netze entstehen und lernen; der wievielte Rechner dieser ist, und wie viele es sind.

    Raises:
        CourseError: wenn es so viele Geräte nicht gibt oder das Backend es nicht kann.
    """
    backend, share, found = keras.backend.backend(), (0, 1), []
    if devices == 1:
        return contextlib.nullcontext(), share
    remedy = "Setzen Sie KERAS_BACKEND=tensorflow oder jax"
    if backend == "tensorflow":
        import tensorflow as tf

        remedy = "Starten Sie den Kernel neu und rufen Sie das Training als Erstes auf"
        kind = "GPU" if len(tf.config.list_physical_devices("GPU")) >= devices else "CPU"
        with contextlib.suppress(RuntimeError):  # TensorFlow läuft schon; dann zählt, was da ist
            if kind == "CPU":
                parts = [tf.config.LogicalDeviceConfiguration()] * devices
                tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        found = [device.name for device in tf.config.list_logical_devices(kind)]
    elif backend == "jax":
        import jax

        remedy = f"Setzen Sie vor dem Start XLA_FLAGS=--xla_force_host_platform_device_count={devices}"
        if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):  # mehrere Rechner finden sich vor der ersten Rechnung
            keras.distribution.initialize()
        share = jax.process_index(), jax.process_count()
        found = keras.distribution.list_devices()
        found = found if len(found) >= devices else keras.distribution.list_devices("cpu")
    if len(found) < devices:
        raise CourseError(f"Verlangt sind {devices} Geräte, mit {backend} gibt es {len(found)}: {remedy}.")
    if backend == "tensorflow":
        return tf.distribute.MirroredStrategy(found[:devices]).scope(), share
    return keras.distribution.DataParallel(devices=found[:devices], auto_shard_dataset=False).scope(), share


def evaluate_course_model(dataset: Dataset) -> Evaluation:
    """Wertet das Kursmodell auf allen Testbildern aus (``python -m helpers auswerten``)."""
    result = Evaluation.of(predict_logits(load_course_model(), dataset.test_images), dataset.test_labels)
    print(f"Testbilder: {dataset.source}")
    print_evaluation(result)
    return result


def print_evaluation(result: Evaluation) -> None:
    """Konfusionsmatrix, die sichersten Fehler, Kalibrierung und als Letztes die Trefferquote."""
    import pandas as pd

    table = pd.DataFrame(result.confusion, CLASS_NAMES).to_string()
    print(f"Konfusionsmatrix (Zeile: wahre Klasse, Spalte: Vorhersage)\n{table}")
    print("Die sichersten Fehler:")
    for row in result.worst_mistakes(5):
        print(
            f"  Testbild {row}: {CLASS_NAMES[result.labels[row]]} für {CLASS_NAMES[result.predictions[row]]} gehalten "
            f"(Wahrscheinlichkeit {german(result.probabilities[row].max(), 2)})"
        )
    print(f"Kalibrierungsfehler: {german(result.calibration_error)}")
    print(f"Trefferquote im Test: {german(result.accuracy, 4)} ({german(len(result.labels))} Bilder)")


def run_cnn(profile_name: str, weights: str = "beiliegend", where="auto", seed: int = 0, **changes) -> float:
    """Der ganze Weg des Originals in einem Befehl (``python -m helpers cnn``); ergibt die Trefferquote im Test.

    Daten lesen, VGG16 feinabstimmen, auswerten, dann Rohbild, Grad-CAM und LRP je Klasse nach ``ausgabe/`` schreiben.
    """
    profile = get_profile(profile_name, **changes)
    # Erst prüfen, was scheitern könnte, dann schreiben.
    read_figures()
    scope, share = parallel(profile.devices)
    if weights == "keras":
        offline = "nehmen Sie „--gewichte beiliegend“"
        fetch(keras_home() / "models" / KERAS_WEIGHTS, KERAS_SOURCES, KERAS_WEIGHTS_MD5, offline)
    else:
        check_weights()
    dataset = subset(load_source(where), profile.n_train, profile.n_test, seed)
    validation_split(dataset.train_labels, seed=seed)
    folder = write_tree(dataset, output_dir() / "daten", {"seed": seed})
    print(f"Daten: {dataset.source}, {german(len(dataset.train_labels))} Bilder zum Training in {display_path(folder)}")
    note = {"daten": dataset.source}
    run = train(dataset.train_images, dataset.train_labels, profile, seed, None, weights, note, scope, share)
    print(f"Modell gespeichert in {display_path(save_run(CLEAN, run))}")
    result = Evaluation.of(predict_logits(run, dataset.test_images), dataset.test_labels)
    rows = example_rows(result)
    if keras.backend.backend() == "tensorflow":
        _explain(run, dataset.test_images[rows], result.labels[rows])
    else:
        print("Grad-CAM und LRP brauchen TensorFlow: Die Bilder dieses Modells macht 04_GradCAM.")
    record(
        profil=profile.name,
        seed=seed,
        n_train=len(dataset.train_labels),
        n_test=len(dataset.test_labels),
        test_accuracy=round(result.accuracy, 4),
        confusion=result.confusion.tolist(),
        history=run.history,
    )
    print_evaluation(result)
    return result.accuracy


def _explain(run: Run, images, labels: np.ndarray) -> None:
    from helpers import lrp, plots
    from helpers.gradcam import grad_cam

    inputs = preprocess(images, run.settings["image_size"])
    relevance = lrp.relevance(run.model, inputs, labels, "lrp.epsilon")
    figure = plots.result_page(images, grad_cam(run.model, inputs, labels), {"LRP-ε": relevance}, labels)
    path = plots.save(figure, "ergebnis", "Rohbild, Grad-CAM und LRP", "Je ein Testbild jeder Klasse.", "cnn")
    print(f"Bilder: {display_path(path)}")
