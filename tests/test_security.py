"""Fremde Dateien sind Daten: Nichts darin wird ausgeführt, nichts schreibt nach außen, nichts wird zu HTML."""

import ast
import base64
import io
import json
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import snapshot

from helpers import data, features, files, lrp_library, model
from helpers.basics import ROOT, CourseError, write_json
from helpers.model import Run, build_vgg16, keras, load_run, save_run
from helpers.settings import get_profile
from helpers.training import Checkpoint
from helpers.workshop import report
from helpers.workshop.review import page, run, sandbox
from helpers.workshop.review.handins import HandIn

pytestmark = pytest.mark.usefixtures("ausgabe")
SOURCES = sorted((ROOT / "helpers").rglob("*.py"))
HISTORY = [{"epoche": 1, "verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}]
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class Trap:
    """Wer dieses Objekt mit pickle lädt, legt eine Datei an."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


# --- Nichts aus einer Datei wird ausgeführt --------------------------------------------------------------------------


def calls(tree):
    """Alle Aufrufe als (Name mit Punkten, Knoten)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_kein_modul_laedt_code_aus_dateien(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "tarfile"}
    for name, call in calls(tree):
        assert name.split(".")[-1] not in {
            "load_model",
            "model_from_json",
            "read_pickle",
            "extractall",
            "unpack_archive",
            "enable_unsafe_deserialization",
        }, name
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
    config = {
        "module": "keras",
        "class_name": "Functional",
        "config": {"layers": [layer, evil]},
        "registered_name": "x",
    }
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


def test_gewichte_ueberstehen_das_speichern_schicht_fuer_schicht(tmp_path):
    """Auch in einem Prozess, der schon viele Modelle gebaut hat, gehört jede Zahl zu ihrer Schicht."""
    first, second = build_vgg16(32, None, seed=1), build_vgg16(32, None, seed=2)
    path = tmp_path / "modell.keras"
    first.save(path)
    model.load_stored_weights(second, path)
    for mine, other in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_andere_bildgroesse_wird_erkannt(tmp_path):
    build_vgg16(64, None).save(tmp_path / "modell.keras")
    with pytest.raises(model.Unusable, match=r"logits hat die Form \(2048, 10\) statt \(512, 10\)"):
        model.load_stored_weights(build_vgg16(32, None), tmp_path / "modell.keras")


@pytest.fixture
def tiny_learner():
    """Ein winziges Netz mit Optimierer, wie das Training eines hat."""
    learner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    learner.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse")
    learner.optimizer.build(learner.trainable_variables)
    return learner


def stored_state(learner, history=HISTORY, epochs=1, best=(), **arrays) -> dict:
    """Ein Zwischenstand, wie ``Checkpoint`` ihn schreibt."""
    lists = {
        "gewichte": [value + 1 for value in learner.get_weights()],
        "optimierer": [keras.ops.convert_to_numpy(value) for value in learner.optimizer.variables],
        "beste": list(best),
    }
    state = {"epochen": epochs, "verlauf": history, "beste_epoche": 1 if best else None}
    state["anzahl"] = {name: len(values) for name, values in lists.items()}
    found = {f"{name}{i}": value for name, values in lists.items() for i, value in enumerate(values)}
    return {"stand": np.array(json.dumps(state)), **found, **arrays}


def resume(learner, content) -> tuple[int, list]:
    history = []
    checkpoint = Checkpoint("schluessel", history, total=3)
    checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        checkpoint.path.write_bytes(content)
    else:
        np.savez(checkpoint.path, **content)
    return checkpoint.resume(learner), history


def test_ein_passender_zwischenstand_wird_fortgesetzt(tiny_learner):
    before = tiny_learner.get_weights()
    assert resume(tiny_learner, stored_state(tiny_learner)) == (1, HISTORY)
    assert all((new == old + 1).all() for new, old in zip(tiny_learner.get_weights(), before, strict=True))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda net: stored_state(net, gewichte0=np.zeros((4, 2), "f4")),
        lambda net: stored_state(net, gewichte0=np.full((4, 3), np.nan, "f4")),
        lambda net: stored_state(net, optimierer0=np.zeros(5)),
        lambda net: stored_state(net, best=[np.zeros(1)]),
        lambda net: stored_state(net, history=[]),
        lambda net: stored_state(net, history="gut"),
        lambda net: stored_state(net, history=[{"epoche": 1}]),
        lambda net: stored_state(net, history=[{**HISTORY[0], "verlust": "klein"}]),
        lambda net: stored_state(net, epochs=0),
        lambda net: stored_state(net, epochs=4),
        lambda net: stored_state(net, epochs="alle"),
        lambda net: stored_state(net, stand=np.array("{")),
        lambda net: stored_state(net, stand=np.array("[]")),
        lambda net: stored_state(net, stand=np.array([{"a": 1}], dtype=object)),
        lambda net: {key: value for key, value in stored_state(net).items() if key != "gewichte1"},
        lambda net: b"",
        lambda net: b"PK\x05\x06" + bytes(18),
    ],
)
def test_ein_fremder_zwischenstand_aendert_nichts(spoil, tiny_learner, capsys):
    """Alles wird geprüft, bevor etwas übernommen wird: Das Netz bleibt, wie es war, und das wird gesagt."""
    before = [value.copy() for value in tiny_learner.get_weights()]
    assert resume(tiny_learner, spoil(tiny_learner)) == (0, [])
    for new, old in zip(tiny_learner.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
    assert "beginnt von vorn" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["Zwischenstand", "Merkmale", "Vergleichskarten"])
