"""Checks on the typed spec that need no facts from outside: what fits the schema and still cannot be meant."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.meaning.curriculum import CURRICULUM_CHECKS
from specrun.compiler.meaning.difficulty import difficulty_is_sound, stages_have_scores
from specrun.compiler.meaning.effects import keys_without_effect
from specrun.compiler.meaning.evaluation import (
    best_is_measured,
    columns_differ,
    evaluation_has_rows,
    trackers_once,
)
from specrun.compiler.meaning.language import LANGUAGE_CHECKS
from specrun.compiler.meaning.losses import (
    names_unique,
    stages_select,
    temperature_in_range,
    weights_leave_something,
    weights_name_losses,
)
from specrun.compiler.meaning.masking import MASKING_CHECKS
from specrun.compiler.meaning.modalities import (
    image_columns,
    lengths_of_texts,
    networks_for_both,
    patches_fit,
)
from specrun.compiler.meaning.model import (
    adapters_on_scratch,
    attention_heads,
    layers_without_blocks,
    matryoshka_fits,
    norms_without_effect,
    positions_suffice,
    tokenizer_given,
)
from specrun.compiler.meaning.negatives import (
    explicit_negatives_exist,
    false_negatives_are_some,
    labels_taken,
    mining_is_used,
    negatives_suffice,
    negatives_to_bound,
)
from specrun.compiler.meaning.scores import (
    scores_exist,
    spearman_has_scores,
    teacher_scores_exist,
    teachers_agree,
)
from specrun.compiler.meaning.texts import TEXT_CHECKS
from specrun.compiler.meaning.training import (
    batch_divides,
    bytes_have_a_rule,
    chunks_agree,
    epochs_agree,
    floor_below_peak,
    length_given,
    tile_fits,
)
from specrun.compiler.meaning.vectors import VECTOR_CHECKS
from specrun.compiler.reporter import Reporter
from specrun.spec.experiment import Experiment

Check = Callable[[Experiment, Reporter], None]


def check_meaning(spec: Experiment, report: Reporter) -> None:
    """Run every check; each reports all that it finds."""
    for check in CHECKS:
        check(spec, report)


CHECKS: tuple[Check, ...] = (
    image_columns,
    lengths_of_texts,
    patches_fit,
    networks_for_both,
    keys_without_effect,
    attention_heads,
    positions_suffice,
    tokenizer_given,
    adapters_on_scratch,
    layers_without_blocks,
    norms_without_effect,
    matryoshka_fits,
    names_unique,
    weights_leave_something,
    weights_name_losses,
    stages_select,
    difficulty_is_sound,
    stages_have_scores,
    length_given,
    epochs_agree,
    batch_divides,
    chunks_agree,
    tile_fits,
    explicit_negatives_exist,
    false_negatives_are_some,
    mining_is_used,
    scores_exist,
    teachers_agree,
    teacher_scores_exist,
    labels_taken,
    negatives_suffice,
    bytes_have_a_rule,
    floor_below_peak,
    temperature_in_range,
    columns_differ,
    negatives_to_bound,
    evaluation_has_rows,
    best_is_measured,
    spearman_has_scores,
    trackers_once,
    *VECTOR_CHECKS,
    *LANGUAGE_CHECKS,
    *CURRICULUM_CHECKS,
    *MASKING_CHECKS,
    *TEXT_CHECKS,
)
