"""Folders that the datasets library itself wrote, checked in so that reading them needs no such library.

``python -m tests.golden.make_datasets`` (with the parity requirements) writes them anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "datasets"

ROWS: list[dict[str, Any]] = [
    {
        "query": f"query {i}",
        "positive": f"text {i}\nmore ä",
        "negatives": [[f"wrong {i}", "wrong"], [], None][i % 3],
        "label": [0, 1, None][i % 3],
        "score": [0.5, None, 2.0][i % 3],
        "kind": "ab"[i % 2],
    }
    for i in range(7)
]


def write(folder: Path) -> None:
    """``whole``: a Dataset in two files. ``splits``: a DatasetDict, its test rows chosen by index."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    features = Features(
        {
            "query": Value("string"),
            "positive": Value("large_string"),
            "negatives": List(Value("string")),
            "label": ClassLabel(names=["code", "text"]),
            "score": Value("float64"),
            "kind": Value("string"),
        }
    )
    rows = Dataset.from_list(ROWS, features=features)
    rows.save_to_disk(folder / "whole", num_shards=2)
    splits = {"train": rows.select(range(4)), "test": rows.shuffle(seed=0).select([6, 5])}
    DatasetDict(splits).save_to_disk(folder / "splits")


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    write(HERE)
