"""Was der Kurs druckt, kommt auch dort lesbar an, wo die Ausgabe kein UTF-8 ist; auch unter Python 3.8."""

import codecs
import sys
import unicodedata

# Wie sich unsere Zeichen dort schreiben; anderes verliert nur seine Akzente.
SPELLED = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "✔": "[OK]", "✘": "[X]"}
SPELLED.update({"○": "[ ]", "●": "[*]", "→": "->", "−": "-", "–": "-", "„": '"', "“": '"', "…": "...", "×": "x"})
SPELLED.update({"α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "·": ".", "≥": ">="})


def spell(error):
    """Für ``codecs.register_error``: was anstelle der Zeichen geschrieben wird, die nicht gehen."""
    text = error.object[error.start : error.end]
    plain = {char: unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?" for char in text}
    return "".join(SPELLED.get(char, plain[char]) for char in text), error.end


def speak_any_encoding() -> None:
    """Danach werfen stdout und stderr nie mehr, auch nicht mit PYTHONIOENCODING=ascii."""
    codecs.register_error("kurs", spell)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="kurs")
