"""Texts made of texts: how much is hidden, what is left out, and that the rest is a function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from specrun import Predictor
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.generate.filler import Completion
from specrun.runtime.generate.prompts import Row
from specrun.runtime.generate.pseudo import (
    Pseudo,
    Rules,
    hide_some,
    jaccard,
    pseudo_texts,
    unfit,
)
from specrun.spec.plan.segments import pseudo_count
from tests.runtime.generate.folders import (
    MASK,
    SPECIAL,
    WORDS,
    make_settings,
    make_text_run,
    tokenizer_text,
)

LOOSE = Rules(words=(1, 99), similarity=(0.0, 1.0), unique_words=0.0)
TOKENIZER = Tokenizer(tokenizer_text())
TEXTS = [" ".join(WORDS[(i * 3 + j) % 10] for j in range(5 + i % 6)) for i in range(200)]


class Recorded:
    """Fills every hidden token with one word, and keeps what it was shown."""

    def __init__(self, word: int = 12) -> None:
        self.word, self.rows = word, list[Row]()

    def __call__(self, rows: Sequence[Row]) -> list[Completion]:
        self.rows += rows
        return [self.filled(row) for row in rows]

    def filled(self, row: Row) -> Completion:
        ids = np.where(row.ids == MASK, self.word, row.ids)
        return Completion(row.prompt, row.number, TOKENIZER.decode(ids), ids, ids)


def made(fill: Recorded, *, count: int = 1000, rules: Rules = LOOSE, seed: int = 0) -> Pseudo:
    return pseudo_texts(
        TEXTS, fill, TOKENIZER, MASK, count=count, longest=32, rules=rules, seed=seed
    )


def test_a_share_of_each_text_is_hidden() -> None:
    fill = Recorded()
    made(fill)
    assert sorted(row.prompt for row in fill.rows) == list(range(200))
    shares = []
    for row in fill.rows:
        [ids] = TOKENIZER.encode([TEXTS[row.prompt]], 99)
        hidden = row.ids == MASK
        np.testing.assert_array_equal(row.ids[~hidden], ids[~hidden])
        assert not hidden[0]  # [CLS]
        free = len(ids) - 1
        assert max(1, int(free * 0.2)) <= hidden.sum() <= int(free * 0.4)
        shares.append(hidden.sum() / free)
    assert len(set(shares)) > 4


def test_every_token_may_be_hidden_and_the_rate_is_even() -> None:
    draw = np.random.default_rng(0).integers(0, 2**63, (3000, 102), dtype=np.uint64) * np.uint64(2)
    ids = np.arange(5, 106, dtype=np.int32)
    found = np.stack([hide_some(ids, MASK, frozenset({5}), (0.2, 0.4), d) for d in draw]) == MASK
    assert not found[:, 0].any()
    assert found[:, 1:].mean(axis=0) == pytest.approx(np.full(100, 0.295), abs=0.05)
    counts = found.sum(axis=1)
    assert (counts.min(), counts.max()) == (20, 39)
    assert np.bincount(counts - 20) == pytest.approx(np.full(20, 150), abs=75)


def test_one_token_at_least_is_hidden() -> None:
    draw = np.zeros(3, np.uint64)
    ids = np.array([2, 9], np.int32)
    assert hide_some(ids, MASK, frozenset({2}), (0.2, 0.4), draw).tolist() == [2, MASK]


def test_the_seed_decides_and_the_number_does_not() -> None:
    first = made(Recorded())
    assert made(Recorded()) == first
    assert made(Recorded(), seed=1).sources != first.sources
    for count in (0, 1, 7, 70):
        few = made(Recorded(), count=count)
        assert few.texts == first.texts[:count]
        assert few.sources == first.sources[:count]
    assert len(set(first.texts)) == len(first.texts) < 200
    assert first.left_out["doubled"] + first.left_out["same"] == 200 - len(first.texts)


def test_no_more_is_made_than_is_wanted() -> None:
    fill = Recorded()
    made(fill, count=3)
    assert len(fill.rows) == 64


@pytest.mark.parametrize(
    ("rows", "ratio", "most", "expected"),
    [(1000, 0.25, 100, 100), (100, 0.25, 100, 25), (100, 0.29, 100, 29), (3, 0.25, 100, 0)],
)
def test_how_many_are_wanted(rows: int, ratio: float, most: int, expected: int) -> None:
    assert pseudo_count(rows, ratio, most) == expected


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("the red cat sat", "the blue cat sat", None),
        ("the cat", "the blue cat", "length"),
        ("a b c d e f g h i", "a b c", "length"),
        ("the blue cat sat", "the blue cat sat", "same"),
        ("The, blue cat sat.", "the blue cat sat", "similarity"),
        ("one two three four", "five six seven four", "similarity"),
        ("the the the the cat", "the cat sat on", "repetition"),
        ("The the CAT cat", "the cat", "similarity"),
    ],
)
def test_what_is_left_out(text: str, source: str, expected: str | None) -> None:
    assert unfit(text, source, Rules(words=(3, 8))) == expected


def test_jaccard_is_of_sets() -> None:
    assert jaccard(["a", "b", "b"], ["b", "c"]) == pytest.approx(1 / 3)
    assert jaccard([], []) == 1.0
    assert jaccard(["a"], []) == 0.0


def test_of_a_long_text_the_beginning_is_taken() -> None:
    """As in training, which cuts it too."""
    fill = Recorded()
    found = pseudo_texts(
        ["the red", " ".join(["the"] * 40)],
        fill,
        TOKENIZER,
        MASK,
        count=2,
        longest=32,
        rules=LOOSE,
        seed=0,
    )
    assert sorted(found.sources) == [0, 1]
    assert found.left_out == {}
    assert sorted(len(row.ids) for row in fill.rows) == sorted(
        map(len, TOKENIZER.encode(["the red", "the " * 40], 32))
    )
    assert max(len(row.ids) for row in fill.rows) == 32


def test_it_can_be_left_between_portions() -> None:
    fill, calls = Recorded(), []

    def stop() -> None:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pseudo_texts(
            TEXTS, fill, TOKENIZER, MASK, count=200, longest=32, rules=LOOSE, seed=0, between=stop
        )
    assert len(fill.rows) == 64


def test_a_model_makes_texts_of_texts(tmp_path: Path) -> None:
    """By a real network: special tokens are neither hidden nor written, and the same seed gives the same texts."""
    make_text_run(tmp_path)
    predictor = Predictor(tmp_path)
    filler = predictor.generator.filler
    settings = make_settings(max_length=12, temperature=1.0)
    fill = partial(
        filler.fill, predictor.trained.parameters, settings=settings, seed=3, batch_size=32
    )
    parts = {"count": 10, "longest": 20, "rules": LOOSE, "seed": 3}
    found = pseudo_texts(TEXTS[:24], fill, filler.tokenizer, filler.mask_id, **parts)
    assert len(found.texts) == 10
    for text, source in zip(found.texts, found.sources, strict=True):
        assert text != TEXTS[source]
        assert not any(name in text for name in SPECIAL)
    assert pseudo_texts(TEXTS[:24], fill, filler.tokenizer, filler.mask_id, **parts) == found
