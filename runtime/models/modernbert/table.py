"""ModernBERT as data: defaults of config.json, every parameter, and its names in Hugging Face files. No jax.

The module paths are Hugging Face's own (``ModernBertModel``): queries, keys and values are one matrix ``Wqkv``, the
feed-forward's two halves one matrix ``Wi``. The first block has no norm before its attention. transformers never had it
in Flax, so its files are torch's; the flax layout is ours by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from specrun.runtime.models.bert import table as bert
from specrun.runtime.models.rope import read_rope
from specrun.runtime.models.shapes import check_heads, dense, embedding, norm
from specrun.spec.plan.networks import ModernbertConfig
from specrun.spec.plan.parameters import TableRow

MODEL_TYPES = {"modernbert": "ModernBertModel"}
"""Values of ``model_type`` in config.json that this family reads, with transformers' class of the bare network."""

DEFAULTS: dict[str, int | float | str | bool] = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "hidden_act": "gelu",
    "max_position_embeddings": 8192,
    "attention_probs_dropout_prob": 0.0,
    "embedding_dropout": 0.0,
    "mlp_dropout": 0.0,
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "local_attention": 128,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "initializer_range": 0.02,
}
"""What transformers takes where config.json is silent."""

GLOBAL_EVERY = 3
"""Of so many layers the first is global where config.json does not say which are."""

DERIVED = ("global_layers",)
"""Numbers of the configuration that ``flat`` works out."""

KEYS = {
    "attention_probs_dropout_prob": "attention_dropout",
    "hidden_act": "hidden_activation",
}
"""config.json's words for numbers that the plan calls otherwise."""

FIXED: dict[str, object] = {"quantization_config": None, "head_dim": None}
"""Keys of config.json that change the arithmetic, with the only value implemented."""

ACTIVATIONS = bert.ACTIVATIONS

PREFIXES = ("model.",)
"""Prefix under which a head model keeps the encoder."""

UNUSED = ("head.", "decoder.", "classifier.")
"""Tensors that are known and take no part in an embedding. A name that begins so is listed."""

_LAYER = (
    ("attn_norm", "scale", "bias"),
    ("attn.Wqkv", "kernel", "bias"),
    ("attn.Wo", "kernel", "bias"),
    ("mlp_norm", "scale", "bias"),
    ("mlp.Wi", "kernel", "bias"),
    ("mlp.Wo", "kernel", "bias"),
)

NAMES = (
    ("embeddings.tok_embeddings.embedding", "embeddings.tok_embeddings"),
    *((f"embeddings.norm.{leaf}", "embeddings.norm") for leaf in ("scale", "bias")),
    *(
        (f"layers.{{i}}.{module}.{leaf}", f"layers.{{i}}.{module}")
        for module, *leaves in _LAYER
        for leaf in leaves
    ),
    *((f"final_norm.{leaf}", "final_norm") for leaf in ("scale", "bias")),
)
"""Our leaf ↔ the module of ``ModernBertModel`` that holds it; the leaf's name and orientation follow from its role."""

_FULL, _SLIDING = "full_attention", "sliding_attention"


def flat(raw: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """config.json with both rotary bases at the top and ``global_layers``; and what is not implemented."""
    thetas, wrong = _thetas(raw)
    layers, more = _global_layers(raw)
    return {**raw, **thetas, "global_layers": layers}, [*dict.fromkeys(wrong), *more]


def _thetas(raw: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The bases by our names. Version 5 has one object of rotary parameters for each kind of layer."""
    nested = raw.get("rope_parameters")
    if nested is not None and not isinstance(nested, dict):
        return {}, [f"rope_parameters must be an object, found {nested!r:.80}"]
    found: dict[str, object] = {}
    wrong: list[str] = []
    for kind, key in ((_FULL, "global_rope_theta"), (_SLIDING, "local_rope_theta")):
        parts = {
            f"rope_parameters.{kind}": (nested or {}).get(kind),
            "rope_scaling": raw.get("rope_scaling"),
        }
        found[key], more = read_rope(parts, raw.get(key, DEFAULTS[key]))
        wrong += more
    if found["local_rope_theta"] is None:  # transformers 4 then turns all layers alike
        found["local_rope_theta"] = found["global_rope_theta"]
    return found, wrong


def _global_layers(raw: Mapping[str, object]) -> tuple[tuple[int, ...], list[str]]:
    """By ``layer_types`` where it is there, else one of every ``global_attn_every_n_layers``."""
    count: Any = raw.get("num_hidden_layers", DEFAULTS["num_hidden_layers"])
    if type(count) is not int or not 0 <= count <= 512:
        return (), []  # which is a fault of its own
    kinds: Any = raw.get("layer_types")
    if kinds is None:
        every: Any = raw.get("global_attn_every_n_layers", GLOBAL_EVERY)
        if type(every) is int and every >= 1:
            return tuple(range(0, count, every)), []
        said = f"found {every!r:.80}"
        return (), [f"global_attn_every_n_layers must be a whole number from 1, {said}"]
    if isinstance(kinds, list) and all(kind in (_FULL, _SLIDING) for kind in kinds):
        if len(kinds) == count:
            return tuple(i for i, kind in enumerate(kinds) if kind == _FULL), []
        return (), [f"layer_types must name {count} layers, found {len(kinds)}"]
    return (), [
        f"layer_types must be {_FULL!r} or {_SLIDING!r} for each layer, found {kinds!r:.80}"
    ]


def rows(config: ModernbertConfig) -> tuple[TableRow, ...]:
    """Token table and its norm, pre-norm blocks, the norm behind them, a new head. Only the head is new."""
    check_heads(
        config.hidden_size, config.num_attention_heads, config.num_hidden_layers, rotary=True
    )
    width, bias = config.hidden_size, config.norm_bias
    table = [
        *embedding("embeddings.tok_embeddings", config.vocab_size, width),
        *norm("embeddings.norm", width, bias=bias),
    ]
    for i in range(config.num_hidden_layers):
        table += _layer(f"layers.{i}", config, normed=i > 0)
    table += norm("final_norm", width, bias=bias)
    read = [replace(row, new=False) for row in table]
    if config.projection_dim is not None:
        read += dense("projection", width, config.projection_dim, bias=False)
    return tuple(read)


def _layer(path: str, config: ModernbertConfig, *, normed: bool) -> list[TableRow]:
    width, inner = config.hidden_size, config.intermediate_size
    before = norm(f"{path}.attn_norm", width, bias=config.norm_bias) if normed else ()
    return [
        *before,
        *dense(f"{path}.attn.Wqkv", width, 3 * width, bias=config.attention_bias),
        *dense(f"{path}.attn.Wo", width, width, bias=config.attention_bias),
        *norm(f"{path}.mlp_norm", width, bias=config.norm_bias),
        *dense(f"{path}.mlp.Wi", width, 2 * inner, bias=config.mlp_bias),
        *dense(f"{path}.mlp.Wo", inner, width, bias=config.mlp_bias),
    ]
