"""Keys of five guides: micro-diffusion, vembed-factory, the RetNet-HRM encoder, SmartEmbed and ConceptCaps."""

from __future__ import annotations

from collections.abc import Mapping

from specrun.compiler.foreign.foreign import (
    HOST,
    NO_CAPTIONS,
    SECTION_IS_ON,
    WEIGHTS_FLOAT32,
    Foreign,
    none,
    to,
)

_OF_TEXTS = "of `kind: text`"
_BFLOAT16 = "`bfloat16` is true, `float32` false"
_NO_VAE = "there is no autoencoder"
_AFTERWARDS = "`specrun search FOLDER QUERY` embeds the rows of a finished run and searches them"

_MICRO_DIFFUSION: Mapping[str, Foreign] = {
    "data_dir": to(
        "data.path",
        "a file of rows, with `kind: text` a folder of texts, or with `kind: python_source` the folders `roots`",
    ),
    "cache_dir": none("SPECRUN_CACHE says where the cache lies"),
    "experiment_name": to("name"),
    "max_seq_len": to(
        "data.max_length",
        "with `kind: text` a number, else one length for queries and one for positives",
    ),
    "norm_type": to("model.norm"),
    "use_bias": to("model.bias"),
    "mask_token_id": none("the tokenizer says which id its `[MASK]` has", "model"),
    "grad_clip_norm": to("train.max_grad_norm"),
    "max_epochs": to("train.epochs"),
    "eval_every": to("evaluation.every_steps"),
    "save_every": to("checkpoint.every_steps"),
    "log_every": to("train.log_every_steps"),
    "val_split": to("data.validation.fraction", "with `kind: fraction`"),
    "val_batch_size": to("evaluation.batch_size"),
    "effective_batch_size": none(
        "it is computed: `train.batch_size` × `train.accumulation_steps`", "train"
    ),
    "use_gradient_checkpointing": to("train.gradient_checkpointing"),
    "use_mixed_precision": to("precision.compute", _BFLOAT16),
    "pin_memory": none(HOST, "data"),
    "training_config": to("train"),
    "model_config": to("model"),
    "curriculum_config": to("curriculum"),
    "masking_rate_range": to("curriculum.stages[].masking_rate"),
    "data_selection": to("curriculum.stages[].select"),
    "format_type": to("curriculum.stages[].format"),
    "lexical_weight": to("data.difficulty.weights.lexical"),
    "syntactic_weight": to("data.difficulty.weights.syntactic"),
    "centrality_weight": to("data.difficulty.weights.centrality"),
    "easy_threshold": to("data.difficulty.easy_below"),
    "hard_threshold": to("data.difficulty.hard_above"),
    "n_clusters": to("data.difficulty.clusters"),
    "embedding_model": to(
        "data.difficulty.embedding",
        "`{kind: pretrained, name_or_path: …}` or `{kind: run, run: …}`",
    ),
    "readability_metrics": to("data.difficulty.readability"),
    "complexity_weights": to("data.difficulty.weights"),
    "pseudo_data_max_samples": to("curriculum.stages[].pseudo_data.max_samples"),
    "pseudo_data_ratio": to("curriculum.stages[].pseudo_data.ratio"),
    "num_steps": to("generation.steps"),
    "interactive_mode": to("generation.interactive"),
    "min_sentence_length": to("data.min_chars", f"{_OF_TEXTS}; a shorter one is left out"),
    "max_sentence_length": to("data.max_chars", f"{_OF_TEXTS}; a longer one is cut"),
    "sentence_overlap": to(
        "data.chunk_overlap", f"{_OF_TEXTS}; words that the pieces of a long text share"
    ),
    "max_vram_gb": to("hardware.max_memory_gb", "GB of 2^30 bytes; null checks nothing"),
    "memory_safety_margin": to("hardware.memory_margin"),
    "bytes_per_param": to("hardware.bytes_per_parameter"),
}

_VEMBED: Mapping[str, Foreign] = {
    "encoder_mode": none("`model.kind` says which encoder it is", "model"),
    "attn_implementation": none("attention is computed by XLA", "model"),
    "text_model_name": to("model.text.name_or_path", "of a model of the kind `composed`"),
    "image_model_name": to("model.image.name_or_path", "of a model of the kind `composed`"),
    "teacher_model_name": to(
        "losses[].teacher",
        "of a loss of the kind `distillation`: `{kind: pretrained, name_or_path: …}`",
    ),
    "val_data_path": to("data.validation.path", "with `kind: file`"),
    "scheduler_type": to("schedule.kind"),
    "use_gradient_cache": to(
        "train.gradient_cache", "`{chunk_size: N}`, rows encoded at a time; null is off"
    ),
    "use_mrl": to("matryoshka", SECTION_IS_ON),
    "mrl_dims": to("matryoshka.dims"),
    "distillation_alpha": to(
        "losses[].weight", "alpha of the loss `distillation`, 1 − alpha of the others"
    ),
    "config_override": none("`--set PATH=VALUE` on the command line sets a value"),
}

_RETNET: Mapping[str, Foreign] = {
    "use_hard_negatives": to(
        "data.negatives", "`{kind: mined, refresh_every_steps: N}`; a row's own need no key"
    ),
    "hard_negatives": to(
        "data.negatives", "`{kind: mined, refresh_every_steps: N}`; a row's own need no key"
    ),
    "refresh_every": to("data.negatives.refresh_every_steps"),
    "eval_interval": to("evaluation.every_steps"),
    "resume_from": to(
        "init_from", "a run's folder: its parameters, with a new optimizer; `specrun run` resumes"
    ),
    "config": to("extends", "a list of presets or files"),
    "retrieval": none(_AFTERWARDS),
    "encoder_checkpoint": none(_AFTERWARDS),
    "faiss_index": none(_AFTERWARDS),
    "code_corpus": none("`specrun search --corpus` takes a folder of code"),
}

_SMARTEMBED: Mapping[str, Foreign] = {
    "base_model_path": to("model.name_or_path", "machine-local paths go into specrun.local.yaml"),
    "image_base_dir": to("data.image_root"),
    "data_config": to("data"),
    "task_label": none("one head serves all rows", "data"),
    "negative_text": to("data.columns.negatives"),
    "use_matryoshka": to("matryoshka", SECTION_IS_ON),
}

_CONCEPTCAPS: Mapping[str, Foreign] = {
    "latent_dim": none(_NO_VAE, "model"),
    "beta": none(_NO_VAE, "model"),
    "bce_weight": none(_NO_VAE, "losses[]"),
    "kld_weight": none(_NO_VAE, "losses[]"),
    "vae": none(_NO_VAE),
    "num_samples": none(NO_CAPTIONS),
    "threshold": none(NO_CAPTIONS),
    "inference": none(NO_CAPTIONS),
    "prompt": none(NO_CAPTIONS),
    "caption": none(NO_CAPTIONS),
    "tta": none(NO_CAPTIONS),
    "max_new_tokens": none(NO_CAPTIONS),
    "guidance_scale": none(NO_CAPTIONS),
    "load_in_4bit": none(WEIGHTS_FLOAT32, "model"),
    "bnb_4bit_quant_type": none(WEIGHTS_FLOAT32, "model"),
    "bnb_4bit_compute_dtype": none(WEIGHTS_FLOAT32, "model"),
    "bnb_4bit_use_double_quant": none(WEIGHTS_FLOAT32, "model"),
}

GUIDES: Mapping[str, Foreign] = {
    **_MICRO_DIFFUSION,
    **_VEMBED,
    **_RETNET,
    **_SMARTEMBED,
    **_CONCEPTCAPS,
}
