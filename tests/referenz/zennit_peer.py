"""Rechnet LRP mit zennit in float64. Läuft in der Vergleichsumgebung.

Aufruf: zennit_peer.py EINGABE.npz AUSGABE.npz. Die Eingabe enthält ``images`` (n, h, b, 3), ``classes`` (n,) und die
Gewichte ``w0`` bis ``w27`` des VGG16; die Ausgabe je Regel Karten (n, h, b), float64, über die Kanäle summiert.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmark"))
from torch_peers import network  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon, Flat, Pass  # noqa: E402
from zennit.types import Activation, Convolution, Linear  # noqa: E402


def _everywhere(rule) -> LayerMapComposite:
    return LayerMapComposite([(Activation, Pass()), (Convolution, rule), (Linear, rule)])


def _preset_a_flat():
    """Wie iNNvestigates Preset A flat: ε = 0,1 für dichte Schichten, α1β0 für Faltungen, flat für die unterste."""
    below = [(Activation, Pass()), (Convolution, AlphaBeta(alpha=1.0, beta=0.0)), (Linear, Epsilon(epsilon=0.1))]
    return SpecialFirstLayerMapComposite(below, [(Convolution, Flat())])


# Name in der Referenz → zennit. Schwellenwerte: zennit zählt b⁺ zur Zustimmung und b⁻ zum Widerspruch.
COMPOSITES = {
    "z": lambda: _everywhere(Epsilon(epsilon=1e-12)),
    "epsilon": lambda: _everywhere(Epsilon(epsilon=1e-7)),
    "alpha_1_beta_0": lambda: _everywhere(AlphaBeta(alpha=1.0, beta=0.0)),
    "alpha_2_beta_1": lambda: _everywhere(AlphaBeta(alpha=2.0, beta=1.0)),
    "alpha_2_beta_1_ohne_bias": lambda: _everywhere(AlphaBeta(alpha=2.0, beta=1.0, zero_params="bias")),
    "preset_a_flat": _preset_a_flat,
}


def main(source: str, target: str) -> None:
    """Liest die Eingabe, rechnet jede Regel und schreibt die Ausgabe."""
    with np.load(source, allow_pickle=False) as file:
        images, classes = file["images"], file["classes"]
    model = network(source, images.shape[1]).to("cpu").double().eval()
    result = {name: [] for name in COMPOSITES}
    for image, label in zip(images, classes, strict=True):
        tensor = torch.from_numpy(image.astype(np.float64).transpose(2, 0, 1)[None])
        start = torch.eye(10, dtype=torch.float64)[[int(label)]]
        for name, composite in COMPOSITES.items():
            with Gradient(model=model, composite=composite()) as attributor:
                _, relevance = attributor(tensor, lambda out, start=start: out * start)
            result[name].append(relevance[0].sum(dim=0).numpy())
    np.savez(target, **{name: np.stack(maps) for name, maps in result.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
