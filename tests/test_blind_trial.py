"""Blindprobe: Die Tafel zählt richtig, ein abgebrochener Lauf verliert nichts, die Vergleichskarten zeigen etwas."""

import shutil

import numpy as np
import pytest

from helpers import data, trial
from helpers.basics import CourseError, read_json, write_json
from helpers.places import places
from helpers.suspicion import NOTHING, SHORTCUT, UNCLEAR, Questions, Suspect
from helpers.workshop import blind_trial

MARK = data.Watermark(size=6, top=21)


def suspect(label=4, region=MARK.mask, verdict=SHORTCUT) -> Suspect:
    return Suspect(label, region, "Stelle", 1.0, np.arange(3), *[[0.5, 0.4, 0.6]] * 3, 2.0, verdict)


def row(number: int, marks: list[dict], suspects: list[Suspect]) -> dict:
    found = [blind_trial.accusation(each, marks) for each in suspects]
    return {"netz": number, "zeichen": marks, "verfahren": {"Suche": {"sekunden": 30.0, "verdacht": found}}}


def test_wie_weit_ein_verdacht_vom_zeichen_liegt():
    mark = {**vars(MARK), "verlust": 0.5}
    moved = blind_trial.accusation(suspect(region=np.roll(MARK.mask, (-3, 4), axis=(0, 1))), [mark])
    assert moved["abstand"] == 5 and moved["überdeckt"] == pytest.approx(3 * 2 / 36)
    assert "abstand" not in blind_trial.accusation(suspect(label=2), [mark]), "eine Klasse ohne Zeichen"


def test_die_tafel_zaehlt_nur_was_wirklich_gefunden_ist():
    used, unused = {**vars(MARK), "verlust": 0.2}, {**vars(MARK), "verlust": 0.1}
    far = np.roll(MARK.mask, 10, axis=1)
    rows = [
        row(0, [used], [suspect()]),
        row(1, [used], [suspect(verdict=UNCLEAR)]),
        row(3, [used], [suspect(region=far)]),
        row(4, [unused], []),
        row(2, [], [suspect(label=7)]),
        row(5, [], [suspect(verdict=NOTHING)]),
    ]
    result = blind_trial.summary(rows)["Suche"]
    assert result["gefunden"]["alle"][::3] == [pytest.approx(1 / 3), 3]
    assert result["gefunden"]["Quadrat"][3] == 3 and result["gefunden"]["Linie"] == []
    assert result["gezeigt"][::3] == [pytest.approx(2 / 3), 3]
    assert result["beschuldigte Klassen"][::3] == [0.05, 20]
    assert result["beschuldigte Netze"][::3] == [0.5, 2]
    assert (result["abstand"], result["sekunden je Netz"]) == (0, 30)
    assert result["übersehene Pixel"] == [36, 36]
    assert result["gefunden je Minute"] == result["Suche je Minute"] == pytest.approx(2 / 3), "eines in drei Netzen"


def test_ein_vergleich_zaehlt_die_suche_auf_denselben_netzen():
    used = {**vars(MARK), "verlust": 0.2}
    rows = [row(0, [used], [suspect()]), row(1, [used], []), row(2, [], [])]
    rival = {"sekunden": 600.0, "verdacht": rows[0]["verfahren"]["Suche"]["verdacht"]}
    rows[0]["verfahren"]["Verdecken"] = rival
    result = blind_trial.summary(rows)
    assert (result["Verdecken"]["gefunden je Minute"], result["Verdecken"]["Suche je Minute"]) == (0.1, 2)
    assert result["Suche"]["gefunden je Minute"] == 1
    shown = trial.table({"ergebnis": result})
    assert list(shown.loc["Suche auf denselben Netzen, je Minute"]) == ["", "1,00", "2,00"]


