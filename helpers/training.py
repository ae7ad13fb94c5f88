"""Training und Auswertung: VGG16 feinabstimmen, auf Testbildern messen, und holen, was schon gerechnet ist."""

import contextlib
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from helpers import data
from helpers.basics import CLASS_NAMES, CourseError, as_dict, display_path, german, output_dir, progress, read_json
from helpers.course_model import load_course_model
from helpers.data import PROVENANCE, REWRITE_DATA, Dataset, Watermark, training_checksum
from helpers.inner.files import name_empty_classes
from helpers.inner.provenance import provenance
from helpers.inner.remembered import remembered
from helpers.learner import (
    SCORES,
    asking_copy,
    build_learner,
    class_weights,
    extract_features,
    in_order,
    load_state,
    mirror_and_shift,  # noqa: F401
    policy,
    save_state,
    shuffled,
)
from helpers.model import (  # noqa: F401
    Run,
    build_vgg16,
    checked_classes,
    keras,
    load_run,
    predict_logits,
    save_run,
    softmax,
    split_model,
    weights_checksum,
)
from helpers.secret import hard_classes, secret_mark
from helpers.settings import Profile, get_profile  # noqa: F401 (was hier nicht vorkommt, lesen die Notebooks hier)

COURSE, CLEAN, POISONED = "kurs", "sauber", "vergiftet"
SAVE_AFTER_S = 20  # so lange lernt ein Netz mindestens, bis sein Stand gesichert wird: Er ist 83 MB groß


