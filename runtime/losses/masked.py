"""The loss of a masked language model: cross-entropy at the tokens that were hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from specrun.runtime.losses.algebra import Term
from specrun.runtime.losses.tiles import fold
from specrun.runtime.models.vocabulary import Logits
from specrun.spec.plan.losses import MaskedDiffusion


def masked_diffusion(
    plan: MaskedDiffusion, logits: Logits, tile_rows: int, around: tuple[int, ...]
) -> Term:
    """Cross-entropy at hidden tokens against what stood there.

    ``weighting: none`` is the mean over the hidden tokens of all rows; ``inverse_rate`` is
    ``Σ CE / p`` over hidden tokens, by the number of tokens that may be hidden, p being the share of the row's tokens
    that was to be hidden: the bound of a masked diffusion's likelihood (Nie et al. 2025, LLaDA,
    equation 3; Sahoo et al. 2024). Label smoothing takes ε of the target and spreads it over all
    ids (Szegedy et al. 2016), as torch's ``cross_entropy`` does. The scores of at most ``tile_rows``
    rows exist at a time. ``around`` are the ids that the tokenizer puts around every text.
    """

    def weights(batch: Any) -> jax.Array:  # [B, S]
        own = batch.weight[:, None] * batch.hidden
        return own if plan.weighting == "none" else own / batch.rate[:, None]

    def weight(batch: Any) -> jax.Array:
        if plan.weighting == "none":
            return (batch.weight[:, None] * batch.hidden).sum()
        counted = hideable(batch.target_ids, batch.query_mask, around)
        return (batch.weight[:, None] * counted).sum()

    def sum_(parameters: Mapping[str, Any], outputs: Any, batch: Any) -> jax.Array:
        def one(value: jax.Array, rows: Any) -> jax.Array:
            states, targets, own = rows
            found = cross_entropy(logits(parameters, states), targets, plan.label_smoothing)
            return value + (found * own).sum()

        rows = (outputs.states, batch.target_ids, weights(batch))
        return fold(one, jnp.zeros((), jnp.float32), rows, tile_rows)

    return Term(plan.name, "separable", weight, sum_)


def hideable(ids: jax.Array, mask: jax.Array, around: tuple[int, ...]) -> jax.Array:
    """Which tokens may be hidden: those of the text, not what the tokenizer puts around every text."""
    for special in around:
        mask = mask & (ids != special)
    return mask


class HiddenScores(NamedTuple):
    """Of each row, over its hidden tokens."""

    loss: jax.Array  # f32 [B], the sum of cross-entropies
    right: jax.Array  # f32 [B], how many have the greatest score
    count: jax.Array  # f32 [B], how many are hidden


def score_hidden(
    logits: Callable[[jax.Array], jax.Array],
    states: jax.Array,
    targets: jax.Array,
    hidden: jax.Array,
    tile_rows: int,
) -> HiddenScores:
    """Of states [B, S, D], with the scores of at most ``tile_rows`` rows at a time."""

    def one(rows: tuple[jax.Array, jax.Array, jax.Array]) -> HiddenScores:
        states, targets, hidden = rows
        scores = logits(states)
        loss = cross_entropy(scores, targets, 0.0)
        right = jnp.argmax(scores, axis=-1) == targets
        return HiddenScores(*(jnp.sum(x * hidden, axis=-1) for x in (loss, right, 1.0)))

    return jax.lax.map(one, (states, targets, hidden), batch_size=tile_rows)


def cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: float) -> jax.Array:
    """[..., V] against ids [...]: ``logsumexp − (1 − ε) · target − ε · mean``. f32 [...]"""
    logits = logits.astype(jnp.float32)
    target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    whole = jax.nn.logsumexp(logits, axis=-1)
    if smoothing == 0.0:
        return whole - target
    return whole - (1 - smoothing) * target - smoothing * logits.mean(axis=-1)
