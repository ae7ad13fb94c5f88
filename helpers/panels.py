"""Raster aus Bildern und Karten, und der Stil aller Bilder des Kurses; gezeichnet wird mit ``helpers.plots``.

Grad-CAM erscheint als Überlagerung (cividis), Relevanz in Rot (dafür) und Blau (dagegen), immer um null zentriert.
Alles, was Bilder in Zeilen und Spalten zeigt, ist ein ``panel``.
"""

import itertools
import textwrap
from functools import partial

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from helpers.basics import CLASS_NAMES, german

CAM_COLORS = "cividis"
RELEVANCE_COLORS = "RdBu_r"
SCALES = {
    CAM_COLORS: "Grad-CAM: 0 unwichtig, 1 wichtig\n(jedes Bild für sich gestreckt)",
    RELEVANCE_COLORS: "Relevanz: rot dafür, blau dagegen\n(jedes Bild auf ±1 bezogen)",
}
# Farben nach Okabe und Ito (2008), unterscheidbar auch bei Rot-Grün-Schwäche.
COLORS = BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00".split()
plt.rcParams.update(
    {
        "figure.dpi": 110,
        "savefig.dpi": 150,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.labelsize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "image.cmap": "gray",
        "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    }
)


def ink(color) -> str:
    """Schwarz oder Weiß, je nachdem, was sich von einer Farbe stärker abhebt: immer mindestens 4,5 : 1.

    Relative Leuchtdichte nach WCAG 2.2; beide Kontraste sind gleich, wo (L + 0,05)² = 1,05 · 0,05 ist.
    """
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"


def bare(ax) -> None:
    """Keine Marken, kein Gitter, kein Rahmen."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def draw_image(ax, image, title: str = "") -> None:
    """Ein Rohbild (h, b), Werte 0–255, ohne Achsen."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=9)
    bare(ax)


def draw_cam(ax, image, cam, title: str = "", vmax: float = 1):
    """Grad-CAM (h, b), Werte 0–``vmax``, halb durchsichtig über dem Rohbild; ohne Bild (None) deckend."""
    extent = (0, cam.shape[1], cam.shape[0], 0)
    if image is not None:
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
    alpha = 1 if image is None else 0.6
    picture = ax.imshow(cam, cmap=CAM_COLORS, vmin=0, vmax=vmax, alpha=alpha, extent=extent)
    ax.set_title(title, fontsize=9)
    bare(ax)
    return picture


def draw_relevance(ax, relevance, title: str = "", mask=None):
    """Relevanz (h, b), rot dafür, blau dagegen; auf das 99,5-%-Quantil des Betrags dieses Bilds bezogen.

    Eine ``mask`` (28, 28), bool, bekommt einen grünen Rahmen.
    """
    limit = np.quantile(np.abs(relevance), 0.995) or 1.0
    picture = ax.imshow(relevance / limit, cmap=RELEVANCE_COLORS, vmin=-1, vmax=1)
    ax.set_title(title, fontsize=9)
    bare(ax)
    if mask is not None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        scale = len(relevance) / len(mask)
        corner = columns[0] * scale - 0.5, rows[0] * scale - 0.5
        frame = {"fill": False, "color": GREEN, "linewidth": 1.8}
        ax.add_patch(Rectangle(corner, len(columns) * scale, len(rows) * scale, **frame))
    return picture


def panel(rows, title: str = "", size: float = 1.2):
    """Ein Raster von Bildern, eine Zeile je Paar, darunter zu jeder Art von Karte, was ihre Farben bedeuten.

    Args:
        rows: Paare (Zeilenname, Zeichnungen). Eine Zeichnung ist eine Funktion, die ein Achsenfeld füllt und die Karte
            zurückgibt, zu der eine Farbskala gehört, oder None.
        title: Überschrift.
        size: Kantenlänge eines Felds in Zoll.
    """
    columns = max(len(drawings) for _, drawings in rows)
    figure, axes = plt.subplots(len(rows), columns, squeeze=False, layout="constrained")
    maps, heights = {}, []
    for line, (name, drawings) in zip(axes, rows, strict=True):
        line[0].set_ylabel(textwrap.fill(name, 13), fontsize=9)
        for ax, draw in itertools.zip_longest(line, drawings, fillvalue=bare):
            if (drawn := draw(ax)) is not None:
                maps[drawn.cmap.name] = drawn
        titles = [ax.get_title() for ax in line if ax.get_title()]
        heights.append(size + 0.06 + 0.16 * max((text.count("\n") + 1 for text in titles), default=0))
    width = max(columns * (size + 0.06) + 0.4, 2.8 * len(maps))
    figure.set_size_inches(width, sum(heights) + 0.35 * bool(title) + 0.85 * bool(maps))
    figure.suptitle(title)
    # Zwei Skalen teilen sich die Breite, sonst stünden sie untereinander.
    for picture, below in zip(maps.values(), np.array_split(axes, max(1, len(maps)), axis=1), strict=False):
        color_scale(figure, picture, below, min(0.9, 2.6 * len(maps) / width))
    return figure


def color_scale(figure, picture, below, shrink: float) -> None:
    """Farbskala unter den Achsen ``below``: die beiden Enden und ein Satz."""
    place = {"location": "bottom", "shrink": shrink, "aspect": 22, "pad": 0.02}
    bar = figure.colorbar(picture, ax=below, ticks=picture.get_clim(), **place)
    bar.set_label(SCALES[picture.cmap.name], fontsize=8)
    bar.ax.set_xticklabels([german(float(end), 0) for end in picture.get_clim()])


def image_grid(images, titles=None, columns: int = 10, title: str = ""):
    """Bilder (n, h, b), Werte 0–255, im Raster, jedes mit einer kurzen Überschrift."""
    titles = titles if titles is not None else [""] * len(images)
    cells = [partial(draw_image, image=image, title=text) for image, text in zip(images, titles, strict=True)]
    return panel([("", cells[start : start + columns]) for start in range(0, len(cells), columns)], title)


def result_page(images, cams, relevances: dict, classes, title="Rohbild, Grad-CAM und LRP", captions=None, mask=None):
    """Die Ergebnisseite: eine Spalte je Bild, Zeilen Rohbild, Grad-CAM und jede LRP-Regel (oder jedes Modell).

    Args:
        images: uint8, (n, 28, 28).
        cams: (n, h, b), Werte 0–1, oder None.
        relevances: dict Zeilenname → (n, h, b).
        classes: erklärte Klasse je Bild (n,).
        title: Überschrift.
        captions: Text über jeder Spalte statt des Klassennamens.
        mask: bool, (28, 28); ihr Umriss erscheint auf jeder Relevanz.
    """
    captions = captions if captions is not None else [CLASS_NAMES[label] for label in classes]
    rows = [("Rohbild", [partial(draw_image, image=i, title=text) for i, text in zip(images, captions, strict=True)])]
    if cams is not None:
        rows.append(("Grad-CAM", [partial(draw_cam, image=i, cam=cam) for i, cam in zip(images, cams, strict=True)]))
    for name, maps in relevances.items():
        rows.append((name, [partial(draw_relevance, relevance=each, mask=mask) for each in maps[: len(images)]]))
    return panel(rows, title)


def heatmap_steps(images, coarse, fine):
    """Drei Zeilen je Bild: Rohbild, grobe Grad-CAM-Karte (h', b'), auf Bildgröße vergrößerte Karte (h, b)."""
    rows = [
        ("Rohbild", [partial(draw_image, image=image) for image in images]),
        (
            f"Karte ({coarse.shape[1]} × {coarse.shape[2]})",
            [partial(draw_cam, image=None, cam=v, vmax=v.max()) for v in coarse],
        ),
        ("Überlagerung", [partial(draw_cam, image=i, cam=cam) for i, cam in zip(images, fine, strict=True)]),
    ]
    return panel(rows, "Von der groben Karte zur Überlagerung")


def mistakes(images, for_wrong, for_right, evaluation, rows):
    """Drei Zeilen je Fehler: Rohbild, Grad-CAM für die falsche Antwort, Grad-CAM für die richtige Klasse."""
    lines = [("Rohbild", [partial(draw_image, image=image) for image in images])]
    asked = (("für die Antwort", for_wrong, evaluation.predictions), ("für die Wahrheit", for_right, evaluation.labels))
    for name, cams, labels in asked:
        named = zip(images, cams, (CLASS_NAMES[label] for label in labels[rows]), strict=True)
        lines.append((name, [partial(draw_cam, image=i, cam=cam, title=text) for i, cam, text in named]))
    return panel(lines, "Falsch erkannt: Was sprach wofür?")


def mean_cams(means: dict):
    """Eine Zeile je Modell, eine Spalte je Klasse; ``means``: dict Modellname → (10, h, b), Werte 0–1."""
    rows = []
    for name, maps in means.items():
        titles = CLASS_NAMES if not rows else [""] * len(CLASS_NAMES)
        rows.append(
            (name, [partial(draw_cam, image=None, cam=v, title=text) for v, text in zip(maps, titles, strict=True)])
        )
    return panel(rows, "Mittlere Karte je Klasse")


def groups(images, means, group_of, spot, title: str = "Zwei Gruppen von Erklärungen"):
    """Je Gruppe eine Zeile: die mittlere Karte und fünf Bilder; ein Kreis zeigt, wo sich Gruppe 2 abhebt.

    Args:
        images: uint8, (n, 28, 28).
        means: mittlere Karte je Gruppe, (2, g, g).
        group_of: Gruppe je Bild (n,), 0 oder 1.
        spot: (Zeile, Spalte) im Raster g × g.
        title: Überschrift.
    """

    def mean(ax, values):
        draw_cam(ax, None, values, "mittlere Karte", float(np.max(means)))
        ring = {"markersize": 16, "markerfacecolor": "none", "markeredgecolor": VERMILION, "markeredgewidth": 2}
        ax.plot(spot[1] + 0.5, spot[0] + 0.5, "o", clip_on=False, **ring)

    rows = []
    for number, values in enumerate(means):
        members = np.flatnonzero(np.asarray(group_of) == number)
        cells = [partial(mean, values=values), *(partial(draw_image, image=images[m]) for m in members[:5])]
        rows.append((f"Gruppe {number + 1} ({german(len(members))}\u00a0Bilder)", cells))
    return panel(rows, title, 1.4)
