"""`specrun diff`: what differs between two plans, by field class."""

from __future__ import annotations

from specrun.spec.plan.file import STRENGTH, Difference, differences
from specrun.spec.plan.plan import Plan, Value

MEANING = {
    "semantic": "shapes the numbers: another run",
    "horizon": "the length of the run: resumes with --extend when longer",
    "throughput": "speed and memory only: a run resumes",
    "cosmetic": "looks only: a run resumes",
}
DERIVED_SHOWN = 12


def diff(left: Plan, right: Plan) -> str:
    """Settings that differ, grouped by class, then what follows from them; empty when the plans are the same."""
    settings = _settings(left, right)
    derived = [d for d in differences(left, right) if not d.path.startswith("values")]
    lines: list[str] = []
    for klass in STRENGTH:
        chosen = [d for d in settings if d.klass == klass]
        follows = [d for d in derived if d.klass == klass]
        if not chosen and not follows:
            continue
        lines.append(f"{klass} ({MEANING[klass]})")
        lines += [f"  {d.path}: {d.left} -> {d.right}" for d in chosen]
        if follows:
            lines.append(f"  in the plan: {len(follows)} derived values differ")
            lines += [
                f"    {d.path}: {_short(d.left)} -> {_short(d.right)}"
                for d in follows[:DERIVED_SHOWN]
            ]
    return "\n".join(lines)


def _settings(left: Plan, right: Plan) -> list[Difference]:
    a, b = ({v.path: v for v in plan.values} for plan in (left, right))
    return [
        Difference(
            path=p, klass=(a.get(p) or b[p]).klass, left=_side(a.get(p)), right=_side(b.get(p))
        )
        for p in dict.fromkeys([*a, *b])
        if (x := a.get(p)) is None or (y := b.get(p)) is None or x.value != y.value
    ]


def _side(value: Value | None) -> str:
    if value is None:
        return "(absent)"
    shown = "null" if value.value is None else str(value.value)
    return f"{shown} ({value.origins[-1].place})"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
