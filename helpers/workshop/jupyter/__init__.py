"""JupyterLab für den Kurs: deutsche Oberfläche, Startseite, nur auf diesem Rechner zu erreichen.

Alles gilt nur für den Aufruf ``bash install.bash lab``; die eigenen Einstellungen der Person bleiben, wie sie sind, und
gehen in der Oberfläche vor.
"""
