"""Checks on the typed spec that need no facts from outside: what fits the schema and still cannot be meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from specrun.compiler.chunks import CACHE, MICRO, chunk_key, chunk_rows
from specrun.compiler.effects import keys_without_effect, level_of, no_effect
from specrun.compiler.modalities import (
    image_columns,
    lengths_of_texts,
    mode_of,
    networks_for_both,
    patches_fit,
)
from specrun.compiler.negatives import (
    EXPLICIT,
    SCORED,
    Negatives,
    has_column,
    has_explicit,
    negatives_of,
)
from specrun.compiler.reporter import Reporter
from specrun.compiler.vectors import VECTOR_CHECKS
from specrun.spec.experiment import Experiment
from specrun.spec.plan.training import REVERSE_PREFIX, SPEARMAN, TOKENS_PREFIX
from specrun.spec.words.curriculum import Stage
from specrun.spec.words.data import TableData
from specrun.spec.words.evaluation import Evaluation
from specrun.spec.words.losses import (
    ColBERTLoss,
    CoSENTLoss,
    DenseLateKLLoss,
    DistillationLoss,
    InfoNCELoss,
    Loss,
    SigLIPLoss,
)
from specrun.spec.words.model import (
    AutoModel,
    BertModel,
    ClipModel,
    ComposedModel,
    ModernbertModel,
    MpnetModel,
    Qwen3Model,
    RobertaModel,
    SiglipModel,
    Text,
    TextEncoderModel,
)
from specrun.spec.words.optimizer import CosineSchedule, CosineWithRestartsSchedule

FEW_NEGATIVES = 8

TAKING = InfoNCELoss | SigLIPLoss | DistillationLoss | ColBERTLoss | DenseLateKLLoss
"""Losses that say which negatives they take."""

Check = Callable[[Experiment, Reporter], None]


def check_meaning(spec: Experiment, report: Reporter) -> None:
    """Run every check; each reports all that it finds."""
    for check in CHECKS:
        check(spec, report)


# --- the model -------------------------------------------------------------------------------------------------------


def text_network(spec: Experiment) -> tuple[str, Text | ClipModel | SiglipModel]:
    """The network of texts, and where the spec says it."""
    if isinstance(spec.model, ComposedModel):
        return "model.text", spec.model.text
    return "model", spec.model


def attention_heads(spec: Experiment, report: Reporter) -> None:
    at, model = text_network(spec)
    if not isinstance(model, TextEncoderModel) or model.num_hidden_layers == 0:
        return
    heads, width = model.num_attention_heads, model.hidden_size
    path, related = f"{at}.num_attention_heads", (f"{at}.hidden_size",)
    rotary = model.position_embedding == "rotary"
    fitting = [h for h in _divisors(width) if not rotary or width // h % 2 == 0]
    hint = f"heads that fit: {', '.join(str(h) for h in _nearest(fitting, heads))}"
    if width % heads:
        message = f"`{path}` {heads} does not divide `{at}.hidden_size` {width}"
        report.error(path, "heads-do-not-divide", message, hint=hint, related=related)
    elif rotary and width // heads % 2:
        message = f"rotary positions need an even head size, {width} / {heads} is {width // heads}"
        report.error(path, "odd-head-size", message, hint=hint if fitting else "", related=related)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, min(number, 1024) + 1) if number % d == 0]


def _nearest(numbers: Sequence[int], wanted: int) -> list[int]:
    return sorted(sorted(numbers, key=lambda n: abs(n - wanted))[:4])


def positions_suffice(spec: Experiment, report: Reporter) -> None:
    at, model = text_network(spec)
    if not isinstance(model, TextEncoderModel) or model.position_embedding != "learned":
        return
    rows = model.max_position_embeddings
    lengths = spec.data.max_length
    mode = mode_of(spec)
    for name, letter, length in (
        ("query", mode[0], lengths.query),
        ("positive", mode[-1], lengths.positive),
    ):
        if length > rows and letter != "i":
            path = f"data.max_length.{name}"
            message = f"`{path}` {length} is above `{at}.max_position_embeddings` {rows}"
            hint = f"lower it to {rows}, or raise the other"
            related = (f"{at}.max_position_embeddings",)
            report.error(path, "too-few-positions", message, hint=hint, related=related)


def tokenizer_given(spec: Experiment, report: Reporter) -> None:
    at, text = text_network(spec)
    match text:
        case TextEncoderModel():
            if spec.tokenizer is None and spec.init_from is None:
                message = "`tokenizer` is missing: an encoder from scratch has none of its own"
                hint = "add `tokenizer: {kind: train}`"
                report.error(
                    "tokenizer", "missing-key", message, hint=hint, related=(f"{at}.kind",)
                )
        case (
            BertModel()
            | RobertaModel()
            | MpnetModel()
            | Qwen3Model()
            | ModernbertModel()
            | AutoModel()
            | ClipModel()
            | SiglipModel()
        ):
            pass
        case _:
            assert_never(text)


def adapters_on_scratch(spec: Experiment, report: Reporter) -> None:
    if spec.init_from is not None:
        return
    if spec.lora is not None and isinstance(spec.model, TextEncoderModel):
        message = "`lora` freezes the base model, and this one has only random weights"
        hint = "remove `lora`, or read a pretrained model"
        related = ("model.kind",)
        code = "lora-from-scratch"
        report.warning("lora", code, message, hint=hint, blame="key", related=related)


def layers_without_blocks(spec: Experiment, report: Reporter) -> None:
    model = spec.model
    if isinstance(model, TextEncoderModel) and model.num_hidden_layers == 0:
        for name, off in (("gradient_checkpointing", False), ("unroll", None)):
            if getattr(spec.train, name) != off:
                message = f"`train.{name}` has no effect: the model has no layers"
                no_effect(report, ("train", name), ("model", "num_hidden_layers"), message)


def embedding_width(spec: Experiment) -> int | None:
    """The width of the embedding, where the spec alone says it."""
    model = spec.model
    match model:
        case TextEncoderModel():
            return model.projection_dim or model.hidden_size
        case ComposedModel():
            return model.head_dim
        case ClipModel() | SiglipModel():
            return None
        case (
            BertModel()
            | RobertaModel()
            | MpnetModel()
            | Qwen3Model()
            | ModernbertModel()
            | AutoModel()
        ):
            return model.projection_dim


def matryoshka_fits(spec: Experiment, report: Reporter) -> None:
    part = spec.matryoshka
    if part is None:
        return
    width = embedding_width(spec)
    for index, dim in enumerate(part.dims):
        if width is not None and dim > width:
            path = f"matryoshka.dims[{index}]"
            message = f"`{path}` {dim} is above the embedding's width {width}"
            related = ("model.hidden_size", "model.projection_dim")
            hint = f"at most {width}"
            report.error(path, "dim-above-width", message, hint=hint, related=related)
    if part.weights is not None and len(part.weights) != len(part.dims):
        message = f"{len(part.weights)} weights for {len(part.dims)} dims"
        hint = "give one weight per entry of `matryoshka.dims`"
        path, related = "matryoshka.weights", ("matryoshka.dims",)
        report.error(path, "length-mismatch", message, hint=hint, related=related)
    elif part.weights is not None and not any(part.weights):
        message = "all weights of `matryoshka` are 0, so nothing would be trained"
        report.error("matryoshka.weights", "all-weights-zero", message)


# --- losses and stages -----------------------------------------------------------------------------------------------


def loss_name(loss: Loss) -> str:
    """The name by which stages and metrics call a loss."""
    return loss.name or loss.kind


def names_unique(spec: Experiment, report: Reporter) -> None:
    losses = [(loss_name(x), f"losses[{i}]", x.name) for i, x in enumerate(spec.losses)]
    _unique([(name, f"{at}.name" if given else at) for name, at, given in losses], "losses", report)
    stages = spec.curriculum.stages if spec.curriculum else ()
    paths = [(s.name, f"curriculum.stages[{i}].name") for i, s in enumerate(stages)]
    _unique(paths, "stages", report)


def _unique(names: Sequence[tuple[str, str]], what: str, report: Reporter) -> None:
    first: dict[str, str] = {}
    for name, path in names:
        other = first.setdefault(name, path)
        if other != path:
            message = f"two {what} have the name `{name}`"
            hint = "give each a `name` of its own"
            report.error(path, "duplicate-name", message, hint=hint, related=(path, other))


def weights_leave_something(spec: Experiment, report: Reporter) -> None:
    own = {loss_name(loss): loss.weight for loss in spec.losses}
    related = tuple(f"losses[{i}].weight" for i in range(len(spec.losses)))
    if not spec.curriculum and not any(own.values()):
        message = "all losses have weight 0, so nothing would be trained"
        report.error("losses[0].weight", "all-weights-zero", message, related=related)
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        path = f"curriculum.stages[{index}].loss_weights"
        if not any((own | dict(stage.loss_weights)).values()):
            message = f"all losses have weight 0 in stage `{stage.name}`"
            report.error(path, "all-weights-zero", message, related=(path, *related))


def weights_name_losses(spec: Experiment, report: Reporter) -> None:
    names = [loss_name(loss) for loss in spec.losses]
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        for name in stage.loss_weights:
            if name not in names:
                path = ("curriculum", "stages", index, "loss_weights", name)
                message = f"no loss has the name `{name}`"
                hint = f"there is {', '.join(f'`{n}`' for n in names)}"
                related = ("losses",)
                report.error(path, "unknown-loss", message, hint=hint, blame="key", related=related)


def stages_select(spec: Experiment, report: Reporter) -> None:
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        _select(stage, f"curriculum.stages[{index}]", report)
        if index == 0 and stage.reset_optimizer:
            path = "curriculum.stages[0].reset_optimizer"
            message = f"`{path}` has no effect: the optimizer is fresh when the run begins"
            report.error(path, "no-effect", message, hint="remove it", blame="key")


def _select(stage: Stage, path: str, report: Reporter) -> None:
    select = stage.select
    if select is None:
        return
    if select.min is None and select.max is None:
        message = f"`{path}.select` has neither `min` nor `max`"
        hint = "give one, or remove `select` to take all rows"
        related = (f"{path}.select.min", f"{path}.select.max")
        report.error(f"{path}.select", "no-bounds", message, hint=hint, related=related)
    elif select.min is not None and select.max is not None and select.min > select.max:
        message = f"`{path}.select.min` {select.min} is above `max` {select.max}"
        related = (f"{path}.select.max",)
        report.error(f"{path}.select.min", "empty-range", message, related=related)


# --- length and batches ----------------------------------------------------------------------------------------------


def length_given(spec: Experiment, report: Reporter) -> None:
    train = spec.train
    if train.epochs is None and train.max_steps is None and spec.curriculum is None:
        message = "nothing says how long to train"
        hint = "add `train: {epochs: 10}`, `train: {max_steps: 1000}`, or a `curriculum`"
        related = ("train.epochs", "train.max_steps", "curriculum")
        report.error("train", "missing-key", message, hint=hint, blame="key", related=related)
    if train.epochs is not None and train.max_steps is not None:
        message = "`train.epochs` has no effect: `train.max_steps` overrides it"
        if level_of(report, ("train", "epochs")) >= level_of(report, ("train", "max_steps")):
            hint = "keep one of them"
            path, related = "train.epochs", ("train.max_steps",)
            report.warning(path, "no-effect", message, hint=hint, blame="key", related=related)


def epochs_agree(spec: Experiment, report: Reporter) -> None:
    if spec.curriculum is None or spec.train.epochs is None:
        return
    total = sum(stage.epochs for stage in spec.curriculum.stages)
    if spec.train.epochs != total:
        message = f"`train.epochs` is {spec.train.epochs}, and the stages have {total} in all"
        hint = f"remove `train.epochs`, or set it to {total}"
        related = ("curriculum",)
        report.error("train.epochs", "epochs-disagree", message, hint=hint, related=related)


def batch_divides(spec: Experiment, report: Reporter) -> None:
    rows, devices, micro = spec.train.batch_size, spec.hardware.devices, chunk_rows(spec.train)
    if rows % devices:
        message = f"`train.batch_size` {rows} is not a multiple of `hardware.devices` {devices}"
        hint = f"write {_multiple(rows, devices)}"
        path, related = "train.batch_size", ("hardware.devices",)
        report.error(path, "does-not-divide", message, hint=hint, related=related)
    if micro is None:
        return
    path, related = chunk_key(spec.train), ("train.batch_size", "hardware.devices")
    fitting = [d for d in _divisors(rows) if d % devices == 0]
    hint = f"sizes that fit: {', '.join(map(str, _nearest(fitting, micro)))}" if fitting else ""
    if rows % micro:
        message = f"`{path}` {micro} does not divide `train.batch_size` {rows}"
        report.error(path, "does-not-divide", message, hint=hint, related=related)
    elif micro % devices:
        message = f"`{path}` {micro} is not a multiple of `hardware.devices` {devices}"
        report.error(path, "does-not-divide", message, hint=hint, related=related)


def chunks_agree(spec: Experiment, report: Reporter) -> None:
    """Gradient caching has two names, and one value."""
    cache, micro = spec.train.gradient_cache, spec.train.micro_batch_size
    if cache is None or micro is None or cache.chunk_size == micro:
        return
    message = f"`{CACHE}` is {cache.chunk_size} and `{MICRO}` is {micro}: both are the rows encoded at a time"
    hint = "keep one of them"
    report.error(CACHE, "chunks-disagree", message, hint=hint, related=(CACHE, MICRO))


def tile_fits(spec: Experiment, report: Reporter) -> None:
    rows, tile = spec.train.batch_size, spec.train.score_tile_rows
    if tile is None:
        return
    if not any(negatives_of(loss, spec.data) in SCORED for loss in spec.losses):
        message = "`train.score_tile_rows` has no effect: no loss compares the rows of a batch"
        no_effect(report, ("train", "score_tile_rows"), ("losses", 0, "negatives"), message)
    if tile > rows:
        path, related = "train.score_tile_rows", ("train.batch_size",)
        message = f"`{path}` {tile} is above `train.batch_size` {rows}"
        report.error(path, "tile-too-large", message, hint="remove it", related=related)


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


def explicit_negatives_exist(spec: Experiment, report: Reporter) -> None:
    """A loss can only take negatives that the data has, and a column is there to be taken by something."""
    for index, loss in enumerate(spec.losses):
        named = loss.negatives if isinstance(loss, TAKING) else None
        if named in ("own", "all") and not has_explicit(spec.data):
            path = f"losses[{index}].negatives"
            message = f"`{path}` is `{named}`, and the data names no column of negatives"
            hint = (
                "add `data: {columns: {negatives: NAME}}` or `data.negatives`, or write `in_batch`"
            )
            related = ("data.columns.negatives",)
            report.error(path, "no-negatives", message, hint=hint, related=related)
    taken = any(negatives_of(loss, spec.data) in EXPLICIT for loss in spec.losses)
    if has_column(spec.data) and not taken and spec.evaluation is None:
        path, related = "data.columns.negatives", ("losses[0].negatives",)
        message = f"`{path}` has no effect: no loss takes explicit negatives (`negatives: in_batch`, `kind: cosent`), and nothing is evaluated"
        report.error(path, "no-effect", message, hint="remove it", related=related)


def false_negatives_are_some(spec: Experiment, report: Reporter) -> None:
    """A section of false negatives takes something for one."""
    for index, loss in enumerate(spec.losses):
        false = loss.false_negatives if isinstance(loss, InfoNCELoss | SigLIPLoss) else None
        if false is None:
            continue
        at = ("losses", index, "false_negatives")
        own = negatives_of(loss, spec.data) == "own"
        if own:
            message = (
                "`identical` has no effect: a row's own negatives are other texts than its positive"
            )
            no_effect(report, (*at, "identical"), ("losses", index, "negatives"), message)
        if false.margin is None:
            message = "`margin_strategy` has no effect without a `margin`"
            no_effect(report, (*at, "margin_strategy"), (*at, "margin"), message)
            if own or not false.identical:
                path = f"losses[{index}].false_negatives"
                message = f"`{path}` takes nothing for a false negative"
                hint = "give a `margin`, or remove the section"
                report.error(path, "no-effect", message, hint=hint, blame="key")


def mining_is_used(spec: Experiment, report: Reporter) -> None:
    """Mined negatives stand alone, are enough for a row, and some loss takes them."""
    mined = spec.data.negatives
    if mined is None:
        return
    if has_column(spec.data):
        message = (
            "`data.negatives` mines negatives, and `data.columns.negatives` names a column of them"
        )
        hint = "keep one of the two"
        related = ("data.columns.negatives",)
        code = "two-negatives"
        report.error("data.negatives", code, message, hint=hint, blame="key", related=related)
    if not any(negatives_of(loss, spec.data) in EXPLICIT for loss in spec.losses):
        message = "`data.negatives` has no effect: no loss takes explicit negatives"
        hint = "write `negatives: all` or `own` at a loss, or remove it"
        related = ("losses[0].negatives",)
        report.error(
            "data.negatives", "no-effect", message, hint=hint, blame="key", related=related
        )
    left = mined.top_k - mined.skip_top
    if mined.num_negatives > left:
        path, related = "data.negatives.num_negatives", ("data.negatives.top_k",)
        message = (
            f"`{path}` {mined.num_negatives} is more than the {max(left, 0)} that "
            f"`top_k` {mined.top_k} less `skip_top` {mined.skip_top} leave"
        )
        report.error(path, "too-many", message, hint="raise `top_k`", related=related)


def scores_exist(spec: Experiment, report: Reporter) -> None:
    """CoSENT sorts by scores, and a column of them is there to be sorted by."""
    column = spec.data.columns.score if isinstance(spec.data, TableData) else None
    sorting = [i for i, loss in enumerate(spec.losses) if isinstance(loss, CoSENTLoss)]
    if sorting and column is None:
        path, related = f"losses[{sorting[0]}].kind", ("data.columns.score", "data.kind")
        message = "`cosent` sorts the rows by their scores, and the data names no column of scores"
        hint = "add `data: {columns: {score: NAME}}`"
        if not isinstance(spec.data, TableData):
            hint = f"`{spec.data.kind}` has no scores: take rows with columns"
        report.error(path, "no-scores", message, hint=hint, related=related)
    compared = spec.evaluation is not None and SPEARMAN in spec.evaluation.metrics
    by_rows = any(map(scored_by_rows, spec.losses))
    if column is not None and not sorting and not compared and not by_rows:
        message = "`data.columns.score` has no effect: no loss is of the kind `cosent`, or `distillation` without a teacher, and `spearman` is not measured"
        no_effect(report, ("data", "columns", "score"), ("losses", 0, "kind"), message)
    retrieval = spec.evaluation is not None and spec.evaluation.metrics != (SPEARMAN,)
    if column is not None and sorting and retrieval:
        message = "every held-out pair counts as an answer, whatever its score"
        hint = "hold out rows whose texts belong together, or measure `metrics: [spearman]` alone"
        path, related = "data.columns.score", ("evaluation",)
        report.warning(path, "scores-not-evaluated", message, hint=hint, related=related)


def scored_by_rows(loss: Loss) -> bool:
    """Whether a teacher's scores stand in the rows."""
    return isinstance(loss, DistillationLoss) and loss.teacher is None


