"""The networks of CLIP, SigLIP and ViT without torch: counts, padding, rows, layers, adapters, configurations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.activations import gelu, quick_gelu, tanh_gelu
from specrun.runtime.models.attention import attention
from specrun.runtime.models.clip import model as clip
from specrun.runtime.models.clip import table as clip_table
from specrun.runtime.models.clip.config import clip_config
from specrun.runtime.models.modules import Adapter
from specrun.runtime.models.patches import cut
from specrun.runtime.models.siglip.config import siglip_config
from specrun.runtime.models.siglip2.config import siglip2_config
from specrun.runtime.models.siglip2.model import Patches, shapes, valid
from specrun.runtime.models.vit import table as vit_table
from specrun.runtime.models.vit.config import vit_config
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.towers import Siglip2VisionConfig, TextShape
from tests.runtime.models.one_tower import OneTower, tower

BLOCKS = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
TEXT = {**BLOCKS, "vocab_size": 50, "max_position_embeddings": 9, "eos_token_id": 49}
IMAGE = {**BLOCKS, "image_size": 9, "patch_size": 4}
CLIP = {"model_type": "clip", "text_config": TEXT, "vision_config": IMAGE, "projection_dim": 6}
SIGLIP = {"model_type": "siglip", "text_config": TEXT, "vision_config": IMAGE}
SIGLIP2 = {
    "model_type": "siglip2",
    "text_config": TEXT,
    "vision_config": {**BLOCKS, "num_patches": 9, "patch_size": 2},
}
VIT = {"model_type": "vit", **IMAGE}

CONFIGS: dict[str, Any] = {
    "clip text": clip_config(CLIP)[0],
    "clip text, old end": dataclasses.replace(clip_config(CLIP)[0], eos_token_id=2),
    "clip images": clip_config(CLIP)[1],
    "clip images, no head": dataclasses.replace(clip_config(CLIP)[1], projection_dim=None),
    "siglip text": siglip_config(SIGLIP)[0],
    "siglip images": siglip_config(SIGLIP)[1],
    "siglip2 images": dataclasses.replace(siglip2_config(SIGLIP2)[1], max_num_patches=6),
    "vit": vit_config(VIT),
    "vit, mean, head": dataclasses.replace(
        vit_config(VIT, pooling="mean", projection_dim=6), final_layer_norm=False
    ),
    "vit without layers": dataclasses.replace(vit_config(VIT), num_hidden_layers=0),
}
ONE_OF_EACH = ("clip text", "clip images", "siglip text", "siglip images", "siglip2 images", "vit")


def batch(config: Any) -> tuple[Any, np.ndarray | None]:
    rng = np.random.default_rng(0)
    if isinstance(config, Siglip2VisionConfig):
        shape = np.array([[2, 3], [1, 1], [1, 6], [4, 1]], np.int32)
        pixels = rng.normal(size=(4, 6, 12)).astype(np.float32)
        return Patches(pixels, shape), np.asarray(valid(shape, 6))
    if not isinstance(config, TextShape):
        return rng.normal(size=(4, 9, 9, 3)).astype(np.float32), None
    length = np.array([7, 1, 4, 6])
    mask = np.arange(7)[None] < length[:, None]
    ids = rng.integers(2, 49, (4, 7))
    ids[np.arange(4), length - 1] = 49
    return np.where(mask, ids, 1).astype(np.int32), mask


def encoded(one: OneTower, keys: Any = None, **options: Any) -> np.ndarray:
    inputs, mask = batch(one.config)
    return np.asarray(one.encode(one.random(), inputs, mask, keys, **options))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_modules_equal_the_table(name: str):
    one = tower(CONFIGS[name])
    assert {r.path: r.shape for r in one.rows} == {k: v.shape for k, v in one.abstract.items()}
    inputs, mask = batch(one.config)
    shape = jax.eval_shape(lambda p: one.encode(p, inputs, mask), one.random())
    assert shape.shape == (4, one.config.embedding_dim)
    assert shape.dtype == jnp.float32


def size(*tables: Any) -> int:
    return sum(math.prod(row.shape) for table in tables for row in table)


def test_the_known_models_count_exactly():
    """CLIP B/32 and L/14, SigLIP base with the 2 numbers of its loss, ViT-B/16 without its pooler."""
    small = clip_config({"model_type": "clip"})
    assert size(*(tower(c).rows for c in small)) + 1 == 151_277_313
    large = clip_config(
        {
            "model_type": "clip",
            "projection_dim": 768,
            "text_config": {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_attention_heads": 12,
            },
            "vision_config": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "patch_size": 14,
            },
        }
    )
    assert size(*(tower(c).rows for c in large)) + 1 == 427_616_513
    assert [c.tokens for c in (small[1], large[1])] == [50, 257]
    sig = siglip_config({"model_type": "siglip"})
    assert size(*(tower(c).rows for c in sig)) + 2 == 203_155_970
    vit = vit_config({"model_type": "vit"})
    assert size(tower(vit).rows) == 85_798_656
    edge = siglip_config(
        {"model_type": "siglip", "vision_config": {"image_size": 384, "patch_size": 14}}
    )
    assert edge[1].tokens == 27 * 27


@pytest.mark.parametrize("name", ["clip text", "clip images", "siglip2 images", "vit"])
def test_grouping_remat_and_unroll_do_not_change_the_result(name: str):
    expected = encoded(tower(CONFIGS[name]))
    assert np.abs(expected).max() > 0.05
    other = encoded(tower(CONFIGS[name], cuts=(1,)), remat=True, unroll=2)
    np.testing.assert_allclose(other, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["clip text", "clip text, old end", "siglip text"])
def test_padding_never_touches_an_embedding(name: str):
    """SigLIP sees padding, so there it is the configuration's; the length of the batch is free everywhere."""
    one = tower(CONFIGS[name])
    params = one.random()
    ids, mask = batch(one.config)
    assert mask is not None
    expected = np.asarray(one.encode(params, ids, mask))
    free = not name.startswith("siglip")
    wide = np.pad(ids, ((0, 0), (0, 2)), constant_values=1)
    if free:
        wide = np.where(np.pad(mask, ((0, 0), (0, 2))), wide, 49)
    out = one.encode(params, wide, np.pad(mask, ((0, 0), (0, 2))))
    np.testing.assert_allclose(out, expected, atol=2e-6)
    out = one.encode(params, ids[1:2, :1], mask[1:2, :1])  # the text of one token
    np.testing.assert_allclose(out[0], expected[1], atol=2e-6)


