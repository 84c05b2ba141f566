"""One list of kinds: the schema's, the spec's, the plan's and the runtime's tables agree."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from specrun.runtime.losses import table as losses
from specrun.spec.annotations import fields_of
from specrun.spec.plan import data, networks, schedule, towers, tracking, training
from specrun.spec.plan import losses as plan_losses
from specrun.spec.words import data as words_data
from specrun.spec.words import image_models as words_image_models
from specrun.spec.words import losses as words_losses
from specrun.spec.words import model as words_model
from specrun.spec.words import optimizer as words_optimizer
from specrun.spec.words import text_image_models as words_text_image_models
from specrun.spec.words import text_models as words_text_models
from specrun.spec.words import tokenizer as words_tokenizer
from specrun.spec.words import tracking as words_tracking
from specrun.spec.words import validation as words_validation


def kinds(union: Any) -> set[str]:
    """The kinds of a union of dataclasses, or of one dataclass."""
    members = get_args(union) or (union,)
    return {get_args(fields_of(member)[0].type)[0] for member in members}


@pytest.mark.parametrize(
    ("of_the_spec", "of_the_plan"),
    [
        (words_text_models.Text, networks.TextConfig),
        (words_tokenizer.Tokenizer, data.TokenizerSource),
        (words_data.Data, data.Source),
        (words_validation.DatasetValidation, data.HeldOut),
        (words_losses.Loss, plan_losses.LossPlan),
        (words_optimizer.Optimizer, training.AdamWPlan),
        (words_optimizer.Schedule, schedule.Schedule),
        (words_tracking.Tracking, tracking.TrackerPlan),
    ],
    ids=["model", "tokenizer", "data", "validation", "losses", "optimizer", "schedule", "tracking"],
)
def test_spec_and_plan_have_the_same_kinds(of_the_spec: Any, of_the_plan: Any) -> None:
    assert kinds(of_the_spec) - {"auto"} == kinds(of_the_plan)


def test_two_networks_are_one_kind_of_the_plan() -> None:
    """Its networks are told apart within: those that words are read as, and those that only files have."""
    assert kinds(words_text_image_models.TextImage) == {"clip", "siglip", "composed"}
    assert kinds(networks.EncoderConfig) - kinds(networks.TextConfig) == {"text_image"}
    assert kinds(words_image_models.Image) - {"image_encoder"} <= kinds(towers.ImageTower)


def test_auto_is_a_word_of_the_spec_only() -> None:
    """A plan names the family that was decided on."""
    assert "auto" in kinds(words_model.Model)
    assert "auto" not in kinds(networks.EncoderConfig)


def test_every_loss_of_the_plan_is_in_the_runtime_table() -> None:
    """But the one that takes the model's head as well."""
    assert {*losses._TERMS, "masked_diffusion"} == kinds(plan_losses.LossPlan)
