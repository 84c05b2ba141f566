"""Rows of text with some of their tokens hidden: what a masked language model is shown, and what it is asked.

Which tokens are hidden is a function of the row's key alone, so neither chunks nor devices change it.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime.losses.algebra import given
from specrun.runtime.losses.masked import hideable
from specrun.runtime.models.randomness import random_bits
from specrun.spec.plan.data import TokenizerPlan

LEAST_RATE = 1e-3
"""Of a rate that is drawn: p = (1 − ε) t + ε, so that no row is left whole for certain (Nie et al. 2025, LLaDA)."""

_FOLD = 0x6D61
"""What tells the keys of hiding from those of dropout."""

_ROUNDING = 1e-9
"""Added before rounding down, so that 0.29 of 100 tokens are 29, as on paper."""


class Hidden(NamedTuple):
    """What is hidden of rows of text, and what is shown instead."""

    ids: jax.Array  # int32 [B, S], the mask's id where a token is hidden
    hidden: jax.Array  # bool [B, S]
    rate: jax.Array  # f32 [B], the share that was meant


def counts(rate: float, longest: int) -> np.ndarray:
    """How many tokens of a row are hidden, by how many it has: max(1, ⌊n · rate⌋). int32 [longest + 1]

    A row without tokens has none to hide.
    """
    found = [max(1, math.floor(n * rate + _ROUNDING)) for n in range(longest + 1)]
    return np.array([0, *found[1:]], np.int32)


def hide(
    sampling: Literal["exact", "bernoulli"],
    ids: jax.Array,
    mask: jax.Array,
    keys: jax.Array,
    mask_id: int,
    control: Any,
) -> Hidden:
    """Rows int32 [B, S] with tokens hidden; ``mask`` bool [B, S], ``keys`` [B].

    ``control`` has ``mask_counts`` (int32 [longest + 1]) where ``sampling`` is exact: so many distinct tokens of each
    row are hidden, every choice being as likely. Else it has ``mask_rates`` (f32 [2]): each row draws its rate evenly
    between the two, and each of its tokens is hidden with that probability.
    """
    bits = random_bits(keys, ids.shape[1:])  # uint32 [B, S]
    if sampling == "exact":
        valid = mask.sum(axis=1)
        count = control["mask_counts"][valid]
        last = jnp.where(mask, bits, np.uint32(0xFFFFFFFF))
        rank = jnp.argsort(jnp.argsort(last, axis=1, stable=True), axis=1)
        hidden = mask & (rank < count[:, None])
        rate = count / jnp.maximum(valid, 1)
    else:
        low, high = control["mask_rates"]
        drawn = (
            low
            + (high - low)
            * unit(random_bits(jax.vmap(jax.random.fold_in, (0, None))(keys, 1), (1,)))[:, 0]
        )
        rate = (1 - LEAST_RATE) * drawn + LEAST_RATE
        hidden = mask & (unit(bits) < rate[:, None])
    return Hidden(jnp.where(hidden, np.int32(mask_id), ids), hidden, rate.astype(jnp.float32))


def unit(bits: jax.Array) -> jax.Array:
    """Evenly in [0, 1), by the upper 24 bits: f32 holds them exactly."""
    return (bits >> 8).astype(jnp.float32) * np.float32(2.0**-24)


def row_keys(key: jax.Array, rows: jax.Array) -> jax.Array:
    """The key of each row, by its number: [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, _FOLD), rows)


def hide_held_out(
    key: jax.Array, tokenizer: TokenizerPlan, ids: Any, mask: Any, rows: Any, counts: Any
) -> Hidden:
    """Held-out rows int32 [B, S] with ``counts[n]`` of n tokens hidden, by their numbers uint32 [B]."""
    some = hideable(ids, mask, tokenizer.around)
    keys = row_keys(key, rows)
    return hide("exact", ids, some, keys, given(tokenizer.mask_id), {"mask_counts": counts})


def hide_batch(
    sampling: Literal["exact", "bernoulli"],
    batch: Any,
    key: jax.Array,
    tokenizer: TokenizerPlan,
    control: Any,
) -> Any:
    """A batch of texts [A, B, ...] with tokens hidden, by keys of its rows."""

    def one(rows: Any) -> Any:
        keys = row_keys(key, rows.row)
        mask = hideable(rows.query_ids, rows.query_mask, tokenizer.around)
        found = hide(sampling, rows.query_ids, mask, keys, given(tokenizer.mask_id), control)
        return rows._replace(
            query_ids=found.ids,
            target_ids=rows.query_ids,
            hidden=found.hidden,
            rate=found.rate,
        )

    return jax.vmap(one)(batch)
