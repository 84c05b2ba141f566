"""CPU time of commands beyond the bare interpreter: python -m tests.benchmarks.bench_cli [REPEATS]

User and system seconds of child processes, which a busy machine disturbs less than the clock. Prints the
median, the least and the most in milliseconds, and the ratio to the bare interpreter's own. Then the specs of
``tests/compiler/bombs.py`` that took longest to be refused, against the example's check within one process.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from specrun.compiler.front import load
from specrun.spec.render import render
from tests.compiler.bombs import BOMBS, bomb

HERE = Path(__file__).parents[2]
EXAMPLE = "configs/examples/minilm-lora.yaml"
COMMANDS = {
    "python": ["-c", "pass"],
    "import specrun": ["-c", "import specrun"],
    "specrun --help": ["-m", "specrun", "--help"],
    "specrun schema": ["-m", "specrun", "schema"],
    "specrun check": ["-m", "specrun", "check", EXAMPLE],
}


def main() -> None:
    """Measure every command in turn."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for i in range(repeats + 1):
        for name, command in COMMANDS.items():
            seconds = _cpu(command)
            if i:
                taken[name].append(1000 * seconds)
    bare = statistics.median(taken["python"])
    for name, found in taken.items():
        median = statistics.median(found)
        figures = {
            "ms": median,
            "beyond_bare_ms": median - bare,
            "least": min(found),
            "most": max(found),
        }
        print(
            json.dumps(
                {
                    "command": name,
                    **{k: round(x, 1) for k, x in figures.items()},
                    "ratio": round(median / bare, 1),
                }
            )
        )
    for line in _hardest(repeats):
        print(json.dumps(line))


def _hardest(repeats: int, shown: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of the ``shown`` specs that take longest to be refused, and the ratio to the example's."""
    example = _least_ms(HERE / EXAMPLE, repeats)
    taken: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, expression in BOMBS.items():
            path = Path(folder) / f"{name}.yaml"
            path.write_text(bomb(expression), encoding="utf-8")
            taken[name] = _least_ms(path, repeats)
    worst = sorted(taken.items(), key=lambda item: item[1], reverse=True)[:shown]
    return [
        {"refused": name, "least": round(ms, 1), "ratio": round(ms / example, 1)}
        for name, ms in worst
    ]


def _least_ms(path: Path, repeats: int) -> float:
    taken: list[float] = []
    for _ in range(min(repeats, 3) + 1):
        begun = time.process_time()
        render(load(path, environ={}, local={}).diagnostics, "text")
        taken.append(1000 * (time.process_time() - begun))
    return min(taken[1:])


def _cpu(command: list[str]) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = _children()
    subprocess.run(
        [sys.executable, *command], cwd=HERE, env=environment, capture_output=True, check=False
    )
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
