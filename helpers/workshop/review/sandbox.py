"""Fremden Code einsperren: eigener Prozess, eigener Ordner, keine fremden Variablen, Grenzen für Zeit und Speicher.

Unter Linux läuft er in eigenen Namensräumen (``unshare``): Er sieht nur Python, die Bilder und seinen Arbeitsordner,
alles andere gibt es für ihn nicht. Schreiben kann er nur dort. Er hat kein Netz und sieht keine anderen Prozesse.
Wo das nicht geht (macOS, gesperrte Namensräume), bleiben eigener Prozess, leere Umgebung und Grenzen; danach wird
verglichen, ob fremde Dateien noch sind, wie sie waren.
"""

import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.basics import INPUT, ROOT

UNSHARE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--net",
    "--ipc",
    "--uts",
]
# Stirbt die Durchsicht, auch hart, dann stirbt mit ihr, was sie gestartet hat (nur Linux).
DIE_TOGETHER = ["setpriv", "--pdeathsig", "KILL"]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc")
# Der Kernel spricht mit seinem Prozess über 127.0.0.1; ein neuer Namensraum hat es, aber ausgeschaltet.
LOOPBACK_UP = (
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack('16sh', b'lo', 0x41))"
)
# Eine Einhängung und alle darunter nur lesbar machen.
READONLY_TREE = """readonly_tree() {
  mount -o remount,bind,ro "$1"
  awk -v top="$1" '$5 == top || index($5, top "/") == 1 { print $5 }' /proc/self/mountinfo | while read -r place; do
    mount -o remount,bind,ro "$(printf %b "$place")"
  done
}"""
DEVICES = ("null", "zero", "full", "random", "urandom")
MAX_DISK_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Ended:
    """Wie ein abgeschotteter Lauf endete: „“ (von selbst), „zeit“, „speicher“ oder „platte“."""

    reason: str = ""
    code: int = 0


def readable() -> list[Path]:
    """Was der fremde Code lesen darf: Betriebssystem, Python mit Paketen, die Daten des Kurses."""
    wanted = [Path(path) for path in SYSTEM if Path(path).exists()]
    for path in map(Path, (sys.base_prefix, sys.prefix, os.path.realpath(sys.base_prefix), INPUT.resolve())):
        if not any(path.is_relative_to(other) for other in wanted):
            wanted.append(path)
    return wanted


def jail_script(folder: Path, command: list[str]) -> str:
    """Das Shell-Skript, das eine neue Wurzel baut, die alte aushängt und ``command`` ohne Rechte startet."""
    quote, root = shlex.quote, str(folder / "wurzel")
    lines = [
        "set -e",
        "mount --make-rprivate /",
        f"mount -t tmpfs -o size=64m tmpfs {quote(root)}",
        f"cd {quote(root)}",
    ]
    lines += [f"{quote(sys.executable)} -I -c {quote(LOOPBACK_UP)}"]
    lines += ["mkdir -p proc dev/shm tmp alt", "mount -t proc proc proc"]
    lines += [f"mount -t tmpfs -o size=512m tmpfs {name}" for name in ("dev/shm", "tmp")]
    for path in readable():
        target = quote(root + str(path))
        if path.is_symlink():
            lines += [f"mkdir -p {quote(root + str(path.parent))}", f"ln -s {quote(os.readlink(path))} {target}"]
        else:
            lines += [f"mkdir -p {target}", f"mount --rbind {quote(str(path))} {target}", f"readonly_tree {target}"]
    lines.insert(1, READONLY_TREE)
    for name in DEVICES:
        lines += [f"touch dev/{name}", f"mount --bind /dev/{name} dev/{name}"]
    inside = quote(root + str(folder))
    lines += [
        f"mkdir -p {inside}",
        f"mount --bind {quote(str(folder))} {inside}",
        "pivot_root . alt",
        "umount -l /alt",
        "rmdir /alt",
        f"cd {quote(str(folder))}",
        # Ein zweiter Namensraum: Die Einhängungen gehören dem ersten, auch ein „root“ darin kann sie nicht lösen.
        f"exec unshare --user {' '.join(map(quote, command))}",
    ]
    return "\n".join(lines)


