"""Was den Kurs trägt, ohne dass es jemand zum Verstehen lesen muss: Dateien, Herkunft, Zeichenfelder, Schichten."""
