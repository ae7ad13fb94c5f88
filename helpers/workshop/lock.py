"""Das Lockfile requirements.txt: mit uv aus pyproject.toml erneuern und prüfen, ob beide zusammenpassen."""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from helpers.basics import ROOT, atomic_file
from helpers.workshop.streams import speak_any_encoding

HEADER = """\
# Lockfile des Kurses: jede Version und jede Prüfsumme für Python 3.11 bis 3.13.
# Nicht von Hand ändern: Abhängigkeiten stehen in pyproject.toml, „bash install.bash lock“ macht diese Datei daraus neu.
# Zeilen mit „# gpu:“ gelten nur für NVIDIA-Karten unter Linux (bash install.bash --gpu).
# Prüfsumme: """
GPU = "# gpu: "  # für pip und uv ein Kommentar; install.bash --gpu nimmt das Zeichen weg
COMPILE = """pip compile pyproject.toml --extra test --universal --python-version 3.11 --generate-hashes --quiet
    --only-binary :all: --no-annotate --no-header --no-emit-index-url --no-emit-find-links --output-file""".split()


def with_header(pins: str, folder: Path) -> str:
    """Das ganze Lockfile: Kopf mit SHA-256 der Abhängigkeiten in pyproject.toml und der Zeilen ``pins``, dann diese."""
    data = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [data["project"].get(key) for key in ("requires-python", "dependencies", "optional-dependencies")]
    content = json.dumps([declared, data["tool"]["uv"], pins]).encode()
    return HEADER + hashlib.sha256(content).hexdigest() + "\n" + pins


def fits(folder: Path = ROOT) -> bool:
    """Ist requirements.txt aus diesem Stand von pyproject.toml gemacht und seitdem unverändert?"""
    lock = (folder / "requirements.txt").read_text(encoding="utf-8")
    return lock == with_header("".join(lock.splitlines(keepends=True)[HEADER.count("\n") + 1 :]), folder)


def renew(upgrade: bool = False, folder: Path = ROOT) -> None:
    """Macht requirements.txt neu, ganz oder gar nicht; was noch passt, bleibt, mit ``upgrade`` wird alles neu gewählt.

    Raises:
        SystemExit: wenn uv nicht zu holen ist oder keine passenden Versionen findet.
    """
    lock = folder / "requirements.txt"
    with tempfile.TemporaryDirectory(prefix="kurs-lock-") as temporary:
        new = Path(temporary, "requirements.txt")
        new.write_text(lock.read_text(encoding="utf-8").replace(GPU, ""), encoding="utf-8")
        get_uv = [sys.executable, "-m", "pip", "install", "--target", temporary, "uv"]
        compile_all = [f"{temporary}/bin/uv", *COMPILE, new, *["--upgrade"] * upgrade]
        for command in (get_uv, compile_all):
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if result.returncode:
                sys.exit(f"✘ Keine passenden Versionen oder kein Netz: {' '.join(result.stderr.split())}")
        blocks = re.findall(r"^\S.*\n(?: .*\n)*", new.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [block for block in blocks if not block.startswith("nvidia-")]
    nvidia = [GPU + line for block in blocks if block not in plain for line in block.splitlines(keepends=True)]
    with atomic_file(lock) as path:
        path.write_text(with_header("".join(plain + nvidia), folder), encoding="utf-8")


if __name__ == "__main__":
    speak_any_encoding()
    parser = argparse.ArgumentParser(prog="bash install.bash lock", description=__doc__)
    parser.add_argument("--neu", action="store_true", help="nimmt für jedes Paket die neueste erlaubte Version")
    parser.add_argument("--pruefen", action="store_true", help="vergleicht nur, ohne Netz und ohne etwas zu ändern")
    options = parser.parse_args()
    if not options.pruefen:
        renew(upgrade=options.neu)
    if not fits():
        sys.exit("✘ requirements.txt passt nicht zu pyproject.toml: Rufen Sie „bash install.bash lock“ auf.")
    print("✔ requirements.txt passt zu pyproject.toml.")
