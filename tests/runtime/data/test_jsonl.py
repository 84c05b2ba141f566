"""Pairs from JSONL: every fault has its class and its line, and no line can do harm."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specrun.runtime.data import jsonl
from specrun.runtime.data.columns import rows_of_records
from specrun.runtime.data.jsonl import JsonlReader, parse_line
from specrun.runtime.data.raw import Fault, Row, Unusable
from specrun.spec.plan.data import JsonlSource

GOOD = b'{"query": "q", "positive": "p"}'


def read(path: Path, raw: bytes, **columns: str) -> list[Row | Fault]:
    path.write_bytes(raw)
    return list(rows_of_records(JsonlReader(path), JsonlSource(path=str(path), **columns)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


FAULTS = {
    "not JSON": [
        b"{",
        b"nothing",
        b"{'query': 1}",
        b'{"a": 01}',
        GOOD + b" x",
        b"\x00",
        b'{"a": ' + b"1" * 5000 + b"}",
    ],
    "not UTF-8": [b'{"query": "\xff", "positive": "p"}'],
    "nested too deeply": [b"[" * 100_000, b'{"a": ' * 50_000 + b"1" + b"}" * 50_000],
    "not a JSON object": [b"[]", b"3", b"null", b'"text"', b"true"],
    "NaN is not JSON": [b'{"query": "q", "positive": "p", "x": NaN}'],
    "Infinity is not JSON": [b'{"query": "q", "positive": "p", "x": Infinity}'],
    "-Infinity is not JSON": [b'{"x": -Infinity}'],
    "a key occurs twice": [
        b'{"query": "q", "query": "r", "positive": "p"}',
        b'{"a": {"b": 1, "b": 2}}',
    ],
    "no key `query`": [b"{}", b'{"Query": "q", "positive": "p"}'],
    "no key `positive`": [b'{"query": "q"}'],
    "`query` is not text": [b'{"query": 3, "positive": "p"}', b'{"query": null, "positive": "p"}'],
    "`positive` is not text": [b'{"query": "q", "positive": ["p", 3]}'],
    "`query` is empty": [
        b'{"query": "", "positive": "p"}',
        b'{"query": " \\n\\u00a0", "positive": "p"}',
    ],
    "`positive` is empty": [b'{"query": "q", "positive": "\\t"}'],
    "`query` is not valid Unicode": [b'{"query": "\\ud800", "positive": "p"}'],
    "`positive` is not valid Unicode": [b'{"query": "q", "positive": "a\\udfffb"}'],
    "a key is not valid Unicode": [b'{"query": "q", "positive": "p", "\\ud800": 1}'],
    "number too large": [
        b'{"query": "q", "positive": "p", "x": 1e999}',
        b'{"query": "q", "positive": "p", "x": ' + b"9" * 400 + b"}",
    ],
}


@pytest.mark.parametrize("reason", FAULTS)
def test_faults(path: Path, reason: str) -> None:
    for line in FAULTS[reason]:
        found = read(path, GOOD + b"\n\n" + line + b"\n" + GOOD)
        assert [type(x) for x in found] == [Row, Fault, Row]
        fault = found[1]
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.place) == (reason, "rows.jsonl:3")
        fault.detail.encode()


def test_rows(path: Path) -> None:
    raw = '{"query": "  ä\\n", "positive": "日本", "x": 1, "y": -2.5, "z": true, "l": [1], "n": {"m": 2}}'
    (row,) = read(path, raw.encode())
    assert row == Row("  ä\n", "日本", "rows.jsonl:1", "", {"x": 1.0, "y": -2.5})


def test_columns_are_mapped(path: Path) -> None:
    (row,) = read(path, b'{"a": "one", "b": "two", "query": 3}', query="b", positive="a")
    assert row == Row("two", "one", "rows.jsonl:1", "", {"query": 3.0})


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_count_but_are_no_rows(path: Path, end: bytes) -> None:
    found = read(path, end.join([b"", GOOD, b"  \t", b"", GOOD, b""]))
    assert [x.place for x in found] == ["rows.jsonl:2", "rows.jsonl:5"]


def test_byte_order_marks_are_no_text(path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    assert [type(x) for x in read(path, mark + GOOD + b"\n" + mark + GOOD)] == [Row, Row]
    assert read(path, mark) == []


def test_an_empty_file_has_no_rows(path: Path) -> None:
    assert read(path, b"") == []


def test_a_huge_line_is_a_fault_and_is_not_held(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE", 1 << 16)
    huge = b'{"query": "' + b"x" * (1 << 24) + b'"}'
    path.write_bytes(b"\n".join([GOOD, huge, GOOD, huge]))
    tracemalloc.start()
    columns = JsonlSource(path=str(path))
    found = list(rows_of_records(JsonlReader(path), columns))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(type(x), x.place) for x in found] == [
        (Row, "rows.jsonl:1"),
        (Fault, "rows.jsonl:2"),
        (Row, "rows.jsonl:3"),
        (Fault, "rows.jsonl:4"),
    ]
    assert peak < 1 << 20


def test_a_line_of_the_greatest_length_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE", len(GOOD) + 1)
    assert [type(x) for x in read(path, GOOD + b"\n" + GOOD + b" \n" + GOOD)] == [Row, Fault, Row]


def test_the_digest_is_of_the_bytes(path: Path) -> None:
    path.write_bytes(GOOD + b"\r\n\n" + GOOD)
    reader = JsonlReader(path)
    list(reader)
    again = reader.digest
    list(reader)
    assert reader.digest == again == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@given(st.binary(max_size=200))
def test_no_line_does_harm(raw: bytes) -> None:
    with contextlib.suppress(Unusable):
        assert isinstance(parse_line(raw), dict)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["query", "positive", "x", "\ud800"]), VALUES))
def test_a_row_can_be_stored_or_is_a_fault(
    tmp_path_factory: pytest.TempPathFactory, value: dict
) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    (found,) = read(path, json.dumps(value).encode())
    if isinstance(found, Row):
        assert all(text.strip() and text.encode() for text in (found.query, found.positive))
        assert all(abs(x) < float("inf") and key.encode() for key, x in found.numbers.items())
