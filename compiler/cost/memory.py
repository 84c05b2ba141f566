"""Bytes: the parts of a step's peak, and the peaks of evaluating, mining and asking a teacher."""

from __future__ import annotations

from dataclasses import replace

from specrun.compiler.cost.layers import FORWARD, encoding, residuals
from specrun.compiler.cost.scores import loss_bytes
from specrun.compiler.cost.work import FLOAT, PIXELS, Batching, Step, Work

ADAM_MOMENTS = 2

TEACHER_ROWS = 64
"""Texts that a teacher embeds at a time, as in ``runtime/teacher/embeddings.py``."""

SEARCHED = (1024, 8192)
"""Queries and documents of a tile of scores when negatives are mined, as in ``runtime/mining/nearest.py``."""


def peak_parts(work: Work, step: Step, batching: Batching) -> dict[str, int]:
    """The parts of the peak, in bytes on each device."""
    trained = sum(p.size for p in work.parameters if p.path in step.trained)
    chunked = batching.micro < batching.rows
    copies = 1 + (batching.passes > 1) + chunked
    activations, loss = _activations(work, step, batching)
    return {
        "weight_bytes": FLOAT * sum(p.size for p in work.parameters),
        "gradient_bytes": copies * FLOAT * trained,
        "optimizer_bytes": ADAM_MOMENTS * FLOAT * trained,
        "activation_bytes": activations + _batch_bytes(work, step, batching),
        "loss_bytes": loss,
    }


def mining_bytes(work: Work, batching: Batching) -> int:
    """The peak while negatives are mined: texts are encoded, then all are compared with all, tile by tile.

    Of the scores in a tile three copies exist: as they come, beside those found before, and sorted.
    """
    mining = work.mining
    if mining is None:
        return 0
    queries, documents = min(SEARCHED[0], mining.rows), min(SEARCHED[1], mining.rows)
    tile = 3 * queries * (documents + 2 * mining.found)
    search = FLOAT * ((mining.rows + queries) * mining.width + tile)
    return max(_encoding_bytes(work, batching, mining.encoded), FLOAT * _waiting(work) + search)


def teacher_bytes(work: Work) -> int:
    """The peak while a teacher embeds the training texts, before there is anything else on the device."""
    teacher = work.teacher
    if teacher is None:
        return 0
    longest = max(teacher.max_query_length, teacher.max_positive_length)
    bare = replace(work, config=teacher.config, parameters=())
    width = work.number_bytes * teacher.config.hidden_size
    each = max(width, FORWARD * residuals(bare, work.steps[0], None, "", longest))
    return teacher.weight_bytes + round(TEACHER_ROWS * longest * (each + 5))


def evaluation_bytes(work: Work, batching: Batching) -> int:
    """The peak while held-out rows are encoded."""
    return _encoding_bytes(work, batching, batching.evaluated) if batching.evaluated else 0


def _waiting(work: Work) -> int:
    """Numbers that are there between steps: the optimizer's state beside the weights."""
    trained = max(sum(p.size for p in work.parameters if p.path in s.trained) for s in work.steps)
    return sum(p.size for p in work.parameters) + ADAM_MOMENTS * trained


def _encoding_bytes(work: Work, batching: Batching, rows: int) -> int:
    """The peak while ``rows`` texts are encoded at a time."""
    step = work.steps[0]
    own = -(-rows // batching.devices)
    vectors = FLOAT * 2 * work.token_width
    found = [0.0]
    for text in step.texts:
        length = text.length if text.pixels else work.longest
        layer = [
            residuals(work, step, text.tower, prefix, length)
            for prefix, _ in work.layers(text.tower)
        ]
        width = work.number_bytes * work.network(text.tower).hidden_size
        each = max([width, *(FORWARD * x for x in layer)])
        found.append(own * (length * (each + vectors + 5) + PIXELS * text.pixels))
    return FLOAT * _waiting(work) + round(max(found))


def _batch_bytes(work: Work, step: Step, batching: Batching) -> int:
    """Ids of four bytes and masks of one, the weight and the number of each row; a teacher's embeddings."""
    rows = batching.passes * batching.rows // batching.devices
    told = FLOAT * work.teacher.width * sum(t.count for t in step.texts) if work.teacher else 0
    each = (t.count * (t.pixels + 1 if t.pixels else 5 * t.length) for t in step.texts)
    return rows * (sum(each) + 8 + told)


def _activations(work: Work, step: Step, batching: Batching) -> tuple[int, int]:
    """(activations, loss): what is alive at the worse of two moments, in the layers and in the losses.

    Chunks are encoded one after the other, and again going backward, so one chunk of one text is alive then. Without
    chunks all texts stay until the losses have seen them.
    """
    rows = batching.micro // batching.devices
    chunked = batching.micro < batching.rows
    sides = [
        encoding(work, step, batching, rows if chunked else rows * text.count, text)
        for text in step.texts
    ]
    kept = max(side.kept for side in sides) if chunked else sum(side.kept for side in sides)
    working = max(side.working for side in sides)
    loss = loss_bytes(work, step, batching)
    if chunked:
        return (kept + working, 0) if kept + working > loss else (0, loss)
    return kept + max(0, working - loss), loss
