"""A run's LoRA adapters alone, as a directory that PEFT loads upon the weights that the run began with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.runtime.adapters import peft
from specrun.runtime.adapters.lora import is_adapter
from specrun.runtime.data.tokenizer import Tokenizer, load
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.models.towers import tower
from specrun.runtime.predict.image_files import (
    class_of,
    named_otherwise,
    padded_to,
    tokenizer_settings,
    write_processor,
)
from specrun.runtime.predict.logits import trained_logits
from specrun.runtime.predict.order import Order, refuse_side
from specrun.runtime.predict.saved import CARD, longest_text, read_saved
from specrun.runtime.predict.sentence_files import write_tokenizer
from specrun.runtime.predict.trained import lengths_of, read_run
from specrun.runtime.report.card import base_model
from specrun.runtime.report.export_card import export_card
from specrun.runtime.trees import Tree
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.model import ModelPlan
from specrun.spec.plan.networks import TextImageConfig, is_language_model
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.towers import TextTower

NAMED = 5
"""Parameters that a message names."""

_MERGED = "export --to sentence-transformers, which holds the whole network with adapters merged"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapters of one network, opened and checked, and the directory that they belong to."""

    order: Order
    plan: Plan
    model: ModelPlan
    parameters: Tree
    base: Path
    tokenizer: Tokenizer
    longest: int

    def write(self, new: Path) -> dict[str, Any]:
        """adapter_config.json, adapter_model.safetensors, the tokenizer and the card. Returns the note's facts."""
        order, longest = self.order, self.longest
        peft.write_adapter(
            new, self.parameters, self.model, base_model(self.plan), dtype=order.dtype
        )
        copied, pair = self._beside(new, longest)
        facts = {
            "to": "peft",
            "source": str(order.folder.resolve()),
            "run": self.plan.name,
            "parameters": order.which,
            "tower": order.side,
            "base": str(self.base),
            "weights": peft.WEIGHTS,
            "dtype": order.dtype,
            "tensors_of_the_source": [],
            "left_out": [],
            "max_seq_length": longest,
            "files_of_the_source": list(copied),
            "merged": None,
            **pair,
        }
        card = export_card(self.plan, read_saved(order, self.plan), facts)
        (new / CARD).write_text(card, encoding="utf-8")
        return facts

    def _beside(self, new: Path, longest: int) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The tokenizer, and the image processor where there is one: files copied, and what the card needs of them."""
        config = self.model.config
        if not isinstance(config, TextImageConfig):
            copied = write_tokenizer(new, self.tokenizer, self.base, longest)
            return copied, {"pooling": config.pooling}
        text = config.text
        assert isinstance(text, TextTower)
        more = tokenizer_settings(text, self.tokenizer)
        copied = write_tokenizer(
            new, self.tokenizer, self.base, longest, more, anew=named_otherwise(config)
        )
        facts = {
            "class": class_of(config),
            "padded_to": padded_to(text),
            "left_out": [f"{row} of {p}" for row, p in trained_logits(self.plan, text).items()],
        }
        return (*copied, *write_processor(new, self.base)), facts


def open_adapter(order: Order) -> Adapter:
    """The adapters of a run. InputError when it has none, or trained what PEFT's two files would lose."""
    folder = RunFolder(order.folder)
    if not folder.plan.is_file():
        raise InputError(
            f"{order.folder} is no run's folder, and adapters are those of a run",
            code="no-adapters",
            hint="name the output folder of a run with `lora`",
        )
    plan, parameters = read_run(folder, order.which)
    if plan.model.lora is None:
        raise InputError(
            f"{order.folder} was trained without LoRA, so there are no adapters to export",
            code="no-adapters",
            hint=_MERGED.removesuffix(" with adapters merged"),
        )
    model, own = _network(plan, parameters, order)
    if is_language_model(model.config):
        raise InputError(
            f"{order.folder} is a masked language model, and its adapters alone would be those of an encoder",
            code="language-model",
            hint="export --to hf, which holds the whole network with adapters merged",
        )
    _refuse_composed(model, order)
    base = _base(plan, order)
    _check_rest(model, order)
    text = folder.tokenizer.read_text("utf-8") if folder.tokenizer.is_file() else None
    tokenizer = load(plan.tokenizer, text=text)
    return Adapter(
        order=order,
        plan=plan,
        model=model,
        parameters=own,
        base=base,
        tokenizer=tokenizer,
        longest=longest_text(lengths_of(plan), model, order.side),
    )


def _network(plan: Plan, parameters: Tree, order: Order) -> tuple[ModelPlan, Tree]:
    """The one network whose adapters are written."""
    if plan.model.towers != "separate":
        refuse_side(order)
        return plan.model, parameters
    if order.side is None:
        raise InputError(
            f"{order.folder} has separate towers, and an export holds one network",
            code="tower",
            hint="export each: --tower query, and --tower positive into another directory",
        )
    model = tower(plan.model, order.side)
    if model.lora is None or not model.lora.matches:
        raise InputError(
            f"the {order.side} tower of {order.folder} carries no adapters",
            code="no-adapters",
            hint=_MERGED,
        )
    return model, parameters[order.side]


def _refuse_composed(model: ModelPlan, order: Order) -> None:
    config = model.config
    if isinstance(config, TextImageConfig) and not isinstance(config.text, TextTower):
        raise InputError(
            f"{order.folder} has adapters upon two base models, and a directory of PEFT's is of one",
            code="two-bases",
            hint="export --to hf, which holds both networks with adapters merged",
        )


def _base(plan: Plan, order: Order) -> Path:
    """The directory that the adapted network was read from."""
    start = plan.model.init_from
    if start is not None:
        raise InputError(
            f"the adapters of {order.folder} belong to the {start.which} parameters of {start.name}, "
            "which no directory holds that PEFT could load",
            code="no-base",
            hint=_MERGED,
        )
    if plan.model.weights is None:
        raise InputError(
            f"{order.folder} was trained from scratch, so there is no base that PEFT could load",
            code="no-base",
            hint="its parameters are safetensors in best/ and final/",
        )
    return Path(plan.model.weights.directory)


def _check_rest(model: ModelPlan, order: Order) -> None:
    """All that was trained or drawn beside the adapters must be none: the base does not hold it.

    Nor may there be a head of the base's own, which sentence-transformers knows and PeftModel does not.
    """
    if model.weights is not None and model.weights.head is not None:
        raise InputError(
            f"{model.weights.directory} has a head (2_Dense), which PeftModel would leave out",
            code="head",
            hint=_MERGED,
        )
    rest = [
        p.path
        for p in model.parameters
        if (p.trained or p.new) and not is_adapter(p.path) and not p.path.startswith("losses.")
    ]
    if rest:
        more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
        raise InputError(
            f"{order.folder} trained more than its adapters, and PEFT's files would lose it: "
            f"{', '.join(rest[:NAMED])}{more}",
            code="more-than-adapters",
            hint=_MERGED,
        )
