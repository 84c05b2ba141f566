"""The rows of an epoch that passes from one stage to the next: some of them are the earlier stage's.

In epoch j of the n of a transition the row at a place is the stage's own with probability
(j + 1) / (n + 1). What stands at a place is a function of (seed, segment, epoch, place) and the two
stages' rows: the coins and the order of the earlier rows are Philox streams of their own.

A row stands once in an optimizer batch, as it does without a transition: twice there, it would be its
own negative. An earlier row that its batch holds already gives way to the next in the order, and
where the earlier stage has none left for the batch, the stage's own row keeps its place. Rows of texts
alone are nobody's negatives: there earlier rows come again until the places are full.
"""

from __future__ import annotations

import numpy as np

_COINS, _EARLIER = 1, 2
"""Put above the 32 bits of the seed in a key, so that no stream is that of an epoch's order."""


def mixed(
    order: np.ndarray,
    before: np.ndarray,
    *,
    seed: int,
    segment: int,
    epoch: int,
    transition_epochs: int,
    rows_per_step: int,
    again: bool,
) -> np.ndarray:
    """``order`` int64 [rows] of a stage in an epoch, with rows of the stage before in it. int64 [rows]

    ``before`` holds the earlier stage's rows, which may stand in a batch ``again``. Outside the transition ``order`` comes back as it is.
    """
    if epoch >= transition_epochs or not len(before):
        return order
    own = _draws(_COINS, seed, segment, epoch, len(order)) < _bound(epoch, transition_epochs)
    draws = _draws(_EARLIER, seed, segment, epoch, len(before))
    earlier = before[np.argsort(draws, kind="stable")]
    found = order.copy()
    for start in range(0, len(order), rows_per_step):
        places = slice(start, start + rows_per_step)
        found[places] = _batch(order[places], own[places], earlier, start, again)
    return found


def _batch(
    order: np.ndarray, own: np.ndarray, earlier: np.ndarray, start: int, again: bool
) -> np.ndarray:
    """The rows of one optimizer batch, whose places begin at ``start`` of the epoch."""
    at = (start + np.arange(min(len(order), len(earlier)))) % len(earlier)
    candidates = earlier[at]
    kept = order[own]
    taken = candidates[~np.isin(candidates, kept)][: len(order) - len(kept)]
    if again and len(taken):
        taken = np.resize(taken, len(order) - len(kept))
    left = order[~own]
    left = left[~np.isin(left, taken)][: len(order) - len(kept) - len(taken)]
    found = order.copy()
    found[~own] = np.concatenate([taken, left])
    return found


def _bound(epoch: int, transition_epochs: int) -> np.uint64:
    """What a draw of 64 bits is below with probability (epoch + 1) / (transition_epochs + 1)."""
    return np.uint64((epoch + 1) * 2**64 // (transition_epochs + 1))


def _draws(stream: int, seed: int, segment: int, epoch: int, count: int) -> np.ndarray:
    key = np.array([(stream << 32) | seed, (segment << 32) | epoch], np.uint64)
    return np.random.Philox(key=key).random_raw(count)
