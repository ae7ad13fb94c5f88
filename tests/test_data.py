"""Daten: woher sie kommen, was bei fehlerhaften Dateien geschieht, PNG-Ordner, Stichproben, Wasserzeichen."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from conftest import snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import data
from helpers.__main__ import main
from helpers.basics import CLASS_NAMES, ROOT, CourseError, read_json

pytestmark = pytest.mark.usefixtures("ausgabe")
TRAIN_CSV, TEST_CSV = data.CSV_NAMES
HEADER = ",".join(["label", *(f"pixel{number}" for number in range(1, 785))])


# --- Werkzeug -------------------------------------------------------------------------------------------------------


def csv_lines(images, labels) -> list[str]:
    return [",".join(map(str, [label, *image.ravel()])) for image, label in zip(images, labels, strict=True)]


def write_csv(path, lines, header=True):
    content = "\n".join(([HEADER] if header else []) + lines) + "\n"
    raw = content.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def idx_bytes(values) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_idx(folder, parts, suffix=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in zip(data.IDX_MD5, parts, strict=True):
        raw = idx_bytes(values)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(raw, 1) if suffix else raw)


def parts_of(dataset):
    return dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels


def assert_same(first, second):
    for mine, other in zip(parts_of(first), parts_of(second), strict=True):
        assert mine.dtype == other.dtype == np.uint8
        np.testing.assert_array_equal(mine, other)


@pytest.fixture(scope="module")
def tiny(dataset):
    """40 Trainings- und 30 Testbilder aus der mitgelieferten Stichprobe."""
    return data.subset(dataset, 40, 30, seed=3)


@pytest.fixture
def csv_folder(tmp_path, tiny):
    folder = tmp_path / "eingabe"
    folder.mkdir()
    write_csv(folder / TRAIN_CSV, csv_lines(tiny.train_images, tiny.train_labels))
    write_csv(folder / TEST_CSV, csv_lines(tiny.test_images, tiny.test_labels))
    return folder


@pytest.fixture
def idx_folder(tmp_path, tiny):
    folder = tmp_path / "eingabe"
    write_idx(folder, parts_of(tiny))
    return folder


@pytest.fixture
def own_input(tmp_path, monkeypatch):
    """Ein leeres input/ und kein Debian-Paket."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(data, "INPUT", folder)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "debian")
    return folder


# --- Quellen --------------------------------------------------------------------------------------------------------


def test_mitgelieferte_stichprobe(dataset):
    assert dataset.train_images.shape == dataset.test_images.shape == (10_000, 28, 28)
    assert dataset.train_images.dtype == dataset.train_labels.dtype == np.uint8
    assert np.bincount(dataset.train_labels).tolist() == [1000] * 10
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
    assert dataset.train_images.max() == 255 and dataset.train_images.min() == 0
    assert "Stichprobe" in dataset.source and dataset.mask is None


