"""VGG16 mit ImageNet-Gewichten und zehn Ausgängen: bauen, vorverarbeiten, zerlegen, speichern.

Alles hier spricht nur Keras 3 und läuft deshalb mit TensorFlow, JAX und PyTorch (``KERAS_BACKEND``).
VGG16: Simonyan und Zisserman (2015), Very Deep Convolutional Networks for Large-Scale Image Recognition,
arXiv 1409.1556.
"""

import hashlib
import logging
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.basics import (
    CLASS_NAMES,
    VGG16_SHA256,
    VGG16_WEIGHTS,
    CourseError,
    atomic_folder,
    display_path,
    german,
    locked,
    one_line,
    output_dir,
    progress,
    quiet_stderr,
    read_json,
    sha256,
    write_json,
)
from helpers.settings import MAX_SIZE, PROFILES, check_number

try:
    with quiet_stderr():
        import keras
except (ImportError, ValueError) as error:
    name = one_line(os.environ.get("KERAS_BACKEND", "tensorflow")[:40])
    remedy = "Löschen Sie diese Umgebungsvariable oder setzen Sie tensorflow, jax oder torch ein"
    raise CourseError(f"Keras startet nicht mit KERAS_BACKEND={name}: {remedy}.") from error

# TensorFlow warnt, wenn oft neue kleine Modelle rechnen; für Lernende ist das kein Hinweis, sondern Lärm.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

IMAGE_SIZE = 64
LAST_CONV = "block5_conv3"
# Mittelwerte der ImageNet-Bilder in der Reihenfolge Blau, Grün, Rot (Keras-Modus „caffe“).
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


def preprocess(images, size: int = IMAGE_SIZE) -> np.ndarray:
    """Macht aus Graustufenbildern das, was VGG16 beim Vortraining gesehen hat.

    Vergrößert bilinear, kopiert den Grauwert in drei Kanäle, ordnet sie Blau-Grün-Rot und zieht die Mittelwerte von
    ImageNet ab. Geteilt wird nicht: VGG16 erwartet Werte von etwa −124 bis +151.

    Args:
        images: uint8 oder float, Form (n, 28, 28), Werte 0–255.
        size: Kantenlänge in Pixeln, mindestens 32.

    Returns:
        float32, Form (n, size, size, 3).

    Raises:
        CourseError: wenn ``images`` nicht die Form (n, h, b) hat oder die Kantenlänge nicht geht.
    """
    check_number("Die Bildgröße", size, 1, MAX_SIZE)
    images = np.asarray(images)
    if images.ndim != 3:
        raise CourseError(
            f"preprocess erwartet Bilder der Form (n, 28, 28), bekam aber {images.shape}: "
            "Für ein einzelnes Bild schreiben Sie images[:1] statt images[0]."
        )
    return keras.ops.convert_to_numpy(enlarge(images, size))


def enlarge(images, size: int):
    """``preprocess`` als Teil eines Netzes: (n, 28, 28), uint8 → (n, size, size, 3), float32, beides Tensoren."""
    gray = keras.ops.cast(images, "float32")[..., None]
    large = keras.ops.image.resize(gray, (size, size), interpolation="bilinear", data_format="channels_last")
    return keras.ops.repeat(large, 3, axis=-1) - keras.ops.convert_to_tensor(IMAGENET_MEAN_BGR, "float32")


def enlarge_mask(mask, size: int = IMAGE_SIZE) -> np.ndarray:
    """Maske (bool, (28, 28)) in der Größe der Netzeingabe: bool, (size, size); leer nur, wenn sie es schon war."""
    large = keras.ops.image.resize(
        np.asarray(mask, dtype=np.float32)[..., None], (size, size), "bilinear", data_format="channels_last"
    )
    large = keras.ops.convert_to_numpy(large)[..., 0]
    # Ein einzelner Pixel kommt beim Vergrößern um weniger als das Doppelte nicht immer auf die Hälfte.
    return (large > 0) & (large >= min(0.5, large.max()))


def check_weights(path=VGG16_WEIGHTS) -> Path:
    """Prüft die mitgelieferten ImageNet-Gewichte gegen ihre Prüfsumme.

    Raises:
        CourseError: wenn die Datei fehlt oder verändert ist.
    """
    if not path.is_file() or sha256(path) != VGG16_SHA256:
        what = "sind beschädigt (Prüfsumme falsch)" if path.is_file() else "fehlen"
        remedy = f"Holen Sie sie mit „git checkout {display_path(path)}“ zurück"
        raise CourseError(f"Die Gewichte {display_path(path)} {what}: {remedy}.")
    return path


