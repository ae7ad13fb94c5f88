"""Eigene Bilder: aus einem Ordner wird ein Datensatz mit beliebigen Klassen, in Farbe, in einer Größe.

Gelesen werden ein Ordner je Klasse, ``train/`` und ``test/`` (auch ``val/``) mit einem Ordner je Klasse, oder Bilder
mit einer Tabelle. Im Arbeitsspeicher liegt nur, wonach jemand fragt: 20.000 Bilder brauchen nicht mehr als 200.
"""

import hashlib
import os
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.basics import CLASS_NAMES, display_path, german, one_line
from helpers.data import Dataset, stratified_sample
from helpers.inner.files import IMAGE_SHAPE, broken
from helpers.inner.rows import Rows
from helpers.own.picture_files import read_mask, stored
from helpers.own.picture_folder import WHERE, Item, natural, read_folder
from helpers.settings import check_number

MIN_EDGE, MAX_EDGE, MAX_CLASSES, MIN_IMAGES = 64, 224, 200, 30
TEST_SHARE, VAL_SHARE = 5, 10  # jedes fünfte Bild zum Testen, jedes zehnte zur Validierung


@dataclass(frozen=True)
class Pictures:
    """Ein Datensatz aus eigenen Bildern.

    Attributes:
        class_names: Namen der Klassen in natürlicher Reihenfolge („Klasse 2“ vor „Klasse 10“), 2 bis 200.
        paths: Teil („train“, „test“; „val“ nur, wenn es ihn gibt) → Dateien.
        labels: Teil → Klassen, int, (n,).
        images: Teil → Bilder, uint8, (n, size, size, 3), auf der Platte (``helpers.inner.rows``) oder als Feld.
        masks: Teil → zu jedem Bild die Datei mit seiner Maske oder None; leer ohne ``masken/``.
        size: Kantenlänge in Pixeln.
        crop: aus Bildern, die nicht quadratisch sind, ist die Mitte ausgeschnitten statt ein Rand ergänzt.
        source: wie der Ordner in Sätzen heißt.
    """

    class_names: tuple[str, ...]
    paths: dict[str, tuple[Path, ...]]
    labels: dict[str, np.ndarray]
    images: dict[str, Rows | np.ndarray]
    masks: dict[str, tuple[Path | None, ...]]
    size: int
    crop: bool
    source: str

    def load(self, part: str, rows=None) -> np.ndarray:
        """Bilder eines Teils, uint8, (n, size, size, 3), oder nur die mit diesen Nummern."""
        return self.images[part][slice(None) if rows is None else rows]

    def load_masks(self, part: str, rows) -> np.ndarray:
        """Masken zu Bildern, die eine haben: bool, (n, size, size), True auf dem Gegenstand.

        Raises:
            CourseError: wenn eine nicht lesbar ist oder nicht zu ihrem Bild passt.
        """
        return np.stack([read_mask(self.paths[part][row], self.masks[part][row], self.size, self.crop) for row in rows])

    def sample(self, n_train: int | None, n_test: int | None, seed: int = 0) -> "Pictures":
        """Geschichtete Stichprobe aus Training und Test; None oder mehr, als da sind, lässt den Teil ganz."""
        parts = {part: np.arange(len(labels)) for part, labels in self.labels.items()}
        for part, count in (("train", n_train), ("test", n_test)):
            if count is not None and count < len(parts[part]):
                parts[part] = stratified_sample(self.labels[part], count, seed)
        return replace(
            self,
            paths={part: tuple(self.paths[part][row] for row in rows) for part, rows in parts.items()},
            labels={part: self.labels[part][rows] for part, rows in parts.items()},
            images={part: self.images[part].take(rows) for part, rows in parts.items()},
            masks={part: tuple(self.masks[part][row] for row in parts[part]) for part in self.masks},
        )


