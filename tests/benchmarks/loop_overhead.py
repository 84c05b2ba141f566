"""What the loop adds to the bare step: python -m tests.benchmarks.loop_overhead [STEPS]

Times the same steps twice: as ``program.step`` on batches made beforehand, and through ``Loop`` with prefetching,
late metrics and logging. Evaluation and checkpoints are left out, since the plan asks for those apart. Prints both
times per step, their ratio (aim: below 1.03), and the CPU time of the main thread, which a busy machine disturbs less.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from specrun.api import compile
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.runtime.loop.best import BestFolder
from specrun.runtime.loop.checkpoint import Checkpoints
from specrun.runtime.loop.events import EventLog
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.interrupt import Interrupts
from specrun.runtime.loop.lines import Lines
from specrun.runtime.loop.loop import Loop
from specrun.runtime.loop.position import Standing
from specrun.runtime.loop.progress import Silent
from specrun.runtime.program.control import control_at
from specrun.runtime.program.program import Program, build_program
from specrun.spec.plan.plan import Plan

SPEC = """\
version: 1
name: overhead
seed: 1
output_dir: run
model: {{kind: text_encoder, hidden_size: 128, num_hidden_layers: {layers}}}
tokenizer: {{kind: train, vocab_size: 2000}}
data: {{kind: jsonl, path: {rows}, max_length: {{query: 32, positive: 64}}}}
losses: [{{kind: infonce}}]
train: {{batch_size: 64, max_steps: {steps}, log_every_steps: 10}}
evaluation: null
checkpoint: {{every_steps: {steps}}}
"""
REPEATS = 3


def main() -> None:
    """Measure an encoder without layers and one with two."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for layers in (0, 2):
        with tempfile.TemporaryDirectory() as name:
            _measure(Path(name), layers, steps)


def _measure(root: Path, layers: int, steps: int) -> None:
    os.environ["SPECRUN_CACHE"] = str(root / "cache")
    (root / "rows.jsonl").write_text(_rows())
    plan = compile(SPEC.format(rows=root / "rows.jsonl", layers=layers, steps=steps))
    batches = Batches(plan, ensure_tokens(plan.data, plan.tokenizer), ensure_rows(plan.data))
    program = build_program(plan)
    ready = [batches.at(step)[1] for step in range(steps)]
    _bare(plan, program, ready[:2])  # compiles
    bare, loop = [], []
    for i in range(REPEATS):  # in turn, so that a change of the machine's load meets both
        bare.append(_bare(plan, program, ready))
        loop.append(_looped(plan, program, batches, root / f"run{i}"))
    (wall, host), (loop_wall, loop_host) = (
        tuple(map(min, zip(*x, strict=True))) for x in (bare, loop)
    )
    per = 1000 / steps
    print(
        f"{layers} layers: bare {wall * per:.2f} ms a step, loop {loop_wall * per:.2f} ms, "
        f"ratio {loop_wall / wall:.3f}; main thread {host * per:.2f} and {loop_host * per:.2f} ms"
    )


def _bare(plan: Plan, program: Program, ready: list[Any]) -> tuple[float, float]:
    state = jax.block_until_ready(program.enter(0, program.init(plan.seed)))
    begun, host = time.perf_counter(), time.thread_time()
    for step, batch in enumerate(ready):
        state, _ = program.step(state, batch, control_at(plan, step))
    jax.block_until_ready(state)
    return time.perf_counter() - begun, time.thread_time() - host


def _looped(plan: Plan, program: Program, batches: Batches, root: Path) -> tuple[float, float]:
    root.mkdir()
    folder = RunFolder(root)
    state = jax.block_until_ready(program.enter(0, program.init(plan.seed)))
    loop = Loop(
        plan=plan,
        program=program,
        batches=batches,
        evaluator=None,
        held_out=ensure_rows(plan.data).validation,
        checkpoints=Checkpoints(folder.checkpoints, 1),
        best=BestFolder(folder),
        metrics=Lines(folder.metrics),
        events=EventLog(folder.events),
        times=Lines(folder.times),
        reporter=Silent(),
        interrupts=Interrupts(),
        state=state,
        standing=Standing(segment=0),
    )
    loop._saves = frozenset()
    begun, host = time.perf_counter(), time.thread_time()
    loop._steps()
    jax.block_until_ready(loop.state)
    return time.perf_counter() - begun, time.thread_time() - host


def _rows() -> str:
    draw = random.Random(0)
    words = [f"word{i}" for i in range(500)]
    return "".join(
        json.dumps(
            {
                "query": " ".join(draw.choices(words, k=12)) + f" {i}",
                "positive": " ".join(draw.choices(words, k=40)) + f" {i}",
            }
        )
        + "\n"
        for i in range(3000)
    )


if __name__ == "__main__":
    main()
