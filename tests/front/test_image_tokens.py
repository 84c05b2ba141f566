"""Late interaction with images: from the spec to token vectors of patches, their training, search and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specrun
from specrun.cli import main
from specrun.compiler.summary import summary
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.predict.search import search
from specrun.runtime.trees import flatten
from specrun.spec.plan.file import read_plan
from tests.front.test_text_image import (  # noqa: F401  the fixtures
    COMPOSED,
    directory,
    folder,
    here,
    spec,
    write,
)

LATE = "losses=[{kind: colbert, temperature: 0.1}]"
BOTH = "losses=[{kind: colbert, temperature: 0.1}, {kind: infonce}]"
ALONE = "model.pooling=none"
BESIDE = "model.multi_vector={dim: null}"


def made(model: str, mode: str, *settings: str) -> Any:
    return specrun.compile(write(spec(model, mode)), overrides=list(settings))


def composed(**more: Any) -> str:
    return COMPOSED.format(dim=more.get("dim", 8), more=more.get("more", ""))


@pytest.mark.parametrize("mode", ["t2i", "i2i", "m2i"])
def test_patches_are_trained_evaluated_and_embedded(mode: str) -> None:
    settings = (f"name=late-{mode}", ALONE, LATE, "model.top_k_patches=2")
    plan = made(directory("clip"), mode, *settings, "matryoshka={dims: [6, 3]}")
    late = plan.model.multi_vector
    assert late is not None
    assert (late.alone, late.head, late.image_vectors, late.top_k_patches) == (
        *(True, "projection", 3, 2),
    )
    assert "(3 of an image, the nearest to its class token)" in summary(plan)
    result = specrun.run(plan)
    assert 0 < result.metrics["mrr@10"] <= 1
    assert "mrr@10 at 3" in result.metrics
    assert np.isfinite(result.metrics["loss"])
    predictor = specrun.Predictor(result.folder)
    pictures = ["pics/0.png", "pics/1.png", "pics/2.png"]
    found = predictor.encode_image(pictures, output="multi_vector", batch_size=2)
    assert [x.shape for x in found] == [(3, 6)] * 3
    texts = predictor.encode_text(["a red box", "blue"], output="multi_vector")
    assert predictor.maxsim(texts, found).shape == (2, 3)
    both = predictor.encode_image(pictures[:2], texts=["a red box", "blue"], output="multi_vector")
    for i in range(2):
        np.testing.assert_allclose(both[i], np.concatenate([texts[i], found[i]]), atol=1e-5)
    narrow = predictor.encode_image(pictures, output="multi_vector", dimension=3)
    assert narrow[0].shape == (3, 3)
    for call in (predictor.encode_image, predictor.embed_images):
        with pytest.raises(specrun.InputError, match="a vector for each token, and none for"):
            call(pictures)
    with pytest.raises(specrun.InputError, match="output must be dense or multi_vector"):
        predictor.encode_image(pictures, output="tokens")  # type: ignore[call-overload]
    with pytest.raises(specrun.InputError, match="a width of token vectors that the run trained"):
        predictor.encode_image(pictures, output="multi_vector", dimension=5)


@pytest.mark.parametrize(
    ("model", "settings", "vectors"),
    [
        (directory("siglip"), (BESIDE,), 4),
        (directory("clip"), ("model.multi_vector={dim: 5}", "model.top_k_patches=1"), 2),
        (composed(), (BESIDE, "model.top_k_patches=3"), 4),
        (composed(dim="null", more=", projection_dim: 16, pooling: mean"), (BESIDE,), 5),
    ],
)
def test_token_vectors_beside_the_pooled_ones(
    model: str, settings: tuple[str, ...], vectors: int, request: pytest.FixtureRequest
) -> None:
    name = f"name=beside-{request.node.callspec.indices['model']}"
    plan = made(model, "t2i", name, BOTH, *settings)
    late = plan.model.multi_vector
    assert late is not None
    own = "dim: 5" in settings[0]
    assert (late.alone, late.head) == (False, "own" if own else "projection")
    assert late.width == (5 if own else plan.model.embedding_dim)
    heads = [p.path for p in plan.model.parameters if p.path.endswith("multi_vector.kernel")]
    assert heads == ["text.multi_vector.kernel", "image.multi_vector.kernel"] * own
    result = specrun.run(plan)
    assert {"mrr@10", "multi_vector/mrr@10"} <= set(result.metrics)
    predictor = specrun.Predictor(result.folder)
    (found,) = predictor.encode_image(["pics/0.png"], output="multi_vector")
    assert found.shape == (late.image_vectors, late.width)
    assert predictor.encode_image(["pics/0.png"]).shape == (1, plan.model.embedding_dim)
    (text,) = predictor.encode_text(["a red box"], output="multi_vector")
    assert text.shape == (5, late.width)


def test_a_composed_model_without_pooling() -> None:
    plan = made(composed(), "i2t", ALONE, LATE, "name=composed-alone")
    assert plan.model.config.text.pooling == plan.model.config.image.pooling == "none"
    assert np.isfinite(specrun.run(plan).metrics["mrr@10"])


def test_a_search_among_images_is_by_their_patches(capsys: pytest.CaptureFixture[str]) -> None:
    write(spec(directory("clip"), "t2i"))
    given = [x for s in ("name=sought", ALONE, LATE) for x in ("--set", s)]
    assert main(["compile", "spec.yaml", "-o", "sought.json", *given]) == 0
    assert main(["run", "sought.json", "--quiet"]) == 0
    capsys.readouterr()
    predictor = specrun.Predictor("runs/sought")
    hits = search("runs/sought", "a red box", top=24, corpus="pics")
    names = [hit.text for hit in hits]
    asked = predictor.encode_query(["a red box"], output="multi_vector")
    offered = predictor.encode_image([f"pics/{name}" for name in names], output="multi_vector")
    np.testing.assert_allclose(
        [hit.score for hit in hits], predictor.maxsim(asked, offered)[0], atol=1e-5
    )
    again = search("runs/sought", "a red box", top=24)
    assert [round(hit.score, 4) for hit in again] == [round(hit.score, 4) for hit in hits]
    assert main(["index", "runs/sought", "pics", "-o", "index"]) == 1
    assert "none for a whole text" in capsys.readouterr().err
    assert main(["export", "runs/sought", "out", "--to", "hf"]) == 1
    assert "text" in capsys.readouterr().err
    assert not Path("out").exists()


def test_chunks_train_as_the_whole_does() -> None:
    """The parameters after three steps with images as negatives, whichever patches are the nearest."""
    settings = (ALONE, LATE, "model.top_k_patches=2", "train.gradient_cache.chunk_size=4")
    found = [
        specrun.run(made(directory("clip"), "t2i", f"name=chunks-{n}", *settings[:n]))
        for n in (3, 4)
    ]
    whole, chunked = (read_parameters(RunFolder(Path(x.folder)).final) for x in found)
    start = initial_arrays(read_plan(Path(found[0].folder, "plan.json")).model, 0)
    moved = 0.0
    for path, right in flatten(whole).items():
        np.testing.assert_allclose(flatten(chunked)[path], right, atol=2e-6, err_msg=path)
        moved = max(moved, float(np.abs(right - flatten(start)[path]).max()))
    assert moved > 1e-5


MISTAKES = {
    "no token vectors": (
        directory("clip"), "t2i", (LATE,),
        "no-token-vectors", "losses[0].kind", "one vector a text or image",
    ),
    "more patches than there are": (
        directory("clip"), "t2i", (ALONE, LATE, "model.top_k_patches=5"),
        "too-many-patches", "model.top_k_patches", "5 is above the 4 patches of an image",
    ),
    "patches of nothing": (
        directory("clip"), "t2i", ("model.top_k_patches=2",),
        "no-effect", "model.top_k_patches", "gives no token vectors",
    ),
    "patches of texts": (
        directory("clip"), "t2t", (ALONE, LATE, "model.top_k_patches=2"),
        "no-effect", "model.top_k_patches", "the rows have no images",
    ),
    "siglip has no class token": (
        directory("siglip"), "t2i", (BESIDE, BOTH, "model.top_k_patches=2"),
        "unknown-key", "model.top_k_patches", "top_k_patches",
    ),
    "siglip pools by a network": (
        directory("siglip"), "t2i", (ALONE, LATE),
        "unknown-key", "model.pooling", "pooling",
    ),
    "siglip without a pooled loss": (
        directory("siglip"), "t2i", (BESIDE, LATE),
        "untrained-output", "model.multi_vector", "no loss trains the pooled vector",
    ),
    "a pooled loss without pooling": (
        directory("clip"), "t2i", (ALONE, BOTH),
        "no-pooled-vector", "losses[1].kind", "one vector a text or image",
    ),
    "both": (
        directory("clip"), "t2i", (ALONE, BESIDE, LATE),
        "no-effect", "model.multi_vector", "a second one",
    ),
    "the text's own": (
        composed(), "t2i", (BOTH, "model.text.multi_vector={dim: 8}"),
        "no-token-vectors", "model.text.multi_vector", "of texts alone",
    ),
    "two poolings": (
        composed(), "t2i", (ALONE, LATE, "model.image.pooling=mean"),
        "no-effect", "model.image.pooling", "no effect with `model.pooling: none`",
    ),
    "mined": (
        directory("clip"), "t2i",
        (ALONE, LATE, "data.columns.negatives=null",
         "data.negatives={kind: mined, refresh_every_steps: 2}"),
        "no-pooled-vector", "data.negatives", "one vector a text or image",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_is_refused_with_its_place(name: str) -> None:
    model, mode, settings, code, path, words = MISTAKES[name]
    with pytest.raises(specrun.InputError) as caught:
        made(model, mode, *settings)
    found = {(d.code, d.path): d for d in caught.value.diagnostics if d.severity == "error"}
    assert (code, path) in found, found.keys()
    assert words in found[code, path].message
