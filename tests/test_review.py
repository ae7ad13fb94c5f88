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
import threading
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
from helpers.workshop.review.handins import ANSWER, CHECK, HandIn, find, read, references

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


def names(paths, unpacked) -> list[str]:
    return [name for name, *_ in find(paths, unpacked)]


def test_hand_ins_are_found_in_folders_and_as_files_but_links_are_not_followed(tmp_path, known):
    skipped = (".verborgen/x.ipynb", "anna/.ipynb_checkpoints/y.ipynb", "anna/00_Start.ipynb")
    for name in ("anna/01_Daten.ipynb", "bert/01_Daten.ipynb", *skipped):
        factory.save(factory.solved(only=[]), tmp_path / "a" / name)
    single = factory.save(factory.solved(only=[]), tmp_path / "b" / "anna" / "01_Daten.ipynb")
    found = names([tmp_path / "a", tmp_path / "b", single], tmp_path)
    assert found == ["anna/01_Daten", "bert/01_Daten", "anna/01_Daten (2)", "01_Daten"]
    (tmp_path / "verweis.ipynb").symlink_to(single)
    assert "keine gewöhnliche Datei" in read("v", tmp_path / "verweis.ipynb", known).notes[0]


def packed(files: dict[str, bytes]) -> bytes:
    """Ein ZIP mit diesen Dateien."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# Datei → (Inhalt, welche Einträge daraus werden: lesbar oder der Grund)
def deliveries() -> dict[str, tuple]:
    good = as_text(factory.solved()).encode()
    twice = packed(
        {"Anna_1_file/01_Daten.ipynb": good, "../../raus.ipynb": good, "Bert/": b"", "a/": b"", "a/b.pdf": b"%"}
    )
    deep = packed({"z.zip": packed({"y.zip": packed({"x.ipynb": good})})})
    return {
        "moodle.zip": (
            twice,
            {
                "moodle.zip/Anna_1_file/01_Daten": "",
                "moodle.zip/raus": "",
                "moodle.zip/Bert": "keine Abgabe",
                "moodle.zip/a/b.pdf": "Kein lesbares",
            },
        ),
        "01_Daten.ipynb.txt": (good, {"01_Daten.ipynb.txt": ""}),
        "B.IPYNB": (good, {"B": ""}),
        "c.json": (good, {"c.json": ""}),
        "ohne Endung": (good, {"ohne Endung": ""}),
        "d.ipynb.TXT": (good, {"d.ipynb.TXT": ""}),
        "Alle.ZIP": (packed({"bert.zip": packed({"01.ipynb": good})}), {"Alle.ZIP/bert.zip/01": ""}),
        "tief.zip": (deep, {"tief.zip/z.zip/y.zip": "lässt sich nicht auspacken"}),
        "kaputt.zip": (twice[:-9], {"kaputt.zip": "lässt sich nicht auspacken"}),
        "bild.png": (b"\x89PNG", {"bild.png": "Kein lesbares"}),
        "leer.ipynb": (b"", {"leer": "leer"}),
        "leerer Ordner": (None, {"leerer Ordner": "keine Abgabe"}),
    }


def test_nothing_that_was_delivered_vanishes(tmp_path, known):
    """Archive, fremde Endungen, leere Ordner: gelesen oder eine Zeile mit dem Grund; nichts landet außerhalb."""
    (tmp_path / "tief" / "aus").mkdir(parents=True)
    expected = {}
    for name, (content, entries) in deliveries().items():
        path = tmp_path / "abgaben" / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if content is None else path.write_bytes(content)
        expected |= entries
    found = [
        read(name, path, known, refusal)
        for name, path, refusal in find([tmp_path / "abgaben"], tmp_path / "tief" / "aus")
    ]
    assert {each.name for each in found} == set(expected) and not (tmp_path / "raus.ipynb").exists()
    for each in found:
        assert (each.course == COURSE) is (expected[each.name] == ""), each
        assert expected[each.name] in " ".join(each.notes), each


def foreign(data: dict, kept=()) -> dict:
    """In ein anderes Programm kopiert: eigene ids, keine Angaben für nbgrader, außer zu den Aufgaben ``kept``."""
    for number, cell in enumerate(data["cells"]):
        if not any(f"aufgabe-{each}-" in cell["id"] for each in kept):
            cell.update(id=f"x{number}", metadata={"id": "colab"})
    return data


def rewritten(data: dict) -> dict:
    """Ohne ids, Texte und Prüfzellen: Nur die Namen der Antworten sind geblieben."""
    cells = [cell for cell in foreign(data)["cells"] if "check(" not in "".join(cell["source"])]
    return {"cells": [each for each in cells if each["cell_type"] == "code" and "def " in "".join(each["source"])]}


def with_output(data: dict, size: int) -> dict:
    next(cell for cell in data["cells"] if cell["cell_type"] == "code")["outputs"] = [{"data": "A" * size}]
    return data


def with_cells(data: dict, *more) -> dict:
    return {**data, "cells": [*data["cells"], *more]}


ONE = {"cell_type": "code", "id": "y", "metadata": {}, "source": "1"}
PICTURE = {"cell_type": "markdown", "source": "![](data:image/png;base64," + "A" * 3_000_000}
# Wie die Datei anderswo wird, und ob das am Tag geprüft wird.
FORMS = {
    "UTF-16": lambda data: json.dumps(data).encode("utf-16"),
    "keine ids": lambda data: foreign(data),
    "26 MB Bilder": lambda data: with_output(data, 26_000_000),
    "600 Zellen": lambda data: with_cells(data, *[ONE] * 600),
    "UTF-8 mit Kennzeichen": lambda data: json.dumps(data, ensure_ascii=False).encode("utf-8-sig"),
    "UTF-32": lambda data: json.dumps(data).encode("utf-32"),
    "Windows": lambda data: json.dumps(data, ensure_ascii=False).encode("cp1252", "replace"),
    "manche ids": lambda data: foreign(data, kept=(1, 4)),
    "nur Namen": rewritten,
    "90 MB Bilder": lambda data: with_output(data, 90_000_000),
    "Bild im Text": lambda data: with_cells(data, PICTURE),
    "3000 leere Zellen": lambda data: with_cells(data, *[ONE, ONE | {"source": ""}] * 3000),
}


@pytest.mark.parametrize(
    "form", [pytest.param(name, marks=() if i < 4 else pytest.mark.alles) for i, name in enumerate(FORMS)]
)
def test_a_solved_notebook_is_read_whatever_another_program_made_of_it(form, tmp_path, known):
    """Kodierung, Format, Größe, fehlende Kennungen: Jede Antwort kommt an."""
    data = FORMS[form](json.loads(as_text(factory.solved())))
    path = tmp_path / "a.ipynb"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    found = read("a", path, known)
    assert found.course == COURSE and found.notes == []
    answers = {key: source for _, source, key in found.cells if key.endswith(ANSWER)}
    for key, source in factory.solution_cells(COURSE).items():
        lines = [line for line in source.splitlines() if line.isascii()]  # nicht jede Kodierung kennt „→“
        assert [line for line in answers[key].splitlines() if line in lines] == lines


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"cells": [ONE] * 6000}, "Mehr als 5000 Zellen"),
        ({"cells": [ONE | {"source": "#" * 3_000_000}]}, "2 MB Quelltext"),
        ({"cells": [ONE]}, "Gehört zu keinem Notebook"),
        ({"cells": list(range(6_000_000))}, "Größer als"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_true_reason(data, reason, tmp_path, known):
    (tmp_path / "a.ipynb").write_text(json.dumps(data))
    assert reason in read("a", tmp_path / "a.ipynb", known).notes[0]


@pytest.mark.parametrize(
    ("make", "notes"),
    [
        (factory.solved, []),
        (factory.reordered, []),
        (factory.without_metadata, []),
        (factory.as_in_lab, []),
        (factory.cheating, ["Eine Zelle benutzt helpers.checks: In der Durchsicht gibt es dort keine Lösungen."]),
        (lambda: factory.stripped(2), ["Es fehlt die Zelle zu Aufgabe 1.2."]),
        (factory.doubled, ["Mehrere Zellen zu Aufgabe 1.1: Alle liefen, gezeigt ist die letzte."]),
    ],
)
def test_whatever_is_handed_in_runs_in_its_order_and_every_true_check_once_more_at_the_end(
    make, notes, hand_in, runnable, known
):
    made, bases = make(), known[COURSE].exercises.values()
    found, notebook = hand_in(made), runnable(made)
    assert found.course == COURSE and found.notes == notes
    sources = [cell.source for cell in notebook.cells]
    assert 'start("01_Daten")' in sources[1] and "import numpy as np" in sources[2] and "profil" in sources[3]
    checks = [cell for cell in notebook.cells if "strict=True" in cell.source]
    assert {cell.id for cell in checks[5:]} == {base + CHECK + grading.AGAIN for base in bases}
    for cell in checks:
        assert cell.source == known[COURSE].source(cell.id.removesuffix(grading.AGAIN))
        assert cell.metadata.get("nbgrader", {"points": 0})["points"] <= 3
    assert len(checks) == 10 and all(cell in notebook.cells[-5:] for cell in checks[5:])
    # Kurszellen, die niemand verändert hat, laufen nicht: So wird nicht neu gerechnet. Eigene laufen alle.
    own = [cell.source for cell in notebook.cells[4:-6] if not grading.grade_id(cell)]
    theirs = [cell.source for cell in made.cells if cell.cell_type == "code"]
    if make is factory.cheating:
        assert own == [factory.STEAL, factory.OVERRIDE, factory.FORGE]
    elif make not in (factory.as_in_lab, factory.without_metadata):
        assert own == ([factory.WRONG] if make is factory.doubled else [])
    else:
        assert set(own) <= set(theirs) and len(own) == (0 if make is factory.without_metadata else 4)


def test_answers_that_need_course_variables_can_run_with_everything(runnable):
    everything = runnable(factory.solved(), {"profil": "schnell"})
    assert len(everything.cells) > 2 * 13
    assert everything.cells[4].source == "profil = 'schnell'"


def test_only_names_of_the_course_make_the_whole_notebook_run(known):
    """Ein eigener Tippfehler kostet keinen zweiten Lauf mit Training."""

    def needed(name, executed=()):
        return grading.needs_course(
            known[COURSE], [f"bricht ab: NameError: name '{name}' is not defined"], list(executed)
        )

    assert needed("source") and not needed("np") and not needed("_hilf")
    error = {"text": "NameError: name 'source' is not defined", "error": True, "raised": True}
    assert needed("_hilf", [("", "_hilf = source.train_images", [error])])
    assert not needed("_hilf", [("", "bild = source.train_images", [error])])


def test_points_come_from_nbgraders_gradebook(hand_in, book, known):
    full = {number: known[COURSE].points(number) for number in known[COURSE].exercises}
    verdicts = {number: Verdict("gelöst") for number in full}
    verdicts |= {"1.2": Verdict("falsch", ("Hinweis",)), "1.4": Verdict("offen")}
    assert book.enter(hand_in(factory.solved()), verdicts) == full | {"1.2": 0, "1.4": 0}


@pytest.mark.parametrize(
    "persons",
    [("15 Anna Maria", "15-Anna-Maria", "15_Anna_Maria"), ("Zoë", "Zoe\u0308"), ("a/b", "a_b", "a%2Fb", "A/b")],
)
def test_names_that_differ_in_signs_only_are_different_students(persons, hand_in, book, known):
    from nbgrader.api import Gradebook

    def students() -> dict[str, float]:
        with Gradebook(book.url) as stored:
            return {each.id: stored.find_submission(grading.ASSIGNMENT, each.id).score for each in stored.students}

    before, entered, numbers = students(), [], list(known[COURSE].exercises)
    for count, name in enumerate(persons):
        found = hand_in(factory.solved())
        found.name = name
        solved = {number: Verdict("gelöst" if i <= count else "offen") for i, number in enumerate(numbers)}
        entered.append(sum(book.enter(found, solved).values()))
    assert sorted(score for name, score in students().items() if name not in before) == entered


def executed(number: int, source: str, error: str = "", key: bool = True) -> list:
    """Eine gelaufene Zelle, wie die Seite sie zeigt."""
    outputs = [{"text": error, "error": True, "raised": True}] if error else []
    return [(f"01-aufgabe-{number}{ANSWER}" if key else "", source, outputs)]


SYNTAX = "SyntaxError: invalid character '“' (U+201C) (123.py, line 2)"


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (
            executed(1, "def pixel_position(name)\n  1", SYNTAX),
            "bricht ab: SyntaxError: invalid character '“' (U+201C) (Zeile 2)",
        ),
        (
            executed(1, "def pixel_positon(name):\n    return 1, 2"),
            "heißt „pixel_positon“, verlangt ist „pixel_position“",
        ),
        (executed(1, "PixelPosition = lambda name: 1", key=False), "„PixelPosition“"),
        (executed(1, "pixelposition = lambda name: 1", key=False), "„pixelposition“"),
        (executed(1, "def pixel_position(name):\n\treturn 1\n  2", "TabError: x", key=False), "TabError"),
        (executed(1, "def pixel\u00a0_position(name):\n  1", "SyntaxError: U+00A0"), "U+00A0"),
        (executed(1, "row, column = 1, 2"), "Die Zelle ist bearbeitet, gesucht ist „pixel_position“"),
        (executed(1, "pixel_position('pixel1')", "TypeError: x", key=False), ""),
        (executed(1, "# noch nichts\n..."), ""),
        (executed(1, "def pixel_position(name):\n    # später\n    ..."), ""),
        (executed(2, "def nearest_template(a)\n  1", SYNTAX), ""),
    ],
)
def test_an_attempt_is_not_called_unattempted(cells, says, known):
    """Wer sich vertippt hat, liest den Fehler; „noch nicht bearbeitet“ heißt nur, was niemand bearbeitet hat."""
    found = grading.attempted("1.1", known[COURSE], cells)
    assert says in found.hint and found.status == ("falsch" if says else "offen"), found


def test_no_solution_travels_into_the_jail(tmp_path):
    """In der Kopie von helpers.checks hat jede Aufgabe ihre Eingaben, aber weder Lösung noch Hinweis."""
    for path in sorted((ROOT / "helpers" / "checks").glob("notebook_*.py")):
        original, stripped = {}, {"__name__": path.stem}
        source = without_solutions(path.read_text(encoding="utf-8"))
        exec(path.read_text(encoding="utf-8"), original)
        exec(source, stripped)
        ours, theirs = (
            {each.number: each for each in space.values() if isinstance(each, Exercise)}
            for space in (original, stripped)
        )
        assert list(ours) == list(theirs) and ours
        for number, each in theirs.items():
            assert (
                each.name == ours[number].name and each.name not in stripped and each.is_value == ours[number].is_value
            )
            assert each.solve is None and each.hints == () and each.form is None
            assert len(each.draw(3)) == len(ours[number].draw(3))


FORGED = [None, "", "{", '"gelöst"', "[" * 100_000, "[]", '[{"wert": {"zahl": 1}}]', '{"cells": [{}]}', '{"cells": 3}']


@pytest.mark.parametrize("text", FORGED)
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


@in_every_jail
def test_commands_find_a_terminal(tmp_path, way):
    """„!“ und „%pip“ brauchen eines; pip versucht ohne Netz nichts."""
    code = "import os, pty, subprocess, sys; pty.openpty()\n"
    code += (
        "done = subprocess.run([sys.executable, '-m', 'pip', 'install', 'numpy', 'gibtsnicht'], capture_output=True)\n"
    )
    begun = time.monotonic()
    reason, text = attempt(way, tmp_path / "a", code + SAY.format("done.stderr.decode()"))
    assert reason == "" and "gibtsnicht" in text and time.monotonic() - begun < 40


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

    alone = [result("anna/01_Daten", COURSE, 1.0), result("kaputt", None, None)]
    page.write(alone, known, tmp_path / "a" / "durchsicht", [])
    rows = table(tmp_path / "a" / "durchsicht" / "durchsicht.csv")
    assert list(rows["anna/01_Daten"]) == [
        *(
            "Abgabe",
            "Bemerkungen",
            "Notebook",
            "1.1",
            "1.2",
            "1.3",
            "1.4",
            "1.5",
            "Punkte",
            "von",
            "Zusammen",
            "Hinweise",
        )
    ]
    assert rows["anna/01_Daten"]["Zusammen"] == "" and rows["kaputt"]["Punkte"] == "nicht gewertet"
    more = [
        *(result(f"{name}/02_VGG16", "02_VGG16", 1.5) for name in ("anna", "bert")),
        *(result(name, COURSE, points) for name, points in (("anna/01-daten", 2.0), ("bert_1/01_Daten", 1.0))),
        *(result(f"01_Daten_{name}", COURSE, 1.0) for name in ("cleo", "dora")),
        result("02_VGG16_cleo", "02_VGG16", None),
    ]
    page.write([*alone, *more], known, tmp_path / "b" / "durchsicht", [])
    totals = {name: row["Zusammen"] for name, row in table(tmp_path / "b" / "durchsicht" / "durchsicht.csv").items()}
    two = sum(known["02_VGG16"].points(number) for number in known["02_VGG16"].exercises)
    assert {name: total for name, total in totals.items() if total} == {
        "anna/01_Daten": f"17,5 von {10 + two}",  # die bessere der beiden zu 01
        "01_Daten_cleo": "5 von 10",
    }
    html = (tmp_path / "b" / "durchsicht" / "durchsicht.html").read_text(encoding="utf-8")
    assert "zusammen 17.5 von" in html and "<th>3.1</th>" not in html
    assert html.index("<th>Bemerkungen</th>") < html.index("<th>1.1</th>")


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


def test_a_model_is_trained_for_some_while_others_are_judged(known, tmp_path, monkeypatch):
    """Wer auf ein Modell wartet, hält niemanden auf; scheitert das Training, dann einmal und nicht für jede Abgabe."""
    review, trained, started, go_on = run.Review(known, None, tmp_path, 1, 1), [], threading.Event(), threading.Event()

    def execute(*args, **options):
        trained.append(args)
        started.set()
        go_on.wait(20)
        raise CourseError("kein Platz")

    def ask():
        with pytest.raises(CourseError, match="kein Platz"):
            review.prepared()

    monkeypatch.setattr(run, "execute", execute)
    waiting = [threading.Thread(target=ask) for _ in range(2)]
    for each in waiting:
        each.start()
    assert started.wait(20) and review._lock.acquire(timeout=5)
    review._lock.release()
    go_on.set()
    for each in waiting:
        each.join(20)
    ask()
    assert len(trained) == 1


# --- Alles zusammen --------------------------------------------------------------------------------------------------


PRECIOUS = (SOLUTIONS / "ergebnis.png", ROOT / "helpers" / "basics.py")


def broken_answers(*answers):
    """Ein gelöstes Notebook, in dem diese Aufgaben, ab 1.1, anders beantwortet sind; None lässt sie richtig."""
    notebook = factory.solved()
    for number, source in enumerate(answers, start=1):
        if source:
            factory.answer(notebook, number, source)
    return notebook


def function(name: str, body: str) -> str:
    return f"def {name}(*args):\n    {body}"


HOARD = "hoard = []\nwhile True: hoard.append(bytearray(50_000_000))"
# Name → (Abgabe, Aufgaben ohne Punkte, was in der Zeile steht)
HAND_INS = {
    "gerd": (
        lambda: factory.inserted(factory.as_in_lab(), factory.VANDAL.format(targets=[*map(str, PRECIOUS)])),
        "",
        "",
    ),
    "emil/fälscht": (factory.cheating, "1.1 1.2 1.3 1.4 1.5", "keine Lösungen"),
    "uwe/Versuche": (factory.attempts, "1.1 1.2 1.3 1.4", "„nearest_templates“, verlangt"),
    "bert/meine Lösung": (lambda: factory.answer(factory.solved(), 1, factory.WRONG), "1.1", "um ein Pixel"),
    "carla/umgestellt": (factory.reordered, "", ""),
    "dora/ohne Metadaten": (factory.without_metadata, "", ""),
    "hans/ungelöst": (lambda: factory.solved(only=[]), "1.1 1.2 1.3 1.4 1.5", "noch nicht bearbeitet"),
    "ida/gelöscht": (lambda: factory.stripped(2), "1.2", "Es fehlt die Zelle zu Aufgabe 1.2"),
    "jan/Signal": (
        lambda: broken_answers(None, function("nearest_template", "import os; os.kill(os.getpid(), 9)")),
        "1.2",
        "Der Kernel ist gestorben",
    ),
    "kai/Zeiger": (
        lambda: broken_answers(None, None, None, function("compare_folders", "import ctypes; ctypes.string_at(0)")),
        "1.4",
        "Der Kernel ist gestorben",
    ),
    "lea/ganz außen": (lambda: broken_answers(HOARD), "1.1", "Die Antwort hielt alles an"),
    "mia/zwei": (
        lambda: broken_answers(function("pixel_position", "import os; os._exit(0)"), None, "import os; os.abort()"),
        "1.1 1.3",
        "Die Antwort hielt alles an",
    ),
    "nils/eigene Zelle": (
        lambda: factory.inserted(factory.solved(), "while True: print('x' * 1000)"),
        "",
        "Ohne eine Zelle",
    ),
    "olga/leise": (
        lambda: broken_answers("import numpy as np\n%%time\n", None),
        "1.1",
        "bricht ab",
    ),
    "pia/Befehle": (
        lambda: broken_answers(
            "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'gibtsnicht'])\n"
            "files = !ls\n%matplotlib inline\n" + factory.solution_cells(COURSE)["01-aufgabe-1-loesung"],
            "%%time\n" + factory.solution_cells(COURSE)["01-aufgabe-2-loesung"],
        ),
        "",
        "",
    ),
    "quin/überschreibt": (
        lambda: factory.inserted(factory.solved(), "stratified_split = poison = 3", place=-1),
        "",
        "",
    ),
    "rosa/Leerzeichen": (
        lambda: broken_answers("def pixel_position(name):\n    return\u200b 1", "def nearest_template(a, b)\n\u00a0 1"),
        "1.1 1.2",
        "U+200B",
    ),
}


@pytest.mark.skipif(not sandbox.jail(), reason="Hier gibt es keinen eigenen Raum.")
@pytest.mark.parametrize("count", [3, pytest.param(len(HAND_INS), marks=[pytest.mark.alles, pytest.mark.langsam])])
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
        assert "umgangen" not in str(rows[name])
    assert all(says in rows["uwe/Versuche"]["Hinweise"] for says in ("U+201C", "hielt alles an", "expected ':'"))
    assert rows["kaputt"]["Punkte"] == rows["leer"]["Punkte"] == "nicht gewertet"
    assert [sha256(path) for path in PRECIOUS] == before
    html = (ausgabe / "durchsicht.html").read_text(encoding="utf-8")
    assert "Achtung" not in html and html.count('<a href="durchsicht/') == count


def test_a_jail_without_kernel_stops_the_review_instead_of_marking_the_class(tmp_path, ausgabe, monkeypatch):
    """Liegt es am Rechner, dann bekommt niemand null Punkte."""
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    monkeypatch.setattr(sandbox, "run", lambda *args: "tot")
    with pytest.raises(CourseError, match=r"startet kein Kernel, es ist nichts gewertet.*doctor"):
        run.review_hand_ins([tmp_path / "abgaben"])
    assert not (ausgabe / "durchsicht.csv").exists()


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
    for name, code in {"endlos": ENDLESS, "gierig": HOARD, "gut": "pass"}.items():
        factory.save(factory.inserted(factory.solved(), code), tmp_path / "abgaben" / f"{name}.ipynb")
    run.review_hand_ins([tmp_path / "abgaben"], seconds=90, memory_mb=1500)
    rows = table(ausgabe / "durchsicht.csv")
    assert all(row["Punkte"] == row["von"] for row in rows.values()), "eine eigene Zelle kostet keine Aufgabe"
    assert "Nach 90 Sekunden abgebrochen" in rows["endlos"]["Bemerkungen"] and rows["gut"]["Bemerkungen"] == ""
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


# --- Eine Aufgabe ergänzen -------------------------------------------------------------------------------------------


@pytest.fixture
def with_new_exercise(tmp_path):
    """solutions/ mit einer Aufgabe 1.6, so in JupyterLab angelegt: Alle ids sind zufällig."""
    shutil.copytree(SOLUTIONS, tmp_path / "solutions")
    path = tmp_path / "solutions" / f"{COURSE}.ipynb"
    data = json.loads(path.read_text(encoding="utf-8"))
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
        (
            lambda cells: cells[2].update(source="1", metadata={}),
            "„01-aufgabe-6-loesung“ auch eine mit der grade_id „01-aufgabe-6-pru",
        ),
        (lambda cells: None, "Aufgabe 1.6 in helpers/checks/notebook_01.py"),
        (
            lambda cells: cells[2]["metadata"]["nbgrader"].update(grade_id="6-pruefung"),
            "„6-pruefung“ eine grade_id wie",
        ),
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
