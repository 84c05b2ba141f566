"""Whether a tokenizer.json is what transformers makes of it beside a config.json of SigLIP 2. Imports no jax.

transformers takes Siglip2Tokenizer for every ``siglip2``, whatever tokenizer_config.json names. Of tokenizer.json that
keeps the vocabulary, the merges, the added tokens and the post-processor, and puts Gemma's steps, with lower case, in
place of the others. A tokenizer of another make would give other ids there without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from specrun.runtime.data.tokenizer import Tokenizer, lowercased
from specrun.runtime.predict.order import Whole
from specrun.spec.diagnostics import InputError

_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
"""Tokens that the class names, and adds where the file has none."""

_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_SPLIT = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
_STEPS = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, _REPLACE]}
_EMPTY = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
_FIRST_BYTE = "<0x00>"


def check_siglip2_tokenizer(tokenizer: Tokenizer, to: Whole) -> None:
    """InputError for a tokenizer whose ids would be others in the exported directory.

    specrun itself reads tokenizer.json as it is and lower-cases, so ``flax`` needs no more than lower case.
    """
    if lowercased(tokenizer.json_text) != tokenizer.json_text:
        raise InputError(
            "the tokenizer keeps the case of texts, and every reader of a SigLIP 2 lower-cases them",
            code="keeps-case",
            hint="train with the model's own tokenizer; Predictor embeds with the run as it is",
        )
    if to == "flax":
        return
    unlike = list(_unlike_gemma(json.loads(tokenizer.json_text)))
    if unlike:
        raise InputError(
            "transformers reads the tokenizer of a SigLIP 2 as Gemma's with lower case, and this one differs "
            f"in its {', '.join(unlike)}",
            code="other-tokenizer",
            hint="train with the model's own tokenizer; Predictor embeds with the run as it is",
        )


def _unlike_gemma(told: Mapping[str, Any]) -> Iterator[str]:
    """The parts of a tokenizer.json for which Siglip2Tokenizer has others."""
    if told.get("normalizer") != _STEPS:
        yield "normalizer"
    if told.get("pre_tokenizer") not in (None, _SPLIT):  # no space is left that it could split at
        yield "pre_tokenizer"
    model = told.get("model") or {}
    if not _is_gemmas(model):
        yield "model"
    added = {token["content"] for token in told.get("added_tokens") or []}
    missing = [name for name in _SPECIAL if name not in added]
    if missing:
        yield f"special tokens (it has no {', '.join(missing)})"


def _is_gemmas(model: Mapping[str, Any]) -> bool:
    """BPE with bytes for what it does not know; whether that is said makes no difference where there are no bytes."""
    falls_back = model.get("byte_fallback") is True or _FIRST_BYTE not in model["vocab"]
    return (
        model.get("type") == "BPE"
        and model.get("unk_token") == "<unk>"
        and model.get("fuse_unk") is True
        and not any(model.get(key) for key in _EMPTY)
        and falls_back
    )
