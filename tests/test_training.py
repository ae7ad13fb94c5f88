"""Training: Feinabstimmung, Unterbrechungen, Auswertung; was da ist und passt, nehmen, sonst neu machen."""

import dataclasses

import numpy as np
import pytest
from conftest import of_classes
from sklearn.metrics import accuracy_score, confusion_matrix
from two_layers import replace_vgg16, two_layer_net

from helpers import data, learner, model, training
from helpers.basics import CLASS_NAMES, CourseError, read_json
from helpers.checks.notebook_03 import calibration_error, learning_rate
from helpers.data import Watermark, generate, poison, subset
from helpers.learner import (
    class_weights,
    extract_features,
    load_state,
    mirror_and_shift,
    save_state,
    shuffled,
    step_sizes,
)
from helpers.model import keras, load_run, predict_logits, preprocess, softmax
from helpers.secret import secret_mark
from helpers.training import Evaluation, Profile, train

pytestmark = pytest.mark.usefixtures("ausgabe", "two_layers")

TINY = Profile("winzig", n_train=60, n_test=20, image_size=32, epochs=1, precision="float32")
FULL = dataclasses.replace(
    TINY, frozen_until="block1_pool", augment=True, epochs=3, batch_size=18, patience=2, learning_rate=0.01
)


@pytest.fixture
def two_layers(monkeypatch):
    replace_vgg16(monkeypatch.setattr)


@pytest.fixture
def sixty(small):
    return small.train_images[:60], small.train_labels[:60]


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((19, 28, 28)), np.arange(19) % 10, "Trainingsbilder kann nicht „19“"),
        (np.zeros((40, 28, 28)), np.arange(30) % 10, "Zu 40 Bildern gehören ebenso viele Klassen"),
        (np.zeros((40, 28, 28)), np.arange(40) % 11, "von 0 bis 9"),
        (np.zeros((40, 28, 28, 1)), np.arange(40) % 10, r"nicht \(40, 28, 28, 1\)"),
    ],
)
def test_womit_niemand_lernen_kann_ist_ein_satz_vor_dem_training(images, labels, message, monkeypatch):
    monkeypatch.setattr(training, "build_vgg16", None)
    with pytest.raises(CourseError, match=message):
        train(images, labels, FULL)


# --- Merkmale, Mischen, Lernraten -----------------------------------------------------------------------------------


def test_jedes_bild_laeuft_nur_einmal_durch_den_stamm(small, monkeypatch):
    seen, images = [], small.train_images
    stem, other = (model.split_model(two_layer_net(seed=seed), "block1_pool")[0] for seed in range(2))
    monkeypatch.setattr(model, "preprocess", lambda batch, size: seen.append(len(batch)) or preprocess(batch, size))
    first = extract_features(stem, images[:50], "float32")
    again = images[[*range(60), 55, 3, 55]][::-1].copy()
    again[32] = 255 - again[32]
    found = extract_features(stem, again, "float32")
    assert seen == [50, 11], "zehn neue, ein verändertes; doppelte und bekannte nicht"
    np.testing.assert_allclose(found, stem.predict_on_batch(preprocess(again, 32)), atol=1e-4)
    np.testing.assert_array_equal(extract_features(stem, images[:50], "float32"), first)
    assert not np.allclose(extract_features(other, images[:9], "float32"), first[:9])
    assert seen == [50, 11, 9], "andere Gewichte heißt: neu rechnen"


@pytest.mark.parametrize("fault", ["abgeschnitten", "leer", "andere Form", "andere Zahl", "NaN", "Objekte"])
def test_beschaedigte_merkmale_werden_neu_gerechnet(small, ausgabe, fault):
    stem, images = model.split_model(two_layer_net(), "block1_pool")[0], small.train_images[:10]
    expected = extract_features(stem, images)[:]
    (path,) = ausgabe.rglob("merkmale/*.npz")
    with np.load(path, allow_pickle=False) as file:
        stored = dict(file)
    rows = stored["zeilen"]
    broken = {
        "andere Form": {"zeilen": rows[..., :1]},
        "andere Zahl": {"zeilen": rows[1:]},
        "NaN": {"zeilen": rows * np.nan},
        "Objekte": {"bilder": np.array([print], object)},
    }
    if fault in broken:
        np.savez(path, **stored | broken[fault])
    else:
        path.write_bytes(path.read_bytes()[: -50 if fault == "abgeschnitten" else 0])
    np.testing.assert_array_equal(extract_features(stem, images), expected)


