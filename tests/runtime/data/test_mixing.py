"""The rows of a transition: their shares, no row twice in a batch, and the compiler's lengths."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specrun
from specrun.runtime.data.batches import Batches
from specrun.runtime.data.mixing import mixed
from specrun.runtime.data.order import epoch_order
from specrun.runtime.data.scan import ensure_rows
from specrun.runtime.data.tokens import ensure_tokens
from specrun.spec.plan.plan import Plan

SPEC = """\
version: 1
model: {kind: text_encoder, hidden_size: 16, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: jsonl, path: rows.jsonl, max_length: {query: 24, positive: 40}}
losses: [{kind: infonce}]
train: {batch_size: 2, accumulation_steps: 2, length_buckets: 8}
curriculum:
  transition_epochs: 3
  stages:
    - {name: short, epochs: 2, select: {field: level, max: 47}}
    - {name: long, epochs: 5, select: {field: level, min: 48}}
    - {name: all, epochs: 2, transition_epochs: 1}
"""


def epoch(
    own: np.ndarray, before: np.ndarray, number: int, *, n: int, size: int, again: bool = False
) -> np.ndarray:
    order = epoch_order(7, 1, number, own)
    return mixed(
        order,
        before,
        seed=7,
        segment=1,
        epoch=number,
        transition_epochs=n,
        rows_per_step=size,
        again=again,
    )


def test_the_share_of_a_stages_own_rows_rises_as_the_plan_says() -> None:
    """(j+1)/(n+1) of 12000 places, within four standard deviations; after the transition all."""
    own, before = np.arange(20000, 32000), np.arange(15000)
    for j in range(4):
        share = float((epoch(own, before, j, n=4, size=32) >= 20000).mean())
        wanted = (j + 1) / 5
        assert abs(share - wanted) < 4 * (wanted * (1 - wanted) / 12000) ** 0.5
    after = epoch(own, before, 4, n=4, size=32)
    assert after.tolist() == epoch_order(7, 1, 4, own).tolist()


@settings(deadline=None, max_examples=60)
@given(
    own=st.sets(st.integers(0, 60), min_size=1),
    before=st.sets(st.integers(0, 60), min_size=1),
    size=st.integers(1, 20),
    j=st.integers(0, 2),
)
def test_no_row_stands_twice_in_a_batch(own: set[int], before: set[int], size: int, j: int) -> None:
    """Overlapping stages, an earlier stage smaller than a batch, short last batches."""
    found = epoch(np.array(sorted(own)), np.array(sorted(before)), j, n=3, size=size)
    assert len(found) == len(own)
    assert set(found.tolist()) <= own | before
    for start in range(0, len(found), size):
        batch = found[start : start + size].tolist()
        assert len(set(batch)) == len(batch)


def test_an_earlier_stage_too_small_for_a_batch_leaves_the_own_rows() -> None:
    found = epoch(np.arange(100, 164), np.arange(3), 0, n=1, size=16)
    for start in range(0, 64, 16):
        batch = set(found[start : start + 16].tolist())
        assert len(batch & {0, 1, 2}) == 3
        assert len(batch) == 16


def test_texts_of_a_small_earlier_stage_come_again_until_the_share_is_right() -> None:
    """(j+1)/(n+1) of 12000 places, though batches of 64 places have 20 rows of the earlier stage at most."""
    own, before = np.arange(20000, 32000), np.arange(20)
    for j in range(4):
        found = epoch(own, before, j, n=4, size=64, again=True)
        wanted = (j + 1) / 5
        share = float((found >= 20000).mean())
        assert abs(share - wanted) < 4 * (wanted * (1 - wanted) / 12000) ** 0.5
        counts = Counter(found[:64][found[:64] < 20000].tolist())
        assert max(counts.values()) - min(counts[row] for row in range(20)) <= 1
    enough = np.arange(15000)
    plain = epoch(own, enough, 1, n=4, size=64)
    assert epoch(own, enough, 1, n=4, size=64, again=True).tolist() == plain.tolist()


def test_places_draw_on_their_own() -> None:
    """Epochs and segments of the same stages mix differently."""
    own, before = np.arange(100, 200), np.arange(100)
    first = epoch(own, before, 0, n=3, size=10)
    again = epoch(own, before, 0, n=3, size=10)
    other = epoch(own, before, 1, n=3, size=10)
    assert first.tolist() == again.tolist()
    assert [int(x) >= 100 for x in first] != [int(x) >= 100 for x in other]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """96 rows, the long ones in the second stage."""
    folder = tmp_path_factory.mktemp("mixing")
    rows = [
        {"query": f"number {i} " + "word " * (i % 9), "positive": f"f{i}: " + "x " * (i // 6)}
        | {"level": i}
        for i in range(96)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "spec.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(folder / "cache"))
        return specrun.compile(folder / "spec.yaml")


def made(plan: Plan) -> Batches:
    return Batches(plan, ensure_tokens(plan.data, plan.tokenizer), ensure_rows(plan.data))


def cached(plan: Plan, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SPECRUN_CACHE", str(Path(plan.data.scan.inputs[0].path).parent / "cache"))


def test_the_plan_foretells_the_lengths_of_every_step(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many steps of each trace as the plan says, of which the transition changes some."""
    cached(plan, monkeypatch)
    batches = made(plan)
    counted = Counter(batches.at(step)[0] for step in range(plan.train.total_steps))
    assert counted == {trace.name: trace.steps for trace in plan.traces}
    assert len(counted) > 1
    unmixed = specrun.compile(
        Path(plan.data.scan.inputs[0].path).parent / "spec.yaml",
        overrides=["curriculum.transition_epochs=0", "curriculum.stages[2].transition_epochs=0"],
    )
    assert [t.steps for t in unmixed.traces] != [t.steps for t in plan.traces]
    assert unmixed.train.total_steps == plan.train.total_steps


