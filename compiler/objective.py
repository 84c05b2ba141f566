"""What the losses train: whether they hide tokens, and what an evaluation measures and chooses by where the spec leaves it open."""

from __future__ import annotations

from specrun.spec.experiment import Experiment
from specrun.spec.words.evaluation import Evaluation
from specrun.spec.words.losses import MaskedDiffusionLoss

OF_PAIRS = ("mrr@10", "ndcg@10", "recall@1", "recall@10")
OF_TEXTS = ("loss", "perplexity", "accuracy")
"""The whole list: of hidden tokens nothing else is measured."""

RATES = (0.15, 0.5, 0.85)
"""Shares hidden of held-out texts: little, half and most of a text."""


def masked_loss(spec: Experiment) -> MaskedDiffusionLoss | None:
    """The loss that hides tokens; None where none does."""
    return next((loss for loss in spec.losses if isinstance(loss, MaskedDiffusionLoss)), None)


def hides_tokens(spec: Experiment) -> bool:
    """Whether the objective is to tell hidden tokens, instead of finding one text by another."""
    return masked_loss(spec) is not None


def metrics_of(spec: Experiment, part: Evaluation) -> tuple[str, ...]:
    """What is measured."""
    return part.metrics or (OF_TEXTS if hides_tokens(spec) else OF_PAIRS)


def best_of(spec: Experiment, part: Evaluation) -> str:
    """The metric that chooses the best."""
    return part.select_best or ("loss" if hides_tokens(spec) else "mrr@10")


def rates_of(spec: Experiment, part: Evaluation) -> tuple[float, ...]:
    """Shares of held-out texts' tokens that are hidden."""
    return (part.masking_rates or RATES) if hides_tokens(spec) else ()
