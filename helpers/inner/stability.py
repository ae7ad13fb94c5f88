"""Stabilität: Bleiben Antwort und Karte, wenn sich am Bild etwas ändert, das an der Sache nichts ändert?

Verschoben, gedreht, heller oder dunkler, verrauscht: Ein Mensch sieht denselben Gegenstand. Kippt die Antwort, war sie
knapp; springt die Karte, erklärt sie mehr das Rauschen als den Gegenstand (Alvarez-Melis und Jaakkola 2018, arXiv
1806.08049).
"""

from collections import namedtuple

import numpy as np
from scipy.ndimage import rotate, shift

from helpers.metrics import rank_correlation

# images: Bilder (uint8, (n, h, b) oder (n, h, b, 3)) → geänderte Bilder; maps: Karten (n, h, b) → die Karten, die zu
# den geänderten Bildern gehören, wenn sie mitgehen.
Change = namedtuple("Change", "images maps")
PIXELS, DEGREES = 1, 5  # so weit wird verschoben (bei 28 Pixeln Breite) und gedreht, in eine zufällige Richtung
LIGHT, NOISE = 0.1, 8  # Anteil, um den es heller oder dunkler wird; Streuung des Rauschens in Graustufen


def changes(count: int, seed: int = 0, shape=(28, 28)) -> dict[str, Change]:
    """Vier Änderungen für ``count`` Bilder der Form ``shape``, an jedem ein wenig anders: Name → ``Change``."""
    rng = np.random.default_rng(seed)
    angles, signs = rng.uniform(0, 2 * np.pi, count), rng.choice([-1, 1], count)
    spots = rng.normal(0, NOISE, (count, *shape))

    def shifted(images):
        way = PIXELS / 28 * images.shape[1] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        still = [0] * (images.ndim - 3)  # Farben wandern nicht
        return np.stack([shift(image, [*each, *still], order=1) for image, each in zip(images, way, strict=True)])

    def rotated(images):
        return np.stack(
            [rotate(image, DEGREES * sign, reshape=False, order=1) for image, sign in zip(images, signs, strict=True)]
        )

    def brighter(images):
        return images * (1 + LIGHT * signs.reshape(-1, *[1] * (images.ndim - 1)))

    def noisy(images):
        return images + spots

    def on_images(change):
        return lambda images: np.clip(np.rint(change(np.asarray(images, float))), 0, 255).astype(np.uint8)

    stays = np.asarray
    return {
        "verschoben": Change(on_images(shifted), shifted),
        "gedreht": Change(on_images(rotated), rotated),
        "heller oder dunkler": Change(on_images(brighter), stays),
        "verrauscht": Change(on_images(noisy), stays),
    }


def answers_kept(answer, images, seed: int = 0) -> dict[str, np.ndarray]:
    """Bleibt die Antwort? Änderung → bool (n,); ``answer``: Bilder (uint8, (n, …)) → Klassen (n,)."""
    before, small = answer(images), changes(len(images), seed, shape=images.shape[1:])
    return {name: answer(change.images(images)) == before for name, change in small.items()}


def maps_kept(explain, images, seed: int = 0) -> dict[str, np.ndarray]:
    """Geht die Karte mit? Änderung → Rangkorrelation mit der mitbewegten Karte des unveränderten Bilds, (n,).

    Dazu „anderes Bild“: die Rangkorrelation mit der Karte des nächsten Bilds, als Maß dafür, was von selbst gleich ist.

    Args:
        explain: Bilder (uint8, (n, …)) → Karten (n, S, S).
        images: am besten alle aus einer Klasse.
    """
    before = explain(images)
    kept = {
        name: rank_correlation(explain(change.images(images)), change.maps(before))
        for name, change in changes(len(images), seed, shape=images.shape[1:]).items()
    }
    return kept | {"anderes Bild": rank_correlation(before, np.roll(before, 1, axis=0))}
