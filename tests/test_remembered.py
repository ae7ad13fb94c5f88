"""Wer etwas zum zweiten Mal ausführt, wartet nicht noch einmal, und bekommt nie, was zu etwas anderem gehört."""

import shutil

import numpy as np
import pytest

from helpers import suspicion, training
from helpers.basics import INPUT
from helpers.course_model import load_course_model
from helpers.inner import remembered
from helpers.model import preprocess

SEARCH = suspicion.search_by
MAKE_AGAIN = "KURS_AUSGABE=neu python -m helpers verdacht, dann neu/merkmale/verdacht_*.npz nach input/merkmale legen"


@pytest.fixture(autouse=True)
def searches(ausgabe, monkeypatch):
    """Zählt, wie oft wirklich gesucht wird."""
    calls = []

    def counted(*given):
        calls.append(given)
        return SEARCH(*given)

    monkeypatch.setattr(suspicion, "search_by", counted)
    return calls


@pytest.fixture(scope="module")
def given(tiny_nets, small):
    """Ein Netz, Bilder und Klassen."""
    return tiny_nets[1], small.test_images, small.test_labels.astype(int)


def same(one, two):
    assert len(one) == len(two) > 0
    for each, other in zip(one, two, strict=True):
        for name, value in vars(each).items():
            assert np.array_equal(value, getattr(other, name)) and type(value) is type(getattr(other, name)), name


def test_beim_zweiten_mal_ist_dasselbe_sofort_da(given, searches):
    same(*(suspicion.search(*given) for _ in range(2)))
    assert len(searches) == 1


@pytest.mark.parametrize("changed", ["Netz", "Bild", "Klasse", "Startwert", "Quelltext"])
def test_was_zu_etwas_anderem_gehoert_wird_nicht_genommen(changed, given, searches, tiny_nets, tmp_path, monkeypatch):
    net, images, labels, seed = *given, 0
    suspicion.search(net, images, labels, seed)
    if changed == "Netz":
        net = tiny_nets[0]
    elif changed == "Bild":
        images = images.copy()
        images[-1, 0, 0] += 1
    elif changed == "Klasse":
        labels = np.where(np.arange(len(labels)) == 5, (labels + 1) % 10, labels)
    elif changed == "Startwert":
        seed = 1
    else:
        for name in suspicion.SOURCES:
            shutil.copy(remembered.HELPERS / name, tmp_path)
        (tmp_path / suspicion.SOURCES[-1]).write_text("neu = True\n")
        monkeypatch.setattr(remembered, "HELPERS", tmp_path)
    suspicion.search(net, images, labels, seed)
    assert len(searches) == 2


def test_ein_eigenes_netz_mit_anderer_vorverarbeitung_bekommt_nie_die_alten_antworten(given, searches, monkeypatch):
    suspicion.search(*given)
    own = lambda pictures: preprocess(pictures, 32)  # noqa: E731
    monkeypatch.setattr(given[0], "prepare", own, raising=False)
    for _ in range(2):
        suspicion.search(*given)
    assert len(searches) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 halb"], ids=["leer", "halb"])
def test_eine_beschaedigte_datei_wird_ersetzt(content, given, searches, ausgabe):
    first = suspicion.search(*given)
    (path,) = ausgabe.glob("merkmale/verdacht_*.npz")
    path.write_bytes(content)
    same(first, suspicion.search(*given))
    same(first, suspicion.search(*given))
    assert len(searches) == 2


@pytest.fixture
def course():
    """Kursmodell, Bilder und Klassen, wie Notebook 05 sie mit „schnell“ hat."""
    dataset = training.ensure_data(training.get_profile("schnell"))
    return load_course_model().model, dataset.test_images, dataset.test_labels.astype(int)


def test_lernende_warten_beim_kursmodell_nicht_auf_die_suche(course, searches):
    assert suspicion.search(*course)
    assert not searches, f"Die mitgelieferte Suche gehört nicht zu diesem Stand: {MAKE_AGAIN}."
    assert len(list((INPUT / "merkmale").iterdir())) == 1


@pytest.mark.alles
def test_die_mitgelieferte_suche_sagt_was_eine_neue_sagt(course, searches, tmp_path, monkeypatch):
    shipped = suspicion.search(*course)
    monkeypatch.setattr(remembered, "INPUT", tmp_path)
    fresh = suspicion.search(*course)
    assert len(searches) == 1
    assert [each.verdict for each in fresh] == [each.verdict for each in shipped]
    for one, two in zip(fresh, shipped, strict=True):
        assert one.label == two.label and (one.region == two.region).mean() > 0.98
        assert one.remove[0] == pytest.approx(two.remove[0], abs=0.05)
