"""Batches of rows that are texts: one side, each stage's own format, the same whatever is asked for first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Inner
from tokenizers import models, pre_tokenizers

from specrun.runtime import cache
from specrun.runtime.aot import abstract_batch
from specrun.runtime.data.batches import Batch, Batches
from specrun.runtime.data.bm25 import score_plan
from specrun.runtime.data.difficulty import with_scores
from specrun.runtime.data.layout import Layout, layout
from specrun.runtime.data.order import select
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.scan import rows_of, scan
from specrun.runtime.data.tokenizer import load, prepare
from specrun.runtime.data.tokens import Tokens, ensure_tokens, tokens_of
from specrun.runtime.difficulty.scores import score
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import (
    TEXT_FORMATS,
    HeldOutFraction,
    TextFormat,
    TokenizerFile,
    TrainedTokenizer,
)
from specrun.spec.plan.difficulty import RANK, SCORE, DifficultySettings, SyntacticPart, cut
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import MaskingRange, Selection
from tests.runtime.plans import (
    make_language_model,
    make_masked,
    make_plan,
    make_segment,
    make_text_source,
)

LENGTH = 40
SETTINGS = DifficultySettings(
    text="positive",
    lexical=None,
    syntactic=SyntacticPart(weight=1.0, readability=("flesch",)),
    centrality=None,
)


@dataclass(frozen=True)
class Request:
    selection: Selection | None
    epochs: int
    transition_epochs: int = 0
    mined: bool = False
    pseudo: tuple[float, int] | None = None


@dataclass(frozen=True)
class Made:
    plan: Plan
    tokens: Tokens
    rows: Rows
    layouts: Sequence[Layout]


def corpus(folder: Path) -> Path:
    draw = random.Random(0)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "extraordinary",
        "mountains",
        "while",
        "industrious",
        "neighbours",
        "sang",
        "of",
        "rain",
    ]

    def sentence() -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(2, 12))).capitalize() + "."

    text = "\n\n".join(" ".join(sentence() for _ in range(draw.randint(1, 7))) for _ in range(60))
    (folder / "a.txt").write_text(text)
    return folder


def easy(format: TextFormat, count: int) -> Selection:
    return Selection(field=RANK, minimum=0.0, maximum=float(count - 1), format=format, said="easy")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The easy third of the sentences for two epochs, all pairs, all paragraphs, and rows of every format."""
    source = make_text_source(str(corpus(tmp_path)), formats=TEXT_FORMATS)
    found = scan(source, HeldOutFraction(fraction=0.1), "skip")
    tokenizer = prepare(
        TrainedTokenizer(vocab_size=300, min_frequency=2, lowercase=False, split_identifiers=False),
        found.rows_digest,
    )
    scored = score(found.rows_digest, SETTINGS, 33, 67)
    sentences = found.formats[0].training_rows
    requests = [
        Request(easy("sentences", cut(33, sentences)), 2),
        Request(Selection(format="pairs"), 1, transition_epochs=1),
        Request(Selection(format="paragraphs"), 3),
        Request(None, 1),
    ]
    layouts = layout(
        scan=found,
        tokenizer=tokenizer,
        max_query_length=LENGTH,
        max_positive_length=0,
        seed=5,
        batch_size=4,
        accumulation_steps=2,
        drop_last=False,
        scores=scored.scores_digest,
        stages=requests,
    )
    longest = max(q for x in layouts for q, _ in x.lengths)
    losses, model = (make_masked(),), make_language_model()
    first, segments = 0, []
    for request, x in zip(requests, layouts, strict=True):
        segments.append(
            make_segment(
                model,
                first_step=first,
                stop_step=first + len(x.lengths),
                epochs=request.epochs,
                rows=x.rows,
                steps_per_epoch=x.steps_per_epoch,
                selection=request.selection,
                transition_epochs=request.transition_epochs,
                loss_weights={losses[0].name: 1.0},
                masking=MaskingRange(minimum=0.2, maximum=0.6),
                mined=False,
            )
        )
        first += len(x.lengths)
    plan = make_plan(
        losses=losses,
        model=model,
        segments=tuple(segments),
        seed=5,
        tokenizer=tokenizer,
        data={
            "source": source,
            "scan": found,
            "max_query_length": LENGTH,
            "max_positive_length": 0,
        },
        train={
            "batch_size": 4,
            "micro_batch_size": 4,
            "accumulation_steps": 2,
            "total_steps": first,
            "buckets": ((16, 0), (longest, 0)),
        },
    )
    rows = with_scores(rows_of(found.rows_digest), scored.scores_digest)
    return Made(plan, ensure_tokens(plan.data, tokenizer), rows, layouts)


