"""``specrun.Trainer(model).train(data_path=…, epochs=…)``: keywords instead of a file, and the same plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun.compiler.migrate.dialects import KEYWORDS
from specrun.compiler.migrate.draft import Draft, Left, Old
from specrun.compiler.migrate.finish import finish, nested
from specrun.compiler.migrate.losses import TEACHERS
from specrun.compiler.migrate.migrate import close_to, take
from specrun.compiler.migrate.read import Key, destination, is_section
from specrun.compiler.migrate.values import is_off
from specrun.compiler.presets import model_of, pick
from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.files import read_local
from specrun.spec.tree import Texts
from specrun.wiring import RuntimeFacts

if TYPE_CHECKING:
    from specrun.runtime.loop.result import RunResult
    from specrun.spec.plan.plan import Plan


CONFIRMED = ("encoder_mode",)
"""Keywords that may say what holds anyway, such as ``encoder_mode="auto"``; anything else is refused."""


LENGTHS = ("train.epochs", "train.max_steps", "curriculum")


class Trainer:
    """Training with keywords.

    ``model`` is a Hugging Face directory, a name mapped to one, or the section ``model`` of a spec as a
    mapping. Keywords are words of the spec (``epochs``, ``learning_rate``), its sections as mappings
    (``evaluation={"metrics": ["mrr@10"]}``), or names that other tools have for them (``data_path``,
    ``loss_type``). Each takes effect or is refused, with what was meant. Relative paths begin at the
    working directory.
    """

    def __init__(self, model: str | Path | Mapping[str, Any]):
        self.model = model

    def spec(self, **words: Any) -> str:
        """The spec that the keywords say, as text. InputError names every keyword that says nothing."""
        draft = Draft(dialect=KEYWORDS, devices=_devices(words))
        own = (
            {"model": self.model}
            if isinstance(self.model, Mapping)
            else {"model_name_or_path": str(self.model)}
        )
        for name, value in {**own, **words}.items():
            _take(name, _plain(name, value), draft)
        finish(draft)
        tree = _without_marks(nested(draft.settings))
        picks = _picks(tree)
        if not picks and not any(draft.has(p) or draft.get(p) for p in LENGTHS):
            draft.lack("train", "nothing says how long: give `epochs` or `max_steps`")
        faults = [*(_fault(left) for left in (*draft.unmet, *_ignored(draft, words)))]
        if faults:
            raise InputError(faults)
        if not picks and "losses" not in tree:
            tree["losses"] = [{"kind": "infonce"}]
        return json.dumps({"version": 1, **tree}, indent=1, ensure_ascii=False) + "\n"

    def plan(self, **words: Any) -> Plan:
        """The plan of ``spec(**words)``. Raises InputError that carries every mistake."""
        from specrun.api import compile

        return compile(self.spec(**words))

    def train(self, *, quiet: bool = True, **words: Any) -> RunResult:
        """Compile and run; a run that was interrupted goes on. Raises as ``plan`` and as ``specrun.run``."""
        from specrun.api import run

        return run(self.plan(**words), quiet=quiet)


def _picks(tree: Mapping[str, Any]) -> bool:
    """Whether losses come from a preset, one that is named or one that the model's name stands for."""
    if tree.get("extends") is not None:
        return bool(tree["extends"])
    local = read_local((Path(),), Texts()).paths
    return pick(*model_of(tree), Path(), local, RuntimeFacts().model_type) is not None


def _devices(words: Mapping[str, Any]) -> int | None:
    for name, value in words.items():
        known = destination(name, "")
        if known is not None and known.new == "hardware.devices" and type(value) is int:
            return value
    return None


def _take(name: str, value: Any, draft: Draft) -> None:
    """A section is opened; everything else goes by the table of names."""
    known = destination(name, "")
    opened = isinstance(value, Mapping) or (isinstance(value, list) and _of_mappings(value))  # pyright: ignore[reportUnknownArgumentType]
    if opened and known is not None and is_section(known.new):
        for path, leaf in _leaves(known.new, value):
            draft.set(path, leaf, Old(name, leaf, 1, "Trainer"))
    elif (
        known is not None
        and not known.new
        and not is_off(value)
        and name not in (*CONFIRMED, *TEACHERS)
    ):
        draft.unmet.append(Left(name, 1, known.message(name)))
    else:
        take(Key(name, value, 1, known), draft)


def _of_mappings(value: list[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Paths below a section: mappings are opened, and lists of mappings item by item."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(f"{path}.{key}", below)
    elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):  # pyright: ignore[reportUnknownVariableType]
        for i, below in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from _leaves(f"{path}[{i}]", below)
    else:
        yield path, value


def _plain(name: str, value: Any) -> Any:
    """JSON's values; paths as text, tuples as lists."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(name, v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_plain(name, v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise InputError(
        f"`{name}` must be of numbers, texts, lists and mappings, found {type(value).__name__}",
        code="wrong-type",
        hint="convert it, such as with float() or list()",
    )


def _ignored(draft: Draft, words: Mapping[str, Any]) -> Iterator[Left]:
    """Keywords that asked for something and would have no effect."""
    for left in draft.idle:
        asked = left.name not in words or not is_off(words[left.name])
        if asked and left.name not in CONFIRMED:
            yield left


def _fault(left: Left) -> Diagnostic:
    if left.reason.startswith("not known"):
        close = close_to(left.name)
        message, hint = f"`{left.name}` is not known", f"did you mean `{close}`?" if close else ""
    else:
        known = f"`{left.name}`" in left.reason
        message, hint = left.reason if known else f"`{left.name}`: {left.reason}", ""
    return Diagnostic(code="keyword", message=message, path=left.name, hint=hint)


def _without_marks(tree: dict[str, Any]) -> dict[str, Any]:
    """Settings as their values; items of lists in their order."""
    found: dict[str, Any] = {}
    for name, part in tree.items():
        if name == "":
            continue
        if not isinstance(part, dict):
            found[name] = part.value
        elif part and all(key.startswith("[") for key in part):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            found[name] = [_without_marks(item) for item in part.values()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
        else:
            found[name] = _without_marks(part)  # pyright: ignore[reportUnknownArgumentType]
    return found
