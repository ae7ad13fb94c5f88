"""install.bash mit nachgemachtem Python, pip und df: jede Meldung, und dass danach nichts Halbes liegt.

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
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from helpers.basics import ROOT

TOOLS = """bash awk cat cksum cp cut df dirname env grep ls mkdir mktemp mv rm sed sha256sum shasum sleep tail uname
    """.split()

# Antwortet wie Python und pip und schreibt jeden Aufruf auf. FAKE_… steuern, was gelingt.
FAKE_PYTHON = """#!/bin/bash
printf '%s\\n' "$*" | tr '\\n' ' ' >>"$FAKE_LOG"; echo >>"$FAKE_LOG"
case "$*" in
*sysconfig*)
    base="$(cat "${0%/*}/base" 2>/dev/null)" # wie sys._base_executable
    echo "${FAKE_PROBE:-fits venv 3.12} ${base:-$0}"
    ;;
'-I -c '*) echo 3.12 ;;
'-I -') "$FAKE_REAL_PYTHON" -I - ;;
'-m venv'*)
    for folder in "$@"; do :; done
    mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" && echo "$0" >"$folder/bin/base"
    ;;
*'pip download'*) [ -z "${FAKE_OFFLINE:-}" ] || { echo "Failed to establish a new connection"; exit 1; } ;;
*'pip --python'*)
    for list in "$@"; do :; done
    cp "$list" "$FAKE_LOG.requirements"
    sleep "${FAKE_SLEEP:-0}"
    [ -z "${FAKE_ERROR:-}" ] || { echo "$FAKE_ERROR"; exit 1; }
    ;;
*'import tensorflow'*) [ -z "${FAKE_NO_AVX:-}" ] || { echo "Illegal instruction"; exit 132; } ;;
'-m helpers'*) echo "PYTHONPATH=${PYTHONPATH:-} PIP_USER=${PIP_USER:-}"; printf '[%s]' "$@"; exit "${FAKE_RC:-0}" ;;
esac
"""

LOCK = """# Kopf
tqdm==4.70.1 \\
    --hash=sha256:{a}
# gpu: nvidia-x==1 ; sys_platform == 'linux' \\
# gpu:     --hash=sha256:{b}
""".format(a="a" * 64, b="b" * 64)


class Course:
    """Eine Kopie von install.bash in einem Ordner mit Leerzeichen und Umlauten, samt Werkzeugen drum herum."""

    def __init__(self, folder):
        self.folder = folder / "Kurs mit Lücke"
        self.programs = folder / "programme"
        self.log = folder / "aufrufe"
        (self.folder / "helpers").mkdir(parents=True)
        self.programs.mkdir()
        (folder / "tmp").mkdir()
        shutil.copy(ROOT / "install.bash", self.folder)
        (self.folder / "requirements.txt").write_text(LOCK, encoding="utf-8")
        (self.folder / "pyproject.toml").touch()
        (self.folder / "helpers" / "__init__.py").touch()
        (self.folder / "notebooks").mkdir()
        for tool in TOOLS + ["tr"]:
            if found := shutil.which(tool):
                (self.programs / tool).symlink_to(found)
        self.environment = {
            "PATH": str(self.programs),
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "FAKE_LOG": str(self.log),
            "FAKE_REAL_PYTHON": sys.executable,
        }

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
        return subprocess.Popen(
            [shutil.which("bash"), str(self.folder / "install.bash"), *arguments],
            cwd=self.folder.parent,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        process.out, process.err = process.communicate(timeout=60)
        return process

    def calls(self):
        """Was das nachgemachte Python seit der letzten Frage zu tun bekam."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


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
    assert process.err.count("✘") == 1
    assert process.err.startswith("✘ ")
    for part in parts:
        assert part in process.err


def nothing_left(course):
    return not course.venv.exists() and not list((course.folder.parent / "tmp").iterdir())


# --- Python finden


def test_no_python(bare):
    process = bare.run()
    assert_sentence(process, "gefunden wurde keines", "apt install", "pyenv install", "uv python install", "conda env")
    assert nothing_left(bare)


def test_unsuitable_pythons_are_named(bare):
    bare.program("python3", FAKE_PYTHON)
    bare.program("python", "#!/bin/bash\necho 'pyenv: python: command not found' >&2\nexit 127\n")
    process = bare.run(FAKE_PROBE="no venv 3.9")
    assert_sentence(process, "gefunden wurde nur 3.9.")


@pytest.mark.parametrize(
    ("version", "fits"), [("3.10.4", False), ("3.11.0", True), ("3.13.9", True), ("3.14.0", False), ("2.7.18", False)]
)
def test_probe_decides_by_version(version, fits):
    """Die Frage an ein Python, ausgeführt unter einer vorgetäuschten Version."""
    script = (ROOT / "install.bash").read_text(encoding="utf-8")
    probe = re.search(r"^PYTHON_PROBE='\n(.*?)^'$", script, re.MULTILINE | re.DOTALL)[1]
    fake = f"import sys; sys.version_info = ({version.replace('.', ', ')}); sys.implementation.name = 'cpython'\n"
    answer = subprocess.run([sys.executable, "-I", "-c", fake + probe], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[0] == ("fits" if fits else "no")


def test_pyenv_versions_are_found_behind_dead_shims(bare):
    bare.program("python3.12", "#!/bin/bash\nexit 127\n")
    bare.program("python", FAKE_PYTHON, bare.folder.parent / ".pyenv" / "versions" / "3.11.7" / "bin")
    process = bare.run()
    assert process.returncode == 0, process.err
    assert bare.stamp.exists()


def test_python_without_venv(course):
    process = course.run(FAKE_PROBE="fits - 3.12")
    assert_sentence(process, "Dem Python 3.12 fehlt das Modul venv", "sudo apt install python3.12-venv")
    assert nothing_left(course)


def test_forced_python(course):
    assert_sentence(course.run(KURS_PYTHON="python9"), "KURS_PYTHON nennt „python9“")
    other = course.program("eigenes", FAKE_PYTHON)
    assert course.run(KURS_PYTHON=str(other)).returncode == 0


# --- Voraussetzungen


@pytest.mark.parametrize("device", ["/dev/sda1", "//server/mit leerzeichen"])
def test_too_little_disk(course, device):
    rows = f"Filesystem 1024-blocks Used Available Capacity Mounted on\n{device} 9000000 6500000 2500000 73% /\n"
    course.program("df", f"#!/bin/bash\nprintf '{rows.replace('%', '%%')}'\n")
    assert_sentence(course.run(), "Zu wenig Platz: die Umgebung braucht 3,5 GB, frei sind 2,5 GB")
    assert nothing_left(course)


def test_unreadable_df_does_not_stop_anyone(course):
    course.program("df", "#!/bin/bash\nexit 1\n")
    assert course.run().returncode == 0


def test_no_network(course):
    assert_sentence(course.run(FAKE_OFFLINE="1"), "Das Paketverzeichnis ist nicht zu erreichen (kein Netz?)")
    assert nothing_left(course)
    assert not [call for call in course.calls() if "without-pip" in call]


def test_no_network_keeps_the_old_environment(course):
    course.run()
    before = course.stamp.read_bytes()
    with open(course.folder / "requirements.txt", "a", encoding="utf-8") as file:
        file.write("# neu\n")
    assert_sentence(course.run("kurs", FAKE_OFFLINE="1"), "nicht zu erreichen")
    assert course.stamp.read_bytes() == before


def test_no_network_with_real_pip(bare):
    """Das echte pip, dessen Paketverzeichnis auf einen geschlossenen Port zeigt."""
    pytest.importorskip("ensurepip")
    process = bare.run(
        KURS_PYTHON=sys.executable,
        KURS_INSTALLER="pip",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_CONFIG_FILE="/dev/null",
    )
    assert_sentence(process, "nicht zu erreichen")
    assert nothing_left(bare)


@pytest.mark.skipif(not shutil.which("uv"), reason="uv ist nicht da")
def test_no_network_with_real_uv(bare, tmp_path):
    if subprocess.run(["uv", "--version"], capture_output=True).returncode:
        pytest.skip("uv startet nicht")  # etwa ein Platzhalter von pyenv
    bare.environment |= {
        "PATH": f"{bare.programs}:{os.environ['PATH']}",
        "PYENV_ROOT": os.environ.get("PYENV_ROOT", ""),
    }
    process = bare.run(
        KURS_PYTHON=sys.executable,
        UV_DEFAULT_INDEX="http://127.0.0.1:9/simple",
        UV_HTTP_RETRIES="0",
        UV_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert_sentence(process, "nicht zu erreichen")
    assert nothing_left(bare)


def test_foreign_venv_is_left_alone(course):
    (course.venv / "bin").mkdir(parents=True)
    (course.venv / "bin" / "python").write_text("fremd", encoding="utf-8")
    assert_sentence(course.run(), "Der Ordner .venv stammt nicht von install.bash", "mv .venv .venv-alt")
    assert (course.venv / "bin" / "python").read_text(encoding="utf-8") == "fremd"
    assert list(course.venv.iterdir()) == [course.venv / "bin"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root darf überall schreiben")
def test_unwritable_folder(course):
    course.folder.chmod(0o555)
    process = course.run()
    course.folder.chmod(0o755)
    assert_sentence(process, "lässt sich nicht schreiben")


@pytest.mark.parametrize("name", ["requirements.txt", "helpers/__init__.py"])
def test_incomplete_course_folder(course, name):
    (course.folder / name).unlink()
    assert_sentence(course.run(), f"Im Kursordner fehlt {name}")


# --- Einrichten


def test_set_up_then_nothing_left_to_do(course):
    process = course.run()
    assert process.returncode == 0, process.err
    assert process.err == ""
    assert "✔ Eingerichtet in" in process.out
    calls = course.calls()
    install = next(call for call in calls if "pip --python" in call)
    for option in ("--no-deps", "--require-hashes", "--only-binary :all:", "--ignore-requires-python", "--no-user"):
        assert option in install
    assert any("-m ipykernel install --sys-prefix --name traue-keinem-cnn" in call for call in calls)
    assert f"ort {course.venv}\n" in course.stamp.read_text(encoding="utf-8")
    assert not list((course.folder.parent / "tmp").iterdir())

    again = course.run()
    assert again.out.startswith("✔ Alles bereit.")
    assert [call[:6] for call in course.calls()] == ["-I -c "], "der zweite Aufruf fragt nur nach der Version"


def test_settings_of_the_user_do_not_leak_in(course):
    process = course.run("kurs", PYTHONPATH="/fremd", PIP_USER="1", PYTHONHOME="/fremd")
    assert "\nPYTHONPATH= PIP_USER=\n" in process.out


def test_main_job_gets_arguments_and_returns_its_code(course):
    process = course.run("kurs", "--nur", "04_GradCAM", "-p", "text", "zwei Wörter", FAKE_RC="7")
    assert process.returncode == 7
    assert process.out.endswith("\n[-m][helpers][kurs][--nur][04_GradCAM][-p][text][zwei Wörter]")
    course.calls()
    course.run("test", "tests/test_x.py")
    assert course.calls()[-1] == "-m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder tests/test_x.py "


def test_lock_needs_no_environment(course):
    process = course.run("lock", "--neu")
    assert process.returncode == 0, process.err
    assert process.out.endswith("[-m][helpers.workshop.lock][--neu]")
    assert nothing_left(course)


def test_changed_lock_is_followed_in_place(course):
    course.run()
    course.calls()
    (course.folder / "requirements.txt").write_text(LOCK + "# neu\n", encoding="utf-8")
    assert course.run().returncode == 0
    calls = course.calls()
    assert any("pip --python" in call for call in calls)
    assert not [call for call in calls if "--without-pip" in call]


def test_moved_folder_is_built_anew(course):
    course.run()
    course.folder = course.folder.rename(course.folder.with_name("Umzug"))
    course.calls()
    process = course.run()
    assert process.returncode == 0, process.err
    assert "Bisherige Umgebung .venv entfernen" in process.out
    assert any("--without-pip" in call for call in course.calls())
    assert f"ort {course.venv}\n" in course.stamp.read_text(encoding="utf-8")


def test_unfinished_environment_is_built_anew(course):
    course.venv.mkdir()
    course.stamp.write_text("im Bau\n", encoding="utf-8")
    (course.venv / "rest").touch()
    assert course.run().returncode == 0
    assert not (course.venv / "rest").exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "Der Datenträger ist voll"),
        ("ReadTimeoutError: Read timed out.", "nicht zu erreichen"),
        ("SSLError: certificate verify failed", "unbekanntes Zertifikat"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM", "nicht die Prüfsumme"),
        ("ERROR: No matching distribution found for tensorflow==2.21.0", "gibt es für diesen Rechner nicht"),
        ("Etwas ganz anderes", "Das Einrichten ist gescheitert: Etwas ganz anderes"),
    ],
)
def test_failed_installation_leaves_nothing_half_done(course, line, sentence):
    assert_sentence(course.run(FAKE_ERROR=line), sentence, "(Protokoll: ausgabe/install.log)")
    assert nothing_left(course)
    assert line in (course.folder / "ausgabe" / "install.log").read_text(encoding="utf-8")


def test_packages_that_do_not_start(course):
    assert_sentence(course.run(FAKE_NO_AVX="1"), "Die Pakete laufen auf diesem Rechner nicht: Illegal instruction")
    assert nothing_left(course)


def stop_while_installing(course, signal_number):
    process = course.start(FAKE_SLEEP="20")
    limit = time.monotonic() + 30
    while not (course.log.with_name("aufrufe.requirements")).exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert course.venv.exists()
    os.killpg(process.pid, signal_number)
    _, process.err = process.communicate(timeout=30)
    return process


def test_interrupt_leaves_nothing_half_done(course):
    process = stop_while_installing(course, signal.SIGINT)
    assert process.returncode == 130
    assert "✘ Abgebrochen: Es bleibt nichts Halbes zurück." in process.err
    assert nothing_left(course)


def test_power_failure_is_recovered_from(course):
    stop_while_installing(course, signal.SIGKILL)
    assert course.stamp.read_text(encoding="utf-8") == "im Bau\n"
    process = course.run()
    assert process.returncode == 0, process.err
    assert "Bisherige Umgebung .venv entfernen" in process.out


def test_two_calls_at_once(course):
    first, second = (course.start("kurs", FAKE_SLEEP="2") for _ in range(2))
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert sum("Ein anderer Aufruf richtet gerade ein" in text for text in outputs) == 1
    assert sum("✔ Eingerichtet" in text for text in outputs) == 1
    assert len([call for call in course.calls() if "pip --python" in call]) == 1


# --- GPU, conda, uv


def requirements(course):
    return course.log.with_name("aufrufe.requirements").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="CUDA-Pakete gibt es nur für Linux")
@pytest.mark.parametrize("found", [True, False])
def test_gpu_packages(course, found):
    if found:
        course.program("nvidia-smi", "#!/bin/bash\necho 'GPU 0: NVIDIA Test (UUID: GPU-1)'\n")
    assert course.run(*([] if found else ["--gpu"])).returncode == 0
    assert f"nvidia-x==1 ; sys_platform == 'linux' \\\n    --hash=sha256:{'b' * 64}\n" in requirements(course)
    assert "# gpu" not in requirements(course)
    course.calls()
    assert course.run().out.startswith("✔ Alles bereit.")
    assert [call[:6] for call in course.calls()] == ["-I -c "]


def test_no_gpu_packages_without_a_card(course):
    course.program("nvidia-smi", "#!/bin/bash\necho 'No devices were found'\nexit 6\n")
    course.run()
    assert "# gpu: nvidia-x" in requirements(course)


def conda(course, name, **environment):
    prefix = course.folder.parent / name
    course.program("python", FAKE_PYTHON, prefix / "bin")
    return prefix, course.run(CONDA_PREFIX=str(prefix), **environment)


def test_active_conda_environment_is_used(course):
    prefix, process = conda(course, "conda umgebung", CONDA_DEFAULT_ENV="kurs")
    assert process.returncode == 0, process.err
    assert not course.venv.exists()
    assert f"ort {prefix}\n" in (prefix / "kurs-stempel").read_text(encoding="utf-8")
    course.calls()
    assert course.run("kurs", CONDA_PREFIX=str(prefix)).returncode == 0
    assert course.calls()[-1] == "-m helpers kurs "


def test_failure_in_conda_removes_nothing_of_it(course):
    prefix, process = conda(course, "conda", CONDA_DEFAULT_ENV="kurs", FAKE_ERROR="kaputt")
    assert_sentence(process, "Das Einrichten ist gescheitert: kaputt")
    assert (prefix / "bin" / "python").exists()
    assert conda(course, "conda", CONDA_DEFAULT_ENV="kurs")[1].returncode == 0


def test_conda_base_stays_clean(course):
    prefix, process = conda(course, "miniforge3", CONDA_DEFAULT_ENV="base")
    assert process.returncode == 0, process.err
    assert course.stamp.exists()
    assert not (prefix / "kurs-stempel").exists()


def test_conda_environment_with_unsuitable_python(course):
    prefix = course.folder.parent / "alt"
    course.program("python", FAKE_PYTHON.replace("fits venv 3.12", "no venv 3.8"), prefix / "bin")
    assert course.run(CONDA_PREFIX=str(prefix)).returncode == 0
    assert course.stamp.exists()


FAKE_UV = """#!/bin/bash
echo "uv $*" >>"$FAKE_LOG"
case "$*" in
'venv --help') echo "--allow-existing" ;;
venv*)
    for folder in "$@"; do :; done
    mkdir -p "$folder/bin" && cp "$FAKE_PROGRAMS/python3.12" "$folder/bin/python"
    ;;
esac
"""


def test_uv_is_used_where_it_is_there(course):
    course.program("uv", FAKE_UV)
    course.environment["FAKE_PROGRAMS"] = str(course.programs)
    process = course.run(FAKE_PROBE="fits - 3.12")  # uv braucht das venv-Modul nicht
    assert process.returncode == 0, process.err
    calls = course.calls()
    assert not [call for call in calls if call.startswith("-m venv") or "pip download" in call]
    install = next(call for call in calls if call.startswith("uv pip install --no-deps"))
    assert "--require-hashes" in install


@pytest.mark.parametrize("text", ["#!/bin/bash\nexit 127\n", "#!/bin/bash\necho 'uv 0.1'\n"])
def test_dead_or_old_uv_is_passed_over(course, text):
    course.program("uv", text)
    assert course.run().returncode == 0
    assert any("pip --python" in call for call in course.calls())


def test_pip_can_be_asked_for(course):
    course.program("uv", FAKE_UV)
    assert course.run(KURS_INSTALLER="pip").returncode == 0
    assert not [call for call in course.calls() if call.startswith("uv")]


# --- Aufruf und Beiwerk


@pytest.mark.parametrize("argument", ["kurz", "--gbu", ""])
def test_wrong_argument(course, argument):
    assert_sentence(course.run(argument), f"„{argument}“ kenne ich nicht", "kurs, lab, test, doctor, lock")
    assert course.calls() == []


def test_help(bare):
    process = bare.run("--hilfe")
    assert process.returncode == 0
    for word in ("kurs", "lab", "test", "doctor", "lock", "--gpu", "KURS_PYTHON"):
        assert word in process.out


def test_script_also_starts_with_sh(course):
    sh = shutil.which("sh")
    result = subprocess.run(
        [sh, str(course.folder / "install.bash"), "--hilfe"], env=course.environment, capture_output=True, text=True
    )
    assert result.stdout.startswith("Aufruf:")


def test_script_avoids_what_the_bash_of_macos_lacks():
    script = (ROOT / "install.bash").read_text(encoding="utf-8")
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    for pattern in (
        r"\bmapfile\b|\breadarray\b",
        r"\b(declare|local) -[An]",
        r"\$\{\w+(,,|\^\^)",
        r"&>>|\|&",
        r"readlink -f",
    ):
        assert not re.search(pattern, code), pattern
    assert not re.search(r"\$[A-Za-z_]\w*[^\x00-\x7f]", code), "Variable ohne Klammern vor einem Umlaut"


def test_continuous_integration_runs_the_same_tests():
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "bash install.bash test"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "kurs.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert any(step.get("run") == "bash .ci/run" for step in job["steps"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = SpecifierSet(project["requires-python"])
    versions = [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}.1" in allowed]
    assert job["strategy"]["matrix"]["python"] == versions
    assert {"push", "pull_request", "schedule"} <= set(workflow[True])  # YAML liest „on“ als wahr


def test_conda_file_holds_only_python_and_pip():
    description = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert description == {
        "name": "traue-keinem-cnn",
        "channels": ["conda-forge"],
        "dependencies": ["python=3.12", "pip"],
    }
