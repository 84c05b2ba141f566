"""Every mistake at once, each at its place, with its mend and who set it."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.compiler.front import Loaded, load
from specrun.spec.diagnostics import Diagnostic

GOOD = """\
version: 1
model: {kind: text_encoder}
tokenizer: {kind: train}
data: {kind: jsonl, path: rows.jsonl, validation: {kind: file, path: v.jsonl}}
losses: [{kind: infonce}]
train: {epochs: 3}
evaluation: {}
"""


def check(text: str, *overrides: str, **environ: str) -> Loaded:
    return load(text, overrides=overrides, environ=environ, local={})


def only(loaded: Loaded) -> Diagnostic:
    assert len(loaded.diagnostics) == 1, [(d.line, d.code, d.message) for d in loaded.diagnostics]
    return loaded.diagnostics[0]


def test_a_good_spec_has_nothing_to_say() -> None:
    loaded = check(GOOD)
    assert loaded.diagnostics == ()
    assert loaded.experiment is not None
    assert loaded.experiment.train.batch_size == 64


CASES = [
    ("seed: -1", "out-of-range", (7, 7), "at least 0"),
    ("seed: 1.5", "wrong-type", (7, 7), "a whole number"),
    ("seed: '5'", "wrong-type", (7, 7), "write 5"),
    ("seed: 1_000", "wrong-type", (7, 7), "write 1000"),
    ("seed: null", "wrong-type", (7, 7), "remove the line"),
    ("name: 5", "wrong-type", (7, 7), "quotes"),
    ("name: a b", "wrong-form", (7, 7), "match"),
    ('name: "a\\n"', "wrong-form", (7, 7), "match"),
    ("sed: 3", "unknown-key", (7, 1), "did you mean `seed`?"),
    ("batch_size: 3", "unknown-key", (7, 1), "belongs in `train`, `evaluation`"),
    ("warmup_steps: 3", "unknown-key", (7, 1), "`schedule` kind linear"),
    ("temperature: 3", "unknown-key", (7, 1), "`losses[]` kind infonce"),
    ("train.epochs: 3", "unknown-key", (7, 1), "nest it: `train: {epochs: …}`"),
    ("zzz: 3", "unknown-key", (7, 1), "known here: `version`, `name`"),
    ("lora_r: 8", "renamed-key", (7, 1), "write `lora.rank`"),
    ("per_device_train_batch_size: 8", "renamed-key", (7, 1), "`train.batch_size`"),
    ("bf16: true", "renamed-key", (7, 1), "write `precision.compute`"),
    ("lora: {rank: 4}", "missing-key", (7, 1), "add `target_modules: […]`"),
    ("lora: {r: 4, target_modules: [q]}", "renamed-key", (7, 8), "write `lora.rank`"),
    ("lora: [a]", "wrong-type", (7, 7), ""),
    ("lora: yes", "wrong-type", (7, 7), "indented lines"),
    ("lora: {target_modules: query}", "wrong-type", (7, 24), "write [query]"),
    ("lora: {target_modules: []}", "too-few-items", (7, 24), ""),
    (
        "curriculum: {stages: [{name: a, masking_rate: 0.5}]}",
        "wrong-type",
        (7, 47),
        "a list of 2, such as [0.75, 0.9]",
    ),
    (
        "curriculum: {stages: [{name: a, masking_rate: [0.5]}]}",
        "too-few-items",
        (7, 47),
        "a list of 2, such as [0.75, 0.9]",
    ),
    ("lora: {target_modules: [a, b, a]}", "duplicate-item", (7, 31), "remove one"),
    ("lora: {target_modules: [a], rslora: on}", "wrong-type", (7, 37), "write true"),
    ("schedule: {kind: cosin}", "unknown-kind", (7, 18), "did you mean `cosine`?"),
    ("schedule: {kind: 3}", "wrong-type", (7, 18), ""),
    ("schedule: {warmup_ratio: 0.1}", "unknown-key", (7, 12), "`schedule` kind linear"),
    ("schedule: {kind: linear, warmup_ratio: 1.5}", "out-of-range", (7, 40), ""),
    ("optimizer: {kind: lion}", "unknown-kind", (7, 19), "not in this version"),
    ("optimizer: {kind: adamw_torch}", "unknown-kind", (7, 19), "write `adamw`"),
    ("optimizer: {lr: 1e-3}", "renamed-key", (7, 13), "`optimizer.learning_rate`"),
    ("precision: {compute: float16}", "not-allowed", (7, 22), "It is `float32` or `bfloat16`"),
    ("precision: {matmul: hihgest}", "not-allowed", (7, 21), "did you mean `highest`?"),
    ("evaluation: {every_steps: 0}", "out-of-range", (7, 27), "at least 1"),
    ("curriculum: {stages: []}", "too-few-items", (7, 22), ""),
    ("curriculum: {stages: [{epochs: 3}]}", "missing-key", (7, 23), "`name`"),
    ("curriculum: {stages: [{name: a, select: {min: 1}}]}", "no-field", (7, 41), "`field`"),
    ("curriculum: {stages: [{name: a, select: esay}]}", "not-allowed", (7, 41), "`easy`?"),
    ("curriculum: {stages: [{name: a, select: 3}]}", "wrong-type", (7, 41), "text or a mapping"),
    ("curriculum: {stages: [{name: a, select: [easy]}]}", "wrong-type", (7, 41), "a mapping"),
    ("curriculum: {stages: [{name: a, select: {feild: x}}]}", "unknown-key", (7, 42), "`field`"),
    (
        "curriculum: {stages: [{name: a, select: {percentile: [0, 101]}}]}",
        "out-of-range",
        (7, 58),
        "at most 100",
    ),
    ("output_dir: .inf", "not-finite", (7, 13), ""),
]


@pytest.mark.parametrize(("line", "code", "place", "said"), CASES)
def test_a_mistake_in_the_file(line: str, code: str, place: tuple[int, int], said: str) -> None:
    text = GOOD.replace("train: {epochs: 3}", "") if line.startswith("curriculum") else GOOD
    text = text.replace("evaluation: {}\n", "")
    loaded = check(f"{text}{line}\n")
    [found] = [d for d in loaded.diagnostics if d.severity == "error"]
    assert (found.code, (found.line, found.column)) == (code, place)
    assert said in f"{found.message} {found.hint}"
    assert found.file == "<text>"
    assert found.frame


def test_losses_say_what_belongs_elsewhere_and_what_comes_later() -> None:
    text = GOOD.replace("{kind: infonce}", "{kind: infonce, rank: 3}")
    assert "belongs in `lora`" in only(check(text)).hint
    text = GOOD.replace("{kind: infonce}", "{kind: causal_lm, reduce: mean}")
    assert "not in this version" in only(check(text)).hint
    text = GOOD.replace("{kind: infonce}", "{kind: infonce, scale: 20}")
    assert "temperature = 1 / scale" in only(check(text)).message


@pytest.mark.parametrize("key", ["version", "model", "data", "losses"])
def test_a_missing_section_is_blamed_on_the_root(key: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(key)]
    found = only(check("\n".join(lines) + "\n"))
    assert (found.code, found.path, found.line, found.column) == ("missing-key", key, 1, 1)


def test_a_missing_kind_lists_the_kinds() -> None:
    found = only(check(GOOD.replace("{kind: text_encoder}", "{hidden_size: 8}")))
    assert (found.code, found.path, found.line) == ("missing-key", "model.kind", 2)
    assert "one of `text_encoder`, `bert`, `roberta`" in found.hint


def test_a_number_may_be_written_as_a_whole_float() -> None:
    loaded = check(GOOD + "seed: 3.0\noptimizer: {learning_rate: 1}\n")
    assert loaded.diagnostics == ()
    assert loaded.tree["seed"] == 3
    assert isinstance(loaded.tree["seed"], int)
    assert isinstance(loaded.tree["optimizer"]["learning_rate"], float)


def test_an_override_and_a_variable_are_named_as_sources() -> None:
    loaded = check(GOOD, "train.epocs=3", SPECRUN__TRAIN__BATCHSIZE="3")
    places = [(d.file, d.line, d.code, d.path) for d in loaded.diagnostics]
    assert places == [
        ("--set train.epocs", 0, "unknown-key", "train.epocs"),
        ("SPECRUN__TRAIN__BATCHSIZE", 0, "unknown-key", "train.batchsize"),
    ]
    line, caret = loaded.diagnostics[1].frame.splitlines()
    assert line[caret.index("^") :] == "BATCHSIZE=3"


def test_a_value_set_by_several_levels_says_by_whom(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("optimizer: {learning_rate: 5e-6}\n")
    spec = tmp_path / "spec.yaml"
    spec.write_text(GOOD + "extends: [p.yaml]\noptimizer:\n  learning_rate: 1e-5\n")
    loaded = load(spec, overrides=["optimizer.learning_rate=-3e-05"], environ={}, local={})
    assert only(loaded).notes == (
        "set by -3e-05 (--set optimizer.learning_rate) <- 1e-05 (spec.yaml:10:18) <- "
        "5e-06 (p.yaml:1:28)",
    )


def test_a_bad_value_is_not_judged_twice() -> None:
    assert only(check(GOOD + "seed: .nan\n")).code == "not-finite"
    assert only(check(GOOD + "seed: 017\n")).code == "ambiguous-number"
    assert only(check(GOOD + "schedule: {kind: !x linear, warmup_steps: 3}\n")).code == "tag"


PLANTED = """\
# yaml-language-server: $schema=x.json
version: 1
name: bad name
extends: [planted-preset.yaml]
seed: -4
lora_r: 8
model:
  kind: text_encoder
  hidden_size: 100
  num_hidden_layers: 2
  num_attention_heads: 7
  hidden_act: gellu
