"""Separate towers: with equal weights exactly the shared network, and gradients that add up to its gradient."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from specrun.runtime import trees
from specrun.runtime.adapters import lora as adapters
from specrun.runtime.adapters.peft import read_adapter, write_adapter
from specrun.runtime.losses import table as losses
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.towers import tower
from specrun.runtime.program.control import control_at
from specrun.runtime.program.gradients import Objective, loss_and_gradient, step_key
from specrun.runtime.program.program import build_program
from specrun.spec.plan.losses import MatryoshkaPlan
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import SIDES
from tests.runtime.models.tiny import bert_config, lora_plan, model_plan, text_config
from tests.runtime.plans import (
    make_batch,
    make_config,
    make_infonce,
    make_lora,
    make_model,
    make_plan,
    make_segment,
    separate,
)

MODELS = {
    "text": lambda: model_plan(text_config(hidden_dropout_prob=0.2)),
    "text in two groups": lambda: model_plan(text_config(), cuts=(1,)),
    "bag": lambda: model_plan(text_config(num_hidden_layers=0, projection_dim=6)),
    "bert": lambda: model_plan(bert_config(attention_probs_dropout_prob=0.1), new=True),
    "bert under LoRA": lambda: model_plan(
        bert_config(), lora=lora_plan(bert_config(), ["attention.self.query"]), new=True
    ),
}
GRADIENT = 1e-6
"""Largest difference, relative to the largest number of the shared gradient: rounding of one addition."""


def batch(rows: int = 4, length: int = 7) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (rows, length)).astype(np.int32)
    return ids, np.arange(length)[None] < rng.integers(1, length + 1, rows)[:, None]


def twice(tree: Any) -> Any:
    """A shared network's tree for both towers, which share no array."""
    return {side: jax.tree.map(np.array, tree) for side in SIDES}


# --- the encoder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_equal_towers_embed_as_the_shared_network(name: str):
    shared = MODELS[name]()
    both = build_encoder(separate(shared))
    params = initial_parameters(shared, 0)
    ids, mask = batch()
    keys = jax.random.split(jax.random.key(1), 4)
    for key in (None, keys):
        expected = build_encoder(shared).encode(params, ids, mask, key)
        for side in SIDES:
            found = both.encode(twice(params), ids, mask, key, side)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_the_tree_begins_with_the_sides(name: str):
    model = separate(MODELS[name]())
    found = {p: x.shape for p, x in trees.flatten(build_encoder(model).abstract).items()}
    assert found == {p.path: p.shape for p in model.parameters}
    assert {path.partition(".")[0] for path in found} == {"query", "positive"}


def test_new_towers_start_differently_and_each_as_its_path_says():
    model = separate(model_plan(text_config(), cuts=(1,)))
    first, again = initial_parameters(model, 3), initial_parameters(model, 3)
    regrouped = initial_parameters(separate(model_plan(text_config(), cuts=(1,))), 3)
    for path, leaf in trees.flatten(first).items():
        np.testing.assert_array_equal(leaf, trees.flatten(again)[path])
        np.testing.assert_array_equal(leaf, trees.flatten(regrouped)[path])
    query, positive = (trees.flatten(first[side]) for side in SIDES)
    for path in query:
        drawn = path.endswith((".kernel", ".embedding"))
        assert np.array_equal(query[path], positive[path]) != drawn, path


def test_a_side_must_be_named():
    model = separate(MODELS["bag"]())
    with pytest.raises(ValueError, match=r"internal error: .* none is named"):
        build_encoder(model).encode(initial_parameters(model, 0), *batch())


def test_a_tower_is_a_plan_of_its_own():
    shared = MODELS["bert under LoRA"]()
    for side in SIDES:
        found = tower(separate(shared), side)
        assert found.parameters == shared.parameters
        assert (found.groups, found.lora, found.towers) == (shared.groups, shared.lora, "shared")


# --- training --------------------------------------------------------------------------------------------------------


def plan_of(model: ModelPlan, **changes: Any) -> Plan:
    return make_plan(
        model=model,
        losses=(make_infonce(train_temperature=True),),
        matryoshka=MatryoshkaPlan(dims=(16, 8), weights=(1.0, 0.5), reduce="sum"),
        optimizer={"max_grad_norm": 0.0},
        **changes,
    )


