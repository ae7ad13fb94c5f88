"""Die Kommandozeile des Kurses: ``python -m helpers BEFEHL``. Jeder Befehl importiert erst, was er braucht."""

from __future__ import annotations  # damit doctor auch unter Python 3.8 sagen kann, welches Python der Kurs braucht

import argparse
import contextlib
import os
import platform
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, ROOT, CourseError, display_path, german, one_line, reason
from helpers.workshop.streams import speak_any_encoding

PROFILE_HELP = "schnell (zwei CPU-Kerne), voll (GPU, alle Bilder) oder probe (läuft alles durch?)"
LEARNERS, MAKERS = "Befehle für Lernende:", "\nBefehle für Lehrende und zum Bauen des Kurses:"
COMMANDS = []  # (Überschrift, Satz, Optionen, Funktion); in dieser Reihenfolge stehen sie in der Hilfe


def command(heading: str, text: str, *options):
    """Macht eine Funktion zum Befehl ihres Namens; sie bekommt die gelesenen Angaben und ergibt den Exit-Code."""

    def register(function):
        COMMANDS.append((heading, text, options, function))
        return function

    return register


def option(*names, **settings):
    """Eine Angabe, wie ``add_argument`` sie nimmt."""
    return names, settings


# --- Angaben ---------------------------------------------------------------------------------------------------------


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


def whole(lowest: int = 0, highest: int = 2**32 - 1):
    """Liest eine ganze Zahl; int() nähme auch „1_000“ und fremde Ziffern."""

    def read(text: str) -> int:
        if not (re.fullmatch(r"[+-]?[0-9]{1,12}", text) and lowest <= int(text) <= highest):
            limits = f"von {german(lowest)} bis {german(highest)}"
            raise argparse.ArgumentTypeError(f"keine ganze Zahl {limits}: {text[:40]!r}")
        return int(text)

    return read


def path(text: str) -> str:
    """Der leere Pfad wäre der Ordner, in dem man gerade steht."""
    if not text.strip():
        raise argparse.ArgumentTypeError("der Pfad ist leer")
    return text


def file(text: str) -> Path:
    """Ein Ziel, das kein Ordner ist: Sonst scheiterte das Schreiben erst nach der Arbeit."""
    if Path(path(text)).is_dir():
        raise argparse.ArgumentTypeError(f"{display_path(text)} ist ein Ordner, hier gehört eine Datei hin")
    return Path(text)


SEED = option("--seed", type=whole(), default=0, help="Startwert des Zufalls")
IMAGES = (
    option("--eingabe", type=path, help="Ordner mit CSV- oder idx-Dateien, „beispiel“ oder „voll“ (laden)"),
    option("--n-train", type=whole(), help="so viele Trainingsbilder, geschichtet gezogen"),
    option("--n-test", type=whole(), help="so viele Testbilder, geschichtet gezogen"),
    SEED,
)
TEST_IMAGES = option("--eingabe", type=path, default="auto", help="Testbilder, wie bei „daten“")


# --- Befehle für Lernende --------------------------------------------------------------------------------------------


@command(
    LEARNERS,
    "Bilder als PNG-Ordner TRAIN und TEST schreiben",
    *IMAGES,
    option("--ziel", type=path, help="Zielordner (sonst ausgabe/daten)"),
    option("--voll", action="store_true", help="alle 70.000 Bilder laden, MD5 geprüft"),
)
def daten(options):
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


