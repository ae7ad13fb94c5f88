"""Die Befehle ``cnn`` und ``auswerten``: Bilder lesen, VGG16 trainieren, auswerten, erklären, ohne Notebooks.

Fashion-MNIST und eigene Bilder gehen denselben Weg: ``train_and_ask``.
"""

import contextlib
import os
import zlib
from pathlib import Path

import numpy as np

from helpers import metrics
from helpers.basics import (
    CLASS_NAMES,
    CourseError,
    display_path,
    german,
    german_interval,
    one_line,
    output_dir,
    read_figures,
    record,
)
from helpers.course_model import load_course_model
from helpers.data import Dataset, load_source, subset, validation_split, write_tree
from helpers.inner.download import fetch, keras_home
from helpers.model import Run, check_weights, enlarge_mask, keras, predict_logits, preprocess, save_run
from helpers.own import own_model
from helpers.own.pictures import MAX_EDGE, MIN_EDGE, Pictures, of_dataset, read_pictures
from helpers.settings import Profile, get_profile
from helpers.training import CLEAN, Evaluation, example_rows, train
from helpers.workshop.report import TABLE, most_confused

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


def print_evaluation(result: Evaluation, class_names=CLASS_NAMES, names=None) -> None:
    """Konfusionsmatrix, die sichersten Fehler, Kalibrierung, schwächste Klasse und als Letztes die Trefferquote.

    Args:
        result: was gemessen wurde.
        class_names: Namen der Klassen.
        names: wie die Testbilder heißen; ohne Angabe haben sie Nummern.
    """
    import pandas as pd

    confusion, class_names = result.confusion, np.array(class_names, dtype=object)
    if len(class_names) <= TABLE:
        table = pd.DataFrame(confusion, class_names, class_names).to_string()
        print(f"Konfusionsmatrix (Zeile: wahre Klasse, Spalte: Vorhersage)\n{table}")
    else:  # so breit ist kein Bildschirm
        print("Die häufigsten Verwechslungen:")
        for truth, answer, times in most_confused(confusion, class_names, 10):
            print(f"  {times}-mal {truth} für {answer} gehalten")
    print("Die sichersten Fehler:")
    for row in result.worst_mistakes(5):
        print(
            f"  {names[row] if names else f'Testbild {row}'}: {class_names[result.labels[row]]} für "
            f"{class_names[result.predictions[row]]} gehalten (Wahrscheinlichkeit "
            f"{german(result.probabilities[row].max(), 2)})"
        )
    print(f"Kalibrierungsfehler: {german(result.calibration_error)}")
    shares = confusion.diagonal() / np.maximum(confusion.sum(axis=1), 1)
    weakest = min(np.flatnonzero(confusion.sum(axis=1)), key=lambda label: shares[label])
    count = german(confusion[weakest].sum())
    print(
        f"Schwächste Klasse: {class_names[weakest]} (von {count} Bildern {german(100 * shares[weakest], 0)} % erkannt)"
    )
    low, high = metrics.wilson_interval(result.accuracy, len(result.labels))
    print(
        f"Trefferquote im Test: {german(result.accuracy, 4)} ({german(len(result.labels))} Bilder), 95-%-Intervall "
        f"{german(low)} bis {german(high)}"
    )


def run_cnn(profile_name: str, weights: str = "beiliegend", where="auto", seed: int = 0, **changes) -> None:
    """Der ganze Weg des Originals in einem Befehl (``python -m helpers cnn``).

    Daten lesen, VGG16 feinabstimmen, auswerten, dann Rohbild, Grad-CAM und LRP je Klasse nach ``ausgabe/`` schreiben.
    """
    profile = get_profile(profile_name, **changes)
    # Erst prüfen, was scheitern könnte, dann schreiben.
    read_figures()
    devices = parallel(profile.devices)
    _check_base(weights)
    dataset = subset(load_source(where), profile.n_train, profile.n_test, seed)
    validation_split(dataset.train_labels, seed=seed)
    folder = write_tree(dataset, output_dir() / "daten", {"seed": seed})
    print(f"Daten: {dataset.source}, {german(len(dataset.train_labels))} Bilder zum Training in {display_path(folder)}")
    train_and_ask(of_dataset(dataset), profile, weights, seed, *devices)


