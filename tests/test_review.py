"""Die Durchsicht: fremde Notebooks lesen, einsperren, beurteilen, auflisten."""

import csv
import errno
import io
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


@pytest.fixture(scope="module")
def known():
    return references()


@pytest.fixture(scope="module")
def book(known, tmp_path_factory):
    """nbgraders Notenbuch mit den Aufgaben von 01."""
    name = factory.COURSE
    return grading.GradeBook(tmp_path_factory.mktemp("buch") / "notenbuch.db", {name: known[name]})


@pytest.fixture
def hand_in(tmp_path, known):
    """Schreibt ein Notebook unter fremdem Namen und liest es als Abgabe."""

    def make(notebook, name="Unbenannt (3).ipynb"):
        return read("anna/01", factory.save(notebook, tmp_path / name), known)

    return make


# --- Finden und lesen ------------------------------------------------------------------------------------------------


def test_hand_ins_are_found_in_folders_and_as_files(tmp_path):
    skipped = (".verborgen/x.ipynb", "anna/.ipynb_checkpoints/y.ipynb", "anna/00_Start.ipynb")
    for name in ("anna/01_Daten.ipynb", "bert/01_Daten.ipynb", *skipped):
        factory.save(factory.solved(only=[]), tmp_path / "a" / name)
    single = factory.save(factory.solved(only=[]), tmp_path / "b" / "anna" / "01_Daten.ipynb")
    names = [name for name, _ in find([tmp_path / "a", tmp_path / "b", single])]
    assert names == ["anna/01_Daten", "bert/01_Daten", "anna/01_Daten (2)", "01_Daten"]


def test_links_and_binary_files_are_not_read(tmp_path, known):
    (tmp_path / "verweis.ipynb").symlink_to(SOLUTIONS / "01_Daten.ipynb")
    (tmp_path / "bild.ipynb").write_bytes(bytes(range(256)))
    assert "keine gewöhnliche Datei" in read("v", tmp_path / "verweis.ipynb", known).notes[0]
    assert "beschädigt" in read("b", tmp_path / "bild.ipynb", known).notes[0]


def test_renamed_hand_ins_without_metadata_are_recognised(hand_in):
    for notebook in (factory.solved(), factory.without_metadata(), factory.reordered()):
        found = hand_in(notebook)
        assert found.course == "01_Daten" and found.notes == []


def test_missing_and_double_cells_are_noted(hand_in):
    assert hand_in(factory.stripped(2)).notes == ["Es fehlt die Zelle zu Aufgabe 1.2."]
    doubled = factory.without_metadata()
    doubled.cells += [cell for cell in factory.doubled().cells if cell.id == "kopie"]
    assert hand_in(doubled).notes == ["Mehrere Zellen zu Aufgabe 1.1: Es zählt die letzte."]


# --- Was läuft -------------------------------------------------------------------------------------------------------


