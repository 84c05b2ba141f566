"""Curricula: transitions, resets, schedules of stages, what ends one early, and mining in some of them."""

from __future__ import annotations

import pytest

from specrun.compiler.summary import summary
from specrun.compiler.timeline import epoch, stage, timeline
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.schedule import Constant, Cosine
from specrun.spec.words.curriculum import Advance, Curriculum, Select, Stage
from specrun.spec.words.data import PythonSourceData
from specrun.spec.words.evaluation import EarlyStopping, Evaluation
from specrun.spec.words.losses import CoSENTLoss, InfoNCELoss
from specrun.spec.words.mining import MinedNegatives
from specrun.spec.words.optimizer import ConstantSchedule, CosineSchedule
from specrun.spec.words.train import Hardware, Train
from tests.compiler.fakes import FakeFacts
from tests.compiler.test_passes import draft_of, errors_of, plan_of, spec
from tests.compiler.test_semantics import found

TRAIN = Train(batch_size=100)
EASY = Select(field="positive_chars", max=400.0)


def curriculum(*stages: Stage, **more: object) -> dict[str, object]:
    return {"curriculum": Curriculum(stages=stages, **more), "train": TRAIN}  # type: ignore[arg-type]


def test_a_transition_is_in_the_plan_the_summary_and_the_timeline() -> None:
    """At most the stage's own epochs; a stage's own number wins; the steps are those of the stage."""
    stages = (
        Stage(name="easy", epochs=2, select=EASY),
        Stage(name="all", epochs=3),
        Stage(name="more", epochs=2, transition_epochs=0),
        Stage(name="last", epochs=1),
    )
    plan = plan_of(spec(**curriculum(*stages, transition_epochs=2)))
    assert [s.transition_epochs for s in plan.segments] == [0, 2, 0, 1]
    assert [s.stop_step - s.first_step for s in plan.segments] == [10, 30, 20, 10]
    assert "all mixes in easy for 2 epochs" in summary(plan)
    drawn = timeline(plan)
    assert "10-19         33% all and 67% easy, " in drawn
    assert "20-29         67% all and 33% easy, " in drawn
    assert "30-39         all, " in drawn
    assert "60-69         50% last and 50% more, " in drawn


def test_a_stage_is_found_by_its_name_and_by_an_epoch() -> None:
    """Epochs count from 0 over the run: the fourth of six is the second of the stage `all`."""
    stages = (Stage(name="easy", epochs=2, select=EASY), Stage(name="all", epochs=4))
    plan = plan_of(spec(**curriculum(*stages, transition_epochs=2)))
    assert plan.total_epochs == 6
    assert [plan.stage_named(name) for name in ("easy", "all")] == [0, 1]
    epochs = [plan.stage_of_epoch(number) for number in range(6)]
    assert epochs == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]
    for number in (-1, 6):
        with pytest.raises(InputError, match=f"no epoch {number}") as caught:
            plan.stage_of_epoch(number)
        assert caught.value.diagnostics[0].hint == "epochs count from 0 to 5"
    with pytest.raises(InputError, match="no stage 'hard'") as caught:
        plan.stage_named("hard")
    assert caught.value.diagnostics[0].hint == "there are `easy`, `all`"
    drawn = timeline(plan)
    assert stage(plan, 0) + "\n" + stage(plan, 1) + "\n" in drawn
    told = epoch(plan, 3).splitlines()
    assert told[:-2] == stage(plan, 1).splitlines()
    assert told[-2].strip() == "epoch 3 of the run, 1 of the stage, both from 0:"
    assert told[-1] in drawn
    assert "20-29         67% all and 33% easy, " in told[-1]


@pytest.mark.parametrize(("rows", "warned"), [(100, True), (140, False)])
def test_a_stage_with_too_few_rows_to_mix_in_is_told(rows: int, warned: bool) -> None:
    """Two thirds of a batch of 100 are 67 rows; the first stage has half of them all."""
    stages = (Stage(name="few", select=EASY), Stage(name="all", epochs=3))
    words = curriculum(*stages, transition_epochs=2) | {
        "train": Train(batch_size=50, accumulation_steps=2)
    }
    report = draft_of(spec(**words), FakeFacts(training_rows=rows))[1]
    told = ("warning", "curriculum.transition_epochs", "few-to-mix") in report.found
    assert told is warned
    says = [m for m in report.messages if m.startswith("stage 'all' begins with 67 rows of 'few'")]
    assert len(says) == warned


