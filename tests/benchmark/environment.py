"""Die Vergleichsumgebung ``.venv/vergleich``: PyTorch, JAX, zennit und pytorch-grad-cam, getrennt vom Kurs.

Sie entsteht beim ersten Gebrauch und wird erneuert, wenn sich ``requirements.txt`` daneben ändert.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = ROOT / ".venv" / "vergleich"
REQUIREMENTS = HERE / "requirements.txt"
TORCH = "torch==2.13.0"


def _key() -> str:
    content = f"{TORCH}\n{sys.version_info[:2]}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    return hashlib.sha256(content.encode()).hexdigest()


def ensure() -> Path:
    """Pfad des Python der Vergleichsumgebung; sie wird gebaut, wenn sie fehlt oder veraltet ist.

    Raises:
        RuntimeError: wenn pip ein Paket nicht laden kann.
    """
    python, stamp = FOLDER / "bin" / "python", FOLDER / "stempel"
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with open(FOLDER.parent / "vergleich.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # zwei Testläufe bauen sonst gleichzeitig
        if stamp.is_file() and stamp.read_text() == _key() and python.exists():
            return python
        print(f"Die Vergleichsumgebung {FOLDER.relative_to(ROOT)} entsteht (einmalig, einige Minuten) …", flush=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        # Das pip des Kurses genügt: Nicht jedes System-Python kann einer neuen Umgebung ein eigenes geben.
        _run(sys.executable, "-m", "venv", "--without-pip", str(FOLDER))
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
        pip += ["install", "--no-compile"]
        _run(*pip, TORCH)
        _run(*pip, "--no-deps", "--requirement", str(REQUIREMENTS))
        stamp.write_text(_key())
    return python


def _run(*command) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"Die Vergleichsumgebung ließ sich nicht bauen ({' '.join(command[-2:])}): {done.stderr.strip()[-500:]}"
        )


if __name__ == "__main__":
    print(ensure())
