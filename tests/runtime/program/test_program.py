"""The program of a plan: pure functions, the same numbers for every knob of speed."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.program import mesh as meshes
from specrun.runtime.program import state as states
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import build_program
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.losses import MatryoshkaPlan
from tests.runtime.plans import (
    make_batch,
    make_config,
    make_infonce,
    make_lora,
    make_model,
    make_plan,
    make_segment,
)

DEEP = make_config(
    hidden_size=8, num_hidden_layers=2, intermediate_size=8, position_embedding="none"
)
LIGHT = dataclasses.replace(DEEP, num_hidden_layers=0)
MATRYOSHKA = MatryoshkaPlan(dims=(8, 4), weights=(1.0, 0.5), reduce="mean")


def plan_of(
    *,
    config=LIGHT,
    passes=1,
    micro=8,
    remat=False,
    dims=False,
    lora=False,
    trained=False,
    **changes,
):
    """A small plan with dropout in it everywhere. Without clipping the gradient can be read off."""
    losses = (make_infonce(train_temperature=trained),)
    model = make_model(config, lora=make_lora(config) if lora else None, losses=losses)
    train = {"accumulation_steps": passes, "micro_batch_size": micro}
    changes = {"optimizer": {"max_grad_norm": 0.0}} | changes
    return make_plan(
        model=model,
        losses=losses,
        matryoshka=MATRYOSHKA if dims else None,
        train=train | {"gradient_checkpointing": remat} | changes.pop("train", {}),
        **changes,
    )


def begin(plan):
    program = build_program(plan)
    return program, program.enter(0, program.init(plan.seed))


def lively(state):
    """The state with LoRA's second factors moved from 0, where half of the gradients vanish."""
    flat = trees.flatten(state["params"])
    moved = {p: x + 0.3 if p.endswith("lora_b") else x for p, x in flat.items()}
    return {**state, "params": trees.unflatten(moved)}


def loss_and_gradient(plan):
    """Of the first step; AdamW's first moment is (1 − β₁) times the gradient."""
    program, state = begin(plan)
    state, metrics = program.step(lively(state), make_batch(plan), control_at(plan, 0))
    share = 1.0 - plan.optimizer.beta1
    moments = trees.flatten(state["optimizer"]["first"])
    return float(metrics["loss"]), {p: np.asarray(x) / share for p, x in moments.items()}


@cache
def encoder_of(lora):
    return jax.jit(build_encoder(plan_of(config=DEEP, lora=lora).model).encode)


def by_hand(passes, dims, lora, trained):
    """Loss and gradient from the formulas: no chunks, no scan over passes, no term, no tree split."""
    plan = plan_of(config=DEEP, passes=passes, dims=dims, lora=lora, trained=trained)
    encode, batch = encoder_of(lora), make_batch(plan)
    key = jax.random.key(plan.seed)
    for number in (0, 0):  # segment, step
        key = jax.random.fold_in(key, number)

    def side(parameters, number, ids, mask, rows):
        fold = jax.random.fold_in(key, number)
        keys = jax.vmap(lambda r: jax.random.fold_in(fold, r))(rows)
        return encode({k: v for k, v in parameters.items() if k != "losses"}, ids, mask, keys)

    def loss(parameters):
        total = 0.0
        for a in range(passes):
            q = side(parameters, 0, batch.query_ids[a], batch.query_mask[a], batch.row[a])
            p = side(parameters, 1, batch.positive_ids[a], batch.positive_mask[a], batch.row[a])
            for dim, weight in ((8, 0.5), (4, 0.25)) if dims else ((8, 1.0),):
                u, v = (x[:, :dim] / jnp.linalg.norm(x[:, :dim], axis=1)[:, None] for x in (q, p))
                scale = jnp.exp(parameters["losses"]["infonce"]["log_scale"]) if trained else 10.0
                s = u @ v.T * scale
                both = jnp.diagonal(jax.nn.log_softmax(s, 1) + jax.nn.log_softmax(s, 0))
                total = total - weight * 0.5 * both.sum()
        return total / (8 * passes)

    _, state = begin(plan)
    value, slopes = jax.value_and_grad(loss)(lively(state)["params"])
    return float(value), {p: np.asarray(x) for p, x in trees.flatten(slopes).items()}


