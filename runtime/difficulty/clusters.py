"""k-means that gives the same clusters for the same points every time."""

from __future__ import annotations

import numpy as np

ROUNDS = 100
"""Rounds at most; it ends earlier when no point changes its cluster."""

BLOCK = 1 << 16
"""Points compared with the centres at a time."""

SUMMED = 1 << 13
"""Points added up in float32."""

_KEY = np.array([0, 0], np.uint64)
"""Of the first centres. It is not the run's seed: runs of several seeds learn from the same classes."""


def k_means(points: np.ndarray, clusters: int) -> np.ndarray:
    """Centres float64 [C, W] of points float32 [N, W], N ≥ 1; C is ``clusters``, or the different points if fewer.

    k-means++ (Arthur and Vassilvitskii 2007), then Lloyd's rounds; a cluster that loses its last point
    keeps its centre, and of equally near centres the first counts.
    """
    centres = _first(points, clusters)
    before: np.ndarray | None = None
    for _ in range(ROUNDS):
        own = nearest(points, centres)
        if before is not None and np.array_equal(own, before):
            break
        sums, counts = _sums(points, own, len(centres))
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        before = own
    return centres


def _sums(points: np.ndarray, own: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum float64 [C, W] and number [C] of each cluster's points: a product in float32 for each block."""
    sums = np.zeros((clusters, points.shape[1]))
    for start in range(0, len(points), SUMMED):
        member = own[start : start + SUMMED, None] == np.arange(clusters)
        sums += member.astype(np.float32).T @ points[start : start + SUMMED]
    return sums, np.bincount(own, minlength=clusters)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The centre nearest to each point, int64 [N], by products in float32."""
    narrow = centres.astype(np.float32)
    squares = np.square(narrow).sum(axis=1)
    found = np.empty(len(points), np.int64)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        found[start : start + BLOCK] = np.argmin(squares - 2 * (block @ narrow.T), axis=1)
    return found


def centrality(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Cosine of each point of length 1 to its own centre, float64 [N]; 0 where the centre is the origin."""
    lengths = np.linalg.norm(centres, axis=1)
    units = np.divide(
        centres, lengths[:, None], out=np.zeros_like(centres), where=lengths[:, None] > 0
    )
    own = nearest(points, centres)
    found = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK].astype(np.float64)
        found[start : start + BLOCK] = (block * units[own[start : start + BLOCK]]).sum(axis=1)
    return found


def _first(points: np.ndarray, clusters: int) -> np.ndarray:
    """First centres: each a point, drawn in proportion to its squared distance from those before."""
    draws = np.random.Philox(key=_KEY).random_raw(clusters) / 2.0**64
    centres = [points[int(draws[0] * len(points))].astype(np.float64)]
    away = _squares(points, centres[0])
    for draw in draws[1:]:
        total = np.cumsum(away)
        if total[-1] <= 0:
            break
        at = int(np.searchsorted(total, draw * total[-1], side="right"))
        centres.append(points[min(at, len(points) - 1)].astype(np.float64))
        away = np.minimum(away, _squares(points, centres[-1]))
    return np.array(centres)


def _squares(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Squared distances of all points from one, float64 [N], exactly 0 for equal points."""
    found = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK].astype(np.float64)
        found[start : start + BLOCK] = np.square(block - centre).sum(axis=1)
    return found
