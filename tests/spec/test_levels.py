"""Levels: what wins, what is dropped, and what each path remembers."""

from __future__ import annotations

from typing import Any

import pytest

from specrun.spec.levels import (
    Level,
    Merging,
    environment_patches,
    override_patches,
)
from specrun.spec.source import read_text
from specrun.spec.tree import Node, Texts, format_path, plain


class Levels:
    """Lays texts over one another and keeps what a test asks about."""

    def __init__(self) -> None:
        self.texts = Texts()
        self.merging = Merging(self.texts)
        self.tree: Node | None = None

    def add(self, level: Level, file: str, text: str) -> Levels:
        tree = read_text(text, file, self.texts).tree
        assert tree is not None
        self.tree = self.merging.over(self.tree, tree, level)
        return self

    def set(self, *overrides: str) -> Levels:
        patches, found = override_patches(overrides, self.texts)
        self.merging.diagnostics.extend(found)
        for patch in patches:
            self.tree = self.merging.over(self.tree, patch.tree, "override", (), len(patch.path))
        return self

    def env(self, **variables: str) -> Levels:
        inner = Merging(self.texts, diagnostics=self.merging.diagnostics)
        patches, found = environment_patches(list(variables.items()), self.texts)
        self.merging.diagnostics.extend(found)
        low: Node | None = None
        for patch in patches:
            low = inner.over(low, patch.tree, "environment", (), len(patch.path))
        assert low is not None
        self.tree = self.merging.under(self.tree, low, "environment")
        return self

    @property
    def plain(self) -> Any:
        assert self.tree is not None
        return plain(self.tree)

    def history(self, path: str) -> list[str]:
        known = {format_path(p): o for p, o in self.merging.history.items()}
        return [str(origin) for origin in known.get(path, ())]

    def codes(self) -> list[tuple[str, str]]:
        return [(d.file, d.code) for d in self.merging.diagnostics]


def test_mappings_merge_and_lists_replace() -> None:
    levels = Levels().add("preset", "p.yaml", "a: {x: 1, y: 2}\nb: [1, 2, 3]\n")
    levels.add("spec", "s.yaml", "a: {y: 3, z: 4}\nb: [9]\n")
    assert levels.plain == {"a": {"x": 1, "y": 3, "z": 4}, "b": [9]}
    assert levels.history("a.y") == ["2 (p.yaml:1:14)", "3 (s.yaml:1:8)"]
    assert levels.history("b") == ["[1, 2, 3] (p.yaml:2:4)", "[9] (s.yaml:2:4)"]
    assert levels.history("b[0]") == ["9 (s.yaml:2:5)"]
    assert levels.history("b[1]") == []


def test_a_changed_kind_drops_what_stood_beside_the_old_one() -> None:
    levels = Levels().add("preset", "p", "schedule: {kind: linear, warmup_steps: 5}\n")
    levels.add("spec", "s", "schedule: {kind: cosine, min_learning_rate: 1}\n")
    assert levels.plain == {"schedule": {"kind": "cosine", "min_learning_rate": 1}}
    assert len(levels.history("schedule.kind")) == 2
    assert levels.history("schedule.warmup_steps") == []


def test_the_same_kind_keeps_it() -> None:
    levels = Levels().add("preset", "p", "s: {kind: linear, warmup_steps: 5}\n")
    levels.add("spec", "s", "s: {kind: linear}\n").add("spec", "s", "s: {x: 1}\n")
    assert levels.plain == {"s": {"kind": "linear", "warmup_steps": 5, "x": 1}}


def test_an_override_of_a_kind_drops_too() -> None:
    levels = Levels().add("spec", "s", "s: {kind: linear, warmup_steps: 5}\n").set("s.kind=cosine")
    assert levels.plain == {"s": {"kind": "cosine"}}


def test_null_switches_a_section_off_and_a_mapping_switches_it_on() -> None:
    levels = Levels().add("preset", "p", "lora: {rank: 8}\n").add("spec", "s", "lora: null\n")
    assert levels.plain == {"lora": None}
    assert levels.history("lora.rank") == []
    levels.set("lora.alpha=3")
    assert levels.plain == {"lora": {"alpha": 3}}


LOSSES = (
    "losses:\n  - {kind: infonce, temperature: 1}\n  - {kind: infonce, name: b-2}\n  - {kind: x}\n"
)


