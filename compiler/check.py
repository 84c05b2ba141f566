"""Checks a merged tree against the strict schema, and says each mistake in words of its own."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from specrun.compiler.foreign.foreign import Foreign
from specrun.compiler.foreign.table import KIND_NAMES, LATER_KINDS, is_misplaced, known_here
from specrun.compiler.reporter import Reporter, show
from specrun.compiler.schema.constraints import parts, strict_schema
from specrun.spec.scalars import clip
from specrun.spec.shapes import Kinds, ListOf, Section, field_shapes
from specrun.spec.tree import Path, format_path, parse_path

MAX_MISTAKES = 500
_HINTED = 200

_TYPE_WORDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def check(cls: type, tree: Mapping[str, Any], reporter: Reporter) -> None:
    """Report everything in ``tree`` that the strict schema of ``cls`` refuses."""
    validator = _validator(strict_schema(cls, cls.__name__))
    errors: list[Any] = list(itertools.islice(validator.iter_errors(tree), MAX_MISTAKES + 1))
    translate = _Translate(cls, tree, reporter)
    for error in errors[:MAX_MISTAKES]:
        translate.error(error)
    if len(errors) > MAX_MISTAKES:
        message = f"there are more than {MAX_MISTAKES} mistakes; the rest is not shown"
        reporter.error((), "too-many-mistakes", message)


def _validator(schema: dict[str, Any]) -> Any:
    from jsonschema import Draft7Validator
    from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType]

    own = {"uniqueItems": _unique_items, "pattern": _pattern}
    return extend(Draft7Validator, own)(schema)  # pyright: ignore[reportUnknownVariableType, reportCallIssue]


def _unique_items(validator: Any, unique: bool, items: Any, schema: Any) -> Iterator[Any]:
    """One error for each repeated item, at that item, in linear time."""
    from jsonschema import ValidationError

    if not unique or not validator.is_type(items, "array"):
        return
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        key = json.dumps(item, sort_keys=True)
        first = seen.setdefault(key, index)
        if first != index:
            yield ValidationError(f"{first}", path=(index,), instance=item)


def _pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[Any]:
    """``$`` means the end, not also before a last newline."""
    from jsonschema import ValidationError

    ending = pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
    if validator.is_type(text, "string") and not re.search(ending, text):
        yield ValidationError(pattern)


class _Translate:
    """One schema error to one finding for each mistake it stands for."""

    def __init__(self, cls: type, tree: Mapping[str, Any], reporter: Reporter):
        self.tree = tree
        self.reporter = reporter
        self.cls = cls
        self.count = 0
        self.rules: Mapping[str, Callable[[Any, Path], None]] = {
            "additionalProperties": self.unknown_keys,
            "required": self.missing_keys,
            "type": self.wrong_type,
            "enum": self.not_allowed,
            "uniqueItems": self.duplicate,
            "pattern": self.pattern,
            "minItems": self.too_few,
        }

    @property
    def homes(self) -> Mapping[str, Sequence[str]]:
        return homes_of(self.cls)

    def error(self, error: Any) -> None:
        path = tuple(error.absolute_path)
        if error.validator in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            self.out_of_range(error, path)
        elif error.validator in self.rules:
            self.rules[error.validator](error, path)
        elif error.validator != "const":
            self.say(path, "wrong-value", f"`{_name(path)}`: {clip(error.message)}")

    def say(
        self, path: Path, code: str, message: str, hint: str = "", *, key: bool = False
    ) -> None:
        self.count += 1
        blame = "key" if key else "value"
        self.reporter.error(path, code, message, hint=hint, blame=blame)
        self.reporter.taint(path)

    def unknown_keys(self, error: Any, path: Path) -> None:
        allowed = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in set(allowed)]
        for key in unknown[:MAX_MISTAKES]:
            self.unknown_key(key, (*path, key), allowed, error.instance[key])
        if len(unknown) > MAX_MISTAKES:
            message = f"there are {len(unknown)} unknown keys; the rest is not shown"
            self.reporter.error(path, "too-many-mistakes", message)

    def unknown_key(
        self, key: str, path: Path, allowed: list[str], value: Any = None, place: Path | None = None
    ) -> None:
        """``place`` is the section that the key is judged in; inside a foreign section that is the root."""
        parent = path[:-1] if place is None else place
        known = self.foreign(key, parent)
        if isinstance(value, dict) and (known is not None or not parent):
            self.inside_foreign(value, path, allowed)  # pyright: ignore[reportUnknownArgumentType]
        if known is not None:
            self.say_foreign(key, path, known)
            return
        where = f" in `{_name(path[:-1])}`" if path[:-1] else ""
        hint = self.unknown_hint(key, parent, allowed)
        message = f"unknown key `{clip(key, 40)}`{where}"
        self.say(path, "unknown-key", message, hint, key=True)

    def foreign(self, key: str, parent: Path) -> Foreign | None:
        """What is known of a key that is no word of the spec, or one only in other sections."""
        known = known_here(key, parent)
        own = key in self.homes and not is_misplaced(key, parent)
        return None if own else known

    def say_foreign(self, key: str, path: Path, known: Foreign) -> None:
        code = "renamed-key" if known.new else "unsupported-key"
        hint = f"write `{known.new}`" if known.new else "remove it"
        self.say(path, code, known.message(clip(key, 40)), hint, key=True)
        meant = parse_path(known.new) if known.new else None
        if meant is not None:
            self.reporter.taint(meant)  # so it is not missing

    def inside_foreign(self, section: dict[str, Any], path: Path, allowed: list[str]) -> None:
        """The keys of a section that other tools have: each is told its own name here, before the section is."""
        for key, value in itertools.islice(section.items(), MAX_MISTAKES):
            if self.foreign(key, ()) is not None or key in self.homes:
                self.unknown_key(key, (*path, key), allowed, value, ())

    def unknown_hint(self, key: str, parent: Path, allowed: list[str]) -> str:
        if key in self.homes:
            homes = ", ".join(self.homes[key][:4])
            return f"`{key}` belongs in {homes}"
        first, dot, rest = key.partition(".")
        if dot and first in allowed and rest:
            return f"nest it: `{first}: {{{rest}: …}}`"
        close = self.nearest(key, allowed)
        if close:
            return f"did you mean `{close}`?"
        far = self.nearest(key, list(self.homes))
        if far:
            return f"did you mean `{far}`, which belongs in {', '.join(self.homes[far][:4])}?"
        listed = ", ".join(f"`{name}`" for name in allowed[:20])
        return f"known here: {listed}" if listed else "this section takes no keys"

    def nearest(self, key: str, names: list[str]) -> str | None:
        if self.count > _HINTED or len(key) > 40:
            return None
        from difflib import get_close_matches

        found = get_close_matches(key.lower().replace("-", "_"), names, n=1, cutoff=0.75)
        return found[0] if found else None

    def missing_keys(self, error: Any, path: Path) -> None:
        if self.reporter.incomplete and not any(isinstance(step, int) for step in path):
            return
        for key in error.validator_value:
            if key in error.instance or (*path, key) in self.reporter.tainted:
                continue
            where = f" in `{_name(path)}`" if path else ""
            rule = error.schema.get("properties", {}).get(key, {})
            hint = f"add `{key}: {_example(key, rule)}`"
            if "enum" in rule:
                hint = f"add `{key}`, {_one_of(rule['enum'])}"
            self.say((*path, key), "missing-key", f"`{key}` is missing{where}", hint, key=True)
            if key == "kind":
                self.reporter.taint(path)

    def wrong_type(self, error: Any, path: Path) -> None:
        given: Any = error.validator_value
        wanted: list[str] = [given] if isinstance(given, str) else given
        words = " or ".join(_TYPE_WORDS[w] for w in wanted)
        if "enum" in error.schema:
            words = _one_of(error.schema["enum"])
        found = f"found {show(error.instance)}"
        message = f"`{_name(path) or 'the spec'}` must be {words}, {found}"
        self.say(path, "wrong-type", message, _type_hint(error.instance, wanted, error.schema))
        if path and path[-1] == "kind":
            self.reporter.taint(path[:-1])

    def not_allowed(self, error: Any, path: Path) -> None:
        if path in self.reporter.tainted:
            return
        value, allowed = error.instance, list(error.validator_value)
        name = _name(path)
        if path and path[-1] == "kind":
            hint = self.kind_hint(str(value), path, allowed)
            code, message = "unknown-kind", f"`{name}` has no kind {show(value)}"
        else:
            code, message = "not-allowed", f"`{name}` may not be {show(value)}"
            hint = ""
        close = self.nearest(str(value), [str(a) for a in allowed if a is not None])
        choice = f"did you mean `{close}`? It" if close else "it"
        hint = hint or f"{choice} is {_one_of(allowed)}"
        self.say(path, code, message, hint)
        if code == "unknown-kind":
            self.reporter.taint(path[:-1])

    def kind_hint(self, kind: str, path: Path, allowed: list[Any]) -> str:
        section = next((str(s) for s in reversed(path[:-1]) if isinstance(s, str)), "")
        if kind in LATER_KINDS.get(section, ()):
            return f"`{kind}` is not in this version; it is {_one_of(allowed)}"
        home, hint = KIND_NAMES.get(kind, ("", ""))
        return hint if home == section else ""

    def out_of_range(self, error: Any, path: Path) -> None:
        name, wanted = _name(path), _range(error.schema)
        message = f"`{name}` must be {wanted}, found {show(error.instance)}"
        self.say(path, "out-of-range", message)

    def duplicate(self, error: Any, path: Path) -> None:
        first = (*path[:-1], int(error.message))
        name = _name(first)
        message = f"`{_name(path)}` repeats `{name}`: {show(error.instance)}"
        self.say(path, "duplicate-item", message, "remove one of them")

    def pattern(self, error: Any, path: Path) -> None:
        message = f"`{_name(path)}` does not have the right form: {show(error.instance)}"
        self.say(path, "wrong-form", message, _form(path, error))

    def too_few(self, error: Any, path: Path) -> None:
        count = error.validator_value
        items = "item" if count == 1 else "items"
        message = f"`{_name(path)}` must have at least {count} {items}"
        self.say(path, "too-few-items", message, _several(error.schema))


_METRICS = {
    "metrics": "write `mrr@10`, `ndcg@10`, `recall@10` or `precision@10` with any k, or `spearman`",
    "select_best": "write a metric such as `ndcg@10`, or `ndcg@10 at 256` for a Matryoshka dimension",
}
"""What a pattern says in words, by key."""


def _form(path: Path, error: Any) -> str:
    """The form that a text must have, with the metric that was meant where it is near one."""
    from difflib import get_close_matches

    words = next((_METRICS[s] for s in path if isinstance(s, str) and s in _METRICS), None)
    if words is None:
        return f"it must match {error.validator_value}"
    stem, at, rest = str(error.instance).partition("@")
    near = get_close_matches(stem[:40].lower(), ("mrr", "ndcg", "recall", "precision"), n=1)
    meant = f"{near[0]}@{rest if at else 10}" if near else ""
    fits = re.search(error.validator_value, meant) is not None
    return f"did you mean `{meant}`? {words}" if fits else words


def _name(path: Path) -> str:
    return clip(format_path(path), 200)


@cache
def homes_of(cls: type) -> Mapping[str, Sequence[str]]:
    """Every key of the spec with the sections that it belongs in, those nearest to the root first."""
    homes: dict[str, list[str]] = {}

    def visit(section: type, label: str, path: str) -> None:
        for name, held in field_shapes(section).items():
            if name != "kind":
                known = homes.setdefault(name, [])
                if label not in known:
                    known.append(label)
            below = f"{path}.{name}" if path else name
            for shape in parts(held):
                below += "[]" if isinstance(shape, ListOf) else ""
                if isinstance(shape, Section):
                    visit(shape.cls, f"`{below}`", below)
                elif isinstance(shape, Kinds):
                    for kind, variant in shape.variants.items():
                        visit(variant, f"`{below}` kind {kind}", below)

    visit(cls, "the root", "")
    return {
        key: sorted(labels, key=lambda label: label.count(".")) for key, labels in homes.items()
    }


def _type_hint(value: object, wanted: list[str], schema: Mapping[str, Any]) -> str:
    if "boolean" in wanted and isinstance(value, str) and value.lower() in _BOOLEAN_WORDS:
        return f"write {_BOOLEAN_WORDS[value.lower()]}"
    if ("integer" in wanted or "number" in wanted) and isinstance(value, str):
        bare = value.replace("_", "").replace(",", "")
        if re.fullmatch(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", bare):
            return f"write {bare}"
    if "integer" in wanted and isinstance(value, float):
        return f"write {round(value)}" if abs(value) < 1e15 else ""
    if "array" in wanted and isinstance(value, dict):
        return "give the whole list; only items of a list that a file gives can be set one by one"
    if "array" in wanted and isinstance(value, (str, int, float)):
        if several := _several(schema):
            return several
        return f"write [{clip(str(value), 40)}]"
    if value is None:
        return "give a value, or remove the line to take the default"
    if wanted[0] == "string" and isinstance(value, (int, float)):
        return "put it in quotes"
    if wanted[0] == "object" and isinstance(value, (str, bool)):
        return "write its keys on indented lines below"
    return ""


def _several(schema: Mapping[str, Any]) -> str:
    """How to write a list that takes no single item; "" where one item will do."""
    count, examples = schema.get("minItems", 0), schema.get("examples", ())
    return f"write a list of {count}, such as {examples[0]}" if count > 1 and examples else ""


_BOOLEAN_WORDS = {"yes": "true", "on": "true", "y": "true", "1": "true", "true": "true"} | {
    "no": "false",
    "off": "false",
    "n": "false",
    "0": "false",
    "false": "false",
}


def _one_of(values: list[Any]) -> str:
    words = [f"`{show(v).strip(chr(34))}`" for v in values]
    if len(words) < 3:
        return " or ".join(words)
    return f"one of {', '.join(words)}"


def _range(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum")
    above = schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    below = schema.get("exclusiveMaximum")
    said = [f"at least {low}"] if low is not None else []
    said += [f"above {above}"] if above is not None else []
    said += [f"at most {high}"] if high is not None else []
    said += [f"below {below}"] if below is not None else []
    return " and ".join(said)


def _example(key: str, rule: Mapping[str, Any]) -> str:
    if key == "version":
        return "1"
    return "[…]" if rule.get("type") == "array" else "…"
