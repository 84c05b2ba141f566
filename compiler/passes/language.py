"""Language models: their configuration, how many parameters they have, and what their names say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import PurePath

from specrun.compiler.draft import Context, Draft
from specrun.spec.plan.networks import (
    BertConfig,
    PretrainedConfig,
    RobertaConfig,
    TextEncoderConfig,
)
from specrun.spec.plan.parameters import TableRow
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.text_models import AutoModel

_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(m|b)(?![a-z0-9])")
"""`125m` in `tiny_125m`, `1.5b` in `big-1.5B`."""

_UNITS = {"m": 10**6, "b": 10**9}

VOCABULARY = "vocabulary."
"""How the paths of a head for ids begin."""

SIZE_TOLERANCE = 0.1
"""Share by which a count may miss what a name says."""


def with_vocabulary_head(
    found: PretrainedConfig, draft: Draft, context: Context
) -> PretrainedConfig:
    """The directory's configuration as a language model's: every token's state, and the head that scores ids by it."""
    pretrained = draft.pretrained
    assert pretrained is not None
    if not isinstance(found, BertConfig | RobertaConfig):
        if not isinstance(draft.spec.model, AutoModel):
            return found  # which the checks of meaning tell
        context.report.error(
            "model.kind",
            "no-vocabulary-head",
            f"`masked_diffusion` trains scores of ids, and {found.kind} has no head for them here",
            hint="there is one for `bert` and `roberta`, and for `masked_lm` from scratch",
        )
        return found
    if pretrained.vocabulary_head:
        context.report.error(
            "model.name_or_path",
            "vocabulary-head",
            f"the directory's head for masked tokens is not one that can be read: {'; '.join(pretrained.vocabulary_head)}",
            hint="put the model's own files in its place",
        )
    elif pretrained.vocabulary_head is None and draft.start is None:
        context.report.warning(
            "model.name_or_path",
            "new-vocabulary-head",
            "the directory has no head for masked tokens: it starts from the seed",
            hint="name the directory of a masked language model to train on with its own",
        )
    return replace(
        found,
        vocabulary_head="tied",
        pooling="none",
        projection_dim=None,
        multi_vector_dim=None,
    )


def read_vocabulary_head(table: tuple[TableRow, ...], draft: Draft) -> tuple[TableRow, ...]:
    """The rows, those of the head for ids read from the directory where that has one."""
    if draft.pretrained is None or draft.pretrained.vocabulary_head != ():
        return table
    return tuple(replace(r, new=False) if r.path.startswith(VOCABULARY) else r for r in table)


def guide_count(config: TextEncoderConfig) -> int:
    """4lh² + 3lh·hf + 6lh + Vh: the micro-diffusion guide's count of a model's parameters.

    It counts three matrices in every feed-forward, six vectors in every block, the token table once, and neither the
    last norm, nor positions, nor a head of its own.
    """
    layers, width = config.num_hidden_layers, config.hidden_size
    blocks = 4 * width**2 + 3 * width * config.intermediate_size + 6 * width
    return layers * blocks + config.vocab_size * width


def both_counts(config: TextEncoderConfig, total: int) -> str:
    """Both counts in a sentence: what the guide's formula gives, and what makes the ``total`` of it."""
    guide, own = guide_count(config), config.vocabulary_head == "own"
    head = config.vocab_size * config.hidden_size if own else 0
    rest = total - guide - head
    parts = [f"{head:+,} for the head's own matrix"] if own else []
    parts.append(f"{rest:+,} as the blocks' matrices and vectors, norms and positions really are")
    return f"4lh² + 3lh·hf + 6lh + Vh is {guide:,}; {', '.join(parts)}: {total:,}"


def size_as_named(draft: Draft, rows: tuple[TableRow, ...], context: Context) -> None:
    """A warning where the name of a language model, or of its preset, says another size than it has."""
    if not isinstance(draft.spec.model, MaskedLmModel) or draft.tokenizer is None:
        return
    total = sum(prod(row.shape) for row in rows)
    for path, name in _names(draft):
        for number, unit in _SIZE.findall(name.lower()):
            said = float(number) * _UNITS[unit]
            if abs(total - said) > SIZE_TOLERANCE * said:
                context.report.warning(
                    path,
                    "other-size",
                    f"{name!r} says {number}{unit.upper()} parameters, and the model has {total:,}",
                    hint="the vocabulary, `tie_word_embeddings` and the widths of `model` decide; or take another name",
                )


def _names(draft: Draft) -> Iterator[tuple[str, str]]:
    yield "name", draft.spec.name
    for i, entry in enumerate(draft.spec.extends or ()):
        yield f"extends[{i}]", PurePath(entry).stem
