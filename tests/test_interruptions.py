"""Kill -9 in jedem Augenblick, volle Platte, Nur-Lese-Ordner, Strg+C: Der nächste Aufruf kommt von selbst zurecht."""

import ast
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ONE_THREAD, snapshot
from download_server import Server
from test_install import FAKE_PYTHON, Course

from helpers import basics, data
from helpers.basics import ROOT, CourseError, read_json
from helpers.inner import download

# Art des Schreibens → Zahl der Tode. Mit KURS_SAMEN=… ist jeder Lauf ein anderer.
DAILY = {"daten": 5, "kennzahlen": 10}
ALL = {"daten": 40, "kennzahlen": 20, "cnn": 12}
SEED = int(os.environ.get("KURS_SAMEN", "7"))


@pytest.mark.parametrize("wishes", [DAILY, pytest.param(ALL, marks=[pytest.mark.alles, pytest.mark.timeout(900)])])
def test_kill_at_random_moments_is_always_recovered_from(tmp_path, wishes):
    command = [sys.executable, str(ROOT / "tests" / "kill_moments.py"), str(tmp_path), str(SEED)]
    command += [f"{name}={count}" for name, count in wishes.items()]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("installations", [2, pytest.param(15, marks=pytest.mark.alles)])
def test_set_up_killed_at_random_moments_finishes_by_itself(tmp_path, installations):
    """Jeder Aufruf arbeitet auf dem Rest des vorigen weiter; nie heißt es, .venv sei fremd."""
    course = Course(tmp_path)
    course.program("python3.12", FAKE_PYTHON)
    began = time.monotonic()
    assert course.run().returncode == 0
    duration, chance = time.monotonic() - began, random.Random(SEED)
    deaths = 0
    for attempt in range(3 * installations):
        (course.folder / "requirements.txt").write_text(f"# {attempt}\n", encoding="utf-8")
        process = course.start()
        try:
            _, err = process.communicate(timeout=chance.uniform(0, duration))
            assert process.returncode == 0, f"Samen {SEED}, Versuch {attempt}: {err}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            deaths += 1
        if deaths == installations:
            break
        if attempt % 4 == 0 and course.stamp.exists():  # umgezogen: wird gelöscht und neu gebaut
            course.stamp.write_text("ort woanders\n", encoding="utf-8")
    assert deaths == installations
    process = course.run()
    assert process.returncode == 0, f"Samen {SEED}: {process.err}"


# --- Ganz oder gar nicht


SAFE = {"atomic_file", "atomic_folder", "scratch"}
WRITERS = {"write_text", "write_bytes", "savez", "to_csv", "copyfile"}
# Sie bekommen einen vorläufigen Pfad, schreiben in einen Ordner auf Zeit oder in input/, das git kennt.
EXCEPTIONS = {"_download", "renew", "bind", "takes_more", "make_sample", "write", "write_csv", "begin", "furnish"}


def calls(tree) -> list[tuple[ast.Call, str]]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(call, getattr(call.func, "attr", getattr(call.func, "id", ""))) for call in found]


def test_nothing_is_written_where_it_can_be_seen_half():
    """Bericht, Durchsicht, Notebooks, Bilder: Was beim Schreiben stirbt, lag noch im Arbeitsordner."""
    found = []
    for path in (ROOT / "helpers").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        safe = [node for node in ast.walk(tree) if getattr(node, "name", "") in EXCEPTIONS]
        for block in (node for node in ast.walk(tree) if isinstance(node, ast.With)):
            safe += [block] * any(name in SAFE for item in block.items for _, name in calls(item))
        inside = {call for block in safe for call, _ in calls(block)}
        for call, name in calls(tree):
            mode = call.args[1].value if len(call.args) > 1 and isinstance(call.args[1], ast.Constant) else ""
            if call not in inside and (name in WRITERS or name == "open" and str(mode)[:1] in ("w", "a", "x")):
                found.append(f"{path.name}, Zeile {call.lineno}: {name}")
    assert found == []


# --- Reste und Sperren


@pytest.mark.parametrize("arrived", [True, False])
def test_a_half_exchanged_folder_comes_back(tmp_path, arrived):
    """Zwischen den beiden Umbenennungen gibt es einen Augenblick ohne Ziel; starb der Prozess dann, gilt das alte."""
    rest = tmp_path / f".baum-12345678{basics.WORKPLACE}"
    (rest / ".alt" / "baum").mkdir(parents=True)
    (rest / ".alt" / "baum" / "a.txt").write_text("alt")
    if arrived:
        (tmp_path / "baum").mkdir()
        (tmp_path / "baum" / "a.txt").write_text("neu")
    with basics.locked(tmp_path):
        assert (tmp_path / "baum" / "a.txt").read_text() == ("neu" if arrived else "alt")
    assert not rest.exists()


def test_writers_at_once_lose_nothing(ausgabe):
    """Acht Fäden und zwei Prozesse tragen gleichzeitig ein; dazu wird ein Ordner von allen ersetzt.

    Auch räumt keiner weg, woran ein anderer noch schreibt; dass Reste Gestorbener gehen, prüft kill_moments.
    """
    code = "from helpers.basics import record\nfor n in range(10): record(**{f'prozess{n}': n})"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]

    def write(number):
        for step in range(5):
            basics.record(**{f"faden{number}-{step}": step})
            with basics.atomic_folder(ausgabe / "baum") as folder:
                for name in "abc":
                    (folder / name).write_text(str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    figures = read_json(ausgabe / "kennzahlen.json")
    assert len(figures) == 8 * 5 + 10 + 1
    assert len({path.read_text() for path in (ausgabe / "baum").iterdir()}) == 1
    assert sorted(path.name for path in ausgabe.iterdir()) == ["baum", "kennzahlen.json"]


# --- Volle Platte, nur lesbar


def weights(folder):
    with basics.atomic_file(folder / "modell.h5") as path:
        path.write_bytes(b"halb")
        raise OSError("Can't synchronously write data (file write failed: errno = 28)")  # so sagt es h5py


def tree(folder):
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    data.write_tree(data.Dataset(noise, labels, noise, labels, "x" * 3000), folder / "baum")


def loading(folder):
    server = Server({"datei.bin": b"x" * 5000}).start()
    download.fetch(folder / "datei.bin", (server.address,), "", "lassen Sie es")


@pytest.mark.parametrize("write", [weights, tree, loading])
def test_a_disk_that_fills_up_is_a_sentence_and_leaves_nothing(tmp_path, write):
    """Dateien dürfen höchstens 2000 Byte groß werden: So scheitert Schreiben wirklich, mittendrin."""
    before, limit = snapshot(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(CourseError, match="(große Dateien|ist wohl voll).*Platz.*es wurde nichts verändert"):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert snapshot(tmp_path) == before
