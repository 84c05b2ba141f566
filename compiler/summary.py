"""The one-screen summary that `specrun compile` prints."""

from __future__ import annotations

from specrun.compiler.fit import allowed, size, worst
from specrun.compiler.passes.language import both_counts
from specrun.compiler.passes.losses import describe
from specrun.compiler.summary_presets import preset_lines
from specrun.spec.plan.cost import CostPlan
from specrun.spec.plan.data import FormatCount, texts_only
from specrun.spec.plan.model import networks, token_vectors
from specrun.spec.plan.networks import BertShape, TextEncoderConfig, is_language_model
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import Segment
from specrun.spec.plan.sides import inside_layer

LISTED = 8
CLASSES = ("easy", "medium", "hard")


def summary(plan: Plan) -> str:
    """What will happen, what it costs, and what was found, on one screen."""
    parts = [
        _head(plan),
        preset_lines(plan),
        _model(plan),
        _data(plan),
        _difficulty(plan),
        _training(plan),
        _watch(plan),
        _cost(plan),
        _findings(plan),
    ]
    return "\n".join(line for part in parts for line in part)


def _head(plan: Plan) -> list[str]:
    return [f"{plan.name}: {plan.train.total_steps} steps into {plan.output_dir}, seed {plan.seed}"]


def _vectors(plan: Plan) -> str:
    """What the model gives for a text."""
    model, late = plan.model, plan.model.multi_vector
    config = model.config
    if isinstance(config, TextEncoderConfig | BertShape) and is_language_model(config):
        tied = " by the token table" if config.vocabulary_head == "tied" else ""
        return f"scores of {config.vocab_size:,} ids for every token{tied}"
    if late is None:
        return f"embedding {model.embedding_dim}"
    if late.alone:
        return token_vectors(late)
    return f"embedding {model.embedding_dim} and {token_vectors(late)}"


def _model(plan: Plan) -> list[str]:
    model = plan.model
    auto = f" (auto: config.json says {model.decided_by})" if model.decided_by else ""
    lines = [
        f"model      {networks(model, auto)}, {_vectors(plan)}; "
        f"{model.total_parameters:,} parameters, {model.trainable_parameters:,} trainable"
    ]
    lines += [
        f"           {m.module}: {m.total:,} ({m.trainable:,} trainable)"
        for m in model.modules[:LISTED]
    ]
    if isinstance(model.config, TextEncoderConfig) and is_language_model(model.config):
        lines.append(f"           {both_counts(model.config, model.total_parameters)}")
    if len(model.modules) > LISTED:
        lines.append(
            f"           and {len(model.modules) - LISTED} more (`specrun explain PLAN model.modules`)"
        )
    if model.init_from is not None:
        start = model.init_from
        lines.append(
            f"init_from  {start.name}, {start.which} parameters after step {start.step:,}, {start.parameters_sha256[:12]}…"
        )
    if model.lora is not None:
        names = sorted({inside_layer(m.module) for m in model.lora.matches})
        lines.append(
            f"lora       rank {model.lora.rank} on {len(model.lora.matches)} layers: {', '.join(names)}"
        )
        if (begun := model.lora.init_from) is not None:
            base = f", made for {begun.base}" if begun.base else ""
            lines.append(f"           from {begun.folder}, {begun.files[-1].digest[:12]}…{base}")
    return lines


def _data(plan: Plan) -> list[str]:
    scan = plan.data.scan
    dropped = f"{scan.duplicates} duplicates, {scan.dropped_by_split} shared across the split"
    lines = [
        f"data       {scan.rows_read:,} rows read: {scan.training_rows:,} train, {scan.validation_rows:,} held out; left out: {dropped}"
    ]
    lines += [f"           {_format(count)}" for count in scan.formats]
    if scan.negatives or scan.labels:
        lines.append(
            f"           at most {scan.negatives:,} explicit negatives a row, {scan.labels:,} labels"
        )
    if scan.scores:
        lines.append(f"           {scan.scores:,} different scores")
    if mining := plan.data.mining:
        lines.append(
            f"negatives  {mining.num_negatives} a row, mined {len(mining.after)} times from the {mining.top_k} nearest ({mining.backend}), first before step {mining.after[0] + 1}"
        )
    lines += [
        f"           bad: {b.count} × {b.reason} ({', '.join(b.places[:2])})" for b in scan.bad
    ]
    tokenizer = plan.tokenizer
    lines.append(
        f"tokenizer  {tokenizer.source.kind}, {tokenizer.vocab_size:,} ids; at most {_lengths(plan)} tokens"
    )
    if tokenizer.prompts.any:
        put = f"{tokenizer.prompts.query!r} before queries, {tokenizer.prompts.positive!r} before positives"
        lines.append(f"           prompts: {put}")
    return lines


def _format(count: FormatCount) -> str:
    """What became of the texts of one format."""
    alone = f", {count.alone:,} paragraphs of one sentence" if count.alone else ""
    return (
        f"{count.format}: {count.rows_read:,} read, {count.training_rows:,} train, {count.validation_rows:,} held out; "
        f"left out: {count.too_short:,} too short, {count.duplicates:,} duplicates, {count.dropped_by_split:,} shared "
        f"across the split{alone}; {count.cut:,} cut"
    )


def _lengths(plan: Plan) -> str:
    """Tokens kept of a row."""
    data = plan.data
    if texts_only(data.source):
        return f"{data.max_query_length}"
    return f"{data.max_query_length} query and {data.max_positive_length} positive"


