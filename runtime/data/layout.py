"""The steps of stages before there is a plan: how many, and how long their rows are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from specrun.runtime.data.difficulty import with_scores
from specrun.runtime.data.mixing import mixed
from specrun.runtime.data.order import epoch_order, longest, select, steps_per_epoch
from specrun.runtime.data.pseudo_rows import lengths_with_pseudo, with_pseudo
from specrun.runtime.data.scan import rows_of
from specrun.runtime.data.tokens import TokenSplit, tokens_of
from specrun.runtime.telling import Tell, silent
from specrun.spec.plan.data import RetrievalMode, Scan, TokenizerPlan
from specrun.spec.plan.segments import Selection, pseudo_count


class Request(Protocol):
    """A stage to lay out: which rows it takes, how many epochs of steps are wanted, and how many of them are of
    the transition from the stage before; and whether its negatives are mined."""

    @property
    def selection(self) -> Selection | None: ...
    @property
    def epochs(self) -> int: ...
    @property
    def transition_epochs(self) -> int: ...
    @property
    def mined(self) -> bool: ...
    @property
    def pseudo(self) -> tuple[float, int] | None: ...


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rows of a stage, steps of an epoch, and the (query, positive) tokens of each step's longest row.

    A row's negatives count as its positive side. ``pseudo`` texts that the model adds are as long as its longest row.
    """

    rows: int
    steps_per_epoch: int
    lengths: tuple[tuple[int, int], ...]
    pseudo: int = 0


def layout(
    *,
    scan: Scan,
    tokenizer: TokenizerPlan,
    max_query_length: int,
    max_positive_length: int,
    seed: int,
    batch_size: int,
    accumulation_steps: int,
    drop_last: bool,
    mode: RetrievalMode = "t2t",
    scores: str | None = None,
    stages: Sequence[Request],
    tell: Tell = silent,
) -> tuple[Layout, ...]:
    """What the compiler must know of the steps before there is a plan; stage i becomes segment i.

    ``scores`` is the digest of the rows' difficulty, where stages select by it.
    Mined negatives may be any training positives, so every step of a stage that takes some needs the longest.
    """
    rows = with_scores(rows_of(scan.rows_digest), scores)
    tokens = tokens_of(
        scan.rows_digest, tokenizer, max_query_length, max_positive_length, tell, mode=mode
    )
    per_step = batch_size * accumulation_steps
    found: list[Layout] = []
    before = np.arange(0)
    for segment, stage in enumerate(stages):
        real = select(rows.training, stage.selection)
        count = 0 if stage.pseudo is None else pseudo_count(len(real), *stage.pseudo)
        chosen = with_pseudo(real, len(rows.training), count)
        queries = lengths_with_pseudo(tokens.training.queries.lengths, real, count)
        positives = positive_lengths(tokens.training, stage.mined)
        if count:  # rows of texts have no other side
            positives = np.zeros(len(queries), np.int64)
        steps = steps_per_epoch(len(chosen), per_step, drop_last)
        lengths: list[tuple[int, int]] = []
        for epoch in range(stage.epochs if steps else 0):
            order = mixed(
                epoch_order(seed, segment, epoch, chosen),
                before,
                seed=seed,
                segment=segment,
                epoch=epoch,
                transition_epochs=stage.transition_epochs,
                rows_per_step=per_step,
                again=tokens.training.texts_only,
            )
            longest_query = longest(queries, order, per_step, steps).tolist()
            longest_positive = longest(positives, order, per_step, steps).tolist()
            lengths.extend(zip(longest_query, longest_positive, strict=True))
        found.append(
            Layout(rows=len(real), steps_per_epoch=steps, lengths=tuple(lengths), pseudo=count)
        )
        before = real
    return tuple(found)


def positive_lengths(split: TokenSplit, mined: bool) -> np.ndarray:
    """Tokens of the longest text that may stand on each row's positive side. int64 [rows]"""
    own = split.positive_lengths
    return np.full(len(own), own.max(initial=0)) if mined else own
