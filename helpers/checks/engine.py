"""Der Motor der Prüfungen: eine Antwort auf frischen Eingaben ausführen, vergleichen, einen Hinweis geben.

Geprüft wird, was eine Antwort *tut*, nicht wie sie geschrieben ist. Ausführen und Urteilen sind getrennt: Die
Durchsicht führt fremden Code in einem abgeschotteten Prozess aus und urteilt in einem eigenen über dessen Ausgaben.
"""

import ast
import copy
import ctypes
import importlib
import inspect
import io
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from helpers.basics import CourseError, output_dir, read_json, reason, update_json, write_json

TIME_LIMIT_S = 10.0
VISIBLE_SEED, HIDDEN_SEED = 1, 2
PROGRESS_FILE = "fortschritt.json"
# Ist diese Variable gesetzt, urteilt der Kernel nicht selbst: Er legt die Ausgaben für die Durchsicht in diesen Ordner.
REVIEW_FOLDER = "KURS_DURCHSICHT"
CASES_FILE = "startwerte.json"
MAX_ITEM_BYTES = 4000  # ein Text von 1.000 Zeichen


class _Missing:
    """Es gibt keine Antwort unter dem erwarteten Namen."""

    def __repr__(self):
        return "nicht vorhanden"


MISSING = _Missing()


# --- Aufgaben --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """Ein Versuch: Eingaben, Ausgabe der Antwort, Ausgabe der Lösung (None, wenn es viele richtige gibt)."""

    args: tuple
    output: object
    expected: object = None


@dataclass(frozen=True)
class Hint:
    """Ein typischer Fehler.

    Attributes:
        found: bekommt alle Versuche und sagt, ob dieser Fehler vorliegt; wirft er, liegt er nicht vor.
        says: was schiefging (erster Versuch).
        remedy: wie es richtig geht (ab dem zweiten Versuch).
    """

    found: Callable
    says: str
    remedy: str


def like(wrong: Callable, says: str, remedy: str) -> Hint:
    """Der Fehler, der dasselbe ergibt wie die Funktion ``wrong``, und zwar in jedem Versuch."""

    def found(trials):
        would = [wrong(*copy.deepcopy(trial.args)) for trial in trials]
        differs = any(not same(value, trial.expected) for value, trial in zip(would, trials, strict=True))
        return differs and all(same(trial.output, value) for value, trial in zip(would, trials, strict=True))

    return Hint(found, says, remedy)


def when(wrong: Callable, says: str, remedy: str) -> Hint:
    """Der Fehler, den ``wrong(output, *args)`` in einem Versuch oder mehreren erkennt."""
    return Hint(lambda trials: any(wrong(trial.output, *trial.args) for trial in trials), says, remedy)


@dataclass(frozen=True)
class Exercise:
    """Eine Aufgabe.

    Attributes:
        number: z. B. „1.3“.
        name: so heißt die Funktion oder Variable im Notebook.
        why: der Satz nach dem ✔: wozu das gut ist.
        cases: Zufallsgenerator → Liste von Eingaben, jede ein Tupel; eine Variable hat die Eingabe ().
        solve: die Lösung; None, wenn viele Antworten richtig sind und allein ``hints`` entscheiden.
        hints: typische Fehler, der erste passende zählt.
        form: Ausgabe, Eingaben → Satz, wenn die Ausgabe nicht die verlangte Form hat (nur ohne ``solve`` nötig).
        is_value: Die Antwort ist eine Variable, keine Funktion.
    """

    number: str
    name: str
    why: str
    cases: Callable
    solve: Callable | None
    hints: tuple
    form: Callable | None = None
    is_value: bool = False
    time_limit_s: float = TIME_LIMIT_S


@dataclass(frozen=True)
class Verdict:
    """Das Urteil: ``status`` ist „gelöst“, „falsch“ oder „offen“; ``hints`` werden von links nach rechts deutlicher."""

    status: str
    hints: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.status == "gelöst"


