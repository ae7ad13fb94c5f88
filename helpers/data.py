"""Fashion-MNIST lesen, teilen, als PNG-Ordner schreiben und vergiften.

Bilder sind überall ``uint8``-Felder der Form (n, 28, 28) mit Werten von 0 (schwarz) bis 255 (weiß), Klassen
``uint8``-Felder der Form (n,) mit Werten von 0 bis 9 in der Reihenfolge von ``basics.CLASS_NAMES``.

Quelle der Daten: Xiao, Rasul, Vollgraf (2017), Fashion-MNIST, arXiv 1708.07747 (MIT-Lizenz, Zalando SE).
"""

import gzip
import hashlib
import io
import os
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers import pixel_table
from helpers.basics import (
    CLASS_NAMES,
    INPUT,
    CourseError,
    atomic_folder,
    display_path,
    german,
    is_whole,
    locked,
    one_line,
    output_dir,
    progress,
    read_json,
    reason,
    sha256,
    write_json,
)
from helpers.download import fetch, keras_home
from helpers.provenance import provenance

SAMPLE = INPUT / "fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CSV_NAMES = ("fashion-mnist_train.csv", "fashion-mnist_test.csv")
# MD5 der vier Originale: als .gz von Zalando (so laden Keras und torchvision sie) und ausgepackt. Debians Paket hat
# nur Name und Datum aus dem gzip-Kopf entfernt, deshalb passt dort die zweite Summe.
IDX_MD5 = {
    "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
    "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
    "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
}
IMAGE_SHAPE = (28, 28)
PROVENANCE = "herkunft.json"
REWRITE_DATA = "Schreiben Sie den Ordner mit 01_Daten oder „python -m helpers daten“ neu"
# So groß darf eine Datei sein, auch entpackt: Die größte echte (CSV, 60.000 Bilder) hat 133 MB, mit Kommazahlen 300.
MAX_BYTES = 500_000_000
MAX_PNG_BYTES = 100_000
OWN_FILES = re.compile(r"(TRAIN|TEST)(/[0-9](/[0-9]{5}\.png)?)?|maske\.png|herkunft\.json")
# In dieser Reihenfolge: woher Keras sie lädt, dann Zalandos eigenes Repository. Es sind dieselben Dateien.
DOWNLOAD_SOURCES = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)


