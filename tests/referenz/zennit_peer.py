"""Rechnet LRP mit zennit in float64. Läuft in der Vergleichsumgebung.

Aufruf: zennit_peer.py EINGABE.npz AUSGABE.npz. Die Eingabe enthält ``images`` (n, h, b, 3), ``classes`` (n,) und die
Gewichte ``w0`` bis ``w27`` des VGG16; die Ausgabe je Regel Karten (n, h, b), float64, über die Kanäle summiert.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmark"))
from torch_peers import everywhere, network  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import SpecialFirstLayerMapComposite  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Pass, ZBox  # noqa: E402
from zennit.types import Activation, Convolution, Linear  # noqa: E402


def preset(eps: float, conv, lowest) -> SpecialFirstLayerMapComposite:
    """ε für dichte Schichten, ``conv`` für Faltungen, ``lowest`` für die unterste."""
    above = [(Activation, Pass()), (Convolution, conv), (Linear, Epsilon(epsilon=eps))]
    return SpecialFirstLayerMapComposite(above, [(Convolution, lowest)])


# Name in der Referenz → zennit. Schwellenwerte: zennit zählt b⁺ zur Zustimmung und b⁻ zum Widerspruch.
COMPOSITES = {
    "lrp.z": lambda: everywhere(Epsilon(epsilon=1e-12)),
    "lrp.epsilon": lambda: everywhere(Epsilon(epsilon=1e-7)),
    "lrp.alpha_1_beta_0": lambda: everywhere(AlphaBeta(alpha=1.0, beta=0.0)),
    "lrp.alpha_2_beta_1": lambda: everywhere(AlphaBeta(alpha=2.0, beta=1.0)),
    "lrp.alpha_2_beta_1_IB": lambda: everywhere(AlphaBeta(alpha=2.0, beta=1.0, zero_params="bias")),
    "lrp.sequential_preset_a_flat": lambda: preset(0.1, AlphaBeta(alpha=1.0, beta=0.0), Flat()),
    # Aus iNNvestigate nicht zu haben. ImageNets Mittelwert abgezogen, liegen alle Farben zwischen −124 und 152.
    "gamma und z_b": lambda: preset(1e-7, Gamma(gamma=0.25), ZBox(-124.0, 152.0)),
}


def main(source: str, target: str) -> None:
    """Liest die Eingabe, rechnet jede Regel und schreibt die Ausgabe."""
    with np.load(source, allow_pickle=False) as file:
        images, classes = file["images"], file["classes"]
    model = network(source, images.shape[1]).to("cpu").double().eval()
    tensor = torch.from_numpy(images.astype(np.float64).transpose(0, 3, 1, 2))
    start, result = torch.eye(10, dtype=torch.float64)[classes], {}
    for name, composite in COMPOSITES.items():
        with Gradient(model=model, composite=composite()) as attributor:
            result[name] = attributor(tensor, lambda out: out * start)[1].sum(dim=1).numpy()
    np.savez(target, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
