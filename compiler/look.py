"""What shows without reading all of the data: the passes of ``check``, which ``compile`` begins with too."""

from __future__ import annotations

from collections.abc import Callable

from specrun.compiler.draft import Context, Draft
from specrun.compiler.facts import Facts
from specrun.compiler.front import Loaded
from specrun.compiler.passes.adapters import start_adapters
from specrun.compiler.passes.difficulty import place_encoder
from specrun.compiler.passes.network import configure_model
from specrun.compiler.passes.places import place_data
from specrun.compiler.passes.pretrained import place_model
from specrun.compiler.passes.rows import peek_data
from specrun.compiler.passes.stages import check_fields, check_transitions, draft_stages
from specrun.compiler.passes.start import match_start, place_start
from specrun.compiler.passes.targets import match_adapters
from specrun.compiler.passes.teacher import place_teacher
from specrun.compiler.passes.tokenizers import place_tokenizer
from specrun.compiler.passes.trained import choose_trained
from specrun.spec.diagnostics import Diagnostic

Pass = Callable[[Draft, Context], Draft]

LOOK: tuple[Pass, ...] = (
    place_data,
    place_model,
    place_start,
    place_teacher,
    place_encoder,
    place_tokenizer,
    draft_stages,
)
"""What needs names, headers and configurations only."""

NETWORK: tuple[Pass, ...] = (
    configure_model,
    match_start,
    match_adapters,
    start_adapters,
    choose_trained,
    check_transitions,
)
"""The network by its table."""

CHECK: tuple[Pass, ...] = (*LOOK, peek_data, *NETWORK, check_fields)
"""The passes of ``check``: no data is scanned and no tokenizer trained. They go on past mistakes."""


def check_loaded(loaded: Loaded, facts: Facts) -> tuple[Diagnostic, ...]:
    """Every mistake that shows without reading all of the data."""
    if loaded.draft is not None:
        draft, context = Draft(spec=loaded.draft), context_of(loaded, facts)
        for step in CHECK:
            draft = step(draft, context)
    return loaded.diagnostics


def context_of(loaded: Loaded, facts: Facts) -> Context:
    """What surrounds the passes of a loaded spec."""
    return Context(facts=facts, report=loaded.reporter, folder=loaded.folder, local=loaded.local)
