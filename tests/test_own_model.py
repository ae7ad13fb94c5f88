"""Eigene Modelle: gelesen ohne Code, flach gemacht mit denselben Antworten, befragt wie das Netz des Kurses."""

import io
import json
import subprocess
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from benchmark import environment

from helpers import lrp
from helpers.basics import CourseError
from helpers.gradcam import grad_cam
from helpers.inner.lrp_layers import objection
from helpers.model import keras, predict_logits, preprocess
from helpers.own import own_model
from helpers.suspicion import Questions

layers = keras.layers
PEER = Path(__file__).resolve().parent / "referenz" / "own_model_peer.py"


@pytest.fixture(scope="module")
def pictures():
    """Vier Farbbilder, 64 × 64."""
    return np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def lively(model):
    """Gewichte, die etwas ausmachen: Schwellenwerte und BatchNorm sind frisch fast wirkungslos."""
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            *small, variance = (value.shape for value in layer.get_weights())
            layer.set_weights([*(rng.uniform(-0.4, 0.4, shape) for shape in small), rng.uniform(0.5, 2, variance)])
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    return model


def nested(head, end, outputs=3, base=None):
    """So baut man Transferlernen: ein Modell im Modell, darüber ein Kopf."""
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 3))
    base = (base or keras.applications.VGG16)(include_top=False, weights=None, input_shape=(64, 64, 3))
    x = layers.Dropout(0.5)(head()(base(image, training=False)))
    return lively(keras.Model(image, layers.Dense(outputs, activation=end)(x)))


def with_batch_norm():
    """BatchNorm nach einer Faltung, nach ihrem ReLU und nach einer dichten Schicht; Pixel rechnet das Netz um."""
    keras.utils.set_random_seed(0)
    stack = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.ZeroPadding2D(((1, 0), (2, 1))),
        layers.Conv2D(8, 3, use_bias=False, padding="same"),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(16, activation="relu"),
        layers.BatchNormalization(),
        layers.Dense(3),
        layers.Softmax(),
    ]
    return lively(keras.Sequential([keras.Input((64, 64, 3)), *stack]))


flatten, pooled = layers.Flatten, layers.GlobalAveragePooling2D


def small_base(include_top, weights, input_shape):
    return keras.Sequential([keras.Input(input_shape), layers.Conv2D(8, 3, strides=2, activation="relu")])


NETS = {
    "Softmax": lambda: nested(pooled, "softmax", base=small_base),
    "Sigmoid": lambda: nested(flatten, "sigmoid", 1, small_base),
    "BatchNorm": with_batch_norm,
    "VGG16": lambda: nested(flatten, None),
    "ResNet50": lambda: nested(pooled, "softmax", base=keras.applications.ResNet50),
    "MobileNetV2": lambda: nested(pooled, "softmax", base=keras.applications.MobileNetV2),
}
LARGE = ("VGG16", "ResNet50", "MobileNetV2")
ALL = [pytest.param(name, marks=pytest.mark.alles if name in LARGE else []) for name in NETS]


def logits_before_end(model, inputs):
    """Die Logits des Originals, ehe Softmax oder Sigmoid sie zusammendrückt."""
    last = model.layers[-1]
    if isinstance(last, layers.Softmax):
        return keras.Model(model.inputs, model.layers[-2].output).predict(inputs, verbose=0)
    last.activation = keras.activations.linear
    return keras.Model(model.inputs, last(last._inbound_nodes[0].input_tensors[0])).predict(inputs, verbose=0)


