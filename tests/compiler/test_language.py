"""Language models in the compiler: configuration, counts, and names that say another size."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest

from specrun.compiler.draft import Context, Draft
from specrun.compiler.front import load
from specrun.compiler.passes.language import both_counts, guide_count, size_as_named
from specrun.compiler.passes.scratch import masked_lm
from specrun.runtime.models.tables import rows
from specrun.spec.plan.networks import TextEncoderConfig
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.tokenizer import TrainTokenizer
from tests.compiler.fakes import FakeFacts, ListReport
from tests.compiler.test_passes import spec

GUIDE = masked_lm(MaskedLmModel(), 25000)


def total(config: TextEncoderConfig) -> int:
    return sum(prod(row.shape) for row in rows(config))


def test_the_guides_model_has_the_guides_numbers() -> None:
    assert (GUIDE.hidden_size, GUIDE.num_hidden_layers, GUIDE.num_attention_heads) == (768, 12, 12)
    assert (GUIDE.intermediate_size, GUIDE.hidden_act, GUIDE.norm) == (2048, "swiglu", "rmsnorm")
    assert (GUIDE.layer_norm_eps, GUIDE.position_embedding, GUIDE.bias) == (1e-6, "rotary", False)
    assert (GUIDE.hidden_dropout_prob, GUIDE.attention_probs_dropout_prob) == (0.1, 0.1)
    assert (GUIDE.initializer_range, GUIDE.vocabulary_head, GUIDE.pooling) == (0.02, "own", "none")


def test_both_counts_of_the_guides_model() -> None:
    assert guide_count(GUIDE) == 104_189_952
    assert total(GUIDE) == 123_353_856
    assert both_counts(GUIDE, total(GUIDE)) == (
        "4lh² + 3lh·hf + 6lh + Vh is 104,189,952; +19,200,000 for the head's own matrix, "
        "-36,096 as the blocks' matrices and vectors, norms and positions really are: 123,353,856"
    )


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        ({"tie_word_embeddings": True}, -25000 * 768),
        ({"position_embedding": "learned"}, 512 * 768),
        ({"position_embedding": "sinusoidal"}, 0),
        ({"hidden_act": "gelu"}, -12 * 768 * 2048),
        ({"hidden_act": "relu"}, -12 * 768 * 2048),
        ({"norm": "layernorm"}, 0),
        ({"bias": True}, 12 * (4 * 768 + 2 * 2048 + 768) + 25000),
        (
            {"bias": True, "norm": "layernorm"},
            12 * (6 * 768 + 2 * 2048 + 768) + 768 + 25000,
        ),
    ],
)
def test_what_each_word_adds(words: dict[str, Any], difference: int) -> None:
    assert total(masked_lm(MaskedLmModel(**words), 25000)) - total(GUIDE) == difference


def test_what_a_tied_head_leaves_out() -> None:
    tied = masked_lm(MaskedLmModel(tie_word_embeddings=True), 25000)
    assert "own matrix" not in both_counts(tied, total(tied))
    assert both_counts(tied, total(tied)).endswith(": 104,153,856")


@pytest.mark.parametrize(
    ("name", "count"),
    [("tiny_125m", 123_353_856), ("small_350m", 256_754_688), ("mini", 5_261_568)],
)
def test_the_presets_of_sizes(name: str, count: int) -> None:
    text = "version: 1\nextends: [%s]\ndata: {kind: text, path: corpus}\ntrain: {epochs: 1}\n"
    loaded = load(text % name, environ={}, local={})
    assert loaded.diagnostics == ()
    model, tokenizer = loaded.require().model, loaded.require().tokenizer
    assert isinstance(model, MaskedLmModel)
    assert isinstance(tokenizer, TrainTokenizer)
    assert total(masked_lm(model, tokenizer.vocab_size)) == count


def warned(tmp_path: Path, model: MaskedLmModel, **changes: Any) -> list[str]:
    report = ListReport()
    context = Context(facts=FakeFacts(), report=report, folder=tmp_path, local={})
    draft = Draft(spec=spec(model=model, **changes))
    config = masked_lm(model, 25000)
    size_as_named(draft, rows(config), context)
    assert report.found == [], "before a tokenizer is there, the size is not known"
    known = Draft(spec=draft.spec, tokenizer=FakeFacts().tokenizer(None, None))  # type: ignore[arg-type]
    size_as_named(known, rows(config), context)
    assert {severity for severity, *_ in report.found} <= {"warning"}
    return [path for _, path, code in report.found if code == "other-size"]


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("tiny-125m", []),
        ("diffusion_125M.2", []),
        ("small-350m", ["name"]),
        ("0.1b", ["name"]),
        ("0.12B", []),
        ("v125moe", []),
        ("run", []),
    ],
)
def test_a_name_that_says_another_size(tmp_path: Path, name: str, paths: list[str]) -> None:
    assert warned(tmp_path, MaskedLmModel(), name=name) == paths


def test_a_preset_whose_name_says_another_size(tmp_path: Path) -> None:
    extends = ("fast_debug", "small_350m", "somewhere/tiny_125m.yaml")
    found = warned(tmp_path, MaskedLmModel(), extends=extends)
    assert found == ["extends[1]"]
    tied = MaskedLmModel(tie_word_embeddings=True)  # 104 million
    assert warned(tmp_path, tied, extends=("tiny_125m",)) == ["extends[0]"]
