"""Die Ergebnisse der Durchsicht: eine Übersicht als HTML und CSV, und je Abgabe eine Seite mit Antwort und Lösung.

Fremder Text wird überall maskiert, fremdes HTML nirgends übernommen; eine Content-Security-Policy verbietet Skripte.
"""

import base64
import csv
import json
import re
from contextlib import suppress
from pathlib import Path

from helpers.workshop.notebooks import ANSWER, CHECK
from helpers.workshop.report import render
from helpers.workshop.review.grading import grade_id
from helpers.workshop.review.handins import HandIn, Reference

MAX_TEXT = 4000
MAX_PICTURE_BYTES = 2_000_000
MAX_OUTPUTS = 20  # je Zelle
MAX_PAGE = 5_000_000  # Zeichen aller Ausgaben einer Abgabe
CUT = {"text": "… (gekürzt)", "error": False}
UNJUDGED = "nicht gewertet"
# Ein halbes UTF-16-Zeichen in einer fremden Ausgabe hielte sonst die ganze Durchsicht an.
ENCODING = {"encoding": "utf-8", "errors": "replace", "newline": ""}
MARKS = {"gelöst": "✔", "falsch": "✘", "offen": "○"}


def outputs_of(notebook, executed: str | None) -> list[tuple[str, str, list[dict]]]:
    """(id, Quelltext, Ausgaben) jeder gelaufenen Zelle; Quelltext aus unserem Notebook, Ausgaben aus dem fremden."""
    try:
        cells = json.loads(executed or "{}").get("cells", [])
        shown, left = {}, MAX_PAGE
        for cell in cells:
            outputs, kept = cell.get("outputs", []), []
            for each in filter(None, map(plain_output, outputs[:MAX_OUTPUTS])):
                left -= len(str(each))
                kept += [each] if left > 0 else []
            shown[cell["id"]] = [*kept, CUT] if len(outputs) > (MAX_OUTPUTS if left > 0 else 0) else kept
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        shown = {}
    return [(grade_id(cell), cell.source, shown.get(cell.id, [])) for cell in notebook.cells]


def plain_output(output: dict) -> dict | None:
    """Text oder PNG einer Ausgabe; alles andere fällt weg."""
    if output.get("output_type") == "error":
        return {"text": f"{output.get('ename')}: {output.get('evalue')}"[:MAX_TEXT], "error": True, "raised": True}
    data = output.get("data") or {}
    if isinstance(picture := data.get("image/png"), str):
        with suppress(ValueError):
            raw = base64.b64decode(picture)
            if raw.startswith(b"\x89PNG") and len(raw) <= MAX_PICTURE_BYTES:
                return {"picture": base64.b64encode(raw).decode()}
    text = "".join(part for part in output.get("text", data.get("text/plain", "")) if isinstance(part, str))
    text = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + CUT["text"]
    return {"text": text, "error": output.get("name") == "stderr"} if text.strip() else None


def write(hand_ins: list[HandIn], known: dict[str, Reference], folder: Path, changed: list[str]) -> None:
    """Schreibt ``durchsicht.html``, ``durchsicht.csv`` und die Seiten der Abgaben nach ``folder``.

    Die Übersicht verweist auf ``durchsicht/…``: Sie ist dafür gedacht, neben dem Ordner ``durchsicht`` zu liegen.

    Args:
        changed: Dateien der Lehrenden, die nach dem Lauf anders waren; sie stehen als Warnung ganz oben.
    """
    folder.mkdir(parents=True, exist_ok=True)
    used = {hand_in.course for hand_in in hand_ins}
    columns = [number for name, reference in known.items() if name in used for number in reference.exercises]
    rows, persons = [], list(dict.fromkeys(hand_in.person for hand_in in hand_ins))
    for place, hand_in in enumerate(sorted(hand_ins, key=lambda each: persons.index(each.person)), start=1):
        reference = known.get(hand_in.course)
        blocks = side_by_side(hand_in, reference) if reference else {}
        if reference:
            slug = re.sub(r"[^A-Za-z0-9-]+", "_", hand_in.name)[:60]
            hand_in.page = f"durchsicht/{place:03}_{slug}.html"
            text = render("abgabe.html.j2", hand_in=hand_in, exercises=blocks)
            (folder / Path(hand_in.page).name).write_text(text, **ENCODING)
        rows.append(
            {
                "hand_in": hand_in,
                "cells": dict.fromkeys(columns) | {n: block for n, block in blocks.items() if block["verdict"]},
                "points": UNJUDGED if hand_in.points is None else f"{sum(hand_in.points.values()):g}",
                "maximum": str(sum(block["maximum"] for block in blocks.values())),
                "total": "",
            }
        )
    for person in persons:  # mehrere Notebooks einer Person: In ihrer ersten Zeile steht die Summe
        mine, best = [row for row in rows if row["hand_in"].person == person], {}
        for row in mine:
            course, earned = row["hand_in"].course, sum((row["hand_in"].points or {}).values())
            judged = row["points"] != UNJUDGED
            best[course] = max(best.get(course, (0, 0)), (earned, int(row["maximum"]) if judged else 0))
        if len(mine) > 1:
            mine[0]["total"] = "{:g} von {}".format(*map(sum, zip(*best.values(), strict=True)))
    write_csv(folder / "durchsicht.csv", rows, columns)
    overview = render("durchsicht.html.j2", rows=rows, columns=columns, changed=changed)
    (folder / "durchsicht.html").write_text(overview, **ENCODING)


def side_by_side(hand_in: HandIn, reference: Reference) -> dict[str, dict]:
    """Nummer der Aufgabe → Antwort und Lösung nebeneinander, Urteil, Punkte und Ausgaben."""
    by_id = {key: (source, outputs) for key, source, outputs in hand_in.executed if key}
    blocks = {}
    for number, base in reference.exercises.items():
        source, outputs = by_id.get(base + ANSWER, ("", []))
        verdict = hand_in.verdicts.get(number)
        solution = reference.source(base + ANSWER).splitlines()
        blocks[number] = {
            "title": (reference.source(base) or f"Aufgabe {number}").splitlines()[0].lstrip("# ✏️"),
            "answer": source,
            "solution": "\n".join(line for line in solution if not line.strip().startswith("### ")),
            "outputs": [*outputs, *by_id.get(base + CHECK, ("", []))[1]],
            "verdict": verdict,
            "mark": MARKS[verdict.status] if verdict else "–",
            "points": UNJUDGED if hand_in.points is None else f"{hand_in.points.get(number, 0):g}",
            "maximum": reference.points(number),
        }
    return blocks


def write_csv(path: Path, rows: list[dict], columns: list[str]) -> None:
    """Die Übersicht für Tabellenprogramme: Strichpunkte, Dezimalkomma, kein Feld beginnt wie eine Formel."""
    lines = [["Abgabe", "Bemerkungen", "Notebook", *columns, "Punkte", "von", "Zusammen", "Hinweise"]]
    for row in rows:
        hand_in, cells = row["hand_in"], row["cells"]
        hints = " | ".join(f"{n}: {cell['verdict'].hint}" for n, cell in cells.items() if cell and cell["verdict"].hint)
        points = [cell["points"].replace(".", ",") if cell else "" for cell in cells.values()]
        head = [hand_in.name, " ".join(hand_in.notes), hand_in.course or "–"]
        lines.append([*head, *points, row["points"], row["maximum"], row["total"].replace(".", ","), hints])
    with open(path, "w", **ENCODING | {"encoding": "utf-8-sig"}) as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerows([f"'{text}" if text[:1] in {*"=+-@\t"} else text for text in line] for line in lines)