def test_pruefsummen_der_stichprobe_stimmen():
    lines = (data.SAMPLE / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 4
    for line in lines:
        expected, name = line.split("  ")
        assert hashlib.sha256((data.SAMPLE / name).read_bytes()).hexdigest() == expected, name


def test_testbilder_der_stichprobe_sind_alle_originale(dataset):
    """Die Testdaten sind ungekürzt: Ihre ausgepackte MD5-Summe ist die des Originals."""
    for name, values in (
        ("t10k-images-idx3-ubyte", dataset.test_images),
        ("t10k-labels-idx1-ubyte", dataset.test_labels),
    ):
        assert hashlib.md5(idx_bytes(values)).hexdigest() == data.IDX_MD5[name][1]


def test_reihenfolge_der_quellen(own_input, tiny, tmp_path):
    assert "Stichprobe" in data.load_source().source
    write_idx(tmp_path / "debian", parts_of(tiny))
    assert str(tmp_path / "debian") in data.load_source().source
    write_idx(own_input, parts_of(tiny))
    found = data.load_source()
    assert found.source == f"idx-Dateien in {own_input}"
    assert_same(found, tiny)
    swapped = dataclasses.replace(tiny, train_labels=tiny.train_labels[::-1].copy())
    write_csv(own_input / TRAIN_CSV, csv_lines(swapped.train_images, swapped.train_labels))
    write_csv(own_input / TEST_CSV, csv_lines(swapped.test_images, swapped.test_labels))
    found = data.load_source()
    assert found.source == f"CSV-Dateien in {own_input}"
    assert_same(found, swapped)
    assert "Stichprobe" in data.load_source("beispiel").source, "„beispiel“ geht immer"


@pytest.mark.parametrize("header", [True, False], ids=["mit Kopf", "ohne Kopf"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_csv_bild_fuer_bild(tmp_path, tiny, header, suffix):
    write_csv(tmp_path / f"{TRAIN_CSV}{suffix}", csv_lines(tiny.train_images, tiny.train_labels), header)
    write_csv(tmp_path / f"{TEST_CSV}{suffix}", csv_lines(tiny.test_images, tiny.test_labels), header)
    assert_same(data.load_source(tmp_path), tiny)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace(",", ", "),
        lambda text: "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()),
    ],
    ids=["Windows-Zeilenenden", "BOM", "Leerzeilen", "ohne letztes Zeilenende", "Leerzeichen", "Anführungszeichen"],
)
@pytest.mark.parametrize("header", [True, False], ids=["mit Kopf", "ohne Kopf"])
def test_uebliche_spielarten_von_csv_verlieren_kein_bild(tmp_path, tiny, change, header):
    lines = csv_lines(tiny.train_images, tiny.train_labels)
    text = "\n".join(([HEADER] if header else []) + lines) + "\n"
    (tmp_path / "a.csv").write_bytes(change(text).encode())
    images, labels = data.read_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(images, tiny.train_images)
    np.testing.assert_array_equal(labels, tiny.train_labels)


def test_kopfzeile_mit_zahlen_als_spaltennamen(tmp_path, tiny):
    lines = csv_lines(tiny.train_images, tiny.train_labels)
    (tmp_path / "a.csv").write_text("\n".join(["label," + ",".join(map(str, range(784))), *lines]))
    images, labels = data.read_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(images, tiny.train_images)
    np.testing.assert_array_equal(labels, tiny.train_labels)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_bild_fuer_bild(tmp_path, tiny, suffix):
    write_idx(tmp_path, parts_of(tiny), suffix)
    assert_same(data.load_source(tmp_path), tiny)


@pytest.mark.skipif(not data.DEBIAN_FOLDER.is_dir(), reason="Debians Paket dataset-fashion-mnist ist nicht installiert")
def test_stichprobe_laesst_sich_bytegleich_neu_schneiden(tmp_path):
    data.make_sample(target=tmp_path / "neu")
    for name in ("SHA256SUMS", *(f"{name}.gz" for name in data.IDX_MD5)):
        path, made = data.SAMPLE / name, tmp_path / "neu" / name
        if path.suffix == ".gz":
            assert gzip.decompress(made.read_bytes()) == gzip.decompress(path.read_bytes()), path.name
        # zlib-ng packt anders, aber mit demselben Inhalt.
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:
            assert made.read_bytes() == path.read_bytes(), path.name


def test_stichprobe_nur_aus_dem_original(idx_folder, tmp_path):
    with pytest.raises(CourseError, match="nicht das Original"):
        data.make_sample(idx_folder, tmp_path / "neu")
    assert not (tmp_path / "neu").exists()


# --- Fehlerhafte Eingaben: ein deutscher Satz, Exit-Code 2, nichts verloren -------------------------------------------


def replace_line(folder, number, change, name=TRAIN_CSV):
    """Ändert Zeile ``number`` (1 ist die Kopfzeile)."""
    lines = (folder / name).read_text().split("\n")
    lines[number - 1] = change(lines[number - 1])
    (folder / name).write_text("\n".join(lines))


def replace_cell(number, column, text):
    def change(line):
        cells = line.split(",")
        cells[column] = text
        return ",".join(cells)

    return lambda folder: replace_line(folder, number, change)


def pack(folder, keep):
    raw = gzip.compress((folder / TRAIN_CSV).read_bytes())
    (folder / TRAIN_CSV).unlink()
    (folder / f"{TRAIN_CSV}.gz").write_bytes(keep(raw))


BAD_CSV = {
    "fehlende Partnerdatei": (lambda f: (f / TEST_CSV).unlink(), [TEST_CSV, "beide"]),
    "Zeile zu kurz": (lambda f: replace_line(f, 9, lambda x: x.rsplit(",", 1)[0]), [TRAIN_CSV, "Zeile 9:", "784 Spa"]),
    "Zeile zu lang": (lambda f: replace_line(f, 9, lambda x: x + ",0"), [TRAIN_CSV, "Zeile 9:", "786 Spalten"]),
    "alle Zeilen zu lang": (
        lambda f: [replace_line(f, n, lambda x: x + ",0") for n in range(2, 42)],
        [TRAIN_CSV, "Zeile 2:", "786 Spalten"],
    ),
    "alle Zeilen samt Kopf zu lang": (
        lambda f: [replace_line(f, n, lambda x: x + ",0") for n in range(1, 42)],
        [TRAIN_CSV, "Zeile 1:", "786 Spalten"],
    ),
    "Zeilennummer als erste Spalte": (
        lambda f: [replace_line(f, n, lambda x, n=n: f"{n % 10},{x}") for n in range(2, 42)],
        [TRAIN_CSV, "Zeile 2:", "786 Spalten"],
    ),
    "Klasse 10": (replace_cell(7, 0, "10"), [TRAIN_CSV, "Zeile 7:", "Klasse", "10", "0 bis 9"]),
    "Klasse -1": (replace_cell(7, 0, "-1"), [TRAIN_CSV, "Zeile 7:", "Klasse", "-1", "0 bis 9"]),
    "Klasse 65537": (replace_cell(7, 0, "65537"), [TRAIN_CSV, "Zeile 7:", "Klasse", "65537"]),
    "Klasse als Wort": (replace_cell(7, 0, "Hose"), [TRAIN_CSV, "Zeile 7:", "Klasse", "Hose", "0 bis 9"]),
    "Pixel 256": (replace_cell(5, 300, "256"), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "256", "0 bis 255"]),
    "Pixel -1": (replace_cell(41, 784, "-1"), [TRAIN_CSV, "Zeile 41:", "Pixel 784", "-1", "0 bis 255"]),
    "Pixel 65540": (replace_cell(2, 1, "65540"), [TRAIN_CSV, "Zeile 2:", "Pixel 1 ", "65540", "0 bis 255"]),
    "Pixel als Wort": (replace_cell(5, 300, "hell"), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "hell", "0 bis 255"]),
    "Pixel mit Komma": (replace_cell(5, 300, '"0,5"'), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "0,5", "keine ganze"]),
    "Pixel mit Punkt": (replace_cell(5, 300, "0.5"), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "0.5", "keine ganze"]),
    "Pixel fehlt": (replace_cell(5, 300, ""), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "keine ganze Zahl"]),
    "Pixel nan": (replace_cell(5, 300, "nan"), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "nan"]),
    "Pixel mit Unterstrich": (replace_cell(5, 300, "1_0"), [TRAIN_CSV, "Zeile 5:", "Pixel 300", "1_0"]),
    "offenes Anführungszeichen": (replace_cell(5, 300, '"12'), [TRAIN_CSV, "Zeile 5"]),
    "erste Klasse ohne Kopf ist ein Wort": (
        lambda f: replace_line(f, 1, lambda _: "x" + ",0" * 784),
        [TRAIN_CSV, "Zeile 1:", "Klasse", "x"],
    ),
    "erste Klasse ohne Kopf ist -1": (
        lambda f: replace_line(f, 1, lambda _: "-1" + ",0" * 784),
        [TRAIN_CSV, "Zeile 1:", "Klasse", "-1"],
    ),
    "erste Klasse ohne Kopf fehlt": (
        lambda f: replace_line(f, 1, lambda _: ",0" * 784),
        [TRAIN_CSV, "Zeile 1:", "Klasse"],
    ),
    "leere Datei": (lambda f: (f / TRAIN_CSV).write_bytes(b""), [TRAIN_CSV, "leer"]),
    "nur Kopfzeile": (lambda f: (f / TRAIN_CSV).write_text(HEADER + "\n"), [TRAIN_CSV, "keine Bildzeilen"]),
    "nur Leerzeilen": (lambda f: (f / TRAIN_CSV).write_text("\n\n"), [TRAIN_CSV, "keine Bildzeilen"]),
    "ein langer Text": (lambda f: (f / TRAIN_CSV).write_text("a" * 300_000), [TRAIN_CSV, "Zeile 1"]),
    "Nullbytes": (lambda f: (f / TRAIN_CSV).write_bytes(b"\0" * 300_000), [TRAIN_CSV]),
    "UTF-16": (
        lambda f: (f / TRAIN_CSV).write_bytes((f / TRAIN_CSV).read_text().encode("utf-16")),
        [TRAIN_CSV],
    ),
    "abgeschnittenes gzip": (lambda f: pack(f, lambda raw: raw[: len(raw) // 2]), [f"{TRAIN_CSV}.gz", "abgeschnitten"]),
    "gzip ohne Ende": (lambda f: pack(f, lambda raw: raw[:-4]), [f"{TRAIN_CSV}.gz", "abgeschnitten"]),
    "gar kein gzip": (lambda f: pack(f, lambda raw: b"kein gzip" * 9), [f"{TRAIN_CSV}.gz", "beschädigt"]),
    "gzip beschädigt": (
        lambda f: pack(f, lambda raw: raw[:200] + bytes([raw[200] ^ 255]) + raw[201:]),
        [f"{TRAIN_CSV}.gz", "beschädigt"],
    ),
    "leeres gzip": (lambda f: pack(f, lambda raw: b""), [f"{TRAIN_CSV}.gz", "leer"]),
    "gzip ohne Inhalt": (lambda f: pack(f, lambda raw: gzip.compress(b"")), [f"{TRAIN_CSV}.gz", "leer"]),
}

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (f"{name}.gz" for name in data.IDX_MD5)


def change_idx(name, change):
    def apply(folder):
        raw = gzip.decompress((folder / name).read_bytes())
        (folder / name).write_bytes(gzip.compress(change(raw)))

    return apply


def swap(folder):
    (folder / TRAIN_LABELS).write_bytes((folder / TRAIN_IMAGES).read_bytes())


BAD_IDX = {
    "fehlende Datei": (lambda f: (f / TEST_LABELS).unlink(), ["t10k-labels-idx1-ubyte", "alle vier"]),
    "falsche Kennung": (
        change_idx(TRAIN_IMAGES, lambda raw: b"\0\0\x08\x04" + raw[4:]),
        [TRAIN_IMAGES, "2052", "2051"],
    ),
    "Bilder statt Klassen": (swap, [TRAIN_LABELS, "2051", "2049"]),
    "abgeschnitten": (change_idx(TEST_IMAGES, lambda raw: raw[:-1]), [TEST_IMAGES, "30 Einträge"]),
    "zu lang": (change_idx(TEST_IMAGES, lambda raw: raw + b"\0"), [TEST_IMAGES, "30 Einträge"]),
    "nur Kennung": (change_idx(TEST_IMAGES, lambda raw: raw[:5]), [TEST_IMAGES]),
    "leer": (lambda f: (f / TRAIN_LABELS).write_bytes(b""), [TRAIN_LABELS, "leer"]),
    "gzip abgeschnitten": (
        lambda f: (f / TRAIN_IMAGES).write_bytes((f / TRAIN_IMAGES).read_bytes()[:-100]),
        [TRAIN_IMAGES, "abgeschnitten"],
    ),
    "mehr Bilder als Klassen": (
        change_idx(TRAIN_LABELS, lambda raw: raw[:4] + struct.pack(">I", 39) + raw[8:-1]),
        ["40", "39"],
    ),
    "Klasse 12": (change_idx(TEST_LABELS, lambda raw: raw[:12] + b"\x0c" + raw[13:]), [TEST_LABELS, "Eintrag 5", "12"]),
    "falsche Bildgröße": (
        change_idx(TRAIN_IMAGES, lambda raw: raw[:8] + struct.pack(">II", 14, 56) + raw[16:]),
        [TRAIN_IMAGES, "14 × 56"],
    ),
    "null Bilder": (
        lambda f: [
            change_idx(TRAIN_IMAGES, lambda raw: raw[:4] + b"\0\0\0\0" + raw[8:16])(f),
            change_idx(TRAIN_LABELS, lambda raw: raw[:4] + b"\0\0\0\0")(f),
        ],
        [TRAIN_IMAGES, "kein"],
    ),
}


def assert_rejected(capsys, arguments, fragments):
    """Exit-Code 2, auf stderr genau ein deutscher Satz mit Abhilfe, kein Traceback."""
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    sentence = printed.err.strip()
    assert code == 2, (code, printed)
    assert sentence.startswith("✘ ") and sentence.endswith(".") and "\n" not in sentence, sentence
    assert not re.search(r"Traceback|Error\b|Exception|Warning", printed.err + printed.out), printed
    assert re.search(r"Sie |Erlaubt|Bitte|Es braucht|gebraucht|--hilfe", sentence), f"ohne Abhilfe: {sentence}"
    for fragment in fragments:
        assert str(fragment) in sentence, sentence
    return sentence


@pytest.mark.parametrize("case", BAD_CSV)
def test_fehlerhaftes_csv(case, csv_folder, tmp_path, capsys):
    break_it, fragments = BAD_CSV[case]
    break_it(csv_folder)
    before = snapshot(tmp_path)
    assert_rejected(capsys, ["daten", "--eingabe", csv_folder, "--ziel", tmp_path / "ziel"], fragments)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("case", BAD_IDX)
def test_fehlerhaftes_idx(case, idx_folder, tmp_path, capsys):
    break_it, fragments = BAD_IDX[case]
    break_it(idx_folder)
    before = snapshot(tmp_path)
    sentence = assert_rejected(capsys, ["daten", "--eingabe", idx_folder, "--ziel", tmp_path / "ziel"], fragments)
    assert re.search(r"Laden Sie|Es braucht", sentence), f"ohne Abhilfe: {sentence}"
    assert snapshot(tmp_path) == before


def test_gute_eingaben_gehen_durch_dieselbe_pruefung(csv_folder, tmp_path, tiny, capsys):
    """Gegenprobe zu den fehlerhaften Dateien: Ohne den Fehler gelingt derselbe Aufruf."""
    assert main(["daten", "--eingabe", str(csv_folder), "--ziel", str(tmp_path / "ziel")]) == 0
    out = capsys.readouterr().out
    assert "CSV-Dateien" in out and "40 Bilder" in out and "30" in out
    assert_same(data.read_tree(tmp_path / "ziel"), tiny)


def test_fehlerhaftes_csv_laesst_den_alten_baum_stehen(csv_folder, tmp_path, tiny, capsys):
    target = data.write_tree(tiny, tmp_path / "ziel")
    BAD_CSV["Pixel 256"][0](csv_folder)
    before = snapshot(target)
    assert_rejected(capsys, ["daten", "--eingabe", csv_folder, "--ziel", target], ["Zeile 5"])
    assert snapshot(target) == before


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--eingabe", "/gibt/es/nicht"], ["/gibt/es/nicht", "--eingabe"]),
        (["--eingabe", "{leer}"], ["leer", TRAIN_CSV, "--eingabe"]),
        (["--eingabe", "{datei}"], ["datei", "--eingabe"]),
        (["--eingabe", "beispiel", "--n-train", "5"], ["5", "zehn"]),
        (["--eingabe", "beispiel", "--n-train", "0"], ["0", "zehn"]),
        (["--eingabe", "beispiel", "--n-train", "-3"], ["3 Bildern", "zehn"]),
        (["--eingabe", "beispiel", "--n-train", "10001"], ["10.001", "10.000"]),
        (["--eingabe", "beispiel", "--n-test", "10001"], ["10.001", "10.000"]),
        (["--eingabe", "beispiel", "--n-train", "20", "--seed", "-1"], ["seed", "-1"]),
        (["--eingabe", "beispiel", "--n-train", "20", "--seed", "4294967296"], ["seed", "4294967296"]),
        (["--n-train", "viele"], ["--n-train", "viele"]),
        (["--n-train"], ["--n-train", "fehlt"]),
        (["--ungueltig"], ["--ungueltig", "--hilfe"]),
    ],
)
def test_falsche_angaben(arguments, fragments, tmp_path, capsys):
    (tmp_path / "leer").mkdir()
    (tmp_path / "datei").write_text("x")
    places = {"{leer}": tmp_path / "leer", "{datei}": tmp_path / "datei"}
    arguments = [places.get(argument, argument) for argument in arguments]
    before = snapshot(tmp_path)
    assert_rejected(capsys, ["daten", *arguments, "--ziel", tmp_path / "ziel"], fragments)
    assert snapshot(tmp_path) == before


