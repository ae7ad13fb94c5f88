"""Die Vergleichsumgebung ``.venv/vergleich``: PyTorch, JAX, zennit und pytorch-grad-cam, getrennt vom Kurs.

Sie entsteht beim ersten Gebrauch und wird erneuert, wenn sich ``requirements.txt`` daneben ändert.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".venv" / "vergleich"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
TORCH = "torch==2.13.0"


def ensure() -> Path:
    """Pfad des Python der Vergleichsumgebung; sie wird gebaut, wenn sie fehlt oder veraltet ist.

    Raises:
        RuntimeError: wenn pip ein Paket nicht laden kann.
    """
    python, stamp = FOLDER / "bin" / "python", FOLDER / "stempel"
    key = f"{TORCH}\n{sys.version_info[:2]}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with open(FOLDER.parent / "vergleich.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # zwei Testläufe bauen sonst gleichzeitig
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == key and python.exists():
            return python
        print("Die Vergleichsumgebung .venv/vergleich entsteht (einmalig, einige Minuten) …", flush=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        # Das pip des Kurses genügt: Nicht jedes System-Python kann einer neuen Umgebung ein eigenes geben.
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install", "--no-compile"]
        venv = [sys.executable, "-m", "venv", "--without-pip", str(FOLDER)]
        for command in (venv, [*pip, TORCH], [*pip, "--no-deps", "--requirement", str(REQUIREMENTS)]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"Die Vergleichsumgebung ließ sich nicht bauen: {done.stderr.strip()[-500:]}")
        stamp.write_text(key, encoding="utf-8")
    return python