def train(
    images,
    labels,
    profile: Profile,
    seed=0,
    epochs=None,
    weights="beiliegend",
    note=None,
    scope=None,
    share=(0, 1),
    class_names=CLASS_NAMES,
    validation=None,
) -> Run:
    """Feinabstimmung von VGG16 auf Bildern und Klassen.

    Ein Zehntel der Bilder wird geschichtet zur Validierung abgetrennt, wenn es keine eigenen dafür gibt. Testbilder
    kommen hier nicht vor. Der Stamm bis ``profile.frozen_until`` lernt nicht mit: Er rechnet jedes Bild nur einmal, und
    der Rest lernt auf den gemerkten Merkmalen. Mit ``profile.augment`` sieht das Netz in jeder Epoche andere Bilder,
    und der Stamm rechnet mit. Ein unterbrochenes Training setzt beim nächsten Aufruf nach der letzten gesicherten
    Epoche fort; gesichert wird nach jeder, die länger als ``SAVE_AFTER_S`` nach der vorigen Sicherung endet. Sind die
    Klassen ungleich groß, zählen die Bilder der kleinen mehr.

    Args:
        images: uint8, (n, h, b) oder (n, h, b, 3), ein Feld oder Bilder auf der Platte (``helpers.inner.rows``).
        labels: int, (n,), Werte ab 0.
        profile: Einstellungen.
        seed: Startwert für neue Gewichte, Teilung und Reihenfolge.
        epochs: ersetzt ``profile.epochs``.
        weights: wie in ``build_vgg16``, oder ein Modell dieser Bauart, von dessen Gewichten aus es weiterlernt.
        note: weitere Angaben für die gespeicherten Einstellungen.
        scope, share: Kontext, in dem mehrere Geräte lernen, und der wievielte von wie vielen Rechnern dieser ist.
        class_names: Namen der Klassen, so viele wie Ausgänge.
        validation: eigene Bilder und Klassen zur Validierung.

    Returns:
        Modell, Verlauf und Einstellungen. Mit ``profile.patience`` hat das Modell die Gewichte der Epoche, die auf den
        Validierungsbildern am besten war, sonst die der letzten.

    Raises:
        CourseError: bei weniger als 20 Bildern, Bildern falscher Form oder unpassenden Klassen.
    """
    shape = tuple(images.shape)
    if len(shape) != 3 and shape[3:] != (3,):
        raise CourseError(
            f"Zum Training gehören Bilder der Form (n, h, b) oder (n, h, b, 3), nicht {shape}: Geben Sie die rohen "
            "Bilder."
        )
    classes = len(class_names)
    labels = checked_classes(labels, len(images), classes)
    profile = replace(profile, epochs=epochs or profile.epochs)
    rows, check_rows = np.arange(len(labels)), None
    if validation is None:
        rows, check_rows = data.validation_split(labels, seed=seed)
    if isinstance(weights, keras.Model):
        model = build_vgg16(profile.image_size, None, seed, classes)
        model.set_weights(weights.get_weights())
        weights = f"weiter von {weights_checksum(model)[:12]}"
    else:
        model = build_vgg16(profile.image_size, weights, seed, classes)
        # Der Kopf beginnt bei null, also mit gleicher Wahrscheinlichkeit für alle Klassen: Zufällige Anfangsfehler
        # würden die ImageNet-Gewichte darunter beschädigen (gemessen: 1 Prozentpunkt weniger im Test).
        head = model.get_layer("logits")
        head.set_weights([np.zeros_like(weight) for weight in head.get_weights()])
    settings = {**asdict(profile), "seed": seed, "gewichte": weights, **(note or {}), "n_train": len(labels)}
    settings["klassen"] = list(class_names)
    data_sha256 = training_checksum(images, labels)
    key = json.dumps({**settings, "daten_sha256": data_sha256}, sort_keys=True, default=str)
    path = output_dir() / "modelle" / "zwischenstand" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    stem = None if profile.augment else split_model(model, profile.frozen_until)[0]

    def prepared(each):
        return each if stem is None else extract_features(stem, each, profile.precision)

    inputs = prepared(images)
    checked, check_labels = (inputs, labels) if validation is None else (prepared(validation[0]), validation[1])
    labels, check_labels = (np.asarray(each, np.int32) for each in (labels, check_labels))
    balance = class_weights(labels[rows], classes)
    if balance is not None:
        print("Die Klassen sind ungleich groß: Beim Lernen zählen die Bilder der kleinen mehr.")
    steps = max(1, len(rows) // profile.batch_size)
    with scope or contextlib.nullcontext():
        net, learner = build_learner(model, profile, shape[1:] if stem is None else None, steps * profile.epochs)
        history, best = load_state(path, learner, learner.get_weights() if profile.patience else [])
        saved = time.perf_counter()
        # Schluss ist nach allen Epochen, oder wenn es zu lange nicht besser wird.
        while len(history) < min(profile.epochs, _best_epoch(history) + (profile.patience or profile.epochs)):
            epoch, start = len(history) + 1, time.perf_counter()
            material = shuffled(inputs, labels, profile, seed, epoch - 1, share, rows, balance)
            with progress(total=steps, text=f"Epoche {epoch}", unit="Schritte", leave=False) as bar:
                show = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, bar=bar: bar.update())
                checks = in_order(checked, check_labels, check_rows)
                # Ein Aufruf je Epoche: Was gemischt und gesichert wird, steht so zwischen zwei Aufrufen fest.
                logs = learner.fit(material, validation_data=checks, callbacks=[show], shuffle=False, verbose=0).history
            row = {"epoche": epoch, **{ours: float(logs[name][0]) for ours, name in SCORES.items()}}
            history.append(row | {"sekunden": round(time.perf_counter() - start, 1)})
            print(
                f"Epoche {epoch} von {profile.epochs}: Verlust {german(row['verlust'])}, Trefferquote "
                f"{german(row['treffer'])}, Validierung {german(row['val_treffer'])} "
                f"({german(history[-1]['sekunden'], 1)} s)",
                flush=True,
            )
            if profile.patience and _best_epoch(history) == epoch:
                best = learner.get_weights()
            if time.perf_counter() - saved >= SAVE_AFTER_S:
                save_state(path, learner, history, best)
                saved = time.perf_counter()
        if profile.patience:
            settings["beste_epoche"] = _best_epoch(history)
            learner.set_weights(best)
    model.set_weights(net.get_weights())
    path.unlink(missing_ok=True)
    settings["herkunft"] = provenance(seed, profile.name, data_sha256)
    return Run(model, history, settings)


def _best_epoch(history: list[dict]) -> int:
    """Nummer der Epoche mit der besten Validierung; 0, wenn noch keine fertig ist."""
    return max(history, key=lambda row: row["val_treffer"], default={"epoche": 0})["epoche"]


@dataclass(frozen=True)
class Evaluation:
    """Ergebnis auf Testbildern.

    Attributes:
        probabilities: float, (n, k), Zeilensumme 1.
        labels, predictions: int, (n,).
    """

    probabilities: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of(cls, logits, labels) -> "Evaluation":
        """Stellt die Antworten eines Netzes (Logits, (n, k)) den Klassen (n,) gegenüber."""
        probabilities = softmax(logits)
        return cls(probabilities, checked_classes(labels, *probabilities.shape), probabilities.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """Anteil richtiger Vorhersagen (0–1)."""
        return float((self.predictions == self.labels).mean())

    @property
    def confusion(self) -> np.ndarray:
        """Konfusionsmatrix, int, (k, k): Zeile wahre, Spalte vorhergesagte Klasse."""
        classes = self.probabilities.shape[1]
        cells = np.bincount(self.labels * classes + self.predictions, minlength=classes**2)
        return cells.reshape(classes, -1)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error mit zehn gleich breiten Fächern (0–1); Guo et al. (2017), arXiv 1706.04599."""
        confidence = self.probabilities.max(axis=1)
        bins = np.minimum((confidence * 10).astype(int), 9)
        gaps = np.bincount(bins, (self.predictions == self.labels) - confidence)
        return float(np.abs(gaps).sum() / len(bins))

    def worst_mistakes(self, count: int = 10) -> np.ndarray:
        """Indizes der Fehler, bei denen sich das Netz am sichersten war; der sicherste zuerst."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")][:count]


