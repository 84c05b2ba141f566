"""Emoji out of a font: a small font made here, of every format that is read; what is wrong with one is told."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specrun.runtime.data import emoji_font, emoji_source
from specrun.runtime.data.emoji_font import NOTO, find_font, read_font
from specrun.runtime.data.emoji_source import ROWS, emoji_folder, plain_png, render
from specrun.runtime.images.decode import decode
from specrun.spec.diagnostics import InputError, RunError
from tests.faults.full_disk import full_disk
from tests.runtime.data.fonts import (
    FEMALE,
    JOINER,
    LETTER_D,
    MIRRORED,
    PICTURED,
    ROCKET,
    RUNNER,
    TONE,
    WOMAN,
    FontMaker,
    assemble,
)

SINGLE = [(FEMALE,), (LETTER_D,), (RUNNER,), (TONE,), (WOMAN,), (ROCKET,)]
ROWS_OF_CHARACTERS = [
    (RUNNER, JOINER, FEMALE),
    (WOMAN, JOINER, ROCKET),
    (WOMAN, TONE),
    (WOMAN, TONE, JOINER, ROCKET),
]


def written(folder: Path, font: FontMaker | bytes) -> Path:
    path = folder / "emoji.ttf"
    path.write_bytes(font if isinstance(font, bytes) else font.build())
    return path


def fault(path: Path, **more: bool) -> str:
    with pytest.raises(InputError) as caught:
        render(path, 16, **more)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "font"
    assert diagnostic.hint
    return diagnostic.message


@pytest.mark.parametrize(
    "font",
    [
        FontMaker(),
        FontMaker(index=3),
        FontMaker(image=18),
        FontMaker(coverage=2),
        FontMaker(extension=True),
    ],
    ids=["noto", "short offsets", "large metrics", "ranges", "extension"],
)
def test_pictures_come_out_as_they_stand_in_the_font(tmp_path: Path, font: FontMaker) -> None:
    data, glyphs = read_font(written(tmp_path, font))
    assert data == font.build()
    expected = {row: font.png(row) for row in PICTURED}
    expected |= {mirror: font.png(row) for mirror, row in MIRRORED.items()}
    assert {g.codepoints: g.png for g in glyphs} == expected
    assert [g.codepoints for g in glyphs] == sorted(expected)


def test_characters_of_two_bytes_have_a_table_of_their_own(tmp_path: Path) -> None:
    rows = tuple((c,) for c in (0x203C, 0x2049, 0x2122, 0x2600, 0x2601, 0x2602))
    font = FontMaker(cmap=4, rows=rows)
    _, glyphs = read_font(written(tmp_path, font))
    assert {g.codepoints: g.png for g in glyphs} == {row: font.png(row) for row in rows}


def test_captions_are_the_names_that_unicode_gives(tmp_path: Path) -> None:
    path = written(tmp_path, FontMaker())
    found = render(path, 16)
    assert [one.codepoints for one in found] == SINGLE
    assert [one.name for one in found] == [
        "female sign",
        "regional indicator symbol letter d",
        "runner",
        "emoji modifier fitzpatrick type-4",
        "woman",
        "rocket",
    ]
    assert found[-1].file == "1f680.png"


def test_rows_of_characters_are_read_forward_once_and_without_flags(tmp_path: Path) -> None:
    found = render(written(tmp_path, FontMaker()), 16, sequences=True)
    assert [one.codepoints for one in found] == SINGLE + ROWS_OF_CHARACTERS
    assert [one.name for one in found[len(SINGLE) :]] == [
        "runner, female sign",
        "woman, rocket",
        "woman, emoji modifier fitzpatrick type-4",
        "woman, emoji modifier fitzpatrick type-4, rocket",
    ]
    assert found[-1].file == "1f469-1f3fd-200d-1f680.png"


def test_a_row_with_the_picture_of_a_character_is_left_out(tmp_path: Path) -> None:
    font = FontMaker()
    same = FontMaker(pictures={(WOMAN, TONE): font.png((WOMAN,))})
    found = render(written(tmp_path, same), 16, sequences=True)
    assert (WOMAN, TONE) not in [one.codepoints for one in found]
    assert len(found) == len(SINGLE) + len(ROWS_OF_CHARACTERS) - 1


def test_a_picture_lies_over_white_in_the_middle_of_a_square(tmp_path: Path) -> None:
    font = FontMaker()
    (rocket,) = [r for r in render(written(tmp_path, font), 17) if r.codepoints == (ROCKET,)]
    pixels = np.array(Image.open(io.BytesIO(rocket.png)))
    expected = np.full((17, 17, 3), 255, np.uint8)
    expected[:16] = np.array(decode(font.png((ROCKET,)), 10**6))
    np.testing.assert_array_equal(pixels, expected)


def test_the_bytes_are_the_same_every_time_and_everywhere(tmp_path: Path) -> None:
    """The digest stands here, so that another Pillow, Python or zlib shows itself."""
    font = FontMaker(pictures={row: plain_png(_flat(row)) for row in PICTURED})
    path = written(tmp_path, font)
    found = render(path, 12, sequences=True)
    assert found == render(path, 12, sequences=True)
    total = hashlib.sha256(b"".join(one.png for one in found)).hexdigest()
    assert total == "716667f6f18aba098debbea5797cd7233c5d971adfd896cccf4f1d4b7049d555"


def _flat(row: tuple[int, ...]) -> np.ndarray:
    """A gradient that depends on the row. uint8 [16, 17, 3]"""
    down, across = np.mgrid[0:16, 0:17]
    return np.stack([down * 15, across * 14, (down * across + sum(row)) % 256], -1).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (160, 150)])
def test_a_plain_png_is_a_png(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = decode(plain_png(pixels), 10**6)
    np.testing.assert_array_equal(np.array(image), pixels)


@pytest.mark.parametrize("size", [0, -1, 2049])
def test_a_size_out_of_range(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="size must be from 1 to 2048 pixels"):
        render(written(tmp_path, FontMaker()), size)


def test_a_missing_font_names_the_package_and_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emoji_font, "PLACES", (str(tmp_path / "a.ttf"), str(tmp_path / "b.ttf")))
    with pytest.raises(InputError) as caught:
        find_font(NOTO)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == f"there is no font file at {tmp_path}/a.ttf, {tmp_path}/b.ttf"
    assert "Debian's package fonts-noto-color-emoji" in diagnostic.hint
    (tmp_path / "b.ttf").write_bytes(b"")
    assert find_font(NOTO) == tmp_path / "b.ttf"
    assert find_font(str(tmp_path / "b.ttf")) == tmp_path / "b.ttf"
    for other in (tmp_path / "c.ttf", tmp_path):
        with pytest.raises(InputError, match="there is no font file at"):
            find_font(str(other))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it begins with b''"),
        (b"not a font at all", "it begins with b'not '"),
        (b"\0\1\0\0", "damaged or cut short"),
        (assemble({b"glyf": b"xxxx"}), "it has no table CBLC"),
        (assemble({b"CBLC": b"\0\3\0\0\0\0\0\0", b"CBDT": b""}), "pictures of 0 sizes"),
        (FontMaker(image=19).build(), "the formats 1 and 19; 1 or 3 and 17 or 18 are read"),
        (FontMaker(index=2).build(), "the formats 2 and 17"),
        (FontMaker(rows=((0x31,), (0xFE4E5,))).build(), "no picture of a character that Unicode"),
    ],
    ids=["empty", "text", "four bytes", "outlines", "no size", "image", "index", "no emoji"],
)
def test_what_is_no_emoji_font_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in fault(written(tmp_path, content))


def test_a_folder_and_a_huge_file_are_told(tmp_path: Path) -> None:
    assert "Is a directory" in fault(tmp_path)
    path = tmp_path / "huge.ttf"
    with path.open("wb") as file:
        file.truncate(10**12)
    assert "more than 100,000,000 bytes" in fault(path)


def test_a_font_cut_anywhere_is_told(tmp_path: Path) -> None:
    data = FontMaker().build()
    for length in [*range(0, 120), *range(120, len(data) - 4, 97)]:
        assert "cut short" in (said := fault(written(tmp_path, data[:length]))) or (
            "begins with" in said
        )


def test_a_damaged_font_gives_emoji_or_says_what_is_wrong(tmp_path: Path) -> None:
    data, random = FontMaker().build(), np.random.default_rng(3)
    told = 0
    for _ in range(150):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 6):
            broken[at] = random.integers(256)
        try:
            render(written(tmp_path, bytes(broken)), 8, sequences=True)
        except InputError:
            told += 1
    assert told > 100


def test_characters_out_of_order_are_refused(tmp_path: Path) -> None:
    data = bytearray(FontMaker().build())
    at = data.index(struct.pack(">II", ROCKET, ROCKET))
    data[at : at + 8] = struct.pack(">II", 0, 0x10FFFF)
    assert "holds U+0 to U+10FFFF out of order" in fault(written(tmp_path, bytes(data)))


def test_a_broken_picture_is_told_with_its_name(tmp_path: Path) -> None:
    broken = FontMaker().png((ROCKET,))[:-20]
    path = written(tmp_path, FontMaker(pictures={(ROCKET,): broken}))
    assert "its picture of rocket: truncated image" in fault(path)


def test_the_folder_holds_a_row_for_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path, FontMaker())
    folder = emoji_folder(path, 20)
    rows = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
    expected = render(path, 20)
    assert rows == [{"query": one.name, "positive": one.file} for one in expected]
    for one in expected:
        assert (folder / one.file).read_bytes() == one.png
    with monkeypatch.context() as patch:
        patch.setattr(emoji_source, "_picture", None)  # not rendered again
        assert emoji_folder(path, 20) == folder
    others = {emoji_folder(path, 21), emoji_folder(path, 20, sequences=True)}
    monkeypatch.setattr(emoji_source.unicodedata, "unidata_version", "99.0")
    others.add(emoji_folder(path, 20))
    others.add(emoji_folder(written(tmp_path, FontMaker(index=3)), 20))
    assert len(others | {folder}) == 5


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path, FontMaker())

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(RunError, match=r"No space left on device.*SPECRUN_CACHE"):
            emoji_folder(path, 16)
    assert list((tmp_path / "cache" / "emoji").iterdir()) == []
    assert emoji_folder(path, 16).is_dir()


def test_finding_and_reading_a_font_imports_neither_numpy_nor_pillow(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from specrun.runtime.data.emoji_font import read_font\n"
        "print(len(read_font(Path(sys.argv[1]))[1]))\n"
        "print([m for m in ('numpy', 'PIL', 'jax') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(written(tmp_path, FontMaker()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [str(len(PICTURED) + len(MIRRORED)), "[]"]
