"""Dropout that falls over the run: the whole rate to the bit at first, none at the end, and one trace."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.randomness import WHOLE, dropout, fork, scaled, stacked
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import Program, build_program
from specrun.spec.plan.plan import Plan
from tests.runtime.models.tiny import (
    bert_config,
    model_plan,
    modernbert_config,
    mpnet_config,
    qwen3_config,
    text_config,
)
from tests.runtime.plans import (
    make_batch,
    make_config,
    make_language_model,
    make_lora,
    make_model,
    make_plan,
    make_text_plan,
)

DECAY = {"dropout_schedule": "decay"}
DEEP = make_config(
    hidden_size=8,
    num_hidden_layers=1,
    intermediate_size=8,
    hidden_dropout_prob=0.3,
    attention_probs_dropout_prob=0.2,
)
STILL = dataclasses.replace(DEEP, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def keys(count: int = 4) -> jax.Array:
    return jax.random.split(jax.random.key(3, impl="threefry2x32"), count)


def plan_of(config: Any = DEEP, **train: Any) -> Plan:
    """With adapters. An epsilon of 1 keeps AdamW from making a step of a gradient's rounding."""
    model = make_model(config, lora=make_lora(config, dropout=0.4 if config is DEEP else 0.0))
    return make_plan(model=model, train=train, optimizer={"max_grad_norm": 0.0, "eps": 1.0})


def stepped(
    plan: Plan, scale: float | None = None, program: Program | None = None
) -> dict[str, np.ndarray]:
    """Loss, and every parameter after one step whose dropout is ``scale`` of its rates."""
    program = program or build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    flat = trees.flatten(state["params"])
    lively = {p: x + 0.3 if p.endswith("lora_b") else x for p, x in flat.items()}
    control = control_at(plan, 0)
    if scale is not None:
        control["dropout_scale"] = np.float32(scale)
    new, metrics = program.step(
        {**state, "params": trees.unflatten(lively)}, make_batch(plan), control
    )
    found = {k: np.asarray(v) for k, v in trees.flatten(new["params"]).items()}
    return found | {"loss": np.asarray(metrics["loss"])}


def assert_near(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, leaf in one.items():
        np.testing.assert_allclose(leaf, other[name], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 1 / 3, 0.999999, 1e-9, 2.0**-31])
def test_the_whole_share_is_the_rate_to_the_bit(rate: float, dtype: Any) -> None:
    x = jax.random.normal(jax.random.key(0), (4, 50, 7)).astype(dtype)
    whole = dropout(x, rate, scaled(keys(), jnp.float32(1.0)))
    np.testing.assert_array_equal(whole, dropout(x, rate, keys()))
    assert whole.dtype == dtype
    np.testing.assert_array_equal(dropout(x, rate, scaled(keys(), jnp.float32(0.0))), x)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.9])
def test_a_share_of_the_rate_is_dropped_and_the_mean_stays(scale: float) -> None:
    x = jnp.ones((4, 300, 300))
    found = np.asarray(dropout(x, 0.4, scaled(keys(), jnp.float32(scale))))
    rate = 0.4 * round(scale * WHOLE) / WHOLE
    assert (found == 0).mean() == pytest.approx(rate, abs=0.003)
    assert found.mean() == pytest.approx(1.0, abs=0.005)
    np.testing.assert_allclose(found[found > 0], 1 / (1 - rate), rtol=1e-6)


def test_what_is_kept_at_a_higher_rate_is_kept_at_a_lower() -> None:
    x = jnp.ones((4, 100))
    kept = [np.asarray(dropout(x, 0.6, scaled(keys(), jnp.float32(s)))) > 0 for s in (1, 0.5, 0.1)]
    assert all((low | ~high).all() for high, low in itertools.pairwise(kept))


