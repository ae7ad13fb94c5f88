"""Die Lasttabelle: 30 Prozesse erklären zugleich, zehn Läufe von ``kurs`` zugleich, 10.000 Bilder; mit Speicher.

Aufruf im Kursordner: ``.venv/bin/python tests/benchmark/last.py [--prozesse 30] [--laeufe 10] [--bilder 10000]``;
eine 0 lässt den Teil aus, ``--nur`` führt weniger Notebooks aus. Je Prozess braucht es etwa 0,6 GB Arbeitsspeicher.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers.basics import read_json  # noqa: E402

# Ein Kernel: TensorFlow laden, VGG16 bauen, vier Bilder mit Grad-CAM und LRP-ε erklären.
KERNEL = """
import hashlib, sys
import numpy as np
from helpers.data import load_source
from helpers.gradcam import grad_cam
from helpers.lrp import relevance
from helpers.model import build_vgg16, preprocess
data, model = load_source("beispiel"), build_vgg16(32)
inputs, classes = preprocess(data.test_images[:4], 32), data.test_labels[:4].astype(int)
cams = grad_cam(model, inputs, classes)
maps = relevance(model, inputs, classes)
print(hashlib.sha256(np.round(cams, 4).tobytes()).hexdigest()[:16], float(np.abs(maps).sum()))
"""

# Jeder Prozess auf einem Kern, sonst stehen sich die Fäden im Weg.
QUIET = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def together(commands: list[list[str]], environments: list[dict]) -> tuple[float, float, list]:
    """Startet alle zugleich; ergibt Sekunden, größten gemeinsamen Speicher in MB (PSS) und (Rückgabewert, stdout)."""
    began, peak = time.monotonic(), 0.0
    files = [tempfile.TemporaryFile("w+") for _ in commands]
    running = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **more}, stdout=file, stderr=subprocess.STDOUT)
        for command, more, file in zip(commands, environments, files, strict=True)
    ]
    while any(process.poll() is None for process in running):
        total = 0
        for process in running:
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                total += sum(each.memory_full_info().pss for each in family)
            except psutil.Error:
                continue
        peak = max(peak, total / 1e6)
        time.sleep(1)
    texts = []
    for process, file in zip(running, files, strict=True):
        file.seek(0)
        texts.append((process.returncode, file.read()))
    return time.monotonic() - began, peak, texts


def row(name: str, seconds: float, memory: str, failed: int, same: bool) -> bool:
    """Schreibt eine Zeile der Tabelle; ergibt, ob etwas nicht stimmt."""
    answer = "ja" if same else "NEIN"
    print(f"| {name} | {seconds:.0f} | {memory} | {failed} | {answer} |", flush=True)
    return bool(failed) or not same


def kernels(count: int) -> bool:
    """``count`` Prozesse erklären zugleich dieselben vier Bilder."""
    seconds, peak, texts = together([[sys.executable, "-c", KERNEL]] * count, [QUIET] * count)
    answers = {text.splitlines()[-1] if code == 0 else None for code, text in texts}
    failed = sum(code != 0 for code, _ in texts)
    return row(f"{count} × Erklärung", seconds, f"{peak:.0f} MB zusammen", failed, len(answers) == 1)


def courses(count: int, only=()) -> bool:
    """``count`` Läufe von ``kurs`` auf einem Kursordner, jeder mit eigener Ausgabe: die Notebooks ``only``, klein."""
    command = [sys.executable, "-m", "helpers", "kurs", "--profil", "probe", "-p", "bilder", "2"]
    if only:
        command += ["--nur", *only]
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(number) for number in range(count)]
        seconds, peak, texts = together([command] * count, [{**QUIET, "KURS_AUSGABE": str(place)} for place in places])
        figures = [read_json(place / "kennzahlen.json", {}) for place in places]
    for code, text in texts:
        if code:
            print(text[-2000:], file=sys.stderr)
    failed = sum(code != 0 for code, _ in texts)
    answers = {str([found.get(key) for key in ("test_accuracy", "confusion", "lrp", "urteil")]) for found in figures}
    name = " ".join([f"{count} × kurs", *only])
    return row(name, seconds, f"{peak:.0f} MB zusammen", failed, len(answers) == 1)


def many_images(count: int) -> bool:
    """``count`` Testbilder durch das Kursmodell, in Häppchen von 500; zehn davon auch einzeln."""
    from helpers.course_model import load_course_model
    from helpers.data import load_source
    from helpers.gradcam import grad_cam
    from helpers.lrp import relevance
    from helpers.model import preprocess

    data, model = load_source("beispiel"), load_course_model().model
    images, labels = data.test_images[:count], data.test_labels[:count].astype(int)
    size = model.input_shape[1]
    checked = np.random.default_rng(0).choice(len(images), 10, replace=False)
    bad = False
    for name, explain in {"Grad-CAM": grad_cam, "LRP-ε": relevance}.items():
        began, levels, kept, finite = time.monotonic(), [], {}, True
        for start in range(0, len(images), 500):
            part = slice(start, start + 500)
            maps = explain(model, preprocess(images[part], size), labels[part])
            finite &= bool(np.isfinite(maps).all())
            kept |= {number: maps[number - start] for number in checked if start <= number < start + 500}
            levels.append(psutil.Process().memory_info().rss / 1e6)
        seconds = time.monotonic() - began
        alone = {n: explain(model, preprocess(images[n : n + 1], size), labels[n : n + 1])[0] for n in checked}
        # Im leeren Hintergrund entscheidet die Rundung, wohin Relevanz fließt: drei von vier Pixeln, und die Summe.
        difference = max(
            max(
                np.quantile(np.abs(one - kept[n]), 0.75) / np.abs(one).max(),
                abs((one - kept[n]).sum()) / np.abs(one).sum(),
            )
            for n, one in alone.items()
            if one.any()
        )
        memory = f"{levels[min(1, len(levels) - 1)]:.0f} → {levels[-1]:.0f} MB (höchstens {max(levels):.0f})"
        bad |= row(f"{len(images)} Bilder, {name}", seconds, memory, int(not finite), bool(difference < 1e-3))
        print(f"größte Abweichung zum Einzelbild: {difference:.1e}", file=sys.stderr)
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prozesse", type=int, default=30)
    parser.add_argument("--laeufe", type=int, default=10)
    parser.add_argument("--nur", nargs="*", default=[])
    parser.add_argument("--bilder", type=int, default=10_000)
    options = parser.parse_args()
    print("| Last | Sekunden | Speicher | Fehler | gleiche Ergebnisse |\n| --- | --- | --- | --- | --- |", flush=True)
    bad = False
    kurs = functools.partial(courses, only=options.nur)
    for measure, most in ((kernels, options.prozesse), (kurs, options.laeufe)):
        for count in sorted({1, most} if most else ()):
            bad |= measure(count)
    if options.bilder:
        bad |= many_images(options.bilder)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
