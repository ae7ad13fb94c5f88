"""Fremden Code einsperren: eigener Prozess, eigener Ordner, keine fremden Variablen, Grenzen für Zeit und Speicher.

Unter Linux läuft er in eigenen Namensräumen, gebaut von bubblewrap (``bwrap``) oder, wo es fehlt, mit Bordmitteln:
Er sieht nur Python, die Bilder und seinen Arbeitsordner, alles andere gibt es für ihn nicht. Schreiben kann er nur in
seinem Arbeitsordner. Er hat kein Netz und sieht keine anderen Prozesse. Wo das nicht geht (macOS, gesperrte
Namensräume), bleiben eigener Prozess, leere Umgebung und Grenzen; danach wird verglichen, ob fremde Dateien noch sind,
wie sie waren.
"""

import functools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.basics import INPUT, ROOT
from helpers.workshop.review.namespaces import UNSHARE

# Stirbt die Durchsicht, auch hart, dann stirbt mit ihr, was sie gestartet hat (nur Linux).
DIE_TOGETHER = ["setpriv", "--pdeathsig", "KILL"]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# Was Python und matplotlib aus /etc lesen: wo Bibliotheken und Schriften liegen, und die Zeitzone.
SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/localtime")
MAX_DISK_BYTES = 2_000_000_000
MIN_FREE_BYTES = 50_000_000  # darunter scheitert das Ablegen der Ergebnisse


@dataclass(frozen=True)
class Ended:
    """Wie ein abgeschotteter Lauf endete: „“ (von selbst), „zeit“, „speicher“, „platte“ oder „voll“.

    „platte“: Er hat selbst zu viel geschrieben. „voll“: Der Datenträger ist voll, gleich von wem; was fehlt, beweist
    dann nichts.
    """

    reason: str = ""
    code: int = 0


# --- Der eigene Raum -------------------------------------------------------------------------------------------------


def readable() -> list[str]:
    """Was der fremde Code lesen darf: Betriebssystem, Python mit Paketen, die Daten des Kurses.

    Führt ein Weg dorthin über einen Verweis, gehören beide Enden dazu.
    """
    wanted = [Path(path) for path in (*SYSTEM, *SETTINGS, sys.base_prefix, sys.prefix, INPUT)]
    paths = dict.fromkeys(each for path in wanted if path.exists() for each in (path.absolute(), path.resolve()))
    return [str(path) for path in paths if not any(other in paths for other in path.parents)]


def writable(folder: Path) -> dict[str, str]:
    """Stelle im Raum → Ordner dahinter: /tmp und /dev/shm liegen im Arbeitsordner, so zählen sie zu seiner Grenze."""
    return {place: str(folder / name) for place, name in (("/tmp", "tmp"), ("/dev/shm", "shm"))}


