"""Profile: wie gründlich ein Lauf rechnet. Ohne schwere Importe, damit auch 01_Daten sie ohne TensorFlow lesen kann."""

from dataclasses import dataclass, replace
from numbers import Integral

from helpers.basics import CourseError, one_line

# VGG16 halbiert die Bilder fünfmal: 32 × 32 ist die kleinste Größe. Über 512 wird nur der Arbeitsspeicher voll.
MIN_SIZE, MAX_SIZE = 32, 512
# Ganze Zahlen eines Profils: wie sie in Fehlersätzen heißen, kleinster und größter Wert. Wie viele Bilder die Quelle
# hat, wird erst geprüft, wo gezogen wird.
LIMITS = {
    "n_train": ("Die Zahl der Bilder", 20, 10**9),
    "n_test": ("Die Zahl der Bilder", 10, 10**9),
    "image_size": ("Die Bildgröße", MIN_SIZE, MAX_SIZE),
    "epochs": ("Die Zahl der Epochen", 1, 1000),
    "batch_size": ("Die Stapelgröße", 1, 10_000),
}


def check_number(what: str, value, lowest: float, highest: float, kind: type = Integral) -> None:
    """Nimmt Zahlen von ``lowest`` bis ``highest``, ganze oder (``kind=Real``) beliebige; Wahrheitswerte sind keine.

    Raises:
        CourseError: bei allem anderen; der Satz nennt ``what``, den Wert und die Grenzen.
    """
    if not isinstance(value, kind) or isinstance(value, bool) or not lowest <= value <= highest:
        number = "ganze Zahl" if kind is Integral else "Zahl"
        raise CourseError(
            f"{what} kann nicht „{one_line(str(value)[:40])}“ sein: Es braucht eine {number}, mindestens {lowest} und "
            f"höchstens {highest}."
        )


@dataclass(frozen=True)
class Profile:
    """Einstellungen eines Laufs.

    Attributes:
        name: "schnell" (zwei CPU-Kerne, Minuten), "voll" (GPU, alle Bilder) oder "probe" (läuft alles durch?).
        n_train, n_test: Zahl der Bilder, None für alle.
        image_size: Kantenlänge der Netzeingabe in Pixeln.
        frozen_until: letzte Schicht des festen Stamms; None trainiert das ganze Netz.
        epochs: Epochen, für jedes Netz eines Laufs: Der Zwilling lernt nach demselben Rezept wie seine Kontrolle.
        augment: Bilder in jeder Epoche anders spiegeln und verschieben; der feste Stamm rechnet dann jedes Mal neu.
        batch_size: Bilder je Trainingsschritt.
        learning_rate: höchste Lernrate von AdamW.
        weight_decay: Gewichtsabnahme von AdamW.
        patience: so viele Epochen ohne bessere Validierung, dann ist Schluss, und die beste Epoche zählt; None: nie.
        precision: Rechengenauigkeit beim Lernen: „auto“ (bfloat16, wo es schneller ist), „float32“, „bfloat16“.
        devices: so viele Geräte lernen gleichzeitig (datenparallel).

    Raises:
        CourseError: wenn ein Wert nicht geht.
    """

    name: str
    n_train: int | None = None
    n_test: int | None = None
    image_size: int = 64
    frozen_until: str | None = "block4_pool"
    epochs: int = 4
    augment: bool = False
    batch_size: int = 32
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    patience: int | None = None
    precision: str = "auto"
    devices: int = 1

    def __post_init__(self):
        for name, limits in LIMITS.items():
            if getattr(self, name) is not None or name not in ("n_train", "n_test"):
                check_number(limits[0], getattr(self, name), *limits[1:])
        check_number(f"Die Zahl der Geräte bei {self.batch_size} Bildern je Stapel", self.devices, 1, self.batch_size)


PROFILES = {
    # Nur der Kopf lernt: Alles andere rechnet jedes Bild einmal.
    "probe": Profile("probe", n_train=300, n_test=200, image_size=32, frozen_until="block5_pool"),
    # Halb so viele Schritte wie mit 32 Bildern: AdamW braucht je Schritt so lange wie acht Bilder.
    "schnell": Profile("schnell", n_train=2000, n_test=2000, batch_size=64, learning_rate=3e-4),
    "voll": Profile(
        "voll", frozen_until="block2_pool", augment=True, epochs=10, batch_size=64, weight_decay=1e-4, patience=3
    ),
}


def get_profile(name: str, **changes) -> Profile:
    """Das Profil ``name``; Angaben in ``changes``, die nicht None sind, ersetzen seine Werte.

    Raises:
        CourseError: bei unbekanntem Namen oder unsinnigen Werten.
    """
    if not isinstance(name, str) or name not in PROFILES:
        shown = one_line(str(name)[:40])
        raise CourseError(f"Das Profil „{shown}“ gibt es nicht: Wählen Sie probe, schnell oder voll.")
    return replace(PROFILES[name], **{key: value for key, value in changes.items() if value is not None})
