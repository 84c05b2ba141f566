"""The schemas: current, valid, equal to the types, and of the shapes that editors serve best."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from specrun.compiler.foreign.table import FOREIGN
from specrun.compiler.init import template
from specrun.compiler.schema.constraints import strict_schema
from specrun.compiler.schema.editor import editor_schema
from specrun.compiler.schema.emit import EDITOR_FILE, PLAN_FILE, STRICT_FILE, emit, stale
from specrun.spec.annotations import fields_of
from specrun.spec.experiment import Experiment
from specrun.spec.files import preset_names
from specrun.spec.shapes import Kinds, ListOf, shape_of, without_null
from specrun.spec.source import read_text
from specrun.spec.tree import Texts, plain
from specrun.spec.words.losses import InfoNCELoss

EDITOR: dict[str, Any] = editor_schema(Experiment, "specrun experiment")
STRICT: dict[str, Any] = strict_schema(Experiment, "specrun")
Node = tuple[tuple[str, ...], dict[str, Any]]


def nodes(schema: Any, path: tuple[str, ...] = ()) -> Iterator[Node]:
    """Every subschema with its path; the names under `properties` and `definitions` are no keywords."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from nodes(item, (*path, str(index)))
    if not isinstance(schema, dict):
        return
    if path[-1:] not in (("properties",), ("definitions",)):
        yield path, schema
    for key, value in schema.items():
        if key not in ("defaultSnippets", "examples", "enum", "default", "required"):
            yield from nodes(value, (*path, key))


def unions() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in EDITOR["definitions"].items():
        if "enum" in schema.get("properties", {}).get("kind", {}):
            yield name, schema


def test_the_checked_in_files_are_what_the_types_say() -> None:
    assert stale() == (), "run: python -m specrun.compiler.schema --write"


