"""Die Tabelle von ``python -m helpers doctor``: jede Zeile kann FEHLT sagen, auch unter zu altem Python."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from helpers import start
from helpers.basics import ROOT
from helpers.workshop import doctor


def test_package_missing_or_of_another_version():
    assert start.check_package("numpy", (ROOT / "requirements.txt").read_text(encoding="utf-8")).ok
    absent = start.check_package("gibt-es-nicht", "gibt-es-nicht==1.0 ; x\n")
    assert (absent.ok, absent.detail, absent.remedy) == (False, "fehlt, gebraucht 1.0", "bash install.bash")
    assert start.check_package("numpy", "numpy==1.0\nnumpy==1.1\n").detail.endswith(" statt 1.0 oder 1.1")


@pytest.mark.parametrize("content", ["{", "{}", '{"argv": []}', '{"argv": ["/nirgends/bin/python"]}'])
def test_kernel_of_another_python_or_damaged(tmp_path, content):
    assert not doctor.check_kernel(tmp_path).ok
    path, python = tmp_path / "share/jupyter/kernels/traue-keinem-cnn/kernel.json", tmp_path / "bin" / "python"
    for folder in (path.parent, python.parent):
        folder.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    assert not doctor.check_kernel(tmp_path).ok
    python.symlink_to(sys.executable)
    path.write_text(json.dumps({"argv": [str(python)]}), encoding="utf-8")
    assert doctor.check_kernel(tmp_path).ok


def test_gpu_is_welcome_but_not_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "WSL_DRIVER", tmp_path / "wsl")
    assert doctor.check_gpu().ok and doctor.check_gpu().detail == "keine GPU, CPU genügt"
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert doctor.check_gpu().detail == "keine GPU, CPU genügt"


TWO_CARDS = "#!/bin/sh\necho 'NVIDIA Test 9000, 20480, 24576'\necho 'Tesla, T4, 512, 15360'\n"


@pytest.mark.parametrize("place", [".", "wsl"])
@pytest.mark.parametrize(
    ("hidden", "packages", "starts", "said"),
    [
        (None, "9", 0, ""),
        ("-1", None, 0, ", ungenutzt: CUDA_VISIBLE_DEVICES verbirgt sie"),
        ("1", None, 0, ", ungenutzt: die CUDA-Pakete bringt bash install.bash --gpu"),
        (None, "9", 100, "libcuda.so.1 nicht oder er startet nicht; unter WSL2"),
        (None, "9", None, "libcuda.so.1 nicht oder er startet nicht; unter WSL2"),
    ],
)
def test_cards_free_memory_and_what_is_missing(place, hidden, packages, starts, said, tmp_path, monkeypatch):
    def load(name):
        if starts is None:
            raise OSError(name)
        return types.SimpleNamespace(cuInit=lambda flags: starts)

    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "nvidia-smi").write_text(TWO_CARDS, encoding="utf-8")
    (tmp_path / place / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(doctor, "WSL_DRIVER", tmp_path / "wsl")
    monkeypatch.setattr(doctor, "installed_version", lambda package: packages)
    monkeypatch.setattr(doctor.ctypes, "CDLL", load)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    cards = "NVIDIA Test 9000: 20,0 von 24,0 GB frei, Tesla, T4: 0,5 von 15,0 GB frei"
    rest = doctor.check_gpu().detail.removeprefix(cards)
    assert said in rest and bool(said) == bool(rest)


def test_two_notebooks_share_a_gpu():
    """TensorFlow und JAX sollen Speicher nehmen, wie sie ihn brauchen; wer es anders will, darf."""
    code = "import os, helpers; e = os.environ; "
    code += "print(e['TF_FORCE_GPU_ALLOW_GROWTH'], e['XLA_PYTHON_CLIENT_PREALLOCATE'])"
    for given, expected in (({}, "true false"), ({"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, "false false")):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "XLA_"))}
        command = [sys.executable, "-c", code]
        assert subprocess.check_output(command, cwd=ROOT, env={**clean, **given}, text=True).strip() == expected


def test_missing_and_damaged_files_are_named(tmp_path):
    content, path = b"Gewichte", tmp_path / "kursmodell.h5"
    right = hashlib.sha256(content).hexdigest()
    assert doctor.check_files("Daten", doctor.sample_sums(tmp_path)).detail.endswith("SHA256SUMS fehlt")
    (tmp_path / "SHA256SUMS").write_text(f"{right}  kursmodell.h5\n", encoding="utf-8")
    sums = doctor.sample_sums(tmp_path)
    assert doctor.check_files("Daten", sums).detail == f"{path} fehlt"
    for found, word in ((content[:-1], "beschädigt"), (content, "stimmt")):
        path.write_bytes(found)
        assert word in doctor.check_files("Daten", sums).detail
    assert not doctor.check_files("Kursmodell", {path: None}).ok  # der Steckbrief ist unlesbar


def test_full_disk_unwritable_folder_and_slow_arithmetic(tmp_path, monkeypatch):
    assert doctor.check_disk(tmp_path / "noch" / "nicht" / "da").ok and doctor.check_writable(tmp_path / "neu").ok
    (tmp_path / "datei").write_text("kein Ordner", encoding="utf-8")
    assert not doctor.check_writable(tmp_path / "datei" / "darunter").ok
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 0.94e9}))
    assert (doctor.check_disk(tmp_path).ok, doctor.check_disk(tmp_path).detail) == (False, "0,9 GB frei")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not doctor.check_onednn().ok


def pythons():
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [next(iter(sorted(root.glob(f"3.{minor}.*/bin/python"))), None) for minor in (8, 9, 10, 14)]
    return [sys.executable, *(str(path) for path in found if path)]


@pytest.mark.parametrize("python", pythons())
def test_a_python_without_packages_or_of_another_version_is_told_what_it_needs(python, tmp_path):
    """Ohne site-packages (-S): doctor nennt jedes Paket, jeder Befehl und die erste Zelle sagen es in einem Satz."""

    def run(*arguments, encoding="utf-8"):
        environment = {"KURS_AUSGABE": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONIOENCODING": encoding}
        command = [python, "-S", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding=encoding)

    table = run("-m", "helpers", "doctor")
    assert (table.returncode, table.stderr) == (1, "") and "\n✘ Es fehlt etwas: " in table.stdout
    for package in start.course_packages():
        assert re.search(rf"^{package} +FEHLT  fehlt, gebraucht .* → bash install.bash$", table.stdout, re.MULTILINE)
    sentence = "FEHLT  3.* → Nehmen Sie Python 3.11, 3.12 oder 3.13: bash install.bash"
    assert bool(re.search(sentence, table.stdout)) == (python != sys.executable)
    for command in ("kurs --nur 03", "cnn", "daten --gibts nicht", "--hilfe"):
        if python == sys.executable and command in ("daten --gibts nicht", "--hilfe"):
            continue  # dazu braucht es kein Paket
        result = run("-m", "helpers", *command.split(), encoding="ascii")
        assert (result.returncode, result.stdout) == (2, "")
        why = r'\[X\] Das Python 3\.\S+ aus ".+" (ist zu alt|hat das Paket "\w+" nicht): .+\.\n'
        assert re.fullmatch(why, result.stderr)
    cell = run("-c", "from helpers.start import start; start('04_GradCAM')")
    assert cell.stdout == "" and re.search("CourseError: .*(im falschen Kernel: Python 3|neuesten Stand)", cell.stderr)


def test_what_speaks_under_python_3_8_is_written_in_its_language():
    """Auch dort, wo kein altes Python zum Ausprobieren liegt."""
    names = ["__init__", "__main__", "basics", "inner/__init__", "inner/provenance", "start"]
    for name in (*names, *(f"workshop/{each}" for each in ("__init__", "doctor", "start_page", "streams"))):
        ast.parse((ROOT / "helpers" / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 8))
