"""Backends und Geräte: überall dieselbe Lernkurve, und verständliche Sätze, wo etwas nicht geht."""

import functools
import json
import os
import socket
import subprocess
import sys

import backend_probe
import numpy as np
import pytest
from benchmark import environment
from two_layers import replace_vgg16

from helpers.basics import ROOT, CourseError
from helpers.workshop import cnn


def start(backend: str, part: str, count: int, folder, **settings) -> subprocess.Popen:
    """Startet ein kleines Training mit diesem Backend auf so vielen Geräten."""
    python = sys.executable if backend == "tensorflow" else str(environment.ensure())
    settings |= {"KERAS_BACKEND": backend, "KURS_AUSGABE": str(folder)}
    command = [python, str(ROOT / "tests" / "backend_probe.py"), part, str(count)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **settings}, **pipes)


def finish(process: subprocess.Popen) -> dict:
    """Verlauf und Logits des Trainings."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-2000:]
    (line,) = [line for line in out.splitlines() if line.startswith("PROBE ")]
    return json.loads(line.removeprefix("PROBE "))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Dasselbe Training mit TensorFlow auf einem Gerät, in diesem Prozess: part → Verlauf und Logits."""

    @functools.cache
    def learned(part: str) -> dict:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KURS_AUSGABE", str(tmp_path_factory.mktemp("erwartet")))
            if part == "zwei Schichten":
                replace_vgg16(patch.setattr)
            return backend_probe.learn(part, 1)

    return learned


def assert_same_curve(found: dict, curve: dict) -> None:
    for key in ("verlust", "val_verlust"):
        np.testing.assert_allclose(found[key], curve[key], rtol=1e-3)
    np.testing.assert_allclose(found["logits"], curve["logits"], atol=5e-3)
    assert curve["verlust"][1] < curve["verlust"][0]


@pytest.mark.parametrize(
    ("backend", "part", "count"),
    [
        ("tensorflow", "zwei Schichten", 2),
        ("torch", "zwei Schichten", 1),
        *(
            pytest.param(*case, marks=pytest.mark.alles)
            for case in (
                ("jax", "zwei Schichten", 2),
                ("torch", "ganz", 1),
                ("jax", "block4_pool", 1),
                ("tensorflow", "ganz", 2),
                ("tensorflow", "block4_pool", 2),
                ("jax", "ganz", 2),
            )
        ),
    ],
)
def test_gleiche_lernkurve_mit_jedem_backend_und_auf_zwei_geraeten(expected, tmp_path, request, backend, part, count):
    if backend != "tensorflow" and not request.config.getoption("--alles") and not environment.FOLDER.is_dir():
        pytest.skip("die Vergleichsumgebung gibt es hier noch nicht")
    virtual = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"} if backend == "jax" else {}
    found = finish(start(backend, part, count, tmp_path, **virtual))
    assert found["backend"] == backend
    assert found["tensorflow"] == (backend == "tensorflow"), "mit JAX und PyTorch wird TensorFlow nicht gebraucht"
    assert_same_curve(found, expected(part))


@pytest.mark.alles
def test_gleiche_lernkurve_mit_zwei_rechnern(expected, tmp_path):
    """Zwei Prozesse, die nur über das Netz (hier: localhost) voneinander wissen, lernen gemeinsam mit JAX."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    environment.ensure()
    processes = [
        start("jax", "block4_pool", 2, tmp_path / str(number), KERAS_DISTRIBUTION_PROCESS_ID=str(number), **common)
        for number in range(2)
    ]
    for process in processes:
        assert_same_curve(finish(process), expected("block4_pool"))


def test_zu_viele_geraete_sind_ein_satz(monkeypatch):
    import tensorflow as tf

    tf.config.list_logical_devices()  # TensorFlow läuft: Die Zahl der Geräte steht fest
    with pytest.raises(CourseError, match="Verlangt sind 7 Geräte.*Kernel neu"):
        cnn.parallel(7)
    monkeypatch.setattr(cnn.keras.backend, "backend", lambda: "torch")
    with pytest.raises(CourseError, match="torch.*KERAS_BACKEND"):
        cnn.parallel(2)
