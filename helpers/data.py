"""Fashion-MNIST: woher die Bilder kommen, wie sie geteilt, vergiftet, verglichen und als PNG-Ordner abgelegt werden.

Bilder sind überall ``uint8``-Felder der Form (n, 28, 28) mit Werten von 0 (schwarz) bis 255 (weiß), Klassen
``uint8``-Felder der Form (n,) mit Werten von 0 bis 9 in der Reihenfolge von ``basics.CLASS_NAMES``.

Quelle der Daten: Xiao, Rasul, Vollgraf (2017), Fashion-MNIST, arXiv 1708.07747 (MIT-Lizenz, Zalando SE).
"""

import hashlib
import os
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from helpers.basics import (
    CLASS_NAMES,
    INPUT,
    CourseError,
    atomic_folder,
    display_path,
    german,
    locked,
    one_line,
    output_dir,
    read_json,
    write_json,
)
from helpers.download import fetch, keras_home
from helpers.files import (
    CSV_NAMES,
    IMAGE_SHAPE,
    PROVENANCE,
    REWRITE_DATA,
    find,
    load_png,
    read_csv_folder,
    read_idx_folder,
    read_images,
    refuse_foreign,
    save_png,
    write_images,
)
from helpers.provenance import provenance

SAMPLE = INPUT / "fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# Die vier Originale mit ihrer MD5-Summe als .gz, wie Keras und torchvision sie laden.
IDX_MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
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
    train = dataset.train_images, dataset.train_labels
    return training_checksum(*train, dataset.test_images, dataset.test_labels)


def training_checksum(*fields) -> str:
    """SHA-256 der Bilder und Klassen, mit denen ein Modell trainiert wurde."""
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
        top, left: obere linke Ecke in Pixeln (0 ist oben bzw. links); das ganze Zeichen muss im Bild liegen.
        strength: Deckkraft von 0 (unsichtbar) bis 1 (weiß).
        share: Anteil der Bilder der Klasse, die das Zeichen bekommen (0–1).

    Raises:
        CourseError: bei einem Wert außerhalb dieser Grenzen.
    """

    label: int = 4
    size: int = 4
    top: int = 23
    left: int = 1
    strength: float = 1.0
    share: float = 1.0

    def __post_init__(self):
        def check(name, value, highest, lowest=0, kind=Integral):
            if not isinstance(value, kind) or isinstance(value, bool) or not lowest <= value <= highest:
                what = "ganze Zahl" if kind is Integral else "Zahl"
                raise CourseError(
                    f"{name} des Wasserzeichens braucht eine {what} von {lowest} bis {highest}, nicht {value!r}; das "
                    "ganze Zeichen muss im Bild (28 × 28 Pixel) liegen."
                )

        check("Klasse", self.label, 9)
        check("Größe", self.size, 28, lowest=1)
        check("Zeile", self.top, 28 - self.size)
        check("Spalte", self.left, 28 - self.size)
        check("Stärke", self.strength, 1, kind=Real)
        check("Anteil", self.share, 1, kind=Real)

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


# --- Woher die Bilder kommen ----------------------------------------------------------------------------------------


def load_source(where: str | os.PathLike = "auto") -> Dataset:
    """Liest Fashion-MNIST aus der ersten Quelle, die da ist, und nennt sie in ``source``.

    Args:
        where: "auto" (CSV in input/, idx in input/ oder aus Debians Paket, mitgelieferte Stichprobe), "beispiel" (nur
            die Stichprobe), "voll" (alle 70.000 Bilder aus dem Netz) oder ein Ordner mit CSV- oder idx-Dateien.

    Raises:
        CourseError: wenn nichts gefunden wird, eine Datei fehlerhaft ist oder das Netz fehlt.
    """
    if where == "voll":
        folder = keras_home() / "fashion-mnist"
        offline = "arbeiten Sie ohne --voll mit der mitgelieferten Stichprobe"
        for name, md5 in IDX_MD5.items():
            fetch(folder / f"{name}.gz", DOWNLOAD_SOURCES, md5, offline)
        return Dataset(*read_idx_folder(folder), source="vollständiges Fashion-MNIST, geladen und geprüft")
    if where == "beispiel":
        return Dataset(*read_idx_folder(SAMPLE), source="mitgelieferte Stichprobe in input/fashion-mnist")
    if not isinstance(where, str | os.PathLike) or not str(where):
        raise CourseError(
            f"Als Quelle der Bilder geht {where!r} nicht: Nennen Sie „beispiel“, „voll“ oder einen Ordner."
        )
    folders = [INPUT, DEBIAN_FOLDER] if where == "auto" else [Path(where)]
    if where != "auto" and not folders[0].is_dir():
        raise CourseError(f"Den Ordner {one_line(str(where))} gibt es nicht: Prüfen Sie die Angabe hinter --eingabe.")
    for folder in folders:
        if any(find(folder, name) for name in CSV_NAMES):
            return Dataset(*read_csv_folder(folder), source=f"CSV-Dateien in {display_path(folder)}")
        if any(find(folder, name) for name in IDX_MD5):
            return Dataset(*read_idx_folder(folder), source=f"idx-Dateien in {display_path(folder)}")
    if where == "auto":
        return load_source("beispiel")
    raise CourseError(
        f"In {display_path(folders[0])} liegen weder {CSV_NAMES[0]} und {CSV_NAMES[1]} noch die vier idx-Dateien: "
        "Nennen Sie mit --eingabe den Ordner, der sie enthält."
    )


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
    target, note = Path(target).absolute(), note or {}
    refuse_foreign(target)
    with atomic_folder(target) as folder:
        write_images(folder / "TRAIN", dataset.train_images, dataset.train_labels)
        write_images(folder / "TEST", dataset.test_images, dataset.test_labels)
        if dataset.mask is not None:
            save_png(folder / "maske.png", dataset.mask.astype(np.uint8) * 255)
        content = {
            "quelle": dataset.source,
            "n_train": len(dataset.train_labels),
            "n_test": len(dataset.test_labels),
            "herkunft": provenance(note.get("seed"), None, checksum(dataset)),
        }
        write_json(folder / PROVENANCE, {**content, **note})
    return target


def read_tree(target: str | os.PathLike) -> Dataset:
    """Liest einen Ordner, den ``write_tree`` geschrieben hat, Bild für Bild in der alten Reihenfolge.

    Raises:
        CourseError: wenn der Ordner fehlt, Bilder fehlen oder eines nicht lesbar ist.
    """
    target = Path(target)
    with locked(target.absolute().parent):
        note = read_json(target / PROVENANCE, {}, remedy=REWRITE_DATA)
        if not {"quelle", "n_train", "n_test"} <= note.keys():
            raise CourseError(
                f"In {display_path(target)} liegen keine Bilder dieses Kurses: Führen Sie zuerst 01_Daten oder "
                "„python -m helpers daten“ aus."
            )
        train = read_images(target / "TRAIN", note["n_train"])
        test = read_images(target / "TEST", note["n_test"])
        mask = load_png(target / "maske.png") > 127 if (target / "maske.png").is_file() else None
    return Dataset(*train, *test, source=str(note["quelle"]), mask=mask)


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
