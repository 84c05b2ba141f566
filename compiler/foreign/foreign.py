"""What is known of a foreign name, and the words that several of them share."""

from __future__ import annotations

from typing import NamedTuple


class Foreign(NamedTuple):
    """``new`` is the path in the spec, empty where there is no such thing; ``note`` is what differs, or why.

    ``at`` is a section that a name without ``new`` would stand in, besides the root.
    """

    new: str = ""
    note: str = ""
    at: str = ""

    def message(self, old: str) -> str:
        """What a user who wrote ``old`` should know."""
        if self.new:
            return f"`{old}` is now `{self.new}`" + (f" ({self.note})" if self.note else "")
        return f"`{old}` is not in this version" + (f": {self.note}" if self.note else "")

    @property
    def section(self) -> str:
        """The section that the name stands in; empty for the root."""
        return self.new.rpartition(".")[0] if self.new else self.at


def to(new: str, note: str = "") -> Foreign:
    """A name that has another here."""
    return Foreign(new, note)


def none(note: str, at: str = "") -> Foreign:
    """A name that has none here, and why."""
    return Foreign("", note, at)


PER_DEVICE = "`batch_size` is global: the number per device times the devices"
SECTION_IS_ON = "a section that is present is on, null is off"
HOST = "batches are gathered from a memory-mapped cache and there are no loader processes"
COMPILED = "XLA compiles every step"
REPLICATED = "one process drives all devices of the plan, and each holds the whole state"
NOT_UPLOADED = "nothing is uploaded; `final/` holds the parameters"
RESUMES = "`specrun run` goes on by itself from the newest good checkpoint"
SHOWN = "`specrun run --quiet` prints nothing; every value is in metrics.jsonl"
NO_CAPTIONS = "nothing is generated but texts, from texts: see the section `generation`"
PLAIN_LORA = "LoRA is plain, or rank-stabilised with `lora.rslora`"
COSINE = "the similarity is the cosine"
WEIGHTS_FLOAT32 = "weights are kept in float32"
"""Reasons and differences that several names share."""
