"""A plan in words, for the report and the model card: made of the plan alone, whatever its kinds are."""

from __future__ import annotations

from typing import Any

from specrun.runtime.telling import size
from specrun.spec.codec import to_plain
from specrun.spec.plan.data import (
    Input,
    MiningPlan,
    Source,
    TableSource,
    TokenizerFile,
    texts_only,
)
from specrun.spec.plan.difficulty import DifficultyPlan
from specrun.spec.plan.model import StartPlan, networks, token_vectors
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import Selection

Facts = list[tuple[str, str]]


def plan_facts(plan: Plan) -> Facts:
    """What the run does, a line each."""
    return [
        ("Length", f"{plan.train.total_steps:,} steps, seed {plan.seed}"),
        ("Model", _model(plan)),
        *([("Started from", started_from(plan.model.init_from))] if plan.model.init_from else []),
        *([("Adapters", _adapters(plan))] if plan.model.lora else []),
        ("Data", _data(plan)),
        *_texts(plan),
        *_images(plan),
        *(
            [("Difficulty", _difficulty(plan.difficulty, plan.data.source))]
            if plan.difficulty
            else []
        ),
        *([("Mined negatives", _mining(plan.data.mining))] if plan.data.mining else []),
        ("Tokenizer", _tokenizer(plan)),
        ("Losses", losses(plan)),
        *([("Matryoshka", _matryoshka(plan))] if plan.matryoshka else []),
        ("Batches", _batches(plan)),
        ("Optimizer", described(plan.optimizer)),
        *[(f"Stage {s.stage}", stage(plan, i)) for i, s in enumerate(plan.segments)],
        ("Evaluation", _evaluation(plan)),
        ("Precision", described(plan.precision)),
        ("Estimated cost", _cost(plan)),
    ]


def started_from(start: StartPlan) -> str:
    """The run that parameters started from, in words."""
    return (
        f"the {start.which} parameters of {start.name} after step {start.step:,}, "
        f"{start.parameters_sha256}, with a new optimizer"
    )


def losses(plan: Plan) -> str:
    """Every loss with its settings."""
    return "; ".join(described(loss) for loss in plan.losses)


def stage(plan: Plan, index: int) -> str:
    """One segment in words."""
    s = plan.segments[index]
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in s.loss_weights.items())
    scale = f", rate × {s.learning_rate_scale:g}" if s.learning_rate_scale != 1 else ""
    chosen = ""
    if s.selection is not None:
        chosen = _chosen(s.selection)
    reset = ", optimizer reset" if s.reset_optimizer else ""
    return (
        f"steps {s.first_step:,} to {s.stop_step:,}, {s.rows:,} rows{chosen}; {weights}; "
        f"{described(s.schedule)}{scale}{reset}{_passage(plan, index)}"
    )


def _passage(plan: Plan, index: int) -> str:
    """What it takes of the stage before, what may end it, and that it takes no mined negatives."""
    s = plan.segments[index]
    mixed = (
        f"; rows of {plan.segments[index - 1].stage} mixed in for {s.transition_epochs:,} epochs"
        if s.transition_epochs
        else ""
    )
    ends = f"; ends early: {described(s.advance)}" if s.advance is not None else ""
    bare = plan.data.mining is not None and not s.mined
    return f"{mixed}{ends}{'; without mined negatives' if bare else ''}"


def _chosen(selection: Selection) -> str:
    """Which rows, behind the word."""
    if selection.said or selection.field is None:
        return f" ({selection.words})"
    formats = f" ({selection.format})" if selection.format else ""
    return f"{formats} with {selection.field} {selection.bounds}"


def described(part: Any) -> str:
    """``kind (key value, ...)`` of any part of a plan; what is null or empty is left out."""
    plain = to_plain(part)
    head = plain.pop("kind", "")
    if plain.get("name") == head:
        del plain["name"]
    body = ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in plain.items() if _told(v))
    return f"{head} ({body})" if head and body else head or body


def inputs(plan: Plan) -> list[Input]:
    """Every file that shaped the plan."""
    weights = plan.model.weights.files if plan.model.weights else ()
    seen = plan.model.image_weights.files if plan.model.image_weights else ()
    weights = (*weights, *(file for file in seen if file not in weights))
    start = (plan.model.init_from.file,) if plan.model.init_from else ()
    lora = plan.model.lora
    adapter = lora.init_from.files if lora and lora.init_from else ()
    return [*plan.data.scan.inputs, *weights, *start, *adapter, *_encoder(plan)]


def _encoder(plan: Plan) -> tuple[Input, ...]:
    """What embedded the texts that were scored."""
    central = plan.difficulty.settings.centrality if plan.difficulty else None
    return () if central is None else central.encoder.files


def _told(value: Any) -> bool:
    return value is not None and value != [] and value != {}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_value(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items() if _told(v))
    return str(value)


