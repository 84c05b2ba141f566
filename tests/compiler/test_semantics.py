"""What fits the schema and still cannot be meant."""

from __future__ import annotations

import pytest

from specrun.compiler.front import load

BASE = {
    "version": "1",
    "model": "{kind: text_encoder}",
    "tokenizer": "{kind: train}",
    "data": "{kind: jsonl, path: a.jsonl, validation: {kind: fraction, fraction: 0.1}}",
    "losses": "[{kind: infonce}]",
    "train": "{epochs: 3}",
    "evaluation": "{}",
}


def found(*overrides: str, **sections: str) -> list[tuple[str, str, str]]:
    """Severity, code and path of each finding in the base spec with some sections replaced."""
    given = {k: v for k, v in (BASE | sections).items() if v}
    text = "".join(f"{key}: {value}\n" for key, value in given.items())
    loaded = load(text, overrides=overrides, environ={}, local={})
    errors = any(d.severity == "error" for d in loaded.diagnostics)
    assert (loaded.experiment is None) == errors
    assert all(d.message and d.file for d in loaded.diagnostics)
    return [(d.severity, d.code, d.path) for d in loaded.diagnostics]


def test_the_base_is_fine() -> None:
    assert found() == []


MINED = "negatives: {kind: mined, refresh_every_steps: 5"