@pytest.mark.parametrize(
    ("second", "differ"),
    [
        (Stage(name="b", trainable=("final_norm.*",)), "trained parameters differ"),
        (Stage(name="b", loss_weights={"cosent": 0.0}), "losses differ"),
        (Stage(name="b", mining=False), "mined negatives differ"),
    ],
)
def test_stages_of_other_traces_are_not_mixed(second: Stage, differ: str) -> None:
    more: dict[str, object] = {}
    if second.mining is False:
        mined = MinedNegatives(refresh_every_steps=5, top_k=20, num_negatives=2)
        more = {"data": PythonSourceData(roots=("stdlib",), negatives=mined), "evaluation": None}
    if second.loss_weights:
        more = {"losses": (InfoNCELoss(), CoSENTLoss())}
    stages = (Stage(name="a"), second)
    report = draft_of(spec(**curriculum(*stages, transition_epochs=1), **more))[1]
    assert ("error", "curriculum.transition_epochs", "cannot-mix") in report.found
    assert any(differ in message for message in report.messages)


def test_resets_have_a_default() -> None:
    stages = (
        Stage(name="a"),
        Stage(name="b"),
        Stage(name="c", reset_optimizer=False),
        Stage(name="d"),
    )
    plan = plan_of(spec(**curriculum(*stages, reset_optimizer=True)))
    assert [s.reset_optimizer for s in plan.segments] == [False, True, False, True]
    assert [s.schedule_start for s in plan.segments] == [0, 10, 10, 30]


def test_a_stages_own_schedule_is_its_own_alone() -> None:
    """Its steps count from its start; the stages after it begin the spec's schedule anew."""
    stages = (
        Stage(name="a"),
        Stage(name="b", schedule=ConstantSchedule()),
        Stage(name="c"),
        Stage(name="d"),
    )
    plan = plan_of(spec(**curriculum(*stages), schedule=CosineSchedule(warmup_steps=2)))
    found = [(s.schedule, s.schedule_start) for s in plan.segments]
    first = Cosine(warmup_steps=2, total_steps=10, min_learning_rate=0.0)
    last = Cosine(warmup_steps=2, total_steps=20, min_learning_rate=0.0)
    assert found == [(first, 0), (Constant(), 10), (last, 20), (last, 20)]
    long = Stage(name="b", schedule=CosineSchedule(warmup_steps=11))
    assert errors_of(spec(**curriculum(Stage(name="a"), long))) == [
        ("curriculum.stages[1].schedule.warmup_steps", "warmup-too-long")
    ]


def test_what_may_end_a_stage_is_in_the_plan() -> None:
    stages = (Stage(name="a", epochs=2, advance=Advance(patience=2)), Stage(name="b"))
    plan = plan_of(spec(**curriculum(*stages), evaluation=Evaluation(every_steps=4)))
    rule = plan.segments[0].advance
    assert rule is not None
    assert (rule.metric, rule.patience, rule.min_delta) == ("mrr@10", 2, 0.0)
    assert "a may end early, after 2 evaluations without a better mrr@10" in summary(plan)
    assert "ends     by step 20 at the latest, or after 2 evaluations" in timeline(plan)
    assert errors_of(spec(**curriculum(*stages), evaluation=Evaluation(every_steps=8))) == [
        ("curriculum.stages[0].advance", "too-few-evaluations")
    ]


def test_negatives_are_mined_for_the_stages_that_take_them() -> None:
    """Before the first of their steps, and then every five, anew where a stage without them lies between."""
    mined = MinedNegatives(refresh_every_steps=5, top_k=20, num_negatives=2)
    stages = (
        Stage(name="a", mining=False),
        Stage(name="b"),
        Stage(name="c"),
        Stage(name="d", mining=False),
        Stage(name="e", mining=True),
    )
    plan = plan_of(
        spec(
            **curriculum(*stages),
            data=PythonSourceData(roots=("stdlib",), negatives=mined),
            evaluation=None,
        )
    )
    assert plan.data.mining is not None
    assert plan.data.mining.after == (10, 15, 20, 25, 40, 45)
    assert [plan.negatives_in(i) for i in range(5)] == [0, 2, 2, 0, 2]
    assert [t.segments for t in plan.traces] == [(0, 3), (1, 2, 4)]
    costs = [trace.flops for trace in plan.cost.traces]
    assert costs[0] < costs[1]
    assert "a takes no mined negatives" in summary(plan)
    assert "first before step 11" in summary(plan)


NEGATIVES = "{kind: jsonl, path: a, negatives: {kind: mined, refresh_every_steps: 5}, validation: {kind: fraction, fraction: 0.1}}"
ADVANCE = "advance: {patience: 2}"


