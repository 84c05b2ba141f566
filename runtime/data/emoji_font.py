"""The pictures of a colour emoji font, with the characters that stand for each. Imports neither numpy nor Pillow.

Read are the tables that Noto Color Emoji has, straight from the file: ``cmap`` (formats 4 and 12), ``CBLC`` and
``CBDT`` (PNG pictures), and of ``GSUB`` the ligatures, which are emoji of several characters. So what comes out
depends on the font alone and on no font renderer. Tables as in the OpenType specification 1.9.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from specrun.spec.diagnostics import InputError

NOTO = "noto-color-emoji"
PACKAGE = "fonts-noto-color-emoji"
PLACES = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
    "/usr/local/share/fonts/NotoColorEmoji.ttf",
)
"""Where Debian and Ubuntu, Arch, Fedora, and people by hand put the font."""

MAX_BYTES = 100_000_000
_MOST_SIZES = 100


@dataclass(frozen=True)
class Glyph:
    """A picture as a PNG file's bytes, and the character or characters that stand for it."""

    codepoints: tuple[int, ...]
    png: bytes


def find_font(font: str) -> Path:
    """The file of ``noto-color-emoji``, or of a path. InputError, which names the package, when it is not there."""
    places = PLACES if font == NOTO else (font,)
    found = next((path for path in map(Path, places) if path.is_file()), None)
    if found is not None:
        return found.absolute()
    raise InputError(
        f"there is no font file at {', '.join(places)}",
        code="no-font",
        hint=f"install Debian's package {PACKAGE}, or name a font's file by data.font",
    )