@pytest.mark.parametrize("name", ALL)
def test_dieselben_logits_und_jede_erklaerung(name, pictures, tmp_path):
    """Wer sein Netz mitbringt, bekommt Karten von genau diesem Netz; LRP für jede seiner Schichten prüft test_lrp."""
    given = NETS[name]()
    given.save(tmp_path / "mein Netz ä.keras")
    net = own_model.load(tmp_path / "mein Netz ä.keras", "keine" if name == "BatchNorm" else "vgg16")
    raw = pictures.astype(np.float32) if name == "BatchNorm" else preprocess(pictures, 64)
    expected, found = logits_before_end(given, raw), predict_logits(net, pictures)
    if name == "Sigmoid":
        expected = np.concatenate([-expected / 2, expected / 2], axis=1)
    assert found.std() > 1e-3 and np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    inputs = preprocess(pictures, net)
    cams = [grad_cam(net, inputs, label, normalize=False) for label in (0, 1)]
    assert cams[0].shape == (4, 64, 64) and max(cam.max() for cam in cams) > 0 and not np.allclose(*cams)
    assert not any(isinstance(layer, (keras.Model, layers.BatchNormalization, layers.Dropout)) for layer in net.layers)
    if name in ("ResNet50", "MobileNetV2"):
        assert objection(net).count(".") == 1 + objection(net).count("6.0")
        with pytest.raises(CourseError, match="LRP"):
            lrp.relevance(net, inputs, 0)
        return
    maps = lrp.relevance(net, inputs, 1, "lrp.epsilon")
    assert maps.shape == (4, 64, 64) and np.abs(maps).max() > 0
    if name != "BatchNorm":
        return
    # Ohne Schwellenwerte geht auf dem Weg nach unten nichts verloren.
    net.set_weights([value if value.ndim > 1 else 0 * value for value in net.get_weights()])
    maps, logits = lrp.relevance(net, inputs, 1, "lrp.z"), predict_logits(net, pictures)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), logits[:, 1], rtol=1e-3)


@pytest.mark.alles
@pytest.mark.parametrize("name", ["VGG16", "BatchNorm", "Sigmoid"])
@pytest.mark.parametrize("rule", ["lrp.epsilon", "lrp.alpha_2_beta_1_IB"])
def test_lrp_gleich_zennit_auf_dem_umgebauten_netz(name, rule, pictures, tmp_path, record_property):
    net = own_model.flat(NETS[name](), "keine" if name == "BatchNorm" else "vgg16")
    inputs, classes = preprocess(pictures, net), np.array([0, 1, 1, 0])
    plan = []
    for layer in net.layers[1:]:
        config = layer.get_config()
        keep = ("strides", "padding", "pool_size", "kernel_size", "activation")
        plan.append({"kind": type(layer).__name__, **{key: config[key] for key in keep if key in config}})
    weights = {f"w{number}": value for number, value in enumerate(net.get_weights())}
    np.savez(
        tmp_path / "ein.npz", images=inputs, classes=classes, plan=np.array(json.dumps(plan)), rule=rule, **weights
    )
    command = [environment.ensure(), PEER, tmp_path / "ein.npz", tmp_path / "aus.npy"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    expected, found = np.load(tmp_path / "aus.npy"), lrp.relevance(net, inputs, classes, rule)
    correlation = min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, expected, strict=True))
    record_property("Abweichung", f"{name}, {rule} von zennit: Korrelation je Bild mindestens {correlation:.6f}")
    assert correlation > 0.999
    np.testing.assert_allclose(np.abs(found).max(axis=(1, 2)), np.abs(expected).max(axis=(1, 2)), rtol=0.02)


# --- Vorverarbeitung --------------------------------------------------------------------------------------------------


def tiny(*front, shape=(16, 16, 3), outputs=3, end="softmax"):
    keras.utils.set_random_seed(0)
    stack = [*front, layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(outputs, activation=end)]
    return keras.Sequential([keras.Input(shape), *stack], name="klein")


