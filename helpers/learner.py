"""Was lernt und womit: Merkmale, Mischen, Zwischenstand, das lernende Netz; ``training.train`` fügt es zusammen."""

import contextlib
import hashlib
import json
import weakref
from pathlib import Path

import numpy as np

from helpers.basics import atomic_file, display_path, output_dir
from helpers.inner.rows import Rows, joined, open_rows, write_rows
from helpers.model import batch_outputs, checked_weights, enlarge, keras, split_model, weights_checksum
from helpers.settings import Profile

MAX_SHIFT = 1
MAX_WARMUP = 500
SCORES = {"verlust": "loss", "treffer": "accuracy", "val_verlust": "val_loss", "val_treffer": "val_accuracy"}


def extract_features(stem: keras.Model, images, precision: str = "auto") -> Rows:
    """Rechnet den festen Stamm für jedes Bild genau einmal und merkt sich die Merkmale in ``ausgabe/merkmale``.

    Der Zwischenspeicher erkennt den Stamm an seinen Gewichten und jedes Bild an seiner Prüfsumme: Vom vergifteten
    Datensatz werden deshalb nur die markierten Bilder neu gerechnet. Eine unterbrochene Rechnung hinterlässt nichts
    Halbes, eine beschädigte Datei wird übergangen. Im Speicher liegt immer nur ein Stapel.

    Args:
        stem: Stamm aus ``split_model``.
        images: uint8, (n, h, b) oder (n, h, b, 3), ein Feld oder auf der Platte.
        precision: Rechengenauigkeit, siehe ``quick_copy``.

    Returns:
        float32, (n, h, b, Kanäle), auf der Platte (``helpers.inner.rows``).
    """
    shape, computed = stem.output.shape[1:], keras.DTypePolicy(policy(precision)).compute_dtype
    folder = output_dir() / "merkmale"
    prefix = f"{stem.layers[-1].name}_{stem.input.shape[1]}_{computed}_{weights_checksum(stem)[:12]}"
    stored, known = [], {}
    for path in sorted(folder.glob(f"{prefix}_*.npz")):
        with contextlib.suppress(Exception):
            rows, others = open_rows(path, shape, np.float32)
            if others["bilder"].shape == (len(rows),) and all(np.isfinite(rows[part]).all() for part in _parts(rows)):
                known |= {str(name): (len(stored), row) for row, name in enumerate(others["bilder"])}
                stored.append(rows)
    names = [hashlib.sha256(images[row].tobytes()).hexdigest()[:32] for row in range(len(images))]
    new = {}
    for row, name in enumerate(names):
        if name not in known:
            new.setdefault(name, row)
    if new:
        path = folder / f"{prefix}_{hashlib.sha256(''.join(new).encode()).hexdigest()[:12]}.npz"
        features = batch_outputs(quick_copy(stem, precision), images, list(new.values()))
        write_rows(path, len(new), shape, np.float32, features, bilder=lambda: np.array(list(new)))
        known |= {name: (len(stored), row) for row, name in enumerate(new)}
        stored.append(open_rows(path, shape, np.float32)[0])
    starts = np.cumsum([0, *map(len, stored)])
    return joined(stored).take([starts[file] + row for file, row in map(known.get, names)])


def _parts(rows, count: int = 256) -> list[slice]:
    return [slice(start, start + count) for start in range(0, len(rows), count)]


class Batches(keras.utils.PyDataset):
    """Stapel zum Lernen oder Fragen; jeder wird erst geholt, wenn er dran ist.

    Args:
        inputs: Bilder oder Merkmale, (n, …), ein Feld oder auf der Platte.
        labels: Klassen, (n,); None beim Fragen.
        batches: je Stapel die Nummern seiner Bilder.
        weights: Gewicht jeder Klasse, (k,), oder None.
        moves: zu jedem Bild in ``batches``, wie es sich bewegt (siehe ``drawn_moves``), oder None.
    """

    def __init__(self, inputs, labels, batches, weights=None, moves=None):
        super().__init__()
        self.inputs, self.labels, self.batches, self.weights, self.moves = inputs, labels, batches, weights, moves

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple:
        rows = self.batches[number]
        x, start = self.inputs[rows], sum(map(len, self.batches[:number]))
        if self.moves is not None:
            x = moved(x, *(each[start : start + len(rows)] for each in self.moves))
        if self.labels is None:
            return (x,)
        y = self.labels[rows]
        return (x, y) if self.weights is None else (x, y, self.weights[y])


