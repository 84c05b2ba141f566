"""The plan's model: what it starts from, its adapters, its outputs, and counts of its parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.plan.data import Input
from specrun.spec.plan.images import ImageProcessor
from specrun.spec.plan.networks import (
    EncoderConfig,
    TextEncoderConfig,
    TextImageConfig,
    is_language_model,
)
from specrun.spec.plan.parameters import Group, Parameter
from specrun.spec.plan.sides import Towers
from specrun.spec.record import record


@record
class AdapterMatch:
    """A linear layer that carries an adapter, and the pattern that chose it."""

    module: Annotated[str, Fact(doc="Logical path, such as layers.3.attention.self.query.")]
    target: Annotated[str, Fact(doc="The entry of target_modules.")]
    shape: Annotated[tuple[int, int], Fact(doc="(in, out).")]


@record
class AdapterStart:
    """The adapters that a run's own start from."""

    folder: Annotated[str, Fact(doc="Absolute folder.", klass="cosmetic")]
    base: Annotated[
        str | None,
        Fact(doc="The base model that adapter_config.json names; null is none.", klass="cosmetic"),
    ]
    files: Annotated[tuple[Input, ...], Fact(doc="adapter_config.json and its weights.")]


@record
class LoraPlan:
    rank: Annotated[int, Fact(doc="Rank.")]
    alpha: Annotated[float, Fact(doc="Alpha.")]
    dropout: Annotated[float, Fact(doc="Dropout on the adapter's input.")]
    scale: Annotated[float, Fact(doc="alpha / rank, or alpha / √rank.")]
    matches: Annotated[tuple[AdapterMatch, ...], Fact(doc="What matched what.")]
    init_from: Annotated[
        AdapterStart | None,
        Fact(doc="The adapters that these start from; null is the seed."),
    ] = None


@record
class WeightsPlan:
    """Files that the parameters are read from."""

    directory: Annotated[str, Fact(doc="Absolute directory.", klass="cosmetic")]
    layout: Annotated[Literal["torch", "flax"], Fact(doc="Names and orientation in the files.")]
    files: Annotated[tuple[Input, ...], Fact(doc="The files.")]

    @property
    def head(self) -> Input | None:
        """The file of the directory's own head (sentence-transformers' Dense); None where it has none."""
        return next((file for file in self.files if file.role == "head"), None)


@record
class StartPlan:
    """The run whose parameters the model starts from. Its optimizer and its losses' parameters take no part."""

    run: Annotated[str, Fact(doc="Absolute folder of the run.", klass="cosmetic")]
    name: Annotated[str, Fact(doc="Name of the run.", klass="cosmetic")]
    which: Annotated[
        Literal["best", "final"], Fact(doc="Which of its parameters.", klass="cosmetic")
    ]
    step: Annotated[int, Fact(doc="Steps after which they were saved.", klass="cosmetic")]
    file: Annotated[Input, Fact(doc="Their file.")]
    parameters_sha256: Annotated[str, Fact(doc="Digest of all their leaves.")]
    identity: Annotated[str, Fact(doc="Identity of the run's plan.")]


Reduce = Literal["mean", "sum"]
"""How MaxSim folds the query's tokens."""


@record
class MultiVectorPlan:
    """The vectors that the model gives for every token, and how texts are compared by them."""

    width: Annotated[int, Fact(doc="Width of a token vector.")]
    reduce: Annotated[Literal["mean", "sum"], Fact(doc="How MaxSim folds the query's tokens.")]
    alone: Annotated[bool, Fact(doc="Whether there is no pooled vector beside them.")]
    head: Annotated[
        Literal["projection", "own"],
        Fact(
            doc="What makes a vector of a state behind the last norm: what makes the pooled vector, or the matrix `multi_vector.kernel` of each network."
        ),
    ]
    image_vectors: Annotated[
        int | None, Fact(doc="Vectors of an image; null where texts alone are embedded.")
    ] = None
    top_k_patches: Annotated[
        int | None,
        Fact(
            doc="Patches kept of an image beside its class token, the nearest to it; null is all."
        ),
    ] = None


def token_vectors(late: MultiVectorPlan) -> str:
    """The token vectors of a model in a few words."""
    if late.image_vectors is None:
        return f"token vectors {late.width}"
    nearest = "" if late.top_k_patches is None else ", the nearest to its class token"
    return f"token vectors {late.width} ({late.image_vectors} of an image{nearest})"


@record
class ModuleCount:
    """Parameters of one top module."""

    module: Annotated[str, Fact(doc="Dotted path.")]
    total: Annotated[int, Fact(doc="Parameters.")]
    trainable: Annotated[int, Fact(doc="Of these, trained in some segment.")]


@record
class ModelPlan:
    config: Annotated[EncoderConfig, Fact(doc="The configuration, complete.")]
    groups: Annotated[tuple[Group, ...], Fact(doc="Layers, stacked.")]
    parameters: Annotated[
        tuple[Parameter, ...], Fact(doc="Every parameter, adapters and loss parameters included.")
    ]
    modules: Annotated[tuple[ModuleCount, ...], Fact(doc="Counts by module.")]
    total_parameters: Annotated[int, Fact(doc="All parameters.")]
    trainable_parameters: Annotated[int, Fact(doc="Trained in some segment.")]
    embedding_dim: Annotated[int, Fact(doc="Width of the embedding.")]
    multi_vector: Annotated[
        MultiVectorPlan | None, Fact(doc="Token vectors; null where there are none.")
    ] = None
    towers: Annotated[
        Towers,
        Fact(
            doc="One network, one for queries and one for positives, or one for texts and one for images."
        ),
    ] = "shared"
    image_processor: Annotated[
        ImageProcessor | None, Fact(doc="How images become pixels; null embeds no images.")
    ] = None
    image_weights: Annotated[
        WeightsPlan | None,
        Fact(doc="Where the weights of the image network come from; null is the seed."),
    ] = None
    decided_by: Annotated[
        str | None,
        Fact(
            doc="`model_type` of config.json where the spec leaves the family to it (`kind: auto`); else null.",
            klass="cosmetic",
        ),
    ] = None
    lora: Annotated[LoraPlan | None, Fact(doc="Adapters.")] = None
    weights: Annotated[
        WeightsPlan | None, Fact(doc="Where weights come from; null is the seed.")
    ] = None
    init_from: Annotated[
        StartPlan | None,
        Fact(doc="The run that parameters start from, instead of weights or seed; null is none."),
    ] = None


def networks(model: ModelPlan, after: str = "") -> str:
    """The networks of a model in a few words, ``after`` standing behind the first name."""
    config = model.config
    if isinstance(config, TextImageConfig):
        parts = (f"{x.kind} of {x.num_hidden_layers} layers" for x in (config.text, config.image))
        return f"{' and '.join(parts)}{after}"
    towers = "two towers of " if model.towers == "separate" else ""
    scratch = isinstance(config, TextEncoderConfig) and is_language_model(config)
    kind = "masked_lm" if scratch else config.kind
    return f"{kind}{after}, {towers}{config.num_hidden_layers} layers"
