"""Misst mit Quantus, was ``helpers.metrics`` auch misst. Läuft in der Vergleichsumgebung.

Aufruf: quantus_peer.py EINGABE.npz AUSGABE.npz. Die Eingabe enthält ``images`` (n, 1, h, b), ``classes``, ``maps``
(n, h, b), ``mask`` (h, b), ``step`` (Pixel je Schritt) und die Gewichte ``w0`` (h·b, d), ``w1`` (d, 10) des Netzes.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmark"))
import torch_peers  # noqa: E402, F401  (ersetzt torchvision, wo es zu PyTorch nicht passt)

import quantus  # noqa: E402  isort: skip


def network(lower: np.ndarray, upper: np.ndarray) -> torch.nn.Sequential:
    """Zwei dichte Schichten ohne Schwellenwerte, dazwischen ein ReLU."""
    layers = [torch.nn.Linear(*each.shape, bias=False) for each in (lower, upper)]
    model = torch.nn.Sequential(torch.nn.Flatten(), layers[0], torch.nn.ReLU(), layers[1]).eval()
    model.load_state_dict({"1.weight": torch.from_numpy(lower.T), "3.weight": torch.from_numpy(upper.T)})
    return model


def input_times_gradient(model, inputs, targets) -> np.ndarray:
    """Eingabe mal Ableitung des Logits, (n, 1, h, b)."""
    images = torch.as_tensor(inputs, dtype=torch.float32).requires_grad_()
    logits = model(images)
    logits[torch.arange(len(images)), torch.as_tensor(targets)].sum().backward()
    return (images * images.grad).detach().numpy()


def main(source: str, target: str) -> None:
    """Liest die Eingabe, misst und schreibt die Ausgabe."""
    with np.load(source, allow_pickle=False) as file:
        data = dict(file)
    images, classes = data["images"], data["classes"]
    model, maps = network(data["w0"], data["w1"]), data["maps"][:, None]
    masks = np.broadcast_to(data["mask"], images.shape)
    plain = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
    shared = {"model": model, "x_batch": images, "y_batch": classes, "device": "cpu"}
    flipping = quantus.PixelFlipping(features_in_step=int(data["step"]), perturb_baseline=0.0, **plain)
    result = {
        "flipping": flipping(**shared, a_batch=maps),
        "mass": quantus.RelevanceMassAccuracy(**plain)(**shared, a_batch=maps, s_batch=masks),
        "pointing": quantus.PointingGame(**plain)(**shared, a_batch=maps, s_batch=masks),
    }
    explained = []

    def explain(model, inputs, targets, **options):
        explained.append(input_times_gradient(model, inputs, targets))
        return explained[-1]

    similarity = quantus.similarity_func.correlation_spearman
    randomisation = quantus.MPRT(layer_order="top_down", similarity_func=similarity, seed=1, **plain)
    original = input_times_gradient(model, images, classes)
    scores = randomisation(**shared, a_batch=original, explain_func=explain)
    result["mprt"] = [values for name, values in scores.items() if name != "original"]
    # Der letzte Aufruf je Stufe hat die neu gewürfelten Gewichte gesehen; die ersten das gelernte Modell.
    result |= {"original": original[:, 0], "stages": np.array(explained[-len(result["mprt"]) :])[:, :, 0]}
    np.savez(target, **{name: np.asarray(value) for name, value in result.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
