"""Schedules against transformers' own, over whole runs."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.spec.plan.schedule import (
    Constant,
    ConstantWithWarmup,
    Cosine,
    CosineWithRestarts,
    Linear,
    learning_rate,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

PEAK, WARMUP, TOTAL = 3e-4, 7, 50


def theirs(make, steps: int, **options) -> list[float]:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = make(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def ours(schedule, steps: int) -> list[float]:
    return [learning_rate(schedule, PEAK, step) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize(
    ("name", "schedule", "options"),
    [
        ("linear_schedule_with_warmup", Linear, {"total_steps": TOTAL}),
        ("cosine_schedule_with_warmup", Cosine, {"total_steps": TOTAL, "min_learning_rate": 0.0}),
        ("constant_schedule_with_warmup", ConstantWithWarmup, {}),
    ],
)
def test_it_equals_transformers(name, schedule, options, warmup):
    make = getattr(transformers, f"get_{name}")
    known = {"num_training_steps": TOTAL} if "total_steps" in options else {}
    right = theirs(make, TOTAL + 1, num_warmup_steps=warmup, **known)
    found = ours(schedule(warmup_steps=warmup, **options), TOTAL + 1)
    np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-19)


def test_constant_equals_transformers():
    np.testing.assert_allclose(
        ours(Constant(), TOTAL), theirs(transformers.get_constant_schedule, TOTAL), rtol=1e-12
    )


def test_cosine_with_a_floor_equals_transformers():
    make = transformers.get_scheduler
    right = theirs(
        lambda optimizer: make(
            "cosine_with_min_lr",
            optimizer,
            num_warmup_steps=WARMUP,
            num_training_steps=TOTAL,
            scheduler_specific_kwargs={"min_lr": 1e-5},
        ),
        TOTAL,
    )
    found = ours(Cosine(warmup_steps=WARMUP, total_steps=TOTAL, min_learning_rate=1e-5), TOTAL)
    np.testing.assert_allclose(found, right, rtol=1e-12)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_restarts_equal_torchs_warm_restarts(multiplier):
    make = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts
    right = theirs(make, 80, T_0=10, T_mult=multiplier, eta_min=1e-5)
    schedule = CosineWithRestarts(
        warmup_steps=0,
        min_learning_rate=1e-5,
        first_period_steps=10,
        period_multiplier=float(multiplier),
    )
    np.testing.assert_allclose(ours(schedule, 80), right, rtol=1e-9)