def combinations():
    """All 64 of six switches; the eight of an orthogonal array (every pair of switches) come first."""
    some = [
        (a, b, c, a ^ b, a ^ c, b ^ c) for a, b, c in itertools.product((False, True), repeat=3)
    ]
    others = [x for x in itertools.product((False, True), repeat=6) if x not in some]
    return some + [pytest.param(*x, marks=pytest.mark.slow) for x in others]


@pytest.mark.parametrize(
    ("accumulated", "chunked", "remat", "dims", "lora", "trained"), combinations()
)
def test_every_combination_has_the_plain_gradient_with_dropout_on(
    accumulated, chunked, remat, dims, lora, trained
):
    passes, micro = 2 if accumulated else 1, 2 if chunked else 8
    kinds = {"dims": dims, "lora": lora, "trained": trained}
    plan = plan_of(config=DEEP, passes=passes, micro=micro, remat=remat, **kinds)
    value, slopes = loss_and_gradient(plan)
    right, right_slopes = by_hand(passes, **kinds)
    np.testing.assert_allclose(value, right, rtol=2e-6)
    assert slopes.keys() == right_slopes.keys()
    largest = max(np.abs(x).max() for x in right_slopes.values())
    for path, slope in slopes.items():
        np.testing.assert_allclose(slope, right_slopes[path], atol=2e-6 * largest, err_msg=path)


def test_dropout_matters_and_belongs_to_seed_segment_step_row_and_side():
    plan = plan_of()
    program, state = begin(plan)
    batch, control = make_batch(plan), control_at(plan, 0)

    def loss(program=program, step=0, batch=batch, control=control):
        fresh = meshes.place_state(state, meshes.data_mesh(plan))
        return float(program.step(fresh | {"step": jnp.int32(step)}, batch, control)[1]["loss"])

    other_seed = build_program(dataclasses.replace(plan, seed=8))
    found = [
        float(program.evaluate(state, batch, control)["loss"]),
        loss(),
        loss(program=other_seed),
        loss(step=1),
        loss(control={**control, "segment": np.uint32(1)}),
        loss(batch=batch._replace(row=batch.row + 1)),
    ]
    assert len(set(found)) == len(found)
    swapped = jax.tree.map(lambda x: x[:, ::-1], batch)
    np.testing.assert_allclose(loss(batch=swapped), loss(), rtol=1e-6)


def test_equal_texts_on_both_sides_get_different_dropout():
    plan = plan_of(train={"buckets": ((8, 8),)})
    program, state = begin(plan)
    batch = make_batch(plan)
    batch = batch._replace(query_ids=batch.positive_ids, query_mask=batch.positive_mask)
    control = control_at(plan, 0)
    still = program.evaluate(state, batch, control)["loss"]
    _, metrics = program.step(state, batch, control)
    assert float(metrics["loss"]) > float(still) + 1e-3


def test_rows_of_weight_zero_change_nothing():
    plan = plan_of(passes=2)
    batch = make_batch(plan)
    weight = batch.weight.copy()
    weight[1, 3:] = 0.0
    spoilt = batch.query_ids.copy()
    spoilt[1, 3:] = 1
    program, state = begin(plan)
    twin = meshes.place_state(state, meshes.data_mesh(plan))
    control = control_at(plan, 0)
    one, first = program.step(state, batch._replace(weight=weight), control)
    two, second = program.step(
        twin,
        batch._replace(weight=weight, query_ids=spoilt, positive_ids=batch.positive_ids),
        control,
    )
    assert float(first["loss"]) == float(second["loss"])
    for path, x in trees.flatten(one["optimizer"]["first"]).items():
        y = trees.lookup(two["optimizer"]["first"], path)
        np.testing.assert_allclose(x, y, atol=1e-7, err_msg=path)