def test_datei_ohne_leserecht(csv_folder, tmp_path, capsys, monkeypatch):
    """Als root ist alles lesbar, deshalb sagt hier das Dateisystem selbst Nein: Die Datei ist ein Ordner."""
    with pytest.raises(CourseError, match="lässt sich nicht lesen .*Prüfen Sie"):
        data.read_bytes(csv_folder)


@pytest.mark.parametrize("place", ["{tmp}/datei/ziel", "/proc/kurs", "{tmp}/datei"])
def test_unbeschreibbares_ziel(place, tmp_path, capsys):
    (tmp_path / "datei").write_text("wichtig")
    before = snapshot(tmp_path)
    target = place.format(tmp=tmp_path)
    arguments = ["daten", "--eingabe", "beispiel", "--n-train", 20, "--n-test", 20, "--ziel", target]
    assert_rejected(capsys, arguments, ["proc" if "proc" in place else "datei"])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "foreign",
    ["notizen.txt", "TRAIN/0/00000.png", ".versteckt", "unterordner/"],
)
def test_ziel_mit_fremden_dateien(foreign, tmp_path, capsys):
    target = tmp_path / "ziel"
    path = target / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if foreign.endswith("/") else path.write_text("wichtig")
    before = snapshot(tmp_path)
    arguments = ["daten", "--eingabe", "beispiel", "--n-train", 20, "--n-test", 20, "--ziel", target]
    assert_rejected(capsys, arguments, ["ziel", "--ziel", "nichts verändert"])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("foreign", ["notizen.txt", "unterordner/brief.txt", "TRAIN/notizen.txt", "TRAIN/3/mein.txt"])
