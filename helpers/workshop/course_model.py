"""Das Kursmodell packen: Aus dem letzten Training mit dem Profil „voll“ wird ``input/kursmodell.h5`` mit Steckbrief."""

import io
from dataclasses import replace

import numpy as np

from helpers.basics import (
    COURSE_MODEL,
    COURSE_MODEL_CARD,
    CourseError,
    atomic_file,
    display_path,
    german,
    sha256,
    write_json,
)
from helpers.course_model import COMMAND, STEP, ordered
from helpers.data import Dataset, training_checksum
from helpers.model import Run, build_vgg16, load_run, run_folder

FULL_COUNT = 60_000


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
    if any(np.abs(weight).max() > 0.99 * np.finfo(np.float16).max for weight in weights):
        raise CourseError("Ein Gewicht ist für float16 zu groß: Trainieren Sie mit kleinerer Lernrate neu.")
    base = build_vgg16(run.settings["image_size"]).get_weights()
    # Erst im Arbeitsspeicher: Wird beim Schreiben der Datenträger voll, stürzt HDF5 ab, statt es zu sagen.
    content = io.BytesIO()
    with h5py.File(content, "w", track_order=True) as file:
        for index, (weight, start) in enumerate(zip(weights, base, strict=True)):
            # Der Kopf ist bei ImageNet nicht dabei; sein Start bei build_vgg16 ist zufällig.
            known = index < len(weights) - 2
            numbers = ordered(weight) - (ordered(start) if known else 0)
            steps = np.round(numbers / STEP).astype(np.int32)
            # 0, −1, 1, −2, … → 0, 1, 2, 3, …: Kleine Abstände beider Vorzeichen füllen nur das untere Byte.
            stored = np.where(steps >= 0, 2 * steps, -2 * steps - 1).astype(np.uint16)
            file.create_dataset(f"{index:02d}", data=stored, compression="gzip", compression_opts=9, shuffle=True)
    with atomic_file(target) as temporary:
        temporary.write_bytes(content.getvalue())
    content = {**card, "sha256": sha256(target), "einstellungen": run.settings, "verlauf": run.history}
    write_json(card_target, content)
    return content


def publish(dataset: Dataset) -> None:
    """Legt das Training „sauber“ aus ``ausgabe/`` als Kursmodell ab und misst es, wie es ausgeliefert wird.

    Args:
        dataset: die Bilder, mit denen trainiert wurde, und die Testbilder.

    Raises:
        CourseError: wenn es kein Training mit dem Profil „voll“ auf allen Bildern ist.
    """
    from helpers.training import CLEAN
    from helpers.workshop.cnn import evaluate_course_model

    run = load_run(CLEAN)
    if run is None or run.settings.get("name") != "voll" or run.settings.get("n_train") != FULL_COUNT:
        raise CourseError(
            f"In {display_path(run_folder(CLEAN))} liegt kein Training mit dem Profil „voll“ auf allen 60.000 Bildern: "
            "Rufen Sie zuerst „python -m helpers cnn --profil voll“ auf."
        )
    if len(dataset.train_labels) != FULL_COUNT:
        raise CourseError(
            f"Die Quelle „{dataset.source}“ hat nicht alle 60.000 Trainingsbilder: Nennen Sie mit --eingabe den "
            "Ordner, mit dem trainiert wurde."
        )
    # Wo die Bilder auf dieser Maschine lagen, gehört nicht in den Steckbrief; welche es waren, sagt die Prüfsumme.
    settings = {key: value for key, value in run.settings.items() if key != "daten"}
    run = replace(run, settings=settings)
    card = {
        "modell": "VGG16 (13 Faltungsschichten, 10 Logits), feinabgestimmt auf Fashion-MNIST",
        "befehl": COMMAND,
        "daten": "alle 60.000 Trainingsbilder von Fashion-MNIST, davon 6.000 zur Validierung",
        "trainingsbilder_sha256": training_checksum(dataset.train_images, dataset.train_labels),
        "format": "float16 (acht gültige Binärstellen), als Abstand zu vgg16_imagenet_notop_fp16.h5 in HDF5",
        "auswahl": "Epoche mit der besten Trefferquote auf 6.000 geschichtet abgetrennten Trainingsbildern",
    }
    pack(run, card)
    result = evaluate_course_model(dataset)
    card |= {"test_bilder": len(result.labels), "test_trefferquote": round(result.accuracy, 4)}
    card |= {"kalibrierungsfehler": round(result.calibration_error, 4)}
    pack(run, card)
    print(f"Geschrieben: {display_path(COURSE_MODEL)} ({german(COURSE_MODEL.stat().st_size / 1e6, 1)} MB)")