def compares_pairs(loss: Loss) -> bool:
    """Whether a row's own pair is told of, so that a batch of one row teaches something."""
    return isinstance(loss, DistillationLoss) and loss.objective == "mse"


def teachers_agree(spec: Experiment, report: Reporter) -> None:
    """A run has one teacher: its embeddings come with every batch. It reads texts."""
    found = [
        (f"losses[{i}].teacher", loss.teacher)
        for i, loss in enumerate(spec.losses)
        if isinstance(loss, DistillationLoss) and loss.teacher is not None
    ]
    mode = spec.data.retrieval_mode if isinstance(spec.data, TableData) else "t2t"
    if found and mode != "t2t":
        message = f"a teacher embeds texts, and `data.retrieval_mode` is `{mode}`"
        hint = "take `t2t` rows, or a teacher's scores in the rows"
        related = ("data.retrieval_mode",)
        report.error(found[0][0], "teacher-of-texts", message, hint=hint, related=related)
    for path, teacher in found[1:]:
        if teacher != found[0][1]:
            message = "two losses have different teachers, and a run has one"
            hint = "distil from one after the other, with `init_from`"
            report.error(path, "two-teachers", message, hint=hint, related=(found[0][0],))


def teacher_scores_exist(spec: Experiment, report: Reporter) -> None:
    """Without a teacher its scores stand in the rows, and a column of them is there to be learned from."""
    columns = spec.data.columns if isinstance(spec.data, TableData) else None
    learning = [i for i, loss in enumerate(spec.losses) if scored_by_rows(loss)]
    for index in learning:
        _scores_suffice(spec, index, report)
    if columns is None or columns.negative_scores is None:
        return
    if columns.negatives is None or not learning:
        lacking = "there is no `data.columns.negatives`"
        if columns.negatives is not None:
            lacking = "no loss is of the kind `distillation` without a teacher"
        path = ("data", "columns", "negative_scores")
        message = f"`data.columns.negative_scores` has no effect: {lacking}"
        no_effect(report, path, ("losses", 0, "kind"), message)


