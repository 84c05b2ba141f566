"""Folders that Hugging Face's datasets writes now, read without it; and its own reading as the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specrun.runtime.data.columns import rows_of_records
from specrun.runtime.data.raw import Row
from specrun.runtime.data.tables import open_table, table_files
from specrun.spec.plan.data import HuggingFaceSource, ParquetSource, Table
from tests.golden.make_datasets import HERE, write

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.parity


def read(source: Table) -> list[Row]:
    found = [
        row
        for name, path in table_files(source)
        for row in rows_of_records(open_table(source, name, path), source)
    ]
    assert all(isinstance(row, Row) for row in found)
    return [row for row in found if isinstance(row, Row)]


def source(path: Path, split: str | None = None) -> HuggingFaceSource:
    return HuggingFaceSource(path=str(path), split=split, negatives="negatives", label="label")


def assert_the_same(rows: list[Row], table: Any) -> None:
    assert [row.query for row in rows] == table["query"][:]
    assert [row.positive for row in rows] == table["positive"][:]
    assert [list(row.negatives) for row in rows] == [x or [] for x in table["negatives"]]
    assert [row.label for row in rows] == ["" if x is None else str(x) for x in table["label"]]
    assert [row.numbers.get("score") for row in rows] == table["score"][:]


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "checked in"])
def test_saved_folders_have_the_rows_that_the_library_finds(tmp_path: Path, fresh: bool) -> None:
    folder = tmp_path if fresh else HERE
    if fresh:
        write(tmp_path)
    assert_the_same(read(source(folder / "whole")), datasets.load_from_disk(folder / "whole"))
    both = datasets.load_from_disk(folder / "splits")
    for split in ("train", "test"):
        assert_the_same(read(source(folder / "splits", split)), both[split])


def test_rows_that_were_chosen_shuffled_and_changed(tmp_path: Path) -> None:
    table = datasets.load_from_disk(HERE / "whole").shuffle(seed=1).select([4, 0, 2])
    table = table.map(lambda row: {"query": row["query"] + "!"}).with_format("numpy")
    table.save_to_disk(tmp_path / "made")
    assert_the_same(read(source(tmp_path / "made")), table.with_format(None))


def test_its_parquet_files(tmp_path: Path) -> None:
    table = datasets.load_from_disk(HERE / "whole")
    table.to_parquet(tmp_path / "a.parquet")
    parquet = ParquetSource(path=str(tmp_path / "a.parquet"), negatives="negatives", label="label")
    assert_the_same(read(parquet), table)


def test_a_dataset_of_another_kind_of_text(tmp_path: Path) -> None:
    """A list of dictionaries is no column of negatives, and says so."""
    rows = [{"query": "q", "positive": "p", "negatives": [{"text": "n"}]}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "made")
    made = HuggingFaceSource(path=str(tmp_path / "made"), negatives="negatives")
    (name, path), *_ = table_files(made)
    (found,) = rows_of_records(open_table(made, name, path), made)
    assert not isinstance(found, Row)
    assert found.reason == "`negatives` holds what is not text"
