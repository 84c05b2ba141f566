"""Rows of text files: their paragraphs as sentences, pairs of sentences, or whole.

A paragraph stands between blank lines; of a Python file it is what ``docstrings`` takes for prose. One of too many sentences is cut into consecutive ones first, and these
are what the rest knows as paragraphs: pairs lie within one, and a side of the split takes one whole. A text of
too many characters, of whatever format, is cut at word bounds into pieces that share some words.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, assert_never

from specrun.runtime.data.docstrings import docstring_paragraphs
from specrun.runtime.data.raw import BETWEEN, Fault, Row, printable
from specrun.runtime.data.sentences import Paragraph, placed_paragraphs, sentences
from specrun.runtime.data.sources import SourceFile, content_of, is_python
from specrun.spec.plan.data import FORMAT, TEXT_FORMATS, TextFormat, TextSource

MAX_BYTES = 1 << 30
"""A larger file is not read: all of it stands in memory at a time."""

_NUMBERS = {name: {FORMAT: float(i)} for i, name in enumerate(TEXT_FORMATS)}

What = Literal["rows", "cut", "too_short", "alone"]


@dataclass
class Prose:
    """What had to be left out of files, and how many texts went which way, by format."""

    faults: list[Fault] = field(default_factory=list[Fault])
    counts: Counter[tuple[TextFormat, What]] = field(
        default_factory=Counter[tuple[TextFormat, What]]
    )


class Piece(NamedTuple):
    """Part of a text, and where it begins there."""

    text: str
    start: int


class _Text(NamedTuple):
    """A text to make rows of, and where it begins in its paragraph; ``second`` is a pair's second sentence."""

    text: str
    start: int
    second: Piece | None = None

    def place(self, at: int) -> int:
        """Where a character of the text stands in its paragraph."""
        turn = len(self.text) if self.second is None else len(self.text) - len(self.second.text)
        if self.second is None or at < turn:
            return self.start + at
        return self.second.start + at - turn


def read_prose(file: SourceFile, source: TextSource, found: Prose) -> Iterator[Row]:
    """The rows of one file in the order of its paragraphs, and of ``source.formats`` within each.

    Faults and counts are added to ``found``. RunError when the file is no longer the listed one.
    """
    name = printable(file.name)
    for whole in _paragraphs(file, name):
        if isinstance(whole, Fault):
            found.faults.append(whole)
            continue
        for parts in _groups(whole, source.paragraph_max_sentences):
            yield from _rows(whole, parts, name, source, found)


def pieces(text: str, most: int, overlap: int) -> list[Piece]:
    """A text of more than ``most`` characters as pieces that follow one another, each as long as may be.

    Each begins with up to ``overlap`` words of the end of the one before, at most half of its words, and
    holds one word more at least. Between words is one space. A word that is too long by itself is cut too.
    """
    if len(text) <= most:
        return [Piece(text, 0)]
    words, starts = _words(text, most)
    ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
    found: list[Piece] = []
    first, beyond = 0, 0
    while beyond < len(words):
        while beyond < len(words) and ends[beyond] - starts[first] <= most:
            beyond += 1
        found.append(Piece(text[starts[first] : ends[beyond - 1]], starts[first]))
        if beyond < len(words):
            first = beyond - min(overlap, (beyond - first) // 2)
            while ends[beyond] - starts[first] > most:
                first += 1
    return found


def _words(text: str, most: int) -> tuple[list[str], list[int]]:
    """The words of a text and where they begin; one of more than ``most`` characters is several."""
    words: list[str] = []
    starts: list[int] = []
    at = 0
    for word in text.split(" "):
        for part in range(0, len(word), most):
            words.append(word[part : part + most])
            starts.append(at + part)
        at += len(word) + 1
    return words, starts


def _paragraphs(file: SourceFile, name: str) -> Iterator[Paragraph | Fault]:
    """The paragraphs of a file, and what had to be left out."""
    if is_python(file.name):
        yield from docstring_paragraphs(file, name)
        return
    raw = content_of(file, name, MAX_BYTES)
    text = raw if isinstance(raw, Fault) else decoded(raw, name)
    if isinstance(text, Fault):
        yield text
    else:
        yield from placed_paragraphs(text)


def decoded(raw: bytes, name: str, *, whole: bool = True) -> str | Fault:
    """Bytes as text, or the fault of the file ``name``. What is not ``whole`` may end within a character."""
    if (at := raw.find(b"\0")) >= 0:
        return Fault("NUL byte in the text", name, raw.count(b"\n", 0, at) + 1)
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(raw, whole)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Fault("not UTF-8", name, line, f"byte {raw[error.start]:#04x}: {error.reason}")


def _groups(whole: Paragraph, most: int) -> Iterator[list[Piece]]:
    """The sentences of a paragraph, ``most`` at a time."""
    placed: list[Piece] = []
    at = 0
    for sentence in sentences(whole.text):
        at = whole.text.index(sentence, at)
        placed.append(Piece(sentence, at))
        at += len(sentence)
    for start in range(0, len(placed), most):
        yield placed[start : start + most]


def _rows(
    whole: Paragraph, parts: Sequence[Piece], name: str, source: TextSource, found: Prose
) -> Iterator[Row]:
    """The rows of all formats of one paragraph, given by its sentences."""
    group = whole.text[parts[0].start : parts[-1].start + len(parts[-1].text)]
    for format in source.formats:
        texts = _texts(format, group, parts)
        if not texts:
            found.counts[format, "alone"] += 1
        for text in texts:
            cut = pieces(text.text, source.max_chars, source.chunk_overlap)
            found.counts[format, "cut"] += len(cut) > 1
            for piece in cut:
                if len(piece.text) < source.min_chars:
                    found.counts[format, "too_short"] += 1
                    continue
                line = whole.line_at(text.place(piece.start))
                found.counts[format, "rows"] += 1
                yield _row(piece.text, f"{name}:{line}", format, group)


def _row(text: str, place: str, format: TextFormat, group: str) -> Row:
    numbers = _NUMBERS[format]
    return Row(text, text, place, numbers=numbers, group=group, family=format)


def _texts(format: TextFormat, group: str, parts: Sequence[Piece]) -> list[_Text]:
    match format:
        case "sentences":
            return [_Text(*part) for part in parts]
        case "pairs":
            return [
                _Text(f"{one.text}{BETWEEN}{two.text}", one.start, two)
                for one, two in pairwise(parts)
            ]
        case "paragraphs":
            return [_Text(group, parts[0].start)]
        case _:
            assert_never(format)
