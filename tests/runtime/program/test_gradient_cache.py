"""A batch encoded in chunks has the loss and the gradient of the batch encoded at once, with dropout on.

Compiling is nearly all of the time, so one compiled step serves all that are numbers: the weights of the losses are
its arguments, by which each is looked at alone, at one width or at both of Matryoshka's; and adapters of 0 are no
adapters. The slow test compiles each setting as a run does.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.losses import table
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.program.gradients import Objective, loss_and_gradient, step_key
from specrun.spec.plan.losses import MatryoshkaPlan
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
from tests.runtime.quick import QUICK

CONFIG = make_config(num_hidden_layers=1, hidden_size=8, intermediate_size=8, multi_vector_dim=8)
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


class Case(NamedTuple):
    """Losses, batch and parameters of a setting."""

    plan: Any
    names: list[str]
    batch: Any
    parameters: dict[str, np.ndarray]


def case(mrl: bool, lora: bool, negatives: bool) -> Case:
    kinds = losses(negatives)
    model = make_model(CONFIG, lora=make_lora(CONFIG) if lora else None, losses=kinds)
    scan = dataclasses.replace(
        make_plan().data.scan,
        negatives=2 * negatives,
        labels=3,
        scores=4,
        negative_scores=9 * negatives,
    )
    plan = make_plan(
        model=model, losses=kinds, matryoshka=MRL if mrl else None, data={"scan": scan}
    )
    batch = make_batch(plan)
    batch.weight[0, 6:] = 0.0
    draw = np.random.default_rng(3)
    flat = trees.flatten(initial_arrays(model, 0)) | table.initial_parameters(plan)
    flat = {p: x + draw.normal(size=x.shape).astype(x.dtype) * 0.1 for p, x in flat.items()}
    return Case(plan, [kind.name for kind in kinds], batch, flat)


def compiled(given: Case, terms: Any, chunks: int, remat: bool) -> Any:
    """(params, frozen, weights, step) to the value and the gradient."""
    encoder = build_encoder(given.plan.model, remat=remat)
    objective = Objective(
        lambda parameters, *rows, side: encoder.embed(
            {k: v for k, v in parameters.items() if k != "losses"}, *rows, side
        ),
        terms,
        chunks,
    )

    @partial(jax.jit, compiler_options=QUICK)
    def compute(params, frozen, weights, step):
        key = step_key(0, np.uint32(0), step)
        return loss_and_gradient(objective, params, frozen, given.batch, weights, key)

    return compute


def looked_at(compute: Any, params: Any, frozen: Any, weights: Any) -> tuple[float, dict]:
    value, gradient = compute(params, frozen, weights, np.uint32(0))
    other, _ = compute(params, frozen, weights, np.uint32(1))
    assert abs(float(value.loss) - float(other.loss)) > 1e-4, "no dropout to be lost"
    return float(value.loss), {p: np.asarray(x) for p, x in trees.flatten(gradient).items()}


@cache
def of_numbers(chunks: int, negatives: bool, remat: bool) -> Any:
    """One compiled step of every loss at each width, with adapters and all that they stand on trained."""
    given = case(False, True, negatives)
    terms = {
        f"{name} at {dim}": matryoshka(
            term, MatryoshkaPlan(dims=(dim,), weights=(1.0,), reduce="sum")
        )
        for name, term in table.terms(given.plan).items()
        for dim in MRL.dims
    }
    return given, compiled(given, terms, chunks, remat)


def slopes(chunks: int, mrl: bool, lora: bool, negatives: bool, remat: bool) -> dict:
    """By loss, its value and gradient on one batch with padding: of the adapters, or where these are 0 of the rest."""
    given, compute = of_numbers(chunks, negatives, remat)
    adapter = {p: "lora_" in p for p in given.parameters}
    flat = {p: x * (lora or not adapter[p]) for p, x in given.parameters.items()}
    of_width = dict(zip(MRL.dims, MRL.weights if mrl else (1.0, 0.0), strict=True))
    found = {}
    for name in given.names:
        weights = {
            f"{n} at {dim}": np.float32(weight * (n == name))
            for n in given.names
            for dim, weight in of_width.items()
        }
        value, gradient = looked_at(compute, trees.unflatten(flat), {}, weights)
        kept = {p: x for p, x in gradient.items() if adapter[p] == lora or p.startswith("losses.")}
        found[name] = (value, kept)
    return found


@cache
def slopes_of_a_run(chunks: int, mrl: bool, lora: bool, negatives: bool, remat: bool) -> dict:
    """The same, each setting with a structure of its own: the base is frozen under LoRA."""
    given = case(mrl, lora, negatives)
    compute = compiled(given, table.terms(given.plan), chunks, remat)
    trains = {p: not lora or "lora_" in p or p.startswith("losses.") for p in given.parameters}
    params, frozen = (
        trees.unflatten({p: x for p, x in given.parameters.items() if trains[p] == wanted})
        for wanted in (True, False)
    )
    return {
        name: looked_at(compute, params, frozen, {n: np.float32(n == name) for n in given.names})
        for name in given.names
    }


NAMES = ("mrl", "lora", "negatives", "remat")
SETTINGS = list(itertools.product((False, True), repeat=4))


def marks(negatives: bool) -> tuple[Any, ...]:
    """Half of the six things to compile is left to the slow tests: rows without negatives of their own."""
    return () if negatives else (pytest.mark.slow,)


@pytest.mark.parametrize(NAMES, [pytest.param(*x, marks=marks(x[2])) for x in SETTINGS])
def test_chunks_have_the_gradient_of_the_whole_for_every_loss(mrl, lora, negatives, remat):
    plain = slopes(1, mrl, lora, negatives, False)
    chunked = slopes(4, mrl, lora, negatives, remat)
    assert_equal(plain, chunked, lora, negatives)


@pytest.mark.slow
@pytest.mark.parametrize(NAMES, SETTINGS)
def test_so_have_they_as_a_run_compiles_them(mrl, lora, negatives, remat):
    plain = slopes_of_a_run(1, mrl, lora, negatives, False)
    chunked = slopes_of_a_run(4, mrl, lora, negatives, remat)
    assert_equal(plain, chunked, lora, negatives)


def assert_equal(plain: dict, chunked: dict, lora: bool, negatives: bool) -> None:
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
