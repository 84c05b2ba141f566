"""schemas/README.md: every key of the spec in tables, made from the types alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, assert_never

from specrun.compiler.schema.spoken import limits, yaml_of
from specrun.spec.annotations import Fact, FieldClass, FieldInfo, fields_of
from specrun.spec.codec import to_plain
from specrun.spec.shapes import (
    Anything,
    Either,
    Kinds,
    ListOf,
    MapOf,
    Nullable,
    Row,
    Section,
    Shape,
    Simple,
    WordOr,
    Words,
    shape_of,
    without_null,
)

_HEAD = """\
# The spec, key by key

Made from `spec/experiment.py` and `spec/words/` by `python -m specrun.compiler.schema --write`, and printed by `specrun schema --markdown`; do not
edit it. Beside it lie the JSON Schemas: `experiment.schema.json` for editors, `experiment.strict.schema.json` for the
merged spec, `plan.schema.json` for plan.json.

A key without a default is required. *Class* says what a change of the key does to a run: `semantic` shapes the
numbers, so another run begins; `horizon` shapes the length, and a run goes on under it with `--extend`; `throughput`
shapes speed and memory, and a run goes on; `cosmetic` shapes looks and places. *When* names what must hold for the
key to have an effect; set otherwise, it is refused. A mapping with several kinds says by `kind` which it is.
"""
_COLUMNS = ("key", "type", "range", "unit", "default", "class", "meaning", "when", "example")
_WORDS: Mapping[type, str] = {bool: "bool", int: "int", float: "float", str: "text"}


class _Place(NamedTuple):
    """A mapping of the spec: its path, its kind where it has one, its type, and the mapping's own class.

    ``owner`` is the kind of the mapping around it, which tells it from another at the same path.
    """

    path: str
    kind: str | None
    cls: type
    klass: FieldClass
    kinds: int
    owner: str | None = None

    @property
    def title(self) -> str:
        path = self.path or "the root"
        path = path if self.owner is None else f"{path} in kind {self.owner}"
        return path if self.kind is None else f"{path}, kind {self.kind}"


def reference(cls: type) -> str:
    """The whole file for the spec's root type."""
    places = list(_places(cls))
    contents = [f"- [{p.title}](#{_anchor(p.title)}){_brief(p.cls)}" for p in places]
    sections = [_section(place, places) for place in places]
    return "\n".join([_HEAD, "## Contents", "", *contents, "", *sections]).rstrip() + "\n"


def _places(cls: type) -> Iterator[_Place]:
    """Every mapping in the order of the file; one that several kinds share is told once, at its first place."""
    seen: set[type] = set()
    titles: set[str] = set()
    waiting = [_Place("", None, cls, "semantic", 1)]
    while waiting:
        place = waiting.pop(0)
        if place.cls in seen:
            continue
        seen.add(place.cls)
        bare = place._replace(owner=None)
        yield place if bare.title in titles else bare
        titles.add(bare.title)
        waiting = [*_below(place), *waiting]


def _below(place: _Place) -> Iterator[_Place]:
    for info in fields_of(place.cls):
        path = f"{place.path}.{info.name}".lstrip(".")
        shape = without_null(shape_of(info.type))
        while isinstance(shape, (ListOf, MapOf)):
            path += "[]" if isinstance(shape, ListOf) else ".NAME"
            shape = without_null(shape.item if isinstance(shape, ListOf) else shape.value)
        if isinstance(shape, WordOr):
            shape = shape.section
        if isinstance(shape, Section):
            yield _Place(path, None, shape.cls, info.fact.klass, 1, place.kind)
        elif isinstance(shape, Kinds):
            for kind, variant in shape.variants.items():
                yield _Place(path, kind, variant, info.fact.klass, len(shape.variants))