SCORED = "{kind: jsonl, path: a, columns: {score: s}}"
SORTED = "[{kind: cosent}]"
TEACHER = "teacher: {kind: pretrained, name_or_path: t}"
OTHER = "teacher: {kind: pretrained, name_or_path: u}"
TOLD = "{kind: jsonl, path: a, columns: {score: s, negatives: n, negative_scores: m}}"
ERRORS: list[tuple[dict[str, str], str, str]] = [
    (
        {
            "losses": f"[{{kind: distillation, {TEACHER}}}, {{kind: distillation, name: b, {OTHER}}}]"
        },
        "two-teachers",
        "losses[1].teacher",
    ),
    (
        {
            "losses": f"[{{kind: distillation, {TEACHER}}}]",
            "model": "{kind: clip, name_or_path: m}",
            "tokenizer": "",
            "data": "{kind: jsonl, path: a, retrieval_mode: t2i, image_root: i, validation: {kind: fraction, fraction: 0.1}}",
        },
        "teacher-of-texts",
        "losses[0].teacher",
    ),
    ({"losses": "[{kind: distillation}]"}, "no-scores", "losses[0].kind"),
    (
        {"losses": "[{kind: siglip, false_negatives: {identical: false}}]"},
        "no-effect",
        "losses[0].false_negatives",
    ),
    (
        {"losses": "[{kind: triplet, false_negatives: {identical: false}}]"},
        "no-effect",
        "losses[0].false_negatives",
    ),
    (
        {"losses": "[{kind: infonce, false_negatives: {margin_strategy: absolute}}]"},
        "no-effect",
        "losses[0].false_negatives.margin_strategy",
    ),
    (
        {
            "losses": "[{kind: infonce, negatives: own, false_negatives: {identical: true, margin: 0.1}}]",
            "data": "{kind: jsonl, path: a, columns: {negatives: n}}",
            "evaluation": "null",
        },
        "no-effect",
        "losses[0].false_negatives.identical",
    ),
    (
        {"losses": "[{kind: distillation, objective: mse}]"},
        "no-scores",
        "losses[0].kind",
    ),
    (
        {
            "losses": "[{kind: distillation}]",
            "data": "{kind: jsonl, path: a, columns: {score: s, negatives: n}}",
            "evaluation": "null",
        },
        "no-scores",
        "losses[0].kind",
    ),
    (
        {
            "losses": "[{kind: distillation, negatives: in_batch}]",
            "data": TOLD,
            "evaluation": "null",
        },
        "no-teacher",
        "losses[0].negatives",
    ),
    (
        {"losses": f"[{{kind: distillation, negatives: own, {TEACHER}}}]"},
        "no-negatives",
        "losses[0].negatives",
    ),
    (
        {
            "losses": f"[{{kind: distillation, {TEACHER}}}]",
            "data": TOLD.replace("score: s, ", ""),
            "evaluation": "null",
        },
        "no-effect",
        "data.columns.negative_scores",
    ),
    (
        {
            "losses": "[{kind: distillation, objective: mse}]",
            "data": "{kind: jsonl, path: a, columns: {score: s, negative_scores: m}}",
            "evaluation": "null",
        },
        "no-effect",
        "data.columns.negative_scores",
    ),
    (
        {"losses": f"[{{kind: distillation, on: cosines, temperature: 0.1, {TEACHER}}}]"},
        "no-effect",
        "losses[0].temperature",
    ),
    (
        {
            "losses": f"[{{kind: distillation, objective: mse, distillation_temperature: 2, {TEACHER}}}]"
        },
        "no-effect",
        "losses[0].distillation_temperature",
    ),
    (
        {"losses": f"[{{kind: distillation, {TEACHER}}}]", "train": "{epochs: 3, batch_size: 1}"},
        "no-negatives",
        "train.batch_size",
    ),
    (
        {
            "losses": f"[{{kind: distillation, {TEACHER}}}]",
            "data": "{kind: jsonl, path: a, columns: {label: l}}",
            "evaluation": "null",
        },
        "no-effect",
        "data.columns.label",
    ),
    (
        {
            "data": f"{{kind: jsonl, path: a.jsonl, validation: {{kind: fraction, fraction: 0.1}}, columns: {{negatives: n}}, {MINED}}}}}"
        },
        "two-negatives",
        "data.negatives",
    ),
    (
        {
            "data": f"{{kind: jsonl, path: a.jsonl, validation: {{kind: fraction, fraction: 0.1}}, {MINED}}}}}",
            "losses": "[{kind: infonce, negatives: in_batch}]",
        },
        "no-effect",
        "data.negatives",
    ),
    (
        {
            "data": f"{{kind: jsonl, path: a.jsonl, validation: {{kind: fraction, fraction: 0.1}}, {MINED}, top_k: 5, skip_top: 3}}}}"
        },
        "too-many",
        "data.negatives.num_negatives",
    ),
    (
        {"model": "{kind: text_encoder, num_attention_heads: 3}"},
        "heads-do-not-divide",
        "model.num_attention_heads",
    ),
    (
        {
            "model": "{kind: text_encoder, hidden_size: 36, num_attention_heads: 12, "
            "position_embedding: rotary}"
        },
        "odd-head-size",
        "model.num_attention_heads",
    ),
    (
        {
            "model": "{kind: text_encoder, max_position_embeddings: 100}",
            "data": "{kind: jsonl, path: rows.jsonl, max_length: {positive: 128}}",
            "evaluation": "",
        },
        "too-few-positions",
        "data.max_length.positive",
    ),
    ({"model": "{kind: text_encoder, rope_theta: 5}"}, "no-effect", "model.rope_theta"),
    (
        {"model": "{kind: text_encoder, num_hidden_layers: 0, norm: rmsnorm, bias: false}"},
        "no-effect",
        "model.bias",
    ),
    (
        {
            "model": "{kind: text_encoder, num_hidden_layers: 0, final_layer_norm: false, norm: rmsnorm}"
        },
        "no-effect",
        "model.norm",
    ),
    (
        {"model": "{kind: text_encoder, num_hidden_layers: 0, hidden_act: gelu}"},
        "no-effect",
        "model.hidden_act",
    ),
    (
        {
            "model": "{kind: text_encoder, num_hidden_layers: 0}",
            "train": "{epochs: 3, gradient_checkpointing: true}",
        },
        "no-effect",
        "train.gradient_checkpointing",
    ),
    ({"tokenizer": ""}, "missing-key", "tokenizer"),
    ({"tokenizer": "null"}, "missing-key", "tokenizer"),
    ({"matryoshka": "{dims: [512, 64]}"}, "dim-above-width", "matryoshka.dims[0]"),
    (
        {"matryoshka": "{dims: [256]}", "model": "{kind: text_encoder, projection_dim: 128}"},
        "dim-above-width",
        "matryoshka.dims[0]",
    ),
    ({"matryoshka": "{dims: [256, 64], weights: [1]}"}, "length-mismatch", "matryoshka.weights"),
    ({"matryoshka": "{dims: [256], weights: [0]}"}, "all-weights-zero", "matryoshka.weights"),
    ({"losses": "[{kind: infonce}, {kind: infonce}]"}, "duplicate-name", "losses[1]"),
    (
        {"losses": "[{kind: infonce}, {kind: infonce, name: infonce}]"},
        "duplicate-name",
        "losses[1].name",
    ),
    ({"losses": "[{kind: infonce, weight: 0}]"}, "all-weights-zero", "losses[0].weight"),
    ({"train": ""}, "missing-key", "train"),
    ({"train": "{batch_size: 32}"}, "missing-key", "train"),
    ({"train": "{epochs: 3, batch_size: 1}"}, "no-negatives", "train.batch_size"),
    ({"train": "{epochs: 3, micro_batch_size: 7}"}, "does-not-divide", "train.micro_batch_size"),
    ({"train": "{epochs: 3, score_tile_rows: 65}"}, "tile-too-large", "train.score_tile_rows"),
    ({"losses": "[{kind: infonce, negatives: own}]"}, "no-negatives", "losses[0].negatives"),
    ({"losses": "[{kind: infonce, negatives: all}]"}, "no-negatives", "losses[0].negatives"),
    (
        {
            "losses": "[{kind: infonce, negatives: in_batch}]",
            "data": "{kind: jsonl, path: a, columns: {negatives: wrong}}",
            "evaluation": "null",
        },
        "no-effect",
        "data.columns.negatives",
    ),
    (
        {
            "losses": "[{kind: infonce, negatives: own, symmetric: true}]",
            "data": "{kind: jsonl, path: a, columns: {negatives: wrong}}",
            "evaluation": "null",
        },
        "no-effect",
        "losses[0].symmetric",
    ),
    (
        {
            "losses": "[{kind: infonce, negatives: own}]",
            "data": "{kind: jsonl, path: a, columns: {negatives: wrong}}",
            "train": "{epochs: 3, score_tile_rows: 8}",
            "evaluation": "null",
        },
        "no-effect",
        "train.score_tile_rows",
    ),
    (
        {"train": "{epochs: 3, gradient_cache: {chunk_size: 7}}"},
        "does-not-divide",
        "train.gradient_cache.chunk_size",
    ),
    (
        {"train": "{epochs: 3, gradient_cache: {chunk_size: 16}, micro_batch_size: 32}"},
        "chunks-disagree",
        "train.gradient_cache.chunk_size",
    ),
    (
        {"train": "{epochs: 3, gradient_cache: {chunk_size: 0}}"},
        "out-of-range",
        "train.gradient_cache.chunk_size",
    ),
    (
        {"train": "{epochs: 3, gradient_cache: {}}"},
        "missing-key",
        "train.gradient_cache.chunk_size",
    ),
    ({"losses": "[{kind: siglip, negatives: all}]"}, "no-negatives", "losses[0].negatives"),
    ({"losses": "[{kind: cosent}]"}, "no-scores", "losses[0].kind"),
    (
        {"losses": "[{kind: triplet}]", "train": "{epochs: 3, batch_size: 1}"},
        "no-negatives",
        "train.batch_size",
    ),
    (
        {
            "losses": SORTED,
            "data": SCORED,
            "evaluation": "null",
            "train": "{epochs: 3, batch_size: 1}",
        },
        "no-negatives",
        "train.batch_size",
    ),
    (
        {"data": SCORED, "evaluation": "null"},
        "no-effect",
        "data.columns.score",
    ),
    (
        {
            "losses": SORTED,
            "data": "{kind: jsonl, path: a, columns: {score: s, label: l}}",
            "evaluation": "null",
        },
        "no-effect",
        "data.columns.label",
    ),
    (
        {
            "losses": SORTED,
            "data": "{kind: jsonl, path: a, columns: {score: s, negatives: n}}",
            "evaluation": "null",
        },
        "no-effect",
        "data.columns.negatives",
    ),
    (
        {
            "losses": SORTED,
            "data": "{kind: jsonl, path: a, columns: {score: query}}",
            "evaluation": "",
        },
        "same-column",
        "data.columns.score",
    ),
    ({"hardware": "{devices: 3}"}, "does-not-divide", "train.batch_size"),
    (
        {"hardware": "{devices: 4}", "train": "{epochs: 3, micro_batch_size: 2}"},
        "does-not-divide",
        "train.micro_batch_size",
    ),
    (
        {"schedule": "{kind: cosine, min_learning_rate: 1}"},
        "floor-above-peak",
        "schedule.min_learning_rate",
    ),
    ({"data": "{kind: jsonl, path: a}"}, "no-validation", "evaluation"),
    ({"evaluation": "{select_best: mrr@11}"}, "unknown-metric", "evaluation.select_best"),
    ({"evaluation": "{select_best: mrr@10 at 64}"}, "unknown-dimension", "evaluation.select_best"),
]


