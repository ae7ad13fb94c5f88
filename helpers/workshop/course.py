"""Den ganzen Kurs ohne Oberfläche ausführen (``python -m helpers kurs``): Notebooks, Kennzahlen, Bericht."""

import contextlib
import re
import sys
import threading
import time
from pathlib import Path

from helpers.basics import (
    NOTEBOOKS,
    CourseError,
    display_path,
    german,
    one_line,
    output_dir,
    progress,
    read_figures,
    record,
)
from helpers.provenance import package_versions
from helpers.workshop.notebooks import CELL_TIMEOUT_S, choose, code_cells, declared_parameters, execute, read_notebook
from helpers.workshop.parameters import check_parameters
from helpers.workshop.report import build_report, write_page

# Zeitgrenze je Zelle in Sekunden, wo die übliche nicht reicht; „voll“ trainiert ohne GPU auch einmal einen halben Tag.
TIMEOUT_S = {"voll": 12 * 3600}


def run_course(profile: str = "schnell", only=None, parameters: dict | None = None, notebooks_dir=None) -> Path:
    """Führt die Notebooks des Kurses nacheinander aus und baut den Bericht.

    Args:
        profile: Wert des Parameters ``profil``: ``probe``, ``schnell`` oder ``voll``.
        only: Namen einzelner Notebooks, auch kurz (``04``, ``gradcam``); ohne Angabe alle fünf.
        parameters: weitere Werte; jeder geht an die Notebooks, die ihn in ihrer ``parameters``-Zelle nennen.
        notebooks_dir: Ordner der Notebooks, sonst ``notebooks/``.

    Returns:
        Pfad von ``bericht.html``.

    Raises:
        CourseError: bei unbekanntem Notebook oder Parameter und beim ersten Fehler in einer Zelle.
        SystemExit: mit 130 nach Strg-C.
    """
    paths = choose(only, notebooks_dir or NOTEBOOKS)
    notebooks = {path: read_notebook(path) for path in paths}
    values = parameters_per_notebook({"profil": profile, **(parameters or {})}, notebooks)
    read_figures()  # sind die Kennzahlen beschädigt, dann lieber jetzt aufhören als nach dem letzten Notebook
    total = sum(len(code_cells(notebooks[path])) + bool(values[path]) for path in paths)
    try:
        with progress(total=total, text="Kurs", unit="Zellen") as bar:
            for number, path in enumerate(paths, start=1):
                run_notebook(path, values[path], f"[{number}/{len(paths)}] {path.stem}", bar)
    except KeyboardInterrupt:
        done = display_path(output_dir() / "notebooks")
        print(f"✘ Abgebrochen. Was fertig ist, liegt in {done}.", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    record(profil=(parameters or {}).get("profil", profile), versionen=package_versions())
    report = build_report()
    print_summary(report)
    return report


def run_notebook(path: Path, values: dict, title: str, bar) -> None:
    """Führt ein Notebook aus, schreibt seine HTML-Seite und merkt Minuten, Arbeitsspeicher und Profil."""
    target = output_dir() / "notebooks" / path.name
    if bar.disable:
        print(f"{title} beginnt …", flush=True)
    started = time.monotonic()
    timeout_s = TIMEOUT_S.get(values.get("profil"), CELL_TIMEOUT_S)
    with memory_watch(bar) as peak_mb:
        try:
            notebook = execute(path, target, values, bar, title, timeout_s)
        except CourseError:
            if target.is_file():  # die Seite gehört zum Notebook daneben, auch zum abgebrochenen
                write_page(read_notebook(target), target.with_suffix(".html"), path.parent)
            raise
        write_page(notebook, target.with_suffix(".html"), path.parent)
    minutes = (time.monotonic() - started) / 60
    note(path.stem, minuten=round(minutes, 2), rss_mb=peak_mb(), profil_je_notebook=values.get("profil"))
    bar.write(f"{title} ist fertig nach {german(minutes, 1)} Minuten, Spitze {german(peak_mb())} MB.")
    sys.stdout.flush()


def note(name: str, **values) -> None:
    """Merkt Kennzahlen eines Notebooks; die der anderen bleiben, auch wenn nur eines gelaufen ist."""

    def merge(figures):
        merged = {key: {**figures.get(key, {}), name: value} for key, value in values.items() if value is not None}
        return {**figures, **merged, "max_rss_mb": max(merged["rss_mb"].values())}

    record(merge)


def print_summary(report: Path) -> None:
    """Die letzten Zeilen eines Laufs: Trefferquote, Minuten, Bericht."""
    figures = read_figures()
    if "test_accuracy" in figures:
        accuracy = german(float(figures["test_accuracy"]))
        print(f"Trefferquote im Test: {accuracy} auf {german(figures['n_test'])} Testbildern")
    print(f"Laufzeit: {german(float(sum(figures['minuten'].values())), 1)} Minuten")
    print(f"Bericht: {display_path(report)}", flush=True)


# --- Parameter -------------------------------------------------------------------------------------------------------


def parse_value(text: str):
    """Macht aus einem Wert der Kommandozeile int, float, bool, None oder – sonst – str.

    >>> parse_value("3"), parse_value("1e-4"), parse_value("true"), parse_value("None"), parse_value("block5_conv3")
    (3, 0.0001, True, None, 'block5_conv3')
    """
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if re.fullmatch(r"[+-]?\d+,\d+", text, re.ASCII):
        raise CourseError(f"„{text}“ ist keine Zahl: Schreiben Sie das Komma als Punkt ({text.replace(',', '.')}).")
    for kind in (int, float) if text.isascii() and "_" not in text else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parameters_per_notebook(values: dict, notebooks: dict) -> dict:
    """Verteilt die Parameter auf die Notebooks, die sie kennen (``profil`` darf fehlen).

    Raises:
        CourseError: wenn keines der Notebooks einen Parameter kennt oder ein Wert nicht geht.
    """
    declared = {path: declared_parameters(notebook) for path, notebook in notebooks.items()}
    known = {name: default for defaults in declared.values() for name, default in defaults.items()}
    for name in values:
        if name not in known and name != "profil":
            raise CourseError(
                f"Den Parameter „{one_line(name)}“ kennt keines dieser Notebooks: Wählen Sie aus "
                f"{', '.join(sorted(known)) or 'keinem, es gibt keine'}."
            )
    # „a,b“ wird zu ["a", "b"], wo das Notebook eine Liste hat; „verfahren“ steht dort auf None.
    for name, value in values.items():
        if isinstance(value, str) and (isinstance(known.get(name), list) or name == "verfahren"):
            values = {**values, name: [part.strip() for part in value.split(",")]}
    check_parameters(values, known)
    return {path: {name: value for name, value in values.items() if name in names} for path, names in declared.items()}


# --- Messen ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def memory_watch(bar):
    """Misst zweimal je Sekunde den Arbeitsspeicher; die Uhr von ``bar`` läuft so auch in langen Zellen weiter.

    Ergibt eine Funktion, die die bisher größte Summe nennt (MB = 10⁶ Byte; geteilte Seiten zählen mehrfach).
    """
    peak, stopped = [memory_mb()], threading.Event()

    def watch():
        while not stopped.wait(0.5):
            peak[0] = max(peak[0], memory_mb())
            bar.refresh()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        stopped.set()
        thread.join()


def memory_mb() -> int:
    """Arbeitsspeicher (RSS) dieses Prozesses und seiner Nachkommen in MB."""
    import psutil

    me, total = psutil.Process(), 0
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # inzwischen beendet
            total += process.memory_info().rss
    return round(total / 1e6)
