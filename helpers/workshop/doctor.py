"""``python -m helpers doctor``: zeigt in einer Tabelle, ob alles da ist, was der Kurs braucht.

Das Modul kommt mit der Standardbibliothek aus, auch mit der von Python 3.8: So kann es dort, wo Pakete fehlen oder das
Python zu alt ist, genau das sagen.
"""

import hashlib
import json
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
    try_read_json,
)
from helpers.start import INSTALL, Check, check_packages, installed_version

SAMPLE = INPUT / "fashion-mnist"
PYTHONS = ((3, 11), (3, 13))
FREE_GB = 1.0
DOWNLOAD_AGAIN = "Laden Sie den Kurs noch einmal herunter."


def checksum(path: Path) -> str:
    """SHA-256 einer Datei, anders als ``basics.sha256`` auch unter älterem Python."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_python() -> Check:
    """Python 3.11 bis 3.13?"""
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    return Check("Python", fits, platform.python_version(), f"Nehmen Sie Python 3.11, 3.12 oder 3.13: {INSTALL}")


def check_kernel(prefix=None) -> Check:
    """Gibt es den Jupyter-Kernel des Kurses in dieser Umgebung, und startet er ihr Python?"""
    prefix = Path(prefix or sys.prefix).resolve()
    name = f"Kernel {KERNEL_NAME}"
    try:
        text = (prefix / "share" / "jupyter" / "kernels" / KERNEL_NAME / "kernel.json").read_text(encoding="utf-8")
        interpreter = Path(json.loads(text)["argv"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return Check(name, False, "fehlt in dieser Umgebung", INSTALL)
    # …/bin/python: Verglichen wird die Umgebung, denn das Python selbst ist meist ein Link nach draußen.
    if not interpreter.exists() or interpreter.parent.parent.resolve() != prefix:
        return Check(name, False, "gehört zu einem anderen Python", INSTALL)
    return Check(name, True, "zeigt auf dieses Python")


def check_gpu() -> Check:
    """Eine NVIDIA-Karte ist willkommen, aber nicht nötig."""
    name = "GPU"
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    cards = re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", answer, re.MULTILINE)
    if not cards:
        return Check(name, True, "keine GPU, CPU genügt")
    if installed_version("nvidia-cudnn-cu12") is None:
        return Check(name, True, f"{cards[0]}, ungenutzt: die CUDA-Pakete bringt {INSTALL} --gpu")
    return Check(name, True, ", ".join(cards))


def check_onednn() -> Check:
    """oneDNN halbiert auf vielen CPUs die Rechenzeit; helpers schaltet es ein."""
    on = os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"
    return Check("oneDNN", on, "an" if on else "aus", "Löschen Sie die Umgebungsvariable TF_ENABLE_ONEDNN_OPTS.")


def check_weights(path=VGG16_WEIGHTS, expected=VGG16_SHA256, name="Gewichte VGG16") -> Check:
    """Sind die Gewichte von VGG16 da und unversehrt?"""
    path = Path(path)
    if not path.is_file():
        detail = f"{display_path(path)} fehlt"
    elif checksum(path) != expected:
        detail = f"{display_path(path)} ist beschädigt (Prüfsumme)"
    else:
        return Check(name, True, "Prüfsumme stimmt")
    return Check(name, False, detail, DOWNLOAD_AGAIN)


def check_course_model(path=COURSE_MODEL, card=COURSE_MODEL_CARD) -> Check:
    """Ist das Kursmodell da, mit lesbarem Steckbrief und dessen Prüfsumme?"""
    content = try_read_json(card)
    if not isinstance(content, dict) or "sha256" not in content:
        return Check("Kursmodell", False, f"{display_path(card)} fehlt oder ist unlesbar", DOWNLOAD_AGAIN)
    return check_weights(path, content["sha256"], "Kursmodell")


def check_data(folder=SAMPLE) -> Check:
    """Ist die mitgelieferte Stichprobe vollständig und unversehrt?"""
    folder = Path(folder)
    name = "Daten (Stichprobe)"
    try:
        sums = [line.split() for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines() if line]
    except OSError:
        return Check(name, False, f"{display_path(folder / 'SHA256SUMS')} fehlt", DOWNLOAD_AGAIN)
    missing = [file for _, file in sums if not (folder / file).is_file()]
    damaged = [file for expected, file in sums if file not in missing and checksum(folder / file) != expected]
    if missing or damaged or not sums:
        parts = [f"{file} fehlt" for file in missing] + [f"{file} ist beschädigt" for file in damaged]
        return Check(name, False, ", ".join(parts) or "SHA256SUMS ist leer", DOWNLOAD_AGAIN)
    return Check(name, True, f"{german(len(sums))} Dateien, Prüfsummen stimmen")


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
        check_weights(),
        check_course_model(),
        check_data(),
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
    print(table(results))
    missing = [check.name for check in results if not check.ok]
    if missing:
        print(f"\n✘ Es fehlt etwas: {', '.join(missing)}.")
        return 1
    print("\n✔ Alles da.")
    return 0
