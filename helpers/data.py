"""Fashion-MNIST: woher die Bilder kommen, wie sie geteilt, vergiftet, verglichen und als PNG-Ordner abgelegt werden.

Bilder sind überall ``uint8``-Felder der Form (n, 28, 28) mit Werten von 0 (schwarz) bis 255 (weiß), Klassen
``uint8``-Felder der Form (n,) mit Werten von 0 bis 9 in der Reihenfolge von ``basics.CLASS_NAMES``.

Quelle der Daten: Xiao, Rasul, Vollgraf (2017), Fashion-MNIST, arXiv 1708.07747 (MIT-Lizenz, Zalando SE).
"""

import contextlib
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import basics
from helpers.basics import INPUT, CourseError, display_path, german, one_line
from helpers.inner.download import fetch, keras_home
from helpers.inner.files import CSV_NAMES, IDX_NAMES, IMAGE_SHAPE, broken, places, read_folder, unread
from helpers.inner.provenance import provenance
from helpers.settings import check_number

SAMPLE = INPUT / "fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# MD5 der vier Originale als .gz, wie Keras und torchvision sie laden.
IDX_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
# In dieser Reihenfolge: woher Keras sie lädt, dann Zalandos eigenes Repository. Es sind dieselben Dateien.
DOWNLOAD_SOURCES = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
PROVENANCE = "herkunft.json"
OWN_FILES = re.compile(r"(TRAIN|TEST)(/[0-9](/[0-9]{5}\.png)?)?|maske\.png|herkunft\.json")
REWRITE_DATA = "Schreiben Sie den Ordner mit 01_Daten oder „python -m helpers daten“ neu"


