"""Pictures from files: every kind is read, and whatever is wrong has its class."""

from __future__ import annotations

import errno
import io
import os
import struct
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from specrun.runtime.images import decode as module
from specrun.runtime.images.containers import read_header
from specrun.runtime.images.decode import decode
from specrun.runtime.images.faults import BadImage
from tests.runtime.images.pictures import MODES, chunk, noise, png, saved

MANY = 10**8


def fault(source: bytes | Path, max_pixels: int = MANY) -> tuple[str, str]:
    with pytest.raises(BadImage) as caught:
        decode(source, max_pixels)
    if isinstance(source, Path):
        assert caught.value.path == str(source)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_file_is_read_alike_from_a_path_and_from_bytes(
    tmp_path: Path, mode: str
) -> None:
    data = MODES[mode]()
    path = tmp_path / "named.wrong"
    path.write_bytes(data)
    image = decode(path, MANY)
    assert image.mode == "RGB"
    header = read_header(data)
    assert image.size == (header.width, header.height)
    np.testing.assert_array_equal(np.array(image), np.array(decode(data, MANY)))


def test_lossless_files_give_the_pixels_that_were_saved() -> None:
    picture = noise(33, 47)
    for data in (saved(picture, "PNG"), saved(picture, "WebP", lossless=True)):
        np.testing.assert_array_equal(np.array(decode(data, MANY)), np.array(picture))


def test_transparent_parts_lie_over_white() -> None:
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))
    pixels = np.array(decode(saved(clear, "PNG"), MANY))
    np.testing.assert_array_equal(pixels, [[[255, 255, 255], [255, 0, 0]]])


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_of_an_animation_the_first_picture_is_taken(kind: str) -> None:
    frames = [noise(20, 30, seed=seed) for seed in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(np.array(decode(data, MANY)), np.array(frames[0]))


@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_file_is_never_a_picture(mode: str) -> None:
    data = MODES[mode]()
    step = max(1, len(data) // 150)
    cuts = {*range(0, 64), *range(64, len(data), step), *range(len(data) - 12, len(data))}
    for cut in sorted(cuts):
        reason, _ = fault(data[:cut])
        assert reason == "truncated_image", f"{cut} of {len(data)} bytes"


def test_of_a_jpeg_of_several_pictures_only_the_first_has_to_be_whole() -> None:
    """As stereo cameras and telephones write them (MPO)."""
    first, second = noise(40, 30, seed=1), noise(40, 30, seed=2)
    data = saved(first, "MPO", save_all=True, append_images=[second])
    alone = Image.open(io.BytesIO(data))
    assert alone.format == "MPO"
    expected = np.array(alone)
    end = data.index(b"\xff\xd9") + 2
    for cut in (end, end + 40, len(data)):
        np.testing.assert_array_equal(np.array(decode(data[:cut], MANY)), expected)
    assert fault(data[: end - 2])[0] == "truncated_image"


@pytest.mark.parametrize("mode", ["png", "png_palette_alpha", "png_16_bit"])
def test_a_flipped_bit_of_a_png_is_found(mode: str) -> None:
    data = MODES[mode]()
    for at in range(8, len(data), max(1, len(data) // 100)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        reason, _ = fault(bytes(broken))
        assert reason in ("broken_image", "truncated_image", "too_many_pixels"), at


@pytest.mark.parametrize("mode", MODES)
def test_noise_in_a_file_gives_a_picture_or_its_class(mode: str) -> None:
    """A damaged JPEG or WebP may decode to something; it must not end in any other error."""
    data, random = MODES[mode](), np.random.default_rng(7)
    for _ in range(60):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 4):
            broken[at] = random.integers(256)
        with suppress(BadImage):
            assert decode(bytes(broken), 10**6).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "content", "reason", "said"),
    [
        ("empty", b"", "truncated_image", "the file is empty"),
        ("text", b"this is not a picture\n", "broken_image", "it begins with b'this is not '"),
        ("zeros", b"\0" * 100, "broken_image", "none of JPEG, PNG and WebP"),
        ("gif", b"GIF89a" + b"\0" * 30, "unsupported_image", "it is GIF; only JPEG, PNG and WebP"),
        ("bmp", b"BM" + b"\0" * 30, "unsupported_image", "it is BMP"),
        ("tiff", b"II*\0" + b"\0" * 30, "unsupported_image", "it is TIFF"),
        ("avif", b"\0\0\0\x1cftypavif" + b"\0" * 9, "unsupported_image", "it is AVIF"),
        ("heic", b"\0\0\0\x1cftypheic" + b"\0" * 9, "unsupported_image", "it is HEIC"),
        ("svg", b"<svg xmlns='x'/>", "unsupported_image", "it is SVG"),
        ("sound", b"RIFF\x10\0\0\0WAVEfmt ", "broken_image", "it begins with b'RIFF"),
        ("no chunk", b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"x" * 13), "broken_image", "header"),
        ("no size", png(0, 5), "broken_image", "the PNG header says 0 × 5 pixels"),
        ("no data", png(4, 4, zlib.compress(b"")), "truncated_image", "Pillow cannot decode"),
        ("bad depth", png(4, 4, zlib.compress(b"\0" * 99), depth=3), "broken_image", "Pillow"),
        ("no frame", b"\xff\xd8\xff\xda\0\0\xff\xd9", "broken_image", "no frame header"),
        ("no marker", b"\xff\xd8\xff\xe0\0\x04xxyy", "broken_image", "no JPEG marker at byte 8"),
        ("webp", b"RIFF\x10\0\0\0WEBPWHAT" + b"\0" * 9, "broken_image", "first chunk of the WebP"),
    ],
)
def test_what_is_no_picture_has_its_class(
    tmp_path: Path, name: str, content: bytes, reason: str, said: str
) -> None:
    path = tmp_path / f"{name}.png"
    path.write_bytes(content)
    found, detail = fault(path)
    assert found == reason
    assert said in detail


