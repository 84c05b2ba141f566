"""A small colour emoji font, written table by table: the tables and formats that Noto Color Emoji has, and others."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.runtime.images.pictures import noise, saved

Row = tuple[int, ...]

ROCKET, WOMAN, TONE, JOINER, FEMALE, RUNNER = 0x1F680, 0x1F469, 0x1F3FD, 0x200D, 0x2640, 0x1F3C3
DIGIT, KEYCAP, LETTER_D, LETTER_E, PRIVATE, SELECTOR = (
    0x31,
    0x20E3,
    0x1F1E9,
    0x1F1EA,
    0xFE4E5,
    0xFE0F,
)

PICTURED: tuple[Row, ...] = (
    (DIGIT,),
    (ROCKET,),
    (WOMAN,),
    (TONE,),
    (FEMALE,),
    (RUNNER,),
    (LETTER_D,),
    (PRIVATE,),
    (DIGIT, KEYCAP),
    (WOMAN, TONE),
    (WOMAN, JOINER, ROCKET),
    (WOMAN, TONE, JOINER, ROCKET),
    (RUNNER, JOINER, FEMALE),
    (LETTER_D, LETTER_E),
)
SILENT = (KEYCAP, LETTER_E, JOINER, SELECTOR)
"""Characters that have a glyph and no picture."""

MIRRORED: dict[Row, Row] = {
    (ROCKET, JOINER, WOMAN): (WOMAN, JOINER, ROCKET),
    (FEMALE, JOINER, RUNNER): (RUNNER, JOINER, FEMALE),
    (TONE, WOMAN): (WOMAN, TONE),
    (ROCKET, JOINER, TONE, WOMAN): (WOMAN, TONE, JOINER, ROCKET),
}
"""Rows that stand for the picture of another, as fonts have them for text from right to left."""


def picture(number: int, kind: str = "PNG") -> bytes:
    """The picture of glyph ``number``: wider than high, transparent in places."""
    return saved(noise(16, 17, "RGBA", seed=number), kind)


@dataclass(frozen=True)
class FontMaker:
    """The choices among formats that a font has."""

    cmap: int = 12
    index: int = 1
    image: int = 17
    coverage: int = 1
    extension: bool = False
    rows: Sequence[Row] = PICTURED
    pictures: Mapping[Row, bytes] = field(default_factory=dict)

    def build(self) -> bytes:
        """The font's file."""
        tables = {b"cmap": self._cmap(), b"GSUB": self._gsub()}
        tables[b"CBLC"], tables[b"CBDT"] = self._bitmaps()
        return assemble(tables)

    @property
    def glyphs(self) -> dict[Row, int]:
        """Number of each picture's glyph; those without a picture come after them."""
        rows = [*self.rows, *((c,) for c in SILENT)]
        return {row: number for number, row in enumerate(rows, 1)}

    def png(self, row: Row) -> bytes:
        """The picture of a row."""
        return self.pictures.get(row, picture(self.glyphs[row]))

    def _cmap(self) -> bytes:
        single = sorted((row[0], g) for row, g in self.glyphs.items() if len(row) == 1)
        if self.cmap == 12:
            groups = b"".join(struct.pack(">III", c, c, g) for c, g in single)
            body = struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(single)) + groups
        else:
            body = _cmap4([(c, g) for c, g in single if c < 0xFFFF])
        other = struct.pack(">HHH", 14, 6, 0)
        head = struct.pack(">HHHHIHHI", 0, 2, 0, 5, 20, 3, 10, 20 + len(other))
        return head + other + body

    def _bitmaps(self) -> tuple[bytes, bytes]:
        metrics = b"\x10\x11\0\0\x11" + (b"\0\0\0" if self.image == 18 else b"")
        entries = [metrics + struct.pack(">I", len(png)) + png for png in map(self.png, self.rows)]
        ends = [0]
        for entry in entries:
            ends.append(ends[-1] + len(entry))
        offsets = struct.pack(f">{len(ends)}{'I' if self.index == 1 else 'H'}", *ends)
        table = struct.pack(">HHI", 1, len(entries), 8)
        table += struct.pack(">HHI", self.index, self.image, 4) + offsets
        small = struct.pack(">IIII28sBBBB", 0, 0, 0, 0, b"", 9, 9, 32, 1)
        large = struct.pack(">IIII28sBBBB", 104, len(table), 1, 0, b"", 109, 109, 32, 1)
        return struct.pack(">HHI", 3, 0, 2) + small + large + table, b"\0\3\0\0" + b"".join(entries)

    def _gsub(self) -> bytes:
        glyphs = self.glyphs
        rows = {row: glyphs[row] for row in self.rows if len(row) > 1}
        rows |= {mirror: glyphs[row] for mirror, row in MIRRORED.items() if row in glyphs}
        table = _ligatures(
            {tuple(glyphs[c,] for c in row): g for row, g in rows.items()}, self.coverage
        )
        if self.extension:
            table = struct.pack(">HHI", 1, 4, 8) + table
        kind = 7 if self.extension else 4
        other = struct.pack(">HHHH", 1, 0, 1, 8) + b"\0\1\0\0\0\0"
        lookup = struct.pack(">HHHH", kind, 0, 1, 8) + table
        lookups = struct.pack(">HHH", 2, 6, 6 + len(other)) + other + lookup
        return struct.pack(">HHHHH", 1, 0, 0, 0, 10) + lookups


