"""What each command does. Heavy imports happen inside the handlers, so that ``--help`` and ``check`` stay quick."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specrun.spec.diagnostics import Diagnostic, InputError, SpecrunError

if TYPE_CHECKING:
    from specrun.compiler.draft import Draft
    from specrun.runtime.generate.filler import Completion
    from specrun.spec.plan.plan import Plan
    from specrun.spec.render import Format


def report(diagnostics: Sequence[Diagnostic], form: Format) -> None:
    """Print findings: json and github on stdout for machines, text on stderr for people."""
    from specrun.spec.render import render

    text = render(diagnostics, form)
    if text:
        print(text, file=sys.stderr if form == "text" else sys.stdout)


def init(options: Namespace) -> int:
    from specrun.compiler.init import init as write_spec
    from specrun.wiring import RuntimeFacts

    for path in write_spec(options.file, options.model, RuntimeFacts().model_type):
        print(f"wrote {path}")
    print(f"next: specrun check {options.file}")
    return 0


def check(options: Namespace) -> int:
    from specrun.api import check as check_spec

    found = check_spec(options.spec, overrides=options.overrides)
    report(found, options.format)
    errors = sum(d.severity == "error" for d in found)
    if options.format == "text":
        print(
            f"{options.spec}: {_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}"
        )
    return 2 if errors else 0


def compile(options: Namespace) -> int:
    from specrun.api import compile_spec
    from specrun.compiler.compile import draft_text, pass_names
    from specrun.compiler.summary import summary
    from specrun.runtime.telling import teller
    from specrun.spec.plan.file import write_plan

    unknown = [name for name in options.print_after if name not in pass_names()]
    if unknown:
        raise InputError(
            f"no pass {unknown[0]!r}",
            code="unknown-pass",
            hint=f"there are: {', '.join(pass_names())}",
        )

    def print_after(name: str, draft: Draft) -> None:
        if name in options.print_after:
            print(f"# after {name}\n{draft_text(draft)}")

    compiled = compile_spec(
        options.spec,
        overrides=options.overrides,
        print_after=print_after,
        tell=teller(options.quiet),
    )
    if compiled.plan is None:
        report(compiled.diagnostics, options.format)
        return 2
    if options.format != "text" or options.quiet:
        report(compiled.diagnostics if options.format != "text" else (), options.format)
    measured = _measure(compiled.plan, options) if options.measure else []
    write_plan(compiled.plan, options.output)
    if options.format == "text" and not options.quiet:
        print("\n".join([summary(compiled.plan), *measured]))
        print(f"plan       {options.output}")
    return 0


def _measure(plan: Plan, options: Namespace) -> list[str]:
    """Write XLA's figures beside the plan; lines that tell them. InputError when they are above the spec's limit."""
    from specrun.compiler.fit import measured_misfit
    from specrun.runtime.aot import lines, measure, measured_path

    path = measured_path(options.output)
    measured = measure(plan)
    measured.write(path)
    found = measured_misfit(plan, measured.peak_bytes)
    if found is not None:
        raise InputError([found])
    return [*lines(measured), f"measured   {path}"]


def explain(options: Namespace) -> int:
    from specrun.compiler.explain import explain as explain_plan
    from specrun.spec.plan.file import read_plan

    print(explain_plan(read_plan(options.plan), options.path))
    return 0


def diff(options: Namespace) -> int:
    from specrun.compiler.diff import diff as diff_plans
    from specrun.spec.plan.file import read_plan

    print(diff_plans(read_plan(options.left), read_plan(options.right)) or "the plans are the same")
    return 0


def show(options: Namespace) -> int:
    from specrun.compiler import timeline
    from specrun.compiler.summary import summary
    from specrun.spec.plan.file import read_plan

    asked = [options.steps, options.stage is not None, options.epoch is not None]
    if sum(asked) > 1:
        message = "--steps shows all stages, --stage one, --epoch the one of an epoch"
        raise InputError(message, code="usage", hint="give one of them")
    plan = read_plan(options.plan)
    if options.stage is not None:
        print(timeline.stage(plan, plan.stage_named(options.stage)))
    elif options.epoch is not None:
        print(timeline.epoch(plan, options.epoch))
    else:
        print(timeline.timeline(plan) if options.steps else summary(plan))
    return 0


def schema(options: Namespace) -> int:
    from importlib.resources import files

    if options.plan and options.markdown:
        raise InputError(
            "--markdown is of specs, --plan of plan.json", code="usage", hint="give one of the two"
        )
    name = "plan.schema.json" if options.plan else "experiment.schema.json"
    name = "README.md" if options.markdown else name
    print(files("specrun.schemas").joinpath(name).read_text(encoding="utf-8"), end="")
    return 0


def run(options: Namespace) -> int:
    from specrun.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    from specrun.runtime.loop.run import main

    return main(options.plan, extend=options.extend, quiet=options.quiet)


def make_report(options: Namespace) -> int:
    from specrun.runtime.report.write import write_report

    print(write_report(Path(options.folder)))
    return 0


def encode(options: Namespace) -> int:
    from specrun.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    from specrun.runtime.predict.encode_file import encode_file
    from specrun.runtime.telling import teller

    count, width = encode_file(
        options.folder,
        options.input,
        options.output,
        column=options.column,
        dimension=options.dimension,
        side={None: None, "query": "query", "document": "positive"}[options.side],
        tell=teller(options.quiet),
    )
    if not options.quiet:
        print(f"wrote {options.output}: {count} embeddings of width {width}")
    return 0


def search(options: Namespace) -> int:
    from specrun.runtime.predict.search import search as find
    from specrun.runtime.telling import teller

    for hit in find(
        options.folder,
        options.query,
        image=options.image,
        corpus=options.corpus,
        index=options.index,
        top=options.top,
        dimension=options.dimension,
        tell=teller(options.quiet),
    ):
        print(f"{hit.score:.3f}  {hit.place}  {hit.text}")
    return 0


def index(options: Namespace) -> int:
    from specrun.runtime.predict.index import build_index
    from specrun.runtime.telling import size, teller

    built = build_index(
        options.folder,
        options.corpus,
        options.output,
        kind=options.kind,
        dimension=options.dimension,
        tell=teller(options.quiet),
    )
    print(
        f"wrote {built.folder}: {built.kind}, {_count(built.count, 'text')} of width {built.dimension}, {size(built.bytes)}"
    )
    return 0


def mine(options: Namespace) -> int:
    from specrun.runtime.predict.mine import Rule
    from specrun.runtime.predict.mine import mine as write
    from specrun.runtime.telling import teller

    rule = Rule(
        num_negatives=options.num_negatives,
        top_k=options.top_k,
        skip_top=options.skip_top,
        relative_margin=options.relative_margin,
        backend=options.backend,
    )
    found = write(
        options.folder,
        options.output,
        corpus=options.corpus,
        rule=rule,
        tell=teller(options.quiet),
    )
    print(
        f"wrote {options.output}: {found.rows} rows, {found.negatives / found.rows:.2f} mined negatives a row, "
        f"{_count(found.rows_without, 'row')} without"
    )
    for bad in found.bad:
        print(f"left out   {bad.count} × {bad.reason} ({', '.join(bad.places[:2])})")
    if found.image_root is not None:
        print(f"images     their paths begin at {found.image_root}, which is data.image_root")
    return 0


def migrate(options: Namespace) -> int:
    from specrun.compiler.migrate.migrate import migrate as turn
    from specrun.wiring import RuntimeFacts

    done = turn(Path(options.file), options.tool, RuntimeFacts().model_type)
    if options.output is None:
        print(done.text, end="")
    else:
        _write_new(Path(options.output), done.text)
        print(f"wrote {options.output}, from a configuration of {done.dialect.title}")
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    for left in done.unmet:
        print(left.told, file=sys.stderr)
    return 2 if done.unmet else 0


def _write_new(path: Path, text: str) -> None:
    """A new file, or an error; nothing is overwritten."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        message = f"`{path}` is already there"
        raise InputError(message, code="file-exists", hint="name another file") from error
    except OSError as error:
        message = f"cannot write `{path}`: {error.strerror}"
        raise InputError(message, code="cannot-write", hint="name another file") from error


