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
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import environment  # noqa: E402
import numpy as np  # noqa: E402
from protocol import Worker, timed  # noqa: E402

from helpers import lrp, training  # noqa: E402
from helpers.basics import (  # noqa: E402
    COURSE_MODEL,
    CourseError,
    display_path,
    german,
    output_dir,
    read_json,
    write_json,
)
from helpers.course_model import load_course_model  # noqa: E402
from helpers.data import load_source, subset, validation_split  # noqa: E402
from helpers.gradcam import grad_cam  # noqa: E402
from helpers.learner import build_learner, has_gpu, shuffled  # noqa: E402
from helpers.lrp import LRP_RULES  # noqa: E402
from helpers.lrp_library import LRP  # noqa: E402
from helpers.model import build_vgg16, keras, preprocess  # noqa: E402
from helpers.settings import get_profile  # noqa: E402

HERE = Path(__file__).resolve().parent
BATCHES = (1, 10, 64)
RULES = ("lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat")
GRAD_CAM_PEER, LRP_PEER = "pytorch-grad-cam", "zennit"
# Ab dieser Pixelzahl im Stapel brauchen die anderen Bibliotheken mehr als 16 GB.
PEER_LIMIT = 24 * 224 * 224
ORIGINAL_EPOCHS, ORIGINAL_ACCURACY = 50, 0.887
PEER_EPOCHS = 6