def _scores_suffice(spec: Experiment, index: int, report: Reporter) -> None:
    loss, at = spec.losses[index], f"losses[{index}]"
    assert isinstance(loss, DistillationLoss)
    columns = spec.data.columns if isinstance(spec.data, TableData) else None
    if loss.negatives in ("in_batch", "all"):
        message = f"`{at}.negatives` is `{loss.negatives}`, and rows hold scores of their own candidates alone"
        hint = "name a `teacher`, or remove `negatives`"
        report.error(f"{at}.negatives", "no-teacher", message, hint=hint)
    wanted = {"score": "of the positive"}
    if loss.objective != "mse" or has_column(spec.data):
        wanted |= {"negatives": "of negatives", "negative_scores": "of their scores"}
    lacking = [k for k in wanted if columns is None or getattr(columns, k) is None]
    if lacking:
        keys = ", ".join(f"`data.columns.{key}`" for key in lacking)
        message = (
            f"`{at}` has no teacher, and the data names no {keys}: a teacher's scores in the rows"
        )
        hint = "add `teacher: {kind: pretrained, name_or_path: …}`, or name the columns"
        report.error(f"{at}.kind", "no-scores", message, hint=hint, related=(f"{at}.teacher",))


def labels_taken(spec: Experiment, report: Reporter) -> None:
    """Labels keep rows from being each other's negatives: a loss without in-batch negatives takes none."""
    column = spec.data.columns.label if isinstance(spec.data, TableData) else None
    taking = [loss for loss in spec.losses if not isinstance(loss, DistillationLoss)]
    kinds = {negatives_of(loss, spec.data) for loss in taking}
    if column is not None and kinds <= {"own", "none"}:
        message = "`data.columns.label` has no effect: no loss has other rows as negatives"
        no_effect(report, ("data", "columns", "label"), ("losses", 0, "kind"), message)


