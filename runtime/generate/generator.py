"""Texts for prompts, by the language model of a trained run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specrun.runtime.generate.filler import BATCH_SIZE, Completion, Filler
from specrun.runtime.generate.options import with_options
from specrun.runtime.generate.prompts import rows_of
from specrun.runtime.predict.trained import Trained
from specrun.runtime.telling import Tell, silent
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.generation import GenerationPlan


class Generator:
    """Writes texts with a trained run's parameters."""

    def __init__(self, trained: Trained, parameters: Any, name: str):
        """``parameters`` are ``trained``'s, wherever they lie; ``name`` is the run's, for messages.

        InputError for a directory that no run has trained, and for a model that predicts no tokens.
        """
        if trained.plan is None:
            raise InputError(
                f"{name} is no run's folder, and only a run's plan says how its model writes",
                code="no-run",
                hint="train a run that starts from it, with `losses: [{kind: masked_diffusion}]`",
            )
        self.filler = Filler(trained.plan, trained.model, trained.tokenizer, name)
        if trained.plan.generation is None:
            raise InputError(
                f"the plan of {name} says nothing of how texts are written",
                code="plan-format",
                hint="compile the spec again with this version",
            )
        self.settings = trained.plan.generation
        self._parameters = parameters

    def with_options(self, options: Mapping[str, Any]) -> GenerationPlan:
        """The run's settings with ``options`` over them. InputError as ``options.with_options``."""
        return with_options(self.settings, options, self.filler.vocab_size, self.filler.longest)

    def write(
        self,
        prompts: Sequence[str],
        settings: GenerationPlan,
        *,
        seed: int,
        batch_size: int = BATCH_SIZE,
        tell: Tell = silent,
    ) -> list[list[Completion]]:
        """``num_return_sequences`` texts for each prompt.

        Other prompts do not change a text, as ``Filler.fill`` says. Prompts of the list that are equal count as one
        prompt of which more texts are wanted. InputError as ``prompts.rows_of`` and ``Filler.fill``.
        """
        _check_count("seed", seed, 0, 2**32 - 1)
        _check_count("batch_size", batch_size, 1, 1 << 20)
        each = settings.num_return_sequences
        tokenizer, mask_id = self.filler.tokenizer, self.filler.mask_id
        rows = rows_of(tokenizer, prompts, mask_id, settings.max_length, each)
        texts = self.filler.fill(
            self._parameters, rows, settings, seed=seed, batch_size=batch_size, tell=tell
        )
        return [texts[i : i + each] for i in range(0, len(texts), each)]


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InputError(
            f"{name} must be a whole number from {low} to {high}, found {value!r}",
            code="bad-option",
        )
