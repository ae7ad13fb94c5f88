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
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments) -> None:
    """Ruft den Kernel über die Funktion ``name`` der C-Bibliothek; wirft OSError, wenn er ablehnt."""
    if getattr(LIBC, name)(*(os.fsencode(each) if isinstance(each, str) else each for each in arguments)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def bind(source: str, target: str, read_only: bool) -> None:
    """Zeigt ``source`` mit allem, was darunter eingehängt ist, an der Stelle ``target``."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    call("mount", source, target, "", BIND | RECURSIVE, "")
    if read_only:  # mount_setattr: auch jede Einhängung darunter, in einem Schritt
        attributes = struct.pack("4Q", 1, 0, 0, 0)
        call("syscall", 442, -100, target, 0x8000, attributes, len(attributes))


def loopback_up() -> None:
    """Schaltet 127.0.0.1 ein, worüber der Kernel mit seinem Prozess spricht; ein neuer Namensraum hat es aus."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))


def enter(root: str, folder: str, mounts: list, command: list) -> None:
    """Wechselt in die neue Wurzel ``root`` und führt dort ``command`` in ``folder`` aus; kehrt nicht zurück."""
    loopback_up()
    call("mount", "none", "/", "", RECURSIVE | PRIVATE, "")
    call("mount", "tmpfs", root, "tmpfs", 0, "size=64m")
    os.mkdir(f"{root}/proc")
    call("mount", "proc", f"{root}/proc", "proc", 0, "")
    for source, place, read_only in [*((f"/dev/{name}", f"/dev/{name}", False) for name in DEVICES), *mounts]:
        bind(source, root + place, read_only)
    os.mkdir(f"{root}/dev/pts")
    call("mount", "devpts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")  # IPython startet „!“ und „%pip“ in einem Terminal
    os.chdir(root)
    call("pivot_root", ".", ".")  # die alte Wurzel liegt danach über der neuen, bis sie ausgehängt ist
    call("umount2", ".", DETACH)
    os.chdir(folder)
    # Ein zweiter Namensraum: Die Einhängungen gehören dem ersten, auch ein „root“ darin kann sie nicht lösen.
    os.execvp("unshare", ["unshare", "--user", *command])


if __name__ == "__main__":
    enter(*json.loads(sys.argv[1]))
