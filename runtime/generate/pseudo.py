"""Texts that a model makes of the texts it learns from: some tokens hidden, filled in again, and what is unfit left out.

A pure function of the texts, the parameters, the settings and the seed. What becomes of a text does not depend on how
many are wanted: more of them are the same ones and others behind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from specrun.runtime.data.split import normalise
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.difficulty.words import words_of
from specrun.runtime.generate.filler import Completion
from specrun.runtime.generate.prompts import Row

Fill = Callable[[Sequence[Row]], Sequence[Completion]]
"""Rows with hidden tokens to texts, in their order: ``Filler.fill`` with all else given."""

Reason = Literal["length", "same", "similarity", "repetition", "doubled", "held_out"]
"""Why a text was left out. ``length`` counts texts without a token to hide as well."""

AT_ONCE = 64
"""Texts made between two moments at which it can be left."""

_ORDER, _HIDDEN = 1, 2
"""What tells the streams of the order from those of hiding."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How much of a text is hidden, and what a text must be like to be taken.

    ``hidden``: least and greatest share of its tokens, each text draws its own. ``words``: least and greatest number
    of words. ``similarity``: least and greatest Jaccard index of the sets of words of the text and of its source,
    letter case apart: 1 are the same words, 0 none in common. ``unique_words``: least share of different words.
    """

    hidden: tuple[float, float] = (0.2, 0.4)
    words: tuple[int, int] = (3, 512)
    similarity: tuple[float, float] = (0.3, 0.95)
    unique_words: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Pseudo:
    """``texts`` and the indices of the texts they were made of, in the order they were made; what was left out, and why."""

    texts: tuple[str, ...]
    sources: tuple[int, ...]
    left_out: Mapping[Reason, int]


def pseudo_texts(
    texts: Sequence[str],
    fill: Fill,
    tokenizer: Tokenizer,
    mask_id: int,
    *,
    count: int,
    longest: int,
    rules: Rules,
    seed: int,
    held_out: frozenset[str] = frozenset(),
    between: Callable[[], None] = lambda: None,
) -> Pseudo:
    """``count`` texts, or fewer where ``texts`` do not give as many: each is tried once, in an order drawn by the seed.

    Of a longer text the first ``longest`` tokens are taken, as in training; ``held_out`` are normalised texts that none may be. ``between`` is called before each portion, and may raise.
    """
    made: dict[str, int] = {}
    left_out: Counter[Reason] = Counter()
    order = _ranked(seed, _ORDER, 0, len(texts))
    for start in range(0, len(order), AT_ONCE):
        if len(made) >= count:
            break
        between()
        indices = [int(i) for i in order[start : start + AT_ONCE]]
        rows, short = _rows(texts, indices, tokenizer, mask_id, longest, rules, seed)
        filled = fill(rows)
        new = dict(zip((row.prompt for row in rows), filled, strict=True))
        for i in indices:
            if len(made) >= count:
                break
            if i not in short:
                left_out["length"] += 1
                continue
            text = new[i].text
            reason = unfit(text, texts[i], rules) or ("doubled" if text in made else None)
            if reason is None and normalise(text) in held_out:
                reason = "held_out"
            if reason is not None:
                left_out[reason] += 1
            else:
                made[text] = i
    return Pseudo(texts=tuple(made), sources=tuple(made.values()), left_out=dict(left_out))


def unfit(text: str, source: str, rules: Rules) -> Reason | None:
    """Why a text is left out that was made of ``source``; None for one that is taken."""
    words = [w.casefold() for w in words_of(text)]
    if not rules.words[0] <= len(words) <= rules.words[1]:
        return "length"
    if text == source:
        return "same"
    if (
        not rules.similarity[0]
        <= jaccard(words, words_of(source.casefold()))
        <= rules.similarity[1]
    ):
        return "similarity"
    if len(set(words)) < rules.unique_words * len(words):
        return "repetition"
    return None


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """|A ∩ B| / |A ∪ B| of the sets of words (Jaccard 1912); 1 where both are empty."""
    a, b = set(one), set(other)
    return len(a & b) / len(a | b) if a | b else 1.0


def hide_some(
    ids: np.ndarray,
    mask_id: int,
    kept: frozenset[int],
    share: tuple[float, float],
    draw: np.ndarray,
) -> np.ndarray:
    """``ids`` int32 [S] with max(1, ⌊n · rate⌋) of the n tokens that are not in ``kept`` hidden.

    ``draw`` are raw numbers uint64 [S + 1]: the first gives the rate, evenly within ``share``, the others the order in
    which tokens are hidden. A row of kept tokens alone stays as it is.
    """
    rate = share[0] + (share[1] - share[0]) * (int(draw[0] >> np.uint64(11)) * 2.0**-53)
    free = np.flatnonzero(~np.isin(ids, list(kept)))
    chosen = free[np.argsort(draw[1:][free], kind="stable")]
    hidden = chosen[: max(1, math.floor(len(free) * rate + 1e-9))]
    found = ids.copy()
    found[hidden] = mask_id
    return found


def _rows(
    texts: Sequence[str],
    indices: Sequence[int],
    tokenizer: Tokenizer,
    mask_id: int,
    longest: int,
    rules: Rules,
    seed: int,
) -> tuple[list[Row], set[int]]:
    """A row for each text that has something to hide, and the indices of those. ``twin`` is the text's index, so that equal rows differ."""
    kept = frozenset(tokenizer.special_ids())
    rows: list[Row] = []
    for i, ids in zip(indices, tokenizer.encode([texts[i] for i in indices], longest), strict=True):
        if not np.isin(ids, list(kept)).all():
            draw = _raw(seed, _HIDDEN, i, len(ids) + 1)
            rows.append(Row(i, 0, i, hide_some(ids, mask_id, kept, rules.hidden, draw)))
    return rows, {row.prompt for row in rows}


def _ranked(seed: int, purpose: int, index: int, count: int) -> np.ndarray:
    return np.argsort(_raw(seed, purpose, index, count), kind="stable")


def _raw(seed: int, purpose: int, index: int, count: int) -> np.ndarray:
    """Raw Philox numbers, whose stream numpy keeps the same from version to version. uint64 [count]"""
    key = np.array([seed, (purpose << 40) | index], np.uint64)
    return np.random.Philox(key=key).random_raw(count)
