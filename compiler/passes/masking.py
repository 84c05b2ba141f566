"""What a masked language model adds to the plan: how many tokens each stage hides, and the texts it makes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specrun.compiler.objective import masked_loss

if TYPE_CHECKING:
    from specrun.compiler.draft import StageDraft
    from specrun.compiler.facts import StageLayout
    from specrun.spec.experiment import Experiment
    from specrun.spec.plan.generation import GenerationPlan
    from specrun.spec.plan.segments import MaskingRange, PseudoPlan


def masking_of(spec: Experiment, own: tuple[float, ...] | None) -> MaskingRange | None:
    """The shares that a stage hides: its own, or the loss's; None where no loss hides any."""
    loss = masked_loss(spec)
    if loss is None:
        return None
    from specrun.spec.plan.segments import MaskingRange  # 10 ms that most specs need not pay

    rates = loss.masking_rate if own is None else own
    if len(rates) != 2:  # which the checks of meaning tell
        return None
    return MaskingRange(minimum=rates[0], maximum=rates[1])


def pseudo_of(
    stage: StageDraft, layout: StageLayout, generation: GenerationPlan | None
) -> PseudoPlan | None:
    """The texts that the model adds to a stage's rows; None where it adds none."""
    words = stage.pseudo
    if words is None or generation is None or not layout.pseudo:
        return None
    from specrun.spec.plan.segments import PseudoPlan  # as for a range

    return PseudoPlan(
        count=layout.pseudo,
        hidden=(words.masking_rate[0], words.masking_rate[1]),
        words=(words.min_words, words.max_words),
        similarity=(words.similarity[0], words.similarity[1]),
        unique_words=words.min_unique_words,
        generation=generation,
    )
