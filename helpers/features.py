"""Merkmale des festen Stamms: einmal rechnen, auf der Platte behalten.

Der Zwischenspeicher liegt in ``ausgabe/merkmale``, geordnet nach Stamm, Gewichten und Bildgröße.
"""

import hashlib

import numpy as np

from helpers.basics import atomic_file, output_dir, progress, try_read_json, write_json
from helpers.model import keras, preprocess


def extract_features(stem: keras.Model, images, weights_key: str = "", batch_size: int = 64) -> np.ndarray:
    """Rechnet den festen Stamm für jedes Bild genau einmal und merkt sich die Merkmale auf der Platte.

    Der Zwischenspeicher liegt in ``ausgabe/merkmale``, geordnet nach Stamm, Gewichten und Bildgröße, und erkennt jedes
    Bild an seiner Prüfsumme: Vom vergifteten Zwilling werden deshalb nur die gezeichneten Bilder neu gerechnet. Eine
    unterbrochene Rechnung hinterlässt nichts Halbes, beschädigte Dateien werden übergangen.

    Args:
        stem: Stamm aus ``split_model``.
        images: uint8, (n, 28, 28).
        weights_key: woran man die Gewichte des Stamms erkennt.
        batch_size: Bilder je Rechenschritt.

    Returns:
        float32, (n, h, b, Kanäle).
    """
    key = hashlib.sha256(f"{weights_key}|{stem.input.shape}|{stem.layers[-1].name}".encode())
    for weight in stem.get_weights():
        key.update(np.ascontiguousarray(weight))
    folder = output_dir() / "merkmale" / key.hexdigest()[:12]
    names = [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in images]
    known = _cached_features(folder, set(names), tuple(stem.output.shape[1:]))
    rows = {name: row for row, name in enumerate(names) if name not in known}
    missing = list(rows.values())
    features = np.empty((len(images), *stem.output.shape[1:]), dtype=np.float32)
    for start in progress(range(0, len(missing), batch_size), text="Merkmale", unit="Stapel"):
        part = missing[start : start + batch_size]
        batch = preprocess(images[part], stem.input.shape[1])
        features[part] = keras.ops.convert_to_numpy(stem.predict_on_batch(batch))
    if missing:
        _store_features(folder, list(rows), features[missing])
    for row, name in enumerate(names):
        if name in known:
            chunk, position = known[name]
            features[row] = chunk[position]
        elif rows[name] != row:
            features[row] = features[rows[name]]
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
