"""The directories of pretrained networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from specrun.compiler.draft import Context, Draft
from specrun.compiler.facts import Pretrained
from specrun.compiler.locate import locate_model
from specrun.compiler.passes.faults import report_all
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.words.image_models import Image, VitModel
from specrun.spec.words.model import Model
from specrun.spec.words.text_image_models import ClipModel, ComposedModel, SiglipModel
from specrun.spec.words.text_models import AutoModel, PretrainedModel


def place_model(draft: Draft, context: Context) -> Draft:
    """The directories of pretrained networks, inspected; nothing for a model from scratch."""
    model = draft.spec.model
    if isinstance(model, ComposedModel):
        return _place_image(
            _place_text(draft, model.text, "model.text", context), model.image, context
        )
    return _place_text(draft, model, "model", context)


def _place_text(draft: Draft, model: Model, at: str, context: Context) -> Draft:
    """The directory of a network of texts, or of texts and images."""
    if not isinstance(model, PretrainedModel | ClipModel | SiglipModel):
        return draft
    directory = _model_directory(model.name_or_path, at, context)
    if directory is None:
        return draft
    try:
        found = context.facts.pretrained(directory)
    except InputError as error:
        report_all(error, f"{at}.name_or_path", context)
        return draft
    kind = _kind(found)
    if (model.kind != "auto" or at != "model") and kind not in _suiting(model, at):
        context.report.error(
            f"{at}.kind",
            "other-family",
            f"{directory} holds a model of the kind `{kind}`, not `{model.kind}`",
            hint=f"write `kind: {kind}`" if at == "model" else "name a directory of texts alone",
        )
        return draft
    return replace(draft, model_directory=directory, pretrained=found, pretrained_image=found.image)


def _suiting(model: Model, at: str) -> tuple[str, ...]:
    """The kinds that a directory may be of; within a composed model ``auto`` is any network of texts."""
    if isinstance(model, AutoModel) and at != "model":
        return ("bert", "roberta", "mpnet", "qwen3", "modernbert")
    return (model.kind,)


def _kind(found: Pretrained) -> str:
    """What ``kind`` says of a directory."""
    config = found.config
    return (
        config.text.kind.removesuffix("_text")
        if isinstance(config, TextImageConfig)
        else config.kind
    )


def _place_image(draft: Draft, model: Image, context: Context) -> Draft:
    """The directory of a network of images."""
    if not isinstance(model, VitModel):
        return draft
    directory = _model_directory(model.name_or_path, "model.image", context)
    if directory is None:
        return draft
    try:
        found = context.facts.pretrained_image(directory)
    except InputError as error:
        report_all(error, "model.image.name_or_path", context)
        return draft
    return replace(draft, pretrained_image=found)


def _model_directory(name: str, at: str, context: Context) -> Path | None:
    directory = locate_model(name, context.folder, context.local)
    if directory is None:
        context.report.error(
            f"{at}.name_or_path",
            "model-not-found",
            f"no model {name!r}: it is no directory, no name in specrun.local.yaml, and not in the Hugging Face cache",
            hint="download it first (`hf download NAME`), or map the name to a directory in specrun.local.yaml",
        )
    return directory
