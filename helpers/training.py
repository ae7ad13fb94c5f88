"""Training in zwei Schritten: Der feste Stamm von VGG16 rechnet einmal Merkmale aus, trainiert wird der Rest darauf.

Wie ``helpers.model`` spricht das Modul nur Keras 3 und läuft mit TensorFlow, JAX und PyTorch.
"""

import hashlib
import time
from dataclasses import asdict, dataclass

import numpy as np

from helpers.basics import (
    CLASS_NAMES,
    CourseError,
    atomic_file,
    display_path,
    german,
    output_dir,
    progress,
    read_json,
    record,
    write_json,
)
from helpers.data import (
    PROVENANCE,
    Dataset,
    Watermark,
    generate,
    poison,
    read_tree,
    validation_split,
)
from helpers.model import Run, build_vgg16, keras, load_run, predict_logits, preprocess, save_run, softmax, split_model
from helpers.settings import PROFILES, Profile, get_profile  # noqa: F401 (Notebooks lesen sie hier)

CLEAN, POISONED = "sauber", "vergiftet"


# --- Merkmale -------------------------------------------------------------------------------------------------------


def extract_features(stem: keras.Model, images, weights_key: str = "", batch_size: int = 64) -> np.ndarray:
    """Rechnet den festen Stamm für jedes Bild genau einmal und merkt sich die Merkmale auf der Platte.

    Der Zwischenspeicher liegt in ``ausgabe/merkmale``, geordnet nach Stamm, Gewichten und Bildgröße, und erkennt jedes
    Bild an seiner Prüfsumme: Vom vergifteten Zwilling werden deshalb nur die gezeichneten Bilder neu gerechnet. Eine
    unterbrochene Rechnung hinterlässt nichts Halbes, beschädigte Dateien werden übergangen.

    Args:
        stem: Stamm aus ``split_model``.
        images: uint8, (n, 28, 28).
        weights_key: woran man die Gewichte des Stamms erkennt.
        batch_size: Bilder je Rechenschritt.

    Returns:
        float32, (n, h, b, Kanäle).
    """
    key = hashlib.sha256(f"{weights_key}|{stem.input.shape}|{stem.layers[-1].name}".encode())
    for weight in stem.get_weights():
        key.update(np.ascontiguousarray(weight))
    folder = output_dir() / "merkmale" / key.hexdigest()[:12]
    names = [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in images]
    known = _cached_features(folder, set(names))
    rows = {name: row for row, name in enumerate(names) if name not in known}
    missing = list(rows.values())
    features = np.empty((len(images), *stem.output.shape[1:]), dtype=np.float32)
    for start in progress(range(0, len(missing), batch_size), text="Merkmale", unit="Stapel"):
        part = missing[start : start + batch_size]
        batch = preprocess(images[part], stem.input.shape[1])
        features[part] = keras.ops.convert_to_numpy(stem.predict_on_batch(batch))
    if missing:
        _store_features(folder, list(rows), features[missing])
    for row, name in enumerate(names):
        if name in known:
            chunk, position = known[name]
            features[row] = chunk[position]
        elif rows[name] != row:
            features[row] = features[rows[name]]
    return features


def _cached_features(folder, wanted: set[str]) -> dict:
    """Bildprüfsumme → (Feld auf der Platte, Zeile) für alle gewünschten Bilder, die schon gerechnet sind."""
    known = {}
    for path in sorted(folder.glob("*.npy")):
        names = read_json(path.with_suffix(".json"), [])
        try:
            chunk = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            continue
        if len(chunk) == len(names):
            known |= {name: (chunk, row) for row, name in enumerate(names) if name in wanted}
    return known


def _store_features(folder, names: list[str], features: np.ndarray) -> None:
    path = folder / f"{hashlib.sha256(''.join(names).encode()).hexdigest()[:12]}.npy"
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.save(file, features)
    write_json(path.with_suffix(".json"), names)