def test_an_image_is_its_patches_and_not_what_fills_them_up():
    one = tower(CONFIGS["siglip2 images"])
    params = one.random()
    images, mask = batch(one.config)
    assert mask is not None
    expected = np.asarray(one.encode(params, images, mask))
    other = Patches(np.where(mask[..., None], images.pixels, 9), images.shape)
    np.testing.assert_array_equal(one.encode(params, other, mask), expected)
    turned = Patches(images.pixels, images.shape[:, ::-1])  # as many patches, other places
    moved = np.abs(np.asarray(one.encode(params, turned, mask)) - expected).max(axis=1)
    assert (moved[[0, 2, 3]] > 0.01).all()
    assert moved[1] == 0


def test_an_image_says_its_shape_in_the_last_row():
    content = np.zeros((4, 7, 4, 3), np.uint8)
    content[0, -1].reshape(-1)[:4] = 0, 3, 1, 2
    content[1, -1].reshape(-1)[:4] = 2, 0, 0, 1
    content[2, :-1] = 7
    found = np.asarray(shapes(jnp.asarray(content)))
    np.testing.assert_array_equal(found, [[3, 258], [512, 1], [1, 1], [1, 1]])


def test_patches_of_another_size_are_an_internal_error():
    one = tower(CONFIGS["siglip2 images"])
    wrong = Patches(jnp.zeros((2, 5, 12)), jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match=r"internal error: patches of shape .* takes \(6, 12\)"):
        jax.eval_shape(lambda p: one.encode(p, wrong, jnp.ones((2, 5), bool)), one.random())


