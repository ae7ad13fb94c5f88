"""Der Benchmark des Kurses: Tempo im Verhältnis zu dem, was man sonst nähme, in einem Lauf auf einer Maschine.

Gemessen wird abwechselnd und warm, genannt wird der Median in Millisekunden je Bild. Das Verhältnis ist die Zeit des
Kurses geteilt durch die der anderen Bibliothek: Unter 1 ist der Kurs schneller. Aufruf:
``python -m helpers benchmark``.
"""

# ruff: noqa: B023  (die kleinen Funktionen laufen noch im Schleifendurchgang, in dem sie entstehen)

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import environment  # noqa: E402
import numpy as np  # noqa: E402
from protocol import Worker, timed  # noqa: E402

from helpers import plots, training  # noqa: E402
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
from helpers.explanation import LRP, LRP_RULES, grad_cam  # noqa: E402
from helpers.model import build_vgg16, keras, preprocess, resize_head  # noqa: E402
from helpers.settings import PROFILES, get_profile  # noqa: E402

HERE = Path(__file__).resolve().parent
PARTS = ("gradcam", "lrp", "training", "wachstum")
BATCHES = (1, 10, 64)
RULES = ("lrp.epsilon", "lrp.alpha_2_beta_1_IB", "lrp.sequential_preset_a_flat")
GRAD_CAM_PEER, LRP_PEER = "pytorch-grad-cam", "zennit"
# Ab dieser Pixelzahl im Stapel brauchen die anderen Bibliotheken mehr als 16 GB.
PEER_LIMIT = 24 * 224 * 224
ORIGINAL_EPOCHS, ORIGINAL_ACCURACY = 50, 0.887


class Bench:
    """Gemeinsame Bilder, Gewichte und Messprozesse eines Laufs."""

    def __init__(self, repeats: int, folder: Path):
        self.repeats, self.folder = repeats, folder
        self.rows: list[dict] = []
        self._data = load_source("beispiel")
        self.torch = Worker(environment.ensure(), HERE / "torch_peers.py")
        self.tf1 = Worker(sys.executable, HERE / "plain_innvestigate.py")

    def close(self) -> None:
        self.torch.close()
        self.tf1.close()

    def model(self, size: int):
        """Das Kursmodell (sonst VGG16 mit ImageNet-Gewichten) für diese Kantenlänge; Gewichte auch als Datei."""
        model = build_vgg16(size)
        if COURSE_MODEL.is_file():
            model.set_weights(resize_head(load_course_model().model.get_weights(), model))
        path = self.folder / f"gewichte_{size}.npz"
        if not path.is_file():
            np.savez(path, **{f"w{index}": value for index, value in enumerate(model.get_weights())})
        return model, str(path)

    def images(self, size: int, count: int):
        """Echte Testbilder, vorverarbeitet, und ihre Klassen; auch als Datei."""
        path = self.folder / f"bilder_{size}_{count}.npz"
        inputs = preprocess(self._data.test_images[:count], size)
        classes = self._data.test_labels[:count].astype(np.int64)
        if not path.is_file():
            np.savez(path, images=inputs, classes=classes)
        return inputs, classes, str(path)

    def compare(self, part: str, label: str, size: int, batch: int, contenders: dict) -> None:
        """Misst alle abwechselnd; ``contenders``: Name → Funktion, ergibt (Sekunden, Karten), der Kurs zuerst."""
        times = {name: [] for name in contenders}
        maps = {}
        for turn in range(self.repeats + 1):
            for name, run in contenders.items():
                seconds, maps[name] = run()
                if turn:  # der erste Durchgang wärmt auf
                    times[name].append(1000 * seconds / batch)
        medians = {name: statistics.median(values) for name, values in times.items()}
        own, *others = medians
        row = {
            "teil": part,
            "was": label,
            "pixel": size,
            "stapel": batch,
            "ms_je_bild": {name: round(value, 2) for name, value in medians.items()},
            "verhaeltnis": {name: round(medians[own] / medians[name], 3) for name in others},
            "korrelation": {name: round(_agreement(maps[own], maps[name]), 4) for name in others},
        }
        self.rows.append(row)
        print(_markdown_row(row), flush=True)


