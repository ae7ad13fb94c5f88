"""Der Anfang jedes Notebooks: Läuft es im richtigen Kernel? Dann TensorFlow laden, ohne dessen Protokollzeilen.

Das Modul kommt mit der Standardbibliothek aus: So kann es auch im falschen Kernel sagen, was zu tun ist.
"""

import importlib
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, KERNEL_TITLE, ROOT, CourseError, quiet_stderr
from helpers.provenance import MAIN_PACKAGES

# install.bash legt ihn in die Umgebung des Kurses, sobald sie fertig ist.
STAMP = "kurs-stempel"
INSTALL = "bash install.bash"
LOCKFILE = ROOT / "requirements.txt"
# Die direkten Abhängigkeiten aus pyproject.toml (ohne pip); alles Weitere hängt daran.
PACKAGES = MAIN_PACKAGES + (
    "scipy",
    "scikit-learn",
    "pillow",
    "ipykernel",
    "nbclient",
    "nbconvert",
    "nbformat",
    "nbgrader",
    "jupyterlab-language-pack-de-de",
    "jinja2",
    "beautifulsoup4",
    "latex2mathml",
    "psutil",
    "tqdm",
)


def start(notebook: str) -> None:
    """Prüft Kernel und Pakete, lädt TensorFlow und Keras und sagt, dass es losgehen kann.

    ``notebook`` ist der Name ohne Endung, z. B. ``"03_Training"``. ``00_Start`` und ``01_Daten`` brauchen TensorFlow
    nicht.

    Raises:
        CourseError: im falschen Kernel oder wenn Pakete fehlen, mit dem Weg zum richtigen Kernel.
    """
    check_interpreter()
    if notebook in COURSE_NOTEBOOKS[1:]:
        with quiet_stderr():
            importlib.import_module("tensorflow")
            importlib.import_module("keras")
    print(f"✔ {notebook}: Kernel und Pakete stimmen.")


def check_interpreter(prefix=None) -> None:
    """Wirft CourseError, wenn im laufenden Python ein Paket des Kurses fehlt oder eine andere Version hat.

    Ein anderes Python, das alle Pakete in den richtigen Versionen hat (etwa auf einem JupyterHub), ist recht.
    """
    wrong = [check for check in check_packages() if not check.ok]
    if not wrong:
        return
    prefix = Path(prefix or sys.prefix)
    found = "; ".join(f"{check.name} {check.detail}" for check in wrong[:3])
    if len(wrong) > 3:
        found += f"; und {len(wrong) - 3} weitere"
    if (prefix / STAMP).is_file():
        raise CourseError(
            f"Die Umgebung des Kurses ist nicht auf dem neuesten Stand ({found}): "
            f"Rufen Sie im Kursordner „{INSTALL}“ auf und starten Sie dann den Kernel neu "
            "(Kernel → Kernel neu starten…, englisch Restart Kernel…)."
        )
    raise CourseError(
        f"Dieses Notebook läuft im falschen Kernel: Python {platform.python_version()} aus „{prefix.name}“ ({found}). "
        f"Wählen Sie im Menü Kernel → Kernel wechseln… (englisch Change Kernel…) → {KERNEL_TITLE}; "
        f"steht er dort nicht, rufen Sie im Kursordner „{INSTALL}“ auf."
    )


@dataclass(frozen=True)
class Check:
    """Eine Zeile der Tabelle: was geprüft wurde, ob es stimmt, was gefunden wurde und was zu tun ist."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def locked_versions(lockfile=LOCKFILE) -> dict:
    """Paketname → erlaubte Versionen aus dem Lockfile (je nach Python eine andere); leer, wenn es fehlt."""
    try:
        text = Path(lockfile).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    versions = {}
    for name, version in re.findall(r"^(?:# gpu: )?([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def installed_version(package: str):
    """Version des installierten Pakets, ohne es zu importieren; None, wenn es fehlt."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_package(package: str, locked: dict) -> Check:
    """Ist das Paket da, und in der Version aus requirements.txt?"""
    installed = installed_version(package)
    expected = locked.get(package, set())
    ok = installed is not None and (not expected or installed in expected)
    wanted = " oder ".join(sorted(expected))
    if installed is None:
        detail = f"fehlt, gebraucht {wanted}" if wanted else "fehlt"
    else:
        detail = installed if ok else f"{installed} statt {wanted}"
    return Check(package, ok, detail, INSTALL)


def check_packages(lockfile=LOCKFILE) -> list:
    """Alle Pakete des Kurses, eine Zeile je Paket."""
    locked = locked_versions(lockfile)
    return [check_package(package, locked) for package in PACKAGES]