def test_a_batch_of_padding_only_gives_zero_and_stays_finite():
    plan = plan_of(trained=True, dims=True)
    program, state = begin(plan)
    batch = make_batch(plan)._replace(weight=np.zeros((1, 8), np.float32))
    state, metrics = program.step(state, batch, control_at(plan, 0))
    assert float(metrics["loss"]) == 0.0
    assert float(metrics["grad_norm"]) == 0.0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_several_losses_are_weighed_and_reported():
    losses = (
        make_infonce(name="a", train_temperature=True),
        make_infonce(name="b", symmetric=False),
    )
    model = make_model(LIGHT, losses=losses)
    segment = make_segment(model, loss_weights={"a": 0.5, "b": 2.0})
    plan = make_plan(losses=losses, model=model, segments=(segment,))
    program, state = begin(plan)
    _, metrics = program.step(state, make_batch(plan), control_at(plan, 0))
    assert set(metrics) == {"loss", "loss.a", "loss.b", "grad_norm", "temperature.a"}
    total = 0.5 * metrics["loss.a"] + 2.0 * metrics["loss.b"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)
    np.testing.assert_allclose(metrics["temperature.a"], 0.1, rtol=1e-6)
    assert all(x.shape == () and isinstance(x, jax.Array) for x in metrics.values())


def test_a_trained_temperature_never_falls_below_a_hundredth():
    losses = (make_infonce(temperature=0.0101, train_temperature=True),)
    model = make_model(LIGHT, losses=losses)
    plan = make_plan(losses=losses, model=model, optimizer={"learning_rate": 0.5})
    program, state = begin(plan)
    batch = make_batch(plan)
    for step in range(4):
        state, _ = program.step(state, batch, control_at(plan, step))
        assert float(state["params"]["losses"]["infonce"]["log_scale"]) <= np.log(100) + 1e-6


def test_the_norm_is_taken_before_clipping():
    free, clipped = plan_of(), plan_of(optimizer={"max_grad_norm": 0.01})
    norms = {}
    for name, plan in {"free": free, "clipped": clipped}.items():
        program, state = begin(plan)
        state, metrics = program.step(state, make_batch(plan), control_at(plan, 0))
        moment = jax.tree.leaves(state["optimizer"]["first"])
        norms[name] = (
            float(metrics["grad_norm"]),
            float(jnp.sqrt(sum(jnp.sum(x**2) for x in moment)) / (1 - plan.optimizer.beta1)),
        )
    assert norms["free"][0] == norms["clipped"][0]
    np.testing.assert_allclose(norms["free"][1], norms["free"][0], rtol=1e-5)
    np.testing.assert_allclose(norms["clipped"][1], 0.01, rtol=1e-4)


def test_a_step_waits_for_nothing_and_uses_up_what_it_carries():
    plan = norms_only()
    program, state = begin(plan)
    batch, control = make_batch(plan), control_at(plan, 0)
    with jax.transfer_guard("disallow"):
        new, _ = program.step(state, batch, control)
    assert all(x.is_deleted() for x in jax.tree.leaves([state[p] for p in states.CARRIED]))
    assert new["frozen"] is state["frozen"]
    assert not any(x.is_deleted() for x in jax.tree.leaves(new["frozen"]))


def norms_only():
    model = plan_of().model
    norms = tuple(p.path for p in model.parameters if "norm" in p.path)
    return make_plan(model=model, segments=(make_segment(model, trained=norms),))


def test_what_is_frozen_does_not_move():
    plan = norms_only()
    program, state = begin(plan)
    before = jax.tree.map(np.array, states.parameters_of(state))
    state, _ = program.step(state, make_batch(plan), control_at(plan, 0))
    after = trees.flatten(states.parameters_of(state))
    for path, x in trees.flatten(before).items():
        assert np.array_equal(x, after[path]) == ("norm" not in path), path


def test_a_state_taken_out_and_put_back_goes_on_bit_for_bit():
    plan = plan_of(trained=True)
    program, state = begin(plan)
    batches = [make_batch(plan, seed) for seed in range(4)]
    saved = None
    for step, batch in enumerate(batches):
        if step == 2:
            saved = jax.tree.map(np.array, state)
        state, _ = program.step(state, batch, control_at(plan, step))
    again = build_program(plan)
    resumed = meshes.place_state(saved, meshes.data_mesh(plan))
    for step in (2, 3):
        resumed, _ = again.step(resumed, batches[step], control_at(plan, step))
    assert jax.tree.structure(resumed) == jax.tree.structure(state)
    for x, y in zip(jax.tree.leaves(resumed), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(x, y)


def test_init_and_enter_are_functions_of_their_arguments():
    plan = plan_of(trained=True)
    program = build_program(plan)
    first, second = (program.init(plan.seed) for _ in range(2))
    assert not jax.tree.leaves(first["params"])
    assert jax.tree.all(jax.tree.map(jnp.array_equal, first, second))
    other = program.init(plan.seed + 1)
    assert not jax.tree.all(jax.tree.map(jnp.array_equal, first, other))
    state = program.enter(0, first)
    found = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)
    abstract = states.abstract_state(plan, meshes.data_mesh(plan), 0)
    assert found == jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), abstract)


