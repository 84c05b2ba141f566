"""ColBERT between texts and patches of images against torch: transformers' networks, their top-k patches, gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.losses.algebra import Outputs
from specrun.runtime.losses.colbert import colbert
from specrun.runtime.models.encoder import build_encoder
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.trees import flatten
from tests.front.test_image_tokens import (
    ALONE,
    BESIDE,
    BOTH,
    LATE,
    as_bytes,
    made,
)
from tests.front.test_text_image import (  # noqa: F401  the fixtures
    TOWERS,
    directory,
    folder,
    here,
)
from tests.parity.test_losses import given_rows, unit
from tests.parity.towers import torch_pixels
from tests.runtime.plans import make_colbert

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

TAU = 0.2


def their_tokens(name: str, model: Any, pixels: Any, ids: Any, mask: Any) -> tuple[Any, Any]:
    """Token vectors of images and of texts."""
    seen = model.vision_model(pixels).last_hidden_state
    if name == "siglip":
        whole = torch.nn.functional.pad(ids, (0, 12 - ids.shape[1]), value=1)
        read = model.text_model(whole).last_hidden_state
        return seen, model.text_model.head(read)[:, : ids.shape[1]]
    read = model.text_model(ids, mask).last_hidden_state
    image = model.visual_projection(model.vision_model.post_layernorm(seen))
    return image, model.text_projection(read)


def nearest(image: Any, top: int | None) -> Any:
    """The class token and its nearest patches, of equal ones the first."""
    if top is None:
        return image
    near = (unit(image[:, 1:]) * unit(image[:, :1])).sum(-1)
    places = torch.sort(near, dim=-1, descending=True, stable=True).indices[:, :top]
    chosen = torch.gather(image[:, 1:], 1, places[:, :, None].expand(-1, -1, image.shape[2]))
    return torch.cat([image[:, :1], chosen], dim=1)


def maxsim_loss(query: Any, q_mask: Any, document: Any, d_mask: Any) -> Any:
    """Cross-entropy of mean MaxSim over the temperature."""
    cosines = torch.einsum("btd,csd->bcts", unit(query), unit(document))
    best = cosines.masked_fill(~d_mask[None, :, None], -9).amax(-1)
    counted = q_mask[:, None].float()
    scores = (best * counted).sum(-1) / counted.sum(-1) / TAU
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(query)))


CASES = [("clip", None, "t2i"), ("clip", 2, "t2i"), ("clip", 2, "i2i"), ("siglip", None, "t2i")]


@pytest.mark.parametrize(("name", "top", "mode"), CASES)
def test_loss_and_gradient_are_those_of_torch(name: str, top: int | None, mode: str) -> None:
    """Of a text with images, and of images with images, down to the first tensors of both networks."""
    more = () if top is None else (f"model.top_k_patches={top}",)
    settings = (ALONE, LATE) if name == "clip" else (BESIDE, BOTH)
    plan = made(directory(name), mode, *settings, *more)
    golden = np.load(TOWERS / "expected_tokens.npz")
    pixels, ids, mask = golden["pixels"], golden["ids"][:3], golden["mask"][:3]
    encoder, term = build_encoder(plan.model), colbert(make_colbert(temperature=TAU), 64)
    rows, seen = given_rows(3), as_bytes(plan, pixels)
    whole = np.ones((3, 1), bool)

    def ours(parameters: Any) -> jax.Array:
        document = encoder.embed(parameters, seen, whole).tokens
        asked = (seen[::-1] * 0.9, whole) if mode == "i2i" else (ids, mask)
        query = encoder.embed(parameters, *asked).tokens
        none = jnp.zeros((3, 0))
        return term.sum({}, Outputs(none, none, None, query, document), rows) / 3

    value, slopes = jax.jit(jax.value_and_grad(ours))(initial_arrays(plan.model, 0))

    kind = {"clip": "CLIPModel", "siglip": "SiglipModel"}[name]
    model = getattr(transformers, kind).from_pretrained(TOWERS / f"{name}_torch").eval()
    image, text = their_tokens(
        name,
        model,
        torch_pixels(pixels),
        torch.tensor(ids).long(),
        torch.tensor(mask).long(),
    )
    document = nearest(image, top)
    query, q_mask = text, torch.tensor(mask)
    if mode == "i2i":
        turned = normalised(plan, seen[::-1] * 0.9)
        query = nearest(
            their_tokens(name, model, torch_pixels(turned), *map(torch.tensor, (ids, mask)))[0], top
        )
        q_mask = torch.ones(query.shape[:2], dtype=torch.bool)
    right = maxsim_loss(query, q_mask, document, torch.ones(document.shape[:2], dtype=torch.bool))
    right.backward()
    np.testing.assert_allclose(value, float(right.detach()), rtol=1e-5)
    found = flatten(slopes)
    for path, grad in their_slopes(name, model, mode):
        assert np.abs(grad).max() > 1e-5
        scale = float(np.abs(grad).max())
        np.testing.assert_allclose(found[path], grad, atol=2e-4 * scale, err_msg=path)


def normalised(plan: Any, pixels: np.ndarray) -> np.ndarray:
    from specrun.runtime.images.pixels import affine

    scale, shift = affine(plan.model.image_processor)
    return (pixels * scale + shift).astype(np.float32)


def their_slopes(name: str, model: Any, mode: str) -> list[tuple[str, np.ndarray]]:
    """Gradients under our paths: positions, class token, last norms and projections."""
    vision, text = model.vision_model, model.text_model
    found = [
        (
            "image.embeddings.position_embedding.embedding",
            vision.embeddings.position_embedding.weight,
        ),
        ("image.post_layernorm.scale", vision.post_layernorm.weight),
    ]
    if name == "clip":
        found.append(("image.projection.kernel", model.visual_projection.weight.T))
        found.append(
            ("image.embeddings.class_embedding.embedding", vision.embeddings.class_embedding[None])
        )
    if mode == "t2i":
        found.append(
            ("text.embeddings.token_embedding.embedding", text.embeddings.token_embedding.weight)
        )
        found.append(("text.final_layer_norm.bias", text.final_layer_norm.bias))
    grads = {id(p): p.grad for p in model.parameters()}
    return [(path, _grad(leaf, grads)) for path, leaf in found]


def _grad(leaf: Any, grads: dict[int, Any]) -> np.ndarray:
    """Of a parameter, or of a view of one, in the orientation of the view."""
    if id(leaf) in grads:
        return grads[id(leaf)].numpy()
    base = leaf._base
    grad = grads[id(base)]
    return (grad.T if leaf.ndim == base.ndim else grad[None]).numpy()
