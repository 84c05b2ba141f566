"""Whether a plan fits the memory that the spec allows, and the cheapest changes with which it would.

Every change proposed is verified by the arithmetic of ``compiler/cost``. Those that change no result come first, the
quickest first; those that change the batch, and with it the negatives, come after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from specrun.compiler.chunks import CACHE
from specrun.compiler.cost.cost import cost_of
from specrun.compiler.cost.work import Batching, Work, work_of
from specrun.spec.diagnostics import Diagnostic
from specrun.spec.plan.cost import CostPlan
from specrun.spec.plan.plan import Plan
from specrun.spec.record import record

GB = 1 << 30
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
DIGITS = (0, 1, 1, 2, 2)
CODE = "too-much-memory"
PATH = "hardware.max_memory_gb"
PARTS = {
    "weights": "weight_bytes",
    "gradients": "gradient_bytes",
    "optimizer": "optimizer_bytes",
    "activations": "activation_bytes",
    "loss": "loss_bytes",
}


@record
class Change:
    """Settings that fit: what to write, the bytes they need, their time as a multiple, and what else they change."""

    text: str
    peak: int
    time: float
    meaning: str = ""

    def __str__(self) -> str:
        also = f", {self.time:.2g} × the operations" if round(self.time, 2) > 1 else ""
        return f"{self.text} ({size(self.peak)}{also}{', ' + self.meaning if self.meaning else ''})"


def size(count: float) -> str:
    """Bytes with a binary unit: ``26.6 MiB``, ``13.91 GiB``."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.{DIGITS[unit]}f} {UNITS[unit]}"


def allowed(max_memory_gb: float, margin: float) -> int:
    """Bytes that a plan may take on each device."""
    return int(max_memory_gb * GB * (1 - margin))


def worst(cost: CostPlan) -> tuple[int, str]:
    """(bytes, when) of the worst; "" is training."""
    return max(
        (cost.peak_bytes, ""),
        (cost.evaluation_bytes, "while held-out rows are encoded"),
        (
            cost.mining_bytes,
            "while negatives are mined, the embeddings of all positives among them",
        ),
        (cost.teacher_bytes, "while the teacher embeds the training texts"),
        key=lambda found: found[0],
    )


def misfit(
    work: Work,
    batching: Batching,
    max_memory_gb: float,
    margin: float,
    measured: int | None = None,
    rule: int | None = None,
) -> tuple[str, str] | None:
    """(message, hint) where the plan needs too much, by arithmetic or by XLA's ``measured`` bytes; else None.

    With a measured figure the changes are judged by arithmetic scaled by it. ``rule`` is what the rule of
    thumb gives, where it is asked for: the message tells it, and nothing is decided by it.
    """
    cost = cost_of(work, batching)
    limit = allowed(max_memory_gb, margin)
    found = cost.most_bytes if measured is None else measured
    if found <= limit:
        return None
    scale = found / cost.most_bytes
    how = "by arithmetic" if measured is None else "as XLA compiled it"
    kept = f" less {margin:.0%} kept free" if margin else ""
    message = (
        f"the plan needs {size(found)} on each device {how}, and {max_memory_gb:g} GiB{kept} "
        f"are {size(limit)}: {_parts(cost, measured)}"
    )
    if rule is not None:
        message += f"; by the micro-diffusion guide's rule of thumb it would be {size(rule)}"
    return message, _hint(work, batching, limit, scale)


def measured_misfit(plan: Plan, measured: int) -> Diagnostic | None:
    """The finding where XLA's figure for a compiled plan is above the limit; at the place that set it."""
    hardware = plan.hardware
    if hardware.max_memory_gb is None:
        return None
    work, batching = work_of(plan)
    if any(value.path == CACHE for value in plan.values):
        batching = replace(batching, chunks=CACHE)
    found = misfit(
        work,
        batching,
        hardware.max_memory_gb,
        hardware.memory_margin,
        measured,
        plan.cost.rule_bytes,
    )
    if found is None:
        return None
    origin = next((v.origins[-1].place for v in plan.values if v.path == PATH), "")
    file, line, column = _place(origin)
    return Diagnostic(
        code=CODE,
        message=found[0],
        path=PATH,
        hint=found[1],
        file=file,
        line=line,
        column=column,
    )


def _place(origin: str) -> tuple[str, int, int]:
    file, _, rest = origin.partition(":")
    line, _, column = rest.partition(":")
    return (file, int(line), int(column)) if line.isdigit() and column.isdigit() else ("", 0, 0)


def _parts(cost: CostPlan, measured: int | None) -> str:
    peak, when = worst(cost)
    if when:
        return f"{size(peak)} {when}"
    parts = ", ".join(f"{name} {size(getattr(cost, part))}" for name, part in PARTS.items())
    return parts if measured is None else f"by arithmetic {parts}"


def _hint(work: Work, batching: Batching, limit: int, scale: float) -> str:
    gentle, harsh = changes(work, batching, limit, scale)
    lines = ["it fits with " + "; or ".join(map(str, gentle))] if gentle else []
    if harsh:
        lines.append(
            ("it also fits" if gentle else "no setting that keeps the result suffices; it fits")
            + " with "
            + "; or ".join(map(str, harsh))
        )
    if not lines:
        fixed = cost_of(
            work, replace(batching, rows=1, micro=1, tile=1, evaluated=min(1, batching.evaluated))
        )
        lines.append(
            f"no batch is small enough: one row alone needs {size(fixed.most_bytes * scale)}; "
            "choose a smaller model or shorter texts, or train fewer parameters"
        )
    return "; ".join(lines)


