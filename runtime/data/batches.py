"""Batches as a function of (plan, step): the same in any order of access, in any process, after any resume."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from specrun.runtime.data.content import Images
from specrun.runtime.data.layout import positive_lengths
from specrun.runtime.data.mixing import mixed
from specrun.runtime.data.order import epoch_order, select
from specrun.runtime.data.pseudo_rows import Widened, with_pseudo
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.texts import numbered
from specrun.runtime.data.tokens import Ragged, Tokens
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.data import TableSource
from specrun.spec.plan.losses import by_text
from specrun.spec.plan.plan import Plan


class Batch(NamedTuple):
    """One optimizer batch: A passes of B rows. Rows of weight 0 fill up a short one.

    Filling rows repeat the batch's first row, so that everything computed of them is finite. Absent
    negatives are one token of padding, or some image, with weight 0. Ids of a side that is an image are its pixels,
    uint8 [A, B, H, W, 3] with a mask [A, B, 1]; those of a text and an image together are ``content.Both``. Without any negative, label or score in
    the training rows their arrays are None; N is the most negatives of a training row. The embeddings
    of a teacher are there where the plan has one, W is their width.
    """

    query_ids: Any  # int32 [A, B, Sq]
    query_mask: np.ndarray  # bool [A, B, Sq]
    positive_ids: Any  # int32 [A, B, Sp]; None where rows are texts
    positive_mask: np.ndarray | None  # bool [A, B, Sp]
    weight: np.ndarray  # float32 [A, B]
    row: np.ndarray  # uint32 [A, B], index of the training row
    negative_ids: Any = None  # int32 [A, B, N, Sp]
    negative_mask: np.ndarray | None = None  # bool [A, B, N, Sp]
    negative_weight: np.ndarray | None = None  # float32 [A, B, N], 0 is none, or a filling row
    label: np.ndarray | None = None  # int32 [A, B], -1 is a row without one
    score: np.ndarray | None = None  # float32 [A, B], NaN is a row without one
    negative_score: np.ndarray | None = None  # float32 [A, B, N], NaN is a negative without one
    teacher_query: np.ndarray | None = None  # float32 [A, B, W], of length 1
    teacher_positive: np.ndarray | None = None  # float32 [A, B, W]
    teacher_negatives: np.ndarray | None = None  # float32 [A, B, N, W]
    query_text: np.ndarray | None = None  # int32 [A, B], equal where texts normalise alike
    positive_text: np.ndarray | None = None  # int32 [A, B]
    negative_text: np.ndarray | None = None  # int32 [A, B, N], numbered as positives are
    target_ids: Any = None  # int32 [A, B, Sq], what stood there before tokens were hidden
    hidden: Any = None  # bool [A, B, Sq]
    rate: Any = None  # float32 [A, B], the share of hidden tokens that was meant


_Negatives = tuple[Any, np.ndarray | None, np.ndarray | None]


Taught = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]


class Teaching(Protocol):
    """A teacher's embeddings of the queries, positives and negatives of rows [A, B]; see ``runtime.teacher``."""

    def of(self, rows: np.ndarray, most: int, snapshot: np.ndarray | None) -> Taught: ...


