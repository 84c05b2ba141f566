"""Unigram and bigram perplexity on the tokens that a plan's evaluation hides: what a masked language model must beat."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from specrun.runtime.data.tokens import Ragged, Tokens, ensure_tokens
from specrun.runtime.loop.evaluate_texts import held_out, metrics_at
from specrun.runtime.program.gradients import evaluation_key
from specrun.runtime.program.masking import counts, hide_held_out
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.plan import Plan


class Unigram:
    """How often each token occurs, one added to each count: (c(w) + 1) / (N + V)."""

    def __init__(self, ids: np.ndarray, vocab_size: int):
        """``ids`` int [N]"""
        count = np.bincount(ids, minlength=vocab_size).astype(np.float64)
        self.probability = (count + 1) / (len(ids) + vocab_size)  # [V]

    def log(self, left: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Natural logarithms of the probabilities of ``ids``, whatever stands to the left. float64 [n]"""
        del left
        return np.log(self.probability[ids])


class Bigram:
    """A token by the one to its left, interpolated with the unigram after Witten and Bell (1991):

    P(w | v) = (c(v, w) + T(v) P(w)) / (c(v) + T(v)), where T(v) different tokens follow v; P(w) where none does.
    """

    def __init__(self, left: np.ndarray, ids: np.ndarray, unigram: Unigram):
        """Tokens int [N] and their left neighbours, -1 where a text begins."""
        self._unigram = unigram
        self._width = len(unigram.probability)
        self._pairs, self._counts = np.unique(self._pair(left, ids), return_counts=True)
        first = self._pairs // self._width
        self._total = np.bincount(first, self._counts, self._width + 1)
        self._kinds = np.bincount(first, minlength=self._width + 1)

    def log(self, left: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Natural logarithms of the probabilities of ``ids``, int [n], behind ``left``. float64 [n]"""
        pair = self._pair(left, ids)
        at = np.minimum(np.searchsorted(self._pairs, pair), len(self._pairs) - 1)
        count = np.where(self._pairs[at] == pair, self._counts[at], 0)
        total, kinds = self._total[left + 1], self._kinds[left + 1]
        own = self._unigram.probability[ids]
        share = (count + kinds * own) / np.maximum(total + kinds, 1)
        return np.log(np.where(kinds > 0, share, own))

    def _pair(self, left: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return (left.astype(np.int64) + 1) * self._width + ids


class Asked(NamedTuple):
    """Hidden tokens [n] of some held-out rows: their rows, their true left neighbours (-1 where a row begins) and
    themselves, all int, and whether the neighbour is not hidden too."""

    rows: np.ndarray
    left: np.ndarray
    ids: np.ndarray
    seen: np.ndarray


def score_plan(plan: Plan) -> dict[str, dict[str, float]]:
    """``loss`` and ``perplexity``, at each rate and in all, by the name of the baseline.

    Counts are of the training rows of every format. ``bigram`` is told the true token to the left, though the model
    may not see it; ``seen bigram`` only where the model sees it, and is the unigram elsewhere. InputError where the plan holds no row out or evaluates nothing.
    """
    if plan.data.scan.validation_rows == 0:
        message, hint = "the plan holds no row out", "add data.validation and compile"
        raise InputError(message, code="no-validation", hint=hint)
    if plan.evaluation is None:
        message, hint = "the plan evaluates nothing", "add the section evaluation and compile"
        raise InputError(message, code="no-evaluation", hint=hint)
    return score_tokens(plan, ensure_tokens(plan.data, plan.tokenizer))


def score_tokens(plan: Plan, tokens: Tokens) -> dict[str, dict[str, float]]:
    """As ``score_plan``, of tokens at hand."""
    assert plan.evaluation is not None
    left, ids = _trained(plan, tokens)
    unigram = Unigram(ids, plan.tokenizer.vocab_size)
    bigram = Bigram(left, ids, unigram)
    rates = plan.evaluation.masking_rates
    sums = {name: np.zeros(len(rates)) for name in ("unigram", "bigram", "seen bigram")}
    count = np.zeros(len(rates))
    for index, rate in enumerate(rates):
        for asked in hidden_tokens(plan, tokens, rate):
            one, two = (model.log(asked.left, asked.ids) for model in (unigram, bigram))
            count[index] += len(one)
            for name, logs in zip(sums, (one, two, np.where(asked.seen, two, one)), strict=True):
                sums[name][index] -= logs.sum()
    hidden = np.maximum(count, 1)
    return {name: metrics_at(rates, {"loss": of / hidden}) for name, of in sums.items()}


def hidden_tokens(plan: Plan, tokens: Tokens, rate: float) -> Iterator[Asked]:
    """What the plan's evaluation hides of the held-out rows at one rate, batch by batch."""
    assert plan.evaluation is not None
    table = counts(rate, plan.data.max_query_length)
    hide = jax.jit(partial(hide_held_out, evaluation_key(plan.seed), plan.tokenizer))
    for rows, ids, mask, numbers in held_out(plan, plan.evaluation, tokens):
        hidden = np.asarray(hide(ids, mask, numbers, table).hidden)[: len(rows)]
        at, place = np.nonzero(hidden)
        left = np.where(place > 0, ids[at, place - 1], -1)
        seen = (place == 0) | ~hidden[at, place - 1]
        yield Asked(rows[at], left, ids[at, place], seen)


def _trained(plan: Plan, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of the training rows that could be hidden, and their left neighbours, -1 where a row begins."""
    texts = tokens.training.queries
    assert isinstance(texts, Ragged)
    ids = np.asarray(texts.ids)
    left = np.concatenate([[-1], ids[:-1]])
    left[np.asarray(texts.ends[:-1])] = -1
    kept = ~np.isin(ids, plan.tokenizer.around)
    return left[kept], ids[kept]
