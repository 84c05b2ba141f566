"""Prompts as rows of ids: where marks go, and what cannot be a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.generate.options import style_ids, with_options
from specrun.runtime.generate.prompts import rows_of
from specrun.spec.diagnostics import InputError
from tests.runtime.generate.folders import MASK, make_settings, tokenizer_text


def tokens(text: str, *, end: bool = False, max_length: int = 12) -> list[str]:
    tokenizer = Tokenizer(tokenizer_text(end=end))
    [row] = rows_of(tokenizer, [text], MASK, max_length, 1)
    return [str(tokenizer.token_of(int(i))[0]) for i in row.ids]


def test_a_prompt_is_continued_to_the_length() -> None:
    assert tokens("the red", max_length=6) == ["[CLS]", "▁the", "▁red", *["[MASK]"] * 3]


def test_marks_go_before_what_ends_a_text() -> None:
    expected = ["[CLS]", "▁the", "▁red", "[MASK]", "[MASK]", "[SEP]"]
    assert tokens("the red", end=True, max_length=6) == expected


def test_each_mark_is_one_token() -> None:
    assert tokens("the [MASK] of [MASK][MASK] a", end=True) == [
        "[CLS]", "▁the", "[MASK]", "▁of", "[MASK]", "[MASK]", "▁a", "[SEP]",
    ]  # fmt: skip


def test_the_mark_is_what_the_tokenizer_calls_it() -> None:
    """RoBERTa's is <mask>; in a prompt [MASK] means it."""
    tokenizer = Tokenizer(tokenizer_text().replace("[MASK]", "<mask>"))
    [row] = rows_of(tokenizer, ["the [MASK]"], MASK, 12, 1)
    assert row.ids.tolist() == [2, 11, MASK]
    [row] = rows_of(tokenizer, ["the <mask>"], MASK, 12, 1)
    assert row.ids.tolist() == [2, 11, MASK]


def test_equal_prompts_are_told_apart() -> None:
    tokenizer = Tokenizer(tokenizer_text())
    rows = rows_of(tokenizer, ["the", "a", "the"], MASK, 12, 2)
    assert [(r.prompt, r.number, r.twin) for r in rows] == [
        (0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 1), (2, 0, 2), (2, 1, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompts", "code", "said"),
    [
        ("the", "bad-prompt", "list of str"),
        ([1], "bad-prompt", "prompts[0] is int"),
        (["the", "\ud800"], "bad-prompt", "prompts[1] is not valid Unicode"),
        (["the", " \n"], "empty-prompt", "prompts[1] is empty"),
        (["the of a"], "prompt-too-long", "4 tokens long, special tokens included"),
        (["the of a one two"], "prompt-too-long", "6 tokens long"),
        (["[MASK] of a one"], "prompt-too-long", "5 tokens long"),
    ],
)
def test_what_is_no_prompt(prompts: Any, code: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(Tokenizer(tokenizer_text()), prompts, MASK, 4, 1)
    assert caught.value.diagnostics[0].code == code
    assert said in str(caught.value)


def test_marks_may_fill_the_length() -> None:
    assert len(tokens("[MASK] of a", max_length=4)) == 4


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("temperature", -0.1, "of at least 0"),
        ("temperature", float("nan"), "finite number"),
        ("temperature", "hot", "finite number"),
        ("steps", 0, "whole number from 1"),
        ("steps", 2.0, "whole number from 1"),
        ("max_length", 33, "positions for 32 tokens"),
        ("max_length", True, "whole number"),
        ("top_k", 65, "from 1 to 64"),
        ("top_k", 0, "from 1 to 64"),
        ("top_p", 0.0, "above 0"),
        ("top_p", 1.5, "at most 1"),
        ("num_return_sequences", 0, "whole number from 1"),
        ("confidence_schedule", "cosine", "linear or exponential"),
        ("style", " ", "tokens are favoured"),
        ("style_strength", float("inf"), "finite number"),
    ],
)
def test_options_that_cannot_be_used(option: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        with_options(make_settings(), {option: value}, 64, 32)
    [found] = caught.value.diagnostics
    assert found.code == "bad-option"
    assert option in found.message
    assert said in found.message


def test_every_bad_option_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        with_options(make_settings(), {"steps": 0, "top_p": 2.0}, 64, 32)
    assert len(caught.value.diagnostics) == 2


def test_an_unknown_option_is_told() -> None:
    with pytest.raises(InputError, match="no setting 'heat'"):
        with_options(make_settings(), {"heat": 1}, 64, 32)


def test_options_take_the_place_of_the_plans() -> None:
    found = with_options(make_settings(top_k=3), {"top_k": None, "steps": 9}, 64, 32)
    assert found == make_settings(steps=9)


def test_a_style_is_its_tokens_without_special_ones() -> None:
    tokenizer = Tokenizer(tokenizer_text(end=True))
    assert style_ids(tokenizer, "red blue") == [5, 7]
