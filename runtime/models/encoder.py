"""The encoder of a plan: one pure function from token ids to embeddings, and the leaves it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import jax
import jax.numpy as jnp

from specrun.runtime.data.content import Both
from specrun.runtime.embedded import Embedded, Tokens
from specrun.runtime.images.pixels import affine
from specrun.runtime.models.head import Head, unit
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.modules import Adapter, Dense, computing_in
from specrun.runtime.models.networks import context_of, family_of, of_each_layer, pooled
from specrun.runtime.models.patches import image_tokens
from specrun.runtime.models.randomness import Keys, fork, stacked
from specrun.runtime.models.shells import Shell, Stack, bind, misfits, shell
from specrun.runtime.models.siglip2 import model as siglip2
from specrun.runtime.models.stacking import parameter_leaves
from specrun.runtime.models.tables import HEAD, TOKEN_HEAD
from specrun.runtime.models.towers import network_config, tower
from specrun.runtime.models.vocabulary import head_of
from specrun.runtime.trees import Tree, flatten
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import LoraPlan, ModelPlan
from specrun.spec.plan.networks import NetworkConfig, TextConfig
from specrun.spec.plan.parameters import VOCABULARY, Group
from specrun.spec.plan.sides import Side, tower_names
from specrun.spec.plan.towers import ImageTower, Siglip2VisionConfig, SiglipTextConfig


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
    tokens: Shell | None = None
    vocabulary: Shell | None = None

    @property
    def abstract(self) -> Tree:
        """Leaves of the encoder: paths as in ``ModelPlan.parameters``."""
        groups = {str(i): stack.abstract for i, stack in enumerate(self.stacks)}
        head = {} if self.head is None else {HEAD: self.head.abstract}
        tokens = {} if self.tokens is None else {TOKEN_HEAD: self.tokens.abstract}
        scores = {} if self.vocabulary is None else {VOCABULARY: self.vocabulary.abstract}
        layers = {"groups": groups} if groups else {}
        return {**self.ends.abstract, **layers, **head, **tokens, **scores}

    def encode(
        self,
        params: Tree,
        content: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> jax.Array:
        """Embeddings f32 [B, D]: pooled, normed, projected, not L2-normalised; of either ``side``.

        ``content`` is ids int32 [B, S], or of an image network pixels uint8 [B, H, W, 3]; those of images of any shape lie
        as ``images.naflex`` says. ``mask`` bool [B, S], True where a token is valid, padding on the right; ``keys``
        typed keys [B], one per row, or None for evaluation. A row without valid tokens gives finite numbers. Raises
        InputError when S exceeds the positions that the model has.
        """
        return self.embed(params, content, mask, keys, side).dense

    def embed(
        self,
        params: Tree,
        content: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> Embedded:
        """As ``encode``, with the vectors of the tokens [B, S, D] where the model gives such."""
        del side  # one network embeds both
        config = network_config(self.model)
        _check_length(config, content)
        if isinstance(config, SiglipTextConfig):  # it sees padding, so padding must be its own
            content = jnp.where(mask, content, config.pad_token_id)
        outside = ("groups", HEAD, TOKEN_HEAD, VOCABULARY)
        ends = bind(self.ends, {k: v for k, v in params.items() if k not in outside})
        per_layer = fork(keys if _is_random(self.model) else None, config.num_hidden_layers + 1)
        seen = self._seen(content)
        if isinstance(seen, siglip2.Patches):  # an image says itself how much of it there is
            mask = siglip2.valid(seen.shape, config.max_num_patches)
        x = ends.embed(seen, per_layer[0])  # [B, S, D]
        context, each = context_of(config, ends, mask), of_each_layer(config)
        for i, (stack, group) in enumerate(zip(self.stacks, self.model.groups, strict=True)):
            first, last = group.first, group.first + group.count
            own = None if per_layer[0] is None else stacked(per_layer[first + 1 : last + 1])
            kind = None if each is None else each[first:last]
            x = stack(params["groups"][str(i)], x, *context, keys=own, each=kind)
        return self._finish(ends, params, x, content, mask)

    def _finish(
        self, ends: Any, params: Tree, x: jax.Array, content: jax.Array, mask: jax.Array
    ) -> Embedded:
        """The outputs, from the states [B, S, D] of the last layer."""
        config, late = network_config(self.model), self.model.multi_vector
        head = (lambda y: y) if self.head is None else bind(self.head, params[HEAD])
        normed = ends.tokens(x)
        if late is not None and late.alone:
            dense = jnp.zeros((x.shape[0], 0), jnp.float32)
        else:
            pooled_of = normed if isinstance(config, TextConfig) else x
            dense = head(ends.finish(pooled(config, ends, pooled_of, content, mask)))
        if late is None:
            return Embedded(dense)
        if self.tokens is None:
            vectors = head(ends.finish(normed))
        else:
            vectors = bind(self.tokens, params[TOKEN_HEAD])(normed)
        valid = mask.astype(jnp.float32)
        if isinstance(
            config, Siglip2VisionConfig
        ):  # whose images are of many lengths, padded to one
            return Embedded(dense, Tokens(vectors, valid))
        if isinstance(config, ImageTower):
            return Embedded(dense, image_tokens(vectors, late.top_k_patches))
        # SigLIP's texts are longer inside than they were given, by padding.
        return Embedded(dense, Tokens(vectors[:, : valid.shape[1]], valid))

    def _seen(self, content: jax.Array) -> jax.Array | siglip2.Patches:
        """Ids as they are; of pixels what the model's image processor makes of them."""
        if content.ndim == 2:
            return content
        assert self.model.image_processor is not None
        scale, shift = affine(self.model.image_processor)
        if not isinstance(self.model.config, Siglip2VisionConfig):
            return content.astype(jnp.float32) * scale + shift
        pixels = content[:, :-1].astype(jnp.float32) * scale + shift
        flat = pixels.reshape(*pixels.shape[:2], -1)
        return siglip2.Patches(flat, siglip2.shapes(content))


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
        content: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> jax.Array:
        """As ``Encoder.encode``, by the tower of ``side``. ValueError (an internal error) without one."""
        return self.embed(params, content, mask, keys, side).dense

    def embed(
        self,
        params: Tree,
        content: jax.Array,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> Embedded:
        """As ``Encoder.embed``, by the tower of ``side``."""
        match side:
            case "query":
                return self.query.embed(params["query"], content, mask, keys)
            case "positive":
                return self.positive.embed(params["positive"], content, mask, keys)
            case None:
                raise ValueError("internal error: separate towers embed a side, and none is named")
            case _:
                assert_never(side)


@dataclass(frozen=True)
class TextImage:
    """Two encoders, one for texts and one for images, whose embeddings are compared with each other."""

    text: Encoder
    image: Encoder

    @property
    def abstract(self) -> Tree:
        """Leaves of both: paths as in ``ModelPlan.parameters``."""
        return {"text": self.text.abstract, "image": self.image.abstract}

    def encode(
        self,
        params: Tree,
        content: Any,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> jax.Array:
        """As ``Encoder.encode``, by the encoder of what ``content`` is: ids, pixels, or ``data.content.Both``.

        A text and an image together are the sum of the two embeddings brought to length 1.
        """
        return self.embed(params, content, mask, keys, side).dense

    def embed(
        self,
        params: Tree,
        content: Any,
        mask: jax.Array,
        keys: Keys = None,
        side: Side | None = None,
    ) -> Embedded:
        """As ``encode``, with token vectors where the model gives such: of a text and an image together those of both."""
        if isinstance(content, Both):
            text = self.text.embed(params["text"], content.ids, mask, keys)
            image = self.image.embed(params["image"], content.pixels, mask, keys)
            return Embedded(unit(text.dense) + unit(image.dense), _together(text, image))
        if content.ndim == 2:
            return self.text.embed(params["text"], content, mask, keys)
        return self.image.embed(params["image"], content, mask, keys)


def _together(text: Embedded, image: Embedded) -> Tokens | None:
    if text.tokens is None or image.tokens is None:
        return None
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), text.tokens, image.tokens)


