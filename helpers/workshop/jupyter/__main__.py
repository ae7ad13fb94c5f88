"""``python -m helpers.workshop.jupyter``: JupyterLab auf der Startseite; weitere Angaben gehen an JupyterLab."""

import os
import sys
from pathlib import Path

from helpers.basics import NOTEBOOKS, START_PAGE, output_dir

SETTINGS = Path(__file__).resolve().parent
# Vorgaben; was auf der Kommandozeile steht, gilt statt ihrer.
DEFAULTS = {
    "--ServerApp.ip": "127.0.0.1",  # nur dieser Rechner
    "--ServerApp.root_dir": str(NOTEBOOKS),
    "--ServerApp.contents_manager_class": "helpers.workshop.jupyter.contents.CourseContents",
    "--LabApp.default_url": f"/lab/tree/{START_PAGE}.ipynb",
}
SHORT_NAMES = {"--ip": "--ServerApp.ip", "--notebook-dir": "--ServerApp.root_dir"}


def arguments(given: list) -> list:
    """Die Kommandozeile für JupyterLab: ``given`` und die Vorgaben, die darin nicht vorkommen."""
    names = {name.split("=")[0] for name in given}
    names |= {SHORT_NAMES[name] for name in names if name in SHORT_NAMES}
    return [*given, *(f"{name}={value}" for name, value in DEFAULTS.items() if name not in names)]


def prepare_environment(environment) -> None:
    """Ergänzt Umgebungsvariablen, die JupyterLab und seine Kernel erben."""
    paths = [str(SETTINGS), *filter(None, [environment.get("JUPYTER_CONFIG_PATH")])]
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(paths)
    # Der Kernel dieser Umgebung geht vor einem gleichnamigen aus einer anderen Kopie des Kurses.
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    environment["KURS_AUSGABE"] = str(output_dir())  # absolut, denn Kernel arbeiten in einem anderen Ordner
    environment.pop("MPLBACKEND", None)  # mit „agg“ aus der Shell blieben die Bilder in den Notebooks aus


def main() -> None:
    """Startet JupyterLab; endet mit ihm."""
    prepare_environment(os.environ)
    from jupyterlab.labapp import LabApp

    from helpers.workshop.jupyter.server import CourseServer

    LabApp.serverapp_class = CourseServer
    sys.exit(LabApp.launch_instance(arguments(sys.argv[1:])))


if __name__ == "__main__":
    main()