class ImageBatches(keras.utils.PyDataset):
    """Vorverarbeitete Bilder stapelweise, für das Training des ganzen Netzes.

    Jedes zweite Bild kommt gespiegelt: Ein Schuh, der nach links zeigt, bleibt ein Schuh. Auf den Kopf gestellt wird
    nichts, denn so liegt kein Kleidungsstück im Datensatz.
    """

    def __init__(self, images, labels, size: int, batch_size: int, augment: bool, seed: int = 0):
        super().__init__()
        self._images, self._labels, self._size, self._batch_size = images, labels, size, batch_size
        self._augment = augment
        self._rng = np.random.default_rng(seed)
        self._order = np.arange(len(images))
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index):
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        images = self._images[rows]
        if self._augment:
            mirrored = self._rng.random(len(rows)) < 0.5
            images = np.where(mirrored[:, None, None], images[:, :, ::-1], images)
        return preprocess(images, self._size), self._labels[rows]

    def on_epoch_end(self):
        if self._augment:
            self._rng.shuffle(self._order)


# --- Training -------------------------------------------------------------------------------------------------------


class EpochReport(keras.callbacks.Callback):
    """Ein Balken je Epoche im Terminal und überall eine deutsche Zeile mit Verlust, Trefferquote und Sekunden."""

    def __init__(self, epochs: int):
        super().__init__()
        self.history = []
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()
        steps = self.params.get("steps")
        self._bar = progress(total=steps, text=f"Epoche {epoch + 1}", unit="Schritte", leave=False)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.close()
        row = {
            "epoche": epoch + 1,
            "verlust": float(logs["loss"]),
            "treffer": float(logs["accuracy"]),
            "val_verlust": float(logs["val_loss"]),
            "val_treffer": float(logs["val_accuracy"]),
            "sekunden": round(time.perf_counter() - self._start, 1),
        }
        self.history.append(row)
        print(
            f"Epoche {epoch + 1} von {self._epochs}: Verlust {german(row['verlust'])}, "
            f"Trefferquote {german(row['treffer'])}, Validierung {german(row['val_treffer'])} "
            f"({german(row['sekunden'], 1)} s)",
            flush=True,
        )


