"""Die Durchsicht: fremde Notebooks lesen, einsperren, beurteilen, auflisten."""

import base64
import copy
import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import handin_factory as factory
import psutil
import pytest
from no_network import reaches_out

from helpers import checks
from helpers.basics import INPUT, ROOT, SOLUTIONS, CourseError, sha256
from helpers.checks.exercise import Exercise, Verdict
from helpers.checks.handover import encode, without_solutions
from helpers.workshop.notebooks import as_text, derive, read_notebook
from helpers.workshop.review import grading, handins, namespaces, page, run, sandbox
from helpers.workshop.review.handins import ANSWER, HandIn, find, read, references

COURSE = factory.COURSE


@pytest.fixture(scope="module")
def known():
    return references()


@pytest.fixture(scope="module")
def book(known, tmp_path_factory):
    """nbgraders Notenbuch mit den Aufgaben von 01."""
    return grading.GradeBook(tmp_path_factory.mktemp("buch") / "notenbuch.db", {COURSE: known[COURSE]})


@pytest.fixture
def hand_in(tmp_path, known):
    """Schreibt ein Notebook unter fremdem Namen und liest es als Abgabe."""
    return lambda notebook: read("anna/01", factory.save(notebook, tmp_path / "Unbenannt (3).ipynb"), known)


@pytest.fixture
def runnable(hand_in, book, known):
    """Was von einem abgegebenen Notebook wirklich läuft."""
    return lambda notebook: grading.runnable(book.sanitize(hand_in(notebook)), known[COURSE])


# --- Finden, lesen, herrichten ---------------------------------------------------------------------------------------


