"""Der Benchmark misst wirklich dasselbe wie die anderen Bibliotheken und schreibt auf, was er misst."""

import subprocess
import sys

import pytest
from benchmark import environment

from helpers.basics import ROOT, read_json


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Ein kurzer Lauf bei 32 × 32 Pixeln, alle Bibliotheken."""
    folder = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KURS_AUSGABE", str(folder))
        options = ["--teile", "gradcam", "lrp", "--groessen", "32", "--wiederholungen", "1"]
        command = [sys.executable, "-m", "helpers", "benchmark", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout, read_json(folder / "benchmark.json")


@pytest.mark.alles
def test_tabelle_und_datei(result):
    out, stored = result
    rows = [line for line in out.splitlines() if line.startswith("| Grad-CAM") or line.startswith("| LRP")]
    assert len(rows) == 3 + 9 == len(stored["gradcam"]) + len(stored["lrp"])
    for row in stored["gradcam"] + stored["lrp"]:
        own = row["ms_je_bild"]["Kurs"]
        assert own > 0 and row["stapel"] in (1, 10, 64) and row["pixel"] == 32
        for name, ratio in row["verhaeltnis"].items():
            assert ratio == pytest.approx(own / row["ms_je_bild"][name], rel=0.05, abs=0.01)
    assert {name for row in stored["gradcam"] for name in row["verhaeltnis"]} == {"pytorch-grad-cam", "tf-keras-vis"}
    assert {name for row in stored["lrp"] for name in row["verhaeltnis"]} == {"zennit", "iNNvestigate"}


@pytest.mark.alles
def test_alle_rechnen_dasselbe(result):
    """Ein schneller Vergleich mit falschem Ergebnis wäre keiner: Die Karten stimmen Bild für Bild überein."""
    _, stored = result
    for row in stored["lrp"]:
        # Bei Gleichstand im Max-Pooling entscheidet die letzte Stelle (ohne AVX-512 gemessen: 0,996 bei einem Bild).
        assert row["korrelation"]["iNNvestigate"] > (0.99 if row["stapel"] == 1 else 0.9999), row
        assert row["korrelation"]["zennit"] > 0.99, row
    # Bei 32 × 32 hat die Karte vier Felder und kann leer sein; ein Stapel von 64 hat immer volle.
    told = [row for row in stored["gradcam"] if None not in row["korrelation"].values()]
    assert 64 in [row["stapel"] for row in told]
    for row in told:
        assert row["korrelation"]["tf-keras-vis"] > 0.9999, row
        # Aus denselben vier Feldern; pytorch-grad-cam vergrößert nur anders (Feldmitten statt Ecken).
        assert row["korrelation"]["pytorch-grad-cam"] > 0.8, row


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--groessen", "50"], "Vielfache von 32"), (["--teile", "tempo"], "tempo")],
)
def test_falsche_angaben(options, message):
    command = [sys.executable, "-m", "helpers", "benchmark", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_die_vergleichsumgebung_ist_festgeschrieben():
    lines = environment.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and "://" not in line for line in packages)
    names = {line.split("==")[0].lower() for line in packages}
    assert {"zennit", "grad-cam", "jax", "keras", "torchvision"} <= names and "torch" not in names
