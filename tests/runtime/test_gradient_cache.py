"""A batch encoded in chunks has the loss and the gradient of the batch encoded at once, with dropout on.

One compiled step serves all losses: their weights are its arguments, so each is looked at alone.
"""

from __future__ import annotations

import dataclasses
from functools import cache, partial

import jax
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.losses import table
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.program.gradients import Objective, loss_and_gradient, step_key
from specrun.spec.plan.training import MatryoshkaPlan
from tests.runtime.plans import (
    make_batch,
    make_colbert,
    make_config,
    make_cosent,
    make_dense_late,
    make_distillation,
    make_false,
    make_infonce,
    make_lora,
    make_model,
    make_plan,
    make_siglip,
    make_triplet,
)

CONFIG = make_config(num_hidden_layers=1, hidden_size=8, intermediate_size=8, multi_vector_dim=8)
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiling is most of the time of these tests."""
MRL = MatryoshkaPlan(dims=(8, 4), weights=(1.0, 0.5), reduce="sum")
PARTS = (
    *("infonce", "triplet", "siglip", "cosent", "colbert", "dense_late_kl"),
    *("distillation", "masked", "squares"),
)
OWN = ("own", "colbert_own", "margins", "scores")
"""Those of rows with negatives of their own besides."""


def losses(negatives: bool):
    kind = "all" if negatives else "in_batch"
    found = (
        make_infonce(negatives=kind, train_temperature=True),
        make_triplet(),
        make_siglip(negatives=kind, bias=-1.0, train_temperature=True, train_bias=True),
        make_cosent(),
        make_colbert(negatives=kind),
        make_dense_late(negatives=kind),
        make_distillation(negatives=kind),
        make_infonce(name="masked", negatives=kind, false_negatives=make_false()),
        make_distillation(name="squares", objective="mse", negatives=kind),
    )
    if not negatives:
        return found
    return (
        *found,
        make_infonce(name="own", negatives="own"),
        make_colbert(name="colbert_own", negatives="own"),
        make_distillation(name="margins", objective="margin_mse", negatives="own"),
        make_distillation(name="scores", teacher=None, negatives="own"),
    )


@cache
def slopes(chunks: int, mrl: bool, lora: bool, negatives: bool, remat: bool):
    """By loss, its value and gradient on one batch with padding; the base is frozen under LoRA."""
    kinds = losses(negatives)
    adapters = make_lora(CONFIG) if lora else None
    model = make_model(CONFIG, lora=adapters, losses=kinds)
    base = make_plan().data.scan
    plan = make_plan(
        model=model,
        losses=kinds,
        matryoshka=MRL if mrl else None,
        train={"gradient_checkpointing": remat},
        data={
            "scan": dataclasses.replace(
                base, negatives=2 * negatives, labels=3, scores=4, negative_scores=9 * negatives
            )
        },
    )
    batch = make_batch(plan)
    batch.weight[0, 6:] = 0.0
    encoder = build_encoder(model, remat=remat)
    objective = Objective(
        lambda parameters, *rows, side: encoder.embed(
            {k: v for k, v in parameters.items() if k != "losses"}, *rows, side
        ),
        table.terms(plan),
        chunks,
    )
    draw = np.random.default_rng(3)
    flat = trees.flatten(initial_arrays(model, 0)) | table.initial_parameters(plan)
    flat = {p: x + draw.normal(size=x.shape).astype(x.dtype) * 0.1 for p, x in flat.items()}
    trains = {p: not lora or "lora_" in p or p.startswith("losses.") for p in flat}
    params, frozen = (
        trees.unflatten({p: x for p, x in flat.items() if trains[p] == wanted})
        for wanted in (True, False)
    )

    @partial(jax.jit, compiler_options=QUICK)
    def compute(params, frozen, batch, weights, step):
        key = step_key(0, np.uint32(0), step)
        return loss_and_gradient(objective, params, frozen, batch, weights, key)

    names = [kind.name for kind in kinds]
    found = {}
    for name in names:
        weights = {n: np.float32(n == name) for n in names}
        value, gradient = compute(params, frozen, batch, weights, np.uint32(0))
        other, _ = compute(params, frozen, batch, weights, np.uint32(1))
        assert abs(float(value.loss) - float(other.loss)) > 1e-4, "no dropout to be lost"
        found[name] = (
            float(value.loss),
            {p: np.asarray(x) for p, x in trees.flatten(gradient).items()},
        )
    return found


USUAL = {0b0000, 0b1111}
"""Of the sixteen settings of the four switches, those that every run of the tests looks at."""


COMBINATIONS = [
    pytest.param(
        *(bool(bits >> i & 1) for i in range(4)),
        marks=() if bits in USUAL else (pytest.mark.slow,),
    )
    for bits in range(16)
]


@pytest.mark.parametrize(("mrl", "lora", "negatives", "remat"), COMBINATIONS)
def test_chunks_have_the_gradient_of_the_whole_for_every_loss(mrl, lora, negatives, remat):
    plain = slopes(1, mrl, lora, negatives, False)
    chunked = slopes(4, mrl, lora, negatives, remat)
    assert set(plain) == set(chunked) == set(PARTS + OWN * negatives)
    for name, (value, gradient) in plain.items():
        found, parts = chunked[name]
        assert value > 0
        np.testing.assert_allclose(found, value, rtol=2e-6, err_msg=name)
        largest = max(np.abs(x).max() for x in gradient.values())
        assert largest > 0
        assert parts.keys() == gradient.keys()
        assert any("lora_a" in p for p in parts) == lora
        for path, right in gradient.items():
            np.testing.assert_allclose(
                parts[path], right, rtol=0, atol=5e-6 * largest, err_msg=f"{name} {path}"
            )