def test_fremde_dateien_in_unserem_baum_gehen_nicht_verloren(foreign, tmp_path, tiny, capsys):
    target = data.write_tree(tiny, tmp_path / "ziel")
    (target / foreign).parent.mkdir(exist_ok=True)
    (target / foreign).write_text("wichtig")
    before = snapshot(tmp_path)
    arguments = ["daten", "--eingabe", "beispiel", "--n-train", 20, "--n-test", 20, "--ziel", target]
    assert_rejected(capsys, arguments, ["ziel", "--ziel", "nichts verändert"])
    assert snapshot(tmp_path) == before


def test_leeres_ziel_ist_erlaubt(tmp_path, tiny):
    (tmp_path / "ziel").mkdir()
    assert_same(data.read_tree(data.write_tree(tiny, tmp_path / "ziel")), tiny)


# --- PNG-Ordner -----------------------------------------------------------------------------------------------------


def test_baum_hin_und_zurueck(tmp_path, small):
    target = data.write_tree(small, tmp_path / "baum", {"seed": 7})
    assert_same(data.read_tree(target), small)
    for part, images, labels in (
        ("TRAIN", small.train_images, small.train_labels),
        ("TEST", small.test_images, small.test_labels),
    ):
        assert sorted(path.name for path in (target / part).iterdir()) == [str(label) for label in range(10)]
        for label in range(10):
            assert len(list((target / part / str(label)).glob("*.png"))) == (labels == label).sum()
        # Ohne den eigenen Leser: jeder Pixel und jede Klasse wie in der Quelle.
        for index in (0, 17, len(labels) - 1):
            with Image.open(target / part / str(labels[index]) / f"{index:05d}.png") as picture:
                assert picture.mode == "L"
                np.testing.assert_array_equal(np.array(picture), images[index])
    note = read_json(target / "herkunft.json")
    origin = note.pop("herkunft")
    assert note == {"quelle": small.source, "n_train": 300, "n_test": 200, "seed": 7}
    assert origin["seed"] == 7 and origin["daten_sha256"] == data.checksum(small)


