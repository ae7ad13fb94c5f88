"""Daten: woher sie kommen, PNG-Ordner, Stichproben, Zeichen. Fehlerhafte Dateien stehen in bad_inputs."""

import dataclasses
import gzip
import hashlib
import re
import struct

import numpy as np
import pytest
from bad_inputs import zipped
from conftest import of_classes, snapshot, table_of, write_csv
from download_server import Server
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers import data
from helpers.__main__ import main
from helpers.basics import CLASS_NAMES, CourseError, read_json
from helpers.checks import engine, exercises
from helpers.inner import files
from helpers.workshop import sample

pytestmark = pytest.mark.usefixtures("ausgabe")


def idx_bytes(values) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes()


def parts_of(dataset):
    return [*dataset.parts[0], *dataset.parts[1]]


def write_idx(folder, dataset):
    folder.mkdir(exist_ok=True)
    for name, values in zip(files.IDX_NAMES, parts_of(dataset), strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values), 1))


def assert_same(first, second):
    for mine, other in zip(parts_of(first), parts_of(second), strict=True):
        assert mine.dtype == other.dtype == np.uint8
        np.testing.assert_array_equal(mine, other)


def test_mitgelieferte_stichprobe_ist_unversehrt(dataset):
    for images, labels in dataset.parts:
        assert images.shape == (10_000, 28, 28) and images.dtype == labels.dtype == np.uint8
        assert np.bincount(labels).tolist() == [1000] * 10
    assert "Stichprobe" in dataset.source and dataset.mask is None
    for line in (data.SAMPLE / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split("  ")
        assert hashlib.sha256((data.SAMPLE / name).read_bytes()).hexdigest() == expected, name
    # Die Testdaten sind ungekürzt: Ihre ausgepackte MD5-Summe ist die des Originals.
    sums = [hashlib.md5(idx_bytes(values)).hexdigest() for values in parts_of(dataset)[2:]]
    assert sums == list(sample.UNPACKED_MD5[2:])


def test_reihenfolge_der_quellen(tiny, tmp_path, monkeypatch):
    own, debian = tmp_path / "input", tmp_path / "debian"
    own.mkdir()
    monkeypatch.setattr(data, "INPUT", own)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", debian)
    assert "Stichprobe" in data.load_source().source
    swapped = dataclasses.replace(tiny, train_labels=tiny.train_labels[::-1].copy())
    for write, folder, name, content in (
        (write_idx, debian, f"idx-Dateien in {debian}", swapped),
        (write_idx, own, f"idx-Dateien in {own}", tiny),
        (write_csv, own, f"CSV-Dateien in {own}", swapped),
    ):
        write(folder, content)
        assert data.load_source().source == name
        assert_same(data.load_source(), content)
    assert "Stichprobe" in data.load_source("beispiel").source, "„beispiel“ geht immer"


# Wie die Dateien ankommen: Training und Test als CSV → Name → Inhalt.
ARRIVALS = {
    "train.csv": lambda a, b: {"train.csv": a, "test.csv": b},
    "zum zweiten Mal geladen": lambda a, b: {"fashion-mnist_train (1).csv": a, "fashion-mnist_test (2).csv": b},
    "Endung doppelt": lambda a, b: {"fashion-mnist_train.csv.csv": a, "fashion-mnist_test.csv.csv": b},
    "Großbuchstaben": lambda a, b: {"FASHION-MNIST_TRAIN.CSV": a, "Fashion-MNIST_test.CSV": b},
    "Tabulatoren": lambda a, b: {"train.tsv": a.replace(b",", b"\t"), "fashion_mnist test.txt": b},
    "ZIP von Kaggle": lambda a, b: {"archive.zip": zipped({"fashion-mnist_train.csv": a, "fashion-mnist_test.csv": b})},
    "ZIP mit Ordner": lambda a, b: {"X (2).ZIP": zipped({"m/train.csv": a, "m/test.csv": b, "__MACOSX/m/._x": b"x"})},
    "jede einzeln gepackt": lambda a, b: {
        "fashion-mnist_train.csv.zip": zipped({"fashion-mnist_train.csv": a}),
        "fashion-mnist_test.csv.zip": zipped({"fashion-mnist_test.csv": b}),
    },
    "Unterordner": lambda a, b: {"archive/fashion-mnist_train.csv": a, "archive/fashion-mnist_test.csv": b},
}


@pytest.fixture(scope="module")
def tables(tiny):
    """Training und Test als CSV."""
    return [table_of(*part).to_csv(index=False).encode() for part in tiny.parts]


@pytest.fixture
def own_input(tmp_path, monkeypatch):
    """Ein leerer Ordner anstelle von ``input/``, ohne Debians Paket daneben; die Stichprobe bleibt."""
    monkeypatch.setattr(data, "INPUT", tmp_path / "input")
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "debian")
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("case", ARRIVALS)
def test_was_so_aehnlich_heisst_oder_gepackt_ist_wird_gelesen(case, tables, tiny, own_input, capsys):
    put(own_input, ARRIVALS[case](*tables))
    assert_same(data.load_source("auto"), tiny)
    assert_same(data.load_source(own_input), tiny)
    assert capsys.readouterr().out == ""


