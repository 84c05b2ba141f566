"""The schema for editors: completion, hovers and messages, in the shapes that yaml-language-server serves best.

A preset may supply what a file leaves out, so sections here demand nothing by themselves. Their required keys
are asked for at the root, and only where ``extends`` is absent; those that presets of models set only where no
preset can be picked by the model's name. Items of lists are whole, so theirs stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.compiler.foreign.foreign import Foreign
from specrun.compiler.foreign.table import FOREIGN, MISPLACED
from specrun.compiler.presets import PICKS
from specrun.compiler.schema.constraints import (
    DRAFT,
    Json,
    chosen,
    leaf,
    list_bounds,
    nullable,
    parts,
    ref,
    unions_of,
    word_or,
)
from specrun.compiler.schema.spoken import limits, yaml_of
from specrun.spec.annotations import Fact, FieldInfo, fields_of
from specrun.spec.codec import to_plain
from specrun.spec.shapes import (
    Either,
    Kinds,
    ListOf,
    MapOf,
    Nullable,
    Section,
    Shape,
    Simple,
    WordOr,
    Words,
    shape_of,
    without_null,
)

_SCHEMA_KEY: Json = {
    "type": "string",
    "description": "Path of this schema, for editors that read it here.",
    "doNotSuggest": True,
}


_PICKABLE: Json = {
    "required": ["model"],
    "properties": {
        "model": {
            "type": "object",
            "required": ["name_or_path"],
            "properties": {"kind": {"enum": ["auto", *(p.kind for p in PICKS)]}},
        }
    },
}
"""A model for which a preset may be picked: its name may be of a directory, so only its kind can rule that out."""


_NO_VALUE = "see the message at this key"
"""What an editor may offer as the value of a key that is refused."""


def editor_schema(cls: type, title: str) -> Json:
    """The schema that a spec's modeline names."""
    emitter = Editor(unions_of(cls), frozenset(_in_lists(cls)))
    root = emitter.body(cls, "", required=False)
    root["properties"] |= {"$schema": _SCHEMA_KEY}
    always, unpicked = _split(_demands(Section(cls), None))
    demands = [
        {"if": {"not": {"required": ["extends"]}}, "then": always},
        {"if": {"not": {"anyOf": [{"required": ["extends"]}, _PICKABLE]}}, "then": unpicked},
    ]
    definitions = dict(sorted(emitter.definitions.items()))
    head: Json = {"$schema": DRAFT, "title": title, "type": "object"}
    return head | root | {"allOf": demands, "definitions": definitions}


