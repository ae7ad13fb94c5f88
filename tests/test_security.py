"""Fremde Dateien sind Daten: Nichts darin wird ausgeführt, nichts schreibt nach außen, nichts wird zu HTML.

Dass JupyterLab Token und 127.0.0.1 behält, prüft test_start_page an einem laufenden.
"""

import ast
import json
import zipfile

import numpy as np
import pytest
from conftest import snapshot
from PIL import Image

from helpers.__main__ import main
from helpers.basics import ROOT, write_json
from helpers.model import Run, load_run, save_run
from helpers.workshop import report

pytestmark = pytest.mark.usefixtures("ausgabe")
SOURCES = [*sorted((ROOT / "helpers").rglob("*.py")), *sorted((ROOT / "solutions").glob("*.ipynb"))]
HISTORY = [{"epoche": 1, "verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}]
LOADERS = "load_model model_from_json read_pickle extractall unpack_archive enable_unsafe_deserialization".split()
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


# --- Nichts aus einer Datei wird ausgeführt --------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nichts_laedt_code_aus_dateien(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    tree = ast.parse(text)
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "tarfile"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        # Fremde Netze liest nur own_model, nach Prüfung jeder Klasse in ihrem Bauplan.
        checked = path.name == "own_model.py" and name == "keras.saving.load_model" and options["safe_mode"] == "True"
        assert name.split(".")[-1] not in LOADERS or checked, name
        assert name not in ("eval", "exec", "os.system"), name
        for option, harmless in (("shell", "False"), ("safe_mode", "True"), ("extract", "False")):
            assert options.get(option, harmless) == harmless, name
        assert name != "np.load" or options.get("allow_pickle") == "False", "np.load ohne allow_pickle=False"


def test_modell_mit_falle_im_bauplan_ist_nur_eine_zahlentabelle(small_vgg16, tmp_path):
    """Der Bauplan ruft einen Befehl auf, die Pfade zeigen nach außen; gelesen werden nur die Gewichte."""
    folder = save_run("sauber", Run(small_vgg16, HISTORY, {"image_size": 32}))
    trap = tmp_path / "ausgeloest"
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {trap}"}}
    with zipfile.ZipFile(folder / "modell.keras") as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(folder / "modell.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(evil))
        archive.writestr("../../draussen.txt", "x")
        archive.writestr(str(tmp_path / "absolut.txt"), "x")
        archive.writestr("model.weights.h5", weights)
    before = snapshot(tmp_path)
    run = load_run("sauber")
    for mine, other in zip(run.model.get_weights(), small_vgg16.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert snapshot(tmp_path) == before and not trap.exists()


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
