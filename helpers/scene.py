"""Was der Explorer zeigt: Bild, Antwort und Heatmap zu einem Stand der Bedienelemente, dazu ein Satz mit Zahlen.

Alles wird bei jedem Stand neu gerechnet; die Rechnungen sind übersetzt und nehmen die Gewichte von jetzt. So zeigt der
Explorer auch ein Netz richtig, das inzwischen weiter gelernt hat.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.basics import CLASS_NAMES, CourseError, german
from helpers.data import Watermark
from helpers.gradcam import grad_cam
from helpers.lrp import alpha_beta, epsilon, flat, preset_a, relevance
from helpers.metrics import relevance_mass
from helpers.model import preprocess, softmax
from helpers.panels import ORANGE, SKY, VERMILION, color_scale, draw_cam, draw_image, draw_relevance, panel

PER_GROUP = 10
ANSWER, TRUTH = -1, -2
LAYERS = ("block4_conv3", "block5_conv3", "block3_conv3", "block2_conv2")
# Regel, wie sie hier heißt → Parameter, wie er hier heißt → Regel.
LRP_CHOICES = {
    "LRP-ε": {f"ε = {text}": epsilon(value) for text, value in (("1", 1), ("0,01", 0.01), ("10", 10), ("100", 100))},
    "LRP-αβ": {f"α = {a}, β = {b}": alpha_beta(a, b) for a, b in ((1, 0), (2, 1), (3, 2))},
    "LRP-Preset A flat": {
        f"ε = {text} (dichte Schichten)": preset_a(value, lowest=flat) for text, value in (("0,1", 0.1), ("10", 10))
    },
}


@dataclass(frozen=True)
class Method:
    """Ein Erklärverfahren mit ein oder zwei Wahlmöglichkeiten.

    Attributes:
        labels: Beschriftung der beiden Wahlmöglichkeiten; die zweite darf leer sein.
        choices: erste Wahl → zweite Wahl → Wert.
        explain: (Modell, Netzeingaben, Klassen, Wert) → Karten (n, h, b).
        signed: Gibt es auch negative Werte?
    """

    labels: tuple[str, str]
    choices: dict[str, dict[str, object]]
    explain: Callable
    signed: bool


def grad_cam_method(layers=LAYERS) -> Method:
    """Grad-CAM an einer der Schichten ``layers``."""
    return Method(("Schicht", ""), {layer: {"": layer} for layer in layers}, grad_cam, False)


def lrp_method() -> Method:
    """LRP mit einer Regel und ihrem Parameter."""
    return Method(("Regel", "Parameter"), LRP_CHOICES, relevance, True)


@dataclass(frozen=True)
class View:
    """Ein Stand aller Bedienelemente.

    Attributes:
        model: Name des Modells.
        row: Nummer des Testbilds.
        first, second: Wahl von Schicht oder Regel und Parameter.
        asked: gefragte Klasse, ``ANSWER`` (die Antwort des Netzes) oder ``TRUTH`` (die wahre Klasse).
        strokes: Gemaltes als (Zeile, Spalte, Größe, Grauwert); ``None`` statt des Grauwerts stempelt das Zeichen.
        brush: (Zeile, Spalte, Größe) des Pinsels.
    """

    model: str
    row: int
    first: str
    second: str = ""
    asked: int = ANSWER
    strokes: tuple = ()
    brush: tuple[int, int, int] | None = None


class Scene:
    """Bilder, Modelle und Verfahren des Explorers, noch ohne Bedienelemente.

    Args:
        models: Name → Keras-Modell mit Logits als Ausgang.
        results: Name → ``training.Evaluation`` dieses Modells auf ``images``; sie sagt, was seine Fehler sind.
        images: Testbilder, uint8, (n, 28, 28).
        watermark: das Zeichen zum Stempeln.
        method: das Verfahren.

    Attributes:
        groups: Name der Auswahl → Nummern der Testbilder: je Modell seine deutlichsten Fehler, dann jede Klasse.

    Raises:
        CourseError: wenn Modelle, Bilder und Auswertungen nicht zusammenpassen oder kein Modell da ist.
    """

    def __init__(self, models: dict, results: dict, images, watermark: Watermark, method: Method):
        if not models:
            raise CourseError('Der Explorer braucht mindestens ein Modell: {"sauberes Modell": model}.')
        if missing := [name for name in models if name not in results]:
            raise CourseError(
                f"Zum Modell „{missing[0]}“ fehlt die Auswertung: Geben Sie dem Explorer je Modell ein Ergebnis von "
                "training.evaluate, unter demselben Namen."
            )
        for result in results.values():
            if len(images) != len(result.labels):
                raise CourseError(
                    f"Zu {german(len(images))} Bildern gehört eine Auswertung von {german(len(images))} Bildern, nicht "
                    f"von {german(len(result.labels))}: Nehmen Sie dieselben Testbilder wie bei training.evaluate."
                )
        self.models, self.method, self.watermark = models, method, watermark
        self.images, self.labels = np.asarray(images), next(iter(results.values())).labels
        self.groups = {f"Fehler: {name}": results[name].worst_mistakes(PER_GROUP) for name in models}
        for label, name in enumerate(CLASS_NAMES):
            self.groups[name] = np.flatnonzero(self.labels == label)[:PER_GROUP]

    def painted(self, view: View) -> np.ndarray:
        """Das Bild mit allem, was darauf gemalt und gestempelt wurde."""
        image = self.images[view.row].copy()
        for row, column, size, gray in view.strokes:
            if gray is None:
                image = self.watermark.stamp(image)
            else:
                image[row : row + size, column : column + size] = gray
        return image

    def answers(self, model: str, images) -> tuple[np.ndarray, np.ndarray]:
        """Netzeingaben und Wahrscheinlichkeiten (n, 10) zu Bildern (n, 28, 28)."""
        net = self.models[model]
        inputs = preprocess(np.asarray(images), net.inputs[0].shape[1])
        return inputs, softmax(net.predict_on_batch(inputs))

    def show(self, view: View) -> "Shown":
        """Rechnet einen Stand.

        Raises:
            CourseError: bei einer unbekannten Schicht oder Regel.
        """
        if view.second not in self.method.choices.get(view.first, {}):
            text = f"{view.first}, {view.second}".removesuffix(", ")
            raise CourseError(f"„{text}“ gibt es hier nicht: Wählen Sie aus {', '.join(self.method.choices)}.")
        original, truth = self.images[view.row], int(self.labels[view.row])
        image = self.painted(view)
        inputs, (now, *before) = self.answers(view.model, [image, original] if view.strokes else [image])
        asked = {ANSWER: int(now.argmax()), TRUTH: truth}.get(view.asked, view.asked)
        value = self.method.choices[view.first][view.second]
        heatmap = self.method.explain(self.models[view.model], inputs[:1], [asked], value)[0]
        then = before[0] if before else None
        return Shown(view, self.method.signed, image, original, truth, asked, now, then, heatmap)

    def grid(self):
        """Das feste Raster als Figur, wo es keine Bedienelemente gibt: ohne und mit Zeichen, je Modell die Karte für
        seine Antwort. Gezeigt werden der deutlichste Fehler des ersten Modells, ein Pullover und ein Sneaker.

        Raises:
            CourseError: wenn von alledem kein Bild da ist.
        """
        wanted = next(iter(self.groups)), "Pullover", "Sneaker"
        chosen = [int(self.groups[name][0]) for name in wanted if len(self.groups[name])]
        if not chosen:
            raise CourseError("Der Explorer hat kein Bild zu zeigen: Geben Sie ihm Testbilder aus mehreren Klassen.")
        first, values = next(iter(self.method.choices.items()))
        second, value = next(iter(values.items()))
        halves = self.images[chosen], self.watermark.stamp(self.images[chosen])
        lines = [[] for _ in chosen]
        for half, name in zip(halves, ("ohne Zeichen", "mit Zeichen"), strict=True):
            for number, image in enumerate(half):
                lines[number].append(partial(draw_image, image=image, title=name if number == 0 else ""))
            for model, net in self.models.items():
                inputs, answers = self.answers(model, half)
                labels = answers.argmax(axis=1)
                maps = self.method.explain(net, inputs, labels, value)
                for number, (image, heatmap, label) in enumerate(zip(half, maps, labels, strict=True)):
                    text = f"{CLASS_NAMES[label]} {percent(answers[number, label])}"
                    text = f"{model}\n{text}" if number == 0 else text
                    lines[number].append(
                        partial(draw_heatmap, image=image, heatmap=heatmap, title=text, signed=self.method.signed)
                    )
        title = f"Stempeln und zusehen ({first}, {second})".replace(", )", ")")
        return panel([("", drawings) for drawings in lines], title, 1.45)


@dataclass(frozen=True)
class Shown:
    """Was zu einem ``View`` gehört.

    Attributes:
        signed: Relevanz (auch negativ) statt Grad-CAM.
        image, original: das Bild (28, 28) mit und ohne Gemaltes.
        truth, asked: wahre und gefragte Klasse.
        probabilities, before: Antwort (10,) zu ``image`` und, wenn gemalt wurde, zu ``original``.
        heatmap: (h, b).
    """

    view: View
    signed: bool
    image: np.ndarray
    original: np.ndarray
    truth: int
    asked: int
    probabilities: np.ndarray
    before: np.ndarray | None
    heatmap: np.ndarray

    @property
    def answer(self) -> int:
        """Die Klasse, die das Netz jetzt sagt."""
        return int(self.probabilities.argmax())

    @cached_property
    def png(self) -> bytes:
        """Das Bild des Explorers."""
        buffer = io.BytesIO()
        draw(self).savefig(buffer, format="png", dpi=150)
        return buffer.getvalue()

    @property
    def alt(self) -> str:
        """Das Bild in Worten, für alle, die es nicht sehen."""
        first, second = self.probabilities.argsort()[::-1][:2]
        painted = " mit Gemaltem" if self.view.strokes else ""
        return (
            f"Links ein Testbild ({named(self.truth)}){painted}. In der Mitte die Heatmap ({self.view.first}) für "
            f"{named(self.asked)}; ihr Schwerpunkt liegt {place(self.heatmap)}. Rechts die Antwort von "
            f"„{self.view.model}“: {CLASS_NAMES[first]} {percent(self.probabilities[first])}, {CLASS_NAMES[second]} "
            f"{percent(self.probabilities[second])}."
        )

    @property
    def sentence(self) -> str:
        """Worauf man bei diesem Stand schauen soll, mit den Zahlen, die man dort sieht."""
        name = named(self.asked)
        if not (self.heatmap > 0).any():
            if self.signed:
                return f"Hier ist alles blau: Der Logit von {name} ist negativ, und die Regel verteilt nur Widerspruch."
            return f"Die Karte ist leer: An dieser Stelle des Netzes spricht im Mittel nichts für {name}."
        if self.view.strokes:
            return self._sentence_painted()
        if self.answer != self.truth and self.asked in (self.answer, self.truth):
            said = f"Das Netz sagt {named(self.answer)}, richtig ist {named(self.truth)}: "
            if self.asked == self.truth:
                return said + "Was hätte für die richtige Antwort gesprochen, und warum hat es nicht gereicht?"
            return said + "Suchen Sie die Stelle, die für die falsche Antwort spricht. Hätte sie auch Sie getäuscht?"
        if self.probabilities[self.asked] < 0.05:
            return (
                f"Das Netz gibt {name} weniger als 5 %: Die Karte zeigt, was noch am ehesten "
                "dafür spräche. Wie stark es spricht, zeigt sie nicht, denn jede Karte ist für sich gestreckt."
            )
        mass, area = self._share_on(self.image < 8)
        return (
            f"{percent(mass)} des Positiven liegen auf dem schwarzen Hintergrund (er füllt "
            f"{percent(area)} des Bilds): Schaut das Netz auf das Kleidungsstück oder daneben?"
        )

    def _sentence_painted(self) -> str:
        mass, area = self._share_on(self.image != self.original)
        if not area:
            return "Dort war das Bild schon so: Malen Sie mit einer anderen Farbe oder an einer anderen Stelle."
        then, now = int(self.before.argmax()), percent(self.probabilities[self.answer])
        if then == self.answer:
            text = f"Die Antwort bleibt {named(then)} ({percent(self.before[then])} → {now}). "
        else:
            text = f"Umgefallen: Aus {named(then)} wird {named(self.answer)} ({now}). "
        return text + (
            f"Auf dem Gemalten liegen {percent(mass)} des Positiven für {named(self.asked)}, seine Fläche ist "
            f"{percent(area)}: Ist die Heatmap mitgewandert?"
        )

    def _share_on(self, mask) -> tuple[float, float]:
        """Anteil des Positiven auf einer Maske (28, 28) und ihr Anteil an der Fläche."""
        rows, columns = (np.arange(n) * 28 // n for n in self.heatmap.shape)
        large = mask[np.ix_(rows, columns)]
        return float(relevance_mass(self.heatmap[None], large)[0]) if large.any() else 0.0, float(large.mean())


def percent(share: float) -> str:
    """0,123 → „12 %“."""
    return f"{german(100 * float(share), 0)} %"


def named(label: int) -> str:
    """4 → „Mantel“ in Anführungszeichen."""
    return f"„{CLASS_NAMES[label]}“"


def place(heatmap) -> str:
    """Wo der Schwerpunkt des Positiven liegt, in Worten."""
    positive = np.maximum(heatmap, 0)
    if not positive.sum():
        return "nirgends"
    rows, columns = positive.sum(axis=1), positive.sum(axis=0)
    center = [(line * np.arange(len(line))).sum() / line.sum() / len(line) for line in (rows, columns)]
    row = "oben" if center[0] < 0.4 else "unten" if center[0] > 0.6 else ""
    column = "links" if center[1] < 0.4 else "rechts" if center[1] > 0.6 else ""
    return f"{row} {column}".strip() or "in der Mitte"


# --- Das Bild ---------------------------------------------------------------------------------------------------------


def draw_heatmap(ax, image, heatmap, title: str, signed: bool):
    """Relevanz oder, wenn es keine negativen Werte gibt, Grad-CAM über dem Bild."""
    return draw_relevance(ax, heatmap, title) if signed else draw_cam(ax, image, heatmap, title)


def draw(shown: Shown) -> Figure:
    """Links das Bild zum Malen, in der Mitte die Heatmap, rechts die Antwort des Netzes.

    Die Figur entsteht ohne pyplot: So darf sie auch in einem anderen Thread gezeichnet werden.
    """
    view = shown.view
    figure = Figure(figsize=(10.4, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    left.imshow(shown.image, cmap="gray", vmin=0, vmax=255)
    ticks = range(0, 28, 9)
    left.set(title="Bild", xlabel="Spalte (Pixel)", ylabel="Zeile (Pixel)", xticks=ticks, yticks=ticks)
    left.grid(False)
    if view.brush is not None:
        row, column, size = view.brush
        for color, width in (("black", 4), (ORANGE, 2)):
            frame = {"fill": False, "clip_on": False, "color": color, "linewidth": width}
            left.add_patch(Rectangle((column - 0.5, row - 0.5), size, size, **frame))
    picture = draw_heatmap(middle, shown.image, shown.heatmap, f"Was spricht für {named(shown.asked)}?", shown.signed)
    middle.title.set_fontsize(left.title.get_fontsize())
    color_scale(figure, picture, middle, 0.9)
    _answer_bars(right, shown)
    figure.suptitle(f"{view.model}: {named(shown.asked)} gefragt, {view.first}, {view.second}".removesuffix(", "))
    return figure


def _answer_bars(ax, shown: Shown) -> None:
    """Waagrechte Balken: Wahrscheinlichkeit je Klasse in Prozent; schraffiert ist die gefragte Klasse."""
    places, percents = np.arange(len(CLASS_NAMES)), 100 * shown.probabilities
    drawn = ax.barh(places, percents, 0.72, color=SKY, label="jetzt")
    drawn[shown.asked].set(hatch="///", edgecolor="black")
    if shown.before is not None:
        ax.plot(100 * shown.before, places, "D", color=VERMILION, markersize=6, label="vor dem Malen")
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2)
    for row, value in zip(places, percents, strict=True):
        ax.text(118, row, german(float(value), 0), ha="right", va="center", fontsize=9)
    ax.set_yticks(places, CLASS_NAMES)
    ax.invert_yaxis()
    ax.set(xlim=(0, 119), xlabel="Wahrscheinlichkeit (%)", title="Antwort des Netzes", xticks=range(0, 101, 25))
    ax.grid(axis="y", visible=False)
