"""The input pipeline alone, against what a training step takes of it: python -m tests.benchmarks.bench_input

    [--models bert,clip] [--count 2000] [--flops 4e14] [--repeats 3] [--tiny]

Texts: WordPiece into the cache of tokens, then batches from it. Images: JPEG files of 640 × 480 pixels decoded,
resized and written as the cache of pixels by one thread and by two in turn, then batches from it. Both for the
shapes of ``bench_steps``; the step is measured in the same run. Prints a line of JSON each: rows per second of
every part; ``share_of_step``, the time of a batch over that of the step, which a prefetching thread hides as long
as it is below 1; and ``share_at_flops``, the same against a device that computes ``--flops`` FLOP per second
(4e14 is four tenths of an H200). Caches are made once for all epochs and runs. No test: times depend on the machine.

Last figures, on two busy cores, from the parts without the step (``images``, ``texts``, ``batch_seconds``): 28 pictures
a second by one thread and 65 by two (1.72 times, 1.03 to 2.65), 3 670 texts of 128 tokens a
second tokenised; a batch of 16 rows in 0.12 ms with images and 0.05 ms with texts, which is 7 % and 1 % of the step
of a device that computes 4e14 FLOP per second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import specrun
from specrun.runtime.cache import cache_root
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.pictures import place_of
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import Tokens, ensure_tokens
from specrun.runtime.images.cache import image_cache
from specrun.spec.plan.data import JsonlSource
from specrun.spec.plan.plan import Plan
from tests.benchmarks.bench_steps import ROWS, ours, spec
from tests.benchmarks.networks import FULL, TINY, Network, thin, write
from tests.benchmarks.sides import Side, Taken, paired
from tests.minilm import find_minilm
from tests.runtime.images.pictures import noise, saved

MINILM_IDS = 30522
"""Ids of the WordPiece tokenizer that the package of MiniLM brings, where it is installed."""

PICTURES = 50
"""Different files; the others are copies with a comment behind them, so that each is decoded."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the models asked for."""
    options = _options(arguments)
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["SPECRUN_CACHE"] = f"{folder}/cache"
            print(json.dumps(measure(Path(folder), name, options)), flush=True)


def measure(root: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The pipeline of one model, and its step."""
    network = (TINY if options.tiny else FULL)[name]
    rows = 4 if options.tiny else ROWS["cpu"][name]
    plan = plan_of(root / "input", thin(network), options.count, rows)
    found: dict[str, Any] = {"network": name, "rows_per_step": rows, "count": options.count}
    if network.image_size is None:
        found |= texts(plan, options.repeats)
    else:
        found |= images(plan, options.repeats)
    each = batch_seconds(plan, options.repeats)
    seconds, flops = step_seconds(root / "step", network, rows, options.repeats)
    return found | {
        "batch_rows_per_s": _short(rows / each),
        "step_rows_per_s": _short(rows / seconds),
        "share_of_step": _short(each / seconds),
        "share_at_flops": _short(each / (flops / options.flops)),
    }


def plan_of(root: Path, network: Network, count: int, rows: int) -> Plan:
    """The plan over ``count`` rows; WordPiece where MiniLM is and fits, photographs in place of small noise."""
    write(root, network, count)
    minilm = find_minilm()
    fits = network.vocab >= MINILM_IDS
    if network.name == "bert" and fits and minilm is not None:
        shutil.copyfile(minilm / "tokenizer.json", root / "model" / "tokenizer.json")
    if network.image_size is not None:
        files = [saved(noise(480, 640, seed=i), "JPEG") for i in range(min(count, PICTURES))]
        for i in range(count):
            comment = b"\xff\xfe\x00\x0a" + b"%08d" % i  # behind the start of the image
            content = files[i % len(files)]
            (root / "pictures" / f"{i}.png").write_bytes(content[:2] + comment + content[2:])
    return specrun.compile(spec(root, network, rows, "float32", "cpu"))


def texts(plan: Plan, repeats: int) -> dict[str, float]:
    """Texts per second from rows to the cache of tokens."""
    count = 2 * plan.data.scan.training_rows
    taken = [
        _cold("tokens", lambda: ensure_tokens(plan.data, plan.tokenizer)) for _ in range(repeats)
    ]
    return {"tokenised_texts_per_s": _short(count / min(taken))}


def images(plan: Plan, repeats: int) -> dict[str, Any]:
    """Pictures per second from files to the cache of pixels, by one thread and by two."""
    source, processor = plan.data.source, plan.model.image_processor
    assert isinstance(source, JsonlSource)
    assert source.images is not None
    assert processor is not None
    named, limit = ensure_rows(plan.data).images, source.images.max_pixels
    paths = [str(place_of(source.images.root, name)) for name in named.values()]
    taken: dict[int, list[Taken]] = {1: [], 2: []}
    for _ in range(repeats):
        for threads, found in taken.items():
            worked = time.process_time()
            seconds = _cold(
                "images", lambda n=threads: image_cache(paths, list(named), processor, limit, n)
            )
            found.append(Taken(seconds, time.process_time() - worked))
    speed = {
        f"pictures_per_s_{n}": len(paths) / min(t.seconds for t in x) for n, x in taken.items()
    }
    found_speed = {name: _short(value) for name, value in speed.items()}
    return found_speed | {"two_threads_speed_up": paired(taken[1], taken[2])}


def _cold(kind: str, make: Callable[[], object]) -> float:
    """Seconds of making an artefact that the cache does not have."""
    shutil.rmtree(cache_root() / kind, ignore_errors=True)
    begun = time.perf_counter()
    make()
    return time.perf_counter() - begun


def batch_seconds(plan: Plan, repeats: int) -> float:
    """Seconds of making a batch, the least of some passes over the plan's steps."""
    batches = Batches(plan, _tokens(plan), ensure_rows(plan.data))
    steps = plan.train.total_steps
    taken: list[float] = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        for step in range(steps):
            batches.at(step)
        taken.append((time.perf_counter() - begun) / steps)
    return min(taken[1:])


def _tokens(plan: Plan) -> Tokens:
    return ensure_tokens(plan.data, plan.tokenizer, processor=plan.model.image_processor)


def step_seconds(root: Path, network: Network, rows: int, repeats: int) -> tuple[float, int]:
    """Seconds of a training step (median) in a process of its own, and its FLOP."""
    write(root, network, 2 * rows)
    text = spec(root, network, rows, "float32", "cpu")
    flops = specrun.compile(text).cost.flops_per_step
    side = Side(ours, text)
    side.ask("train")
    seconds = statistics.median(side.ask("train") for _ in range(repeats))
    side.close()
    return seconds, flops


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="bert,clip")
    parser.add_argument("--count", type=int, default=2000, help="rows of data")
    parser.add_argument("--flops", type=float, default=4e14)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="networks of seconds, for tests")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
