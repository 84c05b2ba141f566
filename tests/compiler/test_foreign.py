"""Foreign names: each leads to a key that exists, and none hides a key of the spec."""

from __future__ import annotations

import pytest

from specrun.compiler.check import homes_of
from specrun.compiler.foreign.foreign import Foreign
from specrun.compiler.foreign.table import (
    FOREIGN,
    KIND_NAMES,
    LATER_KINDS,
    MISPLACED,
    ORIGINS,
    known_here,
)
from specrun.compiler.front import load
from specrun.spec.annotations import fields_of
from specrun.spec.experiment import Experiment
from specrun.spec.shapes import Kinds, ListOf, Section, Shape, WordOr, shape_of, without_null

BODY = "version: 1\nmodel: {kind: text_encoder}\ntokenizer: {kind: train}\n"
BODY += "data: {kind: jsonl, path: a}\nlosses: [{kind: infonce}]\ntrain: {epochs: 1}\n"


def exists(shape: Shape, steps: list[str]) -> bool:
    shape = without_null(shape)
    if isinstance(shape, ListOf):
        return exists(shape.item, steps)
    if not steps:
        return True
    classes = list(shape.variants.values()) if isinstance(shape, Kinds) else []
    shape = shape.section if isinstance(shape, WordOr) else shape
    classes += [shape.cls] if isinstance(shape, Section) else []
    fields = [info for cls in classes for info in fields_of(cls) if info.name == steps[0]]
    return any(exists(shape_of(info.type), steps[1:]) for info in fields)


@pytest.mark.parametrize("old", FOREIGN)
def test_the_new_name_exists_and_the_old_does_not(old: str) -> None:
    known = FOREIGN[old]
    assert old not in homes_of(Experiment)
    if known.new:
        assert exists(Section(Experiment), known.new.replace("[]", "").split("."))
    if known.at:
        assert exists(Section(Experiment), known.at.replace("[]", "").split("."))


@pytest.mark.parametrize("old", FOREIGN)
def test_a_foreign_name_at_the_root_is_refused_with_the_right_one(old: str) -> None:
    loaded = load(f"{BODY}{old}: 1\n", environ={}, local={})
    [found] = loaded.diagnostics
    assert found.code == ("renamed-key" if FOREIGN[old].new else "unsupported-key")
    assert f"`{old}`" in found.message
    assert FOREIGN[old].new in found.message
    assert FOREIGN[old].note in found.message
    assert (found.file, found.line, found.column) == ("<text>", 7, 1)


def test_every_name_is_of_one_origin_and_says_where_to_or_why() -> None:
    names = [name for origin in ORIGINS.values() for name in origin]
    assert len(names) == len(set(names)) == len(FOREIGN)
    for name, known in [*FOREIGN.items(), *((k, v) for (_, k), v in MISPLACED.items())]:
        assert known.new or known.note, name
        assert not known.note.endswith("."), name


def test_where_the_meaning_differs_it_is_told() -> None:
    for name, word in {
        "per_device_train_batch_size": "global",
        "scale": "1 / scale",
        "use_gradient_cache": "rows encoded at a time",
        "save_total_limit": "at least 2",
        "gradient_accumulation_steps": "one forward pass",
        "fp16": "bfloat16",
        "max_vram_gb": "2^30",
        "pos_encoding": "rotary",
        "modules_to_save": "adapters included",
    }.items():
        assert word in FOREIGN[name].note, name


def test_plain_words_are_foreign_only_where_they_would_stand() -> None:
    assert known_here("r", ()) is FOREIGN["r"]
    assert known_here("r", ("lora",)) is FOREIGN["r"]
    assert known_here("r", ("train",)) is None
    assert known_here("scale", ("losses", 3)) is FOREIGN["scale"]
    assert known_here("scale", ("lora",)) is None
    assert known_here("bias", ("lora",)) is MISPLACED["lora", "bias"]
    assert known_here("bias", ("model",)) is None
    assert known_here("lora_r", ("train",)) is FOREIGN["lora_r"]
    assert known_here("lora-r", ("train",)) is FOREIGN["lora_r"]
    assert known_here("nothing", ()) is None


