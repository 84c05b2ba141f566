"""Parquet files and saved datasets: the same rows as from JSON, and damage is always told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specrun.runtime.data.columns import rows_of_records
from specrun.runtime.data.raw import Fault, FileError, Record, Row
from specrun.runtime.data.tables import open_table, table_files
from specrun.spec.plan.data import HuggingFaceSource, ParquetSource, Table
from tests.golden.make_datasets import HERE, ROWS


def read(source: Table) -> list[Row | Fault]:
    found: list[Row | Fault] = []
    for name, path in table_files(source):
        found += rows_of_records(open_table(source, name, path), source)
    return found


def records(source: Table) -> list[Record]:
    found = [x for name, path in table_files(source) for x in open_table(source, name, path)]
    return [x for x in found if isinstance(x, Record)]


def parquet(path: Path, **columns: Any) -> ParquetSource:
    """A file of three rows, or of as many as the columns have."""
    count = len(next(iter(columns.values()), "abc"))
    own = {name: [f"{name[0]}{i}" for i in range(count)] for name in ("query", "positive")}
    pq.write_table(pa.table(own | columns), path)
    return ParquetSource(path=str(path))


def fails(source: Table) -> FileError:
    with pytest.raises(FileError) as caught:
        read(source)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Copies of the folders that the library wrote."""
    shutil.copytree(HERE, tmp_path / "saved")
    return tmp_path / "saved"


# parquet


def test_rows_are_numbered_within_their_file(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", n=range(1000))
    found = read(source)
    assert [x.place for x in found] == [f"a.parquet:{i + 1}" for i in range(1000)]
    assert found[999] == Row("q999", "p999", "a.parquet:1000", "", {"n": 999.0})


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("b.parquet", "a.parquet", "_meta.parquet", ".a.parquet.crc", "notes.txt"):
        parquet(folder / name, n=[1])
    (folder / "_SUCCESS").touch()
    (folder / "sub").mkdir()
    source = ParquetSource(path=str(folder))
    assert [x.place for x in read(source)] == ["many/a.parquet:1", "many/b.parquet:1"]
    parquet(folder / "sub" / "c.parquet", n=[1])
    assert fails(source).code == "nested-folder"


def test_an_empty_folder(tmp_path: Path) -> None:
    error = fails(ParquetSource(path=str(tmp_path)))
    assert (error.code, error.key) == ("no-files", "path")


def test_types_of_columns(tmp_path: Path) -> None:
    source = parquet(
        tmp_path / "a.parquet",
        i8=pa.array([1, None, 3], pa.int8()),
        u64=pa.array([1, 2, 2**63], pa.uint64()),
        half=pa.array([0.5, float("nan"), None], pa.float16()),
        money=pa.array([Decimal("1.25"), None, Decimal("2")], pa.decimal128(9, 2)),
        flag=[True, False, None],
        day=pa.array([1, 2, 3], pa.date32()),
        text=pa.array(["1", "2", "3"]),
        blob=pa.array([b"1", b"2", b"3"]),
        deep=[{"a": 1}, {"a": 2}, None],
    )
    assert [x.numbers for x in read(source) if isinstance(x, Row)] == [
        {"i8": 1.0, "u64": 1.0, "half": 0.5, "money": 1.25},
        {"u64": 2.0},
        {"i8": 3.0, "u64": 2.0**63, "money": 2.0},
    ]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_types_of_texts(tmp_path: Path, kind: pa.DataType) -> None:
    texts = pa.array(["ä", "日本", "x"]).cast(kind)
    source = parquet(tmp_path / "a.parquet", query=texts)
    assert [x.query for x in read(source) if isinstance(x, Row)] == ["ä", "日本", "x"]


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda t: pa.list_(t, 2)])
def test_types_of_lists(tmp_path: Path, kind: Any) -> None:
    lists = pa.array([["a", "b"], None, ["c", "d"]], kind(pa.string()))
    source = parquet(tmp_path / "a.parquet", wrong=lists)
    source = ParquetSource(path=source.path, negatives="wrong")
    found = [x.negatives for x in read(source) if isinstance(x, Row)]
    assert found == [("a", "b"), (), ("c", "d")]


