"""report.html as text: one page that stands alone, with no script, no font and no address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from specrun.runtime.report.card import versions
from specrun.runtime.report.facts import inputs, plan_facts
from specrun.runtime.report.plot import Line, Mark, chart, number
from specrun.runtime.report.record import Record
from specrun.runtime.report.shape import Json
from specrun.runtime.report.style import STYLE
from specrun.runtime.report.worst import worst_section
from specrun.runtime.telling import duration, size
from specrun.spec.plan.file import identity, plan_digest
from specrun.spec.plan.losses import hiding

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(record: Record) -> str:
    """The whole page. Everything that comes from files is escaped."""
    sections = [
        ("metrics", "Metrics", _metrics(record)),
        ("curves", "Curves", _curves(record)),
        ("worst", *worst_section(record.worst)),
        ("plan", "Plan", _pairs(plan_facts(record.plan))),
        ("parameters", "Parameters", _parameters(record)),
        ("warnings", "Warnings and events", _warnings(record)),
        ("inputs", "Inputs", _inputs(record)),
        ("time", "Time and device", _time(record)),
    ]
    there = [(key, title, body) for key, title, body in sections if body]
    name = escape(record.plan.name)
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in there)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>\n{text}</section>\n'
        for key, title, text in there
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{name}: report</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f"<header><h1>{name}</h1><p>{_status(record)}</p><nav>{links}</nav></header>\n"
        f"<main>\n{body}</main>\n<footer>{_foot(record)}</footer>\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table of escaped cells; the first of a row is its header, ``numeric`` columns are right-aligned."""
    kind = [' class="n"' if i in numeric else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{k}>{escape(h)}</th>' for h, k in zip(head, kind, strict=True))
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(rest, kind[1:], strict=True))
        lines.append(f'<tr><th scope="row"{kind[0]}>{escape(first)}</th>{cells}</tr>')
    if not lines:
        return ""
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>\n" for k, v in rows)
    return f"<dl>{items}</dl>\n" if items else ""


def _status(record: Record) -> str:
    total, result = record.plan.train.total_steps, record.result
    if result is None:
        return f"not finished: step {record.steps:,} of {total:,}"
    skipped = result.get("skipped_steps", 0)
    early = f", {skipped:,} skipped by stages that ended early" if skipped else ""
    early += f" of {total:,}, stopped early" if result["stopped_early"] else ""
    device = result["device"]
    where = f"{device.get('count', '?')} × {device.get('kind', '?')}"
    took = duration(result["times"].get("total", 0.0))
    return escape(f"finished: {record.steps:,} steps{early}; {took} on {where}")


def _metrics(record: Record) -> str:
    rows = _evaluations(record)
    if not rows:
        return ""
    last, best = rows[-1], _best_row(record, rows)
    selected = record.plan.evaluation.select_best if record.plan.evaluation else ""
    head = ["metric", f"best, after step {best['step']:,}", f"last, after step {last['step']:,}"]
    whole = [n for n in last if n not in ("kind", "step") and " at " not in n]
    lead = (
        f'<p class="lead"><b>{best[selected]:.4f}</b> {escape(selected)} after step {best["step"]:,}, '
        f"the best of {len(rows)} evaluations by this metric</p>\n"
        if selected in best
        else ""
    )
    cells = [[n, _value(best, n), _value(last, n)] for n in whole]
    return lead + table(head, cells, (1, 2)) + _by_width(record, best, whole)


def _by_width(record: Record, best: Json, whole: Sequence[str]) -> str:
    dims = record.plan.evaluation.dims if record.plan.evaluation else ()
    if len(dims) < 2:
        return ""
    rows = [
        [f"{dim}", *(_value(best, n if i == 0 else f"{n} at {dim}") for n in whole)]
        for i, dim in enumerate(dims)
    ]
    title = f"<h3>By width, after step {best['step']:,}</h3>\n"
    return title + table(["width", *whole], rows, tuple(range(len(whole) + 1)))


def _value(row: Json, name: str) -> str:
    return f"{row[name]:.4f}" if name in row else "–"


def _evaluations(record: Record) -> list[Json]:
    return [row for row in record.metrics if row["kind"] == "evaluation"]


def _best_row(record: Record, rows: Sequence[Json]) -> Json:
    """The evaluation that best/ was taken from; the last one where none is recorded."""
    known = record.best or (record.result or {}).get("best")
    step = known["step"] if known else rows[-1]["step"]
    return next((row for row in rows if row["step"] == step), rows[-1])


