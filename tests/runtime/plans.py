"""Tiny plans made by hand from the plan's dataclasses, for tests of the runtime without a compiler.

``make_plan()`` is a two-layer text encoder, InfoNCE, one stage of four steps. A mapping changes
fields of a part (``train={"batch_size": 16}``); a whole part (``losses=(...)``, ``matryoshka=...``)
replaces it. Traces, cost and the loss parameters are made to agree with the rest, unless given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from specrun.runtime.data.batches import Batch
from specrun.spec.plan.cost import CostPlan
from specrun.spec.plan.data import (
    DataPlan,
    HeldOutFraction,
    PythonSource,
    Scan,
    TextSource,
    TokenizerPlan,
    TrainedTokenizer,
)
from specrun.spec.plan.evaluation import EvaluationPlan
from specrun.spec.plan.losses import (
    ColBERT,
    CoSENT,
    DenseLateKL,
    Distillation,
    FalseNegativesPlan,
    InfoNCE,
    Late,
    LossPlan,
    MaskedDiffusion,
    SigLIP,
    TeacherPlan,
    Triplet,
    by_text,
    teacher_of,
    trained_scalars,
)
from specrun.spec.plan.model import AdapterMatch, LoraPlan, ModelPlan, ModuleCount, MultiVectorPlan
from specrun.spec.plan.networks import TextEncoderConfig
from specrun.spec.plan.parameters import Group, Parameter, Role
from specrun.spec.plan.plan import FORMAT_VERSION, Plan
from specrun.spec.plan.schedule import Constant, Schedule
from specrun.spec.plan.segments import MaskingRange, Segment, Trace
from specrun.spec.plan.sides import SIDES
from specrun.spec.plan.training import (
    AdamWPlan,
    CheckpointPlan,
    HardwarePlan,
    PrecisionPlan,
    TrainPlan,
)


def make_config(**changes: Any) -> TextEncoderConfig:
    """Two blocks of width 16 over 64 token ids, learned positions, some dropout."""
    base = TextEncoderConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_act="gelu",
        position_embedding="learned",
        max_position_embeddings=32,
        rope_theta=10000.0,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        layer_norm_eps=1e-5,
        initializer_range=0.2,
        pooling="mean",
        final_layer_norm=True,
        projection_dim=None,
    )
    return dataclasses.replace(base, **changes)


def make_model(
    config: TextEncoderConfig | None = None,
    *,
    lora: LoraPlan | None = None,
    losses: tuple[LossPlan, ...] = (),
    adapted: tuple[str, ...] = ("attention.query", "attention.value"),
) -> ModelPlan:
    """The model's part of a plan; with ``lora`` all layers carry adapters on ``adapted``."""
    config = config or make_config()
    layers = config.num_hidden_layers
    names = adapted if lora else ()
    groups = (Group(first=0, count=layers, adapted=names),) if layers else ()
    parameters = _encoder_parameters(config, groups, lora) + _loss_parameters(losses)
    total = sum(p.size for p in parameters)
    tops = sorted({p.path.partition(".")[0] for p in parameters})
    counts = {t: sum(p.size for p in parameters if p.path.partition(".")[0] == t) for t in tops}
    return ModelPlan(
        config=config,
        groups=groups,
        parameters=parameters,
        modules=tuple(ModuleCount(module=t, total=n, trainable=n) for t, n in counts.items()),
        total_parameters=total,
        trainable_parameters=total,
        embedding_dim=config.projection_dim or config.hidden_size,
        multi_vector=_multi_vector(config, losses),
        lora=lora,
    )


def _multi_vector(
    config: TextEncoderConfig, losses: tuple[LossPlan, ...]
) -> MultiVectorPlan | None:
    alone = config.pooling == "none"
    if not alone and config.multi_vector_dim is None:
        return None
    reduce = next((loss.reduce for loss in losses if isinstance(loss, Late)), "mean")
    width = config.multi_vector_dim or config.projection_dim or config.hidden_size
    head = "projection" if alone else "own"
    return MultiVectorPlan(width=width, reduce=reduce, alone=alone, head=head)


