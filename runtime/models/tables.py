"""Every parameter of an architecture, by configuration. Imports no jax: the compiler counts and matches on it."""

from __future__ import annotations

from typing import assert_never

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.clip import table as clip
from specrun.runtime.models.modernbert import table as modernbert
from specrun.runtime.models.mpnet import table as mpnet
from specrun.runtime.models.qwen3 import table as qwen3
from specrun.runtime.models.roberta import table as roberta
from specrun.runtime.models.shapes import dense
from specrun.runtime.models.siglip import table as siglip
from specrun.runtime.models.siglip2 import table as siglip2
from specrun.runtime.models.text_encoder import table as text_encoder
from specrun.runtime.models.vit import table as vit
from specrun.spec.plan.networks import (
    BertConfig,
    BertShape,
    ModernbertConfig,
    MpnetConfig,
    NetworkConfig,
    PretrainedConfig,
    Qwen3Config,
    RobertaConfig,
    TextEncoderConfig,
    token_dim,
)
from specrun.spec.plan.parameters import VOCABULARY, TableRow
from specrun.spec.plan.towers import (
    ClipTextConfig,
    ClipVisionConfig,
    Siglip2VisionConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextTower,
    VitConfig,
)

HEAD = "projector"
"""How the paths of a composed model's head begin. Some networks have a `head` of their own."""

TOKEN_HEAD = "multi_vector"
"""The head that gives token vectors beside the pooled one; of every family the same."""


def rows(config: NetworkConfig) -> tuple[TableRow, ...]:
    """Parameters before layers are stacked, in the order of the forward pass. Raises InputError for impossible shapes."""
    table = _family(config)
    width = token_dim(config)
    if width is not None:
        table += dense(TOKEN_HEAD, config.hidden_size, width, bias=False)
    return table + vocabulary_rows(config)


def vocabulary_rows(config: NetworkConfig) -> tuple[TableRow, ...]:
    """What belongs to the head that scores ids alone; none where there is no head, or where it is the token table."""
    if isinstance(config, TextEncoderConfig) and config.vocabulary_head == "own":
        return dense(VOCABULARY, config.hidden_size, config.vocab_size, bias=config.bias)
    if isinstance(config, BertShape) and config.vocabulary_head is not None:
        return bert.vocabulary_rows(config)
    return ()


def _family(config: NetworkConfig) -> tuple[TableRow, ...]:
    match config:
        case TextEncoderConfig():
            return text_encoder.rows(config)
        case BertConfig():
            return bert.rows(config)
        case RobertaConfig():
            return roberta.rows(config)
        case MpnetConfig():
            return mpnet.rows(config)
        case ClipTextConfig():
            return clip.text_rows(config)
        case ClipVisionConfig():
            return clip.vision_rows(config)
        case SiglipTextConfig():
            return siglip.text_rows(config)
        case SiglipVisionConfig():
            return siglip.vision_rows(config)
        case Siglip2VisionConfig():
            return siglip2.vision_rows(config)
        case VitConfig():
            return vit.rows(config)
        case Qwen3Config():
            return qwen3.rows(config)
        case ModernbertConfig():
            return modernbert.rows(config)
        case _:
            assert_never(config)


def logit_rows(config: TextTower) -> tuple[TableRow, ...]:
    """The scale, and the offset, of the scores of a model of texts and images; only writing asks for them."""
    match config:
        case ClipTextConfig():
            return clip.logit_rows()
        case SiglipTextConfig():
            return siglip.logit_rows()
        case _:
            assert_never(config)


def pooler_rows(config: PretrainedConfig) -> tuple[TableRow, ...]:
    """The parameters of the pooler that transformers' class has, which only writing asks for; none without one."""
    match config:
        case BertConfig() | RobertaConfig() | MpnetConfig():
            return bert.pooler_rows(config)
        case Qwen3Config() | ModernbertConfig():
            return ()
        case _:
            assert_never(config)
