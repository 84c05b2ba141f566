"""The families that Hugging Face directories are read as: one entry for each. Imports no jax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.modernbert import table as modernbert
from specrun.runtime.models.mpnet import table as mpnet
from specrun.runtime.models.qwen3 import table as qwen3
from specrun.runtime.models.roberta import table as roberta
from specrun.spec.plan.networks import (
    BertConfig,
    ModernbertConfig,
    MpnetConfig,
    PretrainedConfig,
    Qwen3Config,
    RobertaConfig,
)


def as_it_stands(raw: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """A config.json that says the configuration's numbers by their names."""
    return dict(raw), []


@dataclass(frozen=True)
class Family:
    """How config.json is read: ``model_types`` it may name (with transformers' class), defaults, the only values of
    some keys.

    ``keys`` are config.json's words for numbers that the plan calls otherwise. ``flat`` takes config.json apart where
    numbers are nested or have several spellings, and says what of it is not implemented; ``derived`` are numbers of
    the configuration that it works out. ``masked_lm`` is transformers' class with a head for ids, of types that have one.
    """

    config: type[PretrainedConfig]
    model_types: Mapping[str, str]
    defaults: Mapping[str, int | float | str | bool]
    fixed: Mapping[str, object]
    activations: tuple[str, ...]
    vocab_sizes: Mapping[str, int] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    flat: Callable[[Mapping[str, object]], tuple[dict[str, object], list[str]]] = as_it_stands
    derived: tuple[str, ...] = ()
    masked_lm: Mapping[str, str] = field(default_factory=dict)

    def default(self, key: str, model_type: str) -> int | float | str | bool:
        """What transformers takes where the config.json of ``model_type`` is silent about ``key``."""
        if key == "vocab_size" and model_type in self.vocab_sizes:
            return self.vocab_sizes[model_type]
        return self.defaults[key]


FAMILIES = (
    Family(
        BertConfig,
        bert.MODEL_TYPES,
        bert.DEFAULTS,
        bert.FIXED,
        bert.ACTIVATIONS,
        masked_lm=bert.MASKED_LM,
    ),
    Family(
        RobertaConfig,
        roberta.MODEL_TYPES,
        roberta.DEFAULTS,
        roberta.FIXED,
        roberta.ACTIVATIONS,
        roberta.VOCAB_SIZES,
        masked_lm=roberta.MASKED_LM,
    ),
    Family(MpnetConfig, mpnet.MODEL_TYPES, mpnet.DEFAULTS, mpnet.FIXED, mpnet.ACTIVATIONS),
    Family(
        Qwen3Config,
        qwen3.MODEL_TYPES,
        qwen3.DEFAULTS,
        qwen3.FIXED,
        qwen3.ACTIVATIONS,
        keys=qwen3.KEYS,
        flat=qwen3.flat,
    ),
    Family(
        ModernbertConfig,
        modernbert.MODEL_TYPES,
        modernbert.DEFAULTS,
        modernbert.FIXED,
        modernbert.ACTIVATIONS,
        keys=modernbert.KEYS,
        flat=modernbert.flat,
        derived=modernbert.DERIVED,
    ),
)


NOT_YET = (
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
    "qwen2",
)
"""Values of ``model_type`` that are planned: refused as such, rather than as unknown."""


def family_of(model_type: object) -> Family | None:
    """The family that reads ``model_type``; None when none does."""
    return next((f for f in FAMILIES if model_type in tuple(f.model_types)), None)
