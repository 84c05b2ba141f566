"""What is asked of an export: which folder, for which library, in which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from specrun.runtime.predict.trained import Which
from specrun.runtime.weights.write import Dtype, Form
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.sides import Side

To = Literal["sentence-transformers", "hf", "flax", "peft"]
"""The library that loads the directory: SentenceTransformer, AutoModel, Flax classes, PeftModel."""

Whole = Literal["sentence-transformers", "hf", "flax"]

FORMS: dict[Whole, Form] = {
    "sentence-transformers": "safetensors",
    "hf": "safetensors",
    "flax": "msgpack",
}
"""The file of weights that each library reads a whole network from."""


@dataclass(frozen=True)
class Order:
    """``side`` chooses one of separate towers; ``which`` the parameters of a run."""

    folder: Path
    to: To
    dtype: Dtype
    which: Which
    side: Side | None


def refuse_side(order: Order) -> None:
    """InputError where one of separate towers is asked for, and there are none."""
    if order.side is not None:
        raise InputError(
            f"{order.folder} has no separate towers, so there is no {order.side} tower to choose",
            code="tower",
            hint="leave out --tower",
        )
