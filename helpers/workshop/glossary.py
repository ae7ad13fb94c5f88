"""Ein Wort für eine Sache: ``input/begriffe.csv`` nennt jeden Begriff, das Glossar der README entsteht daraus.

Spalten: Begriff, englisch, Erklärung, verbotene Synonyme (durch Semikolon getrennt; ``*`` steht für beliebige
Buchstaben). Über die verbotenen wacht ``tests/test_terms.py``.
"""

import csv

from helpers.basics import INPUT, ROOT, CourseError, atomic_file, display_path

TERMS, README = INPUT / "begriffe.csv", ROOT / "README.md"
COLUMNS = ("Begriff", "englisch", "Erklärung", "verbotene Synonyme")
BEGIN, END = "<!-- Glossar aus input/begriffe.csv: python -m helpers ableiten -->", "<!-- Ende des Glossars -->"


def read_terms(path=TERMS) -> list[dict]:
    """Die Zeilen der Tabelle der Begriffe, Spalte → Text.

    Raises:
        CourseError: wenn eine Zeile nicht vier Spalten hat.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(COLUMNS):
            where = f"{display_path(path)}, Zeile {number}"
            raise CourseError(f"{where}: Es braucht vier Spalten; setzen Sie Text mit Komma in Anführungszeichen.")
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:]]


def glossary(terms: list[dict]) -> str:
    """Das Glossar als Markdown-Tabelle."""
    rows = [f"| {term['Begriff']} | *{term['englisch']}* | {term['Erklärung']} |" for term in terms]
    return "\n".join(["| Deutsch | Englisch | Erklärung |", "| --- | --- | --- |", *rows])


def refresh(readme=README, path=TERMS) -> None:
    """Schreibt das Glossar zwischen die zwei Marken der README.

    Raises:
        CourseError: wenn eine Marke fehlt oder die Tabelle nicht lesbar ist.
    """
    start, *rest = readme.read_text(encoding="utf-8").split(BEGIN)
    if len(rest) != 1 or rest[0].count(END) != 1:
        raise CourseError(f"In {display_path(readme)} fehlt „{BEGIN}“ oder „{END}“: Setzen Sie beide um das Glossar.")
    with atomic_file(readme) as temporary:
        text = f"{start}{BEGIN}\n{glossary(read_terms(path))}\n{END}{rest[0].split(END)[1]}"
        temporary.write_text(text, encoding="utf-8")
