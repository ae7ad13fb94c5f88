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


def course_texts(root=ROOT, solutions=SOLUTIONS) -> list[tuple[str, str]]:
    """Alles Deutsche, was Lernende oder Lehrende lesen: README, Notebooks, Texte in ``helpers``."""
    texts = [("README.md", (root / "README.md").read_text(encoding="utf-8"))]
    for path in sorted(solutions.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source, place = "".join(cell["source"]), f"{path.name}, {cell['id']}"
            texts += [(place, source)] if cell["cell_type"] == "markdown" else german_texts(source, place)
    for path in sorted((root / "helpers").rglob("*.py")):
        texts += german_texts(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
    texts += [
        (str(path.relative_to(root)), path.read_text(encoding="utf-8")) for path in (root / "helpers").rglob("*.j2")
    ]
    return texts


def found(texts) -> list[str]:
    """Jede Stelle mit einem verbotenen Synonym."""
    clean = [(place, " ".join(text.split())) for place, text in texts]
    return [f"{place}: „{word}“" for word, pattern in BANNED.items() for place, text in clean if pattern.search(text)]


def test_nobody_reads_two_words_for_one_thing():
    assert found(course_texts()) == []


def test_every_text_is_looked_at(tmp_path):
    """Markdown, Text und f-String in Codezellen, README, Docstrings, Hinweise; ein Wort auch über den Zeilenumbruch."""
    solutions, helpers = tmp_path / "solutions", tmp_path / "helpers" / "checks"
    solutions.mkdir()
    helpers.mkdir(parents=True)
    (tmp_path / "README.md").write_text("Die\nRundreise", encoding="utf-8")
    cells = [
        ("markdown", "die Vernunftprüfung"),
        ("code", 'print(f"{1} Biaswerte")'),
        ("code", "Vernunft = 1  # Vernunft"),
    ]
    cells = [{"id": str(n), "cell_type": kind, "source": [text]} for n, (kind, text) in enumerate(cells)]
    (solutions / "01.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (helpers / "a.py").write_text('"""Jeder\n    Pixel."""\nx = "Ihr\u0020Stiefel"\n', encoding="utf-8")
    places = [sentence.split(":")[0] for sentence in found(course_texts(tmp_path, solutions))]
    assert sorted(places) == ["01.ipynb, 0", "01.ipynb, 1", "README.md", "helpers/checks/a.py", "helpers/checks/a.py"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("einen wichtigen Pixel", "einen * Pixel"),
        ("der wichtigste Pixel", "der *te Pixel"),
        ("die Reihenfolge der Pixel, der wichtigsten Pixel und ein Pixel der Maske", None),
        ("Rechengenauigkeit, Stiefelette, vernunft", None),
        ("Die Trefferrate", "Trefferrate*"),
    ],
)
def test_only_the_banned_word_is_found(text, word):
    assert [sentence.split("„")[1] for sentence in found([("hier", text)])] == ([f"{word}“"] if word else [])


def test_no_term_is_banned_or_explained_twice():
    names = [term["Begriff"] for term in TERMS]
    assert len(set(names)) == len(names) and all(term["Erklärung"] and term["englisch"] for term in TERMS)
    # Die Erklärungen stehen in der README und werden dort mitgelesen.
    assert not [name for name in names if any(pattern.search(name) for pattern in BANNED.values())]


def test_the_readme_has_the_glossary_of_the_table(tmp_path):
    """Wer das Glossar in der README ändert statt in der Tabelle, erfährt es; der Text ringsum bleibt, wie er ist."""
    assert glossary.refresh(check=True) == []
    readme = tmp_path / "README.md"
    readme.write_text(f"oben\n{glossary.BEGIN}\n| alt |\n{glossary.END}\nunten\n", encoding="utf-8")
    before = readme.read_bytes()
    (sentence,) = glossary.refresh(check=True, readme=readme)
    assert "passt nicht zu input/begriffe.csv" in sentence and readme.read_bytes() == before
    assert len(glossary.refresh(readme=readme)) == 1 and glossary.refresh(check=True, readme=readme) == []
    first, *_, last = readme.read_text(encoding="utf-8").splitlines()
    assert (first, last) == ("oben", "unten")


def test_a_damaged_table_or_missing_mark_is_told(tmp_path):
    path = tmp_path / "begriffe.csv"
    path.write_text("Begriff,englisch\n", encoding="utf-8")
    with pytest.raises(CourseError, match="begriffe.csv"):
        glossary.read_terms(path)
    readme = tmp_path / "README.md"
    readme.write_text(glossary.BEGIN, encoding="utf-8")
    with pytest.raises(CourseError, match="Setzen Sie beide um das Glossar"):
        glossary.refresh(readme=readme)
