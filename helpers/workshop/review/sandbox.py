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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from helpers.basics import INPUT, ROOT
from helpers.workshop.review.namespaces import UNSHARE
from helpers.workshop.review.worker import OUT_OF_TIME

# Stirbt die Durchsicht, auch hart, dann stirbt mit ihr, was sie gestartet hat (nur Linux).
DIE_TOGETHER = ["setpriv", "--pdeathsig", "KILL"]
BUBBLEWRAP = "bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL --proc /proc --dev /dev".split()
# Das Betriebssystem, und was Python und matplotlib aus /etc lesen: wo Bibliotheken und Schriften liegen, die Zeitzone.
SYSTEM = "/usr /bin /sbin /lib /lib32 /lib64 /etc/ld.so.cache /etc/alternatives /etc/fonts /etc/localtime".split()
MAX_DISK_BYTES = 2_000_000_000
MIN_FREE_BYTES = 50_000_000  # darunter scheitert das Ablegen der Ergebnisse


# --- Der eigene Raum -------------------------------------------------------------------------------------------------


def readable() -> list[str]:
    """Was der fremde Code lesen darf: Betriebssystem, Python mit Paketen, die Daten des Kurses.

    Führt ein Weg dorthin über Verweise, gehört jede Station dazu.
    """
    wanted = [Path(path) for path in (*SYSTEM, sys.base_prefix, sys.prefix, sys.executable, INPUT)]
    paths = dict.fromkeys(each for path in wanted if path.exists() for each in stations(path.absolute()))
    return [str(path) for path in paths if not any(other in paths for other in path.parents)]


def stations(path: Path) -> Iterator[Path]:
    """``path`` und jeder Pfad, zu dem ein Verweis auf dem Weg dorthin führt."""
    yield path
    link = next((each for each in (*reversed(path.parents), path) if each.is_symlink()), None)
    if link:
        yield from stations(Path(os.path.normpath(link.parent / link.readlink())) / path.relative_to(link))


def mounts(folder: Path) -> list[tuple[str, str, bool]]:
    """Alles, was es im Raum gibt: (Ordner draußen, Stelle im Raum, nur lesbar), so gereiht, wie es eingehängt wird."""
    # /tmp und /dev/shm liegen im Arbeitsordner, so zählen sie zu seiner Grenze.
    own = [(str(folder / "tmp"), "/tmp", False), (str(folder / "shm"), "/dev/shm", False)]
    return [*own, *((path, path, True) for path in readable()), (str(folder), str(folder), False)]


def bubblewrap(folder: Path, command: list[str]) -> list[str]:
    """Der Befehl, der ``command`` mit bubblewrap einsperrt."""
    binds = [("--ro-bind" if fixed else "--bind", source, place) for source, place, fixed in mounts(folder)]
    # Nur lesbar: Was im Raum selbst liegt, läge im Arbeitsspeicher, den niemand misst.
    closed = ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(folder), "--"]
    return [*BUBBLEWRAP, *(part for bind in binds for part in bind), *closed, *command]


def unshare(folder: Path, command: list[str]) -> list[str]:
    """Dasselbe ohne bubblewrap, mit ``namespaces``."""
    plan = json.dumps([str(folder / "wurzel"), str(folder), mounts(folder), command])
    return [*UNSHARE, sys.executable, "-I", str(Path(__file__).with_name("namespaces.py")), plan]


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
        top = Path(name).resolve()
        folder, outside, secret = top / "raum", top / "aussen", top / "geheim"
        folder.mkdir()
        secret.touch()
        attempts = json.dumps([str(outside), [str(secret), str(ROOT / "solutions")], readable()])
        try:
            failed = run(way, [sys.executable, "-I", "-c", PROBE, attempts], folder, seconds=60, memory_mb=1000)
        except OSError:  # das Werkzeug fehlt
            return False
        return not failed and (folder / "innen").exists() and not outside.exists()


@functools.cache
def jail() -> Callable | None:
    """Die erste Art einzusperren, die hier hält; None, wo es keine gibt."""
    return next(filter(holds, (bubblewrap, unshare)), None)


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
        "JUPYTER_PATH": str(folder / "jupyter"),  # der Kernel ist dieses Python, wo auch immer er eingerichtet wurde
        "PIP_NO_INDEX": "1",  # ohne Netz suchte pip minutenlang
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    return values | {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}


# --- Laufen lassen und bewachen --------------------------------------------------------------------------------------


def run(way: Callable | None, command: list[str], folder: Path, seconds: float, memory_mb: int) -> str:
    """Führt ``command`` in ``folder`` aus und wartet, bis es endet oder eine Grenze überschreitet.

    Args:
        way: wie es eingesperrt wird (``jail()``); None heißt: nur eigener Prozess, leere Umgebung und Grenzen.

    Returns:
        Woran es scheiterte: „“ (an nichts), „zeit“, „zelle“ (eine lief zu lange), „speicher“, „platte“ (es schrieb
        selbst zu viel), „voll“ (der Datenträger ist es, gleich durch wen: Was fehlt, beweist dann nichts) oder „tot“
        (von selbst gestorben).
    """
    for name in ("heim", "austausch", "ausgabe", "wurzel", "tmp", "shm"):
        (folder / name).mkdir(exist_ok=True)
    command = way(folder, command) if way else command
    command = [*DIE_TOGETHER, *command] if shutil.which(DIE_TOGETHER[0]) else command
    surroundings = {"cwd": folder, "env": environment(folder, jailed=way is not None), "start_new_session": True}
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, **surroundings, **quiet)
    end = time.monotonic() + seconds
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() > end:
                return "zeit"
            if used_memory(process.pid) > memory_mb * 1_000_000:
                return "speicher"
            if used_disk(folder) > MAX_DISK_BYTES:
                return "platte"
            if shutil.disk_usage(folder).free < MIN_FREE_BYTES:
                return "voll"
    finally:
        kill(process)
    if is_full(folder):
        return "voll"
    return {0: "", OUT_OF_TIME: "zelle"}.get(process.returncode, "tot")


def is_full(folder: Path, needed: int = MIN_FREE_BYTES) -> bool:
    """Fehlt in ``folder`` der Platz? Auch ein erschöpftes Kontingent ist ein voller Datenträger."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # neu, also nie ein Verweis, den fremder Code dort hinlegte
            file.write(bytes(1_000_000))
    except OSError:
        return True
    return shutil.disk_usage(folder).free < needed


def used_memory(pid: int) -> int:
    """Arbeitsspeicher eines Prozesses und seiner Nachkommen in Byte."""
    total = 0
    with suppress(psutil.Error):
        me = psutil.Process(pid)
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.Error):  # inzwischen beendet
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
    """Beendet den Prozess und alles, was er gestartet hat; danach schreibt niemand mehr in die Arbeitskopie."""
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
    psutil.wait_procs(family, timeout=5)


def read_result(path: Path, limit: int = 50_000_000) -> str | None:
    """Liest eine Datei, die fremder Code geschrieben hat: keine Verweise, keine Gerätedateien, nicht zu groß."""

    def guarded(name, flags):
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    with suppress(OSError), open(path, "rb", opener=guarded) as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size <= limit and not path.parent.is_symlink():
            return file.read(limit).decode("utf-8", errors="replace")
    return None