def sources(notebook):
    return [(grading.grade_id(cell), cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("make", [factory.solved, factory.reordered, factory.without_metadata])
def test_every_check_runs_right_after_its_answer(hand_in, book, known, make):
    reference = known["01_Daten"]
    runnable = grading.runnable(book.sanitize(hand_in(make())), reference)
    keys = [key for key, _ in sources(runnable) if key]
    assert sorted(keys[::2]) == sorted(base + ANSWER for base in reference.exercises.values())
    assert [key.replace(ANSWER, CHECK) for key in keys[::2]] == keys[1::2]
    opening = [cell.source for cell in runnable.cells[:3]]
    assert 'start("01_Daten")' in opening[0] and "import numpy as np" in opening[1] and "profil" in opening[2]
    # Kurszellen, die niemand verändert hat, laufen nicht: So wird nicht neu gerechnet.
    assert len(runnable.cells) == 3 + 2 * len(reference.exercises)


def test_deleted_and_changed_checks_come_back(hand_in, book, known):
    for notebook in (factory.stripped(2), factory.cheating_checks()):
        runnable = grading.runnable(book.sanitize(hand_in(notebook)), known["01_Daten"])
        checks = {key: source for key, source in sources(runnable) if key.endswith(CHECK)}
        assert len(checks) == len(known["01_Daten"].exercises)
        assert all(
            source == known["01_Daten"].source(key) and "strict=True" in source for key, source in checks.items()
        )
        points = [cell.metadata["nbgrader"]["points"] for cell in runnable.cells if grading.grade_id(cell) in checks]
        assert max(points) == 3


def test_own_and_changed_cells_run_too(hand_in, book, known):
    notebook = factory.inserted(factory.solved(), "meine = 1")
    runnable = grading.runnable(book.sanitize(hand_in(notebook)), known["01_Daten"])
    assert ("", "meine = 1") in sources(runnable)
    everything = grading.runnable(book.sanitize(hand_in(notebook)), known["01_Daten"], {"profil": "schnell"})
    assert len(everything.cells) > 2 * len(runnable.cells) and everything.cells[3].source == "profil = 'schnell'"


def test_points_come_from_nbgraders_gradebook(hand_in, book, known):
    full = {number: known["01_Daten"].points(number) for number in known["01_Daten"].exercises}
    verdicts = {number: Verdict("gelöst") for number in full}
    verdicts |= {"1.2": Verdict("falsch", ("Hinweis",)), "1.4": Verdict("offen")}
    assert book.enter(hand_in(factory.solved()), verdicts) == full | {"1.2": 0, "1.4": 0}


def test_answers_that_miss_a_course_variable_are_run_again():
    missing = Verdict("falsch", ("„f“ bricht mit einem Fehler ab: NameError: name 'x' is not defined",))
    assert run.uses_course_variables({"1.1": missing, "1.2": Verdict("gelöst")})
    assert not run.uses_course_variables({"1.1": Verdict("falsch", ("Der Bias fehlt.",))})


def test_an_exercise_without_hand_over_is_not_solved(known):
    verdicts = grading.verdicts(known["01_Daten"], {}, {})
    assert {verdict.status for verdict in verdicts.values()} == {"falsch"}
    assert list(verdicts) == list(known["01_Daten"].exercises)


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
    pytest.param(name, marks=pytest.mark.skipif(not works(command), reason=f"{command[0]} geht hier nicht"))
    for name, command in TOOLS.items()
]
ENDLESS = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"  # nicht zu unterbrechen
SAY = "open('austausch/text', 'w').write({})"


def attempt(folder: Path, code: str, seconds=60, memory_mb=2000, python=sys.executable):
    """Führt Python eingesperrt aus; ergibt (Ende, was es nach austausch/text schrieb)."""
    folder.mkdir(exist_ok=True, parents=True)
    ended = sandbox.run([str(python), "-I", "-c", code], folder.resolve(), seconds, memory_mb)
    return ended, sandbox.read_result(folder / "austausch" / "text")


@pytest.fixture(params=[*JAILS, "ohne eigenen Raum"])
def protection(request, monkeypatch):
    """Jede Art des Schutzes, die es hier gibt."""
    monkeypatch.setattr(sandbox, "jail", lambda: WAYS.get(request.param))
    return request.param


@pytest.fixture(params=JAILS)
def jailed(request, monkeypatch):
    monkeypatch.setattr(sandbox, "jail", lambda: WAYS[request.param])
    return request.param


def test_the_environment_of_the_instructor_stays_outside(tmp_path, monkeypatch, protection):
    for name in ("MY_SECRET_TOKEN", "SSH_AUTH_SOCK", "PYTHONSTARTUP", "JUPYTER_TOKEN"):
        monkeypatch.setenv(name, "geheim")
    ended, text = attempt(tmp_path / "a", f"import os\n{SAY.format('repr(dict(os.environ))')}")
    assert ended == sandbox.Ended() and "geheim" not in text and str(Path.home()) + "'" not in text
    assert str(tmp_path) in text


def test_time_memory_and_disk_have_limits(tmp_path, monkeypatch, protection):
    greedy = "x = bytearray(400_000_000)\nwhile True: pass"
    begun = time.monotonic()
    assert attempt(tmp_path / "a", ENDLESS, seconds=1)[0].reason == "zeit"
    assert time.monotonic() - begun < 60
    assert attempt(tmp_path / "b", greedy, memory_mb=200)[0].reason == "speicher"
    monkeypatch.setattr(sandbox, "MAX_DISK_BYTES", 1_000_000)
    for place in ("voll", "/tmp/voll") if protection in WAYS else ("voll",):
        code = f"open({place!r}, 'wb').write(bytes(3_000_000))\nwhile True: pass"
        assert attempt(tmp_path / "c", code)[0].reason == "platte"


def test_children_die_with_the_run(tmp_path, protection):
    name = str(tmp_path)  # damit kein zweiter Testlauf auf derselben Maschine mitzählt
    code = f"""
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", {name!r}]) for _ in range(3)]
open("austausch/text", "w").write("da")
while True: pass
"""
    ended, text = attempt(tmp_path / "a", code, seconds=4)
    named = [each for each in psutil.process_iter(["cmdline"]) if name in (each.info["cmdline"] or [])]
    assert (ended.reason, text) == ("zeit", "da") and not [each for each in named if sandbox.alive(each)]


def test_nothing_outside_can_be_seen_or_changed(tmp_path, jailed):
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
"""
    try:
        ended, text = attempt(tmp_path / "a", code + SAY.format("json.dumps(log)"))
        assert not new.exists() and victim.read_text() == "unverändert"
    finally:
        new.unlink(missing_ok=True)
    log = json.loads(text)
    assert ended == sandbox.Ended() and log["sieht"] == [] and log["mount"] and log["prozesse"] < 10
    assert log["netz"] == errno.ENETUNREACH and "geschrieben" not in (log[str(new)], log["/usr/neu"])


def test_python_behind_a_link_is_found(tmp_path, monkeypatch, jailed):
    """Kursordner oder .venv über einen Verweis: Beide Enden gibt es auch im Raum."""
    (tmp_path / "Verweis zum venv").symlink_to(sys.prefix)
    (tmp_path / "Verweis zur Eingabe").symlink_to(INPUT)
    monkeypatch.setattr(sandbox.sys, "prefix", str(tmp_path / "Verweis zum venv"))
    monkeypatch.setattr(sandbox, "INPUT", tmp_path / "Verweis zur Eingabe")
    code = "import nbformat, os, sys\n" + SAY.format(f"repr([sys.prefix, os.path.exists({str(sandbox.INPUT)!r})])")
    ended, text = attempt(tmp_path / "a", code, python=Path(sandbox.sys.prefix) / "bin" / "python")
    assert (ended, text) == (sandbox.Ended(), repr([sandbox.sys.prefix, True]))


# In einem eigenen Namensraum, damit der Test selbst einhängen darf: unter einem Pfad mit Leerzeichen, und einen
# Datenträger mit 20 MB. Gibt als JSON aus, was geschah.
ODD_PLACES = r"""
import json, os, subprocess, sys, tempfile
from pathlib import Path
from helpers.workshop.review import sandbox
top, way = Path(sys.argv[1]), getattr(sandbox, sys.argv[2])
data, small, tempfile.tempdir = top / "Mein Kurs/input", top / "kleine Platte", str(top / "Mein Kurs")
mounted = data / "unter halb"
for place in (mounted, small):
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)], check=True)
(mounted / "da").write_text("lesbar")
sandbox.INPUT, sandbox.jail = data, lambda: way
code = f"import os; os.chdir({str(mounted)!r}); assert open('da').read() == 'lesbar'\n"
code += "try: open('neu', 'w')\nexcept OSError as error: os._exit(error.errno)"
held = sandbox.holds(way)
ended = sandbox.run([sys.executable, "-I", "-c", code], top / "Mein Kurs" / "Abgabe 1", 30, 2000)
full = sandbox.run([sys.executable, "-I", "-c", "open('voll', 'wb').write(bytes(100_000_000))"], small / "a", 30, 2000)
print(json.dumps([held, ended.code, os.listdir(mounted), full.reason]))
"""


def test_mounts_below_a_path_with_blanks_are_read_only_and_a_full_disk_is_told(tmp_path, jailed):
    command = ["unshare", "-rm", sys.executable, "-c", ODD_PLACES, str(tmp_path), jailed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout) == [True, errno.EROFS, ["da"], "voll"], done.stderr


def weakened(*options):
    """bubblewrap mit einem Loch."""

    def way(folder, command):
        built = sandbox.bubblewrap(folder, command)
        place = built.index("--remount-ro")
        return [*built[:place], *options, *built[place:]]

    return way


def test_a_jail_that_does_not_hold_is_not_used():
    """Gegenprobe zur Probe: Wer draußen etwas sieht, schreiben kann oder ins Netz kommt, gilt nicht als eingesperrt."""
    assert not sandbox.holds(lambda folder, command: ["env", "-C", str(folder), *command])
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
    os.mkfifo(tmp_path / "rohr")
    (tmp_path / "ordner").mkdir()
    assert sandbox.read_result(good) == "äß"
    assert [sandbox.read_result(tmp_path / name) for name in ("verweis", "rohr", "ordner", "weg")] == [None] * 4
    assert sandbox.read_result(good, limit=1) is None


# --- Anzeigen --------------------------------------------------------------------------------------------------------


def test_foreign_text_is_escaped_and_foreign_html_dropped(tmp_path, hand_in, book, known):
    found = hand_in(factory.answer(factory.solved(), 1, "# <script>alert(1)</script>"))
    found.name = "=1+1<script>"
    found.notes = ["<b>Bemerkung"]
    runnable = grading.runnable(book.sanitize(found), known["01_Daten"])
    executed = json.loads(json.dumps(runnable))
    executed["cells"][3]["outputs"] = [
        {
            "output_type": "display_data",
            "data": {"text/html": "<b>fremd</b>", "image/png": "kein Bild"},
            "metadata": {},
        },
        {"output_type": "stream", "name": "stdout", "text": "<img src=x onerror=alert(1)>"},
        {"output_type": "error", "ename": "<i>", "evalue": "x", "traceback": ["\u001b[0m"]},
    ]
    result = run.Result(found, {"1.1": Verdict("falsch", ("<u>Hinweis</u>",))}, {"1.1": 0.0})
    result.executed = page.outputs_of(runnable, json.dumps(executed))
    target = page.write([result], known, tmp_path / "aus" / "durchsicht", ["solutions/01_Daten.ipynb"])
    overview = target.read_text(encoding="utf-8")
    shown = (tmp_path / "aus" / result.page).read_text(encoding="utf-8")
    for text in (overview, shown):
        assert not [tag for tag in ("<script", "<img src=x", "<b>", "<i>:", "<u>") if tag in text]
        assert "default-src 'none'" in text
    assert "&lt;img src=x" in shown and "Achtung" in overview and result.page in overview
    assert "number = int(name.removeprefix" in shown
    rows = list(csv.reader(io.StringIO((target.parent / "durchsicht.csv").read_text("utf-8-sig")), delimiter=";"))
    assert rows[1][0] == "'=1+1<script>" and rows[0][2:4] == ["1.1", "1.2"] and rows[1][-2] == "1.1: <u>Hinweis</u>"


@pytest.mark.parametrize("executed", [None, "", "{", "[]", '{"cells": [{}]}', '{"cells": 3}', "[" * 100_000])
def test_forged_outputs_do_not_matter(hand_in, book, known, executed):
    runnable = grading.runnable(book.sanitize(hand_in(factory.solved())), known["01_Daten"])
    assert [outputs for _, _, outputs in page.outputs_of(runnable, executed)] == [[]] * len(runnable.cells)


# --- Alles zusammen --------------------------------------------------------------------------------------------------


def table(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "durchsicht.csv", encoding="utf-8-sig", newline="") as file:
        return {row["Abgabe"]: row for row in csv.DictReader(file, delimiter=";")}


@pytest.mark.skipif(not sandbox.isolated(), reason="Hier gibt es keinen eigenen Raum.")
def test_a_real_hand_in_cannot_break_out_or_forge_its_points(tmp_path, ausgabe, monkeypatch):
    """Zwei durch den echten Raum: Eine löst alles und will Fremdes zerstören, eine überschreibt die Prüfung."""
    monkeypatch.setenv("MY_SECRET", "geheim")
    victims = [SOLUTIONS / "ergebnis.png", ROOT / "helpers" / "basics.py"]
    before = [sha256(path) for path in victims]
    for name, notebook in {"gerd": factory.vandal(victims), "emil": factory.cheating_checks()}.items():
        factory.save(notebook, tmp_path / "abgaben" / f"{name}.ipynb")
    run.review_hand_ins([tmp_path / "abgaben"])
    points = {name: (row["Punkte"], row["von"]) for name, row in table(ausgabe).items()}
    assert points["gerd"][0] == points["gerd"][1] and points["emil"][0] == "0"
    assert [sha256(path) for path in victims] == before
    html = (ausgabe / "durchsicht.html").read_text(encoding="utf-8")
    assert "Achtung" not in html and html.count('<a href="durchsicht/') == 2


def test_no_hand_in_gets_points_without_complete_files(tmp_path, ausgabe, monkeypatch):
    """Ein voller Datenträger ist kein Fehler der Abgabe: Sie ist nicht gewertet, und das steht überall."""
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    monkeypatch.setattr(sandbox, "isolated", lambda: True)
    monkeypatch.setattr(sandbox, "run", lambda *args: sandbox.Ended("voll"))
    with pytest.raises(
        CourseError, match=r"1 von 1 Abgaben sind nicht gewertet.*ist voll: Räumen Sie auf.*noch einmal"
    ):
        run.review_hand_ins([tmp_path / "abgaben"])
    row = table(ausgabe)["anna"]
    assert row["Punkte"] == "nicht gewertet" and row["1.1"] == "" and "Nicht gewertet" in row["Bemerkungen"]
    for path in (ausgabe / "durchsicht.html", *(ausgabe / "durchsicht").glob("001*.html")):
        text = path.read_text(encoding="utf-8")
        assert "nicht gewertet" in text and "0 von" not in text
    monkeypatch.setattr(run, "FREE_BYTES", 10**18)
    with pytest.raises(CourseError, match="MB frei, die Durchsicht braucht .*TMPDIR"):
        run.review_hand_ins([tmp_path / "abgaben"])
    assert table(ausgabe)["anna"] == row, "die frühere Durchsicht bleibt"


@pytest.mark.alles
@pytest.mark.langsam
@pytest.mark.skipif(not sandbox.isolated(), reason="Hier gibt es keinen eigenen Raum.")
def test_a_class_is_reviewed_and_no_hand_in_harms_another(tmp_path, ausgabe, monkeypatch, known):
    monkeypatch.setenv("MY_SECRET", "geheim")
    monkeypatch.setattr(run, "CELL_SECONDS", 20)
    folder = tmp_path / "abgaben"
    right = folder / "anna.ipynb"
    before = [sha256(path) for path in (SOLUTIONS / "ergebnis.png", ROOT / "helpers" / "basics.py")]
    all_points = sum(known[factory.COURSE].points(number) for number in known[factory.COURSE].exercises)
    # Name → Abgabe, verlorene Punkte
    hand_ins = {
        "anna": (factory.solved(), 0),
        "bert/meine Lösung": (factory.answer(factory.solved(), 1, factory.WRONG), 1),
        "carla/umgestellt": (factory.reordered(), 0),
        "dora/ohne Metadaten": (factory.without_metadata(), 0),
        "fritz/fälscht": (factory.forging(), all_points),
        "gerd/zerstört": (factory.vandal([right, SOLUTIONS / "ergebnis.png", ausgabe / "durchsicht.csv"]), 0),
        "hans/ungelöst": (factory.solved(only=[]), all_points),
        "ida/gelöscht": (factory.stripped(2), 2),
    }
    for name, (notebook, _) in hand_ins.items():
        factory.save(notebook, folder / f"{name}.ipynb")
    (folder / "kaputt.ipynb").write_text("{", encoding="utf-8")
    before.append(sha256(right))
    with pytest.raises(CourseError, match=r"1 von 9 Abgaben.*kaputt\.ipynb.*Die anderen stehen in"):
        run.review_hand_ins([folder])
    rows = table(ausgabe)
    points = {name: int(rows[name]["Punkte"]) for name in hand_ins}
    assert points == {name: all_points - lost for name, (_, lost) in hand_ins.items()}
    assert "um ein Pixel verschoben" in rows["bert/meine Lösung"]["Hinweise"]
    assert "Kein lesbares Notebook" in rows["kaputt"]["Bemerkungen"]
    assert "Es fehlt die Zelle zu Aufgabe 1.2" in rows["ida/gelöscht"]["Bemerkungen"]
    assert [sha256(path) for path in (SOLUTIONS / "ergebnis.png", ROOT / "helpers" / "basics.py", right)] == before
    html = (ausgabe / "durchsicht.html").read_text(encoding="utf-8")
    assert "Achtung" not in html and html.count('<a href="durchsicht/') == 8


@pytest.mark.alles
@pytest.mark.langsam
def test_endless_and_greedy_hand_ins_are_stopped(tmp_path, ausgabe, monkeypatch):
    monkeypatch.setattr(run, "CELL_SECONDS", 600)
    greedy = "hoard = []\nwhile True: hoard.append(bytearray(50_000_000))"
    for name, code in {"endlos": ENDLESS, "gierig": greedy, "gut": "pass"}.items():
        factory.save(factory.inserted(factory.solved(), code), tmp_path / "abgaben" / f"{name}.ipynb")
    run.review_hand_ins([tmp_path / "abgaben"], seconds=90, memory_mb=1500)
    rows = table(ausgabe)
    points = {name: row["Punkte"] for name, row in rows.items()}
    assert points == {"endlos": "0", "gierig": "0", "gut": rows["gut"]["von"]}
    assert "Nach 90 Sekunden abgebrochen" in rows["endlos"]["Bemerkungen"]
    assert "1500 MB" in rows["gierig"]["Bemerkungen"] or "gestorben" in rows["gierig"]["Bemerkungen"]


@pytest.mark.alles
@pytest.mark.langsam
@pytest.mark.timeout(900)
def test_an_answer_that_needs_course_variables_makes_the_whole_notebook_run(tmp_path, ausgabe):
    factory.save(factory.uses_course_variables(), tmp_path / "abgaben" / "x.ipynb")
    run.review_hand_ins([tmp_path / "abgaben"])
    row = table(ausgabe)["x"]
    assert row["Punkte"] == row["von"] and "Das ganze Notebook lief" in row["Bemerkungen"]
