"""Antworten zu den Aufgaben, eine Tabelle je Notebook: Nummer → (andere richtige, [(falsche, Hinweis)])."""
