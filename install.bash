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
  test …     alle Tests ausführen                                 (weitere Angaben gehen an pytest)
  doctor     zeigen, ob alles da ist
  lock …     requirements.txt neu aus pyproject.toml machen       (--neu: neueste Versionen, --pruefen: nur prüfen)

  --gpu      auch die CUDA-Pakete für NVIDIA-Karten holen (nur Linux; wo eine Karte gefunden wird, von selbst)
  --hilfe    diese Hilfe

Umgebungsvariablen:
  KURS_PYTHON=/pfad/zu/python3.12   genau dieses Python nehmen
  KURS_INSTALLER=pip                uv nicht benutzen, auch wenn es da ist
TEXT
}

say() { printf '%s\n' "$*"; }

fail() {
    printf '✘ %s\n' "$*" >&2
    exit 2
}

# ---------------------------------------------------------------------------------------------------------------------
# Aufräumen: Was auch immer schiefgeht, es bleibt keine halbe Umgebung liegen.

WORK=""     # vorläufiger Ordner für Protokoll, Probe und pip
TICKER=""   # Prozess, der die Sekunden zählt
BUILDING="" # Umgebung, die gerade neu entsteht

stop_ticker() {
    if [ -n "${TICKER}" ]; then
        # KILL, nicht TERM: Ein eben erst abgezweigter Prozess führte sonst noch die Falle unten aus und räumte auf.
        kill -KILL "${TICKER}" 2>/dev/null || true
        wait "${TICKER}" 2>/dev/null || true
        TICKER=""
    fi
}

# Der Stempel geht als Letztes: Wird auch das Löschen abgebrochen, erkennt der nächste Aufruf den Rest als unseren.
remove_environment() {
    local entry
    [ ! -e "$1/kurs-stempel" ] || echo "im Bau" >"$1/kurs-stempel"
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ "${entry}" = "$1/kurs-stempel" ] || rm -rf "${entry}"
    done
    rm -rf "$1"
}

clean_up() {
    stop_ticker
    if [ -n "${BUILDING}" ]; then
        remove_environment "${BUILDING}"
        BUILDING=""
    fi
    if [ -n "${WORK}" ]; then
        cd /
        rm -rf "${WORK}"
        WORK=""
    fi
}

trap clean_up EXIT
trap 'printf "\n✘ Abgebrochen: Es bleibt nichts Halbes zurück.\n" >&2; exit 130' INT
trap 'exit 143' TERM HUP

# ---------------------------------------------------------------------------------------------------------------------
# Python und uv finden

PYTHON=""         # Pfad des gewählten Python
PYTHON_VERSION="" # dessen Version, z. B. 3.12
WITHOUT_VENV=""   # Version eines Python, dem nur das venv-Modul fehlt
UNSUITABLE=""     # Versionen, die da sind, aber nicht passen
UV=""             # Pfad von uv, leer: pip

PYTHON_PROBE='
import sys, sysconfig
fits = (3, 11) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython" and sys.maxsize > 2**32
fits = fits and not sysconfig.get_config_var("Py_GIL_DISABLED")
try:
    import ensurepip, venv
except ImportError:
    venv = None
path = getattr(sys, "_base_executable", None) or sys.executable
print("%s %s %d.%d" % (("fits" if fits else "no", "venv" if venv else "-") + sys.version_info[:2]) + " " + path)
'

# Prüft ein Python, indem es wirklich gestartet wird: pyenv hat Platzhalter auch für Versionen, die nicht aktiv sind.
# $1 Name oder Pfad; $2 „exact“: genau dieses Python nehmen, nicht das, aus dem seine Umgebung entstand.
try_python() {
    local found answer fits module version path
    found="$(command -v -- "$1" 2>/dev/null)" || return 1
    answer="$("${found}" -I -c "${PYTHON_PROBE}" </dev/null 2>/dev/null)" || return 1
    read -r fits module version path <<<"${answer}" || return 1
    if [ "${fits}" != fits ]; then
        case " ${UNSUITABLE} " in *" ${version} "*) ;; *) UNSUITABLE="${UNSUITABLE} ${version}" ;; esac
        return 1
    fi
    if [ "${2:-}" = exact ]; then
        path="${found}"
    elif [ "${module}" != venv ] && [ -z "${UV}" ]; then
        WITHOUT_VENV="${WITHOUT_VENV:-${version}}"
        return 1
    fi
    PYTHON="${path}"
    PYTHON_VERSION="${version}"
}