@dataclass
class Editor:
    """Emits definitions; ``in_lists`` are the dataclasses that occur only below a list."""

    unions: Mapping[tuple[str, ...], str]
    in_lists: frozenset[type]
    definitions: dict[str, Json] = field(default_factory=dict[str, Json])

    def field(self, info: FieldInfo, path: str) -> Json:
        """One key: its shape, what it means, and its default."""
        shape = shape_of(info.type)
        schema = self.shape(shape, info.fact, f"{path}.{info.name}".lstrip("."), info.default)
        about = {"description": info.fact.doc, "markdownDescription": _markdown(info)}
        return _type_first(schema, about | _default(info) | _examples(info))

    def shape(self, shape: Shape, fact: Fact, path: str, default: Any) -> Json:
        match shape:
            case Simple() | Words():
                return leaf(shape, fact) | _word_docs(shape, fact)
            case Nullable(inner):
                return self.nullable(inner, fact, path)
            case ListOf(item):
                items = self.shape(item, fact, f"{path}[]", dataclasses.MISSING)
                return {"type": "array", "items": items} | list_bounds(fact)
            case MapOf(value):
                values = self.shape(value, fact, path, dataclasses.MISSING)
                return {"type": "object", "additionalProperties": values}
            case Section() | Kinds():
                name = self.define(shape, path, default)
                return {"type": "object", "allOf": [ref(name)]}
            case WordOr(words, section):
                return self.word_or(words, section, list(words.values), fact, path)
            case Either(arms):
                return {"anyOf": [self.arm(arm, fact, path) for arm in arms]}
            case _:
                return {}

    def nullable(self, inner: Shape, fact: Fact, path: str) -> Json:
        if isinstance(inner, (Section, Kinds)):
            name = self.define(inner, path, dataclasses.MISSING)
            then = {"if": {"type": "object"}, "then": ref(name)}
            return {"type": ["object", "null"], "allOf": [then]}
        if isinstance(inner, WordOr):
            values = [*inner.words.values, None]
            return self.word_or(inner.words, inner.section, values, fact, path)
        if isinstance(inner, Either):
            arms = [self.arm(arm, fact, path) for arm in inner.arms]
            return {"anyOf": [*arms, {"type": "null"}]}
        return nullable(self.shape(inner, fact, path, dataclasses.MISSING))

    def word_or(
        self, words: Words, section: Section, values: list[Any], fact: Fact, path: str
    ) -> Json:
        """The words as snippets too: an editor does not look for values below a condition."""
        docs = fact.enum_docs or ("",) * len(words.values)
        snippets = [
            {"label": word, "description": doc, "body": word}
            for word, doc in zip(words.values, docs, strict=True)
        ]
        schema = word_or(values, ref(self.section(section.cls, path)))
        return schema | {"defaultSnippets": snippets}

    def arm(self, shape: Shape, fact: Fact, path: str) -> Json:
        schema = self.shape(shape, fact, path, dataclasses.MISSING)
        words = schema.get("enum") or schema.get("type")
        return schema | {"errorMessage": f"must be {words}"}

    def define(self, shape: Section | Kinds, path: str, default: Any) -> str:
        if isinstance(shape, Section):
            return self.section(shape.cls, path)
        name = self.unions[tuple(v.__name__ for v in shape.variants.values())]
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self.union(shape, path, default)
        return name

    def union(self, shape: Kinds, path: str, default: Any) -> Json:
        """An open base with the ``kind``, one closed variant per kind, and snippets while it is absent."""
        docs = {kind: _kind_doc(cls) for kind, cls in shape.variants.items()}
        kind: Json = {
            "type": "string",
            "enum": list(docs),
            "enumDescriptions": list(docs.values()),
            "description": "Which one it is.",
            "markdownDescription": "Which one it is:\n\n"
            + "\n".join(f"- `{name}`: {doc}" for name, doc in docs.items()),
        }
        branches = [chosen(k, ref(self.section(v, path))) for k, v in shape.variants.items()]
        absent: Json = {"type": "object", "defaultSnippets": _snippets(shape)}
        own = next((v for v in shape.variants.values() if isinstance(default, v)), None)
        if own is not None:
            absent = {"type": "object", "allOf": [ref(self.section(own, path))]} | absent
        no_kind = {"if": {"type": "object", "required": ["kind"]}, "else": absent}
        in_list = all(v in self.in_lists for v in shape.variants.values())
        needs: Json = {"required": ["kind"]} if in_list else {}
        base: Json = {"properties": {"kind": kind}}
        return base | needs | {"allOf": [*branches, no_kind]}

    def section(self, cls: type, path: str) -> str:
        if cls.__name__ not in self.definitions:
            self.definitions[cls.__name__] = {}
            self.definitions[cls.__name__] = self.body(cls, path, required=cls in self.in_lists)
        return cls.__name__

    def body(self, cls: type, path: str, *, required: bool) -> Json:
        properties: Json = {}
        title: Json = {}
        for info in fields_of(cls):
            shape = without_null(shape_of(info.type))
            if info.name == "kind" and isinstance(shape, Words):
                properties["kind"] = {"const": shape.values[0], "description": info.fact.doc}
                title = {"title": shape.values[0]}
            else:
                properties[info.name] = self.field(info, path)
        properties |= _renamed(path, set(properties))
        needed = [i.name for i in fields_of(cls) if i.required]
        demand: Json = {"required": needed} if required and needed else {}
        doc = (cls.__doc__ or "").strip().partition("\n")[0]
        head: Json = title | {"description": doc}
        return head | {"properties": properties, "additionalProperties": False} | demand


def _type_first(schema: Json, about: Json) -> Json:
    first = {"type": schema["type"]} if "type" in schema else {}
    return first | about | schema


def _default(info: FieldInfo) -> Json:
    """The default, where completion may write it out; never null, which would be offered as a value."""
    plain = None if info.required else to_plain(info.default)
    return {"default": plain} if isinstance(plain, (bool, int, float, str)) else {}


def _examples(info: FieldInfo) -> Json:
    return {"examples": to_plain(info.fact.examples)} if info.fact.examples else {}


def _word_docs(shape: Simple | Words, fact: Fact) -> Json:
    if isinstance(shape, Words) and len(fact.enum_docs) == len(shape.values):
        return {"enumDescriptions": list(fact.enum_docs)}
    return {}


def _markdown(info: FieldInfo) -> str:
    """Hovers show neither defaults nor ranges, so the description says them."""
    fact = info.fact
    said = [", ".join(limits(fact))] if limits(fact) else []
    said += [f"in {fact.unit}"] if fact.unit else []
    if info.required:
        said.append("required")
    elif not dataclasses.is_dataclass(info.default):
        said.append(f"default `{_shown(info.default)}`")
    if fact.when:
        name, values = fact.when
        words = "is above 0" if values == "positive" else f"is {_words(values)}"
        said.append(f"only when `{name}` {words}")
    if fact.examples:
        said.append("for example " + ", ".join(f"`{_shown(e)}`" for e in fact.examples))
    sentence = "; ".join(said)
    return fact.doc + (f"\n\n{sentence[0].upper()}{sentence[1:]}." if said else "")


