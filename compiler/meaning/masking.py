"""Checks of an objective that hides tokens: its shares, and what it can stand beside."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.meaning.effects import no_effect
from specrun.compiler.objective import OF_PAIRS, OF_TEXTS, hides_tokens, metrics_of
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment
from specrun.spec.words.language import MaskedLmModel
from specrun.spec.words.losses import MaskedDiffusionLoss
from specrun.spec.words.texts import TextData


def shares_are_ranges(spec: Experiment, report: Reporter) -> None:
    """``[least, greatest]`` of a loss and of stages."""
    for index, loss in enumerate(spec.losses):
        if isinstance(loss, MaskedDiffusionLoss):
            _range(loss.masking_rate, f"losses[{index}].masking_rate", report)
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        if stage.masking_rate is not None:
            _range(stage.masking_rate, f"curriculum.stages[{index}].masking_rate", report)


def _range(rates: tuple[float, ...], path: str, report: Reporter) -> None:
    hint = "write the least and the greatest share, such as `[0.1, 0.9]`"
    if len(rates) != 2:
        message = f"`{path}` has {len(rates)} numbers, and takes two"
        report.error(path, "bad-range", message, hint=hint, related=(path,))
    elif rates[0] > rates[1]:
        message = f"`{path}`: the least share {rates[0]:g} is above the greatest, {rates[1]:g}"
        report.error(path, "empty-range", message, hint=hint, related=(path,))
    elif rates[1] == 0:
        message = f"`{path}`: the greatest share is 0"
        report.error(path, "empty-range", message, hint=hint, related=(path,))


def shares_are_used(spec: Experiment, report: Reporter) -> None:
    """What is said of hiding without a loss that hides, and the loss's own range where every stage has another."""
    if hides_tokens(spec):
        _own_share_is_used(spec, report)
        return
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        if stage.masking_rate is not None:
            key = ("curriculum", "stages", index, "masking_rate")
            no_effect(report, key, ("losses",), "no loss hides tokens")
    if spec.evaluation is not None and spec.evaluation.masking_rates is not None:
        key = ("evaluation", "masking_rates")
        no_effect(report, key, ("losses",), "no loss hides tokens")


def _own_share_is_used(spec: Experiment, report: Reporter) -> None:
    stages = spec.curriculum.stages if spec.curriculum else ()
    if not stages or any(stage.masking_rate is None for stage in stages):
        return
    for index, loss in enumerate(spec.losses):
        if isinstance(loss, MaskedDiffusionLoss):
            switch = ("curriculum", "stages", 0, "masking_rate")
            key = ("losses", index, "masking_rate")
            no_effect(report, key, switch, "every stage has a `masking_rate` of its own")


def pseudo_data_is_sound(spec: Experiment, report: Reporter) -> None:
    """Texts of the model itself: ranges that are some, and a model that can write."""
    for index, stage in enumerate(spec.curriculum.stages if spec.curriculum else ()):
        words, path = stage.pseudo_data, f"curriculum.stages[{index}].pseudo_data"
        if words is None:
            continue
        if not hides_tokens(spec):
            message = "the model of these losses writes no texts"
            key = ("curriculum", "stages", index, "pseudo_data")
            no_effect(report, key, ("losses",), message)
        _range(words.masking_rate, f"{path}.masking_rate", report)
        _range(words.similarity, f"{path}.similarity", report)
        if words.min_words > words.max_words:
            message = f"`{path}.min_words` {words.min_words} is above `max_words` {words.max_words}"
            related = (f"{path}.max_words",)
            report.error(f"{path}.min_words", "empty-range", message, related=related)


def masked_alone(spec: Experiment, report: Reporter) -> None:
    """Rows of a masked loss are texts, and those of every other loss pairs."""
    if not hides_tokens(spec):
        return
    if len(spec.losses) > 1:
        message = "`masked_diffusion` takes texts and other losses pairs, so it stands alone"
        hint = "train in two runs: the second, of an encoder, with `init_from` the first"
        report.error("losses", "masked-alone", message, hint=hint, related=("losses",))
    if spec.matryoshka is not None:
        message = "`matryoshka` cuts embeddings, and `masked_diffusion` has none"
        related = ("losses", "matryoshka")
        report.error("matryoshka", "no-embedding", message, hint="remove it", related=related)