find_uv() {
    local found
    [ "${KURS_INSTALLER:-}" != pip ] || return 0
    found="$(command -v uv 2>/dev/null)" || return 0
    # Auch uv kann ein Platzhalter von pyenv sein oder zu alt.
    case "$("${found}" venv --help 2>/dev/null || true)" in *--allow-existing*) UV="${found}" ;; esac
}

find_python() {
    local candidate root="${PYENV_ROOT:-${HOME:-}/.pyenv}"
    if [ -n "${KURS_PYTHON:-}" ]; then
        if try_python "${KURS_PYTHON}"; then return 0; fi
        [ -z "${WITHOUT_VENV}" ] || fail_without_venv
        fail "KURS_PYTHON nennt „${KURS_PYTHON}“: Das ist kein Python 3.11, 3.12 oder 3.13, das sich starten lässt."
    fi
    for candidate in python3.13 python3.12 python3.11 python3 python "${root}"/versions/3.13.*/bin/python \
        "${root}"/versions/3.12.*/bin/python "${root}"/versions/3.11.*/bin/python; do
        if try_python "${candidate}"; then return 0; fi
    done
    if [ -n "${UV}" ]; then
        candidate="$("${UV}" python find --no-python-downloads '>=3.11,<3.14' 2>/dev/null)" || candidate=""
        if [ -n "${candidate}" ] && try_python "${candidate}"; then return 0; fi
    fi
    [ -z "${WITHOUT_VENV}" ] || fail_without_venv
    fail "Der Kurs braucht Python 3.11, 3.12 oder 3.13, gefunden wurde ${UNSUITABLE:+nur}${UNSUITABLE:-keines}.
  Drei Wege dorthin, danach noch einmal „bash install.bash“:
  1. Debian/Ubuntu:     sudo apt install python3.12 python3.12-venv     (je nach Ausgabe 3.11, 3.12 oder 3.13)
  2. pyenv oder uv:     pyenv install 3.12     oder     uv python install 3.12
  3. conda/Miniforge:   conda env create -f environment.yml && conda activate traue-keinem-cnn"
}

fail_without_venv() {
    fail "Dem Python ${WITHOUT_VENV} fehlt das Modul venv: Holen Sie es (Debian/Ubuntu: sudo apt install" \
        "python${WITHOUT_VENV}-venv) und rufen Sie noch einmal auf."
}

# ---------------------------------------------------------------------------------------------------------------------
# Wo die Pakete liegen, und ob dort schon alles stimmt

ENVIRONMENT="" # Ordner der Umgebung
KIND=venv      # venv (unser .venv) oder conda (die aktive Umgebung)
GPU=0          # 1: auch CUDA-Pakete
LOCK_SUM=""    # Prüfsumme von requirements.txt
ROOT_SUM=""    # Prüfsumme des Kursordners, im Namen der vorläufigen Ordner

choose_environment() {
    ENVIRONMENT="${ROOT}/.venv"
    [ -n "${CONDA_PREFIX:-}" ] && [ -z "${KURS_PYTHON:-}" ] || return 0
    # In der conda-Umgebung „base“ liegt conda selbst: Dort wird nichts ausgetauscht, ihr Python genügt für .venv.
    [ "${CONDA_DEFAULT_ENV:-}" != base ] && [ ! -d "${CONDA_PREFIX}/condabin" ] || return 0
    if try_python "${CONDA_PREFIX}/bin/python" exact; then
        ENVIRONMENT="${CONDA_PREFIX}"
        KIND=conda
    fi
}

detect_gpu() {
    [ "${GPU}" = 0 ] && [ "$(uname -s)" = Linux ] && command -v nvidia-smi >/dev/null 2>&1 || return 0
    case "$(nvidia-smi -L </dev/null 2>/dev/null || true)" in *"GPU "[0-9]*) GPU=1 ;; esac
}

compute_lock_sum() {
    if command -v sha256sum >/dev/null 2>&1; then
        LOCK_SUM="$(sha256sum <"${ROOT}/requirements.txt")"
    elif command -v shasum >/dev/null 2>&1; then
        LOCK_SUM="$(shasum -a 256 <"${ROOT}/requirements.txt")"
    else
        LOCK_SUM="$(cksum <"${ROOT}/requirements.txt")"
    fi
    LOCK_SUM="${LOCK_SUM%% *}"
}