def negatives_suffice(spec: Experiment, report: Reporter) -> None:
    rows = spec.train.batch_size
    path = "train.batch_size"
    explicit = has_explicit(spec.data)
    alone = [
        loss.kind
        for loss in spec.losses
        if _needs_rows(negatives_of(loss, spec.data), explicit) and not compares_pairs(loss)
    ]
    if rows == 1 and (wanting := [kind for kind in alone if kind != "siglip"]):
        what = "two rows to compare" if wanting[0] == "cosent" else "negatives"
        message = f"with a batch of 1 row `{wanting[0]}` has no {what}, and its loss is always 0"
        hint = f"write at least {FEW_NEGATIVES + 1}"
        report.error(path, "no-negatives", message, hint=hint)
    elif rows <= FEW_NEGATIVES and set(alone) - {"cosent"}:
        message = f"each query has only {rows - 1} negatives, the other rows of its batch"
        hint = f"raise it; `{chunk_key(spec.train)}` bounds the memory"
        report.warning(path, "few-negatives", message, hint=hint)
    comparing = [loss.kind for loss in spec.losses if negatives_of(loss, spec.data) in SCORED]
    if spec.train.accumulation_steps > 1 and comparing:
        path = "train.accumulation_steps"
        names = " and ".join(f"`{kind}`" for kind in dict.fromkeys(comparing))
        message = f"accumulation adds no negatives to {names}: each pass sees its own batch"
        hint = f"raise `train.batch_size`; `{chunk_key(spec.train)}` bounds the memory"
        report.warning(path, "accumulation-in-batch", message, hint=hint)


