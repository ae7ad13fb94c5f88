"""Die Prüfungen der Aufgaben: richtige Antworten angenommen, typische falsche mit eigenem Hinweis abgelehnt."""

import importlib
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from helpers.basics import COURSE_NOTEBOOKS, ROOT, SOLUTIONS, CourseError
from helpers.checks import check, engine, progress_text
from helpers.checks.engine import HIDDEN_SEED, VISIBLE_SEED, Exercise, Outcome, exercises, like, review
from helpers.workshop.notebooks import read_notebook

ANSWERS = {}
for number in range(1, 6):
    ANSWERS |= importlib.import_module(f"answers.answers_{number:02}").ANSWERS
WRONG = [(number, index) for number, (_, wrong) in ANSWERS.items() for index in range(len(wrong))]


def judged(number, answer, seed=VISIBLE_SEED):
    return review(exercises()[number], answer, seed)


@pytest.fixture(scope="module")
def solutions():
    """Nummer → Antwort, aus den Lösungszellen von ``solutions/`` ausgeführt."""
    from helpers.model import IMAGENET_MEAN_BGR

    found = {}
    for name in COURSE_NOTEBOOKS:
        for cell in read_notebook(SOLUTIONS / f"{name}.ipynb").cells:
            if cell.id.endswith("-loesung"):
                space = {"np": np, "IMAGENET_MEAN_BGR": IMAGENET_MEAN_BGR}
                exec(cell.source, space)
                number = f"{int(cell.id[:2])}.{cell.id.split('-')[2]}"
                found[number] = space[exercises()[number].name]
    return found


def test_the_course_has_20_to_25_exercises_3_to_6_in_each_notebook(solutions):
    per_notebook = [len(exercises(number)) for number in range(1, 6)]
    assert 20 <= sum(per_notebook) <= 25 and min(per_notebook) >= 3 and max(per_notebook) <= 6
    assert list(solutions) == list(exercises()) == list(ANSWERS)


@pytest.mark.parametrize("seed", [VISIBLE_SEED, HIDDEN_SEED, 77])
@pytest.mark.parametrize("number", list(ANSWERS))
def test_the_solution_and_a_different_right_answer_are_accepted(solutions, number, seed):
    for answer in (solutions[number], ANSWERS[number][0]):
        assert judged(number, answer, seed).status == "gelöst", judged(number, answer, seed).hints


@pytest.mark.parametrize(("number", "index"), WRONG)
def test_a_typical_wrong_answer_gets_its_own_hint(number, index):
    answer, said = ANSWERS[number][1][index]
    for seed in (VISIBLE_SEED, HIDDEN_SEED):
        verdict = judged(number, answer, seed)
        assert verdict.status == "falsch" and said in verdict.hints[0]
        assert len(verdict.hints) >= 2 and len(set(verdict.hints)) == len(verdict.hints)


@pytest.mark.parametrize("number", list(ANSWERS))
def test_every_exercise_has_three_wrong_answers_with_different_hints(number):
    hints = {judged(number, answer).hints[0] for answer, _ in ANSWERS[number][1]}
    assert len(hints) == len(ANSWERS[number][1]) >= 3


# --- Seltsame Antworten ----------------------------------------------------------------------------------------------


