"""Notebooks als Dateien: lesen, ausführen, bereinigen und die Fassung der Lernenden ableiten.

``solutions/`` ist die Quelle. ``derive`` macht daraus ``notebooks/``, ``execute_solutions`` frischt die gespeicherten
Ausgaben auf. Was bei jedem Lauf anders wäre (Zeitstempel, Versionen, Widget-Zustände), steht in keiner der Dateien.
"""

import ast
import base64
import contextlib
import copy
import io
import json
import logging
import os
import re
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

CELL_TIMEOUT_S = 1800  # Zeitgrenze je Zelle; mit dem Profil „voll“ setzt helpers.workshop.course eine höhere.

KERNELSPEC = {"display_name": KERNEL_TITLE, "language": "python", "name": KERNEL_NAME}
LANGUAGE_INFO = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
KEPT_CELL_METADATA = ("tags", "nbgrader", "jupyter", "deletable", "editable")
ANSWER, CHECK = "-loesung", "-pruefung"  # so enden die grade_id der Zellen einer Aufgabe
REMEDY = "Führen Sie „python -m helpers ableiten“ aus."


# --- Lesen, bereinigen, schreiben ------------------------------------------------------------------------------------


def read_notebook(path):
    """Liest ein Notebook im Format 4.5.

    Raises:
        CourseError: wenn die Datei fehlt, kein Notebook ist oder eine Zelle keine eigene id hat.
    """
    import nbformat

    try:
        text = Path(path).read_text(encoding="utf-8")
        ids = [cell.get("id") for cell in json.loads(text)["cells"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        remedy = "Holen Sie die Datei neu oder leiten Sie sie neu ab (python -m helpers ableiten)."
        raise CourseError(f"{display_path(path)} fehlt oder ist kein lesbares Notebook: {remedy}") from None
    for number, identifier in enumerate(ids, start=1):
        # nbformat erfände bei jedem Lesen eine neue id; die Ableitung wäre jedes Mal anders.
        if not identifier or ids.count(identifier) > 1:
            raise CourseError(
                f"{display_path(path)}: Die {number}. Zelle hat keine eigene id ({identifier or 'leer'}): "
                "Speichern Sie das Notebook einmal in JupyterLab (nbformat 4.5)."
            )
    return nbformat.reads(text, as_version=4)


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
    import nbformat
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: cell.metadata[k] for k in KEPT_CELL_METADATA if cell.metadata.get(k)})
        if cell.cell_type == "code":
            # Wie Jupyter eine Textausgabe zerteilt, ist Zufall.
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
            for output in cell.outputs:
                # Ohne den Zustand, der in den Metadaten stünde, zeigt JupyterLab hier nur eine Fehlermeldung.
                output.get("data", {}).pop(WIDGET_VIEW, None)
    return notebook


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
OPTIONS = {"ClearSolutions": {"code_stub": {"python": CODE_STUB}, "text_stub": TEXT_STUB}}


def nbgrader_steps(steps, notebook, **resources):
    """Das Notebook nach diesen Schritten von nbgrader."""
    with quiet_stderr():
        from nbgrader import preprocessors

    for name in steps:
        step = getattr(preprocessors, name)(**OPTIONS.get(name, {}))
        step.log.setLevel(logging.CRITICAL)
        notebook, resources = step.preprocess(notebook, resources)
    return notebook


def derived(notebook, source):
    """Die Fassung der Lernenden: ohne Lösungen, verborgene Tests und Ausgaben, mit gesperrten Prüfzellen.

    Raises:
        CourseError: wenn eine Markierung fehlt oder die Angaben für nbgrader nicht stimmen.
    """
    with quiet_stderr():
        from nbgrader.nbgraderformat import ValidationError

    try:
        learner = nbgrader_steps(("CheckCellMetadata", *NBGRADER_STEPS), clean(copy.deepcopy(notebook)))
    except (RuntimeError, ValidationError, KeyError) as error:
        raise CourseError(
            f"{display_path(source)}: nbgrader lehnt das Notebook ab ({error_text('', error)}) Prüfen Sie die Zeilen "
            "„### BEGIN …“ und „### END …“ und die Angaben unter „nbgrader“ in den Metadaten der Aufgabenzellen."
        ) from None
    if lack := what_an_exercise_lacks(notebook):
        raise CourseError(f"{display_path(source)}: {lack}")
    return learner


