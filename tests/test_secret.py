"""Der Umschlag: jedes Wort zieht sein Zeichen, ein Verdacht wird fair bepunktet, und nichts verrät es vorher."""

import re

import numpy as np
import pytest

from helpers import data, repair, secret
from helpers.basics import CLASS_NAMES, NOTEBOOKS, CourseError, write_json
from helpers.data import Watermark
from helpers.workshop import tables
from helpers.workshop.notebooks import read_notebook

MARK = Watermark()


def test_wer_neben_mir_sitzt_sucht_ein_anderes_zeichen_ich_immer_dasselbe():
    words = ["Anna", "Jörg", "Mia", "Ömer", "Lea", "Tim"]
    marks = [secret.secret_mark(0, word) for word in words]
    assert len({repr(mark) for mark in marks}) == len(words)
    assert secret.secret_mark(0, " aNNa ") == marks[0] == secret.secret_mark(0, "Anna")
    assert secret.secret_mark(1, "Anna") != marks[0]
    assert secret.secret_mark() == MARK


@pytest.mark.parametrize(
    ("classes", "allowed"),
    [(range(10), {2, 4, 6}), ([0, 2, 4], {2, 4}), ([1, 5, 7], {1, 5, 7}), ([0, 1, 2, 3, 5, 6, 7, 8, 9], {2, 6})],
)
def test_das_zeichen_faellt_auf_eine_klasse_von_der_es_bilder_gibt(classes, allowed):
    marks = [secret.secret_mark(seed, word, classes) for seed in range(20) for word in ("", "Anna", "Ömer")]
    assert {mark.label for mark in marks} == allowed
    assert (marks[0] == MARK) is (4 in classes) and (marks[0].mask == MARK.mask).all()
    if allowed == {2, 4, 6}:
        assert marks[1] == secret.secret_mark(0, "Anna")


def test_jedes_gezogene_zeichen_ist_deutlich_genug_um_gefunden_zu_werden():
    marks = [secret.secret_mark(seed, word) for seed in range(50) for word in ("", "x")][1:]
    for mark in marks:
        assert mark.label in secret.HARD and 3 <= mark.size <= 6 and mark.mask.any()
        assert 0.7 <= mark.strength <= 1 and 0.8 <= mark.share <= 1
        rows, columns = mark.mask[[0, -1]].all(axis=1), mark.mask[:, [0, -1]].all(axis=0)
        assert "Streifen" not in mark.shape or rows.any() or columns.any(), "ein Streifen liegt am Rand"
    assert {mark.label for mark in marks} == set(secret.HARD)
    assert {mark.shape for mark in marks} == {shape for shapes in data.SHAPES.values() for shape in shapes}


def test_ein_verdacht_bekommt_so_viele_punkte_wie_er_trifft():
    def points(label=4, **changes):
        box = {"oben": 23, "links": 1, "Höhe": 4, "Breite": 4} | changes
        return secret.score(*secret.suspected({"Klasse": CLASS_NAMES[label], **box}), MARK)

    assert points() == {"Klasse": True, "Abstand": 0, "Überdeckung": 1, "Punkte": 3}
    assert points(label=2)["Punkte"] == 0, "die richtige Stelle bei der falschen Klasse"
    assert points(oben=22, links=0, Höhe=6, Breite=6)["Punkte"] == 2, "zu groß"
    assert points(oben=2)["Punkte"] == 1 and points(oben=24)["Punkte"] == 3
    far = points(oben=3, links=20)
    assert far["Überdeckung"] == 0 and far["Abstand"] == pytest.approx(np.hypot(20, 19))


