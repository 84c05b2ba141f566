"""Records to rows: one set of rules for texts, negatives, labels and numbers, whatever the format."""

from __future__ import annotations

from typing import Any

import pytest

from specrun.runtime.data import columns as module
from specrun.runtime.data.columns import need_columns, row_of
from specrun.runtime.data.raw import Fault, FileError, Record, Row
from specrun.spec.plan.data import JsonlSource

COLUMNS = JsonlSource(path="", negatives="wrong", label="class")


def row(textual: bool = False, **more: Any) -> Row | Fault:
    return row_of(Record("f", 7, {"query": "q", "positive": "p", **more}, textual), COLUMNS)


def reason(textual: bool = False, **more: Any) -> str:
    found = row(textual, **more)
    assert isinstance(found, Fault), found
    assert found.place == "f:7"
    return found.reason


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, ()),
        ([], ()),
        ("one", ("one",)),
        (["one", "two"], ("one", "two")),
        (["one", "ONE ", "two", "one"], ("one", "two")),
        ("[one]", ("[one]",)),
    ],
)
def test_negatives(value: object, wanted: tuple[str, ...]) -> None:
    found = row(wrong=value)
    assert isinstance(found, Row)
    assert found.negatives == wanted


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("", ()),
        ("  ", ()),
        ("[]", ()),
        ("one", ("one",)),
        ("one, two", ("one, two",)),
        (' ["one", "two"]', ("one", "two")),
        ('["[one]"]', ("[one]",)),
        ("7", ("7",)),
    ],
)
def test_negatives_in_a_cell_of_text(cell: str, wanted: tuple[str, ...]) -> None:
    found = row(textual=True, wrong=cell)
    assert isinstance(found, Row)
    assert found.negatives == wanted
    assert found.numbers == {}


def test_a_row_without_the_keys_has_no_negatives_and_no_label() -> None:
    found = row()
    assert isinstance(found, Row)
    assert (found.negatives, found.label) == ((), "")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, "`wrong` is neither a text nor a list of texts"),
        ({"a": 1}, "`wrong` is neither a text nor a list of texts"),
        (True, "`wrong` is neither a text nor a list of texts"),
        ("", "`wrong` holds an empty text"),
        (["a", " \n"], "`wrong` holds an empty text"),
        (["a", 3], "`wrong` holds what is not text"),
        (["a", None], "`wrong` holds what is not text"),
        ([["a"]], "`wrong` holds what is not text"),
        (["\ud800"], "`wrong` holds what is not valid Unicode"),
        (["x" * 101], "`wrong` holds a text longer than 100 characters"),
        (["a", " P "], "a negative is the row's own positive"),
        ("\uff30", "a negative is the row's own positive"),
    ],
)
def test_faults_of_negatives(value: object, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXT", 100)
    assert reason(wrong=value) == wanted


@pytest.mark.parametrize("cell", ["[", "[one]", '["a"] b', "[" * 100_000])
def test_a_cell_that_begins_as_a_list_must_be_one(cell: str) -> None:
    assert reason(textual=True, wrong=cell) == "`wrong` begins with [ and is no JSON list"


def test_a_list_in_a_cell_is_looked_at_as_any_other() -> None:
    assert reason(textual=True, wrong='["a", ""]') == "`wrong` holds an empty text"
    assert reason(textual=True, wrong="[NaN]") == "`wrong` holds what is not text"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(3, "3"), (3.0, "3"), ("3", "3"), (-1, "-1"), ("a b", "a b"), (None, ""), ("", ""), (" ", "")],
)
def test_labels(value: object, wanted: str) -> None:
    found = row(**{"class": value})
    assert isinstance(found, Row)
    assert found.label == wanted


@pytest.mark.parametrize("value", [1.5, True, ["a"], {}, float("inf")])
def test_what_is_no_label(value: object) -> None:
    assert reason(**{"class": value}) in (
        "`class` is neither a whole number nor a text",
        "number too large",
    )


def test_a_label_that_is_not_valid_unicode() -> None:
    assert reason(**{"class": "\ud800"}) == "`class` is not valid Unicode"


def test_numbers_are_fields_in_every_format() -> None:
    found = row(size=3, ratio=0.5, on=True, name="x", **{"class": 2})
    assert isinstance(found, Row)
    assert found.numbers == {"size": 3.0, "ratio": 0.5, "class": 2.0}
    cells = {"size": " 3", "ratio": "5e-1", "on": "true", "name": "1,000", "class": "2", "": "4"}
    found = row(textual=True, **cells, hexa="0x10", inf="inf", half="½", one="1_0")
    assert isinstance(found, Row)
    assert found.numbers == {"size": 3.0, "ratio": 0.5, "class": 2.0}
    assert reason(textual=True, size="1e999") == "number too large"


def test_texts_are_no_numbers() -> None:
    record = Record("f", 1, {"query": "1", "positive": "2", "wrong": "3", "class": ""}, True)
    found = row_of(record, COLUMNS)
    assert isinstance(found, Row)
    assert (found.numbers, found.negatives) == ({}, ("3",))


def test_a_text_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXT", 10)
    assert reason(positive="x" * 11) == "`positive` is longer than 10 characters"
    assert isinstance(row(positive="x" * 10), Row)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (["query", "wrong", "class"], "columns.positive"),
        (["query", "positive", "class"], "columns.negatives"),
        (["query", "positive", "wrong"], "columns.label"),
        (["query", "positive", "wrong", "class", "x", "x"], "path"),
    ],
)
def test_a_header_must_have_the_columns(header: list[str], key: str) -> None:
    with pytest.raises(FileError) as caught:
        need_columns(header, COLUMNS, "f")
    assert caught.value.key == key
    need_columns(["query", "positive", "wrong", "class", "", ""], COLUMNS, "f")
