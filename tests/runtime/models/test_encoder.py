"""The encoder: equal to the table, to itself under any grouping, free of NaN, with dropout by row."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.mpnet.model import buckets
from specrun.runtime.models.shells import bind
from specrun.runtime.models.stacking import stack, unstack
from specrun.runtime.models.tables import rows
from specrun.runtime.trees import flatten, unflatten
from specrun.spec.diagnostics import InputError
from tests.runtime.models.tiny import (
    bert_config,
    lora_plan,
    model_plan,
    modernbert_config,
    mpnet_config,
    qwen3_config,
    roberta_config,
    text_config,
)
from tests.runtime.quick import quick

CLOSE = 2e-6

CONFIGS = {
    "text": text_config(),
    "text without layers": text_config(num_hidden_layers=0),
    "text rotary": text_config(position_embedding="rotary", hidden_act="swiglu"),
    "text sinusoidal": text_config(
        position_embedding="sinusoidal", hidden_act="relu", norm="rmsnorm", bias=False
    ),
    "text bare": text_config(
        position_embedding="none", final_layer_norm=False, projection_dim=6, pooling="cls"
    ),
    "bert": bert_config(),
    "bert with head": bert_config(projection_dim=6, pooling="cls", hidden_act="gelu_new"),
    "bert without layers": bert_config(num_hidden_layers=0),
    "roberta": roberta_config(),
    "roberta with head": roberta_config(projection_dim=6, pad_token_id=0),
    "mpnet": mpnet_config(),
    "mpnet with head": mpnet_config(projection_dim=6, num_hidden_layers=2, pooling="last"),
    "text, last": text_config(pooling="last"),
    "qwen3": qwen3_config(),
    "qwen3 with head": qwen3_config(projection_dim=6, num_key_value_heads=1, pooling="mean"),
    "qwen3 without layers": qwen3_config(num_hidden_layers=0),
    "modernbert": modernbert_config(),
    "modernbert with biases and a head": modernbert_config(
        norm_bias=True, attention_bias=True, mlp_bias=True, projection_dim=6, pooling="cls"
    ),
    "modernbert without layers": modernbert_config(num_hidden_layers=0),
}
QUERY = {
    "text_encoder": "mlp.up",
    "mpnet": "attention.attn.q",
    "qwen3": "self_attn.k_proj",
    "modernbert": "attn.Wqkv",
}
"""A linear layer of the families that are not named as BERT's."""


RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def dropping(name: str, rate: float) -> Any:
    """A configuration with dropout: in the blocks, or on attention where that is all there is."""
    config = CONFIGS[name]
    has = {x.name for x in dataclasses.fields(config)}
    own = next(key for key in (RATES[0], "mlp_dropout", RATES[1]) if key in has)
    return dataclasses.replace(config, **{own: rate})


def batch(rows_: int = 4, length: int = 7, vocab: int = 50) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocab, (rows_, length)).astype(np.int32)
    mask = np.arange(length)[None] < rng.integers(1, length + 1, rows_)[:, None]
    return ids, mask


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("cuts", [(), (1,), (1, 2)])
@pytest.mark.parametrize("adapted", [None, "all", "middle"])
def test_the_modules_equal_the_table(name: str, cuts: tuple[int, ...], adapted: str | None):
    config = CONFIGS[name]
    if adapted and not config.num_hidden_layers:
        pytest.skip("without layers there is nothing to adapt")
    lora = None
    if adapted:
        module = QUERY.get(config.kind, "attention.self.query")
        lora = lora_plan(config, [module], layers=[1] if adapted == "middle" else None)
    model = model_plan(config, cuts=cuts, lora=lora, new=True)
    found = flatten(build_encoder(model).abstract)  # compares, too
    assert {p.path: p.shape for p in model.parameters} == {k: v.shape for k, v in found.items()}


def test_a_plan_that_differs_from_the_modules_is_an_internal_error():
    model = model_plan(text_config())
    wrong = dataclasses.replace(model.parameters[0], shape=(1, 1))
    with pytest.raises(ValueError, match=r"internal error.*embeddings\.token\.embedding has shape"):
        build_encoder(dataclasses.replace(model, parameters=(wrong, *model.parameters[1:])))


def test_the_encoder_of_the_systems_survey_counts_exactly():
    config = text_config(
        vocab_size=50257,
        hidden_size=768,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
    )
    assert sum(int(np.prod(row.shape)) for row in rows(config)) == 81_519_360
    model = model_plan(config)
    found = flatten(build_encoder(model).abstract)
    assert sum(int(np.prod(leaf.shape)) for leaf in found.values()) == 81_519_360


