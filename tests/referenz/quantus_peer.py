"""Misst mit Quantus, was ``helpers.metrics`` auch misst. Läuft in der Vergleichsumgebung.

Aufruf: quantus_peer.py EINGABE.npz AUSGABE.npz. Die Eingabe enthält ``images`` (n, 1, h, b), ``classes``, ``maps``
(n, h, b), ``mask`` (h, b), ``step`` (Pixel je Schritt) und die Gewichte ``w0``, ``w1``, … des kleinen Keras-CNN.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmark"))
import torch_peers  # noqa: E402, F401  (ersetzt torchvision, wo es zu PyTorch nicht passt)

import quantus  # noqa: E402  isort: skip


def network(weights: list[np.ndarray]) -> torch.nn.Sequential:
    """Dasselbe CNN wie ``small_cnn`` in test_quantus.py: Faltung, Pooling, Faltung, dichte Schicht."""
    (k1, b1, k2, b2, k3, b3) = weights
    channels = k2.shape[3]
    side = int(np.sqrt(k3.shape[0] // channels))
    layers = [
        torch.nn.Conv2d(1, k1.shape[3], 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(k2.shape[2], channels, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(k3.shape[0], k3.shape[1]),
    ]
    dense = k3.reshape(side, side, channels, -1).transpose(3, 2, 0, 1).reshape(k3.shape[1], -1)
    values = [k1.transpose(3, 2, 0, 1), b1, k2.transpose(3, 2, 0, 1), b2, dense, b3]
    model = torch.nn.Sequential(*layers).eval()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return model


def input_times_gradient(model, inputs, targets, **_):
    """Eingabe mal Ableitung des Logits, (n, 1, h, b)."""
    images = torch.as_tensor(inputs, dtype=torch.float32).requires_grad_()
    logits = model(images)
    logits[torch.arange(len(images)), torch.as_tensor(targets)].sum().backward()
    return (images * images.grad).detach().numpy()


def main(source: str, target: str) -> None:
    """Liest die Eingabe, misst und schreibt die Ausgabe."""
    with np.load(source, allow_pickle=False) as file:
        data = dict(file)
    model = network([data[f"w{index}"] for index in range(6)])
    images, classes = data["images"], data["classes"]
    plain = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
    shared = {"model": model, "x_batch": images, "y_batch": classes, "device": "cpu"}
    maps = data["maps"][:, None]
    masks = np.broadcast_to(data["mask"], images.shape)
    result = {}
    flipping = quantus.PixelFlipping(features_in_step=int(data["step"]), perturb_baseline=0.0, **plain)
    result["flipping"] = flipping(**shared, a_batch=maps)
    for name, metric in (
        ("mass", quantus.RelevanceMassAccuracy),
        ("rank", quantus.RelevanceRankAccuracy),
        ("pointing", quantus.PointingGame),
    ):
        result[name] = metric(**plain)(**shared, a_batch=maps, s_batch=masks)
    stages = []

    def explain(model, inputs, targets, **options):
        stages.append([value.detach().numpy().copy() for value in model.parameters()])
        return input_times_gradient(model, inputs, targets)

    randomisation = quantus.MPRT(
        layer_order="top_down", similarity_func=quantus.similarity_func.correlation_spearman, seed=1, **plain
    )
    scores = randomisation(**shared, a_batch=input_times_gradient(model, images, classes), explain_func=explain)
    result["mprt"] = [values for name, values in scores.items() if name != "original"]
    # Der letzte Aufruf je Stufe zeigt die Gewichte, mit denen Quantus erklärt hat; die ersten sind das gelernte Modell.
    for number, weights in enumerate(stages[-len(result["mprt"]) :]):
        result |= {f"stage{number}_{index}": value for index, value in enumerate(weights)}
    np.savez(target, **{name: np.asarray(value) for name, value in result.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
