"""Alle Bilder des Kurses: Titel, Achsen, deutsche Zahlen, Farben, die auch Farbenblinde trennen.

Jede Funktion ergibt eine ``matplotlib``-Figur; sie importiert nichts Schweres. Raster aus Bildern und Karten (und der
gemeinsame Stil) stehen in ``helpers.panels``. Was Zahlen auf farbigen Feldern zeigt, geht durch ``_numbers``.
"""

import io
import itertools
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import Formatter, MaxNLocator

from helpers.basics import CLASS_NAMES, atomic_file, german, output_dir, write_json
from helpers.panels import (  # noqa: F401  (die Raster heißen in den Notebooks plots.image_grid usw.)
    COLORS,
    ORANGE,
    RELEVANCE_COLORS,
    SKY,
    VERMILION,
    bare,
    draw_image,
    groups,
    heatmap_steps,
    image_grid,
    ink,
    mean_cams,
    mistakes,
    panel,
    result_page,
)


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


class GermanNumbers(Formatter):
    """Achsenmarken mit Dezimalkomma und so wenigen Nachkommastellen, wie alle Marken zusammen brauchen."""

    def __call__(self, value, pos=None):
        """Die Marke als Text."""
        exact = (d for d in range(6) if np.allclose(np.round(self.locs, d), self.locs, rtol=0, atol=1e-9))
        return german(float(value), next(exact, 6))


def german_axes(*axes) -> None:
    """Schreibt die Zahlen der Achsen (``ax.xaxis`` oder ``ax.yaxis``) deutsch."""
    for axis in axes:
        axis.set_major_formatter(GermanNumbers())


def _numbers(ax, values, texts, small=None, fontsize: float = 9, weight: str = "normal", **options):
    """Eine Tabelle als Bild: die Farbe nach ``values``, darauf ``texts`` und kleiner darunter ``small``.

    Args:
        values, texts, small: Felder (Zeilen, Spalten).
        options: ``cmap``, ``vmin``, ``vmax``, ``aspect`` für ``imshow``.
    """
    picture = ax.imshow(values, **options)
    ax.grid(False)
    for (row, column), text in np.ndenumerate(texts):
        color = ink(picture.cmap(picture.norm(values[row, column])))
        below = small[row][column] if small is not None else ""
        place = {"ha": "center", "va": "center", "color": color}
        ax.text(column, row - 0.17 * bool(below), text, fontsize=fontsize, weight=weight, **place)
        ax.text(column, row + 0.22, below, fontsize=6.5, **place)
    return picture


def _headed(ax, rows, columns, title: str) -> None:
    """Zeilennamen links, Spaltennamen oben, kein Rahmen."""
    ax.set_xticks(range(len(columns)), columns, fontsize=8.5)
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title)


# --- Balken und Linien ------------------------------------------------------------------------------------------------


def class_balance(counts: dict, title: str = "Wie viele Bilder hat jede Klasse?"):
    """Waagrechte Balken: Bilder je Klasse. ``counts``: dict Teil → (10,) Zahlen."""
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    height = 0.8 / len(counts)
    for number, (part, values) in enumerate(counts.items()):
        ax.barh(np.arange(10) + number * height, values, height * 0.9, label=part)
    ax.set_yticks(np.arange(10) + height * (len(counts) - 1) / 2, CLASS_NAMES)
    ax.invert_yaxis()
    ax.set(xlabel="Anzahl Bilder", title=title)
    german_axes(ax.xaxis)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(counts))
    return figure


def histogram(values: dict, xlabel: str, ylabel: str, title: str):
    """Verteilungen übereinander; ``values``: dict Name → Feld."""
    figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for name, data in values.items():
        ax.hist(np.ravel(data), bins=40, alpha=0.6, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    german_axes(ax.xaxis, ax.yaxis)
    if len(values) > 1:
        ax.legend()
    return figure


def bars(values: dict, ylabel: str, title: str, digits: int = 2, limit: float | None = None):
    """Ein Balken je Eintrag, mit der Zahl darüber; ``values``: dict Name → Zahl."""
    figure, ax = plt.subplots(figsize=(max(4.0, 1.3 * len(values)), 3.2), layout="constrained")
    drawn = ax.bar(list(values), list(values.values()), width=0.6)
    ax.bar_label(drawn, [german(float(v), digits) for v in values.values()], padding=2)
    ax.set(ylabel=ylabel, title=title)
    german_axes(ax.yaxis)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.15)
    if limit is not None:
        ax.set_ylim(0, limit)
    return figure