def test_the_command_says_whether_they_are() -> None:
    done = subprocess.run([sys.executable, "-m", "specrun.compiler.schema"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("name", [EDITOR_FILE, STRICT_FILE, PLAN_FILE])
def test_each_is_a_valid_draft_7_schema(name: str) -> None:
    schema = json.loads(emit()[name])
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["title"]
    for path, node in nodes(schema):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/definitions/") in schema["definitions"], path


def test_unions_are_an_open_base_with_one_branch_per_kind() -> None:
    found = dict(unions())
    assert set(found) == {"model", "tokenizer", "data", "validation", "losses", "optimizer",
                          "schedule", "validation_FractionValidation", "tracking", "negatives", "teacher", "text", "image", "embedding"}  # fmt: skip
    for name, schema in found.items():
        kinds = schema["properties"]["kind"]["enum"]
        assert "additionalProperties" not in schema, name
        assert len(schema["properties"]["kind"]["enumDescriptions"]) == len(kinds)
        *branches, absent = schema["allOf"]
        for kind, branch in zip(kinds, branches, strict=True):
            condition = branch["if"]
            assert condition["type"] == "object"
            assert condition["required"] == ["kind"]
            assert condition["properties"]["kind"] == {"const": kind}
            variant = EDITOR["definitions"][branch["then"]["$ref"].split("/")[-1]]
            assert variant["additionalProperties"] is False
            assert variant["properties"]["kind"]["const"] == kind
            assert variant["title"] == kind
        assert absent["else"]["type"] == "object"
        labels = [snippet["label"] for snippet in absent["else"]["defaultSnippets"]]
        assert labels == kinds


def test_snippets_hold_what_a_kind_cannot_do_without() -> None:
    [bert] = [
        s
        for s in EDITOR["definitions"]["model"]["allOf"][-1]["else"]["defaultSnippets"]
        if s["label"] == "bert"
    ]
    assert bert["body"] == {"kind": "bert", "name_or_path": "${1:models/all-MiniLM-L6-v2}"}


def test_keys_of_a_variant_come_before_those_all_share() -> None:
    properties = list(EDITOR["definitions"]["InfoNCELoss"]["properties"])
    own = [info.name for info in fields_of(InfoNCELoss)]
    assert properties[: len(own)] == own
    assert own[-2:] == ["name", "weight"]


def test_shapes_that_editors_serve_badly_are_absent() -> None:
    for path, node in nodes(EDITOR):
        where = "/".join(path)
        assert "oneOf" not in node, where
        assert node.get("enum") != [], where
        assert "discriminator" not in node, where
        assert "deprecated" not in node, where
        assert node.get("default", 0) is not None, where
        if len(path) >= 2 and path[-2] == "properties":
            assert "title" not in node, where
            assert "$ref" not in node, where
        if "if" in node and "then" in node and "not" not in node["if"]:
            assert node["if"]["type"] == "object", where


def test_nullable_sections_look_inside_only_when_there_is_something() -> None:
    for name in ("lora", "matryoshka", "curriculum", "evaluation", "tokenizer"):
        field = EDITOR["properties"][name]
        assert field["type"] == ["object", "null"]
        [branch] = field["allOf"]
        assert branch["if"] == {"type": "object"}


def test_sections_demand_nothing_and_the_root_only_without_extends() -> None:
    assert "required" not in EDITOR
    assert "required" not in EDITOR["definitions"]["Lora"]
    assert "required" not in EDITOR["definitions"]["model"]
    assert EDITOR["definitions"]["Stage"]["required"] == ["name"]
    assert EDITOR["definitions"]["losses"]["required"] == ["kind"]
    always, unpicked = EDITOR["allOf"]
    assert always["if"] == {"not": {"required": ["extends"]}}
    assert set(always["then"]["required"]) == {"version", "model", "data"}
    assert unpicked["then"]["required"] == ["losses"]


def test_every_field_says_its_meaning_default_and_range() -> None:
    for path, node in nodes(EDITOR):
        if len(path) >= 2 and path[-2] == "properties" and path[0] != "allOf":
            if node.get("doNotSuggest") or path[-1] == "kind" or "if" in path:
                continue
            assert node.get("description"), path
            assert node["markdownDescription"].startswith(node["description"]), path
    rate = EDITOR["definitions"]["AdamW"]["properties"]["learning_rate"]
    assert "> 0, ≤ 100; default `0.0001`." in rate["markdownDescription"]
    bound = EDITOR["definitions"]["Evaluation"]["properties"]["every_steps"]
    assert "in steps; default `null`" in bound["markdownDescription"]


def test_renamed_keys_are_refused_with_the_right_name_and_not_offered() -> None:
    for old, known in FOREIGN.items():
        node = EDITOR["properties"][old]
        assert node["doNotSuggest"] is True
        assert node["errorMessage"] == known.message(old)
    assert "r" in EDITOR["definitions"]["Lora"]["properties"]
    assert "scale" in EDITOR["definitions"]["InfoNCELoss"]["properties"]
    assert "r" not in EDITOR["definitions"]["Train"]["properties"]


def test_kinds_of_the_schema_are_kinds_of_the_types() -> None:
    found = {name: schema["properties"]["kind"]["enum"] for name, schema in unions()}
    for info in fields_of(Experiment):
        shape = without_null(shape_of(info.type))
        shape = shape.item if isinstance(shape, ListOf) else shape
        if isinstance(shape, Kinds):
            assert found[info.name] == list(shape.variants)


def as_json(text: str) -> Any:
    tree = read_text(text, "x", Texts()).tree
    assert tree is not None
    return plain(tree)


def test_what_specrun_writes_fits_the_editor_schema() -> None:
    from specrun.spec.files import packaged_preset

    texts = [template()]
    for name in preset_names():
        path = packaged_preset(name)
        assert path is not None
        texts.append(path.read_text(encoding="utf-8"))
        assert texts[-1].startswith("# yaml-language-server: $schema=../../schemas/")
    for text in texts:
        assert list(Draft7Validator(EDITOR).iter_errors(as_json(text))) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("version: 1\nmodel: {kind: bert}\ndata: {kind: jsonl, path: a}\nlosses: []\n", 2),
        ("version: 1\nmodel: {name_or_path: b}\ndata: {kind: jsonl, path: a}\n", 0),
        ("version: 1\nmodel: {kind: clip, name_or_path: b}\ndata: {kind: jsonl, path: a}\n", 0),
        ("version: 1\nmodel: {kind: bert, name_or_path: b}\ndata: {kind: jsonl, path: a}\n", 1),
        ("version: 1\nmodel: {}\ndata: {kind: jsonl, path: a}\n", 2),
        ("extends: []\nmodel: {kind: bert}\n", 0),
        ("extends: []\nlosses: [{weight: 1}]\n", 1),
        ("extends: []\nlora: null\nevaluation: {early_stopping: null}\n", 0),
        ("extends: []\nlora: {rank: 0, x: 1}\n", 2),
        ("extends: []\noptimizer: {learning_rate: 1}\n", 0),
        ("extends: []\noptimizer: {learning_rat: 1}\n", 1),
        ("extends: []\nschedule: {kind: linear, min_learning_rate: 1}\n", 1),
        ("extends: []\ntrain: {epochs: null, batch_size: null}\n", 1),
        ("extends: []\n$schema: x\n", 0),
    ],
)
def test_the_editor_schema_judges_what_it_can(text: str, wrong: int) -> None:
    assert len(list(Draft7Validator(EDITOR).iter_errors(as_json(text)))) == wrong


def test_the_strict_schema_demands_everything_required() -> None:
    errors = Draft7Validator(STRICT).iter_errors({"model": {"kind": "bert"}})
    missing = {e.message for e in errors if e.validator == "required"}
    assert {"'name_or_path' is a required property", "'data' is a required property"} <= missing


def test_a_plan_fits_its_schema_and_a_changed_one_does_not() -> None:
    from specrun.spec.codec import to_plain
    from tests.runtime.plans import make_plan

    validator = Draft7Validator(json.loads(emit()[PLAN_FILE]))
    plain_plan = json.loads(json.dumps(to_plain(make_plan())))
    assert [e.message for e in validator.iter_errors(plain_plan)] == []
    plain_plan["train"]["unknown"] = 1
    del plain_plan["model"]
    assert {e.validator for e in validator.iter_errors(plain_plan)} == {
        "additionalProperties",
        "required",
    }
