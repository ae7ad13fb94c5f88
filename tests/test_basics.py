"""Grundlagen: Zahlen, Pfade, Schreiben ganz oder gar nicht, Fehler, die man lesen kann."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import snapshot

from helpers import basics
from helpers.basics import CourseError


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.8735, 3, "0,874"),
        (0.8735, 1, "0,9"),
        (-1.5, 2, "−1,50"),
        (12345.678, 1, "12.345,7"),
        (60000, 3, "60.000"),
        (7, 3, "7"),
        (np.int64(1234567), 3, "1.234.567"),
        (np.uint8(5), 3, "5"),
        (np.float32(0.5), 2, "0,50"),
    ],
)
def test_german_schreibt_zahlen_wie_im_deutschen(value, digits, text):
    assert basics.german(value, digits) == text


def test_output_dir_folgt_der_umgebungsvariable(tmp_path, monkeypatch):
    monkeypatch.setenv("KURS_AUSGABE", str(tmp_path / "woanders"))
    assert basics.output_dir() == tmp_path / "woanders"
    monkeypatch.delenv("KURS_AUSGABE")
    assert basics.output_dir() == basics.ROOT / "ausgabe"


def test_display_path_ist_im_kurs_relativ_und_sonst_voll(tmp_path):
    assert basics.display_path(basics.ROOT / "input" / "x.csv") == "input/x.csv"
    assert basics.display_path(tmp_path) == str(tmp_path)


def test_kursfehler_erscheint_in_notebooks_als_ein_satz():
    assert CourseError("Etwas fehlt: Holen Sie es.")._render_traceback_() == ["✘ Etwas fehlt: Holen Sie es."]


def test_atomic_file_laesst_bei_einem_fehler_das_alte_stehen(tmp_path):
    path = tmp_path / "neu" / "datei.txt"
    with basics.atomic_file(path) as temporary:
        temporary.write_text("alt")
        assert not path.exists(), "vor dem Ende darf nichts zu sehen sein"
    before = snapshot(tmp_path)
    with pytest.raises(RuntimeError), basics.atomic_file(path) as temporary:
        temporary.write_text("halb")
        raise RuntimeError
    assert snapshot(tmp_path) == before
    with basics.atomic_file(path) as temporary:
        temporary.write_text("neu")
    assert path.read_text() == "neu" and len(snapshot(tmp_path)) == 2
    assert path.stat().st_mode & 0o777 == 0o644


def test_atomic_folder_laesst_bei_einem_fehler_das_alte_stehen(tmp_path):
    target = tmp_path / "baum"
    with basics.atomic_folder(target) as folder:
        (folder / "alt.txt").write_text("alt")
        assert not target.exists()
    before = snapshot(tmp_path)
    with pytest.raises(KeyboardInterrupt), basics.atomic_folder(target) as folder:
        (folder / "neu.txt").write_text("halb")
        raise KeyboardInterrupt
    assert snapshot(tmp_path) == before
    with basics.atomic_folder(target) as folder:
        (folder / "neu.txt").write_text("neu")
    assert set(snapshot(tmp_path)) == {"baum", "baum/neu.txt"}


def test_atomic_folder_holt_das_alte_zurueck_wenn_das_umbenennen_scheitert(tmp_path, monkeypatch):
    target = tmp_path / "baum"
    target.mkdir()
    (target / "alt.txt").write_text("alt")
    before = snapshot(tmp_path)
    original = type(target).replace

    def broken(self, other):
        if self.parent.name == "neu" and str(other) == str(target):
            raise OSError(5, "Input/output error")
        return original(self, other)

    monkeypatch.setattr(type(target), "replace", broken)
    with pytest.raises(CourseError, match="antwortet nicht richtig"), basics.atomic_folder(target) as folder:
        (folder / "neu.txt").write_text("neu")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("writer", [basics.atomic_file, basics.atomic_folder])
def test_unbeschreibbares_ziel_ist_ein_deutscher_satz(tmp_path, writer):
    (tmp_path / "datei").write_text("da")
    before = snapshot(tmp_path)
    with (
        pytest.raises(
            CourseError, match=r"ließ sich nicht schreiben \(ein Teil des Pfads ist eine Datei\): Prüfen Sie"
        ),
        writer(tmp_path / "datei" / "unter" / "ziel"),
    ):
        pytest.fail("der Block darf nicht laufen")
    assert snapshot(tmp_path) == before


def test_json_hin_und_zurueck_mit_umlauten(tmp_path):
    data = {"größe": [1, 2.5, None], "text": "„Trefferquote“ – ε"}
    basics.write_json(tmp_path / "a.json", data)
    assert basics.read_json(tmp_path / "a.json") == data
    assert "größe" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"kein json", b"[1]", b"[" * 100_000, None])
def test_beschaedigtes_json_gilt_nicht_als_leer(tmp_path, ausgabe, content):
    """Wer eine beschädigte Datei für leer hielte, überschriebe beim nächsten Schreiben die Arbeit."""
    path = ausgabe / "kennzahlen.json"
    ausgabe.mkdir()
    path.mkdir() if content is None else path.write_bytes(content)
    before = snapshot(tmp_path)
    for read in (lambda: basics.read_json(path, {}), lambda: basics.record(n_train=1)):
        with pytest.raises(basics.CourseError, match=r"kennzahlen\.json ist nicht lesbar .*löschen Sie sie"):
            read()
    assert basics.try_read_json(path, {"leer": 1}) == {"leer": 1}
    assert snapshot(tmp_path) == before
    assert basics.read_json(tmp_path / "fehlt.json") is None and basics.read_json(tmp_path / "fehlt.json", {}) == {}


def test_record_sammelt_kennzahlen(ausgabe):
    basics.record(n_train=10, profil="schnell")
    basics.record(n_test=5, n_train=20)
    figures = json.loads((ausgabe / "kennzahlen.json").read_text())
    assert set(figures.pop("herkunft")) == {"seed", "profil", "daten_sha256", "commit", "versionen"}
    assert figures == {"n_train": 20, "profil": "schnell", "n_test": 5}


def test_quiet_stderr_haelt_auch_c_code_an(capfd):
    with basics.quiet_stderr():
        os.write(2, b"laut\n")
    os.write(2, b"leise\n")
    assert capfd.readouterr().err == "leise\n"


def test_fortschritt_schweigt_ohne_terminal_und_gibt_alles_weiter(capsys):
    assert list(basics.progress(range(5), text="Test", unit="Stück")) == [0, 1, 2, 3, 4]
    with basics.progress(total=3) as bar:
        bar.update(3)
    assert capsys.readouterr().out == ""


def test_fortschritt_ist_deutsch(capsys):
    list(basics.progress(range(5), text="Bilder", unit="Stück", disable=False))
    out = capsys.readouterr().out
    assert "Bilder" in out and "5 von 5 Stück" in out and "it/s" not in out


def test_grundlagen_kommen_ohne_fremde_pakete_aus():
    """Im falschen Kernel müssen helpers und helpers.basics sich trotzdem laden lassen."""
    code = (
        "import sys; sys.path.insert(0, '.'); import helpers.basics; "
        "heavy = {'numpy', 'keras', 'tensorflow', 'matplotlib', 'pandas', 'tqdm'} & set(sys.modules); "
        "sys.exit(f'geladen: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=basics.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_anordnung_der_module():
    """data kommt ohne Keras aus, plots und metrics ohne Keras und ohne pandas."""
    for module, forbidden in (
        ("helpers.data", {"keras", "tensorflow", "matplotlib"}),
        ("helpers.plots", {"keras", "tensorflow", "pandas", "sklearn"}),
        ("helpers.metrics", {"keras", "tensorflow", "pandas", "matplotlib", "sklearn"}),
        ("helpers.__main__", {"keras", "tensorflow", "pandas", "matplotlib", "numpy"}),
    ):
        code = f"import sys, {module}; found = {forbidden!r} & set(sys.modules); sys.exit(str(found) if found else 0)"
        done = subprocess.run([sys.executable, "-c", code], cwd=basics.ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{module} lädt {done.stderr}"