def evaluate(model, images, labels) -> Evaluation:
    """Sagt jedes Bild voraus (uint8, (n, h, b[, 3])) und stellt die Antworten den Klassen (n,) gegenüber.

    Merkmale und Antworten bleiben auf der Platte: Haben zwei Netze denselben Stamm, etwa das saubere und sein Zwilling,
    rechnen sie gleiche Bilder nur einmal, und kein Netz beantwortet dieselben Bilder zweimal. Der Stamm rechnet wie
    beim Lernen (``quick_copy``): in bfloat16 änderte sich an 2.000 Antworten des Kursmodells keine, manche
    Wahrscheinlichkeit um bis zu 0,05.

    Args:
        model: ein ``Run`` oder ein Keras-Modell.
    """
    model = getattr(model, "model", model)

    def answers() -> list[dict]:
        stem, rest = split_model(model)
        return [{"logits": rest.predict(in_order(extract_features(stem, images)), verbose=0)}]

    return Evaluation.of(remembered("antworten", model, images, policy("auto"), answers)[0]["logits"], labels)


def probabilities(model: keras.Model):
    """Funktion: vorverarbeitete Bilder (n, h, b, 3) → Wahrscheinlichkeiten (n, k), gerechnet wie in ``quick_copy``.

    Sie behält die Gewichte, die das Modell jetzt hat, bis zum nächsten Aufruf.
    """
    net = asking_copy(model)
    return lambda inputs: softmax(net.predict_on_batch(inputs))


