"""Erkunden: Bild, Klasse und Verfahren wählen, übermalen, und zusehen, wie Antwort und Heatmap mitziehen.

Mit einer Oberfläche (JupyterLab, JupyterHub, VS Code) entstehen Bedienelemente, ohne sie (papermill, nbval, HTML) ein
festes Raster. Jeder Stand wird mit den Gewichten von jetzt neu gerechnet, in einem eigenen Thread: Der Kernel bleibt
frei, und ändert sich währenddessen noch etwas, zählt nur der letzte Stand.
"""

import base64
import io
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property, partial
from html import escape

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.basics import CLASS_NAMES, WIDGET_VIEW, CourseError, german, has_front_end
from helpers.data import Watermark
from helpers.gradcam import grad_cam
from helpers.inner import panels
from helpers.lrp import alpha_beta, bounded_pixels, epsilon, flat, gamma, preset_a, relevance
from helpers.metrics import relevance_mass
from helpers.model import enlarge_mask, preprocess, softmax

ANSWER, TRUTH, STAMP = -1, -2, "Zeichen"
LAYERS = ("block4_conv3", "block5_conv3", "block3_conv3", "block2_conv2")
LRP_CHOICES = {
    **{f"LRP-ε, ε = {text}": epsilon(value) for text, value in (("1", 1), ("0,01", 0.01), ("10", 10), ("100", 100))},
    **{f"LRP-αβ, α = {alpha}, β = {alpha - 1}": alpha_beta(alpha, alpha - 1) for alpha in (1, 2, 3)},
    "LRP-ε + z^B, ε = 1": bounded_pixels(epsilon(1)),
    "LRP-γ + z^B, γ = 0,25": bounded_pixels(gamma(0.25)),
    "LRP-Preset A flat, ε = 0,1 (dichte Schichten)": preset_a(0.1, lowest=flat),
    "LRP-Preset A flat, ε = 10 (dichte Schichten)": preset_a(10, lowest=flat),
}


def explore_grad_cam(models: dict, results: dict, images, watermark: Watermark) -> None:
    """Grad-CAM erkunden: Modell, Bild, gefragte Klasse und Schicht wählen, malen und stempeln; Werte wie ``Scene``."""
    _present(Scene(models, results, images, watermark, LAYERS))


def explore_lrp(models: dict, results: dict, images, watermark: Watermark) -> None:
    """LRP erkunden: wie ``explore_grad_cam``, statt der Schicht eine Regel mit ihrem Parameter."""
    _present(Scene(models, results, images, watermark))


def _present(scene: "Scene") -> None:
    if has_front_end():
        from IPython.display import display

        explorer = Explorer(scene)
        handle = display(explorer.bundle(), raw=True, display_id=True)
        explorer.wait()
        handle.update(explorer.bundle(), raw=True)  # jetzt auch mit Bild, für gespeicherte Notebooks
    else:
        scene.grid()
        plt.show()


class Scene:
    """Bilder, Modelle und Verfahren des Explorers, noch ohne Bedienelemente.

    ``models``: Name → Keras-Modell mit Logits als Ausgang, das erste ist zu Beginn gewählt; ``results``: Name →
    ``training.Evaluation`` dieses Modells auf ``images`` (uint8, (n, 28, 28)), sie sagt, was seine Fehler sind;
    ``layers``: Schichten für Grad-CAM, ohne sie ist LRP das Verfahren.

    Raises:
        CourseError: wenn zu einem Modell die Auswertung dieser Bilder fehlt.
    """

    def __init__(self, models: dict, results: dict, images, watermark: Watermark, layers=None):
        for name in models:
            if name not in results or len(results[name].labels) != len(images):
                raise CourseError(
                    f"Zum Modell „{name}“ fehlt die Auswertung dieser {german(len(images))} Bilder: Geben Sie dem "
                    "Explorer je Modell, unter demselben Namen, das Ergebnis von training.evaluate mit diesen Bildern."
                )
        self.models, self.watermark, self.images, self.signed = models, watermark, np.asarray(images), layers is None
        self.labels = next(iter(results.values())).labels
        groups = {f"Fehler: {name}": results[name].worst_mistakes(10) for name in models}
        groups |= {name: np.flatnonzero(self.labels == label)[:10] for label, name in enumerate(CLASS_NAMES)}
        self.groups = {name: rows for name, rows in groups.items() if len(rows)}
        # Schicht oder Regel → Funktion (Modell, Netzeingaben, Klassen) → Karten (n, h, b)
        self.choices = {layer: partial(grad_cam, layer=layer) for layer in layers or ()} or {
            name: partial(relevance, rule=rule) for name, rule in LRP_CHOICES.items()
        }

    def answers(self, model: str, images) -> tuple[np.ndarray, np.ndarray]:
        """Netzeingaben und Wahrscheinlichkeiten (n, 10) zu Bildern (n, 28, 28)."""
        net = self.models[model]
        inputs = preprocess(np.asarray(images), net.inputs[0].shape[1])
        return inputs, softmax(net.predict_on_batch(inputs))

    def grid(self):
        """Das feste Raster: der deutlichste Fehler, ein Pullover und ein Sneaker, ohne und mit Zeichen, je Modell."""
        choice, lines = next(iter(self.choices)), []
        wanted = dict.fromkeys([next(iter(self.groups)), "Pullover", "Sneaker"])
        for rows in (self.groups[name] for name in wanted if name in self.groups):
            line = []
            for name, strokes in {"ohne Zeichen": (), "mit Zeichen": (STAMP,)}.items():
                shown = [Shown(self, model, rows[0], choice, strokes=strokes) for model in self.models]
                line.append(partial(panels.draw_image, image=shown[0].image, title="" if lines else name))
                line += [
                    partial(each.draw_heatmap, title=each.said if lines else f"{each.model}\n{each.said}")
                    for each in shown
                ]
            lines.append(("", line))
        return panels.panel(lines, f"Stempeln und zusehen ({choice})", 1.45)