def test_baum_mit_maske(tmp_path, tiny):
    poisoned = data.poison(tiny, data.Watermark())
    found = data.read_tree(data.write_tree(poisoned, tmp_path / "baum"))
    assert_same(found, poisoned)
    np.testing.assert_array_equal(found.mask, poisoned.mask)
    assert found.mask.dtype == bool and found.source == poisoned.source


def test_unser_baum_wird_ersetzt_und_nichts_bleibt_liegen(tmp_path, tiny, small):
    data.write_tree(small, tmp_path / "baum")
    data.write_tree(tiny, tmp_path / "baum")
    assert_same(data.read_tree(tmp_path / "baum"), tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["baum"]


@pytest.mark.parametrize("error", [RuntimeError("mittendrin"), KeyboardInterrupt()])
def test_fehler_mittendrin_laesst_den_alten_baum_stehen(tmp_path, tiny, small, monkeypatch, error):
    target = data.write_tree(tiny, tmp_path / "baum")
    before = snapshot(tmp_path)
    save, calls = data._save_png, iter(range(10_000))

    def failing(path, image):
        if next(calls) > 250:
            raise error
        save(path, image)

    monkeypatch.setattr(data, "_save_png", failing)
    with pytest.raises(type(error)):
        data.write_tree(small, target)
    assert next(calls) > 250, "der Fehler kam gar nicht vor"
    assert snapshot(tmp_path) == before


def test_volle_platte_ist_ein_deutscher_satz(tmp_path, tiny, monkeypatch):
    target = data.write_tree(tiny, tmp_path / "baum")
    before = snapshot(tmp_path)

    def full(path, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data, "_save_png", full)
    with pytest.raises(CourseError, match="Platz"):
        data.write_tree(tiny, target)
    assert snapshot(tmp_path) == before


def test_verlorenes_bild_faellt_beim_schreiben_auf(tmp_path, tiny, monkeypatch):
    save = data._save_png
    monkeypatch.setattr(data, "_save_png", lambda path, image: None if path.stem == "00007" else save(path, image))
    with pytest.raises(CourseError, match="68 von 70 Bildern"):
        data.write_tree(tiny, tmp_path / "baum")
    assert snapshot(tmp_path) == {}


def test_strg_c_beim_schreiben(tmp_path, tiny):
    """Ein echter Abbruch im laufenden Prozess: Exit-Code 130, ein Satz, der alte Baum steht."""
    target = data.write_tree(tiny, tmp_path / "baum")
    before = snapshot(tmp_path)
    command = [sys.executable, "-m", "helpers", "daten", "--eingabe", "beispiel", "--ziel", str(target)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(tmp_path.glob(".baum-*/neu/baum/TRAIN/9")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Abgebrochen" in err and "Traceback" not in err
    assert snapshot(tmp_path) == before


def one_picture(target):
    return sorted((target / "TRAIN").rglob("*.png"))[12]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"kein Bild"),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes()[:60]),
        lambda path: path.write_bytes(path.read_bytes()[:50] + b"\xff" * 20 + path.read_bytes()[70:]),
        lambda path: Image.new("L", (27, 28)).save(path),
        lambda path: Image.new("RGB", (28, 28)).save(path),
        lambda path: Image.new("I;16", (28, 28)).save(path),
    ],
    ids=["leer", "Text", "Ende fehlt", "nur der Anfang", "Bytes überschrieben", "zu schmal", "farbig", "16 Bit"],
)
def test_beschaedigtes_png_faellt_auf(tmp_path, tiny, break_it):
    target = data.write_tree(tiny, tmp_path / "baum")
    path = one_picture(target)
    break_it(path)
    with pytest.raises(CourseError, match=rf"{path.name}.*python -m helpers daten"):
        data.read_tree(target)


