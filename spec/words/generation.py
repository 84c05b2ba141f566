"""How a masked language model writes texts."""

from typing import Annotated, Literal

from specrun.spec.annotations import Fact
from specrun.spec.record import record


@record
class Generation:
    """What `specrun generate` and `Predictor.generate` do where they are not told otherwise."""

    temperature: Annotated[
        float,
        Fact(
            doc="What the scores of tokens are divided by before one is drawn; 0 takes the best.",
            ge=0,
        ),
    ] = 0.8
    steps: Annotated[
        int,
        Fact(
            doc="Steps over which tokens are filled in; the last one fills all that are left.",
            ge=1,
            le=100000,
            unit="steps",
        ),
    ] = 50
    max_length: Annotated[
        int | None,
        Fact(
            doc="Tokens of a text, its prompt and special tokens included; null is 512, or the longest batch of training rows where that is less.",
            ge=1,
            unit="tokens",
        ),
    ] = None
    top_k: Annotated[
        int | None, Fact(doc="Draw from so many of the best tokens; null is all.", ge=1)
    ] = None
    top_p: Annotated[
        float | None,
        Fact(
            doc="Draw from the fewest best tokens that have this probability together; null is all.",
            gt=0,
            le=1,
        ),
    ] = None
    num_return_sequences: Annotated[int, Fact(doc="Texts for each prompt.", ge=1, le=10000)] = 1
    confidence_schedule: Annotated[
        Literal["linear", "exponential"],
        Fact(
            doc="How the probability that a token must exceed to stay falls over the steps s of N: `linear` .9 − .8 s/(N−1), `exponential` .9 exp(−3 s/(N−1)) + .1."
        ),
    ] = "linear"
    style: Annotated[
        str | None,
        Fact(
            doc="Text whose tokens are favoured; null is none.",
            examples=("sea ship sail harbour",),
            pattern=r"\S",
        ),
    ] = None
    style_strength: Annotated[
        float,
        Fact(
            doc="Added to the scores of the tokens of `style`, the spec's or that of `specrun generate --style`."
        ),
    ] = 1.0
    interactive: Annotated[
        bool, Fact(doc="`specrun generate` asks for prompts where it is given none.")
    ] = False
