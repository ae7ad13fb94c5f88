"""Der Kurs an anderen Orten: ein Klon mit Windows-Zeilenenden, Binder und JupyterHub, ein Devcontainer."""

import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest

from helpers.basics import ROOT
from helpers.workshop import doctor
from helpers.workshop.doctor import PYTHONS

BINDER = ROOT / ".binder"


def test_a_clone_made_under_windows_has_the_line_ends_of_the_repository(tmp_path):
    """WSL mit dem git von Windows (core.autocrlf=true): Ein Wagenrücklauf je Zeile hielte bash und Prüfsummen an."""
    if not (ROOT / ".git").exists():
        pytest.skip("der Kurs liegt hier ohne git")
    git, clone = ["git", "-c", "core.autocrlf=true"], tmp_path / "Kurs mit Leerzeichen"
    subprocess.run([*git, "clone", "--quiet", "--no-tags", str(ROOT), str(clone)], check=True)
    endings = subprocess.check_output([*git, "ls-files", "--eol"], cwd=clone, text=True)
    assert "install.bash" in endings and not re.search("w/(crlf|mixed)", endings)
    assert doctor.check_files("Daten", doctor.sample_sums(clone / "input" / "fashion-mnist")).ok


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


def test_binder_starts_the_german_server_with_all_arguments():
    environment = {"PATH": os.environ["PATH"], "JUPYTER_CONFIG_PATH": "/etc/jupyter"}
    command = [BINDER / "start", "bash", "-c", 'echo "$JUPYTER_CONFIG_PATH|$1"', "jupyter", "mit Leerzeichen"]
    paths, argument = subprocess.check_output(command, cwd="/", env=environment, text=True).strip().split("|")
    first, before = paths.split(":")
    assert argument == "mit Leerzeichen" and before == "/etc/jupyter"
    assert os.path.samefile(first, ROOT / "helpers" / "workshop" / "jupyter")


def test_devcontainer_installs_like_everywhere():
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)", found["image"]).groups()))
    assert PYTHONS[0] <= version <= PYTHONS[1] and found["postCreateCommand"] == "bash install.bash"
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert required == ">=3.11,<3.14"
    assert found["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