def _needs_rows(negatives: Negatives, explicit: bool) -> bool:
    """Whether a loss has nothing but the other rows of a batch to compare a row with."""
    return negatives in ("in_batch", "none") or (negatives == "own_else_in_batch" and not explicit)


# --- optimizer, schedule, data, evaluation ---------------------------------------------------------------------------


def floor_below_peak(spec: Experiment, report: Reporter) -> None:
    schedule, peak = spec.schedule, spec.optimizer.learning_rate
    if not isinstance(schedule, (CosineSchedule, CosineWithRestartsSchedule)):
        return
    if schedule.min_learning_rate > peak:
        path, related = "schedule.min_learning_rate", ("optimizer.learning_rate",)
        message = f"`{path}` {schedule.min_learning_rate} is above the peak {peak}"
        report.error(path, "floor-above-peak", message, related=related)


def temperature_in_range(spec: Experiment, report: Reporter) -> None:
    """A trained temperature is held at 0.01 or above, so it cannot start below."""
    for index, loss in enumerate(spec.losses):
        if not isinstance(loss, InfoNCELoss):
            continue
        if loss.train_temperature and loss.temperature < 0.01:
            path = f"losses[{index}].temperature"
            message = (
                f"a trained temperature is held at 0.01 or above, and {loss.temperature} is below"
            )
            related = (path, f"losses[{index}].train_temperature")
            hint = "start at 0.01 or above, or fix it with `train_temperature: false`"
            report.error(path, "out-of-range", message, hint=hint, related=related)


