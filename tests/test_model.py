"""Modell: Vorverarbeitung, Gewichte, Aufbau, Zerlegen, Speichern."""

import numpy as np
import pytest
from PIL import Image

from helpers import model as module
from helpers.basics import CourseError
from helpers.model import Run, build_vgg16, keras, load_run, preprocess, run_folder, save_run, split_model

pytestmark = pytest.mark.usefixtures("ausgabe")


# --- Vorverarbeitung ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64])
def test_preprocess_wie_keras_auf_dem_vergroesserten_bild(dataset, size):
    images = dataset.test_images[:5]
    found = preprocess(images, size)
    large = np.stack(
        [np.array(Image.fromarray(image.astype(np.float32)).resize((size, size), Image.BILINEAR)) for image in images]
    )
    expected = keras.applications.vgg16.preprocess_input(np.repeat(large[..., None], 3, axis=-1))
    assert found.shape == (5, size, size, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # Ganz ohne Keras: Blau, Grün, Rot minus ihre ImageNet-Mittelwerte, nicht geteilt.
    np.testing.assert_allclose(found, large[..., None] - np.array([103.939, 116.779, 123.68]), atol=1e-3)


def test_preprocess_laesst_die_bilder_wie_sie_sind(dataset):
    for images in (dataset.test_images[:3].copy(), dataset.test_images[:3].astype(np.float32)):
        preprocess(images)
        np.testing.assert_array_equal(images, dataset.test_images[:3])


def test_vorverarbeitung_im_netz_ist_dieselbe(dataset):
    inputs = keras.Input((28, 28), dtype="uint8")
    found = keras.Model(inputs, module.enlarge(inputs, 40)).predict_on_batch(dataset.test_images[:5])
    np.testing.assert_allclose(found, preprocess(dataset.test_images[:5], 40), atol=1e-3)


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28, 1), (784,)])
def test_preprocess_erklaert_die_falsche_form(shape):
    with pytest.raises(CourseError, match=r"images\[:1\]"):
        preprocess(np.zeros(shape))


def test_maske_vergroessern():
    mask = np.zeros((28, 28), bool)
    mask[23:27, 1:5] = True
    large = module.enlarge_mask(mask, 56)
    assert large.shape == (56, 56) and large.dtype == bool
    np.testing.assert_array_equal(large, np.kron(mask, np.ones((2, 2), bool)))
    large = module.enlarge_mask(mask)
    assert large.shape == (64, 64)
    assert large.mean() == pytest.approx(mask.mean(), rel=0.15)
    rows, columns = np.nonzero(large)
    assert (rows.mean() / 64, columns.mean() / 64) == pytest.approx((25 / 28, 3 / 28), abs=0.02)
    assert (
        not module.enlarge_mask(np.zeros((28, 28), bool)).any() and module.enlarge_mask(np.ones((28, 28), bool)).all()
    )


@pytest.mark.parametrize("size", [32, 40, 64, 224])
def test_ein_einzelner_pixel_bleibt_beim_vergroessern(size):
    for row, column in np.ndindex(28, 28):
        mask = np.zeros((28, 28), bool)
        mask[row, column] = True
        rows, columns = np.nonzero(module.enlarge_mask(mask, size))
        assert len(rows) <= (size / 28 + 1) ** 2
        assert abs((rows.mean() + 0.5) * 28 / size - row - 0.5) < 0.8
        assert abs((columns.mean() + 0.5) * 28 / size - column - 0.5) < 0.8


# --- Gewichte und Aufbau ----------------------------------------------------------------------------------------------


def test_beschaedigte_gewichte_werden_nicht_geladen(tmp_path, monkeypatch):
    assert module.check_weights() == module.VGG16_WEIGHTS
    copy = tmp_path / "gewichte.h5"
    content = bytearray(module.VGG16_WEIGHTS.read_bytes())
    content[12_345_678] ^= 1
    copy.write_bytes(content)
    monkeypatch.setattr(module.check_weights, "__defaults__", (copy,))
    with pytest.raises(CourseError, match="gewichte.h5 sind beschädigt .*git checkout"):
        build_vgg16(32)
    copy.unlink()
    with pytest.raises(CourseError, match="gewichte.h5 fehlen: .*git checkout"):
        build_vgg16(32)


def test_aufbau(vgg16):
    assert vgg16.input.shape == (None, 64, 64, 3) and vgg16.output.shape == (None, 10)
    kinds = [type(layer).__name__ for layer in vgg16.layers]
    assert kinds.count("Conv2D") == 13 and kinds.count("MaxPooling2D") == 5 and kinds.count("Dense") == 1
    assert not any(isinstance(layer, keras.Model) for layer in vgg16.layers), "iNNvestigate verlangt ein flaches Modell"
    assert vgg16.layers[-1].name == "logits" and vgg16.layers[-1].activation is keras.activations.linear
    assert "Softmax" not in kinds
    assert vgg16.count_params() == 14_714_688 + 10 * (2 * 2 * 512 + 1)
    assert module.LAST_CONV in [layer.name for layer in vgg16.layers]