def test_faults_of_rows(tmp_path: Path) -> None:
    lone = pa.array([b"\xff", b"ok", b"ok"]).view(pa.string())
    inner = pa.array([b"ok", b"\xe9", b"ok"]).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), inner)
    source = parquet(tmp_path / "a.parquet", query=lone, positive=["p", "p", None], wrong=lists)
    source = ParquetSource(path=source.path, negatives="wrong")
    assert [(x.reason, x.place) for x in read(source) if isinstance(x, Fault)] == [
        ("`query` is not valid Unicode", "a.parquet:1"),
        ("`wrong` holds what is not valid Unicode", "a.parquet:2"),
        ("`positive` is not text", "a.parquet:3"),
    ]
    source = parquet(tmp_path / "b.parquet", query=[1, 2, 3])
    assert {x.reason for x in read(source) if isinstance(x, Fault)} == {"`query` is not text"}
    source = parquet(tmp_path / "c.parquet", x=[1.0, float("inf"), float("nan")])
    assert [type(x) for x in read(source)] == [Row, Fault, Row]


def test_only_the_columns_of_rows_are_read(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", image=[b"x"] * 3, n=[1, 2, 3], other=["a"] * 3)
    assert {name for x in records(source) for name in x.values} == {"query", "positive", "n"}


def test_columns_that_are_missing_or_doubled(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"querys": ["q"], "positive": ["p"]}), path)
    error = fails(ParquetSource(path=str(path)))
    assert (error.code, error.key) == ("unknown-column", "columns.query")
    assert error.hint.startswith("did you mean `querys`?")
    table = pa.Table.from_arrays([pa.array(["q"])] * 3, names=["query", "positive", "query"])
    pq.write_table(table, path)
    assert fails(ParquetSource(path=str(path))).code == "doubled-column"


def test_a_column_with_a_dot_in_its_name(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", **{"the.query": ["x", "y", "z"], "the": [1, 2, 3]})
    source = ParquetSource(path=source.path, query="the.query")
    assert [x.query for x in read(source) if isinstance(x, Row)] == ["x", "y", "z"]


def test_a_large_row_group_is_not_held(tmp_path: Path) -> None:
    texts = [f"{i} " + "x" * 2000 for i in range(10_000)]
    table = pa.table({"query": texts, "positive": texts})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=1 << 20, compression="none", use_dictionary=False)
    assert path.stat().st_size > 40_000_000
    del table
    before, most = pa.total_allocated_bytes(), 0
    source = ParquetSource(path=str(path))
    for record in open_table(source, "a.parquet", path):
        if record.line % 100 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 8_000_000


def test_every_truncation_of_a_parquet_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    whole = Path(parquet(path, n=[1, 2, 3]).path).read_bytes()
    for size in (*range(0, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:size])
        error = fails(ParquetSource(path=str(path)))
        assert (error.code, error.key) == ("bad-file", "path"), size
        assert str(path) in error.message


def flipped(path: Path, source: Table) -> int:
    """Flip bytes one at a time; how many flips were told. The others changed a text or a number."""
    whole = path.read_bytes()
    told = 0
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            assert all(isinstance(x, Row | Fault) for x in read(source))
        except FileError as error:
            told += error.code in ("bad-file", "unknown-column", "doubled-column")
    return told


def test_damage_within_a_file_is_told_or_harmless(tmp_path: Path, saved: Path) -> None:
    """Neither format has checksums of its pages by itself; offsets that lead elsewhere are told."""
    source = parquet(tmp_path / "a.parquet", n=[1, 2, 3])
    assert flipped(Path(source.path), source) > 10
    path = saved / "whole" / "data-00000-of-00002.arrow"
    assert flipped(path, hugging(saved / "whole", negatives="negatives", label="label")) > 10


def test_another_format_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text('{"query": "q", "positive": "p"}\n' * 100)
    assert fails(ParquetSource(path=str(path))).code == "bad-file"


# saved datasets


def hugging(path: Path, split: str | None = None, **more: Any) -> HuggingFaceSource:
    return HuggingFaceSource(path=str(path), split=split, **more)