def test_all_mpnet_base_counts_exactly():
    """109,486,464 parameters, of which the pooler's are no part of an embedding."""
    config = mpnet_config(
        vocab_size=30527,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=514,
    )
    pooler = 768 * 768 + 768
    assert sum(int(np.prod(row.shape)) for row in rows(config)) == 109_486_464 - pooler


def test_qwen3_embedding_counts_exactly():
    """Qwen3-Embedding-0.6B: 595,776,512 parameters, of 28 blocks of 15,730,944."""
    config = qwen3_config(
        vocab_size=151669,
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
    )
    block = 1024 * (2048 + 2 * 1024) + 2048 * 1024 + 3 * 1024 * 3072 + 2 * 128 + 2 * 1024
    assert block == 15_730_944
    total = sum(int(np.prod(row.shape)) for row in rows(config))
    assert total == 28 * block + 151669 * 1024 + 1024 == 595_776_512


def test_a_token_of_qwen3_sees_nothing_behind_it():
    ids, whole = batch()[0], np.ones((4, 7), bool)
    other = np.concatenate([ids[:, :1], (ids[:, 1:] + 1) % 50], axis=1)
    last, first = (
        model_plan(qwen3_config(pooling=pooling), new=True) for pooling in ("last", "cls")
    )
    params = initial_parameters(last, 0)
    encode = quick(build_encoder(first).encode)
    np.testing.assert_allclose(encode(params, ids, whole), encode(params, other, whole), atol=CLOSE)
    encode = quick(build_encoder(last).encode)
    assert np.abs(encode(params, ids, whole) - encode(params, other, whole)).max() > 1e-2


def test_modernbert_base_counts_exactly():
    """ModernBERT-base: 149,014,272 parameters, those of its norms without biases among them."""
    config = modernbert_config(
        vocab_size=50368,
        hidden_size=768,
        num_hidden_layers=22,
        num_attention_heads=12,
        intermediate_size=1152,
    )
    block = 4 * 768 * 768 + 3 * 768 * 1152 + 2 * 768
    total = sum(int(np.prod(row.shape)) for row in rows(config))
    assert total == 22 * block - 768 + 50368 * 768 + 2 * 768 == 149_014_272


def test_a_local_layer_of_modernbert_sees_its_window_alone():
    """With one local layer the first token's embedding moves with the third token and not with the fourth."""
    ids, whole = batch()[0], np.ones((4, 7), bool)
    near, far = ids.copy(), ids.copy()
    near[:, 2], far[:, 3] = (ids[:, 2] + 1) % 50, (ids[:, 3] + 1) % 50

    def moved(global_layers: tuple[int, ...], other: np.ndarray) -> float:
        config = modernbert_config(num_hidden_layers=1, pooling="cls", global_layers=global_layers)
        model = model_plan(config, new=True)
        encode, params = quick(build_encoder(model).encode), initial_parameters(model, 0)
        return float(np.abs(encode(params, ids, whole) - encode(params, other, whole)).max())

    assert moved((), far) < CLOSE
    assert moved((), near) > 1e-3
    assert moved((0,), far) > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_are_finite_even_for_a_row_without_tokens(name: str):
    model = model_plan(CONFIGS[name], new=True)
    encoder = build_encoder(model)
    params = initial_parameters(model, 0)
    ids, mask = batch()
    mask[2] = False
    out = quick(encoder.encode)(params, ids, mask)
    assert out.shape == (4, model.embedding_dim)
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    "name", ["text", "text rotary", "bert", "roberta", "mpnet", "qwen3", "modernbert"]
)
def test_grouping_remat_and_unroll_do_not_change_the_result(name: str):
    config = dropping(name, 0.2)
    ids, mask = batch()
    keys = jax.random.split(jax.random.key(3), 4)
    whole = model_plan(config, new=True)
    base = quick(build_encoder(whole).encode)(initial_parameters(whole, 0), ids, mask, keys)
    for cuts in [(1,), (1, 2)]:
        model = model_plan(config, cuts=cuts, new=True)
        out = quick(build_encoder(model).encode)(initial_parameters(model, 0), ids, mask, keys)
        np.testing.assert_allclose(out, base, atol=CLOSE)
    varied = quick(build_encoder(whole, remat=True, unroll=2).encode)
    out = varied(initial_parameters(whole, 0), ids, mask, keys)
    np.testing.assert_allclose(out, base, atol=CLOSE)


