"""The editor schema against the real yaml-language-server: what a user sees while typing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.editor.lsp import ROOT, Client, Document, find_server

COMMAND, REASON = find_server()
pytestmark = [pytest.mark.editor, pytest.mark.skipif(COMMAND is None, reason=REASON)]

MODELINE = "# yaml-language-server: $schema=../../schemas/experiment.schema.json\n"
HEAD = """\
version: 1
model: {kind: text_encoder}
data: {kind: python_source, roots: [stdlib]}
"""
BODY = HEAD + "losses: [{kind: infonce}]\n"
NAMES = (f"scene{number}.yaml" for number in itertools.count())

Open = Callable[[str], Document]


@pytest.fixture(scope="module")
def editor() -> Iterator[Open]:
    assert COMMAND is not None
    client = Client(COMMAND, ROOT / "tests" / "editor")
    try:
        yield lambda text: client.open(next(NAMES), MODELINE + text)
    finally:
        client.close()


def at_end(document: Document) -> list[dict[str, Any]]:
    """The completions where the text ends."""
    lines = document.text.split("\n")
    return document.complete(len(lines), len(lines[-1]) + 1)


def labels(items: list[dict[str, Any]]) -> list[str]:
    return [item["label"] for item in items]


def inserted(items: list[dict[str, Any]], label: str) -> str:
    [item] = [item for item in items if item["label"] == label]
    return item["textEdit"]["newText"] if "textEdit" in item else item["insertText"]


def docs(items: list[dict[str, Any]], label: str) -> str:
    [item] = [item for item in items if item["label"] == label]
    doc = item.get("documentation", "")
    return doc["value"] if isinstance(doc, dict) else doc


def test_a_good_spec_has_no_problems(editor: Open) -> None:
    document = editor(BODY + "lora: null\nevaluation: {}\nschedule: {kind: linear}\n")
    assert document.messages() == []


def test_an_empty_kind_offers_all_kinds_with_their_meaning(editor: Open) -> None:
    items = at_end(editor("version: 1\nschedule:\n  kind: "))
    assert labels(items) == [
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
    ]
    assert docs(items, "linear") == "Linear warm-up, then linear decay to 0."


def test_under_a_kind_only_its_keys_are_offered(editor: Open) -> None:
    items = at_end(editor(HEAD + "losses:\n  - kind: infonce\n    "))
    assert labels(items) == [
        "temperature",
        "train_temperature",
        "negatives",
        "symmetric",
        "false_negatives",
        "name",
        "weight",
    ]
    assert inserted(items, "temperature") == "temperature: ${1:0.07}"
    items = at_end(editor("version: 1\nmodel:\n  kind: bert\n  "))
    assert "name_or_path" in labels(items)
    assert "hidden_size" not in labels(items)


def test_a_new_item_of_a_list_offers_ready_items(editor: Open) -> None:
    for text in ("losses:\n  - ", "losses:\n  - kind: infonce\n  - "):
        items = at_end(editor(HEAD + text))
        assert inserted(items, "infonce") == "kind: infonce"
        assert labels(items).count("infonce") == 1


def test_a_section_without_a_kind_offers_ready_ones(editor: Open) -> None:
    items = at_end(editor("version: 1\nmodel:\n  "))
    assert labels(items)[:2] == ["text_encoder", "bert"]
    assert inserted(items, "bert") == "kind: bert\nname_or_path: ${1:models/all-MiniLM-L6-v2}"


def test_a_wrong_key_is_named(editor: Open) -> None:
    document = editor(HEAD + "losses:\n  - kind: infonce\n    temprature: 3\n")
    assert document.messages() == [(7, "Property temprature is not allowed.")]
    document = editor(BODY + "optimizer: {learning_rat: 3}\n")
    assert document.messages() == [(6, "Property learning_rat is not allowed.")]


def test_an_unknown_kind_lists_all_kinds(editor: Open) -> None:
    [(line, message)] = editor(BODY + "schedule: {kind: cosin}\n").messages()
    assert line == 6
    for kind in ("constant", "linear", "cosine", "cosine_with_restarts"):
        assert f'"{kind}"' in message


def test_missing_keys_are_named_where_they_are_missing(editor: Open) -> None:
    document = editor("version: 1\nmodel: {kind: bert}\nlosses: [{kind: infonce}]\n")
    assert document.messages() == [
        (2, 'Missing property "data".'),
        (3, 'Missing property "name_or_path".'),
    ]
    assert editor(BODY + "lora: {}\n").messages() == [(6, 'Missing property "target_modules".')]


def test_a_stage_knows_its_keys(editor: Open) -> None:
    stage = "curriculum:\n  stages:\n    - name: a\n      "
    assert set(labels(at_end(editor(BODY + stage)))) == {
        "epochs",
        "select",
        "loss_weights",
        "learning_rate_scale",
        "trainable",
        "reset_optimizer",
        "transition_epochs",
        "schedule",
        "advance",
        "masking_rate",
        "mining",
        "format",
        "pseudo_data",
    }
    document = editor(BODY + stage + "loss_weights: {infonce: -1}\n      epoch: 3\n")
    messages = document.messages()
    assert [line for line, _ in messages] == [9, 10]
    assert "below the minimum" in messages[0][1]
    assert editor(BODY + stage + "select: {field: difficulty, min: 0.2}\n").messages() == []
    assert editor(BODY + stage + "select: medium\n").messages() == []
    [(line, message)] = editor(BODY + stage + "select: {feild: x}\n").messages()
    assert (line, message) == (9, "Property feild is not allowed.")
    [(line, message)] = editor(BODY + stage + "select: esay\n").messages()
    assert line == 9
    assert '"easy"' in message


def test_a_stage_offers_the_classes_of_difficulty(editor: Open) -> None:
    stage = "curriculum:\n  stages:\n    - name: a\n      select: "
    offered = labels(at_end(editor(BODY + stage)))
    assert [x for x in offered if x != "null"] == ["all", "easy", "medium", "hard"]
    inside = "data:\n  kind: jsonl\n  path: a.jsonl\n  difficulty:\n    "
    assert set(labels(at_end(editor("version: 1\n" + inside)))) == {
        "text",
        "weights",
        "idf_corpus_size",
        "readability",
        "clusters",
        "embedding",
        "easy_below",
        "hard_above",
    }


def test_with_extends_nothing_is_missing_and_keys_are_still_judged(editor: Open) -> None:
    text = "extends: [search_small]\ntrain: {epochs: 3, batch: 4}\nmodel: {kind: bert}\n"
    assert editor(text).messages() == [(3, "Property batch is not allowed.")]


def test_items_of_lists_are_whole_also_with_extends(editor: Open) -> None:
    assert editor("extends: []\nlosses: [{weight: 1}]\n").messages() == [
        (3, 'Missing property "kind".')
    ]


def test_the_root_offers_each_section_once(editor: Open) -> None:
    found = labels(at_end(editor(BODY)))
    assert len(found) == len(set(found))
    assert {"lora", "train", "evaluation", "extends"} <= set(found)
    assert not {"lora_r", "bf16", "$schema", "losses"} & set(found)


def test_foreign_names_are_answered_with_the_right_ones(editor: Open) -> None:
    text = (
        "lora_r: 8\nbf16: true\ntrain: {num_train_epochs: 3}\nlora: {r: 3, target_modules: [a]}\n"
    )
    assert editor(BODY + text).messages() == [
        (6, "`lora_r` is now `lora.rank`"),
        (
            7,
            "`bf16` is now `precision.compute` (`compute: bfloat16`; weights and optimizer stay in float32)",
        ),
        (
            8,
            "`num_train_epochs` is now `train.epochs` (a whole number; `train.max_steps` ends within an epoch)",
        ),
        (9, "`r` is now `lora.rank`"),
    ]


def test_micro_diffusions_names_are_answered_in_a_language_model(editor: Open) -> None:
    text = (
        "version: 1\nmodel: {kind: masked_lm, d_model: 16}\ntokenizer: {kind: train}\n"
        "data: {kind: text, path: a, max_sentence_length: 9}\nlosses: [{kind: masked_diffusion}]\n"
        "curriculum:\n  stages:\n    - {name: a, epochs: 2, data_selection: all, format_type: pairs}\n"
    )
    assert editor(text).messages() == [
        (3, "`d_model` is now `model.hidden_size`"),
        (5, "`max_sentence_length` is now `data.max_chars` (of `kind: text`; a longer one is cut)"),
        (9, "`data_selection` is now `curriculum.stages[].select`"),
        (9, "`format_type` is now `curriculum.stages[].format`"),
    ]


@pytest.mark.parametrize("value", ["", "null", "8", "text", "true", "[a]", "{a: 1}", "1.5"])
def test_a_foreign_name_is_answered_once_whatever_its_value(editor: Open, value: str) -> None:
    assert editor(f"{BODY}lora_r: {value}\n").messages() == [(6, "`lora_r` is now `lora.rank`")]


def test_a_foreign_name_is_not_offered(editor: Open) -> None:
    assert not {"lora_r", "d_model", "trainer"} & set(labels(at_end(editor(BODY))))
    assert labels(at_end(editor(f"{BODY}lora_r: "))) == ["see the message at this key"]


def test_words_out_of_place_and_reasons_are_told(editor: Open) -> None:
    text = "lora: {target_modules: [a], use_dora: true}\ntrain: {patience: 3}\nfsdp: full\n"
    assert editor(BODY + text).messages() == [
        (
            6,
            "`use_dora` is not in this version: LoRA is plain, or rank-stabilised with `lora.rslora`",
        ),
        (7, "`patience` is now `evaluation.early_stopping.patience` (in evaluations)"),
        (
            8,
            "`fsdp` is not in this version: one process drives all devices of the plan, and each holds the whole state",
        ),
    ]


def test_a_hover_says_meaning_range_and_default(editor: Open) -> None:
    hover = editor(HEAD + "losses:\n  - kind: infonce\n    temperature: 3\n").hover(7, 7)
    assert "Divides the cosines" in hover
    assert "> 0, ≤ 100; default `0.07`." in hover
    assert "#### infonce" in hover


def test_types_and_ranges_are_judged(editor: Open) -> None:
    document = editor(BODY + "seed: -1\ntrain: {batch_size: 1.5, drop_last: yes}\n")
    lines = [line for line, _ in document.messages()]
    assert lines == [6, 7, 7]


def test_null_is_fine_where_it_switches_off_and_nowhere_else(editor: Open) -> None:
    assert editor(BODY + "lora: null\ncurriculum: null\n").messages() == []
    assert [line for line, _ in editor(BODY + "train: null\n").messages()] == [6]


def test_a_new_data_section_offers_every_format(editor: Open) -> None:
    items = at_end(editor("version: 1\ndata:\n  "))
    kinds = ["python_source", "jsonl", "csv", "tsv", "parquet", "huggingface"]
    assert labels(items)[:6] == kinds
    assert inserted(items, "csv") == "kind: csv\npath: ${1:train.csv}"
    assert inserted(items, "huggingface") == "kind: huggingface\npath: ${1:train_dataset}"
    items = at_end(editor("version: 1\ndata:\n  kind: csv\n  "))
    assert "delimiter" in labels(items)
    assert "split" not in labels(items)
    assert "roots" not in labels(items)


def test_columns_and_held_out_splits_are_offered_where_they_belong(editor: Open) -> None:
    items = at_end(editor("version: 1\ndata:\n  kind: tsv\n  path: a\n  columns:\n    "))
    assert labels(items) == [
        "query",
        "query_image",
        "positive",
        "negatives",
        "label",
        "score",
        "negative_scores",
    ]
    for kind, offered in (("parquet", False), ("huggingface", True)):
        head = f"version: 1\ndata:\n  kind: {kind}\n  path: a\n  validation:\n    "
        items = at_end(editor(head))
        assert ("split" in labels(items)) == offered
        assert inserted(items, "file") == "kind: file\npath: ${1:val.jsonl}"
