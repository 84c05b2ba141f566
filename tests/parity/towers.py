"""One network of a model of several, read from a file and compared with torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.weights.load import match_weights
from specrun.runtime.weights.names import write_names
from specrun.runtime.weights.write import write_weights
from tests.runtime.models.one_tower import OneTower

torch = pytest.importorskip("torch")

OUTPUT = 1e-5
GRADIENT = 2e-5
"""Largest differences in f32, of numbers of size about 1 (gradients: relative to the largest of the tensor)."""

FILE = "model.safetensors"

BLOCKS = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


def moved(model: Any) -> Any:
    """The model with matrices of size 0.2, so that layers matter, and no bias at zero and no scale at one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.2 * torch.randn_like(parameter))
            elif "logit" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def texts(*, pad: int, end: int = 59) -> tuple[np.ndarray, np.ndarray]:
    """Six rows of ids below 60: the longest, a single token, one without the end, one with it twice, and others."""
    rng = np.random.default_rng(0)
    length = np.array([11, 1, 7, 4, 10, 6])
    mask = np.arange(11)[None] < length[:, None]
    ids = rng.integers(3, 58, (6, 11))
    ids[np.arange(6), length - 1] = end
    ids[3, 3] = 20
    ids[4, 5] = end
    return np.where(mask, ids, pad).astype(np.int32), mask


def pixels(size: int) -> np.ndarray:
    """Four images."""
    return np.random.default_rng(1).normal(size=(4, size, size, 3)).astype(np.float32)


def seen(vision: OneTower) -> np.ndarray:
    """All tokens of the four images count."""
    return np.ones((4, vision.config.tokens), bool)


def torch_texts(ids: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    return {"input_ids": torch.tensor(ids).long(), "attention_mask": torch.tensor(mask).long()}


def torch_pixels(images: np.ndarray) -> Any:
    return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def compare(
    tower: OneTower, theirs: Any, expected: Any, folder: Path, inputs: np.ndarray, mask: np.ndarray
) -> None:
    """Output and gradient of every tensor, of torch's model and of what we read from its file."""
    params = tower.read(folder)
    target = np.random.default_rng(2).normal(size=expected.shape).astype(np.float32)
    (expected * torch.tensor(target)).sum().backward()
    out = tower.encode(params, inputs, mask)
    expected = expected.detach().numpy()
    assert np.abs(expected).max() > 0.05  # else nothing is compared
    np.testing.assert_allclose(out, expected, atol=OUTPUT, rtol=0)

    gradient = jax.jit(jax.grad(lambda p: jnp.sum(tower.encode(p, inputs, mask) * target)))(params)
    named = write_names(tower.unstacked(gradient), tower.rows, tower.config)
    grads = their_gradients(theirs, folder)
    assert len(named) == len(tower.rows)
    for name, leaf in named.items():
        other = grads[name]
        assert leaf.shape == other.shape, name
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(leaf / scale, other / scale, atol=GRADIENT, err_msg=name)


def their_gradients(theirs: Any, folder: Path) -> dict[str, np.ndarray]:
    """Gradients under the names of the file: transformers writes some modules by older names."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            grad = parameter.grad
            parameter.copy_(torch.zeros_like(parameter) if grad is None else grad)
    theirs.save_pretrained(folder / "gradients")
    from safetensors.numpy import load_file

    return load_file(folder / "gradients" / FILE)


def round_trip(towers: tuple[OneTower, ...], folder: Path, beside: set[str]) -> None:
    """Reading all networks and writing them again gives every tensor of the file, ``beside`` apart, byte for byte."""
    from safetensors.numpy import load_file

    written: dict[str, np.ndarray] = {}
    for tower in towers:
        leaves = tower.unstacked(tower.read(folder))
        own = write_names(leaves, tower.rows, tower.config)
        assert not own.keys() & written.keys()
        written |= own
        flax = write_names(leaves, tower.rows, tower.config, "flax")
        target = folder / f"{tower.config.kind}.msgpack"
        write_weights(target, flax, "msgpack")
        again = match_weights(target, tower.config, tower.rows)
        assert again.layout == "flax"
        for row, tensor in again.pairs:
            assert tensor.shape == flax[tensor.name].shape, row.path
        back = tower.unstacked(tower.read(folder, target.name))
        for path, leaf in leaves.items():
            np.testing.assert_array_equal(back[path], leaf, err_msg=path)
    theirs = load_file(folder / FILE)
    assert written.keys() == theirs.keys() - beside
    for name, tensor in written.items():
        assert tensor.dtype == theirs[name].dtype
        assert tensor.shape == theirs[name].shape, name
        assert tensor.tobytes() == theirs[name].tobytes(), name


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text("utf-8"))
