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
# Mittelwerte der ImageNet-Bilder in der Reihenfolge Blau, Grün, Rot (Keras-Modus „caffe“).
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


def preprocess(images, size=IMAGE_SIZE) -> np.ndarray:
    """Macht aus Bildern das, was VGG16 beim Vortraining gesehen hat, oder was ein eigenes Modell braucht.

    Für VGG16: vergrößert bilinear, kopiert Grauwerte in drei Kanäle, ordnet sie Blau-Grün-Rot und zieht die Mittelwerte
    von ImageNet ab. Geteilt wird nicht: VGG16 erwartet Werte von etwa −124 bis +151.

    Args:
        images: Graustufen (n, h, b), etwa (n, 28, 28), oder Farbe (n, h, b, 3), Rot-Grün-Blau; Werte 0–255.
        size: Kantenlänge in Pixeln oder das Modell, für das die Bilder bestimmt sind. Ein Modell aus ``own_model``
            bringt seine eigene Vorverarbeitung mit.

    Returns:
        float32, Form (n, size, size, 3), bei einem eigenen Modell die seiner Eingabe.

    Raises:
        CourseError: wenn ``images`` eine andere Form oder andere Werte hat oder die Kantenlänge nicht geht.
    """
    if not isinstance(size, keras.Model):
        check_number("Die Bildgröße", size, 1, MAX_SIZE)
    return keras.ops.convert_to_numpy(enlarge(checked_images(images), size))


def enlarge(images, size):
    """``preprocess`` als Teil eines Netzes: (n, h, b) oder (n, h, b, 3), uint8 → float32, beides Tensoren."""
    if isinstance(size, keras.Model):
        if own := getattr(size, "prepare", None):
            return own(images)
        size = size.inputs[0].shape[1]
    images, color = keras.ops.cast(images, "float32"), len(images.shape) == 4
    large = keras.ops.image.resize(
        images if color else images[..., None], (size, size), interpolation="bilinear", data_format="channels_last"
    )
    large = large[..., ::-1] if color else keras.ops.repeat(large, 3, axis=-1)
    return large - keras.ops.convert_to_tensor(IMAGENET_MEAN_BGR, "float32")


def checked_images(images) -> np.ndarray:
    """Rohe Bilder als Feld, wenn Form und Werte stimmen; sonst sagt ein Satz, was zu tun ist."""
    images, remedy = np.asarray(images), None
    if images.ndim not in (3, 4):
        remedy = "Für ein einzelnes Bild schreiben Sie images[:1] statt images[0]"
    elif images.ndim == 3 and images.shape[2] in (3, 4) and images.shape[1] > 4:
        remedy = "Ein einzelnes Farbbild wird mit image[None] zum Stapel"
    elif images.ndim == 4 and images.shape[3] != 3:
        known = {1: "Lassen Sie die letzte Achse mit images[..., 0] weg", 4: "Ohne Alphakanal: images[..., :3]"}
        remedy = known.get(images.shape[3], "Die Farben stehen in der letzten Achse")
    if remedy:
        raise CourseError(
            f"preprocess erwartet Bilder der Form (n, 28, 28) oder, in Farbe, (n, h, b, 3), bekam aber {images.shape}: "
            f"{remedy}."
        )
    low, high = (images.min(), images.max()) if images.size and images.dtype.kind in "biuf" else (0, 0)
    if images.dtype.kind not in "biuf":
        remedy = "Lesen Sie die Bilder als Zahlen"
    elif not 0 <= low <= high <= 255:
        whole = images.dtype.kind in "iu" and low >= 0
        remedy = "Teilen Sie 16-Bit-Bilder durch 257" if whole else "Geben Sie die rohen Bilder"
    elif images.dtype.kind in "bf" and 0 < high <= 1:
        remedy = "Rechnen Sie zuvor images * 255"
    if remedy:
        found = f"{images.dtype} von {german(float(low), 2)} bis {german(float(high), 2)}"
        raise CourseError(f"preprocess erwartet Werte von 0 bis 255, bekam aber {found}: {remedy}.")
    return images