@pytest.mark.parametrize(("sections", "code", "path"), ERRORS)
def test_errors(sections: dict[str, str], code: str, path: str) -> None:
    assert found(**sections) == [("error", code, path)]


STAGES = [
    ("{name: a}, {name: a}", "duplicate-name", "curriculum.stages[1].name"),
    ("{name: a, select: {field: x}}", "no-bounds", "curriculum.stages[0].select"),
    (
        "{name: a, select: {field: x, min: 2, max: 1}}",
        "empty-range",
        "curriculum.stages[0].select.min",
    ),
    (
        "{name: a, loss_weights: {nope: 1}}",
        "unknown-loss",
        "curriculum.stages[0].loss_weights.nope",
    ),
    (
        "{name: a, loss_weights: {infonce: 0}}",
        "all-weights-zero",
        "curriculum.stages[0].loss_weights",
    ),
]


@pytest.mark.parametrize(("stages", "code", "path"), STAGES)
def test_errors_of_stages(stages: str, code: str, path: str) -> None:
    assert found(train="", curriculum=f"{{stages: [{stages}]}}") == [("error", code, path)]


def test_explicit_epochs_must_be_the_sum_of_the_stages() -> None:
    stages = "{stages: [{name: a, epochs: 2}, {name: b}]}"
    assert found(curriculum=stages) == []
    wrong = [("error", "epochs-disagree", "train.epochs")]
    assert found(curriculum=stages, train="{epochs: 2}") == wrong


