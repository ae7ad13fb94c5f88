"""requirements.txt passt zu pyproject.toml, und jede Art von Abweichung fällt auf."""

import re
from importlib import metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.basics import CourseError
from helpers.workshop import lock
from helpers.workshop.lock import GPU_PREFIX, LOCKFILE, PYPROJECT, applies, fingerprint, main, problems, read_pins

PYPROJECT_TEXT = PYPROJECT.read_text(encoding="utf-8")
LOCK_TEXT = LOCKFILE.read_text(encoding="utf-8")
# Diese Angaben eines Pakets hält der Kurs bewusst nicht ein (siehe [tool.uv] in pyproject.toml).
EXCEPTIONS = {("innvestigate", "tensorflow"), ("innvestigate", "numpy"), ("innvestigate", "future")}


def changed(text, pattern, replacement):
    """``text`` mit einer Änderung; ein Muster, das nichts träfe, wäre kein Test."""
    result, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    return result


def test_lock_agrees_with_pyproject():
    assert problems(PYPROJECT_TEXT, LOCK_TEXT) == []


@pytest.mark.parametrize(
    ("pattern", "replacement", "sentence"),
    [
        (r'^    "pandas>=3.0",\n', '    "pandas>=3.0",\n    "seaborn>=0.13",\n', "aus einem anderen Stand"),
        (r'^    "pandas>=3.0",\n', '    "pandas>=3.0",\n    "seaborn>=0.13",\n', "seaborn steht in pyproject.toml"),
        (r'^    "pytest>=[^"]*"', '    "pytest>=999"', "pytest .* liegt außerhalb von „pytest>=999“"),
        (r'"keras>=[^"]*"', '"keras>=2,<3"', "keras .* liegt außerhalb"),
        (r'"numpy>=2"(.*\n)*?\[tool', '"numpy>=99"\n]\n[tool', "numpy .* liegt außerhalb"),
        (r"^requires-python = .*", 'requires-python = ">=3.10"', "aus einem anderen Stand"),
        (r'^override-dependencies = \["tensorflow[^"]*", ', "override-dependencies = [", "aus einem anderen Stand"),
    ],
)
def test_change_in_pyproject_is_noticed(pattern, replacement, sentence):
    found = problems(changed(PYPROJECT_TEXT, pattern, replacement), LOCK_TEXT)
    assert any(re.search(sentence, text) for text in found), found


@pytest.mark.parametrize(
    ("pattern", "replacement", "sentence"),
    [
        (r"^# pyproject\.toml: sha256 .*\n", "", "aus einem anderen Stand"),
        (r"^pandas==.*\n(?: +.*\n)+", "", "pandas steht in pyproject.toml, fehlt aber"),
        (r"^(tqdm==[^\s]+) \\\n(?: +.*\n)+", r"\1\n", "tqdm .* keine Prüfsumme"),
        (
            r"^# gpu: (nvidia-cudnn-cu12==[^\\]+)\\\n(?:# gpu:  +.*\n)+",
            r"# gpu: \1\n",
            "nvidia-cudnn-cu12 .* keine Prüf",
        ),
        (r"^(# gpu: nvidia-[^ ]+) ; sys_platform == 'linux'", r"\1", "gilt in requirements.txt nicht nur für Linux"),
        (r"^tqdm==\S+", "tqdm==4.1", "tqdm 4.1 in requirements.txt liegt außerhalb"),
        (r"^tqdm==\S+", "tqdm>=4.67", "keine feste Version: „tqdm>=4.67"),
        (r"^tqdm==", "--index-url https://pakete.example/simple\ntqdm==", "Adresse"),
        (r"^tqdm==", "-f pakete\ntqdm==", "Adresse oder ein Verzeichnis"),
        (r"^tqdm==\S+", "tqdm @ file:tqdm.whl", "Adresse oder ein Verzeichnis"),
        (r"^numpy==(\S+) ; python_full_version < '3.12'", r"numpy==\1 ; python_full_version < '3.11'", "keine Version"),
        (r"^numpy==(\S+) ; python_full_version < '3.12'", r"numpy==\1", "2 Versionen statt genau einer"),
    ],
)
def test_change_in_lock_is_noticed(pattern, replacement, sentence):
    found = problems(PYPROJECT_TEXT, changed(LOCK_TEXT, pattern, replacement))
    assert any(re.search(sentence, text) for text in found), found


def test_missing_gpu_packages_are_noticed():
    plain = "".join(line for line in LOCK_TEXT.splitlines(keepends=True) if not line.startswith(GPU_PREFIX))
    assert problems(PYPROJECT_TEXT, plain) == ["In requirements.txt fehlen die Pakete für NVIDIA-Karten."]


def test_fingerprint_ignores_layout_and_order():
    moved = changed(PYPROJECT_TEXT, r'^    "pandas>=3.0",\n', "")
    moved = changed(moved, r"^dependencies = \[\n", 'dependencies = [\n    # zuerst\n  "pandas  >=3.0",\n')
    assert fingerprint(moved) == fingerprint(PYPROJECT_TEXT)


