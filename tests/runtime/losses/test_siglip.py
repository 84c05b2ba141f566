"""SigLIP: figures by hand, and its trained scalars."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from specrun.runtime.losses import siglip, table
from specrun.runtime.losses.algebra import Outputs
from tests.runtime.plans import make_infonce, make_plan, make_siglip

ROWS = SimpleNamespace(weight=jnp.ones(3), negative_weight=None, label=None)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_every_pair_is_a_question_of_its_own():
    plan = make_siglip(temperature=0.25, bias=-1.0)
    found = Outputs(jnp.eye(3), 5 * jnp.eye(3))
    each = softplus(-(4 - 1)) + 2 * softplus(-1)
    np.testing.assert_allclose(siglip.siglip(plan, 64).sum({}, found, ROWS), 3 * each, rtol=1e-6)


def test_explicit_negatives_are_more_candidates():
    plan = make_siglip(temperature=0.25, bias=-1.0, negatives="all")
    negatives = jnp.tile(jnp.asarray([[[0.0, 0.0, 1.0]]]), (3, 1, 1))
    rows = SimpleNamespace(**(vars(ROWS) | {"negative_weight": jnp.asarray([[1.0], [0.0], [0.0]])}))
    found = Outputs(jnp.eye(3), jnp.eye(3), negatives)
    each = softplus(-3) + 2 * softplus(-1)
    more = softplus(-1) * 2 + softplus(3)  # the third query is the negative itself
    value = siglip.siglip(plan, 64).sum({}, found, rows)
    np.testing.assert_allclose(value, 3 * each + more, rtol=1e-6)


def test_temperature_and_bias_are_parameters_where_they_train():
    trained = make_siglip(temperature=0.1, bias=-10.0, train_temperature=True, train_bias=True)
    plan = make_plan(losses=(trained, make_infonce()))
    start = table.initial_parameters(plan)
    assert {p: round(float(x), 4) for p, x in start.items()} == {
        "losses.siglip.log_scale": round(math.log(10), 4),
        "losses.siglip.bias": -10.0,
    }
    parameters = {"losses": {"siglip": {"log_scale": jnp.float32(5.0), "bias": jnp.float32(-3.0)}}}
    assert float(table.project(plan, parameters)["losses"]["siglip"]["log_scale"]) == 5.0
    shown = table.scalars(plan, {"siglip"}, parameters)
    assert shown.keys() == {"temperature.siglip", "bias.siglip"}
    np.testing.assert_allclose(shown["temperature.siglip"], math.exp(-5), rtol=1e-6)
    assert table.scalars(plan, {"infonce"}, parameters) == {}
    found = Outputs(jnp.eye(3), jnp.eye(3) + 0.5)
    slopes = jax.grad(lambda p: siglip.siglip(trained, 64).sum(p, found, ROWS))(parameters)[
        "losses"
    ]["siglip"]
    assert all(float(x) != 0 for x in slopes.values())
    assert siglip.initial(make_siglip()) == {}
