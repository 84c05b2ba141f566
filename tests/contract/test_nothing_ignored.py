"""Law 1: every key of the spec changes something that is named here, or compiling refuses it.

``TABLE`` holds a row per key: the settings before, the settings after, and the artefact that must differ. A key of
the spec's types without a row fails the last test, so a new word cannot be added without its effect.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unittest.mock import MagicMock

import pytest

import specrun
from specrun.spec.annotations import fields_of
from specrun.spec.experiment import Experiment
from specrun.spec.plan.plan import Plan
from tests.runtime.data.fonts import PICTURED, FontMaker
from tests.runtime.folders import make_directory, make_run
from tests.runtime.plans import make_lora
from tests.runtime.quick import compile_quickly

SPEC = """\
version: 1
name: base
model:
  kind: text_encoder
  hidden_size: 16
  num_hidden_layers: 0
  position_embedding: none
  hidden_dropout_prob: 0
tokenizer: {kind: train, vocab_size: 400}
data:
  kind: jsonl
  path: rows.jsonl
  max_length: {query: 16, positive: 48}
  validation: {kind: fraction, fraction: 0.3}
losses: [{kind: infonce, temperature: 0.1}]
train: {batch_size: 16, epochs: 2, log_every_steps: 1}
optimizer: {kind: adamw, learning_rate: 1e-3}
schedule: {kind: linear, warmup_ratio: 0.2}
evaluation: {metrics: [mrr@10, recall@1]}
"""
VERBS = ("open", "close", "find", "sort", "merge", "split", "read", "write", "parse", "print")
NOUNS = (
    "file",
    "list",
    "socket",
    "tree",
    "table",
    "queue",
    "graph",
    "image",
    "string",
    "stream",
    "HTMLPage",
    "my_map",
)


def write_inputs(folder: Path) -> None:
    """120 rows with a numeric field, another file, a Python tree, and a spec's preset."""
    rows = [
        {
            "query": f"{verb} a {noun} with Care",
            "positive": f"def {verb}_{noun}(x):\n    return x.{verb}({i}, {noun!r})"
            + "\n    # more" * (i % 9),
            "other": f"{noun} {verb}",
            "level": i,
        }
        for i, (verb, noun) in enumerate((v, n) for v in VERBS for n in NOUNS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "bad.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + "{\n")
    held = [{"query": f"held {i}", "positive": f"text {i}", "other": "x"} for i in range(9)]
    (folder / "held.jsonl").write_text("".join(json.dumps(r) + "\n" for r in held))
    write_tables(folder, rows, held)
    write_texts(folder)
    write_prose(folder)
    write_images(folder)
    for name in ("one", "two"):
        (folder / name).mkdir()
        body = "\n\n".join(
            f'def {name}_{i}(a):\n    """Do {name} {i} things."""\n    return a + {i}'
            for i in range(60)
        )
        (folder / name / "code.py").write_text(body)
        (folder / name / "skip_me.py").write_text(
            'def z():\n    """Zed is last."""\n    return 26\n'
        )
    (folder / "broken").mkdir()
    (folder / "broken" / "bad.py").write_text("def (")
    (folder / "preset.yaml").write_text("seed: 9\n")
    make_directory(folder / "teacher")
    make_directory(folder / "mean")
    (folder / "mean" / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    make_run(folder / "old")
    make_run(folder / "adapted", lora=make_lora())
    write_adapter(folder / "adapter")


def write_adapter(folder: Path) -> None:
    """PEFT's files for rank 2 on the queries of one layer of width 16."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["query"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    name = "base_model.model.layers.0.attention.query.lora_"
    tensors = {f"{name}A.weight": np.ones((2, 16)), f"{name}B.weight": np.ones((16, 2))}
    save_file(
        {k: v.astype(np.float32) for k, v in tensors.items()}, folder / "adapter_model.safetensors"
    )


def write_texts(folder: Path) -> None:
    """40 paragraphs of one to four sentences and of all lengths, a long one, a short one, others, and a bad file."""
    paragraphs = [
        " ".join(
            f"{verb.capitalize()} the {noun} {'very ' * j}carefully now{'' if i % 3 else ' again'}."
            for j, noun in enumerate(NOUNS[: 1 + (i + k) % 4])
        )
        for i, verb in enumerate(VERBS)
        for k in range(4)
    ]
    for name, texts in {
        "corpus/a.txt": [*paragraphs, " ".join(f"word{i}" for i in range(60)) + ".", "Oh."],
        "corpus/b.md": paragraphs[:20],
        "other_texts/c.txt": paragraphs[20:],
        "held_texts/d.txt": ["Held texts are others.", "None of them is in the corpus."],
        "more_texts/e.txt": ["These are held in place of them."],
        "bad_texts/f.txt": paragraphs,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("\n\n".join(texts))
    (folder / "bad_texts" / "g.txt").write_bytes(b"\xff")


def write_prose(folder: Path) -> None:
    """40 paragraphs of three sentences each."""
    paragraphs = [
        " ".join(
            f"Nobody can {v} the {NOUNS[(i + j) % 12]}." for j, v in enumerate(VERBS[i % 8 :][:3])
        )
        for i in range(40)
    ]
    (folder / "prose.txt").write_text("\n\n".join(paragraphs))


def write_images(folder: Path) -> None:
    """24 captions with a coloured image each, the images again in other colours, and rows of them."""
    import numpy as np
    from PIL import Image

    colours = np.random.default_rng(0).integers(0, 256, (2, 24, 3), dtype=np.uint8)
    for name, of in zip(("pics", "others"), colours, strict=True):
        (folder / name).mkdir()
        for i, colour in enumerate(of):
            Image.new("RGB", (9, 7), tuple(map(int, colour))).save(folder / name / f"{i}.png")
    rows = [
        {"query": f"colour {i}", "image": f"{i}.png", "next": f"{(i + 1) % 24}.png"}
        | {"wrong": [f"{(i + 5) % 24}.png"], "last": f"{(i - 1) % 24}.png"}
        for i in range(24)
    ]
    for name, pictured in (("few", PICTURED[:8]), ("many", PICTURED)):
        (folder / f"{name}.ttf").write_bytes(FontMaker(rows=pictured).build())
    (folder / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_tables(folder: Path, rows: list[dict[str, Any]], held: list[dict[str, Any]]) -> None:
    """The rows with negatives and labels, other rows, bad ones and held-out ones, in every format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    full = [
        {**row, "wrong": [f"no {i}", f"never {i}"][: i % 3], "topic": i % 5, "area": i % 2}
        for i, row in enumerate(rows)
    ]
    for row in full:
        row["worse"] = row["wrong"][:1]
        row["told"] = [len(text) / 9 for text in row["wrong"]]
        row["guessed"] = [0.5 for _ in row["wrong"]]
    bad = [*full, full[0] | {"query": " "}]
    tables = {"rows": full, "other": full[:90], "bad": bad, "held": held}
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in full))
    for name, table in tables.items():
        for ending, delimiter in (("csv", ","), ("tsv", "\t"), ("semicolon.csv", ";")):
            with (folder / f"{name}.{ending}").open("w", newline="") as file:
                writer = csv.writer(file, delimiter=delimiter)
                cells = [
                    [json.dumps(x) if isinstance(x, list) else x for x in r.values()] for r in table
                ]
                writer.writerows([list(table[0]), *cells])
        whole = pa.Table.from_pylist(table)
        pq.write_table(whole, folder / f"{name}.parquet")
        for there in (folder / f"{name}.saved", folder / "splits.saved" / name):
            there.mkdir(parents=True)
            with (
                pa.OSFile(str(there / "a.arrow"), "wb") as to,
                pa.ipc.new_stream(to, whole.schema) as stream,
            ):
                stream.write_table(whole)
            (there / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    splits = json.dumps({"splits": list(tables)})
    (folder / "splits.saved" / "dataset_dict.json").write_text(splits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    there = tmp_path_factory.mktemp("nothing-ignored")
    write_inputs(there)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECRUN_CACHE", str(there / "cache"))
        patch.chdir(there)
        yield there
    compiled.cache_clear()
    artefact_of.cache_clear()


# --- artefacts -------------------------------------------------------------------------------------------------------


@functools.cache
def compiled(settings: tuple[str, ...]) -> Plan:
    return specrun.compile(SPEC, overrides=settings, environ={})


def told(plan: Plan) -> object:
    """What the teacher makes of the training texts."""
    from specrun.runtime.data.scan import ensure_rows
    from specrun.runtime.teacher.embeddings import ensure_told
    from specrun.spec.plan.losses import teacher_of

    teacher = teacher_of(plan.losses)
    if teacher is None:
        return None
    found = ensure_told(teacher, ensure_rows(plan.data))
    return found.queries.tobytes(), found.positives.tobytes()


def start(plan: Plan) -> object:
    """The parameters at step 0."""
    return {p: (x.shape, x.tobytes()) for p, x in _flat(_program(plan).init(plan.seed)).items()}


def jaxpr(plan: Plan) -> object:
    """What is traced for a training step."""
    import jax

    from specrun.runtime.program.control import control_at

    program = _program(plan)
    state = program.enter(0, program.init(plan.seed))
    _, batch = _batches(plan).at(0)
    text = str(jax.make_jaxpr(program.step)(state, batch, control_at(plan, 0)))
    return re.sub(r"0x[0-9a-f]+", "", text)


def embeddings(plan: Plan) -> object:
    """The encoder's output on the first batch."""
    import numpy as np

    _, batch = _batches(plan).at(0)
    program = _program(plan)
    return np.asarray(
        program.encode(
            program.init(plan.seed), batch.positive_ids[0], batch.positive_mask[0], "positive"
        )
    ).tobytes()


def token_states(plan: Plan) -> object:
    """What the network gives for every token of the first batch of texts."""
    import numpy as np

    _, batch = _batches(plan).at(0)
    program = _program(plan)
    given = program.encode(program.init(plan.seed), batch.query_ids[0], batch.query_mask[0])
    return np.asarray(given.tokens.vectors).tobytes()


def after_a_step(plan: Plan) -> object:
    """The trained parameters after the first two steps, dropout and all."""
    from specrun.runtime.program.control import control_at

    with pytest.MonkeyPatch.context() as patch:
        compile_quickly(patch)
        program = _program(plan)
    state = program.enter(0, program.init(plan.seed))
    for step in range(2):
        state, _ = program.step(state, _batches(plan).at(step)[1], control_at(plan, step))
    return {p: x.tobytes() for p, x in _flat(state["params"]).items()}


def trained(plan: Plan) -> object:
    """Which parameters train, segment by segment."""
    program = _program(plan)
    state, found = program.init(plan.seed), []
    for index in range(len(plan.segments)):
        state = program.enter(index, state)
        found.append(sorted(_flat(state["params"])))
    return found


def chosen_rows(plan: Plan) -> object:
    """Which rows every stage takes."""
    from specrun.runtime.data.order import select
    from specrun.runtime.difficulty.scores import ensure_scored

    training = ensure_scored(plan).training
    return [select(training, segment.selection).tolist() for segment in plan.segments]


def batches(plan: Plan) -> object:
    """The content of every batch."""
    made = _batches(plan)
    digest = hashlib.sha256()
    for step in range(plan.train.total_steps):
        _, batch = made.at(step)
        for array in (x for x in batch if x is not None):
            digest.update(f"{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def rates(plan: Plan) -> object:
    """The learning rate of every step."""
    from specrun.runtime.program.control import learning_rate_table

    return learning_rate_table(plan).tolist()


def control(plan: Plan) -> object:
    """The loss weights of every step."""
    from specrun.runtime.program.control import control_at

    return [control_at(plan, t)["loss_weights"] for t in range(plan.train.total_steps)]


def optimizer_state(plan: Plan) -> object:
    """The optimizer's counts after the last stage was entered, one step into each."""
    from specrun.runtime.program.control import control_at

    program = _program(plan)
    state = program.init(plan.seed)
    for index, segment in enumerate(plan.segments):
        state = program.enter(index, state)
        state, _ = program.step(
            state, _batches(plan).at(segment.first_step)[1], control_at(plan, segment.first_step)
        )
    return {p: int(x) for p, x in _flat(state["optimizer"]["count"]).items()}


def rows(plan: Plan) -> object:
    """The canonical rows and what was left out."""
    return plan.data.scan.rows_digest, plan.data.scan.bad


def tokenizer(plan: Plan) -> object:
    """The tokenizer's text."""
    return plan.tokenizer.digest


def settings(plan: Plan) -> object:
    """What XLA is told, here and on a GPU."""
    from specrun.runtime.program.settings import compiler_options, executable_settings

    return executable_settings(plan), compiler_options(plan.hardware, "gpu")


def placement(plan: Plan) -> object:
    """The devices asked for; more than there are is refused by name."""
    from specrun.runtime.program.mesh import data_mesh

    try:
        return [str(d) for d in data_mesh(plan).devices.flat]
    except specrun.InputError as error:
        return str(error)


def files(plan: Plan) -> object:
    """What a finished run leaves: its folder, metrics, evaluations, checkpoints and result."""
    specrun.run(plan)
    there = Path(plan.output_dir)
    metrics = (there / "metrics.jsonl").read_text()
    kept = sorted(p.name for p in (there / "checkpoints").iterdir() if p.name.isdigit())
    told = json.loads((there / "result.json").read_text())
    shown = {k: told[k] for k in ("metrics", "steps", "skipped_steps", "best", "stopped_early")}
    return plan.output_dir, metrics, kept, shown


def tracked(plan: Plan) -> object:
    """What the packages of the trackers are told at the start of a run: arguments of the stand-ins below."""
    from specrun.runtime.track import tracker

    told: list[object] = []

    def package(name: str, opening: str) -> types.ModuleType:
        def opened(**arguments: Any) -> Any:
            shown = {k: v for k, v in arguments.items() if k != "config"}
            told.append((name, shown))
            return MagicMock()

        made = types.ModuleType(name)
        setattr(made, opening, opened)
        made.Settings = dict  # type: ignore[attr-defined]
        return made

    homes = [kind.home for kind in tracker.KINDS.values()]
    with pytest.MonkeyPatch.context() as patch:
        for home in homes:
            patch.delitem(sys.modules, home, raising=False)
        patch.setitem(sys.modules, "tensorboardX", package("tensorboardX", "SummaryWriter"))
        patch.setitem(sys.modules, "wandb", package("wandb", "init"))
        for settings in plan.tracking:
            tracker.make_tracker(settings).start(plan, 0)
        for home in homes:
            sys.modules.pop(home, None)
    return told


def heading(plan: Plan) -> object:
    """The plan's own name."""
    return plan.name


def refused(plan: Plan) -> object:
    """Nothing: a setting that must be refused raises before it gets here."""
    return "accepted"


def abstract(plan: Plan) -> object:
    """Shapes of the batches that the first trace takes, negatives and all."""
    from specrun.runtime.aot import abstract_batch

    return str(abstract_batch(plan, plan.traces[0]))


def found(plan: Plan) -> object:
    """The negatives that are mined before the first step."""
    from specrun.runtime.data.scan import ensure_rows
    from specrun.runtime.data.tokens import ensure_tokens
    from specrun.runtime.loop.folder import RunFolder
    from specrun.runtime.mining.miner import Miner

    assert plan.data.mining is not None
    rows, tokens = ensure_rows(plan.data), ensure_tokens(plan.data, plan.tokenizer)
    program, folder = _program(plan), RunFolder(Path(plan.output_dir))
    miner = Miner(plan, plan.data.mining, rows, tokens, program, folder)
    return miner.search(program.init(plan.seed)).tolist()


def mined(plan: Plan) -> object:
    """The events of mining: after which steps, what was found, and how."""
    specrun.run(plan)
    lines = (Path(plan.output_dir) / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def written(plan: Plan) -> object:
    """What a finished run writes, and the steps that filled each token."""
    specrun.run(plan)
    [texts] = specrun.Predictor(plan.output_dir).complete(["Nobody can"])
    return [(t.ids.tolist(), t.filled.tolist()) for t in texts]


def asked(plan: Plan) -> object:
    """How `specrun generate` ends where it is given no prompt."""
    from specrun.cli import main

    specrun.run(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        return main(["generate", plan.output_dir])


def masking(plan: Plan) -> object:
    """How many tokens every step hides."""
    from specrun.runtime.program.control import control_at

    given = [control_at(plan, t)["masking"] for t in range(plan.train.total_steps)]
    return [{name: x.tolist() for name, x in own.items()} for own in given]


def made(plan: Plan) -> object:
    """The texts that the model makes for the last stage, before any step; and how many there is room for."""
    from specrun.runtime.data.scan import ensure_rows
    from specrun.runtime.data.tokenizer import load
    from specrun.runtime.data.tokens import ensure_tokens
    from specrun.runtime.loop.folder import RunFolder
    from specrun.runtime.loop.pseudo import PSEUDO, make_writer

    if plan.segments[-1].pseudo is None:
        return None
    rows, tokens = ensure_rows(plan.data), ensure_tokens(plan.data, plan.tokenizer)
    text = load(plan.tokenizer).json_text
    name = hashlib.sha256(repr(plan.segments).encode()).hexdigest()[:12]
    folder, events = RunFolder(Path("made") / name), MagicMock(events=())
    folder.root.mkdir(parents=True, exist_ok=True)
    writer = make_writer(plan, rows, tokens, text, folder, events)
    last = len(plan.segments) - 1
    state = _program(plan).init(plan.seed)
    _, texts = writer.make(last, 0, state, _batches(plan), events)  # type: ignore[union-attr]
    assert events.record.call_args.args[0] == PSEUDO
    return texts, plan.segments[-1].pseudo.count


Artefact = Callable[[Plan], object]


@functools.cache
def artefact_of(artefact: Artefact, settings: tuple[str, ...]) -> object:
    own = settings
    if artefact in (files, mined) and not any(
        s.startswith(("name=", "output_dir=")) for s in settings
    ):
        own = (
            *settings,
            f"output_dir=runs/{hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}",
        )
    try:
        found = artefact(compiled(own))
    except specrun.InputError as error:
        return "refused: " + ", ".join(
            sorted(d.code for d in error.diagnostics if d.severity == "error")
        )
    return found[1:] if artefact is files and own is not settings else found  # type: ignore[index]


def _program(plan: Plan) -> Any:
    from specrun.runtime.program.program import build_program

    return build_program(plan)


def _batches(plan: Plan) -> Any:
    from specrun.runtime.data.batches import Batches
    from specrun.runtime.data.tokens import ensure_tokens
    from specrun.runtime.difficulty.scores import ensure_scored
    from specrun.runtime.teacher.embeddings import make_teaching

    processor = plan.model.image_processor
    tokens = ensure_tokens(plan.data, plan.tokenizer, processor=processor)
    rows = ensure_scored(plan)
    return Batches(plan, tokens, rows, make_teaching(plan, rows, tokens))


def _flat(tree: Any) -> dict[str, Any]:
    import numpy as np

    from specrun.runtime.trees import flatten

    return {p: np.asarray(x) for p, x in flatten(tree).items()}


# --- the table -------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """``key`` in the spec's types; settings before and after; what must differ."""

    key: str
    after: tuple[str, ...]
    artefact: Artefact
    before: tuple[str, ...] = ()


PYTHON = ("data={kind: python_source, roots: [one], validation: {kind: fraction, fraction: 0.3}}",)
TABLED = ("data.path=table.jsonl",)
SCORED = (*TABLED, "data.columns.score=level", "losses=[{kind: cosent}]")
LISTED = (
    *TABLED,
    "data.columns.score=level",
    "data.columns.negatives=wrong",
    "data.columns.negative_scores=told",
    "losses=[{kind: distillation}]",
)
TAUGHT = ("losses=[{kind: distillation, teacher: {kind: pretrained, name_or_path: teacher}}]",)
BY_RUN = ("losses=[{kind: distillation, teacher: {kind: run, run: old}}]",)
SPLITS = (
    "data={kind: huggingface, path: splits.saved, split: rows, validation: {kind: fraction, fraction: 0.3}}",
)
COSINE = ("schedule={kind: cosine, warmup_ratio: 0.2}",)
RESTARTS = ("schedule={kind: cosine_with_restarts, warmup_steps: 1, first_period_steps: 3}",)
WARM = ("schedule={kind: constant_with_warmup, warmup_steps: 2}",)
LAYER = ("model.num_hidden_layers=1", "model.num_attention_heads=2")
LEARNED = ("model.position_embedding=learned", "model.max_position_embeddings=64")
LORA = (*LAYER, "lora={rank: 2, target_modules: [query]}")
MRL = ("matryoshka={dims: [16, 8]}",)
STAGES = ("train.epochs=null", "curriculum={stages: [{name: a}, {name: b}]}")
PARTLY = (
    *STAGES,
    "data.negatives={kind: mined, refresh_every_steps: 3, top_k: 20, num_negatives: 2}",
    "evaluation=null",
    "data.validation=null",
)
ADVANCING = (
    "train.epochs=null",
    "curriculum={stages: [{name: a, epochs: 2, advance: {patience: 1}}, {name: b}]}",
    "evaluation={every_steps: 1}",
    "optimizer.learning_rate=1e-9",
)
LEARNING = (
    *ADVANCING,
    "optimizer.learning_rate=1e-2",
    "curriculum.stages[0].advance={patience: 5}",
)
NEVER = "curriculum.stages[0].advance=null"
RANKED = (
    "train.epochs=null",
    "data.difficulty={weights: {lexical: 0.5, syntactic: 0.5, centrality: 0}}",
    "curriculum={stages: [{name: a, select: easy}, {name: b, select: hard}]}",
)
ALONE = "data.difficulty.weights={{lexical: {}, syntactic: {}, centrality: {}}}"
LEXICAL, SYNTACTIC = (*RANKED, ALONE.format(1, 0, 0)), (*RANKED, ALONE.format(0, 1, 0))
CENTRAL = (
    *RANKED,
    ALONE.format(0, 0, 1),
    "data.difficulty.embedding={kind: pretrained, name_or_path: teacher}",
)
BY_OLD = (*CENTRAL[:-1], "data.difficulty.embedding={kind: run, run: old}")
LATE = ("model.pooling=none",)
DUAL = ("model.multi_vector={dim: 12}", "losses=[{kind: infonce}, {kind: colbert}]")
KL = (DUAL[0], "losses=[{kind: infonce}, {kind: colbert}, {kind: dense_late_kl}]")
KL_ALONE = (DUAL[0], "losses=[{kind: infonce}, {kind: dense_late_kl}]")
STOPPING = (
    "evaluation={every_steps: 1, early_stopping: {patience: 9}}",
    "optimizer.learning_rate=1e-9",
)
MINED = (
    "data.negatives={kind: mined, refresh_every_steps: 3, top_k: 20, num_negatives: 2}",
    "train.max_steps=4",
    "evaluation=null",
    "data.validation=null",
)
IMAGES = (
    "model={kind: composed, head_dim: 8, "
    "text: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}, "
    "image: {kind: image_encoder, image_size: 8, patch_size: 4, hidden_size: 8, "
    "num_hidden_layers: 1, num_attention_heads: 2}}",
    "data={kind: jsonl, path: pictures.jsonl, retrieval_mode: t2i, image_root: pics, "
    "columns: {positive: image}, validation: {kind: fraction, fraction: 0.3}}",
)
EMOJI = (
    IMAGES[0],
    "data={kind: emoji, font: few.ttf, size: 9}",
    "evaluation=null",
    "train.batch_size=2",
)
BOTH = (*IMAGES, "data.retrieval_mode=m2i", "data.columns.query_image=next")
MASKED = (
    "model={kind: masked_lm, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "data={kind: text, path: corpus, validation: {kind: fraction, fraction: 0.3}}",
    "losses=[{kind: masked_diffusion}]",
    "evaluation=null",
)
MASKED_STAGES = (*MASKED, *STAGES, "train.batch_size=4")
MASKED_RANKED = (*MASKED_STAGES, *RANKED)
WHOLE = (*MASKED, "data.format=paragraphs")
HELD_TEXTS = (*MASKED, "data.validation={kind: file, path: held_texts}")
WRITING = (
    "model={kind: masked_lm, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, "
    "intermediate_size: 8}",
    "data={kind: text, path: prose.txt, max_length: 16}",
    "losses=[{kind: masked_diffusion}]",
    "train.max_steps=1",
    "evaluation=null",
    "output_dir=runs/writing",  # trained once: these settings are no other run's
    "generation={temperature: 1, steps: 4, max_length: 9, style: the, style_strength: 6}",
)
TOLD = (*MASKED[:-1], "evaluation.metrics=null")
MAKING = (
    "model={kind: masked_lm, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, "
    "intermediate_size: 8}",
    "data={kind: text, path: prose.txt, format: paragraphs, max_length: 48}",
    "losses=[{kind: masked_diffusion}]",
    "evaluation=null",
    "generation={steps: 2}",
    "train.epochs=null",
    "curriculum={stages: [{name: a}, {name: b, pseudo_data: {similarity: [0, 1], min_words: 1, "
    "min_unique_words: 0}}]}",
)
TENSORBOARD = "tracking=[{kind: tensorboard}]"
WANDB = "tracking=[{kind: wandb, project: one}]"
GOLDEN = Path(__file__).parents[1] / "golden" / "models" / "torch_safetensors"


def making(key: str, value: str) -> Case:
    """A key of the texts that the model makes."""
    path = f"curriculum.stages[1].pseudo_data.{key}={value}"
    return Case(f"curriculum.stages[].pseudo_data.{key}", (*MAKING, path), made, MAKING)


def stage(text: str) -> tuple[str, ...]:
    """The two stages, the second with more settings."""
    return (STAGES[0], f"curriculum={{stages: [{{name: a}}, {{name: b, {text}}}]}}")


def shared(text: str) -> tuple[str, ...]:
    """The two stages, under a curriculum with more settings."""
    return (STAGES[0], f"curriculum={{stages: [{{name: a}}, {{name: b}}], {text}}}")


def advances(plan: Plan) -> object:
    """What may end each segment before its last step."""
    return [segment.advance for segment in plan.segments]


def summed_up(plan: Plan) -> object:
    """What compiling prints of the plan."""
    from specrun.compiler.summary import summary

    return summary(plan)


def labels(plan: Plan) -> object:
    """The label of every row of every batch."""
    made = _batches(plan)
    every = (made.at(step)[1].label for step in range(plan.train.total_steps))
    return [None if label is None else label.tolist() for label in every]


def scores(plan: Plan) -> object:
    """The score of every row of every batch."""
    made = _batches(plan)
    every = [made.at(step)[1] for step in range(plan.train.total_steps)]
    return [(str(batch.score), str(batch.negative_score)) for batch in every]


def loss(kind: str, key: str, value: str, artefact: Artefact, *more: str) -> Case:
    """A key of a loss of another kind than the base spec's."""
    before = (*more, f"losses=[{{kind: {kind}}}]")
    return Case(
        f"losses[]{{{kind}}}.{key}", (*before, f"losses[0].{key}={value}"), artefact, before
    )


def false_negatives(kind: str) -> tuple[Case, ...]:
    """The section of what is nobody's negative, at a loss."""
    at, bare = f"losses[]{{{kind}}}.false_negatives", f"losses=[{{kind: {kind}}}]"
    margin = (bare, "losses[0].false_negatives={margin: 0.1}")
    return (
        Case(at, (bare, "losses[0].false_negatives={}"), jaxpr, (bare,)),
        Case(
            f"{at}.identical", (*margin, "losses[0].false_negatives.identical=false"), jaxpr, margin
        ),
        Case(f"{at}.margin", (*margin, "losses[0].false_negatives.margin=0.2"), jaxpr, margin),
        Case(
            f"{at}.margin_strategy",
            (*margin, "losses[0].false_negatives.margin_strategy=absolute"),
            jaxpr,
            margin,
        ),
    )


def taught(key: str, value: str, artefact: Artefact, before: tuple[str, ...] = TAUGHT) -> Case:
    """A key of distillation."""
    set_ = f"losses[0].{re.sub('{.*}', '', key)}={value}"
    return Case(f"losses[]{{distillation}}.{key}", (*before, set_), artefact, before)


def difficulty(key: str, value: str, before: tuple[str, ...], artefact: Artefact) -> Case:
    set_ = f"data.difficulty.{re.sub('{.*}', '', key)}={value}"
    return Case(f"data{{jsonl}}.difficulty.{key}", (*before, set_), artefact, before)


def table_cases(kind: str, ending: str) -> tuple[Case, ...]:
    """What every format of rows with columns has."""
    held = "validation: {kind: fraction, fraction: 0.3}"
    base = (f"data={{kind: {kind}, path: rows.{ending}, {held}}}",)
    negatives = (*base, "data.columns.negatives=wrong")
    scored = (*base, "data.columns.score=level", "losses=[{kind: cosent}]")
    listed = (*base, *LISTED[1:])
    other = f"data.validation={{kind: file, path: held.{ending}}}"
    bad = (*base, f"data.path=bad.{ending}")

    def case(
        key: str, after: str, artefact: Artefact = rows, before: tuple[str, ...] = base
    ) -> Case:
        return Case(f"data{{{kind}}}.{key}", (*before, after), artefact, before)

    return (
        Case(f"data{{{kind}}}.kind", base, rows),
        case("path", f"data.path=other.{ending}"),
        case("columns.query", "data.columns.query=other"),
        case("columns.positive", "data.columns.positive=other"),
        case("columns.negatives", "data.columns.negatives=wrong", batches),
        case("columns.label", "data.columns.label=topic", labels),
        case("columns.score", "data.columns.score=area", scores, scored),
        case("columns.negative_scores", "data.columns.negative_scores=guessed", scores, listed),
        case("max_negatives", "data.max_negatives=1", batches, negatives),
        case("max_length.query", "data.max_length.query=3", batches),
        case("max_length.positive", "data.max_length.positive=9", batches),
        case("validation", "data.validation=null", rows, (*base, "evaluation=null")),
        case("validation{fraction}.kind", other),
        case("validation{fraction}.fraction", "data.validation.fraction=0.5"),
        case("validation{file}.kind", other),
        case("validation{file}.path", f"data.validation.path=other.{ending}", rows, (*base, other)),
        case("bad_rows", "data.bad_rows=error", rows, bad),
    )


def text(key: str, value: str, artefact: Artefact = rows, before: tuple[str, ...] = MASKED) -> Case:
    """A key of rows that are texts."""
    return Case(f"data{{text}}.{key}", (*before, f"data.{key}={value}"), artefact, before)


def scored_text(key: str, value: str) -> Case:
    """A key of their difficulty."""
    before = MASKED_RANKED
    set_ = f"data.difficulty.{key}={value}"
    return Case(f"data{{text}}.difficulty.{key}", (*before, set_), chosen_rows, before)


def model(key: str, value: str, artefact: Artefact, *before: str) -> Case:
    return Case(f"model{{text_encoder}}.{key}", (*before, f"model.{key}={value}"), artefact, before)


def masked(key: str, value: str, artefact: Artefact, *before: str) -> Case:
    before = (*MASKED, *before)
    return Case(f"model{{masked_lm}}.{key}", (*before, f"model.{key}={value}"), artefact, before)


def train(key: str, value: str, artefact: Artefact, *before: str) -> Case:
    return Case(f"train.{key}", (*before, f"train.{key}={value}"), artefact, before)


TABLE: tuple[Case, ...] = (
    Case("version", ("version=2",), refused),
    Case("name", ("name=other",), heading),
    Case("extends", ("extends=[preset.yaml]",), start),
    Case("seed", ("seed=1",), batches),
    Case("output_dir", ("output_dir=elsewhere",), files, ("output_dir=here",)),
    # model
    model("kind", "bert", refused),
    model("hidden_size", "32", start),
    model("num_hidden_layers", "1", start),
    model("num_attention_heads", "4", embeddings, *LAYER),
    model("intermediate_size", "24", start, *LAYER),
    model("hidden_act", "swiglu", start, *LAYER),
    model("norm", "rmsnorm", start),
    model("bias", "false", start),
    model("position_embedding", "learned", start),
    model("max_position_embeddings", "96", start, *LEARNED),
    model("rope_theta", "100", embeddings, *LAYER, "model.position_embedding=rotary"),
    model("hidden_dropout_prob", "0.5", after_a_step),
    model("attention_probs_dropout_prob", "0.5", after_a_step, *LAYER),
    model("layer_norm_eps", "0.01", embeddings),
    model("initializer_range", "0.5", start),
    model("pooling", "cls", embeddings),
    model("final_layer_norm", "false", start),
    model("projection_dim", "8", start),
    model("multi_vector.dim", "6", start, *DUAL),
    Case("model{text_encoder}.multi_vector", DUAL, start, ("losses=[{kind: infonce}]",)),
    Case("model{text_encoder}.pooling", (*LATE, "losses=[{kind: colbert}]"), jaxpr),
    model("towers", "separate", start),
    masked("kind", "text_encoder", refused),
    masked("hidden_size", "32", start),
    masked("num_hidden_layers", "2", start),
    masked("num_attention_heads", "4", token_states),
    masked("intermediate_size", "24", start),
    masked("hidden_act", "gelu", start),
    masked("norm", "layernorm", token_states),
    masked("bias", "true", start),
    masked("position_embedding", "learned", start),
    masked("max_position_embeddings", "600", start, "model.position_embedding=learned"),
    masked("rope_theta", "100", token_states),
    masked("hidden_dropout_prob", "0.5", after_a_step),
    masked("attention_probs_dropout_prob", "0.5", after_a_step),
    masked("layer_norm_eps", "0.01", token_states),
    masked("initializer_range", "0.5", start),
    masked("tie_word_embeddings", "true", start),
    # texts and images
    Case("model{composed}.kind", (*IMAGES, "model.kind=text_encoder"), refused, IMAGES),
    Case("model{composed}.head_dim", (*IMAGES, "model.head_dim=4"), start, IMAGES),
    Case(
        "model{composed}.image{image_encoder}.kind",
        (*IMAGES, "model.image={kind: resnet}"),
        refused,
        IMAGES,
    ),
    *(
        Case(
            f"model{{composed}}.image{{image_encoder}}.{key}",
            (*IMAGES, f"model.image.{key}={value}"),
            artefact,
            IMAGES,
        )
        for key, value, artefact in (
            ("image_size", "16", start),
            ("patch_size", "2", start),
            ("hidden_size", "16", start),
            ("num_hidden_layers", "2", start),
            ("num_attention_heads", "4", embeddings),
            ("intermediate_size", "24", start),
            ("hidden_dropout_prob", "0.5", after_a_step),
            ("attention_probs_dropout_prob", "0.5", after_a_step),
            ("layer_norm_eps", "0.01", embeddings),
            ("initializer_range", "0.5", start),
            ("pooling", "mean", embeddings),
            ("final_layer_norm", "false", start),
            ("projection_dim", "4", start),
        )
    ),
    # tokenizer
    Case("tokenizer", ("tokenizer=null",), refused),
    Case("tokenizer{train}.kind", ("tokenizer={kind: file, path: no.json}",), refused),
    Case("tokenizer{train}.vocab_size", ("tokenizer.vocab_size=300",), tokenizer),
    Case("tokenizer{train}.min_frequency", ("tokenizer.min_frequency=40",), tokenizer),
    Case("tokenizer{train}.lowercase", ("tokenizer.lowercase=false",), tokenizer),
    Case("tokenizer{train}.split_identifiers", ("tokenizer.split_identifiers=false",), tokenizer),
    # data
    Case("data{jsonl}.kind", PYTHON, rows),
    Case("data{jsonl}.path", ("data.path=bad.jsonl",), rows),
    Case("data{jsonl}.columns.query", ("data.columns.query=other",), rows),
    Case("data{jsonl}.columns.positive", ("data.columns.positive=other",), rows),
    Case("data{jsonl}.max_length.query", ("data.max_length.query=3",), batches),
    Case("data{jsonl}.max_length.positive", ("data.max_length.positive=9",), batches),
    Case(
        "data{jsonl}.validation",
        ("data.validation=null", "evaluation=null"),
        rows,
        ("evaluation=null",),
    ),
    Case(
        "data{jsonl}.validation{fraction}.kind",
        ("data.validation={kind: file, path: held.jsonl}",),
        rows,
    ),
    Case("data{jsonl}.validation{fraction}.fraction", ("data.validation.fraction=0.5",), rows),
    Case(
        "data{jsonl}.validation{file}.kind",
        ("data.validation={kind: file, path: held.jsonl}",),
        rows,
    ),
    Case(
        "data{jsonl}.validation{file}.path",
        ("data.validation={kind: file, path: held.jsonl}",),
        rows,
    ),
    Case(
        "data{jsonl}.bad_rows",
        ("data.path=bad.jsonl", "data.bad_rows=error"),
        rows,
        ("data.path=bad.jsonl",),
    ),
    Case(
        "data{jsonl}.columns.negatives", (*TABLED, "data.columns.negatives=wrong"), batches, TABLED
    ),
    Case("data{jsonl}.columns.label", (*TABLED, "data.columns.label=topic"), labels, TABLED),
    Case("data{jsonl}.columns.score", (*SCORED, "data.columns.score=area"), scores, SCORED),
    Case(
        "data{jsonl}.columns.negative_scores",
        (*LISTED, "data.columns.negative_scores=guessed"),
        scores,
        LISTED,
    ),
    Case(
        "data{jsonl}.max_negatives",
        (*TABLED, "data.columns.negatives=wrong", "data.max_negatives=1"),
        batches,
        (*TABLED, "data.columns.negatives=wrong"),
    ),
    Case("data{jsonl}.negatives", MINED, abstract, MINED[1:]),
    Case("data{jsonl}.negatives{mined}.kind", ("data.negatives={kind: random}",), refused),
    *(
        Case(
            f"data{{jsonl}}.negatives{{mined}}.{key}",
            (*MINED, f"data.negatives.{key}={value}"),
            artefact,
            MINED,
        )
        for key, value, artefact in (
            ("refresh_every_steps", "2", mined),
            ("num_negatives", "3", found),
            ("top_k", "40", found),
            ("skip_top", "5", found),
            ("relative_margin", "0.5", found),
            ("backend", "faiss", mined),
        )
    ),
    Case("data{jsonl}.retrieval_mode", BOTH, abstract, IMAGES),
    Case("data{jsonl}.image_root", (*IMAGES, "data.image_root=others"), rows, IMAGES),
    Case("data{jsonl}.max_image_pixels", (*IMAGES, "data.max_image_pixels=9"), rows, IMAGES),
    Case("data{jsonl}.columns.query_image", (*BOTH, "data.columns.query_image=last"), rows, BOTH),
    Case("data{jsonl}.difficulty", RANKED, batches, STAGES),
    Case("data{text}.kind", MASKED, rows),
    text("path", "other_texts"),
    text("pattern", "'**/*.md'"),
    text("format", "pairs"),
    text("min_chars", "1"),
    text("max_chars", "60"),
    text("chunk_overlap", "3", before=(*MASKED, "data.max_chars=100")),
    text("paragraph_max_sentences", "2", before=WHOLE),
    text("max_length", "9", batches),
    text("validation", "null"),
    Case("data{text}.validation{fraction}.kind", HELD_TEXTS, rows, MASKED),
    Case(
        "data{text}.validation{fraction}.fraction",
        (*MASKED, "data.validation.fraction=0.5"),
        rows,
        MASKED,
    ),
    text("bad_rows", "error", before=(*MASKED, "data.path=bad_texts")),
    Case("data{text}.validation{file}.kind", HELD_TEXTS, rows, MASKED),
    Case(
        "data{text}.validation{file}.path",
        (*HELD_TEXTS, "data.validation.path=more_texts"),
        rows,
        HELD_TEXTS,
    ),
    Case("data{text}.difficulty", MASKED_RANKED, chosen_rows, MASKED_STAGES),
    Case(
        "data{text}.difficulty.text",
        (*MASKED_RANKED, "data.difficulty.text=query"),
        refused,
        MASKED_RANKED,
    ),
    scored_text("easy_below", "40"),
    scored_text("hard_above", "50"),
    Case(
        "curriculum.stages[].format",
        (*MASKED_STAGES, "curriculum.stages[1].format=pairs"),
        chosen_rows,
        MASKED_STAGES,
    ),
    difficulty("text", "query", RANKED, batches),
    Case("data{jsonl}.difficulty.weights.lexical", LEXICAL, batches, SYNTACTIC),
    Case("data{jsonl}.difficulty.weights.syntactic", RANKED, batches, LEXICAL),
    Case("data{jsonl}.difficulty.weights.centrality", CENTRAL, batches, LEXICAL),
    difficulty("idf_corpus_size", "3", LEXICAL, batches),
    difficulty("readability", "[flesch]", SYNTACTIC, batches),
    difficulty("clusters", "2", CENTRAL, batches),
    Case("data{jsonl}.difficulty.embedding", CENTRAL, batches, LEXICAL),
    Case("data{jsonl}.difficulty.embedding{pretrained}.kind", CENTRAL, batches, BY_OLD),
    difficulty("embedding{pretrained}.name_or_path", "mean", CENTRAL, batches),
    difficulty("embedding{pretrained}.max_length", "4", CENTRAL, batches),
    Case("data{jsonl}.difficulty.embedding{run}.kind", BY_OLD, batches, CENTRAL),
    difficulty("embedding{run}.run", "adapted", BY_OLD, batches),
    difficulty("embedding{run}.max_length", "3", BY_OLD, batches),
    difficulty("easy_below", "40", RANKED, batches),
    difficulty("hard_above", "60", RANKED, batches),
    Case("data{emoji}.kind", EMOJI, rows, IMAGES),
    *(
        Case(f"data{{emoji}}.{key}", (*EMOJI, f"data.{key}={value}"), artefact, EMOJI)
        for key, value, artefact in (
            ("font", "many.ttf", rows),
            ("size", "12", rows),
            ("max_length.query", "2", batches),
            ("max_length.positive", "9", refused),
            ("validation", "{kind: fraction, fraction: 0.5}", rows),
        )
    ),
    Case(
        "data{emoji}.sequences",
        (*EMOJI, "data.font=many.ttf", "data.sequences=false"),
        rows,
        (*EMOJI, "data.font=many.ttf"),
    ),
    *table_cases("csv", "csv"),
    Case(
        "data{csv}.delimiter",
        ("data={kind: csv, path: rows.semicolon.csv}", "evaluation=null", "data.delimiter=,"),
        refused,
        ("data={kind: csv, path: rows.semicolon.csv, delimiter: ;}", "evaluation=null"),
    ),
    *table_cases("tsv", "tsv"),
    *table_cases("parquet", "parquet"),
    *table_cases("huggingface", "saved"),
    Case(
        "data{huggingface}.split",
        (*SPLITS, "data.split=other"),
        rows,
        SPLITS,
    ),
    Case(
        "data{huggingface}.validation{split}.kind",
        (*SPLITS, "data.validation={kind: split, split: held}"),
        rows,
        SPLITS,
    ),
    Case(
        "data{huggingface}.validation{split}.split",
        (*SPLITS, "data.validation={kind: split, split: other}"),
        rows,
        (*SPLITS, "data.validation={kind: split, split: held}"),
    ),
    Case("data{python_source}.kind", PYTHON, rows),
    Case("data{python_source}.roots", (*PYTHON, "data.roots=[one, two]"), rows, PYTHON),
    Case("data{python_source}.exclude", (*PYTHON, "data.exclude=['skip_*']"), rows, PYTHON),
    Case(
        "data{python_source}.bad_rows",
        (*PYTHON, "data.roots=[one, broken]", "data.bad_rows=error"),
        rows,
        (*PYTHON, "data.roots=[one, broken]"),
    ),
    # losses and combinators
    Case("losses[]{infonce}.kind", ("losses=[{kind: nothing}]",), refused),
    Case("losses[]{infonce}.temperature", ("losses.infonce.temperature=0.5",), after_a_step),
    Case("losses[]{infonce}.train_temperature", ("losses.infonce.train_temperature=true",), start),
    Case(
        "losses[]{infonce}.negatives",
        (*TABLED, "data.columns.negatives=wrong", "losses.infonce.negatives=in_batch"),
        jaxpr,
        (*TABLED, "data.columns.negatives=wrong"),
    ),
    Case(
        "losses[]{infonce}.negatives",
        (*TABLED, "data.columns.negatives=wrong", "losses.infonce.negatives=own"),
        jaxpr,
        (*TABLED, "data.columns.negatives=wrong"),
    ),
    Case("losses[]{infonce}.symmetric", ("losses.infonce.symmetric=false",), jaxpr),
    Case("losses[]{infonce}.name", ("losses[0].name=main",), control),
    Case("losses[]{infonce}.weight", ("losses[0].weight=3",), control),
    Case("losses[]{triplet}.kind", ("losses=[{kind: triplet}]",), jaxpr),
    loss("triplet", "margin", "0.25", jaxpr),
    loss("triplet", "name", "main", control),
    loss("triplet", "weight", "3", control),
    Case("losses[]{siglip}.kind", ("losses=[{kind: siglip}]",), jaxpr),
    loss("siglip", "temperature", "0.5", start),
    loss("siglip", "train_temperature", "false", trained),
    loss("siglip", "bias", "-3", start),
    loss("siglip", "train_bias", "false", trained),
    loss("siglip", "negatives", "in_batch", jaxpr, *TABLED, "data.columns.negatives=wrong"),
    loss("siglip", "name", "main", control),
    loss("siglip", "weight", "3", control),
    Case("losses[]{cosent}.kind", SCORED, jaxpr),
    loss("cosent", "temperature", "0.5", jaxpr, *SCORED[:-1]),
    loss("cosent", "name", "main", control, *SCORED[:-1]),
    loss("cosent", "weight", "3", control, *SCORED[:-1]),
    Case("losses[]{masked_diffusion}.kind", MASKED, jaxpr),
    loss("masked_diffusion", "masking_rate", "[0.3, 0.4]", masking, *MASKED),
    loss("masked_diffusion", "sampling", "bernoulli", jaxpr, *MASKED),
    loss("masked_diffusion", "weighting", "inverse_rate", jaxpr, *MASKED),
    loss("masked_diffusion", "label_smoothing", "0.1", jaxpr, *MASKED),
    loss("masked_diffusion", "name", "main", control, *MASKED),
    loss("masked_diffusion", "weight", "3", control, *MASKED),
    Case("losses[]{colbert}.kind", (*LATE, "losses=[{kind: colbert}]"), jaxpr),
    loss("colbert", "temperature", "0.5", jaxpr, *LATE),
    loss("colbert", "reduce", "sum", jaxpr, *LATE),
    loss("colbert", "symmetric", "true", jaxpr, *LATE),
    loss("colbert", "negatives", "in_batch", jaxpr, *LATE, *TABLED, "data.columns.negatives=wrong"),
    loss("colbert", "negatives", "own", jaxpr, *LATE, *TABLED, "data.columns.negatives=wrong"),
    loss("colbert", "name", "main", control, *LATE),
    loss("colbert", "weight", "3", control, *LATE),
    Case("losses[]{dense_late_kl}.kind", KL, jaxpr, DUAL),
    *(
        Case(f"losses[]{{dense_late_kl}}.{key}", (*KL, f"losses[2].{key}={value}"), artefact, KL)
        for key, value, artefact in (
            ("temperature", "0.5", jaxpr),
            ("detach", "dense", jaxpr),
            ("detach", "late", jaxpr),
            ("name", "main", control),
            ("weight", "3", control),
        )
    ),
    Case("losses[]{dense_late_kl}.reduce", (*KL_ALONE, "losses[1].reduce=sum"), jaxpr, KL_ALONE),
    Case(
        "losses[]{dense_late_kl}.negatives",
        (*KL, *TABLED, "data.columns.negatives=wrong", "losses[2].negatives=in_batch"),
        jaxpr,
        (*KL, *TABLED, "data.columns.negatives=wrong"),
    ),
    *(case for kind in ("infonce", "triplet", "siglip") for case in false_negatives(kind)),
    Case("losses[]{distillation}.kind", TAUGHT, jaxpr),
    Case("losses[]{distillation}.teacher", LISTED, jaxpr, TAUGHT),
    taught("objective", "mse", jaxpr),
    taught("objective", "margin_mse", jaxpr),
    taught("on", "cosines", jaxpr),
    taught("temperature", "0.5", jaxpr),
    taught("distillation_temperature", "2", jaxpr),
    taught("negatives", "own", jaxpr, (*TABLED, "data.columns.negatives=wrong", *TAUGHT)),
    taught("negatives", "in_batch", jaxpr, (*TABLED, "data.columns.negatives=wrong", *TAUGHT)),
    taught("name", "main", control),
    taught("weight", "3", control),
    Case("losses[]{distillation}.teacher{pretrained}.kind", TAUGHT, told, BY_RUN),
    taught("teacher{pretrained}.name_or_path", "mean", told),
    taught("teacher{pretrained}.max_length", "4", told),
    Case("losses[]{distillation}.teacher{run}.kind", BY_RUN, told, TAUGHT),
    taught("teacher{run}.run", "adapted", told, BY_RUN),
    taught("teacher{run}.max_length", "3", told, BY_RUN),
    Case("lora", LORA, trained, LAYER),
    Case("lora.rank", (*LORA, "lora.rank=3"), start, LORA),
    Case("lora.alpha", (*LORA, "lora.alpha=99"), after_a_step, LORA),
    Case("lora.dropout", (*LORA, "lora.dropout=0.5"), after_a_step, LORA),
    Case("lora.target_modules", (*LORA, "lora.target_modules=[value]"), trained, LORA),
    Case("lora.rslora", (*LORA, "lora.rslora=true"), after_a_step, LORA),
    Case("lora.init_from", (*LORA, "lora.init_from=adapter"), start, LORA),
    Case("matryoshka", MRL, jaxpr),
    Case("matryoshka.dims", (*MRL, "matryoshka.dims=[16, 4]"), jaxpr, MRL),
    Case("matryoshka.weights", (*MRL, "matryoshka.weights=[1, 5]"), after_a_step, MRL),
    Case(
        "matryoshka.reduce",
        (*MRL, "matryoshka.reduce=mean", "train.max_grad_norm=0"),
        jaxpr,
        (*MRL, "train.max_grad_norm=0"),
    ),
    # curriculum
    Case("curriculum", STAGES, batches),
    Case("curriculum.stages", (STAGES[0], "curriculum={stages: [{name: a}]}"), batches, STAGES),
    Case(
        "curriculum.stages[].name",
        (STAGES[0], "curriculum={stages: [{name: a}, {name: a}]}"),
        refused,
        STAGES,
    ),
    Case("curriculum.stages[].epochs", stage("epochs: 2"), batches, STAGES),
    Case("curriculum.stages[].select", stage("select: {field: level, max: 50}"), batches, STAGES),
    Case(
        "curriculum.stages[].select.field",
        stage("select: {field: query_chars, max: 50}"),
        batches,
        stage("select: {field: level, max: 50}"),
    ),
    Case(
        "curriculum.stages[].select.min",
        stage("select: {field: level, min: 30}"),
        batches,
        stage("select: {field: level, min: 40}"),
    ),
    Case(
        "curriculum.stages[].select.max",
        stage("select: {field: level, max: 50}"),
        batches,
        stage("select: {field: level, max: 90}"),
    ),
    Case(
        "curriculum.stages[].select.percentile",
        (*RANKED, "curriculum={stages: [{name: a, select: {percentile: [20, 80]}}]}"),
        batches,
        (*RANKED, "curriculum={stages: [{name: a, select: {percentile: [20, 70]}}]}"),
    ),
    Case("curriculum.stages[].loss_weights", stage("loss_weights: {infonce: 2}"), control, STAGES),
    Case(
        "curriculum.stages[].learning_rate_scale", stage("learning_rate_scale: 0.5"), rates, STAGES
    ),
    Case("curriculum.stages[].trainable", stage("trainable: ['final_norm.*']"), trained, STAGES),
    Case(
        "curriculum.stages[].reset_optimizer",
        stage("reset_optimizer: true"),
        optimizer_state,
        STAGES,
    ),
    Case("curriculum.reset_optimizer", shared("reset_optimizer: true"), optimizer_state, STAGES),
    Case("curriculum.transition_epochs", shared("transition_epochs: 1"), batches, STAGES),
    Case("curriculum.stages[].transition_epochs", stage("transition_epochs: 1"), batches, STAGES),
    Case("curriculum.stages[].schedule", stage("schedule: {kind: constant}"), rates, STAGES),
    Case(
        "curriculum.stages[].mining",
        (*PARTLY, "curriculum.stages[0].mining=false"),
        mined,
        PARTLY,
    ),
    Case(
        "curriculum.stages[].masking_rate",
        (*MASKED_STAGES, "curriculum.stages[0].masking_rate=[0.3, 0.4]"),
        masking,
        MASKED_STAGES,
    ),
    Case(
        "curriculum.stages[].pseudo_data",
        (*MAKING, "curriculum.stages[1].pseudo_data=null"),
        made,
        MAKING,
    ),
    making("ratio", "0.1"),
    making("max_samples", "3"),
    making("masking_rate", "[0.5, 0.9]"),
    making("min_words", "40"),
    making("max_words", "4"),
    making("similarity", "[0.5, 0.6]"),
    making("min_unique_words", "1"),
    Case("curriculum.stages[].advance", ADVANCING, files, (*ADVANCING, NEVER)),
    Case(
        "curriculum.stages[].advance.patience",
        (*ADVANCING, "curriculum.stages[0].advance.patience=3"),
        files,
        ADVANCING,
    ),
    Case(
        "curriculum.stages[].advance.min_delta",
        (*LEARNING, "curriculum.stages[0].advance={patience: 5, min_delta: 0.9}"),
        files,
        LEARNING,
    ),
    Case(
        "curriculum.stages[].advance.metric",
        (*ADVANCING, "curriculum.stages[0].advance.metric=recall@1"),
        advances,
        ADVANCING,
    ),
    # training
    train("batch_size", "8", batches),
    train("accumulation_steps", "2", batches),
    train("epochs", "3", batches),
    train("max_steps", "3", batches),
    train("drop_last", "true", batches),
    train("max_grad_norm", "0.01", after_a_step),
    train("dropout_schedule", "decay", after_a_step, "model.hidden_dropout_prob=0.5"),
    train("trainable", "['final_norm.*']", trained),
    train("micro_batch_size", "4", jaxpr),
    train("gradient_cache", "{chunk_size: 4}", jaxpr),
    train("gradient_cache.chunk_size", "8", jaxpr, "train.gradient_cache={chunk_size: 4}"),
    train("score_tile_rows", "4", jaxpr),
    train("gradient_checkpointing", "true", jaxpr, *LAYER),
    train("unroll", "1", jaxpr, "model.num_hidden_layers=2", "model.num_attention_heads=2"),
    train("length_buckets", "3", batches, "train.batch_size=2"),
    train("log_every_steps", "3", files),
    # optimizer and schedule
    Case("optimizer{adamw}.kind", ("optimizer={kind: sgd}",), refused),
    Case("optimizer{adamw}.learning_rate", ("optimizer.learning_rate=0.01",), rates),
    Case("optimizer{adamw}.weight_decay", ("optimizer.weight_decay=0.5",), after_a_step),
    Case("optimizer{adamw}.beta1", ("optimizer.beta1=0.5",), after_a_step),
    Case("optimizer{adamw}.beta2", ("optimizer.beta2=0.5",), after_a_step),
    Case("optimizer{adamw}.eps", ("optimizer.eps=0.1",), after_a_step),
    Case(
        "optimizer{adamw}.no_decay",
        ("optimizer.no_decay=['embeddings.*']", "optimizer.weight_decay=0.5"),
        after_a_step,
        ("optimizer.weight_decay=0.5",),
    ),
    Case("schedule{linear}.kind", COSINE, rates),
    Case("schedule{constant}.kind", ("schedule={kind: constant}",), rates),
    Case("schedule{linear}.warmup_ratio", ("schedule.warmup_ratio=0.5",), rates),
    Case("schedule{linear}.warmup_steps", ("schedule={kind: linear, warmup_steps: 5}",), rates),
    Case("schedule{constant_with_warmup}.kind", WARM, rates),
    Case(
        "schedule{constant_with_warmup}.warmup_steps",
        ("schedule={kind: constant_with_warmup, warmup_steps: 4}",),
        rates,
        WARM,
    ),
    Case(
        "schedule{constant_with_warmup}.warmup_ratio",
        ("schedule={kind: constant_with_warmup, warmup_ratio: 0.7}",),
        rates,
        WARM,
    ),
    Case("schedule{cosine}.kind", COSINE, rates),
    Case(
        "schedule{cosine}.warmup_ratio",
        ("schedule={kind: cosine, warmup_ratio: 0.7}",),
        rates,
        COSINE,
    ),
    Case(
        "schedule{cosine}.warmup_steps",
        ("schedule={kind: cosine, warmup_steps: 5}",),
        rates,
        COSINE,
    ),
    Case(
        "schedule{cosine}.min_learning_rate",
        (*COSINE, "schedule.min_learning_rate=1e-4"),
        rates,
        COSINE,
    ),
    Case("schedule{cosine_with_restarts}.kind", RESTARTS, rates),
    Case(
        "schedule{cosine_with_restarts}.warmup_steps",
        (*RESTARTS, "schedule.warmup_steps=3"),
        rates,
        RESTARTS,
    ),
    Case(
        "schedule{cosine_with_restarts}.warmup_ratio",
        ("schedule={kind: cosine_with_restarts, warmup_ratio: 0.5, first_period_steps: 3}",),
        rates,
        RESTARTS,
    ),
    Case(
        "schedule{cosine_with_restarts}.min_learning_rate",
        (*RESTARTS, "schedule.min_learning_rate=1e-4"),
        rates,
        RESTARTS,
    ),
    Case(
        "schedule{cosine_with_restarts}.first_period_steps",
        (*RESTARTS, "schedule.first_period_steps=2"),
        rates,
        RESTARTS,
    ),
    Case(
        "schedule{cosine_with_restarts}.period_multiplier",
        (*RESTARTS, "schedule.period_multiplier=1"),
        rates,
        RESTARTS,
    ),
    # the rest
    Case("precision.compute", ("precision.compute=bfloat16",), jaxpr, LAYER),
    Case("precision.matmul", ("precision.matmul=default",), settings),
    Case("evaluation", ("evaluation=null",), files),
    Case(
        "evaluation.directions",
        ("evaluation.directions=[query_to_positive, positive_to_query]",),
        files,
    ),
    Case("evaluation.masking_rates", (*TOLD, "evaluation.masking_rates=[0.5]"), files, TOLD),
    Case("evaluation.every_steps", ("evaluation.every_steps=3",), files),
    Case("evaluation.at_start", ("evaluation.at_start=true",), files),
    Case("evaluation.metrics", ("evaluation.metrics=[mrr@10, ndcg@5]",), files),
    Case("evaluation.select_best", ("evaluation.select_best=recall@1",), files),
    Case(
        "evaluation.early_stopping",
        STOPPING,
        files,
        (STOPPING[0].replace(", early_stopping: {patience: 9}", ""), STOPPING[1]),
    ),
    Case(
        "evaluation.early_stopping.patience",
        (*STOPPING, "evaluation.early_stopping.patience=1"),
        files,
        STOPPING,
    ),
    Case(
        "evaluation.early_stopping.min_delta",
        (*STOPPING, "evaluation.early_stopping={patience: 2, min_delta: 0.9}"),
        files,
        STOPPING,
    ),
    Case("checkpoint.every_steps", ("checkpoint={every_steps: 3}",), files),
    Case(
        "checkpoint.keep",
        ("checkpoint={every_steps: 2, keep: 4}",),
        files,
        ("checkpoint={every_steps: 2}",),
    ),
    Case(
        "tracking[]{tensorboard}.kind",
        ("tracking=[{kind: wandb, project: p}]",),
        tracked,
        (TENSORBOARD,),
    ),
    Case(
        "tracking[]{tensorboard}.log_dir",
        ("tracking=[{kind: tensorboard, log_dir: boards}]",),
        tracked,
        (TENSORBOARD,),
    ),
    Case("tracking[]{wandb}.kind", (WANDB,), tracked, (TENSORBOARD,)),
    Case("tracking[]{wandb}.project", (WANDB.replace("one", "two"),), tracked, (WANDB,)),
    Case("tracking[]{wandb}.entity", (WANDB.replace("}]", ", entity: us}]"),), tracked, (WANDB,)),
    Case("tracking[]{wandb}.mode", (WANDB.replace("}]", ", mode: online}]"),), tracked, (WANDB,)),
    Case("tracking[]{wandb}.tags", (WANDB.replace("}]", ", tags: [a]}]"),), tracked, (WANDB,)),
    Case("generation", (*WRITING[:-1], "generation={temperature: 0}"), written, WRITING[:-1]),
    *(
        Case(f"generation.{key}", (*WRITING, f"generation.{key}={value}"), artefact, WRITING)
        for key, value, artefact in (
            ("temperature", "0", written),
            ("steps", "3", written),
            ("max_length", "8", written),
            ("top_k", "1", written),
            ("top_p", "0.1", written),
            ("num_return_sequences", "2", written),
            ("confidence_schedule", "exponential", written),
            ("style", "file tree", written),
            ("style_strength", "9", written),
            ("interactive", "true", asked),
        )
    ),
    Case("hardware.platform", ("hardware.platform=gpu",), placement),
    Case("hardware.devices", ("hardware.devices=4",), placement),
    Case("hardware.max_memory_gb", ("hardware.max_memory_gb=1e-6",), refused),
    Case(
        "hardware.memory_margin",
        ("hardware.max_memory_gb=1", "hardware.memory_margin=0.99999999"),
        refused,
        ("hardware.max_memory_gb=1",),
    ),
    Case("hardware.memory_multiplier", ("hardware.memory_multiplier=3",), summed_up),
    Case(
        "hardware.bytes_per_parameter",
        ("hardware.memory_multiplier=3", "hardware.bytes_per_parameter=2"),
        summed_up,
        ("hardware.memory_multiplier=3",),
    ),
    Case("hardware.deterministic", ("hardware.deterministic=false",), settings),
)

MINING_KEYS = (
    "",
    "{mined}.kind",
    "{mined}.refresh_every_steps",
    "{mined}.num_negatives",
    "{mined}.top_k",
    "{mined}.skip_top",
    "{mined}.relative_margin",
    "{mined}.backend",
)
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
DIFFICULTY = "data{jsonl}.difficulty"
ELSEWHERE = {
    **{
        f"data{{text}}{key.removeprefix('data{jsonl}')}": f"the same class as {DIFFICULTY}"
        for key in {case.key for case in TABLE if case.key.startswith(DIFFICULTY)}
    },
    **{
        f"data{{{kind}}}{key.removeprefix('data{jsonl}')}": f"the same class as {DIFFICULTY}"
        for kind in ("python_source", "csv", "tsv", "parquet", "huggingface")
        for key in {case.key for case in TABLE if case.key.startswith(DIFFICULTY)}
    },
    **{
        f"data{{{kind}}}.negatives{key}": "the same class as data{jsonl}.negatives"
        for kind in ("python_source", "csv", "tsv", "parquet", "huggingface", "emoji")
        for key in MINING_KEYS
    },
    **{
        f"data{{{kind}}}.{key}": "the same class as data{jsonl}"
        for kind in ("csv", "tsv", "parquet", "huggingface")
        for key in ("retrieval_mode", "image_root", "max_image_pixels", "columns.query_image")
    },
    **{
        f"model{{composed}}.image{{vit}}.{key}": "tests/front/test_text_image.py"
        for key in ("kind", "name_or_path", "pooling", "projection_dim", *DROPOUTS)
    },
    **{
        f"model{{{kind}}}.{key}": "tests/front/test_text_image.py"
        for kind in ("clip", "siglip")
        for key in ("kind", "name_or_path")
    },
    **{
        f"model{{{kind}}}.{key}": "tests/front/test_image_tokens.py"
        for kind in ("clip", "siglip", "composed")
        for key in ("pooling", "multi_vector", "multi_vector.dim", "top_k_patches")
        if kind != "siglip" or key.startswith("multi_vector")
    },
    "data{emoji}.validation{fraction}.kind": "the same class as data{jsonl}.validation",
    "data{emoji}.validation{fraction}.fraction": "the same class as data{jsonl}.validation",
    "init_from": "test_init_from",
    "model{bert}.kind": "tests/parity and test_bert_keys",
    "model{bert}.name_or_path": "test_another_directory_gives_other_weights",
    "model{bert}.hidden_dropout_prob": "test_bert_keys",
    "model{bert}.attention_probs_dropout_prob": "test_bert_keys",
    "model{bert}.pooling": "test_bert_keys",
    "model{bert}.projection_dim": "test_bert_keys",
    "model{bert}.multi_vector": "test_bert_keys",
    "model{bert}.multi_vector.dim": "test_bert_keys",
    "model{bert}.towers": "test_bert_keys",
    "model{bert}.prompts.query": "test_bert_keys",
    "model{bert}.prompts.positive": "test_bert_keys",
    "model{roberta}.kind": "tests/parity and tests/front/test_pretrained.py",
    "model{roberta}.name_or_path": "test_another_directory_gives_other_weights",
    "model{roberta}.hidden_dropout_prob": "test_roberta_keys",
    "model{roberta}.attention_probs_dropout_prob": "test_roberta_keys",
    "model{roberta}.pooling": "test_roberta_keys",
    "model{roberta}.projection_dim": "test_roberta_keys",
    "model{roberta}.multi_vector": "test_roberta_keys",
    "model{roberta}.multi_vector.dim": "test_roberta_keys",
    "model{roberta}.towers": "test_roberta_keys",
    "model{roberta}.prompts.query": "test_roberta_keys",
    "model{roberta}.prompts.positive": "test_roberta_keys",
    "model{mpnet}.kind": "tests/parity and tests/front/test_pretrained.py",
    "model{mpnet}.name_or_path": "test_another_directory_gives_other_weights",
    "model{mpnet}.hidden_dropout_prob": "test_mpnet_keys",
    "model{mpnet}.attention_probs_dropout_prob": "test_mpnet_keys",
    "model{mpnet}.pooling": "test_mpnet_keys",
    "model{mpnet}.projection_dim": "test_mpnet_keys",
    "model{mpnet}.multi_vector": "test_mpnet_keys",
    "model{mpnet}.multi_vector.dim": "test_mpnet_keys",
    "model{mpnet}.towers": "test_mpnet_keys",
    "model{mpnet}.prompts.query": "test_mpnet_keys",
    "model{mpnet}.prompts.positive": "test_mpnet_keys",
    "model{qwen3}.kind": "tests/parity and tests/front/test_pretrained.py",
    "model{qwen3}.name_or_path": "test_another_directory_gives_other_weights",
    "model{qwen3}.attention_probs_dropout_prob": "test_qwen3_keys",
    "model{qwen3}.pooling": "test_qwen3_keys",
    "model{qwen3}.projection_dim": "test_qwen3_keys",
    "model{qwen3}.multi_vector": "test_qwen3_keys",
    "model{qwen3}.multi_vector.dim": "test_qwen3_keys",
    "model{qwen3}.towers": "test_qwen3_keys",
    "model{qwen3}.prompts.query": "test_qwen3_keys",
    "model{qwen3}.prompts.positive": "test_qwen3_keys",
    "model{modernbert}.kind": "tests/parity and tests/front/test_pretrained.py",
    "model{modernbert}.name_or_path": "test_another_directory_gives_other_weights",
    "model{modernbert}.embedding_dropout": "test_modernbert_keys",
    "model{modernbert}.mlp_dropout": "test_modernbert_keys",
    "model{modernbert}.attention_probs_dropout_prob": "test_modernbert_keys",
    "model{modernbert}.pooling": "test_modernbert_keys",
    "model{modernbert}.projection_dim": "test_modernbert_keys",
    "model{modernbert}.multi_vector": "test_modernbert_keys",
    "model{modernbert}.multi_vector.dim": "test_modernbert_keys",
    "model{modernbert}.towers": "test_modernbert_keys",
    "model{modernbert}.prompts.query": "test_modernbert_keys",
    "model{modernbert}.prompts.positive": "test_modernbert_keys",
    "model{auto}.kind": "tests/front/test_pretrained.py",
    "model{auto}.name_or_path": "test_another_directory_gives_other_weights",
    "model{auto}.hidden_dropout_prob": "test_mpnet_keys",
    "model{auto}.attention_probs_dropout_prob": "test_mpnet_keys",
    "model{auto}.pooling": "test_mpnet_keys",
    "model{auto}.projection_dim": "test_mpnet_keys",
    "model{auto}.multi_vector": "test_mpnet_keys",
    "model{auto}.multi_vector.dim": "test_mpnet_keys",
    "model{auto}.towers": "test_mpnet_keys",
    "model{auto}.prompts.query": "test_mpnet_keys",
    "model{auto}.prompts.positive": "test_mpnet_keys",
    "tokenizer{file}.kind": "test_tokenizer_file",
    "tokenizer{file}.path": "test_tokenizer_file",
    "evaluation.batch_size": "test_evaluation_batch",
    "data{python_source}.max_length.query": "the same class as data{jsonl}.max_length",
    "data{python_source}.max_length.positive": "the same class as data{jsonl}.max_length",
    "data{python_source}.validation": "the same class as data{jsonl}.validation",
    "data{python_source}.validation{fraction}.kind": "the same class as data{jsonl}.validation",
    "data{python_source}.validation{fraction}.fraction": "the same class as data{jsonl}.validation",
    "data{python_source}.validation{file}.kind": "the same class as data{jsonl}.validation",
    "data{python_source}.validation{file}.path": "the same class as data{jsonl}.validation",
}
"""Keys that another test shows, and where."""


@pytest.mark.parametrize("case", TABLE, ids=lambda c: c.key)
def test_the_key_changes_its_artefact(case: Case, folder: Path) -> None:
    before = artefact_of(case.artefact, case.before)
    after = artefact_of(case.artefact, case.after)
    assert not str(before).startswith("refused")
    assert before != after
    if case.artefact is refused:
        assert str(after).startswith("refused")


def test_an_unchanged_spec_changes_nothing(folder: Path) -> None:
    """The artefacts do not differ by themselves."""
    for artefact in (
        start,
        jaxpr,
        embeddings,
        after_a_step,
        batches,
        rates,
        control,
        settings,
        trained,
    ):
        assert artefact(compiled(())) == artefact(compiled(()))


def pretrained(
    folder: Path, *more: str, kind: str = "bert", directory: Path = GOLDEN
) -> tuple[str, ...]:
    """The base spec on a tiny pretrained encoder with a tokenizer that pads with its id."""
    text = json.dumps(str(directory))
    ids = folder / f"tiny-tokenizer-{kind}.json"
    if not ids.exists():
        from tokenizers import Tokenizer, models, pre_tokenizers

        pad = {"bert": 0, "roberta": 1, "mpnet": 1, "qwen3": 0, "modernbert": 0, "auto": 1}[kind]
        words = {"[PAD]": pad, "[UNK]": 1 - pad}
        words |= {word: i for i, word in enumerate(("open", "a", "file", "x", "return"), 2)}
        made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        made.save(str(ids))
    base = (
        f"model={{kind: {kind}, name_or_path: {text}}}",
        f"tokenizer={{kind: file, path: {json.dumps(str(ids))}}}",
    )
    return (*base, "data.max_length={query: 8, positive: 12}", *more)


MULTI_VECTOR = ("model.multi_vector={dim: 4}", "losses=[{kind: infonce}, {kind: colbert}]")

FAMILY_KEYS: tuple[tuple[str | tuple[str, ...], Artefact], ...] = (
    ("model.hidden_dropout_prob=0.5", after_a_step),
    ("model.attention_probs_dropout_prob=0.5", after_a_step),
    ("model.pooling=cls", embeddings),
    ("model.projection_dim=4", start),
    (MULTI_VECTOR, start),
    ("model.towers=separate", start),
    ("model.prompts.query='open '", batches),
    ("model.prompts.positive='file '", batches),
)


def _all(setting: str | tuple[str, ...]) -> tuple[str, ...]:
    return (setting,) if isinstance(setting, str) else setting


@pytest.mark.parametrize(("setting", "artefact"), FAMILY_KEYS)
def test_bert_keys(setting: str | tuple[str, ...], artefact: Artefact, folder: Path) -> None:
    before, after = compiled(pretrained(folder)), compiled(pretrained(folder, *_all(setting)))
    assert artefact(before) != artefact(after)


@pytest.mark.parametrize(("setting", "artefact"), FAMILY_KEYS)
def test_roberta_keys(setting: str | tuple[str, ...], artefact: Artefact, folder: Path) -> None:
    own = {"kind": "roberta", "directory": GOLDEN.parent / "roberta_torch"}
    before, after = (
        compiled(pretrained(folder, **own)),
        compiled(pretrained(folder, *_all(setting), **own)),
    )
    assert artefact(before) != artefact(after)


@pytest.mark.parametrize(("setting", "artefact"), FAMILY_KEYS)
@pytest.mark.parametrize("kind", ["mpnet", "auto"])
def test_mpnet_keys(
    kind: str, setting: str | tuple[str, ...], artefact: Artefact, folder: Path
) -> None:
    own: dict[str, Any] = {"kind": kind, "directory": GOLDEN.parent / "mpnet_torch"}
    before, after = (
        compiled(pretrained(folder, **own)),
        compiled(pretrained(folder, *_all(setting), **own)),
    )
    assert artefact(before) != artefact(after)


@pytest.mark.parametrize(("setting", "artefact"), FAMILY_KEYS[1:])
def test_qwen3_keys(setting: str | tuple[str, ...], artefact: Artefact, folder: Path) -> None:
    """The base pools by the mean, as the fixture names no pooling."""
    own: dict[str, Any] = {"kind": "qwen3", "directory": GOLDEN.parent / "qwen3_torch"}
    before, after = (
        compiled(pretrained(folder, **own)),
        compiled(pretrained(folder, *_all(setting), **own)),
    )
    assert artefact(before) != artefact(after)


@pytest.mark.parametrize(
    ("setting", "artefact"),
    [
        ("model.embedding_dropout=0.5", after_a_step),
        ("model.mlp_dropout=0.5", after_a_step),
        *FAMILY_KEYS[1:],
    ],
)
def test_modernbert_keys(setting: str | tuple[str, ...], artefact: Artefact, folder: Path) -> None:
    own: dict[str, Any] = {"kind": "modernbert", "directory": GOLDEN.parent / "modernbert_torch"}
    before, after = (
        compiled(pretrained(folder, **own)),
        compiled(pretrained(folder, *_all(setting), **own)),
    )
    assert artefact(before) != artefact(after)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("bert", "torch_safetensors", "flax_msgpack"),
        ("roberta", "roberta_torch", "xlmr_torch"),
        ("mpnet", "mpnet_torch", "mpnet_torch_head"),
        ("qwen3", "qwen3_torch", "qwen3_torch_head"),
        ("modernbert", "modernbert_torch", "modernbert_torch_head"),
        ("auto", "mpnet_torch", "roberta_torch"),
    ],
)
def test_another_directory_gives_other_weights(
    kind: str, one: str, other: str, folder: Path
) -> None:
    plans = [
        compiled(pretrained(folder, kind=kind, directory=GOLDEN.parent / name))
        for name in (one, other)
    ]
    assert plans[0].model.weights != plans[1].model.weights


def test_init_from(folder: Path) -> None:
    """Another run's parameters are where the model starts."""
    specrun.run(compiled(("train.max_steps=2", "output_dir=runs/source")))
    before, after = compiled(()), compiled(("init_from=runs/source",))
    assert start(before) != start(after)


def test_tokenizer_file(folder: Path) -> None:
    path = compiled(pretrained(folder)).tokenizer.source
    assert tokenizer(compiled(pretrained(folder))) != tokenizer(compiled(()))
    assert path.kind == "file"


def test_evaluation_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows encoded at a time are those of the plan."""
    from specrun.runtime.program import program

    widths: dict[str, set[int]] = {}
    original = program.build_program
    for size in ("32", "8"):

        def build(plan: Plan, size: str = size) -> Any:
            made = original(plan)

            def encode(parameters: Any, ids: Any, mask: Any, side: Any) -> Any:
                widths.setdefault(size, set()).add(ids.shape[0])
                return made.encode(parameters, ids, mask, side)

            return made._replace(encode=encode)

        with monkeypatch.context() as patch:
            import specrun.runtime.loop.run as run

            patch.setattr(run, "build_program", build)
            specrun.run(compiled((f"evaluation.batch_size={size}", f"output_dir=runs/eval-{size}")))
    assert max(widths["8"]) <= 8 < max(widths["32"])


def keys_of(kind: Any, path: str = "") -> Iterator[str]:
    """Every key that the spec's types know, with the kind of the union it stands in."""
    for field in fields_of(kind):
        at = f"{path}.{field.name}" if path else field.name
        outer = [
            m for m in (get_args(field.type) or (field.type,)) if m not in (type(None), Ellipsis)
        ]
        members = [m for o in outer for m in (get_args(o) or (o,))]
        sections = [m for m in members if dataclasses.is_dataclass(m)]
        if not sections or type(None) in get_args(field.type):
            yield at
        if getattr(field.type, "__origin__", None) is tuple and sections:
            at += "[]"
            if not _tagged(sections[0]):
                yield at.removesuffix("[]")
        for section in sections:
            tag = f"{{{get_args(fields_of(section)[0].type)[0]}}}" if _tagged(section) else ""
            yield from keys_of(section, at + tag)


def _tagged(section: Any) -> bool:
    return fields_of(section)[0].name == "kind"


def test_every_key_has_its_effect_named() -> None:
    # the networks of texts within a composed model are those that are models by themselves
    known = {k.replace("model{composed}.text{", "model{") for k in keys_of(Experiment)}
    # a stage's schedule is resolved by the pass that resolves the spec's
    known = {k.replace("curriculum.stages[].schedule{", "schedule{") for k in known}
    named = {case.key for case in TABLE} | set(ELSEWHERE)
    assert known - named == set(), "keys whose effect no test names"
    assert named - known == set(), "rows for keys that the spec no longer has"
