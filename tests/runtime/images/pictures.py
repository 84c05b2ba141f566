"""Pictures for tests: noise of any size and mode, as Pillow's images and as files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

SIZES = (
    (1, 1),
    (1, 2),
    (2, 1),
    (1, 9),
    (7, 1),
    (3, 500),
    (500, 3),
    (37, 53),
    (61, 62),
    (224, 224),
    (225, 223),
    (223, 448),
    (255, 257),
    (480, 641),
)
"""(height, width)"""


def noise(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth on the whole, rough in detail, so that every filter has something to do."""
    random = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands())
    down, across = np.mgrid[0:height, 0:width]
    waves = [np.sin(down / (3 + b)) * np.cos(across / (5 + b)) for b in range(bands)]
    values = 127 + 90 * np.stack(waves, -1) + random.normal(0, 25, (height, width, bands))
    pixels = values.clip(0, 255).astype(np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def saved(image: Image.Image, kind: str, **settings: object) -> bytes:
    """The bytes of a file of ``kind``."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def oriented(orientation: int) -> bytes:
    """A JPEG that a camera turned this way wrote."""
    exif = Image.Exif()
    exif[0x112] = orientation
    return saved(noise(40, 70), "JPEG", exif=exif)


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its length and checksum."""
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header claims this size, with ``data`` as its compressed content."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _deep(bands: int) -> bytes:
    """A PNG of 16 bits a channel: grey, or RGB."""
    height, width = 31, 45
    values = np.random.default_rng(5).integers(0, 65536, (height, width * bands), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, zlib.compress(rows), depth=16, colour=0 if bands == 1 else 2)


def _palette(**settings: object) -> bytes:
    return saved(noise(50, 41).quantize(16), "PNG", **settings)


def _animated(kind: str) -> bytes:
    frames = [noise(40, 30, seed=seed) for seed in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=40)


MODES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(noise(45, 61), "JPEG"),
    "jpeg_progressive": lambda: saved(noise(45, 61), "JPEG", progressive=True, quality=40),
    "jpeg_444": lambda: saved(noise(45, 61), "JPEG", subsampling=0),
    "jpeg_grey": lambda: saved(noise(45, 61, "L"), "JPEG"),
    "jpeg_cmyk": lambda: saved(noise(45, 61, "CMYK"), "JPEG"),
    "png": lambda: saved(noise(45, 61), "PNG"),
    "png_alpha": lambda: saved(noise(45, 61, "RGBA"), "PNG"),
    "png_grey": lambda: saved(noise(45, 61, "L"), "PNG"),
    "png_grey_alpha": lambda: saved(noise(45, 61, "LA"), "PNG"),
    "png_bits": lambda: saved(noise(45, 61, "L").convert("1"), "PNG"),
    "png_16_bit": lambda: _deep(1),
    "png_16_bit_rgb": lambda: _deep(3),
    "png_palette": _palette,
    "png_palette_transparent": lambda: _palette(transparency=3),
    "png_palette_alpha": lambda: _palette(transparency=bytes(range(0, 256, 16))),
    "png_key": lambda: saved(noise(45, 61), "PNG", transparency=noise(45, 61).getpixel((3, 3))),
    "png_animated": lambda: _animated("PNG"),
    "webp": lambda: saved(noise(45, 61), "WebP"),
    "webp_lossless": lambda: saved(noise(45, 61), "WebP", lossless=True),
    "webp_alpha": lambda: saved(noise(45, 61, "RGBA"), "WebP"),
    "webp_animated": lambda: _animated("WebP"),
}
"""Files of every kind that is read."""
