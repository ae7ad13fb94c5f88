"""Derselbe Startwert ergibt dasselbe, und jedes Ergebnis sagt, woher es kommt."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import snapshot

from helpers import course_model, data
from helpers.basics import ROOT, read_figures, read_json, record
from helpers.inner import provenance
from helpers.model import keras, predict_logits, preprocess, save_run
from helpers.settings import get_profile
from helpers.training import train
from helpers.workshop.course_model import pack

FIELDS = {"seed", "profil", "daten_sha256", "commit", "versionen"}
TINY = get_profile("schnell", image_size=32, epochs=2, batch_size=10)

# Ein eigener Prozess je Lauf: Nichts bleibt vom vorigen im Speicher.
WHOLE_WAY = """
import hashlib, sys
import numpy as np
from helpers import data, training
from helpers.settings import get_profile
clean, folder = data.generate("beispiel", n_train=60, n_test=20, seed=3)
rows = np.concatenate(data.validation_split(clean.train_labels, seed=3))
profile = get_profile("schnell", image_size=32, epochs=1, batch_size=10)
run = training.train(clean.train_images, clean.train_labels, profile, 3)
answers = training.evaluate(run, clean.test_images, clean.test_labels).probabilities
print(*(hashlib.sha256(np.ascontiguousarray(values)).hexdigest() for values in (rows, answers)), data.checksum(clean))
"""


def test_same_seed_same_data_split_and_predictions(tmp_path, monkeypatch):
    results = []
    for name in ("a", "b"):
        monkeypatch.setenv("KURS_AUSGABE", str(tmp_path / name))
        done = subprocess.run([sys.executable, "-c", WHOLE_WAY], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(done.stdout.split()[-3:])
    assert results[0] == results[1], "Teilung, Antworten und Daten, Bit für Bit"
    assert snapshot(tmp_path / "a" / "daten") == snapshot(tmp_path / "b" / "daten")


def test_every_byte_of_the_data_counts(dataset):
    tiny = data.subset(dataset, 20, 10, 0)
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        changed = getattr(tiny, name).copy()
        changed.flat[0] ^= 1
        assert data.checksum(dataclasses.replace(tiny, **{name: changed})) != data.checksum(tiny)


def test_every_result_says_where_it_comes_from(ausgabe, tmp_path):
    tiny, _ = data.generate("beispiel", n_train=60, n_test=20, seed=5)
    run = train(tiny.train_images, tiny.train_labels, TINY, 5)
    save_run("sauber", run)
    record(test_accuracy=0.5)
    figures = read_json(ausgabe / "kennzahlen.json")["herkunft"]
    tree = read_json(ausgabe / "daten" / "herkunft.json")["herkunft"]
    model = read_json(ausgabe / "modelle" / "sauber" / "einstellungen.json")["herkunft"]
    assert set(figures) == set(tree) == set(model) == FIELDS
    assert figures["seed"] == tree["seed"] == model["seed"] == 5
    assert figures["profil"] == model["profil"] == "schnell"
    assert figures["daten_sha256"] == tree["daten_sha256"] == data.checksum(tiny)
    assert model["daten_sha256"] == data.training_checksum(tiny.train_images, tiny.train_labels)
    card = pack(run, {"modell": "Probe"}, tmp_path / "m.h5", tmp_path / "m.json")
    assert card["einstellungen"]["herkunft"] == model


def test_commit_and_changes_are_named_and_what_is_unknown_is_not_guessed(ausgabe, tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        return subprocess.check_output(["git", "-C", str(tmp_path), *identity, *arguments], text=True).strip()

    record()
    found = read_figures()["herkunft"]
    assert (found["seed"], found["profil"], found["daten_sha256"]) == ("unbekannt",) * 3
    commit = provenance.commit.__wrapped__
    assert commit(tmp_path) == "unbekannt", "kein Repository"
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "eins")
    assert commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == git("rev-parse", "HEAD") + "-verändert"
    (tmp_path / "kurs").mkdir()
    assert commit(tmp_path / "kurs") == "unbekannt", "nur in einem fremden Repository abgelegt"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "unbekannt", "kein git"


@pytest.mark.alles
def test_logits_stay_within_the_stated_tolerance_of_exact_arithmetic(dataset):
    """Jeder Rechner rundet anders, aber keiner weit weg von float64: Daran hängt die Toleranz zwischen Rechnern."""
    model = course_model.load_course_model().model
    images = dataset.test_images[:8]
    exact = tf.constant(preprocess(images), tf.float64)
    for layer in model.layers[1:]:
        weights = [tf.constant(value, tf.float64) for value in layer.get_weights()]
        if isinstance(layer, keras.layers.Conv2D):
            exact = tf.nn.relu(tf.nn.conv2d(exact, weights[0], 1, "SAME") + weights[1])
        elif isinstance(layer, keras.layers.MaxPooling2D):
            exact = tf.nn.max_pool2d(exact, 2, 2, "VALID")
        elif isinstance(layer, keras.layers.Flatten):
            exact = tf.reshape(exact, (len(images), -1))
        else:
            exact = exact @ weights[0] + weights[1]
    exact = exact.numpy()
    limit = provenance.TOLERANCE * np.abs(exact).max()
    for batch_size in (8, 3):
        assert np.abs(predict_logits(model, images, batch_size) - exact).max() <= limit / 2
