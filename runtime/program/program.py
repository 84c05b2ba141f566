"""A plan as pure functions of data: ``Program(init, step, enter, evaluate, encode)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from specrun.runtime import trees
from specrun.runtime.embedded import embedded
from specrun.runtime.losses import table as losses
from specrun.runtime.losses.algebra import given
from specrun.runtime.losses.masked import HiddenScores, score_hidden
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.vocabulary import Logits, logits_of
from specrun.runtime.program import mesh as meshes
from specrun.runtime.program import optimizer, state
from specrun.runtime.program.control import Control
from specrun.runtime.program.gradients import (
    Encode,
    Objective,
    evaluation_key,
    loss_and_gradient,
    loss_only,
    step_key,
)
from specrun.runtime.program.masking import hide_batch, hide_held_out
from specrun.runtime.program.settings import executable_settings
from specrun.runtime.program.state import State
from specrun.runtime.program.traces import TraceCounter
from specrun.runtime.trees import Tree
from specrun.spec.plan.losses import hiding, teacher_of
from specrun.spec.plan.networks import TextImageConfig
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.sides import Side

Metrics = dict[str, jax.Array]
ScoreHidden = Callable[..., HiddenScores]


class Program(NamedTuple):
    """What a run is made of. No function keeps anything between calls, ``traces`` apart.

    ``init(seed)``: a state in which nothing trains yet. InputError for unusable weights.
    ``step(state, batch, control)``: the state after one optimizer step, and metrics as device
    scalars: ``loss``; ``grad_norm`` before clipping; ``loss.NAME`` where the plan has several
    losses; ``temperature.NAME`` and ``bias.NAME``, those this step used, where they are parameters.
    Waits for nothing. The trained and optimizer arrays of the state given are used up.
    ``enter(index, state)``: the state at the start of a segment, which shares the old one's arrays.
    ``evaluate(state, batch, control)``: ``loss`` and ``loss.NAME`` without dropout.
    ``encode(parameters, ids, mask, side)``: embeddings f32 [B, D], not normalised, of int32 and
    bool [B, S], or of images and a mask [B, 1], see ``Batch``; ``parameters`` is a state, or all parameters as one nested dict. Separate towers
    need the side; a shared one embeds both. Of a model that gives token vectors an ``Embedded``.
    ``score_hidden(state, ids, mask, rows, counts)``: of held-out texts int32 [B, S] with ``counts[n]`` of n tokens hidden, by
    the numbers of the rows uint32 [B]; None where the model has no scores for tokens.
    ``traces()``: how often Python traced the training step, by the names the plan promises.

    A batch is ``runtime.data.batches.Batch`` with arrays [A, B, ...], on the host or a device;
    control values are ``runtime.control.control_at``'s.
    """

    init: Callable[[int], State]
    step: Step
    enter: Callable[[int, State], State]
    evaluate: Callable[[State, Any, Control], Metrics]
    encode: Encoding
    traces: TraceCounter
    score_hidden: ScoreHidden | None = None


def build_program(plan: Plan) -> Program:
    """The program of a plan. InputError when the machine lacks the devices it names."""
    train = plan.train
    encoder = build_encoder(
        plan.model,
        compute=plan.precision.compute,
        remat=train.gradient_checkpointing,
        unroll=train.unroll,
    )
    encode = encoder.embed if plan.model.multi_vector else encoder.encode
    config = plan.model.config
    logits = None if isinstance(config, TextImageConfig) else logits_of(config)
    return assemble(plan, encode, lambda seed: initial_arrays(plan.model, seed), logits)


def assemble(
    plan: Plan, encode: Encode, initial: Callable[[int], Tree], logits: Logits | None = None
) -> Program:
    """The program around any encoder; ``initial(seed)`` gives the encoder's parameters.

    ``logits`` is the head of a language model, where the encoder is one.
    """
    mesh = meshes.data_mesh(plan)
    counter = TraceCounter(plan)
    bare = losses.terms(losses.without_explicit(plan), logits)
    parts = _Parts(plan, encode, losses.terms(plan, logits), bare, counter)
    return Program(
        init=lambda seed: state.init(plan, mesh, initial(seed)),
        step=_step(parts, mesh),
        enter=lambda index, old: state.enter(plan, mesh, index, old),
        evaluate=_evaluate(parts, mesh),
        encode=_encode(parts, mesh),
        traces=counter,
        score_hidden=None if logits is None else _score_hidden(parts, mesh, logits),
    )


class _Parts(NamedTuple):
    plan: Plan
    encode: Encode
    terms: dict[str, Any]
    bare: dict[str, Any]
    counter: TraceCounter

    def objective(
        self, names: Any, batch: Any, key: jax.Array, masking: Any, dropout: Any = None
    ) -> Objective:
        """The losses named, under the encoder without the parameters of losses.

        Where a plan mines negatives in some stages, the batches of the others have none to take.
        Where a loss hides tokens, ``key`` and ``masking`` (see ``Control``) say which and how many.
        ``dropout`` is the scale of its rates.
        """

        def encode(parameters: Tree, ids: Any, mask: Any, keys: Any, side: Side) -> Any:
            return self.encode(_without_losses(parameters), ids, mask, keys, side)

        train = self.plan.train
        chunks = train.batch_size // train.micro_batch_size
        unmined = self.plan.data.mining is not None and batch.negative_weight is None
        known = self.bare if unmined else self.terms
        terms = {name: known[name] for name in sorted(names)}
        loss = hiding(self.plan.losses)
        if loss is None:
            return Objective(encode, terms, chunks, dropout_scale=dropout)

        def hide(batch: Any) -> Any:
            return hide_batch(loss.sampling, batch, key, self.plan.tokenizer, masking)

        return Objective(encode, terms, chunks, hide, dropout)


@dataclass(frozen=True)
class Step:
    """``Program.step``: the jitted step, and its lowering for who measures it without running it."""

    compiled: Any
    rows: jax.sharding.NamedSharding
    everywhere: jax.sharding.NamedSharding

    def __call__(self, old: State, batch: Any, control: Control) -> tuple[State, Metrics]:
        # Explicit, so that a transfer guard may forbid every other transfer.
        batch, control = jax.device_put((batch, control), (self.rows, self.everywhere))
        new, metrics = self.compiled(_carried(old), old["frozen"], batch, control)
        return {**new, "frozen": old["frozen"]}, metrics

    def lower(self, old: State, batch: Any, control: Control) -> jax.stages.Lowered:
        """The step lowered for arguments of these shapes, which may be abstract. It is a trace."""
        return self.trace(old, batch, control).lower()

    def trace(self, old: State, batch: Any, control: Control) -> jax.stages.Traced:
        """As ``lower``, one stage earlier: the jaxpr, from which it can be lowered."""
        return self.compiled.trace(_carried(old), old["frozen"], batch, control)


@dataclass(frozen=True)
class Encoding:
    """``Program.encode``: the jitted encoder, and its trace for who measures it without running it."""

    compiled: Any
    mesh: jax.sharding.Mesh
    shared: bool

    def __call__(
        self, parameters: Mapping[str, Any], ids: Any, mask: Any, side: Side | None = None
    ) -> Any:
        rows = meshes.first_axis(self.mesh, mask.shape[0])
        ids, mask = jax.device_put((ids, mask), rows)
        return self.compiled(*self._arguments(parameters, ids, mask, side))

    def trace(
        self, parameters: Mapping[str, Any], ids: Any, mask: Any, side: Side | None = None
    ) -> jax.stages.Traced:
        """The encoder traced for arguments of these shapes and placements, which may be abstract."""
        return self.compiled.trace(*self._arguments(parameters, ids, mask, side))

    def _arguments(
        self, parameters: Mapping[str, Any], ids: Any, mask: Any, side: Side | None
    ) -> tuple[Any, ...]:
        own = None if self.shared else side  # so that both sides share one compiled function
        return _without_losses(state.parameters_of(parameters)), ids, mask, own


def _carried(old: State) -> Tree:
    return {part: old[part] for part in state.CARRIED}


def _step(parts: _Parts, mesh: jax.sharding.Mesh) -> Step:
    everywhere, rows = meshes.replicated(mesh), meshes.over_rows(mesh)
    compiled = _jit(
        parts.plan,
        lambda *args: _train(parts, *args),
        in_shardings=(everywhere, everywhere, rows, everywhere),
        out_shardings=everywhere,
        donate_argnums=0,
    )
    return Step(compiled, rows, everywhere)


def _train(
    parts: _Parts, carried: Tree, frozen: Tree, batch: Any, control: Control
) -> tuple[Tree, Metrics]:
    plan, weights = parts.plan, control["loss_weights"]
    _check_batch(plan, batch)
    parts.counter.train(
        batch.query_mask.shape[2],
        0 if batch.positive_mask is None else batch.positive_mask.shape[2],
        weights,
        trees.flatten(carried["params"]),
        mined=plan.data.mining is not None and batch.negative_weight is not None,
    )
    key = step_key(plan.seed, control["segment"], carried["step"])
    value, gradients = loss_and_gradient(
        parts.objective(weights, batch, key, control["masking"], control["dropout_scale"]),
        carried["params"],
        frozen,
        batch,
        weights,
        key,
    )
    norm = optimizer.global_norm(gradients)
    params, moments = optimizer.update(
        plan.optimizer,
        {p.path for p in plan.model.parameters if p.decay},
        carried["params"],
        optimizer.clip(gradients, norm, plan.optimizer.max_grad_norm),
        carried["optimizer"],
        control["learning_rate"],
    )
    metrics = _loss_metrics(plan, value) | {"grad_norm": norm}
    used = trees.merge(carried["params"], frozen)
    metrics |= losses.scalars(plan, set(weights), used)
    new = {
        "params": losses.project(plan, params),
        "optimizer": moments,
        "step": carried["step"] + 1,
    }
    return new, metrics


def _evaluate(parts: _Parts, mesh: jax.sharding.Mesh) -> Callable[..., Metrics]:
    everywhere, rows = meshes.replicated(mesh), meshes.over_rows(mesh)

    def trace(parameters: Tree, batch: Any, weights: Any, masking: Any) -> Metrics:
        parts.counter.evaluation += 1
        key = evaluation_key(parts.plan.seed)
        objective = parts.objective(weights, batch, key, masking)
        value = loss_only(objective, parameters, batch, weights)
        return _loss_metrics(parts.plan, value)

    compiled = _jit(
        parts.plan,
        trace,
        in_shardings=(everywhere, rows, everywhere, everywhere),
        out_shardings=everywhere,
    )

    def evaluate(old: State, batch: Any, control: Control) -> Metrics:
        own = (batch, control["loss_weights"], control["masking"])
        return compiled(
            state.parameters_of(old), *jax.device_put(own, (rows, everywhere, everywhere))
        )

    return evaluate


def _score_hidden(parts: _Parts, mesh: jax.sharding.Mesh, logits: Logits) -> ScoreHidden:
    """How well the model tells hidden tokens of held-out texts, which no draw but the plan's seed decides."""
    plan = parts.plan

    def trace(parameters: Tree, ids: Any, mask: Any, rows: Any, counts: Any) -> HiddenScores:
        parts.counter.evaluation += 1
        shown = hide_held_out(evaluation_key(plan.seed), plan.tokenizer, ids, mask, rows, counts)
        found = parts.encode(_without_losses(parameters), shown.ids, mask, None, "query")
        states = given(embedded(found).tokens).vectors
        return score_hidden(
            partial(logits, parameters), states, ids, shown.hidden, plan.train.score_tile_rows
        )

    compiled = _jit(plan, trace)
    everywhere = meshes.replicated(mesh)

    def score(old: State, ids: Any, mask: Any, rows: Any, counts: Any) -> HiddenScores:
        spread = meshes.first_axis(mesh, mask.shape[0])
        ids, mask, rows = jax.device_put((ids, mask, rows), spread)
        return compiled(
            state.parameters_of(old), ids, mask, rows, jax.device_put(counts, everywhere)
        )

    return score


