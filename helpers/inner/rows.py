"""Felder, die auf der Platte bleiben: Von 20.000 Bildern liegen nur die im Arbeitsspeicher, nach denen jemand fragt.

Eine Datei ist ein gewöhnliches ``.npz`` (``np.load`` liest es): das Feld ``zeilen``, Zeile für Zeile geschrieben, und
daneben kleine Felder, etwa die Prüfsummen der Bilder.
"""

import os
import zipfile
from pathlib import Path

import numpy as np

from helpers.basics import atomic_file

ROWS = "zeilen"


class Rows:
    """Zeilen aus Dateien, die aussehen wie ein Feld: ``len``, ``shape``, ``rows[5]``, ``rows[2:9]``, ``rows[[4, 1]]``.

    Gelesen wird bei jedem Zugriff, ohne die Datei einzublenden: Was einmal gefragt war, belegt keinen Speicher mehr.

    Attributes:
        shape: Form des ganzen Felds, (n, …).
    """

    def __init__(self, files: list, places: np.ndarray, row_shape: tuple, dtype):
        self._files, self._places, self.dtype = files, places, np.dtype(dtype)  # Datei und Byte jeder Zeile, (n, 2)
        self.shape = (len(places), *row_shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self._places)

    def take(self, rows) -> "Rows":
        """Diese Zeilen, in dieser Reihenfolge, auch mehrfach; gelesen wird noch nichts."""
        return Rows(self._files, self._places[rows], self.shape[1:], self.dtype)

    def __getitem__(self, rows) -> np.ndarray:
        chosen = self._places[rows]
        values = np.empty((*chosen.shape[:-1], *self.shape[1:]), self.dtype)
        size = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        for row, (file, place) in zip(values.reshape(-1, *self.shape[1:]), chosen.reshape(-1, 2), strict=True):
            row[...] = np.frombuffer(os.pread(self._files[file].fileno(), size, place), self.dtype).reshape(row.shape)
        return values

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def joined(parts: list[Rows]) -> Rows:
    """Mehrere Felder mit gleichen Zeilen hintereinander, auch aus verschiedenen Dateien."""
    first, *_ = parts
    files = [file for part in parts for file in part._files]
    starts = np.cumsum([0, *(len(part._files) for part in parts)])
    places = [part._places + (start, 0) for part, start in zip(parts, starts, strict=False)]
    return Rows(files, np.concatenate(places), first.shape[1:], first.dtype)


def write_rows(path, count: int, row_shape: tuple, dtype, batches, **others) -> None:
    """Schreibt ``count`` Zeilen, die in Stapeln kommen, und danach kleine Felder; ganz oder gar nicht.

    Args:
        batches: ergibt Felder (m, *row_shape), zusammen ``count`` Zeilen.
        others: Name → Funktion ohne Angaben, die das Feld ergibt; gefragt wird sie, wenn alle Zeilen da sind.
    """
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (count, *row_shape)}
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(f"{ROWS}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for batch in batches:
                file.write(np.ascontiguousarray(batch, dtype).data)
        for name, values in others.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, values(), allow_pickle=False)


def open_rows(path, row_shape: tuple, dtype) -> tuple[Rows, dict]:
    """Die Zeilen einer Datei von ``write_rows`` und die kleinen Felder daneben, Name → Feld.

    Raises:
        ValueError, KeyError, OSError, zipfile.BadZipFile: wenn die Datei fehlt, beschädigt ist oder anderes enthält.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{ROWS}.npy")
        names = [name for name in archive.namelist() if name != info.filename]
        others = {}
        for name in names:
            with archive.open(name) as file:
                others[Path(name).stem] = np.lib.format.read_array(file, allow_pickle=False)
    file = open(path, "rb", buffering=0)
    file.seek(info.header_offset)
    head = file.read(30)
    start = info.header_offset + 30 + sum(int.from_bytes(head[each : each + 2], "little") for each in (26, 28))
    file.seek(start)
    version = np.lib.format.read_magic(file)
    shape, fortran_order, found = np.lib.format.read_array_header_1_0(file)
    first, size = file.tell(), np.dtype(dtype).itemsize * int(np.prod(row_shape))
    whole = info.compress_type == zipfile.ZIP_STORED and start + info.file_size == first + shape[0] * size
    if version != (1, 0) or fortran_order or found != np.dtype(dtype) or shape[1:] != tuple(row_shape) or not whole:
        raise ValueError("andere Zeilen")
    places = np.stack([np.zeros(shape[0], int), first + size * np.arange(shape[0])], axis=1)
    return Rows([file], places, row_shape, dtype), others
