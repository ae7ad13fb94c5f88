"""Die Startseite und ``bash install.bash lab``: Landkarte, Fortschritt, doctor; eigener Port, eigenes Token."""

import asyncio
import json
import re
import shutil
import time
import urllib.error

import psutil
import pytest
from lab_server import running_lab

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, ROOT, START_PAGE, german, read_json, write_json
from helpers.workshop import start_page
from helpers.workshop.doctor import Check
from helpers.workshop.jupyter.__main__ import arguments, prepare_environment
from helpers.workshop.start_page import STORED_MINUTES, course_map, doctor_text, page


def test_map_agrees_with_notebooks_and_readme(ausgabe):
    """Die Kurstabelle der README nennt die Minuten der Notebooks und die gemessenen aus input/rechenzeiten.json."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(\d\d_\w+)\]\S+ \| .+? \| (.+) \|$", readme, re.MULTILINE))
    stops, stored = course_map(), read_json(STORED_MINUTES)
    assert [stop.name for stop in stops] == list(COURSE_NOTEBOOKS) == list(rows) == list(stored["minuten"])
    for stop in stops:
        computing = german(float(stored["minuten"][stop.name]), 1)
        assert rows[stop.name] == f"{stop.reading} min | {computing} min | {stop.exercises} min"
        assert stop.numbers and stop.topic and not stop.solved
        assert f"[{stop.name}]({stop.name}.ipynb)" in page() and f"| {computing} min |" in page()
    total, memory = german(float(sum(stored["minuten"].values())), 1), german(stored["max_rss_mb"] / 1000, 1)
    text = " ".join(readme.split())
    assert f"zusammen {total} Minuten und höchstens {memory} GB" in text and stored["gemessen"][:19] in text
    hours = round(sum(stop.reading + stop.exercises for stop in stops) / 60)
    assert f"Allein braucht man etwa {hours} Stunden." in text
    assert stored["max_rss_mb"] == max(stored["rss_mb"].values())
    each = ", ".join(f"{name[:2]}: {german(stored['rss_mb'][name] / 1000, 1)} GB" for name in COURSE_NOTEBOOKS)
    assert f"({each})" in text, "welches Notebook welchen Speicher braucht"


@pytest.mark.parametrize(
    ("solved", "said"),
    [
        ("2.2", "**{solved} von {total} Aufgaben gelöst.** Weiter geht es mit [02_VGG16]"),
        ("alle", "**{total} von {total} Aufgaben gelöst.** Der Kurs ist geschafft."),
        ("beschädigt", "**0 von {total} Aufgaben gelöst.** Fangen Sie an mit [01_Daten]"),  # ist wie keine Datei
    ],
)
def test_start_page_says_where_to_go_on(ausgabe, solved, said):
    """Aufgaben, die es nicht mehr gibt, zählen nicht. Was ``check`` in diese Datei schreibt, prüft test_checks."""
    numbers, file = [number for stop in course_map() for number in stop.numbers], ausgabe / "fortschritt.json"
    count = numbers.index(solved) + 1 if solved in numbers else len(numbers)
    write_json(file, {number: {"gelöst": True} for number in (*numbers[:count], "9.9")})
    if solved == "beschädigt":
        file.write_text("[1", encoding="utf-8")
    shown = page()
    assert said.format(solved=count, total=len(numbers)) in shown
    assert ("| ✔ " in shown) == (solved != "beschädigt") and ("| ●●○" in shown) == (solved == "2.2")


def test_doctor_names_what_is_missing_with_the_remedy():
    good, bad = Check("Python", True, "3.12"), Check("keras", False, "fehlt", "bash install.bash")
    assert "✔ **Alles da**, 1 von 1 Prüfungen" in doctor_text([good])
    text = doctor_text([good, bad])
    assert "- **keras:** fehlt → bash install.bash" in text and "Alles da" not in text


def test_lab_is_told_only_what_the_learner_did_not_say(monkeypatch):
    given = ["--ip=0.0.0.0", "--LabApp.default_url=/tree", "--no-browser"]
    told = arguments(given)
    assert told[:3] == given and not [text for text in told[3:] if text.startswith(("--ServerApp.ip", "--LabApp"))]
    monkeypatch.setenv("KURS_AUSGABE", "ausgabe/ich")
    environment = {"JUPYTER_CONFIG_PATH": "eigene", "MPLBACKEND": "agg"}
    prepare_environment(environment)
    assert environment["JUPYTER_CONFIG_PATH"].endswith(":eigene") and "MPLBACKEND" not in environment
    assert environment["KURS_AUSGABE"].startswith("/")


@pytest.fixture
def contents(ausgabe, tmp_path):
    """Die Dateien des Kurses, so wie JupyterLab sie liest, in ``tmp_path``."""
    from helpers.workshop.jupyter.contents import CourseContents

    for name in (START_PAGE, "01_Daten"):
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", tmp_path)
    return CourseContents(root_dir=str(tmp_path))


def test_start_page_is_filled_on_reading_and_saved_without(contents, tmp_path):
    stored = read_json(tmp_path / f"{START_PAGE}.ipynb")

    async def open_and_save(name):
        model = await contents.get(f"{name}.ipynb")
        read = json.loads(json.dumps(model["content"]["cells"]))
        await contents.save(model, f"{name}.ipynb")
        return [cell for cell in read if cell.get("outputs")]

    (cell,) = asyncio.run(open_and_save(START_PAGE))
    assert cell["id"] == start_page.CELL_ID and "Ihr Fortschritt" in cell["outputs"][0]["data"]["text/markdown"]
    assert read_json(tmp_path / f"{START_PAGE}.ipynb")["cells"] == stored["cells"]
    assert asyncio.run(open_and_save("01_Daten")) == []


def test_a_broken_start_page_still_opens(contents, monkeypatch):
    monkeypatch.setattr(start_page, "page", lambda: 1 / 0)
    assert len(asyncio.run(contents.get(f"{START_PAGE}.ipynb"))["content"]["cells"]) == 3


def listening(pid: int) -> set:
    """Adressen, an denen ein Prozess zuhört; auf einer vollen Maschine übergeht /proc/net/tcp beim Lesen Zeilen."""
    for _ in range(20):
        found = {c.laddr.ip for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"}
        if found:
            return found
        time.sleep(0.5)
    return set()


def test_two_learners_get_their_own_port_token_and_progress(tmp_path):
    """Zugleich gestartet, mit demselben gewünschten Port; beide nur auf diesem Rechner zu erreichen."""
    folders = [tmp_path / "anna", tmp_path / "ben"]
    write_json(folders[1] / "ausgabe" / "fortschritt.json", {"1.1": {"gelöst": True, "fehlversuche": 0}})
    with running_lab(folders[0], "--port=18900") as anna, running_lab(folders[1], "--port=18900") as ben:
        labs = [anna(), ben()]
        assert labs[0].port != labs[1].port and labs[0].token != labs[1].token
        for lab, solved in zip(labs, (0, 1), strict=True):
            assert listening(lab.process.pid) == {"127.0.0.1"}
            assert f"/lab/tree/{START_PAGE}.ipynb?" in lab.url
            cells = lab.get(f"/api/contents/{START_PAGE}.ipynb")["content"]["cells"]
            (text,) = [o["data"]["text/markdown"] for cell in cells for o in cell.get("outputs", [])]
            assert f"**{solved} von " in text
        with pytest.raises(urllib.error.HTTPError, match="403"):
            labs[0].get("/api/contents", token=labs[1].token)
    assert labs[0].process.returncode is not None
