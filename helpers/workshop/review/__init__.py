"""Durchsicht von Abgaben: ``python -m helpers durchsicht ABGABEN…``.

``handins`` liest fremde Notebooks, ohne ihnen zu trauen, ``sandbox`` sperrt ihre Ausführung ein, ``worker`` führt sie
darin aus, ``grading`` urteilt und trägt die Punkte in nbgraders Notenbuch ein, ``page`` schreibt die Ergebnisse.
"""
