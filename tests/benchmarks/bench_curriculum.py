"""A curriculum by difficulty on Python's own library, with and without it: does easy first help?

``python -m tests.benchmarks.bench_curriculum --seeds 0 1 2`` runs curriculum-difficulty.yaml, and as controls the same
spec without stages for as many steps, and with the stages turned round, the hardest rows first. It prints MRR@10 of the final
parameters over the held-out queries, all of which every variant is measured on, and the differences with a paired
bootstrap interval, which tells nothing of other seeds; those are what ``--seeds`` is for.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import specrun
from tests.benchmarks.bench_chain import EXAMPLES, paired, reciprocal_ranks

SPEC = EXAMPLES / "curriculum-difficulty.yaml"
TURNED = (
    "curriculum={stages: [{name: hard, select: hard}, {name: most, select: {percentile: [33, 100]}}, "
    "{name: all, epochs: 3}]}"
)


def variants(*overrides: str) -> dict[str, np.ndarray]:
    """Reciprocal ranks [N] of the held-out queries by variant, each run in the working directory."""
    plan = specrun.compile(SPEC, overrides=overrides)
    steps = plan.train.total_steps
    plain = ("curriculum=null", "data.difficulty=null", "name=plain")
    plans = {
        "easy first": plan,
        "hard first": specrun.compile(SPEC, overrides=(*overrides, TURNED, "name=turned")),
        "no curriculum": specrun.compile(
            SPEC, overrides=(*overrides, *plain, f"train.max_steps={steps}")
        ),
    }
    found = dict[str, np.ndarray]()
    for name, made in plans.items():
        if made.train.total_steps != steps:
            raise AssertionError(f"{name} has {made.train.total_steps} steps, not {steps}")
        found[name] = reciprocal_ranks(Path(specrun.run(made).folder), "final")
    return found


def told(found: Mapping[str, np.ndarray]) -> str:
    """The figures of one seed."""
    base = found["no curriculum"]
    lines = [f"held-out queries  {len(base)}"]
    lines += [f"{name:16}  mrr@10 {ranks.mean():.4f}" for name, ranks in found.items()]
    lines += [
        f"{name:16}  {paired(base, ranks)} over no curriculum"
        for name, ranks in found.items()
        if ranks is not base
    ]
    return "\n".join(lines)


def main() -> None:
    """Print each seed's figures, then the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], help="override of all variants")
    options = parser.parse_args()
    means = dict[str, list[float]]()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            found = variants(f"seed={seed}", *options.set)
            print(f"seed {seed}\n{told(found)}", flush=True)
            os.chdir("/")
        for name, ranks in found.items():
            means.setdefault(name, []).append(float(ranks.mean()))
    for name, seeds in means.items():
        shown = ", ".join(f"{mean:.4f}" for mean in seeds)
        print(f"{name:16}  {np.mean(seeds):.4f} of seeds {shown}")


if __name__ == "__main__":
    main()
