"""Where sentences end, and where a full stop ends none."""

from __future__ import annotations

import pytest

from specrun.runtime.data.sentences import paragraphs, sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["Hello World.", "My name is Jonas."],
        ["What is your name?", "My name is Jonas."],
        ["There it is!", "I found it."],
        ["My name is Jonas E. Smith."],
        ["Please turn to p. 55."],
        ["Were Jane and co. at the party?"],
        ["They closed the deal with Pitt, Briggs & Co. at noon."],
        ["Let's ask Jane and co.", "They should know."],
        ["They closed the deal with Pitt, Briggs & Co.", "It closed yesterday."],
        ["I can see Mt. Fuji from here."],
        ["St. Michael's Church is on 5th st. near the light."],
        ["That is JFK Jr.'s book."],
        ["I visited the U.S.A. last year."],
        ["I live in the E.U.", "How about you?"],
        ["I work for the U.S. Government in Virginia."],
        ["I have lived in the U.S. for 20 years."],
        ["She has $100.00 in her bag.", "It is there."],
        [
            "He teaches science (He previously worked for 5 years as an engineer.) at the local University."
        ],
        ["She turned to him, 'This is great.' she said."],
        ['She turned to him, "This is great."', "She held the book out to show him."],
        ["Hello!!", "Long time no see."],
        ["Hello??", "Who is there?"],
        ["Version 3.11 is out, e.g. for Debian.", "See Fig. 2 and Sec. 4.1 for more."],
        ["Dr. Who met Prof. Smith on Jan. 5.", "They talked."],
        ["Wait… what?", "No."],
        ["これは文です。", "もう一つ！"],
        ["no capital at all"],
    ],
)
def test_sentences_end_where_they_end(expected: list[str]) -> None:
    assert (
        sentences(" ".join(expected) if "。" not in expected[0] else "".join(expected)) == expected
    )


def test_nothing_is_lost() -> None:
    text = "  One  two.\nThree? (Four.) Five "
    assert " ".join(sentences(text)) == "One two. Three? (Four.) Five"
    assert sentences("") == []
    assert sentences(" . ") == ["."]


def test_paragraphs_lie_between_blank_lines() -> None:
    assert paragraphs("One\ntwo.\n \n\nThree.\r\n\r\nFour.") == ["One two.", "Three.", "Four."]
    assert paragraphs(" \n\n ") == []
