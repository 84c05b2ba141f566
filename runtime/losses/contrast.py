"""Telling the right answer from other candidates: cross-entropy of cosines, the matrix whole or in tiles."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from specrun.runtime.chunks import filled
from specrun.runtime.losses.algebra import weighted

_LEAST_SQUARE = 1e-24


class Masks(NamedTuple):
    """Who counts, and who is whose negative. The right answer of row i is candidate i."""

    weight: jax.Array  # [B], 0 is a padding row
    valid: jax.Array  # bool [C]; an invalid candidate is nobody's negative
    keys: jax.Array  # int32 [B, K]: label, and numbers of texts where these count; -1 is none
    candidate_keys: jax.Array  # int32 [C, K]
    limit: jax.Array | None = None  # [B]; what is more similar than that is not counted

    def apart(self, keys: jax.Array, cosines: jax.Array, limit: jax.Array | None) -> jax.Array:
        """Which candidates may be negatives of rows with these keys and limits. bool [T, C]"""
        found = self.valid & _differ(keys, self.candidate_keys)
        return found if limit is None else found & (cosines <= limit[:, None])


def cross_entropy(
    queries: jax.Array,
    candidates: jax.Array,
    masks: Masks,
    scale: jax.Array,
    *,
    both: bool,
    tile_rows: int,
) -> jax.Array:
    """``Σ_i w_i (logsumexp_j S_ij − S_ii)``, ``S`` the cosines of [B, D] and [C, D] times ``scale``. []

    ``both`` is the mean of that and of the same on the transposed first B columns. Rows of weight 0
    and invalid candidates are nobody's negatives, neither are two rows that share a key, nor what
    is above the row's limit; from the columns, a query above the limit of the column's row. Above
    ``tile_rows`` rows ``S`` exists only as tiles [tile_rows, C], going forward and again going
    backward: one more product, and the memory of a tile.
    """
    rows = queries.shape[0]
    if rows <= tile_rows:
        return _whole(queries, candidates, masks, scale, both)
    return _tiled(-(-rows // tile_rows), both, queries, candidates, masks, scale)


def own_cross_entropy(
    query: jax.Array,
    positive: jax.Array,
    negatives: jax.Array,
    valid: jax.Array,
    weight: jax.Array,
    scale: jax.Array,
    limit: jax.Array | None = None,
) -> jax.Array:
    """The same with candidates of each row's own: [B, D] against ``negatives`` [B, N, D]. []

    ``valid`` bool [B, N] says which negatives there are.
    """
    query = normalise(query)
    right = jnp.sum(query * normalise(positive), axis=-1) * scale  # [B]
    cosines = jnp.einsum("BD,BND->BN", query, normalise(negatives))
    if limit is not None:
        valid = valid & (cosines <= limit[:, None])
    return own_score_entropy(right, cosines * scale, valid, weight)


def own_score_entropy(
    right: jax.Array, wrong: jax.Array, valid: jax.Array, weight: jax.Array
) -> jax.Array:
    """``own_cross_entropy`` of any scores: [B] of the positives, [B, N] of the negatives. []"""
    scores = jnp.concatenate([right[:, None], jnp.where(valid, wrong, -jnp.inf)], axis=1)
    return weighted(weight, jax.nn.logsumexp(scores, axis=1) - right)


def normalise(x: jax.Array) -> jax.Array:
    """``x / |x|`` over the last axis; a vector shorter than 1e-12 becomes 0 with gradient 0.

    torch's ``normalize`` divides by at least 1e-12 instead, so that a zero vector gets gradients
    of order 1e12.
    """
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    usable = square > _LEAST_SQUARE
    return jnp.where(usable, x * jax.lax.rsqrt(jnp.where(usable, square, 1.0)), 0.0)


def _whole(
    queries: jax.Array, candidates: jax.Array, masks: Masks, scale: jax.Array, both: bool
) -> jax.Array:
    cosines = normalise(queries) @ normalise(candidates).T  # [B, C]
    return score_entropy(cosines * scale, masks, both, cosines)


def score_entropy(
    scores: jax.Array, masks: Masks, both: bool, cosines: jax.Array | None = None
) -> jax.Array:
    """``cross_entropy`` of any scores [B, C]; limits of similarity, where there are, hold for ``cosines``. []"""
    part = _every_row(masks, scores if cosines is None else cosines)
    right = part.right(scores)
    value = weighted(masks.weight, _logsumexp(scores, part.across, 1) - right)
    if not both:
        return value
    down = _logsumexp(part.square(scores), part.down, 0)
    return 0.5 * (value + weighted(masks.weight, down - right))


def kept_pairs(masks: Masks) -> jax.Array:
    """Which candidates count for which row, bool [B, C]; the right answer always does."""
    return _every_row(masks, jnp.zeros((masks.weight.size, masks.valid.size))).across


def _every_row(masks: Masks, cosines: jax.Array) -> _Part:
    """What counts of all scores."""
    count = masks.weight.shape[0]
    none = jnp.zeros((count, 0))
    rows = _Rows(none, jnp.arange(count), masks.weight, masks.keys, masks.limit)
    return _part(masks, rows, cosines)


class _Part(NamedTuple):
    """Which of the scores [T, C] of some rows count, for the rows and for the first B columns."""

    own: jax.Array  # bool [T, C], the right answers
    across: jax.Array  # bool [T, C]
    down: jax.Array  # bool [T, B]

    def right(self, scores: jax.Array) -> jax.Array:
        """[T]. A masked sum, because gathering from a sharded matrix would gather the matrix."""
        return jnp.sum(jnp.where(self.own, scores, 0.0), axis=1)

    def square(self, scores: jax.Array) -> jax.Array:
        """The columns of positives: [T, C] → [T, B]."""
        return scores[:, : self.down.shape[1]]


def _part(masks: Masks, rows: _Rows, cosines: jax.Array) -> _Part:
    """The right answer always counts, so that the unused loss of a row of weight 0 is finite."""
    count = masks.weight.shape[0]
    own = rows.row[:, None] == jnp.arange(masks.valid.shape[0])
    other = _differ(rows.keys, masks.candidate_keys)[:, :count]
    if masks.limit is not None:
        other = other & (cosines[:, :count] <= masks.limit)
    down = own[:, :count] | ((rows.weight > 0)[:, None] & other)
    return _Part(own, own | masks.apart(rows.keys, cosines, rows.limit), down)


def _differ(keys: jax.Array, others: jax.Array) -> jax.Array:
    """Which rows [T, K] and candidates [C, K] share no key. bool [T, C]"""
    found = jnp.ones((keys.shape[0], others.shape[0]), bool)
    for own, other in zip(keys.T, others.T, strict=True):
        found = found & ((own[:, None] != other) | (own < 0)[:, None])
    return found


def _logsumexp(scores: jax.Array, kept: jax.Array, axis: int) -> jax.Array:
    return jax.nn.logsumexp(jnp.where(kept, scores, -jnp.inf), axis=axis)


# --- in tiles --------------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Rows dealt out to tiles, row i to tile i mod n: [T, n, ...], so that each lies on every device."""

    queries: jax.Array
    row: jax.Array  # the number of the row; -1 behind the last
    weight: jax.Array
    keys: jax.Array
    limit: jax.Array | None

    def tile(self, index: jax.Array) -> _Rows:
        return jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, index, 1, keepdims=False), self
        )