def _encode(parts: _Parts, mesh: jax.sharding.Mesh) -> Encoding:
    def trace(parameters: Tree, ids: jax.Array, mask: jax.Array, side: Side | None) -> Any:
        parts.counter.encoding += 1
        return parts.encode(parameters, ids, mask, None, side)

    compiled = _jit(parts.plan, trace, static_argnums=3)
    return Encoding(compiled, mesh, parts.plan.model.towers != "separate")


def _jit(plan: Plan, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """jit with the plan's precision and XLA options, which thereby reach everything that is run."""
    settings = executable_settings(plan)

    def trace(*args: Any) -> Any:
        with jax.default_matmul_precision(settings["matmul_precision"]):
            return function(*args)

    return jax.jit(trace, compiler_options=settings["compiler_options"], **options)


def _loss_metrics(plan: Plan, value: Any) -> Metrics:
    named = {f"loss.{name}": part for name, part in value.parts.items()}
    return {"loss": value.loss} | (named if len(plan.losses) > 1 else {})


def _without_losses(parameters: Mapping[str, Any]) -> Tree:
    return {name: part for name, part in parameters.items() if name != "losses"}


def _check_batch(plan: Plan, batch: Any) -> None:
    """ValueError for a batch of another plan: its rows, or its explicit negatives and labels."""
    expected = (plan.train.accumulation_steps, plan.train.batch_size)
    arrays = {  # of what is a tree, such as texts with images, the first array
        name: jnp.shape(jax.tree.leaves(x)[0])
        for name, x in batch._asdict().items()
        if x is not None
    }
    if wrong := {name: shape[:2] for name, shape in arrays.items() if shape[:2] != expected}:
        raise ValueError(f"batch arrays must begin with {expected}: {wrong}")
    scan = plan.data.scan
    negatives = arrays.get("negative_ids", (0, 0, 0))[2]
    known = {plan.negatives_in(index) for index in range(len(plan.segments))}
    if negatives not in known or ("label" in arrays) != (scan.labels > 0):
        raise ValueError(
            f"the plan's rows have {' or '.join(map(str, sorted(known)))} negatives and {scan.labels} labels; the batch "
            f"has {negatives} negatives and {'a' if 'label' in arrays else 'no'} label"
        )
    teacher = teacher_of(plan.losses)
    width = arrays.get("teacher_query", (0, 0, 0))[2]
    if width != (teacher.width if teacher else 0):
        raise ValueError(f"the plan's teacher is {teacher}; the batch has one of width {width}")
    if ("score" in arrays) != (scan.scores > 0):
        raise ValueError(
            f"the plan's rows have {scan.scores} scores; the batch has "
            f"{'a' if 'score' in arrays else 'no'} score"
        )
