"""Tötet Befehle an zufälligen Stellen und sieht nach, was daraus wird: ``kill_moments.py ORDNER SAMEN NAME=ZAHL…``.

Ein vorgewärmter Prozess zweigt für jeden Versuch einen Prozess ab, der an einer gelosten Stelle stirbt: beim k-ten
Anlegen, Öffnen, Umbenennen oder Löschen (kill -9) oder mitten im Schreiben nach so vielen Bytes (SIGXFSZ). Nach jedem
Tod muss alles Sichtbare ganz sein. Der nächste Versuch arbeitet auf dem weiter, was der vorige liegen ließ, und zuletzt
muss ein ganzer Lauf von selbst gelingen, mit demselben Ergebnis wie ohne Tod und ohne Reste.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402

from helpers import data  # noqa: E402
from helpers.basics import WORKPLACE, output_dir, read_json, record  # noqa: E402
from helpers.provenance import commit  # noqa: E402

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "fcntl.flock", "shutil.rmtree"}


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

    def run():
        for number in range(5):
            record(**{f"zahl{number}": number})

    def result():
        figures = read_json(output_dir() / "kennzahlen.json", {})
        return {name: figures[name] for name in sorted(figures) if name != "herkunft"} if len(figures) == 6 else None

    return run, result


def cnn():
    """``cnn``: Daten, Merkmale, Training mit Zwischenstand, Modell, Kennzahlen. Ein winziges Netz, drei Epochen."""
    daten()
    from helpers import learner, training
    from helpers.model import keras
    from helpers.workshop import cnn

    def tiny(image_size=32, weights=None, seed=0):
        keras.utils.set_random_seed(seed)
        inputs = x = keras.Input((image_size, image_size, 3))
        x = keras.layers.AveragePooling2D(8, name="block4_pool")(x)
        x = keras.layers.Flatten(name="flatten")(x)
        return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))

    training.build_vgg16 = learner.build_vgg16 = tiny
    cnn._explain = lambda *_: None
    folder = output_dir() / "modelle" / "sauber"

    def result():
        settings = read_json(folder / "einstellungen.json")
        if settings is None:
            return None
        assert (folder / "modell.keras").exists() and (folder / "verlauf.csv").read_text().count("\n") == 4
        return settings["seed"], settings["n_train"], settings["herkunft"]["daten_sha256"]

    return lambda: cnn.run_cnn("schnell", n_train=40, n_test=20, epochs=3, image_size=32), result


# Ein Befehl: lädt, was er braucht; ergibt, was ihn ausführt, und was am Ende gleich sein muss (None: noch nichts da).
CASES = {each.__name__: each for each in (daten, kennzahlen, cnn)}


def whole(folder: Path) -> None:
    """Alles Sichtbare ist ganz: JSON lesbar, Archive heil, Felder vollständig."""
    for path in folder.rglob("*"):
        if any(part.endswith(WORKPLACE) for part in path.parts) or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix in (".keras", ".npz"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, path


def count_changes(folder: Path, die_at: int = 0) -> list[int]:
    """Zählt in diesem Prozess, was sich unter ``folder`` ändern soll; stirbt vor der Änderung Nummer ``die_at``."""
    count, top = [0], str(folder)

    def hook(event, arguments):
        if event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        if event != "open" and event not in CHANGES:
            return
        path = arguments[0]
        if event != "fcntl.flock" and (isinstance(path, int) or not str(os.fsdecode(path)).startswith(top)):
            return
        count[0] += 1
        if count[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def attempt(run, folder: Path, die_at: int = 0, die_after_bytes: int = 0) -> tuple[str, int]:
    """Ein Versuch in einem eigenen Prozess: „tot“, „fertig“ oder die Fehlermeldung; dazu die Zahl der Änderungen."""
    notes = folder.parent / "versuch.txt"
    notes.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sink = os.open(notes, os.O_WRONLY | os.O_CREAT)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            os.environ["KURS_AUSGABE"], os.environ["TMPDIR"] = str(folder), str(folder.parent / "tmp")
            count = count_changes(folder.parent, die_at)
            if die_after_bytes:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_FSIZE, (die_after_bytes,) * 2)
            run()
            (folder.parent / "anzahl").write_text(str(count[0]))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "tot", 0
    if os.WEXITSTATUS(status):
        return notes.read_text(errors="replace")[-2000:] or f"Ende mit {os.WEXITSTATUS(status)}", 0
    return "fertig", int((folder.parent / "anzahl").read_text())


def main() -> None:
    top, seed, *wishes = sys.argv[1:]
    for name, wanted in (wish.split("=") for wish in wishes):
        chance = random.Random(f"{seed} {name}")
        workplace = Path(top) / name
        (workplace / "tmp").mkdir(parents=True)
        folder = workplace / "ausgabe"
        os.environ["KURS_AUSGABE"] = str(folder)
        run, result = CASES[name]()
        said, total = attempt(run, folder)
        assert said == "fertig", said
        expected = result()
        largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        deaths = 0
        while deaths < int(wanted):
            at_bytes = chance.random() < 0.5
            moment = int(largest ** chance.random()) + 1 if at_bytes else chance.randint(1, total)
            options = {"die_after_bytes": moment} if at_bytes else {"die_at": moment}
            print(name, options, file=sys.stderr)
            said, _ = attempt(run, folder, **options)
            assert said in ("tot", "fertig"), said
            whole(folder)
            assert result() in (None, expected)
            deaths += said == "tot"
            if said == "fertig":  # von vorn: Sonst gäbe es bald nichts mehr zu tun
                shutil.rmtree(folder)
        said, _ = attempt(run, folder)
        assert said == "fertig", f"der letzte, ganze Lauf: {said}"
        assert result() == expected
        assert list(workplace.rglob(f"*{WORKPLACE}")) == [], "liegen geblieben"


if __name__ == "__main__":
    main()
