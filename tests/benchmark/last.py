"""Die Lasttabelle: 30 Prozesse erklären zugleich, zehn Läufe von ``kurs`` zugleich; mit Speicher.

Aufruf im Kursordner: ``.venv/bin/python -m tests.benchmark.last [--prozesse 30] [--laeufe 10]``. Je Prozess werden etwa
0,5 GB Arbeitsspeicher gebraucht.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from helpers.basics import read_json

ROOT = Path(__file__).resolve().parents[2]
# Ein Kernel: TensorFlow laden, VGG16 bauen, vier Bilder mit Grad-CAM und LRP-ε erklären.
KERNEL = """
import hashlib, sys
import numpy as np
from helpers.data import load_source
from helpers.explanation import LRP, grad_cam
from helpers.model import build_vgg16, preprocess
data, model = load_source("beispiel"), build_vgg16(32)
inputs, classes = preprocess(data.test_images[:4], 32), data.test_labels[:4].astype(int)
cams = grad_cam(model, inputs, classes)
with LRP(model, "lrp.epsilon") as lrp:
    maps = lrp.relevance(inputs, classes)
print(hashlib.sha256(np.round(cams, 4).tobytes()).hexdigest()[:16], float(np.abs(maps).sum()))
"""


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prozesse", type=int, default=30)
    parser.add_argument("--laeufe", type=int, default=10)
    options = parser.parse_args()
    quiet = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    print(
        "| Last | Sekunden | Speicher zusammen (PSS) | Fehler | gleiche Ergebnisse |\n| --- | --- | --- | --- | --- |"
    )
    bad = 0
    for count in (1, options.prozesse):
        seconds, peak, texts = together([[sys.executable, "-c", KERNEL]] * count, [quiet] * count)
        answers = {text.splitlines()[-1] for code, text in texts if code == 0}
        failed = sum(code != 0 for code, _ in texts)
        bad += failed
        print(f"| {count} × Erklärung | {seconds:.0f} | {peak:.0f} MB | {failed} | {len(answers) == 1} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # Alle fünf Notebooks, klein genug für zehn auf einmal.
        command = [sys.executable, "-m", "helpers", "kurs", "--profil", "probe", "-p", "bilder", "4"]
        for count in (1, options.laeufe):
            places = [Path(folder) / f"{count}-{number}" for number in range(count)]
            seconds, peak, texts = together(
                [command] * count, [{**quiet, "KURS_AUSGABE": str(place)} for place in places]
            )
            failed = sum(code != 0 for code, _ in texts)
            figures = [read_json(place / "kennzahlen.json", {}) for place in places]
            answers = {
                str([found.get(key) for key in ("test_accuracy", "confusion", "lrp", "urteil")]) for found in figures
            }
            bad += failed
            print(f"| {count} × kurs | {seconds:.0f} | {peak:.0f} MB | {failed} | {len(answers) == 1} |", flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
