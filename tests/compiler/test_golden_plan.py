"""The whole plan of a small spec, and the work of every pass, as golden files.

``python -m tests.compiler.test_golden_plan --update`` writes them anew; read the difference before committing it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from specrun.compiler.compile import COMPILE, draft_text
from specrun.compiler.draft import Context, Draft
from specrun.compiler.passes.lower import lower
from specrun.compiler.summary import summary
from specrun.compiler.timeline import timeline
from specrun.compiler.values import values
from specrun.spec.codec import canonical, to_plain
from specrun.spec.experiment import Experiment
from specrun.spec.words.curriculum import Curriculum, Select, Stage
from specrun.spec.words.evaluation import Evaluation
from specrun.spec.words.lora import Lora
from specrun.spec.words.losses import InfoNCELoss
from specrun.spec.words.matryoshka import Matryoshka
from specrun.spec.words.optimizer import CosineSchedule
from specrun.spec.words.tables import JsonlData
from specrun.spec.words.text_models import TextEncoderModel
from specrun.spec.words.tokenizer import TrainTokenizer
from specrun.spec.words.train import Train
from specrun.spec.words.validation import FractionValidation
from tests.compiler.fakes import FakeFacts, ListReport

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"
UPDATE = "python -m tests.compiler.test_golden_plan --update"

SPEC = Experiment(
    version=1,
    name="golden",
    model=TextEncoderModel(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, projection_dim=16
    ),
    tokenizer=TrainTokenizer(),
    data=JsonlData(path="rows.jsonl", validation=FractionValidation(fraction=0.1)),
    losses=(InfoNCELoss(temperature=0.05, train_temperature=True),),
    lora=Lora(rank=4, target_modules=("query", "layers.2.mlp.up")),
    matryoshka=Matryoshka(dims=(16, 8), weights=(1.0, 0.5)),
    curriculum=Curriculum(
        stages=(
            Stage(name="short", epochs=2, select=Select(field="positive_chars", max=400.0)),
            Stage(
                name="all",
                trainable=("layers.*", "projection.*"),
                reset_optimizer=True,
                learning_rate_scale=0.5,
            ),
        )
    ),
    train=Train(batch_size=100, length_buckets=2),
    schedule=CosineSchedule(warmup_ratio=0.1),
    evaluation=Evaluation(every_steps=7),
)


def texts() -> dict[str, str]:
    """File name → text: the draft after each pass, the plan, the summary and the timeline."""
    found: dict[str, str] = {}
    context = Context(facts=FakeFacts(), report=ListReport(), folder=Path("/golden"))
    draft, before = Draft(spec=SPEC), "{}"
    for number, step in enumerate(step for batch in COMPILE for step in batch):
        draft = step(draft, context)
        after = draft_text(draft)
        found[f"{number:02}-{step.__name__}.json"] = _added(before, after)
        before = after
    plan = lower(draft, values(SPEC, {}), ())
    tree = to_plain(plan)
    tree["specrun_version"] = "golden"
    del tree["values"]
    found["plan.json"] = canonical(tree)
    found["summary.txt"] = summary(plan) + "\n"
    found["timeline.txt"] = timeline(plan) + "\n"
    return found


def _added(before: str, after: str) -> str:
    """The parts of the draft that a pass made or changed."""
    old, new = json.loads(before), json.loads(after)
    return canonical({k: v for k, v in new.items() if old.get(k) != v})


@pytest.mark.parametrize("name", sorted(texts()))
def test_golden(name: str) -> None:
    path = GOLDEN / name
    assert path.exists(), f"no golden file {name}: {UPDATE}"
    assert texts()[name] == path.read_text(encoding="utf-8"), (
        f"{name} differs; if that is meant: {UPDATE}"
    )


def test_no_golden_file_is_left_over() -> None:
    assert {p.name for p in GOLDEN.iterdir()} == set(texts())


if __name__ == "__main__" and "--update" in sys.argv:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    for file, text in texts().items():
        (GOLDEN / file).write_text(text, encoding="utf-8")