def exercises(notebook: int | None = None) -> dict[str, Exercise]:
    """Nummer → Aufgabe, für ein Notebook (1–5) oder alle."""
    wanted = range(1, 6) if notebook is None else [notebook]
    modules = [importlib.import_module(f"helpers.checks.notebook_{number:02}") for number in wanted]
    return {exercise.number: exercise for module in modules for exercise in module.EXERCISES}


# --- Vergleichen -----------------------------------------------------------------------------------------------------


def plain(value):
    """``value`` aus NumPy, Listen und Zahlen; Tensoren und Tabellen werden zu Feldern."""
    import numpy as np

    if isinstance(value, np.ndarray | str | bytes | bool | int | float | type(None)):
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else [plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return set(value)
    if hasattr(value, "__array__"):
        return np.asarray(value)
    return value


def same(first, second) -> bool:
    """Gleich bis auf Rundung; Listen, Tupel und Felder gelten als gleich, wenn ihre Werte es sind."""
    import numpy as np

    first, second = plain(first), plain(second)
    if isinstance(first, str) or isinstance(second, str) or first is None or second is None:
        return type(first) is type(second) and first == second
    if isinstance(first, dict) or isinstance(second, dict):
        both = isinstance(first, dict) and isinstance(second, dict)
        return both and set(first) == set(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, set) or isinstance(second, set):
        return set(first) == set(second)
    try:
        left, right = np.asarray(first), np.asarray(second)
    except ValueError:  # verschieden lange Teile
        pairs = list(zip(first, second, strict=False))
        return len(first) == len(second) and all(same(a, b) for a, b in pairs)
    if left.shape != right.shape:
        return False
    if left.dtype.kind not in "biuf" or right.dtype.kind not in "biuf":
        return left.dtype.kind == right.dtype.kind and bool((left == right).all())
    if not left.size:
        return True
    left, right = left.astype(float), right.astype(float)
    scale = np.abs(right[np.isfinite(right)]).max(initial=0)
    return bool(np.allclose(left, right, rtol=1e-4, atol=1e-5 * scale + 1e-9, equal_nan=True))


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
    result = []

    def run():
        try:
            result.append((function(), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    for _ in range(20):
        if not thread.is_alive():
            break
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeUp))
        thread.join(0.05)
    return result[0] if result else (None, TimeUp())


def run_cases(answer, cases: list, is_value: bool, time_limit_s: float = TIME_LIMIT_S) -> list[Outcome]:
    """Führt die Antwort auf allen Eingaben aus, zusammen höchstens ``time_limit_s`` Sekunden; Ausdrucke fallen weg."""
    outcomes, end = [], time.monotonic() + time_limit_s
    for args in cases:
        given = copy.deepcopy(args)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            value, error = (
                (answer, None) if is_value else limited(lambda given=given: answer(*given), end - time.monotonic())
            )
        if isinstance(error, TimeUp):
            return [*outcomes, Outcome(error="zeit")]
        if error is not None:
            return [*outcomes, Outcome(error=describe(error))]
        outcomes.append(Outcome(value, changed_input=not same_input(given, args)))
    return outcomes


def describe(error: BaseException) -> str:
    """Fehlertyp und Meldung in einer Zeile; auch eine Meldung, die beim Lesen wirft, darf nicht stören."""
    try:
        text = " ".join(str(error).split())[:200]
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def same_input(after, before) -> bool:
    """Sind Felder, Listen und Wörterbücher unter den Eingaben noch, wie sie waren?"""
    import numpy as np

    pairs = zip(after, before, strict=True)
    return all(same(new, old) for new, old in pairs if isinstance(old, np.ndarray | list | dict))


# --- Urteilen --------------------------------------------------------------------------------------------------------


def is_stub(answer) -> bool:
    """Steht in der Funktion noch nichts außer dem Platzhalter ``...``?"""

    def stub():
        """Beschreibung"""
        ...

    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    empty = code.co_code == stub.__code__.co_code and set(code.co_consts) <= {None, answer.__doc__}
    return empty or has_placeholder(answer)


def has_placeholder(answer) -> bool:
    """Stehen die drei Punkte noch da, und nirgends ein ``return`` mit einem Wert?"""
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(answer)))))
    except (OSError, TypeError, SyntaxError):  # der Quelltext ist nicht mehr da
        return False
    dots = any(isinstance(n, ast.Expr) and getattr(n.value, "value", None) is Ellipsis for n in nodes)
    return dots and not any(isinstance(n, ast.Return) and n.value for n in nodes)


