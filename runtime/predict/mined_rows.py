"""Rows that negatives are mined for, texts or images: read, embedded side by side, and written as ``data`` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from specrun.runtime.data.items import readable
from specrun.runtime.data.pictures import place_of
from specrun.runtime.data.rows import Split
from specrun.runtime.data.scan import ensure_rows, rows_of, scan, verify_inputs
from specrun.runtime.data.tables import as_table
from specrun.runtime.predict.corpus import FORMATS, read_pairs
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.telling import Tell
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import (
    BadRows,
    CsvSource,
    EmojiSource,
    ImageSource,
    PythonSource,
    RetrievalMode,
    Table,
    TableSource,
    TextSource,
    has_images,
)
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import Side


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Items of rows, as ``data.items`` has them. ``images`` says where images lie, ``names`` their paths by digest.

    ``own`` are the negatives that rows have already; ``bad`` are the rows left out.
    """

    queries: Sequence[str]
    positives: Sequence[str]
    own: Sequence[list[str]]
    labels: np.ndarray | None = None
    mode: RetrievalMode = "t2t"
    images: ImageSource | None = None
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    bad: tuple[BadRows, ...] = ()

    def embed(self, predictor: Predictor, items: list[str], side: Side, tell: Tell) -> np.ndarray:
        """Embeddings float32 [N, whole width] of queries or positives, not normalised."""
        letter = self.mode[0 if side == "query" else -1]
        if letter == "t":
            return predictor.embed(items, side=side, tell=tell)
        assert self.images is not None  # the mode has images
        both = [readable(item, self.names) for item in items]
        places = [place_of(self.images.root, name) for _, name in both]
        texts = [text for text, _ in both] if letter == "m" else None
        return predictor.embed_images(places, texts=texts, tell=tell)

    def query(self, row: int) -> dict[str, str]:
        """The columns of a row's query."""
        if self.mode[0] == "t":
            return {"query": self.queries[row]}
        text, name = readable(self.queries[row], self.names)
        return (
            {"query_image": name} if self.mode[0] == "i" else {"query": text, "query_image": name}
        )

    def shown(self, item: str) -> str:
        """A positive or a negative as its column has it: the text, or the image's path."""
        return readable(item, self.names)[1] if self.mode[-1] == "i" else item


def read_rows(predictor: Predictor, corpus: Path | None, tell: Tell) -> Pairs:
    """The training rows of the run, or those of a file. InputError for what cannot be read or used."""
    plan = predictor.trained.plan
    if plan is not None and has_images(plan.data.source):
        return _pictured(plan, corpus, tell)
    if corpus is not None:
        source = plan.data.source if plan else None
        own = (source.query, source.positive) if isinstance(source, TableSource) else None
        rows = read_pairs(corpus, own)
        return Pairs(
            queries=[r.query for r in rows],
            positives=[r.positive for r in rows],
            own=[[] for _ in rows],
        )
    if plan is None:
        raise InputError(
            f"{predictor.folder} is no run and has no rows of its own to mine for",
            code="corpus",
            hint="name a file of rows as the corpus",
        )
    return _of_split(ensure_rows(plan.data).training)


def _pictured(plan: Plan, corpus: Path | None, tell: Tell) -> Pairs:
    """Rows with images. A bad one is an error or left out, as the plan's data says."""
    source = as_table(plan.data.source)
    assert not isinstance(source, PythonSource | EmojiSource | TextSource)  # it has images
    if corpus is None:
        verify_inputs(plan.data)  # images are read from their files again
        split, bad = ensure_rows(plan.data).training, plan.data.scan.bad
    else:
        found = scan(_like(source, corpus), None, plan.data.bad_rows, tell)
        split, bad = rows_of(found.rows_digest).training, found.bad
    if not len(split):
        reasons = ", ".join(f"{b.count} × {b.reason}" for b in bad)
        raise InputError(f"{corpus} holds no row that can be used: {reasons or 'it is empty'}", code="corpus")  # fmt: skip
    return replace(
        _of_split(split), mode=source.retrieval_mode, images=source.images, names=split.images, bad=bad
    )  # fmt: skip


def _like(source: Table, path: Path) -> Table:
    """A file with the columns and images of the run's data, in the format that its ending names."""
    if path.suffix not in FORMATS:
        raise InputError(
            f"rows are a {', '.join(FORMATS)} file, found {path}",
            code="corpus",
            hint="check the path" if not path.exists() else "put the rows into a .jsonl file",
        )
    new = FORMATS[path.suffix](
        path=str(path.absolute()),
        query=source.query,
        query_image=source.query_image,
        positive=source.positive,
        negatives=source.negatives,
        label=source.label,
        retrieval_mode=source.retrieval_mode,
        images=source.images,
    )
    csv = isinstance(new, CsvSource) and isinstance(source, CsvSource)
    return replace(new, delimiter=source.delimiter) if csv else new  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]


def _of_split(split: Split) -> Pairs:
    lists = split.negatives
    return Pairs(
        queries=list(split.queries),
        positives=list(split.positives),
        own=[[] if lists is None else lists[row] for row in range(len(split))],
        labels=split.labels,
    )
