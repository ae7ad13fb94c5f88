"""Profile: wie gründlich ein Lauf rechnet. Ohne schwere Importe, damit auch 01_Daten sie ohne TensorFlow lesen kann."""

from dataclasses import dataclass, replace

from helpers.basics import CourseError, is_whole, one_line

# VGG16 halbiert die Bilder fünfmal: 32 × 32 ist die kleinste Größe.
MIN_SIZE = 32
# Größer wird das Netz nicht besser, nur der Arbeitsspeicher voll: Die Bilder haben 28 × 28 Pixel.
MAX_SIZE = 512
MAX_EPOCHS = 1000
# Ganze Zahlen eines Profils: wie sie in Fehlermeldungen heißen, kleinster und größter Wert. Wie viele Bilder es sein
# dürfen, hängt von der Quelle ab und wird geprüft, wo gezogen wird.
LIMITS = {
    "image_size": ("Die Bildgröße", MIN_SIZE, MAX_SIZE),
    "epochs": ("Die Zahl der Epochen", 1, MAX_EPOCHS),
    "twin_epochs": ("Die Zahl der Epochen", 1, MAX_EPOCHS),
    "batch_size": ("Die Stapelgröße", 1, 10_000),
    "devices": ("Die Zahl der Geräte", 1, 10_000),
}


@dataclass(frozen=True)
class Profile:
    """Einstellungen eines Laufs.

    Attributes:
        name: "schnell" (zwei CPU-Kerne, Minuten), "voll" (GPU, alle Bilder) oder "probe" (läuft alles durch?).
        n_train, n_test: Zahl der Bilder, None für alle.
        image_size: Kantenlänge der Netzeingabe in Pixeln.
        frozen_until: letzte Schicht des festen Stamms; None trainiert das ganze Netz.
        epochs, twin_epochs: Epochen für das saubere Modell und den vergifteten Zwilling.
        augment: Bilder in jeder Epoche anders spiegeln und verschieben; der feste Stamm rechnet dann jedes Mal neu.
        batch_size: Bilder je Trainingsschritt.
        learning_rate: höchste Schrittweite von AdamW.
        weight_decay: Gewichtsabnahme von AdamW.
        patience: so viele Epochen ohne bessere Validierung, dann ist Schluss, und die beste Epoche zählt; None: nie.
        precision: Rechengenauigkeit beim Lernen: „auto“ (bfloat16, wo es schneller ist), „float32“, „bfloat16“.
        devices: so viele Geräte lernen gleichzeitig (datenparallel).

    Raises:
        CourseError: wenn ein Wert nicht geht.
    """

    name: str
    n_train: int | None
    n_test: int | None
    image_size: int = 64
    frozen_until: str | None = "block4_pool"
    epochs: int = 4
    twin_epochs: int = 4
    augment: bool = False
    batch_size: int = 32
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    patience: int | None = None
    precision: str = "auto"
    devices: int = 1

    def __post_init__(self):
        for name in ("n_train", "n_test", *LIMITS):
            value, what = getattr(self, name), LIMITS.get(name, ("Die Zahl der Bilder",))[0]
            if not is_whole(value) and not (value is None and name not in LIMITS):
                raise CourseError(f"{what} braucht eine ganze Zahl, nicht „{one_line(str(value)[:40])}“.")
        for name, (what, lowest, highest) in LIMITS.items():
            if not lowest <= (value := getattr(self, name)) <= highest:
                remedy = f"Nehmen Sie mindestens {lowest} und höchstens {highest}"
                raise CourseError(f"{what} kann nicht {one_line(str(value)[:40])} sein: {remedy}.")
        if self.devices > self.batch_size:
            raise CourseError(
                f"Für {self.devices} Geräte reichen {self.batch_size} Bilder je Stapel nicht: Nehmen Sie höchstens "
                "so viele Geräte, wie ein Stapel Bilder hat."
            )


PROFILES = {
    # Nur der Kopf lernt: Alles andere rechnet jedes Bild einmal.
    "probe": Profile(
        "probe", n_train=300, n_test=200, image_size=32, frozen_until="block5_pool", epochs=4, twin_epochs=3
    ),
    # Halb so viele Schritte wie mit 32 Bildern: AdamW braucht je Schritt so lange wie acht Bilder.
    "schnell": Profile("schnell", n_train=2000, n_test=2000, batch_size=64, learning_rate=3e-4),
    "voll": Profile(
        "voll",
        n_train=None,
        n_test=None,
        frozen_until="block2_pool",
        augment=True,
        epochs=10,
        twin_epochs=3,
        batch_size=64,
        weight_decay=1e-4,
        patience=3,
    ),
}


def get_profile(name: str, **changes) -> Profile:
    """Das Profil ``name``; Angaben in ``changes``, die nicht None sind, ersetzen seine Werte.

    Raises:
        CourseError: bei unbekanntem Namen oder unsinnigen Werten.
    """
    if not isinstance(name, str) or name not in PROFILES:
        *others, last = PROFILES
        remedy = f"Wählen Sie {', '.join(others)} oder {last}"
        raise CourseError(f"Das Profil „{one_line(str(name)[:40])}“ gibt es nicht: {remedy}.")
    return replace(PROFILES[name], **{key: value for key, value in changes.items() if value is not None})
