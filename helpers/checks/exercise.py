"""Was eine Aufgabe ist: Eingaben, Lösung, typische Fehler; und wann zwei Ergebnisse gleich sind."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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
        wrong: eine Antwort mit diesem Fehler; None, wenn er nur an der Ausgabe zu erkennen ist.
    """

    found: Callable
    says: str
    remedy: str
    wrong: Callable | None = None


def like(wrong: Callable, says: str, remedy: str) -> Hint:
    """Der Fehler, der dasselbe ergibt wie die Funktion ``wrong``, und zwar in jedem Versuch."""

    def found(trials):
        would = [wrong(*copy.deepcopy(trial.args)) for trial in trials]
        differs = any(not same(value, trial.expected) for value, trial in zip(would, trials, strict=True))
        return differs and all(same(trial.output, value) for value, trial in zip(would, trials, strict=True))

    return Hint(found, says, remedy, wrong)


def when(wrong: Callable, says: str, remedy: str) -> Hint:
    """Der Fehler, den ``wrong(output, *args)`` in einem Versuch oder mehreren erkennt."""
    return Hint(lambda trials: any(wrong(trial.output, *trial.args) for trial in trials), says, remedy)


class Exercise:
    """Eine Aufgabe.

    Attributes:
        number: z. B. „1.3“.
        name: so heißt die Funktion oder Variable im Notebook.
        solve: die Lösung; None, wenn viele Antworten richtig sind und allein ``hints`` entscheiden.
        why: der Satz nach dem ✔: wozu das gut ist.
        cases: Zufallsgenerator → Liste von Eingaben, jede ein Tupel; eine Variable hat die Eingabe ().
        hints: typische Fehler, der erste passende zählt.
        form: Ausgabe, Eingaben → Satz, wenn die Ausgabe nicht die verlangte Form hat (nur ohne ``solve`` nötig).
        is_value: Die Antwort ist eine Variable, keine Funktion.
    """

    def __init__(self, number, solve, why, cases, *hints, form=None, is_value=False):
        """``solve`` heißt wie die Antwort; gibt es keine einzige Lösung, steht dort nur ihr Name."""
        self.name, self.solve = (solve, None) if isinstance(solve, str) else (solve.__name__, solve)
        self.number, self.why, self.cases, self.hints = number, why, cases, hints
        self.form, self.is_value = form, is_value

    def draw(self, seed: int) -> list:
        """Die Eingaben zu einem Startwert, in jedem Prozess dieselben."""
        return self.cases(np.random.default_rng(seed))


@dataclass(frozen=True)
class Verdict:
    """Das Urteil: ``status`` ist „gelöst“, „falsch“ oder „offen“; ``hints`` werden von links nach rechts deutlicher."""

    status: str
    hints: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.status == "gelöst"

    @property
    def hint(self) -> str:
        """Der erste Hinweis; leer, wenn die Antwort stimmt."""
        return "" if self.accepted else (self.hints or ("noch nicht bearbeitet",))[0]


def plain(value):
    """``value`` aus NumPy, Listen und Zahlen; Tensoren und Tabellen werden zu Feldern."""
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
    first, second = plain(first), plain(second)
    if isinstance(first, dict) and isinstance(second, dict):
        return set(first) == set(second) and all(same(first[key], second[key]) for key in first)
    if any(isinstance(value, str | dict | None) for value in (first, second)):
        return type(first) is type(second) and first == second
    if isinstance(first, set) or isinstance(second, set):
        return set(first) == set(second)
    try:
        left, right = np.asarray(first), np.asarray(second)
    except ValueError:  # verschieden lange Teile
        return len(first) == len(second) and all(map(same, first, second))
    if left.shape != right.shape:
        return False
    if left.dtype.kind not in "biuf" or right.dtype.kind not in "biuf":
        return left.dtype.kind == right.dtype.kind and bool((left == right).all())
    left, right = left.astype(float), right.astype(float)
    scale = np.abs(right[np.isfinite(right)]).max(initial=0)
    return bool(np.allclose(left, right, rtol=1e-4, atol=1e-5 * scale + 1e-9, equal_nan=True))
