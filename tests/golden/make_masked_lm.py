"""Record torch's scores of ids for the checked-in masked language models of tests/golden/models.

Needs torch and transformers. Run ``python tests/golden/make_masked_lm.py`` from the repository's root. The folders were
made by ``make_models.py``; those in Flax's layout hold the same networks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).parent / "models"
FLAVOURS = {"bert": ("torch_head", 0), "roberta": ("roberta_torch_head", 1)}
"""Where each network lies, and the id that pads."""


def main() -> None:
    rng = np.random.default_rng(7)
    mask = np.arange(9)[None] < np.array([9, 1, 5])[:, None]
    found: dict[str, np.ndarray] = {"mask": mask}
    for name, (folder, pad) in FLAVOURS.items():
        ids = np.where(mask, rng.integers(2, 40, mask.shape), pad)
        model = transformers.AutoModelForMaskedLM.from_pretrained(ROOT / folder).eval()
        with torch.no_grad():
            out = model(torch.tensor(ids), attention_mask=torch.tensor(mask).float()).logits
        found |= {f"{name}_ids": ids.astype(np.int32), f"{name}_scores": out.numpy()}
    np.savez(ROOT / "expected_masked_lm.npz", **found)


if __name__ == "__main__":
    main()