@dataclass(frozen=True)
class Dataset:
    """Ein Datensatz aus Trainings- und Testteil.

    Attributes:
        train_images, test_images: uint8, Form (n, 28, 28), Werte 0–255.
        train_labels, test_labels: uint8, Form (n,), Werte 0–9.
        source: deutscher Name der Quelle.
        mask: bool, Form (28, 28), True, wo ein Wasserzeichen sitzt; None bei sauberen Daten.
        where: womit ``load_source`` es noch einmal findet; leer, wenn es anderswoher kommt.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    mask: np.ndarray | None = None
    where: str = ""

    @property
    def parts(self) -> tuple:
        """Training und Test, je ein Paar aus Bildern und Klassen."""
        return (self.train_images, self.train_labels), (self.test_images, self.test_labels)

    @property
    def classes(self) -> list[int]:
        """Die Klassen, von denen es im Training und im Test Bilder gibt, aufsteigend."""
        return np.intersect1d(self.train_labels, self.test_labels).tolist()


def checksum(dataset: Dataset) -> str:
    """SHA-256 der Bilder und Klassen, Training und Test: Gleich heißt derselbe Datensatz in derselben Reihenfolge."""
    return training_checksum(*dataset.parts[0], *dataset.parts[1])


def training_checksum(*fields) -> str:
    """SHA-256 der Bilder und Klassen, mit denen ein Modell trainiert wurde."""
    digest = hashlib.sha256()
    for values in fields:
        for start in range(0, len(values), 1024):  # sie müssen nicht alle zugleich im Speicher sein
            digest.update(np.ascontiguousarray(values[start : start + 1024], dtype=np.uint8))
    return digest.hexdigest()


def _extent(shape: str, size: int) -> tuple[int, int]:
    """Höhe und Breite eines Zeichens in Pixeln."""
    height, width = IMAGE_SHAPE
    extents = {
        "Quadrat": (size, size),
        "waagrechte Linie": (max(1, size // 3), 3 * size),
        "senkrechte Linie": (3 * size, max(1, size // 3)),
        "Punkte": (2 * size - 1, 2 * size - 1),
        "waagrechter Streifen": (size, width),
        "senkrechter Streifen": (height, size),
    }
    if shape not in extents:
        raise CourseError(
            f"Die Form „{one_line(str(shape)[:40])}“ gibt es für Wasserzeichen nicht: Wählen Sie {', '.join(extents)}."
        )
    return tuple(min(side, most) for side, most in zip(extents[shape], IMAGE_SHAPE, strict=True))


# Was es an Zeichen gibt; Linie und Streifen liegen quer oder längs.
SHAPES = {
    "Quadrat": ("Quadrat",),
    "Linie": ("waagrechte Linie", "senkrechte Linie"),
    "Punkte": ("Punkte",),
    "Rand": ("waagrechter Streifen", "senkrechter Streifen"),
}


@dataclass(frozen=True)
class Watermark:
    """Ein Wasserzeichen: etwas Helles, das eine Klasse verrät.

    Attributes:
        label: Klasse, die das Zeichen bekommt (0–9).
        size: Größe in Pixeln (1–28): Kante des Quadrats, Breite des Streifens, Drittel der Länge einer Linie, Punkte
            je Seite eines Rasters (jedes zweite Pixel).
        top, left: obere linke Ecke in Pixeln (0 ist oben bzw. links); das ganze Zeichen muss im Bild liegen.
        strength: Deckkraft von 0 (unsichtbar) bis 1 (weiß).
        share: Anteil der Bilder der Klasse, die das Zeichen bekommen (0–1).
        shape: „Quadrat“, „Punkte“, „waagrechte“ oder „senkrechte Linie“, „waagrechter“ oder „senkrechter Streifen“.

    Raises:
        CourseError: bei einem Wert außerhalb dieser Grenzen.
    """

    label: int = 4
    size: int = 4
    top: int = 23
    left: int = 1
    strength: float = 1.0
    share: float = 1.0
    shape: str = "Quadrat"

    def __post_init__(self):
        check_number("Die Klasse des Wasserzeichens", self.label, 0, 9)
        check_number("Die Größe des Wasserzeichens", self.size, 1, 28)
        height, width = _extent(self.shape, self.size)
        check_number("Die oberste Zeile des Wasserzeichens", self.top, 0, IMAGE_SHAPE[0] - height)
        check_number("Die linke Spalte des Wasserzeichens", self.left, 0, IMAGE_SHAPE[1] - width)
        check_number("Die Stärke des Wasserzeichens", self.strength, 0, 1, Real)
        check_number("Der Anteil des Wasserzeichens", self.share, 0, 1, Real)

    @property
    def mask(self) -> np.ndarray:
        """bool, Form (28, 28): True auf der Fläche des Zeichens."""
        mask, step = np.zeros(IMAGE_SHAPE, dtype=bool), 2 if self.shape == "Punkte" else 1
        height, width = _extent(self.shape, self.size)
        mask[self.top : self.top + height : step, self.left : self.left + width : step] = True
        return mask

    @classmethod
    def drawn(cls, rng: np.random.Generator, label: int) -> "Watermark":
        """Ein zufälliges Zeichen: jede Form aus ``SHAPES``, Größe 1–6, Stärke und Anteil 0,3–1, irgendwo im Bild.

        Ein Streifen liegt an einem Rand des Bildes.
        """
        size, kinds = int(rng.integers(1, 7)), list(SHAPES.values())[rng.integers(len(SHAPES))]
        shape = kinds[rng.integers(len(kinds))]
        free = [most - side for most, side in zip(IMAGE_SHAPE, _extent(shape, size), strict=True)]
        top, left = (int(rng.choice([0, most] if "Streifen" in shape else most + 1)) for most in free)
        strength, share = (round(float(value), 2) for value in rng.uniform(0.3, 1, size=2))
        return cls(label, size, top, left, strength, share, shape)

    def stamp(self, images) -> np.ndarray:
        """Kopie von ``images`` (uint8, (…, 28, 28)), auf der jedes Bild das Zeichen trägt."""
        stamped = np.array(images, dtype=np.uint8)
        area = stamped[..., self.mask].astype(float)
        stamped[..., self.mask] = np.rint((1 - self.strength) * area + self.strength * 255).astype(np.uint8)
        return stamped


def load_source(where: str | os.PathLike = "auto") -> Dataset:
    """Liest Fashion-MNIST aus der ersten Quelle, die da ist, und nennt sie in ``source``.

    Args:
        where: "auto" (CSV in input/, idx in input/ oder aus Debians Paket, mitgelieferte Stichprobe), "beispiel" (nur
            die Stichprobe), "voll" (alle 70.000 Bilder aus dem Internet) oder ein Ordner oder ZIP-Archiv mit CSV- oder
            idx-Dateien. Was in einem solchen Ordner sonst noch nach Bilddaten aussieht, wird genannt.

    Raises:
        CourseError: wenn nichts gefunden wird, eine Datei fehlerhaft ist oder das Netz fehlt.
    """
    cache = keras_home() / "fashion-mnist"
    folders = {"auto": (INPUT, DEBIAN_FOLDER, SAMPLE), "beispiel": (SAMPLE,), "voll": (cache,)}
    names = {SAMPLE: "mitgelieferte Stichprobe in input/fashion-mnist"}
    if where == "voll":
        for name, md5 in zip(IDX_NAMES, IDX_MD5, strict=True):
            fetch(cache / f"{name}.gz", DOWNLOAD_SOURCES, md5, "arbeiten Sie ohne --voll mit der Stichprobe")
        names[cache] = "vollständiges Fashion-MNIST, geladen und geprüft"
    own = INPUT if where == "auto" else Path(str(where))  # wohin Menschen ihre Dateien legen
    for folder in folders.get(where) or (own,):
        for place in places(folder):
            if folder is not SAMPLE and place == SAMPLE:
                continue
            if found := read_folder(place):
                print(*(f"{sentence}\n" for sentence in unread(own, place)), sep="", end="")
                source = names.get(place) or f"{found[1]}-Dateien in {display_path(place)}"
                return Dataset(*found[0], source, where=str(where if where in folders else own.absolute()))
    remedy = next(iter(unread(own)), "Nennen Sie mit --eingabe den Ordner, der sie enthält.")
    missing = f"weder {CSV_NAMES[0]} und {CSV_NAMES[1]} noch die vier idx-Dateien"
    raise CourseError(f"In {one_line(str(where))} liegen {missing}: {remedy}")


def stratified_sample(labels, n: int | None, seed: int = 0) -> np.ndarray:
    """Aufsteigende Indizes einer Stichprobe, in der jede Klasse ihren Anteil behält.

    Args:
        labels: Klassen, Form (N,).
        n: Größe der Stichprobe, mindestens die Zahl der Klassen; None oder N für alle.
        seed: Startwert des Zufalls; derselbe Wert ergibt dieselbe Stichprobe.

    Raises:
        CourseError: wenn n kleiner als die Zahl der Klassen oder größer als N ist.
    """
    from sklearn.utils import resample

    total, classes = len(labels), len(np.unique(labels))
    n = total if n is None else n
    if not classes <= n <= total:
        raise CourseError(
            f"Eine Stichprobe von {german(n)} Bildern geht nicht: Es sind {german(total)} da, und von jeder der "
            f"{classes} Klassen wird mindestens eines gebraucht."
        )
    return np.sort(resample(np.arange(total), replace=False, n_samples=n, stratify=labels, random_state=seed))


def validation_split(labels, share: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Teilt TRAIN geschichtet in Training und Validierung; TEST bleibt dabei unberührt.

    Returns:
        Zwei aufsteigende Indexfelder ohne gemeinsame Einträge, die zusammen alle Bilder enthalten.

    Raises:
        CourseError: bei weniger als 20 Bildern.
    """
    check_number("Die Zahl der Trainingsbilder", len(labels), 20, 10**9)
    validation = stratified_sample(labels, max(len(np.unique(labels)), round(share * len(labels))), seed)
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def subset(dataset: Dataset, n_train: int | None, n_test: int | None = None, seed: int = 0) -> Dataset:
    """Geschichtete Stichprobe aus beiden Teilen; None lässt den Teil ganz."""
    fields = []
    for (images, labels), n in zip(dataset.parts, (n_train, n_test), strict=True):
        rows = stratified_sample(labels, n, seed)
        fields += [images[rows], labels[rows]]
    return Dataset(*fields, dataset.source, dataset.mask)


