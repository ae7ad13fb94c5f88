"""Das Kursmodell: ein auf allen Trainingsbildern feinabgestimmtes VGG16, so klein gepackt, dass man es mitgeben kann.

``input/kursmodell.h5`` hält die Gewichte als float16, gespeichert als Abstand zu den ImageNet-Gewichten daneben: Die
Feinabstimmung ändert nur die letzten Stellen, und so passen 14,7 Millionen Zahlen in weniger als 20 MB. Gerundet wird
auf acht gültige Binärstellen: Genauer kennt bfloat16, in dem gerechnet wurde, die Gewichte auch nicht.
``input/kursmodell.json`` ist der Steckbrief: Daten, Einstellungen, Startwert, Verlauf, Trefferquote, Prüfsumme, Befehl.
"""

import numpy as np

from helpers.basics import COURSE_MODEL, COURSE_MODEL_CARD, CourseError, display_path, read_json, sha256
from helpers.model import Run, build_vgg16, check_weights, checked_weights, stored_size

COMMAND = "python -m helpers cnn --profil voll && python -m helpers kursmodell"
# float16 hat elf gültige Binärstellen; um so viele Schritte auf einmal ändert sich die achte.
STEP = 8


def ordered(values) -> np.ndarray:
    """float16 → ganze Zahlen, die genauso geordnet sind: Benachbarte Gewichte haben benachbarte Nummern."""
    bits = np.ascontiguousarray(values, dtype=np.float16).view(np.int16).astype(np.int32)
    return np.where(bits < 0, -32768 - bits, bits)


def unordered(numbers) -> np.ndarray:
    """Umkehrung von ``ordered``; −0 wird zu 0, und zu große Nummern ergeben NaN."""
    numbers = np.clip(numbers, -32767, 32767)
    bits = np.where(numbers < 0, -32768 - numbers, numbers)
    return bits.astype(np.int16).view(np.float16)


def _unpacked(stored, start) -> np.ndarray:
    """Gewichte (float32) aus den gespeicherten Abständen 0, −1, 1, −2, … (uint16) zu ``start``, in Schritten zu 8."""
    steps = np.where(stored % 2, -(stored // 2) - 1, stored // 2)
    return unordered(STEP * steps + ordered(start)).astype(np.float32)


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
    if sha256(path) != content.get("sha256"):
        raise CourseError(f"Das Kursmodell {display_path(path)} ist beschädigt (Prüfsumme falsch): {remedy}.")
    check_weights()
    try:
        settings, history = {**content["einstellungen"], "gewichte": "kursmodell"}, list(content["verlauf"])
        model = build_vgg16(stored_size(settings))
        *start, kernel, bias = model.get_weights()
        start += [np.zeros_like(kernel), np.zeros_like(bias)]  # der Kopf ist bei ImageNet nicht dabei
        shapes = [value.shape for value in start]
        with h5py.File(path) as file:
            stored = checked_weights((file[f"{index:02d}"] for index in range(len(start))), shapes, file)
        weights = [_unpacked(value.astype(float), base) for value, base in zip(stored, start, strict=True)]
        model.set_weights(checked_weights(weights, shapes))
    except Exception:  # h5py hat keine gemeinsame Fehlerklasse
        raise CourseError(f"Das Kursmodell {display_path(path)} passt nicht zu seinem Steckbrief: {remedy}.") from None
    return Run(model, history, settings)
