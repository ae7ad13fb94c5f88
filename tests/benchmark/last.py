"""Die Lasttabelle: 30 Prozesse erklären zugleich; wie lange, mit wie viel Speicher, mit gleichem Ergebnis?

Aufruf im Kursordner: ``.venv/bin/python tests/benchmark/last.py [30]``. Je Prozess braucht es etwa 0,8 GB.
"""

import os
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


def kernels(count: int) -> bool:
    """``count`` Prozesse erklären zugleich dieselben Bilder: eine Zeile der Tabelle; ergibt, ob etwas nicht stimmt."""
    began, peak, options = time.monotonic(), 0, {"cwd": ROOT, "env": {**os.environ, **QUIET}}
    files = [tempfile.TemporaryFile("w+") for _ in range(count)]
    running = [psutil.Popen([sys.executable, "-c", KERNEL], stdout=file, **options) for file in files]
    while any(process.poll() is None for process in running):
        try:
            peak = max(peak, sum(process.memory_full_info().pss for process in running if process.is_running()))
        except psutil.Error:
            pass  # eben zu Ende gegangen
        time.sleep(1)
    for file in files:
        file.seek(0)
    answers = {process.returncode or file.read() for process, file in zip(running, files, strict=True)}
    failed, same = sum(process.returncode != 0 for process in running), "ja" if len(answers) == 1 else "NEIN"
    seconds = time.monotonic() - began
    print(f"| {count} × Erklärung | {seconds:.0f} | {peak / 1e6:.0f} MB zusammen | {failed} | {same} |", flush=True)
    return failed > 0 or same == "NEIN"


if __name__ == "__main__":
    print("| Last | Sekunden | Speicher | Fehler | gleiche Ergebnisse |\n| --- | --- | --- | --- | --- |", flush=True)
    sys.exit(any([kernels(1), kernels(int(sys.argv[1]) if sys.argv[1:] else 30)]))
