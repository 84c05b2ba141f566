"""Explicit negatives from the batch to the loss: encoded once each, with keys of their own, in any chunks.

The loss is a stand-in that needs them: a hinge of every negative against its row's positive.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.losses import table as losses
from specrun.runtime.losses.algebra import Outputs, Term
from specrun.runtime.losses.matryoshka import matryoshka
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.program import gradients
from specrun.runtime.program import mesh as meshes
from specrun.runtime.program.control import control_at
from specrun.runtime.program.gradients import Objective, loss_only
from specrun.runtime.program.program import build_program
from specrun.spec.plan.losses import InfoNCE, MatryoshkaPlan
from tests.runtime.devices import run_split
from tests.runtime.plans import make_batch, make_config, make_infonce, make_model, make_plan

NEGATIVES = 3
LIGHT = make_config(hidden_size=8, num_hidden_layers=0, position_embedding="none")
DEEP = make_config(
    hidden_size=8, num_hidden_layers=1, intermediate_size=8, position_embedding="none"
)
MATRYOSHKA = MatryoshkaPlan(dims=(8, 4), weights=(1.0, 0.5), reduce="sum")


def hinges(query, positive, negatives, weight):
    """Σ over rows and negatives of weight · softplus(q·n − q·p), and weights of rows. []"""
    difference = jnp.einsum("bd,bnd->bn", query, negatives) - (query * positive).sum(1)[:, None]
    return jnp.sum(weight * jax.nn.softplus(difference))


def term_of(scope: str):
    def make(plan: InfoNCE, tile_rows: int) -> Term:
        def total(parameters, outputs, rows):
            weight = rows.negative_weight * rows.weight[:, None]
            return hinges(outputs.query, outputs.positive, outputs.negatives, weight)

        return Term(plan.name, scope, lambda rows: rows.weight.sum(), total)

    return make


@pytest.fixture
def scope(request, monkeypatch):
    """The stand-in in the place of InfoNCE; ``in_batch`` unless a test asks for ``separable``."""
    kind = getattr(request, "param", "in_batch")
    monkeypatch.setitem(losses._TERMS, "infonce", term_of(kind))
    return kind


both_scopes = pytest.mark.parametrize("scope", ["in_batch", "separable"], indirect=True)


def plan_of(passes=1, micro=8, dims=False, negatives=NEGATIVES, labels=2, config=LIGHT, **changes):
    loss = make_infonce()
    base = make_plan()
    scan = dataclasses.replace(base.data.scan, negatives=negatives, labels=labels)
    return make_plan(
        losses=(loss,),
        model=make_model(config, losses=(loss,)),
        matryoshka=MATRYOSHKA if dims else None,
        data={"scan": scan},
        optimizer={"max_grad_norm": 0.0},
        train={"accumulation_steps": passes, "micro_batch_size": micro},
        **changes,
    )


def begin(plan):
    program = build_program(plan)
    return program, program.enter(0, program.init(plan.seed))


def step(plan, batch=None):
    """Loss and gradient of the first step."""
    program, state = begin(plan)
    batch = make_batch(plan) if batch is None else batch
    state, metrics = program.step(state, batch, control_at(plan, 0))
    moments = trees.flatten(state["optimizer"]["first"])
    share = 1.0 - plan.optimizer.beta1
    return float(metrics["loss"]), {p: np.asarray(x) / share for p, x in moments.items()}


def by_hand(plan):
    """The same from the formulas, one negative after the other."""
    encode, batch = jax.jit(build_encoder(plan.model).encode), make_batch(plan)
    key = jax.random.key(plan.seed)
    for number in (0, 0):  # segment, step
        key = jax.random.fold_in(key, number)

    def side(parameters, fold, ids, mask, rows):
        folded = jax.random.fold_in(key, fold)
        keys = jax.vmap(lambda r: jax.random.fold_in(folded, r))(rows)
        return encode(parameters, ids, mask, keys)

    def loss(parameters):
        total = 0.0
        for a in range(plan.train.accumulation_steps):
            rows = batch.row[a]
            q = side(parameters, 0, batch.query_ids[a], batch.query_mask[a], rows)
            p = side(parameters, 1, batch.positive_ids[a], batch.positive_mask[a], rows)
            ids, mask = batch.negative_ids[a], batch.negative_mask[a]
            each = [side(parameters, 2 + n, ids[:, n], mask[:, n], rows) for n in range(NEGATIVES)]
            n = jnp.stack(each, axis=1)
            for dim, weight in ((8, 1.0), (4, 0.5)) if plan.matryoshka else ((8, 1.0),):
                cut = (x[..., :dim] for x in (q, p, n))
                total += weight * hinges(*cut, batch.negative_weight[a])
        return total / batch.weight.sum()

    _, state = begin(plan)
    value, slopes = jax.value_and_grad(loss)(state["params"])
    return float(value), {p: np.asarray(x) for p, x in trees.flatten(slopes).items()}


def assert_equal(found, right):
    np.testing.assert_allclose(found[0], right[0], rtol=2e-6)
    assert found[1].keys() == right[1].keys()
    largest = max(np.abs(x).max() for x in right[1].values())
    for path, slope in found[1].items():
        np.testing.assert_allclose(slope, right[1][path], atol=2e-6 * largest, err_msg=path)


@both_scopes
def test_chunks_and_passes_have_the_plain_gradient_with_dropout_on(scope):
    right = by_hand(plan_of(2, dims=True))
    for micro in (8, 2):
        assert_equal(step(plan_of(2, micro, dims=True)), right)


@both_scopes
@pytest.mark.slow
@pytest.mark.parametrize("dims", [False, True])
@pytest.mark.parametrize("passes", [1, 2])
def test_so_it_is_with_attention_and_any_chunk(scope, passes, dims):
    right = by_hand(plan_of(passes, dims=dims, config=DEEP))
    for micro in (8, 4, 1):
        assert_equal(step(plan_of(passes, micro, dims, config=DEEP)), right)


def test_every_negative_has_dropout_of_its_own(scope):
    """Equal negatives of a row, and equal texts of both sides, differ under dropout alone."""
    plan = plan_of()
    batch = make_batch(plan)
    same = np.repeat(batch.positive_ids[:, :, None], NEGATIVES, 2)
    mask = np.repeat(batch.positive_mask[:, :, None], NEGATIVES, 2)
    seen = {}

    def watch(parameters, outputs, rows):
        seen["outputs"] = outputs
        return jnp.sum(outputs.query)

    term = Term("infonce", scope, lambda rows: rows.weight.sum(), watch)
    encoder, sides_seen = build_encoder(plan.model), []

    def encode(*rows, side):
        sides_seen.append(side)
        return encoder.encode(*rows, side=side)

    _, state = begin(plan)
    rows = jax.tree.map(lambda x: x[0], batch._replace(negative_ids=same, negative_mask=mask))
    for key in (None, jax.random.key(0)):
        gradients._value(
            Objective(encode, {"infonce": term}, 1), 1, state["params"], rows,
            {"infonce": jnp.float32(1)}, {"infonce": jnp.float32(1)}, key,
        )  # fmt: skip
        sides = [seen["outputs"].positive, *jnp.moveaxis(seen["outputs"].negatives, 1, 0)]
        pairs = [np.allclose(a, b, atol=1e-6) for a, b in itertools.combinations(sides, 2)]
        assert all(pairs) if key is None else not any(pairs)
    assert sides_seen == ["query", "positive", "positive"] * 2


def test_absent_negatives_and_filling_rows_are_harmless(scope):
    plan = plan_of(dims=True)
    batch = make_batch(plan)
    weight = batch.weight.copy()
    weight[0, 5:] = 0.0
    batch = batch._replace(weight=weight, negative_weight=batch.negative_weight * weight[..., None])
    other = np.where(batch.negative_weight[..., None] > 0, batch.negative_ids, np.int32(9))
    assert np.any(other != batch.negative_ids)
    assert_equal(step(plan, batch._replace(negative_ids=other)), step(plan, batch))
    nothing = batch._replace(negative_weight=np.zeros_like(batch.negative_weight))
    value, slopes = step(plan, nothing)
    assert value == 0.0
    assert not any(np.any(x) for x in slopes.values())


def test_one_trace_serves_all_batches_of_a_plan(scope):
    plan = plan_of()
    program, state = begin(plan)
    for number in range(3):
        state, metrics = program.step(state, make_batch(plan, number), control_at(plan, number))
        assert np.isfinite(metrics["loss"])
    assert program.traces() == {"t0": 1}


def test_a_batch_of_another_plan_is_refused(scope):
    plan = plan_of()
    program, state = begin(plan)
    batch = make_batch(plan)
    control = control_at(plan, 0)
    for wrong in (
        batch._replace(negative_ids=None, negative_mask=None, negative_weight=None),
        batch._replace(negative_ids=batch.negative_ids[:, :, :2]),
        batch._replace(label=None),
        make_batch(plan_of(negatives=0, labels=0)),
    ):
        with pytest.raises(ValueError, match="the plan's rows have 3 negatives and 2 labels"):
            program.step(meshes.place_state(state, meshes.data_mesh(plan)), wrong, control)


def test_matryoshka_cuts_the_negatives_too():
    seen = []

    def total(parameters, outputs, rows):
        seen.append(jax.tree.map(np.shape, outputs))
        return jnp.float32(0)

    term = Term("x", "in_batch", lambda rows: rows.weight.sum(), total)
    cut = matryoshka(term, MATRYOSHKA)
    cut.sum({}, Outputs(jnp.ones((5, 8)), jnp.ones((5, 8)), jnp.ones((5, 2, 8))), None)
    cut.sum({}, Outputs(jnp.ones((5, 8)), jnp.ones((5, 8))), None)
    assert seen == [
        Outputs((5, 8), (5, 8), (5, 2, 8)),
        Outputs((5, 4), (5, 4), (5, 2, 4)),
        Outputs((5, 8), (5, 8), None),
        Outputs((5, 4), (5, 4), None),
    ]


def test_the_value_without_dropout_sees_them(scope):
    plan = plan_of(passes=2, micro=4)
    program, state = begin(plan)
    batch = make_batch(plan)
    found = float(program.evaluate(state, batch, control_at(plan, 0))["loss"])
    encode = build_encoder(plan.model).encode
    objective = Objective(encode, {"infonce": term_of(scope)(plan.losses[0], 8)}, 1)
    plain = loss_only(objective, state["params"], batch, {"infonce": jnp.float32(1)})
    np.testing.assert_allclose(found, float(plain.loss), rtol=1e-6)


SHARE = """
import jax
from specrun.runtime.losses import table
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from tests.runtime.plans import make_batch
from tests.runtime.program.test_negatives import DEEP, plan_of, term_of

table._TERMS["infonce"] = term_of("in_batch")
for devices in (1, 4):
    plan = plan_of(micro=4, config=DEEP, hardware={"devices": devices})
    program = build_program(plan)
    state = program.enter(0, program.init(plan.seed))
    batch, control = make_batch(plan), control_at(plan, 0)
    step = build_program(plan).step
    # Placed as a step places them, so that the compiled function that is counted is the one that is run.
    placed = jax.device_put((batch, control), (step.rows, step.everywhere))
    flops = step.lower(state, *placed).compile().cost_analysis()["flops"]
    print(devices, flops, float(program.step(state, batch, control)[1]["loss"]))
"""


def test_devices_share_the_negatives():
    """Four devices do little more than a quarter each, chunked or not, and find the same loss."""
    printed = run_split(SHARE, 4)
    lines = [line.split() for line in printed.splitlines()]
    found = {int(devices): (float(flops), float(loss)) for devices, flops, loss in lines}
    assert found[4][0] / found[1][0] < 1.4 / 4
    np.testing.assert_allclose(found[4][1], found[1][1], rtol=1e-6)
