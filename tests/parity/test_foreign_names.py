"""Every argument of the reference libraries, as installed, is a word of the spec or a known foreign name."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from specrun.compiler.check import homes_of
from specrun.compiler.foreign.table import FOREIGN, known_here
from specrun.spec.experiment import Experiment

pytestmark = pytest.mark.parity

NOT_USERS = {"model", "self", "kwargs", "modality", "do_not_call"}
"""Parameters that code passes and no one writes into a configuration."""


def unknown(names: set[str]) -> set[str]:
    own = set(homes_of(Experiment)) | NOT_USERS
    return {n for n in names - own if known_here(n, ()) is None}


def test_training_arguments() -> None:
    from transformers import TrainingArguments

    names = {f.name for f in dataclasses.fields(TrainingArguments)}
    assert len(names) > 80
    assert unknown(names) == set()


def test_sentence_transformer_training_arguments() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    names = {f.name for f in dataclasses.fields(SentenceTransformerTrainingArguments)}
    assert {"batch_sampler", "prompts"} <= names
    assert unknown(names) == set()


def test_lora_config() -> None:
    from peft import LoraConfig

    names = {f.name for f in dataclasses.fields(LoraConfig)}
    assert {"r", "lora_alpha", "use_dora"} <= names
    assert unknown(names) == set()


def test_losses_and_modules_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer, losses, models

    found: set[str] = set()
    for cls in (
        losses.MultipleNegativesRankingLoss,
        losses.CachedMultipleNegativesRankingLoss,
        losses.MatryoshkaLoss,
        losses.TripletLoss,
        losses.CoSENTLoss,
        losses.GISTEmbedLoss,
        losses.CachedGISTEmbedLoss,
        losses.ContrastiveLoss,
        losses.DistillKLDivLoss,
        models.Pooling,
        models.Transformer,
        models.Dense,
        SentenceTransformer,
    ):
        found |= set(inspect.signature(cls).parameters)
    assert len(found) > 40
    assert unknown(found) - {"init_weight", "init_bias"} == set()  # tensors


def test_nothing_foreign_is_our_own() -> None:
    assert not set(FOREIGN) & set(homes_of(Experiment))
