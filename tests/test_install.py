"""install.bash mit nachgemachtem Python, pip und uv: jede Meldung, und dass der nächste Aufruf alles wieder richtet.

Die Tests führen eine Kopie des Skripts in einem Ordner mit Leerzeichen und Umlauten aus. Auf dem PATH liegen nur die
Werkzeuge, die das Skript braucht, und das, was ein Test dazulegt; deshalb dauert jeder nur Bruchteile einer Sekunde.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import snapshot

from helpers.basics import ROOT
from helpers.workshop import doctor

TOOLS = "bash cat cksum cp dirname env find grep ls mkdir mv rm sed sleep tail tr uname".split()

# Antwortet wie Python und pip und schreibt jeden Aufruf auf. FAKE_… steuern, was gelingt.
FAKE_PYTHON = """#!/bin/bash
printf '%s' "$*" | tr '\\n' ' ' >>"$FAKE_LOG"; echo >>"$FAKE_LOG"
case "$*" in
*sysconfig*)
    base="$(cat "${0%/*}/base" 2>/dev/null)" # wie sys._base_executable
    echo "${FAKE_PROBE-3.12 ${base:-$0}}"
    ;;
*fcntl*) exec "$FAKE_REAL_PYTHON" "$@" ;;
'-I -c '*) echo 3.12 ;;
'-m venv'*)
    for folder in "$@"; do :; done
    mkdir -p "$folder/bin" && echo "$0" >"$folder/bin/base" && cp "$0" "$folder/bin/python"
    ;;
'-m pip install'*' -r '*)
    cp "${0%/*}/../kurs-pakete.txt" "$FAKE_LOG.requirements"
    sleep "${FAKE_SLEEP:-0}"
    [ -z "${FAKE_ERROR:-}" ] || { echo "$FAKE_ERROR"; exit 1; }
    ;;
*'tensorflow, keras'*) [ -z "${FAKE_NO_AVX:-}" ] || { echo "Illegal instruction"; exit 132; } ;;
'-m helpers'*) echo "PYTHONPATH=${PYTHONPATH:-} PIP_USER=${PIP_USER:-}"; printf '[%s]' "$@"; exit "${FAKE_RC:-0}" ;;
esac
"""

FAKE_UV = '#!/bin/bash\necho "uv $*" >>"$FAKE_LOG"\n'
DEAD = "#!/bin/bash\nexit 127\n"  # ein Platzhalter, wie pyenv sie hat

LOCK = """# Kopf
tqdm==4.70.1 \\
    --hash=sha256:{a}
# gpu: nvidia-x==1 ; sys_platform == 'linux' \\
# gpu:     --hash=sha256:{b}
""".format(a="a" * 64, b="b" * 64)


class Course:
    """Eine Kopie von install.bash in einem Ordner mit Leerzeichen und Umlauten, samt Werkzeugen drum herum."""

    def __init__(self, folder):
        self.folder, self.programs, self.log = folder / "Kurs mit Lücke", folder / "programme", folder / "aufrufe"
        self.folder.mkdir()
        self.programs.mkdir()
        shutil.copy(ROOT / "install.bash", self.folder)
        (self.folder / "requirements.txt").write_text(LOCK, encoding="utf-8")
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))
        self.environment = {"PATH": str(self.programs), "HOME": str(folder), "LANG": "C.UTF-8"}
        self.environment |= {"FAKE_LOG": str(self.log), "FAKE_REAL_PYTHON": sys.executable}

    @property
    def venv(self):
        return self.folder / ".venv"

    @property
    def stamp(self):
        return self.venv / "kurs-stempel"

    def program(self, name, text, folder=None):
        path = (folder or self.programs) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def start(self, *arguments, **environment):
        command = [shutil.which("bash"), str(self.folder / "install.bash"), *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        place = {"cwd": self.folder.parent, "env": self.environment | environment}
        return subprocess.Popen(command, start_new_session=True, **place, **pipes)

    def run(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        process.out, process.err = process.communicate(timeout=100)
        return process

    def calls(self):
        """Was das nachgemachte Python und uv seit der letzten Frage zu tun bekamen."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def requirements(self):
        return self.log.with_name("aufrufe.requirements").read_text(encoding="utf-8")

    def set_up(self, *arguments, **environment):
        """Ein Aufruf gelingt, und der nächste fragt nur noch nach der Version; ergibt, was der erste aufrief."""
        process = self.run(*arguments, **environment)
        assert (process.returncode, process.err) == (0, ""), process.out + process.err
        calls = self.calls()
        assert self.run().out.startswith("✔ Alles bereit.")
        assert {call[:14] for call in self.calls()} == {"-I -c import s"}
        return calls


@pytest.fixture
def bare(tmp_path):
    """Ein Rechner ohne Python."""
    return Course(tmp_path)


@pytest.fixture
def course(bare):
    """Ein Rechner mit einem passenden Python."""
    bare.program("python3.12", FAKE_PYTHON)
    return bare


def assert_sentence(process, *parts):
    """Exit-Code 2, nichts außer einer Meldung auf stderr, und darin ``parts``."""
    assert process.returncode == 2, process.out + process.err
    assert process.err.count("✘") == 1 and process.err.startswith("✘ "), process.err
    assert not [part for part in parts if part not in process.err], process.err


# --- Python finden


@pytest.mark.parametrize("found", ["", "3.9", "3.12-ohne-venv"])
def test_who_has_no_suitable_python_learns_three_ways_to_one(bare, found):
    bare.program("python", DEAD)
    for name in ("python3", "python3.11") if found else ():
        bare.program(name, FAKE_PYTHON)
    process = bare.run(FAKE_PROBE=f"{found} ")
    named = f"gefunden wurde nur {found}." if found else "gefunden wurde keines."
    assert_sentence(process, named, "python3.12-venv", "pyenv install", "uv python install", "conda env")
    assert not bare.venv.exists()


@pytest.mark.parametrize(
    ("version", "uv", "answer"),
    [("3.10.4", "uv", "3.10"), ("3.11.0", "", "3.11-ohne-venv"), ("3.13.9", "uv", "3.13 /"), ("3.14.0", "uv", "3.14")],
)
def test_probe_decides_by_version_and_venv(version, uv, answer):
    """Die Frage an ein Python, ausgeführt unter einer vorgetäuschten Version ohne ensurepip."""
    script = (ROOT / "install.bash").read_text(encoding="utf-8")
    probe = re.search(r"^PROBE='\n(.*?)^'$", script, re.MULTILINE | re.DOTALL)[1]
    fake = f"import sys; sys.version_info = ({version.replace('.', ', ')}); sys.modules['ensurepip'] = None\n"
    command = [sys.executable, "-I", "-c", fake + probe, uv]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(answer) if "/" in answer else printed.strip() == answer


def test_pyenv_versions_are_found_behind_dead_shims(bare):
    bare.program("python3.12", DEAD)
    bare.program("python", FAKE_PYTHON, bare.folder.parent / ".pyenv" / "versions" / "3.11.7" / "bin")
    bare.set_up()


def test_forced_python(bare):
    assert_sentence(bare.run(KURS_PYTHON="python9"), "KURS_PYTHON nennt „python9“")
    assert not bare.venv.exists()
    bare.set_up(KURS_PYTHON=str(bare.program("eigenes", FAKE_PYTHON)))


# --- Einrichten


def test_set_up_takes_only_checked_packages_and_registers_helpers_and_kernel(course):
    calls = course.set_up()
    (packages,) = [call for call in calls if "pip install" in call and " -r " in call]
    for option in ("--no-deps", "--require-hashes", "--only-binary :all:", "--ignore-requires-python", "--no-user"):
        assert option in packages
    (helpers,) = [call for call in calls if f"-e {course.folder}" in call]
    for option in ("pip install", "--no-deps", "--no-index", "--no-build-isolation"):
        assert option in helpers
    assert any("-m ipykernel install --sys-prefix --name traue-keinem-cnn" in call for call in calls)


def test_main_job_gets_arguments_and_returns_its_code_without_settings_of_the_user(course):
    arguments = ("kurs", "--nur", "04_GradCAM", "-p", "text", "zwei Wörter")
    process = course.run(*arguments, FAKE_RC="7", PYTHONPATH="/fremd", PIP_USER="1", PYTHONHOME="/fremd")
    assert process.returncode == 7
    assert process.out.endswith(
        "\nPYTHONPATH= PIP_USER=\n[-m][helpers][kurs][--nur][04_GradCAM][-p][text][zwei Wörter]"
    )
    assert course.run("lock", "--neu").out.endswith("[-m][helpers.workshop.lock][--neu]")
    course.run("test", "--alles")
    assert course.calls()[-1] == "-m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --alles"


def test_changed_lock_is_followed_in_place_and_a_failure_keeps_the_old_environment(course):
    course.set_up()
    before = course.stamp.read_text(encoding="utf-8")
    (course.folder / "requirements.txt").write_text(LOCK + "# neu\n", encoding="utf-8")
    assert_sentence(course.run("kurs", FAKE_ERROR="Failed to establish a new connection"), "nicht zu erreichen")
    assert course.stamp.read_text(encoding="utf-8") == before and (course.venv / "bin" / "python").exists()
    course.calls()
    calls = course.set_up()
    assert any(" -r " in call for call in calls) and not any("-m venv" in call for call in calls)


def test_moved_course_is_built_anew(course):
    course.set_up()
    (course.venv / "rest").touch()
    course.folder = course.folder.rename(course.folder.with_name("Umzug"))
    assert any(f"-e {course.folder}" in call for call in course.set_up())
    assert not (course.venv / "rest").exists()


# --- Was schiefgehen kann


@pytest.mark.parametrize(
    ("spoil", "arguments", "sentence"),
    [
        ("mkdir -p .venv/bin; echo x >.venv/bin/python", (), "nicht von install.bash: Benennen Sie ihn"),
        ("mkdir ../a; echo x >../a/kurs-stempel; ln -s ../a .venv", (), "stammt nicht von install.bash"),
        ("touch ausgabe", (), "lässt sich nicht schreiben"),
        ("rm requirements.txt", (), "fehlt requirements.txt"),
        ("printf '#!/bin/sh\\necho MINGW64' >x; chmod +x x; mv -f x ../programme/uname", (), "in WSL"),
        ("true", ("--gbu",), "„--gbu“ kenne ich nicht: Möglich sind kurs, lab, test, doctor, lock"),
        ("true", ("",), "„“ kenne ich nicht"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_changes(course, spoil, arguments, sentence):
    """Fremde .venv, auch hinter einem Verweis; nur lesbarer Ordner; halber Kurs; Windows; falsche Angaben."""
    subprocess.run(spoil, shell=True, cwd=course.folder, check=True)
    before = {".venv": None} | snapshot(course.folder)
    assert_sentence(course.run(*arguments), sentence)
    assert {".venv": None} | snapshot(course.folder) == before


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "Der Datenträger ist voll"),
        ("ReadTimeoutError: Read timed out.", "Das Paketverzeichnis ist nicht zu erreichen (kein Netz?)"),
        ("SSLError: certificate verify failed", "unbekanntes Zertifikat"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM", "nicht die Prüfsumme"),
        ("ERROR: No matching distribution found for tensorflow==2.21.0", "gibt es für diesen Rechner nicht"),
        ("Etwas ganz anderes", "gescheitert (Pakete laden und einrichten"),
        ("Illegal instruction", "gescheitert (TensorFlow und JupyterLab zum ersten Mal starten): Illegal instruction"),
    ],
)
def test_failed_installation_is_explained_and_leaves_nothing_half_done(course, line, sentence):
    process = course.run(**{"FAKE_NO_AVX" if "Illegal" in line else "FAKE_ERROR": line})
    assert_sentence(process, sentence, "(Protokoll: ausgabe/install.log)")
    assert not course.venv.exists()
    assert line in (course.folder / "ausgabe" / "install.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_no_network_with_the_real_installer(bare, installer):
    """Der Satz passt zu dem, was pip und uv wirklich sagen; der Port des Paketverzeichnisses ist geschlossen."""
    if installer == "uv":
        if not shutil.which("uv"):
            pytest.skip("uv ist nicht da")
        (bare.programs / "uv").symlink_to(shutil.which("uv"))
    index = "http://127.0.0.1:9/simple"
    pip = {"PIP_INDEX_URL": index, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "1"}
    uv = {"UV_DEFAULT_INDEX": index, "UV_NO_CONFIG": "1", "UV_HTTP_RETRIES": "1"}
    process = bare.run(KURS_PYTHON=sys.executable, **pip, **uv)
    assert f", {installer})" in process.out and not bare.venv.exists()
    assert_sentence(process, "nicht zu erreichen")


def test_the_call_after_an_interruption_builds_anew(course):
    """Strg+C; den Tod in jedem Augenblick prüft test_interruptions."""
    process = course.start(FAKE_SLEEP="20")
    limit = time.monotonic() + 30
    while not course.log.with_name("aufrufe.requirements").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    (course.venv / "rest").touch()
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "✘ Abgebrochen: Der nächste Aufruf richtet von vorn ein." in error
    course.set_up()
    assert not (course.venv / "rest").exists()


def test_two_calls_at_once_wait_for_each_other(course):
    both = [course.start("kurs", FAKE_SLEEP="2") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Ein anderer Aufruf richtet gerade ein" in text for text in outputs) == 1
    assert sum("✔ Eingerichtet" in text for text in outputs) == 1
    assert len([call for call in course.calls() if " -r " in call]) == 1


# --- GPU, conda, uv


CARD, NO_CARD = "GPU 0: NVIDIA Test (UUID: GPU-1)", "No devices were found"


@pytest.mark.parametrize(("arguments", "answer"), [((), CARD), (("--gpu",), NO_CARD), ((), NO_CARD)])
def test_gpu_packages_where_a_card_is_or_on_demand(course, arguments, answer):
    course.program("nvidia-smi", f"#!/bin/bash\necho '{answer}'\n")
    course.set_up(*arguments)
    block = f"nvidia-x==1 ; sys_platform == 'linux' \\\n    --hash=sha256:{'b' * 64}\n"
    assert (block in course.requirements()) == (arguments != () or answer == CARD)


def test_active_conda_environment_is_used_and_survives_a_failure(course):
    prefix = course.folder.parent / "conda umgebung"
    course.program("python", FAKE_PYTHON, prefix / "bin")
    active = {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": "kurs"}
    assert_sentence(course.run(**active, FAKE_ERROR="kaputt"), "kaputt")
    assert (prefix / "bin" / "python").exists()
    assert course.run("kurs", **active).returncode == 0
    calls = course.calls()
    assert any(f"-e {course.folder}" in call for call in calls) and calls[-1] == "-m helpers kurs"
    assert not course.venv.exists()


@pytest.mark.parametrize(("name", "answer"), [("base", "3.12 /nirgends"), ("alt", "3.8 ")])
def test_conda_base_and_unsuitable_conda_stay_clean(course, name, answer):
    prefix = course.folder.parent / "miniforge3"
    course.program("python", FAKE_PYTHON.replace("3.12 ${base:-$0}", answer), prefix / "bin")
    assert course.run(CONDA_PREFIX=str(prefix), CONDA_DEFAULT_ENV=name).returncode == 0
    assert course.stamp.exists()
    assert not (prefix / "kurs-stempel").exists()


@pytest.mark.parametrize(("text", "wish", "used"), [(FAKE_UV, "", True), (DEAD, "", False), (FAKE_UV, "pip", False)])
def test_uv_is_used_where_it_is_alive_and_wanted(course, text, wish, used):
    course.program("uv", text)
    assert course.run(KURS_INSTALLER=wish).returncode == 0
    calls = course.calls()
    (packages,) = [call for call in calls if "pip install" in call and " -r " in call]
    assert packages.startswith("uv " if used else "-m pip ")
    for option in ("--no-deps", "--require-hashes", "--only-binary :all:"):
        assert option in packages
    assert (f"--python {course.venv}" in packages) == any("-m venv --without-pip" in call for call in calls) == used


# --- Beiwerk


def test_help_also_with_sh(bare):
    command = [shutil.which("sh"), str(bare.folder / "install.bash"), "--hilfe"]
    text = subprocess.run(command, env=bare.environment, capture_output=True, text=True, check=True).stdout
    for word in ("Aufruf:", "kurs", "lab", "test --alles", "doctor", "lock", "--gpu", "KURS_PYTHON", "KURS_INSTALLER"):
        assert word in text


def test_script_avoids_what_the_bash_of_macos_lacks():
    script = (ROOT / "install.bash").read_text(encoding="utf-8")
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    newer = r"\bmapfile\b|\breadarray\b|\b(declare|local) -[An]|\$\{\w+(,,|\^\^)|&>>|\|&|readlink -f"
    assert not re.search(newer, code)
    assert not re.search(r"\$[A-Za-z_]\w*[^\x00-\x7f]", code), "Variable ohne Klammern vor einem Umlaut"


def test_continuous_integration_runs_every_python_and_every_week_everything_and_a_search_for_known_vulnerabilities():
    assert 'bash install.bash test "$@"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    text = (ROOT / ".github" / "workflows" / "kurs.yml").read_text(encoding="utf-8")
    assert re.search(r"bash \.ci/run.*github\.event_name == 'schedule'.*&& '--alles'", text)
    versions = yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == [f"3.{minor}" for minor in range(doctor.PYTHONS[0][1], doctor.PYTHONS[1][1] + 1)]
    audit = text.partition("\n  schwachstellen:")[2]
    assert all(word in audit for word in ("pip-audit", "requirements.txt", "--require-hashes")) and "schedule:" in text


@pytest.mark.alles
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_real_set_up_in_a_fresh_clone_then_moved(tmp_path, installer):
    """Mit Netz und echten Paketen: helpers gilt in jedem Ordner, auch nach einem Umzug des Kurses."""
    if installer == "uv" and not shutil.which("uv"):
        pytest.skip("uv ist nicht da")
    environment = os.environ | {"KURS_PYTHON": sys.executable, "KURS_INSTALLER": installer}
    environment.pop("PYTHONPATH", None)

    def run(*command):
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    first, second = tmp_path / "Kurs mit Lücke", tmp_path / "Umzug"
    run("git", "clone", "--quiet", str(ROOT), str(first))
    run("bash", str(first / "install.bash"))
    first.rename(second)
    run("bash", str(second / "install.bash"))
    python = str(second / ".venv" / "bin" / "python")
    assert run(python, "-c", "import helpers; print(helpers.__file__)").strip() == str(second / "helpers/__init__.py")
    run(python, "-m", "papermill", "--no-progress-bar", str(second / "notebooks" / "01_Daten.ipynb"), "aus.ipynb")
    assert run("git", "-C", str(second), "status", "--short") == ""
    assert not list(second.glob("*.egg-info")) and not (second / "build").exists()
