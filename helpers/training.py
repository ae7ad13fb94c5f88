"""Training und Auswertung: VGG16 feinabstimmen, auf Testbildern messen, und holen, was schon gerechnet ist.

Wie ``helpers.model`` spricht das Modul nur Keras 3 und läuft mit TensorFlow, JAX und PyTorch.
"""

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from helpers.basics import (
    CLASS_NAMES,
    CourseError,
    as_dict,
    display_path,
    german,
    output_dir,
    read_json,
)
from helpers.course_model import load_course_model
from helpers.data import (
    PROVENANCE,
    REWRITE_DATA,
    Dataset,
    Watermark,
    generate,
    poison,
    read_tree,
    training_checksum,
    validation_split,
)
from helpers.devices import parallel
from helpers.features import extract_features
from helpers.learner import (
    Batches,
    Checkpoint,
    ProgressBar,
    build_learner,
    compile_learner,
    mirror_and_shift,  # noqa: F401 (Notebooks lesen sie hier)
)
from helpers.model import (
    Run,
    build_vgg16,
    keras,
    load_run,
    predict_logits,  # noqa: F401 (Notebooks lesen sie hier)
    save_run,
    softmax,
    split_model,
)
from helpers.provenance import provenance
from helpers.settings import PROFILES, Profile, get_profile  # noqa: F401 (Notebooks lesen sie hier)

COURSE, CLEAN, POISONED = "kurs", "sauber", "vergiftet"


# --- Training -------------------------------------------------------------------------------------------------------


def train(
    images, labels, profile: Profile, seed: int = 0, epochs: int | None = None, weights: str = "beiliegend", note=None
) -> Run:
    """Feinabstimmung von VGG16 auf Bildern und Klassen.

    Ein Zehntel der Bilder wird geschichtet zur Validierung abgetrennt. Testbilder kommen hier nicht vor. Der Stamm bis
    ``profile.frozen_until`` lernt nicht mit: Er rechnet jedes Bild nur einmal, und der Rest lernt auf den gemerkten
    Merkmalen. Mit ``profile.augment`` sieht das Netz in jeder Epoche andere Bilder, und der Stamm rechnet mit. Ein
    unterbrochenes Training setzt beim nächsten Aufruf nach der letzten vollen Epoche fort.

    Args:
        images: uint8, (n, 28, 28).
        labels: uint8, (n,), Werte 0–9.
        profile: Einstellungen.
        seed: Startwert für neue Gewichte, Teilung und Reihenfolge.
        epochs: ersetzt ``profile.epochs``.
        weights: wie in ``build_vgg16``.
        note: weitere Angaben für die gespeicherten Einstellungen.

    Returns:
        Modell, Verlauf und Einstellungen. Mit ``profile.patience`` hat das Modell die Gewichte der Epoche, die auf den
        Validierungsbildern am besten war, sonst die der letzten.
    """
    profile = replace(profile, epochs=epochs or profile.epochs)
    scope = parallel(profile.devices)
    rows, validation_rows = validation_split(labels, seed=seed)
    model = build_vgg16(profile.image_size, weights, seed)
    # Der Kopf beginnt bei null, also mit gleicher Wahrscheinlichkeit für alle Klassen: Zufällige Anfangsfehler würden
    # die ImageNet-Gewichte darunter beschädigen (gemessen: 1 Prozentpunkt weniger im Test).
    head = model.get_layer("logits")
    head.set_weights([np.zeros_like(weight) for weight in head.get_weights()])
    settings = {**asdict(profile), "seed": seed, "gewichte": weights, **(note or {}), "n_train": len(labels)}
    history: list[dict] = []
    checkpoint = Checkpoint(_training_key(images, labels, settings), history, profile.epochs, profile.patience)
    stem = None if profile.augment else split_model(model, profile.frozen_until)[0]
    inputs = images if stem is None else extract_features(stem, images)
    material, validation = ((inputs[part], np.asarray(labels, np.int32)[part]) for part in (rows, validation_rows))
    with scope():
        net, learner = build_learner(model, profile, raw=stem is None)
        compile_learner(learner, profile, len(Batches(*material, profile.batch_size)))
        for epoch in range(checkpoint.resume(learner), profile.epochs):
            start = time.perf_counter()
            # Ein Aufruf von fit je Epoche: Keras holt sonst die ersten Stapel der nächsten Epoche vor deren Beginn.
            logs = learner.fit(
                Batches(*material, profile.batch_size, seed, profile.augment, epoch),
                validation_data=validation,
                validation_batch_size=256,
                callbacks=[ProgressBar(f"Epoche {epoch + 1}")],
                shuffle=False,
                verbose=0,
            ).history
            history.append(_report(epoch + 1, profile.epochs, logs, time.perf_counter() - start))
            if not checkpoint.save(learner):
                break
        if checkpoint.best:
            settings["beste_epoche"], best = checkpoint.best
            learner.set_weights(best)
    model.set_weights(net.get_weights())
    checkpoint.path.unlink(missing_ok=True)
    settings["herkunft"] = provenance(seed, profile.name, training_checksum(images, labels))
    return Run(model, history, settings)