class Shown:
    """Ein Stand des Explorers, fertig gerechnet: Bild, Antwort und Heatmap, dazu ein Satz mit Zahlen.

    ``row``: Nummer des Testbilds; ``choice``: Schicht oder Regel; ``asked``: gefragte Klasse, ``ANSWER`` (die Antwort
    des Netzes) oder ``TRUTH`` (die wahre); ``strokes``: Gemaltes als (Zeile, Spalte, Größe, Grauwert) oder ``STAMP``;
    ``brush``: (Zeile, Spalte, Größe) des Pinsels.
    """

    def __init__(self, scene: Scene, model: str, row: int, choice: str, asked=ANSWER, strokes=(), brush=None):
        self.model, self.row, self.choice, self.strokes, self.brush = model, row, choice, strokes, brush
        self.original, self.truth, self.signed = scene.images[row], int(scene.labels[row]), scene.signed
        self.image = self.original.copy()
        for stroke in strokes:
            if stroke == STAMP:
                self.image = scene.watermark.stamp(self.image)
            else:
                top, left, size, gray = stroke
                self.image[top : top + size, left : left + size] = gray
        inputs, (self.now, self.before) = scene.answers(model, [self.image, self.original])
        self.answer = int(self.now.argmax())
        self.said = f"{CLASS_NAMES[self.answer]} {percent(self.now.max())}"
        self.asked = {ANSWER: self.answer, TRUTH: self.truth}.get(asked, asked)
        self.heatmap = scene.choices[choice](scene.models[model], inputs[:1], [self.asked])[0]

    @property
    def alt(self) -> str:
        """Das Bild in Worten, für alle, die es nicht sehen."""
        painted = " mit Gemaltem" if self.strokes else ""
        best = ", ".join(f"{CLASS_NAMES[label]} {percent(self.now[label])}" for label in self.now.argsort()[:-3:-1])
        return (
            f"Links ein Testbild ({named(self.truth)}){painted}. In der Mitte die Heatmap ({self.choice}) für "
            f"{named(self.asked)}; ihr Schwerpunkt liegt {place(self.heatmap)}. Rechts die Antwort von "
            f"„{self.model}“: {best}."
        )

    @property
    def sentence(self) -> str:
        """Worauf man bei diesem Stand schauen soll, mit den Zahlen, die man dort sieht."""
        mask = self.image != self.original if self.strokes else self.image < 8
        area = mask.mean()
        mass = relevance_mass(self.heatmap[None], enlarge_mask(mask, len(self.heatmap)))[0] if area else 0
        asked, answer, then = (named(label) for label in (self.asked, self.answer, int(self.before.argmax())))
        now, said = percent(self.now.max()), f"Das Netz sagt {answer}, richtig ist {named(self.truth)}: "
        share = f"{percent(mass)} der positiven Werte für {asked}; sie macht {percent(area)} des Bilds aus"
        moved = f"Auf der bemalten Fläche liegen {share}. Ist die Heatmap mitgewandert?"
        if not (self.heatmap > 0).any():
            blue = f"Hier ist alles blau: Der Logit von {asked} ist negativ, und die Regel verteilt nur Widerspruch."
            empty = f"Die Karte ist leer: An keiner Stelle überwiegt, was für {asked} spricht."
            return blue if self.signed else empty
        if self.strokes and not area:
            return "Dort war das Bild schon so: Malen Sie mit einer anderen Farbe oder an einer anderen Stelle."
        if self.strokes and then == answer:
            return f"Die Antwort bleibt {then} ({percent(self.before.max())} → {now}). {moved}"
        if self.strokes:
            return f"Umgefallen: Aus {then} wird {answer} ({now}). {moved}"
        if self.answer != self.truth == self.asked:
            return said + "Was hätte für die richtige Antwort gesprochen, und warum hat es nicht gereicht?"
        if self.truth != self.answer == self.asked:
            return said + "Suchen Sie die Stelle, die für die falsche Antwort spricht. Hätte sie auch Sie getäuscht?"
        if self.now[self.asked] < 0.05:
            return (
                f"Das Netz gibt {asked} weniger als 5\u00a0%: Die Karte zeigt, was noch am ehesten dafür spräche. "
                "Wie stark es spricht, zeigt sie nicht, denn jede Karte ist für sich gestreckt."
            )
        return (
            f"{percent(mass)} der positiven Werte liegen auf dem schwarzen Grund (er füllt {percent(area)} des Bilds): "
            "Schaut das Netz daneben, oder zählt die Regel Schwarz als starken Eingang?"
        )

    def draw_heatmap(self, ax, title: str):
        """Relevanz oder, wenn es keine negativen Werte gibt, Grad-CAM über dem Bild."""
        if self.signed:
            return panels.draw_relevance(ax, self.heatmap, title)
        return panels.draw_cam(ax, self.image, self.heatmap, title)

    def figure(self) -> Figure:
        """Das Bild zum Malen, die Heatmap und die Antwort; ohne pyplot, also darf ein anderer Thread es zeichnen."""
        figure = Figure(figsize=(10.4, 4.3))
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
        left.imshow(self.image, vmin=0, vmax=255)
        ticks = range(0, 28, 9)
        left.set(title="Bild", xlabel="Spalte (Pixel)", ylabel="Zeile (Pixel)", xticks=ticks, yticks=ticks)
        if self.brush is not None:
            row, column, size = self.brush
            for color, width in (("black", 4), (panels.ORANGE, 2)):
                panels.draw_frame(left, row, column, size, size, color=color, linewidth=width)
        panels.color_scale(figure, self.draw_heatmap(middle, f"Was spricht für {named(self.asked)}?"), middle, 0.9)
        names = [f"{name} {german(100 * float(p), 0):>3}" for name, p in zip(CLASS_NAMES, self.now, strict=True)]
        drawn = right.barh(range(10), 100 * self.now, 0.72, color=panels.SKY, label="jetzt", tick_label=names)
        drawn[self.asked].set(hatch="///", edgecolor="black")
        if self.strokes:
            right.plot(100 * self.before, range(10), "D", color=panels.VERMILION, label="vor dem Malen")
            right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2)
        right.invert_yaxis()
        right.set(xlim=(0, 102), xlabel="Wahrscheinlichkeit (%)", title="Antwort des Netzes")
        figure.suptitle(f"{self.model}: {named(self.asked)} gefragt, {self.choice}")
        return figure

    @cached_property
    def png(self) -> bytes:
        """Das Bild des Explorers."""
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png")
        return buffer.getvalue()


