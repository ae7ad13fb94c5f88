"""Woher ein Ergebnis kommt: Startwert, Profil, Versionen, Commit und Prüfsumme der Daten, überall gleich benannt.

Mit demselben Startwert sind auf demselben Rechner Daten, Teilung und Vorhersagen gleich, Bit für Bit. Ein anderer (CPU,
Zahl der Kerne, GPU) summiert in anderer Reihenfolge: Daten und Teilung sind gleich, Logits desselben Modells weichen um
höchstens ``TOLERANCE`` des größten Betrags ab, ein neues Training endet im Intervall seiner Trefferquote. LRP-Karten
haben dieselbe Summe; im Hintergrund springen Pixel, wo die Rundung unter gleichen Werten eines Max-Poolings wählt.
"""

from __future__ import annotations  # doctor liest dieses Modul auch unter Python 3.8

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

# Womit der Kurs arbeitet; diese Versionen nennt auch der Bericht.
MAIN_PACKAGES = "tensorflow keras tf-keras tf-keras-vis innvestigate numpy pandas matplotlib jupyterlab ipywidgets"
MAIN_PACKAGES += " papermill nbval"
UNKNOWN = "unbekannt"
# Größte Abweichung der Logits desselben Modells zwischen Rechnern, als Anteil des größten Betrags (float32).
TOLERANCE = 1e-3


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
def commit(root=None) -> str:
    """Der Commit des Kursordners, mit „-verändert“, wenn etwas davon abweicht; „unbekannt“ ohne git."""
    root = root or Path(__file__).resolve().parents[2]
    command = ["git", f"--git-dir={root / '.git'}", f"--work-tree={root}", "--no-optional-locks", "describe"]
    command += ["--always", "--abbrev=40", "--exclude=*", "--dirty=-verändert"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def installed_version(package: str) -> str | None:
    """Version des installierten Pakets, ohne es zu importieren; None, wenn es fehlt."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def package_versions() -> dict[str, str]:
    """Versionen von Python und den Paketen des Kurses; nicht installierte fehlen."""
    found = {name: installed_version(name) for name in MAIN_PACKAGES.split()}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}
