"""The encoder of a plan: one pure function from token ids to embeddings, and the leaves it starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import jax
import jax.numpy as jnp

from specrun.runtime.models.attention import POOLING
from specrun.runtime.models.bert import model as bert
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.modernbert import model as modernbert
from specrun.runtime.models.modules import (
    Adapter,
    Keys,
    Shell,
    Stack,
    bind,
    computing_in,
    fork,
    misfits,
    shell,
)
from specrun.runtime.models.mpnet import model as mpnet
from specrun.runtime.models.qwen3 import model as qwen3
from specrun.runtime.models.roberta import model as roberta
from specrun.runtime.models.stacking import parameter_leaves
from specrun.runtime.models.text_encoder import model as text_encoder
from specrun.runtime.models.towers import tower
from specrun.runtime.trees import Tree, flatten
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import (
    SIDES,
    BertConfig,
    EncoderConfig,
    Group,
    LoraPlan,
    ModelPlan,
    ModernbertConfig,
    MpnetConfig,
    Qwen3Config,
    RobertaConfig,
    Side,
    TextEncoderConfig,
)

Layers = Callable[[dict[str, Adapter], int], Any]
"""A layer with these adapters, of a group whose first layer has this index."""


@dataclass(frozen=True)
class Encoder:
    """``encode`` and the shapes it needs.

    ``abstract`` is the nested dict of the encoder's leaves (``jax.ShapeDtypeStruct``); losses keep their own leaves
    elsewhere. Both are free of state: the numbers are an argument of ``encode``.
    """

    model: ModelPlan
    ends: Shell
    stacks: tuple[Stack, ...]

    @property
    def abstract(self) -> Tree:
        """Leaves of the encoder: paths as in ``ModelPlan.parameters``."""
        groups = {str(i): stack.abstract for i, stack in enumerate(self.stacks)}
        return {**self.ends.abstract, **({"groups": groups} if groups else {})}

    def encode(
        self,
        params: Tree,
        ids: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> jax.Array:
        """Embeddings f32 [B, D]: pooled, normed, projected, not L2-normalised; of either ``side``.

        ``ids`` int32 [B, S]; ``mask`` bool [B, S], True where a token is valid, padding on the right; ``keys`` typed
        keys [B], one per row, or None for evaluation. A row without valid tokens gives finite numbers. Raises
        InputError when S exceeds the positions that the model has.
        """
        del side  # one network embeds both
        config = self.model.config
        _check_length(config, ids.shape[1])
        ends = bind(self.ends, {k: v for k, v in params.items() if k != "groups"})
        per_layer = fork(keys if _is_random(self.model) else None, config.num_hidden_layers + 1)
        x = ends.embed(ids, per_layer[0])  # [B, S, D]
        context, each = _context(config, ends, mask), _of_each_layer(config)
        for i, (stack, group) in enumerate(zip(self.stacks, self.model.groups, strict=True)):
            first, last = group.first, group.first + group.count
            own = None if per_layer[0] is None else per_layer[first + 1 : last + 1]
            kind = None if each is None else each[first:last]
            x = stack(params["groups"][str(i)], x, *context, keys=own, each=kind)
        return ends.finish(POOLING[config.pooling](ends.tokens(x), mask))


@dataclass(frozen=True)
class Towers:
    """Two encoders, one for each side. Parameters are a dict of the sides' own, by the names of the sides."""

    query: Encoder
    positive: Encoder

    @property
    def abstract(self) -> Tree:
        """Leaves of both: paths as in ``ModelPlan.parameters``."""
        return {"query": self.query.abstract, "positive": self.positive.abstract}

    def encode(
        self,
        params: Tree,
        ids: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> jax.Array:
        """As ``Encoder.encode``, by the tower of ``side``. ValueError (an internal error) without one."""
        match side:
            case "query":
                return self.query.encode(params["query"], ids, mask, keys)
            case "positive":
                return self.positive.encode(params["positive"], ids, mask, keys)
            case None:
                raise ValueError("internal error: separate towers embed a side, and none is named")
            case _:
                assert_never(side)


def build_encoder(
    model: ModelPlan, *, compute: str = "float32", remat: bool = False, unroll: int = 1
) -> Encoder | Towers:
    """The encoder of ``model``. ``remat`` and ``unroll`` change memory and speed, never the result.

    ``compute`` bfloat16 rounds the operands of products within the layers, and what they store; sums, norms, softmax,
    the residual stream, pooling and the head stay in f32, and so do the parameters.

    Raises ValueError (an internal error) when the modules and ``model.parameters`` disagree.
    """
    if model.towers == "shared":
        return _one_network(model, compute, remat, unroll)
    query, positive = (_one_network(tower(model, side), compute, remat, unroll) for side in SIDES)
    return Towers(query, positive)


def _one_network(model: ModelPlan, compute: str, remat: bool, unroll: int) -> Encoder:
    ends, layer = _family(model)

    def stack(group: Group) -> Stack:
        made = shell(
            lambda: computing_in(layer(_adapters(group, model.lora), group.first), compute)
        )
        return Stack(made, group.count, remat, unroll)

    stacks = tuple(stack(group) for group in model.groups)
    encoder = Encoder(model, ends, stacks)
    _check_table(encoder)
    return encoder


def _family(model: ModelPlan) -> tuple[Shell, Layers]:
    config = model.config
    match config:
        case TextEncoderConfig():
            return (
                shell(lambda: text_encoder.Ends(config)),
                lambda adapters, _: text_encoder.Layer(config, adapters),
            )
        case BertConfig():
            return shell(lambda: bert.Ends(config)), lambda adapters, _: bert.Layer(
                config, adapters
            )
        case RobertaConfig():
            return (
                shell(lambda: roberta.Ends(config)),
                lambda adapters, _: roberta.Layer(config, adapters),
            )
        case MpnetConfig():
            return (
                shell(lambda: mpnet.Ends(config)),
                lambda adapters, _: mpnet.Layer(config, adapters),
            )
        case Qwen3Config():
            return (
                shell(lambda: qwen3.Ends(config)),
                lambda adapters, _: qwen3.Layer(config, adapters),
            )
        case ModernbertConfig():
            return (
                shell(lambda: modernbert.Ends(config)),
                lambda adapters, first: modernbert.Layer(config, adapters, normed=first > 0),
            )
        case _:
            assert_never(config)


def _context(config: EncoderConfig, ends: Any, mask: jax.Array) -> tuple[Any, ...]:
    match config:
        case TextEncoderConfig():
            return text_encoder.context(config, mask)
        case BertConfig() | RobertaConfig():
            return bert.context(config, mask)
        case MpnetConfig():
            return ends.context(mask)
        case Qwen3Config():
            return qwen3.context(config, mask)
        case ModernbertConfig():
            return modernbert.context(config, mask)
        case _:
            assert_never(config)


def _of_each_layer(config: EncoderConfig) -> jax.Array | None:
    """What a layer is given of its own beside the context, [layers]; None where all are given the same."""
    return modernbert.kinds(config) if isinstance(config, ModernbertConfig) else None


def _adapters(group: Group, lora: LoraPlan | None) -> dict[str, Adapter]:
    if lora is None:
        return {}
    adapter = Adapter(lora.rank, lora.scale, lora.dropout)
    return dict.fromkeys(group.adapted, adapter)


def _is_random(model: ModelPlan) -> bool:
    """Whether training draws random numbers at all; if not, keys need not be forked."""
    config = model.config
    rates = [config.hidden_dropout_prob]
    if config.num_hidden_layers:
        rates.append(config.attention_probs_dropout_prob)
        rates.append(model.lora.dropout if model.lora else 0.0)
    return any(rate > 0.0 for rate in rates)


def _check_length(config: EncoderConfig, length: int) -> None:
    if config.longest is not None and length > config.longest:
        raise InputError(
            f"rows are {length} tokens long, but the model has {config.longest} positions",
            code="too-long",
            hint="lower data.max_length, or the length asked of the predictor",
        )


def _check_table(encoder: Encoder) -> None:
    found = flatten(encoder.abstract)
    expected = {
        p.path: jax.ShapeDtypeStruct(p.shape, "float32")
        for p in parameter_leaves(encoder.model.parameters)
    }
    faults = misfits(expected, found)
    if faults:
        raise ValueError(
            "internal error: the modules differ from the plan's parameters: " + "; ".join(faults)
        )


def initial_parameters(model: ModelPlan, seed: int) -> Tree:
    """Leaves of the encoder (jax arrays, f32), nested: read from ``model.weights``, or new from ``seed``.

    Raises InputError naming everything missing, unexpected, doubled, misshapen or changed in the weights files.
    """
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), initial_arrays(model, seed))
