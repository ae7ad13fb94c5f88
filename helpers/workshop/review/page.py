"""Die Ergebnisse der Durchsicht: eine Übersicht als HTML und CSV, und je Abgabe eine Seite mit Antwort und Lösung.

Fremder Text wird überall maskiert, fremdes HTML nirgends übernommen; eine Content-Security-Policy verbietet Skripte.
"""

import base64
import binascii
import csv
import io
import json
import re
import shutil
from pathlib import Path

from helpers.basics import atomic_file
from helpers.workshop.review.handins import ANSWER, CHECK, Reference

MAX_TEXT = 4000
MAX_PICTURE_BYTES = 2_000_000
UNJUDGED = "nicht gewertet"
MARKS = {"gelöst": "✔", "falsch": "✘", "offen": "○"}


def outputs_of(notebook, executed: str | None) -> list[tuple[str, str, list[dict]]]:
    """(id, Quelltext, Ausgaben) jeder gelaufenen Zelle; Quelltext aus unserem Notebook, Ausgaben aus dem fremden."""
    found = {}
    try:
        for cell in json.loads(executed or "{}").get("cells", []):
            found[cell["id"]] = [plain for output in cell.get("outputs", []) for plain in plain_output(output)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found = {}
    return [
        (cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell.source, found.get(cell.id, []))
        for cell in notebook.cells
    ]


def plain_output(output: dict):
    """Text oder PNG einer Ausgabe; alles andere fällt weg."""
    if output.get("output_type") == "error":
        yield {"text": f"{output.get('ename')}: {output.get('evalue')}"[:MAX_TEXT], "error": True}
        return
    data = output.get("data") if isinstance(output.get("data"), dict) else {}
    picture = data.get("image/png")
    if isinstance(picture, str):
        try:
            raw = base64.b64decode(picture.replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if raw.startswith(b"\x89PNG") and len(raw) <= MAX_PICTURE_BYTES:
            yield {"picture": base64.b64encode(raw).decode()}
            return
    text = output.get("text", data.get("text/plain", ""))
    text = "".join(part for part in text if isinstance(part, str)) if isinstance(text, list) else text
    if isinstance(text, str) and text.strip():
        yield {"text": text[:MAX_TEXT], "error": output.get("name") == "stderr"}


def write(results, known: dict[str, Reference], folder: Path, changed: list[str]) -> Path:
    """Schreibt ``durchsicht.html``, ``durchsicht.csv`` und die Seiten der Abgaben nach ``folder``.

    Die Übersicht verweist auf ``durchsicht/…``: Sie ist dafür gedacht, neben dem Ordner ``durchsicht`` zu liegen.

    Args:
        changed: Dateien der Lehrenden, die nach dem Lauf anders waren; sie stehen als Warnung ganz oben.
    """
    columns = [number for reference in known.values() for number in reference.exercises]
    for place, result in enumerate(results, start=1):
        if result.hand_in.course:
            slug = re.sub(r"[^A-Za-z0-9-]+", "_", result.hand_in.name)[:60]
            result.page = f"durchsicht/{place:03}_{slug}.html"
            text = render("abgabe.html.j2", result=result, exercises=side_by_side(result, known[result.hand_in.course]))
            save(folder / Path(result.page).name, text)
    rows = [row(result, columns, known) for result in results]
    save(folder / "durchsicht.csv", as_csv(rows, columns), encoding="utf-8-sig")
    target = folder / "durchsicht.html"
    save(target, render("durchsicht.html.j2", rows=rows, columns=columns, changed=changed))
    return target


def publish(overview: Path, folder: Path) -> Path:
    """Legt Übersicht und Tabelle nach ``folder``, neben den Ordner ``durchsicht``; ergibt die Übersicht dort."""
    source = folder / "durchsicht"
    for name in ("durchsicht.csv", overview.name):
        with atomic_file(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
    return folder / overview.name


def save(path: Path, text: str, encoding: str = "utf-8") -> None:
    with atomic_file(path) as temporary:
        # Ein halbes UTF-16-Zeichen in einer fremden Ausgabe hielte sonst die ganze Durchsicht an.
        temporary.write_text(text, encoding=encoding, errors="replace", newline="")


def render(template: str, **values) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    loader = Path(__file__).parent
    head = (loader / "kopf.html.j2").read_text(encoding="utf-8")
    return environment.from_string(head + (loader / template).read_text(encoding="utf-8")).render(values)


def row(result, columns: list[str], known: dict[str, Reference]) -> dict:
    """Eine Zeile der Übersicht."""
    reference = known.get(result.hand_in.course)
    own = reference.exercises if reference else {}
    cells = dict.fromkeys(columns)
    for number, verdict in result.verdicts.items():
        cells[number] = {"mark": MARKS[verdict.status], "status": verdict.status, "hint": verdict.hint}
        cells[number]["points"] = f"{result.points.get(number, 0):g}"
    return {
        "name": result.hand_in.name,
        "course": result.hand_in.course or "–",
        "cells": cells,
        "points": UNJUDGED if result.points is None else f"{sum(result.points.values()):g}",
        "maximum": f"{sum(reference.points(number) for number in own):g}" if reference else "0",
        "notes": " ".join(result.hand_in.notes),
        "page": result.page,
    }


def as_csv(rows: list[dict], columns: list[str]) -> str:
    """Die Übersicht für Tabellenprogramme: Strichpunkte, Dezimalkomma, kein Feld beginnt wie eine Formel."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=";", lineterminator="\r\n")
    writer.writerow(["Abgabe", "Notebook", *columns, "Punkte", "von", "Hinweise", "Bemerkungen"])
    for line in rows:
        cells = [line["cells"][number] for number in columns]
        hints = [f"{n}: {c['hint']}" for n, c in zip(columns, cells, strict=True) if c and c["hint"]]
        points = [c["points"].replace(".", ",") if c else "" for c in cells]
        total = (line["points"], line["maximum"])
        texts = [line["name"], line["course"], *points, *total, " | ".join(hints), line["notes"]]
        writer.writerow([f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text for text in texts])
    return stream.getvalue()


def side_by_side(result, reference: Reference) -> list[dict]:
    """Je Aufgabe: Antwort und Lösung nebeneinander, Urteil und Ausgaben; danach die übrigen gelaufenen Zellen."""
    by_id = {key: (source, outputs) for key, source, outputs in result.executed if key}
    blocks = []
    for number, base in reference.exercises.items():
        source, outputs = by_id.get(base + ANSWER, ("", []))
        verdict = result.verdicts.get(number)
        points = UNJUDGED
        if result.points is not None:
            points = f"{result.points.get(number, 0):g} von {reference.points(number)}"
        blocks.append(
            {
                "number": number,
                "title": reference.source(base).splitlines()[0].lstrip("# ✏️"),
                "answer": source,
                "solution": without_markers(reference.source(base + ANSWER)),
                "outputs": [*outputs, *by_id.get(base + CHECK, ("", []))[1]],
                "verdict": verdict,
                "mark": MARKS[verdict.status] if verdict else "–",
                "points": points,
            }
        )
    return blocks


def without_markers(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.strip().startswith("### "))
