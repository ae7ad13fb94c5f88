"""Die Startseite ``00_Start``: Landkarte des Kurses mit Minuten, Stand der Aufgaben, Ergebnis von ``doctor``.

Wie ``helpers.start`` kommt das Modul mit der Standardbibliothek aus.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from helpers.basics import COURSE_NOTEBOOKS, NOTEBOOKS, ROOT, START_PAGE, german, output_dir, try_read_json
from helpers.checks import PROGRESS_FILE
from helpers.workshop import doctor

README = ROOT / "README.md"
# In dieser Zelle steht die Startseite.
CELL_ID = "00-ueberblick"


@dataclass(frozen=True)
class Stop:
    """Eine Zeile der Landkarte.

    Attributes:
        name: Notebook, z. B. „03_Training“.
        topic: Untertitel des Notebooks.
        reading, exercises: Minuten zum Lesen und für die Aufgaben, wie sie im Notebook stehen; None: steht nicht da.
        computing: gemessene Minuten Rechenzeit; None: nicht gemessen.
        numbers: Nummern der Aufgaben, z. B. („3.1“, „3.2“).
        solved: die davon gelösten.
    """

    name: str
    topic: str
    reading: int | None
    exercises: int
    computing: float | None
    numbers: tuple
    solved: tuple


def course_map(notebooks_dir=NOTEBOOKS) -> list:
    """Die Notebooks des Kurses als ``Stop``, mit dem Stand aus ``ausgabe/fortschritt.json``."""
    progress = try_read_json(output_dir() / PROGRESS_FILE, {})
    minutes, _ = computing_minutes()
    return [read_stop(name, Path(notebooks_dir), progress, minutes.get(name)) for name in COURSE_NOTEBOOKS]


def read_stop(name: str, folder: Path, progress: dict, computing) -> Stop:
    """Liest Untertitel, Minuten und Aufgaben aus einem Notebook; was darin fehlt, bleibt leer."""
    cells = try_read_json(folder / f"{name}.ipynb", {}).get("cells", [])
    text = "\n".join("".join(cell.get("source", "")) for cell in cells if cell.get("cell_type") == "markdown")
    title = re.search(r"^# \d+ (?:[^:\n]+: )?(.+)", text, re.MULTILINE)
    reading = re.search(r"\*\*Dauer:\*\* etwa (\d+) Minuten", text)
    tasks = re.findall(r"^### ✏️ Aufgabe (\d\.\d): .+\((\d+) Minuten\)", text, re.MULTILINE)
    numbers = tuple(number for number, _ in tasks)
    entries = {number: progress.get(number) for number in numbers}
    return Stop(
        name,
        title[1] if title else "",
        int(reading[1]) if reading else None,
        sum(int(minutes) for _, minutes in tasks),
        computing,
        numbers,
        tuple(number for number, entry in entries.items() if isinstance(entry, dict) and entry.get("gelöst")),
    )


def computing_minutes(readme=README) -> tuple:
    """(Notebook → gemessene Minuten Rechenzeit, Satz zur Herkunft): der eigene Lauf, sonst die Tabelle der README."""
    own = try_read_json(output_dir() / "kennzahlen.json", {}).get("minuten")
    if isinstance(own, dict) and all(isinstance(own.get(name), (int, float)) for name in COURSE_NOTEBOOKS):
        return own, "gemessen bei Ihrem letzten Lauf von „bash install.bash kurs“"
    lines = Path(readme).read_text(encoding="utf-8").splitlines() if Path(readme).is_file() else []
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    column = next((row.index("davon Rechenzeit") for row in rows if "davon Rechenzeit" in row), None)
    found = {}
    for row in rows if column is not None else ():
        name = re.match(r"\[(\w+)\]", row[0])
        value = re.match(r"(\d+(?:,\d+)?) min$", row[column]) if len(row) > column else None
        if name and value:
            found[name[1]] = float(value[1].replace(",", "."))
    return found, "gemessen auf zwei CPU-Kernen ohne GPU"


def page(notebooks_dir=NOTEBOOKS) -> str:
    """Die Startseite als Markdown."""
    stops = course_map(notebooks_dir)
    return "\n\n".join([progress_text(stops), map_table(stops), doctor_text(doctor.checks())])


def progress_text(stops: list) -> str:
    """Ein Absatz: wie viel gelöst ist und wo es weitergeht."""
    solved, total = sum(len(stop.solved) for stop in stops), sum(len(stop.numbers) for stop in stops)
    following = next((stop for stop in stops if len(stop.solved) < len(stop.numbers)), None)
    text = f"## Ihr Fortschritt\n\n**{solved} von {total} Aufgaben gelöst.** "
    if not following:
        return text + "Der Kurs ist geschafft. Können Sie Ihr Urteil über das Netz jetzt verteidigen?"
    begin = "Fangen Sie an mit" if not solved else "Weiter geht es mit"
    return f"{text}{begin} [{following.name}]({following.name}.ipynb): {following.topic}"


def map_table(stops: list) -> str:
    """Die Landkarte als Tabelle."""
    lines = [
        "| Notebook | Worum es geht | Lesen | Aufgaben | Rechenzeit | Gelöst |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for stop in stops:
        done, total = len(stop.solved), len(stop.numbers)
        dots = "✔" if total and done == total else "●" * done + "○" * (total - done)
        lines.append(
            f"| [{stop.name}]({stop.name}.ipynb) | {stop.topic} | {minutes_text(stop.reading)} | "
            f"{minutes_text(stop.exercises)} | {minutes_text(stop.computing)} | {dots} {done} von {total} |"
        )
    hours = german(sum((stop.reading or 0) + stop.exercises for stop in stops) / 60, 1)
    _, source = computing_minutes()
    return "\n".join(lines) + f"\n\nZusammen etwa {hours} Stunden. Die Rechenzeit zählt zum Lesen; sie ist {source}."


def minutes_text(value) -> str:
    """Minuten für die Tabelle: ganze Zahlen wie sie sind, gemessene mit einer Nachkommastelle."""
    if value is None:
        return "–"
    return f"{value if isinstance(value, int) else german(value, 1)} min"


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


def with_page(notebook: dict) -> dict:
    """``00_Start`` mit der Startseite als Ausgabe, als wäre seine Zelle eben gelaufen; ändert ``notebook``."""
    for cell in notebook["cells"]:
        if cell.get("id") == CELL_ID:
            data = {"text/markdown": page(), "text/plain": f"{START_PAGE}: Führen Sie diese Zelle aus."}
            cell["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
    return notebook


def without_page(notebook: dict) -> dict:
    """``00_Start`` ohne Ausgaben, so wie es gespeichert wird; ändert ``notebook``."""
    for cell in notebook["cells"]:
        if cell.get("cell_type") == "code":
            cell.update(outputs=[], execution_count=None)
    return notebook
