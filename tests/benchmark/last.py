"""Die Lasttabelle: 30 Prozesse erklären zugleich; wie lange, mit wie viel Speicher, mit gleichem Ergebnis?

Aufruf im Kursordner: ``.venv/bin/python tests/benchmark/last.py [--prozesse 30]``. Je Prozess braucht es etwa 0,8 GB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

# Ein Kernel: TensorFlow laden, VGG16 bauen, vier Bilder mit Grad-CAM und LRP-ε erklären.
KERNEL = """
import hashlib
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


def together(command: list[str], count: int) -> tuple[float, float, list]:
    """Startet ``count`` zugleich; ergibt Sekunden, größten gemeinsamen Speicher in MB (PSS), (Rückgabewert, stdout)."""
    began, peak = time.monotonic(), 0.0
    files = [tempfile.TemporaryFile("w+") for _ in range(count)]
    running = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **QUIET}, stdout=file, stderr=subprocess.STDOUT)
        for file in files
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


def kernels(count: int) -> bool:
    """``count`` Prozesse erklären zugleich dieselben Bilder: eine Zeile der Tabelle; ergibt, ob etwas nicht stimmt."""
    seconds, peak, texts = together([sys.executable, "-c", KERNEL], count)
    answers = {text.splitlines()[-1] if code == 0 else None for code, text in texts}
    failed = sum(code != 0 for code, _ in texts)
    same = "ja" if len(answers) == 1 else "NEIN"
    print(f"| {count} × Erklärung | {seconds:.0f} | {peak:.0f} MB zusammen | {failed} | {same} |", flush=True)
    return bool(failed) or len(answers) > 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prozesse", type=int, default=30)
    count = parser.parse_args().prozesse
    print("| Last | Sekunden | Speicher | Fehler | gleiche Ergebnisse |\n| --- | --- | --- | --- | --- |", flush=True)
    return int(any([kernels(1), kernels(count)]))


if __name__ == "__main__":
    sys.exit(main())
