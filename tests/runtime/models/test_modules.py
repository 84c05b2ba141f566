"""Building blocks: binding by name, keys by row, unbiased dropout, stacks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.models.attention import attention, first_pool, last_pool, mean_pool
from specrun.runtime.models.bert import table
from specrun.runtime.models.bert.model import ACTIVATIONS
from specrun.runtime.models.modules import Adapter, Dense, Embedding, LayerNorm
from specrun.runtime.models.randomness import dropout, fork
from specrun.runtime.models.shells import Stack, bind, shell
from specrun.runtime.models.stacking import group_of
from specrun.runtime.trees import flatten, unflatten
from specrun.spec.plan.parameters import Group


def test_the_activations_of_table_and_model_are_the_same():
    assert set(table.ACTIVATIONS) == set(ACTIVATIONS)


def test_every_parameter_of_bert_has_a_name_in_files():
    from specrun.runtime.models.tables import rows
    from tests.runtime.models.tiny import bert_config

    paths = {row.path.replace("layers.0.", "layers.{i}.") for row in rows(bert_config())}
    named = {path for path, _ in table.NAMES}
    assert named == {path for path in paths if not path.startswith("layers.") or "{i}" in path}


class TestBind:
    module = shell(lambda: Dense(3, 2, adapter=Adapter(1, 1.0, 0.0)))
    tree: dict[str, Any] = {  # noqa: RUF012
        "kernel": jnp.ones((3, 2)),
        "bias": jnp.ones(2),
        "lora_a": jnp.ones((3, 1)),
        "lora_b": jnp.ones((1, 2)),
    }

    def test_order_does_not_matter(self):
        backwards = dict(reversed(self.tree.items()))
        out = bind(self.module, backwards)(jnp.ones((1, 3)))
        np.testing.assert_array_equal(out, [[7.0, 7.0]])

    def test_every_misfit_is_named(self):
        bad = {**self.tree, "other": jnp.ones(1), "bias": jnp.ones(3)}
        bad["lora_b"] = jnp.ones((1, 2), jnp.bfloat16)
        del bad["kernel"]
        with pytest.raises(ValueError, match="internal error") as caught:
            bind(self.module, bad)
        text = str(caught.value)
        assert "kernel is missing" in text
        assert "other is unexpected" in text
        assert "bias has shape (3,), expected (2,)" in text
        assert "lora_b is bfloat16, expected float32" in text

    def test_nothing_is_allocated(self):
        huge = shell(lambda: Embedding(2**40, 2**20))
        assert huge.abstract["embedding"].shape == (2**40, 2**20)


class TestKeys:
    keys = jax.random.split(jax.random.key(0), 5)

    def test_forks_are_distinct_and_belong_to_the_row(self):
        forked = fork(self.keys, 3)
        assert forked.shape == (3, 5)
        assert len(np.unique(jax.random.key_data(forked).reshape(15, -1), axis=0)) == 15
        some = fork(self.keys[2:4], 3)
        np.testing.assert_array_equal(
            jax.random.key_data(some), jax.random.key_data(forked[:, 2:4])
        )

    def test_a_single_key_forks_too(self):
        assert fork(jax.random.key(0), 3).shape == (3,)

    def test_evaluation_forks_into_evaluation(self):
        assert fork(None, 3) == (None, None, None)

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
    def test_dropout_keeps_its_share_and_the_mean(self, rate: float):
        out = np.asarray(dropout(jnp.ones((5, 20_000)), rate, self.keys))
        assert abs((out == 0).mean() - rate) < 0.01
        assert abs(out.mean() - 1) < 0.03
        assert len(np.unique(out)) == 2

    def test_dropout_of_nothing_is_the_identity(self):
        x = jnp.ones((5, 3))
        assert dropout(x, 0.0, self.keys) is x
        assert dropout(x, 0.5, None) is x
        assert dropout(x, 1e-10, self.keys) is x

    def test_dropout_of_nearly_everything_stays_finite(self):
        assert np.isfinite(dropout(jnp.ones((5, 99)), 1 - 1e-9, self.keys)).all()


def test_layer_norm_is_f32_for_any_input():
    module = shell(lambda: LayerNorm(8, 1e-5))
    layer = bind(module, {"scale": jnp.ones(8), "bias": jnp.zeros(8)})
    x = jnp.arange(8, dtype=jnp.bfloat16)[None]
    assert layer(x).dtype == jnp.float32
    assert np.isfinite(layer(jnp.zeros((1, 8)))).all()


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_attention_of_a_row_without_tokens_is_finite(rate: float):
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 4, 2, 8)) for i in range(3))
    mask = jnp.array([[True] * 4, [False] * 4])
    keys = jax.random.split(jax.random.key(9), 2)
    f = lambda q: attention(q, k, v, mask, rate=rate, dropout_key=keys).sum()  # noqa: E731
    assert np.isfinite(jax.grad(f)(q)).all()


@pytest.mark.parametrize("rate", [0.0, 1e-9])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_a_bias_is_added_to_the_logits(rate: float, compute: str):
    """On both paths: the rate of 1e-9 takes the one that drops, and drops nothing."""
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 4, 3, 8)) for i in range(3))
    bias = jax.random.normal(jax.random.key(5), (3, 4, 4))
    mask = jnp.array([[True] * 4, [True, True, False, False]])
    keys = jax.random.split(jax.random.key(9), 2)
    narrow = [x.astype(compute) for x in (q, k, v)]
    found = attention(*narrow, mask, bias=bias, rate=rate, dropout_key=keys)
    q, k, v = (x.astype(jnp.float32) for x in narrow)
    logits = jnp.einsum("BTNH,BSNH->BNTS", q, k) / 8**0.5 + bias
    shares = jax.nn.softmax(jnp.where(mask[:, None, None], logits, -jnp.inf))
    expected = jnp.einsum("BNTS,BSNH->BTNH", shares, v)
    assert found.dtype == compute
    atol = 2e-6 if compute == "float32" else 0.03
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=atol)
    if compute == "float32":
        plain = attention(*narrow, mask, rate=rate, dropout_key=keys)
        assert np.abs(plain - found).max() > 0.1


def test_pooling():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    mask = jnp.array([[True, True, False], [False] * 3])
    np.testing.assert_array_equal(mean_pool(x, mask), [[1, 2], [0, 0]])
    np.testing.assert_array_equal(first_pool(x, mask), [[0, 1], [6, 7]])
    np.testing.assert_array_equal(last_pool(x, mask), [[2, 3], [6, 7]])
    assert np.isfinite(jax.grad(lambda x: mean_pool(x, mask).sum())(x)).all()


@pytest.mark.parametrize("unroll", [1, 2, 9])
@pytest.mark.parametrize("remat", [False, True])
def test_a_stack_is_its_layers_one_after_the_other(unroll: int, remat: bool):
    class Half(Dense):
        def __call__(self, x: Any, key: Any = None) -> Any:
            return dropout(super().__call__(x), 0.5, key)

    layer = shell(lambda: Half(4, 4))
    kernels = jax.random.normal(jax.random.key(0), (3, 4, 4))
    tree = {"kernel": kernels, "bias": jnp.ones((3, 4))}
    x = jax.random.normal(jax.random.key(1), (2, 5, 4))
    keys = fork(jax.random.split(jax.random.key(2), 2), 3)
    stack = Stack(layer, 3, remat, unroll)
    assert stack.abstract["kernel"].shape == (3, 4, 4)
    for own in (None, keys):
        expected = x
        for i in range(3):
            one = bind(layer, {"kernel": kernels[i], "bias": tree["bias"][i]})
            expected = one(expected, key=None if own is None else own[i])
        np.testing.assert_allclose(stack(tree, x, keys=own), expected, rtol=2e-6, atol=2e-6)


def test_paths_and_trees():
    leaves = {"a.b.c": 1, "a.d": 2, "e": 3}
    assert flatten(unflatten(leaves)) == leaves
    for wrong in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        with pytest.raises(ValueError, match="path 'a"):
            unflatten(wrong)
    groups = (Group(first=0, count=2), Group(first=2, count=1))
    assert [group_of(groups, i) for i in range(3)] == [(0, 0), (0, 1), (1, 0)]
    with pytest.raises(ValueError, match="layer 3"):
        group_of(groups, 3)
