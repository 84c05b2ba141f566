"""Checks that each loss gets the vectors it compares: one of a text, or one of every token."""

from __future__ import annotations

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.meaning.modalities import mode_of
from specrun.compiler.negatives import mined_of
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.losses import ColBERTLoss, DenseLateKLLoss, Loss, MaskedDiffusionLoss
from specrun.spec.words.text_image_models import (
    ClipModel,
    ComposedModel,
    SiglipModel,
    TextImageMultiVector,
)
from specrun.spec.words.text_models import MultiVector

TOKENS = (ColBERTLoss, DenseLateKLLoss)
"""Losses that take token vectors."""

TOKENS_ALONE = (ColBERTLoss,)
"""Those of them that take no pooled vector beside."""


def _pools(spec: Experiment) -> bool:
    return getattr(spec.model, "pooling", None) != "none"


def _head(spec: Experiment) -> MultiVector | TextImageMultiVector | None:
    """The token vectors beside the pooled ones."""
    return getattr(spec.model, "multi_vector", None)


def outputs_exist(spec: Experiment, report: Reporter) -> None:
    """A loss compares vectors that the model gives."""
    head, pools, what = _head(spec), _pools(spec), _what(spec)
    for index, loss in enumerate(spec.losses):
        path = f"losses[{index}].kind"
        if isinstance(loss, TOKENS) and pools and head is None:
            message = f"`{loss.kind}` compares token vectors, and the model gives one vector {what}"
            hint = _both(spec, loss) + f"`{_beside(spec)}` for both kinds of vectors"
            related = ("model.pooling", "model.multi_vector")
            report.error(path, "no-token-vectors", message, hint=hint, related=related)
        if not isinstance(loss, (*TOKENS_ALONE, MaskedDiffusionLoss)) and not pools:
            message = (
                f"`{loss.kind}` compares one vector {what}, and with `pooling: none` there is none"
            )
            hint = "write `kind: colbert`, or another `model.pooling`"
            related = ("model.pooling",)
            report.error(path, "no-pooled-vector", message, hint=hint, related=related)


def _both(spec: Experiment, loss: Loss) -> str:
    alone = _alone(loss) and not isinstance(spec.model, SiglipModel)
    return "write `model: {pooling: none}` for token vectors alone, or " if alone else "write "


def _beside(spec: Experiment) -> str:
    """What asks for token vectors beside the pooled ones."""
    return f"model: {{multi_vector: {{dim: {'null' if _two(spec) else '128'}}}}}"


def _two(spec: Experiment) -> bool:
    return isinstance(spec.model, ClipModel | SiglipModel | ComposedModel)


def _what(spec: Experiment) -> str:
    return "a text or image" if _two(spec) else "a text"


def _alone(loss: Loss) -> bool:
    return isinstance(loss, TOKENS_ALONE)


def outputs_trained(spec: Experiment, report: Reporter) -> None:
    """No output is left that no loss trains."""
    head = _head(spec)
    taken = any(isinstance(loss, TOKENS) for loss in spec.losses)
    if head is not None and not _pools(spec):
        path, related = "model.multi_vector", ("model.pooling",)
        message = "with `pooling: none` the token vectors are the model's only output, and `multi_vector` is a second one"
        width = f", and write `projection_dim: {head.dim}` for their width"
        hint = f"remove it{'' if _two(spec) else width}"
        report.error(path, "no-effect", message, hint=hint, blame="key", related=related)
    elif head is not None and not taken:
        path, related = "model.multi_vector", ("losses",)
        message = "no loss trains the token vectors of `model.multi_vector`"
        hint = "add a loss `kind: colbert`, or remove it"
        report.error(path, "untrained-output", message, hint=hint, blame="key", related=related)
    elif head is not None and all(_alone(loss) for loss in spec.losses):
        path, related = "model.multi_vector", ("losses", "model.pooling")
        message = "no loss trains the pooled vector: all of them compare token vectors"
        hint = _instead(spec, head)
        report.error(path, "untrained-output", message, hint=hint, blame="key", related=related)


def _instead(spec: Experiment, head: MultiVector | TextImageMultiVector) -> str:
    if isinstance(spec.model, SiglipModel):
        return "add a loss of pooled vectors, such as `kind: siglip`: without one their network stays as it is"
    if _two(spec):
        return "write `model: {pooling: none}` instead, or add a loss of pooled vectors"
    return f"write `model: {{pooling: none, projection_dim: {head.dim}}}` instead"


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
    if head is None or head.dim is None or spec.matryoshka is None:
        return
    for index, dim in enumerate(spec.matryoshka.dims):
        if dim > head.dim:
            path, related = f"matryoshka.dims[{index}]", ("model.multi_vector.dim",)
            message = f"`{path}` {dim} is above the width {head.dim} of the token vectors"
            hint = f"at most {head.dim}, or raise `model.multi_vector.dim`"
            report.error(path, "dim-above-width", message, hint=hint, related=related)


def mined_by_one_vector(spec: Experiment, report: Reporter) -> None:
    """Mining searches by one vector a text."""
    if mined_of(spec.data) is None or _pools(spec):
        return
    path, related = "data.negatives", ("model.pooling",)
    message = (
        f"negatives are mined by one vector {_what(spec)}, and with `pooling: none` there is none"
    )
    hint = (
        f"write `{_beside(spec)}` and a loss that trains the pooled vector, "
        "or take negatives from a column (`specrun mine` writes one with another model)"
    )
    report.error(path, "no-pooled-vector", message, hint=hint, blame="key", related=related)


def composed_at_one_place(spec: Experiment, report: Reporter) -> None:
    """Two networks give the same outputs, so these are said of the model, and of neither network."""
    if not isinstance(spec.model, ComposedModel):
        return
    text = spec.model.text
    for name, given in (("pooling", text.pooling == "none"), ("multi_vector", text.multi_vector)):
        if given:
            message = f"`model.text.{name}` asks for token vectors of texts alone, and images are compared with them"
            hint = "remove it, and write `model: {%s}`" % (
                "pooling: none" if name == "pooling" else "multi_vector: {dim: 128}"
            )
            report.error(f"model.text.{name}", "no-token-vectors", message, hint=hint)
    if not _pools(spec):
        for side in ("text", "image"):
            path = ("model", side, "pooling")
            message = f"`model.{side}.pooling` has no effect with `model.pooling: none`"
            no_effect(report, path, ("model", "pooling"), message)


def patches_are_compared(spec: Experiment, report: Reporter) -> None:
    """Patches are chosen among token vectors of images."""
    if not isinstance(spec.model, ClipModel | ComposedModel) or spec.model.top_k_patches is None:
        return
    path = "model.top_k_patches"
    if _pools(spec) and _head(spec) is None:
        message = f"`{path}` has no effect: the model gives no token vectors"
        hint = (
            "write `model: {pooling: none}` or `model: {multi_vector: {dim: null}}`, or remove it"
        )
        related = ("model.pooling", "model.multi_vector")
        report.error(path, "no-effect", message, hint=hint, blame="key", related=related)
    if mode_of(spec) == "t2t":
        message = f"`{path}` has no effect: the rows have no images"
        related = ("data.retrieval_mode",)
        report.error(path, "no-effect", message, hint="remove it", blame="key", related=related)


VECTOR_CHECKS = (
    composed_at_one_place,
    patches_are_compared,
    outputs_exist,
    outputs_trained,
    folds_agree,
    token_widths_fit,
    mined_by_one_vector,
)
