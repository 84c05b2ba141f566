"""The last pass: a complete draft becomes the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specrun.compiler.chunks import chunk_rows
from specrun.compiler.cost.rule import rule_of
from specrun.compiler.draft import Draft
from specrun.compiler.negatives import negatives_of, per_row
from specrun.compiler.objective import hides_tokens
from specrun.compiler.passes.adapters import lora_plan
from specrun.compiler.passes.generation import as_long_as_rows
from specrun.compiler.passes.groups import counts
from specrun.compiler.passes.lengths import bad_rows, most_tokens
from specrun.compiler.passes.losses import loss_plan
from specrun.compiler.passes.steps import document_tile_rows, score_tile_rows, unroll
from specrun.compiler.passes.token_vectors import multi_vector, vectors_of
from specrun.compiler.passes.widths import embedding_dim, towers_of
from specrun.spec.codec import from_plain, to_plain
from specrun.spec.plan.data import DataPlan
from specrun.spec.plan.losses import LossPlan, MatryoshkaPlan
from specrun.spec.plan.model import ModelPlan, ModuleCount, MultiVectorPlan
from specrun.spec.plan.plan import FORMAT_VERSION, Plan, Value, Warning
from specrun.spec.plan.sides import SIDES, Side
from specrun.spec.plan.tracking import TensorBoardPlan, TrackerPlan, WandbPlan
from specrun.spec.plan.training import AdamWPlan, HardwarePlan, PrecisionPlan, TrainPlan
from specrun.spec.words.text_models import AutoModel
from specrun.spec.words.tracking import TensorBoardTracking, Tracking, WandbTracking


def lower(draft: Draft, values: Sequence[Value], warnings: Sequence[Warning]) -> Plan:
    """The plan of a draft that every pass has completed without an error."""
    plan = _assemble(draft, values, warnings)
    return from_plain(
        Plan, to_plain(plan)
    )  # 1 becomes 1.0 where the type says float, as in the file


def _assemble(draft: Draft, values: Sequence[Value], warnings: Sequence[Warning]) -> Plan:
    spec = draft.spec
    each, multiplier = rule_of(spec) or (None, None)
    return Plan(
        format_version=FORMAT_VERSION,
        specrun_version=_version(),
        name=spec.name,
        output_dir=draft.output_dir,
        seed=spec.seed,
        model=_model(draft),
        tokenizer=draft.need("tokenizer"),
        data=_data(draft),
        difficulty=draft.difficulty,
        losses=_losses(draft),
        matryoshka=_matryoshka(draft),
        train=_train(draft),
        optimizer=_optimizer(draft),
        segments=draft.segments,
        traces=draft.traces,
        precision=PrecisionPlan(compute=spec.precision.compute, matmul=spec.precision.matmul),
        evaluation=draft.evaluation,
        checkpoint=draft.need("checkpoint"),
        tracking=tuple(_tracker(t, draft.output_dir) for t in spec.tracking),
        generation=as_long_as_rows(draft),
        hardware=HardwarePlan(
            platform=spec.hardware.platform,
            devices=spec.hardware.devices,
            deterministic=spec.hardware.deterministic,
            max_memory_gb=spec.hardware.max_memory_gb,
            memory_margin=spec.hardware.memory_margin,
            bytes_per_parameter=each,
            memory_multiplier=multiplier,
        ),
        cost=draft.need("cost"),
        values=tuple(values),
        warnings=tuple(warnings),
    )


def _losses(draft: Draft) -> tuple[LossPlan, ...]:
    data, teacher = draft.spec.data, draft.teacher
    return tuple(loss_plan(loss, data, teacher) for loss in draft.spec.losses)


def _tracker(tracking: Tracking, output_dir: str) -> TrackerPlan:
    match tracking:
        case TensorBoardTracking():
            return TensorBoardPlan(log_dir=tracking.log_dir or f"{output_dir}/tensorboard")
        case WandbTracking():
            return WandbPlan(
                project=tracking.project,
                entity=tracking.entity,
                mode=tracking.mode,
                tags=tracking.tags,
            )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 15 ms that `check` need not pay

    try:
        return version("specrun")
    except PackageNotFoundError:
        return "unknown"


def _model(draft: Draft) -> ModelPlan:
    config = draft.need("config")
    table = counts(draft.parameters)
    return ModelPlan(
        config=config,
        groups=draft.groups,
        parameters=draft.parameters,
        modules=tuple(ModuleCount(module=m, total=a, trainable=t) for m, (a, t) in table.items()),
        total_parameters=sum(a for a, _ in table.values()),
        trainable_parameters=sum(t for _, t in table.values()),
        embedding_dim=embedding_dim(config),
        multi_vector=_token_vectors(draft),
        towers=towers_of(draft.spec.model, draft.need("config")),
        image_processor=draft.image_processor,
        image_weights=draft.pretrained_image.weights if draft.pretrained_image else None,
        decided_by=_decided_by(draft),
        lora=lora_plan(draft),
        weights=draft.pretrained.weights if draft.pretrained else None,
        init_from=draft.start.plan if draft.start else None,
    )


def _token_vectors(draft: Draft) -> MultiVectorPlan | None:
    return multi_vector(draft.need("config"), _losses(draft), draft.spec.model)


def _most_vectors(draft: Draft, side: Side) -> int:
    longest = most_tokens(draft)[SIDES.index(side)]
    return vectors_of(_token_vectors(draft), draft.need("source"), side, longest)


def _decided_by(draft: Draft) -> str | None:
    found = draft.pretrained if isinstance(draft.spec.model, AutoModel) else None
    return None if found is None else found.model_type


def _data(draft: Draft) -> DataPlan:
    data = draft.spec.data
    query, positive = most_tokens(draft)
    return DataPlan(
        source=draft.need("source"),
        validation=draft.held_out,
        bad_rows=bad_rows(data),
        scan=draft.need("scan"),
        max_query_length=query,
        max_positive_length=positive,
        mining=draft.mining,
    )


def _matryoshka(draft: Draft) -> MatryoshkaPlan | None:
    spec = draft.spec.matryoshka
    if spec is None:
        return None
    return MatryoshkaPlan(
        dims=spec.dims, weights=spec.weights or (1.0,) * len(spec.dims), reduce=spec.reduce
    )


def _train(draft: Draft) -> TrainPlan:
    train = draft.spec.train
    return TrainPlan(
        batch_size=train.batch_size,
        accumulation_steps=train.accumulation_steps,
        micro_batch_size=chunk_rows(train) or train.batch_size,
        score_tile_rows=score_tile_rows(train, _candidates(draft)),
        document_tile_rows=document_tile_rows(
            train, _losses(draft), (_most_vectors(draft, "query"), _most_vectors(draft, "positive"))
        ),
        drop_last=train.drop_last,
        gradient_checkpointing=train.gradient_checkpointing,
        unroll=unroll(draft),
        buckets=draft.buckets,
        log_every_steps=train.log_every_steps,
        total_steps=draft.segments[-1].stop_step,
        negatives_per_query=max(_negatives(draft)),
        dropout_schedule=train.dropout_schedule,
    )


def _negatives(draft: Draft) -> Iterator[int]:
    """What each loss tells a query from, in a full batch."""
    scan, spec = draft.need("scan"), draft.spec
    rows, own = min(spec.train.batch_size, scan.training_rows), per_row(spec.data, scan)
    for loss in spec.losses:
        match negatives_of(loss, spec.data):
            case "in_batch":
                yield rows - 1
            case "own":
                yield own
            case "own_else_in_batch":
                yield max(own, rows - 1)
            case "none" | "pair":
                yield 0
            case "all":
                yield rows - 1 + rows * own


def _candidates(draft: Draft) -> int:
    """Columns of the widest in-batch scores: of a language model a text's tokens by all ids."""
    spec = draft.spec
    if hides_tokens(spec):
        return most_tokens(draft)[0] * draft.need("tokenizer").vocab_size
    own = per_row(spec.data, draft.need("scan"))
    explicit = any(negatives_of(loss, spec.data) == "all" for loss in spec.losses)
    return spec.train.batch_size * (1 + own * explicit)


def _optimizer(draft: Draft) -> AdamWPlan:
    optimizer = draft.spec.optimizer
    return AdamWPlan(
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        eps=optimizer.eps,
        max_grad_norm=draft.spec.train.max_grad_norm,
    )
