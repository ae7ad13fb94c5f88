"""Womit gerechnet wird: GPU oder CPU, bfloat16, ein Gerät oder mehrere. Für alle drei Backends von Keras."""

import contextlib
import os
from functools import cache
from pathlib import Path

from helpers.basics import CourseError
from helpers.model import keras


@cache
def has_gpu() -> bool:
    """Sieht das Backend eine GPU?"""
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    return bool(_listed("gpu"))


def _listed(kind: str) -> list[str]:
    """Geräte dieser Art, wie das Backend sie nennt; JAX meldet eine fehlende Art als Fehler."""
    try:
        return keras.distribution.list_devices(kind)
    except RuntimeError:
        return []


@cache
def fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Rechnet dieses Gerät bfloat16 schneller als float32?

    GPUs tun es, unter den CPUs die mit eigenem Befehl dafür (AVX512-BF16, AMX), und dort nur TensorFlow mit oneDNN:
    Ein Training von VGG16 dauerte so 0,6-mal so lang (AMD Zen 4).
    """
    if has_gpu():
        return True
    if keras.backend.backend() != "tensorflow" or not cpuinfo.is_file():
        return False
    return any(flag in cpuinfo.read_text(errors="replace") for flag in ("avx512_bf16", "amx_bf16"))


def parallel(devices: int):
    """Datenparalleles Lernen: Jedes Gerät rechnet einen Teil jedes Stapels.

    Rufen Sie die Funktion auf, bevor das Backend zum ersten Mal rechnet: Danach steht die Zahl der Geräte fest. Ohne
    genügend GPUs teilt sich die CPU in so viele gedachte Geräte: langsamer, aber mit demselben Ergebnis. Mit JAX dürfen
    die Geräte auf mehrere Maschinen verteilt sein; Adressen liest Keras aus ``KERAS_DISTRIBUTION_JOB_ADDRESSES``.

    Args:
        devices: Zahl der Geräte; 1 lässt alles, wie es ist.

    Returns:
        Funktion ohne Argumente; ihr Ergebnis ist der Kontext (``with``), in dem Modelle entstehen und lernen.

    Raises:
        CourseError: wenn es so viele Geräte nicht gibt oder das Backend es nicht kann.
    """
    backend = keras.backend.backend()
    if devices == 1:
        return contextlib.nullcontext
    if backend == "tensorflow":
        return _mirrored(devices)
    if backend == "jax":
        return _data_parallel(devices)
    raise CourseError(
        f"Mit dem Backend {backend} lernt der Kurs nur auf einem Gerät: Setzen Sie KERAS_BACKEND=tensorflow oder jax."
    )


def _mirrored(devices: int):
    import tensorflow as tf

    kind = "GPU" if len(tf.config.list_physical_devices("GPU")) >= devices else "CPU"
    if kind == "CPU":
        with contextlib.suppress(RuntimeError):  # TensorFlow läuft schon; dann zählt, was da ist
            parts = [tf.config.LogicalDeviceConfiguration()] * devices
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(found) < devices:
        remedy = "Starten Sie den Kernel neu und rufen Sie das Training als Erstes auf"
        raise CourseError(f"Verlangt sind {devices} Geräte, TensorFlow hat {len(found)}: {remedy}.")
    return tf.distribute.MirroredStrategy(found[:devices]).scope


def _data_parallel(devices: int):
    if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):  # mehrere Maschinen finden sich vor der ersten Rechnung
        keras.distribution.initialize()
    found = _listed("gpu")
    found = found if len(found) >= devices else _listed("cpu")
    if len(found) < devices:
        remedy = f"Setzen Sie vor dem Start XLA_FLAGS=--xla_force_host_platform_device_count={devices}"
        raise CourseError(f"Verlangt sind {devices} Geräte, JAX hat {len(found)}: {remedy}.")
    return keras.distribution.DataParallel(devices=found[:devices], auto_shard_dataset=False).scope


def own_share() -> tuple[int, int]:
    """Nummer dieses Prozesses und Zahl der Prozesse, die gemeinsam lernen (auf einer Maschine: 0 und 1)."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()
