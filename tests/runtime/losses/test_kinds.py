"""What every loss must keep to, on usual batches and at their edges."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.embedded import Tokens
from specrun.runtime.losses import table
from specrun.runtime.losses.algebra import Outputs, divisor
from specrun.spec.plan.losses import MatryoshkaPlan
from tests.runtime.plans import (
    make_colbert,
    make_cosent,
    make_dense_late,
    make_infonce,
    make_plan,
    make_siglip,
    make_triplet,
)
from tests.runtime.quick import quick

KINDS = {
    "infonce": make_infonce(name="loss"),
    "infonce-all": make_infonce(name="loss", negatives="all"),
    "infonce-own": make_infonce(name="loss", negatives="own"),
    "triplet": make_triplet(name="loss"),
    "siglip": make_siglip(name="loss", bias=-1.0),
    "siglip-all": make_siglip(name="loss", bias=-1.0, negatives="all"),
    "cosent": make_cosent(name="loss"),
    "colbert": make_colbert(name="loss", symmetric=True),
    "colbert-all": make_colbert(name="loss", reduce="sum", negatives="all"),
    "dense_late_kl": make_dense_late(name="loss"),
    "dense_late_kl-all": make_dense_late(name="loss", negatives="all", detach="late"),
    "colbert-own": make_colbert(name="loss", negatives="own"),
}
ROWS, WIDTH = 10, 6
WHOLE, TILE = 64, 3
MRL = MatryoshkaPlan(dims=(6, 3), weights=(1.0, 0.5), reduce="sum")


@functools.cache
def compute(kind: str, tile: int):
    """The mean loss over two widths and its gradient, compiled once for each shape."""
    tiles = {"score_tile_rows": tile, "document_tile_rows": tile}
    plan = make_plan(losses=(KINDS[kind],), train=tiles, matryoshka=MRL)
    loss = table.terms(plan)["loss"]

    def mean(found: Outputs, rows: dict):
        given = SimpleNamespace(**rows)
        return loss.sum({}, found, given) / divisor(loss.weight(given))

    return quick(jax.value_and_grad(mean))


def outputs(rows: int = ROWS, seed: int = 0) -> Outputs:
    draw = np.random.default_rng(seed)
    size = {"query": (rows, WIDTH), "positive": (rows, WIDTH), "negatives": (rows, 2, WIDTH)}
    dense = {k: jnp.asarray(draw.normal(size=s), jnp.float32) for k, s in size.items()}
    sides = {"query": (rows, 3), "positive": (rows, 4), "negative": (rows, 2, 4)}
    tokens = {f"{k}_tokens": _tokens(draw, s) for k, s in sides.items()}
    return Outputs(**dense, **tokens)


def _tokens(draw: np.random.Generator, shape: tuple[int, ...]) -> Tokens:
    """Each text has between one token and all of them."""
    vectors = jnp.asarray(draw.normal(size=(*shape, WIDTH)), jnp.float32)
    mask = np.arange(shape[-1]) < draw.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    return Tokens(vectors, jnp.asarray(mask, jnp.float32))


def given_rows(rows: int = ROWS, **changes) -> dict[str, jax.Array]:
    draw = np.random.default_rng(1)
    base = {
        "weight": jnp.ones(rows),
        "negative_weight": jnp.asarray(draw.integers(0, 2, (rows, 2)), jnp.float32),
        "label": jnp.asarray(draw.integers(-1, 4, rows), jnp.int32),
        "score": jnp.asarray(np.where(draw.random(rows) < 0.2, np.nan, draw.integers(0, 5, rows))),
    }
    return base | changes


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_the_value_and_gradient_of_the_whole(kind):
    rows = given_rows(weight=jnp.asarray([1.0] * 8 + [0.5, 0.0]))
    value, slopes = compute(kind, WHOLE)(outputs(), rows)
    again, found = compute(kind, TILE)(outputs(), rows)
    assert value > 0
    np.testing.assert_allclose(again, value, rtol=2e-6)
    for a, b in zip(*map(jax.tree.leaves, (found, slopes)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_rows_have_no_loss_and_are_nobodys_negatives(kind):
    """Whatever stands in them, and the rows before them see the same."""
    weight = jnp.asarray([1.0] * 7 + [0.0] * 3)
    rows, whole = given_rows(weight=weight), outputs()
    value, slopes = compute(kind, WHOLE)(whole, rows)
    other = jax.tree.map(lambda x: x.at[7:].set(9.0), whole)
    again, found = compute(kind, WHOLE)(other, rows)
    assert float(value) == float(again) > 0
    for a, b in zip(*map(jax.tree.leaves, (slopes, found)), strict=True):
        np.testing.assert_array_equal(a[:7], b[:7])
        assert not np.any(a[7:])
        assert not np.any(b[7:])


def identical(rows: int = ROWS) -> Outputs:
    return jax.tree.map(jnp.ones_like, outputs(rows))


EDGES = {
    "one row": (outputs(1), given_rows(1)),
    "one row alone": (outputs(1), given_rows(1, negative_weight=jnp.zeros((1, 2)))),
    "all identical": (identical(), given_rows()),
    "all masked": (outputs(), given_rows(weight=jnp.zeros(ROWS))),
    "zero queries": (outputs()._replace(query=jnp.zeros((ROWS, WIDTH))), given_rows()),
    "zero vectors": (jax.tree.map(jnp.zeros_like, outputs()), given_rows()),
    "one label": (outputs(), given_rows(label=jnp.zeros(ROWS, jnp.int32))),
    "no negative": (outputs(), given_rows(negative_weight=jnp.zeros((ROWS, 2)))),
    "no score": (outputs(), given_rows(score=jnp.full(ROWS, jnp.nan, jnp.float32))),
    "equal scores": (outputs(), given_rows(score=jnp.ones(ROWS))),
    "huge": (jax.tree.map(lambda x: 1e15 * x, outputs()), given_rows()),
    "tiny": (jax.tree.map(lambda x: 1e-10 * x, outputs()), given_rows()),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_finite_at_the_edges(kind, edge):
    for tile in (WHOLE, TILE):
        value, slopes = compute(kind, tile)(*EDGES[edge])
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    ("kind", "edge"),
    [
        *((kind, "all masked") for kind in KINDS),
        ("infonce", "one label"),
        ("infonce-own", "no negative"),
        ("triplet", "one row alone"),
        ("colbert", "one label"),
        ("dense_late_kl", "one row alone"),
        ("colbert-own", "no negative"),
        ("cosent", "one row"),
        ("cosent", "no score"),
        ("cosent", "equal scores"),
    ],
)
def test_what_cannot_be_told_apart_costs_nothing(kind, edge):
    """Exactly, but for a divergence: a processor that multiplies and adds at once leaves an ulp of log p − log r."""
    value, slopes = compute(kind, WHOLE)(*EDGES[edge])
    assert abs(float(value)) <= (
        2e-7 if kind == "dense_late_kl" and edge == "one row alone" else 0.0
    )
    assert all(np.allclose(x, 0.0, atol=1e-6) for x in jax.tree.leaves(slopes))


@pytest.mark.parametrize("kind", ["triplet", "siglip", "infonce"])
def test_rows_of_one_label_are_not_each_others_negatives(kind):
    """Only the first row counts; rows 0 to 4 have its label, and only the others push it away."""
    label = jnp.asarray([4] * 5 + [-1] * 5, jnp.int32)
    weight = jnp.full(ROWS, 1e-30).at[0].set(1.0)
    none = jnp.zeros((ROWS, 2))
    rows = given_rows(label=label, weight=weight, negative_weight=none)
    _, slopes = compute(kind, WHOLE)(outputs(), rows)
    _, apart = compute(kind, WHOLE)(outputs(), rows | {"label": jnp.arange(ROWS, dtype=jnp.int32)})
    assert np.abs(slopes.query[0] - apart.query[0]).max() > 1e-3
    if kind != "infonce":  # whose other half asks the positives, each of which looks at all queries
        assert np.abs(slopes.positive[1:5]).max() < 1e-20
    assert np.abs(slopes.positive[5:]).max() > 1e-3
