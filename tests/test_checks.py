"""Die Prüfungen der Aufgaben: richtige Antworten angenommen, typische falsche mit eigenem Hinweis abgelehnt."""

import json
import os
import re
import signal
import sys
import threading
import time
import tracemalloc

import answers
import numpy as np
import pytest
from exercise_states import solution_cells

from helpers.basics import COURSE_NOTEBOOKS, SOLUTIONS, CourseError
from helpers.checks import HIDDEN_SEED, VISIBLE_SEED, check, engine, exercises, handover, hints, use
from helpers.checks.exercise import Exercise, like
from helpers.model import IMAGENET_MEAN_BGR, softmax
from helpers.workshop.notebooks import read_notebook

EXERCISES = exercises()
# Nummer → Quelltext der Lösung, aus solutions/
CELLS = {
    f"{int(key[:2])}.{key.split('-')[2]}": source
    for name in COURSE_NOTEBOOKS
    for key, source in solution_cells(name).items()
}
SHIFTED = EXERCISES["1.1"].hints[0].wrong


def judged(number, answer, seed=VISIBLE_SEED):
    return engine.review(EXERCISES[number], answer, seed)


def solution(number):
    """Die Antwort aus der Lösungszelle; fehlt ihr Name, ein KeyError."""
    space = {"np": np, "IMAGENET_MEAN_BGR": IMAGENET_MEAN_BGR, "softmax": softmax}
    exec(CELLS[number], space)
    return space[EXERCISES[number].name]


def wrong_answers(number):
    """(Antwort, Anfang oder Teil des ersten Hinweises): alle aus den Hinweisen selbst, dann die von Hand."""
    derived = [(hint.wrong, hint.says) for hint in EXERCISES[number].hints if hint.wrong]
    return derived + answers.WRONG.get(number, [])


def checked(number, answer, **options):
    """Ruft ``check`` auf wie eine Notebook-Zelle, in deren Notebook ``answer`` unter ihrem Namen steht."""
    space = {"check": check, EXERCISES[number].name: answer, "options": options}
    exec(f"check({number!r}, **options)", space)


def test_every_exercise_has_its_cells_and_its_entry():
    assert list(CELLS) == list(EXERCISES)


@pytest.mark.parametrize("number", EXERCISES)
def test_right_answers_are_accepted_however_they_are_written(number):
    name = EXERCISES[number].name
    others = [getattr(answers, name)] if hasattr(answers, name) else answers.other_forms(solution(number))
    for answer in (solution(number), *others):
        for seed in (VISIBLE_SEED, HIDDEN_SEED, 77):
            assert judged(number, answer, seed).status == "gelöst", judged(number, answer, seed).hints


@pytest.mark.parametrize("number", EXERCISES)
def test_every_typical_mistake_gets_its_own_hint_and_every_hint_is_in_reach(number):
    heard = set()
    for answer, said in wrong_answers(number):
        for seed in (VISIBLE_SEED, HIDDEN_SEED):
            verdict = judged(number, answer, seed)
            assert verdict.status == "falsch" and said in verdict.hints[0], (said, verdict)
            assert len(verdict.hints) >= 2 and len(set(verdict.hints)) == len(verdict.hints)
            assert verdict.hints[-1].endswith((".", "?", "!", "…")), verdict.hints
            shown = re.fullmatch(r".* ergibt (.+), richtig ist (.+)\.", verdict.hints[-1])
            assert not shown or "Array" in shown[1] or shown[1] != shown[2], "ein Beispiel ohne den Fehler"
            heard.add(verdict.hints[0])
    assert len(heard) >= 3 and {hint.says for hint in EXERCISES[number].hints} <= heard


@pytest.mark.parametrize(
    ("answer", "mine"), [(answers.pixel_position, True), (SHIFTED, False), (None, False), (print, False)]
)
def test_the_course_goes_on_with_the_learners_function_only_if_it_is_right(ausgabe, capsys, answer, mine):
    """Eine falsche Funktion verdirbt nicht den Rest des Notebooks, und eine richtige rechnet wirklich selbst."""
    space = {"use": use, "pixel_position": answer}
    exec("used = use('1.1')", space)
    said = capsys.readouterr().out
    assert (space["used"] is answer) == mine == ("Ihre Funktion" in said) and space["pixel_position"] is answer
    assert tuple(space["used"]("pixel30")) == (1, 1) and not (ausgabe / "fortschritt.json").exists()


