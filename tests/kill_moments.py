"""Tötet Befehle an zufälligen Stellen und sieht nach, was daraus wird: ``kill_moments.py ORDNER SAMEN NAME=ZAHL…``.

Ein vorgewärmter Prozess zweigt für jeden Versuch einen Prozess ab, der an einer gelosten Stelle stirbt: beim k-ten
Anlegen, Öffnen, Umbenennen oder Löschen (kill -9) oder mitten im Schreiben nach so vielen Bytes (SIGXFSZ). Nach jedem
Tod muss alles Sichtbare ganz sein. Der nächste Versuch arbeitet auf dem weiter, was der vorige liegen ließ, und zuletzt
muss ein ganzer Lauf von selbst gelingen, mit demselben Ergebnis wie ohne Tod und ohne Reste.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers.basics import WORKPLACE, output_dir, read_json  # noqa: E402

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "fcntl.flock", "shutil.rmtree"}


class Case:
    """Ein Befehl: ``run`` führt ihn aus, ``result`` ergibt, was am Ende gleich sein muss (None: nichts da)."""

    by_bytes = True

    def prepare(self, folder: Path) -> None:
        """Lädt, was ``run`` braucht, einmal vor dem Abzweigen."""

    def run(self) -> None:
        raise NotImplementedError

    def result(self):
        raise NotImplementedError


class Daten(Case):
    """``daten``: 60 PNG-Dateien in 20 Ordnern."""

    def prepare(self, folder):
        from helpers import data

        self.data = data
        self.source = data.subset(data.load_source("beispiel"), 60, 30)
        data.load_source = lambda where: self.source

    def run(self):
        self.data.generate("beispiel", n_train=40, n_test=20)

    def result(self):
        folder = output_dir() / "daten"
        return self.data.checksum(self.data.read_tree(folder)) if folder.exists() else None


class Kennzahlen(Case):
    """``record``: viele kleine Einträge in dieselbe Datei."""

    def prepare(self, folder):
        from helpers.basics import record
        from helpers.provenance import commit

        commit()
        self.record = record

    def run(self):
        for number in range(5):
            self.record(**{f"zahl{number}": number})

    def result(self):
        figures = read_json(output_dir() / "kennzahlen.json")
        return figures and {name: value for name, value in figures.items() if name != "herkunft"}


class Laden(Case):
    """Ein Download von einem Server auf diesem Rechner."""

    def prepare(self, folder):
        import hashlib

        from download_server import Server

        from helpers import download

        self.content = random.Random(1).randbytes(300_000)
        self.md5 = hashlib.md5(self.content).hexdigest()
        self.server = Server({"datei.bin": self.content}).start()
        self.fetch = download.fetch

    def run(self):
        self.fetch(output_dir() / "keras" / "datei.bin", (self.server.address,), self.md5, "lassen Sie es")

    def result(self):
        path = output_dir() / "keras" / "datei.bin"
        return path.read_bytes() == self.content if path.exists() else None


class Cnn(Case):
    """``cnn``: Daten, Merkmale, Training mit Zwischenstand, Modell, Kennzahlen. Ein winziges Netz, drei Epochen."""

    def prepare(self, folder):
        Daten.prepare(self, folder)
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
        self.cnn = cnn

    def run(self):
        self.cnn.run_cnn("schnell", n_train=40, n_test=20, epochs=3, image_size=32)

    def result(self):
        settings = read_json(output_dir() / "modelle" / "sauber" / "einstellungen.json")
        if settings is None:
            return None
        with zipfile.ZipFile(output_dir() / "modelle" / "sauber" / "modell.keras") as archive:
            assert archive.testzip() is None
        assert (output_dir() / "modelle" / "sauber" / "verlauf.csv").read_text().count("\n") == 4
        return settings["seed"], settings["n_train"], settings["herkunft"]["daten_sha256"]


class Kurs(Case):
    """``kurs``: ein kleines Notebook mit echtem Kernel, dann Bericht und Kennzahlen."""

    by_bytes = False

    def prepare(self, folder):
        from notebook_factory import write_small_notebook

        from helpers.workshop import course

        self.notebooks = folder / "notebooks"
        write_small_notebook(self.notebooks, "01_Daten", "profil = 'schnell'", "print('fertig')")
        self.run_course = course.run_course

    def run(self):
        self.run_course(only=["01"], notebooks_dir=self.notebooks)

    def result(self):
        report = output_dir() / "bericht.html"
        return report.read_text(encoding="utf-8").rstrip().endswith("</html>") if report.exists() else None


class Durchsicht(Case):
    """``durchsicht``: zwei Abgaben, Seiten, Übersicht, Tabelle; eingesperrter Lauf und Notenbuch sind Attrappen."""

    def prepare(self, folder):
        import handin_factory as factory

        from helpers.workshop.review import grading, run, sandbox

        for name, notebook in (("anna", factory.solved()), ("bert", factory.stripped(2))):
            factory.save(notebook, folder / "abgaben" / f"{name}.ipynb")

        def judged(review, hand_in):
            verdicts = grading.verdicts(review.known[hand_in.course], review.cases, {})
            return run.Result(hand_in, verdicts, dict.fromkeys(verdicts, 0.0))

        def book(path, known):
            path.write_bytes(b"notenbuch" * 1000)

        run.Review.examine, grading.GradeBook, sandbox.isolated = judged, book, lambda: True
        run.precious_files = lambda paths: {}
        known = run.references()
        run.references = lambda: known
        self.folder, self.review = folder / "abgaben", run.review_hand_ins

    def run(self):
        self.review([self.folder], parallel=1)

    def result(self):
        page = output_dir() / "durchsicht.html"
        if not page.exists():
            return None
        text = page.read_text(encoding="utf-8")
        links = [part.split('"')[0] for part in text.split('href="')[1:]]
        for link in (link for link in links if link.startswith("durchsicht/")):
            assert (output_dir() / link).read_text(encoding="utf-8").rstrip().endswith("</html>"), link
        return text.rstrip().endswith("</html>"), (output_dir() / "durchsicht.csv").read_text("utf-8-sig")


CASES = {each.__name__.lower(): each for each in (Daten, Kennzahlen, Laden, Cnn, Kurs, Durchsicht)}


def whole(folder: Path) -> None:
    """Alles Sichtbare ist ganz: JSON und Notebooks lesbar, Archive heil, Felder vollständig."""
    import numpy as np

    for path in folder.rglob("*"):
        if any(part.endswith(WORKPLACE) for part in path.parts) or not path.is_file():
            continue
        if path.suffix in (".json", ".ipynb"):
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), path
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix in (".keras", ".npz"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, path


def leftovers(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return [name for name in names if name.endswith(WORKPLACE)]


def count_changes(folder: Path, die_at: int = 0) -> list[int]:
    """Zählt in diesem Prozess, was sich unter ``folder`` ändern soll; stirbt vor der Änderung Nummer ``die_at``."""
    count, top = [0], str(folder)

    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | bytes | Path) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in CHANGES:
            return
        elif event != "fcntl.flock" and not str(os.fsdecode(arguments[0])).startswith(top):
            return
        if event == "open" and not os.fsdecode(path).startswith(top):
            return
        count[0] += 1
        if count[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def attempt(case: Case, folder: Path, die_at: int = 0, die_after_bytes: int = 0) -> tuple[str, int]:
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
            case.run()
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
    top, seed = Path(sys.argv[1]), int(sys.argv[2])
    report = {}
    for wish in sys.argv[3:]:
        name, wanted = wish.split("=")
        began, chance = time.monotonic(), random.Random(f"{seed} {name}")
        workplace = top / name
        (workplace / "tmp").mkdir(parents=True)
        case, folder = CASES[name](), workplace / "ausgabe"
        case.prepare(workplace)
        os.environ["KURS_AUSGABE"] = str(folder)
        said, total = attempt(case, folder)
        problems = [] if said == "fertig" else [f"ohne Tod: {said}"]
        expected = case.result() if not problems else None
        largest = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=1)
        deaths = 0
        tries = 0
        while deaths < int(wanted) and tries < 3 * int(wanted) and not problems:
            tries += 1
            at_bytes = case.by_bytes and chance.random() < 0.3
            moment = int(largest ** chance.random()) + 1 if at_bytes else chance.randint(1, total)
            options = {"die_after_bytes": moment} if at_bytes else {"die_at": moment}
            said, _ = attempt(case, folder, **options)
            deaths += said == "tot"
            try:
                assert said in ("tot", "fertig"), said
                whole(folder)
                found = case.result()
                assert found is None or found == expected or name == "kennzahlen", (found, expected)
            except Exception as error:
                problems.append(f"{options}: {type(error).__name__}: {error}")
            if said == "fertig":  # von vorn: Sonst gäbe es bald nichts mehr zu tun
                shutil.rmtree(folder, ignore_errors=True)
        said, _ = attempt(case, folder)
        if said != "fertig" or case.result() != expected:
            problems.append(f"der letzte, ganze Lauf: {said[:1500]}, {case.result()} statt {expected}")
        problems += [f"liegen geblieben: {rest}" for rest in leftovers(workplace)]
        report[name] = {"tode": deaths, "probleme": problems, "sekunden": round(time.monotonic() - began, 1)}
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