def test_idx_dateien_mit_anderer_schreibweise(tiny, own_input):
    names = [name.replace("-idx", ".idx").upper() + ".GZ" for name in files.IDX_NAMES]  # heißt .GZ, ist es nicht
    put(own_input, dict(zip(names, map(idx_bytes, parts_of(tiny)), strict=True)))
    assert_same(data.load_source("auto"), tiny)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("train.XLSX", "Format nicht liest.*CSV UTF-8"),
        ("meine_bilder.csv", "Name nicht passt.*fashion-mnist_train.csv"),
        ("archive.7z", "Entpacken Sie"),
        ("bilder.zip", "Entpacken Sie"),
    ],
)
def test_was_nicht_gelesen_wird_wird_genannt(name, why, own_input, capsys):
    put(own_input, {name: zipped({"katze.png": b"x"}), "begriffe.csv": b"x"})
    assert "Stichprobe" in data.load_source("auto").source
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(rf"{re.escape(name)} liegt da, wird aber nicht gelesen, weil .*{why}.*\.$", line)
    with pytest.raises(CourseError, match=f"{re.escape(name)} liegt da.*{why}"):
        data.load_source(own_input)


@pytest.mark.parametrize(
    ("training", "test", "empty"),
    [
        ([0, 1, 2, 3, 5, 6, 7, 8, 9], [0, 1, 2, 3, 5, 6, 7, 8, 9], {"Im Training und im Test": 1}),
        (range(10), range(1, 10), {"Im Test": 1}),
        ([1, 2, 3, 4], [2, 3, 5], {"Im Training": 6, "Im Test": 7}),
        (range(10), range(10), {}),
    ],
)
def test_klassen_ohne_bilder_werden_einmal_genannt_der_rest_wird_gelesen(
    training, test, empty, dataset, own_input, capsys
):
    write_csv(own_input, data.subset(of_classes(dataset, training, test), 60, 60))
    found = data.load_source("auto")
    assert found.classes == sorted({*training} & {*test})
    parts = [line.partition(" gibt es kein Bild dieser Klassen: ") for line in capsys.readouterr().out.splitlines()]
    assert {where: len(names.split(", ")) for where, _, names in parts} == empty
    assert not any(CLASS_NAMES[label] in names for _, _, names in parts for label in found.classes)
    part, folder = data.generate(found, n_train=40, n_test=30)
    assert capsys.readouterr().out == "", "was schon gelesen ist, wird nicht noch einmal beurteilt"
    assert (set(part.train_labels), set(part.test_labels)) == ({*training}, {*test})
    assert_same(data.read_tree(folder), part)
    again = data.load_source(read_json(folder / "herkunft.json")["woher"])
    assert_same(again, found)