def in_order(inputs, labels=None, rows=None) -> Batches:
    """Alle Eingaben (n, …) oder die mit diesen Nummern, der Reihe nach."""
    rows = np.arange(len(inputs)) if rows is None else rows
    return Batches(inputs, labels, [rows[part] for part in _parts(rows)])


def shuffled(inputs, labels, profile: Profile, seed: int, epoch: int, share=(0, 1), rows=None, weights=None) -> Batches:
    """Eine Epoche, gemischt, in Stapeln zu ``profile.batch_size``; ein unvollständiger letzter entfällt.

    Die Reihenfolge hängt nur von Startwert und Epoche ab: So lernt ein unterbrochenes Training nach der Pause dasselbe
    wie eines ohne, und jedes Backend sieht dieselben Bilder. ``profile.augment`` spiegelt und verschiebt sie.

    Args:
        inputs, labels: Eingaben (n, …) und Klassen (n,).
        share: der wievielte von wie vielen Rechnern; jeder bekommt seinen Teil jedes Stapels.
        rows: Nummern der Bilder, die lernen; ohne Angabe alle.
        weights: Gewicht jeder Klasse, (k,), oder None.
    """
    rng, rows = np.random.default_rng((seed, epoch)), np.arange(len(labels)) if rows is None else rows
    order = rng.permutation(len(rows))[: len(rows) // profile.batch_size * profile.batch_size or None]
    batches = rows[order].reshape(-1, min(profile.batch_size, len(rows)))
    batches = np.array_split(batches, share[1], axis=1)[share[0]]
    moves = drawn_moves(batches.size, inputs.shape[1], rng) if profile.augment else None
    return Batches(inputs, labels, batches, weights, moves)


def class_weights(labels, classes: int) -> np.ndarray | None:
    """Gewicht jeder Klasse (float32, (k,)), mit dem alle zusammen gleich viel zählen; None, wenn sie etwa gleich sind.

    Etwa gleich heißt: Die größte hat höchstens anderthalbmal so viele Bilder wie die kleinste.
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts[counts > 0]
    if present.max() <= 1.5 * present.min():
        return None
    return (len(labels) / len(present) / np.maximum(counts, 1)).astype(np.float32)


def drawn_moves(count: int, edge: int, rng: np.random.Generator) -> tuple:
    """Für jedes Bild: gespiegelt oder nicht, nach unten und nach rechts verschoben (um ``shift`` heißt: gar nicht)."""
    shift = max_shift(edge)
    mirrored = rng.random(count) < 0.5
    return mirrored, *rng.integers(0, 2 * shift + 1, size=(2, count))


def max_shift(edge: int) -> int:
    """So viele Pixel darf ein Bild mit dieser Kantenlänge wandern: bei 28 Pixeln ``MAX_SHIFT``, sonst im Verhältnis."""
    return max(MAX_SHIFT, MAX_SHIFT * edge // 28)


def moved(images, mirrored, down, right) -> np.ndarray:
    """Bilder (n, h, b) oder (n, h, b, 3), gespiegelt und auf Schwarz verschoben, wie ``drawn_moves`` es sagt."""
    count, height, width, *color = images.shape
    shift = max_shift(height)
    images = np.where(mirrored.reshape(-1, *[1] * (images.ndim - 1)), images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), *[(0, 0)] * len(color)))
    rows, columns = down[:, None] + np.arange(height), right[:, None] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def mirror_and_shift(images, rng: np.random.Generator) -> np.ndarray:
    """Spiegelt jedes zweite Bild (n, h, b) und verschiebt jedes um bis zu ``MAX_SHIFT`` Pixel auf Schwarz.

    Ein Schuh, der nach links zeigt, bleibt ein Schuh; auf den Kopf gestellt liegt kein Kleidungsstück im Datensatz.
    """
    return moved(images, *drawn_moves(len(images), images.shape[1], rng))


def save_state(path, learner: keras.Model, history: list[dict], best: list) -> None:
    """Sichert Netz, Optimierer, Verlauf und die besten Gewichte, ganz oder gar nicht; nur Zahlen und JSON."""
    state = [keras.ops.convert_to_numpy(value) for value in (*learner.weights, *learner.optimizer.variables)]
    with atomic_file(path) as temporary:
        np.savez(temporary, *state, *best, verlauf=np.array(json.dumps(history)))


def load_state(path, learner: keras.Model, best: list) -> tuple[list[dict], list]:
    """Gibt ``learner`` den Stand aus ``save_state``; ergibt Verlauf und beste Gewichte (ohne Stand: leer, ``best``)."""
    state = [*learner.weights, *learner.optimizer.variables]
    if not path.exists():
        return [], best
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = json.loads(str(file["verlauf"]))
            values = [file[f"arr_{number}"] for number in range(len(file.files) - 1)]
        values = checked_weights(values, [value.shape for value in (*state, *best)])
        names = (*SCORES, "sekunden")
        history = [{"epoche": n, **{name: float(row[name]) for name in names}} for n, row in enumerate(rows, start=1)]
    except Exception:  # was auch immer in der Datei steht: Sie hilft nicht, und sie schadet nicht
        print(f"Der Zwischenstand {display_path(path)} ist nicht brauchbar: Das Training beginnt von vorn.")
        return [], best
    print(f"Unterbrochenes Training gefunden: Es geht nach Epoche {len(history)} weiter.")
    for variable, value in zip(state, values, strict=False):
        variable.assign(value)
    return history, values[len(state) :]


def step_sizes(peak: float, total: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Die Lernrate in ``total`` Schritten, wie in Aufgabe 3.2: aufwärmen, dann ein Kosinusbogen auf null.

    Das Aufwärmen hält die ImageNet-Gewichte heil, solange der Kopf noch nichts weiß. Warm-up: Goyal et al. (2017),
    arXiv 1706.02677; Kosinus: Loshchilov und Hutter (2017), SGDR, arXiv 1608.03983.
    """
    warmup = min(MAX_WARMUP, max(1, total // 6))
    return keras.optimizers.schedules.CosineDecay(
        peak / warmup, max(1, total - warmup), warmup_target=peak, warmup_steps=warmup
    )


def has_gpu() -> bool:
    """Sieht das Backend eine GPU?"""
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except (RuntimeError, AttributeError):  # JAX meldet so, dass es keine gibt; PyTorch zählt sie nicht
        return False


def fast_bfloat16() -> bool:
    """Rechnet dieses Gerät bfloat16 schneller als float32? Ein Training dauerte so 0,6-mal so lang (AMD Zen 4).

    GPUs tun es, unter den CPUs die mit eigenem Befehl dafür (AVX512-BF16, AMX), und dort nur TensorFlow mit oneDNN.
    """
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(errors="replace") if keras.backend.backend() == "tensorflow" and cpu.is_file() else ""
    return has_gpu() or "avx512_bf16" in flags or "amx_bf16" in flags


def policy(precision: str) -> str:
    """Womit Keras bei dieser Angabe rechnet: „mixed_bfloat16“ oder „float32“."""
    mixed = precision == "bfloat16" or (precision == "auto" and fast_bfloat16())
    return "mixed_bfloat16" if mixed else "float32"


class PatchConv2D(keras.layers.Conv2D):
    """Eine Faltung als ein Matrixprodukt: jeder Ausschnitt eine Zeile, mal alle Filter. Dieselbe Rechnung.

    TensorFlow leitet eine Faltung in bfloat16 nicht mit AMX nach den Filtern ab, ein Matrixprodukt schon: Ein Schritt
    Training von block5 dauerte so halb so lang. Bei größeren Karten kosten die Ausschnitte mehr, als es bringt.
    """

    @staticmethod
    def fits(layer: keras.Layer) -> bool:
        """Ist es eine gewöhnliche Faltung auf höchstens 4 × 4 Feldern, und rechnet TensorFlow auf der CPU?"""
        if keras.backend.backend() != "tensorflow" or has_gpu() or type(layer) is not keras.layers.Conv2D:
            return False
        plain = layer.groups == 1 and layer.use_bias and layer.data_format == "channels_last"
        return plain and None not in layer.input.shape[1:] and np.prod(layer.input.shape[1:3]) <= 16

    def call(self, inputs):
        import tensorflow as tf

        height, width, channels = inputs.shape[1:]
        windows = ([1, *each, 1] for each in (self.kernel_size, self.strides, self.dilation_rate))
        # Welches Feld wo in den Ausschnitten steht, sagen die Nummern der Felder; 0 ist der Rand, dort steht null.
        cells = np.arange(1, height * width + 1).reshape(1, height, width, 1)
        cells = tf.image.extract_patches(cells, *windows, self.padding.upper())[0]
        rows = tf.pad(tf.reshape(inputs, (-1, height * width, channels)), ((0, 0), (1, 0), (0, 0)))
        patches = tf.gather(rows, cells, axis=1)
        filters = keras.ops.reshape(self.kernel, (-1, channels, self.filters))
        return self.activation(keras.ops.tensordot(patches, filters, 2) + self.bias)


def quick_copy(model: keras.Model, precision: str = "auto") -> keras.Model:
    """Ein Modell noch einmal, mit der Rechengenauigkeit „auto“ in bfloat16, wo die Maschine das schneller kann.

    Die Gewichte bleiben float32. Auf einer CPU mit AMX brauchte der Stamm von VGG16 so ein Fünftel der Zeit.
    """

    def copied(layer):
        if not isinstance(layer, keras.Layer):  # eine Rechnung ohne Gewichte und eigene Genauigkeit
            return layer
        kind = PatchConv2D if PatchConv2D.fits(layer) else type(layer)
        return kind.from_config({**layer.get_config(), "dtype": policy(precision)})

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


_asking = weakref.WeakKeyDictionary()


def asking_copy(model: keras.Model) -> keras.Model:
    """``quick_copy`` zum Fragen, je Modell nur einmal gebaut und kompiliert, mit den Gewichten, die es jetzt hat."""
    if model not in _asking:
        _asking[model] = quick_copy(model)
        if hasattr(model, "prepare"):
            _asking[model].prepare = model.prepare
    _asking[model].set_weights(model.get_weights())
    return _asking[model]


def build_learner(
    model: keras.Model, profile: Profile, raw: tuple | None, steps: int
) -> tuple[keras.Model, keras.Model]:
    """Ein Netz mit den Gewichten von ``model`` und, was daran lernt: Die Schichten teilen sich beide.

    Gerechnet wird wie in ``quick_copy``, die Logits sind float32. Der Stamm bis ``profile.frozen_until`` lernt nicht.

    Args:
        raw: Form eines rohen Bilds (uint8), wenn sie die Eingabe sind: Vergrößert und vorverarbeitet wird dann im Netz,
            also auf der Rechenkarte. Bei None sind es die Merkmale des Stamms.
        steps: Zahl der Schritte in allen Epochen zusammen.
    """
    net = quick_copy(model, profile.precision)
    stem, rest = split_model(net, profile.frozen_until)
    inputs = keras.Input(raw, dtype="uint8", name="bilder") if raw else rest.input
    x = net(enlarge(inputs, profile.image_size)) if raw else rest.output
    outputs = keras.layers.Activation("linear", dtype="float32")(x)
    if stem is not None:
        stem.trainable = False
    learner = keras.Model(inputs, outputs, name="lernendes_netz")
    schedule = step_sizes(profile.learning_rate, steps)
    learner.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=profile.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA kompiliert Faltungen für CPUs schlechter als oneDNN; auf GPUs und mit JAX lohnt es sich.
        jit_compile="auto" if has_gpu() or keras.backend.backend() == "jax" else False,
    )
    learner.optimizer.build(learner.trainable_variables)
    return net, learner
