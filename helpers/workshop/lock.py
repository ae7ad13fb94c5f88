"""Das Lockfile requirements.txt: erneuern und prüfen, ob es zu pyproject.toml passt.

``bash install.bash lock`` erneuert es, ``python -m helpers.workshop.lock --pruefen`` vergleicht ohne Netz. Das Erneuern
braucht nur die Standardbibliothek und uv; fehlt uv, wird es in eine vorläufige Umgebung geholt.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

from helpers.basics import ROOT, CourseError, atomic_file

PYPROJECT = ROOT / "pyproject.toml"
LOCKFILE = ROOT / "requirements.txt"
# So beginnen die Zeilen der NVIDIA-Pakete: für pip und uv sind es Kommentare, install.bash --gpu nimmt das Zeichen weg.
GPU_PREFIX = "# gpu: "
FINGERPRINT_PREFIX = "# pyproject.toml: sha256 "
LINUX = "sys_platform == 'linux'"
# In diesen Umgebungen muss jedes erklärte Paket genau eine Version haben.
PYTHONS = ("3.11.7", "3.12.1", "3.13.0")
PLATFORMS = {"Linux": "linux", "Darwin": "darwin"}

HEADER = """\
# Lockfile des Kurses: jede Version und jede Prüfsumme für Python 3.11 bis 3.13.
# Nicht von Hand ändern: Abhängigkeiten stehen in pyproject.toml, „bash install.bash lock“ macht diese Datei daraus neu.
# Zeilen mit „# gpu:“ gelten nur für NVIDIA-Karten unter Linux (bash install.bash --gpu).
"""

PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;]+)(?: ; (.+?))?((?: --hash=sha256:[0-9a-f]{64})*)$")
# Eine Adresse, ein Verzeichnis („paket @ …“) oder eine Option, die eines von beiden nennt.
ADDRESS = re.compile(
    r"\w+://|^(?:# gpu: )?\s*(?:-i\b|-f\b|--(?:extra-)?index|--find-links|--trusted)|\s@\s", re.MULTILINE
)


@dataclass(frozen=True)
class Pin:
    """Eine Zeile des Lockfiles: Name, Version, Bedingung (Marker, kann leer sein), Zahl der Prüfsummen, nur für GPU?"""

    name: str
    version: str
    marker: str
    hashes: int
    gpu: bool


def split_gpu(lock_text: str) -> tuple[str, str]:
    """Trennt das Lockfile in den Teil für alle und den für NVIDIA-Karten (ohne dessen Vorsatz)."""
    lines = lock_text.splitlines()
    plain = [line for line in lines if not line.startswith(GPU_PREFIX)]
    gpu = [line.removeprefix(GPU_PREFIX) for line in lines if line.startswith(GPU_PREFIX)]
    return "\n".join(plain) + "\n", "\n".join(gpu) + "\n"


def read_pins(lock_text: str) -> tuple[list[Pin], list[str]]:
    """Liest das Lockfile; ergibt die Pins und alle Zeilen, die weder Pin noch Kommentar sind."""
    pins, unreadable = [], []
    plain, gpu = split_gpu(lock_text)
    for text, is_gpu in ((plain, False), (gpu, True)):
        for line in text.replace("\\\n", " ").splitlines():
            line = " ".join(line.split())
            if not line or line.startswith("#"):
                continue
            if match := PIN.match(line):
                name, version, marker, hashes = match.groups()
                pins.append(Pin(name, version, marker or "", hashes.count("--hash"), is_gpu))
            else:
                unreadable.append(line)
    return pins, unreadable


def declarations(pyproject_text: str) -> dict:
    """Was in pyproject.toml über Abhängigkeiten steht: python, dependencies, test, gpu, overrides."""
    data = tomllib.loads(pyproject_text)
    project = data["project"]
    extras = project.get("optional-dependencies", {})
    return {
        "python": project["requires-python"],
        "dependencies": project["dependencies"],
        "test": extras.get("test", []),
        "gpu": extras.get("gpu", []),
        "overrides": data.get("tool", {}).get("uv", {}).get("override-dependencies", []),
    }


def fingerprint(pyproject_text: str) -> str:
    """SHA-256 der Abhängigkeiten in pyproject.toml, gleich bei anderer Reihenfolge, Einrückung oder Kommentaren."""

    def normal(value):
        if isinstance(value, list):
            return sorted(normal(item) for item in value)
        return re.sub(r"\s+", "", value).lower()

    parts = {name: normal(value) for name, value in declarations(pyproject_text).items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def problems(pyproject_text: str, lock_text: str) -> list[str]:
    """Was an requirements.txt nicht zu pyproject.toml passt, als deutsche Sätze. Braucht packaging, aber kein Netz."""
    found = []
    if FINGERPRINT_PREFIX + fingerprint(pyproject_text) not in lock_text.splitlines():
        found.append("requirements.txt wurde aus einem anderen Stand von pyproject.toml gemacht.")
    if address := ADDRESS.search(lock_text):
        found.append(f"requirements.txt enthält eine Adresse oder ein Verzeichnis („{address[0].strip()}“).")
    pins, unreadable = read_pins(lock_text)
    found += [f"Eine Zeile in requirements.txt nennt keine feste Version: „{line[:60]}“." for line in unreadable]
    found += [f"In requirements.txt hat {pin.name} {pin.version} keine Prüfsumme." for pin in pins if not pin.hashes]
    everywhere = [pin.name for pin in pins if pin.gpu and pin.marker != LINUX]
    found += [f"Das NVIDIA-Paket {name} gilt in requirements.txt nicht nur für Linux." for name in everywhere]
    declared = declarations(pyproject_text)
    if declared["gpu"] and not any(pin.gpu for pin in pins):
        found.append("In requirements.txt fehlen die Pakete für NVIDIA-Karten.")
    for text in declared["dependencies"] + declared["test"] + declared["overrides"]:
        found += _pin_problems(text, [pin for pin in pins if not pin.gpu])
    return found


def _pin_problems(requirement_text, pins):
    """Prüft eine Zeile aus pyproject.toml: In jeder Umgebung genau eine Version, und sie liegt im erlaubten Bereich."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    requirement = Requirement(requirement_text)
    name = requirement.name
    pins = [pin for pin in pins if pin.name == canonicalize_name(name)]
    if not pins:
        return [f"{name} steht in pyproject.toml, fehlt aber in requirements.txt."]
    found = [
        f"{name} {pin.version} in requirements.txt liegt außerhalb von „{requirement}“ in pyproject.toml."
        for pin in pins
        if not requirement.specifier.contains(pin.version, prereleases=True)
    ]
    for python in PYTHONS:
        for system, platform in PLATFORMS.items():
            environment = {"python_full_version": python, "platform_system": system, "sys_platform": platform}
            count = sum(applies(pin, environment) for pin in pins)
            if count != 1:
                number = f"{count} Versionen" if count else "keine Version"
                where = f"Python {python} ({system})"
                found.append(f"requirements.txt nennt für {name} unter {where} {number} statt genau einer.")
    return found


