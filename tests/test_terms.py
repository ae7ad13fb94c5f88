"""Ein Wort für eine Sache: Das Glossar kommt aus der Tabelle, kein verbotenes Synonym steht im Kurs."""

import ast
import json
import re

import pytest

from helpers.basics import ROOT, SOLUTIONS, CourseError
from helpers.workshop import glossary

TERMS = glossary.read_terms()


def banned(terms: list[dict]) -> dict[str, re.Pattern]:
    """Verbotenes Synonym → Muster, das es als ganzes Wort findet."""
    words = [word.strip() for term in terms for word in term["verbotene Synonyme"].split(";") if word.strip()]
    shapes = {word: re.escape(word).replace(r"\*", r"\w*") for word in words}
    return {word: re.compile(rf"(?<!\w){shape}(?!\w)") for word, shape in shapes.items()}


BANNED = banned(TERMS)


def german_texts(source: str, name: str) -> list[tuple[str, str]]:
    """(Ort, Text) aller Texte eines Programms, auch der Docstrings und der festen Teile von f-Strings."""
    texts = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [(f"{name}:{node.lineno}", node.value) for node in texts]


def course_texts() -> list[tuple[str, str]]:
    """Alles Deutsche, was Lernende oder Lehrende lesen: README, Notebooks, Texte in ``helpers``."""
    texts = [("README.md", (ROOT / "README.md").read_text(encoding="utf-8"))]
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source, place = "".join(cell["source"]), f"{path.name}, {cell['id']}"
            texts += [(place, source)] if cell["cell_type"] == "markdown" else german_texts(source, place)
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        texts += german_texts(path.read_text(encoding="utf-8"), path.name)
    return texts + [(path.name, path.read_text(encoding="utf-8")) for path in (ROOT / "helpers").rglob("*.j2")]


def test_nobody_reads_two_words_for_one_thing():
    texts = [(place, " ".join(text.split())) for place, text in course_texts()]
    found = [f"{place}: „{word}“" for word, each in BANNED.items() for place, text in texts if each.search(text)]
    assert found == [] and len(texts) > 1000


def test_no_term_is_banned_or_explained_twice():
    names = [term["Begriff"] for term in TERMS]
    assert len(set(names)) == len(names) and all(term["Erklärung"] and term["englisch"] for term in TERMS)
    # Die Erklärungen stehen in der README und werden dort mitgelesen.
    assert not [name for name in names if any(pattern.search(name) for pattern in BANNED.values())]


def test_the_readme_has_the_glossary_of_the_table(tmp_path):
    """Wer das Glossar in der README ändert statt in der Tabelle, erfährt es; der Text ringsum bleibt, wie er ist."""
    kept, readme = glossary.README.read_text(encoding="utf-8"), tmp_path / "README.md"
    start, old = kept.split(glossary.BEGIN)
    readme.write_text(f"{start}{glossary.BEGIN}\n| alt |\n{glossary.END}{old.split(glossary.END)[1]}", encoding="utf-8")
    glossary.refresh(readme)
    assert readme.read_text(encoding="utf-8") == kept, "Führen Sie „python -m helpers ableiten“ aus."


def test_a_damaged_table_or_missing_mark_is_told(tmp_path):
    path, readme = tmp_path / "begriffe.csv", tmp_path / "README.md"
    path.write_text("Begriff,englisch\n", encoding="utf-8")
    with pytest.raises(CourseError, match="begriffe.csv"):
        glossary.read_terms(path)
    readme.write_text(glossary.BEGIN, encoding="utf-8")
    with pytest.raises(CourseError, match="Setzen Sie beide um das Glossar"):
        glossary.refresh(readme)
