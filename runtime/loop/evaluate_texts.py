"""Held-out texts with some of their tokens hidden: how well a masked language model tells them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from specrun.runtime.data.items import shortened
from specrun.runtime.data.rows import Rows, Split
from specrun.runtime.data.tokens import Tokens
from specrun.runtime.loop.embed import batches
from specrun.runtime.losses.algebra import given
from specrun.runtime.program.masking import counts
from specrun.runtime.program.program import Program
from specrun.runtime.telling import Counted, Tell, silent
from specrun.spec.plan.evaluation import EvaluationPlan
from specrun.spec.plan.plan import Plan

SHOWN = 10
"""Texts kept in worst.json."""

CHARACTERS = 600
"""Of a text that are kept."""


class Told(NamedTuple):
    """An evaluation: its metrics, and for each held-out text, over all rates, its loss and hidden tokens."""

    values: dict[str, float]
    loss: np.ndarray  # float64 [rows], sums of cross-entropies
    count: np.ndarray  # float64 [rows]

    def worst(self, split: Split, step: int) -> str:
        """The text of worst.json: the texts whose hidden tokens cost most on average, the dearest first."""
        mean = self.loss / np.maximum(self.count, 1)
        order = np.argsort(-mean, kind="stable")[:SHOWN]
        worst = [
            {
                "text": shortened(split.queries[int(row)], CHARACTERS),
                "place": split.places[int(row)],
                "loss": round(float(mean[row]), 4),
                "hidden": int(self.count[row]),
            }
            for row in order
        ]
        facts = {"step": step, "texts": len(mean), "worst": worst}
        return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True)
class TextEvaluator:
    """The plan's evaluation of a masked language model. What is hidden is a function of the plan alone."""

    plan: Plan
    policy: EvaluationPlan
    tokens: Tokens
    program: Program

    def measure(
        self,
        state: Any,
        between: Callable[[], None] = lambda: None,
        tell: Tell = silent,
    ) -> Told:
        """``loss`` and the like over the rates together, ``loss@0.5`` at one of several.

        ``loss`` is the mean over rates of the mean cross-entropy of hidden tokens, in nats and without label smoothing;
        ``perplexity`` its exponential; ``accuracy`` the mean over rates of the share whose greatest score is right.
        ``between`` is called before each batch; what it raises ends the evaluation.
        """
        texts = self.tokens.validation.queries
        rates = self.policy.masking_rates
        found = np.zeros((len(rates), 3, len(texts)))  # loss, right, count
        count = Counted("evaluating, texts", len(texts) * len(rates), tell)
        for index, rate in enumerate(rates):
            table = counts(rate, self.plan.data.max_query_length)
            for rows, ids, mask, numbers in held_out(self.plan, self.policy, self.tokens):
                between()
                scores = given(self.program.score_hidden)(state, ids, mask, numbers, table)
                for part, values in enumerate(scores):
                    found[index, part, rows] = np.asarray(values)[: len(rows)]
                count.batch(self.policy.batch_size)
        count.finish()
        return Told(self._metrics(found), found[:, 0].sum(axis=0), found[:, 2].sum(axis=0))

    def _metrics(self, found: np.ndarray) -> dict[str, float]:
        """From sums [rates, 3, rows]."""
        loss, right, count = found.sum(axis=2).T  # each [rates]
        hidden = np.maximum(count, 1)
        values = metrics_at(
            self.policy.masking_rates, {"loss": loss / hidden, "accuracy": right / hidden}
        )
        return {n: v for n, v in values.items() if n.partition("@")[0] in self.policy.metrics}


class HeldOut(NamedTuple):
    """A batch of held-out texts, of rows of one length."""

    rows: np.ndarray  # int [n], their numbers
    ids: np.ndarray  # int32 [B, S]
    mask: np.ndarray  # bool [B, S]
    numbers: np.ndarray  # uint32 [B], the rows and then 0


def held_out(plan: Plan, policy: EvaluationPlan, tokens: Tokens) -> Iterator[HeldOut]:
    """The batches of an evaluation, which decide with the plan's seed what is hidden."""
    texts = tokens.validation.queries
    rows_of = batches(
        [texts[row] for row in range(len(texts))],
        policy.batch_size,
        plan.data.max_query_length,
        tokens.pad_id,
    )
    for rows, ids, mask in rows_of:
        numbers = np.zeros(len(mask), np.uint32)
        numbers[: len(rows)] = rows
        yield HeldOut(rows, ids, mask, numbers)


def metrics_at(rates: Sequence[float], means: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Metrics by name from means over hidden tokens, each [rates]: of all rates, and at each of several.

    A ``loss`` gives its ``perplexity`` too.
    """
    values = _named("", {name: float(np.mean(of)) for name, of in means.items()})
    if len(rates) > 1:
        for index, rate in enumerate(rates):
            values |= _named(f"@{rate:g}", {name: float(of[index]) for name, of in means.items()})
    return values


def make_text_evaluator(
    plan: Plan, program: Program, rows: Rows, tokens: Tokens
) -> TextEvaluator | None:
    """The evaluator of a plan that hides tokens; None when the plan evaluates nothing."""
    del rows  # the tokens are all it takes
    if plan.evaluation is None:
        return None
    return TextEvaluator(plan, plan.evaluation, tokens, program)


def _named(suffix: str, means: Mapping[str, float]) -> dict[str, float]:
    found = {f"{name}{suffix}": value for name, value in means.items()}
    return found | {f"perplexity{suffix}": _perplexity(means["loss"])}


def _perplexity(loss: float) -> float:
    """The exponential; the greatest number where that is larger."""
    return math.exp(loss) if loss < 700 else math.exp(700)
