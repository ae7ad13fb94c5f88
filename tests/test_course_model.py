"""Das Kursmodell: packen und lesen ohne Verlust, Prüfsumme, Steckbrief, Trefferquote."""

import numpy as np
import pytest

from helpers import course_model
from helpers.basics import CourseError
from helpers.course_model import _ordered, _unordered, load_course_model, pack
from helpers.model import Run, build_vgg16


def every_float16():
    values = np.arange(-32768, 32768).astype(np.int16).view(np.float16)
    return values[np.isfinite(values)]


def test_nummern_sind_geordnet_und_umkehrbar():
    values = every_float16()
    np.testing.assert_array_equal(_unordered(_ordered(values)), values)
    order = np.argsort(values, kind="stable")
    steps = np.diff(_ordered(values)[order])
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


def test_packen_und_lesen_verliert_nichts(packed):
    run, path, card = packed
    again = load_course_model(path, card)
    for stored, loaded in zip(run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, stored.astype(np.float16).astype(np.float32))
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


def test_zu_grosse_gewichte_werden_abgewiesen(packed, tmp_path):
    run, *_ = packed
    model = build_vgg16(32)
    weights = model.get_weights()
    weights[0].flat[0] = 70000
    model.set_weights(weights)
    with pytest.raises(CourseError, match="float16"):
        pack(Run(model, [], run.settings), {}, tmp_path / "x.h5", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_nur_ein_volles_training_wird_kursmodell(ausgabe):
    with pytest.raises(CourseError, match="60.000 Bildern.*cnn --profil voll"):
        course_model.publish()
