"""What each command may import: the light ones never pull in jax, flax, orbax or transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("jax", "flax", "optax", "orbax", "transformers", "torch")

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: rows.jsonl, validation: {kind: fraction, fraction: 0.3}}
losses: [{kind: infonce}]
train: {batch_size: 16, epochs: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, its rows and its plan."""
    there = tmp_path_factory.mktemp("imports")
    rows = [
        {"query": f"find number {i}", "positive": f"def f{i}(): return {i * i}"} for i in range(60)
    ]
    (there / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (there / "spec.yaml").write_text(SPEC)
    command(there, "compile", "spec.yaml")
    (there / "run").mkdir()
    (there / "run/plan.json").write_bytes((there / "plan.json").read_bytes())
    return there


def command(folder: Path, *arguments: str) -> list[str]:
    """Run a command in a process of its own and return the heavy modules it had imported at its end."""
    script = (
        "import sys\n"
        "from specrun.cli import main\n"
        "try:\n"
        "    code = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        f"print('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("check", "spec.yaml"),
        ("compile", "spec.yaml", "-o", "again.json"),
        ("explain", "plan.json", "train.batch_size"),
        ("diff", "plan.json", "plan.json"),
        ("show", "plan.json", "--steps"),
        ("schema",),
        ("report", "run"),
        ("init", "new.yaml"),
    ],
    ids=lambda a: a[0],
)
def test_light_commands_import_nothing_heavy(folder: Path, arguments: tuple[str, ...]) -> None:
    assert command(folder, *arguments) == []


def test_the_probe_sees_a_heavy_import(folder: Path) -> None:
    script = "import jax, sys; sys.exit(0 if 'jax' in sys.modules else 1)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_front_door_is_lazy() -> None:
    script = "import sys, specrun; print([m for m in sys.modules if m.startswith('specrun.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