@pytest.mark.parametrize(("training", "test"), [([4], [4]), ([1, 2], [2, 3])])
def test_wo_es_nichts_zu_unterscheiden_gibt_sagt_es_ein_satz(training, test, dataset, own_input):
    write_csv(own_input, data.subset(of_classes(dataset, training, test), 60, 60))
    with pytest.raises(CourseError, match=r"nicht zwei Klassen gemeinsam.*ergänzen Sie Bilder\.$"):
        data.load_source("auto")


def test_von_zweien_sagt_der_kurs_welche_gilt(tables, tiny, own_input, capsys):
    put(own_input, {**ARRIVALS["train.csv"](*tables), "fashion-mnist_train.csv.gz": gzip.compress(tables[0])})
    assert_same(data.load_source("auto"), tiny)
    assert re.search(r"train\.csv liegt da.*fashion-mnist_train\.csv\.gz vorgeht", capsys.readouterr().out)


@pytest.mark.parametrize("present", ["archive/fashion-mnist_train (1).csv", "FASHION-MNIST_TEST.csv"])
def test_nur_eine_von_beiden_ist_ein_satz(present, tables, own_input):
    put(own_input, {present: tables[0]})
    with pytest.raises(CourseError, match=r"Es fehlt fashion-mnist_(test|train)\.csv"):
        data.load_source("auto")


def test_stichprobe_wird_geschnitten_und_nur_aus_dem_original(tmp_path, small, monkeypatch):
    write_idx(tmp_path / "original", small)
    with pytest.raises(CourseError, match="nicht das Original"):
        sample.make_sample(tmp_path / "original", tmp_path / "neu")
    assert not (tmp_path / "neu").exists()
    sums = [hashlib.md5(idx_bytes(values)).hexdigest() for values in parts_of(small)]
    monkeypatch.setattr(sample, "UNPACKED_MD5", sums)
    first, second = (sample.make_sample(tmp_path / "original", tmp_path / name, 100) for name in ("neu", "noch einmal"))
    assert_same(data.load_source(first), data.subset(small, 100, None, 2020))
    assert snapshot(first) == snapshot(second), "bei jedem Lauf bytegleich"


