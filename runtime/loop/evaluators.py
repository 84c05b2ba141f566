"""The evaluation that a plan's objective asks for: retrieval of pairs, or hidden tokens of texts."""

from __future__ import annotations

from typing import assert_never

from specrun.runtime.data.rows import Rows, Split
from specrun.runtime.data.tokens import Tokens
from specrun.runtime.loop.evaluate import Evaluator, Measured, make_evaluator
from specrun.runtime.loop.evaluate_texts import TextEvaluator, Told, make_text_evaluator
from specrun.runtime.loop.worst import worst_of
from specrun.runtime.program.program import Program
from specrun.spec.plan.losses import hiding
from specrun.spec.plan.plan import Plan

Evaluating = Evaluator | TextEvaluator
Found = Measured | Told


def evaluator_of(plan: Plan, program: Program, rows: Rows, tokens: Tokens) -> Evaluating | None:
    """The plan's; None when it evaluates nothing."""
    make = make_evaluator if hiding(plan.losses) is None else make_text_evaluator
    return make(plan, program, rows, tokens)


def candidates_in(found: Found) -> int | None:
    """How many candidates each query was told from; None where nothing is ranked."""
    match found:
        case Measured():
            return len(found.candidates)
        case Told():
            return None
        case _:
            assert_never(found)


def worst_json(found: Found, split: Split, step: int) -> str:
    """The text of worst.json: what fared worst after ``step`` steps."""
    match found:
        case Measured():
            return worst_of(found, split, step)
        case Told():
            return found.worst(split, step)
        case _:
            assert_never(found)
