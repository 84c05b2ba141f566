"""RoBERTa, XLM-R and CamemBERT as data: what differs from BERT. Imports no jax.

The three share one network; transformers' classes differ in names and defaults only.
"""

from __future__ import annotations

from specrun.runtime.models.bert import table as bert
from specrun.spec.plan.networks import RobertaConfig
from specrun.spec.plan.parameters import TableRow

MODEL_TYPES = {
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "camembert": "CamembertModel",
}
"""Values of ``model_type`` in config.json that this family reads, with transformers' class of the bare network."""

DEFAULTS: dict[str, int | float | str | bool] = {**bert.DEFAULTS, "pad_token_id": 1}
"""What transformers takes where config.json is silent: for ``roberta``, with ``VOCAB_SIZES``."""

VOCAB_SIZES = {"roberta": 50265}
"""``vocab_size`` of the model types whose default is not BERT's."""

FIXED = bert.FIXED
ACTIVATIONS = bert.ACTIVATIONS

PREFIXES = ("roberta.",)
"""Prefix under which a head model keeps the encoder."""

UNUSED = (
    "pooler.",
    "lm_head.",
    "classifier.",
    "qa_outputs.",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
)
"""Tensors that are known and take no part in an embedding: heads and buffers. A name that begins so is listed."""

NAMES = bert.NAMES
"""Our leaf ↔ the module of ``RobertaModel`` that holds it: the names are BERT's."""
POOLER = bert.POOLER
pooler_rows = bert.pooler_rows

VOCABULARY = (
    ("vocabulary.dense.kernel", "lm_head.dense"),
    ("vocabulary.dense.bias", "lm_head.dense"),
    ("vocabulary.LayerNorm.scale", "lm_head.layer_norm"),
    ("vocabulary.LayerNorm.bias", "lm_head.layer_norm"),
)
"""The head of ``RobertaForMaskedLM``, whose matrix is the token table."""

VOCABULARY_BARE = (("vocabulary.bias", "lm_head.bias"),)
vocabulary_rows = bert.vocabulary_rows

MASKED_LM = {
    "roberta": "RobertaForMaskedLM",
    "xlm-roberta": "XLMRobertaForMaskedLM",
    "camembert": "CamembertForMaskedLM",
}
"""Values of ``model_type`` with transformers' class of the network with that head."""


def rows(config: RobertaConfig) -> tuple[TableRow, ...]:
    """As BERT's: embeddings, post-LN blocks, a new head."""
    return bert.rows(config)