def test_dims_and_full_width_may_be_selected() -> None:
    dims = "{dims: [128, 64]}"
    assert found(matryoshka=dims, evaluation="{select_best: mrr@10 at 64}") == []
    assert found(matryoshka=dims, evaluation="{select_best: mrr@10 at 256}") == []


def test_a_pretrained_model_brings_its_tokenizer_and_width() -> None:
    bert = "{kind: bert, name_or_path: x}"
    sections = {"matryoshka": "{dims: [9999]}", "evaluation": "{select_best: mrr@10 at 9}"}
    assert found(model=bert, tokenizer="", **sections) == []


WARNINGS: list[tuple[dict[str, str], str, str]] = [
    ({"train": "{epochs: 3, batch_size: 8}"}, "few-negatives", "train.batch_size"),
    (
        {"train": "{epochs: 3, accumulation_steps: 2}"},
        "accumulation-in-batch",
        "train.accumulation_steps",
    ),
    (
        {"losses": "[{kind: siglip}]", "train": "{epochs: 3, batch_size: 8}"},
        "few-negatives",
        "train.batch_size",
    ),
    (
        {
            "losses": SORTED,
            "data": "{kind: jsonl, path: a, columns: {score: s}, validation: {kind: fraction, fraction: 0.1}}",
        },
        "scores-not-evaluated",
        "data.columns.score",
    ),
    (
        {
            "losses": SORTED,
            "data": SCORED,
            "evaluation": "null",
            "train": "{epochs: 3, accumulation_steps: 2}",
        },
        "accumulation-in-batch",
        "train.accumulation_steps",
    ),
    ({"train": "{epochs: 3, max_steps: 5}"}, "no-effect", "train.epochs"),
    ({"lora": "{target_modules: [query]}"}, "lora-from-scratch", "lora"),
    ({"evaluation": ""}, "unused-validation", "data.validation"),
]


