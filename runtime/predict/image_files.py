"""The files beside the weights that transformers' processors of texts and images read. Imports no jax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.predict.sentence_files import write_json
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.towers import (
    ClipTextConfig,
    Siglip2VisionConfig,
    SiglipTextConfig,
    TextTower,
)

_CLASSES = {
    "clip_vision": "CLIPModel",
    "siglip_vision": "SiglipModel",
    "siglip2_vision": "Siglip2Model",
}

PROCESSOR = "preprocessor_config.json"
COMBINED = "processor_config.json"
"""Where newer versions keep the image processor's settings, with those of the whole."""


def class_of(config: TextImageConfig) -> str:
    """transformers' class of a model whose networks are in one directory, by its network of images."""
    return _CLASSES[config.image.kind]


def named_otherwise(config: TextImageConfig) -> bool:
    """Whether the source's tokenizer_config.json may name a class that undoes what tokenizer.json does.

    SigLIP 2's names GemmaTokenizer, which keeps the case where no config.json stands beside it, as under PEFT.
    """
    return isinstance(config.image, Siglip2VisionConfig)


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
    """What a tokenizer_config.json says that is written anew. SigLIP takes no mask, and pads as its plan says.

    The side is said because transformers' class for SigLIP 2 pads on the left where the file is silent.
    """
    if isinstance(text, ClipTextConfig):
        return {}
    name, _ = tokenizer.token_of(text.pad_token_id)
    named = {} if name is None else {"pad_token": name}
    return {"model_input_names": ["input_ids"], "padding_side": "right", **named}


def padded_to(text: TextTower) -> int | None:
    """The tokens that every text is padded to; None where a batch has the length of its longest."""
    return text.longest if isinstance(text, SiglipTextConfig) else None
