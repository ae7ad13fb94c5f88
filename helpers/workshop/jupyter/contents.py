"""Wie JupyterLab die Dateien des Kurses liest: Die Startseite zeigt beim Öffnen den Stand von jetzt."""

import asyncio

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from helpers.basics import START_PAGE
from helpers.workshop import start_page


def is_start_page(path: str, model) -> bool:
    """Geht es um den Inhalt von ``00_Start.ipynb``?"""
    name = path.strip("/").rsplit("/", 1)[-1]
    return name == f"{START_PAGE}.ipynb" and bool(model) and model.get("type") == "notebook" and bool(model["content"])


class CourseContents(AsyncLargeFileManager):
    """Füllt die Startseite beim Lesen mit ihrer Ausgabe und speichert sie ohne sie: Die Datei bleibt unverändert."""

    async def get(self, path, content=True, type=None, format=None, require_hash=False):
        """Wie beim Vorbild; Notebook ``00_Start`` kommt mit Landkarte, Fortschritt und Ergebnis von doctor zurück."""
        model = await super().get(path, content, type, format, require_hash)
        if is_start_page(path, model):
            try:
                # Prüfsummen dauern eine halbe Sekunde: nicht im Faden, der auch die Kernel bedient.
                start_page.fill(model["content"], await asyncio.to_thread(start_page.page))
            except Exception as error:  # Ohne Startseite lässt sich der Kurs trotzdem öffnen.
                self.log.warning("Die Startseite lässt sich nicht füllen: %s", error)
        return model

    async def save(self, model, path=""):
        """Wie beim Vorbild; von der Startseite bleiben die Ausgaben weg."""
        if is_start_page(path, model):
            start_page.fill(model["content"])
        return await super().save(model, path)