tokenizer: {kind: train, vocab_size: 5}
data:
  kind: jsonl
  path: [rows.jsonl]
  bad_row: skip
  columns: {query: text, positive: text}
losses:
  - kind: infonce
    temperature: 0
    margin: 0.5
  - kind: causal_lm
matryoshka: {dims: [64, 64, 512], weights: [1, 1]}
train:
  batch_size: 60
  drop_last: yes
  micro_batch_size: 7
  batch_size: 32
curriculum:
  stages:
    - {name: a, epochs: 017}
    - {name: b, select: {field: x, min: 9, max: 3}}
    - {name: b, loss_weights: {nope: 1}}
evaluation: {select_best: mrr@11, early_stopping: {patience: 0}}
"""

PLANTED_PRESET = """\
optimizer: {kind: adamw, lr: 1e-3}
schedule:
  kind: linear
  warmup_ratio: 3
  min_learning_rate: 1e-5
hardware: {devices: .inf}
"""

EXPECTED = [
    ("--set checkpoint.keep", 0, 0, "out-of-range"),
    ("--set losses.nope.weight", 0, 0, "no-such-item"),
    ("SPECRUN__PRECISION__MATMUL", 0, 0, "not-allowed"),
    ("SPECRUN__TRAIN__UNROL", 0, 0, "unknown-key"),
    ("planted-preset.yaml", 1, 26, "renamed-key"),
    ("planted-preset.yaml", 4, 17, "out-of-range"),
    ("planted-preset.yaml", 5, 3, "unknown-key"),
    ("planted-preset.yaml", 6, 21, "not-finite"),
    ("spec.yaml", 3, 7, "wrong-form"),
    ("spec.yaml", 5, 7, "out-of-range"),
    ("spec.yaml", 6, 1, "renamed-key"),
    ("spec.yaml", 11, 24, "heads-do-not-divide"),
    ("spec.yaml", 12, 15, "not-allowed"),
    ("spec.yaml", 13, 38, "out-of-range"),
    ("spec.yaml", 16, 9, "wrong-type"),
    ("spec.yaml", 17, 3, "unknown-key"),
    ("spec.yaml", 18, 36, "same-column"),
    ("spec.yaml", 21, 18, "out-of-range"),
    ("spec.yaml", 22, 5, "unknown-key"),
    ("spec.yaml", 23, 11, "unknown-kind"),
    ("spec.yaml", 24, 25, "duplicate-item"),
    ("spec.yaml", 24, 29, "dim-above-width"),
    ("spec.yaml", 27, 14, "wrong-type"),
    ("spec.yaml", 29, 3, "duplicate-key"),
    ("spec.yaml", 32, 25, "ambiguous-number"),
    ("spec.yaml", 33, 41, "empty-range"),
    ("spec.yaml", 34, 14, "duplicate-name"),
    ("spec.yaml", 35, 1, "no-validation"),
    ("spec.yaml", 35, 27, "unknown-metric"),
    ("spec.yaml", 35, 62, "out-of-range"),
]


def test_thirty_planted_mistakes_are_thirty_findings(tmp_path: Path) -> None:
    (tmp_path / "planted-preset.yaml").write_text(PLANTED_PRESET)
    spec = tmp_path / "spec.yaml"
    spec.write_text(PLANTED)
    loaded = load(
        spec,
        overrides=["checkpoint.keep=1", "losses.nope.weight=1"],
        environ={"SPECRUN__PRECISION__MATMUL": "low", "SPECRUN__TRAIN__UNROL": "2"},
        local={},
    )
    assert loaded.experiment is None
    assert len(EXPECTED) == 30
    assert [(d.file, d.line, d.column, d.code) for d in loaded.diagnostics] == EXPECTED