def not_attempted(answer, exercise: Exercise) -> bool:
    """Noch nicht bearbeitet: der Platzhalter, oder eine Variable, die noch None oder ``...`` ist."""
    if exercise.is_value:
        return answer is None or answer is Ellipsis
    return answer is None or answer is Ellipsis or is_stub(answer)


def judge(exercise: Exercise, cases: list, outcomes: list[Outcome]) -> Verdict:
    """Urteilt über Ausgaben, ohne die Antwort selbst aufzurufen."""
    for args, outcome in zip(cases, outcomes, strict=False):
        if outcome.error:
            return wrong(*error_hints(exercise, outcome.error), example_of(args))
    if len(outcomes) != len(cases):
        return wrong("Ihre Antwort lieferte nicht für jede Eingabe ein Ergebnis.")
    pairs = zip(cases, outcomes, strict=True)
    trials = [
        Trial(args, plain(o.output), exercise.solve(*copy.deepcopy(args)) if exercise.solve else None)
        for args, o in pairs
    ]
    if all(trial.output is None for trial in trials):
        return wrong(
            f"„{exercise.name}“ gibt nichts zurück (None).",
            "Am Ende fehlt „return“ mit dem Ergebnis.",
        )
    right = exercise.solve is not None and all(same(trial.output, trial.expected) for trial in trials)
    if not right:
        found = first_hint(exercise, trials)
        if found is not None or exercise.solve is not None:
            return found or wrong(*generic_hints(trials))
    if any(outcome.changed_input for outcome in outcomes):
        return wrong(
            "Das Ergebnis stimmt, aber Ihre Funktion verändert ihre Eingabe.",
            "Arbeiten Sie mit einer Kopie, z. B. „result = images.copy()“, sonst sind die Originale danach verdorben.",
        )
    return Verdict("gelöst")


def wrong(*hints) -> Verdict:
    return Verdict("falsch", tuple(hint for hint in hints if hint))


def first_hint(exercise: Exercise, trials: list[Trial]) -> Verdict | None:
    """Der erste typische Fehler, der zu allen Versuchen passt; ohne Lösung auch eine falsche Form."""
    if exercise.form:
        for trial in trials:
            try:
                sentence = exercise.form(trial.output, *trial.args)
            except Exception as error:
                sentence = f"Die Ausgabe hat nicht die verlangte Form ({describe(error)})."
            if sentence:
                return wrong(sentence, "Lesen Sie noch einmal, was die Funktion zurückgeben soll.", example(trial))
    for hint in exercise.hints:
        try:
            found = hint.found(trials)
        except Exception:  # zu einer Ausgabe dieser Art passt der Fehler nicht
            found = False
        if found:
            return wrong(hint.says, hint.remedy, example(trials[0]))
    return None


def error_hints(exercise: Exercise, error: str) -> tuple[str, str]:
    """Hinweise, wenn die Antwort gar nicht zu Ende lief."""
    if error == "zeit":
        return (
            f"„{exercise.name}“ wird nicht fertig (Grenze: {exercise.time_limit_s:g} Sekunden).",
            "Prüfen Sie, ob jede Schleife ein Ende hat. Rechnet der Kernel weiter, starten Sie ihn neu.",
        )
    return (
        f"„{exercise.name}“ bricht mit einem Fehler ab: {error}",
        "Rufen Sie die Funktion in einer eigenen Zelle auf: Der Pfeil „---->“ zeigt die Zeile, in der es hakt.",
    )


