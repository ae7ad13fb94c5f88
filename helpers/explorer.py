"""Erkunden: Bild, Klasse und Verfahren wählen, übermalen, und zusehen, wie Antwort und Heatmap mitziehen.

Mit einer Oberfläche (JupyterLab, JupyterHub, VS Code) entstehen Bedienelemente, ohne sie (papermill, nbval, HTML) ein
festes Raster. Gerechnet und gezeichnet wird in einem eigenen Thread: Der Kernel bleibt frei, und ändert sich
währenddessen noch etwas, zählt nur der letzte Stand. Was gerechnet wird, steht in ``helpers.scene``.
"""

import base64
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from html import escape

import matplotlib.pyplot as plt

from helpers.basics import CLASS_NAMES, WIDGET_VIEW, CourseError
from helpers.data import Watermark
from helpers.model import keras
from helpers.scene import ANSWER, LAYERS, TRUTH, Scene, View, grad_cam_method, lrp_method

COLORS = (("weiß", 255), ("grau", 127), ("schwarz", 0))


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


def explore_grad_cam(models: dict, results: dict, images, watermark: Watermark, layers=LAYERS) -> None:
    """Grad-CAM erkunden: Modell, Fehler oder Klasse, Bild, erklärte Klasse und Schicht wählen, malen und stempeln.

    Args:
        models: Name → Keras-Modell; das erste ist zu Beginn gewählt.
        results: Name → ``training.Evaluation`` dieses Modells zu ``images``.
        images: Testbilder, uint8, (n, 28, 28).
        watermark: das Zeichen zum Stempeln.
        layers: Schichten zur Wahl.

    Raises:
        CourseError: wenn ein Modell eine der Schichten nicht hat oder Bilder und Auswertungen nicht zusammenpassen.
    """
    for name, model in models.items():
        known = {layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
        if missing := [layer for layer in layers if layer not in known]:
            raise CourseError(
                f"Das Modell „{name}“ hat keine Faltungsschicht „{missing[0]}“: "
                f"Wählen Sie aus {', '.join(sorted(known))}."
            )
    _present(Scene(models, results, images, watermark, grad_cam_method(layers)))


def explore_lrp(models: dict, results: dict, images, watermark: Watermark) -> None:
    """LRP erkunden: wie ``explore_grad_cam``, statt der Schicht eine Regel und ihr Parameter.

    Raises:
        CourseError: wenn Bilder und Auswertungen nicht zusammenpassen.
    """
    _present(Scene(models, results, images, watermark, lrp_method()))


def _present(scene: Scene) -> None:
    if has_front_end():
        from IPython.display import display

        explorer = Explorer(scene)
        handle = display(explorer.bundle(), raw=True, display_id=True)
        explorer.wait()
        handle.update(explorer.bundle(), raw=True)
    else:
        scene.grid()
        plt.show()


class Explorer:
    """Die Bedienelemente; ``box`` ist das Ganze, ``shown`` der zuletzt gezeichnete Stand.

    Alle Elemente sind gewöhnliche Formularfelder mit Beschriftung und lassen sich mit der Tastatur bedienen. Für
    Prüfungen im Browser tragen sie die Klassen ``kurs-erkunden`` (das Ganze), ``kurs-erkunden-modell``, ``-auswahl``,
    ``-bild``, ``-klasse``, ``-erste``, ``-zweite``, ``-zeile``, ``-spalte``, ``-pinsel``, ``-farbe``, ``-malen``,
    ``-stempeln``, ``-zurueck``, ``-vonvorn``, ``-fortschritt``, ``-satz`` und ``-anzeige``.
    """

    def __init__(self, scene: Scene):
        self.scene, self.shown = scene, None
        self._strokes: list[tuple] = []
        self._known: set[tuple] = set()  # (Modell, Schicht oder Regel), schon übersetzt
        self._thread, self._changes = ThreadPoolExecutor(1, "kurs-erkunden"), 0
        self._build()
        self._follow_group()
        self._follow_first()
        for control in (self.model, self.asked, self.second, self.row, self.column, self.size):
            control.observe(self._changed, "value")
        self.number.observe(lambda _: self._unpaint(), "value")
        self.group.observe(self._follow_group, "value")
        self.first.observe(self._follow_first, "value")
        self.size.observe(self._keep_inside, "value")
        self.paint.on_click(lambda _: self._stroke(self.color.value))
        self.stamp.on_click(lambda _: self._stroke(None))
        self.undo.on_click(lambda _: self._unpaint(1))
        self.restart.on_click(lambda _: self._unpaint())
        self._changed()

    def _build(self) -> None:
        import ipywidgets as widgets

        scene, labels = self.scene, self.scene.method.labels

        def named(name: str, control):
            control.add_class(f"kurs-erkunden-{name}")
            return control

        def field(name: str, kind, text: str, **options):
            return named(name, kind(description=text, style={"description_width": "6.5em"}, **options))

        def dropdown(name: str, text: str, options):
            # So breit wie der längste Eintrag: „ε = 0,1 (dichte Schichten)“ soll man ganz lesen.
            layout = {"width": "max-content", "min_width": "14em"}
            return field(name, widgets.Dropdown, text, options=options, layout=layout)

        def number(name: str, text: str, lowest: int, highest: int, value: int):
            options = {"min": lowest, "max": highest, "value": value, "layout": {"width": "13em"}}
            return field(name, widgets.BoundedIntText, text, **options)

        def button(name: str, text: str, tooltip: str):
            return named(name, widgets.Button(description=text, tooltip=tooltip, layout={"width": "11em"}))

        self.model = dropdown("modell", "Modell", list(scene.models))
        counted = lambda name, rows: f"{name} ({len(rows) or 'keine'})" if name not in CLASS_NAMES else name  # noqa: E731
        self.group = dropdown(
            "auswahl", "Auswahl", [(counted(name, rows), name) for name, rows in scene.groups.items()]
        )
        self.number = number("bild", "Bild", 1, 1, 1)
        asked = [("die Antwort des Netzes", ANSWER), ("die wahre Klasse", TRUTH)]
        self.asked = dropdown("klasse", "gefragt", asked + [(name, label) for label, name in enumerate(CLASS_NAMES)])
        self.first = dropdown("erste", labels[0], list(scene.method.choices))
        self.second = dropdown("zweite", labels[1] or "Parameter", [""])
        self.second.layout.display = None if labels[1] else "none"
        self.row, self.column = number("zeile", "Zeile", 0, 24, 12), number("spalte", "Spalte", 0, 24, 12)
        self.size, self.color = number("pinsel", "Pinsel", 1, 14, 4), dropdown("farbe", "Farbe", COLORS)
        self.paint = button("malen", "Malen", "Ein Quadrat in Pinselgröße an diese Stelle malen")
        self.stamp = button("stempeln", "Zeichen stempeln", "Das Wasserzeichen an seine Stelle setzen")
        self.undo = button("zurueck", "Zurücknehmen", "Den letzten Strich zurücknehmen")
        self.restart = button("vonvorn", "Von vorn", "Alles Gemalte entfernen")
        rows = (
            (self.model, self.group, self.number),
            (self.asked, self.first, self.second),
            (self.row, self.column, self.size, self.color),
            (self.paint, self.stamp, self.undo, self.restart),
        )
        self.progress, self.sentence, self.picture = (
            named(name, widgets.HTML()) for name in ("fortschritt", "satz", "anzeige")
        )
        self.progress.layout.min_height = "1.8em"  # damit nichts springt
        boxes = [widgets.HBox(children, layout={"flex_flow": "row wrap"}) for children in rows]
        self.box = widgets.VBox([*boxes, self.progress, self.sentence, self.picture])
        self.box.add_class("kurs-erkunden")

    # --- Was die Bedienelemente voneinander wissen ---

    def _follow_group(self, _=None) -> None:
        count = len(self.scene.groups[self.group.value])
        self.number.max = max(1, count)
        self.number.value = 1
        self.number.disabled = not count
        self._unpaint()

    def _follow_first(self, _=None) -> None:
        self.second.options = list(self.scene.method.choices[self.first.value])
        self._changed()

    def _keep_inside(self, _) -> None:
        for control in (self.row, self.column):
            control.max = 28 - self.size.value

    def _stroke(self, gray) -> None:
        self._strokes.append((self.row.value, self.column.value, self.size.value, gray))
        self._changed()

    def _unpaint(self, count: int | None = None) -> None:
        """Nimmt die letzten ``count`` Striche zurück, sonst alle."""
        del self._strokes[-(count or len(self._strokes)) :]
        self._changed()

    def view(self) -> View | None:
        """Der Stand der Bedienelemente; None, wenn die Auswahl kein Bild enthält."""
        rows = self.scene.groups[self.group.value]
        if not len(rows):
            return None
        brush = (self.row.value, self.column.value, self.size.value)
        row = int(rows[min(self.number.value, len(rows)) - 1])
        choice = (self.first.value, self.second.value or "")
        return View(self.model.value, row, *choice, self.asked.value, tuple(self._strokes), brush)

    # --- Rechnen und zeichnen ---

    def _changed(self, _=None) -> None:
        self._changes += 1
        self._drawing = self._thread.submit(self._draw, self._changes)
        self._drawing.add_done_callback(Future.result)  # ein unerwarteter Fehler soll sichtbar werden

    def wait(self, seconds: float = 60) -> bool:
        """Wartet, bis alles gezeichnet ist; False, wenn es länger als ``seconds`` dauert."""
        return not wait([self._drawing], seconds).not_done

    def _draw(self, change: int) -> None:
        if change != self._changes:
            return  # inzwischen hat sich noch etwas geändert
        self.undo.disabled = self.restart.disabled = not self._strokes
        view = self.view()
        if view is None:
            self._say(f"„{self.group.value}“: Davon gibt es hier keine. Wählen Sie unter „Auswahl“ etwas anderes.")
            return
        self._announce(view)
        try:
            self.shown = self.scene.show(view)
        except CourseError as error:
            self._say(f"✘ {error}")
            return
        finally:
            self.progress.value = ""
        self._known.add((view.model, view.first))
        encoded = base64.b64encode(self.shown.png).decode()
        self.picture.value = (
            f'<img class="kurs-erkunden-png" alt="{escape(self.shown.alt)}" src="data:image/png;base64,{encoded}" '
            'style="width:100%;max-width:1040px;background:#fff">'
        )
        self._say(self.shown.sentence)

    def _say(self, text: str) -> None:
        self.sentence.value = (
            f'<p role="status" style="max-width:70em;line-height:1.5">{escape(text).replace(" %", "&nbsp;%")}</p>'
        )

    def _announce(self, view: View) -> None:
        """Beim ersten Mal wird ein Verfahren übersetzt; das dauert Sekunden und bekommt einen Balken."""
        if (view.model, view.first) not in self._known:
            text = escape(f"{view.first} wird einmal übersetzt, danach geht es schnell …")
            self.progress.value = f'<progress aria-label="Fortschritt" style="width:16em"></progress> {text}'

    def bundle(self) -> dict:
        """Für die Ausgabe einer Zelle: die Bedienelemente und, wo es sie nicht gibt, das Bild."""
        data = {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}}
        if self.shown is None:
            return data | {"text/plain": "Der Explorer des Kurses"}
        return data | {"image/png": base64.b64encode(self.shown.png).decode(), "text/plain": self.shown.alt}
