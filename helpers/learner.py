"""Was lernt und womit: Stapel, Zwischenstand, Schrittweiten, das lernende Netz; ``training.train`` fügt es zusammen.

Wie ``helpers.model`` spricht das Modul nur Keras 3 und läuft mit TensorFlow, JAX und PyTorch.
"""

import json

import numpy as np

from helpers.basics import atomic_file, display_path, is_number, output_dir, progress
from helpers.devices import fast_bfloat16, has_gpu, own_share
from helpers.model import Preprocess, build_vgg16, keras, split_model
from helpers.settings import Profile

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


# --- Zusehen, sichern, steuern --------------------------------------------------------------------------------------


class ProgressBar(keras.callbacks.Callback):
    """Ein Balken je Epoche im Terminal."""

    def __init__(self, text: str):
        super().__init__()
        self._text = text

    def on_train_begin(self, logs=None):
        self._bar = progress(total=self.params["steps"], text=self._text, unit="Schritte", leave=False)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_train_end(self, logs=None):
        self._bar.close()


class Checkpoint:
    """Sichert nach jeder Epoche den ganzen Stand; ein unterbrochenes Training setzt dort fort.

    Die Datei enthält nur Zahlen und JSON, wird ganz oder gar nicht geschrieben und am Ende des Trainings gelöscht.

    Args:
        key: woran man dasselbe Training wiedererkennt (Daten, Einstellungen, Startwert).
        history: Verlauf; ``resume`` füllt ihn, das Training schreibt ihn weiter.
        total: Zahl der Epochen.
        patience: so viele Epochen ohne bessere Validierung, dann ist Schluss; None: nie.

    Attributes:
        best: Nummer und Gewichte der Epoche mit der besten Validierung; None ohne ``patience``.
    """

    def __init__(self, key: str, history: list[dict], total: int, patience: int | None = None):
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

    def save(self, learner: keras.Model) -> bool:
        """Sichert den Stand nach einer Epoche; ergibt, ob das Training weitergeht."""
        done = last = len(self._history)
        if self._patience is not None:
            best_row = max(self._history, key=lambda row: row["val_treffer"])
            if best_row is self._history[-1]:
                self.best = (best_row["epoche"], learner.get_weights())
            if last - best_row["epoche"] >= self._patience:
                done = self._total  # ein vorzeitiges Ende bleibt auch nach einer Unterbrechung eines
        lists = {
            "gewichte": learner.get_weights(),
            "optimierer": [keras.ops.convert_to_numpy(value) for value in learner.optimizer.variables],
            "beste": self.best[1] if self.best else [],
        }
        state = {
            "epochen": done,
            "verlauf": self._history,
            "beste_epoche": self.best[0] if self.best else None,
            "anzahl": {name: len(values) for name, values in lists.items()},
        }
        arrays = {f"{name}{i}": value for name, values in lists.items() for i, value in enumerate(values)}
        with atomic_file(self.path) as temporary:
            np.savez(temporary, stand=np.array(json.dumps(state)), **arrays)
        return done < self._total


def step_sizes(peak: float, total: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Die Schrittweite in ``total`` Schritten, wie in Aufgabe 3.2: aufwärmen, dann ein Kosinusbogen auf null.

    Das Aufwärmen hält die ImageNet-Gewichte heil, solange der Kopf noch nichts weiß. Warm-up: Goyal et al. (2017),
    arXiv 1706.02677; Kosinus: Loshchilov und Hutter (2017), SGDR, arXiv 1608.03983.
    """
    warmup = min(MAX_WARMUP, max(1, total // 6))
    return keras.optimizers.schedules.CosineDecay(
        peak / warmup, max(1, total - warmup), warmup_target=peak, warmup_steps=warmup
    )


# --- Das lernende Netz ----------------------------------------------------------------------------------------------


def build_learner(model: keras.Model, profile: Profile, raw: bool) -> tuple[keras.Model, keras.Model]:
    """Ein Netz mit den Gewichten von ``model`` und, was daran lernt: Die Schichten teilen sich beide.

    Gerechnet wird mit der Genauigkeit „auto“ in bfloat16, wo die Maschine das schneller kann; Gewichte und Logits
    bleiben float32. Der Stamm bis ``profile.frozen_until`` lernt nicht mit.

    Args:
        raw: Eingabe sind Graustufen (uint8, (n, 28, 28)), vergrößert und vorverarbeitet wird im Netz, also auf der
            Rechenkarte; sonst die Merkmale des Stamms.
    """
    policy = keras.config.dtype_policy()
    mixed = profile.precision == "bfloat16" or (profile.precision == "auto" and fast_bfloat16())
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        net = build_vgg16(profile.image_size, None)
        if raw:
            inputs = keras.Input((28, 28), dtype="uint8", name="graustufen")
            x = net(Preprocess(profile.image_size, dtype="float32")(inputs))
        else:
            _, rest = split_model(net, profile.frozen_until)
            inputs, x = rest.input, rest.output
        outputs = keras.layers.Activation("linear", dtype="float32")(x)
    finally:
        keras.config.set_dtype_policy(policy)
    net.set_weights(model.get_weights())
    names = [layer.name for layer in net.layers]
    for layer in net.layers[: names.index(profile.frozen_until) + 1 if profile.frozen_until else 0]:
        layer.trainable = False
    return net, keras.Model(inputs, outputs, name="lernendes_netz")


def compile_learner(learner: keras.Model, profile: Profile, steps: int) -> None:
    """Verlust, Optimierer und Schrittweiten für ``profile.epochs`` Epochen zu ``steps`` Schritten."""
    schedule = step_sizes(profile.learning_rate, profile.epochs * steps)
    learner.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=profile.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA übersetzt Faltungen für CPUs schlechter als oneDNN; auf GPUs und mit JAX lohnt es sich.
        jit_compile="auto" if has_gpu() or keras.backend.backend() == "jax" else False,
    )
    learner.optimizer.build(learner.trainable_variables)
