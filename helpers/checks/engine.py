"""Der Motor der Prüfungen: eine Antwort auf frischen Eingaben ausführen und über ihre Ausgaben urteilen.

Geprüft wird, was eine Antwort *tut*, nicht wie sie geschrieben ist. Ausführen und Urteilen sind getrennt: Die
Durchsicht führt fremden Code in einem abgeschotteten Prozess aus und urteilt in einem eigenen über dessen Ausgaben.
"""

import ast
import copy
import ctypes
import inspect
import io
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial

import numpy as np

from helpers.checks import hints
from helpers.checks.exercise import Exercise, Trial, Verdict, plain, same

MISSING = object()  # Es gibt keine Antwort unter dem erwarteten Namen.


# --- Ausführen -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Was eine Antwort auf eine Eingabe ergab: ``output`` oder ``error`` („zeit“, „Fehlertyp: Text“)."""

    output: object = None
    error: str = ""
    changed_input: bool = False


class TimeUp(BaseException):
    """Die Zeit ist um. Kein Exception, damit „except Exception“ in einer Antwort sie nicht verschluckt."""


def limited(function: Callable, seconds: float):
    """Ruft ``function()`` auf und wartet höchstens ``seconds``; ergibt (Wert, Fehler oder None).

    Die Funktion läuft in einem eigenen Faden: So kehrt der Aufruf auch dann zurück, wenn sie alle Fehler verschluckt
    oder in fremdem Code festhängt, und das auf jedem Betriebssystem.
    """
    result, ended = [], threading.Event()  # join taugt nicht: Nach einem Strg+C hielte es den Faden für beendet

    def run():
        try:
            result.append((function(), None))
        except BaseException as error:
            result.append((None, error))
        finally:
            ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        ended.wait(seconds)
    finally:  # auch wenn jemand auf „Stopp“ drückt: Dann darf der Faden nicht weiterrechnen
        for _ in range(20):
            if ended.is_set():
                break
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeUp))
            ended.wait(0.05)
    return result[0] if result else (None, TimeUp())


class Nowhere(io.TextIOBase):
    """Wohin eine Antwort während der Prüfung druckt: Auch was kein Ende nimmt, braucht so keinen Speicher."""

    def write(self, text: str) -> int:
        return len(text)


def run_cases(answer, cases: list, is_value: bool) -> list[Outcome]:
    """Führt die Antwort auf allen Eingaben aus, zusammen höchstens ``TIME_LIMIT_S`` Sekunden; Ausdrucke fallen weg."""
    outcomes, end = [], time.monotonic() + hints.TIME_LIMIT_S
    for args in cases:
        given = copy.deepcopy(args)
        with redirect_stdout(Nowhere()), redirect_stderr(Nowhere()):
            value, error = (answer, None) if is_value else limited(partial(answer, *given), end - time.monotonic())
        if error is not None:
            return [*outcomes, Outcome(error="zeit" if isinstance(error, TimeUp) else hints.describe(error))]
        pairs = zip(given, args, strict=True)
        changed = any(isinstance(old, np.ndarray | list | dict) and not same(new, old) for new, old in pairs)
        outcomes.append(Outcome(value, changed_input=changed))
    return outcomes


# --- Urteilen --------------------------------------------------------------------------------------------------------


def untouched(answer) -> bool:
    """Noch nicht bearbeitet: None, ``...``, oder in der Funktion stehen noch die drei Punkte und kein ``return``."""
    if answer is None or answer is Ellipsis:
        return True
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(answer)))))
    except (OSError, TypeError, SyntaxError):  # keine Funktion, oder der Quelltext ist nicht mehr da
        return False
    dots = any(isinstance(n, ast.Expr) and getattr(n.value, "value", None) is Ellipsis for n in nodes)
    return dots and not any(isinstance(n, ast.Return) and n.value for n in nodes)


def review(exercise: Exercise, answer, seed: int) -> Verdict:
    """Führt die Antwort aus und urteilt; wirft nie."""
    try:
        if answer is MISSING:
            return Verdict("offen", (f"Den Namen „{exercise.name}“ gibt es nicht: Führen Sie die Zelle darüber aus.",))
        if untouched(answer):
            return Verdict("offen")
        if not exercise.is_value and not callable(answer):
            return wrong(
                f"„{exercise.name}“ ist keine Funktion mehr, sondern {hints.kind(answer)}.",
                f"Beginnen Sie die Zelle mit „def {exercise.name}(…):“ und führen Sie sie neu aus.",
            )
        cases = exercise.draw(seed)
        return judge(exercise, cases, run_cases(answer, cases, exercise.is_value))
    except KeyboardInterrupt:
        return wrong(
            f"Sie haben angehalten, ehe „{exercise.name}“ fertig war: Prüfen Sie, ob jede Schleife ein Ende hat."
        )
    except Exception as error:
        return wrong(f"Mit dieser Ausgabe kann die Prüfung nichts anfangen ({hints.describe(error)}).")


def judge(exercise: Exercise, cases: list, outcomes: list[Outcome]) -> Verdict:
    """Urteilt über Ausgaben, ohne die Antwort selbst aufzurufen."""
    for args, outcome in zip(cases, outcomes, strict=False):
        if outcome.error:
            return wrong(*hints.for_error(exercise, outcome.error, args))
    if len(outcomes) != len(cases):
        return wrong("Ihre Antwort lieferte nicht für jede Eingabe ein Ergebnis.")
    solve = exercise.solve or (lambda *args: None)
    pairs = zip(cases, outcomes, strict=True)
    trials = [Trial(args, plain(outcome.output), solve(*copy.deepcopy(args))) for args, outcome in pairs]
    if all(trial.output is None for trial in trials):
        return wrong(f"„{exercise.name}“ gibt nichts zurück (None).", "Am Ende fehlt „return“ mit dem Ergebnis.")
    if exercise.solve is None:
        found = hints.for_form(exercise, trials) or hints.for_typical_mistake(exercise, trials)
    elif all(same(trial.output, trial.expected) for trial in trials):
        found = None
    else:
        found = hints.for_typical_mistake(exercise, trials) or hints.for_difference(trials)
    if found:
        return wrong(*found)
    if any(outcome.changed_input for outcome in outcomes):
        return wrong(
            "Das Ergebnis stimmt, aber Ihre Funktion verändert ihre Eingabe.",
            "Arbeiten Sie mit einer Kopie, z. B. „result = images.copy()“, sonst sind die Originale danach verdorben.",
        )
    return Verdict("gelöst")


def wrong(*sentences: str) -> Verdict:
    return Verdict("falsch", sentences)