def bubblewrap(folder: Path, command: list[str]) -> list[str]:
    """Der Befehl, der ``command`` mit bubblewrap einsperrt."""
    arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for place, source in writable(folder).items():
        arguments += ["--bind", source, place]
    for path in readable():
        arguments += ["--ro-bind", path, path]
    # Nur lesbar: Was im Raum selbst liegt, läge im Arbeitsspeicher, den niemand misst.
    arguments += ["--bind", str(folder), str(folder), "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*arguments, "--chdir", str(folder), "--", *command]


def unshare(folder: Path, command: list[str]) -> list[str]:
    """Dasselbe ohne bubblewrap, mit ``namespaces``."""
    plan = {"root": str(folder / "wurzel"), "folder": str(folder), "writable": writable(folder)}
    plan |= {"readable": readable(), "command": command}
    return [*UNSHARE, sys.executable, "-I", str(Path(__file__).with_name("namespaces.py")), json.dumps(plan)]


# Läuft im Raum und versucht auszubrechen. Endet mit 0, wenn nichts davon gelingt und das Nötige geht.
PROBE = """
import json, os, socket, sys
outside, hidden, readable = json.loads(sys.argv[1])
open("innen", "w").close()
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), 5).close()
escaped = [path for path in hidden if os.path.exists(path)] + [path for path in readable if os.access(path, os.W_OK)]
try:
    open(outside, "w").close()  # ob sie draußen liegt, sieht man nur draußen
except OSError:
    pass
try:  # UDP fragt nur nach dem Weg, es geht nichts ab
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 53))
    escaped += ["Netz"]
except OSError:
    pass
sys.exit(bool(escaped))
"""


def holds(way: Callable) -> bool:
    """Baut diese Art hier einen Raum, in dem Python läuft und aus dem die Probe nicht herauskommt?"""
    with tempfile.TemporaryDirectory(prefix="kurs-probe-") as name:
        folder, outside = Path(name).resolve() / "raum", Path(name).resolve() / "aussen"
        furnish(folder)
        secret = folder.parent / "geheim"
        secret.touch()
        attempts = [str(outside), [str(secret), str(ROOT / "solutions")], readable()]
        command = way(folder, [sys.executable, "-I", "-c", PROBE, json.dumps(attempts)])
        try:
            done = subprocess.run(command, env=environment(folder, True), capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0 and (folder / "innen").exists() and not outside.exists()


@functools.cache
def jail() -> Callable | None:
    """Die erste Art einzusperren, die hier hält; None, wo es keine gibt."""
    return next(filter(holds, (bubblewrap, unshare)), None)


def isolated() -> bool:
    """Laufen Abgaben hier in einem eigenen Raum?"""
    return jail() is not None


def furnish(folder: Path) -> None:
    for name in ("heim", "austausch", "ausgabe", "wurzel", "tmp", "shm"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def environment(folder: Path, jailed: bool) -> dict[str, str]:
    """Nur das Nötigste: kein Heimatordner, keine Zugangsdaten, keine Einstellungen der Lehrenden."""
    temporary = "/tmp" if jailed else str(folder / "tmp")
    values = {
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
        "HOME": str(folder / "heim"),
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(folder / "kurs"),  # die eigene Kopie von helpers, nicht die eingerichtete
        "KURS_AUSGABE": str(folder / "ausgabe"),
        "KURS_DURCHSICHT": str(folder / "austausch"),
        "JUPYTER_RUNTIME_DIR": f"{temporary}/jupyter",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    return values | {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}


# --- Laufen lassen und bewachen --------------------------------------------------------------------------------------


def run(command: list[str], folder: Path, seconds: float, memory_mb: int) -> Ended:
    """Führt ``command`` in ``folder`` eingesperrt aus und wartet, bis es endet oder eine Grenze überschreitet."""
    furnish(folder)
    way = jail()
    command = way(folder, command) if way else command
    command = [*DIE_TOGETHER, *command] if shutil.which(DIE_TOGETHER[0]) else command
    surroundings = {"cwd": folder, "env": environment(folder, jailed=way is not None), "start_new_session": True}
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, **surroundings, **quiet)
    end, reason = time.monotonic() + seconds, ""
    try:
        while process.poll() is None and not reason:
            time.sleep(0.2)
            if time.monotonic() > end:
                reason = "zeit"
            elif used_memory(process.pid) > memory_mb * 1_000_000:
                reason = "speicher"
            elif used_disk(folder) > MAX_DISK_BYTES:
                reason = "platte"
            elif shutil.disk_usage(folder).free < MIN_FREE_BYTES:
                reason = "voll"
    finally:
        kill(process)
    return Ended(reason if reason or takes_more(folder) else "voll", process.returncode)


def takes_more(folder: Path) -> bool:
    """Lässt sich in ``folder`` noch schreiben? Auch ein erschöpftes Kontingent ist ein voller Datenträger."""
    try:
        (folder / "probe").write_bytes(bytes(1_000_000))
        (folder / "probe").unlink()
    except OSError:
        return False
    return shutil.disk_usage(folder).free >= MIN_FREE_BYTES


def used_memory(pid: int) -> int:
    """Arbeitsspeicher eines Prozesses und seiner Nachkommen in Byte."""
    total = 0
    with suppress(psutil.Error):
        me = psutil.Process(pid)
        for process in [me, *me.children(recursive=True)]:
            total += process.memory_info().rss
    return total


def used_disk(folder: Path) -> int:
    """Bytes aller Dateien unter ``folder``, ohne Verweisen zu folgen."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def kill(process: subprocess.Popen) -> None:
    """Beendet den Prozess und alles, was er gestartet hat."""
    family = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    for child in family:
        with suppress(psutil.Error):
            child.kill()
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    # SIGKILL wirkt nicht sofort: Erst wenn alle tot sind, schreibt niemand mehr in die Arbeitskopie.
    patience = time.monotonic() + 5
    while any(map(alive, family)) and time.monotonic() < patience:
        time.sleep(0.02)


def alive(process: psutil.Process) -> bool:
    """Ob der Prozess noch rechnet; ein Zombie tut das nicht."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def read_result(path: Path, limit: int = 50_000_000) -> str | None:
    """Liest eine Datei, die fremder Code geschrieben hat: keine Verweise, keine Gerätedateien, nicht zu groß."""
    if path.parent.is_symlink():
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        with open(handle, "rb", closefd=False) as file:
            return file.read(limit).decode("utf-8", errors="replace")
    finally:
        os.close(handle)
