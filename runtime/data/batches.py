"""Batches: pure functions of (seed, step), gathered whole by index, padded to the plan's lengths."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from specrun.runtime.data.order import (
    NOBODY,
    lengths_by_window,
    permutation,
    selected,
    window,
    windows,
)
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.scan import rows_of
from specrun.runtime.data.tokens import Ragged, Tokens, tokens_of
from specrun.spec.plan.data import Scan, TokenizerPlan
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.training import Selection

AHEAD = 2


class Batch(NamedTuple):
    """The rows of one optimizer step: A forward passes of B rows. Padding rows have weight 0 and one valid token."""

    query_ids: np.ndarray  # int32 [A, B, Sq]
    query_mask: np.ndarray  # bool [A, B, Sq]
    positive_ids: np.ndarray  # int32 [A, B, Sp]
    positive_mask: np.ndarray  # bool [A, B, Sp]
    weight: np.ndarray  # float32 [A, B]
    row: np.ndarray  # uint32 [A, B], index among the training rows


class Stage(Protocol):
    """What ``layout`` needs of a stage."""

    @property
    def selection(self) -> Selection | None: ...
    @property
    def epochs(self) -> int: ...


@dataclass(frozen=True)
class Layout:
    """Rows selected, steps of an epoch, and the (query, positive) tokens that each step needs."""

    rows: int
    steps_per_epoch: int
    lengths: tuple[tuple[int, int], ...]


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
    stages: tuple[Stage, ...],
) -> tuple[Layout, ...]:
    """What the compiler must know of the steps, from the very rows, tokens and orders that the run will use."""
    split = rows_of(scan.rows_digest).training
    tokens = tokens_of(scan.rows_digest, tokenizer, max_query_length, max_positive_length).training
    queries, positives = tokens.queries.lengths, tokens.positives.lengths
    size = batch_size * accumulation_steps
    found: list[Layout] = []
    for segment, stage in enumerate(stages):
        chosen = selected(split, stage.selection)
        steps = windows(len(chosen), size, drop_last)
        pairs: list[tuple[int, int]] = []
        for epoch in range(stage.epochs if steps else 0):
            order = chosen[permutation(len(chosen), seed, segment, epoch)]
            q, p = (lengths_by_window(x, order, size, steps) for x in (queries, positives))
            pairs += zip(q.tolist(), p.tolist(), strict=True)
        found.append(Layout(rows=len(chosen), steps_per_epoch=steps, lengths=tuple(pairs)))
    return tuple(found)


class Batches:
    """The batches of a plan. ``at(step)`` depends on the plan's seed and the step alone."""

    def __init__(self, plan: Plan, tokens: Tokens, rows: Rows):
        self._plan = plan
        self._tokens = tokens
        self._chosen = [selected(rows.training, s.selection) for s in plan.segments]
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def at(self, step: int) -> tuple[str, Batch]:
        """(name of the trace, batch) of a global 0-based step. IndexError outside the plan."""
        segment = self._segment(step)
        rows = self._rows(segment, step)
        query, positive, name = self._trace(segment, rows)
        return name, self._gather(rows, query, positive)

    def _segment(self, step: int) -> int:
        for index, segment in enumerate(self._plan.segments):
            if segment.first_step <= step < segment.stop_step:
                return index
        raise IndexError(f"the plan has no step {step}")

    def _rows(self, segment: int, step: int) -> np.ndarray:
        plan, train = self._plan.segments[segment], self._plan.train
        epoch, index = divmod(step - plan.first_step, plan.steps_per_epoch)
        return window(self._order(segment, epoch), index, train.batch_size * train.accumulation_steps)

    def _order(self, segment: int, epoch: int) -> np.ndarray:
        key = (segment, epoch)
        if key not in self._orders:
            chosen = self._chosen[segment]
            self._orders = {key: chosen[permutation(len(chosen), self._plan.seed, segment, epoch)]}
        return self._orders[key]

    def _trace(self, segment: int, rows: np.ndarray) -> tuple[int, int, str]:
        real = rows[rows != NOBODY]
        training = self._tokens.training
        q, p = (int(_lengths(x, real).max()) for x in (training.queries, training.positives))
        query, positive = next(b for b in self._plan.train.buckets if q <= b[0] and p <= b[1])
        names = set(self._plan.segments[segment].traces)
        name = next(
            t.name
            for t in self._plan.traces
            if t.name in names and (t.query_length, t.positive_length) == (query, positive)
        )
        return query, positive, name

    def _gather(self, rows: np.ndarray, query: int, positive: int) -> Batch:
        train, training = self._plan.train, self._tokens.training
        shape = (train.accumulation_steps, train.batch_size)
        there = rows != NOBODY
        index = np.where(there, rows, 0)
        sides = [
            _blank(*side.gather(index, length, self._tokens.pad_id), there, self._tokens.pad_id)
            for side, length in ((training.queries, query), (training.positives, positive))
        ]
        (query_ids, query_mask), (positive_ids, positive_mask) = (
            (ids.reshape(*shape, -1), mask.reshape(*shape, -1)) for ids, mask in sides
        )
        return Batch(
            query_ids=query_ids,
            query_mask=query_mask,
            positive_ids=positive_ids,
            positive_mask=positive_mask,
            weight=there.astype(np.float32).reshape(shape),
            row=index.astype(np.uint32).reshape(shape),
        )


def prefetch(batches: Batches, start: int, stop: int) -> Iterator[tuple[int, str, Batch]]:
    """(step, trace, batch) for ``start <= step < stop``, made ahead by a thread.

    What fails in the thread is raised here. Closing the generator stops the thread.
    """
    ready: queue.Queue[tuple[int, str, Batch] | BaseException | None] = queue.Queue(AHEAD)
    closed = threading.Event()

    def put(item: tuple[int, str, Batch] | BaseException | None) -> None:
        while not closed.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in range(start, stop):
                if closed.is_set():
                    return
                put((step, *batches.at(step)))
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="specrun-batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()


def _lengths(side: Ragged, rows: np.ndarray) -> np.ndarray:
    return side.offsets[rows + 1] - side.offsets[rows]


def _blank(ids: np.ndarray, mask: np.ndarray, there: np.ndarray, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Padding rows hold one padding token that counts as valid, so that nothing divides by zero."""
    ids[~there], mask[~there] = pad_id, False
    mask[~there, 0] = True
    return ids, mask
