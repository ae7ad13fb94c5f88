"""Alle Bilder des Kurses, in einem Stil: Titel, Achsen, deutsche Zahlen, Farben, die auch Farbenblinde trennen.

Jede Funktion ergibt eine ``matplotlib``-Figur; sie importiert nichts Schweres. Grad-CAM erscheint als Überlagerung
(cividis), Relevanz in Rot (dafür) und Blau (dagegen), immer um null zentriert.
"""

import io
import itertools
import textwrap

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from helpers.basics import CLASS_NAMES, atomic_file, german, output_dir, write_json

CAM_COLORS = "cividis"
RELEVANCE_COLORS = "RdBu_r"
STYLE = {
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
    # Farben nach Okabe und Ito (2008), unterscheidbar auch bei Rot-Grün-Schwäche.
    "axes.prop_cycle": matplotlib.cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]),
}
plt.rcParams.update(STYLE)


def german_axis(axis, digits: int = 1) -> None:
    """Schreibt die Zahlen einer Achse (``axes.xaxis`` oder ``axes.yaxis``) mit Dezimalkomma."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: german(float(value), digits)))


def save(figure, name: str, title: str, text: str, notebook: str):
    """Legt die Figur als PNG für den Bericht ab und schließt sie nicht: Das Notebook zeigt sie danach noch.

    Args:
        figure: die Figur.
        name: Dateiname ohne Endung in ``ausgabe/bilder``.
        title, text: Überschrift und Bildunterschrift im Bericht.
        notebook: Notebook, aus dem das Bild stammt.
    """
    path = output_dir() / "bilder" / f"{name}.png"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    write_json(path.with_suffix(".json"), {"titel": title, "text": text, "zelle": notebook})
    return path


def _bare(ax) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _grid(rows: int, columns: int, width: float = 1.25, height: float = 1.25, **options):
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * width, rows * height), squeeze=False, layout="constrained", **options
    )
    return figure, axes


def image_grid(images, titles=None, columns: int = 10, title: str = "", vmax: float = 255, cmap: str = "gray"):
    """Bilder (n, h, b) im Raster, jedes mit einer kurzen Überschrift."""
    rows = -(-len(images) // columns)
    two_lines = titles is not None and any("\n" in str(t) for t in titles)
    figure, axes = _grid(rows, min(columns, len(images)), height=1.6 if two_lines else 1.4)
    for ax in axes.ravel():
        _bare(ax)
    for number, (ax, image) in enumerate(zip(axes.ravel(), images, strict=False)):
        ax.imshow(image, cmap=cmap, vmin=0, vmax=vmax)
        if titles is not None:
            ax.set_title(titles[number], fontsize=8)
    figure.suptitle(title)
    return figure


def class_balance(counts, title: str = "Wie viele Bilder hat jede Klasse?"):
    """Waagrechte Balken: Bilder je Klasse. ``counts``: dict Teil → (10,) Zahlen."""
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    height = 0.8 / len(counts)
    for number, (part, values) in enumerate(counts.items()):
        ax.barh(np.arange(10) + number * height, values, height * 0.9, label=part)
    ax.set_yticks(np.arange(10) + height * (len(counts) - 1) / 2, CLASS_NAMES)
    ax.invert_yaxis()
    ax.set_xlabel("Anzahl Bilder")
    german_axis(ax.xaxis, 0)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(counts))
    ax.set_title(title)
    return figure


def histogram(values: dict, xlabel: str, ylabel: str, title: str, bins=40, digits: int = 0):
    """Verteilungen übereinander; ``values``: dict Name → Feld."""
    figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for name, data in values.items():
        ax.hist(np.ravel(data), bins=bins, alpha=0.6, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    german_axis(ax.xaxis, digits)
    german_axis(ax.yaxis, 0)
    if len(values) > 1:
        ax.legend()
    return figure


def bars(values: dict, ylabel: str, title: str, digits: int = 2, limit: float | None = None):
    """Ein Balken je Eintrag, mit der Zahl darüber; ``values``: dict Name → Zahl."""
    figure, ax = plt.subplots(figsize=(max(4.0, 1.3 * len(values)), 3.2), layout="constrained")
    drawn = ax.bar(list(values), list(values.values()), width=0.6)
    ax.bar_label(drawn, [german(float(v), digits) for v in values.values()], padding=2)
    ax.set(ylabel=ylabel, title=title)
    german_axis(ax.yaxis, digits)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.15)
    if limit is not None:
        ax.set_ylim(0, limit)
    return figure


def lines(curves: dict, xlabel: str, ylabel: str, title: str, x=None, digits: int = 1, ylim=None):
    """Linien; ``curves``: dict Name → Feld von y-Werten, gemeinsame x-Werte (sonst 1, 2, 3, …)."""
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    styles = ["-", "--", "-.", ":"]
    for number, (name, values) in enumerate(curves.items()):
        positions = np.arange(1, len(values) + 1) if x is None else x
        ax.plot(positions, values, styles[number % 4], marker="o" if len(values) < 20 else None, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if x is None:
        ax.set_xticks(positions)
    else:
        german_axis(ax.xaxis, digits)
    german_axis(ax.yaxis, digits)
    if ylim:
        ax.set_ylim(*ylim)
    ax.legend()
    return figure


def growth(counts, seconds: dict, sizes, milliseconds: dict, title: str = "Wie die Rechenzeit wächst"):
    """Links Sekunden gegen die Zahl der Bilder, rechts Millisekunden je Bild gegen die Kantenlänge.

    Args:
        counts, sizes: Zahl der Bilder, Kantenlängen in Pixeln.
        seconds, milliseconds: dict Verfahren → Zeiten dazu.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    panels = ((counts, seconds, "Zahl der Bilder (64 × 64)", "s"), (sizes, milliseconds, "Kantenlänge (Pixel)", "ms"))
    for ax, (places, curves, xlabel, unit) in zip(axes, panels, strict=True):
        for (name, values), style in zip(curves.items(), ("-o", "--s", "-.^", ":v"), strict=False):
            ax.plot(places, values, style, label=name)
        ax.set(xlabel=xlabel, xticks=list(places), ylim=(0, None))
        german_axis(ax.yaxis, 0 if max(map(max, curves.values())) > 5 else 1)
        ax.set_ylabel("Sekunden" if unit == "s" else "Millisekunden je Bild")
        ax.legend()
    figure.suptitle(title)
    return figure


