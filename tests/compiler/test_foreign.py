"""Foreign names: each leads to a key that exists, and none hides a key of the spec."""

from __future__ import annotations

import pytest

from specrun.compiler.check import homes_of
from specrun.compiler.foreign import FOREIGN, KIND_NAMES, LATER_KINDS, is_here
from specrun.compiler.front import load
from specrun.spec.annotations import fields_of
from specrun.spec.experiment import Experiment
from specrun.spec.shapes import Kinds, ListOf, Section, Shape, shape_of, without_null

BODY = "version: 1\nmodel: {kind: text_encoder}\ntokenizer: {kind: train}\n"
BODY += "data: {kind: jsonl, path: a}\nlosses: [{kind: infonce}]\ntrain: {epochs: 1}\n"


def exists(shape: Shape, steps: list[str]) -> bool:
    shape = without_null(shape)
    if isinstance(shape, ListOf):
        return exists(shape.item, steps)
    if not steps:
        return True
    classes = list(shape.variants.values()) if isinstance(shape, Kinds) else []
    classes += [shape.cls] if isinstance(shape, Section) else []
    fields = [info for cls in classes for info in fields_of(cls) if info.name == steps[0]]
    return any(exists(shape_of(info.type), steps[1:]) for info in fields)


@pytest.mark.parametrize("old", FOREIGN)
def test_the_new_name_exists_and_the_old_does_not(old: str) -> None:
    assert old not in homes_of(Experiment)
    new = FOREIGN[old].new
    if new:
        assert exists(Section(Experiment), new.replace("[]", "").split("."))
    else:
        assert new == ""


@pytest.mark.parametrize("old", FOREIGN)
def test_a_foreign_name_at_the_root_is_refused_with_the_right_one(old: str) -> None:
    loaded = load(f"{BODY}{old}: 1\n", environ={}, local={})
    [found] = loaded.diagnostics
    assert found.code == ("renamed-key" if FOREIGN[old].new else "unsupported-key")
    assert f"`{old}`" in found.message
    assert FOREIGN[old].new in found.message
    assert found.line == 7


def test_plain_words_are_foreign_only_where_they_would_stand() -> None:
    assert is_here("r", ())
    assert is_here("r", ("lora",))
    assert not is_here("r", ("train",))
    assert is_here("scale", ("losses", 3))
    assert not is_here("scale", ("lora",))
    assert is_here("lora_r", ("train",))
    assert not is_here("nothing", ())


def test_kinds_that_come_later_are_not_kinds_now() -> None:
    for section, kinds in LATER_KINDS.items():
        field = next(i for i in fields_of(Experiment) if i.name == section)
        shape = without_null(shape_of(field.type))
        shape = shape.item if isinstance(shape, ListOf) else shape
        assert isinstance(shape, Kinds)
        known = [*kinds, *(kind for kind, (home, _) in KIND_NAMES.items() if home == section)]
        assert not set(known) & set(shape.variants)
