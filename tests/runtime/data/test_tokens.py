"""Tokens of all rows: made once, mapped into memory, keyed by what they depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrun.runtime import cache
from specrun.runtime.data.raw import Row
from specrun.runtime.data.rows import store_rows
from specrun.runtime.data.tokenizer import load, prepare
from specrun.runtime.data.tokens import Ragged, tokens_of
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.data import TokenizerPlan, TrainedTokenizer

TRAINED = TrainedTokenizer(vocab_size=320, min_frequency=1, lowercase=True, split_identifiers=True)
TRAINING = [Row(f"find {'a ' * i}", f"def f{i}(): return {i}", f"t:{i}") for i in range(20)]
HELD_OUT = [Row("held out query", "def held(): pass", "v:1")]


@pytest.fixture
def stored(cache_folder: Path) -> tuple[str, TokenizerPlan]:
    """Digest of the rows, and their tokenizer."""
    digest = store_rows(TRAINING, HELD_OUT)
    return digest, prepare(TRAINED, digest)


def test_tokens_are_those_of_the_tokenizer(stored: tuple[str, TokenizerPlan]) -> None:
    digest, plan = stored
    tokens = tokens_of(digest, plan, 12, 9)
    tokenizer = load(plan)
    for side, rows in ((tokens.training, TRAINING), (tokens.validation, HELD_OUT)):
        wanted = tokenizer.encode([r.query for r in rows], 12)
        assert [side.queries[i].tolist() for i in range(len(rows))] == [x.tolist() for x in wanted]
        wanted = tokenizer.encode([r.positive for r in rows], 9)
        assert [side.positives[i].tolist() for i in range(len(rows))] == [
            x.tolist() for x in wanted
        ]
        assert side.queries.lengths.max() <= 12
        assert side.positives.lengths.max() <= 9
    assert tokens.pad_id == plan.pad_id
    assert isinstance(tokens.training.queries.ids, np.memmap)
    assert not tokens.training.queries.ids.flags.writeable


def test_tokens_are_made_once(
    stored: tuple[str, TokenizerPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, plan = stored
    first = tokens_of(digest, plan, 12, 9)
    monkeypatch.setattr("specrun.runtime.data.tokens.load", lambda *_, **__: 1 / 0)
    again = tokens_of(digest, plan, 12, 9)
    assert np.array_equal(first.training.positives.ids, again.training.positives.ids)
    with pytest.raises(ZeroDivisionError):
        tokens_of(digest, plan, 13, 9)


def test_damaged_tokens_are_made_again(
    stored: tuple[str, TokenizerPlan], cache_folder: Path
) -> None:
    digest, plan = stored
    wanted = np.array(tokens_of(digest, plan, 12, 9).training.queries.ids)
    (folder,) = (cache_folder / "tokens").iterdir()
    for path in folder.iterdir():
        if path.name != cache.MANIFEST and path.stat().st_size:
            path.write_bytes(b"\xff" + path.read_bytes()[1:])
    assert np.array_equal(tokens_of(digest, plan, 12, 9).training.queries.ids, wanted)


def test_rows_that_the_cache_lost_are_missed(stored: tuple[str, TokenizerPlan]) -> None:
    with pytest.raises(RunError, match="compile again"):
        tokens_of("sha256:" + "0" * 64, stored[1], 12, 9)


def test_no_rows_at_all(stored: tuple[str, TokenizerPlan]) -> None:
    tokens = tokens_of(store_rows([], []), stored[1], 12, 9)
    assert len(tokens.training.queries) == len(tokens.validation.positives) == 0
    ids, mask = tokens.training.queries.gather(np.zeros((2, 0), np.int64), 4, 0)
    assert ids.shape == mask.shape == (2, 0, 4)


@given(
    st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=8),
    st.data(),
)
@settings(deadline=None)
def test_gathered_rows_are_padded_on_the_right(rows: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged(
        np.array([x for row in rows for x in row], np.int32),
        np.cumsum([0, *map(len, rows)]),
    )
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    length = data.draw(st.integers(6, 9))
    ids, mask = ragged.gather(np.array([chosen]), length, 100)
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)
    assert ids.tolist() == [[rows[i] + [100] * (length - len(rows[i])) for i in chosen]]
    assert mask.tolist() == [[[j < len(rows[i]) for j in range(length)] for i in chosen]]


def test_a_row_that_does_not_fit_is_refused() -> None:
    ragged = Ragged(np.arange(5, dtype=np.int32), np.array([0, 2, 5]))
    assert ragged.gather(np.array([0]), 2, 0)[0].tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="3 tokens does not fit into 2"):
        ragged.gather(np.array([0, 1]), 2, 0)
