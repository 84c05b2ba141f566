"""The algebra of losses: one division, over the whole optimizer batch."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.chunks import strided
from specrun.runtime.data.batches import Batch
from specrun.runtime.losses.algebra import Term, combine, divisor, divisors
from specrun.runtime.program.gradients import Objective, loss_and_gradient, loss_only


class OnlyWeight(NamedTuple):
    weight: jax.Array


def squares(scope: str = "separable") -> Term:
    """Σ_i w_i |query_i − positive_i|², a loss that is a sum over rows."""

    def total(parameters, outputs, rows):
        return jnp.sum(rows.weight * jnp.sum((outputs.query - outputs.positive) ** 2, axis=-1))

    return Term("squares", scope, lambda rows: rows.weight.sum(), total)


def dropped_embedding(parameters, ids, mask, keys, side):
    """A table's rows with half of their numbers dropped, by the key of the row."""
    del side  # one table embeds both
    x = jnp.sum(parameters["table"][ids] * mask[..., None], axis=1)  # [B, D]
    if keys is None:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, x.shape[1:]))(keys)
    return jnp.where(keep, 2.0 * x, 0.0)


def batch_of(passes: int, rows: int) -> Batch:
    draw = np.random.default_rng(0)
    ids = [draw.integers(0, 9, (24, 3), dtype=np.int32) for _ in range(2)]
    weight = draw.uniform(0.1, 5.0, 24).astype(np.float32)
    flat = Batch(
        ids[0], np.ones((24, 3), bool), ids[1], np.ones((24, 3), bool), weight,
        np.arange(24, dtype=np.uint32),
    )  # fmt: skip
    return jax.tree.map(lambda x: x.reshape(passes, rows, *x.shape[1:]), flat)


PARAMS = {"table": jnp.asarray(np.random.default_rng(1).normal(size=(9, 4)), jnp.float32)}


def run(passes: int, chunks: int, scope: str, key: jax.Array | None):
    objective = Objective(dropped_embedding, {"squares": squares(scope)}, chunks)
    weights = {"squares": jnp.float32(1.0)}
    return loss_and_gradient(objective, PARAMS, {}, batch_of(passes, 24 // passes), weights, key)


@pytest.mark.parametrize("scope", ["separable", "in_batch"])
@pytest.mark.parametrize(("passes", "chunks"), [(1, 4), (2, 1), (2, 3), (6, 2), (24, 1)])
def test_every_split_of_the_rows_gives_the_plain_gradient(passes, chunks, scope):
    key = jax.random.key(3)
    plain, plain_slopes = run(1, 1, scope, key)
    value, slopes = run(passes, chunks, scope, key)
    np.testing.assert_allclose(value.loss, plain.loss, rtol=1e-6)
    np.testing.assert_allclose(slopes["table"], plain_slopes["table"], rtol=1e-5, atol=1e-5)


def test_unequal_weights_make_no_mean_of_means():
    objective = Objective(dropped_embedding, {"squares": squares()}, 2)
    batch = batch_of(2, 12)
    value = loss_only(objective, PARAMS, batch, {"squares": jnp.float32(1.0)})
    distances = (PARAMS["table"][batch.query_ids] - PARAMS["table"][batch.positive_ids]).sum(2)
    expected = (batch.weight * (distances**2).sum(-1)).sum() / batch.weight.sum()
    np.testing.assert_allclose(value.loss, expected, rtol=1e-6)


def test_no_weight_at_all_is_zero_with_zero_gradient():
    objective = Objective(dropped_embedding, {"squares": squares()}, 1)
    batch = batch_of(2, 12)._replace(weight=np.zeros((2, 12), np.float32))
    value, slopes = loss_and_gradient(
        objective, PARAMS, {}, batch, {"squares": jnp.float32(1.0)}, None
    )
    assert float(value.loss) == 0.0
    assert not np.any(slopes["table"])


def test_divisor_is_the_weight_or_one():
    assert float(divisor(jnp.float32(0.25))) == 0.25
    assert float(divisor(jnp.float32(0.0))) == 1.0


def test_divisors_sum_over_all_passes():
    found = divisors({"squares": squares()}, OnlyWeight(jnp.array([[1.0, 2.0], [0.0, 4.0]])))
    assert float(found["squares"]) == 7.0


def test_losses_are_combined_by_their_weights():
    parts = {"a": jnp.float32(2.0), "b": jnp.float32(3.0)}
    assert float(combine({"a": jnp.float32(0.5), "b": jnp.float32(10.0)}, parts)) == 31.0
    assert float(combine({}, {})) == 0.0


def test_strided_chunks_deal_rows_out_in_turn():
    np.testing.assert_array_equal(strided(jnp.arange(6), 3), [[0, 3], [1, 4], [2, 5]])