@pytest.mark.parametrize(
    ("override", "index", "key", "value"),
    [
        ("losses[0].temperature=0.5", 0, "temperature", 0.5),
        ("losses.0.temperature=1e-3", 0, "temperature", 1e-3),
        ("losses.b-2.weight=3", 1, "weight", 3),
        ("losses.x.on=yes", 2, "on", "yes"),
        ("losses.x.list=[1, 2]", 2, "list", [1, 2]),
        ("losses.x.none=", 2, "none", None),
    ],
)
def test_overrides_address_items(override: str, index: int, key: str, value: object) -> None:
    levels = Levels().add("spec", "s", LOSSES).set(override)
    assert levels.codes() == []
    assert levels.plain["losses"][index][key] == value


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("losses.infonce.weight=1", "ambiguous-item"),
        ("losses.nope.weight=1", "no-such-item"),
        ("losses[3].weight=1", "no-such-item"),
        ("losses.99999999999999999999.weight=1", "no-such-item"),
        ("losses", "bad-override"),
        ("=1", "bad-override"),
        ("a..b=1", "bad-override"),
        ("a=.nan", "not-finite"),
        ("a={", "syntax"),
        ("a=1\n---\nb", "second-document"),
    ],
)
def test_bad_overrides_are_placed_at_the_override(override: str, code: str) -> None:
    levels = Levels().add("spec", "s", LOSSES).set(override)
    [(file, found)] = levels.codes()
    assert (file.startswith("--set"), found) == (True, code)


def test_overrides_keep_the_history_of_the_item() -> None:
    levels = Levels().add("spec", "s", LOSSES).set("losses[0].temperature=2")
    levels.set("losses[0].temperature=3")
    assert levels.history("losses[0].temperature") == [
        "1 (s:2:34)",
        "2 (--set losses[0].temperature)",
        "3 (--set losses[0].temperature (#1))",
    ]


def test_the_environment_is_weaker_than_files() -> None:
    levels = Levels().add("spec", "s", "train: {batch_size: 8}\n")
    levels.env(SPECRUN__TRAIN__BATCH_SIZE="64", SPECRUN__TRAIN__EPOCHS="3", HOME="/x")
    assert levels.plain == {"train": {"batch_size": 8, "epochs": 3}}
    assert levels.history("train.batch_size") == ["64 (SPECRUN__TRAIN__BATCH_SIZE)", "8 (s:1:21)"]


def test_the_environment_reaches_items_that_the_file_lists() -> None:
    levels = Levels().add("spec", "s", LOSSES)
    levels.env(SPECRUN__LOSSES__B_2__WEIGHT="3", SPECRUN__LOSSES__0__TEMPERATURE="9")
    assert levels.plain["losses"][1]["weight"] == 3
    assert levels.plain["losses"][0]["temperature"] == 1
    assert levels.history("losses[0].temperature")[0].startswith("9 (SPECRUN__")


def test_the_environment_may_give_a_whole_list_and_then_an_item_of_it() -> None:
    levels = Levels().add("spec", "s", "a: 1\n")
    levels.env(SPECRUN__LOSSES="[{kind: infonce}]", SPECRUN__LOSSES__INFONCE__WEIGHT="2")
    assert levels.plain["losses"] == [{"kind": "infonce", "weight": 2}]


def test_a_kind_of_the_environment_goes_with_its_siblings() -> None:
    levels = Levels().add("spec", "s", "s: {kind: cosine}\n")
    levels.env(SPECRUN__S__KIND="linear", SPECRUN__S__WARMUP_STEPS="5")
    assert levels.plain == {"s": {"kind": "cosine"}}


@pytest.mark.parametrize("name", ["SPECRUN__", "SPECRUN__TRAIN__", "SPECRUN____X"])
def test_a_variable_without_a_path(name: str) -> None:
    _, found = environment_patches([(name, "1")], Texts())
    assert [(d.file, d.code, d.line) for d in found] == [(name, "bad-override", 0)]


def test_a_bad_value_of_a_variable_has_a_frame() -> None:
    _, found = environment_patches([("SPECRUN__SEED", "0x")], Texts())
    assert found == []
    _, found = environment_patches([("SPECRUN__SEED", "017")], Texts())
    line, caret = found[0].frame.splitlines()
    assert line[caret.index("^") :] == "017"
    assert (found[0].line, found[0].column) == (0, 0)
