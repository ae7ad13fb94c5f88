"""Wie das Haus gebaut ist: Importe gehen in eine Richtung, ohne Kreis; was Lernende lesen, ist kurz."""

import ast
from pathlib import Path

from helpers.basics import ROOT

MAX_LINES = 400
# Wing → was er importieren darf.
ALLOWED = {
    "front": {"front"},
    "checks": {"front", "checks"},
    "own": {"front", "own"},
    "workshop": {"front", "checks", "own", "workshop"},
    "__main__": {"front", "checks", "own", "workshop"},
}


def modules() -> dict[str, Path]:
    """Name (``helpers.workshop.course``) → Datei."""
    paths = sorted((ROOT / "helpers").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def wing(name: str) -> str:
    part = name.split(".")[1] if "." in name else ""
    return part if part in ALLOWED else "front"


def at_load(tree):
    """Die Knoten, die schon beim Importieren drankommen: alle außer denen in Funktionen."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, ast.FunctionDef):
            yield from at_load(node)


def imports(path: Path, known, nodes=ast.walk) -> set[str]:
    """Welche Module aus ``known`` eine Datei importiert, auch innerhalb von Funktionen."""
    found = set()
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relativer Import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = {name for name in found if name in known}
    # „from helpers.data import x“ ist kein Import des leeren Pakets darüber.
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def test_imports_run_one_way_and_in_no_circle():
    known = modules()
    arrows = {name: imports(path, known) - {name} for name, path in known.items()}
    assert sum(map(len, arrows.values())) > 100
    assert [f"{a} → {b}" for a in known for b in arrows[a] if wing(b) not in ALLOWED[wing(a)]] == []
    reached = {name: set(targets) for name, targets in arrows.items()}
    for middle in known:
        for name in known:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    assert [f"Kreis: {a} → {b}" for a in known for b in arrows[a] if a in reached[b]] == []


def test_own_net_with_pytorch_or_jax_needs_no_tensorflow_to_start():
    known = modules()
    needed, new = set(), {"helpers.workshop.cnn"}
    while new:
        needed |= new
        new = set().union(*(imports(known[name], known, at_load) for name in new)) - needed
    assert {"helpers.training", "helpers.learner"} <= needed
    with_tensorflow = {name for name, path in known.items() if imports(path, {"tensorflow"}, at_load)}
    assert "helpers.lrp" in with_tensorflow
    assert needed & with_tensorflow == set()


def test_modules_for_reading_have_at_most_400_lines():
    front = {name: path for name, path in modules().items() if wing(name) == "front"}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in front.items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
