"""Eigene Bilder: jeder Aufbau und jede Dateiart wie mit Pillow, und ein Satz zu allem, woraus kein Datensatz wird."""

import dataclasses
import io
import os
import re
import tracemalloc
import unicodedata

import numpy as np
import picture_factory as factory
import pytest
from conftest import snapshot
from PIL import Image, ImageOps
from two_layers import replace_vgg16

from helpers import model
from helpers.__main__ import main
from helpers.basics import CLASS_NAMES, CourseError, output_dir, write_json
from helpers.model import load_run
from helpers.own import picture_files, picture_sample
from helpers.own.pictures import of_dataset, read_pictures
from helpers.settings import get_profile
from helpers.training import Evaluation
from helpers.workshop import cnn

pytestmark = pytest.mark.usefixtures("ausgabe")
KINDS = factory.kinds()
PNG, JPG = KINDS["farbe.png"], KINDS["farbe.jpg"]
GRAY = (124, 117, 104)
FRUIT = ("Äpfel à 5 €", "Birnen", "Quitten")
TWO = {"a": 18, "b": 18}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Drei Klassen zu je zwölf Bildern. Nur lesen oder kopieren."""
    return factory.tree(tmp_path_factory.mktemp("bilder"), {"Apfel": 12, "Birne": 12, "Quitte": 12})


# --- Was gelesen wird -----------------------------------------------------------------------------------------------


def read_with_pillow(content: bytes, name: str) -> Image.Image:
    """Was Pillow selbst dazu sagt, Schritt für Schritt und ohne den Kurs."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if "16 bit" in name:
        return Image.fromarray((np.asarray(image).astype(int) // 256).astype(np.uint8)).convert("RGB")
    clear = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    return white.convert("RGB") if clear.getextrema()[3][0] < 255 else image.convert("RGB")


@pytest.mark.parametrize("name", KINDS)
def test_jede_art_datei_wie_mit_pillow(name, tmp_path):
    path = factory.write(tmp_path, {name: KINDS[name]}) / name
    expected = read_with_pillow(KINDS[name], name)
    squares = {False: ImageOps.pad(expected, (64, 64), color=GRAY), True: ImageOps.fit(expected, (64, 64))}
    tolerance = 1 if "alpha" in name else 0  # Pillow rundet beim Einkleben anders als beim Mischen
    np.testing.assert_allclose(picture_files.read_picture(path), np.asarray(expected), atol=tolerance)
    for crop, square in squares.items() if not tolerance else ():
        np.testing.assert_array_equal(picture_files.read_picture(path, 64, crop), np.asarray(square))


def check_read(folder, class_of, size=40, **options):
    """Liest den Ordner: jedes Bild einmal, mit seinen Pixeln und seiner Klasse."""
    pictures = read_pictures(folder, size=64, **options)
    everything = [path for paths in pictures.paths.values() for path in paths]
    assert sorted(everything) == sorted(folder.rglob("*.png"))
    for part, paths in pictures.paths.items():
        assert [pictures.class_names[label] for label in pictures.labels[part]] == [class_of(path) for path in paths]
        # Kleinere Bilder vergrößert erst das Netz.
        expected = [np.asarray(ImageOps.pad(Image.open(path), (size, size), color=GRAY)) for path in paths]
        np.testing.assert_array_equal(pictures.load(part), expected)
    return pictures


# Name → (Ordner und wie viele Bilder darin liegen, Klassen in natürlicher Reihenfolge)
FOLDERS = {
    "Ordner je Klasse": (
        {"Klasse 10": 12, "²": 4, "Klasse 2 (alt)": 12, "ä b": 12},
        ("ä b", "Klasse 2 (alt)", "Klasse 10", "²"),
    ),
    "Ordner in Ordnern": ({"a/x": 9, "a/y/z": 9, "b": 18}, ("a", "b")),
    "train und val ohne test": ({"train/a": 15, "train/b": 15, "val/a": 3, "val/b": 3}, ("a", "b")),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_jeder_aufbau_mit_ordnern_wird_gelesen(case, tmp_path):
    counts, names = FOLDERS[case]
    folder = factory.tree(tmp_path / "Ordner mit Leerzeichen und Ümläuten (neu)", counts)
    pictures = check_read(folder, lambda path: next(each for each in path.parts if each in names))
    assert pictures.class_names == names and set(pictures.paths) >= {"train", "test"}
    assert set(pictures.labels["test"]) == set(range(len(names)))


@pytest.mark.parametrize("parts", [("train", "test"), ("TRAIN", "Val", "TEST"), ("Training", "Validierung", "Testen")])
def test_die_teile_die_der_ordner_vorgibt_bleiben(parts, tmp_path):
    factory.tree(tmp_path, {f"{part}/{name}": 8 for part in parts for name in "ab"})
    pictures = check_read(tmp_path, lambda path: path.parent.name)
    begins = {part: {path.parent.parent.name.lower()[:3] for path in paths} for part, paths in pictures.paths.items()}
    assert begins == {part: {part[:3]} for part in pictures.paths} and len(begins) == len(parts)


# Name → (Kopfzeile, Zeile zum Bild Nummer n, Zeichensatz)
TABLES = {
    "Komma, mit Endung": ("file,label", "bild{n}.png,{fruit}", "utf-8"),
    "Semikolon, ohne Endung": ("Bild;Klasse", "bild{n};{fruit}", "utf-8"),
    "Tabulator": ("id\tclass", "bild{n}.png\t{fruit}", "utf-8"),
    "Windows": ("Bild;Klasse", "bild{n}.png;{fruit}", "cp1252"),
    "BOM": ("Bild,Klasse", "bild{n}.png,{fruit}", "utf-8-sig"),
    "Zahlen": ("file,label", "bild{n}.png,{number}", "utf-8"),
    "one-hot": ("file," + ",".join(FRUIT), "bild{n}.png,{marks}", "utf-8"),
    "ohne Kopf": ("", "bild{n}.png,{fruit}", "utf-8"),
    "Klasse vorn, mehr Spalten": (",label,file,größe", "7,{fruit},bild{n}.png,3", "utf-8"),
    "Gruppen": ("file,label,Gruppe", "bild{n}.png,{fruit},{group}", "utf-8"),
}


@pytest.mark.parametrize("case", TABLES)
def test_jede_tabelle_wird_gelesen(case, tmp_path):
    head, line, encoding = TABLES[case]
    names = ("9", "10", "11") if case == "Zahlen" else FRUIT
    factory.tree(tmp_path, {".": 36})
    lines = [head]
    for n in range(36):
        marks = ",".join(str(int(n % 3 == column)) for column in range(3))
        lines.append(line.format(n=n, fruit=FRUIT[n % 3], number=9 + n % 3, marks=marks, group=n // 3))
    (tmp_path / "klassen.csv").write_text("\n".join(lines).strip("\n"), encoding=encoding)
    for seed in range(3):
        pictures = check_read(tmp_path, lambda path: names[int(path.stem[4:]) % 3], seed=seed)
        assert pictures.class_names == names
        groups = [{int(path.stem[4:]) // 3 for path in paths} for paths in pictures.paths.values()]
        assert case != "Gruppen" or len(groups) == 3 and sum(map(len, groups)) == 12, "keine Gruppe in zwei Teilen"


def test_geteilt_wird_geschichtet_und_wiederholbar(tmp_path):
    folder = factory.tree(tmp_path / "b", {"viele": 50, "wenige": 10, "zwei": 2})
    first, again, other = (read_pictures(folder, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(first.labels["test"]).tolist() == [10, 2, 1]
    assert np.bincount(first.labels["train"]).tolist() == [40, 8, 1]
    assert first.paths == again.paths != other.paths


def test_was_kein_bild_ist_wird_uebergangen_und_genannt(three, tmp_path, capsys):
    folder = factory.copy(three, tmp_path / "b")
    rubbish = ["Apfel/Thumbs.db", "Apfel/.DS_Store", "Birne/notizen.txt", "liesmich.md", "__MACOSX/Apfel/bild0.png"]
    rubbish += [".ipynb_checkpoints/a.png", "Birne/.ipynb_checkpoints/b.png", "Birne/._bild.png", "Apfel/desktop.ini"]
    factory.write(folder, dict.fromkeys(rubbish, b"x"))
    pictures = read_pictures(folder)
    out = capsys.readouterr().out
    assert sum(map(len, pictures.paths.values())) == 36 and pictures.class_names == ("Apfel", "Birne", "Quitte")
    assert "Übergangen, weil keine Bilder: 9" in out and ".ipynb_checkpoints (2-mal)" in out


def test_rand_oder_ausschnitt_wird_gesagt(tmp_path, capsys):
    factory.tree(tmp_path / "b", {"a": 20}, size=(90, 60))
    folder = factory.tree(tmp_path / "b", {"b": 20}, ending="jpg", size=(70, 70))
    for crop, said in ((False, "ein grauer Rand ergänzt und nichts abgeschnitten"), (True, "die Mitte ausgeschnitten")):
        pictures = read_pictures(folder, 64, crop=crop)
        assert f"Nicht quadratisch sind 20: Dort ist {said}." in capsys.readouterr().out
        row = int(np.flatnonzero(pictures.labels["test"] == 0)[0])
        assert (pictures.load("test", [row])[0, 0] == GRAY).all() != crop


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


def test_dasselbe_bild_in_training_und_test_wird_genannt(tmp_path, capsys):
    factory.tree(tmp_path, {f"{part}/{name}": 9 for part in ("train", "test") for name in ("Apfel", "Birne")})
    assert read_pictures(tmp_path) and "Achtung" not in capsys.readouterr().out
    factory.write(tmp_path, {"test/Apfel/anders.png": (tmp_path / "train/Apfel/bild0.png").read_bytes()})
    read_pictures(tmp_path)
    assert "dasselbe Bild in zwei Teilen: train/Apfel/bild0.png und test/Apfel/anders.png." in capsys.readouterr().out


def test_umlaute_von_macos_sind_dieselben(tmp_path):
    """macOS zerlegt ä in Dateinamen in zwei Zeichen; die Tabelle von Excel tut das nicht."""
    factory.tree(tmp_path, {".": 30})
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / unicodedata.normalize("NFD", f"Äpfel {path.name}"))
    rows = [f"{unicodedata.normalize('NFC', path.stem)};{number % 2}" for number, path in enumerate(tmp_path.iterdir())]
    (tmp_path / "t.csv").write_text("bild;klasse\n" + "\n".join(rows), encoding="utf-8")
    assert read_pictures(tmp_path).class_names == ("0", "1")


# --- Auf der Platte -------------------------------------------------------------------------------------------------


def test_jede_datei_wird_nur_einmal_gelesen(three, tmp_path, ausgabe, monkeypatch):
    folder, seen, original = factory.copy(three, tmp_path / "b"), [], picture_files.read_picture
    monkeypatch.setattr(picture_files, "read_picture", lambda path, *a: seen.append(path.name) or original(path, *a))
    first, again = read_pictures(folder), read_pictures(folder)
    assert len(seen) == 36
    np.testing.assert_array_equal(first.load("train"), again.load("train"))
    factory.colored(77).save(folder / "Apfel" / "bild0.png")
    found = read_pictures(folder)
    assert len(seen) == 72, "ein Bild ist anders geworden"
    everything = np.concatenate([found.load(part) for part in found.paths])
    assert any((image[5:35] == factory.noise(77)).all() for image in everything)
    newest = max(ausgabe.rglob("bilder_*.npz"), key=os.path.getmtime)
    newest.write_bytes(newest.read_bytes()[:-40])
    read_pictures(folder)
    assert len(seen) == 108, "die abgelegten Bilder sind beschädigt"


def test_eine_stichprobe_behaelt_zu_jedem_bild_seine_klasse(three):
    pictures = read_pictures(three)
    few = pictures.sample(12, 3, seed=1)
    assert np.bincount(few.labels["train"]).tolist() == [4, 4, 4] and len(few.paths["test"]) == 3
    for row, path in enumerate(few.paths["train"]):
        assert path.parent.name == few.class_names[few.labels["train"][row]]
        wanted = pictures.paths["train"].index(path)
        np.testing.assert_array_equal(few.load("train", row), pictures.load("train", wanted))
    assert pictures.sample(None, 1000).paths == pictures.paths


def test_wenige_bilder_liegen_zugleich_im_speicher(tmp_path, monkeypatch):
    """Gelesen wird in Stapeln; was nicht gefragt ist, wird nie ein Feld."""
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


def half(name: str) -> bytes:
    return KINDS[name][: len(KINDS[name]) // 2]


BROKEN = {
    "leer": b"",
    "HTML": b"<!DOCTYPE html><p>Anmelden",
    "Verweis von git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "gekipptes Bit": factory.silently_wrong(PNG),
    "Kommazahlen": factory.saved(Image.fromarray(np.ones((9, 9), np.float32)), format="TIFF"),
    "Bombe": b"P6 30000 30000 255\n" + bytes(3000),
    **{name: half(name) for name in KINDS if name.startswith("farbe.")},
}


@pytest.mark.parametrize("case", BROKEN)
def test_ein_unlesbares_bild_wird_genannt_oder_auf_wunsch_ausgelassen_und_gezaehlt(case, three, tmp_path, capsys):
    folder = factory.write(factory.copy(three, tmp_path / "b"), {"Apfel/kaputt.jpg": BROKEN[case]})
    for _ in range(2):  # beim zweiten Mal von der Platte
        with pytest.raises(CourseError, match="Apfel/kaputt.jpg.*--ohne-beschaedigte"):
            read_pictures(folder)
        pictures = read_pictures(folder, skip_broken=True)
        assert sum(map(len, pictures.paths.values())) == 36
        assert "Ausgelassen, weil nicht lesbar: 1" in capsys.readouterr().out
    factory.write(folder, {"Rest/gut.png": PNG, "Rest/kaputt.png": BROKEN[case]})
    with pytest.raises(CourseError, match="„Rest“ hat nur ein Bild"):
        read_pictures(folder, skip_broken=True)


def folders(counts, files=()):
    """Legt so viele Bilder in diese Ordner und die Dateien (Name, Inhalt) dazu."""
    return lambda folder: factory.write(factory.tree(folder, counts, size=(9, 9)), dict(files))


def table(change, *files):
    """Legt 36 Bilder zweier Klassen in den Ordner und ihre Tabelle, deren Zeilen ``change`` verdirbt."""
    rows = [f"bild{n}.png;{('Apfel', 'Birne')[n % 2]}" for n in range(36)]
    return folders({".": 36}, [("t.csv", "\n".join(change(["datei;klasse", *rows])).encode()), *files])


def entry(make):
    """Legt mit ``make(Pfad)`` etwas hin, das heißt wie ein Bild."""
    return lambda folder: make(factory.tree(folder, TWO) / "a" / "x.png")


# Name → (was den Ordner anlegt, was im Satz stehen muss)
BAD = {
    "HEIC": (folders(TWO, [("b/IMG_1.HEIC", b"\0\0\0 ftypheic")]), ("IMG_1.HEIC", "JPEG")),
    "mehrere kaputt": (folders(TWO, [("a/a.jpg", b""), ("b/b.png", b""), ("b/c.png", b"")]), ("a/a.jpg", "2 weitere")),
    "Verweis ins Leere": (entry(lambda path: path.symlink_to("weg.png")), ("a/x.png", "gibt es nicht")),
    "Röhre": (entry(os.mkfifo), ("a/x.png", "nicht lesbar")),
    "leerer Ordner": (folders({}), ("enthält keine Bilder", "für jede Klasse ein Ordner")),
    "eine Klasse": (folders({"Birne": 36}), ("nur die Klasse „Birne“", "mindestens zwei")),
    "Klasse ohne Bild": (folders({**TWO, "leer": 0}), ("leer", "kein Bild", "löschen Sie den Ordner")),
    "Klasse mit einem Bild": (folders({**TWO, "Quitte": 1}), ("„Quitte“ hat nur ein Bild",)),
    "zu wenige Bilder": (folders({"a": 11, "b": 11}), ("nur 22 Bilder", "mindestens 30")),
    "zu viele Klassen": (folders({f"k{n}": 2 for n in range(201)}), ("201 Klassen", "200")),
    "Bild ohne Ordner": (folders(TWO, [("lose.png", PNG)]), ("lose.png", "in keinem Ordner einer Klasse")),
    "test ohne Klasse": (folders({"train/a": 20, "train/b": 20, "test/a": 9}), ("„test“ fehlt die Klasse „b“",)),
    "Maske ohne Bild": (folders(TWO, [("masken/fremd.png", PNG)]), ("masken/fremd.png", "zu keinem Bild")),
    "zwei Tabellen": (table(list, ("u.csv", b"a,b")), ("t.csv und u.csv", "nur eine")),
    "fremde Tabelle": (table(lambda rows: ["a;b", "1;2"]), ("t.csv", "kein einziges", "etwa „bild0.png“")),
    "Zeile ohne Bild": (table(lambda rows: [*rows, "weg.png;Apfel"]), ("t.csv, Zeile 38", "gibt es kein Bild")),
    "Bild ohne Zeile": (table(lambda rows: rows[:-2]), ("bild34.png", "nicht in", "t.csv und 1 weitere")),
    "Bild zweimal": (table(lambda rows: [*rows, rows[3]]), ("Zeile 38", "steht schon in Zeile 4")),
    "Klasse fehlt": (table(lambda rows: [*rows[:5], "bild4.png;", *rows[6:]]), ("Zeile 6: Die Klasse fehlt",)),
    "Spalten unklar": (
        table(lambda rows: [f"{row};{n}" for n, row in enumerate(["datei;a", *rows[1:]])]),
        ("„label“",),
    ),
    "zwei Einsen": (
        table(lambda rows: ["datei;a;b", "bild0.png;1;0", *(f"bild{n}.png;1;1" for n in range(1, 36))]),
        ("Zeile 3", "2-mal eine 1"),
    ),
    "zwei Bilder heißen so": (
        table(lambda rows: [row.replace(".png", "") for row in rows], ("bild3.jpg", JPG)),
        ("„bild3“", "bild3.jpg"),
    ),
    "zu wenige Gruppen": (
        table(lambda rows: [f"{row};{('gruppe', 'eine')[n > 0]}" for n, row in enumerate(rows)]),
        ("fehlt die Klasse", "Gruppen"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_was_kein_datensatz_wird_ist_ein_satz_und_hinterlaesst_nichts(case, tmp_path, ausgabe):
    make, says = BAD[case]
    folder = tmp_path / "Äpfel & Birnen"
    folder.mkdir()
    make(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(CourseError) as error:
        read_pictures(folder)
    sentence = str(error.value)
    assert all(part in sentence for part in says), sentence
    assert "\n" not in sentence and sentence.endswith(".") and str(tmp_path) in sentence
    assert sorted(folder.rglob("*")) == before and not list(ausgabe.rglob("*.*")), "nichts Halbes"


# --- Derselbe Weg für Fashion-MNIST und eigene Bilder ---------------------------------------------------------------


@pytest.fixture
def two_layers(monkeypatch):
    replace_vgg16(monkeypatch.setattr)


def test_fashion_mnist_als_ordner_ergibt_dasselbe(tiny, tmp_path, two_layers, monkeypatch):
    """Dieselben Bilder, einmal als Feld, einmal als PNG in Ordnern: Bilder, Lernkurve, Antworten, auf das Bit."""
    for part, (images, labels) in zip(("train", "test"), tiny.parts, strict=True):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / "b" / part / f"Klasse {label}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    monkeypatch.setattr(cnn, "examine", lambda *_: None)  # hier geht es um das Training
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
    for name in ("kennzahlen.json", "modelle/sauber/einstellungen.json", "daten/herkunft.json"):
        write_json(ausgabe / name, {"vom": "Kurs"})
    before = snapshot(ausgabe)
    folder = factory.write(factory.copy(three, tmp_path / "Obst & Gemüse"), {"Apfel/kaputt.png": b"x"})
    call = ["cnn", "--bilder", str(folder), "--groesse", "64", "--epochen", "2"]
    assert main(call) == 2
    assert "kaputt.png" in capsys.readouterr().err and snapshot(ausgabe).items() >= before.items()
    assert main([*call, "--ohne-beschaedigte"]) == 0
    out = capsys.readouterr().out
    assert "3 Klassen, 36 Bilder" in out and "Ausgelassen, weil nicht lesbar: 1" in out and "Epoche 2 von 2" in out
    assert "30 Bilder zum Training, 6 zum Testen" in out and ", 95-%-Intervall 0," in out
    assert re.search(r"Schwächste Klasse: (Apfel|Birne|Quitte) \(von 2 Bildern \d+ % erkannt\)", out)
    rows = out.partition("Konfusionsmatrix")[2].splitlines()[2:5]
    assert [line.split()[0] for line in rows] == ["Apfel", "Birne", "Quitte"]
    assert all(re.match(r"  bild\d+\.png: ", line) for line in out.splitlines() if "gehalten" in line)
    assert snapshot(ausgabe).items() >= before.items(), "was der Kurs hat, bleibt"
    (own,) = (ausgabe / "eigene_bilder").iterdir()
    assert own.name.startswith("Obst & Gemüse_") and (own / "bericht.html").is_file()
    with cnn.own_output(folder) as target:
        assert target == own and load_run("sauber").class_names == ("Apfel", "Birne", "Quitte")
    assert output_dir() == ausgabe


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bilder", "{d}", "--eingabe", "beispiel"], "widersprechen"),
        (["--ohne-beschaedigte"], "nur mit --bilder"),
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
    """Was man von Hand weiß: Auf einer Maske über dem ganzen Bild liegt alles."""
    folder = factory.copy(three, tmp_path / "b")
    for path in three.rglob("*.png"):
        target = folder / "masken" / path.relative_to(three)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", factory.SIZE, 255).save(target)
    pictures = read_pictures(folder, 64, crop=True)
    capsys.readouterr()
    cnn.measure_masks(tiny_nets[0], pictures)
    out = capsys.readouterr().out
    assert "100 % der Fläche" in out and "LRP-ε: 1,00 [1,00; 1,00] der positiven Werte und in 100 %" in out


# --- Der Ordner zum Üben --------------------------------------------------------------------------------------------


def test_der_ordner_zum_ueben_ist_wiederholbar_und_ersetzt_nur_sich_selbst(tmp_path):
    folder = picture_sample.sample_folder(tmp_path / "a", 0, 3)
    paths, first = sorted(folder.rglob("*.*")), snapshot(folder)
    kinds = {(path.suffix, Image.open(path).size) for path in paths}
    assert len(paths) == 9 and {suffix for suffix, _ in kinds} == {".jpg", ".png"} and len(kinds) == 3
    assert len({picture_sample.sample_mark(seed)[:4] for seed in range(20)}) > 10
    assert snapshot(picture_sample.sample_folder(tmp_path / "b", 0, 3)) == first
    assert snapshot(picture_sample.sample_folder(tmp_path / "a", 1, 3)) != first
    factory.write(tmp_path / "a", {"Hemd/meins.jpg": b"x"})
    before = snapshot(tmp_path)
    with pytest.raises(CourseError, match="enthält schon anderes .Hemd/meins.jpg.*neuen Ordner"):
        picture_sample.sample_folder(tmp_path / "a", 0, 3)
    assert snapshot(tmp_path) == before


@pytest.mark.alles
@pytest.mark.parametrize("seed", [0, 1, 2])
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
