"""Tokenizers: trained on the training rows or read from a file, and how texts become ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers

from specrun.runtime import cache
from specrun.runtime.data.bpe import train
from specrun.runtime.data.items import readable
from specrun.runtime.data.raw import BETWEEN
from specrun.runtime.data.rows import Rows
from specrun.runtime.data.scan import rows_of
from specrun.runtime.data.tables import need_regular
from specrun.runtime.telling import Tell, silent
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.plan.data import (
    TokenizerFile,
    TokenizerPlan,
    TokenizerSource,
    TrainedTokenizer,
)

FORMAT = 1
MAX_BYTES, MAX_IDS = 256 << 20, 1 << 31
_KIND = "tokenizers"
_BY_SETTINGS = "tokenizer-settings"
_NAME = "tokenizer.json"
PAD_NAMES = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<PAD>", "[pad]", "<|endoftext|>")
MASK_NAMES = ("[MASK]", "<mask>", "<|mask|>")
SEPARATORS = ("[SEP]", "</s>", "<sep>", "<|sep|>")
"""Special tokens that may stand between two sentences, the first that a tokenizer has."""

_LOWERCASE = {"type": "Lowercase"}
_AT_ONCE = 10_000
TOLD_EVERY = 1000


class Tokenizer:
    """Texts to ids. Truncation and padding that the file brings along are switched off."""

    def __init__(self, text: str, name: str = _NAME):
        """InputError when ``text`` is no tokenizer.json; ``name`` is the file's, for messages."""
        self.json_text, self._name = text, name
        self.digest = digest_of_text(text)
        self._inner = _parse(text, name)
        padding = self._inner.padding or {}
        self._inner.no_truncation()
        self._inner.no_padding()
        vocabulary = self._inner.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise InputError(f"{name} has an empty vocabulary", code="bad-tokenizer")
        self.vocab_size = max(vocabulary.values()) + 1
        if self.vocab_size > MAX_IDS:
            message = f"{name} has the id {self.vocab_size - 1}; ids must be below {MAX_IDS}"
            raise InputError(message, code="bad-tokenizer")
        self.pad_id = _pad_id(vocabulary, padding.get("pad_id"), self.vocab_size)
        self.mask_id = next((vocabulary[x] for x in MASK_NAMES if x in vocabulary), None)
        self.around = tuple(dict.fromkeys(self._inner.encode("").ids))
        special = {x.content for x in self._inner.get_added_tokens_decoder().values() if x.special}
        self._separator = next((name for name in SEPARATORS if name in special), " ")

    def encode(self, texts: Sequence[str], max_length: int, prompt: str = "") -> list[np.ndarray]:
        """The ids of each text, int32 [1..max_length], special tokens included and never cut off.

        ``prompt`` is put before each text, and must leave room for it. A text without a token becomes one padding id. InputError for a text that is not valid
        Unicode, and for a length that the special tokens alone exceed.
        """
        special = self._inner.num_special_tokens_to_add(False)
        if max_length < max(special, 1):
            message = (
                f"the tokenizer adds {special} special tokens, and {max_length} tokens are kept"
            )
            raise InputError(message, code="too-short", hint="raise data.max_length")
        self._check_prompt(prompt, max_length)
        self._inner.enable_truncation(max_length)
        try:
            whole = [prompt + text for text in texts] if prompt else list(texts)
            found = self._inner.encode_batch_fast(whole, add_special_tokens=True)
        except (KeyboardInterrupt, SystemExit):
            raise
        except (TypeError, UnicodeError) as error:
            raise InputError(
                f"a text cannot be tokenised: {error}", code="bad-text", hint="give Unicode text"
            ) from error
        except BaseException as error:
            raise InputError(
                f"{self._name} fails on a text: {error}",
                code="bad-tokenizer",
                hint="it may lack its unknown token; give another tokenizer",
            ) from error
        finally:
            self._inner.no_truncation()
        return [np.array(x.ids or [self.pad_id], np.int32) for x in found]

    def separated(self, texts: Sequence[str]) -> Sequence[str]:
        """Rows that are texts with the tokenizer's own separator, or a space, where a pair's two sentences meet."""
        return [text.replace(BETWEEN, self._separator) for text in texts]

    def _check_prompt(self, prompt: str, max_length: int) -> None:
        """A prompt that fills the length would make all texts alike."""
        count = len(self._inner.encode(prompt).ids) if prompt else 0
        if count >= max_length:
            raise InputError(
                f"the prompt {prompt[:60]!r} is {count} tokens long, special tokens included, and "
                f"{max_length} are kept, which leaves no room for a text",
                code="prompt-too-long",
                hint="shorten model.prompts, or raise data.max_length",
            )

    def token_of(self, index: int) -> tuple[str | None, bool]:
        """(the token of an id or None, whether it is a special token)."""
        special = self._inner.get_added_tokens_decoder().get(index)
        return self._inner.id_to_token(index), special is not None and special.special

    def special_ids(self) -> list[int]:
        """The ids of the special tokens."""
        added = self._inner.get_added_tokens_decoder()
        return sorted(i for i, token in added.items() if token.special)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, special tokens left out."""
        return self._inner.decode([int(i) for i in ids], skip_special_tokens=True)

    def encode_all(
        self, texts: Sequence[str], max_length: int, prompt: str = "", *, pairs: bool = False
    ) -> Iterator[np.ndarray]:
        """As ``encode``, in portions, so that memory does not grow with the number of texts.

        With ``pairs`` the texts are ``separated``.
        """
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            yield from self.encode(self.separated(part) if pairs else part, max_length, prompt)


def prepare(source: TokenizerSource, rows_digest: str, tell: Tell = silent) -> TokenizerPlan:
    """The tokenizer that a plan cites: trained on the training rows (kept in the cache) or read.

    InputError for an unusable file; RunError when the cache cannot be written.
    """
    match source:
        case TrainedTokenizer():
            text = _trained_text(source, rows_digest, tell)
        case TokenizerFile():
            text = _of_file(source)
    return plan_of(source, Tokenizer(text, _name(source)))


def load(
    plan: TokenizerPlan,
    text: str | None = None,
    rows_digest: str | None = None,
    tell: Tell = silent,
) -> Tokenizer:
    """The tokenizer of a plan: from ``text``, the copy in a run's folder, else from its file or the cache.

    Where the cache has lost a trained one it is trained again on the rows of ``rows_digest``.
    InputError when it is not the one that was compiled, or is gone.
    """
    if text is None:
        text = _text_of(plan)
    if text is None and rows_digest is not None and isinstance(plan.source, TrainedTokenizer):
        text = _trained_text(plan.source, rows_digest, tell)
    if text is None:
        raise InputError(
            f"the trained tokenizer is not in the cache below {cache.cache_root()}",
            code="lost-tokenizer",
            hint="compile the spec again",
        )
    _compare(plan, digest_of_text(text))
    return Tokenizer(text, _name(plan.source))


def verify_tokenizer(plan: TokenizerPlan) -> None:
    """InputError when a tokenizer's file changed after the plan was compiled, or is gone."""
    if isinstance(plan.source, TokenizerFile):
        _compare(plan, digest_of_text(_of_file(plan.source)))