@pytest.mark.parametrize(("section", "key"), MISPLACED)
def test_words_that_mean_something_else_in_a_section(section: str, key: str) -> None:
    known = MISPLACED[section, key]
    path = tuple(
        s
        for part in section.split(".")
        for s in ((part[:-2], 0) if "[]" in part else (part,))
        if s != ""
    )
    assert known_here(key, path) is known
    if known.new:
        assert exists(Section(Experiment), known.new.replace("[]", "").split("."))


def test_keys_inside_a_foreign_section_are_told_too() -> None:
    text = "trainer: {max_epochs: 3, batch_size: 4, precision: 16, lr: 1e-3, mystery: 1}\n"
    found = load(f"{BODY}{text}", environ={}, local={}).diagnostics
    told = {d.path: d.message + d.hint for d in found}
    assert "train.epochs" in told["trainer.max_epochs"]
    assert "`train`" in told["trainer.batch_size"]
    assert "optimizer.learning_rate" in told["trainer.lr"]
    assert "`trainer` is now `train`" in told["trainer"]
    assert "trainer.mystery" not in told


def test_a_section_of_another_tool_that_only_holds_known_keys_is_opened() -> None:
    found = load(
        f"{BODY}my_settings: {{learning_rate: 1, bf16: true}}\n", environ={}, local={}
    ).diagnostics
    told = {d.path: d.message + d.hint for d in found}
    assert "belongs in `optimizer`" in told["my_settings.learning_rate"]
    assert "precision.compute" in told["my_settings.bf16"]
    assert "unknown key" in told["my_settings"]


HINTS = {
    "model.d_model": "`d_model` is now `model.hidden_size`",
    "model.activation": "`activation` is now `model.hidden_act`",
    "model.pos_encoding": "`rope` is `rotary`",
    "data.min_sentence_length": "`min_sentence_length` is now `data.min_chars`",
    "data.sentence_overlap": "`sentence_overlap` is now `data.chunk_overlap`",
    "curriculum.stages[0].masking_rate_range": "`curriculum.stages[].masking_rate`",
    "curriculum.stages[0].data_selection": "`curriculum.stages[].select`",
    "curriculum.stages[0].format_type": "`curriculum.stages[].format`",
    "curriculum.pseudo_data_ratio": "`curriculum.stages[].pseudo_data.ratio`",
    "generation.num_steps": "`num_steps` is now `generation.steps`",
}
OF_MICRO_DIFFUSION = """\
version: 1
model: {kind: masked_lm, d_model: 16, activation: gelu, pos_encoding: rope}
tokenizer: {kind: train}
data: {kind: text, path: a, min_sentence_length: 3, sentence_overlap: 4}
losses: [{kind: masked_diffusion}]
curriculum:
  pseudo_data_ratio: 0.1
  stages: [{name: a, epochs: 2, masking_rate_range: [0.1, 0.2], data_selection: all, format_type: pairs}]
generation: {num_steps: 3}
"""


def test_who_writes_micro_diffusions_names_in_a_spec_is_told_ours() -> None:
    found = {d.path: d for d in load(OF_MICRO_DIFFUSION, environ={}, local={}).diagnostics}
    assert set(found) == set(HINTS)
    for path, part in HINTS.items():
        assert found[path].code == "renamed-key"
        assert part in found[path].message, path


@pytest.mark.parametrize(
    ("kinds", "part"),
    [
        ("model: {kind: masked_diffusion}", "write `masked_lm`"),
        ("losses: [{kind: mlm}]", "write `masked_diffusion`"),
        ("data: {kind: txt, path: a}", "write `text`"),
    ],
)
def test_kinds_of_language_models_under_other_names(kinds: str, part: str) -> None:
    section = kinds.partition(":")[0]
    rest = [line for line in BODY.splitlines() if not line.startswith(section)]
    found = load("\n".join([*rest, kinds, ""]), environ={}, local={}).diagnostics
    assert part in found[0].hint


