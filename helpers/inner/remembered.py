"""Was lange rechnet und nur von Netz und Bildern abhängt, wird einmal gerechnet und liegt dann in ``ausgabe/merkmale``.

Wer ein Notebook noch einmal ausführt, wartet deshalb kein zweites Mal. Was das Kursmodell ergibt, liegt schon in
``input/merkmale``.
"""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from helpers.basics import INPUT, atomic_file, output_dir
from helpers.model import weights_checksum

HELPERS = Path(__file__).parent.parent


def remembered(name: str, model, images, given, compute, sources=()) -> list[dict]:
    """``compute()``, oder dasselbe von der Platte, wenn Netz, Bilder und ``given`` schon einmal so da waren.

    Ein eigenes Netz hat eine eigene Vorverarbeitung, die seine Gewichte nicht verraten: Für das wird immer gerechnet.

    Args:
        name: wie die Datei vorn heißt, etwa „verdacht“.
        model: Keras-Modell.
        images: uint8, (n, h, b) oder (n, h, b, 3), ein Feld oder auf der Platte.
        given: alles, wovon das Ergebnis sonst noch abhängt, als JSON.
        compute: Funktion ohne Angaben → Liste von Wörterbüchern aus Feldern und dem, was JSON kennt.
        sources: Dateien in ``helpers``, nach deren Änderung nichts Altes mehr gilt.
    """
    if hasattr(model, "prepare"):
        return compute()
    code = [(HELPERS / each).read_text(encoding="utf-8") for each in sources]
    digest = hashlib.sha256(json.dumps([weights_checksum(model), images.shape, given, code]).encode())
    for start in range(0, len(images), 256):
        digest.update(np.ascontiguousarray(images[start : start + 256]))
    name = f"{name}_{digest.hexdigest()[:24]}.npz"
    for folder in (output_dir() / "merkmale", INPUT / "merkmale"):
        with contextlib.suppress(Exception):  # fehlt sie oder ist sie beschädigt, wird gerechnet
            return _read(folder / name)
    records = compute()
    arrays = [{key: value for key, value in each.items() if isinstance(value, np.ndarray)} for each in records]
    plain = [{key: value for key, value in each.items() if not isinstance(value, np.ndarray)} for each in records]
    parts = {f"{row}.{key}": value for row, each in enumerate(arrays) for key, value in each.items()}
    with atomic_file(output_dir() / "merkmale" / name) as temporary:
        np.savez_compressed(temporary, angaben=np.array(json.dumps(plain)), **parts)
    return records


def _read(path) -> list[dict]:
    with np.load(path, allow_pickle=False) as file:
        records = json.loads(str(file["angaben"]))
        for key in file.files:
            if key != "angaben":
                row, name = key.split(".")
                records[int(row)][name] = file[key]
    return records
