"""What ``check`` sees of the data: quick, bounded, and without numpy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from specrun.runtime.data import peek as module
from specrun.runtime.data.peek import peek
from specrun.spec.plan.data import HeldOutFile, JsonlSource, PythonSource

BUILT_IN = ("query_chars", "positive_chars", "positive_lines")


def rows(path: Path, *values: object) -> JsonlSource:
    path.write_text("".join(json.dumps(v) + "\n" for v in values))
    return JsonlSource(path=str(path))


def problem(source: JsonlSource | PythonSource, held: HeldOutFile | None = None) -> tuple[str, ...]:
    (found,) = peek(source, held).problems
    return found


def test_the_fields_are_the_numbers_of_the_first_rows(tmp_path: Path) -> None:
    good = {"query": "q", "positive": "p", "stars": 3, "age": 1.5, "seen": True, "name": "n"}
    found = peek(rows(tmp_path / "a", {"query": 3}, good, {**good, "late": 1}), None)
    assert found.fields == (*BUILT_IN, "age", "late", "stars")
    assert found.problems == ()


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    source = rows(tmp_path / "a", *[{"Query": "q", "positive": "p"}] * 3)
    code, path, message, hint = problem(source)
    assert (code, path) == ("unknown-column", "data.columns.query")
    assert "no key `query` (a:1)" in message
    assert hint == "did you mean `Query`? the columns are `Query`, `positive`"


def test_a_file_without_a_usable_row(tmp_path: Path) -> None:
    assert problem(rows(tmp_path / "a"))[:2] == ("no-rows", "data.path")
    (tmp_path / "b").write_text("nothing\n")
    code, path, message, _ = problem(JsonlSource(path=str(tmp_path / "b")))
    assert (code, path) == ("bad-row", "data.path")
    assert "not JSON (b:1)" in message


def test_the_held_out_file_is_looked_at_too(tmp_path: Path) -> None:
    good = rows(tmp_path / "a", {"query": "q", "positive": "p"})
    rows(tmp_path / "b", {"query": "q", "positives": "p"})
    code, path, _, hint = problem(good, HeldOutFile(source=JsonlSource(path=str(tmp_path / "b"))))
    assert (code, path) == ("unknown-column", "data.validation.path")
    assert "`positives`" in hint
    assert (
        problem(good, HeldOutFile(source=JsonlSource(path=str(tmp_path / "c"))))[0] == "unreadable"
    )


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_said_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    assert problem(JsonlSource(path=str(path)))[:2] == ("unreadable", "data.path")


def test_roots(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.py").write_text("x = 1\n")
    (tmp_path / "empty").mkdir()
    full, empty, gone = (str(tmp_path / n) for n in ("full", "empty", "gone"))
    found = peek(PythonSource(roots=(full, empty, gone)), None)
    assert found.fields == BUILT_IN
    assert [p[:2] for p in found.problems] == [
        ("no-files", "data.roots[1]"),
        ("unreadable", "data.roots[2]"),
    ]
    assert problem(PythonSource(roots=(full,), exclude=("**",)))[:2] == (
        "no-files",
        "data.roots[0]",
    )
    assert problem(PythonSource(roots=(full,), exclude=("/x",)))[:2] == (
        "bad-pattern",
        "data.exclude[0]",
    )


def _bytes_read() -> int:
    """Bytes that this process has read so far, as the kernel counts them."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("line", [b'{"query": "' + b"x" * 999_000 + b'", "positive": "p"}\n', b"x"])
def test_large_files_are_not_read_to_their_end(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(line * (200_000_000 // len(line)))
    tracemalloc.start()
    before = _bytes_read()
    peek(JsonlSource(path=str(path)), None)
    looked_at = _bytes_read() - before
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert looked_at < 3 * module.BYTES
    assert peak < 8 * module.BYTES


SPEC = """\
version: 1
model: {{kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}}
tokenizer: {{kind: train, vocab_size: 300}}
data: {{{data}, validation: {{kind: fraction, fraction: 0.3}}}}
losses: [{{kind: infonce}}]
train: {{batch_size: 16, epochs: 1}}
evaluation: {{}}
"""

SCRIPT = """\
import sys
from specrun.cli import main
try:
    code = main(["check", "spec.yaml"])
except SystemExit as stop:
    code = stop.code
print("IMPORTED", [m for m in ("numpy", "tokenizers") if m in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize(
    "data",
    [
        "kind: jsonl, path: rows.jsonl",
        "kind: csv, path: rows.csv",
        "kind: python_source, roots: [stdlib]",
    ],
)
def test_check_imports_no_numpy(tmp_path: Path, data: str) -> None:
    rows(tmp_path / "rows.jsonl", {"query": "q", "positive": "p"})
    (tmp_path / "rows.csv").write_text("query,positive\nq,p\n")
    (tmp_path / "spec.yaml").write_text(SPEC.format(data=data))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("IMPORTED []\n")