def of_dataset(dataset: Dataset) -> Pictures:
    """Fashion-MNIST, wie eigene Bilder gefragt: seine zehn Namen, Graustufen (n, 28, 28), alles im Speicher."""
    parts = dict(zip(("train", "test"), dataset.parts, strict=True))
    labels = {part: labels for part, (_, labels) in parts.items()}
    images = {part: images for part, (images, _) in parts.items()}
    return Pictures(CLASS_NAMES, {}, labels, images, {}, IMAGE_SHAPE[0], False, dataset.source)


def read_pictures(folder, size: int = 128, crop: bool = False, skip_broken: bool = False, seed: int = 0) -> Pictures:
    """Liest einen Ordner voller Bilder und sagt, was dabei geschah.

    Args:
        folder: ein Ordner je Klasse; ``train/``, ``test/``, ``val/`` (auch deutsch) mit einem Ordner je Klasse; oder
            Bilder und eine Tabelle (siehe ``picture_folder.read_table``). In ``masken/`` dürfen unter gleichen Namen
            Masken liegen, hell, wo der Gegenstand ist.
        size: Kantenlänge in Pixeln, 64–224; sind alle Bilder kleiner, die des größten (dann vergrößert erst das Netz).
        crop: Mitte ausschneiden; sonst kommt um Bilder, die nicht quadratisch sind, ein grauer Rand.
        skip_broken: unlesbare Bilder auslassen und zählen.
        seed: Startwert der Teilung, wo der Ordner keine vorgibt.

    Raises:
        CourseError: in einem Satz mit Pfad und Abhilfe, wenn daraus kein Datensatz wird.
    """
    check_number("Die Bildgröße", size, MIN_EDGE, MAX_EDGE)
    folder = Path(os.path.abspath(folder))
    items, masks, ignored = read_folder(folder)
    _class_names(folder, items)
    _parts(folder, items, seed)  # was nicht geht, soll niemand erst nach dem Lesen aller Bilder erfahren
    images, readable, uneven = stored(folder, [item.path for item in items], size, crop, skip_broken)
    items = [item for item, fine in zip(items, readable, strict=True) if fine]
    images, size = images.take(np.flatnonzero(readable)), images.shape[1]
    names = _class_names(folder, items)
    parts = _parts(folder, items, seed)
    number_of = {name: number for number, name in enumerate(names)}
    pictures = Pictures(
        names,
        {part: tuple(items[row].path for row in rows) for part, rows in parts.items()},
        {part: np.array([number_of[items[row].name] for row in rows]) for part, rows in parts.items()},
        {part: images.take(rows) for part, rows in parts.items()},
        {part: tuple(masks.get(items[row].path) for row in rows) for part, rows in parts.items()} if masks else {},
        size,
        crop,
        f"Bilder in {display_path(folder)}",
    )
    print(f"{pictures.source}: {len(names)} Klassen, {german(len(items))} Bilder von {size} × {size} Pixeln")
    if ignored:
        common = Counter(one_line(path.name) for path in ignored).most_common(5)
        shown = ", ".join(f"{name} ({count}-mal)" if count > 1 else name for name, count in common)
        print(f"Übergangen, weil keine Bilder: {german(len(ignored))} ({shown}{' …' * (len(common) < len(ignored))})")
    if not readable.all():
        print(f"Ausgelassen, weil nicht lesbar: {german(int((~readable).sum()))}")
    if uneven:
        how = "die Mitte ausgeschnitten" if crop else "ein grauer Rand ergänzt und nichts abgeschnitten"
        print(f"Nicht quadratisch sind {german(uneven)}: Dort ist {how}.")
    if masks:
        print(f"Masken gibt es zu {german(len(masks))} Bildern.")
    _warn_of_twins(folder, pictures)
    return pictures


