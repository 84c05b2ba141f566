"""schemas/README.md: current, complete, with examples that fit, and with links that lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from specrun.cli import main
from specrun.compiler.schema.constraints import parts, strict_schema
from specrun.compiler.schema.emit import REFERENCE_FILE, emit, schema_folder
from specrun.compiler.schema.reference import _anchor, example, reference
from specrun.spec.annotations import FieldInfo, fields_of
from specrun.spec.experiment import Experiment
from specrun.spec.shapes import Kinds, Section, shape_of

TEXT = reference(Experiment)
STRICT = strict_schema(Experiment, "specrun")


def classes(cls: type = Experiment) -> Iterator[type]:
    yield cls
    for info in fields_of(cls):
        for shape in parts(shape_of(info.type)):
            below = shape.variants.values() if isinstance(shape, Kinds) else ()
            for section in (shape.cls,) if isinstance(shape, Section) else below:
                yield from classes(section)


FIELDS: dict[str, tuple[type, FieldInfo]] = {
    f"{cls.__name__}.{info.name}": (cls, info) for cls in classes() for info in fields_of(cls)
}


def test_the_checked_in_file_is_what_the_types_say_and_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(schema_folder()) / REFERENCE_FILE
    assert path.read_text(encoding="utf-8") == TEXT == emit()[REFERENCE_FILE], (
        "run: python -m specrun.compiler.schema --write"
    )
    assert main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out == TEXT
    assert main(["schema", "--markdown", "--plan"]) == 2
    assert reference(Experiment) == TEXT


@pytest.mark.parametrize("name", FIELDS)
def test_every_key_has_a_row_with_its_facts(name: str) -> None:
    cls, info = FIELDS[name]
    rows = [line for line in TEXT.splitlines() if line.startswith(f"| `{info.name}` |")]
    assert any(_tells(row, info) for row in rows), rows
    assert cls.__doc__


def _tells(row: str, info: FieldInfo) -> bool:
    fact = info.fact
    bounds = (("≥", fact.ge), (">", fact.gt), ("≤", fact.le), ("<", fact.lt))
    wanted = [fact.doc.replace("|", "\\|"), f"| {fact.klass} |", f"`{info.name}: "]
    wanted += [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
    wanted += [f"| {fact.unit} |"] if fact.unit else []
    wanted += [f"| `{fact.when[0]}` is"] if fact.when else []
    wanted += ["| required |"] if info.required else []
    return all(word in row for word in wanted)


@pytest.mark.parametrize("name", FIELDS)
def test_every_example_fits_its_key(name: str) -> None:
    cls, info = FIELDS[name]
    root = STRICT if cls is Experiment else STRICT["definitions"][cls.__name__]
    rule = {**root["properties"][info.name], "definitions": STRICT["definitions"]}
    assert list(Draft7Validator(rule).iter_errors(_plain(example(info)))) == []


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_every_printed_example_is_yaml_for_its_key() -> None:
    found = 0
    for line in TEXT.splitlines():
        if line.startswith("| `") and (key := re.match(r"\| `(\w+)` \|", line)):
            for text in re.findall(rf"`({key[1]}: [^`]*)`", line.rsplit(" | ", 1)[-1]):
                assert list(yaml.load(text, yaml.BaseLoader)) == [key[1]], line
                found += 1
    assert found >= len({info.name for _, info in FIELDS.values()})


def test_every_link_leads_to_a_heading() -> None:
    headings = [line[3:] for line in TEXT.splitlines() if line.startswith("## ")]
    anchors = [_anchor(h) for h in headings]
    assert len(anchors) == len(set(anchors))
    targets = re.findall(r"\]\(#([^)]*)\)", TEXT)
    assert set(targets) == set(anchors) - {"contents"}


def test_tables_are_whole() -> None:
    """Every row of a table has as many cells as its head."""
    width = 0
    for line in TEXT.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (cells and width and cells != width), line
        width = cells
