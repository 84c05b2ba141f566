"""Late interaction with images: from the spec to token vectors of patches, their training, search and mistakes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import specrun
from specrun.cli import main
from specrun.compiler.summary import summary
from specrun.runtime.data.batches import Batch
from specrun.runtime.images.pixels import affine
from specrun.runtime.losses import table
from specrun.runtime.losses.maxsim import maxsim
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.models.patches import image_tokens
from specrun.runtime.models.siglip2 import model as siglip2
from specrun.runtime.predict.pictures import Opened
from specrun.runtime.predict.search import search
from specrun.runtime.program.gradients import Objective, loss_and_gradient
from specrun.runtime.trees import flatten
from specrun.spec.plan.file import read_plan
from tests.front.test_text_image import (  # noqa: F401  the fixtures
    COMPOSED,
    TOWERS,
    directory,
    folder,
    here,
    spec,
    write,
)
from tests.runtime.quick import quick

LATE = "losses=[{kind: colbert, temperature: 0.1}]"
BOTH = "losses=[{kind: colbert, temperature: 0.1}, {kind: infonce}]"
ALONE = "model.pooling=none"
BESIDE = "model.multi_vector={dim: null}"


def made(model: str, mode: str, *settings: str) -> Any:
    return specrun.compile(write(spec(model, mode)), overrides=list(settings))


def composed(**more: Any) -> str:
    return COMPOSED.format(dim=more.get("dim", 8), more=more.get("more", ""))


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 11, 11, 3), dtype=np.uint8)
IDS = np.array([[2, 5, 39, 1], [2, 39, 1, 1], [2, 6, 7, 39]], np.int32)
MASK = IDS != 1


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:  # noqa: F811
    """A run of token vectors alone: a class token and two patches of an image, at two widths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SPECRUN_CACHE", str(folder / "cache"))
        settings = ("name=late", ALONE, LATE, "model.top_k_patches=2", "matryoshka={dims: [6, 3]}")
        result = specrun.run(made(directory("clip"), "t2i", *settings))
        assert 0 < result.metrics["mrr@10"] <= 1
        assert "mrr@10 at 3" in result.metrics
        return folder / result.folder


def test_patches_are_trained_evaluated_and_embedded(run: Path) -> None:
    plan = read_plan(run / "plan.json")
    late = plan.model.multi_vector
    assert late is not None
    assert (late.alone, late.head) == (True, "projection")
    assert (late.image_vectors, late.top_k_patches) == (3, 2)
    assert "(3 of an image, the nearest to its class token)" in summary(plan)
    predictor = specrun.Predictor(run)
    pictures = ["pics/0.png", "pics/1.png", "pics/2.png"]
    found = predictor.encode_image(pictures, output="multi_vector", batch_size=4)
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