def test_a_text_is_pooled_at_its_end():
    """The first place of the id, the greatest id in old configurations, and the first token where there is no end."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 16)).astype(np.float32))
    ids = np.array(
        [[3, 49, 7, 49, 1], [49, 3, 3, 3, 3], [3, 4, 48, 4, 49], [5, 6, 7, 8, 9]], np.int32
    )
    mask = np.ones((4, 5), bool)
    mask[2, 4:] = False
    for name, places in (("clip text", [1, 0, 0, 0]), ("clip text, old end", [1, 0, 2, 4])):
        ends = clip.TextEnds(CONFIGS[name])
        found = ends.pool(x, jnp.asarray(ids), jnp.asarray(mask))
        expected = ends.final_layer_norm(x[jnp.arange(4), jnp.array(places)])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["clip text", "siglip text"])
def test_embeddings_are_finite_even_for_a_row_without_tokens(name: str):
    one = tower(CONFIGS[name])
    ids, mask = batch(one.config)
    assert np.isfinite(one.encode(one.random(), ids, np.zeros_like(mask))).all()


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("clip text", "attention_probs_dropout_prob"),
        ("vit", "hidden_dropout_prob"),
        ("vit", "attention_probs_dropout_prob"),
    ],
)
def test_dropout_belongs_to_the_row(name: str, rate: str):
    one = tower(dataclasses.replace(CONFIGS[name], **{rate: 0.5}))
    params = one.random()
    inputs, mask = batch(one.config)
    keys = jax.random.split(jax.random.key(3), 4)
    whole = one.encode(params, inputs, mask, keys)
    assert np.abs(np.asarray(whole) - np.asarray(one.encode(params, inputs, mask))).max() > 0.05
    order = np.array([2, 0, 3, 1])
    turned = one.encode(params, inputs[order], None if mask is None else mask[order], keys[order])
    np.testing.assert_allclose(turned, np.asarray(whole)[order], atol=2e-6)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_matrix_of_a_layer_carries_an_adapter(name: str):
    """The same as the kernels with the adapters merged; without effect as long as B is zero."""
    config = CONFIGS[name]
    matrices = vit_table.MATRICES if name == "vit" else clip_table.MATRICES
    adapter = Adapter(rank=2, scale=1.5, dropout=0.0)
    one = tower(config, adapters=dict.fromkeys(matrices, adapter))
    leaves = one.unstacked(one.random())
    plain, merged, zero = {}, {}, {}
    for path, leaf in leaves.items():
        module, _, last = path.rpartition(".")
        zero[path] = np.zeros_like(leaf) if last == "lora_b" else leaf
        if last.startswith("lora"):
            continue
        a, b = leaves.get(f"{module}.lora_a"), leaves.get(f"{module}.lora_b")
        plain[path] = leaf
        merged[path] = leaf if last != "kernel" or a is None else leaf + 1.5 * a @ b
    assert sum(path.endswith("lora_a") for path in leaves) == 3 * len(matrices)
    inputs, mask = batch(config)
    bare = tower(config)
    adapted = one.encode(one.stacked(leaves), inputs, mask)
    expected = bare.encode(bare.stacked(merged), inputs, mask)
    np.testing.assert_allclose(adapted, expected, atol=2e-5)
    without = bare.encode(bare.stacked(plain), inputs, mask)
    np.testing.assert_allclose(one.encode(one.stacked(zero), inputs, mask), without, atol=2e-6)
    assert np.abs(np.asarray(adapted) - np.asarray(without)).max() > 0.05


@pytest.mark.parametrize("name", ["clip text", "siglip images", "vit"])
def test_bfloat16_stays_near(name: str):
    one = tower(CONFIGS[name])
    wide, narrow = encoded(one), encoded(one, compute="bfloat16")
    assert 0 < np.abs(wide - narrow).max() < 0.05 * np.abs(wide).max()


def test_patches_are_cut_row_by_row_and_what_is_left_is_dropped():
    image = np.arange(2 * 5 * 4 * 3).reshape(2, 5, 4, 3)
    found = np.asarray(cut(jnp.asarray(image), 2))
    assert found.shape == (2, 4, 12)
    np.testing.assert_array_equal(found[1, 2], image[1, 2:4, 0:2].reshape(-1))
    np.testing.assert_array_equal(found[0, 1], image[0, 0:2, 2:4].reshape(-1))


@pytest.mark.parametrize("name", ["clip images", "siglip images", "vit"])
@pytest.mark.parametrize("shape", [(4, 3, 9, 9), (4, 8, 9, 3), (4, 9, 9, 4)])
def test_images_of_another_shape_are_an_internal_error(name: str, shape: tuple[int, ...]):
    one = tower(CONFIGS[name])
    with pytest.raises(ValueError, match=r"internal error: images of shape .* takes \(9, 9, 3\)"):
        jax.eval_shape(lambda p: one.encode(p, jnp.zeros(shape), None), one.random())


def test_attention_takes_a_mask_of_every_pair_or_none():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 5, 2, 3)).astype(np.float32)) for _ in range(3))
    rows = jnp.asarray(np.arange(5)[None] < np.array([5, 3])[:, None])
    pairs = jnp.broadcast_to(rows[:, None], (2, 5, 5))
    expected = attention(q, k, v, rows)
    np.testing.assert_array_equal(attention(q, k, v, pairs), expected)
    every = jnp.ones((2, 5), bool)
    np.testing.assert_allclose(attention(q, k, v, None), attention(q, k, v, every), atol=1e-7)
    keys = jax.random.split(jax.random.key(0), 2)
    for mask, same in ((pairs, rows), (None, every)):
        found = attention(q, k, v, mask, rate=0.5, dropout_key=keys)
        np.testing.assert_array_equal(found, attention(q, k, v, same, rate=0.5, dropout_key=keys))


def test_quick_gelu_is_its_formula():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    np.testing.assert_allclose(quick_gelu(jnp.asarray(x)), x / (1 + np.exp(-1.702 * x)), atol=2e-6)
    assert quick_gelu(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16
    wide = jnp.asarray(x)
    slope = jax.grad(lambda v: jnp.sum(quick_gelu(v) * wide))(wide)
    plain = jax.grad(lambda v: jnp.sum(v * jax.nn.sigmoid(1.702 * v) * wide))(wide)
    np.testing.assert_allclose(slope, plain, atol=5e-6)
    assert clip.ACTIVATIONS.keys() == set(clip_table.ACTIVATIONS)


@pytest.mark.as_built
@pytest.mark.parametrize("activation", [gelu, quick_gelu, tanh_gelu])
def test_slopes_that_are_computed_again_are_those_of_the_formula(activation: Any):
    formulas = {
        gelu: lambda v: jax.nn.gelu(v, approximate=False),
        quick_gelu: lambda v: v * jax.nn.sigmoid(1.702 * v),
        tanh_gelu: lambda v: jax.nn.gelu(v, approximate=True),
    }
    x = jnp.linspace(-12, 12, 2001, dtype=jnp.float32)
    factor = jnp.cos(x)
    found, expected = (
        jax.grad(lambda v, f=f: jnp.sum(f(v) * factor))(x)
        for f in (activation, formulas[activation])
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    far = jnp.array([-1e6, -60.0, 60.0, 1e6], jnp.float32)
    slopes = jax.grad(lambda v: jnp.sum(activation(v)))(far)
    np.testing.assert_array_equal(slopes, [0, 0, 1, 1])


Change = tuple[Callable[[Any], Any], dict[str, Any], str]
FAULTS: dict[str, Change] = {
    "model_type": (
        clip_config,
        {**CLIP, "model_type": "clipseg"},
        r"model_type must be one of: clip; found 'clipseg'",
    ),
    "no model_type, another reader": (
        vit_config,
        CLIP,
        r"model_type must be one of: vit; found 'clip'",
    ),
    "images of any shape, another reader": (
        siglip_config,
        {**SIGLIP, "model_type": "siglip2"},
        r"model_type must be one of: siglip; found 'siglip2'",
    ),
    "images of one size, another reader": (
        siglip2_config,
        SIGLIP,
        r"model_type must be one of: siglip2; found 'siglip'",
    ),
    "positions that are no square": (
        siglip2_config,
        {**SIGLIP2, "vision_config": {**BLOCKS, "num_patches": 12}},
        r"num_patches must be a square number, found 12",
    ),
    "several faults of siglip2": (
        siglip2_config,
        {**SIGLIP2, "vision_config": {**BLOCKS, "vision_use_head": False, "num_channels": 1}},
        r"(?s)vision_use_head must be True.*num_channels must be 3",
    ),
    "a text as width": (
        clip_config,
        {**CLIP, "text_config": {**TEXT, "hidden_size": "16"}},
        r"text_config\.hidden_size must be a whole number from 1 to \d+, found '16'",
    ),
    "a fraction as width": (
        clip_config,
        {**CLIP, "projection_dim": 6.0},
        r"projection_dim must be a whole number",
    ),
    "no object": (
        clip_config,
        {**CLIP, "vision_config": [3]},
        r"vision_config must be an object, found \[3\]",
    ),
    "activation": (
        clip_config,
        {**CLIP, "vision_config": {**IMAGE, "hidden_act": "mish"}},
        r"vision_config\.hidden_act must be one of: quick_gelu.*found 'mish'",
    ),
    "oblong images": (
        clip_config,
        {**CLIP, "vision_config": {**IMAGE, "image_size": [224, 336]}},
        r"image_size must be one number of pixels, found \[224, 336\]",
    ),
    "patch wider than the image": (
        vit_config,
        {**VIT, "patch_size": 10},
        r"9 pixels holds no patch of 10",
    ),
    "grey images": (vit_config, {**VIT, "num_channels": 1}, r"num_channels must be 3, found 1"),
    "no biases": (vit_config, {**VIT, "qkv_bias": False}, r"qkv_bias must be True, found False"),
    "dropout": (
        vit_config,
        {**VIT, "hidden_dropout_prob": 1.0},
        r"hidden_dropout_prob must be a number from 0 to below 1, found 1\.0",
    ),
    "eps": (
        vit_config,
        {**VIT, "layer_norm_eps": float("nan")},
        r"layer_norm_eps must be a number above 0, found nan",
    ),
    "heads": (
        vit_config,
        {**VIT, "num_attention_heads": 3},
        r"num_attention_heads must divide hidden_size",
    ),
    "heads of a head": (
        siglip_config,
        {**SIGLIP, "vision_config": {**IMAGE, "num_hidden_layers": 0, "num_attention_heads": 3}},
        r"num_attention_heads must divide hidden_size",
    ),
    "several ends": (
        clip_config,
        {**CLIP, "text_config": {**TEXT, "eos_token_id": [1, 2]}},
        r"text_config\.eos_token_id must be a whole number from 0",
    ),
    "no pooling head": (
        siglip_config,
        {**SIGLIP, "vision_config": {**IMAGE, "vision_use_head": False}},
        r"vision_config\.vision_use_head must be True, found False",
    ),
    "widths apart": (
        siglip_config,
        {**SIGLIP, "text_config": {**TEXT, "projection_size": 8}},
        r"texts become vectors of 8 numbers and images of 16, which cannot be compared",
    ),
    "code": (
        clip_config,
        {**CLIP, "auto_map": {"AutoModel": "own.Model"}},
        r"auto_map names code that comes with the model, which is never run",
    ),
    "quantised": (
        clip_config,
        {**CLIP, "quantization_config": {"bits": 4}},
        r"quantization_config must be None",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_configuration_that_is_not_implemented_is_refused_by_name(fault: str):
    read, raw, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        read(raw)


def test_all_faults_of_a_configuration_come_at_once():
    raw = {
        **CLIP,
        "text_config": {**TEXT, "vocab_size": 0},
        "vision_config": {**IMAGE, "patch_size": None, "attention_dropout": True},
    }
    with pytest.raises(InputError) as caught:
        clip_config(raw)
    found = [d.message for d in caught.value.diagnostics]
    assert [m.partition(" must")[0] for m in found] == [
        "text_config.vocab_size",
        "vision_config.attention_dropout",
        "vision_config.patch_size",
    ]
    assert all(d.hint for d in caught.value.diagnostics)
