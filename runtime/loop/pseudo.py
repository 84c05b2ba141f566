"""Texts that the model adds to a segment's rows: made when it begins, kept as files of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from specrun.runtime.data.batches import Batches
from specrun.runtime.data.pseudo_rows import ragged
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.split import normalise
from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.data.tokens import Ragged, Tokens
from specrun.runtime.generate.filler import Completion, Filler
from specrun.runtime.generate.pseudo import Rules, pseudo_texts
from specrun.runtime.loop.events import Event, EventLog
from specrun.runtime.loop.folder import RunFolder
from specrun.runtime.loop.vouched import Vouched
from specrun.runtime.program.state import parameters_of
from specrun.runtime.telling import Tell, silent
from specrun.spec.diagnostics import RunError
from specrun.spec.plan.plan import Plan
from specrun.spec.plan.segments import PseudoPlan

PSEUDO = "pseudo_data"
"""Kind of the event."""


class Made(NamedTuple):
    """Texts and the numbers of the training rows they were made of; why others were left out."""

    texts: tuple[str, ...]
    sources: tuple[int, ...]
    left_out: Mapping[str, int]


@dataclass
class Writer:
    """The texts of a run that adds some. What it makes is a function of the plan and of the weights."""

    plan: Plan
    rows: Rows
    tokens: Tokens
    tokenizer: Tokenizer
    folder: RunFolder
    filler: Filler
    _held: dict[int, Ragged] = field(default_factory=dict[int, Ragged], init=False)

    def stop(self, segment: int) -> int:
        """The step before which the batches of a segment must end: where the next segment begins that adds texts."""
        for later in self.plan.segments[segment + 1 :]:
            if later.pseudo is not None:
                return later.first_step
        return self.plan.train.total_steps

    def known(self, segment: int, step: int, batches: Batches, events: EventLog) -> Batches | None:
        """The batches with the segment's texts, where these were made before; None when they are due now.

        RunError when it is neither: the events and the step do not belong together.
        """
        if segment not in self._held:
            first = self.plan.segments[segment].first_step
            event = next((e for e in events.all(PSEUDO) if e["segment"] == segment), None)
            if event is None and step != first:
                raise RunError(
                    f"events.jsonl tells of no texts made after step {first}, which step {step} needs. "
                    "Put the file back, or remove the run's folder and start again"
                )
            if event is None:
                return None
            self._hold(segment, read(self.folder, event), batches)
        return batches.with_made(segment, self._held[segment])

    def make(
        self,
        segment: int,
        step: int,
        state: Any,
        batches: Batches,
        events: EventLog,
        between: Callable[[], None] = lambda: None,
        tell: Tell = silent,
    ) -> tuple[Batches, Made]:
        """Make a segment's texts with the weights of ``state``, write their file, then the event."""
        made = self._written(segment, state, batches, between, tell)
        name, digest = write(self.folder, segment, made)
        facts = {f"left_out_{why}": count for why, count in sorted(made.left_out.items())}
        events.record(
            PSEUDO, step, segment=segment, file=name, sha256=digest, texts=len(made.texts), **facts
        )
        self._hold(segment, made, batches)
        return batches.with_made(segment, self._held[segment]), made

    def _written(
        self, segment: int, state: Any, batches: Batches, between: Callable[[], None], tell: Tell
    ) -> Made:
        rule, chosen = self._rule(segment), batches.rows_of(segment)
        texts = [self.rows.training.queries[int(row)] for row in chosen]
        parameters = parameters_of(state)

        def fill(rows: Any) -> list[Completion]:
            seed = _seed(self.plan.seed, segment)
            return self.filler.fill(parameters, rows, rule.generation, seed=seed, tell=tell)

        found = pseudo_texts(
            texts,
            fill,
            self.tokenizer,
            self.filler.mask_id,
            count=rule.count,
            longest=self.plan.data.max_query_length,
            rules=Rules(
                hidden=rule.hidden,
                words=rule.words,
                similarity=rule.similarity,
                unique_words=rule.unique_words,
            ),
            seed=_seed(self.plan.seed, segment),
            held_out=frozenset(map(normalise, self.rows.validation.queries)),
            between=between,
        )
        sources = tuple(int(chosen[i]) for i in found.sources)
        return Made(found.texts, sources, found.left_out)

    def _hold(self, segment: int, made: Made, batches: Batches) -> None:
        """The texts as ids, at most as long as the segment's longest row; a row of the segment where one is lacking."""
        chosen, texts = batches.rows_of(segment), self.tokens.training.queries
        longest = int(texts.lengths_of(chosen).max())
        rows = list(self.tokenizer.encode(made.texts, longest)) if made.texts else []
        lacking = self._rule(segment).count - len(rows)
        rows += [texts[int(row)] for row in np.resize(chosen, lacking)]
        self._held[segment] = ragged(rows)

    def _rule(self, segment: int) -> PseudoPlan:
        rule = self.plan.segments[segment].pseudo
        assert rule is not None  # whoever asks has looked
        return rule


def make_writer(
    plan: Plan,
    rows: Rows,
    tokens: Tokens,
    tokenizer_text: str,
    folder: RunFolder,
    events: EventLog,
) -> Writer | None:
    """The writer of a plan, files of no event removed; None when no segment adds texts.

    ``tokenizer_text`` is that of the run's tokenizer.json.
    """
    if all(segment.pseudo is None for segment in plan.segments):
        return None
    texts_of(folder).remove_unknown(events.events)
    tokenizer = Tokenizer(tokenizer_text)
    filler = Filler(plan, plan.model, tokenizer, plan.name)
    return Writer(plan, rows, tokens, tokenizer, folder, filler)


def texts_of(folder: RunFolder) -> Vouched:
    """The files of the texts that a run's model made."""
    return Vouched(folder.root, folder.pseudo, PSEUDO, "the texts made")


def write(folder: RunFolder, segment: int, made: Made) -> tuple[str, str]:
    """Write the texts of a segment as JSON; the file's name in the run's folder, and its SHA-256."""
    tree = {"texts": made.texts, "sources": made.sources, "left_out": dict(made.left_out)}
    content = json.dumps(tree, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"
    return texts_of(folder).write(f"{segment:04d}.json", content)


def read(folder: RunFolder, event: Event) -> Made:
    """The texts that an event vouches for. RunError when they are gone or others."""
    tree = json.loads(texts_of(folder).read(event))
    return Made(tuple(tree["texts"]), tuple(tree["sources"]), tree["left_out"])


def _seed(seed: int, segment: int) -> int:
    """Of one segment's draws: 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{segment}".encode()).digest()[:4], "big")
