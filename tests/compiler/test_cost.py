"""The arithmetic of cost against XLA's figures, and the refusal of plans that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specrun.compiler.compile import compile_loaded
from specrun.compiler.cost.cost import cost_of
from specrun.compiler.cost.work import work_of
from specrun.compiler.fit import GB, allowed, changes, measured_misfit, misfit, size
from specrun.compiler.front import load
from specrun.compiler.summary import summary
from specrun.spec.diagnostics import Diagnostic
from specrun.spec.plan.losses import InfoNCE, Triplet
from specrun.spec.plan.plan import Plan
from tests.compiler.costs import BAG, CASES, DRY, SIX, SPEC, Case, Facts, plan_of, recorded, rows

LEAST, MOST = 0.90, 1.25
"""The estimate over XLA's peak: never far below, which would let through what does not fit."""


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {name: plan_of(case) for name, case in CASES.items()}


def test_every_case_is_recorded() -> None:
    """``python -m tests.compiler.costs`` records them all."""
    assert recorded().keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_estimate_is_near_xla(name: str, plans: dict[str, Plan]) -> None:
    cost, xla = plans[name].cost, recorded()[name]
    assert LEAST <= cost.peak_bytes / xla["peak_bytes"] <= MOST
    assert 0.80 <= cost.flops_per_step / xla["flops"] <= 1.25


