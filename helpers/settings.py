"""Profile: wie gründlich ein Lauf rechnet. Ohne schwere Importe, damit auch 01_Daten sie ohne TensorFlow lesen kann."""

from dataclasses import dataclass, replace

from helpers.basics import CourseError, is_whole

# VGG16 halbiert die Bilder fünfmal: 32 × 32 ist die kleinste Größe.
MIN_SIZE = 32
# Größer wird das Netz nicht besser, nur der Arbeitsspeicher voll: Die Bilder haben 28 × 28 Pixel.
MAX_SIZE = 512
MAX_EPOCHS = 1000


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
    augment: bool = False
    batch_size: int = 32
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    patience: int | None = None
    precision: str = "auto"
    devices: int = 1


PROFILES = {
    # Nur der Kopf lernt: Alles andere rechnet jedes Bild einmal.
    "probe": Profile(
        "probe", n_train=300, n_test=200, image_size=32, frozen_until="block5_pool", epochs=4, twin_epochs=3
    ),
    "schnell": Profile("schnell", n_train=2000, n_test=2000),
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

# So heißen die ganzen Zahlen in Fehlermeldungen.
WHOLE = {
    "n_train": "Die Zahl der Trainingsbilder",
    "n_test": "Die Zahl der Testbilder",
    "image_size": "Die Bildgröße",
    "epochs": "Die Zahl der Epochen",
    "twin_epochs": "Die Zahl der Epochen",
    "batch_size": "Die Stapelgröße",
    "devices": "Die Zahl der Geräte",
}


def get_profile(name: str, **changes) -> Profile:
    """Das Profil ``name``; Angaben in ``changes``, die nicht None sind, ersetzen seine Werte.

    Raises:
        CourseError: bei unbekanntem Namen oder unsinnigen Werten.
    """
    if not isinstance(name, str) or name not in PROFILES:
        *others, last = PROFILES
        raise CourseError(f"Das Profil „{name}“ gibt es nicht: Wählen Sie {', '.join(others)} oder {last}.")
    changes = {key: value for key, value in changes.items() if value is not None}
    for key, value in changes.items():
        if key in WHOLE and not is_whole(value):
            raise CourseError(f"{WHOLE[key]} braucht eine ganze Zahl, nicht {value!r}.")
    profile = replace(PROFILES[name], **changes)
    if min(profile.epochs, profile.twin_epochs, profile.batch_size, profile.devices) < 1:
        raise CourseError("Epochen, Stapelgröße und Geräte müssen mindestens 1 sein: Nehmen Sie größere Zahlen.")
    if max(profile.epochs, profile.twin_epochs) > MAX_EPOCHS:
        raise CourseError(f"{profile.epochs} Epochen sind zu viele: Nehmen Sie höchstens {MAX_EPOCHS}.")
    if not MIN_SIZE <= profile.image_size <= MAX_SIZE:
        raise CourseError(
            f"VGG16 braucht Bilder ab 32 × 32 Pixel, nicht {profile.image_size}: Nehmen Sie 32 bis {MAX_SIZE}."
        )
    if profile.devices > profile.batch_size:
        raise CourseError(
            f"Für {profile.devices} Geräte reichen {profile.batch_size} Bilder je Stapel nicht: Nehmen Sie höchstens "
            "so viele Geräte, wie ein Stapel Bilder hat."
        )
    return profile
