"""BM25 against its formula, and what counts as found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.runtime.data.bm25 import BM25, K1, B, score_split, words
from specrun.runtime.data.relevance import relevance
from specrun.runtime.data.rows import Split

DOCUMENTS = [
    "def wrap_text(text, width): return text",
    "def getHTTPResponse(self): return self.response",
    "text text text width",
    "",
    "class TextWrapper: pass",
]


def split(pairs: list[tuple[str, str]]) -> Split:
    queries, positives = [q for q, _ in pairs], [p for _, p in pairs]
    return Split(queries, positives, queries, queries, {})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("getHTTPResponse", ["get", "http", "response"]),
        ("snake_case_2x", ["snake", "case", "2", "x"]),
        ("Größe ΑΒΓ", ["größe", "αβγ"]),
        ("a.b(c)!", ["a", "b", "c"]),
        ("", []),
        ("__", []),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


@pytest.mark.parametrize("query", ["wrap text", "text text width", "response", "absent", ""])
def test_scores_are_those_of_the_formula(query: str) -> None:
    documents = [words(d) for d in DOCUMENTS]
    mean = sum(map(len, documents)) / len(documents)

    def score(document: list[str]) -> float:
        total = 0.0
        for word in words(query):
            n, times = sum(word in d for d in documents), document.count(word)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            norm = times + K1 * (1 - B + B * len(document) / mean)
            total += idf * times * (K1 + 1) / norm if times else 0.0
        return total

    found = BM25(DOCUMENTS).scores(query)
    assert found.tolist() == pytest.approx([score(d) for d in documents], abs=1e-12)


def test_documents_without_a_word_score_nothing() -> None:
    assert BM25(["", "!!"]).scores("text").tolist() == [0.0, 0.0]


def test_texts_that_repeat_are_one_query_and_one_candidate() -> None:
    pairs = relevance(
        split(
            [("wrap", "one"), ("WRAP ", "two"), ("other", "one"), ("wrap", "three"), ("x", "One")]
        )
    )
    assert pairs.queries.tolist() == [0, 2, 4]
    assert pairs.candidates.tolist() == [0, 1, 3]
    assert pairs.relevant == ((0, 1, 2), (0,), (0,))


def test_a_split_is_scored_over_all_its_candidates() -> None:
    rows = [(f"word{chr(97 + i)} find", f"def word{chr(97 + i)}(): pass") for i in range(20)]
    rows.insert(0, ("nothing in common", "def other(): pass"))
    found = score_split(split(rows), ("mrr@10", "recall@1"))
    assert found["recall@1"] == pytest.approx(20 / 21)
    assert found["mrr@10"] >= found["recall@1"]
    assert score_split(split([]), ("mrr@10",)) == {}


def test_ties_rank_as_those_of_the_encoder_do() -> None:
    rows = [(f"absent {word}", f"def {word * 2}()") for word in ("a", "b", "c")]
    found = score_split(split(rows), ("mrr@10",))
    assert found["mrr@10"] == pytest.approx(np.mean([1 / 3, 1 / 2, 1]))