def test_forked_keys_keep_their_share() -> None:
    plain, share = fork(keys(), 3), fork(scaled(keys(), jnp.float32(0.5)), 3)
    whole = stacked(share[1:3])
    np.testing.assert_array_equal(jax.random.key_data(whole.key), jax.random.key_data(plain[1:3]))
    np.testing.assert_array_equal(whole.share, np.full((2, 4), WHOLE // 2))
    assert scaled(None, jnp.float32(0.5)) is None
    assert fork(None, 2) == (None, None)


FAMILIES = {
    "text_encoder": text_config(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2),
    "bert": bert_config(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2),
    "mpnet": mpnet_config(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2),
    "qwen3": qwen3_config(attention_probs_dropout_prob=0.2),
    "modernbert": modernbert_config(embedding_dropout=0.3, mlp_dropout=0.2),
}


@pytest.mark.as_built
@pytest.mark.parametrize("family", FAMILIES)
def test_every_rate_of_a_network_is_scaled(family: str) -> None:
    """Operation by operation, so that the bits are those of the arithmetic and not of a compiler's fusions."""
    config = dataclasses.replace(FAMILIES[family], num_hidden_layers=2)
    model = model_plan(config, new=True)
    encoder = build_encoder(model)
    params = jax.tree.map(jnp.asarray, initial_arrays(model, 0))
    ids, mask = jnp.array([[3, 5, 7], [4, 6, 0]]), jnp.array([[True] * 3, [True, True, False]])

    def outcome(own: Any) -> np.ndarray:
        return np.asarray(encoder.encode(params, ids, mask, own))

    with jax.disable_jit():
        constant, none = outcome(keys(2)), outcome(None)
        whole = outcome(scaled(keys(2), jnp.float32(1.0)))
        nothing = outcome(scaled(keys(2), jnp.float32(0.0)))
        half = outcome(scaled(keys(2), jnp.float32(0.5)))
    np.testing.assert_array_equal(whole, constant)
    np.testing.assert_array_equal(nothing, none)
    assert all(np.abs(half - other).max() > 1e-3 for other in (constant, none))


def test_steps_at_1_and_at_0_and_between() -> None:
    decay = plan_of(**DECAY)
    program = build_program(decay)
    found = {scale: stepped(decay, scale, program) for scale in (1.0, 0.3, 0.0)}
    assert sum(program.traces().values()) == 1
    assert control_at(decay, 0)["dropout_scale"] == np.float32(1.0)
    assert_near(found[1.0], stepped(plan_of()))
    assert_near(found[0.0], stepped(plan_of(STILL)))
    again = plan_of(micro_batch_size=2, gradient_checkpointing=True, **DECAY)
    assert_near(stepped(again, 0.3), found[0.3])
    losses = sorted(float(one["loss"]) for one in found.values())
    assert all(high - low > 1e-4 for low, high in itertools.pairwise(losses))


def test_the_scale_falls_in_a_line_and_is_no_new_trace() -> None:
    plan = make_text_plan(model=make_language_model(hidden_dropout_prob=0.3), train=DECAY)
    total = plan.train.total_steps
    scales = [control_at(plan, step)["dropout_scale"] for step in range(total)]
    np.testing.assert_allclose(scales, [1 - s / total for s in range(total)], rtol=1e-7)
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    for step in range(total):
        state, _ = program.step(state, make_batch(plan, step), control_at(plan, step))
    assert sum(program.traces().values()) == len(plan.traces) == 1


def test_a_resumed_run_goes_on_with_the_same_dropout() -> None:
    plan = make_text_plan(model=make_language_model(hidden_dropout_prob=0.3), train=DECAY)

    def steps(program: Program, state: Any, numbers: range) -> Any:
        for step in numbers:
            state, _ = program.step(state, make_batch(plan, step), control_at(plan, step))
        return jax.tree.map(np.asarray, state["params"]), state

    program = build_program(plan)
    whole, _ = steps(program, program.enter(0, program.init(0)), range(4))
    _, half = steps(program, program.enter(0, program.init(0)), range(2))
    saved = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), half)
    again, _ = steps(build_program(plan), saved, range(2, 4))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_constant_plan_has_no_scale_at_all() -> None:
    plan = plan_of()
    assert control_at(plan, 0)["dropout_scale"] is None
    assert len(jax.tree.leaves(control_at(plan, 0))) == 3  # rate, weight, segment