# Der Stempel liegt in der Umgebung. Er sagt, womit sie fertig wurde; solange sie entsteht, steht „im Bau“ darin.
# $1 GPU, $2 Python-Version
stamp() { printf 'requirements %s\ngpu %s\npython %s\nort %s\n' "${LOCK_SUM}" "$1" "$2" "${ENVIRONMENT}"; }

read_stamp() { cat "${ENVIRONMENT}/kurs-stempel" 2>/dev/null || true; }

environment_version() {
    "${ENVIRONMENT}/bin/python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' </dev/null 2>/dev/null || true
}

is_ready() {
    local content version
    content="$(read_stamp)"
    [ -n "${content}" ] || return 1
    version="$(environment_version)"
    [ -n "${version}" ] || return 1
    [ -z "${KURS_PYTHON:-}" ] || [ "${version}" = "${PYTHON_VERSION}" ] || return 1
    # Wo die CUDA-Pakete schon sind, fehlt auch ohne --gpu nichts.
    if [ "${content}" = "$(stamp 1 "${version}")" ]; then return 0; fi
    [ "${GPU}" = 0 ] && [ "${content}" = "$(stamp 0 "${version}")" ]
}

# Was liegt schon dort?  new | outdated (nachziehen genügt) | broken (neu bauen) | foreign
state() {
    local content version
    content="$(read_stamp)"
    version="$(environment_version)"
    if [ "${KIND}" = conda ]; then
        printf outdated
    elif [ ! -e "${ENVIRONMENT}/kurs-stempel" ]; then
        if [ ! -e "${ENVIRONMENT}" ] || { [ -d "${ENVIRONMENT}" ] && [ -z "$(ls -A "${ENVIRONMENT}")" ]; }; then
            printf new
        else
            printf foreign
        fi
    elif [ -n "${KURS_PYTHON:-}" ] && [ "${version}" != "${PYTHON_VERSION}" ]; then
        printf broken
    else
        case "${content}" in
        *"
python ${version:-fehlt}
ort ${ENVIRONMENT}") printf outdated ;;
        *) printf broken ;;
        esac
    fi
}

# ---------------------------------------------------------------------------------------------------------------------
# Einrichten

LOG=""          # Protokoll
LOG_HINT=""     # wo es nach einem Fehler liegt
REQUIREMENTS="" # vorläufiges Lockfile, mit --gpu samt CUDA-Paketen

# Führt einen Schritt aus; seine Ausgabe geht ins Protokoll, zu sehen ist nur, wie lange er schon läuft.
step() {
    local text="$1" start="${SECONDS}" status=0
    shift
    say "→ ${text}"
    (
        while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
            elapsed=$((SECONDS - start))
            if [ -t 1 ]; then
                printf '\r  … %d s' "${elapsed}"
            elif [ $((elapsed % 30)) = 0 ]; then
                printf '  … %d s\n' "${elapsed}"
            fi
        done
    ) 9<&- &
    TICKER=$!
    # Eigene Subshell, damit die Meldung nach Strg+C nicht im Protokoll landet.
    ("$@") >>"${LOG}" 2>&1 </dev/null || status=$?
    stop_ticker
    [ ! -t 1 ] || printf '\r            \r'
    return "${status}"
}

last_line() { grep -v '^ *$' "${LOG}" | tail -n 1; }

log_has() { grep -qiE "$1" "${LOG}"; }

keep_log() {
    if mkdir -p "${ROOT}/ausgabe" 2>/dev/null && cp "${LOG}" "${ROOT}/ausgabe/install.log" 2>/dev/null; then
        LOG_HINT=" (Protokoll: ausgabe/install.log)"
    fi
}

# Macht aus dem Protokoll eines gescheiterten Schritts einen deutschen Satz.  $1 nötiger Platz in GB
explain_failure() {
    keep_log
    if log_has 'no space left|os error 28|quota exceeded|not enough space'; then
        fail "Der Datenträger ist voll: Schaffen Sie etwa $1 GB Platz und rufen Sie noch einmal auf${LOG_HINT}."
    elif log_has 'certificate'; then
        fail "Das Paketverzeichnis zeigt ein unbekanntes Zertifikat: Fragen Sie, wer Ihr Netz betreut, danach" \
            "(es gehört in PIP_CERT und SSL_CERT_FILE)${LOG_HINT}."
    elif log_has 'connect|resolve|resolution|proxy|timed out|timeout|unreachable|sending request|offline|network'; then
        fail "Das Paketverzeichnis ist nicht zu erreichen (kein Netz?): Prüfen Sie Verbindung und Proxy und rufen Sie" \
            "noch einmal auf${LOG_HINT}."
    elif log_has 'do not match the hashes|hash mismatch'; then
        fail "Ein geladenes Paket hat nicht die Prüfsumme aus requirements.txt: Rufen Sie noch einmal auf; bleibt es" \
            "dabei, liefert Ihr Paketverzeichnis andere Dateien${LOG_HINT}."
    elif log_has 'no matching distribution|no wheels? with a matching|not a supported wheel|has no wheels'; then
        fail "Ein Paket gibt es für diesen Rechner nicht ($(uname -s) $(uname -m)): Der Kurs braucht Linux (x86_64," \
            "aarch64) oder macOS mit Apple-Chip${LOG_HINT}."
    fi
    fail "Das Einrichten ist gescheitert: $(last_line)${LOG_HINT}"
}

