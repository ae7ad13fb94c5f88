"""Notebooks als Dateien: lesen, ausführen, bereinigen, die Fassung der Lernenden ableiten, auf Stil prüfen.

``solutions/`` ist die Quelle. ``derive`` macht daraus ``notebooks/``, ``execute_solutions`` frischt die gespeicherten
Ausgaben auf. Was bei jedem Lauf anders wäre (Zeitstempel, Versionen, Widget-Zustände), steht in keiner der Dateien.
"""

import ast
import base64
import contextlib
import io
import json
import logging
import os
import re
import statistics
from pathlib import Path

from helpers.basics import (
    COURSE_NOTEBOOKS,
    KERNEL_NAME,
    KERNEL_TITLE,
    NOTEBOOKS,
    SOLUTIONS,
    WIDGET_VIEW,
    CourseError,
    atomic_file,
    display_path,
    output_dir,
    progress,
    quiet_stderr,
)
from helpers.workshop.report import mathml

CELL_TIMEOUT_S = 1800  # Zeitgrenze je Zelle; mit dem Profil „voll“ setzt helpers.workshop.course eine höhere.
MAX_CELL_LINES = 25
MAX_MEDIAN_LINES = 8

KERNELSPEC = {"display_name": KERNEL_TITLE, "language": "python", "name": KERNEL_NAME}
LANGUAGE_INFO = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
KEPT_CELL_METADATA = ("tags", "nbgrader", "jupyter", "deletable", "editable")


# --- Lesen, bereinigen, schreiben ------------------------------------------------------------------------------------


def read_notebook(path):
    """Liest ein Notebook im Format 4.5.

    Raises:
        CourseError: wenn die Datei fehlt, kein Notebook ist oder eine Zelle keine eigene id hat.
    """
    import nbformat

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        cells = json.loads(text)["cells"]
    except FileNotFoundError:
        raise CourseError(f"{display_path(path)} fehlt: Führen Sie „python -m helpers ableiten“ aus.") from None
    except (ValueError, KeyError, TypeError):
        raise CourseError(
            f"{display_path(path)} ist kein lesbares Notebook: Holen Sie die Datei neu oder leiten Sie sie neu ab "
            "(python -m helpers ableiten)."
        ) from None
    if problem := id_problem(cells):
        raise CourseError(f"{display_path(path)}: {problem}")
    return nbformat.reads(text, as_version=4)


def id_problem(cells) -> str | None:
    """Ein Satz, wenn Zellen keine oder doppelte ids haben; ohne ids wäre die Ableitung bei jedem Lauf anders."""
    ids = [cell.get("id") for cell in cells]
    for number, identifier in enumerate(ids, start=1):
        if not identifier:
            return f"Die {number}. Zelle hat keine id: Speichern Sie das Notebook einmal in JupyterLab (nbformat 4.5)."
        if identifier in ids[: number - 1]:
            return f"Die Zellen-id „{identifier}“ kommt zweimal vor: Geben Sie einer der Zellen eine neue id."
    return None


def as_text(notebook) -> str:
    """Das Notebook als JSON-Text, so wie JupyterLab es speichert (Einzug 1, Umlaute bleiben, Zeilenende am Schluss)."""
    import nbformat

    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def write_notebook(path, notebook) -> None:
    """Schreibt ein Notebook, ganz oder gar nicht."""
    with atomic_file(path) as temporary:
        temporary.write_text(as_text(notebook), encoding="utf-8")


def clean(notebook):
    """Entfernt alles, was bei jedem Lauf anders wäre; Ausgaben und Zellnummern bleiben. Gibt ``notebook`` zurück."""
    title = notebook.metadata.get("title")
    notebook.metadata = type(notebook.metadata)(kernelspec=dict(KERNELSPEC), language_info=dict(LANGUAGE_INFO))
    if title:
        notebook.metadata["title"] = title
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = type(cell.metadata)({k: cell.metadata[k] for k in KEPT_CELL_METADATA if cell.metadata.get(k)})
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                # Ohne den Zustand, der in den Metadaten stünde, zeigt JupyterLab hier nur eine Fehlermeldung.
                output.get("data", {}).pop(WIDGET_VIEW, None)
    return notebook


