"""Checks of the scores in the rows: CoSENT's, Spearman's, a teacher's."""

from __future__ import annotations

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.negatives import (
    has_column,
)
from specrun.compiler.objective import metrics_of
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.plan.evaluation import SPEARMAN
from specrun.spec.words.losses import (
    CoSENTLoss,
    DistillationLoss,
    Loss,
)
from specrun.spec.words.tables import TableData


def scores_exist(spec: Experiment, report: Reporter) -> None:
    """CoSENT sorts by scores, and a column of them is there to be sorted by."""
    column = spec.data.columns.score if isinstance(spec.data, TableData) else None
    sorting = [i for i, loss in enumerate(spec.losses) if isinstance(loss, CoSENTLoss)]
    if sorting and column is None:
        path, related = f"losses[{sorting[0]}].kind", ("data.columns.score", "data.kind")
        message = "`cosent` sorts the rows by their scores, and the data names no column of scores"
        hint = "add `data: {columns: {score: NAME}}`"
        if not isinstance(spec.data, TableData):
            hint = f"`{spec.data.kind}` has no scores: take rows with columns"
        report.error(path, "no-scores", message, hint=hint, related=related)
    compared = spec.evaluation is not None and SPEARMAN in metrics_of(spec, spec.evaluation)
    by_rows = any(map(scored_by_rows, spec.losses))
    if column is not None and not sorting and not compared and not by_rows:
        message = "`data.columns.score` has no effect: no loss is of the kind `cosent`, or `distillation` without a teacher, and `spearman` is not measured"
        no_effect(report, ("data", "columns", "score"), ("losses", 0, "kind"), message)
    retrieval = spec.evaluation is not None and metrics_of(spec, spec.evaluation) != (SPEARMAN,)
    if column is not None and sorting and retrieval:
        message = "every held-out pair counts as an answer, whatever its score"
        hint = "hold out rows whose texts belong together, or measure `metrics: [spearman]` alone"
        path, related = "data.columns.score", ("evaluation",)
        report.warning(path, "scores-not-evaluated", message, hint=hint, related=related)


def scored_by_rows(loss: Loss) -> bool:
    """Whether a teacher's scores stand in the rows."""
    return isinstance(loss, DistillationLoss) and loss.teacher is None


def compares_pairs(loss: Loss) -> bool:
    """Whether a row's own pair is told of, so that a batch of one row teaches something."""
    return isinstance(loss, DistillationLoss) and loss.objective == "mse"


def teachers_agree(spec: Experiment, report: Reporter) -> None:
    """A run has one teacher: its embeddings come with every batch. It reads texts."""
    found = [
        (f"losses[{i}].teacher", loss.teacher)
        for i, loss in enumerate(spec.losses)
        if isinstance(loss, DistillationLoss) and loss.teacher is not None
    ]
    mode = spec.data.retrieval_mode if isinstance(spec.data, TableData) else "t2t"
    if found and mode != "t2t":
        message = f"a teacher embeds texts, and `data.retrieval_mode` is `{mode}`"
        hint = "take `t2t` rows, or a teacher's scores in the rows"
        related = ("data.retrieval_mode",)
        report.error(found[0][0], "teacher-of-texts", message, hint=hint, related=related)
    for path, teacher in found[1:]:
        if teacher != found[0][1]:
            message = "two losses have different teachers, and a run has one"
            hint = "distil from one after the other, with `init_from`"
            report.error(path, "two-teachers", message, hint=hint, related=(found[0][0],))


def teacher_scores_exist(spec: Experiment, report: Reporter) -> None:
    """Without a teacher its scores stand in the rows, and a column of them is there to be learned from."""
    columns = spec.data.columns if isinstance(spec.data, TableData) else None
    learning = [i for i, loss in enumerate(spec.losses) if scored_by_rows(loss)]
    for index in learning:
        _scores_suffice(spec, index, report)
    if columns is None or columns.negative_scores is None:
        return
    if columns.negatives is None or not learning:
        lacking = "there is no `data.columns.negatives`"
        if columns.negatives is not None:
            lacking = "no loss is of the kind `distillation` without a teacher"
        path = ("data", "columns", "negative_scores")
        message = f"`data.columns.negative_scores` has no effect: {lacking}"
        no_effect(report, path, ("losses", 0, "kind"), message)


def _scores_suffice(spec: Experiment, index: int, report: Reporter) -> None:
    loss, at = spec.losses[index], f"losses[{index}]"
    assert isinstance(loss, DistillationLoss)
    columns = spec.data.columns if isinstance(spec.data, TableData) else None
    if loss.negatives in ("in_batch", "all"):
        message = f"`{at}.negatives` is `{loss.negatives}`, and rows hold scores of their own candidates alone"
        hint = "name a `teacher`, or remove `negatives`"
        report.error(f"{at}.negatives", "no-teacher", message, hint=hint)
    wanted = {"score": "of the positive"}
    if loss.objective != "mse" or has_column(spec.data):
        wanted |= {"negatives": "of negatives", "negative_scores": "of their scores"}
    lacking = [k for k in wanted if columns is None or getattr(columns, k) is None]
    if lacking:
        keys = ", ".join(f"`data.columns.{key}`" for key in lacking)
        message = (
            f"`{at}` has no teacher, and the data names no {keys}: a teacher's scores in the rows"
        )
        hint = "add `teacher: {kind: pretrained, name_or_path: …}`, or name the columns"
        report.error(f"{at}.kind", "no-scores", message, hint=hint, related=(f"{at}.teacher",))


def spearman_has_scores(spec: Experiment, report: Reporter) -> None:
    """The rank correlation is with scores, and a column of them is there."""
    column = spec.data.columns.score if isinstance(spec.data, TableData) else None
    if spec.evaluation is None or SPEARMAN not in metrics_of(spec, spec.evaluation):
        return
    path = "evaluation.metrics"
    if column is None:
        message = (
            "`spearman` compares with the rows' scores, and the data names no column of scores"
        )
        hint = "add `data: {columns: {score: NAME}}`, or remove it"
        related = ("data.columns.score",)
        report.error(path, "no-scores", message, hint=hint, related=related)
    if metrics_of(spec, spec.evaluation) == (SPEARMAN,) and spec.evaluation.directions != (
        "query_to_positive",
    ):
        message = (
            "`evaluation.directions` has no effect: `spearman` compares pairs, and asks nothing"
        )
        no_effect(report, ("evaluation", "directions"), ("evaluation", "metrics"), message)