def percent(share: float) -> str:
    """0,123 → „12 %“, mit geschütztem Leerzeichen."""
    return f"{german(100 * float(share), 0)}\u00a0%"


def named(label: int) -> str:
    """4 → „Mantel“ in Anführungszeichen."""
    return f"„{CLASS_NAMES[label]}“"


def place(heatmap) -> str:
    """Wo der Schwerpunkt des Positiven liegt, in Worten."""
    from scipy.ndimage import center_of_mass

    row, column = np.divide(center_of_mass(np.maximum(heatmap, 1e-12)), heatmap.shape)
    vertical = "oben" if row < 0.4 else "unten" if row > 0.6 else ""
    horizontal = "links" if column < 0.4 else "rechts" if column > 0.6 else ""
    return f"{vertical} {horizontal}".strip() or "in der Mitte"


class Explorer:
    """Die Bedienelemente; ``box`` ist das Ganze, ``shown`` der zuletzt gezeichnete Stand.

    Alle Elemente sind gewöhnliche Formularfelder mit Beschriftung und lassen sich mit der Tastatur bedienen. Für
    Prüfungen im Browser tragen sie Klassen: ``kurs-erkunden`` und dahinter das letzte Wort ihrer Beschriftung.
    """

    def __init__(self, scene: Scene):
        import ipywidgets as widgets

        def field(kind, text: str, **options):
            control = kind(description=text, **options)
            control.add_class(f"kurs-erkunden-{text.split()[-1].lower()}")
            return control

        style = {"description_width": "6.5em"}
        # So breit wie der längste Eintrag: „ε = 0,1 (dichte Schichten)“ soll man ganz lesen.
        wide = {"width": "max-content", "min_width": "14em"}
        choose = partial(field, widgets.Dropdown, style=style, layout=wide)
        number = partial(field, widgets.BoundedIntText, style=style, layout={"width": "13em"})
        button = partial(field, widgets.Button, layout={"width": "11em"})
        asked = {"die Antwort des Netzes": ANSWER, "die wahre Klasse": TRUTH}
        asked |= {name: label for label, name in enumerate(CLASS_NAMES)}
        self.model = choose("Modell", options=list(scene.models))
        self.group = choose("Auswahl", options=list(scene.groups))
        self.number, self.asked = number("Bild", min=1, max=1, value=1), choose("gefragt", options=asked)
        self.choice = choose("Regel" if scene.signed else "Schicht", options=list(scene.choices))
        self.row, self.column = (number(text, min=0, max=27, value=12) for text in ("Zeile", "Spalte"))
        self.size = number("Pinsel", min=1, max=14, value=4)
        self.color = choose("Farbe", options={"weiß": 255, "grau": 127, "schwarz": 0})
        names = "Malen", "Zeichen stempeln", "Zurücknehmen", "Von vorn"
        self.paint, self.stamp, self.undo, self.restart = (button(name) for name in names)
        self.progress, self.sentence, self.picture = (widgets.HTML() for _ in range(3))
        self.progress.layout.min_height = "1.8em"  # damit nichts springt
        brush = self.row, self.column, self.size, self.color
        rows = (
            (self.model, self.group, self.number),
            (self.asked, self.choice),
            brush,
            (self.paint, self.stamp, self.undo, self.restart),
        )
        boxes = [widgets.HBox(each, layout={"flex_flow": "row wrap"}) for each in rows]
        self.box = widgets.VBox([*boxes, self.progress, self.sentence, self.picture])
        self.box.add_class("kurs-erkunden")

        self.scene, self.shown, self.strokes = scene, None, []
        self._thread, self._changes = ThreadPoolExecutor(1, "kurs-erkunden"), 0
        for control in (self.model, self.asked, self.choice, self.row, self.column, self.size):
            control.observe(self._changed, "value")
        self.group.observe(self._follow_group, "value")
        self.number.observe(lambda _: self._repaint([]), "value")
        self.paint.on_click(lambda _: self._repaint([*self.strokes, tuple(each.value for each in brush)]))
        self.stamp.on_click(lambda _: self._repaint([*self.strokes, STAMP]))
        self.undo.on_click(lambda _: self._repaint(self.strokes[:-1]))
        self.restart.on_click(lambda _: self._repaint([]))
        self._follow_group()

    def _follow_group(self, _=None) -> None:
        self.number.max, self.number.value = len(self.scene.groups[self.group.value]), 1
        self._repaint([])

    def _repaint(self, strokes: list) -> None:
        self.strokes = strokes
        self._changed()

    def _changed(self, _=None) -> None:
        row = self.scene.groups[self.group.value][self.number.value - 1]
        brush = self.row.value, self.column.value, self.size.value
        state = self.model.value, int(row), self.choice.value, self.asked.value, self.strokes, brush
        self._changes += 1
        self._drawing = self._thread.submit(self._draw, self._changes, state)
        self._drawing.add_done_callback(Future.result)  # ein unerwarteter Fehler soll sichtbar werden

    def wait(self, seconds: float = 60) -> bool:
        """Wartet, bis alles gezeichnet ist; False, wenn es länger als ``seconds`` dauert."""
        return not wait([self._drawing], seconds).not_done

    def _draw(self, change: int, state: tuple) -> None:
        if change != self._changes:
            return  # inzwischen hat sich noch etwas geändert
        self.progress.value = '<progress aria-label="Fortschritt"></progress> rechnet, beim ersten Mal etwas länger …'
        try:
            self.shown = Shown(self.scene, *state)
            self.picture.value = (
                f'<img class="kurs-erkunden-png" alt="{escape(self.shown.alt)}" style="width:100%;max-width:1040px" '
                f'src="data:image/png;base64,{base64.b64encode(self.shown.png).decode()}">'
            )
            text = self.shown.sentence
        except CourseError as error:
            text = f"✘ {error}"
        finally:
            self.progress.value = ""
        self.sentence.value = f'<p role="status" style="max-width:70em;line-height:1.5">{escape(text)}</p>'

    def bundle(self) -> dict:
        """Für die Ausgabe einer Zelle: die Bedienelemente und, wo es sie nicht gibt, das Bild."""
        data = {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}}
        if self.shown is None:
            return data | {"text/plain": "Der Explorer des Kurses"}
        return data | {"image/png": base64.b64encode(self.shown.png).decode(), "text/plain": self.shown.alt}
