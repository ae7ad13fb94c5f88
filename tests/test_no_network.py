"""Nach dem Einrichten braucht das Profil „schnell“ kein Netz: jeder Befehl in einem Namensraum ohne Routen.

Alle Notebooks laufen ohne Netz in test_exercise_states.py.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import handin_factory as factory
import pytest
from no_network import cut_off, reaches_out

from helpers.basics import read_json


def run_commands(commands: list[list[str]], folder) -> list:
    """In einem eigenen Prozess: (Rückgabewert, stderr) je Befehl; None, wo sich das Netz nicht trennen lässt."""
    import contextlib
    import io
    import os

    if not cut_off():
        return None
    os.environ.update(
        KURS_AUSGABE=str(folder / "ausgabe"), TF_NUM_INTRAOP_THREADS="1", KERAS_HOME=str(folder / "keras")
    )
    from helpers.__main__ import main

    results = []
    for command in commands:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            results.append((main(command), errors.getvalue(), reaches_out()))
    return results


def in_new_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@pytest.mark.langsam
def test_every_command_of_the_quick_profile_works_without_network(tmp_path):
    factory.save(factory.solved(), tmp_path / "abgaben" / "anna.ipynb")
    good = [
        ["daten", "--eingabe", "beispiel", "--n-train", "60", "--n-test", "20"],
        ["cnn", "--eingabe", "beispiel", "--n-train", "60", "--n-test", "20", "--epochen", "1", "--bildgroesse", "32"],
        ["doctor"],
        ["ableiten", "--pruefen"],
        ["durchsicht", str(tmp_path / "abgaben")],
        ["kurs", "--nur", "01"],
    ]
    bad = [["daten", "--voll"], ["cnn", "--gewichte", "keras", "--n-train", "60", "--epochen", "1"]]
    results = in_new_process(run_commands, [*good, *bad], tmp_path)
    if results is None:
        pytest.skip("Hier lässt sich kein Netz-Namensraum anlegen: Ohne Netz ist dieser Lauf nicht geprüft.")
    for command, (code, errors, reached) in zip([*good, *bad], results, strict=True):
        assert not reached
        if command in good:
            assert (code, errors) == (0, "") or command == ["doctor"], (command, errors)
        else:
            assert code == 2 and errors.startswith("✘ ") and "mit dem Browser" in errors, (command, errors)
    assert read_json(tmp_path / "ausgabe" / "kennzahlen.json")["minuten"].keys() == {"01_Daten"}
    assert "10" in (tmp_path / "ausgabe" / "durchsicht.csv").read_text("utf-8-sig")


def test_the_cut_is_real():
    """Gegenprobe: Vor dem Schnitt gibt es, wo der Rechner überhaupt ein Netz hat, einen Weg; danach keinen."""
    before, after = in_new_process(look_twice)
    if after is None:
        pytest.skip("Hier lässt sich kein Netz-Namensraum anlegen.")
    assert after is False and before == reaches_out()


def look_twice():
    before = reaches_out()
    return before, reaches_out() if cut_off() else None