def enlarge_mask(mask, size=IMAGE_SIZE) -> np.ndarray:
    """Maske (bool, (h, b)) in der Größe der Netzeingabe: bool, (size, size); leer nur, wenn sie es schon war.

    ``size``: Kantenlänge oder das Modell.
    """
    shape = size.inputs[0].shape[1:3] if isinstance(size, keras.Model) else (size, size)
    large = keras.ops.image.resize(
        np.asarray(mask, dtype=np.float32)[..., None], shape, "bilinear", data_format="channels_last"
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


def build_vgg16(
    image_size: int = IMAGE_SIZE, weights: str | None = "beiliegend", seed: int = 0, classes: int = len(CLASS_NAMES)
) -> keras.Model:
    """VGG16 bis ``block5_pool``, darauf ``flatten`` und für jede Klasse ein linearer Ausgang: ``logits``.

    Ein flaches funktionales Modell ohne Softmax: So verlangt es iNNvestigate, und Grad-CAM leitet den Logit ab.

    Args:
        image_size: Kantenlänge der Eingabe in Pixeln, mindestens 32.
        weights: "beiliegend" (input/, mit Prüfsumme), "keras" (Keras lädt sie und merkt sie sich) oder None (zufällig).
        seed: Startwert für die neuen Gewichte.
        classes: Zahl der Klassen.

    Raises:
        CourseError: bei fehlenden oder beschädigten Gewichten.
    """
    source = str(check_weights()) if weights == "beiliegend" else weights and "imagenet"
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((image_size, image_size, 3), name="bild")
    base = keras.applications.VGG16(include_top=False, weights=source, input_tensor=inputs)
    x = keras.layers.Flatten(name="flatten")(base.output)
    logits = keras.layers.Dense(classes, name="logits")(x)
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
    """Logits (float32, (n, k)) zu rohen Bildern (uint8, (n, h, b) oder (n, h, b, 3)); vorverarbeitet wird stapelweise.

    Args:
        model: ein Keras-Modell oder ein ``Run``.
        images: ein Feld oder Bilder auf der Platte (``helpers.inner.rows``).

    Raises:
        CourseError: wie ``checked_model`` und ``preprocess``.
    """
    model = checked_model(model, "Die Vorhersage")
    empty = np.empty((0, *model.outputs[0].shape[1:]), np.float32)
    return np.concatenate([empty, *batch_outputs(model, images, range(len(images)), batch_size)])


def batch_outputs(model: keras.Model, images, rows, batch_size: int = 64):
    """Was das Modell zu den Bildern mit diesen Nummern ausgibt, Stapel für Stapel."""
    for start in progress(range(0, len(rows), batch_size), text="Vorhersage", unit="Stapel"):
        batch = images[np.asarray(rows[start : start + batch_size])]
        yield model.predict_on_batch(preprocess(batch, model))


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
        settings: Profil, Startwert, Bildgröße, Klassen, Datenquelle, …
    """

    model: keras.Model
    history: list[dict]
    settings: dict

    @property
    def class_names(self) -> tuple[str, ...]:
        """Namen der Klassen, mit denen es gelernt hat; ohne Angabe die von Fashion-MNIST."""
        return tuple(map(str, self.settings.get("klassen", CLASS_NAMES)))


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
            classes = len(Run(None, history, settings).class_names)
            model = build_vgg16(stored_size(settings), None, classes=classes)
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


def built_model(model, method: str) -> keras.Model:
    """Das Keras-Modell (auch das eines ``Run``), wenn es gebaut ist und genau eine Eingabe und eine Ausgabe hat."""
    model = getattr(model, "model", model)
    if not isinstance(model, keras.Model):
        raise CourseError(f"{method} braucht ein Keras-Modell, bekam aber {type(model).__name__}: Laden Sie es zuerst.")
    try:
        inputs, outputs = model.inputs or (), model.outputs or ()
    except (ValueError, AttributeError):  # ein Sequential ohne Eingabe
        inputs = outputs = ()
    if not inputs:
        raise CourseError(
            f"Das Modell „{model.name}“ ist noch nicht gebaut: Beginnen Sie es mit keras.Input(…), oder rufen Sie es "
            "einmal mit einem Stapel Bilder auf."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise CourseError(
            f"{method} braucht ein Modell mit genau einer Eingabe und einer Ausgabe, „{model.name}“ hat "
            f"{len(inputs)} und {len(outputs)}: Bauen Sie eines mit keras.Model(Eingabe, Ausgabe)."
        )
    return model


def checked_model(model, method: str) -> keras.Model:
    """Das Keras-Modell (auch das eines ``Run``), wenn ``method`` damit rechnen kann.

    Raises:
        CourseError: wenn es kein gebautes Keras-Modell ist, mehrere Ein- oder Ausgänge hat, keine feste Bildgröße, oder
            mit Softmax oder Sigmoid endet.
    """
    model = built_model(model, method)
    if None in model.inputs[0].shape[1:]:
        raise CourseError(f"{method} braucht ein Modell mit fester Bildgröße: Nennen Sie sie in keras.Input.")
    if end := squashing_end(model):
        raise CourseError(
            f"{method} braucht Logits am Ausgang, „{model.name}“ endet mit {end}: own_model.flat(model) nimmt es weg."
        )
    return model


def squashing_end(model: keras.Model) -> str:
    """„Softmax“ oder „Sigmoid“, wenn das Modell damit endet, sonst ein leerer Text."""
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return squashing_end(last)
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    name = "softmax" if isinstance(last, keras.layers.Softmax) else activation or type(last).__name__.lower()
    return {"softmax": "Softmax", "sigmoid": "Sigmoid"}.get(name, "")


def checked_classes(classes, count: int, outputs: int) -> np.ndarray:
    """Gefragte Klassen als int-Feld der Form (count,); eine einzelne Zahl gilt für alle Bilder."""
    classes = np.full(count, classes) if np.ndim(classes) == 0 else np.asarray(classes)
    if classes.dtype.kind not in "biuf":
        name = one_line(str(classes.flat[0] if classes.size else "")[:40])
        known = f"„{name}“ ist die {CLASS_NAMES.index(name)}" if name in CLASS_NAMES else f"„{name}“ ist keine"
        raise CourseError(f"Klassen sind hier Zahlen ab 0, {known}: Geben Sie die Nummer an, etwa names.index(…).")
    whole = classes.size == 0 or (classes == np.floor(classes)).all()
    if classes.shape != (count,) or not whole or count and not (0 <= classes.min() and classes.max() < outputs):
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
