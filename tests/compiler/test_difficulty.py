"""Mistakes about the difficulty of rows, each told at its place, and the names that other tools have for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import specrun
from specrun.compiler.front import load
from specrun.compiler.migrate.migrate import migrate
from specrun.spec.diagnostics import Diagnostic, InputError

HEAD = """\
version: 1
model: {kind: text_encoder, hidden_size: 8, num_hidden_layers: 0, position_embedding: none}
tokenizer: {kind: train, vocab_size: 300}
losses: [{kind: infonce}]
train: {batch_size: 8}
"""
DATA = "data: {kind: jsonl, path: rows.jsonl, difficulty: {%s}}\n"
STAGES = "curriculum: {stages: [{name: a, select: easy}]}\n"
EVEN = "weights: {lexical: 0.5, syntactic: 0.5, centrality: 0}"


def mistakes(text: str) -> list[Diagnostic]:
    return [d for d in load(HEAD + text, environ={}, local={}).diagnostics if d.severity == "error"]


def test_a_good_spec_has_none() -> None:
    assert mistakes(DATA % EVEN + STAGES) == []


PLAIN = "curriculum: {stages: [{name: a}]}\n"
BY = "curriculum: {stages: [{name: a, select: {percentile: %s}}]}\n"
MISTAKES = [
    ("", STAGES, "no-encoder", "difficulty: {", "centrality` is 0.4"),
    (
        "weights: {lexical: 0.9, centrality: 0}",
        STAGES,
        "weights-sum",
        "{lexical",
        "lexical 0.9, syntactic 0.3 and centrality 0 are 1.2",
    ),
    ("weights: {lexical: 2, centrality: 0}", STAGES, "out-of-range", "2, cen", "at most 1"),
    (f"{EVEN}, easy_below: 67", STAGES, "thresholds-order", "67", "easy_below < hard_above"),
    (f"{EVEN}, easy_below: 0", STAGES, "out-of-range", "0}}", "above 0"),
    (f"{EVEN}, hard_above: 100", STAGES, "out-of-range", "100", "below 100"),
    (f"{EVEN}, readability: [flesh]", STAGES, "not-allowed", "flesh", "did you mean `flesch`?"),
    (f"{EVEN}, readability: []", STAGES, "too-few-items", "[]", "at least 1"),
    (f"{EVEN}, readability: [flesch, flesch]", STAGES, "duplicate-item", "flesch]", "repeats"),
    (f"{EVEN}, clusters: 4", STAGES, "no-effect", "clusters", "weights.centrality` is 0"),
    (
        f"{EVEN}, embedding: {{kind: run, run: x}}",
        STAGES,
        "no-effect",
        "embedding",
        "weights.centrality` is 0",
    ),
    (
        "weights: {lexical: 0, syntactic: 1, centrality: 0}, idf_corpus_size: 9",
        STAGES,
        "no-effect",
        "idf_corpus_size",
        "weights.lexical` is 0",
    ),
    (
        "weights: {lexical: 1, syntactic: 0, centrality: 0}, readability: [flesch]",
        STAGES,
        "no-effect",
        "readability",
        "weights.syntactic` is 0",
    ),
    (EVEN, PLAIN, "no-effect", "difficulty: {", "no stage selects by it"),
    (EVEN, BY % "[80, 20]", "empty-range", "[80", "[20, 80]"),
    (EVEN, BY % "[20]", "empty-range", "[20]", "two numbers"),
    (EVEN, BY % "[1, 2], min: 3", "two-selections", "[1, 2]", "`percentile` and `min`"),
    (EVEN, "curriculum: {stages: [{name: a, select: eassy}]}\n", "not-allowed", "eassy", "`easy`"),
]


@pytest.mark.parametrize(("difficulty", "rest", "code", "at", "said"), MISTAKES)
def test_a_mistake_is_told_at_its_place(
    difficulty: str, rest: str, code: str, at: str, said: str
) -> None:
    """``at`` is the text that begins where the mistake is shown."""
    text = HEAD + DATA % difficulty + rest
    [found] = mistakes(DATA % difficulty + rest)
    before = text[: text.rindex(at)]
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert (found.code, (found.line, found.column)) == (code, place)
    assert said in f"{found.message} {found.hint}"


@pytest.mark.parametrize("select", ["easy", "medium", "hard", "{percentile: [0, 50]}"])
def test_classes_need_scores(select: str) -> None:
    [found] = mistakes(
        "data: {kind: jsonl, path: rows.jsonl}\n"
        f"curriculum: {{stages: [{{name: a, select: {select}}}]}}\n"
    )
    assert (found.code, found.line) == ("not-scored", 7)
    assert "write `difficulty:" in found.hint


def test_all_needs_none() -> None:
    stage = "curriculum: {stages: [{name: a, select: all}, {name: b, select: null}, {name: c}]}\n"
    assert mistakes("data: {kind: jsonl, path: rows.jsonl}\n" + stage) == []


@pytest.mark.parametrize(
    ("mode", "text", "told"),
    [
        ("t2i", "positive", "`text: query`"),
        ("i2t", "query", "`text: positive`"),
        ("i2i", "query", "remove it"),
    ],
)
def test_images_are_not_scored(mode: str, text: str, told: str) -> None:
    data = f"data: {{kind: jsonl, path: rows.jsonl, retrieval_mode: {mode}, difficulty: {{text: {text}, {EVEN}}}}}\n"
    found = [d for d in mistakes(data + STAGES) if d.code == "not-a-text"]
    assert [d.path for d in found] == ["data.difficulty.text"]
    assert told in found[0].hint


def test_emoji_have_no_scores() -> None:
    found = mistakes(f"data: {{kind: emoji, difficulty: {{{EVEN}}}}}\n")
    assert "unknown-key" in {d.code for d in found}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECRUN_CACHE", str(tmp_path / "cache"))
    rows = [{"query": f"q {i}", "positive": f"text {i}", "difficulty_rank": i} for i in range(30)]
    (tmp_path / "taken.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for row in rows:
        row["level"] = row.pop("difficulty_rank")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def refused(text: str, *overrides: str) -> list[tuple[str, str]]:
    with pytest.raises(InputError) as found:
        specrun.compile(HEAD + text, overrides=overrides, environ={})
    return [(d.path, d.code) for d in found.value.diagnostics if d.severity == "error"]


def test_what_only_the_data_shows(there: Path) -> None:
    central = DATA % "clusters: 31, embedding: {kind: run, run: nothing}" + STAGES
    assert refused(central) == [("data.difficulty.embedding.run", "no-run")]
    assert refused(DATA % EVEN + STAGES, "train.batch_size=16") == [
        ("curriculum.stages[0].select", "stage-too-small")
    ]
    few = "curriculum: {stages: [{name: a, select: {percentile: [50, 51]}}]}\n"
    assert refused(DATA % EVEN + few) == [("curriculum.stages[0].select", "empty-stage")]
    assert refused((DATA % EVEN).replace("rows.jsonl", "taken.jsonl") + STAGES) == [
        ("data.difficulty", "reserved-field")
    ]
    (there / "broken").mkdir()
    (there / "broken/config.json").write_text("{")
    broken = DATA % "embedding: {kind: pretrained, name_or_path: broken}" + STAGES
    [(path, _)] = refused(broken)
    assert path == "data.difficulty.embedding.name_or_path"
    unknown = DATA % "embedding: {kind: pretrained, name_or_path: no/where}" + STAGES
    assert refused(unknown) == [("data.difficulty.embedding.name_or_path", "model-not-found")]


def test_fields_of_difficulty_may_be_selected_by(there: Path) -> None:
    stage = "curriculum: {stages: [{name: a, select: {field: difficulty, min: 0.2}}]}\n"
    assert [d for d in specrun.check(HEAD + DATA % EVEN + stage) if d.severity == "error"] == []
    plan = specrun.compile(HEAD + DATA % EVEN + stage, environ={})
    assert 0 < plan.segments[0].rows <= 30
    stage = "curriculum: {stages: [{name: a, select: {field: difficulty_centrality, min: 0.2}}]}\n"
    assert refused(DATA % EVEN + stage) == [("curriculum.stages[0].select.field", "unknown-field")]


OLD = """\
data_dir: rows.jsonl
d_model: 64
n_layers: 1
n_heads: 2
max_seq_len: 64
batch_size: 8
lexical_weight: 0.2
syntactic_weight: 0.3
centrality_weight: 0.5
easy_threshold: 30.0
hard_threshold: 70.0
n_clusters: 4
embedding_model: sentence-transformers/all-MiniLM-L6-v2
idf_corpus_size: 5000
readability_metrics: [flesch, coleman_liau]
curriculum:
  stages:
    - {name: one, epochs: 2, data_selection: easy, format_type: sentences}
    - {name: two, epochs: 1, data_selection: all}