def learning_curves(histories: dict, title: str = "Lernkurven"):
    """Verlust und Trefferquote je Epoche; ``histories``: dict Name → Zeilen aus ``Run.history``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    colors = STYLE["axes.prop_cycle"].by_key()["color"]
    for color, (name, rows) in zip(colors, histories.items(), strict=False):
        epochs = [row["epoche"] for row in rows]
        for ax, key in ((left, "verlust"), (right, "treffer")):
            ax.plot(epochs, [row[key] for row in rows], "-o", color=color, label=f"{name}, Training")
            ax.plot(epochs, [row[f"val_{key}"] for row in rows], "--s", color=color, label=f"{name}, Validierung")
    left.set(title="Verlust (kleiner ist besser)", xlabel="Epoche", ylabel="Kreuzentropie")
    right.set(title="Trefferquote (größer ist besser)", xlabel="Epoche", ylabel="Anteil richtiger Bilder")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        german_axis(ax.yaxis, 2)
    right.legend(fontsize=8)
    figure.suptitle(title)
    return figure


def confusion_text(confusion) -> str:
    """Konfusionsmatrix als Texttabelle: Zeile wahre, Spalte vorhergesagte Klasse."""
    width = max(map(len, CLASS_NAMES))
    lines = ["Konfusionsmatrix (Zeile: wahre Klasse, Spalte: Vorhersage)"]
    lines.append(" " * (width + 4) + "".join(f"{label:>6}" for label in range(10)))
    for label, row in enumerate(confusion):
        lines.append(f"  {label} {CLASS_NAMES[label]:<{width}}" + "".join(f"{value:>6}" for value in row))
    return "\n".join(lines)


def confusion_matrix(confusion, title: str = "Konfusionsmatrix"):
    """Konfusionsmatrix (10, 10) als Bild; Zeilen auf Anteile gerechnet, Zahlen in Prozent."""
    confusion = np.asarray(confusion, dtype=float)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure, ax = plt.subplots(figsize=(6.6, 5.8), layout="constrained")
    picture = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(shares):
        if value >= 0.005:
            color = "white" if value > 0.5 else "black"
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(range(10), CLASS_NAMES, rotation=45, ha="right")
    ax.set_yticks(range(10), CLASS_NAMES)
    ax.set(xlabel="vorhergesagte Klasse", ylabel="wahre Klasse", title=title)
    ax.grid(False)
    bar = figure.colorbar(picture, ax=ax, label="Anteil an der wahren Klasse", shrink=0.8)
    german_axis(bar.ax.yaxis, 1)
    return figure


def reliability(evaluations: dict, title: str = "Kalibrierung: Hält das Netz, was es verspricht?"):
    """Kalibrierungsdiagramm; ``evaluations``: dict Name → (Sicherheit (n,), richtig (n,) bool)."""
    figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    ax.plot([0, 1], [0, 1], color="gray", linewidth=1, label="perfekt kalibriert")
    for marker, (name, (confidence, correct)) in zip("osD^", evaluations.items(), strict=False):
        bins = np.minimum((confidence * 10).astype(int), 9)
        used = [b for b in range(10) if (bins == b).sum() >= 10]
        x = [confidence[bins == b].mean() for b in used]
        ax.plot(x, [correct[bins == b].mean() for b in used], f"-{marker}", label=name)
    ax.set(xlabel="Sicherheit der Vorhersage", ylabel="Anteil richtiger Vorhersagen", title=title)
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02))
    german_axis(ax.xaxis)
    german_axis(ax.yaxis)
    ax.legend(fontsize=8)
    return figure


# --- Erklärungen ----------------------------------------------------------------------------------------------------


def draw_image(ax, image, title: str = "") -> None:
    """Ein Rohbild (h, b), Werte 0–255, ohne Achsen."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=9)
    _bare(ax)


