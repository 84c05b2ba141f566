"""Checks that nothing is asked of embeddings where a language model has none."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.objective import hides_tokens
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.text_models import PretrainedModel

OF_EMBEDDINGS = (
    ("pooling", None),
    ("projection_dim", None),
    ("multi_vector", None),
    ("towers", "shared"),
)
"""What can be said of a model that embeds, with the value that says nothing."""


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
    embeddings_are_asked_of_none,
)