"""


def test_the_guides_keys_are_migrated(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    made = migrate(tmp_path / "old.yaml", "retnet-hrm")
    for line in (
        "lexical: 0.2",
        "syntactic: 0.3",
        "centrality: 0.5",
        "easy_below: 30.0",
        "hard_above: 70.0",
        "clusters: 4",
        "kind: pretrained",
        "name_or_path: sentence-transformers/all-MiniLM-L6-v2",
        "idf_corpus_size: 5000",
        "select: easy",
        "select: all",
    ):
        assert line in made.text, line
    assert [left.name for left in made.unmet if "stages" in left.name] == ["stages[0].format_type"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lexical_weight", "data.difficulty.weights.lexical"),
        ("easy_threshold", "data.difficulty.easy_below"),
        ("hard_threshold", "data.difficulty.hard_above"),
        ("n_clusters", "data.difficulty.clusters"),
        ("embedding_model", "data.difficulty.embedding"),
        ("readability_metrics", "data.difficulty.readability"),
        ("complexity_weights", "data.difficulty.weights"),
    ],
)
def test_the_guides_names_are_answered(old: str, new: str) -> None:
    [found] = mistakes(DATA % f"{EVEN}, {old}: 1" + STAGES)
    assert found.code == "renamed-key"
    assert f"`{new}`" in found.message