def test_the_parts_are_the_peak(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        cost = plan.cost
        parts = (
            cost.weight_bytes,
            cost.gradient_bytes,
            cost.optimizer_bytes,
            cost.activation_bytes,
            cost.loss_bytes,
        )
        assert all(part >= 0 for part in parts)
        assert sum(parts) == cost.peak_bytes == max(t.peak_bytes for t in cost.traces)
        assert replace(cost, rule_bytes=None) == cost_of(*work_of(plan))


def test_devices_share_the_rows_and_not_the_weights() -> None:
    one, four = (plan_of(Case((f"hardware.devices={n}",))).cost for n in (1, 4))
    assert one.weight_bytes == four.weight_bytes
    assert one.optimizer_bytes == four.optimizer_bytes
    assert one.activation_bytes == pytest.approx(4 * four.activation_bytes, rel=0.01)
    assert one.flops_per_step == four.flops_per_step


# --- refusal ---------------------------------------------------------------------------------------------------------


def found(*settings: str) -> tuple[Plan | None, list[Diagnostic]]:
    loaded = load(SPEC, overrides=settings, environ={}, local={})
    compiled = compile_loaded(loaded, Facts())
    return compiled.plan, [d for d in compiled.diagnostics if d.severity == "error"]


def test_what_fits_is_compiled_and_what_does_not_is_refused_with_its_parts_and_a_mend() -> None:
    peak = plan_of(Case(SIX)).cost.peak_bytes
    tight = peak / GB / 0.9
    plan, errors = found(*SIX, f"hardware.max_memory_gb={tight * 1.001}")
    assert plan is not None
    assert not errors
    plan, [error] = found(*SIX, f"hardware.max_memory_gb={tight * 0.999}")
    assert plan is None
    assert (error.code, error.path) == ("too-much-memory", "hardware.max_memory_gb")
    for word in ("weight", "gradient", "optimizer", "activation", "loss", "10% kept free"):
        assert word in error.message
    assert "train.gradient_checkpointing: true" in error.hint
    assert error.hint.index("gradient_checkpointing") < error.hint.index("train.batch_size")
    assert "31 in-batch negatives instead of 63" in error.hint


def test_the_margin_counts_only_under_a_limit() -> None:
    tight = plan_of(Case(SIX)).cost.peak_bytes / GB * 1.001
    plan, errors = found(*SIX, f"hardware.max_memory_gb={tight}", "hardware.memory_margin=0")
    assert plan is not None
    assert not errors
    _, [error] = found("hardware.memory_margin=0.2")
    assert error.code == "no-effect"


@pytest.mark.parametrize("gigabytes", [0.12, 0.05, 0.02, 0.012])
@pytest.mark.parametrize(
    "more", [(), ("train.unroll=3",), ("train.micro_batch_size=32",), ("hardware.devices=2",)]
)
def test_every_change_proposed_fits_when_it_is_made(
    gigabytes: float, more: tuple[str, ...]
) -> None:
    """The words of each proposal, written into the spec, compile under the same limit."""
    settings = (*SIX, *more, f"hardware.max_memory_gb={gigabytes}")
    plan, errors = found(*settings)
    if plan is not None:
        return
    work, batching = work_of(plan_of(Case((*SIX, *more))))
    gentle, harsh = changes(work, batching, allowed(gigabytes, 0.1))
    assert list(gentle) == sorted(gentle, key=lambda c: c.time)
    assert not any(c.meaning for c in gentle)
    assert all("negatives" in c.meaning for c in harsh)
    for change in (*gentle, *harsh):
        assert change.text in errors[0].hint
        made = [part.replace(": ", "=") for part in change.text.split(" and ")]
        better, left = found(*settings, *made)
        assert not left, change.text
        assert better is not None
        assert better.cost.most_bytes <= allowed(gigabytes, 0.1)


def test_a_loss_that_is_most_of_the_memory_is_put_into_tiles() -> None:
    settings = (*BAG, *DRY, *rows(4096), "train.score_tile_rows=4096")
    cost = plan_of(Case(settings)).cost
    assert cost.loss_bytes > cost.peak_bytes / 2
    _, [error] = found(*settings, f"hardware.max_memory_gb={0.6 * cost.peak_bytes / GB / 0.9}")
    assert error.hint.startswith("it fits with train.score_tile_rows: ")
    tile = error.hint.split(": ")[1].split(" ")[0]
    better = plan_of(Case((*settings[:-1], f"train.score_tile_rows={tile}"))).cost
    assert better.peak_bytes <= 0.6 * cost.peak_bytes
    assert better.flops_per_step > cost.flops_per_step


def test_a_loss_that_hides_tokens_knows_no_in_batch_negatives() -> None:
    """The same rows in smaller batches change no result there, so they are among the gentle changes."""
    given = (*CASES["masked"].settings, "train.batch_size=64")
    work, batching = work_of(plan_of(Case(given)))
    peak = cost_of(work, batching).most_bytes
    gentle, harsh = changes(work, batching, peak // 2)
    [parts] = [c for c in gentle if "train.accumulation_steps" in c.text]
    assert parts.text == "train.batch_size: 16 and train.accumulation_steps: 4"
    assert not any(c.meaning for c in gentle)
    assert [(c.text, c.meaning) for c in harsh] == [("train.batch_size: 16", "fewer rows a step")]
    _, [error] = found(*given, f"hardware.max_memory_gb={peak / 2 / GB / 0.9}")
    assert "negatives" not in error.hint
    assert "by the micro-diffusion guide's rule of thumb it would be" in error.message
    assert error.hint.index(parts.text) < error.hint.index("it also fits with")


@pytest.mark.parametrize(
    ("case", "more", "told"),
    [
        ("towers", (), "in-batch negatives"),
        ("scores-triplet", (), "in-batch negatives"),
        ("scores-cosent", (), "rows to compare a row with"),
        ("scores-cosent", ("losses=[{kind: cosent}, {kind: infonce}]",), "in-batch negatives"),
        ("masked", (), ""),
    ],
)
def test_a_smaller_batch_is_told_by_what_the_loss_loses(
    case: str, more: tuple[str, ...], told: str
) -> None:
    given = (*CASES[case].settings, *more, "train.batch_size=64", "train.score_tile_rows=64")
    work, batching = work_of(plan_of(Case(given)))
    assert work.company == told
    smaller = replace(batching, rows=16, micro=16, tile=16)
    _, harsh = changes(work, batching, cost_of(work, smaller).most_bytes)
    assert harsh
    for change in harsh:
        assert (f" {told} instead of 63" in change.meaning) == bool(told)


def test_rows_with_nothing_but_negatives_of_their_own_lose_nothing_in_a_smaller_batch() -> None:
    plan = plan_of(Case(("train.batch_size=64",)))
    [loss] = plan.losses
    assert isinstance(loss, InfoNCE)
    hinge = Triplet(name="t", margin=0.1)
    for losses, told in (
        ((replace(loss, negatives="own"),), ""),
        ((replace(loss, negatives="all"),), "in-batch negatives"),
        ((hinge,), "in-batch negatives"),
        ((hinge, replace(loss, negatives="own")), "in-batch negatives"),
    ):
        traces = tuple(replace(t, losses=tuple(x.name for x in losses)) for t in plan.traces)
        work, _ = work_of(replace(plan, losses=losses, traces=traces))
        assert work.company == told


def test_evaluation_alone_is_mended_by_its_own_key() -> None:
    held = ("data.validation={kind: fraction, fraction: 0.1}", "evaluation={batch_size: 4096}")
    _, [error] = found(*BAG, *held, "hardware.max_memory_gb=0.03")
    assert "while held-out rows are encoded" in error.message
    assert error.hint.startswith("it fits with evaluation.batch_size: 2048 (")
    assert "train." not in error.hint


def test_the_summary_tells_the_figure_that_a_limit_is_held_against() -> None:
    held = ("data.validation={kind: fraction, fraction: 0.1}", "evaluation={batch_size: 4096}")
    plan = plan_of(Case((*BAG, *held)))
    needed, training = size(plan.cost.evaluation_bytes), size(plan.cost.peak_bytes)
    assert plan.cost.most_bytes == plan.cost.evaluation_bytes
    told = f"{needed} by arithmetic while held-out rows are encoded; training {training}: weights "
    assert told in summary(plan)
    _, [error] = found(*BAG, *held, "hardware.max_memory_gb=0.03")
    assert f"the plan needs {needed} on each device by arithmetic, and 0.03 GiB" in error.message
    alone = plan_of(Case(BAG))
    assert f"{size(alone.cost.peak_bytes)} by arithmetic: weights " in summary(alone)


def test_a_loss_that_hides_tokens_shows_the_guides_rule_unasked() -> None:
    """4 bytes and 3 copies are the guide's; the plan says which were taken."""
    case, tokens = CASES["masked"], 32
    plan = plan_of(case)
    parameters, batch = plan.model.total_parameters, 4 * plan.train.batch_size * tokens
    assert plan.cost.rule_bytes == parameters * 12 + batch
    assert (plan.hardware.bytes_per_parameter, plan.hardware.memory_multiplier) == (4, 3.0)
    told = f"{size(plan.cost.rule_bytes)} by the micro-diffusion guide's rule of thumb ("
    assert told in summary(plan)
    halved, errors = found(*case.settings, "hardware.bytes_per_parameter=2")
    assert not errors
    assert halved is not None
    assert halved.cost.rule_bytes == parameters * 6 + batch
    assert plan_of(Case(SIX)).cost.rule_bytes is None


def test_what_no_batch_mends_says_so() -> None:
    _, [error] = found(*SIX, "hardware.max_memory_gb=0.004")
    assert "no batch is small enough" in error.hint


def test_a_measured_peak_above_the_limit_is_told_at_the_place_that_set_it() -> None:
    plan = plan_of(Case(SIX), "hardware.max_memory_gb=1")
    assert measured_misfit(plan, int(0.89 * GB)) is None
    error = measured_misfit(plan, int(0.91 * GB))
    assert error is not None
    assert "as XLA compiled it" in error.message
    assert error.path == "hardware.max_memory_gb"
    assert error.hint
    assert measured_misfit(plan_of(Case(SIX)), 10**15) is None


def test_a_mend_keeps_to_the_name_by_which_the_spec_says_the_chunks() -> None:
    """Two names with two values are refused, so the other name would be no mend."""
    given = ("train.batch_size=512", "train.gradient_cache={chunk_size: 128}")
    peak = plan_of(Case(given)).cost.peak_bytes
    _, [error] = found(*given, f"hardware.max_memory_gb={peak / GB / 0.9 * 0.7}")
    assert "train.gradient_cache.chunk_size: " in error.hint
    assert "train.micro_batch_size" not in error.hint
    plan = plan_of(Case((*given, "hardware.max_memory_gb=1")))
    told = measured_misfit(plan, GB)
    assert told is not None
    assert "train.gradient_cache.chunk_size: " in told.hint


def test_a_measured_peak_scales_what_is_proposed() -> None:
    """XLA needed five times the arithmetic, so a change must save five times as much."""
    work, batching = work_of(plan_of(Case(SIX)))
    peak = cost_of(work, batching).peak_bytes
    limit = peak / GB
    told = misfit(work, batching, limit, 0.0, 5 * peak)
    assert told is not None
    gentle, _ = changes(work, batching, peak, 5.0)
    assert gentle
    assert all(c.peak <= peak for c in gentle)
    assert "train.micro_batch_size: 32" not in told[1]