def applies(pin: Pin, environment: dict | None = None) -> bool:
    """Gilt dieser Pin in ``environment`` (Namen wie in PEP 508), sonst im laufenden Python? Braucht packaging."""
    from packaging.markers import Marker

    environment = dict(environment or {})
    if python := environment.get("python_full_version"):
        environment["python_version"] = python.rpartition(".")[0]
    return not pin.marker or Marker(pin.marker).evaluate(environment)


def renew(upgrade: bool = False) -> None:
    """Macht requirements.txt neu aus pyproject.toml, ganz oder gar nicht.

    Versionen, die noch passen, bleiben; mit ``upgrade`` bekommt jedes Paket die neueste erlaubte.

    Raises:
        CourseError: wenn uv fehlt und nicht zu holen ist oder keine passenden Versionen findet.
    """
    text = PYPROJECT.read_text(encoding="utf-8")
    declared = declarations(text)
    with tempfile.TemporaryDirectory(prefix="kurs-lock-") as temporary:
        temporary = Path(temporary)
        uv = find_uv(temporary)
        old = LOCKFILE.read_text(encoding="utf-8") if LOCKFILE.exists() and not upgrade else ""
        plain, gpu = split_gpu(old)
        lock = compile_lock(uv, temporary / "alle", declared, declared["overrides"], plain)
        # Ein Override ersetzt auch die Angabe [and-cuda]; im zweiten Durchgang ist sie deshalb selbst ein Override.
        overrides = declared["overrides"] + [f"{requirement} ; {LINUX}" for requirement in declared["gpu"]]
        both = compile_lock(uv, temporary / "gpu", declared, overrides, lock + gpu)
    base, extra = _blocks(lock), _blocks(both)
    if moved := [block.split()[0] for block in base if block not in extra]:
        raise CourseError(
            f"Mit den Paketen für NVIDIA-Karten ergäben sich andere Versionen ({', '.join(moved)}): "
            "Gleichen Sie in pyproject.toml die Liste „gpu“ mit „override-dependencies“ ab."
        )
    nvidia = "".join(block for block in extra if block not in base)
    content = HEADER + FINGERPRINT_PREFIX + fingerprint(text) + "\n" + "".join(base)
    content += "".join(GPU_PREFIX + line for line in nvidia.splitlines(keepends=True))
    with atomic_file(LOCKFILE) as path:
        path.write_text(content, encoding="utf-8")


