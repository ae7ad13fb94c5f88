"""Messprozess mit PyTorch: pytorch-grad-cam, zennit und Training desselben VGG16. Läuft in der Vergleichsumgebung."""

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from protocol import serve, timed  # noqa: E402

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
from zennit.composites import EpsilonPlusFlat, LayerMapComposite  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon, Pass  # noqa: E402
from zennit.types import Activation, Convolution, Linear  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Die Schicht block5_conv3 von Keras schließt ihr ReLU ein; hier ist es eine eigene Schicht.
LAST_CONV = 29
_cache = {}


def network(weights: str, size: int, inplace: bool = False) -> torch.nn.Sequential:
    """VGG16 mit den Gewichten einer npz-Datei (Keras-Reihenfolge) für Bilder der Kantenlänge ``size``."""
    layers, channels = [], 3
    for depth, width in BLOCKS:
        for _ in range(depth):
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU(inplace=inplace)]
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


def _prepare(inputs: str, weights: str, batch: int):
    """Modell, Bilder (n, 3, h, b) und Klassen; das Modell bleibt bis zum nächsten anderen geladen."""
    with np.load(inputs, allow_pickle=False) as file:
        images, classes = file["images"][:batch], file["classes"][:batch]
    if _cache.get("key") != weights:
        _cache.clear()
        _cache.update(key=weights, model=network(weights, images.shape[1]).eval())
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(DEVICE)
    return _cache["model"], tensor, classes


def grad_cam(inputs: str, weights: str, batch: int, output: str) -> dict:
    """Grad-CAM mit pytorch-grad-cam, wie in dessen README."""
    model, images, classes = _prepare(inputs, weights, batch)
    targets = [ClassifierOutputTarget(int(label)) for label in classes]
    if "cam" not in _cache:
        _cache["cam"] = GradCAM(model=model, target_layers=[model[LAST_CONV]])
    seconds, maps = timed(lambda: _cache["cam"](input_tensor=images, targets=targets))
    np.save(output, np.asarray(maps))
    return {"seconds": seconds}


def _composite(rule: str):
    if rule == "lrp.sequential_preset_a_flat":
        return EpsilonPlusFlat(epsilon=1e-7)
    chosen = {
        "lrp.epsilon": lambda: Epsilon(epsilon=1e-7),
        "lrp.alpha_2_beta_1_IB": lambda: AlphaBeta(alpha=2.0, beta=1.0, zero_params="bias"),
    }[rule]()
    return LayerMapComposite([(Activation, Pass()), (Convolution, chosen), (Linear, chosen)])


def lrp(inputs: str, weights: str, batch: int, rule: str, output: str) -> dict:
    """LRP mit zennit, wie in dessen README (Gradient-Attributor mit Composite)."""
    model, images, classes = _prepare(inputs, weights, batch)
    start = torch.eye(10, device=DEVICE)[torch.from_numpy(classes.astype(np.int64))]

    def run():
        with Gradient(model=model, composite=_composite(rule)) as attributor:
            logits, relevance = attributor(images, lambda out: out * start)
        return relevance.cpu().numpy()

    seconds, relevance = timed(run)
    np.save(output, relevance.sum(axis=1))
    return {"seconds": seconds}


def _steps(model, optimizer, images, labels, rows, bfloat16: bool) -> None:
    model.train()
    for part in rows:
        batch = images[part].to(DEVICE)
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=bfloat16):
            loss = torch.nn.functional.cross_entropy(model(batch).float(), labels[part].to(DEVICE))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def throughput(inputs: str, weights: str, batch: int, steps: int, bfloat16: bool) -> dict:
    """Sekunden für ``steps`` Trainingsschritte des ganzen Netzes mit AdamW."""
    with np.load(inputs, allow_pickle=False) as file:
        images, labels = file["images"], torch.from_numpy(file["classes"].astype(np.int64))
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    model = network(weights, images.shape[1], inplace=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    rows = [np.arange(index * batch, (index + 1) * batch) % len(labels) for index in range(steps)]
    _steps(model, optimizer, tensor, labels, rows[:1], bfloat16)
    seconds, _ = timed(lambda: _steps(model, optimizer, tensor, labels, rows, bfloat16))
    return {"seconds": seconds, "device": str(DEVICE)}


def fit(data: str, weights: str, target: float, epochs: int, batch: int, learning_rate: float) -> dict:
    """Trainiert das ganze Netz mit Adam, bis die Validierung ``target`` erreicht; ergibt Sekunden und Verlauf."""
    with np.load(data, allow_pickle=False) as file:
        parts = {name: file[name] for name in ("train_x", "train_y", "val_x", "val_y")}
    train_x, val_x = (
        torch.from_numpy(np.ascontiguousarray(parts[name].transpose(0, 3, 1, 2))) for name in ("train_x", "val_x")
    )
    train_y, val_y = (torch.from_numpy(parts[name].astype(np.int64)) for name in ("train_y", "val_y"))
    model = network(weights, train_x.shape[2], inplace=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = np.random.default_rng(0)
    history, seconds = [], 0.0
    for _ in range(epochs):
        order = generator.permutation(len(train_y))
        rows = [order[start : start + batch] for start in range(0, len(order), batch)]
        begin = time.perf_counter()
        _steps(model, optimizer, train_x, train_y, rows, False)
        seconds += time.perf_counter() - begin
        model.eval()
        with torch.no_grad():
            found = [model(val_x[i : i + 64].to(DEVICE)).argmax(1).cpu() for i in range(0, len(val_y), 64)]
        history.append(float((torch.cat(found) == val_y).float().mean()))
        if history[-1] >= target:
            break
    return {"seconds": seconds, "history": history}


if __name__ == "__main__":
    serve({"grad_cam": grad_cam, "lrp": lrp, "throughput": throughput, "fit": fit})
