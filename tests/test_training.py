"""Training: Feinabstimmung, Unterbrechungen, Auswertung; was da ist und passt, nehmen, sonst neu machen."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix
from two_layers import replace_vgg16, two_layer_net

from helpers import data, model, training
from helpers.basics import CourseError, read_json
from helpers.checks.notebook_03 import calibration_error, step_size
from helpers.data import Watermark, generate, poison, subset
from helpers.learner import extract_features, load_state, mirror_and_shift, save_state, shuffled, step_sizes
from helpers.model import keras, load_run, predict_logits, preprocess, softmax
from helpers.training import Evaluation, Profile, get_profile, train

pytestmark = pytest.mark.usefixtures("ausgabe", "two_layers")

TINY = Profile("winzig", n_train=60, n_test=20, image_size=32, epochs=1, twin_epochs=1, precision="float32")
FULL = dataclasses.replace(
    TINY, frozen_until="block1_pool", augment=True, epochs=3, batch_size=18, patience=2, learning_rate=0.01
)


@pytest.fixture
def two_layers(monkeypatch):
    replace_vgg16(monkeypatch.setattr)


@pytest.fixture
def sixty(small):
    return small.train_images[:60], small.train_labels[:60]


# --- Profile --------------------------------------------------------------------------------------------------------


def test_profil():
    quick, full = get_profile("schnell"), get_profile("voll")
    assert (quick.n_train, quick.n_test) == (2000, 2000) and quick.frozen_until == "block4_pool"
    assert quick.epochs == quick.twin_epochs, "der Zwilling lernt nach demselben Rezept"
    assert (full.n_train, full.n_test, full.frozen_until) == (None, None, "block2_pool") and full.augment
    changed = get_profile("schnell", epochs=3, n_train=None)
    assert changed.epochs == 3 and changed.n_train == 2000, "None lässt den Wert des Profils"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("langsam", {}, "„langsam“.*probe, schnell oder voll"),
        (None, {}, "probe, schnell oder voll"),
        *(("schnell", {key: 0}, "mindestens 1 ") for key in ("epochs", "twin_epochs", "batch_size", "devices")),
        ("schnell", {"epochs": 1001}, "1001.*1000"),
        ("schnell", {"image_size": 31}, "31.*32"),
        ("schnell", {"image_size": 513}, "513.*512"),
        ("schnell", {"image_size": "64"}, "ganze Zahl"),
        ("schnell", {"n_train": 2.5}, "ganze Zahl"),
        ("schnell", {"devices": 65}, "65 Geräte.*64 Bilder"),
    ],
)
def test_unmoegliches_profil(name, changes, message):
    with pytest.raises(CourseError, match=message):
        get_profile(name, **changes)


# --- Merkmale, Mischen, Schrittweiten --------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Zählt die Bilder, die wirklich durch ein Netz laufen; nach ``stop_after`` Stapeln wird unterbrochen."""
    seen, original = [], model.preprocess

    def counting(images, size):
        if len(seen) == counting.stop_after:
            raise KeyboardInterrupt
        seen.append(len(images))
        return original(images, size)

    counting.stop_after = None
    counting.seen = seen
    monkeypatch.setattr(model, "preprocess", counting)
    return counting


def small_stem(seed=0):
    return model.split_model(two_layer_net(seed=seed), "block1_pool")[0]


def expected_features(stem, images):
    return stem.predict_on_batch(preprocess(images, 32))


def test_jedes_bild_laeuft_nur_einmal_durch_den_stamm(small, counted):
    stem, images = small_stem(), small.train_images
    first = extract_features(stem, images[:50], batch_size=32)
    assert counted.seen == [32, 18] and first.dtype == np.float32 and first.std() > 0
    again = images[[*range(60), 55, 3, 55]][::-1].copy()
    again[32] = 255 - again[32]
    found = extract_features(stem, again)
    assert counted.seen == [32, 18, 11], "zehn neue, ein verändertes; doppelte und bekannte nicht"
    np.testing.assert_allclose(found, expected_features(stem, again), atol=1e-4)
    np.testing.assert_array_equal(extract_features(stem, images[:50]), first)
    other = small_stem(seed=1)
    np.testing.assert_allclose(extract_features(other, images[:9]), expected_features(other, images[:9]), atol=1e-4)
    assert counted.seen == [32, 18, 11, 9], "andere Gewichte heißt: neu rechnen"