def generic_hints(trials: list[Trial]) -> tuple[str, str, str]:
    """Hinweise ohne passenden typischen Fehler: falsche Art, falsche Form, fehlende Zahlen, falsche Werte."""
    import numpy as np

    trial = next(t for t in trials if not same(t.output, t.expected))
    got, want = trial.output, plain(trial.expected)
    if isinstance(want, str | dict | set) and type(got) is not type(want):
        return f"Verlangt ist {kind(want)}, Ihre Antwort ist {kind(got)}.", "", example(trial)
    if isinstance(want, tuple) and (not isinstance(got, tuple | list) or len(got) != len(want)):
        return (
            f"Verlangt sind {len(want)} Ergebnisse, mit Komma getrennt; Ihre Antwort ist {kind(got)}.",
            "Schreiben Sie „return erstes, zweites“.",
            example(trial),
        )
    try:
        left, right = np.asarray(got), np.asarray(want)
    except ValueError:
        left = right = np.empty(0)
    if right.dtype.kind in "biuf" and left.dtype.kind not in "biuf":
        return f"Verlangt ist {kind(want)}, Ihre Antwort ist {kind(got)}.", "", example(trial)
    if left.shape != right.shape:
        return (
            f"Ihr Ergebnis hat die Form {left.shape}, verlangt ist {right.shape}.",
            "Lassen Sie sich die Form jedes Zwischenschritts mit „print(….shape)“ zeigen.",
            example(trial),
        )
    if left.dtype.kind == "f" and not np.isfinite(left).all():
        return "Ihr Ergebnis enthält fehlende oder unendliche Werte.", "Wird irgendwo durch null geteilt?", ""
    return (
        "Ihr Ergebnis hat die richtige Form, aber falsche Werte.",
        "Rechnen Sie ein winziges Beispiel auf Papier nach und vergleichen Sie Schritt für Schritt.",
        example(trial),
    )


def kind(value) -> str:
    """Ein deutscher Name für die Art eines Werts."""
    import numpy as np

    names = {str: "ein Text", dict: "ein Wörterbuch (dict)", set: "eine Menge (set)", type(None): "nichts (None)"}
    names |= {bool: "ein Wahrheitswert", int: "eine ganze Zahl", float: "eine Zahl", tuple: "ein Tupel"}
    if isinstance(value, np.ndarray):
        return f"ein Feld der Form {value.shape}" if value.ndim else "eine Zahl"
    if isinstance(value, list):
        return f"eine Liste mit {len(value)} Einträgen"
    return names.get(type(value), f"etwas anderes ({type(value).__name__})")


def example(trial: Trial) -> str:
    """Der deutlichste Hinweis: ein Fall mit Eingabe, Ausgabe und, wenn es nur eine gibt, der richtigen."""
    text = example_of(trial.args)
    shown = f"Ihre Funktion ergibt {short(trial.output)}" if trial.args else f"Ihre Antwort ist {short(trial.output)}"
    # Bei einer Variablen wäre die richtige Ausgabe schon die ganze Lösung.
    wanted = f", richtig ist {short(trial.expected)}" if trial.expected is not None and trial.args else ""
    return f"{text}{shown}{wanted}."


def example_of(args: tuple) -> str:
    return f"Beispiel: Für {', '.join(short(value) for value in args)} gilt: " if args else ""


def short(value) -> str:
    """Ein Wert in höchstens 80 Zeichen."""
    import numpy as np

    value = plain(value)
    try:
        if isinstance(value, np.ndarray) and value.size > 12:
            return f"ein Feld der Form {value.shape}"
        with np.printoptions(precision=3, suppress=True):
            text = " ".join(
                (
                    str(value.tolist() if value.dtype.kind in "iub" else value)
                    if isinstance(value, np.ndarray)
                    else repr(value)
                ).split()
            )
    except Exception:
        text = type(value).__name__
    return text if len(text) <= 80 else text[:79] + "…"