def columns_differ(spec: Experiment, report: Reporter) -> None:
    if not isinstance(spec.data, TableData):
        return
    first: dict[str, str] = {}
    for key in (
        "query",
        "query_image",
        "positive",
        "negatives",
        "label",
        "score",
        "negative_scores",
    ):
        name = getattr(spec.data.columns, key)
        other = first.setdefault(name, key) if name is not None else key
        if other != key:
            path, related = f"data.columns.{key}", (f"data.columns.{other}",)
            message = f"{other} and {key} are the same column `{name}`"
            report.error(path, "same-column", message, related=related)


def negatives_to_bound(spec: Experiment, report: Reporter) -> None:
    data = spec.data
    if isinstance(data, TableData) and data.max_negatives and data.columns.negatives is None:
        message = "`data.max_negatives` has no effect: `data.columns.negatives` names no column"
        no_effect(report, ("data", "max_negatives"), ("data", "columns", "negatives"), message)


def evaluation_has_rows(spec: Experiment, report: Reporter) -> None:
    if spec.evaluation is not None and spec.data.validation is None:
        message = "`evaluation` has no rows: `data.validation` is missing"
        hint = "add `data: {validation: {kind: fraction, fraction: 0.1}}`, or remove `evaluation`"
        related = ("data.validation",)
        code = "no-validation"
        report.error("evaluation", code, message, hint=hint, blame="key", related=related)
    if spec.evaluation is None and spec.data.validation is not None:
        message = "rows are held out and never used: `evaluation` is missing"
        hint = "add `evaluation: {}`, or remove `data.validation`"
        path, related = "data.validation", ("evaluation",)
        report.warning(path, "unused-validation", message, hint=hint, blame="key", related=related)


