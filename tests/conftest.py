"""Gemeinsame Vorrichtungen: echte Bilder, echte ImageNet-Gewichte, ein Ausgabeordner auf Zeit."""

import os
import signal
import sys
from pathlib import Path

# Im Hintergrund gestartet, erbt pytest ein taubes Strg+C und gäbe es an die Prozesse weiter, die es prüfen sollen.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Vor jedem Import von matplotlib und TensorFlow: keine Fenster, und helpers auch ohne „python -m“ finden.
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
if "PYTEST_XDIST_WORKER" in os.environ:  # zwei Testprozesse auf zwei Kernen: Mehr Fäden stünden einander im Weg
    os.environ.update(ONE_THREAD)

import hashlib  # noqa: E402

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytest  # noqa: E402

from helpers import data  # noqa: E402  (helpers setzt, was TensorFlow vor seinem Import sehen muss)
from helpers.inner import files  # noqa: E402


def snapshot(folder) -> dict:
    """Jede Datei unter ``folder`` mit ihrer Prüfsumme, jeder Ordner mit None: Gleich heißt unverändert."""
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def of_classes(dataset, training, test=None):
    """Nur die Bilder dieser Klassen, wie in eigenen CSV-Dateien, denen Klassen fehlen."""
    fields = []
    for (images, labels), kept in zip(dataset.parts, (training, test or training), strict=True):
        rows = np.isin(labels, list(kept))
        fields += [images[rows], labels[rows]]
    return data.Dataset(*fields, dataset.source)


def table_of(images, labels) -> pd.DataFrame:
    """Als Tabelle im Kaggle-Format."""
    table = pd.DataFrame(images.reshape(len(images), -1), columns=[f"pixel{number}" for number in range(1, 785)])
    table.insert(0, "label", labels)
    return table


def write_csv(folder, dataset):
    folder.mkdir(exist_ok=True)
    for name, part in zip((files.CSV_NAMES[0], f"{files.CSV_NAMES[1]}.gz"), dataset.parts, strict=True):
        table_of(*part).to_csv(folder / name, index=False)  # packt selbst, wenn der Name so endet


def pytest_addoption(parser):
    parser.addoption("--alles", action="store_true", help="auch die langen Tests (Marke „alles“), etwa wöchentlich")


def pytest_configure(config):
    # Eigenschaften: täglich eine Stichprobe, mit --alles viele Beispiele.
    hypothesis.settings.register_profile("kurz", max_examples=15, deadline=None, derandomize=True)
    hypothesis.settings.register_profile("alles", max_examples=120, deadline=None)
    hypothesis.settings.load_profile("alles" if config.getoption("--alles") else "kurz")


def pytest_collection_modifyitems(config, items):
    """Ohne --alles fallen lange Tests weg. Dateien mit langsamen zuerst: Sonst wartet am Ende ein Prozess.

    Jeder Prozess bekommt gleich zwei Dateien: Hinter der längsten (nbval) steht deshalb eine kurze.
    """
    if not config.getoption("--alles"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("alles")])
        items[:] = [item for item in items if not item.get_closest_marker("alles")]
    slow = {item.path for item in items if item.get_closest_marker("langsam")}
    first = ("test_nbval.py", "test_course_runs.py", "test_house.py")
    rank = {name: place for place, name in enumerate(first)}
    items.sort(key=lambda item: (rank.get(item.path.name, len(first)), item.path not in slow))


def pytest_terminal_summary(terminalreporter, config):
    """Sagt am Ende, was nicht lief, und wie weit die eigenen Rechnungen von den Bibliotheken abweichen."""
    if not config.getoption("--alles"):
        terminalreporter.line("Ohne die langen Tests; auch sie führt aus: bash install.bash test --alles")
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    lines = {str(value) for report in reports for key, value in report.user_properties if key == "Abweichung"}
    if lines:
        terminalreporter.section("größte Abweichungen")
        terminalreporter.line("\n".join(sorted(lines)))


@pytest.fixture
def ausgabe(tmp_path, monkeypatch):
    """Ein leerer Ausgabeordner statt ``ausgabe/``."""
    folder = tmp_path / "ausgabe"
    monkeypatch.setenv("KURS_AUSGABE", str(folder))
    return folder


@pytest.fixture(scope="session")
def dataset():
    """Die mitgelieferte Stichprobe: 10.000 Trainings- und 10.000 Testbilder."""
    return data.load_source("beispiel")


@pytest.fixture(scope="session")
def small(dataset):
    """Geschichtet gezogen: 300 Trainings- und 200 Testbilder."""
    return data.subset(dataset, 300, 200, seed=1)


@pytest.fixture(scope="session")
def tiny(dataset):
    """40 Trainings- und 30 Testbilder aus der mitgelieferten Stichprobe."""
    return data.subset(dataset, 40, 30, seed=3)


@pytest.fixture(scope="session")
def vgg16():
    """VGG16 mit ImageNet-Gewichten und untrainiertem Kopf, Eingabe 64 × 64. Nur lesen, nicht trainieren."""
    from helpers.model import build_vgg16

    return build_vgg16()


@pytest.fixture(scope="session")
def small_vgg16():
    """Wie ``vgg16``, Eingabe 32 × 32: viermal so schnell."""
    from helpers.model import build_vgg16

    return build_vgg16(32)


@pytest.fixture(scope="session")
def tiny_nets(small):
    """Sauberes Netz und Zwilling, zwei Faltungen, Eingabe 32 × 32, in Sekunden gelernt; Schichten heißen wie in VGG16.

    Der Zwilling hat auf jedem Bild der Klasse 4 ein großes Zeichen gesehen: ``Watermark(size=6, top=21)``.
    """
    from helpers.model import keras, preprocess

    def learn(images):
        keras.utils.set_random_seed(0)
        inputs, layers = keras.Input((32, 32, 3)), keras.layers
        x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="block5_conv1")(inputs)
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name="block5_conv3")(x)
        x = layers.Flatten()(layers.MaxPooling2D()(x))
        net = keras.Model(inputs, layers.Dense(10, name="logits")(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.Adam(0.005), loss, jit_compile=False)
        net.fit(preprocess(images.train_images, 32) / 50, images.train_labels, epochs=8, verbose=0)
        first = net.get_layer("block5_conv1")
        first.set_weights([first.get_weights()[0] / 50, first.get_weights()[1]])  # gelernt wurde auf kleinen Zahlen
        return net

    return learn(small), learn(data.poison(small, data.Watermark(size=6, top=21)))
