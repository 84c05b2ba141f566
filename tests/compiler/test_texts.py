"""Rows of text files in the compiler: mistakes told at their place, what the words become in the plan's parts."""

from __future__ import annotations

import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

import specrun
from specrun.compiler.draft import Context, Draft, StageDraft
from specrun.compiler.front import load
from specrun.compiler.passes.difficulty import rows_to_select
from specrun.compiler.passes.lengths import most_tokens
from specrun.compiler.passes.places import place_data
from specrun.compiler.passes.stages import draft_stages, stage_formats
from specrun.compiler.passes.tokenizers import place_tokenizer
from specrun.compiler.summary import summary
from specrun.runtime.report.facts import plan_facts
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.experiment import Experiment
from specrun.spec.plan.data import HeldOutFile, HeldOutFraction, TextSource, TrainedTokenizer
from specrun.spec.plan.segments import Selection
from specrun.spec.words.curriculum import Curriculum, Select, Stage
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.losses import MaskedDiffusionLoss
from specrun.spec.words.texts import TextData
from specrun.spec.words.tokenizer import TrainTokenizer
from specrun.spec.words.validation import FileValidation, FractionValidation
from tests.compiler.fakes import FakeFacts, ListReport
from tests.compiler.test_passes import spec
from tests.runtime.plans import make_text_plan, make_text_source

HEAD = """\
version: 1
model: {kind: masked_lm, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2}
tokenizer: {kind: train, vocab_size: 300}
losses: [{kind: masked_diffusion}]
train: {batch_size: 8}
"""
SCORED = "weights: {lexical: 0.5, syntactic: 0.5, centrality: 0}"
STAGES = "curriculum: {stages: [{name: a, format: sentences, select: easy}, {name: b}]}\n"


def diagnostics(text: str, head: str = HEAD) -> list[Diagnostic]:
    return list(load(head + text, environ={}, local={}).diagnostics)


def mistakes(text: str, head: str = HEAD) -> list[Diagnostic]:
    return [d for d in diagnostics(text, head) if d.severity == "error"]


def test_a_good_spec_has_none() -> None:
    text = f"data: {{kind: text, path: corpus, format: paragraphs, difficulty: {{{SCORED}}}}}\n"
    assert diagnostics(text + STAGES) == []


MISTAKES = [
    ("min_chars: 600", "empty-range", "600", "is above `max_chars` 512"),
    ("max_chars: 5", "empty-range", "5}", "is above `max_chars` 5"),
    ("min_chars: 0", "out-of-range", "0}", "at least 1"),
    ("chunk_overlap: -1", "out-of-range", "-1", "at least 0"),
    ("paragraph_max_sentences: 0", "out-of-range", "0}", "at least 1"),
    ("format: sentence", "not-allowed", "sentence}", "did you mean `sentences`?"),
    ("max_length: {query: 3}", "wrong-type", "{query", "number"),
    ("max_length: 1", "out-of-range", "1}", "at least 2"),
    ("bad_rows: drop", "not-allowed", "drop", "`skip`"),
    ("columns: {query: x}", "unknown-key", "columns", "unknown key `columns`"),
    ("negatives: {kind: mined, refresh_every_steps: 3}", "unknown-key", "negatives", "unknown"),
    ("validation: {kind: split, split: x}", "unknown-kind", "split,", "`file`"),
]


@pytest.mark.parametrize(("words", "code", "at", "says"), MISTAKES)
def test_mistakes(words: str, code: str, at: str, says: str) -> None:
    text = f"data: {{kind: text, path: corpus, {words}}}\n"
    found = [d for d in mistakes(text) if d.code == code]
    assert len(found) == 1, mistakes(text)
    line = text.splitlines()[0]
    assert line[found[0].column - 1 :].startswith(at)
    assert says in found[0].message + found[0].hint


def test_a_scored_side_is_no_choice() -> None:
    text = f"data: {{kind: text, path: c, difficulty: {{text: query, {SCORED}}}}}\n"
    [found] = mistakes(text + STAGES)
    assert (found.code, found.path) == ("no-effect", "data.difficulty.text")