def review(exercise: Exercise, answer, seed: int) -> Verdict:
    """Führt die Antwort aus und urteilt; wirft nie."""
    import numpy as np

    try:
        if answer is MISSING:
            return Verdict("offen", (f"Den Namen „{exercise.name}“ gibt es nicht: Führen Sie die Zelle darüber aus.",))
        if not_attempted(answer, exercise):
            return Verdict("offen")
        if not exercise.is_value and not callable(answer):
            return wrong(
                f"„{exercise.name}“ ist keine Funktion mehr, sondern {kind(answer)}.",
                f"Beginnen Sie die Zelle mit „def {exercise.name}(…):“ und führen Sie sie neu aus.",
            )
        cases = exercise.cases(np.random.default_rng(seed))
        return judge(exercise, cases, run_cases(answer, cases, exercise.is_value, exercise.time_limit_s))
    except Exception as error:
        return wrong(f"Mit dieser Ausgabe kann die Prüfung nichts anfangen ({describe(error)}).")


# --- Was Lernende aufrufen -------------------------------------------------------------------------------------------


def check(number: str, answer=MISSING, strict: bool = False) -> None:
    """Prüft die Aufgabe ``number`` und sagt das Ergebnis: ✔, ✘ mit Hinweis oder „noch nicht bearbeitet“.

    Die Antwort ist, was im Notebook so heißt, wie die Aufgabe es verlangt. Ab dem zweiten und dritten Fehlversuch wird
    der Hinweis deutlicher.

    Args:
        answer: ersetzt die Antwort aus dem Notebook.
        strict: der verborgene Test: andere Eingaben, keine Ausgabe.

    Raises:
        AssertionError: nur mit ``strict``, wenn die Antwort nicht stimmt.
        CourseError: wenn es die Aufgabe nicht gibt.
    """
    try:
        exercise = exercises(int(number.split(".")[0]))[number]
    except (AttributeError, ValueError, ModuleNotFoundError, KeyError):
        raise CourseError(f'Die Aufgabe „{number}“ gibt es nicht: Schreiben Sie zum Beispiel check("1.1").') from None
    if answer is MISSING:
        answer = sys._getframe(1).f_globals.get(exercise.name, MISSING)
    if strict and os.environ.get(REVIEW_FOLDER):
        hand_over(exercise, answer, Path(os.environ[REVIEW_FOLDER]))
        return
    verdict = review(exercise, answer, HIDDEN_SEED if strict else VISIBLE_SEED)
    if strict:
        assert verdict.accepted, (verdict.hints or ("noch nicht bearbeitet",))[0]
        return
    print(message(exercise, verdict, remember(exercise, verdict)))


def message(exercise: Exercise, verdict: Verdict, tries: int) -> str:
    """Was unter der Prüfzelle steht; ``tries`` zählt die Fehlversuche mit diesem."""
    title = f"Aufgabe {exercise.number}"
    if verdict.accepted:
        return f"✔ {title}: {exercise.why}"
    if verdict.status == "offen":
        return " ".join([f"○ {title}: noch nicht bearbeitet.", *verdict.hints])
    return "\n   ".join([f"✘ {title}: {verdict.hints[0]}", *verdict.hints[1 : max(tries, 1)]])


def remember(exercise: Exercise, verdict: Verdict) -> int:
    """Merkt den Stand in ``ausgabe/fortschritt.json``; ergibt die Zahl der Fehlversuche seit der letzten Lösung."""
    path, tries = output_dir() / PROGRESS_FILE, 0

    def count(progress):
        nonlocal tries
        entry = progress.get(exercise.number)
        entry = entry if isinstance(entry, dict) else {}
        tries = entry.get("fehlversuche", 0)
        tries = tries if isinstance(tries, int) else 0
        tries = 0 if verdict.accepted else tries + 1
        entry = {"gelöst": verdict.accepted or bool(entry.get("gelöst")), "fehlversuche": tries}
        return dict(sorted({**progress, exercise.number: entry}.items()))

    if verdict.status == "offen":
        return tries
    try:
        update_json(path, count)
    except CourseError as error:  # beschädigter Stand oder schreibgeschützter Ordner: Die Prüfung gilt trotzdem.
        print(f"Der Fortschritt ist nicht gespeichert. {error}")
        tries = 1
    except OSError as error:
        print(f"Der Fortschritt ist nicht gespeichert ({reason(error)}): Prüfen Sie den freien Platz.")
        tries = 1
    return tries