def test_gewichte_kommen_aus_der_datei(vgg16):
    import h5py

    with h5py.File(module.VGG16_WEIGHTS) as file:
        stored = {}
        file.visititems(lambda name, item: stored.update({item.shape: item[()]}) if hasattr(item, "shape") else None)
    kernel, _ = vgg16.get_layer("block1_conv1").get_weights()
    np.testing.assert_allclose(kernel, stored[(3, 3, 3, 64)].astype(np.float32), atol=1e-6)
    assert abs(kernel).max() > 0.1


def test_startwert_bestimmt_die_neuen_gewichte(small_vgg16):
    def head(seed):
        return build_vgg16(32, seed=seed).get_layer("logits").get_weights()[0]

    np.testing.assert_array_equal(head(0), small_vgg16.get_layer("logits").get_weights()[0])
    assert not np.array_equal(head(1), head(0))


@pytest.mark.parametrize("at", ["block4_pool", "block5_conv3", "flatten"])
def test_zerlegtes_modell_rechnet_dasselbe(small_vgg16, dataset, at):
    inputs = preprocess(dataset.test_images[:4], 32)
    stem, head = split_model(small_vgg16, at)
    whole = small_vgg16.predict_on_batch(inputs)
    np.testing.assert_allclose(head.predict_on_batch(stem.predict_on_batch(inputs)), whole, atol=1e-4)
    assert abs(whole).max() > 0.1


def test_zerlegtes_modell_teilt_die_gewichte(dataset):
    model = build_vgg16(32, None)
    stem, head = split_model(model)
    assert len(stem.weights) + len(head.weights) == len(model.weights)
    inputs = preprocess(dataset.test_images[:2], 32)
    logits = head.get_layer("logits")
    logits.set_weights([np.zeros_like(value) + 3 for value in logits.get_weights()])
    np.testing.assert_allclose(
        model.predict_on_batch(inputs), head.predict_on_batch(stem.predict_on_batch(inputs)), rtol=1e-4
    )
    assert (model.get_layer("logits").get_weights()[1] == 3).all()
    assert split_model(model, None) == (None, model)


def test_stapel_aendern_die_logits_nicht(small_vgg16, dataset):
    images = dataset.test_images[:7]
    whole = module.predict_logits(small_vgg16, images)
    assert whole.shape == (7, 10)
    np.testing.assert_allclose(module.predict_logits(small_vgg16, images, batch_size=3), whole, atol=1e-4)
    np.testing.assert_allclose(whole, small_vgg16.predict_on_batch(preprocess(images, 32)), atol=1e-4)


def test_softmax():
    logits = np.array([[0.0, np.log(3)], [1000.0, 0.0], [-1000.0, -1000.0]])
    np.testing.assert_allclose(module.softmax(logits), [[0.25, 0.75], [1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(module.softmax(np.random.default_rng(0).normal(size=(9, 10)) * 50).sum(axis=1), 1)


# --- Speichern ------------------------------------------------------------------------------------------------------

HISTORY = [{"epoche": 1, "verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}]


@pytest.fixture
def saved(small_vgg16, ausgabe):
    save_run("sauber", Run(small_vgg16, HISTORY, {"profil": "schnell", "größe": 32, "image_size": 32}))
    return ausgabe / "modelle" / "sauber"


def test_speichern_und_laden(saved, small_vgg16):
    run = load_run("sauber")
    assert run.history == HISTORY and run.settings == {"profil": "schnell", "größe": 32, "image_size": 32}
    for mine, other in zip(run.model.get_weights(), small_vgg16.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert sorted(path.name for path in saved.iterdir()) == ["einstellungen.json", "modell.keras", "verlauf.csv"]
    assert saved == run_folder("sauber")


def test_unvollstaendig_gespeichert_zaehlt_als_keines(saved):
    assert load_run("vergiftet") is None
    for missing in ("modell.keras", "einstellungen.json"):
        (saved / missing).unlink()
        assert load_run("sauber") is None


@pytest.mark.parametrize("name", ["modell.keras", "verlauf.csv", "einstellungen.json"])
def test_beschaedigtes_modell(saved, name):
    """Weitere zwei Dutzend kaputte Modelle stehen in ``bad_inputs.MODELS``."""
    content = b'{"image_size": 64}' if name == "einstellungen.json" else (saved / name).read_bytes()[:40]
    (saved / name).write_bytes(content)
    with pytest.raises(CourseError, match="modelle/sauber ist nicht lesbar .*Löschen Sie .*03_Training"):
        load_run("sauber")


@pytest.mark.parametrize(
    ("classes", "message"), [([1, 2], "kamen aber 2"), ([1, 2, 10], "0 bis 9"), (-1, "0 bis 9"), ([], "kamen aber 0")]
)
def test_falsche_klassen_sind_ein_satz(classes, message):
    with pytest.raises(CourseError, match=message):
        module.checked_classes(classes, 3, 10)
    np.testing.assert_array_equal(module.checked_classes(7, 3, 10), [7, 7, 7])
