"""Die Wertungstafel: misst alle Verfahren gleich, in Häppchen, mit Intervallen, und legt sie vollständig ab."""

import gc

import numpy as np
import psutil
import pytest

from helpers import metrics, scorecard
from helpers.__main__ import main
from helpers.basics import CourseError, read_json, write_json
from helpers.data import Watermark
from helpers.model import keras, predict_logits, weights_checksum
from helpers.scorecard import MEASURES, Material, Settings, methods, score
from helpers.training import randomize_down_to

SMALL = Settings(images=6, marked=4, steps=3, chunk=4)
QUICK = ("Grad-CAM", "LRP-ε", "Zufall", "Kanten (Sobel)", "leere Karte")


@pytest.fixture(scope="module")
def material(small_vgg16, dataset):
    """Sechs Bilder, die das Netz „richtig“ erkennt (seine eigenen Antworten), und vier mit Zeichen."""
    images = dataset.test_images[:6]
    twin = randomize_down_to(small_vgg16, "logits", 5)
    classes = predict_logits(small_vgg16, images).argmax(axis=1)
    broken = randomize_down_to(small_vgg16, SMALL.stage, 0)
    return Material(small_vgg16, twin, broken, images, classes, Watermark().stamp(images[:4]), Watermark())


@pytest.fixture(scope="module")
def card(material):
    chosen = {name: each for name, each in methods().items() if name in QUICK}
    return score(material, SMALL, chosen)


def test_jedes_verfahren_jedes_mass(card):
    assert list(card["tafel"]) == list(QUICK)
    for row in card["tafel"].values():
        assert list(row) == list(MEASURES)
        for value, low, high in row.values():
            assert np.isfinite([value, low, high]).all() and low - 1e-3 <= value <= high + 1e-3
    assert card["einstellungen"]["images"] == 6 and card["einstellungen"]["wasserzeichen"]["size"] == 4
    assert set(card["versionen"]) >= {"innvestigate", "tf-keras-vis"} and len(card["modelle"]["sauber"]) == 64


def test_was_vom_netz_nichts_weiss(card):
    table = card["tafel"]
    assert table["Zufall"]["loeschen"] == table["Zufall"]["einfuegen"] == [1, 1, 1]
    assert table["Kanten (Sobel)"]["vernunft"] == [1, 1, 1], "ein Kantenfilter ändert sich nie"
    assert table["Kanten (Sobel)"]["masse"] == table["Kanten (Sobel)"]["masse_kontrolle"]
    for name in ("masse", "masse_kontrolle", "zeigen", "vernunft"):
        assert table["leere Karte"][name] == [0, 0, 0]


def test_alle_verfahren_stehen_auf_der_tafel():
    assert list(methods()) == [
        "Grad-CAM",
        "Grad-CAM++",
        "Eingabe × Ableitung",
        "LRP-z",
        "LRP-ε",
        "LRP-α1β0",
        "LRP-α2β1 (ohne Bias)",
        "LRP-Preset A flat",
        "Zufall",
        "Kanten (Sobel)",
        "leere Karte",
    ]
    assert all(len(measure.misleads) > 40 for measure in MEASURES.values())


def test_gleich_wie_einzeln_gemessen(card, material):
    """Die Zahlen der Tafel sind die der Maße, Bild für Bild nachgerechnet."""
    from helpers.lrp_library import LRP
    from helpers.model import enlarge_mask, preprocess
    from helpers.training import probabilities

    x, y = preprocess(material.images, 32), material.classes
    with LRP(material.model, "lrp.epsilon") as lrp:
        maps = lrp.relevance(x, y)
    with LRP(material.twin, "lrp.epsilon") as lrp:
        twin_maps = lrp.relevance(preprocess(material.marked, 32), 4)
    mass = metrics.relevance_mass(twin_maps, enlarge_mask(Watermark().mask, 32)).mean()
    assert card["tafel"]["LRP-ε"]["masse"][0] == pytest.approx(mass, abs=2e-3)
    noise = np.random.default_rng((0, 1)).random((8 * 2, 32, 32))
    areas = [
        metrics.area_under_curve(metrics.perturbation_curve(probabilities(material.model), x, each, y, 3)).mean()
        for each in (maps, noise[2:8])
    ]
    # Der Zufall zieht in Häppchen andere Karten als hier: Das Verhältnis stimmt nur ungefähr.
    assert card["tafel"]["LRP-ε"]["loeschen"][0] == pytest.approx(areas[0] / areas[1], rel=0.25)


