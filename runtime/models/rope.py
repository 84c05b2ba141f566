"""Rotary positions as config.json says them, in both of transformers' spellings. Imports no jax.

Up to version 4 there is ``rope_theta`` with ``rope_scaling`` beside it; since 5 both are in ``rope_parameters``.
"""

from __future__ import annotations

from collections.abc import Mapping

NESTED = ("rope_parameters", "rope_scaling")


def read_rope(parts: Mapping[str, object], theta: object) -> tuple[object, list[str]]:
    """(the base, or ``theta`` where no part names one; what is not implemented, in sentences).

    ``parts`` are the objects by their names in config.json, None where there is none.
    """
    wrong: list[str] = []
    for key, found in parts.items():
        if found is None:
            continue
        if not isinstance(found, dict):
            wrong.append(f"{key} must be an object, found {found!r:.80}")
            continue
        theta = found.get("rope_theta", theta)
        wrong += _unlike(key, found)
    return theta, wrong


def _unlike(key: str, found: Mapping[str, object]) -> list[str]:
    """Rotations that are scaled, or that leave a part of a head as it is."""
    kind = found.get("rope_type", found.get("type", "default"))
    share = found.get("partial_rotary_factor", 1.0)
    wrong = [f"{key}.rope_type must be 'default', found {kind!r:.80}"] if kind != "default" else []
    if share not in (None, 1, 1.0):
        wrong.append(f"{key}.partial_rotary_factor must be 1.0, found {share!r:.80}")
    return wrong