def build_vgg16(image_size: int = IMAGE_SIZE, weights: str | None = "beiliegend", seed: int = 0) -> keras.Model:
    """VGG16 bis ``block5_pool``, darauf ``flatten`` und zehn lineare Ausgänge ``logits``.

    Ein flaches funktionales Modell ohne Softmax: So verlangt es iNNvestigate, und Grad-CAM leitet den Logit ab.

    Args:
        image_size: Kantenlänge der Eingabe in Pixeln, mindestens 32.
        weights: "beiliegend" (input/, mit Prüfsumme), "keras" (Keras lädt sie und merkt sie sich) oder None (zufällig).
        seed: Startwert für die neuen Gewichte.

    Raises:
        CourseError: bei fehlenden oder beschädigten Gewichten.
    """
    source = str(check_weights()) if weights == "beiliegend" else weights and "imagenet"
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((image_size, image_size, 3), name="bild")
    base = keras.applications.VGG16(include_top=False, weights=source, input_tensor=inputs)
    x = keras.layers.Flatten(name="flatten")(base.output)
    logits = keras.layers.Dense(len(CLASS_NAMES), name="logits")(x)
    return keras.Model(inputs, logits, name="vgg16_mode")


def weights_checksum(model: keras.Model) -> str:
    """SHA-256 aller Gewichte (float32, in der Reihenfolge von ``get_weights``): Woran man ein Modell wiedererkennt."""
    values = (np.asarray(value, dtype="<f4").tobytes() for value in model.get_weights())
    return hashlib.sha256(b"".join(values)).hexdigest()


def split_model(model: keras.Model, at: str | None = "block4_pool") -> tuple[keras.Model | None, keras.Model]:
    """Zerlegt das Modell hinter der Schicht ``at`` in einen festen Stamm und einen trainierbaren Rest.

    Beide teilen sich die Schichten mit ``model``: Wer den Rest trainiert, trainiert ``model``. Mit ``at=None`` gibt es
    keinen Stamm, und der Rest ist ``model`` selbst.
    """
    if at is None:
        return None, model
    names = [layer.name for layer in model.layers]
    cut = names.index(at)
    stem = keras.Model(model.input, model.layers[cut].output, name="stamm")
    inputs = keras.Input(stem.output.shape[1:], name="merkmale")
    x = inputs
    for layer in model.layers[cut + 1 :]:
        x = layer(x)
    return stem, keras.Model(inputs, x, name="rest")


def predict_logits(model, images, batch_size: int = 64) -> np.ndarray:
    """Logits (float32, (n, 10)) zu Graustufenbildern (uint8, (n, 28, 28)); vorverarbeitet wird stapelweise.

    Args:
        model: ein Keras-Modell oder ein ``Run``.
    """
    model = getattr(model, "model", model)
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    logits = [np.empty((0, *model.outputs[0].shape[1:]), np.float32)]
    for batch in progress(batches, text="Vorhersage", unit="Stapel"):
        logits.append(model.predict_on_batch(preprocess(batch, model.inputs[0].shape[1])))
    return np.concatenate(logits)