def build_encoder(
    model: ModelPlan, *, compute: str = "float32", remat: bool = False, unroll: int = 1
) -> Encoder | Towers | TextImage:
    """The encoder of ``model``. ``remat`` and ``unroll`` change memory and speed, never the result.

    ``compute`` bfloat16 rounds the operands of products within the layers, and what they store; sums, norms, softmax,
    the residual stream, pooling and the head stay in f32, and so do the parameters.

    Raises ValueError (an internal error) when the modules and ``model.parameters`` disagree.
    """
    names = tower_names(model.towers)
    if not names:
        return _one_network(model, compute, remat, unroll)
    one, other = (_one_network(tower(model, name), compute, remat, unroll) for name in names)
    return Towers(one, other) if model.towers == "separate" else TextImage(one, other)


def _one_network(model: ModelPlan, compute: str, remat: bool, unroll: int) -> Encoder:
    ends, layer = family_of(model)

    def stack(group: Group) -> Stack:
        made = shell(
            lambda: computing_in(layer(_adapters(group, model.lora), group.first), compute)
        )
        return Stack(made, group.count, remat, unroll)

    stacks = tuple(stack(group) for group in model.groups)
    heads = [p for p in model.parameters if p.path.startswith(f"{HEAD}.") and p.role == "kernel"]
    head = shell(lambda: Head(*(p.shape for p in heads))) if heads else None
    config = network_config(model)
    scores = head_of(config)
    encoder = Encoder(model, ends, stacks, head, _token_head(model), scores)
    _check_table(encoder)
    return encoder


def _token_head(model: ModelPlan) -> Shell | None:
    path = f"{TOKEN_HEAD}.kernel"
    shape = next((p.shape for p in model.parameters if p.path == path), None)
    return None if shape is None else shell(lambda: Dense(*shape, bias=False))


def _adapters(group: Group, lora: LoraPlan | None) -> dict[str, Adapter]:
    if lora is None:
        return {}
    adapter = Adapter(lora.rank, lora.scale, lora.dropout)
    return dict.fromkeys(group.adapted, adapter)


def _is_random(model: ModelPlan) -> bool:
    """Whether training draws random numbers at all; if not, keys need not be forked."""
    config = network_config(model)
    rates = [config.hidden_dropout_prob]
    if config.num_hidden_layers:
        rates.append(config.attention_probs_dropout_prob)
        rates.append(model.lora.dropout if model.lora else 0.0)
    return any(rate > 0.0 for rate in rates)


def _check_length(config: NetworkConfig, content: jax.Array) -> None:
    length = content.shape[1]
    if content.ndim == 2 and config.longest is not None and length > config.longest:
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
