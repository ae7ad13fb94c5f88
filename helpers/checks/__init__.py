"""Prüfungen der Aufgaben: ``check("1.1")`` probiert eine Antwort auf frischen Eingaben aus und sagt, was war.

``engine`` führt Antworten aus und urteilt, ``notebook_01`` bis ``notebook_05`` beschreiben die Aufgaben.
"""

from helpers.checks.engine import check, progress_text

__all__ = ["check", "progress_text"]