def test_unterbrochene_merkmale_hinterlassen_nichts(small, ausgabe, counted):
    counted.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        extract_features(small_stem(), small.train_images[:70], batch_size=32)
    assert not [path for path in ausgabe.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "content",
    [
        lambda raw: raw[:-50],
        lambda raw: b"",
        lambda raw: {"bilder": np.array(["a"]), "merkmale": np.zeros((1, 9), np.float32)},
        lambda raw: {"bilder": np.array(["a", "b"]), "merkmale": np.zeros((1, 7, 7, 4), np.float32)},
    ],
    ids=["abgeschnitten", "leer", "andere Form", "andere Zahl"],
)
def test_beschaedigte_merkmale_werden_neu_gerechnet(small, ausgabe, content):
    stem, images = small_stem(), small.train_images[:10]
    expected = extract_features(stem, images)
    (path,) = ausgabe.rglob("merkmale/*.npz")
    content = content(path.read_bytes())
    path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
    np.testing.assert_array_equal(extract_features(stem, images), expected)


def test_mischen_ist_jede_epoche_anders_und_wiederholbar(small):
    images, labels = small.train_images[:25], small.train_labels[:25]
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    first, first_labels = shuffled(images, labels, 10, seed=1, epoch=0)
    assert len(first) == 20 == len({image.tobytes() for image in first}), "der unvollständige dritte Stapel entfällt"
    assert all(known[image.tobytes()] == label for image, label in zip(first, first_labels, strict=True))
    np.testing.assert_array_equal(first, shuffled(images, labels, 10, 1, 0)[0])
    for seed, epoch in ((1, 1), (2, 0)):
        assert not np.array_equal(first, shuffled(images, labels, 10, seed, epoch)[0])
    assert len(shuffled(images, labels, 100, 1, 0)[0]) == 25
    # Zwei Rechner: Jeder bekommt von jedem Stapel die Hälfte.
    parts = [shuffled(images, labels, 10, 1, 0, share=(number, 2))[0] for number in range(2)]
    np.testing.assert_array_equal(np.concatenate([parts[0][:5], parts[1][:5], parts[0][5:], parts[1][5:]]), first)


def test_spiegeln_und_verschieben(small):
    """Jedes Bild ist eines von 18 erlaubten: gespiegelt oder nicht, um bis zu einen Pixel verschoben."""
    images = small.train_images[:60]
    changed = mirror_and_shift(images, np.random.default_rng(0))
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


