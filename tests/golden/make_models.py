"""Make the checked-in weights of tests/golden/models with the libraries that define the formats.

Needs an environment of its own: ``pip install "transformers==4.57.6" "flax==0.12.8" "jax==0.10.2" torch``, since
transformers 5 no longer has Flax classes. Run ``python tests/golden/make_models.py [bert] [roberta] [xlmr] [mpnet]
[qwen3] [modernbert]`` from the
repository's root; without names all are made.

The folders of a family hold the same tiny random network in other flavours; ``expected*.npz`` hold torch's own hidden
states, pooled.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

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


PAD_ID = 1
"""RoBERTa's; its positions begin behind it."""


def main(names: list[str]) -> None:
    makers = {
        "bert": bert,
        "roberta": roberta,
        "xlmr": xlmr,
        "mpnet": mpnet,
        "qwen3": qwen3,
        "modernbert": modernbert,
    }
    for name in names or makers:
        torch.manual_seed(0)
        makers[name]()


def bert() -> None:
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
    expected(theirs, "expected.npz", 0)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    (ROOT / "versions.json").write_text(json.dumps(versions) + "\n")


def roberta() -> None:
    masked = moved(transformers.RobertaForMaskedLM(transformers.RobertaConfig(**roberta_config())))
    theirs = body(masked.roberta, transformers.RobertaModel)
    write("roberta_torch", lambda d: theirs.save_pretrained(d))
    write("roberta_torch_head", lambda d: masked.save_pretrained(d))
    flax = transformers.FlaxRobertaModel.from_pretrained(ROOT / "roberta_torch", from_pt=True)
    write("roberta_flax", lambda d: flax.save_pretrained(d))
    head = transformers.FlaxRobertaForMaskedLM.from_pretrained(
        ROOT / "roberta_torch_head", from_pt=True
    )
    write("roberta_flax_head", lambda d: head.save_pretrained(d))
    expected(theirs, "expected_roberta.npz", PAD_ID)


def xlmr() -> None:
    config = transformers.XLMRobertaConfig(**roberta_config())
    judge = moved(transformers.XLMRobertaForSequenceClassification(config))
    theirs = body(judge.roberta, transformers.XLMRobertaModel)
    write("xlmr_torch_head", lambda d: judge.save_pretrained(d))
    write("xlmr_torch", lambda d: theirs.save_pretrained(d))
    flax = transformers.FlaxXLMRobertaModel.from_pretrained(ROOT / "xlmr_torch", from_pt=True)
    write("xlmr_flax", lambda d: flax.save_pretrained(d))
    expected(theirs, "expected_xlmr.npz", PAD_ID)


def mpnet() -> None:
    """transformers never had it in Flax."""
    config = {k: v for k, v in roberta_config().items() if k != "type_vocab_size"}
    masked = moved(transformers.MPNetForMaskedLM(transformers.MPNetConfig(**config)))
    theirs = body(masked.mpnet, transformers.MPNetModel)
    write("mpnet_torch", lambda d: theirs.save_pretrained(d))
    write("mpnet_torch_head", lambda d: masked.save_pretrained(d))
    expected(theirs, "expected_mpnet.npz", PAD_ID)


def qwen3() -> None:
    """transformers never had it in Flax. Two heads of eight on one of keys."""
    own = {"num_key_value_heads": 1, "head_dim": 8, "rope_theta": 1e6, "pad_token_id": 0}
    writer = moved(transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**CONFIG, **own)))
    theirs = body(writer.model, transformers.Qwen3Model)
    write("qwen3_torch", lambda d: theirs.save_pretrained(d))
    write("qwen3_torch_head", lambda d: writer.save_pretrained(d))
    expected(theirs, "expected_qwen3.npz", 0)


def modernbert() -> None:
    """transformers never had it in Flax. Of four layers the first and the last are global."""
    names = ("pad", "bos", "eos", "cls", "sep")
    ids = {f"{name}_token_id": i for i, name in enumerate(names)}
    own = {"num_hidden_layers": 4, "local_attention": 4, "attn_implementation": "eager"}
    config = transformers.ModernBertConfig(**{**CONFIG, **ids, **own, "reference_compile": False})
    masked = moved(transformers.ModernBertForMaskedLM(config))
    theirs = body(masked.model, transformers.ModernBertModel)
    write("modernbert_torch", lambda d: theirs.save_pretrained(d))
    write("modernbert_torch_head", lambda d: masked.save_pretrained(d))
    expected(theirs, "expected_modernbert.npz", 0)


def roberta_config() -> dict[str, Any]:
    """Twelve positions behind the padding id, one token type, ids as the real models have them."""
    ids = {"bos_token_id": 0, "pad_token_id": PAD_ID, "eos_token_id": 2}
    more = {"max_position_embeddings": 14, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return CONFIG | ids | more


def moved(model: Any) -> Any:
    """The model with no bias at zero and no scale at one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def body(network: Any, kind: Any) -> Any:
    """The network of a head model as a model of its own, with a pooler as the class makes one."""
    made = kind(network.config).eval()
    made.load_state_dict(network.state_dict(), strict=False)
    return made


def write(name: str, save) -> None:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    save(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    print(f"{name}: {sum(p.stat().st_size for p in folder.iterdir())} bytes")


def expected(model: Any, name: str, pad_id: int) -> None:
    """Mean, first and last token of four padded rows; RoBERTa's hold a padding id among the tokens, too."""
    ids = np.random.default_rng(0).integers(1, 40, (4, 9)).astype(np.int32)
    mask = np.arange(9)[None] < np.array([9, 1, 5, 8])[:, None]
    if pad_id:
        ids = np.where(ids == pad_id, 3, ids)
        ids[3, 4] = pad_id
        ids = np.where(mask, ids, pad_id).astype(np.int32)
    with torch.no_grad():
        hidden = model(torch.tensor(ids).long(), torch.tensor(mask).long()).last_hidden_state
    weight = torch.tensor(mask)[..., None].float()
    mean = (hidden * weight).sum(1) / weight.sum(1)
    last = hidden[torch.arange(4), torch.tensor(mask).sum(1) - 1]
    pooled = {"mean": mean.numpy(), "cls": hidden[:, 0].numpy(), "last": last.numpy()}
    np.savez(ROOT / name, ids=ids, mask=mask, **pooled)


if __name__ == "__main__":
    main(sys.argv[1:])
