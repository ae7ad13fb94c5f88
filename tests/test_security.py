"""Fremde Dateien sind Daten: Nichts darin wird ausgeführt, nichts schreibt nach außen, nichts wird zu HTML."""

import ast
import base64
import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
from conftest import snapshot
from PIL import Image

from helpers import data, lrp_library
from helpers.__main__ import main
from helpers.basics import ROOT, CourseError, write_json
from helpers.checks import exercises
from helpers.learner import extract_features, load_state
from helpers.model import Run, keras, load_run, save_run
from helpers.workshop import report
from helpers.workshop.notebooks import read_notebook
from helpers.workshop.review import page, run
from helpers.workshop.review.handins import HandIn

pytestmark = pytest.mark.usefixtures("ausgabe")
SOURCES = sorted((ROOT / "helpers").rglob("*.py"))
HISTORY = [{"epoche": 1, "verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}]
LOADERS = "load_model model_from_json read_pickle extractall unpack_archive enable_unsafe_deserialization".split()
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class Trap:
    """Wer dieses Objekt mit pickle lädt, legt eine Datei an."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


# --- Nichts aus einer Datei wird ausgeführt --------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_kein_modul_laedt_code_aus_dateien(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "tarfile"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        assert name.split(".")[-1] not in LOADERS, name
        assert name not in ("eval", "exec", "os.system"), name
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        assert options.get("shell", "False") == "False", name
        assert options.get("safe_mode", "True") == "True" and options.get("extract", "False") == "False", name
        if name == "np.load":
            assert options.get("allow_pickle") == "False", "np.load ohne allow_pickle=False"


def test_auch_die_notebooks_laden_nichts_ausfuehrbares():
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert not re.search(r"pickle|load_model|\beval\(|\bexec\(|allow_pickle", code), path.name


def test_modell_mit_falle_im_bauplan_ist_nur_eine_zahlentabelle(small_vgg16, tmp_path):
    """Der Bauplan nennt eine Lambda-Schicht mit Code und ein fremdes Modul; gelesen werden nur die Gewichte."""
    folder = save_run("sauber", Run(small_vgg16, HISTORY, {"image_size": 32}))
    trap = tmp_path / "ausgeloest"
    code = base64.b64encode(b"\xe3" + bytes(40)).decode()
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "x", "function": [code, None, None]}}
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {trap}"}}
    config = {"module": "keras", "class_name": "Functional", "config": {"layers": [layer, evil]}}
    with zipfile.ZipFile(folder / "modell.keras") as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(folder / "modell.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("../../draussen.txt", "x")
        archive.writestr(str(tmp_path / "absolut.txt"), "x")
        archive.writestr("model.weights.h5", weights)
    before = snapshot(tmp_path)
    run = load_run("sauber")
    for mine, other in zip(run.model.get_weights(), small_vgg16.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert snapshot(tmp_path) == before and not trap.exists()


@pytest.mark.parametrize("where", ["Zwischenstand", "Merkmale", "Vergleichskarten"])
def test_pickle_in_einem_feld_wird_nie_geladen(where, tmp_path, ausgabe):
    trap = tmp_path / "ausgeloest"
    bait = np.array([Trap(trap)], dtype=object)
    inputs, images = keras.Input((32, 32, 3)), np.zeros((1, 28, 28), np.uint8)
    net = keras.Model(inputs, keras.layers.Flatten()(inputs))
    if where == "Zwischenstand":
        net.compile("sgd")
        np.savez(tmp_path / "a.npz", verlauf=bait)
        assert load_state(tmp_path / "a.npz", net, []) == ([], [])
    elif where == "Merkmale":
        before = extract_features(net, images)
        np.savez(next(ausgabe.rglob("merkmale/*.npz")), bilder=bait, merkmale=bait)
        np.testing.assert_array_equal(extract_features(net, images), before)
    else:
        np.savez(tmp_path / "a.npz", pruefsumme=bait)
        with pytest.raises(CourseError, match="beschädigt"):
            lrp_library.load_reference(tmp_path / "a.npz")
    assert not trap.exists()
    # Gegenprobe: Die Falle ist scharf.
    stream = io.BytesIO()
    np.save(stream, bait)
    stream.seek(0)
    np.load(stream, allow_pickle=True)
    assert trap.exists()


@pytest.mark.parametrize("wrong", [{"label": "4"}, {"size": 2.0}, {"top": None}, {"strength": "1"}, {"share": True}])
def test_falsche_typen_im_wasserzeichen_sind_ein_satz(wrong):
    with pytest.raises(CourseError, match="braucht eine .*Zahl"):
        data.Watermark(**wrong)


# --- Abgaben ---------------------------------------------------------------------------------------------------------


def test_ueber_die_grenze_gehen_nur_startwerte(tmp_path, monkeypatch):
    """Im Arbeitsordner einer Abgabe liegt nichts, was beim Lesen Code ausführen könnte."""
    review = object.__new__(run.Review)
    review.seeds = {number: 3 for number in exercises()}
    (tmp_path / "a").mkdir()
    review._furnish(tmp_path / "a", read_notebook(ROOT / "notebooks" / "01_Daten.ipynb"), everything=False)
    suffixes = {path.suffix for path in (tmp_path / "a").rglob("*") if path.is_file() and "input" not in path.parts}
    assert suffixes <= {".py", ".j2", ".json", ".txt", ".toml", ".ipynb"}, suffixes
    stored = json.loads((tmp_path / "a" / "austausch" / "startwerte.json").read_text())
    assert stored == review.seeds


def test_halbe_zeichen_halten_die_durchsicht_nicht_an(tmp_path):
    """Eine Ausgabe oder ein Dateiname, der kein gültiges Unicode ist, darf die Ergebnisse aller nicht kosten."""
    name = os.fsdecode(b"anna\xff")
    result = run.Result(HandIn(name, tmp_path / "x.ipynb", notes=["\ud800"]))
    target = page.write([result], {}, tmp_path / "aus", [])
    assert "anna" in target.read_text(encoding="utf-8")


# --- Was angezeigt wird, bleibt Text ----------------------------------------------------------------------------------


def test_der_bericht_maskiert_dateinamen_urteile_und_klassen(ausgabe, monkeypatch):
    """Titel, Texte und Versionen prüft test_report."""
    (ausgabe / "bilder").mkdir(parents=True)
    Image.new("L", (9, 9)).save(ausgabe / "bilder" / "<b>fett<b>.png")
    write_json(ausgabe / "bilder" / "<b>fett<b>.json", {"titel": "T", "text": "T", "zelle": f"{EVIL}#x"})
    monkeypatch.setattr(report, "CLASS_NAMES", (EVIL, *report.CLASS_NAMES[1:]))
    figures = {"minuten": {EVIL: 1.0}, "daten": {EVIL: EVIL}, "confusion": [[1] * 10] * 10}
    check = dict.fromkeys(("frage", "gemessen", "wert", "tief", "hoch", "schwelle", "ja_wenn", "antwort"), EVIL)
    figures["vertrauen"] = {
        "regel": EVIL,
        "verdacht": EVIL,
        "modelle": {EVIL: {"urteil": EVIL, "grund": EVIL, "pruefungen": {EVIL: check}}},
    }
    write_json(ausgabe / "kennzahlen.json", figures)
    html = report.build_report().read_text(encoding="utf-8")
    assert html.count("&lt;img src=x") >= 10, "der fremde Text fehlt"
    assert "<img src=x" not in html and "<script>alert" not in html and "<b>fett" not in html
    assert "default-src 'none'" in html


def test_eine_fehlermeldung_ist_eine_zeile_ohne_steuerzeichen(capsys):
    assert main(["daten", "--eingabe", "a\n\x1b[2J\r<b>"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err and "\r" not in err


# --- Jupyter, Pakete, Ablauf ------------------------------------------------------------------------------------------


def test_jupyter_behaelt_token_und_loopback():
    """Weder der Start noch eine mitgelieferte Einstellung schaltet einen Schutz ab."""
    weaker = re.compile(
        r"(token|password)[\"']?\s*[=:]\s*([\"']{2}|None)|\bip[\"']?\s*[=:]\s*[\"']?(?!127\.|localhost)[\d*]|0\.0\.0\.0"
        r"|allow_root|allow_remote_access|disable_check_xsrf|allow_origin|--no-auth|allow_unauthenticated_access"
    )
    for text in ('c.ServerApp.ip = "0.0.0.0"', "--ip=*", '"token": ""', "token = ''", "c.ServerApp.allow_origin = 1"):
        assert weaker.search(text), f"Gegenprobe: {text}"
    assert not weaker.search('"ip": "127.0.0.1", "token_file": "x"')
    files = [path for path in ROOT.glob("*") if path.suffix in (".bash", ".py", ".toml", ".yml", ".json")]
    for folder in ("helpers", ".github", "solutions", "notebooks"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".json", ".yml", ".ipynb")]
    looked = 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        looked += "jupyter" in text
        assert not weaker.search(text), f"{path.name}: {weaker.search(text)[0]}"
    assert looked >= 3


def test_ein_job_meldet_bekannte_schwachstellen():
    text = (ROOT / ".github" / "workflows" / "kurs.yml").read_text(encoding="utf-8")
    job = text.partition("\n  schwachstellen:")[2]
    assert "pip-audit" in job and "requirements.txt" in job and "--require-hashes" in job
    assert "schedule:" in text, "auch ohne neue Commits, denn Schwachstellen werden später bekannt"
