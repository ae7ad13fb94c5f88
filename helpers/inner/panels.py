"""Bilder und Karten in Zeilen und Spalten, und der Stil aller Bilder; in Notebooks heißt alles hier ``plots.…``.

Grad-CAM erscheint als Überlagerung (cividis), Relevanz in Rot (dafür) und Blau (dagegen), immer um null zentriert.
"""

import itertools
import textwrap

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from helpers.basics import CLASS_NAMES, german
from helpers.places import box

CAM_COLORS, RELEVANCE_COLORS = "cividis", "RdBu_r"
SIGNED = {"cmap": RELEVANCE_COLORS, "vmin": -1, "vmax": 1}
SCALES = {
    CAM_COLORS: "blau: 0, unwichtig; gelb: 1, wichtig\n(jedes Bild für sich gestreckt)",
    RELEVANCE_COLORS: "Relevanz: rot dafür, blau dagegen\n(jedes Bild auf ±1 bezogen)",
}
# Farben nach Okabe und Ito (2008), unterscheidbar auch bei Rot-Grün-Schwäche.
COLORS = BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00".split()
plt.rc("figure", dpi=110, facecolor="white")
plt.rc("figure.constrained_layout", use=True)
plt.rc("savefig", dpi=150)
plt.rc("axes", titlesize=11, prop_cycle=matplotlib.cycler(color=COLORS))
plt.rc("axes.spines", top=False, right=False)
plt.rc("grid", alpha=0.25)
plt.rc("image", cmap="gray")
plt.rc("legend", frameon=False)


def german_tick(value, _=None) -> str:
    """Achsenmarke mit Dezimalkomma und so vielen Stellen, wie sie braucht; für ``axis.set_major_formatter``."""
    return f"{value:,.10g}".translate(str.maketrans(",.-", ".,−"))


