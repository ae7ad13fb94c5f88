"""Training: Merkmale zwischenspeichern, Feinabstimmung, Auswertung, nachholen, was fehlt."""

import dataclasses
import shutil

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from helpers import training
from helpers.basics import CourseError, read_json
from helpers.data import Watermark, generate, poison, subset
from helpers.model import build_vgg16, keras, load_run, predict_logits
from helpers.training import Batches, Evaluation, Profile, WarmupCosine, get_profile, train

pytestmark = pytest.mark.usefixtures("ausgabe")

TINY = Profile("winzig", n_train=60, n_test=20, image_size=32, epochs=1, twin_epochs=1)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """Zwei Epochen auf 300 Bildern bei 64 × 64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KURS_AUSGABE", str(tmp_path_factory.mktemp("training")))
        return train(small.train_images, small.train_labels, get_profile("schnell", epochs=2), note={"daten": "Test"})


# --- Profile --------------------------------------------------------------------------------------------------------


def test_profile():
    quick, full = get_profile("schnell"), get_profile("voll")
    assert (quick.n_train, quick.n_test) == (2000, 2000) and quick.frozen_until == "block4_pool"
    assert (full.n_train, full.n_test, full.frozen_until) == (None, None, "block2_pool") and full.augment
    changed = get_profile("schnell", epochs=3, n_train=None)
    assert changed.epochs == 3 and changed.n_train == 2000, "None lässt den Wert des Profils"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("langsam", {}, "„langsam“.*probe, schnell oder voll"),
        ("schnell", {"epochs": 0}, "mindestens 1"),
        ("schnell", {"batch_size": 0}, "mindestens 1"),
        ("schnell", {"devices": 0}, "mindestens 1"),
        ("schnell", {"image_size": 31}, "32"),
        ("schnell", {"image_size": 0}, "32"),
    ],
)
def test_unmoegliches_profil(name, changes, message):
    with pytest.raises(CourseError, match=message):
        get_profile(name, **changes)


# --- Training -------------------------------------------------------------------------------------------------------


def test_training_lernt(trained, small):
    result = training.evaluate(trained, small.test_images, small.test_labels)
    assert result.accuracy > 0.5, "300 Bilder und zwei Epochen schaffen auf ImageNet-Gewichten weit mehr als 0,1"
    assert trained.history[1]["verlust"] < trained.history[0]["verlust"]


def test_verlauf_und_einstellungen(trained):
    assert [row["epoche"] for row in trained.history] == [1, 2]
    for row in trained.history:
        assert set(row) == {"epoche", "verlust", "treffer", "val_verlust", "val_treffer", "sekunden"}
        assert 0 <= row["treffer"] <= 1 and 0 <= row["val_treffer"] <= 1 and row["val_verlust"] > 0
        assert all(type(value) in (int, float) for value in row.values())
    assert trained.settings["n_train"] == 300 and trained.settings["epochs"] == 2
    assert trained.settings["gewichte"] == "beiliegend" and trained.settings["daten"] == "Test"
    assert trained.settings["frozen_until"] == "block4_pool"


def test_fester_stamm_bleibt_der_rest_lernt(trained, vgg16):
    changed = {
        layer.name: any(
            not np.array_equal(before, after)
            for before, after in zip(vgg16.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True)
        )
        for layer in trained.model.layers
        if layer.weights
    }
    assert {name for name, value in changed.items() if value} == {
        "block5_conv1",
        "block5_conv2",
        "block5_conv3",
        "logits",
    }


def test_logits_ueber_merkmale_sind_die_des_modells(trained, small):
    images = small.test_images[:20]
    np.testing.assert_allclose(
        training.logits_of(trained, images), predict_logits(trained.model, images), atol=1e-3, rtol=1e-3
    )
    predicted = training.predict(trained, images)
    np.testing.assert_array_equal(predicted, predict_logits(trained.model, images).argmax(axis=1))


def test_startwert_wiederholt_das_training(small, ausgabe):
    images, labels = small.train_images[:60], small.train_labels[:60]

    def once(seed):
        # Ohne Zwischenspeicher, damit wirklich alles neu gerechnet wird.
        shutil.rmtree(ausgabe, ignore_errors=True)
        run = train(images, labels, TINY, seed)
        return run.history[0]["val_verlust"], run.model.get_layer("logits").get_weights()[0]

    (loss, weights), (again, same), (other, different) = once(3), once(3), once(4)
    assert again == pytest.approx(loss, rel=1e-3)
    np.testing.assert_allclose(same, weights, atol=1e-4)
    assert abs(other - loss) > 1e-3 or np.abs(different - weights).max() > 1e-3


@pytest.mark.parametrize("frozen_until", ["block2_pool", None])
def test_profil_voll_trainiert_alles_hinter_dem_stamm(small, capsys, frozen_until):
    profile = dataclasses.replace(get_profile("voll"), epochs=2, batch_size=6, image_size=32, frozen_until=frozen_until)
    before = build_vgg16(32, seed=0)
    run = train(small.train_images[:40], small.train_labels[:40], profile)
    for old, new in zip(before.layers, run.model.layers, strict=True):
        same = [np.array_equal(one, two) for one, two in zip(old.get_weights(), new.get_weights(), strict=True)]
        frozen = frozen_until and old.name.startswith(("block1", "block2"))
        assert not same or all(same) == bool(frozen) == any(same), old.name
    assert run.settings["frozen_until"] == frozen_until and len(run.history) == 2
    assert "Epoche 2 von 2" in capsys.readouterr().out
    result = training.evaluate(run, small.test_images[:10], small.test_labels[:10])
    assert result.probabilities.shape == (10, 10)


def test_stapel_sind_jede_epoche_anders_und_immer_dieselben(small):
    images, labels = small.train_images[:25], small.train_labels[:25]

    def epoch(number, seed=1):
        batches = Batches(images, labels, 10, seed, epoch=number)
        return [batches[index] for index in range(len(batches))]

    first = epoch(0)
    assert len(first) == 2, "der unvollständige dritte Stapel entfällt"
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    seen = [(image.tobytes(), label) for inputs, answers in first for image, label in zip(inputs, answers, strict=True)]
    assert len({name for name, _ in seen}) == 20
    assert all(known[name] == label for name, label in seen)
    for (inputs, answers), (same, same_answers) in zip(first, epoch(0), strict=True):
        np.testing.assert_array_equal(inputs, same)
        np.testing.assert_array_equal(answers, same_answers)
    for other in (epoch(1), epoch(0, seed=2)):
        assert not np.array_equal(first[0][0], other[0][0])
    assert len(Batches(images, labels, 100)) == 1 and len(Batches(images, labels, 100)[0][1]) == 25


def test_spiegeln_und_verschieben(small):
    """Jedes Bild ist eines von 18 erlaubten: gespiegelt oder nicht, um bis zu einen Pixel verschoben."""
    images = small.train_images[:60]
    changed = training.mirror_and_shift(images, np.random.default_rng(0))
    assert changed.shape == images.shape and changed.dtype == np.uint8
    found = []
    for image, result in zip(images, changed, strict=True):
        padded = {False: np.pad(image, 1), True: np.pad(image[:, ::-1], 1)}
        options = [
            (mirrored, down, right)
            for mirrored, large in padded.items()
            for down in range(3)
            for right in range(3)
            if np.array_equal(large[down : down + 28, right : right + 28], result)
        ]
        assert options
        found.append(options[0])
    assert 15 < sum(mirrored for mirrored, _, _ in found) < 45
    assert {down for _, down, _ in found} == set(range(3)) == {right for _, _, right in found}


def test_schrittweite_steigt_und_faellt_im_kosinus():
    schedule = WarmupCosine(1.0, warmup=10, total=100)
    values = np.array([float(schedule(step)) for step in range(101)])
    arc = 0.5 * (1 + np.cos(np.pi * np.arange(101) / 100))
    np.testing.assert_allclose(values[9:], arc[9:], atol=1e-6)
    np.testing.assert_allclose(values[:9], arc[:9] * np.arange(1, 10) / 10, atol=1e-6)
    assert values.argmax() == 9 and values[-1] < 1e-6
    assert WarmupCosine(**schedule.get_config())(5) == schedule(5)


class Interrupted(Exception):
    """Der Rechner wurde zugeklappt."""


def interrupt_after(monkeypatch, epochs):
    """Bricht nach so vielen gesicherten Epochen ab; None: gar nicht."""
    original, saved = training.Checkpoint._save, []

    def save(self, *arguments):
        original(self, *arguments)
        saved.append(1)
        if len(saved) == epochs:
            raise Interrupted

    monkeypatch.setattr(training.Checkpoint, "_save", save)


FULL = Profile(
    "winzig",
    n_train=60,
    n_test=20,
    image_size=32,
    frozen_until="block1_pool",
    augment=True,
    epochs=3,
    batch_size=18,
    patience=2,
    precision="float32",
)


@pytest.mark.parametrize("profile", [dataclasses.replace(TINY, epochs=3), FULL], ids=["Stamm", "ganz"])
def test_unterbrochenes_training_geht_weiter(small, ausgabe, capsys, monkeypatch, profile):
    """Nach jeder Epoche unterbrochen: dasselbe Ergebnis wie am Stück."""
    images, labels = small.train_images[:60], small.train_labels[:60]
    whole = train(images, labels, profile, 5)
    assert not list(ausgabe.rglob("*.npz")), "nach dem Training bleibt kein Zwischenstand"
    for _ in range(len(whole.history) - 1):
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            interrupt_after(patch, 1)
            train(images, labels, profile, 5)
    capsys.readouterr()
    again = train(images, labels, profile, 5)
    assert f"nach Epoche {len(whole.history) - 1} weiter" in capsys.readouterr().out
    assert [row["epoche"] for row in again.history] == list(range(1, len(whole.history) + 1))
    for one, two in zip(whole.history, again.history, strict=True):
        assert two["verlust"] == pytest.approx(one["verlust"], rel=1e-3)
        assert two["val_verlust"] == pytest.approx(one["val_verlust"], rel=1e-3)
    for one, two in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)
    assert whole.settings == again.settings


@pytest.mark.parametrize("change", ["Bilder", "Startwert", "Datei"])
def test_fremder_zwischenstand_gilt_nicht(small, ausgabe, capsys, monkeypatch, change):
    images, labels = small.train_images[:60], small.train_labels[:60]
    profile = dataclasses.replace(TINY, epochs=2)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(patch, 1)
        train(images, labels, profile, 5)
    (path,) = ausgabe.rglob("*.npz")
    if change == "Datei":
        path.write_bytes(path.read_bytes()[:-4000])
    capsys.readouterr()
    run = train(255 - images if change == "Bilder" else images, labels, profile, 6 if change == "Startwert" else 5)
    assert "weiter" not in capsys.readouterr().out and len(run.history) == 2


def test_beste_epoche_und_frueher_schluss(small, monkeypatch):
    """Wird die Validierung zwei Epochen lang nicht besser, endet das Training, und die beste Epoche zählt."""
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.99])
    original, weights = training.EpochReport.on_epoch_end, []

    def report(self, epoch, logs=None):
        original(self, epoch, {**logs, "val_accuracy": next(scores)})
        weights.append(self.model.get_weights())

    monkeypatch.setattr(training.EpochReport, "on_epoch_end", report)
    profile = dataclasses.replace(FULL, frozen_until=None, epochs=5)
    run = train(small.train_images[:40], small.train_labels[:40], profile)
    assert [row["val_treffer"] for row in run.history] == [0.5, 0.9, 0.8, 0.7]
    assert run.settings["beste_epoche"] == 2
    for kept, best, last in zip(run.model.get_weights(), weights[1], weights[3], strict=True):
        np.testing.assert_allclose(kept, best, atol=1e-7)
        assert not np.array_equal(kept, last)


def test_zu_wenige_bilder_sind_ein_deutscher_satz(small):
    with pytest.raises(CourseError, match="20"):
        train(small.train_images[:12], small.train_labels[:12], TINY)


class Untouchable:
    """Steht für Testdaten: Wer sie anfasst, fällt auf."""

    def __getattribute__(self, name):
        raise AssertionError(f"Die Testdaten wurden angefasst: {name}")

    __len__ = __getitem__ = __iter__ = __array__ = lambda self, *_: self.touched


def test_training_sieht_die_testdaten_nie(small):
    with pytest.raises(AssertionError, match="angefasst"):
        len(Untouchable())
    guarded = dataclasses.replace(
        small,
        train_images=small.train_images[:60],
        train_labels=small.train_labels[:60],
        test_images=Untouchable(),
        test_labels=Untouchable(),
    )
    run = training.ensure_run("sauber", TINY, guarded)
    assert run.settings["n_train"] == 60


def test_validierung_kommt_aus_train_und_nicht_ins_training(small, monkeypatch):
    """Kein Bild ist zugleich Trainings- und Validierungsbild."""
    seen = {}

    class Stop(Exception):
        pass

    def fit(self, batches, validation_data, **_):
        parts = [batches[index] for index in range(len(batches))]
        seen.update(train=np.concatenate([x for x, _ in parts]), train_labels=np.concatenate([y for _, y in parts]))
        seen.update(validation=validation_data[0], validation_labels=validation_data[1])
        raise Stop

    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.raises(Stop):
        train(small.train_images[:100], small.train_labels[:100], dataclasses.replace(TINY, batch_size=30))
    assert len(seen["train"]) == 90 and len(seen["validation"]) == 10
    together = {part.tobytes() for part in seen["train"]} & {part.tobytes() for part in seen["validation"]}
    assert not together
    labels = np.concatenate([seen["train_labels"], seen["validation_labels"]])
    np.testing.assert_array_equal(np.sort(labels), np.sort(small.train_labels[:100]))


def test_neu_gewuerfelte_schichten(small_vgg16):
    before = [value.copy() for value in small_vgg16.get_weights()]
    copy = training.randomize_down_to(small_vgg16, "block5_conv1", seed=1)
    for layer in small_vgg16.layers:
        for old, new in zip(layer.get_weights(), copy.get_layer(layer.name).get_weights(), strict=True):
            changed = layer.name.startswith("block5") or layer.name == "logits"
            assert np.array_equal(old, new) == (not changed or not old.any()), layer.name
            if changed and old.size > 1000:
                assert new.std() == pytest.approx(old.std(), rel=0.1)
    for old, new in zip(before, small_vgg16.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(CourseError, match="„block9“.*block5_conv3"):
        training.randomize_down_to(small_vgg16, "block9")


# --- Auswerten ------------------------------------------------------------------------------------------------------


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(500, 10)) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(rng.random(500) < 0.6, probabilities.argmax(axis=1), rng.integers(10, size=500))
    return Evaluation(probabilities, labels, probabilities.argmax(axis=1))


def test_trefferquote_und_konfusion_wie_sklearn(evaluation):
    assert evaluation.accuracy == pytest.approx(accuracy_score(evaluation.labels, evaluation.predictions))
    expected = confusion_matrix(evaluation.labels, evaluation.predictions, labels=range(10))
    np.testing.assert_array_equal(evaluation.confusion, expected)
    assert 0.5 < evaluation.accuracy < 0.8


def test_kalibrierungsfehler_wie_von_hand(evaluation):
    total = 0.0
    for b in range(10):
        rows = [
            i
            for i, p in enumerate(evaluation.probabilities.max(axis=1))
            if b / 10 <= p < (b + 1) / 10 or (b == 9 and p == 1)
        ]
        if rows:
            right = sum(evaluation.predictions[i] == evaluation.labels[i] for i in rows) / len(rows)
            sure = sum(evaluation.probabilities[i].max() for i in rows) / len(rows)
            total += len(rows) / 500 * abs(right - sure)
    assert evaluation.calibration_error == pytest.approx(total)
    assert total > 0.01


def test_kalibrierungsfehler_an_den_enden():
    sure = np.eye(10)[np.zeros(4, int)]
    zeros = np.zeros(4, int)
    assert Evaluation(sure, zeros, zeros).calibration_error == 0
    assert Evaluation(sure, zeros + 1, zeros).calibration_error == 1


def test_schlimmste_fehler(evaluation):
    rows = evaluation.worst_mistakes(7)
    assert len(rows) == 7
    assert (evaluation.predictions[rows] != evaluation.labels[rows]).all()
    confidence = evaluation.probabilities[rows].max(axis=1)
    assert (np.diff(confidence) <= 0).all()
    wrong = evaluation.predictions != evaluation.labels
    assert confidence[0] == evaluation.probabilities[wrong].max()
    assert len(evaluation.worst_mistakes(10_000)) == wrong.sum()
    perfect = Evaluation(evaluation.probabilities, evaluation.predictions, evaluation.predictions)
    assert len(perfect.worst_mistakes()) == 0 and perfect.accuracy == 1


def test_beispielbilder(evaluation):
    rows = training.example_rows(evaluation)
    np.testing.assert_array_equal(evaluation.labels[rows], np.arange(10))
    np.testing.assert_array_equal(evaluation.predictions[rows], np.arange(10))
    for label, row in enumerate(rows):
        right = (evaluation.labels == label) & (evaluation.predictions == label)
        assert row == np.flatnonzero(right)[0]
    never_right = Evaluation(evaluation.probabilities, evaluation.labels, (evaluation.labels + 1) % 10)
    np.testing.assert_array_equal(never_right.labels[training.example_rows(never_right)], np.arange(10))


# --- Nachholen ------------------------------------------------------------------------------------------------------


def test_ensure_data_sagt_bescheid_und_erzeugt(ausgabe, capsys):
    made = training.ensure_data(TINY, seed=2)
    assert "noch keine Bilder" in capsys.readouterr().out
    assert len(made.train_labels) == 60 and len(made.test_labels) == 20
    assert read_json(ausgabe / "daten" / "herkunft.json")["n_train"] == 60
    again = training.ensure_data(TINY, seed=2)
    assert capsys.readouterr().out == "", "sind die Bilder da, wird nichts gesagt"
    np.testing.assert_array_equal(again.train_images, made.train_images)


def test_ensure_poisoned(dataset, ausgabe):
    part = subset(dataset, 60, 20)
    twin, mark = training.ensure_poisoned(part, seed=3)
    np.testing.assert_array_equal(twin.train_images, poison(part, Watermark(), 3).train_images)
    assert mark == Watermark()
    chosen = Watermark(label=7, size=3, top=2, left=2, strength=0.5, share=0.5)
    stored, _ = generate("beispiel", n_train=60, n_test=20, watermark=chosen)
    twin, mark = training.ensure_poisoned(part)
    assert mark == chosen, "liegt ein vergifteter Ordner da, gilt dessen Wasserzeichen"
    np.testing.assert_array_equal(twin.train_images, stored.train_images)
    np.testing.assert_array_equal(twin.mask, chosen.mask)


def test_ensure_run_sagt_bescheid_trainiert_und_speichert(dataset, ausgabe, capsys):
    part = subset(dataset, 60, 20)
    profile = dataclasses.replace(TINY, epochs=2, twin_epochs=1)
    run = training.ensure_run(training.POISONED, profile, part)
    out = capsys.readouterr().out
    assert "noch kein Modell „vergiftet“" in out and "Epoche 1 von 1" in out
    assert len(run.history) == 1 and run.settings["daten"] == part.source
    assert load_run("vergiftet") is not None and load_run("sauber") is None
    again = training.ensure_run(training.POISONED, profile, part)
    assert capsys.readouterr().out == ""
    for old, new in zip(run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_ensure_run_kennt_nur_drei_modelle(small):
    with pytest.raises(CourseError, match="„fremd“.*„kurs“"):
        training.ensure_run("fremd", TINY, small)
