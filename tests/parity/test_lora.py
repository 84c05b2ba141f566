"""LoRA and rsLoRA against PEFT on a tiny BERT: outputs, gradients of A and B, and files in both directions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from specrun.runtime.adapters.lora import is_adapter, merge, plain, split
from specrun.runtime.adapters.peft import from_peft, read_adapter, to_peft, write_adapter
from specrun.runtime.adapters.start import inspect_adapter
from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import build_encoder, initial_parameters
from specrun.runtime.trees import flatten, unflatten
from specrun.spec.plan.model import ModelPlan
from tests.parity.test_bert import batch, make, pooled
from tests.runtime.models.tiny import lora_plan, model_plan

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

OUTPUT = 1e-5
GRADIENT = 2e-5
"""Largest differences in f32 (gradients: relative to the largest of the tensor, at least 1)."""

MODULES = ("attention.self.query", "attention.self.value", "attention.output.dense")


def both(folder: Path, rslora: bool) -> tuple[Any, ModelPlan, dict[str, Any]]:
    """PEFT's model with B away from zero; our plan and parameters with the same numbers."""
    theirs = make(folder)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=10,
        target_modules=["query", "value", "attention.output.dense"],
        use_rslora=rslora,
    )
    adapted = peft.get_peft_model(theirs, config).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    found = inspect(folder)
    lora = lora_plan(found.config, MODULES, rank=4, alpha=10.0, rslora=rslora)
    model = model_plan(found.config, lora=lora, weights=found.weights)
    state = {k: v.numpy() for k, v in peft.get_peft_model_state_dict(adapted).items()}
    leaves = {**flatten(initial_parameters(model, 0)), **flatten(from_peft(state, model))}
    return adapted, model, unflatten({path: jnp.asarray(leaf) for path, leaf in leaves.items()})


@pytest.mark.parametrize("rslora", [False, True])
def test_outputs_and_gradients_equal_peft(tmp_path: Path, rslora: bool):
    theirs, model, params = both(tmp_path, rslora)
    ids, mask = batch()
    encode = build_encoder(model).encode
    target = np.random.default_rng(1).normal(size=(5, 32)).astype(np.float32)
    expected = pooled(theirs, ids, mask, "mean")
    (expected * torch.tensor(target)).sum().backward()
    np.testing.assert_allclose(
        encode(params, ids, mask), expected.detach().numpy(), atol=OUTPUT, rtol=0
    )
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(encode(p, ids, mask) * target)))(params)
    tensors = dict(theirs.named_parameters())
    for name, leaf in to_peft(split(gradient)[1], model).items():
        grad = tensors[name.replace(".weight", ".default.weight")].grad.numpy()
        scale = max(1.0, float(np.abs(grad).max()))
        np.testing.assert_allclose(leaf / scale, grad / scale, atol=GRADIENT, err_msg=name)


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_it_equals_pefts_merge(tmp_path: Path, rslora: bool):
    theirs, model, params = both(tmp_path, rslora)
    ids, mask = batch()
    out = build_encoder(plain(model)).encode(merge(params, model), ids, mask)
    with torch.no_grad():
        expected = pooled(theirs.merge_and_unload(), ids, mask, "mean").numpy()
    np.testing.assert_allclose(out, expected, atol=OUTPUT, rtol=0)


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_loads_our_files_and_we_load_pefts(tmp_path: Path, rslora: bool):
    theirs, model, params = both(tmp_path / "base", rslora)
    ids, mask = batch()
    with torch.no_grad():
        expected = pooled(theirs, ids, mask, "mean").numpy()
    write_adapter(tmp_path / "ours", params, model)
    base = transformers.BertModel.from_pretrained(tmp_path / "base")
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()
    with torch.no_grad():
        again = pooled(loaded, ids, mask, "mean").numpy()
    np.testing.assert_allclose(again, expected, atol=OUTPUT, rtol=0)

    theirs.save_pretrained(tmp_path / "theirs")
    read = flatten(read_adapter(tmp_path / "theirs", model))
    ours = flatten(split(params)[1])
    assert read.keys() == ours.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(read[path], leaf)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_run_starts_from_pefts_adapter(tmp_path: Path, rslora: bool):
    """What PEFT saved, named by ``lora.init_from``, embeds at step 0 as PEFT's own model does."""
    theirs, model, _ = both(tmp_path / "base", rslora)
    theirs.save_pretrained(tmp_path / "theirs")
    assert model.lora is not None
    start = inspect_adapter(tmp_path / "theirs", model)
    parameters = tuple(
        dataclasses.replace(p, new=False) if is_adapter(p.path) else p for p in model.parameters
    )
    lora = dataclasses.replace(model.lora, init_from=start)
    begun = dataclasses.replace(model, lora=lora, parameters=parameters)
    ids, mask = batch()
    found = build_encoder(begun).encode(initial_parameters(begun, 0), ids, mask)
    with torch.no_grad():
        expected = pooled(theirs, ids, mask, "mean").numpy()
    np.testing.assert_allclose(found, expected, atol=OUTPUT, rtol=0)
