"""Checks of evaluation, of the rows it needs, and of trackers."""

from __future__ import annotations

from specrun.compiler.meaning.model import embedding_width
from specrun.compiler.objective import OF_TEXTS, best_of, metrics_of, rates_of
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.plan.evaluation import REVERSE_PREFIX, SPEARMAN, TOKENS_PREFIX
from specrun.spec.words.evaluation import Evaluation
from specrun.spec.words.tables import TableData


def columns_differ(spec: Experiment, report: Reporter) -> None:
    if not isinstance(spec.data, TableData):
        return
    first: dict[str, str] = {}
    for key in (
        "query",
        "query_image",
        "positive",
        "negatives",
        "label",
        "score",
        "negative_scores",
    ):
        name = getattr(spec.data.columns, key)
        other = first.setdefault(name, key) if name is not None else key
        if other != key:
            path, related = f"data.columns.{key}", (f"data.columns.{other}",)
            message = f"{other} and {key} are the same column `{name}`"
            report.error(path, "same-column", message, related=related)


def evaluation_has_rows(spec: Experiment, report: Reporter) -> None:
    if spec.evaluation is not None and spec.data.validation is None:
        message = "`evaluation` has no rows: `data.validation` is missing"
        hint = "add `data: {validation: {kind: fraction, fraction: 0.1}}`, or remove `evaluation`"
        related = ("data.validation",)
        code = "no-validation"
        report.error("evaluation", code, message, hint=hint, blame="key", related=related)
    if spec.evaluation is None and spec.data.validation is not None:
        message = "rows are held out and never used: `evaluation` is missing"
        hint = "add `evaluation: {}`, or remove `data.validation`"
        path, related = "data.validation", ("evaluation",)
        report.warning(path, "unused-validation", message, hint=hint, blame="key", related=related)


def best_is_measured(spec: Experiment, report: Reporter) -> None:
    """Metrics that something is decided by are among those that are measured."""
    part = spec.evaluation
    if part is None:
        return
    metric_is_measured(spec, part, "evaluation.select_best", best_of(spec, part), report)
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        if stage.advance is not None and stage.advance.metric is not None:
            path = f"curriculum.stages[{index}].advance.metric"
            metric_is_measured(spec, part, path, stage.advance.metric, report)


def metric_is_measured(
    spec: Experiment, part: Evaluation, path: str, name: str, report: Reporter
) -> None:
    """Report the metric ``name``, written at ``path``, where no evaluation gives it."""
    metric, _, dim = name.partition(" at ")
    tokens = getattr(spec.model, "multi_vector", None) if metric.startswith(TOKENS_PREFIX) else None
    if metric.startswith(TOKENS_PREFIX) and tokens is None:
        hint = "write `model: {multi_vector: {dim: 128}}`, or the metric without `multi_vector/`"
        message = f"`{path}` {metric}: the model has no token vectors beside its embedding"
        related = ("model.multi_vector",)
        report.error(path, "unknown-metric", message, hint=hint, related=related)
    plain = metric.removeprefix(TOKENS_PREFIX)
    _direction_is_asked(plain, path, part, report)
    known = _named(spec, part)
    if plain.removeprefix(REVERSE_PREFIX) not in known:
        hint = f"metrics are {', '.join(f'`{m}`' for m in known)}"
        message = f"`{path}` {metric} is not in `evaluation.metrics`"
        related = ("evaluation.metrics",)
        report.error(path, "unknown-metric", message, hint=hint, related=related)
    own = None if tokens is None else tokens.dim  # of texts and images null is the embedding's
    width = embedding_width(spec) if own is None else own
    if dim and width is not None:
        dims = sorted({*(spec.matryoshka.dims if spec.matryoshka else ()), width})
        if int(dim) not in dims:
            message = f"`{path}`: dimension {dim} is not evaluated"
            hint = f"dimensions are {', '.join(map(str, dims))}"
            related = ("matryoshka.dims", "model.hidden_size", "model.projection_dim")
            report.error(path, "unknown-dimension", message, hint=hint, related=related)


def _named(spec: Experiment, part: Evaluation) -> tuple[str, ...]:
    """The metrics that are measured, those of hidden tokens at each of several rates too."""
    metrics, rates = metrics_of(spec, part), rates_of(spec, part)
    several = rates if len(rates) > 1 else ()
    own = [metric for metric in metrics if metric in OF_TEXTS]
    return (*metrics, *(f"{metric}@{rate:g}" for rate in several for metric in own))


def _direction_is_asked(metric: str, path: str, part: Evaluation, report: Reporter) -> None:
    """The metric that chooses is of a direction that is measured; Spearman has none."""
    wanted = "positive_to_query" if metric.startswith(REVERSE_PREFIX) else "query_to_positive"
    if metric != SPEARMAN and wanted not in part.directions:
        related = ("evaluation.directions",)
        message = f"`{path}` {metric} is of the direction {wanted}, and `{related[0]}` has not that"
        hint = f"add {wanted} to `{related[0]}`, or choose a metric of the other direction"
        report.error(path, "unknown-metric", message, hint=hint, related=related)


def trackers_once(spec: Experiment, report: Reporter) -> None:
    kinds = [tracker.kind for tracker in spec.tracking]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            message = f"`tracking` names {kind} twice, and a run has one of each kind"
            report.error(f"tracking[{index}]", "tracker-twice", message, hint="remove one of them")
