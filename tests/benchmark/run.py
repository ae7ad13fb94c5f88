"""Der Benchmark des Kurses: Tempo im Verhältnis zu dem, was man sonst nähme, in einem Lauf auf einer Maschine.

Gemessen wird abwechselnd und warm, genannt wird der Median in Millisekunden je Bild. Das Verhältnis ist die Zeit des
Kurses geteilt durch die der anderen Bibliothek: Unter 1 ist der Kurs schneller. Aufruf:
``python -m helpers benchmark``.
"""

# ruff: noqa: B023  (die kleinen Funktionen laufen noch im Schleifendurchgang, in dem sie entstehen)

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

import environment  # noqa: E402
import numpy as np  # noqa: E402

from helpers import lrp, training  # noqa: E402
from helpers.basics import CourseError, display_path, german, output_dir, read_json, write_json  # noqa: E402
from helpers.course_model import load_course_model  # noqa: E402
from helpers.data import load_source, subset  # noqa: E402
from helpers.gradcam import grad_cam  # noqa: E402
from helpers.learner import build_learner  # noqa: E402
from helpers.lrp_library import LRP  # noqa: E402
from helpers.model import build_vgg16, keras, preprocess  # noqa: E402
from helpers.settings import get_profile  # noqa: E402

BATCHES = (1, 10, 64)
RULES = ("lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat")
# Ab dieser Pixelzahl im Stapel brauchen die anderen Bibliotheken mehr als 16 GB.
PEER_LIMIT = 24 * 224 * 224
ORIGINAL_EPOCHS, ORIGINAL_ACCURACY = 50, 0.887


