#!/usr/bin/env bash
# Richtet den Kurs „Traue keinem CNN“ ein und startet ihn. Alles Weitere: bash install.bash --hilfe
# Läuft auch mit der bash 3.2 von macOS: keine assoziativen Felder, Variablen vor Umlauten stets als ${name}.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail

show_help() {
    cat <<'TEXT'
Aufruf: bash install.bash [--gpu] [Befehl …]

Ohne Befehl wird der Kurs eingerichtet: Pakete in .venv (oder in der aktiven conda-Umgebung) und der Jupyter-Kernel
„Traue keinem CNN“. Jeder Befehl holt das nach, wenn es noch fehlt.

  lab …      JupyterLab mit der Startseite öffnen                 (weitere Angaben gehen an JupyterLab)
  kurs …     alle fünf Notebooks ausführen, Bericht in ausgabe/   (mehr: bash install.bash kurs --hilfe)
  test …     die kurzen Tests ausführen, etwa fünfzehn Minuten    (weitere Angaben gehen an pytest)
             test --alles führt auch die langen aus, wie jede Woche die Prüfung des Kurses
  doctor     zeigen, ob alles da ist
  lock …     requirements.txt neu aus pyproject.toml machen       (--neu: neueste Versionen, --pruefen: nur prüfen)

  --gpu      auch die CUDA-Pakete für NVIDIA-Karten holen (nur Linux; wo eine Karte gefunden wird, von selbst)
  --hilfe    diese Hilfe

Umgebungsvariablen:
  KURS_PYTHON=/pfad/zu/python3.12   genau dieses Python nehmen
  KURS_INSTALLER=pip                uv nicht benutzen, auch wenn es da ist
TEXT
}

fail() {
    printf '✘ %s\n' "$*" >&2
    exit 2
}

# --- Python finden ---------------------------------------------------------------------------------------------------

# Antwortet mit Version und Pfad oder nur mit der Version, wenn dieses Python nicht passt. Der Pfad zeigt aus einer
# Umgebung hinaus auf das Python, aus dem sie entstand. Mit uv braucht das Python kein eigenes pip (ensurepip).
PROBE='
import sys, sysconfig
version, path = "%d.%d" % sys.version_info[:2], getattr(sys, "_base_executable", None) or sys.executable
fits = (3, 11) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython" and sys.maxsize > 2**32
if not fits or sysconfig.get_config_var("Py_GIL_DISABLED"):
    path = ""
try:
    __import__("venv" if sys.argv[1] else "ensurepip")
except ImportError:
    version, path = version + "-ohne-venv", ""
print(version + " " + path)
'

# Prüft ein Python, indem es wirklich gestartet wird: pyenv hat Platzhalter auch für Versionen, die nicht aktiv sind.
try_python() {
    local answer version path
    answer="$("$1" -I -c "${PROBE}" "${UV}" </dev/null 2>/dev/null)" || return 1
    read -r version path <<<"${answer}"
    if [ -z "${path}" ]; then
        case " ${UNSUITABLE} " in *" ${version} "*) ;; *) UNSUITABLE="${UNSUITABLE} ${version}" ;; esac
        return 1
    fi
    PYTHON="${path}" PYTHON_VERSION="${version}"
}

find_python() {
    local candidate root="${PYENV_ROOT:-${HOME:-}/.pyenv}" managed=""
    [ -z "${UV}" ] || managed="$(uv python find --no-python-downloads '>=3.11,<3.14' 2>/dev/null)" || managed=""
    # Zuerst das, aus dem .venv entstand: Wer eingerichtet hat, behält seine Version.
    for candidate in "${ROOT}/.venv/bin/python" python3.13 python3.12 python3.11 python3 python \
        "${root}"/versions/3.1[321].*/bin/python "${managed}"; do
        if try_python "${candidate}"; then return 0; fi
    done
    fail "Der Kurs braucht Python 3.11, 3.12 oder 3.13, gefunden wurde ${UNSUITABLE:+nur}${UNSUITABLE:-keines}.
  Drei Wege dorthin, danach noch einmal „bash install.bash“:
  1. Debian/Ubuntu:     sudo apt install python3.12 python3.12-venv     (je nach Ausgabe 3.11, 3.12 oder 3.13)
  2. pyenv oder uv:     pyenv install 3.12     oder     uv python install 3.12
  3. conda/Miniforge:   conda env create -f environment.yml && conda activate traue-keinem-cnn"
}