gigabytes() { printf '%d,%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# $1 Ordner, $2 nötige MB, $3 wofür
check_space() {
    local free
    # Die Spalte vor der mit dem Prozentzeichen: Namen von Netzlaufwerken können Leerzeichen enthalten.
    free="$(df -Pk "$1" 2>/dev/null |
        awk 'NR == 2 { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+%$/) { print $(i - 1); exit } }')" || return 0
    case "${free}" in '' | *[!0-9]*) return 0 ;; esac
    [ $((free / 1000)) -lt "$2" ] || return 0
    fail "Zu wenig Platz: $3 braucht $(gigabytes "$2") GB, frei sind $(gigabytes $((free / 1000))) GB; schaffen Sie" \
        "Platz und rufen Sie noch einmal auf."
}

# Nur ein Aufruf richtet ein, ein zweiter wartet: eine Sperre auf diese Datei, die mit dem Prozess von selbst endet.
# Das Programm flock fehlt auf macOS, deshalb sperrt Python; die Sperre bleibt an der Dateinummer 9 dieser Shell.
take_lock() {
    exec 9<"${ROOT}/install.bash"
    "${PYTHON}" -I - 2>/dev/null <<'PY' || true
import fcntl

try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("→ Ein anderer Aufruf richtet gerade ein, bitte warten", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass  # manche Netzlaufwerke können nicht sperren
PY
}

release_lock() { exec 9<&-; }

# Prüft vor allem anderen, ob die Pakete zu bekommen sind. uv fragt nach allen, pip nach einem sehr kleinen.
check_network() {
    local text="Paketverzeichnis erreichbar?"
    if [ -n "${UV}" ]; then
        step "${text}" env UV_HTTP_TIMEOUT=20 "${UV}" pip install --dry-run --no-deps --require-hashes \
            --only-binary :all: --python "${PYTHON}" --target "${WORK}/probe" -r "${REQUIREMENTS}"
    else
        step "pip bereitlegen" "${PYTHON}" -m venv "${WORK}/pip" || return 1
        sed -n '/^tqdm==/,/[^\\]$/p' "${REQUIREMENTS}" >"${WORK}/probe.txt"
        step "${text}" "${WORK}/pip/bin/python" -m pip download --retries 1 --timeout 20 --no-cache-dir --no-deps \
            --require-hashes --only-binary :all: --dest "${WORK}/probe" -r "${WORK}/probe.txt"
    fi
}

create_environment() {
    if [ -n "${UV}" ]; then
        "${UV}" venv --allow-existing --prompt traue-keinem-cnn --python "${PYTHON}" "${ENVIRONMENT}"
    else
        "${PYTHON}" -m venv --without-pip --prompt traue-keinem-cnn "${ENVIRONMENT}"
    fi
}

# Ohne --no-deps und --ignore-requires-python (uv: von selbst) nähmen pip und uv ein altes iNNvestigate.
install_packages() {
    if [ -n "${UV}" ]; then
        "${UV}" pip install --no-deps --require-hashes --only-binary :all: --python "${ENVIRONMENT}/bin/python" \
            -r "${REQUIREMENTS}"
    else
        "${WORK}/pip/bin/python" -m pip --python "${ENVIRONMENT}/bin/python" install --no-deps --require-hashes \
            --only-binary :all: --ignore-requires-python --no-user --no-compile -r "${REQUIREMENTS}"
    fi
}

install_kernel() {
    "${ENVIRONMENT}/bin/python" -m ipykernel install --sys-prefix --name traue-keinem-cnn \
        --display-name "Traue keinem CNN" --env PYTHONNOUSERSITE 1
}

# Zeigt, dass die Pakete auf diesem Rechner laufen, und übersetzt dabei genau das, was der Kurs lädt.
first_start() {
    env -u PYTHONDONTWRITEBYTECODE "${ENVIRONMENT}/bin/python" -c '
import tensorflow, keras, tf_keras, tf_keras_vis.gradcam
import ipykernel.kernelapp, ipywidgets, jupyterlab.labapp, nbconvert, papermill
import matplotlib.pyplot, pandas, PIL.Image, sklearn.metrics, tqdm'
}

set_up() {
    local current parent megabytes=3500 tool=pip extra="" download="0,8 GB" start="${SECONDS}"
    compute_lock_sum
    if [ -n "${KURS_PYTHON:-}" ]; then
        find_uv
        find_python
    fi
    choose_environment
    detect_gpu
    if is_ready; then return 0; fi

    find_uv
    # Das Python einer eigenen Umgebung, die nur veraltet ist, bleibt.
    if [ -z "${PYTHON}" ] && { [ -z "$(read_stamp)" ] || ! try_python "${ENVIRONMENT}/bin/python"; }; then
        find_python
    fi
    take_lock
    if is_ready; then
        release_lock
        return 0
    fi
    ROOT_SUM="$(printf '%s' "${ROOT}" | cksum)"
    ROOT_SUM="${ROOT_SUM%% *}"
    current="$(state)"
    parent="$(dirname "${ENVIRONMENT}")"
    case "${KIND} ${current}" in
    *foreign)
        fail "Der Ordner .venv stammt nicht von install.bash und bleibt unangetastet: Benennen Sie ihn um" \
            "(mv .venv .venv-alt) und rufen Sie noch einmal auf."
        ;;
    "venv outdated") megabytes=1500 ;;
    conda*) parent="${ENVIRONMENT}" ;;
    esac
    [ -w "${parent}" ] ||
        fail "In den Ordner ${parent} lässt sich nicht schreiben: Legen Sie den Kurs an einen Ort, der Ihnen gehört."
    if [ "${GPU}" = 1 ]; then
        megabytes=$((megabytes + 5500)) extra=", mit CUDA-Paketen" download="4 GB"
    fi
    [ -z "${UV}" ] || tool=uv
    check_space "${parent}" "${megabytes}" "die Umgebung"
    check_space "${TMPDIR:-/tmp}" 1000 "der vorläufige Ordner ${TMPDIR:-/tmp}"

    # Mit der Sperre in der Hand: Was unter diesem Namen daliegt, stammt von einem abgebrochenen Aufruf.
    rm -rf "${TMPDIR:-/tmp}/kurs-install-${ROOT_SUM}".*
    WORK="$(mktemp -d "${TMPDIR:-/tmp}/kurs-install-${ROOT_SUM}.XXXXXX")"
    LOG="${WORK}/install.log"
    REQUIREMENTS="${WORK}/requirements.txt"
    : >"${LOG}"
    cd "${WORK}" # damit weder pip noch uv Einstellungen aus dem Ordner lesen, in dem Sie gerade sind
    # Die Zeilen der CUDA-Pakete sind im Lockfile Kommentare.
    if [ "${GPU}" = 1 ]; then
        sed 's/^# gpu: //' "${ROOT}/requirements.txt" >"${REQUIREMENTS}"
    else
        cp "${ROOT}/requirements.txt" "${REQUIREMENTS}"
    fi
    say "Traue keinem CNN: Der Kurs wird eingerichtet (Python ${PYTHON_VERSION}, ${tool}${extra})."
    build "${current}" "${download}" $((megabytes / 1000 + 1))
    clean_up
    release_lock
    say "✔ Eingerichtet in $((SECONDS - start)) s."
}

