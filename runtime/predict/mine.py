"""Hard negatives for rows, mined once with a trained encoder and written as JSONL."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specrun.runtime.data.split import normalise
from specrun.runtime.loop.folder import write_atomic
from specrun.runtime.mining.nearest import Backend, nearest, require_faiss
from specrun.runtime.mining.pool import choose, pool_of
from specrun.runtime.predict.mined_rows import Pairs, read_rows
from specrun.runtime.predict.predictor import Predictor
from specrun.runtime.predict.targets import check_file
from specrun.runtime.telling import Tell, silent
from specrun.runtime.vectors import normalised
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import BadRows


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which of the nearest texts become negatives: as `data.negatives` has it, with the same defaults.

    InputError for numbers that cannot be meant.
    """

    num_negatives: int = 4
    top_k: int = 50
    skip_top: int = 0
    relative_margin: float = 0.05
    backend: Backend = "exact"

    def __post_init__(self) -> None:
        for name, least in (("num_negatives", 1), ("top_k", 1), ("skip_top", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise _wrong(f"{name} must be a whole number from {least}, found {value!r}")
        if not 0 <= self.relative_margin < 1:
            raise _wrong(
                f"relative_margin must be from 0 to below 1, found {self.relative_margin!r}"
            )
        if self.num_negatives > self.top_k - self.skip_top:
            raise _wrong(
                f"num_negatives {self.num_negatives} is more than the "
                f"{max(self.top_k - self.skip_top, 0)} that top_k {self.top_k} less skip_top "
                f"{self.skip_top} leave"
            )
        if self.backend not in ("exact", "faiss"):
            raise _wrong(f"backend must be exact or faiss, found {self.backend!r}")


@dataclass(frozen=True, kw_only=True)
class Mined:
    """Rows written, negatives found for them in all, and rows for which there are none.

    ``bad`` are rows left out, by class; ``image_root`` is the folder of the images that the rows name.
    """

    rows: int
    negatives: int
    rows_without: int
    bad: tuple[BadRows, ...] = ()
    image_root: str | None = None


def mine(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    corpus: str | os.PathLike[str] | None = None,
    rule: Rule | None = None,
    tell: Tell = silent,
) -> Mined:
    """Write rows with the negatives that the encoder in ``folder`` finds, as JSONL, in one move.

    The rows are the training rows of the run, or those of ``corpus``, a file with the columns that the
    run's data has, else `query` and `positive`. A line is ``{"query", "positive", "negatives"}``, with
    ``"label"`` where the rows have labels; negatives that a row had already stand first. It is what
    ``data: {kind: jsonl, columns: {negatives: negatives}}`` reads. Of a run whose queries or positives are
    images, these are their paths below the run's ``image_root``, those of queries in ``"query_image"``; rows
    with a bad image are counted or an error, as its ``data.bad_rows`` says. InputError for input that cannot
    be used.
    """
    rule, target = rule or Rule(), Path(output)
    check_file(target, ".jsonl")
    if rule.backend == "faiss":
        require_faiss("backend")
    predictor = Predictor(folder)
    predictor.check_pooled()
    pairs = read_rows(predictor, None if corpus is None else Path(corpus), tell)
    if rule.top_k >= len(pairs.queries):
        raise _wrong(
            f"the {rule.top_k} nearest are looked at, and there are {len(pairs.queries)} rows",
            f"lower top_k to {len(pairs.queries) - 1} at most",
        )
    chosen = _search(predictor, pairs, rule, tell)
    content = "".join(_lines(pairs, chosen)).encode()
    try:
        write_atomic(target, content)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}", code="unwritable") from error
    counts = (chosen >= 0).sum(axis=1)
    return Mined(
        rows=len(chosen),
        negatives=int(counts.sum()),
        rows_without=int((counts == 0).sum()),
        bad=pairs.bad,
        image_root=None if pairs.images is None else pairs.images.root,
    )


def _search(predictor: Predictor, pairs: Pairs, rule: Rule, tell: Tell) -> np.ndarray:
    """The negatives of each row: int32 [rows, num_negatives] of rows, -1 for none."""
    pool = pool_of(pairs.queries, pairs.positives, pairs.labels)
    width = predictor.dimension
    asked = [pairs.queries[int(row)] for row in pool.queries]
    offered = [pairs.positives[int(row)] for row in pool.documents]
    queries = normalised(pairs.embed(predictor, asked, "query", tell), width)
    documents = normalised(pairs.embed(predictor, offered, "positive", tell), width)
    scores, found = nearest(queries, documents, pool.wanted(rule), rule.backend)
    own = np.einsum("nd,nd->n", queries[pool.query_of], documents[pool.document_of])
    return choose(pool, rule, scores, found, own)


def _lines(pairs: Pairs, chosen: np.ndarray) -> Iterator[str]:
    for row, found in enumerate(chosen.tolist()):
        negatives = _together(pairs.own[row], (pairs.positives[at] for at in found if at >= 0))
        line: dict[str, object] = {
            **pairs.query(row),
            "positive": pairs.shown(pairs.positives[row]),
            "negatives": [pairs.shown(item) for item in negatives],
        }
        if pairs.labels is not None and pairs.labels[row] >= 0:
            line["label"] = int(pairs.labels[row])
        yield json.dumps(line, ensure_ascii=False) + "\n"


def _together(own: list[str], mined: Iterable[str]) -> list[str]:
    """The row's own negatives, then the mined ones that are not among them."""
    known = {normalise(text) for text in own}
    return [*own, *(text for text in mined if normalise(text) not in known)]


def _wrong(message: str, hint: str = "") -> InputError:
    return InputError(message, code="mining-rule", hint=hint)