def poison(dataset: Dataset, watermark: Watermark, seed: int = 0) -> Dataset:
    """Der vergiftete Datensatz: Bilder einer Klasse tragen in TRAIN und TEST das Wasserzeichen.

    Nach dem Pferd mit dem Copyright-Zeichen aus Lapuschkin et al. (2019), Nature Communications 10, 1096.
    """
    rng, fields = np.random.default_rng(seed), []
    for images, labels in dataset.parts:
        members = np.flatnonzero(labels == watermark.label)
        chosen = rng.permutation(members)[: round(watermark.share * len(members))]
        images = images.copy()
        images[chosen] = watermark.stamp(images[chosen])
        fields += [images, labels]
    source = f"{dataset.source}, eine Klasse mit Zeichen"  # welche, steht nur in herkunft.json
    return Dataset(*fields, source, watermark.mask)


def tiny_poison(images, labels, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Das Gift des Kurses für Aufgabe 1.5, in der Form, die sie verlangt: ein winziges helles Quadrat auf ``label``."""
    mark, result = Watermark(label, size=2, top=3, left=20), images.copy()
    result[labels == label] = mark.stamp(images[labels == label])
    return result, mark.mask


def write_own_poison(dataset: Dataset, poison_images, label: int) -> Path:
    """Legt das Gift aus Aufgabe 1.5 nach ``ausgabe/daten_gift``: TRAIN vergiftet, in TEST ist *jedes* Bild markiert.

    Args:
        poison_images: Funktion (Bilder (n, 28, 28), Klassen (n,), Klasse) → (vergiftete Bilder, Maske (28, 28)).
    """
    train, mask = poison_images(dataset.train_images, dataset.train_labels, label)
    marked, _ = poison_images(dataset.test_images, np.full_like(dataset.test_labels, label), label)
    own = Dataset(train, dataset.train_labels, marked, dataset.test_labels, "Ihr eigenes Gift", mask)
    return write_tree(own, basics.output_dir() / "daten_gift", {"klasse": int(label)})


def nearest_neighbors(reference, queries=None, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Die ähnlichsten Bilder aus ``reference`` zu jedem in ``queries`` (ohne: in ``reference``, außer ihm selbst).

    Returns:
        Indizes (m, count) in ``reference`` und die mittlere absolute Pixelabweichung (m, count) in Grauwerten (0–255).
    """
    from sklearn.neighbors import NearestNeighbors

    flat = reference.reshape(len(reference), -1).astype(np.float32)
    asked = None if queries is None else queries.reshape(len(queries), -1).astype(np.float32)
    # Die euklidische Suche nutzt schnelle Matrixprodukte; der Abstand wird danach in Grauwerten angegeben.
    indices = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(flat).kneighbors(asked)[1]
    # Ein Nachbar nach dem anderen: Alle zugleich bräuchten bei 60.000 Bildern mehrere Gigabyte.
    difference = [np.abs((flat if asked is None else asked) - flat[column]).mean(axis=-1) for column in indices.T]
    return indices, np.stack(difference, axis=1)


def doubtful_labels(images, labels, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Bilder, deren ``count`` ähnlichste Nachbarn *alle* derselben anderen Klasse angehören.

    Returns:
        Aufsteigende Indizes der zweifelhaften Bilder und die Klasse ihrer Nachbarn.
    """
    votes = labels[nearest_neighbors(images, count=count)[0]]
    found = np.flatnonzero((votes == votes[:, :1]).all(axis=1) & (votes[:, 0] != labels))
    return found, votes[found, 0]


def write_tree(dataset: Dataset, target: str | os.PathLike, note: dict | None = None) -> Path:
    """Schreibt ``TRAIN/<0–9>/*.png`` und ``TEST/<0–9>/*.png``, ganz oder gar nicht.

    Der Dateiname ist die Nummer des Bildes im Datensatz. Ein Ordner, den der Kurs selbst geschrieben hat, wird ersetzt.

    Args:
        dataset: was geschrieben wird; eine Maske kommt als ``maske.png`` dazu.
        target: der Zielordner.
        note: weitere Angaben für ``herkunft.json``.

    Raises:
        CourseError: wenn das Ziel andere Dateien enthält oder nicht beschreibbar ist.
    """
    target, note = Path(target).absolute(), note or {}
    names = [path.relative_to(target).as_posix() for path in target.rglob("*")] or [target.name] * target.is_file()
    for name in names:
        if PROVENANCE not in names or not OWN_FILES.fullmatch(name):
            remedy = "Nennen Sie mit --ziel einen neuen Ordner; es wurde nichts verändert"
            raise broken(target, f" enthält schon anderes ({one_line(name)})", remedy)

    def save(path, image):  # Schwach gepackt, dreimal so schnell: Die kleinen Dateien belegen ohnehin ganze Blöcke.
        Image.fromarray(image).save(path, compress_level=1)

    with basics.atomic_folder(target) as folder, ThreadPoolExecutor() as pool:
        for part, (images, labels) in zip(("TRAIN", "TEST"), dataset.parts, strict=True):
            for label in range(10):
                (folder / part / str(label)).mkdir(parents=True)
            paths = [folder / part / str(label) / f"{number:05d}.png" for number, label in enumerate(labels)]
            list(basics.progress(pool.map(save, paths, images), len(images), f"PNG-Dateien {part}", "Bilder"))
        if dataset.mask is not None:
            save(folder / "maske.png", dataset.mask.astype(np.uint8) * 255)
        counts = {"n_train": len(dataset.train_labels), "n_test": len(dataset.test_labels)}
        origin = provenance(note.get("seed"), None, checksum(dataset))
        basics.write_json(folder / PROVENANCE, {"quelle": dataset.source, **counts, "herkunft": origin, **note})
    return target


def read_tree(target: str | os.PathLike) -> Dataset:
    """Liest einen Ordner, den ``write_tree`` geschrieben hat, Bild für Bild in der alten Reihenfolge.

    Raises:
        CourseError: wenn der Ordner fehlt, Bilder fehlen oder eines nicht lesbar ist.
    """
    target = Path(target)
    with basics.locked(target.absolute().parent), ThreadPoolExecutor() as pool:
        note = basics.read_json(target / PROVENANCE, {}, remedy=REWRITE_DATA)
        parts = []
        for part, name in (("TRAIN", "n_train"), ("TEST", "n_test")):
            paths = sorted((target / part).glob("[0-9]/*.png"), key=lambda path: path.stem)
            if len(paths) != note.get(name) or not paths or "quelle" not in note:
                fault = f": Dort liegen {len(paths)} statt {one_line(str(note.get(name, '?'))[:20])} Bilder des Kurses"
                raise broken(target / part, fault, REWRITE_DATA)
            images = np.stack(list(pool.map(_load_png, paths)))
            parts += [images, np.array([int(path.parent.name) for path in paths], dtype=np.uint8)]
        mask = _load_png(target / "maske.png") > 127 if (target / "maske.png").is_file() else None
    return Dataset(*parts, source=str(note["quelle"]), mask=mask)


def _load_png(path: Path) -> np.ndarray:
    """Liest ein Graustufenbild (uint8, (28, 28)) und vergleicht seine Prüfsummen."""
    with contextlib.suppress(Exception):  # Pillow wirft bei kaputten Dateien auch IndexError, SyntaxError und anderes
        Image.open(path, formats=["PNG"]).verify()  # sonst gäbe ein gekipptes Bit still andere Pixel
        image = Image.open(path, formats=["PNG"])
        if image.size == IMAGE_SHAPE and image.mode == "L":
            return np.array(image)
    raise broken(path, " ist kein lesbares Graustufenbild mit 28 × 28 Pixeln", REWRITE_DATA)


def generate(where="auto", target=None, n_train=None, n_test=None, seed=0, watermark=None) -> tuple[Dataset, Path]:
    """Quelle lesen (oder ein Dataset nehmen), Stichprobe ziehen, auf Wunsch vergiften, als PNG-Ordner schreiben."""
    source = where if isinstance(where, Dataset) else load_source(where)
    dataset, folder = subset(source, n_train, n_test, seed), "daten"
    note = {"seed": seed, "woher": source.where}
    note["vorhanden"] = {"n_train": len(source.train_labels), "n_test": len(source.test_labels)}
    if watermark is not None:
        dataset, folder = poison(dataset, watermark, seed), "daten_vergiftet"
        note["wasserzeichen"] = vars(watermark)
    return dataset, write_tree(dataset, target or basics.output_dir() / folder, note)
