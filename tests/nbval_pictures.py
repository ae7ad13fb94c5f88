"""Ein Zusatz für nbval (``-p nbval_pictures``): Auch gespeicherte Bilder müssen da sein und wie die neuen aussehen.

nbval selbst übergeht sie. Verglichen wird grob: Größe und ein Bildchen von 32 × 32 Punkten, denn auf einem anderen
Rechner sehen dieselben Karten um ein weniges anders aus.
"""

import base64
import io

import numpy as np
from nbval.plugin import IPyNbCell
from PIL import Image

LEAST = 0.6  # zwei verschiedene Bilder des Kurses liegen in 98 von 100 Fällen darunter


def thumbnail(picture: str) -> tuple[np.ndarray, tuple]:
    """Graues Bildchen (32, 32) und die Größe eines Bilds, das als Text (base64) in einem Notebook steht."""
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    return np.asarray(image.convert("L").resize((32, 32)), float), image.size


def alike(first: str, second: str) -> bool:
    """Sehen zwei Bilder etwa gleich aus? Leere (einfarbige) nie."""
    (a, size), (b, other) = thumbnail(first), thumbnail(second)
    if min(a.std(), b.std()) < 1 or not np.allclose(size, other, rtol=0.15):
        return False
    return np.corrcoef(a.ravel(), b.ravel())[0, 1] >= LEAST


def pictures(outputs) -> list[str]:
    """Alle Bilder unter den Ausgaben einer Zelle."""
    return [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]


compare_the_rest = IPyNbCell.compare_outputs


def compare_outputs(cell, test, ref, skip_compare=None) -> bool:
    """Wie bei nbval, dann die Bilder."""
    if not compare_the_rest(cell, test, ref, skip_compare):
        return False
    new, stored = pictures(test), pictures(ref)
    if len(new) == len(stored) and all(map(alike, new, stored)):
        return True
    cell.comparison_traceback.append(f"Die Bilder sind andere: {len(stored)} gespeichert, {len(new)} neu gezeichnet.")
    return False


IPyNbCell.compare_outputs = compare_outputs
