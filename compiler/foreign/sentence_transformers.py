"""sentence-transformers: training arguments beyond Hugging Face's, arguments of losses, of models and of modules."""

from __future__ import annotations

from collections.abc import Mapping

from specrun.compiler.foreign.foreign import COSINE, Foreign, none, to

_POOLED = "a prompt is pooled with its text"
_ONE_SET = "there is one set of rows"
_HARDNESS = "all negatives count alike"
_NO_GUIDE = "there is no guide model"
_EVERY_WIDTH = "every width is computed at every step"
_LAST_LAYER = "losses see the last layer alone"
_FROM_FILES = "a directory's config.json and files say it"

SENTENCE_TRANSFORMERS: Mapping[str, Foreign] = {
    # training arguments
    "default_prompt_name": none("`model.prompts` has a prompt for each side", "model"),
    "batch_sampler": none(
        "rows that repeat another are dropped when read; a batch is a shuffle of rows", "train"
    ),
    "multi_dataset_batch_sampler": none(_ONE_SET, "train"),
    "router_mapping": none("one encoder takes queries and positives", "model"),
    "learning_rate_mapping": none(
        "one rate for all; a stage scales it and chooses what trains", "optimizer"
    ),
    # losses
    "scale": to("losses[].temperature", "temperature = 1 / scale"),
    "logit_bias": to("losses[].bias", "of `siglip`"),
    "logit_scale": to("losses[].train_temperature", "temperature = 1 / exp(logit_scale)"),
    "tau": to("losses[].temperature"),
    "mini_batch_size": to("train.gradient_cache.chunk_size"),
    "mini_batch_num_tokens": to("train.gradient_cache.chunk_size", "in rows"),
    "similarity_fct": none(COSINE, "losses[]"),
    "similarity_fn_name": none(COSINE, "model"),
    "distance_metric": none(COSINE, "losses[]"),
    "gather_across_devices": none("negatives always come from all devices", "losses[]"),
    "partition_mode": none("the denominator is that of all rows, in each direction", "losses[]"),
    "hardness_mode": none(_HARDNESS, "losses[]"),
    "hardness_strength": none(_HARDNESS, "losses[]"),
    "triplet_margin": to("losses[].margin", "of cosines"),
    "size_average": none("a loss is a mean over rows", "losses[]"),
    "guide": none(_NO_GUIDE, "losses[]"),
    "contrast_anchors": none(_NO_GUIDE, "losses[]"),
    "contrast_positives": none(_NO_GUIDE, "losses[]"),
    "student_temperature": to("losses[].distillation_temperature"),
    "teacher_temperature": to("losses[].distillation_temperature"),
    "kl_temperature": none(_LAST_LAYER, "losses[]"),
    "kl_div_weight": none(_LAST_LAYER, "losses[]"),
    "last_layer_weight": none(_LAST_LAYER, "losses[]"),
    "prior_layers_weight": none(_LAST_LAYER, "losses[]"),
    "layer_weighting": none(_LAST_LAYER, "losses[]"),
    "n_layers_per_step": none(_LAST_LAYER, "losses[]"),
    "n_dims_per_step": none(_EVERY_WIDTH, "matryoshka"),
    "matryoshka_dims": to("matryoshka.dims"),
    "matryoshka_weights": to("matryoshka.weights"),
    "show_progress_bar": none("`--quiet` shows nothing"),
    # models and modules
    "model_name_or_path": to("model.name_or_path"),
    "tokenizer_name_or_path": to("tokenizer.path", "with `kind: file`"),
    "truncate_dim": to("matryoshka.dims", "`encode --dimension` cuts afterwards"),
    "pooling_mode": to("model.pooling"),
    "pooling_mode_mean_tokens": to("model.pooling", "`mean`"),
    "pooling_mode_cls_token": to("model.pooling", "`cls`"),
    "pooling_mode_max_tokens": none("pooling is `mean` or `cls`", "model"),
    "word_embedding_dimension": to("model.hidden_size"),
    "embedding_dimension": to("model.hidden_size"),
    "out_features": to("model.projection_dim"),
    "in_features": none("it is `model.hidden_size`, or the model's own", "model"),
    "activation_function": none("a head is a matrix without bias and activation", "model"),
    "max_seq_length": to("data.max_length", "one length for queries and one for positives"),
    "query_length": to("data.max_length.query"),
    "document_length": to("data.max_length.positive"),
    "query_expansion": none("padding is masked", "data"),
    "do_lower_case": to("tokenizer.lowercase", "for a tokenizer that is trained"),
    "include_prompt": none(_POOLED, "model"),
    "model_kwargs": none(_FROM_FILES, "model"),
    "config_kwargs": none(_FROM_FILES, "model"),
    "tokenizer_kwargs": none(_FROM_FILES, "model"),
    "processor_kwargs": none(_FROM_FILES, "model"),
    "processing_kwargs": none(_FROM_FILES, "model"),
    "transformer_task": none(_FROM_FILES, "model"),
    "modality_config": none("texts alone are encoded", "model"),
    "module_input_name": none(_FROM_FILES, "model"),
    "module_output_name": none(_FROM_FILES, "model"),
    "unpad_inputs": none("lengths are padded, so that shapes stay few", "model"),
    "use_residual": none("a head is a matrix without bias and activation", "model"),
    "trust_remote_code": none("code from a model's files is never run", "model"),
    "cache_folder": none("HF_HOME says where the Hugging Face cache lies", "model"),
    "local_files_only": none("nothing is downloaded", "model"),
    "use_auth_token": none("nothing is downloaded", "model"),
    "token": none("nothing is downloaded", "model"),
    "model_card_data": none("the plan in the run's folder describes the run", "model"),
    "modules": none("`model` says what is built: blocks, pooling, norm, head", "model"),
    "train_dataset": to("data"),
    "eval_dataset": to("data.validation"),
    "evaluator": to("evaluation"),
}