def test_jedes_gekippte_byte_faellt_auf_oder_schadet_nicht(tmp_path, tiny):
    target = data.write_tree(tiny, tmp_path / "baum")
    path = one_picture(target)
    original, pixels = path.read_bytes(), data._load_png(path)
    noticed = 0
    for position in range(len(original)):
        path.write_bytes(original[:position] + bytes([original[position] ^ 0x55]) + original[position + 1 :])
        try:
            found = data._load_png(path)
        except CourseError:
            noticed += 1
        else:
            np.testing.assert_array_equal(found, pixels, err_msg=f"Byte {position}")
    assert noticed > len(original) // 2


def test_fehlendes_png_faellt_auf(tmp_path, tiny):
    target = data.write_tree(tiny, tmp_path / "baum")
    one_picture(target).unlink()
    with pytest.raises(CourseError, match="39 statt 40"):
        data.read_tree(target)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_ordner_ohne_unsere_bilder(tmp_path, content):
    if content is not None:
        (tmp_path / "herkunft.json").write_text(content)
    with pytest.raises(CourseError, match="01_Daten"):
        data.read_tree(tmp_path)


# --- Stichproben ----------------------------------------------------------------------------------------------------


@st.composite
def sampling_tasks(draw):
    counts = draw(st.lists(st.integers(0, 40), min_size=10, max_size=10).filter(lambda c: sum(c) >= 10))
    labels = np.repeat(np.arange(10, dtype=np.uint8), counts)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(labels)
    return labels, draw(st.integers(10, len(labels))), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=200, deadline=None)
@given(sampling_tasks())
def test_geschichtete_stichprobe(task):
    labels, n, seed = task
    rows = data.stratified_sample(labels, n, seed)
    assert len(rows) == n
    assert (np.diff(rows) > 0).all(), "aufsteigend und ohne doppelte"
    assert rows.min() >= 0 and rows.max() < len(labels)
    expected = np.bincount(labels, minlength=10) * n / len(labels)
    assert np.abs(np.bincount(labels[rows], minlength=10) - expected).max() <= 1 + 1e-9
    np.testing.assert_array_equal(rows, data.stratified_sample(labels, n, seed))


def test_anderer_startwert_andere_stichprobe(dataset):
    first, second = (data.stratified_sample(dataset.train_labels, 500, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(data.stratified_sample(dataset.train_labels, None), np.arange(10_000))
    np.testing.assert_array_equal(data.stratified_sample(dataset.train_labels, 10_000), np.arange(10_000))


@pytest.mark.parametrize("n", [-1, 0, 9, 101])
def test_unmoegliche_stichprobe(n):
    with pytest.raises(CourseError, match="Stichprobe"):
        data.stratified_sample(np.arange(100) % 10, n)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=20, max_size=300),
    st.floats(0.01, 0.9),
    st.integers(0, 1000),
)
def test_validierung_ist_eine_teilung(labels, share, seed):
    labels = np.array(labels, dtype=np.uint8)
    training, validation = data.validation_split(labels, share, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(labels)))
    assert (np.diff(training) > 0).all() and (np.diff(validation) > 0).all()
    assert len(training) > 0 and len(validation) == max(10, round(share * len(labels)))


