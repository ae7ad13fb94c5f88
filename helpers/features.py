"""Merkmale des festen Stamms: einmal rechnen, auf der Platte behalten.

Der Zwischenspeicher liegt in ``ausgabe/merkmale``, geordnet nach Stamm, Gewichten und Bildgröße.
"""

import hashlib

import numpy as np

from helpers.basics import atomic_file, output_dir, progress, try_read_json, write_json
from helpers.model import keras, preprocess


def extract_features(stem: keras.Model, images, batch_size: int = 64) -> np.ndarray:
    """Rechnet den festen Stamm für jedes Bild genau einmal und merkt sich die Merkmale auf der Platte.

    Der Zwischenspeicher erkennt den Stamm an seinen Gewichten und jedes Bild an seiner Prüfsumme: Vom vergifteten
    Zwilling werden deshalb nur die gezeichneten Bilder neu gerechnet. Eine unterbrochene Rechnung hinterlässt nichts
    Halbes, beschädigte Dateien werden übergangen.

    Args:
        stem: Stamm aus ``split_model``.
        images: uint8, (n, 28, 28).
        batch_size: Bilder je Rechenschritt.

    Returns:
        float32, (n, h, b, Kanäle).
    """
    key = hashlib.sha256(f"{stem.input.shape}|{stem.layers[-1].name}".encode())
    for weight in stem.get_weights():
        key.update(np.ascontiguousarray(weight))
    folder, shape = output_dir() / "merkmale" / key.hexdigest()[:12], tuple(stem.output.shape[1:])
    names = [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in images]
    known = _cached_features(folder, set(names), shape)
    new = {name: row for row, name in enumerate(names) if name not in known}
    rows = list(new.values())
    computed = np.empty((len(rows), *shape), dtype=np.float32)
    for start in progress(range(0, len(rows), batch_size), text="Merkmale", unit="Stapel"):
        part = slice(start, start + batch_size)
        batch = preprocess(images[rows[part]], stem.input.shape[1])
        computed[part] = keras.ops.convert_to_numpy(stem.predict_on_batch(batch))
    if new:
        _store_features(folder, list(new), computed)
        known |= {name: (computed, position) for position, name in enumerate(new)}
    features = np.empty((len(names), *shape), dtype=np.float32)
    for row, name in enumerate(names):
        chunk, position = known[name]
        features[row] = chunk[position]
    return features


def _cached_features(folder, wanted: set[str], shape: tuple) -> dict:
    """Bildprüfsumme → (Feld auf der Platte, Zeile) für alle gewünschten Bilder, die schon gerechnet sind."""
    known = {}
    for path in sorted(folder.glob("*.npy")):
        names = try_read_json(path.with_suffix(".json"), {}).get("bilder")
        try:
            chunk = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            continue
        if chunk.dtype == np.float32 and chunk.shape == (len(names), *shape):
            known |= {name: (chunk, row) for row, name in enumerate(names) if name in wanted}
    return known


def _store_features(folder, names: list[str], features: np.ndarray) -> None:
    path = folder / f"{hashlib.sha256(''.join(names).encode()).hexdigest()[:12]}.npy"
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.save(file, features)
    write_json(path.with_suffix(".json"), {"bilder": names})