def test_steps_of_a_transition_hold_rows_of_both_stages(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order of access; stage ``long`` has three epochs of transition, ``all`` one."""
    cached(plan, monkeypatch)
    batches, again = made(plan), made(plan)
    long = plan.segments[1]
    assert [s.transition_epochs for s in plan.segments] == [0, 3, 1]
    shares = []
    for step in range(long.first_step, long.stop_step):
        batch = batches.at(step)[1]
        rows = batch.row[batch.weight > 0]
        shares.append(float((rows >= 48).mean()))
        assert len(set(rows.tolist())) == len(rows)
    per = long.steps_per_epoch
    means = [float(np.mean(shares[e * per : (e + 1) * per])) for e in range(5)]
    assert means[3:] == [1.0, 1.0]
    assert all(0 < mean < 1 for mean in means[:3])
    assert means[0] < means[2]
    for step in reversed(range(plan.train.total_steps)):
        assert (again.at(step)[1].row == batches.at(step)[1].row).all()


TEXTS = """\
version: 1
model: {kind: masked_lm, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2}
tokenizer: {kind: train, vocab_size: 300}
data: {kind: text, path: texts.txt, max_length: 24}
losses: [{kind: masked_diffusion}]
train: {batch_size: 8, accumulation_steps: 2}
curriculum:
  stages:
    - {name: short, epochs: 1, select: {field: query_chars, max: 20}}
    - {name: long, epochs: 4, transition_epochs: 4, select: {field: query_chars, min: 21}}
"""


def test_batches_of_texts_have_the_share_that_the_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine short texts, of which a batch of 16 should have 13 in the first epoch; lengths are the plan's."""
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    short = [f"The number {i}." for i in range(9)]
    long = [f"number {i} of " + "many " * (i % 7 + 2) + "texts." for i in range(320)]
    (tmp_path / "texts.txt").write_text("\n\n".join(short + long))
    plan = specrun.compile(TEXTS, environ={})
    first, second = plan.segments
    assert (first.rows, second.rows) == (9, 320)
    batches = made(plan)
    earlier = set(batches.at(0)[1].row.reshape(-1)[:9].tolist())
    shares = []
    for j in range(4):
        start = second.first_step + j * second.steps_per_epoch
        rows = [batches.at(start + s)[1].row for s in range(second.steps_per_epoch)]
        shares.append(float(np.isin(np.concatenate(rows), list(earlier)).mean()))
    assert shares == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=0.1)
    counted = Counter(batches.at(step)[0] for step in range(plan.train.total_steps))
    assert counted == {trace.name: trace.steps for trace in plan.traces}