def _agreement(first, second) -> float:
    """Kleinste Korrelation der Karten je Bild: Rechnen beide dasselbe?"""
    pairs = zip(np.reshape(first, (len(first), -1)), np.reshape(second, (len(second), -1)), strict=True)
    values = [np.corrcoef(a, b)[0, 1] for a, b in pairs if np.std(a) > 0 and np.std(b) > 0]
    return float(min(values, default=np.nan))


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
        time_text, agreement = german(row["ms_je_bild"][name], 1), german(row["korrelation"][name], 3)
        others.append(f"{name} {german(ratio, 2)} ({time_text} ms, r = {agreement})")
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
    """LRP gegen zennit und gegen iNNvestigate, wie seine README es zeigt."""
    for size in sizes:
        model, weights = bench.model(size)
        for rule in RULES:
            with LRP(model, rule) as lrp:
                for batch in BATCHES:
                    inputs, classes, path = bench.images(size, batch)
                    contenders = {"Kurs": lambda: timed(lambda: lrp.relevance(inputs, classes))}
                    if batch * size * size <= PEER_LIMIT:
                        options = {"inputs": path, "weights": weights, "batch": batch, "rule": rule}
                        for name, worker in ((LRP_PEER, bench.torch), ("iNNvestigate", bench.tf1)):
                            contenders[name] = _peer(worker, "lrp", bench.folder / f"{name}.npy", **options)
                    bench.compare("lrp", LRP_RULES[rule], size, batch, contenders)