def test_pickle_in_einem_feld_wird_nie_geladen(where, tmp_path, tiny_learner):
    trap = tmp_path / "ausgeloest"
    bait = np.array([Trap(trap)], dtype=object)
    if where == "Zwischenstand":
        assert resume(tiny_learner, stored_state(tiny_learner, stand=bait)) == (0, [])
    elif where == "Merkmale":
        np.save(tmp_path / "a.npy", bait)
        write_json(tmp_path / "a.json", {"bilder": ["a"]})
        assert features._cached_features(tmp_path, {"a"}, (1,)) == {}
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


@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (3,), ()])
def test_merkmale_falscher_form_werden_neu_gerechnet(shape, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    write_json(tmp_path / "a.json", {"bilder": ["a"]})
    assert features._cached_features(tmp_path, {"a"}, (3,)) == {}
    np.save(tmp_path / "a.npy", np.zeros((1, 3), np.float32))
    assert set(features._cached_features(tmp_path, {"a"}, (3,))) == {"a"}


def test_entpacken_hat_eine_grenze(tmp_path, monkeypatch):
    """Aus einem Kilobyte werden nie mehr Byte, als ein echter Datensatz hat."""
    import gzip

    monkeypatch.setattr(files, "MAX_BYTES", 100_000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(100_000)))
    assert len(files.read_bytes(tmp_path / "a.gz")) == 100_000
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(100_001)))
    with pytest.raises(CourseError, match="auch entpackt, mehr als"):
        files.read_bytes(tmp_path / "a.gz")
    (tmp_path / "a").write_bytes(bytes(100_001))
    with pytest.raises(CourseError, match="mehr als"):
        files.read_bytes(tmp_path / "a")


@pytest.mark.parametrize(("key", "value"), [("epochs", "3"), ("epochs", True), ("image_size", 64.0), ("n_train", [1])])
def test_falsche_typen_in_einstellungen_sind_ein_satz(key, value):
    with pytest.raises(CourseError, match="braucht eine ganze Zahl"):
        get_profile("schnell", **{key: value})


@pytest.mark.parametrize("wrong", [{"label": "4"}, {"size": 2.0}, {"top": None}, {"strength": "1"}, {"share": True}])
def test_falsche_typen_im_wasserzeichen_sind_ein_satz(wrong):
    with pytest.raises(CourseError, match="braucht eine .*Zahl"):
        data.Watermark(**wrong)


# --- Abgaben ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jailed", [True, False])
def test_eine_abgabe_sieht_weder_umgebung_noch_heimatordner(jailed, tmp_path, monkeypatch):
    for name in ("MY_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "PYTHONPATH", "PYTHONSTARTUP", "JUPYTER_TOKEN"):
        monkeypatch.setenv(name, "geheim")
    monkeypatch.setenv("HOME", "/heim/der/lehrkraft")
    found = sandbox.environment(tmp_path, jailed)
    text = json.dumps(found)
    assert "geheim" not in text and "lehrkraft" not in text and found["HOME"] == str(tmp_path / "heim")
    code = "import json, os, pathlib; print(json.dumps([dict(os.environ), str(pathlib.Path.home())]))"
    done = subprocess.run([sys.executable, "-c", code], env=found, cwd=tmp_path, capture_output=True, text=True)
    assert "geheim" not in done.stdout and json.loads(done.stdout)[1] == str(tmp_path / "heim")


@pytest.mark.parametrize(
    "value",
    [
        {"feld": [1], "art": "O", "form": [1]},
        {"feld": ["x"], "art": "U100000000", "form": [1]},
        {"feld": ["x"], "art": "S9", "form": [1]},
        {"feld": [0], "art": "M8[s]", "form": [1]},
        {"feld": [0], "art": "V8", "form": [1]},
        {"feld": [0], "art": "<f8", "form": [10**12]},
        {"feld": [0], "art": "a,b,c", "form": [1]},
    ],
)
def test_erfundene_felder_werden_abgelehnt(value):
    from helpers.checks.engine import decode

    with pytest.raises((ValueError, TypeError)):
        decode(value)


def test_ueber_die_grenze_gehen_nur_startwerte(tmp_path, monkeypatch):
    """Im Arbeitsordner einer Abgabe liegt nichts, was beim Lesen Code ausführen könnte."""
    from helpers.checks.engine import exercises, secret_cases
    from helpers.workshop.notebooks import read_notebook

    review = object.__new__(run.Review)
    review.seeds = {number: 3 for number in exercises()}
    (tmp_path / "a").mkdir()
    review._furnish(tmp_path / "a", read_notebook(ROOT / "notebooks" / "01_Daten.ipynb"), everything=False)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file() and not path.is_symlink()]
    suffixes = {path.suffix for path in files if "input" not in path.parts}
    assert suffixes <= {".py", ".j2", ".json", ".txt", ".toml", ".ipynb"}, suffixes
    stored = json.loads((tmp_path / "a" / "austausch" / "startwerte.json").read_text())
    assert stored == review.seeds
    first, second = (secret_cases(exercises()["1.1"], 3) for _ in range(2))
    assert first == second


