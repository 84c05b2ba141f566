"""Qwen3's decoder as data: defaults of config.json, every parameter, and its names in Hugging Face files. No jax.

The module paths are Hugging Face's own (``Qwen3Model``). transformers never had it in Flax, so its files are torch's;
the flax layout is ours by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from specrun.runtime.models.rope import NESTED, read_rope
from specrun.runtime.models.shapes import dense, embedding, norm
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.networks import Qwen3Config
from specrun.spec.plan.parameters import TableRow

MODEL_TYPES = {"qwen3": "Qwen3Model"}
"""Values of ``model_type`` in config.json that this family reads, with transformers' class of the bare network."""

DEFAULTS: dict[str, int | float | str | bool] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "intermediate_size": 22016,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "attention_probs_dropout_prob": 0.0,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "initializer_range": 0.02,
}
"""What transformers takes where config.json is silent."""

KEYS = {"attention_probs_dropout_prob": "attention_dropout"}
"""config.json's words for numbers that the plan calls otherwise."""

FIXED: dict[str, object] = {
    "attention_bias": False,
    "use_sliding_window": False,
    "is_causal": True,
    "use_bidirectional_attention": False,
    "quantization_config": None,
}
"""Keys of config.json that change the arithmetic, with the only value implemented."""

ACTIVATIONS = ("silu", "swish")
"""Values of ``hidden_act`` that are implemented."""

PREFIXES = ("model.",)
"""Prefix under which a head model keeps the decoder."""

UNUSED = ("lm_head.", "score.", "qa_outputs.")
"""Tensors that are known and take no part in an embedding. A name that begins so is listed."""

_LAYER = (
    ("input_layernorm", "scale"),
    ("self_attn.q_proj", "kernel"),
    ("self_attn.k_proj", "kernel"),
    ("self_attn.v_proj", "kernel"),
    ("self_attn.o_proj", "kernel"),
    ("self_attn.q_norm", "scale"),
    ("self_attn.k_norm", "scale"),
    ("post_attention_layernorm", "scale"),
    ("mlp.gate_proj", "kernel"),
    ("mlp.up_proj", "kernel"),
    ("mlp.down_proj", "kernel"),
)

NAMES = (
    ("embed_tokens.embedding", "embed_tokens"),
    *((f"layers.{{i}}.{module}.{leaf}", f"layers.{{i}}.{module}") for module, leaf in _LAYER),
    ("norm.scale", "norm"),
)
"""Our leaf ↔ the module of ``Qwen3Model`` that holds it; the leaf's name and orientation follow from its role."""


def flat(raw: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """config.json with ``rope_theta`` and the heads of keys at the top; and what is not implemented."""
    found = dict(raw)
    theta, wrong = read_rope(
        {key: raw.get(key) for key in NESTED}, raw.get("rope_theta", DEFAULTS["rope_theta"])
    )
    found["rope_theta"] = theta
    if "num_key_value_heads" in raw and raw["num_key_value_heads"] is None:
        found["num_key_value_heads"] = raw.get(
            "num_attention_heads", DEFAULTS["num_attention_heads"]
        )
    kinds = raw.get("layer_types")
    if kinds is not None and not (
        isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds)
    ):
        wrong.append(f"layer_types must all be 'full_attention', found {kinds!r:.80}")
    return found, wrong


def rows(config: Qwen3Config) -> tuple[TableRow, ...]:
    """Token table, pre-norm blocks, the norm behind them, a new head. Only the head is new."""
    _check_heads(config)
    width = config.hidden_size
    table = [*embedding("embed_tokens", config.vocab_size, width)]
    for i in range(config.num_hidden_layers):
        table += _layer(f"layers.{i}", config)
    table += norm("norm", width, bias=False)
    read = [replace(row, new=False) for row in table]
    if config.projection_dim is not None:
        read += dense("projection", width, config.projection_dim, bias=False)
    return tuple(read)


def _layer(path: str, config: Qwen3Config) -> list[TableRow]:
    width, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    return [
        *norm(f"{path}.input_layernorm", width, bias=False),
        *dense(f"{path}.self_attn.q_proj", width, queries, bias=False),
        *dense(f"{path}.self_attn.k_proj", width, keys, bias=False),
        *dense(f"{path}.self_attn.v_proj", width, keys, bias=False),
        *dense(f"{path}.self_attn.o_proj", queries, width, bias=False),
        *norm(f"{path}.self_attn.q_norm", head, bias=False),
        *norm(f"{path}.self_attn.k_norm", head, bias=False),
        *norm(f"{path}.post_attention_layernorm", width, bias=False),
        *dense(f"{path}.mlp.gate_proj", width, inner, bias=False),
        *dense(f"{path}.mlp.up_proj", width, inner, bias=False),
        *dense(f"{path}.mlp.down_proj", inner, width, bias=False),
    ]


def _check_heads(config: Qwen3Config) -> None:
    """Heads of keys divide those of queries, and a head is even. Raises InputError."""
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    if heads % shared:
        raise InputError(
            f"num_key_value_heads must divide num_attention_heads, but {heads} / {shared} is not whole",
            code="heads",
            hint="config.json must be the model's own, as transformers writes it",
        )
    if config.head_dim % 2:
        raise InputError(
            f"rotary positions turn pairs of numbers, so head_dim must be even, found {config.head_dim}",
            code="heads",
            hint="config.json must be the model's own, as transformers writes it",
        )
