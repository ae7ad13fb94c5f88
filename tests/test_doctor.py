"""Die Tabelle von ``python -m helpers doctor``: jede Zeile kann FEHLT sagen."""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from helpers import start
from helpers.basics import ROOT, VGG16_SHA256
from helpers.start import PACKAGES, Check
from helpers.workshop import doctor


def test_every_declared_package_is_checked():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {re.match(r"[\w-]+", text)[0] for text in declared} == {*PACKAGES, "pip"}


def test_this_environment_is_complete():
    missing = [check for check in doctor.checks() if not check.ok and not check.name.startswith(("Kernel", "oneDNN"))]
    assert missing == []


def test_python(monkeypatch):
    assert doctor.check_python().ok
    for version in ((3, 10, 14), (3, 14, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        assert not doctor.check_python().ok


def test_package_missing_or_of_another_version():
    assert start.check_package("numpy", start.locked_versions()).ok
    absent = start.check_package("gibt-es-nicht", {"gibt-es-nicht": {"1.0"}})
    assert (absent.ok, absent.detail, absent.remedy) == (False, "fehlt, gebraucht 1.0", "bash install.bash")
    other = start.check_package("numpy", {"numpy": {"1.0", "1.1"}})
    assert not other.ok
    assert other.detail.endswith(" statt 1.0 oder 1.1")


def test_locked_versions(tmp_path):
    lockfile = tmp_path / "requirements.txt"
    text = "# Kopf\nnumpy==2.4 ; python_full_version < '3.12' \\\n    --hash=sha256:00\nnumpy==2.5 \\\n"
    lockfile.write_text(text + "# gpu: nvidia-x==9 \\\n", encoding="utf-8")
    assert start.locked_versions(lockfile) == {"numpy": {"2.4", "2.5"}, "nvidia-x": {"9"}}
    assert start.locked_versions(tmp_path / "fehlt.txt") == {}


def kernel(prefix, argv):
    folder = prefix / "share" / "jupyter" / "kernels" / "traue-keinem-cnn"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(argv if isinstance(argv, str) else json.dumps({"argv": argv}), encoding="utf-8")


def test_kernel(tmp_path):
    assert doctor.check_kernel(tmp_path).detail == "fehlt in dieser Umgebung"
    for content in ("{", "[]", "{}", [], ["/nirgends/bin/python"], [sys.executable], ["python"]):
        kernel(tmp_path, content)
        assert not doctor.check_kernel(tmp_path).ok, content
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    kernel(tmp_path, [str(tmp_path / "bin" / "python"), "-m", "ipykernel_launcher"])
    assert doctor.check_kernel(tmp_path).ok


def test_gpu_is_welcome_but_not_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_gpu() == Check("GPU", True, "keine GPU, CPU genügt")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Test 9000 (UUID: GPU-1)'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "installed_version", lambda package: None)
    assert doctor.check_gpu().detail == "NVIDIA Test 9000, ungenutzt: die CUDA-Pakete bringt bash install.bash --gpu"
    monkeypatch.setattr(doctor, "installed_version", lambda package: "9")
    assert doctor.check_gpu() == Check("GPU", True, "NVIDIA Test 9000")
    program.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n", encoding="utf-8")
    assert doctor.check_gpu().detail == "keine GPU, CPU genügt"


def test_onednn(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert doctor.check_onednn().ok
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not doctor.check_onednn().ok


def test_weights(tmp_path):
    assert doctor.VGG16_SHA256 == VGG16_SHA256
    path = tmp_path / "vgg16.h5"
    assert doctor.check_weights(path).detail.endswith("vgg16.h5 fehlt")
    path.write_bytes(b"Gewichte")
    assert "beschädigt" in doctor.check_weights(path).detail
    assert doctor.check_weights(path, hashlib.sha256(b"Gewichte").hexdigest()).ok


def test_course_model(tmp_path):
    path, card = tmp_path / "kursmodell.h5", tmp_path / "kursmodell.json"
    for content in (None, "{", "[]", "{}"):
        if content is not None:
            card.write_text(content, encoding="utf-8")
        assert doctor.check_course_model(path, card).detail.endswith("kursmodell.json fehlt oder ist unlesbar"), content
    card.write_text(json.dumps({"sha256": hashlib.sha256(b"Gewichte").hexdigest()}), encoding="utf-8")
    assert doctor.check_course_model(path, card).detail.endswith("kursmodell.h5 fehlt")
    path.write_bytes(b"Gewicht")
    assert "beschädigt" in doctor.check_course_model(path, card).detail
    path.write_bytes(b"Gewichte")
    assert doctor.check_course_model(path, card) == Check("Kursmodell", True, "Prüfsumme stimmt")


def test_data(tmp_path):
    assert doctor.check_data(tmp_path).detail.endswith("SHA256SUMS fehlt")
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("", encoding="utf-8")
    assert doctor.check_data(tmp_path).detail == "SHA256SUMS ist leer"
    content = gzip.compress(b"Bilder")
    sums.write_text(f"{hashlib.sha256(content).hexdigest()}  bilder.gz\n", encoding="utf-8")
    assert doctor.check_data(tmp_path).detail == "bilder.gz fehlt"
    (tmp_path / "bilder.gz").write_bytes(content[:-1])
    assert doctor.check_data(tmp_path).detail == "bilder.gz ist beschädigt"
    (tmp_path / "bilder.gz").write_bytes(content)
    assert doctor.check_data(tmp_path).ok


def test_disk(tmp_path, monkeypatch):
    assert doctor.check_disk(tmp_path / "noch" / "nicht" / "da").ok
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 0.94e9}))
    assert doctor.check_disk(tmp_path) == Check(
        "Platz", False, "0,9 GB frei", "Schaffen Sie Platz: Es sollen mindestens 1 GB frei sein."
    )


def test_writable(tmp_path):
    assert doctor.check_writable(tmp_path / "neu").ok
    (tmp_path / "datei").write_text("kein Ordner", encoding="utf-8")
    for folder in (tmp_path / "datei", tmp_path / "datei" / "darunter"):
        assert not doctor.check_writable(folder).ok
    if os.geteuid() != 0:  # root darf alles
        (tmp_path / "neu").chmod(0o500)
        assert not doctor.check_writable(tmp_path / "neu").ok


@pytest.mark.parametrize(("ok", "code", "end"), [(True, 0, "✔ Alles da."), (False, 1, "✘ Es fehlt etwas: Platz.")])
def test_run(monkeypatch, capsys, ok, code, end):
    monkeypatch.setattr(doctor, "checks", lambda: [Check("Python", True, "3.12"), Check("Platz", ok, "0", "Räumen.")])
    assert doctor.run() == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == ("Platz   OK     0" if ok else "Platz   FEHLT  0 → Räumen.")
    assert lines[-1] == end


def test_works_without_any_package(tmp_path):
    """Ohne site-packages (-S) läuft die Tabelle durch und nennt jedes fehlende Paket."""
    result = subprocess.run(
        [sys.executable, "-S", "-m", "helpers.workshop.doctor"],
        cwd=ROOT,
        env={"KURS_AUSGABE": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    for package in PACKAGES:
        assert re.search(rf"^{package} +FEHLT  fehlt, gebraucht .* → bash install.bash$", result.stdout, re.MULTILINE)


def test_imports_no_package():
    """Die Versionen kommen aus den Metadaten: TensorFlow zu laden, dauerte Sekunden."""
    code = "import sys; before = set(sys.modules); import helpers.workshop.doctor as d; d.checks(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "keras", "numpy"} & set(loaded.split())
