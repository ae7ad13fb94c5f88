"""Den ganzen Kurs ohne Oberfläche ausführen (``python -m helpers kurs``): Notebooks, Kennzahlen, Bericht."""

import ast
import contextlib
import os
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
from helpers.inner.provenance import package_versions
from helpers.parameters import check_parameters
from helpers.workshop.notebooks import CELL_TIMEOUT_S, choose, code_cells, declared_parameters, execute, read_notebook
from helpers.workshop.report import build_report, write_page
from helpers.workshop.review.sandbox import used_memory

# Zeitgrenze je Zelle in Sekunden, wo die übliche nicht reicht; „voll“ trainiert ohne GPU auch einmal einen halben Tag.
TIMEOUT_S = {"voll": 12 * 3600}


def run_course(parameters: dict | None = None, only=None, notebooks_dir=NOTEBOOKS) -> Path:
    """Führt die Notebooks des Kurses nacheinander aus und baut den Bericht.

    Args:
        parameters: Werte; jeder geht an die Notebooks, deren ``parameters``-Zelle ihn nennt. ``profil`` ist sonst
            ``schnell``.
        only: Namen einzelner Notebooks, auch kurz (``04``, ``gradcam``); ohne Angabe alle fünf.

    Returns:
        Pfad von ``bericht.html``.

    Raises:
        CourseError: bei unbekanntem Notebook oder Parameter und beim ersten Fehler in einer Zelle.
        SystemExit: mit 130 nach Strg-C.
    """
    parameters = {"profil": "schnell", **(parameters or {})}
    notebooks = {path: read_notebook(path) for path in choose(only, notebooks_dir)}
    values = parameters_per_notebook(parameters, notebooks)
    read_figures()  # sind die Kennzahlen beschädigt, dann lieber jetzt aufhören als nach dem letzten Notebook
    total = sum(len(code_cells(notebook)) + bool(values[path]) for path, notebook in notebooks.items())
    try:
        with progress(total=total, text="Kurs", unit="Zellen") as bar:
            for number, path in enumerate(notebooks, start=1):
                run_notebook(path, values[path], f"[{number}/{len(notebooks)}] {path.stem}", bar)
    except KeyboardInterrupt:
        done = display_path(output_dir() / "notebooks")
        print(f"✘ Abgebrochen. Was fertig ist, liegt in {done}.", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    record(profil=parameters["profil"], versionen=package_versions())
    report, figures = build_report(), read_figures()
    if "test_accuracy" in figures:
        accuracy = german(float(figures["test_accuracy"]))
        print(f"Trefferquote im Test: {accuracy} auf {german(figures['n_test'])} Testbildern")
    print(f"Laufzeit: {german(float(sum(figures['minuten'].values())), 1)} Minuten")
    print(f"Bericht: {display_path(report)}", flush=True)
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
            if target.is_file():
                write_page(read_notebook(target), target.with_suffix(".html"))
            raise
    write_page(notebook, target.with_suffix(".html"))
    minutes = (time.monotonic() - started) / 60
    new = {"minuten": round(minutes, 2), "rss_mb": peak_mb(), "profil_je_notebook": values.get("profil")}

    def merge(figures):
        """Die Kennzahlen der anderen Notebooks bleiben, auch wenn nur eines gelaufen ist."""
        merged = {key: {**figures.get(key, {}), path.stem: value} for key, value in new.items() if value is not None}
        return {**figures, **merged, "max_rss_mb": max(merged["rss_mb"].values())}

    record(merge)
    bar.write(f"{title} ist fertig nach {german(minutes, 1)} Minuten, Spitze {german(peak_mb())} MB.")
    sys.stdout.flush()


# --- Parameter -------------------------------------------------------------------------------------------------------


def parse_value(text: str):
    """Macht aus einem Wert der Kommandozeile int, float, bool, None oder – sonst – str.

    >>> parse_value("3"), parse_value("1e-4"), parse_value("true"), parse_value("None"), parse_value("block5_conv3")
    (3, 0.0001, True, None, 'block5_conv3')
    """
    if re.fullmatch(r"[+-]?\d+,\d+", text, re.ASCII):
        raise CourseError(f"„{text}“ ist keine Zahl: Schreiben Sie das Komma als Punkt ({text.replace(',', '.')}).")
    if text.lower() in ("true", "false", "none"):
        text = text.capitalize()
    with contextlib.suppress(ValueError, SyntaxError):
        if "_" not in text:  # sonst wäre 1_0 eine Zahl
            return ast.literal_eval(text)
    return text


def parameters_per_notebook(values: dict, notebooks: dict) -> dict:
    """Verteilt die Parameter auf die Notebooks, die sie kennen (``profil`` darf fehlen).

    Raises:
        CourseError: wenn keines der Notebooks einen Parameter kennt oder ein Wert nicht geht.
    """
    declared = {path: declared_parameters(notebook) for path, notebook in notebooks.items()}
    known = {name: default for defaults in declared.values() for name, default in defaults.items()}
    if unknown := [name for name in values if name not in known and name != "profil"]:
        raise CourseError(
            f"Den Parameter „{one_line(unknown[0])}“ kennt keines dieser Notebooks: Wählen Sie aus "
            f"{', '.join(sorted(known)) or 'keinem, es gibt keine'}."
        )
    # „a,b“ wird zu ["a", "b"], wo das Notebook eine Liste hat; „verfahren“ steht dort auf None.
    for name, value in values.items():
        if isinstance(value, str) and (isinstance(known.get(name), list) or name == "verfahren"):
            values = {**values, name: [part.strip() for part in value.split(",")]}
    check_parameters(values, NOTEBOOKS)  # dort arbeitet der Kernel
    return {path: {name: value for name, value in values.items() if name in names} for path, names in declared.items()}


# --- Messen ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def memory_watch(bar):
    """Misst zweimal je Sekunde den Arbeitsspeicher; die Uhr von ``bar`` läuft so auch in langen Zellen weiter.

    Ergibt eine Funktion, die die bisher größte Summe (RSS) dieses Prozesses und seiner Nachkommen nennt, in MB = 10⁶
    Byte; geteilte Seiten zählen mehrfach.
    """
    peak, stopped = 0, threading.Event()

    def measure() -> int:
        nonlocal peak
        peak = max(peak, round(used_memory(os.getpid()) / 1e6))
        return peak

    def watch():
        while not stopped.wait(0.5):
            measure()
            bar.refresh()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield measure
    finally:
        stopped.set()
        thread.join()