@pytest.mark.parametrize(("sections", "code", "path"), WARNINGS)
def test_warnings(sections: dict[str, str], code: str, path: str) -> None:
    assert found(**sections) == [("warning", code, path)]


def test_a_reset_of_the_first_stage_is_refused() -> None:
    stages = "{stages: [{name: a, reset_optimizer: true}]}"
    assert found(train="", curriculum=stages) == [
        ("error", "no-effect", "curriculum.stages[0].reset_optimizer")
    ]


def test_a_trained_temperature_starts_in_its_range() -> None:
    low = "[{kind: infonce, temperature: 0.005, train_temperature: true}]"
    assert found(losses=low) == [("error", "out-of-range", "losses[0].temperature")]
    assert found(losses="[{kind: infonce, temperature: 0.005}]") == []


def test_gradient_caching_has_two_names_and_one_value() -> None:
    assert found(train="{epochs: 3, gradient_cache: {chunk_size: 16}, micro_batch_size: 16}") == []
    both = "{epochs: 3, gradient_cache: {chunk_size: 16}, micro_batch_size: 32}"
    text = "".join(f"{k}: {v}\n" for k, v in (BASE | {"train": both}).items())
    [told] = load(text, environ={}, local={}).diagnostics
    assert "train.gradient_cache.chunk_size" in told.message
    assert "train.micro_batch_size" in told.message


def test_losses_that_need_no_other_rows_take_a_batch_of_one() -> None:
    alone, quiet = "{epochs: 3, batch_size: 1}", {"evaluation": "null"}
    negatives = "{kind: jsonl, path: a, columns: {negatives: n}}"
    assert found(losses="[{kind: triplet}]", data=negatives, train=alone, **quiet) == []
    bare = "{kind: jsonl, path: a}"
    assert found(losses="[{kind: siglip}]", data=bare, train=alone, **quiet) == [
        ("warning", "few-negatives", "train.batch_size")
    ]


def test_a_key_that_a_stronger_level_left_without_effect_is_a_warning() -> None:
    model = "{kind: text_encoder, num_attention_heads: 8}"
    assert found("model.num_hidden_layers=0", model=model) == [
        ("warning", "no-effect", "model.num_attention_heads")
    ]
    both = ("model.num_hidden_layers=0", "model.num_attention_heads=8")
    assert found(*both) == [("error", "no-effect", "model.num_attention_heads")]


def test_findings_that_rest_on_a_mistake_are_not_made() -> None:
    model = "{kind: text_encoder, hidden_size: no, num_attention_heads: 7}"
    assert found(model=model, matryoshka="{dims: [512]}") == [
        ("error", "wrong-type", "model.hidden_size")
    ]


def test_semantic_mistakes_are_found_beside_others() -> None:
    codes = {code for _, code, _ in found(train="{epochs: x, micro_batch_size: 7}", seed="-1")}
    assert codes == {"wrong-type", "does-not-divide", "out-of-range"}
