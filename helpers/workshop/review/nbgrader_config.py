"""Damit öffnet nbgrader ``solutions/`` als Quelle, aufgerufen im Kursordner; der Befehl steht in der README."""

from helpers.basics import output_dir
from helpers.workshop.notebooks import CODE_STUB, TEXT_STUB

folder = output_dir() / "nbgrader"
folder.mkdir(parents=True, exist_ok=True)
c = get_config()  # noqa: F821  (stellt nbgrader bereit)
c.CourseDirectory.source_directory = "."
for name in ("release", "submitted", "autograded", "feedback"):
    setattr(c.CourseDirectory, f"{name}_directory", str(folder / name))
c.CourseDirectory.ignore = [".*", "__pycache__", "*.png", "*.pyc"]
c.CourseDirectory.db_url = f"sqlite:///{folder / 'gradebook.db'}"
c.ClearSolutions.code_stub = {"python": CODE_STUB}
c.ClearSolutions.text_stub = TEXT_STUB
