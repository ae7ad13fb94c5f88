"""``python -m helpers doctor``: zeigt in einer Tabelle, ob alles da ist, was der Kurs braucht.

Das Modul kommt mit der Standardbibliothek aus, auch mit der von Python 3.8: So kann es dort, wo Pakete fehlen oder das
Python zu alt ist, genau das sagen.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.basics import (
    COURSE_MODEL,
    COURSE_MODEL_CARD,
    INPUT,
    KERNEL_NAME,
    VGG16_SHA256,
    VGG16_WEIGHTS,
    display_path,
    german,
    output_dir,
    sha256,
    try_read_json,
)
from helpers.start import INSTALL, Check, check_packages, installed_version

PYTHONS = ((3, 11), (3, 13))
FREE_GB = 1.0


def check_python() -> Check:
    """Python 3.11 bis 3.13?"""
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    return Check("Python", fits, platform.python_version(), f"Nehmen Sie Python 3.11, 3.12 oder 3.13: {INSTALL}")


def check_kernel(prefix=None) -> Check:
    """Gibt es den Jupyter-Kernel des Kurses in dieser Umgebung, und startet er ihr Python?"""
    prefix = Path(prefix or sys.prefix).resolve()
    spec = try_read_json(prefix / "share" / "jupyter" / "kernels" / KERNEL_NAME / "kernel.json", {})
    interpreter = Path(*spec.get("argv", [])[:1])
    # …/bin/python: Verglichen wird die Umgebung, denn das Python selbst ist meist ein Link nach draußen.
    fits = interpreter.is_file() and interpreter.parent.parent.resolve() == prefix
    detail = "zeigt auf dieses Python" if fits else "fehlt in dieser Umgebung oder gehört zu einem anderen Python"
    return Check(f"Kernel {KERNEL_NAME}", fits, detail, INSTALL)


WSL_DRIVER = Path("/usr/lib/wsl/lib")  # dort hat WSL2 den Treiber von Windows


def check_gpu() -> Check:
    """Eine NVIDIA-Karte ist willkommen, aber nicht nötig: Name, freier Speicher, und warum sie nichts tut."""
    program = shutil.which("nvidia-smi") or str(WSL_DRIVER / "nvidia-smi")
    query = ["--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run([program, *query], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    cards = re.findall(r"^(.+), (\d+), (\d+)$", answer, re.MULTILINE)
    if not cards:
        return Check("GPU", True, "keine GPU, CPU genügt")
    gigabytes = [(name, german(int(free) / 1024, 1), german(int(total) / 1024, 1)) for name, free, total in cards]
    found = ", ".join(f"{name}: {free} von {total} GB frei" for name, free, total in gigabytes)
    return Check("GPU", True, found + why_unused())


def why_unused() -> str:
    """Warum TensorFlow eine Karte, die da ist, nicht sieht; leer, wenn es sie sieht."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return ", ungenutzt: CUDA_VISIBLE_DEVICES verbirgt sie"
    if installed_version("nvidia-cudnn-cu12") is None:
        return f", ungenutzt: die CUDA-Pakete bringt {INSTALL} --gpu"
    try:
        ready = ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        ready = False
    if ready:
        return ""
    wsl = f"unter WSL2 hilft „export LD_LIBRARY_PATH={WSL_DRIVER}“"
    return f", ungenutzt: TensorFlow findet den Treiber libcuda.so.1 nicht oder er startet nicht; {wsl}"


def check_onednn() -> Check:
    """oneDNN halbiert auf vielen CPUs die Rechenzeit; helpers schaltet es ein."""
    on = os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"
    return Check("oneDNN", on, "an" if on else "aus", "Löschen Sie die Umgebungsvariable TF_ENABLE_ONEDNN_OPTS.")


def check_files(name: str, sums: dict) -> Check:
    """Sind die Dateien da und unversehrt? ``sums``: Pfad → SHA-256 (None, wenn sie unbekannt ist)."""
    found = []
    for path, expected in sums.items():
        if not path.is_file():
            found.append(f"{display_path(path)} fehlt")
        elif sha256(path) != expected:
            found.append(f"{display_path(path)} ist beschädigt (Prüfsumme)")
    return Check(name, not found, ", ".join(found) or "Prüfsumme stimmt", "Laden Sie den Kurs noch einmal herunter.")


def sample_sums(folder=INPUT / "fashion-mnist") -> dict:
    """Pfad → SHA-256 der mitgelieferten Stichprobe."""
    try:
        words = (folder / "SHA256SUMS").read_text(encoding="utf-8").split()
    except OSError:
        words = [None, "SHA256SUMS"]
    return {folder / name: expected for expected, name in zip(words[::2], words[1::2])}  # noqa: B905 (Python 3.8)


def check_disk(folder=None) -> Check:
    """Mindestens 1 GB frei, wo die Ergebnisse hinkommen?"""
    folder = Path(folder or output_dir())
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    remedy = f"Schaffen Sie Platz: Es sollen mindestens {german(FREE_GB, 0)} GB frei sein."
    return Check("Platz", free >= FREE_GB, f"{german(free, 1)} GB frei", remedy)


def check_writable(folder=None) -> Check:
    """Lässt sich in den Ausgabeordner schreiben?"""
    folder = Path(folder or output_dir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError:
        remedy = "Ändern Sie die Rechte oder nennen Sie mit KURS_AUSGABE einen anderen Ordner."
        return Check("Schreibrecht", False, f"nicht in {display_path(folder)}", remedy)
    return Check("Schreibrecht", True, display_path(folder))


def checks() -> list:
    """Alle Prüfungen in der Reihenfolge der Tabelle."""
    return [
        check_python(),
        *check_packages(),
        check_kernel(),
        check_gpu(),
        check_onednn(),
        check_files("Gewichte VGG16", {VGG16_WEIGHTS: VGG16_SHA256}),
        check_files("Kursmodell", {COURSE_MODEL: try_read_json(COURSE_MODEL_CARD, {}).get("sha256")}),
        check_files("Daten (Stichprobe)", sample_sums()),
        check_disk(),
        check_writable(),
    ]


def table(results: list) -> str:
    """Die Prüfungen als Texttabelle; bei FEHLT steht hinter dem Befund, was zu tun ist."""
    width = max(len(check.name) for check in results)
    lines = [f"{'Prüfung':{width}}  Stand  Befund", f"{'-' * width}  -----  {'-' * 40}"]
    for check in results:
        state, remedy = ("OK", "") if check.ok else ("FEHLT", f" → {check.remedy}")
        lines.append(f"{check.name:{width}}  {state:5}  {check.detail}{remedy}")
    return "\n".join(lines)


def run() -> int:
    """Druckt die Tabelle; 0, wenn alles da ist, sonst 1."""
    results = checks()
    missing = [check.name for check in results if not check.ok]
    print(f"{table(results)}\n")
    print(f"✘ Es fehlt etwas: {', '.join(missing)}." if missing else "✔ Alles da.")
    return int(bool(missing))
