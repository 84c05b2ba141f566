"""MaxSim, the similarity of late interaction: every query token with its nearest document token."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from specrun.runtime.chunks import filled, strided
from specrun.runtime.embedded import Tokens
from specrun.runtime.losses.contrast import normalise

Reduce = Literal["mean", "sum"]

_BELOW = -2.0
"""Below every cosine: what a padding token counts as before the maximum is taken."""


def maxsim(queries: Tokens, documents: Tokens, reduce: Reduce, tile_rows: int) -> jax.Array:
    """``Σ_t max_s cos(q_it, d_js)`` over valid tokens, or the mean over t: [B, C] of [B, T, D] and [C, S, D].

    Above ``tile_rows`` documents the cosines of all tokens exist only as tiles [B, tile_rows, T, S],
    and are computed again going backward. A document without valid tokens has 0, as has a query
    without any. Equally near tokens share the gradient.

    Khattab & Zaharia 2020, equation 3; equal to sentence-transformers' ``colbert_scores``.
    """
    query = queries._replace(vectors=normalise(queries.vectors))
    count = documents.mask.shape[0]

    def one(part: Tokens) -> jax.Array:
        return _scores(query, part._replace(vectors=normalise(part.vectors)), reduce)

    if count <= tile_rows:
        return one(documents)
    tiles = -(-count // tile_rows)
    dealt = jax.tree.map(lambda x: strided(filled(x, tiles), tiles), documents)
    found = jax.lax.map(jax.checkpoint(one, prevent_cse=False), dealt)  # [tiles, B, C / tiles]
    # Document j lies in tile j mod tiles.
    return jnp.moveaxis(found, 0, 2).reshape(found.shape[1], -1)[:, :count]


def maxsim_of_pairs(queries: Tokens, documents: Tokens, reduce: Reduce) -> jax.Array:
    """MaxSim of each query with its own documents: [B, N] of [B, T, D] and [B, N, S, D]."""
    unit = documents._replace(vectors=normalise(documents.vectors))
    query = queries._replace(vectors=normalise(queries.vectors))

    def one(row: Tokens, own: Tokens) -> jax.Array:
        return _scores(jax.tree.map(lambda x: x[None], row), own, reduce)[0]

    return jax.vmap(one)(query, unit)


def _scores(queries: Tokens, documents: Tokens, reduce: Reduce) -> jax.Array:
    """[B, C] of normalised vectors."""
    cosines = jnp.einsum("BTD,CSD->BCTS", queries.vectors, documents.vectors)
    there = documents.mask > 0  # [C, S]
    nearest = jnp.max(jnp.where(there[:, None, :], cosines, _BELOW), axis=-1)  # [B, C, T]
    nearest = jnp.where(jnp.any(there, axis=-1)[:, None], nearest, 0.0)
    counted = (queries.mask > 0)[:, None, :]  # [B, 1, T]
    total = jnp.sum(jnp.where(counted, nearest, 0.0), axis=-1)
    if reduce == "sum":
        return total
    return total / jnp.maximum(jnp.sum(counted, axis=-1), 1)