def _blocks(lock):
    """Zerlegt das Lockfile in Blöcke: je eine Zeile mit ``==`` und die Prüfsummen darunter."""
    return re.findall(r"^[a-z0-9][^\n]*\n(?:[ ]+[^\n]*\n)*", lock, re.MULTILINE)


def find_uv(folder: Path) -> str:
    """Pfad eines uv, das wirklich startet: das vorhandene, sonst eines aus einer neuen Umgebung in ``folder``."""
    found = shutil.which("uv")
    if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
        return found
    print("uv ist nicht da und wird in eine vorläufige Umgebung geholt …", flush=True)
    venv.create(folder / "uv", with_pip=True)
    programs = folder / "uv" / "bin"
    command = [programs / "python", "-m", "pip", "install", "--quiet", "uv"]
    if subprocess.run(command, capture_output=True).returncode:
        raise CourseError("uv ließ sich nicht holen: Prüfen Sie die Verbindung zum Internet, dann noch einmal.")
    return str(programs / "uv")


def compile_lock(uv: str, folder: Path, declared: dict, overrides: list[str], old: str) -> str:
    """Lässt uv in ``folder`` alle Versionen und Prüfsummen bestimmen; Versionen aus ``old`` bleiben, wo sie passen."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "kurs"\nversion = "0"\n'
        f"requires-python = {json.dumps(declared['python'])}\n"
        f"dependencies = {json.dumps(declared['dependencies'] + declared['test'])}\n"
        f"[tool.uv]\npackage = false\noverride-dependencies = {json.dumps(overrides)}\n",
        encoding="utf-8",
    )
    (folder / "requirements.txt").write_text(old, encoding="utf-8")
    oldest = re.search(r"3\.\d+", declared["python"])[0]
    command = [uv, "pip", "compile", "pyproject.toml", "--output-file", "requirements.txt", "--quiet"]
    command += ["--universal", "--python-version", oldest, "--python", sys.executable, "--only-binary", ":all:"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise CourseError(
            "uv fand keine Versionen, die zusammenpassen, oder erreichte das Paketverzeichnis nicht; es sagt: "
            + " ".join(result.stderr.split())
        )
    return (folder / "requirements.txt").read_text(encoding="utf-8")


def main(arguments=None) -> int:
    """Kommandozeile: erneuert das Lockfile oder prüft es (``--pruefen``)."""
    parser = argparse.ArgumentParser(prog="bash install.bash lock", description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("-h", "--hilfe", action="help", help="zeigt diese Hilfe")
    parser.add_argument("--neu", action="store_true", help="nimmt für jedes Paket die neueste erlaubte Version")
    parser.add_argument("--pruefen", action="store_true", help="vergleicht nur, ohne Netz und ohne etwas zu ändern")
    options = parser.parse_args(arguments)
    try:
        if not options.pruefen:
            renew(upgrade=options.neu)
            print("✔ requirements.txt ist erneuert.")
            return 0
        found = problems(PYPROJECT.read_text(encoding="utf-8"), LOCKFILE.read_text(encoding="utf-8"))
    except CourseError as error:
        print(f"✘ {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"✘ Zum Prüfen fehlt das Paket {error.name}: Rufen Sie zuerst „bash install.bash“ auf.", file=sys.stderr)
        return 2
    except FileNotFoundError as error:
        print(f"✘ Im Kursordner fehlt {Path(error.filename).name}.", file=sys.stderr)
        return 2
    for sentence in found:
        print(f"✘ {sentence}", file=sys.stderr)
    if found:
        print("Abhilfe: bash install.bash lock", file=sys.stderr)
        return 1
    print("✔ requirements.txt passt zu pyproject.toml.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
