"""Alle Bilder des Kurses: Titel, Achsen, deutsche Zahlen, Farben, die auch Farbenblinde trennen.

Jede Funktion ergibt eine ``matplotlib``-Figur und importiert nichts Schweres. Hier stehen Linien, Balken und Tabellen;
was Bilder und Karten zeigt, steht in ``helpers.inner.panels``.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from helpers.basics import CLASS_NAMES, atomic_file, german, output_dir, write_json
from helpers.inner.panels import *  # noqa: F403  (die Raster heißen in den Notebooks plots.image_grid usw.)
from helpers.inner.panels import COLORS, SKY, VERMILION, bare, draw_numbers, german_tick

ANSWER_COLORS = {"ja": SKY, "nein": VERMILION, "offen": "#DDDDDD", "": "white"}


def save(figure, name: str, title: str, text: str, notebook: str):
    """Legt die Figur als PNG für den Bericht ab und schließt sie nicht: Das Notebook zeigt sie danach noch.

    ``name``: Dateiname ohne Endung in ``ausgabe/bilder``; ``title``, ``text``: Überschrift und Bildunterschrift im
    Bericht; ``notebook``: woher das Bild stammt.
    """
    path = output_dir() / "bilder" / f"{name}.png"
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
    figure.set_layout_engine("none")  # angeordnet ist sie jetzt; beim Zeigen noch einmal kostete es eine Sekunde
    write_json(path.with_suffix(".json"), {"titel": title, "text": text, "zelle": notebook})
    return path


def _chart(size, xlabel: str, ylabel: str, title: str):
    """Figur und Achsenfeld; wer einen Namen hat, bekommt auch Gitterlinien und deutsche Zahlen."""
    figure, ax = plt.subplots(figsize=size)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    for axis, label in ((ax.xaxis, xlabel), (ax.yaxis, ylabel)):
        axis.grid(bool(label))
        axis.set_major_formatter(german_tick)
    return figure, ax


def class_balance(counts: dict, title: str = "Wie viele Bilder hat jede Klasse?"):
    """Waagrechte Balken: Bilder je Klasse. ``counts``: dict Teil → (10,) Zahlen."""
    figure, ax = _chart((7, 3.4), "Anzahl Bilder", "", title)
    ax.grouped_bar(counts, tick_labels=CLASS_NAMES, group_spacing=1, orientation="horizontal")
    ax.invert_yaxis()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(counts))
    return figure


def histogram(values: dict, xlabel: str, ylabel: str, title: str):
    """Verteilungen übereinander; ``values``: dict Name → Array."""
    figure, ax = _chart((7, 3.2), xlabel, ylabel, title)
    for name, data in values.items():
        ax.hist(np.ravel(data), bins=40, alpha=0.6, label=name)
    ax.legend()
    return figure


def bars(values: dict, ylabel: str, title: str, digits: int = 2, limit: float | None = None):
    """Ein Balken je Eintrag, mit der Zahl darüber; ``values``: dict Name → Zahl; ``limit``: Ende der Achse."""
    figure, ax = _chart((max(4.0, 1.3 * len(values)), 3.2), "", ylabel, title)
    drawn = ax.bar(range(len(values)), list(values.values()), width=0.6, tick_label=list(values))
    ax.bar_label(drawn, [german(float(v), digits) for v in values.values()], padding=2)
    ax.margins(y=0.15)
    ax.set_ylim(0 if min(values.values(), default=0) >= 0 else None, limit)
    return figure


def lines(curves: dict, xlabel: str, ylabel: str, title: str, x, ylim=None, size=(7, 3.4)):
    """Linien; ``curves``: dict Name → y-Werte; ``x``: gemeinsame Zahlen oder je Name eigene."""
    figure, ax = _chart(size, xlabel, ylabel, title)
    for (name, values), style, marker in zip(curves.items(), itertools.cycle(("-", "--", "-.", ":")), "osD^v<>p"):
        ax.plot(x[name] if isinstance(x, dict) else x, values, style, marker=marker, label=name)
    ax.set_ylim(ylim)
    ax.legend(fontsize=8)
    return figure


def similarity_steps(curves: dict, stages):
    """Ähnlichkeit zur ursprünglichen Karte (0–1) je Stufe neu gewürfelter Schichten; ``curves``: dict Name → Werte."""
    places, title = range(len(stages)), "Ändert sich die Erklärung mit dem Modell?"
    figure = lines(curves, "neu gewürfelt", "Rangkorrelation (Betrag)", title, places, (0, 1.05))
    figure.axes[0].set_xticks(places, [stages[0], *(f"ab {stage}" for stage in stages[1:])])
    return figure


def reliability(evaluations: dict):
    """Kalibrierungsdiagramm; ``evaluations``: dict Name → (Sicherheit (n,), richtig (n,) bool)."""
    x, y, title = {}, {}, "Kalibrierung: Hält das Netz, was es verspricht?"
    for name, (confidence, correct) in evaluations.items():
        bins = np.minimum((confidence * 10).astype(int), 9)
        used = [bins == b for b in range(10) if (bins == b).sum() >= 10]
        x[name], y[name] = ([values[each].mean() for each in used] for values in (confidence, correct))
    axes = "Sicherheit der Vorhersage", "Anteil richtiger Vorhersagen"
    figure = lines(y, *axes, title, x, (0, 1.02), (4.6, 4.2))
    figure.axes[0].plot([0, 1], [0, 1], color="gray", linewidth=1, label="perfekt kalibriert")
    figure.axes[0].legend(fontsize=8)
    return figure


def conservation(logits, sums):
    """Punkte: Logit gegen Summe der Relevanz je Bild; auf der Diagonalen ist alles erhalten."""
    names = "Logit der gefragten Klasse", "Summe der Relevanz"
    figure, ax = _chart((4.6, 4.2), *names, "Bleibt die Relevanz erhalten?")
    ax.scatter(logits, sums, s=18, label="ein Bild")
    ax.axline((0, 0), slope=1, color="gray", linewidth=1, label="vollständig erhalten")
    ax.legend()
    return figure


def learning_curves(histories: dict):
    """Verlust und Trefferquote je Epoche; ``histories``: dict Name → Zeilen aus ``Run.history``."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    titles = {"verlust": "Verlust (kleiner ist besser)", "treffer": "Trefferquote (größer ist besser)"}
    for ax, key, ylabel in zip(axes, titles, ("Kreuzentropie", "Anteil richtiger Antworten"), strict=True):
        for color, (name, rows) in zip(COLORS, histories.items(), strict=False):
            for style, part, prefix in (("-o", "Training", ""), ("--s", "Validierung", "val_")):
                values = [[epoch[field] for epoch in rows] for field in ("epoche", prefix + key)]
                ax.plot(*values, style, color=color, label=f"{name}, {part}")
        ax.set(title=titles[key], xlabel="Epoche", ylabel=ylabel)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(german_tick)
    ax.legend(fontsize=8)
    figure.suptitle("Lernkurven")
    return figure