def gradient(plan: Plan, params: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradient of the first step from ``params``."""
    encoder = build_encoder(plan.model, remat=plan.train.gradient_checkpointing)

    def encode(parameters: Any, *rows: Any, side: Any) -> Any:
        own = {name: part for name, part in parameters.items() if name != "losses"}
        return encoder.encode(own, *rows, side=side)

    chunks = plan.train.batch_size // plan.train.micro_batch_size
    objective = Objective(encode, losses.terms(plan), chunks)
    batch, weights = make_batch(plan), control_at(plan, 0)["loss_weights"]
    key = step_key(plan.seed, np.uint32(0), np.int32(0))
    value, slopes = jax.jit(lambda p: loss_and_gradient(objective, p, {}, batch, weights, key))(
        {**params, **trees.unflatten(losses.initial_parameters(plan))}
    )
    return float(value.loss), {p: np.asarray(x) for p, x in trees.flatten(slopes).items()}


def lively(params: Any) -> Any:
    """LoRA's second factors moved from 0, where half of the gradients vanish."""
    return trees.unflatten(
        {p: x + 0.3 if p.endswith("lora_b") else x for p, x in trees.flatten(params).items()}
    )


@pytest.mark.parametrize(
    ("lora", "train"),
    [
        pytest.param(True, {}, id="LoRA"),  # which trains everything, adapters and all
        pytest.param(False, {}, id="plain", marks=pytest.mark.slow),
        pytest.param(False, {"micro_batch_size": 2}, id="chunked", marks=pytest.mark.slow),
        pytest.param(
            False,
            {"accumulation_steps": 2, "gradient_checkpointing": True},
            id="accumulated",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_shared_gradient_is_the_sum_of_the_towers(lora: bool, train: dict[str, Any]):
    """Dropout is on: a row's keys depend on its side, and not on the towers."""
    terms = (make_infonce(train_temperature=True),)
    config = make_config(num_hidden_layers=1, attention_probs_dropout_prob=0.0)
    shared = make_model(config, lora=make_lora(config) if lora else None, losses=terms)
    params = lively(initial_parameters(shared, 7))
    loss, whole = gradient(plan_of(shared, train=train), params)
    again, parts = gradient(plan_of(separate(shared), train=train), twice(params))
    np.testing.assert_allclose(again, loss, rtol=1e-6)
    largest = max(np.abs(x).max() for x in whole.values())
    for path, slope in whole.items():
        if path.startswith("losses."):
            np.testing.assert_allclose(parts[path], slope, atol=GRADIENT * largest)
            continue
        query, positive = parts[f"query.{path}"], parts[f"positive.{path}"]
        assert np.abs(query).max() > 0, path
        assert np.abs(positive).max() > 0, path
        np.testing.assert_allclose(query + positive, slope, atol=GRADIENT * largest, err_msg=path)


def test_a_frozen_tower_stays_as_it_is():
    model = separate(make_model(make_config(num_hidden_layers=0)))
    trained = tuple(p.path for p in model.parameters if p.path.startswith("query."))
    plan = make_plan(model=model, segments=(make_segment(model, trained=trained),))
    program = build_program(plan)
    start = program.init(plan.seed)
    before = jax.tree.map(np.array, start["frozen"])
    state = program.enter(0, start)
    assert set(state["params"]) == {"query"}
    for step in range(2):
        state, _ = program.step(state, make_batch(plan, step), control_at(plan, step))
    for path, leaf in trees.flatten(before["positive"]).items():
        np.testing.assert_array_equal(trees.flatten(state["frozen"]["positive"])[path], leaf)
    moved = trees.flatten(state["params"]["query"])
    assert any((np.asarray(moved[p]) != x).any() for p, x in trees.flatten(before["query"]).items())


def test_the_program_embeds_each_side_with_its_tower():
    model = separate(make_model(losses=(make_infonce(),)))
    plan = make_plan(model=model, losses=(make_infonce(),))
    program = build_program(plan)
    state, ids = program.init(plan.seed), np.arange(24, dtype=np.int32).reshape(4, 6)
    mask = np.ones((4, 6), bool)
    found = {side: np.asarray(program.encode(state, ids, mask, side)) for side in SIDES}
    assert np.abs(found["query"] - found["positive"]).max() > 1e-3
    encoder = build_encoder(tower(model, "query"))
    alone = jax.jit(encoder.encode)(state["frozen"]["query"], ids, mask)
    np.testing.assert_allclose(found["query"], alone, atol=1e-6)
    assert program.traces.encoding == 2


def test_a_shared_network_compiles_one_function_for_both_sides():
    plan = make_plan()
    program = build_program(plan)
    state, ids = program.init(plan.seed), np.ones((4, 6), np.int32)
    for side in (None, *SIDES):
        program.encode(state, ids, ids > 0, side)
    assert program.traces.encoding == 1


# --- adapters --------------------------------------------------------------------------------------------------------


def adapted() -> tuple[ModelPlan, Any]:
    model = separate(MODELS["bert under LoRA"]())
    return model, lively(initial_parameters(model, 0))


def test_merged_towers_embed_as_unmerged_ones():
    model, params = adapted()
    ids, mask = batch()
    merged, plain = adapters.merge(params, model), adapters.plain(model)
    for side in SIDES:
        expected = build_encoder(model).encode(params, ids, mask, side=side)
        found = build_encoder(plain).encode(merged, ids, mask, side=side)
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_each_tower_has_a_peft_folder_of_its_own(tmp_path: Path):
    model, params = adapted()
    write_adapter(tmp_path, params, model)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["positive", "query"]
    read = trees.flatten(read_adapter(tmp_path, model))
    ours = trees.flatten(adapters.split(params)[1])
    assert read.keys() == ours.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(read[path], leaf, err_msg=path)


def test_a_tower_without_adapters_has_no_folder(tmp_path: Path):
    model, _ = adapted()
    assert model.lora is not None
    own = tuple(m for m in model.lora.matches if m.module.startswith("query."))
    parameters = tuple(
        p for p in model.parameters if p.path.startswith("query.") or "lora" not in p.path
    )
    groups = tuple(
        g if g.tower == "query" else dataclasses.replace(g, adapted=()) for g in model.groups
    )
    lora = dataclasses.replace(model.lora, matches=own)
    model = dataclasses.replace(model, lora=lora, parameters=parameters, groups=groups)
    params = initial_parameters(model, 0)
    write_adapter(tmp_path, params, model)
    assert [p.name for p in tmp_path.iterdir()] == ["query"]
    assert {p.partition(".")[0] for p in trees.flatten(read_adapter(tmp_path, model))} == {"query"}
    ids, mask = batch()
    assert np.isfinite(build_encoder(model).encode(params, ids, mask, side="positive")).all()