def _words(values: tuple[Any, ...] | str) -> str:
    return " or ".join(f"`{_shown(v)}`" for v in values)


def _shown(value: Any) -> str:
    """A value in a sentence: a text as it is."""
    return value if isinstance(value, str) else yaml_of(value)


def _kind_doc(cls: type) -> str:
    return next(info.fact.doc for info in fields_of(cls) if info.name == "kind")


def _snippets(shape: Kinds) -> list[Json]:
    """One ready item per kind: the kind and what it cannot do without."""
    return [
        {
            "label": kind,
            "description": _kind_doc(cls),
            "body": {"kind": kind} | _placeholders(cls),
        }
        for kind, cls in shape.variants.items()
    ]


def _placeholders(cls: type) -> Json:
    needed = [info for info in fields_of(cls) if info.required and info.name != "kind"]
    return {info.name: _placeholder(info, f"${{{n}:", n) for n, info in enumerate(needed, 1)}


def _placeholder(info: FieldInfo, opening: str, number: int) -> Any:
    example = info.fact.examples[0] if info.fact.examples else info.name
    if isinstance(example, tuple):
        return [f"{opening}{yaml_of(example[0])}}}"]  # pyright: ignore[reportUnknownArgumentType]
    return f"{opening}{yaml_of(example)}}}"


def _renamed(path: str, own: set[str]) -> Json:
    """Foreign names, refused with the right one: all at the root, elsewhere those that would stand there."""
    here = {old: known for old, known in FOREIGN.items() if not path or known.section == path}
    here |= {old: known for (section, old), known in MISPLACED.items() if section == path}
    return {old: _refused(old, known) for old, known in here.items() if old not in own}


def _refused(old: str, known: Foreign) -> Json:
    """One rule that no value meets, null included: two arms of types would double every message in the file."""
    return {"doNotSuggest": True, "const": _NO_VALUE, "errorMessage": known.message(old)}


def _demands(shape: Shape, default: Any) -> Json:
    """Only the required keys of a shape and of the sections in it; empty where there are none."""
    match shape:
        case Section(cls):
            needed = [i.name for i in fields_of(cls) if i.required and i.name != "kind"]
            below = {i.name: _demands(shape_of(i.type), i.default) for i in fields_of(cls)}
            below = {name: demand for name, demand in below.items() if demand}
            rules: Json = {"required": needed} if needed else {}
            rules |= {"properties": below} if below else {}
            return {"type": "object"} | rules if rules else {}
        case Kinds(variants):
            each = {kind: _demands(Section(cls), None) for kind, cls in variants.items()}
            branches = [chosen(kind, demand) for kind, demand in each.items() if demand]
            has_default = isinstance(default, tuple(variants.values()))
            rules = {} if has_default else {"required": ["kind"]}
            rules |= {"allOf": branches} if branches else {}
            return {"type": "object"} | rules if rules else {}
        case Nullable(inner):
            demand = _demands(inner, dataclasses.MISSING)
            when = {"if": {"type": "object"}, "then": demand}
            return {"type": ["object", "null"]} | when if demand else {}
        case _:
            return {}


def _split(demands: Json) -> tuple[Json, Json]:
    """What every file without ``extends`` needs, and what it needs where no preset is picked: losses and a kind."""
    model: Json = demands["properties"]["model"]
    always = demands | {
        "required": [name for name in demands["required"] if name != "losses"],
        "properties": demands["properties"] | {"model": model | {"required": []}},
    }
    unpicked: Json = {
        "type": "object",
        "required": ["losses"],
        "properties": {"model": {"type": "object", "required": model["required"]}},
    }
    return always, unpicked


def _in_lists(cls: type) -> set[type]:
    """The dataclasses that occur only as items of lists, or below such items."""
    inside, outside = set[type](), set[type]()
    for section, in_list in _sections(cls, False):
        (inside if in_list else outside).add(section)
    return inside - outside


def _sections(cls: type, in_list: bool) -> Iterator[tuple[type, bool]]:
    for info in fields_of(cls):
        below = in_list
        for shape in parts(shape_of(info.type)):
            below = below or isinstance(shape, ListOf)
            found = shape.variants.values() if isinstance(shape, Kinds) else ()
            for variant in (shape.cls,) if isinstance(shape, Section) else found:
                yield variant, below
                yield from _sections(variant, below)
