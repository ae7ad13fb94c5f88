"""Der Anfang jedes Notebooks: Läuft es im richtigen Kernel? Dann TensorFlow laden, ohne dessen Protokollzeilen.

Das Modul kommt mit der Standardbibliothek aus: So kann es auch im falschen Kernel sagen, was zu tun ist.
"""

import importlib
import platform
import sys
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, KERNEL_TITLE, CourseError, quiet_stderr
from helpers.doctor import INSTALL, check_packages

# install.bash legt ihn in die Umgebung des Kurses, sobald sie fertig ist.
STAMP = "kurs-stempel"


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
