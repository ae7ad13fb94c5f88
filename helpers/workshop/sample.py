"""Die mitgelieferte Stichprobe aus den Originalen schneiden (``python -m helpers stichprobe``)."""

import hashlib
import struct
import zlib
from pathlib import Path

from helpers.basics import CourseError, display_path, sha256
from helpers.data import DEBIAN_FOLDER, SAMPLE, Dataset, subset
from helpers.inner.files import IDX_NAMES, read_bytes, read_idx

# MD5 der vier Originale, ausgepackt: Debians Paket hat im gzip-Kopf Name und Datum entfernt.
UNPACKED_MD5 = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)


def make_sample(source: Path = DEBIAN_FOLDER, target: Path = SAMPLE, n_train: int = 10_000, seed: int = 2020) -> Path:
    """Schneidet die mitgelieferte Stichprobe aus den vier originalen idx-Dateien (``python -m helpers stichprobe``).

    Geprüft werden die MD5-Summen der ausgepackten Originale; die gzip-Dateien sind bei jedem Lauf bytegleich.
    """
    for name, md5 in zip(IDX_NAMES, UNPACKED_MD5, strict=True):
        if hashlib.md5(read_bytes(source / f"{name}.gz")).hexdigest() != md5:
            raise CourseError(
                f"{name}.gz in {display_path(source)} ist nicht das Original von Zalando (die MD5-Summe stimmt nicht): "
                "Nennen Sie mit --eingabe den Ordner der vier Originale."
            )
    parts = [read_idx(source / f"{name}.gz") for name in IDX_NAMES]
    original = Dataset(*parts, source="Original")
    sample = subset(original, n_train, None, seed)
    parts = (sample.train_images, sample.train_labels, sample.test_images, sample.test_labels)
    target.mkdir(parents=True, exist_ok=True)
    sums = []
    for name, values in zip(IDX_NAMES, parts, strict=True):
        header = struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape)
        path = target / f"{name}.gz"
        # zlib schreibt selbst einen gzip-Kopf ohne Name und Datum; der von gzip.compress hängt von Pythons Version ab.
        path.write_bytes(zlib.compress(header + values.tobytes(), 9, wbits=31))
        sums.append(f"{sha256(path)}  {path.name}\n")
    (target / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    return target
