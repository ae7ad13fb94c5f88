"""Training: der feste Stamm von VGG16 rechnet einmal Merkmale aus, oder das ganze Netz lernt, erst klein, dann groß.

Wie ``helpers.model`` spricht das Modul nur Keras 3 und läuft mit TensorFlow, JAX und PyTorch.
"""

import functools
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from helpers.basics import (
    CLASS_NAMES,
    CourseError,
    atomic_file,
    display_path,
    german,
    is_number,
    output_dir,
    progress,
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
from helpers.devices import fast_bfloat16, has_gpu, own_share, parallel
from helpers.features import extract_features
from helpers.model import (
    Preprocess,
    Run,
    build_vgg16,
    keras,
    load_run,
    predict_logits,
    save_run,
    softmax,
    split_model,
)
from helpers.provenance import provenance
from helpers.settings import PROFILES, Profile, get_profile  # noqa: F401 (Notebooks lesen sie hier)

COURSE, CLEAN, POISONED = "kurs", "sauber", "vergiftet"
MAX_SHIFT = 1
MAX_WARMUP = 500


# --- Stapel ---------------------------------------------------------------------------------------------------------


class Batches(keras.utils.PyDataset):
    """Eingaben und Klassen einer Epoche, stapelweise und gemischt.

    Was in einem Stapel steht, hängt nur von Startwert, Epoche und Stapelnummer ab: So lernt ein unterbrochenes Training
    nach der Pause dasselbe wie eines ohne, und jedes Backend sieht dieselben Bilder. Lernen mehrere Maschinen
    gemeinsam, bekommt jede ihren Teil jedes Stapels.

    Args:
        inputs: Bilder (uint8, (n, 28, 28)) oder Merkmale (float32, (n, h, b, Kanäle)).
        labels: Klassen (n,).
        batch_size: Zahl der Eingaben je Stapel; ein unvollständiger letzter Stapel entfällt, außer es gibt nur ihn.
        seed: Startwert.
        augment: Bilder zufällig spiegeln und um bis zu ``MAX_SHIFT`` Pixel verschieben. Ein Schuh, der nach links
            zeigt, bleibt ein Schuh; auf den Kopf gestellt wird nichts, denn so liegt kein Kleidungsstück im Datensatz.
        epoch: Nummer der Epoche.
    """

    def __init__(self, inputs, labels, batch_size: int, seed: int = 0, augment: bool = False, epoch: int = 0):
        super().__init__()
        self._inputs, self._labels, self._batch_size = inputs, np.asarray(labels, dtype=np.int32), batch_size
        self._seed, self._augment, self._epoch = seed, augment, epoch
        self._order = np.random.default_rng((seed, epoch)).permutation(len(self._labels))

    def __len__(self):
        return max(1, len(self._labels) // self._batch_size)

    def __getitem__(self, index):
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        inputs = self._inputs[rows]
        if self._augment:
            inputs = mirror_and_shift(inputs, np.random.default_rng((self._seed, self._epoch, index)))
        process, processes = own_share()
        share = slice(process * len(rows) // processes, (process + 1) * len(rows) // processes)
        return inputs[share], self._labels[rows][share]


def mirror_and_shift(images, rng: np.random.Generator) -> np.ndarray:
    """Spiegelt jedes zweite Bild (n, h, b) und verschiebt jedes um bis zu ``MAX_SHIFT`` Pixel auf Schwarz."""
    count, height, width = images.shape
    mirrored = rng.random(count) < 0.5
    images = np.where(mirrored[:, None, None], images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)))
    down, right = rng.integers(0, 2 * MAX_SHIFT + 1, size=(2, count, 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


# --- Beobachten, sichern, steuern -----------------------------------------------------------------------------------


class EpochReport(keras.callbacks.Callback):
    """Ein Balken je Epoche im Terminal und überall eine deutsche Zeile mit Verlust, Trefferquote und Sekunden.

    Args:
        history: Verlauf, an den jede Epoche eine Zeile anhängt.
        total: Zahl der Epochen.
    """

    def __init__(self, history: list[dict], total: int):
        super().__init__()
        self._history, self._total = history, total

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()
        steps = self.params.get("steps")
        self._bar = progress(total=steps, text=f"Epoche {len(self._history) + 1}", unit="Schritte", leave=False)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.close()
        row = {
            "epoche": len(self._history) + 1,
            "verlust": float(logs["loss"]),
            "treffer": float(logs["accuracy"]),
            "val_verlust": float(logs["val_loss"]),
            "val_treffer": float(logs["val_accuracy"]),
            "sekunden": round(time.perf_counter() - self._start, 1),
        }
        self._history.append(row)
        print(
            f"Epoche {row['epoche']} von {self._total}: Verlust {german(row['verlust'])}, "
            f"Trefferquote {german(row['treffer'])}, Validierung {german(row['val_treffer'])} "
            f"({german(row['sekunden'], 1)} s)",
            flush=True,
        )


class Checkpoint(keras.callbacks.Callback):
    """Sichert nach jeder Epoche den ganzen Stand; ein unterbrochenes Training setzt dort fort.

    Die Datei enthält nur Zahlen und JSON, wird ganz oder gar nicht geschrieben und am Ende des Trainings gelöscht.

    Args:
        key: woran man dasselbe Training wiedererkennt (Daten, Einstellungen, Startwert).
        history: Verlauf; ``resume`` füllt ihn, ``EpochReport`` schreibt ihn weiter.
        total: Zahl der Epochen.
        patience: so viele Epochen ohne bessere Validierung, dann ist Schluss; None: nie.

    Attributes:
        best: Nummer und Gewichte der Epoche mit der besten Validierung; None ohne ``patience``.
    """

    def __init__(self, key: str, history: list[dict], total: int, patience: int | None = None):
        super().__init__()
        self.path = output_dir() / "modelle" / "zwischenstand" / f"{key}.npz"
        self.best: tuple[int, list] | None = None
        self._history, self._total, self._patience = history, total, patience

    def resume(self, learner: keras.Model) -> int:
        """Setzt Netz, Optimierer und Verlauf auf den gesicherten Stand; ergibt die Zahl der fertigen Epochen."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = json.loads(str(file["stand"]))
                weights, optimizer, best = (
                    [file[f"{name}{i}"] for i in range(count)] for name, count in state["anzahl"].items()
                )
                self._check(learner, weights, optimizer, best, state)
        except FileNotFoundError:
            return 0
        except Exception:  # was auch immer in der Datei steht: Sie hilft nicht, und sie schadet nicht
            print(f"Der Zwischenstand {display_path(self.path)} ist nicht brauchbar: Das Training beginnt von vorn.")
            return 0
        print(f"Unterbrochenes Training gefunden: Es geht nach Epoche {len(state['verlauf'])} weiter.")
        learner.set_weights(weights)
        for variable, value in zip(learner.optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        self._history[:] = state["verlauf"]
        self.best = (state["beste_epoche"], best) if best else None
        return state["epochen"]

    def _check(self, learner: keras.Model, weights, optimizer, best, state: dict) -> None:
        """Wirft, wenn der gesicherte Stand nicht zu diesem Netz passt; erst danach wird etwas übernommen."""
        known = learner.get_weights()
        for new, old in ((weights, known), (optimizer, learner.optimizer.variables), (best or known, known)):
            if [tuple(value.shape) for value in new] != [tuple(value.shape) for value in old]:
                raise ValueError("andere Form")
        if not all(np.isfinite(value).all() for value in (*weights, *best)):
            raise ValueError("keine endlichen Zahlen")
        keys = {"epoche", "verlust", "treffer", "val_verlust", "val_treffer", "sekunden"}
        history = state["verlauf"]
        if not all(set(row) == keys and all(map(is_number, row.values())) for row in history):
            raise ValueError("fremder Verlauf")
        if (
            not 1 <= len(history) <= state["epochen"] <= self._total
            or best
            and state["beste_epoche"] not in range(1, len(history) + 1)
        ):
            raise ValueError("fremde Epochen")

    def on_epoch_end(self, epoch, logs=None):
        if self._patience is not None:
            best_row = max(self._history, key=lambda row: row["val_treffer"])
            if best_row is self._history[-1]:
                self.best = (best_row["epoche"], self.model.get_weights())
            if self._history[-1]["epoche"] - best_row["epoche"] >= self._patience:
                self.model.stop_training = True
        self._save()

    def _save(self) -> None:
        lists = {
            "gewichte": self.model.get_weights(),
            "optimierer": [keras.ops.convert_to_numpy(value) for value in self.model.optimizer.variables],
            "beste": self.best[1] if self.best else [],
        }
        state = {
            # Ein vorzeitiges Ende bleibt auch nach einer Unterbrechung eines.
            "epochen": self._total if self.model.stop_training else len(self._history),
            "verlauf": self._history,
            "beste_epoche": self.best[0] if self.best else None,
            "anzahl": {name: len(values) for name, values in lists.items()},
        }
        arrays = {f"{name}{i}": value for name, values in lists.items() for i, value in enumerate(values)}
        with atomic_file(self.path) as temporary:
            np.savez(temporary, stand=np.array(json.dumps(state)), **arrays)


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Schrittweite: aufwärmen, dabei und danach ein Kosinusbogen auf null.

    Das Aufwärmen hält die ImageNet-Gewichte anfangs heil, während der Kopf noch nichts weiß.

    Args:
        peak: höchste Schrittweite.
        warmup: Schritte, in denen sie anfangs steigt.
        total: Schritte im ganzen Training.
    """

    def __init__(self, peak: float, warmup: int, total: int):
        super().__init__()
        self._config = {"peak": peak, "warmup": warmup, "total": total}

    def __call__(self, step):
        peak, warmup, total = self._config.values()
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum(1.0, (step + 1.0) / warmup)
        return peak * rise * 0.5 * (1.0 + keras.ops.cos(np.pi * keras.ops.minimum(1.0, step / total)))

    def get_config(self):
        return self._config


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
    model = build_vgg16(profile.image_size, weights, seed)
    # Der Kopf beginnt bei null, also mit gleicher Wahrscheinlichkeit für alle Klassen: Zufällige Anfangsfehler würden
    # die ImageNet-Gewichte darunter beschädigen (gemessen: 1 Prozentpunkt weniger im Test).
    head = model.get_layer("logits")
    head.set_weights([np.zeros_like(weight) for weight in head.get_weights()])
    settings = {**asdict(profile), "seed": seed, "gewichte": weights, **(note or {}), "n_train": len(labels)}
    train_rows, validation_rows = validation_split(labels, seed=seed)
    labels = np.asarray(labels, dtype=np.int32)
    history: list[dict] = []
    checkpoint = Checkpoint(_training_key(images, labels, settings), history, profile.epochs, profile.patience)
    stem, rest = (None, None) if profile.augment else split_model(model, profile.frozen_until)
    inputs = images if stem is None else extract_features(stem, images, weights)
    with scope():
        learner = _learner(model, rest, profile)
        batches = functools.partial(
            Batches, inputs[train_rows], labels[train_rows], profile.batch_size, seed, profile.augment
        )
        _compile(learner, profile, len(batches()))
        begun = checkpoint.resume(learner)
        callbacks = [EpochReport(history, profile.epochs), checkpoint]
        # Ein Aufruf von fit je Epoche: Keras holt sonst die ersten Stapel der nächsten Epoche vor deren Beginn.
        for epoch in range(begun, profile.epochs):
            learner.fit(
                batches(epoch=epoch),
                epochs=epoch + 1,
                initial_epoch=epoch,
                validation_data=(inputs[validation_rows], labels[validation_rows]),
                validation_batch_size=256,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
            if learner.stop_training:
                break
        if checkpoint.best:
            settings["beste_epoche"], best = checkpoint.best
            learner.set_weights(best)
    (rest or model).set_weights(learner.get_weights())
    checkpoint.path.unlink(missing_ok=True)
    settings["herkunft"] = provenance(seed, profile.name, training_checksum(images, labels))
    return Run(model, history, settings)


def _training_key(images, labels, settings: dict) -> str:
    """Kurze Prüfsumme über Daten und Einstellungen."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    key.update(np.ascontiguousarray(images))
    key.update(np.ascontiguousarray(labels))
    return key.hexdigest()[:16]


def _learner(model: keras.Model, rest: keras.Model | None, profile: Profile) -> keras.Model:
    """Was lernt: der Rest hinter dem gemerkten Stamm oder, ohne ``rest``, das Netz von der Graustufe an."""
    if rest is None:
        return full_learner(model, profile)
    if profile.devices == 1:
        return rest
    learner = keras.models.clone_model(rest)  # seine Variablen müssen auf allen Geräten entstehen
    learner.set_weights(rest.get_weights())
    return learner


def full_learner(model: keras.Model, profile: Profile) -> keras.Model:
    """Das ganze Netz mit den Gewichten von ``model`` und roher Eingabe (uint8); der Stamm darin lernt nicht mit.

    Vergrößert und vorverarbeitet wird im Netz, also auf der Rechenkarte. Gerechnet wird mit der Genauigkeit „auto“ in
    bfloat16, wo die Maschine das schneller kann; die Gewichte selbst bleiben float32.
    """
    policy = keras.config.dtype_policy()
    mixed = profile.precision == "bfloat16" or (profile.precision == "auto" and fast_bfloat16())
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        net = build_vgg16(profile.image_size, None)
        inputs = keras.Input((28, 28), dtype="uint8", name="graustufen")
        x = net(Preprocess(profile.image_size, dtype="float32")(inputs))
        outputs = keras.layers.Activation("linear", dtype="float32")(x)
    finally:
        keras.config.set_dtype_policy(policy)
    net.set_weights(model.get_weights())
    names = [layer.name for layer in net.layers]
    for layer in net.layers[: names.index(profile.frozen_until) + 1 if profile.frozen_until else 0]:
        layer.trainable = False
    return keras.Model(inputs, outputs, name="lernendes_netz")


def _compile(learner: keras.Model, profile: Profile, steps: int) -> None:
    """Verlust, Optimierer und Schrittweiten für ``profile.epochs`` Epochen zu ``steps`` Schritten."""
    total = profile.epochs * steps
    schedule = WarmupCosine(profile.learning_rate, warmup=min(MAX_WARMUP, max(1, total // 6)), total=total)
    learner.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=profile.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA übersetzt Faltungen für CPUs schlechter als oneDNN; auf GPUs und mit JAX lohnt es sich.
        jit_compile="auto" if has_gpu() or keras.backend.backend() == "jax" else False,
    )
    learner.optimizer.build(learner.trainable_variables)


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


def logits_of(run: Run, images) -> np.ndarray:
    """Logits (n, 10) eines gespeicherten Trainings; die Merkmale kommen aus dem Zwischenspeicher.

    Haben sauberes Modell und Zwilling denselben Stamm, teilen sie sich auch die Merkmale gleicher Bilder.
    """
    stem, head = split_model(run.model)
    features = extract_features(stem, images, run.settings.get("gewichte", ""))
    return head.predict(features, batch_size=256, verbose=0)


def evaluate(run: Run, images, labels) -> Evaluation:
    """Sagt jedes Bild voraus (uint8, (n, 28, 28)) und stellt die Antworten den Klassen (n,) gegenüber."""
    return _evaluation(logits_of(run, images), labels)


def evaluate_model(model: keras.Model, images, labels) -> Evaluation:
    """Wie ``evaluate`` ohne Zwischenspeicher: auch für sehr viele Bilder."""
    return _evaluation(predict_logits(model, images), labels)


def _evaluation(logits, labels) -> Evaluation:
    probabilities = softmax(logits)
    return Evaluation(probabilities, np.asarray(labels, dtype=int), probabilities.argmax(axis=1))


def predict(run: Run, images) -> np.ndarray:
    """Vorhergesagte Klassen (n,) zu Graustufenbildern (uint8, (n, 28, 28))."""
    return logits_of(run, images).argmax(axis=1)


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


# --- Was da ist, nehmen; was fehlt, machen --------------------------------------------------------------------------


def ensure_data(profile: Profile, where="beispiel", seed: int = 0) -> Dataset:
    """Die Bilder aus ``ausgabe/daten``; fehlen sie, werden sie erzeugt, und das steht in der Ausgabe."""
    folder = output_dir() / "daten"
    if read_json(folder / PROVENANCE, remedy=REWRITE_DATA) is None:
        print(f"In {display_path(folder)} liegen noch keine Bilder: Ich erzeuge sie jetzt (sonst macht das 01_Daten).")
        generate(where, n_train=profile.n_train, n_test=profile.n_test, seed=seed)
    return read_tree(folder)


def ensure_poisoned(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Watermark]:
    """Der vergiftete Zwilling aus ``ausgabe/daten_vergiftet``; fehlt er, entsteht er aus ``dataset``."""
    folder = output_dir() / "daten_vergiftet"
    note = read_json(folder / PROVENANCE, remedy=REWRITE_DATA)
    if note is None:
        watermark = Watermark()
        return poison(dataset, watermark, seed), watermark
    try:
        watermark = Watermark(**note["wasserzeichen"])
    except (TypeError, KeyError):
        raise CourseError(f"In {display_path(folder / PROVENANCE)} steht kein Wasserzeichen: {REWRITE_DATA}.") from None
    return read_tree(folder), watermark


def ensure_run(name: str, profile: Profile, dataset: Dataset, seed: int = 0) -> Run:
    """Das gespeicherte Training ``name``; gibt es keines, wird mit ``profile`` trainiert und das gesagt.

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
        epochs = profile.twin_epochs if name == POISONED else profile.epochs
        run = train(dataset.train_images, dataset.train_labels, profile, seed, epochs, note={"daten": dataset.source})
        save_run(name, run)
    return run


def example_rows(evaluation: Evaluation) -> np.ndarray:
    """Je Klasse das erste richtig erkannte Testbild (sonst das erste der Klasse): Indizes, (10,)."""
    rows = []
    for label in range(len(CLASS_NAMES)):
        members = np.flatnonzero(evaluation.labels == label)
        right = members[evaluation.predictions[members] == label]
        rows.append((right if len(right) else members)[0])
    return np.array(rows)
