"""What a field's shape and facts demand, in the words of JSON Schema draft-07."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.spec.annotations import Fact, fields_of
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
    field_shapes,
    without_null,
)

JSON_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
}
DRAFT = "http://json-schema.org/draft-07/schema#"
Json = dict[str, Any]


def bounds(fact: Fact) -> Json:
    """The range of a number."""
    words = {
        "minimum": fact.ge,
        "exclusiveMinimum": fact.gt,
        "maximum": fact.le,
        "exclusiveMaximum": fact.lt,
    }
    return {word: value for word, value in words.items() if value is not None}


def leaf(shape: Simple | Words, fact: Fact) -> Json:
    """A value without parts."""
    if isinstance(shape, Words):
        return {"type": word_type(shape), "enum": list(shape.values)}
    schema: Json = {"type": JSON_TYPES[shape.type]}
    if shape.type in (int, float):
        schema |= bounds(fact)
    if shape.type is str and fact.pattern:
        schema["pattern"] = fact.pattern
    return schema


def word_type(shape: Words) -> str:
    return JSON_TYPES[type(shape.values[0])]


def list_bounds(fact: Fact) -> Json:
    """Length and uniqueness of a list."""
    schema: Json = {}
    if fact.min_items is not None:
        schema["minItems"] = fact.min_items
        if fact.min_items > 1 and fact.examples:  # for who gave too few
            schema["examples"] = [list(example) for example in fact.examples]
    if fact.unique:
        schema["uniqueItems"] = True
    return schema


def nullable(schema: Json) -> Json:
    """A leaf or list, or null."""
    schema = schema | {"type": [schema["type"], "null"]}
    return schema | {"enum": [*schema["enum"], None]} if "enum" in schema else schema


def described(schema: Json, fact: Fact) -> Json:
    """The schema with the field's meaning; beside a bare ``$ref`` it would not be read."""
    if not fact.doc:
        return schema
    schema = {"allOf": [schema]} if "$ref" in schema else schema
    return {"description": fact.doc} | schema


def chosen(kind: str, then: Json) -> Json:
    """``then`` for mappings of one kind. Without the type, a null would match every kind."""
    return {
        "if": {"type": "object", "required": ["kind"], "properties": {"kind": {"const": kind}}},
        "then": then,
    }


def word_or(values: list[Any], section: Json) -> Json:
    """A mapping, or one of some constants; a misfit is told by the rule of the arm that was meant."""
    kinds = ["string", "object", *(["null"] if None in values else [])]
    words = {"enum": values}
    return {"type": kinds, "if": {"type": "object"}, "then": section, "else": words}


def ref(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}


def unions_of(cls: type) -> dict[tuple[str, ...], str]:
    """A name for every union below a dataclass: that of the first field which holds it."""
    names: dict[tuple[str, ...], str] = {}
    for name, shape in _walk(cls, set()):
        if isinstance(shape, Kinds):
            key = tuple(variant.__name__ for variant in shape.variants.values())
            taken = set(names.values())
            unique = name if name not in taken else f"{name}_{key[0]}"
            names.setdefault(key, unique)
    return names


def _walk(cls: type, seen: set[type]) -> Iterator[tuple[str, Shape]]:
    if cls in seen:
        return
    seen.add(cls)
    for name, held in field_shapes(cls).items():
        for shape in parts(held):
            yield name, shape
            below = shape.variants.values() if isinstance(shape, Kinds) else ()
            for variant in (shape.cls,) if isinstance(shape, Section) else below:
                yield from _walk(variant, seen)


def parts(shape: Shape) -> Iterator[Shape]:
    """A shape and the shapes inside its lists, mappings and alternatives."""
    yield shape
    match shape:
        case Nullable(inner) | ListOf(inner) | MapOf(inner):
            yield from parts(inner)
        case Row(arms) | Either(arms):
            for arm in arms:
                yield from parts(arm)
        case WordOr(words, section):
            yield from (words, section)
        case _:
            pass


@dataclass
class Strict:
    """Emits the schema that a merged tree, all defaults filled in, must fit: rules and nothing else."""

    unions: Mapping[tuple[str, ...], str]
    definitions: dict[str, Json] = field(default_factory=dict[str, Json])

    def shape(self, shape: Shape, fact: Fact) -> Json:
        match shape:
            case Simple() | Words():
                return leaf(shape, fact)
            case Nullable(inner):
                return self.nullable(inner, fact)
            case ListOf(item):
                return {"type": "array", "items": self.shape(item, fact)} | list_bounds(fact)
            case MapOf(value):
                return {"type": "object", "additionalProperties": self.shape(value, fact)}
            case Section() | Kinds():
                return ref(self.define(shape))
            case WordOr(words, section):
                return word_or(list(words.values), ref(self.define(section)))
            case _:
                return self.loose(shape, fact)

    def loose(self, shape: Shape, fact: Fact) -> Json:
        """Shapes that only a plan has."""
        match shape:
            case Row(items):
                rows = [self.shape(item, fact) for item in items]
                size = {"minItems": len(rows), "maxItems": len(rows)}
                return {"type": "array", "items": rows} | size
            case Either(arms):
                return {"anyOf": [self.shape(arm, fact) for arm in arms]}
            case _:
                return {}

    def nullable(self, inner: Shape, fact: Fact) -> Json:
        schema = self.shape(inner, fact)
        if isinstance(inner, (Section, Kinds)):
            then = {"if": {"type": "object"}, "then": schema}
            return {"type": ["object", "null"], "allOf": [then]}
        if isinstance(inner, WordOr):
            return word_or([*inner.words.values, None], ref(self.define(inner.section)))
        if isinstance(inner, (Anything, Either)):
            return {"anyOf": [schema, {"type": "null"}]}
        return nullable(schema)

    def define(self, shape: Section | Kinds) -> str:
        if isinstance(shape, Section):
            return self.section(shape.cls)
        name = self.unions[tuple(v.__name__ for v in shape.variants.values())]
        if name not in self.definitions:
            self.definitions[name] = {}
            kinds = list(shape.variants)
            self.definitions[name] = {
                "type": "object",
                "properties": {"kind": {"type": "string", "enum": kinds}},
                "required": ["kind"],
                "allOf": [chosen(k, ref(self.section(v))) for k, v in shape.variants.items()],
            }
        return name

    def section(self, cls: type) -> str:
        if cls.__name__ not in self.definitions:
            self.definitions[cls.__name__] = {}
            self.definitions[cls.__name__] = self.body(cls)
        return cls.__name__

    def body(self, cls: type) -> Json:
        properties: Json = {}
        for info in fields_of(cls):
            shape = field_shapes(cls)[info.name]
            is_tag = info.name == "kind" and isinstance(without_null(shape), Words)
            properties[info.name] = (
                {"const": shape.values[0]}
                if is_tag and isinstance(shape, Words)
                else described(self.shape(shape, info.fact), info.fact)
            )
        schema: Json = {
            "title": cls.__name__,
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        required = [i.name for i in fields_of(cls) if i.required or i.name == "kind"]
        return schema | ({"required": required} if required else {})


def strict_schema(cls: type, title: str) -> Json:
    """The schema of a complete ``cls``."""
    emitter = Strict(unions_of(cls))
    body = emitter.body(cls)
    definitions = dict(sorted(emitter.definitions.items()))
    return {"$schema": DRAFT} | body | {"title": title, "definitions": definitions}