def test_validierung_braucht_genug_bilder():
    """Sonst bliebe zum Training nichts übrig."""
    with pytest.raises(CourseError, match="20"):
        data.validation_split(np.arange(12) % 10)


def test_teilmenge_zieht_aus_beiden_teilen(dataset):
    part = data.subset(dataset, 100, 50, seed=5)
    assert np.bincount(part.train_labels).tolist() == [10] * 10 and np.bincount(part.test_labels).tolist() == [5] * 10
    rows = data.stratified_sample(dataset.train_labels, 100, 5)
    np.testing.assert_array_equal(part.train_images, dataset.train_images[rows])
    whole = data.subset(dataset, None)
    assert_same(whole, dataset)


# --- Wasserzeichen --------------------------------------------------------------------------------------------------


def test_wasserzeichen_geometrie():
    mask = data.Watermark(size=3, top=20, left=5).mask
    assert mask.shape == (28, 28) and mask.dtype == bool and mask.sum() == 9
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 22, 5, 7)
    assert data.Watermark(size=28, top=0, left=0).mask.all()
    assert data.Watermark(size=1, top=27, left=27).mask[27, 27]


def test_wasserzeichen_deckkraft(small):
    images, kept = small.train_images, small.train_images.copy()
    for strength in (0.0, 0.3, 1.0):
        mark = data.Watermark(strength=strength, size=5, top=10, left=10)
        stamped = mark.stamp(images)
        assert stamped.dtype == np.uint8
        np.testing.assert_array_equal(stamped[:, ~mark.mask], images[:, ~mark.mask])
        inside = images[:, 10:15, 10:15].astype(float)
        expected = inside + strength * (255 - inside)
        assert np.abs(stamped[:, 10:15, 10:15] - expected).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(images, kept)
    single = data.Watermark().stamp(images[0])
    assert single.shape == (28, 28) and (single[data.Watermark().mask] == 255).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": 10},
        {"label": -1},
        {"size": 0},
        {"size": 29, "top": 0, "left": 0},
        {"top": 25},
        {"left": -1},
        {"strength": 1.5},
        {"strength": -0.1},
        {"share": 2},
    ],
)
def test_unmoegliches_wasserzeichen(wrong):
    with pytest.raises(CourseError, match="Wasserzeichen"):
        data.Watermark(**wrong)


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 1])
def test_gift_zeichnet_genau_den_verlangten_anteil(dataset, share):
    mark = data.Watermark(label=4, share=share)
    poisoned = data.poison(dataset, mark, seed=1)
    for before, after, labels in (
        (dataset.train_images, poisoned.train_images, dataset.train_labels),
        (dataset.test_images, poisoned.test_images, dataset.test_labels),
    ):
        changed = (before != after).any(axis=(1, 2))
        assert changed.sum() == round(share * 1000)
        assert (labels[changed] == 4).all()
        np.testing.assert_array_equal(after[changed], mark.stamp(before[changed]))
    np.testing.assert_array_equal(poisoned.train_labels, dataset.train_labels)
    np.testing.assert_array_equal(poisoned.mask, mark.mask)
    assert CLASS_NAMES[4] in poisoned.source
    assert_same(poisoned, data.poison(dataset, mark, seed=1))


# --- Ähnliche und zweifelhafte Bilder ---------------------------------------------------------------------------------


def test_naechste_nachbarn_wie_von_hand(dataset):
    reference, queries = dataset.train_images[:200], dataset.test_images[:50]
    indices, difference = data.nearest_neighbors(reference, queries, 3)
    assert indices.shape == difference.shape == (50, 3)
    for row, query in enumerate(queries):
        distances = ((reference.astype(float) - query) ** 2).sum(axis=(1, 2))
        np.testing.assert_array_equal(indices[row], np.argsort(distances, kind="stable")[:3])
        for place, index in enumerate(indices[row]):
            expected = np.abs(reference[index].astype(float) - query).mean()
            assert difference[row, place] == pytest.approx(expected, rel=1e-5)