def merge_streams(outputs) -> list:
    """Fasst aufeinanderfolgende Textausgaben desselben Kanals zusammen: Wie Jupyter sie zerteilt, ist Zufall."""
    merged = []
    for output in outputs:
        previous = merged[-1] if merged else {}
        if output["output_type"] == "stream" == previous.get("output_type") and output["name"] == previous["name"]:
            previous["text"] += output["text"]
        else:
            merged.append(output)
    return merged


def code_cells(notebook) -> list:
    """Die Code-Zellen, die ausgeführt werden; die n-te trägt danach die Nummer ``In [n]``."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def cell_label(number: int, source: str) -> str:
    """Wie Fehlermeldungen eine Zelle nennen: ``Zelle 7 („model.fit(…)“)``."""
    lines = [line.strip() for line in source.splitlines()]
    first = next((line for line in lines if line and not line.startswith("#")), lines[0] if lines else "")
    return f"Zelle {number} („{first if len(first) <= 60 else first[:59] + '…'}“)"


# --- Die Fassung der Lernenden ---------------------------------------------------------------------------------------


# Das tritt an die Stelle einer Lösung. Die drei Punkte sind gültiges Python: Eine ungelöste Aufgabe stört nichts.
CODE_STUB = "# Ersetzen Sie die drei Punkte durch Ihre Lösung.\n..."
TEXT_STUB = "*Schreiben Sie hier Ihre Antwort.*"
# nbgraders eigene Schritte und ihre Reihenfolge; „nbgrader generate_assignment“ geht dieselben.
NBGRADER_STEPS = ("LockCells", "ClearSolutions", "ClearOutput", "ClearHiddenTests", "ComputeChecksums")


def derived(notebook, source):
    """Die Fassung der Lernenden: ohne Lösungen, verborgene Tests und Ausgaben, mit gesperrten Prüfzellen.

    Raises:
        CourseError: wenn eine Markierung fehlt oder die Angaben für nbgrader nicht stimmen.
    """
    with quiet_stderr():
        from nbgrader import preprocessors
        from nbgrader.nbgraderformat import ValidationError

    notebook, resources = clean(notebook), {}
    options = {"ClearSolutions": {"code_stub": {"python": CODE_STUB}, "text_stub": TEXT_STUB}}
    try:
        for name in ("CheckCellMetadata", *NBGRADER_STEPS):
            step = getattr(preprocessors, name)(**options.get(name, {}))
            step.log.setLevel(logging.CRITICAL)
            notebook, resources = step.preprocess(notebook, resources)
    except (RuntimeError, ValidationError, KeyError) as error:
        raise CourseError(
            f"{display_path(source)}: nbgrader lehnt das Notebook ab ({error_text('', error)}) Prüfen Sie die Zeilen "
            "„### BEGIN …“ und „### END …“ und die Angaben unter „nbgrader“ in den Metadaten der Aufgabenzellen."
        ) from None
    return notebook


def derive(check: bool = False, solutions_dir=SOLUTIONS, notebooks_dir=NOTEBOOKS) -> list[str]:
    """Leitet die Notebooks der Lernenden aus den Lösungen ab.

    Args:
        check: nichts schreiben, nur vergleichen.

    Returns:
        Ein deutscher Satz für jede Datei, die geschrieben wurde oder – mit ``check`` – abweicht.
    """
    solutions_dir, notebooks_dir = Path(solutions_dir), Path(notebooks_dir)
    sources = visible(solutions_dir)
    if not sources:
        raise CourseError(f"In {display_path(solutions_dir)} liegt kein Notebook, aus dem sich etwas ableiten ließe.")
    sentences = []
    for source in sources:
        target = notebooks_dir / source.name
        text = as_text(derived(read_notebook(source), source))
        if target.is_file() and target.read_bytes() == text.encode("utf-8"):
            continue
        if check:
            sentences.append(drift(source, target, json.loads(text)))
        else:
            with atomic_file(target) as temporary:
                temporary.write_bytes(text.encode("utf-8"))
            sentences.append(f"{display_path(target)} ist neu abgeleitet.")
    known = {source.name for source in sources}
    for extra in visible(notebooks_dir):
        if extra.name not in known:
            sentences.append(
                f"{display_path(extra)} hat keine Lösung in {display_path(solutions_dir)}: "
                "Verschieben oder löschen Sie die Datei."
            )
    return sentences


def visible(folder: Path) -> list[Path]:
    """Die Notebooks eines Ordners; verborgene Dateien sind Reste eines abgebrochenen Schreibens."""
    return sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("."))


def drift(source, target, expected: dict) -> str:
    """Ein Satz: Worin unterscheidet sich ``target`` von dem, was aus ``source`` abgeleitet würde?"""
    remedy = "Führen Sie „python -m helpers ableiten“ aus."
    if not target.exists():
        return f"{display_path(target)} fehlt: {remedy}"
    try:
        found = json.loads(target.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        return f"{display_path(target)} ist kein lesbares Notebook: {remedy}"
    wanted = expected["cells"]
    place = "in den Metadaten oder der Formatierung"
    for index in range(max(len(wanted), len(found))):
        pair = [cells[index] if index < len(cells) else None for cells in (wanted, found)]
        if pair[0] != pair[1]:
            cell = pair[0] or pair[1]
            place = f"ab Zelle „{cell.get('id', index + 1) if isinstance(cell, dict) else index + 1}“"
            break
    return f"{display_path(target)} weicht {place} von {display_path(source)} ab: {remedy}"


# --- Auswählen und ausführen -----------------------------------------------------------------------------------------


def choose(only=None, notebooks_dir=NOTEBOOKS) -> list[Path]:
    """Die Kurs-Notebooks in der Reihenfolge des Kurses; mit ``only`` die genannten (auch ``04`` oder ``gradcam``).

    Raises:
        CourseError: bei einem unbekannten Namen oder wenn eine Datei fehlt.
    """
    chosen = set(COURSE_NOTEBOOKS if not only else ())
    for wanted in only or ():
        key = Path(wanted).name.removesuffix(".ipynb").lower()
        matches = [name for name in COURSE_NOTEBOOKS if key and f"_{key}" in f"_{name.lower()}"]
        if len(matches) != 1:
            why = f"passt auf {' und '.join(matches)}" if matches else "gibt es nicht"
            raise CourseError(f"Das Notebook „{wanted}“ {why}. Wählen Sie aus: {', '.join(COURSE_NOTEBOOKS)}.")
        chosen.add(matches[0])
    paths = [Path(notebooks_dir) / f"{name}.ipynb" for name in COURSE_NOTEBOOKS if name in chosen]
    missing = [display_path(path) for path in paths if not path.is_file()]
    if missing:
        raise CourseError(f"Es fehlt: {', '.join(missing)}. Führen Sie „python -m helpers ableiten“ aus.")
    return paths


def declared_parameters(notebook) -> dict:
    """Name → Vorgabewert der Parameter in der Zelle mit dem Etikett ``parameters`` (None, wenn kein fester Wert)."""
    found = {}
    for cell in notebook.cells:
        if "parameters" not in cell.metadata.get("tags", []):
            continue
        for node in ast.parse(cell.source).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name):
                    with contextlib.suppress(ValueError):
                        found[target.id] = None
                        found[target.id] = ast.literal_eval(node.value)
    return found


@contextlib.contextmanager
def kernel_environment():
    """Die Umgebung, die ein Kernel erbt: fester Ausgabeordner, keine fremden Einstellungen für Bilder."""
    changes = {
        "KURS_AUSGABE": str(output_dir()),  # absolut, denn der Kernel arbeitet in einem anderen Ordner
        "MPLBACKEND": None,  # mit „agg“ aus der Shell blieben die Bilder in den Notebooks aus
        "KURS_OBERFLAECHE": "nein",  # auch wer aus JupyterLab startet, bedient diese Notebooks nicht
    }
    with changed_environment(changes):
        yield


@contextlib.contextmanager
def changed_environment(changes: dict):
    """Setzt Umgebungsvariablen für die Dauer des Blocks; der Wert None löscht sie."""
    before = {name: os.environ.get(name) for name in changes}
    try:
        set_environment(changes)
        yield
    finally:
        set_environment(before)


def set_environment(values: dict) -> None:
    """Setzt Umgebungsvariablen; der Wert None löscht sie."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def execute(source, target, parameters=None, on_cell=None, timeout_s: float = CELL_TIMEOUT_S):
    """Führt ein Notebook in seinem Ordner mit dem Kurs-Kernel aus und schreibt das Ergebnis nach ``target``.

    Args:
        parameters: Werte für die ``parameters``-Zelle; leer heißt: die Vorgaben im Notebook gelten.
        on_cell: wird mit (Nummer der Code-Zelle, fertig?) vor und nach jeder Code-Zelle aufgerufen.
        timeout_s: Zeitgrenze je Zelle in Sekunden.

    Returns:
        Das ausgeführte, bereinigte Notebook.

    Raises:
        CourseError: mit Notebook, Zelle und Fehler; ``target`` enthält dann das Notebook bis dorthin.
    """
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    source, current = Path(source), {"number": 0, "source": ""}

    def started(cell, **_):
        current.update(number=current["number"] + 1, source=cell.source)
        if on_cell:
            on_cell(current["number"], False)

    def finished(**_):
        if on_cell:
            on_cell(current["number"], True)

    for name in ("papermill", "traitlets", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    failure = None
    with atomic_file(target) as temporary, kernel_environment():
        try:
            execute_notebook(
                str(source),
                str(temporary),
                parameters=parameters,
                kernel_name=KERNEL_NAME,
                language="python",
                cwd=str(source.parent),
                progress_bar=False,
                start_timeout=120,
                execution_timeout=timeout_s,
                iopub_timeout=60,
                on_cell_execute=started,
                on_cell_executed=finished,
                # Der Kernel schreibt Hinweise an Entwickler auf unser stderr.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                # Ein beschäftigter Kernel hört nicht auf die Bitte zu gehen; nach einer Sekunde wird er beendet.
                config=Config({"KernelManager": {"shutdown_wait_time": 1.0}}),
            )
        except PapermillExecutionError as error:
            label = cell_label(error.exec_count or current["number"], error.source)
            failure = f"bricht in {label} ab: {error_text(error.ename, error.evalue)}"
        except DeadKernelError:
            label = cell_label(current["number"], current["source"])
            failure = f"bricht in {label} ab: Der Kernel ist gestorben; meist reicht der Arbeitsspeicher nicht."
        except CellTimeoutError:
            label = cell_label(current["number"], current["source"])
            failure = f"bricht in {label} ab: Sie läuft länger als {timeout_s / 60:g} Minuten."
        except NoSuchKernel:
            raise CourseError(
                f"Den Kernel „{KERNEL_TITLE}“ ({KERNEL_NAME}) gibt es nicht: Führen Sie „bash install.bash“ aus."
            ) from None
        except (RuntimeError, OSError) as error:
            if current["number"]:
                raise
            raise CourseError(
                f"Der Kernel „{KERNEL_TITLE}“ startet nicht ({error_text(type(error).__name__, error)}) "
                "Führen Sie „bash install.bash“ aus."
            ) from None
        notebook = executed_in_german(clean(read_notebook(temporary)))
        temporary.write_text(as_text(notebook), encoding="utf-8")
        left = [cell for cell in code_cells(notebook) if cell.execution_count is None]
        if left and not failure:  # SystemExit beendet den Lauf, ohne dass papermill es als Fehler zählt
            label = cell_label(current["number"], current["source"])
            failure = f"endet in {label} vorzeitig: {len(left)} Zellen sind nicht ausgeführt."
    if failure:
        raise CourseError(f"{source.stem} {failure} Das ausgeführte Notebook: {display_path(target)}")
    return notebook


def error_text(name: str, value) -> str:
    """Fehlertyp und -meldung in einer Zeile mit Punkt am Ende; bei einem CourseError genügt dessen Satz."""
    lines = [line.strip() for line in str(value).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    text = text if len(text) <= 300 else text[:299] + "…"
    if name not in ("", "CourseError"):
        text = f"{name}: {text}" if text else name
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def executed_in_german(notebook):
    """Übersetzt, was papermill auf Englisch in das ausgeführte Notebook schreibt."""
    marker = "papermill-error-cell-tag"
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if marker in tags:
            if 'id="papermill-error-cell"' in cell.source:
                cell.source = '<strong id="papermill-error-cell">✘ Hier ist der Lauf abgebrochen:</strong>'
            else:
                cell.source = '✘ Der Lauf ist <a href="#papermill-error-cell">in einer Zelle abgebrochen</a>.'
        elif "injected-parameters" in tags:
            cell.source = cell.source.replace("# Parameters\n", "# Parameter dieses Laufs\n", 1)
    return notebook


def execute_solutions(only=None, solutions_dir=SOLUTIONS) -> list[str]:
    """Führt die Lösungen neu aus und ersetzt jede erst, wenn sie ohne Fehler und ohne Warnung durchgelaufen ist.

    Returns:
        Ein deutscher Satz für jede aufgefrischte Datei.

    Raises:
        CourseError: beim ersten Fehler; auch eine Ausgabe auf stderr ist einer. Die Lösung bleibt dann, wie sie war.
    """
    paths, sentences = choose(only, solutions_dir), []
    total = sum(len(code_cells(read_notebook(path))) for path in paths)
    with progress(total=total, text="Lösungen", unit="Zellen") as bar:
        for path in paths:

            def on_cell(number, done, name=path.stem):
                bar.set_description_str(f"{name}, Zelle {number}")
                bar.update(int(done))

            trial = output_dir() / "loesungen" / path.name
            notebook = execute(path, trial, on_cell=on_cell)
            if warnings := stderr_outputs(notebook):
                raise CourseError(f"{path.stem}: {warnings[0]} Das ausgeführte Notebook: {display_path(trial)}")
            write_notebook(path, with_small_pictures(notebook))
            trial.unlink()
            sentences.append(f"{display_path(path)} ist neu ausgeführt.")
    return sentences


def with_small_pictures(notebook):
    """Das Notebook, jedes Bild darin mit 256 Farben: halb so groß, mit bloßem Auge nicht zu unterscheiden."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = base64.b64encode(few_colors(base64.b64decode(data["image/png"]))).decode() + "\n"
    return notebook


def few_colors(png: bytes) -> bytes:
    """Dasselbe PNG mit 256 Farben; ein schon kleineres bleibt, wie es ist."""
    from PIL import Image

    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(small, "PNG", optimize=True)
    return min(png, small.getvalue(), key=len)


def stderr_outputs(notebook) -> list[str]:
    """Ein Satz für jede Zelle, die auf stderr geschrieben hat (Warnungen gehören nicht in eine Lösung)."""
    return [
        f"{cell_label(number, cell.source)} schreibt auf stderr: {error_text('', output['text'])}"
        for number, cell in enumerate(code_cells(notebook), start=1)
        for output in cell.outputs
        if output["output_type"] == "stream" and output["name"] == "stderr"
    ]


# --- Stilprüfung -----------------------------------------------------------------------------------------------------

ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
FORMULA = re.compile(r"(?<![\\$])\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?!\$)(?P<inline>.+?)(?<![\\$])\$", re.DOTALL)
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~<&;-])/(?:[\w.+-]+/)+[\w.+-]+|\b[A-Za-z]:\\\w")


def problems(path) -> list[str]:
    """Prüft eine Lösung auf das, was Lernende stören oder Vergleiche unsicher machen würde; ein Satz je Fund."""
    path = Path(path)
    try:
        notebook = read_notebook(path)
    except CourseError as error:
        return [str(error)]
    cells = code_cells(notebook)
    return [f"{display_path(path)}: {sentence}" for check in LINTS for sentence in check(path, notebook, cells)]


def length_problems(path, notebook, cells):
    """Zu lange Zellen und ein zu hoher Median (Leerzeilen zählen nicht)."""
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    for number, (cell, length) in enumerate(zip(cells, lengths, strict=True), start=1):
        if length > MAX_CELL_LINES:
            yield f"{cell_label(number, cell.source)} hat {length} Zeilen, höchstens {MAX_CELL_LINES} sind erlaubt."
    if lengths and statistics.median(lengths) > MAX_MEDIAN_LINES:
        median = f"{statistics.median(lengths):g}".replace(".", ",")
        yield f"Die Code-Zellen haben im Median {median} Zeilen, höchstens {MAX_MEDIAN_LINES} sind erlaubt."


def frame_problems(path, notebook, cells):
    """Startzelle und ``parameters``-Zelle."""
    if not any("parameters" in cell.metadata.get("tags", []) for cell in cells):
        yield "Keine Code-Zelle trägt das Etikett „parameters“."
    first = cells[0].source if cells else ""
    if "from helpers.start import start" not in first or f'start("{path.stem}")' not in first:
        yield f'Die erste Code-Zelle ist nicht die Startzelle mit start("{path.stem}").'


def output_problems(path, notebook, cells):
    """Fehler, Warnungen, Objektadressen und Pfade dieses Rechners in den gespeicherten Ausgaben."""
    if left := sum(cell.execution_count is None for cell in cells):
        yield f"{left} von {len(cells)} Code-Zellen sind nicht ausgeführt."
    yield from stderr_outputs(notebook)
    for number, cell in enumerate(cells, start=1):
        label = cell_label(number, cell.source)
        for output in cell.outputs:
            if output["output_type"] == "error":
                yield f"{label} enthält einen gespeicherten Fehler: {error_text(output['ename'], output['evalue'])}"
            for text in output_texts(output):
                if found := ADDRESS.search(text):
                    yield f"{label} gibt eine Objektadresse aus ({found[0]}), die bei jedem Lauf anders ist."
                if found := ABSOLUTE_PATH.search(text):
                    yield f"{label} gibt einen Pfad dieses Rechners aus ({found[0]})."


def output_texts(output) -> list[str]:
    """Alle lesbaren Texte einer Ausgabe."""
    data = output.get("data", {})
    return [output.get("text", "")] + [data[kind] for kind in data if kind.startswith("text/")]


def formula_problems(path, notebook, cells):
    """Formeln, die es in den HTML-Seiten ohne Netz nicht als MathML gäbe."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```|`[^`\n]*`", "", cell.source, flags=re.DOTALL)
            for match in FORMULA.finditer(text):
                tex = match["block"] or match["inline"]
                if not mathml(tex).startswith("<math"):
                    yield f"Die Formel {tex.strip()} in Zelle „{cell.id}“ lässt sich nicht als MathML darstellen."


def tidiness_problems(path, notebook, cells):
    """Metadaten, die ``clean`` entfernt hätte, etwa ``injected-parameters`` oder Zeitstempel."""
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in cells):
        yield "Eine Zelle mit Parametern von papermill ist stehen geblieben: Löschen Sie sie."
    if as_text(clean(notebook)) != path.read_text(encoding="utf-8"):
        yield "Die Datei enthält flüchtige Metadaten: Führen Sie „python -m helpers ableiten --ausfuehren“ aus."


LINTS = (length_problems, frame_problems, output_problems, formula_problems, tidiness_problems)
