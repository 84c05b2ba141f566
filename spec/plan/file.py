"""plan.json: canonical text, two digests, and what differs between two plans.

``digest`` covers the whole plan and reveals tampering. ``identity`` covers the semantic fields alone: two plans
of one identity give the same numbers for as long as both run.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast

from specrun.spec.annotations import FieldClass, fields_of
from specrun.spec.codec import CodecError, canonical, from_plain, to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.plan import FORMAT_VERSION, Plan, PlanFile
from specrun.spec.record import record

STRENGTH: tuple[FieldClass, ...] = ("semantic", "horizon", "throughput", "cosmetic")
"""Classes from the one that shapes every number to the one that shapes none."""


@record
class Difference:
    """A leaf that differs; a side that lacks it holds ``ABSENT``."""

    path: str
    klass: FieldClass
    left: Any
    right: Any


ABSENT = "(absent)"


def plan_digest(plan: Plan) -> str:
    """SHA-256 of the whole plan's canonical text."""
    return _sha256(canonical(to_plain(plan)))


def identity(plan: Plan) -> str:
    """SHA-256 of the semantic leaves."""
    return _sha256(canonical({p: v for p, (v, k) in leaves(plan).items() if k == "semantic"}))


def leaves(plan: Plan) -> dict[str, tuple[Any, FieldClass]]:
    """Every leaf of the plan by dotted path, with its class: the weakest class along the path."""
    return {path: (value, klass) for path, value, klass in _leaves(plan, "", "semantic")}


def differences(left: Plan, right: Plan) -> tuple[Difference, ...]:
    """All leaves that differ, the strongest class first, then by path."""
    a, b = leaves(left), leaves(right)
    found: list[Difference] = []
    for path in sorted(a.keys() | b.keys()):
        x, y = a.get(path), b.get(path)
        if x is None or y is None or x[0] != y[0]:
            klass = (x or y or (None, "semantic"))[1]
            found.append(
                Difference(
                    path=path, klass=klass, left=x[0] if x else ABSENT, right=y[0] if y else ABSENT
                )
            )
    return tuple(sorted(found, key=lambda d: (STRENGTH.index(d.klass), d.path)))


def weaker(left: FieldClass, right: FieldClass) -> FieldClass:
    """The class that shapes less of the run: what lies in a cosmetic section is cosmetic."""
    return left if STRENGTH.index(left) >= STRENGTH.index(right) else right


def plan_text(plan: Plan) -> str:
    """The text of plan.json."""
    file = PlanFile(digest=plan_digest(plan), identity=identity(plan), plan=plan)
    return canonical(to_plain(file))


def write_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write plan.json in one move: a reader sees the old file or the new one."""
    target = Path(path)
    handle, name = -1, ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(plan_text(plan))
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}", code="unwritable") from error


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read and verify plan.json. InputError when it is unreadable, of another format, or changed after compiling."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the plan {path}: {error}", code="unreadable-plan") from error
    return parse_plan(text, str(path))


def parse_plan(text: str, label: str = "plan.json") -> Plan:
    """As ``read_plan``, from text; ``label`` names it in messages."""
    tree = _tree(text, label)
    _check_format(tree, label)
    try:
        file = from_plain(PlanFile, tree)
    except CodecError as error:
        raise InputError(
            f"{label} is not a plan of format {FORMAT_VERSION}: {error}",
            code="bad-plan",
            hint="compile the spec again",
        ) from error
    digest = plan_digest(file.plan)
    if digest != file.digest == _sha256(canonical(tree["plan"])):
        raise InputError(
            f"{label} is whole, and lacks what plans of this version of specrun hold",
            code="plan-format",
            hint="compile the spec again with this version",
        )
    if digest != file.digest or identity(file.plan) != file.identity:
        raise InputError(
            f"{label} was changed after it was compiled: its content does not match its digest",
            code="tampered-plan",
            hint="change the spec and compile it again",
        )
    return file.plan


def _tree(text: str, label: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{label} is not JSON: {error}",
            code="bad-plan",
            hint="give the plan.json that `specrun compile` wrote",
        ) from error
    if not isinstance(tree, dict) or "plan" not in tree:
        raise InputError(
            f"{label} holds no plan",
            code="bad-plan",
            hint="give the plan.json that `specrun compile` wrote",
        )
    return cast("dict[str, Any]", tree)


def _check_format(tree: dict[str, Any], label: str) -> None:
    plan = tree["plan"]
    version = cast("dict[str, Any]", plan).get("format_version") if isinstance(plan, dict) else None
    if str(version).split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise InputError(
            f"{label} has format {version}; this specrun reads {FORMAT_VERSION.split('.')[0]}.x",
            code="plan-format",
            hint="compile the spec again with this version",
        )


def _leaves(value: Any, path: str, klass: FieldClass) -> Iterator[tuple[str, Any, FieldClass]]:
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields_of(type(value)):
            inner = weaker(klass, field.fact.klass)
            yield from _leaves(getattr(value, field.name), _join(path, field.name), inner)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            yield from _leaves(item, _join(path, key), klass)
    elif isinstance(value, tuple) and any(is_dataclass(v) for v in cast("tuple[Any, ...]", value)):
        for i, item in enumerate(cast("tuple[Any, ...]", value)):
            yield from _leaves(item, f"{path}[{i}]", klass)
    else:
        yield path, to_plain(value), klass


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
