"""Was alle anderen Module brauchen: Pfade, Klassennamen, Fehler, Zahlen, Fortschritt, sicheres Schreiben."""

from __future__ import annotations  # doctor liest dieses Modul auch unter Python 3.8

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from helpers.inner.provenance import UNKNOWN, provenance

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
START_PAGE = "00_Start"  # Notebook, mit dem JupyterLab beginnt; es wird weder ausgeführt noch abgegeben

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
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class CourseError(Exception):
    """Ein Fehler, den Lernende beheben können: ein deutscher Satz mit Was, Wo und Abhilfe.

    Die Kommandozeile gibt ihn ohne Traceback aus und endet mit dem Exit-Code 2.
    """

    def _render_traceback_(self):
        # IPython ruft diese Methode auf: In einer Notebook-Zelle steht dann der Satz statt des Tracebacks.
        return [f"✘ {self}"]


REASONS = {
    errno.ENOENT: "gibt es nicht",
    errno.EACCES: "keine Rechte",
    errno.EPERM: "keine Rechte",
    errno.EROFS: "schreibgeschützt",
    errno.EISDIR: "ist ein Ordner",
    errno.ENOTDIR: "ein Teil des Pfads ist eine Datei",
    errno.ENOSPC: "der Datenträger ist voll",
    errno.EDQUOT: "das Kontingent ist erschöpft",
    errno.EFBIG: "so große Dateien sind hier nicht erlaubt",
    errno.ENAMETOOLONG: "der Name ist zu lang",
    errno.ELOOP: "Verweise im Kreis",
    errno.EIO: "der Datenträger antwortet nicht richtig",
}


def reason(error: OSError) -> str:
    """Warum das Betriebssystem abgelehnt hat, auf Deutsch, wo es dafür ein Wort gibt."""
    return REASONS.get(error.errno) or error.strerror or type(error).__name__


def output_dir() -> Path:
    """Ordner für alles, was ein Lauf schreibt: ``ausgabe/`` oder, wenn gesetzt, die Umgebungsvariable KURS_AUSGABE."""
    return Path(os.environ.get("KURS_AUSGABE") or ROOT / "ausgabe").resolve()


def display_path(path) -> str:
    """``path`` so, wie man ihn im Kurs liest: relativ zum Kursordner, wenn er darin liegt, und immer eine Zeile."""
    try:
        path = Path(str(path)).resolve().relative_to(ROOT).as_posix()  # auch ein Ort in einem ZIP-Archiv
    except (ValueError, OSError, RuntimeError):  # außerhalb, oder Verweise im Kreis
        pass
    return one_line(str(path))


def one_line(text: str) -> str:
    """``text`` ohne Zeilenumbrüche, Steuerzeichen und halbe UTF-16-Zeichen; Fremdes bricht so keinen Satz um."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def sha256(path) -> str:
    """SHA-256 der Datei ``path`` als 64 Hexadezimalzeichen."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def german(value: float, digits: int = 3) -> str:
    """``value`` mit ``digits`` Nachkommastellen und Dezimalkomma; ganze Zahlen mit Punkt als Tausendertrennzeichen.

    >>> german(0.8735), german(60000), german(-0.0001)
    ('0,874', '60.000', '0,000')
    """
    if isinstance(value, int) or hasattr(value, "dtype") and value.dtype.kind in "iu":
        return f"{int(value):,}".translate(str.maketrans(",-", ".−"))
    value = round(float(value), digits) + 0.0  # macht aus −0,0 eine 0,0
    return f"{value:,.{digits}f}".translate(str.maketrans(",.-", ".,−"))


def yes_no(condition) -> str:
    """„ja“ oder „nein“: So antwortet der Kurs, statt ``True`` und ``False`` zu drucken."""
    return "ja" if condition else "nein"


def german_interval(interval) -> str:
    """Ein Befund [Wert, tief, hoch] als „Wert [tief; hoch]“ mit zwei Nachkommastellen."""
    return "{} [{}; {}]".format(*(german(number, 2) for number in interval))


# Was in der laufenden Zelle zählt, das Äußere vor dem Inneren; None, wo kein ``start.show_progress`` es anzeigt.
cell_bars: list | None = None


def progress(iterable=None, total=None, text="", unit="", **options):
    """Fortschrittsbalken: im Terminal auf stdout, in einem Notebook mit Oberfläche unter der Zelle, sonst still."""
    from tqdm import tqdm

    in_cell = cell_bars is not None and threading.current_thread() is threading.main_thread()
    screen = {"disable": not sys.stdout.isatty(), "file": sys.stdout, "dynamic_ncols": True}
    if in_cell:  # gezeichnet wird anderswo, hier wird nur gezählt
        screen = {"file": io.StringIO(), "ncols": 80, "ascii": False, "miniters": 1}
    options = {**screen, **options}
    options["bar_format"] = (
        "{desc} {percentage:3.0f} % |{bar}| {n_fmt} von {total_fmt}{unit} [{elapsed}, noch {remaining}]"
    )
    bar = tqdm(iterable, total=total, desc=text, unit=f" {unit}", **options)
    if in_cell:
        cell_bars.append(bar)
    return bar