@pytest.mark.parametrize(
    "name", ["text", "text rotary", "bert", "roberta", "mpnet", "qwen3", "modernbert"]
)
def test_remat_does_not_change_the_gradient(name: str):
    config = dropping(name, 0.2)
    model = model_plan(config, new=True)
    params = initial_parameters(model, 0)
    ids, mask = batch()
    keys = jax.random.split(jax.random.key(3), 4)

    def gradient(**options: Any) -> dict[str, Any]:
        encoder = build_encoder(model, **options)
        loss = lambda p: jnp.sum(encoder.encode(p, ids, mask, keys)[:, 0] ** 2)  # noqa: E731
        return flatten(quick(jax.grad(loss))(params))

    plain, remat = gradient(), gradient(remat=True, unroll=3)
    for path, leaf in plain.items():
        np.testing.assert_allclose(remat[path], leaf, rtol=1e-5, atol=1e-5, err_msg=path)


@pytest.mark.parametrize(
    "name", ["text", "text rotary", "text, last", "bert", "roberta", "mpnet", "qwen3"]
)
def test_padding_never_touches_an_embedding(name: str):
    model = model_plan(CONFIGS[name], new=True)
    encode, params = quick(build_encoder(model).encode), initial_parameters(model, 0)
    ids, mask = batch(length=5)
    other = np.where(mask, ids, 7).astype(np.int32)
    wide = np.pad(ids, ((0, 0), (0, 4)), constant_values=9)
    wide_mask = np.pad(mask, ((0, 0), (0, 4)))
    base = encode(params, ids, mask)
    np.testing.assert_allclose(encode(params, other, mask), base, atol=CLOSE)
    np.testing.assert_allclose(encode(params, wide, wide_mask), base, atol=CLOSE)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *product(["text", "text rotary", "bert", "roberta", "mpnet"], RATES),
        ("qwen3", "attention_probs_dropout_prob"),
        *product(["modernbert"], ["embedding_dropout", "mlp_dropout", RATES[1]]),
    ],
)
def test_dropout_belongs_to_the_row(name: str, rate: str):
    config = dataclasses.replace(CONFIGS[name], **{rate: 0.3})
    model = model_plan(config, new=True)
    encode, params = quick(build_encoder(model).encode), initial_parameters(model, 0)
    ids, mask = batch()
    keys = jax.random.split(jax.random.key(3), 4)
    whole = encode(params, ids, mask, keys)
    halves = [encode(params, ids[i : i + 2], mask[i : i + 2], keys[i : i + 2]) for i in (0, 2)]
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=CLOSE)
    evaluated = encode(params, ids, mask)
    assert np.abs(whole - evaluated).max() > 1e-3
    np.testing.assert_array_equal(encode(params, ids, mask), evaluated)


def test_without_any_dropout_keys_change_nothing():
    model = model_plan(text_config())
    encode, params = quick(build_encoder(model).encode), initial_parameters(model, 0)
    ids, mask = batch()
    keys = jax.random.split(jax.random.key(3), 4)
    np.testing.assert_array_equal(
        encode(params, ids, mask, keys),
        encode(params, ids, mask),
    )


def test_rows_longer_than_the_positions_are_refused():
    model = model_plan(text_config())
    ids, mask = batch(length=13)
    with pytest.raises(InputError, match="13 tokens long, but the model has 12 positions"):
        quick(build_encoder(model).encode)(initial_parameters(model, 0), ids, mask)
    free = model_plan(text_config(position_embedding="rotary"))
    assert np.isfinite(
        quick(build_encoder(free).encode)(initial_parameters(free, 0), ids, mask)
    ).all()