def test_the_course_has_its_own_function_where_many_answers_are_right(capsys):
    assert use("1.5", otherwise=answers.poison) is answers.poison
    assert "Funktion des Kurses" in capsys.readouterr().out


@pytest.mark.parametrize("name", COURSE_NOTEBOOKS)
def test_the_course_never_goes_on_without_a_function(name):
    """Wer eine Aufgabe mit vielen richtigen Antworten ungelöst lässt, darf nicht an der Zelle danach hängen bleiben."""
    sources = "\n".join(cell.source for cell in read_notebook(SOLUTIONS / f"{name}.ipynb").cells)
    calls = re.findall(r'\buse\("(\d\.\d)"(, otherwise=)?', sources)
    many = [EXERCISES[number] for number, otherwise in calls if not otherwise and EXERCISES[number].solve is None]
    assert [exercise.number for exercise in many if not exercise.is_value] == []


# --- Seltsame Antworten ----------------------------------------------------------------------------------------------


class Hostile(Exception):
    """Ein Ergebnis oder Fehler, der bei jeder Berührung wirft."""

    def touched(self, *_):
        raise RuntimeError

    __getattr__ = __repr__ = __str__ = __eq__ = touched
    __hash__ = None


def raises(error):
    def answer(*args):
        raise error

    return answer


STRANGE = {
    "None": None,
    "gibt None zurück": lambda *args: print(),
    "falsche Art": lambda *args: "Text",
    "falsche Form": lambda *args: np.zeros((2, 3, 4)),
    "ungleich lang": lambda *args: [[1, 2], [3]],
    "Objekte": lambda *args: np.array([object(), None], dtype=object),
    "nan": lambda *args: np.full((3, 3), np.nan),
    "Generator": lambda *args: (value for value in [1, 2]),
    "feindlich": lambda *args: Hostile(),
    "feindliche Antwort": Hostile(),
    "falsche Angaben": lambda: 1,
    "wirft": raises(KeyError("weg")),
    "wirft unlesbar": raises(Hostile()),
    "endet": raises(SystemExit(0)),
    "bricht ab": raises(KeyboardInterrupt()),
    "tief": lambda *args: (lambda f: f(f))(lambda f: f(f)),
}


