"""Was Menschen wirklich haben, wird gelesen; was kaputt ist, endet in einem Satz und zerstört nichts."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import time

import bad_inputs
import numpy as np
import pytest
from conftest import snapshot, table_of, write_csv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_data import write_idx

from helpers import data
from helpers.__main__ import main
from helpers.basics import (
    COURSE_MODEL,
    COURSE_MODEL_CARD,
    ROOT,
    START_PAGE,
    CourseError,
    read_json,
    sha256,
    write_json,
)
from helpers.course_model import load_course_model
from helpers.inner import files
from helpers.lrp_library import load_reference
from helpers.model import check_weights
from helpers.parameters import CHOICES, NUMBERS, check_parameters
from helpers.workshop.notebooks import declared_parameters, read_notebook
from helpers.workshop.review import run as review_run
from helpers.workshop.review.handins import references

pytestmark = pytest.mark.usefixtures("ausgabe")
EXAMPLES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
CASES = bad_inputs.cases()
DAILY = bad_inputs.daily(CASES)
# „In Sekunden“, mit Luft für einen Rechner, auf dem gerade viel anderes läuft.
LIMIT_S = 20
ENGLISH = re.compile(
    r"\b(the|error|invalid|unable|cannot|could not|failed|expected|unexpected|No such|not found)\b", re.I
)


@pytest.fixture(scope="module")
def frame(tiny):
    """Die 40 Trainingsbilder als Tabelle im Kaggle-Format."""
    return table_of(tiny.train_images, tiny.train_labels)


def text_of(table, **options) -> str:
    stream = io.StringIO()
    table.to_csv(stream, index=options.pop("index", False), lineterminator="\n", **options)
    return stream.getvalue()


VARIANTS = {
    "nur CR": lambda t: text_of(t).replace("\n", "\r"),
    "Leerzeilen davor, kein Zeilenende": lambda t: "\n\n" + text_of(t).rstrip("\n"),
    "Leerzeichen nach dem Komma": lambda t: text_of(t).replace(",", ", "),
    "Index mit Namen": lambda t: text_of(t, index=True, index_label="id"),
    "Index ab 1, ohne Kopf": lambda t: text_of(t.set_axis(range(1, 41)), index=True, header=False),
    "Index von R ohne Überschrift": lambda t: text_of(t, index=True).removeprefix(","),
    "Pixel ab 0": lambda t: text_of(t.set_axis(["label", *(f"pixel{n}" for n in range(784))], axis=1)),
    "Spalten nur gezählt": lambda t: text_of(t.set_axis(range(785), axis=1)),
    "sep=; von Excel": lambda t: "sep=;\r\n" + text_of(t, sep=";"),
    "sep=, hinter BOM und Titel": lambda t: "\ufeffsep=,\nModebilder, Stand 2024\n\n" + text_of(t),
    "senkrechte Striche": lambda t: text_of(t, sep="|"),
    "leere Spalten am Ende": lambda t: text_of(t).replace("\n", ",,,\n"),
    "leere Spalte ab Zeile 9, Semikolon": lambda t: "\n".join(
        line + ";" * (number > 8) for number, line in enumerate(text_of(t, sep=";").split("\n"), 1)
    ),
    "Schlusszeilen aus Trennzeichen": lambda t: text_of(t) + 3 * ("," * 784 + "\n") + ";;;\n" + "," * 800,
    "Index aus Namen": lambda t: text_of(t.set_axis([f"img_{n}.png" for n in range(40)]), index=True, index_label="id"),
    "Namen hinten, leere Spalten, ohne Kopf": lambda t: text_of(t, header=False).replace("\n", ",a b.png,,\n"),
    "deutscher Kopf in Großbuchstaben": lambda t: text_of(t).replace("label", "KLASSE").replace("pixel", "PIXEL"),
}


@pytest.mark.parametrize("case", VARIANTS)
def test_csv_wie_man_sie_hat_wird_gelesen(case, tmp_path, frame, tiny):
    path = tmp_path / "a.csv"
    path.write_bytes(VARIANTS[case](frame).encode())
    images, labels = files.read_csv(path)
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, tiny.train_labels)
    np.testing.assert_array_equal(images, tiny.train_images)


@pytest.fixture(scope="module")
def known():
    """Die Aufgaben der Notebooks, wie die Durchsicht sie kennt."""
    return references()


@pytest.fixture(scope="module", autouse=True)
def untouched_course():
    """Keiner der Fälle darf am Kurs selbst etwas ändern."""
    folders = [ROOT / name for name in ("input", "notebooks", "solutions")]
    before = [snapshot(folder) for folder in folders]
    yield
    assert [snapshot(folder) for folder in folders] == before


@pytest.fixture(scope="module")
def template(tiny, tmp_path_factory):
    """Gute Eingaben und eine fertige Ausgabe: was ein Fehler nicht zerstören darf."""
    folder = tmp_path_factory.mktemp("vorlage")
    (folder / "abgaben").mkdir()
    write_csv(folder / "csv", tiny)
    write_idx(folder / "idx", tiny)
    out = folder / "ausgabe"
    data.write_tree(tiny, out / "daten", {"seed": 0})
    write_json(out / "kennzahlen.json", {"n_train": 40, "test_accuracy": 0.9, "minuten": {"01_Daten": 0.1}})
    write_json(out / "fortschritt.json", {"1.1": {"gelöst": True, "fehlversuche": 0}})
    write_json(out / "modelle" / "sauber" / "einstellungen.json", {"name": "voll", "image_size": 32, "n_train": 60_000})
    (out / "modelle" / "sauber" / "verlauf.csv").write_text(
        "epoche,verlust,treffer,val_verlust,val_treffer\n1,0.5,0.5,0.5,0.5\n"
    )
    (out / "modelle" / "sauber" / "modell.keras").write_bytes(b"altes Modell")
    for name in ("bericht.html", "durchsicht.html", "durchsicht.csv", "durchsicht/001_anna.html", "tafel.json"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("von früher")
    return folder


@pytest.fixture
def place(template, tmp_path, monkeypatch):
    """Eine Kopie der Vorlage; die Ausgabe darin ist der Ausgabeordner."""
    folder = tmp_path / "ort"
    shutil.copytree(template, folder)
    monkeypatch.setenv("KURS_AUSGABE", str(folder / "ausgabe"))
    return folder


def everything(folder) -> tuple:
    """Auch was ``snapshot`` nicht lesen kann: Röhren und Verweise."""
    others = [str(path) for path in sorted(folder.rglob("*")) if not path.is_file() and not path.is_dir()]
    return snapshot(folder), others


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in DAILY else pytest.mark.alles) for name in CASES]
)
def test_falsche_eingabe_ist_ein_satz_und_zerstoert_nichts(name, place, known, monkeypatch, capsys):
    case = CASES[name]
    monkeypatch.setattr(review_run, "references", lambda: known)  # nbgrader braucht dafür eine Sekunde
    case.spoil(place)
    before = everything(place)
    start = time.monotonic()
    code = main([argument.replace("{d}", str(place)) for argument in case.call])
    seconds = time.monotonic() - start
    out, err = capsys.readouterr()
    sentence = err.strip()
    assert code == 2, (code, out, err)
    assert sentence.startswith("✘ ") and sentence.endswith(".") and "\n" not in sentence, sentence
    assert not re.search(r"Traceback|Exception|Warning", out + err), err
    assert re.search(r"Sie |Erlaubt|braucht|--hilfe", sentence), f"ohne Abhilfe: {sentence}"
    assert not ENGLISH.search(sentence.replace(str(place), "")), f"englisch: {sentence}"
    for fragment in case.says:
        assert fragment in sentence, sentence
    assert everything(place) == before, "es wurde etwas verändert"
    assert seconds < LIMIT_S or os.environ.get("KURS_OHNE_ZEITEN") == "1"


@pytest.mark.parametrize("kind", ["csv", "idx"])
def test_ohne_den_fehler_gelingt_derselbe_aufruf(kind, place, tiny):
    """Gegenprobe: Die Vorlage selbst ist in Ordnung."""
    assert main(["daten", "--eingabe", str(place / kind), "--ziel", str(place / "neu"), "--seed", "4294967295"]) == 0
    np.testing.assert_array_equal(data.read_tree(place / "neu").train_images, tiny.train_images)


def test_jeder_parameter_der_notebooks_hat_eine_regel():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        defaults = declared_parameters(read_notebook(path))
        # Nur die Startseite rechnet nichts und hat darum keine.
        assert bool(defaults) == (path.stem != START_PAGE), path.name
        assert set(defaults) <= {"profil", "epochen", *CHOICES, *NUMBERS}, path.name
        check_parameters(defaults)


def test_richtige_parameter_gehen_durch():
    for values in (
        {"seed": 2**32 - 1, "epochen": None, "bilder": 2, "welches_modell": "sauber", "profil": "voll"},
        {"regeln": ["lrp.z"], "verfahren": ["Grad-CAM", "Zufall"], "quelle": "../input/fashion-mnist"},
        {"umschlag": "Jörg-Änne 3", "label": -1, "np": np, "zahl": "abc"},
    ):
        check_parameters(values, ROOT / "notebooks")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("bilder", 0),
        ("bilder", True),
        ("regeln", "lrp.z"),
        ("verfahren", ["Gradcam"]),
        ("quelle", "gibt/es/nicht"),
        ("profil", "Schnell"),
    ],
)
def test_in_einem_notebook_beurteilen_die_parameter_sich_selbst(name, value):
    """Wie nach papermill ohne „helpers kurs“: Der falsche Wert steht zwischen allem, was im Notebook sonst so heißt."""
    with pytest.raises(CourseError, match="Es braucht|Setzen Sie|Wählen Sie") as caught:
        check_parameters({"np": np, "profil": "schnell", "seed": 0, "bilder": 20, "epochen": None, name: value})
    assert f"„{value}“" in str(caught.value)


@pytest.mark.parametrize("name", bad_inputs.garbage())
def test_beschaedigte_mitgelieferte_datei(name, tmp_path):
    path = tmp_path / "datei"
    path.write_bytes(bad_inputs.garbage()[name])
    for read_it in (check_weights, load_reference, lambda path: load_course_model(COURSE_MODEL, path)):
        with pytest.raises(CourseError, match="datei.*Holen Sie"):
            read_it(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"einstellungen": None}, "passt nicht"),
        ({"einstellungen": {"image_size": "64"}}, "passt nicht"),
        ({"sha256": 3}, "Prüfsumme"),
    ],
)
def test_kursmodell_und_steckbrief_passen_nicht(changes, said, tmp_path):
    path, card = tmp_path / "kursmodell.h5", tmp_path / "karte.json"
    path.write_bytes(bad_inputs.h5({}))
    write_json(card, read_json(COURSE_MODEL_CARD) | {"sha256": sha256(path), **changes})
    with pytest.raises(CourseError, match=f"{said}.*Holen Sie"):
        load_course_model(path, card)


def test_wenig_arbeitsspeicher_ist_ein_satz(monkeypatch, capsys):
    def hungry(*_, **__):
        raise MemoryError

    monkeypatch.setattr(data, "generate", hungry)
    assert main(["daten"]) == 2
    assert re.fullmatch(r"✘ Der Arbeitsspeicher reicht nicht: .*Sie .*\.\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("command", "changes", "said"),
    [
        ("auswerten", {"KERAS_BACKEND": "abakus"}, r"KERAS_BACKEND=abakus.*Löschen Sie"),
        ("daten --n-train 20", {"KURS_AUSGABE": "/dev/null"}, "/dev/null.*Ordner"),
        ("daten --eingabe \udcff", {}, "kein UTF-8: Benennen Sie"),
    ],
)
def test_falsche_umgebung_ist_ein_satz(command, changes, said):
    command = [sys.executable, "-m", "helpers", *command.split()]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **changes}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and re.fullmatch(f"✘ .*{said}.*\n", done.stderr), done.stderr


def read_content(content: bytes, folder):
    path = folder.getbasetemp() / "a.csv"
    path.write_bytes(content)
    return files.read_csv(path)


PIECE = st.one_of(st.binary(max_size=6), st.sampled_from([b",", b"\n", b'"', b";", b"\r\n", b"-", b".", b"\xff"]))
EDIT = st.tuples(st.integers(0, 12_000), st.integers(0, 9), PIECE)  # Stelle, gelöschte Byte, eingesetzte Byte


@EXAMPLES
@given(changes=st.lists(EDIT, min_size=1, max_size=4))
def test_beschaedigte_tabelle_ist_ein_satz_oder_eine_tabelle(changes, frame, tmp_path_factory):
    content = text_of(frame[:4]).encode()
    for position, cut, piece in changes:
        content = content[:position] + piece + content[position + cut :]
    try:
        images, labels = read_content(content, tmp_path_factory)
    except CourseError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
    else:
        assert images.dtype == labels.dtype == np.uint8 and images.shape == (len(labels), 28, 28)
        assert labels.max() <= 9 and len(labels) <= 5 + len(changes), "eine Änderung macht höchstens eine Zeile mehr"


@EXAMPLES
@given(options=st.data())
def test_jede_mischung_der_spielarten_wird_gelesen(options, frame, tiny, tmp_path_factory):
    draw, one_of = options.draw, lambda *choices: options.draw(st.sampled_from(choices))
    rows = draw(st.integers(3, 12))
    table = frame[:rows]
    header = one_of(True, False) or rows < 9  # ohne Kopfzeile dürfen nicht die meisten Klassen 0 sein
    if header and one_of(True, False):
        table = table[np.random.default_rng(draw(st.integers(0, 999))).permutation(table.columns)]
    if one_of(True, False):
        table = table.astype(float)
    separator = one_of(",", ";", "\t")
    decimal = one_of(".", ",") if separator == ";" else "."
    quoting = one_of(csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)
    index = one_of(True, False)
    text = text_of(table, sep=separator, decimal=decimal, quoting=quoting, header=header, index=index)
    text = one_of("", "\ufeff") + text.replace("\n", one_of("\n", "\r\n", "\n\n"))
    images, labels = read_content(text.encode(), tmp_path_factory)
    np.testing.assert_array_equal(labels, tiny.train_labels[:rows])
    np.testing.assert_array_equal(images, tiny.train_images[:rows])