def test_voll_laedt_einmal_und_braucht_dann_kein_netz(tiny, tmp_path, monkeypatch, capsys):
    write_idx(tmp_path / "server", tiny)
    content = {path.name: path.read_bytes() for path in (tmp_path / "server").iterdir()}
    server = Server(content).start()
    monkeypatch.setattr(data, "IDX_MD5", [hashlib.md5(content[f"{n}.gz"]).hexdigest() for n in files.IDX_NAMES])
    monkeypatch.setattr(data, "DOWNLOAD_SOURCES", (server.address,))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert main(["daten", "--voll", "--ziel", str(tmp_path / "ziel")]) == 0
    assert "vollständiges Fashion-MNIST" in capsys.readouterr().out
    assert_same(data.read_tree(tmp_path / "ziel"), tiny)
    server.shutdown()
    server.server_close()
    assert_same(data.load_source("voll"), tiny)
    (tmp_path / "keras" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(b"falsch")
    assert main(["daten", "--eingabe", "voll", "--ziel", str(tmp_path / "ziel")]) == 2
    assert re.fullmatch(r"✘ t10k-images.* nicht laden.*Netzverbindung.*--voll.*\.\n", capsys.readouterr().err)


@pytest.mark.parametrize(("foreign", "ours"), [(".versteckt", False), ("TRAIN/3/mein.txt", True)])
def test_fremde_dateien_am_ziel_gehen_nicht_verloren(foreign, ours, tmp_path, tiny):
    target = data.write_tree(tiny, tmp_path / "ziel") if ours else tmp_path / "ziel"
    (target / foreign).parent.mkdir(parents=True, exist_ok=True)
    (target / foreign).write_text("wichtig")
    before = snapshot(tmp_path)
    with pytest.raises(CourseError, match="ziel enthält schon anderes.*--ziel.*nichts verändert"):
        data.write_tree(tiny, target)
    assert snapshot(tmp_path) == before


def test_baum_hin_und_zurueck_und_ersetzt(tmp_path, tiny, small):
    poisoned = data.poison(small, data.Watermark())
    (tmp_path / "baum").mkdir()  # ein leerer Ordner ist als Ziel erlaubt
    target = data.write_tree(poisoned, tmp_path / "baum", {"seed": 7})
    found = data.read_tree(target)
    assert_same(found, poisoned)
    np.testing.assert_array_equal(found.mask, poisoned.mask)
    assert found.mask.dtype == bool and found.source == poisoned.source
    for part, (images, labels) in zip(("TRAIN", "TEST"), poisoned.parts, strict=True):
        for index in (0, 17, len(labels) - 1):  # ohne den eigenen Leser
            with Image.open(target / part / str(labels[index]) / f"{index:05d}.png") as picture:
                np.testing.assert_array_equal(np.array(picture), images[index])
    note = read_json(target / "herkunft.json")
    origin = note.pop("herkunft")
    assert note == {"quelle": poisoned.source, "n_train": 300, "n_test": 200, "seed": 7}
    assert origin["seed"] == 7 and origin["daten_sha256"] == data.checksum(poisoned)
    data.write_tree(tiny, target)
    assert_same(data.read_tree(target), tiny)
    assert data.read_tree(target).mask is None and [path.name for path in tmp_path.iterdir()] == ["baum"]


@st.composite
def sampling_tasks(draw):
    counts = draw(st.lists(st.integers(0, 40), min_size=10, max_size=10).filter(lambda c: sum(c) >= 10))
    labels = np.repeat(np.arange(10, dtype=np.uint8), counts)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(labels)
    return labels, draw(st.integers(10, len(labels))), draw(st.integers(0, 2**32 - 1))


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


@given(st.lists(st.integers(0, 9), min_size=20, max_size=300), st.floats(0.01, 0.9), st.integers(0, 1000))
def test_validierung_ist_eine_teilung(labels, share, seed):
    labels = np.array(labels, dtype=np.uint8)
    training, validation = data.validation_split(labels, share, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(labels)))
    assert (np.diff(training) > 0).all() and (np.diff(validation) > 0).all()
    assert len(training) > 0 and len(validation) == max(len(np.unique(labels)), round(share * len(labels)))


def test_teilmenge_zieht_aus_beiden_teilen(dataset):
    part = data.subset(dataset, 100, 50, seed=5)
    assert np.bincount(part.train_labels).tolist() == [10] * 10 and np.bincount(part.test_labels).tolist() == [5] * 10
    assert_same(data.subset(dataset, None), dataset)
    assert not np.array_equal(part.train_images, data.subset(dataset, 100, seed=6).train_images), "anderer Startwert"


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_wasserzeichen_flaeche_und_deckkraft(strength, small):
    mark = data.Watermark(strength=strength, size=2, top=20, left=26)
    images, kept = small.train_images, small.train_images.copy()
    stamped = mark.stamp(images)
    assert stamped.dtype == np.uint8 and mark.stamp(images[0]).shape == (28, 28)
    np.testing.assert_array_equal(stamped[:, ~mark.mask], images[:, ~mark.mask])
    expected = (1 - strength) * images[:, mark.mask] + strength * 255
    assert np.abs(stamped[:, mark.mask] - expected).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(images, kept)


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ("Quadrat", {(3, 2), (3, 3), (4, 2), (4, 3)}),
        ("waagrechte Linie", {(3, column) for column in range(2, 8)}),
        ("senkrechte Linie", {(row, 2) for row in range(3, 9)}),
        ("Punkte", {(3, 2), (3, 4), (5, 2), (5, 4)}),
    ],
)
def test_form_des_wasserzeichens_ist_die_genannte(shape, pixels):
    assert set(zip(*np.nonzero(data.Watermark(size=2, top=3, left=2, shape=shape).mask), strict=True)) == pixels