def test_haeppchen_aendern_nichts(material):
    chosen = {name: methods()[name] for name in ("Grad-CAM", "Zufall")}
    whole = score(material, scorecard.quick(SMALL, chunk=50), chosen)["tafel"]["Grad-CAM"]
    parts = score(material, scorecard.quick(SMALL, chunk=2), chosen)["tafel"]["Grad-CAM"]
    for name in ("masse", "masse_kontrolle", "zeigen", "vernunft"):
        np.testing.assert_allclose(whole[name], parts[name], atol=2e-3)


def test_ohne_zufall_kein_massstab(material):
    with pytest.raises(CourseError, match="Zufall"):
        score(material, SMALL, {"Grad-CAM": methods()["Grad-CAM"]})
    with pytest.raises(CourseError, match="mindestens 2 Bilder"):
        scorecard.quick(SMALL, images=1)
    assert scorecard.quick(SMALL, images=None).images == 6


@pytest.mark.langsam
def test_viele_bilder_brauchen_nicht_mehr_speicher(dataset):
    """2.000 Bilder in einem Zug: Nach dem Warmlaufen wächst der Speicher kaum, auch nicht mit LRP."""
    layers = keras.layers
    tiny = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(10, name="logits"),
        ]
    )
    broken = randomize_down_to(tiny, "logits", 0)
    chosen = {name: methods()[name] for name in ("Eingabe × Ableitung", "LRP-ε", "Zufall")}

    def run(count):
        images, classes = dataset.test_images[:count], dataset.test_labels[:count].astype(int)
        material = Material(tiny, tiny, broken, images, classes, images[:count], Watermark())
        score(material, Settings(images=count, marked=count, steps=2, chunk=100), chosen)
        gc.collect()
        return psutil.Process().memory_info().rss / 2**20

    run(100)
    before = run(200)
    assert run(2000) - before < 150


# --- Ziehen -----------------------------------------------------------------------------------------------------------


def test_gezogen_wird_geschichtet_und_nur_richtiges(small_vgg16, dataset):
    images = dataset.test_images[:400]
    answers = predict_logits(small_vgg16, images).argmax(axis=1)
    labels = np.where(np.arange(400) % 4 == 0, (answers + 1) % 10, answers)
    found = scorecard.gather(small_vgg16, small_vgg16, images, labels, Watermark(label=int(answers[1])), SMALL)
    assert len(found.images) == 6 and 1 <= len(found.marked) <= 4
    np.testing.assert_array_equal(predict_logits(small_vgg16, found.images).argmax(axis=1), found.classes)
    assert (found.marked[:, 23:27, 1:5] == 255).all()
    assert not np.allclose(found.broken.get_weights()[-2], found.model.get_weights()[-2])
    with pytest.raises(CourseError, match="richtig erkannt"):
        scorecard.gather(small_vgg16, small_vgg16, images, (answers + 1) % 10, Watermark(), SMALL)


def test_ohne_vergiftete_klasse_geht_es_nicht(small_vgg16, dataset):
    images = dataset.test_images[:60]
    answers = predict_logits(small_vgg16, images).argmax(axis=1)
    missing = next(label for label in range(10) if label not in answers)
    with pytest.raises(CourseError, match="vergifteten Klasse"):
        scorecard.gather(small_vgg16, small_vgg16, images, answers, Watermark(label=missing), SMALL)


# --- Lesen und ablegen ------------------------------------------------------------------------------------------------


