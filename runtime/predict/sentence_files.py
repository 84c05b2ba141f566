"""The files beside the weights that sentence-transformers and transformers' tokenizers read. Imports no jax.

The spellings are those of sentence-transformers up to 5, which 6 reads too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from specrun.runtime.data.tokenizer import PAD_NAMES, Tokenizer, digest_of_text
from specrun.runtime.weights.write import Dtype, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import PretrainedConfig

COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
)
"""What may stand beside a tokenizer.json and belongs to it."""

SETTINGS = "config_sentence_transformers.json"
"""Prompts by name, and the similarity."""

_PACKAGE = "sentence_transformers.models"
_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")


def write_json(path: Path, value: Any) -> None:
    """Readable JSON; the folder is made."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_sentence_files(
    folder: Path,
    config: PretrainedConfig,
    head: np.ndarray | None,
    longest: int,
    dtype: Dtype,
    prompts: dict[str, str],
) -> None:
    """Transformer → Pooling → (Dense, the head (in, out)) → Normalize: embeddings of length 1, as the predictor's.

    ``prompts`` are by sentence-transformers' names: ``query``, ``document``.
    """
    steps = [("Transformer", ""), ("Pooling", "1_Pooling")]
    if head is not None:
        steps.append(("Dense", "2_Dense"))
    steps.append(("Normalize", f"{len(steps)}_Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_PACKAGE}.{kind}"}
        for i, (kind, path) in enumerate(steps)
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False}
    )
    write_json(
        folder / SETTINGS,
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    chosen = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}[config.pooling]
    modes = {f"pooling_mode_{mode}": mode == chosen for mode in _MODES}
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": config.hidden_size, **modes},
    )
    if head is not None:
        _write_head(folder / "2_Dense", head, dtype)


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, source: Path, longest: int
) -> tuple[str, ...]:
    """tokenizer.json and what transformers needs beside it. Returns the names of files copied from ``source``.

    Where ``source`` holds this very tokenizer its other files are copied; else a minimal
    tokenizer_config.json is written, under which tokenizer.json is taken as it is.
    """
    (folder / "tokenizer.json").write_text(tokenizer.json_text, encoding="utf-8")
    own = source / "tokenizer.json"
    same = own.is_file() and digest_of_text(own.read_text("utf-8")) == tokenizer.digest
    if same and (source / COMPANIONS[0]).is_file():
        found = tuple(name for name in COMPANIONS if (source / name).is_file())
        for name in found:
            (folder / name).write_bytes((source / name).read_bytes())
        return found
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "pad_token": _pad_token(tokenizer),
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / COMPANIONS[0], settings)
    return ()


def _pad_token(tokenizer: Tokenizer) -> str:
    """The token that pads. Only one that is meant to: naming a word so would change how texts are split."""
    name, special = tokenizer.token_of(tokenizer.pad_id)
    if name is None or not (special or name in PAD_NAMES):
        raise InputError(
            "the tokenizer has no padding token, and transformers cannot make a batch without one",
            code="no-padding-token",
            hint=f"give it one of {', '.join(PAD_NAMES)}",
        )
    return name


def _write_head(folder: Path, head: np.ndarray, dtype: Dtype) -> None:
    """sentence-transformers' Dense without bias and activation: the head's matrix, (out, in) as torch keeps it."""
    n_in, n_out = head.shape
    settings = {
        "in_features": n_in,
        "out_features": n_out,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(folder / "config.json", settings)
    write_weights(folder / "model.safetensors", {"linear.weight": head.T}, "safetensors", dtype)
