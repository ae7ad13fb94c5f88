"""Für die Durchsicht: im abgeschotteten Prozess ausführen und die Ausgaben ablegen, anderswo darüber urteilen."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from helpers.basics import read_json, write_json
from helpers.checks.engine import MISSING, Outcome, judge, run_cases, untouched, wrong
from helpers.checks.exercise import Exercise, Verdict, plain
from helpers.checks.hints import describe

# Ist diese Variable gesetzt, urteilt der Kernel nicht selbst: Er legt die Ausgaben für die Durchsicht in diesen Ordner.
REVIEW_FOLDER = "KURS_DURCHSICHT"
CASES_FILE = "startwerte.json"  # Nummer → Startwert: Mehr geht nicht über die Grenze, beide Seiten würfeln dasselbe.
MAX_ITEM_BYTES = 4000  # ein Text von 1.000 Zeichen


def without_solutions(source: str) -> str:
    """Quelltext eines ``notebook_0x``, von dem nur bleibt, was die Eingaben würfelt: So reist keine Lösung mit."""
    body, made, kept = ast.parse(source).body, {}, []
    for node in body:
        targets = [
            name for each in getattr(node, "targets", []) for name in ast.walk(each) if isinstance(name, ast.Name)
        ]
        made |= dict.fromkeys(
            [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else [name.id for name in targets], node
        )

    def keep(node):
        kept.append(node)
        for needed in [made[each.id] for each in ast.walk(node) if isinstance(each, ast.Name) and each.id in made]:
            if needed not in kept:
                keep(needed)

    for node in body:
        match node:
            case ast.Import() | ast.ImportFrom():
                keep(node)
            case ast.Assign(value=ast.Call(func=ast.Name("Exercise"), args=[number, name, _, cases, *_]) as call):
                name = name if isinstance(name, ast.Constant) else ast.Constant(name.id)
                call.args = [number, name, ast.Constant(""), cases]
                call.keywords = [option for option in call.keywords if option.arg == "is_value"]
                keep(node)
    return "\n".join(ast.unparse(node) for node in body if node in kept)


def hand_over(exercise: Exercise, answer, folder: Path) -> None:
    """Führt die Antwort auf den Eingaben der Durchsicht aus und legt die Ausgaben als JSON ab."""
    cases = exercise.draw(read_json(folder / CASES_FILE)[exercise.number])
    if answer is MISSING or untouched(answer):
        data = "offen"
    elif not exercise.is_value and not callable(answer):
        data = [Outcome(error=f"TypeError: {exercise.name} ist keine Funktion")]
    else:
        data = run_cases(answer, cases, exercise.is_value)
    if data != "offen":
        data = [{"wert": encode(o.output), "fehler": o.error, "geändert": o.changed_input} for o in data]
    write_json(folder / f"{exercise.number}.json", data)


def judge_handed_over(exercise: Exercise, cases: list, data) -> Verdict:
    """Das Urteil über das JSON aus ``hand_over``; wirft nie, was auch immer darin steht."""
    try:
        if data == "offen":
            return Verdict("offen")
        outcomes = [Outcome(decode(o["wert"]), str(o["fehler"]), bool(o["geändert"])) for o in data]
        return judge(exercise, cases, outcomes)
    except Exception as error:
        return wrong(f"Die Ausgaben sind nicht lesbar ({describe(error)}).")


def encode(value):
    """Macht aus einer Ausgabe JSON, das sich ohne Gefahr lesen lässt (kein pickle)."""
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
        return SimpleNamespace(type_name=str(value))  # eine Ausgabe, deren Art die Prüfung nicht kennt
    raise ValueError(f"unerwarteter Eintrag {key}")