def test_a_dataset_has_the_rows_that_were_saved() -> None:
    found = read(hugging(HERE / "whole", negatives="negatives", label="label"))
    assert found == [
        Row(
            row["query"],
            row["positive"],
            f"whole/data-0000{int(i > 3)}-of-00002.arrow:{i % 4 + 1}",
            "",
            {k: float(row[k]) for k in ("label", "score") if row[k] is not None},
            tuple(row["negatives"] or ()),
            "" if row["label"] is None else str(row["label"]),
        )
        for i, row in enumerate(ROWS)
    ]


def test_a_split_of_a_dictionary_and_its_own_folder_are_the_same() -> None:
    found = read(hugging(HERE / "splits", "train"))
    assert [x.query for x in found if isinstance(x, Row)] == [r["query"] for r in ROWS[:4]]
    assert found == read(hugging(HERE / "splits" / "train"))
    assert len(read(hugging(HERE / "splits", "test"))) == 2


def test_a_split_that_is_not_there() -> None:
    for source, words in (
        (hugging(HERE / "splits"), "no split is named"),
        (hugging(HERE / "splits", "dev"), "has no split `dev`"),
        (hugging(HERE / "whole", "train"), "one Dataset without splits"),
    ):
        error = fails(source)
        assert (error.code, error.key) == ("unknown-split", "split")
        assert words in error.message
    assert "`train`, `test`" in fails(hugging(HERE / "splits", "dev")).hint


def test_every_truncation_of_a_stream_is_told(saved: Path) -> None:
    """Also a cut between two batches, which pyarrow takes for a whole stream."""
    path = saved / "whole" / "data-00000-of-00002.arrow"
    whole = path.read_bytes()
    for size in range(0, len(whole), 8):
        path.write_bytes(whole[:size])
        assert fails(hugging(saved / "whole")).code == "bad-file", size


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "state.json").unlink(), "holds no state.json"),
        (lambda d: (d / "state.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "state.json").write_text("[" * 100_000), "is not JSON"),
        (lambda d: (d / "state.json").write_text("[]"), "does not list the data files"),
        (lambda d: (d / "state.json").write_text('{"_data_files": [3]}'), "does not list"),
        (lambda d: name(d, "../whole/x.arrow"), "outside its folder"),
        (lambda d: name(d, ".."), "outside its folder"),
        (lambda d: name(d, "gone.arrow"), "lacks the file gone.arrow"),
        (lambda d: (d / "data-00001-of-00002.arrow").unlink(), "lacks the file data-00001"),
        (
            lambda d: (d / "state.json").write_text('{"_indices_data_files": [{}]}'),
            "rows chosen by indices",
        ),
    ],
)
def test_a_folder_that_is_no_dataset(saved: Path, spoil: Any, words: str) -> None:
    spoil(saved / "whole")
    error = fails(hugging(saved / "whole"))
    assert (error.code, error.key) == ("no-dataset", "path")
    assert words in error.message


def name(folder: Path, file: str) -> None:
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file}]}))


@pytest.mark.parametrize("text", ["{", "[]", '{"splits": [3]}', '{"splits": ["../x"]}'])
def test_a_dictionary_that_is_none(saved: Path, text: str) -> None:
    (saved / "splits" / "dataset_dict.json").write_text(text)
    assert fails(hugging(saved / "splits", "train")).code == "no-dataset"


def test_a_dataset_without_rows(saved: Path) -> None:
    (saved / "whole" / "state.json").write_text('{"_data_files": []}')
    assert read(hugging(saved / "whole")) == []


# without pyarrow

WITHOUT = """\
import sys
sys.modules["pyarrow"] = None
from specrun.cli import main
sys.exit(main(sys.argv[1:]))
"""

SPEC = """\
version: 1
model: {{kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}}
tokenizer: {{kind: train, vocab_size: 300}}
data: {{kind: parquet, path: {path}}}
losses: [{{kind: infonce}}]
train: {{batch_size: 16, epochs: 1}}
"""


@pytest.mark.parametrize("command", ["check", "compile"])
def test_without_pyarrow_the_extra_is_named(tmp_path: Path, command: str) -> None:
    parquet(tmp_path / "a.parquet")
    (tmp_path / "spec.yaml").write_text(SPEC.format(path="a.parquet"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, command, "spec.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "spec.yaml:4:" in said
    assert "the kind parquet needs pyarrow" in said
    assert "specrun[parquet]" in said
    assert "Traceback" not in said
