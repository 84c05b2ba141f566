"""A tokenizer.json of any content and any file in its place is read, or refused in one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from specrun.runtime.data.tokenizer import Tokenizer, prepare
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TokenizerFile


def bert() -> tokenizers.Tokenizer:
    words = {"<s>": 0, "</s>": 1, "[PAD]": 2, "[UNK]": 3, "a": 4, "b": 5}
    inner = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return inner


def broken(change: Callable[[dict[str, Any]], object]) -> bytes:
    tree = json.loads(bert().to_str())
    change(tree)
    return json.dumps(tree).encode()


BAD = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "not UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "no model": broken(lambda t: t.pop("model")),
    "unknown model": broken(lambda t: t["model"].update(type="Magic")),
    "no words": broken(
        lambda t: t.update(model=t["model"] | {"vocab": {}}, added_tokens=[], post_processor=None)
    ),
    "an id too large": broken(lambda t: t["model"]["vocab"].update(z=2**31)),
    "an id that is none": broken(lambda t: t["model"]["vocab"].update(z=-1)),
    "added tokens that are none": broken(lambda t: t.update(added_tokens=[{"id": 3}])),
    "a wrong expression": broken(
        lambda t: t.update(
            pre_tokenizer={
                "type": "Split",
                "pattern": {"Regex": "("},
                "behavior": "Removed",
                "invert": False,
            }
        )
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_tokenizer_is_a_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(BAD[name])
    with pytest.raises(InputError) as caught:
        prepare(TokenizerFile(path=str(path)), "")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_a_clear_error(tmp_path: Path, what: str) -> None:
    path = tmp_path / "tokenizer.json"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(InputError, match="cannot read the tokenizer"):
        prepare(TokenizerFile(path=str(path)), "")


def test_a_file_that_fails_on_a_text_is_a_clear_error() -> None:
    inner = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="fails on a text"):
        Tokenizer(inner.to_str()).encode(["b"], 8)


@pytest.mark.parametrize(("most", "wanted"), [(2, [0, 1]), (3, [0, 4, 1]), (9, [0, 4, 5, 4, 5, 1])])
def test_special_tokens_on_both_ends_are_never_cut_off(most: int, wanted: list[int]) -> None:
    (found,) = Tokenizer(bert().to_str()).encode(["a b a b"], most)
    assert found.tolist() == wanted


def test_a_padding_id_that_is_no_id_is_not_taken() -> None:
    inner = bert()
    inner.enable_padding(pad_id=99)
    assert Tokenizer(inner.to_str()).pad_id == 2