def test_lock_holds_nothing_of_the_machine_that_made_it():
    header = [line for line in LOCK_TEXT.splitlines() if line.startswith("#") and not line.startswith(GPU_PREFIX)]
    assert len(header) == 4
    assert not re.search(r"(?<![\w„])/\w", LOCK_TEXT)


def unmet_requirements(pins):
    """Angaben (Requires-Dist) der festgelegten Pakete, die das Lockfile hier nicht erfüllt: (Paket, gebraucht)."""
    versions = {pin.name: pin.version for pin in pins if applies(pin) and not pin.gpu}
    unmet, seen = {}, set()
    queue = [(name, "") for name in versions]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate(default_environment() | {"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            if needed not in versions:
                unmet[name, needed] = "fehlt"
                continue
            queue += [(needed, wanted) for wanted in requirement.extras]
            if not requirement.specifier.contains(versions[needed], prereleases=True):
                unmet[name, needed] = f"{versions[needed]} statt {requirement.specifier}"
    return unmet


def test_lock_is_complete_for_this_environment():
    pins, unreadable = read_pins(LOCK_TEXT)
    assert not unreadable
    assert set(unmet_requirements(pins)) == EXCEPTIONS


@pytest.mark.parametrize("dropped", ["wrapt", "jupyter-server", "scipy"])
def test_missing_package_is_noticed(dropped):
    pins = [pin for pin in read_pins(LOCK_TEXT)[0] if pin.name != dropped]
    assert dropped in {needed for _, needed in set(unmet_requirements(pins)) - EXCEPTIONS}


def test_installed_packages_are_the_locked_ones():
    pins = [pin for pin in read_pins(LOCK_TEXT)[0] if applies(pin) and not pin.gpu]
    different = {pin.name: metadata.version(pin.name) for pin in pins if metadata.version(pin.name) != pin.version}
    assert different == {}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Ein Kursordner nur mit pyproject.toml und requirements.txt, auf den helpers.workshop.lock zeigt."""
    monkeypatch.setattr(lock, "PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(lock, "LOCKFILE", tmp_path / "requirements.txt")
    lock.PYPROJECT.write_text(PYPROJECT_TEXT, encoding="utf-8")
    lock.LOCKFILE.write_text(LOCK_TEXT, encoding="utf-8")
    return tmp_path


def test_command_line_checks(course, capsys):
    assert main(["--pruefen"]) == 0
    lock.LOCKFILE.write_text(changed(LOCK_TEXT, r"^tqdm==\S+", "tqdm==4.1"), encoding="utf-8")
    assert main(["--pruefen"]) == 1
    assert "✘ tqdm 4.1" in capsys.readouterr().err
    lock.LOCKFILE.unlink()
    assert main(["--pruefen"]) == 2
    assert "fehlt requirements.txt" in capsys.readouterr().err


FAKE_UV = """#!/usr/bin/env python3
import pathlib, sys
if "--version" in sys.argv:
    sys.exit(0)
project = pathlib.Path("pyproject.toml").read_text(encoding="utf-8")
text = "tqdm==4.70.1 \\\\\\n    --hash=sha256:" + "a" * 64 + "\\n"
if "and-cuda" in project:
    text += "nvidia-x==1 ; sys_platform == 'linux' \\\\\\n    --hash=sha256:" + "b" * 64 + "\\n"
if "kaputt" in project:
    sys.exit("error: kein Netz")
pathlib.Path("requirements.txt").write_text(text, encoding="utf-8")
"""


@pytest.fixture
def fake_uv(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "uv"
    program.write_text(FAKE_UV, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(lock, "find_uv", lambda folder: str(program))


def test_renew_writes_header_and_gpu_lines(course, fake_uv, capsys):
    assert main([]) == 0
    lines = lock.LOCKFILE.read_text(encoding="utf-8").splitlines()
    assert lines[3] == f"# pyproject.toml: sha256 {fingerprint(PYPROJECT_TEXT)}"
    assert lines[4] == "tqdm==4.70.1 \\"
    assert lines[6:] == ["# gpu: nvidia-x==1 ; sys_platform == 'linux' \\", f"# gpu:     --hash=sha256:{'b' * 64}"]
    assert [pin.gpu for pin in read_pins("\n".join(lines))[0]] == [False, True]


def test_failed_renewal_leaves_the_lock_alone(course, fake_uv, capsys):
    lock.PYPROJECT.write_text(PYPROJECT_TEXT.replace('"tqdm>=', '"kaputt", "tqdm>='), encoding="utf-8")
    assert main([]) == 2
    assert "uv fand keine Versionen" in capsys.readouterr().err
    assert lock.LOCKFILE.read_text(encoding="utf-8") == LOCK_TEXT
    with pytest.raises(CourseError):
        lock.renew()
