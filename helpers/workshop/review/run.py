"""Der Ablauf der Durchsicht: jede Abgabe vorbereiten, eingesperrt ausführen, beurteilen; am Ende die Übersicht."""

import secrets
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers.basics import (
    COURSE_NOTEBOOKS,
    INPUT,
    KERNEL_NAME,
    NOTEBOOKS,
    ROOT,
    CourseError,
    atomic_file,
    atomic_folder,
    display_path,
    output_dir,
    progress,
    scratch,
    sha256,
    write_json,
)
from helpers.checks import exercises
from helpers.checks.exercise import Verdict
from helpers.checks.handover import CASES_FILE, without_solutions
from helpers.inner.provenance import provenance
from helpers.workshop.notebooks import ANSWER, CHECK, KERNELSPEC, declared_parameters, execute, write_notebook
from helpers.workshop.review import grading, page, sandbox
from helpers.workshop.review.handins import HandIn, find, read, references

CELL_SECONDS = 30
WEAKER = (
    "Hinweis: Hier lässt sich kein eigener Raum bauen, die Abgaben laufen mit schwächerem Schutz (siehe README). "
    "Unter Linux hilft meist „sudo apt install bubblewrap“."
)
# Klein genug, um auch eine Abgabe ganz auszuführen, deren Antworten Variablen des Kurses benutzen.
SMALL = {"profil": "probe", "bilder": 2, "regeln": ["lrp.epsilon"], "verfahren": ["Grad-CAM", "Zufall", "leere Karte"]}
REASONS = {
    "": "",
    "zeit": "Nach {seconds:.0f} Sekunden abgebrochen.",
    "zelle": "Nach {cell} Sekunden abgebrochen.",
    "speicher": "Abgebrochen: mehr als {memory} MB Arbeitsspeicher.",
    "platte": "Abgebrochen: Die Platte lief voll.",
    "tot": "Der Kernel ist gestorben.",
}
FREE_BYTES = 500_000_000  # so viel brauchen Arbeitskopien und Ergebnisse von zwei Abgaben reichlich
FULL = "In {} fehlt Platz, die Durchsicht braucht 500 MB: Räumen Sie auf, oder setzen Sie TMPDIR und KURS_AUSGABE um."
NO_KERNEL = (
    "Im abgeschotteten Raum startet kein Kernel, es ist nichts gewertet: Führen Sie „python -m helpers doctor“ "
    "aus, und richten Sie den Kurs in einem Ordner ein, zu dem kein Verweis führt."
)


