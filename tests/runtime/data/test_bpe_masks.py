"""A tokenizer for a masked language model gives back the text that it was given."""

from __future__ import annotations

import pytest

from specrun.runtime.data.bpe import train
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.spec.plan.data import TrainedTokenizer

TEXTS = ["The cat sat on the mat.  It slept.\nThen it ran to the cat."] * 3


def trained(**changes: bool) -> Tokenizer:
    settings = {"lowercase": False, "split_identifiers": False, "masks": True, **changes}
    return Tokenizer(train(TrainedTokenizer(vocab_size=400, min_frequency=1, **settings), TEXTS))


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    [ids] = tokenizer.encode([text], 100)
    return [str(tokenizer.token_of(int(i))[0]) for i in ids]


@pytest.mark.parametrize(
    "text", [TEXTS[0], "  two  spaces ", "a\n\n\tb", "snake_case and camelCase", "Straße 東京 🙂"]
)
def test_texts_come_back_as_they_were(text: str) -> None:
    tokenizer = trained()
    [ids] = tokenizer.encode([text], 100)
    assert tokenizer.decode(ids) == text


def test_a_mark_takes_the_space_before_it() -> None:
    """As a hidden word does, whose space is a part of it."""
    tokenizer = trained()
    assert tokens(tokenizer, "The cat sat") == ["The", "Ġcat", "Ġsat"]
    assert tokens(tokenizer, "The [MASK] sat") == ["The", "[MASK]", "Ġsat"]
    assert tokens(tokenizer, "[MASK][MASK] sat [SEP] It") == [
        "[MASK]", "[MASK]", "Ġsat", "[SEP]", "ĠIt",
    ]  # fmt: skip


def test_special_tokens_are_no_text() -> None:
    tokenizer = trained()
    [ids] = tokenizer.encode(["The [MASK] sat [SEP] It"], 100)
    assert tokenizer.decode(ids) == "The sat It"
    assert {tokenizer.token_of(i)[0] for i in tokenizer.special_ids()} == {
        "[PAD]", "[CLS]", "[MASK]", "[SEP]",
    }  # fmt: skip


def test_identifiers_are_split_where_that_is_asked_for() -> None:
    [ids] = trained(split_identifiers=True).encode(["snake_case camelCase"], 100)
    assert trained(split_identifiers=True).decode(ids) == "snake case camel Case"
