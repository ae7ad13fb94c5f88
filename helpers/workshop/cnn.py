"""Die Befehle ``cnn`` und ``auswerten``: der Weg des Originals ohne Notebooks, und die Prüfung des Kursmodells."""

import numpy as np

from helpers.basics import CLASS_NAMES, display_path, german, output_dir, read_figures, record
from helpers.course_model import load_course_model
from helpers.data import Dataset, load_source, subset, validation_split, write_tree
from helpers.devices import parallel
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
    parallel(profile.devices)
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
    run = train(dataset.train_images, dataset.train_labels, profile, seed, weights=weights, note=note)
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
