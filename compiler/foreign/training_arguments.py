"""Hugging Face ``TrainingArguments``: every field of version 5, and those of version 4 that are gone."""

from __future__ import annotations

from collections.abc import Mapping

from specrun.compiler.foreign.foreign import (
    COMPILED,
    HOST,
    NOT_UPLOADED,
    PER_DEVICE,
    REPLICATED,
    RESUMES,
    SHOWN,
    Foreign,
    none,
    to,
)

_LOSSES_ARE_SUMS = "losses and gradients are sums over the whole batch on all devices, divided once"
_MEASURED = "evaluation measures retrieval over all held-out rows"
_BFLOAT16 = "`compute: bfloat16`; weights and optimizer stay in float32"
_NO_FLOAT16 = "write `compute: bfloat16`, which needs no loss scaling; there is no float16"

TRAINING_ARGUMENTS: Mapping[str, Foreign] = {
    # length and batches
    "per_device_train_batch_size": to("train.batch_size", PER_DEVICE),
    "per_gpu_train_batch_size": to("train.batch_size", PER_DEVICE),
    "num_train_epochs": to(
        "train.epochs", "a whole number; `train.max_steps` ends within an epoch"
    ),
    "gradient_accumulation_steps": to(
        "train.accumulation_steps", "in-batch negatives come from one forward pass"
    ),
    "auto_find_batch_size": to(
        "hardware.max_memory_gb", "compiling refuses what does not fit, and names what does"
    ),
    "dataloader_drop_last": to("train.drop_last"),
    "group_by_length": to(
        "train.length_buckets", "padded lengths a batch may take; rows stay shuffled"
    ),
    "train_sampling_strategy": to(
        "train.length_buckets", "rows are shuffled; batches take a padded length"
    ),
    "length_column_name": to("train.length_buckets", "lengths are those of the tokens"),
    # optimizer and schedule
    "optim": to("optimizer.kind", "`adamw_torch` and the like are `adamw`"),
    "optim_args": to("optimizer", "each argument is a key of the section"),
    "adafactor": to("optimizer.kind"),
    "adam_beta1": to("optimizer.beta1"),
    "adam_beta2": to("optimizer.beta2"),
    "adam_epsilon": to("optimizer.eps"),
    "optim_target_modules": none("AdamW updates whole matrices", "optimizer"),
    "lr_scheduler_type": to("schedule.kind"),
    "lr_scheduler_kwargs": to("schedule", "each argument is a key of the section"),
    "label_smoothing_factor": none(
        "only `masked_diffusion` smooths its targets, by `losses[].label_smoothing`"
    ),
    "neftune_noise_alpha": none("embeddings get dropout, no noise"),
    "average_tokens_across_devices": none(_LOSSES_ARE_SUMS),
    # numbers and memory
    "bf16": to("precision.compute", _BFLOAT16),
    "fp16": to("precision.compute", _NO_FLOAT16),
    "bf16_full_eval": to("precision.compute", "evaluation computes as training does"),
    "fp16_full_eval": to("precision.compute", "evaluation computes as training does"),
    "fp16_opt_level": none("there is no float16"),
    "fp16_backend": none("there is no float16"),
    "half_precision_backend": none("there is no float16"),
    "tf32": to("precision.matmul", "`default` lets a GPU use TF32"),
    "activation_checkpointing": to("train.gradient_checkpointing"),
    "activation_checkpointing_kwargs": none("every layer is computed again, or none", "train"),
    "gradient_checkpointing_kwargs": none("every layer is computed again, or none", "train"),
    "torch_compile": none(COMPILED),
    "torch_compile_backend": none(COMPILED),
    "torch_compile_mode": none(COMPILED),
    "torchdynamo": none(COMPILED),
    "jit_mode_eval": none(COMPILED),
    "use_ipex": none(COMPILED),
    "use_liger_kernel": none(COMPILED),
    "liger_kernel_config": none(COMPILED),
    "torch_empty_cache_steps": none("XLA plans memory when it compiles"),
    "skip_memory_metrics": none("the peak is always in result.json"),
    "use_cache": none("encoders keep no keys and values"),
    # evaluation
    "per_device_eval_batch_size": to("evaluation.batch_size", PER_DEVICE),
    "per_gpu_eval_batch_size": to("evaluation.batch_size", PER_DEVICE),
    "eval_strategy": to(
        "evaluation.every_steps", "null is each epoch; without the section nothing is evaluated"
    ),
    "evaluation_strategy": to(
        "evaluation.every_steps", "null is each epoch; without the section nothing is evaluated"
    ),
    "eval_steps": to("evaluation.every_steps"),
    "eval_on_start": to("evaluation.at_start"),
    "eval_delay": none("evaluations are at equal distances", "evaluation"),
    "metric_for_best_model": to("evaluation.select_best"),
    "greater_is_better": none("every metric here is better when greater", "evaluation"),
    "load_best_model_at_end": none("`best/` holds the best parameters beside those of `final/`"),
    "prediction_loss_only": none(_MEASURED),
    "eval_do_concat_batches": none(_MEASURED),
    "eval_use_gather_object": none(_MEASURED),
    "eval_accumulation_steps": none(_MEASURED),
    "include_for_metrics": none(_MEASURED),
    "include_inputs_for_metrics": none(_MEASURED),
    "batch_eval_metrics": none(_MEASURED),
    "past_index": none("encoders keep no state between texts"),
    # checkpoints
    "save_strategy": to("checkpoint.every_steps", "null is each epoch"),
    "save_steps": to("checkpoint.every_steps"),
    "save_total_limit": to("checkpoint.keep", "at least 2, and the best one besides"),
    "save_only_model": none("a checkpoint holds all that resuming needs", "checkpoint"),
    "save_safetensors": none("`final/` and `best/` are always safetensors", "checkpoint"),
    "save_on_each_node": none("one process writes", "checkpoint"),
    "enable_jit_checkpoint": none("Ctrl-C and SIGTERM save what is done", "checkpoint"),
    "resume_from_checkpoint": none(RESUMES),
    "ignore_data_skip": none(RESUMES),
    "restore_callback_states_from_checkpoint": none(RESUMES),
    "overwrite_output_dir": none(
        "a folder with another plan's run is refused; name another `output_dir`"
    ),
    # what is told, and to whom
    "run_name": to("name"),
    "report_to": to(
        "tracking",
        "a list of items with `kind`: tensorboard or wandb; metrics.jsonl is always written",
    ),
    "logging_dir": to("tracking", "files lie in the run's folder"),
    "logging_steps": to("train.log_every_steps"),
    "logging_strategy": to("train.log_every_steps"),
    "logging_first_step": to("train.log_every_steps"),
    "logging_nan_inf_filter": none(
        "a loss that is not finite stops the run, and says at which step"
    ),
    "log_on_each_node": none(SHOWN),
    "log_level": none(SHOWN),
    "log_level_replica": none(SHOWN),
    "disable_tqdm": none(SHOWN),
    "include_num_input_tokens_seen": none("result.json tells steps and rows a second"),
    "include_tokens_per_second": none("result.json tells steps and rows a second"),
    "trackio_space_id": none("trackers are tensorboard and wandb", "tracking[]"),
    "trackio_bucket_id": none("trackers are tensorboard and wandb", "tracking[]"),
    "trackio_static_space_id": none("trackers are tensorboard and wandb", "tracking[]"),
    "push_to_hub": none(NOT_UPLOADED),
    "push_to_hub_model_id": none(NOT_UPLOADED),
    "push_to_hub_organization": none(NOT_UPLOADED),
    "push_to_hub_token": none(NOT_UPLOADED),
    "hub_token": none(NOT_UPLOADED),
    "hub_private_repo": none(NOT_UPLOADED),
    "hub_model_id": none(NOT_UPLOADED),
    "hub_strategy": none(NOT_UPLOADED),
    "hub_always_push": none(NOT_UPLOADED),
    "hub_revision": none(NOT_UPLOADED),
    # seeds and devices
    "data_seed": to("seed", "one seed for all"),
    "full_determinism": to("hardware.deterministic"),
    "use_cpu": to("hardware.platform", "write `cpu`"),
    "no_cuda": to("hardware.platform", "write `cpu`"),
    "use_mps_device": none("platforms are cpu and gpu", "hardware"),
    "tpu_num_cores": none("platforms are cpu and gpu", "hardware"),
    "local_rank": none(REPLICATED),
    "accelerator_config": none(REPLICATED),
    "parallelism_config": none(REPLICATED),
    "ddp_find_unused_parameters": none(REPLICATED),
    "ddp_bucket_cap_mb": none(REPLICATED),
    "ddp_broadcast_buffers": none(REPLICATED),
    "ddp_static_graph": none(REPLICATED),
    "ddp_backend": none(REPLICATED),
    "ddp_timeout": none(REPLICATED),
    "fsdp": none(REPLICATED),
    "fsdp_config": none(REPLICATED),
    "fsdp_min_num_params": none(REPLICATED),
    "fsdp_transformer_layer_cls_to_wrap": none(REPLICATED),
    "deepspeed": none(REPLICATED),
    "mp_parameters": none(REPLICATED),
    "ray_scope": none("write one spec for each point"),
    "debug": none("SPECRUN_TRACEBACK=1 shows where specrun itself failed"),
    # data
    "dataloader_num_workers": none(HOST, "data"),
    "dataloader_pin_memory": none(HOST, "data"),
    "dataloader_persistent_workers": none(HOST, "data"),
    "dataloader_prefetch_factor": none(HOST, "data"),
    "dataloader_multiprocessing_context": none(HOST, "data"),
    "dataloader_in_order": none(HOST, "data"),
    "dispatch_batches": none(HOST, "data"),
    "split_batches": none(HOST, "data"),
    "remove_unused_columns": to("data.columns", "only the columns named there are read"),
    "label_names": to("data.columns.label"),
    # what the commands do
    "do_train": none("`specrun run` trains"),
    "do_eval": to("evaluation", "with the section, `specrun run` evaluates"),
    "do_predict": none("`specrun encode` and `specrun search` use a finished run"),
}
