"""Erkunden: Bild, Klasse und Verfahren wählen, übermalen, und zusehen, wie Antwort und Heatmap mitziehen.

Mit einer Oberfläche (JupyterLab, JupyterHub, VS Code) entstehen Bedienelemente, ohne sie (papermill, nbval, HTML) ein
festes Raster. Gerechnet und gezeichnet wird in einem eigenen Thread: Der Kernel bleibt frei, und ändert sich
währenddessen noch etwas, zählt nur der letzte Stand.
"""

import base64
import contextlib
import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np

from helpers import plots
from helpers.basics import CLASS_NAMES, SOLUTIONS, WIDGET_VIEW, CourseError, atomic_file, german
from helpers.data import Watermark
from helpers.gradcam import grad_cam
from helpers.live_lrp import LIVE_RULES, live_lrp
from helpers.metrics import relevance_mass
from helpers.model import keras, preprocess, softmax

PER_GROUP = 10
REMEMBERED = 512  # Ergebnisse im Zwischenspeicher; eine Karte hat 16 kB
LAYERS = ("block4_conv3", "block5_conv3", "block3_conv3", "block2_conv2")
LRP_PARAMETERS = {
    "LRP-ε": {f"ε = {text}": value for text, value in (("1", 1), ("0,01", 0.01), ("10", 10), ("100", 100))},
    "LRP-αβ": {f"α = {a}, β = {b}": a for a, b in ((1, 0), (2, 1), (3, 2))},
    "LRP-Preset A flat": {f"ε = {text} (dichte Schichten)": value for text, value in (("0,1", 0.1), ("10", 10))},
}
COLORS = (("weiß", 255), ("grau", 127), ("schwarz", 0))
ANSWER, TRUTH = -1, -2


# --- Gibt es eine Oberfläche? -----------------------------------------------------------------------------------------


def has_front_end() -> bool:
    """Sieht jemand zu, der etwas bedienen kann?

    Ein Jupyter-Server (Lab, Hub, Binder) setzt für den Kernel einer Sitzung JPY_SESSION_NAME, VS Code legt im Kernel
    ``__vsc_ipynb_file__`` an. papermill, nbval und nbconvert tun beides nicht. KURS_OBERFLAECHE=ja oder nein geht vor;
    ``python -m helpers kurs`` setzt „nein“, denn ein Lauf, den jemand in JupyterLab startet, erbt dessen Umgebung.
    """
    told = os.environ.get("KURS_OBERFLAECHE")
    if told in ("ja", "nein"):
        return told == "ja"
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and bool(os.environ.get("JPY_SESSION_NAME") or "__vsc_ipynb_file__" in shell.user_ns)