def packed(files: dict[str, bytes]) -> bytes:
    """Ein ZIP mit diesen Dateien."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def deliveries() -> dict[str, tuple]:
    """Datei → (Inhalt, welche Einträge daraus werden: lesbar oder der Grund)."""
    good = as_text(factory.solved()).encode()
    several = packed({"Anna_1_file/01_Daten.ipynb": good, "../../raus.ipynb": good, "a/b.pdf": b"%"})
    readable = {"moodle.zip/Anna_1_file/01_Daten": "", "moodle.zip/raus": ""}
    return {
        "anna/01_Daten.ipynb": (good, {"anna/01_Daten": ""}),
        "anna/.ipynb_checkpoints/y.ipynb": (good, {}),
        "anna/00_Start.ipynb": (good, {}),
        "moodle.zip": (several, {**readable, "moodle.zip/a/b.pdf": "Kein lesbares"}),
        "Alle.ZIP": (packed({"bert.zip": packed({"01.ipynb": good})}), {"Alle.ZIP/bert.zip/01": ""}),
        "01_Daten.ipynb.txt": (good, {"01_Daten.ipynb.txt": ""}),
        "kaputt.zip": (several[:-9], {"kaputt.zip": "lässt sich nicht auspacken"}),
        "leer.ipynb": (b"", {"leer": "leer"}),
        "leerer Ordner": (None, {"leerer Ordner": "keine Abgabe"}),
    }


def test_nothing_that_was_delivered_vanishes(tmp_path, known):
    """Archive, fremde Endungen, leere Ordner: gelesen oder eine Zeile mit dem Grund; nichts landet außerhalb."""
    first, second, unpacked = tmp_path / "abgaben", tmp_path / "später", tmp_path / "tief" / "aus"
    factory.save(factory.solved(only=[]), second / "anna" / "01_Daten.ipynb")
    unpacked.mkdir(parents=True)
    expected = {"anna/01_Daten (2)": "", "verweis": "keine gewöhnliche Datei"}
    for name, (content, entries) in deliveries().items():
        path = first / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.mkdir() if content is None else path.write_bytes(content)
        expected |= entries
    (first / "verweis.ipynb").symlink_to(first / "anna" / "01_Daten.ipynb")
    found = [read(name, path, known, refusal) for name, path, refusal in find([first, second], unpacked)]
    assert {each.name for each in found} == set(expected) and not (tmp_path / "raus.ipynb").exists()
    for each in found:
        assert (each.course == COURSE) is (expected[each.name] == ""), each
        assert expected[each.name] in " ".join(each.notes), each


def foreign(data: dict) -> dict:
    """In ein anderes Programm kopiert: eigene ids, keine Angaben für nbgrader."""
    for number, cell in enumerate(data["cells"]):
        cell.update(id=f"x{number}", metadata={"id": "colab"})
    return data


def rewritten(data: dict) -> dict:
    """Ohne ids, Texte und Prüfzellen: Nur die Namen der Antworten sind geblieben."""
    cells = foreign(data)["cells"]
    return {"cells": [each for each in cells if each["cell_type"] == "code" and "def " in "".join(each["source"])]}


def with_pictures(data: dict) -> dict:
    next(cell for cell in data["cells"] if cell["cell_type"] == "code")["outputs"] = [{"data": "A" * 26_000_000}]
    pasted = {"cell_type": "markdown", "source": "![](data:image/png;base64," + "A" * 3_000_000}
    return {**data, "cells": [*data["cells"], pasted]}


@pytest.mark.parametrize(
    "form",
    [
        lambda data: json.dumps(data).encode("utf-16"),
        lambda data: json.dumps(data, ensure_ascii=False).encode("cp1252", "replace"),
        foreign,
        rewritten,
        with_pictures,
    ],
    ids=["UTF-16", "Windows", "keine ids", "nur Namen", "große Bilder"],
)
def test_a_solved_notebook_is_read_whatever_another_program_made_of_it(form, tmp_path, known):
    """Kodierung, Größe, fehlende Kennungen: Jede Antwort kommt an."""
    data, path = form(json.loads(as_text(factory.solved()))), tmp_path / "a.ipynb"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    found = read("a", path, known)
    assert found.course == COURSE and found.notes == []
    answers = {key: source for _, source, key in found.cells if key.endswith(ANSWER)}
    for key, source in factory.solution_cells(COURSE).items():
        lines = [line for line in source.splitlines() if line.isascii()]  # nicht jede Kodierung kennt „→“
        assert [line for line in answers[key].splitlines() if line in lines] == lines


ONE = {"cell_type": "code", "id": "y", "metadata": {}, "source": "1"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"cells": [ONE] * 6000}, "Mehr als 5000 Zellen"),
        ({"cells": [ONE]}, "Gehört zu keinem Notebook"),
        ({"cells": list(range(6_000_000))}, "Größer als"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_true_reason(data, reason, tmp_path, known):
    (tmp_path / "a.ipynb").write_text(json.dumps(data))
    assert reason in read("a", tmp_path / "a.ipynb", known).notes[0]


@pytest.mark.parametrize(
    ("make", "notes", "own"),
    [
        (factory.solved, [], 0),
        (factory.reordered, [], 0),
        (factory.without_metadata, [], 0),
        (factory.as_in_lab, [], 4),
        (factory.cheating, ["Eine Zelle benutzt helpers.checks: In der Durchsicht gibt es dort keine Lösungen."], 3),
        (lambda: factory.stripped(2), ["Es fehlt die Zelle zu Aufgabe 1.2."], 0),
        (factory.doubled, ["Mehrere Zellen zu Aufgabe 1.1: Alle liefen, gezeigt ist die letzte."], 1),
    ],
)
def test_whatever_is_handed_in_runs_and_every_true_check_once_more_at_the_end(
    make, notes, own, hand_in, runnable, known
):
    """Eigene Zellen laufen alle; Zellen des Kurses, die niemand verändert hat, nicht: So wird nicht neu gerechnet."""
    found, cells = hand_in(make()), runnable(make()).cells
    assert found.course == COURSE and found.notes == notes
    assert 'start("01_Daten")' in cells[1].source and "import numpy as np" in cells[2].source
    checks = [cell for cell in cells if "strict=True" in cell.source]
    assert len(checks) == 10 and checks[5:] == cells[-5:]
    for cell in checks:
        assert cell.source == known[COURSE].source(cell.id.removesuffix(grading.AGAIN))
    assert len([cell for cell in cells[4:-6] if not grading.grade_id(cell)]) == own


def test_names_that_differ_in_signs_only_are_different_students(hand_in, book, known):
    from nbgrader.api import Gradebook

    found, verdicts = hand_in(factory.solved()), dict.fromkeys(known[COURSE].exercises, Verdict("offen"))
    persons = ["15 Anna Maria", "15-Anna-Maria", "15_Anna_Maria", "Zoë", "Zoe\u0308", "a/b", "a%2Fb", "A/b"]
    for found.name in persons:
        book.enter(found, verdicts)
    with Gradebook(book.url) as stored:
        assert len(stored.students) == len(persons)


def test_no_solution_travels_into_the_jail(tmp_path):
    """In der Kopie von helpers.checks hat jede Aufgabe ihre Eingaben, aber weder Lösung noch Hinweis."""
    for path in sorted((ROOT / "helpers" / "checks").glob("notebook_*.py")):
        original, stripped = {}, {"__name__": path.stem}
        source = path.read_text(encoding="utf-8")
        exec(source, original)
        exec(without_solutions(source), stripped)
        exercises = {name: each for name, each in original.items() if isinstance(each, Exercise)}
        assert exercises
        for name, ours in exercises.items():
            theirs = stripped[name]
            assert (theirs.number, theirs.name, theirs.is_value) == (ours.number, ours.name, ours.is_value)
            assert theirs.solve is None and theirs.hints == () and theirs.form is None
            assert theirs.name not in stripped and len(theirs.draw(3)) == len(ours.draw(3))


@pytest.mark.parametrize("text", [None, '"gelöst"', "[" * 100_000, '[{"wert": {"zahl": 1}}]', '{"cells": [{}]}'])
def test_forged_results_and_outputs_do_not_matter(text, runnable):
    exercise = run.exercises()["1.1"]
    cases = exercise.draw(1)
    assert grading.verdict("1.1", cases, [text, None]).status == "falsch"
    # Was die zweite Prüfung findet, gilt trotzdem.
    right = [{"wert": encode(exercise.solve(*args)), "fehler": "", "geändert": False} for args in cases]
    assert grading.verdict("1.1", cases, [text, json.dumps(right)]).accepted
    notebook = runnable(factory.solved())
    assert [outputs for _, _, outputs in page.outputs_of(notebook, text)] == [[]] * len(notebook.cells)


# --- Einsperren ------------------------------------------------------------------------------------------------------


WAYS = {way.__name__: way for way in (sandbox.bubblewrap, sandbox.unshare)}
# Gibt es hier das Werkzeug, dann muss der Raum auch halten: Übersprungen wird nur, wo das Betriebssystem es verwehrt.
TOOLS = {
    "bubblewrap": "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true".split(),
    "unshare": [*namespaces.UNSHARE, *"mount -t proc proc /proc".split()],
}


def works(command) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True).returncode


JAILS = [
    pytest.param(WAYS[name], marks=pytest.mark.skipif(not works(command), reason=f"{command[0]} geht hier nicht"))
    for name, command in TOOLS.items()
]
in_every_jail = pytest.mark.parametrize("way", JAILS, ids=WAYS)
with_any_protection = pytest.mark.parametrize("way", [*JAILS, None], ids=[*WAYS, "ohne eigenen Raum"])
ENDLESS = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"  # nicht zu unterbrechen
SAY = "open('austausch/text', 'w').write({})"


def attempt(way, folder: Path, code: str, seconds=60, memory_mb=2000, python=sys.executable):
    """Führt Python eingesperrt aus; ergibt (woran es scheiterte, was es nach austausch/text schrieb)."""
    folder.mkdir(exist_ok=True)
    reason = sandbox.run(way, [str(python), "-I", "-c", code], folder.resolve(), seconds, memory_mb)
    return reason, sandbox.read_result(folder / "austausch" / "text")


@with_any_protection
def test_nothing_from_the_instructor_gets_in_and_time_memory_and_disk_are_limited(tmp_path, monkeypatch, way):
    for name in ("MY_SECRET_TOKEN", "SSH_AUTH_SOCK", "PYTHONSTARTUP", "JUPYTER_TOKEN"):
        monkeypatch.setenv(name, "geheim")
    own = str(tmp_path)  # damit kein zweiter Testlauf auf derselben Maschine mitzählt
    family = f"""
