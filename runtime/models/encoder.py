"""The encoder of a plan: one pure function from token ids to embeddings, and the leaves it starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import jax
import jax.numpy as jnp

from specrun.runtime.embedded import Embedded, Tokens
from specrun.runtime.models.attention import POOLING
from specrun.runtime.models.bert import model as bert
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.modules import (
    Adapter,
    Dense,
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
from specrun.runtime.models.roberta import model as roberta
from specrun.runtime.models.stacking import parameter_leaves
from specrun.runtime.models.tables import TOKEN_HEAD
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
    MpnetConfig,
    RobertaConfig,
    Side,
    TextEncoderConfig,
)

Layers = Callable[[dict[str, Adapter]], Any]


@dataclass(frozen=True)
class Encoder:
    """``encode`` and the shapes it needs.

    ``abstract`` is the nested dict of the encoder's leaves (``jax.ShapeDtypeStruct``); losses keep their own leaves
    elsewhere. Both are free of state: the numbers are an argument of ``encode``.
    """

    model: ModelPlan
    ends: Shell
    stacks: tuple[Stack, ...]
    head: Shell | None = None

    @property
    def abstract(self) -> Tree:
        """Leaves of the encoder: paths as in ``ModelPlan.parameters``."""
        groups = {str(i): stack.abstract for i, stack in enumerate(self.stacks)}
        own = {} if self.head is None else {TOKEN_HEAD: self.head.abstract}
        return {**self.ends.abstract, **({"groups": groups} if groups else {}), **own}

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
        return self.embed(params, ids, mask, keys, side).dense

    def embed(
        self,
        params: Tree,
        ids: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> Embedded:
        """As ``encode``, with the vectors of the tokens [B, S, D] where the model gives such."""
        del side  # one network embeds both
        config = self.model.config
        _check_length(config, ids.shape[1])
        ends = bind(self.ends, {k: v for k, v in params.items() if k not in ("groups", TOKEN_HEAD)})
        per_layer = fork(keys if _is_random(self.model) else None, config.num_hidden_layers + 1)
        x = ends.embed(ids, per_layer[0])  # [B, S, D]
        context = _context(config, ends, mask)
        for i, (stack, group) in enumerate(zip(self.stacks, self.model.groups, strict=True)):
            first = group.first + 1
            own = None if per_layer[0] is None else per_layer[first : first + group.count]
            x = stack(params["groups"][str(i)], x, *context, keys=own)
        return self._finish(ends, params, x, mask)

    def _finish(self, ends: Any, params: Tree, x: jax.Array, mask: jax.Array) -> Embedded:
        """The outputs, from the states [B, S, D] of the last layer."""
        pooling, valid = self.model.config.pooling, mask.astype(jnp.float32)
        if pooling == "none":
            nothing = jnp.zeros((x.shape[0], 0), jnp.float32)
            return Embedded(nothing, Tokens(ends.finish(x), valid))
        dense = ends.finish(POOLING[pooling](x, mask))
        if self.head is None:
            return Embedded(dense)
        vectors = bind(self.head, params[TOKEN_HEAD])(x)
        return Embedded(dense, Tokens(vectors, valid))


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
        return self.embed(params, ids, mask, keys, side).dense

    def embed(
        self,
        params: Tree,
        ids: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> Embedded:
        """As ``Encoder.embed``, by the tower of ``side``."""
        match side:
            case "query":
                return self.query.embed(params["query"], ids, mask, keys)
            case "positive":
                return self.positive.embed(params["positive"], ids, mask, keys)
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
        made = shell(lambda: computing_in(layer(_adapters(group, model.lora)), compute))
        return Stack(made, group.count, remat, unroll)

    stacks = tuple(stack(group) for group in model.groups)
    encoder = Encoder(model, ends, stacks, _token_head(model.config))
    _check_table(encoder)
    return encoder


def _token_head(config: EncoderConfig) -> Shell | None:
    width = config.multi_vector_dim
    if width is None:
        return None
    return shell(lambda: Dense(config.hidden_size, width, bias=False))


def _family(model: ModelPlan) -> tuple[Shell, Layers]:
    config = model.config
    match config:
        case TextEncoderConfig():
            return (
                shell(lambda: text_encoder.Ends(config)),
                lambda adapters: text_encoder.Layer(config, adapters),
            )
        case BertConfig():
            return shell(lambda: bert.Ends(config)), lambda adapters: bert.Layer(config, adapters)
        case RobertaConfig():
            return (
                shell(lambda: roberta.Ends(config)),
                lambda adapters: roberta.Layer(config, adapters),
            )
        case MpnetConfig():
            return (
                shell(lambda: mpnet.Ends(config)),
                lambda adapters: mpnet.Layer(config, adapters),
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
        case _:
            assert_never(config)


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