def test_a_format_that_no_stage_takes() -> None:
    text = "data: {kind: text, path: c, format: pairs}\n"
    stages = "curriculum: {stages: [{name: a, format: sentences}, {name: b, format: paragraphs}]}\n"
    [found] = mistakes(text + stages)
    assert (found.code, found.path) == ("no-effect", "data.format")
    assert mistakes(text.replace(", format: pairs", "") + stages) == []
    assert mistakes(text + stages.replace(", format: paragraphs", "")) == []


PAIRS = HEAD.replace("masked_diffusion", "infonce").replace("masked_lm", "text_encoder")


def test_only_texts_have_formats() -> None:
    text = "data: {kind: jsonl, path: rows.jsonl}\n" + STAGES.replace(", select: easy", "")
    [found] = mistakes(text, PAIRS)
    assert (found.code, found.path) == ("no-effect", "curriculum.stages[0].format")
    assert "data.kind: text" in found.message


def texts(path: str, **changes: object) -> Experiment:
    return spec(
        model=MaskedLmModel(),
        losses=(MaskedDiffusionLoss(),),
        data=TextData(path=path, **changes),  # type: ignore[arg-type]
    )


def placed(folder: Path, words: Experiment) -> tuple[Draft, ListReport]:
    report = ListReport()
    context = Context(facts=FakeFacts(), report=report, folder=folder, local={})
    return place_data(Draft(spec=words), context), report


def test_a_folder_and_its_held_out_files(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "held").mkdir()
    words = texts("corpus", max_chars=99, validation=FileValidation(path="held"))
    draft, report = placed(tmp_path, words)
    assert report.found == []
    expected = TextSource(
        path=str(tmp_path / "corpus"),
        pattern="**/*.txt",
        formats=("sentences",),
        min_chars=10,
        max_chars=99,
        paragraph_max_sentences=10,
        chunk_overlap=50,
    )
    assert draft.source == expected
    assert draft.held_out == HeldOutFile(source=replace(expected, path=str(tmp_path / "held")))
    fraction = replace(words, data=replace(words.data, validation=FractionValidation(fraction=0.2)))  # type: ignore[call-arg]  # fmt: skip
    assert placed(tmp_path, fraction)[0].held_out == HeldOutFraction(fraction=0.2)


def test_missing_folders_are_told_at_their_keys(tmp_path: Path) -> None:
    _, report = placed(tmp_path, texts("corpus", validation=FileValidation(path="held")))
    assert [(path, code) for _, path, code in report.found] == [
        ("data.path", "not-found"),
        ("data.validation.path", "not-found"),
    ]


def test_a_pattern_chooses_nothing_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text is here.")
    _, report = placed(tmp_path, texts("a.txt", pattern="*.md"))
    assert [(path, code) for _, path, code in report.found] == [("data.pattern", "no-effect")]
    assert placed(tmp_path, texts("a.txt"))[1].found == []


def test_the_library_is_known_by_its_name(tmp_path: Path) -> None:
    """Its own files, unless a pattern says which; a folder of this name in specrun.local.yaml comes first."""
    library = sysconfig.get_path("stdlib")
    for words, pattern in ((texts("stdlib"), "**/*.py"), (texts("stdlib", pattern="json/**"), "json/**")):  # fmt: skip
        draft, report = placed(tmp_path, words)
        assert report.found == []
        assert isinstance(draft.source, TextSource)
        assert (draft.source.path, draft.source.pattern) == (library, pattern)
    report = ListReport()
    local = {"stdlib": tmp_path}
    context = Context(facts=FakeFacts(), report=report, folder=tmp_path, local=local)
    draft = place_data(Draft(spec=texts("stdlib")), context)
    assert isinstance(draft.source, TextSource)
    assert (draft.source.path, draft.source.pattern) == (str(tmp_path), "**/*.txt")


@pytest.mark.parametrize(
    ("given", "lowercase", "split"),
    [
        ({}, None, None),
        ({"lowercase": True}, True, None),
        ({"lowercase": False}, False, None),
        ({"split_identifiers": True}, None, True),
        ({"split_identifiers": False}, None, False),
    ],
)
def test_what_is_written_keeps_its_capitals_and_words(
    tmp_path: Path, given: dict[str, bool], lowercase: bool | None, split: bool | None
) -> None:
    tokenizer = TrainTokenizer(**given)
    for words, default in ((texts("."), False), (spec(), True)):
        context = Context(facts=FakeFacts(), report=ListReport(), folder=tmp_path, local={})
        draft = Draft(spec=replace(words, tokenizer=tokenizer))
        found = place_tokenizer(draft, context).tokenizer_source
        assert isinstance(found, TrainedTokenizer)
        assert found.lowercase is (default if lowercase is None else lowercase)
        assert found.split_identifiers is (default if split is None else split)


