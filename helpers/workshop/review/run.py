"""Der Ablauf der Durchsicht: jede Abgabe vorbereiten, eingesperrt ausführen, beurteilen; am Ende die Übersicht."""

import json
import secrets
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from helpers.basics import (
    COURSE_NOTEBOOKS,
    INPUT,
    ROOT,
    CourseError,
    atomic_folder,
    display_path,
    german,
    one_line,
    output_dir,
    progress,
    scratch,
    sha256,
    write_json,
)
from helpers.checks import exercises
from helpers.checks.exercise import Verdict
from helpers.checks.handover import CASES_FILE
from helpers.provenance import provenance
from helpers.workshop.notebooks import declared_parameters, execute, write_notebook
from helpers.workshop.review import grading, page, sandbox
from helpers.workshop.review.handins import HandIn, Reference, find, read, references

MEMORY_MB = 4000
CELL_SECONDS = 30
SECONDS = 240  # je Abgabe; läuft alles, doppelt so lang
WEAKER = (
    "Hinweis: Hier lässt sich kein eigener Raum bauen, die Abgaben laufen mit schwächerem Schutz (siehe README). "
    "Unter Linux hilft meist „sudo apt install bubblewrap“."
)
# Klein genug, um auch eine Abgabe ganz auszuführen, deren Antworten Variablen des Kurses benutzen.
SMALL = {"profil": "probe", "bilder": 2, "regeln": ["lrp.epsilon"], "verfahren": ["Grad-CAM", "Zufall", "leere Karte"]}
REASONS = {
    "zeit": "Nach {seconds:.0f} Sekunden abgebrochen: Die Abgabe wurde nicht fertig.",
    "speicher": "Abgebrochen: Die Abgabe brauchte mehr als {memory} MB Arbeitsspeicher.",
    "platte": "Abgebrochen: Die Abgabe füllte die Platte.",
}
FREE_BYTES = 500_000_000  # so viel brauchen Arbeitskopien und Ergebnisse von zwei Abgaben reichlich


@dataclass
class Result:
    """Eine Zeile der Durchsicht.

    Attributes:
        verdicts: Nummer der Aufgabe → Urteil; leer, wenn die Abgabe nicht lesbar ist.
        points: Nummer → Punkte aus nbgraders Notenbuch; None heißt nicht gewertet.
        executed: die Zellen, die liefen: (id der Zelle oder "", Quelltext, Ausgaben).
        page: Name der Seite mit der ausgeführten Abgabe.
    """

    hand_in: HandIn
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    points: dict[str, float] | None = field(default_factory=dict)
    executed: list = field(default_factory=list)
    page: str = ""


