"""The files beside the weights that sentence-transformers and transformers' tokenizers read. Imports no jax.

The spellings are those of sentence-transformers up to 5, which 6 reads too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from specrun.runtime.data.tokenizer import PAD_NAMES, Tokenizer, digest_of_text
from specrun.runtime.models.sentences import PAIR_METHODS, pair_processing
from specrun.runtime.weights.write import Dtype, write_weights
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import Prompts
from specrun.spec.plan.images import Patching
from specrun.spec.plan.networks import PretrainedConfig
from specrun.spec.plan.sides import Side

COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
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

    ``prompts`` are by sentence-transformers' names: ``query``, ``document``. Of a model without pooling the files are
    those of a MultiVectorEncoder.
    """
    if config.pooling == "none":
        write_multi_vector_files(folder, head, longest, dtype, prompts)
        return
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
    modes = pooling_modes(config.pooling)
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": config.hidden_size, **modes},
    )
    if head is not None:
        write_dense(folder / "2_Dense", head, dtype)


def pooling_modes(pooling: str) -> dict[str, bool]:
    """sentence-transformers' switches for our word."""
    chosen = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}[pooling]
    return {f"pooling_mode_{mode}": mode == chosen for mode in _MODES}


def prompts_of(prompts: Prompts, side: Side | None) -> dict[str, str]:
    """Prompts under sentence-transformers' names; of one tower its own."""
    if not prompts.any:
        return {}
    named = {"query": prompts.query, "document": prompts.positive}
    wanted = {"query": ("query",), "positive": ("document",), None: tuple(named)}[side]
    return {name: named[name] for name in wanted}


def write_pair_files(
    folder: Path, longest: int, padded_to: int | None, patches: Patching | None
) -> None:
    """Transformer → Normalize, whose Transformer embeds texts and images of the model in ``folder`` itself.

    Versions from 5.4 read it. ``padded_to`` is the length of every text where there is one; it is ``longest`` then.
    ``patches`` are those of images that keep their shape.
    """
    modules = [("Transformer", ""), ("Normalize", "1_Normalize")]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"{_PACKAGE}.{kind}"}
            for i, (kind, path) in enumerate(modules)
        ],
    )
    processing = (
        {} if padded_to is None else {"processing_kwargs": pair_processing(longest, patches)}
    )
    settings = {
        "max_seq_length": longest,
        "do_lower_case": False,
        "transformer_task": "feature-extraction",
        "modality_config": PAIR_METHODS,
        "module_output_name": "sentence_embedding",
        **processing,
    }
    write_json(folder / "sentence_bert_config.json", settings)
    kept = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / SETTINGS, kept)


def write_tokenizer(
    folder: Path,
    tokenizer: Tokenizer,
    source: Path,
    longest: int,
    more: Mapping[str, Any] = MappingProxyType({}),
    *,
    anew: bool = False,
) -> tuple[str, ...]:
    """tokenizer.json and what transformers needs beside it. Returns the names of files copied from ``source``.

    Where ``source`` holds this very tokenizer its other files are copied; else, or with ``anew``, a minimal
    tokenizer_config.json is written, with ``more`` in it, under which tokenizer.json is taken as it is.
    """
    (folder / "tokenizer.json").write_text(tokenizer.json_text, encoding="utf-8")
    own = source / "tokenizer.json"
    same = own.is_file() and digest_of_text(own.read_text("utf-8")) == tokenizer.digest
    if same and not anew and (source / COMPANIONS[0]).is_file():
        found = tuple(name for name in COMPANIONS if (source / name).is_file())
        for name in found:
            (folder / name).write_bytes((source / name).read_bytes())
        return found
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "pad_token": more.get("pad_token") or _pad_token(tokenizer),
        "clean_up_tokenization_spaces": False,
        **more,
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


_LATE_PACKAGE = "sentence_transformers"
_LATE_TYPES = {
    "Transformer": "base.modules.transformer",
    "Dense": "base.modules.dense",
    "MultiVectorMask": "multi_vector_encoder.modules.multi_vector_mask",
    "Normalize": "base.modules.normalize",
}
"""Where version 6, the first to have token vectors, keeps its modules."""

_TOKENS = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}


def write_multi_vector_files(
    folder: Path,
    head: np.ndarray | None,
    longest: int,
    dtype: Dtype,
    prompts: Mapping[str, str],
) -> None:
    """Transformer → (Dense) → MultiVectorMask → Normalize: what sentence-transformers' MultiVectorEncoder loads.

    Every valid token counts, none is skipped and none added, as in the predictor.
    """
    kinds = [
        "Transformer",
        *(["Dense"] if head is not None else []),
        "MultiVectorMask",
        "Normalize",
    ]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"{_LATE_PACKAGE}.{_LATE_TYPES[kind]}.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False}
    )
    kept = {
        "prompts": {"query": "", "document": "", **prompts},
        "default_prompt_name": None,
        "similarity_fn_name": None,
    }
    write_json(folder / SETTINGS, {"model_type": "MultiVectorEncoder", **kept})
    mask = {"skiplist_words": [], "skiplist_tasks": ["document"], "keep_only_token_ids": None}
    write_json(folder / f"{len(kinds) - 2}_MultiVectorMask" / "config.json", mask)
    write_json(folder / f"{len(kinds) - 1}_Normalize" / "config.json", _TOKENS)
    if head is not None:
        write_dense(folder / "1_Dense", head, dtype, settings=_TOKENS)


def write_dense(
    folder: Path,
    kernel: np.ndarray,
    dtype: Dtype,
    *,
    bias: np.ndarray | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """sentence-transformers' Dense of ``kernel`` (in, out), which torch keeps (out, in); no activation but for ``settings``."""
    n_in, n_out = kernel.shape
    whole = {
        "in_features": n_in,
        "out_features": n_out,
        "bias": bias is not None,
        "activation_function": "torch.nn.modules.linear.Identity",
        **settings,
    }
    write_json(folder / "config.json", whole)
    tensors = {"linear.weight": kernel.T, **({} if bias is None else {"linear.bias": bias})}
    write_weights(folder / "model.safetensors", tensors, "safetensors", dtype)