def test_rows_are_made_of_the_formats_that_stages_take() -> None:
    def formats(*stages: Stage, **changes: object) -> tuple[str, ...]:
        words = texts("c", **changes)
        return stage_formats(
            replace(words, curriculum=Curriculum(stages=stages) if stages else None)
        )

    assert formats() == ("sentences",)
    assert formats(format="pairs") == ("pairs",)
    assert formats(Stage(name="a", format="paragraphs"), Stage(name="b")) == ("sentences", "paragraphs")  # fmt: skip
    assert formats(Stage(name="a", format="paragraphs")) == ("paragraphs",)
    assert stage_formats(spec()) == ()


def drafted(*stages: Stage) -> list[StageDraft]:
    words = replace(texts("c"), curriculum=Curriculum(stages=stages))
    context = Context(facts=FakeFacts(), report=ListReport(), folder=Path(), local={})
    return list(draft_stages(Draft(spec=words), context).stages)


def test_stages_select_by_format_where_there_are_several() -> None:
    long = Select(field="query_chars", min=40)
    first, second, third = drafted(
        Stage(name="a", format="paragraphs"), Stage(name="b"), Stage(name="c", select=long)
    )
    assert first.selection == Selection(format="paragraphs")
    assert second.selection == Selection(format="sentences")
    assert third.selection == Selection(field="query_chars", minimum=40.0, format="sentences")
    assert not first.mined
    [alone] = drafted(Stage(name="a", format="sentences"))
    assert alone.selection is None, "all rows are sentences"


def test_what_a_selection_is_called() -> None:
    assert Selection(format="pairs").words == "pairs"
    assert Selection(field="difficulty_rank", minimum=0, maximum=9, said="easy", format="pairs").words == "easy pairs"  # fmt: skip
    assert Selection(field="query_chars", maximum=40, format="pairs").words == "pairs query_chars up to 40"  # fmt: skip
    assert Selection(field="level", minimum=2).words == "level 2 and more"


@pytest.mark.parametrize(
    ("given", "positions", "expected"),
    [(None, "rotary", (512, 0)), (256, "rotary", (256, 0)), (None, "learned", (128, 0))],
)
def test_tokens_of_a_text(given: int | None, positions: str, expected: tuple[int, int]) -> None:
    from specrun.compiler.passes.scratch import masked_lm

    model = MaskedLmModel(position_embedding=positions, max_position_embeddings=128)  # type: ignore[arg-type]
    draft = Draft(
        spec=texts("c", max_length=given),
        source=make_text_source(),
        config=masked_lm(model, 300),
    )
    assert most_tokens(draft) == expected


def test_percentiles_are_of_the_format() -> None:
    from specrun.spec.plan.data import FormatCount

    scan = make_text_plan().data.scan
    counts = [
        FormatCount(
            format=name,  # type: ignore[arg-type]
            rows_read=n,
            cut=0,
            too_short=0,
            alone=0,
            duplicates=0,
            dropped_by_split=0,
            training_rows=n,
            validation_rows=0,
        )
        for name, n in (("sentences", 20), ("pairs", 12))
    ]
    [first, second] = drafted(Stage(name="a", format="pairs"), Stage(name="b"))
    assert rows_to_select(first, replace(scan, formats=tuple(counts))) == 12
    assert rows_to_select(second, replace(scan, formats=tuple(counts))) == 20
    assert rows_to_select(replace(first, selection=None), scan) == 32


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("Oh. No.", "", "of the texts 2 are shorter than data.min_chars"),
        ("", "", "check the path"),
        (
            "A text is here.",
            ", validation: {kind: file, path: a.txt}",
            "of the rows 1 are held out, and 1 repeat such",
        ),
        ("\0", "", "every row was left out as bad"),
    ],
)
def test_a_corpus_that_gives_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str, says: str
) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text(text)
    evaluation = "evaluation: {}\n" if words else ""
    head = HEAD.replace("batch_size: 8", "batch_size: 8, epochs: 1")
    data = f"data: {{kind: text, path: a.txt{words}}}\n"
    (tmp_path / "spec.yaml").write_text(head + data + evaluation)
    with pytest.raises(InputError) as raised:
        specrun.compile(tmp_path / "spec.yaml")
    found = [d for d in raised.value.diagnostics if d.severity == "error"]
    assert says in found[0].message + found[0].hint


