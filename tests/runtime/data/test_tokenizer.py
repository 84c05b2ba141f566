"""Tokenizers: trained to the same bytes every time, or any file with its baked-in settings reset."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from specrun.runtime.data.bpe import PAD, START, train
from specrun.runtime.data.raw import Row
from specrun.runtime.data.rows import store_rows
from specrun.runtime.data.tokenizer import (
    Tokenizer,
    load,
    lowercased,
    plan_of,
    prepare,
    verify_tokenizer,
)
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TokenizerFile, TrainedTokenizer

TEXTS = [
    "Return the HTTPResponse of get_http_response, or None.",
    "def getHTTPResponse(self, max_line=80):\n    return self.http_response[10]",
    "Wrap text, naïve words and 日本語 too.",
] * 4


def trained(**changes: object) -> TrainedTokenizer:
    plain = {"vocab_size": 400, "min_frequency": 1, "lowercase": True, "split_identifiers": True}
    return TrainedTokenizer(**(plain | changes))  # type: ignore[arg-type]


def words(text: str, **changes: object) -> list[str]:
    """The words before merging, bytes decoded again."""
    inner = tokenizers.Tokenizer.from_str(train(trained(**changes), TEXTS))
    normal = inner.normalizer.normalize_str(text)
    pieces = inner.pre_tokenizer.pre_tokenize_str(normal)
    return [inner.decoder.decode([piece]) for piece, _ in pieces]


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lowercase", "split", "wanted"),
    [
        ("getHTTPResponse", True, True, ["get", "http", "response"]),
        ("getHTTPResponse", False, True, ["get", "HTTP", "Response"]),
        ("getHTTPResponse", True, False, ["gethttpresponse"]),
        ("getHTTPResponse", False, False, ["getHTTPResponse"]),
        ("max_line_2", True, True, ["max", "line", "2"]),
        ("max_line_2", True, False, ["max_line_2"]),
        ("__init__(x)", True, True, ["init", "(", "x", ")"]),
        ("__init__(x)", True, False, ["__init__", "(", "x", ")"]),
        ("a  b\n\tc", True, True, ["a", "b", "c"]),
        ("a  b\n\tc", True, False, ["a", "b", "c"]),
        ("utf8Decoder", True, True, ["utf", "8", "decoder"]),
        ("ÄpfelÖl e\u0301té", True, True, ["äpfel", "öl", "été"]),
        ("x->y != 10.5", True, True, ["x", "-", ">", "y", "!", "=", "10", ".", "5"]),
        ("\u65e5\u672c\u8a9e", True, True, ["\u65e5\u672c\u8a9e"]),
        ("", True, True, []),
    ],
)
def test_words(text: str, lowercase: bool, split: bool, wanted: list[str]) -> None:
    assert words(text, lowercase=lowercase, split_identifiers=split) == wanted


def test_the_vocabulary_has_the_size_asked_for_and_the_special_tokens_first() -> None:
    tokenizer = Tokenizer(train(trained(vocab_size=300), TEXTS))
    assert tokenizer.vocab_size == 300
    assert tokenizer.pad_id == 0
    inner = tokenizers.Tokenizer.from_str(tokenizer.json_text)
    assert [inner.id_to_token(i) for i in range(2)] == [PAD, START]


def test_a_pair_must_occur_often_enough() -> None:
    few = Tokenizer(train(trained(min_frequency=5), TEXTS))
    many = Tokenizer(train(trained(min_frequency=100), TEXTS))
    assert many.vocab_size == 258 < few.vocab_size


def test_there_is_a_token_for_every_text() -> None:
    tokenizer = Tokenizer(train(trained(), []))
    (ids,) = tokenizer.encode(["🦀 \x00 ß"], 50)
    assert len(ids) > 4
    assert ids.max() < tokenizer.vocab_size


TRAIN = """\
import hashlib, sys
from specrun.runtime.data.bpe import train
from specrun.spec.plan.data import TrainedTokenizer
settings = TrainedTokenizer(vocab_size=1000, min_frequency=2, lowercase=True, split_identifiers=True)
texts = [f"{a} {b}" for a in dir(hashlib) + dir(str) + dir(sys) for b in dir(dict) + dir(bytes)]
print(hashlib.sha256(train(settings, texts).encode()).hexdigest())
"""


def test_training_gives_the_same_bytes_in_every_process_on_any_number_of_threads() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", TRAIN],
            capture_output=True,
            text=True,
            check=True,
            env={
                "TOKENIZERS_PARALLELISM": parallel,
                "RAYON_NUM_THREADS": threads,
                "PYTHONHASHSEED": threads,
                "PYTHONPATH": ":".join(sys.path),
            },
        ).stdout
        for parallel, threads in (("true", "1"), ("true", "2"), ("true", "7"), ("false", "3"))
    }
    assert len(said) == 1


def test_only_training_rows_are_trained_on() -> None:
    rows = [Row("alpha beta", "def alpha(): pass", "a:1")]
    seen = store_rows(rows, [])
    held = store_rows(rows, [Row("gamma " * 50, "def gamma(): pass", "a:2")])
    assert prepare(trained(), seen).digest == prepare(trained(), held).digest
    more = store_rows([*rows, Row("gamma " * 50, "def gamma(): pass", "a:2")], [])
    assert prepare(trained(), seen).digest != prepare(trained(), more).digest


@pytest.mark.parametrize(
    "change",
    [{"vocab_size": 300}, {"min_frequency": 9}, {"lowercase": False}, {"split_identifiers": False}],
    ids=str,
)
def test_every_setting_changes_the_tokenizer(change: dict[str, object]) -> None:
    rows = store_rows([Row(text, text, f"a:{i}") for i, text in enumerate(TEXTS)], [])
    assert prepare(trained(), rows).digest != prepare(trained(**change), rows).digest


def test_a_trained_tokenizer_is_kept_and_made_again_when_lost(cache_folder: Path) -> None:
    rows = store_rows([Row("alpha beta", "def alpha(): pass", "a:1")], [])
    plan = prepare(trained(), rows)
    text = load(plan).json_text
    for lost in ("tokenizers", "tokenizer-settings"):
        (cache_folder / lost).rename(cache_folder / f"{lost}-away")
    with pytest.raises(InputError, match="compile the spec again"):
        load(plan)
    assert load(plan, text).json_text == text
    assert load(plan, rows_digest=rows).json_text == text
    assert load(plan).json_text == text


# --- encoding ---------------------------------------------------------------------------------------------------------


def test_truncation_keeps_special_tokens_and_padding_is_off() -> None:
    tokenizer = Tokenizer(train(trained(), TEXTS))
    short, long = tokenizer.encode(["wrap", "wrap " * 100], 8)
    assert short.dtype == np.int32
    assert short[0] == long[0] == 1
    assert len(short) < 8 == len(long)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5),
    st.integers(2, 20),
)
@settings(deadline=None, max_examples=100)
def test_any_text_gives_ids_of_the_vocabulary_within_the_length(
    texts: list[str], length: int
) -> None:
    found = BYTES.encode(texts, length)
    assert len(found) == len(texts)
    assert all(1 <= len(ids) <= length for ids in found)
    assert all(0 <= ids.min() <= ids.max() < BYTES.vocab_size for ids in found)
    assert [x.tolist() for x in BYTES.encode_all(texts, length)] == [x.tolist() for x in found]


BYTES = Tokenizer(train(trained(), []))


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be tokenised"):
        BYTES.encode(["fine", "\ud800"], 8)
    assert len(BYTES.encode(["fine"], 100)[0]) == 5, "a refused text leaves no trace"


# --- files ------------------------------------------------------------------------------------------------------------


def word_level(change: Callable[[tokenizers.Tokenizer], object] = lambda _: None) -> str:
    names = ["zero", "one", "[PAD]", "<s>", "</s>", "[UNK]"]
    inner = tokenizers.Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    change(inner)
    return inner.to_str()


def with_ends(inner: tokenizers.Tokenizer) -> None:
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 3), ("</s>", 4)]
    )


def test_truncation_and_padding_baked_into_a_file_are_reset(tmp_path: Path) -> None:
    def baked(inner: tokenizers.Tokenizer) -> None:
        with_ends(inner)
        inner.enable_truncation(3)
        inner.enable_padding(pad_id=5, pad_token="[UNK]", length=64)

    path = tmp_path / "tokenizer.json"
    path.write_text(word_level(baked))
    plan = prepare(TokenizerFile(path=str(path)), "sha256:none")
    tokenizer = load(plan)
    assert tokenizer.encode(["one one one one", "one"], 10)[0].tolist() == [3, 1, 1, 1, 1, 4]
    assert tokenizer.encode(["one one one one", "one"], 4)[0].tolist() == [3, 1, 1, 4]
    assert tokenizer.encode(["one one one one", "one"], 10)[1].tolist() == [3, 1, 4]
    assert plan.pad_id == tokenizer.pad_id == 5
    assert plan.vocab_size == 6
    assert plan.source == TokenizerFile(path=str(path))


NORMALIZERS = {
    "none": None,
    "another": tokenizers.normalizers.NFC(),
    "several": tokenizers.normalizers.Sequence([tokenizers.normalizers.NFC()]),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_a_file_is_lower_cased_where_the_plan_says_so(tmp_path: Path, name: str) -> None:
    """What comes of it is the plan's tokenizer, in a run's folder too; what lower-cases already stays as it is."""

    def add(inner: tokenizers.Tokenizer) -> None:
        if NORMALIZERS[name] is not None:
            inner.normalizer = NORMALIZERS[name]

    path = tmp_path / "tokenizer.json"
    path.write_text(word_level(add))
    plain = prepare(TokenizerFile(path=str(path)), "sha256:none")
    plan = prepare(TokenizerFile(path=str(path), lowercase=True), "sha256:none")
    assert plan.digest != plain.digest
    tokenizer = load(plan)
    verify_tokenizer(plan)
    [upper, lower] = tokenizer.encode(["ONE One", "one one"], 10)
    np.testing.assert_array_equal(upper, lower)
    assert load(plain).encode(["ONE One"], 10)[0].tolist() != upper.tolist()
    assert load(plan, text=tokenizer.json_text).digest == plan.digest
    assert lowercased(tokenizer.json_text) == tokenizer.json_text


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"model": 1}'])
def test_what_is_no_tokenizer_is_refused_lower_cased_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match=r"is not a tokenizer\.json"):
        prepare(TokenizerFile(path=str(tmp_path / "tokenizer.json"), lowercase=True), "sha256:none")


def test_the_padding_id_is_the_files_else_a_padding_token_else_0() -> None:
    assert Tokenizer(word_level()).pad_id == 2
    assert Tokenizer(word_level().replace("[PAD]", "[OTHER]")).pad_id == 0
    far = word_level(lambda t: t.enable_padding(pad_id=99, pad_token="far"))
    assert Tokenizer(far).pad_id == 2


def test_an_empty_text_is_one_token() -> None:
    assert Tokenizer(word_level()).encode([""], 4)[0].tolist() == [2]


def test_a_length_that_special_tokens_alone_exceed_is_refused() -> None:
    tokenizer = Tokenizer(word_level(with_ends))
    assert tokenizer.encode(["one"], 2)[0].tolist() == [3, 4]
    with pytest.raises(InputError, match="2 special tokens, and 1"):
        tokenizer.encode(["one"], 1)


def test_a_vocabulary_with_holes_counts_to_its_largest_id() -> None:
    tree = json.loads(word_level())
    tree["model"]["vocab"]["far"] = 41
    assert Tokenizer(json.dumps(tree)).vocab_size == 42


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "no json",
        '{"version": "1.0"}',
        "[" * 5000,
        '{"model": {"type": "BPE"}}',
    ],
    ids=range(8),
)
def test_what_is_no_tokenizer_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        prepare(TokenizerFile(path=str(path)), "sha256:none")


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="empty vocabulary"):
        Tokenizer(tokenizers.Tokenizer(models.BPE()).to_str())


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for _ in range(2):
        with pytest.raises(InputError, match=r"tokenizer\.json"):
            prepare(TokenizerFile(path=str(path)), "sha256:none")
        path.write_bytes(b"\xff\xfe")


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(word_level())
    plan = prepare(TokenizerFile(path=str(path)), "sha256:none")
    verify_tokenizer(plan)
    path.write_text(word_level(with_ends))
    for use in (load, verify_tokenizer):
        with pytest.raises(InputError, match="not the tokenizer that the plan was compiled with"):
            use(plan)
    assert load(plan, word_level()).vocab_size == 6
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        verify_tokenizer(plan)


def test_text_from_elsewhere_must_be_the_plans() -> None:
    plan = plan_of(trained(), BYTES)
    assert load(plan, BYTES.json_text).digest == plan.digest
    with pytest.raises(InputError, match="not the tokenizer"):
        load(plan, BYTES.json_text + " ")