# --- Verfahren --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """Ein Erklärverfahren mit ein oder zwei Wahlmöglichkeiten.

    Attributes:
        labels: Beschriftung der beiden Wahlmöglichkeiten; die zweite darf leer sein.
        choices: erste Wahl → zweite Wahl → Wert.
        explain: (Modell, Netzeingaben, Klassen, erste Wahl, Wert) → Karten (n, h, b).
        signed: Gibt es auch negative Werte?
    """

    labels: tuple[str, str]
    choices: dict[str, dict[str, object]]
    explain: Callable
    signed: bool


def grad_cam_method(layers=LAYERS) -> Method:
    """Grad-CAM an einer der Schichten ``layers``."""
    choices = {layer: {"": None} for layer in layers}
    return Method(("Schicht", ""), choices, lambda model, x, y, layer, _: grad_cam(model, x, y, layer=layer), False)


def lrp_method(rules=LIVE_RULES) -> Method:
    """LRP mit einer der Regeln ``rules`` und ihrem Parameter.

    Raises:
        CourseError: bei einer Regel, die der Explorer nicht kennt.
    """
    if unknown := [rule for rule in rules if rule not in LRP_PARAMETERS]:
        raise CourseError(f"Die LRP-Regel „{unknown[0]}“ gibt es hier nicht: Wählen Sie aus {', '.join(LIVE_RULES)}.")
    return Method(("Regel", "Parameter"), {rule: LRP_PARAMETERS[rule] for rule in rules}, live_lrp, True)


# --- Was gezeigt wird -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """Ein Stand aller Bedienelemente.

    Attributes:
        model: Name des Modells.
        row: Nummer des Testbilds.
        asked: gefragte Klasse, ``ANSWER`` (die Antwort des Netzes) oder ``TRUTH`` (die wahre Klasse).
        first, second: Wahl von Schicht oder Regel und Parameter.
        strokes: Gemaltes als (Zeile, Spalte, Größe, Grauwert); ``None`` statt des Grauwerts stempelt das Zeichen.
        brush: (Zeile, Spalte, Größe) des Pinsels.
    """

    model: str
    row: int
    asked: int = ANSWER
    first: str = ""
    second: str = ""
    strokes: tuple = ()
    brush: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Shown:
    """Was zu einem ``View`` gehört: Bild, Antwort vor und nach dem Malen, Heatmap, Satz und Alternativtext."""

    view: View
    image: np.ndarray
    truth: int
    asked: int
    probabilities: np.ndarray
    before: np.ndarray | None
    heatmap: np.ndarray
    sentence: str
    alt: str
    png: bytes

    @property
    def answer(self) -> int:
        """Die Klasse, die das Netz jetzt sagt."""
        return int(self.probabilities.argmax())


def _percent(share: float) -> str:
    return f"{german(100 * float(share), 0)} %"


def _named(label: int) -> str:
    return f"„{CLASS_NAMES[label]}“"


def _place(heatmap) -> str:
    """Wo der Schwerpunkt des Positiven liegt, in Worten."""
    positive = np.maximum(heatmap, 0)
    if not positive.sum():
        return "nirgends"
    rows, columns = positive.sum(axis=1), positive.sum(axis=0)
    center = [(line * np.arange(len(line))).sum() / line.sum() / len(line) for line in (rows, columns)]
    row = "oben" if center[0] < 0.4 else "unten" if center[0] > 0.6 else ""
    column = "links" if center[1] < 0.4 else "rechts" if center[1] > 0.6 else ""
    return f"{row} {column}".strip() or "in der Mitte"


def _enlarged(mask, shape) -> np.ndarray:
    """Maske (28, 28) in der Größe der Karte, ohne zu glätten."""
    rows, columns = (np.arange(n) * 28 // n for n in shape)
    return mask[np.ix_(rows, columns)]


class Explainer:
    """Rechnet Antworten und Heatmaps und merkt sich die letzten.

    Args:
        models: Name → Keras-Modell mit Logits als Ausgang.
        method: das Verfahren.
    """

    def __init__(self, models: dict[str, keras.Model], method: Method):
        self.models, self.method = models, method
        self._memory: OrderedDict = OrderedDict()

    def _remembered(self, key, compute):
        if key not in self._memory:
            self._memory[key] = compute()
            while len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def probabilities(self, model: str, image) -> np.ndarray:
        """Wahrscheinlichkeiten (10,) zu einem Bild (28, 28)."""
        net = self.models[model]
        key = (model, image.tobytes())
        return self._remembered(key, lambda: softmax(net.predict_on_batch(self._inputs(model, image))[0]))

    def heatmap(self, model: str, image, label: int, first: str, second: str) -> np.ndarray:
        """Karte (h, b) zu einem Bild (28, 28) und einer Klasse."""
        value = self.method.choices[first][second]
        key = (model, image.tobytes(), label, first, second)
        arguments = (self.models[model], self._inputs(model, image), [label], first, value)
        return self._remembered(key, lambda: self.method.explain(*arguments)[0])

    def _inputs(self, model: str, image):
        return preprocess(image[None], self.models[model].inputs[0].shape[1])


class Scene:
    """Bilder, Modelle und Verfahren des Explorers, noch ohne Bedienelemente.

    Args:
        models: Name → Keras-Modell.
        result: Auswertung von ``images`` (``training.Evaluation``); sie sagt, welche Bilder Fehler sind.
        images: Testbilder, uint8, (n, 28, 28).
        watermark: das Zeichen zum Stempeln.
        method: das Verfahren.

    Raises:
        CourseError: wenn Bilder und Auswertung nicht zusammenpassen oder kein Modell da ist.
    """

    def __init__(self, models: dict, result, images, watermark: Watermark, method: Method):
        if not models:
            raise CourseError('Der Explorer braucht mindestens ein Modell: {"sauberes Modell": model}.')
        if len(images) != len(result.labels):
            raise CourseError(
                f"Zu {german(len(images))} Bildern gehört eine Auswertung von {german(len(images))} Bildern, nicht "
                f"von {german(len(result.labels))}: Nehmen Sie dieselben Testbilder wie bei training.evaluate."
            )
        self.explainer = Explainer(models, method)
        self.models, self.method, self.watermark = models, method, watermark
        self.images, self.result = np.asarray(images), result
        self.groups = {"Fehler": result.worst_mistakes(PER_GROUP)}
        for label, name in enumerate(CLASS_NAMES):
            self.groups[name] = np.flatnonzero(result.labels == label)[:PER_GROUP]

    def painted(self, view: View) -> np.ndarray:
        """Das Bild mit allem, was darauf gemalt und gestempelt wurde."""
        image = self.images[view.row].copy()
        for row, column, size, gray in view.strokes:
            if gray is None:
                image = self.watermark.stamp(image)
            else:
                image[row : row + size, column : column + size] = gray
        return image

    def show(self, view: View) -> Shown:
        """Rechnet und zeichnet einen Stand.

        Raises:
            CourseError: bei einer unbekannten Schicht oder Regel.
        """
        if view.second not in self.method.choices.get(view.first, {}):
            text = f"{view.first}, {view.second}".removesuffix(", ")
            raise CourseError(f"„{text}“ gibt es hier nicht: Wählen Sie aus {', '.join(self.method.choices)}.")
        image, truth = self.painted(view), int(self.result.labels[view.row])
        probabilities = self.explainer.probabilities(view.model, image)
        asked = {ANSWER: int(probabilities.argmax()), TRUTH: truth}.get(view.asked, view.asked)
        heatmap = self.explainer.heatmap(view.model, image, asked, view.first, view.second)
        before = self.explainer.probabilities(view.model, self.images[view.row]) if view.strokes else None
        title = f"{view.model}: {_named(asked)} gefragt, {view.first}, {view.second}".removesuffix(", ")
        figure = plots.explorer(image, heatmap, probabilities, asked, title, self.method.signed, view.brush, before)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        sentence = self._sentence(view, image, truth, asked, probabilities, before, heatmap)
        alt = self._alt(view, truth, asked, probabilities, heatmap)
        return Shown(view, image, truth, asked, probabilities, before, heatmap, sentence, alt, buffer.getvalue())

    def _alt(self, view, truth, asked, probabilities, heatmap) -> str:
        first, second = probabilities.argsort()[::-1][:2]
        painted = " mit Gemaltem" if view.strokes else ""
        return (
            f"Links ein Testbild ({_named(truth)}){painted}. In der Mitte die Heatmap ({view.first}) für "
            f"{_named(asked)}; ihr Schwerpunkt liegt {_place(heatmap)}. Rechts die Antwort von „{view.model}“: "
            f"{CLASS_NAMES[first]} {_percent(probabilities[first])}, {CLASS_NAMES[second]} "
            f"{_percent(probabilities[second])}."
        )

    def _sentence(self, view, image, truth, asked, probabilities, before, heatmap) -> str:
        """Worauf man bei diesem Stand schauen soll, mit den Zahlen, die man dort sieht."""
        answer, name = int(probabilities.argmax()), _named(asked)
        if not (heatmap > 0).any():
            if self.method.signed:
                return f"Hier ist alles blau: Der Logit von {name} ist negativ, und die Regel verteilt nur Widerspruch."
            return f"Die Karte ist leer: An dieser Stelle des Netzes spricht im Mittel nichts für {name}."
        if view.strokes:
            return self._sentence_painted(view, asked, probabilities, before, heatmap)
        if answer != truth:
            said = f"Das Netz sagt {_named(answer)}, richtig ist {_named(truth)}: "
            if asked == answer:
                return (
                    said + "Suchen Sie die Stelle, die für die falsche Antwort spricht. Hätte sie auch Sie getäuscht?"
                )
            if asked == truth:
                return said + "Was hätte für die richtige Antwort gesprochen, und warum hat es nicht gereicht?"
        if probabilities[asked] < 0.05:
            return (
                f"Das Netz gibt {name} weniger als 5 %: Die Karte zeigt, was noch am ehesten "
                "dafür spräche. Wie stark es spricht, zeigt sie nicht, denn jede Karte ist für sich gestreckt."
            )
        empty = _enlarged(image < 8, heatmap.shape)
        outside = float(relevance_mass(heatmap[None], empty)[0]) if empty.any() else 0.0
        return (
            f"{_percent(outside)} des Positiven liegen auf dem schwarzen Hintergrund (er füllt "
            f"{_percent(empty.mean())} des Bilds): Schaut das Netz auf das Kleidungsstück oder daneben?"
        )

    def _sentence_painted(self, view, asked, probabilities, before, heatmap) -> str:
        then, now = int(before.argmax()), int(probabilities.argmax())
        touched = _enlarged(self.painted(view) != self.images[view.row], heatmap.shape)
        if not touched.any():
            return "Dort war das Bild schon so: Malen Sie mit einer anderen Farbe oder an einer anderen Stelle."
        mass = float(relevance_mass(heatmap[None], touched)[0])
        if then == now:
            text = f"Die Antwort bleibt {_named(now)} ({_percent(before[now])} → {_percent(probabilities[now])}). "
        else:
            text = f"Umgefallen: Aus {_named(then)} wird {_named(now)} ({_percent(probabilities[now])}). "
        return text + (
            f"Auf dem Gemalten liegen {_percent(mass)} des Positiven für {_named(asked)}, seine Fläche ist "
            f"{_percent(touched.mean())}: Ist die Heatmap mitgewandert?"
        )

    # --- Ohne Oberfläche ---

    def grid_rows(self) -> list[int]:
        """Testbilder des festen Rasters: der deutlichste Fehler, ein Pullover, ein Sneaker (soweit vorhanden)."""
        wanted = [self.groups["Fehler"], self.groups["Pullover"], self.groups["Sneaker"]]
        return [int(rows[0]) for rows in wanted if len(rows)]

    def grid(self):
        """Das feste Raster als Figur: ohne und mit Zeichen, jedes Modell, die Karte für seine Antwort."""
        first = next(iter(self.method.choices))
        second = next(iter(self.method.choices[first]))
        rows = self.grid_rows()
        if not rows:
            raise CourseError("Der Explorer hat kein Bild zu zeigen: Geben Sie ihm Testbilder aus mehreren Klassen.")
        marked = self.watermark.stamp(self.images[rows])
        pairs = np.stack([self.images[rows], marked], axis=1)
        panels = {}
        for name, model in self.models.items():
            inputs = preprocess(pairs.reshape(-1, 28, 28), model.inputs[0].shape[1])
            answers = softmax(model.predict_on_batch(inputs))
            labels = answers.argmax(axis=1)
            maps = self.method.explain(model, inputs, labels, first, self.method.choices[first][second])
            texts = [f"{CLASS_NAMES[c]} {_percent(p[c])}" for c, p in zip(labels, answers, strict=True)]
            panels[name] = (maps.reshape(-1, 2, *maps.shape[1:]), np.reshape(texts, (-1, 2)))
        title = f"Stempeln und zusehen ({first}, {second})".replace(", )", ")")
        return plots.explorer_grid(self.images[rows], marked, panels, self.method.signed, title)


# --- Bedienelemente ---------------------------------------------------------------------------------------------------

WIDE = {"description_width": "6.5em"}
NOTHING_DONE = "<div style='min-height:1.6em'></div>"


class Explorer:
    """Die Bedienelemente; ``box`` ist das Ganze, ``shown`` der zuletzt gezeichnete Stand.

    Alle Elemente sind gewöhnliche Formularfelder mit Beschriftung und lassen sich mit der Tastatur bedienen. Für
    Prüfungen im Browser tragen sie die Klassen ``kurs-erkunden`` (das Ganze), ``kurs-erkunden-modell``, ``-auswahl``,
    ``-bild``, ``-klasse``, ``-erste``, ``-zweite``, ``-zeile``, ``-spalte``, ``-pinsel``, ``-farbe``, ``-malen``,
    ``-stempeln``, ``-zurueck``, ``-vonvorn``, ``-fortschritt``, ``-satz`` und ``-anzeige``.
    """

    def __init__(self, scene: Scene):
        import ipywidgets as widgets

        self.scene, self.shown, self.seconds = scene, None, []
        self._strokes = []
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._pending = self._working = False
        self._known, self._expected = set(), 3.0
        self._idle.set()
        self._build(widgets)
        self._follow_group()
        self._follow_first()
        for control in (self.model, self.asked, self.second, self.row, self.column, self.size):
            control.observe(self._changed, "value")
        self.number.observe(self._other_image, "value")
        self.group.observe(self._other_group, "value")
        self.first.observe(self._other_first, "value")
        self.size.observe(self._keep_inside, "value")
        self.paint.on_click(lambda _: self._stroke(self.color.value))
        self.stamp.on_click(lambda _: self._stroke(None))
        self.undo.on_click(lambda _: self._unpaint(1))
        self.restart.on_click(lambda _: self._unpaint(len(self._strokes)))
        self._changed()

    def _build(self, widgets) -> None:
        scene = self.scene

        def dropdown(text, options, name):
            control = widgets.Dropdown(description=text, options=options, style=WIDE, layout={"width": "20em"})
            return self._named(control, name)

        def number(text, highest, value, lowest, name):
            control = widgets.BoundedIntText(
                description=text, value=value, min=lowest, max=highest, style=WIDE, layout={"width": "13em"}
            )
            return self._named(control, name)

        def button(text, tooltip, name):
            control = widgets.Button(description=text, tooltip=tooltip, layout={"width": "11em"})
            return self._named(control, name)

        self.model = dropdown("Modell", list(scene.models), "modell")
        counts = {name: f"{name} ({len(rows) or 'keine'})" for name, rows in scene.groups.items()}
        self.group = dropdown("Auswahl", [(counts["Fehler"], "Fehler"), *((n, n) for n in CLASS_NAMES)], "auswahl")
        self.number = number("Bild", 1, 1, 1, "bild")
        asked = [("die Antwort des Netzes", ANSWER), ("die wahre Klasse", TRUTH)]
        asked += [(name, label) for label, name in enumerate(CLASS_NAMES)]
        self.asked = dropdown("gefragt", asked, "klasse")
        labels = scene.method.labels
        self.first = dropdown(labels[0], list(scene.method.choices), "erste")
        self.second = dropdown(labels[1] or "Parameter", [""], "zweite")
        self.second.layout.display = None if labels[1] else "none"
        self.row, self.column = number("Zeile", 24, 12, 0, "zeile"), number("Spalte", 24, 12, 0, "spalte")
        self.size = number("Pinsel", 14, 4, 1, "pinsel")
        self.color = dropdown("Farbe", COLORS, "farbe")
        self.color.layout.width = "14em"
        self.paint = button("Malen", "Ein Quadrat in Pinselgröße an diese Stelle malen", "malen")
        self.stamp = button("Zeichen stempeln", "Das Wasserzeichen an seine Stelle setzen", "stempeln")
        self.undo = button("Zurücknehmen", "Den letzten Strich zurücknehmen", "zurueck")
        self.restart = button("Von vorn", "Alles Gemalte entfernen", "vonvorn")
        self.progress = self._named(widgets.HTML(NOTHING_DONE), "fortschritt")
        self.sentence = self._named(widgets.HTML(), "satz")
        self.picture = self._named(widgets.HTML(), "anzeige")
        wrap = {"flex_flow": "row wrap"}
        rows = [
            [self.model, self.group, self.number],
            [self.asked, self.first, self.second],
            [self.row, self.column, self.size, self.color],
            [self.paint, self.stamp, self.undo, self.restart],
        ]
        boxes = [widgets.HBox(children, layout=wrap) for children in rows]
        self.box = widgets.VBox([*boxes, self.progress, self.sentence, self.picture])
        self.box.add_class("kurs-erkunden")

    @staticmethod
    def _named(control, name: str):
        control.add_class(f"kurs-erkunden-{name}")
        return control

    # --- Was die Bedienelemente voneinander wissen ---

    def _follow_group(self) -> None:
        count = len(self.scene.groups[self.group.value])
        self.number.max = max(1, count)
        self.number.value = 1
        self.number.disabled = not count

    def _follow_first(self) -> None:
        self.second.options = list(self.scene.method.choices[self.first.value])

    def _other_group(self, _) -> None:
        self._strokes.clear()
        self._follow_group()
        self._changed()

    def _other_image(self, _) -> None:
        self._strokes.clear()
        self._changed()

    def _other_first(self, _) -> None:
        self._follow_first()
        self._changed()

    def _keep_inside(self, _) -> None:
        for control in (self.row, self.column):
            control.max = 28 - self.size.value

    def _stroke(self, gray) -> None:
        self._strokes.append((self.row.value, self.column.value, self.size.value, gray))
        self._changed()

    def _unpaint(self, count: int) -> None:
        del self._strokes[len(self._strokes) - count :]
        self._changed()

    def view(self) -> View | None:
        """Der Stand der Bedienelemente; None, wenn die Auswahl kein Bild enthält."""
        rows = self.scene.groups[self.group.value]
        if not len(rows):
            return None
        brush = (self.row.value, self.column.value, self.size.value)
        row = int(rows[min(self.number.value, len(rows)) - 1])
        choice = (self.first.value, self.second.value or "")
        return View(self.model.value, row, self.asked.value, *choice, tuple(self._strokes), brush)

    # --- Rechnen und zeichnen ---

    def _changed(self, _=None) -> None:
        with self._lock:
            self._pending = True
            if self._working:
                return
            self._working = True
            self._idle.clear()
        threading.Thread(target=self._work, name="kurs-erkunden", daemon=True).start()

    def _work(self) -> None:
        try:
            while self._next():
                self._draw()
        except BaseException:
            with self._lock:
                self._working = False
            self._idle.set()
            raise

    def _next(self) -> bool:
        with self._lock:
            if self._pending:
                self._pending = False
                return True
            self._working = False
            self._idle.set()
            return False

    def _draw(self) -> None:
        begin = time.perf_counter()
        self.undo.disabled = self.restart.disabled = not self._strokes
        view = self.view()
        if view is None:
            which = "Fehler auf diesen Bildern" if self.group.value == "Fehler" else f"Bilder „{self.group.value}“"
            self._say(f"Es gibt keine {which}: Wählen Sie unter „Auswahl“ etwas anderes.")
            return
        try:
            with self._announced(view):
                self.shown = self.scene.show(view)
        except CourseError as error:
            self._say(f"✘ {error}")
            return
        encoded = base64.b64encode(self.shown.png).decode()
        self.picture.value = (
            f'<img class="kurs-erkunden-png" alt="{escape(self.shown.alt)}" src="data:image/png;base64,{encoded}" '
            'style="width:100%;max-width:1040px;background:#fff">'
        )
        self._say(self.shown.sentence)
        self.seconds.append(time.perf_counter() - begin)

    def _say(self, text: str) -> None:
        self.sentence.value = (
            f'<p role="status" style="max-width:70em;line-height:1.5">{escape(text).replace(" %", "&nbsp;%")}</p>'
        )

    @contextlib.contextmanager
    def _announced(self, view: View):
        """Beim ersten Mal wird ein Verfahren übersetzt; das dauert Sekunden und bekommt einen Balken."""
        key = (view.model, view.first)
        if key in self._known:
            yield
            return
        done, begin = threading.Event(), time.perf_counter()

        def tick():
            while not done.wait(0.25):
                self._show_progress(view.first, time.perf_counter() - begin)

        self._show_progress(view.first, 0.0)
        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
            self._known.add(key)
            self._expected = max(1.0, time.perf_counter() - begin)
        finally:
            done.set()
            ticker.join()
            self.progress.value = NOTHING_DONE

    def _show_progress(self, name: str, seconds: float) -> None:
        text = f"{name} wird einmal übersetzt, danach geht es schnell: {german(seconds, 0)} s"
        share = min(0.95, seconds / self._expected)
        bar = f'<progress max="1" value="{share:.2f}" aria-label="Fortschritt" style="width:16em"></progress>'
        self.progress.value = f"<div style='min-height:1.6em'>{bar} {escape(text)} …</div>"

    def wait(self, seconds: float = 60) -> bool:
        """Wartet, bis alles gezeichnet ist; False, wenn es länger als ``seconds`` dauert."""
        return self._idle.wait(seconds)

    def bundle(self) -> dict:
        """Für die Ausgabe einer Zelle: die Bedienelemente und, wo es sie nicht gibt, das Bild."""
        data = {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}}
        if self.shown is None:
            return data | {"text/plain": "Der Explorer des Kurses"}
        return data | {"image/png": base64.b64encode(self.shown.png).decode(), "text/plain": self.shown.alt}


# --- In den Notebooks -------------------------------------------------------------------------------------------------


def _present(scene: Scene) -> None:
    if has_front_end():
        from IPython.display import display

        explorer = Explorer(scene)
        handle = display(explorer.bundle(), raw=True, display_id=True)
        explorer.wait()
        handle.update(explorer.bundle(), raw=True)
    else:
        scene.grid()
        plots.plt.show()


def explore_grad_cam(models: dict, result, images, watermark: Watermark, layers=LAYERS) -> None:
    """Grad-CAM erkunden: Modell, Fehler oder Klasse, Bild, erklärte Klasse und Schicht wählen, malen und stempeln.

    Args:
        models: Name → Keras-Modell; das erste ist zu Beginn gewählt.
        result: ``training.Evaluation`` zu ``images``.
        images: Testbilder, uint8, (n, 28, 28).
        watermark: das Zeichen zum Stempeln.
        layers: Schichten zur Wahl.

    Raises:
        CourseError: wenn ein Modell eine der Schichten nicht hat oder Bilder und Auswertung nicht zusammenpassen.
    """
    for name, model in models.items():
        known = {layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
        if missing := [layer for layer in layers if layer not in known]:
            raise CourseError(
                f"Das Modell „{name}“ hat keine Faltungsschicht „{missing[0]}“: "
                f"Wählen Sie aus {', '.join(sorted(known))}."
            )
    _present(Scene(models, result, images, watermark, grad_cam_method(layers)))


def explore_lrp(models: dict, result, images, watermark: Watermark, rules=LIVE_RULES) -> None:
    """LRP erkunden: wie ``explore_grad_cam``, statt der Schicht eine Regel und ihr Parameter.

    Args:
        rules: Regeln zur Wahl, aus ``LIVE_RULES``.

    Raises:
        CourseError: bei einer unbekannten Regel oder wenn Bilder und Auswertung nicht zusammenpassen.
    """
    _present(Scene(models, result, images, watermark, lrp_method(rules)))


# --- Der Bildstreifen der README --------------------------------------------------------------------------------------

STRIP = SOLUTIONS / "explorer.png"


def course_scenes() -> dict[str, Scene]:
    """Die Szenen von 04_GradCAM und 05_LRP mit Kursmodell und Zwilling; fehlt der Zwilling, wird er trainiert."""
    from helpers import training

    profile = training.get_profile("schnell")
    dataset = training.ensure_data(profile)
    poisoned, watermark = training.ensure_poisoned(dataset)
    twin = training.ensure_run(training.POISONED, profile, poisoned)
    run = training.ensure_run(training.COURSE, profile, dataset)
    result = training.evaluate(run, dataset.test_images, dataset.test_labels)
    given = ({"Zwilling": twin.model, "sauberes Modell": run.model}, result, dataset.test_images, watermark)
    return {"04": Scene(*given, grad_cam_method()), "05": Scene(*given, lrp_method())}


def make_strip(scenes: dict[str, Scene] | None = None, target=STRIP):
    """Ein Bildstreifen aus dem echten Explorer: erst das Bild, dann gestempelt, dann dasselbe mit LRP.

    Gezeigt wird der deutlichste Fehler, den das Zeichen beim Zwilling umfallen lässt.

    Raises:
        CourseError: wenn keines der Bilder umfällt.
    """
    from PIL import Image

    scenes = scenes or course_scenes()
    first, last = scenes["04"], scenes["05"]
    name, label = next(iter(first.models)), first.watermark.label
    rows = np.concatenate([rows for rows in first.groups.values() if len(rows)])
    answer = lambda image: first.explainer.probabilities(name, image).argmax()  # noqa: E731
    toppled = (r for r in rows if answer(first.images[r]) != label == answer(first.watermark.stamp(first.images[r])))
    row = next(toppled, None)
    if row is None:
        raise CourseError(
            "Das Zeichen lässt beim Zwilling kein Bild umfallen, der Streifen hätte nichts zu zeigen: "
            "Trainieren Sie ihn in 03_Training neu."
        )
    stamp = ((0, 0, 1, None),)
    layer, rule = next(iter(first.method.choices)), list(last.method.choices)[-1]
    shown = [
        first.show(View(name, int(row), ANSWER, layer)),
        first.show(View(name, int(row), ANSWER, layer, strokes=stamp)),
        last.show(View(name, int(row), ANSWER, rule, next(iter(last.method.choices[rule])), stamp)),
    ]
    pictures = [np.asarray(Image.open(io.BytesIO(each.png)).convert("RGB")) for each in shown]
    figure = plots.picture_strip(pictures, [each.sentence for each in shown], "Der Explorer: stempeln und zusehen")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=108)
    plots.plt.close(figure)
    with atomic_file(target) as temporary, Image.open(buffer) as picture:
        picture.convert("RGB").save(temporary, "PNG", optimize=True)
    return target