def has_front_end() -> bool:
    """Sieht jemand zu, der etwas bedienen kann?

    Ein Jupyter-Server (Lab, Hub, Binder) setzt JPY_SESSION_NAME, VS Code legt im Kernel ``__vsc_ipynb_file__`` an;
    papermill, nbval und nbconvert tun beides nicht. KURS_OBERFLAECHE=ja oder nein geht vor: ``python -m helpers kurs``
    erbt die Umgebung dessen, der ihn in JupyterLab startet.
    """
    if told := os.environ.get("KURS_OBERFLAECHE"):
        return told == "ja"
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and bool(os.environ.get("JPY_SESSION_NAME") or "__vsc_ipynb_file__" in shell.user_ns)


# --- Ganz oder gar nicht schreiben -----------------------------------------------------------------------------------
#
# Geschrieben wird in einen Arbeitsordner neben dem Ziel und am Ende umbenannt. Er ist gesperrt (flock), solange sein
# Prozess lebt. Stirbt der, ist die Sperre weg, und der nächste, der daneben schreibt oder liest, räumt auf.

WORKPLACE = ".teil"


def _hold(folder, mode: int = 0) -> int:
    """Sperrt einen Ordner, bis der Prozess endet oder die Nummer geschlossen wird; OSError mit LOCK_NB: belegt."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | mode)
    except OSError:  # belegt, oder ein Netzlaufwerk ohne Sperren: Dort wird nichts weggeräumt
        if mode:
            os.close(handle)
            raise
    return handle


@contextlib.contextmanager
def locked(folder):
    """Hält den Ordner für sich, auch gegenüber anderen Prozessen, und räumt darin Reste weg; wartet, bis er frei ist.

    Gesperrt wird der Ordner selbst, es bleibt keine Sperrdatei. Nicht schachteln: Ein zweites Sperren wartete auf sich.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # es gibt ihn nicht oder er ist nicht lesbar: Dann schreibt dort niemand
            stack.callback(os.close, _hold(Path(folder).resolve()))
            _sweep(folder, exclusive=True)
        yield


