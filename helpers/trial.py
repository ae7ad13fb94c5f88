"""Die Blindprobe lesen: wie oft die Verdachtssuche fand, was da war, und wie oft sie Unschuldige beschuldigte."""

import pandas as pd

from helpers.basics import INPUT, CourseError, as_dict, display_path, german, try_read_json

STORED_TRIAL = INPUT / "blindprobe.json"
# Was die Suche leisten soll, festgelegt, bevor gemessen wurde.
TARGETS = {
    **{f"gefunden: {group}": "mindestens 80 %" for group in ("alle", "Quadrat", "Linie", "Punkte", "Rand")},
    "gefunden: Größe ab 2 und Stärke ab 0,6": "mindestens 95 %",
    "zu Unrecht beschuldigt: saubere Klassen": "höchstens 2 %",
    "zu Unrecht beschuldigt: saubere Netze": "höchstens 10 %",
    "Abstand der Mitten (Median, Pixel)": "höchstens 2",
}


def stored_trial(path=STORED_TRIAL) -> dict:
    """Die mitgelieferte Blindprobe: eine Zeile je Netz (``netze``), und was sie zusammen sagen (``ergebnis``).

    Raises:
        CourseError: wenn sie fehlt oder beschädigt ist.
    """
    stored = try_read_json(path, {})
    if not stored.get("netze") or not as_dict(stored.get("ergebnis")):
        raise CourseError(f"{display_path(path)} fehlt oder ist beschädigt: Holen Sie die Datei neu.")
    return stored


def table(stored: dict):
    """Die Blindprobe zum Lesen, als pandas.DataFrame: eine Spalte je Verfahren, Anteile als „Treffer von Fällen“, dazu
    das Ziel der Suche."""

    def text(share) -> str:
        return f"{round(share[0] * share[3])} von {share[3]}" if share else "–"

    columns = {}
    for name, each in stored["ergebnis"].items():
        column = {f"gefunden: {group}": text(share) for group, share in each["gefunden"].items()}
        column["gezeigt, mit irgendeinem Urteil"] = text(each["gezeigt"])
        column["zu Unrecht beschuldigt: saubere Klassen"] = text(each["beschuldigte Klassen"])
        column["zu Unrecht beschuldigt: saubere Netze"] = text(each["beschuldigte Netze"])
        column["Abstand der Mitten (Median, Pixel)"] = "–" if each["abstand"] is None else german(each["abstand"], 1)
        rates = {"gefunden je Minute": "gefunden je Minute", "Suche auf denselben Netzen, je Minute": "Suche je Minute"}
        column |= {shown: "–" if each[key] is None else german(each[key], 2) for shown, key in rates.items()}
        columns[name] = column
    shown = pd.DataFrame(columns)
    shown.insert(0, "Ziel", shown.index.map(lambda name: TARGETS.get(name, "")))
    return shown


def missed(stored: dict) -> str:
    """Ein Satz: wie viele benutzte Zeichen die Suche in der Blindprobe fand und wie groß die übersehenen waren."""
    found = stored["ergebnis"]["Suche"]["gefunden"]["alle"]
    if not found:
        return ""
    hits, nets = round(found[0] * found[3]), len(stored["netze"])
    said = f"In der Blindprobe ({nets} Netze) fand die Suche {hits} von {found[3]} Zeichen, die ein Netz nutzte"
    if not (sizes := stored["ergebnis"]["Suche"]["übersehene Pixel"]):
        return f"{said}."
    if len(sizes) == 1:
        return f"{said}; das übersehene hatte {sizes[0]} Pixel."
    span = f"{sizes[0]} bis {sizes[-1]}" if sizes[0] < sizes[-1] else sizes[0]
    return f"{said}; die übersehenen hatten {span} Pixel."