def best_is_measured(spec: Experiment, report: Reporter) -> None:
    part = spec.evaluation
    if part is None:
        return
    path = "evaluation.select_best"
    metric, _, dim = part.select_best.partition(" at ")
    tokens = getattr(spec.model, "multi_vector", None) if metric.startswith(TOKENS_PREFIX) else None
    if metric.startswith(TOKENS_PREFIX) and tokens is None:
        hint = "write `model: {multi_vector: {dim: 128}}`, or the metric without `multi_vector/`"
        message = f"`{path}` {metric}: the model has no token vectors beside its embedding"
        related = ("model.multi_vector",)
        report.error(path, "unknown-metric", message, hint=hint, related=related)
    plain = metric.removeprefix(TOKENS_PREFIX)
    _direction_is_asked(plain, part, report)
    if plain.removeprefix(REVERSE_PREFIX) not in part.metrics:
        hint = f"metrics are {', '.join(f'`{m}`' for m in part.metrics)}"
        message = f"`{path}` {metric} is not in `evaluation.metrics`"
        related = ("evaluation.metrics",)
        report.error(path, "unknown-metric", message, hint=hint, related=related)
    width = embedding_width(spec) if tokens is None else tokens.dim
    if dim and width is not None:
        dims = sorted({*(spec.matryoshka.dims if spec.matryoshka else ()), width})
        if int(dim) not in dims:
            message = f"`{path}`: dimension {dim} is not evaluated"
            hint = f"dimensions are {', '.join(map(str, dims))}"
            related = ("matryoshka.dims", "model.hidden_size", "model.projection_dim")
            report.error(path, "unknown-dimension", message, hint=hint, related=related)


