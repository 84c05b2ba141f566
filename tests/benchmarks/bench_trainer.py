"""The whole loop, data included, against sentence-transformers' own trainer on the same rows, in turn.

    python -m tests.benchmarks.bench_trainer [--steps 16] [--length 64] [--repeats 3]

Needs the environment of ``make parity``. Each run is a process of its own: MiniLM, 32 pairs a step of texts
of mixed lengths, InfoNCE at temperature 0.05, AdamW, clipping, no evaluation. Prints rows per second between
the third step's end and the last's, so that neither compiling nor warming up counts, the seconds of the
whole process, which count everything, and the ratios theirs / ours of both (above 1 is faster than theirs).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.words import WORDS
from tests.minilm import minilm

ROWS = 32
SKIPPED = 3
SPEC = """\
version: 1
output_dir: {root}/run
model: {{kind: bert, name_or_path: {model}}}
data: {{kind: jsonl, path: {root}/rows.jsonl, max_length: {{query: {length}, positive: {length}}}}}
losses: [{{kind: infonce, temperature: 0.05, symmetric: false}}]
train: {{batch_size: 32, max_steps: {steps}, drop_last: true, log_every_steps: 1, length_buckets: {buckets}}}
optimizer: {{kind: adamw, learning_rate: 2e-5}}
evaluation: null
"""


def main() -> None:
    """Run both in turn and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=("ours", "theirs"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--buckets", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.side:
        run = ours if options.side == "ours" else theirs
        ends = run(options.root, options.steps, options.length, options.buckets)
        print(json.dumps([end - ends[0] for end in ends]))
        return
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for _ in range(options.repeats):
        for side, figures in found.items():
            figures.append(_process(side, options))
    print(json.dumps(_summary(found, options)))


def _process(side: str, options: argparse.Namespace) -> tuple[float, float]:
    """(rows per second, seconds of the process)"""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "rows.jsonl").write_text(_rows(ROWS * (options.steps + 4), options.length))
        environment = os.environ | {"SPECRUN_CACHE": str(root / "cache")}
        numbers = ("steps", "length", "buckets")
        more = [x for name in numbers for x in (f"--{name}", str(getattr(options, name)))]
        command = [sys.executable, "-m", __spec__.name, "--side", side, "--root", folder, *more]
        begun = time.perf_counter()
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        taken = time.perf_counter() - begun
    ends = json.loads(done.stdout.splitlines()[-1])
    return ROWS * (len(ends) - SKIPPED) / (ends[-1] - ends[SKIPPED - 1]), taken


def _summary(
    found: dict[str, list[tuple[float, float]]], options: argparse.Namespace
) -> dict[str, object]:
    rates = [a[0] / b[0] for a, b in zip(found["ours"], found["theirs"], strict=True)]
    times = [b[1] / a[1] for a, b in zip(found["ours"], found["theirs"], strict=True)]
    medians = {
        f"{side}_{name}": round(statistics.median(x[i] for x in figures), 2)
        for side, figures in found.items()
        for i, name in enumerate(("rows_per_s", "process_s"))
    }
    return {
        "steps": options.steps,
        "length": options.length,
        **medians,
        "rate_ratio": round(statistics.median(rates), 3),
        "rate_spread": [round(min(rates), 3), round(max(rates), 3)],
        "process_ratio": round(statistics.median(times), 3),
    }


def ours(root: Path, steps: int, length: int, buckets: int) -> list[float]:
    """When each step was logged."""
    from specrun.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    from specrun.api import compile
    from specrun.runtime.loop.run import run

    spec = SPEC.format(root=root, model=minilm(), length=length, steps=steps, buckets=buckets)
    ends: list[float] = []
    run(compile(spec), quiet=True, on_progress=lambda *_: ends.append(time.perf_counter()))
    return ends


def theirs(root: Path, steps: int, length: int, buckets: int) -> list[float]:
    """When each step ended."""
    del buckets
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )
    from transformers import TrainerCallback

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append(time.perf_counter())

    model = SentenceTransformer(str(minilm()), device="cpu")
    model.max_seq_length = length
    rows = [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(root / "theirs"),
        per_device_train_batch_size=ROWS,
        max_steps=steps,
        learning_rate=2e-5,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        dataloader_drop_last=True,
    )
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        loss=losses.MultipleNegativesRankingLoss(model),
        callbacks=[Clock()],
    ).train()
    return ends


def _rows(count: int, length: int) -> str:
    """Pairs of texts from a quarter of ``length`` words to all of it."""
    draw = random.Random(0)

    def text(i: int) -> str:
        return f"{i} " + " ".join(draw.choices(WORDS, k=draw.randint(length // 4, length)))

    return "".join(json.dumps({"query": text(i), "positive": text(i)}) + "\n" for i in range(count))


if __name__ == "__main__":
    main()