def _dealt(queries: jax.Array, masks: Masks, tiles: int) -> _Rows:
    rows = jnp.arange(1, queries.shape[0] + 1)
    parts = _Rows(queries, rows, masks.weight, masks.keys, masks.limit)
    dealt = jax.tree.map(lambda x: filled(x, tiles).reshape(-1, tiles, *x.shape[1:]), parts)
    return dealt._replace(row=dealt.row - 1)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tiled(
    tiles: int,
    both: bool,
    queries: jax.Array,
    candidates: jax.Array,
    masks: Masks,
    scale: jax.Array,
) -> jax.Array:
    """``_whole`` in ``tiles`` tiles; the gradient is written out, so that no tile outlives its turn."""
    return _forward(tiles, both, queries, candidates, masks, scale)[0]


def _forward(
    tiles: int,
    both: bool,
    queries: jax.Array,
    candidates: jax.Array,
    masks: Masks,
    scale: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The value, and what going backward needs besides: the logsumexp of every row and column."""
    unit, dealt = normalise(candidates), _dealt(queries, masks, tiles)

    def one(carry: jax.Array, index: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        rows = dealt.tile(index)
        cosines = normalise(rows.queries) @ unit.T
        scores, part = cosines * scale, _part(masks, rows, cosines)
        if both:
            carry = jnp.logaddexp(carry, _logsumexp(part.square(scores), part.down, 0))
        return carry, (_logsumexp(scores, part.across, 1), part.right(scores))

    none = jnp.full(masks.weight.shape, -jnp.inf)
    down, found = jax.lax.scan(one, none, jnp.arange(tiles))
    across, right = (x.T.reshape(-1)[: len(none)] for x in found)  # [n, T] dealt back to [B]
    value = weighted(masks.weight, across - right)
    if both:
        value = 0.5 * (value + weighted(masks.weight, down - right))
    return value, (queries, candidates, masks, scale, across, down)


def _backward(
    tiles: int, both: bool, kept: tuple, slope: jax.Array
) -> tuple[jax.Array, jax.Array, None, jax.Array]:
    """``∂/∂S_ij = a_i P_ij + b_j R_ij − (a_i + b_i) δ_ij``: P the softmax of rows, R that of columns.

    ``a`` and ``b`` are the weights of the two directions.
    """
    queries, candidates, masks, scale, across, down = kept
    unit, pull = jax.vjp(normalise, candidates)
    dealt = _dealt(queries, masks, tiles)
    totals = filled(across, tiles).reshape(-1, tiles)
    share = 0.5 * slope if both else slope
    count = len(masks.weight)

    def one(carry: tuple, index: jax.Array) -> tuple[tuple, None]:
        to_queries, to_unit, to_scale = carry
        rows = dealt.tile(index)
        query, pull_query = jax.vjp(normalise, rows.queries)
        cosines = query @ unit.T  # [T, C]
        scores, part = cosines * scale, _part(masks, rows, cosines)
        total = jax.lax.dynamic_index_in_dim(totals, index, 1)  # [T, 1]
        own_share = share * rows.weight[:, None]
        found = own_share * _softmax(scores, part.across, total)
        if both:
            columns = share * masks.weight * _softmax(part.square(scores), part.down, down)
            found = found.at[:, :count].add(columns)
        found = found - jnp.where(part.own, (2 if both else 1) * own_share, 0.0)
        (to_rows,) = pull_query((found @ unit) * scale)
        to_queries = jax.lax.dynamic_update_index_in_dim(to_queries, to_rows, index, 1)
        to_unit = to_unit + (found.T @ query) * scale
        return (to_queries, to_unit, to_scale + jnp.sum(found * cosines)), None

    start = (jnp.zeros_like(dealt.queries), jnp.zeros_like(unit), jnp.zeros_like(scale))
    (to_queries, to_unit, to_scale), _ = jax.lax.scan(one, start, jnp.arange(tiles))
    to_queries = to_queries.reshape(-1, queries.shape[1])[:count]
    return to_queries, pull(to_unit)[0], None, to_scale


def _softmax(scores: jax.Array, kept: jax.Array, total: jax.Array) -> jax.Array:
    """``exp(S − total)`` where it is kept; the rows behind the last keep nothing, whatever their total."""
    return jnp.where(kept, jnp.exp(jnp.where(kept, scores - total, 0.0)), 0.0)


_tiled.defvjp(_forward, _backward)
