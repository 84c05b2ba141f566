"""`specrun explain`: a value of the plan with its meaning, range, class and history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import Any, get_args

from specrun.spec.annotations import FieldInfo, fields_of
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.experiment import Experiment
from specrun.spec.plan.file import leaves
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.plan import Plan, Value

_LEVELS = {"picked": "preset, picked by the model's name"}
"""Levels that need more words than their own."""


def explain(plan: Plan, path: str | None) -> str:
    """The text for one path of the spec or of the plan; all values of the spec when ``path`` is None."""
    if path is None:
        width = max(len(v.path) for v in plan.values)
        return "\n".join(
            f"{v.path:{width}}  {_show(v.value)}  ({v.origins[-1].place})" for v in plan.values
        )
    inside = [
        v for v in plan.values if v.path == path or v.path.startswith((path + ".", path + "["))
    ]
    if inside:
        return "\n\n".join(_explain_value(v) + _decision(v, plan) for v in inside)
    derived = {
        p: v for p, v in leaves(plan).items() if p == path or p.startswith((path + ".", path + "["))
    }
    if derived:
        return "\n".join(
            f"{p} = {_show(v)}\n  class    {k}, worked out by the compiler"
            for p, (v, k) in derived.items()
        )
    names = [v.path for v in plan.values] + list(leaves(plan))
    near = get_close_matches(path, names, n=3)
    raise InputError(
        f"the plan has no {path!r}",
        code="unknown-path",
        hint=f"did you mean {', '.join(near)}?" if near else "`specrun explain PLAN` lists all",
    )


def _decision(value: Value, plan: Plan) -> str:
    """What the compiler made of `kind: auto`."""
    if value.path != "model.kind" or plan.model.decided_by is None:
        return ""
    config = plan.model.config
    decided = config.kind
    if isinstance(config, TextImageConfig):
        decided = f"{config.text.kind} and {config.image.kind}"
    return f"\n  decided  {decided}, by model_type {plan.model.decided_by!r} of config.json"


def _explain_value(value: Value) -> str:
    info = _field_at(value)
    lines = [f"{value.path} = {_show(value.value)}"]
    if info is not None:
        lines.append(f"  meaning  {info.fact.doc}")
        lines.append(f"  type     {type_text(info)}")
        if info.name != "kind":
            lines.append(
                f"  default  {'none, it must be given' if info.required else _show(to_plain(info.default))}"
            )
    lines.append(f"  class    {value.klass}")
    for i, origin in enumerate(reversed(value.origins)):
        lines.append(
            f"  {'set by ' if i == 0 else 'instead'}  {_show(origin.value)}  {origin.place} ({_LEVELS.get(origin.level, origin.level)})"
        )
    return "\n".join(lines)


def type_text(info: FieldInfo) -> str:
    """Type, bounds and unit in words: ``int, >= 1, rows``."""
    fact = info.fact
    bounds = [
        f"{sign} {_number(b)}"
        for sign, b in ((">=", fact.ge), (">", fact.gt), ("<=", fact.le), ("<", fact.lt))
        if b is not None
    ]
    return ", ".join([_type_name(info.type), *bounds, *([fact.unit] if fact.unit else [])])


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _type_name(kind: Any) -> str:
    if kind is type(None):
        return "null"
    args = get_args(kind)
    if args and all(isinstance(a, (str, int)) for a in args):
        return " | ".join(map(str, args))
    if args and getattr(kind, "__origin__", None) is tuple:
        return f"list of {_type_name(args[0])}"
    if args:
        return " | ".join(dict.fromkeys(_type_name(a) for a in args))
    return "section" if is_dataclass(kind) else getattr(kind, "__name__", str(kind))


def _field_at(value: Value) -> FieldInfo | None:
    """The spec's field for a value: its path is walked along the types, unions by what has the next name."""
    kinds: list[Any] = [Experiment]
    info: FieldInfo | None = None
    for name in value.path.replace("[", ".[").split("."):
        if name.startswith("["):
            continue
        found = [f for kind in kinds for f in fields_of(kind) if f.name == name]
        if not found:
            return info
        info = next((f for f in found if get_args(f.type) == (value.value,)), found[0])  # a kind
        kinds = [k for f in found for k in _dataclasses_in(f.type)]
    return info


def _dataclasses_in(kind: Any) -> Iterator[Any]:
    if is_dataclass(kind):
        yield kind
    for arm in get_args(kind):
        yield from _dataclasses_in(arm)


def _show(value: Any) -> str:
    if value is None:
        return "null"
    return "true" if value is True else "false" if value is False else str(value)