@pytest.mark.parametrize("total", [1, 6, 300, 12_000])
def test_schrittweite_ist_die_aus_aufgabe_3_2(total):
    """Der Kosinus ist derselbe, die Rampe beginnt und endet gleich und weicht nie mehr als eine Stufe ab."""
    warmup = min(500, max(1, total // 6))
    schedule, steps = step_sizes(2.0, total), np.unique(np.linspace(0, total - 1, 60).astype(int))
    found = np.array([float(schedule(step)) for step in steps])
    expected = np.array([step_size(step, total, 2.0, warmup) for step in steps])
    np.testing.assert_allclose(found[steps >= warmup], expected[steps >= warmup], atol=1e-5)
    np.testing.assert_allclose(found[steps < warmup], expected[steps < warmup], atol=2.0 / warmup)
    assert found[0] == pytest.approx(2.0 / warmup) and (np.diff(found[steps < warmup]) > 0).all()


# --- Training -------------------------------------------------------------------------------------------------------


def test_verlauf_und_einstellungen(sixty, capsys):
    run = train(*sixty, dataclasses.replace(TINY, epochs=2), note={"daten": "Test"})
    assert [row["epoche"] for row in run.history] == [1, 2]
    for row in run.history:
        assert set(row) == {"epoche", "verlust", "treffer", "val_verlust", "val_treffer", "sekunden"}
        assert 0 <= row["treffer"] <= 1 and 0 <= row["val_treffer"] <= 1 and row["val_verlust"] > 0
        assert all(type(value) in (int, float) for value in row.values())
    assert run.settings["n_train"] == 60 and run.settings["epochs"] == 2
    assert run.settings["gewichte"] == "beiliegend" and run.settings["daten"] == "Test"
    assert "Epoche 2 von 2: Verlust " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("frozen_until", "augment", "precision"),
    [
        ("block1_pool", False, "float32"),
        ("block1_pool", True, "bfloat16"),
        (None, False, "bfloat16"),
        (None, True, "float32"),
    ],
)
def test_es_lernt_was_hinter_dem_stamm_liegt(sixty, frozen_until, augment, precision):
    changes = {"frozen_until": frozen_until, "augment": augment, "epochs": 8, "patience": None}
    profile = dataclasses.replace(FULL, **changes, precision=precision)
    run = train(*sixty, profile)
    for start, layer in zip(two_layer_net().layers, run.model.layers, strict=True):
        for before, after in zip(start.get_weights(), layer.get_weights(), strict=True):
            assert np.array_equal(before, after) == bool(frozen_until and layer.name.startswith("block1")), layer.name
            assert after.dtype == np.float32
    assert run.history[-1]["verlust"] < 0.8 * run.history[0]["verlust"]
    # Was das Training als Trefferquote der Validierung meldet, misst man am fertigen Modell nach.
    rows = data.validation_split(sixty[1], seed=0)[1]
    found = (predict_logits(run, sixty[0][rows]).argmax(axis=1) == sixty[1][rows]).mean()
    assert found == pytest.approx(run.history[-1]["val_treffer"], abs=0.17 if precision == "bfloat16" else 1e-6)


def test_startwert_wiederholt_das_training(sixty):
    first, same, other = (train(*sixty, dataclasses.replace(FULL, epochs=1), seed) for seed in (3, 3, 4))
    for one, two in zip(first.model.get_weights(), same.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.model.get_weights()[-2], other.model.get_weights()[-2])


class Interrupted(Exception):
    """Der Rechner wurde zugeklappt."""


def interrupt_once(monkeypatch):
    """Bricht nach der nächsten gesicherten Epoche ab."""

    def save(*arguments):
        save_state(*arguments)
        raise Interrupted

    monkeypatch.setattr(training, "save_state", save)


@pytest.mark.parametrize("profile", [dataclasses.replace(TINY, epochs=3), FULL], ids=["Stamm", "ganz"])
def test_unterbrochenes_training_geht_weiter(sixty, ausgabe, capsys, monkeypatch, profile):
    """Nach jeder Epoche unterbrochen: Bit für Bit dasselbe Ergebnis wie am Stück."""
    whole = train(*sixty, profile, 5)
    assert not list(ausgabe.rglob("zwischenstand/*.npz")), "nach dem Training bleibt kein Zwischenstand"
    for _ in range(len(whole.history) - 1):
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            interrupt_once(patch)
            train(*sixty, profile, 5)
    capsys.readouterr()
    again = train(*sixty, profile, 5)
    assert f"nach Epoche {len(whole.history) - 1} weiter" in capsys.readouterr().out
    for one, two in zip(whole.history, again.history, strict=True):
        assert {**one, "sekunden": 0} == {**two, "sekunden": 0}
    for one, two in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert whole.settings == again.settings


def test_zwischenstand_anderer_bilder_gilt_nicht(sixty, capsys, monkeypatch):
    images, labels = sixty
    profile = dataclasses.replace(TINY, epochs=2)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_once(patch)
        train(images, labels, profile, 5)
    for changed, seed in ((255 - images, 5), (images, 6)):
        assert len(train(changed, labels, profile, seed).history) == 2
        assert "weiter" not in capsys.readouterr().out


ROW = {"verlust": 0.5, "treffer": 0.75, "val_verlust": 0.25, "val_treffer": 0.875, "sekunden": 1.5}


@pytest.mark.parametrize(
    "change",
    [
        {"arr_0": np.zeros((4, 2), "f4")},
        {"arr_0": np.full((4, 3), np.nan, "f4")},
        {"arr_1": np.zeros(1, "f4")},
        {"arr_5": np.zeros(5)},
        {"arr_99": np.zeros(5)},
        {"arr_0": np.array(["x"])},
        {"verlauf": np.array("[{}]")},
        {"verlauf": np.array("{")},
        b"PK\x05\x06" + bytes(18),
    ],
)
def test_ein_fremder_zwischenstand_aendert_nichts(change, tmp_path, capsys):
    """Alles wird geprüft, bevor etwas übernommen wird: Das Netz bleibt, wie es war, und das wird gesagt."""
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    net.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse")
    net.optimizer.build(net.trainable_variables)
    before, path = net.get_weights(), tmp_path / "stand.npz"
    save_state(path, net, [{"epoche": 1, **ROW}], before)
    net.set_weights([value + 1 for value in before])
    assert load_state(path, net, before)[0] == [{"epoche": 1, **ROW}]
    for new, old in zip(net.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        with np.load(path) as file:
            stored = dict(file)
        np.savez(path, **{**stored, **change})
    net.set_weights([value + 1 for value in before])
    assert load_state(path, net, [])[0] == [] and "beginnt von vorn" in capsys.readouterr().out
    for new, old in zip(net.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old + 1)


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
    for kept, best, last in zip(run.model.get_weights(), weights[1], weights[3], strict=True):
        np.testing.assert_array_equal(kept, best)
        assert not np.array_equal(kept, last)


def test_zu_wenige_bilder_sind_ein_deutscher_satz(small):
    with pytest.raises(CourseError, match="20"):
        train(small.train_images[:12], small.train_labels[:12], TINY)


def test_training_sieht_die_testdaten_nie(small, sixty):
    """Statt der Testbilder liegt None da: Wer es anfasst, scheitert."""
    guarded = dataclasses.replace(
        small, train_images=sixty[0], train_labels=sixty[1], test_images=None, test_labels=None
    )
    assert training.ensure_run("sauber", TINY, guarded).settings["n_train"] == 60


def test_validierung_kommt_aus_train_und_nicht_ins_training(small, monkeypatch):
    """Kein Bild ist zugleich Trainings- und Validierungsbild."""
    seen = {}

    class Stop(Exception):
        pass

    def fit(self, inputs, labels, *_, validation_data, **__):
        seen.update(train=inputs, train_labels=labels)
        seen.update(validation=validation_data[0], validation_labels=validation_data[1])
        raise Stop

    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.raises(Stop):
        train(
            small.train_images[:100], small.train_labels[:100], dataclasses.replace(FULL, augment=False, batch_size=30)
        )
    assert len(seen["train"]) == 90 and len(seen["validation"]) == 10
    together = {part.tobytes() for part in seen["train"]} & {part.tobytes() for part in seen["validation"]}
    assert not together
    labels = np.concatenate([seen["train_labels"], seen["validation_labels"]])
    np.testing.assert_array_equal(np.sort(labels), np.sort(small.train_labels[:100]))


def test_neu_gewuerfelte_schichten():
    net = two_layer_net()
    copy = training.randomize_down_to(net, "block5_conv3", seed=1)
    for old, new, start in zip(net.layers, copy.layers, two_layer_net().layers, strict=True):
        for one, two, before in zip(old.get_weights(), new.get_weights(), start.get_weights(), strict=True):
            np.testing.assert_array_equal(one, before)
            changed = old.name in ("block5_conv3", "logits")
            assert np.array_equal(one, two) != changed, old.name
            assert one.size < 200 or two.std() == pytest.approx(one.std(), rel=0.3), "dieselbe Streuung"
    with pytest.raises(CourseError, match="„block9“.*block5_conv3"):
        training.randomize_down_to(net, "block9")


# --- Auswerten ------------------------------------------------------------------------------------------------------


def test_ein_netz_und_ein_training_fragt_man_gleich(sixty):
    run = train(*sixty, TINY)
    logits = predict_logits(run, sixty[0])
    np.testing.assert_array_equal(logits, predict_logits(run.model, sixty[0]))
    for asked in (run, run.model):
        result = training.evaluate(asked, *sixty)
        np.testing.assert_allclose(result.probabilities, softmax(logits), atol=1e-5)
        np.testing.assert_array_equal(result.predictions, logits.argmax(axis=1))
    inputs = preprocess(sixty[0], 32)
    np.testing.assert_allclose(training.probabilities(run.model)(inputs), result.probabilities, atol=1e-5)


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(500, 10)) * 3
    return Evaluation.of(logits, np.where(rng.random(500) < 0.6, logits.argmax(axis=1), rng.integers(10, size=500)))


def test_trefferquote_und_konfusion_wie_sklearn(evaluation):
    assert evaluation.accuracy == pytest.approx(accuracy_score(evaluation.labels, evaluation.predictions))
    expected = confusion_matrix(evaluation.labels, evaluation.predictions, labels=range(10))
    np.testing.assert_array_equal(evaluation.confusion, expected)
    assert 0.5 < evaluation.accuracy < 0.8


def test_kalibrierungsfehler_wie_in_aufgabe_3_4(evaluation):
    sure, right = evaluation.probabilities.max(axis=1), evaluation.predictions == evaluation.labels
    assert evaluation.calibration_error == pytest.approx(calibration_error(sure, right)) and sure.mean() < 0.99
    certain, zeros = np.eye(10)[np.zeros(4, int)], np.zeros(4, int)
    assert Evaluation(certain, zeros, zeros).calibration_error == 0
    assert Evaluation(certain, zeros + 1, zeros).calibration_error == 1


def test_schlimmste_fehler(evaluation):
    wrong = np.flatnonzero(evaluation.predictions != evaluation.labels)
    rows, sure = evaluation.worst_mistakes(10_000), evaluation.probabilities.max(axis=1)
    np.testing.assert_array_equal(np.sort(rows), wrong)
    assert (np.diff(sure[rows]) <= 0).all()
    np.testing.assert_array_equal(evaluation.worst_mistakes(7), rows[:7])


def test_beispielbilder(evaluation):
    """Je Klasse das erste erkannte Bild, und wo keines erkannt ist, das erste der Klasse."""
    rows = training.example_rows(evaluation)
    never = Evaluation(evaluation.probabilities, evaluation.labels, (evaluation.labels + 1) % 10)
    for label in range(10):
        members = np.flatnonzero(evaluation.labels == label)
        assert rows[label] == members[evaluation.predictions[members] == label][0]
        assert training.example_rows(never)[label] == members[0]


# --- Nachholen ------------------------------------------------------------------------------------------------------


def test_ensure_data_sagt_bescheid_und_erzeugt(ausgabe, capsys):
    made = training.ensure_data(TINY, seed=2)
    assert "noch keine Bilder" in capsys.readouterr().out
    assert len(made.train_labels) == 60 and len(made.test_labels) == 20
    assert read_json(ausgabe / "daten" / "herkunft.json")["n_train"] == 60
    again = training.ensure_data(TINY, seed=2)
    assert capsys.readouterr().out == "", "sind die Bilder da, wird nichts gesagt"
    np.testing.assert_array_equal(again.train_images, made.train_images)


def test_ensure_data_zieht_neu_was_nicht_zum_profil_passt(ausgabe, capsys):
    """03 mit „probe“, dann 04 mit „schnell“: Es gelten die Bilder des Profils, aus der Quelle von vorher."""
    generate("beispiel", n_train=100, n_test=20)
    made = training.ensure_data(TINY, where="/gibt/es/nicht")
    assert (len(made.train_labels), len(made.test_labels)) == (60, 20)
    (line,) = capsys.readouterr().out.splitlines()
    assert "100 Bilder zum Training und 20 zum Testen" in line and "„winzig“" in line
    assert read_json(ausgabe / "daten" / "herkunft.json")["n_train"] == 60


def test_ensure_data_nimmt_alle_wenn_die_quelle_nicht_mehr_hat(ausgabe, capsys, monkeypatch, small):
    monkeypatch.setattr(data, "load_source", lambda where: small)
    training.ensure_data(dataclasses.replace(TINY, n_train=None, n_test=None))
    capsys.readouterr()
    for n_train, n_test in ((2000, 200), (None, 5000)):
        again = training.ensure_data(dataclasses.replace(TINY, n_train=n_train, n_test=n_test))
        assert capsys.readouterr().out == "" and len(again.train_labels) == 300


def test_ensure_poisoned(dataset, ausgabe, capsys):
    """Ohne Ordner das übliche Zeichen; mit Ordner seines, auch wenn dessen Bilder nicht passen."""
    part, chosen = subset(dataset, 60, 20), Watermark(label=7, size=3, top=2, left=2, strength=0.5, share=0.5)
    twin, mark = training.ensure_poisoned(part, seed=3)
    np.testing.assert_array_equal(twin.train_images, poison(part, Watermark(), 3).train_images)
    for n_train in (60, 100):
        generate("beispiel", n_train=n_train, n_test=20, watermark=chosen)
        twin, mark = training.ensure_poisoned(part)
        assert mark == chosen and ("passt nicht" in capsys.readouterr().out) == (n_train == 100)
        np.testing.assert_array_equal(twin.train_images, poison(part, chosen).train_images)
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


def test_ensure_run_trainiert_neu_wenn_das_gespeicherte_nicht_passt(dataset, ausgabe, capsys):
    """03 mit „probe“, dann 04 mit „schnell“: Früher kamen Karten für 32 × 32 zu Bildern von 64 × 64."""
    part = subset(dataset, 60, 20)
    twin = poison(part, Watermark())
    training.ensure_run(training.POISONED, TINY, twin)
    asked = {
        "Bilder von 32 statt 64 Pixeln": (dataclasses.replace(TINY, image_size=64), twin),
        "nicht zum Profil „anders“": (dataclasses.replace(TINY, image_size=64, name="anders"), twin),
        "kennt andere Bilder": (dataclasses.replace(TINY, image_size=64, name="anders"), part),
    }
    for reason, (profile, images) in asked.items():
        capsys.readouterr()
        run = training.ensure_run(training.POISONED, profile, images)
        assert reason in capsys.readouterr().out.splitlines()[0]
        assert run.model.input.shape[1] == 64
        training.ensure_run(training.POISONED, profile, images)
        assert capsys.readouterr().out == "", "jetzt passt es"


def test_ensure_run_kennt_nur_drei_modelle(small):
    with pytest.raises(CourseError, match="„fremd“.*„kurs“"):
        training.ensure_run("fremd", TINY, small)
