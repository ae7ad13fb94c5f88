"""Das Kursmodell: ein auf allen Trainingsbildern feinabgestimmtes VGG16, so klein gepackt, dass man es mitgeben kann.

``input/kursmodell.h5`` hält die Gewichte als float16, gespeichert als Abstand zu den ImageNet-Gewichten daneben: Die
Feinabstimmung ändert nur die letzten Stellen, und so passen 14,7 Millionen Zahlen in weniger als 20 MB.
``input/kursmodell.json`` ist der Steckbrief: Daten, Einstellungen, Startwert, Verlauf, Trefferquote, Prüfsumme, Befehl.
"""

import numpy as np

from helpers.basics import (
    COURSE_MODEL,
    COURSE_MODEL_CARD,
    CourseError,
    atomic_file,
    display_path,
    german,
    read_json,
    sha256,
    write_json,
)
from helpers.model import Run, build_vgg16, load_run, run_folder

COMMAND = "python -m helpers cnn --profil voll && python -m helpers kursmodell"
# Ab hier rechnet der Kurs Merkmale nur einmal je Bild, auch wenn das ganze Netz gelernt hat.
_CACHED_UNTIL = "block4_pool"


def _ordered(values) -> np.ndarray:
    """float16 → ganze Zahlen, die genauso geordnet sind: Benachbarte Gewichte haben benachbarte Nummern."""
    bits = np.ascontiguousarray(values, dtype=np.float16).view(np.int16).astype(np.int32)
    return np.where(bits < 0, -32768 - bits, bits)


def _unordered(numbers) -> np.ndarray:
    """Umkehrung von ``_ordered``; −0 wird zu 0."""
    bits = np.where(numbers < 0, -32768 - numbers, numbers)
    return bits.astype(np.int16).view(np.float16)


def pack(run: Run, card: dict, target=COURSE_MODEL, card_target=COURSE_MODEL_CARD) -> dict:
    """Schreibt Gewichte und Steckbrief; ergibt den Steckbrief.

    Args:
        run: Training mit dem Profil „voll“.
        card: Angaben, die im Steckbrief vor Einstellungen und Verlauf stehen.

    Raises:
        CourseError: wenn ein Gewicht nicht in float16 passt.
    """
    import h5py

    weights = run.model.get_weights()
    if any(np.abs(weight).max() > np.finfo(np.float16).max for weight in weights):
        raise CourseError("Ein Gewicht ist für float16 zu groß: Trainieren Sie mit kleinerer Schrittweite neu.")
    base = build_vgg16(run.settings["image_size"]).get_weights()
    with atomic_file(target) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for index, (weight, start) in enumerate(zip(weights, base, strict=True)):
            # Der Kopf ist bei ImageNet nicht dabei; sein Start bei build_vgg16 ist zufällig.
            known = index < len(weights) - 2
            numbers = _ordered(weight) - (_ordered(start) if known else 0)
            # Abstände bis ±65.535 passen modulo 2¹⁶ in zwei Byte.
            stored = numbers.astype(np.uint16)
            file.create_dataset(f"{index:02d}", data=stored, compression="gzip", compression_opts=9, shuffle=True)
    content = {**card, "sha256": sha256(target), "einstellungen": run.settings, "verlauf": run.history}
    write_json(card_target, content)
    return content


def load_course_model(path=COURSE_MODEL, card=COURSE_MODEL_CARD) -> Run:
    """Das Kursmodell in ``input/``, mit Verlauf und Einstellungen seines Trainings.

    Raises:
        CourseError: wenn Datei oder Steckbrief fehlt oder verändert ist.
    """
    import h5py

    content = read_json(card)
    if content is None or not path.is_file():
        raise CourseError(
            f"Das Kursmodell {display_path(path)} oder sein Steckbrief fehlt: Es entsteht mit „{COMMAND}“."
        )
    if sha256(path) != content["sha256"]:
        raise CourseError(
            f"Das Kursmodell {display_path(path)} ist beschädigt (Prüfsumme falsch): Es entsteht neu mit „{COMMAND}“."
        )
    model = build_vgg16(content["einstellungen"]["image_size"])
    start = model.get_weights()
    weights = []
    with h5py.File(path, "r") as file:
        for index, base in enumerate(start):
            origin = _ordered(base) if index < len(start) - 2 else 0
            # Auf den Zahlenkreis von 16 Bit zurück, dann wieder mit Vorzeichen.
            numbers = (file[f"{index:02d}"][()].astype(np.int32) + origin).astype(np.uint16).astype(np.int16)
            weights.append(_unordered(numbers.astype(np.int32)).astype(np.float32))
    model.set_weights(weights)
    settings = {**content["einstellungen"], "frozen_until": _CACHED_UNTIL, "gewichte": "kursmodell"}
    return Run(model, content["verlauf"], settings)


def publish(where="auto") -> None:
    """Legt das Training „sauber“ aus ``ausgabe/`` als Kursmodell ab und misst es, wie es ausgeliefert wird.

    Raises:
        CourseError: wenn es kein Training mit dem Profil „voll“ auf allen Bildern ist.
    """
    from helpers.cnn import evaluate_course_model
    from helpers.training import CLEAN

    run = load_run(CLEAN)
    if run is None or run.settings["name"] != "voll" or run.settings["n_train"] != 60_000:
        raise CourseError(
            f"In {display_path(run_folder(CLEAN))} liegt kein Training mit dem Profil „voll“ auf allen 60.000 Bildern: "
            "Rufen Sie zuerst „python -m helpers cnn --profil voll“ auf."
        )
    card = {
        "modell": "VGG16 (13 Faltungsschichten, 10 Logits), feinabgestimmt auf Fashion-MNIST",
        "befehl": COMMAND,
        "format": "float16, als Abstand zu vgg16_imagenet_notop_fp16.h5 in HDF5",
        "auswahl": "Epoche mit der besten Trefferquote auf 6.000 geschichtet abgetrennten Trainingsbildern",
    }
    pack(run, card)
    result = evaluate_course_model(where)
    card |= {"test_bilder": len(result.labels), "test_trefferquote": round(result.accuracy, 4)}
    card |= {"kalibrierungsfehler": round(result.calibration_error, 4)}
    pack(run, card)
    print(f"Geschrieben: {display_path(COURSE_MODEL)} ({german(COURSE_MODEL.stat().st_size / 1e6, 1)} MB)")
