"""Any bytes as input: no traceback, no hanging, never over 512 MB. How long it takes: tests/benchmarks/bench_cli."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import get_args

import pytest

from specrun.compiler.front import load
from specrun.compiler.init import template
from specrun.spec.files import packaged_preset, preset_names
from specrun.spec.render import Format, render
from tests.compiler.bombs import BOMBS, bomb

ROOT = Path(__file__).resolve().parents[2]
CASES = 5000
CHUNKS = 10
HANGS = 20
"""Seconds of the processor after which an answer is taken to hang."""

TOKENS = re.split(
    " |\n",
    """017 .nan .inf 1e999 9007199254740993 0x 0o8 ~ null true yes "" '' " ' [ ] { } , : - ? & * ! | > % @ `
&a *a !!str !x << <<: --- ... # \t \0 \x85 \u2028 \ufeff é 日本 😀 \ud800 kind: infonce losses: extends:
[search_small] [[[[[[ {a:{a:{a: - - - -1 0 1.5 100000000000 lora_r: name: model: null: 1:""",
)


def sources() -> list[str]:
    presets = [packaged_preset(name) for name in preset_names()]
    texts = [path.read_text(encoding="utf-8") for path in presets if path]
    planted = (Path(__file__).parent / "test_check.py").read_text(encoding="utf-8")
    return [template(), *texts, planted.split('PLANTED = """')[1].split('"""')[0]]


def mutate(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(lines)) if lines else 0
        other = rng.randrange(len(lines)) if lines else 0
        match rng.randrange(8):
            case 0:
                del lines[at : at + rng.randrange(1, 4)]
            case 1:
                lines[at:at] = lines[other : other + rng.randrange(1, 6)]
            case 2 if lines:
                lines[at] = " " * rng.randrange(5) + lines[at]
            case 3 if lines:
                lines[at] = lines[at].lstrip()
            case 4 if lines:
                key, colon, _ = lines[at].partition(":")
                lines[at] = f"{key}{colon} {rng.choice(TOKENS)}\n"
            case 5 if lines:
                column = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:column] + rng.choice(TOKENS) + lines[at][column:]
            case 6 if lines:
                column = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:column] + lines[at][column + 1 :]
            case _ if lines:
                lines[at], lines[other] = lines[other], lines[at]
    return "".join(lines)


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 40))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.2 else changed)


def cases(chunk: int) -> Iterator[tuple[bytes, list[str], dict[str, str]]]:
    rng = random.Random(chunk)
    texts = sources()
    for _ in range(CASES // CHUNKS):
        text = rng.choice(texts)
        match rng.randrange(10):
            case 0:
                yield rng.randbytes(rng.randrange(300)), [], {}
            case 1:
                words = [rng.choice(TOKENS) + rng.choice((" ", "\n", "")) for _ in range(40)]
                yield "".join(words).encode("utf-8", "surrogatepass"), [], {}
            case 2:
                yield flip(text.encode(), rng), [], {}
            case 3:
                settings = [mutate("train.batch_size=64\n", rng) for _ in range(3)]
                names = [mutate("SPECRUN__LOSSES__0__WEIGHT\n", rng).strip() for _ in range(3)]
                yield text.encode(), settings, {name: rng.choice(TOKENS) for name in names}
            case _:
                yield mutate(text, rng).encode("utf-8", "surrogatepass"), [], {}


@contextmanager
def ends(what: str) -> Iterator[None]:
    """A timer of the processor ends what hangs: any case takes a hundredth of it."""

    def hangs(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_bytes_get_an_answer(tmp_path: Path, chunk: int) -> None:
    path = tmp_path / "spec.yaml"
    for number, (data, overrides, environ) in enumerate(cases(chunk)):
        path.write_bytes(data)
        with ends(f"case {number} of chunk {chunk}"):
            loaded = load(path, overrides=overrides, environ=environ, local={})
            written = [render(loaded.diagnostics, name) for name in get_args(Format)]
        assert all(isinstance(text, str) for text in written)
        errors = [d for d in loaded.diagnostics if d.severity == "error"]
        assert (loaded.experiment is None) == bool(errors), (chunk, number)
        for d in errors:
            assert d.code, (chunk, number)
            assert d.message, (chunk, number)
            assert d.file, (chunk, number)


GUARDED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
from specrun.compiler.front import load
from specrun.spec.render import render
for path in sys.argv[2:]:
    print(path, flush=True)
    signal.setitimer(signal.ITIMER_VIRTUAL, float(sys.argv[1]))
    loaded = load(path, environ={}, local={})
    render(loaded.diagnostics, "text")
    assert loaded.experiment is None and loaded.diagnostics, path
"""


def test_bombs_are_refused_within_512_megabytes(tmp_path: Path) -> None:
    paths = []
    for name, expression in BOMBS.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(bomb(expression), encoding="utf-8")
        paths.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(HANGS), *paths],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(BOMBS)


def test_a_deep_recursion_of_presets_ends(tmp_path: Path) -> None:
    for number in range(100):
        text = f"extends: [p{number + 1}.yaml]\nseed: {number}\n"
        (tmp_path / f"p{number}.yaml").write_text(text)
    found = load(tmp_path / "p0.yaml", environ={}, local={}).diagnostics
    assert [d.code for d in found] == ["too-many-presets"]


@pytest.mark.parametrize("value", ["\0", "\ud800", "x" * 100_000, "[" * 1000, "*a", "a: b: c"])
def test_strange_overrides_and_variables(value: str) -> None:
    loaded = load(
        template(),
        overrides=[f"name={value}", value, f"{value}=1", f"losses[0].{value}=1"],
        environ={"SPECRUN__NAME": value, f"SPECRUN__{value}": "1", value: value},
        local={},
    )
    assert loaded.experiment is None
    assert len(render(loaded.diagnostics, "text")) < 20_000