HEADED = ("masked_lm", "bert", "roberta", "auto")
"""Kinds of models that can score the ids of a vocabulary."""


def objective_suits(spec: Experiment, report: Reporter) -> None:
    """Texts, a model that scores ids, and a loss that hides tokens go together or not at all."""
    texts, hides = isinstance(spec.data, TextData), hides_tokens(spec)
    language = isinstance(spec.model, MaskedLmModel)
    if hides and not texts:
        message = f"`masked_diffusion` takes texts, and the rows of `data.kind: {spec.data.kind}` are pairs"
        hint = "write `data: {kind: text, path: corpus}`"
        report.error("data.kind", "no-texts", message, hint=hint, related=("losses",))
    if hides and spec.model.kind not in HEADED:
        message = f"`masked_diffusion` needs a score of every id, which a model of the kind `{spec.model.kind}` has not"
        hint = "write `model: {kind: masked_lm}`, or name a BERT directory"
        report.error("model.kind", "no-vocabulary-head", message, hint=hint, related=("losses",))
    if not hides and language:
        message = "a `masked_lm` tells hidden tokens, and no loss hides any"
        hint = "write `losses: [{kind: masked_diffusion}]`, or take another model"
        report.error("losses", "nothing-hidden", message, hint=hint, related=("model.kind",))
    if not hides and texts:
        message = "rows of `data.kind: text` are texts, and the losses take pairs"
        hint = "write `losses: [{kind: masked_diffusion}]`, or give rows with two columns"
        report.error("losses", "no-pairs", message, hint=hint, related=("data.kind",))


def metrics_suit(spec: Experiment, report: Reporter) -> None:
    """Metrics are those of the objective."""
    part = spec.evaluation
    if part is None or part.metrics is None:
        return
    texts = hides_tokens(spec)
    wrong = [m for m in metrics_of(spec, part) if (m in OF_TEXTS) != texts]
    if wrong:
        what = "of hidden tokens" if texts else "of retrieval"
        message = f"`evaluation.metrics`: {wrong[0]} is no metric {what}"
        known = OF_TEXTS if texts else OF_PAIRS
        hint = f"there are {', '.join(f'`{m}`' for m in known)}"
        related = ("evaluation.metrics", "losses")
        report.error("evaluation.metrics", "unsuited-metric", message, hint=hint, related=related)


def directions_unused(spec: Experiment, report: Reporter) -> None:
    """Of hidden tokens nothing is asked in directions."""
    part = spec.evaluation
    if part is not None and hides_tokens(spec) and part.directions != ("query_to_positive",):
        key = ("evaluation", "directions")
        no_effect(report, key, ("losses",), "hidden tokens are told, nothing is searched")


def smoothing_fits(spec: Experiment, report: Reporter) -> None:
    """A bound of the likelihood is no bound with smoothed targets."""
    for index, loss in enumerate(spec.losses):
        if (
            isinstance(loss, MaskedDiffusionLoss)
            and loss.weighting == "inverse_rate"
            and loss.label_smoothing
        ):
            path = f"losses[{index}].label_smoothing"
            message = "with `weighting: inverse_rate` the loss bounds the likelihood; smoothed targets end that"
            hint = "set one of the two to its default"
            related = (path, f"losses[{index}].weighting")
            report.warning(path, "no-bound", message, hint=hint, related=related)


MASKING_CHECKS: tuple[Callable[[Experiment, Reporter], None], ...] = (
    objective_suits,
    shares_are_ranges,
    shares_are_used,
    pseudo_data_is_sound,
    masked_alone,
    metrics_suit,
    directions_unused,
    smoothing_fits,
)