def lines(curves: dict, xlabel: str, ylabel: str, title: str, x=None, ylim=None):
    """Linien; ``curves``: dict Name → y-Werte; ``x``: gemeinsame Zahlen oder Wörter, sonst 1, 2, 3, …"""
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for (name, values), style, marker in zip(curves.items(), itertools.cycle(("-", "--", "-.", ":")), "osD^v<>p"):
        places = np.arange(1, len(values) + 1) if x is None else x
        ax.plot(places, values, style, marker=marker if len(values) < 20 else None, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if x is None:
        ax.set_xticks(places)
    elif not isinstance(x[0], str):
        german_axes(ax.xaxis)
    german_axes(ax.yaxis)
    if ylim:
        ax.set_ylim(*ylim)
    ax.legend()
    return figure


def similarity_steps(curves: dict, stages):
    """Ähnlichkeit zur ursprünglichen Karte (0–1) je Stufe neu gewürfelter Schichten; ``curves``: dict Name → Werte."""
    labels = [stages[0], *(f"ab {stage}" for stage in stages[1:])]
    title = "Ändert sich die Erklärung mit dem Modell?"
    return lines(curves, "neu gewürfelt", "Rangkorrelation (Betrag)", title, labels, (0, 1.05))


def learning_curves(histories: dict):
    """Verlust und Trefferquote je Epoche; ``histories``: dict Name → Zeilen aus ``Run.history``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for color, (name, rows) in zip(COLORS, histories.items(), strict=False):
        epochs = [row["epoche"] for row in rows]
        for ax, key in ((left, "verlust"), (right, "treffer")):
            ax.plot(epochs, [row[key] for row in rows], "-o", color=color, label=f"{name}, Training")
            ax.plot(epochs, [row[f"val_{key}"] for row in rows], "--s", color=color, label=f"{name}, Validierung")
    left.set(title="Verlust (kleiner ist besser)", xlabel="Epoche", ylabel="Kreuzentropie")
    right.set(title="Trefferquote (größer ist besser)", xlabel="Epoche", ylabel="Anteil richtiger Bilder")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        german_axes(ax.yaxis)
    right.legend(fontsize=8)
    figure.suptitle("Lernkurven")
    return figure


def _diagonal(ends, label: str, xlabel: str, ylabel: str, title: str):
    """Ein quadratisches Feld mit der Diagonalen, auf der beides gleich ist."""
    figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    ax.plot(ends, ends, color="gray", linewidth=1, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    german_axes(ax.xaxis, ax.yaxis)
    return figure, ax


def reliability(evaluations: dict):
    """Kalibrierungsdiagramm; ``evaluations``: dict Name → (Sicherheit (n,), richtig (n,) bool)."""
    axes = "Sicherheit der Vorhersage", "Anteil richtiger Vorhersagen"
    figure, ax = _diagonal([0, 1], "perfekt kalibriert", *axes, "Kalibrierung: Hält das Netz, was es verspricht?")
    for marker, (name, (confidence, correct)) in zip("osD^", evaluations.items(), strict=False):
        bins = np.minimum((confidence * 10).astype(int), 9)
        used = [b for b in range(10) if (bins == b).sum() >= 10]
        x, y = ([values[bins == b].mean() for b in used] for values in (confidence, correct))
        ax.plot(x, y, f"-{marker}", label=name)
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend(fontsize=8)
    return figure


def conservation(logits, sums):
    """Punkte: Logit gegen Summe der Relevanz je Bild; auf der Diagonalen ist alles erhalten."""
    ends = [min(np.min(logits), np.min(sums)), max(np.max(logits), np.max(sums))]
    axes = "Logit der gefragten Klasse", "Summe der Relevanz"
    figure, ax = _diagonal(ends, "vollständig erhalten", *axes, "Bleibt die Relevanz erhalten?")
    ax.scatter(logits, sums, s=18, label="ein Bild")
    ax.legend()
    return figure


# --- Tabellen ---------------------------------------------------------------------------------------------------------


def confusion_matrix(confusion):
    """Konfusionsmatrix (10, 10) als Bild; Zeilen auf Anteile gerechnet, Zahlen in Prozent."""
    confusion = np.asarray(confusion, dtype=float)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure, ax = plt.subplots(figsize=(6.6, 5.8), layout="constrained")
    texts = np.vectorize(lambda share: f"{100 * share:.0f}" if share >= 0.005 else "")(shares)
    picture = _numbers(ax, shares, texts, fontsize=8, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(10), CLASS_NAMES, rotation=45, ha="right")
    ax.set_yticks(range(10), CLASS_NAMES)
    ax.set(xlabel="vorhergesagte Klasse", ylabel="wahre Klasse", title="Konfusionsmatrix")
    bar = figure.colorbar(picture, ax=ax, label="Anteil an der wahren Klasse", shrink=0.8)
    german_axes(bar.ax.yaxis)
    return figure


def confusion_text(confusion) -> str:
    """Konfusionsmatrix als Texttabelle: Zeile wahre, Spalte vorhergesagte Klasse."""
    width = max(map(len, CLASS_NAMES))
    rows = ["Konfusionsmatrix (Zeile: wahre Klasse, Spalte: Vorhersage)"]
    rows.append(" " * (width + 4) + "".join(f"{label:>6}" for label in range(10)))
    for label, row in enumerate(confusion):
        rows.append(f"  {label} {CLASS_NAMES[label]:<{width}}" + "".join(f"{value:>6}" for value in row))
    return "\n".join(rows)


def scorecard(card: dict, measures: dict, title: str = "Wertungstafel"):
    """Die Wertungstafel als Bild: je Zelle Wert und 95-%-Intervall, darunter zu jedem Maß, wie es täuschen kann.

    Args:
        card: Verfahren → Maß → (Wert, untere, obere Grenze).
        measures: Maß → Beschreibung mit ``title``, ``better`` (+1, −1, 0), ``digits`` und ``misleads``.
        title: Überschrift.
    """
    columns = [name for name in measures if all(name in row for row in card.values())]
    cells = np.array([[row[name] for name in columns] for row in card.values()], dtype=float)  # (Zeilen, Spalten, 3)
    better = np.array([measures[name].better for name in columns])
    values = cells[..., 0] * better  # Spalten ohne Richtung werden null und bleiben hell
    shade = 0.7 * (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-12)
    texts = [
        [[german(n, measures[c].digits) for n in cell] for c, cell in zip(columns, row, strict=True)] for row in cells
    ]
    large = [[value for value, _, _ in row] for row in texts]
    small = [[f"{low} bis {high}" if low != high else "" for _, low, high in row] for row in texts]
    notes = [f"{number}  {measures[name].misleads}" for number, name in enumerate(columns, start=1)]
    heights = 1.0 + 0.42 * len(card), 0.24 * len(notes)
    width = max(8.0, 2.4 + 1.3 * len(columns))  # darunter stehen ganze Sätze
    figure, (ax, below) = plt.subplots(
        2, 1, figsize=(width, 0.3 + sum(heights)), height_ratios=heights, layout="constrained"
    )
    _numbers(ax, shade, large, small, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    hints = {1: "groß ist gut", -1: "klein ist gut", 0: "Kontrolle"}
    heads = [f"{i}  {measures[n].title}\n({hints[measures[n].better]})" for i, n in enumerate(columns, start=1)]
    _headed(ax, list(card), heads, title)
    bare(below)
    below.set(xlim=(0, 1), ylim=(len(notes), 0))
    for line, note in enumerate(notes):
        below.text(0, line + 0.5, note, va="center", fontsize=8)
    return figure


ANSWER_COLORS = {"ja": SKY, "nein": VERMILION, "offen": "#DDDDDD", "": "white"}


def trust_answers(models: dict):
    """Die Antworten des Vertrauensberichts: eine Zeile je Frage, eine Spalte je Modell, darunter das Urteil.

    Args:
        models: Modellname → dict mit ``urteil`` und ``pruefungen`` (Frage → ``frage``, ``antwort``, ``wert``, ``tief``,
            ``hoch``), wie in ``kennzahlen.json`` unter ``vertrauen``.
    """
    checks = [list(model["pruefungen"].values()) for model in models.values()]
    answers = np.array([[check["antwort"] for check in column] + [""] for column in checks]).T
    numbers = lambda check: [german(float(check[key]), 2) for key in ("wert", "tief", "hoch")]  # noqa: E731
    small = [["{} ({} bis {})".format(*numbers(check)) for check in row] for row in zip(*checks, strict=True)]
    large = [*answers[:-1].tolist(), [model["urteil"] for model in models.values()]]
    figure, ax = plt.subplots(figsize=(4.6 + 2.2 * len(models), 0.9 + 0.5 * len(answers)), layout="constrained")
    codes = np.vectorize(list(ANSWER_COLORS).index)(answers)
    colors = ListedColormap(list(ANSWER_COLORS.values()))
    small.append([""] * len(models))
    _numbers(ax, codes, large, small, weight="bold", cmap=colors, vmin=0, vmax=3, aspect="auto")
    _headed(ax, [*(check["frage"] for check in checks[0]), "Urteil"], list(models), "Vertrauensbericht")
    ax.set_xticks(np.arange(len(models)) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(answers)) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=4, alpha=1)
    ax.tick_params(which="minor", length=0)
    return figure


# --- Pixel, Faltung und Schichten (01_Daten und 02_VGG16) -------------------------------------------------------------


def pixel_numbers(image, top: int = 0, left: int = 0, title: str = "Ein Bild ist eine Tabelle"):
    """Links das Bild (28, 28) mit einem Rahmen, rechts der Ausschnitt (9, 9) darin mit seinen Grauwerten."""
    figure, (whole, part) = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    draw_image(whole, image, f"alle {image.shape[0]} × {image.shape[1]} Pixel")
    whole.add_patch(Rectangle((left - 0.5, top - 0.5), 9, 9, fill=False, color=ORANGE, linewidth=2))
    cut = image[top : top + 9, left : left + 9]
    _numbers(part, cut, cut.astype(int), cmap="gray", vmin=0, vmax=255)
    bare(part)
    part.set_title("der Ausschnitt im Rahmen, als Zahlen", fontsize=9)
    figure.suptitle(title)
    return figure


def tiles(images, columns: int = 16, title="", label="", cmap: str = "gray", limits=None):
    """Viele kleine Bilder als ein einziges Mosaik, mit einer gemeinsamen Farbskala.

    Args:
        images: Graustufen (n, h, b) in beliebigen Einheiten oder RGB (n, h, b, 3) von 0 bis 1.
        columns: Bilder je Zeile.
        title: Überschrift.
        label: Beschriftung der Farbskala; ohne sie gibt es keine.
        cmap: Farben für Graustufen.
        limits: kleinster und größter Wert der Skala, sonst die der Bilder.
    """
    images = np.asarray(images, dtype=float)
    rows = -(-len(images) // columns)
    height, width = (side + max(1, images.shape[1] // 14) for side in images.shape[1:3])  # mit Steg
    canvas = np.full((rows * height, columns * width, *images.shape[3:]), 1.0 if images.ndim == 4 else np.nan)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    low, high = limits or (images.min(), images.max())
    figure, ax = plt.subplots(figsize=(8, 8 * canvas.shape[0] / canvas.shape[1] + 0.8), layout="constrained")
    picture = ax.imshow(canvas, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    bare(ax)
    ax.set_title(title)
    if label:
        bar = figure.colorbar(picture, cax=ax.inset_axes([1.02, 0, 0.025, 1]), label=label)
        german_axes(bar.ax.yaxis)
    return figure


def filter_results(image, kernels: dict, results: dict, title: str):
    """Je Kern eine Zeile: das Bild, die Zahlen des Kerns (3, 3) und das Ergebnis der Faltung.

    Rot sind positive Werte, blau negative, weiß ist null; die Skala gehört zu jedem Ergebnis einzeln.
    """

    def numbers(ax, name, kernel):
        texts = np.vectorize(lambda v: german(float(v), 0 if float(v).is_integer() else 2).replace("-", "−"))(kernel)
        limit = 2 * np.abs(kernel).max()
        _numbers(ax, kernel, texts, fontsize=11, cmap=RELEVANCE_COLORS, vmin=-limit, vmax=limit)
        bare(ax)
        ax.set_title(f"Kern „{name}“", fontsize=9)

    def result(ax, values):
        limit = np.abs(values).max()
        ax.imshow(values, cmap=RELEVANCE_COLORS, vmin=-limit, vmax=limit)
        ax.set_title("Ergebnis", fontsize=9)
        bare(ax)

    before = partial(draw_image, image=image, title="Bild")
    cells = [
        [before, partial(numbers, name=n, kernel=k), partial(result, values=results[n])] for n, k in kernels.items()
    ]
    return panel([("", row) for row in cells], title, 2.3)


def receptive_fields(image, fields: dict):
    """Rezeptive Felder als Rahmen um die Bildmitte; was über das Bild (h, b) hinausragt, ist nur aufgefüllter Rand.

    ``fields``: dict Schicht → Kantenlänge in Pixeln; ``image``: Netzeingabe als Graustufenbild.
    """
    figure, ax = plt.subplots(figsize=(7.2, 5), layout="constrained")
    size = len(image)
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, size, size, 0))
    for (name, field), color in zip(fields.items(), itertools.cycle(COLORS), strict=False):
        frame = {"fill": False, "color": color, "linewidth": 2, "label": f"{name}: {field} × {field}"}
        ax.add_patch(Rectangle(((size - field) / 2,) * 2, field, field, **frame))
    margin = (max([size, *fields.values()]) - size) / 2 + 6
    ax.set(xlim=(-margin, size + margin), ylim=(size + margin, -margin), xlabel="Pixel", ylabel="Pixel")
    ax.set(title="Wie viel vom Bild sieht ein Neuron?", aspect="equal")
    german_axes(ax.xaxis, ax.yaxis)
    ax.grid(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure
