"""The heads that score ids: BERT's and RoBERTa's as torch's recorded scores, ours by its table, none where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.models.vocabulary import logits_of
from specrun.spec.plan.model import MultiVectorPlan
from tests.runtime.models.tiny import bert_config, model_plan, text_config

GOLDEN = Path(__file__).parents[2] / "golden" / "models"
FLAVOURS = {
    "torch_head": "bert",
    "flax_head": "bert",
    "roberta_torch_head": "roberta",
    "roberta_flax_head": "roberta",
}
OUTPUT = 1e-5
"""Largest difference from torch in f32."""


def scores(config: Any, ids: np.ndarray, mask: np.ndarray, **settings: Any) -> np.ndarray:
    """f32 [B, S, V]"""
    late = MultiVectorPlan(width=config.hidden_size, reduce="mean", alone=True, head="projection")
    model = dataclasses.replace(model_plan(config, **settings), multi_vector=late)
    params = initial_parameters(model, 0)
    logits = logits_of(config)
    found = build_encoder(model).embed(params, ids, mask)
    assert logits is not None
    assert found.tokens is not None
    return np.asarray(logits(params, found.tokens.vectors))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_scores_are_torchs(flavour: str) -> None:
    """tests/golden/make_masked_lm.py recorded them."""
    family = FLAVOURS[flavour]
    found = inspect(GOLDEN / flavour)
    assert found.vocabulary_head == ()
    config = dataclasses.replace(found.config, pooling="none", vocabulary_head="tied")
    with np.load(GOLDEN / "expected_masked_lm.npz") as recorded:
        mask, ids = recorded["mask"], recorded[f"{family}_ids"]
        expected = recorded[f"{family}_scores"]
    ours = scores(config, ids, mask, weights=found.weights, new=False)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours[mask], expected[mask], atol=OUTPUT, rtol=OUTPUT)


@pytest.mark.parametrize("flavour", ["torch_safetensors", "xlmr_torch_head", "qwen3_torch"])
def test_a_directory_without_the_head_says_so(flavour: str) -> None:
    assert inspect(GOLDEN / flavour).vocabulary_head is None


@pytest.mark.parametrize("config", [text_config(), bert_config()])
def test_an_encoder_scores_nothing(config: Any) -> None:
    assert logits_of(config) is None


def test_a_tied_head_is_the_token_table() -> None:
    shapes: dict[str, Any] = {"pooling": "none", "num_hidden_layers": 1}
    ids = np.array([[3, 4, 5]], np.int32)
    mask = np.ones((1, 3), bool)
    tied = text_config(vocabulary_head="tied", **shapes)
    model = model_plan(tied)
    assert not [p for p in model.parameters if p.path.startswith("vocabulary")]
    assert scores(tied, ids, mask).shape == (1, 3, 50)
    own = model_plan(text_config(vocabulary_head="own", bias=False, **shapes))
    extra = [p.path for p in own.parameters if p not in model.parameters and "bias" not in p.path]
    assert extra == ["vocabulary.kernel"]
