"""AdamW by path; its agreement with torch is in tests/parity."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.program import optimizer
from tests.runtime.plans import make_plan

ADAMW = make_plan().optimizer
PARAMS = {"a": {"kernel": jnp.array([1.0, -2.0])}, "b": jnp.array(0.5)}
SLOPES = {"a": {"kernel": jnp.array([0.3, -0.1])}, "b": jnp.array(2.0)}


def step(plan=ADAMW, decayed=("a.kernel",), slopes=SLOPES, state=None, params=PARAMS, rate=1e-2):
    state = state or optimizer.start(params)
    return optimizer.update(plan, decayed, params, slopes, state, jnp.float32(rate))


def test_the_first_step_moves_by_the_rate_against_the_sign():
    params, state = step(dataclasses.replace(ADAMW, weight_decay=0.0))
    np.testing.assert_allclose(params["a"]["kernel"], [0.99, -1.99], rtol=1e-6)
    np.testing.assert_allclose(params["b"], 0.49, rtol=1e-6)
    assert int(state["count"]["b"]) == 1


def test_only_the_paths_named_decay():
    plain, _ = step(dataclasses.replace(ADAMW, weight_decay=0.0))
    decayed, _ = step(dataclasses.replace(ADAMW, weight_decay=0.5))
    difference = plain["a"]["kernel"] - decayed["a"]["kernel"]
    np.testing.assert_allclose(difference, 1e-2 * 0.5 * PARAMS["a"]["kernel"], rtol=1e-4)
    assert float(plain["b"]) == float(decayed["b"])


def test_a_rate_of_zero_changes_moments_but_no_parameter():
    params, state = step(rate=0.0)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, PARAMS))
    assert np.all(np.asarray(state["second"]["a"]["kernel"]) > 0)


def test_every_leaf_has_a_bias_correction_of_its_own():
    params, state = step()
    for _ in range(5):
        params, state = step(params=params, state=state)
    fresh = optimizer.start(params)
    for part in fresh:
        state[part]["b"] = fresh[part]["b"]
    mixed, _ = step(params=params, state=state)
    alone, _ = step(params={"b": params["b"]}, slopes={"b": SLOPES["b"]})
    assert float(mixed["b"]) == float(alone["b"])


@pytest.mark.parametrize("beta", ["beta1", "beta2"])
def test_a_beta_of_zero_is_allowed(beta):
    params, _ = step(dataclasses.replace(ADAMW, **{beta: 0.0}))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(params))


def test_clipping_scales_all_gradients_together():
    norm = optimizer.global_norm(SLOPES)
    np.testing.assert_allclose(norm, np.sqrt(0.09 + 0.01 + 4.0), rtol=1e-6)
    clipped = optimizer.clip(SLOPES, norm, 0.5)
    np.testing.assert_allclose(optimizer.global_norm(clipped), 0.5, rtol=1e-5)
    np.testing.assert_allclose(clipped["b"] / SLOPES["b"], 0.5 / norm, rtol=1e-5)


def test_a_gradient_within_the_limit_and_a_limit_of_zero_change_nothing():
    norm = optimizer.global_norm(SLOPES)
    for limit in (100.0, 0.0):
        clipped = optimizer.clip(SLOPES, norm, limit)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, clipped, SLOPES))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(bad):
    slopes = {"a": {"kernel": jnp.array([0.3, bad])}, "b": jnp.array(2.0)}
    norm = optimizer.global_norm(slopes)
    assert not np.isfinite(norm)
    params, _ = step(slopes=optimizer.clip(slopes, norm, 1.0))
    assert np.isnan(params["a"]["kernel"][1])
