"""Parameters of the text encoder. Imports no jax."""

from __future__ import annotations

from specrun.runtime.models.shapes import check_heads, dense, embedding, norm
from specrun.spec.plan.networks import TextEncoderConfig
from specrun.spec.plan.parameters import TableRow


def rows(config: TextEncoderConfig) -> tuple[TableRow, ...]:
    """Embeddings, pre-LN blocks, norm of the pooled vector, head; in the order of the forward pass."""
    check_heads(
        config.hidden_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        rotary=config.position_embedding == "rotary",
    )
    width = config.hidden_size
    table = list(embedding("embeddings.token", config.vocab_size, width))
    if config.position_embedding == "learned":
        table += embedding("embeddings.position", config.max_position_embeddings, width)
    for i in range(config.num_hidden_layers):
        table += _layer(f"layers.{i}", config)
    if config.final_layer_norm:
        table += _norm("final_norm", config)
    if config.projection_dim is not None:
        table += dense("projection", width, config.projection_dim, bias=False)
    return tuple(table)


def _layer(path: str, config: TextEncoderConfig) -> list[TableRow]:
    width, inner, bias = config.hidden_size, config.intermediate_size, config.bias
    table = list(_norm(f"{path}.attention_norm", config))
    for name in ("query", "key", "value", "output"):
        table += dense(f"{path}.attention.{name}", width, width, bias=bias)
    table += _norm(f"{path}.mlp_norm", config)
    if config.hidden_act == "swiglu":
        table += dense(f"{path}.mlp.gate", width, inner, bias=bias)
    table += dense(f"{path}.mlp.up", width, inner, bias=bias)
    table += dense(f"{path}.mlp.down", inner, width, bias=bias)
    return table


def _norm(path: str, config: TextEncoderConfig) -> tuple[TableRow, ...]:
    return norm(path, config.hidden_size, bias=config.bias and config.norm == "layernorm")
