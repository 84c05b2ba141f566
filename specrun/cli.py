"""The command line: a table of commands. Each handler imports what it needs when it is called."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One argument of a command, in argparse's words."""

    names: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """One command: its name, its line of help, its handler in ``specrun.commands`` and its arguments."""

    name: str
    help: str
    handler: str
    options: tuple[Option, ...]


def _arg(*names: str, **settings: Any) -> Option:
    return Option(names, settings)


def _or_none(kind: type[int] | type[float]) -> Callable[[str], int | float | None]:
    """A number, or None for the word none, which takes a run's own setting away."""

    def read(text: str) -> int | float | None:
        try:
            return None if text == "none" else kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ArgumentTypeError(f"{text!r} is neither {what} nor none") from None

    return read


def _setting(*names: str, **settings: Any) -> Option:
    """An option that is absent where it is not given, so that the run's own setting holds."""
    return Option(names, {"default": SUPPRESS, **settings})


SPEC = _arg("spec", metavar="SPEC", help="the YAML spec")
PLAN = _arg("plan", metavar="PLAN", help="a plan.json")
RUN = _arg("folder", metavar="FOLDER", help="a run's folder")
FOLDER = _arg("folder", metavar="FOLDER", help="a run's folder, or a Hugging Face directory")
SET = _arg(
    "--set",
    dest="overrides",
    action="append",
    default=[],
    metavar="PATH=VALUE",
    help="override a value, such as train.batch_size=64",
)
FORMAT = _arg(
    "--format", choices=("text", "json", "github"), default="text", help="how findings are printed"
)
QUIET = _arg("--quiet", action="store_true", help="print errors only")
NO_PROGRESS = _arg("--quiet", action="store_true", help="show no progress")
TOP = _arg("-k", "--top", type=int, default=5, metavar="K", help="how many to find")

