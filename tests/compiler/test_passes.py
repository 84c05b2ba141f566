"""The compiler's passes on facts made by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from specrun.compiler.compile import COMPILE
from specrun.compiler.diff import diff
from specrun.compiler.draft import Context, Draft
from specrun.compiler.explain import explain
from specrun.compiler.passes.lower import lower
from specrun.compiler.summary import summary
from specrun.compiler.timeline import timeline
from specrun.compiler.values import values
from specrun.spec.codec import canonical
from specrun.spec.diagnostics import InputError
from specrun.spec.experiment import Experiment
from specrun.spec.plan.file import identity, parse_plan, plan_digest, plan_text
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.schedule import learning_rate
from specrun.spec.words.curriculum import Curriculum, Select, Stage
from specrun.spec.words.data import PythonSourceData
from specrun.spec.words.evaluation import Evaluation
from specrun.spec.words.lengths import MaxLength
from specrun.spec.words.lora import Lora
from specrun.spec.words.losses import InfoNCELoss
from specrun.spec.words.matryoshka import Matryoshka
from specrun.spec.words.optimizer import AdamW, CosineSchedule, LinearSchedule
from specrun.spec.words.tables import JsonlData
from specrun.spec.words.text_models import BertModel, TextEncoderModel
from specrun.spec.words.tokenizer import TrainTokenizer
from specrun.spec.words.train import Checkpoint, Hardware, Precision, Train
from specrun.spec.words.validation import FractionValidation
from tests.compiler.fakes import FakeFacts, ListReport


def spec(**changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "version": 1,
        "model": TextEncoderModel(hidden_size=32, num_hidden_layers=3, num_attention_heads=2),
        "tokenizer": TrainTokenizer(),
        "data": PythonSourceData(roots=("stdlib",), validation=FractionValidation(fraction=0.1)),
        "losses": (InfoNCELoss(),),
        "train": Train(epochs=2, batch_size=100),
        "evaluation": Evaluation(),
    }
    return Experiment(**(settings | changes))


def bert(tmp_path: Path, **changes: Any) -> Experiment:
    return spec(
        model=BertModel(name_or_path=str(tmp_path)), tokenizer=None, data=_short(), **changes
    )


def _short() -> PythonSourceData:
    return PythonSourceData(
        roots=("stdlib",),
        validation=FractionValidation(fraction=0.1),
        max_length=MaxLength(query=16, positive=32),
    )


def draft_of(experiment: Experiment, facts: FakeFacts | None = None) -> tuple[Draft, ListReport]:
    report = ListReport()
    context = Context(facts=facts or FakeFacts(), report=report, folder=Path.cwd())
    draft = Draft(spec=experiment)
    for batch in COMPILE:
        for step in batch:
            draft = step(draft, context)
        if any(severity == "error" for severity, _, _ in report.found):
            break
    return draft, report


def plan_of(experiment: Experiment, facts: FakeFacts | None = None) -> Plan:
    draft, report = draft_of(experiment, facts)
    assert [f for f in report.found if f[0] == "error"] == [], report.messages
    return lower(draft, values(experiment, {}), ())


def errors_of(experiment: Experiment, facts: FakeFacts | None = None) -> list[tuple[str, str]]:
    return [
        (path, code)
        for severity, path, code in draft_of(experiment, facts)[1].found
        if severity == "error"
    ]


def test_the_dual_encoder_of_the_guide_has_exactly_81_519_360_parameters() -> None:
    guide = TextEncoderModel(
        hidden_size=768,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
    )
    draft, _ = draft_of(spec(model=guide))
    assert draft.tokenizer is not None
    wide = dataclasses.replace(draft.tokenizer, vocab_size=50257)

    class Facts(FakeFacts):
        def tokenizer(self, source: Any, scan: Any) -> Any:
            return wide

    assert plan_of(spec(model=guide), Facts()).model.total_parameters == 81_519_360


def test_a_plan_survives_its_file_and_a_changed_file_is_refused() -> None:
    plan = plan_of(spec(matryoshka=Matryoshka(dims=(32, 8))))
    text = plan_text(plan)
    assert parse_plan(text) == plan
    assert plan_text(parse_plan(text)) == text
    for old, new in (('"batch_size": 100', '"batch_size": 10'), ('"seed": 0', '"seed": 1')):
        assert old in text
        with pytest.raises(InputError, match="changed after it was compiled"):
            parse_plan(text.replace(old, new, 1))
    with pytest.raises(InputError, match=r"reads 1\.x"):
        parse_plan(text.replace('"format_version": "1.0"', '"format_version": "2.0"'))
    for broken in (text[: len(text) // 2], "{}", "[1]", '{"plan": 3}', "\x00"):
        with pytest.raises(InputError):
            parse_plan(broken)


def test_a_plan_of_an_older_version_is_not_called_tampered() -> None:
    tree = json.loads(plan_text(plan_of(spec())))
    del tree["plan"]["data"]["source"]["exclude"]  # as if it had come later, with a default
    text = canonical(tree["plan"])
    tree["digest"] = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(InputError, match="lacks what plans of this version") as caught:
        parse_plan(json.dumps(tree))
    assert caught.value.diagnostics[0].code == "plan-format"


def test_identity_covers_semantic_fields_only() -> None:
    base = spec()
    same = [
        dataclasses.replace(base, name="other", output_dir="elsewhere"),
        spec(train=Train(epochs=2, batch_size=100, micro_batch_size=50, unroll=2)),
        spec(train=Train(epochs=3, batch_size=100)),
        spec(checkpoint=Checkpoint(every_steps=3)),
    ]
    for changed in same:
        assert identity(plan_of(changed)) == identity(plan_of(base))
        assert plan_digest(plan_of(changed)) != plan_digest(plan_of(base))
    for changed in (dataclasses.replace(base, seed=1), spec(optimizer=AdamW(weight_decay=0.5))):
        assert identity(plan_of(changed)) != identity(plan_of(base))


def test_layers_that_freeze_alike_share_a_group() -> None:
    stages = (Stage(name="all"), Stage(name="top", trainable=("layers.2.*", "final_norm.*")))
    plan = plan_of(spec(curriculum=Curriculum(stages=stages), train=Train(batch_size=100)))
    assert [(g.first, g.count) for g in plan.model.groups] == [(0, 2), (2, 1)]
    top = plan.segments[1].trained
    assert top
    assert all(p.startswith(("groups.1.", "final_norm.")) for p in top)
    assert plan.segments[1].fresh == ()
    assert next(
        p for p in plan.model.parameters if p.path == "groups.0.attention.query.kernel"
    ).shape == (2, 32, 32)


def test_what_becomes_trainable_gets_fresh_optimizer_state() -> None:
    stages = (Stage(name="head", trainable=("final_norm.*",)), Stage(name="all"))
    plan = plan_of(spec(curriculum=Curriculum(stages=stages), train=Train(batch_size=100)))
    assert set(plan.segments[0].fresh) == {"final_norm.scale", "final_norm.bias"}
    assert "final_norm.scale" not in plan.segments[1].fresh
    assert "groups.0.attention.query.kernel" in plan.segments[1].fresh


def test_equal_traces_of_two_stages_are_one() -> None:
    plan = plan_of(
        spec(
            curriculum=Curriculum(
                stages=(Stage(name="a"), Stage(name="b", learning_rate_scale=0.1))
            ),
            train=Train(batch_size=100),
        )
    )
    assert len(plan.traces) == 1
    assert plan.traces[0].segments == (0, 1)
    assert plan.traces[0].steps == plan.train.total_steps == 20


def test_buckets_cover_every_step_and_only_used_ones_are_promised() -> None:
    plan = plan_of(spec(train=Train(epochs=4, batch_size=100, length_buckets=4)))
    assert 1 < len(plan.train.buckets) <= 4
    assert sum(t.steps for t in plan.traces) == plan.train.total_steps
    assert all(q % 8 == 0 and p % 8 == 0 for q, p in plan.train.buckets)
    assert {(t.query_length, t.positive_length) for t in plan.traces} == set(plan.train.buckets)


def test_max_steps_decides_the_epochs() -> None:
    plan = plan_of(spec(train=Train(batch_size=100, max_steps=13)))
    assert (plan.train.total_steps, plan.segments[0].epochs, plan.segments[0].steps_per_epoch) == (
        13,
        2,
        10,
    )


def test_max_steps_must_end_in_the_last_stage() -> None:
    stages = Curriculum(stages=(Stage(name="a"), Stage(name="b")))
    assert (
        plan_of(spec(curriculum=stages, train=Train(batch_size=100, max_steps=15)))
        .segments[1]
        .stop_step
        == 15
    )
    for wrong in (5, 10, 21):
        assert ("train.max_steps", "steps-disagree") in errors_of(
            spec(curriculum=stages, train=Train(batch_size=100, max_steps=wrong))
        )


def test_warm_up_is_rounded_up_and_the_two_forms_must_agree() -> None:
    plan = plan_of(spec(schedule=LinearSchedule(warmup_ratio=0.11)))
    assert plan.segments[0].schedule.warmup_steps == 3  # type: ignore[union-attr]
    assert plan_of(spec(schedule=LinearSchedule(warmup_ratio=0.1, warmup_steps=2)))
    assert errors_of(spec(schedule=LinearSchedule(warmup_ratio=0.1, warmup_steps=3))) == [
        ("schedule.warmup_steps", "two-warmups")
    ]
    assert errors_of(spec(schedule=LinearSchedule(warmup_steps=21))) == [
        ("schedule.warmup_steps", "warmup-too-long")
    ]


def test_a_reset_starts_a_schedule_of_its_own() -> None:
    stages = (
        Stage(name="a", epochs=2),
        Stage(name="b"),
        Stage(name="c", epochs=2, reset_optimizer=True),
    )
    plan = plan_of(
        spec(
            curriculum=Curriculum(stages=stages),
            schedule=CosineSchedule(warmup_ratio=0.1),
            train=Train(batch_size=100),
        )
    )
    spans = [(s.schedule_start, s.schedule.total_steps) for s in plan.segments]  # type: ignore[union-attr]
    assert spans == [(0, 30), (0, 30), (30, 20)]
    assert plan.segments[2].fresh == plan.segments[2].trained
    assert learning_rate(plan.segments[2].schedule, 1.0, 0) == 0.0


def test_lora_names_what_matched_what_and_refuses_what_matches_nothing(tmp_path: Path) -> None:
    plan = plan_of(
        bert(
            tmp_path,
            lora=Lora(rank=4, alpha=8.0, target_modules=("query", "layers.2.output.dense")),
        )
    )
    assert plan.model.lora is not None
    assert [(m.module, m.target) for m in plan.model.lora.matches] == [
        ("layers.0.attention.self.query", "query"),
        ("layers.1.attention.self.query", "query"),
        ("layers.2.attention.self.query", "query"),
        ("layers.2.output.dense", "layers.2.output.dense"),
    ]
    assert [(g.first, g.count, g.adapted) for g in plan.model.groups] == [
        (0, 2, ("attention.self.query",)),
        (2, 1, ("attention.self.query", "output.dense")),
    ]
    assert {p.role for p in plan.model.parameters if p.trained} == {"lora_a", "lora_b"}
    assert plan.model.trainable_parameters == 3 * (16 * 4 + 4 * 16) + (32 * 4 + 4 * 16)
    assert plan.model.lora.scale == 2.0
    _, report = draft_of(bert(tmp_path, lora=Lora(target_modules=("q_proj", "query"))))
    assert report.found == [("error", "lora.target_modules[0]", "no-match")]
    assert "attention.self.query" in report.messages[0]


TOWERS = TextEncoderModel(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=2, towers="separate"
)


def test_separate_towers_double_the_network_and_nothing_else() -> None:
    shared, plan = plan_of(spec()), plan_of(spec(model=TOWERS))
    assert plan.model.total_parameters == 2 * shared.model.total_parameters
    assert plan.model.towers == "separate"
    names = [p.path for p in shared.model.parameters]
    assert [p.path for p in plan.model.parameters] == [
        f"{side}.{name}" for side in ("query", "positive") for name in names
    ]
    modules = {m.module: (m.total, m.trainable) for m in shared.model.modules}
    assert {m.module: (m.total, m.trainable) for m in plan.model.modules} == {
        f"{side}.{name}": n for side in ("query", "positive") for name, n in modules.items()
    }
    assert [(g.tower, g.first, g.count) for g in plan.model.groups] == [
        ("query", 0, 3),
        ("positive", 0, 3),
    ]
    assert (plan.segments[0].steps_per_epoch, plan.traces[0].name) == (
        shared.segments[0].steps_per_epoch,
        shared.traces[0].name,
    )
    assert plan.cost.weight_bytes == 2 * shared.cost.weight_bytes
    assert plan.cost.optimizer_bytes == 2 * shared.cost.optimizer_bytes
    assert plan.cost.activation_bytes == shared.cost.activation_bytes
    assert plan.cost.flops_per_step == shared.cost.flops_per_step
    assert "two towers of 3 layers" in summary(plan)


def test_a_frozen_tower_costs_one_pass_and_keeps_no_activations() -> None:
    whole = plan_of(spec(model=TOWERS))
    plan = plan_of(
        spec(model=TOWERS, train=Train(epochs=2, batch_size=100, trainable=("query.*",)))
    )
    assert {p.path.partition(".")[0] for p in plan.model.parameters if p.trained} == {"query"}
    assert plan.model.trainable_parameters * 2 == plan.model.total_parameters
    assert plan.cost.gradient_bytes * 2 == whole.cost.gradient_bytes
    assert plan.cost.activation_bytes < whole.cost.activation_bytes / 2  # queries are the shorter
    assert plan.cost.flops_per_step < whole.cost.flops_per_step


def test_towers_are_grouped_each_by_what_freezes_in_it() -> None:
    stages = (
        Stage(name="top", epochs=1, trainable=("query.layers.2.*", "positive.layers.*")),
        Stage(name="all", epochs=1),
    )
    plan = plan_of(
        spec(
            model=TOWERS,
            train=Train(batch_size=100),
            curriculum=Curriculum(stages=stages),
            optimizer=AdamW(no_decay=("positive.layers.0.*",)),
        )
    )
    assert [(g.tower, g.first, g.count) for g in plan.model.groups] == [
        ("query", 0, 2),
        ("query", 2, 1),
        ("positive", 0, 1),
        ("positive", 1, 2),
    ]
    paths = {p.path for p in plan.model.parameters}
    assert {"query.groups.1.mlp.up.kernel", "positive.groups.0.mlp.up.kernel"} <= paths
    assert "query.groups.1.mlp.up.kernel" in plan.segments[0].trained
    assert "query.groups.0.mlp.up.kernel" in plan.segments[1].fresh
    kept = {p.path for p in plan.model.parameters if not p.decay and p.role == "kernel"}
    assert {path.rpartition(".groups.")[0] for path in kept} == {"positive"}
    assert all(path.startswith("positive.groups.0.") for path in kept)


@pytest.mark.parametrize(
    ("target", "towers"),
    [("value", {"query", "positive"}), ("query.*.attention.self.value", {"query"})],
)
def test_a_target_means_both_towers_or_the_one_it_names(
    tmp_path: Path, target: str, towers: set[str]
) -> None:
    model = BertModel(name_or_path=str(tmp_path), towers="separate", projection_dim=8)
    lora = Lora(rank=4, target_modules=(target,))
    plan = plan_of(spec(model=model, tokenizer=None, data=_short(), lora=lora))
    assert plan.model.lora is not None
    found = {m.module for m in plan.model.lora.matches}
    assert found == {f"{t}.layers.{i}.attention.self.value" for t in towers for i in range(3)}
    adapted = {g.tower for g in plan.model.groups if g.adapted}
    assert adapted == towers
    heads = {p.path for p in plan.model.parameters if p.trained and p.role == "kernel"}
    assert heads == {"query.projection.kernel", "positive.projection.kernel"}
    assert "on 3 layers" in summary(plan) or len(towers) == 2
    assert "attention.self.value" in summary(plan)


def test_patterns_of_one_network_are_refused_for_two() -> None:
    """A pattern that named the shared network's paths would silently name nothing."""
    train = Train(epochs=1, trainable=("layers.*",))
    draft, report = draft_of(spec(model=TOWERS, train=train))
    assert ("error", "train.trainable[0]", "no-match") in report.found
    assert any("top modules: positive.*, query.*" in message for message in report.messages)
    assert draft.groups == ()