def _class_names(folder: Path, items: list[Item]) -> tuple[str, ...]:
    """Die Namen der Klassen in natürlicher Reihenfolge, wenn mit ihnen zu lernen ist."""
    counts = Counter(item.name for item in items)
    if not counts:
        raise broken(folder, " enthält keine Bilder", WHERE)
    if len(counts) == 1:
        raise broken(folder, f" enthält nur die Klasse „{min(counts)}“, es braucht mindestens zwei", WHERE)
    if len(counts) > MAX_CLASSES:
        raise broken(folder, f" enthält {len(counts)} Klassen, möglich sind höchstens {MAX_CLASSES}", WHERE)
    if lonely := min((name for name, count in counts.items() if count == 1), key=natural, default=None):
        fault = f": Die Klasse „{lonely}“ hat nur ein Bild, es braucht eines zum Lernen und eines zum Testen"
        raise broken(folder, fault, "Legen Sie weitere dazu oder nehmen Sie die Klasse heraus")
    if len(items) < MIN_IMAGES:
        fault = f" enthält nur {len(items)} Bilder, es braucht mindestens {MIN_IMAGES}"
        raise broken(folder, fault, "Legen Sie weitere dazu")
    return tuple(sorted(counts, key=natural))


# --- Teilen ----------------------------------------------------------------------------------------------------------


def _parts(folder: Path, items: list[Item], seed: int) -> dict[str, np.ndarray]:
    """Teil → Nummern der Bilder; was der Ordner nicht vorgibt, wird geschichtet gezogen, Gruppen bleiben beisammen."""
    names, given = np.array([item.name for item in items]), np.array([item.part or "train" for item in items])
    groups = None
    if any(item.group for item in items):  # ohne Angabe ist ein Bild seine eigene Gruppe
        groups = np.unique([item.group or f"\0{row}" for row, item in enumerate(items)], return_inverse=True)[1]
    if "test" not in given:
        given[_held_out(names, groups, given == "train", TEST_SHARE, seed)] = "test"
    if groups is not None:
        given[_held_out(names, groups, given == "train", VAL_SHARE, seed)] = "val"
    parts = {part: np.flatnonzero(given == part) for part in ("train", "val", "test") if (given == part).any()}
    for part in ("train", "test"):
        if missing := set(names) - set(names[parts.get(part, [])]):
            fault = f": Im Teil „{part}“ fehlt die Klasse „{min(missing, key=natural)}“"
            remedy = "Legen Sie dort Bilder dieser Klasse dazu"
            if groups is not None:
                remedy = "Jede Klasse braucht Bilder aus mehreren Gruppen"
            raise broken(folder, fault, remedy)
    return parts


def _held_out(names, groups, among, share: int, seed: int) -> np.ndarray:
    """Jedes ``share``-te der Bilder ``among`` (bool, (n,)); ohne Gruppen von jeder Klasse mindestens eines: Nummern."""
    rows = np.flatnonzero(among)
    if groups is None:
        rng, held = np.random.default_rng(seed), []
        for name in np.unique(names[rows]):
            members = rng.permutation(rows[names[rows] == name])
            held.append(members[: max(1, round(len(members) / share))])
        return np.concatenate(held)
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(share, len(np.unique(groups[rows])))
    if folds < 2:
        return rows[:0]
    with warnings.catch_warnings():  # eine Klasse mit wenigen Bildern; ob sie in beiden Teilen ist, wird danach geprüft
        warnings.simplefilter("ignore")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        return rows[next(splitter.split(rows, names[rows], groups[rows]))[1]]


def _warn_of_twins(folder: Path, pictures: Pictures) -> None:
    """Sagt, welche Bilder in zwei Teilen gleich sind, Pixel für Pixel: Sie prüfen nur das Gedächtnis des Netzes."""
    seen, twins = {}, []
    for part, paths in pictures.paths.items():
        for path, image in zip(paths, pictures.images[part], strict=True):
            first, known = seen.setdefault(hashlib.sha256(image.tobytes()).digest(), (part, path))
            if first != part:
                twins.append(" und ".join(one_line(each.relative_to(folder).as_posix()) for each in (known, path)))
    if twins:
        more = f" und {german(len(twins) - 3)} weitere" if len(twins) > 3 else ""
        print(f"Achtung, dasselbe Bild in zwei Teilen: {'; '.join(twins[:3])}{more}. Die Trefferquote wird so zu gut.")
