"""CoSENT: figures by hand, and which rows are compared."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.cosent import cosent
from tests.runtime.plans import make_cosent


def with_cosines(*cosines: float) -> Outputs:
    """Pairs of these cosines."""
    other = [(c, math.sqrt(1 - c * c)) for c in cosines]
    return Outputs(jnp.tile(jnp.asarray([[2.0, 0.0]]), (len(cosines), 1)), jnp.asarray(other))


def rows(*scores: float, weight=None) -> SimpleNamespace:
    ones = [1.0] * len(scores) if weight is None else weight
    return SimpleNamespace(weight=jnp.asarray(ones), score=jnp.asarray(scores, jnp.float32))


@pytest.mark.parametrize("tile", [64, 2])
def test_pairs_in_the_wrong_order_cost(tile):
    term = cosent(make_cosent(temperature=0.05), tile)
    value = term.sum({}, with_cosines(0.5, 0.3, 0.4), rows(1.0, 2.0, 1.0))
    expected = math.log(1 + math.exp(20 * 0.2) + math.exp(20 * 0.1))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_rows_without_a_score_and_padding_are_not_compared():
    term = cosent(make_cosent(), 64)
    given = rows(1.0, 2.0, math.nan, 9.0, weight=[1.0, 1.0, 1.0, 0.0])
    found = with_cosines(0.5, 0.3, 0.9, 0.1)
    alone = term.sum({}, with_cosines(0.5, 0.3), rows(1.0, 2.0))
    np.testing.assert_allclose(term.sum({}, found, given), alone, rtol=1e-6)
    slopes = jax.grad(lambda o: term.sum({}, o, given))(found)
    assert np.all(np.isfinite(slopes.positive))
    assert not np.any(slopes.positive[2:])


@pytest.mark.parametrize(
    ("scores", "weight", "expected"),
    [
        ((1.0, 2.0), None, 1),
        ((1.0, 1.0), None, 0),
        ((1.0, math.nan), None, 0),
        ((1.0, 2.0), [1.0, 0.0], 0),
        ((-3.0, -1.0), None, 1),
        ((0.0, 0.0, 5.0), [1.0, 1.0, 0.0], 0),
    ],
)
def test_a_pass_with_one_score_does_not_count(scores, weight, expected):
    assert float(cosent(make_cosent(), 64).weight(rows(*scores, weight=weight))) == expected


def test_a_small_temperature_does_not_overflow():
    term = cosent(make_cosent(temperature=1e-3), 64)
    value, slopes = jax.value_and_grad(lambda o: term.sum({}, o, rows(1.0, 2.0, 3.0)))(
        with_cosines(0.9, 0.1, -0.8)
    )
    np.testing.assert_allclose(value, 1700, rtol=1e-4)
    assert all(np.all(np.isfinite(x)) for x in slopes[:2])