def what_an_exercise_lacks(notebook) -> str:
    """Ein Satz, wenn die Durchsicht mit einer Aufgabe nichts anfangen könnte; ihre Zellen-ids sind gleich."""
    from helpers.checks import exercises

    graded = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    parts = {name: re.fullmatch(rf"(\d\d)-aufgabe-(\d+)({ANSWER}|{CHECK})", name) for name in graded}
    for name in (name for name, found in parts.items() if not found):
        return f"Geben Sie der Zelle „{name}“ eine grade_id wie „01-aufgabe-6{ANSWER}“ oder „01-aufgabe-6{CHECK}“."
    for name, found in parts.items():
        part, number, end = found.groups()
        answer, test = (name.removesuffix(end) + each for each in (ANSWER, CHECK))
        if missing := {answer, test} - set(graded):
            return f"Legen Sie zur Zelle „{name}“ auch eine mit der grade_id „{missing.pop()}“ an."
        if f"{int(part)}.{number}" not in exercises():
            return f"Ergänzen Sie die Aufgabe {int(part)}.{number} in helpers/checks/notebook_{part}.py."
    for cell in notebook.cells:
        asked = re.search(r'^check\("(\d)\.(\d+)"', cell.source, re.MULTILINE) if cell.cell_type == "code" else None
        if asked and "nbgrader" not in cell.metadata:
            name = "0{}-aufgabe-{}".format(*asked.groups()) + CHECK
            return f"Geben Sie der Zelle mit {asked[0]}) unter „nbgrader“ die grade_id „{name}“ und Punkte."
    return ""


def derive(solutions_dir=SOLUTIONS, notebooks_dir=NOTEBOOKS) -> None:
    """Leitet die Notebooks der Lernenden aus den Lösungen ab."""
    sources = sorted(Path(solutions_dir).glob("[!.]*.ipynb"))
    if not sources:
        raise CourseError(f"In {display_path(solutions_dir)} liegt kein Notebook, aus dem sich etwas ableiten ließe.")
    learners = {source.name: derived(read_notebook(source), source) for source in sources}
    for name, learner in learners.items():
        write_notebook(Path(notebooks_dir) / name, learner)


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
        raise CourseError(f"Es fehlt: {', '.join(missing)}. {REMEDY}")
    return paths


def declared_parameters(notebook) -> dict:
    """Name → Vorgabewert der Parameter in der Zelle mit dem Etikett ``parameters`` (None, wenn kein fester Wert)."""
    found = {}
    sources = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    for node in ast.parse("\n".join(sources)).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = None
                with contextlib.suppress(ValueError):
                    found[name] = ast.literal_eval(node.value)
    return found


