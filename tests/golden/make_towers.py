"""Make the checked-in weights of tests/golden/towers, as make_models.py makes its own and in its environment.

Run ``python tests/golden/make_towers.py [clip] [vit] [siglip] [siglip2] [tokens]`` from the repository's root; without names all are made.
``expected_*.npz`` hold what goes in and torch's own embeddings, ``expected_tokens.npz`` the vectors of every token.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

ROOT = Path(__file__).parent / "towers"
BLOCKS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
TEXT = {
    **BLOCKS,
    "vocab_size": 40,
    "max_position_embeddings": 12,
    "bos_token_id": 38,
    "eos_token_id": 39,
    "pad_token_id": 1,
}
VISION = {**BLOCKS, "image_size": 11, "patch_size": 5}


def main(names: list[str]) -> None:
    makers = {"clip": clip, "vit": vit, "siglip": siglip, "siglip2": siglip2, "tokens": tokens}
    for name in names or makers:
        torch.manual_seed(0)
        makers[name]()


def clip() -> None:
    config = transformers.CLIPConfig(
        text_config=TEXT | {"projection_dim": 6},
        vision_config=VISION | {"projection_dim": 6},
        projection_dim=6,
    )
    theirs = moved(transformers.CLIPModel(config))
    write("clip_torch", theirs)
    flax = transformers.FlaxCLIPModel.from_pretrained(ROOT / "clip_torch", from_pt=True)
    write("clip_flax", flax)
    ids, mask = texts()
    with torch.no_grad():
        text = theirs.get_text_features(torch.tensor(ids).long(), torch.tensor(mask).long())
        expected("clip", theirs.get_image_features(torch_pixels()), ids=ids, mask=mask, text=text)


def siglip() -> None:
    """transformers never had it in Flax. Texts are as long as the position table, and have no mask."""
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    theirs = moved(transformers.SiglipModel(config))
    write("siglip_torch", theirs)
    ids, mask = texts()
    with torch.no_grad():
        whole = np.pad(ids, ((0, 0), (0, 12 - ids.shape[1])), constant_values=1)
        text = theirs.get_text_features(torch.tensor(whole).long())
        expected("siglip", theirs.get_image_features(torch_pixels()), ids=ids, mask=mask, text=text)


def siglip2() -> None:
    """Images of three shapes, two of them short of 12 patches of 4 × 4; positions are a grid of 3 × 3."""
    vision = {**BLOCKS, "num_patches": 9, "patch_size": 4}
    config = transformers.Siglip2Config(
        text_config=TEXT | {"pad_token_id": 0}, vision_config=vision
    )
    theirs = moved(transformers.Siglip2Model(config))
    write("siglip2_torch", theirs)
    ids, mask = texts()
    shape = np.array([[3, 4], [2, 3], [1, 9]])
    patches = np.random.default_rng(1).normal(size=(3, 12, 48)).astype(np.float32)
    there = np.arange(12) < shape[:, :1] * shape[:, 1:]
    with torch.no_grad():
        whole = np.pad(np.where(mask, ids, 0), ((0, 0), (0, 12 - ids.shape[1])))
        text = theirs.get_text_features(torch.tensor(whole).long())
        image = theirs.get_image_features(
            torch.tensor(patches), torch.tensor(there.astype(np.int32)), torch.tensor(shape)
        )
    arrays = {"patches": patches, "shape": shape, "ids": whole, "mask": np.ones_like(whole, bool)}
    np.savez(ROOT / "expected_siglip2.npz", image=image.numpy(), text=text.numpy(), **arrays)


def vit() -> None:
    config = transformers.ViTConfig(**VISION)
    judge = moved(transformers.ViTForImageClassification(config))
    theirs = transformers.ViTModel(config).eval()
    theirs.load_state_dict(judge.vit.state_dict(), strict=False)
    write("vit_torch", theirs)
    write("vit_torch_head", judge)
    write("vit_flax", transformers.FlaxViTModel.from_pretrained(ROOT / "vit_torch", from_pt=True))
    head = transformers.FlaxViTForImageClassification.from_pretrained(
        ROOT / "vit_torch_head", from_pt=True
    )
    write("vit_flax_head", head)
    with torch.no_grad():
        hidden = theirs(torch_pixels()).last_hidden_state
    expected("vit", hidden[:, 0], mean=hidden[:, 1:].mean(1))


def tokens() -> None:
    """Every state behind the last norm, through the projection of the pooled vector; and of CLIP the patches nearest to the class token."""
    clip = transformers.CLIPModel.from_pretrained(ROOT / "clip_torch")
    siglip = transformers.SiglipModel.from_pretrained(ROOT / "siglip_torch")
    vit = transformers.ViTModel.from_pretrained(ROOT / "vit_torch")
    ids, mask = texts()
    whole = np.pad(ids, ((0, 0), (0, 12 - ids.shape[1])), constant_values=1)
    with torch.no_grad():
        seen = clip.vision_model(torch_pixels())
        image = clip.visual_projection(clip.vision_model.post_layernorm(seen.last_hidden_state))
        read = clip.text_model(torch.tensor(ids).long(), torch.tensor(mask).long())
        found = {
            "clip_image": image,
            "clip_text": clip.text_projection(read.last_hidden_state),
            "siglip_image": siglip.vision_model(torch_pixels()).last_hidden_state,
            "siglip_text": siglip.text_model.head(
                siglip.text_model(torch.tensor(whole).long()).last_hidden_state
            )[:, : ids.shape[1]],
            "vit": vit(torch_pixels()).last_hidden_state,
        }
    cosines = torch.nn.functional.cosine_similarity(image[:, 1:], image[:, :1], dim=-1)
    nearest = torch.sort(cosines, dim=-1, descending=True, stable=True).indices[:, :2]
    found["clip_nearest"] = 1 + nearest
    arrays = {name: x.numpy() for name, x in found.items()}
    np.savez(ROOT / "expected_tokens.npz", pixels=pixels(), ids=ids, mask=mask, **arrays)


def moved(model: Any) -> Any:
    """The model with matrices of size 0.2, no bias at zero and no scale at one."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.2 * torch.randn_like(parameter))
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Four padded rows, one of a single token."""
    length = np.array([9, 1, 5, 8])
    mask = np.arange(9)[None] < length[:, None]
    ids = np.random.default_rng(0).integers(2, 38, (4, 9))
    ids[np.arange(4), length - 1] = 39
    return np.where(mask, ids, 1).astype(np.int32), mask


def pixels() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 11, 11, 3)).astype(np.float32)


def torch_pixels() -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(pixels().transpose(0, 3, 1, 2)))


def write(name: str, model: Any) -> None:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    print(f"{name}: {sum(p.stat().st_size for p in folder.iterdir())} bytes")


def expected(name: str, image: torch.Tensor, **more: Any) -> None:
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in more.items()}
    np.savez(ROOT / f"expected_{name}.npz", pixels=pixels(), image=image.numpy(), **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
