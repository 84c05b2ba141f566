"""Pictures that every machine can have, with their names: the emoji of a colour font.

The caption of a picture is the name that Unicode gives its character, in lower case: U+1F680 is ``rocket``. In
a row of characters joiners and variation selectors are left unsaid: ``woman, microscope``. Which characters have
a name depends on the Unicode version of the Python that runs; it is part of the artefact's key.
"""

from __future__ import annotations

import hashlib
import json
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from specrun.runtime import cache
from specrun.runtime.data.emoji_font import Glyph, read_font
from specrun.runtime.images.decode import decode
from specrun.runtime.images.faults import BadImage
from specrun.spec.diagnostics import InputError

FORMAT = 1
ROWS = "rows.jsonl"
MAX_PIXELS = 1 << 22
"""Most pixels of a picture in the font."""

_KIND = "emoji"
_JOINER = 0x200D
_SELECTORS = range(0xFE00, 0xFE10)
_MODIFIERS = range(0x1F3FB, 0x1F400)
_LETTERS = range(0x1F1E6, 0x1F200)
_GENDERS = (0x2640, 0x2642)
_PERSONS = (0x1F468, 0x1F469, 0x1F9D1)


@dataclass(frozen=True)
class Rendered:
    """A picture with its caption. ``png`` is a file of ``size`` × ``size`` pixels in RGB."""

    name: str
    codepoints: tuple[int, ...]
    png: bytes

    @property
    def file(self) -> str:
        """``1f469-200d-1f680.png``"""
        return "-".join(f"{c:x}" for c in self.codepoints) + ".png"


def render(font: Path, size: int, *, sequences: bool = False) -> list[Rendered]:
    """The emoji of a font over white, in the order of their characters; with ``sequences`` the rows of characters
    that have a picture of their own, too (skin tones, professions, families).

    The bytes depend on the font, ``size`` and Pillow's resizing alone. InputError when the font cannot be read
    or holds no emoji.
    """
    if not 1 <= size <= 2048:
        raise ValueError(f"size must be from 1 to 2048 pixels, found {size}")
    _, glyphs = read_font(font)
    return _rendered(font, glyphs, size, sequences)


def emoji_folder(font: Path, size: int, *, sequences: bool = False) -> Path:
    """A folder of the cache with the pictures and ``rows.jsonl``, one row a picture in the order of ``render``:
    ``{"query": caption, "positive": name of the file}``.

    InputError as ``render``; RunError when the cache cannot be written.
    """
    data, glyphs = read_font(font)
    digest = hashlib.sha256(data).hexdigest()
    versions = [unicodedata.unidata_version, PIL.__version__]
    key = cache.digest_of([FORMAT, digest, size, sequences, *versions])

    def write(folder: Path) -> None:
        rows: list[str] = []
        for one in _rendered(font, glyphs, size, sequences):
            (folder / one.file).write_bytes(one.png)
            rows.append(json.dumps({"query": one.name, "positive": one.file}) + "\n")
        (folder / ROWS).write_text("".join(rows), encoding="utf-8")

    return cache.make(_KIND, key, write)


def _rendered(font: Path, glyphs: list[Glyph], size: int, sequences: bool) -> list[Rendered]:
    chosen = [*_single(glyphs), *(_rows(glyphs) if sequences else ())]
    if not chosen:
        raise InputError(
            f"{font} has no picture of a character that Unicode {unicodedata.unidata_version} names an emoji",
            code="font",
            hint="name an emoji font by data.font",
        )
    return [_picture(font, name, glyph, size) for name, glyph in chosen]


def _single(glyphs: Iterable[Glyph]) -> Iterator[tuple[str, Glyph]]:
    """Characters with a name; digits and the like, which fonts have for keycaps, are no emoji."""
    for glyph in glyphs:
        if len(glyph.codepoints) == 1 and glyph.codepoints[0] > 0x7F:
            character = chr(glyph.codepoints[0])
            name = unicodedata.name(character, "")
            if name and not unicodedata.category(character).startswith(("C", "M")):
                yield name.lower(), glyph


def _rows(glyphs: list[Glyph]) -> Iterator[tuple[str, Glyph]]:
    """Rows of characters, each picture once, and none that a single character has.

    A font has most rows a second time in reverse, for text from right to left. Flags are left out, whose letters
    do not say what is seen.
    """
    seen = {glyph.png for glyph in glyphs if len(glyph.codepoints) == 1}
    for glyph in glyphs:
        if len(glyph.codepoints) > 1 and glyph.png not in seen and _is_forward(glyph.codepoints):
            names = [unicodedata.name(chr(c), "") for c in _said(glyph.codepoints)]
            if all(names):
                seen.add(glyph.png)
                yield ", ".join(names).lower(), glyph


def _said(codepoints: tuple[int, ...]) -> list[int]:
    return [c for c in codepoints if c != _JOINER and c not in _SELECTORS]


def _is_forward(codepoints: tuple[int, ...]) -> bool:
    """A character with a skin tone; with joiners, what begins with a person or ends with a gender."""
    first, *rest = codepoints
    if first in _MODIFIERS or first in _GENDERS or any(c in _LETTERS for c in codepoints):
        return False
    bases = (before for before, c in zip(codepoints, rest, strict=False) if c in _MODIFIERS)
    if any(base == _JOINER or base in _MODIFIERS for base in bases):
        return False
    if _JOINER not in rest:
        return all(c in _MODIFIERS or c in _SELECTORS for c in rest)
    return first in _PERSONS or _said(codepoints)[-1] in _GENDERS


def _picture(font: Path, name: str, glyph: Glyph, size: int) -> Rendered:
    try:
        image = decode(glyph.png, MAX_PIXELS)
    except BadImage as fault:
        message = f"{font} is damaged: its picture of {name}: {fault}"
        raise InputError(message, code="font", hint="install the font again") from fault
    side = max(image.size)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    pixels = np.array(square.resize((size, size), Image.Resampling.LANCZOS))
    return Rendered(name, glyph.codepoints, plain_png(pixels))


def plain_png(pixels: np.ndarray) -> bytes:
    """A PNG without compression of uint8 [height, width, 3]: its bytes depend on no library's version."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", _stored(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def _stored(data: bytes) -> bytes:
    """A zlib stream (RFC 1950, 1951) of stored blocks."""
    most = 0xFFFF
    blocks = [data[at : at + most] for at in range(0, len(data), most)]
    stream = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ most) + block
        for block in blocks
    )
    return b"\x78\x01" + stream + struct.pack(">I", zlib.adler32(data))


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )
