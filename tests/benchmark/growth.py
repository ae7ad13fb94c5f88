"""Das Bild des Benchmarks: wie die Rechenzeit mit Zahl und Größe der Bilder wächst."""

import matplotlib.pyplot as plt

from helpers.plots import german_axes


def growth(counts, seconds: dict, sizes, milliseconds: dict):
    """Links Sekunden gegen die Zahl der Bilder, rechts Millisekunden je Bild gegen die Kantenlänge.

    Args:
        counts, sizes: Zahl der Bilder, Kantenlängen in Pixeln.
        seconds, milliseconds: dict Verfahren → Zeiten dazu.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    panels = (
        (counts, seconds, "Zahl der Bilder (64 × 64)", "Sekunden"),
        (sizes, milliseconds, "Kantenlänge (Pixel)", "Millisekunden je Bild"),
    )
    for ax, (places, curves, xlabel, ylabel) in zip(axes, panels, strict=True):
        for (name, values), style in zip(curves.items(), ("-o", "--s", "-.^", ":v"), strict=False):
            ax.plot(places, values, style, label=name)
        ax.set(xlabel=xlabel, ylabel=ylabel, xticks=list(places), ylim=(0, None))
        german_axes(ax.yaxis)
        ax.legend()
    figure.suptitle("Wie die Rechenzeit wächst")
    return figure