def changes(
    work: Work, batching: Batching, limit: int, scale: float = 1.0
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """(changes of speed alone, changes of the batch) that fit ``limit``, the quickest first."""
    base = _Base(work, batching, limit, scale)
    enough = base.judge(base.batching, "")
    if enough is not None:
        return (enough,), ()
    gentle = sorted(_gentle(base), key=lambda change: change.time)
    return tuple(gentle), tuple(_harsh(base))


class _Base:
    """Judges other batchings against the one given."""

    def __init__(self, work: Work, batching: Batching, limit: int, scale: float):
        self.work, self.given, self.limit, self.scale = work, batching, limit, scale
        self.operations = cost_of(work, batching).flops_per_step
        self.evaluated = batching.evaluated
        while self.evaluated > 1 and self._evaluation(self.evaluated) > limit:
            self.evaluated //= 2
        self.batching = replace(batching, evaluated=self.evaluated)

    def _evaluation(self, rows: int) -> float:
        cost = cost_of(self.work, replace(self.given, evaluated=rows))
        return cost.evaluation_bytes * self.scale

    def judge(self, batching: Batching, text: str, meaning: str = "") -> Change | None:
        """The change, if it fits."""
        cost = cost_of(self.work, batching)
        peak = round(cost.most_bytes * self.scale)
        if peak > self.limit:
            return None
        if self.evaluated != self.given.evaluated:
            also = f"evaluation.batch_size: {self.evaluated}"
            text = f"{text} and {also}" if text else also
        time = cost.flops_per_step / max(1, self.operations)
        return Change(text=text, peak=peak, time=time, meaning=meaning)


def _gentle(base: _Base) -> Iterator[Change]:
    """Changes of speed alone: scores in tiles, a rolled loop, layers computed again, encoding in chunks, or both.

    And where no row is compared with another, fewer rows a pass and more passes.
    """
    b = base.batching
    rolled = replace(b, unroll=1)
    recomputed = replace(rolled, checkpointing=True)
    found = [_tiles(base, b)]
    words = "train.unroll: 1 and " if b.unroll > 1 else ""
    if b.unroll > 1:
        found.append(base.judge(rolled, "train.unroll: 1"))
    if base.work.groups and not b.checkpointing:
        found.append(base.judge(recomputed, f"{words}train.gradient_checkpointing: true"))
    found.append(_chunks(base, b, ""))
    if not base.work.company:
        found.append(_accumulated(base))
    if base.work.groups and not b.checkpointing and not any(found):
        found.append(_chunks(base, recomputed, f"{words}train.gradient_checkpointing: true and "))
    yield from (change for change in found if change)


def _tiles(base: _Base, batching: Batching) -> Change | None:
    """The largest tile of scores that fits, by halves."""

    def fits(tile: int) -> Change | None:
        return base.judge(replace(batching, tile=tile), f"train.score_tile_rows: {tile}")

    halves = (batching.tile >> i for i in range(1, batching.tile.bit_length()))
    return _first(fits, halves)


def _chunks(base: _Base, batching: Batching, words: str) -> Change | None:
    """The largest chunk that divides the batch, is split evenly over the devices, and fits."""

    def fits(micro: int) -> Change | None:
        text = f"{words}{batching.chunks}: {micro}"
        return base.judge(replace(batching, micro=micro), text)

    return _first(
        fits, (m for m in _divisors(batching.rows, batching.devices) if m < batching.micro)
    )


def _harsh(base: _Base) -> Iterator[Change]:
    """A smaller batch, with as many rows a step by accumulation or without."""
    accumulated = _accumulated(base) if base.work.company else None
    for change in (accumulated, _reduced(base)):
        if change:
            yield change


def _accumulated(base: _Base) -> Change | None:
    """The largest smaller batch that fits, with as many rows a step."""
    b = base.batching
    return _first(lambda rows: _smaller(base, rows, b.passes * (b.rows // rows)), _sizes(b))


def _reduced(base: _Base) -> Change | None:
    """The largest smaller batch that fits, with fewer rows a step."""
    b = base.batching
    return _first(lambda rows: _smaller(base, rows, b.passes), _sizes(b))


def _sizes(batching: Batching) -> Iterator[int]:
    """Smaller batches in which the rows of this one come out even."""
    every = _divisors(batching.rows, batching.devices)
    return (rows for rows in every if 1 < rows < batching.rows)


def _smaller(base: _Base, rows: int, passes: int) -> Change | None:
    """Chunks stay as large as divides the smaller batch."""
    b = base.batching
    micro = max(m for m in _divisors(rows, b.devices) if m <= b.micro)
    text = f"train.batch_size: {rows}"
    text += f" and train.accumulation_steps: {passes}" if passes != b.passes else ""
    if b.micro < b.rows and micro != b.micro:
        text += f" and {b.chunks}: {micro}"
    company = base.work.company
    told = [f"{rows - 1} {company} instead of {b.rows - 1}"] if company else []
    told += ["fewer rows a step"] if rows * passes < b.rows * b.passes else []
    batching = replace(b, rows=rows, micro=micro, passes=passes, tile=min(b.tile, rows))
    return base.judge(batching, text, ", and ".join(told))


def _divisors(number: int, multiple: int) -> list[int]:
    """Divisors that are a multiple of ``multiple``, the largest first."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    every = sorted({*small, *(number // d for d in small)}, reverse=True)
    return [d for d in every if d % multiple == 0]


def _first(test: Callable[[int], Change | None], sizes: Iterator[int]) -> Change | None:
    return next((change for size in sizes if (change := test(size))), None)
