"""Die Startseite ``00_Start``: Landkarte des Kurses mit Minuten, Stand der Aufgaben, Ergebnis von ``doctor``.

Wie ``helpers.start`` kommt das Modul mit der Standardbibliothek aus.
"""

import re
from typing import NamedTuple

from helpers.basics import COURSE_NOTEBOOKS, INPUT, NOTEBOOKS, START_PAGE, german, output_dir, read_json, try_read_json
from helpers.workshop import doctor

# Gemessene Minuten je Notebook, wie die README sie nennt.
STORED_MINUTES = INPUT / "rechenzeiten.json"
# In dieser Zelle steht die Startseite.
CELL_ID = "00-ueberblick"


class Stop(NamedTuple):
    """Eine Zeile der Landkarte."""

    name: str  # „03_Training“
    topic: str  # Untertitel des Notebooks
    reading: int  # Minuten, wie sie im Notebook stehen
    exercises: int
    numbers: tuple  # Nummern der Aufgaben: („3.1“, „3.2“)
    solved: int  # wie viele davon gelöst sind


def course_map() -> list:
    """Die Notebooks des Kurses als ``Stop``, mit dem Stand aus ``ausgabe/fortschritt.json``."""
    progress = try_read_json(output_dir() / "fortschritt.json", {})
    stops = []
    for name in COURSE_NOTEBOOKS:
        cells = try_read_json(NOTEBOOKS / f"{name}.ipynb", {}).get("cells", [])
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        topics = re.findall(r"^# \d+ (?:[^:\n]+: )?(.+)", text, re.MULTILINE) or [""]
        reading = re.findall(r"\*\*Dauer:\*\* etwa (\d+) Minuten", text) or ["0"]
        tasks = dict(re.findall(r"^### ✏️ Aufgabe (\d\.\d): .+\((\d+) Minuten\)", text, re.MULTILINE))
        solved = sum(bool(progress.get(number, {}).get("gelöst")) for number in tasks)
        stops.append(Stop(name, topics[0], int(reading[0]), sum(map(int, tasks.values())), tuple(tasks), solved))
    return stops


def page() -> str:
    """Die Startseite als Markdown."""
    stops = course_map()
    return "\n\n".join([progress_text(stops), map_table(stops), doctor_text(doctor.checks())])


def progress_text(stops: list) -> str:
    """Ein Absatz: wie viel gelöst ist und wo es weitergeht."""
    solved, total = sum(stop.solved for stop in stops), sum(len(stop.numbers) for stop in stops)
    following = next((stop for stop in stops if stop.solved < len(stop.numbers)), None)
    text = f"## Ihr Fortschritt\n\n**{solved} von {total} Aufgaben gelöst.** "
    if not following:
        return text + "Der Kurs ist geschafft. Können Sie Ihr Urteil über das Netz jetzt verteidigen?"
    begin = "Fangen Sie an mit" if not solved else "Weiter geht es mit"
    return f"{text}{begin} [{following.name}]({following.name}.ipynb): {following.topic}"


def map_table(stops: list) -> str:
    """Die Landkarte als Tabelle."""
    stored = read_json(STORED_MINUTES)
    lines = [
        "| Notebook | Worum es geht | Lesen | Aufgaben | Rechenzeit | Gelöst |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for stop in stops:
        total = len(stop.numbers)
        dots = "✔" if stop.solved == total else "●" * stop.solved + "○" * (total - stop.solved)
        lines.append(
            f"| [{stop.name}]({stop.name}.ipynb) | {stop.topic} | {stop.reading} min | {stop.exercises} min | "
            f"{german(float(stored['minuten'][stop.name]), 1)} min | {dots} {stop.solved} von {total} |"
        )
    hours = german(sum(stop.reading + stop.exercises for stop in stops) / 60, 1)
    source = f"sie ist {stored['gemessen']} gemessen"
    return (
        "\n".join(lines) + f"\n\nZusammen etwa {hours} Stunden. Die Rechenzeit ist in der Lesezeit enthalten; {source}."
    )


def doctor_text(results: list) -> str:
    """Das Ergebnis von ``doctor``: ein Satz, was fehlt mit Abhilfe, und zum Aufklappen alle Prüfungen."""
    missing = [check for check in results if not check.ok]
    text = "## Ist alles da?\n\n"
    if missing:
        text += "✘ **Es fehlt etwas.** Beheben Sie das zuerst und laden Sie diese Seite dann neu:\n\n"
        text += "".join(f"- **{check.name}:** {check.detail} → {check.remedy}\n" for check in missing)
    else:
        text += f"✔ **Alles da**, {len(results)} von {len(results)} Prüfungen bestanden.\n"
    table = doctor.table(results)
    return text + f"\n<details><summary>Alle Prüfungen zeigen</summary>\n\n```text\n{table}\n```\n\n</details>"


def show() -> None:
    """Zeigt die Startseite unter der laufenden Zelle."""
    from IPython.display import Markdown, display

    display(Markdown(page()))


def fill(notebook: dict, text: str = "") -> None:
    """Gibt der Zelle von ``00_Start`` die Ausgabe ``text``, als wäre sie eben gelaufen; alle anderen sind leer."""
    data = {"text/markdown": text, "text/plain": f"{START_PAGE}: Führen Sie diese Zelle aus."}
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[output] if text and cell.get("id") == CELL_ID else [], execution_count=None)
