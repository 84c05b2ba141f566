"""Prose cut into paragraphs and sentences.

A sentence ends at ``.``, ``!``, ``?`` or ``…`` (and at ``。！？``), closing quotes and brackets included, where what
follows begins another: white space, and then no small letter. A full stop behind an abbreviation, an initial or a
number that goes on ends nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

TITLES = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "rev",
        "hon",
        "st",
        "sr",
        "jr",
        "gen",
        "col",
        "capt",
        "lt",
        "sgt",
        "maj",
        "cmdr",
        "gov",
        "sen",
        "rep",
        "pres",
        "supt",
        "mt",
        "ft",
    ]
)
"""Abbreviations before a name: never the end of a sentence."""

WITHIN = frozenset(
    [
        "e.g",
        "i.e",
        "cf",
        "vs",
        "viz",
        "approx",
        "resp",
        "incl",
        "esp",
        "ca",
        "al",
        "no",
        "nos",
        "fig",
        "figs",
        "eq",
        "eqs",
        "sec",
        "secs",
        "ch",
        "chap",
        "vol",
        "vols",
        "pp",
        "p",
        "ed",
        "eds",
        "trans",
        "ref",
        "refs",
        "def",
        "thm",
        "lem",
        "prop",
        "cor",
        "dept",
        "univ",
        "assn",
        "bros",
        "ave",
        "blvd",
        "rd",
    ]
)
"""Abbreviations before what they announce: an end only before a capital letter of another sentence, which cannot be told,
so none."""

AT_AN_END = frozenset(
    [
        "etc",
        "inc",
        "ltd",
        "co",
        "corp",
        "u.s",
        "u.k",
        "u.n",
        "a.m",
        "p.m",
        "b.c",
        "a.d",
        "ph.d",
        "m.d",
        "b.a",
        "m.a",
        "d.c",
    ]
)
"""Abbreviations that may end a sentence: they do where a capital letter follows that begins one."""

_MONTHS = frozenset(
    [
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
    ]
)

_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*(?=\s|$)|[。！？]+[」』”’）]*)")
_WORD = re.compile(r"[\w.&-]*$")
_SPACE = re.compile(r"\s+")
_LOOK = 64
"""Characters around an end that decide about it: as many of a text of any length."""
_STARTERS = frozenset(
    [
        "the",
        "a",
        "an",
        "this",
        "that",
        "these",
        "those",
        "it",
        "he",
        "she",
        "we",
        "they",
        "i",
        "you",
        "there",
        "here",
        "in",
        "on",
        "at",
        "as",
        "if",
        "when",
        "while",
        "for",
        "but",
        "and",
        "so",
        "however",
        "how",
        "what",
        "why",
        "who",
        "where",
        "which",
        "did",
        "do",
        "does",
        "is",
        "are",
        "was",
        "were",
        "can",
    ]
)
"""Words that begin a sentence rather than go on with a name."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, white space folded. The line ``lines[i]`` of the text, from 1, begins at ``starts[i]`` of it."""

    text: str
    starts: list[int]
    lines: list[int]

    def line_at(self, place: int) -> int:
        """The line on which a character of the paragraph stands."""
        return self.lines[bisect_right(self.starts, place) - 1]


def paragraphs(text: str) -> list[str]:
    """The parts of a text between blank lines, white space folded; empty ones left out."""
    return [found.text for found in placed_paragraphs(text)]


def placed_paragraphs(text: str) -> Iterator[Paragraph]:
    """As ``paragraphs``, each with the lines it stands on."""
    starts, lines, parts, length = list[int](), list[int](), list[str](), 0
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if folded := " ".join(line.split()):
            starts.append(length)
            lines.append(number)
            parts.append(folded)
            length += len(folded) + 1
        elif parts:
            yield Paragraph(" ".join(parts), starts, lines)
            starts, lines, parts, length = [], [], [], 0
    if parts:
        yield Paragraph(" ".join(parts), starts, lines)


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, in order; together they are the paragraph but for the white space between."""
    return list(_sentences(_SPACE.sub(" ", paragraph).strip()))


def _sentences(text: str) -> Iterator[str]:
    begin = 0
    for end in _END.finditer(text):
        if _ends(text, begin, end):
            found = text[begin : end.end()].strip()
            if found:
                yield found
            begin = end.end()
    if rest := text[begin:].strip():
        yield rest


def _ends(text: str, begin: int, end: re.Match[str]) -> bool:
    """Whether a sentence that begins at ``begin`` ends here."""
    mark, after = end.group(), text[end.end() : end.end() + _LOOK].lstrip()
    if not after or mark[0] in "。！？":
        return True
    first = after.lstrip("\"'“‘«([")[:1]
    if first.islower():
        return False
    if not mark.startswith(".") or mark.startswith(".."):
        return True
    word = _word_before(text[max(begin, end.start() - _LOOK) : end.start()])
    return not _is_abbreviation(word, after)


def _word_before(text: str) -> str:
    found = _WORD.search(text)
    return found.group().strip("-&") if found else ""


def _is_abbreviation(word: str, after: str) -> bool:
    """Whether the full stop behind ``word`` is the word's own, and a sentence goes on with ``after``."""
    small = word.lower()
    if small in TITLES or small in WITHIN:
        return True
    if small in _MONTHS:
        return after[:1].isdigit()
    if len(word) == 1 and word.isalpha() and word.isupper():  # an initial, and not the pronoun
        return word != "I"
    if small in AT_AN_END or re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", word):
        next_word = re.split(r"\W", after, maxsplit=1)[0].lower()
        return next_word not in _STARTERS
    return False