def _sweep(folder, exclusive: bool = False) -> None:
    """Räumt die Arbeitsordner Gestorbener weg; weggelegte Ziele darf nur anfassen, wer ``folder`` gesperrt hat."""
    for rest in Path(folder).glob(f".*-????????{WORKPLACE}"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(os.close, _hold(rest, fcntl.LOCK_NB))
            if exclusive or not any(rest.glob(".alt/*")):
                _clear(rest)


def _clear(workplace: Path) -> None:
    """Räumt einen Arbeitsordner weg; ein Ziel, das weggelegt, aber nicht ersetzt wurde, kommt dabei zurück."""
    for old in workplace.glob(".alt/*"):
        if not (target := workplace.parent / old.name).exists():
            old.replace(target)
    shutil.rmtree(workplace, ignore_errors=True)


@contextlib.contextmanager
def scratch(name: str, parent=None):
    """Ein leerer Ordner auf Zeit, ``name`` am Anfang, unter ``parent`` oder wo das System Vorläufiges hinlegt.

    Raises:
        CourseError: wenn ``parent`` nicht beschreibbar oder der Datenträger voll ist.
    """
    parent, inside = Path(parent or tempfile.gettempdir()), False
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        while not inside:
            folder = Path(tempfile.mkdtemp(prefix=f".{name[:60]}-", suffix=WORKPLACE, dir=parent))
            with contextlib.suppress(FileNotFoundError):  # ein anderer räumte ihn weg, ehe er gesperrt war
                handle = _hold(folder)
                inside = folder.exists()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
    except OSError as error:
        # Ein voller Datenträger meldet sich als schlichtes OSError; die Unterklassen (Zeitgrenze, Netz, eine fehlende
        # Datei) sind Fehler des Blocks selbst.
        if inside and type(error) is not OSError:
            raise
        why = reason(error) if error.errno else "der Datenträger ist wohl voll"  # numpy und h5py nennen keine Nummer
        raise CourseError(
            f"{display_path(parent / name)} ließ sich nicht schreiben ({why}): Prüfen Sie Platz und Rechte oder wählen "
            "Sie einen anderen Ordner; es wurde nichts verändert."
        ) from None


@contextlib.contextmanager
def atomic_file(path):
    """Schreibt eine Datei ganz oder gar nicht: ergibt einen vorläufigen Pfad, der am Ende umbenannt wird.

    Das gilt auch, wenn der Prozess mittendrin stirbt, die Platte voll wird oder zwei zugleich schreiben (dann gilt die
    Datei dessen, der zuletzt fertig war).

    Raises:
        CourseError: wenn der Ordner nicht beschreibbar oder der Datenträger voll ist.
    """
    path = Path(path)
    with scratch(path.name, path.parent) as folder:
        yield folder / path.name
        with open(folder / path.name, "rb") as file:
            os.fsync(file.fileno())  # sonst könnte nach einem Stromausfall der neue Name auf leere Blöcke zeigen
        (folder / path.name).replace(path)


@contextlib.contextmanager
def atomic_folder(path):
    """Wie ``atomic_file`` für einen Ordner: Der alte wird erst weggelegt, wenn der neue vollständig ist.

    Zwischen Weglegen und Ersetzen fehlt das Ziel einen Augenblick lang. Wer unter ``locked(path.parent)`` liest, sieht
    diesen Augenblick nie, auch nicht, wenn der Prozess gerade dann starb.
    """
    path = Path(path)
    with scratch(path.name, path.parent) as folder:
        for name in (path.name, ".alt"):
            (folder / name).mkdir()
        yield folder / path.name
        with locked(path.parent):
            try:
                with contextlib.suppress(FileNotFoundError):
                    path.replace(folder / ".alt" / path.name)
                (folder / path.name).replace(path)
            finally:
                _clear(folder)


def write_json(path, data) -> None:
    """Schreibt ``data`` als lesbares JSON (UTF-8, Umlaute bleiben Umlaute), ganz oder gar nicht."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_json(
    path, default=None, remedy="Benennen Sie die Datei um oder löschen Sie sie; der nächste Lauf ersetzt sie"
):
    """Liest ein JSON-Objekt; fehlt die Datei, kommt ``default`` zurück.

    Eine beschädigte Datei gilt nicht als leer: Sonst überschriebe das nächste Schreiben, was noch zu retten ist.

    Args:
        remedy: was bei einer beschädigten Datei zu tun ist, als Satz ohne Punkt.

    Raises:
        CourseError: wenn die Datei da, aber nicht lesbar oder kein JSON-Objekt ist.
    """
    path, why = Path(path), "kein JSON-Objekt"
    if not path.exists() and not path.is_symlink():
        return default
    try:
        # Aus einem Ordner oder einer Röhre läse man nie etwas.
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if isinstance(content, dict):
            return content
    except OSError as error:
        why = reason(error)
    except (ValueError, RecursionError):
        pass
    raise CourseError(f"Die Datei {display_path(path)} ist nicht lesbar ({why}): {remedy}.")


def try_read_json(path, default=None):
    """Wie ``read_json``, nur zum Anzeigen: Auch eine beschädigte Datei ergibt ``default``."""
    try:
        return read_json(path, default)
    except CourseError:
        return default


def update_json(path, change) -> dict:
    """Ersetzt das Wörterbuch in einer JSON-Datei durch ``change(bisheriges)``; ergibt das neue.

    Zwei Prozesse, die zugleich etwas eintragen, warten aufeinander: Es geht kein Eintrag verloren.

    Raises:
        CourseError: wenn die Datei beschädigt ist; sie bleibt dann, wie sie ist.
    """
    with contextlib.suppress(OSError):  # den Satz dazu hat write_json
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with locked(Path(path).parent):
        after = change(read_json(path, {}))
        write_json(path, after)
    return after


def read_figures() -> dict:
    """Die Kennzahlen aus ``kennzahlen.json``; leer, wenn es noch keine gibt; CourseError, wenn sie beschädigt sind."""
    return read_json(output_dir() / "kennzahlen.json", {})


def record(change=dict, /, **values) -> None:
    """Merkt Kennzahlen und ihre Herkunft in ``kennzahlen.json``; was dort unter anderen Namen steht, bleibt.

    Args:
        change: bekommt die bisherigen Kennzahlen und ergibt die, zu denen ``values`` kommen.

    Raises:
        CourseError: wie ``update_json``.
    """
    data = as_dict(try_read_json(output_dir() / "daten" / "herkunft.json", {}).get("herkunft"))
    run = try_read_json(output_dir() / "modelle" / "sauber" / "einstellungen.json", {})
    seed = data.get("seed", UNKNOWN)
    origin = provenance(run.get("seed") if seed == UNKNOWN else seed, run.get("name"), data.get("daten_sha256"))
    update_json(output_dir() / "kennzahlen.json", lambda known: {**change(known), **values, "herkunft": origin})


@contextlib.contextmanager
def quiet_stderr():
    """Hält stderr an, auch für C++: TensorFlow schreibt beim Import Zeilen, die sich nicht abschalten lassen."""
    sys.stderr.flush()
    saved, silent = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(silent)


def is_number(value) -> bool:
    """Eine echte, endliche Zahl?"""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def as_dict(value) -> dict:
    """``value``, wenn es ein dict ist, sonst ein leeres (``kennzahlen.json`` kann von Hand verändert sein)."""
    return value if isinstance(value, dict) else {}
