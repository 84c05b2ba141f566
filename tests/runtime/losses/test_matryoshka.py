"""The Matryoshka combinator over InfoNCE."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.infonce import infonce
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.spec.plan.losses import MatryoshkaPlan
from tests.runtime.losses.test_infonce import embeddings, with_negatives
from tests.runtime.plans import make_infonce

ROWS = SimpleNamespace(weight=jnp.ones(5), negative_weight=None, label=None)


def plan(dims=(4, 2), weights=(1.0, 0.5), reduce="sum") -> MatryoshkaPlan:
    return MatryoshkaPlan(dims=dims, weights=weights, reduce=reduce)


@pytest.mark.parametrize(("reduce", "share"), [("sum", 1.0), ("mean", 0.5)])
def test_it_sums_the_loss_of_each_prefix(reduce, share):
    term, outputs = infonce(make_infonce(), 8), embeddings()
    short = Outputs(outputs.query[:, :2], outputs.positive[:, :2])
    expected = term.sum({}, outputs, ROWS) + 0.5 * term.sum({}, short, ROWS)
    found = matryoshka(term, plan(reduce=reduce)).sum({}, outputs, ROWS)
    np.testing.assert_allclose(found, share * expected, rtol=1e-6)


def test_it_changes_neither_weight_nor_scope_nor_name():
    term = infonce(make_infonce(), 8)
    wrapped = matryoshka(term, plan())
    assert (wrapped.name, wrapped.scope, wrapped.weight) == (term.name, term.scope, term.weight)


def test_a_dim_of_weight_zero_is_not_computed():
    outputs = embeddings()
    spoilt = Outputs(outputs.query.at[:, 3].set(jnp.inf), outputs.positive)
    value, slopes = jax.value_and_grad(
        lambda o: matryoshka(infonce(make_infonce(), 8), plan(weights=(0.0, 1.0))).sum({}, o, ROWS)
    )(spoilt)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(x)) for x in slopes[:2])


def test_dims_and_weights_must_be_as_many():
    with pytest.raises(ValueError, match="zip"):
        matryoshka(infonce(make_infonce(), 8), plan(weights=(1.0,)))


def test_it_cuts_explicit_negatives_too():
    wide, there = with_negatives(5, 2)
    rows = SimpleNamespace(weight=jnp.ones(5), negative_weight=there, label=None)
    term = infonce(make_infonce(negatives="all"), 8)
    short = Outputs(*(None if x is None else x[..., :2] for x in wide))
    found = matryoshka(term, plan(dims=(2,), weights=(1.0,))).sum({}, wide, rows)
    np.testing.assert_array_equal(found, term.sum({}, short, rows))
