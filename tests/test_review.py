"""Die Durchsicht: fremde Notebooks lesen, einsperren, beurteilen, auflisten."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import handin_factory as factory
import psutil
import pytest
from no_network import reaches_out

from helpers.basics import INPUT, ROOT, SOLUTIONS, CourseError, sha256
from helpers.checks.exercise import Verdict
from helpers.workshop.review import grading, namespaces, page, run, sandbox
from helpers.workshop.review.handins import ANSWER, CHECK, find, read, references

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
    return lambda notebook, *more: grading.runnable(book.sanitize(hand_in(notebook)), known[COURSE], *more)


# --- Finden, lesen, herrichten ---------------------------------------------------------------------------------------


def test_hand_ins_are_found_in_folders_and_as_files_but_links_are_not_followed(tmp_path, known):
    skipped = (".verborgen/x.ipynb", "anna/.ipynb_checkpoints/y.ipynb", "anna/00_Start.ipynb")
    for name in ("anna/01_Daten.ipynb", "bert/01_Daten.ipynb", *skipped):
        factory.save(factory.solved(only=[]), tmp_path / "a" / name)
    single = factory.save(factory.solved(only=[]), tmp_path / "b" / "anna" / "01_Daten.ipynb")
    names = [name for name, _ in find([tmp_path / "a", tmp_path / "b", single])]
    assert names == ["anna/01_Daten", "bert/01_Daten", "anna/01_Daten (2)", "01_Daten"]
    (tmp_path / "verweis.ipynb").symlink_to(single)
    assert "keine gewöhnliche Datei" in read("v", tmp_path / "verweis.ipynb", known).notes[0]


@pytest.mark.parametrize(
    ("make", "notes"),
    [
        (factory.solved, []),
        (factory.reordered, []),
        (factory.without_metadata, []),
        (factory.cheating, []),
        (lambda: factory.stripped(2), ["Es fehlt die Zelle zu Aufgabe 1.2."]),
        (factory.doubled, ["Mehrere Zellen zu Aufgabe 1.1: Es zählt die letzte."]),
    ],
)
def test_whatever_is_handed_in_every_true_check_runs_right_after_its_answer(make, notes, hand_in, runnable, known):
    made, bases = make(), known[COURSE].exercises.values()
    found, notebook = hand_in(made), runnable(made)
    assert found.course == COURSE and found.notes == notes
    opening = [cell.source for cell in notebook.cells[:3]]
    assert 'start("01_Daten")' in opening[0] and "import numpy as np" in opening[1] and "profil" in opening[2]
    keyed = [cell for cell in notebook.cells if grading.grade_id(cell)]
    keys = [grading.grade_id(cell) for cell in keyed]
    assert sorted(keys[::2]) == sorted(base + ANSWER for base in bases)
    assert [key.replace(ANSWER, CHECK) for key in keys[::2]] == keys[1::2]
    for cell in keyed[1::2]:
        assert cell.source == known[COURSE].source(grading.grade_id(cell)) and "strict=True" in cell.source
        assert cell.metadata["nbgrader"]["points"] <= 3
    # Kurszellen, die niemand verändert hat, laufen nicht: So wird nicht neu gerechnet.
    own = [cell.source for cell in notebook.cells[3:] if not grading.grade_id(cell)]
    assert own == {factory.cheating: [factory.OVERRIDE, factory.FORGE], factory.doubled: [factory.WRONG]}.get(make, [])


def test_answers_that_need_course_variables_can_run_with_everything(runnable):
    everything = runnable(factory.solved(), {"profil": "schnell"})
    assert len(everything.cells) > 2 * 13
    assert everything.cells[3].source == "profil = 'schnell'"


def test_points_come_from_nbgraders_gradebook(hand_in, book, known):
    full = {number: known[COURSE].points(number) for number in known[COURSE].exercises}
    verdicts = {number: Verdict("gelöst") for number in full}
    verdicts |= {"1.2": Verdict("falsch", ("Hinweis",)), "1.4": Verdict("offen")}
    assert book.enter(hand_in(factory.solved()), verdicts) == full | {"1.2": 0, "1.4": 0}


FORGED = [None, "", "{", '"gelöst"', "[" * 100_000, "[]", '[{"wert": {"zahl": 1}}]', '{"cells": [{}]}', '{"cells": 3}']


@pytest.mark.parametrize("text", FORGED)
def test_forged_results_and_outputs_do_not_matter(text, runnable):
    assert grading.verdict("1.1", run.exercises()["1.1"].draw(1), text).status == "falsch"
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


@in_every_jail
def test_nothing_outside_can_be_seen_or_changed(tmp_path, way):
    victim, new = tmp_path / "punkte.txt", Path(sys.prefix) / "neu-aus-dem-test"
    victim.write_text("unverändert")
    hidden = [str(SOLUTIONS), str(Path.home() / ".ssh"), str(victim), "/etc/passwd", "/etc/hostname"]
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
    """Kursordner oder .venv über einen Verweis: Beide Enden gibt es auch im Raum."""
    (tmp_path / "Verweis zum venv").symlink_to(sys.prefix)
    (tmp_path / "Verweis zur Eingabe").symlink_to(INPUT)
    monkeypatch.setattr(sandbox.sys, "prefix", str(tmp_path / "Verweis zum venv"))
    monkeypatch.setattr(sandbox, "INPUT", tmp_path / "Verweis zur Eingabe")
    code = "import nbformat, os, sys\n" + SAY.format(f"repr([sys.prefix, os.path.exists({str(sandbox.INPUT)!r})])")
    found = attempt(way, tmp_path / "a", code, python=Path(sandbox.sys.prefix) / "bin" / "python")
    assert found == ("", repr([sandbox.sys.prefix, True]))


# In einem eigenen Namensraum, damit der Test selbst einhängen darf: unter einem Pfad mit Leerzeichen, und einen
# Datenträger mit 20 MB. Gibt als JSON aus, was geschah.
ODD_PLACES = r"""
import json, os, subprocess, sys, tempfile
from pathlib import Path
from helpers.workshop.review import sandbox
top, way = Path(sys.argv[1]), getattr(sandbox, sys.argv[2])
data, small, tempfile.tempdir = top / "Mein Kurs/input", top / "kleine Platte", str(top / "Mein Kurs")
mounted, folder = data / "unter halb", top / "Mein Kurs" / "Abgabe 1"
for place in (mounted, small):
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)], check=True)
for place in (folder, small / "a"):
    place.mkdir()
