"""Das Kursmodell: ein auf allen Trainingsbildern feinabgestimmtes VGG16, so klein gepackt, dass man es mitgeben kann.

``input/kursmodell.h5`` hält die Gewichte als float16, gespeichert als Abstand zu den ImageNet-Gewichten daneben: Die
Feinabstimmung ändert nur die letzten Stellen, und so passen 14,7 Millionen Zahlen in weniger als 20 MB. Gerundet wird
auf acht gültige Binärstellen: Genauer kennt bfloat16, in dem gerechnet wurde, die Gewichte auch nicht.
``input/kursmodell.json`` ist der Steckbrief: Daten, Einstellungen, Startwert, Verlauf, Trefferquote, Prüfsumme, Befehl.
"""

import numpy as np

from helpers.basics import (
    COURSE_MODEL,
    COURSE_MODEL_CARD,
    CourseError,
    display_path,
    read_json,
    sha256,
)
from helpers.model import Run, build_vgg16, stored_size

COMMAND = "python -m helpers cnn --profil voll && python -m helpers kursmodell"
# float16 hat elf gültige Binärstellen; um so viele Schritte auf einmal ändert sich die achte.
STEP = 8


def _ordered(values) -> np.ndarray:
    """float16 → ganze Zahlen, die genauso geordnet sind: Benachbarte Gewichte haben benachbarte Nummern."""
    bits = np.ascontiguousarray(values, dtype=np.float16).view(np.int16).astype(np.int32)
    return np.where(bits < 0, -32768 - bits, bits)


def _unordered(numbers) -> np.ndarray:
    """Umkehrung von ``_ordered``; −0 wird zu 0."""
    bits = np.where(numbers < 0, -32768 - numbers, numbers)
    return bits.astype(np.int16).view(np.float16)


def _unzigzag(numbers) -> np.ndarray:
    """Umkehrung von ``_zigzag``."""
    return np.where(numbers % 2, -(numbers // 2) - 1, numbers // 2)


def load_course_model(path=COURSE_MODEL, card=COURSE_MODEL_CARD) -> Run:
    """Das Kursmodell in ``input/``, mit Verlauf und Einstellungen seines Trainings.

    Raises:
        CourseError: wenn Datei oder Steckbrief fehlt oder verändert ist.
    """
    import h5py

    remedy = f"Holen Sie es mit „git checkout {display_path(path.parent)}“ zurück oder bauen Sie es mit „{COMMAND}“ neu"
    content = read_json(card, remedy=remedy)
    if content is None or not path.is_file():
        raise CourseError(f"Das Kursmodell {display_path(path)} oder sein Steckbrief fehlt: {remedy}.")
    settings, history = content.get("einstellungen"), content.get("verlauf")
    if not isinstance(settings, dict) or not isinstance(history, list) or not isinstance(content.get("sha256"), str):
        raise CourseError(f"Im Steckbrief {display_path(card)} fehlen Angaben: {remedy}.")
    try:
        size = stored_size(settings)
    except ValueError as error:
        raise CourseError(f"Im Steckbrief {display_path(card)} stimmt etwas nicht ({error}): {remedy}.") from None
    if sha256(path) != content["sha256"]:
        raise CourseError(f"Das Kursmodell {display_path(path)} ist beschädigt (Prüfsumme falsch): {remedy}.")
    model = build_vgg16(size)
    start = model.get_weights()
    weights = []
    try:
        with h5py.File(path, "r") as file:
            for index, base in enumerate(start):
                origin = _ordered(base) if index < len(start) - 2 else 0
                numbers = STEP * _unzigzag(file[f"{index:02d}"][()].astype(np.int32)) + origin
                weights.append(_unordered(numbers).astype(np.float32))
        model.set_weights(weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CourseError(f"Das Kursmodell {display_path(path)} passt nicht zu seinem Steckbrief: {remedy}.") from None
    return Run(model, history, {**settings, "gewichte": "kursmodell"})