GUIDE_KEYS = {
    "conceptcaps": """
        model latent_dim hidden_dim beta loss bce_weight kld_weight inference num_samples temperature threshold name
        quantization load_in_4bit bnb_4bit_quant_type lora r lora_alpha target_modules generation max_new_tokens
        guidance_scale callbacks data evaluation logger paths preset prompt sweeps trainer max_epochs batch_size
        caption tta vae
    """,
    "micro-diffusion": """
        data_dir output_dir cache_dir device mixed_precision gradient_checkpointing experiment_name seed model training
        curriculum d_model n_layers n_heads d_ff vocab_size max_seq_len dropout attention_dropout activation norm_type
        norm_eps pos_encoding init_std use_bias mask_token_id learning_rate min_learning_rate weight_decay beta1 beta2
        eps grad_clip_norm warmup_steps scheduler batch_size gradient_accumulation_steps max_grad_norm max_epochs
        max_steps eval_every save_every log_every patience min_delta val_split val_batch_size
        use_gradient_checkpointing use_mixed_precision dataloader_num_workers pin_memory label_smoothing
        dropout_schedule effective_batch_size name epochs masking_rate_range data_selection format_type stages
        lexical_weight syntactic_weight centrality_weight easy_threshold hard_threshold n_clusters embedding_model
        transition_epochs reset_optimizer pseudo_data_max_samples pseudo_data_ratio temperature top_k top_p num_steps
        max_length num_return_sequences confidence_schedule style_strength interactive_mode min_sentence_length
        max_sentence_length sentence_overlap paragraph_max_sentences idf_corpus_size readability_metrics
        complexity_weights lexical syntactic centrality max_vram_gb memory_safety_margin bytes_per_param
        memory_multiplier
    """,
    "retnet-hrm-encoder": """
        config resume-from vocab_size d_model n_layers n_heads max_seq_len batch_size learning_rate max_steps
        temperature use_hard_negatives hard_negatives eval_interval num_workers retrieval encoder_checkpoint
        faiss_index encoder-checkpoint code-corpus output-dir
    """,
    "smartembed": """
        base_model_path image_base_dir data_config task_label query_image positive negative_text
    """,
    "vembed-factory": """
        model_name_or_path data_path output_dir epochs batch_size learning_rate retrieval_mode loss_type scheduler_type
        warmup_ratio encoder_mode use_lora teacher_model_name projection_dim val_data_path image_root weight_decay
        max_grad_norm temperature use_gradient_cache use_mrl gradient_checkpointing torch_dtype attn_implementation
        lora_r lora_alpha lora_dropout lora_target_modules mrl_dims distillation_alpha distillation_temperature
        report_to run_name project logging_dir config_override
    """,
}
"""Every key, nested key and argument that the guides document."""


@pytest.mark.parametrize(
    ("guide", "key"), [(g, k) for g, keys in GUIDE_KEYS.items() for k in keys.split()]
)
def test_every_key_of_the_guides_is_known(guide: str, key: str) -> None:
    own = key.replace("-", "_") in homes_of(Experiment)
    assert own or known_here(key, ())


def test_a_name_says_its_section() -> None:
    assert Foreign("lora.rank").section == "lora"
    assert Foreign("seed").section == ""
    assert Foreign("", "why", "losses[]").section == "losses[]"


def test_kinds_that_come_later_are_not_kinds_now() -> None:
    for section, kinds in LATER_KINDS.items():
        field = next(i for i in fields_of(Experiment) if i.name == section)
        shape = without_null(shape_of(field.type))
        shape = shape.item if isinstance(shape, ListOf) else shape
        assert isinstance(shape, Kinds)
        known = [*kinds, *(kind for kind, (home, _) in KIND_NAMES.items() if home == section)]
        assert not set(known) & set(shape.variants)