def _keras_fit(size: int, learning_rate: float = 1e-4):
    """Das Netz, wie man es ohne den Kurs trainierte: alle Schichten, Adam, float32, ``fit`` auf fertigen Eingaben."""
    model = build_vgg16(size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    return model


def measure_throughput(bench: Bench, size: int = 64, batch: int = 64, steps: int = 12) -> dict:
    """Bilder je Sekunde beim Training des ganzen Netzes: Kurs, Keras ``fit`` und PyTorch."""
    data = bench._data
    images, labels = data.train_images[: batch * steps], data.train_labels[: batch * steps].astype(np.int32)
    inputs, _, path = bench.images(size, batch * steps)
    _, weights = bench.model(size)
    profile = get_profile("voll")
    learners = {}
    for precision in ("auto", "float32"):
        learner = training.full_learner(build_vgg16(size), size, precision)
        learner.compile(
            keras.optimizers.AdamW(1e-5),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        learners[f"Kurs ({precision})"] = learner, training.Batches(images, labels, batch, augment=True)
    learners["Keras fit"] = _keras_fit(size), None

    def fit(model, batches):
        if batches is None:
            return timed(lambda: model.fit(inputs, labels, batch_size=batch, verbose=0))[0]
        return timed(lambda: model.fit(batches, shuffle=False, verbose=0))[0]

    runs = {
        name: (lambda model=model, batches=batches: fit(model, batches)) for name, (model, batches) in learners.items()
    }
    for name, bfloat16 in (("PyTorch (float32)", False), ("PyTorch (bfloat16)", True)):
        options = {"inputs": path, "weights": weights, "batch": batch, "steps": steps, "bfloat16": bfloat16}
        runs[name] = lambda options=options: bench.torch.ask("throughput", **options)["seconds"]
    times = {name: [] for name in runs}
    for turn in range(4):
        for name, run in runs.items():
            seconds = run()
            if turn:
                times[name].append(seconds)
    rates = {name: batch * steps / statistics.median(values) for name, values in times.items()}
    print(
        "\n| Training des ganzen Netzes, 64 × 64, Stapel 64 | Bilder je Sekunde | Zeit Kurs (auto) / dieses |\n"
        "| --- | --- | --- |"
    )
    for name, rate in rates.items():
        print(f"| {name} | {german(rate, 1)} | {german(rate / rates['Kurs (auto)'], 2)} |")
    # 2 Rechnungen je Multiplikation und Addition, vorwärts einmal, rückwärts zweimal.
    work = 6 * sum(
        int(np.prod(layer.output.shape[1:3])) * int(np.prod(layer.kernel.shape))
        for layer in build_vgg16(size).layers
        if "conv" in layer.name
    )
    return {
        "bilder_je_s": {name: round(rate, 1) for name, rate in rates.items()},
        "gflop_je_s": {name: round(rate * work / 1e9) for name, rate in rates.items()},
        "profil": profile.name,
    }


def measure_time_to_target(bench: Bench, n_train: int = 10_000, size: int = 64, peers: bool = True) -> dict:
    """Sekunden bis 0,887 auf den Validierungsbildern, aus 10.000 Bildern gelernt.

    Das Rezept des Originals (alle Schichten, 50 Epochen) wird nicht ganz ausgeführt: Gemessen werden Schritte mit
    Keras ``fit`` auf derselben Maschine, hochgerechnet auf seine 50 Epochen.
    """
    data = subset(bench._data, n_train, 100)
    profile = get_profile("schnell", n_train=n_train)
    with tempfile.TemporaryDirectory() as folder:  # ein leerer Zwischenspeicher: Merkmale zählen mit
        before = os.environ.get("KURS_AUSGABE")
        os.environ["KURS_AUSGABE"] = folder
        try:
            begin = time.perf_counter()
            run = training.train(data.train_images, data.train_labels, profile)
            total = time.perf_counter() - begin
        finally:
            os.environ.pop("KURS_AUSGABE")
            if before is not None:
                os.environ["KURS_AUSGABE"] = before
    reached = [row["epoche"] for row in run.history if row["val_treffer"] >= ORIGINAL_ACCURACY]
    after = sum(row["sekunden"] for row in run.history[reached[0] :]) if reached else 0.0
    result = {
        "kurs_s": round(total - after, 1),
        "kurs_erreicht": bool(reached),
        "kurs_verlauf": [round(row["val_treffer"], 4) for row in run.history],
    }
    train_rows, validation_rows = validation_split(data.train_labels)
    labels = data.train_labels.astype(np.int32)
    sample = train_rows[: 32 * 20]
    model = _keras_fit(size)
    inputs = preprocess(data.train_images[sample], size)
    model.fit(inputs[:64], labels[sample[:64]], verbose=0)
    seconds, _ = timed(lambda: model.fit(inputs, labels[sample], batch_size=32, verbose=0))
    result["original_s"] = round(seconds / len(sample) * len(train_rows) * ORIGINAL_EPOCHS, 1)
    result["verhaeltnis_original"] = round(result["kurs_s"] / result["original_s"], 4)
    if peers:
        everything = preprocess(data.train_images, size)
        model = _keras_fit(size)
        spent, reached_at = 0.0, []
        for _ in range(6):
            spent += timed(lambda: model.fit(everything[train_rows], labels[train_rows], batch_size=32, verbose=0))[0]
            found = model.predict(everything[validation_rows], verbose=0).argmax(axis=1)
            reached_at.append(round(float((found == labels[validation_rows]).mean()), 4))
            if reached_at[-1] >= ORIGINAL_ACCURACY:
                break
        result |= {"keras_fit_s": round(spent, 1), "keras_fit_verlauf": reached_at}
        path = bench.folder / "training.npz"
        np.savez(
            path,
            train_x=everything[train_rows],
            train_y=labels[train_rows],
            val_x=everything[validation_rows],
            val_y=labels[validation_rows],
        )
        start = bench.folder / "imagenet.npz"
        np.savez(start, **{f"w{index}": value for index, value in enumerate(build_vgg16(size).get_weights())})
        options = {"target": ORIGINAL_ACCURACY, "epochs": 6, "batch": 32, "learning_rate": 1e-4}
        answer = bench.torch.ask("fit", data=str(path), weights=str(start), **options)
        result |= {"pytorch_s": round(answer["seconds"], 1), "pytorch_verlauf": answer["history"]}
    print(
        f"\n| bis {german(ORIGINAL_ACCURACY)} Validierung, {german(n_train)} Bilder | Sekunden | Kurs / dieses |\n"
        "| --- | --- | --- |"
    )
    for name, key in (
        ("dieser Kurs", "kurs_s"),
        ("Rezept des Originals (hochgerechnet)", "original_s"),
        ("Keras fit, alle Schichten", "keras_fit_s"),
        ("PyTorch, alle Schichten", "pytorch_s"),
    ):
        if key in result:
            print(f"| {name} | {german(result[key], 0)} | {german(result['kurs_s'] / result[key], 3)} |")
    return result


def measure_growth(bench: Bench) -> dict:
    """Zeit gegen Zahl und Größe der Bilder, für Grad-CAM und LRP-ε des Kurses."""
    counts, sizes = (16, 32, 64, 128, 256), (32, 64, 96, 128, 160, 224)
    seconds = {"Grad-CAM": [], "LRP-ε": []}
    milliseconds = {"Grad-CAM": [], "LRP-ε": []}

    def warm(function) -> float:
        function()
        return timed(function)[0]

    for size in sizes:
        model, _ = bench.model(size)
        with LRP(model) as lrp:
            for count in counts if size == 64 else (16,):
                inputs, classes, _ = bench.images(size, count)
                times = {
                    "Grad-CAM": warm(lambda: grad_cam(model, inputs, classes)),
                    "LRP-ε": warm(lambda: lrp.relevance(inputs, classes)),
                }
                for name, value in times.items():
                    if size == 64:
                        seconds[name].append(value)
                    if count == 16:
                        milliseconds[name].append(1000 * value / 16)
    figure = plots.growth(counts, seconds, sizes, milliseconds)
    path = plots.save(figure, "benchmark", "Wie die Rechenzeit wächst", "Grad-CAM und LRP-ε des Kurses.", "benchmark")
    print(f"\nBild: {display_path(path)}")
    return {"bilder": counts, "sekunden": seconds, "pixel": sizes, "ms_je_bild": milliseconds}


def main(arguments=None) -> int:
    """Misst die gewählten Teile, druckt Markdown und schreibt ``ausgabe/benchmark.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teile", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--groessen", nargs="+", type=int, default=[64, 224])
    parser.add_argument("--wiederholungen", type=int, default=5)
    options = parser.parse_args(arguments)
    if any(size < 32 or size % 32 for size in options.groessen):
        raise CourseError("Die Kantenlängen müssen Vielfache von 32 sein: VGG16 halbiert fünfmal.")
    path = output_dir() / "benchmark.json"
    result = read_json(path, {})
    result["maschine"] = {"cpu": platform.processor() or platform.machine(), "kerne": os.cpu_count()}
    result["profile"] = sorted(PROFILES)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.wiederholungen, Path(folder))
        try:
            if {"gradcam", "lrp"} & set(options.teile):
                print(HEADER, flush=True)
            if "gradcam" in options.teile:
                measure_grad_cam(bench, options.groessen)
            if "lrp" in options.teile:
                measure_lrp(bench, options.groessen)
            for part in ("gradcam", "lrp"):
                if part in options.teile:
                    result[part] = [row for row in bench.rows if row["teil"] == part]
            if "training" in options.teile:
                result["durchsatz"] = measure_throughput(bench)
                result["bis_zum_ziel"] = measure_time_to_target(bench)
            if "wachstum" in options.teile:
                result["wachstum"] = measure_growth(bench)
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