class Review:
    """Was alle Abgaben teilen: Kurs-Notebooks, geheime Eingaben, Notenbuch, vorbereitete Modelle."""

    def __init__(self, known: dict, book: grading.GradeBook, workplace: Path, seconds: float, memory_mb: int):
        """``workplace`` ist ein Ordner auf Zeit für alles Vorläufige."""
        self.known, self.book = known, book
        self.workplace, self.seconds, self.memory_mb = workplace, seconds, memory_mb
        # Eingaben, die niemand vorher kennt: Wer die Antworten auswendig einträgt, fällt auf.
        self.seeds = {number: secrets.randbits(64) for number in exercises()}
        self._prepared, self._lock, self._trainer = None, threading.Lock(), ThreadPoolExecutor(1)

    def examine(self, hand_in: HandIn) -> None:
        """Führt eine Abgabe aus und urteilt; was auch immer darin steht, am Ende steht eine Zeile."""
        if hand_in.course is None:
            return
        try:
            with self._lock:  # nbgraders Notenbuch ist eine Datei
                notebook = self.book.sanitize(hand_in)
            self._run(hand_in, notebook)
            # Scheitert etwas nur daran, dass eine Variable aus einer übersprungenen Zelle fehlt?
            reference, verdicts = self.known[hand_in.course], hand_in.verdicts
            if grading.needs_course(reference, [each.hint for each in verdicts.values()], hand_in.executed):
                hand_in.notes.append("Antworten benutzen Variablen des Kurses: Das ganze Notebook lief.")
                self._run(hand_in, notebook, everything=True)
            with self._lock:
                hand_in.points = self.book.enter(hand_in, verdicts)
        except Exception as error:  # eine Abgabe darf die anderen nie aufhalten
            kind = "" if isinstance(error, CourseError) else f"{type(error).__name__}: "
            hand_in.notes.append(f"Nicht gewertet: {kind}{str(error)[:300].rstrip('.')}.")
            hand_in.verdicts = {}

    def _run(self, hand_in: HandIn, notebook, everything: bool = False) -> None:
        """Führt die Abgabe aus; reißt eine Zelle alles mit, noch einmal ohne sie: Die anderen Aufgaben gelten."""
        left, out = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}, {}
        end = time.monotonic() + 2 * self.seconds
        while time.monotonic() < end:
            why, culprit = self._attempt(hand_in, notebook, everything, out)
            if why:
                hand_in.notes.append(f"{why} Ohne eine Zelle ging es weiter." if culprit in left else why)
            if culprit not in left:
                break
            out[culprit] = why, left.pop(culprit)
        for key, (why, cell) in out.items():
            hand_in.executed.append((grading.grade_id(cell), cell.source, [{"text": why, "error": True}]))
            for number, base in self.known[hand_in.course].exercises.items():
                if key in (base + ANSWER, base + CHECK) and not hand_in.verdicts[number].accepted:
                    hand_in.verdicts[number] = Verdict("falsch", (f"Die Antwort hielt alles an. {why}",))
        for number in [number for number, each in hand_in.verdicts.items() if each.status == "offen"]:
            hand_in.verdicts[number] = grading.attempted(number, self.known[hand_in.course], hand_in.executed)

    def _attempt(self, hand_in: HandIn, notebook, everything: bool, without) -> tuple[str, str]:
        """Führt die Abgabe eingesperrt aus und urteilt hier, wo der fremde Prozess nicht hinkommt.

        Ergibt, woran es scheiterte, und die id der Zelle, die dabei lief.
        """
        reference, before = self.known[hand_in.course], dict(hand_in.verdicts)
        names = declared_parameters(reference.learner) if everything else ()
        parameters = {name: SMALL[name] for name in names if name in SMALL}
        runnable = grading.runnable(notebook, reference, parameters, without)
        seconds = self.seconds * (2 if everything else 1)
        with scratch("abgabe", self.workplace) as folder:
            if everything:
                shutil.copytree(self.prepared(), folder / "ausgabe")
            reason = self._jailed(folder, runnable, seconds)
            if reason == "voll":
                raise CourseError(FULL.format(display_path(self.workplace.parent)))
            for number in reference.exercises:
                cases = exercises()[number].draw(self.seeds[number])
                places = [folder / name / f"{number}.json" for name in ("austausch", f"austausch{grading.AGAIN}")]
                hand_in.verdicts[number] = grading.verdict(number, cases, list(map(sandbox.read_result, places)))
            hand_in.verdicts |= {number: each for number, each in before.items() if each.accepted}
            hand_in.executed = page.outputs_of(runnable, sandbox.read_result(folder / "austausch" / "ergebnis.ipynb"))
            last = sandbox.read_result(folder / "austausch" / "zelle", limit=200) or ""
        limits = {"seconds": seconds, "cell": CELL_SECONDS, "memory": self.memory_mb}
        return REASONS[reason].format(**limits), last.removesuffix(grading.AGAIN) if reason else ""

    def _jailed(self, folder: Path, notebook, seconds: float) -> str:
        """Führt ``notebook`` in ``folder`` eingesperrt aus; ergibt, woran es scheiterte."""
        worker = furnish(folder, notebook, self.seeds)
        command = [sys.executable, str(worker), str(folder), str(CELL_SECONDS), str(self.memory_mb)]
        return sandbox.run(sandbox.jail(), command, folder, seconds, self.memory_mb)

    def rehearse(self) -> None:
        """Wirft CourseError, wenn hier nicht einmal ein leeres Notebook läuft: Daran ist dann keine Abgabe schuld."""
        from nbformat.v4 import new_notebook

        with scratch("probe", self.workplace) as folder:
            notebook = new_notebook(metadata={"kernelspec": dict(KERNELSPEC)})
            if self._jailed(folder, notebook, 300) not in ("", "voll"):
                raise CourseError(NO_KERNEL)

    def prepared(self) -> Path:
        """Wenige Bilder und zwei kleine Modelle, einmal für alle Abgaben gerechnet; die anderen laufen inzwischen."""
        with self._lock:
            self._prepared = self._prepared or self._trainer.submit(self._train)
        return self._prepared.result()

    def _train(self) -> Path:
        folder, source = self.workplace / "vorbereitet", NOTEBOOKS / f"{COURSE_NOTEBOOKS[2]}.ipynb"
        execute(source, folder / "03.ipynb", {"profil": SMALL["profil"]}, output=folder)
        return folder


