"""The checked-in weights against today's torch and Flax: what they hold is what those libraries read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.runtime.models.directory import inspect
from specrun.runtime.models.encoder import initial_parameters
from specrun.runtime.models.stacking import unstack
from specrun.runtime.models.tables import rows
from specrun.runtime.weights.names import write_names
from tests.runtime.models.tiny import model_plan

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
OUTPUT = 2e-6


def assert_stored(path: Path, model: Any) -> None:
    """The means and first tokens of a golden file are the model's."""
    with np.load(path) as golden, torch.no_grad():
        mask = torch.tensor(golden["mask"])
        hidden = model(torch.tensor(golden["ids"]).long(), attention_mask=mask.long())
        x, weight = hidden.last_hidden_state, mask[..., None].float()
        mean = ((x * weight).sum(1) / weight.sum(1)).numpy()
        np.testing.assert_allclose(mean, golden["mean"], atol=OUTPUT, rtol=0)
        np.testing.assert_allclose(x[:, 0].numpy(), golden["cls"], atol=OUTPUT, rtol=0)


@pytest.mark.parametrize("flavour", ["torch_safetensors", "torch_sharded", "torch_head"])
def test_the_stored_output_is_that_of_todays_torch(flavour: str):
    model = transformers.BertModel.from_pretrained(GOLDEN / flavour).eval()
    assert_stored(GOLDEN / "expected.npz", model)


@pytest.mark.parametrize(
    "flavour",
    [
        *("roberta_torch", "roberta_torch_head", "xlmr_torch", "xlmr_torch_head"),
        *("mpnet_torch", "mpnet_torch_head", "qwen3_torch", "qwen3_torch_head"),
        *("modernbert_torch", "modernbert_torch_head"),
    ],
)
def test_the_stored_output_of_another_family_is_that_of_todays_torch(flavour: str):
    model = transformers.AutoModel.from_pretrained(GOLDEN / flavour).eval()
    assert_stored(GOLDEN / f"expected_{flavour.partition('_')[0]}.npz", model)


@pytest.mark.parametrize(
    "flavour", ["flax_msgpack", "flax_sharded", "flax_safetensors", "flax_head"]
)
def test_a_flax_file_under_torch_names_is_torchs_state(flavour: str):
    found = inspect(GOLDEN / flavour)
    model = model_plan(found.config, weights=found.weights)
    leaves = unstack(initial_parameters(model, 0), model.groups)
    written = write_names(leaves, rows(found.config), found.config, "torch")
    theirs = transformers.BertModel.from_pretrained(GOLDEN / "torch_safetensors").state_dict()
    for name, tensor in written.items():
        np.testing.assert_array_equal(tensor, theirs[name].numpy(), err_msg=name)
    unread = {n for n in theirs if n not in written}
    assert unread <= {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
