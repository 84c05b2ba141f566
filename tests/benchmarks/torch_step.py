"""A training step on torch, as a side of a benchmark does it: AdamW (torch's fused one), clipping at 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.benchmarks.sides import Actions


def torch_actions(
    model: Any, outputs: Callable[[], Any], loss_of: Callable[[Any], Any], *, half: bool
) -> Actions:
    """``outputs`` runs under autocast where it is ``half``, ``loss_of`` what it gives never does."""
    import torch

    device = next(model.parameters()).device.type
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)

    def step() -> float:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            given = outputs()
        loss = loss_of(given)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found = loss.item()
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    def train() -> None:
        step()

    found: Actions = {"train": train, "first_loss": step}
    if device == "cuda":
        found["peak"] = lambda: torch.cuda.max_memory_allocated() // 2**20
    return found
