"""PEFT ``LoraConfig``: every field, and the prefixed names that guides give them."""

from __future__ import annotations

from collections.abc import Mapping

from specrun.compiler.foreign.foreign import PLAIN_LORA, SECTION_IS_ON, Foreign, none, to

_ONE_RANK = "all adapters have one rank and one alpha"
_BY_GLOB = "a glob over layers, such as `layers.3.*query`"
_WRITTEN = "PEFT writes it into its own files, and here nothing depends on it"

PEFT: Mapping[str, Foreign] = {
    "use_lora": to("lora", SECTION_IS_ON),
    "use_peft": to("lora", SECTION_IS_ON),
    "peft_config": to("lora", "each argument is a key of the section"),
    "lora_config": to("lora", "each argument is a key of the section"),
    "r": to("lora.rank"),
    "lora_r": to("lora.rank"),
    "lora_rank": to("lora.rank"),
    "lora_alpha": to("lora.alpha"),
    "lora_dropout": to("lora.dropout"),
    "lora_target_modules": to("lora.target_modules"),
    "use_rslora": to("lora.rslora"),
    "base_model_name_or_path": to("model.name_or_path"),
    "modules_to_save": to("train.trainable", "patterns of all that trains, adapters included"),
    "trainable_token_indices": to("train.trainable", "whole tables train, not single rows"),
    "layers_to_transform": to("lora.target_modules", _BY_GLOB),
    "layers_pattern": to("lora.target_modules", _BY_GLOB),
    "exclude_modules": to("lora.target_modules", "name those that carry an adapter"),
    "target_parameters": to("lora.target_modules", "adapters are on linear layers"),
    "rank_pattern": none(_ONE_RANK, "lora"),
    "alpha_pattern": none(_ONE_RANK, "lora"),
    "lora_bias": none("biases train where `train.trainable` names them", "lora"),
    "fan_in_fan_out": none("the table of the architecture knows how kernels lie", "lora"),
    "init_lora_weights": none("A is random and B is 0, so that the model begins as it was", "lora"),
    "loftq_config": none(PLAIN_LORA, "lora"),
    "eva_config": none(PLAIN_LORA, "lora"),
    "corda_config": none(PLAIN_LORA, "lora"),
    "lora_ga_config": none(PLAIN_LORA, "lora"),
    "velora_config": none(PLAIN_LORA, "lora"),
    "monteclora_config": none(PLAIN_LORA, "lora"),
    "arrow_config": none(PLAIN_LORA, "lora"),
    "kasa_config": none(PLAIN_LORA, "lora"),
    "use_dora": none(PLAIN_LORA, "lora"),
    "use_qalora": none(PLAIN_LORA, "lora"),
    "qalora_group_size": none(PLAIN_LORA, "lora"),
    "use_bdlora": none(PLAIN_LORA, "lora"),
    "alora_invocation_tokens": none(PLAIN_LORA, "lora"),
    "layer_replication": none("layers are those of the model", "lora"),
    "megatron_config": none("there is no Megatron", "lora"),
    "megatron_core": none("there is no Megatron", "lora"),
    "ensure_weight_tying": none("no weights are tied", "lora"),
    "task_type": none("`model.kind` and `losses` say what is trained", "lora"),
    "peft_type": none("the section `lora` is the adapter", "lora"),
    "auto_mapping": none(_WRITTEN, "lora"),
    "peft_version": none(_WRITTEN, "lora"),
    "runtime_config": none(_WRITTEN, "lora"),
    "inference_mode": none("`specrun run` trains; `encode` and `search` do not", "lora"),
    "revision": none("what is read is cited by its digest; name a directory", "model"),
}
