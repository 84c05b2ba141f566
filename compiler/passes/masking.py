"""What a masked language model adds to the plan: how many tokens each stage hides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specrun.spec.words.losses import Loss, MaskedDiffusionLoss

if TYPE_CHECKING:
    from specrun.spec.plan.training import MaskingRange


def hides(losses: tuple[Loss, ...]) -> bool:
    """Whether a loss hides tokens of texts."""
    return masked_loss(losses) is not None


def masked_loss(losses: tuple[Loss, ...]) -> MaskedDiffusionLoss | None:
    """The loss that hides tokens; None where none does."""
    return next((loss for loss in losses if isinstance(loss, MaskedDiffusionLoss)), None)


def masking_of(losses: tuple[Loss, ...], own: tuple[float, ...] | None) -> MaskingRange | None:
    """The shares that a stage hides: its own, or the loss's; None where no loss hides any."""
    loss = masked_loss(losses)
    if loss is None:
        return None
    from specrun.spec.plan.training import MaskingRange  # 10 ms that most specs need not pay

    rates = loss.masking_rate if own is None else own
    if len(rates) != 2:  # which the checks of meaning tell
        return None
    return MaskingRange(minimum=rates[0], maximum=rates[1])