def _training_key(images, labels, settings: dict) -> str:
    """Kurze Prüfsumme über Daten und Einstellungen."""
    content = json.dumps({**settings, "daten_sha256": training_checksum(images, labels)}, sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _report(epoch: int, total: int, logs: dict, seconds: float) -> dict:
    """Die Zeile des Verlaufs zu einer Epoche; sie steht auch in der Ausgabe."""
    names = {"verlust": "loss", "treffer": "accuracy", "val_verlust": "val_loss", "val_treffer": "val_accuracy"}
    row = {"epoche": epoch, **{ours: float(logs[name][0]) for ours, name in names.items()}}
    row["sekunden"] = round(seconds, 1)
    print(
        f"Epoche {epoch} von {total}: Verlust {german(row['verlust'])}, Trefferquote {german(row['treffer'])}, "
        f"Validierung {german(row['val_treffer'])} ({german(seconds, 1)} s)",
        flush=True,
    )
    return row


# --- Auswerten ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """Ergebnis auf Testbildern.

    Attributes:
        probabilities: float, (n, 10), Zeilensumme 1.
        labels, predictions: int, (n,).
    """

    probabilities: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of(cls, logits, labels) -> "Evaluation":
        """Stellt die Antworten eines Netzes (Logits, (n, 10)) den Klassen (n,) gegenüber."""
        probabilities = softmax(logits)
        return cls(probabilities, np.asarray(labels, dtype=int), probabilities.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """Anteil richtiger Vorhersagen (0–1)."""
        return float((self.predictions == self.labels).mean())

    @property
    def confusion(self) -> np.ndarray:
        """Konfusionsmatrix, int, (10, 10): Zeile wahre, Spalte vorhergesagte Klasse."""
        matrix = np.zeros((len(CLASS_NAMES),) * 2, dtype=int)
        np.add.at(matrix, (self.labels, self.predictions), 1)
        return matrix

    @property
    def calibration_error(self) -> float:
        """Expected calibration error mit zehn gleich breiten Fächern (0–1); Guo et al. (2017), arXiv 1706.04599."""
        confidence = self.probabilities.max(axis=1)
        bins = np.minimum((confidence * 10).astype(int), 9)
        gaps = [
            abs((self.predictions == self.labels)[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
            for b in np.unique(bins)
        ]
        return float(sum(gaps))

    def worst_mistakes(self, count: int = 10) -> np.ndarray:
        """Indizes der Fehler, bei denen sich das Netz am sichersten war; der sicherste zuerst."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")][:count]


def evaluate(model, images, labels) -> Evaluation:
    """Sagt jedes Bild voraus (uint8, (n, 28, 28)) und stellt die Antworten den Klassen (n,) gegenüber.

    Die Merkmale kommen aus dem Zwischenspeicher: Haben zwei Netze denselben Stamm, etwa das saubere und sein Zwilling,
    rechnen sie gleiche Bilder nur einmal.

    Args:
        model: ein ``Run`` oder ein Keras-Modell.
    """
    stem, rest = split_model(getattr(model, "model", model))
    return Evaluation.of(rest.predict(extract_features(stem, images), batch_size=256, verbose=0), labels)


def probabilities(model: keras.Model):
    """Funktion, die zu vorverarbeiteten Bildern (n, h, b, 3) Wahrscheinlichkeiten (n, 10) liefert, für ``metrics``."""
    return lambda inputs: softmax(model.predict(inputs, batch_size=64, verbose=0))


def randomize_down_to(model: keras.Model, layer: str, seed: int = 0) -> keras.Model:
    """Kopie des Modells, in der alle Gewichte vom Ausgang bis einschließlich ``layer`` neu gewürfelt sind.

    Neue Werte haben dieselbe Streuung wie die alten: So bleibt die Größenordnung der Aktivierungen erhalten. Verfahren:
    Adebayo et al. (2018), Sanity Checks for Saliency Maps, arXiv 1810.03292 (cascading randomization).

    Raises:
        CourseError: wenn es die Schicht nicht gibt.
    """
    names = [each.name for each in model.layers]
    if layer not in names:
        raise CourseError(f"Die Schicht „{layer}“ gibt es nicht: Wählen Sie eine aus {', '.join(names[1:])}.")
    rng = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for each in copy.layers[names.index(layer) :]:
        each.set_weights([rng.normal(0, value.std(), value.shape) for value in each.get_weights()])
    return copy


# --- Was da ist und passt, nehmen; sonst neu machen ------------------------------------------------------------------