class Bench:
    """Gemeinsame Bilder, Gewichte und Messprozesse eines Laufs."""

    def __init__(self, repeats: int, folder: Path):
        self.repeats, self.folder = repeats, folder
        self.rows: list[dict] = []
        self.data = load_source("beispiel")
        self.torch = Worker(environment.ensure(), HERE / "torch_peers.py")

    def close(self) -> None:
        self.torch.close()

    def model(self, size: int):
        """Das Kursmodell (sonst VGG16 mit ImageNet-Gewichten) für diese Kantenlänge; Gewichte auch als Datei."""
        model = build_vgg16(size)
        if COURSE_MODEL.is_file():
            *weights, kernel, bias = load_course_model().model.get_weights()
            if size != 64:  # Nur der Kopf hängt von der Bildgröße ab: Alle Stellen bekommen den Mittelwert der alten.
                places = (size // 32) ** 2
                kernel = np.tile(kernel.reshape(4, -1, 10).sum(axis=0) / places, (places, 1))
            model.set_weights([*weights, kernel, bias])
        return model, self.weights_file(model, f"gewichte_{size}")

    def weights_file(self, model, name: str) -> str:
        """Die Gewichte als npz-Datei für die Messprozesse: w0, w1, … in der Reihenfolge von Keras."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            np.savez(path, **{f"w{index}": value for index, value in enumerate(model.get_weights())})
        return str(path)

    def images(self, size: int, count: int):
        """Echte Testbilder, vorverarbeitet, und ihre Klassen; auch als Datei."""
        path = self.folder / f"bilder_{size}_{count}.npz"
        inputs = preprocess(self.data.test_images[:count], size)
        classes = self.data.test_labels[:count].astype(np.int64)
        if not path.is_file():
            np.savez(path, images=inputs, classes=classes)
        return inputs, classes, str(path)

    def compare(self, part: str, label: str, size: int, batch: int, contenders: dict) -> None:
        """Misst alle abwechselnd; ``contenders``: Name → Funktion, ergibt (Sekunden, Karten), der Kurs zuerst."""
        maps = {}

        def measured(name, run):
            seconds, maps[name] = run()
            return 1000 * seconds / batch

        medians = alternate(
            {name: functools.partial(measured, name, run) for name, run in contenders.items()}, self.repeats
        )
        own, *others = medians
        row = {
            "teil": part,
            "was": label,
            "pixel": size,
            "stapel": batch,
            "ms_je_bild": {name: round(value, 2) for name, value in medians.items()},
            "verhaeltnis": {name: round(medians[own] / medians[name], 3) for name in others},
            "korrelation": {name: _agreement(maps[own], maps[name]) for name in others},
        }
        self.rows.append(row)
        print(_markdown_row(row), flush=True)


def alternate(contenders: dict, repeats: int) -> dict:
    """Ruft alle reihum auf, der erste Durchgang wärmt auf; Name → Median dessen, was die Aufrufe ergeben."""
    values = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, run in contenders.items():
            value = run()
            if turn:
                values[name].append(value)
    return {name: statistics.median(each) for name, each in values.items()}


def _agreement(first, second) -> float | None:
    """Kleinste Korrelation der Karten je Bild: Rechnen beide dasselbe?

    Zwei leere Karten sagen nichts (None, wenn alle leer sind), eine leere und eine volle sind sich uneins (0).
    """
    pairs = zip(np.reshape(first, (len(first), -1)), np.reshape(second, (len(second), -1)), strict=True)
    told = [(a, b) for a, b in pairs if np.std(a) > 0 or np.std(b) > 0]
    values = [np.corrcoef(a, b)[0, 1] if np.std(a) > 0 and np.std(b) > 0 else 0.0 for a, b in told]
    return round(float(min(values)), 4) if values else None


def _peer(worker: Worker, task: str, output: Path, **options):
    def run():
        answer = worker.ask(task, output=str(output), **options)
        return answer["seconds"], np.load(output)

    return run


def _markdown_row(row: dict) -> str:
    own, *_ = row["ms_je_bild"]
    cells = [row["was"], f"{row['pixel']} × {row['pixel']}", str(row["stapel"]), german(row["ms_je_bild"][own], 1)]
    others = []
    for name, ratio in row["verhaeltnis"].items():
        found = row["korrelation"][name]
        agreement = "leere Karten" if found is None else f"r = {german(found, 3)}"
        others.append(f"{name} {german(ratio, 2)} ({german(row['ms_je_bild'][name], 1)} ms, {agreement})")
    return f"| {' | '.join(cells)} | {'; '.join(others)} |"


HEADER = (
    "| was | Bildgröße | Stapel | Kurs, ms je Bild | Verhältnis Kurs / andere (deren Zeit, kleinste Korrelation) |\n"
    "| --- | --- | --- | --- | --- |"
)


def measure_grad_cam(bench: Bench, sizes) -> None:
    """Grad-CAM gegen pytorch-grad-cam und tf-keras-vis."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    for size in sizes:
        model, weights = bench.model(size)
        library = Gradcam(model, clone=False)
        for batch in BATCHES:
            inputs, classes, path = bench.images(size, batch)
            score = CategoricalScore(classes.tolist())
            contenders = {"Kurs": lambda: timed(lambda: grad_cam(model, inputs, classes))}
            if batch * size * size <= PEER_LIMIT:
                output = bench.folder / "gradcam.npy"
                options = {"inputs": path, "weights": weights, "batch": batch}
                contenders[GRAD_CAM_PEER] = _peer(bench.torch, "grad_cam", output, **options)
                contenders["tf-keras-vis"] = lambda: timed(
                    lambda: library(score, inputs, penultimate_layer="block5_conv3")
                )
            bench.compare("gradcam", "Grad-CAM", size, batch, contenders)


def measure_lrp(bench: Bench, sizes) -> None:
    """LRP gegen zennit und gegen iNNvestigate; dazu der erste Aufruf einer Regel, der noch übersetzt."""
    for size in sizes:
        model, weights = bench.model(size)
        for rule in RULES:
            lrp._compiled.cache_clear()
            first, _ = timed(lambda: lrp.relevance(model, bench.images(size, 1)[0], 0, rule))
            print(f"{LRP_RULES[rule]}, {size} × {size}: erster Aufruf {german(first, 1)} s", file=sys.stderr)
            with LRP(model, rule) as library:
                for batch in BATCHES:
                    inputs, classes, path = bench.images(size, batch)
                    contenders = {"Kurs": lambda: timed(lambda: lrp.relevance(model, inputs, classes, rule))}
                    if batch * size * size <= PEER_LIMIT:
                        options = {"inputs": path, "weights": weights, "batch": batch, "rule": rule}
                        contenders[LRP_PEER] = _peer(bench.torch, "lrp", bench.folder / "zennit.npy", **options)
                        contenders["iNNvestigate"] = lambda: timed(lambda: library.relevance(inputs, classes))
                    bench.compare("lrp", LRP_RULES[rule], size, batch, contenders)
                    bench.rows[-1]["erster_aufruf_s"] = round(first, 2)


def _keras_fit(size: int, learning_rate: float = 1e-4):
    """Das Netz, wie man es ohne den Kurs trainierte: alle Schichten, Adam, float32, ``fit`` auf fertigen Eingaben."""
    model = build_vgg16(size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    return model


def measure_throughput(bench: Bench, size: int = 64, batch: int = 64, steps: int = 12) -> dict:
    """Bilder je Sekunde beim Training des ganzen Netzes: Kurs, Keras ``fit`` und PyTorch."""
    labels = bench.data.train_labels[: batch * steps].astype(np.int32)
    inputs, _, path = bench.images(size, batch * steps)
    _, weights = bench.model(size)
    runs = {}
    for precision in ("auto", "float32"):
        learner = _course_learner(size, precision)
        epoch = shuffled(bench.data.train_images[: batch * steps], labels, batch, 0, 0, augment=True)
        runs[f"Kurs ({precision})"] = functools.partial(learner.fit, *epoch, batch, shuffle=False, verbose=0)
    plain = _keras_fit(size)
    runs["Keras fit"] = functools.partial(plain.fit, inputs, labels, batch_size=batch, verbose=0)
    seconds = {name: (lambda run=run: timed(run)[0]) for name, run in runs.items()}
    for name, bfloat16 in (("PyTorch (float32)", False), ("PyTorch (bfloat16)", True)):
        options = {"inputs": path, "weights": weights, "batch": batch, "steps": steps, "bfloat16": bfloat16}
        seconds[name] = lambda options=options: bench.torch.ask("throughput", **options)["seconds"]
    rates = {name: batch * steps / value for name, value in alternate(seconds, 3).items()}
    print(
        "\n| Training des ganzen Netzes, 64 × 64, Stapel 64 | Bilder je Sekunde | Zeit Kurs (auto) / dieses |\n"
        "| --- | --- | --- |"
    )
    for name, rate in rates.items():
        print(f"| {name} | {german(rate, 1)} | {german(rate / rates['Kurs (auto)'], 2)} |")
    return {name: round(rate, 1) for name, rate in rates.items()}


def _course_learner(size: int, precision: str):
    """Das Netz, wie der Kurs es mit dem Profil „voll“ trainiert, aber alle Schichten: So rechnen alle dasselbe."""
    profile = get_profile("voll", image_size=size, precision=precision)
    _, learner = build_learner(build_vgg16(size), replace(profile, frozen_until=None), raw=True, steps=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.AdamW(1e-5), loss, jit_compile=has_gpu())
    return learner


def measure_time_to_target(bench: Bench, peers: bool, n_train: int = 10_000, size: int = 64) -> dict:
    """Sekunden bis 0,887 auf den Validierungsbildern, aus 10.000 Bildern gelernt.

    Das Rezept des Originals (alle Schichten, 50 Epochen) wird nicht ganz ausgeführt: Gemessen werden Schritte mit
    Keras ``fit`` auf derselben Maschine, hochgerechnet auf seine 50 Epochen. Mit ``peers`` lernt auch PyTorch bis
    dorthin; das dauert auf zwei Kernen Stunden.
    """
    data = subset(bench.data, n_train, 100)
    result = _course_to_target(data) | {"original_s": _original_recipe(data, size)}
    if peers:
        result |= _torch_to_target(bench, data, size)
    if not result["kurs_erreicht"]:
        print(f"\nDer Kurs hat {german(ORIGINAL_ACCURACY)} nicht erreicht: Die Verhältnisse gelten nicht.")
    names = {"kurs_s": "dieser Kurs", "original_s": "Rezept des Originals (hochgerechnet)", "pytorch_s": "PyTorch"}
    print(f"\n| bis {german(ORIGINAL_ACCURACY)}, {german(n_train)} Bilder | Sekunden | Kurs / dieses |")
    print("| --- | --- | --- |")
    for key in [key for key in names if key in result]:
        print(f"| {names[key]} | {german(result[key], 0)} | {german(result['kurs_s'] / result[key], 3)} |")
    return result


def _torch_to_target(bench: Bench, data, size: int) -> dict:
    """PyTorch auf denselben Bildern, alle Schichten, bis die Validierung das Ziel erreicht."""
    train_rows, validation_rows = validation_split(data.train_labels)
    inputs, labels = preprocess(data.train_images, size), data.train_labels.astype(np.int32)
    path = bench.folder / "training.npz"
    parts = {"train": train_rows, "val": validation_rows}
    np.savez(
        path,
        **{f"{name}_{key}": each[rows] for name, rows in parts.items() for key, each in (("x", inputs), ("y", labels))},
    )
    options = {"target": ORIGINAL_ACCURACY, "epochs": PEER_EPOCHS, "batch": 32, "learning_rate": 1e-4}
    answer = bench.torch.ask(
        "fit", data=str(path), weights=bench.weights_file(build_vgg16(size), "imagenet"), **options
    )
    return {"pytorch_s": round(answer["seconds"], 1), "pytorch_verlauf": answer["history"]}


def _course_to_target(data) -> dict:
    """Der Kurs mit dem Profil „schnell“ von leerem Zwischenspeicher an: Auch die Merkmale zählen mit."""
    profile = get_profile("schnell", n_train=len(data.train_labels))
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, KURS_AUSGABE=folder):
        total, run = timed(lambda: training.train(data.train_images, data.train_labels, profile))
    reached = [row["epoche"] for row in run.history if row["val_treffer"] >= ORIGINAL_ACCURACY]
    after = sum(row["sekunden"] for row in run.history[reached[0] :]) if reached else 0.0
    return {
        "kurs_s": round(total - after, 1),
        "kurs_erreicht": bool(reached),
        "kurs_verlauf": [round(row["val_treffer"], 4) for row in run.history],
    }


def _original_recipe(data, size: int) -> float:
    """Sekunden für die 50 Epochen des Originals, hochgerechnet aus zwanzig warmen Schritten."""
    count = 32 * 20
    inputs, labels = preprocess(data.train_images[:count], size), data.train_labels[:count].astype(np.int32)
    model = _keras_fit(size)
    model.fit(inputs[:64], labels[:64], verbose=0)
    seconds, _ = timed(lambda: model.fit(inputs, labels, batch_size=32, verbose=0))
    return round(seconds / count * 0.9 * len(data.train_labels) * ORIGINAL_EPOCHS, 1)


def main(arguments=None) -> int:
    """Misst die gewählten Teile, druckt Markdown und schreibt ``ausgabe/benchmark.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teile", nargs="+", required=True)
    parser.add_argument("--groessen", nargs="+", type=int, required=True)
    parser.add_argument("--wiederholungen", type=int, required=True)
    options = parser.parse_args(arguments)
    if any(size < 32 or size % 32 for size in options.groessen):
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
                    measure(bench, options.groessen)
                    result[part] = [row for row in bench.rows if row["teil"] == part]
            if "training" in options.teile:
                result["durchsatz"] = measure_throughput(bench)
            if {"ziel", "training"} & set(options.teile):
                result["bis_zum_ziel"] = measure_time_to_target(bench, peers="training" in options.teile)
        finally:
            bench.close()
            write_json(path, json.loads(json.dumps(result)))
    print(f"\nGeschrieben: {display_path(path)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CourseError, RuntimeError) as error:
        print(f"✘ {error}", file=sys.stderr)
        sys.exit(2)
