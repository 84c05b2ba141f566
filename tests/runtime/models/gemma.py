"""A small tokenizer built as Gemma's, which SigLIP 2 has: pieces of bytes, ▁ for spaces, <eos> behind each text."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
PREPROCESSOR = {
    "image_processor_type": "Siglip2ImageProcessor",
    "patch_size": 4,
    "max_num_patches": 12,
    "resample": 2,
}
ROWS = 40
"""Tokens at most: the rows of the token table of the golden towers."""


def gemma(special: tuple[str, ...] = SPECIAL) -> str:
    """The tokenizer.json as published: nothing in it lower-cases. Unknown letters become <unk>."""
    pieces = [*special, *"▁aebdorxAREBOXD", "▁a", "re", "red", "bo", "box", "▁red", "▁box"]
    merges = [("▁", "a"), ("r", "e"), ("re", "d"), ("b", "o"), ("bo", "x")]
    merges += [("▁", "red"), ("▁", "box")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    assert len(vocabulary) <= ROWS
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    made.add_special_tokens([AddedToken(x, normalized=False, special=True) for x in special])
    made.post_processor = TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    return made.to_str()
