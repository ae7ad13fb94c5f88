"""Tötet Befehle an gelosten Stellen und sieht nach, was daraus wird: ``kill_moments.py ORDNER SAMEN NAME=ZAHL…``.

Ein vorgewärmter Prozess zweigt für jeden Versuch einen ab, der vor dem k-ten Anlegen, Öffnen, Umbenennen oder Löschen
stirbt (kill -9). Nach jedem Tod muss alles Sichtbare ganz sein. Der nächste Versuch arbeitet auf dem weiter, was der
vorige liegen ließ, und zuletzt muss ein Lauf von selbst gelingen, mit demselben Ergebnis wie ohne Tod und ohne Reste.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path

import numpy as np

from helpers import data
from helpers.basics import WORKPLACE, output_dir, read_figures, read_json, record
from helpers.inner.provenance import commit

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}


def daten():
    """``daten``: 60 PNG-Dateien in 20 Ordnern."""
    source = data.subset(data.load_source("beispiel"), 60, 30)
    data.load_source = lambda where: source
    folder = output_dir() / "daten"
    return (
        lambda: data.generate("beispiel", n_train=40, n_test=20),
        lambda: data.checksum(data.read_tree(folder)) if folder.exists() else None,
    )


def kennzahlen():
    """``record``: viele kleine Einträge in dieselbe Datei."""
    commit()  # fragt git nur einmal

    def result():
        figures = read_figures()
        return {name: figures[name] for name in sorted(figures) if name != "herkunft"} if len(figures) == 6 else None

    return lambda: [record(**{f"zahl{number}": number}) for number in range(5)], result


def cnn():
    """``cnn``: Daten, Merkmale, Training mit Zwischenstand, Modell, Kennzahlen. Ein winziges Netz, drei Epochen."""
    daten()
    import two_layers

    from helpers.workshop import cnn

    two_layers.replace_vgg16()
    cnn.examine = lambda *_: None
    folder = output_dir() / "modelle" / "sauber"

    def result():
        if (settings := read_json(folder / "einstellungen.json")) is None:
            return None
        assert (folder / "modell.keras").exists() and (folder / "verlauf.csv").read_text().count("\n") == 4
        return settings["seed"], settings["n_train"], settings["herkunft"]["daten_sha256"]

    return lambda: cnn.run_cnn("schnell", n_train=40, n_test=20, epochs=3, image_size=32), result


# Ein Befehl: lädt, was er braucht; ergibt, was ihn ausführt, und was am Ende gleich sein muss (None: noch nichts da).
CASES = {each.__name__: each for each in (daten, kennzahlen, cnn)}


def assert_whole(folder: Path) -> None:
    """Alles Sichtbare ist ganz: JSON lesbar, Archive heil, Felder vollständig."""
    for path in folder.rglob("*"):
        if any(part.endswith(WORKPLACE) for part in path.parts) or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix in (".keras", ".npz"):
            assert zipfile.ZipFile(path).testzip() is None, path


def attempt(run, top: Path, die_at: int = 0) -> int | None:
    """Ein Versuch in einem eigenen Prozess: wie oft er etwas änderte; None, wenn er vor Änderung ``die_at`` starb."""
    said, number, count = top / "gesagt.txt", top / "anzahl.txt", 0

    def hook(event, arguments):
        nonlocal count
        if event not in CHANGES or event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if isinstance(arguments[0], int) or not os.fsdecode(arguments[0]).startswith(str(top)):
            return
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        try:
            sys.stdout = sys.stderr = open(said, "w", buffering=1)
            sys.addaudithook(hook)
            run()
            number.write_text(str(count))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), said.read_text(errors="replace")[-2000:]
    return None if code else int(number.read_text())


def main() -> None:
    base, seed, *wishes = sys.argv[1:]
    for name, wanted in (wish.split("=") for wish in wishes):
        chance, top = random.Random(f"{seed} {name}"), Path(base) / name
        folder, tempfile.tempdir = top / "ausgabe", str(top / "tmp")
        (top / "tmp").mkdir(parents=True)
        os.environ["KURS_AUSGABE"] = str(folder)
        run, result = CASES[name]()
        total = attempt(run, top)
        expected, deaths = result(), 0
        while deaths < int(wanted):
            moment = chance.randint(1, total)
            print(name, moment, file=sys.stderr)
            finished = attempt(run, top, moment)
            assert_whole(folder)
            assert result() in (None, expected)
            if finished is None:
                deaths += 1
            else:  # von vorn: Sonst gäbe es bald nichts mehr zu tun
                shutil.rmtree(folder)
        attempt(run, top)
        assert result() == expected, "der letzte, ganze Lauf"
        assert list(top.rglob(f"*{WORKPLACE}")) == [], "liegen geblieben"


if __name__ == "__main__":
    main()