def test_a_search_among_images_is_by_their_patches(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hits = search(run, "a red box", top=24, corpus="pics")
    predictor = specrun.Predictor(run)
    asked = predictor.encode_query(["a red box"], output="multi_vector")
    offered = predictor.encode_image([f"pics/{x.text}" for x in hits], output="multi_vector")
    np.testing.assert_allclose(
        [hit.score for hit in hits], predictor.maxsim(asked, offered)[0], atol=1e-5
    )
    assert main(["index", str(run), "--corpus", "pics", "-o", "index"]) == 2
    assert "none for a whole text" in capsys.readouterr().err
    for to in ("hf", "sentence-transformers", "flax"):
        assert main(["export", str(run), "-o", "out", "--to", to]) == 2
        assert "error[" in capsys.readouterr().err
        assert not Path("out").exists()


def test_token_vectors_beside_the_pooled_ones_are_measured_beside_them() -> None:
    plan = made(composed(), "t2i", "name=beside", BOTH, BESIDE, "model.top_k_patches=3")
    result = specrun.run(plan)
    assert {"mrr@10", "multi_vector/mrr@10"} <= set(result.metrics)
    predictor = specrun.Predictor(result.folder)
    (found,) = predictor.encode_image(["pics/0.png"], output="multi_vector")
    assert found.shape == (4, 8)
    assert predictor.encode_image(["pics/0.png"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("model", "mode", "settings", "vectors", "width"),
    [
        (directory("clip"), "i2i", (ALONE, LATE), 5, 6),
        (directory("clip"), "m2i", ("model.multi_vector={dim: 5}", BOTH), 5, 5),
        (directory("siglip"), "t2i", (BESIDE, BOTH), 4, 16),
        (composed(), "i2t", (ALONE, LATE, "model.top_k_patches=1"), 2, 8),
        (composed(dim="null", more=", projection_dim: 16"), "t2i", (BESIDE, BOTH), 5, 16),
    ],
)
def test_the_outputs_of_every_kind(
    model: str, mode: str, settings: tuple[str, ...], vectors: int, width: int
) -> None:
    """A text's vectors are as many as its ids, and padding among them does not count."""
    plan = made(model, mode, *settings)
    late = plan.model.multi_vector
    assert late is not None
    own = width == 5
    assert (late.image_vectors, late.width) == (vectors, width)
    assert (late.alone, late.head) == (ALONE in settings, "own" if own else "projection")
    heads = [p.path for p in plan.model.parameters if p.path.endswith("multi_vector.kernel")]
    assert heads == ["text.multi_vector.kernel", "image.multi_vector.kernel"] * own
    if late.alone and model.startswith("{kind: composed"):
        assert plan.model.config.text.pooling == plan.model.config.image.pooling == "none"
    embed = quick(build_encoder(plan.model).embed)
    parameters = initial_arrays(plan.model, 0)
    image = embed(parameters, PIXELS, np.ones((3, 1), bool))
    text = embed(parameters, IDS, MASK)
    assert image.tokens.vectors.shape == (3, vectors, width)
    assert image.tokens.mask.all()
    assert text.tokens.vectors.shape == (3, 4, width)
    np.testing.assert_array_equal(text.tokens.mask, MASK)
    assert text.dense.shape == image.dense.shape
    assert text.dense.shape[1] == (0 if late.alone else plan.model.embedding_dim)


def test_padding_among_the_patches_of_an_image_does_not_count() -> None:
    """SigLIP 2's images keep their shape, and the shorter are padded; what is there is what an image alone gives."""
    plan = made("{kind: siglip, name_or_path: siglip2}", "t2i", BESIDE, BOTH)
    late = plan.model.multi_vector
    assert late is not None
    assert plan.model.image_processor is not None
    for name, size in (("long", (40, 8)), ("square", (20, 20))):
        Image.new("RGB", size, (9, 99, 199)).save(f"pics/{name}.png")
    opened = Opened(["pics/long.png", "pics/square.png"], plan.model.image_processor)
    content = np.stack([opened[i] for i in range(2)])
    embed = quick(build_encoder(plan.model).embed)
    tokens = embed(initial_arrays(plan.model, 0), content, np.ones((2, 1), bool)).tokens
    assert tokens.vectors.shape == (2, late.image_vectors, late.width)
    counts = np.asarray(tokens.mask).sum(1)
    np.testing.assert_array_equal(counts, np.prod(np.asarray(siglip2.shapes(content)), axis=1))
    assert counts.min() < late.image_vectors
    other = jax.tree.map(np.array, tokens)
    other.vectors[other.mask == 0] = 9.0
    query = jax.tree.map(lambda x: x[:1], tokens)
    np.testing.assert_allclose(
        maxsim(query, other, "mean", 64), maxsim(query, tokens, "mean", 64), atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "model", "settings"),
    [
        ("clip", directory("clip"), (ALONE, LATE)),
        ("siglip", directory("siglip"), (BESIDE, BOTH)),
        ("vit", composed(dim="null"), (ALONE, LATE)),
    ],
)
def test_token_vectors_are_those_of_torch(name: str, model: str, settings: tuple[str, ...]) -> None:
    """The golden ones: what transformers gives behind the last norm, through its projection."""
    plan = made(model, "t2i", *settings)
    golden = np.load(TOWERS / "expected_tokens.npz")
    pixels = as_bytes(plan, golden["pixels"])
    embed = quick(build_encoder(plan.model).embed)
    parameters = initial_arrays(plan.model, 0)
    image = embed(parameters, pixels, np.ones((3, 1), bool)).tokens.vectors
    right = golden[name if name == "vit" else f"{name}_image"]
    np.testing.assert_allclose(image, right, atol=1e-5)
    if name != "vit":
        text = embed(parameters, golden["ids"], golden["mask"]).tokens
        mask = golden["mask"]
        np.testing.assert_allclose(
            np.asarray(text.vectors)[mask], golden[f"{name}_text"][mask], atol=1e-5
        )
    if name == "clip":
        nearest = golden["clip_nearest"]
        found = image_tokens(image, 2).vectors
        np.testing.assert_array_equal(found[:, 0], image[:, 0])
        chosen = np.take_along_axis(np.asarray(image), nearest[:, :, None], axis=1)
        np.testing.assert_array_equal(found[:, 1:], chosen)


def as_bytes(plan: Any, pixels: np.ndarray) -> np.ndarray:
    """What the processor makes these numbers of; not whole, unlike those of pictures."""
    scale, shift = affine(plan.model.image_processor)
    return ((pixels - shift) / scale).astype(np.float32)


def test_of_equally_near_patches_the_first_are_kept() -> None:
    same = np.ones((2, 5, 3), np.float32)
    same[:, 1] = -1
    same[1, 2] = [1, 1, 0.9]
    numbered = same * np.array([1, 1, 2, 3, 4], np.float32)[:, None]
    found = np.asarray(image_tokens(jnp.asarray(numbered), 2).vectors)
    np.testing.assert_array_equal(found[0], numbered[0, [0, 2, 3]])
    np.testing.assert_array_equal(found[1], numbered[1, [0, 3, 4]])
    zero = image_tokens(jnp.zeros((1, 4, 3)), 2)
    assert zero.vectors.shape == (1, 3, 3)
    slope = jax.grad(lambda x: jnp.sum(image_tokens(x, 2).vectors))(jnp.asarray(numbered))
    right = np.zeros((2, 5, 3))
    right[0, [0, 2, 3]], right[1, [0, 3, 4]] = 1, 1
    np.testing.assert_array_equal(slope, right)


def test_chunks_have_the_gradient_of_the_whole() -> None:
    """The patches that are the nearest are so in every chunk."""
    plan = made(directory("clip"), "t2i", ALONE, LATE, "model.top_k_patches=2")
    encoder = build_encoder(plan.model)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 11, 11, 3), dtype=np.uint8)
    batch = Batch(
        query_ids=np.tile(IDS, (1, 3, 1))[:, :8],
        query_mask=np.tile(MASK, (1, 3, 1))[:, :8],
        positive_ids=pixels,
        positive_mask=np.ones((1, 8, 1), bool),
        negative_ids=pixels[:, ::-1, None],
        negative_mask=np.ones((1, 8, 1, 1), bool),
        negative_weight=np.ones((1, 8, 1), np.float32),
        weight=np.ones((1, 8), np.float32),
        row=np.arange(8, dtype=np.uint32)[None],
    )
    parameters = initial_arrays(plan.model, 0)
    trained, frozen = ({name: parameters[name]} for name in ("image", "text"))
    found = []
    for chunks in (1, 4):
        objective = Objective(
            lambda parameters, *rows, side: encoder.embed(parameters, *rows, side=side),
            table.terms(plan),
            chunks,
        )
        compute = quick(partial(loss_and_gradient, objective))
        found.append(compute(trained, frozen, batch, {"colbert": np.float32(1)}, None))
    (whole, slopes), (value, again) = found
    assert float(whole.loss) > 0
    np.testing.assert_allclose(value.loss, whole.loss, rtol=2e-6)
    largest = max(float(np.abs(x).max()) for x in flatten(slopes).values())
    for path, right in flatten(slopes).items():
        np.testing.assert_allclose(flatten(again)[path], right, atol=5e-6 * largest, err_msg=path)


def test_the_cost_is_of_the_vectors_that_are_compared() -> None:
    """Two of five vectors of an image, in both directions of i2i; and of a text and an image those of both."""
    few, all_ = (
        made(directory("clip"), "i2i", ALONE, LATE, *more)
        for more in (("model.top_k_patches=1",), ())
    )
    assert few.cost.loss_bytes < all_.cost.loss_bytes
    assert few.cost.flops_per_step < all_.cost.flops_per_step
    one, both = (made(directory("clip"), mode, ALONE, LATE) for mode in ("t2i", "m2i"))
    assert one.cost.loss_bytes < both.cost.loss_bytes
    many = "train.batch_size=1024"
    (narrow, wide) = (
        made(directory("clip"), "i2i", ALONE, LATE, many, *more).train.document_tile_rows
        for more in (("model.top_k_patches=1",), ())
    )
    assert (narrow, wide) == (
        1024,
        655,
    )  # 64 MiB of cosines: 4 bytes × 1024 queries × 5 × 5 a document


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