def ensure_data(profile: Profile, where="beispiel", seed: int = 0) -> Dataset:
    """Die Bilder aus ``ausgabe/daten``; fehlen sie oder verlangt das Profil andere Mengen, werden sie erzeugt.

    Neu gezogen wird aus derselben Quelle wie beim letzten Mal, sonst aus ``where``. Hat sie weniger Bilder, als das
    Profil verlangt, sind alle genug.
    """
    folder = output_dir() / "daten"
    note = read_json(folder / PROVENANCE, remedy=REWRITE_DATA)
    if note is None:
        print(f"In {display_path(folder)} liegen noch keine Bilder: Ich erzeuge sie jetzt (sonst macht das 01_Daten).")
        generate(where, n_train=profile.n_train, n_test=profile.n_test, seed=seed)
        return read_tree(folder)
    dataset = read_tree(folder)
    stored = {"n_train": len(dataset.train_labels), "n_test": len(dataset.test_labels)}
    available = as_dict(note.get("vorhanden"))
    wanted = {part: min(getattr(profile, part) or math.inf, available.get(part, math.inf)) for part in stored}
    wanted = {part: stored[part] if count == math.inf else count for part, count in wanted.items()}
    if wanted == stored:
        return dataset
    print(
        f"In {display_path(folder)} liegen {german(stored['n_train'])} Bilder zum Training und "
        f"{german(stored['n_test'])} zum Testen, das Profil „{profile.name}“ braucht andere: Ich ziehe sie neu."
    )
    generate(note.get("woher", where), seed=seed, **wanted)
    return read_tree(folder)


def ensure_poisoned(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Watermark]:
    """Der vergiftete Zwilling aus ``ausgabe/daten_vergiftet``; fehlt er, entsteht er aus ``dataset``.

    Passt er nicht zu ``dataset``, gilt nur sein Wasserzeichen.
    """
    folder = output_dir() / "daten_vergiftet"
    note = read_json(folder / PROVENANCE, remedy=REWRITE_DATA)
    if note is None:
        watermark = Watermark()
        return poison(dataset, watermark, seed), watermark
    try:
        watermark = Watermark(**note["wasserzeichen"])
    except (TypeError, KeyError):
        raise CourseError(f"In {display_path(folder / PROVENANCE)} steht kein Wasserzeichen: {REWRITE_DATA}.") from None
    twin = read_tree(folder)
    if all(np.array_equal(getattr(twin, part), getattr(dataset, part)) for part in ("train_labels", "test_labels")):
        return twin, watermark
    print(f"Der Zwilling in {display_path(folder)} passt nicht zu diesen Bildern: Ich zeichne sie jetzt selbst.")
    return poison(dataset, watermark, seed), watermark


def ensure_run(name: str, profile: Profile, dataset: Dataset, seed: int = 0) -> Run:
    """Das gespeicherte Training ``name``; fehlt es oder passt es nicht, wird mit ``profile`` trainiert und das gesagt.

    Es passt, wenn Profil und Bildgröße gleich sind und es mit genau diesen Bildern trainiert wurde.

    Args:
        name: ``COURSE`` (das mitgelieferte Kursmodell), ``CLEAN`` oder ``POISONED`` (die eigenen aus 03_Training).
            Rechnet ``profile`` mit einer anderen Bildgröße als das Kursmodell, tritt ``CLEAN`` an dessen Stelle: Alle
            Modelle eines Laufs sehen gleich große Bilder.

    Raises:
        CourseError: bei einem anderen Namen.
    """
    if name not in (COURSE, CLEAN, POISONED):
        raise CourseError(f"Das Modell „{name}“ gibt es nicht: Wählen Sie „{COURSE}“, „{CLEAN}“ oder „{POISONED}“.")
    if name == COURSE:
        course, size = load_course_model(), profile.image_size
        if course.settings["image_size"] == size:
            return course
        print(f"Das Kursmodell passt nicht zu Bildern von {size} × {size} Pixeln: Ich nehme Ihr Modell „{CLEAN}“.")
        name = CLEAN
    run = load_run(name)
    if run is None:
        print(f"Es gibt noch kein Modell „{name}“: Ich trainiere jetzt eines (sonst macht das 03_Training).")
    elif other := _misfit(run.settings, profile, dataset):
        print(f"Ihr Modell „{name}“ {other}: Ich trainiere jetzt ein neues (sonst macht das 03_Training).")
    else:
        return run
    epochs = profile.twin_epochs if name == POISONED else profile.epochs
    run = train(dataset.train_images, dataset.train_labels, profile, seed, epochs, note={"daten": dataset.source})
    save_run(name, run)
    return run


def _misfit(settings: dict, profile: Profile, dataset: Dataset) -> str:
    """Warum ein gespeichertes Training nicht zu dem passt, was verlangt ist; leer, wenn es passt."""
    if settings.get("image_size") != profile.image_size:
        return f"sieht Bilder von {settings['image_size']} statt {profile.image_size} Pixeln"
    if settings.get("name") != profile.name:
        return f"gehört nicht zum Profil „{profile.name}“"
    known = as_dict(settings.get("herkunft")).get("daten_sha256")
    return "" if known == training_checksum(dataset.train_images, dataset.train_labels) else "kennt andere Bilder"


def example_rows(evaluation: Evaluation) -> np.ndarray:
    """Je Klasse das erste richtig erkannte Testbild (sonst das erste der Klasse): Indizes, (10,)."""
    rows = []
    for label in range(len(CLASS_NAMES)):
        members = np.flatnonzero(evaluation.labels == label)
        right = members[evaluation.predictions[members] == label]
        rows.append((right if len(right) else members)[0])
    return np.array(rows)