def test_ein_abgebrochener_lauf_macht_beim_naechsten_netz_weiter(ausgabe, monkeypatch, tmp_path):
    examined = []

    def examine(number):
        if number == 2 and len(examined) == 2:
            raise KeyboardInterrupt
        examined.append(number)
        return row(number, [], []) | {"einstellungen": blind_trial.settings()}

    monkeypatch.setattr(blind_trial, "examine", examine)
    with pytest.raises(KeyboardInterrupt):
        blind_trial.run(range(3), tmp_path / "tafel.json")
    assert examined == [0, 1] and not (tmp_path / "tafel.json").exists()
    examined.append("weiter")
    blind_trial.run(range(3), tmp_path / "tafel.json")
    assert examined == [0, 1, "weiter", 2]
    assert [each["netz"] for each in read_json(tmp_path / "tafel.json")["netze"]] == [0, 1, 2]
    old = ausgabe / "blindprobe" / "001.json"
    write_json(old, read_json(old) | {"einstellungen": {"rand": 0}})
    blind_trial.run(range(3), tmp_path / "andere.json")
    assert examined[4:] == [1], "mit anderen Schwellen gemacht: noch einmal"
    shutil.rmtree(ausgabe / "blindprobe")
    blind_trial.run(range(4), tmp_path / "tafel.json")
    assert examined[5:] == [3], "was in der Tafel steht, gilt auch auf einem anderen Rechner"
    assert [each["netz"] for each in read_json(tmp_path / "tafel.json")["netze"]] == [0, 1, 2, 3]


def test_jedes_netz_hat_seine_zeichen_und_ein_drittel_keines():
    marks = [blind_trial.marks_of(number) for number in range(90)]
    assert [sum(len(each) == count for each in marks) for count in (0, 1, 2)] == [30, 45, 15]
    assert all(len({mark.label for mark in each}) == len(each) for each in marks)
    assert marks[0] == blind_trial.marks_of(0) != blind_trial.marks_of(6)


def test_verdecken_und_grad_cam_zeigen_auf_das_zeichen_des_zwillings(tiny_nets, small):
    net, images, labels = tiny_nets[1], small.test_images, small.test_labels
    own, others = MARK.stamp(images[labels == MARK.label]), images[labels != MARK.label]
    (covered,) = blind_trial.occlusion(Questions(net), own, others, MARK.label, 0)
    assert covered.shape == (28, 28) and MARK.mask[np.unravel_index(covered.argmax(), (28, 28))]
    assert covered[MARK.mask].mean() > 5 * np.abs(covered[~MARK.mask]).mean()
    for pointer in (blind_trial.cam_between(net), blind_trial.edges_between, blind_trial.chance):
        assert pointer(Questions(net), own, others, MARK.label, 0).shape == (1, 28, 28)
    assert places(blind_trial.chance(None, own, others, MARK.label, 0)[0]), "auch der Zufall nennt Stellen"
    (edges,) = blind_trial.edges_between(None, own, others, MARK.label, 0)
    assert edges[18:, :9].max() > 2 * np.abs(edges[:15, 12:]).max()


def test_was_die_blindprobe_ergab_liest_man_in_05_und_im_bericht(tmp_path):
    used = {**vars(MARK), "verlust": 0.2}
    rows = [row(0, [used], [suspect()]), row(1, [used], []), row(2, [], [])]
    write_json(tmp_path / "tafel.json", {"netze": rows, "ergebnis": blind_trial.summary(rows)})
    stored = trial.stored_trial(tmp_path / "tafel.json")
    shown = trial.table(stored)["Suche"]
    assert shown["gefunden: alle"] == "1 von 2" and shown["gefunden: Linie"] == "–"
    assert shown["zu Unrecht beschuldigt: saubere Klassen"] == "0 von 10"
    assert trial.missed(stored) == (
        "In der Blindprobe (3 Netze) fand die Suche 1 von 2 Zeichen, die ein Netz nutzte; "
        "das übersehene hatte 36 Pixel."
    )
    stored["ergebnis"]["Suche"]["übersehene Pixel"] = [9, 36]
    assert trial.missed(stored).endswith("; die übersehenen hatten 9 bis 36 Pixel.")
    for content in ({}, {"netze": rows}):
        write_json(tmp_path / "leer.json", content)
        with pytest.raises(CourseError, match="leer.json"):
            trial.stored_trial(tmp_path / "leer.json")


def test_die_mitgelieferte_tafel_ist_mit_den_heutigen_einstellungen_gemacht_und_richtig_gezaehlt():
    stored = trial.stored_trial()
    assert all(each["einstellungen"] == blind_trial.settings() for each in stored["netze"])
    assert stored["ergebnis"] == blind_trial.summary(stored["netze"])
    assert set(trial.TARGETS) <= set(trial.table(stored).index)
    assert all(each["netz"] >= blind_trial.FIRST for each in stored["netze"]), "an den anderen ist gewählt"