def test_rslora_scales_by_the_root_of_the_rank(tmp_path: Path) -> None:
    plan = plan_of(
        bert(tmp_path, lora=Lora(rank=16, alpha=8.0, target_modules=("value",), rslora=True))
    )
    assert plan.model.lora is not None
    assert plan.model.lora.scale == 2.0


def test_a_new_head_trains_beside_the_adapters(tmp_path: Path) -> None:
    model = BertModel(name_or_path=str(tmp_path), projection_dim=8)
    plan = plan_of(
        spec(
            model=model,
            tokenizer=None,
            data=_short(),
            lora=Lora(target_modules=("query",)),
            losses=(InfoNCELoss(train_temperature=True),),
        )
    )
    outside = {p.path for p in plan.model.parameters if p.trained and not p.role.startswith("lora")}
    assert outside == {"projection.kernel", "losses.infonce.log_scale"}
    assert plan.model.embedding_dim == 8


def test_decay_skips_biases_norms_temperatures_and_what_is_named() -> None:
    plan = plan_of(
        spec(
            optimizer=AdamW(no_decay=("embeddings.*",)),
            losses=(InfoNCELoss(train_temperature=True),),
        )
    )
    decayed = {p.role for p in plan.model.parameters if p.decay}
    assert decayed == {"kernel"}
    assert errors_of(spec(optimizer=AdamW(no_decay=("embedings.*",)))) == [
        ("optimizer.no_decay[0]", "no-match")
    ]


