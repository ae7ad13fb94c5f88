"""Profile: wie gründlich ein Lauf rechnet. Ohne schwere Importe, damit auch 01_Daten sie ohne TensorFlow lesen kann."""

from dataclasses import dataclass, replace

from helpers.basics import CourseError


@dataclass(frozen=True)
class Profile:
    """Einstellungen eines Laufs.

    Attributes:
        name: "schnell" (zwei CPU-Kerne, Minuten) oder "voll" (GPU, alle Bilder).
        n_train, n_test: Zahl der Bilder, None für alle.
        image_size: Kantenlänge der Netzeingabe in Pixeln.
        frozen_until: letzte Schicht des festen Stamms; None trainiert das ganze Netz.
        epochs, twin_epochs: Epochen für das saubere Modell und den vergifteten Zwilling.
        batch_size: Bilder je Trainingsschritt.
        learning_rate: höchste Schrittweite von Adam.
    """

    name: str
    n_train: int | None
    n_test: int | None
    image_size: int = 64
    frozen_until: str | None = "block4_pool"
    epochs: int = 6
    twin_epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 2e-4


PROFILES = {
    "schnell": Profile("schnell", n_train=2000, n_test=2000),
    "voll": Profile(
        "voll",
        n_train=None,
        n_test=None,
        frozen_until=None,
        epochs=12,
        twin_epochs=6,
        batch_size=128,
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
    if profile.epochs < 1 or profile.batch_size < 1:
        raise CourseError("Epochen und Stapelgröße müssen mindestens 1 sein.")
    if profile.image_size < 32:
        raise CourseError(f"VGG16 braucht Bilder ab 32 × 32 Pixel, nicht {profile.image_size}.")
    return profile
