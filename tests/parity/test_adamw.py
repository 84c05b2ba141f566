"""AdamW and clipping against torch, step by step on the same gradients."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.program import optimizer
from tests.runtime.plans import make_plan

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

STEPS = 100
SHAPES = {"kernel": (7, 5), "bias": (5,), "scalar": ()}


def gradients(step: int) -> dict[str, np.ndarray]:
    """Gradients whose norms span six orders of magnitude, so that some are clipped."""
    draw = np.random.default_rng(step)
    size = 10.0 ** draw.uniform(-4, 2)
    return {n: (size * draw.normal(size=s)).astype(np.float32) for n, s in SHAPES.items()}


def start() -> dict[str, np.ndarray]:
    """Parameters of the size of weights. Near 2 the last bit is 2e-7, and torch's own float32 run
    lies 1.1e-6 from a float64 run."""
    draw = np.random.default_rng(99)
    return {n: np.asarray(0.3 * draw.normal(size=s), np.float32) for n, s in SHAPES.items()}


def with_torch(plan, rates) -> list[dict[str, np.ndarray]]:
    params = {n: torch.nn.Parameter(torch.tensor(x)) for n, x in start().items()}
    decayed, plain = [params["kernel"]], [params["bias"], params["scalar"]]
    adamw = torch.optim.AdamW(
        [{"params": decayed}, {"params": plain, "weight_decay": 0.0}],
        betas=(plan.beta1, plan.beta2),
        eps=plan.eps,
        weight_decay=plan.weight_decay,
    )
    history = []
    for step, rate in enumerate(rates):
        for name, slope in gradients(step).items():
            params[name].grad = torch.tensor(slope)
        if plan.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(params.values(), plan.max_grad_norm)
        for group in adamw.param_groups:
            group["lr"] = float(rate)
        adamw.step()
        history.append({n: x.detach().numpy().copy() for n, x in params.items()})
    return history


def with_ours(plan, rates) -> list[dict[str, np.ndarray]]:
    @jax.jit
    def step(params, state, slopes, rate):
        slopes = optimizer.clip(slopes, optimizer.global_norm(slopes), plan.max_grad_norm)
        return optimizer.update(plan, ("kernel",), params, slopes, state, rate)

    params = jax.tree.map(jnp.asarray, start())
    state = optimizer.start(params)
    history = []
    for number, rate in enumerate(rates):
        params, state = step(params, state, gradients(number), rate)
        history.append(jax.tree.map(np.asarray, params))
    return history


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_grad_norm": 0.0},
        {"weight_decay": 0.3},
        {"beta1": 0.5, "beta2": 0.95, "eps": 1e-6},
        {"beta1": 0.0},
    ],
    ids=str,
)
def test_a_hundred_steps_equal_torchs(changes):
    plan = dataclasses.replace(make_plan().optimizer, **changes)
    rates = np.linspace(0.0, 1e-2, STEPS, dtype=np.float32)
    worst = 0.0
    for ours, theirs in zip(with_ours(plan, rates), with_torch(plan, rates), strict=True):
        for name in SHAPES:
            worst = max(worst, float(np.abs(ours[name] - theirs[name]).max()))
    assert worst < 1e-6, worst


def test_the_norm_equals_torchs():
    params = [torch.nn.Parameter(torch.zeros(s)) for s in SHAPES.values()]
    for param, slope in zip(params, gradients(1).values(), strict=True):
        param.grad = torch.tensor(slope)
    theirs = torch.nn.utils.clip_grad_norm_(params, 1.0)
    np.testing.assert_allclose(optimizer.global_norm(gradients(1)), theirs, rtol=1e-6)