def separate(model: ModelPlan) -> ModelPlan:
    """The model with a network of its own for each side; parameters of losses stay one."""
    own = [p for p in model.parameters if not p.path.startswith("losses.")]
    losses = tuple(p for p in model.parameters if p.path.startswith("losses."))
    parameters = tuple(
        dataclasses.replace(p, path=f"{side}.{p.path}") for side in SIDES for p in own
    )
    groups = tuple(dataclasses.replace(g, tower=side) for side in SIDES for g in model.groups)
    lora = model.lora
    if lora is not None:
        matches = tuple(
            dataclasses.replace(m, module=f"{side}.{m.module}")
            for side in SIDES
            for m in lora.matches
        )
        lora = dataclasses.replace(lora, matches=matches)
    total = sum(p.size for p in parameters + losses)
    return dataclasses.replace(
        model,
        towers="separate",
        groups=groups,
        parameters=parameters + losses,
        total_parameters=total,
        trainable_parameters=total,
        lora=lora,
    )


def make_lora(config: TextEncoderConfig | None = None, **changes: Any) -> LoraPlan:
    """Rank-2 adapters on the queries and values of every layer, with dropout."""
    config = config or make_config()
    width = config.hidden_size
    matches = tuple(
        AdapterMatch(module=f"layers.{i}.attention.{n}", target=n, shape=(width, width))
        for i in range(config.num_hidden_layers)
        for n in ("query", "value")
    )
    base = LoraPlan(rank=2, alpha=4.0, dropout=0.1, scale=2.0, matches=matches)
    return dataclasses.replace(base, **changes)


def make_infonce(**changes: Any) -> InfoNCE:
    base = InfoNCE(
        name="infonce",
        temperature=0.1,
        train_temperature=False,
        symmetric=True,
        negatives="in_batch",
    )
    return dataclasses.replace(base, **changes)


def make_false(**changes: Any) -> FalseNegativesPlan:
    base = FalseNegativesPlan(identical=True, margin=0.1, margin_strategy="relative")
    return dataclasses.replace(base, **changes)


def make_triplet(**changes: Any) -> Triplet:
    return dataclasses.replace(Triplet(name="triplet", margin=0.5), **changes)


def make_siglip(**changes: Any) -> SigLIP:
    base = SigLIP(
        name="siglip",
        temperature=0.1,
        train_temperature=False,
        bias=-10.0,
        train_bias=False,
        negatives="in_batch",
    )
    return dataclasses.replace(base, **changes)


def make_cosent(**changes: Any) -> CoSENT:
    return dataclasses.replace(CoSENT(name="cosent", temperature=0.05), **changes)


def make_colbert(**changes: Any) -> ColBERT:
    base = ColBERT(
        name="colbert", temperature=0.1, reduce="mean", symmetric=False, negatives="in_batch"
    )
    return dataclasses.replace(base, **changes)


def make_teacher(**changes: Any) -> TeacherPlan:
    """A teacher of width 24, of no folder."""
    config = make_config(hidden_size=24, num_attention_heads=4)
    base = TeacherPlan(
        kind="pretrained",
        folder="teacher",
        which=None,
        files=(),
        config=config,
        width=config.hidden_size,
        max_query_length=6,
        max_positive_length=8,
        weight_bytes=4000,
    )
    return dataclasses.replace(base, **changes)


def make_dense_late(**changes: Any) -> DenseLateKL:
    base = DenseLateKL(
        name="dense_late_kl", temperature=0.1, reduce="mean", detach="none", negatives="in_batch"
    )
    return dataclasses.replace(base, **changes)


def make_masked(**changes: Any) -> MaskedDiffusion:
    base = MaskedDiffusion(name="masked", sampling="exact", weighting="none", label_smoothing=0.0)
    return dataclasses.replace(base, **changes)


def make_language_model(head: Literal["own", "tied"] = "own", **changes: Any) -> ModelPlan:
    """Two blocks with a score of every id for every token."""
    return make_model(make_config(pooling="none", vocabulary_head=head, **changes))


def make_text_source(path: str = "/corpus", **changes: Any) -> TextSource:
    """Sentences of the text files of a folder."""
    base = TextSource(
        path=path,
        pattern="**/*.txt",
        formats=("sentences",),
        min_chars=1,
        max_chars=512,
        paragraph_max_sentences=10,
        chunk_overlap=50,
    )
    return dataclasses.replace(base, **changes)


