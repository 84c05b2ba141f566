"""Prompts as rows of ids in which the mask's id stands for every token that is wanted. Imports no jax."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specrun.runtime.data.tokenizer import Tokenizer
from specrun.runtime.predict.texts import check_texts
from specrun.spec.diagnostics import InputError

MARK = "[MASK]"
"""What stands for one token in a prompt, whatever the tokenizer calls it."""

_WHOLE = 1 << 20
"""Tokens kept of a prompt before it is looked at: more than any model has positions."""


@dataclass(frozen=True)
class Row:
    """One text to write: the index of its prompt, its number among the texts of that prompt, and what it starts as.

    ``twin`` counts the texts of this prompt before it, of an equal prompt in the list too: with the ids it makes
    the row's key. ``width`` is what the ids are padded to, None where that may be chosen.
    """

    prompt: int
    number: int
    twin: int
    ids: np.ndarray  # int32 [S]
    width: int | None = None


def rows_of(
    tokenizer: Tokenizer, prompts: Sequence[str], mask_id: int, max_length: int, each: int
) -> list[Row]:
    """``each`` rows for every prompt. InputError for a prompt that cannot be one.

    A prompt with marks gets one token for each mark and nothing else; one without is continued to ``max_length``
    tokens, special tokens included.
    """
    _check(prompts)
    mark = tokenizer.token_of(mask_id)[0]
    if mark is None:
        raise InputError(
            f"the model hides tokens by the id {mask_id}, which the tokenizer does not have",
            code="no-mask-token",
            hint="use the tokenizer that belongs to the model",
        )
    seen: Counter[bytes] = Counter()
    rows: list[Row] = []
    for i, prompt in enumerate(prompts):
        ids = _ids(tokenizer, prompt, i, (mark, mask_id), max_length)
        for number in range(each):
            width = max_length if len(ids) == max_length else None
            rows.append(Row(i, number, seen[ids.tobytes()], ids, width))
            seen[ids.tobytes()] += 1
    return rows


def _check(prompts: Sequence[str]) -> None:
    check_texts(prompts, "prompt")
    for i, prompt in enumerate(prompts):
        if not prompt.strip():
            raise InputError(
                f"prompts[{i}] is empty",
                code="empty-prompt",
                hint=f"begin with a word, or write {MARK} for each token that is wanted",
            )


def _ids(
    tokenizer: Tokenizer, prompt: str, index: int, mask: tuple[str, int], max_length: int
) -> np.ndarray:
    """The ids of one prompt, int32 [S], with the mask's id where a token is wanted."""
    mark, mask_id = mask
    text = prompt.replace(MARK, mark)
    wanted = text.count(mark)
    [ids] = tokenizer.encode([text if wanted else text + mark], _WHOLE)
    found = int((ids == mask_id).sum())
    if found != max(wanted, 1):
        raise InputError(
            f"the tokenizer takes {found} of the {max(wanted, 1)} marks {mark} in prompts[{index}] for a mark",
            code="no-mask-token",
            hint="its mask must be a special token",
        )
    own = len(ids) if wanted else len(ids) - 1
    if own > max_length or (not wanted and own == max_length):
        full = "" if wanted else ", which leaves no token to write"
        raise InputError(
            f"prompts[{index}] is {own} tokens long, special tokens included, and max_length is {max_length}{full}",
            code="prompt-too-long",
            hint="shorten it, or raise max_length",
        )
    if wanted:
        return ids
    # The mark is not always the last id: a tokenizer may end its texts with a special token.
    place = int(np.argmax(ids == mask_id))
    marks = np.full(max_length - own, mask_id, np.int32)
    return np.concatenate([ids[:place], marks, ids[place + 1 :]])