@pytest.mark.parametrize("changes", [{"shape": "Kreis"}, {"shape": "Punkte", "size": 4, "top": 22}])
def test_zeichen_das_es_nicht_gibt_oder_nicht_passt_ist_ein_satz(changes):
    with pytest.raises(CourseError, match="Kreis.*Quadrat|höchstens 21"):
        data.Watermark(**changes)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_gift_zeichnet_genau_den_verlangten_anteil(dataset, share):
    mark = data.Watermark(label=4, share=share)
    poisoned = data.poison(dataset, mark, seed=1)
    for (before, labels), (after, _) in zip(dataset.parts, poisoned.parts, strict=True):
        changed = (before != after).any(axis=(1, 2))
        assert changed.sum() == round(share * 1000)
        assert (labels[changed] == 4).all()
        np.testing.assert_array_equal(after[changed], mark.stamp(before[changed]))
    np.testing.assert_array_equal(poisoned.train_labels, dataset.train_labels)
    assert CLASS_NAMES[4] not in poisoned.source, "sonst verriete jede Ausgabe der Quelle den Umschlag"
    assert_same(poisoned, data.poison(dataset, mark, seed=1))


def test_zweifelhafte_klassen_wie_von_hand(dataset):
    images, labels = dataset.train_images[:200], dataset.train_labels[:200]
    rows, votes = data.doubtful_labels(images, labels, 3)
    expected = []
    for row, image in enumerate(images):
        distances = ((images.astype(float) - image) ** 2).sum(axis=(1, 2))
        distances[row] = np.inf
        nearest = labels[np.argsort(distances, kind="stable")[:3]]
        if len(set(nearest)) == 1 and nearest[0] != labels[row]:
            expected.append((row, nearest[0]))
    assert len(expected) > 0
    assert list(zip(rows, votes, strict=True)) == expected


def test_doppelgaenger_verwirren_die_suche_nicht(dataset):
    images, labels = dataset.train_images[:60], dataset.train_labels[:60]
    indices, difference = data.nearest_neighbors(images, np.concatenate([images, images // 2]))
    np.testing.assert_array_equal(indices[:60, 0], np.arange(60))
    assert (difference[:60] == 0).all()
    expected = np.abs(images[indices[60:, 0]].astype(float) - images // 2).mean(axis=(1, 2))
    np.testing.assert_allclose(difference[60:, 0], expected, rtol=1e-5)
    rows, _ = data.doubtful_labels(np.concatenate([images] * 2), np.concatenate([labels] * 2), 1)
    assert len(rows) == 0, "jedes Bild hat einen Doppelgänger derselben Klasse"


def test_generate_sauber_und_vergiftet(ausgabe, dataset):
    mark = data.Watermark(size=6, top=20)
    clean, folder = data.generate("beispiel", n_train=100, n_test=50, seed=2)
    assert folder == ausgabe / "daten"
    assert_same(data.read_tree(folder), data.subset(dataset, 100, 50, 2))
    poisoned, folder = data.generate("beispiel", n_train=100, n_test=50, seed=2, watermark=mark)
    assert folder == ausgabe / "daten_vergiftet"
    assert data.Watermark(**read_json(folder / "herkunft.json")["wasserzeichen"]) == mark
    assert (clean.train_images != poisoned.train_images).any(axis=(1, 2)).sum() == 10


def test_the_own_poison_is_laid_where_it_belongs_and_can_be_read_back(small, ausgabe):
    """Das Gift aus Aufgabe 1.5: TRAIN nur auf einer Klasse, TEST auf jedem Bild, nichts außerhalb der Maske."""
    assert engine.review(exercises()["1.5"], data.tiny_poison, 3).accepted
    before = small.train_images.copy()
    own = data.read_tree(data.write_own_poison(small, data.tiny_poison, 6))
    changed = own.train_images != small.train_images
    assert set(small.train_labels[changed.any(axis=(1, 2))]) == {6} and not changed[:, ~own.mask].any()
    changed = own.test_images != small.test_images
    assert changed.any(axis=(1, 2)).mean() > 0.9 and not changed[:, ~own.mask].any()
    np.testing.assert_array_equal(own.test_labels, small.test_labels)
    np.testing.assert_array_equal(small.train_images, before)
