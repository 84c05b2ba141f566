"""Keywords instead of a file: the same plan, the same run, and no keyword without an effect."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import specrun
from tests.front.test_pretrained import tokenizer_text, write_model, write_spec
from tests.front.test_text_image import TOWERS, processor, vocabulary

SHORT: dict[str, Any] = {"query": 8, "positive": 12}
WORDS: dict[str, Any] = {
    "data_path": "rows.jsonl",
    "output_dir": "output",
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 1e-5,
    "retrieval_mode": "t2t",
    "loss_type": "infonce",
    "max_length": SHORT,
}

SCRATCH = {"kind": "text_encoder", "hidden_size": 16, "num_hidden_layers": 0}
TOKENIZER = {"kind": "train", "vocab_size": 300}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    directory = write_model(tmp_path / "model", "torch_safetensors", tokenizer_text())
    write_spec(tmp_path, "bert", directory)
    return directory


def test_its_plan_is_that_of_the_spec(model: Path):
    trainer = specrun.Trainer(model)
    plan = trainer.plan(**WORDS)
    spec = Path("same.yaml")
    spec.write_text(
        f"version: 1\noutput_dir: output\nmodel: {{kind: auto, name_or_path: {json.dumps(str(model))}}}\n"
        "data: {kind: jsonl, path: rows.jsonl, max_length: {query: 8, positive: 12}}\n"
        "losses: [{kind: infonce}]\ntrain: {epochs: 1, batch_size: 32}\noptimizer: {learning_rate: 1e-5}\n"
    )
    own = specrun.compile(spec, environ={})
    bare = dataclasses.replace(plan, values=(), warnings=())
    assert bare == dataclasses.replace(own, values=(), warnings=())


def test_it_trains(model: Path):
    trainer = specrun.Trainer(SCRATCH)
    result = trainer.train(**WORDS, tokenizer=TOKENIZER)
    assert (result.steps, result.folder.name, result.was_finished) == (3, "output", False)
    assert trainer.train(**WORDS, tokenizer=TOKENIZER).was_finished


def test_a_devices_index_is_refused(model: Path):
    with pytest.raises(specrun.InputError, match=r"device.*CUDA_VISIBLE_DEVICES=1.*write 'cuda'"):
        specrun.Trainer(str(model)).spec(**WORDS, device="cuda:1")


def test_sections_and_words_go_together(model: Path):
    plan = specrun.Trainer(str(model)).plan(
        data={"kind": "jsonl", "path": Path("rows.jsonl"), "max_length": SHORT},
        validation_split=0.2,
        evaluation={"metrics": ("mrr@5",), "select_best": "mrr@5"},
        losses=[{"kind": "infonce", "temperature": 0.1}, {"kind": "triplet", "weight": 0.5}],
        lora={"rank": 2, "target_modules": ["query"]},
        num_train_epochs=2,
        per_device_train_batch_size=4,
        num_devices=1,
        matryoshka_dims=[16, 8],
        lr_scheduler_type="linear",
        warmup_ratio=0.1,
        bf16=False,
        seed=3,
    )
    assert [loss.kind for loss in plan.losses] == ["infonce", "triplet"]
    assert plan.evaluation is not None
    assert plan.evaluation.select_best == "mrr@5"
    assert plan.model.lora is not None
    assert plan.model.lora.rank == 2
    assert (plan.train.batch_size, plan.seed, plan.precision.compute) == (4, 3, "float32")
    assert plan.matryoshka is not None
    assert plan.matryoshka.dims == (16, 8)
    assert plan.segments[0].schedule.kind == "linear"


def test_a_model_from_scratch_is_a_section(model: Path):
    plan = specrun.Trainer(SCRATCH).plan(**WORDS, tokenizer=TOKENIZER)
    assert plan.model.config.kind == "text_encoder"
    assert plan.tokenizer.vocab_size <= 300


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"learning_rte": 1e-3}, ("learning_rte", "did you mean `learning_rate`?")),
        ({"epoch": 1}, ("epoch", "did you mean `epochs`?")),
        ({"wharble": 1}, ("`wharble` is not known",)),
        ({"retrieval_mode": "t2i"}, ("data.retrieval_mode", "embeds texts alone")),
        ({"encoder_mode": "vlm_generic"}, ("not supported yet", "'vlm_generic'")),
        ({"num_workers": 4}, ("`num_workers` is not in this version", "loader processes")),
        ({"load_best_model_at_end": True}, ("load_best_model_at_end", "best/")),
        ({"num_train_epochs": 7}, ("num_train_epochs", "otherwise than `train.epochs`")),
        ({"loss_type": "wharble"}, ("losses are", "'wharble'")),
        ({"loss_type": "triplet", "temperature": 0.1}, ("temperature", "`triplet` loss has none")),
        ({"batch_size": "many"}, ("train.batch_size", "must be a whole number")),
        ({"learning_rate": float("nan")}, ("optimizer.learning_rate",)),
        ({"learning_rate": object()}, ("`learning_rate` must be of numbers", "object")),
        ({"train": {"batch_sze": 4}}, ("batch_sze", "batch_size")),
        ({"evaluation": {"metrics": ["mrr@10"]}}, ("held out",)),
        ({"data_path": "nothing.jsonl"}, ("nothing.jsonl",)),
    ],
)
def test_what_a_keyword_cannot_say_is_refused(
    model: Path, words: dict[str, Any], parts: tuple[str, ...]
):
    with pytest.raises(specrun.InputError) as caught:
        specrun.Trainer(model).plan(**{**WORDS, **words})
    text = "\n".join(f"{d.path} {d.message} {d.hint}" for d in caught.value.diagnostics)
    for part in parts:
        assert part in text


def test_everything_wrong_is_told_at_once(model: Path):
    with pytest.raises(specrun.InputError) as caught:
        specrun.Trainer(model).spec(data_path="rows.jsonl", epch=1, pin_memory=True)
    text = str(caught.value)
    for part in ("epch", "pin_memory", "nothing says how long"):
        assert part in text


def test_switches_that_are_off_are_no_mistake(model: Path):
    plan = specrun.Trainer(model).plan(**WORDS, use_lora=False, use_mrl=False, report_to="none")
    assert plan.model.lora is None
    assert plan.matryoshka is None


def test_naming_it_loads_no_array_library():
    code = "import sys, specrun; specrun.Trainer('x').spec(data_path='a.jsonl', epochs=1)\n"
    code += "assert not {'jax', 'numpy', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- texts and images, and the guide's words -------------------------------------------------------------------------

GUIDE: dict[str, Any] = {
    "data_path": "data/train.jsonl",
    "output_dir": "output",
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 1e-5,
    "retrieval_mode": "t2i",
    "loss_type": "infonce",
}
"""The guide's call, with fewer rows."""


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    for name in ("clip", "siglip", "vit"):
        shutil.copytree(TOWERS / f"{name}_torch", tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text(processor(name))
        (tmp_path / name / "tokenizer.json").write_text(vocabulary())
    write_model(tmp_path / "bert", "torch_safetensors", vocabulary())
    (tmp_path / "data").mkdir()
    rows: list[dict[str, str]] = []
    for i in range(8):
        Image.new("RGB", (11, 11), (30 * i, 90, 200)).save(tmp_path / "data" / f"{i}.png")
        rows.append({"query": f"a red box {i}", "positive": f"data/{i}.png"})
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "data" / "val.jsonl").write_text(json.dumps(rows[0]) + "\n")
    return "clip"