def progress_text() -> str:
    """Ein Satz: wie viele Aufgaben gelöst sind."""
    try:
        done = read_json(output_dir() / PROGRESS_FILE, {})
    except CourseError as error:
        return str(error)
    numbers = exercises()
    solved = [number for number in numbers if isinstance(done.get(number), dict) and done[number].get("gelöst")]
    return f"{len(solved)} von {len(numbers)} Aufgaben gelöst."


# --- Für die Durchsicht: ausführen hier, urteilen anderswo -----------------------------------------------------------


def secret_cases(exercise: Exercise, seed: int) -> list:
    """Die Eingaben der Durchsicht. Über die Grenze geht nur der Startwert: Beide Seiten würfeln dasselbe."""
    import numpy as np

    return exercise.cases(np.random.default_rng(seed))


def hand_over(exercise: Exercise, answer, folder: Path) -> None:
    """Führt die Antwort auf den Eingaben der Durchsicht aus und legt die Ausgaben als JSON ab."""
    cases = secret_cases(exercise, read_json(folder / CASES_FILE)[exercise.number])
    if answer is MISSING or not_attempted(answer, exercise):
        data = "offen"
    elif not exercise.is_value and not callable(answer):
        data = [encode_outcome(Outcome(error=f"TypeError: {exercise.name} ist keine Funktion"))]
    else:
        data = [encode_outcome(o) for o in run_cases(answer, cases, exercise.is_value, exercise.time_limit_s)]
    write_json(folder / f"{exercise.number}.json", data)


def encode_outcome(outcome: Outcome) -> dict:
    return {"wert": encode(outcome.output), "fehler": outcome.error, "geändert": outcome.changed_input}


def encode(value):
    """Macht aus einer Ausgabe JSON, das sich ohne Gefahr lesen lässt (kein pickle)."""
    import numpy as np

    value = plain(value)
    if isinstance(value, str | bool | int | float | type(None)):
        return {"zahl": value}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {"feld": value.tolist(), "art": value.dtype.str, "form": list(value.shape)}
    if isinstance(value, list | tuple | set):
        name = "menge" if isinstance(value, set) else "tupel" if isinstance(value, tuple) else "liste"
        return {name: [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"paare": [[encode(key), encode(item)] for key, item in value.items()]}
    return {"fremd": type(value).__name__}


def decode(data):
    """Umkehrung von ``encode``.

    Raises:
        ValueError, KeyError, TypeError: bei allem, was ``encode`` nicht geschrieben hätte.
    """
    import numpy as np

    (key, value), *rest = data.items()
    if key == "feld":
        kind = np.dtype(data["art"])
        # „O“ wären beliebige Objekte, „U100000000“ nähme den ganzen Arbeitsspeicher.
        if kind.kind not in "biufU" or kind.itemsize > MAX_ITEM_BYTES:
            raise ValueError(f"unerwartete Art {kind}")
        return np.asarray(value, dtype=kind).reshape(data["form"])
    if rest:
        raise ValueError(f"unerwarteter Eintrag {rest[0][0]}")
    if key == "paare":
        return {decode(name): decode(item) for name, item in value}
    kinds = {"liste": list, "tupel": tuple, "menge": set}
    if key in kinds:
        return kinds[key](decode(item) for item in value)
    if key == "zahl" and isinstance(value, str | bool | int | float | type(None)):
        return value
    if key == "fremd":
        return Foreign(str(value))
    raise ValueError(f"unerwarteter Eintrag {key}")


@dataclass(frozen=True)
class Foreign:
    """Eine Ausgabe, deren Art die Prüfung nicht kennt."""

    type_name: str = field(default="")


def judge_handed_over(exercise: Exercise, cases: list, data) -> Verdict:
    """Das Urteil über das JSON aus ``hand_over``; wirft nie, was auch immer darin steht."""
    try:
        if data == "offen":
            return Verdict("offen")
        outcomes = [Outcome(decode(o["wert"]), str(o["fehler"]), bool(o["geändert"])) for o in data]
        return judge(exercise, cases, outcomes)
    except Exception as error:
        return wrong(f"Die Ausgaben sind nicht lesbar ({describe(error)}).")