import os, subprocess, sys
for _ in range(3): subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", {own!r}])
{SAY.format("repr(dict(os.environ))")}
"""
    begun = time.monotonic()
    reason, text = attempt(way, tmp_path / "a", family + ENDLESS, seconds=4)
    assert reason == "zeit" and time.monotonic() - begun < 60
    assert own in text and "geheim" not in text and str(Path.home()) + "'" not in text
    left = [each for each in psutil.process_iter(["cmdline", "status"]) if own in (each.info["cmdline"] or [])]
    assert {each.info["status"] for each in left} <= {psutil.STATUS_ZOMBIE}, "die Kinder leben noch"
    greedy = "x = bytearray(400_000_000)\nwhile True: pass"
    assert attempt(way, tmp_path / "b", greedy, memory_mb=200)[0] == "speicher"
    assert attempt(way, tmp_path / "c", "import os; os._exit(3)")[0] == "tot"
    monkeypatch.setattr(sandbox, "MAX_DISK_BYTES", 1_000_000)
    for place in ("voll", "/tmp/voll") if way else ("voll",):
        code = f"open({place!r}, 'wb').write(bytes(3_000_000))\nwhile True: pass"
        assert attempt(way, tmp_path / "d", code)[0] == "platte"
    monkeypatch.setattr(sandbox, "MIN_FREE_BYTES", 10**18)
    assert attempt(way, tmp_path / "e", "while True: pass")[0] == "voll"


@in_every_jail
def test_nothing_outside_can_be_seen_or_changed(tmp_path, way):
    victim, new = tmp_path / "punkte.txt", Path(sys.prefix) / "neu-aus-dem-test"
    victim.write_text("unverändert")
    hidden = [str(SOLUTIONS), str(Path.home() / ".ssh"), str(victim), *"/etc/passwd /etc/shadow /etc/group".split()]
    code = f"""