@command(
    LEARNERS,
    "VGG16 trainieren, auswerten und erklären",
    option("--profil", default="schnell", help=PROFILE_HELP),
    *IMAGES,
    option("--gewichte", default="beiliegend", choices=("beiliegend", "keras"), help="aus input/ oder aus dem Netz"),
    option("--epochen", type=whole(), help="statt der Epochen des Profils"),
    option("--geraete", type=whole(), help="so viele GPUs (oder gedachte CPU-Geräte) lernen gleichzeitig"),
    option("--bildgroesse", "--groesse", type=whole(), help="Kantenlänge der Netzeingabe in Pixeln, mindestens 32"),
    option(
        "--bilder", type=path, metavar="ORDNER", help="eigene Bilder: für jede Klasse ein Ordner, oder eine Tabelle"
    ),
    option("--modell", type=path, metavar="NETZ.keras", help="ein fertiges Netz an den eigenen Bildern prüfen"),
    option(
        "--vorverarbeitung",
        choices=("vgg16", "0-1", "-1-1", "keine"),
        help="was mit den Bildern geschah, ehe --modell sie sah (sonst vgg16)",
    ),
    option("--ohne-beschaedigte", action="store_true", help="unlesbare eigene Bilder auslassen und zählen"),
    option("--zuschneiden", action="store_true", help="eigene Bilder: Mitte ausschneiden statt einen Rand ergänzen"),
)
def cnn(options):
    from helpers.workshop.cnn import run_cnn, run_own_model, run_pictures

    size, crop, skip_broken = options.bildgroesse, options.zuschneiden, options.ohne_beschaedigte
    if options.modell and not options.bilder:
        raise CourseError("--modell gilt nur mit --bilder: Nennen Sie den Ordner mit den Bildern.")
    if options.vorverarbeitung and not options.modell:
        raise CourseError("--vorverarbeitung gilt nur mit --modell: VGG16 bekommt immer seine eigene.")
    if options.bilder and options.eingabe:
        raise CourseError("--bilder und --eingabe widersprechen sich: Lassen Sie eines von beiden weg.")
    if (skip_broken or crop) and not options.bilder:
        raise CourseError("--ohne-beschaedigte und --zuschneiden gelten nur mit --bilder: Nennen Sie den Ordner.")
    changes = {"n_train": options.n_train, "n_test": options.n_test}
    changes |= {"epochs": options.epochen, "devices": options.geraete}
    weights, seed = options.gewichte, options.seed
    if options.modell:
        how = options.vorverarbeitung or "vgg16"
        run_own_model(options.bilder, options.modell, how, size, crop, skip_broken, seed)
    elif options.bilder:
        run_pictures(options.bilder, options.profil, size, crop, skip_broken, weights, seed, **changes)
    else:
        run_cnn(options.profil, weights, options.eingabe or "auto", seed, image_size=size, **changes)


@command(LEARNERS, "das Kursmodell auf den Testbildern auswerten", TEST_IMAGES)
def auswerten(options):
    from helpers.data import load_source
    from helpers.workshop.cnn import evaluate_course_model

    evaluate_course_model(load_source(options.eingabe))


@command(
    LEARNERS,
    "suchen, an welchen Stellen die Klassen eines Netzes hängen",
    option(
        "--modell", default="kurs", choices=("kurs", "sauber", "vergiftet"), help="Kursmodell oder eigenes Training"
    ),
    SEED,
)
def verdacht(options):
    from helpers import suspicion
    from helpers.workshop.tables import net_and_tests

    suspects = suspicion.search(*net_and_tests(options.modell, options.seed), options.seed)
    print(suspicion.table(suspects).to_string(index=False))