class Bench:
    """Gemeinsame Bilder und Gewichte eines Laufs, und der Prozess, in dem PyTorch rechnet (torch_peers.py)."""

    def __init__(self, repeats: int, folder: Path):
        self.repeats, self.folder, self.rows = repeats, folder, []
        self.data = load_source("beispiel")
        command = [str(environment.ensure()), str(HERE / "torch_peers.py")]
        self._torch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        self._torch.stdin.close()
        self._torch.wait(timeout=60)

    def torch(self, task: str, **options) -> tuple[float, np.ndarray]:
        """Schickt eine Aufgabe und wartet: Sekunden und Karten."""
        output = str(self.folder / "karten.npy")
        self._torch.stdin.write(json.dumps({"task": task, "output": output, **options}) + "\n")
        self._torch.stdin.flush()
        for line in self._torch.stdout:
            if line.startswith("SEKUNDEN "):
                return float(line.split()[1]), np.load(output)
        raise RuntimeError(f"Der Messprozess endete bei {task} {options}.")

    def case(self, size: int, count: int):
        """Kursmodell und echte Bilder dieser Kantenlänge, Klassen und die Datei, in der das alles für PyTorch steht."""
        model, path = build_vgg16(size), self.folder / f"{size}_{count}.npz"
        *weights, kernel, bias = load_course_model().model.get_weights()
        if size != 64:  # Nur der Kopf hängt von der Bildgröße ab: Alle Stellen bekommen den Mittelwert der alten.
            places = (size // 32) ** 2
            kernel = np.tile(kernel.reshape(4, -1, 10).sum(axis=0) / places, (places, 1))
        model.set_weights([*weights, kernel, bias])
        inputs = preprocess(self.data.test_images[:count], size)
        classes = self.data.test_labels[:count].astype(np.int64)
        weights = {f"w{index}": value for index, value in enumerate(model.get_weights())}
        np.savez(path, images=inputs, classes=classes, **weights)
        return model, inputs, classes, str(path)

    def compare(self, label: str, inputs, own, others: dict) -> None:
        """Misst alle abwechselnd, der erste Durchgang wärmt auf.

        Args:
            own, others: rechnet der Kurs, rechnen die anderen (Name → Funktion): ergibt (Sekunden, Karten).
        """
        batch, size = inputs.shape[:2]
        runs = {"Kurs": own} | (others if batch * size * size <= PEER_LIMIT else {})
        turns = [{name: run() for name, run in runs.items()} for _ in range(self.repeats + 1)]
        ms = {name: 1000 / batch * statistics.median(turn[name][0] for turn in turns[1:]) for name in runs}
        maps = {name: found for name, (_, found) in turns[-1].items()}
        peers = [name for name in ms if name != "Kurs"]
        row = {
            "was": label,
            "pixel": size,
            "stapel": batch,
            "ms_je_bild": {name: round(value, 2) for name, value in ms.items()},
            "verhaeltnis": {name: round(ms["Kurs"] / ms[name], 3) for name in peers},
            "korrelation": {name: agreement(maps["Kurs"], maps[name]) for name in peers},
        }
        self.rows.append(row)
        told = [
            f"{name} {german(row['verhaeltnis'][name], 2)} ({german(ms[name], 1)} ms, "
            f"r = {german(row['korrelation'][name], 3) if row['korrelation'][name] is not None else 'leer'})"
            for name in peers
        ]
        print(f"| {label} | {size} × {size} | {batch} | {german(ms['Kurs'], 1)} | {'; '.join(told)} |", flush=True)


HEADER = (
    "| was | Bildgröße | Stapel | Kurs, ms je Bild | Verhältnis Kurs / andere (deren Zeit, kleinste Korrelation) |\n"
    "| --- | --- | --- | --- | --- |"
)


def timed(function) -> tuple[float, object]:
    """Sekunden eines Aufrufs und sein Ergebnis."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def agreement(first, second) -> float | None:
    """Kleinste Korrelation der Karten je Bild: Rechnen beide dasselbe?

    Zwei leere Karten sagen nichts (None, wenn alle leer sind), eine leere und eine volle sind sich uneins (0).
    """
    pairs = zip(np.reshape(first, (len(first), -1)), np.reshape(second, (len(second), -1)), strict=True)
    told = [(a, b) for a, b in pairs if np.std(a) > 0 or np.std(b) > 0]
    values = [np.corrcoef(a, b)[0, 1] if np.std(a) > 0 and np.std(b) > 0 else 0.0 for a, b in told]
    return round(float(min(values)), 4) if values else None


def measure_grad_cam(bench: Bench, size: int) -> None:
    """Grad-CAM gegen pytorch-grad-cam und tf-keras-vis."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    for batch in BATCHES:
        model, inputs, classes, path = bench.case(size, batch)
        library, score = Gradcam(model, clone=False), CategoricalScore(classes.tolist())
        others = {
            "pytorch-grad-cam": lambda: bench.torch("grad_cam", case=path),
            "tf-keras-vis": lambda: timed(lambda: library(score, inputs, penultimate_layer="block5_conv3")),
        }
        bench.compare("Grad-CAM", inputs, lambda: timed(lambda: grad_cam(model, inputs, classes)), others)


def measure_lrp(bench: Bench, size: int) -> None:
    """LRP gegen zennit und gegen iNNvestigate; dazu der erste Aufruf einer Regel, der noch übersetzt."""
    for rule in RULES:
        lrp._compiled.cache_clear()
        for batch in BATCHES:
            model, inputs, classes, path = bench.case(size, batch)
            own = functools.partial(timed, functools.partial(lrp.relevance, model, inputs, classes, rule))
            first, _ = own()
            with LRP(model, rule) as library:
                others = {
                    "zennit": lambda: bench.torch("lrp", case=path, rule=rule),
                    "iNNvestigate": lambda: timed(lambda: library.relevance(inputs, classes)),
                }
                bench.compare(lrp.LRP_RULES[rule], inputs, own, others)
            bench.rows[-1]["erster_aufruf_s"] = round(first, 2)


def measure_throughput(bench: Bench, size: int = 64, batch: int = 64, steps: int = 12) -> dict:
    """Bilder je Sekunde beim Training aller Schichten: dieser Kurs und schlichtes PyTorch."""
    model, _, _, path = bench.case(size, batch * steps)
    images, labels = (field[: batch * steps] for field in (bench.data.train_images, bench.data.train_labels))
    runs = {}
    for precision in ("auto", "float32"):
        profile = replace(get_profile("voll", image_size=size, precision=precision), frozen_until=None)
        learner = build_learner(model, profile, raw=True, steps=100)[1]
        fit = functools.partial(learner.fit, images, labels.astype(np.int32), batch_size=batch, verbose=0)
        runs[f"Kurs ({precision})"] = lambda fit=fit: timed(fit)[0]
    for name in ("bfloat16", "float32"):
        options = {"case": path, "batch": batch, "precision": name}
        runs[f"PyTorch ({name})"] = lambda options=options: bench.torch("throughput", **options)[0]
    turns = [{name: run() for name, run in runs.items()} for _ in range(bench.repeats + 1)]
    rates = {name: batch * steps / statistics.median(turn[name] for turn in turns[1:]) for name in runs}
    print(
        "\n| Training aller Schichten, 64 × 64, Stapel 64 | Bilder je Sekunde | Kurs (auto) / dieses |\n|---|---|---|"
    )
    for name, rate in rates.items():
        print(f"| {name} | {german(rate, 1)} | {german(rates['Kurs (auto)'] / rate, 2)} |")
    return {name: round(rate, 1) for name, rate in rates.items()}


def measure_time_to_target(bench: Bench, n_train: int = 10_000, size: int = 64) -> dict:
    """Sekunden bis 0,887 auf den Validierungsbildern, mit dem Profil „schnell“ und leerem Zwischenspeicher.

    Das Rezept des Originals (alle Schichten, 50 Epochen) wird nicht ganz ausgeführt: Gemessen werden zwanzig warme
    Schritte mit Keras ``fit`` auf derselben Maschine, hochgerechnet auf seine 50 Epochen.
    """
    data, profile = subset(bench.data, n_train, 100), get_profile("schnell", n_train=n_train)
    with mock.patch.dict(os.environ, KURS_AUSGABE=str(bench.folder)):
        total, run = timed(lambda: training.train(data.train_images, data.train_labels, profile))
    reached = [row["epoche"] for row in run.history if row["val_treffer"] >= ORIGINAL_ACCURACY]
    own = total - sum(row["sekunden"] for row in run.history[reached[0] :]) if reached else total
    inputs, labels = preprocess(data.train_images[: 32 * 20], size), data.train_labels[: 32 * 20]
    model, loss = build_vgg16(size), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
    model.fit(inputs[:64], labels[:64], verbose=0)
    seconds, _ = timed(lambda: model.fit(inputs, labels, batch_size=32, verbose=0))
    original = seconds / len(labels) * 0.9 * n_train * ORIGINAL_EPOCHS
    if not reached:
        print(f"\nDer Kurs hat {german(ORIGINAL_ACCURACY)} nicht erreicht: Das Verhältnis gilt nicht.")
    print(f"\n| bis {german(ORIGINAL_ACCURACY)}, {german(n_train)} Bilder | Sekunden | Kurs / dieses |\n|---|---|---|")
    for name, value in (("dieser Kurs", own), ("Rezept des Originals (hochgerechnet)", original)):
        print(f"| {name} | {german(value, 0)} | {german(own / value, 3)} |")
    return {"kurs_s": round(own, 1), "kurs_erreicht": bool(reached), "original_s": round(original, 1)}


def main() -> int:
    """Misst die gewählten Teile, druckt Markdown und schreibt ``ausgabe/benchmark.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teile", nargs="+", required=True)
    parser.add_argument("--groessen", nargs="+", type=int, required=True)
    parser.add_argument("--wiederholungen", type=int, required=True)
    options = parser.parse_args()
    if any(size % 32 for size in options.groessen):
        raise CourseError("Die Kantenlängen müssen Vielfache von 32 sein: VGG16 halbiert fünfmal.")
    path = output_dir() / "benchmark.json"
    result = read_json(path, {})
    result["maschine"] = {"cpu": platform.processor() or platform.machine(), "kerne": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.wiederholungen, Path(folder))
        try:
            print(HEADER, flush=True)
            for part, measure in (("gradcam", measure_grad_cam), ("lrp", measure_lrp)):
                if part in options.teile:
                    bench.rows = result[part] = []
                    for size in options.groessen:
                        measure(bench, size)
            if "training" in options.teile:
                result["durchsatz"] = measure_throughput(bench)
            if "ziel" in options.teile:
                result["bis_zum_ziel"] = measure_time_to_target(bench)
        finally:
            bench.close()
            write_json(path, result)
    print(f"\nGeschrieben: {display_path(path)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CourseError, RuntimeError) as error:
        print(f"✘ {error}", file=sys.stderr)
        sys.exit(2)
