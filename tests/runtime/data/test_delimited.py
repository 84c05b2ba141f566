"""CSV and TSV: every fault has its class and its line, and nothing is swallowed in silence."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specrun.runtime.data import delimited
from specrun.runtime.data.delimited import DelimitedReader
from specrun.runtime.data.raw import Fault, FileError, Record
from specrun.spec.plan.data import CsvSource

HEAD = b"query,positive,more\n"
GOOD = b"q,p,1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def read(path: Path, raw: bytes, delimiter: str = ",", **columns: str) -> list[Record | Fault]:
    path.write_bytes(raw)
    return list(DelimitedReader(path, CsvSource(path=str(path), **columns), delimiter))


def records(found: list[Record | Fault]) -> list[tuple[int, list[str]]]:
    return [(x.line, list(x.values.values())) for x in found if isinstance(x, Record)]


FAULTS = {
    "too few fields": [b"q,p\n", b"q\n", b'"q"\n'],
    "too many fields": [b"q,p,1,2\n", b",,,\n"],
    "NUL byte": [b"q,p\0,1\n", b'"q\0\n",p,1\n'],
    "not UTF-8": [b"q,\xff,1\n", b'"\xe9\n",p,1\n'],
    "not CSV": [b'"q"x,p,1\n', b"q,p\r,1\n", b'"a"b\n'],
}


@pytest.mark.parametrize("reason", FAULTS)
def test_faults(path: Path, reason: str) -> None:
    for row in FAULTS[reason]:
        lines = row.count(b"\n")
        found = read(path, HEAD + GOOD + b"\n" + row + GOOD)
        assert [type(x) for x in found] == [Record, Fault, Record], row
        fault = found[1]
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.place) == (reason, "rows.csv:4")
        assert records(found)[1][0] == 4 + lines


def test_rows(path: Path) -> None:
    raw = HEAD + 'ä,"say ""so"", twice","1\n2"\r\n\r\n"",  ,日本\n'.encode()
    assert records(read(path, raw)) == [
        (2, ["ä", 'say "so", twice', "1\n2"]),
        (5, ["", "  ", "日本"]),
    ]


def test_a_record_knows_its_columns_and_that_it_is_text(path: Path) -> None:
    (found,) = read(path, HEAD + GOOD)
    assert found == Record("rows.csv", 2, {"query": "q", "positive": "p", "more": "1"}, True)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "é"])
def test_delimiters(path: Path, delimiter: str) -> None:
    raw = f"query{delimiter}positive\na,b{delimiter}c\n".encode()
    assert records(read(path, raw, delimiter)) == [(2, ["a,b", "c"])]


def test_a_byte_order_mark_and_blank_lines_before_the_header_do_no_harm(path: Path) -> None:
    assert records(read(path, b"\xef\xbb\xbf\n  \n" + HEAD + GOOD)) == [(4, ["q", "p", "1"])]
    assert records(read(path, b'\xef\xbb\xbf"query",positive,more\n' + GOOD))[0][0] == 2


def test_a_file_without_a_last_line_end(path: Path) -> None:
    assert len(records(read(path, HEAD + b"q,p,1"))) == 1
    assert len(records(read(path, HEAD + b'q,p,"1"'))) == 1


@pytest.mark.parametrize(
    ("raw", "code", "key", "words"),
    [
        (b"", "no-header", "path", "is empty"),
        (b"\n \n", "no-header", "path", "is empty"),
        (b"\xff\xfeq\0u\0", "bad-header", "path", "no readable header: NUL byte"),
        (b"\xe9,positive\n", "bad-header", "path", "not UTF-8"),
        (b"query,positive\rq,p\r", "bad-header", "path", "not CSV"),
        (b"Query,positive\n", "unknown-column", "columns.query", "no column `query`"),
        (b"query,positives\n", "unknown-column", "columns.positive", "no column `positive`"),
        (b"query,positive,a,a\n", "doubled-column", "path", "two columns named `a`"),
        (b'query,"positive\n', "open-quote", "path", "begins in the row of line 1"),
    ],
)
def test_a_header_that_is_none(path: Path, raw: bytes, code: str, key: str, words: str) -> None:
    with pytest.raises(FileError, match=words) as caught:
        read(path, raw)
    assert (caught.value.code, caught.value.key) == (code, key)
    assert caught.value.hint


def test_a_missing_column_is_named_with_the_nearest(path: Path) -> None:
    with pytest.raises(FileError) as caught:
        read(path, HEAD, negatives="mores")
    assert caught.value.key == "columns.negatives"
    assert caught.value.hint == ("did you mean `more`? the columns are `query`, `positive`, `more`")


@pytest.mark.parametrize(
    "end", [b'q,"p,1\n' + GOOD, b'q,"cut in the mid', b'q,p,"', b'x"y,"p\n' + GOOD]
)
def test_a_quote_that_is_open_at_the_end_stops_the_reading(path: Path, end: bytes) -> None:
    """Nobody knows how many rows it swallowed, so it is no fault of one row."""
    with pytest.raises(FileError, match=r"begins in the row of line 3") as caught:
        read(path, HEAD + GOOD + end)
    assert caught.value.code == "open-quote"


def test_a_stray_quote_says_how_far_it_reaches(path: Path) -> None:
    found = read(path, HEAD + b'"q,p,1\n' + GOOD * 3 + b'q,"p",1\n' + GOOD)
    assert [x.line for x in found] == [2, 7]
    assert isinstance(found[0], Fault)
    assert found[0].detail.endswith("it runs to line 6")


def test_a_huge_row_is_a_fault_and_is_not_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_ROW", 1 << 16)
    monkeypatch.setattr(delimited, "_BLOCK", 1 << 12)
    many = b'"' + b'say ""so"",\n' * (1 << 20) + b'",p,1\n'
    wide = b"x" * (1 << 24) + b",p,1\n"
    path.write_bytes(HEAD + GOOD + many + GOOD + wide + GOOD)
    tracemalloc.start()
    found = list(DelimitedReader(path, CsvSource(path=str(path)), ","))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    after = 3 + (1 << 20) + 1
    assert [(type(x), x.line) for x in found] == [
        (Record, 2), (Fault, 3), (Record, after), (Fault, after + 1), (Record, after + 2),
    ]  # fmt: skip
    assert {x.reason for x in found if isinstance(x, Fault)} == {"row too long"}
    assert peak < 1 << 20


def test_a_huge_row_whose_quote_never_closes_stops_the_reading(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "MAX_ROW", 1 << 10)
    with pytest.raises(FileError, match="begins in the row of line 2"):
        read(path, HEAD + b'"' + GOOD * 1000)


def test_the_greatest_row_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_ROW", len(HEAD))
    wide = b"q,p," + b"x" * (len(HEAD) - 5) + b"\n"
    found = read(path, HEAD + wide + b"x" + wide + b'q,"\np",' + b"x" * (len(HEAD) - 8) + b"\n")
    assert [type(x) for x in found] == [Record, Fault, Record]


def test_a_field_beyond_the_limit_of_the_csv_module(path: Path) -> None:
    wide = b"x" * 200_000
    assert records(read(path, HEAD + b"q," + wide + b",1\n"))[0][1][1] == wide.decode()


def test_the_digest_is_of_the_bytes(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + HEAD + b'"q\r\n",p,1\r\n\n' + b"q,p\n")
    reader = DelimitedReader(path, CsvSource(path=str(path)), ",")
    for _ in range(2):
        list(reader)
        assert reader.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_part_of_a_file_ends_without_a_complaint(path: Path) -> None:
    path.write_bytes(HEAD + GOOD * 10 + b'"open\n' + GOOD * 1000)
    for most in (50, 85, 400):
        found = list(DelimitedReader(path, CsvSource(path=str(path)), ",", most))
        assert all(isinstance(x, Record) for x in found)
        assert 1 <= len(found) <= 10


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=8))
def test_what_the_csv_module_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("query", "positive", "more"), *rows])
    path = tmp_path_factory.getbasetemp() / "any.csv"
    found = read(path, text.getvalue().encode())
    assert [tuple(row) for _, row in records(found)] == rows
    assert len(found) == len(rows)


@given(st.binary(max_size=100), st.sampled_from([",", "\t"]))
def test_no_bytes_do_harm(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "harm.csv"
    with contextlib.suppress(FileError):
        found = read(path, HEAD.replace(b",", delimiter.encode()) + raw, delimiter)
        assert all(x.line > 1 for x in found)