def export(options: Namespace) -> int:
    from specrun.runtime.predict.export import export as write

    done = write(
        options.folder,
        options.output,
        to=options.to,
        dtype=options.dtype,
        which=options.which,
        side=options.tower,
    )
    print(f"wrote {done.folder}: {', '.join(done.files)}")
    if done.facts["merged"]:
        print(f"merged     {done.facts['merged']}")
    if trained := done.facts.get("tensors_of_losses"):
        print(f"trained    {', '.join(f'{name} of {loss}' for name, loss in trained.items())}")
    kept = [*done.facts["tensors_of_the_source"], *done.facts["files_of_the_source"]]
    for label, names in (("as it was", kept), ("left out", done.facts["left_out"])):
        if names:
            print(f"{label:10} {', '.join(names)}")
    return 0


def generate(options: Namespace) -> int:
    from specrun import Predictor
    from specrun.runtime.generate.interactive import converse
    from specrun.runtime.generate.options import NAMES
    from specrun.runtime.telling import teller

    predictor = Predictor(options.folder, which=options.which)
    given = {name: value for name, value in vars(options).items() if name in NAMES}
    asking = predictor.generator.with_options(given).interactive

    def answer(prompts: Sequence[str], turn: int) -> None:
        seed = (options.seed + turn) % 2**32 if turn else options.seed
        found = predictor.complete(prompts, seed=seed, tell=teller(options.quiet), **given)
        for line in _written(prompts, found, seed, options.json):
            print(line, flush=True)

    if options.prompts:
        answer(options.prompts, 0)
    elif not asking:
        raise InputError(
            "there is no prompt",
            code="usage",
            hint="give texts to go on with, or --interactive to be asked for them",
        )
    if asking:
        ask = _mark if sys.stdin.isatty() else lambda: None
        first = 1 if options.prompts else 0
        converse(
            sys.stdin.buffer,
            lambda prompt, turn: answer([prompt], first + turn),
            _told,
            ask,
        )
    return 0