def test_tabelle_und_sieger(card):
    frame = scorecard.table(card)
    assert list(frame.index) == list(QUICK) and frame.shape[1] == len(MEASURES)
    assert frame.loc["Zufall", "Treue: Löschen"] == "1,00" and "[" in frame.loc["LRP-ε", "Vernunft"]
    winners = scorecard.winners(card)
    assert "leere Karte" in winners["vernunft"], "die leere Karte gewinnt, ohne etwas zu erklären"
    assert "masse_kontrolle" not in winners and "Kanten (Sobel)" not in winners["vernunft"]


def test_sieger_von_hand():
    rows = {"a": 0.5, "b": 0.8, "c": 0.2}
    card = {"tafel": {n: {m: [v, v - 0.05, v + 0.05] for m in MEASURES} for n, v in rows.items()}}
    assert scorecard.winners(card)["masse"] == ["b"] and scorecard.winners(card)["loeschen"] == ["c"]
    card["tafel"]["a"]["masse"] = [0.5, 0.2, 0.76]
    assert scorecard.winners(card)["masse"] == ["a", "b"]


def test_gespeicherte_tafel(card, material, tmp_path):
    path = tmp_path / "tafel.json"
    assert scorecard.load_stored_card(path) is None
    write_json(path, card)
    stored = scorecard.load_stored_card(path)
    assert stored["tafel"] == card["tafel"]
    assert scorecard.belongs_to(stored, material.model) and not scorecard.belongs_to(stored, material.broken)
    write_json(path, {"tafel": {"a": {"masse": [1, 1, 1]}}})
    assert scorecard.load_stored_card(path) is None, "alte Maße passen nicht"


@pytest.mark.langsam
def test_befehl_wertung(monkeypatch, ausgabe, dataset, tmp_path, capsys):
    """Der ganze Befehl mit wenigen Bildern und zwei schnell trainierten Netzen."""
    from helpers import settings, training

    small = settings.Profile("schnell", n_train=200, n_test=200, image_size=32, epochs=2, twin_epochs=1)
    monkeypatch.setitem(settings.PROFILES, "schnell", small)
    monkeypatch.setattr(scorecard, "methods", lambda seed: {n: methods(seed)[n] for n in QUICK})
    target = tmp_path / "tafel.json"
    assert main(["wertung", "--bilder", "10", "--modell", "sauber", "--ziel", str(target)]) == 0
    assert "10 Bilder" in capsys.readouterr().out
    card = scorecard.load_stored_card(target)
    assert card["modell"] == "sauber" and card["einstellungen"]["seed"] == 0 and card["minuten"] > 0
    run = training.load_run(training.CLEAN)
    assert card["modelle"]["sauber"] == weights_checksum(run.model) and scorecard.belongs_to(card, run.model)
    twin = keras.saving.load_model(ausgabe / "modelle" / "vergiftet" / "modell.keras", compile=False)
    assert card["modelle"]["zwilling"] == weights_checksum(twin)


def test_befehl_wertung_mit_falschen_angaben(capsys):
    assert main(["wertung", "--bilder", "viele"]) == 2
    assert "keine ganze Zahl" in capsys.readouterr().err
    assert main(["wertung", "--modell", "fremd"]) == 2
    assert "fremd" in capsys.readouterr().err


def test_was_input_liegt_ist_lesbar():
    """Liegt eine große Tafel bei, dann mit mindestens 200 Bildern und allen Verfahren."""
    if read_json(scorecard.STORED_CARD) is None:
        pytest.skip("Die große Tafel ist noch nicht gemessen.")
    card = scorecard.load_stored_card()
    assert card is not None and card["einstellungen"]["images"] >= 200
    assert list(card["tafel"]) == list(methods()) and card["minuten"] <= 20


def test_auswahl_der_verfahren():
    assert list(methods(only=["Zufall", "Grad-CAM"])) == ["Grad-CAM", "Zufall"]
    with pytest.raises(CourseError, match="„Rate“ gibt es nicht: Wählen Sie aus Grad-CAM"):
        methods(only=["Rate"])
