"""bfloat16: which operands are rounded, what stays in f32, and how far the numbers move."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.models.activations import gelu
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.products import matmul, product
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from tests.runtime.plans import make_batch, make_config, make_lora, make_model, make_plan

CONFIG = make_config(hidden_size=32, intermediate_size=64, hidden_act="swiglu")


def steps(compute: str, **changes: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(gradients, metrics) of one step."""
    plan = make_plan(
        precision={"compute": compute, "matmul": "highest"},
        optimizer={"max_grad_norm": 0.0},
        **changes,
    )
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    state, metrics = program.step(state, make_batch(plan), control_at(plan, 0))
    first = trees.flatten(state["optimizer"]["first"])
    return {p: np.asarray(x) / 0.1 for p, x in first.items()}, jax.tree.map(np.asarray, metrics)


def dtypes(compute: str) -> set[tuple[str, ...]]:
    """Operands and results of the products in the layers and their gradient, as lowered for a GPU."""
    model = make_model(CONFIG)
    encoder = build_encoder(model, compute=compute)
    ids = jnp.ones((4, 8), jnp.int32)
    keys = jax.random.split(jax.random.key(0), 4)

    def loss(params: Any) -> jax.Array:
        x = jnp.ones((4, 8, CONFIG.hidden_size))
        (stack,) = encoder.stacks
        return stack(params["groups"]["0"], x, ids > 0, None, keys=jnp.stack([keys] * 2)).sum()

    traced = jax.jit(jax.grad(loss)).trace(initial_parameters(model, 0))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    found = re.findall(
        r"dot_general.* : \(tensor<\S*?(\w+)>, tensor<\S*?(\w+)>\) -> tensor<\S*?(\w+)>", text
    )
    assert len(found) >= 3 * 7
    return {tuple(x.rpartition("x")[2] for x in types) for types in found}


def test_every_product_in_the_layers_has_rounded_operands_and_a_sum_in_f32():
    """Going forward and backward: jax alone would leave a gradient's other operand in f32."""
    assert dtypes("bfloat16") == {("bf16", "bf16", "f32")}
    assert dtypes("float32") == {("f32", "f32", "f32")}


def test_sums_are_in_f32():
    """4096 times 1 + 1/256: summed in bfloat16 it stays far below."""
    x = jnp.full((1, 4096), 1.0, jnp.bfloat16)
    kernel = jnp.full((4096, 1), 1.0 + 2**-7)
    np.testing.assert_array_equal(matmul(x, kernel), [[4096 * (1 + 2**-7)]])


@pytest.mark.parametrize("spec", ["TI,IO->TO", "BTNH,BSNH->BNTS", "BNTS,BSNH->BTNH"])
def test_gradients_of_a_product_are_those_of_rounded_operands(spec: str):
    letters = sorted(set(spec) - set(",->"))
    sizes = {letter: 2 + i for i, letter in enumerate(letters)}
    draw = np.random.default_rng(0)
    a, b = (
        jnp.asarray(draw.normal(size=[sizes[x] for x in part]), jnp.float32)
        for part in spec.split("->")[0].split(",")
    )

    def rounded(x: jax.Array) -> jax.Array:
        return x.astype(jnp.bfloat16).astype(jnp.float32)

    value, pull = jax.vjp(lambda a, b: product(spec, a.astype(jnp.bfloat16), b), a, b)
    right, push = jax.vjp(lambda a, b: jnp.einsum(spec, a, b), rounded(a), rounded(b))
    np.testing.assert_allclose(value, right, rtol=1e-6, atol=1e-6)
    slope = rounded(jnp.asarray(draw.normal(size=value.shape), jnp.float32))
    to_a, to_b = pull(slope)
    np.testing.assert_allclose(to_b, push(slope)[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(to_a, push(slope)[0], rtol=2**-8, atol=2**-8)


def test_gelu_computes_in_f32_and_keeps_what_it_was_given():
    x = jnp.linspace(-4, 4, 65)
    expected, slope = jax.vjp(gelu, x)
    found, narrow = jax.vjp(gelu, x.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))
    (given,) = narrow(jnp.ones(65, jnp.bfloat16))
    np.testing.assert_array_equal(given, slope(jnp.ones(65))[0].astype(jnp.bfloat16))


def test_parameters_optimizer_state_and_metrics_stay_in_f32():
    plan = make_plan(precision={"compute": "bfloat16", "matmul": "highest"})
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    state, metrics = program.step(state, make_batch(plan), control_at(plan, 0))
    kept = {str(x.dtype) for x in jax.tree.leaves((state["params"], state["optimizer"]["first"]))}
    assert kept | {str(x.dtype) for x in metrics.values()} == {"float32"}
    batch = make_batch(plan)
    assert program.encode(state, batch.query_ids[0], batch.query_mask[0]).dtype == jnp.float32


@pytest.mark.parametrize("lora", [False, True])
def test_it_moves_the_loss_and_the_gradient_by_about_a_rounding(lora: bool):
    """bfloat16 has 8 bits: 2⁻⁸ = 0.4 % a number."""
    model = make_model(CONFIG, lora=make_lora(CONFIG)) if lora else make_model(CONFIG)
    (right, exact), (found, near) = (steps(c, model=model) for c in ("float32", "bfloat16"))
    np.testing.assert_allclose(near["loss"], exact["loss"], rtol=1e-2)
    a, b = (np.concatenate([x[p].ravel() for p in sorted(right)]) for x in (right, found))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert 0.999 < cosine < 1.0


def test_chunks_and_remat_change_no_number_by_more_than_that():
    plain, _ = steps("bfloat16", model=make_model(CONFIG))
    varied, _ = steps(
        "bfloat16",
        model=make_model(CONFIG),
        train={"micro_batch_size": 2, "gradient_checkpointing": True},
    )
    largest = max(np.abs(x).max() for x in plain.values())
    for path, x in plain.items():
        np.testing.assert_allclose(varied[path], x, rtol=0, atol=2e-3 * largest, err_msg=path)