def softmax(logits) -> np.ndarray:
    """Wahrscheinlichkeiten (float, (…, 10), Summe 1) aus Logits."""
    logits = np.asarray(logits, dtype=np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Run:
    """Ein gespeichertes Training.

    Attributes:
        model: das Keras-Modell mit Logits als Ausgang.
        history: eine Zeile je Epoche mit ``epoche``, ``verlust``, ``treffer``, ``val_verlust``, ``val_treffer``.
        settings: Profil, Startwert, Bildgröße, Datenquelle, …
    """

    model: keras.Model
    history: list[dict]
    settings: dict


def run_folder(name: str) -> Path:
    """Ordner des Trainings ``name`` („sauber“ oder „vergiftet“)."""
    return output_dir() / "modelle" / name


def save_run(name: str, run: Run) -> Path:
    """Speichert Modell, Verlauf und Einstellungen, alle drei oder keines; ersetzt ein älteres Training des Namens."""
    import pandas as pd

    folder = run_folder(name)
    with atomic_folder(folder) as temporary:
        run.model.save(temporary / "modell.keras")
        pd.DataFrame(run.history).to_csv(temporary / "verlauf.csv", index=False)
        write_json(temporary / "einstellungen.json", run.settings)
    return folder


def load_run(name: str) -> Run | None:
    """Lädt ein gespeichertes Training; None, wenn es keines gibt.

    Raises:
        CourseError: wenn das Modell da, aber nicht lesbar ist oder eine andere Form hat.
    """
    import pandas as pd

    folder = run_folder(name)
    path = folder / "modell.keras"
    with locked(folder.parent):
        settings = read_json(folder / "einstellungen.json")
        if settings is None or not path.is_file():
            return None
        try:
            history = pd.read_csv(folder / "verlauf.csv").to_dict("records")
            if not (history and {"epoche", "verlust", "treffer", "val_verlust", "val_treffer"} <= history[0].keys()):
                raise ValueError
            model = build_vgg16(stored_size(settings), None)
            model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
            with warnings.catch_warnings():  # Keras warnt, wenn es etwas nicht findet; dann bleibt NaN stehen
                warnings.simplefilter("ignore")
                model.load_weights(path)  # nur die Zahlen; der Bauplan darin könnte Code nennen
            checked_weights(model.get_weights(), [weight.shape for weight in model.weights])
        except Exception:  # zipfile, h5py, Keras und pandas haben keine gemeinsame Fehlerklasse
            raise CourseError(
                f"Das gespeicherte Modell in {display_path(folder)} ist nicht lesbar (etwas fehlt, ist beschädigt oder "
                "passt nicht zusammen): Löschen Sie diesen Ordner und führen Sie 03_Training noch einmal aus."
            ) from None
    return Run(model, history, settings)


def stored_size(settings: dict) -> int:
    """Die Kantenlänge aus gespeicherten Einstellungen; CourseError, wenn dort keine brauchbare steht."""
    return replace(PROFILES["probe"], image_size=settings.get("image_size")).image_size


def checked_weights(values, shapes: list[tuple], file=()) -> list[np.ndarray]:
    """Gelesene Gewichte, wenn sie genau passen: für Kursmodell, eigenes Modell und Zwischenstand.

    Args:
        values: Felder oder ``h5py.Dataset``; ein Generator öffnet sie erst, wenn die Verweise in ``file`` geprüft sind.
        shapes: die verlangten Formen in derselben Reihenfolge; (1,) ist nicht (10,).
        file: die offene HDF5-Datei, aus der ``values`` kommen. Keras prüft seine Dateien selbst.

    Raises:
        ValueError: wenn etwas in einer anderen Datei liegt, eine Form abweicht oder eine Zahl nicht endlich ist.
    """
    import h5py

    foreign = any(not isinstance(file.get(name, getlink=True), h5py.HardLink) for name in file)
    values = [] if foreign else list(values)
    foreign |= any(getattr(value, "external", None) or getattr(value, "is_virtual", False) for value in values)
    if foreign or [value.shape for value in values] != [tuple(shape) for shape in shapes]:
        raise ValueError("andere Formen oder Zahlen aus einer anderen Datei")
    values = [np.asarray(value) for value in values]
    if not all(np.isfinite(value).all() for value in values):
        raise ValueError("keine endlichen Zahlen")
    return values


def checked_classes(classes, count: int, outputs: int) -> np.ndarray:
    """Gefragte Klassen als int-Feld der Form (count,); eine einzelne Zahl gilt für alle Bilder."""
    classes = np.full(count, classes) if np.ndim(classes) == 0 else np.asarray(classes)
    if classes.shape != (count,) or count and not (0 <= classes.min() and classes.max() < outputs):
        raise CourseError(
            f"Zu {german(count)} Bildern gehören ebenso viele Klassen von 0 bis {outputs - 1}, nicht "
            f"{str(classes.tolist())[:40]}: Geben Sie eine Klasse je Bild an oder eine einzige für alle."
        )
    return classes.astype(int)


def checked_inputs(inputs, shape: tuple, method: str) -> np.ndarray:
    """Eingaben als float32 (n, *shape); rohe Bilder oder ein einzelnes Bild werden mit einem Satz abgewiesen."""
    if None in shape:
        raise CourseError(f"{method} braucht ein Modell mit fester Bildgröße: Nennen Sie sie in keras.Input.")
    inputs = np.asarray(inputs, dtype=np.float32)
    if inputs.shape[1:] != shape or not np.isfinite(inputs).all():
        found = f"die Form {inputs.shape}" if inputs.shape[1:] != shape else "NaN oder unendliche Werte"
        raise CourseError(
            f"{method} erwartet vorverarbeitete Bilder der Form (n, {', '.join(map(str, shape))}), bekam aber {found}: "
            "Rufen Sie zuerst preprocess auf."
        )
    return inputs
