"""Loading: paths and texts, presets, the local file, history, cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from specrun.compiler.front import load
from specrun.spec.codec import to_plain
from specrun.spec.diagnostics import InputError
from specrun.spec.experiment import Experiment
from specrun.spec.files import load_local, preset_names

BODY = """\
version: 1
model: {kind: text_encoder}
tokenizer: {kind: train}
data: {kind: jsonl, path: rows.jsonl}
losses: [{kind: infonce}]
train: {epochs: 3}
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def codes(path: Path | str, *overrides: str) -> list[tuple[str, int, str]]:
    loaded = load(path, overrides=overrides, environ={}, local={})
    return [(d.file, d.line, d.code) for d in loaded.diagnostics]


def test_a_path_and_a_text_mean_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, "spec.yaml", BODY)
    one, two = load(path, environ={}, local={}), load(BODY, environ={}, local={})
    assert one.experiment == two.experiment
    assert (one.label, two.label) == ("spec.yaml", "<text>")
    assert one.folder == tmp_path
    assert load(str(path), environ={}, local={}).experiment == one.experiment


def test_the_tree_is_complete_and_is_the_experiment() -> None:
    loaded = load(BODY, environ={}, local={})
    assert loaded.experiment is not None
    assert loaded.tree == to_plain(loaded.experiment)
    assert loaded.require() is loaded.experiment


def test_every_value_has_its_history() -> None:
    loaded = load(BODY, environ={"SPECRUN__TRAIN__EPOCHS": "7"}, local={})

    def leaves(value: object, path: str) -> list[str]:
        if isinstance(value, dict) and value:
            return [p for k, v in value.items() for p in leaves(v, f"{path}.{k}".lstrip("."))]
        if isinstance(value, list) and value:
            return [p for i, v in enumerate(value) for p in leaves(v, f"{path}[{i}]")]
        return [path]

    assert [p for p in leaves(dict(loaded.tree), "") if p not in loaded.history] == []
    levels = [(o.level, o.source, o.value) for o in loaded.history["train.epochs"]]
    assert levels == [
        ("default", "default", None),
        ("environment", "SPECRUN__TRAIN__EPOCHS", 7),
        ("spec", "<text>", 3),
    ]
    assert [o.level for o in loaded.history["train.batch_size"]] == ["default"]


def test_all_levels_in_order(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "seed: 2\nextends: [b.yaml]\n")
    write(tmp_path, "b.yaml", "seed: 3\nname: b\n")
    write(tmp_path, "c.yaml", "seed: 4\n")
    path = write(tmp_path, "spec.yaml", BODY + "extends: [a.yaml, c.yaml]\nseed: 5\n")
    loaded = load(path, overrides=["seed=6"], environ={"SPECRUN__SEED": "1"}, local={})
    assert [o.value for o in loaded.history["seed"]] == [0, 1, 3, 2, 4, 5, 6]
    assert loaded.tree["name"] == "b"
    assert loaded.tree["extends"] == ["a.yaml", "c.yaml"]
    assert [o.source for o in loaded.history["name"]] == ["default", "b.yaml"]


def test_presets_resolve_beside_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path, "shared/a.yaml", "extends: [b.yaml]\nseed: 2\n")
    write(tmp_path, "shared/b.yaml", "name: b\n")
    path = write(tmp_path, "spec.yaml", BODY + "extends: [shared/a.yaml]\n")
    loaded = load(path, environ={}, local={})
    assert loaded.history["name"][-1].source == "shared/b.yaml"


