"""Modell: Vorverarbeitung, Aufbau, Zerlegen, Speichern, Kursmodell; gelesene Gewichte passen genau oder gar nicht."""

import dataclasses
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from helpers import model as module
from helpers.basics import COURSE_MODEL, COURSE_MODEL_CARD, CourseError, read_json, sha256, write_json
from helpers.course_model import COMMAND, STEP, load_course_model, ordered
from helpers.data import load_source, subset
from helpers.gradcam import map_layers
from helpers.model import Run, build_vgg16, keras, load_run, preprocess, run_folder, save_run, split_model
from helpers.settings import get_profile
from helpers.workshop import cnn, course_model
from helpers.workshop.course_model import pack

pytestmark = pytest.mark.usefixtures("ausgabe")
HISTORY = [{"epoche": 1, "verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}]


@pytest.mark.parametrize("size", [32, 64])
def test_preprocess_wie_keras_auf_dem_vergroesserten_bild(dataset, size):
    images = dataset.test_images[:5]
    found = preprocess(images, size)
    large = [np.array(Image.fromarray(each.astype("f4")).resize((size, size), Image.BILINEAR)) for each in images]
    expected = keras.applications.vgg16.preprocess_input(np.repeat(np.stack(large)[..., None], 3, axis=-1))
    assert found.shape == (5, size, size, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("size", [40, 64])
def test_maske_bleibt_beim_vergroessern_am_ort(size):
    """Auch ein einzelner Pixel verschwindet nicht; verdoppelt wird genau."""
    for row, column in np.ndindex(28, 28):
        mask = np.zeros((28, 28), bool)
        mask[row, column] = True
        rows, columns = np.nonzero(module.enlarge_mask(mask, size))
        assert len(rows) <= (size / 28 + 1) ** 2
        assert abs((rows.mean() + 0.5) * 28 / size - row - 0.5) < 0.8
        assert abs((columns.mean() + 0.5) * 28 / size - column - 0.5) < 0.8
    mask = np.random.default_rng(0).random((28, 28)) < 0.5
    np.testing.assert_array_equal(module.enlarge_mask(mask, 28), mask)
    assert not module.enlarge_mask(mask & False).any() and module.enlarge_mask(mask | True).all()


def test_aufbau(vgg16):
    assert vgg16.input.shape == (None, 64, 64, 3) and vgg16.output.shape == (None, 10)
    kinds = [type(layer).__name__ for layer in vgg16.layers]
    assert kinds.count("Conv2D") == 13 and kinds.count("MaxPooling2D") == 5 and kinds.count("Dense") == 1
    assert not any(isinstance(layer, keras.Model) for layer in vgg16.layers), "iNNvestigate verlangt ein flaches Modell"
    assert vgg16.layers[-1].name == "logits" and vgg16.layers[-1].activation is keras.activations.linear
    assert vgg16.count_params() == 14_714_688 + 10 * (2 * 2 * 512 + 1)
    assert map_layers(vgg16)[-1] == "block5_conv3"


@pytest.mark.parametrize("at", ["block4_pool", "block5_conv3"])
def test_zerlegtes_modell_rechnet_dasselbe_mit_denselben_gewichten(small_vgg16, dataset, at):
    inputs = preprocess(dataset.test_images[:4], 32)
    stem, head = split_model(small_vgg16, at)
    whole = small_vgg16.predict_on_batch(inputs)
    np.testing.assert_allclose(head.predict_on_batch(stem.predict_on_batch(inputs)), whole, atol=1e-4)
    assert abs(whole).max() > 0.1 and head.get_layer("logits") is small_vgg16.get_layer("logits")


def test_softmax():
    logits = np.array([[0.0, np.log(3)], [1000.0, 0.0], [-1000.0, -1000.0]])
    np.testing.assert_allclose(module.softmax(logits), [[0.25, 0.75], [1, 0], [0.5, 0.5]])


# --- Speichern und packen -------------------------------------------------------------------------------------------


def test_speichern_und_laden(small_vgg16):
    settings = {"profil": "schnell", "größe": 32, "image_size": 32}
    folder = save_run("sauber", Run(small_vgg16, HISTORY, settings))
    run = load_run("sauber")
    assert run.history == HISTORY and run.settings == settings and folder == run_folder("sauber")
    for mine, other in zip(run.model.get_weights(), small_vgg16.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert load_run("vergiftet") is None
    for missing in ("modell.keras", "einstellungen.json"):
        (folder / missing).unlink()
        assert load_run("sauber") is None, "unvollständig gespeichert zählt als keines"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Zufällig verstellte Gewichte, gepackt; auch welche weit weg vom Start und mit beiden Vorzeichen."""
    folder = tmp_path_factory.mktemp("kursmodell")
    model = build_vgg16(32)
    rng = np.random.default_rng(0)
    weights = [value * rng.uniform(0.98, 1.02, value.shape) for value in model.get_weights()]
    weights[2].flat[:4] = [60000, -60000, 0, -1e-7]
    model.set_weights(weights)
    run = Run(model, HISTORY, {"image_size": 32, "gewichte": "beiliegend", "frozen_until": None})
    paths = folder / "kursmodell.h5", folder / "kursmodell.json"
    pack(run, {"befehl": "x"}, *paths)
    return run, *paths


def test_packen_und_lesen_rundet_nur_die_achte_stelle(packed):
    run, path, card = packed
    again = load_course_model(path, card)
    for stored, loaded in zip(run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, loaded.astype(np.float16).astype(np.float32))
        assert np.abs(ordered(loaded) - ordered(stored)).max() <= STEP // 2, "höchstens um eine halbe achte Binärstelle"
    assert again.history == run.history and again.settings["image_size"] == 32
    plain = sum(weight.size * 2 for weight in run.model.get_weights())
    assert path.stat().st_size < 0.8 * plain, "der Abstand zu den ImageNet-Gewichten spart Platz"


def spoil(file, name: str, fault: str, outside) -> None:
    """Ersetzt ein Feld einer HDF5-Datei durch ein unbrauchbares oder durch eines, das in einer anderen Datei liegt."""
    value = file[name][()]
    del file[name]
    with h5py.File(outside, "w") as other:
        other["x"] = value
        place = other["x"].id.get_offset()
    if fault == "außen gespeichert":
        file.create_dataset(name, value.shape, value.dtype, external=[(str(outside), place, value.nbytes)])
    elif fault == "Verweis":
        file[name] = h5py.ExternalLink(str(outside), "x")
    elif fault == "virtuell":
        layout = h5py.VirtualLayout(value.shape, value.dtype)
        layout[...] = h5py.VirtualSource(str(outside), "x", shape=value.shape)
        file.create_virtual_dataset(name, layout)
    else:
        changed = {"heil": value, "NaN": value * np.nan, "Form": value[:1], "zu groß": np.full(value.shape, 1e39)}
        file[name] = changed[fault]


@pytest.mark.parametrize("fault", ["heil", "NaN", "Form", "zu groß", "außen gespeichert", "Verweis", "virtuell"])
def test_gespeicherte_gewichte_passen_genau_oder_gar_nicht(packed, tmp_path, fault):
    """Auch wer Datei und Prüfsumme zugleich austauscht, bekommt keine falschen oder fremden Zahlen unter.

    Eigene Läufe mit beschädigten Gewichten stehen in bad_inputs.
    """
    _, path, card = packed
    broken, new_card = tmp_path / "kursmodell.h5", tmp_path / "karte.json"
    shutil.copy(path, broken)
    with h5py.File(broken, "r+") as file:
        spoil(file, "01", fault, tmp_path / "außen.h5")
    write_json(new_card, read_json(card) | {"sha256": sha256(broken)})
    if fault == "heil":
        assert load_course_model(broken, new_card)
    else:
        with pytest.raises(CourseError, match="passt nicht zu seinem Steckbrief.*git checkout"):
            load_course_model(broken, new_card)


def test_zu_grosse_gewichte_werden_kein_kursmodell(packed, tmp_path):
    model = build_vgg16(32)
    weights = model.get_weights()
    weights[0].flat[0] = 70000
    model.set_weights(weights)
    with pytest.raises(CourseError, match="float16"):
        pack(Run(model, [], packed[0].settings), {}, tmp_path / "x.h5", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_nur_ein_volles_training_wird_kursmodell(monkeypatch, packed):
    before = COURSE_MODEL.read_bytes()
    with pytest.raises(CourseError, match="60.000 Bildern.*cnn --profil voll"):
        course_model.publish(load_source("beispiel"))
    full = dataclasses.replace(packed[0], settings={"name": "voll", "n_train": 60_000})
    monkeypatch.setattr(course_model, "load_run", lambda name: full)
    with pytest.raises(CourseError, match="nicht alle 60.000 Trainingsbilder.*--eingabe"):
        course_model.publish(load_source("beispiel"))
    assert COURSE_MODEL.read_bytes() == before


# --- Das mitgelieferte Kursmodell -----------------------------------------------------------------------------------


def test_steckbrief_nennt_was_man_zum_nachbauen_braucht():
    """Wer das Profil „voll“ ändert, muss das Kursmodell neu trainieren."""
    card = read_json(COURSE_MODEL_CARD)
    assert card["befehl"] == COMMAND and COURSE_MODEL.stat().st_size <= 30e6
    settings, history = card["einstellungen"], card["verlauf"]
    own = dataclasses.asdict(get_profile("voll")) | {"n_train": 60_000, "seed": 0, "gewichte": "beiliegend"}
    assert own.items() <= settings.items() and "daten" not in settings and len(card["trainingsbilder_sha256"]) == 64
    best = max(history, key=lambda row: row["val_treffer"])
    assert settings["beste_epoche"] == best["epoche"] and card["test_bilder"] == 10_000
    assert card["test_trefferquote"] >= 0.94


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.alles)])
def test_trefferquote_des_steckbriefs_stimmt(capsys, count):
    """Nachgemessen auf geschichteten Testbildern (alle 10.000: ``python -m helpers auswerten``)."""
    card = read_json(COURSE_MODEL_CARD)
    result = cnn.evaluate_course_model(subset(load_source("beispiel"), 100, count, seed=5))
    four_errors = 4 * (card["test_trefferquote"] * (1 - card["test_trefferquote"]) / count) ** 0.5
    assert result.accuracy == pytest.approx(card["test_trefferquote"], abs=four_errors)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("Trefferquote im Test: 0,9") and f"({count:,} Bilder)".replace(",", ".") in last


def test_gelernt_ist_nur_hinter_dem_stamm(vgg16):
    for layer, origin in zip(load_course_model().model.layers, vgg16.layers, strict=True):
        for one, two in zip(layer.get_weights(), origin.get_weights(), strict=True):
            assert np.array_equal(one, two) == layer.name.startswith(("block1", "block2")), layer.name
