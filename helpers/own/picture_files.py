"""Bilddateien lesen: welche eine ist, sagt ihr Inhalt; heraus kommen Quadrate in Farbe, abgelegt auf der Platte.

Gelesen wird mit Pillow, und zwar jede Datei genau einmal: Die Quadrate liegen danach in ``ausgabe/merkmale``.
"""

import contextlib
import hashlib
import stat
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from helpers.basics import german, output_dir, progress, reason
from helpers.inner.files import broken
from helpers.inner.rows import Rows, open_rows, write_rows

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
# Endungen, hinter denen man ein Bild erwartet, auch solche, die der Kurs nicht liest: Übergangen wird davon keines.
ENDINGS = set("jpg jpeg jpe jfif png bmp gif webp ppm pgm pbm pnm tif tiff heic heif avif jxl jp2 psd svg".split())
# Rand um Bilder, die nicht quadratisch sind: der Mittelwert von ImageNet, im Netz also 0.
GRAY = (124, 117, 104)
CHUNK = 256  # so viele Bilder zugleich im Speicher
REMEDY = "Speichern Sie es neu als JPEG oder PNG oder lassen Sie Unlesbares mit --ohne-beschaedigte weg"


def is_picture(path: Path) -> bool:
    """Ist die Datei ein Bild, oder sollte sie nach ihrer Endung eines sein?"""
    if path.suffix[1:].lower() in ENDINGS:
        return True
    with contextlib.suppress(Exception), _opened(path):
        return True
    return False


def _opened(path: Path) -> Image.Image:
    """Das Bild, nur der Kopf gelesen; was keine Datei ist, etwa eine Röhre, wird nicht geöffnet."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("keine Datei")
    with warnings.catch_warnings():  # sehr große Bilder und seltsame EXIF-Angaben: Gelesen werden sie doch
        warnings.simplefilter("ignore")
        return Image.open(path, formats=FORMATS)


def read_picture(path: Path, size: int | None = None, crop: bool = False) -> np.ndarray | str:
    """Ein Bild als uint8, (h, b, 3), oder als Quadrat (size, size, 3); was nicht zu lesen ist, ergibt den Grund.

    Gedreht, wie EXIF es sagt; von 16 Bit die oberen acht; Durchsichtiges auf Weiß; Graues in drei gleichen Kanälen;
    von bewegten Bildern das erste.

    Args:
        size: Kantenlänge in Pixeln.
        crop: aus Bildern, die nicht quadratisch sind, die Mitte ausschneiden statt einen grauen Rand zu ergänzen.
    """
    try:
        _opened(path).verify()  # bei PNG die Prüfsummen
        with _opened(path) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            colored = _rgb(ImageOps.exif_transpose(image))
        if size and crop:
            colored = ImageOps.fit(colored, (size, size))
        elif size:
            colored = ImageOps.pad(colored, (size, size), color=GRAY)
        return np.asarray(colored)
    except Image.DecompressionBombError:
        return "zu viele Pixel"
    except OSError as error:
        if error.errno:
            return reason(error)
    except Exception:  # Pillow wirft bei kaputten Dateien auch IndexError, SyntaxError und anderes
        pass
    return "beschädigt, abgeschnitten oder in keinem bekannten Format"


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("Kommazahlen")
    if image.mode.startswith("I"):  # 16 Bit; Pillows eigene Umwandlung schnitte alles über 255 ab
        values = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def read_mask(path: Path, mask: Path, size: int, crop: bool) -> np.ndarray:
    """Die Maske zu einem Bild, zugeschnitten wie das Bild: bool, (size, size).

    Raises:
        CourseError: wenn eines nicht lesbar ist oder die Seitenverhältnisse andere sind.
    """
    pixels = {each: read_picture(each) for each in (mask, path)}
    for each, found in pixels.items():
        if isinstance(found, str):
            raise broken(each, f" ist nicht lesbar ({found})", REMEDY)
    whole, picture = map(Image.fromarray, pixels.values())
    if abs(whole.width * picture.height - whole.height * picture.width) > max(picture.size):
        sizes = f" hat {whole.width} × {whole.height} Pixel, ihr Bild aber {picture.width} × {picture.height}"
        raise broken(mask, sizes, "Speichern Sie die Maske in der Größe ihres Bilds")
    fitted = ImageOps.fit if crop else ImageOps.pad
    return np.asarray(fitted(whole.convert("L"), (size, size), Image.Resampling.NEAREST)) > 127


def stored(folder: Path, paths: list[Path], size: int, crop: bool, skip_broken: bool) -> tuple[Rows, np.ndarray, int]:
    """Alle Bilder als Quadrate, die auf der Platte liegen; gelesen wird nur, wenn eine Datei neu oder anders ist.

    Args:
        folder: der Ordner, in dem alle liegen.
        paths: die Dateien, (n,).
        size: Kantenlänge; sind alle Bilder kleiner, gilt die des größten, und vergrößern wird erst das Netz.
        crop: wie in ``read_picture``.
        skip_broken: Unlesbare bleiben schwarz und werden gemeldet.

    Returns:
        Bilder (uint8, (n, size, size, 3)), welche lesbar sind (bool, (n,)), wie viele nicht quadratisch sind.

    Raises:
        CourseError: bei einem unlesbaren Bild ohne ``skip_broken``.
    """
    shapes, digest = [], hashlib.sha256()
    for path in paths:
        status, shape = None, (1, 1)
        with contextlib.suppress(OSError):
            status = path.stat()
        with contextlib.suppress(Exception), _opened(path) as image:
            shape = image.size
        shapes.append(shape)
        changed = status and (status.st_size, status.st_mtime_ns)
        digest.update(repr((path.relative_to(folder).as_posix(), changed)).encode(errors="replace"))
    size, uneven = min(size, max(map(min if crop else max, shapes))), sum(w != h for w, h in shapes)
    digest.update(repr((size, crop)).encode())
    target, row_shape = output_dir() / "merkmale" / f"bilder_{digest.hexdigest()[:24]}.npz", (size, size, 3)
    with contextlib.suppress(Exception):
        rows, others = open_rows(target, row_shape, np.uint8)
        if others["lesbar"].shape == (len(rows),) == (len(paths),) and (others["lesbar"].all() or skip_broken):
            return rows, others["lesbar"], uneven
    faults = {}

    def square(path):
        found = read_picture(path, size, crop)
        if isinstance(found, str):
            faults[path] = found
            return np.zeros(row_shape, np.uint8)
        return found

    def chunks():
        with ThreadPoolExecutor() as pool, progress(total=len(paths), text="Bilder lesen", unit="Bilder") as bar:
            for start in range(0, len(paths), CHUNK):
                part = paths[start : start + CHUNK]
                yield np.stack(list(pool.map(square, part)))
                bar.update(len(part))
        if faults and not skip_broken:
            first = next(path for path in paths if path in faults)
            more = f", und {german(len(faults) - 1)} weitere auch nicht" if len(faults) > 1 else ""
            raise broken(first, f" ist nicht lesbar ({faults[first]}){more}", REMEDY)

    def readable():
        return np.array([path not in faults for path in paths])

    write_rows(target, len(paths), row_shape, np.uint8, chunks(), lesbar=readable)
    return open_rows(target, row_shape, np.uint8)[0], readable(), uneven
