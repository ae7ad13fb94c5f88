"""Eigene Bilder und eigene Netze: lesen, prüfen, und der Ordner zum Üben."""