@dataclass(frozen=True)
class Dataset:
    """Ein Datensatz aus Trainings- und Testteil.

    Attributes:
        train_images, test_images: uint8, Form (n, 28, 28), Werte 0–255.
        train_labels, test_labels: uint8, Form (n,), Werte 0–9.
        source: deutscher Name der Quelle.
        mask: bool, Form (28, 28), True, wo ein Wasserzeichen sitzt; None bei sauberen Daten.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    mask: np.ndarray | None = None


def checksum(dataset: Dataset) -> str:
    """SHA-256 der Bilder und Klassen, Training und Test: Gleich heißt derselbe Datensatz in derselben Reihenfolge."""
    return _digest(dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)


def training_checksum(images, labels) -> str:
    """SHA-256 der Bilder und Klassen, mit denen ein Modell trainiert wurde."""
    return _digest(images, labels)


def _digest(*fields) -> str:
    digest = hashlib.sha256()
    for values in fields:
        digest.update(np.ascontiguousarray(values, dtype=np.uint8))
    return digest.hexdigest()


@dataclass(frozen=True)
class Watermark:
    """Ein Wasserzeichen: ein helles Quadrat, das eine Klasse verrät.

    Attributes:
        label: Klasse, die das Zeichen bekommt (0–9).
        size: Kantenlänge in Pixeln (1–28).
        top, left: obere linke Ecke in Pixeln (0 ist oben bzw. links).
        strength: Deckkraft von 0 (unsichtbar) bis 1 (weiß).
        share: Anteil der Bilder der Klasse, die das Zeichen bekommen (0–1).
    """

    label: int = 4
    size: int = 4
    top: int = 23
    left: int = 1
    strength: float = 1.0
    share: float = 1.0

    def __post_init__(self):
        whole = {"Klasse": self.label, "Größe": self.size, "Zeile": self.top, "Spalte": self.left}
        for name, value in whole.items():
            if not (is_whole(value) or isinstance(value, np.integer)):
                raise CourseError(f"{name} des Wasserzeichens braucht eine ganze Zahl, nicht {value!r}.")
        for name, value in {"Stärke": self.strength, "Anteil": self.share}.items():
            if not isinstance(value, int | float | np.number) or isinstance(value, bool):
                raise CourseError(f"{name} des Wasserzeichens braucht eine Zahl von 0 bis 1, nicht {value!r}.")
        if not 0 <= self.label <= 9:
            raise CourseError(f"Die Klasse {self.label} des Wasserzeichens gibt es nicht: Wählen Sie 0 bis 9.")
        fits = 0 <= self.top <= 28 - self.size and 0 <= self.left <= 28 - self.size
        if not (1 <= self.size <= 28 and fits):
            raise CourseError(
                f"Ein Wasserzeichen der Größe {self.size} an Zeile {self.top}, Spalte {self.left} ragt aus dem Bild "
                "(28 × 28 Pixel): Verkleinern oder verschieben Sie es."
            )
        if not (0 <= self.strength <= 1 and 0 <= self.share <= 1):
            raise CourseError(
                f"Stärke {self.strength} und Anteil {self.share} des Wasserzeichens gehen nicht: Nehmen Sie Zahlen von "
                "0 bis 1."
            )

    @property
    def mask(self) -> np.ndarray:
        """bool, Form (28, 28): True auf der Fläche des Zeichens."""
        mask = np.zeros(IMAGE_SHAPE, dtype=bool)
        mask[self.top : self.top + self.size, self.left : self.left + self.size] = True
        return mask

    def stamp(self, images) -> np.ndarray:
        """Kopie von ``images`` (uint8, (…, 28, 28)), auf der jedes Bild das Zeichen trägt."""
        stamped = np.array(images, dtype=np.uint8)
        area = stamped[..., self.mask].astype(float)
        stamped[..., self.mask] = np.rint((1 - self.strength) * area + self.strength * 255).astype(np.uint8)
        return stamped


# --- Lesen ----------------------------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """Inhalt der Datei, bei ``.gz`` entpackt.

    Raises:
        CourseError: Datei fehlt, ist leer, nicht lesbar oder als gzip beschädigt.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # eine Röhre oder ein Gerät gäbe nie ein Ende
            raise OSError(0, "keine gewöhnliche Datei")
        if path.stat().st_size > MAX_BYTES:
            raise too_large(path)
        content = path.read_bytes()
    except FileNotFoundError:
        raise CourseError(
            f"Die Datei {display_path(path)} fehlt: Legen Sie sie dorthin oder nennen Sie mit --eingabe ihren Ordner."
        ) from None
    except OSError as error:
        raise CourseError(
            f"Die Datei {display_path(path)} lässt sich nicht lesen ({reason(error)}): Prüfen Sie ihre Rechte."
        ) from None
    if path.suffix == ".gz" and content:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(MAX_BYTES + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise CourseError(
                f"Die Datei {display_path(path)} ist als gzip beschädigt oder abgeschnitten: Laden Sie sie noch einmal."
            ) from None
        if len(content) > MAX_BYTES:
            raise too_large(path)
    if not content:
        raise CourseError(f"Die Datei {display_path(path)} ist leer: Laden Sie sie noch einmal.")
    return content


def too_large(path: Path) -> CourseError:
    """Der Satz zu einer Datei, die kein Fashion-MNIST sein kann (oder eine gzip-Bombe)."""
    return CourseError(
        f"Die Datei {display_path(path)} hat, auch entpackt, mehr als {german(MAX_BYTES // 1_000_000)} MB und ist kein "
        "Fashion-MNIST: Laden Sie sie noch einmal."
    )


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Liest eine CSV-Datei im Kaggle-Format ``label,pixel1,…,pixel784`` (auch ``.csv.gz``; Spielarten: pixel_table).

    Returns:
        Bilder (uint8, (n, 28, 28)) und Klassen (uint8, (n,)).

    Raises:
        CourseError: mit Datei, Zeile und Abhilfe, sobald etwas nicht stimmt.
    """
    return pixel_table.parse(read_bytes(path), display_path(path))


def _outside(values: np.ndarray, highest: int) -> bool:
    return bool(values.size) and (values.min() < 0 or values.max() > highest)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Liest eine idx-Datei (auch ``.gz``) mit uint8-Werten.

    Args:
        path: die Datei.
        dimensions: 3 für Bilder, 1 für Klassen.

    Raises:
        CourseError: bei falscher Kennung (magic number), falscher Länge oder Klassen außerhalb von 0–9.
    """
    content = read_bytes(path)
    name = display_path(path)
    expected = 0x0800 + dimensions
    header = 4 + 4 * dimensions
    magic = int.from_bytes(content[:4], "big")
    if len(content) < header or magic != expected:
        raise CourseError(
            f"{name} ist keine idx-Datei mit {'Bildern' if dimensions == 3 else 'Klassen'}: Die Kennung am Anfang ist "
            f"{magic} statt {expected}: Laden Sie die Datei noch einmal."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if shape[0] == 0:
        raise CourseError(f"{name} enthält keinen einzigen Eintrag: Laden Sie die Datei noch einmal.")
    if dimensions == 3 and shape[1:] != IMAGE_SHAPE:
        raise CourseError(
            f"{name} enthält Bilder der Größe {shape[1]} × {shape[2]} statt 28 × 28 Pixel: Laden Sie die Datei noch "
            "einmal."
        )
    if len(content) - header != int(np.prod(shape)):
        raise CourseError(
            f"{name} kündigt {german(shape[0])} Einträge an, hat aber {german(len(content) - header)} Bytes Daten "
            f"statt {german(int(np.prod(shape)))}: Laden Sie die Datei noch einmal."
        )
    values = np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
    if dimensions == 1 and _outside(values, 9):
        entry = int(np.argmax(values > 9))
        raise CourseError(
            f"{name}, Eintrag {entry + 1}: Die Klasse {values[entry]} liegt nicht zwischen 0 und 9: Laden Sie die "
            "Datei noch einmal."
        )
    return values


def _find(folder: Path, name: str, suffixes) -> Path | None:
    return next((folder / (name + s) for s in suffixes if (folder / (name + s)).is_file()), None)


def _read_csv_folder(folder: Path) -> Dataset:
    parts = []
    for name in CSV_NAMES:
        path = _find(folder, name, ("", ".gz"))
        if path is None:
            raise CourseError(
                f"In {display_path(folder)} fehlt {name} (oder {name}.gz): Es braucht beide Dateien, "
                f"{CSV_NAMES[0]} und {CSV_NAMES[1]}."
            )
        parts += read_csv(path)
    return Dataset(*parts, source=f"CSV-Dateien in {display_path(folder)}")


def _read_idx_folder(folder: Path, source: str) -> Dataset:
    parts = []
    for name in IDX_MD5:
        path = _find(folder, name, (".gz", ""))
        if path is None:
            raise CourseError(f"In {display_path(folder)} fehlt {name}.gz: Es braucht alle vier idx-Dateien.")
        parts.append(read_idx(path, 3 if "images" in name else 1))
    for images, labels in (parts[:2], parts[2:]):
        if len(images) != len(labels):
            raise CourseError(
                f"In {display_path(folder)} passen {german(len(images))} Bilder nicht zu {german(len(labels))} "
                "Klassen: Laden Sie die vier idx-Dateien noch einmal."
            )
    return Dataset(*parts, source=source)


def load_source(where: str | os.PathLike = "auto") -> Dataset:
    """Liest Fashion-MNIST aus der ersten Quelle, die da ist, und nennt sie in ``source``.

    Args:
        where: "auto" (CSV in input/, idx in input/ oder aus Debians Paket, mitgelieferte Stichprobe), "beispiel" (nur
            die Stichprobe), "voll" (alle 70.000 Bilder aus dem Netz) oder ein Ordner mit CSV- oder idx-Dateien.

    Raises:
        CourseError: wenn nichts gefunden wird oder eine Datei fehlerhaft ist.
    """
    if where == "voll":
        return download_full()
    if where == "beispiel":
        return _read_idx_folder(SAMPLE, "mitgelieferte Stichprobe in input/fashion-mnist")
    if not isinstance(where, str | os.PathLike) or not str(where):
        raise CourseError(
            f"Als Quelle der Bilder geht {where!r} nicht: Nennen Sie „beispiel“, „voll“ oder einen Ordner."
        )
    folders = [INPUT, DEBIAN_FOLDER] if where == "auto" else [Path(where)]
    if where != "auto" and not folders[0].is_dir():
        raise CourseError(f"Den Ordner {one_line(str(where))} gibt es nicht: Prüfen Sie die Angabe hinter --eingabe.")
    for folder in folders:
        if any(_find(folder, name, ("", ".gz")) for name in CSV_NAMES):
            return _read_csv_folder(folder)
        if any(_find(folder, name, (".gz", "")) for name in IDX_MD5):
            return _read_idx_folder(folder, f"idx-Dateien in {display_path(folder)}")
    if where == "auto":
        return load_source("beispiel")
    raise CourseError(
        f"In {display_path(folders[0])} liegen weder {CSV_NAMES[0]} und {CSV_NAMES[1]} noch die vier idx-Dateien: "
        "Nennen Sie mit --eingabe den Ordner, der sie enthält."
    )


def download_full() -> Dataset:
    """Lädt alle 70.000 Bilder in den Zwischenspeicher von Keras (``~/.keras/fashion-mnist``), MD5 geprüft.

    Raises:
        CourseError: ohne Netz oder bei falscher Prüfsumme; der Satz nennt die Datei zum Selbstholen.
    """
    folder = keras_home() / "fashion-mnist"
    offline = "arbeiten Sie ohne --voll mit der mitgelieferten Stichprobe"
    for name, (md5, _) in IDX_MD5.items():
        fetch(folder / f"{name}.gz", DOWNLOAD_SOURCES, md5, offline)
    return _read_idx_folder(folder, "vollständiges Fashion-MNIST, geladen und geprüft")


# --- Teilen ---------------------------------------------------------------------------------------------------------


def stratified_sample(labels, n: int | None, seed: int = 0) -> np.ndarray:
    """Aufsteigende Indizes einer Stichprobe, in der jede Klasse ihren Anteil behält.

    Args:
        labels: Klassen, Form (N,).
        n: Größe der Stichprobe (mindestens 10); None oder N für alle.
        seed: Startwert des Zufalls; derselbe Wert ergibt dieselbe Stichprobe.

    Raises:
        CourseError: wenn n kleiner als 10 oder größer als N ist.
    """
    from sklearn.model_selection import train_test_split

    total = len(labels)
    if n is None or n == total:
        return np.arange(total)
    if not 10 <= n <= total:
        raise CourseError(
            f"Eine Stichprobe von {german(n)} Bildern geht nicht: Es sind {german(total)} da, und von jeder der zehn "
            "Klassen wird mindestens eines gebraucht."
        )
    if total - n < 10 or np.unique(labels, return_counts=True)[1].min() < 2:
        # scikit-learn verlangt auf beiden Seiten jede Klasse. Hier deshalb selbst: mischen, nach Klassen ordnen und in
        # gleichen Abständen herausgreifen.
        order = np.random.default_rng(seed).permutation(total)
        order = order[np.argsort(np.asarray(labels)[order], kind="stable")]
        return np.sort(order[((np.arange(n) + 0.5) * total / n).astype(int)])
    chosen, _ = train_test_split(np.arange(total), train_size=n, stratify=labels, random_state=seed)
    return np.sort(chosen)


def validation_split(labels, share: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Teilt TRAIN geschichtet in Training und Validierung; TEST bleibt dabei unberührt.

    Returns:
        Zwei aufsteigende Indexfelder ohne gemeinsame Einträge, die zusammen alle Bilder enthalten.

    Raises:
        CourseError: bei weniger als 20 Bildern; dann bliebe zu wenig zum Trainieren.
    """
    if len(labels) < 20:
        raise CourseError(
            f"{german(len(labels))} Trainingsbilder sind zu wenig, um zehn davon zur Validierung abzutrennen: Nehmen "
            "Sie mindestens 20."
        )
    validation = stratified_sample(labels, max(10, round(share * len(labels))), seed)
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def subset(dataset: Dataset, n_train: int | None, n_test: int | None = None, seed: int = 0) -> Dataset:
    """Geschichtete Stichprobe aus beiden Teilen; None lässt den Teil ganz."""
    train = stratified_sample(dataset.train_labels, n_train, seed)
    test = stratified_sample(dataset.test_labels, n_test, seed)
    return replace(
        dataset,
        train_images=dataset.train_images[train],
        train_labels=dataset.train_labels[train],
        test_images=dataset.test_images[test],
        test_labels=dataset.test_labels[test],
    )


def poison(dataset: Dataset, watermark: Watermark, seed: int = 0) -> Dataset:
    """Der vergiftete Zwilling: Bilder einer Klasse tragen in TRAIN und TEST das Wasserzeichen.

    Das Vorbild ist das Pferd mit dem Copyright-Zeichen aus Lapuschkin et al. (2019), Nature Communications 10, 1096.
    """
    rng = np.random.default_rng(seed)

    def stamp(images, labels):
        members = np.flatnonzero(labels == watermark.label)
        chosen = rng.permutation(members)[: round(watermark.share * len(members))]
        images = images.copy()
        images[chosen] = watermark.stamp(images[chosen])
        return images

    return replace(
        dataset,
        train_images=stamp(dataset.train_images, dataset.train_labels),
        test_images=stamp(dataset.test_images, dataset.test_labels),
        source=f"{dataset.source}, Klasse {CLASS_NAMES[watermark.label]} mit Wasserzeichen",
        mask=watermark.mask,
    )


# --- Ansehen --------------------------------------------------------------------------------------------------------


def nearest_neighbors(reference, queries, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Die ähnlichsten Bilder aus ``reference`` zu jedem Bild in ``queries``.

    Returns:
        Indizes (m, count) in ``reference`` und die mittlere absolute Pixelabweichung (m, count) in Grauwerten (0–255).
    """
    from sklearn.neighbors import NearestNeighbors

    def flat(images):
        return images.reshape(len(images), -1).astype(np.float32)

    # Die euklidische Suche nutzt schnelle Matrixprodukte; der Abstand wird danach in Grauwerten angegeben.
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(flat(reference))
    _, indices = search.kneighbors(flat(queries))
    # Ein Nachbar nach dem anderen: Alle zugleich bräuchten bei 60.000 Bildern mehrere Gigabyte.
    difference = [np.abs(flat(queries) - flat(reference)[column]).mean(axis=-1) for column in indices.T]
    return indices, np.stack(difference, axis=1)


def doubtful_labels(images, labels, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Bilder, deren ``count`` ähnlichste Nachbarn *alle* derselben anderen Klasse angehören.

    Returns:
        Aufsteigende Indizes der zweifelhaften Bilder und die Klasse ihrer Nachbarn.
    """
    neighbors, _ = nearest_neighbors(images, images, count + 1)
    rows = np.arange(len(images))[:, None]
    # Jedes Bild ist sein eigener nächster Nachbar; bei Doppelgängern kann es auf Platz zwei stehen.
    own = neighbors == rows
    own[~own.any(axis=1), -1] = True
    votes = labels[neighbors[~own].reshape(len(images), count)]
    unanimous = (votes == votes[:, :1]).all(axis=1) & (votes[:, 0] != labels)
    found = np.flatnonzero(unanimous)
    return found, votes[found, 0]


# --- PNG-Ordner -----------------------------------------------------------------------------------------------------


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
    target = Path(target).absolute()
    if target.exists() and not target.is_dir():
        raise CourseError(f"{display_path(target)} ist eine Datei: Nennen Sie mit --ziel einen Ordner.")
    try:
        foreign = _foreign_file(target)
    except OSError as error:
        raise CourseError(
            f"Der Ordner {display_path(target)} lässt sich nicht lesen ({reason(error)}): Prüfen Sie seine Rechte."
        ) from None
    if foreign:
        raise CourseError(
            f"Der Ordner {display_path(target)} enthält schon andere Dateien ({foreign}): Nennen Sie mit --ziel einen "
            "neuen Ordner; es wurde nichts verändert."
        )
    try:
        _write_parts(dataset, target, note)
    except OSError as error:
        raise CourseError(
            f"Nach {display_path(target)} ließ sich nicht schreiben ({reason(error)}): Prüfen Sie den freien Platz "
            "und die Rechte; es wurde nichts verändert."
        ) from None
    return target


def _foreign_file(target: Path) -> str | None:
    """Ein Eintrag in ``target``, den ``write_tree`` nicht geschrieben hat; None, wenn es keinen gibt."""
    if not target.is_dir():
        return None
    ours = (target / PROVENANCE).is_file()
    names = (path.relative_to(target).as_posix() for path in target.rglob("*"))
    return next((name for name in names if not (ours and OWN_FILES.fullmatch(name))), None)


def _write_parts(dataset: Dataset, target: Path, note: dict | None) -> None:
    parts = {
        "TRAIN": (dataset.train_images, dataset.train_labels),
        "TEST": (dataset.test_images, dataset.test_labels),
    }
    total = sum(len(images) for images, _ in parts.values())
    with atomic_folder(target) as folder, progress(total=total, text="PNG-Dateien", unit="Bilder") as bar:
        for part, (images, labels) in parts.items():
            for label in range(len(CLASS_NAMES)):
                (folder / part / str(label)).mkdir(parents=True)
            _write_images(folder / part, images, labels, bar)
        written = sum(1 for _ in folder.rglob("*.png"))
        if written != total:
            raise CourseError(
                f"Nur {german(written)} von {german(total)} Bildern ließen sich nach {display_path(target)} schreiben: "
                "Prüfen Sie den freien Platz; es wurde nichts verändert."
            )
        if dataset.mask is not None:
            _save_png(folder / "maske.png", dataset.mask.astype(np.uint8) * 255)
        write_json(
            folder / PROVENANCE,
            {
                "quelle": dataset.source,
                "n_train": len(dataset.train_labels),
                "n_test": len(dataset.test_labels),
                "herkunft": provenance((note or {}).get("seed"), None, checksum(dataset)),
                **(note or {}),
            },
        )


def _save_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    # Schwache Kompression: dreimal so schnell, und die kleinen Dateien belegen ohnehin einen ganzen Block.
    Image.fromarray(image).save(path, compress_level=1)


def _write_images(folder: Path, images, labels, bar) -> None:
    def write(chunk):
        for index in chunk:
            _save_png(folder / str(labels[index]) / f"{index:05d}.png", images[index])
        bar.update(len(chunk))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, np.array_split(np.arange(len(images)), max(1, len(images) // 500))))


def read_tree(target: str | os.PathLike) -> Dataset:
    """Liest einen Ordner, den ``write_tree`` geschrieben hat, Bild für Bild in der alten Reihenfolge.

    Raises:
        CourseError: wenn der Ordner fehlt, Bilder fehlen oder eines nicht lesbar ist.
    """
    target = Path(target)
    with locked(target.absolute().parent):
        return _read_tree(target)


def _read_tree(target: Path) -> Dataset:
    note = read_json(target / PROVENANCE, {}, remedy=REWRITE_DATA)
    if not {"quelle", "n_train", "n_test"} <= note.keys():
        raise CourseError(
            f"In {display_path(target)} liegen keine Bilder dieses Kurses: Führen Sie zuerst 01_Daten oder "
            "„python -m helpers daten“ aus."
        )
    counts = [note["n_train"], note["n_test"]]
    if not all(isinstance(count, int) and count >= 1 for count in counts) or not isinstance(note["quelle"], str):
        raise CourseError(f"In {display_path(target / PROVENANCE)} stehen falsche Angaben: {REWRITE_DATA}.")
    parts = []
    for part, expected in (("TRAIN", note["n_train"]), ("TEST", note["n_test"])):
        files = sorted((target / part).glob("[0-9]/*.png"), key=lambda path: path.stem)
        if len(files) != expected:
            raise CourseError(
                f"In {display_path(target / part)} liegen {german(len(files))} statt {german(expected)} Bilder: "
                "Schreiben Sie den Ordner mit „python -m helpers daten“ neu."
            )
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(_load_png, files, chunksize=500))
        parts += [np.stack(images), np.array([int(path.parent.name) for path in files], dtype=np.uint8)]
    mask = _load_png(target / "maske.png") > 127 if (target / "maske.png").is_file() else None
    return Dataset(*parts, source=note["quelle"], mask=mask)


def _load_png(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        if path.stat().st_size > MAX_PNG_BYTES:
            raise OSError("zu groß")
        content = io.BytesIO(path.read_bytes())
        # verify vergleicht die Prüfsummen; ohne sie gäbe ein gekipptes Bit still andere Pixel.
        with Image.open(content, formats=["PNG"]) as image:
            size, mode = image.size, image.mode
            image.verify()
        if size != IMAGE_SHAPE or mode != "L":
            values = np.empty((0, 0))
        else:
            with Image.open(content, formats=["PNG"]) as image:
                values = np.array(image)
    except Exception:  # Pillow wirft bei kaputten Dateien auch IndexError, SyntaxError und anderes
        raise CourseError(
            f"Das Bild {display_path(path)} lässt sich nicht lesen: Schreiben Sie den Ordner mit "
            "„python -m helpers daten“ neu."
        ) from None
    if values.shape != IMAGE_SHAPE or values.dtype != np.uint8:
        raise CourseError(
            f"Das Bild {display_path(path)} ist kein Graustufenbild mit 28 × 28 Pixeln: Schreiben Sie den Ordner mit "
            "„python -m helpers daten“ neu."
        )
    return values


def generate(
    where="auto", target=None, n_train=None, n_test=None, seed=0, watermark: Watermark | None = None
) -> tuple[Dataset, Path]:
    """Quelle lesen, Stichprobe ziehen, auf Wunsch vergiften, als PNG-Ordner schreiben (``python -m helpers daten``)."""
    source = load_source(where)
    dataset = subset(source, n_train, n_test, seed)
    note = {"seed": seed, "woher": str(Path(where).absolute() if Path(where).is_dir() else where)}
    note["vorhanden"] = {"n_train": len(source.train_labels), "n_test": len(source.test_labels)}
    folder = "daten"
    if watermark is not None:
        dataset = poison(dataset, watermark, seed)
        note["wasserzeichen"] = vars(watermark)
        folder = "daten_vergiftet"
    return dataset, write_tree(dataset, target or output_dir() / folder, note)


def make_sample(source: Path = DEBIAN_FOLDER, target: Path = SAMPLE, n_train: int = 10_000, seed: int = 2020) -> Path:
    """Schneidet die mitgelieferte Stichprobe aus den vier originalen idx-Dateien (``python -m helpers stichprobe``).

    Geprüft werden die MD5-Summen der ausgepackten Originale; die gzip-Dateien sind bei jedem Lauf bytegleich.
    """
    for name, (_, md5) in IDX_MD5.items():
        if hashlib.md5(read_bytes(source / f"{name}.gz")).hexdigest() != md5:
            raise CourseError(
                f"{name}.gz in {display_path(source)} ist nicht das Original von Zalando (die MD5-Summe stimmt nicht): "
                "Nennen Sie mit --eingabe den Ordner der vier Originale."
            )
    original = _read_idx_folder(source, "Original")
    sample = subset(original, n_train, None, seed)
    parts = (sample.train_images, sample.train_labels, sample.test_images, sample.test_labels)
    target.mkdir(parents=True, exist_ok=True)
    sums = []
    for name, values in zip(IDX_MD5, parts, strict=True):
        header = struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape)
        path = target / f"{name}.gz"
        # zlib schreibt selbst einen gzip-Kopf ohne Name und Datum; der von gzip.compress hängt von Pythons Version ab.
        path.write_bytes(zlib.compress(header + values.tobytes(), 9, wbits=31))
        sums.append(f"{sha256(path)}  {path.name}\n")
    (target / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    return target
