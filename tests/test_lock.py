"""requirements.txt passt zu pyproject.toml, ist vollständig, und jede Abweichung fällt auf."""

import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.markers import Marker

from helpers.basics import ROOT
from helpers.workshop import lock
from helpers.workshop.lock import GPU, fits, renew

LOCK_TEXT = (ROOT / "requirements.txt").read_text(encoding="utf-8")
# Diese Angaben eines Pakets hält der Kurs bewusst nicht ein (siehe [tool.uv] in pyproject.toml).
EXCEPTIONS = {("innvestigate", "tensorflow"), ("innvestigate", "numpy"), ("innvestigate", "future")}


def test_installed_packages_are_the_locked_ones_and_have_what_they_require():
    """pip nennt von den Paketen dieser Umgebung, was fehlt oder nicht passt."""
    pins = re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)(?: ; ([^\\\n]+))?", LOCK_TEXT, re.MULTILINE)
    here = {name: version for name, version, marker in pins if not marker or Marker(marker).evaluate()}
    assert {name: metadata.version(name) for name in here} == here
    process = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    found = re.findall(r"^(\S+) \S+ (?:has requirement|requires) ([\w-]+)", process.stdout, re.MULTILINE)
    assert set(found) == EXCEPTIONS, process.stdout


def test_lock_holds_only_pins_with_hashes_and_no_address():
    """Zeilen für NVIDIA-Karten gelten nur unter Linux; nirgends steht, auf welchem Rechner das Lockfile entstand."""
    pin = r"[a-z0-9._-]+==[^\s;]+(?: ; [^\\\n]+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+"
    lines = LOCK_TEXT.splitlines(keepends=True)[4:]
    assert re.fullmatch(f"(?:{pin})+", "".join(line.removeprefix(GPU) for line in lines))
    heads = [line for line in lines if line.startswith(f"{GPU}nvidia-")]
    assert heads and all("sys_platform == 'linux'" in line for line in heads)


@pytest.fixture
def course(tmp_path):
    """Ein Ordner nur mit pyproject.toml und requirements.txt."""
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "still_fits"),
    [
        ("pyproject.toml", r"^line-length = 120", "line-length = 100", True),
        ("pyproject.toml", r'^    "pandas>=3.0",\n', '    "pandas>=3.0",\n    "seaborn>=0.13",\n', False),
        ("pyproject.toml", r'^    "future>=1",\n', "", False),
        ("requirements.txt", r"^tqdm==\S+", "tqdm==4.1", False),
        ("requirements.txt", r"^tqdm==", "--index-url https://pakete.example/simple\ntqdm==", False),
    ],
)
def test_change_on_either_side_is_noticed(course, name, pattern, replacement, still_fits):
    assert fits(course)
    text, count = re.subn(
        pattern, replacement, (course / name).read_text(encoding="utf-8"), count=1, flags=re.MULTILINE
    )
    (course / name).write_text(text, encoding="utf-8")
    assert count == 1 and fits(course) == still_fits


def test_renewal_marks_what_is_only_for_gpus_and_a_failed_one_changes_nothing(course, monkeypatch):
    """Statt pip und uv: scheitert ohne ``result``, sonst schreibt es das in das vorläufige Lockfile."""
    block, result = "{0}==1 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n".format, ""

    def run(command, **options):
        if "compile" in command:
            command[command.index("--output-file") + 1].write_text(result, encoding="utf-8")
        return subprocess.CompletedProcess(command, int(not result), "", "error: kein\nNetz")

    monkeypatch.setattr(lock.subprocess, "run", run)
    with pytest.raises(SystemExit, match="✘ Keine passenden Versionen oder kein Netz: error: kein Netz"):
        renew(folder=course)
    assert (course / "requirements.txt").read_text(encoding="utf-8") == LOCK_TEXT
    result = block("a") + block("nvidia-x") + block("z")
    renew(folder=course)
    assert fits(course)
    pins = (course / "requirements.txt").read_text(encoding="utf-8").split("\n", 4)[4]
    assert pins == block("a") + block("z") + "".join(GPU + line for line in block("nvidia-x").splitlines(True))
