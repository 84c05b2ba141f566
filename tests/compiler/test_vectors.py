"""Each loss gets the vectors it compares, and each output of a model is trained by one."""

from __future__ import annotations

import pytest

from tests.compiler.test_semantics import BASE, found

BOTH = "{kind: text_encoder, multi_vector: {dim: 128}}"
COMPOSED = "{kind: composed, text: {kind: text_encoder}, image: {kind: image_encoder}}"
ALONE = "{kind: text_encoder, pooling: none}"
MINED = "{kind: mined, refresh_every_steps: 5}"
DATA = BASE["data"]


@pytest.mark.parametrize(
    "sections",
    [
        {"model": ALONE, "losses": "[{kind: colbert}]"},
        {
            "model": BOTH,
            "losses": "[{kind: colbert, reduce: sum, temperature: 1}, {kind: triplet}]",
        },
        {
            "model": BOTH,
            "losses": "[{kind: colbert}, {kind: infonce}]",
            "matryoshka": "{dims: [128, 64]}",
            "evaluation": "{select_best: multi_vector/mrr@10 at 64}",
        },
        {
            "model": BOTH,
            "losses": "[{kind: colbert}, {kind: infonce}]",
            "data": DATA.replace("}}", f"}}, negatives: {MINED}}}"),
        },
    ],
)
def test_token_vectors_alone_and_beside_an_embedding(sections: dict[str, str]) -> None:
    assert found(**sections) == []


@pytest.mark.parametrize(
    ("sections", "code", "path"),
    [
        ({"losses": "[{kind: colbert}]"}, "no-token-vectors", "losses[0].kind"),
        ({"model": ALONE}, "no-pooled-vector", "losses[0].kind"),
        (
            {"model": ALONE, "losses": "[{kind: colbert}, {kind: siglip}]"},
            "no-pooled-vector",
            "losses[1].kind",
        ),
        (
            {
                "model": "{kind: text_encoder, pooling: none, multi_vector: {dim: 8}}",
                "losses": "[{kind: colbert}]",
            },
            "no-effect",
            "model.multi_vector",
        ),
        ({"model": BOTH}, "untrained-output", "model.multi_vector"),
        ({"model": BOTH, "losses": "[{kind: colbert}]"}, "untrained-output", "model.multi_vector"),
        (
            {
                "model": ALONE,
                "losses": "[{kind: colbert}, {kind: colbert, name: b, reduce: sum}]",
            },
            "reduce-disagrees",
            "losses[1].reduce",
        ),
        (
            {
                "model": BOTH,
                "losses": "[{kind: colbert}, {kind: infonce}]",
                "matryoshka": "{dims: [256, 64]}",
            },
            "dim-above-width",
            "matryoshka.dims[0]",
        ),
        (
            {
                "model": ALONE,
                "losses": "[{kind: colbert}]",
                "data": DATA.replace("}}", f"}}, negatives: {MINED}}}"),
            },
            "no-pooled-vector",
            "data.negatives",
        ),
        (
            {
                "model": ALONE,
                "losses": "[{kind: colbert}]",
                "evaluation": "{select_best: multi_vector/mrr@10}",
            },
            "unknown-metric",
            "evaluation.select_best",
        ),
        (
            {
                "model": BOTH,
                "losses": "[{kind: colbert}, {kind: infonce}]",
                "evaluation": "{select_best: multi_vector/mrr@10 at 64}",
            },
            "unknown-dimension",
            "evaluation.select_best",
        ),
        (
            {"model": COMPOSED.replace("}, image", ", pooling: none}, image")},
            "no-token-vectors",
            "model.text.pooling",
        ),
        (
            {"model": COMPOSED.replace("}, image", ", multi_vector: {}}, image")},
            "no-token-vectors",
            "model.text.multi_vector",
        ),
        ({"losses": "[{kind: dense_late_kl}]"}, "no-token-vectors", "losses[0].kind"),
        (
            {"model": ALONE, "losses": "[{kind: dense_late_kl}]"},
            "no-pooled-vector",
            "losses[0].kind",
        ),
        (
            {
                "model": BOTH,
                "losses": "[{kind: colbert}, {kind: dense_late_kl, reduce: sum}]",
            },
            "reduce-disagrees",
            "losses[1].reduce",
        ),
        (
            {"model": ALONE, "losses": "[{kind: colbert, negatives: all}]"},
            "no-negatives",
            "losses[0].negatives",
        ),
        (
            {"model": ALONE, "losses": "[{kind: colbert, temperature: 0}]"},
            "out-of-range",
            "losses[0].temperature",
        ),
        (
            {"model": "{kind: text_encoder, multi_vector: {dim: 0}}"},
            "out-of-range",
            "model.multi_vector.dim",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(
    sections: dict[str, str], code: str, path: str
) -> None:
    assert ("error", code, path) in found(**sections)