# Der Teil, der etwas verändert.  $1 Zustand, $2 Umfang der Pakete, $3 nötiger Platz in GB
build() {
    check_network || explain_failure "$3"
    if [ "$1" != outdated ]; then
        [ "$1" = new ] || say "→ Bisherige Umgebung .venv entfernen (unfertig, verschoben oder mit anderem Python)"
        remove_environment "${ENVIRONMENT}"
        BUILDING="${ENVIRONMENT}"
        mkdir "${ENVIRONMENT}"
    fi
    echo "im Bau" >"${ENVIRONMENT}/kurs-stempel"
    if [ "$1" != outdated ]; then
        step "Umgebung .venv anlegen" create_environment || explain_failure "$3"
    fi
    step "Pakete laden und einrichten (beim ersten Mal etwa $2)" install_packages || explain_failure "$3"
    step "Jupyter-Kernel „Traue keinem CNN“ anlegen" install_kernel || explain_failure "$3"
    if ! step "TensorFlow und JupyterLab zum ersten Mal starten" first_start; then
        keep_log
        fail "Die Pakete laufen auf diesem Rechner nicht: $(last_line)${LOG_HINT}"
    fi
    stamp "${GPU}" "$(environment_version)" >"${ENVIRONMENT}/kurs-stempel.neu"
    mv -f "${ENVIRONMENT}/kurs-stempel.neu" "${ENVIRONMENT}/kurs-stempel"
    BUILDING=""
}

