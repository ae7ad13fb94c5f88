"""Rechnet mit PyTorch: pytorch-grad-cam und zennit an demselben VGG16, zum Messen und als Referenz (float64).

Läuft in der Vergleichsumgebung.
"""

import json
import sys
import time

import numpy as np
import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Zu PyTorch ohne CUDA gibt es auf PyPI kein passendes torchvision; zennit und pytorch-grad-cam importieren es nur.
    for module in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from pytorch_grad_cam import GradCAM  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import EpsilonPlusFlat, LayerMapComposite, SpecialFirstLayerMapComposite  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon, Gamma, Pass, ZBox  # noqa: E402
from zennit.types import Activation, Convolution, Linear  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Die Schicht block5_conv3 von Keras schließt ihr ReLU ein; hier ist es eine eigene Schicht.
LAST_CONV = 29
_cache = {}


def network(weights: str, size: int) -> torch.nn.Sequential:
    """VGG16 mit den Gewichten einer npz-Datei (Keras-Reihenfolge) für Bilder der Kantenlänge ``size``."""
    layers, channels = [], 3
    for depth, width in BLOCKS:
        for _ in range(depth):
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    side = size // 32
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(side * side * 512, 10))
    with np.load(weights, allow_pickle=False) as file:
        values = [file[f"w{index}"] for index in range(28)]
    learned = [layer for layer in model if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, kernel, bias in zip(learned, values[::2], values[1::2], strict=True):
            if kernel.ndim == 4:
                kernel = kernel.transpose(3, 2, 0, 1)
            else:  # Keras legt (h, b, Kanäle) flach, PyTorch (Kanäle, h, b)
                kernel = kernel.reshape(side, side, 512, 10).transpose(3, 2, 0, 1).reshape(10, -1)
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            layer.bias.copy_(torch.from_numpy(bias))
    return model.to(DEVICE)


def _prepare(case: str):
    """Modell, Bilder (n, 3, h, b) und Klassen; alles bleibt bis zum nächsten anderen Fall geladen."""
    if _cache.get("key") != case:
        with np.load(case, allow_pickle=False) as file:
            images, classes = file["images"], file["classes"]
        tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(DEVICE)
        _cache.clear()
        _cache.update(key=case, found=(network(case, images.shape[1]).eval(), tensor, torch.from_numpy(classes)))
    return _cache["found"]


def grad_cam(case: str, output: str) -> float:
    """Grad-CAM mit pytorch-grad-cam, wie in dessen README."""
    model, images, classes = _prepare(case)
    if "cam" not in _cache:
        _cache["cam"] = GradCAM(model=model, target_layers=[model[LAST_CONV]])
    targets = [ClassifierOutputTarget(int(label)) for label in classes]
    begin = time.perf_counter()
    maps = _cache["cam"](input_tensor=images, targets=targets)
    seconds = time.perf_counter() - begin
    np.save(output, np.asarray(maps))
    return seconds


def layers(conv, dense) -> list:
    """Eine Regel für Faltungen, eine für dichte Schichten."""
    return [(Activation, Pass()), (Convolution, conv), (Linear, dense)]


def everywhere(rule) -> LayerMapComposite:
    """Dieselbe Regel für jede Schicht mit Gewichten."""
    return LayerMapComposite(layers(rule, rule))


# Name der Regel im Kurs → zennit. Schwellenwerte: zennit zählt b⁺ zur Zustimmung und b⁻ zum Widerspruch.
COMPOSITES = {
    "lrp.z": lambda: everywhere(Epsilon(epsilon=1e-12)),
    "lrp.epsilon": lambda: everywhere(Epsilon(epsilon=1e-7)),
    "lrp.alpha_1_beta_0": lambda: everywhere(AlphaBeta(alpha=1.0, beta=0.0)),
    "lrp.alpha_2_beta_1": lambda: everywhere(AlphaBeta(alpha=2.0, beta=1.0)),
    "lrp.alpha_2_beta_1_IB": lambda: everywhere(AlphaBeta(alpha=2.0, beta=1.0, zero_params="bias")),
    "lrp.sequential_preset_a_flat": lambda: EpsilonPlusFlat(epsilon=0.1),
    # Aus iNNvestigate nicht zu haben. ImageNets Mittelwert abgezogen, liegen alle Farben zwischen −124 und 152.
    "gamma und z_b": lambda: SpecialFirstLayerMapComposite(
        layers(Gamma(gamma=0.25), Epsilon(epsilon=1e-7)), [(Convolution, ZBox(-124.0, 152.0))]
    ),
}


def lrp(case: str, rule: str, output: str, exact: bool = False) -> float:
    """LRP mit zennit, wie in dessen README (Gradient-Attributor mit Composite); ``exact``: in float64 auf der CPU."""
    model, images, classes = _prepare(case)
    if exact:
        model, images = model.cpu().double(), images.cpu().double()
    start = torch.eye(10, dtype=images.dtype, device=images.device)[classes]
    begin = time.perf_counter()
    with Gradient(model=model, composite=COMPOSITES[rule]()) as attributor:
        _, relevance = attributor(images, lambda out: out * start)
    relevance = relevance.cpu().numpy()
    seconds = time.perf_counter() - begin
    np.save(output, relevance.sum(axis=1))
    return seconds


def throughput(case: str, batch: int, precision: str, output: str) -> float:
    """Eine Epoche mit AdamW durch alle Schichten, wie man sie in PyTorch ohne weitere Bibliothek schreibt."""
    model, images, labels = _prepare(case)
    model, labels = model.train().to(memory_format=torch.channels_last), labels.to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    begin = time.perf_counter()
    for start in range(0, len(images), batch):
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images[start : start + batch])
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(logits.float(), labels[start : start + batch]).backward()
        optimizer.step()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    np.save(output, np.empty(0))
    return seconds


if __name__ == "__main__":
    tasks = {"grad_cam": grad_cam, "lrp": lrp, "throughput": throughput}
    for line in sys.stdin:  # eine Aufgabe je Zeile
        request = json.loads(line)
        print("SEKUNDEN", tasks[request.pop("task")](**request), flush=True)