def make_text_plan(*, masking: MaskingRange | None = None, **changes: Any) -> Plan:
    """A plan whose rows are texts of which tokens are hidden."""
    losses = changes.pop("losses", (make_masked(),))
    model = changes.pop("model", None) or make_language_model()
    segment = make_segment(
        model,
        loss_weights={loss.name: 1.0 for loss in losses},
        masking=masking or MaskingRange(minimum=0.2, maximum=0.6),
        epochs=2,
        steps_per_epoch=2,
    )
    train = {"buckets": ((12, 0),), **changes.pop("train", {})}
    lengths = {"max_query_length": 12, "max_positive_length": 0}
    data = {"source": make_text_source(), **lengths, **changes.pop("data", {})}
    return make_plan(
        losses=losses, model=model, segments=(segment,), train=train, data=data, **changes
    )


def make_distillation(**changes: Any) -> Distillation:
    base = Distillation(
        name="distillation",
        teacher=make_teacher(),
        objective="kl",
        temperature=0.1,
        distillation_temperature=2.0,
        negatives="in_batch",
    )
    return dataclasses.replace(base, **changes)


def make_segment(model: ModelPlan, **changes: Any) -> Segment:
    """Four steps on all rows, everything trained, constant rate."""
    trained = changes.pop("trained", tuple(p.path for p in model.parameters))
    schedule: Schedule = changes.pop("schedule", Constant())
    base = Segment(
        stage="all",
        first_step=0,
        stop_step=4,
        epochs=1,
        rows=32,
        steps_per_epoch=4,
        selection=None,
        loss_weights={"infonce": 1.0},
        learning_rate_scale=1.0,
        schedule=schedule,
        schedule_start=0,
        trained=trained,
        reset_optimizer=False,
        fresh=trained,
        traces=(),
    )
    return dataclasses.replace(base, **changes)


def make_plan(**changes: Any) -> Plan:
    """A complete tiny plan. See the module's docstring for ``changes``."""
    losses = changes.pop("losses", (make_infonce(),))
    model = changes.pop("model", None) or make_model(losses=losses)
    segments = changes.pop("segments", None) or (
        make_segment(model, loss_weights={loss.name: 1.0 for loss in losses}),
    )
    traces = changes.pop("traces", None)
    plan = _base(model, losses, segments)
    for name, change in changes.items():
        part = getattr(plan, name)
        if isinstance(change, Mapping) and dataclasses.is_dataclass(part):
            change = dataclasses.replace(part, **change)
        plan = dataclasses.replace(plan, **{name: change})
    return dataclasses.replace(plan, traces=traces) if traces else with_traces(plan)


def make_batch(plan: Plan, seed: int = 0, bucket: int = -1) -> Batch:
    """Random token ids of random lengths for one optimizer step; rows count up from 0."""
    draw = np.random.default_rng(seed)
    shape = (plan.train.accumulation_steps, plan.train.batch_size)

    def side(length: int) -> tuple[np.ndarray, np.ndarray]:
        ids = draw.integers(0, plan.model.config.vocab_size, (*shape, length), dtype=np.int32)
        return ids, np.arange(length) < draw.integers(1, length + 1, (*shape, 1))

    query, positive = plan.train.buckets[bucket]
    rows = np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    second = side(positive) if positive else (None, None)
    batch = Batch(*side(query), *second, np.ones(shape, np.float32), rows)
    return _with_extras(plan, batch, positive, draw)


