"""The model: networks of texts, of images, or of both."""

from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.text_image_models import TextImage
from specrun.spec.words.text_models import Text, TextEncoderModel

TextFromScratch = TextEncoderModel | MaskedLmModel
"""The networks of texts that are read from no directory."""

Model = Text | MaskedLmModel | TextImage