# ---------------------------------------------------------------------------------------------------------------------
# Hauptteil

# Einstellungen, die Pakete woandershin oder andere Pakete hierher brächten, gelten in diesem Aufruf nicht.
unset CDPATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE __PYVENV_LAUNCHER__ VIRTUAL_ENV
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_REQUIREMENT PIP_CONSTRAINT PIP_NO_BINARY PIP_DRY_RUN \
    PIP_REQUIRE_VIRTUALENV PIP_IGNORE_INSTALLED
unset UV_PYTHON UV_SYSTEM_PYTHON UV_PROJECT UV_PROJECT_ENVIRONMENT UV_CONSTRAINT UV_OVERRIDE UV_NO_BINARY UV_TARGET
export PYTHONNOUSERSITE=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off UV_NO_PROGRESS=1

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
COMMAND=""
while [ $# -gt 0 ] && [ -z "${COMMAND}" ]; do
    case "$1" in
    --gpu) GPU=1 ;;
    -h | --hilfe | --help)
        show_help
        exit 0
        ;;
    kurs | test | lab | doctor | lock) COMMAND="$1" ;;
    *) fail "„$1“ kenne ich nicht: Möglich sind kurs, lab, test, doctor, lock und --gpu (mehr mit --hilfe)." ;;
    esac
    shift
done

case "$(uname -s)" in
Linux) ;;
MINGW* | MSYS* | CYGWIN*)
    fail "Unter Windows läuft der Kurs in WSL: Richten Sie es mit „wsl --install“ ein und rufen Sie dort wieder auf."
    ;;
*) [ "${GPU}" = 0 ] || fail "CUDA-Pakete gibt es nur für Linux: Rufen Sie ohne --gpu auf." ;;
esac
for file in requirements.txt pyproject.toml helpers/__init__.py; do
    [ -f "${ROOT}/${file}" ] || fail "Im Kursordner fehlt ${file}: Laden Sie den Kurs noch einmal herunter."
done

if [ "${COMMAND}" = lock ]; then
    # Das Lockfile braucht die Umgebung nicht, die erst daraus entsteht; zum Vergleichen braucht es packaging aus ihr.
    choose_environment
    find_uv
    if [ -n "$(read_stamp)" ] && [ -n "$(environment_version)" ]; then
        PYTHON="${ENVIRONMENT}/bin/python"
    else
        find_python
    fi
    cd "${ROOT}"
    exec "${PYTHON}" -m helpers.workshop.lock ${1+"$@"}
fi

set_up
[ "${KIND}" = conda ] || export VIRTUAL_ENV="${ENVIRONMENT}"
export PATH="${ENVIRONMENT}/bin:${PATH}"
cd "${ROOT}"
case "${COMMAND}" in
kurs | doctor) exec "${ENVIRONMENT}/bin/python" -m helpers "${COMMAND}" ${1+"$@"} ;;
# Zwei Prozesse: Während einer TensorFlow lädt, rechnet der andere. Dateiweise, weil sich Tests einer Datei Modelle teilen;
# in der Reihenfolge von tests/conftest.py.
test) exec "${ENVIRONMENT}/bin/python" -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder ${1+"$@"} ;;
lab)
    say "JupyterLab öffnet sich im Browser, sonst über die Adresse mit „token=“ unten. Beenden: hier zweimal Strg+C."
    exec "${ENVIRONMENT}/bin/python" -m helpers.workshop.jupyter ${1+"$@"}
    ;;
*)
    say "✔ Alles bereit. Weiter geht es mit:"
    say "  bash install.bash lab     JupyterLab auf der Startseite öffnen"
    say "  bash install.bash kurs    alle fünf Notebooks ausführen und den Bericht schreiben"
    ;;
esac
