"""Tokenizers: a byte-level BPE trained on the rows, or a ready tokenizer.json with its baked-in settings reset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from specrun.runtime import cache
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.scan import rows_of
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import TokenizerFile, TokenizerPlan, TokenizerSource, TrainedTokenizer

PAD, FIRST = "[PAD]", "[CLS]"
PAD_NAMES = (PAD, "<pad>", "<|pad|>", "<|endoftext|>")
FILE = "tokenizer.json"


class Tokenizer:
    """A tokenizer that pads nothing and cuts where it is told."""

    def __init__(self, text: str, label: str = FILE):
        """``text`` is that of a tokenizer.json; InputError when it is none."""
        from tokenizers import Tokenizer as Backend

        try:
            self._backend: Any = Backend.from_str(text)
        except Exception as error:  # tokenizers raises bare Exception for a bad file
            raise InputError(
                f"{label} is no tokenizer.json: {error}", code="bad-tokenizer", hint="give one that the tokenizers library wrote"
            ) from error
        baked = self._backend.padding
        self.json_text = text
        self.pad_id = _pad_id(self._backend, baked)
        self.vocab_size = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._backend.no_padding()
        self._backend.no_truncation()
        if self.vocab_size < 1:
            raise InputError(f"{label} has no tokens", code="bad-tokenizer")

    def encode(self, texts: Sequence[str], max_length: int) -> list[np.ndarray]:
        """Ids of each text, int32, special tokens included, at most ``max_length``; never empty."""
        special = self._backend.num_special_tokens_to_add(is_pair=False)
        if max_length < max(special, 1):
            raise InputError(
                f"max_length {max_length} does not hold the {special} special tokens", code="too-short", hint=f"at least {special + 1}"
            )
        self._backend.enable_truncation(max_length)
        found = self._backend.encode_batch_fast([str(t) for t in texts])
        return [np.array(e.ids or [self.pad_id], np.int32) for e in found]


def prepare(source: TokenizerSource, rows_digest: str) -> TokenizerPlan:
    """Train on the training rows, or read the file; the text goes into the cache under its digest."""
    match source:
        case TrainedTokenizer():
            text = _trained(source, rows_digest)
        case TokenizerFile():
            text = _read(source.path)
        case _:
            assert_never(source)
    tokenizer = Tokenizer(text, getattr(source, "path", FILE))
    digest = _digest(text)
    cache.obtain("tokenizer", digest.removeprefix("sha256:"), lambda f: _write(f, text))
    return TokenizerPlan(source=source, digest=digest, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id)


def load(plan: TokenizerPlan, text: str | None = None, rows_digest: str | None = None) -> Tokenizer:
    """The plan's tokenizer: from ``text``, or the cache, or made again. InputError when it is not the plan's."""
    if text is None:
        text = _cached(plan, rows_digest)
    if _digest(text) != plan.digest:
        raise InputError(
            "the tokenizer is not the one that the plan was compiled with", code="input-changed", hint="compile the spec again"
        )
    return Tokenizer(text)


def verify_tokenizer(plan: TokenizerPlan) -> None:
    """InputError when a tokenizer file changed after the plan was compiled."""
    if isinstance(plan.source, TokenizerFile) and _digest(_read(plan.source.path)) != plan.digest:
        raise InputError(
            f"the tokenizer at {plan.source.path} changed after the plan was compiled",
            code="input-changed",
            hint="compile the spec again, or restore the file",
        )


def _cached(plan: TokenizerPlan, rows_digest: str | None) -> str:
    folder = cache.find("tokenizer", plan.digest.removeprefix("sha256:"))
    if folder is not None:
        return (folder / FILE).read_text(encoding="utf-8")
    if isinstance(plan.source, TokenizerFile):
        return _read(plan.source.path)
    if rows_digest is None:
        raise InputError("the trained tokenizer is no longer in the cache", code="cache", hint="compile the spec again")
    return _trained(plan.source, rows_digest)


def _trained(source: TrainedTokenizer, rows_digest: str) -> str:
    key = cache.key_of("bpe", 1, to_plain(source), rows_digest, version("tokenizers"))
    folder = cache.obtain("bpe", key, lambda f: _write(f, _train(source, rows_of(rows_digest))))
    return (folder / FILE).read_text(encoding="utf-8")


def _train(source: TrainedTokenizer, rows: Rows) -> str:
    from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.BPE())
    steps: list[Any] = [normalizers.NFC()]
    if source.split_identifiers:
        steps += [normalizers.Replace(Regex(r"(?<=[a-z0-9])(?=[A-Z])"), " "), normalizers.Replace("_", " ")]
    if source.lowercase:
        steps.append(normalizers.Lowercase())
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=source.vocab_size,
        min_frequency=source.min_frequency,
        special_tokens=[PAD, FIRST],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_texts(rows), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{FIRST} $A", special_tokens=[(FIRST, backend.token_to_id(FIRST))]
    )
    return backend.to_str(pretty=True)


def _texts(rows: Rows) -> Iterator[str]:
    yield from rows.training.queries
    yield from rows.training.positives


def _pad_id(backend: Any, baked: dict[str, Any] | None) -> int:
    """The file's own padding id, a token with a padding's name, or 0: padded positions are masked anyway."""
    if baked is not None:
        return int(baked["pad_id"])
    named = (backend.token_to_id(name) for name in PAD_NAMES)
    return next((i for i in named if i is not None), 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the tokenizer {path}: {error}", code="unreadable", hint="check the path") from error


def _write(folder: Path, text: str) -> None:
    (folder / FILE).write_text(text, encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
