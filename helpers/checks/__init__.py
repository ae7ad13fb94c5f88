"""Prüfungen der Aufgaben: ``check("1.1")`` probiert eine Antwort auf frischen Eingaben aus und sagt, was war.

``notebook_01`` bis ``notebook_05`` beschreiben die Aufgaben (``exercise`` sagt, wie), ``engine`` führt Antworten aus
und urteilt, ``hints`` wählt den Hinweis, ``handover`` dient der Durchsicht. Wer eine Aufgabe ergänzt, schreibt ihre
Zellen in ``solutions/`` und einen Eintrag in ``notebook_0x``, sonst nichts.
"""

import importlib
import os
import sys
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, CourseError, as_dict, output_dir, update_json
from helpers.checks.engine import MISSING, review
from helpers.checks.exercise import Exercise, Verdict
from helpers.checks.handover import REVIEW_FOLDER, hand_over

VISIBLE_SEED, HIDDEN_SEED = 1, 2


def exercises() -> dict[str, Exercise]:
    """Nummer → Aufgabe: alles, was in ``notebook_01`` bis ``notebook_05`` als ``Exercise`` steht."""
    modules = [importlib.import_module(f"helpers.checks.notebook_{name[:2]}") for name in COURSE_NOTEBOOKS]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Exercise)]
    return {exercise.number: exercise for exercise in found}


def find(number: str) -> Exercise:
    """Die Aufgabe ``number``; CourseError, wenn es sie nicht gibt."""
    exercise = exercises().get(str(number))
    if exercise is None:
        raise CourseError(f'Die Aufgabe „{number}“ gibt es nicht: Schreiben Sie zum Beispiel check("1.1").')
    return exercise


def check(number: str, strict: bool = False) -> None:
    """Prüft die Aufgabe ``number`` und sagt das Ergebnis: ✔, ✘ mit Hinweis oder „noch nicht bearbeitet“.

    Die Antwort ist, was im Notebook so heißt, wie die Aufgabe es verlangt. Ab dem zweiten und dritten Fehlversuch wird
    der Hinweis deutlicher.

    Args:
        strict: der verborgene Test: andere Eingaben, keine Ausgabe.

    Raises:
        AssertionError: nur mit ``strict``, wenn die Antwort nicht stimmt.
        CourseError: wenn es die Aufgabe nicht gibt.
    """
    exercise = find(number)
    answer = sys._getframe(1).f_globals.get(exercise.name, MISSING)
    if os.environ.get(REVIEW_FOLDER):  # dort gibt es keine Lösungen
        if strict:
            hand_over(exercise, answer, Path(os.environ[REVIEW_FOLDER]))
        return
    verdict = review(exercise, answer, HIDDEN_SEED if strict else VISIBLE_SEED)
    if strict:
        assert verdict.accepted, verdict.hint
        return
    print(message(exercise, verdict, remember(exercise, verdict)))


def use(number: str, otherwise=None):
    """Die Antwort auf Aufgabe ``number``, mit der es weitergeht: die eigene, wenn sie stimmt, sonst die des Kurses.

    Args:
        otherwise: die des Kurses, wo es viele richtige Antworten gibt; sonst ist es die Lösung.

    Raises:
        CourseError: wenn es die Aufgabe nicht gibt.
    """
    exercise = find(number)
    answer = sys._getframe(1).f_globals.get(exercise.name, MISSING)
    if os.environ.get(REVIEW_FOLDER):  # geprüft wird anderswo
        return otherwise if answer is MISSING else answer
    if review(exercise, answer, VISIBLE_SEED).accepted:
        says = "gilt Ihre Antwort" if exercise.is_value else "rechnet Ihre Funktion"
        print(f"Aufgabe {number}: Hier {says} „{exercise.name}“.")
        return answer
    says = "fehlt sie" if exercise.is_value else "rechnet die Funktion des Kurses"
    print(f"Aufgabe {number} ist noch nicht gelöst: Hier {says}.")
    return otherwise or exercise.solve


def message(exercise: Exercise, verdict: Verdict, tries: int) -> str:
    """Was unter der Prüfzelle steht; ``tries`` zählt die Fehlversuche mit diesem."""
    title = f"Aufgabe {exercise.number}"
    if verdict.accepted:
        return f"✔ {title}: {exercise.why}"
    if verdict.status == "offen":
        return " ".join([f"○ {title}: noch nicht bearbeitet.", *verdict.hints])
    return "\n   ".join([f"✘ {title}: {verdict.hints[0]}", *verdict.hints[1:tries]])


def remember(exercise: Exercise, verdict: Verdict) -> int:
    """Merkt den Stand in ``ausgabe/fortschritt.json``; ergibt die Zahl der Fehlversuche seit der letzten Lösung."""

    def count(progress):
        entry = as_dict(progress.get(exercise.number))
        before = entry.get("fehlversuche")
        tries = 0 if verdict.accepted else 1 + (before if isinstance(before, int) else 0)
        entry = {"gelöst": verdict.accepted or bool(entry.get("gelöst")), "fehlversuche": tries}
        return dict(sorted({**progress, exercise.number: entry}.items()))

    if verdict.status == "offen":
        return 0
    try:
        return update_json(output_dir() / "fortschritt.json", count)[exercise.number]["fehlversuche"]
    except (CourseError, OSError) as error:  # beschädigter Stand, schreibgeschützter Ordner: Die Prüfung gilt trotzdem
        print(f"Der Fortschritt ist nicht gespeichert. {error}")
        return 1