def plan_of(source: TokenizerSource, tokenizer: Tokenizer) -> TokenizerPlan:
    """What a plan says of a tokenizer."""
    return TokenizerPlan(
        source=source,
        digest=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        mask_id=tokenizer.mask_id,
        around=tokenizer.around,
    )


def digest_of_text(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _trained_text(source: TrainedTokenizer, rows_digest: str, tell: Tell) -> str:
    parts = [FORMAT, to_plain(source), rows_digest, tokenizers.__version__]
    folder = cache.make(
        _BY_SETTINGS,
        cache.digest_of(parts),
        lambda folder: _write(folder, train(source, _texts(rows_of(rows_digest), tell))),
    )
    text = (folder / _NAME).read_text(encoding="utf-8")
    cache.make(_KIND, digest_of_text(text), lambda folder: _write(folder, text))
    return text


def _texts(rows: Rows, tell: Tell) -> Iterator[str]:
    """Every training text. The last word of progress comes when the trainer asks for more and gets none."""
    training = rows.training
    sides = [training.queries]
    sides += [] if training.texts_only else [training.positives]
    sides += [training.negatives.texts] if training.negatives is not None else []
    job, total = "training the tokenizer, texts read", sum(map(len, sides))
    count = 0
    for texts in sides:
        for text in texts:
            if count % TOLD_EVERY == 0:
                tell(job, count, total)
            count += 1
            if own := readable(text, rows.images)[0]:
                yield own.replace(BETWEEN, " ") if training.texts_only else own
    tell(job, total, total)


def _text_of(plan: TokenizerPlan) -> str | None:
    match plan.source:
        case TokenizerFile():
            return _of_file(plan.source)
        case TrainedTokenizer():
            folder = cache.find(_KIND, plan.digest)
            return (folder / _NAME).read_text(encoding="utf-8") if folder else None


def _compare(plan: TokenizerPlan, digest: str) -> None:
    if digest != plan.digest:
        raise InputError(
            f"{_name(plan.source)} is not the tokenizer that the plan was compiled with",
            code="changed-input",
            hint="restore it, or compile the spec again",
        )


def _of_file(source: TokenizerFile) -> str:
    text = _read(Path(source.path))
    return lowercased(text) if source.lowercase else text


def lowercased(text: str) -> str:
    """A tokenizer.json that lower-cases texts first, as Siglip2Tokenizer does; the same where it does already.

    What is no tokenizer.json is handed back, for ``Tokenizer`` to refuse.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(told, dict):
        return text
    own = told.get("normalizer")
    steps = (
        own.get("normalizers") if isinstance(own, dict) and own.get("type") == "Sequence" else None
    )
    steps = steps if isinstance(steps, list) else [own] if own else []
    if _LOWERCASE in steps:
        return text
    told["normalizer"] = {"type": "Sequence", "normalizers": [_LOWERCASE, *steps]}
    return json.dumps(told, ensure_ascii=False)


def _read(path: Path) -> str:
    try:
        need_regular(path)
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES} bytes", code="bad-tokenizer")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        message = f"cannot read the tokenizer {path}: {error.strerror or error}"
        raise InputError(message, code="unreadable") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}", code="bad-tokenizer") from error


def _parse(text: str, name: str) -> tokenizers.Tokenizer:
    """The library raises plain Exception, and for some input a panic, which is no Exception at all."""
    try:
        return tokenizers.Tokenizer.from_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise InputError(
            f"{name} is not a tokenizer.json that tokenizers {tokenizers.__version__} reads: {error}",
            code="bad-tokenizer",
            hint="give the tokenizer.json that the tokenizers library wrote",
        ) from error


def _pad_id(vocabulary: dict[str, int], baked: int | None, size: int) -> int:
    """The padding id of the file, else of a token that is named so, else 0: padding is masked everywhere."""
    if baked is not None and 0 <= baked < size:
        return baked
    return next((vocabulary[name] for name in PAD_NAMES if name in vocabulary), 0)


def _name(source: TokenizerSource) -> str:
    return source.path if isinstance(source, TokenizerFile) else "the trained tokenizer"


def _write(folder: Path, text: str) -> None:
    (folder / _NAME).write_bytes(text.encode())