def run_pictures(
    folder, profile="schnell", size=None, crop=False, skip_broken=False, weights="beiliegend", seed=0, **changes
) -> tuple[Run, Pictures, Evaluation]:
    """Dasselbe mit eigenen Bildern (``python -m helpers cnn --bilder ORDNER``).

    Alles, was dabei entsteht, liegt in ``ausgabe/eigene_bilder/NAME``: Modell, Bilder, Kennzahlen. Was der Kurs in
    ``ausgabe/`` hat, bleibt.

    Args:
        folder, size, crop, skip_broken: wie in ``read_pictures``; ohne ``size`` 128 Pixel, mit dem Profil „probe“ 64.
        profile: Name des Profils; sind mehr Bilder da, als es nimmt, wird gezogen.
        weights: wie in ``build_vgg16``.
        seed: Startwert.
        changes: ersetzt Werte des Profils.

    Returns:
        Training, Bilder und Auswertung.

    Raises:
        CourseError: wie in ``read_pictures`` und ``train``.
    """
    if size is None:
        size = 64 if profile == "probe" else 128
    settings = get_profile(profile, image_size=size, **changes)
    with own_output(folder):
        read_figures()
        devices = parallel(settings.devices)
        _check_base(weights)
        everything = read_pictures(folder, settings.image_size, crop, skip_broken, seed)
        pictures = everything.sample(settings.n_train, settings.n_test, seed)
        counts = {part: len(labels) for part, labels in pictures.labels.items()}
        if counts != {part: len(labels) for part, labels in everything.labels.items()}:
            print(f"Das Profil „{settings.name}“ nimmt nicht alle Bilder; mehr nimmt --n-train und --n-test.")
        validation = f", {german(counts['val'])} zur Validierung" if "val" in counts else ""
        print(f"{german(counts['train'])} Bilder zum Training{validation}, {german(counts['test'])} zum Testen")
        run, result = train_and_ask(pictures, settings, weights, seed, *devices)
    return run, pictures, result


def run_own_model(folder, path, preprocessing="vgg16", size=None, crop=False, skip_broken=False, seed=0) -> None:
    """Fragt ein Netz, das anderswo gelernt hat, an eigenen Bildern (``… cnn --bilder ORDNER --modell NETZ.keras``).

    Args:
        folder, crop, skip_broken: wie in ``read_pictures``.
        path, preprocessing: wie in ``own_model.load``.
        size: Kantenlänge, wenn das Netz keine feste verlangt; ohne Angabe 128.
        seed: Startwert.

    Raises:
        CourseError: wie in ``own_model.load`` und ``read_pictures``, und wenn Klassen und Ausgänge nicht zueinander
            passen.
    """
    path = Path(path)
    model = own_model.load(path, preprocessing, size=size or 128)
    edge = int(np.clip(max(model.prepare.size), MIN_EDGE, MAX_EDGE))
    with own_output(folder):
        read_figures()
        pictures = read_pictures(folder, edge, crop, skip_broken, seed)
        own_model.check_outputs(model, len(pictures.class_names))
        evaluate_and_ask(model, pictures, {}, seed, f"Modell „{one_line(path.stem)}“")


@contextlib.contextmanager
def own_output(folder):
    """Solange schreibt der Kurs nach ``ausgabe/eigene_bilder/NAME``, mit dem Namen des Ordners und seinem Ort."""
    place = Path(os.path.abspath(folder))
    name = f"{one_line(place.name)[:60]}_{zlib.crc32(os.fsencode(place)):08x}"
    before, target = os.environ.get("KURS_AUSGABE"), output_dir() / "eigene_bilder" / name
    os.environ["KURS_AUSGABE"] = str(target)
    try:
        yield target
    finally:
        if before is None:
            del os.environ["KURS_AUSGABE"]
        else:
            os.environ["KURS_AUSGABE"] = before


def _check_base(weights: str) -> None:
    """Die ImageNet-Gewichte holen oder prüfen."""
    if weights == "keras":
        offline = "nehmen Sie „--gewichte beiliegend“"
        fetch(keras_home() / "models" / KERAS_WEIGHTS, KERAS_SOURCES, KERAS_WEIGHTS_MD5, offline)
    else:
        check_weights()


def train_and_ask(
    pictures: Pictures, profile: Profile, weights="beiliegend", seed=0, scope=None, share=(0, 1)
) -> tuple[Run, Evaluation]:
    """Trainiert ein VGG16 auf diesen Bildern, legt es ab, wertet es aus und fragt es, woran es die Klassen erkennt."""
    images, labels, names = pictures.images, pictures.labels, pictures.class_names
    validation = (images["val"], labels["val"]) if "val" in images else None
    note = {"daten": pictures.source}
    material = images["train"], labels["train"], profile, seed
    run = train(*material, None, weights, note, scope, share, class_names=names, validation=validation)
    print(f"Modell gespeichert in {display_path(save_run(CLEAN, run))}")
    figures = {"profil": profile.name, "seed": seed, "n_train": len(labels["train"]), "history": run.history}
    return run, evaluate_and_ask(run.model, pictures, figures, seed)


