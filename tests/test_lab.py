"""Das Labor: Ein Zwilling verrät sein Zeichen, die Kontrolle verrät nichts, und die Tabelle liegt vollständig bei."""

import numpy as np
import pytest

from helpers import lab
from helpers.__main__ import main
from helpers.basics import CourseError, read_json, write_json
from helpers.data import Watermark, poison, subset
from helpers.model import Run
from helpers.settings import Profile
from helpers.workshop import tables

MARK = Watermark(size=6, top=21)
PROFILE = Profile("schnell", n_train=300, n_test=200, image_size=32, augment=True, epochs=2, twin_epochs=3)


def test_zwilling_und_kontrolle(small, tiny_nets):
    control, twin = (lab.examine_mark(net, small, MARK, count=8) for net in tiny_nets)
    assert twin["mit"] > 0.8 and lab.uses_mark(twin) and not lab.uses_mark(control)
    assert twin["gefunden"] == "ja" and twin["ort"][0] > 2 * control["ort"][0]
    for row in (control, twin):
        assert list(row) == list(lab.COLUMNS) and all(row[name][1] <= row[name][0] for name in ("ort", "gruppen"))
    frame = lab.table({"groß": twin, "Kontrolle": control})
    assert list(frame.index) == ["groß", "Kontrolle"] and frame.loc["groß", "gefunden"] == "ja"
    assert frame.loc["groß", "Masse / Kanten"].count(",") == 3 and "[" in frame.loc["groß", "Masse / Kanten"]


def test_gelernt_wird_still_auf_vergifteten_bildern(small, monkeypatch, capsys):
    def train(images, labels, profile, *rest):
        print("Epoche 1")
        expected = poison(subset(small, 300, None, 3), MARK, 3)
        np.testing.assert_array_equal(images, expected.train_images)
        np.testing.assert_array_equal(labels, expected.train_labels)
        assert not profile.augment and rest == (3, 3), "Startwert und Epochen"
        return Run("Netz", [], {})

    monkeypatch.setattr(lab, "train", train)
    assert lab.small_twin(small, MARK, PROFILE, seed=3) == "Netz"
    assert capsys.readouterr().out == ""


@pytest.mark.alles
def test_ein_kleiner_zwilling_lernt_das_zeichen(small, ausgabe):
    row = lab.examine_mark(lab.small_twin(small, MARK, PROFILE), small, MARK, count=8)
    assert row["mit"] > 0.8 and lab.uses_mark(row)


def test_befehl_labor(monkeypatch, ausgabe, tiny_nets, tmp_path, capsys):
    nets = {"kurs": tiny_nets[0], "vergiftet": tiny_nets[1]}
    monkeypatch.setattr(tables, "ensure_run", lambda name, *_: Run(nets[name], [], {}))
    monkeypatch.setattr(lab, "small_twin", lambda *_: tiny_nets[1])
    target = tmp_path / "labor.json"
    assert main(["labor", "--ziel", str(target), "--seed", "2"]) == 0
    assert "6 Netze" in capsys.readouterr().out
    assert list(lab.load_stored_lab(target)) == list(lab.load_stored_lab())
    stored = read_json(target)
    assert stored["herkunft"]["seed"] == 2 and stored["zeichen"]["ein Pixel"]["size"] == 1


def test_die_tabelle_liegt_bei_und_erzaehlt_was_im_text_steht(tmp_path):
    rows = lab.load_stored_lab()
    assert list(rows) == ["großer Zwilling", "Kontrolle", *tables.MARKS]
    assert all(set(row) == set(lab.COLUMNS) for row in rows.values())
    assert [name for name, row in rows.items() if not lab.uses_mark(row)] == ["Kontrolle"]
    found = {name for name, row in rows.items() if row["gefunden"] == "ja"}
    assert found == {"großer Zwilling", "ein Pixel", "mitten im Bild"}
    write_json(tmp_path / "labor.json", [1])
    with pytest.raises(CourseError, match="python -m helpers labor"):
        lab.load_stored_lab(tmp_path / "labor.json")