def test_what_compiling_says_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "corpus").mkdir()
    paragraphs = [f"Here is text {i}. It has number {i} in it. End {i}." for i in range(60)]
    (tmp_path / "corpus" / "a.txt").write_text("\n\n".join([*paragraphs, "One sentence alone."]))
    data = f"data: {{kind: text, path: corpus, format: pairs, difficulty: {{{SCORED}}}}}\n"
    (tmp_path / "spec.yaml").write_text(HEAD + data + STAGES)
    plan = specrun.compile(tmp_path / "spec.yaml")
    lines = [line.strip() for line in summary(plan).splitlines()]
    assert "sentences: 121 read, 121 train, 0 held out; left out: 60 too short, 0 duplicates, 0 shared across the split; 0 cut" in lines  # fmt: skip
    assert "pairs: 120 read, 120 train, 0 held out; left out: 0 too short, 0 duplicates, 0 shared across the split, 1 paragraphs of one sentence; 0 cut" in lines  # fmt: skip
    easy, rest = plan.segments
    assert (easy.rows, rest.rows) == (40, 120), "a third of the sentences, and all pairs"
    assert "a (5 steps, 40 easy sentences), b (15 steps, 120 pairs)" in "\n".join(lines)
    assert not any("query" in line or "positive" in line for line in lines)
    assert all(positive == 0 for _, positive in plan.train.buckets)
    assert {trace.positive_length for trace in plan.traces} == {0}
    facts = dict(plan_facts(plan))
    assert facts["Sentences"].startswith(
        "121 read, 121 trained on, 0 held out; 0 texts cut, 60 too"
    )
    assert "(easy sentences)" in facts["Stage a"]
    assert "(pairs)" in facts["Stage b"]
    assert "at most 512 tokens" in facts["Tokenizer"]
    assert "of the text;" in facts["Difficulty"]


STAGED = "curriculum: {{stages: [{{name: a, masking_rate: [0.5, 0.9]}}, {{name: b{own}}}]}}\n"


@pytest.mark.parametrize("own", ["", ", masking_rate: [0.1, 0.3]"])
def test_the_losses_own_range_where_every_stage_has_another(own: str) -> None:
    head = HEAD.replace("masked_diffusion", "masked_diffusion, masking_rate: [0.2, 0.4]")
    text = "data: {kind: text, path: c}\n" + STAGED.format(own=own)
    found = [(d.code, d.path) for d in mistakes(text, head)]
    assert found == ([("no-effect", "losses[0].masking_rate")] if own else [])
    assert mistakes(text) == []  # a default takes no part and is no mistake


def test_a_share_of_rows_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a vocabulary that the texts are too few for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    lines = [f"Row {i} of many has {i + 1} words." for i in range(40)]
    (tmp_path / "c.txt").write_text("\n\n".join(lines))
    text = (
        HEAD
        + "data: {kind: text, path: c.txt}\ncurriculum: {stages: [{name: a}, {name: b, pseudo_data: {ratio: RATIO}}]}\n"
    )
    with pytest.raises(InputError) as caught:
        specrun.compile(text.replace("RATIO", "0.02"), environ={})
    [found] = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert (found.code, found.path) == ("no-pseudo-data", "curriculum.stages[1].pseudo_data.ratio")
    assert "of the 40 rows" in found.message
    assert found.hint == "the least that gives one is 0.025"
    plan = specrun.compile(
        text.replace("RATIO", "0.025").replace("vocab_size: 300", "vocab_size: 2000"), environ={}
    )
    assert plan.segments[1].pseudo is not None
    assert plan.segments[1].pseudo.count == 1
    [warned] = [w for w in plan.warnings if w.code == "small-vocabulary"]
    assert warned.path == "tokenizer.vocab_size"
    assert (
        f"2,000 ids are asked for, and the texts give {plan.tokenizer.vocab_size}" in warned.message
    )