def assemble(tables: Mapping[bytes, bytes]) -> bytes:
    """A font's file out of its tables."""
    at = 12 + 16 * len(tables)
    directory, body = b"", b""
    for tag, content in sorted(tables.items()):
        directory += struct.pack(">4sIII", tag, 0, at + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    return b"\0\1\0\0" + struct.pack(">HHHH", len(tables), 0, 0, 0) + directory + body


def _cmap4(single: Sequence[tuple[int, int]]) -> bytes:
    """Every other segment by a difference, the rest by a list of glyphs."""
    segments = [*single, (0xFFFF, 0)]
    count = len(segments)
    deltas, ranges, listed = [], [], []
    for i, (c, glyph) in enumerate(segments):
        by_list = i % 2 == 1 and c != 0xFFFF
        deltas.append(0 if by_list else glyph - c & 0xFFFF)
        ranges.append(2 * (count - i) + 2 * len(listed) if by_list else 0)
        listed += [glyph] if by_list else []
    codes = [c for c, _ in segments]
    numbers = [*codes, 0, *codes, *deltas, *ranges, *listed]
    body = struct.pack(f">{len(numbers)}H", *numbers)
    return struct.pack(">HHHHHHH", 4, 14 + len(body), 0, 2 * count, 0, 0, 0) + body


def _ligatures(rows: Mapping[Row, int], coverage: int) -> bytes:
    firsts = sorted({row[0] for row in rows})
    sets = [_set({row: g for row, g in rows.items() if row[0] == first}) for first in firsts]
    at, offsets = 6 + 2 * len(sets), []
    for one in sets:
        offsets.append(at)
        at += len(one)
    if coverage == 1:
        covered = struct.pack(f">HH{len(firsts)}H", 1, len(firsts), *firsts)
    else:
        ranges = b"".join(struct.pack(">HHH", g, g, i) for i, g in enumerate(firsts))
        covered = struct.pack(">HH", 2, len(firsts)) + ranges
    head = struct.pack(f">HHH{len(offsets)}H", 1, at, len(offsets), *offsets)
    return head + b"".join(sets) + covered


def _set(rows: Mapping[Row, int]) -> bytes:
    parts = [struct.pack(f">HH{len(row) - 1}H", g, len(row), *row[1:]) for row, g in rows.items()]
    at, offsets = 2 + 2 * len(parts), []
    for part in parts:
        offsets.append(at)
        at += len(part)
    return struct.pack(f">H{len(offsets)}H", len(offsets), *offsets) + b"".join(parts)