class Batches:
    """The batches of a plan. Keeps the order of the epoch last asked for, which changes no answer.

    Where the plan mines negatives, those of a snapshot must be given first: see ``under``; and where the model adds
    texts to a segment's, these: see ``with_made``.
    """

    def __init__(self, plan: Plan, tokens: Tokens, rows: Rows, teaching: Teaching | None = None):
        self._plan, self._tokens, self._teaching = plan, tokens, teaching
        self._real = [select(rows.training, s.selection) for s in plan.segments]
        counts = [0 if s.pseudo is None else s.pseudo.count for s in plan.segments]
        self._chosen = [
            with_pseudo(real, len(rows.training), count)
            for real, count in zip(self._real, counts, strict=True)
        ]
        self._queries = [
            _widened(tokens.training.queries, real) if count else tokens.training.queries
            for real, count in zip(self._real, counts, strict=True)
        ]
        self._labels = rows.training.labels
        self._scores = _scores(plan, rows)
        self._negative_scores = rows.training.negative_scores
        self._texts = numbered(rows.training) if by_text(plan.losses) else None
        self._snapshot: np.ndarray | None = None
        self._positive_lengths = {
            mined: positive_lengths(tokens.training, mined) for mined in (False, True)
        }
        self._order: tuple[tuple[int, int], np.ndarray] | None = None
        self._traces = {
            (segment, trace.query_length, trace.positive_length): trace.name
            for trace in plan.traces
            for segment in trace.segments
        }
        for i, (segment, chosen) in enumerate(zip(plan.segments, self._real, strict=True)):
            if segment.rows != len(chosen):
                raise RunError(
                    f"segment {i} has {segment.rows} rows in the plan and {len(chosen)} in the data"
                )

    def under(self, snapshot: np.ndarray) -> Batches:
        """The same batches with mined negatives: int32 [rows, N], rows of which the positive is one, -1 for none."""
        made = copy(self)
        made._snapshot = snapshot
        return made

    def rows_of(self, segment: int) -> np.ndarray:
        """The training rows that a segment selects, without those that the model adds. int64 [rows]"""
        return self._real[segment]

    def with_made(self, segment: int, made: Ragged) -> Batches:
        """The same batches with the texts that the model made for a segment, as many as its plan says."""
        widened = self._queries[segment]
        assert isinstance(widened, Widened)  # the plan has them
        new = copy(self)
        new._queries = [*self._queries]
        new._queries[segment] = replace(widened, made=made)
        return new

    def at(self, step: int) -> tuple[str, Batch]:
        """The name of the trace that takes the 0-based global step, and its batch. RunError outside the plan."""
        rows, segment = self._rows_at(step)
        query, positive = self._bucket(rows, segment)
        name = self._traces.get((segment, query, positive))
        if name is None:
            raise RunError(f"the plan has no trace for step {step} at lengths {query}, {positive}")
        return name, self._batch(rows, query, positive, segment)

    def _rows_at(self, step: int) -> tuple[np.ndarray, int]:
        """The rows of a step, at most A·B of them, and its segment."""
        for index, segment in enumerate(self._plan.segments):
            if segment.first_step <= step < segment.stop_step:
                epoch, position = divmod(step - segment.first_step, segment.steps_per_epoch)
                size = self._plan.train.batch_size * self._plan.train.accumulation_steps
                order = self._epoch(index, epoch)
                return order[position * size : (position + 1) * size], index
        raise RunError(f"step {step} is outside the plan's {self._plan.train.total_steps} steps")

    def _epoch(self, segment: int, epoch: int) -> np.ndarray:
        known = self._order
        if known is None or known[0] != (segment, epoch):
            known = ((segment, epoch), self._order_of(segment, epoch))
            self._order = known
        return known[1]

    def _order_of(self, segment: int, epoch: int) -> np.ndarray:
        plan, train = self._plan, self._plan.train
        order = epoch_order(plan.seed, segment, epoch, self._chosen[segment])
        return mixed(
            order,
            self._real[segment - 1] if segment else np.arange(0),
            seed=plan.seed,
            segment=segment,
            epoch=epoch,
            transition_epochs=plan.segments[segment].transition_epochs,
            rows_per_step=train.batch_size * train.accumulation_steps,
            again=self._tokens.training.texts_only,
        )

    def _bucket(self, rows: np.ndarray, segment: int) -> tuple[int, int]:
        query = int(self._queries[segment].lengths_of(rows).max())
        lengths = self._positive_lengths[self._plan.mines_in(segment)]
        positive = 0 if self._tokens.training.texts_only else int(lengths[rows].max())
        for bucket in self._plan.train.buckets:
            if query <= bucket[0] and positive <= bucket[1]:
                return bucket
        raise RunError(f"no bucket of the plan fits lengths {query} and {positive}")

    def _batch(self, rows: np.ndarray, query: int, positive: int, segment: int) -> Batch:
        train = self._plan.train
        shape = (train.accumulation_steps, train.batch_size)
        weight = np.zeros(shape, np.float32)
        weight.reshape(-1)[: len(rows)] = 1
        filled = np.full(weight.size, rows[0])
        filled[: len(rows)] = rows
        index = filled.reshape(shape)
        split, pad = self._tokens.training, self._tokens.pad_id
        snapshot = self._snapshot_in(segment)
        most = self._plan.negatives_in(segment)
        return Batch(
            *self._queries[segment].gather(index, query, pad),
            *((None, None) if split.texts_only else split.positives.gather(index, positive, pad)),
            weight,
            index.astype(np.uint32),
            *self._negatives(index, weight, positive, most, snapshot),
            self._label(index, weight),
            None if self._scores is None else self._scores[index],
            self._scores_of_negatives(index),
            *self._taught(index, most, snapshot),
            *self._text_numbers(index, snapshot),
        )

    def _snapshot_in(self, segment: int) -> np.ndarray | None:
        """The mined negatives that the rows of a segment carry; None where they carry none."""
        if not self._plan.mines_in(segment):
            return None
        if self._snapshot is None:
            raise RunError("the plan mines negatives, and none are mined yet for this step")
        return self._snapshot

    def _negatives(
        self,
        index: np.ndarray,
        weight: np.ndarray,
        length: int,
        most: int,
        snapshot: np.ndarray | None,
    ) -> _Negatives:
        """Ids, mask and weight of the negatives of rows [A, B]; None where no training row has one."""
        split = self._tokens.training
        if snapshot is not None:
            chosen = snapshot[index]  # [A, B, N]
            chosen, there, texts = np.maximum(chosen, 0), chosen >= 0, split.positives
        elif split.negatives is None or not most:
            return None, None, None
        else:
            (chosen, there), texts = split.negatives.of(index, most), split.negatives.tokens
        ids, mask = texts.gather(chosen, length, self._tokens.pad_id)
        if not isinstance(texts, Images):
            absent = ~there[..., None]
            ids = np.where(absent, np.int32(self._tokens.pad_id), ids)
            mask = np.where(absent, np.arange(length) == 0, mask)
        return ids, mask, (there & (weight > 0)[..., None]).astype(np.float32)

    def _scores_of_negatives(self, index: np.ndarray) -> np.ndarray | None:
        """Of rows [A, B], NaN for absent negatives; None where no training row has any."""
        split, most = self._tokens.training, self._plan.data.negatives
        if self._negative_scores is None or split.negatives is None:
            return None
        chosen, there = split.negatives.of(index, most)
        return np.where(there, self._negative_scores[chosen], np.float32(np.nan))

    def _taught(self, index: np.ndarray, most: int, snapshot: np.ndarray | None) -> Taught:
        if self._teaching is None:
            return None, None, None
        return self._teaching.of(index, most, snapshot)

    def _text_numbers(self, index: np.ndarray, snapshot: np.ndarray | None) -> Taught:
        """Of queries, positives and negatives of rows [A, B]; None where no loss asks."""
        if self._texts is None:
            return None, None, None
        texts, split = self._texts, self._tokens.training
        negatives = None
        if snapshot is not None:
            negatives = texts.positives[np.maximum(snapshot[index], 0)]
        elif texts.negatives is not None and split.negatives is not None:
            chosen, _ = split.negatives.of(index, self._plan.data.negatives)
            negatives = texts.negatives[chosen]
        return texts.queries[index], texts.positives[index], negatives

    def _label(self, index: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        if self._labels is None:
            return None
        return np.where(weight > 0, self._labels[index], np.int32(-1))


def _widened(texts: Any, chosen: np.ndarray) -> Widened:
    return Widened(texts, int(texts.lengths[chosen].max(initial=0)))


def _scores(plan: Plan, rows: Rows) -> np.ndarray | None:
    """The score of every training row, float32 [rows]; None where none has one."""
    source = plan.data.source
    if not isinstance(source, TableSource) or source.score is None or not plan.data.scan.scores:
        return None
    return rows.training.fields[source.score].astype(np.float32)
