"""Checks of rows and models that have images: which columns, lengths and networks a retrieval mode needs."""

from __future__ import annotations

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.data import EmojiData
from specrun.spec.words.image_models import ImageEncoderModel
from specrun.spec.words.tables import TableData
from specrun.spec.words.text_image_models import ComposedModel


def image_columns(spec: Experiment, report: Reporter) -> None:
    """The query's image has a column exactly where the query has an image."""
    if not isinstance(spec.data, TableData):
        return
    mode, columns = spec.data.retrieval_mode, spec.data.columns
    switch = ("data", "retrieval_mode")
    if mode[0] == "t" and columns.query_image is not None:
        message = f"`data.columns.query_image` has no effect: in `{mode}` a query is a text alone"
        no_effect(report, ("data", "columns", "query_image"), switch, message)
    if mode[0] != "t" and columns.query_image is None:
        message = f"`data.columns.query_image` is missing: in `{mode}` a query has an image"
        hint = "add `data: {columns: {query_image: NAME}}`"
        related = ("data.retrieval_mode",)
        report.error("data.columns.query_image", "missing-key", message, hint=hint, related=related)
    if mode[0] == "i":
        message = f"`data.columns.query` has no effect: in `{mode}` a query is an image alone"
        no_effect(report, ("data", "columns", "query"), switch, message)


def mode_of(spec: Experiment) -> str:
    """What finds what; emoji are pictures found by their names."""
    if isinstance(spec.data, EmojiData):
        return "t2i"
    return spec.data.retrieval_mode if isinstance(spec.data, TableData) else "t2t"


def lengths_of_texts(spec: Experiment, report: Reporter) -> None:
    """An image has no tokens to keep."""
    mode = mode_of(spec)
    for side, letter in (("query", mode[0]), ("positive", mode[-1])):
        if letter == "i":
            message = f"`data.max_length.{side}` has no effect: in `{mode}` a {side} is an image"
            switch = "retrieval_mode" if isinstance(spec.data, TableData) else "kind"
            no_effect(report, ("data", "max_length", side), ("data", switch), message)


def patches_fit(spec: Experiment, report: Reporter) -> None:
    """Patches and heads divide what they cut."""
    model = spec.model.image if isinstance(spec.model, ComposedModel) else None
    if not isinstance(model, ImageEncoderModel):
        return
    if model.image_size % model.patch_size:
        path = "model.image.patch_size"
        message = (
            f"`{path}` {model.patch_size} does not divide `image_size` {model.image_size}: "
            "the right and lower edges would not be looked at"
        )
        related = ("model.image.image_size",)
        report.error(path, "patches-do-not-divide", message, related=related)
    if model.hidden_size % model.num_attention_heads:
        path = "model.image.num_attention_heads"
        message = (
            f"`{path}` {model.num_attention_heads} does not divide `hidden_size` "
            f"{model.hidden_size}"
        )
        report.error(path, "heads-do-not-divide", message, related=("model.image.hidden_size",))


def networks_for_both(spec: Experiment, report: Reporter) -> None:
    """Two networks composed for rows of texts alone would leave one of them out."""
    if not isinstance(spec.model, ComposedModel):
        return
    mode = mode_of(spec)
    if mode in ("t2t", "i2i"):
        idle = "image" if mode == "t2t" else "text"
        message = f"`model.{idle}` has no effect: the rows are of the mode `{mode}`"
        hint = "set `data.retrieval_mode`, or use a model of one network"
        related = ("data.retrieval_mode", "model.kind")
        report.error(f"model.{idle}", "no-effect", message, hint=hint, related=related)
    if spec.model.text.towers != "shared":
        message = "`model.text.towers` must be `shared`: a composed model has one network of texts"
        report.error("model.text.towers", "two-towers", message, related=("model.kind",))