def _direction_is_asked(metric: str, part: Evaluation, report: Reporter) -> None:
    """The metric that chooses is of a direction that is measured; Spearman has none."""
    wanted = "positive_to_query" if metric.startswith(REVERSE_PREFIX) else "query_to_positive"
    if metric != SPEARMAN and wanted not in part.directions:
        path, related = "evaluation.select_best", ("evaluation.directions",)
        message = f"`{path}` {metric} is of the direction {wanted}, and `{related[0]}` has not that"
        hint = f"add {wanted} to `{related[0]}`, or choose a metric of the other direction"
        report.error(path, "unknown-metric", message, hint=hint, related=related)


def spearman_has_scores(spec: Experiment, report: Reporter) -> None:
    """The rank correlation is with scores, and a column of them is there."""
    column = spec.data.columns.score if isinstance(spec.data, TableData) else None
    if spec.evaluation is None or SPEARMAN not in spec.evaluation.metrics:
        return
    path = "evaluation.metrics"
    if column is None:
        message = (
            "`spearman` compares with the rows' scores, and the data names no column of scores"
        )
        hint = "add `data: {columns: {score: NAME}}`, or remove it"
        related = ("data.columns.score",)
        report.error(path, "no-scores", message, hint=hint, related=related)
    if spec.evaluation.metrics == (SPEARMAN,) and spec.evaluation.directions != (
        "query_to_positive",
    ):
        message = (
            "`evaluation.directions` has no effect: `spearman` compares pairs, and asks nothing"
        )
        no_effect(report, ("evaluation", "directions"), ("evaluation", "metrics"), message)


# --- tracking --------------------------------------------------------------------------------------------------------


def trackers_once(spec: Experiment, report: Reporter) -> None:
    kinds = [tracker.kind for tracker in spec.tracking]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            message = f"`tracking` names {kind} twice, and a run has one of each kind"
            report.error(f"tracking[{index}]", "tracker-twice", message, hint="remove one of them")


CHECKS: tuple[Check, ...] = (
    image_columns,
    lengths_of_texts,
    patches_fit,
    networks_for_both,
    keys_without_effect,
    attention_heads,
    positions_suffice,
    tokenizer_given,
    adapters_on_scratch,
    layers_without_blocks,
    matryoshka_fits,
    names_unique,
    weights_leave_something,
    weights_name_losses,
    stages_select,
    length_given,
    epochs_agree,
    batch_divides,
    chunks_agree,
    tile_fits,
    explicit_negatives_exist,
    false_negatives_are_some,
    mining_is_used,
    scores_exist,
    teachers_agree,
    teacher_scores_exist,
    labels_taken,
    negatives_suffice,
    floor_below_peak,
    temperature_in_range,
    columns_differ,
    negatives_to_bound,
    evaluation_has_rows,
    best_is_measured,
    spearman_has_scores,
    trackers_once,
    *VECTOR_CHECKS,
)