# --- Wo die Pakete liegen, und ob dort schon alles stimmt ------------------------------------------------------------

choose_environment() {
    ENVIRONMENT="${ROOT}/.venv" KIND=venv
    if [ -n "${KURS_PYTHON:-}" ]; then
        try_python "${KURS_PYTHON}" ||
            fail "KURS_PYTHON nennt „${KURS_PYTHON}“: Das ist kein startendes Python 3.11, 3.12 oder 3.13 mit venv."
    # In der conda-Umgebung „base“ liegt conda selbst: Dort wird nichts ausgetauscht, ihr Python genügt für .venv.
    elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ] && [ ! -d "${CONDA_PREFIX}/condabin" ] &&
        try_python "${CONDA_PREFIX}/bin/python"; then
        ENVIRONMENT="${CONDA_PREFIX}" KIND=conda
    fi
    STAMP="${ENVIRONMENT}/kurs-stempel"
}

environment_version() {
    "${ENVIRONMENT}/bin/python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' </dev/null 2>/dev/null || true
}

# Der Stempel in der Umgebung sagt, womit sie fertig wurde; solange sie entsteht, steht „im Bau“ darin.
stamp() {
    printf 'gpu %s\npython %s in %s\n' "${GPU}" "${PYTHON_VERSION:-$(environment_version)}" "${ENVIRONMENT}"
    printf 'kurs %s\npakete %s\n' "${ROOT}" "$(cksum <"${ROOT}/requirements.txt")"
}

read_stamp() { cat "${STAMP}" 2>/dev/null || true; }
is_ready() { [ -n "$(environment_version)" ] && [ "$(read_stamp)" = "$(stamp)" ]; }

# --- Einrichten ------------------------------------------------------------------------------------------------------

# Macht aus dem Ende des Protokolls einen deutschen Satz.  $1 der Schritt, der gescheitert ist
explain_failure() {
    because() { ! tail -n 30 "${LOG}" | grep -iE "$1" >/dev/null || fail "$2 (Protokoll: ausgabe/install.log)."; }
    # pip und uv laden erst alles und tauschen dann jedes Paket ganz oder gar nicht: Der alte Stand bleibt brauchbar.
    if [ -n "${OLD_STAMP}" ]; then
        echo "${OLD_STAMP}" >"${STAMP}"
    elif [ "${KIND}" = venv ]; then
        rm -rf "${ENVIRONMENT}"
    fi
    because 'no space left|os error 28|quota exceeded|not enough space' \
        "Der Datenträger ist voll: Schaffen Sie 4 GB Platz (mit CUDA-Paketen 10 GB) und rufen Sie noch einmal auf"
    because 'certificate' "Das Paketverzeichnis hat ein unbekanntes Zertifikat: Es gehört in PIP_CERT und SSL_CERT_FILE"
    because 'connect|resolve|resolution|proxy|timed out|read ?timeout|unreachable|sending request|network' \
        "Das Paketverzeichnis ist nicht zu erreichen (kein Netz?): Prüfen Sie Verbindung und Proxy, dann noch einmal"
    because 'do not match the hashes|hash mismatch' \
        "Ein Paket hat nicht die Prüfsumme aus requirements.txt: Ihr Paketverzeichnis liefert andere Dateien"
    because 'no matching distribution|no wheels? with a matching|not a supported wheel|has no wheels' \
        "Ein Paket gibt es für diesen Rechner nicht: Der Kurs braucht Linux (x86_64, aarch64) oder einen Apple-Chip"
    fail "Das Einrichten ist gescheitert ($1): $(grep -v '^ *$' "${LOG}" | tail -n 1) (Protokoll: ausgabe/install.log)."
}