def _curves(record: Record) -> str:
    training = [row for row in record.metrics if row["kind"] == "training"]
    done = None if record.result is None else record.result.get("skipped_steps", 0)
    end = record.plan.train.total_steps if done is None else record.steps + done
    segments = record.plan.segments
    marks = [Mark(step=s.first_step, name=s.stage) for s in segments] if len(segments) > 1 else []
    names = _names(training)
    charts = [
        chart("loss", _lines(training, [n for n in names if n.split(".")[0] == "loss"]), end, marks)
    ]
    charts += [chart(n, _lines(training, [n]), end, marks) for n in names if n[:4] != "loss"]
    evaluations = _evaluations(record)
    found = _names(evaluations)
    texts = hiding(record.plan.losses) is not None
    for metric in (n for n in found if " at " not in n and not (texts and "@" in n)):
        part = "@" if texts else " at "
        mine = [n for n in found if n == metric or n.startswith(f"{metric}{part}")]
        name = _by_its_rate if texts else _by_its_width
        lines = [name(record, line) for line in _lines(evaluations, mine, dots=True)]
        charts.append(chart(f"held-out {metric}" if texts else metric, lines, end, marks))
    timed = [row for row in record.times if "steps_per_second" in row]
    charts.append(chart("steps per second", _lines(timed, ["steps_per_second"]), end, marks))
    drawn = "".join(charts)
    return f'<div class="charts">\n{drawn}</div>\n' if drawn else ""


def _by_its_width(record: Record, line: Line) -> Line:
    """A line named by its width: the chart's title says the metric."""
    dims = record.plan.evaluation.dims if record.plan.evaluation else ()
    whole = str(dims[0]) if dims else "whole"
    return replace(line, name=f"width {line.name.partition(' at ')[2] or whole}")


def _by_its_rate(record: Record, line: Line) -> Line:
    """A line named by the share of tokens that is hidden."""
    rate = line.name.partition("@")[2]
    return replace(line, name=f"{rate} hidden" if rate else "mean")


def _names(rows: Sequence[Json]) -> list[str]:
    return list(dict.fromkeys(n for row in rows for n in row if n not in ("kind", "step")))


def _lines(rows: Sequence[Json], names: Sequence[str], dots: bool = False) -> list[Line]:
    """A line for each name. A step that was written twice counts as the later one."""
    return [
        Line(
            name=name,
            points=tuple(sorted({row["step"]: row[name] for row in rows if name in row}.items())),
            dots=dots,
        )
        for name in names
    ]


def _parameters(record: Record) -> str:
    model = record.plan.model
    rows = [[m.module, f"{m.total:,}", f"{m.trainable:,}"] for m in model.modules]
    rows.append(["all", f"{model.total_parameters:,}", f"{model.trainable_parameters:,}"])
    return table(["module", "parameters", "trained"], rows, (1, 2))


def _warnings(record: Record) -> str:
    rows = [[w.path, w.message] for w in record.plan.warnings]
    rows += [[f"after step {e['after']}", _event(e)] for e in record.events if isinstance(e, dict)]
    return table(["where", "what"], rows) or "<p>None.</p>\n"


def _event(event: Any) -> str:
    facts = [
        f"{k} {number(v) if isinstance(v, float) else v}"
        for k, v in event.items()
        if k not in ("after", "kind", "previous")
    ]
    return f"{str(event['kind']).replace('_', ' ')}: {', '.join(facts)}"


def _inputs(record: Record) -> str:
    rows = [[i.role, i.path, f"{i.files:,}", size(i.bytes), i.digest] for i in inputs(record.plan)]
    plan = record.plan
    rows.append(["rows", "canonical rows", "", "", plan.data.scan.rows_digest])
    rows.append(["tokenizer", plan.tokenizer.source.kind, "", "", plan.tokenizer.digest])
    return table(["input", "path when compiled", "files", "size", "SHA-256"], rows, (2, 3))


def _time(record: Record) -> str:
    result = record.result
    if result is None:
        return ""
    device, speed = result["device"], result.get("speed") or {}
    rows = [(k, duration(v)) for k, v in result["times"].items()]
    if "steps_per_second" in speed:
        rate = (
            f"{number(speed['steps_per_second'])} steps/s, {speed['rows_per_second']:,.0f} rows/s"
        )
        rows.append(("mean rate", f"{rate}, without evaluations and checkpoints"))
    if "peak_bytes" in speed:
        rows.append((f"peak memory ({speed['memory']})", size(speed["peak_bytes"])))
    foretold = result.get("foretold") or {}
    for name, key in (("by arithmetic", "estimate_bytes"), ("by XLA", "xla_bytes")):
        if key in foretold:
            rows.append((f"peak memory {name}", size(foretold[key])))
    rows.append(("device", " ".join(f"{k} {v}" for k, v in device.items())))
    traces = result["traces"]
    rows.append(
        ("training traces", f"{traces.get('counted')} counted, {traces.get('promised')} promised")
    )
    rows.append(("libraries here", ", ".join(f"{n} {v}" for n, v in versions())))
    return _pairs(rows)


def _foot(record: Record) -> str:
    plan = record.plan
    text = f"plan {plan_digest(plan)}, identity {identity(plan)}, compiled by specrun {plan.specrun_version}"
    return f"<p>{escape(text)}</p>"
