"""What a SigLIP's tokenizer does that its tokenizer.json does not say: lower case, and the id of padding. No jax.

SigLIP sees padding, so another id gives another embedding. config.json's is often a mere default (1, which for Gemma's
tokenizer is the end of a text). transformers takes the token that is named as padding, and its id from tokenizer.json.
SigLIP 2 was trained on lower-cased texts; Siglip2Tokenizer, which transformers takes for every ``siglip2``, lower-cases
them, whatever tokenizer.json says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.runtime.models.pieces import Folder

_CONFIG = "tokenizer_config.json"
_FILE = "tokenizer.json"
_LOWERING = ("Siglip2Tokenizer", "Siglip2TokenizerFast")
_GEMMA = (*_LOWERING, "GemmaTokenizer", "GemmaTokenizerFast")
_GEMMA_PADDING = "<pad>"


@dataclass(frozen=True)
class TextRules:
    """``lowercase``: texts are lower-cased before tokenizer.json is asked."""

    pad_id: int
    lowercase: bool


def text_rules(folder: Folder, model_type: str, otherwise: int) -> TextRules:
    """The rules of a directory; ``otherwise`` is the padding id where its files name none. Notes faults."""
    raw = folder.json(_CONFIG)
    kind = "Siglip2Tokenizer" if model_type == "siglip2" else (raw or {}).get("tokenizer_class")
    if raw is not None and raw.get("padding_side", _side(kind)) != "right":
        message = "padding_side must be right, and is left (transformers' default for Gemma's)"
        folder.fault(_CONFIG, message, 'write "padding_side": "right", as SigLIP was trained')
    name = _name(raw or {}) or (_GEMMA_PADDING if kind in _GEMMA else None)
    pad_id = _pad_id(folder, raw or {}, name)
    return TextRules(otherwise if pad_id is None else pad_id, kind in _LOWERING)


def _side(kind: object) -> str:
    """Where transformers pads when the configuration is silent."""
    return "left" if kind in _GEMMA else "right"


def _name(raw: Mapping[str, Any]) -> str | None:
    token = raw.get("pad_token")
    name = token.get("content") if isinstance(token, dict) else token
    return name if isinstance(name, str) and name else None


def _pad_id(folder: Folder, raw: Mapping[str, Any], name: str | None) -> int | None:
    """The id of the token ``name`` in tokenizer.json, or in what tokenizer_config.json lists; None without either."""
    file = folder.path / _FILE
    if not file.is_file():
        return None if name is None else _listed(raw.get("added_tokens_decoder"), name)
    told = _content(file)
    if name is None:
        padding = told.get("padding")
        baked = padding.get("pad_id") if isinstance(padding, dict) else None
        return baked if type(baked) is int and baked >= 0 else None
    found = _known(told, name)
    if found is None:
        message = f"the padding token {name!r} has no id in {_FILE}"
        folder.fault(_FILE, message, "save the tokenizer with transformers' save_pretrained")
    return found


def _content(file: Path) -> Mapping[str, Any]:
    """Empty for a file that is no JSON object: who reads the tokenizer says so."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _known(told: Mapping[str, Any], name: str) -> int | None:
    """Added tokens count before the vocabulary, as in the tokenizers library."""
    if not told:
        return 0  # unreadable, which is told when the tokenizer is read
    added = told.get("added_tokens")
    for entry in added if isinstance(added, list) else []:
        if isinstance(entry, dict) and entry.get("content") == name:
            return _whole(entry.get("id"))
    model = told.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    return _whole(vocabulary.get(name)) if isinstance(vocabulary, dict) else None


def _listed(decoder: object, name: str) -> int | None:
    for number, entry in (decoder if isinstance(decoder, dict) else {}).items():
        if isinstance(entry, dict) and entry.get("content") == name and number.isdigit():
            return int(number)
    return None


def _whole(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
