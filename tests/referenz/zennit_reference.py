"""Macht die Referenz ``input/zennit_referenz.npz``: LRP mit zennit in float64 auf zehn echten Testbildern.

Erklärt wird das Kursmodell. Aufruf, wenn es sich ändert: ``python tests/referenz/zennit_reference.py``. Die Referenz
hält die Prüfsumme der Gewichte fest: Passt sie nicht mehr, wird tests/test_lrp.py rot.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent.parent, HERE.parent):
    sys.path.insert(0, str(folder))

from benchmark import environment  # noqa: E402

from helpers.basics import atomic_file, display_path, german  # noqa: E402
from helpers.course_model import load_course_model  # noqa: E402
from helpers.data import load_source  # noqa: E402
from helpers.lrp_library import ZENNIT_REFERENCE  # noqa: E402
from helpers.model import keras, preprocess, weights_checksum  # noqa: E402

RULES = (
    *("lrp.z", "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1", "lrp.alpha_2_beta_1_IB"),
    *("lrp.sequential_preset_a_flat", "gamma und z_b"),
)


def reference_images(model: keras.Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Das erste Testbild jeder Klasse, vorverarbeitet, mit seiner Klasse und seiner Nummer im Test."""
    source = load_source("beispiel")
    rows = np.array([np.flatnonzero(source.test_labels == label)[0] for label in range(10)])
    return preprocess(source.test_images[rows], model.input.shape[1]), source.test_labels[rows].astype(int), rows


def main() -> None:
    """Rechnet und schreibt die Referenz: Karten in float16, jede auf ihr größtes |R| bezogen."""
    model = load_course_model().model
    images, classes, rows = reference_images(model)
    with tempfile.TemporaryDirectory() as folder:
        case, paths = f"{folder}/ein.npz", {name: f"{folder}/{name}.npy" for name in RULES}
        weights = {f"w{index}": value for index, value in enumerate(model.get_weights())}
        np.savez(case, images=images, classes=classes, **weights)
        tasks = [{"task": "lrp", "case": case, "rule": name, "output": paths[name], "exact": True} for name in RULES]
        command = [environment.ensure(), HERE.parent / "benchmark" / "torch_peers.py"]
        subprocess.run(command, input="\n".join(map(json.dumps, tasks)), text=True, check=True)
        maps = {name: np.load(path) for name, path in paths.items()}
    largest = {name: np.abs(values).max(axis=(1, 2)) for name, values in maps.items()}
    stored = {f"groesstes {name}": values for name, values in largest.items()}
    stored |= {name: (values / largest[name][:, None, None]).astype("f2") for name, values in maps.items()}
    with atomic_file(ZENNIT_REFERENCE) as temporary:
        np.savez_compressed(temporary, pruefsumme=weights_checksum(model), bilder=rows, regeln=list(maps), **stored)
    print(f"Geschrieben: {display_path(ZENNIT_REFERENCE)} ({german(ZENNIT_REFERENCE.stat().st_size / 1000, 0)} kB)")


if __name__ == "__main__":
    main()