def read_font(path: Path) -> tuple[bytes, list[Glyph]]:
    """The font's bytes and its pictures in the order of their characters.

    InputError when it cannot be read, is damaged, or holds no pictures of the kind that is read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _bad(path, f"more than {MAX_BYTES:,} bytes are not read")
        data = path.read_bytes()
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    try:
        return data, sorted(_glyphs(_Font(data)), key=lambda glyph: glyph.codepoints)
    except _NotRead as error:
        raise _bad(path, str(error)) from error
    except (struct.error, ValueError) as error:  # reading beyond the end, lists of unlike length
        raise _bad(path, "the font is damaged or cut short") from error


class _NotRead(Exception):
    """What the font holds in place of what is read."""


def _bad(path: Path, detail: str) -> InputError:
    hint = f"a font with PNG pictures (CBDT) is needed, such as that of Debian's package {PACKAGE}"
    return InputError(f"{path} gives no emoji: {detail}", code="font", hint=hint)


class _Font:
    """Big-endian numbers of a font file, and where its tables begin."""

    def __init__(self, data: bytes):
        if data[:4] not in (b"\0\1\0\0", b"OTTO", b"true"):
            raise _NotRead(f"it begins with {data[:4]!r}, which no TrueType or OpenType font does")
        self.data = data
        (count,) = self.unpack(4, "H")
        rows = [self.unpack(12 + 16 * i, "4sIII") for i in range(count)]
        self._tables = {tag: (start, length) for tag, _, start, length in rows}
        for tag, (start, length) in self._tables.items():
            if start + length > len(data):
                raise _NotRead(f"it is cut short: the table {tag.decode('latin-1')} ends beyond it")

    def unpack(self, at: int, layout: str) -> tuple:
        return struct.unpack_from(f">{layout}", self.data, at)

    def numbers(self, at: int, count: int, code: str = "H") -> tuple[int, ...]:
        return self.unpack(at, f"{count}{code}")

    def list16(self, at: int) -> tuple[int, ...]:
        """Numbers of 16 bits behind their count."""
        return self.numbers(at + 2, self.unpack(at, "H")[0])

    def table(self, tag: str) -> int:
        start, _ = self._tables.get(tag.encode(), (None, 0))
        if start is None:
            raise _NotRead(f"it has no table {tag}")
        return start

    def has(self, tag: str) -> bool:
        return tag.encode() in self._tables


def _glyphs(font: _Font) -> Iterator[Glyph]:
    """Every picture under each of its names, which are characters or rows of them."""
    pictures = dict(_pictures(font))
    characters = _characters(font)
    for codepoint, glyph in characters.items():
        if glyph in pictures:
            yield Glyph((codepoint,), pictures[glyph])
    if not font.has("GSUB"):
        return
    # of characters with one glyph the first stands for it in a row
    first = {glyph: codepoint for codepoint, glyph in sorted(characters.items(), reverse=True)}
    for parts, glyph in _ligatures(font):
        if glyph in pictures and all(part in first for part in parts):
            yield Glyph(tuple(first[part] for part in parts), pictures[glyph])


def _characters(font: _Font) -> dict[int, int]:
    """Glyph of each character, from the table of the most characters."""
    at = font.table("cmap")
    found: dict[int, int] = {}
    for i in range(font.unpack(at + 2, "H")[0]):
        _, _, offset = font.unpack(at + 4 + 8 * i, "HHI")
        place = at + offset
        match font.unpack(place, "H")[0]:
            case 12:
                found |= _cmap12(font, place)
            case 4:
                found = dict(_cmap4(font, place)) | found
    if not found:
        raise _NotRead("its table cmap has neither format 4 nor 12")
    return found


def _cmap12(font: _Font, at: int) -> dict[int, int]:
    found: dict[int, int] = {}
    before = -1
    for i in range(font.unpack(at + 12, "I")[0]):
        first, last, glyph = font.unpack(at + 16 + 12 * i, "III")
        if not before < first <= last <= 0x10FFFF:
            raise _NotRead(f"its table cmap holds U+{first:X} to U+{last:X} out of order")
        found.update((c, glyph + c - first) for c in range(first, last + 1))
        before = last
    return found


def _cmap4(font: _Font, at: int) -> Iterator[tuple[int, int]]:
    count = font.unpack(at + 6, "H")[0] // 2
    ends = font.numbers(at + 14, count)
    starts = font.numbers(at + 16 + 2 * count, count)
    deltas = font.numbers(at + 16 + 4 * count, count)
    ranges = at + 16 + 6 * count
    if list(ends) != sorted(set(ends)):
        raise _NotRead("its table cmap holds segments out of order")
    for i, (first, last, delta) in enumerate(zip(starts, ends, deltas, strict=True)):
        (offset,) = font.unpack(ranges + 2 * i, "H")
        for c in range(first, min(last, 0xFFFE) + 1):
            glyph = c
            if offset:
                (glyph,) = font.unpack(ranges + 2 * i + offset + 2 * (c - first), "H")
            if glyph or not offset:
                yield c, glyph + delta & 0xFFFF


def _pictures(font: _Font) -> Iterator[tuple[int, bytes]]:
    """PNG of each glyph, from the largest size that the font has."""
    at, data = font.table("CBLC"), font.table("CBDT")
    sizes = font.unpack(at + 4, "I")[0]
    if not 1 <= sizes <= _MOST_SIZES:
        raise _NotRead(f"its table CBLC says that it has pictures of {sizes} sizes")
    strikes = [at + 8 + 48 * i for i in range(sizes)]
    strike = max(strikes, key=lambda place: font.unpack(place + 45, "B")[0])
    offset, _, count = font.unpack(strike, "III")
    for i in range(count):
        first, last, more = font.unpack(at + offset + 8 * i, "HHI")
        yield from _subtable(font, at + offset + more, data, range(first, last + 1))


def _subtable(font: _Font, at: int, data: int, glyphs: range) -> Iterator[tuple[int, bytes]]:
    index, image, start = font.unpack(at, "HHI")
    if index not in (1, 3) or image not in (17, 18):
        raise _NotRead(
            f"its pictures have the formats {index} and {image}; 1 or 3 and 17 or 18 are read"
        )
    ends = font.numbers(at + 8, len(glyphs) + 1, "I" if index == 1 else "H")
    metrics = 5 if image == 17 else 8
    for glyph, (here, there) in zip(glyphs, pairwise(ends), strict=True):
        if there > here:
            place = data + start + here + metrics
            (length,) = font.unpack(place, "I")
            yield glyph, font.unpack(place + 4, f"{length}s")[0]


def _ligatures(font: _Font) -> Iterator[tuple[tuple[int, ...], int]]:
    """(glyphs in a row, the glyph in their place)"""
    at = font.table("GSUB")
    lookups = at + font.unpack(at + 8, "H")[0]
    for offset in font.list16(lookups):
        lookup = lookups + offset
        kind = font.unpack(lookup, "H")[0]
        for inner in font.list16(lookup + 4):
            place = lookup + inner
            if kind == 7:  # an extension: the table stands elsewhere
                _, real, far = font.unpack(place, "HHI")
                if real == 4:
                    yield from _ligature_table(font, place + far)
            elif kind == 4:
                yield from _ligature_table(font, place)


def _ligature_table(font: _Font, at: int) -> Iterator[tuple[tuple[int, ...], int]]:
    covered = _coverage(font, at + font.unpack(at + 2, "H")[0])
    for first, offset in zip(covered, font.list16(at + 4), strict=True):
        for inner in font.list16(at + offset):
            place = at + offset + inner
            glyph, parts = font.unpack(place, "HH")
            yield (first, *font.numbers(place + 4, parts - 1)), glyph


def _coverage(font: _Font, at: int) -> list[int]:
    kind = font.unpack(at, "H")[0]
    if kind == 1:
        return list(font.list16(at + 2))
    if kind != 2:
        raise _NotRead(f"its table GSUB has a coverage of format {kind}")
    found: list[int] = []
    for i in range(font.unpack(at + 2, "H")[0]):
        first, last, _ = font.unpack(at + 4 + 6 * i, "HHH")
        found.extend(range(first, last + 1))
    return found
