"""What the bytes of a picture file say before anything is decoded: format, size, and whether the file is whole.

Pillow would warn of large sizes by way of a global setting, allocate for a WebP while opening it, and take some
files that end early; so headers are read here. PNG: ISO/IEC 15948 §5; JPEG: ITU-T T.81 annex B; WebP: RFC 9649.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from specrun.runtime.images.faults import BadImage

Format = Literal["JPEG", "PNG", "WebP"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"

_OTHERS = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"8BPS", "Photoshop"),
    (0, b"qoif", "QOI"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML"),
)
"""(offset, bytes there, format): what is recognised in order to refuse it by name."""


@dataclass(frozen=True)
class Header:
    """Format and size in pixels, as the file claims."""

    format: Format
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Format and size of a picture file. BadImage for what is none, and for one that ends within its header."""
    kind = _format(data)
    try:
        match kind:
            case "PNG":
                width, height = _png_size(data)
            case "JPEG":
                width, height = _jpeg_size(data)
            case "WebP":
                width, height = _webp_size(data)
            case _:
                assert_never(kind)
    except IndexError:
        raise BadImage("truncated_image", "", f"the file ends within the {kind} header") from None
    if width == 0 or height == 0:
        raise BadImage("broken_image", "", f"the {kind} header says {width} × {height} pixels")
    return Header(kind, width, height)


def require_whole(data: bytes, kind: Format) -> None:
    """BadImage when the file ends before its picture does, or a PNG's checksum is wrong."""
    match kind:
        case "PNG":
            _png_whole(data)
        case "JPEG":
            if data.rfind(b"\xff\xd9") < _jpeg_scan(data):
                raise BadImage("truncated_image", "", "the file ends without the JPEG end marker")
        case "WebP":
            missing = 8 + _little(data, 4, 4) - len(data)
            if missing > 0:
                raise BadImage("truncated_image", "", f"{missing:,} bytes are missing at the end")
        case _:
            assert_never(kind)


def _format(data: bytes) -> Format:
    if data.startswith(_PNG):
        return "PNG"
    if data.startswith(_JPEG):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    raise _no_format(data)


def _no_format(data: bytes) -> BadImage:
    if not data:
        return BadImage("truncated_image", "", "the file is empty")
    if _PNG.startswith(data) or _JPEG.startswith(data) or _begins_webp(data):
        return BadImage("truncated_image", "", f"the file ends after {len(data)} bytes")
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            detail = f"it is {name}; only JPEG, PNG and WebP are read"
            return BadImage("unsupported_image", "", detail)
    start = f"it begins with {data[:12]!r}, which is none of JPEG, PNG and WebP"
    return BadImage("broken_image", "", start)


def _begins_webp(data: bytes) -> bool:
    return len(data) < 12 and b"RIFF".startswith(data[:4]) and b"WEBP".startswith(data[8:])


def _png_size(data: bytes) -> tuple[int, int]:
    if _big(data, 8, 4) != 13 or _slice(data, 12, 4) != b"IHDR":
        raise BadImage("broken_image", "", "the first chunk of the PNG is not its header")
    return _big(data, 16, 4), _big(data, 20, 4)


def _png_whole(data: bytes) -> None:
    """Every chunk is there to IEND, and the checksums of those that make the picture are right."""
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + _big(data, at, 4)
        name = data[at + 4 : at + 8]
        if end > len(data):
            break
        critical = not name[0] & 0x20
        if critical and zlib.crc32(memoryview(data)[at + 4 : end - 4]) != _big(data, end - 4, 4):
            detail = f"the checksum of the PNG chunk {name.decode('ascii', 'replace')} is wrong"
            raise BadImage("broken_image", "", detail)
        if name == b"IEND":
            return
        at = end
    raise BadImage("truncated_image", "", "the file ends before the last PNG chunk")


_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""JPEG markers that have no length."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of frame headers, which hold the size."""


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, at in _jpeg_segments(data):
        if marker in _FRAMES:
            return _big(data, at + 5, 2), _big(data, at + 3, 2)
        if marker in (0xD9, 0xDA):
            break
    raise BadImage("broken_image", "", "the JPEG has no frame header before its data")


def _jpeg_scan(data: bytes) -> int:
    """Where the first scan begins; the end of the file when there is none."""
    try:
        return next(at for marker, at in _jpeg_segments(data) if marker == 0xDA)
    except (IndexError, StopIteration):
        return len(data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where its length stands) up to the first scan. IndexError when the file ends first."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise BadImage("broken_image", "", f"no JPEG marker at byte {at:,}")
        while data[at] == 0xFF:
            at += 1
        marker, at = data[at], at + 1
        yield marker, at
        if marker == 0xDA:
            return
        if marker not in _ALONE:
            at += _big(data, at, 2)


def _webp_size(data: bytes) -> tuple[int, int]:
    """From the first chunk: the canvas of an extended file, else the frame's own header."""
    match data[12:16]:
        case b"VP8X":
            return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
        case b"VP8 ":
            return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        case b"VP8L":
            bits = _little(data, 21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case name if len(name) < 4:
            raise IndexError
        case name:
            raise BadImage("broken_image", "", f"the first chunk of the WebP is {name!r}")


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(_slice(data, at, count), "big")


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(_slice(data, at, count), "little")


def _slice(data: bytes, at: int, count: int) -> bytes:
    if at + count > len(data):
        raise IndexError
    return data[at : at + count]
