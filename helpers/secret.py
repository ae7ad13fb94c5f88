"""Der Umschlag: ein Zeichen, das niemand kennt, der Verdacht, den jemand aufschreibt, und wie gut er trifft.

Der Kurs vergiftet die Bilder des Zwillings, ohne zu sagen, womit. Wer den Umschlag öffnet, hat vorher aufgeschrieben,
welche Klasse und welche Stelle er verdächtigt; sonst sucht man immer, was man schon weiß (Adebayo et al. 2022).
"""

from dataclasses import dataclass, replace

import numpy as np

from helpers.basics import CLASS_NAMES, CourseError, german, one_line
from helpers.data import IMAGE_SHAPE, Watermark
from helpers.places import LARGEST, box

HARD = (2, 4, 6)  # Pullover, Mantel, Hemd
BOX = ("oben", "links", "Höhe", "Breite")


def hard_classes(classes) -> list[int]:
    """Die schweren dieser Klassen, die schwerste zuletzt; ist keine schwer, alle.

    Bei leichten kommt ein Netz ohne das Zeichen aus, und es gäbe nichts zu finden.
    """
    return [label for label in HARD if label in classes] or list(classes)


def secret_mark(seed: int = 0, word: str = "", classes=range(10)) -> Watermark:
    """Das Zeichen zu einem Startwert und einem Wort, etwa dem eigenen Namen: Jedes zieht ein anderes.

    Gezogen werden Klasse (aus ``HARD``), Form, Größe (3–6), Ort, Stärke (0,7–1) und Anteil der Bilder (0,8–1). Mit dem
    Zeichen zu Startwert 0 ohne Wort sind die Lösungen gerechnet. Groß und klein geschrieben ist dasselbe Wort.

    Args:
        classes: die Klassen, von denen es Bilder gibt.
    """
    word, usual = word.strip().casefold(), Watermark()
    if not (seed or word) and usual.label in classes:
        return usual
    rng = np.random.default_rng([seed, *word.encode()])
    label = int(rng.choice(hard_classes(classes)))
    if not (seed or word):
        return replace(usual, label=label)
    mark = Watermark.drawn(rng, label)
    while mark.size < 3:
        mark = Watermark.drawn(rng, mark.label)
    strength, share = (round(float(rng.uniform(low, 1)), 2) for low in (0.7, 0.8))
    return replace(mark, strength=strength, share=share)


def suspected(suspicion: dict) -> tuple[int, np.ndarray]:
    """Klasse und Maske (28, 28), bool, eines aufgeschriebenen Verdachts.

    Args:
        suspicion: ``{"Klasse": "Mantel", "oben": 3, "links": 5, "Höhe": 4, "Breite": 4}``, alles in Pixeln von der
            oberen linken Ecke.

    Raises:
        CourseError: wenn etwas fehlt, die Klasse unbekannt ist oder die Stelle nicht ins Bild passt.
    """
    wanted = ("Klasse", *BOX)
    if not isinstance(suspicion, dict) or set(suspicion) != set(wanted):
        raise CourseError(f"Ein Verdacht hat genau die Einträge {', '.join(wanted)}: Schreiben Sie alle fünf auf.")
    if suspicion["Klasse"] not in CLASS_NAMES:
        said = one_line(str(suspicion["Klasse"])[:40])
        raise CourseError(f"Die Klasse „{said}“ gibt es nicht: Wählen Sie eine aus {', '.join(CLASS_NAMES)}.")
    sides = [suspicion[name] for name in BOX]
    if not all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides):
        raise CourseError(f"{', '.join(BOX)} sind ganze Zahlen: Schreiben Sie sie ohne Anführungszeichen und Komma.")
    top, left, height, width = sides
    if min(top, left) < 0 or min(height, width) < 1 or top + height > IMAGE_SHAPE[0] or left + width > IMAGE_SHAPE[1]:
        raise CourseError("Die Stelle liegt nicht ganz im Bild: Zeilen und Spalten gehen von 0 bis 27.")
    most = int(LARGEST * np.prod(IMAGE_SHAPE))  # so groß wie bei der Suche
    if height * width > most:
        raise CourseError(
            f"Eine Stelle von {height} × {width} Pixeln verdächtigt alles: Nehmen Sie höchstens {most} Pixel."
        )
    mask = np.zeros(IMAGE_SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return CLASS_NAMES.index(suspicion["Klasse"]), mask


def score(label: int, mask, mark: Watermark) -> dict:
    """Wie gut ein Verdacht trifft: ``Punkte`` (0–3), ``Klasse`` richtig, ``Abstand`` der Mitten und ``Überdeckung``.

    Je ein Punkt: die richtige Klasse; und dann die Mitte höchstens drei Pixel daneben; mindestens die Hälfte gemeinsam
    (``Überdeckung``: gemeinsame Pixel, geteilt durch alle, die zu einer der beiden Flächen gehören, 0–1).
    """
    centers = [np.argwhere(each).mean(axis=0) for each in (mask, mark.mask)]
    distance = float(np.hypot(*(centers[0] - centers[1])))
    common = float((mask & mark.mask).sum() / (mask | mark.mask).sum())
    right = label == mark.label
    points = int(right) * (1 + (distance <= 3) + (common >= 0.5))
    return {"Klasse": right, "Abstand": distance, "Überdeckung": common, "Punkte": points}


def described(mark: Watermark) -> str:
    """Das Zeichen in Worten."""
    top, bottom, left, right = box(mark.mask)
    return (
        f"Klasse {CLASS_NAMES[mark.label]}, {mark.shape}, Zeilen {top} bis {bottom}, Spalten {left} bis "
        f"{right}, Stärke {german(mark.strength, 2)}, auf {german(100 * mark.share, 0)} % der Bilder"
    )


def opened(guesses: dict, mark: Watermark):
    """Wer wie gut traf, als pandas.DataFrame; ``guesses``: Name → (Klasse, Maske (28, 28)) oder None ohne Verdacht."""
    import pandas as pd

    rows = {}
    for name, guess in guesses.items():
        if guess is None:
            rows[name] = dict.fromkeys(("Verdacht", "Klasse", "Abstand", "Überdeckung", "Punkte"), "–")
        else:
            result = score(*guess, mark)
            shown = {"Klasse": "richtig" if result["Klasse"] else "falsch", "Abstand": german(result["Abstand"], 1)}
            shown |= {"Überdeckung": german(result["Überdeckung"], 2), "Punkte": f"{result['Punkte']} von 3"}
            rows[name] = {"Verdacht": CLASS_NAMES[guess[0]]} | shown
    return pd.DataFrame(rows).T


@dataclass(frozen=True)
class Imprint:
    """Eine verdächtige Stelle samt Inhalt, wie ein ``Watermark`` zu stempeln, ohne dass jemand das Zeichen kennt.

    Attributes:
        label: die verdächtige Klasse.
        mask: bool, (28, 28): die Stelle.
        content: uint8, (28, 28): was sie zeigt.
    """

    label: int
    mask: np.ndarray
    content: np.ndarray

    @classmethod
    def taken(cls, images, mask, label: int) -> "Imprint":
        """Der Inhalt ist je Pixel der Median der Bilder (uint8, (n, 28, 28)), die die Stelle tragen."""
        return cls(label, mask, np.median(images, axis=0).astype(np.uint8))

    def stamp(self, images) -> np.ndarray:
        """Kopie von ``images`` (uint8, (…, 28, 28)), auf der jedes Bild die Stelle trägt."""
        return np.where(self.mask, self.content, images).astype(np.uint8)