def draw_cam(ax, image, cam, title: str = ""):
    """Grad-CAM (h, b), Werte 0–1, halb durchsichtig über dem Rohbild."""
    extent = (0, cam.shape[1], cam.shape[0], 0)
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
    picture = ax.imshow(cam, cmap=CAM_COLORS, vmin=0, vmax=1, alpha=0.6, extent=extent)
    ax.set_title(title, fontsize=9)
    _bare(ax)
    return picture


def draw_relevance(ax, relevance, title: str = ""):
    """Relevanz (h, b), rot dafür, blau dagegen; auf das 99,5-%-Quantil des Betrags dieses Bilds bezogen."""
    limit = np.quantile(np.abs(relevance), 0.995) or 1.0
    picture = ax.imshow(relevance / limit, cmap=RELEVANCE_COLORS, vmin=-1, vmax=1)
    ax.set_title(title, fontsize=9)
    _bare(ax)
    return picture


def _color_scales(figure, axes, cam, relevance) -> None:
    """Setzt die Farbskalen unter das Raster; jede sagt, was ihre Farben bedeuten."""
    scales = [
        (cam, "Grad-CAM: 0 unwichtig, 1 wichtig\n(jedes Bild für sich gestreckt)"),
        (relevance, "Relevanz: rot dafür, blau dagegen\n(jedes Bild auf ±1 bezogen)"),
    ]
    scales = [(picture, text) for picture, text in scales if picture is not None]
    width = figure.get_size_inches()[0]
    # Zwei Skalen teilen sich die Breite, sonst stünden sie untereinander.
    halves = np.array_split(axes, len(scales), axis=1)
    for (picture, text), below in zip(scales, halves, strict=True):
        shrink = min(0.9, 2.6 * len(scales) / width)
        bar = figure.colorbar(
            picture, ax=below, location="bottom", shrink=shrink, aspect=22, pad=0.02, ticks=picture.get_clim()
        )
        bar.set_label(text, fontsize=8)
        bar.ax.set_xticklabels([german(float(tick), 0) for tick in picture.get_clim()])


def result_page(images, cams, relevances: dict, classes, title: str = "Rohbild, Grad-CAM und LRP", captions=None):
    """Die Ergebnisseite: eine Spalte je Bild, Zeilen Rohbild, Grad-CAM und jede LRP-Regel.

    Args:
        images: uint8, (n, 28, 28).
        cams: (n, h, b), Werte 0–1, oder None.
        relevances: dict Regelname → (n, h, b).
        classes: erklärte Klasse je Bild (n,).
        title: Überschrift.
        captions: Text über jeder Spalte statt des Klassennamens.
    """
    names = ["Rohbild"] + (["Grad-CAM"] if cams is not None else []) + list(relevances)
    figure, axes = _grid(len(names), len(images), width=1.15, height=1.4)
    cam = relevance = None
    for column, image in enumerate(images):
        caption = captions[column] if captions is not None else CLASS_NAMES[classes[column]]
        draw_image(axes[0, column], image, caption)
        row = 1
        if cams is not None:
            cam = draw_cam(axes[row, column], image, cams[column])
            row += 1
        for maps in relevances.values():
            relevance = draw_relevance(axes[row, column], maps[column])
            row += 1
    for row, name in enumerate(names):
        axes[row, 0].set_ylabel(textwrap.fill(name, 13), fontsize=9)
    _color_scales(figure, axes, cam, relevance)
    figure.suptitle(title)
    return figure