def _section(place: _Place, places: list[_Place]) -> str:
    rows = [_row(info, place, places) for info in fields_of(place.cls)]
    used = [
        i
        for i, name in enumerate(_COLUMNS)
        if name in ("key", "type", "meaning") or any(r[i] for r in rows)
    ]
    lines = [
        f"## {place.title}",
        "",
        _doc(place.cls),
        "",
        "| " + " | ".join(_COLUMNS[i] for i in used) + " |",
        "|" + " --- |" * len(used),
        *("| " + " | ".join(row[i] for i in used) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def _row(info: FieldInfo, place: _Place, places: list[_Place]) -> tuple[str, ...]:
    fact, shape = info.fact, shape_of(info.type)
    return (
        f"`{info.name}`",
        _type(shape, places),
        _range(fact, shape),
        fact.unit or "",
        _default(info),
        fact.klass,
        _cell(fact.doc),
        _when(fact),
        "<br>".join(f"`{info.name}: {yaml_of(e)}`" for e in fact.examples or (example(info),)),
    )


def _type(shape: Shape, places: list[_Place]) -> str:
    match shape:
        case Simple(kind):
            return _WORDS[kind]
        case Words(values):
            return "<br>".join(f"`{yaml_of(v)}`" for v in values)
        case ListOf(item):
            return f"list of {_type(item, places)}"
        case MapOf(value):
            return f"mapping of names to {_type(value, places)}"
        case Nullable(inner):
            return f"{_type(inner, places)}{'<br>`null`' if isinstance(inner, Words) else ' or `null`'}"
        case Section(cls):
            return _link(cls, places, "mapping")
        case Kinds(variants):
            return "<br>".join(_link(cls, places, kind) for kind, cls in variants.items())
        case WordOr(words, section):
            return f"{_type(words, places)}<br>{_type(section, places)}"
        case Either(arms) | Row(arms):
            return " or ".join(_type(arm, places) for arm in arms)
        case Anything():
            return "anything"
        case _:
            assert_never(shape)


def _link(cls: type, places: list[_Place], text: str) -> str:
    title = next((p.title for p in places if p.cls is cls), None)
    return text if title is None else f"[{text}](#{_anchor(title)})"


def _anchor(title: str) -> str:
    """What code hosts make of a heading: lower case, no punctuation but hyphens and underscores, hyphens for spaces."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _range(fact: Fact, shape: Shape) -> str:
    said = [*limits(fact)]
    if fact.min_items is not None:
        said.append(f"at least {fact.min_items} item" + ("" if fact.min_items == 1 else "s"))
    if fact.unique:
        said.append("no item twice")
    if fact.pattern:
        said.append(f"`{_cell(fact.pattern)}`")
    each = isinstance(without_null(shape), (ListOf, MapOf)) and limits(fact)
    return ("each " if each else "") + ", ".join(said)


def _default(info: FieldInfo) -> str:
    if info.required:
        return "required"
    if dataclasses.is_dataclass(info.default):
        kind = getattr(info.default, "kind", None)
        return f"`{{kind: {kind}}}`" if kind else "its defaults"
    return f"`{yaml_of(info.default)}`"


def _when(fact: Fact) -> str:
    if fact.when is None:
        return ""
    name, values = fact.when
    words = "above 0" if values == "positive" else " or ".join(f"`{v}`" for v in values)
    return f"`{name}` is {words}"


def _doc(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split()).replace("``", "`")


def _brief(cls: type) -> str:
    return f": {_doc(cls).split('. ')[0].rstrip('.')}"


def example(info: FieldInfo) -> Any:
    """A value that a user may write: the type's own example, the default, or one that fits type and range."""
    if info.fact.examples:
        return info.fact.examples[0]
    if (
        not info.required
        and info.default not in (None, ())
        and not dataclasses.is_dataclass(info.default)
    ):
        return to_plain(info.default)
    return _sample(without_null(shape_of(info.type)), info.fact)


def _sample(shape: Shape, fact: Fact) -> Any:
    match shape:
        case Simple(kind):
            return _number(kind, fact) if kind in (int, float) else kind()
        case Words(values):
            return values[0]
        case WordOr(words):
            return words.values[0]
        case ListOf(item):
            return [_sample(item, fact)]
        case MapOf(value):
            return {"infonce": _sample(value, fact)}
        case Section(cls):
            return _smallest(cls)
        case Kinds(variants):
            return _smallest(next(iter(variants.values())))
        case _:
            return None


def _number(kind: type, fact: Fact) -> int | float:
    least = fact.ge if fact.ge is not None else fact.gt
    if kind is int:
        return {"rows": 32, "steps": 500}.get(fact.unit or "", int(least or 1))
    return 0.1 if 1 in (fact.le, fact.lt) else (least or 1.0)


def _smallest(cls: type) -> dict[str, Any]:
    """The kind, and what cannot be left out."""
    return {i.name: example(i) for i in fields_of(cls) if i.required or i.name == "kind"}


def _cell(text: str) -> str:
    """Text inside a table: a bar would end the cell."""
    return text.replace("|", "\\|")
