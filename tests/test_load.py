"""Last: viele zugleich und sehr viele nacheinander. Kein Fehler, dieselben Ergebnisse, der Speicher bleibt flach.

Die großen Zahlen misst ``tests/benchmark/last.py`` (30 Prozesse), hier läuft die kleine.
"""

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from benchmark import last
from notebook_factory import write_small_notebook

from helpers.basics import ROOT, read_json
from helpers.gradcam import grad_cam
from helpers.lrp import relevance
from helpers.model import keras, preprocess

REQUESTS = 30


@pytest.fixture(scope="module")
def small_net():
    """Ein kleines Netz mit zwei Faltungen: Es geht um die Zahl der Anfragen, nicht um ihre Größe."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, activation="relu", name="eins"),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, activation="relu", name="zwei"),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(10, name="logits"),
        ]
    )


def megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def test_thirty_requests_at_once_give_what_each_gives_alone(small_net, dataset):
    inputs = preprocess(dataset.test_images[: 4 * REQUESTS], 32)
    classes = dataset.test_labels[: 4 * REQUESTS].astype(int)

    def explain(number):
        part = slice(4 * number, 4 * number + 4)
        cams = grad_cam(small_net, inputs[part], classes[part], layer="zwei")
        return cams, relevance(small_net, inputs[part], classes[part])

    alone = [explain(number) for number in range(REQUESTS)]
    with ThreadPoolExecutor(REQUESTS) as pool:
        together = list(pool.map(explain, range(REQUESTS)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], other[0], atol=1e-5)
        np.testing.assert_allclose(one[1], other[1], atol=1e-5 * np.abs(one[1]).max())


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.alles)])
def test_many_images_need_no_more_memory_than_their_maps(small_net, dataset, count):
    """Testbilder durch Grad-CAM und LRP, in Häppchen von 500: Nach den ersten beiden wächst nichts mehr."""
    checked = np.random.default_rng(0).choice(count, 5, replace=False)
    kept, levels = {}, []
    for start in range(0, count, 500):
        inputs = preprocess(dataset.test_images[start : start + 500], 32)
        classes = dataset.test_labels[start : start + 500].astype(int)
        cams, maps = grad_cam(small_net, inputs, classes, layer="zwei"), relevance(small_net, inputs, classes)
        assert np.isfinite(cams).all() and np.isfinite(maps).all()
        kept |= {row: (cams[row - start], maps[row - start]) for row in checked if start <= row < start + 500}
        levels.append(megabytes())
    for row in checked:
        inputs, label = preprocess(dataset.test_images[row : row + 1], 32), int(dataset.test_labels[row])
        np.testing.assert_allclose(grad_cam(small_net, inputs, label, layer="zwei")[0], kept[row][0], atol=1e-4)
        alone = relevance(small_net, inputs, label)[0]
        np.testing.assert_allclose(alone, kept[row][1], atol=1e-4 * np.abs(alone).max())
    print(f"{count} Bilder: {levels[1]:.0f} MB nach 1.000, {levels[-1]:.0f} MB am Ende")
    assert max(levels[2:]) - levels[1] < 60


@pytest.mark.alles
def test_three_courses_at_once_do_not_disturb_each_other(tmp_path):
    """Drei Läufe von ``kurs`` auf einem Ordner von Notebooks, jeder mit eigener Ausgabe."""
    write_small_notebook(tmp_path / "notebooks", "01_Daten", "profil = 'schnell'\nzahl = 0", "print('Zahl', zahl)")
    code = (
        "import os, sys\n"
        "os.environ['KURS_AUSGABE'] = sys.argv[1]\n"
        "from helpers.workshop.course import run_course\n"
        "run_course(only=['01'], parameters={'zahl': int(sys.argv[2])}, notebooks_dir=sys.argv[3])\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / f"aus{number}"), str(number), str(tmp_path / "notebooks")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for number, process in enumerate(running):
        out, err = process.communicate(timeout=180)
        assert (process.returncode, err) == (0, ""), out + err
        folder = tmp_path / f"aus{number}"
        assert f"Zahl {number}" in (folder / "notebooks" / "01_Daten.ipynb").read_text(encoding="utf-8")
        assert read_json(folder / "kennzahlen.json")["minuten"].keys() == {"01_Daten"}
        assert (folder / "bericht.html").is_file()
        assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.alles
@pytest.mark.parametrize(
    ("kernel", "bad", "failed", "same"),
    [
        ("print('gleich')", False, "0", "ja"),
        ("import os; print(os.getpid())", True, "0", "NEIN"),
        ("raise SystemExit(3)", True, "2", "ja"),
    ],
)
def test_the_load_table_tells_good_from_bad(monkeypatch, capsys, kernel, bad, failed, same):
    monkeypatch.setattr(last, "KERNEL", kernel)
    assert last.kernels(2) is bad
    name, _seconds, _memory, *rest = capsys.readouterr().out.strip("| \n").split(" | ")
    assert (name, *rest) == ("2 × Erklärung", failed, same)
