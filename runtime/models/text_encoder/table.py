"""Parameters of the text encoder. Imports no jax."""

from __future__ import annotations

from specrun.runtime.models.shapes import check_heads, dense, embedding, norm
from specrun.spec.plan.model import TableRow, TextEncoderConfig


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
        table += norm("final_norm", width)
    if config.projection_dim is not None:
        table += dense("projection", width, config.projection_dim, bias=False)
    return tuple(table)


def _layer(path: str, config: TextEncoderConfig) -> list[TableRow]:
    width, inner = config.hidden_size, config.intermediate_size
    table = list(norm(f"{path}.attention_norm", width))
    for name in ("query", "key", "value", "output"):
        table += dense(f"{path}.attention.{name}", width, width)
    table += norm(f"{path}.mlp_norm", width)
    if config.hidden_act == "swiglu":
        table += dense(f"{path}.mlp.gate", width, inner)
    table += dense(f"{path}.mlp.up", width, inner)
    table += dense(f"{path}.mlp.down", inner, width)
    return table
