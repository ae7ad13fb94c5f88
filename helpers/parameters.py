"""Die Parameter der Notebooks prüfen, ehe etwas rechnet: Ein falscher Wert soll nichts kosten.

Jedes Notebook fragt in der Zelle nach seinen Parametern, und ``python -m helpers kurs``, bevor ein Kernel startet. Das
Profil beurteilt seine Werte selbst; hier stehen nur die übrigen. Fremde Notebooks dürfen weitere Parameter haben.
"""

from pathlib import Path

from helpers.basics import CourseError, one_line
from helpers.settings import check_number, get_profile

SOURCES = ("auto", "beispiel", "voll")
MODELS = ("kurs", "sauber", "vergiftet")
NUMBERS = {"seed": (0, 2**32 - 1), "bilder": (2, 10_000)}
CHOICES = {"quelle", "welches_modell", "regeln", "verfahren", "umschlag"}


def _wanted(name: str, value, folder: Path) -> str:
    """Was der Parameter stattdessen braucht; leer, wenn der Wert geht."""
    if name == "quelle":
        path = folder / str(value)
        place = path.is_dir() or path.suffix.lower() == ".zip" and path.is_file()
        known = isinstance(value, str) and (value in SOURCES or value and place)
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


def check_parameters(values: dict, folder: Path = Path()) -> None:
    """Prüft alle gesetzten Parameter; in einem Notebook: ``check_parameters(globals())``.

    Args:
        values: Name → Wert; was kein Parameter ist, bleibt unbeachtet.
        folder: der Ordner, von dem aus ein relativer Pfad gilt.

    Raises:
        CourseError: beim ersten Wert, der nicht geht, mit dem Parameter und dem, was er braucht.
    """
    get_profile(values.get("profil", "schnell"), epochs=values.get("epochen"))
    for name in NUMBERS.keys() & values.keys():
        check_number(f"Der Parameter „{name}“", values[name], *NUMBERS[name])
    for name in CHOICES & values.keys():
        if wanted := _wanted(name, values[name], folder):
            shown = one_line(str(values[name])[:40])
            raise CourseError(f"Der Parameter „{name}“ kann nicht „{shown}“ sein: Setzen Sie für {name} {wanted}.")
