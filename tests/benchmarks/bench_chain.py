"""The chain of two specs on Python's own library: what mined negatives gain, with its uncertainty.

``python -m tests.benchmarks.bench_chain`` runs code-search-baseline.yaml, then code-search-hard-negatives.yaml from
its best parameters, and as a control the same second spec without mining. It prints MRR@10 of the final parameters
over the held-out queries, and the differences with a paired bootstrap interval: queries are drawn again, runs are not,
so it tells nothing of other seeds. ``--seeds 0 1 2`` repeats the chain.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import specrun
from specrun.runtime.data.relevance import relevance
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.metrics import top_k
from specrun.spec.plan.file import read_plan

EXAMPLES = Path(__file__).parents[2] / "configs" / "examples"
BASELINE, HARD = (EXAMPLES / f"code-search-{name}.yaml" for name in ("baseline", "hard-negatives"))
DEPTH = 10
DRAWS = 10_000
PLAIN = ("name=code-search-control", "data.negatives=null")
"""The second spec without mining: as long, as fast, from the same parameters."""


class Interval(NamedTuple):
    """A mean difference and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


class Chain(NamedTuple):
    """Reciprocal ranks of the held-out queries, [N] each, and the share of time that mining took."""

    baseline: np.ndarray
    control: np.ndarray
    hard: np.ndarray
    mining_share: float


def chain(*overrides: str, more: Sequence[str] = ()) -> Chain:
    """Run the three specs in the working directory; ``more`` overrides are for the second one alone."""
    first = specrun.run(specrun.compile(BASELINE, overrides=overrides))
    second = (*overrides, *more)
    hard = specrun.run(specrun.compile(HARD, overrides=second))
    control = specrun.run(specrun.compile(HARD, overrides=(*second, *PLAIN)))
    return Chain(
        reciprocal_ranks(first.folder, "best"),
        reciprocal_ranks(control.folder, "final"),
        reciprocal_ranks(hard.folder, "final"),
        float(hard.speed["mining_share"]),
    )


def reciprocal_ranks(folder: Path, which: str) -> np.ndarray:
    """1 / rank of the first relevant candidate within ``DEPTH``, else 0, of every held-out query. [N]"""
    held = ensure_rows(read_plan(folder / "plan.json").data).validation
    pairs = relevance(held)
    predictor = specrun.Predictor(folder, which=which)  # type: ignore[arg-type]
    queries = predictor.encode_query([held.queries[int(i)] for i in pairs.queries])
    candidates = predictor.encode_document([held.positives[int(i)] for i in pairs.candidates])
    _, found = top_k(queries, candidates, DEPTH)
    hits = np.stack([np.isin(row, list(w)) for row, w in zip(found, pairs.relevant, strict=True)])
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def paired(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Interval:
    """The mean gain with the 2.5 and 97.5 percentiles of its bootstrap means (Efron 1979)."""
    gains = after - before
    draws = np.random.default_rng(seed).integers(0, len(gains), (DRAWS, len(gains)))
    low, high = np.percentile(gains[draws].mean(axis=1), [2.5, 97.5])
    return Interval(float(gains.mean()), float(low), float(high))


def told(found: Chain) -> str:
    """The figures of a chain."""
    before = found.baseline.mean()
    gain, over = paired(found.baseline, found.hard), paired(found.control, found.hard)
    return "\n".join(
        [
            f"held-out queries   {len(found.baseline)}",
            f"baseline           mrr@10 {before:.4f}",
            f"control            mrr@10 {found.control.mean():.4f}",
            f"hard negatives     mrr@10 {found.hard.mean():.4f}",
            f"over the baseline  {gain}, {gain.mean / before:+.1%}",
            f"over the control   {over}, {over.mean / found.control.mean():+.1%}",
            f"mining             {found.mining_share:.1%} of training and mining",
        ]
    )


def main() -> None:
    """Print the chain of each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], help="override of both specs")
    parser.add_argument("--second", action="append", default=[], help="override of the second")
    options = parser.parse_args()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            found = chain(f"seed={seed}", *options.set, more=options.second)
            print(f"seed {seed}\n{told(found)}", flush=True)
            os.chdir("/")


if __name__ == "__main__":
    main()
