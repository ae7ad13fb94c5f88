"""Erklärt ein umgebautes eigenes Modell mit zennit, in float64. Läuft in der Vergleichsumgebung.

Aufruf: own_model_peer.py EINGABE.npz AUSGABE.npy. Die Eingabe enthält ``images`` (n, h, b, c), ``classes``, ``rule``,
die Schichten als JSON (``plan``) und die Gewichte ``w0``, ``w1`` … in der Reihenfolge von Keras.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmark"))
from torch_peers import COMPOSITES  # noqa: E402  (ersetzt torchvision, wo es zu PyTorch nicht passt)
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import LayerMapComposite  # noqa: E402
from zennit.rules import Norm  # noqa: E402
from zennit.types import AvgPool  # noqa: E402


class ChannelsLast(torch.nn.Module):
    """Keras legt (h, b, Kanäle) flach, PyTorch (Kanäle, h, b)."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def built(plan: list[dict], weights) -> torch.nn.Sequential:
    """Das Netz in PyTorch."""
    modules = []
    for layer in plan:
        kind = layer["kind"]
        if kind == "Conv2D":
            kernel, bias = (torch.from_numpy(next(weights)).double() for _ in range(2))
            kernel = kernel.permute(3, 2, 0, 1)
            padding = [size // 2 if layer["padding"] == "same" else 0 for size in kernel.shape[2:]]
            made = torch.nn.Conv2d(kernel.shape[1], len(kernel), kernel.shape[2:], layer["strides"], padding)
        elif kind == "Dense":
            kernel, bias = (torch.from_numpy(next(weights)).double() for _ in range(2))
            kernel = kernel.T
            made = torch.nn.Linear(kernel.shape[1], len(kernel))
        elif kind == "ZeroPadding2D":
            (top, bottom), (left, right) = layer["padding"]
            made = torch.nn.ZeroPad2d((left, right, top, bottom))
        elif kind == "Flatten":
            modules.append(ChannelsLast())
            made = torch.nn.Flatten()
        elif kind == "GlobalAveragePooling2D":
            modules.append(torch.nn.AdaptiveAvgPool2d(1))
            made = torch.nn.Flatten()
        else:
            pool = {"MaxPooling2D": torch.nn.MaxPool2d, "AveragePooling2D": torch.nn.AvgPool2d}[kind]
            made = pool(layer["pool_size"], layer["strides"])
        if kind in ("Conv2D", "Dense"):
            made.weight.data, made.bias.data = kernel.contiguous(), bias
        modules.append(made)
        if layer.get("activation") == "relu":
            modules.append(torch.nn.ReLU())
    return torch.nn.Sequential(*modules).double().eval()


def main(source: str, target: str) -> None:
    """Liest die Eingabe, erklärt und schreibt die Karten (n, h, b)."""
    with np.load(source, allow_pickle=False) as file:
        given = dict(file)
    count = sum(name[1:].isdigit() for name in given)
    model = built(json.loads(str(given["plan"])), iter([given[f"w{number}"] for number in range(count)]))
    images = torch.from_numpy(given["images"].transpose(0, 3, 1, 2).copy()).double()
    start = torch.eye(model[-1].out_features, dtype=torch.double)[torch.from_numpy(given["classes"])]
    known = COMPOSITES[str(given["rule"])]()
    composite = LayerMapComposite([(AvgPool, Norm()), *known.layer_map])
    with Gradient(model=model, composite=composite) as attributor:
        _, relevance = attributor(images, lambda out: out * start)
    np.save(target, relevance.numpy().sum(axis=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
