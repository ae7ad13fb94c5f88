"""Last: viele zugleich und sehr viele nacheinander. Kein Fehler, dieselben Ergebnisse, der Speicher bleibt flach."""

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from notebook_factory import write_small_notebook

from helpers.basics import ROOT, read_json
from helpers.gradcam import grad_cam
from helpers.lrp import relevance
from helpers.model import preprocess

REQUESTS = 30


def megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def test_thirty_requests_at_once_give_what_each_gives_alone(tiny_nets, dataset):
    inputs = preprocess(dataset.test_images[: 4 * REQUESTS], 32)
    classes = dataset.test_labels[: 4 * REQUESTS].astype(int)

    def explain(number):
        part = slice(4 * number, 4 * number + 4)
        cams = grad_cam(tiny_nets[0], inputs[part], classes[part])
        return cams, relevance(tiny_nets[0], inputs[part], classes[part])

    alone = [explain(number) for number in range(REQUESTS)]
    with ThreadPoolExecutor(REQUESTS) as pool:
        together = list(pool.map(explain, range(REQUESTS)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], other[0], atol=1e-5)
        np.testing.assert_allclose(one[1], other[1], atol=1e-5 * np.abs(one[1]).max())


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.alles)])
def test_many_images_need_no_more_memory_than_their_maps(tiny_nets, dataset, count):
    """Testbilder durch Grad-CAM und LRP, in Häppchen von 500: Nach den ersten beiden wächst nichts mehr."""
    levels = []
    for start in range(0, count, 500):
        inputs = preprocess(dataset.test_images[start : start + 500], 32)
        classes = dataset.test_labels[start : start + 500].astype(int)
        cams, maps = grad_cam(tiny_nets[0], inputs, classes), relevance(tiny_nets[0], inputs, classes)
        assert np.isfinite(cams).all() and np.isfinite(maps).all()
        levels.append(megabytes())
    print(f"{count} Bilder: {levels[1]:.0f} MB nach 1.000, {levels[-1]:.0f} MB am Ende")
    assert max(levels[2:]) - levels[1] < 60


@pytest.mark.alles
def test_three_courses_at_once_do_not_disturb_each_other(tmp_path):
    """Drei Läufe von ``kurs`` auf einem Ordner von Notebooks, jeder mit eigener Ausgabe."""
    write_small_notebook(tmp_path / "notebooks", "01_Daten", "profil = 'schnell'\nzahl = 0", "print('Zahl', zahl)")
    code = (
        "import sys\n"
        "from helpers.workshop.course import run_course\n"
        "run_course(only=['01'], parameters={'zahl': int(sys.argv[1])}, notebooks_dir=sys.argv[2])\n"
    )
    running = {}
    for number in "123":
        environment = {**os.environ, "KURS_AUSGABE": str(tmp_path / number)}
        command = [sys.executable, "-c", code, number, str(tmp_path / "notebooks")]
        running[number] = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    for number, process in running.items():
        _, err = process.communicate(timeout=180)
        assert (process.returncode, err) == (0, "")
        folder = tmp_path / number
        assert f"Zahl {number}" in (folder / "notebooks" / "01_Daten.ipynb").read_text(encoding="utf-8")
        assert read_json(folder / "kennzahlen.json")["minuten"].keys() == {"01_Daten"}
        assert (folder / "bericht.html").is_file()
        assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