def test_it_trains_on_images_as_the_guide_has_it(clip: str):
    result = specrun.Trainer(clip).train(**GUIDE)
    assert (result.steps, result.folder.name) == (6, "output")
    plan = specrun.Trainer(clip).plan(**GUIDE)
    found = {v.path: v.origins[-1].level for v in plan.values}
    assert found["schedule.warmup_ratio"] == "picked"
    assert found["losses[0].kind"] == "spec"
    assert (plan.data.max_query_length, plan.data.max_positive_length) == (12, 1)
    predictor = specrun.Predictor("output")
    assert predictor.encode_text(["red"]).shape == predictor.encode_image(["data/0.png"]).shape


def test_the_presets_loss_and_length_stand_where_no_keyword_says_otherwise(clip: str):
    words = {k: v for k, v in GUIDE.items() if k not in ("loss_type", "epochs", "learning_rate")}
    plan = specrun.Trainer("siglip").plan(**words)
    assert [loss.kind for loss in plan.losses] == ["siglip"]
    assert (plan.train.total_steps, plan.optimizer.learning_rate) == (6, 1e-5)
    plan = specrun.Trainer("siglip").plan(**words, extends=[], epochs=1)
    assert [loss.kind for loss in plan.losses] == ["infonce"]
    assert plan.optimizer.learning_rate == 1e-4
    with pytest.raises(specrun.InputError, match="nothing says how long"):
        specrun.Trainer("siglip").plan(**words, extends=[])