COMMANDS: tuple[Command, ...] = (
    Command("init", "write a commented spec to start from", "init", (
        _arg("file", nargs="?", default="spec.yaml", metavar="FILE", help="where to write it"),
        _arg("--model", metavar="NAME", help="a pretrained model to train: a directory beside FILE, or a Hugging Face name such as openai/clip-vit-base-patch32"),
    )),
    Command("migrate", "turn another tool's configuration into a commented spec", "migrate", (
        _arg("file", metavar="FILE", help="YAML or JSON of vembed-factory, sentence-transformers' TrainingArguments, the RetNet-HRM encoder, or micro-diffusion"),
        _arg("-o", "--output", metavar="SPEC", help="a new file; without it the spec is printed"),
        _arg("--from", dest="tool", choices=("vembed", "sentence-transformers", "retnet-hrm", "micro-diffusion"), help="whose configuration it is; its keys tell it where they can"),
    )),
    Command("check", "report every mistake of a spec", "check", (SPEC, SET, FORMAT)),
    Command("compile", "turn a spec into an immutable plan", "compile", (
        SPEC,
        _arg("-o", "--output", default="plan.json", metavar="PLAN", help="where the plan goes (default plan.json)"),
        SET, FORMAT, QUIET,
        _arg("--print-after", metavar="PASS", action="append", default=[], help="print the draft after a pass"),
        _arg("--measure", action="store_true", help="compile for this machine too: XLA's bytes and operations, beside the plan"),
    )),
    Command("explain", "say what a value means and where it came from", "explain", (
        PLAN, _arg("path", nargs="?", metavar="PATH", help="such as train.batch_size; none lists all"),
    )),
    Command("diff", "say what differs between two plans, by class", "diff", (
        _arg("left", metavar="A", help="a plan.json"), _arg("right", metavar="B", help="a plan.json"),
    )),
    Command("show", "show a plan's summary or timeline", "show", (
        PLAN,
        _arg("--steps", action="store_true", help="the timeline of steps"),
        _arg("--stage", metavar="NAME", help="one stage of it"),
        _arg("--epoch", type=int, metavar="N", help="the stage that an epoch is in, and what the epoch does; the run's first is 0"),
    )),
    Command("schema", "print the JSON Schema of specs or plans", "schema", (
        _arg("--plan", action="store_true", help="of plan.json instead"),
        _arg("--markdown", action="store_true", help="the spec's keys as tables instead: schemas/README.md"),
    )),
    Command("run", "carry out a plan, or continue it", "run", (
        PLAN, _arg("--extend", action="store_true", help="go on with a longer horizon"), QUIET,
    )),
    Command("report", "write report.html of a run, finished or not", "make_report", (RUN,)),
    Command("encode", "embed texts or images into a .npy file", "encode", (
        FOLDER,
        _arg("input", metavar="INPUT", help="a text file, one text a line, a .jsonl, .csv, .tsv or .parquet file, or a folder of images"),
        _arg("-o", "--output", default="embeddings.npy", metavar="FILE", help="where the array goes"),
        _arg("--column", default="text", metavar="KEY", help="column of the text in a file that has columns (default text)"),
        _arg("--dimension", type=int, metavar="D", help="cut the embedding to D"),
        _arg("--side", choices=("query", "document"), help="as what the texts are embedded; needed with separate towers and with prompts"),
        NO_PROGRESS,
    )),
    Command("search", "find the best rows for a query", "search", (
        FOLDER,
        _arg("query", nargs="?", metavar="QUERY", help="what to look for"),
        _arg("--image", metavar="FILE", help="an image to look for, instead of a text or together with it"),
        _arg("--corpus", metavar="PATH", help="a .jsonl, .csv, .tsv or .parquet file, a folder of Python code, or one of images, instead of the run's own rows"),
        _arg("--index", metavar="DIR", help="an index that `specrun index` made with this encoder instead"),
        TOP,
        _arg("--dimension", type=int, metavar="D", help="cut the embedding to D"),
        NO_PROGRESS,
    )),
    Command("index", "write an index over a corpus, to search in", "index", (
        FOLDER,
        _arg("--corpus", required=True, metavar="PATH", help="a .jsonl, .csv, .tsv or .parquet file or a folder of Python code"),
        _arg("-o", "--output", required=True, metavar="DIR", help="a new directory"),
        _arg("--kind", choices=("flat", "ivf_pq", "hnsw"), default="flat", help="exact, compressed in lists, or a graph (default flat)"),
        _arg("--dimension", type=int, metavar="D", help="cut the embeddings to D"),
        NO_PROGRESS,
    )),
    Command("mine", "write rows with the hard negatives that a trained encoder finds", "mine", (
        FOLDER,
        _arg("-o", "--output", required=True, metavar="FILE", help="a .jsonl file with query, positive and negatives"),
        _arg("--corpus", metavar="PATH", help="a .jsonl, .csv, .tsv or .parquet file of rows instead of the run's training rows"),
        _arg("--num-negatives", type=int, default=4, metavar="N", help="negatives of each row (default 4)"),
        _arg("--top-k", type=int, default=50, metavar="K", help="nearest texts looked at (default 50)"),
        _arg("--skip-top", type=int, default=0, metavar="N", help="nearest texts left out (default 0)"),
        _arg("--relative-margin", type=float, default=0.05, metavar="M", help="left out is what reaches the positive's cosine × (1 - M) (default 0.05)"),
        _arg("--backend", choices=("exact", "faiss"), default="exact", help="how the nearest are found (default exact)"),
        NO_PROGRESS,
    )),
    Command("export", "write a directory that sentence-transformers, transformers or PEFT loads", "export", (
        FOLDER,
        _arg("-o", "--output", required=True, metavar="DIR", help="a new directory"),
        _arg("--to", choices=("sentence-transformers", "hf", "flax", "peft"), default="sentence-transformers", help="what loads it: SentenceTransformer (default), AutoModel, Flax classes, or PeftModel (adapters alone)"),
        _arg("--tower", choices=("query", "positive"), help="which of separate towers"),
        _arg("--which", choices=("best", "final"), default="best", help="which parameters of a run (default best)"),
        _arg("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the weights (default float32)"),
    )),
    Command("generate", "write texts with a trained masked language model", "generate", (
        RUN,
        _arg("prompts", nargs="*", metavar="PROMPT", help="continued to --max-length tokens; with [MASK] in it, each mark becomes one token instead"),
        _setting("--temperature", type=float, metavar="T", help="0 takes the best token"),
        _setting("--steps", type=int, metavar="N", help="steps over which tokens are filled in"),
        _setting("--max-length", type=int, metavar="N", help="tokens of a text, its prompt included"),
        _setting("--top-k", type=_or_none(int), metavar="K", help="draw from the K best tokens; none is all"),
        _setting("--top-p", type=_or_none(float), metavar="P", help="draw from the fewest tokens of probability P; none is all"),
        _setting("-n", "--num-return-sequences", type=int, metavar="N", help="texts for each prompt"),
        _setting("--schedule", dest="confidence_schedule", choices=("linear", "exponential"), help="how sure a token must be, over the steps"),
        _setting("--style", metavar="TEXT", help="a text whose tokens are favoured"),
        _setting("--style-strength", type=float, metavar="B", help="added to the scores of the style's tokens"),
        _setting("--interactive", action="store_true", help="ask for prompts; an empty line ends, Ctrl-C cancels one"),
        _arg("--seed", type=int, default=0, metavar="N", help="of what is drawn (default 0)"),
        _arg("--json", action="store_true", help="a line of JSON for each text"),
        _arg("--which", choices=("best", "final"), default="best", help="which parameters of a run (default best)"),
        NO_PROGRESS,
    )),
    Command("baseline", "score BM25, or counts of tokens, on a plan's held-out rows", "baseline", (PLAN,)),
)  # fmt: skip


def parser() -> ArgumentParser:
    """The parser made from the table."""
    top = ArgumentParser(
        prog="specrun", description="One YAML spec, compiled into an immutable plan, run on JAX."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        for option in command.options:
            sub.add_argument(*option.names, **option.settings)
        sub.set_defaults(handler=command.handler)
    return top


def main(arguments: list[str]) -> int:
    """Run one command. Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 130/143 interrupted."""
    try:
        return _handle(_parsed(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parsed(arguments: list[str]) -> Namespace:
    """The arguments. argparse takes a query that may be left out as left out once an option stands before it.

    What is left over is then the query, or the prompts.
    """
    top = parser()
    options, rest = top.parse_known_args(arguments)
    rest = rest[1:] if rest[:1] == ["--"] else rest
    if len(rest) == 1 and getattr(options, "query", "") is None:
        options.query = rest[0]
    elif getattr(options, "prompts", None) == [] and not any(r.startswith("-") for r in rest):
        options.prompts = rest
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _handle(options: Namespace) -> int:
    from specrun import commands
    from specrun.spec.diagnostics import InputError, SpecrunError

    handler: Callable[[Namespace], int] = getattr(commands, options.handler)
    try:
        return handler(options)
    except InputError as error:
        commands.report(error.diagnostics, getattr(options, "format", "text"))
        return error.exit_code
    except SpecrunError as error:
        print(f"specrun: {error}", file=sys.stderr)
        return error.exit_code
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        if os.environ.get("SPECRUN_TRACEBACK"):
            raise
        print(
            f"specrun itself failed: {type(error).__name__}: {error}\n"
            "This is a fault of specrun, not of your input. SPECRUN_TRACEBACK=1 shows where; please report it.",
            file=sys.stderr,
        )
        return 1