def _told(what: str | SpecrunError) -> None:
    if isinstance(what, InputError):
        report(what.diagnostics, "text")
    else:
        print(f"specrun: {what}", file=sys.stderr)


def _mark() -> None:
    """What stands before a prompt that is typed."""
    print("> ", end="", file=sys.stderr, flush=True)


def _written(
    prompts: Sequence[str], found: Sequence[Sequence[Completion]], seed: int, as_json: bool
) -> Iterator[str]:
    """The texts with an empty line between any two, or a line of JSON for each."""
    import json

    texts = [text for own in found for text in own]
    for i, text in enumerate(texts):
        if as_json:
            told = {"prompt": prompts[text.prompt], "number": text.number, "seed": seed}
            told |= {"text": text.text, "ids": text.ids.tolist(), "filled": text.filled.tolist()}
            yield json.dumps(told, ensure_ascii=False)
        else:
            yield text.text if i == len(texts) - 1 else f"{text.text}\n"


def baseline(options: Namespace) -> int:
    import json

    from specrun.spec.plan.file import read_plan
    from specrun.spec.plan.losses import hiding

    plan = read_plan(options.plan)
    scores = _word_scores(plan) if hiding(plan.losses) is None else _token_scores(plan)
    result = Path(plan.output_dir) / "result.json"
    run = json.loads(result.read_text(encoding="utf-8"))["metrics"] if result.is_file() else {}
    print(
        f"{plan.data.scan.validation_rows} held-out rows"
        + (f", run in {plan.output_dir}" if run else "")
    )
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    columns = scores | ({"run": run} if run else {})
    first = max(12, *map(len, names))
    print(" " * first + "".join(f" {title:>8}" for title in columns))
    for name in names:
        told = [
            f"{of[name]:.4f}".rjust(max(8, len(title))) if name in of else ""
            for title, of in columns.items()
        ]
        print(f"{name:{first}} " + " ".join(told).rstrip())
    return 0


def _word_scores(plan: Plan) -> dict[str, dict[str, float]]:
    """BM25's metrics of the plan's held-out rows."""
    from specrun.runtime.data.bm25 import score_plan

    if found := score_plan(plan):
        return {"BM25": found}
    raise InputError(
        "the plan holds no row out",
        code="no-validation",
        hint="add data.validation and compile",
    )


def _token_scores(plan: Plan) -> dict[str, dict[str, float]]:
    """What the frequencies of tokens, and of pairs of them, say of those that the plan's evaluation hides."""
    from specrun.runtime.loop.ngrams import score_plan

    return score_plan(plan)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