def test_a_preset_named_twice_counts_once_and_weakest(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: [c.yaml]\nseed: 1\n")
    write(tmp_path, "b.yaml", "extends: [c.yaml]\n")
    write(tmp_path, "c.yaml", "seed: 9\n")
    path = write(tmp_path, "spec.yaml", BODY + "extends: [a.yaml, b.yaml]\n")
    assert load(path, environ={}, local={}).tree["seed"] == 1


def test_cycles_and_unknown_presets(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: [spec.yaml]\n")
    path = write(tmp_path, "spec.yaml", "extends: [a.yaml]\n" + BODY)
    assert codes(path) == [("a.yaml", 1, "extends-cycle")]
    path = write(tmp_path, "spec.yaml", "extends:\n  - nope\n  - gone.yaml\n  - spec.yaml\n")
    assert codes(path) == [
        ("spec.yaml", 2, "unknown-preset"),
        ("spec.yaml", 3, "unreadable-file"),
        ("spec.yaml", 4, "extends-cycle"),
    ]


def test_a_mistake_in_a_preset_is_placed_in_the_preset(tmp_path: Path) -> None:
    write(tmp_path, "p/a.yaml", "# x\ntrain: {batch_sise: 3}\n")
    write(tmp_path, "p/b.yaml", "train: [\n")
    write(tmp_path, "p/c.yaml", "- 1\n")
    write(tmp_path, "p/d.yaml", "")
    path = write(tmp_path, "s.yaml", BODY + "extends: [p/a.yaml, p/b.yaml, p/c.yaml, p/d.yaml]\n")
    assert codes(path) == [
        ("p/a.yaml", 2, "unknown-key"),
        ("p/b.yaml", 2, "syntax"),
        ("p/c.yaml", 1, "wrong-type"),
        ("s.yaml", 7, "empty-file"),
    ]


@pytest.mark.parametrize("override", ["extends=[search_small]", "extends.0=search_small"])
def test_extends_may_be_overridden(override: str) -> None:
    text = BODY.replace("losses: [{kind: infonce}]\n", "") + "extends: [matryoshka_256]\n"
    loaded = load(text, overrides=[override], environ={}, local={})
    if override.startswith("extends=["):
        assert loaded.diagnostics == ()
        assert loaded.tree["losses"][0]["temperature"] == 0.05
    else:
        assert loaded.tree["extends"] == ["search_small"]


CURRICULA = ("three_stage", "single_stage", "fast_debug_stages")
TEXTS = ("diffusion_defaults", "memory_efficient", "fast_debug", "centrality_minilm", *CURRICULA)


@pytest.mark.parametrize("name", preset_names())
def test_presets_that_come_with_specrun_hold(name: str) -> None:
    start = {
        "matryoshka_256": ["search_small"],
        "centrality_minilm": ["diffusion_defaults", "three_stage"],
    }.get(name, ["diffusion_defaults"] if name in CURRICULA else [])
    extends = ", ".join([*start, name])
    data = "data: {kind: jsonl, path: rows.jsonl}\ntrain: {epochs: 3}\n"
    if name in ("tiny_125m", "small_350m", "mini"):
        data = data.replace("kind: jsonl, path: rows.jsonl", "kind: text, path: corpus")
    if name == "defaults":
        data += "model: {kind: bert, name_or_path: a}\n"
    if name in TEXTS:
        data = (
            "data: {kind: text, path: corpus}\nmodel: {kind: masked_lm}\ntokenizer: {kind: train}\n"
        )
        data += "" if start or name == "fast_debug" else "train: {epochs: 3}\n"
    loaded = load(f"version: 1\nextends: [{extends}]\n{data}", environ={}, local={})
    assert loaded.diagnostics == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [("\n", "empty-file"), ("# x\n", "empty-file"), ("- 1\n", "wrong-type"), ("x\n", "wrong-type")],
)
def test_what_is_no_mapping(text: str, code: str) -> None:
    assert codes(text) == [("<text>", 1, code)]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert codes(tmp_path / "gone.yaml") == [("gone.yaml", 0, "unreadable-file")]
    assert codes(tmp_path)[0][2] == "unreadable-file"
    assert codes("x" * 5000)[0][2] == "unreadable-file"
    assert codes("a\0b")[0][2] == "unreadable-file"
    os.mkfifo(tmp_path / "pipe")
    assert codes(tmp_path / "pipe")[0][2] == "unreadable-file"


def test_require_raises_with_every_diagnostic() -> None:
    with pytest.raises(InputError) as caught:
        load(BODY + "seed: -1\nnam: x\n", environ={}, local={}).require()
    assert [d.code for d in caught.value.diagnostics] == ["out-of-range", "unknown-key"]


def test_the_schema_key_is_for_editors_and_stays_out() -> None:
    assert load("$schema: x.json\n" + BODY, environ={}, local={}).diagnostics == ()
    assert codes(BODY + "lora: {$schema: x, target_modules: [a]}\n")[1][2] == "unknown-key"


def test_the_result_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two/three"):
        write(tmp_path, f"{name}/p.yaml", "seed: 4\n")
        path = write(tmp_path, f"{name}/spec.yaml", BODY + "extends: [p.yaml]\n")
        loaded = load(path, environ={}, local={})
        results.append((loaded.tree, loaded.history, loaded.diagnostics))
    assert results[0] == results[1]


def test_the_local_file_maps_names_and_is_no_level(tmp_path: Path) -> None:
    write(tmp_path, "specrun.local.yaml", "minilm: models/m\nother: /abs\nseed: '5'\n")
    path = write(tmp_path, "spec.yaml", BODY)
    loaded = load(path, environ={})
    assert loaded.local["minilm"] == tmp_path / "models/m"
    assert loaded.local["other"] == Path("/abs")
    assert loaded.tree["seed"] == 0
    assert load_local(tmp_path) == loaded.local
    assert load_local(tmp_path / "nothing") == {}


@pytest.mark.parametrize("text", ["- a\n", "a: 3\n", "a: {b: c}\n", "a: ''\n", "a: [\n"])
def test_a_wrong_local_file_is_reported(tmp_path: Path, text: str) -> None:
    write(tmp_path, "specrun.local.yaml", text)
    loaded = load(write(tmp_path, "spec.yaml", BODY), environ={})
    assert [d.file for d in loaded.diagnostics] == ["specrun.local.yaml"]
    with pytest.raises(InputError):
        load_local(tmp_path)


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECRUN__SEED", "12")
    assert load(BODY, local={}).tree["seed"] == 12


def test_an_unset_list_cannot_be_addressed_from_the_environment() -> None:
    text = BODY.replace("losses: [{kind: infonce}]\n", "")
    loaded = load(text, environ={"SPECRUN__LOSSES__INFONCE__WEIGHT": "2"}, local={})
    assert [(d.file, d.code) for d in loaded.diagnostics] == [
        ("SPECRUN__LOSSES__INFONCE__WEIGHT", "wrong-type")
    ]


LOADED = """
import sys
from specrun.compiler.front import load
loaded = load(sys.argv[1], environ={}, local={})
assert loaded.experiment is not None, loaded.diagnostics
print(*{name.split(".")[0] for name in sys.modules})
"""


def test_checking_loads_nothing_heavy(tmp_path: Path) -> None:
    """What a check costs besides is measured by tests/benchmarks/bench_cli."""
    path = write(tmp_path, "spec.yaml", BODY + "extends: [search_small]\n")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
    )
    loaded = set(done.stdout.split())
    assert {"specrun", "jsonschema", "yaml"} <= loaded
    assert not loaded & {
        "numpy",
        "jax",
        "flax",
        "transformers",
        "tokenizers",
        "PIL",
        "difflib",
        "asyncio",
    }


def test_the_experiment_is_what_from_plain_makes() -> None:
    assert isinstance(load(BODY, environ={}, local={}).experiment, Experiment)