LORA = {"use_lora": True, "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05}
COMPOSED = {
    "kind": "composed",
    "head_dim": 6,
    "text": {"kind": "bert", "name_or_path": "bert"},
    "image": {"kind": "vit", "name_or_path": "vit"},
}


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        ({"encoder_mode": "auto"}, "model.decided_by", "clip"),
        ({"encoder_mode": "clip_like"}, "model.decided_by", "clip"),
        ({"image_root": "./"}, "data.source.images.max_pixels", 50_000_000),
        ({"warmup_ratio": 0.5}, "segments.0.schedule.warmup_steps", 3),
        ({"weight_decay": 0.02}, "optimizer.weight_decay", 0.02),
        ({"max_grad_norm": 2.0}, "optimizer.max_grad_norm", 2.0),
        ({"temperature": 0.03}, "losses.0.temperature", 0.03),
        ({"scheduler_type": "linear"}, "segments.0.schedule.kind", "linear"),
        ({"use_gradient_cache": True}, "train.micro_batch_size", 2),
        ({"use_mrl": True, "mrl_dims": [6, 4]}, "matryoshka.dims", (6, 4)),
        ({"gradient_checkpointing": True}, "train.gradient_checkpointing", True),
        ({"torch_dtype": "bfloat16"}, "precision.compute", "bfloat16"),
        ({"loss_type": "triplet"}, "losses.0.kind", "triplet"),
        ({**LORA, "lora_target_modules": ["q_proj", "out_proj"]}, "model.lora.dropout", 0.05),
        ({"report_to": ["wandb", "tensorboard"], "project": "p"}, "tracking.0.project", "p"),
        ({"report_to": "tensorboard", "logging_dir": "logs/"}, "tracking.0.log_dir", "logs/"),
        ({"report_to": "wandb", "project": "p", "run_name": "clip-v1"}, "name", "clip-v1"),
    ],
)
def test_the_guides_keywords_reach_the_plan(
    clip: str, words: dict[str, Any], path: str, value: object
):
    plan: Any = specrun.Trainer(clip).plan(**{**GUIDE, **words})
    for step in path.split("."):
        plan = plan[int(step)] if step.isdecimal() else getattr(plan, step)
    assert plan == value


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ({"encoder_mode": "vlm_generic"}, "vision-language models come later"),
        ({"encoder_mode": "composed"}, 'Trainer({"kind": "composed"'),
        ({"attn_implementation": "sdpa"}, "attention is computed by XLA"),
        ({"projection_dim": 4}, "`model.projection_dim` has no effect"),
        ({"use_lora": True}, "nothing says which layers carry adapters"),
        ({**LORA, "lora_target_modules": ["o_proj"]}, "did you mean 'out_proj'?"),
        ({"project": "p"}, "there is no wandb tracker"),
        ({"loss_type": "cosent"}, "data.columns.score"),
        ({"teacher_model_name": "bert"}, "the loss is not `distillation`"),
    ],
)
def test_what_the_guide_has_and_this_model_has_not(clip: str, words: dict[str, Any], part: str):
    with pytest.raises(specrun.InputError) as caught:
        specrun.Trainer(clip).plan(**{**GUIDE, **words})
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("ndcg@10 at 5", ("dimension 5 is not evaluated", "dimensions are 4, 6")),
        ("ndcg@10 at 768", ("dimension 768 is not evaluated", "`matryoshka.dims` adds others")),
        ("mrr@10", ("mrr@10 is not in `evaluation.metrics`", "metrics are `ndcg@10`")),
        ("spearman", ("spearman is not in `evaluation.metrics`",)),
        ("ndgc@10", ("does not have the right form", "did you mean `ndcg@10`?")),
        ("nDCG@5", ("did you mean `ndcg@5`?",)),
        ("ndcg", ("did you mean `ndcg@10`?", "`ndcg@10 at 256` for a Matryoshka dimension")),
        ("loss", ("loss is not in `evaluation.metrics`",)),
        ("losses", ("write a metric such as `ndcg@10`",)),
        ("positive_to_query/ndcg@10", ("is of the direction positive_to_query",)),
    ],
)
def test_a_best_that_is_not_measured(clip: str, chosen: str, said: tuple[str, ...]):
    words = {**GUIDE, "validation_split": 0.25, "mrl_dims": [6, 4]}
    with pytest.raises(specrun.InputError) as caught:
        specrun.Trainer(clip).plan(
            **words, evaluation={"metrics": ["ndcg@10"], "select_best": chosen}
        )
    for part in said:
        assert part in str(caught.value)


def test_a_best_of_a_dimension_and_a_direction(clip: str):
    words = {**GUIDE, "validation_split": 0.25, "mrl_dims": [6, 4]}
    both = ["query_to_positive", "positive_to_query"]
    for chosen, held in (
        ("ndcg@10 at 4", "ndcg@10 at 4"),
        ("ndcg@10 at 6", "ndcg@10"),
        ("positive_to_query/ndcg@10 at 4", "positive_to_query/ndcg@10 at 4"),
    ):
        part = {"metrics": ["ndcg@10"], "directions": both, "select_best": chosen}
        plan = specrun.Trainer(clip).plan(**words, evaluation=part)
        assert plan.evaluation is not None
        assert plan.evaluation.select_best == held
        assert plan.evaluation.dims == (6, 4)


def test_a_composed_model_is_a_section(clip: str):
    plan = specrun.Trainer(COMPOSED).plan(**GUIDE)
    assert plan.model.embedding_dim == 6
