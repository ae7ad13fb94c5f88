"""Große Dateien aus dem Netz holen: mit Zeitgrenzen, Fortsetzung, Prüfsumme und zweiter Quelle.

Das ist die einzige Stelle, an der der Kurs nach dem Einrichten ins Netz geht, und auch das nur auf Wunsch (``--voll``,
``--gewichte keras``).
"""

import contextlib
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from helpers.basics import CourseError, display_path, german, locked, progress, reason

TIMEOUT_S = 20  # so lange darf ein Server schweigen
SLOW_S, SLOW_BYTES = 30, 30_000  # in jeder halben Minute muss wenigstens so viel ankommen
ATTEMPTS = 3  # je Quelle; jeder setzt dort fort, wo der vorige endete
BLOCK = 1 << 16


class _Broken(Exception):
    """Ein Versuch ist gescheitert; der Text sagt, woran."""


def keras_home() -> Path:
    """Der Zwischenspeicher, den auch Keras benutzt (``KERAS_HOME``, sonst ``~/.keras``)."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def fetch(target: Path, sources: tuple[str, ...], md5: str, offline: str) -> Path:
    """Holt eine Datei, wenn sie nicht schon mit der richtigen Prüfsumme da liegt.

    Die Quellen werden in der angegebenen Reihenfolge versucht. Was schon angekommen ist, liegt in ``….unvollstaendig``
    daneben: Nach einem Abbruch, auch nach einem harten, geht es dort weiter. Zwei gleichzeitige Aufrufe laden einmal.

    Args:
        target: wohin; der Name unter den Quellen ist derselbe.
        sources: Ordner im Netz, jeder mit „/“ am Ende.
        md5: Prüfsumme der Datei, wie die Quellen sie nennen.
        offline: Halbsatz, wie es ohne diese Datei geht.

    Raises:
        CourseError: wenn keine Quelle sie liefert; der Satz nennt Datei, Adresse und Ordner zum Selbstholen.
    """
    target = Path(target)
    part = target.with_name(target.name + ".unvollstaendig")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent):
            if target.is_file() and _md5(target) == md5:
                return target
            problems = []
            for source in sources:
                host = source.split("/")[2]
                try:
                    _from_source(source + target.name, part, md5)
                    part.replace(target)
                    return target
                except _Broken as error:
                    problems.append(f"{host}: {error}")
    except OSError as error:
        raise CourseError(
            f"{target.name} ließ sich nicht nach {display_path(target.parent)} schreiben ({reason(error)}): Schaffen "
            f"Sie Platz oder {offline}."
        ) from None
    raise CourseError(
        f"{target.name} ließ sich nicht laden ({'; '.join(problems)}): Prüfen Sie die Netzverbindung, holen Sie "
        f"{sources[0]}{target.name} mit dem Browser und legen Sie die Datei nach {display_path(target.parent)}, oder "
        f"{offline}."
    )


def _from_source(url: str, part: Path, md5: str) -> None:
    """Lädt ``url`` nach ``part``, in mehreren Anläufen."""
    problem = ""
    for _ in range(ATTEMPTS):
        resumed = part.is_file() and part.stat().st_size > 0
        try:
            _continue(url, part)
        except _Broken as error:
            problem = str(error)
            continue
        if _md5(part) == md5:
            return
        # Falsch kann auch das alte Stück sein. Ganz neu und wieder falsch: Dann hat die Quelle eine andere Datei.
        part.unlink()
        problem = "Die Prüfsumme stimmt nicht"
        if not resumed:
            break
    raise _Broken(problem)


def _continue(url: str, part: Path) -> None:
    """Ein Anlauf: hängt an ``part`` an, was fehlt; liefert der Server keine Teile, beginnt er von vorn."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            appending = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            _write(answer, part, have if appending else 0)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # alles da, oder das Stück ist länger als die Datei: Die Prüfsumme entscheidet
            return
        raise _Broken(f"Der Server antwortet mit {error.code}") from None
    except TimeoutError:
        raise _Broken(f"Der Server schweigt länger als {german(TIMEOUT_S)} Sekunden") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _Broken(f"Der Server schweigt länger als {german(TIMEOUT_S)} Sekunden") from None
        raise _Broken(f"nicht zu erreichen ({error.reason})") from None
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _Broken(f"Die Verbindung riss ab ({type(error).__name__})") from None


def _write(answer, part: Path, have: int) -> None:
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length and length.isdigit() else None
    began, since = time.monotonic(), 0
    bar = progress(total=total, initial=have, text=part.stem, unit="Byte", unit_scale=True)
    with open(part, "r+b" if have else "wb") as file, bar:
        file.seek(have)
        file.truncate()
        # read1 liefert, was da ist: Auch ein Server, der Byte für Byte tropft, fällt auf.
        while block := answer.read1(BLOCK):
            file.write(block)
            bar.update(len(block))
            since += len(block)
            if time.monotonic() - began > SLOW_S:
                if since < SLOW_BYTES:
                    raise _Broken("Es kommt kaum noch etwas an")
                began, since = time.monotonic(), 0
        file.flush()
        have = file.tell()
    if total is not None and have < total:
        raise _Broken(f"Nach {german(have)} von {german(total)} Byte riss die Verbindung ab")


def _md5(path: Path) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
    return ""
