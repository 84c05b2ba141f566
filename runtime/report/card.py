"""The model card beside saved parameters: README.md in Hugging Face's form, from the plan and the result alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.runtime.report.facts import inputs, plan_facts
from specrun.spec.plan.data import has_images
from specrun.spec.plan.evaluation import REVERSE_PREFIX
from specrun.spec.plan.file import identity, plan_digest
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.plan import Plan

TAGS = ("specrun", "sentence-similarity", "feature-extraction")


def model_card(plan: Plan, facts: Mapping[str, Any]) -> str:
    """The text of README.md. It holds no time, so the same run gives the same card.

    ``facts``: ``step`` steps finished; ``metrics`` by name; ``parameters``, the folder's name
    (``best`` or ``final``); ``device`` with platform, kind and count; ``candidates``, how many the metrics' queries
    were held against, where that is known.
    """
    parts = [
        *opening(plan, facts, "specrun"),
        _use(plan, facts),
        *training(plan, facts),
        section("Provenance", table(("", ""), provenance(plan, facts))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def opening(plan: Plan, facts: Mapping[str, Any], library: str) -> list[str]:
    """Front matter, title and what the model is."""
    more = ["- lora"] if plan.model.lora is not None else []
    if plan.model.weights is not None:
        # A quoted JSON string is a YAML string too.
        more.append(f"base_model: {json.dumps(base_model(plan), ensure_ascii=False)}")
    return [front_matter(library, *more), f"# {text(plan.name)}", _what(plan, facts)]


def training(plan: Plan, facts: Mapping[str, Any]) -> list[str]:
    """How it was trained, what was measured, and on what data."""
    return [
        section("Training", table(("", ""), plan_facts(plan))),
        section("Metrics", _metrics(plan, facts)),
        section("Data", _inputs(plan)),
    ]


def front_matter(library: str, *more: str) -> str:
    """Hugging Face's YAML head; ``more`` are lines below the tags."""
    lines = ["---", f"library_name: {library}", "pipeline_tag: sentence-similarity", "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in TAGS), *more, "---"])


def base_model(plan: Plan) -> str:
    """The base model: the name that the spec gave, where it is one; else the name of the directory."""
    given = next((v.value for v in plan.values if v.path == "model.name_or_path"), None)
    assert plan.model.weights is not None
    directory = Path(plan.model.weights.directory).name
    named = isinstance(given, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", given)
    return str(given) if named else directory


def _what(plan: Plan, facts: Mapping[str, Any]) -> str:
    model = plan.model
    start = f"fine-tuned from {text(base_model(plan))}" if model.weights else "trained from scratch"
    if model.init_from is not None:
        start = f"trained on from the run {text(model.init_from.name)}"
    widths = plan.matryoshka.dims if plan.matryoshka else (model.embedding_dim,)
    width, measure = f"{model.embedding_dim} numbers", "their cosine"
    late = model.multi_vector
    if late is not None:
        parts = "tokens" if late.image_vectors is None else "tokens or patches"
        own = f"{late.width} numbers for each of its {parts}"
        width = own if late.alone else f"{width}, and to {own}"
        measure = "their MaxSim" if late.alone else "their cosine and their MaxSim"
    if len(widths) > 1 or widths[0] != model.embedding_dim:
        width += f" (trained to be cut to {', '.join(map(str, sorted(widths, reverse=True)))})"
    return (
        f"{_kind(model)}, {start}. It maps {_maps(model)} to {width}; the nearer two "
        f"of them are in meaning, the larger {measure}. These are the {facts['parameters']} "
        f"parameters, those after step {facts['step']:,} of {plan.train.total_steps:,}."
    )


def _kind(model: ModelPlan) -> str:
    config = model.config
    if isinstance(config, TextImageConfig):
        return f"An encoder of texts and images ({config.text.kind}, {config.image.kind})"
    return f"A text encoder ({config.kind})"


def _maps(model: ModelPlan) -> str:
    return "a text or an image" if isinstance(model.config, TextImageConfig) else "a text"


def _use(plan: Plan, facts: Mapping[str, Any]) -> str:
    folder = json.dumps(plan.output_dir, ensure_ascii=False)
    told = plan.model.towers == "separate" or plan.tokenizer.prompts.any
    call = "encode_document" if told else "encode_text"
    seen = isinstance(plan.model.config, TextImageConfig)
    predictor = f'Predictor({folder}, which="{facts["parameters"]}")'
    images = f'images = {predictor}.encode_image(["picture.png"])\n' if seen else ""
    code = (
        "```python\n"
        "from specrun import Predictor\n"
        f'vectors = {predictor}.{call}(["a text", "another"])\n'
        f"{images}```"
    )
    return section("Use", code)


def _metrics(plan: Plan, facts: Mapping[str, Any]) -> str:
    """The metrics; of a run with images beside what a random order would have."""
    found, candidates = facts["metrics"], facts.get("candidates")
    if not has_images(plan.data.source) or not candidates:
        return table(("metric", "value"), [(n, f"{v:.4f}") for n, v in found.items()])
    rows = [(n, f"{v:.4f}", _shown(chance(n, candidates))) for n, v in found.items()]
    whole = table(("metric", "value", "by chance"), rows)
    note = f"By chance: a random order of {candidates:,} candidates, one of them right."
    return f"{whole}\n\n{note}" if whole else ""


def chance(metric: str, candidates: int) -> float | None:
    """The expected value of a metric for a random order with one right candidate; None of what is no such metric.

    So too of the other direction, whose candidates are the queries.
    """
    match = re.search(r"\b(recall|mrr|ndcg|precision)@(\d+)\b", metric)
    if match is None or metric.startswith(REVERSE_PREFIX):
        return None
    k = int(match[2])
    ranks = range(1, min(k, candidates) + 1)
    worth = {
        "recall": (1.0 for _ in ranks),
        "mrr": (1 / rank for rank in ranks),
        "ndcg": (1 / math.log2(rank + 1) for rank in ranks),
        "precision": (1 / k for _ in ranks),
    }[match[1]]
    return sum(worth) / candidates


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _inputs(plan: Plan) -> str:
    rows = [(i.role, Path(i.path).name, f"{i.bytes:,}", i.digest) for i in inputs(plan)]
    return table(("input", "name", "bytes", "digest"), rows)


def provenance(plan: Plan, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The digests that name what went in, the parameters' own where they are known, and the libraries."""
    return [
        ("plan", plan_digest(plan)),
        ("identity", identity(plan)),
        *([("parameters", facts["parameters_sha256"])] if "parameters_sha256" in facts else []),
        ("rows", plan.data.scan.rows_digest),
        ("tokenizer", plan.tokenizer.digest),
        *_start(plan),
        ("specrun", plan.specrun_version),
        *versions(),
        *_device(facts["device"]),
    ]


def _device(device: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What it was trained on; a run that is not finished has not said."""
    if device is None:
        return []
    return [("device", f"{device['count']} × {device['kind']} ({device['platform']})")]


def _start(plan: Plan) -> list[tuple[str, str]]:
    start = plan.model.init_from
    if start is None:
        return []
    return [
        ("init_from parameters", start.parameters_sha256),
        ("init_from identity", start.identity),
    ]


def versions() -> list[tuple[str, str]]:
    """The libraries that shape numbers, as they are installed here."""
    from importlib.metadata import PackageNotFoundError, version

    found: list[tuple[str, str]] = []
    for name in ("jax", "flax", "optax", "numpy", "tokenizers"):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def section(title: str, body: str) -> str:
    """A heading and what is below it; empty where there is nothing."""
    return f"## {title}\n\n{body}" if body else ""


def table(head: tuple[str, ...], rows: Any) -> str:
    """A Markdown table; empty without rows."""
    lines = [_row(head), _row(("---",) * len(head)), *(_row(map(text, row)) for row in rows)]
    return "\n".join(lines) if len(lines) > 2 else ""


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def text(given: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no new line."""
    escaped = re.sub(r"([\\`*_\[\]<>|#~!&])", r"\\\1", " ".join(str(given).split()))
    return escaped.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
