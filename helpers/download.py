"""Große Dateien aus dem Netz holen: zwei Quellen, Prüfsumme, ganz oder gar nicht.

Das Netz braucht der Kurs nach dem Einrichten nur hier, und auch das nur auf Wunsch (``--voll``, ``--gewichte keras``).
"""

import contextlib
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from helpers.basics import CourseError, atomic_file, display_path, german, locked, progress

TIMEOUT_S = 20  # so lange darf ein Server schweigen


class _Broken(Exception):
    """Eine Quelle hat die Datei nicht geliefert; der Text sagt, woran es lag."""


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
        CourseError: wenn keine Quelle sie liefert; der Satz nennt Datei, Adresse und Ordner zum Selbstholen.
    """
    target = Path(target)
    problems = []
    with contextlib.suppress(OSError):  # den Satz dazu hat atomic_file
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent):
        if target.is_file() and hashlib.md5(target.read_bytes()).hexdigest() == md5:
            return target
        for source in sources:
            try:
                with atomic_file(target) as temporary:
                    _download(source + target.name, temporary, md5)
                return target
            except _Broken as error:
                problems.append(f"{source.split('/')[2]}: {error}")
    raise CourseError(
        f"{target.name} ließ sich nicht laden ({'; '.join(problems)}): Prüfen Sie die Netzverbindung, holen Sie "
        f"{sources[0]}{target.name} mit dem Browser und legen Sie die Datei nach {display_path(target.parent)}, oder "
        f"{offline}."
    )


def _download(url: str, path: Path, md5: str) -> None:
    """Lädt ``url`` nach ``path``; _Broken, wenn das Netz oder die Prüfsumme nicht mitspielt."""
    digest = hashlib.md5()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, open(path, "wb") as file:
            total = answer.length
            with progress(total=total, text=path.name, unit="Byte", unit_scale=True) as bar:
                while block := answer.read(1 << 16):
                    file.write(block)
                    digest.update(block)
                    bar.update(len(block))
            if total is not None and file.tell() < total:
                raise _Broken(f"Nach {german(file.tell())} von {german(total)} Byte riss die Verbindung ab")
    except urllib.error.HTTPError as error:
        raise _Broken(f"Der Server antwortet mit {error.code}") from None
    except (TimeoutError, urllib.error.URLError, http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            raise _Broken(f"Der Server schweigt länger als {german(TIMEOUT_S)} Sekunden") from None
        raise _Broken(f"nicht zu erreichen ({cause})") from None
    if digest.hexdigest() != md5:
        raise _Broken("Die Prüfsumme stimmt nicht")
