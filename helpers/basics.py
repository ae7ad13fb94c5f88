"""Was alle anderen Module brauchen: Pfade, Klassennamen, Fehler, Zahlen, Fortschritt, sicheres Schreiben."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / "input"
NOTEBOOKS = ROOT / "notebooks"
SOLUTIONS = ROOT / "solutions"

VGG16_WEIGHTS = INPUT / "vgg16_imagenet_notop_fp16.h5"
VGG16_SHA256 = "bdc8356af296e4bc934588c6ea88645714b8b1a88c56ef65150fbcbfe7d26b0d"
# Das mitgelieferte, fertig trainierte Modell und sein Steckbrief.
COURSE_MODEL = INPUT / "kursmodell.h5"
COURSE_MODEL_CARD = INPUT / "kursmodell.json"

KERNEL_NAME = "traue-keinem-cnn"
KERNEL_TITLE = "Traue keinem CNN"
COURSE_NOTEBOOKS = ("01_Daten", "02_VGG16", "03_Training", "04_GradCAM", "05_LRP")

CLASS_NAMES = (
    "T-Shirt/Top",
    "Hose",
    "Pullover",
    "Kleid",
    "Mantel",
    "Sandale",
    "Hemd",
    "Sneaker",
    "Tasche",
    "Stiefelette",
)


class CourseError(Exception):
    """Ein Fehler, den Lernende beheben können: ein deutscher Satz mit Was, Wo und Abhilfe.

    Die Kommandozeile gibt ihn ohne Traceback aus und endet mit dem Exit-Code 2.
    """

    def _render_traceback_(self):
        # IPython ruft diese Methode auf: In einer Notebook-Zelle steht dann der Satz statt des Tracebacks.
        return [f"✘ {self}"]


def output_dir() -> Path:
    """Ordner für alles, was ein Lauf schreibt: ``ausgabe/`` oder, wenn gesetzt, die Umgebungsvariable KURS_AUSGABE."""
    return Path(os.environ.get("KURS_AUSGABE") or ROOT / "ausgabe").resolve()


def display_path(path) -> str:
    """``path`` so, wie man ihn im Kurs liest: relativ zum Kursordner, wenn er darin liegt."""
    path = Path(path)
    try:
        return path.resolve().relative_to(ROOT).as_posix()
    except ValueError:
        return str(path)


def sha256(path) -> str:
    """SHA-256 der Datei ``path`` als 64 Hexadezimalzeichen."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def german(value: float, digits: int = 3) -> str:
    """``value`` mit ``digits`` Nachkommastellen und Dezimalkomma; ganze Zahlen mit Punkt als Tausendertrennzeichen.

    >>> german(0.8735), german(60000)
    ('0,874', '60.000')
    """
    if isinstance(value, int) or hasattr(value, "dtype") and value.dtype.kind in "iu":
        return f"{int(value):,}".translate(str.maketrans(",-", ".−"))
    return f"{value:,.{digits}f}".translate(str.maketrans(",.-", ".,−"))


def progress(iterable=None, total=None, text="", unit="", **options):
    """Fortschrittsbalken auf stdout: im Terminal ein Balken, sonst still (Notebook-Ausgaben bleiben vergleichbar)."""
    from tqdm import tqdm

    options.setdefault("disable", not sys.stdout.isatty())
    return tqdm(
        iterable,
        total=total,
        desc=text,
        unit=f" {unit}" if unit else "",
        file=sys.stdout,
        dynamic_ncols=True,
        bar_format="{desc} {percentage:3.0f} % |{bar}| {n_fmt} von {total_fmt}{unit} [{elapsed}, noch {remaining}]",
        **options,
    )


@contextlib.contextmanager
def atomic_file(path):
    """Schreibt eine Datei ganz oder gar nicht: ergibt einen vorläufigen Pfad daneben, der am Ende umbenannt wird.

    Raises:
        CourseError: wenn der Ordner nicht beschreibbar ist.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise CourseError(
            f"In den Ordner {display_path(path.parent)} lässt sich nicht schreiben ({error.strerror}): "
            "Wählen Sie einen anderen Ordner oder ändern Sie dessen Rechte."
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path):
    """Wie ``atomic_file`` für einen Ordner: Der alte wird erst ersetzt, wenn der neue vollständig ist."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise CourseError(
            f"In den Ordner {display_path(path.parent)} lässt sich nicht schreiben ({error.strerror}): "
            "Wählen Sie einen anderen Ordner oder ändern Sie dessen Rechte."
        ) from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{path.name}-alt-", dir=path.parent))
            path.replace(retired / path.name)
            try:
                temporary.replace(path)
            except OSError:
                (retired / path.name).replace(path)
                raise
            finally:
                shutil.rmtree(retired, ignore_errors=True)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path, data) -> None:
    """Schreibt ``data`` als lesbares JSON (UTF-8, Umlaute bleiben Umlaute), ganz oder gar nicht."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_json(path, default=None):
    """Liest JSON; fehlt die Datei oder ist sie beschädigt, kommt ``default`` zurück."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return default


def record(**values) -> None:
    """Merkt Kennzahlen in ``kennzahlen.json``; was dort unter anderen Namen steht, bleibt."""
    path = output_dir() / "kennzahlen.json"
    write_json(path, {**read_json(path, {}), **values})


@contextlib.contextmanager
def quiet_stderr():
    """Hält stderr an, auch für C++: TensorFlow schreibt beim Import Zeilen, die sich nicht abschalten lassen."""
    sys.stderr.flush()
    saved = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(silent)
