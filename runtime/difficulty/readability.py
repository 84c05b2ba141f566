"""Readability indices of English text, all turned so that more is harder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from specrun.runtime.difficulty.words import Counts, counts_of
from specrun.spec.plan.difficulty import ReadabilityIndex


def flesch(of: Counts) -> float:
    """Reading ease, 206.835 − 1.015 words/sentence − 84.6 syllables/word; easier is more. Flesch 1948."""
    return 206.835 - 1.015 * of.words / of.sentences - 84.6 * of.syllables / of.words


def coleman_liau(of: Counts) -> float:
    """0.0588 L − 0.296 S − 15.8 by letters and sentences of 100 words: a school grade. Coleman and Liau 1975."""
    return 5.88 * of.letters / of.words - 29.6 * of.sentences / of.words - 15.8


def automated_readability(of: Counts) -> float:
    """4.71 characters/word + 0.5 words/sentence − 21.43: a school grade. Smith and Senter 1967."""
    return 4.71 * of.characters / of.words + 0.5 * of.words / of.sentences - 21.43


INDICES: Mapping[ReadabilityIndex, Callable[[Counts], float]] = {
    "flesch": lambda of: -flesch(of),
    "coleman_liau": coleman_liau,
    "automated_readability": automated_readability,
}
"""By name, each rising with the difficulty."""


def readabilities(texts: Sequence[str], names: Sequence[ReadabilityIndex]) -> np.ndarray:
    """The named indices of each text, float64 [texts, names], rising with the difficulty; NaN for one without words."""
    found = np.full((len(texts), len(names)), np.nan)
    for i, text in enumerate(texts):
        counts = counts_of(text)
        if counts.words:
            found[i] = [INDICES[name](counts) for name in names]
    return found
