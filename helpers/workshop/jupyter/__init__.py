"""JupyterLab für den Kurs: deutsch, mit Startseite, nur auf diesem Rechner; eigene Einstellungen gehen vor."""
