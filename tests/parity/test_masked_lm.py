"""Masked language models: ours from scratch against torch, and BERT's and RoBERTa's heads against transformers.

Scores of ids, cross-entropy at the same hidden tokens, and the gradient of every tensor.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.masked import cross_entropy
from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import rows
from specrun.runtime.models.vocabulary import logits_of
from specrun.runtime.predict.network_files import language_tensors
from specrun.spec.plan.model import ModelPlan, MultiVectorPlan
from specrun.spec.plan.networks import TextEncoderConfig
from tests.parity.scratch import batch, both_sides, dense, norm, states_in_torch
from tests.parity.test_bert import batch as bert_batch
from tests.runtime.models.tiny import model_plan, text_config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

OUTPUT = 1e-5
GRADIENT = 2e-5
"""Largest differences in f32: of scores of size about 1, and of gradients relative to the largest of the tensor."""

NOT_ASKED = -100
"""What transformers calls a token that no loss looks at."""


def language_model(config: Any, **settings: Any) -> ModelPlan:
    """The plan of a network that gives every token's state alone."""
    late = MultiVectorPlan(width=config.hidden_size, reduce="mean", alone=True, head="projection")
    return replace(model_plan(config, **settings), multi_vector=late)


def scores(model: ModelPlan, params: Any, ids: np.ndarray, mask: np.ndarray) -> jax.Array:
    """f32 [B, S, V]"""
    found = build_encoder(model).embed(params, ids, mask)
    logits = logits_of(model.config)
    assert found.tokens is not None
    assert logits is not None
    return logits(params, found.tokens.vectors)


def mean_at(found: jax.Array, targets: np.ndarray, hidden: np.ndarray) -> jax.Array:
    """Our loss: the mean over hidden tokens."""
    return (cross_entropy(found, targets, 0.0) * hidden).sum() / hidden.sum()


def hidden_of(mask: np.ndarray) -> np.ndarray:
    """A third of the tokens, and the first of every row."""
    some = np.random.default_rng(5).random(mask.shape) < 1 / 3
    some[:, 0] = True
    return some & mask


def assert_near(ours: np.ndarray, theirs: Any, name: str = "") -> None:
    other = np.zeros_like(ours) if theirs is None else theirs.detach().numpy()
    scale = max(1.0, float(np.abs(other).max()))
    np.testing.assert_allclose(ours / scale, other / scale, atol=GRADIENT, rtol=0, err_msg=name)


# --- from scratch ----------------------------------------------------------------------------------------------------

VARIANTS = list(
    product(
        ("swiglu", "gelu", "relu"),
        ("rmsnorm", "layernorm"),
        ("rotary", "learned", "sinusoidal"),
        ("own", "tied"),
    )
)


def in_torch(config: TextEncoderConfig, p: dict[str, Any], ids: Any, mask: Any) -> Any:
    """[B, S, V]"""
    x = states_in_torch(config, p, ids, mask)
    x = norm(x, p, "final_norm", config.layer_norm_eps, config.norm == "rmsnorm")
    if config.vocabulary_head == "tied":
        return x @ p["embeddings.token.embedding"].T
    return dense(x, p, "vocabulary")


@pytest.mark.parametrize(("act", "kind", "positions", "head"), VARIANTS)
@pytest.mark.parametrize("bias", [False, True])
def test_scores_equal_torch(act: Any, kind: Any, positions: Any, head: Any, bias: bool) -> None:
    config = text_config(
        num_hidden_layers=2,
        hidden_act=act,
        norm=kind,
        position_embedding=positions,
        vocabulary_head=head,
        bias=bias,
        pooling="none",
    )
    compare_scratch(config, gradients=positions == "rotary" and not bias)


def compare_scratch(config: TextEncoderConfig, *, gradients: bool) -> None:
    model = language_model(config)
    rng = np.random.default_rng(2)
    params, theirs = both_sides(model, rng)
    ids, mask = batch()
    hidden = hidden_of(mask)
    found = in_torch(config, theirs, torch.tensor(ids).long(), torch.tensor(mask))
    ours = scores(model, params, ids, mask)
    np.testing.assert_allclose(ours, found.detach().numpy(), atol=OUTPUT, rtol=OUTPUT)
    if not gradients:
        return
    labels = torch.tensor(np.where(hidden, ids, NOT_ASKED)).long()
    loss = torch.nn.functional.cross_entropy(found.flatten(0, 1), labels.flatten())
    loss.backward()
    value, gradient = jax.jit(
        jax.value_and_grad(lambda p: mean_at(scores(model, p, ids, mask), ids, hidden))
    )(params)
    np.testing.assert_allclose(value, loss.item(), atol=OUTPUT)
    for path, leaf in unstack(gradient, model.groups).items():
        assert_near(np.asarray(leaf), theirs[path].grad, path)


