"""Die Parameter der Notebooks prüfen, bevor ein Kernel startet: Ein falscher Wert soll nichts kosten.

Jeder Parameter, den ein Notebook des Kurses nennt, hat hier eine Regel. Fremde Notebooks dürfen weitere haben.
"""

import math
from pathlib import Path

from helpers.basics import NOTEBOOKS, CourseError, is_number, is_whole, one_line
from helpers.settings import MAX_EPOCHS, PROFILES

SOURCES = ("auto", "beispiel", "voll")
MODELS = ("kurs", "sauber", "vergiftet")
MARK = ("wz_klasse", "wz_groesse", "wz_oben", "wz_links", "wz_staerke", "wz_anteil")


def _whole(lowest: int, highest: int):
    def rule(value):
        fits = is_whole(value) and lowest <= value <= highest
        return "" if fits else f"eine ganze Zahl von {lowest} bis {highest}"

    return rule


def _share(value) -> str:
    return "" if is_number(value) and 0 <= value <= 1 else "eine Zahl von 0 bis 1"


def _one_of(*names):
    def rule(value):
        return "" if isinstance(value, str) and value in names else f"eines von {', '.join(names)}"

    return rule


def _or_none(inner):
    def rule(value):
        return "" if value is None or not (wanted := inner(value)) else f"{wanted} oder None"

    return rule


def _source(value) -> str:
    # Der Kernel arbeitet in notebooks/, von dort aus gilt ein relativer Pfad.
    known = isinstance(value, str) and (value in SOURCES or value and (NOTEBOOKS / Path(value)).is_dir())
    return "" if known else f"{', '.join(SOURCES)} oder einen Ordner, den es gibt"


def _list_of(names):
    """``names`` ist eine Funktion, denn die Namen kennt erst, wer TensorFlow lädt."""

    def rule(value):
        if not isinstance(value, list) or not value:
            return "eine Liste, mit Kommas getrennt"
        known = names()
        unknown = [each for each in value if each not in known]
        return f"nur {', '.join(known)}" if unknown else ""

    return rule


def _rules():
    from helpers.lrp import LRP_RULES

    return tuple(LRP_RULES)


def _methods():
    from helpers.scorecard import methods

    return tuple(methods())


RULES = {
    "profil": _one_of(*PROFILES),
    "quelle": _source,
    "seed": _whole(0, 2**32 - 1),
    "epochen": _or_none(_whole(1, MAX_EPOCHS)),
    "bilder": _whole(2, 10_000),
    "welches_modell": _one_of(*MODELS),
    "regeln": _list_of(_rules),
    "verfahren": _or_none(_list_of(_methods)),
    "wz_klasse": _whole(0, 9),
    "wz_groesse": _whole(1, 28),
    "wz_oben": _whole(0, 27),
    "wz_links": _whole(0, 27),
    "wz_staerke": _share,
    "wz_anteil": _share,
}


def check_parameters(values: dict, defaults: dict) -> None:
    """Prüft alle gesetzten Parameter, auch zusammen: Das Wasserzeichen muss ins Bild passen.

    Args:
        values: Name → Wert.
        defaults: Name → Vorgabe im Notebook, für die Werte, die nicht gesetzt sind.

    Raises:
        CourseError: beim ersten Wert, der nicht geht, mit dem Parameter und dem, was er braucht.
    """
    for name, value in values.items():
        wanted = RULES[name](value) if name in RULES else ""
        if not wanted and isinstance(value, float) and not math.isfinite(value):
            wanted = "eine endliche Zahl"
        if wanted:
            shown = one_line(str(value)[:40])
            raise CourseError(
                f"Der Parameter „{name}“ kann nicht „{shown}“ sein: Setzen Sie hinter -p {name} {wanted}."
            )
    if any(name in values for name in MARK) and all(name in defaults for name in MARK):
        from helpers.data import Watermark

        Watermark(*({**defaults, **values}[name] for name in MARK))