def evaluate_and_ask(model: keras.Model, pictures: Pictures, figures: dict, seed: int, title="VGG16") -> Evaluation:
    """Misst ein Netz an den Testbildern, merkt das mit ``figures`` in den Kennzahlen, druckt es und fragt nach Gründen.

    ``title``: wie das Netz im Bericht heißt.
    """
    names, labels = pictures.class_names, pictures.labels["test"]
    result = Evaluation.of(predict_logits(model, pictures.images["test"]), labels)
    figures = {"n_test": len(labels), "test_accuracy": round(result.accuracy, 4), **figures}
    record(confusion=result.confusion.tolist(), klassen=list(names), **figures)
    print_evaluation(result, names, [one_line(path.name) for path in pictures.paths.get("test", ())])
    examine(model, pictures, result, seed, title)
    return result


def examine(model: keras.Model, pictures: Pictures, result: Evaluation, seed: int, title: str) -> None:
    """Woran erkennt dieses Netz die Klassen dieser Bilder? Eigene Bilder bekommen dazu Suche, Urteil und Bericht.

    Was der Kurs an Fashion-MNIST fragt, steht in seinen Notebooks.
    """
    if keras.backend.backend() != "tensorflow":
        print("Grad-CAM und LRP brauchen TensorFlow: Die Bilder dieses Modells macht 04_GradCAM.")
        return
    explain_classes(model, pictures, result)
    notes = measure_masks(model, pictures) if pictures.masks else []
    if pictures.paths:
        from helpers.workshop import examination  # braucht TensorFlow; gelernt wird auch ohne

        examination.ask_everything(model, pictures, result, title, seed, notes)


def explain_classes(model: keras.Model, pictures: Pictures, result: Evaluation, columns: int = 10) -> None:
    """Schreibt Rohbild, Grad-CAM und LRP für je ein Testbild jeder Klasse, ``columns`` Klassen in ein Bild."""
    from helpers import lrp, plots
    from helpers.gradcam import grad_cam
    from helpers.inner.lrp_layers import objection

    examples = example_rows(result)
    for start in range(0, len(examples), columns):
        rows = examples[start : start + columns]
        images, labels = pictures.load("test", rows), result.labels[rows]
        inputs = preprocess(images, model)
        relevance = {} if objection(model) else {"LRP-ε": lrp.relevance(model, inputs, labels, "lrp.epsilon")}
        captions = [plots.wrapped(pictures.class_names[label]) for label in labels]
        figure = plots.result_page(images, grad_cam(model, inputs, labels), relevance, labels, captions=captions)
        name, text = f"ergebnis_{start // columns + 1}" if start else "ergebnis", "Je ein Testbild jeder Klasse."
        path = plots.save(figure, name, "Rohbild, Grad-CAM und LRP", text, "cnn")
        print(f"Bilder: {display_path(path)}")


def measure_masks(model: keras.Model, pictures: Pictures, most: int = 200) -> list[str]:
    """Sagt, wie viel der Erklärung auf dem Gegenstand liegt, gemessen an höchstens ``most`` Testbildern mit Maske.

    Returns:
        Dieselben Sätze noch einmal, für den Bericht.
    """
    from helpers import lrp
    from helpers.gradcam import grad_cam
    from helpers.inner.lrp_layers import objection

    rows = np.flatnonzero([path is not None for path in pictures.masks["test"]])[:most]
    if len(rows) < 2:
        print("Unter den Testbildern haben zu wenige eine Maske, um zu messen, was auf dem Gegenstand liegt.")
        return []
    masks = [enlarge_mask(mask, model) for mask in pictures.load_masks("test", rows)]
    inputs, labels = preprocess(pictures.load("test", rows), model), pictures.labels["test"][rows]
    area = f"{german(100 * np.mean(masks), 0)} % der Fläche"
    lines = [f"Masken: {german(len(rows))} Testbilder, der Gegenstand hat im Mittel {area}. Auf ihm liegen:"]
    explained = {"Grad-CAM": grad_cam(model, inputs, labels)}
    if not objection(model):
        explained["LRP-ε"] = lrp.relevance(model, inputs, labels, "lrp.epsilon")
    for name, maps in explained.items():
        pairs = [(each[None], mask) for each, mask in zip(maps, masks, strict=True) if mask.any()]
        shares = np.concatenate([metrics.relevance_mass(*pair) for pair in pairs])
        hits = f"{german(100 * np.mean([metrics.pointing_game(*pair) for pair in pairs]), 0)} %"
        interval = german_interval([shares.mean(), *metrics.bootstrap_interval(shares)])
        lines.append(f"  {name}: {interval} der positiven Werte und in {hits} der Bilder das wichtigste Pixel")
    print("\n".join(lines))
    return [" ".join(map(str.strip, lines)) + "."]
