"""Nothing leaks across the split, and nothing moves when rows are added or come in another order."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from specrun.runtime.data.raw import Row
from specrun.runtime.data.split import Division, divide, normalise

TEXTS = st.sampled_from(
    [
        f"{word}{space}{n}"
        for word in ("a", "A", "ß", "ss", "ﬁ")
        for space in (" ", "\n\t")
        for n in range(9)
    ]
)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=60)
FRACTIONS = st.sampled_from([0.05, 0.3, 0.5, 0.9])


def rows(pairs: list[tuple[str, str]], name: str = "a") -> list[Row]:
    return [Row(q, p, f"{name}:{i}") for i, (q, p) in enumerate(pairs, start=1)]


def texts(side: list[Row]) -> set[str]:
    return {normalise(t) for row in side for t in (row.query, row.positive)}


def keys(side: list[Row]) -> set[tuple[str, str]]:
    return {(normalise(row.query), normalise(row.positive)) for row in side}


def add_up(division: Division, read: int) -> None:
    kept = len(division.training) + len(division.validation)
    assert read == kept + division.duplicates + division.dropped


@given(PAIRS, FRACTIONS)
def test_no_text_is_on_both_sides(pairs: list[tuple[str, str]], fraction: float) -> None:
    division = divide(rows(pairs), fraction)
    assert not texts(division.training) & texts(division.validation)
    assert len(keys(division.training)) == len(division.training)
    assert len(keys(division.validation)) == len(division.validation)
    add_up(division, len(pairs))


@given(PAIRS, PAIRS)
def test_no_text_of_a_held_out_file_is_trained_on(
    pairs: list[tuple[str, str]], held: list[tuple[str, str]]
) -> None:
    division = divide(rows(pairs), held_out=rows(held, "b"))
    assert not texts(division.training) & texts(division.validation)
    assert keys(division.validation) == keys(rows(held))
    assert all(row.place.startswith("b") for row in division.validation)
    add_up(division, len(pairs) + len(held))


@given(PAIRS, PAIRS, FRACTIONS)
def test_adding_rows_moves_none(
    pairs: list[tuple[str, str]], more: list[tuple[str, str]], fraction: float
) -> None:
    before, after = divide(rows(pairs), fraction), divide(rows(pairs + more), fraction)
    assert keys(before.validation) <= keys(after.validation)
    assert not keys(before.training) & keys(after.validation)
    gone = keys(before.training) - keys(after.training)
    assert all({q, p} & texts(after.validation) for q, p in gone), "only a new leak drops a row"


@given(PAIRS, FRACTIONS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    pairs: list[tuple[str, str]], fraction: float, chance: random.Random
) -> None:
    mixed = pairs.copy()
    chance.shuffle(mixed)
    one, two = divide(rows(pairs), fraction), divide(rows(mixed), fraction)
    assert keys(one.training) == keys(two.training)
    assert keys(one.validation) == keys(two.validation)
    assert (one.duplicates, one.dropped) == (two.duplicates, two.dropped)


def test_sides_keep_the_order_read_and_the_first_of_equal_rows() -> None:
    pairs = [(f"q{i}", f"p{i}") for i in range(100)] * 2
    division = divide(rows(pairs), 0.3)
    for side in (division.training, division.validation):
        lines = [int(row.place.partition(":")[2]) for row in side]
        assert lines == sorted(lines)
        assert max(lines) <= 100
    assert division.duplicates == 100


def test_the_fraction_is_kept() -> None:
    pairs = [(f"query {i}", f"positive {i}") for i in range(20_000)]
    for fraction in (0.01, 0.1, 0.5):
        held = len(divide(rows(pairs), fraction).validation)
        spread = (20_000 * fraction * (1 - fraction)) ** 0.5
        assert abs(held - 20_000 * fraction) < 5 * spread


def test_larger_fractions_only_add_to_what_is_held_out() -> None:
    pairs = [(f"query {i}", f"positive {i}") for i in range(500)]
    small, large = divide(rows(pairs), 0.1), divide(rows(pairs), 0.2)
    assert keys(small.validation) < keys(large.validation)


def test_sides_are_the_same_on_every_machine() -> None:
    pairs = [(f"query {i}", f"positive {i}") for i in range(60)]
    held = [row.query for row in divide(rows(pairs), 0.1).validation]
    assert held == ["query 32", "query 37", "query 53", "query 59"]


def test_the_extremes() -> None:
    pairs = [(f"query {i}", f"positive {i}") for i in range(50)]
    assert divide(rows(pairs)).validation == []
    assert divide(rows(pairs), 0.0).validation == []
    assert divide(rows(pairs), 1.0).training == []
    assert divide([], 0.5) == Division([], [], Counter(), Counter())


def test_texts_that_only_look_different_are_one() -> None:
    same = ["Straße  ﬁnden", "strasse\nfinden ", "\u3000STRASSE\u00a0FINDEN"]
    assert len({normalise(t) for t in same}) == 1
    assert normalise("resume") != normalise("résumé")
    division = divide(rows([("a", "b"), ("c", "d")]), held_out=rows([("x", "D ")], "b"))
    assert [r.query for r in division.training] == ["a"]
    assert division.dropped == 1
