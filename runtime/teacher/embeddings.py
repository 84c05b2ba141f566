"""What a teacher says of the training texts: embedded once, kept in the cache, read through a memory map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.rows import Rows, map_array
from specrun.runtime.data.tokens import Negatives, Tokens
from specrun.runtime.loop.events import EventLog
from specrun.runtime.teacher.texts import BATCH_SIZE, embed_texts
from specrun.runtime.telling import Tell, silent
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.losses import TeacherPlan, teacher_of
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import Side

FORMAT = 1
TEACHER = "teacher"
"""Kind of the event."""

_KIND = "teachers"


@dataclass(frozen=True)
class Told:
    """A teacher's embeddings of the training texts, float32 of length 1, in the order of ``Rows``.

    ``negatives`` are those of all rows behind one another, None where no row has any. ``digest`` is
    of the numbers.
    """

    queries: np.ndarray  # [rows, W]
    positives: np.ndarray  # [rows, W]
    negatives: np.ndarray | None  # [all negatives, W]
    digest: str


def ensure_told(
    teacher: TeacherPlan,
    rows: Rows,
    between: Callable[[], None] = lambda: None,
    tell: Tell = silent,
) -> Told:
    """The embeddings, from the cache or made now; ``between`` is called before each batch.

    InputError when the teacher cannot be read; RunError when the cache cannot be written, or the
    teacher gives something else than numbers.
    """
    key = cache.digest_of(
        {
            "format": FORMAT,
            "files": [file.digest for file in teacher.files],
            "config": to_plain(teacher.config),
            "lengths": [teacher.max_query_length, teacher.max_positive_length],
            "rows": rows.digest,
            "batch_size": BATCH_SIZE,
            "device": [jax.devices()[0].platform, jax.devices()[0].device_kind, jax.__version__],
        }
    )
    folder = cache.make(_KIND, key, lambda to: _write(to, teacher, rows, between, tell))
    others = folder / "negatives.f32"
    return Told(
        queries=_read(folder / "queries.f32", teacher.width),
        positives=_read(folder / "positives.f32", teacher.width),
        negatives=_read(others, teacher.width) if others.exists() else None,
        digest="sha256:" + cache.file_digest(folder / cache.MANIFEST),
    )


def agree(told: Told, events: EventLog, step: int) -> None:
    """Write down what a run learns from, or see that it is what its earlier steps learned from.

    RunError when it is not.
    """
    event = events.find(TEACHER)
    if event is None and step == 0:
        events.record(TEACHER, 0, sha256=told.digest)
    elif event is None or event["sha256"] != told.digest:
        raise RunError(
            "the teacher's embeddings are not those that the earlier steps of this run learned from: "
            "they were made again on another device or by another version of jax. Go on where the "
            "run began, or remove the run's folder and start again"
        )


def _read(path: Path, width: int) -> np.ndarray:
    return map_array(path, "<f4").reshape(-1, width)


def _write(
    folder: Path, teacher: TeacherPlan, rows: Rows, between: Callable[[], None], tell: Tell
) -> None:
    training = rows.training
    texts: dict[str, tuple[Sequence[str], Side]] = {
        "queries": (training.queries, "query"),
        "positives": (training.positives, "positive"),
    }
    if training.negatives is not None:
        texts["negatives"] = (training.negatives.texts, "positive")
    found = embed_texts(teacher, texts, between, tell, "teaching, texts")
    for name, embeddings in found.items():
        embeddings.astype("<f4").tofile(folder / f"{name}.f32")


@dataclass(frozen=True)
class Teaching:
    """What is gathered for a batch: ``told``, and the numbering of explicit negatives."""

    told: Told
    negatives: Negatives | None

    def of(
        self, rows: np.ndarray, most: int, snapshot: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Embeddings of the queries, positives and negatives of rows [A, B]; absent negatives are any text.

        ``snapshot`` int32 [rows, N] are mined negatives, rows of which the positive is one.
        """
        told = self.told
        return told.queries[rows], told.positives[rows], self._negatives(rows, most, snapshot)

    def _negatives(
        self, rows: np.ndarray, most: int, snapshot: np.ndarray | None
    ) -> np.ndarray | None:
        if snapshot is not None:
            return self.told.positives[np.maximum(snapshot[rows], 0)]
        if self.negatives is None or not most:
            return None
        assert self.told.negatives is not None
        return self.told.negatives[self.negatives.of(rows, most)[0]]


def make_teaching(
    plan: Plan,
    rows: Rows,
    tokens: Tokens,
    between: Callable[[], None] = lambda: None,
    tell: Tell = silent,
) -> Teaching | None:
    """What the batches of a plan are given of its teacher; None where it has none. See ``ensure_told``."""
    teacher = teacher_of(plan.losses)
    if teacher is None:
        return None
    return Teaching(ensure_told(teacher, rows, between, tell), tokens.training.negatives)
