"""Eigene Bilder: jeder Aufbau und jede Dateiart wie mit Pillow, und ein Satz zu allem, woraus kein Datensatz wird."""

import csv
import dataclasses
import os
import re
import unicodedata

import numpy as np
import picture_factory as factory
import pytest
from conftest import snapshot
from PIL import Image, ImageOps
from two_layers import replace_vgg16

from helpers import model
from helpers.__main__ import main
from helpers.basics import CLASS_NAMES, CourseError, output_dir
from helpers.model import load_run
from helpers.own import picture_files, picture_sample
from helpers.own.picture_folder import natural
from helpers.own.pictures import of_dataset, read_pictures
from helpers.settings import get_profile
from helpers.training import Evaluation
from helpers.workshop import cnn

pytestmark = pytest.mark.usefixtures("ausgabe")
KINDS = factory.kinds()
GRAY = (124, 117, 104)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Drei Klassen zu je zwölf Bildern. Nur lesen oder kopieren."""
    return factory.tree(tmp_path_factory.mktemp("bilder"), {"Apfel": 12, "Birne": 12, "Quitte": 12})


def read_with_pillow(content: bytes, name: str) -> Image.Image:
    """Was Pillow selbst dazu sagt, Schritt für Schritt und ohne den Kurs."""
    import io

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if "16 bit" in name:
        return Image.fromarray((np.asarray(image).astype(int) // 256).astype(np.uint8)).convert("RGB")
    clear = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    return white.convert("RGB") if clear.getextrema()[3][0] < 255 else image.convert("RGB")


# --- Was gelesen wird -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_jede_art_datei_wie_mit_pillow(name, tmp_path):
    path = factory.write(tmp_path, {name: KINDS[name]}) / name
    expected = read_with_pillow(KINDS[name], name)
    tolerance = 1 if "alpha" in name else 0  # Pillow rundet beim Einkleben anders als beim Mischen
    np.testing.assert_allclose(picture_files.read_picture(path), np.asarray(expected), atol=tolerance)
    if not tolerance:
        np.testing.assert_array_equal(
            picture_files.read_picture(path, 64), np.asarray(ImageOps.pad(expected, (64, 64), color=GRAY))
        )
        np.testing.assert_array_equal(
            picture_files.read_picture(path, 64, crop=True), np.asarray(ImageOps.fit(expected, (64, 64)))
        )


def test_was_die_dateiarten_bedeuten(tmp_path):
    """Gegenprobe ohne Pillows Umwandlungen: bekannte Farben."""
    factory.write(tmp_path, KINDS)
    read = {name: picture_files.read_picture(tmp_path / name) for name in KINDS}
    upright = read["gedreht 1.jpg"].shape
    for number in range(2, 9):
        turned = read[f"gedreht {number}.jpg"].shape
        assert turned == (upright if number < 5 else (upright[1], upright[0], 3))
    for name in ("16 bit.png", "16 bit.tif", "16 bit.pgm"):
        np.testing.assert_array_equal(read[name][..., 0], factory.sixteen_bits() >> 8)
    clear = factory.noise(3, channels=4).astype(float)
    on_white = clear[..., :3] * clear[..., 3:] / 255 + 255 - clear[..., 3:]
    assert np.abs(read["alpha.png"] - on_white).max() <= 1
    np.testing.assert_array_equal(read["farbe.png"], factory.noise(1))
    assert np.abs(read["druck cmyk.jpg"].astype(int) - factory.noise(1)).mean() < 12, "nicht das Negativ"
    np.testing.assert_array_equal(read["grau.png"], np.asarray(factory.colored(2).convert("L"))[..., None].repeat(3, 2))


def layouts() -> dict:
    """Name → (Funktion, die in einem Ordner Bilder anlegt, erwartete Klassen, erwartete Teile)."""

    def table(separator, head, line, encoding="utf-8"):
        def make(folder):
            factory.tree(folder, {".": 36})
            names = sorted(path.name for path in folder.glob("*.png"))
            lines = [line(name, number % 3) for number, name in enumerate(names)]
            with open(folder / "klassen.csv", "w", encoding=encoding, newline="") as file:
                csv.writer(file, delimiter=separator).writerows([head, *lines] if head else lines)

        return make

    fruit, whole = ["Äpfel à 5 €", "Birnen", "Quitten"], {"train", "test"}
    marks = np.eye(3, dtype=int)

    def parts(*names):
        return lambda folder: factory.tree(folder, {f"{part}/{name}": 8 for part in names for name in "ab"})

    return {
        "Ordner je Klasse": (
            lambda f: factory.tree(f, {"Klasse 10": 12, "Klasse 2 (alt)": 12, "ä b": 12}),
            ("ä b", "Klasse 2 (alt)", "Klasse 10"),
            whole,
        ),  # fmt: skip
        "Ordner in Ordnern": (lambda f: factory.tree(f, {"a/x": 9, "a/y/z": 9, "b": 18}), ("a", "b"), whole),
        "train und test": (parts("train", "test"), ("a", "b"), whole),
        "TRAIN, Val, TEST": (parts("TRAIN", "Val", "TEST"), ("a", "b"), {"train", "val", "test"}),
        "Training, Validierung, Testen": (
            parts("Training", "Validierung", "Testen"),
            ("a", "b"),
            {"train", "val", "test"},
        ),  # fmt: skip
        "train und val ohne test": (
            lambda f: factory.tree(f, {"train/a": 15, "train/b": 15, "val/a": 3, "val/b": 3}),
            ("a", "b"),
            {"train", "val", "test"},
        ),  # fmt: skip
        "Komma, mit Endung": (table(",", ["file", "label"], lambda n, c: [n, fruit[c]]), tuple(fruit), whole),
        "Semikolon, ohne Endung": (
            table(";", ["Bild", "Klasse"], lambda n, c: [n[:-4], fruit[c]]),
            tuple(fruit),
            whole,
        ),
        "Tabulator": (table("\t", ["id", "class"], lambda n, c: [n, fruit[c]]), tuple(fruit), whole),
        "Windows": (table(";", ["Bild", "Klasse"], lambda n, c: [n, fruit[c]], "cp1252"), tuple(fruit), whole),
        "BOM": (table(",", ["Bild", "Klasse"], lambda n, c: [n, fruit[c]], "utf-8-sig"), tuple(fruit), whole),
        "Zahlen": (table(",", ["file", "label"], lambda n, c: [n, 9 + c]), ("9", "10", "11"), whole),
        "one-hot": (table(",", ["file", *fruit], lambda n, c: [n, *marks[c]]), tuple(fruit), whole),
        "ohne Kopf": (table(",", None, lambda n, c: [n, fruit[c]]), tuple(fruit), whole),
        "Klasse vorn, mehr Spalten": (
            table(",", ["", "label", "file", "größe"], lambda n, c: [7, fruit[c], n, 3]),
            tuple(fruit),
            whole,
        ),  # fmt: skip
        "Gruppen": (
            table(",", ["file", "label", "Gruppe"], lambda n, c: [n, fruit[c], int(n[4:-4]) // 3]),
            tuple(fruit),
            {"train", "val", "test"},
        ),  # fmt: skip
    }


LAYOUTS = layouts()


@pytest.mark.parametrize("case", LAYOUTS)
def test_jeder_aufbau_wird_gelesen(case, tmp_path):
    make, names, parts = LAYOUTS[case]
    folder = tmp_path / "Ordner mit Leerzeichen und Ümläuten (neu)"
    folder.mkdir()
    make(folder)
    pictures = read_pictures(folder, size=64)
    assert pictures.class_names == names and set(pictures.paths) == parts
    everything = [path for paths in pictures.paths.values() for path in paths]
    assert sorted(everything) == sorted(folder.rglob("*.png")), "jedes Bild einmal"
    assert pictures.size == 40, "vergrößert wird erst im Netz"
    for part, paths in pictures.paths.items():
        assert set(pictures.labels[part]) == set(range(len(names))) or part == "val"
        expected = [np.asarray(ImageOps.pad(Image.open(path), (40, 40), color=GRAY)) for path in paths]
        np.testing.assert_array_equal(pictures.load(part), expected)
        for path, label in zip(paths, pictures.labels[part], strict=True):
            assert path.relative_to(folder).parts[0] == names[label] or len(names) == 3 or "train" in case.lower()


def test_ein_tabelleneintrag_gehoert_zu_seinem_bild(tmp_path):
    LAYOUTS["one-hot"][0](tmp_path)
    pictures = read_pictures(tmp_path)
    with open(tmp_path / "klassen.csv", encoding="utf-8") as file:
        wanted = {row["file"]: max(pictures.class_names, key=lambda name: row[name]) for row in csv.DictReader(file)}
    for part, paths in pictures.paths.items():
        assert [wanted[path.name] for path in paths] == [pictures.class_names[k] for k in pictures.labels[part]]


def test_die_teile_die_der_ordner_vorgibt_bleiben(tmp_path):
    factory.tree(tmp_path, {f"{part}/{name}": 7 for part in ("Train", "val", "TEST") for name in "ab"})
    for part, paths in read_pictures(tmp_path).paths.items():
        assert {path.relative_to(tmp_path).parts[0].lower() for path in paths} == {part}


def test_geteilt_wird_geschichtet_und_wiederholbar(tmp_path):
    folder = factory.tree(tmp_path / "b", {"viele": 50, "wenige": 10, "zwei": 2})
    first, again, other = (read_pictures(folder, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(first.labels["test"]).tolist() == [10, 2, 1]
    assert np.bincount(first.labels["train"]).tolist() == [40, 8, 1]
    assert first.paths == again.paths != other.paths


def test_keine_gruppe_liegt_in_zwei_teilen(tmp_path):
    LAYOUTS["Gruppen"][0](tmp_path)
    for seed in range(5):
        paths = read_pictures(tmp_path, seed=seed).paths
        groups = {part: {int(path.stem[4:]) // 3 for path in found} for part, found in paths.items()}
        assert not (
            groups["train"] & groups["test"] or groups["train"] & groups["val"] or groups["val"] & groups["test"]
        )


def test_was_kein_bild_ist_wird_uebergangen_und_genannt(three, tmp_path, capsys):
    folder = factory.copy(three, tmp_path / "b")
    rubbish = {
        "Apfel/Thumbs.db": b"x", "Apfel/.DS_Store": b"x", "Birne/notizen.txt": b"Hallo", "liesmich.md": b"#",
        "__MACOSX/Apfel/bild0.png": b"x", ".ipynb_checkpoints/a.png": b"x", "Birne/.ipynb_checkpoints/b.png": b"x",
        "Birne/._bild.png": b"x", "Apfel/desktop.ini": b"x",
    }  # fmt: skip
    factory.write(folder, rubbish)
    pictures = read_pictures(folder)
    out = capsys.readouterr().out
    assert sum(map(len, pictures.paths.values())) == 36 and pictures.class_names == ("Apfel", "Birne", "Quitte")
    assert "Übergangen, weil keine Bilder: 9" in out and ".ipynb_checkpoints (2-mal)" in out


def test_rand_oder_ausschnitt_wird_gesagt(tmp_path, capsys):
    factory.tree(tmp_path / "b", {"a": 20}, size=(90, 60))
    folder = factory.tree(tmp_path / "b", {"b": 20}, ending="jpg", size=(70, 70))
    padded, cropped = read_pictures(folder, 64), read_pictures(folder, 64, crop=True)
    out = capsys.readouterr().out
    assert "Nicht quadratisch sind 20: Dort ist ein grauer Rand ergänzt und nichts abgeschnitten." in out
    assert "Nicht quadratisch sind 20: Dort ist die Mitte ausgeschnitten." in out
    row = int(np.flatnonzero(padded.labels["test"] == 0)[0])
    assert (padded.load("test", [row])[0, 0] == GRAY).all() and not (cropped.load("test", [row])[0, 0] == GRAY).all()


def test_masken_passen_zu_ihren_bildern(three, tmp_path, capsys):
    folder = factory.copy(three, tmp_path / "b")
    square = Image.new("L", factory.SIZE)
    square.paste(255, (5, 10, 25, 20))
    (folder / "Masken" / "Apfel").mkdir(parents=True)
    square.save(folder / "Masken" / "Apfel" / "bild0.png")
    square.convert("1").save(folder / "Masken" / "bild13.gif")
    pictures = read_pictures(folder, 64)
    found = [(part, row) for part in pictures.masks for row, mask in enumerate(pictures.masks[part]) if mask]
    assert len(found) == 2 and "Masken gibt es zu 2 Bildern" in capsys.readouterr().out
    for part, row in found:
        assert pictures.paths[part][row].stem in ("bild0", "bild13")
        (mask,) = pictures.load_masks(part, [row])
        assert mask.shape == (40, 40) and mask[15:25, 5:25].all() and mask.sum() == 200, "wie das Bild mit Rand"


@pytest.mark.parametrize("second", ["Apfel/anders.png", "Apfel/bild1.png"])
def test_dasselbe_bild_in_training_und_test_wird_genannt(second, tmp_path, capsys):
    factory.tree(tmp_path, {f"{part}/{name}": 9 for part in ("train", "test") for name in ("Apfel", "Birne")})
    assert read_pictures(tmp_path) and "Achtung" not in capsys.readouterr().out
    content = (tmp_path / "train/Apfel/bild0.png").read_bytes()
    factory.write(tmp_path, {f"test/{second}": content})
    read_pictures(tmp_path)
    assert f"dasselbe Bild in zwei Teilen: train/Apfel/bild0.png und test/{second}." in capsys.readouterr().out


def test_umlaute_von_macos_sind_dieselben(tmp_path):
    """macOS zerlegt ä in Dateinamen in zwei Zeichen; die Tabelle von Excel tut das nicht."""
    factory.tree(tmp_path, {".": 30})
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / unicodedata.normalize("NFD", f"Äpfel {path.name}"))
    rows = [f"{unicodedata.normalize('NFC', path.stem)};{number % 2}" for number, path in enumerate(tmp_path.iterdir())]
    (tmp_path / "t.csv").write_text("bild;klasse\n" + "\n".join(rows), encoding="utf-8")
    assert read_pictures(tmp_path).class_names == ("0", "1")


def test_natuerliche_reihenfolge():
    names = ["Klasse 10", "klasse 9", "Klasse 2", "10", "9", "²", "Ärger", "", "a٣"]
    assert sorted(names, key=natural) == ["", "9", "10", "Ärger", "a٣", "Klasse 2", "klasse 9", "Klasse 10", "²"]


# --- Auf der Platte -------------------------------------------------------------------------------------------------


def test_jede_datei_wird_nur_einmal_gelesen(three, tmp_path, ausgabe, monkeypatch):
    folder, seen, original = factory.copy(three, tmp_path / "b"), [], picture_files.read_picture
    monkeypatch.setattr(picture_files, "read_picture", lambda path, *a: seen.append(path.name) or original(path, *a))
    first = read_pictures(folder)
    assert len(seen) == 36
    again = read_pictures(folder)
    assert len(seen) == 36
    np.testing.assert_array_equal(first.load("train"), again.load("train"))
    changed = folder / "Apfel" / "bild0.png"
    factory.colored(77).save(changed)
    found = read_pictures(folder)
    assert len(seen) == 72, "ein Bild ist anders geworden"
    everything = np.concatenate([found.load(part) for part in found.paths])
    assert any((image[5:35] == factory.noise(77)).all() for image in everything)
    (newest,) = {*ausgabe.rglob("bilder_*.npz")} - {min(ausgabe.rglob("bilder_*.npz"), key=os.path.getmtime)}
    newest.write_bytes(newest.read_bytes()[:-40])
    read_pictures(folder)
    assert len(seen) == 108, "die abgelegten Bilder sind beschädigt"


def test_eine_stichprobe_ist_geschichtet_und_jedes_bild_behaelt_seine_klasse(three):
    pictures = read_pictures(three)
    few = pictures.sample(12, 3, seed=1)
    assert np.bincount(few.labels["train"]).tolist() == [4, 4, 4] and len(few.paths["test"]) == 3
    for row, path in enumerate(few.paths["train"]):
        assert path.parent.name == few.class_names[few.labels["train"][row]]
        np.testing.assert_array_equal(
            few.load("train", row), pictures.load("train", pictures.paths["train"].index(path))
        )
    assert pictures.sample(None, 1000).paths == pictures.paths


def test_wenige_bilder_liegen_zugleich_im_speicher(tmp_path, monkeypatch):
    """Gelesen wird in Stapeln; was nicht gefragt ist, wird nie ein Feld."""
    import tracemalloc

    peaks = []
    monkeypatch.setattr(picture_files, "CHUNK", 8)
    for count in (16, 16, 120):
        folder = factory.tree(tmp_path / f"b{len(peaks)}", {"a": count, "b": count}, size=(96, 96))
        tracemalloc.start()
        pictures = read_pictures(folder)
        for part in pictures.paths:
            count = len(pictures.paths[part])
            assert sum(len(pictures.load(part, slice(row, row + 8))) for row in range(0, count, 8)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one = 96 * 96 * 3
    assert peaks[2] < peaks[1] + 10 * one, "208 Bilder mehr, keine zehn davon im Speicher"


# --- Woraus kein Datensatz wird -------------------------------------------------------------------------------------


def put(name: str, content: bytes = b""):
    return lambda folder: factory.write(folder, {name: content})


def only(*kept):
    """Löscht alle Ordner außer diesen."""

    def spoil(folder):
        for path in folder.iterdir():
            if path.name not in kept:
                import shutil

                shutil.rmtree(path)

    return spoil


def made(counts):
    return lambda folder: factory.tree(folder, counts, size=(9, 9))


def keep(name: str, count: int):
    """Lässt im Ordner einer Klasse nur so viele Bilder."""

    def spoil(folder):
        for path in sorted((folder / name).iterdir())[count:]:
            path.unlink()

    return spoil


def table_of(change=lambda lines: lines, head="datei;klasse"):
    """Alle Bilder in einen Ordner, dazu eine Tabelle, deren Zeilen ``change`` verdirbt."""

    def spoil(folder):
        paths, lines = sorted(folder.rglob("*.png"), key=lambda path: natural(path.name)), []
        for path in paths:
            lines.append(f"{path.name};{path.parent.name}")
            path.rename(folder / path.name)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        (folder / "t.csv").write_text("\n".join(change([head, *lines])), encoding="utf-8")

    return spoil


def halves(content: bytes) -> bytes:
    return content[: len(content) // 2]


def both(*steps):
    def spoil(folder):
        for step in steps:
            step(folder)

    return spoil


PNG, JPG = KINDS["farbe.png"], KINDS["farbe.jpg"]
BROKEN = {
    "leer": b"", "Nullbytes": bytes(500), "HTML": b"<!DOCTYPE html><p>Anmelden", "Text": "Hallo, Äpfel".encode(),
    "abgeschnittenes png": halves(PNG), "abgeschnittenes jpg": halves(JPG), "nur der Kopf": PNG[:30],
    "gekipptes Bit": factory.silently_wrong(PNG), "abgeschnittenes gif": halves(KINDS["farbe.gif"]),
    "abgeschnittenes webp": halves(KINDS["farbe.webp"]), "abgeschnittenes bmp": halves(KINDS["farbe.bmp"]),
    "abgeschnittenes tif": halves(KINDS["farbe.TIFF"]), "abgeschnittenes ppm": halves(KINDS["farbe.ppm"]),
    "Verweis von git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "Kommazahlen": factory.saved(Image.fromarray(np.ones((9, 9), np.float32)), format="TIFF"),
    "PDF": b"%PDF-1.7\n1 0 obj", "Bombe": b"P6 30000 30000 255\n" + bytes(3000),
}  # fmt: skip
SPOILED = {
    name: (put("Apfel/kaputt.jpg", content), ("Apfel/kaputt.jpg", "--ohne-beschaedigte"))
    for name, content in BROKEN.items()
}
BAD = {
    **SPOILED,
    "HEIC": (put("Birne/IMG_1.HEIC", b"\0\0\0 ftypheic"), ("IMG_1.HEIC", "JPEG")),
    "mehrere kaputt": (both(put("Apfel/a.jpg"), put("Birne/b.png"), put("Birne/c.png")), ("Apfel/a.jpg", "2 weitere")),
    "Verweis ins Leere": (lambda f: (f / "Apfel" / "x.png").symlink_to("weg.png"), ("Apfel/x.png", "gibt es nicht")),
    "Röhre": (lambda f: os.mkfifo(f / "Apfel" / "x.png"), ("Apfel/x.png", "nicht lesbar")),
    "Verweis im Kreis": (lambda f: (f / "Apfel" / "x.png").symlink_to("x.png"), ("x.png", "Verweise im Kreis")),
    "Ordner heißt wie ein Bild": (lambda f: (f / "leer.png").mkdir(), ("leer.png", "kein Bild")),
    "leerer Ordner": (only(), ("enthält keine Bilder", "für jede Klasse ein Ordner")),
    "nur Verstecktes": (both(only(), put(".a/b.png", PNG)), ("enthält keine Bilder",)),
    "eine Klasse": (only("Birne"), ("nur die Klasse „Birne“", "mindestens zwei")),
    "eine Klasse, die andere leer": (keep("Birne", 0), ("Birne", "kein Bild", "löschen Sie den Ordner")),
    "Klasse mit einem Bild": (keep("Quitte", 1), ("„Quitte“ hat nur ein Bild",)),
    "zu wenige Bilder": (both(keep("Quitte", 5), keep("Birne", 5)), ("nur 22 Bilder", "mindestens 30")),
    "zu viele Klassen": (made({f"k{n}": 2 for n in range(201)}), ("204 Klassen", "200")),
    "Bild ohne Ordner": (put("lose.png", PNG), ("lose.png", "in keinem Ordner einer Klasse")),
    "Bild ohne Ordner in train": (
        both(made({"train/a": 20, "test/a": 9}), put("train/lose.png", PNG)), ("train/lose.png",)),
    "train ohne Klasse in test": (
        both(only(), made({"train/a": 20, "train/b": 20, "test/a": 9})), ("„test“ fehlt die Klasse „b“",)),
    "test mit fremder Klasse": (
        both(only(), made({"train/a": 20, "test/a": 9, "test/b": 9})), ("„train“ fehlt die Klasse „b“",)),
    "train leer": (both(only(), made({"train": 0, "test/a": 9})), ("nur die Klasse „a“",)),
    "Maske ohne Bild": (put("masken/fremd.png", PNG), ("masken/fremd.png", "zu keinem Bild")),
    "zwei Tabellen": (both(table_of(), put("u.csv", b"a,b")), ("t.csv und u.csv", "nur eine")),
    "leere Tabelle": (table_of(lambda lines: []), ("t.csv", "kein einziges")),
    "fremde Tabelle": (table_of(lambda lines: ["a;b", "1;2"]), ("t.csv", "kein einziges", "etwa „bild0.png“")),
    "Zeile ohne Bild": (table_of(lambda x: [*x, "weg.png;Apfel"]), ("t.csv, Zeile 38", "gibt es kein Bild")),
    "Bild ohne Zeile": (table_of(lambda x: x[:-2]), ("bild34.png", "nicht in", "t.csv und 1 weitere")),
    "Bild zweimal": (table_of(lambda x: [*x, x[3]]), ("Zeile 38", "steht schon in Zeile 4")),
    "Klasse fehlt": (table_of(lambda x: [*x[:5], "bild4.png;", *x[6:]]), ("Zeile 6: Die Klasse fehlt",)),
    "Spalten unklar": (table_of(lambda x: [f"{y};{n}" for n, y in enumerate(x)], "datei;a"), ("„label“",)),
    "one-hot mit zwei Einsen": (
        table_of(lambda x: ["datei;a;b", *(f"bild{n}.png;{n % 2};{int(n % 2 == 0 or n == 9)}" for n in range(36))]),
        ("Zeile 11", "2-mal eine 1")),
    "one-hot ohne Eins": (
        table_of(lambda x: ["datei;a;b", *(f"bild{n}.png;{n % 2};{int(n % 2 == 0 and n > 3)}" for n in range(36))]),
        ("Zeile 2", "0-mal eine 1")),
    "zwei Bilder heißen so": (
        both(table_of(lambda x: [y.replace(".png", "") for y in x]), put("bild3.jpg", JPG)),
        ("„bild3“", "bild3.jpg")),
    "eine Klasse in der Tabelle": (
        table_of(lambda x: [f"{y.split(';')[0]};Apfel" for y in x]), ("nur die Klasse „Apfel“",)),
    "zu wenige Gruppen": (
        table_of(lambda x: [f"{y};{('gruppe', 'eine')[n > 0]}" for n, y in enumerate(x)]),
        ("fehlt die Klasse", "Gruppen")),
    "Nullbytes in der Tabelle": (both(table_of(), put("t.csv", bytes(300))), ("t.csv", "kein einziges")),
    "Röhre als Tabelle": (
        both(table_of(), lambda f: (f / "t.csv").unlink(), lambda f: os.mkfifo(f / "t.csv")), ("bild0.png",)),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_was_kein_datensatz_wird_ist_ein_satz_und_hinterlaesst_nichts(case, three, tmp_path, ausgabe, capsys):
    spoil, says = BAD[case]
    folder = factory.copy(three, tmp_path / "Äpfel & Birnen")
    spoil(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(CourseError) as error:
        read_pictures(folder)
    sentence = str(error.value)
    assert all(part in sentence for part in says), sentence
    assert "\n" not in sentence and sentence.endswith(".") and str(tmp_path) in sentence
    assert sorted(folder.rglob("*")) == before and not list(ausgabe.rglob("*.*")), "nichts Halbes"


@pytest.mark.parametrize("place", ["gibt es nicht", "eine Datei"])
def test_kein_ordner_ist_ein_satz(place, tmp_path):
    (tmp_path / "eine Datei").write_bytes(b"")
    with pytest.raises(CourseError, match=f"{place} ist kein lesbarer Ordner.*für jede Klasse ein Ordner"):
        read_pictures(tmp_path / place)


@pytest.mark.parametrize("size", [63, 225, 0, "64", None])
def test_eine_unmoegliche_groesse_ist_ein_satz(size, three):
    with pytest.raises(CourseError, match="Bildgröße.*mindestens 64 und höchstens 224"):
        read_pictures(three, size)


@pytest.mark.parametrize("case", SPOILED)
def test_ohne_beschaedigte_geht_es_weiter_und_sie_sind_gezaehlt(case, three, tmp_path, capsys):
    folder = factory.copy(three, tmp_path / "b")
    SPOILED[case][0](folder)
    for _ in range(2):  # beim zweiten Mal von der Platte
        pictures = read_pictures(folder, skip_broken=True)
        assert sum(map(len, pictures.paths.values())) == 36
        assert "Ausgelassen, weil nicht lesbar: 1" in capsys.readouterr().out
    with pytest.raises(CourseError, match="kaputt.jpg"):
        read_pictures(folder)


def test_ist_nach_dem_auslassen_eine_klasse_zu_klein_ist_das_ein_satz(three, tmp_path):
    folder = factory.copy(three, tmp_path / "b")
    factory.tree(folder, {"Apfel": 20})
    keep("Quitte", 2)(folder)
    min((folder / "Quitte").iterdir()).write_bytes(b"kaputt")
    with pytest.raises(CourseError, match="„Quitte“ hat nur ein Bild"):
        read_pictures(folder, skip_broken=True)


def test_der_ordner_der_bilder_bleibt_wie_er_ist(three):
    before = snapshot(three)
    read_pictures(three)
    assert snapshot(three) == before


# --- Derselbe Weg für Fashion-MNIST und eigene Bilder ---------------------------------------------------------------


@pytest.fixture
def two_layers(monkeypatch):
    replace_vgg16(monkeypatch.setattr)
    # LRP und Grad-CAM mit diesem Netz sind anderswo geprüft; hier geht es um den Weg.
    monkeypatch.setattr(cnn, "examine", lambda *_: None)


def test_fashion_mnist_als_ordner_ergibt_dasselbe(tiny, tmp_path, two_layers, capsys):
    """Dieselben Bilder, einmal als Feld, einmal als PNG in Ordnern: Bilder, Lernkurve, Antworten, auf das Bit."""
    for part, (images, labels) in zip(("train", "test"), tiny.parts, strict=True):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / "b" / part / f"Klasse {label}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    profile = get_profile("schnell", batch_size=16, epochs=2)
    pictures, ours = read_pictures(tmp_path / "b", 64), of_dataset(tiny)
    rows = {}
    for part in ("train", "test"):
        rows[part] = [int(path.stem) for path in pictures.paths[part]]
        gray = ours.images[part][rows[part]]
        np.testing.assert_array_equal(pictures.load(part), np.repeat(gray[..., None], 3, axis=-1))
        np.testing.assert_array_equal(pictures.labels[part], ours.labels[part][rows[part]])
    ours = dataclasses.replace(
        ours,
        images={part: ours.images[part][rows[part]] for part in rows},
        labels={part: ours.labels[part][rows[part]] for part in rows},
    )
    (one, first), (two, second) = (cnn.train_and_ask(each, profile) for each in (ours, pictures))
    assert one.class_names == CLASS_NAMES and two.class_names == tuple(f"Klasse {n}" for n in range(10))
    np.testing.assert_array_equal(
        model.predict_logits(one, ours.images["test"]), model.predict_logits(two, pictures.images["test"])
    )
    assert [row["verlust"] for row in one.history] == [row["verlust"] for row in two.history]
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert first.accuracy == second.accuracy and len(first.labels) == 30


def test_der_befehl_trainiert_und_ruehrt_nichts_vom_kurs_an(three, tmp_path, ausgabe, two_layers, capsys):
    from helpers.basics import write_json

    for name in ("kennzahlen.json", "modelle/sauber/einstellungen.json", "daten/herkunft.json"):
        write_json(ausgabe / name, {"vom": "Kurs"})
    before = snapshot(ausgabe)
    folder = factory.copy(three, tmp_path / "Obst & Gemüse")
    factory.write(folder, {"Apfel/kaputt.png": b"x"})
    assert main(["cnn", "--bilder", str(folder), "--groesse", "64", "--epochen", "2"]) == 2
    assert "kaputt.png" in capsys.readouterr().err and snapshot(ausgabe).items() >= before.items()
    call = ["cnn", "--bilder", str(folder), "--groesse", "64", "--epochen", "2", "--ohne-beschaedigte"]
    assert main(call) == 0
    out = capsys.readouterr().out
    assert "3 Klassen, 36 Bilder" in out and "Ausgelassen, weil nicht lesbar: 1" in out and "Epoche 2 von 2" in out
    assert "30 Bilder zum Training, 6 zum Testen" in out and ", 95-%-Intervall 0," in out
    weakest = re.search(r"Schwächste Klasse: (\w+) \(von 2 Bildern \d+ % erkannt\)", out)[1]
    assert weakest in ("Apfel", "Birne", "Quitte")
    table = out.partition("Konfusionsmatrix")[2].splitlines()[2:5]
    assert [line.split()[0] for line in table] == ["Apfel", "Birne", "Quitte"]
    assert all(re.match(r"  bild\d+\.png: ", line) for line in out.splitlines() if "gehalten" in line)
    after = snapshot(ausgabe)
    assert {name: after[name] for name in before} == before, "was der Kurs hat, bleibt"
    (own,) = (ausgabe / "eigene_bilder").iterdir()
    assert own.name.startswith("Obst & Gemüse_")
    with cnn.own_output(folder) as target:
        assert target == own and load_run("sauber").class_names == ("Apfel", "Birne", "Quitte")
    assert output_dir() == ausgabe


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bilder", "{d}", "--eingabe", "beispiel"], "widersprechen"),
        (["--ohne-beschaedigte"], "nur mit --bilder"),
        (["--zuschneiden"], "nur mit --bilder"),
        (["--bilder", ""], "leer"),
        (["--bilder", "{d}/weg"], "gibt es nicht"),
        (["--bilder", "{d}", "--groesse", "225"], "höchstens 224"),
        (["--bilder", "{d}", "--groesse", "0"], "mindestens 32"),
        (["--bilder", "{d}", "--profil", "mittel"], "mittel"),
        (["--bilder", "{d}", "--n-train", "2"], "mindestens 20"),
    ],
)
def test_falsche_angaben_sind_ein_satz_mit_code_2(options, said, three, ausgabe, capsys):
    assert main(["cnn", *(each.format(d=three) for each in options)]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1 and not (ausgabe / "eigene_bilder" / "modelle").exists()


def test_viele_klassen_werden_noch_lesbar_ausgewertet(capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 30
    logits = np.eye(30)[labels] * 4
    logits[:6] = np.eye(30)[7] * 9
    cnn.print_evaluation(Evaluation.of(logits + rng.random((90, 30)), labels), [f"Art {n}" for n in range(30)])
    out = capsys.readouterr().out
    assert "Konfusionsmatrix" not in out and "1-mal Art 0 für Art 7 gehalten" in out
    assert max(map(len, out.splitlines())) < 120


def test_masken_sagen_wie_viel_auf_dem_gegenstand_liegt(tiny_nets, three, tmp_path, capsys):
    """Misst, was man von Hand nachrechnen kann: eine Maske über dem ganzen Bild, eine über der Hälfte."""
    folder, whole = factory.copy(three, tmp_path / "b"), Image.new("L", factory.SIZE, 255)
    for path in three.rglob("*.png"):
        target = folder / "masken" / path.relative_to(three)
        target.parent.mkdir(parents=True, exist_ok=True)
        whole.save(target)
    pictures = read_pictures(folder, 64, crop=True)
    capsys.readouterr()
    cnn.measure_masks(tiny_nets[0], pictures)
    out = capsys.readouterr().out
    assert "100 % der Fläche" in out and "LRP-ε: 1,00 [1,00; 1,00] der positiven Werte und in 100 %" in out


# --- Der Ordner zum Üben --------------------------------------------------------------------------------------------


def test_der_ordner_zum_ueben(tmp_path, capsys):
    folder = picture_sample.sample_folder(tmp_path / "b", seed=1, count=12)
    paths = sorted(folder.rglob("*.*"))
    kinds = {(path.suffix, Image.open(path).size) for path in paths}
    assert len(paths) == 36 and len(kinds) == 6, "JPEG und PNG in drei Größen"
    pictures = read_pictures(folder, 64)
    assert pictures.class_names == ("Hemd", "Mantel", "Pullover") and pictures.size == 64
    mark, colors = picture_sample.sample_mark(1), {}
    for part, parts in pictures.paths.items():
        box = slice(4 * mark.top + 1, 4 * (mark.top + 3) - 1), slice(4 * mark.left + 1, 4 * (mark.left + 3) - 1)
        for path, image in zip(parts, pictures.load(part), strict=True):
            near = np.abs(image[box].astype(int) - mark.color).max() < 40
            colors.setdefault(path.parent.name, set()).add(bool(near))
    assert {name for name, found in colors.items() if found == {True}} == {mark.name}
    assert all(found == {False} for name, found in colors.items() if name != mark.name)
    assert len({picture_sample.sample_mark(seed)[:4] for seed in range(20)}) > 10


def test_der_ordner_zum_ueben_ist_wiederholbar_und_ersetzt_nur_sich_selbst(tmp_path):
    first = snapshot(picture_sample.sample_folder(tmp_path / "a", 0, 3))
    assert snapshot(picture_sample.sample_folder(tmp_path / "b", 0, 3)) == first
    assert snapshot(picture_sample.sample_folder(tmp_path / "a", 1, 3)) != first
    factory.write(tmp_path / "a", {"Hemd/meins.jpg": b"x"})
    before = snapshot(tmp_path)
    with pytest.raises(CourseError, match="enthält schon anderes .Hemd/meins.jpg.*neuen Ordner"):
        picture_sample.sample_folder(tmp_path / "a", 0, 3)
    assert snapshot(tmp_path) == before


@pytest.mark.langsam
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.alles) for seed in (1, 2))])
def test_das_zeichen_im_ordner_zum_ueben_wird_gefunden_ohne_dass_es_jemand_nennt(seed, tmp_path, ausgabe, capsys):
    """Mit VGG16, von den Dateien bis zum Bericht: eine Abkürzung, in der richtigen Klasse, an der richtigen Stelle."""
    folder = picture_sample.sample_folder(tmp_path / "b", seed)
    run, pictures, result = cnn.run_pictures(folder, size=64, seed=seed, n_train=300, n_test=120, epochs=3)
    mark, out = picture_sample.sample_mark(seed), capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.endswith("Abkürzung")]
    name, rows, columns = line.split()[:3]
    assert name == mark.name and result.accuracy > 0.6
    for found, first in ((rows, mark.top), (columns, mark.left)):
        low, high = map(int, found.split("–"))
        assert abs(low - 4 * first) <= 2 and abs(high - (4 * (first + mark.size) - 1)) <= 2
        assert f"{4 * first}–{4 * (first + mark.size) - 1}" in mark.place(64)
    (report,) = ausgabe.rglob("bericht.html")
    text = report.read_text(encoding="utf-8")
    assert all(name in text for name in pictures.class_names) and "Turnschuh" not in text
