"""One set of rows in every format: the same scan, the same fields, and mistakes told at the same keys."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import specrun
from specrun.runtime.data.peek import peek
from specrun.runtime.data.scan import ensure_rows, rows_of, scan, verify_inputs
from specrun.runtime.data.sources import list_inputs
from specrun.spec.diagnostics import InputError, RunError
from specrun.spec.plan.data import (
    CsvSource,
    DataPlan,
    HeldOutFile,
    HeldOutFraction,
    HeldOutSplit,
    HuggingFaceSource,
    JsonlSource,
    ParquetSource,
    Source,
    Table,
    TsvSource,
)

Record = dict[str, Any]
FIFTH = HeldOutFraction(fraction=0.2)
NAMED = {"negatives": "wrong", "label": "topic"}


def rows(count: int = 60) -> list[Record]:
    return [
        {
            "query": f"query {i}, or ü\n{i}",
            "positive": f'text "{i}"',
            "wrong": [f"not {i} {k}" for k in range(i % 4)],
            "topic": ["red", "blue", None][i % 3],
            "level": None if i % 5 == 0 else i,
        }
        for i in range(count)
    ]


def write_jsonl(path: Path, table: list[Record]) -> Table:
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return JsonlSource(path=str(path))


def write_csv(path: Path, table: list[Record], delimiter: str = ",") -> Table:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table[0])
        for row in table:
            writer.writerow([json.dumps(x) if isinstance(x, list) else x for x in row.values()])
    return CsvSource(path=str(path))


def write_tsv(path: Path, table: list[Record]) -> Table:
    write_csv(path, table, "\t")
    return TsvSource(path=str(path))


def write_parquet(path: Path, table: list[Record]) -> Table:
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=7)
    return ParquetSource(path=str(path))


def write_folder(path: Path, table: list[Record]) -> Table:
    path.mkdir()
    half = len(table) // 2
    write_parquet(path / "0.parquet", table[:half])
    write_parquet(path / "1.parquet", table[half:])
    return ParquetSource(path=str(path))


def write_dataset(path: Path, table: list[Record]) -> Table:
    """As ``save_to_disk`` does, in two files."""
    path.mkdir()
    whole = pa.Table.from_pylist(table)
    half = len(table) // 2
    names = ["data-0.arrow", "data-1.arrow"]
    for name, part in zip(names, (whole.slice(0, half), whole.slice(half)), strict=True):
        with pa.OSFile(str(path / name), "wb") as file, pa.ipc.new_stream(file, whole.schema) as to:
            to.write_table(part, max_chunksize=9)
    state = {"_data_files": [{"filename": name} for name in names]}
    (path / "state.json").write_text(json.dumps(state))
    return HuggingFaceSource(path=str(path))


WRITERS: dict[str, Callable[[Path, list[Record]], Table]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "tsv": write_tsv,
    "parquet": write_parquet,
    "folder": write_folder,
    "huggingface": write_dataset,
}

each_format = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def content(digest: str) -> list[object]:
    """Everything about the rows but their places."""
    found: list[object] = []
    for split in (rows_of(digest).training, rows_of(digest).validation):
        assert split.negatives is not None
        assert split.labels is not None
        found += [list(split.queries), list(split.positives), list(split.negatives)]
        found += [split.labels.tolist(), {k: repr(v.tolist()) for k, v in split.fields.items()}]
    return found


@each_format
def test_every_format_gives_the_same_rows(
    tmp_path: Path, write: Callable[[Path, list[Record]], Table]
) -> None:
    wanted = scan(dataclasses.replace(write_jsonl(tmp_path / "a", rows()), **NAMED), FIFTH, "error")
    source = dataclasses.replace(write(tmp_path / "b", rows()), **NAMED)
    found = scan(source, FIFTH, "error")
    digest, inputs = wanted.rows_digest, wanted.inputs
    assert dataclasses.replace(found, rows_digest=digest, inputs=inputs) == wanted
    assert content(found.rows_digest) == content(digest)
    assert (found.negatives, found.labels) == (3, 2)
    places = rows_of(found.rows_digest).training.places
    assert all(place.startswith(("b:", "b/")) for place in places)


@each_format
def test_check_sees_the_fields_and_the_missing_columns(
    tmp_path: Path, write: Callable[[Path, list[Record]], Table]
) -> None:
    source = write(tmp_path / "b", rows())
    assert "level" in peek(dataclasses.replace(source, **NAMED), None).fields
    for key in ("query", "positive", "negatives", "label"):
        found = peek(dataclasses.replace(source, **{key: "topics"}), None).problems
        assert [p[:2] for p in found] == [("unknown-column", f"data.columns.{key}")]
        assert found[0][3].startswith("did you mean `topic`?")
    held = HeldOutFile(source=dataclasses.replace(source, query="topics"))
    ((code, path, _, hint),) = peek(source, held).problems
    assert (code, path) == ("unknown-column", "data.validation.path")
    assert hint.startswith("did you mean `topic`?")


@each_format
def test_bad_rows_are_counted_by_class_with_their_places(
    tmp_path: Path, write: Callable[[Path, list[Record]], Table]
) -> None:
    table = rows(10)
    table[3]["positive"] = " "
    table[7]["wrong"] = ["fine", ""]
    table[9]["wrong"] = [table[9]["positive"].upper()]
    source = dataclasses.replace(write(tmp_path / "b", table), **NAMED)
    found = scan(source, None, "skip")
    assert (found.rows_read, found.training_rows) == (10, 7)
    assert [(b.reason, b.count) for b in found.bad] == [
        ("`positive` is empty", 1),
        ("`wrong` holds an empty text", 1),
        ("a negative is the row's own positive", 1),
    ]
    assert all(place.startswith(("b:", "b/")) for bad in found.bad for place in bad.places)
    with pytest.raises(InputError) as caught:
        scan(source, None, "error")
    assert [d.code for d in caught.value.diagnostics] == ["bad-row"] * 3
    assert all(d.line for d in caught.value.diagnostics)


@each_format
def test_a_changed_file_is_noticed(
    tmp_path: Path,
    write: Callable[[Path, list[Record]], Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write(tmp_path / "b", rows())
    data = plan(source, scan(source, None, "skip"))
    verify_inputs(data)
    assert len(ensure_rows(data).training) == 60
    file = list_inputs(source, None)[0].files[-1].path
    raw = file.read_bytes()

    def listed_before(*arguments: object) -> object:
        found = list_inputs(*arguments)  # type: ignore[arg-type]
        file.write_bytes(raw.replace(b"query 59", b"query 95"))
        return found

    monkeypatch.setattr("specrun.runtime.data.scan.list_inputs", listed_before)
    with pytest.raises((RunError, InputError)):  # a compressed page may be no page any more
        scan(dataclasses.replace(source, negatives="wrong"), None, "skip")
    monkeypatch.undo()
    file.write_bytes(raw + b"\n")
    with pytest.raises(InputError, match="changed since the plan was compiled"):
        verify_inputs(data)


def plan(source: Source, found: Any) -> DataPlan:
    return DataPlan(
        source=source,
        validation=None,
        bad_rows="skip",
        scan=found,
        max_query_length=8,
        max_positive_length=8,
    )


@each_format
def test_a_held_out_file_has_the_format_of_the_data(
    tmp_path: Path, write: Callable[[Path, list[Record]], Table]
) -> None:
    source = dataclasses.replace(write(tmp_path / "b", rows()), **NAMED, max_negatives=1)
    other = [row | {"query": f"other {i}"} for i, row in enumerate(rows(5))]
    held = HeldOutFile(source=dataclasses.replace(write(tmp_path / "c", other), **NAMED))
    found = scan(source, held, "error")
    assert (found.training_rows, found.validation_rows) == (55, 5)
    assert (found.dropped_by_split, found.negatives) == (5, 1)
    validation = rows_of(found.rows_digest).validation
    assert validation.negatives is not None
    assert [len(texts) for texts in validation.negatives] == [0, 1, 2, 3, 0]


@each_format
def test_what_is_no_file_is_said_at_its_key(
    tmp_path: Path, write: Callable[[Path, list[Record]], Table]
) -> None:
    source = write(tmp_path / "b", rows())
    gone = dataclasses.replace(source, path=str(tmp_path / "gone"))
    ((code, path, message, _),) = peek(gone, None).problems
    assert (code, path) in (("unreadable", "data.path"), ("no-dataset", "data.path"))
    assert str(tmp_path / "gone") in message
    with pytest.raises(InputError) as caught:
        scan(gone, None, "skip")
    assert [d.path for d in caught.value.diagnostics] == ["data.path"]


def test_a_held_out_split(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    write_dataset(folder / "train", rows())
    write_dataset(folder / "dev", [row | {"query": f"o {i}"} for i, row in enumerate(rows(3))])
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "dev"]}')
    source = HuggingFaceSource(path=str(folder), split="train")
    held = HeldOutSplit(source=dataclasses.replace(source, split="dev"))
    found = scan(source, held, "error")
    assert (found.training_rows, found.validation_rows, found.dropped_by_split) == (57, 3, 3)
    assert [i.path for i in found.inputs] == [str(folder / "train"), str(folder / "dev")]
    data = dataclasses.replace(plan(source, found), validation=held)
    verify_inputs(data)
    wrong = HeldOutSplit(source=dataclasses.replace(source, split="test"))
    ((code, path, _, hint),) = peek(source, wrong).problems
    assert (code, path) == ("unknown-split", "data.validation.split")
    assert hint == "its splits are `train`, `dev`"
    ((code, path, _, _),) = peek(HuggingFaceSource(path=str(folder)), None).problems
    assert (code, path) == ("unknown-split", "data.split")


def test_repeated_pairs_join_their_negatives_and_labels(tmp_path: Path) -> None:
    pair = {"query": "q", "positive": "p"}
    table = [
        {**pair, "wrong": "a"},
        {**pair, "wrong": "b", "topic": "x"},
        {"query": "Q ", "positive": "P", "wrong": ["A", "c"], "topic": "y"},
        {"query": "other", "positive": "text", "topic": "y"},
    ]
    source = dataclasses.replace(write_jsonl(tmp_path / "a", table), **NAMED)
    found = scan(source, None, "error")
    assert (found.training_rows, found.duplicates) == (2, 2)
    training = rows_of(found.rows_digest).training
    assert training.negatives is not None
    assert training.labels is not None
    assert list(training.negatives) == [["a", "b", "c"], []]
    assert training.labels.tolist() == [0, 1]
    first = scan(dataclasses.replace(source, max_negatives=2), None, "error")
    cut = rows_of(first.rows_digest).training.negatives
    assert cut is not None
    assert (list(cut), first.negatives) == ([["a", "b"], []], 2)


def test_labels_are_numbered_by_first_occurrence_in_the_training_rows(tmp_path: Path) -> None:
    table = [
        {"query": f"q{i}", "positive": f"p{i}", "topic": t} for i, t in enumerate([7, None, "a"])
    ]
    held = [
        {"query": "h", "positive": "i", "topic": "b"},
        {"query": "j", "positive": "k", "topic": "7"},
    ]
    source = dataclasses.replace(write_jsonl(tmp_path / "a", table), label="topic")
    other = dataclasses.replace(write_jsonl(tmp_path / "b", held), label="topic")
    found = scan(source, HeldOutFile(source=other), "error")
    both = rows_of(found.rows_digest)
    assert both.training.labels is not None
    assert both.validation.labels is not None
    assert both.training.labels.tolist() == [0, -1, 1]
    assert both.validation.labels.tolist() == [2, 0]
    assert both.training.labels.dtype.name == "int32"
    assert (found.labels, found.negatives) == (2, 0)
    assert both.training.negatives is None


def test_negatives_drop_no_row_across_the_split(tmp_path: Path) -> None:
    table = [{"query": "q", "positive": "p", "wrong": "held text"}]
    held = [{"query": "held", "positive": "held text", "wrong": ["p", "q"]}]
    source = dataclasses.replace(write_jsonl(tmp_path / "a", table), negatives="wrong")
    other = dataclasses.replace(write_jsonl(tmp_path / "b", held), negatives="wrong")
    found = scan(source, HeldOutFile(source=other), "error")
    assert (found.training_rows, found.dropped_by_split) == (1, 0)


SPEC = """\
version: 1
model: {{kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}}
tokenizer: {{kind: train, vocab_size: 300}}
data: {data}
losses: [{{kind: infonce}}]
train: {{batch_size: 16, epochs: 1}}
evaluation: {{}}
"""
HELD = "validation: {kind: fraction, fraction: 0.3}"


@pytest.mark.parametrize(
    ("data", "code", "at"),
    [
        ("kind: csv, path: a.csv, columns: {query: querry}", "unknown-column", "querry"),
        ("kind: csv, path: a.csv, columns: {label: querry}", "unknown-column", "querry"),
        ("kind: csv, path: cut.csv", "open-quote", "cut.csv"),
        ("kind: csv, path: empty.csv", "no-header", "empty.csv"),
        ("kind: tsv, path: a.csv", "unknown-column", "data"),
        ("kind: csv, path: folder", "not-found", "folder"),
        ("kind: csv, path: a.csv, delimiter: ;;", "wrong-form", ";;"),
        ("kind: csv, path: a.csv, delimiter: ;", "unknown-column", "data"),
        ("kind: parquet, path: a.csv", "bad-file", "a.csv"),
        ("kind: parquet, path: folder", "no-files", "folder"),
        ("kind: huggingface, path: folder", "no-dataset", "folder"),
        ("kind: huggingface, path: a.csv", "not-found", "a.csv"),
        ("kind: csv, path: a.csv, max_negatives: 3", "no-effect", "max_negatives"),
        ("kind: csv, path: a.csv, columns: {negatives: query}", "same-column", "query,"),
        ("kind: excel, path: a.csv", "unknown-kind", "excel"),
        ("kind: csv, path: a.csv, split: a", "unknown-key", "split"),
        ("kind: csv, path: a.csv, columns: {label: none}", "no-values", "none"),
        ("kind: csv, path: a.csv, columns: {negatives: none}", "no-values", "none"),
    ],
)
def test_mistakes_are_told_at_their_place(tmp_path: Path, data: str, code: str, at: str) -> None:
    """By ``check`` already, what shows at the beginning of a file; and by ``compile``."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.csv").touch()
    lines = [f"q {i},p {i},\n" for i in range(30)]
    (tmp_path / "a.csv").write_text("query,positive,none\n" + "".join(lines))
    (tmp_path / "cut.csv").write_text('query,positive\nq,p\n"q,p\n')
    text = SPEC.format(data=f"{{{data}, {HELD}}}").replace("query}", "query, positive: positive}")
    (tmp_path / "spec.yaml").write_text(text)
    line = text.split("\n")[3]
    wanted = (code, 4, line.index(at) + 1)
    found = [(d.code, d.line, d.column) for d in specrun.check(tmp_path / "spec.yaml")]
    assert found == ([] if code == "no-values" else [wanted])
    with pytest.raises(InputError) as caught:
        specrun.compile(tmp_path / "spec.yaml")
    told = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert [(d.code, d.line, d.column) for d in told] == [wanted]


def test_a_split_is_held_out_of_a_dataset_only(tmp_path: Path) -> None:
    held = "validation: {kind: split, split: dev}"
    (tmp_path / "spec.yaml").write_text(SPEC.format(data=f"{{kind: csv, path: a.csv, {held}}}"))
    codes = [d.code for d in specrun.check(tmp_path / "spec.yaml")]
    assert "unknown-kind" in codes
