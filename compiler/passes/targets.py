"""Which linear layers carry an adapter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import cast

from specrun.compiler.draft import Context, Draft
from specrun.compiler.modules import meant
from specrun.spec.plan.model import AdapterMatch
from specrun.spec.plan.parameters import TableRow
from specrun.spec.plan.sides import inside_layer


def match_adapters(draft: Draft, context: Context) -> Draft:
    """Which linear layers carry an adapter, and by which target; a target that matches nothing is an error."""
    lora = draft.spec.lora
    if lora is None or draft.config is None:
        return draft
    linear = {
        r.path.removesuffix(".kernel"): r
        for r in draft.rows
        if r.role == "kernel" and r.layer is not None
    }
    matches: dict[str, AdapterMatch] = {}
    for i, target in enumerate(lora.target_modules):
        hits = [m for m in linear if _matches_module(m, target)]
        if not hits:
            names = sorted({inside_layer(m) for m in linear})
            near = [name for name in meant(target) if any(_matches_module(m, name) for m in linear)]
            near += get_close_matches(target, names + [n.rsplit(".", 1)[-1] for n in names], n=1)
            context.report.error(
                f"lora.target_modules[{i}]",
                "no-match",
                f"{target!r} matches no linear layer of the model",
                hint=(f"did you mean {near[0]!r}? " if near else "")
                + f"there are: {', '.join(names) or 'none'}",
            )
        for module in hits:
            shape = cast("tuple[int, int]", linear[module].shape)
            matches.setdefault(module, AdapterMatch(module=module, target=target, shape=shape))
    ordered = tuple(matches[m] for m in linear if m in matches)
    return replace(draft, matches=ordered, rows=(*draft.rows, *_adapter_rows(ordered, lora.rank)))


def _matches_module(module: str, target: str) -> bool:
    return module == target or module.endswith("." + target) or fnmatchcase(module, target)


def _adapter_rows(matches: Iterable[AdapterMatch], rank: int) -> list[TableRow]:
    rows: list[TableRow] = []
    for match in matches:
        rows.append(
            TableRow(path=f"{match.module}.lora_a", shape=(match.shape[0], rank), role="lora_a")
        )
        rows.append(
            TableRow(path=f"{match.module}.lora_b", shape=(rank, match.shape[1]), role="lora_b")
        )
    return rows
