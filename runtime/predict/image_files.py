"""The files beside the weights that transformers' processors of texts and images read. Imports no jax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.predict.sentence_files import write_json
from specrun.spec.plan.towers import ClipTextConfig, SiglipTextConfig, TextTower

CLASSES = {"clip_text": "CLIPModel", "siglip_text": "SiglipModel"}
"""transformers' class of a model, by its network of texts."""

PROCESSOR = "preprocessor_config.json"
COMBINED = "processor_config.json"
"""Where newer versions keep the image processor's settings, with those of the whole."""


def write_processor(folder: Path, source: Path) -> tuple[str, ...]:
    """The image processor's files, copied from ``source``. Returns their names.

    Where ``source`` holds only the newer file, the older one is written too: it is what every version reads.
    """
    found = tuple(name for name in (PROCESSOR, COMBINED) if (source / name).is_file())
    for name in found:
        (folder / name).write_bytes((source / name).read_bytes())
    if PROCESSOR not in found:
        whole = json.loads((source / COMBINED).read_text("utf-8"))
        write_json(folder / PROCESSOR, whole["image_processor"])
    return found


def tokenizer_settings(text: TextTower, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a tokenizer_config.json says that is written anew. SigLIP takes no mask, and pads as its plan says."""
    if isinstance(text, ClipTextConfig):
        return {}
    name, _ = tokenizer.token_of(text.pad_token_id)
    named = {} if name is None else {"pad_token": name}
    return {"model_input_names": ["input_ids"], **named}


def padded_to(text: TextTower) -> int | None:
    """The tokens that every text is padded to; None where a batch has the length of its longest."""
    return text.longest if isinstance(text, SiglipTextConfig) else None
