"""Numbers of texts: equal where texts normalise alike, and carried to the batches where a loss asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.split import normalise
from specrun.runtime.data.tokens import ensure_tokens

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data:
  kind: jsonl
  path: rows.jsonl
  columns: {negatives: wrong}
  max_length: {query: 8, positive: 8}
losses: [{kind: infonce, false_negatives: {}}]
train: {batch_size: 16, epochs: 1}
"""


def made(folder: Path, *overrides: str):
    rows = [
        {
            "query": f"q {i % 9}" + " " * (i % 2),
            "positive": f"{'P' if i % 2 else 'p'} {i % 10}",
            "wrong": [f"p {(i + 1 + n) % 10}" for n in range(i % 3)],
        }
        for i in range(90)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "spec.yaml").write_text(SPEC)
    plan = specrun.compile(folder / "spec.yaml", overrides=overrides)
    found = ensure_rows(plan.data)
    return plan, found.training, Batches(plan, ensure_tokens(plan.data, plan.tokenizer), found)


def test_equal_numbers_are_equal_texts(tmp_path: Path) -> None:
    plan, split, batches = made(tmp_path)
    for step in range(plan.train.total_steps):
        _, batch = batches.at(step)
        rows = batch.row[0]
        queries = [normalise(split.queries[int(i)]) for i in rows]
        positives = [normalise(split.positives[int(i)]) for i in rows]
        same = np.array(queries)[:, None] == np.array(queries)
        np.testing.assert_array_equal(batch.query_text[0][:, None] == batch.query_text[0], same)
        same = np.array(positives)[:, None] == np.array(positives)
        found = batch.positive_text[0][:, None] == batch.positive_text[0]
        np.testing.assert_array_equal(found, same)
        for i, row in enumerate(rows):
            for n, text in enumerate(split.negatives[int(row)]):
                same = np.array(positives) == normalise(text)
                np.testing.assert_array_equal(
                    batch.positive_text[0] == batch.negative_text[0, i, n], same
                )


def test_no_loss_asks_and_there_are_none(tmp_path: Path) -> None:
    for change in ("null", "{identical: false, margin: 0.1}"):
        _, _, batches = made(tmp_path, f"losses[0].false_negatives={change}")
        _, batch = batches.at(0)
        assert batch.query_text is batch.positive_text is batch.negative_text is None