def test_what_cannot_be_opened_has_its_class(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.png") == ("missing_image", "No such file or directory")
    (tmp_path / "file").write_bytes(b"")
    assert fault(tmp_path / "file" / "below.png")[0] == "missing_image"
    assert fault(tmp_path) == ("unreadable_image", "Is a directory")
    os.mkfifo(tmp_path / "pipe")
    assert fault(tmp_path / "pipe") == ("unreadable_image", "it is no regular file")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    assert fault(tmp_path / "round")[0] == "unreadable_image"
    assert fault(tmp_path / ("x" * 5000))[0] == "unreadable_image"
    with pytest.raises(BadImage, match="unreadable image: embedded null byte"):
        decode("a\0b", MANY)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(MODES["png"]())
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def refuse(*_: object) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(module.os, "open", refuse)
    assert fault(path) == ("unreadable_image", "Permission denied")


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(MODES["png"]())

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fstat", fail)
        with pytest.raises(BadImage) as caught:
            decode(path, MANY)
    assert (caught.value.reason, caught.value.detail) == ("unreadable_image", "Input/output error")


def _claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims this size."""
    match kind:
        case "png":
            return png(width, height, zlib.compress(b"\0" * 10_000_000))
        case "jpeg":
            data = bytearray(MODES["jpeg"]())
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", height, width)
            return bytes(data)
        case "webp":
            data = bytearray(MODES["webp"]())
            at = data.index(b"\x9d\x01\x2a") + 3
            data[at : at + 4] = struct.pack("<HH", width, height)
            return bytes(data)
        case _:
            data = bytearray(MODES["webp_alpha"]())
            assert data[12:16] == b"VP8X"
            data[24:27] = (width - 1).to_bytes(3, "little")
            data[27:30] = (height - 1).to_bytes(3, "little")
            return bytes(data)


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [
        ("png", 100_000, 100_000),
        ("png", 2**31 - 1, 2**31 - 1),
        ("jpeg", 65_535, 65_535),
        ("webp", 16_383, 16_383),
        ("webp extended", 2**24, 2**24),
    ],
)
def test_a_bomb_is_refused_before_it_is_decoded(kind: str, width: int, height: int) -> None:
    data = _claims(kind, width, height)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reason, detail = fault(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reason, detail) == (
        "too_many_pixels",
        f"{width:,} × {height:,} pixels are more than 100,000,000",
    )
    assert peak < 1_000_000


def test_the_limit_is_the_last_size_that_is_taken() -> None:
    data = saved(noise(20, 30), "PNG")
    assert decode(data, 600).size == (30, 20)
    assert fault(data, 599)[0] == "too_many_pixels"


def test_a_limit_above_pillows_own_holds_for_png_and_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("png", "jpeg"):
            assert decode(MODES[mode](), MANY).size == (61, 45)


def test_a_webp_above_pillows_own_limit_has_too_many_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Image.DecompressionBombError("more than Pillow takes")

    monkeypatch.setattr(module._READERS["WebP"], "_open", refuse)
    assert fault(MODES["webp"]()) == ("too_many_pixels", "more than Pillow takes")


def test_a_second_header_does_not_pass_the_limit() -> None:
    first, second = png(4, 4, zlib.compress(b"\0" * 99)), png(30_000, 30_000)
    at = first.index(b"IDAT") - 4
    head = second[8 : second.index(b"IDAT") - 4]
    reason, _ = fault(first[:at] + head + first[at:])
    assert reason in ("too_many_pixels", "broken_image")


def test_a_file_too_large_for_any_picture_within_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    reason, detail = fault(path)
    assert reason == "too_many_pixels"
    assert "1,000,000,000,000 bytes" in detail


def test_text_that_unpacks_to_a_flood_is_refused() -> None:
    flood = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 50_000_000))
    data = MODES["png"]()
    assert fault(data[:33] + flood + data[33:])[0] == "broken_image"


def test_memory_that_runs_out_is_no_fault_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", none_left)
    monkeypatch.setattr(module._READERS["PNG"], "load", none_left, raising=False)
    with pytest.raises(MemoryError):
        decode(MODES["png"](), MANY)


def test_no_setting_of_pillow_is_changed() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    for mode in MODES:
        decode(MODES[mode](), MANY)
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)


def test_a_setting_of_another_library_lets_no_half_picture_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for mode in MODES:
        data = MODES[mode]()
        assert fault(data[: len(data) * 2 // 3])[0] == "truncated_image"