step() {
    echo "→ $1"
    ("${@:2}") >"${LOG}" 2>&1 </dev/null || explain_failure "$1" # Subshell: Strg+C meldet sich nicht im Protokoll
}

# Nur ein Aufruf richtet ein, ein zweiter wartet. Das Programm flock fehlt auf macOS, deshalb sperrt Python; die Sperre
# hängt an der Dateinummer 9, die build offen hält, und endet mit ihr. Manche Netzlaufwerke können nicht sperren.
take_lock() {
    if ! "${PYTHON}" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; then
        echo "→ Ein anderer Aufruf richtet gerade ein, bitte warten"
        "${PYTHON}" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null || true
    fi
}

# Ohne --no-deps und --ignore-requires-python (uv: von selbst) nähmen pip und uv ein altes iNNvestigate.
install_packages() {
    local packages="${ENVIRONMENT}/kurs-pakete.txt" gpu_lines=""
    [ "${GPU}" = 0 ] || gpu_lines='s/^# gpu: //' # im Lockfile sind die CUDA-Pakete Kommentare
    sed "${gpu_lines}" "${ROOT}/requirements.txt" >"${packages}" || return
    if [ -n "${UV}" ]; then
        uv pip install --no-deps --require-hashes --only-binary :all: -r "${packages}" --python "${ENVIRONMENT}"
    else
        "${ENVIRONMENT}/bin/python" -m pip install --no-deps --require-hashes --only-binary :all: -r "${packages}" \
            --ignore-requires-python --no-user --no-compile
    fi
}

# helpers ist aus jedem Ordner zu importieren und steht doch nur im Kursordner.
install_course() {
    "${ENVIRONMENT}/bin/python" -m pip install --no-deps --no-index --no-build-isolation --no-user -e "${ROOT}" &&
        "${ENVIRONMENT}/bin/python" -m ipykernel install --sys-prefix --name traue-keinem-cnn \
            --display-name "Traue keinem CNN" --env PYTHONNOUSERSITE 1
}

# Zeigt, dass die Pakete auf diesem Rechner laufen, und übersetzt dabei genau das, was der Kurs lädt.
first_start() {
    env -u PYTHONDONTWRITEBYTECODE "${ENVIRONMENT}/bin/python" -c '
import helpers, tensorflow, keras, tf_keras, tf_keras_vis.gradcam
import ipykernel.kernelapp, ipywidgets, jupyterlab.labapp, nbconvert, papermill
import matplotlib.pyplot, pandas, PIL.Image, sklearn.metrics, tqdm'
}

build() {
    local start="${SECONDS}"
    take_lock
    if is_ready; then return 0; fi
    case "$(environment_version) $(read_stamp)" in
    "${PYTHON_VERSION} "*"python ${PYTHON_VERSION} in ${ENVIRONMENT}"*) OLD_STAMP="$(read_stamp)" ;;
    esac
    if [ "${KIND}${OLD_STAMP}" = venv ] && [ -n "$(ls -A "${ENVIRONMENT}" 2>/dev/null)" ] &&
        { [ ! -f "${STAMP}" ] || [ -L "${ENVIRONMENT}" ]; }; then
        fail "Der Ordner .venv stammt nicht von install.bash: Benennen Sie ihn um (mv .venv .venv-alt), dann neu."
    fi
    { mkdir -p "${ENVIRONMENT}" "${ROOT}/ausgabe" && echo "im Bau" >"${STAMP}"; } 2>/dev/null ||
        fail "In den Ordner ${ROOT} lässt sich nicht schreiben: Legen Sie den Kurs an einen Ort, der Ihnen gehört."

    echo "Traue keinem CNN: Der Kurs wird eingerichtet (Python ${PYTHON_VERSION}, ${UV:-pip}), das dauert Minuten."
    cd / # damit weder pip noch uv Einstellungen aus dem Ordner lesen, in dem Sie gerade sind
    if [ "${KIND}${OLD_STAMP}" = venv ]; then
        # Der Stempel bleibt: Auch ein abgebrochenes Löschen erkennt der nächste Aufruf.
        find "${ENVIRONMENT}" -mindepth 1 ! -name kurs-stempel -delete
        step "Umgebung .venv anlegen" "${PYTHON}" -m venv ${UV:+--without-pip} --prompt kurs "${ENVIRONMENT}"
    fi
    step "Pakete laden und einrichten (beim ersten Mal etwa 0,8 GB, mit CUDA-Paketen 4 GB)" install_packages
    step "helpers und den Jupyter-Kernel „Traue keinem CNN“ einrichten" install_course
    step "TensorFlow und JupyterLab zum ersten Mal starten" first_start
    stamp >"${STAMP}.neu"
    mv -f "${STAMP}.neu" "${STAMP}"
    echo "✔ Eingerichtet in $((SECONDS - start)) s."
}

