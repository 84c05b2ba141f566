"""A number folded over rows of a batch, some of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from specrun.runtime.chunks import filled, strided


def fold(
    one: Callable[[jax.Array, Any], jax.Array], start: jax.Array, rows: Any, tile_rows: int
) -> jax.Array:
    """``one(value, rows)`` over a tree of arrays [B, ...], in tiles of at most ``tile_rows`` rows. []

    What a tile computes is computed again going backward, so the memory of one tile is all that
    is needed. The last tile may hold rows of zeros behind the given ones: ``one`` must take rows of
    weight 0 for none.
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    if count <= tile_rows:
        return one(start, rows)
    tiles = -(-count // tile_rows)
    dealt = jax.tree.map(lambda x: strided(filled(x, tiles), tiles), rows)
    again = jax.checkpoint(one, prevent_cse=False)
    return jax.lax.scan(lambda value, part: (again(value, part), None), start, dealt)[0]
