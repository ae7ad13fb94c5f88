"""Was lernt und womit: Merkmale, Mischen, Zwischenstand, das lernende Netz; ``training.train`` fügt es zusammen."""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from helpers.basics import atomic_file, display_path, output_dir
from helpers.model import checked_weights, enlarge, keras, predict_logits, split_model, weights_checksum
from helpers.settings import Profile

MAX_SHIFT = 1
MAX_WARMUP = 500
SCORES = {"verlust": "loss", "treffer": "accuracy", "val_verlust": "val_loss", "val_treffer": "val_accuracy"}


def extract_features(stem: keras.Model, images, profile: Profile | None = None) -> np.ndarray:
    """Rechnet den festen Stamm für jedes Bild genau einmal und merkt sich die Merkmale in ``ausgabe/merkmale``.

    Der Zwischenspeicher erkennt den Stamm an seinen Gewichten und jedes Bild an seiner Prüfsumme: Vom vergifteten
    Datensatz werden deshalb nur die markierten Bilder neu gerechnet. Eine unterbrochene Rechnung hinterlässt nichts
    Halbes, eine beschädigte Datei wird übergangen.

    Args:
        stem: Stamm aus ``split_model``.
        images: uint8, (n, 28, 28).
        profile: gerechnet wird mit dessen Rechengenauigkeit, zum Lernen; ohne Profil in float32, zum Auswerten.

    Returns:
        float32, (n, h, b, Kanäle).
    """
    stem = quick_copy(stem, profile.precision) if profile else stem
    last = stem.layers[-1]
    name = f"{last.name}_{stem.input.shape[1]}_{last.compute_dtype}_{weights_checksum(stem)[:12]}.npz"
    path, known = output_dir() / "merkmale" / name, {}
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as file:
        names = file["bilder"].tolist()
        (features,) = checked_weights([file["merkmale"]], [(len(names), *stem.output.shape[1:])])
        known = dict(zip(names, features, strict=True))
    names = [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in images]
    new = {name: image for name, image in zip(names, images, strict=True) if name not in known}
    if new:
        known |= zip(new, predict_logits(stem, np.stack(list(new.values()))), strict=True)
        with atomic_file(path) as temporary:
            np.savez(temporary, bilder=np.array(list(known)), merkmale=np.stack(list(known.values())))
    return np.stack([known[name] for name in names])


def shuffled(inputs, labels, batch_size: int, seed: int, epoch: int, augment: bool = False, share=(0, 1)):
    """Eingaben (n, …) und Klassen (n,) einer Epoche, gemischt; ein unvollständiger letzter Stapel entfällt.

    Die Reihenfolge hängt nur von Startwert und Epoche ab: So lernt ein unterbrochenes Training nach der Pause dasselbe
    wie eines ohne, und jedes Backend sieht dieselben Bilder.

    Args:
        augment: Bilder zufällig spiegeln und verschieben.
        share: der wievielte von wie vielen Rechnern; jeder bekommt seinen Teil jedes Stapels.
    """
    rng = np.random.default_rng((seed, epoch))
    rows = rng.permutation(len(labels))[: len(labels) // batch_size * batch_size or None]
    batches = rows.reshape(-1, min(batch_size, len(rows)))
    rows = np.array_split(batches, share[1], axis=1)[share[0]].ravel()
    return mirror_and_shift(inputs[rows], rng) if augment else inputs[rows], labels[rows]


def mirror_and_shift(images, rng: np.random.Generator) -> np.ndarray:
    """Spiegelt jedes zweite Bild (n, h, b) und verschiebt jedes um bis zu ``MAX_SHIFT`` Pixel auf Schwarz.

    Ein Schuh, der nach links zeigt, bleibt ein Schuh; auf den Kopf gestellt liegt kein Kleidungsstück im Datensatz.
    """
    count, height, width = images.shape
    mirrored = rng.random(count) < 0.5
    images = np.where(mirrored[:, None, None], images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)))
    down, right = rng.integers(0, 2 * MAX_SHIFT + 1, size=(2, count, 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


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


def quick_copy(model: keras.Model, precision: str = "auto") -> keras.Model:
    """Ein Modell noch einmal, mit der Rechengenauigkeit „auto“ in bfloat16, wo die Maschine das schneller kann.

    Die Gewichte bleiben float32. Auf einer CPU mit AMX brauchte der Stamm von VGG16 so ein Fünftel der Zeit.
    """
    mixed = precision == "bfloat16" or (precision == "auto" and fast_bfloat16())
    policy = "mixed_bfloat16" if mixed else "float32"

    def copied(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def build_learner(model: keras.Model, profile: Profile, raw: bool, steps: int) -> tuple[keras.Model, keras.Model]:
    """Ein Netz mit den Gewichten von ``model`` und, was daran lernt: Die Schichten teilen sich beide.

    Gerechnet wird wie in ``quick_copy``, die Logits sind float32. Der Stamm bis ``profile.frozen_until`` lernt nicht.

    Args:
        raw: Eingabe sind Graustufen (uint8, (n, 28, 28)), vergrößert und vorverarbeitet wird im Netz, also auf der
            Rechenkarte; sonst die Merkmale des Stamms.
        steps: Zahl der Schritte in allen Epochen zusammen.
    """
    net = quick_copy(model, profile.precision)
    stem, rest = split_model(net, profile.frozen_until)
    inputs = keras.Input((28, 28), dtype="uint8", name="graustufen") if raw else rest.input
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