# --- Hauptteil -------------------------------------------------------------------------------------------------------

trap 'printf "\n✘ Abgebrochen: Der nächste Aufruf richtet von vorn ein.\n" >&2; exit 130' INT
# Einstellungen, die Pakete woandershin oder andere Pakete hierher brächten, gelten in diesem Aufruf nicht.
unset CDPATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX PIP_PYTHON
unset PIP_CONSTRAINT PIP_REQUIRE_VIRTUALENV UV_PYTHON UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT UV_CONSTRAINT UV_TARGET
export PYTHONNOUSERSITE=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off UV_NO_PROGRESS=1

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
COMMAND="" LOG="${ROOT}/ausgabe/install.log" GPU=0 UV="" PYTHON="" PYTHON_VERSION="" UNSUITABLE="" OLD_STAMP=""
while [ $# -gt 0 ] && [ -z "${COMMAND}" ]; do
    case "$1" in
    --gpu) GPU=1 ;;
    -h | --hilfe | --help) show_help && exit ;;
    kurs | test | lab | doctor | lock) COMMAND="$1" ;;
    *) fail "„$1“ kenne ich nicht: Möglich sind kurs, lab, test, doctor, lock und --gpu (mehr mit --hilfe)." ;;
    esac
    shift
done
case "$(uname -s)-${GPU}" in
MINGW* | MSYS* | CYGWIN*) fail "Unter Windows läuft der Kurs in WSL: Richten Sie es mit „wsl --install“ ein." ;;
Darwin-1) fail "CUDA-Pakete gibt es nur für Linux: Rufen Sie ohne --gpu auf." ;;
esac
[ -f "${ROOT}/requirements.txt" ] || fail "Im Kursordner fehlt requirements.txt: Laden Sie den Kurs noch einmal."

[ "${KURS_INSTALLER:-}" = pip ] || ! uv --version >/dev/null 2>&1 || UV=uv # auch uv kann ein toter Platzhalter sein
choose_environment
case "$(nvidia-smi -L 2>/dev/null </dev/null || true)" in *"GPU "[0-9]*) GPU=1 ;; esac
case "$(read_stamp)" in "gpu 1"*) GPU=1 ;; esac # wo die CUDA-Pakete schon sind, bleiben sie
if ! is_ready; then
    [ -n "${PYTHON}" ] || find_python
    build 9<"${ROOT}/install.bash"
fi
[ "${KIND}" = conda ] || export VIRTUAL_ENV="${ENVIRONMENT}"
export PATH="${ENVIRONMENT}/bin:${PATH}"
cd "${ROOT}"
case "${COMMAND}" in
kurs | doctor) exec python -m helpers "${COMMAND}" ${1+"$@"} ;;
lock) exec python -m helpers.workshop.lock ${1+"$@"} ;;
# Dateiweise, weil sich Tests einer Datei Modelle teilen.
test) exec python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder ${1+"$@"} ;;
lab)
    echo "JupyterLab öffnet sich im Browser, sonst über die Adresse mit „token=“ unten. Beenden: hier zweimal Strg+C."
    exec python -m helpers.workshop.jupyter ${1+"$@"}
    ;;
*)
    echo "✔ Alles bereit. Weiter: bash install.bash lab     JupyterLab auf der Startseite öffnen"
    echo "                        bash install.bash kurs    alle fünf Notebooks ausführen, Bericht schreiben"
    ;;
esac