def epoch(images, labels, size=10, seed=1, number=0, **options):
    """Bilder und Klassen einer Epoche, hintereinander."""
    profile = dataclasses.replace(TINY, batch_size=size, augment=options.pop("augment", False))
    batches = shuffled(images, labels, profile, seed, number, **options)
    return [np.concatenate(parts) for parts in zip(*(batches[row] for row in range(len(batches))), strict=True)]


def test_mischen_ist_jede_epoche_anders_und_wiederholbar(small):
    images, labels = small.train_images[:25], small.train_labels[:25]
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    first, first_labels = epoch(images, labels)
    assert len(first) == 20 == len({image.tobytes() for image in first}), "der unvollständige dritte Stapel entfällt"
    assert all(known[image.tobytes()] == label for image, label in zip(first, first_labels, strict=True))
    np.testing.assert_array_equal(first, epoch(images, labels)[0])
    for seed, number in ((1, 1), (2, 0)):
        assert not np.array_equal(first, epoch(images, labels, 10, seed, number)[0])
    assert len(epoch(images, labels, 100)[0]) == 25
    # Zwei Rechner: Jeder bekommt von jedem Stapel die Hälfte.
    one, two = (epoch(images, labels, share=(number, 2))[0] for number in range(2))
    np.testing.assert_array_equal(np.concatenate([one[:5], two[:5], one[5:], two[5:]]), first)
    chosen = epoch(images, labels, 5, rows=np.arange(3, 13))[0]
    assert {image.tobytes() for image in chosen} == {image.tobytes() for image in images[3:13]}


def test_stapel_bewegen_sich_wie_die_ganze_epoche(small):
    """Ob alle Bilder auf einmal oder Stapel für Stapel bewegt werden: Es sind dieselben Pixel, auch in Farbe."""
    images, labels = small.train_images[:25], small.train_labels[:25]
    rng = np.random.default_rng((1, 0))
    whole = mirror_and_shift(images[rng.permutation(25)[:20]], rng)
    np.testing.assert_array_equal(epoch(images, labels, augment=True)[0], whole)
    colored = np.repeat(images[..., None], 3, axis=-1)
    np.testing.assert_array_equal(epoch(colored, labels, augment=True)[0], np.repeat(whole[..., None], 3, axis=-1))


def test_kleine_klassen_zaehlen_mehr():
    labels = np.repeat([0, 1, 3], [60, 30, 10])
    weights = class_weights(labels, 4)
    totals = np.bincount(labels, weights[labels])
    assert totals[[0, 1, 3]] == pytest.approx(100 / 3) and weights[labels].sum() == pytest.approx(100)
    assert class_weights(np.repeat(np.arange(10), 180), 10) is None
    assert class_weights(np.repeat([0, 1], [3, 2]), 2) is None, "etwa gleich"
    batches = shuffled(np.arange(100), labels, dataclasses.replace(TINY, batch_size=50), 0, 0, weights=weights)
    for x, y, w in (batches[0], batches[1]):
        np.testing.assert_array_equal(y, labels[x])
        np.testing.assert_array_equal(w, weights[y])


def test_spiegeln_und_verschieben(small):
    """Jedes Bild ist eines von 18 erlaubten: gespiegelt oder nicht, um bis zu einen Pixel verschoben."""
    found, changed = [], mirror_and_shift(small.train_images, np.random.default_rng(0))
    for image, result in zip(small.train_images, changed, strict=True):
        padded = {False: np.pad(image, 1), True: np.pad(image[:, ::-1], 1)}
        places = [(mirrored, *place) for mirrored in padded for place in np.ndindex(3, 3)]
        (*_, option) = [(m, d, r) for m, d, r in places if np.array_equal(padded[m][d : d + 28, r : r + 28], result)]
        found.append(option)
    assert len(set(found)) == 18 and 100 < sum(mirrored for mirrored, _, _ in found) < 200


