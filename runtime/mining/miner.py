"""Mining in a run: which negatives hold at a step, from their file or found now."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from specrun.runtime.data.rows import Rows
from specrun.runtime.data.tokens import Tokens
from specrun.runtime.embedded import embedded
from specrun.runtime.loop.embed import embed
from specrun.runtime.loop.events import ADVANCE, EventLog
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.mining.nearest import nearest, require_faiss
from specrun.runtime.mining.pool import Pool, choose, pool_of
from specrun.runtime.mining.snapshots import (
    MINED,
    read_snapshot,
    snapshots,
    write_snapshot,
)
from specrun.runtime.program.program import Program
from specrun.runtime.telling import Counted, Tell, silent
from specrun.runtime.vectors import normalised
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.data import MiningPlan
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import Side


@dataclass
class Miner:
    """The negatives of a run that mines them. Makes no random draws."""

    plan: Plan
    rule: MiningPlan
    rows: Rows
    tokens: Tokens
    program: Program
    folder: RunFolder
    _held: tuple[int, np.ndarray] | None = field(default=None, init=False)

    def last(self, step: int, events: EventLog) -> int:
        """After how many steps the negatives of the 0-based ``step`` are mined.

        What was due in steps that a stage skipped, when it ended early, is due at the next stage's start.
        """
        due = self.rule.after[bisect_right(self.rule.after, step) - 1]
        for event in events.all(ADVANCE):
            if event["after"] <= due < event["to"]:
                due = event["to"]
        return due

    def stop(self, step: int) -> int:
        """The step at which the negatives of ``step`` end: the next mining, or the run's end."""
        later = bisect_right(self.rule.after, step)
        return (
            self.rule.after[later] if later < len(self.rule.after) else self.plan.train.total_steps
        )

    def known(self, step: int, events: EventLog) -> np.ndarray | None:
        """The snapshot that holds at ``step``, where it was mined before; None when it is due now.

        RunError when it is neither: the events and the step do not belong together.
        """
        due = self.last(step, events)
        if self._held is not None and self._held[0] == due:
            return self._held[1]
        event = events.find(MINED)
        if event is not None and event["after"] == due:
            shape = (len(self.rows.training), self.rule.num_negatives)
            self._held = (due, read_snapshot(self.folder, event, shape))
            return self._held[1]
        if due != step:
            raise RunError(
                f"events.jsonl tells of no negatives mined after step {due}, which step {step} needs. "
                "Put the file back, or remove the run's folder and start again"
            )
        return None

    def mine(
        self,
        step: int,
        state: Any,
        events: EventLog,
        between: Callable[[], None] = lambda: None,
        tell: Tell = silent,
    ) -> tuple[np.ndarray, float, int]:
        """Find the negatives with the weights of ``state``, write their file, then the event.

        The snapshot int32 [rows, N], negatives of a row on average, and rows that have none.
        """
        snapshot = self.search(state, between, tell)
        name, digest = write_snapshot(self.folder, step, snapshot)
        counts = (snapshot >= 0).sum(axis=1)
        none = int((counts == 0).sum())
        events.record(
            MINED,
            step,
            file=name,
            sha256=digest,
            backend=self.rule.backend,
            negatives=int(counts.sum()),
            rows_without=none,
        )
        self._held = (step, snapshot)
        return snapshot, float(counts.mean()), none

    def search(
        self, state: Any, between: Callable[[], None] = lambda: None, tell: Tell = silent
    ) -> np.ndarray:
        """The negatives of every training row with the weights of ``state``. int32 [rows, N]"""
        pool, split = self._pool, self.tokens.training
        count = Counted("mining, texts", len(pool.queries) + len(pool.documents), tell)

        def batch() -> None:
            between()
            count.batch(self.rule.batch_size)

        queries = self._embed(state, "query", split.queries, pool.queries, batch)
        documents = self._embed(state, "positive", split.positives, pool.documents, batch)
        count.finish()
        device = min(state["step"].devices(), key=lambda d: d.id)
        scores, found = nearest(
            queries,
            documents,
            pool.wanted(self.rule),
            self.rule.backend,
            between=between,
            device=device,
        )
        own = np.einsum("nd,nd->n", queries[pool.query_of], documents[pool.document_of])
        return choose(pool, self.rule, scores, found, own)

    @cached_property
    def _pool(self) -> Pool:
        training = self.rows.training
        return pool_of(training.queries, training.positives, training.labels)

    def _embed(
        self,
        state: Any,
        side: Side,
        texts: Any,
        rows: np.ndarray,
        between: Callable[[], None],
    ) -> np.ndarray:
        """Embeddings float32 [n, D] of length 1."""
        data, width = self.plan.data, self.plan.model.embedding_dim
        found = embed(
            [texts[int(row)] for row in rows],
            lambda ids, mask: np.asarray(
                embedded(self.program.encode(state, ids, mask, side)).dense
            ),
            batch_size=self.rule.batch_size,
            longest=data.max_query_length if side == "query" else data.max_positive_length,
            pad_id=self.tokens.pad_id,
            width=width,
            between=between,
        )
        return normalised(found, width)


def make_miner(
    plan: Plan, program: Program, rows: Rows, tokens: Tokens, folder: RunFolder, events: EventLog
) -> Miner | None:
    """The miner of a plan, files of no event removed; None when the plan mines nothing."""
    if plan.data.mining is None:
        return None
    snapshots(folder).remove_unknown(events.events)
    return Miner(plan, plan.data.mining, rows, tokens, program, folder)


def verify_backend(plan: Plan) -> None:
    """InputError when the plan mines by FAISS, and it is not installed here."""
    if plan.data.mining is not None and plan.data.mining.backend == "faiss":
        require_faiss("data.negatives.backend")
