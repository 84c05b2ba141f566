"""Checks that each loss gets the vectors it compares: one of a text, or one of every token."""

from __future__ import annotations

from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.losses import ColBERTLoss, DenseLateKLLoss, Loss
from specrun.spec.words.model import MultiVector

TOKENS = (ColBERTLoss, DenseLateKLLoss)
"""Losses that take token vectors."""

TOKENS_ALONE = (ColBERTLoss,)
"""Those of them that take no pooled vector beside."""


def _pools(spec: Experiment) -> bool:
    return getattr(spec.model, "pooling", None) != "none"


def _head(spec: Experiment) -> MultiVector | None:
    """The head of token vectors; models of texts and images have none."""
    return getattr(spec.model, "multi_vector", None)


def outputs_exist(spec: Experiment, report: Reporter) -> None:
    """A loss compares vectors that the model gives."""
    head, pools = _head(spec), _pools(spec)
    for index, loss in enumerate(spec.losses):
        path = f"losses[{index}].kind"
        if isinstance(loss, TOKENS) and pools and head is None:
            message = f"`{loss.kind}` compares token vectors, and the model gives one vector a text"
            hint = _both(loss) + "`model: {multi_vector: {dim: 128}}` for both kinds of vectors"
            related = ("model.pooling", "model.multi_vector")
            report.error(path, "no-token-vectors", message, hint=hint, related=related)
        if not isinstance(loss, TOKENS_ALONE) and not pools:
            message = (
                f"`{loss.kind}` compares one vector a text, and with `pooling: none` there is none"
            )
            hint = "write `kind: colbert`, or another `model.pooling`"
            related = ("model.pooling",)
            report.error(path, "no-pooled-vector", message, hint=hint, related=related)


def _both(loss: Loss) -> str:
    return (
        "write `model: {pooling: none}` for token vectors alone, or " if _alone(loss) else "write "
    )


def _alone(loss: Loss) -> bool:
    return isinstance(loss, TOKENS_ALONE)


def outputs_trained(spec: Experiment, report: Reporter) -> None:
    """No output is left that no loss trains."""
    head = _head(spec)
    taken = any(isinstance(loss, TOKENS) for loss in spec.losses)
    if head is not None and not _pools(spec):
        path, related = "model.multi_vector", ("model.pooling",)
        message = "with `pooling: none` the token vectors are the model's only output, and `multi_vector` is a second one"
        hint = f"remove it, and write `projection_dim: {head.dim}` for their width"
        report.error(path, "no-effect", message, hint=hint, blame="key", related=related)
    elif head is not None and not taken:
        path, related = "model.multi_vector", ("losses",)
        message = "no loss trains the token vectors of `model.multi_vector`"
        hint = "add a loss `kind: colbert`, or remove it"
        report.error(path, "untrained-output", message, hint=hint, blame="key", related=related)
    elif head is not None and all(_alone(loss) for loss in spec.losses):
        path, related = "model.multi_vector", ("losses", "model.pooling")
        message = "no loss trains the pooled vector: all of them compare token vectors"
        hint = f"write `model: {{pooling: none, projection_dim: {head.dim}}}` instead"
        report.error(path, "untrained-output", message, hint=hint, blame="key", related=related)


def folds_agree(spec: Experiment, report: Reporter) -> None:
    """A model is compared in one way, when it is trained and when it is asked."""
    late = [(i, loss) for i, loss in enumerate(spec.losses) if isinstance(loss, TOKENS)]
    for index, loss in late[1:]:
        first, other = late[0]
        if loss.reduce != other.reduce:
            path, related = f"losses[{index}].reduce", (f"losses[{first}].reduce",)
            message = f"`{path}` is {loss.reduce}, and `{related[0]}` is {other.reduce}: MaxSim is one of them"
            hint = "write the same, and set their temperatures apart"
            report.error(path, "reduce-disagrees", message, hint=hint, related=related)


def token_widths_fit(spec: Experiment, report: Reporter) -> None:
    """Matryoshka cuts every output, so the narrower one bounds its widths."""
    head = _head(spec)
    if head is None or spec.matryoshka is None:
        return
    for index, dim in enumerate(spec.matryoshka.dims):
        if dim > head.dim:
            path, related = f"matryoshka.dims[{index}]", ("model.multi_vector.dim",)
            message = f"`{path}` {dim} is above the width {head.dim} of the token vectors"
            hint = f"at most {head.dim}, or raise `model.multi_vector.dim`"
            report.error(path, "dim-above-width", message, hint=hint, related=related)


def mined_by_one_vector(spec: Experiment, report: Reporter) -> None:
    """Mining searches by one vector a text."""
    if spec.data.negatives is None or _pools(spec):
        return
    path, related = "data.negatives", ("model.pooling",)
    message = "negatives are mined by one vector a text, and with `pooling: none` there is none"
    hint = (
        "write `model: {multi_vector: {dim: 128}}` and a loss that trains the pooled vector, "
        "or take negatives from a column (`specrun mine` writes one with another model)"
    )
    report.error(path, "no-pooled-vector", message, hint=hint, blame="key", related=related)


def texts_and_images_pool(spec: Experiment, report: Reporter) -> None:
    """Token vectors are of texts alone in this version: an image has none to be compared with."""
    text = getattr(spec.model, "text", None)
    if text is None:
        return
    hint = "late interaction between texts and images is not in this version; remove it"
    if text.pooling == "none":
        message = "`model.text.pooling: none` gives token vectors, and an image has one vector"
        report.error("model.text.pooling", "no-token-vectors", message, hint=hint)
    if text.multi_vector is not None:
        path = "model.text.multi_vector"
        message = f"`{path}` gives token vectors, and an image has one vector"
        report.error(path, "no-token-vectors", message, hint=hint, blame="key")


VECTOR_CHECKS = (
    texts_and_images_pool,
    outputs_exist,
    outputs_trained,
    folds_agree,
    token_widths_fit,
    mined_by_one_vector,
)
