"""The nearest documents of each query by inner product: exactly, on the device or by FAISS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, assert_never

import jax
import jax.numpy as jnp
import numpy as np

from specrun.spec.diagnostics import Diagnostic, InputError, RunError

QUERY_TILE, DOCUMENT_TILE = 1024, 8192
"""Rows of the scores that exist at a time: 32 MiB."""

Backend = Literal["exact", "faiss"]


def nearest(
    queries: np.ndarray,
    documents: np.ndarray,
    k: int,
    backend: Backend,
    *,
    between: Callable[[], None] = lambda: None,
    device: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k documents of each query with the largest inner product, best first; of equal ones the first.

    ``queries`` float32 [Q, D], ``documents`` [M, D], k ≤ M. Scores float32 and indices int64, [Q, k].
    ``between`` is called before each tile of queries. RunError for embeddings that are not finite.
    """
    if not (np.isfinite(queries).all() and np.isfinite(documents).all()):
        raise RunError("an embedding is not finite, so nothing can be ranked by it")
    match backend:
        case "exact":
            return exact(queries, documents, k, between=between, device=device)
        case "faiss":
            return by_faiss(queries, documents, k, between=between)
        case _:
            assert_never(backend)


def exact(
    queries: np.ndarray,
    documents: np.ndarray,
    k: int,
    *,
    between: Callable[[], None] = lambda: None,
    device: Any = None,
    query_tile: int = QUERY_TILE,
    document_tile: int = DOCUMENT_TILE,
) -> tuple[np.ndarray, np.ndarray]:
    """As ``nearest``, by products of tiles on ``device``."""
    tile = min(document_tile, len(documents))
    tiles = _tiled(documents, tile)  # [T, tile, D]
    numbers = np.arange(len(tiles), dtype=np.int32)
    on_device, numbers = jax.device_put((tiles, numbers), device)
    size = min(query_tile, max(len(queries), 1))
    scores = np.empty((len(queries), k), np.float32)
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), size):
        between()
        part = queries[start : start + size]
        padded = np.pad(part, ((0, size - len(part)), (0, 0)))
        best, at = _best(jax.device_put(padded, device), on_device, numbers, len(documents), k)
        scores[start : start + size] = np.asarray(best)[: len(part)]
        found[start : start + size] = np.asarray(at)[: len(part)]
    return scores, found


def by_faiss(
    queries: np.ndarray,
    documents: np.ndarray,
    k: int,
    *,
    between: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """As ``nearest``, by a flat index of FAISS."""
    import faiss

    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(np.ascontiguousarray(documents, np.float32))
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(queries), QUERY_TILE):
        between()
        part = np.ascontiguousarray(queries[start : start + QUERY_TILE], np.float32)
        parts.append(_sorted(*index.search(part, k)))
    if not parts:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    return np.concatenate([s for s, _ in parts]), np.concatenate([i for _, i in parts])


def require_faiss(path: str) -> None:
    """InputError at ``path`` where faiss is not installed."""
    if find_spec("faiss") is None:
        raise InputError(
            [
                Diagnostic(
                    code="missing-package",
                    path=path,
                    message="FAISS is asked for, and the package faiss is not installed here",
                    hint="pip install 'specrun[faiss]', or use the exact search",
                )
            ]
        )


def _sorted(scores: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best first, of equal scores the first document first: FAISS leaves that open."""
    order = np.lexsort((found, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)


def _tiled(rows: np.ndarray, tile: int) -> np.ndarray:
    more = -len(rows) % tile
    return np.pad(rows, ((0, more), (0, 0))).reshape(-1, tile, rows.shape[1])


@partial(jax.jit, static_argnums=(3, 4))
def _best(
    queries: jax.Array, tiles: jax.Array, numbers: jax.Array, count: int, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k best of ``count`` documents in tiles [T, tile, D], which are filled up with zeros.

    What was found before stands in front, and top_k takes the first of equal scores. ``numbers`` are
    those of the tiles: as constants XLA would compute with them while it compiles, for seconds.
    """
    tile = tiles.shape[1]

    def body(
        best: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        documents, number = part
        at = number * tile + jnp.arange(tile, dtype=jnp.int32)
        scores = jnp.matmul(queries, documents.T, precision=jax.lax.Precision.HIGHEST)
        scores = jnp.where(at < count, scores, -jnp.inf)
        both = jnp.concatenate([best[0], scores], axis=1)
        where = jnp.concatenate([best[1], jnp.broadcast_to(at, scores.shape)], axis=1)
        top, order = jax.lax.top_k(both, k)
        return (top, jnp.take_along_axis(where, order, axis=1)), None

    rows = queries.shape[0]
    start = (jnp.full((rows, k), -jnp.inf, jnp.float32), jnp.full((rows, k), -1, jnp.int32))
    return jax.lax.scan(body, start, (tiles, numbers))[0]