def confusion_matrix(confusion):
    """Konfusionsmatrix (10, 10) als Bild; Zeilen auf Anteile gerechnet, Zahlen in Prozent."""
    shares = confusion / np.maximum(np.sum(confusion, axis=1, keepdims=True), 1)
    figure, ax = plt.subplots(figsize=(6.6, 5.8))
    texts = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in line] for line in shares]
    picture = draw_numbers(ax, shares, texts, fontsize=8, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(10), CLASS_NAMES, rotation=45, ha="right")
    ax.set_yticks(range(10), CLASS_NAMES)
    ax.set(xlabel="vorhergesagte Klasse", ylabel="wahre Klasse")
    ax.set_title("Konfusionsmatrix")
    figure.colorbar(picture, label="Anteil an der wahren Klasse", shrink=0.8, format=german_tick)
    return figure


def _table(ax, title: str, rows, columns, *fields, **options) -> None:
    """``draw_numbers`` mit Zeilennamen links und Spaltennamen oben."""
    draw_numbers(ax, *fields, vmin=0, aspect="auto", **options)
    ax.set_xticks(range(len(columns)), columns, fontsize=8.5)
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_title(title)


def scorecard(card: dict, measures: dict, title: str = "Wertungstafel"):
    """Die Wertungstafel als Bild: je Zelle Wert und 95-%-Intervall, darunter zu jedem Maß, wie es täuschen kann.

    ``card``: Verfahren → Maß → (Wert, untere, obere Grenze); ``measures``: Maß → ``scorecard.Measure``.
    """
    used = {name: measure for name, measure in measures.items() if all(name in line for line in card.values())}
    # Spalten ohne Richtung werden null und bleiben hell.
    values = np.array([[line[name][0] * measure.better for name, measure in used.items()] for line in card.values()])
    shade = 0.7 * (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-12)
    texts = [[[german(float(n), used[name].digits) for n in line[name]] for name in used] for line in card.values()]
    large = [[value for value, _, _ in line] for line in texts]
    small = [[f"{low} bis {high}" if low != high else "" for _, low, high in line] for line in texts]
    hints = {1: "groß ist gut", -1: "klein ist gut", 0: "zum Vergleich"}
    heads = [f"{i}  {measure.title}\n({hints[measure.better]})" for i, measure in enumerate(used.values(), start=1)]
    notes = [f"{i}  {measure.misleads}" for i, measure in enumerate(used.values(), start=1)]
    heights, width = (1.0 + 0.42 * len(card), 0.24 * len(used)), max(8.0, 2.4 + 1.3 * len(used))
    figure, (ax, below) = plt.subplots(2, 1, figsize=(width, 0.3 + sum(heights)), height_ratios=heights)
    _table(ax, title, list(card), heads, shade, large, small, cmap="Blues", vmax=1)
    bare(below)
    below.text(0, 1, "\n".join(notes), va="top", fontsize=8, linespacing=1.7)
    return figure


def trust_answers(models: dict):
    """Die Antworten des Vertrauensberichts: eine Zeile je Frage, eine Spalte je Modell, darunter das Urteil.

    ``models``: Modellname → dict, wie in ``kennzahlen.json`` unter ``vertrauen``.
    """
    rows = list(zip(*(model["pruefungen"].values() for model in models.values()), strict=True))
    last = [model["urteil"] for model in models.values()]
    large = [*([check["antwort"] for check in line] for line in rows), last]
    values = [[[german(float(check[key]), 2) for key in ("wert", "tief", "hoch")] for check in line] for line in rows]
    small = [*(["{} ({} bis {})".format(*each) for each in line] for line in values), [""] * len(models)]
    codes = np.full((len(large), len(models)), 3)
    codes[:-1] = np.vectorize(list(ANSWER_COLORS).index)(large[:-1])
    size, colors = (4.6 + 2.2 * len(models), 1.4 + 0.5 * len(rows)), ListedColormap(list(ANSWER_COLORS.values()))
    names = [*(line[0]["frage"] for line in rows), "Urteil"]
    options = {"weight": "bold", "cmap": colors, "vmax": 3}
    figure, ax = plt.subplots(figsize=size)
    _table(ax, "Vertrauensbericht", names, list(models), codes, large, small, **options)
    ax.hlines(np.arange(len(rows)) + 0.5, -0.5, len(models) - 0.5, color="white", linewidth=4)
    ax.vlines(np.arange(len(models) - 1) + 0.5, -0.5, len(rows) + 0.5, color="white", linewidth=4)
    return figure
