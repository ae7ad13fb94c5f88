"""Woher ein Ergebnis kommt: Startwert, Profil, Versionen, Commit und Prüfsumme der Daten, überall gleich benannt.

Was davon wiederholbar ist: Mit demselben Startwert sind auf demselben Rechner Daten, Teilung und Vorhersagen gleich,
Bit für Bit. Auf einem anderen Rechner (andere CPU, andere Zahl von Kernen, GPU) summieren die Bibliotheken in anderer
Reihenfolge: Daten und Teilung sind dort gleich, Logits desselben gespeicherten Modells weichen um höchstens
``TOLERANCE`` des größten Betrags ab, und ein neues Training endet innerhalb des Intervalls seiner Trefferquote.
In LRP-Karten ist die Summe gleich; im gleichförmigen Hintergrund springen einzelne Pixel, denn dort sind die Werte
eines Max-Pooling-Fensters gleich, und die Rundung entscheidet, welcher gewinnt.
"""

from __future__ import annotations  # doctor liest dieses Modul auch unter Python 3.8

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

# Womit der Kurs arbeitet; diese Versionen nennt auch der Bericht.
MAIN_PACKAGES = (
    "tensorflow",
    "keras",
    "tf-keras",
    "tf-keras-vis",
    "innvestigate",
    "numpy",
    "pandas",
    "matplotlib",
    "jupyterlab",
    "ipywidgets",
    "papermill",
    "nbval",
)
UNKNOWN = "unbekannt"
# Größte Abweichung der Logits desselben Modells zwischen Rechnern, als Anteil des größten Betrags (float32).
TOLERANCE = 1e-3
# Wie basics.ROOT; basics lädt dieses Modul, nicht umgekehrt.
COURSE = Path(__file__).resolve().parent.parent


def provenance(seed=None, profile: str | None = None, data_sha256: str | None = None) -> dict:
    """Die Herkunft eines Ergebnisses; was niemand weiß, heißt „unbekannt“.

    Args:
        seed: Startwert des Zufalls.
        profile: Name des Profils.
        data_sha256: Prüfsumme der Daten, wie ``helpers.data.checksum`` sie ergibt.
    """
    return {
        "seed": UNKNOWN if seed is None else seed,
        "profil": profile or UNKNOWN,
        "daten_sha256": data_sha256 or UNKNOWN,
        "commit": commit(),
        "versionen": package_versions(),
    }


@functools.lru_cache
def commit(root=COURSE) -> str:
    """Der Commit des Kursordners, mit „-verändert“, wenn etwas davon abweicht; „unbekannt“ ohne git."""
    if not (root / ".git").exists():  # kein Repository oder ein fremdes, in dem der Kurs nur liegt
        return UNKNOWN
    command = ["git", "-C", str(root), "--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run([*command, "--dirty=-verändert"], capture_output=True, text=True, timeout=10, check=True)
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def package_versions() -> dict[str, str]:
    """Versionen von Python und den Paketen des Kurses; nicht installierte fehlen."""
    versions = {"python": platform.python_version()}
    for name in MAIN_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