def bare(ax) -> None:
    """Keine Marken, kein Rahmen."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _draw(ax, values, title: str, **options):
    """Ein Array (h, b) ohne Achsen, mit kleiner Überschrift."""
    ax.set_title(title, fontsize=9)
    bare(ax)
    return ax.imshow(values, **options)


def draw_image(ax, image, title: str = "") -> None:
    """Ein Rohbild (h, b) oder (h, b, 3), Werte 0–255."""
    _draw(ax, image, title, vmin=0, vmax=255)


def draw_cam(ax, image, cam, title: str = ""):
    """Grad-CAM (h, b), Werte 0–1, halb durchsichtig über dem Rohbild; ohne Bild (None) deckend."""
    extent = (0, cam.shape[1], cam.shape[0], 0)
    if image is not None:
        ax.imshow(image, vmin=0, vmax=255, extent=extent)
    return _draw(ax, cam, title, cmap=CAM_COLORS, vmin=0, vmax=1, alpha=1 if image is None else 0.6, extent=extent)


def draw_relevance(ax, relevance, title: str = "", mask=None):
    """Relevanz (h, b), rot dafür, blau dagegen; auf das 99,5-%-Quantil des Betrags dieses Bilds bezogen.

    Eine ``mask``, bool, in der Größe der rohen Bilder, bekommt einen grünen Rahmen.
    """
    limit = np.quantile(np.abs(relevance), 0.995) or 1.0
    if mask is not None:
        top, bottom, left, right = box(mask)
        edges = np.multiply([top, left, bottom + 1 - top, right + 1 - left], len(relevance) / len(mask))
        draw_frame(ax, *edges, color=GREEN)
    return _draw(ax, relevance / limit, title, **SIGNED)


def draw_numbers(ax, values, texts, small=None, title="", fontsize=9, weight="normal", **options):
    """Zahlen auf farbigen Feldern (Zeilen, Spalten): Farbe nach ``values``, darauf ``texts``, darunter ``small``.

    ``options``: ``cmap``, ``vmin``, ``vmax``, ``aspect`` für ``imshow``.
    """
    picture = _draw(ax, values, title, **options)
    for (line, column), text in np.ndenumerate(texts):
        below = small[line][column] if small is not None else ""
        face = picture.cmap(picture.norm(values[line][column]))[:3]
        # Was sich stärker abhebt, nach der relativen Leuchtdichte (WCAG 2.2)
        color = "black" if np.power(face, 2.2) @ (0.2126, 0.7152, 0.0722) > 0.18 else "white"
        place = {"ha": "center", "va": "center", "color": color}
        ax.text(column, line - 0.17 * bool(below), text, fontsize=fontsize, weight=weight, **place)
        ax.text(column, line + 0.22, below, fontsize=6.5, **place)
    return picture


def draw_frame(ax, top: float, left: float, height: float, width: float, **options) -> None:
    """Ein Rahmen um Pixel; ``options``: ``color``, ``label``, ``linewidth`` …"""
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, **{"fill": False, "linewidth": 2} | options))


def wrapped(name: str) -> str:
    """Der Name einer Klasse, so umgebrochen und gekürzt, dass er über eine Spalte passt."""
    return textwrap.fill(textwrap.shorten(name, 40, placeholder=" …") or name[:40], 14)


def panel(rows, title: str = "", size: float = 1.2):
    """Ein Raster von Bildern (Kanten ``size`` Zoll), darunter zu jeder Art von Karte, was ihre Farben bedeuten.

    ``rows``: Paare (Zeilenname, Zeichnungen), wie ``row`` sie macht. Eine Zeichnung ist eine Funktion, die ein
    Achsenfeld füllt und die Karte zurückgibt, zu der eine Farbskala gehört, oder None.
    """
    columns = max(len(drawings) for _, drawings in rows)
    figure, axes = plt.subplots(len(rows), columns, squeeze=False)
    maps, height = {}, 0.35 * bool(title)
    for line, (name, drawings) in zip(axes, rows, strict=True):
        line[0].set_ylabel(textwrap.fill(name, 13), fontsize=9)
        for ax, draw in itertools.zip_longest(line, drawings, fillvalue=bare):
            if (drawn := draw(ax)) is not None:
                maps[drawn.cmap.name] = drawn
            # Auch leere Achsen mäße matplotlib beim Anordnen aus, bei 60 Bildern eine Sekunde lang.
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_visible(bool(axis.get_label_text()) or len(axis.get_ticklocs()) > 0)
        height += size + 0.06 + 0.16 * max(len(ax.get_title().splitlines()) for ax in line)
    width = max(columns * (size + 0.06) + 0.4, 2.8 * len(maps))
    figure.set_size_inches(width, height + 0.85 * bool(maps))
    figure.suptitle(title)
    # Zwei Skalen teilen sich die Breite, sonst stünden sie untereinander.
    for picture, below in zip(maps.values(), np.array_split(axes, max(1, len(maps)), axis=1), strict=False):
        color_scale(figure, picture, below, min(0.9, 2.6 * len(maps) / width))
    return figure


def row(name: str, draw, *columns, **options):
    """Eine Zeile für ``panel``: ``draw(ax, …)`` mit je einem Wert aus jeder von ``columns``."""
    return name, [lambda ax, values=values: draw(ax, *values, **options) for values in zip(*columns, strict=False)]


def color_scale(figure, picture, below, shrink: float) -> None:
    """Farbskala unter den Achsen ``below``: die beiden Enden und ein Satz."""
    place = {"location": "bottom", "shrink": shrink, "aspect": 22, "pad": 0.02, "format": german_tick}
    bar = figure.colorbar(picture, ax=below, ticks=picture.get_clim(), **place)
    bar.set_label(SCALES[picture.cmap.name], fontsize=8)


def image_grid(images, titles=None, columns: int = 10, title: str = ""):
    """Bilder (n, h, b), Werte 0–255, im Raster, jedes mit einer kurzen Überschrift."""
    _, cells = row("", draw_image, images, titles or itertools.repeat(""))
    if not cells:
        return panel([("", [lambda ax: draw_image(ax, [[255]], "keines gefunden")])], title, 2)
    return panel([("", cells[start : start + columns]) for start in range(0, len(cells), columns)], title)


def result_page(images, cams, relevances: dict, classes, title="Rohbild, Grad-CAM und LRP", captions=None, mask=None):
    """Die Ergebnisseite: eine Spalte je Bild, Zeilen Rohbild, Grad-CAM und jede LRP-Regel (oder jedes Modell).

    ``images``: uint8, (n, h, b) oder (n, h, b, 3); ``cams``: (n, h, b), Werte 0–1, oder None; ``relevances``: dict
    Zeilenname → (n, h, b); ``classes``: erklärte Klasse je Bild (n,), ``captions`` statt ihrer Namen über den Spalten;
    ``mask``: bool, in der Größe der Bilder, ihr Umriss erscheint auf jeder Relevanz.
    """
    rows = [row("Rohbild", draw_image, images, captions or [CLASS_NAMES[label] for label in classes])]
    if cams is not None:
        rows.append(row("Grad-CAM", draw_cam, images, cams))
    rows += [row(name, draw_relevance, maps[: len(images)], mask=mask) for name, maps in relevances.items()]
    return panel(rows, title)


def heatmap_steps(images, coarse, fine):
    """Drei Zeilen je Bild: Rohbild, grobe Grad-CAM-Karte (h', b'), auf Bildgröße vergrößerte Karte (h, b)."""
    stretched, name = [cam / (cam.max() or 1) for cam in coarse], f"Karte ({coarse.shape[1]} × {coarse.shape[2]})"
    above, below = row("Rohbild", draw_image, images), row("Überlagerung", draw_cam, images, fine)
    middle = row(name, draw_cam, itertools.repeat(None), stretched)
    return panel([above, middle, below], "Von der groben Karte zur Überlagerung")


def mistakes(images, for_wrong, for_right, evaluation, rows, names=CLASS_NAMES):
    """Drei Zeilen je Fehler: Rohbild, Grad-CAM für die falsche Antwort, Grad-CAM für die richtige Klasse."""
    answers, truth = (np.take(names, labels[rows]) for labels in (evaluation.predictions, evaluation.labels))
    wrong = row("für die Antwort", draw_cam, images, for_wrong, answers)
    right = row("für die Wahrheit", draw_cam, images, for_right, truth)
    return panel([row("Rohbild", draw_image, images), wrong, right], "Falsch erkannt: Was sprach wofür?")


def mean_cams(means: dict):
    """Eine Zeile je Modell, eine Spalte je Klasse; ``means``: dict Modellname → (10, h, b), Werte 0–1."""
    titles = dict.fromkeys(means, [""] * 10) | {next(iter(means)): CLASS_NAMES}
    rows = [row(name, draw_cam, [None] * 10, maps, titles[name]) for name, maps in means.items()]
    return panel(rows, "Mittlere Karte je Klasse")


def groups(images, means, group_of, spot, title: str = "Zwei Gruppen von Erklärungen"):
    """Je Gruppe eine Zeile: die mittlere Karte und fünf Bilder; ein Kreis zeigt, wo sich Gruppe 2 abhebt.

    ``images``: uint8, (n, 28, 28); ``means``: mittlere Karte je Gruppe, (2, g, g); ``group_of``: Gruppe je Bild (n,),
    0 oder 1; ``spot``: (Zeile, Spalte) im Raster g × g.
    """

    def draw_mean(ax, values):
        draw_cam(ax, None, values / np.max(means), "mittlere Karte")
        ax.plot(spot[1] + 0.5, spot[0] + 0.5, "o", clip_on=False, ms=16, mfc="none", mec=VERMILION, mew=2)

    rows = []
    for number, values in enumerate(means):
        members = np.flatnonzero(np.asarray(group_of) == number)
        name, cells = row(f"Gruppe {number + 1} ({german(len(members))}\u00a0Bilder)", draw_image, images[members[:5]])
        rows.append((name, row("", draw_mean, [values])[1] + cells))
    return panel(rows, title, 1.4)


def pixel_numbers(image, top: int = 0, left: int = 0, title: str = "Ein Bild ist eine Tabelle"):
    """Links das Bild (28, 28) mit einem Rahmen, rechts der Ausschnitt (9, 9) darin mit seinen Grauwerten."""
    figure, (whole, part) = plt.subplots(1, 2, figsize=(8, 4))
    draw_image(whole, image, f"alle {image.shape[0]} × {image.shape[1]} Pixel")
    draw_frame(whole, top, left, 9, 9, color=ORANGE)
    cut = image[top : top + 9, left : left + 9]
    draw_numbers(part, cut, cut.astype(int), title="der Ausschnitt im Rahmen, als Zahlen", vmin=0, vmax=255)
    figure.suptitle(title)
    return figure


def filter_results(image, kernels: dict, results: dict, title: str):
    """Je Kern eine Zeile: das Bild, die Zahlen des Kerns (3, 3) und das Ergebnis der Faltung.

    Rot sind positive Werte, blau negative, weiß ist null; die Skala gehört zu jedem Ergebnis einzeln.
    """
    figure, axes = plt.subplots(len(kernels), 3, figsize=(7.48, 2.52 * len(kernels) + 0.35))
    for (before, numbers, after), (name, kernel) in zip(axes, kernels.items(), strict=True):
        draw_image(before, image, "Bild")
        texts = [[german(float(v), 0 if float(v).is_integer() else 2) for v in line] for line in kernel]
        pale = kernel / np.abs(kernel).max() / 2
        draw_numbers(numbers, pale, texts, title=f"Kern „{name}“", fontsize=11, **SIGNED)
        _draw(after, results[name] / np.abs(results[name]).max(), "Ergebnis", **SIGNED)
    figure.suptitle(title)
    return figure


def tiles(images, columns: int = 16, title="", label="", cmap: str = "gray", limits=(None, None)):
    """Viele kleine Bilder als ein einziges Mosaik, ``columns`` je Zeile, mit einer gemeinsamen Farbskala.

    ``images``: Graustufen (n, h, b) in beliebigen Einheiten oder RGB (n, h, b, 3) von 0 bis 1; ``label``: Beschriftung
    der Farbskala, ohne sie gibt es keine; ``limits``: ihre Enden, sonst der kleinste und größte Wert.
    """
    images = np.asarray(images, dtype=float)
    gap, empty = max(1, images.shape[1] // 14), 1.0 if images.ndim == 4 else np.nan
    around = [(0, -len(images) % columns), (0, gap), (0, gap), (0, 0)][: images.ndim]
    padded = np.pad(images, around, constant_values=empty)
    lines = padded.reshape(-1, columns, *padded.shape[1:]).swapaxes(1, 2)
    canvas = lines.reshape(-1, columns * padded.shape[2], *images.shape[3:])
    figure, ax = plt.subplots(figsize=(8, 8 * canvas.shape[0] / canvas.shape[1] + 0.8))
    picture = _draw(ax, canvas, "", cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.set_title(title)
    if label:
        figure.colorbar(picture, cax=ax.inset_axes([1.02, 0, 0.025, 1]), label=label, format=german_tick)
    return figure


def receptive_fields(image, fields: dict):
    """Rezeptive Felder als Rahmen um die Bildmitte; was über das Bild (h, b) hinausragt, ist nur aufgefüllter Rand.

    ``fields``: dict Schicht → Kantenlänge in Pixeln; ``image``: Netzeingabe als Graustufenbild.
    """
    figure, ax = plt.subplots(figsize=(7.2, 5))
    ax.imshow(image, vmin=0, vmax=255)
    size = len(image)
    for (name, field), color in zip(fields.items(), COLORS, strict=False):
        corner = (size - field) / 2
        draw_frame(ax, corner, corner, field, field, color=color, label=f"{name}: {field} × {field}")
    margin = (max([size, *fields.values()]) - size) / 2 + 6
    ax.set(xlim=(-margin, size + margin), ylim=(size + margin, -margin), xlabel="Pixel", ylabel="Pixel")
    ax.set_title("Wie viel vom Bild sieht ein Neuron?")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure
