"""Top-k and top-p against numpy that sorts and counts."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.runtime.generate.filters import keep_best, keep_nucleus, pick


def chances(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores.astype(np.float64) - scores.max())
    return shifted / shifted.sum()


def nucleus(scores: np.ndarray, share: float) -> np.ndarray:
    """The best ids until their probabilities reach ``share``, one at least."""
    order = np.argsort(-scores, kind="stable")
    total, kept = 0.0, np.zeros(scores.shape, bool)
    for i in order:
        kept[i] = True
        total += chances(scores)[i]
        if total >= share:
            break
    return kept


@pytest.mark.parametrize("count", [1, 3, 11, 12])
def test_top_k_keeps_the_highest(count: int) -> None:
    scores = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    found = np.asarray(keep_best(scores, count))
    for row, own in zip(scores, found, strict=True):
        kept = np.isin(np.arange(12), np.argsort(-row)[:count])
        np.testing.assert_array_equal(own, np.where(kept, row, -np.inf))


@pytest.mark.parametrize("share", [1e-6, 0.3, 0.75, 0.999])
def test_top_p_keeps_the_fewest_that_reach_the_share(share: float) -> None:
    scores = (2 * np.random.default_rng(1).normal(size=(6, 20))).astype(np.float32)
    found = np.asarray(keep_nucleus(scores, np.float32(share)))
    for row, own in zip(scores, found, strict=True):
        np.testing.assert_array_equal(own, np.where(nucleus(row, share), row, -np.inf))


def test_ties_with_the_last_stay() -> None:
    scores = np.array([[2.0, 1.0, 1.0, 0.0]], np.float32)
    assert np.isfinite(keep_best(scores, 2)).tolist() == [[True, True, True, False]]
    assert np.isfinite(keep_nucleus(scores, np.float32(0.7))).tolist() == [
        [True, True, True, False]
    ]


def test_what_is_left_out_stays_out() -> None:
    scores = np.array([[0.0, -np.inf, -np.inf, 1.0]], np.float32)
    assert np.isfinite(keep_best(scores, 4)).tolist() == [[True, False, False, True]]
    assert np.isfinite(keep_nucleus(scores, np.float32(0.9999))).tolist() == [
        [True, False, False, True]
    ]


def test_an_id_is_picked_by_its_share_of_the_weights() -> None:
    """The first whose sum exceeds the number, over many blocks of ids; weights of 0 are passed over."""
    draw = np.random.default_rng(3)
    weights = draw.integers(0, 4, (500, 300)).astype(np.float32)  # sums are exact
    chances = (draw.integers(0, 1 << 24, 500) * 2.0**-24).astype(np.float32)
    chances[:2] = 0, 1 - 2.0**-24
    sums = np.cumsum(weights.astype(np.float64), axis=1)
    target = (chances * sums[:, -1].astype(np.float32)).astype(np.float64)
    expected = (sums > target[:, None]).argmax(axis=1)
    found = np.asarray(pick(weights, chances))
    np.testing.assert_array_equal(found, expected)
    assert (np.take_along_axis(weights, found[:, None], 1) > 0).all()


@pytest.mark.parametrize("ids", [1, 127, 128, 129])
def test_the_only_weight_is_picked(ids: int) -> None:
    weights = np.zeros((ids, ids), np.float32)
    np.fill_diagonal(weights, 1e-30)
    for chance in (0.0, 0.5, 1 - 2.0**-24):
        found = pick(weights, np.full(ids, chance, np.float32))
        np.testing.assert_array_equal(found, np.arange(ids))


def test_scores_of_every_sign_keep_their_order() -> None:
    row = np.array([[-0.0, 0.0, -1e-30, 1e-30, -np.inf, -3e38, 3e38, 7.0]], np.float32)
    for count, kept in ((1, [6]), (2, [6, 7]), (3, [3, 6, 7]), (4, [0, 1, 3, 6, 7])):
        assert np.flatnonzero(np.isfinite(keep_best(row, count))).tolist() == kept
