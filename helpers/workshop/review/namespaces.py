"""Ersatz für bubblewrap aus Bordmitteln: ``unshare … python -I namespaces.py JSON`` (Linux ab 5.12).

Baut in frischen Namensräumen eine neue Wurzel, in der es nur das Erlaubte gibt, und startet darin den Befehl. Pfade
gehen unverändert an den Kernel, nie durch eine Shell.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys

UNSHARE = "unshare --user --map-root-user --mount --pid --fork --kill-child --net --ipc --uts".split()
BIND, RECURSIVE, PRIVATE, DETACH = 0x1000, 0x4000, 0x40000, 2
DEVICES = ("null", "zero", "full", "random", "urandom")


def demand(result: int) -> None:
    """Wirft OSError, wenn ein Aufruf des Kernels nicht 0 ergab."""
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    demand(libc().mount(*map(os.fsencode, (source, target, kind)), flags, os.fsencode(options)))


def libc():
    return ctypes.CDLL(None, use_errno=True)


def bind(source: str, target: str, read_only: bool = False) -> None:
    """Zeigt ``source`` mit allem, was darunter eingehängt ist, an der Stelle ``target``."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(source, target, flags=BIND | RECURSIVE)
    if read_only:  # mount_setattr: auch jede Einhängung darunter, in einem Schritt
        attributes = struct.pack("4Q", 1, 0, 0, 0)
        demand(libc().syscall(442, -100, os.fsencode(target), 0x8000, attributes, len(attributes)))


def loopback_up() -> None:
    """Schaltet 127.0.0.1 ein, worüber der Kernel mit seinem Prozess spricht; ein neuer Namensraum hat es aus."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))


def enter(root: str, folder: str, writable: dict, readable: list, command: list) -> None:
    """Wechselt in die neue Wurzel ``root`` und führt dort ``command`` in ``folder`` aus; kehrt nicht zurück."""
    loopback_up()
    mount("none", "/", flags=RECURSIVE | PRIVATE)
    mount("tmpfs", root, "tmpfs", options="size=64m")
    for name in ("proc", "alt"):
        os.mkdir(f"{root}/{name}")
    mount("proc", f"{root}/proc", "proc")
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    for place, source in writable.items():
        bind(source, root + place)
    for path in readable:
        bind(path, root + path, read_only=True)
    bind(folder, root + folder)
    os.chdir(root)
    demand(libc().pivot_root(b".", b"alt"))
    demand(libc().umount2(b"/alt", DETACH))
    os.chdir(folder)
    # Ein zweiter Namensraum: Die Einhängungen gehören dem ersten, auch ein „root“ darin kann sie nicht lösen.
    os.execvp("unshare", ["unshare", "--user", *command])


if __name__ == "__main__":
    enter(**json.loads(sys.argv[1]))