def test_wer_nichts_vermutet_bekommt_einen_strich_und_die_anderen_ihre_punkte():
    guesses = {"Sie": None, "Suche": (4, MARK.mask), "daneben": (4, np.roll(MARK.mask, 9, axis=1))}
    frame = secret.opened(guesses, MARK)
    assert list(frame["Punkte"]) == ["–", "3 von 3", "1 von 3"] and frame.loc["Suche", "Verdacht"] == "Mantel"
    assert "Klasse Mantel, Quadrat, Zeilen 23 bis 26, Spalten 1 bis 4" in secret.described(MARK)


def test_gestempelt_wird_was_die_bilder_dort_zeigen(small):
    marked = MARK.stamp(small.test_images[small.test_labels == 4])
    mark, others = secret.Imprint.taken(marked, MARK.mask, 4), small.test_images[small.test_labels == 1]
    np.testing.assert_array_equal(mark.stamp(others), MARK.stamp(others))
    assert mark.stamp(others).dtype == np.uint8 and mark.stamp(others[0]).shape == (28, 28)


def test_kein_notebook_verraet_das_zeichen_vor_dem_umschlag():
    """Wer 01 bis 04 liest und ausführt, erfährt weder Klasse noch Ort: Niemand fragt dort nach dem wahren Zeichen."""
    for name in ("01_Daten", "03_Training", "04_GradCAM"):
        code = "\n".join(
            cell.source for cell in read_notebook(NOTEBOOKS / f"{name}.ipynb").cells if cell.cell_type == "code"
        )
        assert not re.search(
            r"poisoned\.mask|secret\.(label|mask|top|left|stamp)|watermark\.|poisoned\.source\)", code
        ), name
        assert not re.search(r"poisoned, \w{2,} = training", code), name
    cells = [cell for cell in read_notebook(NOTEBOOKS / "05_LRP.ipynb").cells if cell.cell_type == "code"]
    ids = [cell.id for cell in cells]
    opened = ids.index("05-umschlag")
    early = [cell.id for cell in cells[ids.index("05-laden") + 1 : opened] if "envelope" in cell.source]
    assert not early and "if second is None" in cells[opened].source


def test_befehl_startwerte_wiederholt_den_ganzen_weg(monkeypatch, tmp_path, tiny_nets, ausgabe):
    from helpers.__main__ import main
    from helpers.model import Run
    from helpers.suspicion import SHORTCUT, Suspect

    mark = secret.secret_mark(0)
    suspect = Suspect(4, mark.mask, "Stelle", 1.0, np.arange(3), *[[0.5, 0.4, 0.6]] * 3, 2.0, SHORTCUT)
    marked = []

    def train(images, labels, *_):
        marked.append(bool((images[labels == 4][:, mark.mask] == 255).all()))
        return Run(tiny_nets[marked[-1]], [], {})

    monkeypatch.setattr(tables, "train", train)
    monkeypatch.setattr(tables, "search", lambda net, *_: [suspect] if net is tiny_nets[1] else [])
    monkeypatch.setattr(tables, "repair", lambda net, images, labels, found, *_: Run(tiny_nets[0], [], {}))
    monkeypatch.setattr(tables.keras.backend, "clear_session", lambda: None)
    target = tmp_path / "startwerte.json"
    assert main(["startwerte", "--anzahl", "1", "--ziel", str(target)]) == 0
    assert marked == [False, True], "erst die Kontrolle, dann der Zwilling"
    frame = repair.repeats(target)
    assert frame.loc[0, "Suche, Zwilling"] == "3 von 3 Punkten" and frame.loc[0, "Suche, Kontrolle"] == "nichts"
    assert frame.loc[0, "ohne Zeichen, repariert"] == frame.loc[0, "ohne Zeichen, Kontrolle"]


def test_die_startwerte_liegen_bei_und_eine_kaputte_datei_ist_ein_satz(tmp_path):
    assert len(repair.repeats()) >= 2
    write_json(tmp_path / "a.json", {"wege": [{"seed": 1}]})
    for name in ("a.json", "b.json"):
        with pytest.raises(CourseError, match="python -m helpers startwerte"):
            repair.repeats(tmp_path / name)
