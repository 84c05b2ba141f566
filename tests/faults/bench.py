"""A tiny plan, a place to run it again and again, and what must be the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from specrun.api import compile
from specrun.spec.plan.file import write_plan
from specrun.spec.plan.plan import Plan

SPEC = """\
version: 1
name: tiny
seed: 3
output_dir: run
model: {{kind: text_encoder, hidden_size: 16, num_hidden_layers: 0}}
tokenizer: {{kind: train, vocab_size: 300}}
data:
  kind: jsonl
  path: {rows}
  max_length: {{query: 16, positive: 32}}
  validation: {{kind: fraction, fraction: 0.2}}
losses: [{{kind: infonce, name: contrast, train_temperature: true}}]
curriculum:
  stages:
    - {{name: easy, epochs: 2, select: {{field: difficulty, max: 0.6}}}}
    - {{name: all, epochs: 3, reset_optimizer: true}}
train: {{batch_size: 16}}
evaluation: {{every_steps: 8, batch_size: 16}}
checkpoint: {{every_steps: 5, keep: 2}}
"""

TEXTS = """\
version: 1
name: tiny
seed: 3
output_dir: run
model: {{kind: masked_lm, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}}
tokenizer: {{kind: train, vocab_size: 300}}
data:
  kind: text
  path: {texts}
  max_length: 32
  validation: {{kind: fraction, fraction: 0.2}}
losses: [{{kind: masked_diffusion}}]
generation: {{steps: 4}}
curriculum:
  transition_epochs: 1
  stages:
    - {{name: first, epochs: 2, masking_rate: [0.7, 0.9], format: sentences}}
    - {{name: second, epochs: 2, masking_rate: [0.4, 0.6], format: pairs}}
    - {{name: third, epochs: 2, masking_rate: [0.1, 0.3], format: sentences, pseudo_data: {{max_samples: 9, min_words: 1, similarity: [0, 1]}}}}
train: {{batch_size: 16, dropout_schedule: decay}}
evaluation: {{every_steps: 8, batch_size: 16}}
checkpoint: {{every_steps: 5, keep: 2}}
"""
"""Texts instead of pairs, in three stages, the last with texts that the model makes."""

COMPARED = (
    "plan.json",
    "tokenizer.json",
    "metrics.jsonl",
    "events.jsonl",
    "best/parameters.safetensors",
    "best/manifest.json",
    "final/parameters.safetensors",
    "final/manifest.json",
)


class Bench:
    """A plan in ``root``, and a server that runs it in folders below."""

    def __init__(self, root: Path, overrides: tuple[str, ...] = (), spec: str = SPEC):
        self.root = root
        self.cache = root / "cache"
        rows = root / "rows.jsonl"
        rows.write_text(tiny_rows(), encoding="utf-8")
        texts = root / "texts.txt"
        texts.write_text(tiny_texts(), encoding="utf-8")
        spec = spec.format(rows=rows, texts=texts)
        self.plan = self._compiled(spec, overrides)
        write_plan(self.plan, root / "plan.json")
        self._server = self._start()

    def attempt(
        self, folder: Path, *, sabotage: str = "", kill_after: float | None = None
    ) -> tuple[int, str]:
        """Run the plan in ``folder``: (exit code, or minus the signal that killed it; what it said)."""
        folder.mkdir(exist_ok=True)
        errors = folder / "errors.txt"
        errors.unlink(missing_ok=True)
        request = {
            "folder": str(folder),
            "plan": str(self.root / "plan.json"),
            "errors": str(errors),
            "sabotage": sabotage,
            "kill_after": kill_after,
        }
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return answer["code"], errors.read_text(encoding="utf-8") if errors.exists() else ""

    def finish(self, folder: Path) -> dict[str, Any]:
        """Run the plan to its end in ``folder`` and return its outcome."""
        code, said = self.attempt(folder)
        assert code == 0, said
        return outcome(folder)

    def stderr(self) -> str:
        """All that the runs have printed there."""
        return (self.root / "stderr.txt").read_text(encoding="utf-8")

    def drop_tokens(self) -> None:
        """Make the next run tokenise again."""
        shutil.rmtree(self.cache / "tokens")

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait(timeout=30)

    def _compiled(self, spec: str, overrides: tuple[str, ...]) -> Plan:
        before = os.environ.get("SPECRUN_CACHE")
        os.environ["SPECRUN_CACHE"] = str(self.cache)
        try:
            return compile(spec, overrides=overrides)
        finally:
            if before is None:
                del os.environ["SPECRUN_CACHE"]
            else:
                os.environ["SPECRUN_CACHE"] = before

    def _start(self) -> subprocess.Popen[str]:
        environment = os.environ | {
            "SPECRUN_CACHE": str(self.cache),
            # compiled functions are kept, so that a resumed run compiles nothing again
            "JAX_COMPILATION_CACHE_DIR": str(self.root / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.root / "stderr.txt").open("w"),
            text=True,
        )


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that must be the same however often the run was killed. Asserts that nothing was left behind."""
    run = folder / "run"
    result = json.loads((run / "result.json").read_text())
    del result["times"], result["speed"]  # the two that tell of time
    left = [p.name for p in run.rglob("*") if "tmp" in p.name or p.name.endswith((".new", ".old"))]
    assert not left, f"left behind: {left}"
    made = sorted(
        str(p.relative_to(run)) for part in ("negatives", "pseudo") for p in run.glob(f"{part}/*")
    )
    return {"result": result} | {name: _digest(run / name) for name in (*COMPARED, *made)}


def saved_steps(folder: Path) -> list[int]:
    """Complete checkpoints in a run's folder."""
    return sorted(int(p.name) for p in (folder / "run/checkpoints").iterdir() if p.name.isdigit())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tiny_rows() -> str:
    """240 pairs that share words, as JSONL, with a difficulty that rises."""
    draw = random.Random(1)
    words = [f"w{i}" for i in range(60)]
    rows = []
    for i in range(240):
        mine = draw.sample(words, 6)
        more = draw.sample(words, draw.randint(1, 10))
        rows.append(
            {
                "query": " ".join(mine[:4]) + f" q{i}",
                "positive": " ".join(mine[1:] + more) + f" p{i}",
                "difficulty": i / 240,
            }
        )
    return "".join(json.dumps(row) + "\n" for row in rows)


def tiny_texts() -> str:
    """60 paragraphs of three sentences each."""
    draw = random.Random(2)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 6))) for _ in range(50)]

    def sentence() -> str:
        return " ".join(draw.sample(words, draw.randint(3, 6))).capitalize() + "."

    return "\n\n".join(" ".join(sentence() for _ in range(3)) for _ in range(60)) + "\n"
