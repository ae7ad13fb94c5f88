"""Die Parameter der Notebooks prüfen, bevor ein Kernel startet: Ein falscher Wert soll nichts kosten.

Das Profil beurteilt seine Werte selbst; hier stehen nur die übrigen. Fremde Notebooks dürfen weitere
Parameter haben.
"""

from pathlib import Path

from helpers.basics import NOTEBOOKS, CourseError, one_line
from helpers.settings import check_number, get_profile

SOURCES = ("auto", "beispiel", "voll")
MODELS = ("kurs", "sauber", "vergiftet")
NUMBERS = {"seed": (0, 2**32 - 1), "bilder": (2, 10_000)}
CHOICES = {"quelle", "welches_modell", "regeln", "verfahren", "umschlag"}


def _wanted(name: str, value) -> str:
    """Was der Parameter stattdessen braucht; leer, wenn der Wert geht."""
    if name == "quelle":
        # Der Kernel arbeitet in notebooks/, von dort aus gilt ein relativer Pfad.
        known = isinstance(value, str) and (value in SOURCES or value and (NOTEBOOKS / Path(value)).is_dir())
        return "" if known else f"{', '.join(SOURCES)} oder einen Ordner, den es gibt"
    if name == "welches_modell":
        return "" if value in MODELS else f"eines von {', '.join(MODELS)}"
    if name == "umschlag":
        return "" if isinstance(value, str) and len(value) <= 100 else "ein Wort, etwa Ihren Namen"
    if name == "verfahren" and value is None:
        return ""
    from helpers.lrp import LRP_RULES
    from helpers.scorecard import methods

    known = LRP_RULES if name == "regeln" else methods()
    fits = isinstance(value, list) and value and all(each in known for each in value)
    return "" if fits else f"eine Liste aus {', '.join(known)}, mit Kommas getrennt"


def check_parameters(values: dict) -> None:
    """Prüft alle gesetzten Parameter.

    Args:
        values: Name → Wert.

    Raises:
        CourseError: beim ersten Wert, der nicht geht, mit dem Parameter und dem, was er braucht.
    """
    get_profile(values.get("profil", "schnell"), epochs=values.get("epochen"))
    for name in NUMBERS.keys() & values.keys():
        check_number(f"Der Parameter „{name}“", values[name], *NUMBERS[name])
    for name in CHOICES & values.keys():
        if wanted := _wanted(name, values[name]):
            shown = one_line(str(values[name])[:40])
            raise CourseError(
                f"Der Parameter „{name}“ kann nicht „{shown}“ sein: Setzen Sie hinter -p {name} {wanted}."
            )
