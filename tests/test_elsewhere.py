"""Der Kurs an anderen Orten: ein Klon mit Windows-Zeilenenden, Binder und JupyterHub, ein Devcontainer."""

import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest

from helpers.basics import NOTEBOOKS, ROOT, SOLUTIONS
from helpers.workshop.doctor import PYTHONS
from helpers.workshop.notebooks import derive

BINDER = ROOT / ".binder"


@pytest.fixture(scope="module")
def windows_clone(tmp_path_factory):
    """Was ``git clone`` mit core.autocrlf=true an Textdateien hinlegt."""
    folder = tmp_path_factory.mktemp("klon") / "Kurs mit Leerzeichen"
    git = ["git", "-c", "core.autocrlf=true"]
    done = subprocess.run([*git, "clone", "-q", "--no-checkout", ROOT, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Kein Repository, das sich klonen ließe: {done.stderr}")
    for parts in ([".gitattributes"], ["*.bash", "*.py", "*.ipynb", "*.json", "*.csv", ".binder", ".ci", "*.txt"]):
        subprocess.run([*git, "checkout", "HEAD", "--", *parts], cwd=folder, check=True, capture_output=True)
    return folder


def test_a_clone_with_autocrlf_has_the_line_ends_of_the_repository(windows_clone):
    files = [path for path in windows_clone.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(files) > 100 and [path for path in files if b"\r\n" in path.read_bytes()] == []


@pytest.mark.parametrize("script", ["install.bash", ".binder/postBuild", ".binder/start", ".ci/run"])
def test_scripts_of_a_clone_with_autocrlf_are_bash(windows_clone, script):
    done = subprocess.run(["bash", "-n", windows_clone / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if script == "install.bash":
        text = subprocess.check_output(["bash", windows_clone / script, "--hilfe"], text=True)
        assert text.startswith("Aufruf: bash install.bash")


def test_notebooks_of_a_clone_with_autocrlf_match_their_solutions(windows_clone):
    assert (
        derive(check=True, solutions_dir=windows_clone / "solutions", notebooks_dir=windows_clone / "notebooks") == []
    )


@pytest.mark.parametrize("folder", [NOTEBOOKS, SOLUTIONS])
def test_notebooks_with_windows_line_ends_are_the_same_notebooks(folder, tmp_path):
    """Auch ohne git, etwa nach dem Entpacken mit einem Programm, das Zeilenenden umschreibt."""
    copies = {each: tmp_path / each.name for each in (NOTEBOOKS, SOLUTIONS)}
    for source, target in copies.items():
        target.mkdir()
        for name in ("01_Daten.ipynb", "02_VGG16.ipynb"):
            content = (source / name).read_bytes()
            (target / name).write_bytes(content.replace(b"\n", b"\r\n") if source == folder else content)
    assert derive(check=True, solutions_dir=copies[SOLUTIONS], notebooks_dir=copies[NOTEBOOKS]) == []


def test_binder_takes_a_python_of_the_course():
    (version,) = re.findall(
        r"^python-(\d+)\.(\d+)$", (BINDER / "runtime.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert PYTHONS[0] <= tuple(map(int, version)) <= PYTHONS[1]
    assert f"- python={'.'.join(version)}\n" in (ROOT / "environment.yml").read_text(encoding="utf-8")
    # Mit .binder/ liest repo2docker nur, was dort liegt; eine dieser Dateien zöge Pakete ohne Prüfsummen nach.
    assert {path.name for path in BINDER.iterdir()} == {"runtime.txt", "postBuild", "start"}


def test_binder_installs_into_its_own_environment_as_everywhere(tmp_path):
    shutil.copytree(BINDER, tmp_path / ".binder")
    (tmp_path / "install.bash").write_text('echo "$CONDA_PREFIX $CONDA_DEFAULT_ENV" > gerufen\n', encoding="utf-8")
    prefix = tmp_path / "env"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(shutil.which("true"))
    environment = {"PATH": os.environ["PATH"]}
    command = [tmp_path / ".binder" / "postBuild"]  # ausführbar
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "NB_PYTHON_PREFIX" in done.stderr and not (tmp_path / "gerufen").exists()
    subprocess.run(command, cwd="/", env={**environment, "NB_PYTHON_PREFIX": str(prefix)}, check=True)
    assert (tmp_path / "gerufen").read_text(encoding="utf-8") == f"{prefix} notebook\n"


@pytest.mark.parametrize("before", ["", "/etc/jupyter"])
def test_binder_starts_the_german_server_with_all_arguments(before):
    environment = {"PATH": os.environ["PATH"], **({"JUPYTER_CONFIG_PATH": before} if before else {})}
    command = [BINDER / "start", "bash", "-c", 'echo "$JUPYTER_CONFIG_PATH|$1"', "jupyter", "mit Leerzeichen"]
    paths, argument = subprocess.check_output(command, cwd="/", env=environment, text=True).strip().split("|")
    first, *rest = paths.split(":")
    assert argument == "mit Leerzeichen" and rest == [before] * bool(before)
    assert json.loads((ROOT / "helpers/workshop/jupyter/labconfig/default_setting_overrides.json").read_text("utf-8"))
    assert os.path.samefile(first, ROOT / "helpers" / "workshop" / "jupyter")


def test_devcontainer_installs_like_everywhere():
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)", found["image"]).groups()))
    assert PYTHONS[0] <= version <= PYTHONS[1] and found["postCreateCommand"] == "bash install.bash"
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert required == ">=3.11,<3.14"
    assert found["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
