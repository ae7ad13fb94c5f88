"""Die Kommandozeile des Kurses: ``python -m helpers BEFEHL``. Jeder Befehl importiert erst, was er braucht."""

import argparse
import sys

from helpers.basics import COURSE_NOTEBOOKS, SOLUTIONS, CourseError, atomic_file, display_path, german, output_dir


class GermanParser(argparse.ArgumentParser):
    """argparse mit deutschen Überschriften und Fehlersätzen; falsche Angaben enden mit Exit-Code 2."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, add_help=False, allow_abbrev=False, **kwargs)
        self._positionals.title = "Angaben"
        self._optionals.title = "Optionen"
        self.add_argument("-h", "--hilfe", "--help", action="help", help="diese Hilfe zeigen")

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
            "invalid int value:": "keine ganze Zahl:",
            "invalid float value:": "keine Zahl:",
            "argument ": "",
        }
        for english, german_text in translations.items():
            message = message.replace(english, german_text)
        raise CourseError(f"{message}. Alle Angaben zeigt „{self.prog} --hilfe“.")


def _profile_options(parser) -> None:
    parser.add_argument("--profil", default="schnell", help="schnell (zwei CPU-Kerne) oder voll (GPU, alle Bilder)")


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"keine ganze Zahl von 0 bis {german(2**32 - 1)}: {text!r}")
    return int(text)


def _data_options(parser) -> None:
    parser.add_argument(
        "--eingabe", default="auto", help="Ordner mit CSV- oder idx-Dateien, „beispiel“ oder „voll“ (laden)"
    )
    parser.add_argument("--n-train", type=int, help="so viele Trainingsbilder, geschichtet gezogen")
    parser.add_argument("--n-test", type=int, help="so viele Testbilder, geschichtet gezogen")
    parser.add_argument("--seed", type=_seed, default=0, help="Startwert des Zufalls")


def build_parser() -> argparse.ArgumentParser:
    """Der Parser mit allen Unterbefehlen."""
    parser = GermanParser(prog="python -m helpers", description="Traue keinem CNN: die Befehle des Kurses")
    commands = parser.add_subparsers(dest="befehl", required=True, title="Befehle", metavar="BEFEHL")

    daten = commands.add_parser("daten", help="Bilder als PNG-Ordner TRAIN und TEST schreiben")
    _data_options(daten)
    daten.add_argument("--ziel", help="Zielordner (sonst ausgabe/daten)")
    daten.add_argument("--voll", action="store_true", help="alle 70.000 Bilder mit Keras laden, MD5 geprüft")

    cnn = commands.add_parser("cnn", help="VGG16 trainieren, auswerten und erklären")
    _profile_options(cnn)
    _data_options(cnn)
    weights = ("beiliegend", "keras")
    cnn.add_argument("--gewichte", default="beiliegend", choices=weights, help="aus input/ oder von Keras aus dem Netz")
    cnn.add_argument("--epochen", type=int, help="statt der Epochen des Profils")
    cnn.add_argument("--geraete", type=int, help="so viele GPUs (oder gedachte CPU-Geräte) lernen gleichzeitig")
    cnn.add_argument("--bildgroesse", type=int, help="Kantenlänge der Netzeingabe in Pixeln, mindestens 32")

    auswerten = commands.add_parser("auswerten", help="das Kursmodell auf den Testbildern auswerten")
    auswerten.add_argument("--eingabe", default="auto", help="wie bei „daten“")

    kurs = commands.add_parser("kurs", help="alle Notebooks ausführen und den Bericht schreiben")
    _profile_options(kurs)
    kurs.add_argument("--nur", nargs="+", metavar="NOTEBOOK", help=f"nur diese: {', '.join(COURSE_NOTEBOOKS)}")
    kurs.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "WERT"), help="Parameter der Notebooks setzen"
    )

    commands.add_parser("doctor", help="prüfen, ob alles da ist")

    ableiten = commands.add_parser("ableiten", help="notebooks/ aus solutions/ erzeugen")
    ableiten.add_argument("--pruefen", action="store_true", help="nur prüfen, ob beide zusammenpassen")
    ableiten.add_argument("--ausfuehren", action="store_true", help="vorher solutions/ neu ausführen")
    ableiten.add_argument("--nur", nargs="+", metavar="NOTEBOOK", help="nur diese neu ausführen")

    stichprobe = commands.add_parser("stichprobe", help="die mitgelieferte Stichprobe neu schneiden")
    stichprobe.add_argument("--eingabe", help="Ordner der vier idx-Dateien (sonst Debians Paket)")

    kursmodell = commands.add_parser("kursmodell", help="das Training „sauber“ (Profil voll) als Kursmodell ablegen")
    kursmodell.add_argument("--eingabe", default="auto", help="Testbilder, wie bei „daten“")

    benchmark = commands.add_parser("benchmark", help="Tempo im Vergleich mit anderen Bibliotheken messen")
    parts = ("gradcam", "lrp", "training", "wachstum")
    benchmark.add_argument("--teile", nargs="+", metavar="TEIL", choices=parts, help=f"nur diese: {', '.join(parts)}")
    benchmark.add_argument("--groessen", nargs="+", type=int, default=[64, 224], help="Kantenlängen in Pixeln")
    benchmark.add_argument("--wiederholungen", type=int, default=5, help="Messungen je Zeile (Median)")
    return parser


def _daten(options) -> int:
    from helpers.data import generate

    dataset, folder = generate(
        "voll" if options.voll else options.eingabe, options.ziel, options.n_train, options.n_test, options.seed
    )
    print(f"Quelle: {dataset.source}")
    print(
        f"Geschrieben: {german(len(dataset.train_labels))} Bilder nach {display_path(folder / 'TRAIN')}, "
        f"{german(len(dataset.test_labels))} nach {display_path(folder / 'TEST')}"
    )
    return 0


def _cnn(options) -> int:
    from helpers.cnn import run_cnn

    run_cnn(
        options.profil,
        weights=options.gewichte,
        where=options.eingabe,
        seed=options.seed,
        n_train=options.n_train,
        n_test=options.n_test,
        epochs=options.epochen,
        image_size=options.bildgroesse,
        devices=options.geraete,
    )
    return 0


def _auswerten(options) -> int:
    from helpers.cnn import evaluate_course_model

    evaluate_course_model(options.eingabe)
    return 0


def _kursmodell(options) -> int:
    from helpers.course_model import publish

    publish(options.eingabe)
    return 0


def _benchmark(options) -> int:
    import subprocess

    from helpers.basics import ROOT

    program = ROOT / "tests" / "benchmark" / "run.py"
    command = [sys.executable, str(program), "--wiederholungen", str(options.wiederholungen)]
    command += ["--groessen", *map(str, options.groessen)]
    if options.teile:
        command += ["--teile", *options.teile]
    return subprocess.call(command)


def _kurs(options) -> int:
    from helpers.course import parse_value, run_course

    parameters = {name: parse_value(value) for name, value in options.p}
    run_course(profile=options.profil, only=options.nur, parameters=parameters)
    return 0


def _doctor(options) -> int:
    from helpers.doctor import run

    return run()


def _ableiten(options) -> int:
    from helpers.notebooks import derive, execute_solutions

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


def _refresh_readme_picture() -> None:
    """Das Bild der README ist die Ergebnisseite des letzten Laufs der Lösungen, mit 256 Farben klein gehalten."""
    from PIL import Image

    picture = output_dir() / "bilder" / "ergebnis.png"
    if picture.is_file():
        with atomic_file(SOLUTIONS / "ergebnis.png") as temporary, Image.open(picture) as image:
            image.convert("RGB").quantize(256).save(temporary, optimize=True)


def _stichprobe(options) -> int:
    from pathlib import Path

    from helpers.data import DEBIAN_FOLDER, make_sample

    target = make_sample(Path(options.eingabe) if options.eingabe else DEBIAN_FOLDER)
    print(f"Geschrieben: {display_path(target)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Führt einen Befehl aus; 0 heißt gelungen, 2 eine falsche Eingabe, 130 einen Abbruch mit Strg+C."""
    commands = {
        "daten": _daten,
        "cnn": _cnn,
        "auswerten": _auswerten,
        "kursmodell": _kursmodell,
        "benchmark": _benchmark,
        "kurs": _kurs,
        "doctor": _doctor,
        "ableiten": _ableiten,
        "stichprobe": _stichprobe,
    }
    try:
        options = build_parser().parse_args(arguments)
        return commands[options.befehl](options)
    except CourseError as error:
        print(f"✘ {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = display_path(error.filename) if error.filename else "eine Datei"
        print(
            f"✘ Der Zugriff auf {where} ist gescheitert ({error.strerror}): Prüfen Sie Rechte und freien Platz.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\nAbgebrochen mit Strg+C.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
