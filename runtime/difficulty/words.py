"""A text's words, sentences and syllables, as the scores count them. Imports neither numpy nor jax."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?:\s+|\Z)|\n\s*\n")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?:[^aeiouylr]|[^aeiouy][lr])es?\Z|[^aeiouytd]ed\Z|[aeiouy][lr]es?\Z")
_SIBILANT_ES = re.compile(r"(?:[sxz]|ch|sh|[cg])es\Z")
_CONSONANT_LE = re.compile(r"[^aeiouylr]les?\Z")
_HIATUS = re.compile(r"i(?:a(?!l\Z|n\Z)|o(?!u|n)|u)|eo(?!u)|ua(?!r)|uo|[aeiou]ing|ying|ism\Z")


class Counts(NamedTuple):
    """Of one text. ``characters`` are letters and digits of words, ``letters`` without the digits."""

    words: int
    sentences: int
    characters: int
    letters: int
    syllables: int


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, with apostrophes inside, in the order of the text; identifiers part at underscores."""
    return _WORD.findall(text)


def counts_of(text: str) -> Counts:
    """Words, sentences and syllables of a text; at least one sentence where there is a word."""
    words = words_of(text)
    bare = [w.replace("'", "").replace("’", "") for w in words]
    return Counts(
        words=len(words),
        sentences=sum(_WORD.search(part) is not None for part in _SENTENCE_END.split(text)),
        characters=sum(map(len, bare)),
        letters=sum(c.isalpha() for word in bare for c in word),
        syllables=sum(map(syllables, words)),
    )


def syllables(word: str) -> int:
    """Syllables of an English word by its spelling: groups of vowels, less silent endings; at least 1."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(c for c in plain if c.isalpha() and c.isascii())
    count = len(_VOWELS.findall(plain)) + len(_HIATUS.findall(plain))
    if _CONSONANT_LE.search(plain) or _SIBILANT_ES.search(plain):
        return max(1, count)
    return max(1, count - bool(_SILENT.search(plain)))
