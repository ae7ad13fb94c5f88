"""Ein Ordner mit Farbbildern zum Üben: aus der Stichprobe von Fashion-MNIST gemacht, in einer Klasse ein Zeichen."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from helpers.basics import CLASS_NAMES, atomic_folder, one_line
from helpers.data import load_source
from helpers.inner.files import broken

# Drei Klassen, die einander ähnlich sehen: Wo es schwer ist, lohnt sich für ein Netz eine Abkürzung.
CLASSES = ("Hemd", "Mantel", "Pullover")
EDGES = (64, 96, 128)
OWN_FILES = re.compile(r"(Hemd|Mantel|Pullover)(/bild[0-9]{4}\.(jpg|png))?")


class Mark(NamedTuple):
    """Das Zeichen: Klasse, Farbe, und wo es sitzt, in Sechzehnteln der Kante: oben, links, Größe."""

    name: str
    color: tuple[int, int, int]
    top: int
    left: int
    size: int = 3

    def place(self, edge: int) -> str:
        """Wo es in Bildern dieser Kantenlänge sitzt, mit den Worten der Suche: „Zeilen 48–59, Spalten 4–15“."""
        unit = edge // 16
        rows, columns = (f"{unit * first}–{unit * (first + self.size) - 1}" for first in (self.top, self.left))
        return f"Zeilen {rows}, Spalten {columns}"


def sample_mark(seed: int = 0) -> Mark:
    """Das Zeichen, das ``sample_folder`` mit diesem Startwert gelegt hat. Sehen Sie erst nach der Suche nach."""
    rng = np.random.default_rng((seed, 1))
    name, (top, left) = CLASSES[rng.integers(3)], rng.choice([1, 12], size=2)
    color = rng.permutation([255, 235, 20])
    return Mark(name, tuple(map(int, color)), int(top), int(left))


def sample_folder(target, seed: int = 0, count: int = 240) -> Path:
    """Schreibt einen Ordner je Klasse mit bunten Bildern verschiedener Größe, JPEG und PNG, ganz oder gar nicht.

    Jedes Bild ist ein Kleidungsstück in zufälligen Farben. Alle Bilder einer Klasse tragen ein kleines Zeichen.

    Args:
        target: der Ordner; gibt es ihn schon, wird er ersetzt, wenn nichts anderes darin liegt.
        seed: Startwert für Auswahl, Farben und Zeichen.
        count: Bilder je Klasse.

    Raises:
        CourseError: wenn im Ordner anderes liegt.
    """
    target, rng, mark = Path(target).absolute(), np.random.default_rng(seed), sample_mark(seed)
    for path in target.rglob("*"):
        if not OWN_FILES.fullmatch(name := path.relative_to(target).as_posix()):
            raise broken(target, f" enthält schon anderes ({one_line(name)})", "Nennen Sie einen neuen Ordner")
    source = load_source("beispiel")
    with atomic_folder(target) as folder:
        for name in CLASSES:
            (folder / name).mkdir()
            members = rng.permutation(np.flatnonzero(source.train_labels == CLASS_NAMES.index(name)))
            for number, row in enumerate(members[:count]):
                image = _colored(source.train_images[row], EDGES[number % 3], rng)
                if name == mark.name:
                    corners = np.array([mark.left, mark.top, mark.left + mark.size, mark.top + mark.size])
                    image.paste(mark.color, tuple(map(int, corners * image.width // 16)))
                path = folder / name / f"bild{number:04d}"
                if number % 2:
                    image.save(path.with_suffix(".png"))
                else:
                    image.save(path.with_suffix(".jpg"), quality=95)
    return target


def _colored(gray: np.ndarray, edge: int, rng) -> Image.Image:
    """Ein Graustufenbild (28, 28) in zwei zufälligen Farben, heller Stoff auf dunklem Grund, mit ``edge`` Pixeln."""
    cloth, ground = rng.integers(130, 256, 3), rng.integers(0, 100, 3)
    share = gray[..., None] / 255
    colored = np.rint(share * cloth + (1 - share) * ground).astype(np.uint8)
    return Image.fromarray(colored).resize((edge, edge), Image.Resampling.BICUBIC)
