"""Der Ablauf der Durchsicht: jede Abgabe vorbereiten, eingesperrt ausführen, beurteilen; am Ende die Übersicht."""

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
    NOTEBOOKS,
    ROOT,
    CourseError,
    atomic_file,
    atomic_folder,
    display_path,
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
from helpers.workshop.review.handins import HandIn, find, read, references

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
    "tot": "Der Kernel ist gestorben, bevor alle Zellen liefen.",
}
FREE_BYTES = 500_000_000  # so viel brauchen Arbeitskopien und Ergebnisse von zwei Abgaben reichlich
FULL = "In {} fehlt Platz, die Durchsicht braucht 500 MB: Räumen Sie auf, oder setzen Sie TMPDIR und KURS_AUSGABE um."


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
    points: dict[str, float] | None = None
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
        self._prepared, self._lock = None, threading.Lock()

    def examine(self, hand_in: HandIn) -> Result:
        """Führt eine Abgabe aus und urteilt; was auch immer darin steht, am Ende steht eine Zeile."""
        result = Result(hand_in)
        if hand_in.course is None:
            return result
        try:
            with self._lock:  # nbgraders Notenbuch ist eine Datei
                notebook = self.book.sanitize(hand_in)
            self._run(result, notebook)
            # Scheitert eine Antwort nur daran, dass eine Variable aus einer übersprungenen Zelle fehlt?
            if any("NameError" in hint for verdict in result.verdicts.values() for hint in verdict.hints):
                hand_in.notes.append("Antworten benutzen Variablen des Kurses: Das ganze Notebook lief.")
                self._run(result, notebook, everything=True)
            with self._lock:
                result.points = self.book.enter(hand_in, result.verdicts)
        except Exception as error:  # eine Abgabe darf die anderen nie aufhalten
            kind = "" if isinstance(error, CourseError) else f"{type(error).__name__}: "
            hand_in.notes.append(f"Nicht gewertet: {kind}{str(error)[:300].rstrip('.')}.")
            result.verdicts = {}
        return result

    def _run(self, result: Result, notebook, everything: bool = False) -> None:
        """Führt die Abgabe eingesperrt aus und urteilt hier, wo der fremde Prozess nicht hinkommt."""
        reference = self.known[result.hand_in.course]
        names = declared_parameters(reference.learner) if everything else ()
        runnable = grading.runnable(notebook, reference, {name: SMALL[name] for name in names if name in SMALL})
        seconds = self.seconds * (2 if everything else 1)
        with scratch("abgabe", self.workplace) as folder:
            if everything:
                shutil.copytree(self.prepared(), folder / "ausgabe")
            worker = furnish(folder, runnable, self.seeds)
            command = [sys.executable, str(worker), str(folder), str(CELL_SECONDS), str(self.memory_mb)]
            reason = sandbox.run(sandbox.jail(), command, folder, seconds, self.memory_mb)
            if reason == "voll":
                raise CourseError(FULL.format(display_path(self.workplace.parent)))
            for number in reference.exercises:
                cases = exercises()[number].draw(self.seeds[number])
                handed_over = sandbox.read_result(folder / "austausch" / f"{number}.json")
                result.verdicts[number] = grading.verdict(number, cases, handed_over)
            executed = sandbox.read_result(folder / "austausch" / "ergebnis.ipynb")
            result.executed = page.outputs_of(runnable, executed)
        if reason:
            result.hand_in.notes.append(REASONS[reason].format(seconds=seconds, memory=self.memory_mb))

    def prepared(self) -> Path:
        """Wenige Bilder und zwei kleine Modelle, einmal für alle Abgaben gerechnet."""
        with self._lock:
            if self._prepared is None:
                folder, source = self.workplace / "vorbereitet", NOTEBOOKS / f"{COURSE_NOTEBOOKS[2]}.ipynb"
                execute(source, folder / "03.ipynb", {"profil": SMALL["profil"]}, output=folder)
                self._prepared = folder
        return self._prepared


def furnish(folder: Path, notebook, seeds: dict[str, int]) -> Path:
    """Richtet den Arbeitsordner ein: eigene Kopie von helpers, die Daten nur als Verweis, geheime Eingaben.

    Returns:
        Das Programm darin, das ``notebook`` ausführt.
    """
    course = folder / "kurs"
    shutil.copytree(ROOT / "helpers", course / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (course / "notebooks").mkdir()
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, course / name)
    (course / "input").symlink_to(INPUT.resolve())
    write_json(folder / "austausch" / CASES_FILE, seeds)
    write_notebook(folder / "abgabe.ipynb", notebook)
    return course / Path(__file__).with_name("worker.py").relative_to(ROOT)


def precious_files(paths) -> dict[Path, str]:
    """Prüfsummen der Dateien, die sich durch eine Durchsicht nicht ändern dürfen."""
    files = [*paths, *INPUT.glob("*.json")]
    for name in ("helpers", "solutions", "notebooks", "tests"):
        files += [path for path in (ROOT / name).rglob("*") if path.suffix != ".pyc"]
    return {path: sha256(path) for path in files if path.is_file() and not path.is_symlink()}


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
            Ende, wenn einzelne nicht gewertet sind (die anderen sind durchgesehen und geschrieben).
    """
    found = find(paths)
    known = references()
    hand_ins = [read(name, path, known) for name, path in found]
    if not any(hand_in.course for hand_in in hand_ins):
        raise CourseError(complaint([Result(hand_in) for hand_in in hand_ins]))
    before = precious_files([path for _, path in found])
    with atomic_folder(output_dir() / "durchsicht") as folder, scratch("kurs-durchsicht") as workplace:
        for place in (output_dir(), workplace.parent):
            if sandbox.is_full(place, FREE_BYTES):
                raise CourseError(FULL.format(display_path(place)))
        if not sandbox.jail():
            print(WEAKER)
        used = {hand_in.course: known[hand_in.course] for hand_in in hand_ins if hand_in.course}
        book = grading.GradeBook(folder / "notenbuch.db", used)
        review = Review(known, book, workplace.resolve(), seconds, memory_mb)
        with ThreadPoolExecutor(parallel) as pool:
            examined = pool.map(review.examine, hand_ins)
            results = list(progress(examined, total=len(hand_ins), text="Durchsicht", unit="Abgaben"))
        after = precious_files(before)
        changed = [display_path(path) for path in before if before[path] != after.get(path)]
        page.write(results, known, folder, changed)
        write_json(folder / "herkunft.json", provenance())
    for name in ("durchsicht.csv", "durchsicht.html"):
        with atomic_file(target := output_dir() / name) as temporary:
            shutil.copyfile(output_dir() / "durchsicht" / name, temporary)
    if sentence := complaint(results):
        raise CourseError(f"{sentence} Die anderen stehen in {display_path(target)}.")
    return target


def complaint(results: list[Result]) -> str:
    """Ein Satz über die Abgaben ohne Wertung, die erste mit Grund; leer, wenn es keine gibt."""
    bad = [result.hand_in for result in results if result.points is None]
    if not bad:
        return ""
    reason = bad[0].notes[-1].rstrip(".")
    more = f" und {len(bad) - 1} weitere" if len(bad) > 1 else ""
    return (
        f"{len(bad)} von {len(results)} Abgaben sind nicht gewertet, nämlich {one_line(str(bad[0].path))} ({reason})"
        f"{more}: Sehen Sie sie noch einmal durch, oder lassen Sie sie noch einmal abgeben."
    )
