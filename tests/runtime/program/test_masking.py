"""What is hidden of a row: how many tokens, which, and by what they depend on."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from specrun.runtime.program.masking import counts, hide

MASK = 7


def keys(count: int, seed: int = 0) -> jax.Array:
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(count))


def rows(lengths: list[int], width: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(width) < np.array(lengths)[:, None]
    return np.where(mask, 100 + np.arange(width), 0).astype(np.int32), mask


@pytest.mark.parametrize(
    ("tokens", "rate", "count"),
    [
        (100, 0.29, 29),
        (10, 0.7, 7),
        (3, 0.1, 1),
        (1, 1.0, 1),
        (5, 0.0, 1),
        (7, 0.999, 6),
        (0, 0.5, 0),
    ],
)
def test_counts_are_rounded_down_and_one_at_least(tokens: int, rate: float, count: int) -> None:
    assert counts(rate, 100)[tokens] == count


def test_exactly_so_many_valid_tokens_are_hidden() -> None:
    lengths = [32, 5, 1, 0, 17]
    ids, mask = rows(lengths, 32)
    found = hide("exact", ids, mask, keys(5), MASK, {"mask_counts": counts(0.3, 32)})
    assert np.asarray(found.hidden).sum(axis=1).tolist() == [9, 1, 1, 0, 5]
    assert not np.any(np.asarray(found.hidden) & ~mask)
    np.testing.assert_array_equal(found.ids, np.where(found.hidden, MASK, ids))
    np.testing.assert_allclose(found.rate, [9 / 32, 1 / 5, 1, 0, 5 / 17])


def test_every_position_is_hidden_as_often() -> None:
    ids, mask = rows([10] * 4000, 12)
    found = hide("exact", ids, mask, keys(4000), MASK, {"mask_counts": counts(0.3, 12)})
    share = np.asarray(found.hidden).mean(axis=0)
    np.testing.assert_allclose(share[:10], 0.3, atol=0.03)  # four standard deviations
    assert not share[10:].any()


def test_a_rate_is_drawn_for_each_row_between_the_two() -> None:
    ids, mask = rows([200] * 500, 200)
    control = {"mask_rates": np.array([0.2, 0.6], np.float32)}
    found = hide("bernoulli", ids, mask, keys(500), MASK, control)
    rate = np.asarray(found.rate)
    assert rate.min() >= 0.2
    assert rate.max() <= 0.6 * 0.999 + 1e-3 + 1e-6
    assert abs(rate.mean() - 0.4) < 0.02
    np.testing.assert_allclose(np.asarray(found.hidden).mean(axis=1), rate, atol=0.15)


def test_what_is_hidden_depends_on_the_key_alone() -> None:
    ids, mask = rows([20] * 6, 24)
    control = {"mask_counts": counts(0.5, 24)}
    whole = hide("exact", ids, mask, keys(6), MASK, control)
    part = hide("exact", ids[2:4], mask[2:4], keys(6)[2:4], MASK, control)
    np.testing.assert_array_equal(whole.hidden[2:4], part.hidden)
    other = hide("exact", ids, mask, keys(6, seed=1), MASK, control)
    assert np.any(np.asarray(whole.hidden) != np.asarray(other.hidden))