def chosen_by(made: Made, index: int) -> np.ndarray:
    return select(made.rows.training, made.plan.segments[index].selection)


def test_a_batch_has_one_side_of_the_promised_shapes(made: Made) -> None:
    batches = Batches(made.plan, made.tokens, made.rows)
    traces = {trace.name: trace for trace in made.plan.traces}
    seen: set[str] = set()
    for step in range(made.plan.train.total_steps):
        name, batch = batches.at(step)
        promised = abstract_batch(made.plan, traces[name])
        assert batch.positive_ids is None
        assert batch.positive_mask is None
        for array, wanted in zip(batch, promised, strict=True):
            assert (array is None) == (wanted is None)
            if array is not None:
                assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        assert batch.query_mask.any(axis=2).all()
        assert (batch.query_ids[~batch.query_mask] == made.plan.tokenizer.pad_id).all()
        seen.add(name)
    assert len(seen) > 1


def test_a_row_is_its_own_tokens_and_they_are_its_text(made: Made) -> None:
    encoder = load(made.plan.tokenizer)
    _, batch = Batches(made.plan, made.tokens, made.rows).at(3)
    for at in np.ndindex(batch.row.shape):
        row = int(batch.row[at])
        ids = batch.query_ids[at][batch.query_mask[at]].tolist()
        assert ids == made.tokens.training.queries[row].tolist()
        [wanted] = encoder.encode(encoder.separated([made.rows.training.queries[row]]), LENGTH)
        assert ids == wanted.tolist()


def test_what_is_stored_is_stored_once(made: Made) -> None:
    assert made.tokens.training.positives is made.tokens.training.queries
    assert made.rows.validation.positives is made.rows.validation.queries
    folder = cache.find("rows", made.rows.digest)
    assert folder is not None
    assert not list(folder.glob("*positives*"))
    made_of = [path for path in cache.cache_root().glob("tokens/*/*") if "positives" in path.name]
    assert made_of == []


def test_the_layout_says_what_the_batches_are(made: Made) -> None:
    batches = Batches(made.plan, made.tokens, made.rows)
    assert all(positive == 0 for x in made.layouts for _, positive in x.lengths)
    promised = [query for x in made.layouts for query, _ in x.lengths]
    found = [int(batches.at(i)[1].query_mask.sum(2).max()) for i in range(len(promised))]
    assert found == promised


def test_each_stage_takes_rows_of_its_format(made: Made) -> None:
    numbers = made.rows.training.fields["format"]
    counts = {x.format: x.training_rows for x in made.plan.data.scan.formats}
    assert len(chosen_by(made, 0)) == cut(33, counts["sentences"])
    assert set(numbers[chosen_by(made, 0)]) == {0.0}
    assert len(chosen_by(made, 1)) == counts["pairs"]
    assert set(numbers[chosen_by(made, 1)]) == {1.0}
    assert set(numbers[chosen_by(made, 2)]) == {2.0}
    assert len(chosen_by(made, 3)) == sum(counts.values())
    batches = Batches(made.plan, made.tokens, made.rows)
    for index in (0, 2):
        segment = made.plan.segments[index]
        for step in range(segment.first_step, segment.stop_step):
            batch = batches.at(step)[1]
            assert set(numbers[batch.row[batch.weight == 1]]) == {float(index)}


