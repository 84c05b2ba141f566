"""The families that Hugging Face directories are read as: one entry for each. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.mpnet import table as mpnet
from specrun.runtime.models.roberta import table as roberta
from specrun.spec.plan.model import BertConfig, MpnetConfig, RobertaConfig


@dataclass(frozen=True)
class Family:
    """How config.json is read: ``model_types`` it may name (with transformers' class), defaults, the only values of
    some keys.
    """

    config: type[BertConfig] | type[RobertaConfig] | type[MpnetConfig]
    model_types: Mapping[str, str]
    defaults: Mapping[str, int | float | str | bool]
    fixed: Mapping[str, object]
    activations: tuple[str, ...]
    vocab_sizes: Mapping[str, int] = field(default_factory=dict)

    def default(self, key: str, model_type: str) -> int | float | str | bool:
        """What transformers takes where the config.json of ``model_type`` is silent about ``key``."""
        if key == "vocab_size" and model_type in self.vocab_sizes:
            return self.vocab_sizes[model_type]
        return self.defaults[key]


FAMILIES = (
    Family(BertConfig, bert.MODEL_TYPES, bert.DEFAULTS, bert.FIXED, bert.ACTIVATIONS),
    Family(
        RobertaConfig,
        roberta.MODEL_TYPES,
        roberta.DEFAULTS,
        roberta.FIXED,
        roberta.ACTIVATIONS,
        roberta.VOCAB_SIZES,
    ),
    Family(MpnetConfig, mpnet.MODEL_TYPES, mpnet.DEFAULTS, mpnet.FIXED, mpnet.ACTIVATIONS),
)


NOT_YET = (
    *("siglip2", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
    *("qwen2", "qwen3", "modernbert"),
)
"""Values of ``model_type`` that are planned: refused as such, rather than as unknown."""


def family_of(model_type: object) -> Family | None:
    """The family that reads ``model_type``; None when none does."""
    return next((f for f in FAMILIES if model_type in tuple(f.model_types)), None)