def _buckets(plan: Plan) -> str:
    """Padded lengths: of a row that is one text, or of query and positive."""
    alone = texts_only(plan.data.source)
    return ", ".join(f"{q}" if alone else f"{q}/{p}" for q, p in plan.train.buckets)


def _difficulty(plan: Plan) -> list[str]:
    """The classes, where they part, and what scored them."""
    if plan.difficulty is None:
        return []
    how, found = plan.difficulty.settings, plan.difficulty.found
    parts = " + ".join(f"{getattr(how, name).weight:g} {name}" for name in how.parts)
    easy, hard = ("none" if x is None else f"{x:.4g}" for x in (found.easy_score, found.hard_score))
    counts = "/".join(f"{n:,}" for n in found.held_out)
    lines = [
        f"difficulty {parts} of the {'text' if texts_only(plan.data.source) else how.text}, {found.scores_digest.removeprefix('sha256:')[:12]}…",
        f"           {found.easy_rows:,} easy (to {easy}), {found.medium_rows:,} medium, {found.hard_rows:,} hard (from {hard}); held out {counts}",
    ]
    if (central := how.centrality) is not None:
        encoder = central.encoder
        lines.append(
            f"           {central.clusters} clusters of embeddings by {encoder.folder}, {encoder.files[-1].digest.removeprefix('sha256:')[:12]}…"
        )
    return lines


def _training(plan: Plan) -> list[str]:
    train = plan.train
    widths = f" over widths {', '.join(map(str, plan.matryoshka.dims))}" if plan.matryoshka else ""
    losses = ", ".join(map(describe, plan.losses))
    pairs = not texts_only(plan.data.source)
    negatives = f"; {train.negatives_per_query} negatives per query" if pairs else ""
    return [
        f"losses     {losses}{widths}{negatives}",
        f"batches    {train.batch_size} rows × {train.accumulation_steps}, padded to {_buckets(plan)}",
        f"segments   {', '.join(f'{s.stage} ({s.stop_step - s.first_step} steps, {_rows(s)})' for s in plan.segments)}",
        *_passages(plan),
        f"traces     {len(plan.traces)} training traces",
        f"optimizer  {plan.optimizer.kind}, rate {plan.optimizer.learning_rate:g}, {plan.segments[0].schedule.kind}, decay {plan.optimizer.weight_decay:g}, clip {plan.optimizer.max_grad_norm:g}",
        *_dropout(plan),
    ]


def _dropout(plan: Plan) -> list[str]:
    if plan.train.dropout_schedule == "constant":
        return []
    return [f"dropout    every rate falls to 0 over {plan.train.total_steps:,} steps"]


def _passages(plan: Plan) -> list[str]:
    """How one stage becomes the next, where more is to say than that it does."""
    told: list[str] = []
    for index, s in enumerate(plan.segments):
        if s.transition_epochs:
            before = plan.segments[index - 1].stage
            told.append(f"{s.stage} mixes in {before} for {counted(s.transition_epochs, 'epoch')}")
        if s.advance is not None:
            told.append(
                f"{s.stage} may end early, after {counted(s.advance.patience, 'evaluation')} without a better {s.advance.metric}"
            )
        if plan.data.mining is not None and not s.mined:
            told.append(f"{s.stage} takes no mined negatives")
    return [f"           {text}" for text in told]


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rows(segment: Segment) -> str:
    chosen = segment.selection
    noun = (chosen.format if chosen else None) or "rows"
    return (
        f"{segment.rows:,} {chosen.said + ' ' if chosen and chosen.said in CLASSES else ''}{noun}"
    )


def _watch(plan: Plan) -> list[str]:
    evaluation = plan.evaluation
    if evaluation is None:
        return ["evaluation none"]
    return [
        f"evaluation {len(evaluation.after)} times: {', '.join(evaluation.metrics)}; best by {evaluation.select_best}"
    ]


def _cost(plan: Plan) -> list[str]:
    cost = plan.cost
    return [
        f"cost       {_most(cost)}: weights {size(cost.weight_bytes)}, gradients {size(cost.gradient_bytes)}, "
        f"optimizer {size(cost.optimizer_bytes)}, activations {size(cost.activation_bytes)}, losses {size(cost.loss_bytes)}",
        *_rule(plan),
        f"           {cost.flops_per_step:.3g} FLOP per step, {cost.total_flops:.3g} in all",
    ]


def _most(cost: CostPlan) -> str:
    """What a limit is held against, and training's own peak where something else needs more."""
    peak, when = worst(cost)
    training = f"; training {size(cost.peak_bytes)}" if when else ""
    return f"{size(peak)} by arithmetic{' ' if when else ''}{when}{training}"


def _rule(plan: Plan) -> list[str]:
    """The rule of thumb beside the arithmetic, where it is asked for, and whether it would fit."""
    found, hardware = plan.cost.rule_bytes, plan.hardware
    if found is None:
        return []
    formula = (
        f"{plan.model.total_parameters:,} parameters × {hardware.bytes_per_parameter} bytes × "
        f"{hardware.memory_multiplier:g} + the batch"
    )
    if hardware.max_memory_gb is None:
        return [
            f"           {size(found)} by the micro-diffusion guide's rule of thumb ({formula}); the arithmetic decides"
        ]
    limit = allowed(hardware.max_memory_gb, hardware.memory_margin)
    sign = "≤" if found <= limit else ">"
    return [
        f"           {size(found)} by the micro-diffusion guide's rule of thumb ({formula}) {sign} {size(limit)} allowed; the arithmetic decides"
    ]


def _findings(plan: Plan) -> list[str]:
    return [f"warning    {w.path}: {w.message}" for w in plan.warnings]
