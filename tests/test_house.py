"""Wie das Haus gebaut ist: Importe gehen in eine Richtung, ohne Kreis; was Lernende lesen, ist kurz."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from helpers.basics import ROOT

MAX_LINES = 400
# Wing → was er importieren darf.
ALLOWED = {
    "front": {"front"},
    "checks": {"front", "checks"},
    "workshop": {"front", "checks", "workshop"},
    "__main__": {"front", "checks", "workshop"},
}


PATHS = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "helpers").rglob("*.py")}
# Name („helpers.workshop.course“) → Datei.
MODULES = {name.removesuffix(".__init__"): path for name, path in PATHS.items()}


def wing(name: str) -> str:
    part = name.split(".")[1] if "." in name else ""
    return part if part in ALLOWED else "front"


def imports(path: Path) -> set[str]:
    """Welche Module von ``helpers`` eine Datei importiert, auch innerhalb von Funktionen."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relativer Import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = found & MODULES.keys()
    # „from helpers.data import x“ ist kein Import des leeren Pakets darüber.
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def test_imports_run_one_way_and_in_no_circle():
    arrows = {name: imports(path) - {name} for name, path in MODULES.items()}
    assert [f"{a} → {b}" for a in arrows for b in arrows[a] if wing(b) not in ALLOWED[wing(a)]] == []
    assert len(arrows["helpers.training"]) > 3, "es werden gar keine Importe gefunden"
    list(TopologicalSorter(arrows).static_order())  # nennt einen Kreis im CycleError


def test_modules_for_reading_have_at_most_400_lines():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if wing(name) == "front" and count > MAX_LINES} == {}