def test_roberta_counts_positions_behind_the_padding_id():
    """12 of 14 rows are positions of tokens; the padding id among the tokens is not counted."""
    model = model_plan(roberta_config(num_hidden_layers=0), new=True)
    params = initial_parameters(model, 0)
    encode = quick(build_encoder(model).encode)
    ids = np.full((1, 12), 7, np.int32)
    assert np.isfinite(encode(params, ids, ids > 0)).all()
    with pytest.raises(InputError, match="13 tokens long, but the model has 12 positions"):
        encode(params, np.full((1, 13), 7, np.int32), np.ones((1, 13), bool))

    leaves = flatten(params)
    table = leaves["embeddings.position_embeddings.embedding"]
    zeroed = {**leaves, "embeddings.position_embeddings.embedding": np.zeros_like(table)}
    marked = np.zeros_like(table)
    marked[[1, 2, 4]] = np.eye(3, table.shape[1])  # padding, the first and the third token
    one = unflatten({**zeroed, "embeddings.position_embeddings.embedding": marked})
    ids = np.array([[7, 8, 1, 9, 1]], np.int32)
    shell = build_encoder(model).ends
    x = bind(shell, one).embeddings.positions(ids)
    expected = marked[[2, 3, 1, 4, 1]][None]
    np.testing.assert_array_equal(x, expected)


def test_mpnets_buckets_are_one_each_up_to_eight_and_grow_behind():
    found = buckets(200)
    assert found.dtype == np.int32
    assert found[:8, 0].tolist() == list(range(8))  # keys before the query
    assert found[0, :8].tolist() == [0, *range(17, 24)]  # keys behind it
    assert [int(found[i, 0]) for i in (8, 11, 12, 16, 32, 64, 91, 128, 199)] == [
        *(8, 8, 9, 10, 12, 14, 15, 15, 15)
    ]
    assert int(found[0, 199]) == 31


def test_an_id_outside_the_table_is_not_taken_for_another():
    model = model_plan(text_config())
    ids, mask = batch()
    ids[0, 0] = 50
    out = quick(build_encoder(model).encode)(initial_parameters(model, 0), ids, mask)
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1:]).all()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"num_attention_heads": 5}, "16 / 5 is not whole"),
        ({"num_attention_heads": 16, "position_embedding": "rotary"}, "16 / 16 = 1 is odd"),
    ],
)
def test_impossible_heads_are_refused(changes: dict[str, Any], found: str):
    with pytest.raises(InputError, match=found):
        rows(text_config(**changes))
    rows(text_config(num_hidden_layers=0, **changes))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"num_key_value_heads": 3}, "4 / 3 is not whole"),
        ({"head_dim": 5}, "head_dim must be even, found 5"),
    ],
)
def test_impossible_heads_of_qwen3_are_refused(changes: dict[str, Any], found: str):
    with pytest.raises(InputError, match=found):
        rows(qwen3_config(**changes))


def test_the_start_depends_on_the_seed_and_the_path_only():
    config = text_config()
    whole, cut = model_plan(config), model_plan(config, cuts=(2,))
    first = unstack(initial_parameters(whole, 5), whole.groups)
    again = unstack(initial_parameters(cut, 5), cut.groups)
    other = unstack(initial_parameters(whole, 6), whole.groups)
    assert set(first) == {row.path for row in rows(config)}
    for path, leaf in first.items():
        np.testing.assert_array_equal(leaf, again[path])
    assert (np.asarray(first["layers.0.mlp.up.kernel"] != other["layers.0.mlp.up.kernel"])).any()
    assert (np.asarray(first["layers.0.mlp.up.kernel"] != first["layers.1.mlp.up.kernel"])).any()


def test_the_start_is_distributed_as_the_config_says():
    config = text_config(hidden_size=128, intermediate_size=512, initializer_range=0.02)
    lora = lora_plan(config, ["mlp.up"], rank=8)
    model = model_plan(config, lora=lora)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    kernel = np.asarray(leaves["layers.1.mlp.up.kernel"])
    assert abs(kernel.std() / 0.02 - 1) < 0.01
    assert abs(kernel.mean()) < 2e-4
    assert (np.asarray(leaves["layers.1.mlp.up.bias"]) == 0).all()
    assert (np.asarray(leaves["final_norm.scale"]) == 1).all()
    a = np.asarray(leaves["layers.1.mlp.up.lora_a"])
    bound = 128**-0.5
    assert np.abs(a).max() <= bound
    assert abs(a.std() / (bound / 3**0.5) - 1) < 0.05
    assert (np.asarray(leaves["layers.1.mlp.up.lora_b"]) == 0).all()


def test_stacking_and_unstacking_are_inverse():
    model = model_plan(text_config(), cuts=(1,))
    params = initial_parameters(model, 0)
    again = stack(unstack(params, model.groups), model.groups, np.stack)
    assert flatten(again).keys() == flatten(params).keys()
    for path, leaf in flatten(params).items():
        np.testing.assert_array_equal(flatten(again)[path], leaf)