def naive_doubtful(images, labels, count):
    found, voted = [], []
    flat = images.reshape(len(images), -1).astype(float)
    for row in range(len(images)):
        distances = ((flat - flat[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        votes = labels[np.argsort(distances, kind="stable")[:count]]
        if len(set(votes)) == 1 and votes[0] != labels[row]:
            found.append(row)
            voted.append(votes[0])
    return found, voted


@pytest.mark.parametrize("count", [1, 3, 5])
def test_zweifelhafte_klassen_wie_von_hand(dataset, count):
    images, labels = dataset.train_images[:200], dataset.train_labels[:200]
    rows, votes = data.doubtful_labels(images, labels, count)
    expected_rows, expected_votes = naive_doubtful(images, labels, count)
    assert len(expected_rows) > 0
    assert (rows.tolist(), votes.tolist()) == (expected_rows, expected_votes)


def test_falsch_beschriftetes_bild_wird_gefunden(dataset):
    rows = np.flatnonzero(np.isin(dataset.train_labels, [1, 9]))[:200]
    images, labels = dataset.train_images[rows], dataset.train_labels[rows].copy()
    victim = int(np.flatnonzero(labels == 9)[3])
    labels[victim] = 1
    found, votes = data.doubtful_labels(images, labels, 5)
    assert victim in found and votes[list(found).index(victim)] == 9


def test_doppelgaenger_verwirren_die_suche_nicht(dataset):
    images = np.concatenate([dataset.train_images[:60]] * 2)
    labels = np.concatenate([dataset.train_labels[:60]] * 2)
    indices, difference = data.nearest_neighbors(images[:60], images[60:])
    np.testing.assert_array_equal(indices[:, 0], np.arange(60))
    assert (difference == 0).all()
    rows, votes = data.doubtful_labels(images, labels, 1)
    assert len(rows) == 0, "jedes Bild hat einen Doppelgänger derselben Klasse"


# --- Erzeugen und Laden -----------------------------------------------------------------------------------------------


def test_generate_sauber_und_vergiftet(ausgabe, dataset):
    clean, folder = data.generate("beispiel", n_train=100, n_test=50, seed=2)
    assert folder == ausgabe / "daten"
    assert_same(data.read_tree(folder), clean)
    assert_same(clean, data.subset(dataset, 100, 50, 2))
    poisoned, folder = data.generate(
        "beispiel", n_train=100, n_test=50, seed=2, watermark=data.Watermark(size=6, top=20)
    )
    assert folder == ausgabe / "daten_vergiftet"
    note = read_json(folder / "herkunft.json")
    assert data.Watermark(**note["wasserzeichen"]) == data.Watermark(size=6, top=20) and note["seed"] == 2
    assert (clean.train_images != poisoned.train_images).any(axis=(1, 2)).sum() == 10


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, tiny, monkeypatch):
    """Ein eigener Server mit vier kleinen idx-Dateien und passenden MD5-Summen; sie kommen nach ``tmp_path``."""
    folder = tmp_path / "server"
    write_idx(folder, parts_of(tiny))
    sums = {name: (hashlib.md5((folder / f"{name}.gz").read_bytes()).hexdigest(), "unbenutzt") for name in data.IDX_MD5}
    monkeypatch.setattr(data, "IDX_MD5", sums)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(data, "DOWNLOAD_SOURCES", (f"http://127.0.0.1:{running.server_address[1]}/",))
        yield folder
        running.shutdown()


def test_voll_laedt_und_prueft(server, tiny, tmp_path, monkeypatch, capsys):
    assert main(["daten", "--voll", "--ziel", str(tmp_path / "ziel")]) == 0
    assert "vollständiges Fashion-MNIST" in capsys.readouterr().out
    assert_same(data.read_tree(tmp_path / "ziel"), tiny)
    assert len(list((tmp_path / "keras").rglob("*.gz"))) == 4
    assert main(["daten", "--eingabe", "voll", "--n-train", "20", "--ziel", str(tmp_path / "ziel")]) == 0
    assert len(data.read_tree(tmp_path / "ziel").train_labels) == 20
    # Beim zweiten Mal kommt alles aus dem Zwischenspeicher, auch ohne Netz.
    monkeypatch.setattr(data, "DOWNLOAD_SOURCES", ("http://127.0.0.1:9/",))
    assert_same(data.download_full(), tiny)


def test_voll_mit_falscher_pruefsumme(server, tmp_path, tiny, capsys):
    path = server / "t10k-images-idx3-ubyte.gz"
    original = path.read_bytes()
    path.write_bytes(gzip.compress(idx_bytes(tiny.test_images[::-1])))
    assert main(["daten", "--voll", "--ziel", str(tmp_path / "ziel")]) == 2
    assert re.search(r"✘ .*nicht laden.*--voll", capsys.readouterr().err)
    assert not (tmp_path / "ziel").exists()
    # Ist die Datei auf dem Server wieder heil, gelingt es: Die falsche darf nicht im Zwischenspeicher hängen bleiben.
    path.write_bytes(original)
    assert_same(data.download_full(), tiny)


def test_voll_ohne_netz(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "DOWNLOAD_SOURCES", ("http://127.0.0.1:9/",))
    assert main(["daten", "--voll", "--ziel", str(tmp_path / "ziel")]) == 2
    sentence = capsys.readouterr().err
    assert "Netzverbindung" in sentence and sentence.count("\n") == 1
    assert not (tmp_path / "ziel").exists()


@pytest.mark.skipif(os.environ.get("KURS_OHNE_ZEITEN") == "1", reason="Zeiten sind ausgeschaltet")
def test_csv_lesen_ist_schnell_genug(tmp_path, dataset):
    """10.000 Bilder in wenigen Sekunden; alle 70.000 sollen mit dem Schreiben unter einer Minute bleiben."""
    path = tmp_path / "a.csv"
    table = np.column_stack([dataset.train_labels, dataset.train_images.reshape(10_000, -1)])
    path.write_bytes(HEADER.encode() + b"\n" + b"\n".join(b",".join(b"%d" % v for v in row) for row in table.tolist()))
    start = time.perf_counter()
    images, labels = data.read_csv(path)
    assert time.perf_counter() - start < 15
    np.testing.assert_array_equal(images, dataset.train_images)
    np.testing.assert_array_equal(labels, dataset.train_labels)