def test_patterns_that_match_nothing_are_refused() -> None:
    assert errors_of(spec(train=Train(epochs=1, trainable=("layer.0.*",)))) == [
        ("train.trainable[0]", "no-match"),
        ("train.trainable", "nothing-trains"),
    ]


def test_a_stage_is_checked_against_the_data() -> None:
    def staged(select: Select) -> Experiment:
        return spec(
            curriculum=Curriculum(stages=(Stage(name="a", select=select),)),
            train=Train(batch_size=100),
        )

    assert errors_of(staged(Select(field="difficulty", max=3.0))) == [
        ("curriculum.stages[0].select.field", "unknown-field")
    ]
    assert errors_of(
        staged(Select(field="positive_chars", max=3.0)), FakeFacts(training_rows=1)
    ) == [("curriculum.stages[0].select", "empty-stage")]
    assert errors_of(spec(train=Train(epochs=1, batch_size=2000, drop_last=True))) == [
        ("train", "stage-too-small")
    ]


def test_lengths_beyond_the_positions_are_refused(tmp_path: Path) -> None:
    data = PythonSourceData(roots=("stdlib",), max_length=MaxLength(query=65, positive=64))
    assert errors_of(
        spec(
            model=BertModel(name_or_path=str(tmp_path)), tokenizer=None, data=data, evaluation=None
        )
    ) == [("data.max_length.query", "too-long")]


