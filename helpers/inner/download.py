"""Große Dateien aus dem Netz holen: zwei Quellen, Prüfsumme, ganz oder gar nicht.

Das Netz braucht der Kurs nach dem Einrichten nur hier, und auch das nur auf Wunsch (``--voll``, ``--gewichte keras``).
"""

import contextlib
import hashlib
import os
import ssl
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from helpers.basics import CourseError, atomic_file, display_path, locked, progress

TIMEOUT_S = 20  # so lange darf ein Server schweigen
FAULTS = {  # was schiefging; das erste, das passt, zählt
    HTTPError: "der Server hat sie nicht",
    ssl.SSLError: "die Verschlüsselung der Verbindung gilt hier nicht",
    TimeoutError: "der Server schweigt",
    OSError: "kein Netz oder Adresse nicht erreichbar",
    HTTPException: "die Antwort war unverständlich",
    ValueError: "Prüfsumme falsch",
}


def keras_home() -> Path:
    """Der Zwischenspeicher, den auch Keras benutzt (``KERAS_HOME``, sonst ``~/.keras``)."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def fetch(target: Path, sources: tuple[str, ...], md5: str, offline: str) -> Path:
    """Holt eine Datei ganz oder gar nicht, wenn sie nicht schon mit der richtigen Prüfsumme da liegt.

    Zwei gleichzeitige Aufrufe laden einmal.

    Args:
        target: wohin; der Name unter den Quellen ist derselbe.
        sources: Ordner im Netz, jeder mit „/“ am Ende, in der Reihenfolge, in der sie versucht werden.
        md5: Prüfsumme der Datei, wie die Quellen sie nennen.
        offline: Halbsatz, wie es ohne diese Datei geht.

    Raises:
        CourseError: wenn keine Quelle sie liefert; der Satz nennt den letzten Grund und wie man sie selbst holt.
    """
    failure = None
    with contextlib.suppress(OSError):  # den Satz dazu hat atomic_file
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent):
        if target.is_file() and hashlib.md5(target.read_bytes()).hexdigest() == md5:
            return target
        for source in sources:
            try:
                with atomic_file(target) as temporary:
                    with urlopen(source + target.name, timeout=TIMEOUT_S) as answer, open(temporary, "wb") as file:
                        blocks = iter(lambda answer=answer: answer.read(1 << 20), b"")
                        for block in progress(blocks, (answer.length or 0) >> 20, target.name, "MB"):
                            file.write(block)
                    if hashlib.md5(temporary.read_bytes()).hexdigest() != md5:
                        raise ValueError(f"Prüfsumme von {source}{target.name}")
                return target
            except (OSError, HTTPException, ValueError) as error:
                failure = error  # --debug zeigt die letzte
    cause = getattr(failure, "reason", None)
    cause = cause if isinstance(cause, OSError) else failure
    why = next(text for kind, text in FAULTS.items() if isinstance(cause, kind))
    raise CourseError(
        f"{target.name} ließ sich nicht laden (zuletzt: {why}): Prüfen Sie die Netzverbindung, holen Sie "
        f"{sources[0]}{target.name} mit dem Browser und legen Sie die Datei nach {display_path(target.parent)}, oder "
        f"{offline}."
    ) from failure
