"""How rare a text's words are: the mean of their inverse document frequencies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from specrun.runtime.difficulty.words import words_of


def spread(rows: int, most: int) -> list[int]:
    """At most ``most`` of ``rows`` indices, evenly apart from the first on."""
    kept = min(rows, most)
    return [i * rows // kept for i in range(kept)]


def idf_of(corpus: Iterable[str]) -> Callable[[str], float]:
    """ln((1 + n) / (1 + texts with the word)) of a word by a corpus of n texts, letter case aside.

    Spärck Jones 1972, smoothed as scikit-learn does, without its + 1. A word that no text has gets ln(1 + n).
    """
    counts: Counter[str] = Counter()
    texts = 0
    for text in corpus:
        counts.update(set(_folded(text)))
        texts += 1

    def idf(word: str) -> float:
        return math.log((1 + texts) / (1 + counts[word]))

    return idf


def rarity(texts: Sequence[str], idf: Callable[[str], float]) -> np.ndarray:
    """Mean inverse document frequency of each text's words, float64 [texts]; 0 for a text without words."""
    known: dict[str, float] = {}
    found = np.zeros(len(texts))
    for i, text in enumerate(texts):
        words = _folded(text)
        for word in words:
            if word not in known:
                known[word] = idf(word)
        found[i] = math.fsum(known[w] for w in words) / len(words) if words else 0.0
    return found


def _folded(text: str) -> list[str]:
    return [word.casefold() for word in words_of(text)]
