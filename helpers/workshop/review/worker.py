"""Im abgeschotteten Prozess ein Notebook mit nbgraders Execute ausführen: ``worker.py ORDNER SEKUNDEN MB``."""

import resource
import sys
from pathlib import Path

OUT_OF_TIME = 124  # damit endet ein Lauf, in dem eine Zelle zu lange brauchte
MAX_TEXT = 100_000  # Zeichen je Ausgabe


def limit_resources(memory_mb: int, cpu_seconds: int) -> None:
    """Grenzen für diesen Prozess und alle, die er startet."""
    limits = {
        resource.RLIMIT_AS: 6 * memory_mb * 1_000_000,  # TensorFlow belegt Adressraum; den Speicher misst der Wächter
        resource.RLIMIT_FSIZE: 256_000_000,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def main(folder: Path, cell_seconds: int, memory_mb: int) -> None:
    limit_resources(memory_mb, 80 * cell_seconds)

    import nbformat
    from nbclient.exceptions import CellTimeoutError
    from nbgrader.preprocessors import Execute
    from traitlets.config import Config

    notebook = nbformat.read(folder / "abgabe.ipynb", as_version=4)

    def begin(cell, cell_index):
        """Welche Zelle läuft, weiß man so auch, wenn sie alles mitreißt."""
        (folder / "austausch" / "zelle").write_text(cell.id)

    step = Execute(
        on_cell_start=begin,
        # Eine Zelle, die auf Strg+C nicht hört, hielte auch alle nach ihr auf.
        interrupt_on_timeout=False,
        iopub_timeout=30,
        timeout_func=lambda cell: (5 if "anfang" in cell.metadata.get("tags", []) else 1) * cell_seconds,
        startup_timeout=300,
        kernel_name=notebook.metadata["kernelspec"]["name"],
        extra_arguments=["--IPKernelApp.log_level=CRITICAL", "--HistoryManager.enabled=False"],
        config=Config({"KernelManager": {"shutdown_wait_time": 1.0}}),
    )
    try:
        step.preprocess(notebook, {"metadata": {"path": str(folder / "kurs" / "notebooks")}})
    except CellTimeoutError:
        sys.exit(OUT_OF_TIME)
    finally:  # auch wenn der Kernel gestorben ist: was bis dahin lief
        for output in (each for cell in notebook.cells for each in cell.get("outputs", []) if "text" in each):
            output.text = output.text[:MAX_TEXT]
        nbformat.write(notebook, folder / "austausch" / "ergebnis.ipynb")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
