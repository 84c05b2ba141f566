"""InfoNCE at its edges; its agreement with torch is in tests/parity."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses import contrast, infonce
from specrun.runtime.losses.algebra import Outputs
from tests.runtime.plans import make_infonce


def embeddings(rows: int = 5, width: int = 4, seed: int = 0) -> Outputs:
    draw = np.random.default_rng(seed)
    return Outputs(*(jnp.asarray(draw.normal(size=(rows, width)), jnp.float32) for _ in range(2)))


def loss(
    plan,
    outputs: Outputs,
    weight=None,
    parameters=None,
    *,
    tile=64,
    negative_weight=None,
    label=None,
) -> jax.Array:
    weight = jnp.ones(outputs.query.shape[0]) if weight is None else jnp.asarray(weight)
    rows = SimpleNamespace(weight=weight, negative_weight=negative_weight, label=label)
    return infonce.infonce(plan, tile).sum(parameters or {}, outputs, rows)


@pytest.mark.parametrize("symmetric", [False, True])
def test_it_is_the_cross_entropy_of_cosines(symmetric):
    q, p = (np.asarray(x, np.float64) for x in embeddings()[:2])
    q, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, p))
    scores = q @ p.T / 0.1
    rows = np.log(np.exp(scores).sum(1)) - np.diag(scores)
    columns = np.log(np.exp(scores).sum(0)) - np.diag(scores)
    expected = 0.5 * (rows + columns).sum() if symmetric else rows.sum()
    np.testing.assert_allclose(
        loss(make_infonce(symmetric=symmetric), embeddings()), expected, rtol=1e-6
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_padding_rows_have_no_loss_and_are_nobodys_negatives(symmetric):
    plan, whole = make_infonce(symmetric=symmetric), embeddings(5)
    part = Outputs(whole.query[:3], whole.positive[:3])
    weight = [1.0, 1.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(loss(plan, whole, weight), loss(plan, part), rtol=1e-6)
    slopes = jax.grad(lambda o: loss(plan, o, weight))(whole)
    expected = jax.grad(lambda o: loss(plan, o))(part)
    for found, right in zip(slopes[:2], expected[:2], strict=True):
        np.testing.assert_allclose(found[:3], right, rtol=1e-5, atol=1e-6)
        assert not np.any(found[3:])


def test_weights_multiply_the_losses_of_rows():
    plan, outputs = make_infonce(), embeddings(3)
    one_by_one = [loss(plan, outputs, np.eye(3)[i] + 1e-30) for i in range(3)]
    np.testing.assert_allclose(
        loss(plan, outputs, [1.0, 2.0, 0.5]),
        one_by_one[0] + 2 * one_by_one[1] + 0.5 * one_by_one[2],
        rtol=1e-5,
    )


def test_a_single_row_has_no_loss_and_no_gradient():
    value, slopes = jax.value_and_grad(lambda o: loss(make_infonce(), o))(embeddings(1))
    assert float(value) == 0.0
    assert all(np.allclose(x, 0.0, atol=1e-7) for x in slopes[:2])


def test_identical_rows_cost_the_logarithm_of_their_number():
    same = Outputs(jnp.ones((6, 4)), jnp.ones((6, 4)))
    np.testing.assert_allclose(loss(make_infonce(), same) / 6, math.log(6), rtol=1e-6)


@pytest.mark.parametrize("weight", [[0.0] * 3, [1.0, 0.0, 0.0]])
def test_zero_vectors_and_empty_batches_stay_finite(weight):
    outputs = Outputs(jnp.zeros((3, 4)), embeddings(3).positive)
    value, slopes = jax.value_and_grad(lambda o: loss(make_infonce(), o, weight))(outputs)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(x)) for x in slopes[:2])
    assert not np.any(slopes.query)


def test_normalise_gives_unit_vectors_at_any_scale():
    for size in (1e-6, 1.0, 1e6):
        x = contrast.normalise(size * jnp.array([[3.0, 4.0]]))
        np.testing.assert_allclose(x, [[0.6, 0.8]], rtol=1e-6)
    assert not np.any(contrast.normalise(jnp.zeros((1, 2))))


def test_a_trained_temperature_begins_at_the_given_one():
    plan = make_infonce(train_temperature=True, temperature=0.05, name="nce")
    (path, start), *others = infonce.initial(plan).items()
    assert (path, others) == ("losses.nce.log_scale", [])
    parameters = {"losses": {"nce": {"log_scale": jnp.asarray(start)}}}
    np.testing.assert_allclose(infonce.scale(plan, parameters), 20.0, rtol=1e-6)
    fixed = make_infonce(temperature=0.05)
    np.testing.assert_allclose(
        loss(plan, embeddings(), parameters=parameters), loss(fixed, embeddings()), rtol=1e-5
    )
    assert infonce.initial(fixed) == {}


def test_a_trained_temperature_stays_at_a_hundredth_and_keeps_its_gradient_there():
    plan = make_infonce(train_temperature=True, temperature=1e-4)
    bound = float(infonce.MAX_LOG_SCALE)

    def total(value):
        parameters = {"losses": {"infonce": {"log_scale": value}}}
        return loss(plan, embeddings(), parameters=parameters)

    (start,) = infonce.initial(plan).values()
    assert float(start) == bound
    assert float(total(jnp.float32(9.0))) == float(total(jnp.float32(bound)))
    below, at = (float(jax.grad(total)(jnp.float32(x))) for x in (bound - 1e-3, bound))
    np.testing.assert_allclose(at, below, rtol=5e-2)
    assert float(infonce.project(jnp.float32(9.0))) == bound
    assert float(infonce.project(jnp.float32(1.0))) == 1.0


# --- tiles, explicit negatives, labels -------------------------------------------------------------------------------


def with_negatives(rows: int, count: int) -> tuple[Outputs, jax.Array]:
    draw = np.random.default_rng(7)
    negatives = jnp.asarray(draw.normal(size=(rows, count, 4)), jnp.float32)
    there = jnp.asarray(draw.integers(0, 2, size=(rows, count)), jnp.float32)
    return embeddings(rows)._replace(negatives=negatives), there


@pytest.mark.parametrize("tile", [1, 3, 4, 9])
@pytest.mark.parametrize("negatives", ["in_batch", "all"])
def test_tiles_of_any_size_give_the_value_and_gradient_of_the_whole(negatives, tile):
    outputs, there = with_negatives(10, 3)
    plan = make_infonce(negatives=negatives, train_temperature=True)
    given = {
        "weight": [1.0] * 7 + [0.5, 0.0, 0.0],
        "negative_weight": there,
        "label": jnp.asarray([0, 1, 0, -1, -1, 2, 1, 3, 0, 0], jnp.int32),
    }

    def total(outputs, log_scale, tile):
        parameters = {"losses": {"infonce": {"log_scale": log_scale}}}
        return loss(plan, outputs, parameters=parameters, tile=tile, **given)

    compute = jax.jit(jax.value_and_grad(total, (0, 1)), static_argnums=2)
    (value, slopes), (right, expected) = (
        compute(outputs, jnp.float32(2.0), rows) for rows in (tile, 10)
    )
    np.testing.assert_allclose(value, right, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1.0, np.abs(b).max()))


def test_the_matrix_of_scores_is_never_whole_above_the_tile():
    rows, width, tile = 4096, 64, 128
    shape = jax.ShapeDtypeStruct((rows, width), jnp.float32)
    slope = jax.jit(jax.grad(lambda o, tile: loss(make_infonce(), o, tile=tile)), static_argnums=1)
    whole, tiled = (
        slope.lower(Outputs(shape, shape), t).compile().memory_analysis().temp_size_in_bytes
        for t in (rows, tile)
    )
    assert whole > rows * rows * 4
    assert tiled < 8 * rows * width * 4 + 4 * tile * rows * 4


def test_absent_negatives_and_those_of_padding_rows_do_not_count():
    outputs, there = with_negatives(5, 2)
    weight = [1.0, 1.0, 1.0, 1.0, 0.0]
    for negatives in ("all", "own"):
        plan = make_infonce(negatives=negatives, symmetric=False)
        compute = lambda o: loss(plan, o, weight, negative_weight=there)  # noqa: B023, E731
        gone = (there == 0) | (jnp.arange(5) == 4)[:, None]
        slopes = jax.grad(compute)(outputs).negatives
        assert not np.any(slopes[gone])
        assert np.all(np.any(slopes[~gone] != 0, axis=-1))
        other = outputs._replace(negatives=jnp.where(gone[..., None], 9.0, outputs.negatives))
        np.testing.assert_array_equal(compute(outputs), compute(other))


def test_own_negatives_are_compared_with_nothing_of_other_rows():
    plan = make_infonce(negatives="own")
    outputs, _ = with_negatives(6, 2)
    there = jnp.ones((6, 2)).at[3].set(0.0)
    term = infonce.infonce(plan, 64)
    rows = SimpleNamespace(weight=jnp.ones(6), negative_weight=there, label=None)
    assert term.scope == "separable"
    assert float(term.weight(rows)) == 5.0  # the row without negatives has nothing to tell apart
    alone = [
        term.sum(
            {},
            Outputs(*(None if x is None else x[i : i + 1] for x in outputs)),
            SimpleNamespace(weight=jnp.ones(1), negative_weight=there[i : i + 1], label=None),
        )
        for i in range(6)
    ]
    np.testing.assert_allclose(term.sum({}, outputs, rows), sum(alone), rtol=1e-6)
    assert float(alone[3]) == 0.0


def test_rows_that_all_have_one_label_have_no_loss():
    label = jnp.zeros(5, jnp.int32)
    value, slopes = jax.value_and_grad(lambda o: loss(make_infonce(), o, label=label))(embeddings())
    assert float(value) == 0.0
    assert all(np.allclose(x, 0.0, atol=1e-6) for x in slopes[:2])
    unlabelled = jnp.full(5, -1, jnp.int32)
    np.testing.assert_array_equal(
        loss(make_infonce(), embeddings(), label=unlabelled), loss(make_infonce(), embeddings())
    )