def _with_extras(plan: Plan, batch: Batch, length: int, draw: np.random.Generator) -> Batch:
    """The negatives, labels and scores that the plan's rows have; a third of the negatives is absent."""
    scan, shape = plan.data.scan, batch.weight.shape
    if scan.labels:
        batch = batch._replace(label=draw.integers(-1, scan.labels, shape, dtype=np.int32))
    if scan.scores:
        score = draw.integers(0, scan.scores, shape).astype(np.float32)
        batch = batch._replace(score=np.where(draw.random(shape) < 0.2, np.nan, score))
    size = (*shape, scan.negatives)
    teacher = teacher_of(plan.losses)
    if teacher is not None:
        query, positive, others = (
            unit(draw.normal(size=(*outer, teacher.width)).astype(np.float32))
            for outer in (shape, shape, size)
        )
        batch = batch._replace(teacher_query=query, teacher_positive=positive)
        batch = batch._replace(teacher_negatives=others if scan.negatives else None)
    if by_text(plan.losses):
        texts = [draw.integers(0, 5, outer, dtype=np.int32) for outer in (shape, shape, size)]
        batch = batch._replace(query_text=texts[0], positive_text=texts[1])
        batch = batch._replace(negative_text=texts[2] if scan.negatives else None)
    if not scan.negatives:
        return batch
    if scan.negative_scores:
        scores = draw.normal(size=size).astype(np.float32)
        batch = batch._replace(
            negative_score=np.where(draw.random(size) < 0.2, np.float32(np.nan), scores)
        )
    there = draw.random(size) < 2 / 3
    ids = draw.integers(0, plan.model.config.vocab_size, (*size, length), dtype=np.int32)
    mask = np.arange(length) < np.where(there, draw.integers(1, length + 1, size), 1)[..., None]
    return batch._replace(
        negative_ids=np.where(there[..., None], ids, np.int32(0)),
        negative_mask=mask,
        negative_weight=there.astype(np.float32),
    )


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors over the last axis, of length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def with_traces(plan: Plan) -> Plan:
    """The plan with a trace for each (lengths, losses, trained set), named by its segments."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for i, segment in enumerate(plan.segments):
        losses = tuple(n for n, w in segment.loss_weights.items() if w > 0)
        for lengths in plan.train.buckets:
            found.setdefault((lengths, losses, frozenset(segment.trained)), []).append(i)
    traces = tuple(
        Trace(
            name=f"t{k}",
            query_length=key[0][0],
            positive_length=key[0][1],
            losses=key[1],
            segments=tuple(where),
            steps=0,
        )
        for k, (key, where) in enumerate(found.items())
    )
    segments = tuple(
        dataclasses.replace(s, traces=tuple(t.name for t in traces if i in t.segments))
        for i, s in enumerate(plan.segments)
    )
    return dataclasses.replace(plan, traces=traces, segments=segments)


def _base(model: ModelPlan, losses: tuple[LossPlan, ...], segments: tuple[Segment, ...]) -> Plan:
    total = segments[-1].stop_step
    scan = Scan(
        inputs=(),
        rows_digest="0" * 64,
        rows_read=40,
        bad=(),
        duplicates=0,
        dropped_by_split=0,
        training_rows=32,
        validation_rows=8,
        fields=(),
    )
    return Plan(
        format_version=FORMAT_VERSION,
        specrun_version="0",
        name="tiny",
        output_dir="runs/tiny",
        seed=7,
        model=model,
        tokenizer=TokenizerPlan(
            source=TrainedTokenizer(
                vocab_size=64, min_frequency=1, lowercase=True, split_identifiers=True
            ),
            digest="0" * 64,
            vocab_size=64,
            pad_id=0,
            mask_id=1,
        ),
        data=DataPlan(
            source=PythonSource(roots=()),
            validation=HeldOutFraction(fraction=0.2),
            bad_rows="skip",
            scan=scan,
            max_query_length=6,
            max_positive_length=8,
        ),
        losses=losses,
        matryoshka=None,
        train=TrainPlan(
            batch_size=8,
            accumulation_steps=1,
            micro_batch_size=8,
            score_tile_rows=1024,
            document_tile_rows=1024,
            drop_last=False,
            gradient_checkpointing=False,
            unroll=1,
            buckets=((6, 8),),
            log_every_steps=1,
            total_steps=total,
            negatives_per_query=7,
        ),
        optimizer=AdamWPlan(
            learning_rate=1e-3,
            weight_decay=0.01,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            max_grad_norm=1.0,
        ),
        segments=segments,
        traces=(),
        precision=PrecisionPlan(compute="float32", matmul="highest"),
        evaluation=EvaluationPlan(
            after=(total,),
            batch_size=8,
            metrics=("mrr@10", "recall@1"),
            dims=(model.embedding_dim,),
            select_best="mrr@10",
            early_stopping=None,
        ),
        checkpoint=CheckpointPlan(after=(total,), keep=2),
        tracking=(),
        hardware=HardwarePlan(
            platform="cpu", devices=1, deterministic=True, max_memory_gb=None, memory_margin=0.1
        ),
        cost=CostPlan(
            weight_bytes=4 * model.total_parameters,
            gradient_bytes=4 * model.trainable_parameters,
            optimizer_bytes=8 * model.trainable_parameters,
            activation_bytes=0,
            loss_bytes=0,
            evaluation_bytes=0,
            peak_bytes=16 * model.total_parameters,
            flops_per_step=0,
            total_flops=0,
            traces=(),
        ),
        values=(),
        warnings=(),
    )


def _encoder_parameters(
    config: TextEncoderConfig, groups: tuple[Group, ...], lora: LoraPlan | None
) -> tuple[Parameter, ...]:
    width = config.hidden_size
    rows = [_leaf("embeddings.token.embedding", (config.vocab_size, width), "embedding")]
    if config.position_embedding == "learned":
        shape = (config.max_position_embeddings, width)
        rows.append(_leaf("embeddings.position.embedding", shape, "embedding"))
    for g, group in enumerate(groups):
        for name, shape, role in _layer(config):
            rows.append(_leaf(f"groups.{g}.{name}", (group.count, *shape), role, group.first))
        for name in group.adapted:
            assert lora is not None
            a, b = (group.count, width, lora.rank), (group.count, lora.rank, width)
            rows.append(_leaf(f"groups.{g}.{name}.lora_a", a, "lora_a", group.first))
            rows.append(_leaf(f"groups.{g}.{name}.lora_b", b, "lora_b", group.first))
    if config.final_layer_norm:
        rows += [_leaf(f"final_norm.{n}", (width,), n) for n in _norm_parts(config)]
    if config.multi_vector_dim:
        rows.append(_leaf("multi_vector.kernel", (width, config.multi_vector_dim), "kernel"))
    if config.vocabulary_head == "own":
        rows.append(_leaf("vocabulary.kernel", (width, config.vocab_size), "kernel"))
        rows += [_leaf("vocabulary.bias", (config.vocab_size,), "bias")] if config.bias else []
    if config.projection_dim:
        rows.append(_leaf("projection.kernel", (width, config.projection_dim), "kernel"))
    return tuple(sorted(rows, key=lambda p: p.path))


def _layer(config: TextEncoderConfig) -> list[tuple[str, tuple[int, ...], Role]]:
    width, inner = config.hidden_size, config.intermediate_size
    linear = {f"attention.{n}": (width, width) for n in ("query", "key", "value", "output")}
    linear |= {"mlp.up": (width, inner), "mlp.down": (inner, width)}
    if config.hidden_act == "swiglu":
        linear["mlp.gate"] = (width, inner)
    rows: list[tuple[str, tuple[int, ...], Role]] = []
    for norm in ("attention_norm", "mlp_norm"):
        rows += [(f"{norm}.{name}", (width,), name) for name in _norm_parts(config)]
    for name, shape in linear.items():
        rows.append((f"{name}.kernel", shape, "kernel"))
        rows += [(f"{name}.bias", shape[1:], "bias")] if config.bias else []
    return rows


def _norm_parts(config: TextEncoderConfig) -> tuple[Role, ...]:
    return ("scale", "bias") if config.bias and config.norm == "layernorm" else ("scale",)


def _loss_parameters(losses: tuple[LossPlan, ...]) -> tuple[Parameter, ...]:
    paths = [path for loss in losses for path in trained_scalars(loss)]
    return tuple(
        _leaf(path, (), "offset" if path.endswith(".bias") else "temperature") for path in paths
    )


def _leaf(path: str, shape: tuple[int, ...], role: Any, stacked: int | None = None) -> Parameter:
    decay = role in ("kernel", "embedding", "lora_a", "lora_b")
    return Parameter(path=path, shape=shape, role=role, stacked=stacked, decay=decay)
