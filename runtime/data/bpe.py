"""Train a byte-level BPE on texts. The same texts give the same bytes, on any number of threads."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing

from specrun.spec.plan.data import TrainedTokenizer

PAD, START = "[PAD]", "[CLS]"
"""``[PAD]`` fills rows; ``[CLS]`` begins every text, so that none is empty and CLS pooling has its token."""

MASK, SEPARATOR = "[MASK]", "[SEP]"
"""What is shown where a token is hidden, and what stands between two sentences that are one text."""

_MARKS = tuple(
    AddedToken(name, special=True, normalized=False, lstrip=True) for name in (MASK, SEPARATOR)
)

_IN_CAMEL_CASE = r"(?<=[\p{Ll}\p{N}])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})"
_BETWEEN_PARTS = r"[\s_]+"
_BETWEEN_WORDS = r"\s+"
_PART = r"\p{L}[\p{L}\p{M}]*|\p{N}+|[^\p{L}\p{N}\s]"
_WORD = r"[\p{L}\p{N}_\p{M}]+|[^\p{L}\p{N}\p{M}_\s]"


def train(settings: TrainedTokenizer, texts: Iterable[str]) -> str:
    """The text of a tokenizer.json.

    White space only separates; it gets no token. With ``split_identifiers`` underscores separate too, and words end
    where camelCase turns and where digits begin.

    A tokenizer that masks puts nothing before a text, where there would be nothing to tell. It keeps white space, a
    word with the space before it being one (Radford et al. 2019, GPT-2), for its ids are to be read as text again; and
    the space before a mark belongs to the mark, as it does to the word that the mark stands for.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(settings)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.ByteLevel(add_prefix_space=False)
        if settings.masks
        else _pre_tokenizer(settings.split_identifiers)
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=[PAD, START, *(_MARKS if settings.masks else ())],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if not settings.masks:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{START} $A",
            pair=f"{START} $A $B",
            special_tokens=[(START, tokenizer.token_to_id(START))],
        )
    return tokenizer.to_str(pretty=True)


def _normalizer(settings: TrainedTokenizer) -> normalizers.Normalizer:
    """Camel case is split before lower-casing hides it."""
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if settings.split_identifiers:
        steps.append(normalizers.Replace(Regex(_IN_CAMEL_CASE), " "))
        if settings.masks:  # elsewhere they separate, and are removed
            steps.append(normalizers.Replace(Regex("_+"), " "))
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps)


def _pre_tokenizer(split_identifiers: bool) -> pre_tokenizers.PreTokenizer:
    between, word = (_BETWEEN_PARTS, _PART) if split_identifiers else (_BETWEEN_WORDS, _WORD)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(between), "removed"),
            pre_tokenizers.Split(Regex(word), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
