"""Equal queries share what is to be found, and equal positives are one candidate."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from specrun.runtime.data.relevance import relevance
from specrun.runtime.data.rows import Split
from specrun.runtime.data.split import normalise


def split(pairs: list[tuple[str, str]]) -> Split:
    queries, positives = [q for q, _ in pairs], [p for _, p in pairs]
    blank = [""] * len(pairs)
    return Split(queries, positives, blank, blank, {})


def test_repeats() -> None:
    found = relevance(split([("a", "x"), ("b", "y"), ("A ", "y"), ("c", "X"), ("a", "x")]))
    assert found.queries.tolist() == [0, 1, 3]
    assert found.candidates.tolist() == [0, 1]
    assert found.relevant == ((0, 1), (1,), (0,))


def test_no_rows() -> None:
    found = relevance(split([]))
    assert found.queries.shape == found.candidates.shape == (0,)
    assert found.queries.dtype == np.int64
    assert found.relevant == ()


LETTERS = st.sampled_from("abcABC")


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=30))
def test_the_same_as_by_sets(pairs: list[tuple[str, str]]) -> None:
    rows = split(pairs)
    found = relevance(rows)
    known = {(normalise(q), normalise(p)) for q, p in pairs}
    asked = [normalise(rows.queries[int(i)]) for i in found.queries]
    offered = [normalise(rows.positives[int(i)]) for i in found.candidates]
    assert len(set(asked)) == len(asked)
    assert len(set(offered)) == len(offered)
    assert {
        (q, offered[i]) for q, wanted in zip(asked, found.relevant, strict=True) for i in wanted
    } == known