@functools.cache
def isolated() -> bool:
    """Lassen sich hier Namensräume bauen, und halten sie wirklich?"""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("pivot_root"):
        return False
    with tempfile.TemporaryDirectory(prefix="kurs-probe-") as name:
        folder = Path(name).resolve()
        outside = folder.parent / f"{folder.name}-aussen"
        probe = (
            "import os, sys\n"
            "open('innen', 'w').close()\n"
            "try: open(sys.argv[1], 'w').close()\n"
            "except OSError: pass\n"
            "sys.exit(os.path.exists(sys.argv[2]))"
        )
        (folder / "wurzel").mkdir()
        command = [sys.executable, "-I", "-c", probe, str(outside), str(ROOT / "solutions")]
        done = subprocess.run(
            [*UNSHARE, "sh", "-c", jail_script(folder, command)],
            env=environment(folder, jailed=True),
            capture_output=True,
            timeout=60,
            check=False,
        )
        held = done.returncode == 0 and (folder / "innen").exists() and not outside.exists()
        outside.unlink(missing_ok=True)
        return held


def environment(folder: Path, jailed: bool) -> dict[str, str]:
    """Nur das Nötigste: kein Heimatordner, keine Zugangsdaten, keine Einstellungen der Lehrenden."""
    home = folder / "heim"
    values = {
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
        "HOME": str(home),
        "TMPDIR": "/tmp" if jailed else str(home),
        "LANG": "C.UTF-8",
        "KURS_AUSGABE": str(folder / "ausgabe"),
        "KURS_DURCHSICHT": str(folder / "austausch"),
        "JUPYTER_RUNTIME_DIR": "/tmp/jupyter" if jailed else str(home / "jupyter"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    keep = ("LD_LIBRARY_PATH", "SYSTEMROOT")
    return values | {name: os.environ[name] for name in keep if name in os.environ}


def run(command: list[str], folder: Path, seconds: float, memory_mb: int) -> Ended:
    """Führt ``command`` in ``folder`` eingesperrt aus und wartet, bis es endet oder eine Grenze überschreitet."""
    for name in ("heim", "austausch", "ausgabe", "wurzel"):
        (folder / name).mkdir(exist_ok=True)
    jailed = isolated()
    command = [*UNSHARE, "sh", "-c", jail_script(folder, command)] if jailed else command
    process = subprocess.Popen(
        [*DIE_TOGETHER, *command] if shutil.which(DIE_TOGETHER[0]) else command,
        cwd=folder,
        env=environment(folder, jailed),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
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
    finally:
        kill(process)
    return Ended(reason, process.returncode)


def used_memory(pid: int) -> int:
    """Arbeitsspeicher eines Prozesses und seiner Nachkommen in Byte."""
    import psutil

    total = 0
    try:
        me = psutil.Process(pid)
        for process in [me, *me.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:
        pass
    return total


def used_disk(folder: Path) -> int:
    """Bytes aller Dateien unter ``folder``, ohne Verweisen zu folgen."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total


def kill(process: subprocess.Popen) -> None:
    """Beendet den Prozess und alles, was er gestartet hat."""
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    for child in family:
        try:
            child.kill()
        except psutil.Error:
            continue
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (OSError, AttributeError):
        process.kill()
    process.wait()
    # SIGKILL wirkt nicht sofort: Erst wenn alle tot sind, schreibt niemand mehr in die Arbeitskopie.
    patience = time.monotonic() + 5
    while any(map(alive, family)) and time.monotonic() < patience:
        time.sleep(0.02)


def alive(process) -> bool:
    """Ob der Prozess (psutil) noch rechnet; ein Zombie tut das nicht."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def read_result(path: Path, limit: int = 50_000_000) -> str | None:
    """Liest eine Datei, die fremder Code geschrieben hat: keine Verweise, keine Gerätedateien, nicht zu groß."""
    import stat

    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.parent.is_symlink():
            return None
        handle = os.open(path, flags)
    except OSError:
        return None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(limit).decode("utf-8", errors="replace")
