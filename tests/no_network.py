"""Ein Prozess ohne Netz: eigener Namensraum, darin nur 127.0.0.1, keine Route.

Als Programm: ``python tests/no_network.py ANGABEN…`` startet ``python ANGABEN…`` ohne Netz.
"""

import contextlib
import ctypes
import os
import socket
import sys

from helpers.workshop.review.namespaces import loopback_up

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def cut_off() -> None:
    """Trennt diesen Prozess und alle, die er startet, vom Netz, wo das Betriebssystem es erlaubt.

    Ohne root braucht es dazu einen eigenen Benutzer-Namensraum, und den nur, solange es keine zweiten Fäden gibt: also
    gleich am Anfang eines Prozesses aufrufen.
    """
    library, user, group = ctypes.CDLL(None), os.getuid(), os.getgid()
    if library.unshare(CLONE_NEWNET) and library.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        return
    if os.getuid() != user:
        maps = {"setgroups": "deny", "gid_map": f"{group} {group} 1", "uid_map": f"{user} {user} 1"}
        for name, content in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(content)
    loopback_up()


def reaches_out() -> bool:
    """Führt von hier ein Weg nach draußen? UDP fragt dafür nur die Routen, es geht nichts ab."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("192.0.2.1", 53)) == 0


if __name__ == "__main__":
    with contextlib.suppress(AttributeError, OSError):
        cut_off()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