def curriculum(**second):
    """The norms first, then norms and token table; four steps each."""
    model = plan_of().model
    norms = tuple(p.path for p in model.parameters if "norm" in p.path)
    table = ("embeddings.token.embedding",)
    changes = {"trained": norms + table, "fresh": table} | second
    return make_plan(
        model=model,
        segments=(
            make_segment(model, trained=norms),
            make_segment(model, stage="two", first_step=4, stop_step=8, **changes),
        ),
    )


def after_first_stage(plan):
    program, state = begin(plan)
    for step in range(4):
        state, _ = program.step(state, make_batch(plan, step), control_at(plan, step))
    return program, state


def test_entering_keeps_what_goes_on_and_makes_fresh_what_starts():
    plan = curriculum()
    program, old = after_first_stage(plan)
    new = program.enter(1, old)
    segment = plan.segments[1]
    assert set(trees.flatten(new["params"])) == set(segment.trained)
    for part in states.MOMENTS:
        flat = trees.flatten(new["optimizer"][part])
        assert set(flat) == set(segment.trained)
        for path, x in flat.items():
            if path in segment.fresh:
                assert not np.any(x)
            else:
                np.testing.assert_array_equal(x, trees.lookup(old["optimizer"][part], path))
    counts = set(map(int, trees.flatten(new["optimizer"]["count"]).values()))
    assert counts == {0, 4}
    assert int(new["step"]) == 4
    whole, before = (trees.flatten(states.parameters_of(s)) for s in (new, old))
    assert all(np.array_equal(whole[p], before[p]) for p in before)


def test_a_reset_makes_all_fresh():
    plan = curriculum(reset_optimizer=True)
    program, old = after_first_stage(plan)
    moments = program.enter(1, old)["optimizer"]
    assert not any(np.any(x) for x in jax.tree.leaves(moments))


def test_a_leaf_that_starts_late_moves_by_the_rate_in_its_first_step():
    plan = curriculum()
    program, old = after_first_stage(plan)
    state = program.enter(1, old)
    before = jax.tree.map(np.array, state["params"])
    state, _ = program.step(state, make_batch(plan, 4), control_at(plan, 4))
    for path in plan.segments[1].fresh:
        moved = np.abs(trees.lookup(state["params"], path) - trees.lookup(before, path))
        assert np.median(moved) == pytest.approx(1e-3, rel=2e-2), path


def test_bad_states_are_refused():
    plan = curriculum(fresh=())
    program, old = after_first_stage(plan)
    with pytest.raises(RunError, match=r"embeddings\.token"):
        program.enter(1, old)
    plan = curriculum(trained=("nowhere",), fresh=("nowhere",))
    program, old = after_first_stage(plan)
    with pytest.raises(RunError, match="nowhere"):
        program.enter(1, old)


def test_batches_of_another_shape_are_refused():
    plan = plan_of(passes=2)
    program, state = begin(plan)
    half = jax.tree.map(lambda x: x[:1], make_batch(plan))
    with pytest.raises(ValueError, match=r"\(2, 8\)"):
        program.step(state, half, control_at(plan, 0))


def test_chunks_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match=r"micro_batch_size 3 does not divide train\.batch_size 8"):
        build_program(plan_of(micro=3))


def test_encode_takes_a_state_or_parameters_and_any_batch():
    plan = plan_of(trained=True)
    program, state = begin(plan)
    batch = make_batch(plan)
    ids, mask = batch.query_ids[0], batch.query_mask[0]
    found = program.encode(state, ids, mask)
    assert (found.shape, found.dtype) == ((8, 8), jnp.float32)
    loose = program.encode(states.parameters_of(state), ids, mask)
    np.testing.assert_array_equal(found, loose)
    assert program.traces.encoding == 1
    np.testing.assert_allclose(program.encode(state, ids[:3], mask[:3]), found[:3], atol=1e-6)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-3)
