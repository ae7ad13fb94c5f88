"""Werkstatt: was Lehrende und CI brauchen und kein Notebook: ausführen, ableiten, berichten, durchsehen, packen."""
