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
        (-1.5, 2, "−1,50"),
        (-0.004, 2, "0,00"),
        (12345.678, 1, "12.345,7"),
        (60000, 3, "60.000"),
        (np.int64(1234567), 3, "1.234.567"),
        (np.float32(0.5), 2, "0,50"),
    ],
)
def test_german_schreibt_zahlen_wie_im_deutschen(value, digits, text):
    assert basics.german(value, digits) == text


def test_pfade_folgen_der_umgebungsvariable_und_sind_im_kurs_relativ(tmp_path, monkeypatch):
    monkeypatch.setenv("KURS_AUSGABE", str(tmp_path / "woanders"))
    assert basics.display_path(basics.output_dir()) == str(tmp_path / "woanders")
    monkeypatch.delenv("KURS_AUSGABE")
    assert basics.display_path(basics.output_dir()) == "ausgabe"


@pytest.mark.parametrize("writer", [basics.atomic_file, basics.atomic_folder])
def test_ein_fehler_beim_schreiben_laesst_das_alte_stehen(tmp_path, writer):
    def write(path, text):
        path = path / "inhalt.txt" if path.is_dir() else path
        path.write_text(text)
        return path

    target = tmp_path / "neu" / "ziel"
    with writer(target) as temporary:
        write(temporary, "alt")
        assert not target.exists(), "vor dem Ende darf nichts zu sehen sein"
    before = snapshot(tmp_path)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), writer(target) as temporary:
            write(temporary, "halb")
            raise error
        assert snapshot(tmp_path) == before
    with writer(target) as temporary:
        path = write(temporary, "neu")
    after = snapshot(tmp_path)
    assert after.keys() == before.keys() and after != before
    assert not path.exists() and target.stat().st_mode & 0o044 == 0o044, "auch andere dürfen lesen"


def test_atomic_folder_holt_das_alte_zurueck_wenn_das_umbenennen_scheitert(tmp_path, monkeypatch):
    target = tmp_path / "baum"
    target.mkdir()
    (target / "alt.txt").write_text("alt")
    before = snapshot(tmp_path)
    original = type(target).replace

    def broken(self, other):
        if self.parent.name.endswith(basics.WORKPLACE) and str(other) == str(target):
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
    said = r"ließ sich nicht schreiben \(ein Teil des Pfads ist eine Datei\): Prüfen Sie"
    with pytest.raises(CourseError, match=said), writer(tmp_path / "datei" / "unter" / "ziel"):
        pytest.fail("der Block darf nicht laufen")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{}", b"[1]", b"[" * 100_000, None])
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
    basics.record(n_train=10, größe="schnell")
    basics.record(n_test=5, n_train=20)
    text = (ausgabe / "kennzahlen.json").read_text(encoding="utf-8")
    figures = json.loads(text)
    assert "größe" in text and basics.read_figures() == figures
    assert set(figures.pop("herkunft")) == {"seed", "profil", "daten_sha256", "commit", "versionen"}
    assert figures == {"n_train": 20, "größe": "schnell", "n_test": 5}


def test_quiet_stderr_haelt_auch_c_code_an(capfd):
    with basics.quiet_stderr():
        os.write(2, b"laut\n")
    os.write(2, b"leise\n")
    assert capfd.readouterr().err == "leise\n"


def test_fortschritt_ist_deutsch_und_schweigt_ohne_terminal(capsys):
    assert list(basics.progress(range(5), text="Test", unit="Stück")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out == ""
    list(basics.progress(range(5), text="Bilder", unit="Stück", disable=False))
    out = capsys.readouterr().out
    assert "Bilder" in out and "5 von 5 Stück" in out and "it/s" not in out


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("helpers.basics", {"numpy", "keras", "tensorflow", "matplotlib", "pandas", "tqdm"}),
        ("helpers.__main__", {"keras", "tensorflow", "pandas", "matplotlib", "numpy"}),
        ("helpers.data", {"keras", "tensorflow", "matplotlib"}),
        ("helpers.plots", {"keras", "tensorflow", "pandas", "sklearn"}),
    ],
)
def test_was_ein_modul_nicht_laedt(module, forbidden):
    """Im falschen Kernel muss sich helpers.basics trotzdem laden lassen (-S); die anderen sollen schnell da sein."""
    code = f"import sys; sys.path.insert(0, '.'); import {module}; sys.exit(str({forbidden!r} & set(sys.modules)))"
    command = [sys.executable, *(["-S"] if module == "helpers.basics" else []), "-c", code]
    done = subprocess.run(command, cwd=basics.ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "set()", f"{module} lädt {done.stderr}"