(mounted / "da").write_text("lesbar")
sandbox.INPUT = data
code = f"import os; os.chdir({str(mounted)!r}); assert open('da').read() == 'lesbar'\n"
code += f"try: open('neu', 'w')\nexcept OSError as error: open({str(folder / 'fehler')!r}, 'w').write(str(error.errno))"
held = sandbox.holds(way)
sandbox.run(way, [sys.executable, "-I", "-c", code], folder, 30, 2000)
fill = "open('voll', 'wb').write(bytes(100_000_000))"
full = sandbox.run(way, [sys.executable, "-I", "-c", fill], small / "a", 30, 2000)
print(json.dumps([held, (folder / "fehler").read_text(), os.listdir(mounted), full]))
"""


@in_every_jail
def test_mounts_below_a_path_with_blanks_are_read_only_and_a_full_disk_is_told(tmp_path, way):
    command = ["unshare", "-rm", sys.executable, "-c", ODD_PLACES, str(tmp_path), way.__name__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, str(errno.EROFS), ["da"], "voll"]


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
    result = run.Result(found, {"1.1": Verdict("falsch", ("<u>Hinweis</u>",))}, {"1.1": 0.0})
    result.executed = page.outputs_of(notebook, json.dumps(executed))
    page.write([result], known, tmp_path / "aus" / "durchsicht", ["solutions/01_Daten.ipynb"])
    overview = (tmp_path / "aus" / "durchsicht" / "durchsicht.html").read_text(encoding="utf-8")
    shown = (tmp_path / "aus" / result.page).read_text(encoding="utf-8")
    for text in (overview, shown):
        assert not [tag for tag in ("<script", "<img src=x", "<b>", "<i>:", "<u>") if tag in text]
        assert "default-src 'none'" in text
    assert "&lt;img src=x" in shown and "Achtung" in overview and result.page in overview
    assert "number = int(name.removeprefix" in shown
    row = table(tmp_path / "aus" / "durchsicht" / "durchsicht.csv")["'=1+1<script>"]
    assert (row["1.1"], row["1.2"], row["Hinweise"]) == ("0", "", "1.1: <u>Hinweis</u>")


# --- Alles zusammen --------------------------------------------------------------------------------------------------


PRECIOUS = (SOLUTIONS / "ergebnis.png", ROOT / "helpers" / "basics.py")
# Name → (Abgabe, Aufgaben ohne Punkte, was in der Zeile steht)
HAND_INS = {
    "gerd": (lambda: factory.vandal(PRECIOUS), "", ""),
    "emil/fälscht": (factory.cheating, "1.1 1.2 1.3 1.4 1.5", "Der Kernel ist gestorben"),
    "bert/meine Lösung": (lambda: factory.answer(factory.solved(), 1, factory.WRONG), "1.1", "um ein Pixel"),
    "carla/umgestellt": (factory.reordered, "", ""),
    "dora/ohne Metadaten": (factory.without_metadata, "", ""),
    "hans/ungelöst": (lambda: factory.solved(only=[]), "1.1 1.2 1.3 1.4 1.5", "noch nicht bearbeitet"),
    "ida/gelöscht": (lambda: factory.stripped(2), "1.2", "Es fehlt die Zelle zu Aufgabe 1.2"),
}


@pytest.mark.skipif(not sandbox.jail(), reason="Hier gibt es keinen eigenen Raum.")
@pytest.mark.parametrize("count", [2, pytest.param(len(HAND_INS), marks=[pytest.mark.alles, pytest.mark.langsam])])
def test_a_class_is_reviewed_and_nobody_breaks_out_or_gets_false_points(count, tmp_path, ausgabe, known, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "geheim")
    before, chosen = [sha256(path) for path in PRECIOUS], dict(list(HAND_INS.items())[:count])
    for name, (make, *_) in chosen.items():
        factory.save(make(), tmp_path / "abgaben" / f"{name}.ipynb")
    (tmp_path / "abgaben" / "kaputt.ipynb").write_text("{")
    with pytest.raises(CourseError, match=rf"1 von {count + 1} Abgaben.*kaputt\.ipynb.*Die anderen stehen in"):
        run.review_hand_ins([tmp_path / "abgaben"])
    rows = table(ausgabe / "durchsicht.csv")
    for name, (_, lost, says) in chosen.items():
        points = sum(known[COURSE].points(number) for number in known[COURSE].exercises if number not in lost)
        assert rows[name]["Punkte"] == str(points) and says in str(rows[name]), rows[name]
    assert rows["kaputt"]["Punkte"] == "nicht gewertet" and "Kein lesbares" in rows["kaputt"]["Bemerkungen"]
    assert [sha256(path) for path in PRECIOUS] == before
    html = (ausgabe / "durchsicht.html").read_text(encoding="utf-8")
    assert "Achtung" not in html and html.count('<a href="durchsicht/') == count


def test_no_hand_in_gets_points_without_complete_files(tmp_path, ausgabe, monkeypatch):
    """Ein voller Datenträger ist kein Fehler der Abgabe: Sie ist nicht gewertet, und das steht überall."""
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    monkeypatch.setattr(sandbox, "run", lambda *args: "voll")
    with pytest.raises(CourseError, match=r"1 von 1 Abgaben sind nicht gewertet.*Räumen Sie auf.*noch einmal"):
        run.review_hand_ins([tmp_path / "abgaben"])
    row = table(ausgabe / "durchsicht.csv")["anna"]
    assert row["Punkte"] == "nicht gewertet" and row["1.1"] == "" and "Nicht gewertet" in row["Bemerkungen"]
    pages = [ausgabe / "durchsicht.html", *(ausgabe / "durchsicht").glob("001*.html")]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    assert len(texts) == 2 and all("nicht gewertet" in text and "0 von" not in text for text in texts)
    monkeypatch.setattr(run, "FREE_BYTES", 10**18)
    with pytest.raises(CourseError, match="fehlt Platz, die Durchsicht braucht .*TMPDIR"):
        run.review_hand_ins([tmp_path / "abgaben"])
    assert table(ausgabe / "durchsicht.csv")["anna"] == row, "die frühere Durchsicht bleibt"


@pytest.mark.alles
@pytest.mark.langsam
def test_endless_and_greedy_hand_ins_are_stopped(tmp_path, ausgabe, monkeypatch):
    monkeypatch.setattr(run, "CELL_SECONDS", 600)
    greedy = "hoard = []\nwhile True: hoard.append(bytearray(50_000_000))"
    for name, code in {"endlos": ENDLESS, "gierig": greedy, "gut": "pass"}.items():
        factory.save(factory.inserted(factory.solved(), code), tmp_path / "abgaben" / f"{name}.ipynb")
    run.review_hand_ins([tmp_path / "abgaben"], seconds=90, memory_mb=1500)
    rows = table(ausgabe / "durchsicht.csv")
    points = {name: row["Punkte"] for name, row in rows.items()}
    assert points == {"endlos": "0", "gierig": "0", "gut": rows["gut"]["von"]}
    assert "Nach 90 Sekunden abgebrochen" in rows["endlos"]["Bemerkungen"]
    assert "1500 MB" in rows["gierig"]["Bemerkungen"] or "gestorben" in rows["gierig"]["Bemerkungen"]


@pytest.mark.alles
@pytest.mark.langsam
@pytest.mark.timeout(900)
def test_an_answer_that_needs_course_variables_makes_the_whole_notebook_run(tmp_path, ausgabe):
    notebook = factory.answer(factory.solved(), 1, factory.USES_COURSE_VARIABLES)
    factory.save(notebook, tmp_path / "abgaben" / "x.ipynb")
    run.review_hand_ins([tmp_path / "abgaben"])
    row = table(ausgabe / "durchsicht.csv")["x"]
    assert row["Punkte"] == row["von"] and "Das ganze Notebook lief" in row["Bemerkungen"]