def kernel_environment(output=None) -> dict[str, str]:
    """Die Umgebungsvariablen eines Kernels: fester Ausgabeordner, keine fremden Einstellungen für Bilder."""
    own = {
        "KURS_AUSGABE": str(output or output_dir()),  # absolut, denn der Kernel arbeitet in einem anderen Ordner
        "KURS_OBERFLAECHE": "nein",  # auch wer aus JupyterLab startet, bedient diese Notebooks nicht
    }
    # Mit „agg“ aus der Shell blieben die Bilder in den Notebooks aus.
    return {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | own


def execute(source, target, parameters=None, bar=None, title="", timeout_s: float = CELL_TIMEOUT_S, output=None):
    """Führt ein Notebook in seinem Ordner mit dem Kurs-Kernel aus und schreibt das Ergebnis nach ``target``.

    Args:
        parameters: Werte, die nach der ``parameters``-Zelle gesetzt werden; leer heißt: die Vorgaben gelten.
        bar: Fortschrittsbalken, der nach jeder Code-Zelle um eins weitergeht; davor steht ``title`` und die Zelle.
        timeout_s: Zeitgrenze je Zelle in Sekunden.
        output: Ausgabeordner des Kernels, sonst der des Kurses.

    Returns:
        Das ausgeführte, bereinigte Notebook.

    Raises:
        CourseError: mit Notebook, Zelle und Fehler; ``target`` enthält dann das Notebook bis dorthin.
    """
    source = Path(source)
    notebook = read_notebook(source)
    if parameters:
        notebook = with_parameters(source, parameters)
    with atomic_file(target) as temporary:  # schon jetzt: Ein Ziel, das nicht geht, soll keinen Lauf kosten
        failure = run_cells(notebook, source.parent, kernel_environment(output), bar, title, timeout_s)
        temporary.write_text(as_text(clean(notebook)), encoding="utf-8")
    if failure:
        raise CourseError(f"{source.stem} bricht in {failure} Das ausgeführte Notebook: {display_path(target)}")
    return notebook


def with_parameters(source: Path, values: dict):
    """Das Notebook, in das papermill ``values`` hinter der ``parameters``-Zelle gesetzt hat."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    return parameterize_notebook(load_notebook_node(str(source)), values, comment="Parameter dieses Laufs")


def run_cells(notebook, folder: Path, environment: dict, bar, title: str, timeout_s: float) -> str:
    """Führt alle Zellen im Kurs-Kernel aus; ergibt „“ oder in welcher Zelle es woran scheiterte."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    for name in ("traitlets", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL_NAME,
        startup_timeout=120,
        timeout=timeout_s,
        iopub_timeout=60,
        # Ein beschäftigter Kernel hörte nicht auf die Bitte zu gehen.
        shutdown_kernel="immediate",
        # Der Kernel schreibt Hinweise an Entwickler auf unser stderr.
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
    )
    cells, label = code_cells(notebook), ""
    for cell in cells:
        cell.update(outputs=[], execution_count=None)
    try:
        with client.setup_kernel(env=environment, cwd=str(folder)):
            for number, cell in enumerate(cells, start=1):
                label = cell_label(number, cell.source)
                if bar is not None:
                    bar.set_description_str(f"{title}, Zelle {number}")
                client.execute_cell(cell, notebook.cells.index(cell))
                if bar is not None:
                    bar.update(1)
    except CellExecutionError as error:
        return f"{label} ab: {error_text(error.ename, error.evalue)}"
    except DeadKernelError:
        return f"{label} ab: Der Kernel ist gestorben; meist reicht der Arbeitsspeicher nicht."
    except CellTimeoutError:
        return f"{label} ab: Sie läuft länger als {timeout_s / 60:g} Minuten."
    except (NoSuchKernel, RuntimeError, OSError) as error:
        if label:
            raise
        raise CourseError(
            f"Der Kernel „{KERNEL_TITLE}“ ({KERNEL_NAME}) startet nicht ({error_text(type(error).__name__, error)}): "
            "Führen Sie „bash install.bash“ aus."
        ) from None
    return ""


def error_text(name: str, value) -> str:
    """Fehlertyp und -meldung in einer Zeile mit Punkt am Ende; bei einem CourseError genügt dessen Satz."""
    text = next((line.strip() for line in str(value).splitlines() if line.strip()), "")[:300]
    if name not in ("", "CourseError"):
        text = f"{name}: {text}" if text else name
    return text if text.endswith((".", "!", "?")) else text + "."


# Datei in solutions/ → woher in der Ausgabe sie kommt; den Ordner „farbbilder“ macht 05.
README_PICTURES = {
    "ergebnis.png": "bilder/ergebnis.png",
    "eigene_bilder.png": "eigene_bilder/farbbilder_*/bilder/stelle.png",
}


def execute_solutions(only=None, solutions_dir=SOLUTIONS) -> None:
    """Führt die Lösungen neu aus und ersetzt jede erst, wenn sie ohne Fehler und ohne Warnung durchgelaufen ist.

    Die Bilder der README sind danach die dieses Laufs.

    Raises:
        CourseError: beim ersten Fehler; auch eine Ausgabe auf stderr ist einer. Die Lösung bleibt dann, wie sie war.
    """
    paths = choose(only, solutions_dir)
    total = sum(len(code_cells(read_notebook(path))) for path in paths)
    with progress(total=total, text="Lösungen", unit="Zellen") as bar:
        for path in paths:
            trial = output_dir() / "loesungen" / path.name
            notebook = execute(path, trial, bar=bar, title=path.stem)
            if warnings := stderr_outputs(notebook):
                raise CourseError(f"{path.stem}: {warnings[0]} Das ausgeführte Notebook: {display_path(trial)}")
            for data in (output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs):
                if "image/png" in data:
                    small = few_colors(base64.b64decode(data["image/png"]))
                    data["image/png"] = base64.b64encode(small).decode() + "\n"
            write_notebook(path, notebook)
            trial.unlink()
    for name, place in README_PICTURES.items():
        for picture in output_dir().glob(place):
            with atomic_file(Path(solutions_dir) / name) as temporary:
                temporary.write_bytes(few_colors(picture.read_bytes()))


def few_colors(png: bytes) -> bytes:
    """Dasselbe PNG mit 256 Farben, halb so groß und kaum zu unterscheiden; ein schon kleineres bleibt, wie es ist."""
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
