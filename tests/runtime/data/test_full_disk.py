"""Where nothing can be written a command says so in one sentence, and leaves nothing half made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: rows.jsonl, validation: {kind: fraction, fraction: 0.3}}
losses: [{kind: infonce}]
train: {batch_size: 16, epochs: 1}
evaluation: {}
"""

SCRIPT = """\
import resource, sys
from specrun.cli import main
if int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(["compile", "spec.yaml"]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"query": f"find {i}", "positive": f"def f{i}(): return {i}"} for i in range(100)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def compile_with(folder: Path, largest_file: int, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(largest_file)],
        cwd=folder,
        env=os.environ | {"SPECRUN_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("largest_file", [100, 1000, 4000])
def test_a_limit_on_writing(folder: Path, largest_file: int, cache_folder: Path) -> None:
    """The limit strikes in the texts, in the arrays, in the tokenizer: wherever a file grows past it."""
    done = compile_with(folder, largest_file, cache_folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot write the cache below" in done.stderr
    assert "SPECRUN_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(cache_folder.glob("*/.writing-*"))
    assert not (folder / "plan.json").exists()


@pytest.mark.parametrize("where", ["rows.jsonl", "rows.jsonl/below", "/dev/null", "/proc/nowhere"])
def test_a_cache_that_can_be_no_folder(folder: Path, where: str) -> None:
    done = compile_with(folder, 0, folder / where)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot write the cache below" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_works_again_once_there_is_room(folder: Path, cache_folder: Path) -> None:
    assert compile_with(folder, 4000, cache_folder).returncode == 1
    done = compile_with(folder, 0, cache_folder)
    assert done.returncode == 0, done.stdout + done.stderr
