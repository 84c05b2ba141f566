"""``specrun mine``: rows with the negatives that a trained encoder finds."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.cli import main
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.split import normalise
from specrun.runtime.predict.mine import Rule, mine
from specrun.runtime.predict.predictor import Predictor
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import JsonlSource
from tests.runtime.folders import make_directory, make_run

WORDS = ["open", "close", "read", "write", "sort", "join", "split", "find", "copy", "move"]


def write_rows(path: Path, **names: str) -> None:
    query, positive = names.get("query", "query"), names.get("positive", "positive")
    rows = [
        {
            query: f"{a} the {b}",
            positive: f"def {a}_{b}({a})",
            "bad": [f"no {a}"] if a == b else [],
            "topic": i % 4,
        }
        for i, a in enumerate(WORDS)
        for b in WORDS[i:]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run's folder over rows with a few negatives and labels of their own."""
    root = tmp_path_factory.mktemp("mine")
    write_rows(root / "rows.jsonl", query="ask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(root / "cache"))
        source = JsonlSource(
            path=str(root / "rows.jsonl"), query="ask", negatives="bad", label="topic"
        )
        plan = make_run(root / "run", source=source)
        yield root, plan


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_training_rows_get_the_nearest_that_are_no_answers(run: Any, tmp_path: Path):
    root, plan = run
    rule = Rule(num_negatives=3, top_k=33, skip_top=1, relative_margin=0.0)
    found = mine(root / "run", tmp_path / "n.jsonl", rule=rule)
    training = ensure_rows(plan.data).training
    lines = read(tmp_path / "n.jsonl")
    assert found.rows == len(lines) == len(training)
    assert found.negatives > 0
    predictor = Predictor(root / "run")
    texts = list(training.positives)
    queries = predictor.encode_query(list(training.queries))
    documents = predictor.encode_document(texts)
    scores = queries @ documents.T
    total = 0
    for row, line in enumerate(lines):
        assert line["query"] == training.queries[row]
        assert line["label"] == training.labels[row]
        own = training.negatives[row]
        assert line["negatives"][: len(own)] == own
        mined = line["negatives"][len(own) :]
        total += len(mined)
        order = [i for i in np.argsort(-scores[row], kind="stable") if i != row][1:33]
        limit = scores[row, row]
        want = [
            texts[i]
            for i in order
            if scores[row, i] < limit and training.labels[i] != training.labels[row]
        ][:3]
        assert mined == want
    assert total == found.negatives


def test_the_file_is_what_data_reads(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, _ = run
    monkeypatch.chdir(tmp_path)
    assert main(["mine", str(root / "run"), "-o", "n.jsonl", "--top-k", "20", "--quiet"]) == 0
    most = max(len(line["negatives"]) for line in read(tmp_path / "n.jsonl"))
    plan = specrun.compile(
        """\
version: 1
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: n.jsonl, columns: {negatives: negatives, label: label}, bad_rows: error}
losses: [{kind: infonce}]
train: {batch_size: 10, max_steps: 2}
""",
        environ={},
    )
    assert plan.data.scan.negatives == most > 0
    assert plan.data.scan.labels == 4


def test_another_files_rows(run: Any, tmp_path: Path):
    root, _ = run
    write_rows(tmp_path / "own.jsonl", query="ask")
    write_rows(tmp_path / "plain.jsonl")
    rule = Rule(num_negatives=2, top_k=9, relative_margin=0)
    for name in ("own", "plain"):
        mine(
            root / "run", tmp_path / f"{name}-n.jsonl", corpus=tmp_path / f"{name}.jsonl", rule=rule
        )
    own, plain = (read(tmp_path / f"{name}-n.jsonl") for name in ("own", "plain"))
    assert own == plain
    assert len(own) == 55
    assert all(normalise(n) != normalise(x["positive"]) for x in own for n in x["negatives"])


def test_faiss_writes_the_same_bytes(run: Any, tmp_path: Path):
    pytest.importorskip("faiss")
    root, _ = run
    for backend in ("exact", "faiss"):
        mine(root / "run", tmp_path / f"{backend}.jsonl", rule=Rule(top_k=30, backend=backend))
    assert (tmp_path / "exact.jsonl").read_bytes() == (tmp_path / "faiss.jsonl").read_bytes()


def test_a_directory_without_rows_needs_a_file(tmp_path: Path):
    directory = make_directory(tmp_path / "bert")
    with pytest.raises(InputError, match="has no rows of its own to mine for"):
        mine(directory, tmp_path / "n.jsonl")
    write_rows(tmp_path / "rows.jsonl")
    assert mine(directory, tmp_path / "n.jsonl", corpus=tmp_path / "rows.jsonl").rows == 55


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_negatives": 0}, "num_negatives must be a whole number from 1"),
        ({"top_k": 0}, "top_k must be a whole number from 1"),
        ({"skip_top": -1}, "skip_top must be a whole number from 0"),
        ({"relative_margin": 1.0}, "relative_margin must be from 0 to below 1"),
        ({"relative_margin": float("nan")}, "relative_margin must be from 0 to below 1"),
        ({"top_k": 5, "skip_top": 3}, "more than the 2 that top_k 5 less skip_top 3 leave"),
        ({"backend": "other"}, "backend must be exact or faiss"),
    ],
)
def test_a_rule_that_cannot_be_meant(settings: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        Rule(**settings)


def test_what_cannot_be_read_or_written(run: Any, tmp_path: Path, capsys: Any):
    root, _ = run
    folder, out = root / "run", tmp_path / "n.jsonl"
    with pytest.raises(InputError, match=r"must be a \.jsonl file"):
        mine(folder, tmp_path / "n.csv")
    with pytest.raises(InputError, match="there is no folder"):
        mine(folder, tmp_path / "none" / "n.jsonl")
    with pytest.raises(InputError, match=r"rows are a \.jsonl"):
        mine(folder, out, corpus=tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"query": "a", "positive": "b"}\n{"query": "a"}\n{\n')
    with pytest.raises(InputError) as error:
        mine(folder, out, corpus=tmp_path / "bad.jsonl")
    assert [d.line for d in error.value.diagnostics] == [2, 3]
    with pytest.raises(InputError, match="cannot read"):
        mine(folder, out, corpus=tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match=r"the 50 nearest are looked at, and there are \d+ rows"):
        mine(folder, out)
    assert main(["mine", str(folder), "-o", str(out), "--quiet"]) == 2
    assert "lower top_k" in capsys.readouterr().err
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(InputError, match="cannot write"):
            mine(folder, out, rule=Rule(top_k=9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [p for p in tmp_path.iterdir() if "n.jsonl" in p.name]
