"""Der Hinweis zu einer falschen Antwort: welcher passt, und wie er lautet.

Jede Funktion ``for_…`` ergibt Sätze, die von links nach rechts deutlicher werden; der letzte ist ein Beispiel.
"""

import numpy as np

from helpers.checks.exercise import Exercise, Trial, plain, same

TIME_LIMIT_S = 10.0  # so lange darf eine Antwort für alle Eingaben zusammen rechnen
SHOWN_CHARACTERS = 80
SHOWN_VALUES = 12


def for_error(exercise: Exercise, error: str, args: tuple) -> tuple[str, ...]:
    """Die Antwort lief auf der Eingabe ``args`` nicht zu Ende."""
    if error == "zeit":
        return (
            f"„{exercise.name}“ wird nicht fertig (Grenze: {TIME_LIMIT_S:g} Sekunden).",
            "Prüfen Sie, ob jede Schleife ein Ende hat. Rechnet der Kernel weiter, starten Sie ihn neu.",
            f"{given(args)} wird sie nicht fertig.",
        )
    return (
        f"„{exercise.name}“ bricht mit einem Fehler ab: {error}",
        "Rufen Sie die Funktion in einer eigenen Zelle auf: Der Pfeil „---->“ zeigt die Zeile, in der es hakt.",
        f"{given(args)} bricht sie ab.",
    )


def for_form(exercise: Exercise, trials: list[Trial]) -> tuple[str, ...] | None:
    """Eine Ausgabe hat nicht die verlangte Form."""
    for trial in trials:
        try:
            sentence = exercise.form and exercise.form(trial.output, *trial.args)
        except Exception as error:
            sentence = f"Die Ausgabe hat nicht die verlangte Form ({describe(error)})."
        if sentence:
            return sentence, "Lesen Sie noch einmal, welche Form verlangt ist.", example(trial)
    return None


def for_typical_mistake(exercise: Exercise, trials: list[Trial]) -> tuple[str, ...] | None:
    """Der erste typische Fehler, der zu allen Versuchen passt."""
    for hint in exercise.hints:
        try:  # Das Beispiel soll ein Versuch sein, in dem der Fehler auch zu sehen ist.
            seen = [trial for trial in trials if hint.found([trial])] if hint.found(trials) else []
        except Exception:  # zu einer Ausgabe dieser Art passt der Fehler nicht
            seen = []
        if seen:
            return hint.says, hint.remedy, example(seen[0])
    return None


def for_difference(trials: list[Trial]) -> tuple[str, ...]:
    """Kein typischer Fehler passt: falsche Art, falsche Form, fehlende Zahlen, falsche Werte."""
    trial = next(t for t in trials if not same(t.output, t.expected))
    got, want = trial.output, plain(trial.expected)
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
    other_kind = isinstance(want, str | dict | set) and type(got) is not type(want)
    if other_kind or right.dtype.kind in "biuf" and left.dtype.kind not in "biuf":
        return f"Verlangt ist {kind(want)}, Ihre Antwort ist {kind(got)}.", example(trial)
    if left.shape != right.shape:
        return (
            f"Ihr Ergebnis hat die Form {left.shape}, verlangt ist {right.shape}.",
            "Lassen Sie sich die Form jedes Zwischenschritts mit „print(….shape)“ zeigen.",
            example(trial),
        )
    if left.dtype.kind == "f" and not np.isfinite(left).all():
        return "Ihr Ergebnis enthält fehlende oder unendliche Werte.", "Wird irgendwo durch null geteilt?"
    return (
        "Ihr Ergebnis hat die richtige Form, aber falsche Werte.",
        "Rechnen Sie ein winziges Beispiel auf Papier nach und vergleichen Sie Schritt für Schritt.",
        example(trial),
    )


def example(trial: Trial) -> str:
    """Der deutlichste Hinweis: ein Fall mit Eingabe, Ausgabe und, wenn es nur eine gibt, der richtigen."""
    if not trial.args:  # Bei einer Variablen wäre die richtige Ausgabe schon die ganze Lösung.
        return f"Ihre Antwort ist {short(trial.output)}."
    got, want, place = trial.output, trial.expected, ""
    both = isinstance(got, np.ndarray) and isinstance(want, np.ndarray) and got.shape == want.shape
    if both and want.size > SHOWN_VALUES and got.dtype.kind in "biuf":
        # Zwei Formen sagen hier nichts: Gezeigt wird die erste Stelle, an der die Arrays verschieden sind.
        spot = np.unravel_index((~np.isclose(got, want)).argmax(), want.shape)
        got, want, place = got[spot], want[spot], f" an der Stelle {', '.join(map(str, spot))}"
    wanted = "" if want is None else f", richtig ist {short(want)}"
    return f"{given(trial.args)} gilt{place}: Ihre Funktion ergibt {short(got)}{wanted}."


def given(args: tuple) -> str:
    return f"Beispiel: Für {', '.join(map(short, args))}"


def short(value) -> str:
    """Ein Wert in höchstens 80 Zeichen."""
    try:
        if isinstance(value, np.random.Generator):
            return "ein Zufallsgenerator"
        if hasattr(value, "__name__"):  # eine Funktion
            return f"„{value.__name__}“"
        value = value.item() if isinstance(value, np.generic) else plain(value)
        if isinstance(value, tuple | list):
            value = type(value)(
                each.item() if isinstance(each, np.generic | np.ndarray) and each.ndim == 0 else each for each in value
            )
        if isinstance(value, np.ndarray) and value.size > SHOWN_VALUES:
            return f"ein Array der Form {value.shape}"
        if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
            value = value.tolist()
        with np.printoptions(precision=3, suppress=True):
            text = " ".join((str if isinstance(value, np.ndarray) else repr)(value).split())
    except Exception:
        text = type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def kind(value) -> str:
    """Ein deutscher Name für die Art eines Werts."""
    names = {str: "ein Text", dict: "ein Wörterbuch (dict)", set: "eine Menge (set)", type(None): "nichts (None)"}
    names |= {bool: "ein Wahrheitswert", int: "eine ganze Zahl", float: "eine Zahl", tuple: "ein Tupel"}
    if isinstance(value, np.ndarray):
        return f"ein Array der Form {value.shape}" if value.ndim else "eine Zahl"
    if isinstance(value, list):
        return f"eine Liste mit {len(value)} Einträgen"
    return names.get(type(value), f"etwas anderes ({type(value).__name__})")


def describe(error: BaseException) -> str:
    """Fehlertyp und Meldung in einer Zeile; auch eine Meldung, die beim Lesen wirft, darf nicht stören."""
    try:
        text = " ".join(str(error).split())[:200]
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