class Hostile:
    """Ein Ergebnis, das bei jeder Berührung wirft."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("repr")

    def __eq__(self, other):
        raise RuntimeError("eq")

    __hash__ = None


def raises(error):
    def answer(*args):
        raise error

    return answer


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("str")


STRANGE = {
    "None": None,
    "keine Funktion": 3,
    "gibt None zurück": lambda *args: print(),
    "falsche Art": lambda *args: "Text",
    "falsche Form": lambda *args: np.zeros((2, 3, 4)),
    "leer": lambda *args: np.zeros(0),
    "leere Liste": lambda *args: [],
    "ungleich lang": lambda *args: [[1, 2], [3]],
    "Objekte": lambda *args: np.array([object(), None], dtype=object),
    "nan": lambda *args: np.full((3, 3), np.nan),
    "Generator": lambda *args: (value for value in [1, 2]),
    "Menge": lambda *args: {1, 2},
    "feindlich": lambda *args: Hostile(),
    "feindliche Antwort": Hostile(),
    "falsche Angaben": lambda: 1,
    "wirft": raises(KeyError("weg")),
    "wirft unlesbar": raises(Unprintable()),
    "endet": raises(SystemExit(0)),
    "bricht ab": raises(KeyboardInterrupt()),
    "tief": lambda *args: (lambda f: f(f))(lambda f: f(f)),
}


@pytest.mark.parametrize("number", list(ANSWERS))
@pytest.mark.parametrize("kind", list(STRANGE))
def test_strange_answers_get_a_german_sentence(ausgabe, capsys, number, kind):
    check(number, STRANGE[kind])
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


@pytest.mark.parametrize("answer", [loop_forever, swallow_everything])
def test_endless_answers_are_given_up(answer):
    exercise = Exercise("9.9", "f", "warum", lambda rng: [(1,)], lambda x: x, (), time_limit_s=0.3)
    RELEASED.clear()
    verdict = review(exercise, answer, 1)
    RELEASED.set()
    assert verdict.status == "falsch" and "wird nicht fertig (Grenze: 0.3 Sekunden)" in verdict.hints[0]


def test_a_hint_that_crashes_does_not_count():
    exercise = Exercise("9.9", "f", "warum", lambda rng: [(2,)], lambda x: x, (like(lambda x: 1 / 0, "nie", "nie"),))
    assert "falsche Werte" in review(exercise, lambda x: 3, 1).hints[0]


# --- Was Lernende sehen ----------------------------------------------------------------------------------------------


def test_hints_grow_with_the_tries_and_progress_is_kept(ausgabe, capsys):
    wrong = ANSWERS["1.1"][1][0][0]
    lengths = []
    for _ in range(4):
        check("1.1", wrong)
        lengths.append(len(capsys.readouterr().out.strip().splitlines()))
    assert lengths == [1, 2, 3, 3]
    assert progress_text() == "0 von 25 Aufgaben gelöst."
    check("1.1", ANSWERS["1.1"][0])
    assert capsys.readouterr().out.startswith("✔ Aufgabe 1.1: Wer weiß")
    assert progress_text() == "1 von 25 Aufgaben gelöst."
    check("1.1", wrong)
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
    saved = json.loads((ausgabe / "fortschritt.json").read_text(encoding="utf-8"))
    assert saved == {"1.1": {"gelöst": True, "fehlversuche": 1}}


@pytest.mark.parametrize("content", ['{"1.1": 3}', '{"1.1": {"fehlversuche": "x"}}'])
def test_a_strange_entry_in_the_progress_file_does_not_matter(ausgabe, capsys, content):
    ausgabe.mkdir()
    (ausgabe / "fortschritt.json").write_text(content, encoding="utf-8")
    check("1.1", ANSWERS["1.1"][0])
    assert capsys.readouterr().out.startswith("✔")


@pytest.mark.parametrize("content", ["kein JSON", "[1]", '{"1.1": {"gelöst": true, "fehlversu'])
def test_a_damaged_progress_file_is_named_and_kept(ausgabe, capsys, content):
    """Die Prüfung gilt, aber der beschädigte Stand wird nicht still durch einen leeren ersetzt."""
    ausgabe.mkdir()
    path = ausgabe / "fortschritt.json"
    path.write_text(content, encoding="utf-8")
    check("1.1", ANSWERS["1.1"][0])
    first, second = capsys.readouterr().out.strip().splitlines()
    assert "fortschritt.json ist nicht lesbar" in first and "löschen Sie sie" in first and second.startswith("✔")
    assert path.read_text(encoding="utf-8") == content
    assert "nicht lesbar" in progress_text()


def test_an_unwritable_folder_does_not_matter(tmp_path, monkeypatch, capsys):
    (tmp_path / "datei").write_text("")
    monkeypatch.setenv("KURS_AUSGABE", str(tmp_path / "datei" / "ausgabe"))
    check("1.1", ANSWERS["1.1"][0])
    first, second = capsys.readouterr().out.strip().splitlines()
    assert "nicht gespeichert" in first and second.startswith("✔")


def test_the_answer_is_found_by_its_name(ausgabe, capsys):
    exec("check('1.1')", {"check": check, "pixel_position": ANSWERS["1.1"][0]})
    exec("check('1.1')", {"check": check})
    right, missing = capsys.readouterr().out.splitlines()
    assert right.startswith("✔") and "„pixel_position“ gibt es nicht" in missing


def test_the_hidden_test_raises_unless_solved(ausgabe, capsys):
    check("1.1", ANSWERS["1.1"][0], strict=True)
    with pytest.raises(AssertionError, match="um ein Pixel verschoben"):
        check("1.1", ANSWERS["1.1"][1][0][0], strict=True)
    with pytest.raises(AssertionError, match="noch nicht bearbeitet"):
        check("1.1", None, strict=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", ["1.9", "9.1", "x", "", 1.1])
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


def test_the_engine_imports_nothing_heavy():
    code = "import sys, helpers.checks; print(sorted({'numpy', 'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- Ausführen hier, urteilen dort -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", list(ANSWERS))
def test_a_handed_over_answer_is_judged_the_same(tmp_path, monkeypatch, number):
    exercise = exercises()[number]
    cases = engine.secret_cases(exercise, 5)
    (tmp_path / engine.CASES_FILE).write_text(json.dumps({number: 5}))
    monkeypatch.setenv(engine.REVIEW_FOLDER, str(tmp_path))
    for answer, status in ((ANSWERS[number][0], "gelöst"), (ANSWERS[number][1][0][0], "falsch"), (None, "offen")):
        check(number, answer, strict=True)
        data = json.loads((tmp_path / f"{number}.json").read_text(encoding="utf-8"))
        assert engine.judge_handed_over(exercise, cases, data).status == status


@pytest.mark.parametrize(
    "data", [None, 3, [], [{}], [{"wert": {"zahl": [1]}, "fehler": "", "geändert": False}], {"wert": 1}, [[]] * 8]
)
def test_forged_hand_overs_are_rejected(data):
    exercise = exercises()["1.1"]
    verdict = engine.judge_handed_over(exercise, exercise.cases(np.random.default_rng(5)), data)
    assert verdict.status == "falsch" and verdict.hints[0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2,
        2.5,
        "x",
        [1, (2, "y")],
        {"a": {1, 2}, 3: None},
        np.arange(6).reshape(2, 3),
        np.zeros((0, 3), bool),
    ],
)
def test_encoding_survives_json(value):
    assert engine.same(engine.decode(json.loads(json.dumps(engine.encode(value)))), value)


def test_unknown_kinds_become_foreign():
    assert engine.decode(engine.encode(object())) == engine.Foreign("object")
    assert not engine.judge(exercises()["1.1"], [("pixel1",)], [Outcome(engine.Foreign("object"))]).accepted
