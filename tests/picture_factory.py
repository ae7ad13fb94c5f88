"""Ordner voller Bilder für Tests: jede Art von Datei und jeder Aufbau, den der Kurs liest."""

import contextlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 30)


def noise(number: int, size=SIZE, channels: int = 3) -> np.ndarray:
    """Ein buntes Bild, zu jeder Nummer ein anderes, weich genug für JPEG."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (5, 5, channels), np.uint8)
    parts = [Image.fromarray(small[..., channel]).resize(size, Image.Resampling.BICUBIC) for channel in range(channels)]
    return np.stack([np.asarray(part) for part in parts], axis=-1)


def colored(number: int, size=SIZE) -> Image.Image:
    return Image.fromarray(noise(number, size))


def tree(folder, counts, ending="png", size=SIZE) -> Path:
    """``counts``: Ordner → Zahl der Bilder darin; alle verschieden."""
    number = 0
    for name, count in counts.items():
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            colored(number, size).save(Path(folder) / name / f"bild{number}.{ending}")
            number += 1
    return Path(folder)


def saved(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def half_clear() -> Image.Image:
    return Image.fromarray(noise(3, channels=4))


def with_orientation(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return saved(colored(4), format="JPEG", exif=exif)


def sixteen_bits() -> np.ndarray:
    return noise(5)[..., 0].astype(np.uint16) * 257 + np.arange(SIZE[0], dtype=np.uint16)


def kinds() -> dict[str, bytes]:
    """Name der Datei → Inhalt; jede Art, die der Kurs lesen können soll."""
    rgb, gray = colored(1), colored(2).convert("L")
    palette = half_clear().convert("RGB").quantize(16)
    clear = palette.copy()
    clear.info["transparency"] = 3
    frames = [colored(number).quantize(32) for number in (6, 7)]
    sixteen = Image.fromarray(sixteen_bits())
    deep = b"P5 %d %d 65535\n" % SIZE + sixteen_bits().astype(">u2").tobytes()
    found = {
        "farbe.jpg": saved(rgb, format="JPEG"),
        "GROSS.JPEG": saved(rgb, format="JPEG", quality=50),
        "progressiv.jpg": saved(rgb, format="JPEG", progressive=True),
        "grau.jpg": saved(gray, format="JPEG"),
        "druck cmyk.jpg": saved(rgb.convert("CMYK"), format="JPEG"),
        "farbe.png": saved(rgb, format="PNG"),
        "grau.png": saved(gray, format="PNG"),
        "schwarzweiß.png": saved(gray.convert("1"), format="PNG"),
        "palette.png": saved(palette, format="PNG"),
        "palette durchsichtig.png": saved(clear, format="PNG", transparency=3),
        "alpha.png": saved(half_clear(), format="PNG"),
        "grau alpha.png": saved(half_clear().convert("LA"), format="PNG"),
        "16 bit.png": saved(sixteen, format="PNG"),
        "16 bit.tif": saved(sixteen, format="TIFF"),
        "16 bit.pgm": deep,
        "farbe.bmp": saved(rgb, format="BMP"),
        "farbe.gif": saved(rgb.quantize(64), format="GIF"),
        "bewegt.gif": saved(frames[0], format="GIF", save_all=True, append_images=frames[1:]),
        "farbe.webp": saved(rgb, format="WEBP"),
        "alpha.webp": saved(half_clear(), format="WEBP", lossless=True),
        "farbe.ppm": saved(rgb, format="PPM"),
        "farbe.TIFF": saved(rgb, format="TIFF"),
        "gepackt.tif": saved(rgb, format="TIFF", compression="tiff_lzw"),
        "cmyk.tif": saved(rgb.convert("CMYK"), format="TIFF"),
        "heißt png, ist jpeg.png": saved(rgb, format="JPEG"),
        "ohne Endung": saved(rgb, format="PNG"),
        "quadrat.png": saved(colored(8, (33, 33)), format="PNG"),
        "hoch.png": saved(colored(9, (20, 90)), format="PNG"),
        "winzig.png": saved(colored(10, (2, 2)), format="PNG"),
    }
    return found | {f"gedreht {number}.jpg": with_orientation(number) for number in range(1, 9)}


def silently_wrong(content: bytes) -> bytes:
    """Das PNG mit einem gekippten Bit, das Pillow liest, ohne zu murren, und das andere Pixel ergibt."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for place in range(60, len(content)):
        changed = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        with contextlib.suppress(Exception):
            if (np.asarray(Image.open(io.BytesIO(changed)).convert("RGB")) != pixels).any():
                return changed
    raise AssertionError("Pillow merkt jetzt jedes gekippte Bit selbst")


def copy(source, target) -> Path:
    shutil.copytree(source, target)
    return Path(target)


def write(folder, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = Path(folder) / name
        os.makedirs(path.parent, exist_ok=True)
        path.write_bytes(content)
    return Path(folder)