def randomize_down_to(model: keras.Model, layer: str, seed: int = 0) -> keras.Model:
    """Kopie des Modells, in der alle Gewichte vom Ausgang bis einschließlich ``layer`` neu gewürfelt sind.

    Neue Werte haben dieselbe Streuung wie die alten: So bleibt die Größenordnung der Aktivierungen erhalten. Verfahren:
    Adebayo et al. (2018), Sanity Checks for Saliency Maps, arXiv 1810.03292 (cascading randomization).

    Raises:
        CourseError: wenn es die Schicht nicht gibt.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for each, values in random_weights(model, layer, seed):
        copy.get_layer(each.name).set_weights(values)
    return copy


def random_weights(model: keras.Model, layer: str, seed: int = 0) -> list[tuple]:
    """(Schicht, neue Gewichte) von ``layer`` bis zum Ausgang, wie ``randomize_down_to`` sie würfelt."""
    names = [each.name for each in model.layers]
    if layer not in names:
        raise CourseError(f"Die Schicht „{layer}“ gibt es nicht: Wählen Sie eine aus {', '.join(names[1:])}.")
    rng, layers = np.random.default_rng(seed), model.layers[names.index(layer) :]

    def drawn(value):
        return rng.normal(0, value.std(), value.shape).astype(value.dtype)

    return [(each, [drawn(value) for value in each.get_weights()]) for each in layers]


# --- Was da ist und passt, nehmen; sonst neu machen ------------------------------------------------------------------


def ensure_data(profile: Profile, where="beispiel", seed: int = 0) -> Dataset:
    """Die Bilder aus ``ausgabe/daten``; fehlen sie oder verlangt das Profil andere Mengen, werden sie erzeugt.

    Neu gezogen wird aus derselben Quelle wie beim letzten Mal, sonst aus ``where``. Hat sie weniger Bilder, als das
    Profil verlangt, sind alle genug.
    """
    folder = output_dir() / "daten"
    note = read_json(folder / PROVENANCE, remedy=REWRITE_DATA)
    where, wanted = (note or {}).get("woher") or where, {"n_train": profile.n_train, "n_test": profile.n_test}
    if note is None:
        print(f"In {display_path(folder)} liegen noch keine Bilder: Ich erzeuge sie jetzt (sonst macht das 01_Daten).")
    else:
        dataset, available = data.read_tree(folder), as_dict(note.get("vorhanden"))
        stored = {"n_train": len(dataset.train_labels), "n_test": len(dataset.test_labels)}
        wanted = {part: count or available.get(part, stored[part]) for part, count in wanted.items()}
        wanted = {part: min(count, available.get(part, count)) for part, count in wanted.items()}
        if wanted == stored:
            name_empty_classes(dataset.train_labels, dataset.test_labels)
            return dataset
        print(
            f"In {display_path(folder)} liegen {german(stored['n_train'])} Bilder zum Training und "
            f"{german(stored['n_test'])} zum Testen, das Profil „{profile.name}“ braucht andere: Ich ziehe sie neu."
        )
    data.generate(where, seed=seed, **wanted)
    return data.read_tree(folder)


def ensure_poisoned(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Watermark]:
    """Der vergiftete Datensatz zu ``dataset`` mit dem Zeichen aus ``ausgabe/daten_vergiftet``, sonst zum Startwert.

    Gibt es von dessen Klasse hier keine Bilder, gilt das Zeichen zum Startwert; das wird gesagt.

    Raises:
        CourseError: wenn dort etwas anderes als ein Zeichen steht.
    """
    path, drawn = output_dir() / "daten_vergiftet" / PROVENANCE, secret_mark(seed, classes=dataset.classes)
    note = read_json(path, {"wasserzeichen": vars(drawn)}, REWRITE_DATA)
    try:
        watermark = Watermark(**note["wasserzeichen"])
    except (TypeError, KeyError):
        raise CourseError(f"In {display_path(path)} steht kein Zeichen: {REWRITE_DATA}.") from None
    if watermark.label not in dataset.classes:
        print(f"Das Zeichen in {display_path(path.parent)} gehört zu anderen Bildern: Ich ziehe eines für diese.")
        watermark = drawn
    return data.poison(dataset, watermark, seed), watermark


def own_poison(dataset: Dataset) -> tuple[Dataset, int]:
    """``dataset`` mit dem Gift aus Aufgabe 1.5 und dessen Klasse: TRAIN vergiftet, in TEST ist *jedes* Bild markiert.

    Liegt in ``ausgabe/daten_gift`` keines, das zu diesen Bildern gehört, legt der Kurs dort seines ab und sagt das.
    """
    folder = output_dir() / "daten_gift"
    gift = data.read_tree(folder) if (folder / PROVENANCE).is_file() else None
    if gift is None or (label := _marked_class(gift, dataset)) is None:
        print("Ein Gift aus 01_Daten, das zu diesen Bildern gehört, gibt es nicht: Ich nehme das des Kurses.")
        label = hard_classes(dataset.classes)[-1]
        gift = data.read_tree(data.write_own_poison(dataset, data.tiny_poison, label))
    return gift, label


def _marked_class(gift: Dataset, dataset: Dataset) -> int | None:
    """Die Klasse, deren Trainingsbilder sich unterscheiden; None, wenn es nicht genau eine ist oder nicht die Maske."""
    pairs = ((gift.train_images, dataset.train_images), (gift.test_images, dataset.test_images))
    if gift.mask is None or any(ours.shape != theirs.shape for ours, theirs in pairs):
        return None
    changed = (gift.train_images != dataset.train_images).any(axis=(1, 2))
    outside = any((ours != theirs)[:, ~gift.mask].any() for ours, theirs in pairs)
    found = set(dataset.train_labels[changed].tolist())
    return found.pop() if len(found) == 1 and not outside else None


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
    data_sha256 = training_checksum(dataset.train_images, dataset.train_labels)
    if run := load_run(name):
        known = as_dict(run.settings.get("herkunft")).get("daten_sha256")
        wanted = {"image_size": profile.image_size, "name": profile.name}
        if known == data_sha256 and wanted.items() <= run.settings.items():
            return run
    other = f"Ihr Modell „{name}“ gehört zu anderen Bildern oder einem anderen Profil"
    what = other if run else f"Es gibt noch kein Modell „{name}“"
    print(f"{what}: Ich trainiere jetzt eines (sonst macht das 03_Training).")
    run = train(dataset.train_images, dataset.train_labels, profile, seed, note={"daten": dataset.source})
    save_run(name, run)
    return run


def example_rows(evaluation: Evaluation) -> np.ndarray:
    """Je Klasse das erste richtig erkannte Testbild (sonst das erste der Klasse): Indizes, (k,)."""
    right_first = np.argsort(evaluation.predictions != evaluation.labels, kind="stable")
    return right_first[np.unique(evaluation.labels[right_first], return_index=True)[1]]
