"""Ein kleines Training in einem eigenen Prozess, damit das Backend frei gewählt werden kann; druckt den Verlauf."""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from two_layers import replace_vgg16

from helpers.data import load_source, subset
from helpers.model import keras, predict_logits
from helpers.settings import Profile
from helpers.training import train
from helpers.workshop.cnn import parallel


def learn(part: str, devices: int) -> dict:
    """Verlauf und Logits: zwei Epochen auf 80 Bildern (72 zum Lernen), 32 × 32, float32, Stapel zu 16.

    Args:
        part: die letzte Schicht des festen Stamms; sonst ohne Stamm.
    """
    data = subset(load_source("beispiel"), 80, 40)
    profile = Profile("probe", n_train=80, n_test=40, image_size=32, epochs=2, batch_size=16, precision="float32")
    if part != "block4_pool":
        profile = replace(profile, frozen_until=None, augment=True)
    scope, share = parallel(devices)
    run = train(data.train_images, data.train_labels, profile, seed=1, scope=scope, share=share)
    return {
        "backend": keras.backend.backend(),
        "tensorflow": "tensorflow" in sys.modules,
        "verlust": [row["verlust"] for row in run.history],
        "val_verlust": [row["val_verlust"] for row in run.history],
        "logits": np.asarray(predict_logits(run, data.test_images[:5]), dtype=float).tolist(),
    }


if __name__ == "__main__":
    if sys.argv[1] == "zwei Schichten":  # statt VGG16
        replace_vgg16()
    print("PROBE " + json.dumps(learn(sys.argv[1], int(sys.argv[2]))))