# Eine Aufgabe mit Lösung, eine mit vielen richtigen Antworten: Der Motor ist für alle derselbe.
@pytest.mark.parametrize("number", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", STRANGE)
def test_strange_answers_get_a_german_sentence(ausgabe, capsys, number, kind):
    checked(number, STRANGE[kind])
    said = capsys.readouterr().out.strip()
    assert said.startswith((f"✘ Aufgabe {number}: ", f"○ Aufgabe {number}: noch nicht bearbeitet"))
    assert len(said.splitlines()) == 1


RELEASED = threading.Event()


def loop_forever(*args):
    while True:
        pass


def swallow_everything(*args):
    # Nichts von außen beendet diesen Faden; ohne RELEASED nähme er allen weiteren Tests einen Kern.
    while not RELEASED.is_set():
        try:
            while not RELEASED.is_set():
                pass
        except BaseException:
            pass


def identity(x):
    return x


@pytest.mark.parametrize("answer", [loop_forever, swallow_everything])
def test_endless_answers_are_given_up_with_whole_sentences(answer, monkeypatch):
    monkeypatch.setattr(hints, "TIME_LIMIT_S", 0.3)
    exercise = Exercise("9.9", identity, "warum", lambda rng: [(1,)])
    RELEASED.clear()
    verdict = engine.review(exercise, answer, 1)
    RELEASED.set()
    assert verdict.status == "falsch" and "wird nicht fertig (Grenze: 0.3 Sekunden)" in verdict.hints[0]
    assert verdict.hints[2] == "Beispiel: Für 1 wird sie nicht fertig."


def print_forever(*args):
    while True:
        print("Zeile um Zeile", file=sys.stderr if args[0] else sys.stdout)


def compute_forever(*args):
    while True:
        np.ones((50, 50)) @ np.ones((50, 50))


@pytest.mark.parametrize("answer", [loop_forever, print_forever, compute_forever])
def test_stop_ends_an_endless_answer_with_one_sentence(answer):
    """*Stopp* in JupyterLab ist ein SIGINT: Es bleibt kein Faden, der weiterrechnet, und kein Traceback."""
    before = threading.active_count()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    verdict = engine.review(Exercise("9.9", identity, "warum", lambda rng: [(1,), (0,)]), answer, 1)
    assert verdict.status == "falsch" and re.fullmatch("Sie haben angehalten, ehe „identity“ .+\\.", verdict.hint)
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_an_answer_that_prints_without_end_takes_no_memory(monkeypatch):
    monkeypatch.setattr(hints, "TIME_LIMIT_S", 0.5)
    tracemalloc.start()
    verdict = engine.review(Exercise("9.9", identity, "warum", lambda rng: [(0,)]), print_forever, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "wird nicht fertig" in verdict.hints[0] and peak < 2_000_000


def test_the_third_hint_after_an_error_names_the_failing_input_and_a_hint_that_crashes_does_not_count():
    exercise = Exercise("9.9", identity, "warum", lambda rng: [(1,), (0,)], like(lambda x: 1 / 0, "nie", "nie"))
    verdict = engine.review(exercise, lambda x: x / x, 1)
    assert "ZeroDivisionError" in verdict.hints[0] and verdict.hints[2] == "Beispiel: Für 0 bricht sie ab."
    assert "falsche Werte" in engine.review(exercise, lambda x: 3, 1).hints[0]


def test_the_third_hint_shows_a_place_where_two_large_arrays_differ_and_no_memory_addresses():
    """Zwei gleiche Formen oder „<function … at 0x7f…>“ helfen niemandem."""
    exercise = Exercise("9.9", lambda x, move: x + 1.0, "warum", lambda rng: [(np.zeros((4, 5)), identity)])
    shown = engine.review(exercise, lambda x, move: x + np.eye(4, 5), 1).hints[2]
    assert shown.endswith("„identity“ gilt an der Stelle 0, 1: Ihre Funktion ergibt 0.0, richtig ist 1.0.")
    assert hints.short((np.float64(0.5), np.array(3))) == "(0.5, 3)"


# --- Was Lernende sehen ----------------------------------------------------------------------------------------------


def test_hints_grow_with_the_tries_and_progress_is_kept(ausgabe, capsys):
    lengths = []
    for _ in range(4):
        checked("1.1", SHIFTED)
        lengths.append(len(capsys.readouterr().out.strip().splitlines()))
    assert lengths == [1, 2, 3, 3]
    checked("1.1", answers.pixel_position)
    assert capsys.readouterr().out.startswith("✔ Aufgabe 1.1: Wer weiß")
    checked("1.1", SHIFTED)
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
    saved = json.loads((ausgabe / "fortschritt.json").read_text(encoding="utf-8"))
    assert saved == {"1.1": {"gelöst": True, "fehlversuche": 1}}


@pytest.mark.parametrize("content", ['{"1.1": 3}', '{"1.1": {"fehlversuche": "x"}}'])
def test_a_strange_entry_in_the_progress_file_does_not_matter(ausgabe, capsys, content):
    ausgabe.mkdir()
    (ausgabe / "fortschritt.json").write_text(content, encoding="utf-8")
    checked("1.1", answers.pixel_position)
    assert capsys.readouterr().out.startswith("✔")


@pytest.mark.parametrize("content", ["kein JSON", '{"1.1": {"gelöst": true, "fehlversu', None])
def test_a_damaged_progress_file_or_folder_is_named_and_kept(tmp_path, monkeypatch, capsys, content):
    """Die Prüfung gilt, aber der beschädigte Stand wird nicht still durch einen leeren ersetzt."""
    path = tmp_path / "fortschritt.json"
    path.write_text(content or "", encoding="utf-8")
    monkeypatch.setenv("KURS_AUSGABE", str(tmp_path if content else path))
    checked("1.1", answers.pixel_position)
    first, second = capsys.readouterr().out.strip().splitlines()
    assert "nicht gespeichert" in first and second.startswith("✔")
    assert not content or "fortschritt.json ist nicht lesbar" in first and "löschen Sie sie" in first
    assert path.read_text(encoding="utf-8") == (content or "")


def test_a_missing_name_is_told(ausgabe, capsys):
    exec("check('1.1')", {"check": check})
    assert "„pixel_position“ gibt es nicht" in capsys.readouterr().out


def test_the_hidden_test_raises_unless_solved(ausgabe, capsys):
    checked("1.1", answers.pixel_position, strict=True)
    with pytest.raises(AssertionError, match="um ein Pixel verschoben"):
        checked("1.1", SHIFTED, strict=True)
    with pytest.raises(AssertionError, match="noch nicht bearbeitet"):
        checked("1.1", None, strict=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", ["1.9", "9.1", "", 1.9])
def test_unknown_exercises_are_named(number):
    with pytest.raises(CourseError, match=f"Die Aufgabe „{number}“ gibt es nicht"):
        check(number)


def test_an_untouched_stub_is_not_attempted():
    def stub(name):
        """Beschreibung"""
        number = int(name)  # noqa: F841
        # Ersetzen Sie die drei Punkte durch Ihre Lösung.
        ...

    assert judged("1.1", stub).status == "offen"
    assert "gibt nichts zurück" in judged("1.1", lambda name: [].append(name)).hints[0]


# --- Ausführen hier, urteilen dort -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", EXERCISES)
def test_a_handed_over_answer_is_judged_the_same(tmp_path, monkeypatch, number):
    cases = EXERCISES[number].draw(5)
    (tmp_path / handover.CASES_FILE).write_text(json.dumps({number: 5}))
    monkeypatch.setitem(os.environ, handover.REVIEW_FOLDER, str(tmp_path))
    for answer, status in ((solution(number), "gelöst"), (wrong_answers(number)[0][0], "falsch"), (None, "offen")):
        checked(number, answer, strict=True)
        data = json.loads((tmp_path / f"{number}.json").read_text(encoding="utf-8"))
        assert handover.judge_handed_over(EXERCISES[number], cases, data).status == status


FOREIGN = {"wert": handover.encode(object()), "fehler": "", "geändert": False}


@pytest.mark.parametrize(
    "data", [None, 3, [], [{}], [{**FOREIGN, "wert": {"zahl": [1]}}], {"wert": 1}, [[]] * 8, [FOREIGN]]
)
def test_forged_hand_overs_are_rejected(data):
    verdict = handover.judge_handed_over(EXERCISES["1.1"], [("pixel1",)], data)
    assert verdict.status == "falsch" and verdict.hints[0]


@pytest.mark.parametrize("kind", ["O", "U100000000", "S9", "M8[s]", "V8", "a,b,c"])
def test_forged_arrays_are_rejected(kind):
    """Beliebige Objekte, Riesentexte, fremde Arten; und eine Form, die den Speicher sprengte."""
    for data in ({"feld": ["x"], "art": kind, "form": [1]}, {"feld": [0], "art": "<f8", "form": [10**12]}):
        with pytest.raises((ValueError, TypeError)):
            handover.decode(data)


@pytest.mark.parametrize("number", answers.SAID)
def test_no_two_hints_are_swapped(number):
    hints = EXERCISES[number].hints
    for known, sentences in (
        (answers.SAID, [hint.says for hint in hints]),
        (answers.ADVISED, [hint.remedy for hint in hints]),
    ):
        for piece, sentence in zip(known[number].split(" | "), sentences, strict=True):
            assert {other for other in sentences if piece in other} == {sentence}