def _schedule(peak: float, steps: int):
    """Ein Sechstel der Schritte aufwärmen, dann im Kosinus auf null: so bleiben die ImageNet-Gewichte anfangs heil."""
    warmup = max(1, steps // 6)
    return keras.optimizers.schedules.CosineDecay(
        peak / 30, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )


def train(
    images, labels, profile: Profile, seed: int = 0, epochs: int | None = None, weights: str = "beiliegend", note=None
) -> Run:
    """Feinabstimmung von VGG16 auf Bildern und Klassen.

    Ein Zehntel der Bilder wird geschichtet zur Validierung abgetrennt. Testbilder kommen hier nicht vor.

    Args:
        images: uint8, (n, 28, 28).
        labels: uint8, (n,), Werte 0–9.
        profile: Einstellungen.
        seed: Startwert für neue Gewichte, Teilung und Reihenfolge.
        epochs: ersetzt ``profile.epochs``.
        weights: wie in ``build_vgg16``.
        note: weitere Angaben für die gespeicherten Einstellungen.

    Returns:
        Modell, Verlauf und Einstellungen.
    """
    epochs = epochs or profile.epochs
    model = build_vgg16(profile.image_size, weights, seed)
    # Der Kopf beginnt bei null, also mit gleicher Wahrscheinlichkeit für alle Klassen: Zufällige Anfangsfehler würden
    # die ImageNet-Gewichte darunter beschädigen (gemessen: 1 Prozentpunkt weniger im Test).
    logits = model.get_layer("logits")
    logits.set_weights([np.zeros_like(weight) for weight in logits.get_weights()])
    stem, head = split_model(model, profile.frozen_until)
    train_rows, validation_rows = validation_split(labels, seed=seed)
    report = EpochReport(epochs)
    steps = epochs * -(-len(train_rows) // profile.batch_size)
    head.compile(
        optimizer=keras.optimizers.Adam(_schedule(profile.learning_rate, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    options = {"epochs": epochs, "callbacks": [report], "verbose": 0}
    if stem is None:
        size, batch = profile.image_size, profile.batch_size
        batches = ImageBatches(images[train_rows], labels[train_rows], size, batch, augment=True, seed=seed)
        validation = ImageBatches(images[validation_rows], labels[validation_rows], size, batch, augment=False)
        head.fit(batches, validation_data=validation, **options)
    else:
        features = extract_features(stem, images, weights)
        head.fit(
            features[train_rows],
            labels[train_rows],
            batch_size=profile.batch_size,
            validation_data=(features[validation_rows], labels[validation_rows]),
            **options,
        )
    settings = {**asdict(profile), "epochs": epochs, "seed": seed, "gewichte": weights, **(note or {})}
    settings["n_train"] = len(labels)
    return Run(model, report.history, settings)


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
    """Logits (n, 10) eines gespeicherten Trainings; der feste Stamm kommt aus dem Zwischenspeicher der Merkmale.

    Sauberes Modell und Zwilling teilen sich den Stamm, also auch die Merkmale gleicher Bilder.
    """
    stem, head = split_model(run.model, run.settings["frozen_until"])
    if stem is None:
        return predict_logits(run.model, images)
    features = extract_features(stem, images, run.settings["gewichte"])
    return head.predict(features, batch_size=256, verbose=0)


def evaluate(run: Run, images, labels) -> Evaluation:
    """Sagt jedes Bild voraus (uint8, (n, 28, 28)) und stellt die Antworten den Klassen (n,) gegenüber."""
    probabilities = softmax(logits_of(run, images))
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
    if read_json(folder / PROVENANCE) is None:
        print(f"In {display_path(folder)} liegen noch keine Bilder: Ich erzeuge sie jetzt (sonst macht das 01_Daten).")
        generate(where, n_train=profile.n_train, n_test=profile.n_test, seed=seed)
    return read_tree(folder)


def ensure_poisoned(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Watermark]:
    """Der vergiftete Zwilling aus ``ausgabe/daten_vergiftet``; fehlt er, entsteht er aus ``dataset``."""
    folder = output_dir() / "daten_vergiftet"
    note = read_json(folder / PROVENANCE)
    if note is None or "wasserzeichen" not in note:
        watermark = Watermark()
        return poison(dataset, watermark, seed), watermark
    return read_tree(folder), Watermark(**note["wasserzeichen"])


def ensure_run(name: str, profile: Profile, dataset: Dataset, seed: int = 0) -> Run:
    """Das gespeicherte Training ``name``; gibt es keines, wird mit ``profile`` trainiert und das gesagt."""
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


def run_cnn(profile_name: str, weights: str = "beiliegend", where="auto", seed: int = 0, **changes) -> float:
    """Der ganze Weg des Originals in einem Befehl (``python -m helpers cnn``); ergibt die Trefferquote im Test.

    Daten lesen, VGG16 feinabstimmen, auswerten, dann Rohbild, Grad-CAM und LRP je Klasse nach ``ausgabe/`` schreiben.
    """
    from helpers import plots
    from helpers.explanation import LRP, grad_cam

    profile = get_profile(profile_name, **changes)
    dataset, folder = generate(where, n_train=profile.n_train, n_test=profile.n_test, seed=seed)
    print(f"Daten: {dataset.source}, {german(len(dataset.train_labels))} Bilder zum Training in {display_path(folder)}")
    note = {"daten": dataset.source}
    run = train(dataset.train_images, dataset.train_labels, profile, seed, weights=weights, note=note)
    print(f"Modell gespeichert in {display_path(save_run(CLEAN, run))}")
    result = evaluate(run, dataset.test_images, dataset.test_labels)
    print(plots.confusion_text(result.confusion))
    print("Die sichersten Fehler:")
    for row in result.worst_mistakes(5):
        print(
            f"  Testbild {row}: {CLASS_NAMES[result.labels[row]]} für {CLASS_NAMES[result.predictions[row]]} gehalten "
            f"(Wahrscheinlichkeit {german(result.probabilities[row].max(), 2)})"
        )
    rows = example_rows(result)
    inputs = preprocess(dataset.test_images[rows], profile.image_size)
    with LRP(run.model, "lrp.epsilon") as lrp:
        relevance = lrp.relevance(inputs, result.labels[rows])
    cams = grad_cam(run.model, inputs, result.labels[rows])
    figure = plots.result_page(dataset.test_images[rows], cams, {"LRP-ε": relevance}, result.labels[rows])
    path = plots.save(figure, "ergebnis", "Rohbild, Grad-CAM und LRP", "Je ein Testbild jeder Klasse.", "cnn")
    print(f"Bilder: {display_path(path)}")
    record(
        profil=profile.name,
        n_train=len(dataset.train_labels),
        n_test=len(dataset.test_labels),
        test_accuracy=round(result.accuracy, 4),
        confusion=result.confusion.tolist(),
        history=run.history,
    )
    print(f"Trefferquote im Test: {german(result.accuracy)} ({german(len(result.labels))} Bilder)")
    return result.accuracy
