"""Tiny configurations, and model plans made from the tables for any grouping of the layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from specrun.runtime.models.stacking import groups_of
from specrun.runtime.models.tables import rows
from specrun.spec.plan.model import AdapterMatch, LoraPlan, ModelPlan, WeightsPlan
from specrun.spec.plan.networks import (
    BertConfig,
    EncoderConfig,
    ModernbertConfig,
    MpnetConfig,
    Qwen3Config,
    RobertaConfig,
    TextEncoderConfig,
)
from specrun.spec.plan.parameters import Group, Parameter, TableRow


def text_config(**changes: Any) -> TextEncoderConfig:
    base = TextEncoderConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=24,
        hidden_act="gelu",
        position_embedding="learned",
        max_position_embeddings=12,
        rope_theta=10000.0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        initializer_range=0.3,
        pooling="mean",
        final_layer_norm=True,
        projection_dim=None,
    )
    return dataclasses.replace(base, **changes)


def bert_config(**changes: Any) -> BertConfig:
    base = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=24,
        hidden_act="gelu",
        max_position_embeddings=12,
        type_vocab_size=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-12,
        initializer_range=0.3,
        pooling="mean",
        projection_dim=None,
    )
    return dataclasses.replace(base, **changes)


def roberta_config(**changes: Any) -> RobertaConfig:
    """As ``bert_config``, with twelve positions behind the padding id 1, and one token type."""
    shared = {k: v for k, v in vars(bert_config()).items() if k != "kind"}
    own = {"max_position_embeddings": 14, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    base = RobertaConfig(**{**shared, **own}, pad_token_id=1)
    return dataclasses.replace(base, **changes)


def mpnet_config(**changes: Any) -> MpnetConfig:
    """As ``roberta_config``, without token types."""
    shared = {
        k: v
        for k, v in vars(roberta_config()).items()
        if k not in ("kind", "type_vocab_size", "vocabulary_head")
    }
    base = MpnetConfig(**shared, relative_attention_num_buckets=32)
    return dataclasses.replace(base, **changes)


def qwen3_config(**changes: Any) -> Qwen3Config:
    """Four heads of six on two of keys: wider than the blocks."""
    base = Qwen3Config(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        intermediate_size=24,
        hidden_act="silu",
        max_position_embeddings=12,
        attention_probs_dropout_prob=0.0,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        initializer_range=0.3,
        pooling="last",
        projection_dim=None,
    )
    return dataclasses.replace(base, **changes)


def modernbert_config(**changes: Any) -> ModernbertConfig:
    """The first of three layers is global; the others see two tokens on either side."""
    base = ModernbertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=24,
        hidden_act="gelu",
        max_position_embeddings=12,
        attention_probs_dropout_prob=0.0,
        embedding_dropout=0.0,
        mlp_dropout=0.0,
        norm_eps=1e-5,
        norm_bias=False,
        attention_bias=False,
        mlp_bias=False,
        local_attention=4,
        global_layers=(0,),
        global_rope_theta=160000.0,
        local_rope_theta=10000.0,
        initializer_range=0.3,
        pooling="mean",
        projection_dim=None,
    )
    return dataclasses.replace(base, **changes)


def lora_plan(
    config: EncoderConfig,
    modules: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    rank: int = 2,
    alpha: float = 6.0,
    dropout: float = 0.0,
    rslora: bool = False,
) -> LoraPlan:
    """Adapters on ``modules`` (paths inside a layer) of ``layers`` (all of them by default)."""
    shapes = {row.path: row.shape for row in rows(config)}
    chosen = range(config.num_hidden_layers) if layers is None else layers
    matches = []
    for i in chosen:
        for module in modules:
            n_in, n_out = shapes[f"layers.{i}.{module}.kernel"]
            path = f"layers.{i}.{module}"
            matches.append(AdapterMatch(module=path, target=module, shape=(n_in, n_out)))
    scale = alpha / (math.sqrt(rank) if rslora else rank)
    return LoraPlan(rank=rank, alpha=alpha, dropout=dropout, scale=scale, matches=tuple(matches))


def model_plan(
    config: EncoderConfig,
    *,
    cuts: Sequence[int] = (),
    lora: LoraPlan | None = None,
    weights: WeightsPlan | None = None,
    new: bool | None = None,
) -> ModelPlan:
    """The plan of ``config``; groups begin at ``cuts`` and wherever the adapters change. ``new`` overrides the rows."""
    table = [*rows(config), *_adapter_rows(lora)]
    groups = _groups(config, cuts, lora)
    leaves: dict[str, Parameter] = {}
    for row in table:
        parameter = _parameter(row, groups, row.new if new is None else new)
        leaves.setdefault(parameter.path, parameter)
    total = sum(p.size for p in leaves.values())
    return ModelPlan(
        config=config,
        groups=groups,
        parameters=tuple(leaves.values()),
        modules=(),
        total_parameters=total,
        trainable_parameters=total,
        embedding_dim=config.projection_dim or config.hidden_size,
        lora=lora,
        weights=weights,
    )


def _adapter_rows(lora: LoraPlan | None) -> list[TableRow]:
    found = []
    for match in lora.matches if lora else ():
        n_in, n_out = match.shape
        found.append(
            TableRow(path=f"{match.module}.lora_a", shape=(n_in, lora.rank), role="lora_a")
        )
        found.append(
            TableRow(path=f"{match.module}.lora_b", shape=(lora.rank, n_out), role="lora_b")
        )
    return found


def _groups(config: EncoderConfig, cuts: Sequence[int], lora: LoraPlan | None) -> tuple[Group, ...]:
    groups: list[Group] = []
    begins = {group.first for group in groups_of(rows(config))}
    for i in range(config.num_hidden_layers):
        prefix = f"layers.{i}."
        matches = lora.matches if lora else ()
        adapted = tuple(
            m.module.removeprefix(prefix) for m in matches if m.module.startswith(prefix)
        )
        if groups and i not in cuts and i not in begins and groups[-1].adapted == adapted:
            groups[-1] = dataclasses.replace(groups[-1], count=groups[-1].count + 1)
        else:
            groups.append(Group(first=i, count=1, adapted=adapted))
    return tuple(groups)


def _parameter(row: TableRow, groups: tuple[Group, ...], new: bool) -> Parameter:
    if row.layer is None:
        return Parameter(path=row.path, shape=row.shape, role=row.role, new=new)
    number = next(g for g, x in enumerate(groups) if x.first <= row.layer < x.first + x.count)
    return Parameter(
        path=f"groups.{number}.{row.path.split('.', 2)[2]}",
        shape=(groups[number].count, *row.shape),
        role=row.role,
        stacked=groups[number].first,
        new=new or row.role in ("lora_a", "lora_b"),
    )