def test_halbe_zeichen_halten_die_durchsicht_nicht_an(tmp_path):
    """Eine Ausgabe oder ein Dateiname, der kein gültiges Unicode ist, darf die Ergebnisse aller nicht kosten."""
    name = os.fsdecode(b"anna\xff")
    result = run.Result(HandIn(name, tmp_path / "x.ipynb", notes=["\ud800"]))
    target = page.write([result], {}, tmp_path / "aus", [])
    assert "anna" in target.read_text(encoding="utf-8")


# --- Was angezeigt wird, bleibt Text ----------------------------------------------------------------------------------


def assert_harmless(html: str):
    assert "onerror" in html, "der fremde Text fehlt ganz"
    assert "<img src=x" not in html and "<script>alert" not in html and "&lt;img src=x" in html


def test_der_bericht_maskiert_namen_titel_und_zahlen(ausgabe):
    from PIL import Image

    (ausgabe / "bilder").mkdir(parents=True)
    Image.new("L", (9, 9)).save(ausgabe / "bilder" / "<b>fett<b>.png")
    write_json(ausgabe / "bilder" / "<b>fett<b>.json", {"titel": EVIL, "text": EVIL, "zelle": f"{EVIL}#x"})
    figures = {"profil": EVIL, "versionen": {EVIL: EVIL}, "minuten": {EVIL: 1.0}, "daten": {EVIL: EVIL}}
    figures["vertrauen"] = {
        "regel": EVIL,
        "verdacht": EVIL,
        "modelle": {EVIL: {"urteil": EVIL, "grund": EVIL, "pruefungen": {EVIL: {"frage": EVIL, "gemessen": EVIL}}}},
    }
    write_json(ausgabe / "kennzahlen.json", figures)
    html = report.build_report().read_text(encoding="utf-8")
    assert_harmless(html)
    assert "<b>fett" not in html and "default-src 'none'" in html


def test_der_bericht_maskiert_klassennamen(ausgabe, monkeypatch):
    monkeypatch.setattr(report, "CLASS_NAMES", (EVIL, *report.CLASS_NAMES[1:]))
    write_json(ausgabe / "kennzahlen.json", {"confusion": [[1] * 10] * 10})
    assert_harmless(report.build_report().read_text(encoding="utf-8"))


def test_die_durchsicht_maskiert_dateinamen_und_bemerkungen(tmp_path):
    result = run.Result(HandIn(EVIL, tmp_path / "x.ipynb", notes=[EVIL]))
    target = page.write([result], {}, tmp_path / "aus", [EVIL])
    html = target.read_text(encoding="utf-8")
    assert_harmless(html)
    assert "default-src 'none'" in html


def test_eine_fehlermeldung_ist_eine_zeile_ohne_steuerzeichen(capsys):
    from helpers.__main__ import main

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


def test_jupyter_bindet_ab_werk_an_loopback_und_verlangt_ein_token(tmp_path, monkeypatch):
    from jupyter_server.serverapp import ServerApp

    for name in ("JUPYTER_TOKEN", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    server = ServerApp()
    assert server.ip in ("localhost", "127.0.0.1") and not server.allow_remote_access
    assert len(server.identity_provider_class(parent=server).token) >= 32


def test_jedes_paket_ist_mit_pruefsumme_festgelegt():
    blocks = re.findall(r"^[a-z0-9][^\n]*\n(?: +[^\n]*\n)*", (ROOT / "requirements.txt").read_text(), re.M)
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+==\S+", block) and "--hash=sha256:" in block, block.split()[0]
    install = (ROOT / "install.bash").read_text(encoding="utf-8")
    assert install.count("--require-hashes") >= 2


def test_ein_job_meldet_bekannte_schwachstellen():
    text = (ROOT / ".github" / "workflows" / "kurs.yml").read_text(encoding="utf-8")
    job = text.partition("\n  schwachstellen:")[2]
    assert "pip-audit" in job and "requirements.txt" in job and "--require-hashes" in job
    assert "schedule:" in text, "auch ohne neue Commits, denn Schwachstellen werden später bekannt"