def _model(plan: Plan) -> str:
    model = plan.model
    return (
        f"{networks(model)}, {_vectors(plan)}; "
        f"{model.total_parameters:,} parameters, {model.trainable_parameters:,} trained"
    )


def _vectors(plan: Plan) -> str:
    model, late = plan.model, plan.model.multi_vector
    if late is None:
        return f"embedding {model.embedding_dim}"
    tokens = f"{token_vectors(late)}, MaxSim by {late.reduce}"
    return tokens if late.alone else f"embedding {model.embedding_dim} and {tokens}"


def _adapters(plan: Plan) -> str:
    lora = plan.model.lora
    assert lora is not None
    start = lora.init_from
    begun = "" if start is None else f", started from {start.files[-1].digest}"
    return (
        f"LoRA, rank {lora.rank}, scale {lora.scale:g}, dropout {lora.dropout:g}, "
        f"on {len(lora.matches)} linear layers{begun}"
    )


def _data(plan: Plan) -> str:
    scan = plan.data.scan
    left_out = scan.duplicates + scan.dropped_by_split + sum(b.count for b in scan.bad)
    return (
        f"{plan.data.source.kind}: {scan.rows_read:,} rows read, {scan.training_rows:,} trained on, "
        f"{scan.validation_rows:,} held out, {left_out:,} left out"
    )


_MODES = {"t": "a text", "i": "an image", "m": "a text and an image together"}


def _texts(plan: Plan) -> Facts:
    """What became of the texts of each format; nothing of rows that are pairs."""
    return [
        (
            x.format.capitalize(),
            f"{x.rows_read:,} read, {x.training_rows:,} trained on, {x.validation_rows:,} held out; {x.cut:,} texts cut, "
            f"{x.too_short:,} too short, {x.alone:,} paragraphs of one sentence, {x.duplicates:,} repeated, "
            f"{x.dropped_by_split:,} shared across the split",
        )
        for x in plan.data.scan.formats
    ]


def _difficulty(plan: DifficultyPlan, source: Source) -> str:
    how, found = plan.settings, plan.found
    text = "text" if texts_only(source) else how.text
    parts = " + ".join(f"{getattr(how, name).weight:g} {name}" for name in how.parts)
    return (
        f"{parts} of the {text}; {found.easy_rows:,} easy, {found.medium_rows:,} medium, {found.hard_rows:,} hard rows; "
        f"{found.scores_digest}"
    )


def _images(plan: Plan) -> Facts:
    """What finds what, and how images become pixels; nothing of a run of texts alone."""
    source, processor = plan.data.source, plan.model.image_processor
    if not isinstance(source, TableSource) or processor is None:
        return []
    asked, found = (_MODES[source.retrieval_mode[at]] for at in (0, -1))
    return [
        ("Retrieval", f"{source.retrieval_mode}: {asked} finds {found}"),
        ("Image processor", described(processor)),
    ]


def _mining(mining: MiningPlan) -> str:
    return (
        f"{mining.num_negatives} a row, {len(mining.after)} times, from the {mining.top_k} nearest without the first "
        f"{mining.skip_top}, relative margin {mining.relative_margin:g}, {mining.backend} search"
    )


def _tokenizer(plan: Plan) -> str:
    tokenizer = plan.tokenizer
    how = "from a file" if isinstance(tokenizer.source, TokenizerFile) else "trained on the rows"
    most = f"{plan.data.max_query_length} query and {plan.data.max_positive_length} positive"
    if texts_only(plan.data.source):
        most = f"{plan.data.max_query_length}"
    return f"{tokenizer.vocab_size:,} ids, {how}; at most {most} tokens"


def _matryoshka(plan: Plan) -> str:
    part = plan.matryoshka
    assert part is not None
    pairs = ", ".join(f"{d} × {w:g}" for d, w in zip(part.dims, part.weights, strict=True))
    return f"{part.reduce} over widths {pairs}"


def _batches(plan: Plan) -> str:
    train = plan.train
    more = f" × {train.accumulation_steps}" if train.accumulation_steps > 1 else ""
    chunks = (
        f", encoded {train.micro_batch_size} at a time"
        if train.micro_batch_size != train.batch_size
        else ""
    )
    sides = 1 if texts_only(plan.data.source) else 2
    padded = ", ".join("/".join(map(str, lengths[:sides])) for lengths in train.buckets)
    return f"{train.batch_size} rows{more}{chunks}, padded to {padded}"


def _evaluation(plan: Plan) -> str:
    policy = plan.evaluation
    if policy is None:
        return "none"
    stopping = policy.early_stopping
    early = f"; stops after {stopping.patience} without improvement" if stopping else ""
    return f"{len(policy.after)} times: {', '.join(policy.metrics)}; best by {policy.select_best}{early}"


def _cost(plan: Plan) -> str:
    return f"{size(plan.cost.most_bytes)}, {plan.cost.total_flops:.3g} FLOP, by arithmetic"
