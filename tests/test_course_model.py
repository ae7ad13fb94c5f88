"""Das Kursmodell: packen und lesen, Prüfsumme, Steckbrief, Trefferquote."""

import dataclasses
import io
import zipfile

import h5py
import numpy as np
import pytest

from helpers.basics import COURSE_MODEL, COURSE_MODEL_CARD, CourseError, read_json, sha256, write_json
from helpers.course_model import COMMAND, STEP, load_course_model, ordered, unordered
from helpers.data import load_source, subset
from helpers.model import Run, build_vgg16, load_run, save_run
from helpers.settings import get_profile
from helpers.workshop import cnn, course_model
from helpers.workshop.course_model import pack


def test_nummern_sind_geordnet_und_umkehrbar():
    values = np.arange(-32768, 32768).astype(np.int16).view(np.float16)
    values = values[np.isfinite(values)]
    np.testing.assert_array_equal(unordered(ordered(values)), values)
    assert not np.isfinite(unordered(np.array([-(10**6), -31744, 31744, 10**6]))).any(), "zu große Nummern sind keine"
    steps = np.diff(ordered(values)[np.argsort(values, kind="stable")])
    assert steps.min() == 0 and steps.max() == 1 and (steps == 0).sum() == 1, "nur −0 und 0 teilen sich eine Nummer"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Zufällig verstellte Gewichte, gepackt; auch welche weit weg vom Start und mit beiden Vorzeichen."""
    folder = tmp_path_factory.mktemp("kursmodell")
    model = build_vgg16(32)
    rng = np.random.default_rng(0)
    weights = [value * rng.uniform(0.98, 1.02, value.shape) for value in model.get_weights()]
    weights[2].flat[:4] = [60000, -60000, 0, -1e-7]
    model.set_weights(weights)
    run = Run(model, [{"epoche": 1}], {"image_size": 32, "gewichte": "beiliegend", "frozen_until": None})
    paths = folder / "kursmodell.h5", folder / "kursmodell.json"
    pack(run, {"befehl": "x"}, *paths)
    return run, *paths


def test_packen_und_lesen_rundet_nur_die_achte_stelle(packed):
    run, path, card = packed
    again = load_course_model(path, card)
    for stored, loaded in zip(run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, loaded.astype(np.float16).astype(np.float32))
        steps = np.abs(ordered(loaded) - ordered(stored))
        assert steps.max() <= STEP // 2, "höchstens um eine halbe achte Binärstelle gerundet"
    assert again.history == run.history and again.settings["image_size"] == 32
    plain = sum(weight.size * 2 for weight in run.model.get_weights())
    assert path.stat().st_size < 0.8 * plain, "der Abstand zu den ImageNet-Gewichten spart Platz"


def test_beschaedigt_oder_fehlend_ist_ein_satz(packed, tmp_path):
    _, path, card = packed
    broken = tmp_path / "kursmodell.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    with pytest.raises(CourseError, match="beschädigt.*cnn --profil voll"):
        load_course_model(broken, card)
    with pytest.raises(CourseError, match="fehlt.*kursmodell"):
        load_course_model(tmp_path / "fehlt.h5", card)
    with pytest.raises(CourseError, match="Steckbrief fehlt"):
        load_course_model(path, tmp_path / "fehlt.json")


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
        changes = {"heil": value, "NaN": value * np.nan, "Form": value[:1], "zu groß": value * 0 + 1e9}
        file[name] = changes[fault]


@pytest.mark.parametrize("fault", ["heil", "NaN", "Form", "zu groß", "außen gespeichert", "Verweis", "virtuell"])
def test_kursmodell_mit_passender_pruefsumme_und_falschen_zahlen(packed, tmp_path, fault):
    """Wer Datei und Steckbrief zugleich austauscht, bekommt auch keine falschen Gewichte unter."""
    _, path, card = packed
    broken, new_card = tmp_path / "kursmodell.h5", tmp_path / "karte.json"
    broken.write_bytes(path.read_bytes())
    with h5py.File(broken, "r+") as file:
        spoil(file, "01", fault, tmp_path / "außen.h5")
    write_json(new_card, read_json(card) | {"sha256": sha256(broken)})
    if fault == "heil":
        assert load_course_model(broken, new_card)
    else:
        with pytest.raises(CourseError, match="passt nicht zu seinem Steckbrief.*git checkout"):
            load_course_model(broken, new_card)


@pytest.mark.parametrize("fault", ["heil", "NaN", "Form", "außen gespeichert", "Verweis", "virtuell"])
def test_eigenes_modell_mit_falschen_zahlen(packed, ausgabe, tmp_path, fault):
    row = {"epoche": 1, "treffer": 0.5, "val_treffer": 0.5}
    path = save_run("sauber", dataclasses.replace(packed[0], history=[row])) / "modell.keras"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(content["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        spoil(file, "layers/conv2d/vars/1", fault, tmp_path / "außen.h5")
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in (content | {"model.weights.h5": stream.getvalue()}).items():
            archive.writestr(name, each)
    if fault == "heil":
        assert load_run("sauber")
    else:
        with pytest.raises(CourseError, match="nicht lesbar.*03_Training"):
            load_run("sauber")


def test_zu_grosse_gewichte_werden_abgewiesen(packed, tmp_path):
    run, *_ = packed
    model = build_vgg16(32)
    weights = model.get_weights()
    weights[0].flat[0] = 70000
    model.set_weights(weights)
    with pytest.raises(CourseError, match="float16"):
        pack(Run(model, [], run.settings), {}, tmp_path / "x.h5", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_nur_ein_volles_training_wird_kursmodell(ausgabe, monkeypatch, packed):
    before = COURSE_MODEL.read_bytes()
    with pytest.raises(CourseError, match="60.000 Bildern.*cnn --profil voll"):
        course_model.publish(load_source("beispiel"))
    full = dataclasses.replace(packed[0], settings={"name": "voll", "n_train": 60_000})
    monkeypatch.setattr(course_model, "load_run", lambda name: full)
    with pytest.raises(CourseError, match="nicht alle 60.000 Trainingsbilder.*--eingabe"):
        course_model.publish(load_source("beispiel"))
    assert COURSE_MODEL.read_bytes() == before


# --- Das mitgelieferte Modell ---------------------------------------------------------------------------------------


def test_steckbrief_nennt_was_man_zum_nachbauen_braucht():
    card = read_json(COURSE_MODEL_CARD)
    assert card["befehl"] == COMMAND and COURSE_MODEL.stat().st_size <= 30e6
    settings, history = card["einstellungen"], card["verlauf"]
    assert settings["name"] == "voll" and settings["n_train"] == 60_000 and settings["seed"] == 0
    assert (
        settings["gewichte"] == "beiliegend" and len(card["trainingsbilder_sha256"]) == 64 and "daten" not in settings
    )
    best = max(history, key=lambda row: row["val_treffer"])
    assert settings["beste_epoche"] == best["epoche"] and card["test_bilder"] == 10_000
    assert card["test_trefferquote"] >= 0.94


def test_profil_voll_ist_das_des_kursmodells():
    """Wer das Profil ändert, muss das Kursmodell neu trainieren."""
    stored = read_json(COURSE_MODEL_CARD)["einstellungen"]
    own = dataclasses.asdict(get_profile("voll"))
    assert {key: stored[key] for key in own if key != "n_train"} == {k: v for k, v in own.items() if k != "n_train"}


@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.alles)])
def test_trefferquote_des_steckbriefs_stimmt(capsys, count):
    """Nachgemessen auf geschichteten Testbildern (alle 10.000: ``python -m helpers auswerten``)."""
    card = read_json(COURSE_MODEL_CARD)
    result = cnn.evaluate_course_model(subset(load_source("beispiel"), 100, count, seed=5))
    four_errors = 4 * (card["test_trefferquote"] * (1 - card["test_trefferquote"]) / count) ** 0.5
    assert result.accuracy == pytest.approx(card["test_trefferquote"], abs=four_errors)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("Trefferquote im Test: 0,9") and last.endswith(f"({count:,} Bilder)".replace(",", "."))


def test_gelernt_ist_nur_hinter_dem_stamm():
    model, start = load_course_model().model, build_vgg16()
    for layer, origin in zip(model.layers, start.layers, strict=True):
        for one, two in zip(layer.get_weights(), origin.get_weights(), strict=True):
            assert np.array_equal(one, two) == layer.name.startswith(("block1", "block2")), layer.name