def test_jede_vorverarbeitung_wie_in_keras(pictures):
    known = {"vgg16": keras.applications.vgg16, "-1-1": keras.applications.mobilenet_v2}
    small, net = pictures[:, :16, :16], tiny()
    for name, module in known.items():
        expected = module.preprocess_input(small.astype(np.float32))
        np.testing.assert_allclose(preprocess(small, own_model.flat(net, name)), expected, atol=1e-4)
    np.testing.assert_allclose(preprocess(small, own_model.flat(net, "0-1")), small / 255, atol=1e-6)
    np.testing.assert_array_equal(preprocess(small, own_model.flat(net, "keine")), small)


def test_was_das_netz_an_den_pixeln_selbst_tut_wird_vorverarbeitung(pictures):
    """Auch als lose Rechnung im Graphen; sonst stünde vor der ersten Faltung etwas, das LRP nicht kennt."""
    image = keras.Input((16, 16, 3))
    x = keras.applications.vgg16.preprocess_input(layers.RandomFlip()(image))
    model = keras.Model(image, tiny()(x))
    small = pictures[:, :16, :16]
    net = own_model.flat(model, "keine")
    np.testing.assert_allclose(preprocess(small, net), preprocess(small, 16), atol=1e-3)
    assert not objection(net) and type(net.layers[1]).__name__ == "Conv2D"


def test_gemessene_mittelwerte_bleiben_erhalten(pictures, tmp_path):
    """Normalization merkt sich, was es gemessen hat, nicht im Bauplan: Eine bloße Kopie rechnete still ohne."""
    measured = layers.Normalization()
    measured.adapt(pictures[:, :16, :16].astype(np.float32))
    for number, front in enumerate((measured, layers.Normalization(mean=[90, 100, 110], variance=[900, 400, 100]))):
        model = tiny(front)
        model.save(tmp_path / f"{number}.keras")
        net, small = own_model.load(tmp_path / f"{number}.keras", "keine"), pictures[:, :16, :16]
        expected = logits_before_end(model, small.astype(np.float32))
        np.testing.assert_allclose(predict_logits(net, small), expected, atol=1e-4)
        assert abs(preprocess(small, net)).max() < 20 and not objection(net)