def with_mask(ax, mask, size: int) -> None:
    """Zeichnet den Umriss einer Maske (28, 28) auf eine Karte mit ``size`` Pixeln Kantenlänge."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    scale = size / mask.shape[0]
    corner = (columns[0] * scale - 0.5, rows[0] * scale - 0.5)
    frame = plt.Rectangle(corner, len(columns) * scale, len(rows) * scale, fill=False, color="#009E73", linewidth=1.8)
    ax.add_patch(frame)


def scorecard(card: dict, measures: dict, title: str = "Wertungstafel"):
    """Die Wertungstafel als Bild: je Zelle Wert und 95-%-Intervall, darunter zu jedem Maß, wie es täuschen kann.

    Args:
        card: Verfahren → Maß → (Wert, untere, obere Grenze).
        measures: Maß → Beschreibung mit ``title``, ``better`` (+1, −1, 0), ``digits`` und ``misleads``.
        title: Überschrift.
    """
    rows, columns = list(card), [name for name in measures if all(name in row for row in card.values())]
    values = np.array([[card[row][name][0] for name in columns] for row in rows])
    low, high = values.min(axis=0), values.max(axis=0)
    better = np.array([measures[name].better for name in columns])
    shade = (values - low) / np.where(high > low, high - low, 1)
    shade = np.where(better > 0, shade, np.where(better < 0, 1 - shade, 0))
    notes = [f"{number}  {measures[name].misleads}" for number, name in enumerate(columns, start=1)]
    width = max(8.0, 2.4 + 1.3 * len(columns))  # darunter stehen ganze Sätze
    figure, (ax, below) = plt.subplots(
        2,
        1,
        figsize=(width, 1.3 + 0.42 * len(rows) + 0.24 * len(notes)),
        height_ratios=(1.0 + 0.42 * len(rows), 0.24 * len(notes)),
        layout="constrained",
    )
    ax.imshow(shade * 0.7, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, row), (x, name) in itertools.product(enumerate(rows), enumerate(columns)):
        value, lower, upper = (german(float(number), measures[name].digits) for number in card[row][name])
        color = "white" if shade[y, x] > 0.75 else "black"
        single = lower == upper
        ax.text(x, y if single else y - 0.17, value, ha="center", va="center", fontsize=9, color=color)
        if not single:
            ax.text(x, y + 0.22, f"{lower} bis {upper}", ha="center", va="center", fontsize=6.5, color=color)
    hints = {1: "groß ist gut", -1: "klein ist gut", 0: "Kontrolle"}
    heads = [f"{i}  {measures[n].title}\n({hints[measures[n].better]})" for i, n in enumerate(columns, start=1)]
    ax.set_xticks(range(len(columns)), heads, fontsize=8.5)
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    _bare(below)
    below.set(xlim=(0, 1), ylim=(len(notes), 0))
    for line, note in enumerate(notes):
        below.text(0, line + 0.5, note, va="center", fontsize=8)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title)
    return figure


def groups(images, means, group_of, spot, title: str = "Zwei Gruppen von Erklärungen"):
    """Je Gruppe eine Zeile: die mittlere Karte und fünf Bilder; ein Kreis zeigt, wo sich Gruppe 2 abhebt.

    Args:
        images: uint8, (n, 28, 28).
        means: mittlere Karte je Gruppe, (2, g, g).
        group_of: Gruppe je Bild (n,), 0 oder 1.
        spot: (Zeile, Spalte) im Raster g × g.
        title: Überschrift.
    """
    figure, axes = _grid(2, 6, width=1.5, height=1.75)
    group_of, limit = np.asarray(group_of), float(np.max(means))
    for group, row in enumerate(axes):
        row[0].imshow(means[group], cmap=CAM_COLORS, vmin=0, vmax=limit)
        ring = {"markersize": 16, "markerfacecolor": "none", "markeredgecolor": "#D55E00", "markeredgewidth": 2}
        row[0].plot(spot[1], spot[0], "o", clip_on=False, **ring)
        row[0].set_title("mittlere Karte", fontsize=9)
        row[0].set_ylabel(f"Gruppe {group + 1}\n({german(int((group_of == group).sum()))} Bilder)", fontsize=9)
        _bare(row[0])
        members = np.flatnonzero(group_of == group)[:5]
        for ax in row[1:]:
            _bare(ax)
        for ax, member in zip(row[1:], members, strict=False):
            draw_image(ax, images[member])
    figure.suptitle(title)
    return figure


def trust_answers(models: dict, title: str = "Vertrauensbericht"):
    """Die Antworten des Vertrauensberichts: eine Zeile je Frage, eine Spalte je Modell, darunter das Urteil.

    Args:
        models: Modellname → dict mit ``urteil`` und ``pruefungen`` (Frage → ``frage``, ``antwort``, ``wert``, ``tief``,
            ``hoch``), wie in ``kennzahlen.json`` unter ``vertrauen``.
        title: Überschrift.
    """
    colors = {"ja": "#56B4E9", "nein": "#D55E00", "offen": "#DDDDDD"}
    names, checks = list(models), list(next(iter(models.values()))["pruefungen"].values())
    figure, ax = plt.subplots(figsize=(4.6 + 2.2 * len(names), 0.9 + 0.5 * (len(checks) + 1)), layout="constrained")
    for x, model in enumerate(models.values()):
        for y, check in enumerate(model["pruefungen"].values()):
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=colors[check["antwort"]]))
            value, low, high = (german(float(check[name]), 2) for name in ("wert", "tief", "hoch"))
            ax.text(x, y - 0.17, check["antwort"], ha="center", va="center", fontsize=9, weight="bold")
            ax.text(x, y + 0.21, f"{value} ({low} bis {high})", ha="center", va="center", fontsize=7.5)
        ax.text(x, len(checks), model["urteil"], ha="center", va="center", fontsize=10, weight="bold")
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(checks) + 0.5, -0.5))
    ax.set_xticks(range(len(names)), names, fontsize=9)
    ax.set_yticks(range(len(checks) + 1), [*(check["frage"] for check in checks), "Urteil"], fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title)
    return figure


# --- Pixel, Faltung und Schichten (01_Daten und 02_VGG16) -------------------------------------------------------------


def pixel_numbers(image, top: int = 0, left: int = 0, size: int = 9, title: str = "Ein Bild ist eine Tabelle"):
    """Links das Bild (28, 28) mit einem Rahmen, rechts der Ausschnitt (size, size) darin mit seinen Grauwerten."""
    figure, (whole, part) = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    draw_image(whole, image, f"alle {image.shape[0]} × {image.shape[1]} Pixel")
    frame = plt.Rectangle((left - 0.5, top - 0.5), size, size, fill=False, color="#E69F00", linewidth=2)
    whole.add_patch(frame)
    cut = image[top : top + size, left : left + size]
    draw_image(part, cut, "der Ausschnitt im Rahmen, als Zahlen")
    for (row, column), value in np.ndenumerate(cut):
        color = "black" if value > 127 else "white"
        part.text(column, row, int(value), ha="center", va="center", fontsize=9, color=color)
    figure.suptitle(title)
    return figure


def tiles(images, columns: int = 16, title="", label="", cmap: str = "gray", limits=None, digits: int = 0):
    """Viele kleine Bilder (n, h, b) oder (n, h, b, 3) als ein einziges Mosaik, mit einer gemeinsamen Farbskala.

    Args:
        images: Graustufen in beliebigen Einheiten oder RGB von 0 bis 1.
        columns: Bilder je Zeile.
        title: Überschrift.
        label: Beschriftung der Farbskala; ohne sie (oder bei RGB) gibt es keine.
        cmap: Farben für Graustufen.
        limits: kleinster und größter Wert der Skala, sonst die der Bilder.
        digits: Nachkommastellen an der Farbskala.
    """
    images = np.asarray(images, dtype=float)
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    gap = max(1, height // 14)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:]), np.nan)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    if images.ndim == 4:
        canvas = np.nan_to_num(canvas, nan=1.0)
    low, high = limits or (np.nanmin(canvas), np.nanmax(canvas))
    figure, ax = plt.subplots(figsize=(8, 8 * canvas.shape[0] / canvas.shape[1] + 0.8), layout="constrained")
    picture = ax.imshow(canvas, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    _bare(ax)
    ax.set_title(title)
    if label and images.ndim == 3:
        bar = figure.colorbar(picture, cax=ax.inset_axes([1.02, 0, 0.025, 1]))
        bar.set_label(label)
        german_axis(bar.ax.yaxis, digits)
    return figure


def filter_results(image, kernels: dict, results: dict, title: str = "Bild, Kern, Ergebnis"):
    """Je Kern eine Zeile: das Bild, die Zahlen des Kerns (3, 3) und das Ergebnis der Faltung.

    Rot sind positive Werte, blau negative, weiß ist null; die Skala gehört zu jedem Ergebnis einzeln.
    """
    figure, axes = _grid(len(kernels), 3, width=2.4, height=2.5)
    for row, (name, kernel) in zip(axes, kernels.items(), strict=True):
        draw_image(row[0], image, "Bild")
        limit = np.abs(kernel).max()
        row[1].imshow(kernel, cmap=RELEVANCE_COLORS, vmin=-2 * limit, vmax=2 * limit)
        for (y, x), value in np.ndenumerate(kernel):
            text = german(float(value), 0 if float(value).is_integer() else 2).replace("-", "−")
            row[1].text(x, y, text, ha="center", va="center", fontsize=11)
        limit = np.abs(results[name]).max()
        row[2].imshow(results[name], cmap=RELEVANCE_COLORS, vmin=-limit, vmax=limit)
        for ax, text in ((row[1], f"Kern „{name}“"), (row[2], "Ergebnis")):
            _bare(ax)
            ax.set_title(text, fontsize=9)
    figure.suptitle(title)
    return figure


def receptive_fields(image, fields: dict, title: str = "Wie viel vom Bild sieht ein Neuron?"):
    """Rezeptive Felder als Rahmen um die Bildmitte; was über das Bild (h, b) hinausragt, ist nur aufgefüllter Rand.

    Args:
        image: Netzeingabe als Graustufenbild.
        fields: dict Schicht → Kantenlänge in Pixeln.
        title: Überschrift.
    """
    figure, ax = plt.subplots(figsize=(7.2, 5), layout="constrained")
    size = image.shape[0]
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, size, size, 0))
    colors = STYLE["axes.prop_cycle"].by_key()["color"]
    for number, (name, field) in enumerate(fields.items()):
        corner = (size - field) / 2
        color = colors[number % len(colors)]
        label = f"{name}: {field} × {field}"
        ax.add_patch(plt.Rectangle((corner, corner), field, field, fill=False, color=color, linewidth=2, label=label))
    reach = max([size, *fields.values()])
    margin = (reach - size) / 2 + 6
    ax.set(xlim=(-margin, size + margin), ylim=(size + margin, -margin), xlabel="Pixel", ylabel="Pixel", title=title)
    ax.set_aspect("equal")
    ax.grid(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def heatmap_steps(images, coarse, fine, title: str = "Von der groben Karte zur Überlagerung"):
    """Drei Zeilen je Bild: Rohbild, grobe Grad-CAM-Karte (h', b'), auf Bildgröße vergrößerte Karte (h, b)."""
    figure, axes = _grid(3, len(images), width=1.5, height=1.5)
    for column, image in enumerate(images):
        draw_image(axes[0, column], image)
        axes[1, column].imshow(coarse[column], cmap=CAM_COLORS)
        _bare(axes[1, column])
        cam = draw_cam(axes[2, column], image, fine[column])
    names = ("Rohbild", f"Karte ({coarse.shape[1]} × {coarse.shape[2]})", "Überlagerung")
    for ax, name in zip(axes[:, 0], names, strict=True):
        ax.set_ylabel(name, fontsize=9)
    _color_scales(figure, axes, cam, None)
    figure.suptitle(title)
    return figure


def mistakes(images, for_wrong, for_right, evaluation, rows, title: str = "Falsch erkannt: Was sprach wofür?"):
    """Drei Zeilen je Fehler: Rohbild, Grad-CAM für die falsche Antwort, Grad-CAM für die richtige Klasse."""
    figure, axes = _grid(3, len(images), width=1.9, height=1.75)
    for column, (image, row) in enumerate(zip(images, rows, strict=True)):
        draw_image(axes[0, column], image)
        draw_cam(axes[1, column], image, for_wrong[column], CLASS_NAMES[evaluation.predictions[row]])
        cam = draw_cam(axes[2, column], image, for_right[column], CLASS_NAMES[evaluation.labels[row]])
    for ax, name in zip(axes[:, 0], ("Rohbild", "für die Antwort", "für die Wahrheit"), strict=True):
        ax.set_ylabel(name, fontsize=9)
    _color_scales(figure, axes, cam, None)
    figure.suptitle(title)
    return figure


def mean_cams(means: dict, title: str = "Mittlere Karte je Klasse"):
    """Eine Zeile je Modell, eine Spalte je Klasse; ``means``: dict Modellname → (10, h, b), Werte 0–1."""
    figure, axes = _grid(len(means), 10, width=1.15, height=1.5)
    for row, (name, maps) in enumerate(means.items()):
        for column, values in enumerate(maps):
            picture = axes[row, column].imshow(values, cmap=CAM_COLORS, vmin=0, vmax=1)
            _bare(axes[row, column])
            if row == 0:
                axes[row, column].set_title(CLASS_NAMES[column], fontsize=8)
        axes[row, 0].set_ylabel(name, fontsize=9)
    _color_scales(figure, axes, picture, None)
    figure.suptitle(title)
    return figure


def similarity_steps(curves: dict, stages, title: str = "Ändert sich die Erklärung mit dem Modell?"):
    """Ähnlichkeit zur ursprünglichen Karte (0–1) je Stufe neu gewürfelter Schichten; ``curves``: dict Name → Werte."""
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for marker, (name, values) in zip("osD^v", curves.items(), strict=False):
        ax.plot(range(len(stages)), values, f"-{marker}", label=name)
    labels = [stages[0]] + [f"ab {stage}" for stage in stages[1:]]
    ax.set_xticks(range(len(stages)), labels)
    ax.set(xlabel="neu gewürfelt", ylabel="Rangkorrelation (Betrag)", title=title, ylim=(0, 1.05))
    german_axis(ax.yaxis)
    ax.legend()
    return figure


def conservation(logits, sums, title: str = "Bleibt die Relevanz erhalten?"):
    """Punkte: Logit gegen Summe der Relevanz je Bild; auf der Diagonalen ist alles erhalten."""
    figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    ends = [min(np.min(logits), np.min(sums)), max(np.max(logits), np.max(sums))]
    ax.plot(ends, ends, color="gray", linewidth=1, label="vollständig erhalten")
    ax.scatter(logits, sums, s=18, label="ein Bild")
    ax.set(xlabel="Logit der gefragten Klasse", ylabel="Summe der Relevanz", title=title)
    german_axis(ax.xaxis, 0)
    german_axis(ax.yaxis, 0)
    ax.legend()
    return figure


def twin_page(images, relevances: dict, mask, title: str = "Sauberes Modell und Zwilling, dieselben Bilder"):
    """Zeile 1 Rohbilder, darunter je Modell die Relevanz mit dem Umriss der Maske (28, 28)."""
    figure, axes = _grid(1 + len(relevances), len(images), width=1.5, height=1.5)
    for column, image in enumerate(images):
        draw_image(axes[0, column], image)
        for row, maps in enumerate(relevances.values(), start=1):
            picture = draw_relevance(axes[row, column], maps[column])
            with_mask(axes[row, column], mask, maps.shape[1])
    for ax, name in zip(axes[:, 0], ["Rohbild", *relevances], strict=True):
        ax.set_ylabel(name, fontsize=9)
    _color_scales(figure, axes, None, picture)
    figure.suptitle(title)
    return figure


# --- Erkunden ---------------------------------------------------------------------------------------------------------


def explorer(image, heatmap, probabilities, asked: int, title: str, signed=False, brush=None, before=None):
    """Das Bild des Explorers: links das Bild zum Malen, in der Mitte die Heatmap, rechts die Antwort des Netzes.

    Die Figur entsteht ohne pyplot: So darf sie auch in einem anderen Thread gezeichnet werden.

    Args:
        image: uint8, (28, 28).
        heatmap: (h, b); Grad-CAM von 0 bis 1 oder, mit ``signed``, Relevanz.
        probabilities: (10,), Summe 1.
        asked: Klasse, nach der gefragt ist.
        title: Überschrift.
        signed: Relevanz statt Grad-CAM.
        brush: (Zeile, Spalte, Größe) des Pinsels, als Rahmen gezeichnet.
        before: Wahrscheinlichkeiten vor dem Malen, (10,).
    """
    figure = Figure(figsize=(10.4, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    left.imshow(image, cmap="gray", vmin=0, vmax=255)
    left.set(title="Bild", xlabel="Spalte (Pixel)", ylabel="Zeile (Pixel)", xticks=range(0, 28, 9))
    left.set_yticks(range(0, 28, 9))
    left.grid(False)
    if brush is not None:
        row, column, size = brush
        frame = {"fill": False, "linewidth": 2, "clip_on": False}
        left.add_patch(Rectangle((column - 0.5, row - 0.5), size, size, color="black", **frame | {"linewidth": 4}))
        left.add_patch(Rectangle((column - 0.5, row - 0.5), size, size, color="#E69F00", **frame))
    name = f"„{CLASS_NAMES[asked]}“"
    if signed:
        picture = draw_relevance(middle, heatmap, f"Was spricht für {name}?")
    else:
        picture = draw_cam(middle, image, heatmap, f"Was spricht für {name}?")
    middle.title.set_fontsize(left.title.get_fontsize())
    ends = picture.get_clim()
    bar = figure.colorbar(picture, ax=middle, location="bottom", shrink=0.9, aspect=22, pad=0.02, ticks=ends)
    bar.set_label("Relevanz: blau dagegen, rot dafür" if signed else "Grad-CAM: 0 unwichtig, 1 wichtig")
    bar.ax.set_xticklabels([german(float(end), 0) for end in ends])
    _answer_bars(right, probabilities, asked, before)
    figure.suptitle(title)
    return figure


def _answer_bars(ax, probabilities, asked: int, before=None) -> None:
    """Waagrechte Balken: Wahrscheinlichkeit je Klasse in Prozent; schraffiert ist die gefragte Klasse."""
    places = np.arange(len(CLASS_NAMES))
    percent = 100 * np.asarray(probabilities)
    drawn = ax.barh(places, percent, 0.72, color="#56B4E9", label="jetzt")
    drawn[asked].set(hatch="///", edgecolor="black")
    if before is not None:
        ax.plot(100 * np.asarray(before), places, "D", color="#D55E00", markersize=6, label="vor dem Malen")
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2)
    for place, value in zip(places, percent, strict=True):
        ax.text(118, place, german(float(value), 0), ha="right", va="center", fontsize=9)
    ax.set_yticks(places, CLASS_NAMES)
    ax.invert_yaxis()
    ax.set(xlim=(0, 119), xlabel="Wahrscheinlichkeit (%)", title="Antwort des Netzes", xticks=range(0, 101, 25))
    ax.grid(axis="y", visible=False)


def explorer_grid(images, marked, panels: dict, signed=False, title: str = "Ohne und mit Zeichen"):
    """Das feste Raster, wo es keine Bedienelemente gibt: je Bild eine Zeile, ohne und mit Zeichen, eine Karte je Netz.

    Args:
        images, marked: uint8, (n, 28, 28), ohne und mit Zeichen.
        panels: Modellname → (Karten, Antworten) mit Karten (n, 2, h, b) und Texten (n, 2), je ohne und mit Zeichen.
        signed: Relevanz statt Grad-CAM.
        title: Überschrift.
    """
    names = list(panels)
    figure, axes = _grid(len(images), 2 * (1 + len(names)), width=1.6, height=1.85)
    for row, pair in enumerate(zip(images, marked, strict=True)):
        for half, image in enumerate(pair):
            start = half * (1 + len(names))
            draw_image(axes[row, start], image, ("ohne Zeichen", "mit Zeichen")[half] if row == 0 else "")
            for column, name in enumerate(names, start=start + 1):
                maps, texts = panels[name]
                text = f"{name}\n{texts[row][half]}" if row == 0 else texts[row][half]
                if signed:
                    picture = draw_relevance(axes[row, column], maps[row][half], text)
                else:
                    picture = draw_cam(axes[row, column], image, maps[row][half], text)
    _color_scales(figure, axes, None if signed else picture, picture if signed else None)
    figure.suptitle(title)
    return figure


def picture_strip(pictures, captions, title: str):
    """Fertige Bilder (h, b, 3) untereinander, über jedem ein Satz."""
    height, width = pictures[0].shape[:2]
    rows = len(pictures)
    figure, axes = plt.subplots(rows, 1, figsize=(9, rows * (9 * height / width + 0.55)), layout="constrained")
    for ax, picture, caption in zip(np.atleast_1d(axes), pictures, captions, strict=True):
        ax.imshow(picture, interpolation="antialiased")
        ax.set_title(textwrap.fill(caption, 105), fontsize=10, loc="left")
        _bare(ax)
    figure.suptitle(title)
    return figure