@command(
    LEARNERS,
    "alle Notebooks ausführen und den Bericht schreiben",
    option("--profil", help=PROFILE_HELP),
    option("--nur", nargs="+", metavar="NOTEBOOK", help=f"nur diese: {', '.join(COURSE_NOTEBOOKS)}"),
    option("-p", nargs=2, action="append", default=[], metavar=("NAME", "WERT"), help="Parameter der Notebooks setzen"),
)
def kurs(options):
    from helpers.workshop.course import parse_value, run_course

    given = options.p + ([("profil", options.profil)] if options.profil else [])
    names = [name for name, _ in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CourseError(f"„{one_line(twice[0])}“ ist zweimal gesetzt: Lassen Sie eine der Angaben weg.")
    run_course({name: parse_value(value) for name, value in given}, options.nur)


@command(LEARNERS, "prüfen, ob alles da ist")
def doctor(options):
    from helpers.workshop.doctor import run

    return run()


# --- Befehle für Lehrende --------------------------------------------------------------------------------------------


@command(
    MAKERS,
    "Abgaben ausführen, prüfen und bepunkten",
    option("abgaben", type=path, nargs="+", metavar="ABGABEN", help="Notebooks oder Ordner damit"),
    option("--gleichzeitig", type=whole(1, 64), default=2, help="so viele Abgaben laufen zugleich"),
    option("--sekunden", type=whole(10, 86_400), default=240, help="Zeitgrenze je Abgabe"),
    option("--speicher", type=whole(500, 1_000_000), default=4000, help="Arbeitsspeicher je Abgabe in MB"),
)
def durchsicht(options):
    from helpers.workshop.review.run import review_hand_ins

    target = review_hand_ins(options.abgaben, options.gleichzeitig, options.sekunden, options.speicher)
    print(f"Durchsicht: {display_path(target)}")


@command(
    MAKERS,
    "notebooks/ aus solutions/ und das Glossar erzeugen",
    option("--ausfuehren", action="store_true", help="vorher solutions/ neu ausführen"),
    option("--nur", nargs="+", metavar="NOTEBOOK", help="nur diese neu ausführen"),
)
def ableiten(options):
    from helpers.workshop import glossary
    from helpers.workshop.notebooks import derive, execute_solutions

    if options.nur and not options.ausfuehren:
        raise CourseError("--nur gilt nur mit --ausfuehren: Ergänzen Sie --ausfuehren oder lassen Sie --nur weg.")
    if options.ausfuehren:
        execute_solutions(options.nur)
    derive()
    glossary.refresh()
    print("✔ notebooks/ passt zu solutions/, das Glossar zu input/begriffe.csv")


@command(MAKERS, "den Bildstreifen des Explorers für die README neu machen")
def streifen(options):
    from helpers.workshop.strip import course_scenes, make_strip

    target = make_strip(*course_scenes())
    print(f"Geschrieben: {display_path(target)} ({german(target.stat().st_size / 1000, 0)} kB)")


@command(
    MAKERS,
    "die mitgelieferte Stichprobe neu schneiden",
    option("--eingabe", type=path, help="Ordner der vier idx-Dateien (sonst Debians Paket)"),
)
def stichprobe(options):
    from helpers.data import DEBIAN_FOLDER
    from helpers.workshop.sample import make_sample

    print(f"Geschrieben: {display_path(make_sample(Path(options.eingabe or DEBIAN_FOLDER)))}")


@command(MAKERS, "das Training „sauber“ (Profil voll) als Kursmodell ablegen", TEST_IMAGES)
def kursmodell(options):
    from helpers.data import load_source
    from helpers.workshop.course_model import publish

    publish(load_source(options.eingabe))


@command(
    MAKERS,
    "die große Wertungstafel messen und nach input/ legen",
    option("--bilder", type=whole(2, 10_000), default=200, help="Bilder je Maß, mindestens 2"),
    option("--modell", default="kurs", choices=("kurs", "sauber"), help="Kursmodell oder eigenes Training"),
    option("--eingabe", type=path, default="beispiel", help="Testbilder, wie bei „daten“"),
    option("--ziel", type=file, help="Zieldatei (sonst input/wertungstafel.json)"),
    SEED,
)
def wertung(options):
    from helpers.scorecard import STORED_CARD
    from helpers.workshop.tables import make_scorecard

    target = options.ziel or STORED_CARD
    card = make_scorecard(options.modell, options.bilder, options.eingabe, target, options.seed)
    count = german(card["einstellungen"]["images"])
    print(f"Geschrieben: {display_path(target)} ({count} Bilder, {german(card['minuten'], 1)} Minuten)")


@command(
    MAKERS,
    "Kontrolle, Zwilling, Suche und Reparatur für mehrere Startwerte wiederholen und nach input/ legen",
    option("--anzahl", type=whole(1, 100), default=5, help="so viele Startwerte, drei Minuten für jeden"),
    option("--ziel", type=file, help="Zieldatei (sonst input/startwerte.json)"),
)
def startwerte(options):
    from helpers.repair import STORED_REPEATS
    from helpers.workshop.tables import make_repeats

    target = options.ziel or STORED_REPEATS
    rows = make_repeats(target, range(options.anzahl))["wege"]
    print(f"Geschrieben: {display_path(target)} ({len(rows)} Startwerte)")


@command(
    MAKERS,
    "prüfen, wie oft die Verdachtssuche findet und wie oft sie irrt (zwei Minuten je Netz)",
    option("--netze", type=whole(1, 1000), default=90, help="so viele Netze; fertige werden nicht wiederholt"),
    option("--ziel", type=file, help="Zieldatei (sonst input/blindprobe.json)"),
)
def blindprobe(options):
    from helpers.trial import STORED_TRIAL
    from helpers.workshop.blind_trial import FIRST, run

    target = options.ziel or STORED_TRIAL
    rows = run(range(FIRST, FIRST + options.netze), target)["netze"]
    print(f"Geschrieben: {display_path(target)} ({len(rows)} Netze)")


PARTS = ("gradcam", "lrp", "ziel", "training")


@command(
    MAKERS,
    "Tempo im Vergleich mit anderen Bibliotheken messen",
    option("--teile", nargs="+", metavar="TEIL", choices=PARTS, default=PARTS, help=f"nur diese: {', '.join(PARTS)}"),
    option("--groessen", nargs="+", type=whole(32, 512), default=[64, 224], help="Kantenlängen in Pixeln"),
    option("--wiederholungen", type=whole(1, 1000), default=5, help="Messungen je Zeile (Median)"),
)
def benchmark(options):
    import subprocess

    given = ["--wiederholungen", options.wiederholungen, "--groessen", *options.groessen, "--teile", *options.teile]
    return subprocess.call([sys.executable, str(ROOT / "tests" / "benchmark" / "run.py"), *map(str, given)])


# --- Ausführen -------------------------------------------------------------------------------------------------------


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
    for heading, text, options, function in COMMANDS:
        lines += [heading] * (heading not in lines) + [f"  {function.__name__:11} {text}"]
        subparser = commands.add_parser(function.__name__, description=text)
        subparser.set_defaults(run=function)
        for names, settings in options:
            subparser.add_argument(*names, **settings)
    parser.epilog = "\n".join(lines)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Führt einen Befehl aus; 0 heißt gelungen, 2 eine falsche Eingabe, 130 einen Abbruch mit Strg+C."""
    speak_any_encoding()
    try:
        given = " ".join(sys.argv[1:] if arguments is None else arguments)
        if sys.version_info < (3, 11) and given != "doctor":  # nur doctor kommt mit so altem Python zurecht
            raise CourseError(WRONG_PYTHON.format("ist zu alt"))
        if given != given.encode(errors="replace").decode():  # solche Namen ließen sich nirgends aufschreiben
            raise CourseError(f"Die Angaben „{one_line(given)}“ sind kein UTF-8: Benennen Sie Datei oder Ordner um.")
        options = build_parser().parse_args(arguments)
        return options.run(options) or 0
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except CourseError as error:
        caught, sentence = error, str(error)
    except OSError as error:
        where = display_path(error.filename) if error.filename else "eine Datei"
        caught = error
        sentence = f"Der Zugriff auf {where} ist gescheitert ({reason(error)}): Prüfen Sie Rechte und freien Platz."
    except ModuleNotFoundError as error:
        caught, sentence = error, WRONG_PYTHON.format(f"hat das Paket „{error.name}“ nicht")
    except MemoryError as error:
        remedy = "Schließen Sie andere Programme oder nehmen Sie weniger oder kleinere Bilder"
        caught, sentence = error, f"Der Arbeitsspeicher reicht nicht: {remedy}."
    if "--debug" in (sys.argv if arguments is None else arguments):
        caught.__suppress_context__ = False
        traceback.print_exception(caught)
    print(f"✘ {one_line(sentence)}", file=sys.stderr)
    return 2


WRONG_PYTHON = (
    f"Das Python {platform.python_version()} aus „{Path(sys.prefix).name}“ {{}}: Nehmen Sie das des Kurses, "
    ".venv/bin/python, oder richten Sie es mit „bash install.bash“ ein."
)
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
