"""PEFT's adapters in and out: `lora.init_from` starts from what an export, or PEFT, wrote; what differs is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import specrun
from specrun.cli import main
from specrun.compiler.summary import summary
from specrun.runtime.loop.parameters import read_parameters
from specrun.runtime.models.initial import initial_arrays
from specrun.runtime.predict.export import export
from specrun.runtime.trees import flatten
from specrun.spec.plan.plan import Plan
from tests.front.test_pretrained import found, tokenizer_text, write_model, write_spec

LORA = "lora={rank: 2, alpha: 6, dropout: 0.1, target_modules: [query, 'output.dense']}"
FROM = "lora.init_from=adapter"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, a LoRA run of it, and the adapters exported."""
    folder = tmp_path_factory.mktemp("adapters")
    directory = write_model(folder / "model", "torch_safetensors", tokenizer_text())
    plan = compiled(write_spec(folder, "bert", directory))
    specrun.run(dataclasses.replace(plan, output_dir=str(folder / "run")))
    export(folder / "run", folder / "adapter", to="peft")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy whose spec and adapter may be changed."""
    shutil.copytree(trained / "adapter", tmp_path / "adapter")
    write_spec(tmp_path, "bert", trained / "model")
    return tmp_path


def compiled(spec: Path, *more: str) -> Plan:
    return specrun.compile(spec, environ={}, overrides=[LORA, *more])


def adapters(tree: Any) -> dict[str, np.ndarray]:
    return {path: leaf for path, leaf in flatten(tree).items() if "lora_" in path}


def test_an_export_read_again_is_the_runs_adapters_bit_by_bit(trained: Path, tmp_path: Path):
    plan = compiled(trained / "spec.yaml", FROM, f"output_dir={tmp_path / 'run'}")
    started = initial_arrays(plan.model, plan.seed)
    written = adapters(read_parameters(trained / "run" / "best"))
    assert len(written) == 6
    assert any(leaf.any() for path, leaf in written.items() if path.endswith("lora_b"))
    for path, leaf in adapters(started).items():
        np.testing.assert_array_equal(leaf, written[path])
    assert not any(p.new for p in plan.model.parameters if "lora_" in p.path)
    assert plan.model.lora is not None
    assert plan.model.lora.init_from is not None
    assert plan.model.lora.init_from.base == "model"
    assert [f.role for f in plan.model.lora.init_from.files] == ["adapter", "adapter"]
    assert f"{plan.model.lora.init_from.files[1].digest[:12]}…, made for model" in summary(plan)

    still = dataclasses.replace(
        plan, segments=tuple(dataclasses.replace(s, learning_rate_scale=0.0) for s in plan.segments)
    )
    specrun.run(still)
    export(tmp_path / "run", tmp_path / "again", to="peft", which="final")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (
        trained / "adapter" / WEIGHTS
    ).read_bytes()
    card = (tmp_path / "again" / "README.md").read_text("utf-8")
    assert plan.model.lora.init_from.files[1].digest in card


def test_separate_towers_have_an_adapter_each(trained: Path, tmp_path: Path):
    write_spec(tmp_path, "bert", trained / "model")
    first = compiled(tmp_path / "spec.yaml", "model.towers=separate")
    specrun.run(dataclasses.replace(first, output_dir=str(tmp_path / "run")))
    for side in ("query", "positive"):
        export(tmp_path / "run", tmp_path / "adapter" / side, to="peft", side=side)
    plan = compiled(tmp_path / "spec.yaml", "model.towers=separate", FROM)
    started = initial_arrays(plan.model, plan.seed)
    for side in ("query", "positive"):
        written = adapters(read_parameters(tmp_path / "run" / "best")[side])
        for path, leaf in adapters(started[side]).items():
            np.testing.assert_array_equal(leaf, written[path], err_msg=f"{side}.{path}")
    shutil.rmtree(tmp_path / "adapter" / "positive")
    [(code, path, message, _)] = found(
        tmp_path / "spec.yaml", overrides=[LORA, "model.towers=separate", FROM]
    )
    assert (code, path) == ("adapter", "lora.init_from")
    assert "adapter/positive" in message


def refused(folder: Path, *parts: str, more: tuple[str, ...] = ()) -> list[str]:
    """What compiling and checking say, all at ``lora.init_from`` and with a way out."""
    overrides = [LORA, FROM, *more]
    told = found(folder / "spec.yaml", overrides=overrides)
    checked = specrun.check(folder / "spec.yaml", overrides=overrides, environ={})
    assert {d.message for d in checked if d.path == "lora.init_from"} == {m for _, _, m, _ in told}
    text = "\n".join(f"{m} {h}" for _, _, m, h in told)
    for part in parts:
        assert part in text
    assert all(path == "lora.init_from" and hint for _, path, _, hint in told)
    return [m for _, _, m, _ in told]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"r": 3}, ("r is 3, expected 2", "give rank, alpha and rslora")),
        ({"r": True}, ("r is True",)),
        ({"lora_alpha": 7}, ("lora_alpha is 7, expected 6.0",)),
        ({"use_rslora": True}, ("use_rslora is True, expected False",)),
        ({"use_dora": True}, ("use_dora is True", "merge_and_unload")),
        ({"bias": "lora_only"}, ("bias is 'lora_only'",)),
        ({"modules_to_save": ["pooler"]}, ("modules_to_save is ['pooler']",)),
        ({"rank_pattern": {"query": 4}}, ("rank_pattern is",)),
        ({"alpha_pattern": {"query": 4}}, ("alpha_pattern is",)),
        ({"trainable_token_indices": [1]}, ("trainable_token_indices is [1]",)),
        ({"init_lora_weights": "pissa"}, ("init_lora_weights is 'pissa'",)),
        ({"layer_replication": [[0, 1]]}, ("layer_replication is",)),
        ({"fan_in_fan_out": True}, ("fan_in_fan_out is True",)),
        ({"peft_type": "IA3"}, ("peft_type is 'IA3'",)),
        ({"a_new_switch": 1}, ("a_new_switch is not known here",)),
        ({"r": 3, "use_dora": True}, ("r is 3", "use_dora is True", "merge_and_unload")),
    ],
)
def test_what_an_adapter_is_beside_plain_lora_is_refused(
    folder: Path, changes: dict[str, Any], parts: tuple[str, ...]
):
    path = folder / "adapter" / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(folder, *parts)


def test_what_pefts_own_file_says_besides_is_fine(folder: Path):
    path = folder / "adapter" / CONFIG
    more = {"peft_version": "0.21", "revision": None, "lora_dropout": 0.5, "loftq_config": {}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    assert compiled(folder / "spec.yaml", FROM).model.lora is not None


def damaged(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "adapter" / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / "adapter" / WEIGHTS)


def first(tensors: dict[str, np.ndarray]) -> str:
    return min(tensors)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.pop(first(t)), "is missing"),
        (lambda t: t.update(other=np.zeros(1, np.float32)), "other is unexpected"),
        (lambda t: t.update({first(t): np.zeros((3, 3), np.float32)}), "has shape [3, 3]"),
        (lambda t: t.update({first(t): t[first(t)].astype(np.float64)}), "is float64"),
        (lambda t: t[first(t)].fill(np.nan), "not finite"),
    ],
)
def test_misfitting_tensors_are_named(folder: Path, change: Any, part: str):
    damaged(folder, change)
    refused(folder, part)


def test_other_targets_are_other_tensors(folder: Path):
    messages = refused(folder, "is unexpected", more=("lora.target_modules=[query]",))
    assert len(messages) <= 5


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        (CONFIG, None, "adapter_config.json"),
        (WEIGHTS, None, "adapter_model.safetensors"),
        (CONFIG, b"{", "not readable JSON"),
        (CONFIG, b"[]", "a JSON object"),
        (CONFIG, b"\xff", "not readable JSON"),
        (CONFIG, b"{}", "r is missing"),
        (WEIGHTS, b"", WEIGHTS),
        (WEIGHTS, b"\x08\0\0\0\0\0\0\0{}", WEIGHTS),
    ],
)
def test_missing_and_damaged_files(folder: Path, name: str, content: bytes | None, part: str):
    path = folder / "adapter" / name
    path.unlink() if content is None else path.write_bytes(content)
    refused(folder, part)


def test_no_folder(folder: Path):
    shutil.rmtree(folder / "adapter")
    refused(folder, "there is no folder")


def test_an_adapter_that_changed_after_compiling_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    arguments = ["compile", "spec.yaml", "--set", LORA, "--set", FROM, "--quiet"]
    assert main(arguments) == 0
    damaged(folder, lambda t: t[first(t)].fill(1))
    assert main(["run", "plan.json", "--quiet"]) == 2
    assert "adapter's file changed since the plan was compiled" in capsys.readouterr().err
    (folder / "adapter" / WEIGHTS).unlink()
    assert main(["run", "plan.json", "--quiet"]) == 2