def test_lose_rechnungen_im_graphen(pictures):
    """Wer mit keras.ops baut, hat Summen und ReLUs ohne Schicht; auch die Suche kann damit umgehen."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image / 255.0)
    x = keras.ops.relu(layers.Conv2D(4, 3, padding="same")(x) + x)
    model = keras.Model(image, keras.ops.softmax(layers.Dense(3)(keras.ops.mean(x, axis=(1, 2)))))
    net, small = own_model.flat(model, "keine"), pictures[:, :16, :16]
    expected = model.predict(small.astype(np.float32), verbose=0)
    np.testing.assert_allclose(Questions(net).answer(small), expected, atol=0.02)
    assert objection(net) and grad_cam(net, preprocess(small, net), 0).shape == (4, 16, 16)


def test_graue_netze_und_andere_groessen(pictures):
    gray = own_model.flat(tiny(shape=(20, 12, 1)), "0-1")
    assert predict_logits(gray, pictures).shape == (4, 3) == predict_logits(gray, pictures[..., 0]).shape
    with pytest.raises(CourseError, match="drei Kanäle"):
        own_model.flat(tiny(shape=(16, 16, 1)), "vgg16")
    free = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3), pooled(), layers.Dense(2)])
    with pytest.raises(CourseError, match="Nennen Sie size"):
        own_model.flat(free)
    assert own_model.flat(free, size=24).input_shape == (None, 24, 24, 3)


# --- Was nicht geht, ist ein Satz -------------------------------------------------------------------------------------


def without_head():
    return keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(2, 3)])


def one_output():
    return own_model.flat(tiny(outputs=1, end="sigmoid"))


@pytest.mark.parametrize(
    ("message", "build"),
    [
        ("2 Klassen, die Bilder haben 5: Nehmen", lambda: own_model.check_outputs(one_output(), 5)),
        ("endet mit relu", lambda: own_model.flat(tiny(end="relu"))),
        ("einer Zahl je Klasse", lambda: own_model.flat(without_head())),
        ("„bgr“ gibt es nicht: .*-1-1", lambda: own_model.flat(tiny(), "bgr")),
        ("statt Bilder", lambda: own_model.flat(keras.Sequential([keras.Input((9,)), layers.Dense(2)]))),
        ("noch nicht gebaut", lambda: own_model.flat(keras.Sequential([layers.Dense(2)]))),
    ],
)  # fmt: skip
def test_was_sich_nicht_umbauen_laesst(message, build):
    with pytest.raises(CourseError, match=message):
        build()


def rewritten(folder, model, name, change):
    """Das Modell als Datei mit einem veränderten Teil: ihr Pfad."""
    model.save(folder / "gut.keras")
    with zipfile.ZipFile(folder / "gut.keras") as old, zipfile.ZipFile(folder / "boese.keras", "w") as new:
        for member in old.namelist():
            content = old.read(member)
            new.writestr(member, change(content) if member == name else content)
    return folder / "boese.keras"


def swap(old: str, new: str):
    return lambda content: content.decode().replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Lambda", swap('"class_name": "Conv2D"', '"class_name": "Lambda"')),
        ("Popen", swap('"keras.layers", "class_name": "Flatten"', '"subprocess", "class_name": "Popen"')),
        ("get_file", swap('"class_name": "GlorotUniform"', '"class_name": "get_file"')),
    ],
)
def test_aus_der_datei_laeuft_kein_code(name, change, tmp_path):
    with pytest.raises(CourseError, match=f"„{name}“.*keinen mitgebrachten Code"):
        own_model.load(rewritten(tmp_path, tiny(), "config.json", change))


def test_auch_was_im_inneren_modell_kompiliert_steht_wird_geprueft(pictures, tmp_path):
    """Das äußere lädt Keras nicht, das innere schon: Dort stünde sonst, was niemand geprüft hat."""
    image, inner = keras.Input((16, 16, 3)), tiny(end=None)
    inner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model = keras.Model(image, layers.Softmax()(inner(image)))
    model.compile("sgd", "categorical_crossentropy")
    change = swap('"module": "keras.optimizers", "class_name": "Adam"', '"module": "os", "class_name": "system"')
    with pytest.raises(CourseError, match="„system“.*keinen mitgebrachten Code"):
        own_model.load(rewritten(tmp_path, model, "config.json", change))
    assert predict_logits(own_model.load(tmp_path / "gut.keras"), pictures[:, :16, :16]).shape == (4, 3)


def outside(file):
    file["layers/fremd"] = h5py.ExternalLink("/etc/passwd", "/")


def not_a_number(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    file[names[0]][...] = np.nan


@pytest.mark.parametrize("fault", [outside, not_a_number], ids=["Verweis in andere Datei", "keine Zahlen"])
def test_gewichte_aus_einer_anderen_datei_oder_keine_zahlen(fault, tmp_path):
    def change(content):
        stream = io.BytesIO(content)
        with h5py.File(stream, "r+") as file:
            fault(file)
        return stream.getvalue()

    with pytest.raises(CourseError, match="boese.keras (ist beschädigt|enthält Gewichte, die keine endlichen)"):
        own_model.load(rewritten(tmp_path, tiny(), "model.weights.h5", change))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("netz.h5", b"", "können Code enthalten: Speichern"),
        ("fehlt.keras", None, "gibt es nicht"),
        ("abgeschnitten.keras", b"PK\x03\x04", "ist beschädigt"),
    ],
)
def test_dateien_die_kein_modell_sind(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CourseError, match=f"{name}.*{message}"):
        own_model.load(tmp_path / name)


def test_das_gegebene_modell_bleibt_wie_es_ist(pictures):
    model = with_batch_norm()
    before = [value.copy() for value in model.get_weights()]
    own_model.flat(model, "keine")
    assert model.layers[-1].name.startswith("softmax") and len(model.layers) == 14
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
