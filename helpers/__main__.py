"""Die Kommandozeile des Kurses: ``python -m helpers BEFEHL``. Jeder Befehl importiert erst, was er braucht."""

from __future__ import annotations  # damit doctor auch unter Python 3.8 sagen kann, welches Python der Kurs braucht

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback

from helpers.basics import (
    COURSE_NOTEBOOKS,
    SOLUTIONS,
    CourseError,
    atomic_file,
    display_path,
    german,
    one_line,
    output_dir,
    reason,
)

PROFILE_HELP = "schnell (zwei CPU-Kerne), voll (GPU, alle Bilder) oder probe (läuft alles durch?)"


class GermanParser(argparse.ArgumentParser):
    """argparse mit deutschen Überschriften und Fehlersätzen; falsche Angaben enden mit Exit-Code 2."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, add_help=False, allow_abbrev=False, **kwargs)
        self._positionals.title = "Angaben"
        self._optionals.title = "Optionen"
        self.add_argument("-h", "--hilfe", "--help", action="help", help="diese Hilfe zeigen")
        self.add_argument("--debug", action="store_true", help="bei einem Fehler auch den Traceback zeigen")

    def format_help(self):
        return super().format_help().replace("usage:", "Aufruf:", 1)

    def error(self, message):
        translations = {
            "unrecognized arguments:": "unbekannte Angabe:",
            "the following arguments are required:": "es fehlt:",
            "invalid choice:": "nicht möglich ist",
            "choose from": "wählen Sie aus",
            "expected one argument": "dahinter fehlt ein Wert",
            "expected 2 arguments": "dahinter fehlen Name und Wert",
            "expected at least one argument": "dahinter fehlt mindestens ein Wert",
            "ignored explicit argument": "hier steht kein Wert, also auch nicht",
        }
        message = message.removeprefix("argument ")
        for english, german_text in translations.items():
            message = message.replace(english, german_text, 1)
        raise CourseError(f"{message}. Alle Angaben zeigt „{self.prog} --hilfe“.")


def _int(text: str, lowest: int = -(10**12), highest: int = 10**12, limits: str = "") -> int:
    # int() nähme auch „1_000“ und fremde Ziffern; zwölf Stellen braucht hier niemand.
    if not (re.fullmatch(r"[+-]?[0-9]{1,12}", text) and lowest <= int(text) <= highest):
        raise argparse.ArgumentTypeError(f"keine ganze Zahl{limits}: {text[:40]!r}")
    return int(text)


def _between(lowest: int, highest: int):
    return lambda text: _int(text, lowest, highest, f" von {german(lowest)} bis {german(highest)}")


def _path(text: str) -> str:
    # Der leere Pfad wäre der Ordner, in dem man gerade steht.
    if not text.strip():
        raise argparse.ArgumentTypeError("der Pfad ist leer")
    return text


_seed = _between(0, 2**32 - 1)


def _data_options(parser) -> None:
    parser.add_argument(
        "--eingabe", type=_path, help="Ordner mit CSV- oder idx-Dateien, „beispiel“ oder „voll“ (laden)"
    )
    parser.add_argument("--n-train", type=_int, help="so viele Trainingsbilder, geschichtet gezogen")
    parser.add_argument("--n-test", type=_int, help="so viele Testbilder, geschichtet gezogen")
    parser.add_argument("--seed", type=_seed, default=0, help="Startwert des Zufalls")


def build_parser() -> argparse.ArgumentParser:
    """Der Parser mit allen Unterbefehlen; ``run`` der gelesenen Angaben ist die Funktion, die den Befehl ausführt."""
    parser = GermanParser(
        prog="python -m helpers",
        usage="python -m helpers BEFEHL …",
        description="Traue keinem CNN: die Befehle des Kurses",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="befehl", required=True, metavar="BEFEHL", help=argparse.SUPPRESS, prog="python -m helpers"
    )
    lines = []

    def add(name, run, text):
        lines.append(f"  {name:11} {text}")
        command = commands.add_parser(name, description=text)
        command.set_defaults(run=run)
        return command

    lines.append("Befehle für Lernende:")
    _learner_commands(add)
    lines.append("\nBefehle für Lehrende und zum Bauen des Kurses:")
    _maker_commands(add)
    parser.epilog = "\n".join(lines)
    return parser


def _learner_commands(add) -> None:
    daten = add("daten", _daten, "Bilder als PNG-Ordner TRAIN und TEST schreiben")
    _data_options(daten)
    daten.add_argument("--ziel", type=_path, help="Zielordner (sonst ausgabe/daten)")
    daten.add_argument("--voll", action="store_true", help="alle 70.000 Bilder laden, MD5 geprüft")

    cnn = add("cnn", _cnn, "VGG16 trainieren, auswerten und erklären")
    cnn.add_argument("--profil", default="schnell", help=PROFILE_HELP)
    _data_options(cnn)
    weights = ("beiliegend", "keras")
    cnn.add_argument("--gewichte", default="beiliegend", choices=weights, help="aus input/ oder von Keras aus dem Netz")
    cnn.add_argument("--epochen", type=_int, help="statt der Epochen des Profils")
    cnn.add_argument("--geraete", type=_int, help="so viele GPUs (oder gedachte CPU-Geräte) lernen gleichzeitig")
    cnn.add_argument("--bildgroesse", type=_int, help="Kantenlänge der Netzeingabe in Pixeln, mindestens 32")

    auswerten = add("auswerten", _auswerten, "das Kursmodell auf den Testbildern auswerten")
    auswerten.add_argument("--eingabe", type=_path, default="auto", help="wie bei „daten“")

    kurs = add("kurs", _kurs, "alle Notebooks ausführen und den Bericht schreiben")
    kurs.add_argument("--profil", help=PROFILE_HELP)
    kurs.add_argument("--nur", nargs="+", metavar="NOTEBOOK", help=f"nur diese: {', '.join(COURSE_NOTEBOOKS)}")
    kurs.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "WERT"), help="Parameter der Notebooks setzen"
    )

    add("doctor", _doctor, "prüfen, ob alles da ist")


def _maker_commands(add) -> None:
    review = add("durchsicht", _durchsicht, "Abgaben ausführen, prüfen und bepunkten")
    review.add_argument("abgaben", type=_path, nargs="+", metavar="ABGABEN", help="Notebooks oder Ordner damit")
    review.add_argument("--gleichzeitig", type=_between(1, 64), default=2, help="so viele Abgaben laufen zugleich")
    review.add_argument("--sekunden", type=_between(10, 86_400), default=240, help="Zeitgrenze je Abgabe")
    review.add_argument(
        "--speicher", type=_between(500, 1_000_000), default=4000, help="Arbeitsspeicher je Abgabe in MB"
    )

    ableiten = add("ableiten", _ableiten, "notebooks/ aus solutions/ erzeugen")
    ableiten.add_argument("--pruefen", action="store_true", help="nur prüfen, ob beide zusammenpassen")
    ableiten.add_argument("--ausfuehren", action="store_true", help="vorher solutions/ neu ausführen")
    ableiten.add_argument("--nur", nargs="+", metavar="NOTEBOOK", help="nur diese neu ausführen")

    add("streifen", _streifen, "den Bildstreifen des Explorers für die README neu machen")

    stichprobe = add("stichprobe", _stichprobe, "die mitgelieferte Stichprobe neu schneiden")
    stichprobe.add_argument("--eingabe", type=_path, help="Ordner der vier idx-Dateien (sonst Debians Paket)")

    kursmodell = add("kursmodell", _kursmodell, "das Training „sauber“ (Profil voll) als Kursmodell ablegen")
    kursmodell.add_argument("--eingabe", type=_path, default="auto", help="Testbilder, wie bei „daten“")

    wertung = add("wertung", _wertung, "die große Wertungstafel messen und nach input/ legen")
    wertung.add_argument("--bilder", type=_between(2, 10_000), default=200, help="Bilder je Maß, mindestens 2")
    wertung.add_argument(
        "--modell", default="kurs", choices=("kurs", "sauber"), help="Kursmodell oder eigenes Training"
    )
    wertung.add_argument("--eingabe", type=_path, default="beispiel", help="Testbilder, wie bei „daten“")
    wertung.add_argument("--ziel", type=_path, help="Zieldatei (sonst input/wertungstafel.json)")
    wertung.add_argument("--seed", type=_seed, default=0, help="Startwert des Zufalls")

    labor = add("labor", _labor, "die Zwillinge des Labors trainieren, untersuchen und nach input/ legen")
    labor.add_argument("--ziel", type=_path, help="Zieldatei (sonst input/labor.json)")
    labor.add_argument("--seed", type=_seed, default=0, help="Startwert des Zufalls")

    benchmark = add("benchmark", _benchmark, "Tempo im Vergleich mit anderen Bibliotheken messen")
    parts = ("gradcam", "lrp", "ziel", "training")
    benchmark.add_argument(
        "--teile", nargs="+", metavar="TEIL", choices=parts, default=parts, help=f"nur diese: {', '.join(parts)}"
    )
    benchmark.add_argument(
        "--groessen", nargs="+", type=_between(32, 512), default=[64, 224], help="Kantenlängen in Pixeln"
    )
    benchmark.add_argument("--wiederholungen", type=_between(1, 1000), default=5, help="Messungen je Zeile (Median)")


def _daten(options) -> None:
    from helpers.data import generate

    if options.voll and options.eingabe:
        raise CourseError("--voll und --eingabe widersprechen sich: Lassen Sie eines von beiden weg.")
    where = "voll" if options.voll else options.eingabe or "auto"
    dataset, folder = generate(where, options.ziel, options.n_train, options.n_test, options.seed)
    print(f"Quelle: {dataset.source}")
    print(
        f"Geschrieben: {german(len(dataset.train_labels))} Bilder nach {display_path(folder / 'TRAIN')}, "
        f"{german(len(dataset.test_labels))} nach {display_path(folder / 'TEST')}"
    )


def _cnn(options) -> None:
    from helpers.workshop.cnn import run_cnn

    run_cnn(
        options.profil,
        weights=options.gewichte,
        where=options.eingabe or "auto",
        seed=options.seed,
        n_train=options.n_train,
        n_test=options.n_test,
        epochs=options.epochen,
        image_size=options.bildgroesse,
        devices=options.geraete,
    )


def _auswerten(options) -> None:
    from helpers.data import load_source
    from helpers.workshop.cnn import evaluate_course_model

    evaluate_course_model(load_source(options.eingabe))


def _kursmodell(options) -> None:
    from helpers.data import load_source
    from helpers.workshop.course_model import publish

    publish(load_source(options.eingabe))


def _target_file(text: str | None, default):
    from pathlib import Path

    target = Path(text) if text else default
    if target.is_dir():
        raise CourseError(f"{display_path(target)} ist ein Ordner: Nennen Sie hinter --ziel eine Datei.")
    return target


def _wertung(options) -> None:
    from helpers.scorecard import STORED_CARD
    from helpers.workshop.tables import make_scorecard

    target = _target_file(options.ziel, STORED_CARD)
    card = make_scorecard(options.modell, options.bilder, options.eingabe, target, options.seed)
    count = german(card["einstellungen"]["images"])
    print(f"Geschrieben: {display_path(target)} ({count} Bilder, {german(card['minuten'], 1)} Minuten)")


def _labor(options) -> None:
    from helpers.lab import STORED_LAB
    from helpers.workshop.tables import make_lab

    target = _target_file(options.ziel, STORED_LAB)
    stored = make_lab(target, options.seed)
    print(f"Geschrieben: {display_path(target)} ({len(stored['tafel'])} Netze)")


def _benchmark(options) -> int:
    import subprocess

    from helpers.basics import ROOT

    program = ROOT / "tests" / "benchmark" / "run.py"
    command = [sys.executable, str(program), "--wiederholungen", str(options.wiederholungen)]
    command += ["--groessen", *map(str, options.groessen), "--teile", *options.teile]
    return subprocess.call(command)


def _kurs(options) -> None:
    from helpers.workshop.course import parse_value, run_course

    names = [name for name, _ in options.p] + (["profil"] if options.profil else [])
    if twice := [name for name in names if names.count(name) > 1]:
        raise CourseError(f"„{one_line(twice[0])}“ ist zweimal gesetzt: Lassen Sie eine der Angaben weg.")
    parameters = {name: parse_value(value) for name, value in options.p}
    run_course(profile=options.profil or "schnell", only=options.nur, parameters=parameters)


def _doctor(options) -> int:
    from helpers.workshop.doctor import run

    return run()


def _ableiten(options) -> int:
    from helpers.workshop.notebooks import derive, execute_solutions

    if options.nur and not options.ausfuehren:
        raise CourseError("--nur gilt nur mit --ausfuehren: Ergänzen Sie --ausfuehren oder lassen Sie --nur weg.")
    if options.pruefen and options.ausfuehren:
        raise CourseError("--pruefen schreibt nichts, --ausfuehren schon: Lassen Sie eines von beiden weg.")
    if options.ausfuehren:
        execute_solutions(options.nur)
        _refresh_readme_picture()
    problems = derive(check=options.pruefen)
    for problem in problems if options.pruefen else []:
        print(f"✘ {problem}", file=sys.stderr)
    if options.pruefen and problems:
        return 1
    print("✔ notebooks/ passt zu solutions/")
    return 0


def _streifen(options) -> None:
    from helpers.workshop.strip import course_scenes, make_strip

    target = make_strip(*course_scenes())
    print(f"Geschrieben: {display_path(target)} ({german(target.stat().st_size / 1000, 0)} kB)")


def _durchsicht(options) -> None:
    from helpers.workshop.review.run import review_hand_ins

    target = review_hand_ins(options.abgaben, options.gleichzeitig, options.sekunden, options.speicher)
    print(f"Durchsicht: {display_path(target)}")


def _refresh_readme_picture() -> None:
    """Das Bild der README ist die Ergebnisseite des letzten Laufs der Lösungen, mit 256 Farben klein gehalten."""
    from helpers.workshop.notebooks import few_colors

    picture = output_dir() / "bilder" / "ergebnis.png"
    if picture.is_file():
        with atomic_file(SOLUTIONS / "ergebnis.png") as temporary:
            temporary.write_bytes(few_colors(picture.read_bytes()))


def _stichprobe(options) -> None:
    from pathlib import Path

    from helpers.data import DEBIAN_FOLDER
    from helpers.workshop.sample import make_sample

    target = make_sample(Path(options.eingabe) if options.eingabe else DEBIAN_FOLDER)
    print(f"Geschrieben: {display_path(target)}")


def _failed(sentence: str, error: BaseException, debug: bool) -> int:
    """Ein Satz auf stderr; der Traceback davor nur mit ``--debug``."""
    if debug:
        error.__suppress_context__ = False
        traceback.print_exception(error)
    print(f"✘ {one_line(sentence)}", file=sys.stderr)
    return 2


def main(arguments: list[str] | None = None) -> int:
    """Führt einen Befehl aus; 0 heißt gelungen, 2 eine falsche Eingabe, 130 einen Abbruch mit Strg+C."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        options = build_parser().parse_args(arguments)
        return options.run(options) or 0
    except CourseError as error:
        return _failed(str(error), error, debug)
    except OSError as error:
        where = display_path(error.filename) if error.filename else "eine Datei"
        remedy = "Prüfen Sie Rechte und freien Platz"
        return _failed(f"Der Zugriff auf {where} ist gescheitert ({reason(error)}): {remedy}.", error, debug)
    except MemoryError as error:
        remedy = "Schließen Sie andere Programme oder nehmen Sie weniger oder kleinere Bilder"
        return _failed(f"Der Arbeitsspeicher reicht nicht: {remedy}.", error, debug)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


INTERRUPTED = "\nAbgebrochen mit Strg+C."
PATIENCE_S = 1.5


def leave_soon_after_interrupt() -> None:
    """Nach Strg+C endet der Prozess binnen zwei Sekunden, auch mitten in einer langen Rechnung von TensorFlow.

    Python behandelt Strg+C erst zwischen zwei eigenen Befehlen. Ein Faden wird deshalb schon vom Signal selbst geweckt
    und beendet den Prozess, wenn der sich nicht inzwischen selbst beendet. Halbes bleibt auch dann nicht: Geschrieben
    wird überall ganz oder gar nicht, Reste räumt der nächste Lauf weg.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch():
        while signal.SIGINT not in os.read(reading, 1):
            pass
        time.sleep(PATIENCE_S)
        with contextlib.suppress(OSError):
            os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    leave_soon_after_interrupt()
    status = main()
    if status == 130:  # nicht auf Fäden von TensorFlow warten
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
