"""Profile: wie gründlich ein Lauf rechnet. Ohne schwere Importe, damit auch 01_Daten sie ohne TensorFlow lesen kann."""

from dataclasses import dataclass, replace

from helpers.basics import CourseError

# VGG16 halbiert die Bilder fünfmal: 32 × 32 ist die kleinste Größe.
SMALL_SIZE = 32


@dataclass(frozen=True)
class Profile:
    """Einstellungen eines Laufs.

    Attributes:
        name: "schnell" (zwei CPU-Kerne, Minuten) oder "voll" (GPU, alle Bilder).
        n_train, n_test: Zahl der Bilder, None für alle.
        image_size: Kantenlänge der Netzeingabe in Pixeln.
        frozen_until: letzte Schicht des festen Stamms; None trainiert das ganze Netz.
        epochs, twin_epochs: Epochen für das saubere Modell und den vergifteten Zwilling.
        small_epochs: Epochen vorweg mit kleinen Bildern (``SMALL_SIZE``), nur ohne festen Stamm.
        batch_size: Bilder je Trainingsschritt.
        learning_rate: höchste Schrittweite von AdamW.
        weight_decay: Gewichtsabnahme von AdamW.
        patience: so viele Epochen ohne bessere Validierung, dann ist Schluss, und die beste Epoche zählt; None: nie.
        precision: Rechengenauigkeit ohne festen Stamm: „auto“ (bfloat16, wo es schneller ist), „float32“, „bfloat16“.
        devices: so viele Geräte lernen gleichzeitig (datenparallel).
    """

    name: str
    n_train: int | None
    n_test: int | None
    image_size: int = 64
    frozen_until: str | None = "block4_pool"
    epochs: int = 6
    twin_epochs: int = 4
    small_epochs: int = 0
    batch_size: int = 32
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    patience: int | None = None
    precision: str = "auto"
    devices: int = 1


PROFILES = {
    "schnell": Profile("schnell", n_train=2000, n_test=2000),
    "voll": Profile(
        "voll",
        n_train=None,
        n_test=None,
        frozen_until=None,
        epochs=3,
        twin_epochs=3,
        small_epochs=6,
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
    if name not in PROFILES:
        raise CourseError(f"Das Profil „{name}“ gibt es nicht: Wählen Sie {' oder '.join(PROFILES)}.")
    profile = replace(PROFILES[name], **{key: value for key, value in changes.items() if value is not None})
    if profile.epochs < 1 or profile.batch_size < 1 or profile.devices < 1:
        raise CourseError("Epochen, Stapelgröße und Geräte müssen mindestens 1 sein.")
    if profile.image_size < SMALL_SIZE:
        raise CourseError(f"VGG16 braucht Bilder ab 32 × 32 Pixel, nicht {profile.image_size}.")
    return profile