def furnish(folder: Path, notebook, seeds: dict[str, int]) -> Path:
    """Richtet den Arbeitsordner ein: helpers ohne Lösungen, die Daten nur als Verweis, geheime Eingaben, der Kernel.

    Returns:
        Das Programm darin, das ``notebook`` ausführt.
    """
    course = folder / "kurs"
    shutil.copytree(ROOT / "helpers", course / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (course / "helpers" / "checks").glob("notebook_*.py"):
        path.write_text(without_solutions(path.read_text(encoding="utf-8")), encoding="utf-8")
    (course / "notebooks").mkdir()
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, course / name)
    (course / "input").symlink_to(INPUT.resolve())
    for name in ("austausch", f"austausch{grading.AGAIN}"):
        write_json(folder / name / CASES_FILE, seeds)
    kernel = folder / "jupyter" / "kernels" / KERNEL_NAME / "kernel.json"
    write_json(kernel, KERNELSPEC | {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]})
    write_notebook(folder / "abgabe.ipynb", notebook)
    return course / Path(__file__).with_name("worker.py").relative_to(ROOT)


def precious_files(paths) -> dict[Path, str]:
    """Prüfsummen der Dateien, die sich durch eine Durchsicht nicht ändern dürfen."""
    files = [*paths, *INPUT.glob("*.json")]
    for name in ("helpers", "solutions", "notebooks", "tests"):
        files += [path for path in (ROOT / name).rglob("*") if path.suffix != ".pyc"]
    return {path: sha256(path) for path in files if path.is_file() and not path.is_symlink()}


def review_hand_ins(paths, parallel: int = 2, seconds: float = 240, memory_mb: int = 4000) -> Path:
    """Sieht alle Abgaben durch und schreibt ``durchsicht.html`` und ``durchsicht.csv``, wenn alles gelaufen ist.

    Bis dahin bleibt eine frühere Durchsicht, wie sie war.

    Args:
        paths: Dateien oder Ordner.
        parallel: so viele Abgaben laufen gleichzeitig.
        seconds: Zeitgrenze je Lauf einer Abgabe; läuft das ganze Notebook, doppelt so lang.
        memory_mb: Grenze für den Arbeitsspeicher je Abgabe.

    Returns:
        Pfad von ``durchsicht.html``.

    Raises:
        CourseError: wenn es keine lesbare Abgabe oder zu wenig Platz gibt (dann bleibt die letzte Durchsicht), und am
            Ende, wenn einzelne nicht gewertet sind (die anderen sind durchgesehen und geschrieben).
    """
    known = references()
    with scratch("kurs-durchsicht") as workplace:
        found = find(paths, workplace)
        hand_ins = [read(name, path, known, refusal) for name, path, refusal in found]
        if not any(hand_in.course for hand_in in hand_ins):
            raise CourseError(complaint(hand_ins))
        before = precious_files([path for _, path, _ in found])
        with atomic_folder(output_dir() / "durchsicht") as folder:
            for place in (output_dir(), workplace.parent):
                if sandbox.is_full(place, FREE_BYTES):
                    raise CourseError(FULL.format(display_path(place)))
            if not sandbox.jail():
                print(WEAKER)
            used = {hand_in.course: known[hand_in.course] for hand_in in hand_ins if hand_in.course}
            book = grading.GradeBook(folder / "notenbuch.db", used)
            review = Review(known, book, workplace.resolve(), seconds, memory_mb)
            review.rehearse()
            with ThreadPoolExecutor(parallel) as pool:
                examined = pool.map(review.examine, hand_ins)
                list(progress(examined, total=len(hand_ins), text="Durchsicht", unit="Abgaben"))
            after = precious_files(before)
            changed = [display_path(path) for path in before if before[path] != after.get(path)]
            page.write(hand_ins, known, folder, changed)
            write_json(folder / "herkunft.json", provenance())
    for name in ("durchsicht.csv", "durchsicht.html"):
        with atomic_file(target := output_dir() / name) as temporary:
            shutil.copyfile(output_dir() / "durchsicht" / name, temporary)
    count, judged = len(hand_ins), len([each for each in hand_ins if each.points])
    legible = len([each for each in hand_ins if each.course])
    print(f"{count} Abgaben: {legible} gelesen, {judged} gewertet, {count - judged} nicht gewertet.")
    if sentence := complaint(hand_ins):
        raise CourseError(f"{sentence} Die anderen stehen in {display_path(target)}.")
    return target


def complaint(hand_ins: list[HandIn]) -> str:
    """Ein Satz über die Abgaben ohne Wertung, jede mit Grund; leer, wenn es keine gibt."""
    bad = [hand_in for hand_in in hand_ins if hand_in.points is None]
    if not bad:
        return ""
    reasons = [f"{each.name}{'.ipynb' * (each.path.suffix == '.ipynb')} ({each.notes[-1].rstrip('.')})" for each in bad]
    return (
        f"{len(bad)} von {len(hand_ins)} Abgaben sind nicht gewertet, nämlich {', '.join(reasons)}: "
        "Sehen Sie sie noch einmal durch, oder lassen Sie sie noch einmal abgeben."
    )
