"""What gradient caching saves and costs: python -m tests.benchmarks.bench_gradient_cache [--rows 128] [--repeats 5]

First XLA's peak memory of whole training steps at batches of 16 384 and 262 144 rows: a small encoder
(four layers of width 128, 32 and 64 tokens), compiled from shapes alone, so nothing is run. Then, where
the environment of ``make parity`` is, seconds and peak memory of MiniLM's step on one batch: ours at
once, ours in chunks, and sentence-transformers' CachedMultipleNegativesRankingLoss in the same chunks,
each in a process of its own, asked in turn. Without that environment the second part is left out, and
the output says so. ``--timed-only``, ``--chunk`` and ``--repeats`` change that part. No test: times depend on the machine.

Last figures of the second part, two cores, 128 rows in chunks of 16, three rounds: ours in chunks takes 0.38 (0.34 to
0.44) of sentence-transformers' time, and 1.30 of ours at once; peak memory 1 412, 1 499 and 4 839 MB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from specrun.compiler.passes.steps import score_tile_rows
from specrun.runtime.aot import measure
from specrun.spec.words.train import Train
from tests.benchmarks.bench_step import WIDE
from tests.benchmarks.sides import Actions, Side, cores, in_turn, medians, paired
from tests.benchmarks.words import WORDS
from tests.minilm import find_minilm, minilm
from tests.runtime.plans import make_model, make_plan

LENGTH, CHUNK = 64, 16
SHAPES = ((16384, 16384), (16384, 256), (262144, 256))
"""Rows, and rows encoded at a time."""
SPEC = """\
version: 1
output_dir: run
model: {{kind: bert, name_or_path: {model}}}
data: {{kind: jsonl, path: {rows}, max_length: {{query: {length}, positive: {length}}}}}
losses: [{{kind: infonce, temperature: 0.05, symmetric: false}}]
train: {{batch_size: {batch}, max_steps: 4, gradient_cache: {{chunk_size: {chunk}}}}}
optimizer: {{kind: adamw, learning_rate: 2e-5}}
evaluation: null
"""


def main() -> None:
    options = _options()
    for rows, chunk in () if options.timed_only else SHAPES:
        print(json.dumps(compiled(rows, chunk)), flush=True)
    if find_minilm() is None or find_spec("torch") is None:
        print("no torch and MiniLM here: the comparison of times is left out (see `make parity`)")
        return
    with tempfile.TemporaryDirectory() as folder:
        for line in timed(Path(folder), options.rows, options.repeats, options.chunk):
            print(json.dumps(line), flush=True)


def compiled(rows: int, chunk: int, shape: Any = WIDE) -> dict[str, Any]:
    """XLA's figures for the step of one batch, in MiB."""
    tile = score_tile_rows(Train(batch_size=rows), rows)
    plan = make_plan(
        model=make_model(shape),
        train={
            "batch_size": rows,
            "micro_batch_size": chunk,
            "score_tile_rows": tile,
            "buckets": ((32, 64),),
        },
        evaluation=None,
    )
    [figures] = measure(plan).functions
    return {
        "rows": rows,
        "chunk_size": chunk,
        "score_tile_rows": tile,
        "peak_mib": round(figures.peak_bytes / 2**20, 1),
        "temporary_mib": round(figures.temporary_bytes / 2**20, 1),
        "arguments_mib": round(figures.argument_bytes / 2**20, 1),
        "compile_seconds": figures.compile_seconds,
    }


def timed(root: Path, rows: int, repeats: int, chunk: int = CHUNK) -> list[dict[str, Any]]:
    """Seconds of a step (median) and peak memory of each side, and ratios to sentence-transformers."""
    (root / "rows.jsonl").write_text(_texts(rows))
    sides = {
        "at once": Side(_ours, root, rows, rows),
        "chunked": Side(_ours, root, rows, chunk),
        "sentence-transformers": Side(_theirs, root, rows, chunk),
    }
    taken = in_turn(sides, "train", repeats)
    found = [
        {
            "side": name,
            "rows": rows,
            "chunk_size": rows if name == "at once" else chunk,
            "loss": round(side.ask("loss"), 4),
            **medians(taken[name]),
            "over_at_once": paired(taken[name], taken["at once"]),
            "over_sentence_transformers": paired(taken[name], taken["sentence-transformers"]),
            "peak_mb": side.ask("peak"),
        }
        for name, side in sides.items()
    ]
    for side in sides.values():
        side.close()
    return found


def _ours(root: Path, rows: int, chunk: int) -> Actions:
    import os

    from specrun.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # as the command ``specrun run`` does
    import jax

    from specrun.api import compile
    from specrun.runtime.data.batches import Batches
    from specrun.runtime.data.scan import ensure_rows
    from specrun.runtime.data.tokens import ensure_tokens
    from specrun.runtime.program.control import control_at
    from specrun.runtime.program.program import build_program

    os.environ["SPECRUN_CACHE"] = str(root / f"cache-{chunk}")
    paths = {"model": minilm(), "rows": root / "rows.jsonl"}
    plan = compile(SPEC.format(**paths, length=LENGTH, batch=rows, chunk=chunk))
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), ensure_rows(plan.data))
    batch = batches.at(0)[1]
    assert batch.query_mask.all()
    program = build_program(plan)
    held: dict[str, Any] = {"state": program.enter(0, program.init(plan.seed))}
    control = control_at(plan, 0)

    def step() -> None:
        held["state"], metrics = program.step(held["state"], batch, control)
        held["loss"] = float(metrics["loss"])
        jax.block_until_ready(held["state"])

    return {"train": step, "loss": lambda: held["loss"]}


def _theirs(root: Path, rows: int, chunk: int) -> Actions:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    torch.set_num_threads(cores())
    network = SentenceTransformer(str(minilm()), device="cpu")
    network.max_seq_length = LENGTH
    given = [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()[:rows]]
    sides = [network.preprocess([row[k] for row in given]) for k in ("query", "positive")]
    assert all(side["input_ids"].shape == (rows, LENGTH) for side in sides)
    loss = losses.CachedMultipleNegativesRankingLoss(network, scale=20.0, mini_batch_size=chunk)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-5, fused=True)

    held: dict[str, float] = {}

    def step() -> None:
        network.train()
        value = loss([dict(side) for side in sides], None)
        value.backward()
        held["loss"] = value.item()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {"train": step, "loss": lambda: held["loss"]}


def _texts(count: int) -> str:
    """Rows that differ and are longer than ``LENGTH`` tokens."""
    texts = [
        f"{i} " + " ".join(WORDS[(i * 7 + j * (i + 1)) % 10] for j in range(LENGTH))
        for i in range(count)
    ]
    pairs = ({"query": text, "positive": f"found {text}"} for text in texts)
    return "".join(json.dumps(row) + "\n" for row in pairs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--timed-only", action="store_true", help="leave out the compiled shapes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