def test_missing_files_are_told_together(tmp_path: Path) -> None:
    data = JsonlData(path="no/such.jsonl")
    found = errors_of(
        spec(model=BertModel(name_or_path="no/model"), tokenizer=None, data=data, evaluation=None)
    )
    assert found == [("data.path", "not-found"), ("model.name_or_path", "model-not-found")]


def test_evaluation_widths_and_moments() -> None:
    evaluation = Evaluation(every_steps=8, at_start=True, select_best="mrr@10 at 8")
    plan = plan_of(spec(evaluation=evaluation, matryoshka=Matryoshka(dims=(32, 8))))
    assert plan.evaluation is not None
    assert plan.evaluation.after == (0, 8, 16, 20)
    assert plan.evaluation.dims == (32, 8)
    assert plan.evaluation.select_best == "mrr@10 at 8"
    whole = plan_of(
        spec(evaluation=Evaluation(select_best="mrr@10 at 32"), matryoshka=Matryoshka(dims=(32, 8)))
    )
    assert whole.evaluation is not None
    assert whole.evaluation.select_best == "mrr@10"


def test_the_texts_for_people_name_what_matters() -> None:
    plan = plan_of(
        spec(losses=(InfoNCELoss(temperature=0.05),), matryoshka=Matryoshka(dims=(32, 8)))
    )
    assert "99 negatives per query" in summary(plan)
    assert "over widths 32, 8" in summary(plan)
    assert "steps 0-19" in timeline(plan)
    text = explain(plan, "train.batch_size")
    assert "train.batch_size = 100" in text
    assert "int, >= 1" in text
    assert "rows" in text
    assert "derived" not in diff(plan, plan)
    other = plan_of(
        spec(losses=(InfoNCELoss(temperature=0.07),), matryoshka=Matryoshka(dims=(32, 8)))
    )
    assert "losses[0].temperature: 0.05" in diff(plan, other)
    with pytest.raises(InputError, match=r"no 'train\.batchsize'"):
        explain(plan, "train.batchsize")


def test_bfloat16_is_warned_of_where_it_would_be_slower() -> None:
    for compute, platform, expected in (
        ("bfloat16", "cpu", 1),
        ("bfloat16", "auto", 1),
        ("bfloat16", "gpu", 0),
        ("float32", "cpu", 0),
    ):
        parts = {"precision": Precision(compute=compute), "hardware": Hardware(platform=platform)}
        _, report = draft_of(spec(**parts))
        assert [code for _, _, code in report.found].count("slow-bfloat16") == expected