@pytest.mark.parametrize(
    ("stages", "sections", "findings"),
    [
        (
            "stages: [{name: a, transition_epochs: 1}]",
            {},
            [("error", "no-effect", "curriculum.stages[0].transition_epochs")],
        ),
        (
            "transition_epochs: 1, stages: [{name: a}]",
            {},
            [("error", "no-effect", "curriculum.transition_epochs")],
        ),
        (
            "reset_optimizer: true, stages: [{name: a}, {name: b, reset_optimizer: false}]",
            {},
            [("error", "no-effect", "curriculum.reset_optimizer")],
        ),
        (
            "transition_epochs: 3, stages: [{name: a}, {name: b, epochs: 2}]",
            {},
            [("warning", "capped", "curriculum.transition_epochs")],
        ),
        (
            "stages: [{name: a}, {name: b, epochs: 2, transition_epochs: 3}]",
            {},
            [("warning", "capped", "curriculum.stages[1].transition_epochs")],
        ),
        (
            "stages: [{name: a, schedule: {kind: constant}}]",
            {"schedule": "{kind: linear}"},
            [("error", "no-effect", "schedule")],
        ),
        (
            "stages: [{name: a}, {name: b, schedule: {kind: cosine, min_learning_rate: 1}}]",
            {},
            [("error", "floor-above-peak", "curriculum.stages[1].schedule.min_learning_rate")],
        ),
        (
            f"stages: [{{name: a, {ADVANCE}}}, {{name: b}}]",
            {"evaluation": "", "data": "{kind: jsonl, path: a}"},
            [("error", "no-evaluation", "curriculum.stages[0].advance")],
        ),
        (
            f"stages: [{{name: a}}, {{name: b, {ADVANCE}}}]",
            {},
            [("error", "no-next-stage", "curriculum.stages[1].advance")],
        ),
        (
            "stages: [{name: a, advance: {metric: mrr@7}}, {name: b}]",
            {},
            [("error", "unknown-metric", "curriculum.stages[0].advance.metric")],
        ),
        (
            f"stages: [{{name: a, {ADVANCE}}}, {{name: b}}]",
            {"evaluation": "{early_stopping: {patience: 2}}"},
            [("warning", "stops-first", "curriculum.stages[0].advance.patience")],
        ),
        (
            "stages: [{name: a, mining: true}]",
            {},
            [("error", "no-effect", "curriculum.stages[0].mining")],
        ),
        (
            "stages: [{name: a, mining: false}]",
            {"data": NEGATIVES},
            [("error", "no-effect", "data.negatives")],
        ),
        (
            "stages: [{name: a, mining: false}, {name: b}]",
            {"data": NEGATIVES, "losses": "[{kind: infonce, negatives: own}]"},
            [("error", "no-negatives", "curriculum.stages[0].mining")],
        ),
    ],
)
def test_findings(
    stages: str, sections: dict[str, str], findings: list[tuple[str, str, str]]
) -> None:
    assert found(train="", curriculum=f"{{{stages}}}", **sections) == findings


def test_early_stopping_that_waits_longer_is_no_finding() -> None:
    evaluation = Evaluation(every_steps=4, early_stopping=EarlyStopping(patience=3))
    stages = (Stage(name="a", epochs=2, advance=Advance(patience=2)), Stage(name="b"))
    assert errors_of(spec(**curriculum(*stages), evaluation=evaluation)) == []


def test_the_rule_of_thumb_stands_beside_the_arithmetic() -> None:
    """parameters × bytes × copies + the ids of a batch; the arithmetic decides, and the error tells both."""
    plan = plan_of(spec(train=Train(batch_size=100, epochs=1)))
    assert plan.cost.rule_bytes is None
    assert "rule of thumb" not in summary(plan)
    ruled = plan_of(
        spec(
            train=Train(batch_size=100, epochs=1),
            hardware=Hardware(memory_multiplier=3.0, max_memory_gb=8, bytes_per_parameter=2),
        )
    )
    (query, positive) = ruled.train.buckets[-1]
    parameters = ruled.model.total_parameters
    assert ruled.cost.rule_bytes == parameters * 6 + 100 * 4 * (query + positive)
    assert "7.2 GiB allowed; the arithmetic decides" in summary(ruled)
    assert ruled.cost.peak_bytes == plan.cost.peak_bytes
    tight = Hardware(memory_multiplier=3.0, max_memory_gb=0.001)
    report = draft_of(spec(train=Train(batch_size=100, epochs=1), hardware=tight))[1]
    errors = [f[1:] for f in report.found if f[0] == "error"]
    assert errors == [("hardware.max_memory_gb", "too-much-memory")]
    [said] = [m for m in report.messages if "by arithmetic" in m]
    assert "by the rule of thumb it would be" in said


def test_bytes_without_copies_are_refused() -> None:
    assert found(hardware="{bytes_per_parameter: 4}") == [
        ("error", "no-effect", "hardware.bytes_per_parameter")
    ]