def test_smoothed_cross_entropy_equals_torch() -> None:
    rng = np.random.default_rng(0)
    found, targets = rng.normal(size=(7, 11)).astype(np.float32), rng.integers(0, 11, 7)
    for smoothing in (0.0, 0.1, 0.9):
        theirs = torch.nn.functional.cross_entropy(
            torch.tensor(found),
            torch.tensor(targets),
            reduction="none",
            label_smoothing=smoothing,
        )
        ours = cross_entropy(jnp.asarray(found), jnp.asarray(targets), smoothing)
        np.testing.assert_allclose(ours, theirs.numpy(), atol=OUTPUT)


# --- BERT's and RoBERTa's heads --------------------------------------------------------------------------------------

CLASSES = {
    "bert": "BertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "xlm-roberta": "XLMRobertaForMaskedLM",
    "camembert": "CamembertForMaskedLM",
}
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "bert, relu": ("bert", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    "bert, tanh gelu": ("bert", {"hidden_act": "gelu_new"}),
    "roberta": ("roberta", {}),
    "roberta, relu": ("roberta", {"hidden_act": "relu"}),
    "xlm-roberta": ("xlm-roberta", {}),
    "camembert": ("camembert", {}),
}


def make(folder: Path, model_type: str, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 20,
        "initializer_range": 0.2,
        "pad_token_id": 0 if model_type == "bert" else 1,
        "attn_implementation": "eager",
    }
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **{**values, **changes})
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():  # so that no bias is zero and no scale one
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def read(folder: Path) -> tuple[ModelPlan, Any]:
    """The plan of the directory's language model, its head read too, and its parameters."""
    found = inspect(folder)
    assert found.vocabulary_head == ()
    config = replace(found.config, pooling="none", vocabulary_head="tied")
    model = language_model(config, weights=found.weights, new=False)
    return model, initial_parameters(model, 0)


@pytest.mark.parametrize("name", HEADS)
def test_scores_loss_and_gradients_equal_transformers(tmp_path: Path, name: str) -> None:
    model_type, changes = HEADS[name]
    theirs = make(tmp_path, model_type, **changes)
    assert type(theirs).__name__ == CLASSES[model_type]
    model, params = read(tmp_path)
    ids, mask = bert_batch()
    if model_type != "bert":
        ids = np.where(mask, np.where(ids == 1, 7, ids), 1).astype(np.int32)
    hidden = hidden_of(mask)
    shown = np.where(hidden, 3, ids).astype(np.int32)
    labels = torch.tensor(np.where(hidden, ids, NOT_ASKED)).long()
    out = theirs(
        torch.tensor(shown).long(), attention_mask=torch.tensor(mask).float(), labels=labels
    )
    out.loss.backward()

    ours = np.asarray(scores(model, params, shown, mask))
    expected = out.logits.detach().numpy()
    np.testing.assert_allclose(ours[mask], expected[mask], atol=OUTPUT, rtol=OUTPUT)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda p: mean_at(scores(model, p, shown, mask), ids, hidden))
    )(params)
    np.testing.assert_allclose(value, out.loss.item(), atol=OUTPUT)
    named = language_tensors(unstack(gradient, model.groups), model.config)
    tensors = dict(theirs.named_parameters(remove_duplicate=False))
    assert named.keys() == {n for n in tensors if "decoder" not in n}
    pad = theirs.config.pad_token_id
    for tensor, leaf in named.items():
        other = tensors[tensor].grad
        if tensor.endswith("word_embeddings.weight"):  # whose row for padding torch's table leaves
            leaf, other = np.delete(leaf, pad, 0), other[torch.arange(60) != pad]
        assert_near(np.asarray(leaf), other, tensor)


@pytest.mark.parametrize("model_type", CLASSES)
def test_every_tensor_of_the_class_comes_back_under_its_name(
    tmp_path: Path, model_type: str
) -> None:
    theirs = make(tmp_path, model_type)
    model, params = read(tmp_path)
    written = language_tensors(
        {k: np.asarray(v) for k, v in unstack(params, model.groups).items()}, model.config
    )
    assert {row.path for row in rows(model.config)} >= {"vocabulary.bias"}
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    left = {k for k in state if k not in written}
    assert all("decoder" in k or k.endswith("position_ids") for k in left), left
    for name, tensor in written.items():
        assert tensor.tobytes() == state[name].tobytes(), name