def test_a_transition_mixes_the_formats_of_two_stages(made: Made) -> None:
    numbers = made.rows.training.fields["format"]
    segment = made.plan.segments[1]
    batches = Batches(made.plan, made.tokens, made.rows)
    seen = [batches.at(step)[1] for step in range(segment.first_step, segment.stop_step)]
    rows = np.concatenate([batch.row[batch.weight == 1] for batch in seen])
    assert set(numbers[rows]) == {0.0, 1.0}
    easy_rows = set(chosen_by(made, 0).tolist())
    assert set(rows[numbers[rows] == 0].tolist()) <= easy_rows


def test_the_easy_third_of_the_sentences_is_the_least_difficult(made: Made) -> None:
    fields = made.rows.training.fields
    sentences = np.flatnonzero(fields["format"] == 0)
    easy_rows = chosen_by(made, 0)
    rest = np.setdiff1d(sentences, easy_rows)
    assert fields[SCORE][easy_rows].max() <= fields[SCORE][rest].min()
    for number in range(3):
        own = np.sort(fields[RANK][fields["format"] == number])
        assert own.tolist() == list(range(len(own))), "ranks are within a format"


def test_the_classes_are_counted_within_the_formats(made: Made) -> None:
    found = score(made.rows.digest, SETTINGS, 33, 67)
    counts = [x.training_rows for x in made.plan.data.scan.formats]
    assert found.easy_rows == sum(cut(33, n) for n in counts)
    assert found.easy_rows + found.medium_rows + found.hard_rows == sum(counts)
    assert sum(found.held_out) == made.plan.data.scan.validation_rows
    scores, numbers = made.rows.training.fields[SCORE], made.rows.training.fields["format"]
    hardest = [np.sort(scores[numbers == i])[cut(33, n) - 1] for i, n in enumerate(counts)]
    assert found.easy_score == max(hardest)


def test_any_order_of_access_gives_the_same_bytes(made: Made) -> None:
    def bytes_of(batch: Batch) -> list[bytes]:
        return [array.tobytes() for array in batch if array is not None]

    total = made.plan.train.total_steps
    forward = Batches(made.plan, made.tokens, made.rows)
    wanted = [bytes_of(forward.at(step)[1]) for step in range(total)]
    again = Batches(made.plan, ensure_tokens(made.plan.data, made.plan.tokenizer), made.rows)
    for step in np.random.default_rng(0).permutation(total).tolist():
        assert bytes_of(again.at(step)[1]) == wanted[step]


@pytest.mark.parametrize("separator", ["[SEP]", "</s>", None])
def test_a_pair_has_the_separator_of_its_tokenizer(tmp_path: Path, separator: str | None) -> None:
    (tmp_path / "a.txt").write_text("one two. Three four.")
    source = make_text_source(str(tmp_path), formats=("pairs",))
    found = scan(source, None, "skip")
    words = ["[UNK]", "[PAD]", "one", "two", ".", "Three", "four", "[", "SEP", "]"]
    inner = Inner(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if separator is not None:
        inner.add_special_tokens([separator])
    path = tmp_path / "tokenizer.json"
    inner.save(str(path))
    plan = prepare(TokenizerFile(path=str(path)), found.rows_digest)
    ids = tokens_of(found.rows_digest, plan, 16, 0).training.queries[0].tolist()
    between = [len(words)] if separator else []
    assert ids == [2, 3, 4, *between, 5, 6, 4]


def test_a_trained_tokenizer_does_not_learn_the_mark_between_sentences(tmp_path: Path) -> None:
    text = "\n\n".join(f"Number {i} rests. It sleeps." for i in range(50))
    (tmp_path / "a.txt").write_text(text)
    found = scan(make_text_source(str(tmp_path), formats=("pairs",)), None, "skip")
    source = TrainedTokenizer(
        vocab_size=400, min_frequency=2, lowercase=False, split_identifiers=False
    )
    vocabulary = Inner.from_str(load(prepare(source, found.rows_digest)).json_text).get_vocab()
    assert "Number" in vocabulary
    assert not any("SE" in token and token != "[SEP]" for token in vocabulary)


def test_bm25_has_nothing_to_find(made: Made) -> None:
    with pytest.raises(InputError, match="texts alone"):
        score_plan(made.plan)