import json, os, socket
log = {{"sieht": [path for path in {hidden!r} if os.path.exists(path)]}}
for path in {[str(victim), str(new), "/usr/neu", "/neu"]!r}:
    try:
        open(path, "a").write("x")
        log[path] = "geschrieben"
    except OSError as error:
        log[path] = type(error).__name__
log["mount"] = os.system("mount -o remount,rw /usr 2>/dev/null") != 0
log["prozesse"] = sum(name.isdigit() for name in os.listdir("/proc"))
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError as error:
    log["netz"] = error.errno
os.symlink({str(victim)!r}, "probe")  # in der Hoffnung, dass draußen jemand durch den Verweis schreibt
"""
    try:
        reason, text = attempt(way, tmp_path / "a", code + SAY.format("json.dumps(log)"))
        assert not new.exists() and victim.read_text() == "unverändert"
    finally:
        new.unlink(missing_ok=True)
    log = json.loads(text)
    assert reason == "" and log["sieht"] == [] and log["mount"] and log["prozesse"] < 10
    assert log["netz"] == errno.ENETUNREACH and "geschrieben" not in (log[str(new)], log["/usr/neu"])


@in_every_jail
def test_python_behind_a_link_is_found(tmp_path, monkeypatch, way):
    """Kursordner oder .venv über Verweise, auch mehrere hintereinander: Jede Station gibt es auch im Raum."""
    station = tmp_path / "b" / Path(sys.prefix).name
    (tmp_path / "b").symlink_to(Path(sys.prefix).parent)
    (tmp_path / "Station").symlink_to(station)
    (tmp_path / "Verweis zum venv").symlink_to("Station")
    (tmp_path / "Verweis zur Eingabe").symlink_to(INPUT)
    monkeypatch.setattr(sandbox.sys, "prefix", str(tmp_path / "Verweis zum venv"))
    monkeypatch.setattr(sandbox, "INPUT", tmp_path / "Verweis zur Eingabe")
    places = [str(sandbox.INPUT), str(tmp_path / "Station"), str(station)]
    code = "import nbformat, os, sys\n" + SAY.format(f"repr([sys.prefix, *map(os.path.exists, {places!r})])")
    found = attempt(way, tmp_path / "a", code, python=Path(sandbox.sys.prefix) / "bin" / "python")
    assert found == ("", repr([sandbox.sys.prefix, True, True, True]))


# In einem eigenen Namensraum, damit der Test selbst etwas einhängen darf, unter einem Pfad mit Leerzeichen. Gibt als
# JSON aus, was geschah.
ODD_PLACE = r"""
import json, os, subprocess, sys, tempfile
from pathlib import Path
from helpers.workshop.review import sandbox
top, way = Path(sys.argv[1]) / "Mein Kurs", getattr(sandbox, sys.argv[2])
mounted, folder = top / "input" / "unter halb", top / "Abgabe 1"
sandbox.INPUT, tempfile.tempdir = top / "input", str(top)
mounted.mkdir(parents=True)
folder.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mounted)], check=True)
(mounted / "da").write_text("lesbar")
code = f"import os; os.chdir({str(mounted)!r}); assert open('da').read() == 'lesbar'\n"
code += f"try: open('neu', 'w')\nexcept OSError as error: open({str(folder / 'fehler')!r}, 'w').write(str(error.errno))"
held = sandbox.holds(way)
sandbox.run(way, [sys.executable, "-I", "-c", code], folder, 30, 2000)
print(json.dumps([held, (folder / "fehler").read_text(), os.listdir(mounted)]))
"""


@in_every_jail
def test_mounts_below_a_path_with_blanks_are_read_only(tmp_path, way):
    command = ["unshare", "-rm", sys.executable, "-c", ODD_PLACE, str(tmp_path), way.__name__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, str(errno.EROFS), ["da"]]


def weakened(*options):
    """bubblewrap mit einem Loch."""

    def way(folder, command):
        built = sandbox.bubblewrap(folder, command)
        place = built.index("--remount-ro")
        return [*built[:place], *options, *built[place:]]

    return way


def test_a_jail_that_does_not_hold_is_not_used():
    """Gegenprobe zur Probe: Wer draußen etwas sieht, schreiben kann oder ins Netz kommt, gilt nicht als eingesperrt."""
    assert not sandbox.holds(lambda folder, command: command)
    assert not sandbox.holds(lambda folder, command: ["gibt-es-nicht"])
    if not works(TOOLS["bubblewrap"]):
        pytest.skip("Ohne bubblewrap lassen sich keine Löcher hineinbohren.")
    assert sandbox.holds(weakened())
    holes = [("--ro-bind", str(ROOT), str(ROOT)), ("--bind", sys.prefix, sys.prefix)]
    for hole in [*holes, ("--share-net",)] if reaches_out() else holes:
        assert not sandbox.holds(weakened(*hole)), hole


def test_results_are_read_with_distrust(tmp_path):
    good = tmp_path / "gut"
    good.write_text("äß")
    (tmp_path / "verweis").symlink_to(good)
    (tmp_path / "verweis darüber").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "rohr")
    (tmp_path / "ordner").mkdir()
    assert sandbox.read_result(good) == "äß" and sandbox.read_result(good, limit=1) is None
    for name in ("verweis", "verweis darüber/gut", "rohr", "ordner", "weg"):
        assert sandbox.read_result(tmp_path / name) is None, name


# --- Anzeigen --------------------------------------------------------------------------------------------------------


def table(path: Path) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return {row["Abgabe"]: row for row in csv.DictReader(file, delimiter=";")}


def test_foreign_text_is_escaped_and_foreign_html_dropped(tmp_path, hand_in, runnable, known):
    notebook = factory.answer(factory.solved(), 1, "# <script>alert(1)</script>")
    found, notebook = hand_in(notebook), runnable(notebook)
    found.name, found.notes = "=1+1<script>", ["<b>Bemerkung \ud800"]  # ein halbes Zeichen hielte sonst alles an
    executed = json.loads(json.dumps(notebook))
    executed["cells"][3]["outputs"] = [
        {"output_type": "display_data", "data": {"text/html": "<b>fremd</b>", "image/png": "kein Bild"}},
        {"output_type": "stream", "name": "stdout", "text": "<img src=x onerror=alert(1)>"},
        {"output_type": "error", "ename": "<i>", "evalue": "x", "traceback": ["\u001b[0m"]},
    ]
    found.verdicts, found.points = {"1.1": Verdict("falsch", ("<u>Hinweis</u>",))}, {"1.1": 0.0}
    found.executed = page.outputs_of(notebook, json.dumps(executed))
    page.write([found], known, tmp_path / "aus" / "durchsicht", ["solutions/01_Daten.ipynb"])
    overview = (tmp_path / "aus" / "durchsicht" / "durchsicht.html").read_text(encoding="utf-8")
    shown = (tmp_path / "aus" / found.page).read_text(encoding="utf-8")
    for text in (overview, shown):
        assert not [tag for tag in ("<script", "<img src=x", "<b>", "<i>:", "<u>") if tag in text]
        assert "default-src 'none'" in text
    assert "&lt;img src=x" in shown and "Achtung" in overview and found.page in overview
    assert "number = int(name.removeprefix" in shown
    row = table(tmp_path / "aus" / "durchsicht" / "durchsicht.csv")["'=1+1<script>"]
    assert (row["1.1"], row["1.2"], row["Hinweise"]) == ("0", "", "1.1: <u>Hinweis</u>")


def test_only_used_columns_one_total_per_person_and_remarks_beside_the_name(tmp_path, known):
    """Fünf Notebooks einer Person sind eine Summe; wer nur 01 bekam, sieht keine Spalten der anderen."""

    def result(name, course, points):
        numbers = known[course].exercises if course else ()
        found = HandIn(name, tmp_path / "x", course, notes=["Bemerkung"])
        found.verdicts = {number: Verdict("gelöst") for number in numbers}
        found.points = points and dict.fromkeys(numbers, points)
        return found

    def written(name, *results):
        page.write(results, known, tmp_path / name / "durchsicht", [])
        return table(tmp_path / name / "durchsicht" / "durchsicht.csv")

    alone = [result("anna/01_Daten", COURSE, 1.0), result("kaputt", None, None)]
    rows = written("a", *alone)
    columns = "Abgabe Bemerkungen Notebook 1.1 1.2 1.3 1.4 1.5 Punkte von Zusammen Hinweise".split()
    assert list(rows["anna/01_Daten"]) == columns
    assert rows["anna/01_Daten"]["Zusammen"] == "" and rows["kaputt"]["Punkte"] == "nicht gewertet"
    more = [
        *(result(f"{name}/02_VGG16", "02_VGG16", 1.5) for name in ("anna", "bert")),
        *(result(name, COURSE, points) for name, points in (("anna/01-daten", 2.0), ("bert_1/01_Daten", 1.0))),
        *(result(f"01_Daten_{name}", COURSE, 1.0) for name in ("cleo", "dora")),
        result("02_VGG16_cleo", "02_VGG16", None),
    ]
    totals = {name: row["Zusammen"] for name, row in written("b", *alone, *more).items() if row["Zusammen"]}
    two = sum(known["02_VGG16"].points(number) for number in known["02_VGG16"].exercises)
    assert totals == {
        "anna/01_Daten": f"17,5 von {10 + two}",  # die bessere der beiden zu 01
        "01_Daten_cleo": "5 von 10",
    }


@pytest.mark.parametrize(
    "outputs",
    [
        [{"output_type": "stream", "text": "x" * 9_000_000}],
        [{"output_type": "stream", "text": f"Zeile {n}"} for n in range(100_000)],
        [{"data": {"image/png": base64.b64encode(b"\x89PNG" + bytes(400_000)).decode()}}] * 20,
    ],
)
def test_long_output_is_cut_and_says_so(outputs, runnable):
    notebook = runnable(factory.solved())
    data = json.loads(json.dumps(notebook))
    for cell in data["cells"][:2]:
        cell["outputs"] = outputs
    shown = page.outputs_of(notebook, json.dumps(data))
    assert len(str(shown)) < page.MAX_PAGE + 1_000_000 and "gekürzt" in str(shown[0])
    assert all(len(each) <= page.MAX_OUTPUTS + 1 for *_, each in shown)


# --- Alles zusammen --------------------------------------------------------------------------------------------------


PRECIOUS = (SOLUTIONS / "ergebnis.png", ROOT / "helpers" / "basics.py")


def answered(number: int, source: str):
    """Ein gelöstes Notebook, in dem diese Aufgabe anders beantwortet ist."""
    return factory.answer(factory.solved(), number, source)


COMMANDS = """import subprocess, sys
subprocess.run([sys.executable, '-m', 'pip', 'install', 'gibtsnicht'])
files = !ls
%matplotlib inline
"""
# Name → (Abgabe, Aufgaben ohne Punkte, was in der Zeile steht)
HAND_INS = {
    "gerd": (
        lambda: factory.inserted(factory.as_in_lab(), factory.VANDAL.format(targets=[*map(str, PRECIOUS)])),
        "",
        "",
    ),
    "emil/fälscht": (factory.cheating, "1.1 1.2 1.3 1.4 1.5", "keine Lösungen"),
    "uwe/Versuche": (factory.attempts, "1.1 1.2 1.3 1.4 1.5", "„nearest_templates“, verlangt"),
    "bert/meine Lösung": (lambda: answered(1, factory.WRONG), "1.1", "um ein Pixel"),
    "carla/umgestellt": (factory.reordered, "", ""),
    "dora/ohne Metadaten": (factory.without_metadata, "", ""),
    "hans/ungelöst": (lambda: factory.solved(only=[]), "1.1 1.2 1.3 1.4 1.5", "noch nicht bearbeitet"),
    "ida/gelöscht": (lambda: factory.stripped(2), "1.2", "Es fehlt die Zelle zu Aufgabe 1.2"),
    "jan/Signal": (
        lambda: answered(2, "def nearest_template(*args):\n    import os; os.kill(os.getpid(), 9)"),
        "1.2",
        "Der Kernel ist gestorben",
    ),
    "lea/gierig": (
        lambda: answered(1, "hoard = []\nwhile True: hoard.append(bytearray(50_000_000))"),
        "1.1",
        "Die Antwort hielt alles an",
    ),
    "nils/endlos": (
        lambda: factory.inserted(factory.solved(), "while True: pass"),
        "",
        "Ohne eine Zelle",
    ),
    "olga/leise": (lambda: answered(1, "import numpy as np\n%%time\n"), "1.1", "bricht ab"),
    "pia/Befehle": (lambda: answered(1, COMMANDS + factory.solution_cells(COURSE)["01-aufgabe-1-loesung"]), "", ""),
    "quin/überschreibt": (
        lambda: factory.inserted(factory.solved(), "stratified_split = poison = 3", place=-1),
        "",
        "",
    ),
    "vera/Variablen": (lambda: answered(1, factory.USES_COURSE_VARIABLES), "", "Das ganze Notebook lief"),
}
ALL = pytest.param(len(HAND_INS), marks=[pytest.mark.alles, pytest.mark.langsam, pytest.mark.timeout(1800)])


@pytest.mark.skipif(not sandbox.jail(), reason="Hier gibt es keinen eigenen Raum.")
@pytest.mark.parametrize("count", [3, ALL])
def test_a_class_is_reviewed_and_nobody_breaks_out_or_gets_false_points(
    count, tmp_path, ausgabe, known, monkeypatch, capsys
):
    """Was in JupyterLab ein ✔ ergibt, ergibt Punkte; was alles mitreißt, kostet nur seine Aufgabe."""
    monkeypatch.setenv("MY_SECRET", "geheim")
    before, chosen = [sha256(path) for path in PRECIOUS], dict(list(HAND_INS.items())[:count])
    for name, (make, *_) in chosen.items():
        factory.save(make(), tmp_path / "abgaben" / f"{name}.ipynb")
    (tmp_path / "abgaben" / "kaputt.ipynb").write_text("{")
    (tmp_path / "abgaben" / "leer").mkdir()
    refused = r"kaputt\.ipynb \(Kein lesbares.*\), leer \(Der Ordner enthält keine Abgabe\).*Die anderen stehen in"
    with pytest.raises(CourseError, match=rf"2 von {count + 2} Abgaben.*{refused}"):
        run.review_hand_ins([tmp_path / "abgaben"])
    assert f"{count + 2} Abgaben: {count} gelesen, {count} gewertet, 2 nicht gewertet." in capsys.readouterr().out
    rows = table(ausgabe / "durchsicht.csv")
    for name, (_, lost, says) in chosen.items():
        points = sum(known[COURSE].points(number) for number in known[COURSE].exercises if number not in lost)
        assert rows[name]["Punkte"] == str(points) and says in str(rows[name]), rows[name]
        assert ("Das ganze Notebook lief" in str(rows[name])) == (name == "vera/Variablen"), "ein Lauf mit Training"
    tries = ("U+201C", "„nearest_templates“, ", "Die Zelle ist bearbeitet, ", "expected ':'", "noch nicht bearbeitet")
    for says in tries:
        assert says in rows["uwe/Versuche"]["Hinweise"]
    assert rows["kaputt"]["Punkte"] == rows["leer"]["Punkte"] == "nicht gewertet"
    assert [sha256(path) for path in PRECIOUS] == before
    html = (ausgabe / "durchsicht.html").read_text(encoding="utf-8")
    assert "Achtung" not in html and html.count('<a href="durchsicht/') == count


def test_a_machine_that_fails_costs_nobody_points(tmp_path, ausgabe, known, monkeypatch):
    """Startet kein Kernel oder ist der Datenträger voll, dann ist nichts gewertet, und das steht überall."""
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    monkeypatch.setattr(run, "references", lambda: known)

    def refused(match):
        with pytest.raises(CourseError, match=match):
            run.review_hand_ins([tmp_path / "abgaben"])

    monkeypatch.setattr(sandbox, "run", lambda *args: "tot")
    refused(r"startet kein Kernel, es ist nichts gewertet.*doctor")
    assert not (ausgabe / "durchsicht.csv").exists()
    monkeypatch.setattr(sandbox, "run", lambda *args: "voll")
    refused(r"1 von 1 Abgaben sind nicht gewertet.*Räumen Sie auf.*noch einmal")
    row = table(ausgabe / "durchsicht.csv")["anna"]
    assert row["Punkte"] == "nicht gewertet" and row["1.1"] == "" and "Nicht gewertet" in row["Bemerkungen"]
    pages = [ausgabe / "durchsicht.html", *(ausgabe / "durchsicht").glob("001*.html")]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    assert len(texts) == 2 and all("nicht gewertet" in text and "0 von" not in text for text in texts)
    monkeypatch.setattr(run, "FREE_BYTES", 10**18)
    refused("fehlt Platz, die Durchsicht braucht .*TMPDIR")
    assert table(ausgabe / "durchsicht.csv")["anna"] == row, "die frühere Durchsicht bleibt"


# --- Eine Aufgabe ergänzen -------------------------------------------------------------------------------------------


@pytest.fixture
def with_new_exercise(tmp_path):
    """solutions/ mit einer Aufgabe 1.6, so in JupyterLab angelegt: Alle ids sind zufällig."""
    path = tmp_path / "solutions" / f"{COURSE}.ipynb"
    path.parent.mkdir()
    data = json.loads((SOLUTIONS / path.name).read_text(encoding="utf-8"))
    cells = [copy.deepcopy(cell) for cell in data["cells"] if "aufgabe-2" in cell["id"]]
    for number, cell in enumerate(cells):
        cell["id"] = f"zufall{number}"
        cell["source"] = "".join(cell["source"]).replace("1.2", "1.6").replace("nearest_template", "sixth")
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] = cell["metadata"]["nbgrader"]["grade_id"].replace("-2-", "-6-")
    data["cells"] += cells

    def write(change=lambda cells: None):
        change(data["cells"][-3:])
        path.write_text(json.dumps(data), encoding="utf-8")
        return {"solutions_dir": tmp_path / "solutions", "notebooks_dir": tmp_path / "notebooks"}

    return write


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda cells: cells[1]["metadata"]["nbgrader"].update(grade_id="cell-5f3a"), "„cell-5f3a“ eine grade_id wie"),
        (lambda cells: None, "Aufgabe 1.6 in helpers/checks/notebook_01.py"),
        (
            lambda cells: [cell.update(source='check("1.6")', metadata={}) for cell in cells[1:]],
            'Zelle mit check("1.6") unter „nbgrader“ die grade_id „01-aufgabe-6-pruefung“',
        ),
    ],
)
def test_derivation_says_what_a_new_exercise_lacks(change, says, with_new_exercise):
    with pytest.raises(CourseError) as caught:
        derive(**with_new_exercise(change))
    assert says in str(caught.value) and "01_Daten.ipynb" in str(caught.value)


def test_an_exercise_made_in_jupyterlab_is_reviewed(with_new_exercise, monkeypatch, tmp_path):
    """Zufällige ids der Zellen stören nicht: Punkte, Titel, Antwort und Prüfung werden gefunden."""
    exercise = Exercise("1.6", "sixth", "", run.exercises()["1.2"].cases)
    every = run.exercises() | {"1.6": exercise}
    monkeypatch.setattr(checks, "exercises", lambda: every)
    monkeypatch.setattr(handins, "exercises", checks.exercises)
    folders = with_new_exercise()
    derive(**folders)
    monkeypatch.setattr(handins, "SOLUTIONS", folders["solutions_dir"])
    monkeypatch.setattr(handins, "COURSE_NOTEBOOKS", (COURSE,))
    found = references()
    book = grading.GradeBook(tmp_path / "notenbuch.db", {COURSE: found[COURSE]})
    learner = read_notebook(folders["notebooks_dir"] / f"{COURSE}.ipynb")
    learner.cells[-2].source = "def sixth(images, templates):\n    return 1"
    hand_in = read("a", factory.save(learner, tmp_path / "a.ipynb"), found)
    assert hand_in.course == COURSE and hand_in.notes == []
    verdicts = {number: Verdict("gelöst" if number == "1.6" else "offen") for number in found[COURSE].exercises}
    assert book.enter(hand_in, verdicts)["1.6"] == found[COURSE].points("1.6") == 2
    runnable = grading.runnable(book.sanitize(hand_in), found[COURSE])
    assert [cell.id for cell in runnable.cells].count("01-aufgabe-6-loesung") == 1
    hand_in.verdicts, hand_in.points = verdicts, {"1.6": 2.0}
    page.write([hand_in], found, tmp_path / "durchsicht", [])
    assert "Aufgabe 1.6" in next((tmp_path / "durchsicht").glob("001*")).read_text(encoding="utf-8")
