"""Triplet: figures by hand, which negative is the hardest, and who has one."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.triplet import triplet
from tests.runtime.plans import make_triplet


def at(*degrees: float) -> jax.Array:
    turns = np.radians(degrees)
    return jnp.asarray(np.stack([np.cos(turns), np.sin(turns)], axis=-1), jnp.float32)


def given_rows(count: int, **changes) -> SimpleNamespace:
    base = {"weight": jnp.ones(count), "negative_weight": None, "label": None}
    return SimpleNamespace(**(base | changes))


def test_the_hardest_of_the_batch():
    """Cosines 1, 0.5, 0 for the first query: 0.5 − 1 + 0.5 is 0; the others are worse."""
    term = triplet(make_triplet(margin=0.5), 64)
    found = Outputs(at(0, 60, 90), at(0, 60, 90))
    rows = given_rows(3)
    near = np.cos(np.radians(30)) - 1 + 0.5
    np.testing.assert_allclose(term.sum({}, found, rows), 2 * near, rtol=1e-6)
    assert float(term.weight(rows)) == 3


def test_a_row_with_negatives_of_its_own_looks_at_these_alone():
    negatives = jnp.stack([at(90, 60), at(180, 180)])  # row 0: cosines 0 and 0.5; row 1: absent
    rows = given_rows(2, negative_weight=jnp.asarray([[1.0, 1.0], [0.0, 0.0]]))
    term = triplet(make_triplet(margin=0.6), 64)
    found = Outputs(at(0, 10), at(0, 10), negatives)
    own = 0.5 - 1 + 0.6
    other = np.cos(np.radians(10)) - 1 + 0.6
    np.testing.assert_allclose(term.sum({}, found, rows), own + other, rtol=1e-6)


@pytest.mark.parametrize(
    ("weight", "label", "own", "expected"),
    [
        ([1, 1, 1], None, None, 3),
        ([1, 0, 0], None, None, 0),
        ([1, 1, 0], [0, 0, 1], None, 0),
        ([1, 1, 1], [0, 0, 1], None, 3),
        ([1, 1, 0], [0, -1, 0], None, 2),
        ([1, 1, 0], [0, 0, 1], [[1], [0], [0]], 1),
        ([0, 0, 0], [0, 1, 2], [[1], [1], [1]], 0),
    ],
)
def test_a_row_without_any_negative_does_not_count(weight, label, own, expected):
    rows = given_rows(
        3,
        weight=jnp.asarray(weight, jnp.float32),
        label=None if label is None else jnp.asarray(label, jnp.int32),
        negative_weight=None if own is None else jnp.asarray(own, jnp.float32),
    )
    assert float(triplet(make_triplet(), 64).weight(rows)) == expected
