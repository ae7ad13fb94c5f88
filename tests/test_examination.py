"""Eigene Bilder und eigene Netze: gesucht, befragt, beurteilt und berichtet, mit beliebigen Klassen."""

import re
import shutil

import pytest
from color_factory import colored, learned_net
from PIL import Image

from helpers.__main__ import main
from helpers.basics import read_json
from helpers.model import keras

NAMES = ("Äpfel", "Birnen (reif)", "c & d")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """240 bunte Bilder in drei Ordnern, die Birnen mit einem Zeichen."""
    target = tmp_path_factory.mktemp("Meine Bilder ä")
    for number, (image, label) in enumerate(zip(*colored(1), strict=True)):
        path = target / NAMES[label] / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return target


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("netz") / "mein Netz.keras"
    learned_net("softmax").save(target)
    return target


def some_of(folder, target, names, count):
    """Ein Ordner mit den ersten ``count`` Bildern dieser Klassen."""
    for name in names:
        (target / name).mkdir(parents=True)
        for file in sorted((folder / name).iterdir())[:count]:
            shutil.copy(file, target / name)
    return target


def examined(folder, path, ausgabe, *more) -> tuple[int, dict, str]:
    """Rückgabewert, Kennzahlen und Text des Berichts."""
    code = main(["cnn", "--bilder", str(folder), "--modell", str(path), *more])
    (place,) = (ausgabe / "eigene_bilder").glob("*")
    html = (place / "bericht.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("</style>")[1]))
    return code, read_json(place / "kennzahlen.json"), text


def test_ein_fertiges_netz_wird_an_eigenen_bildern_ueberfuehrt(folder, path, ausgabe, capsys):
    code, figures, text = examined(folder, path, ausgabe, "--vorverarbeitung", "keine")
    assert code == 0 and figures["klassen"] == list(NAMES)
    (verdict,) = figures["vertrauen"]["modelle"].values()
    answers = {name: check["antwort"] for name, check in verdict["pruefungen"].items()}
    assert verdict["urteil"] == "nicht vertrauen" and answers["suche"] == answers["eingriff"] == "nein"
    assert re.search(r"Birnen \(reif\).*Zeilen 37 bis 42", figures["vertrauen"]["verdacht"])
    said = capsys.readouterr().out
    assert "Birnen (reif)" in said and "Abkürzung" in said and "Urteil: nicht vertrauen" in said
    wishes = ("Modell „mein Netz“", "Äpfel", "c &amp; d", "Die gefundene Stelle", "eine Kontrolle", "gefüllten Stelle")
    for wanted in wishes:
        assert wanted.lower() in text.lower(), wanted
    for foreign in ("Mantel", "Zwilling", "Fashion", "Kleid", "03_Training", "05_LRP", "fehlt noch", "None"):
        assert foreign not in text, foreign


def test_wo_lrp_nicht_geht_tritt_grad_cam_an_seine_stelle(folder, ausgabe, tmp_path, capsys):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [layers.Rescaling(1 / 255), layers.DepthwiseConv2D(3, strides=4), layers.Conv2D(4, 3, strides=2)]
    net = keras.Sequential([keras.Input((64, 64, 3)), *stack, layers.Flatten(), layers.Dense(3, "softmax")])
    net.save(tmp_path / "tief.keras")
    code, figures, text = examined(folder, tmp_path / "tief.keras", ausgabe, "--vorverarbeitung", "keine")
    assert code == 0 and "DepthwiseConv2D" in text and "tritt überall Grad-CAM" in text
    (verdict,) = figures["vertrauen"]["modelle"].values()
    assert all(check["antwort"] in ("ja", "nein", "offen") for check in verdict["pruefungen"].values())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--modell", "NETZ", "--bilder", "ZWEI"], "unterscheidet 3 Klassen, die Bilder haben 2"),
        (["--modell", "NETZ"], "--modell gilt nur mit --bilder"),
        (["--bilder", "DREI", "--vorverarbeitung", "0-1"], "--vorverarbeitung gilt nur mit --modell"),
    ],
)
def test_was_nicht_zusammenpasst_ist_ein_satz_und_schreibt_nichts(
    more, message, folder, path, ausgabe, tmp_path, capsys
):
    known = {"NETZ": path, "ZWEI": some_of(folder, tmp_path / "zwei", NAMES[:2], 20), "DREI": folder}
    assert main(["cnn", *(str(known.get(word, word)) for word in more)]) == 2
    assert message in capsys.readouterr().err
    assert not list(ausgabe.rglob("*.html")) and not list(ausgabe.rglob("kennzahlen.json"))


def test_zu_wenige_bilder_zum_suchen_sind_kein_ende(folder, path, ausgabe, tmp_path, capsys):
    """Zwölf Bilder je Klasse: Gesucht wird nicht, der Bericht sagt es, und das Urteil bleibt offen."""
    few = some_of(folder, tmp_path / "wenig", NAMES, 12)
    code, figures, text = examined(few, path, ausgabe, "--vorverarbeitung", "keine")
    (verdict,) = figures["vertrauen"]["modelle"].values()
    assert code == 0 and verdict["pruefungen"]["suche"]["antwort"] == "nicht gefragt"
    assert verdict["urteil"] != "kein Einwand gefunden" and "wurde nicht gesucht" in text
