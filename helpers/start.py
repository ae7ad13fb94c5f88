"""Der Anfang jedes Notebooks: Läuft es im richtigen Kernel? Dann TensorFlow laden, ohne dessen Protokollzeilen.

Das Modul kommt mit der Standardbibliothek aus, auch mit der von Python 3.8: So kann es auch im falschen Kernel sagen,
was zu tun ist.
"""

import importlib
import platform
import re
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from helpers import basics
from helpers.basics import COURSE_NOTEBOOKS, KERNEL_TITLE, ROOT, CourseError, german, quiet_stderr
from helpers.inner.provenance import installed_version

MAX_PRINTED = 300_000  # Zeichen je Zelle; das längste Notebook des Kurses druckt zusammen keine 10.000
STAMP = "kurs-stempel"  # install.bash legt ihn in die Umgebung des Kurses, sobald sie fertig ist.
INSTALL = "bash install.bash"


@dataclass(frozen=True)
class Check:
    """Eine Zeile der Tabelle: was geprüft wurde, ob es stimmt, was gefunden wurde und was zu tun ist."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def start(notebook: str) -> None:
    """Prüft Kernel und Pakete, lädt TensorFlow und Keras und sagt, dass es losgehen kann.

    ``notebook`` ist der Name ohne Endung, z. B. ``"03_Training"``. ``00_Start`` und ``01_Daten`` brauchen TensorFlow
    nicht.

    Raises:
        CourseError: im falschen Kernel oder wenn Pakete fehlen, mit dem Weg zum richtigen Kernel.
    """
    check_interpreter()
    bound_output()
    show_progress()
    if notebook in COURSE_NOTEBOOKS[1:]:
        with quiet_stderr():
            importlib.import_module("tensorflow")
            importlib.import_module("keras")
    print(f"✔ {notebook}: Kernel und Pakete stimmen.")


def bound_output(most: int = MAX_PRINTED) -> None:
    """In einem Notebook darf eine Zelle höchstens ``most`` Zeichen drucken; danach wirft ``print`` einen CourseError.

    Was ohne Ende druckt, füllte sonst den Arbeitsspeicher, und das Notebook ließe sich nicht mehr öffnen.
    """
    shell, streams = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)(), (sys.stdout, sys.stderr)
    if shell is None or hasattr(sys.stdout, "bounded"):
        return
    sys.stdout.bounded, printed = True, 0

    def bounded(write):
        def write_some(text):
            nonlocal printed
            printed += len(text)
            if printed > most:
                raise CourseError(
                    f"Diese Zelle hat {german(most)} Zeichen gedruckt, wohl ohne Ende: Prüfen Sie, ob jede Schleife "
                    "ein Ende hat, oder drucken Sie weniger."
                )
            return write(text)

        return write_some

    def begin_cell(*_):  # IPython selbst legt zu jeder Zelle ein neues „write“ an und danach das alte zurück
        nonlocal printed
        printed = 0
        for stream in streams:
            stream.write = bounded(stream.write)

    def end_cell(*_):
        for stream in streams:
            del stream.write

    shell.events.register("pre_run_cell", begin_cell)
    shell.events.register("post_run_cell", end_cell)


def show_progress(after: float = 2, every: float = 1) -> None:
    """In einem Notebook mit Oberfläche sagt eine Zelle nach ``after`` Sekunden, wie lange und wie weit sie rechnet.

    Das ist eine einzige Zeile, die sich alle ``every`` Sekunden ändert und am Ende der Zelle leer ist. Ohne Oberfläche
    (papermill, nbval) gibt es sie nicht: Ausgaben hingen sonst davon ab, wie schnell der Rechner ist.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not basics.has_front_end() or basics.cell_bars is not None:
        return
    basics.cell_bars, running = [], []

    def watch(ended):
        from IPython.display import display

        begin, handle = time.monotonic(), None
        while not ended.wait(every if handle else after):
            # Abgeschaltet heißt fertig, und „0 von 1“ sagt nichts.
            bar = next((bar for bar in basics.cell_bars if not bar.disable and bar.total != 1), "")
            shown = {"text/plain": f"Die Zelle rechnet seit {time.monotonic() - begin:.0f} s. {bar}"}
            if handle is None:
                handle = display(shown, raw=True, display_id=True)
            else:
                handle.update(shown, raw=True)
        if handle:
            handle.update({"text/plain": ""}, raw=True)

    def begin_cell(*_):
        end_cell()  # eine Zelle, die eine andere ausführt (%run)
        basics.cell_bars.clear()
        ended = threading.Event()
        thread = threading.Thread(target=watch, args=(ended,), daemon=True)
        running[:] = [(ended, thread)]
        thread.start()

    def end_cell(*_):
        for ended, thread in running:
            ended.set()
            thread.join()

    shell.events.register("pre_run_cell", begin_cell)
    shell.events.register("post_run_cell", end_cell)


def check_interpreter() -> None:
    """Wirft CourseError, wenn im laufenden Python ein Paket des Kurses fehlt oder eine andere Version hat.

    Ein anderes Python, das alle Pakete in den richtigen Versionen hat (etwa auf einem JupyterHub), ist recht.
    """
    wrong = [f"{check.name} {check.detail}" for check in check_packages() if not check.ok]
    if not wrong:
        return
    found = "; ".join(wrong[:3] + [f"und {len(wrong) - 3} weitere"] * (len(wrong) > 3))
    if Path(sys.prefix, STAMP).is_file():
        raise CourseError(
            f"Die Umgebung des Kurses ist nicht auf dem neuesten Stand ({found}): Rufen Sie im Kursordner „{INSTALL}“ "
            "auf und starten Sie dann den Kernel neu (Kernel → Kernel neu starten…, englisch Restart Kernel…)."
        )
    raise CourseError(
        f"Dieses Notebook läuft im falschen Kernel: Python {platform.python_version()} aus „{Path(sys.prefix).name}“ "
        f"({found}). Wählen Sie im Menü Kernel → Kernel wechseln… (englisch Change Kernel…) → {KERNEL_TITLE}; "
        f"steht er dort nicht, rufen Sie im Kursordner „{INSTALL}“ auf."
    )


def check_package(package: str, lockfile: str) -> Check:
    """Ist das Paket da, und in einer Version aus dem Text von requirements.txt (je nach Python eine andere)?"""
    expected = set(re.findall(rf"^(?:# gpu: )?{package}==([^\s;]+)", lockfile, re.MULTILINE))
    installed, wanted = installed_version(package), " oder ".join(sorted(expected))
    if installed is None:
        return Check(package, False, f"fehlt, gebraucht {wanted}" if wanted else "fehlt", INSTALL)
    if expected and installed not in expected:
        return Check(package, False, f"{installed} statt {wanted}", INSTALL)
    return Check(package, True, installed)


def course_packages() -> list:
    """Namen der direkten Abhängigkeiten aus pyproject.toml; alles Weitere hängt daran.

    Ohne pip: Wer es erneuert, wozu es selbst rät, hat noch die Umgebung des Kurses.
    """
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # tomllib gibt es erst ab Python 3.11
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL).group(1)
    return [name for name in re.findall(r'^ *"([\w-]+)', block, re.MULTILINE) if name != "pip"]


def check_packages() -> list:
    """Alle Pakete des Kurses, eine Zeile je Paket."""
    lockfile = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return [check_package(package, lockfile) for package in course_packages()]