@pytest.mark.parametrize("total", [1, 6, 300, 12_000])
def test_lernrate_ist_die_aus_aufgabe_3_2(total):
    """Was die Aufgabe lehrt, ist der Fahrplan, mit dem der Kurs trainiert."""
    warmup = min(500, max(1, total // 6))
    schedule, steps = step_sizes(2.0, total), np.unique(np.linspace(0, total - 1, 60).astype(int))
    expected = [learning_rate(step, total, 2.0, warmup) for step in steps]
    np.testing.assert_allclose([float(schedule(step)) for step in steps], expected, atol=1e-5)


# --- Training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen_until", "augment", "precision"),
    [
        ("block1_pool", True, "bfloat16"),
        (None, False, "float32"),
    ],
)
def test_es_lernt_was_hinter_dem_stamm_liegt(sixty, capsys, frozen_until, augment, precision):
    changes = {"frozen_until": frozen_until, "augment": augment, "epochs": 8, "patience": None}
    run = train(*sixty, dataclasses.replace(FULL, **changes, precision=precision), note={"daten": "Test"})
    for start, layer in zip(two_layer_net().layers, run.model.layers, strict=True):
        for before, after in zip(start.get_weights(), layer.get_weights(), strict=True):
            assert np.array_equal(before, after) == bool(frozen_until and layer.name.startswith("block1")), layer.name
            assert after.dtype == np.float32
    assert run.history[-1]["verlust"] < 0.8 * run.history[0]["verlust"]
    # Was das Training als Trefferquote der Validierung meldet, misst man am fertigen Modell nach.
    rows = data.validation_split(sixty[1], seed=0)[1]
    found = (predict_logits(run, sixty[0][rows]).argmax(axis=1) == sixty[1][rows]).mean()
    assert found == pytest.approx(run.history[-1]["val_treffer"], abs=0.17 if precision == "bfloat16" else 1e-6)
    for number, row in enumerate(run.history, start=1):
        assert set(row) == {"epoche", "verlust", "treffer", "val_verlust", "val_treffer", "sekunden"}
        assert row["epoche"] == number and all(type(value) in (int, float) for value in row.values())
    wanted = {"n_train": 60, "epochs": 8, "gewichte": "beiliegend", "daten": "Test"}
    assert wanted.items() <= run.settings.items() and "Epoche 8 von 8: Verlust " in capsys.readouterr().out


class Interrupted(Exception):
    """Der Rechner wurde zugeklappt."""


def train_one_epoch(monkeypatch, *arguments):
    """Bricht nach der nächsten gesicherten Epoche ab."""

    def save(*state):
        save_state(*state)
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(training, "save_state", save)
        patch.setattr(training, "SAVE_AFTER_S", 0)
        train(*arguments)


@pytest.mark.parametrize("profile", [dataclasses.replace(TINY, epochs=3), FULL], ids=["Stamm", "ganz"])
def test_unterbrochenes_training_geht_weiter(sixty, ausgabe, capsys, monkeypatch, profile):
    """Nach der ersten Epoche unterbrochen: Bit für Bit dasselbe Ergebnis wie am Stück."""
    whole = train(*sixty, profile, 5)
    assert not list(ausgabe.rglob("zwischenstand/*.npz")), "nach dem Training bleibt kein Zwischenstand"
    train_one_epoch(monkeypatch, *sixty, profile, 5)
    capsys.readouterr()
    again = train(*sixty, profile, 5)
    assert "nach Epoche 1 weiter" in capsys.readouterr().out
    assert [{**row, "sekunden": 0} for row in whole.history] == [{**row, "sekunden": 0} for row in again.history]
    assert_same(whole.model.get_weights(), again.model.get_weights())
    assert whole.settings == again.settings


@pytest.mark.parametrize(("classes", "augment"), [(2, False), (37, True)])
def test_beliebig_viele_klassen_in_farbe_mit_eigener_validierung(classes, augment, ausgabe):
    rng = np.random.default_rng(0)
    labels = np.arange(4 * classes) % classes
    images = rng.integers(0, 256, (len(labels), 40, 40, 3), np.uint8)
    names = tuple(f"Klasse {number} (ä)" for number in range(classes))
    profile = dataclasses.replace(FULL, augment=augment)
    run = train(images, labels, profile, class_names=names, validation=(images[:9], labels[:9] % classes))
    assert run.model.outputs[0].shape == (None, classes) and run.class_names == names
    model.save_run("eigenes", run)
    again = load_run("eigenes")
    assert again.class_names == names
    assert_same(run.model.get_weights(), again.model.get_weights())
    result = training.evaluate(again, images, labels)
    assert result.confusion.shape == (classes, classes) and result.confusion.sum() == len(labels)
    found = (predict_logits(run, images[:9]).argmax(axis=1) == labels[:9]).mean()
    assert found == pytest.approx(max(row["val_treffer"] for row in run.history), abs=1e-6)


def test_zwischenstand_anderer_bilder_gilt_nicht(sixty, capsys, monkeypatch):
    profile = dataclasses.replace(TINY, epochs=2)
    train_one_epoch(monkeypatch, *sixty, profile, 5)
    for images, seed in ((255 - sixty[0], 5), (sixty[0], 6)):
        assert len(train(images, sixty[1], profile, seed).history) == 2
    assert "weiter" not in capsys.readouterr().out


ROW = {"epoche": 1, "verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}


@pytest.mark.parametrize(
    "change",
    [
        {"arr_0": np.zeros((4, 2), "f4")},
        {"arr_0": np.full((4, 3), np.nan, "f4")},
        {"arr_99": np.zeros(5)},
        {"verlauf": np.array("[{}]")},
        {"arr_2": None},
        b"Hier stand einmal ein Netz.",
    ],
)
def test_ein_fremder_zwischenstand_aendert_nichts(change, tmp_path, capsys):
    """Alles wird geprüft, bevor etwas übernommen wird: Das Netz bleibt, wie es war, und das wird gesagt."""
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    net.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse")
    net.optimizer.build(net.trainable_variables)
    before, path = net.get_weights(), tmp_path / "stand.npz"
    save_state(path, net, [ROW], before)
    net.set_weights([value + 1 for value in before])
    assert load_state(path, net, before)[0] == [ROW], "Gegenprobe"
    assert_same(net.get_weights(), before)
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        with np.load(path) as file:
            stored = dict(file)
        np.savez(path, **{name: value for name, value in {**stored, **change}.items() if value is not None})
    net.set_weights([value + 1 for value in before])
    assert load_state(path, net, before)[0] == [] and "beginnt von vorn" in capsys.readouterr().out
    assert_same(net.get_weights(), [value + 1 for value in before])


def test_beste_epoche_und_frueher_schluss(sixty, monkeypatch):
    """Wird die Validierung zwei Epochen lang nicht besser, endet das Training, und die beste Epoche zählt."""
    scores, weights, original = iter([0.5, 0.9, 0.8, 0.7, 0.99]), [], keras.Model.fit

    def fit(self, *arguments, **options):
        found = original(self, *arguments, **options)
        found.history["val_accuracy"] = [next(scores)]
        weights.append(self.get_weights())
        return found

    monkeypatch.setattr(keras.Model, "fit", fit)
    run = train(*sixty, dataclasses.replace(FULL, frozen_until=None, epochs=5))
    assert [row["val_treffer"] for row in run.history] == [0.5, 0.9, 0.8, 0.7]
    assert run.settings["beste_epoche"] == 2
    assert_same(run.model.get_weights(), weights[1])
    assert not np.array_equal(weights[1][0], weights[3][0])


def test_validierung_kommt_aus_train_und_nicht_ins_training(small, monkeypatch):
    """Kein Bild ist zugleich Trainings- und Validierungsbild."""
    seen = []

    def fit(self, material, *_, validation_data, **__):
        for batches in (material, validation_data):
            seen.extend(
                np.concatenate(each) for each in zip(*(batches[n][:2] for n in range(len(batches))), strict=True)
            )
        raise Interrupted

    monkeypatch.setattr(keras.Model, "fit", fit)
    profile = dataclasses.replace(FULL, augment=False, batch_size=30)
    with pytest.raises(Interrupted):
        train(small.train_images[:100], small.train_labels[:100], profile)
    learned, labels, checked, check_labels = seen
    assert len(learned) == 90 and len(checked) == 10
    assert not {part.tobytes() for part in learned} & {part.tobytes() for part in checked}
    together = np.sort(np.concatenate([labels, check_labels]))
    np.testing.assert_array_equal(together, np.sort(small.train_labels[:100]))


def test_neu_gewuerfelte_schichten():
    net = two_layer_net()
    copy = training.randomize_down_to(net, "block5_conv3", seed=1)
    assert_same(net.get_weights(), two_layer_net().get_weights())
    for old, new in zip(net.layers, copy.layers, strict=True):
        for one, two in zip(old.get_weights(), new.get_weights(), strict=True):
            assert np.array_equal(one, two) != (old.name in ("block5_conv3", "logits")), old.name
            assert one.size < 200 or two.std() == pytest.approx(one.std(), rel=0.3), "dieselbe Streuung"
    with pytest.raises(CourseError, match="„block9“.*block5_conv3"):
        training.randomize_down_to(net, "block9")


@pytest.mark.parametrize(
    "kind",
    [{}, {"padding": "valid"}, {"kernel_size": (1, 3), "strides": 2}, {"dilation_rate": 2}, {"activation": "relu"}],
    ids=str,
)
def test_eine_faltung_als_matrixprodukt_rechnet_und_lernt_wie_die_von_keras(kind):
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    layer = keras.layers.Conv2D(**{"filters": 4, "kernel_size": 3, "padding": "same", "name": "faltung"} | kind)
    net = keras.Sequential([keras.Input((4, 4, 2)), layer])
    layer.bias.assign(np.arange(4) / 4)
    copy = learner.quick_copy(net, "float32")
    assert isinstance(copy.get_layer("faltung"), learner.PatchConv2D)
    images = tf.constant(np.random.default_rng(1).normal(size=(5, 4, 4, 2)).astype(np.float32))
    found = []
    for each in (net, copy):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = each(images)
            loss = tf.reduce_sum(outputs**3)
        found.append([outputs, *tape.gradient(loss, [images, *each.trainable_variables])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_grosse_karten_und_besondere_faltungen_rechnet_keras():
    layers = [keras.layers.Conv2D(4, 3, padding="same"), keras.layers.Conv2D(4, 1, groups=2)]
    layers += [keras.layers.MaxPooling2D(2), keras.layers.Conv2D(4, 1, use_bias=False), keras.layers.Conv2D(4, 3)]
    copy = learner.quick_copy(keras.Sequential([keras.Input((8, 8, 2)), *layers]), "float32")
    assert [type(each) is learner.PatchConv2D for each in copy.layers] == [False] * 4 + [True]


# --- Auswerten ------------------------------------------------------------------------------------------------------


def test_ein_netz_und_ein_training_fragt_man_gleich(sixty, monkeypatch):
    monkeypatch.setattr(learner, "fast_bfloat16", lambda: False)
    run = model.Run(two_layer_net(), [], {})
    logits = predict_logits(run, sixty[0])
    np.testing.assert_array_equal(logits, predict_logits(run.model, sixty[0]))
    for asked in (run, run.model):
        result = training.evaluate(asked, *sixty)
        np.testing.assert_allclose(result.probabilities, softmax(logits), atol=1e-5)
        np.testing.assert_array_equal(result.predictions, logits.argmax(axis=1))
    inputs = preprocess(sixty[0], 32)
    np.testing.assert_allclose(training.probabilities(run.model)(inputs), result.probabilities, atol=1e-5)


def test_auswertung_wie_sklearn_und_wie_aufgabe_3_4():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(500, 10)) * 3
    found = Evaluation.of(logits, np.where(rng.random(500) < 0.6, logits.argmax(axis=1), rng.integers(10, size=500)))
    assert 0.5 < found.accuracy < 0.8 and found.accuracy == accuracy_score(found.labels, found.predictions)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(found.labels, found.predictions, labels=range(10)))
    sure, right = found.probabilities.max(axis=1), found.predictions == found.labels
    assert found.calibration_error == pytest.approx(calibration_error(sure, right)) and sure.mean() < 0.99
    rows = found.worst_mistakes(10_000)
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(~right))
    assert (np.diff(sure[rows]) <= 0).all() and (found.worst_mistakes(7) == rows[:7]).all()
    # Je Klasse das erste erkannte Bild, und wo keines erkannt ist, das erste der Klasse.
    never = Evaluation(found.probabilities, found.labels, (found.labels + 1) % 10)
    for label in range(10):
        assert training.example_rows(found)[label] == np.flatnonzero((found.labels == label) & right)[0]
        assert training.example_rows(never)[label] == np.flatnonzero(found.labels == label)[0]


# --- Nachholen ------------------------------------------------------------------------------------------------------


def test_ensure_data_erzeugt_was_fehlt_und_zieht_neu_was_nicht_passt(ausgabe, capsys):
    """03 mit „probe“, dann 04 mit „schnell“: Es gelten die Bilder des Profils, aus der Quelle von vorher."""
    made = training.ensure_data(TINY, seed=2)
    assert "noch keine Bilder" in capsys.readouterr().out
    again = training.ensure_data(TINY, seed=2)
    assert capsys.readouterr().out == "", "sind die Bilder da, wird nichts gesagt"
    np.testing.assert_array_equal(again.train_images, made.train_images)
    made = training.ensure_data(dataclasses.replace(TINY, n_train=100), where="/gibt/es/nicht")
    assert (len(made.train_labels), len(made.test_labels)) == (100, 20)
    (line,) = capsys.readouterr().out.splitlines()
    assert "60 Bilder zum Training und 20 zum Testen" in line and "„winzig“" in line
    assert read_json(ausgabe / "daten" / "herkunft.json")["n_train"] == 100


def test_ensure_data_nimmt_alle_wenn_die_quelle_nicht_mehr_hat(ausgabe, capsys, monkeypatch, small):
    monkeypatch.setattr(data, "load_source", lambda where: small)
    training.ensure_data(dataclasses.replace(TINY, n_train=None, n_test=None))
    capsys.readouterr()
    again = training.ensure_data(dataclasses.replace(TINY, n_train=2000, n_test=200))
    assert capsys.readouterr().out == "" and len(again.train_labels) == 300


def test_own_poison_nimmt_das_gift_aus_01_nur_wenn_es_zu_den_bildern_gehoert(small, capsys):
    """Wer 01 ausließ oder seither andere Bilder nahm, bekommt das Gift des Kurses und erfährt es."""

    def corner(images, labels, label):
        result, mask = images.copy(), np.arange(784).reshape(28, 28) < 3
        result[labels == label, 0, :3] ^= 200
        return result, mask

    data.write_own_poison(small, corner, 4)
    gift, label = training.own_poison(small)
    assert (gift.mask.sum(), label) == (3, 4) and capsys.readouterr().out == ""
    fewer = dataclasses.replace(small, train_images=small.train_images[:60], train_labels=small.train_labels[:60])
    for dataset in (fewer, small):
        gift, label = training.own_poison(dataset)
        assert (gift.mask.sum(), label) == (4, 6)
        assert "Ich nehme das des Kurses" in capsys.readouterr().out
    assert training.own_poison(small)[0].mask.sum() == 4 and capsys.readouterr().out == ""


def test_ensure_poisoned_nimmt_das_zeichen_aus_dem_ordner(dataset):
    part, chosen = subset(dataset, 60, 20), Watermark(label=7, size=3, top=2, left=2, strength=0.5, share=0.5)
    assert training.ensure_poisoned(part, seed=3)[1] == secret_mark(3) != secret_mark() == Watermark()
    generate("beispiel", n_train=100, n_test=20, watermark=chosen)
    twin, mark = training.ensure_poisoned(part)
    assert mark == chosen and (twin.mask == chosen.mask).all()
    np.testing.assert_array_equal(twin.train_images, poison(part, chosen).train_images)


def test_zeichen_und_gift_auf_einer_klasse_die_es_hier_nicht_gibt_werden_ersetzt(dataset, capsys):
    """Erst der Kurs mit allen Klassen, dann eigene CSV-Dateien mit dreien: Der Zwilling wäre sonst sauber."""
    generate("beispiel", n_train=100, n_test=20, watermark=Watermark(label=4))
    few = subset(of_classes(dataset, [1, 5, 7]), 60, 20)
    twin, mark = training.ensure_poisoned(few)
    said = capsys.readouterr().out
    assert "gehört zu anderen Bildern" in said and not any(name in said for name in CLASS_NAMES), "es bleibt geheim"
    assert mark.label in (1, 5, 7) and (twin.train_images != few.train_images).any()
    gift, label = training.own_poison(few)
    assert label == 7 and (gift.train_images != few.train_images).any()


def test_ensure_run_trainiert_was_fehlt_und_was_nicht_passt(dataset, capsys):
    """03 mit „probe“, dann 04 mit „schnell“: Früher kamen Karten für 32 × 32 zu Bildern von 64 × 64.

    Statt der Testbilder liegt None da: Ein Training, das sie anfasst, scheitert.
    """
    part = subset(dataset, 60, 20)
    clean, twin = (
        dataclasses.replace(each, test_images=None, test_labels=None) for each in (part, poison(part, Watermark()))
    )
    profile = dataclasses.replace(TINY, epochs=2)
    large = dataclasses.replace(profile, name="anders", image_size=64)
    for chosen, images in ((profile, twin), (large, twin), (large, clean)):
        run = training.ensure_run(training.POISONED, chosen, images)
        out = capsys.readouterr().out
        said = "noch kein Modell „vergiftet“" if chosen is profile else "zu anderen Bildern oder einem anderen Profil"
        assert said in out and "Epoche 1 von 2" in out, "der Zwilling lernt so lang wie jedes Netz des Profils"
        assert run.model.input.shape[1] == chosen.image_size and run.settings["daten"] == images.source
        again = training.ensure_run(training.POISONED, chosen, images)
        assert capsys.readouterr().out == "", "jetzt passt es"
        assert_same(run.model.get_weights(), again.model.get_weights())
    assert load_run("sauber") is None
