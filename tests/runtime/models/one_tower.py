"""One network of texts or of images, run by its own parts as the encoder runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, assert_never

import jax
import numpy as np

from specrun.runtime.models.clip import model as clip
from specrun.runtime.models.clip import table as clip_table
from specrun.runtime.models.modules import Adapter, computing_in
from specrun.runtime.models.randomness import Keys, fork
from specrun.runtime.models.shells import Stack, bind, shell
from specrun.runtime.models.siglip import model as siglip
from specrun.runtime.models.siglip import table as siglip_table
from specrun.runtime.models.siglip2 import model as siglip2
from specrun.runtime.models.siglip2 import table as siglip2_table
from specrun.runtime.models.stacking import stack, unstack
from specrun.runtime.models.vit import model as vit
from specrun.runtime.models.vit import table as vit_table
from specrun.runtime.trees import Tree, flatten
from specrun.runtime.weights.load import match_weights
from specrun.runtime.weights.names import orient
from specrun.spec.plan.parameters import Group, TableRow
from specrun.spec.plan.towers import (
    ClipTextConfig,
    ClipVisionConfig,
    Siglip2VisionConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextShape,
    TowerConfig,
    VitConfig,
)


@dataclasses.dataclass(frozen=True)
class OneTower:
    """The parts of a family for ``config``, and its table."""

    config: Any
    rows: tuple[TableRow, ...]
    ends: Callable[[Any], Any]
    layer: Callable[[Any, dict[str, Adapter]], Any]
    context: Callable[[Any, Any], tuple[Any, ...]]
    cuts: tuple[int, ...] = ()
    adapters: Mapping[str, Adapter] = dataclasses.field(default_factory=dict)

    @property
    def groups(self) -> tuple[Group, ...]:
        starts = [0, *self.cuts, self.config.num_hidden_layers]
        return tuple(Group(first=a, count=b - a) for a, b in pairwise(starts) if b > a)

    def stacks(self, **options: Any) -> tuple[Stack, ...]:
        compute = options.pop("compute", "float32")
        made = shell(lambda: computing_in(self.layer(self.config, dict(self.adapters)), compute))
        return tuple(Stack(made, group.count, **options) for group in self.groups)

    @property
    def abstract(self) -> dict[str, Any]:
        """Leaves of the modules by logical path."""
        found = dict(flatten(shell(lambda: self.ends(self.config)).abstract))
        layer = flatten(shell(lambda: self.layer(self.config, dict(self.adapters))).abstract)
        for i in range(self.config.num_hidden_layers):
            found |= {f"layers.{i}.{path}": leaf for path, leaf in layer.items()}
        return found

    def random(self, seed: int = 0) -> Tree:
        """Numbers of size about 0.3 for every leaf of the modules."""
        rng = np.random.default_rng(seed)
        leaves = {
            path: (0.3 * rng.normal(size=leaf.shape)).astype(np.float32)
            for path, leaf in self.abstract.items()
        }
        return self.stacked(leaves)

    def stacked(self, leaves: Mapping[str, Any]) -> Tree:
        return stack(leaves, self.groups, np.stack)

    def unstacked(self, tree: Tree) -> dict[str, Any]:
        return unstack(tree, self.groups)

    def read(self, folder: Path, name: str = "model.safetensors") -> Tree:
        """The leaves of a file, stacked. InputError where it does not fit the table."""
        match = match_weights(folder / name, self.config, self.rows)
        return self.stacked(
            {row.path: orient(t.float32(), row, match.layout) for row, t in match.pairs}
        )

    def encode(
        self, params: Tree, inputs: Any, mask: Any, keys: Keys = None, **options: Any
    ) -> jax.Array:
        """Token ids [B, S] or pixels [B, H, W, 3] → embeddings [B, E]."""
        return jax.jit(partial(self._encode, **options))(params, inputs, mask, keys)

    def _encode(self, params: Tree, inputs: Any, mask: Any, keys: Keys, **options: Any) -> Any:
        ends = bind(
            shell(lambda: self.ends(self.config)),
            {k: v for k, v in params.items() if k != "groups"},
        )
        per_layer = fork(keys, self.config.num_hidden_layers + 1)
        x = ends.embed(inputs, per_layer[0])
        context = self.context(self.config, mask)
        for i, (made, group) in enumerate(zip(self.stacks(**options), self.groups, strict=True)):
            first = group.first + 1
            own = None if keys is None else per_layer[first : first + group.count]
            x = made(params["groups"][str(i)], x, *context, keys=own)
        pooled = (
            ends.pool(x, inputs, mask) if isinstance(self.config, TextShape) else ends.pool(x, mask)
        )
        return ends.finish(pooled)


def tower(config: TowerConfig, **options: Any) -> OneTower:
    """The parts that belong to ``config``."""
    match config:
        case ClipTextConfig():
            parts = (clip_table.text_rows(config), clip.TextEnds, clip.TextLayer, clip.context)
        case ClipVisionConfig():
            parts = (
                clip_table.vision_rows(config),
                clip.VisionEnds,
                clip.VisionLayer,
                clip.context,
            )
        case SiglipTextConfig():
            table = siglip_table.text_rows(config)
            parts = (table, siglip.TextEnds, siglip.TextLayer, siglip.context)
        case SiglipVisionConfig():
            table = siglip_table.vision_rows(config)
            parts = (table, siglip.VisionEnds, siglip.VisionLayer, siglip.context)
        case Siglip2VisionConfig():
            table = siglip2_table.vision_rows(config)
            parts = (table, siglip2.VisionEnds, siglip2.VisionLayer, siglip2.context)
        case VitConfig():
            parts = (vit_table.rows(config), vit.VisionEnds, vit.VisionLayer, vit.context)
        case _:
            assert_never(config)
    return OneTower(config, *parts, **options)
