"""Make the checked-in weights of tests/golden/models with the libraries that define the formats.

Needs an environment of its own: ``pip install "transformers==4.57.6" "flax==0.12.8" "jax==0.10.2" torch``, since
transformers 5 no longer has Flax classes. Run ``python tests/golden/make_models.py`` from the repository's root.

Every folder holds the same tiny random BERT in another flavour; ``expected.npz`` holds torch's own hidden states.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).parent / "models"
CONFIG = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    "initializer_range": 0.2,
}


def main() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**CONFIG)
    masked = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in masked.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = transformers.BertModel(config).eval()
    theirs.load_state_dict(masked.bert.state_dict(), strict=False)

    write("torch_safetensors", lambda d: theirs.save_pretrained(d))
    write("torch_sharded", lambda d: theirs.save_pretrained(d, max_shard_size="12KB"))
    write("torch_head", lambda d: masked.save_pretrained(d))
    half = transformers.BertModel(config).eval()
    half.load_state_dict(theirs.state_dict())
    write("torch_bfloat16", lambda d: half.to(torch.bfloat16).save_pretrained(d))
    flax = transformers.FlaxBertModel.from_pretrained(ROOT / "torch_safetensors", from_pt=True)
    write("flax_msgpack", lambda d: flax.save_pretrained(d))
    write("flax_sharded", lambda d: flax.save_pretrained(d, max_shard_size="12KB"))
    write("flax_safetensors", lambda d: flax.save_pretrained(d, safe_serialization=True))
    head = transformers.FlaxBertForMaskedLM.from_pretrained(ROOT / "torch_head", from_pt=True)
    write("flax_head", lambda d: head.save_pretrained(d))
    expected(theirs)


def write(name: str, save) -> None:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    save(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    print(f"{name}: {sum(p.stat().st_size for p in folder.iterdir())} bytes")


def expected(model: transformers.BertModel) -> None:
    ids = np.random.default_rng(0).integers(1, 40, (4, 9)).astype(np.int32)
    mask = np.arange(9)[None] < np.array([9, 1, 5, 8])[:, None]
    with torch.no_grad():
        hidden = model(torch.tensor(ids).long(), torch.tensor(mask).long()).last_hidden_state
    weight = torch.tensor(mask)[..., None].float()
    mean = (hidden * weight).sum(1) / weight.sum(1)
    np.savez(ROOT / "expected.npz", ids=ids, mask=mask, mean=mean.numpy(), cls=hidden[:, 0].numpy())
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    (ROOT / "versions.json").write_text(json.dumps(versions) + "\n")


if __name__ == "__main__":
    main()
