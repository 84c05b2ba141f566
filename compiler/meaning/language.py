"""Checks that a language model and the loss that trains one come together, and that nothing asks for embeddings."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.metrics import hides_tokens
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.losses import MaskedDiffusionLoss
from specrun.spec.words.model import (
    AutoModel,
    BertModel,
    MaskedLmModel,
    PretrainedModel,
    RobertaModel,
)

SCORING = (MaskedLmModel, BertModel, RobertaModel, AutoModel)
"""Models with a head that scores ids; of ``auto`` the directory decides."""

OF_EMBEDDINGS = (
    ("pooling", None),
    ("projection_dim", None),
    ("multi_vector", None),
    ("towers", "shared"),
)
"""What can be said of a model that embeds, with the value that says nothing."""


def objective_and_model_agree(spec: Experiment, report: Reporter) -> None:
    """Scores of ids are trained by the loss of hidden tokens, and by no other."""
    if hides_tokens(spec) and not isinstance(spec.model, SCORING):
        message = (
            f"`masked_diffusion` trains scores of ids, and `{spec.model.kind}` has no head for them"
        )
        hint = "write `kind: masked_lm` for a model from scratch, or `bert` or `roberta`"
        report.error(
            "model.kind", "no-vocabulary-head", message, hint=hint, related=("losses[0].kind",)
        )
    if not isinstance(spec.model, MaskedLmModel):
        return
    for index, loss in enumerate(spec.losses):
        if not isinstance(loss, MaskedDiffusionLoss):
            path = f"losses[{index}].kind"
            message = f"`{loss.kind}` compares embeddings, and `masked_lm` gives scores of ids"
            hint = "write `kind: masked_diffusion`, or a model of another kind"
            report.error(path, "no-embedding", message, hint=hint, related=("model.kind",))


def embeddings_are_asked_of_none(spec: Experiment, report: Reporter) -> None:
    """Under the loss of hidden tokens a model gives no embedding that could be pooled, projected or prompted."""
    model = spec.model
    if not hides_tokens(spec) or not isinstance(model, PretrainedModel):
        return
    given = [name for name, usual in OF_EMBEDDINGS if getattr(model, name) != usual]
    given += [f"prompts.{side}" for side in ("query", "positive") if getattr(model.prompts, side)]
    for name in given:
        message = f"`model.{name}` has no effect: `masked_diffusion` trains no embedding"
        report.error(f"model.{name}", "no-effect", message, hint="remove it", blame="key")


LANGUAGE_CHECKS: tuple[Callable[[Experiment, Reporter], None], ...] = (
    objective_and_model_agree,
    embeddings_are_asked_of_none,
)