class Review:
    """Was alle Abgaben teilen: Kurs-Notebooks, geheime Eingaben, Notenbuch, vorbereitete Modelle."""

    def __init__(self, known: dict, book: grading.GradeBook, workplace: Path, seconds: float, memory_mb: int):
        """``workplace`` ist ein Ordner auf Zeit für alles Vorläufige."""
        self.known, self.book = known, book
        self.workplace, self.seconds, self.memory_mb = workplace, seconds, memory_mb
        # Eingaben, die niemand vorher kennt: Wer die Antworten auswendig einträgt, fällt auf.
        self.seeds = {number: secrets.randbits(64) for number in exercises()}
        self.cases = {number: exercise.draw(self.seeds[number]) for number, exercise in exercises().items()}
        self._prepared, self._lock = None, threading.Lock()

    def examine(self, hand_in: HandIn) -> Result:
        """Führt eine Abgabe aus und urteilt; was auch immer darin steht, am Ende steht eine Zeile."""
        result = Result(hand_in)
        if hand_in.course is None:
            return result
        try:
            with self._lock:  # nbgraders Notenbuch ist eine Datei
                notebook = self.book.sanitize(hand_in)
            reference = self.known[hand_in.course]
            self._run(result, notebook, reference)
            if uses_course_variables(result.verdicts):
                hand_in.notes.append("Antworten benutzen Variablen des Kurses: Das ganze Notebook lief.")
                self._run(result, notebook, reference, everything=True)
            with self._lock:
                result.points = self.book.enter(hand_in, result.verdicts)
        except Exception as error:  # eine Abgabe darf die anderen nie aufhalten
            kind = "" if isinstance(error, CourseError) else f"{type(error).__name__}: "
            hand_in.notes.append(f"Nicht gewertet: {kind}{str(error)[:300].rstrip('.')}.")
            result.verdicts, result.points = {}, None
        return result

    def _run(self, result: Result, notebook, reference: Reference, everything: bool = False) -> None:
        parameters = {}
        if everything:
            names = declared_parameters(reference.learner)
            parameters = {name: value for name, value in SMALL.items() if name in names}
        runnable = grading.runnable(notebook, reference, parameters)
        seconds = self.seconds * (2 if everything else 1)
        with scratch("abgabe", self.workplace) as folder:
            self._furnish(folder, runnable, everything)
            worker = folder / "kurs" / Path(__file__).with_name("worker.py").relative_to(ROOT)
            command = [sys.executable, str(worker), str(folder), str(CELL_SECONDS), str(self.memory_mb)]
            ended = sandbox.run(command, folder, seconds, self.memory_mb)
            if ended.reason == "voll":
                raise CourseError(f"{display_path(self.workplace.parent)} ist voll: Räumen Sie auf.")
            self._collect(result, folder, runnable, reference)
        if ended.reason:
            note = REASONS[ended.reason].format(seconds=seconds, memory=self.memory_mb)
            result.hand_in.notes.append(note)
        elif ended.code:
            result.hand_in.notes.append("Der Kernel ist gestorben, bevor alle Zellen liefen.")

    def _furnish(self, folder: Path, notebook, everything: bool) -> None:
        """Richtet den Arbeitsordner ein: eigene Kopie von helpers, die Daten nur als Verweis, geheime Eingaben."""
        for name in ("kurs/notebooks", "austausch"):
            (folder / name).mkdir(parents=True)
        shutil.copytree(ROOT / "helpers", folder / "kurs" / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("requirements.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / "kurs" / name)
        (folder / "kurs" / "input").symlink_to(INPUT.resolve())
        write_json(folder / "austausch" / CASES_FILE, self.seeds)
        write_notebook(folder / "abgabe.ipynb", notebook)
        if everything:
            shutil.copytree(self.prepared(), folder / "ausgabe", dirs_exist_ok=True)

    def _collect(self, result: Result, folder: Path, notebook, reference: Reference) -> None:
        """Liest, was der fremde Prozess hinterlassen hat, und urteilt hier, wo er nicht hinkommt."""
        handed_over = {}
        for number in reference.exercises:
            text = sandbox.read_result(folder / "austausch" / f"{number}.json")
            try:
                handed_over |= {number: json.loads(text)} if text else {}
            except (ValueError, RecursionError):
                handed_over[number] = None
        result.verdicts = grading.verdicts(reference, self.cases, handed_over)
        executed = sandbox.read_result(folder / "austausch" / "ergebnis.ipynb")
        result.executed = page.outputs_of(notebook, executed)

    def prepared(self) -> Path:
        """Wenige Bilder und zwei kleine Modelle, einmal für alle Abgaben gerechnet."""
        with self._lock:
            if self._prepared is None:
                folder = self.workplace / "vorbereitet"
                source = ROOT / "notebooks" / f"{COURSE_NOTEBOOKS[2]}.ipynb"
                execute(source, folder / "03.ipynb", {"profil": SMALL["profil"]}, output=folder)
                self._prepared = folder
        return self._prepared


def uses_course_variables(verdicts: dict[str, Verdict]) -> bool:
    """Scheitert eine Antwort nur daran, dass eine Variable aus einer übersprungenen Zelle fehlt?"""
    return any("NameError" in hint for verdict in verdicts.values() for hint in verdict.hints)


def precious_files(paths) -> dict[Path, str]:
    """Prüfsummen der Dateien, die sich durch eine Durchsicht nicht ändern dürfen."""
    folders = [ROOT / name for name in ("helpers", "solutions", "notebooks", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and "cache" not in str(path)]
    files += [path for path in INPUT.rglob("*.json") if path.is_file()]
    return {path: sha256(path) for path in [*files, *paths] if path.is_file() and not path.is_symlink()}


def review_hand_ins(paths, parallel: int = 2, seconds: float = SECONDS, memory_mb: int = MEMORY_MB) -> Path:
    """Sieht alle Abgaben durch und schreibt ``durchsicht.html`` und ``durchsicht.csv``, wenn alles gelaufen ist.

    Bis dahin bleibt eine frühere Durchsicht, wie sie war.

    Args:
        paths: Dateien oder Ordner.
        parallel: so viele Abgaben laufen gleichzeitig.
        seconds: Zeitgrenze je Abgabe.
        memory_mb: Grenze für den Arbeitsspeicher je Abgabe.

    Returns:
        Pfad von ``durchsicht.html``.

    Raises:
        CourseError: wenn es keine lesbare Abgabe oder zu wenig Platz gibt (dann bleibt die letzte Durchsicht), und am
            Ende, wenn einzelne nicht lesbar oder nicht gewertet sind (die anderen sind durchgesehen und geschrieben).
    """
    found = find(paths)
    known = references()
    hand_ins = [read(name, path, known) for name, path in found]
    if not any(hand_in.course for hand_in in hand_ins):
        raise CourseError(unreadable(hand_ins))
    before = precious_files([path for _, path in found])
    with atomic_folder(output_dir() / "durchsicht") as folder, scratch("kurs-durchsicht") as workplace:
        check_space(output_dir(), workplace.parent)
        used = {hand_in.course: known[hand_in.course] for hand_in in hand_ins if hand_in.course}
        book = grading.GradeBook(folder / "notenbuch.db", used)
        review = Review(known, book, workplace.resolve(), seconds, memory_mb)
        if not sandbox.isolated():
            print(WEAKER)
        with ThreadPoolExecutor(parallel) as pool:
            examined = pool.map(review.examine, hand_ins)
            results = list(progress(examined, total=len(hand_ins), text="Durchsicht", unit="Abgaben"))
        after = {path: sha256(path) if path.is_file() else "" for path in before}
        changed = [display_path(path) for path in before if before[path] != after[path]]
        overview = page.write(results, known, folder, changed)
        write_json(folder / "herkunft.json", provenance())
    target = page.publish(overview, output_dir())
    if sentence := " ".join(filter(None, [unreadable(hand_ins), not_judged(results)])):
        raise CourseError(f"{sentence} Die anderen stehen in {display_path(target)}.")
    return target


def check_space(*folders: Path) -> None:
    """Wirft CourseError, wenn der Platz für Arbeitskopien und Ergebnisse fehlt: Dann wäre kein Urteil sicher."""
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < FREE_BYTES:
            raise CourseError(
                f"In {display_path(folder)} sind nur {german(free / 1e6, 0)} MB frei, die Durchsicht braucht "
                f"{german(FREE_BYTES / 1e6, 0)}: Räumen Sie auf, oder setzen Sie TMPDIR und KURS_AUSGABE um."
            )


def unreadable(hand_ins: list[HandIn]) -> str:
    bad = [hand_in for hand_in in hand_ins if hand_in.course is None]
    return complaint(bad, len(hand_ins), "ließen sich nicht durchsehen", "Lassen Sie sie noch einmal abgeben.")


def not_judged(results: list[Result]) -> str:
    bad = [result.hand_in for result in results if result.points is None]
    return complaint(bad, len(results), "sind nicht gewertet", "Sehen Sie sie danach noch einmal durch.")


def complaint(bad: list[HandIn], total: int, what: str, remedy: str) -> str:
    """Ein Satz über die Abgaben ``bad``, die erste mit Grund; leer, wenn es keine gibt."""
    if not bad:
        return ""
    reason = bad[0].notes[-1].rstrip(".")
    more = f" und {len(bad) - 1} weitere" if len(bad) > 1 else ""
    return f"{len(bad)} von {total} Abgaben {what}, nämlich {one_line(str(bad[0].path))} ({reason}){more}: {remedy}"
