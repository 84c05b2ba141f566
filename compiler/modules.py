"""What families call the linear layers of attention: the names that adapters are put on in other tools' guides."""

from __future__ import annotations

from collections.abc import Mapping

_PROJ = ("q_proj", "k_proj", "v_proj", "out_proj")
_BERT = ("query", "key", "value", "attention.output.dense")

ATTENTION: Mapping[str, tuple[str, str, str, str]] = {
    "clip": _PROJ,
    "siglip": _PROJ,
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "vit": _BERT,
    "mpnet": ("attn.q", "attn.k", "attn.v", "attn.o"),
    "qwen3": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "modernbert": ("Wqkv", "Wqkv", "Wqkv", "attn.Wo"),
    "text_encoder": ("attention.query", "attention.key", "attention.value", "attention.output"),
}
"""config.json's family → targets of queries, keys, values, and of what comes out of attention."""

OUT = "o_proj is a decoder's name: CLIP and SigLIP have out_proj, BERT and RoBERTa attention.output.dense"
"""Said where the guide's third target may match nothing."""


def translated(target: str, family: str) -> str | None:
    """What ``family`` calls the layer that another calls ``target``; None for a name that is no such layer."""
    own = ATTENTION.get(family)
    for names in ATTENTION.values() if own else ():
        if target in names:
            assert own is not None
            return target if target in own else own[names.index(target)]
    return None


def meant(target: str) -> tuple[str, ...]:
    """What families call the layer ``target``, each name once."""
    found = [name for family in ATTENTION if (name := translated(target, family))]
    return tuple(dict.fromkeys(found))
